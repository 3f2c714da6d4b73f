//! Overrides: single values from the environment and the command line, laid over what the file says.
//!
//! `SLUICE__SERVER__LISTEN` stands for `server.listen`, `SLUICE__MOUNT__0__PATH` for `path` of the first mount.
//! A value goes in as bare text at a position of its own, so that the reader of the key can take it for the type
//! it wants and a fault names the variable.

use std::borrow::Cow;
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::section::Report;

/// The environment of this process, the only place where it is read. What is not UTF-8 has U+FFFD in it, which
/// an override is refused for.
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}

/// Lays every override among `variables` over `table`; the rest of them is nobody's business here. Of two for
/// the same key, the later wins.
pub(super) fn overlay(
    table: &mut DeTable<'_>,
    variables: impl Iterator<Item = (String, String)>,
    report: &mut Report,
) {
    let mut overrides: Vec<_> =
        variables.filter_map(|(name, value)| Some(Override { keys: keys(&name)?, name, value })).collect();
    // Items of a list are added in their order, which is not that of the alphabet from the eleventh on.
    overrides.sort_by_key(|one| one.keys.iter().map(|key| (index(key), key.clone())).collect::<Vec<_>>());
    for Override { name, keys, value } in overrides {
        let at = report.add_override(name);
        let laid = if keys.len() > MOST_KEYS {
            Err("unknown key".to_owned())
        } else if value.contains(char::REPLACEMENT_CHARACTER) {
            Err("is not UTF-8".to_owned())
        } else {
            insert(table, &keys, value, at)
        };
        if let Err(message) = laid {
            report.fault(Some(at), keys.join("."), message);
        }
    }
}

struct Override {
    name: String,
    keys: Vec<String>,
    value: String,
}

/// The keys a variable stands for; none where it is not an override.
fn keys(name: &str) -> Option<Vec<String>> {
    if name == super::LISTEN_ARGUMENT {
        return Some(vec!["server".to_owned(), "listen".to_owned()]);
    }
    Some(name.strip_prefix(PREFIX)?.split("__").map(str::to_ascii_lowercase).collect())
}

fn index(key: &str) -> Option<usize> {
    key.parse().ok()
}

fn insert(table: &mut DeTable<'_>, keys: &[String], value: String, at: usize) -> Result<(), String> {
    let Some((key, rest)) = keys.split_first() else { return Ok(()) };
    match (table.get_mut(key.as_str()), rest) {
        (Some(place), _) => put(place, rest, value, at)?,
        (None, _) => {
            let mut place = empty(rest, at);
            put(&mut place, rest, value, at)?;
            table.insert(Spanned::new(at..at, Cow::Owned(key.clone())), place);
            return Ok(());
        }
    }
    // The key takes the position of the override with it, where that is the whole value now.
    if rest.is_empty()
        && let Some(place) = table.remove(key.as_str())
    {
        table.insert(Spanned::new(at..at, Cow::Owned(key.clone())), place);
    }
    Ok(())
}

/// Something that `rest` leads into, or that a value can replace.
fn empty<'a>(rest: &[String], at: usize) -> Spanned<DeValue<'a>> {
    let value = match rest.first() {
        None => DeValue::Boolean(false),
        Some(next) if index(next).is_some() => DeValue::Array(DeArray::from_iter([])),
        Some(_) => DeValue::Table(DeTable::new()),
    };
    Spanned::new(at..at, value)
}

fn put(place: &mut Spanned<DeValue<'_>>, rest: &[String], value: String, at: usize) -> Result<(), String> {
    let Some((key, after)) = rest.split_first() else {
        let is_table = |value: &DeValue<'_>| value.is_table();
        let tables =
            place.get_ref().as_array().is_some_and(|items| items.iter().any(|item| is_table(item.get_ref())));
        if tables || is_table(place.get_ref()) {
            return Err("holds more keys; name one of them".to_owned());
        }
        *place = Spanned::new(at..at, DeValue::String(Cow::Owned(value)));
        return Ok(());
    };
    match place.get_mut() {
        DeValue::Table(table) => insert(table, rest, value, at),
        DeValue::Array(items) => {
            let index = index(key).ok_or("is a list; name an item by its number, from 0")?;
            if let Some(item) = items.get_mut(index) {
                return put(item, after, value, at);
            }
            if index > items.len() {
                return Err(format!("leaves a gap: the next of the list is number {}", items.len()));
            }
            let mut item = empty(after, at);
            put(&mut item, after, value, at)?;
            items.push(item);
            Ok(())
        }
        _ => Err("unknown key: what stands before it is a single value".to_owned()),
    }
}

const PREFIX: &str = "SLUICE__";
/// Chosen, against a name that would have us nest tables without end.
const MOST_KEYS: usize = 16;
