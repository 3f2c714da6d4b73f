//! What comes out is WebVTT, whatever goes in.

use proptest::prelude::*;

use super::*;

/// What is wrong with a text as WebVTT, by W3C, WebVTT §4.1, as far as our writing goes.
fn fault(text: &str) -> Option<String> {
    let Some(body) = text.strip_prefix("WEBVTT") else { return Some("no signature".to_owned()) };
    if !body.starts_with(['\n', ' ', '\t'])
        || !text.ends_with('\n')
        || text.contains(['\r', '\0', '\u{feff}'])
    {
        return Some("signature or line ends".to_owned());
    }
    let mut blocks = text.split("\n\n");
    if blocks.next().is_some_and(|head| head.contains("-->")) {
        return Some("an arrow in the head".to_owned());
    }
    let mut cues = 0;
    for block in blocks {
        let lines: Vec<_> = block.strip_suffix('\n').unwrap_or(block).split('\n').collect();
        if lines.iter().any(|line| line.is_empty()) {
            return Some(format!("an empty line in {block:?}"));
        }
        let Some(at) = lines.iter().position(|line| line.contains("-->")) else {
            let first = lines[0].split([' ', '\t']).next().unwrap_or_default();
            if !["NOTE", "REGION", "STYLE"].contains(&first) {
                return Some(format!("neither cue nor note: {block:?}"));
            }
            continue;
        };
        if at > 1 || !is_times(lines[at]) {
            return Some(format!("times of {block:?}"));
        }
        let payload = &lines[at + 1..];
        if payload.is_empty() || payload.iter().any(|line| line.contains("-->")) {
            return Some(format!("payload of {block:?}"));
        }
        cues += 1;
    }
    (cues == 0).then(|| "no cue".to_owned())
}

fn is_times(line: &str) -> bool {
    let is_moment = |text: &str| {
        let parts: Vec<_> = text.split([':', '.']).collect();
        let is = |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        let [hours, minutes, seconds, millis] = parts[..] else { return false };
        is(hours, hours.len().max(2)) && is(minutes, 2) && is(seconds, 2) && is(millis, 3)
    };
    let mut words = line.split(' ');
    let (start, arrow, end) = (words.next(), words.next(), words.next());
    let order = |a: &str, b: &str| (a.len(), a) < (b.len(), b);
    arrow == Some("-->")
        && start.is_some_and(is_moment)
        && end.is_some_and(is_moment)
        && start.zip(end).is_some_and(|(start, end)| order(start, end))
        && words.all(|word| {
            word.split_once(':').is_some_and(|(name, value)| !name.is_empty() && !value.is_empty())
        })
}

/// Tags of what we write ourselves are closed in the order of nesting.
fn is_nested(payload: &str) -> bool {
    let mut open = Vec::new();
    for piece in payload.split('<').skip(1) {
        match piece.split_once('>') {
            Some((name @ ("b" | "i" | "u"), _)) => open.push(name),
            Some((close, _)) if close.strip_prefix('/') == open.last().copied() => drop(open.pop()),
            _ => return false,
        }
    }
    open.is_empty()
}

fn check(bytes: &[u8], format: Format) -> Result<(), TestCaseError> {
    match to_webvtt(bytes, format) {
        Ok(text) => {
            prop_assert_eq!(fault(&text), None, "{}", text);
            // What is ours stays as it is.
            prop_assert_eq!(to_webvtt(text.as_bytes(), Format::Srt).ok(), Some(text));
        }
        Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Unsupported),
    }
    Ok(())
}

#[test]
fn files_of_each_format_become_webvtt() {
    for (name, text, expected) in [
        (
            "a.SRT",
            "2\r\n00:00:03,000 --> 00:00:04,000\r\nb\r\n\r\n1\r\n00:00:01,000 --> 00:00:03,500\r\n<i>a\r\n",
            "WEBVTT\n\n00:00:01.000 --> 00:00:03.500\n<i>a</i>\n\n00:00:03.000 --> 00:00:04.000\nb\n",
        ),
        (
            "a.zh.ass",
            "[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,,,0,0,0,,a\nDialogue: 1,0:00:01.00,0:00:02.00,,,0,0,0,,{\\bord0}a\n",
            "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\na\n",
        ),
        (
            "a.vtt",
            "\u{feff}WEBVTT\r\n\r\n00:01.000 --> 00:02.000\r\na\r\n",
            "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\na\n",
        ),
        (
            "misnamed.srt",
            "WEBVTT\n\n00:01.000 --> 00:02.000\na",
            "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\na\n",
        ),
        (
            "misnamed.srt",
            "\n[Script Info]\n[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,,,0,0,0,,a",
            "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\na\n",
        ),
    ] {
        let format = Format::of(name).unwrap();
        let written = to_webvtt(text.as_bytes(), format).unwrap();
        assert_eq!(written, expected, "{name}");
        assert_eq!(fault(&written), None);
    }
}

#[test]
fn only_subtitles_have_a_format() {
    assert_eq!(Format::of("Film.ssa"), Some(Format::Ass));
    for name in ["", "srt", "Film.mkv", "Film.srt.txt", "Film.sub"] {
        assert_eq!(Format::of(name), None, "{name}");
    }
}

#[test]
fn a_file_with_nothing_to_show_says_so() {
    for format in [Format::Ass, Format::Srt, Format::Vtt] {
        for bytes in [&b""[..], b"\xff\xfe", b"hello", b"WEBVTT\n\nNOTE\n", b"00:02 --> 00:01\na"] {
            let error = to_webvtt(bytes, format).unwrap_err();
            assert_eq!(error.words(), "the subtitle file has no line that can be shown");
        }
    }
}

