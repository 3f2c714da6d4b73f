//! Everything about the simulated drive that a test or the demo may choose, also while it runs.

use std::{collections::BTreeMap, time::Duration};

/// The drive's behaviour. The defaults are what the fact sheet says of an ordinary app and a user
/// without the third-party package.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The app's standing with the drive: concurrency cap and link lifetime (§4.1).
    pub app_level: AppLevel,
    /// Bytes a second and connection of downloads; infinite by default. The drive gives about
    /// 500,000 without the package and tens of millions with it (§4.3).
    pub bytes_per_second: f64,
    /// Concurrent downloads per user and app, in place of the app level's.
    pub cap: Option<usize>,
    /// Concurrent downloads per user over all apps (§4.3: 3 in the announcement); off by default.
    pub cap_over_apps: Option<usize>,
    /// `Access-Control-Allow-Origin: *` on previews (§5.2).
    pub cors: bool,
    /// `Content-Type` of downloads; `None` is the file's own (§4.2).
    pub content_type: Option<String>,
    /// Which drive `default_drive_id` names (§2).
    pub default_drive: DriveKind,
    /// The account is frozen: links are refused with `UserNotAllowedAccessResource` (§4.1).
    pub frozen_account: bool,
    /// An idle connection of the content listener is closed after this (§4.3). Holds for new connections.
    pub idle_close: Duration,
    /// A link's lifetime in place of the app level's, whatever is asked; for tests in scaled time.
    pub link_life: Option<Duration>,
    /// `openFile/list` accepts 100 at most, as its documentation says, and not 200 (§10).
    pub list_limit_strict: bool,
    /// What a request for several ranges gets (§4.3: documents disagree).
    pub multi_range: MultiRange,
    /// `getDriveInfo` leaves `backup_drive_id` out, and that drive is refused unless it is the default.
    pub omit_backup_drive: bool,
    /// `getDriveInfo` leaves `resource_drive_id` out, and that drive is refused unless it is the default.
    pub omit_resource_drive: bool,
    /// A playlist lists so many segments at most, and has no end when that is not all of them: a drive that has not made the
    /// rest yet (§5.1 has the list complete from the start, by inference).
    pub listed_segments: Option<u64>,
    /// The space is used up beyond its size: previews answer `ExceedCapacityForbidden` (§5.1).
    pub over_capacity: bool,
    /// The user has the third-party rights package (§2).
    pub package: bool,
    /// `Content-Type` of playlists (§5.2).
    pub playlist_type: PlaylistType,
    /// Previews by path; films from the samples have a finished one without being named here, everything
    /// else has none.
    pub preview: BTreeMap<String, Preview>,
    /// Bytes a second and connection of previews, which the drive does not slow down (§4.3); infinite by default.
    pub preview_bytes_per_second: f64,
    /// What happens to ranges out of bounds (§4.3).
    pub range_mode: RangeMode,
    /// Requests a second per user and app (§8.1).
    pub rates: Rates,
    /// A slot stays taken this long after its body ended (§9.17: 0 to 2 s).
    pub release_lag: Duration,
    /// What `x-retry-after` says (§8.2).
    pub retry_after: RetryAfter,
    /// A `running` transcode task carries a playable url (§5.1).
    pub running_has_url: bool,
    /// Files appear in search only so long after they were made (§3.3).
    pub search_lag: Duration,
    /// A refresh or a login gives tokens of another user (§1.4 "sub not match").
    pub foreign_sub: bool,
    /// The code that a bad or old access token is answered with (§1.4).
    pub token_error: TokenError,
    /// The token servers' condition.
    pub token_server: TokenServerMode,
    /// Exchanges that a token server allows per [`token_window`](Self::token_window) and IP (§1.6).
    pub token_limit: u32,
    /// See [`token_limit`](Self::token_limit); on the drive's clock.
    pub token_window: Duration,
    /// The first request for a segment past the first 30 s of a film takes this long (§5.1).
    pub transcode_delay: Duration,
    /// Logs in by QR without [`Sim::approve_qr`](crate::Sim::approve_qr) after so many polls; for demos.
    pub qr_approves_after: Option<u32>,
    /// What `getVipInfo` says.
    pub vip: Vip,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            app_level: AppLevel::Default,
            bytes_per_second: f64::INFINITY,
            cap: None,
            cap_over_apps: None,
            content_type: None,
            cors: true,
            default_drive: DriveKind::Backup,
            foreign_sub: false,
            frozen_account: false,
            idle_close: Duration::from_secs(60),
            link_life: None,
            list_limit_strict: false,
            multi_range: MultiRange::First,
            listed_segments: None,
            omit_backup_drive: false,
            omit_resource_drive: false,
            over_capacity: false,
            package: false,
            playlist_type: PlaylistType::AppleMpegurl,
            preview: BTreeMap::new(),
            preview_bytes_per_second: f64::INFINITY,
            qr_approves_after: None,
            range_mode: RangeMode::Oss,
            rates: Rates::default(),
            release_lag: Duration::ZERO,
            retry_after: RetryAfter::Random,
            running_has_url: false,
            search_lag: Duration::ZERO,
            token_error: TokenError::Named,
            token_limit: 10,
            token_server: TokenServerMode::Healthy,
            token_window: Duration::from_secs(3600),
            transcode_delay: Duration::ZERO,
            vip: Vip::Member,
        }
    }
}

