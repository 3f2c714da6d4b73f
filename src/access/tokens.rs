//! What a login is given, to be shown instead of the password: who it is, until when, signed with a key of the API token.
//!
//! Shaped as a JWT (HS256), since AList's clients may look into it; what its header says is not asked. It ends with its time, with a
//! changed password, with another API token, and with a logout for as long as the process lives.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::User;
use crate::secret::Secret;

/// Makes and reads them. Clones share what was logged out.
#[derive(Clone)]
pub struct Tokens {
    key: Hmac<Sha256>,
    ended: Cache<[u8; 32], ()>,
}

/// What one says.
#[derive(Deserialize, Serialize)]
struct Claims<'a> {
    #[serde(borrow)]
    username: Cow<'a, str>,
    /// Of the password's hash.
    password: u64,
    exp: u64,
    /// So that no two are the same, and the end of one is not that of another.
    jti: u64,
}

// === impl Tokens ===

impl Tokens {
    /// Tokens that end with this API token.
    pub fn new(api_token: &Secret) -> Self {
        let mut key = keyed(api_token.expose().as_bytes());
        key.update(b"sluice login tokens");
        let ended = Cache::builder().max_capacity(MOST_ENDED).time_to_live(LIFE).build();
        Self { key: keyed(&key.finalize().into_bytes()), ended }
    }

    /// A token for a user who has just logged in; `now` in seconds since the Unix epoch.
    pub fn make(&self, user: &User, now: u64) -> Secret {
        let claims = Claims {
            username: Cow::Borrowed(&user.name),
            password: fingerprint(user),
            exp: now + LIFE.as_secs(),
            jti: getrandom::u64().unwrap_or_default(),
        };
        let claims = serde_json::to_vec(&claims).expect("claims are plain strings and numbers");
        let signed = format!("{}.{}", BASE64URL_NOPAD.encode(HEADER), BASE64URL_NOPAD.encode(&claims));
        let tag = self.tag(&signed).finalize().into_bytes();
        Secret::new(format!("{signed}.{}", BASE64URL_NOPAD.encode(&tag)))
    }

    /// Whose token it is, where it is one of ours that has not ended.
    pub fn read(&self, token: &Secret, users: &[Arc<User>], now: u64) -> Option<Arc<User>> {
        let (signed, tag) = self.verified(token)?;
        let claims = BASE64URL_NOPAD.decode(signed.split_once('.')?.1.as_bytes()).ok()?;
        let claims: Claims<'_> = serde_json::from_slice(&claims).ok()?;
        let user = users.iter().find(|user| *user.name == *claims.username)?;
        let is_good = now < claims.exp && claims.password == fingerprint(user);
        (is_good && !self.ended.contains_key(&tag)).then(|| Arc::clone(user))
    }

    /// Ends a token before its time. What is none of ours is not noted: it would push out those that are.
    pub fn end(&self, token: &Secret) {
        if let Some((_, tag)) = self.verified(token) {
            self.ended.insert(tag, ());
        }
    }

    /// What a token of ours says, and its tag.
    fn verified<'a>(&self, token: &'a Secret) -> Option<(&'a str, [u8; 32])> {
        let (signed, tag) = token.expose().rsplit_once('.')?;
        let tag: [u8; 32] = BASE64URL_NOPAD.decode(tag.as_bytes()).ok()?.try_into().ok()?;
        self.tag(signed).verify_slice(&tag).ok()?;
        Some((signed, tag))
    }

    fn tag(&self, signed: &str) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        mac.update(signed.as_bytes());
        mac
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(…)")
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn fingerprint(user: &User) -> u64 {
    user.hash.fingerprint().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// As AList's: two days.
const LIFE: Duration = Duration::from_secs(48 * 3600);
const HEADER: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;
/// Chosen: more logouts than a household makes in two days.
const MOST_ENDED: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{PasswordHash, Permissions};
    use crate::path::VirtualPath;

    fn user(name: &str, hash: &str) -> Arc<User> {
        let hash = PasswordHash::parse(hash).unwrap();
        Arc::new(User { name: name.into(), hash, root: VirtualPath::root(), may: Permissions::default() })
    }

    const OLD: &str =
        "$argon2id$v=19$m=8,t=1,p=1$ylQCvdga7pGQLZiv8M0LlA$a/UPej0sBb3alukV4r/SGHNmqtjhGL1fT+WQZlVt4M0";
    const NEW: &str =
        "$argon2id$v=19$m=8,t=1,p=1$zlQCvdga7pGQLZiv8M0LlA$a/UPej0sBb3alukV4r/SGHNmqtjhGL1fT+WQZlVt4M0";

    #[test]
    fn a_token_ends_with_its_time_its_password_its_key_and_its_logout() {
        let tokens = Tokens::new(&Secret::new("api"));
        let users = [user("bob", OLD), user("anna", OLD)];
        let token = tokens.make(&users[1], 1000);
        let of = |tokens: &Tokens, users: &[Arc<User>], now| {
            tokens.read(&token, users, now).map(|user| user.name.as_ref().to_owned())
        };
        assert_eq!(of(&tokens, &users, 1000).as_deref(), Some("anna"));
        assert_eq!(of(&tokens, &users, 1000 + LIFE.as_secs()), None);
        assert_eq!(of(&tokens, &[user("anna", NEW)], 1000), None);
        assert_eq!(of(&tokens, &users[..1], 1000), None);
        assert_eq!(of(&Tokens::new(&Secret::new("other")), &users, 1000), None);
        tokens.end(&token);
        assert_eq!(of(&tokens, &users, 1000), None);
    }

    #[test]
    fn no_changed_token_is_taken() {
        let tokens = Tokens::new(&Secret::new("api"));
        let users = [user("anna", OLD)];
        let token = tokens.make(&users[0], 1000);
        for at in 0..token.expose().len() {
            let mut changed = token.expose().as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(tokens.read(&Secret::new(changed), &users, 1000).is_none(), "byte {at}");
        }
        for nothing in ["", ".", "..", "a.b.c"] {
            assert!(tokens.read(&Secret::new(nothing), &users, 1000).is_none(), "{nothing}");
        }
    }
}
