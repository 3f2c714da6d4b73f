//! The drive's API: one method an endpoint, and the loop that every call goes through.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::auth::{Token, Vault};
use super::config::Options;
use super::error::{Refusal, refusal};
use super::known::Known;
use super::limits::{Class, Limits};
use super::wire;
use crate::clock::Clock;
use crate::driver::{Calls, Context, Show};
use crate::error::{Error, ErrorKind, Result};
use crate::http::client::{API_TIMEOUT, from_reqwest, read_response};
use crate::lease::{Lease, Life};

/// One account of the drive: its tokens, its paces and its drives. Shared by all mounts of the account.
#[derive(Debug)]
pub(super) struct Account {
    api_base: String,
    calls: Calls,
    client: reqwest::Client,
    pub(super) clock: Clock,
    drives_file: PathBuf,
    hold: Duration,
    known: Mutex<Arc<Known>>,
    pub(super) limits: Arc<Limits>,
    tasks: TaskTracker,
    vault: Vault,
}

/// The account's drives. They change only with a new login, so no clock ends this.
#[derive(Debug)]
pub(super) struct Drives {
    pub(super) info: wire::DriveInfo,
    life: Life,
}

/// An answer, with the drive's own time where it gave it.
pub(super) struct Answer<T> {
    pub(super) body: T,
    /// The `Date` header, since the Unix epoch: expiry stamps are compared with the clock that made them.
    pub(super) date: Option<Duration>,
}

// === impl Account ===

impl Account {
    /// An account whose state lies at `file` (without extension). Reads nothing yet.
    pub(super) fn new(options: &Options, file: &std::path::Path, context: &Context) -> Self {
        let limits = Arc::new(Limits::new(options.rates, context.calls.clone(), Instant::now()));
        Self {
            api_base: options.api_base.clone(),
            client: context.client.clone(),
            calls: context.calls.clone(),
            clock: context.clock.clone(),
            drives_file: file.with_extension("drives.json"),
            hold: context.hold,
            known: Mutex::new(Arc::new(Known::new(&context.tasks))),
            tasks: context.tasks.clone(),
            vault: Vault::new(options, file.with_extension("json"), Arc::clone(&limits), context),
            limits,
        }
    }

    /// Makes sure that there is an access token.
    pub(super) async fn authorize(&self) -> Result<()> {
        self.vault.token().await.map(drop)
    }

    /// Logs in anew. What was known of the account before is forgotten: it may be another.
    pub(super) async fn log_in(self: &Arc<Self>, show: Show) -> Result<()> {
        let code = self.vault.consent(show).await?;
        // The code works once, and what follows belongs together: it goes on whoever gives up waiting for it.
        let account = Arc::clone(self);
        let entered = self.tasks.spawn(async move { account.enter(&code).await }).await;
        entered.unwrap_or_else(|panic| Err(Error::new(ErrorKind::Internal, "log in").caused_by(panic)))
    }

