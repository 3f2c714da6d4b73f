//! What is found while a configuration is read: faults and notes, each with its place.

use std::cell::RefCell;
use std::fmt;

use toml::de::DeTable;

/// Something in the configuration that cannot be used. Printed as one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The file, environment variable or argument it stands in.
    pub source: String,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// The keys that lead to it, joined by dots; empty where it concerns the whole.
    pub key: String,
    /// What is wrong, in words.
    pub message: String,
}

/// Something to know of a key that was written, which is no fault. Printed as one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// The file, environment variable or argument it stands in.
    pub source: String,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// The keys that lead to it, joined by dots.
    pub key: String,
    /// What there is to know.
    pub message: &'static str,
}

/// What was found while reading one configuration.
///
/// A position is an offset into the text; beyond its end, the number of an override.
#[derive(Debug)]
pub struct Report {
    name: String,
    /// Where each line begins.
    lines: Vec<usize>,
    /// The first position that is no longer in the text.
    pub(super) end: usize,
    /// The names of the overrides.
    overrides: Vec<String>,
    faults: RefCell<Vec<Fault>>,
    pub(super) notes: RefCell<Vec<Note>>,
    #[cfg(test)]
    pub(super) readings: RefCell<Vec<Reading>>,
}

/// A key that was asked for, for the test that holds the example to the defaults.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) key: String,
    pub(crate) written: bool,
    pub(crate) changed: bool,
}

// === impl Report ===

impl Report {
    /// Nothing found yet in `text`, which the faults will call `name`.
    pub fn new(name: &str, text: &str) -> Self {
        let breaks = text.bytes().zip(1..).filter(|(byte, _)| *byte == b'\n').map(|(_, next)| next);
        Self {
            name: name.to_owned(),
            lines: std::iter::once(0).chain(breaks).collect(),
            end: text.len() + 1,
            overrides: Vec::new(),
            faults: RefCell::default(),
            notes: RefCell::default(),
            #[cfg(test)]
            readings: RefCell::default(),
        }
    }

    /// Parses the text. Where it is not TOML, every fault of syntax is kept, and nothing of the line that has it:
    /// it may hold a secret.
    pub fn parse<'a>(&self, text: &'a str) -> Option<DeTable<'a>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let ok = errors.is_empty();
        for error in errors {
            // Past the end, an offset would be that of an override.
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let (source, line) = self.locate(Some(at));
            let start = line.map_or(0, |line| self.lines[line - 1]);
            let column = 1 + text.bytes().take(at).skip(start).filter(|byte| byte & 0xc0 != 0x80).count();
            let message = format!("{} (column {column})", error.message());
            // One broken line often makes several errors; the first tells.
            let mut faults = self.faults.borrow_mut();
            if !faults.iter().any(|fault| fault.line == line) {
                faults.push(Fault { source, line, key: String::new(), message });
            }
        }
        ok.then(|| table.into_inner())
    }

    /// Gives an override, called `name` in faults, its position.
    pub fn add_override(&mut self, name: String) -> usize {
        self.overrides.push(name);
        self.end + self.overrides.len() - 1
    }

    /// Adds a fault at a position; none for the file as a whole.
    pub fn fault(&self, at: Option<usize>, key: String, message: String) {
        let (source, line) = self.locate(at);
        self.faults.borrow_mut().push(Fault { source, line, key, message });
    }

    /// Everything found, in the order of the file, then of the overrides.
    pub fn finish(self) -> (Vec<Fault>, Vec<Note>) {
        let (mut faults, mut notes) = (self.faults.into_inner(), self.notes.into_inner());
        faults.sort_by_key(|fault| fault.line.unwrap_or(usize::MAX));
        notes.sort_by_key(|note| note.line.unwrap_or(usize::MAX));
        (faults, notes)
    }

    /// What was asked for so far by sections that are gone.
    #[cfg(test)]
    pub(crate) fn readings(&self) -> Vec<Reading> {
        self.readings.take()
    }

    /// The name of the source that has a position, and the line in it.
    pub(super) fn locate(&self, at: Option<usize>) -> (String, Option<usize>) {
        match at {
            None => (self.name.clone(), None),
            Some(at) if at < self.end => {
                (self.name.clone(), Some(self.lines.partition_point(|start| *start <= at)))
            }
            Some(at) => (self.overrides.get(at - self.end).cloned().unwrap_or_default(), None),
        }
    }
}

// === impl Fault, Note ===

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.source, self.line, &self.key)?;
        one_line(f, &self.message)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.source, self.line, &self.key)?;
        f.write_str(self.message)
    }
}

fn place(f: &mut fmt::Formatter<'_>, source: &str, line: Option<usize>, key: &str) -> fmt::Result {
    one_line(f, source)?;
    if let Some(line) = line {
        write!(f, ":{line}")?;
    }
    f.write_str(": ")?;
    if !key.is_empty() {
        one_line(f, key)?;
        f.write_str(": ")?;
    }
    Ok(())
}

/// Keys and values may hold line breaks; escaped, a fault stays one line.
fn one_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars()
        .try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_debug()) } else { write!(f, "{c}") })
}
