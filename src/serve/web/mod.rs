//! The page: folders to browse without JavaScript, and a player. Small, hand-made, in the binary.

mod account;
mod logins;
pub(super) mod page;
mod unlock;

use std::fmt;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use sha2::{Digest, Sha256};

pub(super) use self::logins::Logins;
use self::page::FolderPage;
use super::content::set;
use super::target::Target;
use super::telling::tell;
use super::{Site, media_type, sight};
use crate::access::rules;
use crate::error::Result;
use crate::http::conditional::{Validators, Verdict};
use crate::http::{Body, Request, Response};
use crate::path::VirtualPath;
use crate::resolve::Want;

/// A file that the page needs.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Asset {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

// === impl Asset ===

impl Asset {
    /// The asset of this name.
    pub fn named(name: &str) -> Option<Self> {
        // hls.js is empty where it was not there at the build.
        ASSETS.iter().copied().find(|asset| asset.name == name && !asset.text.is_empty())
    }

    /// Its answer. Asked again it is 304 as long as the program is the same.
    pub(super) fn answer(self, request: &Request) -> Response {
        let tag = data_encoding::HEXLOWER.encode(&Sha256::digest(self.text)[..16]);
        let validators = Validators { etag: format!("\"{tag}\""), modified: None };
        let is_known = validators.evaluate(request.method(), request.headers()) == Verdict::NotModified;
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        set(headers, header::ETAG, &validators.etag);
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.text.len()));
            *response.body_mut() = Body::full(self.text);
        }
        response
    }
}

impl fmt::Debug for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asset({})", self.name)
    }
}

impl Site {
    /// Answers `/` and `/browse`: a folder's page, a film's page for a browser, and the file itself for programs that
    /// walk the listing (Kodi, wget).
    pub(super) async fn browse(&self, request: &Request, target: &Target) -> Result<Response> {
        let sight = sight(request)?;
        match sight.of(&target.path) {
            rules::Verdict::Locked(number) => return self.unlock(request, target, number).await,
            // Somebody whose tree begins further down.
            rules::Verdict::Denied => {
                return Ok(see_other(&self.browse_address(&sight.visitor.root())));
            }
            rules::Verdict::Allowed | rules::Verdict::Hidden => {}
        }
        if *request.method() == Method::POST {
            return Ok(see_other(&self.browse_address(&target.path)));
        }
        let found = self.find(&target.path, Want::Entry).await?;
        if !found.entry.is_folder() {
            return if wants_page(request.headers()) {
                Ok(page_answer(
                    page::file(&target.path, &found.entry, &found.mount, &self.0.addresses),
                    POLICY,
                ))
            } else {
                self.content(request, target).await
            };
        }
        let raw = request.uri().path();
        if !raw.ends_with('/') {
            // The page's addresses are relative to the folder.
            let folder = format!("{}{}", self.0.addresses.prefix(), page::folder_address(&target.path));
            return Ok(found_at(&folder));
        }
        let is_administrator = sight.visitor.is_administrator();
        // It costs calls, so not everybody may have it, and no page of others in their name.
        let is_from_elsewhere =
            request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site");
        let fresh = is_administrator && !is_from_elsewhere && (target.query.refresh || target.no_cache);
        let listing = self.find(&target.path, Want::Children { fresh }).await?.into_children()?;
        let listing = listing.seen_by(&sight, &target.path);
        let is_mount = found.mount.is_some_and(|mount| mount.path == target.path);
        let page = FolderPage {
            path: target.path.clone(),
            prefix: self.0.addresses.prefix().to_owned(),
            base: if raw.ends_with("/browse/") || !target.path.is_root() { "" } else { "browse/" },
            is_stale: listing.is_stale(),
            account: is_mount && is_administrator,
            has_any: false,
        };
        let (body, length) = tell(&listing, page).await?;
        let mut response = answer_of(body, POLICY);
        if let Some(length) = length {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(response)
    }
}

impl Site {
    /// The page of a path; of a folder the one that leads to its own.
    fn browse_address(&self, path: &VirtualPath) -> String {
        format!("{}{}", self.0.addresses.prefix(), page::folder_address(path).trim_end_matches('/'))
    }
}

/// A redirect to another address of ours, for the same method.
fn found_at(address: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    set(response.headers_mut(), header::LOCATION, address);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// A redirect to an address of ours that is to be read.
fn see_other(address: &str) -> Response {
    let mut response = found_at(address);
    *response.status_mut() = StatusCode::SEE_OTHER;
    response
}

/// Whether whoever asks can show a page: browsers name `text/html`, players and wget do not.
fn wants_page(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|value| value.to_str().is_ok_and(|accept| accept.contains("text/html")))
}

fn page_answer(html: String, policy: &'static str) -> Response {
    let length = HeaderValue::from(html.len());
    let mut response = answer_of(Body::full(html), policy);
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}

fn answer_of(html: Body, policy: &'static str) -> Response {
    let mut response = Response::new(html);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type::HTML));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Our own files only; media may come from the drive's hosts, whose names differ by region, when it is redirected, and from
/// hls.js, which makes it of what it fetches from them.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' http: https:; \
                      media-src 'self' blob: http: https:; connect-src 'self' http: https:; form-action 'none'; \
                      base-uri 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";
static ASSETS: [Asset; 7] = [
    Asset { name: "hls.js", media_type: SCRIPT, text: include_str!(concat!(env!("OUT_DIR"), "/hls.min.js")) },
    Asset { name: "icon.svg", media_type: "image/svg+xml", text: include_str!("icon.svg") },
    Asset { name: "page.css", media_type: "text/css; charset=utf-8", text: include_str!("page.css") },
    Asset { name: "page.js", media_type: SCRIPT, text: include_str!("page.js") },
    Asset { name: "source.js", media_type: SCRIPT, text: include_str!("source.js") },
    Asset { name: "transcodes.js", media_type: SCRIPT, text: include_str!("transcodes.js") },
    Asset { name: "watching.js", media_type: SCRIPT, text: include_str!("watching.js") },
];
