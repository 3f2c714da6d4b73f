//! No playlist breaks what puts our addresses into it, and no address of a segment or section is left in it.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sluice::secret::SignedUrl;
use sluice::serve::hls::playlist::MediaPlaylist;

fuzz_target!(|text: &str| {
    let base = SignedUrl::new("https://host.example/lt/A/LD/media.m3u8?x-oss-signature=s");
    let Ok(playlist) = MediaPlaylist::parse(format!("#EXTM3U\n{text}"), &base, Duration::from_secs(60))
    else {
        return;
    };
    let rewritten = playlist.rewritten("?sign=s");
    let mut number = 0;
    let lines = rewritten.split('\n').map(|line| line.trim_end_matches('\r'));
    for line in lines.filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let (name, query) = line.split_once('?').unwrap();
        assert_eq!((name.split('.').next(), query), (Some(&*number.to_string()), "sign=s"));
        assert!(playlist.segment(number).is_some());
        number += 1;
    }
    // What tags name is ours too; other text in tags and comments passes, whatever it says.
    let mut named = rewritten.split('\n').filter_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\""));
    assert!(
        named.all(|uri| uri
            .strip_prefix('x')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())))
    );
    assert!(playlist.segment(number).is_none());
});
