//! One table of the configuration while it is being read: gives out typed values and collects every fault.
//!
//! A reader asks for each key it knows, always with the default, and gets a value it can go on with whatever
//! was written; what is wrong is kept in the [`Report`] with its key and line. A key that nobody has asked for
//! when the section is dropped is an unknown key. No fault repeats the value of a secret.

mod report;
mod secret_file;
mod units;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

#[cfg(test)]
pub(crate) use self::report::Reading;
pub use self::report::{Fault, Note, Report};
use self::units::quoted;
pub use self::units::{HumanSize, parse_duration, parse_size};
use crate::secret::Secret;

/// One table of the configuration while it is being read.
pub struct Section<'a> {
    /// The keys that lead here, joined by dots; empty for the whole file.
    path: String,
    /// Where the table begins; none where it was not written.
    at: Option<usize>,
    /// What nobody has asked for yet.
    rest: DeTable<'a>,
    asked: BTreeMap<Cow<'static, str>, Asked>,
    pending: Vec<&'static str>,
    report: &'a Report,
}

/// A key that was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// Where it stands; none where it was not written.
    at: Option<usize>,
    /// Whether what was written differs from the default.
    changed: bool,
    /// Whether something is wrong with it.
    faulty: bool,
}

/// A value as it was written.
struct Written<'a> {
    value: DeValue<'a>,
    /// Whether it is the bare text of an override, which may stand for any type.
    bare: bool,
}

/// Reads a text as one section. Made for the tests of drivers, whose options are such a section.
///
/// # Errors
/// Every fault, unknown keys included.
pub fn read<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> Result<T, Vec<Fault>> {
    let report = Report::new("options", text);
    let table = report.parse(text);
    let value = table.map(|table| read(&mut Section::new(table, &report)));
    let (faults, _) = report.finish();
    value.filter(|_| faults.is_empty()).ok_or(faults)
}

// === impl Section ===

impl<'a> Section<'a> {
    /// The section that is the whole of a configuration.
    pub fn new(table: DeTable<'a>, report: &'a Report) -> Self {
        Self::at(String::new(), None, table, report)
    }

    /// Any text.
    pub fn string(&mut self, key: &'static str, default: &str) -> String {
        self.take(key, Written::text, |text| text != default).unwrap_or_else(|| default.to_owned())
    }

    /// A text that must be there and not be empty.
    pub fn required_string(&mut self, key: &'static str) -> Option<String> {
        let text = self.string(key, "");
        if text.is_empty() && !self.is_faulty(key) {
            self.fault(key, "is required");
        }
        Some(text).filter(|text| !text.is_empty())
    }

    /// A list of texts.
    pub fn strings(&mut self, key: &'static str, default: &[&str]) -> Vec<String> {
        self.take(key, Written::texts, |texts| texts != default)
            .unwrap_or_else(|| default.iter().map(|&text| text.to_owned()).collect())
    }

