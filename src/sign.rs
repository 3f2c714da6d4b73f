//! Signatures of media addresses, in the form that AList and OpenList made common.
//!
//! `base64url(HMAC-SHA256(key, "<decoded absolute path>:<expire>")) + ":" + expire`, with `expire` 0 for no end
//! or Unix seconds. The key is the API token's bytes, so that helpers which hold the token can sign for themselves.

use data_encoding::BASE64URL;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::path::VirtualPath;
use crate::secret::Secret;

/// Signs and checks addresses with one key. The keyed state is computed once.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

// === impl Signer ===

impl Signer {
    /// A signer with the bytes of `key`.
    pub fn new(key: &Secret) -> Self {
        Self(Hmac::new_from_slice(key.expose().as_bytes()).expect("HMAC takes a key of any length"))
    }

    /// The value of `?sign=` for a path; `expire` in Unix seconds, 0 for no end.
    pub fn sign(&self, path: &VirtualPath, expire: u64) -> String {
        let mut mac = self.0.clone();
        mac.update(path.as_str().as_bytes());
        mac.update(format!(":{expire}").as_bytes());
        format!("{}:{expire}", BASE64URL.encode(&mac.finalize().into_bytes()))
    }

    /// Whether `given` is a signature of `path` that has not ended at `now_unix` (seconds).
    /// A trailing slash is tolerated, as some clients append one. Compared in constant time.
    pub fn verify(&self, path: &VirtualPath, given: &str, now_unix: u64) -> bool {
        let given = given.trim_end_matches('/');
        let Some((tag, expire)) = given.rsplit_once(':') else { return false };
        let Some(until) = number(expire) else { return false };
        // Without an allocation: every segment of every film comes by here.
        let mut room = [0; ROOM];
        if BASE64URL.decode_len(tag.len()) != Ok(ROOM) {
            return false;
        }
        let Ok(length) = BASE64URL.decode_mut(tag.as_bytes(), &mut room) else { return false };
        let mut mac = self.0.clone();
        mac.update(path.as_str().as_bytes());
        mac.update(b":");
        mac.update(expire.as_bytes());
        mac.verify_slice(&room[..length]).is_ok() && (until == 0 || now_unix < until)
    }
}

/// A number in the one spelling that signatures are written with: "+5" or "05" would be second ones.
pub fn number(text: &str) -> Option<u64> {
    let is_spelled = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| is_spelled)
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

/// What the decoder wants for a tag of 32 bytes with its padding.
const ROOM: usize = 33;

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer::new(&Secret::new("test-token"))
    }

    #[test]
    fn signatures_equal_those_of_alist() {
        let path = VirtualPath::parse("/ali/Movies/a b.mkv").unwrap();
        assert_eq!(signer().sign(&path, 0), "_TXYEaQMHu0i6lxTvE8Yr1Tyt1OnZjz6rL4v2ABOHXo=:0");
        assert_eq!(
            signer().sign(&path, 1_893_456_000),
            "2-HPt5q5iA5JWx6X5DbUyWejghFcZ7duAEyEQdl4Fw0=:1893456000"
        );
        let chinese = VirtualPath::parse("/电影/流浪地球 (2019).mkv").unwrap();
        assert_eq!(signer().sign(&chinese, 0), "xl-wO7bL7AWyh-ntZfUAyGZvRyiT_8wpPmazAUp7syQ=:0");
    }

    #[test]
    fn a_signature_holds_for_its_path_until_its_end() {
        let path = VirtualPath::parse("/a").unwrap();
        let sign = signer().sign(&path, 100);
        assert!(signer().verify(&path, &sign, 99));
        assert!(signer().verify(&path, &format!("{sign}/"), 99));
        assert!(!signer().verify(&path, &sign, 100));
        assert!(!signer().verify(&VirtualPath::parse("/b").unwrap(), &sign, 99));
        assert!(!signer().verify(&path, &sign.replace(":100", ":0"), 99));
        for garbage in ["", ":", "x:0", "=:0", ":-1", "é:0"] {
            assert!(!signer().verify(&path, garbage, 0), "{garbage}");
        }
        let tag = sign.strip_suffix(":100").unwrap();
        for other in
            [format!("{tag}:+100"), format!("{tag}:0100"), format!("{}:100", tag.trim_end_matches('='))]
        {
            assert!(!signer().verify(&path, &other, 99), "{other}");
        }
        let endless = signer().sign(&path, 0);
        assert!(signer().verify(&path, &endless, 99));
        assert!(!signer().verify(&path, &endless.replace(":0", ":00"), 99));
    }
}
