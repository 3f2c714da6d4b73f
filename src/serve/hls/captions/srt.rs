//! SubRip. Nothing defines it but what players take.

use super::payload::{Payload, Style};
use super::{Cue, TOP, stamp};

/// What can be shown of a text, as it is ordered there.
///
/// Only the line with the times counts: what follows it up to the next one is said, blank lines or not, but for a number right
/// before that one, which is its counter.
pub(super) fn cues(text: &str) -> Vec<Cue> {
    let mut cues = Vec::new();
    let mut times = None;
    // Where what is said begins, and where it would end if the next line had times.
    let (mut begin, mut end) = (0, 0);
    let mut at = 0;
    for whole in text.split_inclusive('\n') {
        let line = whole.trim();
        let next = at + whole.len();
        if let Some((from, until, _)) = stamp::interval(line) {
            cues.extend(times.and_then(|times| cue(times, &text[begin..end])));
            times = Some((from, until));
            begin = next;
        }
        let is_counter = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit());
        end = if is_counter { at } else { next };
        at = next;
    }
    cues.extend(times.and_then(|times| cue(times, &text[begin..])));
    cues
}

fn cue((start, end): (u64, u64), said: &str) -> Option<Cue> {
    if end <= start {
        return None;
    }
    let mut payload = Payload::default();
    let mut is_top = false;
    let mut rest = said;
    while let Some(at) = rest.find(['<', '{', '&']) {
        payload.text(&rest[..at]);
        rest = &rest[at..];
        let after = match rest.as_bytes()[0] {
            b'<' => tag(rest, &mut payload),
            b'{' => braces(rest, &mut is_top),
            _ => reference(rest, &mut payload),
        };
        rest = after.unwrap_or_else(|| {
            payload.text(&rest[..1]);
            &rest[1..]
        });
    }
    payload.text(rest);
    let settings = if is_top { TOP.to_owned() } else { String::new() };
    Some(Cue { start, end, settings, payload: payload.finish()? })
}

/// What is behind a tag of HTML that players know; others are words, as in `<sighs>`.
fn tag<'a>(text: &'a str, payload: &mut Payload) -> Option<&'a str> {
    let (inner, rest) = enclosed(text, '>')?;
    let (is_open, inner) = inner.strip_prefix('/').map_or((true, inner), |inner| (false, inner));
    let end = inner.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(inner.len());
    let (name, attributes) = inner.split_at(end);
    if !attributes.is_empty() && !attributes.starts_with([' ', '/', '=']) {
        return None;
    }
    let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    if is(&["i", "em"]) {
        payload.style(Style::Italic, is_open);
    } else if is(&["b", "strong"]) {
        payload.style(Style::Bold, is_open);
    } else if is(&["u"]) {
        payload.style(Style::Underlined, is_open);
    } else if is(&["br"]) {
        payload.line_break();
    } else if !is(&["font", "p", "s", "span", "strike"]) {
        return None;
    }
    Some(rest)
}

/// What is behind braces that are meant for a renderer: those of ASS, `{\an8}`, and of `MicroDVD`, `{y:i}`.
fn braces<'a>(text: &'a str, is_top: &mut bool) -> Option<&'a str> {
    let (inner, rest) = enclosed(text, '}')?;
    let is_ass = inner.starts_with('\\');
    let is_microdvd =
        inner.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) && inner[1..].starts_with(':');
    *is_top |= is_ass && ["\\an7", "\\an8", "\\an9"].iter().any(|top| inner.contains(top));
    (is_ass || is_microdvd).then_some(rest)
}

/// What is behind a reference to a character. They are not SubRip's, but many files come from where they are needed.
fn reference<'a>(text: &'a str, payload: &mut Payload) -> Option<&'a str> {
    let reference = REFERENCES.iter().find(|known| text.starts_with(**known))?;
    payload.reference(reference);
    Some(&text[reference.len()..])
}

