//! The account's tokens: one access token for all callers, and a refresh token that works once.
//!
//! A token is refreshed only when the drive says that it is no longer good, never by the clock. The new
//! refresh token is on disk before the new access token is used, because losing it means a new login.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::config::{Options, TokenSource};
use super::error::{LOG_IN, Refusal, refusal};
use super::limits::{Class, Limits};
use super::wire::{Exchange, Failure, Tokens};
use crate::clock::Clock;
use crate::driver::{Calls, Context};
use crate::error::{Error, ErrorKind, Result};
use crate::http::client::{from_reqwest, read_response};
use crate::lease::{Lease, LeaseCell, Life};
use crate::secret::Secret;
use crate::state::Sealer;

/// An access token in use.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) access: Secret,
    /// Whose it is, where it says so.
    pub(super) user: Option<String>,
    life: Life,
}

/// The tokens of one account, and the file they live in.
#[derive(Debug)]
pub(super) struct Vault {
    pub(super) cell: LeaseCell<Token>,
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) api_base: String,
    pub(super) client: reqwest::Client,
    calls: Calls,
    client_id: String,
    client_secret: Option<Secret>,
    clock: Clock,
    file: PathBuf,
    hold: Duration,
    limits: Arc<Limits>,
    sealer: Arc<Sealer>,
    seed: Option<Secret>,
    pub(super) source: TokenSource,
    memory: Mutex<Memory>,
}

