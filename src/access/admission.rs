//! All that decides who comes in, put together: shared by the gate, which asks it of every request, and by the routes for logging in.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::credentials::Credentials;
use super::devices::Devices;
use super::keys::Keys;
use super::logins::{Logins, Refusal};
use super::passwords::Given;
use super::rules::{Rules, Sight};
use super::tokens::Tokens;
use super::{Settings, User, Visitor};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::http::Place;
use crate::path::VirtualPath;
use crate::secret::Secret;
use crate::sign::Signer;

/// Who may come in. Clones share everything.
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    clock: Clock,
    devices: Devices,
    guest: bool,
    keys: Keys,
    logins: Logins,
    rules: Rules,
    sign_all: bool,
    signer: Signer,
    token: Secret,
    tokens: Tokens,
    users: Vec<Arc<User>>,
}

/// What is seen of a request's credentials without working for it.
#[derive(Debug)]
pub enum Glance {
    /// It is them.
    Known(Visitor),
    /// They show nothing.
    Nobody,
    /// It is no token of ours.
    Wrong,
    /// The password is to be looked at.
    Unsettled {
        /// As it was given.
        name: String,
        /// As it was given.
        password: Secret,
    },
}

// === impl Admission ===

impl Admission {
    /// Admission by these settings; `token` is the API token, and what changes while the server runs lies in `state_dir`.
    ///
    /// # Errors
    /// `Internal` where the system gives no random bytes.
    pub fn new(settings: &Settings, token: Secret, state_dir: &Path, clock: Clock) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            clock,
            devices: Devices::new(state_dir),
            guest: settings.guest,
            keys: Keys::new(state_dir),
            logins: Logins::new()?,
            rules: Rules::new(&settings.rules, &token),
            sign_all: settings.sign_all,
            signer: Signer::new(&token),
            tokens: Tokens::new(&token),
            token,
            users: settings.users.clone(),
        })))
    }

    /// Who shows these credentials, as far as that can be told at once.
    pub fn glance(&self, credentials: Option<Credentials>) -> Glance {
        match credentials {
            None => Glance::Nobody,
            Some(Credentials::Token(token)) => match self.by_token(&token) {
                Some(visitor) => Glance::Known(visitor),
                None => Glance::Wrong,
            },
            Some(Credentials::Password { name, password }) => {
                // A browser asks for a name too; whoever has the token may give any.
                if self.is_api_token(&password) {
                    return Glance::Known(Visitor::Administrator);
                }
                // AList's guest, whose password is that of a part of the tree.
                if name == GUEST && self.0.guest && self.user(&name).is_none() {
                    return Glance::Known(Visitor::Guest);
                }
                if let Some(user) = self.user(&name) {
                    if self.0.devices.know(user, &password) {
                        return Glance::Known(Visitor::Device(Arc::clone(user)));
                    }
                    if self.0.logins.knows(user, &Given::Password(password.clone())) {
                        return Glance::Known(Visitor::User(Arc::clone(user)));
                    }
                }
                Glance::Unsettled { name, password }
            }
        }
    }

    /// Who gives a name and a password. May wait for some seconds; cancel safe.
    ///
    /// # Errors
    /// Why they are not let in.
    pub async fn settle(
        &self,
        name: &str,
        given: Given,
        place: Place,
    ) -> std::result::Result<Arc<User>, Refusal> {
        let user = self.user(name);
        let checked = self.0.logins.check(user, name, given, place).await;
        match (checked, user) {
            (Ok(()), Some(user)) => Ok(Arc::clone(user)),
            (Ok(()), None) => Err(Refusal::Wrong),
            (Err(refusal), user) => {
                // Of a name that is nobody's perhaps nothing may be written: passwords get typed there too.
                let user = user.map(|user| &*user.name);
                tracing::warn!(from = %place, user, ?refusal, "a login was refused");
                Err(refusal)
            }
        }
    }

    /// What to show from now on, where `password` is that of the rule of this number. Waits as a login does.
    ///
    /// # Errors
    /// `Denied` where it was tried too often.
    pub async fn open_lock(&self, number: usize, password: &str, place: Place) -> Result<Option<String>> {
        // No user's name has a line break in it.
        let what = format!("\n{number}");
        self.0.logins.turn(&what, place).await.map_err(|_| {
            Error::new(ErrorKind::Denied, "try a password")
                .saying("wrong passwords too often, try again later")
        })?;
        let proof = self.0.rules.proof_for(number, password);
        if proof.is_none() {
            self.0.logins.wrong(&what, place);
        }
        Ok(proof.map(str::to_owned))
    }

    /// Notes a token that is none of ours.
    pub fn wrong_token(&self, place: Place) -> Refusal {
        self.0.logins.wrong("\ntoken", place)
    }

    /// A token for a user who has just logged in.
    pub fn issue(&self, user: &User) -> Secret {
        self.0.tokens.make(user, self.0.clock.wall().as_secs())
    }

    /// Ends a login's token before its time.
    pub fn end(&self, token: &Secret) {
        self.0.tokens.end(token);
    }

    /// Whether a signature opens a path.
    pub fn is_signed(&self, path: &VirtualPath, sign: &str) -> bool {
        let now = self.0.clock.wall().as_secs();
        self.0.signer.verify(path, sign, now) || self.0.keys.verify(path, sign, now)
    }

    /// Who somebody is who shows nothing, or nothing that is right: a guest where guests are let in, and for media also where they need
    /// no signature.
    pub fn stranger(&self, media: Option<&VirtualPath>) -> Option<Visitor> {
        let is_open = |path| !self.0.sign_all && !self.0.rules.protect(path);
        (self.0.guest || media.is_some_and(is_open)).then_some(Visitor::Guest)
    }

    /// What a visitor may see who shows these proofs.
    pub fn sight<'a>(&self, visitor: Visitor, proofs: impl Iterator<Item = &'a str>) -> Sight {
        self.0.rules.sight(visitor, proofs)
    }

    /// Who can log in.
    pub fn users(&self) -> &[Arc<User>] {
        &self.0.users
    }

    /// Whether who is not logged in may browse and play.
    pub fn lets_guests_in(&self) -> bool {
        self.0.guest
    }

    /// The rules of the tree.
    pub fn rules(&self) -> &Rules {
        &self.0.rules
    }

    fn by_token(&self, token: &Secret) -> Option<Visitor> {
        if self.is_api_token(token) {
            return Some(Visitor::Administrator);
        }
        let user = self.0.tokens.read(token, &self.0.users, self.0.clock.wall().as_secs())?;
        Some(Visitor::User(user))
    }

    fn is_api_token(&self, given: &Secret) -> bool {
        bool::from(given.expose().as_bytes().ct_eq(self.0.token.expose().as_bytes()))
    }

    fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.0.users.iter().find(|user| *user.name == *name)
    }
}

/// By which a guest can log in where a password is asked for.
const GUEST: &str = "guest";

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admission({} users)", self.0.users.len())
    }
}
