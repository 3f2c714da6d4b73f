//! Whether a name and a password belong together: how soon to look, and what was found the last time.
//!
//! A hash costs 50 ms of a processor and some MiB, so one is computed at a time. What was found right is remembered as a keyed
//! hash (in this process alone), and from then on the right password passes at once and every other is known to be wrong without
//! looking: an attack on somebody who watches costs next to nothing. What was found wrong is remembered for a while too. Where nothing
//! is remembered yet, guessing is slowed by address and name, and by name alone when it comes from many addresses; who has logged in
//! from an address before is never slowed there. So one who guesses in a household, or behind the same reverse proxy, shuts out nobody
//! else.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use moka::sync::Cache;
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::passwords::Given;
use super::{PasswordHash, User};
use crate::error::{Error, ErrorKind, Result};
use crate::http::Place;

/// Checks passwords.
pub struct Logins {
    key: Hmac<Sha256>,
    /// What was found right, by name, and whether it was the static hash.
    remembered: Cache<(Arc<str>, bool), [u8; 32]>,
    /// What was found wrong.
    refused: Cache<[u8; 32], ()>,
    /// Where a name has logged in from.
    at_home: Cache<(Place, Arc<str>), ()>,
    /// Wrong ones lately.
    failures: Cache<FailuresKey, Arc<Mutex<Failures>>>,
    hashing: Arc<Semaphore>,
    names: RandomState,
    /// Is checked in place of a user whom there is not, so that both take as long.
    nobody: PasswordHash,
}

/// By place and name, or by name alone.
type FailuresKey = (Option<Place>, u64);
/// How many are free, and how far apart the next ones are.
type Limit = (u32, Duration);

/// Wrong passwords for one name.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    /// When the next one may be tried.
    turn: Option<Instant>,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// Too many others are waiting.
    Busy,
    /// Name and password do not belong together; so often lately that the next ones will have to wait.
    TooOften(Duration),
    /// Name and password do not belong together.
    Wrong,
}

/// What is known without looking.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Recalled {
    Right,
    Unknown,
    Wrong,
}

// === impl Logins ===

