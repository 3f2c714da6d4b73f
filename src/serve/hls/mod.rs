//! A film as HLS: playlists whose every address is ours, and segments behind addresses that never expire.
//!
//! The drive's own playlists and segments live as long as a link does. Players read a finished playlist once,
//! so what they hold must be ours; the drive's present address is looked up at each request.

pub mod playlist;
mod ts;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use tokio::time::Instant;

use self::playlist::MediaPlaylist;
use super::content::{DELIVERY, redirect, tell};
use super::plan::{Delivery, Offer, Way, Wish};
use super::target::{Part, Target};
use super::{Site, media_type};
use crate::driver::{EntryId, Link, Preview, Source, Variant, VariantState};
use crate::error::{Error, ErrorKind, Result};
use crate::http::body::read_limited;
use crate::http::range::ByteRange;
use crate::http::{Body, Request, Response};
use crate::lease::{Lease, Life, Spare};
use crate::mount::MountId;
use crate::path::VirtualPath;
use crate::resolve::{Resolved, Want};
use crate::secret::SignedUrl;
use crate::stream::{Audience, Failed, Failure, Origin, Ticket};

/// Which drive playlist: of which file, which variant.
pub(super) type PlaylistKey = (MountId, EntryId, String);

/// A drive's media playlist, for as long as the addresses in it are good.
#[derive(Debug)]
pub(super) struct PlaylistLease {
    playlist: MediaPlaylist,
    life: Life,
}

impl Site {
    /// Answers `/hls`.
    pub(super) async fn hls(&self, request: &Request, target: &Target, part: &Part) -> Result<Response> {
        let query = self.0.addresses.query(&target.path);
        match part {
            Part::Master => {
                let has_some = |preview: &Preview| preview.playable().next().is_some();
                let is_settled =
                    |preview: &Preview| has_some(preview) || !preview.variants.iter().any(is_preparing);
                let preview = self.preview_once(&target.path, is_settled).await?;
                let choice = &target.query.choice;
                let text = playlist::master(&preview, choice, &query).ok_or_else(|| {
                    if has_some(&preview) {
                        return no_such_quality();
                    }
                    not_playable(preview.variants.iter().map(|variant| &variant.state))
                })?;
                Ok(text_answer(text, media_type::PLAYLIST))
            }
            Part::Media { variant } => {
                let lease = self.media_playlist(&target.path, variant, Spare::OwnUse, None).await?;
                Ok(text_answer(lease.playlist.rewritten(&query), media_type::PLAYLIST))
            }
            Part::Segment { variant, index } => self.segment(request, target, variant, *index).await,
            Part::Subtitle { language } => {
                let text = self.subtitle(&target.path, language).await?;
                let text = match self.begins_at(&target.path).await {
                    Some(ticks) => playlist::timed(&text, ticks),
                    None => text,
                };
                Ok(text_answer(text, media_type::VTT))
            }
            Part::SubtitlePlaylist { language } => {
                let preview = self.preview(&target.path).await?;
                track(&preview, language)?;
                let text = playlist::subtitles(language, preview.duration, &query);
                Ok(text_answer(text, media_type::PLAYLIST))
            }
        }
    }

