//! What files hold: given bytes, a committed sample, or virtual bytes that any range of can be checked without a file.

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use data_encoding::HEXUPPER;
use sha1::{Digest, Sha1};

use crate::samples::Sample;

/// The bytes of one file.
#[derive(Clone, Debug)]
pub enum Content {
    /// Exactly these bytes; `content_hash` is their true SHA-1.
    Bytes(Bytes),
    /// A committed media file; `content_hash` is its true SHA-1.
    Sample(Sample),
    /// `len` bytes computed from `seed` and the offset; they cost no memory, see [`fill`].
    ///
    /// `content_hash` is made up: the SHA-1 of the text `virtual <seed> <len>`.
    Virtual {
        /// Length in bytes.
        len: u64,
        /// Picks the bytes.
        seed: u64,
    },
}

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Sample(sample) => sample.bytes().len() as u64,
            Self::Virtual { len, .. } => *len,
        }
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` bytes from `offset`; shared memory wherever possible. The range must lie inside the content.
    pub fn slice(&self, offset: u64, len: usize) -> Bytes {
        let within = |whole: &Bytes| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
            whole.slice(start..start.saturating_add(len).min(whole.len()))
        };
        match self {
            Self::Bytes(whole) => within(whole),
            Self::Sample(sample) => within(&sample.bytes()),
            Self::Virtual { seed, .. } => bytes(*seed, offset, len),
        }
    }

    /// `content_hash` as the API shows it: 40 upper-case hex digits (fact sheet §3.2).
    pub(crate) fn hash(&self) -> String {
        match self {
            Self::Bytes(whole) => sha1_hex(whole),
            Self::Sample(sample) => sample.hash().to_owned(),
            Self::Virtual { len, seed } => sha1_hex(format!("virtual {seed} {len}").as_bytes()),
        }
    }
}

/// SHA-1 in upper-case hex.
pub(crate) fn sha1_hex(data: &[u8]) -> String {
    HEXUPPER.encode(&Sha1::digest(data))
}

/// Writes the virtual bytes of `seed` from `offset` on.
///
/// The byte at an offset is `pattern[(start(seed) + offset) mod PERIOD]`, where the pattern is fixed
/// pseudo-random bytes and `PERIOD` is the prime 1,048,583: no block size in use divides it, so a block put
/// in the wrong place shows, and serving is slicing shared memory.
pub fn fill(seed: u64, offset: u64, out: &mut [u8]) {
    let pattern = pattern();
    let mut at = phase(seed, offset);
    let mut rest = out;
    while !rest.is_empty() {
        let len = rest.len().min(pattern.len() - at);
        let (now, later) = rest.split_at_mut(len);
        now.copy_from_slice(&pattern[at..at + len]);
        at = (at + len) % PERIOD;
        rest = later;
    }
}

/// `len` virtual bytes of `seed` from `offset` on; up to [`FRAME_BYTES`] without a copy.
pub fn bytes(seed: u64, offset: u64, len: usize) -> Bytes {
    if len <= FRAME_BYTES {
        let at = phase(seed, offset);
        return pattern().slice(at..at + len);
    }
    let mut out = BytesMut::zeroed(len);
    fill(seed, offset, &mut out);
    out.freeze()
}

/// The virtual byte of `seed` at `offset`.
pub fn byte_at(seed: u64, offset: u64) -> u8 {
    pattern()[phase(seed, offset)]
}

/// Where in the pattern an offset falls.
fn phase(seed: u64, offset: u64) -> usize {
    let period = PERIOD as u64;
    let start = mix(seed) % period;
    usize::try_from((start + offset % period) % period).unwrap_or(0)
}

/// One period of the pattern and the beginning of the next, so that a frame from anywhere is one slice.
fn pattern() -> &'static Bytes {
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let mut pattern = Vec::with_capacity(PERIOD + FRAME_BYTES + 8);
        for word in 0..(PERIOD as u64 / 8 + 1) {
            pattern.extend_from_slice(&mix(word ^ 0x0064_7269_7665).to_le_bytes());
        }
        pattern.truncate(PERIOD);
        pattern.extend_from_within(..FRAME_BYTES);
        Bytes::from(pattern)
    })
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The longest piece handed to a connection at once.
pub const FRAME_BYTES: usize = 256 * 1024;

/// The smallest prime above 2^20.
const PERIOD: usize = 1_048_583;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_bytes_are_equal_at_any_split() {
        let (seed, from) = (7, 99_999_000_000);
        let whole = bytes(seed, from, 3_000_000);
        for (offset, len) in [(0, 1), (1, 262_144), (1_048_582, 2), (1_048_000, 262_144), (2_999_999, 1)] {
            assert_eq!(bytes(seed, from + offset as u64, len), whole[offset..offset + len]);
            assert_eq!(byte_at(seed, from + offset as u64), whole[offset]);
        }
    }

    #[test]
    fn the_period_is_prime() {
        assert!((2..1024).all(|n| !PERIOD.is_multiple_of(n)) && PERIOD < 1025 * 1025);
    }

    #[test]
    fn seeds_and_blocks_differ() {
        assert_ne!(bytes(1, 0, 64), bytes(2, 0, 64));
        for block in [64 * 1024, 1 << 20, 1 << 22] {
            assert_ne!(bytes(1, 0, 64), bytes(1, block, 64));
        }
    }

    #[test]
    fn hashes_have_the_shape_the_api_shows() {
        let empty = Content::Bytes(Bytes::new());
        assert_eq!(empty.hash(), "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709");
        assert_eq!(Content::Virtual { len: 1, seed: 1 }.hash().len(), 40);
    }
}
