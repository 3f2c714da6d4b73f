//! Thousands of connections that dribble, from the viewer's own address too, and a viewer that notices nothing. The full size
//! with `SLUICE_SOAK=full`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use drive_sim::{Content, Sim};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep_until, timeout};

use crate::process::{Server, sluice};
use crate::support::{Rig, Setup, UNPACED, configuration, unlimited};

const MB: u64 = 1_000_000;
/// Bytes; longer than any test reads.
const FILM: u64 = 8_000 * MB;
const SEED: u64 = 7;

fn say(line: &str) {
    std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes()).unwrap();
}

/// Lets this process have as many files as it may, and says how many.
fn open_files() -> usize {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    usize::try_from(most.unwrap_or(1 << 20)).unwrap()
}

// === The crowd ===

/// What the connections of the crowd met.
#[derive(Debug, Default)]
struct Met {
    opened: AtomicU64,
    cut: AtomicU64,
}

/// Connects, again and again, and dribbles: the head of a request, a line every other second, or the answer, some bytes.
async fn dribble(number: u64, addresses: u64, server: SocketAddr, met: Arc<Met>) {
    // Not all at the same moment.
    let first = Instant::now() + Duration::from_millis(number * 37 % 2000);
    let mut pace = interval_at(first, Duration::from_secs(2));
    loop {
        pace.tick().await;
        let Ok(mut stream) = connect(number, addresses, server).await else { continue };
        met.opened.fetch_add(1, Ordering::Relaxed);
        let reads = number.is_multiple_of(2);
        let start = if reads {
            // All at one place of the film: who may use the account's few connections is not what this is about.
            "GET /p/ali/film.mkv HTTP/1.1\r\nHost: x\r\n\r\n"
        } else {
            "GET /p/ali/film.mkv HTTP/1.1\r\nHost: x\r\n"
        };
        let mut went = stream.write_all(start.as_bytes()).await;
        while went.is_ok() {
            pace.tick().await;
            went = if reads {
                match timeout(Duration::ZERO, stream.read(&mut [0; 2])).await {
                    Ok(Ok(0)) => Err(std::io::ErrorKind::UnexpectedEof.into()),
                    Ok(read) => read.map(drop),
                    Err(_) => Ok(()),
                }
            } else {
                stream.write_all(b"x: y\r\n").await
            };
        }
        met.cut.fetch_add(1, Ordering::Relaxed);
    }
}

async fn connect(number: u64, addresses: u64, server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // All of 127.0.0.0/8 is this machine.
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1 + (number % addresses) as u8), 0)))?;
    socket.set_recv_buffer_size(4096)?;
    socket.connect(server).await
}

// === The viewer ===

/// A time without a piece: how long, how much of it until the head of an answer was there, and when it was over, from the beginning.
type Gap = (Duration, Duration, Duration);

/// Watches at 2 MB/s for so long and seeks every two seconds, on a new connection; the longest gap.
async fn watch(base: &str, time: Duration) -> Gap {
    const PACE: f64 = 2e6;
    let started = Instant::now();
    let mut longest = Gap::default();
    let mut place = 0;
    while started.elapsed() < time {
        place = (place + 331 * MB) % (FILM - 100 * MB);
        let (mut seen, mut since) = (0, Instant::now());
        // Each has its own connections.
        let client = crate::support::client();
        let asked = client.get(format!("{base}/p/ali/film.mkv")).header("range", format!("bytes={place}-"));
        let mut response = asked.send().await.expect("a viewer is let in");
        assert_eq!(response.status(), 206);
        let mut unanswered = since.elapsed();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            let piece = response.chunk().await.expect("a viewer is not cut").unwrap();
            longest = longest.max((since.elapsed(), std::mem::take(&mut unanswered), started.elapsed()));
            assert!(piece == drive_sim::content::bytes(SEED, place + seen, piece.len()), "at {place}");
            seen += piece.len() as u64;
            sleep_until(begun + Duration::from_secs_f64(seen as f64 / PACE)).await;
            since = Instant::now();
        }
    }
    longest
}

// === The server ===

fn open_in(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().count()
}

