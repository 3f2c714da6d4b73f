//! Values that must never reach a log, an error or a `Debug`.

use std::fmt;
use std::sync::Arc;

/// A password, token or key. Neither printable nor comparable; reading it is spelled [`Secret::expose`].
#[derive(Clone)]
pub struct Secret(Arc<str>);

/// An address that is a credential, kept as the very string the drive gave.
///
/// A `Url` would re-encode it and break its signature; parse a copy to look inside. Printed without path and
/// query.
#[derive(Clone)]
pub struct SignedUrl(Arc<str>);

// === impl Secret ===

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

// === impl SignedUrl ===

impl SignedUrl {
    /// Wraps an address.
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }

    /// The address, byte for byte as it was given.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `https`, `http`, or nothing where it has no scheme.
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// Scheme and host, the part that may be logged.
    pub fn origin(&self) -> &str {
        let start = self.0.find("://").map_or(0, |at| at + 3);
        let end = self.0[start..].find(['/', '?', '#']).map_or(self.0.len(), |at| start + at);
        // User information in front of the host would be a credential too.
        match self.0[start..end].rfind('@') {
            None => &self.0[..end],
            Some(at) => &self.0[start + at + 1..end],
        }
    }
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_print_blind() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
        let url = SignedUrl::new("https://cdn.example/a%2Fb?x-oss-signature=abc");
        assert_eq!(format!("{url:?}"), "https://cdn.example/…");
        assert_eq!(format!("{:?}", SignedUrl::new("http://me:pw@cdn.example?x=1")), "cdn.example/…");
    }
}
