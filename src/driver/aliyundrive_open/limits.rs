//! How fast one account may call: a pace for each class of calls, shared by everything that uses the account.

use std::sync::{Mutex, PoisonError};
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
    next: Mutex<Instant>,
}

// === impl Limits ===

impl Limits {
    pub(super) fn new(rates: Rates, now: Instant) -> Self {
        let pace = |rate: f64| Pace { interval: Duration::from_secs_f64(1.0 / rate), next: Mutex::new(now) };
        Self { link: pace(rates.link), list: pace(rates.list), other: pace(rates.other) }
    }

    /// Waits for the turn of one call of `class`.
    ///
    /// # Errors
    /// `RateLimit`, at once, where the turn would come later than `longest` from now; the error says when.
    /// Dropping the future gives nothing back: the turn passes unused.
    pub(super) async fn turn(&self, class: Class, longest: Duration) -> Result<()> {
        let pace = self.pace(class);
        let now = Instant::now();
        let turn = {
            let mut next = pace.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(now);
            if turn - now > longest {
                return Err(
                    Error::new(ErrorKind::RateLimit, "wait for a call's turn").retry_after(turn - now)
                );
            }
            *next = turn + pace.interval;
            turn
        };
        tokio::time::sleep_until(turn).await;
        Ok(())
    }

    /// The drive said to wait: no call of `class` before that.
    pub(super) fn push_back(&self, class: Class, wait: Duration) {
        let mut next = self.pace(class).next.lock().unwrap_or_else(PoisonError::into_inner);
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
        assert_eq!(start.elapsed().as_millis(), 1000);
        limits.turn(Class::Link, Duration::from_secs(8)).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 1000);
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
        assert_eq!(refusal.retry_delay(), Some(Duration::from_secs(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_drives_word_moves_the_next_turn() {
        let (limits, start) = (limits(), Instant::now());
        limits.push_back(Class::Other, Duration::from_millis(3300));
        limits.turn(Class::Other, Duration::from_secs(8)).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 3300);
    }
}
