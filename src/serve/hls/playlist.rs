//! M3U8 (RFC 8216) as text: read a drive's media playlist, write it with our addresses, write a multivariant one.
//! Pure, and what it does not know passes through byte for byte.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use url::{Origin, Url};

use crate::driver::{Preview, Variant};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SignedUrl;
use crate::serve::target::Choice;

/// A drive's media playlist, taken apart where its addresses are.
pub struct MediaPlaylist {
    base: Base,
    /// In order: where the line of each segment lies in `text`.
    segments: Vec<Range<usize>>,
    text: String,
}

/// Where a playlist was found, cut up for what its lines are relative to.
struct Base {
    /// Scheme, host and port.
    origin: Origin,
    /// The address up to the path: `https://host:port`.
    site: String,
    /// The address up to the last `/` of the path.
    folder: String,
}

// === impl MediaPlaylist ===

impl MediaPlaylist {
    /// Reads the playlist that was found at `base`.
    ///
    /// # Errors
    /// `Upstream` where it is not a media playlist, names another host than its own, or needs keys or
    /// initialisation sections, for which there is no address of ours yet.
    pub fn parse(text: String, base: &SignedUrl) -> Result<Self> {
        let refuse = |why: &'static str| {
            Error::new(ErrorKind::Upstream, "read a playlist")
                .saying("the drive's playlist makes no sense")
                .with("reason", why)
        };
        if !text.trim_start_matches('\u{feff}').starts_with("#EXTM3U") {
            return Err(refuse("no #EXTM3U at its head"));
        }
        let base = Base::new(base).ok_or_else(|| refuse("its own address"))?;
        let mut segments = Vec::new();
        let mut at = 0;
        for whole in text.split_inclusive('\n') {
            let line = whole.trim_end_matches(['\n', '\r']);
            let range = at..at + line.len();
            at += whole.len();
            if let Some(tag) = line.strip_prefix('#') {
                if tag.starts_with("EXT-X-STREAM-INF") {
                    return Err(refuse("a multivariant playlist"));
                }
                if tag.starts_with("EXT") && tag.contains("URI=\"") {
                    return Err(refuse("a tag with an address"));
                }
                continue;
            }
            if line.trim().is_empty() {
                continue;
            }
            if segments.len() == MOST_SEGMENTS {
                return Err(refuse("too many segments"));
            }
            if !base.owns(line) {
                return Err(refuse("a segment elsewhere"));
            }
            segments.push(range);
        }
        if segments.is_empty() {
            return Err(refuse("no segment"));
        }
        Ok(Self { base, segments, text })
    }

    /// The playlist with our address for every segment: its number, `.ts` and `query`. All else stays as it is.
    pub fn rewritten(&self, query: &str) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        for (number, range) in self.segments.iter().enumerate() {
            out.push_str(&self.text[at..range.start]);
            // Writing to a string cannot fail.
            let _ = write!(out, "{number}.ts{query}");
            at = range.end;
        }
        out.push_str(&self.text[at..]);
        out
    }

    /// Bytes of its text.
    #[expect(clippy::len_without_is_empty, reason = "one without a segment is not made")]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// The drive's address of a segment.
    pub fn segment(&self, index: usize) -> Option<SignedUrl> {
        self.segments.get(index).map(|range| self.base.join(&self.text[range.clone()]))
    }
}

impl std::fmt::Debug for MediaPlaylist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The lines are credentials.
        write!(f, "MediaPlaylist({} segments)", self.segments.len())
    }
}

// === impl Base ===

impl Base {
    fn new(address: &SignedUrl) -> Option<Self> {
        let origin = Url::parse(address.expose()).ok()?.origin();
        let plain = address.expose().split(['?', '#']).next()?;
        let host = plain.find("://")? + 3;
        let site = plain[host..].find('/').map_or(plain.len(), |at| host + at);
        let folder = match plain[site..].rfind('/') {
            None => format!("{plain}/"),
            Some(at) => plain[..=site + at].to_owned(),
        };
        Some(Self { origin, site: plain[..site].to_owned(), folder })
    }

