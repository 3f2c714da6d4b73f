//! A film as HLS: playlists whose every address is ours, and segments behind addresses that never expire.
//!
//! The drive's own playlists and segments live as long as a link does. Players read a finished playlist once,
//! so what they hold must be ours; the drive's present address is looked up at each request.

pub mod beside;
pub mod captions;
pub mod multivariant;
pub mod playlist;
mod segment;
mod subtitles;
mod transcode;
mod ts;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body as _;
use tokio::time::Instant;

use self::multivariant::chosen;
use self::playlist::MediaPlaylist;
use self::transcode::Transcode;
pub(super) use self::transcode::Transcodes;
pub use self::transcode::{Described, Rates};
use super::content::{DELIVERY, set};
use super::target::{Part, Target, Via};
use super::{Site, media_type, sight};
use crate::access::rules::Sight;
use crate::driver::{EntryId, Preview, Variant, VariantState};
use crate::error::{Error, ErrorKind, Result};
use crate::http::body::read_limited;
use crate::http::{Body, Request, Response};
use crate::lease::{Lease, Life, Spare};
use crate::mount::MountId;
use crate::path::VirtualPath;
use crate::resolve::{Resolved, Want};
use crate::secret::SignedUrl;

/// Which drive playlist: of which file, which variant.
pub(super) type PlaylistKey = (MountId, EntryId, String);

/// A drive's media playlist, for as long as the addresses in it are good.
#[derive(Debug)]
pub(super) struct PlaylistLease {
    playlist: MediaPlaylist,
    life: Life,
    /// Whether its host lets pages of any origin read.
    cors: bool,
    read_at: Instant,
    transcode: Arc<Transcode>,
}

impl Site {
    /// Answers `/hls`.
    pub(super) async fn hls(&self, request: &Request, target: &Target, part: &Part) -> Result<Response> {
        let (query, sight) = (self.query_below(target), sight(request)?);
        match part {
            Part::Master => self.master(target, &query, &sight).await,
            Part::Media { variant } => {
                let lease = self.media_playlist(&target.path, variant, Spare::OwnUse, None).await?;
                Ok(text_answer(lease.playlist.rewritten(&query), media_type::PLAYLIST))
            }
            Part::Attached { .. } | Part::Segment { .. } => self.segment(request, target, part).await,
            Part::Subtitle { language } => {
                Ok(text_answer(self.subtitle(&target.path, language, &sight).await?, media_type::VTT))
            }
            Part::SubtitlePlaylist { language } => {
                let text = self.subtitle_playlist(&target.path, language, &query, &sight).await?;
                Ok(text_answer(text, media_type::PLAYLIST))
            }
        }
    }

    /// The query of the addresses in a playlist: what its own says of the delivery holds for all of the film.
    fn query_below(&self, target: &Target) -> String {
        let query = self.0.addresses.query(&target.path);
        let via = match target.query.via {
            None => return query,
            Some(Via::Proxy) => "via=proxy",
            Some(Via::Redirect) => "via=redirect",
        };
        let separator = if query.is_empty() { '?' } else { '&' };
        format!("{query}{separator}{via}")
    }

    async fn master(&self, target: &Target, query: &str, sight: &Sight) -> Result<Response> {
        let path = &target.path;
        let choice = &target.query.choice;
        let is_ready = |variant: &Variant| matches!(variant.state, VariantState::Ready(_));
        let is_settled = |preview: &Preview| {
            let wanted = chosen(preview, choice);
            wanted.iter().any(|variant| is_ready(variant))
                || !wanted.iter().any(|variant| is_preparing(variant))
        };
        let preview = self.preview_once(path, is_settled).await?;
        let mut variants = chosen(&preview, choice);
        if variants.is_empty() && !preview.variants.is_empty() {
            return Err(no_such_quality());
        }
        if !variants.iter().any(|variant| is_ready(variant)) {
            return Err(not_playable(variants.iter().map(|variant| &variant.state)));
        }
        variants.retain(|variant| is_ready(variant));
        // Neither may cost the film: what is not known in time is left out.
        let described = join_all(variants.iter().map(|variant| self.described(path, &variant.id)));
        let (described, tracks) = tokio::join!(described, self.tracks(path, &preview, sight));
        let variants: Vec<_> = variants.into_iter().zip(described).collect();
        let mut response = text_answer(multivariant::master(&variants, &tracks, query), media_type::PLAYLIST);
        let is_withheld = |variant: &&Variant| matches!(variant.state, VariantState::Withheld);
        let withheld: Vec<_> =
            preview.variants.iter().filter(is_withheld).map(|variant| &*variant.id).collect();
        if !withheld.is_empty() {
            self.say_that_some_are_withheld(path).await;
            set(response.headers_mut(), WITHHELD, &format!("{}; reason=package", withheld.join(",")));
        }
        Ok(response)
    }

    /// Says so in the log, once a mount.
    async fn say_that_some_are_withheld(&self, path: &VirtualPath) {
        let Ok(Resolved { mount: Some(mount), .. }) = self.find(path, Want::Entry).await else { return };
        self.0.withheld.get_with(mount.id, || {
            tracing::info!(
                mount = %mount.path,
                "the drive gives its better qualities only to accounts with the third-party package; they are left out"
            );
        });
    }

