//! The storage host: signed downloads, their ranges, their cap, and the errors in XML (fact sheet §4.3, §9.15–20).

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, Method, Response,
    header::{
        ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_RANGE, ETAG,
        IF_RANGE, LAST_MODIFIED, RANGE,
    },
    request::Parts,
};
use serde_json::Value;

use crate::{
    answers,
    api::item::mime,
    body::SimBody,
    clock::{http_date, timestamp},
    content::Content,
    drive::Drive,
    faults::Endpoint,
    hls,
    nodes::Node,
    range::{self, Part},
    samples::Sample,
    secret::random_hex,
    settings::{DriveKind, Settings},
    sign::{self, Denied},
};

/// What a path is for.
pub(crate) fn endpoint(path: &str) -> Endpoint {
    match path {
        path if path.starts_with("/lt/") && path.ends_with(".m3u8") => Endpoint::Playlist,
        path if path.starts_with("/lt/") && path.ends_with(".ts") => Endpoint::Segment,
        path if path.starts_with("/lt/") && path.ends_with(".vtt") => Endpoint::Subtitle,
        path if path.starts_with("/thumbnail/") => Endpoint::Thumbnail,
        path if path.matches("%2F").count() == 3 => Endpoint::Content,
        _ => Endpoint::UnknownContent,
    }
}

