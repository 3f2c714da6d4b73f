//! What a `PROPFIND` asks for, and the multistatus that answers it. Pure.
//!
//! Without a body, or with `allprop`, everything is told but the display name: it is that of the address, and Kodi decodes it once too often.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use quick_xml::NsReader;
use quick_xml::escape::unescape;
use quick_xml::events::Event;
use quick_xml::name::ResolveResult;

use crate::driver::Entry;
use crate::error::Result;
use crate::http::conditional::http_date;
use crate::path::encode_component;
use crate::serve::media_type;
use crate::serve::telling::Telling;

/// How far down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Depth {
    /// The resource.
    Zero,
    /// And what is in it.
    One,
    /// And all below; not of folders.
    Infinity,
}

/// Which properties.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// All that there are.
    All,
    /// The names alone.
    Names,
    /// These.
    Some(Vec<Name>),
}

/// The name of a property.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Name {
    /// One that we have.
    Known(Property),
    /// Another, in this namespace.
    Unknown(String, String),
}

/// A property that we have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Property {
    /// Of the content, as ownCloud's clients read it.
    Checksums,
    /// In bytes; of files.
    ContentLength,
    /// By our own table; of files.
    ContentType,
    /// The last change, since drives tell no other.
    CreationDate,
    /// The name.
    DisplayName,
    /// As the file's own answers carry it.
    Etag,
    /// As HTTP writes it.
    LastModified,
    /// RFC 4331; of folders.
    QuotaAvailable,
    /// RFC 4331; of folders.
    QuotaUsed,
    /// What tells a folder.
    ResourceType,
    /// None.
    SupportedLock,
}

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

// === impl Property ===

impl Property {
    const ALL: [Self; 11] = [
        Self::ResourceType,
        Self::ContentLength,
        Self::LastModified,
        Self::CreationDate,
        Self::ContentType,
        Self::Etag,
        Self::SupportedLock,
        Self::Checksums,
        Self::DisplayName,
        Self::QuotaAvailable,
        Self::QuotaUsed,
    ];

    /// Whether it is told to who asks for all: not the display name, and not the quota (RFC 4331 §2).
    fn is_for_all(self) -> bool {
        !matches!(self, Self::DisplayName | Self::QuotaAvailable | Self::QuotaUsed)
    }

    /// As it stands in the answer.
    fn tag(self) -> &'static str {
        match self {
            Self::Checksums => "O:checksums",
            Self::ContentLength => "D:getcontentlength",
            Self::ContentType => "D:getcontenttype",
            Self::CreationDate => "D:creationdate",
            Self::DisplayName => "D:displayname",
            Self::Etag => "D:getetag",
            Self::LastModified => "D:getlastmodified",
            Self::QuotaAvailable => "D:quota-available-bytes",
            Self::QuotaUsed => "D:quota-used-bytes",
            Self::ResourceType => "D:resourcetype",
            Self::SupportedLock => "D:supportedlock",
        }
    }

    fn named(namespace: &str, name: &str) -> Option<Self> {
        let prefix = match namespace {
            "DAV:" => "D:",
            OWNCLOUD => "O:",
            _ => return None,
        };
        Self::ALL.into_iter().find(|property| property.tag().strip_prefix(prefix) == Some(name))
    }
}

// === impl Wanted ===

