//! A login by QR code: a session at the drive, an address to scan, and the code that the consent ends in.
//!
//! Source: §1.1 to §1.4 of the fact sheet.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::auth::{Grant, Vault};
use super::config::TokenSource;
use super::error::{Refusal, refusal};
use super::wire::{CodeRequest, Failure, Session, SessionStatus};
use crate::driver::{LoginStep, Show};
use crate::error::{Error, ErrorKind, Result};
use crate::http::client::{API_TIMEOUT, from_reqwest, read_response};

/// What a session has come to.
enum Step {
    /// Nobody has answered yet.
    Waiting,
    /// The consent was given; the code is good once.
    Agreed(String),
    /// It is too late for this one.
    Expired,
    /// Somebody has opened the address and not consented yet.
    Opened,
}

impl Vault {
    /// Waits for somebody's consent, and returns the code of it. A session that expires is followed by another.
    ///
    /// # Errors
    /// `Unsupported` where the token server has no such way, `Unavailable` where the drive does not know the app; what a
    /// call failed with, after it has failed several times in a row.
    pub(super) async fn consent(&self, show: Show) -> Result<String> {
        loop {
            let session = self.open_session().await?;
            show(LoginStep::Open(&format!("{CONSENT_PAGE}{}", session.sid)));
            let mut pace = tokio::time::interval(POLL);
            let mut faults = 0;
            let code = loop {
                pace.tick().await;
                match self.step(&session.sid).await {
                    Ok(Step::Agreed(code)) => break Some(code),
                    Ok(Step::Expired) => break None,
                    Ok(Step::Waiting) => faults = 0,
                    Ok(Step::Opened) => {
                        faults = 0;
                        show(LoginStep::Opened);
                    }
                    Err(error) if faults == MOST_FAULTS => return Err(error),
                    Err(_) => faults += 1,
                }
            };
            if let Some(code) = code {
                return Ok(code);
            }
        }
    }

    /// Exchanges the code of a consent, and keeps the tokens in place of those in use. Not to be dropped: the code works once.
    ///
    /// # Errors
    /// What the exchange fails with, or keeping the tokens.
    pub(super) async fn enter(&self, code: &str) -> Result<()> {
        let tokens = self.inner.exchange(Grant::Code(code)).await.map_err(into_error)?;
        if tokens.refresh_token.is_empty() {
            return Err(Error::new(ErrorKind::Unavailable, OPERATION)
                .saying("the drive gave no refresh token for this app"));
        }
        let kept = self.inner.keep(tokens).await;
        // Whoever asks from now on finds the new ones.
        if let Ok(former) = self.token().await {
            self.cell.discard(&former);
        }
        kept
    }

    async fn open_session(&self) -> Result<Session> {
        let address = match &self.inner.source {
            TokenSource::Drive => format!("{}/oauth/authorize/qrcode", self.inner.api_base),
            TokenSource::AlistServer(base) => format!("{base}/alist/ali_open/qr"),
            TokenSource::OpenListServer(_) => return Err(at_the_servers_page()),
        };
        let (client_id, client_secret) = self.inner.credentials();
        if client_id.is_empty() && matches!(self.inner.source, TokenSource::Drive) {
            return Err(Error::new(ErrorKind::Unavailable, OPERATION).saying(
                "set client_id and client_secret of an app of your own, or token_server to one that has them",
            ));
        }
        let request = CodeRequest { client_id, client_secret, scopes: &SCOPES };
        let session: Session = answer(self.inner.client.post(address).json(&request)).await?;
        // It becomes part of an address.
        if session.sid.is_empty() || !session.sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(
                Error::new(ErrorKind::Upstream, OPERATION).saying("the drive's answer makes no sense")
            );
        }
        Ok(session)
    }

    async fn step(&self, sid: &str) -> Result<Step> {
        let address = format!("{}/oauth/qrcode/{sid}/status", self.inner.api_base);
        let status: SessionStatus = answer(self.inner.client.get(address)).await?;
        Ok(match status.status.as_str() {
            "WaitLogin" => Step::Waiting,
            "ScanSuccess" => Step::Opened,
            "LoginSuccess" if !status.auth_code.is_empty() => Step::Agreed(status.auth_code),
            // Whatever else the drive says, this session leads nowhere.
            _ => Step::Expired,
        })
    }
}

/// One call without a token.
async fn answer<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T> {
    let sent = request.timeout(API_TIMEOUT).send().await;
    let response = sent.map_err(|error| from_reqwest(error, OPERATION))?;
    let status = response.status();
    let body = read_response(response, BODY, OPERATION).await?;
    let code = serde_json::from_slice::<Failure>(&body).map(|failure| failure.code).unwrap_or_default();
    if !status.is_success() || !code.is_empty() {
        return Err(into_error(refusal(OPERATION, status, &code, None)));
    }
    serde_json::from_slice(&body)
        .map_err(|_| Error::new(ErrorKind::Upstream, OPERATION).saying("the drive's answer makes no sense"))
}

fn into_error(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Final(error) | Refusal::Token(error) | Refusal::Transient(error) => error,
        Refusal::Throttled(wait) => Error::new(ErrorKind::RateLimit, OPERATION).retry_after(wait),
    }
}

/// For token servers of OpenList's dialect.
pub(super) fn at_the_servers_page() -> Error {
    Error::new(ErrorKind::Unsupported, OPERATION).saying(
        "a token server of the openlist dialect gives tokens on its own page: set refresh_token to what it shows",
    )
}

const OPERATION: &str = "log in to the drive";
/// Where the person consents; what the code stands for.
const CONSENT_PAGE: &str = "https://www.aliyundrive.com/o/oauth/authorize?sid=";
/// All that the product uses, so that one consent is enough.
const SCOPES: [&str; 3] = ["user:base", "file:all:read", "file:all:write"];
/// As the drive's own kit does it.
const POLL: Duration = Duration::from_secs(1);
/// Polls that may fail in a row; chosen: a network that is away for some seconds should not cost the scan.
const MOST_FAULTS: u32 = 10;
/// An answer has some hundred bytes.
const BODY: usize = 64 * 1024;
