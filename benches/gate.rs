//! The gate in front of every request.
//!
//! A regression here is paid by each segment, each seek and each 302. Goal: at most a twentieth of the redirects that can be had in a second,
//! which the second group counts: over loopback, on 64 connections, with whoever asks on the same cores. Each passes by another reason: a guest, the API token, a user whose password was looked at before, the token of a login, a signature in
//! AList's form, one of an exported address; and a user where fifty rules hold elsewhere.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use data_encoding::BASE64;
use drive_sim::{Content, Sim};
use http::StatusCode;
use sluice::access::admission::Admission;
use sluice::access::keys::Keys;
use sluice::access::rules::Rule;
use sluice::access::{PasswordHash, Permissions, Settings, User};
use sluice::app::{App, Listeners};
use sluice::clock::Clock;
use sluice::config::Config;
use sluice::error::Error;
use sluice::http::{Body, Request, Response};
use sluice::layer::authenticate::{AuthenticateLayer, Classify};
use sluice::path::{VirtualPath, encode_component};
use sluice::secret::Secret;
use sluice::serve::target;
use sluice::sign::Signer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, service_fn};

/// Of `secret`.
const HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$ylQCvdga7pGQLZiv8M0LlA$a/UPej0sBb3alukV4r/SGHNmqtjhGL1fT+WQZlVt4M0";
const FILM: &str = "/films/film.mkv";
const TOKEN: &str = "a-token-of-some-length";

fn path(text: &str) -> VirtualPath {
    VirtualPath::parse(text).expect("a path")
}

fn request(query: &str, authorization: Option<&str>) -> Request {
    let mut request = http::Request::get(format!("/d{FILM}?via=redirect{query}"))
        .header("user-agent", "Kodi/20.1 (X11; Linux x86_64)")
        .header("host", "127.0.0.1:8470")
        .header("accept", "*/*");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    request.body(()).expect("a request")
}

