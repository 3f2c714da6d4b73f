//! Real players on one stable address of a film as HLS, behind a signature, redirected and proxied: each plays to the end, goes
//! where it is told to, takes another quality where it can, and shows subtitles in two languages.

use std::process::Stdio;
use std::time::Duration;

use drive_sim::{Content, Sample};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::browser::{choose, is_behind, seek, shows};
use crate::firefox::Firefox;
use crate::players::{Vlc, run};
use crate::support::{Rig, Setup, installed, sign};

/// Ten places, there and back.
const PLACES: [u32; 10] = [40, 5, 55, 12, 33, 21, 50, 2, 45, 28];

/// A film behind a signature, and where it is.
struct Stage {
    rig: Rig,
    sign: String,
}

impl Stage {
    async fn set(delivery: &str) -> Self {
        let setup = Setup { closed: true, mount: format!("delivery = \"{delivery}\""), ..Setup::default() };
        let rig =
            Rig::with(setup, |drive| drive.file("/films/A film (2026).mkv", Content::Sample(Sample::Mkv)))
                .await;
        Self { rig, sign: sign("/ali/films/A film (2026).mkv") }
    }

    fn at(&self, below: &str) -> String {
        format!("{}/hls/ali/films/A%20film%20%282026%29.mkv/{below}?sign={}", self.rig.site.base, self.sign)
    }

