//! Few connections, many readers: who gets one, what they share, and what the drive sees of it.

use std::time::Duration;

use drive_sim::{Content, Endpoint, Fault};
use tokio::time::Instant;

use crate::support::{FFMPEG, KODI, Rig, Setup};

const MIB: u64 = 1 << 20;
const LEN: u64 = 512 * MIB;

/// Three films on a drive that gives each connection `bytes_per_second`, and no cache in front of it.
async fn rig(cap: usize, bytes_per_second: f64) -> Rig {
    with(cap, bytes_per_second, "[cache]\nblock_memory = \"0B\"\n").await
}

async fn with(cap: usize, bytes_per_second: f64, rest: &str) -> Rig {
    let setup =
        Setup { options: format!("max_connections = {cap}\n"), rest: rest.to_owned(), ..Setup::default() };
    let rig = Rig::with(setup, |drive| {
        (0..3)
            .fold(drive, |drive, n| drive.file(&format!("/{n}.mkv"), Content::Virtual { len: LEN, seed: n }))
            .settings(|settings| {
                settings.cap = Some(cap);
                settings.bytes_per_second = bytes_per_second;
            })
    })
    .await;
    // What every film needs once, so that the link rate is not what is measured.
    for n in 0..3 {
        rig.get(&film(n)).range("bytes=0-0").send().await;
    }
    rig.sim.reset_counts();
    rig
}

fn film(n: u64) -> String {
    format!("/p/ali/{n}.mkv")
}

/// What a reader has seen.
#[derive(Debug)]
struct Seen {
    bytes: u64,
    /// From the request to the head, and between any two pieces.
    longest_gap: Duration,
    time: Duration,
}

/// Reads `len` bytes of a film from `from` on, no faster than `bytes_per_second`, and compares every byte.
async fn read(rig: &Rig, n: u64, from: u64, len: u64, bytes_per_second: f64) -> Seen {
    let started = Instant::now();
    let mut last = started;
    let mut longest_gap = Duration::ZERO;
    let mut response = rig.get(&film(n)).range(&format!("bytes={from}-{}", from + len - 1)).open().await;
    assert_eq!(response.status(), 206, "film {n} from {from}");
    let mut bytes = 0;
    while let Some(piece) = response.chunk().await.unwrap() {
        let now = Instant::now();
        longest_gap = longest_gap.max(now - last);
        assert!(
            piece == drive_sim::content::bytes(n, from + bytes, piece.len()),
            "film {n} at {}",
            from + bytes
        );
        bytes += piece.len() as u64;
        let due = started + Duration::from_secs_f64(bytes as f64 / bytes_per_second);
        if due > now {
            tokio::time::sleep_until(due).await;
        }
        last = Instant::now();
    }
    assert_eq!(bytes, len);
    Seen { bytes, longest_gap, time: started.elapsed() }
}

const FREELY: f64 = f64::INFINITY;

