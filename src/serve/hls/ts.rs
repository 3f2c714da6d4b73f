//! As much of MPEG transport streams (ISO/IEC 13818-1), of H.264 and of ADTS as it takes to tell from the beginning of a
//! segment what is in it. Pure.

use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::rbsp::{BitReader, decode_nal};

/// What the beginning of a segment tells. What it does not tell is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Beginning {
    /// When the picture begins, in ticks of 90 kHz.
    pub(super) at: Option<u64>,
    /// RFC 6381, picture first; none unless every stream is of a kind that we know.
    pub(super) codecs: Option<String>,
    /// Pictures a second.
    pub(super) frame_rate: Option<f64>,
    /// Whether the first picture needs none before it.
    pub(super) is_independent: bool,
    /// Width and height in pixels.
    pub(super) picture: Option<(u32, u32)>,
}

// === impl Beginning ===

impl Beginning {
    /// Reads the first bytes of a segment; as far as they go.
    pub(super) fn read(stream: &[u8]) -> Self {
        let mut program = Program::default();
        for packet in stream.chunks_exact(PACKET) {
            program.take(packet);
        }
        let mut beginning = Self::default();
        let mut codecs = Vec::new();
        for elementary in &program.streams {
            let (pts, data) = pes(&elementary.data).unwrap_or_default();
            let codec = match elementary.kind {
                H264 => {
                    beginning.at = pts;
                    beginning.is_independent = nals(data).find_map(first_slice) == Some(Slice::Independent);
                    let sps = nals(data).find_map(sps);
                    beginning.picture = sps.as_ref().and_then(|sps| sps.pixel_dimensions().ok());
                    beginning.frame_rate = sps
                        .as_ref()
                        .and_then(SeqParameterSet::fps)
                        .filter(|rate| (1.0..=300.0).contains(rate));
                    sps.map(|sps| sps.rfc6381().to_string().to_ascii_lowercase())
                }
                ADTS => adts(data),
                MPEG1_AUDIO | MPEG2_AUDIO => Some("mp4a.40.34".to_owned()),
                _ => None,
            };
            codecs.push(codec);
        }
        // The list names the picture first in the streams that we have seen; a player does not mind.
        beginning.codecs = codecs
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .filter(|codecs| !codecs.is_empty())
            .map(|codecs| codecs.join(","));
        beginning
    }
}

/// The first program of a stream: what its tables say, and the first packet of each elementary stream.
#[derive(Default)]
struct Program {
    /// Where its map is.
    map: Option<u16>,
    streams: Vec<Elementary>,
}

struct Elementary {
    /// `stream_type` of the program map.
    kind: u8,
    pid: u16,
    /// The first packet of the elementary stream, its header with it.
    data: Vec<u8>,
    /// Whether the second has begun.
    is_whole: bool,
}

// === impl Program ===

impl Program {
    fn take(&mut self, packet: &[u8]) {
        let Some((pid, begins, payload)) = payload(packet) else { return };
        if pid == 0 && begins && self.map.is_none() {
            self.map = section(payload, 0x00).and_then(|table| {
                table
                    .get(5..)?
                    .chunks_exact(4)
                    .find(|entry| entry[..2] != [0, 0])
                    .map(|entry| pid_of(&entry[2..]))
            });
        } else if Some(pid) == self.map && begins && self.streams.is_empty() {
            self.streams = section(payload, 0x02).map(streams).unwrap_or_default();
        } else if let Some(stream) = self.streams.iter_mut().find(|stream| stream.pid == pid) {
            stream.is_whole |= begins && !stream.data.is_empty();
            // What comes before the first beginning is the end of something that we have not seen.
            if !stream.is_whole && (begins || !stream.data.is_empty()) {
                stream.data.extend_from_slice(payload);
            }
        }
    }
}

