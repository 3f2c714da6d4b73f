//! Randomness and the keyed hash that tokens and links are signed with.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A simulator's own signing key.
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) fn random() -> Self {
        let mut key = [0; 32];
        random(&mut key);
        Self(key)
    }

    /// HMAC-SHA-256 over the parts, each ended by a line feed.
    pub(crate) fn sign(&self, parts: &[&str]) -> [u8; 32] {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            unreachable!("a key of any length will do for HMAC")
        };
        for part in parts {
            mac.update(part.as_bytes());
            mac.update(b"\n");
        }
        mac.finalize().into_bytes().into()
    }
}

/// So many random bytes in lower-case hex.
pub(crate) fn random_hex(bytes: usize) -> String {
    let mut out = vec![0; bytes];
    random(&mut out);
    HEXLOWER.encode(&out)
}

/// A random number from 0 to `most - 1`, near enough uniform.
pub(crate) fn random_below(most: u64) -> u64 {
    let mut out = [0; 8];
    random(&mut out);
    u64::from_le_bytes(out) % most.max(1)
}

fn random(out: &mut [u8]) {
    if let Err(error) = getrandom::fill(out) {
        unreachable!("the system always has randomness: {error}");
    }
}
