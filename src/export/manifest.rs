//! What an export has written, by what it was made of: a line of JSON a file, in the tree itself.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::{fmt, io};

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

/// All that is known of an export.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    /// By the path of the source within the exported tree.
    records: BTreeMap<String, Record>,
    /// Folders whose changes the media server has not been told of.
    pub(super) untold: BTreeSet<String>,
}

/// What was written for a file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Record {
    /// Where it is, in the folder of the export; with slashes.
    pub(super) local: String,
    pub(super) kind: Kind,
    /// In bytes.
    pub(super) len: u64,
    /// Of a copy: the SHA-256 of what was written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) sha256: String,
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
#[serde(untagged)]
enum Line<'a> {
    File {
        source: Cow<'a, str>,
        #[serde(flatten)]
        record: Record,
    },
    Untold {
        untold: Cow<'a, str>,
    },
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
        let mut manifest = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            match serde_json::from_str(line).map_err(damaged)? {
                Line::File { source, record } => drop(manifest.records.insert(source.into_owned(), record)),
                Line::Untold { untold } => drop(manifest.untold.insert(untold.into_owned())),
            }
        }
        Ok(manifest)
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        let files = self
            .records
            .iter()
            .map(|(source, record)| Line::File { source: source.into(), record: record.clone() });
        for line in files.chain(self.untold.iter().map(|folder| Line::Untold { untold: folder.into() })) {
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
        self.records.get(source)
    }

    pub(super) fn set(&mut self, source: &str, record: Record) {
        self.records.insert(source.to_owned(), record);
    }

    /// Says that what was written for one source is for another one now.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        if let Some(record) = self.records.remove(old) {
            self.set(new, Record { missing: 0, ..record });
        }
    }

    pub(super) fn forget(&mut self, source: &str) {
        self.records.remove(source);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Record)> {
        self.records.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &mut Record)> {
        self.records.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
}

const FILE: &str = ".sluice-export";
const PART: &str = ".sluice-export.part";
