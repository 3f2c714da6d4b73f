//! Logins by QR code and by browser: sessions, their script, and the single-use codes they end in (fact sheet §1.1–1.3).

use std::collections::HashMap;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::secret::random_hex;

/// PKCE as the session was opened with: the challenge, and whether it is hashed.
#[derive(Clone, Debug)]
pub(crate) struct Challenge {
    pub(crate) text: String,
    pub(crate) hashed: bool,
}

impl Challenge {
    pub(crate) fn met_by(&self, verifier: &str) -> bool {
        if self.hashed {
            BASE64URL_NOPAD.encode(&Sha256::digest(verifier.as_bytes())) == self.text
        } else {
            verifier == self.text
        }
    }
}

/// Sessions and codes.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    sessions: HashMap<String, Session>,
    codes: HashMap<String, Code>,
    newest: Option<String>,
}

#[derive(Debug)]
struct Session {
    app: String,
    challenge: Option<Challenge>,
    made_ms: u64,
    polls: u32,
    step: Step,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Approved,
    Scanned,
    Used,
    Waiting,
}

/// A code to exchange for tokens.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) app: String,
    pub(crate) challenge: Option<Challenge>,
    made_ms: u64,
}

/// What a status poll says: the status, and the code once.
pub(crate) type Status = (&'static str, Option<String>);

impl Logins {
    /// Opens a session; its `sid`.
    pub(crate) fn open(&mut self, app: &str, challenge: Option<Challenge>, now_ms: u64) -> String {
        let sid = random_hex(16);
        let session =
            Session { app: app.to_owned(), challenge, made_ms: now_ms, polls: 0, step: Step::Waiting };
        self.sessions.insert(sid.clone(), session);
        self.newest = Some(sid.clone());
        sid
    }

    pub(crate) fn knows(&self, sid: &str) -> bool {
        self.sessions.contains_key(sid)
    }

    /// The user's phone scans the newest code.
    pub(crate) fn scan(&mut self) {
        self.step(Step::Scanned);
    }

    /// The user consents on the newest code.
    pub(crate) fn approve(&mut self) {
        self.step(Step::Approved);
    }

    fn step(&mut self, step: Step) {
        if let Some(session) = self.newest.as_ref().and_then(|sid| self.sessions.get_mut(sid)) {
            session.step = step;
        }
    }

    /// Polls a session; with `approves_after` it scans and consents by itself.
    pub(crate) fn poll(&mut self, sid: &str, approves_after: Option<u32>, now_ms: u64) -> Status {
        let Some(session) = self.sessions.get_mut(sid) else { return ("QRCodeExpired", None) };
        if session.step == Step::Used || now_ms >= session.made_ms + QR_LIFE_MS {
            return ("QRCodeExpired", None);
        }
        session.polls += 1;
        if let Some(after) = approves_after {
            session.step = match session.polls {
                polls if polls > after => Step::Approved,
                polls if polls == after => Step::Scanned,
                _ => session.step.clone(),
            };
        }
        match session.step {
            Step::Approved => {
                session.step = Step::Used;
                let (app, challenge) = (session.app.clone(), session.challenge.clone());
                ("LoginSuccess", Some(self.code(&app, challenge, now_ms)))
            }
            Step::Scanned => ("ScanSuccess", None),
            Step::Used | Step::Waiting => ("WaitLogin", None),
        }
    }

    /// A new code.
    pub(crate) fn code(&mut self, app: &str, challenge: Option<Challenge>, now_ms: u64) -> String {
        let code = random_hex(16);
        self.codes.insert(code.clone(), Code { app: app.to_owned(), challenge, made_ms: now_ms });
        code
    }

    /// Spends a code.
    pub(crate) fn redeem(&mut self, code: &str, now_ms: u64) -> Option<Code> {
        self.codes.remove(code).filter(|code| now_ms < code.made_ms + CODE_LIFE_MS)
    }
}

/// 180 s (§1.1).
const QR_LIFE_MS: u64 = 180_000;
/// 10 minutes (§1.4).
const CODE_LIFE_MS: u64 = 600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_goes_from_waiting_to_success_to_used() {
        let mut logins = Logins::default();
        let sid = logins.open("app", None, 0);
        assert_eq!(logins.poll(&sid, None, 0).0, "WaitLogin");
        logins.scan();
        assert_eq!(logins.poll(&sid, None, 0).0, "ScanSuccess");
        logins.approve();
        let (status, code) = logins.poll(&sid, None, 0);
        assert_eq!(status, "LoginSuccess");
        assert_eq!(logins.poll(&sid, None, 0).0, "QRCodeExpired");
        assert_eq!(logins.redeem(&code.clone().unwrap(), 0).unwrap().app, "app");
        assert!(logins.redeem(&code.unwrap(), 0).is_none());
    }

    #[test]
    fn sessions_and_codes_grow_old() {
        let mut logins = Logins::default();
        let sid = logins.open("app", None, 0);
        assert_eq!(logins.poll(&sid, None, 180_000).0, "QRCodeExpired");
        let code = logins.code("app", None, 0);
        assert!(logins.redeem(&code, 600_000).is_none());
    }

    #[test]
    fn a_verifier_must_match_its_challenge() {
        // RFC 7636, appendix B.
        let text = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned();
        let challenge = Challenge { text, hashed: true };
        assert!(challenge.met_by("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
        assert!(!challenge.met_by("another"));
    }
}
