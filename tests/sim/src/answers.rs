//! Shapes that answers of both hosts have: JSON, errors of the API, XML errors of the storage.

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::{body::SimBody, clock::timestamp, secret::random_hex};

/// An API call refused: status, code and message (fact sheet §0, §8.3).
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// `x-retry-after`.
    pub(crate) retry_after_ms: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_ms: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn response(&self) -> Response<SimBody> {
        let value = json!({"code": self.code, "message": self.message, "requestId": request_id()});
        let mut response = json(self.status, &value);
        if let Some(ms) = self.retry_after_ms {
            response.headers_mut().insert("x-retry-after", HeaderValue::from(ms));
        }
        response
    }
}

pub(crate) fn json(status: u16, value: &Value) -> Response<SimBody> {
    plain(status, JSON, value.to_string())
}

pub(crate) fn text(status: u16, text: &str) -> Response<SimBody> {
    plain(status, "text/plain; charset=utf-8", text.to_owned())
}

pub(crate) fn plain(status: u16, kind: &str, bytes: impl Into<bytes::Bytes>) -> Response<SimBody> {
    body(status, kind, SimBody::full(bytes))
}

pub(crate) fn body(status: u16, kind: &str, body: SimBody) -> Response<SimBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(kind) = HeaderValue::from_str(kind) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}

/// The error of the framework behind the API, for paths and methods nobody serves (§0).
pub(crate) fn spring(status: u16, error: &str, path: &str, now_ms: u64) -> Response<SimBody> {
    json(status, &json!({"timestamp": timestamp(now_ms), "status": status, "error": error, "path": path}))
}

/// An XML error of the storage (§4.3); `more` is XML between the host and the error's number.
pub(crate) fn storage_error(
    status: u16,
    code: &str,
    message: &str,
    ec: &str,
    more: &str,
) -> Response<SimBody> {
    let id = random_hex(12).to_uppercase();
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\n  <Code>{code}</Code>\n  <Message>{message}</Message>\n  \
         <RequestId>{id}</RequestId>\n  <HostId>cn-beijing-data.aliyundrive.net</HostId>\n  {more}<EC>{ec}</EC>\n  \
         <RecommendDoc>https://api.aliyun.com/troubleshoot?q={ec}</RecommendDoc>\n</Error>\n"
    );
    let mut response = plain(status, "application/xml", xml);
    storage_headers(&mut response, &id);
    if let Ok(ec) = HeaderValue::from_str(ec) {
        response.headers_mut().insert("x-oss-ec", ec);
    }
    response
}

/// The fields that every answer of the storage has.
pub(crate) fn storage_headers(response: &mut Response<SimBody>, id: &str) {
    response.headers_mut().insert("server", HeaderValue::from_static("AliyunOSS"));
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-oss-request-id", id);
    }
}

/// A UUID.
pub(crate) fn request_id() -> String {
    let hex = random_hex(16);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

pub(crate) const JSON: &str = "application/json;charset=UTF-8";
