//! Bad input from clients and from the drive: the status of the contract, one clear line, nothing lost, no secret.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use drive_sim::{Content, Endpoint, Fault, Sample};
use tempfile::TempDir;

use crate::support::{FFMPEG, Rig, Setup, Site, configuration};

async fn rig() -> Rig {
    Rig::start(|drive| {
        drive
            .file("/films/film.mp4", Content::Sample(Sample::Mp4))
            .file("/a.mkv", Content::Virtual { len: 1000, seed: 1 })
    })
    .await
}

/// Sends a request as it stands, which no client library would.
fn raw(site: &Site, request: &str) -> String {
    let mut stream = TcpStream::connect(site.base.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    if !request.contains("Connection: close") {
        // Says that nothing more comes, where the head is not even whole.
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_paths_are_400_and_unknown_ones_404() {
    let rig = rig().await;
    let long = format!("/d/{}", "x".repeat(1025));
    let longer = format!("/d{}", "/abcdefgh".repeat(2000));
    for (path, status) in [
        ("/d/ali/../ali/a.mkv", 400),
        ("/d/ali/./a.mkv", 400),
        ("/d/ali/%2e%2e/a.mkv", 400),
        ("/d/ali/.%2E/a.mkv", 400),
        ("/d/ali/a%00.mkv", 400),
        ("/d/ali%2fa.mkv", 400),
        ("/d/ali/%ff.mkv", 400),
        ("/p/ali/%2e%2e", 400),
        ("/browse/ali/%2e%2e/", 400),
        ("/hls/ali/%2e%2e/master.m3u8", 400),
        (&*long, 400),
        (&*longer, 400),
        ("/d/ali/a.mkv?via=pigeon", 400),
        ("/p/ali/films", 400),
        ("/p/ali", 400),
        ("/d/ali/absent.mkv", 404),
        ("/d/elsewhere/a.mkv", 404),
        ("/d/ali/a.mkv/below-a-file.mkv", 404),
        ("/nothing", 404),
        ("/hls/ali/films/film.mp4/ld/x.ts", 404),
    ] {
        let answer = raw(&rig.site, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        assert_eq!(body.lines().count(), 1, "{path}: {body}");
        assert!(body.contains("(request "), "{path}: {body}");
    }
    // Slashes too many are no fault.
    assert_eq!(rig.get("/d//ali//a.mkv").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_methods_are_405_and_a_broken_head_does_no_harm() {
    let rig = rig().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "PROPFIND"] {
        let reply = rig.site.ask(method, "/d/ali/a.mkv").send().await;
        assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD, OPTIONS"), "{method}");
    }
    for request in ["\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n"] {
        let answer = raw(&rig.site, request);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let huge = format!("GET /d/ali/a.mkv HTTP/1.1\r\nHost: x\r\nX-Big: {}\r\n\r\n", "x".repeat(1 << 20));
    let mut stream = TcpStream::connect(rig.site.base.trim_start_matches("http://")).unwrap();
    // The other side may close before it has taken all of it.
    let _ = stream.write_all(huge.as_bytes());
    assert_eq!(rig.get("/d/ali/a.mkv").send().await.status, 200);
}

#[tokio::test]
async fn an_answer_of_the_drive_that_makes_no_sense_is_a_502() {
    let rig = rig().await;
    for fault in
        [Fault::TruncatedJson, Fault::Garbage, Fault::Huge(100 << 20), Fault::Status(200, String::new())]
    {
        let name = format!("{fault:?}");
        rig.sim.fault(Endpoint::GetByPath, fault, 1000);
        let reply = rig.get("/d/ali/a.mkv").send().await;
        assert_eq!(reply.status, 502, "{name}: {}", reply.text());
        rig.sim.clear_faults();
    }
    assert_eq!(rig.get("/d/ali/a.mkv").send().await.status, 200);
}

#[tokio::test]
async fn a_playlist_of_a_hundred_megabytes_is_a_502_and_takes_no_memory() {
    let rig = rig().await;
    rig.sim.fault(Endpoint::Playlist, Fault::Huge(100 << 20), 1);
    let reply = rig.get("/hls/ali/films/film.mp4/ld/index.m3u8").send().await;
    assert_eq!(reply.status, 502);
    assert!(reply.text().contains("longer than makes sense"), "{}", reply.text());
    assert_eq!(rig.get("/hls/ali/films/film.mp4/ld/index.m3u8").send().await.status, 200);
}

#[tokio::test]
async fn an_unreachable_drive_is_a_502_and_the_program_starts_all_the_same() {
    let rig = rig().await;
    // A port that nobody listens on: bound and closed again.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = configuration(&rig.sim, &Setup::default())
        .replace(&rig.sim.api_base(), &format!("http://127.0.0.1:{port}"));
    let site = Site::start(&text, TempDir::new().unwrap()).await;
    let reply = site.get("/d/ali/a.mkv").send().await;
    assert_eq!(reply.status, 502);
    assert!(reply.text().starts_with("the drive cannot be reached"), "{}", reply.text());
}

#[tokio::test]
async fn what_the_drive_refuses_is_said_in_plain_words_and_is_never_a_404() {
    let rig = rig().await;
    let code = |status, code: &str| Fault::Code {
        status,
        code: code.to_owned(),
        message: "<b>upstream</b>".to_owned(),
    };
    for (at, fault, status, words) in [
        (Endpoint::DownloadUrl, code(403, "UserNotAllowedAccessResource"), 503, "frozen"),
        (Endpoint::DownloadUrl, code(403, "ExceedCapacityForbidden"), 503, "over its storage space"),
        (Endpoint::DownloadUrl, code(400, "InvalidResource.FileTypeFolder"), 400, "folder"),
        (Endpoint::GetByPath, code(403, "ForbiddenFileInTheRecycleBin"), 403, "recycle bin"),
        (Endpoint::GetByPath, code(403, "UserNotAllowedAccessDrive"), 503, "not ticked"),
        (Endpoint::GetByPath, code(403, "ForbiddenDriveLocked"), 503, "frozen"),
        (Endpoint::GetByPath, code(403, "PermissionDenied"), 503, "revoked"),
    ] {
        rig.pass(Duration::from_secs(3600));
        rig.sim.fault(at, fault, 1);
        let reply = rig.get("/d/ali/a.mkv").agent(FFMPEG).send().await;
        assert_eq!(reply.status, status, "{words}: {}", reply.text());
        assert!(reply.text().contains(words), "{}", reply.text());
        assert!(!reply.text().contains("upstream"), "{}", reply.text());
        rig.sim.clear_faults();
    }
}

#[tokio::test]
async fn a_link_to_a_host_that_is_not_the_drives_is_refused() {
    let rig = rig().await;
    let body = r#"{"url":"https://evil.example/steal?x-oss-expires=99999999999","method":"GET","size":1000}"#;
    rig.sim.fault(Endpoint::DownloadUrl, Fault::Status(200, body.to_owned()), 1);
    let reply = rig.get("/d/ali/a.mkv").agent(FFMPEG).send().await;
    assert_eq!((reply.status, reply.header("location")), (502, ""));
}

#[tokio::test]
async fn a_throttled_call_waits_as_long_as_the_drive_says_and_no_longer_than_hold() {
    let setup = Setup { rest: "[proxy]\nhold = \"1s\"\n".to_owned(), ..Setup::default() };
    let rig = Rig::with(setup, |drive| drive.file("/a.mkv", Content::Virtual { len: 1000, seed: 1 })).await;
    rig.sim.fault(
        Endpoint::GetByPath,
        Fault::Code { status: 429, code: "TooManyRequests".to_owned(), message: String::new() },
        1000,
    );
    let reply = rig.get("/d/ali/a.mkv").send().await;
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("call limit"), "{}", reply.text());
    let after: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
}
