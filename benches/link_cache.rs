//! The cache in front of the drive's scarcest call.
//!
//! A regression here is felt in every redirect and every seek: each asks for the link of a file that is played, several
//! times a second while somebody scrubs. Goal: a hit within 0.4 µs, a warm path through the whole resolver within 2 µs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sluice::clock::Clock;
use sluice::driver::local;
use sluice::lease::{Lease, LeaseCache, Life, Spare};
use sluice::mount::{Mount, MountId, MountTable, Policy};
use sluice::path::VirtualPath;
use sluice::resolve::{Counters, ResolveRequest, Resolver, Settings, Want};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

struct Link(Life);

impl Lease for Link {
    fn life(&self) -> Life {
        self.0
    }
}

type Cache = LeaseCache<u64, Link>;

const LIFE: Duration = Duration::from_secs(900);

async fn fetch() -> sluice::error::Result<Link> {
    Ok(Link(Life::starting(Instant::now(), LIFE)))
}

async fn get(cache: &Cache, key: u64, now: Instant) -> Arc<Link> {
    cache.get_or_fetch(key, Spare::OwnUse, now, fetch()).await.unwrap_or_else(|error| panic!("{error}"))
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

fn cache_benches(c: &mut Criterion) {
    let runtime = runtime();
    let cache: Cache = LeaseCache::new(50_000, TaskTracker::new());
    let now = Instant::now();
    runtime.block_on(async {
        for key in 0..10_000 {
            get(&cache, key, now).await;
        }
    });

    c.bench_function("link_cache/hit", |b| {
        b.to_async(&runtime).iter(|| async { black_box(get(&cache, 77, now).await) });
    });

    // Eight viewers of one film: the same key from every task.
    let mut group = c.benchmark_group("link_cache");
    group.throughput(Throughput::Elements(8 * 1000));
    group.bench_function("contended_hit", |b| {
        b.to_async(&runtime).iter(|| async {
            let viewers = TaskTracker::new();
            for _ in 0..8 {
                let cache = cache.clone();
                viewers.spawn(async move {
                    for _ in 0..1000 {
                        black_box(get(&cache, 77, now).await);
                    }
                });
            }
            viewers.close();
            viewers.wait().await;
        });
    });
    group.throughput(Throughput::Elements(100));
    group.bench_function("coalesced_miss", |b| {
        let mut key = 1_000_000;
        b.to_async(&runtime).iter_batched(
            || {
                key += 1;
                key
            },
            |key| {
                let cache = cache.clone();
                async move { futures_util::future::join_all((0..100).map(|_| get(&cache, key, now))).await }
            },
            BatchSize::SmallInput,
        );
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("stale_turn_over", |b| {
        // Each call finds a lease that has ended and replaces it.
        b.to_async(&runtime).iter(|| async { black_box(get(&cache, 78, Instant::now() + LIFE).await) });
    });
    group.finish();
}

fn resolver_benches(c: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("film.mkv"), "film").expect("a file is written");
    let driver = local::open(folder.path()).expect("the folder opens");
    let path = VirtualPath::root();
    let mount = Arc::new(Mount { id: MountId(0), path, driver, policy: Policy::default() });
    let settings = Settings {
        entries: 1000,
        links: 1000,
        listing_ttl: Duration::from_secs(1800),
        negative_ttl: Duration::from_secs(30),
    };
    let clock = Clock::new();
    let resolver = Resolver::new(
        Arc::new(MountTable::new(vec![mount])),
        &settings,
        None,
        clock,
        &TaskTracker::new(),
        Counters::default(),
    );
    let boxed = BoxCloneSyncService::new(resolver.clone());
    let path = VirtualPath::parse("/film.mkv").expect("a path");
    let request = || ResolveRequest {
        path: path.clone(),
        want: Want::Source { spare: Spare::OwnUse, failed: None },
        known: None,
    };
    c.bench_function("resolve/warm", |b| {
        b.to_async(&runtime).iter(|| async { black_box(resolver.resolve(request()).await.is_ok()) });
    });
    c.bench_function("resolve/warm_boxed", |b| {
        b.to_async(&runtime).iter(|| async { black_box(boxed.clone().oneshot(request()).await.is_ok()) });
    });
}

criterion_group!(benches, cache_benches, resolver_benches);
criterion_main!(benches);
