//! A file or folder as AList tells it. No field but one is ever null: clients have types for them.

use std::time::SystemTime;

use serde::Serialize;

use crate::driver::Entry;
use crate::http::conditional::http_date;
use crate::serve::media_type::{self, Kind};

/// An entry.
#[derive(Serialize)]
pub(super) struct Item<'a> {
    id: &'a str,
    /// In the visitor's tree.
    path: &'a str,
    name: &'a str,
    size: u64,
    is_dir: bool,
    modified: String,
    created: String,
    sign: &'a str,
    thumb: &'static str,
    #[serde(rename = "type")]
    kind: u8,
    /// JSON in a text.
    hashinfo: String,
    hash_info: Option<Hashes<'a>>,
}

#[derive(Serialize)]
struct Hashes<'a> {
    sha1: &'a str,
}

// === impl Item ===

impl<'a> Item<'a> {
    /// An entry by the name that it has in the tree.
    pub(super) fn new(entry: &'a Entry, name: &'a str, path: &'a str, sign: &'a str) -> Self {
        let hash_info = entry.sha1().map(|sha1| Hashes { sha1 });
        Self {
            id: entry.id.as_str(),
            path,
            name,
            size: entry.len,
            is_dir: entry.is_folder(),
            modified: time(entry.modified),
            created: time(entry.modified),
            sign,
            thumb: "",
            kind: if entry.is_folder() { 1 } else { kind(name) },
            hashinfo: serde_json::to_string(&hash_info).unwrap_or_default(),
            hash_info,
        }
    }

    /// The same as `fs/get` tells it, which goes by the name alone.
    pub(super) fn alone(self) -> Self {
        Self { kind: kind(self.name), ..self }
    }
}

/// AList's number for what a name is of; 1 is a folder.
pub(super) fn kind(name: &str) -> u8 {
    if media_type::is_film(name) {
        return 2;
    }
    match media_type::kind_of(name) {
        Kind::Video => 2,
        Kind::Audio => 3,
        Kind::Image => 5,
        Kind::Other if media_type::of(name).starts_with("text/") => 4,
        Kind::Other => 0,
    }
}

/// RFC 3339; the epoch where it is not known, or beyond what has four digits for the year.
pub(super) fn time(time: Option<SystemTime>) -> String {
    let time = time.filter(|time| http_date(*time).is_some()).unwrap_or(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::*;
    use crate::driver::{EntryId, EntryKind, Version};

    #[test]
    fn a_file_has_every_field_and_none_of_them_null() {
        let entry = Entry {
            id: EntryId::new("f1"),
            name: "a b.mkv".into(),
            kind: EntryKind::File,
            len: 419_322_796,
            modified: Some(UNIX_EPOCH + Duration::from_millis(1_727_409_680_652)),
            hash: Some("ABCDEF0123456789ABCDEF0123456789ABCDEF01".into()),
            duration: None,
            version: Version::default(),
        };
        let item = serde_json::to_value(Item::new(&entry, "a b.mkv", "/ali/a b.mkv", "s=:0")).unwrap();
        let expected = json!({
            "id": "f1", "path": "/ali/a b.mkv", "name": "a b.mkv", "size": 419_322_796, "is_dir": false,
            "modified": "2024-09-27T04:01:20.652Z", "created": "2024-09-27T04:01:20.652Z", "sign": "s=:0", "thumb": "",
            "type": 2, "hashinfo": "{\"sha1\":\"ABCDEF0123456789ABCDEF0123456789ABCDEF01\"}",
            "hash_info": { "sha1": "ABCDEF0123456789ABCDEF0123456789ABCDEF01" },
        });
        assert_eq!(item, expected);
        let folder = Entry { modified: None, ..Entry::folder(EntryId::new("f2"), "films.mkv") };
        let item = serde_json::to_value(Item::new(&folder, "films.mkv", "/films.mkv", "")).unwrap();
        assert_eq!(
            (&item["type"], &item["hashinfo"], &item["hash_info"]),
            (&json!(1), &json!("null"), &json!(null))
        );
        assert_eq!(item["modified"], "1970-01-01T00:00:00.000Z");
        let alone = Item::new(&folder, "films", "/films", "").alone();
        assert_eq!(serde_json::to_value(alone).unwrap()["type"], 0);
    }

    #[test]
    fn what_a_hash_is_not_is_not_told_as_one() {
        let entry = Entry { hash: Some("<b>".into()), ..Entry::folder(EntryId::new("f"), "a") };
        assert_eq!(serde_json::to_value(Item::new(&entry, "a", "/a", "")).unwrap()["hashinfo"], "null");
    }
}