    async fn segment(
        &self,
        request: &Request,
        target: &Target,
        variant: &str,
        index: usize,
    ) -> Result<Response> {
        let mount = self.find(&target.path, Want::Entry).await?.mount;
        let wish = Wish {
            mode: mount.map(|mount| mount.policy.delivery).unwrap_or_default(),
            via: target.query.via,
            client: target.client,
            https: self.0.addresses.is_https(),
            segment: true,
            in_the_middle: false,
        };
        let spare = if wish.considers_a_link(None) { Spare::HandOut } else { Spare::OwnUse };
        let lease = self.media_playlist(&target.path, variant, spare, None).await?;
        let url = lease.segment(index)?;
        let offer = Offer::Link {
            https: url.scheme().eq_ignore_ascii_case("https"),
            needs_headers: false,
            fresh: true,
            left: lease.life.left(self.0.clock.now()),
            film: None,
        };
        let delivery = match wish.decide(offer) {
            // The operator's helper fetches whole files; a segment is not one.
            Delivery { way: Way::DownloadProxy, .. } => Delivery { way: Way::Bytes, reason: Some("segment") },
            delivery => delivery,
        };
        if delivery.way == Way::Redirect && request.method() != Method::HEAD {
            return Ok(redirect(url.expose(), delivery));
        }
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type::SEGMENT));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
        tell(headers, delivery, "proxy");
        if request.method() != Method::HEAD {
            let origin = SegmentOrigin {
                site: self.clone(),
                path: target.path.clone(),
                variant: variant.to_owned(),
                index,
            };
            let audience = Audience { may_probe: false, patience: target.client.patience() };
            let (body, len) = self.0.engine.whole(origin, audience).await?;
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(len));
            *response.body_mut() = body;
        }
        Ok(response)
    }

    async fn preview(&self, path: &VirtualPath) -> Result<Arc<Preview>> {
        self.find(path, Want::Preview { failed: None }).await?.into_preview()
    }

    /// The preview, looked at again where it was incomplete a while ago. Its addresses are still good, so only the list
    /// of qualities is worth a call.
    async fn settled_preview(&self, path: &VirtualPath) -> Result<Arc<Preview>> {
        let preview = self.preview(path).await?;
        let unfinished = preview.variants.iter().any(is_preparing);
        if unfinished && self.0.clock.now() > preview.life.from + RECHECK {
            return self.find(path, Want::Preview { failed: Some(preview) }).await?.into_preview();
        }
        Ok(preview)
    }

    /// The preview once it `is_settled`, or once `hold` is over: few players come back when they are told to.
    async fn preview_once(
        &self,
        path: &VirtualPath,
        is_settled: impl Fn(&Preview) -> bool + Send,
    ) -> Result<Arc<Preview>> {
        let deadline = Instant::now() + self.0.hold;
        let mut seen = None;
        loop {
            let found = match seen.take() {
                None => self.settled_preview(path).await,
                failed => self.find(path, Want::Preview { failed }).await.and_then(Resolved::into_preview),
            };
            let is_over = match &found {
                Ok(preview) => is_settled(preview),
                // The drive has only begun.
                Err(error) => error.kind() != ErrorKind::Overload,
            };
            if is_over || Instant::now() + LOOK_AGAIN >= deadline {
                return found;
            }
            seen = found.ok();
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A variant's playlist; not the one that `failed`.
    async fn media_playlist(
        &self,
        path: &VirtualPath,
        variant: &str,
        spare: Spare,
        failed: Option<Arc<PlaylistLease>>,
    ) -> Result<Arc<PlaylistLease>> {
        let found = self.find(path, Want::Entry).await?;
        let Some(mount) = found.mount else { return Err(Error::new(ErrorKind::NotAFile, "open a preview")) };
        let key = (mount.id, found.entry.id.clone(), variant.to_owned());
        if let Some(failed) = failed {
            self.0.playlists.discard(&key, &failed);
        }
        let (site, path, variant) = (self.clone(), path.clone(), variant.to_owned());
        let fetch = async move { site.fetch_playlist(&path, &variant, spare).await };
        self.0.playlists.get_or_fetch(key, spare, self.0.clock.now(), fetch).await
    }

    async fn fetch_playlist(&self, path: &VirtualPath, variant: &str, spare: Spare) -> Result<PlaylistLease> {
        let mut failed = None;
        loop {
            let again = failed.is_some();
            let preview = match failed.take() {
                None => {
                    let is_made = |known: &Variant| &*known.id == variant && is_preparing(known);
                    self.preview_once(path, |preview| !preview.variants.iter().any(is_made)).await?
                }
                failed => self.find(path, Want::Preview { failed }).await?.into_preview()?,
            };
            if !again && !preview.life.has(spare, self.0.clock.now()) {
                // Good for us, but too short for what is to be made of it.
                failed = Some(preview);
                continue;
            }
            let url = variant_url(&preview, variant)?;
            match self.fetch_text(url).await {
                Ok(text) => {
                    let playlist = MediaPlaylist::parse(text, url)?;
                    return Ok(PlaylistLease { playlist, life: preview.life });
                }
                // The address died before its time: one more try with a fresh one.
                Err(TextFault::Refused(_)) if !again => failed = Some(preview),
                Err(TextFault::Refused(error) | TextFault::Other(error)) => return Err(error),
            }
        }
    }

    async fn subtitle(&self, path: &VirtualPath, language: &str) -> Result<String> {
        let mut failed = None;
        loop {
            let again = failed.is_some();
            let preview = self.find(path, Want::Preview { failed: failed.take() }).await?.into_preview()?;
            match self.fetch_text(track(&preview, language)?).await {
                Ok(text) if text.trim_start_matches('\u{feff}').starts_with("WEBVTT") => return Ok(text),
                Ok(_) => {
                    return Err(Error::new(ErrorKind::Upstream, "read subtitles")
                        .saying("the drive's subtitles are not WebVTT"));
                }
                Err(TextFault::Refused(_)) if !again => failed = Some(preview),
                Err(TextFault::Refused(error) | TextFault::Other(error)) => return Err(error),
            }
        }
    }

    /// When the picture begins by the clock of the segments, in ticks of 90 kHz. Not knowing it must not cost the subtitles.
    async fn begins_at(&self, path: &VirtualPath) -> Option<u64> {
        let found = self.find(path, Want::Entry).await.ok()?;
        let key = (found.mount?.id, found.entry.id.clone());
        if let Some(ticks) = self.0.beginnings.get(&key) {
            return Some(ticks);
        }
        let preview = self.preview(path).await.ok()?;
        // All variants are cut from one film.
        let variant = preview.playable().next()?.0.id.to_string();
        let lease = self.media_playlist(path, &variant, Spare::OwnUse, None).await.ok()?;
        let ticks = tokio::time::timeout(self.0.hold, self.read_beginning(&lease)).await.ok()??;
        self.0.beginnings.insert(key, ticks);
        Some(ticks)
    }

    async fn read_beginning(&self, lease: &PlaylistLease) -> Option<u64> {
        let range = ByteRange { start: 0, end: BEGINNING };
        let headers = HeaderMap::from_iter([(header::RANGE, range.to_header())]);
        let url = lease.segment(0).ok()?;
        let response = self.0.engine.client().get(&url, headers, "read a segment").await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let mut body = response.into_body();
        let mut stream = Vec::new();
        // A host that ignores the range sends more than that.
        while (stream.len() as u64) < BEGINNING {
            let Some(frame) = body.frame().await else { break };
            if let Ok(data) = frame.ok()?.into_data() {
                stream.extend_from_slice(&data);
            }
        }
        ts::first_video_pts(&stream)
    }

    /// A small text of the drive's content host.
    async fn fetch_text(&self, url: &SignedUrl) -> Result<String, TextFault> {
        const OPERATION: &str = "read a text of the drive";
        let fetch = async {
            let response = self.0.engine.client().get(url, HeaderMap::new(), OPERATION).await?;
            let status = response.status();
            if status != StatusCode::OK {
                let error =
                    Error::new(ErrorKind::Upstream, OPERATION).with("upstream.status", status.as_u16());
                return Err(match status {
                    StatusCode::FORBIDDEN => TextFault::Refused(error),
                    _ => TextFault::Other(error),
                });
            }
            let bytes = read_limited(response.into_body(), LONGEST_TEXT, OPERATION).await?;
            let not_text =
                |_| Error::new(ErrorKind::Upstream, OPERATION).saying("the drive's text is not UTF-8");
            Ok(String::from_utf8(bytes).map_err(not_text)?)
        };
        tokio::time::timeout(self.0.hold, fetch)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, OPERATION).into()))
    }
}