    /// Whether a line leads to the playlist's own scheme, host and port, and can stand in a header as it is.
    fn owns(&self, line: &str) -> bool {
        let plain = line.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let is_relative = !line.starts_with("//") && !has_scheme(line);
        plain
            && (is_relative
                || Url::parse(self.join(line).expose()).is_ok_and(|url| url.origin() == self.origin))
    }

    /// The address of a line, put together as text: an address that went through a parser comes out written
    /// differently, and its signature may no longer hold.
    fn join(&self, line: &str) -> SignedUrl {
        SignedUrl::new(if has_scheme(line) {
            line.to_owned()
        } else if line.starts_with("//") {
            let scheme = self.site.split("//").next().unwrap_or_default();
            format!("{scheme}{line}")
        } else if line.starts_with('/') {
            format!("{}{line}", self.site)
        } else {
            format!("{}{line}", self.folder)
        })
    }
}

/// Whether an address begins with a scheme (RFC 3986 §3.1).
fn has_scheme(line: &str) -> bool {
    line.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// The multivariant playlist of what can be played and was chosen, addresses relative to itself. Nothing where that is nothing.
pub fn master(preview: &Preview, choice: &Choice, query: &str) -> Option<String> {
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:3\n");
    for (number, track) in preview.subtitles.iter().enumerate() {
        let language = &track.language;
        let default = if number == 0 { "YES" } else { "NO" };
        let _ = writeln!(
            out,
            "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"{}\",LANGUAGE=\"{language}\",DEFAULT={default},\
             AUTOSELECT=YES,FORCED=NO,URI=\"subtitles/{language}/index.m3u8{query}\"",
            language_name(language),
        );
    }
    let subtitles = if preview.subtitles.is_empty() { "" } else { ",SUBTITLES=\"subtitles\"" };
    let variants = chosen(preview, choice);
    for variant in &variants {
        let _ = write!(out, "#EXT-X-STREAM-INF:BANDWIDTH={}", estimated_bandwidth(variant.height));
        if variant.width > 0 && variant.height > 0 {
            let _ = write!(out, ",RESOLUTION={}x{}", variant.width, variant.height);
        }
        let _ = writeln!(out, ",CLOSED-CAPTIONS=NONE{subtitles}\n{}/index.m3u8{query}", variant.id);
    }
    (!variants.is_empty()).then_some(out)
}

/// What can be played and was chosen: in ascending quality, as the drive lists them, but for the one to begin with.
fn chosen<'a>(preview: &'a Preview, choice: &Choice) -> Vec<&'a Variant> {
    let is = |name: &Option<String>, variant: &Variant| name.as_deref() == Some(&*variant.id);
    // Where the best that is wanted is not there at all, what is listed before its place in the ladder is below it.
    let rank = |id: &str| LADDER.iter().position(|step| *step == id).unwrap_or(LADDER.len());
    let most = choice.max.as_deref().map_or(LADDER.len(), rank);
    let mut variants: Vec<_> = preview
        .playable()
        .map(|(variant, _)| variant)
        .filter(|variant| choice.only.is_none() || is(&choice.only, variant))
        .filter(|variant| rank(&variant.id) <= most)
        .collect();
    variants.sort_by_key(|variant| !is(&choice.default, variant));
    variants
}

/// WebVTT that says how its clock stands to that of the segments, whose picture begins at so many ticks of 90 kHz (RFC 8216
/// §3.5). Left as it is where it says so already.
pub fn timed(text: &str, ticks: u64) -> String {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let head = rest.split("\n\n").next().unwrap_or_default();
    if head.contains("X-TIMESTAMP-MAP") {
        return text.to_owned();
    }
    format!("{}\nX-TIMESTAMP-MAP=MPEGTS:{ticks},LOCAL:00:00:00.000\n{rest}", first.trim_end_matches('\r'))
}

/// The playlist of a text track: one piece as long as the film.
pub fn subtitles(language: &str, duration: Duration, query: &str) -> String {
    let seconds = duration.as_secs_f64().max(1.0);
    format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:{:.0}\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXTINF:{seconds:.3},\n../{language}.vtt{query}\n#EXT-X-ENDLIST\n",
        seconds.ceil(),
    )
}

