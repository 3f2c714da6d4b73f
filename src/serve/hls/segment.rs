//! Pieces of a transcode: each behind an address that never expires, served from wherever the drive has it now; and what is
//! learned from looking at them.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::transcode::{Described, Transcode};
use super::ts::Beginning;
use super::{DESCRIBED_WITHIN, LOOK_AGAIN, PlaylistLease};
use crate::budget::Errand;
use crate::driver::{Entry, EntryKind, Link, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::http::range::{ByteRange, RangeSpec, parse_content_range};
use crate::http::{Request, Response};
use crate::lease::Spare;
use crate::path::VirtualPath;
use crate::resolve::Want;
use crate::secret::SignedUrl;
use crate::serve::client::Client;
use crate::serve::content::{described, fetch_mode, redirect};
use crate::serve::hls::playlist::Segment;
use crate::serve::plan::{Delivery, Follows, Offer, Way, Wish, reply};
use crate::serve::target::{Part, Target};
use crate::serve::{Site, media_type};
use crate::stream::{Audience, Failed, Failure, Origin, Ticket};

/// One piece of one transcode.
#[derive(Clone)]
struct Piece {
    site: Site,
    path: VirtualPath,
    variant: String,
    place: Place,
}

/// Where a playlist names it.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In a tag.
    Tag(usize),
    /// As a segment.
    Segment(usize),
}

/// The beginning of a piece, and how long the whole is, in bytes.
struct Seen {
    beginning: Vec<u8>,
    total: u64,
}

impl Site {
    /// Answers for a segment, or for what a tag of the playlist names.
    pub(super) async fn segment(&self, request: &Request, target: &Target, part: &Part) -> Result<Response> {
        let (variant, place, extension) = match part {
            Part::Attached { variant, number, extension } => (variant, Place::Tag(*number), *extension),
            Part::Segment { variant, index, extension } => (variant, Place::Segment(*index), *extension),
            _ => return Err(Error::new(ErrorKind::Internal, "answer for a segment")),
        };
        let piece = Piece { site: self.clone(), path: target.path.clone(), variant: variant.clone(), place };
        let found = self.find(&target.path, Want::Entry).await?;
        let wish = Wish {
            mode: found.mount.map(|mount| mount.policy.delivery).unwrap_or_default(),
            via: target.query.via,
            client: target.client,
            https: self.is_https(request),
            segment: true,
            authorized: request.headers().contains_key(header::AUTHORIZATION),
            // Without https browsers do not say which of the two they are, but for this machine.
            follows: match (target.client, fetch_mode(request)) {
                (Client::Browser, Some("cors")) => Follows::WhereAllowed,
                (Client::Browser, _) => Follows::Nowhere,
                _ => Follows::Anywhere,
            },
            in_the_middle: false,
        };
        let is_get = request.method() != Method::HEAD;
        // A redirect is for somebody who may come back to where it led.
        let spare = if is_get && wish.considers_a_link(None) { Spare::HandOut } else { Spare::OwnUse };
        let (lease, url) = piece.find(spare, None).await?;
        let offer = Offer::Link {
            https: url.scheme().eq_ignore_ascii_case("https"),
            needs_headers: false,
            fresh: true,
            cors: lease.cors,
            left: lease.life.left(self.0.clock.now()),
            film: None,
        };
        let delivery = match wish.decide(offer) {
            // The operator's helper fetches whole files; a segment is not one.
            Delivery { way: Way::DownloadProxy, .. } => Delivery { way: Way::Bytes, reason: Some("segment") },
            delivery => delivery,
        };
        let response = if delivery.way == Way::Redirect && is_get {
            redirect(url.expose(), delivery)
        } else {
            let name = format!("{place}.{extension}");
            self.piece(request, target, &piece, &lease.transcode, (&*found.entry, &name), delivery).await?
        };
        if is_get {
            piece.look_ahead(&lease.transcode);
        }
        Ok(response)
    }

