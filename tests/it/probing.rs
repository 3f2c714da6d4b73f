//! What it costs the drive that a media server looks at its films: ffprobe, called as Jellyfin calls it, and films
//! far larger than what is kept of their ends.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use drive_sim::{Content, Endpoint, Sim};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::Instant;

use crate::support::{Setup, Site, configuration, installed};

/// What one look at a file cost.
#[derive(Debug)]
struct Cost {
    #[expect(dead_code, reason = "for the message of a failure")]
    path: String,
    /// Bytes that left the drive, and how often it was asked for content.
    bytes: u64,
    reads: u64,
    api_calls: u64,
    /// The ranges that the drive was asked for.
    #[expect(dead_code, reason = "for the message of a failure")]
    asked: Vec<String>,
    took: Duration,
}

/// How many films are looked at; the acceptance figure is about a hundred.
fn count() -> usize {
    if std::env::var_os("SLUICE_SOAK").is_some_and(|value| value == "full") { 100 } else { 12 }
}

/// Runs ffmpeg, which must succeed.
async fn ffmpeg(arguments: &[&str], output: &Path) {
    let run = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(arguments)
        .arg(output)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), run).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A film of 48 s at some 13 Mbit/s in the three forms that players open differently: its index at the end, at the
/// beginning, and Matroska. Each has more bytes behind its end than there are films, so that every film can have an
/// end, and so a content, of its own without a copy.
async fn films() -> [(&'static str, Bytes); 3] {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let video = ["-f", "lavfi", "-i", "testsrc2=s=1920x1080:r=25,noise=alls=30:allf=t"];
    let audio = ["-f", "lavfi", "-i", "sine=440", "-t", "6", "-c:a", "aac"];
    let coding = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-pix_fmt", "yuv420p"];
    let rate = ["-b:v", "12M", "-maxrate", "12M", "-bufsize", "12M"];
    let scene = at("scene.mkv");
    ffmpeg(&[&video[..], &audio, &coding, &rate].concat(), &scene).await;
    let repeated = ["-stream_loop", "7", "-i", scene.to_str().unwrap(), "-map", "0", "-c", "copy"];
    ffmpeg(&repeated, &at("tail.mp4")).await;
    ffmpeg(&[&repeated[..], &["-movflags", "+faststart"]].concat(), &at("head.mp4")).await;
    ffmpeg(&repeated, &at("film.mkv")).await;
    ["tail.mp4", "head.mp4", "film.mkv"].map(|name| {
        let mut film = std::fs::read(at(name)).unwrap();
        assert!(film.len() > 60_000_000, "{name}: {}", film.len());
        film.extend_from_slice(&[0; SPARE]);
        (name, Bytes::from(film))
    })
}

/// A drive with this many films, every third of each form, and their paths.
async fn drive(count: usize) -> (Sim, Vec<String>) {
    let forms = films().await;
    let (mut drive, mut paths) = (Sim::builder(), Vec::new());
    for number in 0..count {
        let (name, film) = &forms[number % forms.len()];
        let path = format!("/films/{number:03} {name}");
        drive = drive.file(&path, Content::Bytes(film.slice(..film.len() - SPARE + number)));
        paths.push(path);
    }
    (drive.settings(|settings| settings.cap = Some(3)).start().await.unwrap(), paths)
}

/// Looks at a file as Jellyfin does before each playback.
async fn probe(sim: &Sim, site: &Site, path: &str) -> Cost {
    sim.reset_counts();
    let url = format!("{}/p/ali{}", site.base, path.replace(' ', "%20"));
    let started = Instant::now();
    let run = Command::new("ffprobe")
        .args(["-analyzeduration", "200M", "-probesize", "1G", "-i", &url, "-threads", "0", "-v", "warning"])
        .args(["-print_format", "json", "-show_streams", "-show_chapters", "-show_format"])
        .env_remove("http_proxy")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), run).await.unwrap().unwrap();
    let took = started.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{path}: {said}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let seconds: f64 = found["format"]["duration"].as_str().unwrap().parse().unwrap();
    assert!((47.5..49.0).contains(&seconds), "{path}: {seconds}");
    assert_eq!(found["streams"][0]["codec_name"], "h264", "{path}");
    assert_eq!(found["streams"][1]["codec_name"], "aac", "{path}");

    // What the drive sends after ffprobe has gone counts too.
    let deadline = Instant::now() + Duration::from_secs(10);
    while sim.counts().live_bodies > 0 {
        assert!(Instant::now() < deadline, "{path}: the drive is still being read");
        // Paces the asking; the condition decides.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let counts = sim.counts();
    assert_eq!((counts.rate_limited, counts.denied_concurrency), (0, 0), "{path}");
    let requests = sim.requests();
    let asked = requests.iter().filter(|seen| seen.endpoint == Endpoint::Content);
    Cost {
        path: path.to_owned(),
        bytes: counts.bytes_sent,
        reads: counts.content,
        api_calls: counts.api_calls(),
        asked: asked.map(|seen| format!("{:?}", seen.headers.get("range"))).collect(),
        took,
    }
}

