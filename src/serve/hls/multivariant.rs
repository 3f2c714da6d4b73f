//! The multivariant playlist of a film (RFC 8216 §4.3.4), which of its variants are in it, and the playlists of its text tracks. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use super::transcode::Described;
use crate::driver::{Preview, Variant};
use crate::serve::target::Choice;

/// A text track in a multivariant playlist.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TextTrack {
    /// As it stands in our addresses.
    pub tag: String,
    /// BCP 47.
    pub language: String,
    /// How a player's menu calls it.
    pub name: String,
    /// Whether it is for those passages alone that all viewers need.
    pub is_forced: bool,
    /// Whether whoever made it wants it shown.
    pub is_default: bool,
    /// Whether it tells of sounds too.
    pub is_for_impaired: bool,
}

/// The multivariant playlist of these variants, each with what is known of it, addresses relative to itself.
pub fn master(variants: &[(&Variant, Described)], tracks: &[TextTrack], query: &str) -> String {
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:3\n");
    if !variants.is_empty() && variants.iter().all(|(_, described)| described.is_independent) {
        out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    // One of a group at most may be the default (RFC 8216 §4.3.4.1.1).
    let position = |is: fn(&TextTrack) -> bool| tracks.iter().position(is);
    let default = position(|track| track.is_default).or_else(|| position(|track| !track.is_forced));
    for (number, track) in tracks.iter().enumerate() {
        let TextTrack { tag, language, name, is_forced, is_for_impaired, .. } = track;
        let sounds = if *is_for_impaired { SOUNDS } else { "" };
        let yes = |is: bool| if is { "YES" } else { "NO" };
        let _ = writeln!(
            out,
            "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"{}\",LANGUAGE=\"{language}\",DEFAULT={},\
             AUTOSELECT=YES,FORCED={}{sounds},URI=\"subtitles/{tag}/index.m3u8{query}\"",
            Quoted(name),
            yes(Some(number) == default),
            yes(*is_forced),
        );
    }
    let subtitles = if tracks.is_empty() { "" } else { ",SUBTITLES=\"subtitles\"" };
    for (variant, Described { codecs, frame_rate, picture, rates, .. }) in variants {
        let (width, height) = picture.unwrap_or((variant.width, variant.height));
        // Who is promised too little stalls, so until all is measured the usual stands as well.
        let usual = if rates.is_whole { 1 } else { usual_bandwidth(height) };
        let _ = write!(out, "#EXT-X-STREAM-INF:BANDWIDTH={}", rates.peak.max(usual));
        if rates.is_whole {
            let _ = write!(out, ",AVERAGE-BANDWIDTH={}", rates.average);
        }
        if width > 0 && height > 0 {
            let _ = write!(out, ",RESOLUTION={width}x{height}");
        }
        if let Some(rate) = frame_rate {
            let _ = write!(out, ",FRAME-RATE={rate:.3}");
        }
        if let Some(codecs) = codecs {
            let _ = write!(out, ",CODECS=\"{codecs}\"");
        }
        let _ = writeln!(out, ",CLOSED-CAPTIONS=NONE{subtitles}\n{}/index.m3u8{query}", variant.id);
    }
    out
}

/// A text as a quoted string, which has no quote and no line end in it (RFC 8216 §4.2).
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c == '"' || c.is_control() { '\'' } else { c }))
    }
}

/// What was chosen, playable or not: in ascending quality, but for the one to begin with.
pub fn chosen<'a>(preview: &'a Preview, choice: &Choice) -> Vec<&'a Variant> {
    let is = |name: &Option<String>, variant: &Variant| name.as_deref() == Some(&*variant.id);
    // Where the best that is wanted is not there at all, what is listed before its place in the ladder is below it.
    let rank = |id: &str| LADDER.iter().position(|step| *step == id).unwrap_or(LADDER.len());
    let most = choice.max.as_deref().map_or(LADDER.len(), rank);
    let mut variants: Vec<_> = preview
        .variants
        .iter()
        .filter(|variant| choice.only.is_none() || is(&choice.only, variant))
        .filter(|variant| rank(&variant.id) <= most)
        .collect();
    variants.sort_by_key(|variant| (!is(&choice.default, variant), rank(&variant.id)));
    variants
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

/// Bits per second, by the lines of the picture: what the drive's transcodes of that size usually take, rounded up.
fn usual_bandwidth(height: u32) -> u64 {
    match height {
        0..=360 => 800_000,
        361..=540 => 1_500_000,
        541..=720 => 3_000_000,
        721..=1080 => 6_000_000,
        _ => 12_000_000,
    }
}

/// Apple's words for it (RFC 8216 §4.3.4.1).
const SOUNDS: &str = ",CHARACTERISTICS=\"public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound\"";
/// The drive's templates, in ascending quality. Source: §5.1 of the fact sheet.
const LADDER: [&str; 6] = ["ld", "sd", "hd", "fhd", "qhd", "uhd"];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::driver::VariantState;
    use crate::lease::Life;
    use crate::secret::SignedUrl;
    use crate::serve::hls::Rates;

    fn variant(id: &str, width: u32, height: u32) -> Variant {
        Variant {
            id: Arc::from(id),
            width,
            height,
            state: VariantState::Ready(SignedUrl::new("https://host.example/media.m3u8")),
        }
    }

    #[test]
    fn the_master_says_what_is_known_and_no_more() {
        let (ld, qhd) = (variant("ld", 640, 360), variant("qhd", 0, 1440));
        let track = TextTrack {
            tag: "zh".to_owned(),
            language: "zh-Hans".to_owned(),
            name: "a \"b\"\n".to_owned(),
            is_forced: false,
            is_default: false,
            is_for_impaired: false,
        };
        let measured = Described {
            codecs: Some("avc1.64001e,mp4a.40.2".to_owned()),
            frame_rate: Some(24000.0 / 1001.0),
            picture: Some((640, 352)),
            rates: Rates { peak: 700_001, average: 500_000, is_whole: true },
            is_independent: true,
        };
        let rates = Rates { peak: 700_000, average: 500_000, is_whole: false };
        let begun = Described { rates, ..Described::default() };
        let variants = [(&ld, measured.clone()), (&qhd, begun)];
        assert_eq!(
            master(&variants, &[track], "?sign=s"),
            "#EXTM3U\n#EXT-X-VERSION:3\n\
             #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"a 'b''\",LANGUAGE=\"zh-Hans\",DEFAULT=YES,\
             AUTOSELECT=YES,FORCED=NO,URI=\"subtitles/zh/index.m3u8?sign=s\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=700001,AVERAGE-BANDWIDTH=500000,RESOLUTION=640x352,FRAME-RATE=23.976,\
             CODECS=\"avc1.64001e,mp4a.40.2\",CLOSED-CAPTIONS=NONE,SUBTITLES=\"subtitles\"\nld/index.m3u8?sign=s\n\
             #EXT-X-STREAM-INF:BANDWIDTH=12000000,CLOSED-CAPTIONS=NONE,SUBTITLES=\"subtitles\"\nqhd/index.m3u8?sign=s\n"
        );
        assert!(master(&[(&ld, measured)], &[], "").contains("\n#EXT-X-INDEPENDENT-SEGMENTS\n"));
    }

    #[test]
    fn qualities_can_be_chosen() {
        let preview = Preview {
            variants: ["fhd", "ld", "sd"].map(|id| variant(id, 0, 0)).into(),
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
}
