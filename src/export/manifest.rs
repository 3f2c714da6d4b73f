//! What an export has written, by what it was made of: a line of JSON a file, in the tree itself.

use std::collections::BTreeMap;
use std::{fmt, io};

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

/// All records, by the path of the source within the exported tree.
#[derive(Debug, Default)]
pub(super) struct Manifest(BTreeMap<String, Record>);

/// What was written for a file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Record {
    /// Where it is, in the folder of the export; with slashes.
    pub(super) local: String,
    pub(super) kind: Kind,
    /// In bytes.
    pub(super) len: u64,
    /// How many whole listings in a row have lacked it.
    #[serde(default)]
    pub(super) missing: u32,
}

/// What is in it. Without the address where it is shown: that is a credential.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// This address.
    Address(String),
    /// The bytes of this version of the source.
    Copy(String),
    /// A symbolic link to this file.
    Link(String),
}

#[derive(Deserialize, Serialize)]
struct Line<'a> {
    source: std::borrow::Cow<'a, str>,
    #[serde(flatten)]
    record: Record,
}

// === impl Kind ===

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(_) => f.write_str("Address"),
            Self::Copy(version) => f.debug_tuple("Copy").field(version).finish(),
            Self::Link(target) => f.debug_tuple("Link").field(target).finish(),
        }
    }
}

// === impl Manifest ===

impl Manifest {
    /// What is kept in this folder; nothing where no export was made into it yet.
    ///
    /// # Errors
    /// What the file system says, and `InvalidData` where a line is damaged: without it the files would be somebody else's.
    pub(super) fn read(dir: &Dir) -> io::Result<Self> {
        let text = match dir.read_to_string(FILE) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let damaged = |_| io::Error::new(io::ErrorKind::InvalidData, format!("{FILE} is damaged"));
        let lines = text.lines().filter(|line| !line.is_empty()).map(|line| {
            serde_json::from_str(line)
                .map(|Line { source, record }| (source.into_owned(), record))
                .map_err(damaged)
        });
        Ok(Self(lines.collect::<io::Result<_>>()?))
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for (source, record) in &self.0 {
            let line = Line { source: source.as_str().into(), record: record.clone() };
            // Plain values, which can always be written.
            text += &serde_json::to_string(&line).unwrap_or_default();
            text.push('\n');
        }
        text
    }

    /// Writes it so that a crash leaves the old or the new one. One that is the same is not touched. The addresses in it are credentials.
    pub(super) fn write(dir: &Dir, text: &str) -> io::Result<()> {
        if dir.read_to_string(FILE).is_ok_and(|old| old == text) {
            return Ok(());
        }
        let mut options = cap_std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        {
            use cap_std::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let mut file = dir.open_with(PART, &options)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
        dir.rename(PART, dir, FILE)
    }

    pub(super) fn get(&self, source: &str) -> Option<&Record> {
        self.0.get(source)
    }

    pub(super) fn set(&mut self, source: &str, record: Record) {
        self.0.insert(source.to_owned(), record);
    }

    pub(super) fn forget(&mut self, source: &str) {
        self.0.remove(source);
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &mut Record)> {
        self.0.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

const FILE: &str = ".sluice-export";
const PART: &str = ".sluice-export.part";
