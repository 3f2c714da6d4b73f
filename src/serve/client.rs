//! Which player is asking, told from its `User-Agent`.

use std::time::Duration;

/// A kind of client, as far as it changes what we answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Client {
    /// AVPlayer and everything else on Apple's CoreMedia.
    AppleCoreMedia,
    /// A web browser.
    Browser,
    /// ExoPlayer and Media3.
    ExoPlayer,
    /// ffmpeg, ffprobe and what embeds libavformat, Jellyfin's transcoder among them.
    Ffmpeg,
    /// GStreamer, and the televisions and desktops on it.
    GStreamer,
    /// Infuse.
    Infuse,
    /// The Jellyfin server itself, relaying a remote file.
    Jellyfin,
    /// Kodi.
    Kodi,
    /// mpv and what embeds it.
    Mpv,
    /// Anything else.
    Other,
    /// VLC.
    Vlc,
}

// === impl Client ===

impl Client {
    /// Tells a client by its `User-Agent`.
    pub fn of(user_agent: &str) -> Self {
        /// In this order: several names stand in the text of one client, the telling one first in the list.
        const MARKS: [(&[u8], Client); 13] = [
            (b"Kodi", Client::Kodi),
            (b"Infuse", Client::Infuse),
            (b"Jellyfin-Server/", Client::Jellyfin),
            (b"ExoPlayer", Client::ExoPlayer),
            (b"AndroidXMedia3", Client::ExoPlayer),
            (b"AppleCoreMedia", Client::AppleCoreMedia),
            (b"libmpv", Client::Mpv),
            (b"mpv", Client::Mpv),
            (b"VLC/", Client::Vlc),
            (b"LibVLC", Client::Vlc),
            (b"GStreamer", Client::GStreamer),
            (b"Lavf/", Client::Ffmpeg),
            (b"Mozilla/", Client::Browser),
        ];
        /// Whether a mark begins with a byte.
        const BEGINS: [bool; 256] = {
            let (mut begins, mut number) = ([false; 256], 0);
            while number < MARKS.len() {
                begins[MARKS[number].0[0] as usize] = true;
                number += 1;
            }
            begins
        };
        // In one go: of most requests this is the longest text that is looked at.
        let text = user_agent.as_bytes();
        let mut first = MARKS.len();
        for at in (0..text.len()).filter(|at| BEGINS[usize::from(text[*at])]) {
            let begins = |(mark, _): &(&[u8], Self)| text[at..].starts_with(mark);
            first = MARKS[..first].iter().position(begins).unwrap_or(first);
        }
        MARKS.get(first).map_or(Self::Other, |(_, client)| *client)
    }

    /// Whether it comes back to our address for every seek and reconnect, so that a link which expires meanwhile
    /// does it no harm. All others keep the address that a redirect led to. Measured for ffmpeg, mpv, Kodi, VLC, Chromium
    /// and Firefox; read or reported for the rest; who is not known keeps it.
    pub fn returns_for_every_seek(self) -> bool {
        match self {
            Self::ExoPlayer | Self::Ffmpeg | Self::Infuse | Self::Jellyfin | Self::Mpv => true,
            Self::AppleCoreMedia | Self::Browser | Self::GStreamer | Self::Kodi | Self::Other | Self::Vlc => {
                false
            }
        }
    }

    /// Whether it fetches all segments of a film on one connection, and reports an error when a redirect leads that
    /// to another host. Measured for ffmpeg and mpv: they play on, but say so once a segment.
    pub fn keeps_one_connection(self) -> bool {
        matches!(self, Self::Ffmpeg | Self::Mpv)
    }

    /// How long a body for it should go on trying after the drive has failed for as long as a request is held. Most
    /// clients ask again themselves after a cut, and waiting longer would pass the limits at which they give up
    /// (8 s to 10 s). Measured: ffmpeg never does, takes a cut body for the end of the film, and waits for 90 s.
    pub fn patience(self) -> Duration {
        match self {
            Self::Ffmpeg => Duration::from_secs(80),
            _ => Duration::ZERO,
        }
    }

    /// Whether scanners use it to look at many files that nobody watches. Transcodes that somebody waits for are done with
    /// it too, but those read on.
    pub fn may_probe(self) -> bool {
        self == Self::Ffmpeg
    }

    /// Whether a redirect cannot work where it has sent `Authorization`. Media3's default data source sets all headers of a request at each hop
    /// (read from the source). Ffmpeg, and mpv with it, takes along what it was given as a header; a password that stood in the address it leaves
    /// behind, forgets, and then gives up at the 401 with which its first seek is answered (measured).
    pub fn fails_at_redirects_with_authorization(self) -> bool {
        matches!(self, Self::ExoPlayer | Self::Ffmpeg | Self::Mpv)
    }

    /// Whether that is so, or not known. Kodi, VLC, browsers and .NET leave `Authorization` behind, and send it again where they come back.
    pub fn may_fail_at_redirects_with_authorization(self) -> bool {
        self == Self::Infuse || self.fails_at_redirects_with_authorization()
    }

    /// Whether it follows a redirect that changes from `http` to `https`.
    pub fn follows_to_https(self) -> bool {
        // Media3's default data source refuses any change of scheme.
        self != Self::ExoPlayer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_by_their_user_agent() {
        for (user_agent, client) in [
            ("Kodi/20.1 (X11; Linux x86_64) App_Bitness/64 Version/20.1", Client::Kodi),
            ("KodifromDebian/20.1 (X11; Linux x86_64)", Client::Kodi),
            ("Lavf/59.27.100", Client::Ffmpeg),
            ("libmpv", Client::Mpv),
            ("mpv 0.35.1", Client::Mpv),
            ("VLC/3.0.24 LibVLC/3.0.24", Client::Vlc),
            ("GStreamer souphttpsrc 1.22.0 libsoup/3.2.3", Client::GStreamer),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
                Client::Browser,
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0", Client::Browser),
            ("Infuse-Direct/7.8", Client::Infuse),
            ("AndroidXMedia3/1.11.0 (Linux;Android 14)", Client::ExoPlayer),
            ("VidHub/1.0 (Linux;Android 11) ExoPlayerLib/2.19.1", Client::ExoPlayer),
            ("AppleCoreMedia/1.0.0.21G93 (Apple TV; U; CPU OS 17_6)", Client::AppleCoreMedia),
            ("Jellyfin-Server/12.0.0", Client::Jellyfin),
            ("curl/7.88.1", Client::Other),
            ("Wget/1.21.3", Client::Other),
            ("", Client::Other),
        ] {
            assert_eq!(Client::of(user_agent), client, "{user_agent}");
        }
    }
}
