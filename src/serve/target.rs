//! The head of a request as a target: what is wanted, of which path, by whom. Pure.

use http::{Method, header};
use url::form_urlencoded;

use super::api::Call;
use super::client::Client;
use super::hls::playlist::EXTENSIONS;
use super::web::Asset;
use crate::error::{Error, ErrorKind, Result};
use crate::http::Request;
use crate::http::range::RangeSpec;
use crate::layer::authenticate::Requirement;
use crate::path::VirtualPath;

/// What the paths of our addresses begin with, beside `/` itself.
pub const ROUTES: [&str; 9] = ["account", "api", "assets", "browse", "d", "dav", "hls", "p", "ping"];

/// What a request asks for.
#[derive(Clone, Debug)]
pub struct Target {
    /// The route.
    pub endpoint: Endpoint,
    /// The path in our tree.
    pub path: VirtualPath,
    /// Who asks.
    pub client: Client,
    /// Which part.
    pub range: Option<RangeSpec>,
    /// What the query says.
    pub query: Query,
    /// Whether `Cache-Control: no-cache` says that what is kept will not do.
    pub no_cache: bool,
}

/// The address of a request, as it was read.
#[derive(Clone, Debug)]
struct Address {
    endpoint: Endpoint,
    path: VirtualPath,
}

/// A route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// What is known of a mount's account, and a way to log in.
    Account,
    /// A call of AList's API.
    Api(Call),
    /// A file of the page.
    Asset(Asset),
    /// A folder or a film, for a person.
    Browse,
    /// A file's bytes, by whatever way the mount delivers; of a folder, what is in it.
    Content,
    /// WebDAV; the path begins where the visitor's own tree does.
    Dav,
    /// The film as HLS.
    Hls(Part),
    /// Whether we are there.
    Ping,
    /// A file's bytes, always through us.
    Proxied,
}

/// A resource of a film's HLS presentation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// The multivariant playlist.
    Master,
    /// A variant's playlist.
    Media {
        /// `ld`, `sd`, …
        variant: String,
    },
    /// What a tag of a variant's playlist names, such as an initialisation section.
    Attached {
        /// `ld`, `sd`, …
        variant: String,
        /// From 0, in the order of the playlist.
        number: usize,
        /// As its address ends.
        extension: &'static str,
    },
    /// A piece of a variant.
    Segment {
        /// `ld`, `sd`, …
        variant: String,
        /// From 0.
        index: usize,
        /// As its address ends.
        extension: &'static str,
    },
    /// A text track as WebVTT.
    Subtitle {
        /// BCP 47.
        language: String,
    },
    /// A text track's playlist.
    SubtitlePlaylist {
        /// BCP 47.
        language: String,
    },
}

/// What the query of a media address may say, beside the signature that the gate reads. Other keys are ignored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query {
    /// `?via=`
    pub via: Option<Via>,
    /// `?download`
    pub download: bool,
    /// `?playlist=m3u8`, of a folder.
    pub playlist: bool,
    /// `?refresh=true`
    pub refresh: bool,
    /// `?only=`, `?max=`, `?default=` of a multivariant playlist.
    pub choice: Choice,
}

/// Which qualities a multivariant playlist lists, by the names they have in our addresses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Choice {
    /// This one alone.
    pub only: Option<String>,
    /// None better than this.
    pub max: Option<String>,
    /// This one first, since players begin with the first.
    pub default: Option<String>,
}

/// An override of the mount's delivery, for addresses in files that carry no headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Via {
    /// The bytes.
    Proxy,
    /// A redirect.
    Redirect,
}

// === impl Target ===

