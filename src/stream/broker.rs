//! Who may hold a content connection: an account has two or three, for all its files and viewers.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::driver::DriverInfo;
use crate::error::{Error, ErrorKind, Result};

/// Counts open reads by account, first come first served. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Broker(Arc<Mutex<HashMap<Arc<str>, Arc<Semaphore>>>>);

/// The right to have one connection open; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
}

// === impl Broker ===

impl Broker {
    /// Waits for a connection of the driver's account.
    ///
    /// # Errors
    /// `Overload` where none comes free within `longest`. Dropping the future gives its place in the queue up.
    pub(super) async fn acquire(&self, info: &DriverInfo, longest: Duration) -> Result<Slot> {
        let Some(limit) = info.connections else { return Ok(Slot { _permit: None }) };
        let permit = tokio::time::timeout(longest, self.account(info, limit).acquire_owned()).await;
        match permit {
            Ok(Ok(permit)) => Ok(Slot { _permit: Some(permit) }),
            // The semaphore is never closed, so what is left is the wait.
            Ok(Err(_)) | Err(_) => Err(Error::new(ErrorKind::Overload, "wait for a connection")
                .saying("all connections that the drive allows this account are in use")
                .retry_after(Duration::from_secs(5))),
        }
    }

    fn account(&self, info: &DriverInfo, limit: NonZeroUsize) -> Arc<Semaphore> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let semaphore = accounts
            .entry(Arc::clone(&info.account))
            .or_insert_with(|| Arc::new(Semaphore::new(limit.get())));
        Arc::clone(semaphore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, connections: usize) -> DriverInfo {
        DriverInfo {
            name: "test",
            by_path: true,
            preview: false,
            believed: None,
            account: Arc::from(name),
            connections: NonZeroUsize::new(connections),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_never_holds_more_than_its_connections() {
        let broker = Broker::default();
        let (one, other) = (account("one", 2), account("other", 1));
        let wait = Duration::from_secs(8);
        let first = broker.acquire(&one, wait).await.unwrap();
        let _second = broker.acquire(&one, wait).await.unwrap();
        let _elsewhere = broker.acquire(&other, wait).await.unwrap();
        assert_eq!(broker.acquire(&one, wait).await.unwrap_err().kind(), ErrorKind::Overload);
        drop(first);
        broker.acquire(&one, wait).await.unwrap();
    }

    #[tokio::test]
    async fn a_drive_without_a_limit_waits_for_nobody() {
        let broker = Broker::default();
        let mut held = Vec::new();
        for _ in 0..1000 {
            held.push(broker.acquire(&account("free", 0), Duration::ZERO).await.unwrap());
        }
    }
}
