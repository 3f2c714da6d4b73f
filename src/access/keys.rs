//! The keys of exported addresses: `.strm` files and links that are given away. They are others than AList's signature has, so that
//! such an address can be taken back without touching the API token, which other programs hold.
//!
//! A signature is `<key>.<components>.<tag>:<expire>`: the number of the key; how many components of the path it covers, so that one of a
//! folder opens what lies below it; base64url of an HMAC-SHA256 over all three and the covered path; and, as in AList's, Unix seconds or 0
//! for no end. After some months a new key is begun; the former ones hold until they are revoked.

use std::path::Path;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::error::{Error, ErrorKind, Result};
use crate::path::VirtualPath;
use crate::sign::number;
use crate::state::Kept;

/// The keys, as they stand in the state folder.
#[derive(Debug)]
pub struct Keys(Kept<Ring>);

/// What is kept.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Ring {
    /// The number of the newest key that there ever was: a number that is revoked does not come again.
    last: u32,
    keys: Vec<Key>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(from = "Written", into = "Written")]
struct Key {
    written: Written,
    /// With the key in it, worked out once; none where what is written is damaged.
    mac: Option<Hmac<Sha256>>,
}

/// A key as it stands in the file.
#[derive(Clone, Deserialize, Serialize)]
struct Written {
    id: u32,
    /// In seconds since the Unix epoch.
    made: u64,
    /// 32 random bytes in hexadecimal.
    secret: String,
}

// === impl Keys ===

impl Keys {
    /// The keys that are kept in this folder.
    pub fn new(state_dir: &Path) -> Self {
        Self(Kept::new(&state_dir.join(FILE)))
    }

    /// The value of `?sign=` for a path and, where it is a folder, for all below it; `expire` in Unix seconds, 0 for no end. Begins a new key
    /// where the newest is old, or there is none; `now` in seconds since the Unix epoch.
    ///
    /// # Errors
    /// `Internal` where the state folder cannot be written.
    pub fn sign(&self, path: &VirtualPath, expire: u64, now: u64) -> Result<String> {
        let is_young = |key: &Key| now < key.written.made.saturating_add(ROTATED_S);
        let newest = |ring: &Ring| ring.keys.last().filter(|key| is_young(key)).cloned();
        let key = match newest(&self.0.get()) {
            Some(key) => key,
            None => {
                self.0.change(|ring| newest(ring).map_or_else(|| ring.begin(now), Ok)).map_err(kept)??
            }
        };
        let components = path.components().count();
        Ok(format!(
            "{}.{components}.{}:{expire}",
            key.written.id,
            BASE64URL_NOPAD.encode(&key.tag(path, expire)?.finalize().into_bytes())
        ))
    }

    /// Whether `given` is a signature of `path`, or of a folder above it, by a key that holds, and has not ended at `now` (Unix seconds).
    /// A trailing slash is tolerated, as some clients append one. Compared in constant time.
    pub fn verify(&self, path: &VirtualPath, given: &str, now: u64) -> bool {
        self.verified(path, given, now).is_some()
    }

    fn verified(&self, path: &VirtualPath, given: &str, now: u64) -> Option<()> {
        let (head, until) = given.trim_end_matches('/').rsplit_once(':')?;
        let mut parts = head.splitn(3, '.');
        let (id, components, tag) = (number(parts.next()?)?, number(parts.next()?)?, parts.next()?);
        let until = number(until)?;
        let mut covered = path.clone();
        for _ in components..u64::try_from(path.components().count()).ok()? {
            covered = covered.parent()?;
        }
        if u64::try_from(covered.components().count()).ok()? != components {
            return None;
        }
        let ring = self.0.get();
        let key = ring.keys.iter().find(|key| u64::from(key.written.id) == id)?;
        key.tag(&covered, until).ok()?.verify_slice(&BASE64URL_NOPAD.decode(tag.as_bytes()).ok()?).ok()?;
        (until == 0 || now < until).then_some(())
    }

    /// Numbers of the keys that hold, and when each was made, in seconds since the Unix epoch.
    pub fn list(&self) -> Vec<(u32, u64)> {
        self.0.get().keys.iter().map(|key| (key.written.id, key.written.made)).collect()
    }

    /// Ends all addresses that were signed with a key; answers whether there was one.
    ///
    /// # Errors
    /// `Internal` where the state folder cannot be written.
    pub fn revoke(&self, id: u32) -> Result<bool> {
        let remove = |ring: &mut Ring| {
            let before = ring.keys.len();
            ring.keys.retain(|key| key.written.id != id);
            ring.keys.len() < before
        };
        self.0.change(remove).map_err(kept)
    }
}

