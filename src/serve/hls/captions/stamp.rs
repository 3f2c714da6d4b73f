//! Moments as subtitle files write them.

use std::fmt;

/// A moment in milliseconds, as WebVTT writes it: `hh:mm:ss.mmm`.
pub(super) struct Written(pub(super) u64);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / 1000, self.0 % 1000);
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        write!(f, "{:02}:{:02}:{seconds:02}.{millis:03}", minutes / 60, minutes % 60)
    }
}

/// The moments before and after the arrow of a line, and what follows them; none where the line is no such one.
pub(super) fn interval(line: &str) -> Option<(u64, u64, &str)> {
    let (before, after) = line.split_once("-->")?;
    let (start, rest) = moment(before)?;
    if !rest.trim().is_empty() {
        return None;
    }
    let (end, settings) = moment(after)?;
    Some((start, end, settings))
}

/// The moment at the beginning of a text, in milliseconds, and what follows it: `h:mm:ss` or `mm:ss` of any number of digits,
/// and a fraction behind `.` or `,`. Typists and recognisers of print leave spaces in it. What is before zero is at zero.
pub(super) fn moment(text: &str) -> Option<(u64, &str)> {
    let text = text.trim_start();
    let (is_before_zero, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (first, rest) = number(text)?;
    let (second, rest) = number(after(rest, &[':'])?)?;
    let third = after(rest, &[':']).and_then(number);
    let ([hours, minutes, seconds], rest) =
        third.map_or(([0, first, second], rest), |(third, rest)| ([first, second, third], rest));
    let (millis, rest) = after(rest, &['.', ',']).and_then(fraction).unwrap_or((0, rest));
    let moment = ((hours * 60 + minutes) * 60 + seconds) * 1000 + millis;
    Some((if is_before_zero { 0 } else { moment }, rest))
}

/// What is behind one of these signs, and the spaces around it.
fn after<'a>(text: &'a str, signs: &[char]) -> Option<&'a str> {
    text.trim_start().strip_prefix(signs).map(str::trim_start)
}

fn number(text: &str) -> Option<(u64, &str)> {
    let (digits, rest) = digits(text)?;
    // The largest cannot overflow what is made of it.
    Some((digits.parse::<u32>().ok()?.into(), rest))
}

/// Digits behind the point, as milliseconds.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let (digits, rest) = digits(text)?;
    let millis =
        digits.bytes().chain(*b"00").take(3).fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some((millis, rest))
}

fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_read_in_every_way_they_are_written() {
        for (text, millis, rest) in [
            ("00:00:01,500", 1500, ""),
            ("00:00:01.500 x", 1500, " x"),
            (" 1:02:03.45,", 3_723_450, ","),
            ("02:03.5", 123_500, ""),
            ("02:03", 123_000, ""),
            ("00: 00: 20, 500", 20_500, ""),
            ("123:00:00.0009", 442_800_000, ""),
            ("0:75:90", 4_590_000, ""),
            ("-00:00:01,000", 0, ""),
            ("00:00:05 X1:10", 5000, " X1:10"),
            ("00:00:05,", 5000, ","),
        ] {
            assert_eq!(moment(text), Some((millis, rest)), "{text}");
        }
        for text in ["", "12", "a:b:c", ":01:02", "99999999999:00:00", "１:02:03"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn an_arrow_between_moments_is_an_interval() {
        assert_eq!(interval("00:01,0-->0:02,0"), Some((1000, 2000, "")));
        let placed = interval("00:00:01,000 --> 00:00:02,000  X1:1 X2:2");
        assert_eq!(placed, Some((1000, 2000, "  X1:1 X2:2")));
        for line in ["", "-->", "a --> b", "see 00:01 --> 00:02", "00:01 x --> 00:02", "00:01 -> 00:02"] {
            assert_eq!(interval(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(millis in 0..u64::from(u32::MAX) * 3_600_000) {
            let written = Written(millis).to_string();
            prop_assert_eq!(moment(&written), Some((millis, "")));
        }

        #[test]
        fn no_text_panics(text in "[-0-9:., >a]{0,60}") {
            let _ = interval(&text);
        }
    }
}
