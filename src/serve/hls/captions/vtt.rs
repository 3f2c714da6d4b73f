//! WebVTT as players read it (W3C, WebVTT §6.1), written so that others read the same, and beside segments.

use super::{Cue, stamp};

/// What a file begins with.
pub(super) const SIGNATURE: &str = "WEBVTT";

/// The text with its cues put in order of form; what is no cue and no note is dropped, as a player would. Styles and regions are
/// too: ffmpeg 5.1 reads no cue at all of a file that has one. None where it is not WebVTT or has no cue.
pub(super) fn rewritten(text: &str) -> Option<String> {
    let mut lines = Lines { rest: text };
    let title = lines.next()?.strip_prefix(SIGNATURE)?;
    if !title.is_empty() && !title.starts_with([' ', '\t']) {
        return None;
    }
    let mut out = String::with_capacity(text.len() + 64);
    out.push_str(SIGNATURE);
    push_line(&mut out, if title.contains("-->") { "" } else { title });
    for line in lines.paragraph() {
        // It tells of the clock of the segments that the file was once beside.
        if !line.starts_with("X-TIMESTAMP-MAP") {
            push_line(&mut out, line);
        }
    }
    let mut has_cues = false;
    while let Some(first) = lines.next() {
        if first.is_empty() {
            continue;
        }
        if first.contains("-->") {
            has_cues |= cue("", first, &mut lines, &mut out);
        } else if let Some(times) = lines.next_if(|second| second.contains("-->")) {
            has_cues |= cue(first, times, &mut lines, &mut out);
        } else {
            let is_kept = is_note(first);
            if is_kept {
                out.push('\n');
                push_line(&mut out, first);
            }
            for line in lines.paragraph().filter(|_| is_kept) {
                push_line(&mut out, line);
            }
        }
    }
    has_cues.then_some(out)
}

/// WebVTT that says how its clock stands to that of the segments, whose picture begins at so many ticks of 90 kHz (RFC 8216
/// §3.5). Left as it is where it says so already.
pub(in super::super) fn timed(text: &str, ticks: u64) -> String {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let head = rest.split("\n\n").next().unwrap_or_default();
    if head.contains("X-TIMESTAMP-MAP") {
        return text.to_owned();
    }
    format!("{}\nX-TIMESTAMP-MAP=MPEGTS:{ticks},LOCAL:00:00:00.000\n{rest}", first.trim_end_matches('\r'))
}

/// Reads what follows the line with the times, and writes it if it can be shown.
fn cue(id: &str, times: &str, lines: &mut Lines<'_>, out: &mut String) -> bool {
    let payload: Vec<_> = lines.paragraph().collect();
    let Some((start, end, settings)) = stamp::interval(times) else { return false };
    if end <= start || payload.iter().all(|line| line.trim().is_empty()) {
        return false;
    }
    out.push('\n');
    if !id.is_empty() {
        push_line(out, id);
    }
    let settings = settings.split([' ', '\t']).filter(|setting| is_setting(setting));
    let settings = settings.fold(String::new(), |all, setting| all + " " + setting);
    push_line(out, &Cue { start, end, settings, payload: payload.join("\n") }.to_string());
    true
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

fn is_note(line: &str) -> bool {
    line.strip_prefix("NOTE").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

fn is_setting(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(name, value)| SETTINGS.contains(&name) && !value.is_empty() && !value.contains("-->"))
}

/// The lines of a text that are not read yet.
struct Lines<'a> {
    rest: &'a str,
}

// === impl Lines ===

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.next_if(|_| true)
    }

    fn next_if(&mut self, is_wanted: impl FnOnce(&str) -> bool) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        is_wanted(line).then(|| {
            self.rest = rest;
            line
        })
    }

    /// What is left of a block: it ends with an empty line, or before one with an arrow, which begins the next.
    fn paragraph(&mut self) -> impl Iterator<Item = &'a str> {
        std::iter::from_fn(|| self.next_if(|line| !line.contains("-->")).filter(|line| !line.is_empty()))
    }
}

/// What may follow the times. Source: W3C, WebVTT §4.4.
const SETTINGS: [&str; 5] = ["align", "line", "position", "size", "vertical"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_form_stays_as_it_is() {
        let text = "WEBVTT - a title\nKind: captions\nLanguage: zh\n\n\
                    NOTE of the\nauthor\n\nfirst\n00:00:01.000 --> 00:00:02.000 line:0 position:10%\n<v A>a & b</v>\nc\n\n\
                    00:00:03.000 --> 100:00:04.000\nd\n";
        assert_eq!(rewritten(text).unwrap(), text);
    }

    #[test]
    fn times_are_put_in_form_and_what_cannot_be_shown_is_dropped() {
        for (text, expected) in [
            ("WEBVTT\n\n01:00.5-->2:00,000\na", "WEBVTT\n\n00:01:00.500 --> 00:02:00.000\na\n"),
            (
                "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:0,MPEGTS:9\n\n\n\n00:01 --> 00:02 line:1 x:2 size: align:--> end\na\n",
                "WEBVTT\n\n00:00:01.000 --> 00:00:02.000 line:1\na\n",
            ),
            // an arrow begins a cue wherever it is
            (
                "WEBVTT -->\n00:01 --> 00:02\na\n00:03 --> 00:04\nb\nc --> d\nlost\n\nx\ny\n00:05 --> 00:06\ne",
                "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\na\n\n00:00:03.000 --> 00:00:04.000\nb\n\n\
                 00:00:05.000 --> 00:00:06.000\ne\n",
            ),
            // an end before the beginning, nothing said, words between, styles and regions
            (
                "WEBVTT\n\nSTYLE\n::cue { color: lime }\n\nREGION\nid:a\n\n00:02 --> 00:01\na\n\n00:01 --> 00:02\n\nb\n\n00:01 --> 00:02\nc\n\nSTYLE\nd\n\nNOTES\n",
                "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nc\n",
            ),
        ] {
            assert_eq!(rewritten(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_webvtt_or_has_no_cue_is_nothing() {
        for text in
            ["", "WEBVTT", "WEBVTT\n\nNOTE x\n", "WEBVTTx\n\n00:01 --> 00:02\na", "00:01 --> 00:02\na"]
        {
            assert_eq!(rewritten(text), None, "{text}");
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
}