/// The identifier of a packet, whether a unit begins in it, and what it carries.
fn payload(packet: &[u8]) -> Option<(u16, bool, &[u8])> {
    let [SYNC, high, low, control, rest @ ..] = packet else { return None };
    let (has_adaptation, has_payload) = (control & 0x20 != 0, control & 0x10 != 0);
    if !has_payload {
        return None;
    }
    let rest = if has_adaptation {
        let (length, rest) = rest.split_first()?;
        rest.get(usize::from(*length)..)?
    } else {
        rest
    };
    Some((pid_of(&[*high, *low]), high & 0x40 != 0, rest))
}

fn pid_of(bytes: &[u8]) -> u16 {
    u16::from(bytes[0] & 0x1f) << 8 | u16::from(bytes[1])
}

/// The body of a table that lies in one packet: what follows its length, without the checksum.
fn section(payload: &[u8], table: u8) -> Option<&[u8]> {
    let (pointer, rest) = payload.split_first()?;
    let [id, high, low, rest @ ..] = rest.get(usize::from(*pointer)..)? else { return None };
    let length = usize::from(high & 0x0f) << 8 | usize::from(*low);
    (*id == table).then_some(rest)?.get(..length.checked_sub(4)?)
}

/// The streams of a program map.
fn streams(map: &[u8]) -> Vec<Elementary> {
    let mut found = Vec::new();
    let Some([high, low]) = map.get(7..9) else { return found };
    let descriptors = usize::from(high & 0x0f) << 8 | usize::from(*low);
    let mut rest = map.get(9 + descriptors..).unwrap_or_default();
    while let [kind, pid_high, pid_low, high, low, more @ ..] = rest {
        let descriptors = usize::from(high & 0x0f) << 8 | usize::from(*low);
        found.push(Elementary {
            kind: *kind,
            pid: pid_of(&[*pid_high, *pid_low]),
            data: Vec::new(),
            is_whole: false,
        });
        rest = more.get(descriptors..).unwrap_or_default();
    }
    found
}

