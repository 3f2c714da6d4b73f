//! Advanced SubStation Alpha, and SubStation Alpha, of which it is the fourth version and a half.

use std::collections::HashMap;

use super::payload::{Payload, Style};
use super::{Cue, TOP, stamp};

/// What can be shown of a text, as it is ordered there.
pub(super) fn cues(text: &str) -> Vec<Cue> {
    let mut cues = Vec::new();
    let mut looks = HashMap::new();
    let mut section = Section::Other;
    let (mut style_fields, mut event_fields) = (StyleFields::default(), EventFields::default());
    for line in text.split('\n') {
        let line = line.trim();
        if line.starts_with('[') {
            section = Section::of(line);
            continue;
        }
        let Some((kind, rest)) = line.split_once(':') else { continue };
        match (section, kind.trim_end()) {
            (Section::Events, "Format") => event_fields = EventFields::of(rest).unwrap_or_default(),
            (Section::Styles { .. }, "Format") => style_fields = StyleFields::of(rest),
            (Section::Styles { is_old }, "Style") => {
                let (name, look) = style_fields.look(rest, is_old);
                looks.insert(name, look);
            }
            (_, "Dialogue") => cues.extend(event_fields.cue(rest, &looks)),
            _ => {}
        }
    }
    cues
}

/// The part of a file that a line is in.
#[derive(Clone, Copy)]
enum Section {
    Events,
    Other,
    /// Before version 4+, places on the screen had other numbers.
    Styles {
        is_old: bool,
    },
}

/// Where in a line of `[Events]` something stands; the text is last, since it may have commas.
struct EventFields {
    start: usize,
    end: usize,
    style: Option<usize>,
    text: usize,
}

/// Where in a line of the styles something stands.
#[derive(Default)]
struct StyleFields {
    name: usize,
    italic: Option<usize>,
    alignment: Option<usize>,
}

/// As much of a style as is kept. Not whether it is bold: where it is, mostly all is, and nothing is said by it.
#[derive(Clone, Copy, Default)]
struct Look {
    is_italic: bool,
    is_top: bool,
}

// === impl Section ===

impl Section {
    fn of(line: &str) -> Self {
        let is = |name: &str| line.eq_ignore_ascii_case(name);
        if is("[Events]") {
            Self::Events
        } else if is("[V4 Styles]") {
            Self::Styles { is_old: true }
        } else if is("[V4+ Styles]") || is("[V4++ Styles]") {
            Self::Styles { is_old: false }
        } else {
            Self::Other
        }
    }
}

// === impl EventFields ===

impl EventFields {
    fn of(format: &str) -> Option<Self> {
        Some(Self {
            start: field(format, "Start")?,
            end: field(format, "End")?,
            style: field(format, "Style"),
            text: field(format, "Text")?,
        })
    }

    fn cue(&self, line: &str, looks: &HashMap<&str, Look>) -> Option<Cue> {
        let (mut start, mut end, mut style, mut text) = (None, None, "", None);
        for (at, field) in line.splitn(self.text + 1, ',').enumerate() {
            if at == self.text {
                text = Some(field);
            } else if at == self.start {
                start = stamp::moment(field);
            } else if at == self.end {
                end = stamp::moment(field);
            } else if Some(at) == self.style {
                style = field;
            }
        }
        let ((start, _), (end, _)) = (start?, end?);
        if end <= start {
            return None;
        }
        let look = looks.get(style_name(style)).copied().unwrap_or_default();
        let (payload, is_top) = said(text?, look)?;
        Some(Cue { start, end, settings: if is_top { TOP.to_owned() } else { String::new() }, payload })
    }
}

impl Default for EventFields {
    fn default() -> Self {
        Self { start: 1, end: 2, style: Some(3), text: 9 }
    }
}

// === impl StyleFields ===

impl StyleFields {
    fn of(format: &str) -> Self {
        Self {
            name: field(format, "Name").unwrap_or_default(),
            italic: field(format, "Italic"),
            alignment: field(format, "Alignment"),
        }
    }

    fn look<'a>(&self, line: &'a str, is_old: bool) -> (&'a str, Look) {
        let (mut name, mut look) = ("", Look::default());
        for (at, value) in line.split(',').enumerate() {
            let value = value.trim();
            if at == self.name {
                name = style_name(value);
            } else if Some(at) == self.italic {
                look.is_italic = !matches!(value, "" | "0");
            } else if Some(at) == self.alignment {
                let tops = if is_old { ["5", "6", "7"] } else { ["7", "8", "9"] };
                look.is_top = tops.contains(&value);
            }
        }
        (name, look)
    }
}

fn field(format: &str, name: &str) -> Option<usize> {
    format.split(',').position(|field| field.trim().eq_ignore_ascii_case(name))
}

/// A style's name as it is looked up; a star marks one that was inherited.
fn style_name(name: &str) -> &str {
    name.trim().trim_start_matches('*')
}

