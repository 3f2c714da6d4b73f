//! Faults on demand: which endpoint, which fault, how often (fact sheet §9.20).

use std::time::Duration;

/// What a request is for; faults and counters are kept by these.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Endpoint {
    /// `/oauth/access_token`.
    AccessToken,
    /// Every request on the API listener.
    AnyApi,
    /// Every request on the content listener.
    AnyContent,
    /// `openFile/batch/get`.
    BatchGet,
    /// A download.
    Content,
    /// `openFile/getDownloadUrl`.
    DownloadUrl,
    /// `user/getDriveInfo`.
    DriveInfo,
    /// `openFile/get`.
    Get,
    /// `openFile/get_by_path`.
    GetByPath,
    /// `openFile/list`.
    List,
    /// A preview playlist.
    Playlist,
    /// `openFile/getVideoPreviewPlayInfo`.
    PreviewInfo,
    /// `openFile/getVideoPreviewPlayMeta`.
    PreviewMeta,
    /// `/oauth/authorize/qrcode` and `/oauth/authorize`.
    QrCode,
    /// `/oauth/qrcode/<sid>`.
    QrImage,
    /// `/oauth/qrcode/<sid>/status`.
    QrStatus,
    /// `/oauth/users/scopes`.
    Scopes,
    /// `openFile/search`.
    Search,
    /// A preview segment.
    Segment,
    /// `user/getSpaceInfo`.
    SpaceInfo,
    /// `openFile/starredList`.
    StarredList,
    /// A preview subtitle.
    Subtitle,
    /// A thumbnail.
    Thumbnail,
    /// Both dialects of third-party token servers.
    TokenServer,
    /// A path nobody serves, on the API listener.
    UnknownApi,
    /// A path nobody serves, on the content listener.
    UnknownContent,
    /// `/oauth/users/info`.
    UserInfo,
    /// `user/getVipInfo`.
    VipInfo,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// 502 with plain text, as a gateway answers (§0).
    BadGateway,
    /// A JSON error of the API.
    Code {
        /// HTTP status.
        status: u16,
        /// `code`.
        code: String,
        /// `message`.
        message: String,
    },
    /// The connection closes without an answer; the request has no effect.
    DropConnection,
    /// 200 with bytes that are neither JSON nor a playlist.
    Garbage,
    /// 200 with an endless-looking body of so many bytes, in the endpoint's own type.
    Huge(u64),
    /// The request has its effect (tokens rotate), then the connection closes without an answer (§1.4).
    LoseAnswer,
    /// A download serves the notice of a frozen file (§3.2 `punish_flag`).
    NoticeContent,
    /// 302 to this URL.
    Redirect(String),
    /// TCP reset after so many bytes of body.
    Reset {
        /// Bytes of body sent before.
        after: u64,
    },
    /// The body ends after so many bytes, short of its `Content-Length`.
    ShortBody {
        /// Bytes of body sent before.
        after: u64,
    },
    /// The answer, otherwise right, takes this long to begin.
    SlowHead(Duration),
    /// From so many bytes of body on, that connection gives no more than this a second.
    Slow {
        /// Bytes of body sent before.
        after: u64,
        /// Bytes a second after that.
        bytes_per_second: u64,
    },
    /// 503 with the storage's `SlowDown` XML (§4.3).
    SlowDown,
    /// The body pauses once.
    Stall {
        /// Bytes of body sent before.
        after: u64,
        /// How long.
        for_: Duration,
    },
    /// This status with this body, as plain text.
    Status(u16, String),
    /// The right answer cut in half, with a matching length.
    TruncatedJson,
    /// A range is ignored: 200 with the whole object.
    WholeInsteadOfPart,
    /// `Content-Range` names a start one too high.
    WrongContentRange,
    /// The answer calls itself `text/html`.
    WrongContentType,
}

/// The faults still to come.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    at: Endpoint,
    fault: Fault,
    when: When,
}

#[derive(Debug)]
enum When {
    /// The next so many requests.
    Next(u32),
    /// Every nth request; `seen` counts them.
    Nth { n: u32, seen: u32 },
}

impl Faults {
    pub(crate) fn next(&mut self, at: Endpoint, fault: Fault, times: u32) {
        self.0.push(Rule { at, fault, when: When::Next(times) });
    }

    pub(crate) fn every(&mut self, at: Endpoint, fault: Fault, n: u32) {
        self.0.push(Rule { at, fault, when: When::Nth { n: n.max(1), seen: 0 } });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that this request gets: that of the first rule it meets.
    pub(crate) fn take(&mut self, endpoint: Endpoint, any: Endpoint) -> Option<Fault> {
        self.0.retain(|rule| !matches!(rule.when, When::Next(0)));
        self.0.iter_mut().filter(|rule| rule.at == endpoint || rule.at == any).find_map(|rule| {
            let due = match &mut rule.when {
                When::Next(left) => {
                    *left -= 1;
                    true
                }
                When::Nth { n, seen } => {
                    *seen += 1;
                    seen.is_multiple_of(*n)
                }
            };
            due.then(|| rule.fault.clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_run_out_after_their_times() {
        let mut faults = Faults::default();
        faults.next(Endpoint::List, Fault::BadGateway, 2);
        assert_eq!(faults.take(Endpoint::Get, Endpoint::AnyApi), None);
        assert_eq!(faults.take(Endpoint::List, Endpoint::AnyApi), Some(Fault::BadGateway));
        assert_eq!(faults.take(Endpoint::List, Endpoint::AnyApi), Some(Fault::BadGateway));
        assert_eq!(faults.take(Endpoint::List, Endpoint::AnyApi), None);
    }

    #[test]
    fn every_nth_request_gets_the_fault() {
        let mut faults = Faults::default();
        faults.every(Endpoint::AnyContent, Fault::SlowDown, 3);
        let hit: Vec<_> =
            (0..6).map(|_| faults.take(Endpoint::Content, Endpoint::AnyContent).is_some()).collect();
        assert_eq!(hit, [false, false, true, false, false, true]);
    }
}
