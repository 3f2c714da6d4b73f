//! The cache of leases. moka keeps the values; that they are fetched once is seen to here, since a fetch may also be begun for
//! a value that is still good.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use moka::Expiry;
use moka::ops::compute::Op;
use moka::sync::Cache;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{Lease, Spare};
use crate::budget::Errand;
use crate::error::{Error, ErrorKind, Result};
use crate::logs::{current_request, working_for};

/// Values by key, each fetched once per life. Clones share the values.
pub struct LeaseCache<K, V> {
    values: Cache<K, Arc<V>>,
    flights: Flights<K, V>,
    lookups: Lookups,
    tasks: TaskTracker,
}

/// How often a value was at hand when it was asked for, and how often it was not. Clones share the counters.
#[derive(Clone, Debug, Default)]
pub struct Lookups {
    /// It was.
    pub hits: Counter,
    /// It was not, or had too little life left.
    pub misses: Counter,
}

type Flights<K, V> = Arc<Mutex<HashMap<K, Flight<V>>>>;

/// A fetch that is under way.
struct Flight<V> {
    /// What it runs on, so that a more urgent caller who joins it can say so.
    errand: Errand,
    landing: Landing<V>,
}

type Landing<V> = Shared<BoxFuture<'static, Result<Arc<V>>>>;

/// Ends a flight when it is dropped.
struct Landed<K: Eq + Hash, V> {
    key: K,
    flights: Flights<K, V>,
}

/// Lets the cache drop what has ended.
struct Ended;

/// One value, fetched once per life. Clones share it.
pub struct LeaseCell<V>(LeaseCache<(), V>);

// === impl LeaseCache ===

impl<K, V> LeaseCache<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Lease,
{
    /// A cache of values that weigh at most `capacity` together, whose fetches run on `tasks`.
    pub fn new(capacity: u64, tasks: TaskTracker) -> Self {
        Self::counted(capacity, tasks, Lookups::default())
    }

