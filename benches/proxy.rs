//! The whole product over loopback, beside the drive alone.
//!
//! A regression here is what a viewer waits at every seek and what a NAS burns for every film. Built as `main` builds it,
//! gate, log line and all; the anchor in each group is the same client asking the simulated drive directly, so the
//! ratio of the two is what counts. Goal for a range: within 2.0 of the drive alone, which is what a bare pass-through on
//! the same libraries costs; both ends and the product share this machine's cores.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use drive_sim::{Content, Sim};
use sluice::app::{App, Listeners};
use sluice::clock::Clock;
use sluice::config::Config;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

struct Rig {
    _sim: Sim,
    _state: tempfile::TempDir,
    client: reqwest::Client,
    /// The film through the product.
    proxied: String,
    /// The film at the drive.
    direct: String,
    redirect: String,
    stop: CancellationToken,
}

impl Rig {
    async fn start() -> Self {
        let film = Content::Virtual { len: 8 << 30, seed: 1 };
        let sim = Sim::builder().file("/films/film.mkv", film).start().await.expect("the drive starts");
        let state = tempfile::tempdir().expect("a temporary folder");
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin_listen = \"\"\nstate_dir = \"{}\"\n[access]\nguest = true\n\
             [[mount]]\npath = \"/\"\ndriver = \"aliyundrive_open\"\n[mount.options]\napi_base = \"{}\"\ndrive_type = \"resource\"\n\
             refresh_token = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n",
            state.path().display(),
            sim.api_base(),
            sim.refresh_token(),
            sim.client_id(),
            sim.client_secret(),
        );
        let config = Config::parse(&text, "bench", std::iter::empty()).expect("a configuration");
        let app = App::build(&config, Clock::new()).expect("the product is built");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        let run = app.run(Listeners { public: vec![listener.into()], admin: None }, stop.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with the bench")]
        tokio::spawn(run);
        #[expect(clippy::disallowed_methods, reason = "a client of the product, not of a drive")]
        let client =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
        let client = client.expect("a client");
        let redirect = format!("{base}/d/films/film.mkv?via=redirect");
        let answer = client.get(&redirect).send().await.expect("an answer");
        let direct = answer.headers()["location"].to_str().expect("a location").to_owned();
        Self {
            _sim: sim,
            _state: state,
            client,
            proxied: format!("{base}/p/films/film.mkv"),
            direct,
            redirect,
            stop,
        }
    }

    /// Gets a range and drops its bytes.
    async fn range(&self, url: &str, start: u64, len: u64) -> u64 {
        let range = format!("bytes={start}-{}", start + len - 1);
        let mut response = self.client.get(url).header("range", range).send().await.expect("an answer");
        assert_eq!(response.status(), 206);
        let mut got = 0;
        while let Some(piece) = response.chunk().await.expect("a whole body") {
            got += piece.len() as u64;
        }
        assert_eq!(got, len);
        got
    }
}

fn loopback(c: &mut Criterion) {
    let runtime: Runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let rig = runtime.block_on(Rig::start());

    c.bench_function("proxy/redirect", |b| {
        b.to_async(&runtime).iter(|| async {
            let response = rig.client.get(&rig.redirect).send().await.expect("an answer");
            assert_eq!(response.status(), 302);
        });
    });
    for (name, len) in [("first_byte", 1_u64), ("range_64k", 64 << 10), ("range_1m", 1 << 20)] {
        let mut group = c.benchmark_group(format!("proxy/{name}"));
        group.throughput(Throughput::Bytes(len));
        for (way, url) in [("drive_alone", &rig.direct), ("proxied", &rig.proxied)] {
            let mut start = 0;
            group.bench_function(BenchmarkId::from_parameter(way), |b| {
                b.to_async(&runtime).iter(|| {
                    // Another place each time, as seeks are.
                    start = (start + (97 << 20) + 4099) % (7 << 30);
                    let at = start;
                    let rig = &rig;
                    async move { black_box(rig.range(url, at, len).await) }
                });
            });
        }
        group.finish();
    }
    rig.stop.cancel();
}

criterion_group!(benches, loopback);
criterion_main!(benches);
