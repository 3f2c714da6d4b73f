//! A path in our tree, checked once when it is made and never again.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, ErrorKind, Result};

/// An absolute path of zero or more components.
///
/// Invariants: valid UTF-8; begins with `/`; has no empty, `.` or `..` component and no NUL; no component holds
/// a `/` (the split happens before the decoding) nor is longer than [`VirtualPath::MAX_COMPONENT`] bytes; the
/// whole is at most [`VirtualPath::MAX`] bytes. The root is `/`, anything else has no trailing slash.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VirtualPath(Arc<str>);

/// What RFC 3986 §2.3 leaves unreserved; players choke on more than that (VLC, Kodi).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

// === impl VirtualPath ===

impl VirtualPath {
    /// Longest path in bytes, chosen: twelve components of the longest name fit.
    pub const MAX: usize = 12 * 1024 + 12;
    /// Longest component in bytes, as the drive's API documents for names.
    pub const MAX_COMPONENT: usize = 1024;

    /// The root of the tree.
    pub fn root() -> Self {
        Self(Arc::from("/"))
    }

    /// Reads the path of a request: percent-encoded UTF-8, decoded exactly once, component by component.
    /// Empty components are skipped, since clients join with a slash too many.
    ///
    /// # Errors
    /// `Invalid` on a component that breaks an invariant of the type.
    pub fn parse_encoded(raw: &str) -> Result<Self> {
        let mut path = Builder::new(raw.len());
        for component in raw.split('/').filter(|component| !component.is_empty()) {
            if !component.contains('%') {
                path.push(component)?;
                continue;
            }
            let decoded = percent_decode_str(component)
                .decode_utf8()
                .map_err(|_| malformed("the path is not UTF-8"))?;
            path.push(&decoded)?;
        }
        path.finish()
    }

    /// Reads a path as a person writes it, not encoded.
    ///
    /// # Errors
    /// `Invalid` on a component that breaks an invariant of the type.
    pub fn parse(plain: &str) -> Result<Self> {
        let mut path = Builder::new(plain.len());
        for component in plain.split('/').filter(|component| !component.is_empty()) {
            path.push(component)?;
        }
        path.finish()
    }

    /// The path of a child. A drive's names are upstream text, so this can fail.
    ///
    /// # Errors
    /// `Invalid` where `name` cannot be a component.
    pub fn join(&self, name: &str) -> Result<Self> {
        let mut path = Builder::new(self.0.len() + 1 + name.len());
        for component in self.components() {
            path.push(component)?;
        }
        path.push(name)?;
        path.finish()
    }

    /// This path below another: `/mount` + `/a/b` = `/mount/a/b`.
    ///
    /// # Errors
    /// `Invalid` where the whole becomes too long.
    pub fn below(&self, base: &Self) -> Result<Self> {
        let mut path = Builder::new(base.0.len() + self.0.len());
        for component in base.components().chain(self.components()) {
            path.push(component)?;
        }
        path.finish()
    }

    /// The decoded path, beginning with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components in order; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        components(&self.0)
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// The last component; none for the root.
    pub fn name(&self) -> Option<&str> {
        self.components().next_back()
    }

    /// The folder that holds this; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        match self.0.rfind('/') {
            None | Some(0) => Some(Self::root()),
            Some(at) => Some(Self(Arc::from(&self.0[..at]))),
        }
    }

    /// What is left of this path below `base`, compared component by component, so that `/team/ab` is not
    /// below `/team/a`.
    pub fn strip_prefix(&self, base: &Self) -> Option<Self> {
        if base.is_root() {
            return Some(self.clone());
        }
        match self.rest(base)? {
            "" => Some(Self::root()),
            rest => Some(Self(Arc::from(rest))),
        }
    }

    /// The components below `base`, compared likewise; none of them where this is `base`.
    pub fn components_below(&self, base: &Self) -> Option<impl Iterator<Item = &str>> {
        self.rest(base).map(components)
    }

    /// Whether this is `base` or lies below it, compared component by component.
    pub fn is_below(&self, base: &Self) -> bool {
        self.rest(base).is_some()
    }

    /// What stands behind `base`: nothing, or all from the slash on.
    fn rest(&self, base: &Self) -> Option<&str> {
        // The root's own slash is the next one's.
        let base = if base.is_root() { "" } else { &*base.0 };
        // The length tells most of them apart, so it goes first: every rule is compared with every path.
        let rest = self.0.get(base.len()..).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        self.0.starts_with(base).then_some(rest)
    }

    /// The path as it stands in an address: every byte outside RFC 3986's unreserved set is escaped.
    pub fn encoded(&self) -> String {
        if self.is_root() {
            return "/".to_owned();
        }
        let mut out = String::with_capacity(self.0.len() * 3 / 2);
        for component in self.components() {
            out.push('/');
            out.extend(utf8_percent_encode(component, ESCAPED));
        }
        out
    }
}