    async fn enter(&self, code: &str) -> Result<()> {
        self.vault.enter(code).await?;
        let forgotten = std::fs::remove_file(&self.drives_file);
        *self.present() = Arc::new(Known::new(&self.tasks));
        match forgotten {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::Internal, "forget the former login").caused_by(error))
            }
            _ => Ok(()),
        }
    }

    /// What is known of the account behind the present login.
    pub(super) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.present())
    }

    /// What is known of the account that a token belongs to: another process may have logged in to another one.
    fn known_behind(&self, token: &Token) -> Arc<Known> {
        let mut present = self.present();
        if !present.is_of(&token.user) {
            tracing::info!("the login is another account's now");
            *present = Arc::new(Known::new(&self.tasks));
        }
        Arc::clone(&present)
    }

    fn present(&self) -> MutexGuard<'_, Arc<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account's drives, from disk or from `getDriveInfo`.
    pub(super) async fn drives(self: &Arc<Self>) -> Result<Arc<Drives>> {
        let (account, known) = (Arc::clone(self), self.known());
        let asking = Arc::clone(&known);
        let fetch = async move {
            let life = Life::unlimited(account.clock.now());
            let file = account.drives_file.clone();
            let kept = tokio::task::spawn_blocking(move || std::fs::read(file)).await;
            if let Ok(Ok(bytes)) = kept
                && let Ok(info) = serde_json::from_slice::<wire::DriveInfo>(&bytes)
                && !info.is_empty()
            {
                return Ok(Drives { info, life });
            }
            let info: wire::DriveInfo = account
                .call(
                    Class::Other,
                    "ask for the drives",
                    "/adrive/v1.0/user/getDriveInfo",
                    &serde_json::json!({}),
                )
                .await?
                .body;
            if info.is_empty() {
                return Err(Error::new(ErrorKind::Upstream, "ask for the drives")
                    .saying("the drive's answer makes no sense"));
            }
            if !Arc::ptr_eq(&asking, &account.known()) {
                // Somebody has logged in meanwhile: these may be another's.
                return Ok(Drives { info, life });
            }
            let file = account.drives_file.clone();
            let text = serde_json::to_vec(&info).unwrap_or_default();
            // Only a saving of one call; losing it loses nothing.
            let written =
                tokio::task::spawn_blocking(move || crate::state::write_durably(&file, &text)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "the drives could not be kept in the state folder");
            }
            Ok(Drives { info, life })
        };
        known.drives.get_or_fetch(self.clock.now(), fetch).await
    }

    pub(super) async fn list(&self, request: &wire::ListRequest<'_>) -> Result<wire::Page> {
        Ok(self.call(Class::List, "list a folder", "/adrive/v1.0/openFile/list", request).await?.body)
    }

    pub(super) async fn get_by_path(&self, request: &wire::PathRequest<'_>) -> Result<wire::File> {
        Ok(self.call(Class::Other, "find a path", "/adrive/v1.0/openFile/get_by_path", request).await?.body)
    }

    pub(super) async fn download_url(
        &self,
        request: &wire::LinkRequest<'_>,
    ) -> Result<Answer<wire::DownloadUrl>> {
        self.call(Class::Link, "get a link", "/adrive/v1.0/openFile/getDownloadUrl", request).await
    }

    pub(super) async fn preview(
        &self,
        request: &wire::PreviewRequest<'_>,
    ) -> Result<Answer<wire::PreviewAnswer>> {
        self.call(Class::Other, "open a preview", "/adrive/v1.0/openFile/getVideoPreviewPlayInfo", request)
            .await
    }

    /// One call: waits for its turn, and asks again after a token's end, a throttle or a passing fault, as long as
    /// that fits into `hold`.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        class: Class,
        operation: &'static str,
        path: &'static str,
        body: &(impl Serialize + Sync),
    ) -> Result<Answer<T>> {
        let deadline = Instant::now() + self.hold;
        let mut token = self.vault.token().await?;
        let mut renewed = false;
        let mut faults = 0;
        loop {
            self.limits.turn(class, deadline.saturating_duration_since(Instant::now())).await?;
            let sent = self
                .client
                .post(format!("{}{path}", self.api_base))
                .bearer_auth(token.access.expose())
                .timeout(deadline.saturating_duration_since(Instant::now()).min(self.patience(faults)))
                .json(body)
                .send()
                .await;
            let answer = self.read(sent, operation).await;
            let known = self.known_behind(&token);
            let result = match &answer {
                Ok(_) => "ok",
                Err(Refusal::Final(_)) => "refused",
                Err(Refusal::Throttled(_)) => "throttled",
                Err(Refusal::Token(_)) => "token",
                Err(Refusal::Transient(_)) => "failed",
            };
            let endpoint = path.rsplit('/').next().unwrap_or(path);
            self.calls.called(super::NAME, endpoint, result);
            let refused = match answer {
                Ok(answer) => {
                    known.served(endpoint);
                    return Ok(answer);
                }
                Err(refused) => refused,
            };
            match refused {
                Refusal::Token(_) if !renewed => {
                    renewed = true;
                    token = self.vault.renew(&token).await?;
                }
                Refusal::Throttled(wait) => {
                    tracing::warn!(wait_ms = wait.as_millis(), call = path, "the drive asks to slow down");
                    self.limits.push_back(class, wait);
                    if Instant::now() + wait > deadline {
                        return Err(Error::new(ErrorKind::RateLimit, operation).retry_after(wait));
                    }
                }
                Refusal::Transient(error) => {
                    faults += 1;
                    if faults == MOST_FAULTS || Instant::now() >= deadline {
                        return Err(error);
                    }
                    tracing::debug!(%error, "asking the drive again");
                }
                Refusal::Token(error) | Refusal::Final(error) => {
                    known.refused(endpoint, operation, &error);
                    return Err(error);
                }
            }
        }
    }

    /// How long to wait for an answer after so many faults: a call that is lost in a stall must be made again in time, and a
    /// drive that is merely slow must be waited for. A quarter of `hold`, then a half, then what is left.
    fn patience(&self, faults: u32) -> Duration {
        (self.hold / (4 >> faults.min(2))).min(API_TIMEOUT)
    }

    async fn read<T: DeserializeOwned>(
        &self,
        sent: reqwest::Result<reqwest::Response>,
        operation: &'static str,
    ) -> Result<Answer<T>, Refusal> {
        let response = sent.map_err(|error| Refusal::Transient(from_reqwest(error, operation)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_response(response, BODY, operation).await.map_err(Refusal::Transient)?;
        // 2xx with a code in it is a failure too: 202 VideoPreviewWaitAndRetry.
        let code =
            serde_json::from_slice::<wire::Failure>(&body).map(|failure| failure.code).unwrap_or_default();
        if !status.is_success() || !code.is_empty() {
            return Err(refusal(operation, status, &code, text(&headers, "x-retry-after")));
        }
        let body = if status == StatusCode::NO_CONTENT { b"{}".as_slice() } else { &body };
        let body = serde_json::from_slice(body).map_err(|error| {
            // Where, not what: the parser's message could quote a signed address.
            Refusal::Transient(
                Error::new(ErrorKind::Upstream, operation)
                    .saying("the drive's answer makes no sense")
                    .with("line", error.line())
                    .with("column", error.column()),
            )
        })?;
        let date = text(&headers, header::DATE.as_str())
            .and_then(|date| httpdate::parse_http_date(date).ok())
            .and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        Ok(Answer { body, date })
    }
}

// === impl Drives ===

impl Lease for Drives {
    fn life(&self) -> Life {
        self.life
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A page of 200 entries with their media metadata and thumbnails is some 600 KB.
const BODY: usize = 8 * 1024 * 1024;
/// Chosen: a single dropped connection is common, three in a row are an outage that the caller should hear of.
const MOST_FAULTS: u32 = 3;