// === impl Ring ===

impl Ring {
    fn begin(&mut self, now: u64) -> Result<Key> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| Error::new(ErrorKind::Internal, OPERATION).with("reason", error))?;
        self.last += 1;
        let key = Key::from(Written { id: self.last, made: now, secret: HEXLOWER.encode(&bytes) });
        self.keys.push(key.clone());
        Ok(key)
    }
}

// === impl Key ===

impl Key {
    fn tag(&self, covered: &VirtualPath, expire: u64) -> Result<Hmac<Sha256>> {
        let mut mac = self.mac.clone().ok_or_else(|| {
            Error::new(ErrorKind::Internal, OPERATION).saying("a key of the state folder is damaged")
        })?;
        mac.update(format!("sluice link\0{}\0{expire}\0", self.written.id).as_bytes());
        mac.update(covered.as_str().as_bytes());
        Ok(mac)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key {}", self.written.id)
    }
}

impl From<Written> for Key {
    fn from(written: Written) -> Self {
        let bytes = HEXLOWER.decode(written.secret.as_bytes()).ok();
        let mac = bytes.map(|bytes| Hmac::new_from_slice(&bytes).expect("HMAC takes a key of any length"));
        Self { written, mac }
    }
}

impl From<Key> for Written {
    fn from(key: Key) -> Self {
        key.written
    }
}

fn kept(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, OPERATION).caused_by(error)
}

/// The first of all, so that one that is never revoked still says when its addresses were made.
const ROTATED_S: u64 = 90 * 24 * 3600;
const FILE: &str = "link_keys.json";
const OPERATION: &str = "use the keys of exported addresses";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> VirtualPath {
        VirtualPath::parse(text).unwrap()
    }

    #[test]
    fn a_signature_covers_its_path_and_what_lies_below_until_its_key_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::new(folder.path());
        let (film, films) = (path("/ali/电影/a b.mkv"), path("/ali/电影"));
        let of_film = keys.sign(&film, 0, 1000).unwrap();
        let of_films = keys.sign(&films, 2000, 1000).unwrap();
        assert!(of_film.starts_with("1.3.") && of_film.ends_with(":0") && of_films.starts_with("1.2."));
        assert!(keys.verify(&film, &of_film, 1000) && keys.verify(&film, &format!("{of_film}/"), 1000));
        assert!(keys.verify(&film, &of_films, 1999) && keys.verify(&films, &of_films, 1999));
        assert!(!keys.verify(&film, &of_films, 2000));
        for other in ["/ali/电影/a b.mk", "/ali/电影", "/ali", "/", "/ali/电影/a b.mkv/c/d"] {
            assert_eq!(
                keys.verify(&path(other), &of_film, 1000),
                other.starts_with(film.as_str()),
                "{other}"
            );
        }
        assert!(!keys.verify(&path("/ali/电影2/a"), &of_films, 1000));
        // A new key after some months; the former one holds.
        let later = keys.sign(&film, 0, 1000 + ROTATED_S).unwrap();
        assert!(later.starts_with("2."));
        assert!(keys.verify(&film, &of_film, 1000 + ROTATED_S));
        assert_eq!(keys.list().len(), 2);
        assert!(keys.revoke(2).unwrap() && !keys.revoke(2).unwrap());
        assert!(!keys.verify(&film, &later, 1000) && keys.verify(&film, &of_film, 1000));
        // What is signed from now on has a number of its own.
        assert!(keys.sign(&film, 0, 1000 + 2 * ROTATED_S).unwrap().starts_with("3."));
        assert!(
            !format!("{keys:?}")
                .contains(&std::fs::read_to_string(folder.path().join(FILE)).unwrap()[60..90])
        );
    }

    proptest! {
        #[test]
        fn no_other_text_is_a_signature(text in "([0-9]{1,3}\\.){0,3}[A-Za-z0-9_=.-]{0,50}(:[0-9]{0,3})?/?") {
            let (folder, missing) = (tempfile::tempdir().unwrap(), "f".repeat(64));
            let ring = format!("{{\"last\":1,\"keys\":[{{\"id\":1,\"made\":0,\"secret\":\"{missing}\"}}]}}");
            std::fs::write(folder.path().join(FILE), ring).unwrap();
            let keys = Keys::new(folder.path());
            let sign = keys.sign(&path("/a/b"), 0, 0).unwrap();
            prop_assert!(text == sign || !keys.verify(&path("/a/b"), &text, 0));
        }
    }
}
