//! A film as HLS: playlists whose every address is ours, and segments behind addresses that never expire.
//!
//! The drive's own playlists and segments live as long as a link does. Players read a finished playlist once,
//! so what they hold must be ours; the drive's present address is looked up at each request.

pub mod playlist;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use self::playlist::MediaPlaylist;
use super::content::{DELIVERY, redirect, tell};
use super::plan::{Delivery, Offer, Way, Wish};
use super::target::{Part, Target};
use super::{Site, media_type};
use crate::driver::{EntryId, Link, Preview, Source, VariantState};
use crate::error::{Error, ErrorKind, Result};
use crate::http::client::{from_reqwest, read_limited};
use crate::http::{Body, Request, Response};
use crate::lease::{Lease, Life, Spare};
use crate::mount::MountId;
use crate::path::VirtualPath;
use crate::resolve::Want;
use crate::secret::SignedUrl;
use crate::stream::Origin;

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
        let query = self.addresses.query(&target.path);
        match part {
            Part::Master => {
                let preview = self.settled_preview(&target.path).await?;
                let text = playlist::master(&preview, &query).ok_or_else(|| nothing_playable(&preview))?;
                Ok(text_answer(text, media_type::PLAYLIST))
            }
            Part::Media { variant } => {
                let lease = self.media_playlist(&target.path, variant, Spare::OwnUse, None).await?;
                Ok(text_answer(lease.playlist.rewritten(&query), media_type::PLAYLIST))
            }
            Part::Segment { variant, index } => self.segment(request, target, variant, *index).await,
            Part::Subtitle { language } => {
                let text = self.subtitle(&target.path, language).await?;
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
            https: self.addresses.is_https(),
            segment: true,
        };
        let spare = if wish.considers_a_link(None) { Spare::HandOut } else { Spare::OwnUse };
        let lease = self.media_playlist(&target.path, variant, spare, None).await?;
        let url = lease.segment(index)?;
        let offer = Offer::Link {
            https: url.scheme().eq_ignore_ascii_case("https"),
            needs_headers: false,
            left: lease.life.left(self.clock.now()),
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
            let (body, len) = self.engine.whole(origin).await?;
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
        let unfinished =
            preview.variants.iter().any(|variant| matches!(variant.state, VariantState::Preparing));
        if unfinished && self.clock.now() > preview.life.from + RECHECK {
            return self.find(path, Want::Preview { failed: Some(preview) }).await?.into_preview();
        }
        Ok(preview)
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
            self.playlists.discard(&key, &failed).await;
        }
        let (site, path, variant) = (self.clone(), path.clone(), variant.to_owned());
        let fetch = async move { site.fetch_playlist(&path, &variant, spare).await };
        self.playlists.get_or_fetch(key, spare, self.clock.now(), fetch).await
    }

    async fn fetch_playlist(&self, path: &VirtualPath, variant: &str, spare: Spare) -> Result<PlaylistLease> {
        let mut failed = None;
        loop {
            let again = failed.is_some();
            let preview = self.find(path, Want::Preview { failed: failed.take() }).await?.into_preview()?;
            if !again && !preview.life.has(spare, self.clock.now()) {
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
                Err(error) if error.kind() == ErrorKind::Denied && !again => failed = Some(preview),
                Err(error) => return Err(error),
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
                Err(error) if error.kind() == ErrorKind::Denied && !again => failed = Some(preview),
                Err(error) => return Err(error),
            }
        }
    }

    /// A small text of the drive's content host. `Denied` where the address is no longer good.
    async fn fetch_text(&self, url: &SignedUrl) -> Result<String> {
        const OPERATION: &str = "read a text of the drive";
        let fetch = async {
            let response = self
                .engine
                .client()
                .get(url.expose())
                .send()
                .await
                .map_err(|error| from_reqwest(error, OPERATION))?;
            let status = response.status();
            if status != StatusCode::OK {
                let kind =
                    if status == StatusCode::FORBIDDEN { ErrorKind::Denied } else { ErrorKind::Upstream };
                return Err(Error::new(kind, OPERATION).with("upstream.status", status.as_u16()));
            }
            let bytes = read_limited(response, LONGEST_TEXT, OPERATION).await?;
            String::from_utf8(bytes)
                .map_err(|_| Error::new(ErrorKind::Upstream, OPERATION).saying("not a text"))
        };
        tokio::time::timeout(self.hold, fetch)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, OPERATION)))
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
    type Lease = Arc<PlaylistLease>;

    async fn obtain(&self, failed: Option<Self::Lease>) -> Result<(Source, Self::Lease)> {
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
}

/// The address of a variant's playlist.
fn variant_url<'a>(preview: &'a Preview, variant: &str) -> Result<&'a SignedUrl> {
    preview.playable().find(|(known, _)| &*known.id == variant).map(|(_, url)| url).ok_or_else(|| {
        if preview.variants.iter().any(|known| &*known.id == variant) {
            return nothing_playable(preview);
        }
        Error::new(ErrorKind::NotFound, "find a variant").saying("the film has no such quality")
    })
}

fn track<'a>(preview: &'a Preview, language: &str) -> Result<&'a SignedUrl> {
    let track = preview.subtitles.iter().find(|track| &*track.language == language);
    track.map(|track| &track.url).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "find subtitles").saying("the film has no subtitles in this language")
    })
}

/// Why a preview has nothing to play.
fn nothing_playable(preview: &Preview) -> Error {
    const OPERATION: &str = "choose a quality";
    let mut states = preview.variants.iter().map(|variant| &variant.state);
    if states.clone().any(|state| matches!(state, VariantState::Preparing)) {
        return Error::new(ErrorKind::Overload, OPERATION)
            .saying("the drive is preparing this video, try again shortly")
            .retry_after(Duration::from_secs(5));
    }
    if states.any(|state| matches!(state, VariantState::Withheld)) {
        return Error::new(ErrorKind::Unsupported, OPERATION)
            .saying("the drive gives this quality only to accounts with its third-party package");
    }
    Error::new(ErrorKind::Unsupported, OPERATION)
        .saying("the drive cannot transcode this file; play the original")
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
/// Bytes. A playlist of the longest film that is believed, with the longest segment addresses seen, is 2 MB.
const LONGEST_TEXT: usize = 16 * 1024 * 1024;
