//! What a `PROPFIND` asks for. Pure.
//!
//! Without a body, or with `allprop`, everything is told but the display name: it is that of the address, and Kodi decodes it once too often.

use quick_xml::NsReader;
use quick_xml::escape::unescape;
use quick_xml::events::Event;
use quick_xml::name::ResolveResult;

use crate::error::Result;

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

// === impl Property ===

impl Property {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 11] = [
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
    pub fn is_for_all(self) -> bool {
        !matches!(self, Self::DisplayName | Self::QuotaAvailable | Self::QuotaUsed)
    }

    /// As it stands in the answer.
    pub fn tag(self) -> &'static str {
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

/// Whether it can be the name of an element; narrower than XML 1.0 is in what nobody uses.
fn is_name(name: &str) -> bool {
    let is_first = |c: char| c.is_alphabetic() || c == '_';
    name.starts_with(is_first) && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
}

/// The namespace of what is ownCloud's.
pub const OWNCLOUD: &str = "http://owncloud.org/ns";
/// Chosen: ten times what any client asks for.
const MOST_NAMES: usize = 200;
/// Bytes of names that we do not know, with their namespaces: each comes back with each entry. Chosen: twice what any client asks for.
const MOST_UNKNOWN: usize = 2048;
/// Chosen: what a property holds may be nested, and is skipped.
const DEEPEST: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    }
}
