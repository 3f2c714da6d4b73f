//! The multistatus that answers a `PROPFIND`. Pure.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use super::propfind::{Name, OWNCLOUD, Property, Wanted};
use crate::driver::Entry;
use crate::http::conditional::http_date;
use crate::path::encode_component;
use crate::serve::media_type;
use crate::serve::telling::Telling;

/// Of the account, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// What files take.
    pub used: u64,
    /// What is left.
    pub available: u64,
}

/// The answer, written while the folder is listed.
#[derive(Debug)]
pub struct Multistatus {
    /// The address of the resource, without a trailing slash, percent-encoded.
    pub at: String,
    /// The resource.
    pub itself: Arc<Entry>,
    /// Which properties.
    pub wanted: Wanted,
    /// Where it is known.
    pub quota: Option<Quota>,
    /// Whether the client is one that reads dates of HTTP alone.
    pub is_microsoft: bool,
}

// === impl Multistatus ===

impl Multistatus {
    /// The resource by itself.
    pub fn alone(mut self) -> String {
        self.opening() + &self.closing()
    }

    fn response(&self, f: &mut Formatter<'_>, address: &str, entry: &Entry) -> fmt::Result {
        // A trailing slash tells a folder's own address.
        let slash = if entry.is_folder() && !address.ends_with('/') { "/" } else { "" };
        write!(f, "<D:response><D:href>{address}{slash}</D:href>")?;
        match &self.wanted {
            Wanted::Names => {
                f.write_str("<D:propstat><D:prop>")?;
                for property in Property::ALL.into_iter().filter(|property| self.has(*property, entry)) {
                    write!(f, "<{}/>", property.tag())?;
                }
                f.write_str(FOUND)?;
            }
            Wanted::All => {
                f.write_str("<D:propstat><D:prop>")?;
                for property in Property::ALL.into_iter().filter(|property| property.is_for_all()) {
                    if self.has(property, entry) {
                        self.value(f, property, entry)?;
                    }
                }
                f.write_str(FOUND)?;
            }
            Wanted::Some(names) => self.some(f, names, entry)?,
        }
        f.write_str("</D:response>\n")
    }

    fn some(&self, f: &mut Formatter<'_>, names: &[Name], entry: &Entry) -> fmt::Result {
        let is_there = |name: &&Name| matches!(name, Name::Known(property) if self.has(*property, entry));
        let (there, missing): (Vec<_>, Vec<_>) = names.iter().partition(is_there);
        if !there.is_empty() || missing.is_empty() {
            f.write_str("<D:propstat><D:prop>")?;
            for name in there {
                if let Name::Known(property) = name {
                    self.value(f, *property, entry)?;
                }
            }
            f.write_str(FOUND)?;
        }
        if !missing.is_empty() {
            f.write_str("<D:propstat><D:prop>")?;
            for name in missing {
                match name {
                    Name::Known(property) => write!(f, "<{}/>", property.tag())?,
                    Name::Unknown(namespace, name) => {
                        write!(f, "<{name} xmlns=\"{}\"/>", Escaped(namespace))?;
                    }
                }
            }
            f.write_str("</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>")?;
        }
        Ok(())
    }

    /// Whether the resource has this property.
    fn has(&self, property: Property, entry: &Entry) -> bool {
        let has_date = || entry.modified.and_then(http_date).is_some();
        match property {
            Property::Checksums => entry.sha1().is_some(),
            Property::ContentLength | Property::ContentType | Property::Etag => !entry.is_folder(),
            Property::CreationDate | Property::LastModified => has_date(),
            Property::QuotaAvailable | Property::QuotaUsed => entry.is_folder() && self.quota.is_some(),
            Property::DisplayName | Property::ResourceType | Property::SupportedLock => true,
        }
    }

    fn value(&self, f: &mut Formatter<'_>, property: Property, entry: &Entry) -> fmt::Result {
        let tag = property.tag();
        let date = || entry.modified.and_then(http_date).unwrap_or_default();
        match property {
            Property::ResourceType if entry.is_folder() => write!(f, "<{tag}><D:collection/></{tag}>"),
            Property::ResourceType | Property::SupportedLock => write!(f, "<{tag}/>"),
            Property::Checksums => {
                let hash = entry.sha1().unwrap_or_default();
                write!(f, "<{tag}><O:checksum>SHA1:{hash}</O:checksum></{tag}>")
            }
            Property::ContentLength => write!(f, "<{tag}>{}</{tag}>", entry.len),
            Property::ContentType => write!(f, "<{tag}>{}</{tag}>", media_type::of(&entry.name)),
            Property::CreationDate if self.is_microsoft => write!(f, "<{tag}>{}</{tag}>", date()),
            Property::CreationDate => {
                let time = entry.modified.unwrap_or(std::time::UNIX_EPOCH);
                write!(f, "<{tag}>{}</{tag}>", humantime::format_rfc3339_seconds(time))
            }
            Property::DisplayName => write!(f, "<{tag}>{}</{tag}>", Escaped(&entry.name)),
            Property::Etag => write!(f, "<{tag}>{}</{tag}>", Escaped(&entry.validators().etag)),
            Property::LastModified => write!(f, "<{tag}>{}</{tag}>", date()),
            Property::QuotaAvailable => {
                write!(f, "<{tag}>{}</{tag}>", self.quota.map_or(0, |quota| quota.available))
            }
            Property::QuotaUsed => write!(f, "<{tag}>{}</{tag}>", self.quota.map_or(0, |quota| quota.used)),
        }
    }
}

