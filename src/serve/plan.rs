//! How a file is delivered: one decision in one place, from facts alone. No I/O, no clock.

use std::time::Duration;

use http::{HeaderMap, Method};

use super::client::Client;
use super::target::{Endpoint, Part, Target, Via};
use crate::budget::Priority;
use crate::driver::Entry;
use crate::http::conditional::{self, Verdict};
use crate::http::range::{ByteRange, Fitted, RangeSpec};
use crate::mount::Mode;

/// What the preconditions and the range of a request come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reply {
    /// 304.
    NotModified,
    /// 416.
    NotSatisfiable,
    /// 206.
    Part(ByteRange),
    /// 412.
    PreconditionFailed,
    /// 200.
    Whole,
}

/// What a request to a drive is for, told from the route and the client. `is_background` is what the request says of itself;
/// `is_open` whether somebody has just opened the film's page or playlist.
pub fn priority(target: &Target, is_background: bool, is_open: bool) -> Priority {
    if is_background {
        return Priority::Background;
    }
    match &target.endpoint {
        Endpoint::Account | Endpoint::Api(_) | Endpoint::Asset(_) | Endpoint::Browse | Endpoint::Ping => {
            Priority::Browse
        }
        Endpoint::Content | Endpoint::Dav | Endpoint::Proxied if target.client.may_probe() && !is_open => {
            Priority::Background
        }
        Endpoint::Content | Endpoint::Dav | Endpoint::Proxied => match target.range {
            None | Some(RangeSpec::From(0) | RangeSpec::Closed(0, _)) => Priority::Play,
            Some(_) => Priority::Seek,
        },
        Endpoint::Hls(Part::Master | Part::Media { .. }) => Priority::Play,
        Endpoint::Hls(Part::Attached { .. } | Part::Segment { .. }) => Priority::Seek,
        Endpoint::Hls(Part::Subtitle { .. } | Part::SubtitlePlaylist { .. }) => Priority::Extra,
    }
}

/// Which way the bytes go, and why not the way that was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// The way.
    pub way: Way,
    /// Said where it is not what the operator or the address asked for.
    pub reason: Option<&'static str>,
}

/// A way for bytes to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Through us.
    Bytes,
    /// Through the operator's helper.
    DownloadProxy,
    /// Straight from the drive.
    Redirect,
}

/// What is asked for, known before any link is.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The operator's.
    pub mode: Mode,
    /// The address's.
    pub via: Option<Via>,
    /// Who asks.
    pub client: Client,
    /// Whether the client reached us by `https`.
    pub https: bool,
    /// Whether it is one of a film's many pieces.
    pub segment: bool,
    /// Whether the request carries `Authorization`, which a drive's content servers refuse.
    pub authorized: bool,
    /// How the client takes a redirect to another host.
    pub follows: Follows,
    /// Whether it begins behind the beginning of the file. Who keeps addresses and asks us for that was given the bytes
    /// before; Chromium, Firefox and VLC give up where the same address leads elsewhere then.
    pub in_the_middle: bool,
}

/// How a client takes a redirect to another host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Follows {
    /// It goes there.
    Anywhere,
    /// Not at all. Measured: Chromium's own HLS ends the film when a segment leads to another origin, whatever that allows.
    Nowhere,
    /// It is a page, which may read only what the host lets pages read.
    WhereAllowed,
}

/// What a redirect would lead to.
#[derive(Clone, Copy, Debug)]
pub enum Offer {
    /// A link of the drive.
    Link {
        /// Whether it is `https`.
        https: bool,
        /// Whether a request for it needs headers that a client would not send.
        needs_headers: bool,
        /// Whether it has the life to spare that a link must have to be handed out.
        fresh: bool,
        /// Whether a page of any origin may read what is there.
        cors: bool,
        /// How long it still lives.
        left: Duration,
        /// How long the film is, where that is known.
        film: Option<Duration>,
    },
    /// The drive gives no links.
    Nothing,
}

