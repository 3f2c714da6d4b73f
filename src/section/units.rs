//! Durations and sizes as people write them.

use std::fmt;
use std::time::Duration;

/// Bytes as people read them: `1.5 GiB`.
#[derive(Clone, Copy, Debug)]
pub struct HumanSize(pub u64);

/// Reads a duration: numbers with units, the largest first, such as `500ms`, `15m` or `1h30m`. At most 100
/// years, so that adding it to a time cannot overflow.
///
/// # Errors
/// What is wrong, in words that quote the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{} is no duration, such as \"500ms\", \"30s\", \"15m\" or \"7d\"", quoted(text));
    let (mut rest, mut total, mut last) = (text.trim(), Duration::ZERO, u64::MAX);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (number, unit, after) = split_number(rest).ok_or_else(wrong)?;
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        if unit >= last {
            return Err(wrong());
        }
        let part = number.checked_mul(unit).map(Duration::from_millis);
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= LONGEST)
            .ok_or_else(|| format!("{} is too long, 36500d is the most", quoted(text)))?;
        (rest, last) = (after, unit);
    }
    Ok(total)
}

/// Reads a size in bytes with its unit: `64KiB` and `64MiB` count by 1,024, `64KB` and `64MB` by 1,000.
///
/// # Errors
/// What is wrong, in words that quote the text.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{} is no size, such as \"0B\", \"64KiB\", \"64MiB\" or \"1GB\"", quoted(text));
    let (number, unit, after) = split_number(text.trim()).ok_or_else(wrong)?;
    let unit = match unit {
        "B" => 1,
        "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    if !after.is_empty() {
        return Err(wrong());
    }
    number.checked_mul(unit).ok_or_else(|| format!("{} is too much", quoted(text)))
}

impl fmt::Display for HumanSize {
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut size = self.0 as f64;
        let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].iter();
        let mut unit = units.next().unwrap_or(&"B");
        while size >= 1024.0
            && let Some(larger) = units.next()
        {
            size /= 1024.0;
            unit = larger;
        }
        if self.0 < 1024 { write!(f, "{} B", self.0) } else { write!(f, "{size:.1} {unit}") }
    }
}

/// A value in a fault: not a whole page of it.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("\"{short}\"")
}

/// The number, the unit behind it, and the rest.
fn split_number(text: &str) -> Option<(u64, &str, &str)> {
    let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let rest = rest.trim_start();
    let (unit, after) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
    Some((digits.parse().ok()?, unit.trim_end(), after))
}

/// Chosen: nobody waits longer, and a time of the system plus this is still one.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        let table = [
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("4s", Some(4_000)),
            ("15m", Some(900_000)),
            ("1h30m", Some(5_400_000)),
            ("1d 2h", Some(93_600_000)),
            (" 7d ", Some(604_800_000)),
            ("36500d", Some(3_153_600_000_000)),
            ("36501d", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("", None),
            ("0", None),
            ("s", None),
            ("-4s", None),
            ("1.5s", None),
            ("4S", None),
            ("30m1h", None),
            ("1m1m", None),
            ("4秒", None),
        ];
        for (text, milliseconds) in table {
            assert_eq!(parse_duration(text).ok(), milliseconds.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(HumanSize(1023).to_string(), "1023 B");
        assert_eq!(HumanSize(100 << 30).to_string(), "100.0 GiB");
    }

    #[test]
    fn sizes_are_numbers_with_units() {
        let table = [
            ("0B", Some(0)),
            ("64KiB", Some(65_536)),
            ("64 MiB", Some(67_108_864)),
            ("64MB", Some(64_000_000)),
            ("1GB", Some(1_000_000_000)),
            ("2TiB", Some(2 << 40)),
            ("16777216TiB", None),
            ("64", None),
            ("64M", None),
            ("64mib", None),
            ("1GiB1MiB", None),
            ("", None),
        ];
        for (text, bytes) in table {
            assert_eq!(parse_size(text).ok(), bytes, "{text}");
        }
    }
}
