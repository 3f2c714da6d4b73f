//! One connection's worth of a file: a part, read to its end whatever the drive does.
//!
//! Reset, short body, stall, collapse of speed, dead link: it goes on at the very next byte. It never pads, never
//! starts again at its beginning, and never says that it is done before it is.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::broker::Bid;
use super::metrics::Cause;
use super::pace::Pace;
use super::upstream::{Effort, Failure, Opener, Upstream, broke_off};
use super::{Failed, Ticket};
use crate::error::Error;
use crate::http::range::ByteRange;

/// A part being read.
pub(super) struct Lane {
    opener: Arc<Opener>,
    /// What is still to come.
    left: ByteRange,
    /// Length of the whole.
    total: u64,
    bid: Option<Bid>,
    state: State,
    pace: Pace,
    /// Looks after a connection that gives nothing. Set late and left standing: most fire in vain.
    timer: Option<Pin<Box<Sleep>>>,
    starving: Option<Starving>,
    collapses: u32,
    /// When the connection before this one ended.
    broke_at: Option<Instant>,
}

enum State {
    Ended,
    Opening(BoxFuture<'static, Result<Upstream, Failure>>),
    Reading { upstream: Upstream, asked: ByteRange, since: Instant },
}

/// No byte has come although one was asked for.
#[derive(Clone, Copy)]
struct Starving {
    since: Instant,
    /// How often it was opened again for that byte.
    times: u32,
    /// How often of these because nothing came in time.
    timeouts: u32,
}

// === impl Lane ===

impl Lane {
    /// A lane with nothing to read yet.
    pub(super) fn new(opener: Arc<Opener>, total: u64) -> Self {
        let usual = opener.account.as_ref().map_or(0.0, |account| account.usual());
        Self {
            opener,
            left: ByteRange { start: 0, end: 0 },
            total,
            bid: None,
            state: State::Ended,
            pace: Pace::new(usual),
            timer: None,
            starving: None,
            collapses: 0,
            broke_at: None,
        }
    }

    /// Begins a part.
    pub(super) fn begin(&mut self, part: ByteRange, bid: Option<Bid>, now: Instant) {
        (self.left, self.bid, self.starving) = (part, bid, None);
        let starving = Starving { since: now, times: 0, timeouts: 0 };
        self.open(starving, Duration::ZERO, None);
    }

    /// Begins a part whose connection is open already.
    pub(super) fn begin_with(&mut self, part: ByteRange, upstream: Upstream) {
        (self.left, self.starving) = (part, None);
        self.state = State::Reading { upstream, asked: part, since: Instant::now() };
    }

    /// Bytes a second, where that can be told.
    pub(super) fn rate(&self) -> Option<f64> {
        self.pace.rate()
    }

    /// Whether it takes a connection only where one is free.
    pub(super) fn is_spare(&self) -> bool {
        self.bid.as_ref().is_some_and(|bid| bid.spare)
    }

    /// Whether the drive has answered.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Reading { .. })
    }

    /// Bytes a second that the present connection has given at least; 0 where none is open.
    pub(super) fn cautious_rate(&self, now: Instant) -> f64 {
        match &self.state {
            State::Reading { asked, since, .. } => {
                let time = now.saturating_duration_since(*since) + START;
                (self.left.start - asked.start) as f64 / time.as_secs_f64()
            }
            State::Ended | State::Opening(_) => 0.0,
        }
    }

    /// Nobody waits for the next piece for the time being.
    pub(super) fn rest(&mut self, now: Instant) {
        self.pace.stop_waiting(now);
    }

    /// Leaves a connection that is much slower than others of the account, unless that was done not long ago.
    pub(super) fn renew(&mut self, now: Instant) {
        if self.pace.may_be_renewed(now) {
            // It fails only where no byte has come for long, which then shows at the next poll.
            let _ = self.reopen(Cause::Collapse, broke_off("another connection is much faster"));
        }
    }