    /// As [`LeaseCache::new`]; lookups are counted in `lookups`.
    pub fn counted(capacity: u64, tasks: TaskTracker, lookups: Lookups) -> Self {
        let values = Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, value: &Arc<V>| value.weight())
            // Frees memory only: whether a value may be used is asked of its life, against the caller's clock.
            .expire_after(Ended)
            .build();
        Self { values, flights: Arc::default(), lookups, tasks }
    }

    /// The value, if it is here and has enough life left. Never waits.
    pub fn get(&self, key: &K, spare: Spare, now: Instant) -> Option<Arc<V>> {
        let value = self.values.get(key).filter(|value| value.life().has(spare, now))?;
        self.lookups.hits.inc();
        Some(value)
    }

    /// The value, fetched if it is missing or has too little life left.
    ///
    /// All callers who miss at the same time share one fetch, and its error. The fetch runs on a task of its
    /// own: dropping this future does not stop it, and the next caller finds its result.
    ///
    /// While whoever is asked fails, a value that has ended is answered for as long as it [`Lease::outlives_itself`].
    ///
    /// # Errors
    /// What `fetch` fails with. A failure is answered to those who waited for it and not kept.
    pub async fn get_or_fetch(
        &self,
        key: K,
        spare: Spare,
        now: Instant,
        fetch: impl Future<Output = Result<V>> + Send + 'static,
    ) -> Result<Arc<V>> {
        if let Some(value) = self.get(&key, spare, now) {
            return Ok(value);
        }
        self.lookups.misses.inc();
        let is_enough = |value: &Arc<V>| value.life().has(spare, now);
        match self.fly(key, is_enough, false, now, Errand::current(), fetch) {
            Ok(value) => Ok(value),
            Err(landing) => landing.await,
        }
    }

    /// A new value, whatever is here. Where one is being fetched already, that one.
    ///
    /// # Errors
    /// As [`LeaseCache::get_or_fetch`].
    pub async fn fetch(
        &self,
        key: K,
        now: Instant,
        fetch: impl Future<Output = Result<V>> + Send + 'static,
    ) -> Result<Arc<V>> {
        match self.fly(key, |_| false, false, now, Errand::current(), fetch) {
            Ok(value) => Ok(value),
            Err(landing) => landing.await,
        }
    }

    /// Keeps a value that was had by other means.
    pub fn put(&self, key: K, value: Arc<V>) {
        self.values.insert(key, value);
    }

    /// Begins to fetch a value in place of the one the caller has `seen`, which stays until the new one is there; not
    /// where that has been done. Waits for nothing; a failure changes nothing.
    pub fn renew(
        &self,
        key: K,
        seen: &Arc<V>,
        now: Instant,
        errand: Errand,
        fetch: impl Future<Output = Result<V>> + Send + 'static,
    ) {
        let is_another = |value: &Arc<V>| !Arc::ptr_eq(value, seen);
        if let Err(landing) = self.fly(key, is_another, true, now, errand, fetch) {
            // The first poll makes it a task, which goes on without anybody who waits for it.
            let _ = landing.now_or_never();
        }
    }

    /// The value, if it has come to be enough; else the fetch that is under way, begun now where there was none.
    fn fly(
        &self,
        key: K,
        is_enough: impl Fn(&Arc<V>) -> bool,
        is_renewal: bool,
        now: Instant,
        errand: Errand,
        fetch: impl Future<Output = Result<V>> + Send + 'static,
    ) -> Result<Arc<V>, Landing<V>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key) {
            flight.errand.raise(errand.priority());
            return Err(flight.landing.clone());
        }
        // Looked at again under the lock: a flight may have landed since.
        let kept = self.values.get(&key);
        if let Some(value) = kept.as_ref().filter(|value| is_enough(value)) {
            return Ok(Arc::clone(value));
        }
        let stale = kept.filter(|stale| now < stale.life().until + stale.outlives_itself());
        let landed = Landed { key: key.clone(), flights: Arc::clone(&self.flights) };
        let values = self.values.clone();
        let whole = async move {
            let landed = landed;
            match (fetch.await, stale) {
                (Ok(value), _) => {
                    let value = Arc::new(value);
                    values.insert(landed.key.clone(), Arc::clone(&value));
                    Ok(value)
                }
                // Not one that somebody has thrown away meanwhile.
                (Err(error), Some(stale))
                    if error.tells_nothing()
                        && values.get(&landed.key).is_some_and(|kept| Arc::ptr_eq(&kept, &stale)) =>
                {
                    tracing::warn!(%error, "what was known before is believed for the time being");
                    Ok(stale)
                }
                (Err(error), stale) => {
                    // A renewal that fails leaves what is good still.
                    if let Some(stale) = stale.filter(|_| !is_renewal && !error.tells_nothing()) {
                        discard(&values, &landed.key, &stale);
                    }
                    Err(error)
                }
            }
        };
        let whole = working_for(current_request(), errand.clone().doing(whole));
        let tasks = self.tasks.clone();
        // Spawned at the first poll, not under the lock, which a task that is dropped at once would want too.
        let landing = async move {
            let landing = tasks.spawn(whole).await;
            landing.unwrap_or_else(|panic| {
                Err(Error::new(ErrorKind::Internal, "fetch a lease").caused_by(panic))
            })
        };
        let landing = landing.boxed().shared();
        flights.insert(key, Flight { errand, landing: landing.clone() });
        Err(landing)
    }

    /// Throws a value away, whichever it is. A fetch that is under way still brings its own.
    pub fn remove(&self, key: &K) {
        self.values.invalidate(key);
    }

    /// Throws a value away, but only if it is still the one the caller has `seen`: a slow loser must not throw
    /// away the winner's fresh one.
    pub fn discard(&self, key: &K, seen: &Arc<V>) {
        discard(&self.values, key, seen);
    }
}

fn discard<K, V>(values: &Cache<K, Arc<V>>, key: &K, seen: &Arc<V>)
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    values.entry_by_ref(key).and_compute_with(|current| match current {
        Some(entry) if Arc::ptr_eq(entry.value(), seen) => Op::Remove,
        _ => Op::Nop,
    });
}

impl<K, V> Clone for LeaseCache<K, V> {
    fn clone(&self) -> Self {
        Self {
            values: self.values.clone(),
            flights: Arc::clone(&self.flights),
            lookups: self.lookups.clone(),
            tasks: self.tasks.clone(),
        }
    }
}

impl<K, V> std::fmt::Debug for LeaseCache<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeaseCache")
    }
}

// === impl Landed ===

