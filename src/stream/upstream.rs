//! Opening content at the drive: the attempts behind one body, until there is a good answer or no more patience.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::broker::Slot;
use super::{Broker, Origin, Settings};
use crate::driver::{DriverInfo, Link, ReadRange, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::http::client::{from_reqwest, read_limited};
use crate::http::range::{ByteRange, parse_content_range};

/// Opens one thing, as often as it takes.
pub(super) struct Opener<O> {
    pub(super) broker: Broker,
    pub(super) client: reqwest::Client,
    /// The account whose connections this counts against, if against any.
    pub(super) counted: Option<DriverInfo>,
    pub(super) origin: O,
    pub(super) settings: Settings,
}

/// An open body, with what must be held as long as it is open.
pub(super) struct Upstream<O: Origin> {
    pub(super) body: Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error> + Send>>,
    _slot: Option<Slot>,
    _lease: O::Lease,
}

/// Why an attempt gave no body.
enum Setback {
    /// The drive counts more open connections than we do; a new link does not help.
    Busy,
    /// There is no going on.
    Final(Error),
    /// It may work the next time.
    Passing(Error),
    /// The link is not good; another may be.
    Stale(Error),
}

/// What is asked of the drive.
#[derive(Clone, Copy)]
enum Ask {
    Part { range: ByteRange, total: u64 },
    Whole,
}

// === impl Opener ===

impl<O: Origin> Opener<O> {
    /// Opens `range` of something `total` bytes long.
    ///
    /// # Errors
    /// What the last attempt failed with, once `hold` is over or there is no going on.
    pub(super) async fn part(&self, range: ByteRange, total: u64) -> Result<Upstream<O>> {
        let (upstream, _) = self.open(Ask::Part { range, total }).await?;
        Ok(upstream)
    }

    /// Opens something whose length is not known, and learns it.
    ///
    /// # Errors
    /// As [`Opener::part`].
    pub(super) async fn whole(&self) -> Result<(Upstream<O>, u64)> {
        self.open(Ask::Whole).await
    }

    async fn open(&self, ask: Ask) -> Result<(Upstream<O>, u64)> {
        let deadline = Instant::now() + self.settings.hold;
        let mut failed = None;
        let mut stale = 0;
        let mut wait = FIRST_WAIT;
        loop {
            // The link first: whoever waits for its turn must not hold a connection meanwhile.
            let (source, lease) = self.origin.obtain(failed.take()).await?;
            let slot = match &self.counted {
                Some(info) => {
                    Some(self.broker.acquire(info, deadline.saturating_duration_since(Instant::now())).await?)
                }
                None => None,
            };
            let opened = match source {
                Source::Link(link) => self.get(&link, ask).await,
                Source::Open(file) => read(&*file, ask).await,
            };
            let error = match opened {
                Ok((body, total)) => return Ok((Upstream { body, _slot: slot, _lease: lease }, total)),
                Err(Setback::Final(error)) => return Err(error),
                Err(Setback::Stale(error)) => {
                    stale += 1;
                    failed = Some(lease);
                    if stale > MOST_STALE {
                        return Err(error);
                    }
                    tracing::debug!(%error, "the link is no longer good, asking for another");
                    continue;
                }
                Err(Setback::Busy) => Error::new(ErrorKind::Overload, OPERATION)
                    .saying("all connections that the drive allows this account are in use")
                    .retry_after(Duration::from_secs(5)),
                Err(Setback::Passing(error)) => error,
            };
            // The slot goes back while we wait, so that another viewer can try.
            drop(slot);
            if Instant::now() + wait > deadline {
                return Err(error);
            }
            tracing::debug!(%error, wait_ms = wait.as_millis(), "opening the content again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn get(&self, link: &Link, ask: Ask) -> Result<(OpenBody, u64), Setback> {
        let mut request = self.client.get(link.url.expose()).headers(link.headers.clone());
        if let Ask::Part { range, .. } = ask {
            // Bounded, and never past the end: the drive answers an impossible range with the whole (§4.3).
            request = request.header(header::RANGE, range.to_header());
        }
        let response = tokio::time::timeout(self.settings.stall_timeout, request.send())
            .await
            .map_err(|_| Setback::Passing(broke_off("no answer within the stall timeout")))?
            .map_err(|error| Setback::Passing(from_reqwest(error, OPERATION)))?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                let total = accepted(&response, ask)?;
                let body = http::Response::<reqwest::Body>::from(response).into_body();
                Ok((Box::pin(body.map_err(|error| from_reqwest(error, OPERATION))), total))
            }
            StatusCode::FORBIDDEN => Err(self.forbidden(response).await),
            status => {
                let error = answered(status);
                Err(match status {
                    StatusCode::NOT_FOUND | StatusCode::GONE => Setback::Stale(error),
                    _ => Setback::Passing(error),
                })
            }
        }
    }

    /// Both an expired link and a connection too many are 403; the code in the body tells them apart (§4.3).
    async fn forbidden(&self, response: reqwest::Response) -> Setback {
        let read = read_limited(response, ERROR_BODY, OPERATION);
        let body = match tokio::time::timeout(self.settings.stall_timeout, read).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => return Setback::Passing(error),
            Err(_) => return Setback::Passing(broke_off("no answer within the stall timeout")),
        };
        let document = String::from_utf8_lossy(&body);
        // Upstream text: no more of it than a code has.
        let code: String = xml_code(&document).unwrap_or_default().chars().take(64).collect();
        match code.as_str() {
            "RequestDeniedByCallback" => Setback::Busy,
            _ => Setback::Stale(answered(StatusCode::FORBIDDEN).with("code", code)),
        }
    }
}