    /// The bytes of a piece, as of a small file.
    async fn piece(
        &self,
        request: &Request,
        target: &Target,
        piece: &Piece,
        transcode: &Transcode,
        (film, name): (&Entry, &str),
        delivery: Delivery,
    ) -> Result<Response> {
        let audience = Audience { may_probe: false, patience: target.client.patience() };
        let is_get = request.method() != Method::HEAD;
        let wants_whole = matches!(target.range, None | Some(RangeSpec::From(0)));
        let mut known = piece.index().and_then(|index| transcode.bytes(index));
        loop {
            let (total, whole) = match known {
                Some(total) => (total, None),
                None if is_get && wants_whole => {
                    let (body, total) = self.0.engine.whole(piece.clone(), audience).await?;
                    (total, Some(body))
                }
                // A HEAD asks the drive nothing; what is not known is left out.
                None if !is_get => (0, None),
                None => (piece.look(1).await?.total, None),
            };
            let is_known = total > 0;
            if let Some(index) = piece.index() {
                transcode.learn_bytes(index, total);
            }
            let entry = piece.entry(film, name, total);
            let (mut response, range) = described(
                name,
                &entry,
                reply(request.method(), request.headers(), target.range, &entry),
                delivery,
            );
            // It does not change, and a player that seeks back asks again.
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type::of(name)));
            if !is_known {
                headers.remove(header::CONTENT_LENGTH);
                headers.remove(header::ETAG);
            }
            let Some(range) = range.filter(|_| is_get) else { return Ok(response) };
            let body = match whole {
                Some(body) => Ok(body),
                None => self.0.engine.piece(piece.clone(), total, range, audience).await,
            };
            match body {
                Ok(body) => {
                    *response.body_mut() = body;
                    return Ok(response);
                }
                // Perhaps it was made anew, and is of another length now.
                Err(error) if known.take().is_some() && error.kind() == ErrorKind::Upstream => {
                    tracing::debug!(%error, "looking at the piece again");
                    if let Some(index) = piece.index() {
                        transcode.learn_bytes(index, 0);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What is known of a variant; what can be learned from its first piece is learned first, if the drive gives that in time.
    pub(super) async fn described(&self, path: &VirtualPath, variant: &str) -> Described {
        let Ok(transcode) = self.transcode(path, variant).await else { return Described::default() };
        if !transcode.beginning.initialized() {
            // It goes on by itself when it takes longer than a viewer should wait for it.
            let look = self.look_at_beginning(path, variant, &transcode);
            let _ = tokio::time::timeout(DESCRIBED_WITHIN, look).await;
        }
        transcode.described()
    }

    /// When the picture begins by the clock of the segments, in ticks of 90 kHz.
    pub(super) async fn begins_at(&self, path: &VirtualPath, variant: &str) -> Option<u64> {
        let transcode = self.transcode(path, variant).await.ok()?;
        if !transcode.beginning.initialized() {
            let look = self.look_at_beginning(path, variant, &transcode);
            tokio::time::timeout(self.0.hold, look).await.ok()?;
        }
        transcode.beginning.get()?.at
    }

    async fn transcode(&self, path: &VirtualPath, variant: &str) -> Result<Arc<Transcode>> {
        let found = self.find(path, Want::Entry).await?;
        let Some(mount) = found.mount else { return Err(Error::new(ErrorKind::NotAFile, "open a preview")) };
        let entry = &found.entry;
        Ok(self.0.transcodes.of((mount.id, entry.id.clone(), entry.version(), variant.to_owned())))
    }

    /// All who want to know share one look.
    async fn look_at_beginning(&self, path: &VirtualPath, variant: &str, transcode: &Arc<Transcode>) {
        let (path, variant) = (path.clone(), variant.to_owned());
        let piece = Piece { site: self.clone(), path, variant, place: Place::Segment(0) };
        let transcode = Arc::clone(transcode);
        let look = self.0.tasks.spawn(Errand::current().doing(async move {
            let look = async {
                // Others have waited for the same look, and need not look again at what has just failed.
                transcode.may_look()?;
                let seen = piece.look(BEGINNING).await?;
                transcode.take_unseen(0, 1);
                transcode.learn_seen(0, &seen);
                Ok::<_, Error>(Beginning::read(&seen.beginning))
            };
            let looked = transcode.beginning.get_or_try_init(|| look).await;
            looked.map(|_| ()).inspect_err(|error| transcode.failed(error))
        }));
        if let Ok(Err(error)) = look.await {
            tracing::debug!(%error, "not learned what a transcode is made of");
        }
    }
}

// === impl Piece ===

impl Piece {
    fn index(&self) -> Option<usize> {
        match self.place {
            Place::Segment(index) => Some(index),
            Place::Tag(_) => None,
        }
    }

    /// Where the drive has it now, by a playlist that is not the one that `failed`. Waits for up to `hold` for one that lists it.
    ///
    /// # Errors
    /// `NotFound` where the film has no such piece, `Overload` where it is promised but not made in time.
    async fn find(
        &self,
        spare: Spare,
        mut failed: Option<Arc<PlaylistLease>>,
    ) -> Result<(Arc<PlaylistLease>, SignedUrl)> {
        let deadline = Instant::now() + self.site.0.hold;
        loop {
            let lease = self.site.media_playlist(&self.path, &self.variant, spare, failed.take()).await?;
            let url = match self.place {
                Place::Tag(number) => lease.playlist.attached(number),
                Place::Segment(index) => match lease.playlist.segment(index) {
                    Some(Segment::Listed(url)) => Some(url),
                    Some(Segment::Promised) => None,
                    // The drive has listed more before, and lost the end of it. What was only promised and is not in a finished
                    // list does not exist: a film may be shorter than it was said to be.
                    None if index < lease.transcode.listed() => None,
                    None => return Err(no_such_segment(index)),
                },
            };
            match (url, self.place) {
                (Some(url), _) => return Ok((lease, url)),
                (None, Place::Tag(number)) => return Err(no_such_segment(number)),
                (None, Place::Segment(_)) => {}
            }
            if Instant::now() + LOOK_AGAIN >= deadline {
                return Err(Error::new(ErrorKind::Overload, "find a segment")
                    .saying("the drive has not made this part of the video yet, try again shortly")
                    .retry_after(LOOK_AGAIN * 2));
            }
            tokio::time::sleep_until(lease.read_at + LOOK_AGAIN).await;
            failed = Some(lease);
        }
    }

    /// Reads the first bytes of the piece, as many as that.
    async fn look(&self, bytes: u64) -> Result<Seen> {
        const OPERATION: &str = "look at a segment";
        let look = async {
            let mut failed = None;
            loop {
                let is_second = failed.is_some();
                let (lease, url) = self.find(Spare::OwnUse, failed.take()).await?;
                let range = ByteRange { start: 0, end: bytes };
                let headers = HeaderMap::from_iter([(header::RANGE, range.to_header())]);
                let response = match self.site.0.engine.client().get(&url, headers, OPERATION).await {
                    Ok(response) if !response.status().is_server_error() => response,
                    // It passes, or the time for it does.
                    _ => {
                        tokio::time::sleep(LOOK_AGAIN / 2).await;
                        continue;
                    }
                };
                let content_range = response.headers().get(header::CONTENT_RANGE);
                let total = match response.status() {
                    StatusCode::PARTIAL_CONTENT => {
                        content_range.and_then(|range| parse_content_range(range.to_str().ok()?)?.1)
                    }
                    StatusCode::OK => http_body::Body::size_hint(response.body()).exact(),
                    // The address died before its time.
                    StatusCode::FORBIDDEN if !is_second => {
                        failed = Some(lease);
                        continue;
                    }
                    _ => None,
                };
                let total = total.ok_or_else(|| {
                    Error::new(ErrorKind::Upstream, OPERATION)
                        .with("upstream.status", response.status().as_u16())
                })?;
                let mut body = response.into_body();
                let mut beginning = Vec::new();
                // A host that ignores the range sends more than that.
                while (beginning.len() as u64) < bytes.min(total) {
                    let Some(frame) = body.frame().await else { break };
                    if let Ok(data) = frame?.into_data() {
                        beginning.extend_from_slice(&data);
                    }
                }
                return Ok(Seen { beginning, total });
            }
        };
        let hold = self.site.0.hold;
        tokio::time::timeout(hold, look)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, OPERATION)))
    }

