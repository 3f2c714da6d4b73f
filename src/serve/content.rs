//! A file's answer: its headers, its bytes, or the redirect that leads to them.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::client::Client;
use super::plan::{Delivery, Follows, Offer, Reply, Way, Wish, reply};
use super::target::{Endpoint, Target, Via};
use super::{Site, media_type};
use crate::budget::{Errand, Priority};
use crate::driver::{Entry, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::http::conditional::http_date;
use crate::http::range::ByteRange;
use crate::http::{Body, Request, Response};
use crate::lease::{Lease, Spare};
use crate::mount::{Mode, Mount};
use crate::path::{VirtualPath, encode_component};
use crate::resolve::{Known, ResolveRequest, Resolved, Want};
use crate::secret::SignedUrl;
use crate::stream::{Audience, FileOrigin};

const FETCH_MODE: http::HeaderName = http::HeaderName::from_static("sec-fetch-mode");
/// Says which way an answer went.
pub(super) const DELIVERY: http::HeaderName = http::HeaderName::from_static("sluice-delivery");

impl Site {
    /// Answers `/d` and `/p`.
    pub(super) async fn content(&self, request: &Request, target: &Target) -> Result<Response> {
        let found = self.find(&target.path, Want::Entry).await?;
        if found.entry.is_folder() && target.endpoint == Endpoint::Content {
            // From its address it could have been a film.
            let browsing = Errand::current().at_most(Priority::Browse);
            return Box::pin(browsing.doing(self.folder(request, target))).await;
        }
        self.file_content(request, target, file_of(found, &target.path)?).await
    }

    /// The bytes of a file, or the way to them.
    pub(super) async fn file_content(
        &self,
        request: &Request,
        target: &Target,
        file: Known,
    ) -> Result<Response> {
        match self.deliver(request, target, &file).await {
            // The file was perhaps replaced since it was listed. The first attempt has found out what it is now; what was
            // said of the old one is not true of the new one, so the answer begins anew, once.
            Err(error) if error.kind() == ErrorKind::Upstream => {
                let present = Box::pin(self.find(&target.path, Want::Entry)).await?;
                let present = file_of(present, &target.path)?;
                if present.entry.version() == file.entry.version() {
                    return Err(error);
                }
                Box::pin(self.deliver(request, target, &present)).await
            }
            answer => answer,
        }
    }

    async fn deliver(&self, request: &Request, target: &Target, file: &Known) -> Result<Response> {
        let Known { mount, entry } = file;
        let reply = reply(request.method(), request.headers(), target.range, entry);
        let wish = Wish {
            mode: match target.endpoint {
                Endpoint::Proxied => Mode::Proxy,
                Endpoint::Dav => mount.policy.dav_delivery,
                _ => mount.policy.delivery,
            },
            via: target.query.via,
            client: target.client,
            https: self.is_https(request),
            segment: false,
            authorized: request.headers().contains_key(header::AUTHORIZATION),
            follows: match (target.client, fetch_mode(request)) {
                (Client::Browser, Some("cors")) => Follows::WhereAllowed,
                _ => Follows::Anywhere,
            },
            in_the_middle: matches!(reply, Reply::Part(range) if range.start > 0),
        };
        if request.method() == Method::HEAD || !matches!(reply, Reply::Whole | Reply::Part(_)) {
            // Metadata answers these; a player's HEAD must cost no link.
            let is_asked = matches!(wish.mode, Mode::Auto | Mode::Proxy);
            let delivery = Delivery { way: Way::Bytes, reason: (!is_asked).then_some("metadata") };
            return self.bytes(target, file, reply, Method::HEAD, delivery).await;
        }
        let (offer, link) = if wish.considers_a_link(entry.duration) {
            self.offer(target, file, wish).await?
        } else {
            (Offer::Nothing, None)
        };
        let delivery = wish.decide(offer);
        match (delivery.way, link) {
            (Way::Redirect, Some(link)) => Ok(redirect(link.expose(), delivery)),
            (Way::DownloadProxy, _) => Ok(redirect(&self.download_proxy(mount, &target.path)?, delivery)),
            _ => self.bytes(target, file, reply, Method::GET, delivery).await,
        }
    }

    /// What a redirect would lead to. Only one that is meant for the client must have life to spare.
    async fn offer(&self, target: &Target, file: &Known, wish: Wish) -> Result<(Offer, Option<SignedUrl>)> {
        let keeps = wish.via != Some(Via::Redirect)
            && wish.mode == Mode::Auto
            && !wish.client.returns_for_every_seek();
        let spare = if keeps { Spare::OwnUse } else { Spare::HandOut };
        let request = ResolveRequest {
            path: target.path.clone(),
            want: Want::Source { spare, failed: None },
            known: Some(file.clone()),
        };
        let lease = self.0.resolver.resolve(request).await?.into_source()?;
        let Source::Link(link) = &lease.source else { return Ok((Offer::Nothing, None)) };
        let now = self.0.clock.now();
        let offer = Offer::Link {
            https: link.url.scheme().eq_ignore_ascii_case("https"),
            needs_headers: !link.headers.is_empty(),
            // Not known of files, and no player asks in this way.
            cors: false,
            fresh: lease.life().has(Spare::HandOut, now),
            left: lease.life().left(now),
            film: file.entry.duration,
        };
        Ok((offer, Some(link.url.clone())))
    }

    /// The answer from metadata, with the bytes where it has any and `method` is not HEAD.
    async fn bytes(
        &self,
        target: &Target,
        file: &Known,
        reply: Reply,
        method: Method,
        delivery: Delivery,
    ) -> Result<Response> {
        let Known { mount, entry } = file;
        // The path names the file as the viewer sees it; an entry's own name is upstream text.
        let name = target.path.name().unwrap_or_default();
        let (mut response, range) = described(name, entry, reply, delivery);
        if target.query.download {
            let value = format!("attachment; filename*=UTF-8''{}", encode_component(name));
            set(response.headers_mut(), header::CONTENT_DISPOSITION, &value);
        }
        if let Some(range) = range.filter(|_| method != Method::HEAD) {
            let origin = FileOrigin::new(self.0.resolver.clone(), target.path.clone(), file.clone());
            let audience =
                Audience { may_probe: target.client.may_probe(), patience: target.client.patience() };
            *response.body_mut() = self.0.engine.part(origin, mount.driver.info(), range, audience).await?;
        }
        Ok(response)
    }

    /// The operator's helper for a path: it fetches the link from us and relays the bytes.
    fn download_proxy(&self, mount: &Mount, path: &VirtualPath) -> Result<String> {
        let base = mount.policy.download_proxy_url.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "send to the download proxy").with("mount", &mount.path)
        })?;
        Ok(format!("{base}{}?sign={}", path.encoded(), self.0.addresses.sign(path)))
    }
}