/// Evaluates preconditions and range against the entry.
pub fn reply(method: &Method, headers: &HeaderMap, range: Option<RangeSpec>, entry: &Entry) -> Reply {
    let verdict = if conditional::is_unconditional(headers) {
        // The usual case; telling versions apart costs a digest.
        Verdict::Proceed { honour_range: method == Method::GET }
    } else {
        entry.validators().evaluate(method, headers)
    };
    match verdict {
        Verdict::Failed => Reply::PreconditionFailed,
        Verdict::NotModified => Reply::NotModified,
        Verdict::Proceed { honour_range } => {
            match range.filter(|_| honour_range).map(|range| range.fit(entry.len)) {
                None => Reply::Whole,
                Some(Fitted::NotSatisfiable) => Reply::NotSatisfiable,
                Some(Fitted::Part(range)) => Reply::Part(range),
            }
        }
    }
}

// === impl Wish ===

impl Wish {
    /// Whether a link must be at hand before [`Wish::decide`] can be asked.
    pub fn considers_a_link(&self, film: Option<Duration>) -> bool {
        match (self.via, self.mode) {
            (Some(Via::Proxy), _) | (None, Mode::DownloadProxy | Mode::Proxy) => false,
            (Some(Via::Redirect), _) | (None, Mode::Redirect) => true,
            // Who keeps the link may have one that outlives the film, if its length is known.
            (None, Mode::Auto) => self.is_at_home_with_redirects() || (film.is_some() && !self.in_the_middle),
        }
    }

    /// Whether `auto` may redirect this client whatever the link's life.
    fn is_at_home_with_redirects(&self) -> bool {
        self.client.returns_for_every_seek()
            && !(self.segment && self.client.keeps_one_connection())
            && !(self.authorized && self.client.may_fail_at_redirects_with_authorization())
    }

    /// Decides. The table of the contract:
    ///
    /// | asked for | given |
    /// |---|---|
    /// | `?via=proxy`, `proxy` | the bytes |
    /// | `download_proxy` | the operator's helper |
    /// | `?via=redirect`, `redirect` | a redirect, unless it cannot work at all |
    /// | `auto` | a redirect to clients that come back for every seek, or where the link outlives the film; the bytes otherwise |
    pub fn decide(&self, offer: Offer) -> Delivery {
        let asked = match (self.via, self.mode) {
            (Some(Via::Proxy), Mode::Proxy) | (None, Mode::Proxy) => {
                return Delivery { way: Way::Bytes, reason: None };
            }
            (Some(Via::Proxy), _) => return Delivery { way: Way::Bytes, reason: Some("via") },
            (None, Mode::DownloadProxy) => return Delivery { way: Way::DownloadProxy, reason: None },
            (Some(Via::Redirect), Mode::Auto | Mode::Redirect) | (None, Mode::Redirect) => {
                Asked::Redirect(None)
            }
            (Some(Via::Redirect), _) => Asked::Redirect(Some("via")),
            (None, Mode::Auto) => Asked::WhateverFits,
        };
        let Offer::Link { https, needs_headers, fresh, cors, left, film } = offer else {
            let reason = matches!(asked, Asked::Redirect(_)).then_some("no-link");
            return Delivery { way: Way::Bytes, reason };
        };
        let obstacle = if needs_headers {
            Some("link-needs-headers")
        } else if self.authorized && self.client.fails_at_redirects_with_authorization() {
            Some("authorization")
        } else if self.https && !https {
            // Browsers block it and .NET refuses it.
            Some("https-to-http")
        } else if !self.https && https && !self.client.follows_to_https() {
            Some("http-to-https")
        } else if self.follows == Follows::Nowhere {
            Some("browser-hls")
        } else if self.follows == Follows::WhereAllowed && !cors {
            // A browser fetches it and throws it away.
            Some("no-cors")
        } else {
            None
        };
        match (asked, obstacle) {
            (Asked::Redirect(_), Some(obstacle)) => Delivery { way: Way::Bytes, reason: Some(obstacle) },
            (Asked::Redirect(reason), None) => Delivery { way: Way::Redirect, reason },
            (Asked::WhateverFits, None)
                if self.is_at_home_with_redirects()
                    || (fresh && !self.in_the_middle && outlives(left, film)) =>
            {
                Delivery { way: Way::Redirect, reason: None }
            }
            (Asked::WhateverFits, _) => Delivery { way: Way::Bytes, reason: None },
        }
    }
}

