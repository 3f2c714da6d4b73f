//! Finding names among half a million entries that a drive has listed.
//!
//! A regression here is what somebody waits for who types into a search box, on a NAS. Goal: 50 ms. Entries lie on disk, in the page cache at best;
//! the first word is rare, the second in no name, the third in a tenth of them (its hits end at 5,000), the fourth Chinese.

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use drive_sim::{Content, Sim};
use futures_util::TryStreamExt;
use prometheus_client::registry::Registry;
use sluice::access::Visitor;
use sluice::access::rules::{Rules, Sight};
use sluice::app;
use sluice::clock::Clock;
use sluice::config::Config;
use sluice::driver::Calls;
use sluice::path::VirtualPath;
use sluice::resolve::{Counters, Question, ResolveRequest, Resolver, Search, Store, Want};
use sluice::secret::Secret;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

const FOLDERS: usize = 2_500;
const EACH: usize = 200;

fn name(number: usize) -> String {
    match number % 10 {
        0 => format!("流浪地球 {number} (2019).mkv"),
        rest => format!("A Film of Some Length {number} S{rest:02}E{:02} 1080p WEB-DL.mkv", number % 24),
    }
}

/// A drive of half a million files, all of which were listed once.
async fn listed(state: &tempfile::TempDir) -> Search {
    let folders = if std::env::args().any(|argument| argument == "--test") { 5 } else { FOLDERS };
    let drive = (0..folders * EACH).fold(Sim::builder(), |drive, number| {
        let path = format!("/{:04}/{}", number / EACH, name(number));
        drive.file(&path, Content::Virtual { len: 1, seed: 1 })
    });
    let drive = drive.settings(|settings| settings.rates = drive_sim::Rates::OFF);
    let sim = drive.start().await.expect("the drive starts");
    let text = format!(
        "[server]\nadmin_listen = \"\"\nstate_dir = \"{}\"\n[[mount]]\npath = \"/\"\ndriver = \"aliyundrive_open\"\n[mount.options]\n\
         api_base = \"{}\"\ndrive_type = \"resource\"\nrefresh_token = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n\
         rate_list = 100000\nrate_other = 100000\n",
        state.path().display(),
        sim.api_base(),
        sim.refresh_token(),
        sim.client_id(),
        sim.client_secret(),
    );
    let config = Config::parse(&text, "bench", std::iter::empty()).expect("a configuration");
    let (clock, tasks) = (Clock::new(), TaskTracker::new());
    let mounts = app::mounts(&config, &clock, &Calls::new(), &tasks).expect("mounts");
    let counters = Counters::register(&mut Registry::default());
    let file = state.path().join("entries.redb");
    let store = Store::open(&file, 1_000_000, counters.clone(), &tasks).expect("a store");
    let search = Search::new(Arc::clone(&mounts), Some(store.clone()));
    let resolver = Resolver::new(mounts, &config.cache, Some(store), clock, &tasks, counters);
    for number in 0..folders {
        let path = VirtualPath::parse(&format!("/{number:04}")).expect("a path");
        let request = ResolveRequest { path, want: Want::Children { fresh: false }, known: None };
        let found = resolver.clone().oneshot(request).await.expect("it is listed");
        let entries: Vec<_> =
            found.into_children().expect("children").pages().try_concat().await.expect("all pages");
        assert_eq!(entries.len(), EACH);
    }
    tasks.close();
    // Until all is written.
    tasks.wait().await;
    search
}

fn search_benches(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let state = tempfile::tempdir().expect("a temporary folder");
    let search = runtime.block_on(listed(&state));
    let rules = Rules::new(&[], &Secret::new("a-token-of-some-length"));
    let sight: Sight = rules.sight(Visitor::Administrator, std::iter::empty());
    let mut group = c.benchmark_group("search");
    group.sample_size(20);
    for (what, words, some) in [
        ("rare", "length 777 s07", true),
        ("none", "nothing of the kind", false),
        ("common", "s01e", true),
        ("chinese", "地球 770", true),
    ] {
        let ask = || {
            let question = Question { below: VirtualPath::root(), words: words.to_owned(), folders: None };
            search.ask(question, sight.clone())
        };
        let found = runtime.block_on(ask()).expect("an answer").expect("an index");
        assert_eq!(!found.is_empty(), some, "{what}: {}", found.len());
        group.bench_function(what, |b| b.to_async(&runtime).iter(ask));
    }
    group.finish();
}

criterion_group!(benches, search_benches);
criterion_main!(benches);