impl Wanted {
    /// Reads the body of a request; one without is for all.
    ///
    /// # Errors
    /// `Invalid` where it is not well-formed, or no `propfind`.
    pub fn parse(body: &[u8]) -> Result<Self> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::All);
        }
        let text = std::str::from_utf8(body).map_err(|_| super::malformed("the body is not UTF-8"))?;
        let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}'));
        let broken = |_| super::malformed("the body is not well-formed XML");
        let mut wanted = None;
        // Names of the elements around the present one, as far as they are of DAV.
        let mut around: Vec<Option<String>> = Vec::new();
        let mut is_over = false;
        let mut unknown = 0;
        loop {
            let (namespace, event) = reader.read_resolved_event().map_err(broken)?;
            let namespace = match namespace {
                ResolveResult::Bound(namespace) => unescape(namespace.into_inner())
                    .map_err(|_| super::malformed("a namespace is malformed"))?
                    .into_owned(),
                ResolveResult::Unbound => String::new(),
                ResolveResult::Unknown(_) => {
                    return Err(super::malformed("a prefix stands for no namespace"));
                }
            };
            let (element, is_empty) = match event {
                Event::Start(element) => (element, false),
                Event::Empty(element) => (element, true),
                Event::End(_) => {
                    around.pop();
                    is_over = around.is_empty();
                    continue;
                }
                Event::DocType(_) => return Err(super::malformed("a document type has no place here")),
                Event::Eof if around.is_empty() => break,
                Event::Eof => return Err(super::malformed("the body ends too early")),
                _ => continue,
            };
            let name = element.local_name().into_inner().to_owned();
            if !is_name(&name) {
                return Err(super::malformed("an element has no proper name"));
            }
            let is_dav = namespace == "DAV:";
            let depth = around.len();
            if depth == 0 && (is_over || !is_dav || name != "propfind") {
                return Err(super::malformed("the body is no propfind"));
            }
            if depth > DEEPEST {
                return Err(super::malformed("the body is nested too deep"));
            }
            match (depth, is_dav, name.as_str()) {
                (1, true, "allprop") => wanted = wanted.or(Some(Self::All)),
                (1, true, "propname") => wanted = wanted.or(Some(Self::Names)),
                (1, true, "prop") => wanted = wanted.or(Some(Self::Some(Vec::new()))),
                (2, ..) if around.get(1).is_some_and(|above| above.as_deref() == Some("prop")) => {
                    if let Some(Self::Some(names)) = &mut wanted {
                        names.push(match Property::named(&namespace, &name) {
                            Some(property) => Name::Known(property),
                            None => {
                                unknown += namespace.len() + name.len();
                                Name::Unknown(namespace, name.clone())
                            }
                        });
                        if names.len() > MOST_NAMES || unknown > MOST_UNKNOWN {
                            return Err(super::malformed("too many properties are asked for"));
                        }
                    }
                }
                _ => {}
            }
            if is_empty {
                is_over = around.is_empty();
            } else {
                around.push(is_dav.then_some(name));
            }
        }
        wanted.ok_or_else(|| super::malformed("the propfind asks for nothing"))
    }

    /// Whether the quota is asked for.
    pub fn has_quota(&self) -> bool {
        let is_quota =
            |name: &Name| matches!(name, Name::Known(Property::QuotaAvailable | Property::QuotaUsed));
        matches!(self, Self::Some(names) if names.iter().any(is_quota))
    }
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

/// Whether it can be the name of an element; narrower than XML 1.0 is in what nobody uses.
fn is_name(name: &str) -> bool {
    let is_first = |c: char| c.is_alphabetic() || c == '_';
    name.starts_with(is_first) && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
}

/// Kodi wants the status in just these words, over HTTP/2 too.
const FOUND: &str = "</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>";
const OWNCLOUD: &str = "http://owncloud.org/ns";
/// Chosen: ten times what any client asks for.
const MOST_NAMES: usize = 200;
/// Bytes of names that we do not know, with their namespaces: each comes back with each entry. Chosen: twice what any client asks for.
const MOST_UNKNOWN: usize = 2048;
/// Chosen: what a property holds may be nested, and is skipped.
const DEEPEST: usize = 32;

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

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

    #[test]
    fn names_that_would_come_back_with_each_entry_are_not_long() {
        let body = |namespace: usize| {
            let names = "<p:a/>".repeat(100);
            format!(
                "<propfind xmlns=\"DAV:\"><prop xmlns:p=\"{}\">{names}</prop></propfind>",
                "x".repeat(namespace)
            )
        };
        assert!(Wanted::parse(body(19).as_bytes()).is_ok());
        assert!(Wanted::parse(body(21).as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_propfind_is_refused() {
        for body in [
            "x",
            "<propfind/>",
            "<propfind xmlns=\"DAV:\"/>",
            "<propfind xmlns=\"DAV:\"><prop>",
            "<D:propfind><D:allprop/></D:propfind>",
            "<propfind xmlns=\"DAV:\"><allprop/></propfind><propfind xmlns=\"DAV:\"/>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><propfind xmlns=\"DAV:\"><allprop/></propfind>",
            "<propfind xmlns=\"DAV:\"><prop></propfind></prop>",
            "<propfind xmlns=\"DAV:\"><prop><a&b/></prop></propfind>",
            "<propfind xmlns=\"DAV:\"><prop><1/></prop></propfind>",
        ] {
            assert!(Wanted::parse(body.as_bytes()).is_err(), "{body}");
        }
        let many = "<a/>".repeat(MOST_NAMES + 1);
        let body = format!("<propfind xmlns=\"DAV:\"><prop>{many}</prop></propfind>");
        assert!(Wanted::parse(body.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_body_panics(body in "[<>/?!\"=a-zA-Z: &;\\[\\]-]{0,80}") {
            let _ = Wanted::parse(body.as_bytes());
        }

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
