//! Long runs: many broken bodies, a film that outlasts its links, a day of seeks. Small unless `SLUICE_SOAK` is set:
//! to `full`, or to a number of thousandths of the full size; then meant for a release build. `SLUICE_SOAK_SEED` is the
//! first seed of the broken bodies, so that one that failed can be read again.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use drive_sim::{Content, Endpoint, Fault};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{Rig, Setup, UNPACED, timed, unlimited};

const MB: u64 = 1_000_000;
/// What the drive gives a connection, in bytes a second.
const DRIVE: f64 = 50e6;

/// How many thousandths of the full size are wanted; none where the small size is.
fn size() -> Option<u64> {
    let wanted = std::env::var_os("SLUICE_SOAK")?;
    Some(if wanted == "full" { 1000 } else { wanted.to_str().unwrap().parse().unwrap() })
}

fn say(line: &str) {
    std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes()).unwrap();
}

/// Numbers that look random and come again for the same seed: SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted
        .get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

// === Row 1: broken bodies ===

/// One read of a whole film.
struct Run {
    seed: u64,
    time: Duration,
    /// From the request to the first piece, and between any two; longest first.
    gaps: Vec<Duration>,
    /// The faults that the read met, and how long each takes by itself; longest first.
    met: Vec<(Duration, String)>,
    drawn: usize,
}

/// A fault, and how long it takes by itself.
fn draw(dice: &mut Dice) -> (Fault, Duration) {
    let at_once = |fault| (fault, Duration::ZERO);
    // Near the beginning of an answer as often as far into it, so that short parts are broken too.
    let most = 1 << dice.between(10, 26);
    let after = if dice.below(16) == 0 { 0 } else { dice.below(most) };
    match dice.below(13) {
        0 => at_once(Fault::Reset { after }),
        1 => at_once(Fault::ShortBody { after }),
        2 => {
            let for_ = Duration::from_millis(dice.between(1000, 60_000));
            (Fault::Stall { after, for_ }, for_)
        }
        // 0.2 to 2 % of what the drive gives.
        3 => at_once(Fault::Slow { after, bytes_per_second: dice.between(100_000, 1_000_000) }),
        4 => at_once(Fault::Status(
            403,
            "<Error><Code>AccessDenied</Code><Message>Request has expired.</Message></Error>".to_owned(),
        )),
        5 => at_once(Fault::Status(
            403,
            "<Error><Code>RequestDeniedByCallback</Code><Message>reason: ExceedMaxConcurrency</Message></Error>"
                .to_owned(),
        )),
        6 => at_once(Fault::BadGateway),
        7 => at_once(Fault::SlowDown),
        8 => at_once(Fault::WholeInsteadOfPart),
        9 => at_once(Fault::WrongContentRange),
        10 => at_once(Fault::DropConnection),
        11 => at_once(Fault::Redirect("http://elsewhere.example/film.mkv".to_owned())),
        _ => {
            let time = Duration::from_millis(dice.between(200, 5000));
            (Fault::SlowHead(time), time)
        }
    }
}

/// Whether a fault shows in an answer of so many bytes, which begins at `start`.
fn shows(fault: &Fault, start: u64, len: u64) -> bool {
    match fault {
        Fault::Reset { after }
        | Fault::ShortBody { after }
        | Fault::Stall { after, .. }
        | Fault::Slow { after, .. } => *after < len,
        Fault::WholeInsteadOfPart => start > 0,
        _ => true,
    }
}

/// First and last of a `Range` header.
fn asked(headers: &http::HeaderMap) -> (u64, u64) {
    let range = headers["range"].to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (first, last) = range.split_once('-').unwrap();
    (first.parse().unwrap(), last.parse().unwrap())
}

