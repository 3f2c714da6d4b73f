//! WebDAV (RFC 4918), class 1, for reading: folders as `PROPFIND` tells them, files as `/d` gives them.
//!
//! Ours rather than a library: what reads a file and what redirects is the same as everywhere here, and a folder is told while the drive still
//! lists it. Of the libraries there are, the best kept pads a short body with zeros, and answers depth infinity to whoever sends the
//! header of a test program.

pub mod multistatus;
pub mod propfind;

use http::{HeaderValue, Method, StatusCode, header};

use self::multistatus::{Multistatus, Quota};
use self::propfind::{Depth, Wanted};
use super::content::file_of;
use super::target::Target;
use super::telling::tell;
use super::{Site, sight};
use crate::access::credentials::Credentials;
use crate::access::rules::{Sight, Verdict};
use crate::budget::{Errand, Priority};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Body, Request, Response, Upload};
use crate::path::VirtualPath;
use crate::resolve::{Resolved, Want};
use crate::secret::Secret;

impl Site {
    /// Answers `/dav`. Paths are those of the visitor's own tree.
    pub(super) async fn dav(&self, request: &Request, target: &Target) -> Result<Response> {
        let method = request.method().as_str();
        match method {
            "OPTIONS" => return Ok(options()),
            "GET" | "HEAD" | "POST" | "PROPFIND" => {}
            "COPY" | "DELETE" | "MKCOL" | "MOVE" | "PROPPATCH" | "PUT" => {
                return Ok(refused(StatusCode::FORBIDDEN));
            }
            _ => return Ok(refused(StatusCode::METHOD_NOT_ALLOWED)),
        }
        let sight = sight(request)?;
        let path = target.path.below(&sight.visitor.root())?;
        // A guest's password is that of a part of the tree, as AList has it; a user's is not tried there.
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let password = match shown.and_then(Credentials::parse) {
            Some(Credentials::Password { password, .. }) if !sight.visitor.is_known() => Some(password),
            _ => None,
        };
        let password = password.as_ref().map_or("", Secret::expose);
        let sight = match self.opened(request, &path, password, sight).await? {
            Ok(sight) => sight,
            Err(Verdict::Hidden) => return Err(Error::new(ErrorKind::NotFound, "look at a path")),
            Err(_) => return Ok(refused(StatusCode::FORBIDDEN)),
        };
        if method == "PROPFIND" {
            let browsing = Errand::current().at_most(Priority::Browse);
            return browsing.doing(self.propfind(request, target, &path, &sight)).await;
        }
        let found = self.find(&path, Want::Entry).await?;
        if found.entry.is_folder() {
            return Ok(match *request.method() {
                Method::HEAD => folder_answer(),
                _ => refused(StatusCode::METHOD_NOT_ALLOWED),
            });
        }
        let file = file_of(found, &path)?;
        let target = Target { path, ..target.clone() };
        self.file_content(request, &target, file).await
    }

    async fn propfind(
        &self,
        request: &Request,
        target: &Target,
        path: &VirtualPath,
        sight: &Sight,
    ) -> Result<Response> {
        let depth = request.headers().get("depth").map(|depth| depth.to_str().unwrap_or_default());
        // RFC 4918 §9.1 has it infinity without the header; clients that leave it out want one thing or one folder.
        let depth = match depth.unwrap_or("1").trim() {
            "0" => Depth::Zero,
            "1" => Depth::One,
            infinity if infinity.eq_ignore_ascii_case("infinity") => Depth::Infinity,
            _ => return Err(malformed("the depth must be 0 or 1")),
        };
        let body = match request.extensions().get::<Upload>() {
            Some(upload) => upload.read().await?,
            None => Vec::new(),
        };
        let wanted = Wanted::parse(&body)?;
        let found = self.find(path, Want::Entry).await?;
        if depth == Depth::Infinity && found.entry.is_folder() {
            return Ok(too_deep());
        }
        let is_microsoft = request
            .headers()
            .get(header::USER_AGENT)
            .is_some_and(|agent| agent.as_bytes().starts_with(b"Microsoft"));
        let quota = wanted.has_quota().then(|| quota(&found)).flatten();
        let address = format!("{}/dav", self.0.addresses.prefix());
        let multistatus = Multistatus {
            at: address + &target.path.encoded(),
            itself: std::sync::Arc::clone(&found.entry),
            wanted,
            quota,
            is_microsoft,
        };
        let (body, length) = match (found.entry.is_folder(), depth) {
            (true, Depth::One) => {
                let listing = self.find(path, Want::Children { fresh: false }).await?.into_children()?;
                tell(&listing.seen_by(sight, path), multistatus).await?
            }
            _ => {
                let text = multistatus.alone();
                let length = text.len();
                (Body::full(text), Some(length))
            }
        };
        Ok(xml_answer(StatusCode::MULTI_STATUS, body, length))
    }
}

fn quota(found: &Resolved) -> Option<Quota> {
    let space = found.mount.as_ref()?.driver.account()?.space?;
    Some(Quota { used: space.used, available: space.total.saturating_sub(space.used) })
}

/// Says what there is. Windows looks for the second header.
fn options() -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert("dav", HeaderValue::from_static("1"));
    headers.insert("ms-author-via", HeaderValue::from_static("DAV"));
    headers.insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// A folder as it answers a HEAD; AList's clients know it by the type.
fn folder_answer() -> Response {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("httpd/unix-directory"));
    response
}

/// What cannot be done: nobody may change anything, and a folder has no bytes.
fn refused(status: StatusCode) -> Response {
    let words: &'static str = match status {
        StatusCode::FORBIDDEN => "this may only be read, by those who may see it\n",
        _ => "this cannot be done here\n",
    };
    let mut response = Response::new(Body::full(words));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(super::media_type::TEXT));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(words.len()));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
    }
    response
}

/// RFC 4918 §9.1.1: the precondition by name.
fn too_deep() -> Response {
    let text = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
                <D:error xmlns:D=\"DAV:\"><D:propfind-finite-depth/></D:error>\n";
    xml_answer(StatusCode::FORBIDDEN, Body::full(text), Some(text.len()))
}

fn xml_answer(status: StatusCode, body: Body, length: Option<usize>) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

fn malformed(words: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "read a PROPFIND").saying(words)
}

const ALLOWED: &str = "OPTIONS, GET, HEAD, POST, PROPFIND";
