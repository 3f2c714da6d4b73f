//! The one source of time, passed in as a value so that tests can steer it.
//!
//! Leases live on the monotonic clock. Wall time is needed in two places only: where a driver turns the
//! vendor's expiry stamp into a remaining life, and where the end of a signature is checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A clock; clones share its shift.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// How far ahead of the machine's clock this one is, in milliseconds.
    ahead_ms: Arc<AtomicU64>,
}

// === impl Clock ===

impl Clock {
    /// The machine's clock.
    pub fn new() -> Self {
        Self::default()
    }

    /// Now, for measuring lives.
    pub fn now(&self) -> Instant {
        Instant::now() + self.ahead()
    }

    /// Now on the wall, since the Unix epoch. A machine whose clock stands before 1970 reads zero.
    #[expect(clippy::disallowed_methods, reason = "the one place where wall time enters")]
    pub fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + self.ahead()
    }

    /// Moves both readings forward, for tests of expiry.
    pub fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn ahead(&self) -> Duration {
        Duration::from_millis(self.ahead_ms.load(Ordering::Relaxed))
    }
}
