//! Ways to the bytes of files: leased, renewed while they are in use, and believed no longer than they prove to live.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Settings;
use super::counters::Counters;
use crate::budget::{Errand, Priority};
use crate::clock::Clock;
use crate::driver::{Entry, EntryId, Source};
use crate::error::Result;
use crate::lease::{Lease, LeaseCache, Life, Spare};
use crate::mount::{Mount, MountId};

/// A way to the bytes of a file, for as long as it is good.
#[derive(Debug)]
pub struct SourceLease {
    /// The way.
    pub source: Source,
    life: Life,
    /// Whether another was asked for before its end; once is enough, since who needs one at the end asks anyway.
    is_renewed: AtomicBool,
}

/// A lease that did not do.
#[derive(Clone, Debug)]
pub struct FailedLease {
    /// Which.
    pub lease: Arc<SourceLease>,
    /// Whether the drive itself said that it is no longer good.
    pub refused: bool,
}

/// The cache of links. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Links {
    clock: Clock,
    counters: Counters,
    leases: LeaseCache<(MountId, EntryId), SourceLease>,
    learned: Arc<Learned>,
}

/// How long the links of an account live in truth, where they have died before their time.
#[derive(Debug, Default)]
struct Learned(Mutex<HashMap<Arc<str>, Belief>>);

#[derive(Clone, Copy, Debug)]
struct Belief {
    longest: Duration,
    since: Instant,
}

// === impl Links ===

impl Links {
    pub(super) fn new(settings: &Settings, clock: Clock, tasks: &TaskTracker, counters: Counters) -> Self {
        let leases = LeaseCache::counted(settings.links, tasks.clone(), counters.lookups("link"));
        Self { clock, counters, leases, learned: Arc::default() }
    }

    /// A way to the bytes of `entry` with life to `spare`, not the one that `failed`.
    ///
    /// # Errors
    /// What the driver fails with.
    pub(super) async fn get(
        &self,
        mount: &Arc<Mount>,
        entry: &Arc<Entry>,
        spare: Spare,
        failed: Option<&FailedLease>,
    ) -> Result<Arc<SourceLease>> {
        let now = self.clock.now();
        let key = (mount.id, entry.id.clone());
        match failed {
            None => {
                if let Some(lease) = self.leases.get(&key, spare, now) {
                    if spare == Spare::OwnUse && lease.is_nearly_over(now) {
                        self.renew(mount, entry, key, &lease, now);
                    }
                    return Ok(lease);
                }
            }
            Some(failed) => {
                if failed.refused && failed.lease.life.has(Spare::Alive, now) {
                    self.counters.died_early();
                    let longest = self.learned.died(&mount.driver.info().account, failed.lease.life, now);
                    tracing::warn!(
                        mount = %mount.path,
                        believed_s = longest.as_secs(),
                        "a link died before its time; links of this account are believed less long for a while",
                    );
                }
                self.leases.discard(&key, &failed.lease);
            }
        }
        // Boxed: what a future may ever hold is moved about for every request.
        Box::pin(self.leases.get_or_fetch(key, spare, now, self.fetch(mount, entry))).await
    }

    /// Asks for another link before this one ends, so that nobody who reads by it need wait then.
    fn renew(
        &self,
        mount: &Arc<Mount>,
        entry: &Arc<Entry>,
        key: (MountId, EntryId),
        lease: &Arc<SourceLease>,
        now: Instant,
    ) {
        if lease.is_renewed.swap(true, Ordering::Relaxed) {
            return;
        }
        self.counters.renewed();
        let errand = Errand::current().with(Priority::Extra);
        self.leases.renew(key, lease, now, errand, self.fetch(mount, entry));
    }

