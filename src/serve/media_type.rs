//! The media type of a file by its extension; ours, because a drive's own is often `application/octet-stream`.
//!
//! Nothing here is a type that a browser runs: an HTML or SVG file on a drive is somebody else's text, and served
//! from our origin its scripts would act for the viewer.

/// What kind of thing a page can do with a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Play it without a picture.
    Audio,
    /// Show it.
    Image,
    /// Offer it for download.
    Other,
    /// Play it.
    Video,
}

/// The media type of a file of this name.
pub fn of(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    TYPES
        .iter()
        .find(|(known, _)| extension.eq_ignore_ascii_case(known))
        .map_or("application/octet-stream", |(_, media_type)| media_type)
}

/// What a page can do with a file of this name.
pub fn kind_of(name: &str) -> Kind {
    match of(name).split_once('/') {
        Some(("audio", _)) => Kind::Audio,
        Some(("image", _)) => Kind::Image,
        Some(("video", _)) => Kind::Video,
        _ => Kind::Other,
    }
}

/// Whether a file of this name is a film, whatever a page can do with it: players know more forms than browsers.
pub fn is_film(name: &str) -> bool {
    kind_of(name) == Kind::Video || of(name).starts_with("application/vnd.rn-realmedia")
}

/// Of our own answers.
pub const HTML: &str = "text/html; charset=utf-8";
/// Of the API.
pub const JSON: &str = "application/json; charset=utf-8";
/// Of lists of films. Under the type of HLS's playlists VLC takes the films for segments of one (measured).
pub const M3U: &str = "audio/x-mpegurl";
/// Of HLS playlists; Kodi and Safari decide by it.
pub const PLAYLIST: &str = "application/vnd.apple.mpegurl";
/// Of errors.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// Of subtitles.
pub const VTT: &str = "text/vtt; charset=utf-8";

const TYPES: &[(&str, &str)] = &[
    ("mkv", "video/x-matroska"),
    ("mp4", "video/mp4"),
    ("m4v", "video/mp4"),
    ("avi", "video/x-msvideo"),
    ("flv", "video/x-flv"),
    ("m2ts", "video/mp2t"),
    ("mov", "video/quicktime"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpeg"),
    ("mts", "video/mp2t"),
    ("ogv", "video/ogg"),
    ("rm", "application/vnd.rn-realmedia"),
    ("rmvb", "application/vnd.rn-realmedia-vbr"),
    ("ts", "video/mp2t"),
    ("vob", "video/mpeg"),
    ("webm", "video/webm"),
    ("wmv", "video/x-ms-wmv"),
    ("aac", "audio/aac"),
    ("ape", "audio/x-ape"),
    ("dsf", "audio/x-dsf"),
    ("flac", "audio/flac"),
    ("m4a", "audio/mp4"),
    ("mka", "audio/x-matroska"),
    ("mp3", "audio/mpeg"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("wav", "audio/wav"),
    ("wma", "audio/x-ms-wma"),
    ("ass", "text/x-ssa; charset=utf-8"),
    ("srt", "application/x-subrip"),
    ("ssa", "text/x-ssa; charset=utf-8"),
    ("sub", "text/plain; charset=utf-8"),
    ("vtt", VTT),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("livp", "image/jpeg"),
    ("png", "image/png"),
    ("tbn", "image/jpeg"),
    ("webp", "image/webp"),
    ("iso", "application/x-iso9660-image"),
    ("json", "application/json"),
    ("m3u", M3U),
    ("m3u8", PLAYLIST),
    ("nfo", "text/plain; charset=utf-8"),
    ("pdf", "application/pdf"),
    ("strm", "text/plain; charset=utf-8"),
    ("txt", TEXT),
    ("xml", "text/plain; charset=utf-8"),
    ("zip", "application/zip"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_decides_in_any_case() {
        assert_eq!(of("A Film (2019).MKV"), "video/x-matroska");
        assert_eq!(of("no-extension"), "application/octet-stream");
        assert_eq!(kind_of("a.flac"), Kind::Audio);
        assert!(is_film("a.RMVB") && is_film("a.mkv") && !is_film("a.flac") && !is_film("mkv"));
    }

    #[test]
    fn nothing_that_a_browser_runs_is_given_its_type() {
        for name in ["a.html", "a.htm", "a.xhtml", "a.svg", "a.xml", "a.js", "a.mht"] {
            let media_type = of(name);
            assert!(!["html", "svg", "script", "/xml"].iter().any(|bad| media_type.contains(bad)), "{name}");
        }
    }
}
