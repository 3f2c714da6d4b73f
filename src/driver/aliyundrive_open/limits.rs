//! How fast one account may call: a pace for each class of calls, shared by everything that uses the account.

use std::time::Duration;

use tokio::time::Instant;

use super::config::Rates;
use crate::budget::{Errand, Pace, PaceView};
use crate::driver::Calls;
use crate::error::Result;

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
    calls: Calls,
    link: Pace,
    list: Pace,
    other: Pace,
}

// === impl Limits ===

impl Limits {
    pub(super) fn new(rates: Rates, calls: Calls, now: Instant) -> Self {
        let pace = |rate: f64| {
            let interval = Duration::from_secs_f64(1.0 / rate);
            Pace::new(interval + JITTER.min(interval / 10), now)
        };
        Self { calls, link: pace(rates.link), list: pace(rates.list), other: pace(rates.other) }
    }

    /// Waits for the turn of one call of `class`, for the errand that the task is on.
    ///
    /// # Errors
    /// As [`Pace::turn`].
    pub(super) async fn turn(&self, class: Class, longest: Duration) -> Result<()> {
        let (errand, since) = (Errand::current(), Instant::now());
        let turn = self.pace(class).turn(&errand, longest).await;
        match &turn {
            Ok(()) => self.calls.waited(errand.priority(), since.elapsed()),
            Err(_) => self.calls.refused(errand.priority()),
        }
        turn
    }

    /// The drive said to wait: no call of `class` before that.
    pub(super) fn push_back(&self, class: Class, wait: Duration) {
        self.pace(class).push_back(wait);
    }

    /// How fast each class goes at present.
    pub(super) fn view(&self) -> Vec<(&'static str, PaceView)> {
        vec![("link", self.link.view()), ("list", self.list.view()), ("other", self.other.view())]
    }

    fn pace(&self, class: Class) -> &Pace {
        match class {
            Class::Link => &self.link,
            Class::List => &self.list,
            Class::Other => &self.other,
        }
    }
}

/// Added to every interval, at most a tenth of it: two calls that travel at different speeds must still arrive apart.
/// Chosen; beyond it a network's jitter costs a 429 now and then, which is waited for.
const JITTER: Duration = Duration::from_millis(3);
