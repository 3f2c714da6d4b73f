//! One account for a library scan and a household: nobody who presses Play waits for the scan. With `SLUICE_SOAK` set, the
//! whole library of 10,000 films, ten times as fast as the drive is: every rate tenfold, every time a tenth.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use drive_sim::{Content, Rates};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::{FFMPEG, Rig, Setup};

struct Scale {
    /// How many times as fast as the drive.
    speed: f64,
    /// Films in the library.
    films: usize,
    /// How many of them the scan asks for at most.
    scanned: usize,
    /// How often each of the five people presses Play.
    presses: usize,
}

const SMALL: Scale = Scale { speed: 1.0, films: 400, scanned: 12, presses: 1 };
/// The scan takes some twenty minutes; each of the five presses every four seconds or so, which is every forty in truth.
const WHOLE: Scale = Scale { speed: 10.0, films: 11_500, scanned: 10_000, presses: 300 };
/// The drive's own figure is one link a second; the default stays below it.
const LINKS_PER_SECOND: f64 = 0.9;

fn film(number: usize) -> String {
    format!("/films/{number}.mkv")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_presses_play_does_not_wait_for_a_scan_that_takes_the_rest() {
    let scale = if std::env::var_os("SLUICE_SOAK").is_some() { WHOLE } else { SMALL };
    let speed = scale.speed;
    let options = format!(
        "rate_list = {}\nrate_link = {}\nrate_other = {}\n",
        3.9 * speed,
        LINKS_PER_SECOND * speed,
        14.9 * speed
    );
    let rig = Rig::with(Setup { options, ..Setup::default() }, |drive| {
        let drive = drive.settings(|settings| {
            let Rates { burst, list, link, other } = settings.rates;
            settings.rates = Rates { burst, list: list * speed, link: link * speed, other: other * speed };
        });
        (0..scale.films).fold(drive, |drive, number| {
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
    let (started, next, scanned) = (Instant::now(), AtomicUsize::new(0), AtomicUsize::new(0));
    let scan = join_all((0..4).map(|_| async {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= scale.scanned {
                break started.elapsed();
            }
            // A film that is refused for the time being is asked for again, as scanners do.
            while ask(number, "background").await.status != 302 {}
            scanned.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let people = join_all((0..5_u32).map(|person| {
        let rig = &rig;
        async move {
            let mut waits = Vec::new();
            for press in 0..scale.presses {
                // At any moment between two calls of the scan.
                let chance = f64::from(getrandom::u32().unwrap() % 1000) / 1000.0;
                let pause = if scale.presses > 1 {
                    20.0 + 40.0 * chance
                } else {
                    2.3 * f64::from(person + 1) + 0.5 * chance
                };
                tokio::time::sleep(Duration::from_secs_f64(pause / speed)).await;
                let pressed = Instant::now();
                // Another film each time, so that each press costs a link.
                let film = film(scale.films - 1 - (press * 5 + person as usize));
                let player = rig.get(&format!("/d/ali{film}?via=redirect"));
                assert_eq!(player.agent("VLC/3.0.24 LibVLC/3.0.24").send().await.status, 302);
                waits.push(pressed.elapsed());
            }
            waits
        }
    }));
    let (waits, ends) = tokio::join!(people, scan);
    let took = *ends.iter().max().unwrap();
    let mut waits: Vec<_> = waits.into_iter().flatten().collect();
    waits.sort_unstable();
    let p95 = waits[(waits.len() * 95).div_ceil(100) - 1];
    let counts = rig.sim.counts();
    assert_eq!(counts.rate_limited, 0);
    let scanned = scanned.load(Ordering::Relaxed) as f64;
    let played = counts.links as f64 - scanned;
    let left = took.as_secs_f64() * LINKS_PER_SECOND * speed - played;
    let line = format!(
        "{scanned} films scanned in {:.0} s beside {} presses ({played} links): {:.1} % of what was left; Play to 302: \
         median {} ms, p95 {} ms, longest {} ms\n",
        took.as_secs_f64(),
        waits.len(),
        100.0 * scanned / left,
        waits[waits.len() / 2].as_millis(),
        p95.as_millis(),
        waits[waits.len() - 1].as_millis()
    );
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
    assert!(p95.mul_f64(speed) <= Duration::from_millis(1500), "{waits:?}");
    assert!(scanned >= 0.85 * left, "{scanned} of {left:.1} calls that were left");
}