impl Target {
    /// Reads the head of a request. `prefix` is the path of the public address, without a trailing slash; requests
    /// are understood with it and without it, as reverse proxies strip it or not.
    ///
    /// # Errors
    /// `Invalid` on a malformed path or parameter, `NotFound` on an unknown route.
    pub fn parse(request: &mut Request, prefix: &str) -> Result<Self> {
        let Address { endpoint, path } = match request.extensions_mut().remove() {
            Some(address) => address,
            None => {
                let (endpoint, path) = route(request.uri().path(), prefix)?;
                Address { endpoint, path: path? }
            }
        };
        let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        // RFC 9110 §14.2: a range is defined for GET alone.
        let range = (request.method() == Method::GET).then(|| text(header::RANGE)).flatten();
        let no_cache = text(header::CACHE_CONTROL).is_some_and(|directives| {
            directives.split(',').any(|one| one.trim().eq_ignore_ascii_case("no-cache"))
        });
        Ok(Self {
            no_cache,
            endpoint,
            path,
            client: Client::of(text(header::USER_AGENT).unwrap_or_default()),
            range: range.and_then(RangeSpec::parse),
            query: Query::parse(request.uri().query().unwrap_or_default())?,
        })
    }
}

/// Who may make a request, told before anything else is done with it. What was read of its address goes along with it, to be read once.
pub fn requirement(request: &mut Request, prefix: &str) -> Requirement {
    let Ok((endpoint, path)) = route(request.uri().path(), prefix) else { return Requirement::Login(None) };
    let requirement = required(&endpoint, path.as_ref().ok(), request.uri().query().unwrap_or_default());
    if let Ok(path) = path {
        request.extensions_mut().insert(Address { endpoint, path });
    }
    requirement
}

/// What a route asks for; the path is none where it is malformed, and names nothing.
fn required(endpoint: &Endpoint, path: Option<&VirtualPath>, query: &str) -> Requirement {
    match (endpoint, path) {
        (Endpoint::Account, _) => Requirement::Administrator,
        (Endpoint::Asset(_), _) => Requirement::Nothing,
        (Endpoint::Api(_) | Endpoint::Ping, _) => Requirement::Anyone,
        (Endpoint::Dav, _) => Requirement::Dav,
        // Everybody may ask where their own tree begins.
        (Endpoint::Browse, path) => Requirement::Login(path.filter(|path| !path.is_root()).cloned()),
        (Endpoint::Content | Endpoint::Hls(_) | Endpoint::Proxied, Some(path)) => {
            // Whatever else the query holds: what is malformed in it is for those to hear who may ask.
            Requirement::Signature { path: path.clone(), sign: signature(query) }
        }
        (Endpoint::Content | Endpoint::Hls(_) | Endpoint::Proxied, None) => Requirement::Login(None),
    }
}

/// The signature in a query.
pub(super) fn signature(query: &str) -> Option<String> {
    let pair = query.split('&').find(|pair| pair.starts_with("sign="))?;
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, sign)| sign.into_owned())
}

/// Whether the answer of a route may be read by a page of any origin.
pub fn is_media(request: &Request, prefix: &str) -> bool {
    let path = without_prefix(request.uri().path(), prefix);
    ["/d/", "/p/", "/hls/"].iter().any(|route| path.starts_with(route))
}

/// The route, and the path in it; the path may be malformed where the route is clear.
fn route(raw: &str, prefix: &str) -> Result<(Endpoint, Result<VirtualPath>)> {
    let raw = without_prefix(raw, prefix);
    let root = || Ok(VirtualPath::root());
    match raw {
        "/" | "/browse" => return Ok((Endpoint::Browse, root())),
        "/dav" => return Ok((Endpoint::Dav, root())),
        "/ping" => return Ok((Endpoint::Ping, root())),
        _ => {}
    }
    let unknown =
        || Error::new(ErrorKind::NotFound, "find a route").saying("there is nothing at this address");
    let (route, rest) = raw[raw.len().min(1)..].split_once('/').ok_or_else(unknown)?;
    // What is not listed is not reached, so that whoever goes through the list has seen all.
    let route = ROUTES.into_iter().find(|known| *known == route).ok_or_else(unknown)?;
    match route {
        "api" => Ok((Endpoint::Api(Call::named(rest)), root())),
        "account" => Ok((Endpoint::Account, VirtualPath::parse_encoded(rest))),
        "assets" => Ok((Endpoint::Asset(Asset::named(rest).ok_or_else(unknown)?), root())),
        "browse" => Ok((Endpoint::Browse, VirtualPath::parse_encoded(rest))),
        "d" => Ok((Endpoint::Content, VirtualPath::parse_encoded(rest))),
        "dav" => Ok((Endpoint::Dav, VirtualPath::parse_encoded(rest))),
        "hls" => {
            let (part, path) = split_hls(rest).ok_or_else(unknown)?;
            Ok((Endpoint::Hls(part), VirtualPath::parse_encoded(path)))
        }
        "p" => Ok((Endpoint::Proxied, VirtualPath::parse_encoded(rest))),
        _ => Err(unknown()),
    }
}