/// Why a text of the drive could not be read.
enum TextFault {
    /// The address is no longer good; another may be.
    Refused(Error),
    Other(Error),
}

impl From<Error> for TextFault {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// A segment, through the present playlist.
struct SegmentOrigin {
    site: Site,
    path: VirtualPath,
    variant: String,
    index: usize,
}

#[async_trait]
impl Origin for SegmentOrigin {
    async fn obtain(&self, failed: Option<Failed>) -> Result<(Source, Ticket), Failure> {
        let failed = failed.and_then(|failed| failed.ticket.downcast::<PlaylistLease>().ok());
        let lease = self.site.media_playlist(&self.path, &self.variant, Spare::OwnUse, failed).await?;
        let link = Link { url: lease.segment(self.index)?, headers: HeaderMap::new(), life: lease.life };
        Ok((Source::Link(link), lease))
    }
}

// === impl PlaylistLease ===

impl PlaylistLease {
    fn segment(&self, index: usize) -> Result<SignedUrl> {
        self.playlist.segment(index).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "find a segment")
                .saying("the film has no such segment")
                .with("index", index)
        })
    }
}

impl Lease for PlaylistLease {
    fn life(&self) -> Life {
        self.life
    }

    /// In KiB.
    fn weight(&self) -> u32 {
        u32::try_from(self.playlist.len() / 1024).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// The address of a variant's playlist.
fn variant_url<'a>(preview: &'a Preview, variant: &str) -> Result<&'a SignedUrl> {
    match preview.variants.iter().find(|known| &*known.id == variant).map(|known| &known.state) {
        None => Err(no_such_quality()),
        Some(VariantState::Ready(url)) => Ok(url),
        Some(state) => Err(not_playable([state])),
    }
}