    async fn preview(&self, path: &VirtualPath) -> Result<Arc<Preview>> {
        self.find(path, Want::Preview { failed: None }).await?.into_preview()
    }

    /// The preview once it `is_settled`, or once `hold` is over: few players come back when they are told to. What is settled is not
    /// looked at again for what else may have been made meanwhile: the next one, when this one has ended, will have it.
    async fn preview_once(
        &self,
        path: &VirtualPath,
        is_settled: impl Fn(&Preview) -> bool + Send,
    ) -> Result<Arc<Preview>> {
        let deadline = Instant::now() + self.0.hold;
        let mut seen = None;
        loop {
            let found = match seen.take() {
                None => self.preview(path).await,
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

    /// A variant's playlist, with life to spare for what is to be made of it; not the one that `failed`.
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
        let version = found.entry.version();
        let transcode = self.0.transcodes.of((mount.id, found.entry.id.clone(), version, variant.to_owned()));
        let (site, path, variant) = (self.clone(), path.clone(), variant.to_owned());
        let fetch = async move { site.fetch_playlist(&path, &variant, spare, transcode).await };
        self.0.playlists.get_or_fetch(key, spare, self.0.clock.now(), fetch).await
    }

    async fn fetch_playlist(
        &self,
        path: &VirtualPath,
        variant: &str,
        spare: Spare,
        transcode: Arc<Transcode>,
    ) -> Result<PlaylistLease> {
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
                Ok(Text { text, cors }) => {
                    let playlist = MediaPlaylist::parse(text, url, preview.duration)?;
                    transcode.learn_playlist(playlist.lengths(), playlist.listed());
                    let (life, read_at) = (preview.life, Instant::now());
                    return Ok(PlaylistLease { playlist, life, cors, read_at, transcode });
                }
                // The address died before its time: one more try with a fresh one.
                Err(TextFault::Refused(_)) if !again => failed = Some(preview),
                Err(fault) => return Err(fault.into_error()),
            }
        }
    }

    /// A small text of the drive's content host; asked for again while that fails and `hold` is not over.
    async fn fetch_text(&self, url: &SignedUrl) -> Result<Text, TextFault> {
        let deadline = Instant::now() + self.0.hold;
        loop {
            let fetched = tokio::time::timeout_at(deadline, self.fetch_text_once(url)).await;
            match fetched.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, READ_TEXT).into())) {
                Err(TextFault::Passing(error)) if Instant::now() + LOOK_AGAIN / 2 < deadline => {
                    tracing::debug!(%error, "reading the text again");
                    tokio::time::sleep(LOOK_AGAIN / 2).await;
                }
                fetched => return fetched,
            }
        }
    }

    async fn fetch_text_once(&self, url: &SignedUrl) -> Result<Text, TextFault> {
        // What a browser sends after it was redirected; the answer says whether it may read.
        let headers = HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static("null"))]);
        let response =
            self.0.engine.client().get(url, headers, READ_TEXT).await.map_err(TextFault::Passing)?;
        let status = response.status();
        if status != StatusCode::OK {
            let error = Error::new(ErrorKind::Upstream, READ_TEXT).with("upstream.status", status.as_u16());
            return Err(match status {
                StatusCode::FORBIDDEN => TextFault::Refused(error),
                _ => TextFault::Passing(error),
            });
        }
        let allowed = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        let cors = allowed.is_some_and(|origin| origin == "*" || origin == "null");
        let is_announced_too_long = response.body().size_hint().lower() > LONGEST_TEXT as u64;
        let bytes = read_limited(response.into_body(), LONGEST_TEXT, READ_TEXT).await;
        let bytes = bytes.map_err(match is_announced_too_long {
            true => TextFault::Senseless,
            false => TextFault::Passing,
        })?;
        let not_text = |_| Error::new(ErrorKind::Upstream, READ_TEXT).saying("the drive's text is not UTF-8");
        Ok(Text { text: String::from_utf8(bytes).map_err(not_text)?, cors })
    }
}

/// A text of the drive.
struct Text {
    text: String,
    /// Whether its host lets pages of any origin read.
    cors: bool,
}

/// Why a text of the drive could not be read.
enum TextFault {
    /// It may be readable the next time.
    Passing(Error),
    /// The address is no longer good; another may be.
    Refused(Error),
    /// It makes no sense.
    Senseless(Error),
}

impl From<Error> for TextFault {
    fn from(error: Error) -> Self {
        Self::Senseless(error)
    }
}

impl TextFault {
    fn into_error(self) -> Error {
        match self {
            Self::Passing(error) | Self::Refused(error) | Self::Senseless(error) => error,
        }
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

const READ_TEXT: &str = "read a text of the drive";
/// Names the qualities of a film that the drive keeps back, and why.
const WITHHELD: http::HeaderName = http::HeaderName::from_static("sluice-withheld");
/// Longest time that a multivariant playlist waits for what it need not say; chosen: less than a viewer notices beside the rest.
const DESCRIBED_WITHIN: Duration = Duration::from_secs(2);
/// How soon to look again at a preview that somebody waits for; chosen: transcoding begins within seconds.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Bytes. A playlist of the longest film that is believed, with the longest segment addresses seen, is 2 MB.
const LONGEST_TEXT: usize = 16 * 1024 * 1024;
