//! The committed media: two films, their transcoded renditions and subtitles, and two pictures.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::content::sha1_hex;

/// A committed media file. `media/make.sh` makes them all anew.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Sample {
    /// 60 s, 640x360, H.264 and AAC in Matroska, with Chinese and English text subtitles.
    Mkv,
    /// 60 s, 640x360, H.264 and AAC in MP4 with the index at the end.
    Mp4,
    /// A small JPEG.
    Poster,
    /// English subtitles as WebVTT.
    Subtitle,
}

impl Sample {
    /// The whole file.
    pub fn bytes(self) -> Bytes {
        Bytes::from_static(match self {
            Self::Mkv => include_bytes!("../media/film.mkv"),
            Self::Mp4 => include_bytes!("../media/film.mp4"),
            Self::Poster => include_bytes!("../media/poster.jpg"),
            Self::Subtitle => SUBTITLES[1].1,
        })
    }

    /// A file name with the right extension.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mkv => "film.mkv",
            Self::Mp4 => "film.mp4",
            Self::Poster => "poster.jpg",
            Self::Subtitle => "film.eng.vtt",
        }
    }

    /// Whether it is one of the films, which have a finished preview.
    pub fn is_film(self) -> bool {
        matches!(self, Self::Mkv | Self::Mp4)
    }

    /// Its SHA-1 in upper-case hex, computed once a process.
    pub(crate) fn hash(self) -> &'static str {
        static HASHES: [OnceLock<String>; 4] = [const { OnceLock::new() }; 4];
        HASHES[self as usize].get_or_init(|| sha1_hex(&self.bytes()))
    }
}

/// One transcoded rendition: ten-second MPEG-TS segments.
pub(crate) struct Rendition {
    /// `LD`, `SD` or `HD`.
    pub(crate) template: &'static str,
    /// Pixels.
    pub(crate) width: u32,
    /// Pixels.
    pub(crate) height: u32,
    /// The segments in order, ten seconds each.
    pub(crate) segments: [&'static [u8]; 6],
}

/// A rendition's segments.
macro_rules! segments {
    ($dir:literal) => {
        [
            include_bytes!(concat!("../media/", $dir, "/media-0.ts")),
            include_bytes!(concat!("../media/", $dir, "/media-1.ts")),
            include_bytes!(concat!("../media/", $dir, "/media-2.ts")),
            include_bytes!(concat!("../media/", $dir, "/media-3.ts")),
            include_bytes!(concat!("../media/", $dir, "/media-4.ts")),
            include_bytes!(concat!("../media/", $dir, "/media-5.ts")),
        ]
    };
}

/// The renditions in ascending quality, sizes as in fact sheet §5.1.
pub(crate) static RENDITIONS: [Rendition; 3] = [
    Rendition { template: "LD", width: 640, height: 360, segments: segments!("LD") },
    Rendition { template: "SD", width: 960, height: 540, segments: segments!("SD") },
    Rendition { template: "HD", width: 1280, height: 720, segments: segments!("HD") },
];

/// Subtitle tracks: language and WebVTT text; the track numbers start at [`FIRST_SUBTITLE`].
pub(crate) static SUBTITLES: [(&str, &[u8]); 2] = [
    ("chi", include_bytes!("../media/subtitle/chi.vtt")),
    ("eng", include_bytes!("../media/subtitle/eng.vtt")),
];

/// Number of the first subtitle track, as in the sheet's example.
pub(crate) const FIRST_SUBTITLE: usize = 3;

/// The picture that stands in for a login code.
pub(crate) static QR_PNG: &[u8] = include_bytes!("../media/qr.png");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_open_with_their_magic() {
        assert_eq!(&Sample::Mkv.bytes()[..4], b"\x1a\x45\xdf\xa3");
        assert_eq!(&Sample::Mp4.bytes()[4..8], b"ftyp");
        assert_eq!(&QR_PNG[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(&Sample::Poster.bytes()[..2], b"\xff\xd8");
        for rendition in &RENDITIONS {
            for segment in rendition.segments {
                assert_eq!((segment[0], segment.len() % 188), (0x47, 0));
            }
        }
        assert!(SUBTITLES.iter().all(|(_, text)| text.starts_with(b"WEBVTT")));
    }

    #[test]
    fn the_index_of_the_mp4_is_at_its_end() {
        let film = Sample::Mp4.bytes();
        let moov = film.windows(4).position(|w| w == b"moov").unwrap();
        assert!(moov > film.len() * 9 / 10);
    }
}