type OpenBody = Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error> + Send>>;

async fn read(file: &dyn ReadRange, ask: Ask) -> Result<(OpenBody, u64), Setback> {
    let Ask::Part { range, total } = ask else {
        return Err(Setback::Final(Error::new(ErrorKind::Internal, "read a file of unknown length")));
    };
    let body = file.read(range).await.map_err(Setback::Final)?;
    Ok((Box::pin(body), total))
}

/// The length of the whole, if the answer is what was asked for. A 200 in place of a 206 is good only where the part
/// begins at 0: what follows it is cut off.
fn accepted(response: &reqwest::Response, ask: Ask) -> Result<u64, Setback> {
    let length = response.content_length();
    let content_range = || {
        let header = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
        parse_content_range(header)
    };
    let wrong = |why| Err(Setback::Passing(broke_off(why)));
    match (ask, response.status() == StatusCode::PARTIAL_CONTENT) {
        (Ask::Whole, false) => length.map_or_else(|| wrong("an answer without a length"), Ok),
        (Ask::Whole, true) => wrong("a part where the whole was asked for"),
        (Ask::Part { range, total }, true) => match content_range() {
            Some((_, Some(whole))) if whole != total => Err(Setback::Final(changed())),
            Some((given, _)) if given.start == range.start => Ok(total),
            _ => wrong("a part that was not asked for"),
        },
        (Ask::Part { range, total }, false) => match length {
            Some(length) if length != total => Err(Setback::Final(changed())),
            _ if range.start == 0 => Ok(total),
            _ => wrong("the whole where a part was asked for"),
        },
    }
}

/// The text of `<Code>` in the drive's error documents. Not a parser: one element of a known document.
fn xml_code(document: &str) -> Option<&str> {
    let (_, rest) = document.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code.trim())
}

fn changed() -> Error {
    Error::new(ErrorKind::Upstream, OPERATION)
        .saying("the file at the drive is no longer the one that was listed")
}

fn answered(status: StatusCode) -> Error {
    Error::new(ErrorKind::Upstream, OPERATION).with("upstream.status", status.as_u16())
}

/// The drive's side of a body did not keep what it promised.
pub(super) fn broke_off(why: &'static str) -> Error {
    Error::new(ErrorKind::Upstream, OPERATION).with("reason", why)
}

const OPERATION: &str = "read content";
/// The drive's error documents are under 1 KiB.
const ERROR_BODY: usize = 16 * 1024;
/// A second fresh link that is refused will not be followed by a good third.
const MOST_STALE: u32 = 2;
/// Chosen: short enough that a player does not notice, since the drive often answers at once the second time.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Chosen: the drive notices a closed connection within a second or two.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_read_from_an_error_document() {
        assert_eq!(
            xml_code("<?xml?><Error><Code>AccessDenied</Code><Message>x</Message>"),
            Some("AccessDenied")
        );
        assert_eq!(xml_code("<Error><Code>Unterminated"), None);
        assert_eq!(xml_code("Bad Gateway"), None);
    }
}