#[tokio::test(flavor = "multi_thread")]
async fn six_players_with_four_sockets_on_three_films_get_their_bytes_from_two_or_three_connections() {
    for cap in [2, 3] {
        let rig = rig(cap, 50e6).await;
        let sockets = (0..24_u64).map(|n| {
            // Two players a film; each at its head, its index and two places in the middle.
            let (film, player, socket) = (n % 3, n / 12, n % 4);
            let from = [0, LEN - 2 * MIB, (100 + player) * MIB, (300 + player * 50) * MIB][socket as usize];
            read(&rig, film, from, 2 * MIB, FREELY)
        });
        let seen = futures_util::future::join_all(sockets).await;
        let counts = rig.sim.counts();
        assert_eq!(counts.denied_concurrency, 0, "cap {cap}");
        assert!(counts.peak_bodies <= cap as u64, "cap {cap}: {}", counts.peak_bodies);
        let longest = seen.iter().map(|seen| seen.longest_gap).max().unwrap();
        assert!(longest < Duration::from_secs(8), "cap {cap}: {longest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_viewers_of_one_film_are_one_connection() {
    // Who comes later catches up on what is kept of the film's beginning.
    let rig = with(2, 50e6, "").await;
    let viewers = (0..20).map(|n| {
        let rig = &rig;
        async move {
            tokio::time::sleep(Duration::from_millis(n * 20)).await;
            read(rig, 1, 0, 8 * MIB, 2e6).await
        }
    });
    futures_util::future::join_all(viewers).await;
    let counts = rig.sim.counts();
    assert_eq!((counts.peak_bodies, counts.denied_concurrency), (1, 0));
    // Once for everybody, and what was read ahead when the last one left.
    assert!(counts.bytes_sent < 16 * MIB, "{}", counts.bytes_sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_seeks_in_five_seconds_meet_no_error_and_no_refusal_once_the_lag_is_learned() {
    for lag_ms in [0, 300] {
        let rig = rig(2, 50e6).await;
        rig.sim.settings(|settings| settings.release_lag = Duration::from_millis(lag_ms));
        let seek = async |n: u64| {
            let from = n * 37 % 500 * MIB;
            let mut response = rig.get(&film(1)).range(&format!("bytes={from}-")).open().await;
            assert_eq!(response.status(), 206);
            let piece = response.chunk().await.unwrap().unwrap();
            assert!(piece == drive_sim::content::bytes(1, from, piece.len()));
        };
        // Until nothing is left to learn.
        let (mut n, mut calm) = (0, 0);
        while calm < 20 {
            let before = rig.sim.counts().denied_concurrency;
            seek(n).await;
            n += 1;
            calm = if rig.sim.counts().denied_concurrency == before { calm + 1 } else { 0 };
            assert!(n < 200, "refused again and again");
        }
        rig.sim.reset_counts();
        for n in n..n + 50 {
            let next = tokio::time::sleep(Duration::from_millis(100));
            seek(n).await;
            next.await;
        }
        let counts = rig.sim.counts();
        assert_eq!(counts.denied_concurrency, 0, "lag {lag_ms} ms {counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_lower_than_configured_is_learned_from_refusals_that_nobody_sees() {
    let rig = rig(3, 20e6).await;
    rig.sim.settings(|settings| settings.cap = Some(2));
    futures_util::future::join_all((0..3).map(|n| read(&rig, n, 0, 24 * MIB, FREELY))).await;
    let learning = rig.sim.counts().denied_concurrency;
    assert!((1..=3).contains(&learning), "{learning}");
    rig.sim.reset_counts();
    futures_util::future::join_all((0..6).map(|n| read(&rig, n % 3, n * 20 * MIB, 4 * MIB, FREELY))).await;
    assert_eq!(rig.sim.counts().denied_concurrency, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_of_different_films_share_two_connections_by_turns() {
    let rig = rig(2, 50e6).await;
    // Three at 16 Mbit/s on connections that give 400.
    let seen = futures_util::future::join_all((0..3).map(|n| read(&rig, n, 0, 12 * MIB, 2e6))).await;
    assert_eq!(rig.sim.counts().denied_concurrency, 0);
    for seen in seen {
        assert!(seen.longest_gap < Duration::from_millis(1500), "{seen:?}");
        assert!(seen.time < Duration::from_secs_f64(seen.bytes as f64 / 2e6 + 1.0), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_viewer_on_a_slow_drive_gets_what_two_connections_give() {
    let rig = rig(2, 2e6).await;
    let seen = read(&rig, 1, 20 * MIB, 32 * MIB, FREELY).await;
    let rate = seen.bytes as f64 / seen.time.as_secs_f64();
    assert!(rate >= 1.9 * 2e6, "{rate} {seen:?}");
    assert!(seen.longest_gap < Duration::from_millis(500), "{seen:?}");
    assert_eq!(rig.sim.counts().denied_concurrency, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_speed_that_collapses_is_left_for_a_new_connection() {
    let rig = rig(2, 4e6).await;
    rig.sim.fault(Endpoint::Content, Fault::Slow { after: 6 * MIB, bytes_per_second: 80_000 }, 3);
    let seen = read(&rig, 1, 0, 24 * MIB, 3e6).await;
    assert!(seen.time < Duration::from_secs_f64(24.0 * MIB as f64 / 3e6 + 4.0), "{seen:?}");
    assert!(seen.longest_gap < Duration::from_secs(3), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_player_lends_its_connection_and_goes_on_where_it_was() {
    let rig = rig(1, 50e6).await;
    let mut paused = rig.get(&film(0)).range("bytes=0-").open().await;
    let mut got = paused.chunk().await.unwrap().unwrap().len() as u64;
    read(&rig, 1, 50 * MIB, 4 * MIB, FREELY).await;
    while got < 40 * MIB {
        let piece = paused.chunk().await.unwrap().unwrap();
        assert!(piece == drive_sim::content::bytes(0, got, piece.len()));
        got += piece.len() as u64;
    }
    let counts = rig.sim.counts();
    assert_eq!((counts.peak_bodies, counts.denied_concurrency), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_gone_from_the_drive_within_a_tenth_of_a_second() {
    let rig = rig(3, 500e3).await;
    let mut response = rig.get(&film(0)).range("bytes=0-").open().await;
    response.chunk().await.unwrap();
    assert_eq!(rig.sim.counts().live_bodies, 1);
    drop(response);
    let left = Instant::now();
    while rig.sim.counts().live_bodies > 0 {
        assert!(left.elapsed() < Duration::from_millis(100), "still open");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_in_the_middle_of_a_film_waits_for_who_watches() {
    let rig = rig(1, 4e6).await;
    let scanner = async {
        let mut found = 0;
        for n in 0..5 {
            let from = (100 + 30 * n) * MIB;
            let part = format!("bytes={from}-{}", from + 200_000);
            found += rig.get(&film(2)).agent(FFMPEG).range(&part).send().await.body.len();
        }
        found
    };
    let viewer = read(&rig, 1, 0, 12 * MIB, 2e6);
    let (found, seen) = tokio::join!(scanner, viewer);
    assert_eq!(found, 5 * 200_001);
    assert!(seen.longest_gap < Duration::from_millis(1500), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_tails_are_asked_for_once() {
    let rig = with(3, 50e6, "").await;
    let parts =
        ["bytes=0-300000", "bytes=-130000", "bytes=0-1", "bytes=1000-250000", "bytes=536800000-536870911"];
    for agent in [KODI, FFMPEG] {
        for part in parts {
            rig.get(&film(0)).agent(agent).range(part).send().await;
        }
        if agent == KODI {
            assert!(rig.sim.counts().bytes_sent < MIB);
            rig.sim.reset_counts();
        }
    }
    let counts = rig.sim.counts();
    assert_eq!((counts.bytes_sent, counts.content, counts.api_calls()), (0, 0, 0));
}