/// What is exchanged for tokens.
#[derive(Clone, Copy)]
pub(super) enum Grant<'a> {
    /// The code of a consent.
    Code(&'a str),
    /// A refresh token.
    Refresh(&'a str),
}

/// What this process knows beyond the file.
#[derive(Default)]
struct Memory {
    /// Tokens that could not be written; they are the only copy.
    unsaved: Option<Stored>,
    /// The access token that the drive refused last.
    dead: Option<Secret>,
    /// Refresh tokens that the drive has refused; they are not tried again.
    refused: Vec<Secret>,
    /// How many exchanges have failed in a row, the last error, and when the next may be made.
    failures: u32,
    pause: Option<(Instant, Error)>,
}

/// What lies in the state folder.
#[derive(Clone, Default, Deserialize, Serialize)]
struct Stored {
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    refresh_token: String,
    /// The refresh token before that one, until that one has worked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    previous: String,
}

// === impl Vault ===

impl Vault {
    /// The vault of an account whose state is kept in `file`. Reads nothing yet.
    pub(super) fn new(options: &Options, file: PathBuf, limits: Arc<Limits>, context: &Context) -> Self {
        Self {
            cell: LeaseCell::new(context.tasks.clone()),
            inner: Arc::new(Inner {
                api_base: options.api_base.clone(),
                client: context.client.clone(),
                calls: context.calls.clone(),
                client_id: options.client_id.clone(),
                client_secret: options.client_secret.clone(),
                clock: context.clock.clone(),
                file,
                hold: context.hold,
                limits,
                sealer: Arc::clone(&context.sealer),
                seed: options.refresh_token.clone(),
                source: options.token_source.clone(),
                memory: Mutex::default(),
            }),
        }
    }

    /// The access token: the one in use, else the one on disk, else a new one.
    ///
    /// # Errors
    /// `Unavailable` where no refresh token works; `Upstream` or `Timeout` where the exchange failed.
    pub(super) async fn token(&self) -> Result<Arc<Token>> {
        let inner = Arc::clone(&self.inner);
        self.cell.get_or_fetch(self.inner.clock.now(), async move { inner.obtain().await }).await
    }

    /// Another access token than the one that `failed`. However many callers failed with it, one refresh is made.
    ///
    /// # Errors
    /// As [`Vault::token`].
    pub(super) async fn renew(&self, failed: &Arc<Token>) -> Result<Arc<Token>> {
        // Only for the token in use: a straggler with an older one must not cover up that this one has died since.
        if self.cell.holds(failed, self.inner.clock.now()) {
            // Before it is discarded: whoever fetches next, for whatever reason, must not find it on disk and take it.
            self.inner.memory().dead = Some(failed.access.clone());
            self.cell.discard(failed);
        }
        self.token().await
    }
}

// === impl Inner ===

impl Inner {
    async fn obtain(&self) -> Result<Token> {
        // After a start the token on disk may be good still.
        if let Some(token) = self.usable(&self.load().await?) {
            return Ok(token);
        }
        // One process of all on this state folder refreshes; the others find its token.
        let held = self.lock().await?;
        let stored = self.load().await?;
        if let Some(token) = self.usable(&stored) {
            return Ok(token);
        }
        let seed = self.seed.as_ref().map(Secret::expose).unwrap_or_default();
        let known = [stored.refresh_token.as_str(), &stored.previous, seed];
        let known = known.into_iter().filter(|token| !token.is_empty());
        // The one before may be good still, where a token server answered with one that is not.
        let untried = known.clone().find(|token| !self.is_refused(token));
        let Some(refresh) = untried.or_else(|| known.clone().next()).map(str::to_owned) else {
            return Err(Error::new(ErrorKind::Unavailable, "log in to the drive").saying(
                "nobody has logged in to this drive yet: sluice login MOUNT, or the page at /account/MOUNT",
            ));
        };
        self.may_exchange(&refresh)?;
        // The exchange spends the token, so what follows it must be able to succeed.
        let folder = self.file.parent().map(PathBuf::from).unwrap_or_default();
        tokio::task::spawn_blocking(move || crate::state::probe(&folder))
            .await
            .map_err(state_fault)?
            .map_err(state_fault)?;
        let exchanged = self.exchange(Grant::Refresh(&refresh)).await;
        self.calls.refreshed(exchanged.is_ok());
        let tokens = match exchanged {
            Ok(tokens) => tokens,
            Err(refusal) => {
                let error = self.failed(refusal, &refresh);
                // Boxed, since it comes back here; each time with one token less.
                let is_next = self.is_refused(&refresh) && known.clone().any(|token| !self.is_refused(token));
                return if is_next {
                    drop(held);
                    Box::pin(self.obtain()).await
                } else {
                    Err(error)
                };
            }
        };
        {
            let mut memory = self.memory();
            (memory.failures, memory.pause) = (0, None);
            memory.refused.clear();
        }
        if let (Some(old), Some(new)) = (subject(&refresh), subject(&tokens.refresh_token))
            && old != new
        {
            self.memory().refused.push(Secret::new(refresh));
            return Err(Error::new(ErrorKind::Unavailable, "refresh the token")
                .saying("the token server answered with the token of another account"));
        }
        // A server that does not rotate leaves the old token good.
        let (refresh_token, previous) = match tokens.refresh_token {
            none if none.is_empty() => (refresh, String::new()),
            new => (new, refresh),
        };
        // On disk before first use: from here on the old refresh token is spent.
        self.save(Stored { access_token: tokens.access_token.clone(), refresh_token, previous }).await?;
        tracing::info!("refreshed the access token");
        Ok(self.token(tokens.access_token))
    }

    /// The access token that was kept, unless the drive has refused it.
    fn usable(&self, stored: &Stored) -> Option<Token> {
        let is_dead = self.memory().dead.as_ref().is_some_and(|dead| dead.expose() == stored.access_token);
        (!stored.access_token.is_empty() && !is_dead).then(|| self.token(stored.access_token.clone()))
    }

    fn is_refused(&self, refresh_token: &str) -> bool {
        self.memory().refused.iter().any(|refused| refused.expose() == refresh_token)
    }

    /// Keeps other processes from refreshing, until what is returned is dropped.
    async fn lock(&self) -> Result<std::fs::File> {
        let file = self.file.with_extension("lock");
        let mut pace = tokio::time::interval(LOCK_POLL);
        let deadline = Instant::now() + EXCHANGE_TIMEOUT + self.hold;
        while Instant::now() < deadline {
            pace.tick().await;
            let file = file.clone();
            let locked = tokio::task::spawn_blocking(move || crate::state::try_lock(&file)).await;
            if let Some(lock) = locked.map_err(state_fault)?.map_err(state_fault)? {
                return Ok(lock);
            }
        }
        Err(Error::new(ErrorKind::Timeout, OPERATION)
            .saying("another process on the same state folder does not finish its refresh"))
    }

    fn token(&self, access: String) -> Token {
        Token { user: subject(&access), access: Secret::new(access), life: Life::unlimited(self.clock.now()) }
    }

    /// Whether an exchange makes sense now: not with a token that was refused, nor too soon after a failure, since token
    /// servers count them by the hour.
    fn may_exchange(&self, refresh_token: &str) -> Result<()> {
        let memory = self.memory();
        if memory.refused.iter().any(|refused| refused.expose() == refresh_token) {
            return Err(Error::new(ErrorKind::Unavailable, "log in to the drive").saying(LOG_IN));
        }
        match &memory.pause {
            Some((until, error)) if *until > Instant::now() => {
                Err(error.clone().retry_after(*until - Instant::now()))
            }
            _ => Ok(()),
        }
    }

    /// Remembers that an exchange failed, so that the next is not made at once.
    fn failed(&self, refusal: Refusal, refresh_token: &str) -> Error {
        let mut memory = self.memory();
        let (error, pause) = match refusal {
            Refusal::Final(error) => {
                if error.kind() == ErrorKind::Unavailable {
                    memory.refused.push(Secret::new(refresh_token));
                }
                return error;
            }
            Refusal::Throttled(wait) => {
                let error = Error::new(ErrorKind::RateLimit, OPERATION).retry_after(wait);
                if matches!(self.source, TokenSource::Drive) {
                    return error;
                }
                let words =
                    "the token server allows a few refreshes an hour; wait, or use a client_id of your own";
                (error.saying(words), TOKEN_SERVER_PAUSE)
            }
            // The first failure may be chance; from the second on the pause doubles.
            Refusal::Token(error) | Refusal::Transient(error) => {
                let doubled = Duration::from_secs(1 << memory.failures.min(9));
                (error, if memory.failures == 0 { Duration::ZERO } else { doubled })
            }
        };
        memory.failures += 1;
        memory.pause = Some((Instant::now() + pause, error.clone()));
        error
    }

    /// The drive counts an exchange like any other call; a token server counts by the hour, and only says so.
    pub(super) async fn exchange(&self, grant: Grant<'_>) -> Result<Tokens, Refusal> {
        let deadline = Instant::now() + self.hold;
        loop {
            let is_drive = matches!(self.source, TokenSource::Drive);
            if is_drive {
                let longest = deadline.saturating_duration_since(Instant::now());
                if let Err(error) = self.limits.turn(Class::Other, longest).await {
                    return Err(Refusal::Throttled(error.retry_delay().unwrap_or_default()));
                }
            }
            match self.exchange_once(grant).await {
                Err(Refusal::Throttled(wait)) if is_drive && Instant::now() + wait <= deadline => {
                    self.limits.push_back(Class::Other, wait);
                }
                // Never sent again by itself: the drive may have rotated the token before its answer was lost.
                result => return result,
            }
        }
    }

    async fn exchange_once(&self, grant: Grant<'_>) -> Result<Tokens, Refusal> {
        let (client_id, client_secret) = self.credentials();
        let (grant_type, code, refresh_token) = match grant {
            Grant::Code(code) => ("authorization_code", Some(code), None),
            Grant::Refresh(token) => ("refresh_token", None, Some(token)),
        };
        let exchange = Exchange { client_id, client_secret, grant_type, code, refresh_token };
        let request = match (&self.source, grant) {
            (TokenSource::Drive, _) => {
                self.client.post(format!("{}/oauth/access_token", self.api_base)).json(&exchange)
            }
            (TokenSource::AlistServer(base), _) => {
                self.client.post(format!("{base}/alist/ali_open/token")).json(&exchange)
            }
            // This dialect has the token in the query; there is no other form of it.
            (TokenSource::OpenListServer(base), Grant::Refresh(token)) => self
                .client
                .get(format!("{base}/alicloud/renewapi"))
                .query(&[("refresh_ui", token), ("server_use", "true"), ("driver_txt", "alicloud_qr")]),
            (TokenSource::OpenListServer(_), Grant::Code(_)) => {
                return Err(Refusal::Final(super::login::at_the_servers_page()));
            }
        };
        let response = request
            .timeout(EXCHANGE_TIMEOUT)
            .send()
            .await
            .map_err(|error| Refusal::Transient(from_reqwest(error, OPERATION)))?;
        let status = response.status();
        let retry_after = response.headers().get("x-retry-after").cloned();
        let body = read_response(response, TOKEN_BODY, OPERATION).await.map_err(Refusal::Transient)?;
        if status.is_success()
            && let Ok(tokens) = serde_json::from_slice::<Tokens>(&body)
            && !tokens.access_token.is_empty()
        {
            return Ok(tokens);
        }
        let code = serde_json::from_slice::<Failure>(&body).map(|failure| failure.code).unwrap_or_default();
        let retry_after = retry_after.as_ref().and_then(|value| value.to_str().ok());
        Err(refusal(OPERATION, status, &code, retry_after))
    }

    /// What the app shows of itself; a token server has credentials of its own.
    pub(super) fn credentials(&self) -> (&str, &str) {
        match &self.source {
            TokenSource::Drive => (&self.client_id, self.client_secret.as_ref().map_or("", Secret::expose)),
            TokenSource::AlistServer(_) | TokenSource::OpenListServer(_) => ("", ""),
        }
    }

    /// Keeps the tokens of a new login in place of whatever there was.
    pub(super) async fn keep(&self, tokens: Tokens) -> Result<()> {
        // A refresh that is under way elsewhere must not write over it.
        let _held = self.lock().await?;
        let Tokens { access_token, refresh_token } = tokens;
        *self.memory() = Memory::default();
        self.save(Stored { access_token, refresh_token, previous: String::new() }).await
    }

    async fn load(&self) -> Result<Stored> {
        let unsaved = self.memory().unsaved.clone();
        if let Some(unsaved) = unsaved {
            self.save(unsaved.clone()).await?;
            return Ok(unsaved);
        }
        let (file, sealer) = (self.file.clone(), Arc::clone(&self.sealer));
        tokio::task::spawn_blocking(move || read_file(&file, &sealer))
            .await
            .map_err(state_fault)?
            .map_err(state_fault)
    }

    /// On disk, or an error and still in memory.
    async fn save(&self, stored: Stored) -> Result<()> {
        self.memory().unsaved = Some(stored.clone());
        let (file, sealer) = (self.file.clone(), Arc::clone(&self.sealer));
        tokio::task::spawn_blocking(move || {
            crate::state::write_durably(&file, &sealer.seal(&name(&file), &serde_json::to_vec(&stored)?)?)
        })
        .await
        .map_err(state_fault)?
        .map_err(state_fault)?;
        self.memory().unsaved = None;
        Ok(())
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("file", &self.file).finish_non_exhaustive()
    }
}

// === impl Token ===

impl Lease for Token {
    fn life(&self) -> Life {
        self.life
    }
}

/// The user a token belongs to: `sub` in the second segment of a JWT.
fn subject(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        sub: String,
    }
    let claims = BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
    serde_json::from_slice::<Claims>(&claims).ok().map(|claims| claims.sub)
}

/// What a file is sealed under.
fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read_file(file: &Path, sealer: &Sealer) -> std::io::Result<Stored> {
    match std::fs::read(file) {
        Ok(bytes) => {
            let plain = sealer.open(&name(file), &bytes)?;
            // The parser's message could quote a token.
            serde_json::from_slice(&plain)
                .map_err(|_| std::io::Error::other(format!("{} is damaged", file.display())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Stored::default()),
        Err(error) => Err(error),
    }
}

fn state_fault(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "keep the token in the state folder").caused_by(error)
}

const OPERATION: &str = "refresh the token";
/// How often to look whether another process has finished; chosen: an exchange takes some 100 ms.
const LOCK_POLL: Duration = Duration::from_millis(25);
/// Longer than for other calls: giving up on an answer can lose the login.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);
/// Against the usual ten exchanges an hour.
const TOKEN_SERVER_PAUSE: Duration = Duration::from_secs(360);
/// A token answer has two JWTs of some hundred bytes.
const TOKEN_BODY: usize = 64 * 1024;
