//! Real players, against the drive with its limits on: every form of a film plays to its end.

use std::process::Stdio;
use std::time::Duration;

use drive_sim::{Content, Sample};

use crate::support::{Rig, installed};

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
async fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let child = tokio::process::Command::new(program)
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