/// What is between the sign at the beginning and `close` on the same line, and what is behind. Looking no further than the
/// next sign of the kind keeps a text of nothing but such signs from being read again and again.
fn enclosed(text: &str, close: char) -> Option<(&str, &str)> {
    let inner = text.get(1..)?;
    let end = inner.find([close, '<', '{', '\n'])?;
    inner[end..].starts_with(close).then(|| (&inner[..end], &inner[end + 1..]))
}

/// Those that WebVTT has too.
const REFERENCES: [&str; 8] = ["&amp;", "&gt;", "&lrm;", "&lt;", "&nbsp;", "&quot;", "&rlm;", "&#39;"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(u64, u64, String)> {
        cues(text).into_iter().map(|cue| (cue.start, cue.end, cue.settings + "|" + &cue.payload)).collect()
    }

    fn said(text: &str) -> String {
        let cues = read(&format!("00:01 --> 00:02\n{text}"));
        cues.into_iter().map(|(_, _, text)| text).collect::<Vec<_>>().join("+")
    }

    #[test]
    fn times_make_a_cue_whatever_is_around_them() {
        let cue = |start, text: &str| (start, start + 1000, format!("|{text}"));
        for (text, expected) in [
            (
                "1\n00:00:01,000 --> 00:00:02,000\na\n\n2\n00:00:03,000 --> 00:00:04,000\nb",
                vec![cue(1000, "a"), cue(3000, "b")],
            ),
            // no counter, a wrong one, no blank line between
            (
                "00:01 --> 00:02\na\n00:03 --> 00:04\nb\n\n7\n00:05 --> 00:06\nc\n",
                vec![cue(1000, "a"), cue(3000, "b"), cue(5000, "c")],
            ),
            // a number that is said
            ("00:01 --> 00:02\n42\n\n2\n00:03 --> 00:04\n1984\n", vec![cue(1000, "42"), cue(3000, "1984")]),
            ("00:01 --> 00:02\n7\n8\n9\n00:03 --> 00:04\nb\n", vec![cue(1000, "7\n8"), cue(3000, "b")]),
            ("00:01 --> 00:02\n42\n\n00:03 --> 00:04\nb\n", vec![cue(1000, "42"), cue(3000, "b")]),
            // blank lines within
            ("00:01 --> 00:02\n\na\n \n\nb\n\n\n00:03 --> 00:04\nc", vec![cue(1000, "a\nb"), cue(3000, "c")]),
            // nothing said, an end before the beginning, coordinates
            (
                "1\n00:01 --> 00:02\n\n2\n00:03 --> 00:02\nb\n\n3\n00:05 --> 00:06 X1:1 Y1:2\nc",
                vec![cue(5000, "c")],
            ),
            ("words before\n\n1\n00:01 --> 00:02\na", vec![cue(1000, "a")]),
            ("no times at all\n", Vec::new()),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn tags_are_kept_or_dropped_and_all_else_is_said() {
        for (text, expected) in [
            ("<i>a</i> <B>b</B> <u>c", "|<i>a</i> <b>b</b> <u>c</u>"),
            ("<font color=\"#ffff00\">a</font><br/>b", "|a\nb"),
            ("<i>a\n<font size=1>\nb", "|<i>a\nb</i>"),
            ("<sighs> 1 < 2 > 0", "|&lt;sighs&gt; 1 &lt; 2 &gt; 0"),
            ("</i>a</b>", "|a"),
            ("<ii>a<b.x>", "|&lt;ii&gt;a&lt;b.x&gt;"),
            ("<i", "|&lt;i"),
            ("<", "|&lt;"),
            ("a --> b", "|a --&gt; b"),
            ("R&B &amp; &lt;x&gt; &what; &", "|R&amp;B &amp; &lt;x&gt; &amp;what; &amp;"),
            ("{\\an8}a", " line:0|a"),
            ("{\\an2\\pos(1,2)}a{\\i1}", "|a"),
            ("{y:i}a", "|a"),
            ("{a} {b:}{", "|{a} {"),
            ("{é:x}", "|{é:x}"),
            ("{\\an8}", ""),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }
}