/// The text of a line without what is meant for a renderer, and whether it belongs to the top of the picture.
fn said(text: &str, look: Look) -> Option<(String, bool)> {
    let mut payload = Payload::default();
    payload.style(Style::Italic, look.is_italic);
    let mut is_top = look.is_top;
    let mut is_drawing = false;
    // Behind the last of them a brace is only a brace.
    let last_close = text.rfind('}');
    let mut at = 0;
    while let Some(found) = text[at..].find(['{', '\\']).map(|found| at + found) {
        if !is_drawing {
            payload.text(&text[at..found]);
        }
        let is_block = text[found..].starts_with('{') && last_close.is_some_and(|close| close > found);
        if is_block {
            let end = text[found..].find('}').map_or(text.len(), |end| found + end);
            // What is before the first backslash is a comment.
            for tag in text[found + 1..end].split('\\').skip(1) {
                obey(tag.trim_end(), look, &mut payload, &mut is_top, &mut is_drawing);
            }
            at = (end + 1).min(text.len());
            continue;
        }
        let (shown, length) = match text.as_bytes().get(found..found + 2) {
            Some(b"\\N" | b"\\n") => ("\n", 2),
            Some(b"\\h") => ("\u{a0}", 2),
            Some(b"\\{") => ("{", 2),
            Some(b"\\}") => ("}", 2),
            _ => (&text[found..=found], 1),
        };
        if !is_drawing {
            payload.text(shown);
        }
        at = found + length;
    }
    if !is_drawing {
        payload.text(&text[at..]);
    }
    Some((payload.finish()?, is_top))
}

/// Obeys an override: `i1`, `an8`, `p1`, `r`.
fn obey(tag: &str, look: Look, payload: &mut Payload, is_top: &mut bool, is_drawing: &mut bool) {
    if tag.starts_with('r') && !tag.starts_with("rnd") {
        payload.style(Style::Bold, false);
        payload.style(Style::Underlined, false);
        payload.style(Style::Italic, look.is_italic);
        return;
    }
    let (name, value) = tag.split_at(tag.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tag.len()));
    let Ok(value) = (if value.is_empty() { Ok(0) } else { value.parse::<u32>() }) else { return };
    match name {
        "an" => *is_top = (7..=9).contains(&value),
        // A weight, or whether.
        "b" => payload.style(Style::Bold, value == 1 || value >= 600),
        "i" => payload.style(Style::Italic, value > 0),
        "p" => *is_drawing = value > 0,
        "u" => payload.style(Style::Underlined, value > 0),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "[Script Info]\nTitle: x\n; a comment: x\n\n[V4+ Styles]\n\
                        Format: Name, Fontname, Bold, Italic, Alignment\n\
                        Style: Default,Arial,-1,0,2\nStyle: Thought,Arial,0,-1,2\nStyle: Sign,Arial,0,0,8\n\n[Events]\n";

    fn read(events: &str) -> Vec<String> {
        cues(&format!("{HEAD}{events}")).iter().map(ToString::to_string).collect()
    }

    fn said(text: &str) -> String {
        super::said(text, Look::default())
            .map_or(String::new(), |(text, is_top)| format!("{}{text}", if is_top { "^" } else { "" }))
    }

    #[test]
    fn dialogue_is_read_in_the_order_that_the_format_gives() {
        let lines = read(
            "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n\
             Comment: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,hidden\n\
             Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,one, two\n\
             Dialogue: 0,0:00:03.00,0:00:03.00,Default,,0,0,0,,no time\n\
             Dialogue: 0,0:00:04.00,0:00:05.00,*Thought,,0,0,0,,three\n\
             Dialogue: 0,0:00:06.00,0:00:07.00,Sign,,0,0,0,,four\n\
             Dialogue: broken\n",
        );
        assert_eq!(
            lines,
            [
                "00:00:01.000 --> 00:00:02.500\none, two",
                "00:00:04.000 --> 00:00:05.000\n<i>three</i>",
                "00:00:06.000 --> 00:00:07.000 line:0\nfour",
            ]
        );
        let other = read("Format: End, Start, Text\nDialogue: 0:00:02.00,0:00:01.00,one, two\n");
        assert_eq!(other, ["00:00:01.000 --> 00:00:02.000\none, two"]);
    }

    #[test]
    fn a_file_without_a_head_is_read_all_the_same() {
        let cues = cues("Dialogue: Marked=0,0:00:01.00,0:00:02.00,Default,NTP,0,0,0,,one, two");
        assert_eq!(cues.iter().map(|cue| &*cue.payload).collect::<Vec<_>>(), ["one, two"]);
    }

    #[test]
    fn overrides_are_obeyed_or_dropped_and_drawings_are_dropped() {
        for (text, expected) in [
            ("a\\Nb\\nc\\hd", "a\nb\nc\u{a0}d"),
            ("{\\an8}a", "^a"),
            ("{\\pos(1,2)\\blur2\\i1\\fnArial}a{\\i0}b", "<i>a</i>b"),
            ("{\\iclip(1,2)\\be1\\bord2\\b1}a{\\b}b", "<b>a</b>b"),
            ("{\\b700}a{\\b400}b{\\u1}c{\\rOther}d", "<b>a</b>b<u>c</u>d"),
            ("{\\p1}m 0 0 l 1 1{\\p0}a", "a"),
            ("{\\p2}m 0 0 l 1\\N1", ""),
            ("{a comment}b{}", "b"),
            ("{\\i1 }a", "<i>a</i>"),
            ("a {b", "a {b"),
            ("a} {b} {c", "a}  {c"),
            ("\\{a\\} \\x \\", "{a} \\x \\"),
            ("<i>a</i> & b", "&lt;i&gt;a&lt;/i&gt; &amp; b"),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }
}
