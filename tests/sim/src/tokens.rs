//! Access and refresh tokens: their shapes, lifetimes, rotation and revocation (fact sheet §1.4, §9.1–4).

use std::collections::HashMap;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::secret::{Key, random_hex};

/// An application known to the drive.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl App {
    pub(crate) fn random() -> Self {
        Self { id: random_hex(16), secret: random_hex(16) }
    }
}

/// Every token given out.
pub(crate) struct Tokens {
    key: Key,
    /// Counts access tokens; their `jti` opens with it.
    serial: u64,
    expired_to: u64,
    revoked_to: u64,
    /// Refresh tokens not yet spent.
    refresh: HashMap<String, Refresh>,
    /// The newest refresh token by application.
    newest: HashMap<String, String>,
}

struct Refresh {
    app: String,
    expires_s: u64,
}

/// What an exchange gives.
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
    pub(crate) expires_in: u64,
}

impl Pair {
    /// The answer of `/oauth/access_token`.
    pub(crate) fn json(&self) -> Value {
        let mut answer =
            json!({"token_type": "Bearer", "access_token": self.access, "expires_in": self.expires_in});
        if let Some(refresh) = &self.refresh {
            answer["refresh_token"] = json!(refresh);
        }
        answer
    }
}

/// Why an access token is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BadAccess {
    Expired,
    Invalid,
}

/// Why a refresh token is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BadRefresh {
    Expired,
    ForeignApp,
    Invalid,
}

impl Tokens {
    pub(crate) fn new() -> Self {
        Self {
            key: Key::random(),
            serial: 0,
            expired_to: 0,
            revoked_to: 0,
            refresh: HashMap::new(),
            newest: HashMap::new(),
        }
    }

    /// A new pair for `app` and the user `sub`; without a secret (PKCE) 30 days and no refresh token.
    pub(crate) fn issue(&mut self, app: &str, sub: &str, drives: &str, pkce: bool, now_s: u64) -> Pair {
        let life_s = if pkce { PKCE_LIFE_S } else { ACCESS_LIFE_S };
        self.serial += 1;
        let access = self.jwt(
            &json!({"kid": "KU", "typ": "JWT", "alg": "HS256"}),
            &json!({"sub": sub, "aud": app, "s": "cda", "d": drives, "iss": "alipan", "exp": now_s + life_s,
                "iat": now_s, "jti": format!("{:016x}{}", self.serial, random_hex(8))}),
            32,
        );
        if pkce {
            return Pair { access, refresh: None, expires_in: life_s };
        }
        let expires_s = now_s + REFRESH_LIFE_S;
        let refresh = self.jwt(
            &json!({"typ": "JWT", "alg": "RS256"}),
            &json!({"sub": sub, "aud": app, "exp": expires_s, "iat": now_s, "jti": random_hex(16)}),
            256,
        );
        self.refresh.insert(refresh.clone(), Refresh { app: app.to_owned(), expires_s });
        self.newest.insert(app.to_owned(), refresh.clone());
        Pair { access, refresh: Some(refresh), expires_in: life_s }
    }

    /// Spends a refresh token: it never works again.
    pub(crate) fn spend(&mut self, token: &str, app: &str, now_s: u64) -> Result<(), BadRefresh> {
        let found = self.refresh.get(token).ok_or(BadRefresh::Invalid)?;
        if found.app != app {
            return Err(BadRefresh::ForeignApp);
        }
        if now_s >= found.expires_s {
            return Err(BadRefresh::Expired);
        }
        self.refresh.remove(token);
        Ok(())
    }

    /// The newest refresh token of an application.
    pub(crate) fn newest(&self, app: &str) -> String {
        self.newest.get(app).cloned().unwrap_or_default()
    }

    /// The application an access token was given to.
    pub(crate) fn app_of(&self, access: &str, now_s: u64) -> Result<String, BadAccess> {
        let (signed, signature) = access.rsplit_once('.').ok_or(BadAccess::Invalid)?;
        if signature != self.signature(signed, 32) {
            return Err(BadAccess::Invalid);
        }
        let payload = payload(access).ok_or(BadAccess::Invalid)?;
        let serial = payload["jti"].as_str().and_then(|jti| u64::from_str_radix(jti.get(..16)?, 16).ok());
        let serial = serial.ok_or(BadAccess::Invalid)?;
        if serial <= self.revoked_to {
            return Err(BadAccess::Invalid);
        }
        if serial <= self.expired_to || payload["exp"].as_u64().is_none_or(|exp| now_s >= exp) {
            return Err(BadAccess::Expired);
        }
        payload["aud"].as_str().map(str::to_owned).ok_or(BadAccess::Invalid)
    }