fn gate_benches(c: &mut Criterion) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let state = tempfile::tempdir().expect("a temporary folder");
    let hash = PasswordHash::parse(HASH).expect("a hash");
    let may = Permissions { read: true, ..Permissions::default() };
    let anna = Arc::new(User { name: "anna".into(), hash, root: VirtualPath::root(), may });
    let rule = |number: u32| Rule {
        path: path(&format!("/elsewhere/{number}")),
        password: None,
        hide: vec!["*.nfo".to_owned()],
        users: vec!["anna".into()],
        recursive: true,
    };
    let settings = |guest, rules: u32| Settings {
        guest,
        users: vec![Arc::clone(&anna)],
        rules: (0..rules).map(rule).collect(),
        ..Settings::default()
    };
    let admission = |guest, rules| {
        let token = Secret::new(TOKEN);
        Admission::new(&settings(guest, rules), token, state.path(), Clock::new()).expect("an admission")
    };
    let basic = format!("Basic {}", BASE64.encode(b"anna:secret"));
    let login = admission(false, 0).issue(&anna);
    let signed = Signer::new(&Secret::new(TOKEN)).sign(&path(FILM), 0);
    let exported = Keys::new(state.path()).sign(&path(FILM), 0, 0).expect("a signature");
    let sign = |sign: &str| format!("&sign={}", encode_component(sign));
    let none = String::new();

    let mut group = c.benchmark_group("gate");
    for (name, guest, rules, query, authorization) in [
        ("guest", true, 0, &none, None),
        ("api_token", false, 0, &none, Some(TOKEN)),
        ("user", false, 0, &none, Some(&*basic)),
        ("user_beside_fifty_rules", false, 50, &none, Some(&*basic)),
        ("login", false, 0, &none, Some(login.expose())),
        ("signature", false, 0, &sign(&signed), None),
        ("exported", false, 0, &sign(&exported), None),
    ] {
        let classify: Classify = Arc::new(|request| target::requirement(request, ""));
        let inner = service_fn(|_: Request| std::future::ready(Ok::<_, Error>(Response::new(Body::empty()))));
        let mut gate = AuthenticateLayer::new(admission(guest, rules), classify).layer(inner);
        let asked = request(query, authorization);
        let first = runtime.block_on(gate.call(asked.clone())).expect("an answer");
        assert_eq!(first.status(), StatusCode::OK, "{name}");
        group.bench_function(name, |b| {
            b.to_async(&runtime).iter(|| black_box(gate.call(asked.clone())));
        });
    }
    // What is not the gate: the request is copied each time.
    let asked = request(&none, Some(&basic));
    group.bench_function("copying_the_request", |b| b.iter(|| black_box(asked.clone())));

    group.finish();

    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let film = Content::Virtual { len: 8 << 30, seed: 1 };
    let sim = runtime.block_on(Sim::builder().file(FILM, film).start()).expect("the drive starts");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin_listen = \"\"\nstate_dir = \"{}\"\n[access]\napi_token = \"{TOKEN}\"\n\
         [[access.user]]\nname = \"anna\"\npassword_hash = \"{HASH}\"\npermissions = [\"read\"]\n[[mount]]\npath = \"/\"\ndriver = \"aliyundrive_open\"\n[mount.options]\napi_base = \"{}\"\ndrive_type = \"resource\"\n\
         refresh_token = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n",
        state.path().display(),
        sim.api_base(),
        sim.refresh_token(),
        sim.client_id(),
        sim.client_secret(),
    );
    let config = Config::parse(&text, "bench", std::iter::empty()).expect("a configuration");
    let app = runtime.block_on(async { App::build(&config, Clock::new()) }).expect("the product is built");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let run = app.run(Listeners { public: vec![listener.into()], admin: None }, CancellationToken::new());
    runtime.spawn(run);

    let mut group = c.benchmark_group("gate_redirects");
    group.throughput(Throughput::Elements(1));
    for (name, query, authorization) in [
        ("api_token", &none, Some(TOKEN)),
        ("user", &none, Some(&*basic)),
        ("signature", &sign(&signed), None),
        ("exported", &sign(&exported), None),
    ] {
        let head = head_of(&request(query, authorization));
        group.bench_function(name, |b| {
            b.to_async(&runtime).iter_custom(|times| redirects(address, Arc::clone(&head), times));
        });
    }
    group.finish();
}

/// A request as it goes over the line.
fn head_of(request: &Request) -> Arc<str> {
    let mut head = format!("GET {} HTTP/1.1\r\n", request.uri());
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().expect("text"));
    }
    (head + "\r\n").into()
}

/// How long so many redirects take, on all connections together.
async fn redirects(address: SocketAddr, head: Arc<str>, times: u64) -> Duration {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(TcpStream::connect(address).await.expect("a connection"));
    }
    let begun = Instant::now();
    let asking = connections.into_iter().map(|mut connection| {
        let head = Arc::clone(&head);
        #[expect(clippy::disallowed_methods, reason = "it is waited for below")]
        tokio::spawn(async move {
            let mut answer = [0; 4096];
            for _ in 0..times.div_ceil(CONNECTIONS) {
                connection.write_all(head.as_bytes()).await.expect("a request is taken");
                let mut got = 0;
                while !answer[..got].ends_with(b"\r\n\r\n") {
                    got += connection.read(&mut answer[got..]).await.expect("an answer");
                }
                assert!(answer.starts_with(b"HTTP/1.1 302"), "{}", String::from_utf8_lossy(&answer[..got]));
            }
        })
    });
    for asked in asking.collect::<Vec<_>>() {
        asked.await.expect("all are answered");
    }
    let asked = times.div_ceil(CONNECTIONS) * CONNECTIONS;
    begun.elapsed().mul_f64(times as f64 / asked as f64)
}

const CONNECTIONS: u64 = 64;

criterion_group!(benches, gate_benches);
criterion_main!(benches);