enum Asked {
    /// With the reason to give when it is done.
    Redirect(Option<&'static str>),
    WhateverFits,
}

/// Whether a link lasts for the film with its pauses: half as long again for stopping and seeking, and an hour for
/// dinner. Chosen; so a link of 15 minutes never does, and one of four hours does for most films.
fn outlives(left: Duration, film: Option<Duration>) -> bool {
    film.is_some_and(|film| left > film + film / 2 + Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Offer = Offer::Link {
        https: true,
        needs_headers: false,
        fresh: true,
        cors: true,
        left: Duration::from_secs(900),
        film: None,
    };

    fn decide(mode: Mode, via: Option<Via>, user_agent: &str, offer: Offer) -> (Way, Option<&'static str>) {
        let wish = Wish {
            mode,
            via,
            client: Client::of(user_agent),
            https: false,
            segment: false,
            authorized: false,
            follows: Follows::Anywhere,
            in_the_middle: false,
        };
        let delivery = wish.decide(offer);
        (delivery.way, delivery.reason)
    }

    #[test]
    fn auto_redirects_only_clients_that_come_back_for_every_seek() {
        for (user_agent, way) in [
            ("Lavf/59.27.100", Way::Redirect),
            ("libmpv", Way::Redirect),
            ("Infuse-Direct/7.8", Way::Redirect),
            ("Jellyfin-Server/12.0.0", Way::Redirect),
            ("Kodi/20.1 (X11; Linux x86_64)", Way::Bytes),
            ("VLC/3.0.24 LibVLC/3.0.24", Way::Bytes),
            ("GStreamer souphttpsrc 1.22.0", Way::Bytes),
            ("Mozilla/5.0 (X11) Chrome/156.0.0.0", Way::Bytes),
            ("Mozilla/5.0 (X11; rv:153.0) Firefox/153.0", Way::Bytes),
            ("AppleCoreMedia/1.0", Way::Bytes),
            // Refuses the change from http to https.
            ("AndroidXMedia3/1.11", Way::Bytes),
            ("curl/7.88.1", Way::Bytes),
            ("", Way::Bytes),
        ] {
            assert_eq!(decide(Mode::Auto, None, user_agent, LINK), (way, None), "{user_agent}");
        }
        let plain = Offer::Link {
            https: false,
            needs_headers: false,
            fresh: true,
            cors: true,
            left: Duration::from_secs(900),
            film: None,
        };
        assert_eq!(decide(Mode::Auto, None, "AndroidXMedia3/1.11", plain), (Way::Redirect, None));
    }

    #[test]
    fn auto_redirects_anyone_to_a_link_that_outlives_the_film() {
        let offer = |left, film| Offer::Link {
            https: true,
            needs_headers: false,
            fresh: true,
            cors: true,
            left: Duration::from_secs(left),
            film: Some(Duration::from_secs(film)),
        };
        assert_eq!(decide(Mode::Auto, None, "Kodi/21", offer(14_400, 5400)).0, Way::Redirect);
        assert_eq!(decide(Mode::Auto, None, "Kodi/21", offer(11_700, 5400)).0, Way::Bytes);
        assert_eq!(decide(Mode::Auto, None, "Kodi/21", offer(900, 60)).0, Way::Bytes);
    }

    #[test]
    fn segments_go_through_us_to_clients_that_fetch_them_on_one_connection() {
        let segment = |client| Wish {
            mode: Mode::Auto,
            via: None,
            client,
            https: false,
            segment: true,
            authorized: false,
            follows: Follows::Anywhere,
            in_the_middle: false,
        };
        assert_eq!(segment(Client::Ffmpeg).decide(LINK).way, Way::Bytes);
        assert_eq!(segment(Client::Mpv).decide(LINK).way, Way::Bytes);
        assert_eq!(segment(Client::Infuse).decide(LINK).way, Way::Redirect);
    }

    #[test]
    fn a_page_is_redirected_only_where_the_host_lets_it_read() {
        let closed = Offer::Link {
            https: true,
            needs_headers: false,
            fresh: true,
            cors: false,
            left: Duration::from_secs(900),
            film: None,
        };
        let asks = |follows| Wish {
            mode: Mode::Redirect,
            via: None,
            client: Client::Browser,
            https: true,
            segment: true,
            authorized: false,
            follows,
            in_the_middle: false,
        };
        let bytes = Delivery { way: Way::Bytes, reason: Some("no-cors") };
        assert_eq!(asks(Follows::WhereAllowed).decide(closed), bytes);
        assert_eq!(asks(Follows::WhereAllowed).decide(LINK).way, Way::Redirect);
        assert_eq!(asks(Follows::Anywhere).decide(closed).way, Way::Redirect);
        let bytes = Delivery { way: Way::Bytes, reason: Some("browser-hls") };
        assert_eq!(asks(Follows::Nowhere).decide(LINK), bytes);
    }

    #[test]
    fn the_operator_and_the_address_have_their_way_where_it_can_work() {
        let (kodi, ffmpeg) = ("Kodi/21", "Lavf/59");
        assert_eq!(decide(Mode::Redirect, None, kodi, LINK), (Way::Redirect, None));
        assert_eq!(decide(Mode::Proxy, None, ffmpeg, LINK), (Way::Bytes, None));
        assert_eq!(decide(Mode::DownloadProxy, None, kodi, LINK), (Way::DownloadProxy, None));
        assert_eq!(decide(Mode::Auto, Some(Via::Redirect), kodi, LINK), (Way::Redirect, None));
        assert_eq!(decide(Mode::Auto, Some(Via::Proxy), ffmpeg, LINK), (Way::Bytes, Some("via")));
        assert_eq!(decide(Mode::Proxy, Some(Via::Redirect), kodi, LINK), (Way::Redirect, Some("via")));
        assert_eq!(decide(Mode::DownloadProxy, Some(Via::Proxy), kodi, LINK), (Way::Bytes, Some("via")));
    }

    #[test]
    fn what_cannot_be_redirected_is_delivered_with_the_reason() {
        let bound = Offer::Link {
            https: true,
            needs_headers: true,
            fresh: true,
            cors: true,
            left: Duration::MAX,
            film: None,
        };
        assert_eq!(decide(Mode::Redirect, None, "Lavf/59", bound), (Way::Bytes, Some("link-needs-headers")));
        assert_eq!(decide(Mode::Auto, None, "Lavf/59", bound), (Way::Bytes, None));
        assert_eq!(decide(Mode::Redirect, None, "Lavf/59", Offer::Nothing), (Way::Bytes, Some("no-link")));
        assert_eq!(decide(Mode::Auto, None, "Lavf/59", Offer::Nothing), (Way::Bytes, None));
        let wish = Wish {
            mode: Mode::Redirect,
            via: None,
            client: Client::Browser,
            https: true,
            segment: false,
            authorized: false,
            follows: Follows::Anywhere,
            in_the_middle: false,
        };
        let plain = Offer::Link {
            https: false,
            needs_headers: false,
            fresh: true,
            cors: true,
            left: Duration::MAX,
            film: None,
        };
        assert_eq!(wish.decide(plain), Delivery { way: Way::Bytes, reason: Some("https-to-http") });
    }
}
