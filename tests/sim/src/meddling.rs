//! What each fault does to an answer: replaces it, or spoils the right one.

use std::sync::{Arc, atomic::AtomicBool};

use http::{
    HeaderValue, Response,
    header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION},
};
use serde_json::json;

use crate::{
    answers::{self, JSON},
    body::SimBody,
    faults::{Endpoint, Fault},
};

/// The answer in place of the right one, for the faults that need no right one.
pub(crate) fn instead(fault: &Fault, endpoint: Endpoint) -> Option<Response<SimBody>> {
    Some(match fault {
        Fault::BadGateway => answers::text(502, "Bad Gateway"),
        Fault::Code { status, code, message } => answers::json(
            *status,
            &json!({"code": code, "message": message, "requestId": answers::request_id()}),
        ),
        Fault::Garbage => answers::plain(200, kind(endpoint), "\u{0}<{[\"not what you asked for"),
        Fault::Huge(len) => {
            let body = match endpoint {
                Endpoint::Playlist => {
                    SimBody::filler("#EXTM3U\n#EXT-X-VERSION:3\n", "#EXTINF:10.000,\nmedia-0.ts\n", *len)
                }
                Endpoint::Content | Endpoint::Segment | Endpoint::Thumbnail => SimBody::filler("", "x", *len),
                Endpoint::Subtitle => {
                    SimBody::filler("WEBVTT\n\n", "00:00:00.000 --> 00:00:01.000\nx\n\n", *len)
                }
                _ => SimBody::filler("{\"items\": [{}", ", {\"name\": \"x\"}", *len),
            };
            answers::body(200, kind(endpoint), body)
        }
        Fault::Redirect(to) => {
            let mut response = answers::text(302, "");
            if let Ok(to) = HeaderValue::from_str(to) {
                response.headers_mut().insert(LOCATION, to);
            }
            response
        }
        Fault::SlowDown => {
            answers::storage_error(503, "SlowDown", "Please reduce your request rate.", "0048-00000101", "")
        }
        Fault::Status(status, body) => answers::text(*status, body),
        _ => return None,
    })
}

/// Spoils the right answer.
pub(crate) fn alter(fault: &Fault, response: &mut Response<SimBody>, reset: &Arc<AtomicBool>) {
    match fault {
        Fault::Reset { after } => response.body_mut().reset_after(*after, reset),
        Fault::ShortBody { after } => response.body_mut().end_after(*after),
        Fault::Slow { after, bytes_per_second } => {
            response.body_mut().slow_after(*after, *bytes_per_second as f64);
        }
        Fault::Stall { after, for_ } => response.body_mut().stall_after(*after, *for_),
        Fault::TruncatedJson => response.body_mut().halve(),
        Fault::WrongContentRange => {
            let shifted = response.headers().get(CONTENT_RANGE).and_then(shifted);
            if let Some(shifted) = shifted {
                response.headers_mut().insert(CONTENT_RANGE, shifted);
            }
        }
        Fault::WrongContentType => {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        }
        _ => {}
    }
}

/// A `Content-Range` whose start is one too high.
fn shifted(range: &HeaderValue) -> Option<HeaderValue> {
    let (first, rest) = range.to_str().ok()?.strip_prefix("bytes ")?.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    HeaderValue::try_from(format!("bytes {}-{rest}", first + 1)).ok()
}

/// What an endpoint's answers call themselves.
fn kind(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Content | Endpoint::UnknownContent => "application/octet-stream",
        Endpoint::Playlist => "application/vnd.apple.mpegurl",
        Endpoint::Segment => "video/MP2T",
        Endpoint::Subtitle => "text/vtt",
        Endpoint::Thumbnail => "image/jpeg",
        _ => JSON,
    }
}
