//! No subtitle file breaks what makes WebVTT of it, and what is made stays as it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::serve::hls::captions::{Format, to_webvtt};

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else { return };
    let format = [Format::Ass, Format::Srt, Format::Vtt][usize::from(*choice) % 3];
    let Ok(text) = to_webvtt(bytes, format) else { return };
    assert!(text.starts_with("WEBVTT"));
    assert!(!text.contains("\n\n\n"));
    assert!(text.matches("-->").count() == text.matches(" --> ").count());
    assert_eq!(to_webvtt(text.as_bytes(), format).unwrap(), text);
});
