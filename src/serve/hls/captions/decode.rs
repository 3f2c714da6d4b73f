//! Bytes of an unknown encoding as text.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, GB18030, GBK, UTF_8, UTF_16BE, UTF_16LE};

/// The text, with `\n` at the end of each line and without marks of byte order and NULs. What makes no sense in the
/// encoding becomes U+FFFD.
pub(super) fn text(bytes: &[u8]) -> String {
    let (text, _) = encoding(bytes).decode_with_bom_removal(bytes);
    plain(&text)
}

fn encoding(bytes: &[u8]) -> &'static Encoding {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return encoding;
    }
    if let Some(encoding) = utf_16(bytes) {
        return encoding;
    }
    if is_utf_8(bytes) {
        return UTF_8;
    }
    // What is before the first letter that is not of ASCII tells nothing, and may be megabytes of embedded fonts.
    let first = bytes.iter().position(|byte| !byte.is_ascii()).unwrap_or(0);
    let sample = &bytes[first..];
    let sample = &sample[..sample.len().min(SAMPLE)];
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    // More might follow: half a letter at the end is no fault of an encoding.
    detector.feed(sample, false);
    // Without a country: a hint of China makes GBK of all that is not long and clearly something else.
    match detector.guess(None, Utf8Detection::Deny) {
        // Its superset: the same letters, and those that were added later.
        encoding if encoding == GBK => GB18030,
        encoding => encoding,
    }
}

/// UTF-16 without a mark: digits, arrows and line ends, of which subtitles are full, have a NUL as one of their two bytes.
fn utf_16(bytes: &[u8]) -> Option<&'static Encoding> {
    let sample = &bytes[..bytes.len().min(SAMPLE)];
    let nuls = |at: usize| sample.iter().skip(at).step_by(2).filter(|byte| **byte == 0).count();
    let (high_first, low_first) = (nuls(0), nuls(1));
    let enough = sample.len() / 16;
    if low_first > enough && low_first / 8 >= high_first {
        Some(UTF_16LE)
    } else if high_first > enough && high_first / 8 >= low_first {
        Some(UTF_16BE)
    } else {
        None
    }
}

/// Whether it is UTF-8, but for a few bytes that were damaged: to guess at these would garble all the rest.
fn is_utf_8(bytes: &[u8]) -> bool {
    let (mut good, mut bad) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        // Lead bytes.
        good += chunk.valid().bytes().filter(|byte| *byte >= 0xc0).count();
        bad += usize::from(!chunk.invalid().is_empty());
    }
    bad == 0 || good / 16 >= bad
}

fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\r', '\0', '\u{feff}']) {
        out.push_str(&rest[..at]);
        let odd = &rest[at..];
        rest = odd.trim_start_matches(['\0', '\u{feff}']);
        if let Some(after) = odd.strip_prefix('\r') {
            rest = after.strip_prefix('\n').unwrap_or(after);
            out.push('\n');
        }
    }
    out.push_str(rest);
    out
}

