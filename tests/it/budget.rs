//! One account for a library scan and a household: nobody who presses Play waits for the scan.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use drive_sim::Content;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::{FFMPEG, Rig};

/// Files in the library; more than the scan gets to.
const FILES: usize = 400;
/// The drive's own figure is one link a second; the default stays below it.
const LINKS_PER_SECOND: f64 = 0.9;

fn film(number: usize) -> String {
    format!("/films/{number}.mkv")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_presses_play_does_not_wait_for_a_scan_that_takes_the_rest() {
    let rig = Rig::start(|drive| {
        (0..FILES).fold(drive, |drive, number| {
            drive.file(&film(number), Content::Virtual { len: 5_000_000, seed: number as u64 })
        })
    })
    .await;
    let ask = |number: usize, priority: &str| {
        rig.get(&format!("/d/ali{}?via=redirect", film(number)))
            .agent(FFMPEG)
            .header("sluice-priority", priority)
            .send()
    };
    // The scan lists the folder first, as scanners do.
    assert_eq!(rig.get("/browse/ali/films/").send().await.status, 200);
    rig.sim.reset_counts();
    let (started, is_over, next, scanned) =
        (Instant::now(), AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let scan = join_all((0..4).map(|_| async {
        while !is_over.load(Ordering::Relaxed) {
            if ask(next.fetch_add(1, Ordering::Relaxed), "background").await.status == 302 {
                scanned.fetch_add(1, Ordering::Relaxed);
            }
        }
    }));
    let plays = async {
        let mut waits = Vec::new();
        for person in 0..5 {
            // At any moment between two calls of the scan.
            tokio::time::sleep(Duration::from_millis(2300 + 170 * person as u64)).await;
            let pressed = Instant::now();
            let reply = rig
                .get(&format!("/d/ali{}?via=redirect", film(FILES - 1 - person)))
                .agent("VLC/3.0.24 LibVLC/3.0.24")
                .send()
                .await;
            assert_eq!(reply.status, 302);
            waits.push(pressed.elapsed());
        }
        is_over.store(true, Ordering::Relaxed);
        (waits, started.elapsed())
    };
    let ((waits, took), _) = tokio::join!(plays, scan);
    let slowest = waits.iter().max().unwrap();
    assert!(*slowest <= Duration::from_millis(1500), "{waits:?}");
    assert_eq!(rig.sim.counts().rate_limited, 0);
    let left = took.as_secs_f64() * LINKS_PER_SECOND - waits.len() as f64;
    let scanned = scanned.load(Ordering::Relaxed) as f64;
    assert!(scanned >= 0.85 * left, "{scanned} of {left:.1} calls that were left");
}