async fn round(name: &str, sim: &Sim, site: &Site, paths: &[String]) -> Vec<Cost> {
    let mut costs = Vec::new();
    for path in paths {
        costs.push(probe(sim, site, path).await);
    }
    if std::env::var_os("SLUICE_SOAK").is_some() {
        tell(name, &costs);
    }
    costs
}

/// Prints the figures of a round.
fn tell(name: &str, costs: &[Cost]) {
    use std::fmt::Write as _;
    let mut text = String::new();
    for (form, which) in ["index at the end", "index first", "matroska"].iter().zip(0..) {
        let of_form = || costs.iter().skip(which).step_by(3);
        let most = of_form().map(|cost| cost.bytes).max().unwrap_or(0);
        let sum: u64 = of_form().map(|cost| cost.bytes).sum();
        let reads: u64 = of_form().map(|cost| cost.reads).sum();
        let calls: u64 = of_form().map(|cost| cost.api_calls).sum();
        let slowest = of_form().map(|cost| cost.took).max().unwrap_or_default();
        let number = of_form().count();
        writeln!(
            text,
            "{name}, {form}: {number} films, {sum} bytes, at most {most}; {reads} reads, {calls} API calls, at most {slowest:?}"
        )
        .unwrap();
    }
    std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn films_are_probed_once_from_the_drive_and_from_the_cache_ever_after() {
    if !installed("ffprobe") || !installed("ffmpeg") {
        return;
    }
    let (sim, paths) = drive(count()).await;
    let rest = "[cache]\nblock_disk = \"4GiB\"\n".to_owned();
    let configuration = configuration(&sim, &Setup { rest, ..Setup::default() });
    let site = Site::start(&configuration, TempDir::new().unwrap()).await;

    // Of the first of each form the drive gives a tenth of what it gives of the others.
    let (slow, fast) = paths.split_at(3);
    for (speed, paths) in [(5e6, slow), (50e6, fast)] {
        sim.settings(|settings| settings.bytes_per_second = speed);
        for cost in round(&format!("first, at {speed} B/s"), &sim, &site, paths).await {
            assert!(cost.bytes <= MOST, "{cost:#?}");
        }
    }
    for cost in free_of_content(round("again", &sim, &site, &paths).await) {
        assert_eq!(cost.api_calls, 0, "{cost:#?}");
    }
    let site = Site::start(&configuration, site.stop().await).await;
    for cost in free_of_content(round("after a restart", &sim, &site, &paths).await) {
        // Which file lies at a path is asked anew, once; its content is not.
        assert!(cost.api_calls <= 1, "{cost:#?}");
    }
}

/// The looks that cost no content, which must be all. In the suite, which keeps the machine busy: what the cache has is followed by what the drive has only if the
/// player stays for longer than a moment; so a look that the machine, busy with something else, held up may have
/// cost more, but not half of them.
fn free_of_content(costs: Vec<Cost>) -> Vec<Cost> {
    let number = costs.len();
    let (free, other): (Vec<_>, Vec<_>) =
        costs.into_iter().partition(|cost| (cost.bytes, cost.reads) == (0, 0));
    for cost in other {
        assert!(number < 100 && cost.took > PROMPT, "{cost:#?}");
    }
    assert!(free.len() * 2 > number, "only {} of {number} were free", free.len());
    free
}

/// Most that a first look may cost, in bytes.
const MOST: u64 = 16 << 20;
/// A look takes less where nothing holds it up.
const PROMPT: Duration = Duration::from_millis(300);
/// Bytes behind the end of each form: more than there are films.
const SPARE: usize = 128;