fn components(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split('/').filter(|component| !component.is_empty())
}

/// One component, escaped as [`VirtualPath::encoded`] does it; also fit for a query value.
pub fn encode_component(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

impl fmt::Display for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Borrow<str> for VirtualPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

struct Builder(String);

impl Builder {
    fn new(capacity: usize) -> Self {
        Self(String::with_capacity(capacity + 1))
    }

    fn push(&mut self, component: &str) -> Result<()> {
        if component.is_empty() || component == "." || component == ".." {
            return Err(malformed("the path has a component that is not a name"));
        }
        if component.contains(['/', '\0']) {
            return Err(malformed("the path has a component with a separator or NUL in it"));
        }
        if component.len() > VirtualPath::MAX_COMPONENT {
            return Err(malformed("the path has a name of more than 1,024 bytes"));
        }
        self.0.push('/');
        self.0.push_str(component);
        if self.0.len() > VirtualPath::MAX {
            return Err(malformed("the path is too long"));
        }
        Ok(())
    }

    fn finish(self) -> Result<VirtualPath> {
        if self.0.is_empty() {
            return Ok(VirtualPath::root());
        }
        Ok(VirtualPath(Arc::from(self.0)))
    }
}

fn malformed(words: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "read a path").saying(words)
}

/// How many cases a property is tried with, where it is about what must never open: 10,000, or as `PROPTEST_CASES` says.
#[cfg(test)]
pub(crate) fn cases() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "it is proptest's own variable, and no setting of ours")]
    let said = std::env::var("PROPTEST_CASES").ok();
    said.and_then(|cases| cases.parse().ok()).unwrap_or(10_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(raw: &str) -> Option<String> {
        VirtualPath::parse_encoded(raw).ok().map(|path| path.as_str().to_owned())
    }

    #[test]
    fn a_path_is_decoded_once() {
        assert_eq!(encoded("/a%20b/%E7%94%B5%E5%BD%B1"), Some("/a b/电影".to_owned()));
        assert_eq!(encoded("/100%25/%252e%252e"), Some("/100%/%2e%2e".to_owned()));
    }

    #[test]
    fn slashes_too_many_are_skipped() {
        assert_eq!(encoded("//a///b/"), Some("/a/b".to_owned()));
        assert_eq!(encoded(""), Some("/".to_owned()));
    }

    #[test]
    fn traversal_nul_and_separators_are_refused() {
        for raw in ["/a/..", "/../a", "/.", "/%2e%2e/a", "/.%2E", "/a%00b", "/a%2fb", "/%2F", "/%ff"] {
            assert_eq!(encoded(raw), None, "{raw}");
        }
        assert_eq!(encoded(&format!("/{}", "x".repeat(1025))), None);
        assert_eq!(encoded(&"/abcdefgh".repeat(2000)), None);
    }

    #[test]
    fn scope_is_compared_by_component() {
        let base = VirtualPath::parse("/team/a").unwrap();
        let below = |path: &str| VirtualPath::parse(path).unwrap().strip_prefix(&base);
        assert_eq!(below("/team/ab"), None);
        assert_eq!(below("/team/a"), Some(VirtualPath::root()));
        assert_eq!(below("/team/a/b"), Some(VirtualPath::parse("/b").unwrap()));
    }

    /// A name that a drive may give a file.
    fn any_name() -> impl Strategy<Value = String> {
        // Not two that a path has another meaning for.
        "[^/\0]{1,40}".prop_map(|name| if name == "." || name == ".." { name + "x" } else { name })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(cases()))]

        #[test]
        fn any_name_survives_the_round_trip_through_an_address(names in prop::collection::vec(any_name(), 0..6)) {
            let path = names.iter().try_fold(VirtualPath::root(), |path, name| path.join(name)).unwrap();
            prop_assert_eq!(VirtualPath::parse_encoded(&path.encoded()).unwrap(), path.clone());
            prop_assert!(path.encoded().bytes().all(|byte| byte.is_ascii_graphic() && !b"+;&#?'\"".contains(&byte)));
        }

        #[test]
        fn whatever_parses_holds_the_invariants(raw in "\\PC{0,200}") {
            if let Ok(path) = VirtualPath::parse_encoded(&raw) {
                prop_assert!(path.as_str().starts_with('/'));
                prop_assert!(path.components().all(|name| name != "." && name != ".." && !name.contains('\0')));
                prop_assert_eq!(VirtualPath::parse(path.as_str()).unwrap(), path);
            }
        }
    }
}
