//! What the simulator saw: counters, and a bounded log of request heads.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
};

use http::{HeaderMap, Method};

use crate::faults::Endpoint;

/// A snapshot of the counters since the start or the last reset (fact sheet §9, observability).
///
/// Requests count when their head arrives, whatever becomes of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// `/oauth/access_token`.
    pub access_token: u64,
    /// `openFile/batch/get`.
    pub batch_get: u64,
    /// Download requests on the content host.
    pub content: u64,
    /// `getDriveInfo`.
    pub drive_info: u64,
    /// `getDownloadUrl`.
    pub download_url: u64,
    /// `openFile/get`.
    pub get: u64,
    /// `get_by_path`.
    pub get_by_path: u64,
    /// `openFile/list`.
    pub list: u64,
    /// Preview playlists.
    pub playlist: u64,
    /// `getVideoPreviewPlayInfo`.
    pub preview_info: u64,
    /// `getVideoPreviewPlayMeta`.
    pub preview_meta: u64,
    /// QR codes asked for, at `/oauth/authorize` too.
    pub qr_code: u64,
    /// QR images.
    pub qr_image: u64,
    /// QR status polls.
    pub qr_status: u64,
    /// `/oauth/users/scopes`.
    pub scopes: u64,
    /// `openFile/search`.
    pub search: u64,
    /// Preview segments.
    pub segment: u64,
    /// `getSpaceInfo`.
    pub space_info: u64,
    /// `starredList`.
    pub starred_list: u64,
    /// Preview subtitles.
    pub subtitle: u64,
    /// Thumbnails on the content host.
    pub thumbnail: u64,
    /// Everything below `/alist/` and `/alicloud/`.
    pub token_server: u64,
    /// Paths nobody serves, on the API listener.
    pub unknown_api: u64,
    /// Paths nobody serves, on the content listener.
    pub unknown_content: u64,
    /// `/oauth/users/info`.
    pub user_info: u64,
    /// `getVipInfo`, both paths.
    pub vip_info: u64,

    /// Bytes of bodies handed to connections of the content listener.
    pub bytes_sent: u64,
    /// Downloads refused with a changed, dropped or missing signature, or for their verb.
    pub bad_signature: u64,
    /// Downloads refused over the concurrency cap.
    pub denied_concurrency: u64,
    /// Content requests refused with an expired link.
    pub expired: u64,
    /// Requests that got a fault.
    pub faulted: u64,
    /// Download links minted.
    pub links: u64,
    /// Download links minted, by the file's path at that time.
    pub links_by_file: BTreeMap<String, u64>,
    /// Download bodies being sent now.
    pub live_bodies: u64,
    /// The most download bodies sent at once.
    pub peak_bodies: u64,
    /// 429 answers, on both dialects of the token server too.
    pub rate_limited: u64,
    /// Refresh tokens successfully exchanged, directly or through a token server.
    pub refreshes: u64,
    /// API calls refused for their bearer token.
    pub unauthorized: u64,
}

impl Counts {
    /// All requests on the API listener, token servers included.
    pub fn api_calls(&self) -> u64 {
        self.access_token
            + self.batch_get
            + self.drive_info
            + self.download_url
            + self.get
            + self.get_by_path
            + self.list
            + self.preview_info
            + self.preview_meta
            + self.qr_code
            + self.qr_image
            + self.qr_status
            + self.scopes
            + self.search
            + self.space_info
            + self.starred_list
            + self.token_server
            + self.unknown_api
            + self.user_info
            + self.vip_info
    }

    /// All requests on the content listener.
    pub fn content_requests(&self) -> u64 {
        self.content + self.playlist + self.segment + self.subtitle + self.thumbnail + self.unknown_content
    }

    /// How often an endpoint was asked.
    pub fn of(&self, endpoint: Endpoint) -> u64 {
        match endpoint {
            Endpoint::AnyApi => self.api_calls(),
            Endpoint::AnyContent => self.content_requests(),
            one => self.clone().slot(one).map_or(0, |count| *count),
        }
    }

    pub(crate) fn arrived(&mut self, endpoint: Endpoint) {
        if let Some(count) = self.slot(endpoint) {
            *count += 1;
        }
    }

    fn slot(&mut self, endpoint: Endpoint) -> Option<&mut u64> {
        Some(match endpoint {
            Endpoint::AccessToken => &mut self.access_token,
            Endpoint::AnyApi | Endpoint::AnyContent => return None,
            Endpoint::BatchGet => &mut self.batch_get,
            Endpoint::Content => &mut self.content,
            Endpoint::DownloadUrl => &mut self.download_url,
            Endpoint::DriveInfo => &mut self.drive_info,
            Endpoint::Get => &mut self.get,
            Endpoint::GetByPath => &mut self.get_by_path,
            Endpoint::List => &mut self.list,
            Endpoint::Playlist => &mut self.playlist,
            Endpoint::PreviewInfo => &mut self.preview_info,
            Endpoint::PreviewMeta => &mut self.preview_meta,
            Endpoint::QrCode => &mut self.qr_code,
            Endpoint::QrImage => &mut self.qr_image,
            Endpoint::QrStatus => &mut self.qr_status,
            Endpoint::Scopes => &mut self.scopes,
            Endpoint::Search => &mut self.search,
            Endpoint::Segment => &mut self.segment,
            Endpoint::SpaceInfo => &mut self.space_info,
            Endpoint::StarredList => &mut self.starred_list,
            Endpoint::Subtitle => &mut self.subtitle,
            Endpoint::Thumbnail => &mut self.thumbnail,
            Endpoint::TokenServer => &mut self.token_server,
            Endpoint::UnknownApi => &mut self.unknown_api,
            Endpoint::UnknownContent => &mut self.unknown_content,
            Endpoint::UserInfo => &mut self.user_info,
            Endpoint::VipInfo => &mut self.vip_info,
        })
    }
}

/// The counters that bodies move while they stream, free of any lock.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) live: AtomicU64,
    pub(crate) peak: AtomicU64,
}

impl Streams {
    pub(crate) fn opened(&self) {
        let live = self.live.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(live, Ordering::SeqCst);
    }

    pub(crate) fn closed(&self) {
        self.live.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn copy_to(&self, counts: &mut Counts) {
        counts.bytes_sent = self.bytes_sent.load(Ordering::SeqCst);
        counts.live_bodies = self.live.load(Ordering::SeqCst);
        counts.peak_bodies = self.peak.load(Ordering::SeqCst);
    }

    /// Bodies that are live stay counted.
    pub(crate) fn reset(&self) {
        self.bytes_sent.store(0, Ordering::SeqCst);
        self.peak.store(self.live.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// Which of the two listeners a request came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listener {
    /// The open API and the token servers.
    Api,
    /// Downloads and previews.
    Content,
}

/// The head of one request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Where it came to.
    pub listener: Listener,
    /// What it was for.
    pub endpoint: Endpoint,
    /// Its verb.
    pub method: Method,
    /// Its path as sent, without the query.
    pub path: String,
    /// Its query as sent, without the question mark; empty if there was none.
    pub query: String,
    /// Its header fields.
    pub headers: HeaderMap,
}

/// The last [`LOG_ENTRIES`] request heads.
#[derive(Debug, Default)]
pub(crate) struct Log(VecDeque<Seen>);

impl Log {
    pub(crate) fn push(&mut self, seen: Seen) {
        if self.0.len() == LOG_ENTRIES {
            self.0.pop_front();
        }
        self.0.push_back(seen);
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.0.iter().cloned().collect()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// How many request heads are kept.
const LOG_ENTRIES: usize = 10_000;
