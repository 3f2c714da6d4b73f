//! Signed links: minting, and the check every content request must pass (fact sheet §4.2, §9.15–16).

use data_encoding::BASE64;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::secret::Key;

/// `path?params` with a signature over verb, path and every parameter. The path and the values are
/// given as they stand in the URL.
pub(crate) fn signed(key: &Key, path: &str, params: &[(&str, String)]) -> String {
    let mut pairs: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let signature = signature(key, "GET", path, pairs.iter().map(String::as_str));
    pairs.push(format!("x-oss-signature={}", encode(&signature)));
    pairs.push("x-oss-signature-version=OSS2".to_owned());
    format!("{path}?{}", pairs.join("&"))
}

/// Why a link is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Denied {
    Expired { expires_s: u64 },
    Signature,
}

/// Checks verb, path, query and expiry; the order of the parameters does not matter.
pub(crate) fn check(key: &Key, method: &Method, path: &str, query: &str, now_s: u64) -> Result<(), Denied> {
    let outside =
        |pair: &&str| !pair.starts_with("x-oss-signature=") && *pair != "x-oss-signature-version=OSS2";
    let given = param(query, "x-oss-signature").ok_or(Denied::Signature)?;
    if !query.split('&').any(|pair| pair == "x-oss-signature-version=OSS2")
        || signature(key, method.as_str(), path, query.split('&').filter(outside)) != given
    {
        return Err(Denied::Signature);
    }
    let expires_s =
        param(query, "x-oss-expires").and_then(|text| text.parse().ok()).ok_or(Denied::Signature)?;
    if now_s >= expires_s { Err(Denied::Expired { expires_s }) } else { Ok(()) }
}

/// A parameter's decoded value.
pub(crate) fn param(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let value = pair.strip_prefix(name)?.strip_prefix('=')?;
        Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
    })
}

/// Percent-encodes everything but the unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

fn signature<'a>(key: &Key, verb: &str, path: &str, pairs: impl Iterator<Item = &'a str>) -> String {
    let mut parts: Vec<&str> = pairs.collect();
    parts.sort_unstable();
    parts.splice(0..0, [verb, path]);
    BASE64.encode(&key.sign(&parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(key: &Key) -> (String, String) {
        let url = signed(key, "/a%2Fb", &[("di", "bj29".to_owned()), ("x-oss-expires", "2000".to_owned())]);
        let (path, query) = url.split_once('?').unwrap();
        (path.to_owned(), query.to_owned())
    }

    #[test]
    fn a_link_as_minted_passes_until_it_expires() {
        let key = Key::random();
        let (path, query) = link(&key);
        assert_eq!(check(&key, &Method::GET, &path, &query, 1999), Ok(()));
        assert_eq!(check(&key, &Method::GET, &path, &query, 2000), Err(Denied::Expired { expires_s: 2000 }));
    }

    #[test]
    fn a_changed_dropped_or_added_parameter_is_refused() {
        let key = Key::random();
        let (path, query) = link(&key);
        let dropped: Vec<String> = (0..4)
            .map(|n| {
                let rest = query.split('&').enumerate().filter(|(at, _)| *at != n).map(|(_, pair)| pair);
                rest.collect::<Vec<_>>().join("&")
            })
            .collect();
        for query in dropped.into_iter().chain([
            query.replace("bj29", "bj30"),
            query.replace("2000", "3000"),
            format!("{query}&x=1"),
            String::new(),
        ]) {
            assert_eq!(check(&key, &Method::GET, &path, &query, 1), Err(Denied::Signature), "{query}");
        }
        assert_eq!(check(&key, &Method::HEAD, &path, &query, 1), Err(Denied::Signature));
        assert_eq!(check(&key, &Method::GET, "/a/b", &query, 1), Err(Denied::Signature));
        assert_eq!(check(&Key::random(), &Method::GET, &path, &query, 1), Err(Denied::Signature));
    }
}
