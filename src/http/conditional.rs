//! Preconditions of a request (RFC 9110 §13) against the validators of an entry.
//!
//! Own code rather than the `headers` crate, which brings a second generation of the digest crates with it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method, header};

/// What an entry is compared by.
#[derive(Clone, Debug)]
pub struct Validators {
    /// A strong entity tag with its quotes.
    pub etag: String,
    /// Last change, to the second, as HTTP dates are.
    pub modified: Option<SystemTime>,
}

/// What the preconditions come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// 412.
    Failed,
    /// 304.
    NotModified,
    /// Go on; the range is to be ignored when `If-Range` names another version.
    Proceed {
        /// Whether a `Range` header counts.
        honour_range: bool,
    },
}

// === impl Validators ===

impl Validators {
    /// Evaluates the preconditions in the order of RFC 9110 §13.2.2.
    pub fn evaluate(&self, method: &Method, headers: &HeaderMap) -> Verdict {
        if let Some(tags) = list(headers, header::IF_MATCH) {
            if !self.matches(&tags, Comparison::Strong) {
                return Verdict::Failed;
            }
        } else if let Some(since) = date(headers, header::IF_UNMODIFIED_SINCE)
            && self.seconds().is_some_and(|modified| modified > since)
        {
            return Verdict::Failed;
        }
        if let Some(tags) = list(headers, header::IF_NONE_MATCH) {
            if self.matches(&tags, Comparison::Weak) {
                return Verdict::NotModified;
            }
        } else if let Some(since) = date(headers, header::IF_MODIFIED_SINCE)
            && self.seconds().is_some_and(|modified| modified <= since)
        {
            return Verdict::NotModified;
        }
        // HEAD has no ranges (§14.2).
        Verdict::Proceed { honour_range: method == Method::GET && self.if_range_holds(headers) }
    }

    fn if_range_holds(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::IF_RANGE) else { return true };
        let Ok(value) = value.to_str() else { return false };
        if value.contains('"') {
            return value.trim() == self.etag;
        }
        // §13.1.5: an exact match of the date, not "not later than".
        httpdate::parse_http_date(value).ok().and_then(unix_seconds) == self.seconds()
            && self.modified.is_some()
    }

    fn matches(&self, tags: &str, comparison: Comparison) -> bool {
        tags.trim() == "*"
            || entity_tags(tags)
                .any(|(weak, tag)| tag == self.etag && (!weak || comparison == Comparison::Weak))
    }

    fn seconds(&self) -> Option<u64> {
        self.modified.and_then(unix_seconds)
    }
}

/// Whether a request has no precondition, so that no version need be compared.
pub fn is_unconditional(headers: &HeaderMap) -> bool {
    !CONDITIONS.iter().any(|name| headers.contains_key(name))
}

/// An HTTP date of a time; nothing for one before 1970, which the form cannot carry.
pub fn http_date(time: SystemTime) -> Option<String> {
    let seconds = unix_seconds(time)?;
    // The form has four digits for the year.
    (seconds < 253_402_300_800).then(|| httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds)))
}

const CONDITIONS: [header::HeaderName; 5] = [
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
];

#[derive(Clone, Copy, Eq, PartialEq)]
enum Comparison {
    Strong,
    Weak,
}

/// The tags of a list, each with whether it is weak. A tag may hold a comma, so the quotes lead.
fn entity_tags(list: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let open = rest.find('"')?;
        let close = open + 1 + rest[open + 1..].find('"')?;
        let weak = rest[..open].ends_with("W/");
        let tag = &rest[open..=close];
        rest = &rest[close + 1..];
        Some((weak, tag))
    })
}

/// All lines of a list header as one.
fn list(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

fn date(headers: &HeaderMap, name: header::HeaderName) -> Option<u64> {
    unix_seconds(httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?)
}

fn unix_seconds(time: SystemTime) -> Option<u64> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(lines: &[(&str, &str)]) -> Verdict {
        let validators = Validators {
            etag: "\"abc\"".to_owned(),
            modified: Some(UNIX_EPOCH + Duration::from_millis(784_111_777_500)),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        validators.evaluate(&Method::GET, &headers)
    }

    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const GO: Verdict = Verdict::Proceed { honour_range: true };
    const WHOLE: Verdict = Verdict::Proceed { honour_range: false };

    #[test]
    fn preconditions_follow_rfc_9110() {
        let cases: &[(&[(&str, &str)], Verdict)] = &[
            (&[], GO),
            (&[("if-match", "\"abc\"")], GO),
            (&[("if-match", "\"x\", \"abc\"")], GO),
            (&[("if-match", "*")], GO),
            (&[("if-match", "W/\"abc\"")], Verdict::Failed),
            (&[("if-match", "\"x\"")], Verdict::Failed),
            (&[("if-unmodified-since", SAME)], GO),
            (&[("if-unmodified-since", EARLIER)], Verdict::Failed),
            (&[("if-match", "\"abc\""), ("if-unmodified-since", EARLIER)], GO),
            (&[("if-none-match", "W/\"abc\"")], Verdict::NotModified),
            (&[("if-none-match", "\"a,b\", \"abc\"")], Verdict::NotModified),
            (&[("if-none-match", "\"x\"")], GO),
            (&[("if-none-match", "\"x\""), ("if-modified-since", SAME)], GO),
            (&[("if-modified-since", SAME)], Verdict::NotModified),
            (&[("if-modified-since", EARLIER)], GO),
            (&[("if-modified-since", "nonsense")], GO),
            (&[("if-range", "\"abc\"")], GO),
            (&[("if-range", "W/\"abc\"")], WHOLE),
            (&[("if-range", "\"old\"")], WHOLE),
            (&[("if-range", SAME)], GO),
            (&[("if-range", EARLIER)], WHOLE),
        ];
        for (headers, verdict) in cases {
            assert_eq!(evaluate(headers), *verdict, "{headers:?}");
        }
    }
}