    /// True or false.
    pub fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let convert = |written: Written<'_>| {
            written.typed(|value| match value {
                DeValue::Boolean(value) => Ok(*value),
                other => Err(format!("must be true or false, not {}", kind(other))),
            })
        };
        self.take(key, convert, |value| *value != default).unwrap_or(default)
    }

    /// A number, whole or not.
    pub fn number(&mut self, key: &'static str, default: f64, range: RangeInclusive<f64>) -> f64 {
        let convert = |written: Written<'_>| {
            let number = written.typed(|value| match value {
                DeValue::Integer(number) => {
                    Ok(i64::from_str_radix(number.as_str(), number.radix()).map(|n| n as f64).ok())
                }
                DeValue::Float(number) => Ok(number.as_str().parse().ok()),
                other => Err(format!("must be a number, not {}", kind(other))),
            })?;
            number.filter(|number| range.contains(number)).ok_or_else(|| out_of(&range))
        };
        self.take(key, convert, |number| *number != default).unwrap_or(default)
    }

    /// A whole number.
    pub fn integer(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let convert = |written: Written<'_>| {
            let number = written.typed(|value| match value {
                DeValue::Integer(number) => Ok(u64::from_str_radix(number.as_str(), number.radix()).ok()),
                other => Err(format!("must be a whole number, not {}", kind(other))),
            })?;
            number.filter(|number| range.contains(number)).ok_or_else(|| out_of(&range))
        };
        self.take(key, convert, |number| *number != default).unwrap_or(default)
    }

    /// A duration as [`parse_duration`] reads it.
    pub fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        let convert = |written: Written<'_>| match written.value {
            DeValue::String(text) => parse_duration(&text),
            other => Err(format!("must be a duration in quotes, such as \"30s\", not {}", kind(&other))),
        };
        self.take(key, convert, |value| *value != default).unwrap_or(default)
    }

    /// A size in bytes as [`parse_size`] reads it.
    pub fn size(&mut self, key: &'static str, default: u64) -> u64 {
        let convert = |written: Written<'_>| match written.value {
            DeValue::String(text) => parse_size(&text),
            other => Err(format!("must be a size in quotes, such as \"64MiB\", not {}", kind(&other))),
        };
        self.take(key, convert, |value| *value != default).unwrap_or(default)
    }

    /// One of several words. The default's word stands first, so that a [`pending`](Self::pending) key knows it.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)], default: T) -> T {
        let convert = |written: Written<'_>| {
            let text = written.text()?;
            choices.iter().position(|(word, _)| *word == text).ok_or_else(|| {
                let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                format!("must be one of {}, not {}", words.join(", "), quoted(&text))
            })
        };
        self.take(key, convert, |at| *at != 0).map_or(default, |at| choices[at].1)
    }

    /// A text that `parse` makes a value of; its `Err` says what is wrong.
    pub fn parsed<T: PartialEq>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let convert = |written: Written<'_>| written.text().and_then(|text| parse(&text));
        self.take(key, convert, |value| *value != default).unwrap_or(default)
    }

    /// A secret: `key` itself, or the contents of the file that `key_file` names, less one line end. Never both,
    /// but an override of one wins over the other. Empty is none.
    ///
    /// Reads the file. It must be closed to others than its owner.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let file_key = format!("{key}_file");
        let given = self.take_secret(Cow::Borrowed(key));
        let file = self.take_secret(Cow::Owned(file_key.clone()));
        let mut by_file = given.is_none();
        let secret = match (given, file) {
            (None, None) => None,
            (Some((value, _)), None) | (Some((value, true)), Some((_, false))) => Some(value),
            (None, Some((path, _))) | (Some((_, false)), Some((path, true))) => {
                by_file = true;
                secret_file::read(&path).map_err(|message| self.fault(&file_key, message)).ok()
            }
            (Some(_), Some(_)) => {
                self.fault(key, format!("is given twice, as {file_key} too; keep one of them"));
                None
            }
        };
        // What is said of the secret from here on is about the line that gave it.
        let file = self.asked.get(file_key.as_str()).copied();
        if let Some(file) = file.filter(|file| by_file && file.at.is_some() && !self.is_faulty(key)) {
            self.asked.insert(Cow::Borrowed(key), file);
        }
        secret.map(Secret::new)
    }

    /// A table within this one; empty where it was not written.
    pub fn section(&mut self, key: &'static str) -> Self {
        let path = self.key(key);
        let entry = self.rest.remove_entry(key);
        let at = entry.as_ref().map(|(key, _)| key.span().start);
        self.asked.insert(Cow::Borrowed(key), Asked { at, changed: at.is_some(), faulty: false });
        let table = match entry.map(|(_, value)| value.into_inner()) {
            Some(DeValue::Table(table)) => table,
            Some(_) => {
                self.fault(key, "must be a table");
                DeTable::new()
            }
            None => DeTable::new(),
        };
        Self::at(path, at.or(self.at), table, self.report)
    }

    /// A list of tables, `[[key]]`.
    pub fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let path = self.key(key);
        let entry = self.rest.remove_entry(key);
        let at = entry.as_ref().map(|(key, _)| key.span().start);
        let items: Vec<_> = match entry.map(|(_, value)| value.into_inner()) {
            Some(DeValue::Array(items)) => items.into_iter().collect(),
            Some(_) => {
                self.report.fault(
                    at,
                    path.clone(),
                    format!("must be a list of tables, each under [[{path}]]"),
                );
                Vec::new()
            }
            None => Vec::new(),
        };
        self.asked.insert(Cow::Borrowed(key), Asked { at, changed: !items.is_empty(), faulty: false });
        let mut sections = Vec::new();
        for item in items {
            let at = Some(item.span().start);
            match item.into_inner() {
                DeValue::Table(table) => sections.push(Self::at(path.clone(), at, table, self.report)),
                other => {
                    self.report.fault(at, path.clone(), format!("must be a table, not {}", kind(&other)))
                }
            }
        }
        sections
    }

    /// Says that something is wrong with a key, written or not.
    pub fn fault(&mut self, key: &str, message: impl Into<String>) {
        let asked = self.asked.get_mut(key).and_then(|asked| {
            asked.faulty = true;
            asked.at
        });
        let at = asked.or_else(|| self.rest.get_key_value(key).map(|(key, _)| key.span().start)).or(self.at);
        self.report.fault(at, self.key(key), message.into());
    }

    /// Marks a key that is accepted but has no effect yet. Whoever wrote it, and not its default, is told so;
    /// where nobody reads the key, whoever wrote it at all.
    pub fn pending(&mut self, key: &'static str) {
        self.pending.push(key);
    }

    /// Says something to know of a key that was asked for.
    pub fn note(&mut self, key: &'static str, message: &'static str) {
        let at = self.asked.get(key).and_then(|asked| asked.at).or(self.at);
        let (source, line) = self.report.locate(at);
        self.report.notes.borrow_mut().push(Note { source, line, key: self.key(key), message });
    }

    /// Takes whatever has not been asked for as known, where nobody can tell.
    pub fn ignore_rest(&mut self) {
        self.rest.clear();
    }

    /// Whether something was wrong with a key that was asked for.
    pub fn is_faulty(&self, key: &str) -> bool {
        self.asked.get(key).is_some_and(|asked| asked.faulty)
    }

    fn at(path: String, at: Option<usize>, rest: DeTable<'a>, report: &'a Report) -> Self {
        Self { path, at, rest, asked: BTreeMap::new(), pending: Vec::new(), report }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take<T>(
        &mut self,
        key: impl Into<Cow<'static, str>>,
        convert: impl FnOnce(Written<'a>) -> Result<T, String>,
        changed: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let key = key.into();
        let Some((name, value)) = self.rest.remove_entry(&*key) else {
            self.asked.entry(key).or_default();
            return None;
        };
        let at = name.span().start;
        let value = convert(Written { value: value.into_inner(), bare: at >= self.report.end });
        let changed = value.as_ref().is_ok_and(changed);
        self.asked.insert(key.clone(), Asked { at: Some(at), changed, faulty: false });
        value.map_err(|message| self.fault(&key, message)).ok()
    }

    /// A text that is not empty, and whether it is an override.
    fn take_secret(&mut self, key: Cow<'static, str>) -> Option<(String, bool)> {
        let convert = |written: Written<'_>| match written.value {
            DeValue::String(text) => Ok((text.into_owned(), written.bare)),
            _ => Err("must be a text in quotes".to_owned()),
        };
        self.take(key, convert, |(text, _)| !text.is_empty()).filter(|(text, _)| !text.is_empty())
    }
}