impl Logins {
    /// A checker that remembers nothing yet.
    ///
    /// # Errors
    /// `Internal` where the system gives no random bytes.
    pub fn new() -> Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)
            .map_err(|error| Error::new(ErrorKind::Internal, "draw random bytes").with("reason", error))?;
        let nobody = PasswordHash::parse(NOBODY)
            .map_err(|reason| Error::new(ErrorKind::Internal, "read a hash").with("reason", reason))?;
        Ok(Self {
            key: Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"),
            remembered: Cache::builder().max_capacity(MOST_NAMES).time_to_idle(REMEMBERED).build(),
            refused: Cache::builder().max_capacity(MOST_PLACES).time_to_live(FORGIVEN).build(),
            at_home: Cache::builder().max_capacity(MOST_PLACES).time_to_idle(AT_HOME).build(),
            failures: Cache::builder().max_capacity(MOST_PLACES).time_to_idle(FORGIVEN).build(),
            hashing: Arc::new(Semaphore::new(1)),
            names: RandomState::new(),
            nobody,
        })
    }

    /// Whether it can be told at once that they belong together.
    pub fn knows(&self, user: &User, given: &Given) -> bool {
        self.recall(Some(user), &user.name, given) == Recalled::Right
    }

    /// Whether the password is that of the user; `user` is none where there is nobody of this name. Waits for its turn, for at most
    /// some seconds. Cancel safe: what is being hashed is let finish, and then forgotten.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(
        &self,
        user: Option<&Arc<User>>,
        name: &str,
        given: Given,
        place: Place,
    ) -> std::result::Result<(), Refusal> {
        let fail = || self.wrong(name, place);
        let user_ref = user.map(|user| &**user);
        let recall = || self.recall(user_ref, name, &given);
        match recall() {
            Recalled::Right => return Ok(()),
            Recalled::Wrong => return Err(fail()),
            Recalled::Unknown => {}
        }
        if !user.is_some_and(|user| self.at_home.contains_key(&(place, Arc::clone(&user.name)))) {
            self.turn(name, place).await?;
        }
        let permit = tokio::time::timeout(QUEUED, Arc::clone(&self.hashing).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(Refusal::Busy) };
        // Others may have waited for the same.
        match recall() {
            Recalled::Right => return Ok(()),
            Recalled::Wrong => return Err(fail()),
            Recalled::Unknown => {}
        }
        let hash = user.map_or(&self.nobody, |user| &user.hash).clone();
        let asked = given.clone();
        // The permit goes along: whoever leaves meanwhile must not make room for a second one. And it comes back, so that whoever waits for
        // the same finds what was found.
        let hashed = tokio::task::spawn_blocking(move || (hash.fits(&asked), permit)).await;
        let (fits, _permit) = hashed.map_or((false, None), |(fits, permit)| (fits, Some(permit)));
        match user.filter(|_| fits) {
            Some(user) => {
                self.remembered.insert(slot(user, &given), self.mac(user_ref, name, &given));
                self.at_home.insert((place, Arc::clone(&user.name)), ());
                self.failures.invalidate(&(Some(place), self.names.hash_one(name)));
                Ok(())
            }
            None => {
                self.refused.insert(self.mac(user_ref, name, &given), ());
                Err(fail())
            }
        }
    }

    /// Waits until a guess may be made from a place at what is called so.
    ///
    /// # Errors
    /// `TooOften` where that would take too long.
    pub async fn turn(&self, name: &str, place: Place) -> std::result::Result<(), Refusal> {
        let mut turn = None;
        for (key, limit) in self.limits(name, place) {
            turn = turn.max(self.next(key, limit).map_err(Refusal::TooOften)?);
        }
        if let Some(turn) = turn {
            tokio::time::sleep_until(turn).await;
        }
        Ok(())
    }

    /// Notes a wrong guess.
    pub fn wrong(&self, name: &str, place: Place) -> Refusal {
        let waits = self.limits(name, place).map(|(key, limit)| self.note(key, limit));
        match waits.into_iter().flatten().max() {
            None => Refusal::Wrong,
            Some(wait) => Refusal::TooOften(wait),
        }
    }

    fn limits(&self, name: &str, place: Place) -> [(FailuresKey, Limit); 2] {
        let who = self.names.hash_one(name);
        [((Some(place), who), (FREE, PACE)), ((None, who), (FREE_EVERYWHERE, PACE_EVERYWHERE))]
    }

    fn recall(&self, user: Option<&User>, name: &str, given: &Given) -> Recalled {
        let mac = self.mac(user, name, given);
        match user.and_then(|user| self.remembered.get(&slot(user, given))) {
            // Of MACs with a secret key a difference in time says nothing of the password.
            Some(right) if right == mac => Recalled::Right,
            Some(_) => Recalled::Wrong,
            None if self.refused.contains_key(&mac) => Recalled::Wrong,
            None => Recalled::Unknown,
        }
    }

    fn mac(&self, user: Option<&User>, name: &str, given: &Given) -> [u8; 32] {
        let (kind, secret) = match given {
            Given::Password(secret) => (b'p', secret),
            Given::Static(secret) => (b's', secret),
        };
        let mut mac = self.key.clone();
        // Nobody's hash is of no user's; and no name has a NUL in it that a password could begin with.
        mac.update(user.map_or(&[0; 32], |user| user.hash.fingerprint()));
        mac.update(name.as_bytes());
        mac.update(&[0, kind]);
        mac.update(secret.expose().as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// When the next attempt may be made; none for at once.
    fn next(&self, key: FailuresKey, (free, pace): Limit) -> std::result::Result<Option<Instant>, Duration> {
        let Some(failures) = self.failures.get(&key) else { return Ok(None) };
        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.count < free {
            return Ok(None);
        }
        let now = Instant::now();
        let turn = failures.turn.map_or(now, |turn| turn.max(now));
        if turn > now + PATIENCE {
            return Err(turn - now);
        }
        failures.turn = Some(turn + pace);
        Ok(Some(turn))
    }

    /// Notes a wrong password; says how long the next one should wait, where it should.
    fn note(&self, key: FailuresKey, (free, pace): Limit) -> Option<Duration> {
        let failures = self.failures.get_with(key, Arc::default);
        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.count = failures.count.saturating_add(1);
        (failures.count >= free).then_some(pace)
    }
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Logins(…)")
    }
}

fn slot(user: &User, given: &Given) -> (Arc<str>, bool) {
    (Arc::clone(&user.name), matches!(given, Given::Static(_)))
}

