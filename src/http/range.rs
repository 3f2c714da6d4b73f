//! Byte ranges (RFC 9110 §14), read before the length is known and fitted to it later.

use http::HeaderValue;

/// Bytes from `start` up to, but not including, `end`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte.
    pub end: u64,
}

/// What the client asked for: one range whose length is not known yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RangeSpec {
    /// `a-b`, both inclusive.
    Closed(u64, u64),
    /// `a-`
    From(u64),
    /// `-n`, the last n bytes.
    Last(u64),
}

/// A [`RangeSpec`] against a length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fitted {
    /// No byte of it exists: 416.
    NotSatisfiable,
    /// These bytes.
    Part(ByteRange),
}

// === impl ByteRange ===

impl ByteRange {
    /// The whole of something `len` bytes long.
    pub fn whole(len: u64) -> Self {
        Self { start: 0, end: len }
    }

    /// How many bytes.
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// As the value of a `Range` header. Not for an empty range, which has no such form.
    pub fn to_header(self) -> HeaderValue {
        let (mut first, mut last) = (itoa::Buffer::new(), itoa::Buffer::new());
        header_value(&["bytes=", first.format(self.start), "-", last.format(self.end - 1)])
    }

    /// As the value of a `Content-Range` header. Not for an empty range, which has no such form.
    pub fn to_content_range(self, total: u64) -> HeaderValue {
        let (mut first, mut last) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (first, last) = (first.format(self.start), last.format(self.end - 1));
        header_value(&["bytes ", first, "-", last, "/", itoa::Buffer::new().format(total)])
    }
}

// === impl RangeSpec ===

impl RangeSpec {
    /// Reads a `Range` header.
    ///
    /// Nothing for another unit, for a malformed value and for several ranges: such a header is ignored and
    /// the whole is served, as RFC 9110 §14.2 allows. Units are case-insensitive.
    pub fn parse(header: &str) -> Option<Self> {
        let (unit, set) = header.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        // An empty list element is allowed (§5.6.1): "bytes=,0-1," is one range.
        let mut specs = set.split(',').map(str::trim).filter(|spec| !spec.is_empty());
        let only = specs.next()?;
        if specs.next().is_some() {
            return None;
        }
        let (first, last) = only.split_once('-')?;
        match (first.is_empty(), last.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Self::Last(digits(last)?)),
            (false, true) => Some(Self::From(digits(first)?)),
            (false, false) => {
                let (first, last) = (digits(first)?, digits(last)?);
                (first <= last).then_some(Self::Closed(first, last))
            }
        }
    }

    /// Fits the range to something `len` bytes long.
    pub fn fit(self, len: u64) -> Fitted {
        let range = match self {
            Self::Closed(first, last) => ByteRange { start: first, end: last.saturating_add(1).min(len) },
            Self::From(first) => ByteRange { start: first, end: len },
            Self::Last(count) => ByteRange { start: len.saturating_sub(count), end: len },
        };
        if range.is_empty() { Fitted::NotSatisfiable } else { Fitted::Part(range) }
    }
}

/// Reads the value of a `Content-Range` header: the bytes and, unless it is `*`, the total.
/// Nothing where it does not hold together.
pub fn parse_content_range(header: &str) -> Option<(ByteRange, Option<u64>)> {
    let (unit, rest) = header.trim().split_once(' ')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (range, total) = rest.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let range = ByteRange { start: digits(first)?, end: digits(last)?.checked_add(1)? };
    let total = if total == "*" { None } else { Some(digits(total)?) };
    (!range.is_empty() && total.is_none_or(|total| range.end <= total)).then_some((range, total))
}

/// Digits and punctuation, taken over without a copy.
fn header_value(pieces: &[&str]) -> HeaderValue {
    let text = bytes::Bytes::from(pieces.concat());
    HeaderValue::from_maybe_shared(text).unwrap_or(HeaderValue::from_static(""))
}

/// Decimal digits only: `u64::from_str` would take a sign. More than fits is as good as the largest number.
fn digits(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fit(header: &str) -> Option<Fitted> {
        RangeSpec::parse(header).map(|spec| spec.fit(1000))
    }

    #[expect(clippy::unnecessary_wraps, reason = "compared with an optional")]
    fn part(start: u64, end: u64) -> Option<Fitted> {
        Some(Fitted::Part(ByteRange { start, end }))
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        assert_eq!(fit("bytes=0-"), part(0, 1000));
        assert_eq!(fit("bytes=0-1"), part(0, 2));
        assert_eq!(fit("Bytes=0-1"), part(0, 2));
        assert_eq!(fit("bytes=0-9999"), part(0, 1000));
        assert_eq!(fit("bytes=-5"), part(995, 1000));
        assert_eq!(fit("bytes=-5000"), part(0, 1000));
        assert_eq!(fit("bytes=, 3-4 ,"), part(3, 5));
        assert_eq!(fit("bytes=1-99999999999999999999999"), part(1, 1000));
    }

    #[test]
    fn a_range_with_no_byte_in_it_is_not_satisfiable() {
        for header in ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(fit(header), Some(Fitted::NotSatisfiable), "{header}");
        }
        assert_eq!(RangeSpec::Last(5).fit(0), Fitted::NotSatisfiable);
    }

    #[test]
    fn malformed_ranges_and_several_are_ignored() {
        for header in
            ["bytes=9-5", "bytes=a-b", "bytes=+1-2", "bytes=-", "bytes", "", "lines=0-1", "bytes=0-1,4-5"]
        {
            assert_eq!(fit(header), None, "{header}");
        }
    }

    #[test]
    fn content_range_is_read_only_where_it_holds_together() {
        assert_eq!(parse_content_range("bytes 2-4/10"), Some((ByteRange { start: 2, end: 5 }, Some(10))));
        assert_eq!(parse_content_range("bytes 2-4/*"), Some((ByteRange { start: 2, end: 5 }, None)));
        for header in
            ["bytes 4-2/10", "bytes 0-10/10", "bytes */10", "0-1/2", "bytes 0-18446744073709551615/*"]
        {
            assert_eq!(parse_content_range(header), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn what_fits_lies_within_the_length(header in "bytes=[-0-9, ]{0,12}", len in 0u64..2000) {
            if let Some(Fitted::Part(range)) = RangeSpec::parse(&header).map(|spec| spec.fit(len)) {
                prop_assert!(!range.is_empty() && range.end <= len);
                prop_assert_eq!(parse_content_range(range.to_content_range(len).to_str().unwrap()), Some((range, Some(len))));
            }
        }
    }
}