impl<K: Eq + Hash, V> Drop for Landed<K, V> {
    fn drop(&mut self) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

// === impl Ended ===

impl<K, V: Lease> Expiry<K, Arc<V>> for Ended {
    #[expect(clippy::disallowed_types, reason = "the cache's own clock")]
    fn expire_after_create(&self, _: &K, value: &Arc<V>, _: std::time::Instant) -> Option<Duration> {
        Some(value.life().total() + value.outlives_itself())
    }

    #[expect(clippy::disallowed_types, reason = "the cache's own clock")]
    fn expire_after_update(
        &self,
        _: &K,
        value: &Arc<V>,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        // Without this a replaced value would keep the old one's end.
        Some(value.life().total() + value.outlives_itself())
    }
}

// === impl LeaseCell ===

impl<V: Lease> LeaseCell<V> {
    /// An empty cell, whose fetches run on `tasks`.
    pub fn new(tasks: TaskTracker) -> Self {
        Self(LeaseCache::new(1, tasks))
    }

    /// As [`LeaseCache::get_or_fetch`].
    ///
    /// # Errors
    /// What `fetch` fails with.
    pub async fn get_or_fetch(
        &self,
        now: Instant,
        fetch: impl Future<Output = Result<V>> + Send + 'static,
    ) -> Result<Arc<V>> {
        self.0.get_or_fetch((), Spare::Alive, now, fetch).await
    }

    /// Whether the value is still the one the caller has `seen`.
    pub fn holds(&self, seen: &Arc<V>, now: Instant) -> bool {
        self.0.get(&(), Spare::Alive, now).is_some_and(|value| Arc::ptr_eq(&value, seen))
    }

    /// As [`LeaseCache::discard`].
    pub fn discard(&self, seen: &Arc<V>) {
        self.0.discard(&(), seen);
    }
}

impl<V> std::fmt::Debug for LeaseCell<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeaseCell")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::lease::Life;

    #[derive(Debug)]
    struct Value(Life, usize);

    impl Lease for Value {
        fn life(&self) -> Life {
            self.0
        }

        fn outlives_itself(&self) -> Duration {
            Duration::from_secs(60)
        }
    }

    #[derive(Clone, Default)]
    struct Fetches(Arc<AtomicUsize>);

    impl Fetches {
        async fn fetch(self, seconds: u64) -> Result<Value> {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            // Lets every other caller reach the cache before this fetch is done.
            for _ in 0..2000 {
                tokio::task::yield_now().await;
            }
            Ok(Value(Life::starting(Instant::now(), Duration::from_secs(seconds)), count))
        }

        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn cache() -> LeaseCache<&'static str, Value> {
        LeaseCache::new(100, TaskTracker::new())
    }

    #[tokio::test]
    async fn concurrent_misses_share_one_fetch() {
        let (cache, fetches) = (cache(), Fetches::default());
        let now = Instant::now();
        let callers =
            (0..300).map(|_| cache.get_or_fetch("a", Spare::OwnUse, now, fetches.clone().fetch(900)));
        for result in futures_util::future::join_all(callers).await {
            assert_eq!(result.unwrap().1, 0);
        }
        assert_eq!(fetches.count(), 1);
    }

    #[tokio::test]
    async fn an_expired_value_is_fetched_once_more() {
        let (cache, fetches) = (cache(), Fetches::default());
        let now = Instant::now();
        cache.get_or_fetch("a", Spare::OwnUse, now, fetches.clone().fetch(900)).await.unwrap();
        let later = now + Duration::from_secs(886);
        let callers =
            (0..200).map(|_| cache.get_or_fetch("a", Spare::OwnUse, later, fetches.clone().fetch(3000)));
        for result in futures_util::future::join_all(callers).await {
            assert_eq!(result.unwrap().1, 1);
        }
        assert_eq!(fetches.count(), 2);
    }

    #[tokio::test]
    async fn a_fetch_outlives_the_caller_that_started_it() {
        let (cache, fetches) = (cache(), Fetches::default());
        let now = Instant::now();
        let mut first = Box::pin(cache.get_or_fetch("a", Spare::OwnUse, now, fetches.clone().fetch(900)));
        // Poll once, so that the fetch starts, then hang up.
        assert!(futures_util::future::poll_immediate(&mut first).await.is_none());
        while fetches.count() == 0 {
            tokio::task::yield_now().await;
        }
        drop(first);
        cache.get_or_fetch("a", Spare::OwnUse, now, fetches.clone().fetch(900)).await.unwrap();
        assert_eq!(fetches.count(), 1);
    }

