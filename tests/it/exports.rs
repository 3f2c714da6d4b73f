//! Trees of `.strm` files: written once, left alone while nothing changes, and never emptied by what the drive does not say.
//! The full size with `SLUICE_SOAK=full`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use drive_sim::{Content, Fault, Sample, Sim};
use sluice::app::App;
use sluice::clock::Clock;
use sluice::config::Config;
use sluice::export::{Report, Settings, SideFiles};
use sluice::path::VirtualPath;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::process::sluice;
use crate::support::{Setup, Site, UNPACED, configuration, follow, unlimited};

fn app(text: &str, state: &Path) -> App {
    let environment = [("SLUICE__SERVER__STATE_DIR".to_owned(), state.display().to_string())];
    let config = Config::parse(text, "test.toml", environment.into_iter()).unwrap();
    App::build(&config, Clock::new()).unwrap()
}

fn setup(rest: &str) -> Setup {
    Setup { options: UNPACED.to_owned(), rest: rest.to_owned(), closed: true, ..Setup::default() }
}

fn settings(path: &str, out: &Path) -> Settings {
    Settings {
        path: VirtualPath::parse(path).unwrap(),
        out: out.to_owned(),
        hls: false,
        side_files: SideFiles::Copy,
        every: None,
        media_server: None,
    }
}

/// All files below a folder, with the time of their last change.
fn files(below: &Path) -> BTreeMap<String, SystemTime> {
    let mut found = BTreeMap::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(below).unwrap().to_str().unwrap().to_owned();
                found.insert(name, entry.metadata().unwrap().modified().unwrap());
            }
        }
    }
    found.remove(".sluice-export");
    found
}

