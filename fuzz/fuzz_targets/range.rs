//! No `Range` leads out of a file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::http::range::{Fitted, RangeSpec, parse_content_range};

fuzz_target!(|input: (&str, u64)| {
    let (text, len) = input;
    let _ = parse_content_range(text);
    let Some(spec) = RangeSpec::parse(text) else { return };
    if let Fitted::Part(range) = spec.fit(len) {
        assert!(range.start < range.end && range.end <= len);
    }
});