/// Answers a request; `notice` serves a frozen file's notice in place of the file.
pub(crate) async fn answer(
    drive: &Arc<Drive>,
    endpoint: Endpoint,
    head: &Parts,
    notice: bool,
) -> Response<SimBody> {
    let preview = matches!(endpoint, Endpoint::Playlist | Endpoint::Segment | Endpoint::Subtitle);
    let settings = drive.lock().settings.clone();
    let cors = preview && settings.cors;
    let mut response = if cors && head.method == Method::OPTIONS {
        preflight()
    } else if let Some(refused) = refusal(drive, endpoint, head) {
        refused
    } else {
        match endpoint {
            Endpoint::Content => download(drive, &settings, head, notice),
            Endpoint::Thumbnail => {
                object(head, &settings, &Stored::of(Sample::Poster, "image/jpeg"), f64::INFINITY)
            }
            _ => hls::answer(drive, &settings, endpoint, head).await,
        }
    };
    if cors {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    response
}

/// The refusal of a request that must not be served.
fn refusal(drive: &Drive, endpoint: Endpoint, head: &Parts) -> Option<Response<SimBody>> {
    if endpoint == Endpoint::UnknownContent {
        return Some(no_such_key());
    }
    if head.headers.contains_key(AUTHORIZATION) {
        let message = "Only one authentication mechanism may be used in a request.";
        return Some(answers::storage_error(400, "InvalidArgument", message, "0002-00000053", ""));
    }
    let now_ms = drive.clock.now_ms();
    let query = head.uri.query().unwrap_or_default();
    let denied = sign::check(&drive.key, &head.method, head.uri.path(), query, now_ms / 1000).err()?;
    Some(match denied {
        Denied::Expired { expires_s } => {
            drive.lock().counts.expired += 1;
            let more = format!(
                "<Expires>{}</Expires>\n  <ServerTime>{}</ServerTime>\n  ",
                timestamp(expires_s * 1000),
                timestamp(now_ms)
            );
            answers::storage_error(403, "AccessDenied", "Request has expired.", "0002-00000069", &more)
        }
        Denied::Signature => {
            drive.lock().counts.bad_signature += 1;
            let message = "The request signature we calculated does not match the signature you provided.";
            answers::storage_error(403, "SignatureDoesNotMatch", message, "0002-00000040", "")
        }
    })
}

/// Something that can be served in parts.
pub(crate) struct Stored {
    pub(crate) content: Content,
    pub(crate) kind: String,
    pub(crate) etag: String,
    pub(crate) modified: String,
    pub(crate) disposition: Option<String>,
}

impl Stored {
    pub(crate) fn of(sample: Sample, kind: &str) -> Self {
        Self::new(Content::Sample(sample), kind, sample.hash())
    }

    pub(crate) fn new(content: Content, kind: &str, version: &str) -> Self {
        let version = version.get(..32).unwrap_or(version).to_uppercase();
        Self {
            content,
            kind: kind.to_owned(),
            etag: format!("\"{version}\""),
            modified: http_date(1_767_225_600_000),
            disposition: None,
        }
    }
}

/// A download: the drive is asked for a slot before anything is read.
fn download(drive: &Arc<Drive>, settings: &Settings, head: &Parts, notice: bool) -> Response<SimBody> {
    let query = head.uri.query().unwrap_or_default();
    let app = sign::param(query, "pds-params").and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let app = app.as_ref().and_then(|value| value["ap"].as_str()).unwrap_or_default();
    let Some(stored) = wanted(drive, settings, head.uri.path(), query, notice) else { return no_such_key() };
    let Some(slot) = drive.slot(app) else {
        let message = "Callback deny this request reason: ExceedMaxConcurrency";
        return answers::storage_error(403, "RequestDeniedByCallback", message, "0007-00000209", "");
    };
    object(head, settings, &stored, settings.bytes_per_second).map(|body| body.holding(slot))
}

/// The object a link names: gone if the file is, or if it has new content by now.
fn wanted(drive: &Drive, settings: &Settings, path: &str, query: &str, notice: bool) -> Option<Stored> {
    let inner = drive.lock();
    let dr = sign::param(query, "dr")?;
    let kind = [DriveKind::Backup, DriveKind::Resource].into_iter().find(|kind| kind.id() == dr)?;
    let node: &Node = inner.nodes(kind).find(&sign::param(query, "f")?).ok()?;
    let file = node.file()?;
    if !path.ends_with(&file.version) {
        return None;
    }
    if notice || node.punish == FROZEN {
        return Some(Stored::of(Sample::Poster, "video/mp4"));
    }
    let kind = settings.content_type.clone().unwrap_or_else(|| mime(&node.extension()).to_owned());
    let mut stored = Stored::new(file.content.clone(), &kind, &file.version);
    stored.modified = http_date(node.updated_ms);
    stored.disposition = sign::param(query, "response-content-disposition");
    Some(stored)
}

/// The whole object or the part asked for, no faster than `bytes_per_second`.
pub(crate) fn object(
    head: &Parts,
    settings: &Settings,
    stored: &Stored,
    bytes_per_second: f64,
) -> Response<SimBody> {
    let len = stored.content.len();
    let field = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let fresh = field(IF_RANGE).is_none_or(|given| given == stored.etag || given == stored.modified);
    let standard = head.headers.get("x-oss-range-behavior").is_some_and(|value| value == "standard");
    let range = field(RANGE).filter(|_| fresh);
    let part = range::part(range, len, settings.range_mode, settings.multi_range, standard);
    let (status, at, send) = match part {
        Part::Slice { first, last } => (206, first, last - first + 1),
        Part::Unsatisfiable => {
            let message = "The requested range cannot be satisfied.";
            let mut response = answers::storage_error(416, "InvalidRange", message, "0016-00000208", "");
            set(response.headers_mut(), CONTENT_RANGE.as_str(), &format!("bytes */{len}"));
            return response;
        }
        Part::Whole => (200, 0, len),
    };
    let body = SimBody::part(stored.content.clone(), at, send).paced(bytes_per_second);
    let mut response = answers::body(status, &stored.kind, body);
    answers::storage_headers(&mut response, &random_hex(12).to_uppercase());
    let headers = response.headers_mut();
    set(headers, ACCEPT_RANGES.as_str(), "bytes");
    set(headers, ETAG.as_str(), &stored.etag);
    set(headers, LAST_MODIFIED.as_str(), &stored.modified);
    set(headers, "x-oss-object-type", "Normal");
    if status == 206 {
        set(headers, CONTENT_RANGE.as_str(), &format!("bytes {at}-{}/{len}", at + send - 1));
    }
    if let Some(disposition) = &stored.disposition {
        set(headers, CONTENT_DISPOSITION.as_str(), disposition);
    }
    response
}

pub(crate) fn no_such_key() -> Response<SimBody> {
    answers::storage_error(404, "NoSuchKey", "The specified key does not exist.", "0026-00000001", "")
}

fn preflight() -> Response<SimBody> {
    let mut response = answers::text(200, "");
    let headers = response.headers_mut();
    set(headers, "access-control-allow-methods", "GET, HEAD");
    set(headers, "access-control-allow-headers", "*");
    set(headers, "access-control-max-age", "3600");
    response
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// `punish_flag` of files whose link serves a notice (§3.2).
const FROZEN: u32 = 2;
