//! Values that are good for a limited time: links, previews, listings, tokens.
//!
//! They are one problem: keep a value as long as it lives, fetch it once however many ask, let the fetch
//! outlive the caller that started it, and throw a value away only if it is still the one that failed.

mod cache;

use std::time::Duration;

use tokio::time::Instant;

pub use self::cache::{LeaseCache, LeaseCell, Lookups};

/// From when until when a value is good.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// When it was obtained.
    pub from: Instant,
    /// When it ends.
    pub until: Instant,
}

/// How much life a value must have left to be of use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spare {
    /// To be handed to a client, who keeps it for a while: the larger of 60 s and a third of the whole life.
    /// Where the whole life is not even 60 s, a third of it.
    HandOut,
    /// For a request of our own that starts now: 15 s, but never more than a quarter of the whole life.
    OwnUse,
    /// Any life at all.
    Alive,
}

/// A value that is good for a limited time.
pub trait Lease: Send + Sync + 'static {
    /// From when until when it is good.
    fn life(&self) -> Life;

    /// How long after its end it is still better than nothing, while a new one cannot be fetched.
    fn outlives_itself(&self) -> Duration {
        Duration::ZERO
    }

    /// How much of a cache's capacity it takes.
    fn weight(&self) -> u32 {
        1
    }
}

// === impl Life ===

impl Life {
    /// A life of `length`, beginning at `from`.
    pub fn starting(from: Instant, length: Duration) -> Self {
        // An upstream may claim any length; thirty years is as good as for ever and cannot overflow.
        Self { from, until: from + length.min(FOREVER) }
    }

    /// A life that no clock ends.
    pub fn unlimited(from: Instant) -> Self {
        Self::starting(from, FOREVER)
    }

    /// The whole of it.
    pub fn total(self) -> Duration {
        self.until.saturating_duration_since(self.from)
    }

    /// What is left of it at `now`.
    pub fn left(self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }

    /// Whether enough is left at `now`.
    pub fn has(self, spare: Spare, now: Instant) -> bool {
        let total = self.total();
        let needed = match spare {
            Spare::Alive => Duration::ZERO,
            Spare::HandOut if total < HAND_OUT => total / 3,
            Spare::HandOut => HAND_OUT.max(total / 3),
            Spare::OwnUse => OWN_USE.min(total / 4),
        };
        let left = self.left(now);
        left > Duration::ZERO && left >= needed
    }
}

/// Least life left in what is handed out. Source: the public contract.
const HAND_OUT: Duration = Duration::from_secs(60);
/// Least life left for a request of our own. The drive tests expiry when a request starts, so this covers
/// queueing for a connection (8 s, the default of `proxy.hold`) and connecting (3 s); chosen.
const OWN_USE: Duration = Duration::from_secs(15);
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_out_has_a_third_of_its_life_left_and_at_least_a_minute() {
        let from = Instant::now();
        let has = |total, age, spare| {
            Life::starting(from, Duration::from_secs(total)).has(spare, from + Duration::from_secs(age))
        };
        assert!(has(900, 600, Spare::HandOut));
        assert!(!has(900, 601, Spare::HandOut));
        assert!(has(120, 60, Spare::HandOut));
        assert!(!has(120, 61, Spare::HandOut));
        assert!(has(9, 6, Spare::HandOut));
        assert!(!has(9, 7, Spare::HandOut));
        assert!(has(900, 885, Spare::OwnUse));
        assert!(!has(900, 886, Spare::OwnUse));
        assert!(has(900, 899, Spare::Alive));
        assert!(!has(900, 900, Spare::Alive));
    }
}
