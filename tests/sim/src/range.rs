//! What a `Range` header means to the storage, which is not what RFC 9110 says (fact sheet §4.3, §9.18).

use crate::settings::{MultiRange, RangeMode};

/// The part of an object to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// 206 with these bytes, both ends included.
    Slice { first: u64, last: u64 },
    /// 416.
    Unsatisfiable,
    /// 200.
    Whole,
}

/// Decides for an object of `len` bytes; `standard` is the request's `x-oss-range-behavior: standard`.
pub(crate) fn part(
    range: Option<&str>,
    len: u64,
    mode: RangeMode,
    multi: MultiRange,
    standard: bool,
) -> Part {
    let Some(set) = range.and_then(|range| range.strip_prefix("bytes=")) else { return Part::Whole };
    if set.contains(',') && multi == MultiRange::Unsatisfiable {
        return Part::Unsatisfiable;
    }
    let first = set.split(',').next().unwrap_or_default().trim();
    let Some((from, to)) = first.split_once('-') else { return Part::Whole };
    let lenient = mode == RangeMode::Oss && !standard;
    let out_of_bounds = if lenient { Part::Whole } else { Part::Unsatisfiable };
    match (number(from), number(to)) {
        (Ok(Some(first)), Ok(_)) if first >= len => out_of_bounds,
        (Ok(Some(first)), Ok(None)) => Part::Slice { first, last: len - 1 },
        (Ok(Some(first)), Ok(Some(last))) if last < first => Part::Whole,
        (Ok(Some(_)), Ok(Some(last))) if last >= len && lenient => Part::Whole,
        (Ok(Some(first)), Ok(Some(last))) => Part::Slice { first, last: last.min(len - 1) },
        (Ok(None), Ok(Some(0))) => out_of_bounds,
        (Ok(None), Ok(Some(_))) if len == 0 => out_of_bounds,
        (Ok(None), Ok(Some(suffix))) if suffix > len && lenient => Part::Whole,
        (Ok(None), Ok(Some(suffix))) => Part::Slice { first: len.saturating_sub(suffix), last: len - 1 },
        _ => Part::Whole,
    }
}

/// Digits, or nothing; an error is a syntax error.
fn number(text: &str) -> Result<Option<u64>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map(Some).map_err(drop)
    } else {
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oss(range: &str) -> Part {
        part(Some(range), 100, RangeMode::Oss, MultiRange::First, false)
    }

    fn standard(range: &str) -> Part {
        part(Some(range), 100, RangeMode::Oss, MultiRange::First, true)
    }

    fn slice(first: u64, last: u64) -> Part {
        Part::Slice { first, last }
    }

    #[test]
    fn ranges_within_bounds_are_parts_in_every_mode() {
        for answer in [oss, standard] {
            assert_eq!(answer("bytes=0-0"), slice(0, 0));
            assert_eq!(answer("bytes=5-"), slice(5, 99));
            assert_eq!(answer("bytes=-10"), slice(90, 99));
            assert_eq!(answer("bytes=0-99"), slice(0, 99));
            assert_eq!(answer("bytes=1-2,4-5"), slice(1, 2));
        }
    }

    #[test]
    fn the_storage_sends_the_whole_object_for_ranges_out_of_bounds() {
        for range in ["bytes=0-100", "bytes=100-", "bytes=200-300", "bytes=-101", "bytes=-0"] {
            assert_eq!(oss(range), Part::Whole, "{range}");
        }
    }

    #[test]
    fn standard_behaviour_clips_or_refuses() {
        assert_eq!(standard("bytes=0-100"), slice(0, 99));
        assert_eq!(standard("bytes=-101"), slice(0, 99));
        assert_eq!(standard("bytes=100-"), Part::Unsatisfiable);
        assert_eq!(standard("bytes=-0"), Part::Unsatisfiable);
        assert_eq!(
            part(Some("bytes=100-"), 100, RangeMode::Rfc, MultiRange::First, false),
            Part::Unsatisfiable
        );
    }

    #[test]
    fn syntax_errors_are_ignored() {
        for range in ["bytes=", "bytes=-", "bytes=a-b", "bytes=5-4", "chars=0-1", "bytes=+1-2"] {
            assert_eq!(oss(range), Part::Whole, "{range}");
            assert_eq!(standard(range), Part::Whole, "{range}");
        }
    }

    #[test]
    fn several_ranges_may_be_refused_instead() {
        let answer = part(Some("bytes=1-2,4-5"), 100, RangeMode::Oss, MultiRange::Unsatisfiable, false);
        assert_eq!(answer, Part::Unsatisfiable);
    }
}
