//! How fast one account may call: a pace for each class of calls, shared by everything that uses the account.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::config::Rates;
use crate::error::{Error, ErrorKind, Result};

/// The classes the drive counts apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Class {
    Link,
    List,
    Other,
}

/// The paces of one account.
#[derive(Debug)]
pub(super) struct Limits {
    link: Pace,
    list: Pace,
    other: Pace,
}

/// One call each `interval`, in the order of asking. No bursts: the drive's own bucket is believed to hold one.
#[derive(Debug)]
struct Pace {
    interval: Duration,
    /// Who holds this is the next to call; the others stand in line behind it, first come first served.
    line: tokio::sync::Mutex<()>,
    /// How many stand in the line.
    waiting: AtomicU32,
    /// No call before that.
    next: Mutex<Instant>,
}

/// One who waits; leaves the line when dropped.
struct Waiting<'a>(&'a AtomicU32);

// === impl Limits ===

impl Limits {
    pub(super) fn new(rates: Rates, now: Instant) -> Self {
        let pace = |rate: f64| Pace {
            interval: Duration::from_secs_f64(1.0 / rate) + JITTER.min(Duration::from_secs_f64(0.1 / rate)),
            line: tokio::sync::Mutex::new(()),
            waiting: AtomicU32::new(0),
            next: Mutex::new(now),
        };
        Self { link: pace(rates.link), list: pace(rates.list), other: pace(rates.other) }
    }

    /// Waits for the turn of one call of `class`.
    ///
    /// # Errors
    /// `RateLimit`, at once, where the turn would come later than `longest` from now; the error says when.
    /// Dropping the future gives its place in the line back.
    pub(super) async fn turn(&self, class: Class, longest: Duration) -> Result<()> {
        self.pace(class).turn(longest).await
    }

    /// The drive said to wait: no call of `class` before that.
    pub(super) fn push_back(&self, class: Class, wait: Duration) {
        let mut next = self.pace(class).next();
        *next = (*next).max(Instant::now() + wait);
    }

    fn pace(&self, class: Class) -> &Pace {
        match class {
            Class::Link => &self.link,
            Class::List => &self.list,
            Class::Other => &self.other,
        }
    }
}

// === impl Pace ===

impl Pace {
    async fn turn(&self, longest: Duration) -> Result<()> {
        let deadline = Instant::now() + longest;
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        let expected = self.next().saturating_duration_since(Instant::now()) + self.interval * ahead;
        let too_late =
            |wait| Err(Error::new(ErrorKind::RateLimit, "wait for a call's turn").retry_after(wait));
        if expected > longest {
            return too_late(expected);
        }
        let Ok(_first) = tokio::time::timeout_at(deadline, self.line.lock()).await else {
            return too_late(self.interval);
        };
        loop {
            let (next, now) = (*self.next(), Instant::now());
            if next <= now {
                break;
            }
            if next > deadline {
                return too_late(next - now);
            }
            // The drive may move it meanwhile.
            tokio::time::sleep_until(next).await;
        }
        // From when the call really leaves: a turn that comes late must not be followed by one that comes early.
        *self.next() = Instant::now() + self.interval;
        Ok(())
    }

    fn next(&self) -> MutexGuard<'_, Instant> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Added to every interval, at most a tenth of it: two calls that travel at different speeds must still arrive apart.
/// Chosen; beyond it a network's jitter costs a 429 now and then, which is waited for.
const JITTER: Duration = Duration::from_millis(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::new(Rates { list: 4.0, link: 1.0, other: 10.0 }, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn calls_of_one_class_are_spaced_and_others_are_not_held_up() {
        let (limits, start) = (limits(), Instant::now());
        for _ in 0..5 {
            limits.turn(Class::List, Duration::from_secs(8)).await.unwrap();
        }
        assert_eq!(start.elapsed().as_millis(), 4 * 253);
        limits.turn(Class::Link, Duration::from_secs(8)).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 4 * 253);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_too_far_off_is_refused_at_once_and_takes_no_place() {
        let limits = limits();
        let patience = Duration::from_millis(2500);
        let turns = (0..9).map(|_| limits.turn(Class::Link, patience));
        let results = futures_util::future::join_all(turns).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
        let refusal = results.into_iter().find_map(Result::err).unwrap();
        assert_eq!(refusal.kind(), ErrorKind::RateLimit);
        assert_eq!(refusal.retry_delay(), Some(Duration::from_millis(3009)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_line_gives_the_place_back() {
        let limits = limits();
        limits.turn(Class::Link, Duration::from_secs(8)).await.unwrap();
        for _ in 0..20 {
            let mut impatient = Box::pin(limits.turn(Class::Link, Duration::from_secs(8)));
            assert!(futures_util::future::poll_immediate(&mut impatient).await.is_none());
        }
        limits.turn(Class::Link, Duration::from_secs(2)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_drives_word_moves_the_next_turn() {
        let (limits, start) = (limits(), Instant::now());
        limits.push_back(Class::Other, Duration::from_millis(3300));
        limits.turn(Class::Other, Duration::from_secs(8)).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 3300);
    }
}