/// Resident memory in MiB.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_notices_nothing_of_thousands_of_connections_that_dribble() {
    let is_full = std::env::var_os("SLUICE_SOAK").is_some_and(|wanted| wanted == "full");
    let limit = open_files();
    let (wanted, addresses, time) = if is_full { (10_000, 20, 60) } else { (3000, 1, 12) };
    let crowd = wanted.min(limit - 300);
    let most = (limit / 3).min(2048);
    let setup = Setup { options: UNPACED.to_owned(), ..Setup::default() };
    let sim = Sim::builder()
        .file("/film.mkv", Content::Virtual { len: FILM, seed: SEED })
        .settings(unlimited)
        .start()
        .await
        .unwrap();
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("sluice.toml"), configuration(&sim, &setup)).unwrap();
    let mut command = sluice(folder.path());
    command.arg("serve");
    let server = Server::start(command);
    let address: SocketAddr = server.base.strip_prefix("http://").unwrap().parse().unwrap();
    // Once, so that what stays open is.
    watch(&server.base, Duration::from_secs(1)).await;
    let (open_before, memory_before) = (open_in(&server), resident(&server));

    let met = Arc::new(Met::default());
    let mut dribbling = JoinSet::new();
    for number in 0..crowd as u64 {
        dribbling.spawn(dribble(number, addresses, address, Arc::clone(&met)));
    }
    let full = Instant::now();
    while open_in(&server) < crowd.min(most) {
        assert!(full.elapsed() < Duration::from_secs(30), "{} of {crowd}: {met:?}", open_in(&server));
        tokio::task::yield_now().await;
    }
    let full = full.elapsed();
    let (longest, unanswered, at) = watch(&server.base, Duration::from_secs(time)).await;
    let (open, memory) = (open_in(&server), resident(&server));
    dribbling.shutdown().await;
    let left = Instant::now();
    // Kept: what goes to the drive.
    while open_in(&server) > open_before + 20 {
        assert!(left.elapsed() < Duration::from_secs(20), "{} open, {open_before} before", open_in(&server));
        tokio::task::yield_now().await;
    }
    say(&format!(
        "crowd: {crowd} connections from {addresses} addresses, full after {full:.1?}, {} opened and {} cut meanwhile; longest \
         gap of the viewer {longest:.0?} until {at:.1?}, {unanswered:.0?} of it without an answer; {open_before} files open before, {open} then, gone after {:.1?}; memory {memory_before} MiB \
         before, {memory} then, {} after",
        met.opened.load(Ordering::Relaxed),
        met.cut.load(Ordering::Relaxed),
        left.elapsed(),
        resident(&server),
    ));
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert!(met.cut.load(Ordering::Relaxed) > 0, "nobody had to make way");
    assert!(open < most + 300, "{open}");
    assert!(memory < memory_before + 500, "{memory} MiB");
}

// === Small ===

async fn rig(most: usize) -> Rig {
    let setup = Setup { server: format!("max_connections = {most}\n"), ..Setup::default() };
    Rig::with(setup, |drive| drive.file("/film.mkv", Content::Virtual { len: FILM, seed: SEED })).await
}

/// All that comes until the other side closes.
async fn hear(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    // A reset says the same as an end.
    let _ = stream.read_to_end(&mut heard).await;
    String::from_utf8(heard).unwrap()
}

#[tokio::test]
async fn a_head_is_waited_for_ten_seconds_and_not_sixty() {
    let rig = rig(0).await;
    let address: SocketAddr = rig.site.base.strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let started = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_eq!(hear(&mut stream).await, "");
    assert!((8..20).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn heads_have_their_limits() {
    let rig = rig(0).await;
    assert_eq!(rig.get(&format!("/{}", "a".repeat(9000))).send().await.status, 400);
    let fields = |count: usize| (0..count).fold(rig.get("/ping-me"), |ask, _| ask.header("x", "y"));
    assert_eq!(fields(90).send().await.status, 404);
    assert_eq!(fields(101).send().await.status, 431);
    assert_eq!(rig.get("/").header("x", &"y".repeat(70_000)).send().await.status, 431);
}

#[tokio::test]
async fn whoever_comes_when_all_watch_films_is_told_so() {
    let rig = rig(1).await;
    let mut response = rig.get("/p/ali/film.mkv").open().await;
    let mut seen = 0;
    while seen < 4 * MB {
        seen += response.chunk().await.unwrap().unwrap().len() as u64;
    }
    let address: SocketAddr = rig.site.base.strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let heard = hear(&mut stream).await;
    assert!(heard.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{heard}");
    assert!(
        heard.contains("\r\nRetry-After: 5\r\n") && heard.contains("\r\nConnection: close\r\n"),
        "{heard}"
    );
    // It goes on.
    while seen < 6 * MB {
        seen += response.chunk().await.unwrap().unwrap().len() as u64;
    }
}