    /// The next piece of the part; none once all of it was given.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            match &mut self.state {
                State::Ended => return Poll::Ready(None),
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(upstream) => {
                        self.state = State::Reading { upstream, asked: self.left, since: Instant::now() };
                    }
                    Err(failure) => {
                        self.state = State::Ended;
                        return Poll::Ready(Some(Err(failure)));
                    }
                },
                State::Reading { upstream, .. } => match upstream.body.as_mut().poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        let piece = frame.into_data().unwrap_or_default();
                        if let Some(piece) = self.accept(piece) {
                            return Poll::Ready(Some(Ok(piece)));
                        }
                    }
                    Poll::Ready(Some(Err(error))) => self.reopen(Cause::Break, error)?,
                    Poll::Ready(None) => self.reopen(Cause::Break, broke_off("it is short"))?,
                    Poll::Pending => match ready!(self.poll_watch(cx)) {
                        Cause::Collapse => {
                            self.reopen(Cause::Collapse, broke_off("its speed has collapsed"))?;
                        }
                        cause => self.reopen(cause, broke_off("it gave nothing for the stall timeout"))?,
                    },
                },
            }
        }
    }

    fn accept(&mut self, mut piece: Bytes) -> Option<Bytes> {
        let now = Instant::now();
        // An upstream that sends more than was asked for is cut, not believed.
        piece.truncate(usize::try_from(self.left.len()).unwrap_or(usize::MAX));
        if piece.is_empty() {
            return None;
        }
        self.left.start += piece.len() as u64;
        self.pace.got(piece.len(), now);
        self.starving = None;
        if let Some(broke_at) = self.broke_at.take() {
            let gap = now.saturating_duration_since(broke_at);
            self.opener.counters.resume_seconds.observe(gap.as_secs_f64());
        }
        if self.left.is_empty() {
            // The connection is free before the viewer has taken the last piece.
            self.end();
        }
        Some(piece)
    }

    fn end(&mut self) {
        let ended = std::mem::replace(&mut self.state, State::Ended);
        if let State::Reading { upstream, asked, .. } = ended
            && asked.end == self.left.end
        {
            upstream.ended();
        }
        if let Some(account) = &self.opener.account {
            account.set_usual(self.pace.usual());
        }
    }

    /// Ready with a reason to give the connection up, which has nothing to give at the moment.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        loop {
            let now = Instant::now();
            self.pace.waits(now);
            let since = self.pace.dry_since().unwrap_or(now);
            let timeouts = self.starving.map_or(0, |starving| starving.timeouts);
            let stalls_at = since + self.opener.settings.stall_timeout / 2_u32.pow(timeouts.min(4));
            if now >= stalls_at {
                return Poll::Ready(Cause::Stall);
            }
            if self.opener.account.is_some() && self.pace.has_collapsed(now) {
                return Poll::Ready(Cause::Collapse);
            }
            let look_at = self.pace.look_at().filter(|at| *at > now).unwrap_or(stalls_at).min(stalls_at);
            match &mut self.timer {
                Some(timer) if !timer.is_elapsed() && timer.deadline() <= look_at => {}
                Some(timer) => timer.as_mut().reset(look_at),
                None => self.timer = Some(Box::pin(sleep_until(look_at))),
            }
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(cx));
            }
        }
    }

    /// Opens the rest again; the old connection is given back first, so that this one can have its place.
    ///
    /// # Errors
    /// The one that it was opened again for, where no byte has come for `hold`.
    fn reopen(&mut self, cause: Cause, error: Error) -> Result<(), Failure> {
        let now = Instant::now();
        tracing::debug!(%error, ?cause, at = self.left.start, "content broke off, going on at the next byte");
        self.opener.counters.resumed(cause);
        self.broke_at.get_or_insert(now);
        let since = self.pace.dry_since().filter(|_| cause == Cause::Stall).unwrap_or(now);
        let mut failed = None;
        if let State::Reading { upstream, .. } = std::mem::replace(&mut self.state, State::Ended) {
            if cause == Cause::Collapse {
                self.collapses += 1;
                // A new connection did not help the last time; perhaps another link, to another machine, does.
                failed = (self.collapses > 1)
                    .then(|| Failed { ticket: Ticket::clone(upstream.lease()), refused: false });
            }
            if cause == Cause::Break {
                // The drive has ended it, so it knows.
                upstream.ended();
            }
        }
        if cause == Cause::Collapse {
            self.pace.renewed(now);
        } else {
            self.pace.start_over();
        }
        let starving = self.starving.unwrap_or(Starving { since, times: 0, timeouts: 0 });
        // At once after a break in the middle; slower where an answer broke off before its first byte.
        let pause =
            if starving.times == 0 { Duration::ZERO } else { FIRST_PAUSE * (1 << starving.times.min(3)) };
        if now + pause >= starving.since + self.opener.settings.hold {
            return Err(Failure::passing(error));
        }
        let starving = Starving {
            times: starving.times + 1,
            timeouts: starving.timeouts + u32::from(cause == Cause::Stall),
            ..starving
        };
        self.open(starving, pause, failed);
        Ok(())
    }

    fn open(&mut self, starving: Starving, pause: Duration, failed: Option<Failed>) {
        self.starving = Some(starving);
        let effort = Effort {
            deadline: starving.since + self.opener.settings.hold,
            timeouts: starving.timeouts,
            failed,
            bid: self.bid.clone(),
        };
        let (opener, left, total) = (Arc::clone(&self.opener), self.left, self.total);
        self.state = State::Opening(Box::pin(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            opener.part(left, total, effort).await
        }));
    }
}

/// The first bytes come in a burst that says nothing of the speed; they are taken to have lasted this long.
const START: Duration = Duration::from_millis(50);
/// Chosen: short enough that a player does not notice, since the drive often answers well the second time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
