//! As much of MPEG transport streams (ISO/IEC 13818-1) as it takes to tell when the picture begins. Pure.

/// The time stamp of the first picture in the beginning of a stream, in ticks of 90 kHz; none where there is none in it.
pub(super) fn first_video_pts(stream: &[u8]) -> Option<u64> {
    stream.chunks_exact(PACKET).find_map(|packet| pts(payload(packet)?))
}

/// What a packet carries of the beginning of an elementary stream's packet.
fn payload(packet: &[u8]) -> Option<&[u8]> {
    let [SYNC, flags, _, control, rest @ ..] = packet else { return None };
    let begins = flags & 0x40 != 0;
    let (has_adaptation, has_payload) = (control & 0x20 != 0, control & 0x10 != 0);
    if !begins || !has_payload {
        return None;
    }
    if !has_adaptation {
        return Some(rest);
    }
    let (length, rest) = rest.split_first()?;
    rest.get(usize::from(*length)..)
}

fn pts(packet: &[u8]) -> Option<u64> {
    let [0, 0, 1, stream_id, _, _, _, flags, _, a, b, c, d, e, ..] = *packet else { return None };
    let is_video = (0xe0..=0xef).contains(&stream_id);
    if !is_video || flags & 0x80 == 0 {
        return None;
    }
    // 33 bits in three pieces, each with a marker behind it.
    let [a, b, c, d, e] = [a, b, c, d, e].map(u64::from);
    Some((a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1)
}

/// Bytes of a packet.
const PACKET: usize = 188;
const SYNC: u8 = 0x47;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(stream_id: u8, pts: u64, adaptation: Option<u8>) -> Vec<u8> {
        let mut packet = vec![SYNC, 0x41, 0, if adaptation.is_some() { 0x30 } else { 0x10 }];
        if let Some(length) = adaptation {
            packet.push(length);
            packet.extend(std::iter::repeat_n(0xff, length.into()));
        }
        packet.extend([0, 0, 1, stream_id, 0, 0, 0x80, 0x80, 5]);
        packet.extend([
            0x21 | (pts >> 30 << 1) as u8,
            (pts >> 22) as u8,
            (pts >> 14) as u8 | 1,
            (pts >> 7) as u8,
            (pts << 1) as u8 | 1,
        ]);
        packet.resize(PACKET, 0xff);
        packet
    }

    proptest! {
        #[test]
        fn the_first_picture_tells(pts in 0_u64..1 << 33, length in prop::option::of(0_u8..100)) {
            let audio = packet(0xc0, 7, None);
            let stream = [audio, packet(0xe0, pts, length), packet(0xe0, 9, None)].concat();
            prop_assert_eq!(first_video_pts(&stream), Some(pts));
        }

        #[test]
        fn no_stream_panics(mut stream in prop::collection::vec(any::<u8>(), 0..600)) {
            for packet in stream.chunks_mut(PACKET) {
                packet[0] = SYNC;
            }
            let _ = first_video_pts(&stream);
        }
    }
}
