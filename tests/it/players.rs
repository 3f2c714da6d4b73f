//! Real players, against the drive with its limits on: every form of a film plays to its end, whatever the drive does
//! to its bodies and links, and goes on from wherever the viewer seeks to.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use drive_sim::{Content, Endpoint, Fault, Sample, Sim};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

use crate::browser::Browser;
use crate::support::{Rig, Setup, installed};

async fn rig() -> Rig {
    Rig::start(|drive| {
        drive
            .file("/films/film.mp4", Content::Sample(Sample::Mp4))
            .file("/films/film.mkv", Content::Sample(Sample::Mkv))
    })
    .await
}

const FORMS: [&str; 5] = [
    "/d/ali/films/film.mp4",
    "/p/ali/films/film.mp4",
    "/p/ali/films/film.mkv",
    "/hls/ali/films/film.mp4/master.m3u8",
    "/hls/ali/films/film.mp4/sd/index.m3u8",
];

/// Runs a program to its end and gives back whether it succeeded and all it printed.
pub(crate) async fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let child = Command::new(program)
        .args(arguments)
        .env_remove("http_proxy")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), child).await.unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn ffprobe_tells_the_length_of_every_form() {
    if !installed("ffprobe") {
        return;
    }
    let rig = rig().await;
    for form in FORMS {
        let url = format!("{}{form}", rig.site.base);
        let (ok, text) =
            run("ffprobe", &["-v", "warning", "-show_entries", "format=duration", "-of", "csv=p=0", &url])
                .await;
        let seconds: f64 = text.trim().parse().unwrap_or_else(|_| panic!("{form}: {text}"));
        assert!(ok && (59.0..62.0).contains(&seconds), "{form}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_decodes_every_form_without_a_complaint() {
    if !installed("ffmpeg") {
        return;
    }
    let rig = rig().await;
    for form in FORMS {
        let url = format!("{}{form}", rig.site.base);
        let (ok, text) = run(
            "ffmpeg",
            &["-nostdin", "-v", "warning", "-i", &url, "-map", "0:v:0", "-map", "0:a:0", "-f", "null", "-"],
        )
        .await;
        assert!(ok && text.trim().is_empty(), "{form}: {text}");
    }
    assert_eq!(rig.sim.counts().rate_limited, 0);
    assert_eq!(rig.sim.counts().denied_concurrency, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn mpv_plays_every_form_to_its_end() {
    if !installed("mpv") {
        return;
    }
    let rig = rig().await;
    for form in ["/d/ali/films/film.mp4", "/p/ali/films/film.mkv", "/hls/ali/films/film.mp4/master.m3u8"] {
        let url = format!("{}{form}", rig.site.base);
        let (ok, text) = run(
            "mpv",
            &[
                "--no-config",
                "--vo=null",
                "--ao=null",
                "--untimed",
                "--ao-null-untimed",
                "--msg-level=all=warn",
                "--term-status-msg=",
                &url,
            ],
        )
        .await;
        assert!(ok && !text.contains("rror"), "{form}: {text}");
    }
}

/// Breaks off every body the drive gives after a tenth of the film, and lets its links run out after every third,
/// sooner than it said; for as long as this is polled.
async fn torment(sim: &Sim) {
    sim.settings(|settings| settings.bytes_per_second = 500e3);
    sim.fault_every(Endpoint::Content, Fault::Reset { after: 100_000 }, 1);
    let mut seen = 0;
    loop {
        let reads = sim.counts().content;
        if reads >= seen + 3 {
            seen = reads;
            sim.advance(Duration::from_secs(1000));
        }
        // Paces the looking.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a program to its end on a tormented drive.
async fn run_tormented(rig: &Rig, program: &str, arguments: &[&str]) -> (bool, String) {
    let result = tokio::select! {
        result = run(program, arguments) => result,
        () = torment(&rig.sim) => unreachable!("it has no end"),
    };
    let counts = rig.sim.counts();
    assert!(counts.faulted >= 8 && counts.expired >= 2, "{counts:?}");
    assert_eq!((counts.rate_limited, counts.denied_concurrency), (0, 0));
    result
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_by_ffmpeg_is_complete_whatever_happens_to_bodies_and_links() {
    if !installed("ffmpeg") {
        return;
    }
    for sample in [Sample::Mp4, Sample::Mkv] {
        let rig = rig().await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), sample.bytes()).unwrap();
        // Every packet, with its time, its length and its checksum. The exit status would be 0 for a part of them.
        let packets = |input: &str| {
            ["-nostdin", "-v", "warning", "-i", input, "-map", "0", "-c", "copy", "-f", "framecrc", "-"]
                .map(str::to_owned)
        };
        let arguments = packets(&file.path().display().to_string());
        let (ok, whole) = run("ffmpeg", &arguments.each_ref().map(String::as_str)).await;
        assert!(ok && whole.lines().count() > 3000, "{sample:?}: {whole}");
        let arguments = packets(&format!("{}/p/ali/films/{}", rig.site.base, sample.name()));
        let (ok, copy) = run_tormented(&rig, "ffmpeg", &arguments.each_ref().map(String::as_str)).await;
        assert!(
            ok && copy == whole,
            "{sample:?}: {} of {} packets",
            copy.lines().count(),
            whole.lines().count()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mpv_plays_to_the_end_whatever_happens_to_bodies_and_links() {
    if !installed("mpv") {
        return;
    }
    for form in ["/p/ali/films/film.mp4", "/p/ali/films/film.mkv"] {
        let rig = rig().await;
        let url = format!("{}{form}", rig.site.base);
        let arguments = [
            "--no-config",
            "--vo=null",
            "--ao=null",
            "--untimed",
            "--ao-null-untimed",
            "--msg-level=all=warn,statusline=status",
            "--term-status-msg=at ${=time-pos}",
            &url,
        ];
        let (ok, text) = run_tormented(&rig, "mpv", &arguments).await;
        let last = text.rsplit("at ").find_map(|word| word.split_whitespace().next()?.parse::<f64>().ok());
        assert!(ok && !text.contains("rror") && last.is_some_and(|at| at > 59.0), "{form}: {last:?} {text}");
    }
}

/// Two minutes of film at 1.7 Mbit/s, of which no player holds all that a viewer may seek to.
async fn long_film() -> Bytes {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (scene, film) = (at("scene.mkv"), at("film.mp4"));
    let coding = "-t 6 -c:v libx264 -preset ultrafast -b:v 1500k -maxrate 1500k -bufsize 1500k -g 50 -pix_fmt yuv420p -c:a aac";
    let mut arguments = vec!["-nostdin", "-v", "error", "-f", "lavfi"];
    arguments.extend(["-i", "testsrc2=s=640x360:r=25,noise=alls=30:allf=t", "-f", "lavfi", "-i", "sine=440"]);
    arguments.extend(coding.split(' '));
    arguments.push(&scene);
    let (ok, text) = run("ffmpeg", &arguments).await;
    assert!(ok, "{text}");
    let arguments =
        ["-nostdin", "-v", "error", "-stream_loop", "19", "-i", &scene, "-map", "0", "-c", "copy", &film];
    let (ok, text) = run("ffmpeg", &arguments).await;
    assert!(ok, "{text}");
    std::fs::read(film).unwrap().into()
}

/// That film on a drive that gives it twice as fast as it is played, so that the player is not far ahead; and a
/// product that keeps nothing of it.
async fn long_rig() -> Rig {
    let film = Content::Bytes(long_film().await);
    let rest = "[cache]\nblock_memory = \"0B\"\n".to_owned();
    Rig::with(Setup { rest, ..Setup::default() }, |drive| {
        drive.file("/films/long.mp4", film).settings(|settings| settings.bytes_per_second = 400e3)
    })
    .await
}

/// Lets the link that the player has been served from run out, sooner than the drive said.
fn expire(rig: &Rig) {
    assert_eq!(rig.sim.counts().expired, 0);
    rig.sim.advance(Duration::from_secs(1000));
    rig.sim.settings(|settings| settings.bytes_per_second = f64::INFINITY);
}

/// That another link was needed and had.
fn has_replaced_the_link(rig: &Rig) {
    let counts = rig.sim.counts();
    assert!(counts.expired >= 1 && counts.links == 2, "{counts:?}");
}

/// VLC, steered by lines on its standard input.
pub(crate) struct Vlc {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _home: TempDir,
}

impl Vlc {
    pub(crate) fn start(url: &str) -> Self {
        let home = TempDir::new().unwrap();
        let mut command = Command::new("cvlc");
        if std::fs::metadata(home.path()).unwrap().uid() == 0 {
            // It refuses to run as root.
            std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command
            .args(["-I", "oldrc", "--rc-fake-tty", "--no-dbus", "--vout", "vdummy", "--aout", "adummy", url])
            .env("HOME", home.path())
            .env("XDG_RUNTIME_DIR", home.path())
            .env_remove("DISPLAY")
            .env_remove("http_proxy")
            .current_dir(Path::new("/"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, input, output, _home: home }
    }

    pub(crate) async fn say(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// What it answers, up to the line that begins so.
    pub(crate) async fn answer(&mut self, command: &str, last: &str) -> Vec<String> {
        self.say(command).await;
        let read = async {
            let mut lines = Vec::new();
            loop {
                let line = self.output.next_line().await.unwrap().unwrap_or_else(|| panic!("{lines:?}"));
                let is_last = line.starts_with(last);
                lines.push(line);
                if is_last {
                    return lines;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(40), read).await.unwrap()
    }

    /// Waits until it has played to the end of its list.
    pub(crate) async fn until_ended(&mut self) {
        let read = async { while !self.output.next_line().await.unwrap().unwrap().ends_with("): End") {} };
        tokio::time::timeout(Duration::from_secs(60), read).await.unwrap();
    }

    /// Waits until it plays in that span of seconds.
    pub(crate) async fn until(&mut self, wanted: std::ops::Range<u32>) {
        let deadline = Instant::now() + Duration::from_secs(40);
        let mut said = Vec::new();
        loop {
            assert!(Instant::now() < deadline, "{wanted:?}: {said:?}");
            self.say("get_time").await;
            // It answers with a number, or with nothing while it has no film; in between it tells what happens.
            let line = tokio::time::timeout(Duration::from_secs(1), self.output.next_line()).await;
            if let Ok(line) = line {
                let line = line.unwrap().unwrap_or_else(|| panic!("VLC has ended: {said:?}"));
                if line.trim().parse().is_ok_and(|seconds| wanted.contains(&seconds)) {
                    return;
                }
                said.push(line);
            }
            // Paces the asking; the condition decides.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vlc_plays_on_from_where_it_seeks_to_after_its_link_has_run_out() {
    if !installed("cvlc") || !installed("ffmpeg") {
        return;
    }
    let rig = long_rig().await;
    let mut vlc = Vlc::start(&format!("{}/d/ali/films/long.mp4", rig.site.base));
    vlc.until(2..60).await;
    expire(&rig);
    vlc.say("seek 90").await;
    vlc.until(92..110).await;
    has_replaced_the_link(&rig);
    vlc.say("seek 20").await;
    vlc.until(22..60).await;
    vlc.say("quit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_plays_on_from_where_it_seeks_to_after_its_link_has_run_out() {
    if !installed("chromedriver") || !installed("chromium") || !installed("ffmpeg") {
        return;
    }
    let rig = long_rig().await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/browse/ali/films/long.mp4", rig.site.base)).await;
    let at = |span: std::ops::Range<u32>| {
        let time = "document.getElementById('player').currentTime";
        format!("{time} > {} && {time} < {}", span.start, span.end)
    };
    let seek = |to: u32| format!("document.getElementById('player').currentTime = {to}");
    browser.eval("document.getElementById('player').play()").await;
    browser.until(&at(2..60)).await;
    assert!(
        browser.eval("return document.getElementById('player').currentSrc").await.to_string().contains("/d/")
    );
    expire(&rig);
    browser.eval(&seek(90)).await;
    browser.until(&at(92..110)).await;
    has_replaced_the_link(&rig);
    browser.eval(&seek(20)).await;
    browser.until(&at(22..60)).await;
    browser.quit().await;
}

/// The user and the group without rights.
const NOBODY: u32 = 65534;
