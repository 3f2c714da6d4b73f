//! Films watched as HLS, with the drive's limits on: longer than any link, by many at once, and past us.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use drive_sim::{Content, Preview, Sample};
use futures_util::future::join_all;

use crate::support::{Reply, Rig, Setup, follow};

/// How long the drive's links live.
const LIFE: Duration = Duration::from_secs(900);
/// A piece.
const PIECE: Duration = Duration::from_secs(10);

/// A drive with one film of this length, mounted to be delivered in this way.
async fn rig(length: Duration, delivery: &str) -> Rig {
    let setup = Setup { mount: format!("delivery = \"{delivery}\""), ..Setup::default() };
    Rig::with(setup, |drive| {
        drive.file("/films/film.mkv", Content::Sample(Sample::Mkv)).settings(|settings| {
            let preview = Preview { duration: Some(length), ..Preview::default() };
            settings.preview.insert("/films/film.mkv".to_owned(), preview);
        })
    })
    .await
}

/// A piece, followed to where a redirect leads.
async fn piece(rig: &Rig, variant: &str, number: u64) -> Vec<u8> {
    let reply = rig.get(&format!("/hls/ali/films/film.mkv/{variant}/{number}.ts")).send().await;
    let reply = match reply.status {
        302 => follow(reply.header("location"), None).await,
        _ => reply,
    };
    assert_eq!(reply.status, 200, "{number}: {}", String::from_utf8_lossy(&reply.body));
    reply.body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_of_six_hours_is_watched_with_seeks_and_a_pause_on_one_preview_call_a_link_life() {
    let six_hours = Duration::from_secs(6 * 3600);
    for delivery in ["proxy", "redirect"] {
        let rig = rig(six_hours, delivery).await;
        let master = rig.get("/hls/ali/films/film.mkv/master.m3u8").send().await;
        assert_eq!(master.status, 200);
        let media = rig.get("/hls/ali/films/film.mkv/sd/index.m3u8").send().await;
        let pieces = media.text().matches("#EXTINF").count() as u64;
        assert_eq!((pieces, media.text().ends_with("#EXT-X-ENDLIST\n")), (2160, true));
        // The committed pieces come round again every minute.
        let mut known: HashMap<u64, Vec<u8>> = HashMap::new();
        let (mut at, mut passed, mut seed) = (0_u64, Duration::ZERO, 7_u64);
        // The first piece of both qualities was looked at; what is looked at ahead comes to that.
        let (mut looked, mut asked) = (HashSet::from([0]), 2);
        let pass = |time: Duration, passed: &mut Duration| {
            rig.pass(time);
            *passed += time;
        };
        // All of it in a long run; else forty minutes, in many places.
        let steps = if std::env::var_os("SLUICE_SOAK").is_some() { pieces } else { 240 };
        for step in 0..steps {
            let body = piece(&rig, "sd", at).await;
            assert_eq!(*known.entry(at % 6).or_insert_with(|| body.clone()), body, "piece {at}");
            let ahead = [at + 1, at + 2].into_iter().filter(|next| *next < pieces && (at >= 2 || *next < 3));
            asked += 1 + ahead.filter(|next| looked.insert(*next)).count() as u64;
            // Time may pass only while nobody is on the way with an address: no clock jumps in truth.
            let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
            while rig.sim.counts().segment < asked {
                assert!(tokio::time::Instant::now() < deadline, "{asked}: {:?}", rig.sim.counts());
                tokio::task::yield_now().await;
            }
            pass(PIECE, &mut passed);
            if step == steps / 2 {
                pass(LIFE + Duration::from_secs(300), &mut passed);
            }
            at = (at + 1) % pieces;
            if step % 40 == 39 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                at = (seed >> 33) % pieces;
            }
        }
        let counts = rig.sim.counts();
        // Who is redirected is owed a third of a link's life, so a link serves for two thirds of it.
        let used = if delivery == "redirect" { LIFE * 2 / 3 } else { LIFE };
        let lives = passed.as_secs_f64() / used.as_secs_f64();
        // The others met the end of the access token, every two hours, and were refused.
        let calls = counts.preview_info - counts.unauthorized;
        let line = format!("{delivery}: {calls} previews in {lives:.1} lives, {counts:?}\n");
        assert!(calls as f64 <= lives && counts.unauthorized <= passed.as_secs() / 7200, "{line}");
        assert_eq!((counts.expired, counts.rate_limited, counts.bad_signature), (0, 0, 0), "{line}");
        say(&line);
    }
}