/// How a language is called in a player's menu.
fn language_name(tag: &str) -> &str {
    match tag {
        "en" => "English",
        "ja" => "日本語",
        "zh" => "中文",
        other => other,
    }
}

/// Bits per second, by the lines of the picture: what the drive's transcodes of that size usually take, rounded up,
/// since a player that is promised too little stalls. To be replaced by what the segments measure.
fn estimated_bandwidth(height: u32) -> u32 {
    match height {
        0..=360 => 800_000,
        361..=540 => 1_500_000,
        541..=720 => 3_000_000,
        721..=1080 => 6_000_000,
        _ => 12_000_000,
    }
}

/// The drive's templates, in ascending quality. Source: §5.1 of the fact sheet.
const LADDER: [&str; 6] = ["ld", "sd", "hd", "fhd", "qhd", "uhd"];
/// Ten seconds each: a film of more than fifty hours is a mistake or an attack.
const MOST_SEGMENTS: usize = 20_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::driver::{Subtitle, Variant, VariantState};
    use crate::lease::Life;

    fn base() -> SignedUrl {
        SignedUrl::new("https://host.aliyuncs.com/lt/A/LD/media.m3u8?x-oss-signature=s")
    }

    #[test]
    fn every_segment_line_becomes_ours_and_the_rest_stays() {
        let text = "#EXTM3U\r\n#EXT-X-VERSION:3\n#X-UNKNOWN:a\n#EXTINF:10.000,Title, with comma\nmedia-0.ts?a=b&c=%2F\n\
                    #EXTINF:4.330,\r\nmedia-1.ts?x=1\r\n#EXT-X-ENDLIST";
        let playlist = MediaPlaylist::parse(text.to_owned(), &base()).unwrap();
        assert_eq!(
            playlist.rewritten("?sign=s"),
            "#EXTM3U\r\n#EXT-X-VERSION:3\n#X-UNKNOWN:a\n#EXTINF:10.000,Title, with comma\n0.ts?sign=s\n\
             #EXTINF:4.330,\r\n1.ts?sign=s\r\n#EXT-X-ENDLIST"
        );
        let first = playlist.segment(0).unwrap();
        assert_eq!(first.expose(), "https://host.aliyuncs.com/lt/A/LD/media-0.ts?a=b&c=%2F");
        assert!(playlist.segment(2).is_none());
    }

    #[test]
    fn a_segments_address_is_put_together_to_the_letter() {
        for (line, address) in [
            ("a'b.ts?sig=%2b'", "https://host.aliyuncs.com/lt/A/LD/a'b.ts?sig=%2b'"),
            ("/x/a.ts", "https://host.aliyuncs.com/x/a.ts"),
            ("//host.aliyuncs.com/a.ts", "https://host.aliyuncs.com/a.ts"),
            ("https://host.aliyuncs.com:443/a.ts?x=:", "https://host.aliyuncs.com:443/a.ts?x=:"),
            (
                "a.ts?x=http://elsewhere.example/",
                "https://host.aliyuncs.com/lt/A/LD/a.ts?x=http://elsewhere.example/",
            ),
        ] {
            let playlist = MediaPlaylist::parse(format!("#EXTM3U\n{line}\n"), &base()).unwrap();
            assert_eq!(playlist.segment(0).unwrap().expose(), address);
        }
    }

    #[test]
    fn what_is_not_a_media_playlist_of_one_host_is_refused() {
        for text in [
            "",
            "<html>",
            "#EXTM3U\n",
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx.m3u8\n",
            "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n0.ts\n",
            "#EXTM3U\nhttps://elsewhere.example/0.ts\n",
            "#EXTM3U\n//elsewhere.example/0.ts\n",
            "#EXTM3U\nfile:///etc/passwd\n",
            "#EXTM3U\nhttp://host.aliyuncs.com/other-scheme.ts\n",
            "#EXTM3U\n\\\\elsewhere.example\\0.ts\n",
            "#EXTM3U\na b.ts\n",
            "#EXTM3U\ndata:video/mp2t,x\n",
        ] {
            assert!(MediaPlaylist::parse(text.to_owned(), &base()).is_err(), "{text}");
        }
    }

    #[test]
    fn subtitles_say_how_their_clock_stands_to_the_films() {
        for (text, timed_text) in [
            (
                "WEBVTT\n\n00:01.000 --> 00:02.000\na\n",
                "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:7,LOCAL:00:00:00.000\n\n00:01.000 --> 00:02.000\na\n",
            ),
            ("WEBVTT - x\r\n\r\na", "WEBVTT - x\nX-TIMESTAMP-MAP=MPEGTS:7,LOCAL:00:00:00.000\n\r\na"),
            ("WEBVTT", "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:7,LOCAL:00:00:00.000\n"),
            (
                "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:0,MPEGTS:9\n\na",
                "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:0,MPEGTS:9\n\na",
            ),
        ] {
            assert_eq!(timed(text, 7), timed_text);
        }
    }

    #[test]
    fn the_master_lists_only_what_has_an_address() {
        let variant = |id: &str, width, height, state| Variant { id: Arc::from(id), width, height, state };
        let preview = Preview {
            variants: vec![
                variant("ld", 640, 360, VariantState::Ready(base())),
                variant("hd", 1280, 720, VariantState::Withheld),
                variant("qhd", 0, 1440, VariantState::Ready(base())),
            ],
            subtitles: vec![Subtitle { language: Arc::from("zh"), url: base() }],
            duration: Duration::from_secs(60),
            life: Life::unlimited(tokio::time::Instant::now()),
        };
        let text = master(&preview, &Choice::default(), "?sign=s").unwrap();
        assert!(text.contains(
            "BANDWIDTH=800000,RESOLUTION=640x360,CLOSED-CAPTIONS=NONE,SUBTITLES=\"subtitles\"\nld/index.m3u8?sign=s\n"
        ));
        assert!(text.contains(
            "BANDWIDTH=12000000,CLOSED-CAPTIONS=NONE,SUBTITLES=\"subtitles\"\nqhd/index.m3u8?sign=s\n"
        ));
        assert!(text.contains("LANGUAGE=\"zh\",DEFAULT=YES"));
        assert!(!text.contains("hd/index.m3u8?sign=s\n#EXT-X-STREAM-INF:BANDWIDTH=3"));
        assert!(!text.contains("\nhd/"));
        let none = Preview { variants: Vec::new(), ..preview };
        assert_eq!(master(&none, &Choice::default(), ""), None);
    }

    #[test]
    fn qualities_can_be_chosen() {
        let ready =
            |id: &str| Variant { id: Arc::from(id), width: 0, height: 0, state: VariantState::Ready(base()) };
        let preview = Preview {
            variants: ["ld", "sd", "fhd"].map(ready).into(),
            subtitles: Vec::new(),
            duration: Duration::from_secs(60),
            life: Life::unlimited(tokio::time::Instant::now()),
        };
        let listed = |only: &str, max: &str, default: &str| {
            let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
            let choice = Choice { only: some(only), max: some(max), default: some(default) };
            chosen(&preview, &choice)
                .iter()
                .map(|variant| variant.id.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(listed("", "", ""), "ld sd fhd");
        assert_eq!(listed("", "hd", ""), "ld sd");
        assert_eq!(listed("", "", "sd"), "sd ld fhd");
        assert_eq!(listed("", "sd", "fhd"), "ld sd");
        assert_eq!(listed("fhd", "", ""), "fhd");
        assert_eq!(listed("hd", "", ""), "");
    }

    proptest! {
        #[test]
        fn rewriting_keeps_every_tag_line(text in "(#EXT[A-Z:=0-9, ]{0,20}\r?\n|[a-z0-9?&=%/.]{1,12}\n|\n){0,30}") {
            let text = format!("#EXTM3U\n{text}");
            if let Ok(playlist) = MediaPlaylist::parse(text.clone(), &base()) {
                let tags = |text: &str| text.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
                let rewritten = playlist.rewritten("");
                prop_assert_eq!(tags(&rewritten), tags(&text));
                prop_assert_eq!(rewritten.lines().count(), text.lines().count());
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _ = MediaPlaylist::parse(format!("#EXTM3U\n{text}"), &base());
        }
    }
}