async fn read_through_faults(seed: u64, len: u64) -> Run {
    let setup = Setup { options: "max_connections = 3\n".to_owned(), ..Setup::default() };
    let rig = Rig::with(setup, |drive| {
        drive.file("/film.mkv", Content::Virtual { len, seed }).settings(|settings| {
            settings.cap = Some(3);
            settings.bytes_per_second = DRIVE;
        })
    })
    .await;

    // The nth answer of the drive gets the nth of these.
    let mut dice = Dice(seed);
    let mut plan = Vec::new();
    let drawn = dice.between(1, 5) as usize;
    for _ in 0..drawn {
        if dice.below(3) == 0 {
            plan.push((Fault::SlowHead(Duration::ZERO), Duration::ZERO));
        }
        plan.push(draw(&mut dice));
    }
    for (fault, _) in &plan {
        rig.sim.fault(Endpoint::Content, fault.clone(), 1);
    }

    let started = Instant::now();
    let mut last = started;
    let mut gaps = Vec::new();
    let mut at = 0;
    let mut response = rig.get("/p/ali/film.mkv").open().await;
    assert_eq!(response.status(), 200, "seed {seed}: {plan:?}");
    loop {
        let piece = response.chunk().await;
        let now = Instant::now();
        let piece = piece.unwrap_or_else(|error| {
            panic!("seed {seed}: cut at {at} after {:?}: {error} {plan:?}", started.elapsed())
        });
        let Some(piece) = piece else { break };
        gaps.push(now - last);
        assert!(piece == drive_sim::content::bytes(seed, at, piece.len()), "seed {seed}: at {at} {plan:?}");
        at += piece.len() as u64;
        last = Instant::now();
    }
    assert_eq!(at, len, "seed {seed}: {plan:?}");

    let requests = rig.sim.requests().into_iter().filter(|seen| seen.endpoint == Endpoint::Content);
    let mut met: Vec<_> = requests
        .zip(plan)
        .filter(|(seen, (fault, _))| {
            let (first, last) = asked(&seen.headers);
            *fault != Fault::SlowHead(Duration::ZERO) && shows(fault, first, last - first + 1)
        })
        .map(|(_, (fault, time))| (time, format!("{fault:?}")))
        .collect();
    met.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    gaps.sort_by_key(|gap| std::cmp::Reverse(*gap));
    Run { seed, time: started.elapsed(), gaps, met, drawn }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_survive_one_to_five_random_faults_each() {
    let (runs, len, at_once) = size().map_or((24, 24 * MB, 24), |runs| (runs, 200 * MB, 8));
    let first_seed =
        std::env::var_os("SLUICE_SOAK_SEED").map_or(0, |seed| seed.to_str().unwrap().parse::<u64>().unwrap());
    let started = Instant::now();
    let mut seeds = first_seed..first_seed + runs;
    let mut reads = JoinSet::new();
    let mut done = Vec::new();
    loop {
        while reads.len() < at_once
            && let Some(seed) = seeds.next()
        {
            reads.spawn(read_through_faults(seed, len));
        }
        let Some(run) = reads.join_next().await else { break };
        done.push(run.unwrap());
    }

    let mut resumes = Vec::new();
    for run in &done {
        // The longest gaps are taken to be what the faults did, the longest for the longest.
        let times = run.met.iter().map(|(time, _)| *time);
        resumes.extend(run.gaps.iter().zip(times).map(|(gap, time)| gap.saturating_sub(time)));
    }
    resumes.sort();
    let worst = done.iter().max_by_key(|run| run.gaps[0]).unwrap();
    let slowest = done.iter().max_by_key(|run| run.time).unwrap();
    let drawn: usize = done.iter().map(|run| run.drawn).sum();
    let mut line = format!("row 1: {runs} reads of {} MB in {:.0?}, ", len / MB, started.elapsed());
    write!(line, "{drawn} faults drawn, {} met; ", resumes.len()).unwrap();
    write!(line, "resume median {:.0?}, ", percentile(&resumes, 50)).unwrap();
    write!(line, "90 % {:.0?}, 99 % {:.0?}; ", percentile(&resumes, 90), percentile(&resumes, 99)).unwrap();
    write!(line, "longest gap {:.2?} (seed {} {:?}); ", worst.gaps[0], worst.seed, worst.met).unwrap();
    write!(line, "longest read {:.1?} (seed {} {:?})", slowest.time, slowest.seed, slowest.met).unwrap();
    say(&line);
    assert!(worst.gaps[0] < Duration::from_secs(8), "seed {}: {:?}", worst.seed, worst.gaps[0]);
    assert!(percentile(&resumes, 50) < timed(Duration::from_millis(300)));
}

// === Row 2: a film that outlasts its links ===

/// The real film has 7.5 MB a second; a hundredth of that is read, or less, so that the machine can keep up.
struct Scale {
    /// Length of the film.
    film: Duration,
    /// Seconds of the film that are read in a second.
    times: u32,
    /// Bytes of a second of the film.
    bytes: u64,
}

const LINK_LIFE: Duration = Duration::from_secs(900);

#[tokio::test(flavor = "multi_thread")]
async fn a_long_film_costs_one_link_a_link_life() {
    let hours = |hours: f64| Duration::from_secs_f64(hours * 3600.0);
    // No faster than that a new link a life stays below the drive's one a second.
    let scale = match size() {
        None => Scale { film: hours(1.25), times: 450, bytes: 50_000 },
        Some(_) => Scale { film: hours(3.0), times: 300, bytes: 75_000 },
    };
    let len = scale.film.as_secs() * scale.bytes;
    // Both clocks run ahead, so that links live as long, and end as exactly, as they do in earnest.
    let rig = Rig::with(Setup::default(), |drive| {
        drive.file("/film.mkv", Content::Virtual { len, seed: 9 }).settings(|settings| {
            settings.link_life = Some(LINK_LIFE);
            settings.bytes_per_second = DRIVE;
        })
    })
    .await;
    // A tenth of a life after it began each answer breaks off, so that every link is used again and again.
    rig.sim.fault_every(Endpoint::Content, Fault::Reset { after: LINK_LIFE.as_secs() / 10 * scale.bytes }, 1);

    let started = Instant::now();
    let clocks = async {
        let mut passed = Duration::ZERO;
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            tick.tick().await;
            let due = started.elapsed() * (scale.times - 1);
            rig.pass(due - passed);
            // The clocks count whole milliseconds, which this is.
            passed = Duration::from_millis(due.as_millis() as u64);
        }
    };
    let viewer = async {
        let mut response = rig.get("/p/ali/film.mkv").open().await;
        assert_eq!(response.status(), 200);
        let (mut at, mut longest_gap, mut last) = (0, Duration::ZERO, started);
        while let Some(piece) = response.chunk().await.unwrap() {
            let now = Instant::now();
            longest_gap = longest_gap.max(now - last);
            assert!(piece == drive_sim::content::bytes(9, at, piece.len()), "at {at}");
            at += piece.len() as u64;
            let seen = Duration::from_secs_f64(at as f64 / scale.bytes as f64);
            tokio::time::sleep_until(started + seen / scale.times).await;
            last = Instant::now();
        }
        assert_eq!(at, len);
        longest_gap
    };
    let longest_gap = tokio::select! {
        gap = viewer => gap,
        () = clocks => unreachable!("clocks go on"),
    };

    let time = started.elapsed();
    let counts = rig.sim.counts();
    let lives = (time * scale.times).as_secs_f64() / LINK_LIFE.as_secs_f64();
    say(&format!(
        "row 2: {:?} of film, {} MB at {} times its pace in {time:.1?}: {} link calls ({} links) in {lives:.2} link \
         lives, {} requests to the drive, {} with an expired link, {} refused for their rate; longest gap {longest_gap:.0?}",
        scale.film,
        len / MB,
        scale.times,
        counts.download_url,
        counts.links,
        counts.content,
        counts.expired,
        counts.rate_limited,
    ));
    assert!(counts.content as f64 > 9.0 * lives, "links were not used again: {counts:?}");
    assert!(counts.download_url as f64 <= lives.ceil() + 1.0, "{counts:?}");
    assert!(longest_gap < Duration::from_secs(8));
}