/// Bytes that a guess is made from; chosen: more than most subtitle files have.
const SAMPLE: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHINESE: &str = "1\r\n00:00:01,000 --> 00:00:02,500\r\n你好，世界。我们今天去哪里？\r\n\r\n\
                           2\r\n00:00:03,000 --> 00:00:04,000\r\n这是一个关于时间的故事，没有人知道结局。\r\n";
    const TRADITIONAL: &str = "1\r\n00:00:01,000 --> 00:00:02,500\r\n你好，世界。我們今天去哪裡？\r\n\r\n\
                               2\r\n00:00:03,000 --> 00:00:04,000\r\n這是一個關於時間的故事，沒有人知道結局。\r\n";
    const JAPANESE: &str = "1\n00:00:01,000 --> 00:00:02,500\nこんにちは、世界。今日はどこへ行きますか。\n\n\
                            2\n00:00:03,000 --> 00:00:04,000\nこれは時間についての物語です。\n";
    const KOREAN: &str = "1\n00:00:01,000 --> 00:00:02,500\n안녕하세요, 세계. 오늘 우리는 어디로 갑니까?\n\n\
                          2\n00:00:03,000 --> 00:00:04,000\n이것은 시간에 관한 이야기입니다.\n";
    const FRENCH: &str = "1\n00:00:01,000 --> 00:00:02,500\nÇa va ? Où êtes-vous allés cet été ?\n\n\
                          2\n00:00:03,000 --> 00:00:04,000\nC’est une histoire très étrange, déjà oubliée.\n";
    const RUSSIAN: &str = "1\n00:00:01,000 --> 00:00:02,500\nПривет, мир. Куда мы идём сегодня?\n\n\
                           2\n00:00:03,000 --> 00:00:04,000\nЭто история о времени, и никто не знает конца.\n";

    fn unix(text: &str) -> String {
        text.replace("\r\n", "\n")
    }

    fn utf_16_bytes(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    #[test]
    fn legacy_encodings_are_recognised() {
        for (label, sample) in [
            ("gb18030", CHINESE),
            ("big5", TRADITIONAL),
            ("shift_jis", JAPANESE),
            ("euc-kr", KOREAN),
            ("windows-1252", FRENCH),
            ("windows-1251", RUSSIAN),
        ] {
            let encoding = Encoding::for_label(label.as_bytes()).unwrap();
            let (bytes, _, had_errors) = encoding.encode(sample);
            assert!(!had_errors, "{label}");
            assert_eq!(text(&bytes), unix(sample), "{label}");
        }
    }

    #[test]
    fn letters_that_only_gb18030_has_are_read() {
        let sample = CHINESE.replace("世界", "䶮𠮷"); // four bytes each
        let (bytes, _, _) = GB18030.encode(&sample);
        assert_eq!(text(&bytes), unix(&sample));
    }

    #[test]
    fn unicode_is_recognised_with_and_without_a_mark() {
        for sample in [CHINESE, TRADITIONAL, JAPANESE, KOREAN, FRENCH, RUSSIAN, "plain\n"] {
            let marked = format!("\u{feff}{sample}");
            for bytes in [
                sample.as_bytes().to_vec(),
                marked.as_bytes().to_vec(),
                utf_16_bytes(sample, u16::to_le_bytes),
                utf_16_bytes(&marked, u16::to_le_bytes),
                utf_16_bytes(sample, u16::to_be_bytes),
                utf_16_bytes(&marked, u16::to_be_bytes),
            ] {
                assert_eq!(text(&bytes), unix(sample));
            }
        }
    }

    #[test]
    fn a_few_damaged_bytes_do_not_change_the_encoding() {
        let mut bytes = CHINESE.repeat(4).into_bytes();
        let at = CHINESE.find('世').unwrap();
        bytes[at] = b'?';
        let cut = bytes.len() - 4;
        let read = text(&bytes[..cut]);
        assert!(read.contains("你好") && read.contains("关于时间的故事"), "{read}");
    }

    #[test]
    fn a_file_cut_within_a_letter_keeps_its_encoding() {
        let (bytes, _, _) = GB18030.encode(CHINESE.trim_end());
        assert!(text(&bytes[..bytes.len() - 1]).contains("关于时间的故事"));
    }

    #[test]
    fn fonts_before_the_text_do_not_hide_its_encoding() {
        let fonts = "M4#5A\n".repeat(SAMPLE / 4);
        let (chinese, _, _) = GB18030.encode(CHINESE);
        let bytes = [fonts.as_bytes(), &chinese].concat();
        assert!(text(&bytes).ends_with(&unix(CHINESE)));
    }

    #[test]
    fn all_line_ends_become_one() {
        let text = text(b"a\r\nb\rc\nd\r\r\n\0e, and a line that is long enough\0");
        assert_eq!(text, "a\nb\nc\nd\n\ne, and a line that is long enough");
    }

    proptest! {
        #[test]
        fn utf_8_is_never_guessed_at(sample in "[^\\x00\r\u{feff}]{0,200}") {
            prop_assert_eq!(text(sample.as_bytes()), sample);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let has_odd = text(&bytes).contains(['\r', '\0', '\u{feff}']);
            prop_assert!(!has_odd);
        }
    }
}