/// The time stamp of an elementary stream's packet, and what follows its header.
fn pes(packet: &[u8]) -> Option<(Option<u64>, &[u8])> {
    let [0, 0, 1, _, _, _, _, flags, length, rest @ ..] = packet else { return None };
    let data = rest.get(usize::from(*length)..)?;
    let [a, b, c, d, e, ..] = *rest else { return Some((None, data)) };
    // 33 bits in three pieces, each with a marker behind it.
    let [a, b, c, d, e] = [a, b, c, d, e].map(u64::from);
    let pts = (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1;
    Some(((flags & 0x80 != 0).then_some(pts), data))
}

/// The units of an H.264 byte stream (Annex B).
fn nals(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut begins = memchr::memmem::find_iter(data, &[0, 0, 1]).map(|at| at + 3).peekable();
    std::iter::from_fn(move || {
        let begin = begins.next()?;
        let end = begins.peek().map_or(data.len(), |next| next - 3);
        Some(&data[begin..end])
    })
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Slice {
    Dependent,
    Independent,
}

/// Whether a unit is a piece of a picture, and of which kind.
fn first_slice(nal: &[u8]) -> Option<Slice> {
    match nal.first()? & 0x1f {
        1..=4 => Some(Slice::Dependent),
        5 => Some(Slice::Independent),
        _ => None,
    }
}

fn sps(nal: &[u8]) -> Option<SeqParameterSet> {
    if nal.first()? & 0x1f != 7 {
        return None;
    }
    // Zeros may stand between a unit and the next start code.
    let end = nal.iter().rposition(|byte| *byte != 0)? + 1;
    SeqParameterSet::from_bits(BitReader::new(&*decode_nal(&nal[..end]).ok()?)).ok()
}

/// The codec of an AAC stream, by the object type in its first header.
fn adts(data: &[u8]) -> Option<String> {
    let [0xff, second, third, ..] = data else { return None };
    (second & 0xf6 == 0xf0).then(|| format!("mp4a.40.{}", (third >> 6) + 1))
}

/// Bytes of a packet.
const PACKET: usize = 188;
const SYNC: u8 = 0x47;
/// Kinds of streams, as the program map names them (ISO/IEC 13818-1, table 2-34).
const ADTS: u8 = 0x0f;
const H264: u8 = 0x1b;
const MPEG1_AUDIO: u8 = 0x03;
const MPEG2_AUDIO: u8 = 0x04;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(pid: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![SYNC, 0x40 | (pid >> 8) as u8, pid as u8, 0x10];
        packet.extend(payload);
        packet.resize(PACKET, 0xff);
        packet
    }

    /// A program with the streams of these kinds, from identifier 0x100 on.
    fn tables(kinds: &[u8]) -> Vec<u8> {
        let mut pmt = vec![0, 0x02, 0xb0, (13 + 5 * kinds.len()) as u8, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0];
        for (number, kind) in kinds.iter().enumerate() {
            pmt.extend([*kind, 0xe1, number as u8, 0xf0, 0]);
        }
        let pat = [0, 0x00, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0, 1, 2, 3, 4];
        [packet(0, &pat), packet(0x1000, &[pmt, vec![0; 4]].concat())].concat()
    }

    fn pes_of(pts: u64, data: &[u8]) -> Vec<u8> {
        let mut packet = vec![0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5];
        packet.extend([
            0x21 | (pts >> 30 << 1) as u8,
            (pts >> 22) as u8,
            (pts >> 14) as u8 | 1,
            (pts >> 7) as u8,
            (pts << 1) as u8 | 1,
        ]);
        packet.extend(data);
        packet
    }

    /// Baseline 3.0, 320x240 at 25 pictures a second, as x264 writes it.
    const SPS: &[u8] = &[
        0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10,
        0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x62, 0xe4, 0x80,
    ];

    #[test]
    fn a_beginning_tells_what_is_in_it() {
        let picture = [SPS, &[0, 0, 1, 0x68, 1, 0, 0, 1, 0x65, 9]].concat();
        let stream = [
            tables(&[H264, ADTS]),
            packet(0x101, &pes_of(1, &[0xff, 0xf1, 0x50, 0x80])),
            packet(0x100, &pes_of(7, &picture)),
            packet(0x100, &pes_of(9, &[0, 0, 1, 0x41, 9])),
        ]
        .concat();
        assert_eq!(
            Beginning::read(&stream),
            Beginning {
                at: Some(7),
                codecs: Some("avc1.42c01e,mp4a.40.2".to_owned()),
                frame_rate: Some(25.0),
                is_independent: true,
                picture: Some((320, 240)),
            }
        );
    }

    #[test]
    fn a_picture_that_needs_others_is_told_and_an_unknown_stream_spoils_the_codecs() {
        let picture = [SPS, &[0, 0, 1, 0x41, 9]].concat();
        let stream = [tables(&[H264, 0x24]), packet(0x100, &pes_of(7, &picture))].concat();
        let beginning = Beginning::read(&stream);
        assert_eq!((beginning.is_independent, beginning.codecs, beginning.at), (false, None, Some(7)));
    }

    proptest! {
        #[test]
        fn every_time_stamp_is_read(pts in 0_u64..1 << 33) {
            let stream = [tables(&[H264]), packet(0x100, &pes_of(pts, SPS))].concat();
            prop_assert_eq!(Beginning::read(&stream).at, Some(pts));
        }

        #[test]
        fn no_stream_panics(
            tail in prop::collection::vec(any::<u8>(), 0..600), kinds in prop::collection::vec(any::<u8>(), 0..4),
            at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut stream = [tables(&kinds), packet(0x100, &pes_of(7, SPS)), tail].concat();
            let at = at.index(stream.len());
            stream[at] = byte;
            for packet in stream.chunks_mut(PACKET) {
                packet[0] = SYNC;
            }
            let _ = Beginning::read(&stream);
        }
    }
}