/// Of random bytes that nobody kept, with the costs of those that we make.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$6l95Ta3ALUHbQvqEoVoc+A$S7+W0hcJsR6pp1UF6607BL+EqckBhe36KMXRdnnrrsM";
/// How long a right password is remembered after it was last shown; chosen: from one evening to the next.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// How long somebody is at home where they logged in last; chosen.
const AT_HOME: Duration = Duration::from_secs(30 * 24 * 3600);
/// After how long without another one wrong passwords are forgotten; chosen.
const FORGIVEN: Duration = Duration::from_secs(10 * 60);
/// Wrong passwords for a name from one place before the next ones wait, and how far apart they are then; chosen: nobody mistypes as
/// often; and some guesses a second find no password that is not a common one, while she who logs in for the first time in the middle of
/// them still has her turn within seconds.
const FREE: u32 = 10;
const PACE: Duration = Duration::from_millis(125);
/// The same from everywhere; chosen: ten places at their free ones.
const FREE_EVERYWHERE: u32 = 100;
const PACE_EVERYWHERE: Duration = Duration::from_millis(125);
/// How long an attempt waits for its turn before it is refused; chosen: what a person accepts.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it then waits for those who are being hashed.
const QUEUED: Duration = Duration::from_secs(5);
const MOST_NAMES: u64 = 10_000;
/// Some 100 bytes each.
const MOST_PLACES: u64 = 50_000;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::access::Permissions;
    use crate::path::VirtualPath;
    use crate::secret::Secret;

    /// Of `secret`.
    const HASH: &str =
        "$argon2id$v=19$m=8,t=1,p=1$ylQCvdga7pGQLZiv8M0LlA$a/UPej0sBb3alukV4r/SGHNmqtjhGL1fT+WQZlVt4M0";

    fn user(name: &str) -> Arc<User> {
        let hash = PasswordHash::parse(HASH).unwrap();
        Arc::new(User { name: name.into(), hash, root: VirtualPath::root(), may: Permissions::default() })
    }

    fn place(number: u32) -> Place {
        Place::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    fn given(password: &str) -> Given {
        Given::Password(Secret::new(password))
    }

    async fn ask(
        logins: &Logins,
        user: &Arc<User>,
        password: &str,
        at: u32,
    ) -> std::result::Result<(), Refusal> {
        logins.check(Some(user), &user.name, given(password), place(at)).await
    }

    #[tokio::test]
    async fn the_right_password_is_hashed_once_and_wrong_ones_then_never() {
        let (logins, anna) = (Logins::new().unwrap(), user("anna"));
        assert!(!logins.knows(&anna, &given("secret")));
        ask(&logins, &anna, "secret", 1).await.unwrap();
        assert!(logins.knows(&anna, &given("secret")));
        // With nobody to hash, only what is remembered can be told.
        logins.hashing.close();
        for _ in 0..10_000 {
            assert!(ask(&logins, &anna, "guess", 1).await.is_err());
        }
        assert!(matches!(ask(&logins, &anna, "guess", 1).await, Err(Refusal::TooOften(_))));
        ask(&logins, &anna, "secret", 1).await.unwrap();
        ask(&logins, &anna, "secret", 2).await.unwrap();
        assert_eq!(ask(&logins, &user("bob"), "secret", 2).await, Err(Refusal::Busy));
    }

    #[tokio::test(start_paused = true)]
    async fn guessing_is_slowed_and_shuts_out_nobody_else() {
        let (logins, anna, bob) = (Logins::new().unwrap(), user("anna"), user("bob"));
        for guess in 0..FREE - 1 {
            assert_eq!(ask(&logins, &anna, &format!("guess {guess}"), 1).await, Err(Refusal::Wrong));
        }
        let started = Instant::now();
        for guess in 0..60 {
            let answer = ask(&logins, &anna, &format!("another guess {guess}"), 1).await;
            assert!(matches!(answer, Err(Refusal::TooOften(_))));
        }
        assert!(started.elapsed() >= 58 * PACE, "{:?}", started.elapsed());
        // Others behind the same address, and she herself from elsewhere, are let in at once.
        let started = Instant::now();
        ask(&logins, &bob, "secret", 1).await.unwrap();
        ask(&logins, &anna, "secret", 2).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
        ask(&logins, &anna, "secret", 1).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn guessing_from_many_places_is_slowed_and_who_is_at_home_is_not() {
        let (logins, anna) = (Logins::new().unwrap(), user("anna"));
        ask(&logins, &anna, "secret", 7).await.unwrap();
        // As after a day.
        logins.remembered.invalidate_all();
        let started = Instant::now();
        for at in 100..400 {
            assert!(ask(&logins, &anna, &format!("guess {at}"), at).await.is_err());
        }
        assert!(started.elapsed() >= 198 * PACE_EVERYWHERE, "{:?}", started.elapsed());
        let started = Instant::now();
        ask(&logins, &anna, "secret", 7).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_wait_for_the_turn_is_refused_unheard() {
        let (logins, anna) = (Logins::new().unwrap(), user("anna"));
        for guess in 0..FREE {
            assert!(ask(&logins, &anna, &format!("guess {guess}"), 1).await.is_err());
        }
        let guesses: Vec<_> = (100..200).map(|guess| format!("guess {guess}")).collect();
        let all = futures_util::future::join_all(guesses.iter().map(|guess| ask(&logins, &anna, guess, 1)));
        let unheard = |answer: &&_| matches!(answer, Err(Refusal::TooOften(wait)) if *wait > PATIENCE);
        let turns = (PATIENCE.as_millis() / PACE.as_millis()) as usize;
        assert_eq!(all.await.iter().filter(unheard).count(), 100 - 1 - turns);
        // What was found wrong takes no turn any more, and she has hers.
        let before = Instant::now();
        assert!(ask(&logins, &anna, "guess 100", 1).await.is_err());
        assert_eq!(before.elapsed(), Duration::ZERO);
        ask(&logins, &anna, "secret", 1).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_apart_from_somebody() {
        let logins = Logins::new().unwrap();
        for _ in 0..FREE - 1 {
            assert_eq!(logins.check(None, "eve", given("guess"), place(1)).await, Err(Refusal::Wrong));
        }
        assert!(matches!(
            logins.check(None, "eve", given("guess"), place(1)).await,
            Err(Refusal::TooOften(_))
        ));
    }
}
