//! Subtitle files as they lie on a drive, made into WebVTT. Pure, and as lenient as players are.
//!
//! What is kept is what is said and when, with italics, bold and underlining, and whether a line belongs to the top of the
//! picture. What only a renderer of the format could show is dropped: fonts, colours, positions, drawings.
//!
//! ```text
//! bytes -> decode (any encoding) -> srt | ass | vtt -> payload (escapes, tags) -> Cue -> text
//! ```

mod ass;
mod decode;
mod payload;
mod srt;
mod stamp;
#[cfg(test)]
mod tests;
mod vtt;

use std::fmt::{self, Write as _};

pub(super) use self::vtt::timed;
use crate::error::{Error, ErrorKind, Result};

/// How a subtitle file is written.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Format {
    /// Advanced SubStation Alpha, and SubStation Alpha before it: `.ass`, `.ssa`.
    Ass,
    /// SubRip: `.srt`.
    Srt,
    /// WebVTT: `.vtt`.
    Vtt,
}

/// What is shown from one moment to another.
#[derive(Debug, Eq, PartialEq)]
struct Cue {
    /// In milliseconds.
    start: u64,
    /// In milliseconds; after `start`.
    end: u64,
    /// Cue settings, each with a space before it.
    settings: String,
    /// At least one line, none of them empty, without `-->`.
    payload: String,
}

// === impl Format ===

impl Format {
    /// What a file of this name is, by its extension; none where it is no subtitle that can be converted.
    pub fn of(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        let is = |known: &&(&str, Self)| extension.eq_ignore_ascii_case(known.0);
        EXTENSIONS.iter().find(is).map(|(_, format)| *format)
    }

    /// What a text is whatever its file is called: players look into a file, so misnamed ones are common.
    fn seen_in(self, text: &str) -> Self {
        if text.starts_with(vtt::SIGNATURE) {
            Self::Vtt
        } else if text.trim_start().starts_with("[Script Info]") {
            Self::Ass
        } else {
            self
        }
    }
}

/// A subtitle file as WebVTT in UTF-8 with `\n` at the end of each line. What it was encoded in is guessed.
///
/// Time and memory are linear in `bytes`, which a caller must limit; ten megabytes are work for a blocking thread.
///
/// # Errors
/// `Unsupported` where no line of it can be shown: the film's other tracks are none the worse for it.
pub fn to_webvtt(bytes: &[u8], format: Format) -> Result<String> {
    let text = decode::text(bytes);
    let written = match format.seen_in(&text) {
        Format::Ass => write(ass::cues(&text)),
        Format::Srt => write(srt::cues(&text)),
        Format::Vtt => vtt::rewritten(&text),
    };
    written.ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "read a subtitle file")
            .saying("the subtitle file has no line that can be shown")
            .with("format", format!("{format:?}"))
            .with("size_bytes", bytes.len())
    })
}

/// In order of time, which WebVTT asks for. What a file says twice over, as the layers of an effect do, is said once.
fn write(mut cues: Vec<Cue>) -> Option<String> {
    cues.sort_by_key(|cue| cue.start);
    cues.dedup();
    let size = cues.iter().map(|cue| cue.payload.len() + cue.settings.len() + 40).sum::<usize>();
    let mut out = String::with_capacity(size);
    out.push_str("WEBVTT\n");
    for cue in &cues {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "\n{cue}");
    }
    (!cues.is_empty()).then_some(out)
}

impl fmt::Display for Cue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (stamp::Written(self.start), stamp::Written(self.end));
        write!(f, "{start} --> {end}{}\n{}", self.settings, self.payload)
    }
}

const EXTENSIONS: [(&str, Format); 4] =
    [("ass", Format::Ass), ("srt", Format::Srt), ("ssa", Format::Ass), ("vtt", Format::Vtt)];
/// The cue setting of a line that belongs to the top of the picture, where what is below is taken by something else.
const TOP: &str = " line:0";