    /// That the drive was asked as it wants to be.
    fn ends_well(&self) {
        let counts = self.rig.sim.counts();
        assert_eq!((counts.preview_info, counts.rate_limited, counts.bad_signature), (1, 0, 0), "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_reads_every_quality_to_its_end_and_from_ten_places() {
    if !installed("ffmpeg") {
        return;
    }
    for delivery in ["proxy", "redirect"] {
        let stage = Stage::set(delivery).await;
        let (master, zh, en) =
            (stage.at("master.m3u8"), stage.at("subtitles/zh.vtt"), stage.at("subtitles/en.vtt"));
        // With the connection kept, ffmpeg complains where a redirect leads elsewhere, and plays on.
        let input = ["-nostdin", "-v", "warning", "-http_persistent", "0"];
        for program in ["0:p:0", "0:p:1"] {
            let rest = ["-i", &master, "-map", program, "-c", "copy", "-f", "framecrc", "-"];
            let (ok, text) = run("ffmpeg", &[&input[..], &rest].concat()).await;
            // 60 s of 25 pictures, and of 44,100 samples in packets of 1,024.
            let packets =
                |stream: char| text.lines().filter(|line| line.starts_with(&format!("{stream}, "))).count();
            let told: Vec<_> = "0123".chars().map(packets).filter(|count| *count > 0).collect();
            assert!(
                ok && told.contains(&1500) && told.iter().any(|count| (2580..2600).contains(count)),
                "{told:?} {text}"
            );
        }
        for place in PLACES {
            let at = place.to_string();
            let rest = ["-ss", &at, "-i", &master, "-t", "1", "-map", "0:v:0", "-f", "null", "-"];
            let (ok, text) = run("ffmpeg", &[&input[..], &rest].concat()).await;
            // It has no WebVTT renditions, and says so.
            let complaints = text.lines().filter(|line| !line.contains("Can't support the subtitle"));
            let complaints = complaints.collect::<Vec<_>>().join("\n");
            assert!(ok && complaints.trim().is_empty(), "{delivery} {place}: {complaints}");
        }
        for (address, words) in [(&zh, "第三方字幕 台词 12"), (&en, "Subtitle line 12")] {
            let (ok, text) =
                run("ffmpeg", &["-nostdin", "-v", "error", "-i", address, "-f", "srt", "-"]).await;
            assert!(ok && text.contains(words), "{text}");
        }
        stage.ends_well();
    }
}

/// mpv, steered through its socket.
struct Mpv {
    child: Child,
    lines: Lines<BufReader<OwnedReadHalf>>,
    input: OwnedWriteHalf,
    _folder: TempDir,
}

impl Mpv {
    async fn start(arguments: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("mpv");
        let child = Command::new("mpv")
            .args([
                "--no-config",
                "--vo=null",
                "--ao=null",
                "--msg-level=all=warn",
                "--sid=no",
                "--keep-open=no",
            ])
            .arg(format!("--input-ipc-server={}", socket.display()))
            .args(arguments)
            .env_remove("http_proxy")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let stream = loop {
            match UnixStream::connect(&socket).await {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            // Paces the asking.
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let (output, input) = stream.into_split();
        Self { child, lines: BufReader::new(output).lines(), input, _folder: folder }
    }

    /// What it answers to a command; nothing where it could not.
    async fn command(&mut self, command: Value) -> Value {
        let line = format!("{}\n", json!({"command": command, "request_id": 7}));
        self.input.write_all(line.as_bytes()).await.unwrap();
        loop {
            let line = self.lines.next_line().await.unwrap().expect("mpv has ended");
            let answer: Value = serde_json::from_str(&line).unwrap();
            if answer["request_id"] == json!(7) && answer.get("event").is_none() {
                return answer["data"].clone();
            }
        }
    }

    /// Waits until a property is as wanted.
    async fn until(&mut self, property: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let value = self.command(json!(["get_property", property])).await;
            if wanted(&value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{property} is {value}");
            // Paces the asking; the condition decides.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mpv_seeks_switches_and_shows_both_subtitles() {
    if !installed("mpv") {
        return;
    }
    for delivery in ["proxy", "redirect"] {
        let stage = Stage::set(delivery).await;
        let (master, zh, en) =
            (stage.at("master.m3u8"), stage.at("subtitles/zh.vtt"), stage.at("subtitles/en.vtt"));
        let mut mpv = Mpv::start(&[&format!("--sub-file={zh}"), &format!("--sub-file={en}"), &master]).await;
        mpv.until("time-pos", |at| at.as_f64().is_some_and(|at| at > 0.5)).await;
        for place in PLACES {
            mpv.command(json!(["seek", place, "absolute"])).await;
            let place = f64::from(place);
            let is_there = |at: &Value| at.as_f64().is_some_and(|at| at > place + 0.2 && at < place + 5.0);
            mpv.until("time-pos", is_there).await;
        }
        for (track, width) in [(2, 960), (1, 640)] {
            mpv.command(json!(["set_property", "vid", track])).await;
            mpv.until("video-params/w", |wide| *wide == json!(width)).await;
        }
        for (track, words) in [(1, "第三方字幕 台词 9"), (2, "Subtitle line 9")] {
            mpv.command(json!(["set_property", "sid", track])).await;
            mpv.command(json!(["seek", 41, "absolute"])).await;
            mpv.until("sub-text", |text| *text == json!(words)).await;
        }
        mpv.command(json!(["seek", 57, "absolute"])).await;
        let ended = tokio::time::timeout(Duration::from_secs(40), mpv.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{delivery}: {ended}");
        stage.ends_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vlc_seeks_loads_both_subtitles_and_plays_to_the_end() {
    if !installed("cvlc") {
        return;
    }
    for delivery in ["proxy", "redirect"] {
        let stage = Stage::set(delivery).await;
        let mut vlc = Vlc::start(&stage.at("master.m3u8"));
        vlc.until(1..30).await;
        for place in PLACES {
            vlc.say(&format!("seek {place}")).await;
            // It begins at a key frame, which there are each ten seconds.
            vlc.until((place / 10 * 10).max(1)..place + 6).await;
        }
        let tracks = vlc.answer("strack", "+----[ end of Subtitle Track ]").await;
        for name in ["中文", "English"] {
            assert!(tracks.iter().any(|line| line.contains(name)), "{name}: {tracks:?}");
        }
        for track in tracks.iter().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()) {
            vlc.say(&format!("strack {track}")).await;
        }
        vlc.say("seek 55").await;
        vlc.until_ended().await;
        stage.ends_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn firefox_seeks_switches_shows_both_subtitles_and_plays_to_the_end() {
    if !installed("firefox-esr") {
        return;
    }
    for delivery in ["proxy", "redirect"] {
        let setup = Setup { mount: format!("delivery = \"{delivery}\""), ..Setup::default() };
        let rig = Rig::with(setup, |drive| drive.file("/films/film.mkv", Content::Sample(Sample::Mkv))).await;
        let mut firefox = Firefox::start().await;
        firefox.open(&format!("{}/browse/ali/films/film.mkv", rig.site.base)).await;
        firefox.until("document.getElementById('quality').options.length >= 4").await;
        firefox.eval(&choose("quality", "Automatic")).await;
        firefox.until("document.getElementById('player').currentSrc.startsWith('blob:')").await;
        firefox.eval("document.getElementById('player').play()").await;
        firefox.until("document.getElementById('player').currentTime > 0.5").await;
        for place in PLACES {
            firefox.eval(&seek(place.into())).await;
            firefox.until(&is_behind(place.into())).await;
        }
        for (language, words) in [("中文", "第三方字幕 台词"), ("English", "Subtitle line")] {
            firefox.eval(&choose("subtitles", language)).await;
            firefox.eval(&seek(31.0)).await;
            firefox.until(&shows(words)).await;
        }
        for (name, width) in [("SD", 960), ("LD", 640)] {
            firefox.eval(&choose("quality", name)).await;
            firefox.until(&format!("document.getElementById('player').videoWidth === {width}")).await;
        }
        firefox.eval(&seek(57.0)).await;
        firefox.eval("document.getElementById('player').play()").await;
        firefox.until("document.getElementById('player').ended").await;
        firefox.quit().await;
        let counts = rig.sim.counts();
        assert_eq!((counts.preview_info, counts.rate_limited), (1, 0), "{delivery}: {counts:?}");
    }
}