impl Telling for Multistatus {
    fn opening(&mut self) -> String {
        let own = Written(|f: &mut Formatter<'_>| self.response(f, &self.at, &self.itself));
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
             <D:multistatus xmlns:D=\"DAV:\" xmlns:O=\"{OWNCLOUD}\">\n{own}"
        )
    }

    fn rows(&mut self, entries: &[Entry]) -> String {
        let folder = self.at.trim_end_matches('/');
        let rows = Written(|f: &mut Formatter<'_>| {
            entries.iter().try_for_each(|entry| {
                self.response(f, &format!("{folder}/{}", encode_component(&entry.name)), entry)
            })
        });
        rows.to_string()
    }

    fn closing(&mut self) -> String {
        "</D:multistatus>\n".to_owned()
    }
}

/// A text that stands in XML. Names are upstream text, and what XML cannot hold is replaced.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\t' | '\n' | '\r' => write!(f, "&#{};", u32::from(c))?,
                '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// What a function writes.
struct Written<F>(F);

impl<F: Fn(&mut Formatter<'_>) -> fmt::Result> Display for Written<F> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}

/// Kodi wants the status in just these words, over HTTP/2 too.
const FOUND: &str = "</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>";

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;
    use quick_xml::NsReader;
    use quick_xml::events::Event;

    use super::*;
    use crate::driver::{EntryId, EntryKind, Version};

    fn film() -> Entry {
        Entry {
            id: EntryId::new("f"),
            name: "a & b.mkv".into(),
            kind: EntryKind::File,
            len: 42,
            modified: Some(UNIX_EPOCH + Duration::from_secs(784_111_777)),
            hash: Some("ABCDEF0123456789ABCDEF0123456789ABCDEF01".into()),
            duration: None,
            version: Version::default(),
        }
    }

    fn told(entry: Entry, body: &str) -> String {
        let wanted = Wanted::parse(body.as_bytes()).unwrap();
        let (at, itself) = ("/dav/x".to_owned(), Arc::new(entry));
        Multistatus { at, itself, wanted, quota: None, is_microsoft: false }.alone()
    }

    #[test]
    fn without_a_body_all_is_told_but_the_display_name() {
        let text = told(film(), "");
        for part in [
            "<D:href>/dav/x</D:href>",
            "<D:resourcetype/>",
            "<D:getcontentlength>42</D:getcontentlength>",
            "<D:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</D:getlastmodified>",
            "<D:creationdate>1994-11-06T08:49:37Z</D:creationdate>",
            "<D:getcontenttype>video/x-matroska</D:getcontenttype>",
            "<O:checksum>SHA1:ABCDEF",
            "<D:status>HTTP/1.1 200 OK</D:status>",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("displayname") && !text.contains("quota"));
        let folder = told(Entry::folder(EntryId::new("d"), "x"), " \n");
        assert!(
            folder.contains("<D:href>/dav/x/</D:href>") && folder.contains("<D:collection/>"),
            "{folder}"
        );
        assert!(!folder.contains("getcontentlength"), "{folder}");
    }

    #[test]
    fn what_is_asked_for_by_name_is_told_or_said_to_be_missing() {
        let body = "<?xml version=\"1.0\"?><propfind xmlns=\"DAV:\"><prop><displayname/><getcontentlength/>\
                    <x:color xmlns:x=\"urn:a&amp;b\"/><quota-used-bytes/></prop></propfind>";
        let text = told(film(), body);
        assert!(text.contains("<D:displayname>a &amp; b.mkv</D:displayname>"), "{text}");
        assert!(text.contains("404 Not Found"), "{text}");
        assert!(text.contains("<color xmlns=\"urn:a&amp;b\"/><D:quota-used-bytes/>"), "{text}");
        let names = told(film(), "<D:propfind xmlns:D=\"DAV:\"><D:propname/></D:propfind>");
        assert!(names.contains("<D:getetag/>") && !names.contains("42"), "{names}");
    }

    proptest! {
        #[test]
        fn any_name_stands_in_well_formed_xml(name in "[^/]{1,40}") {
            let text = told(
                Entry { name: name.as_str().into(), ..film() },
                "<propfind xmlns=\"DAV:\"><prop><displayname/></prop></propfind>",
            );
            let mut reader = NsReader::from_str(&text);
            while !matches!(reader.read_event().unwrap(), Event::Eof) {}
        }
    }
}