/// Reads from the end: what stands in front of the resource is the path, whatever it looks like.
fn split_hls(rest: &str) -> Option<(Part, &str)> {
    let (rest, last) = rest.rsplit_once('/')?;
    if last == "master.m3u8" {
        return Some((Part::Master, rest));
    }
    let (above, name) = rest.rsplit_once('/')?;
    if last == "index.m3u8" {
        if let Some((path, "subtitles")) = above.rsplit_once('/') {
            return Some((Part::SubtitlePlaylist { language: tag(name)? }, path));
        }
        return Some((Part::Media { variant: tag(name)? }, above));
    }
    let (stem, extension) = last.rsplit_once('.')?;
    if let Some(extension) = EXTENSIONS.into_iter().find(|known| *known == extension) {
        let attached = stem.strip_prefix('x');
        let digits = attached.unwrap_or(stem);
        // "+1" and "01" would be second names of one segment.
        let number: usize = digits.parse().ok().filter(|number: &usize| number.to_string() == digits)?;
        let variant = tag(name)?;
        let part = match attached {
            None => Part::Segment { variant, index: number, extension },
            Some(_) => Part::Attached { variant, number, extension },
        };
        return Some((part, above));
    }
    let language = tag(last.strip_suffix(".vtt")?)?;
    if name == "subtitles" {
        return Some((Part::Subtitle { language }, above));
    }
    let (path, folder) = above.rsplit_once('/')?;
    (folder == "subtitles" && name == language).then_some((Part::Subtitle { language }, path))
}

/// A variant or language as it stands in our addresses.
fn tag(text: &str) -> Option<String> {
    let fits = (1..=16).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    fits.then(|| text.to_owned())
}

fn without_prefix<'a>(path: &'a str, prefix: &str) -> &'a str {
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

// === impl Query ===

impl Query {
    fn parse(query: &str) -> Result<Self> {
        let mut parsed = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "download" => parsed.download = true,
                "refresh" => parsed.refresh = value == "true",
                "playlist" if value == "m3u8" => parsed.playlist = true,
                "playlist" => {
                    return Err(
                        Error::new(ErrorKind::Invalid, "read the query").saying("playlist must be m3u8")
                    );
                }
                "only" => parsed.choice.only = Some(quality(&value)?),
                "max" => parsed.choice.max = Some(quality(&value)?),
                "default" => parsed.choice.default = Some(quality(&value)?),
                "via" => {
                    parsed.via = Some(match &*value {
                        "proxy" => Via::Proxy,
                        "redirect" => Via::Redirect,
                        _ => {
                            return Err(Error::new(ErrorKind::Invalid, "read the query")
                                .saying("via must be redirect or proxy"));
                        }
                    });
                }
                _ => {}
            }
        }
        Ok(parsed)
    }
}