    /// All access tokens so far are past their expiry.
    pub(crate) fn expire_access(&mut self) {
        self.expired_to = self.serial;
    }

    /// All access tokens so far are invalid.
    pub(crate) fn revoke_access(&mut self) {
        self.revoked_to = self.serial;
    }

    fn jwt(&self, header: &Value, payload: &Value, signature_bytes: usize) -> String {
        let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = self.signature(&signed, signature_bytes);
        format!("{signed}.{signature}")
    }

    /// A keyed hash stretched to the length the named algorithm has.
    fn signature(&self, signed: &str, bytes: usize) -> String {
        let blocks = (0..bytes / 32).flat_map(|n| match n {
            0 => self.key.sign(&[signed]),
            n => self.key.sign(&[signed, &n.to_string()]),
        });
        BASE64URL_NOPAD.encode(&blocks.collect::<Vec<_>>())
    }
}

/// The payload of a JWT, unverified.
fn payload(jwt: &str) -> Option<Value> {
    let encoded = jwt.split('.').nth(1)?;
    serde_json::from_slice(&BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?).ok()
}

/// 2 h (§1.4).
pub(crate) const ACCESS_LIFE_S: u64 = 7200;
/// 30 days (§1.4).
const PKCE_LIFE_S: u64 = 30 * 86_400;
/// 90 days (§1.4).
pub(crate) const REFRESH_LIFE_S: u64 = 7_776_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_works_once_and_for_its_app() {
        let mut tokens = Tokens::new();
        let refresh = tokens.issue("app", "user", "1,2", false, 1000).refresh.unwrap();
        assert_eq!(tokens.spend(&refresh, "other", 1000), Err(BadRefresh::ForeignApp));
        assert_eq!(tokens.spend(&refresh, "app", 1000), Ok(()));
        assert_eq!(tokens.spend(&refresh, "app", 1000), Err(BadRefresh::Invalid));
        let refresh = tokens.issue("app", "user", "1,2", false, 1000).refresh.unwrap();
        assert_eq!(tokens.spend(&refresh, "app", 1000 + REFRESH_LIFE_S), Err(BadRefresh::Expired));
    }

    #[test]
    fn access_tokens_end_by_time_expiry_and_revocation() {
        let mut tokens = Tokens::new();
        let access = tokens.issue("app", "user", "1,2", false, 1000).access;
        assert_eq!(tokens.app_of(&access, 1000 + ACCESS_LIFE_S - 1), Ok("app".to_owned()));
        assert_eq!(tokens.app_of(&access, 1000 + ACCESS_LIFE_S), Err(BadAccess::Expired));
        assert_eq!(tokens.app_of(&format!("{access}x"), 1000), Err(BadAccess::Invalid));
        tokens.expire_access();
        assert_eq!(tokens.app_of(&access, 1000), Err(BadAccess::Expired));
        let later = tokens.issue("app", "user", "1,2", false, 1000).access;
        assert!(tokens.app_of(&later, 1000).is_ok());
        tokens.revoke_access();
        assert_eq!(tokens.app_of(&later, 1000), Err(BadAccess::Invalid));
    }

    #[test]
    fn tokens_are_three_segments_with_the_claims_of_the_sheet() {
        let mut tokens = Tokens::new();
        let pair = tokens.issue("app", "user", "1,2", false, 1000);
        let (access, refresh) = (payload(&pair.access).unwrap(), payload(&pair.refresh.unwrap()).unwrap());
        assert_eq!(access["exp"], 1000 + ACCESS_LIFE_S);
        assert_eq!((&access["iss"], &access["d"]), (&json!("alipan"), &json!("1,2")));
        assert_eq!((&refresh["sub"], &refresh["exp"]), (&json!("user"), &json!(1000 + REFRESH_LIFE_S)));
        assert_eq!(pair.access.split('.').count(), 3);
    }
}