    /// Looks at the next pieces, in the background: so the drive makes them before they are wanted, and we learn their lengths.
    /// Once each, and never far ahead: a transcode that nobody watches is not worth making.
    fn look_ahead(&self, transcode: &Arc<Transcode>) {
        let Some(index) = self.index() else { return };
        // Players open the first two pieces of every variant, and watch one; the drive has made those of the first half minute.
        let end = if index < WATCHED_FROM { PREPARED } else { index + 1 + AHEAD };
        for next in transcode.take_unseen(index + 1, AHEAD.min(end.saturating_sub(index + 1))) {
            let piece = Self { place: Place::Segment(next), ..self.clone() };
            let transcode = Arc::clone(transcode);
            self.site.0.tasks.spawn(Errand::current().doing(async move {
                match piece.look(GLANCE).await {
                    Ok(seen) => transcode.learn_seen(next, &seen),
                    Err(error) => {
                        tracing::debug!(%error, segment = next, "could not look ahead");
                        transcode.put_back(next);
                    }
                }
            }));
        }
    }

    /// The piece as a file.
    fn entry(&self, film: &Entry, name: &str, total: u64) -> Entry {
        let version = data_encoding::HEXLOWER.encode(&film.version());
        let mut entry = Entry::folder(film.id.clone(), name);
        (entry.kind, entry.len) = (EntryKind::File, total);
        entry.hash = Some(format!("{version}/{}/{name}", self.variant).into());
        entry
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(number) => write!(f, "x{number}"),
            Self::Segment(index) => write!(f, "{index}"),
        }
    }
}

#[async_trait]
impl Origin for Piece {
    async fn obtain(&self, failed: Option<Failed>) -> Result<(Source, Ticket), Failure> {
        let failed = failed.and_then(|failed| failed.ticket.downcast::<PlaylistLease>().ok());
        let (lease, url) = self.find(Spare::OwnUse, failed).await?;
        let link = Link { url, headers: HeaderMap::new(), life: lease.life };
        Ok((Source::Link(link), lease))
    }
}

// === impl Transcode ===

impl Transcode {
    fn learn_seen(&self, index: usize, seen: &Seen) {
        self.learn_bytes(index, seen.total);
        self.learn_independent(index, Beginning::read(&seen.beginning).is_independent);
    }
}

fn no_such_segment(index: usize) -> Error {
    Error::new(ErrorKind::NotFound, "find a segment")
        .saying("the film has no such segment")
        .with("index", index)
}

/// Bytes of a segment in which the first picture lies, or enough of it: the tables, the parameters, and some sound.
const BEGINNING: u64 = 64 * 1024;
/// Bytes that tell whether the first picture needs others: the tables and the beginning of it.
const GLANCE: u64 = 4 * 1024;
/// Pieces to look ahead.
const AHEAD: usize = 2;
/// Who asks for this piece watches; those before it are opened of every variant.
const WATCHED_FROM: usize = 2;
/// Pieces that the drive makes before anybody asks: the first half minute (§5.1).
const PREPARED: usize = 3;