fn quality(value: &str) -> Result<String> {
    tag(value).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "read the query")
            .saying("only, max and default take a quality: ld, sd, hd, fhd or qhd")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(uri: &str) -> Result<Target> {
        Target::parse(&mut http::Request::get(uri).body(()).unwrap(), "/sluice")
    }

    fn parts(uri: &str) -> Option<(Endpoint, String)> {
        parse(uri).ok().map(|target| (target.endpoint, target.path.to_string()))
    }

    #[test]
    fn routes_are_told_apart() {
        let hls = |part| Endpoint::Hls(part);
        let (ld, zh) = ("ld".to_owned(), "zh".to_owned());
        for (uri, endpoint, path) in [
            ("/", Endpoint::Browse, "/"),
            ("/browse/a%20b/", Endpoint::Browse, "/a b"),
            ("/d/a/b.mkv", Endpoint::Content, "/a/b.mkv"),
            ("/sluice/d/a/b.mkv", Endpoint::Content, "/a/b.mkv"),
            ("/sluice", Endpoint::Browse, "/"),
            ("/dav", Endpoint::Dav, "/"),
            ("/sluice/dav/a%20b/", Endpoint::Dav, "/a b"),
            ("/ping", Endpoint::Ping, "/"),
            ("/api/me", Endpoint::Api(Call::Me), "/"),
            ("/api/x/y", Endpoint::Api(Call::Unknown), "/"),
            ("/account/", Endpoint::Account, "/"),
            ("/sluice/account/a", Endpoint::Account, "/a"),
            ("/p/b.mkv?download", Endpoint::Proxied, "/b.mkv"),
            ("/hls/a/b.mkv/master.m3u8", hls(Part::Master), "/a/b.mkv"),
            ("/hls/b.mkv/ld/index.m3u8", hls(Part::Media { variant: ld.clone() }), "/b.mkv"),
            (
                "/hls/b.mkv/ld/x0.mp4",
                hls(Part::Attached { variant: ld.clone(), number: 0, extension: "mp4" }),
                "/b.mkv",
            ),
            ("/hls/b.mkv/ld/12.ts", hls(Part::Segment { variant: ld, index: 12, extension: "ts" }), "/b.mkv"),
            (
                "/hls/b.mkv/subtitles/zh/index.m3u8",
                hls(Part::SubtitlePlaylist { language: zh.clone() }),
                "/b.mkv",
            ),
            ("/hls/b.mkv/subtitles/zh.vtt", hls(Part::Subtitle { language: zh.clone() }), "/b.mkv"),
            ("/hls/b.mkv/subtitles/zh/zh.vtt", hls(Part::Subtitle { language: zh }), "/b.mkv"),
        ] {
            assert_eq!(parts(uri), Some((endpoint, path.to_owned())), "{uri}");
        }
    }

    #[test]
    fn what_is_no_route_is_not_found_and_what_is_malformed_is_invalid() {
        for uri in [
            "/x",
            "/x/y",
            "/hls/b.mkv/ld/01.ts",
            "/hls/b.mkv/ld/-1.ts",
            "/hls/b.mkv/ld/1.exe",
            "/hls/b.mkv/ld/xx1.ts",
            "/hls/b.mkv/LD/index.m3u8",
            "/assets/x",
        ] {
            assert_eq!(parse(uri).unwrap_err().kind(), ErrorKind::NotFound, "{uri}");
        }
        for uri in
            ["/d/../x", "/d/%2e%2e/x", "/d/a%00", "/d/a%2fb", "/d/a?via=pigeon", "/hls/../ld/index.m3u8"]
        {
            assert_eq!(parse(uri).unwrap_err().kind(), ErrorKind::Invalid, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn no_address_panics(path in "/(d|p|hls|browse|account|assets|api|dav|ping)?[a-z0-9%./_-]{0,40}", query in "[a-z=&%]{0,20}") {
            if let Ok(mut request) = http::Request::get(format!("{path}?{query}")).body(()) {
                let alone = Target::parse(&mut request.clone(), "/x").map(|target| (target.endpoint, target.path)).ok();
                let _ = requirement(&mut request, "/x");
                let after = Target::parse(&mut request, "/x").map(|target| (target.endpoint, target.path)).ok();
                prop_assert_eq!(alone, after);
            }
        }
    }
}