// === Row 3: a day of seeks ===

const FILMS: u64 = 20;
const FILM: u64 = 400 * MB;

/// What so many requests of one client met: how long each first piece took.
async fn seek_about(rig: Arc<Rig>, seed: u64, requests: u64) -> Vec<Duration> {
    let mut dice = Dice(seed);
    let mut times = Vec::new();
    for _ in 0..requests {
        let n = dice.below(FILMS);
        let path = format!("/p/ali/{n}.mkv");
        let from = dice.below(FILM - 2 * MB);
        let (first, end, take) = match dice.below(20) {
            0 => {
                let head = rig.site.ask("HEAD", &path).send().await;
                assert_eq!((head.status, head.header("content-length")), (200, "400000000"));
                continue;
            }
            // Hangs up before anything has come, or soon after.
            1 => {
                let asked = rig.get(&path).range(&format!("bytes={from}-")).try_send();
                let hung_up = tokio::time::timeout(Duration::from_micros(dice.below(5000)), asked).await;
                assert!(hung_up.is_err(), "400 MB in 5 ms");
                continue;
            }
            // Reads to the end: a part in the middle, and the film's tail.
            2 | 3 => (from, from + 1 + dice.below(300_000), u64::MAX),
            4 => (FILM - 1 - dice.below(300_000), FILM, u64::MAX),
            // Reads on for a while.
            5 => (from, FILM, MB),
            // The head, and a place somewhere; gone after the first piece.
            6 | 7 => (0, FILM, 1),
            8..14 => (from, FILM, 1),
            _ => (from, (from + 1 + dice.below(60 * MB)).min(FILM), 1),
        };
        let asked = Instant::now();
        let mut response = rig.get(&path).range(&format!("bytes={first}-{}", end - 1)).open().await;
        assert_eq!(response.status(), 206, "film {n} from {first}");
        let (mut at, most) = (first, (first.saturating_add(take)).min(end));
        while at < most {
            let piece = response.chunk().await.unwrap().unwrap();
            if at == first {
                times.push(asked.elapsed());
            }
            assert!(piece == drive_sim::content::bytes(n, at, piece.len()), "film {n} at {at}");
            at += piece.len() as u64;
        }
        if most == end {
            assert_eq!((at, response.chunk().await.unwrap()), (end, None));
        }
    }
    times
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_seeks_leaves_no_connection_and_no_memory_behind() {
    const CLIENTS: u64 = 8;
    let requests = size().map_or(1500, |thousandths| thousandths * 100);
    // A cache that the first round fills, so that what grows after it is none.
    let setup = Setup {
        options: format!("{UNPACED}max_connections = 3\n"),
        rest: "[cache]\nblock_memory = \"8MB\"\n".to_owned(),
        ..Setup::default()
    };
    let rig = Rig::with(setup, |drive| {
        (0..=FILMS)
            .fold(drive, |drive, n| {
                let len = if n == FILMS { 20 * MB } else { FILM };
                drive.file(&format!("/{n}.mkv"), Content::Virtual { len, seed: n })
            })
            .settings(|settings| {
                unlimited(settings);
                settings.cap = Some(3);
                settings.bytes_per_second = DRIVE;
            })
    })
    .await;
    let rig = Arc::new(rig);

    let started = Instant::now();
    let (mut done, mut denied, mut times, mut memory) = (0, 0, Vec::new(), Vec::new());
    while done < requests {
        let round = (requests - done).min(1000);
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let share = round / CLIENTS + u64::from(client < round % CLIENTS);
            clients.spawn(seek_about(Arc::clone(&rig), done * CLIENTS + client, share));
        }
        while let Some(client) = clients.join_next().await {
            times.extend(client.unwrap());
        }
        done += round;
        denied += rig.sim.counts().denied_concurrency;
        memory.push(resident());
        // The simulator's log of requests would otherwise be what grows.
        if done < requests {
            rig.sim.reset_counts();
        }
    }
    let time = started.elapsed();

    let left = Instant::now();
    while rig.sim.counts().live_bodies > 0 {
        assert!(left.elapsed() < Duration::from_secs(1), "{} still open", rig.sim.counts().live_bodies);
        tokio::task::yield_now().await;
    }
    let left = left.elapsed();
    let fresh = Instant::now();
    let whole = rig.get(&format!("/p/ali/{FILMS}.mkv")).send().await;
    let fresh = fresh.elapsed();
    assert_eq!(whole.status, 200);
    assert!(whole.body == drive_sim::content::bytes(FILMS, 0, 20 * MB as usize));

    times.sort();
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    say(&format!(
        "row 9: {requests} requests in {time:.0?}, {denied} refused by the drive; first piece median {:.1?}, 99 % {:.0?}, \
         longest {:.0?}; bodies gone after {left:.1?}; 20 MB afresh in {fresh:.0?}; memory {:.1} MiB after the first \
         round, {:.1} at most, {:.1} at the end",
        percentile(&times, 50),
        percentile(&times, 99),
        times.last().unwrap(),
        mib(memory[0]),
        mib(*memory.iter().max().unwrap()),
        mib(*memory.last().unwrap()),
    ));
    assert_eq!(denied, 0);
    assert!(fresh < Duration::from_secs(2), "{fresh:?}");
    if requests >= 20_000 {
        let (first, end) = (memory[0] as f64, *memory.last().unwrap() as f64);
        assert!(end < first * 1.1, "{:?}", memory.iter().map(|bytes| mib(*bytes) as u64).collect::<Vec<_>>());
    }
}