fn is_preparing(variant: &Variant) -> bool {
    matches!(variant.state, VariantState::Preparing)
}

fn no_such_quality() -> Error {
    Error::new(ErrorKind::NotFound, "find a variant").saying("the film has no such quality")
}

fn track<'a>(preview: &'a Preview, language: &str) -> Result<&'a SignedUrl> {
    let track = preview.subtitles.iter().find(|track| &*track.language == language);
    track.map(|track| &track.url).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "find subtitles").saying("the film has no subtitles in this language")
    })
}

/// Why none of these variants can be played.
fn not_playable<'a>(states: impl IntoIterator<Item = &'a VariantState>) -> Error {
    const OPERATION: &str = "choose a quality";
    let mut withheld = false;
    for state in states {
        match state {
            VariantState::Preparing => {
                return Error::new(ErrorKind::Overload, OPERATION)
                    .saying("the drive is preparing this video, try again shortly")
                    .retry_after(Duration::from_secs(5));
            }
            VariantState::Withheld => withheld = true,
            VariantState::Failed | VariantState::Ready(_) => {}
        }
    }
    Error::new(ErrorKind::Unsupported, OPERATION).saying(if withheld {
        "the drive gives this quality only to accounts with its third-party package"
    } else {
        "the drive cannot transcode this file; play the original"
    })
}

fn text_answer(text: String, media_type: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    // The next player may find another quality ready.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(DELIVERY, HeaderValue::from_static("playlist"));
    *response.body_mut() = Body::full(text);
    response
}

/// How soon to look again at a preview of which a part is still being made; chosen against the 15/s class.
const RECHECK: Duration = Duration::from_secs(10);
/// Bytes of a segment in which the first picture begins: a few packets, of 188 bytes each, after the tables.
const BEGINNING: u64 = 64 * 1024;
/// How soon to look again at a preview that somebody waits for; chosen: transcoding begins within seconds.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Bytes. A playlist of the longest film that is believed, with the longest segment addresses seen, is 2 MB.
const LONGEST_TEXT: usize = 16 * 1024 * 1024;
