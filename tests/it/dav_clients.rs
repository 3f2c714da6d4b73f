//! Programs that others wrote, over WebDAV and over folders of plain HTTP.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use drive_sim::{Content, Listener, Sample};
use tempfile::TempDir;

use crate::names::NAMES;
use crate::players::{Vlc, run};
use crate::support::{HASH, Rig, Setup, UNPACED, installed, unlimited};

/// A user with the password `secret` who may read, and what else is given.
fn anna(more: &str) -> String {
    format!("[[access.user]]\nname = \"anna\"\npassword_hash = \"{HASH}\"\npermissions = [\"read\"{more}]\n")
}

/// A drive of strange names for a user that must log in, and the same files here.
pub(crate) async fn library(dav_delivery: &str) -> (Rig, TempDir) {
    let setup = Setup {
        closed: true,
        // To have a folder listed anew, which AList's libraries ask for.
        rest: anna(", \"write\""),
        options: UNPACED.to_owned(),
        mount: format!("dav_delivery = \"{dav_delivery}\"\n"),
        ..Setup::default()
    };
    let here = TempDir::new().unwrap();
    let rig = Rig::with(setup, |mut drive| {
        for (seed, name) in (0..).zip(NAMES) {
            let len = 100_000 + seed;
            drive = drive.file(&format!("/lib/{name}/{name}"), Content::Virtual { len, seed });
            std::fs::create_dir(here.path().join(name)).unwrap();
            let bytes = drive_sim::content::bytes(seed, 0, len as usize);
            std::fs::write(here.path().join(name).join(name), bytes).unwrap();
        }
        drive.settings(unlimited)
    })
    .await;
    (rig, here)
}

/// Runs a program to its end, with nothing of our environment but the way to programs.
pub(crate) async fn output(
    program: &str,
    arguments: &[&str],
    input: &str,
    home: &Path,
    environment: &[(&str, String)],
) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home);
    command
        .envs(environment.iter().cloned())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let input = input.to_owned();
    let run = move || {
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rclone_lists_copies_and_checks_a_tree_of_strange_names() {
    if !installed("rclone") {
        return;
    }
    for delivery in ["proxy", "redirect"] {
        let (rig, here) = library(delivery).await;
        let home = TempDir::new().unwrap();
        let rclone = async |arguments: &[&str]| output("rclone", arguments, "", home.path(), &[]).await;
        let password = String::from_utf8(rclone(&["obscure", "secret"]).await.stdout).unwrap();
        let dav = format!("{}/dav/ali/lib", rig.site.base);
        let http = format!("{}/d/ali/lib/", rig.site.base).replace("http://", "http://anna:secret@");
        let webdav =
            ["--webdav-url", &dav, "--webdav-user", "anna", "--webdav-pass", password.trim(), ":webdav:"];
        let plain = ["--http-url", &http, ":http:"];
        for remote in [webdav.as_slice(), plain.as_slice()] {
            let with = |before: &[&str], after: &[&str]| -> Vec<String> {
                [before, remote, after].concat().into_iter().map(str::to_owned).collect()
            };
            let ask = async |arguments: Vec<String>| {
                let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
                let done = rclone(&arguments).await;
                assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
                String::from_utf8(done.stdout).unwrap()
            };
            let listed = ask(with(&["lsf", "-R", "--files-only"], &[])).await;
            let mut listed: Vec<_> = listed.lines().collect();
            let mut expected: Vec<_> = NAMES.iter().map(|name| format!("{name}/{name}")).collect();
            listed.sort_unstable();
            expected.sort_unstable();
            assert_eq!(listed, expected, "{delivery}");
            let local = here.path().to_str().unwrap();
            ask(with(&["check", "--download"], &[local])).await;
            let copy = TempDir::new().unwrap();
            ask(with(&["copy"], &[copy.path().to_str().unwrap()])).await;
            for name in NAMES {
                let at = |folder: &TempDir| std::fs::read(folder.path().join(name).join(name)).unwrap();
                assert!(at(&copy) == at(&here), "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cadaver_lists_and_gets() {
    if !installed("cadaver") {
        return;
    }
    let (rig, _here) = library("proxy").await;
    let home = TempDir::new().unwrap();
    std::fs::write(home.path().join(".netrc"), "machine 127.0.0.1 login anna password secret\n").unwrap();
    let to = home.path().join("got");
    let script = format!("ls\ncd one+one.mkv\nget one+one.mkv {}\nquit\n", to.display());
    let url = format!("{}/dav/ali/lib/", rig.site.base);
    let done = output("cadaver", &[&url], &script, home.path(), &[]).await;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(said.contains("流浪地球 (2019).mkv"), "{said}");
    let seed = NAMES.iter().position(|name| *name == "one+one.mkv").unwrap() as u64;
    assert_eq!(
        std::fs::read(to).unwrap(),
        drive_sim::content::bytes(seed, 0, 100_000 + seed as usize),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn vlc_plays_by_webdav_with_a_password_and_a_folder_as_a_playlist() {
    if !installed("cvlc") || !installed("ffmpeg") {
        return;
    }
    let setup = Setup { closed: true, rest: anna(""), ..Setup::default() };
    let rig = Rig::with(setup, |drive| drive.file("/films/a film.mp4", Content::Sample(Sample::Mp4))).await;
    let base = rig.site.base.replace("http://", "http://anna:secret@");
    for address in ["/dav/ali/films/a%20film.mp4", "/d/ali/films/?playlist=m3u8"] {
        let mut vlc = Vlc::start(&format!("{base}{address}"));
        vlc.until(2..60).await;
        vlc.say("seek 30").await;
        vlc.until(32..60).await;
        vlc.say("quit").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mpv_and_ffmpeg_play_by_webdav_with_a_password_and_a_folder_as_a_playlist() {
    if !installed("mpv") || !installed("ffmpeg") {
        return;
    }
    for delivery in ["auto", "redirect"] {
        let mount = format!("dav_delivery = \"{delivery}\"\n");
        let setup = Setup { closed: true, rest: anna(""), mount, ..Setup::default() };
        let rig = Rig::with(setup, |drive| {
            drive
                .file("/films/a film.mp4", Content::Sample(Sample::Mp4))
                .file("/films/b.mkv", Content::Sample(Sample::Mkv))
        })
        .await;
        let base = rig.site.base.replace("http://", "http://anna:secret@");
        let film = format!("{base}/dav/ali/films/a%20film.mp4");
        let decode = ["-nostdin", "-v", "warning", "-i", &film, "-map", "0:v:0", "-f", "null", "-"];
        let (ok, text) = run("ffmpeg", &decode).await;
        assert!(ok && text.trim().is_empty(), "{delivery}: {text}");
        let folder = format!("{base}/d/ali/films/?playlist=m3u8");
        for url in [&film, &folder] {
            let quiet = ["--no-config", "--vo=null", "--ao=null", "--untimed", "--ao-null-untimed"];
            let told = ["--msg-level=all=warn", "--term-status-msg=", url];
            let (ok, text) = run("mpv", &[quiet.as_slice(), &told].concat()).await;
            assert!(ok && !text.contains("rror"), "{delivery} {url}: {text}");
        }
        // Nothing of the password came to the drive, which would have refused it.
        let carries = |seen: &drive_sim::Seen| seen.headers.contains_key("authorization");
        let asked = rig.sim.requests();
        assert!(
            asked.iter().filter(|seen| seen.listener == Listener::Content).all(|seen| !carries(seen)),
            "{delivery}"
        );
    }
}
