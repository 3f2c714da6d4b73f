//! Opening content at the drive: the attempts behind one part, until there is a good answer or no more patience.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};
use http_body::Body as _;
use tokio::time::Instant;

use super::broker::{Account, Bid, Slot, all_in_use};
use super::metrics::{Cause, Counters};
use super::{Failed, Origin, Settings, Ticket};
use crate::budget::{Errand, Priority};
use crate::driver::{Link, ReadRange, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::http::body::read_limited;
use crate::http::content::{ContentBody, ContentClient};
use crate::http::range::{ByteRange, parse_content_range};

/// Opens one thing, as often as it takes.
pub(super) struct Opener {
    pub(super) client: ContentClient,
    pub(super) counters: Arc<Counters>,
    /// The account whose connections this counts against, if against any.
    pub(super) account: Option<Arc<Account>>,
    pub(super) origin: Arc<dyn Origin>,
    /// What the calls to the drive are for.
    pub(super) errand: Errand,
    pub(super) settings: Settings,
}

/// An open body, with what must be held as long as it is open.
pub(super) struct Upstream {
    pub(super) body: Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error> + Send>>,
    pub(super) slot: Option<Slot>,
    lease: Ticket,
}

/// How long to try, and for whom.
#[derive(Clone, Debug)]
pub(super) struct Effort {
    /// Until when attempts may begin.
    pub(super) deadline: Instant,
    /// How often in a row nothing has come in time; each time the next attempt is given half as long.
    pub(super) timeouts: u32,
    /// The lease that was used last, where it is known to be bad.
    pub(super) failed: Option<Failed>,
    /// For whom; not needed where connections are not counted.
    pub(super) bid: Option<Bid>,
}

/// Why nothing could be opened.
#[derive(Clone, Debug)]
pub struct Failure {
    pub(super) error: Error,
    /// Whether it is no use to try again.
    pub(super) is_final: bool,
}

/// Why an attempt gave no body.
enum Setback {
    /// The drive counts more open connections than we do; a new link does not help.
    Busy,
    /// There is no going on.
    Final(Error),
    /// It may work the next time.
    Passing(Error),
    /// The link is not good; another may be. Whether the drive said that its time is over.
    Stale(Error, bool),
    /// Nothing came in time.
    Silent(Error),
}

/// What is asked of the drive.
#[derive(Clone, Copy)]
enum Ask {
    Part { range: ByteRange, total: u64 },
    Whole,
}

// === impl Opener ===

impl Opener {
    /// Opens `range` of something `total` bytes long.
    ///
    /// # Errors
    /// What the last attempt failed with, once the effort is spent or there is no going on.
    pub(super) async fn part(
        &self,
        range: ByteRange,
        total: u64,
        effort: Effort,
    ) -> Result<Upstream, Failure> {
        let (upstream, _) = self.open(Ask::Part { range, total }, effort).await?;
        Ok(upstream)
    }

    /// Opens something whose length is not known, and learns it.
    ///
    /// # Errors
    /// As [`Opener::part`].
    pub(super) async fn whole(&self, effort: Effort) -> Result<(Upstream, u64), Failure> {
        self.open(Ask::Whole, effort).await
    }

    async fn open(&self, ask: Ask, mut effort: Effort) -> Result<(Upstream, u64), Failure> {
        let mut stale = 0;
        let mut wait = Pause(FIRST_WAIT);
        loop {
            // The link first: whoever waits for its turn must not hold a connection meanwhile.
            let failed = effort.failed.take();
            if failed.is_some() {
                // Somebody is in the middle of it.
                self.errand.raise(Priority::Seek);
            }
            let (source, lease) = match self.errand.clone().doing(self.origin.obtain(failed)).await {
                Ok(obtained) => obtained,
                Err(failure) if failure.is_final => return Err(failure),
                Err(failure) => {
                    self.counters.resumed(Cause::Refusal);
                    Box::pin(wait.take(failure.error, effort.deadline)).await?;
                    continue;
                }
            };
            let mut slot = match (&self.account, &effort.bid) {
                (Some(account), Some(bid)) => {
                    Some(account.acquire(bid.clone(), effort.deadline).await.map_err(Failure::passing)?)
                }
                _ => None,
            };
            let timeout = (self.settings.stall_timeout / 2_u32.pow(effort.timeouts.min(4)))
                .max(SHORTEST_TIMEOUT.min(self.settings.stall_timeout));
            if let Some(slot) = &mut slot {
                slot.asked();
            }
            let opened = match source {
                Source::Link(link) => self.get(&link, ask, timeout).await,
                Source::Open(file) => read(&*file, ask).await,
            };
            let error = match opened {
                Ok((body, total)) => {
                    if let Some(slot) = &slot {
                        slot.opened();
                    }
                    return Ok((Upstream { body, slot, lease }, total));
                }
                Err(Setback::Final(error)) => return Err(Failure::lasting(error)),
                Err(Setback::Stale(error, refused)) => {
                    self.counters.resumed(Cause::Link);
                    if let Some(slot) = slot.take() {
                        slot.unopened();
                    }
                    stale += 1;
                    effort.failed = Some(Failed { ticket: lease, refused });
                    if stale <= MOST_STALE {
                        tracing::debug!(%error, "the link is no longer good, asking for another");
                        continue;
                    }
                    error
                }
                Err(Setback::Busy) => {
                    self.counters.resumed(Cause::Busy);
                    if let Some(slot) = slot {
                        slot.refused();
                    }
                    // The broker has learned from it; where it counts no connections there is nothing to wait for but time.
                    Box::pin(wait.take(all_in_use(), effort.deadline)).await?;
                    continue;
                }
                Err(Setback::Silent(error)) => {
                    drop(slot.take());
                    self.counters.resumed(Cause::Stall);
                    effort.timeouts += 1;
                    error
                }
                Err(Setback::Passing(error)) => {
                    self.counters.resumed(Cause::Refusal);
                    error
                }
            };
            // The slot goes back while we wait, so that another viewer can try.
            drop(slot);
            Box::pin(wait.take(error, effort.deadline)).await?;
        }
    }

    async fn get(&self, link: &Link, ask: Ask, timeout: Duration) -> Result<(OpenBody, u64), Setback> {
        let mut headers = link.headers.clone();
        if let Ask::Part { range, .. } = ask {
            // Bounded, and never past the end: the drive answers an impossible range with the whole (§4.3).
            headers.insert(header::RANGE, range.to_header());
        }
        let response = tokio::time::timeout(timeout, self.client.get(&link.url, headers, OPERATION))
            .await
            .map_err(|_| Setback::Silent(broke_off("no answer within the stall timeout")))?
            .map_err(Setback::Passing)?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                let total = accepted(&response, ask)?;
                Ok((Box::pin(response.into_body()), total))
            }
            StatusCode::FORBIDDEN => Err(Box::pin(self.forbidden(response, timeout)).await),
            status => {
                let error = answered(status);
                Err(match status {
                    StatusCode::NOT_FOUND | StatusCode::GONE => Setback::Stale(error, false),
                    // Redirects among them: where they lead is not for the content host to say.
                    _ => Setback::Passing(error),
                })
            }
        }
    }

    /// Both an expired link and a connection too many are 403; the code in the body tells them apart (§4.3).
    async fn forbidden(&self, response: http::Response<ContentBody>, timeout: Duration) -> Setback {
        let read = read_limited(response.into_body(), ERROR_BODY, OPERATION);
        let body = match tokio::time::timeout(timeout, read).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => return Setback::Passing(error),
            Err(_) => return Setback::Silent(broke_off("no answer within the stall timeout")),
        };
        let document = String::from_utf8_lossy(&body);
        // Upstream text: no more of it than a code has.
        let code: String = xml_code(&document).unwrap_or_default().chars().take(64).collect();
        match code.as_str() {
            "RequestDeniedByCallback" => Setback::Busy,
            code => {
                let is_over = code == "AccessDenied";
                Setback::Stale(answered(StatusCode::FORBIDDEN).with("code", code), is_over)
            }
        }
    }
}

