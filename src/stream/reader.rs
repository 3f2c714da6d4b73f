//! One body that survives: when the drive breaks off, stalls or lets the link expire, it goes on at the very next
//! byte.
//!
//! It never pads, never starts again at 0, and never ends cleanly unless every byte was sent. When it must give
//! up it fails, which cuts the connection; players then ask for the rest themselves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::Origin;
use super::upstream::{FIRST_WAIT, Opener, Upstream, broke_off};
use crate::error::{Error, Result};
use crate::http::range::ByteRange;

/// A body being read. Generic over where its bytes come from.
pub(super) struct Reader<O: Origin> {
    opener: Arc<Opener<O>>,
    /// What is still to be sent.
    left: ByteRange,
    /// Length of the whole.
    total: u64,
    state: State<O>,
    /// Runs only while the upstream gives nothing.
    stall: Option<Pin<Box<Sleep>>>,
    /// Since when no byte has come although one was asked for, and how often it was opened again for that byte.
    starving: Option<(Instant, u32)>,
}

enum State<O: Origin> {
    Ended,
    Opening(BoxFuture<'static, Result<Upstream<O>>>),
    Reading(Upstream<O>),
}

// === impl Reader ===

impl<O: Origin> Reader<O> {
    /// A body of `left`, whose beginning is being read from `upstream` already.
    pub(super) fn new(opener: Opener<O>, upstream: Upstream<O>, left: ByteRange, total: u64) -> Self {
        Self {
            opener: Arc::new(opener),
            left,
            total,
            state: State::Reading(upstream),
            stall: None,
            starving: None,
        }
    }

    /// The next piece of the open upstream, or why there is none.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes>> {
        let State::Reading(upstream) = &mut self.state else {
            return Poll::Ready(Err(broke_off("it is not open")));
        };
        match upstream.body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => {
                self.stall = None;
                Poll::Ready(match frame {
                    Some(Ok(frame)) => Ok(frame.into_data().unwrap_or_default()),
                    Some(Err(error)) => Err(error),
                    None => Err(broke_off("it is short")),
                })
            }
            Poll::Pending => {
                let timeout = self.opener.settings.stall_timeout;
                let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                ready!(stall.as_mut().poll(cx));
                Poll::Ready(Err(broke_off("it gave nothing for the stall timeout")))
            }
        }
    }

    /// Opens the rest again; the old connection is given back first, so that this one can have its place.
    ///
    /// # Errors
    /// The one that it was opened again for, where no byte has come for `hold`.
    fn reopen(&mut self, error: Error) -> Result<()> {
        tracing::debug!(%error, at = self.left.start, "content broke off, going on at the next byte");
        self.state = State::Ended;
        self.stall = None;
        let now = Instant::now();
        let (since, times) = self.starving.unwrap_or((now, 0));
        if now - since >= self.opener.settings.hold {
            return Err(error);
        }
        self.starving = Some((since, times + 1));
        // At once after a break in the middle; slower where an answer broke off before its first byte.
        let pause = if times == 0 { Duration::ZERO } else { FIRST_WAIT * (1 << times.min(4)) };
        let (opener, left, total) = (Arc::clone(&self.opener), self.left, self.total);
        self.state = State::Opening(Box::pin(async move {
            tokio::time::sleep(pause).await;
            opener.part(left, total).await
        }));
        Ok(())
    }
}

impl<O: Origin> http_body::Body for Reader<O> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(upstream) => this.state = State::Reading(upstream),
                    Err(error) => {
                        this.state = State::Ended;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                State::Reading(_) if this.left.is_empty() => this.state = State::Ended,
                State::Reading(_) => match ready!(this.poll_piece(cx)) {
                    Ok(mut piece) => {
                        // An upstream that sends more than was asked for is cut, not believed.
                        piece.truncate(usize::try_from(this.left.len()).unwrap_or(usize::MAX));
                        this.left.start += piece.len() as u64;
                        if this.left.is_empty() {
                            // The connection is free before the client has taken the last piece.
                            this.state = State::Ended;
                        }
                        if !piece.is_empty() {
                            this.starving = None;
                            return Poll::Ready(Some(Ok(Frame::data(piece))));
                        }
                    }
                    Err(error) => {
                        if let Err(error) = this.reopen(error) {
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len())
    }
}

// A reader moves its parts only by its own methods; none is pinned in place.
impl<O: Origin> Unpin for Reader<O> {}
