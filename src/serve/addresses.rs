//! The addresses that we give out: where they begin, and the signature they carry.

use std::time::Duration;

use super::Settings;
use crate::access;
use crate::access::rules::Rules;
use crate::clock::Clock;
use crate::path::{VirtualPath, encode_component};
use crate::sign::Signer;

/// Makes addresses of our own routes.
#[derive(Clone, Debug)]
pub struct Addresses {
    clock: Clock,
    /// How long signatures live; zero for no end.
    expires: Duration,
    /// In front of every route: nothing, or the public address without a trailing slash.
    origin: String,
    /// The path of the public address, without a trailing slash.
    prefix: String,
    /// What of the tree is closed to some: its addresses are signed in any case.
    rules: Rules,
    signer: Signer,
    /// Whether all media addresses must carry a signature.
    signed: bool,
}

/// The routes below which a file has an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Route {
    /// `/browse`
    Browse,
    /// `/d`
    Content,
    /// `/hls`
    Hls,
    /// `/p`
    Proxied,
}

// === impl Addresses ===

impl Addresses {
    /// Addresses below the public one; without one, they begin with `/`. They are signed where the gate asks for it.
    pub fn new(
        settings: &Settings,
        access: &access::Settings,
        rules: Rules,
        signer: Signer,
        clock: Clock,
    ) -> Self {
        let origin = settings.public_url.clone().unwrap_or_default();
        let prefix = url::Url::parse(&origin).map(|url| url.path().trim_end_matches('/').to_owned());
        Self {
            clock,
            expires: access.link_expires,
            prefix: prefix.unwrap_or_default(),
            origin,
            rules,
            signer,
            signed: access.sign_all && !access.guest,
        }
    }

    /// The path that all our routes lie below; empty or like `/sluice`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether an `Origin` that a browser names is ours: that of the public address, or of the `host` it asked.
    pub fn is_own_origin(&self, origin: &str, host: &str) -> bool {
        let public = url::Url::parse(&self.origin).map(|url| url.origin().ascii_serialization());
        let asked = origin.split_once("://").map(|(_, asked)| asked);
        asked.is_some_and(|asked| asked.eq_ignore_ascii_case(host))
            || public.is_ok_and(|public| public.eq_ignore_ascii_case(origin))
    }

    /// Whether players reach us by `https`.
    pub fn is_https(&self) -> bool {
        self.origin.starts_with("https://")
    }

    /// The address of a path as a page of ours links to it: from the root of the host.
    pub fn local(&self, route: Route, path: &VirtualPath, below: &str) -> String {
        format!("{}{}{}{below}{}", self.prefix, route.segment(), path.encoded(), self.query(path))
    }

    /// The whole address of a path, for a player elsewhere; below `asked`, the origin that the client asked, where there is no public one.
    pub fn whole(&self, asked: &str, route: Route, path: &VirtualPath, below: &str) -> String {
        self.unsigned(asked, route, path) + below + &self.query(path)
    }

    /// The same without a signature.
    pub fn unsigned(&self, asked: &str, route: Route, path: &VirtualPath) -> String {
        let origin = if self.origin.is_empty() { asked } else { &self.origin };
        format!("{origin}{}{}", route.segment(), path.encoded())
    }

    /// The query that an address of `path` needs: nothing, or `?sign=…`.
    pub fn query(&self, path: &VirtualPath) -> String {
        match self.signature(path) {
            sign if sign.is_empty() => sign,
            sign => format!("?sign={}", encode_component(&sign)),
        }
    }

    /// The signature that an address of `path` needs, as it is; empty where it needs none.
    pub fn signature(&self, path: &VirtualPath) -> String {
        let is_needed = self.signed || self.rules.protect(path);
        if is_needed { self.signer.sign(path, self.end()) } else { String::new() }
    }

    /// A signature of `path`, fit for a query.
    pub fn sign(&self, path: &VirtualPath) -> String {
        encode_component(&self.signer.sign(path, self.end()))
    }

    fn end(&self) -> u64 {
        if self.expires.is_zero() { 0 } else { (self.clock.wall() + self.expires).as_secs() }
    }
}

/// The whole address of a path below `origin`, for a player elsewhere, with this signature.
pub fn exported(origin: &str, route: Route, path: &VirtualPath, below: &str, sign: &str) -> String {
    format!("{origin}{}{}{below}?sign={}", route.segment(), path.encoded(), encode_component(sign))
}

// === impl Route ===

impl Route {
    fn segment(self) -> &'static str {
        match self {
            Self::Browse => "/browse",
            Self::Content => "/d",
            Self::Hls => "/hls",
            Self::Proxied => "/p",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn an_origin_is_ours_by_the_public_address_or_by_the_host_asked() {
        let make = |public: Option<&str>| {
            let settings = Settings { public_url: public.map(str::to_owned) };
            let (access, key) = (access::Settings::default(), Secret::new("test-token"));
            Addresses::new(&settings, &access, Rules::new(&[], &key), Signer::new(&key), Clock::new())
        };
        let (public, local) = (make(Some("https://films.example.org/sluice")), make(None));
        assert!(public.is_own_origin("https://films.example.org", "127.0.0.1:8470"));
        assert!(local.is_own_origin("http://127.0.0.1:8470", "127.0.0.1:8470"));
        for origin in ["https://evil.example.org", "null", "", "https://films.example.org.evil.org"] {
            assert!(!public.is_own_origin(origin, "127.0.0.1:8470"), "{origin}");
            assert!(!local.is_own_origin(origin, "127.0.0.1:8470"), "{origin}");
        }
    }

    #[test]
    fn addresses_carry_the_prefix_and_a_signature_where_one_is_needed() {
        let signer = Signer::new(&Secret::new("test-token"));
        let path = VirtualPath::parse("/ali/Movies/a b.mkv").unwrap();
        let sign = "_TXYEaQMHu0i6lxTvE8Yr1Tyt1OnZjz6rL4v2ABOHXo%3D%3A0";
        let make = |signed: bool| {
            let settings = Settings { public_url: Some("https://films.example.org/sluice".to_owned()) };
            let access = access::Settings { guest: !signed, ..access::Settings::default() };
            let rules = Rules::new(&[], &Secret::new("test-token"));
            Addresses::new(&settings, &access, rules, signer.clone(), Clock::new())
        };
        assert_eq!(make(false).local(Route::Content, &path, ""), "/sluice/d/ali/Movies/a%20b.mkv");
        assert_eq!(
            make(true).local(Route::Hls, &path, "/master.m3u8"),
            format!("/sluice/hls/ali/Movies/a%20b.mkv/master.m3u8?sign={sign}")
        );
        assert_eq!(
            exported("https://films.example.org/sluice", Route::Content, &path, "", &signer.sign(&path, 0)),
            format!("https://films.example.org/sluice/d/ali/Movies/a%20b.mkv?sign={sign}")
        );
    }
}