/// The file that was found at a path.
pub(super) fn file_of(found: Resolved, path: &VirtualPath) -> Result<Known> {
    let mount = found.mount.filter(|_| !found.entry.is_folder()).ok_or_else(|| {
        Error::new(ErrorKind::NotAFile, "open a file")
            .saying("this is a folder, not a file; its page is below /browse")
            .with("path", path)
    })?;
    Ok(Known { mount, entry: found.entry })
}

/// What a browser says that it does with the answer, where it says so: `cors`, `no-cors`, `navigate`.
pub(super) fn fetch_mode(request: &Request) -> Option<&str> {
    request.headers().get(&FETCH_MODE)?.to_str().ok()
}

/// An answer with room for the headers that it will get, those of the layers among them.
fn response_of(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = HeaderMap::with_capacity(20);
    response
}

/// An answer of bytes without its body, and which bytes belong in it, if any.
pub(super) fn described(
    name: &str,
    entry: &Entry,
    reply: Reply,
    delivery: Delivery,
) -> (Response, Option<ByteRange>) {
    let (status, range) = match reply {
        Reply::NotModified => (StatusCode::NOT_MODIFIED, None),
        Reply::NotSatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        Reply::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
        Reply::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, None),
        Reply::Whole => (StatusCode::OK, Some(ByteRange::whole(entry.len))),
    };
    let mut response = response_of(status);
    let headers = response.headers_mut();
    describe(headers, name, entry);
    tell(headers, delivery, "proxy");
    match (status, range) {
        (StatusCode::NOT_MODIFIED, _) => {}
        (StatusCode::RANGE_NOT_SATISFIABLE, _) => {
            set(headers, header::CONTENT_RANGE, &format!("bytes */{}", entry.len));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        }
        (_, None) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        }
        (status, Some(range)) => {
            if status == StatusCode::PARTIAL_CONTENT {
                headers.insert(header::CONTENT_RANGE, range.to_content_range(entry.len));
            }
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.len()));
        }
    }
    (response, range)
}

/// A redirect that nobody may keep: the address is a credential with an end.
pub(super) fn redirect(location: &str, delivery: Delivery) -> Response {
    let mut response = response_of(StatusCode::FOUND);
    let headers = response.headers_mut();
    set(headers, header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    tell(headers, delivery, "redirect");
    response
}

/// Says which way an answer went, and why not the way that was asked for.
pub(super) fn tell(headers: &mut HeaderMap, delivery: Delivery, way: &'static str) {
    match delivery.reason {
        None => headers.insert(DELIVERY, HeaderValue::from_static(way)),
        Some(reason) => {
            set(headers, DELIVERY, &format!("{way}; reason={reason}"));
            None
        }
    };
}

/// Sets a header of ours; a value that cannot stand in one is left out.
pub(super) fn set(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// What is said of a file on every answer about it. The drive's own headers do not pass.
fn describe(headers: &mut HeaderMap, name: &str, entry: &Entry) {
    let validators = entry.validators();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type::of(name)));
    // Whoever asks again shows the ETag and gets a 304.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    set(headers, header::ETAG, &validators.etag);
    if let Some(date) = validators.modified.and_then(http_date) {
        set(headers, header::LAST_MODIFIED, &date);
    }
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("inline"));
}