/// Without the values: some are secrets.
impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Section({})", self.path)
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for key in std::mem::take(&mut self.pending) {
            let at = match self.asked.get(key) {
                Some(asked) => asked.at.filter(|_| asked.changed),
                None => self.rest.remove_entry(key).map(|(key, _)| key.span().start),
            };
            if at.is_some() {
                let (source, line) = self.report.locate(at);
                let message = "not yet in effect";
                self.report.notes.borrow_mut().push(Note { source, line, key: self.key(key), message });
            }
        }
        for key in std::mem::take(&mut self.rest).into_iter().map(|(key, _)| key) {
            let name = key.get_ref();
            let near = self.asked.keys().map(|known| (distance(known, name), known)).min();
            let message = match near {
                Some((distance, known))
                    if distance <= 2 && distance < known.chars().count().min(name.chars().count()) =>
                {
                    format!("unknown key, did you mean `{known}`?")
                }
                _ => "unknown key".to_owned(),
            };
            self.report.fault(Some(key.span().start), self.key(name), message);
        }
        #[cfg(test)]
        self.report.readings.borrow_mut().extend(self.asked.iter().map(|(key, asked)| Reading {
            key: self.key(key),
            written: asked.at.is_some(),
            changed: asked.changed,
        }));
    }
}