#[test]
fn hostile_files_take_no_longer_than_others() {
    const SIZE: usize = 32 * 1024;
    let cue = "00:01 --> 00:02\n";
    for piece in [
        "<",
        "{",
        "{\\",
        "&",
        "-->",
        "<i>",
        "<i>\n",
        "</i>",
        "<font ",
        "{\\i1}",
        "{\\i0",
        "\\",
        "[",
        ":",
        ",",
        "0",
        "1\n",
        " ",
        "\r",
        "\n",
        "\0",
        "0:",
        "\u{feff}",
        "STYLE\n",
        "NOTE\n\n",
        "00:01 --> 00:02\nx\n",
        "Dialogue: ",
        "Format: Start,End,Text\n",
        "Style: a\n",
        "\u{3000}",
        "é",
        "line:1 ",
    ] {
        let body = piece.repeat(SIZE / piece.len());
        for (head, format) in [
            (cue.to_owned(), Format::Srt),
            (format!("WEBVTT\n\n{cue}"), Format::Vtt),
            ("WEBVTT\n\n00:01 --> 00:02 ".to_owned(), Format::Vtt),
            ("[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,,,0,0,0,,".to_owned(), Format::Ass),
            ("[Events]\nFormat: ".to_owned(), Format::Ass),
        ] {
            // Where it is quadratic, this takes minutes.
            if let Ok(text) = to_webvtt((head + &body).as_bytes(), format) {
                assert_eq!(fault(&text), None, "{piece:?}");
                assert!(text.len() < 16 * SIZE, "{piece:?}");
            }
        }
    }
}

/// Text around the grammars: what they are made of, in any order.
fn near(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![4 => prop::sample::select(pieces).prop_map(str::to_owned), 1 => "\\PC{0,6}"];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

const SRT: &[&str] = &[
    "\n",
    "\n",
    "\r\n",
    "\r",
    "1\n",
    "42",
    "00:00:01,000",
    " --> ",
    "-->",
    "00:00:02,500",
    "00:01 --> 00:02\n",
    "00:03 --> 00:05 X1:1\n",
    "100:00:00.5 --> 100:00:01\n",
    "<i>",
    "</i>",
    "<b>",
    "</b>",
    "<u>",
    "<font color=red>",
    "</font>",
    "<br>",
    "{\\an8}",
    "{",
    "}",
    "<",
    ">",
    "&",
    "&amp;",
    "字幕",
    " ",
    "\t",
    "\u{a0}",
    "\0",
    "\u{feff}",
];
const ASS: &[&str] = &[
    "\n",
    "[Script Info]\n",
    "[V4+ Styles]\n",
    "[Events]\n",
    "Format: Start, End, Text\n",
    "Format: Text, Start\n",
    "Style: a,b,-1,8\n",
    "Format: Name, Italic, Alignment\n",
    "Dialogue: 0:00:01.00,0:00:02.00,",
    "Dialogue: 0,0:00:01.00,0:00:02.00,a,,0,0,0,,",
    "Comment: ",
    "{\\i1}",
    "{\\i0}",
    "{\\b1}",
    "{\\b0}",
    "{\\u1\\p1}",
    "{\\p0}",
    "{\\r}",
    "{\\an8",
    "}",
    "\\N",
    "\\n",
    "\\h",
    "\\",
    "-->",
    "字幕",
    ",",
    " ",
    "<i>",
    "&",
];
const VTT: &[&str] = &[
    "\n",
    "\n\n",
    "\r\n",
    "WEBVTT",
    "X-TIMESTAMP-MAP=x\n",
    "NOTE",
    "STYLE\n",
    "REGION\n",
    "id\n",
    "00:01.000 --> 00:02.000",
    "-->",
    "00:03 --> 00:04 line:0 position:1%\n",
    "00:02 --> 00:01\n",
    " line:1",
    " align:",
    ":",
    "<v A>",
    "</v>",
    "&",
    "字幕",
    " ",
    "\t",
    "\0",
];

proptest! {
    #[test]
    fn bytes_become_webvtt_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for format in [Format::Ass, Format::Srt, Format::Vtt] {
            check(&bytes, format)?;
        }
    }

    #[test]
    fn subrip_becomes_webvtt(text in near(SRT)) {
        check(text.as_bytes(), Format::Srt)?;
        for cue in srt::cues(&decode::text(text.as_bytes())) {
            prop_assert!(is_nested(&cue.payload), "{}", cue.payload);
        }
    }

    #[test]
    fn substation_becomes_webvtt(text in near(ASS)) {
        check(text.as_bytes(), Format::Ass)?;
        for cue in ass::cues(&decode::text(text.as_bytes())) {
            prop_assert!(is_nested(&cue.payload), "{}", cue.payload);
        }
    }

    #[test]
    fn webvtt_becomes_webvtt(text in near(VTT)) {
        check(format!("WEBVTT{text}").as_bytes(), Format::Vtt)?;
    }

    #[test]
    fn every_encoding_leads_to_the_same(text in near(SRT)) {
        let text = format!("1\n00:00:01,000 --> 00:00:02,000\nok\n\n{text}");
        let utf_16: Vec<_> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let marked = [&b"\xff\xfe"[..], &utf_16].concat();
        let utf_8 = to_webvtt(text.as_bytes(), Format::Srt).unwrap();
        prop_assert_eq!(&utf_8, &to_webvtt(&marked, Format::Srt).unwrap());
    }
}