// === impl Upstream ===

impl Upstream {
    /// The drive has sent all that was asked for.
    pub(super) fn ended(mut self) {
        if let Some(slot) = &mut self.slot {
            slot.ended();
        }
    }

    /// The lease that it was opened with.
    pub(super) fn lease(&self) -> &Ticket {
        &self.lease
    }
}

// === impl Failure ===

impl Failure {
    /// One that may not happen the next time.
    pub fn passing(error: Error) -> Self {
        Self { error, is_final: false }
    }

    /// One that will.
    pub fn lasting(error: Error) -> Self {
        Self { error, is_final: true }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let is_final = match error.kind() {
            ErrorKind::Overload | ErrorKind::RateLimit | ErrorKind::Timeout | ErrorKind::Upstream => false,
            ErrorKind::Denied
            | ErrorKind::Internal
            | ErrorKind::Invalid
            | ErrorKind::NotAFile
            | ErrorKind::NotFound
            | ErrorKind::Unavailable
            | ErrorKind::Unsupported => true,
        };
        Self { error, is_final }
    }
}

/// The wait before the next attempt; longer each time.
struct Pause(Duration);

impl Pause {
    /// Waits because of `error`, or fails with it where the next attempt would begin after `deadline`.
    async fn take(&mut self, error: Error, deadline: Instant) -> Result<(), Failure> {
        if Instant::now() + self.0 > deadline {
            return Err(Failure::passing(error));
        }
        tracing::debug!(%error, wait_ms = self.0.as_millis(), "opening the content again");
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_WAIT);
        Ok(())
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
fn accepted(response: &http::Response<ContentBody>, ask: Ask) -> Result<u64, Setback> {
    let length = response.body().size_hint().exact();
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
/// Least time given to an attempt after several in a row brought nothing.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);
/// A second fresh link that is refused will not be followed by a good third.
const MOST_STALE: u32 = 2;
/// Chosen: short enough that a player does not notice, since the drive often answers at once the second time.
const FIRST_WAIT: Duration = Duration::from_millis(100);
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