fn done(report: &Report) -> (usize, usize, usize) {
    (report.written, report.kept, report.removed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_tree_is_exported_once_and_nothing_that_was_not_listed_is_lost() {
    let is_full = std::env::var_os("SLUICE_SOAK").is_some_and(|wanted| wanted == "full");
    let (folders, each) = if is_full { (1000, 100) } else { (40, 25) };
    let count = folders * each;
    // Each folder fits into one page of the drive's, so that its calls can be counted.
    let path = |number: usize| {
        let folder = number / each;
        format!("/lib/{:02}/{:02}/{:03} film.mkv", folder / 100, folder % 100, number % each)
    };
    let listed = (1 + folders.div_ceil(100) + folders) as u64;
    let sim = (0..count).fold(Sim::builder(), |drive, number| {
        drive.file(&path(number), Content::Virtual { len: 1000 + number as u64, seed: 1 })
    });
    let sim = sim.start().await.unwrap();
    sim.settings(unlimited);
    let (state, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let app = app(&configuration(&sim, &setup("")), state.path());
    let settings = settings("/ali/lib", out.path());
    let run = async |allow| {
        sim.reset_counts();
        app.exporter.run(&settings, allow).await.unwrap()
    };

    let first = run(false).await;
    assert_eq!(done(&first), (count, 0, 0));
    assert!(first.is_whole());
    // One for each folder, and nothing of the films themselves.
    assert_eq!((sim.counts().list, sim.counts().content_requests()), (listed, 0));
    let written = files(out.path());
    assert_eq!(written.len(), count);

    let again = run(false).await;
    assert_eq!(done(&again), (0, count, 0));
    assert_eq!(sim.counts().list, listed);
    assert_eq!(files(out.path()), written, "nothing was touched");

    // One folder cannot be listed.
    let denied =
        Fault::Code { status: 403, code: "ForbiddenNoPermission.File".to_owned(), message: String::new() };
    sim.reset_counts();
    let failing = async {
        while sim.counts().list < 5 {
            tokio::task::yield_now().await;
        }
        sim.fault(drive_sim::Endpoint::List, denied, 1);
    };
    let (failed, ()) = tokio::join!(app.exporter.run(&settings, false), failing);
    let failed = failed.unwrap();
    assert_eq!((done(&failed), failed.failed_folders.len(), failed.missing), ((0, count - each, 0), 1, 0));
    assert!(!failed.is_whole());
    assert_eq!(files(out.path()), written, "nothing was touched");

    // A little is gone: it goes at the second listing without it.
    let few = count / 50;
    (0..few).for_each(|number| sim.remove(&path(number)));
    let first = run(false).await;
    assert_eq!((done(&first), first.missing), ((0, count - few, 0), few));
    assert!(first.is_whole() && files(out.path()) == written);
    let second = run(false).await;
    assert_eq!((done(&second), second.missing), ((0, count - few, few), 0));
    assert_eq!(files(out.path()).len(), count - few);

    // Much is gone: it stays until somebody says so.
    let many = count * 3 / 10;
    (few..few + many).for_each(|number| sim.remove(&path(number)));
    for _ in 0..3 {
        let report = run(false).await;
        assert_eq!((done(&report), report.missing), ((0, count - few - many, 0), many));
        assert!(report.too_many_missing && !report.is_whole());
        assert!(report.to_string().contains("--allow-delete"));
    }
    let allowed = run(true).await;
    assert_eq!(done(&allowed), (0, count - few - many, many));
    assert_eq!(files(out.path()).len(), count - few - many);
    assert!(run(false).await.is_whole());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_plays_as_long_as_its_key_is_not_revoked_and_side_files_are_copied() {
    let drive = Sim::builder()
        .file("/films/a & b.mkv", Content::Sample(Sample::Mkv))
        .file("/films/a & b.zh.vtt", Content::Sample(Sample::Subtitle))
        .file("/films/a & b.mp4", Content::Virtual { len: 5000, seed: 1 })
        .file("/films/poster.jpg", Content::Sample(Sample::Poster))
        .file("/films/notes.txt", Content::Virtual { len: 5, seed: 1 });
    let sim = drive.start().await.unwrap();
    sim.settings(unlimited);
    let out = TempDir::new().unwrap();
    let text = configuration(&sim, &setup(""));
    let site = Site::start(&text, TempDir::new().unwrap()).await;
    let text = text.replacen("[server]", &format!("[server]\npublic_url = \"{}\"", site.base), 1);
    let state = site.state_dir();
    let exporter = app(&text, &state).exporter;
    let settings = settings("/ali", out.path());
    assert_eq!(done(&exporter.run(&settings, false).await.unwrap()), (4, 0, 0));
    let names: Vec<_> = files(out.path()).into_keys().collect();
    // Of two films with one stem the second keeps its extension.
    assert_eq!(names, ["films/a & b.mp4.strm", "films/a & b.strm", "films/a & b.zh.vtt", "films/poster.jpg"]);
    assert_eq!(std::fs::read(out.path().join("films/poster.jpg")).unwrap(), Sample::Poster.bytes());
    let strm = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap();
    let film = strm("films/a & b.strm");
    let (address, rest) = film.split_once('\n').unwrap();
    assert!(rest.is_empty() && address.is_ascii(), "{film}");
    assert_eq!(follow(address, None).await.body, Sample::Mkv.bytes());
    // It opens that film and no other.
    let sign = address.split_once("?sign=").unwrap().1;
    assert_eq!(follow(&format!("{}/d/ali/films/poster.jpg?sign={sign}", site.base), None).await.status, 401);

    // Somebody's own file stays, and what somebody deleted comes back.
    std::fs::write(out.path().join("films/a & b.mp4.strm"), "mine").unwrap();
    std::fs::remove_file(out.path().join("films/poster.jpg")).unwrap();
    let report = exporter.run(&settings, false).await.unwrap();
    assert_eq!((done(&report), report.failed_files.len()), ((1, 2, 0), 1));
    assert_eq!(strm("films/a & b.mp4.strm"), "mine");

    // What was written and not noted any more, since the machine stopped, is known again; not so what differs.
    std::fs::remove_file(out.path().join(".sluice-export")).unwrap();
    let report = exporter.run(&settings, false).await.unwrap();
    assert_eq!((done(&report), report.failed_files.len()), ((0, 3, 0), 1));

    // With another key all is written anew.
    sluice::access::keys::Keys::new(&state).revoke(1).unwrap();
    let exporter = app(&text, &state).exporter;
    assert_eq!(exporter.run(&settings, false).await.unwrap().written, 1);
    let renewed = strm("films/a & b.strm");
    assert_ne!(renewed, film);
    // The server looks at its keys again each second.
    let opens = async {
        while follow(renewed.trim_end(), None).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), opens).await.unwrap();
    assert_eq!(follow(address, None).await.status, 401);
    // As HLS, the same file.
    let hls = Settings { hls: true, ..settings };
    exporter.run(&hls, false).await.unwrap();
    assert!(strm("films/a & b.strm").contains("/hls/ali/films/a%20%26%20b.mkv/master.m3u8?sign="));
}

/// An exporter of a folder of this machine.
fn local_exporter(films: &Path, state: &Path) -> sluice::export::Exporter {
    let text = format!(
        "[[mount]]\npath = \"/local\"\ndriver = \"local\"\n[mount.options]\nroot = \"{}\"\n",
        films.display()
    );
    app(&text, state).exporter
}

#[tokio::test]
async fn a_film_that_is_another_container_now_keeps_its_file() {
    let (films, state, out) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    std::fs::write(films.path().join("a.mkv"), "a").unwrap();
    let exporter = local_exporter(films.path(), state.path());
    let settings = settings("/local", out.path());
    assert_eq!(done(&exporter.run(&settings, false).await.unwrap()), (1, 0, 0));
    std::fs::rename(films.path().join("a.mkv"), films.path().join("a.mp4")).unwrap();
    assert_eq!(done(&exporter.run(&settings, false).await.unwrap()), (1, 0, 0));
    for _ in 0..3 {
        assert_eq!(done(&exporter.run(&settings, false).await.unwrap()), (0, 1, 0));
    }
    assert_eq!(files(out.path()).len(), 1);
    assert!(std::fs::read_to_string(out.path().join("a.strm")).unwrap().contains("/d/local/a.mp4?sign="));
    // Both at once have a file each.
    std::fs::write(films.path().join("a.mkv"), "a").unwrap();
    assert_eq!(done(&exporter.run(&settings, false).await.unwrap()), (1, 1, 0));
    assert!(std::fs::read_to_string(out.path().join("a.mkv.strm")).unwrap().contains("/d/local/a.mkv?sign="));
}

#[tokio::test]
async fn what_somebody_has_changed_stays_and_what_a_power_cut_has_emptied_is_written_again() {
    let (films, state, out) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    for name in ["a.mkv", "a.nfo", "b.mkv"] {
        std::fs::write(films.path().join(name), name).unwrap();
    }
    let exporter = local_exporter(films.path(), state.path());
    let settings = settings("/local", out.path());
    assert_eq!(done(&exporter.run(&settings, false).await.unwrap()), (3, 0, 0));
    std::fs::write(out.path().join("b.strm"), "").unwrap();
    assert_eq!(done(&exporter.run(&settings, false).await.unwrap()), (1, 2, 0));
    // Of the same length, so that looking at that is not enough.
    let strm = std::fs::read_to_string(out.path().join("a.strm")).unwrap().replace("http:", "HTTP:");
    std::fs::write(out.path().join("a.strm"), &strm).unwrap();
    std::fs::write(out.path().join("a.nfo"), "mine!").unwrap();
    for name in ["a.mkv", "a.nfo"] {
        std::fs::remove_file(films.path().join(name)).unwrap();
    }
    exporter.run(&settings, true).await.unwrap();
    assert_eq!(done(&exporter.run(&settings, true).await.unwrap()), (0, 1, 0));
    assert_eq!(std::fs::read_to_string(out.path().join("a.strm")).unwrap(), strm);
    assert_eq!(std::fs::read_to_string(out.path().join("a.nfo")).unwrap(), "mine!");
}

#[cfg(unix)]
#[tokio::test]
async fn one_export_at_a_time_goes_into_a_folder() {
    let (films, state, out) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    std::fs::write(films.path().join("a.mkv"), "a").unwrap();
    let exporter = local_exporter(films.path(), state.path());
    let settings = settings("/local", out.path());
    let other = std::fs::File::open(out.path()).unwrap();
    other.lock().unwrap();
    let refused = exporter.run(&settings, false).await.unwrap_err();
    assert!(refused.to_string().contains("another export into this folder is under way"), "{refused}");
    assert!(files(out.path()).is_empty());
    other.unlock().unwrap();
    assert_eq!(done(&exporter.run(&settings, false).await.unwrap()), (1, 0, 0));
}

#[cfg(unix)]
#[tokio::test]
async fn side_files_of_this_machine_can_be_linked_to() {
    let (films, state, out) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    for name in ["a.mkv", "a.srt"] {
        std::fs::write(films.path().join(name), name).unwrap();
    }
    let exporter = local_exporter(films.path(), state.path());
    let settings = Settings { side_files: SideFiles::Link, ..settings("/local", out.path()) };
    assert_eq!(done(&exporter.run(&settings, false).await.unwrap()), (2, 0, 0));
    assert_eq!(std::fs::read_link(out.path().join("a.srt")).unwrap(), films.path().join("a.srt"));
    assert_eq!(done(&exporter.run(&settings, false).await.unwrap()), (0, 2, 0));
    // And copied again where that is asked for.
    let settings = Settings { side_files: SideFiles::Copy, ..settings };
    assert_eq!(done(&exporter.run(&settings, false).await.unwrap()), (1, 1, 0));
    assert!(std::fs::symlink_metadata(out.path().join("a.srt")).unwrap().is_file());
    assert_eq!(std::fs::read_to_string(films.path().join("a.srt")).unwrap(), "a.srt");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_it_did_and_the_media_server_is_told_until_it_hears() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "it is waited for below")]
    let told = tokio::spawn(async move {
        let mut heard = Vec::new();
        // Busy at first.
        for answer in ["503 Service Unavailable", "204 No Content"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = String::new();
            while !request.ends_with("]}") {
                let mut piece = [0; 4096];
                let got = stream.read(&mut piece).await.unwrap();
                write!(request, "{}", String::from_utf8_lossy(&piece[..got])).unwrap();
            }
            let head = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            heard.push(request);
        }
        heard
    });
    let sim =
        Sim::builder().file("/films/a.mkv", Content::Virtual { len: 5000, seed: 1 }).start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let export = format!(
        "[[export]]\npath = \"/ali\"\nout = \"{}\"\nevery = \"1h\"\nmedia_server = \"http://{server}\"\n\
         media_server_key = \"the-key\"\n",
        out.display()
    );
    std::fs::write(folder.path().join("sluice.toml"), configuration(&sim, &setup(&export))).unwrap();
    let strm = |path: &str| {
        let mut command = sluice(folder.path());
        command.args(["strm", path, "--out"]).arg(&out);
        command
    };
    let ran = {
        let mut command = strm("/ali");
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success() && said.contains("1 written, 0 as they were, 0 removed"), "{said}");
    let heard = told.await.unwrap();
    assert!(heard[0].starts_with("POST /Library/Media/Updated HTTP/1.1\r\n"), "{}", heard[0]);
    assert!(heard[1].to_lowercase().contains("x-emby-token: the-key\r\n"), "{}", heard[1]);
    let path = out.join("films").display().to_string();
    assert!(
        heard[1].contains(&format!("{{\"Updates\":[{{\"Path\":\"{path}\",\"UpdateType\":\"Modified\"}}]}}"))
    );

    let mut command = strm("/nothing");
    let failed = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(failed.status.code(), Some(1));
}