impl Settings {
    /// Concurrent downloads per user and app now.
    pub(crate) fn cap(&self) -> usize {
        self.cap.unwrap_or(match self.app_level {
            AppLevel::Approved => 6,
            AppLevel::Default => 3,
            AppLevel::Risk => 2,
        })
    }

    /// A link's lifetime in seconds: what was asked, 900 by default, no more than the app level allows (§4.1).
    pub(crate) fn link_life_s(&self, asked: Option<u64>) -> u64 {
        let most = match self.app_level {
            AppLevel::Approved => 14_400,
            AppLevel::Default | AppLevel::Risk => 900,
        };
        self.link_life.map_or_else(|| asked.unwrap_or(900).min(most), |life| life.as_secs())
    }
}

/// Standing of an app (§4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AppLevel {
    /// 6 concurrent reads, links of up to 14,400 s.
    Approved,
    /// 3 concurrent reads, links of 900 s.
    Default,
    /// 2 concurrent reads, links of 900 s.
    Risk,
}

/// The user's two drives (§2). The tree that [`Sim`](crate::Sim)'s paths speak of is the resource drive's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DriveKind {
    /// The backup drive, `111000111`.
    Backup,
    /// The resource drive, `222000222`.
    Resource,
}

impl DriveKind {
    /// The drive id.
    pub fn id(self) -> &'static str {
        match self {
            Self::Backup => "111000111",
            Self::Resource => "222000222",
        }
    }
}

/// What a request for several ranges gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MultiRange {
    /// The first range.
    First,
    /// 416.
    Unsatisfiable,
}

/// `Content-Type` of playlists (§5.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlaylistType {
    /// `application/vnd.apple.mpegurl`.
    AppleMpegurl,
    /// `audio/x-mpegurl`.
    AudioMpegurl,
    /// `application/octet-stream`.
    OctetStream,
    /// `application/x-mpegurl`.
    XMpegurl,
}

impl PlaylistType {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AppleMpegurl => "application/vnd.apple.mpegurl",
            Self::AudioMpegurl => "audio/x-mpegurl",
            Self::OctetStream => "application/octet-stream",
            Self::XMpegurl => "application/x-mpegurl",
        }
    }
}

/// The scripted preview of one file (§5.1): so many calls wait, so many find it running, then it is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Calls still answered 202 `VideoPreviewWaitAndRetry`; counted down by calls.
    pub wait_calls: u32,
    /// Calls then answered with every task `running`; counted down by calls.
    pub running_calls: u32,
    /// What comes after.
    pub end: PreviewEnd,
    /// How long the film claims to be; `None` is the file's own duration. Beyond 60 s the sample's segments
    /// come round again, with their own time stamps.
    pub duration: Option<Duration>,
    /// Whether it has subtitle tracks; `None` is yes for Matroska alone.
    pub subtitles: Option<bool>,
}

impl Default for Preview {
    /// Finished at once.
    fn default() -> Self {
        Self { wait_calls: 0, running_calls: 0, end: PreviewEnd::Finished, duration: None, subtitles: None }
    }
}

impl Preview {
    /// A preview that ends so at once.
    pub fn ending(end: PreviewEnd) -> Self {
        Self { end, ..Self::default() }
    }
}

/// How a preview ends (§5.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PreviewEnd {
    /// Every task `failed`.
    Failed,
    /// `FeatureTemporaryDisabled`.
    FeatureDisabled,
    /// Playable: LD, SD and, with the package, HD.
    Finished,
    /// `NotFound.VideoPreviewInfo`.
    NotFound,
    /// `UserNotAllowedAccessResource`.
    Refused,
}

/// What happens to a range that begins or ends beyond the object (§4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RangeMode {
    /// The whole object, unless the request says `x-oss-range-behavior: standard`.
    Oss,
    /// RFC 9110: the end is clipped, a start beyond is 416.
    Rfc,
}

/// Requests a second per user and app; `f64::INFINITY` is off (§8.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Requests that may come at once after a pause.
    pub burst: u32,
    /// `openFile/list`.
    pub list: f64,
    /// `openFile/getDownloadUrl`.
    pub link: f64,
    /// Everything else.
    pub other: f64,
}

impl Rates {
    /// No limits at all.
    pub const OFF: Self = Self { burst: 1, list: f64::INFINITY, link: f64::INFINITY, other: f64::INFINITY };
}

impl Default for Rates {
    fn default() -> Self {
        Self { burst: 1, list: 4.0, link: 1.0, other: 15.0 }
    }
}

/// What `x-retry-after` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RetryAfter {
    /// The milliseconds after which a request will pass, rounded up.
    Exact,
    /// 1 to 1000 ms, as seen (§8.1); a client that obeys may be refused again.
    Random,
}

/// The codes for a bad or old access token (§1.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenError {
    /// 403 `A403JE`.
    A403Je,
    /// 400 `I400JD`.
    I400Jd,
    /// 401 `AccessTokenInvalid` or `AccessTokenExpired`.
    Named,
}

/// Condition of the token servers (§1.6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenServerMode {
    /// Every exchange fails: 500 `{"text": …}`, or 500 `{}` when empty. Nothing rotates.
    Failing(String),
    /// They work.
    Healthy,
}

/// `identity` of `getVipInfo` (§2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Vip {
    /// `member`.
    Member,
    /// `svip`.
    Svip,
    /// `vip`.
    Vip,
}
