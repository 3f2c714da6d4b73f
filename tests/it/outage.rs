//! A drive that fails in every way it can for a while: nobody is told that a film is gone, what is warm goes on, and when it
//! is over, it is over. A minute each where `SLUICE_SOAK` is set.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use drive_sim::{Content, Endpoint, Fault};
use tokio::time::Instant;

use crate::support::{FFMPEG, Rig, timed};

const FILES: usize = 2000;

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_no_404_leaves_what_is_warm_and_ends_when_it_ends() {
    let is_long = std::env::var_os("SLUICE_SOAK").is_some();
    let length = if is_long { Duration::from_secs(60) } else { Duration::from_secs(2) };
    let code = |status, code: &str| Fault::Code { status, code: code.to_owned(), message: String::new() };
    let faults = [
        code(429, "TooManyRequests"),
        code(500, "InternalError"),
        Fault::SlowHead(Duration::from_secs(600)),
        Fault::BadGateway,
        code(202, "SomethingElse"),
    ];
    let outages = faults.map(|fault| outage(fault, length));
    for end in futures_util::future::join_all(outages).await {
        std::io::Write::write_all(&mut std::io::stderr(), format!("{end}\n").as_bytes()).unwrap();
    }
}

async fn outage(fault: Fault, length: Duration) -> String {
    let rig = Rig::start(|drive| {
        (0..FILES).fold(drive, |drive, number| {
            drive.file(&format!("/{number}.mkv"), Content::Virtual { len: 1_000_000, seed: number as u64 })
        })
    })
    .await;
    let name = format!("{fault:?}");
    let film = |number: usize| rig.get(&format!("/d/ali/{number}.mkv?via=redirect")).agent(FFMPEG);
    for warm in 0..2 {
        assert_eq!(film(warm).header("sluice-priority", "x").send().await.status, 302);
    }
    let known = rig.get("/browse/ali/").send().await;
    assert_eq!(known.status, 200);
    for at in [Endpoint::GetByPath, Endpoint::DownloadUrl, Endpoint::List] {
        rig.sim.fault(at, fault.clone(), u32::MAX);
    }
    let (since, next) = (Instant::now(), AtomicUsize::new(2));
    // Links, which must be asked for, of files that are known; one after the other, as a person would try.
    let cold = async {
        let mut statuses = Vec::new();
        while since.elapsed() < length {
            statuses.push(film(next.fetch_add(1, Ordering::Relaxed)).send().await.status);
        }
        statuses
    };
    let warm = async {
        let mut asked = 0;
        while since.elapsed() < length {
            assert_eq!(film(0).send().await.status, 302, "{name}");
            let part = rig.get("/p/ali/1.mkv").range("bytes=500000-500999").send().await;
            assert_eq!((part.status, part.body.len()), (206, 1000), "{name}");
            assert_eq!(rig.get("/browse/ali/").send().await.status, 200, "{name}");
            asked += 3;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        asked
    };
    let recovery = async {
        tokio::time::sleep_until(since + length).await;
        rig.sim.clear_faults();
        let over = Instant::now();
        let viewer =
            rig.get(&format!("/d/ali/{}.mkv?via=redirect", FILES - 1)).agent("VLC/3.0.24 LibVLC/3.0.24");
        assert_eq!(viewer.send().await.status, 302, "{name}");
        over.elapsed()
    };
    let (statuses, warm, recovery) = tokio::join!(cold, warm, recovery);
    let wrong: Vec<_> = statuses.iter().filter(|status| !matches!(status, 302 | 502..=504)).collect();
    assert!(wrong.is_empty(), "{name}: {wrong:?}");
    assert!(recovery <= timed(Duration::from_secs(2)), "{name}: {recovery:?}");
    format!("{name}: {} cold asks, {warm} warm, recovered in {} ms", statuses.len(), recovery.as_millis())
}