    fn fetch(
        &self,
        mount: &Arc<Mount>,
        entry: &Arc<Entry>,
    ) -> impl Future<Output = Result<SourceLease>> + Send + use<> {
        let (mount, entry) = (Arc::clone(mount), Arc::clone(entry));
        let (clock, counters, learned) =
            (self.clock.clone(), self.counters.clone(), Arc::clone(&self.learned));
        async move {
            let source = mount.driver.source(&entry).await?;
            let now = clock.now();
            let life = match &source {
                Source::Link(link) => {
                    let life = learned.believed(&mount.driver.info().account, link.life, now);
                    counters.believe(&mount, life);
                    life
                }
                Source::Open(_) => Life::unlimited(now),
            };
            Ok(SourceLease { source, life, is_renewed: AtomicBool::new(false) })
        }
    }
}

// === impl SourceLease ===

impl SourceLease {
    /// Whether it will not do for our own use much longer.
    fn is_nearly_over(&self, now: Instant) -> bool {
        let soon = RENEWAL.min(self.life.total() / 30);
        !self.life.has(Spare::OwnUse, now + soon)
    }
}

impl Lease for SourceLease {
    fn life(&self) -> Life {
        self.life
    }
}

// === impl Learned ===

impl Learned {
    /// A link of `account` that was to live for `life` is dead. Returns how long its links are believed from now on: as
    /// long as this one lived, but at least half as long as before, since one refusal may be chance.
    fn died(&self, account: &Arc<str>, life: Life, now: Instant) -> Duration {
        let lived = now.saturating_duration_since(life.from);
        let mut beliefs = self.beliefs();
        // An older link that was believed longer teaches nothing new.
        let present = beliefs.get(account).map_or(Duration::MAX, |belief| belief.now(now));
        let longest = lived.max(life.total() / 2).max(SHORTEST).min(present);
        beliefs.insert(Arc::clone(account), Belief { longest, since: now });
        longest
    }

    /// What is believed of a link that claims `life`.
    fn believed(&self, account: &Arc<str>, life: Life, now: Instant) -> Life {
        let longest = self.beliefs().get(account).map_or(Duration::MAX, |belief| belief.now(now));
        Life::starting(life.from, longest.min(life.total()))
    }

    fn beliefs(&self) -> MutexGuard<'_, HashMap<Arc<str>, Belief>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Belief ===

impl Belief {
    /// It doubles with every while in which nothing died.
    fn now(self, now: Instant) -> Duration {
        let calm = now.saturating_duration_since(self.since).as_secs() / CALM.as_secs();
        self.longest.saturating_mul(1 << calm.min(16))
    }
}

/// How long before the end of its use a link is renewed; chosen: longer than a call waits for its turn, and short, since what
/// is left of the link is thrown away.
const RENEWAL: Duration = Duration::from_secs(10);
/// Links are never believed to live shorter than this; chosen: what is handed out needs a minute.
const SHORTEST: Duration = Duration::from_secs(120);
/// How long without an early death until links are believed twice as long again; chosen: a link's usual life.
const CALM: Duration = Duration::from_secs(900);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_believed_of_links_sinks_with_an_early_death_and_recovers() {
        let (learned, from) = (Learned::default(), Instant::now());
        let account = Arc::from("a");
        let at = |seconds| from + Duration::from_secs(seconds);
        let life = |seconds| Life::starting(from, Duration::from_secs(seconds));
        let believed = |now| learned.believed(&account, life(900), now).total().as_secs();
        assert_eq!(believed(at(0)), 900);
        // Halved at most: a single refusal may be chance.
        assert_eq!(learned.died(&account, life(900), at(10)).as_secs(), 450);
        assert_eq!(believed(at(11)), 450);
        assert_eq!(learned.believed(&Arc::from("b"), life(900), at(11)).total().as_secs(), 900);
        assert_eq!(learned.died(&account, life(450), at(300)).as_secs(), 300);
        assert_eq!(believed(at(1199)), 300);
        assert_eq!(believed(at(1200)), 600);
        assert_eq!(believed(at(2100)), 900);
        assert_eq!(learned.died(&account, life(9), from).as_secs(), 120);
    }
}