    #[tokio::test]
    async fn one_failure_answers_all_who_waited_and_is_not_kept() {
        let cache = cache();
        let tries = Arc::new(AtomicUsize::new(0));
        let now = Instant::now();
        let attempt = || {
            let tries = Arc::clone(&tries);
            cache.get_or_fetch("a", Spare::OwnUse, now, async move {
                tries.fetch_add(1, Ordering::SeqCst);
                for _ in 0..500 {
                    tokio::task::yield_now().await;
                }
                Err(Error::new(ErrorKind::RateLimit, "ask"))
            })
        };
        for result in futures_util::future::join_all((0..100).map(|_| attempt())).await {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::RateLimit);
        }
        assert_eq!(tries.load(Ordering::SeqCst), 1);
        assert!(attempt().await.is_err());
        assert_eq!(tries.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn what_has_ended_is_believed_while_asking_fails_but_not_against_an_answer() {
        let cache = cache();
        let now = Instant::now();
        let fetch = |result: Result<Value>| cache.get_or_fetch("a", Spare::Alive, now, async move { result });
        let ended = || Ok(Value(Life { from: now, until: now }, 7));
        assert_eq!(fetch(ended()).await.unwrap().1, 7);
        let down = || Err(Error::new(ErrorKind::Upstream, "ask"));
        assert_eq!(fetch(down()).await.unwrap().1, 7);
        assert_eq!(fetch(down()).await.unwrap().1, 7, "again: it was not lost");
        let gone = Err(Error::new(ErrorKind::NotFound, "ask"));
        assert_eq!(fetch(gone).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(fetch(down()).await.is_err(), "what the drive denied is not believed again");
    }

    #[tokio::test]
    async fn only_the_value_that_failed_is_discarded() {
        let (cache, fetches) = (cache(), Fetches::default());
        let now = Instant::now();
        let old = cache.get_or_fetch("a", Spare::OwnUse, now, fetches.clone().fetch(900)).await.unwrap();
        cache.discard(&"a", &old);
        let new = cache.get_or_fetch("a", Spare::OwnUse, now, fetches.clone().fetch(900)).await.unwrap();
        cache.discard(&"a", &old);
        let kept = cache.get(&"a", Spare::OwnUse, now).unwrap();
        assert!(Arc::ptr_eq(&new, &kept));
        assert_eq!(fetches.count(), 2);
    }

    #[tokio::test]
    async fn a_value_is_renewed_once_while_the_old_one_serves() {
        let (cache, fetches) = (cache(), Fetches::default());
        let now = Instant::now();
        let old = cache.get_or_fetch("a", Spare::OwnUse, now, fetches.clone().fetch(900)).await.unwrap();
        for _ in 0..100 {
            cache.renew("a", &old, now, Errand::current(), fetches.clone().fetch(900));
            assert!(Arc::ptr_eq(&cache.get(&"a", Spare::OwnUse, now).unwrap(), &old));
        }
        // Whoever needs a new one meanwhile gets the one that is under way.
        let later = now + Duration::from_secs(899);
        let new = cache.get_or_fetch("a", Spare::OwnUse, later, fetches.clone().fetch(900)).await.unwrap();
        assert_eq!(new.1, 1);
        cache.renew("a", &old, now, Errand::current(), fetches.clone().fetch(900));
        assert_eq!(fetches.count(), 2);
        // A renewal that fails leaves what there was.
        cache.renew("a", &new, now, Errand::current(), async { Err(Error::new(ErrorKind::Upstream, "ask")) });
        tokio::task::yield_now().await;
        let kept = cache.get_or_fetch("a", Spare::OwnUse, now, fetches.clone().fetch(900)).await.unwrap();
        assert!(Arc::ptr_eq(&kept, &new));
    }

    #[tokio::test]
    async fn a_fetch_that_panics_is_an_error_and_the_next_one_is_made() {
        let cache = cache();
        let now = Instant::now();
        let broken = cache.get_or_fetch("a", Spare::Alive, now, async { panic!("a fault of ours") }).await;
        assert_eq!(broken.err().map(|error| error.kind()), Some(ErrorKind::Internal));
        assert!(cache.get_or_fetch("a", Spare::Alive, now, Fetches::default().fetch(9)).await.is_ok());
    }
}