fn say(line: &str) {
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
}

/// What a player does that opens a film and watches three pieces of it.
async fn watch(rig: &Rig, film: &str) {
    let get =
        async |below: &str| -> Reply { rig.get(&format!("/hls/ali/films/{film}/{below}")).send().await };
    for below in ["master.m3u8", "ld/index.m3u8", "sd/index.m3u8", "sd/0.ts", "sd/1.ts", "sd/2.ts"] {
        let reply = get(below).await;
        assert_eq!(reply.status, 200, "{film}/{below}: {}", String::from_utf8_lossy(&reply.body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_viewers_of_a_film_cost_one_preview_call_a_link_life() {
    // Where a hundred players and browsers share two cores, an answer may take longer than a player is held.
    let setup = Setup { rest: "[proxy]\nhold = \"30s\"\n".to_owned(), ..Setup::default() };
    let rig = Rig::with(setup, |drive| drive.file("/films/film.mkv", Content::Sample(Sample::Mkv))).await;
    for lives in 1..=2 {
        join_all((0..100).map(|_| watch(&rig, "film.mkv"))).await;
        let counts = rig.sim.counts();
        assert_eq!((counts.preview_info, counts.playlist, counts.rate_limited), (lives, 2 * lives, 0));
        rig.pass(LIFE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_viewers_of_a_hundred_films_cost_one_preview_call_each() {
    let names: Vec<_> = (0..100).map(|number| format!("{number}.mkv")).collect();
    // The drive answers fifteen of these calls a second, so the last of a hundred waits for seven.
    let setup = Setup { rest: "[proxy]\nhold = \"30s\"\n".to_owned(), ..Setup::default() };
    let rig = Rig::with(setup, |drive| {
        names
            .iter()
            .fold(drive, |drive, name| drive.file(&format!("/films/{name}"), Content::Sample(Sample::Mkv)))
    })
    .await;
    // Somebody has looked at the folder.
    assert_eq!(rig.get("/browse/ali/films/").send().await.status, 200);
    for lives in 1..=2 {
        join_all(names.iter().map(|name| watch(&rig, name))).await;
        let counts = rig.sim.counts();
        // On a busy machine two calls may come closer together than they were made; what is refused for that is made again.
        assert_eq!(counts.preview_info - counts.rate_limited, 100 * lives, "{counts:?}");
        rig.pass(LIFE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirected_film_costs_us_its_playlists_alone() {
    let rig = rig(Duration::from_secs(7200), "redirect").await;
    let (mut ours, mut film) = (0, 0);
    let mut count = |reply: &Reply| {
        let headers: usize =
            reply.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        ours += reply.body.len() + headers;
    };
    for below in
        ["master.m3u8", "ld/index.m3u8", "sd/index.m3u8", "subtitles/zh/index.m3u8", "subtitles/zh.vtt"]
    {
        let reply = rig.get(&format!("/hls/ali/films/film.mkv/{below}")).send().await;
        assert_eq!(reply.status, 200, "{below}");
        count(&reply);
    }
    for number in 0..720 {
        let reply = rig.get(&format!("/hls/ali/films/film.mkv/sd/{number}.ts")).send().await;
        assert_eq!((reply.status, reply.header("sluice-delivery")), (302, "redirect"));
        count(&reply);
        film += follow(reply.header("location"), None).await.body.len();
    }
    let share = ours as f64 / film as f64;
    say(&format!("{ours} of {film} bytes, {:.3} %\n", share * 100.0));
    assert!(share < 0.01, "{ours} of {film}");
    assert_eq!(rig.sim.counts().rate_limited, 0);
}