// === impl Written ===

impl<'a> Written<'a> {
    fn text(self) -> Result<String, String> {
        match self.value {
            DeValue::String(text) => Ok(text.into_owned()),
            other => Err(format!("must be a text in quotes, not {}", kind(&other))),
        }
    }

    fn texts(self) -> Result<Vec<String>, String> {
        match &self.value {
            DeValue::String(text) if self.bare && !text.trim_start().starts_with('[') => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Ok(items.map(str::to_owned).collect())
            }
            _ => self.typed(|value| {
                let DeValue::Array(items) = value else {
                    return Err(format!("must be a list, such as [\"one\", \"two\"], not {}", kind(value)));
                };
                let texts = items.iter().zip(1..).map(|(item, number)| match item.get_ref() {
                    DeValue::String(text) => Ok(text.clone().into_owned()),
                    other => Err(format!(
                        "must be a list of texts in quotes, but item {number} is {}",
                        kind(other)
                    )),
                });
                texts.collect()
            }),
        }
    }

    /// Looks at the value, after the bare text of an override was read as TOML where it can be.
    fn typed<T>(&self, look: impl FnOnce(&DeValue<'_>) -> T) -> T {
        match &self.value {
            DeValue::String(text) if self.bare => match DeValue::parse(text.trim()) {
                Ok(value) => look(value.get_ref()),
                Err(_) => look(&self.value),
            },
            value => look(value),
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn out_of(range: &RangeInclusive<impl fmt::Display>) -> String {
    format!("must be from {} to {}", range.start(), range.end())
}

/// How many letters must be added, dropped or changed to make one of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let cost = (diagonal + usize::from(a != *b)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_within_their_range() {
        let rate = |text: &str| read(text, |section| section.number("rate", 1.0, 0.1..=10.0)).ok();
        assert_eq!(rate("rate = 2"), Some(2.0));
        assert_eq!(rate("rate = 0.5"), Some(0.5));
        assert_eq!(rate(""), Some(1.0));
        for bad in ["nan", "inf", "-inf", "10.1", "0", "1e999", "\"2\"", "true"] {
            assert_eq!(rate(&format!("rate = {bad}")), None, "{bad}");
        }
        let count = |text: &str| read(text, |section| section.integer("count", 3, 1..=64)).ok();
        assert_eq!(count("count = 0x40"), Some(64));
        assert_eq!(count("count = 0"), None);
        assert_eq!(count("count = 2.0"), None);
    }

    #[test]
    fn a_fault_is_one_line_whatever_the_key() {
        let faults = read("a = 1\n\"b\\nc\" = 1\n", |section| section.string("a", "")).unwrap_err();
        let lines: Vec<_> = faults.iter().map(Fault::to_string).collect();
        assert_eq!(
            lines,
            ["options:1: a: must be a text in quotes, not a whole number", "options:2: b\\nc: unknown key"]
        );
    }

    #[test]
    fn a_near_miss_is_named() {
        assert_eq!(distance("listing_ttl", "listing_tll"), 1);
        assert_eq!(distance("", "abc"), 3);
        let faults =
            read("rate_lst = 1\nzz = 1", |section| section.number("rate_list", 1.0, 0.0..=9.0)).unwrap_err();
        assert_eq!(faults[0].message, "unknown key, did you mean `rate_list`?");
        assert_eq!(faults[1].message, "unknown key");
    }

    #[test]
    fn one_way_to_give_a_secret_is_enough() {
        let secret =
            |text: &str| read(text, |section| section.secret("token")).map(|secret| secret.is_some());
        assert_eq!(secret("token = \"\"\ntoken_file = \"\""), Ok(false));
        assert_eq!(secret("token = \"x\"\ntoken_file = \"\""), Ok(true));
        assert_eq!(secret("token = \"x\"\ntoken_file = \"/x\"").unwrap_err()[0].key, "token");
        assert_eq!(secret("token_file = \"/nowhere/x\"").unwrap_err()[0].key, "token_file");
    }
}
