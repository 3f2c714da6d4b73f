//! What looks after a shared feed between its readers' requests, in a task of its own.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::Feed;
use super::state::{GiveUp, REMAINDER, State};

impl Feed {
    /// Reads ahead, parks what nobody uses, and reads small remainders, until the last reader has left.
    pub(in crate::stream) async fn mind(self: Arc<Self>) {
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| self.poll_mind(cx, &mut timer)).await;
    }

    fn poll_mind(&self, cx: &mut Context<'_>, timer: &mut Option<Pin<Box<Sleep>>>) -> Poll<()> {
        let mut is_tried = false;
        loop {
            let now = Instant::now();
            let mut state = self.lock();
            state.minder = None;
            let is_left = state.seats.is_empty();
            let is_over = is_left && (state.parts.is_empty() || state.ends_at.is_none_or(|at| now >= at));
            let is_parked = !is_left && !state.somebody_waits() && now >= state.driven_at + PARKED;
            if (is_over || is_parked || state.failure.is_some())
                && !state.is_driven
                && !state.parts.is_empty()
            {
                let dropped = state.cut(GiveUp::All);
                self.absorb(&mut state);
                drop(state);
                drop(dropped);
                continue;
            }
            if is_over && !state.is_driven {
                return Poll::Ready(());
            }
            let goal =
                if is_left { state.parts.front().map_or(0, |part| part.end) } else { self.goal(&state, now) };
            if is_tried || state.is_driven || state.failure.is_some() || state.ring.end() >= goal {
                state.minder = Some(cx.waker().clone());
                let look_at = state
                    .ends_at
                    .filter(|_| is_left)
                    .unwrap_or(state.driven_at + PARKED)
                    .max(now + REMAINDER);
                let needs_timer = !state.parts.is_empty();
                drop(state);
                if !needs_timer {
                    return Poll::Pending;
                }
                let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(look_at)));
                if timer.deadline() != look_at {
                    timer.as_mut().reset(look_at);
                }
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                continue;
            }
            is_tried = !self.drive(state, cx);
        }
    }

    /// Up to where to read although nobody asks yet.
    fn goal(&self, state: &State, now: Instant) -> u64 {
        let lead = state.lead();
        let held = state.ring.end().saturating_sub(lead);
        let until = state.seats.iter().map(|seat| seat.until).max().unwrap_or(0);
        let is_contended = self.account().is_some_and(|account| account.is_contended(now));
        let window = self.ahead();
        let ahead = if is_contended {
            // A full window carries the viewer over the others' turns. Topped up late, so that turns stay long.
            if held < window / 2 { window } else { held }
        } else {
            // Whoever has read on for a while is likely to; whoever seeks about should cost little.
            let taken = state.seats.iter().map(|seat| seat.taken).max().unwrap_or(0);
            (taken / 2).min(window / 2)
        };
        (lead + ahead).min(until)
    }
}

/// A connection that nobody used for this long is let go even if nobody else needs it; the drive does so after a minute.
const PARKED: Duration = Duration::from_secs(10);
