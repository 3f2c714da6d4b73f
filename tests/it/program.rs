//! The program itself: its commands, its exit codes, what it prints and what it leaves behind.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use drive_sim::{Content, Sample, Sim};
use sluice::clock::Clock;
use tempfile::TempDir;

use crate::process::{Server, run, sluice};
use crate::support::{FFMPEG, Setup, client, configuration};

#[test]
fn check_reports_every_fault_with_its_key_and_line_and_exits_with_2() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("sluice.toml");
    std::fs::write(
        &file,
        "[server]\nlisten = [\"nowhere\"]\n[cache]\nlisting_tll = \"30m\"\nlinks = \"many\"\n[[mount]]\npath = \"x\"\ndriver = \"floppy\"\n",
    )
    .unwrap();
    let output = run(folder.path(), &["check"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in [
        "sluice.toml:2: server.listen",
        "sluice.toml:4: cache.listing_tll: unknown key, did you mean `listing_ttl`?",
        "sluice.toml:5: cache.links",
        "sluice.toml:7: mount.path",
        "sluice.toml:8: mount.driver",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(run(folder.path(), &["serve"]).status.code(), Some(2));
    assert_eq!(run(folder.path(), &["check", "--config", "absent.toml"]).status.code(), Some(2));
    assert_eq!(run(folder.path(), &["fly"]).status.code(), Some(2));

    std::fs::write(&file, "[cache]\nredis_url = \"redis://127.0.0.1/0\"\n[[mount]]\npath = \"/\"\ndriver = \"local\"\n[mount.options]\nroot = \"/\"\n").unwrap();
    let output = run(folder.path(), &["check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("sluice.toml:2: cache.redis_url: not yet in effect"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_a_folder_needs_no_configuration_and_stops_cleanly() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("film.mp4"), Sample::Mp4.bytes()).unwrap();
    let mut command = sluice(folder.path());
    command.args(["serve", ".", "--listen", "127.0.0.1:0"]);
    let mut server = Server::start(command);
    let film = client().get(format!("{}/d/film.mp4", server.base)).send().await.unwrap();
    assert_eq!(film.bytes().await.unwrap(), Sample::Mp4.bytes());
    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["film.mp4"], "a start with a folder leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_a_log_an_answer_or_an_error() {
    let sim = Sim::builder().file("/films/a.mp4", Content::Sample(Sample::Mp4)).start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let first_token = sim.refresh_token();
    let setup = Setup { closed: true, ..Setup::default() };
    std::fs::write(folder.path().join("sluice.toml"), configuration(&sim, &setup)).unwrap();
    let mut command = sluice(folder.path());
    command.arg("serve").env("SLUICE_LOG", "trace");
    let mut server = Server::start(command);
    let http = client();
    let ask = |path: &str| http.get(format!("{}{path}", server.base)).header("user-agent", FFMPEG);
    let mut bodies = String::new();
    let link = run(folder.path(), &["link", "/ali/films/a.mp4"]);
    let link = String::from_utf8(link.stdout).unwrap();
    let sign = link.trim().split("?sign=").nth(1).unwrap().to_owned();
    let mut locations = Vec::new();
    for path in [
        format!("/d/ali/films/a.mp4?sign={sign}"),
        format!("/d/ali/films/a.mp4?sign={sign}&via=proxy"),
        format!("/hls/ali/films/a.mp4/master.m3u8?sign={sign}"),
        format!("/hls/ali/films/a.mp4/ld/0.ts?sign={sign}&via=proxy"),
        format!("/d/ali/absent?sign={sign}"),
    ] {
        let reply = ask(&path).send().await.unwrap();
        locations
            .extend(reply.headers().get("location").map(|location| location.to_str().unwrap().to_owned()));
        bodies += &String::from_utf8_lossy(&reply.bytes().await.unwrap());
    }
    sim.expire_access_tokens();
    sim.fault(drive_sim::Endpoint::AccessToken, drive_sim::Fault::BadGateway, 1);
    for path in ["/d/ali/b", "/d/ali/c", "/p/ali/films/a.mp4"] {
        // Failures say most: of the exchange, of the API, and of the content's host.
        sim.fault(drive_sim::Endpoint::Content, drive_sim::Fault::DropConnection, 2);
        sim.fault(drive_sim::Endpoint::DownloadUrl, drive_sim::Fault::TruncatedJson, 1);
        let reply = ask(path).header("authorization", "Bearer test-token").send().await.unwrap();
        bodies += &String::from_utf8_lossy(&reply.bytes().await.unwrap());
    }
    server.signal("TERM");
    server.child.wait().unwrap();
    let logs = server.logs();
    assert!(logs.contains("answered"), "there is a log to look at");
    let signature =
        locations[0].split("x-oss-signature=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    for secret in [
        &*first_token,
        &*sim.refresh_token(),
        &*sim.client_secret(),
        &sign,
        "test-token",
        &signature,
        "x-oss-signature",
    ] {
        assert!(!logs.contains(secret), "{secret} in the logs");
        if secret != sign {
            assert!(!bodies.contains(secret), "{secret} in an answer");
        }
    }
}

/// What a command prints, where it succeeds.
fn print(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn link_prints_an_address_that_opens_the_film_until_its_key_is_revoked() {
    let folder = TempDir::new().unwrap();
    let text = "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin_listen = \"\"\n\
                public_url = \"https://films.example.org/sluice/\"\n\
                [[mount]]\npath = \"/films\"\ndriver = \"local\"\n[mount.options]\nroot = \"films\"\n";
    std::fs::write(folder.path().join("sluice.toml"), text).unwrap();
    std::fs::create_dir_all(folder.path().join("films/a b")).unwrap();
    std::fs::write(folder.path().join("films/a b/c.mp4"), Sample::Mp4.bytes()).unwrap();
    let print = |arguments: &[&str]| print(folder.path(), arguments);
    // Before the server was ever started, too.
    let address = print(&["link", "/films/a b/c.mp4"]);
    let path = address.trim().strip_prefix("https://films.example.org/sluice").unwrap().to_owned();
    assert!(path.starts_with("/d/films/a%20b/c.mp4?sign=1.3."), "{address}");
    let hls = print(&["link", "/films/a b/c.mp4", "--hls"]);
    let sign = path.split_once("?sign=").unwrap().1;
    assert_eq!(
        hls,
        format!("https://films.example.org/sluice/hls/films/a%20b/c.mp4/master.m3u8?sign={sign}\n")
    );
    let ending = print(&["link", "/films/a b", "--expires", "7d"]);
    let until: u64 = ending.trim().rsplit("%3A").next().unwrap().parse().unwrap();
    let wall = Clock::new().wall().as_secs();
    assert!((wall + 7 * 86_400 - 60..=wall + 7 * 86_400).contains(&until), "{ending}");
    assert_eq!(run(folder.path(), &["link", "/a/../b"]).status.code(), Some(1));

    let mut command = sluice(folder.path());
    command.arg("serve");
    let server = Server::start(command);
    let get = async |path: &str| client().get(format!("{}{path}", server.base)).send().await.unwrap();
    assert_eq!(get(&path).await.bytes().await.unwrap(), Sample::Mp4.bytes());
    // That of a folder opens what lies in it.
    let of_folder = ending.trim().split_once("?sign=").unwrap().1;
    assert_eq!(get(&format!("/d/films/a%20b/c.mp4?sign={of_folder}")).await.status(), 200);
    assert_eq!(get(&format!("/d/films/a?sign={of_folder}")).await.status(), 401);
    assert!(print(&["key", "list"]).starts_with("1\t"));
    print(&["key", "revoke", "1"]);
    let since = tokio::time::Instant::now();
    while get(&path).await.status() != 401 {
        assert!(since.elapsed() < Duration::from_secs(8), "it is revoked");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(run(folder.path(), &["key", "revoke", "1"]).status.code(), Some(1));
}

#[test]
fn hash_password_and_device_print_what_lets_somebody_in() {
    use std::io::Write as _;
    let folder = TempDir::new().unwrap();
    let hash = |typed: &str| {
        let mut command = sluice(folder.path());
        let piped = std::process::Stdio::piped;
        let mut child =
            command.arg("hash-password").stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, printed) = hash("correct horse\n");
    assert!(
        code == Some(0) && printed.starts_with("$argon2id$") && printed.lines().count() == 1,
        "{printed}"
    );
    assert_eq!(hash("\n").0, Some(1));
    let text = format!(
        "[[access.user]]\nname = \"anna\"\npassword_hash = \"{}\"\n\
         [[mount]]\npath = \"/\"\ndriver = \"local\"\n[mount.options]\nroot = \".\"\n",
        printed.trim()
    );
    std::fs::write(folder.path().join("sluice.toml"), &text).unwrap();
    let print = |arguments: &[&str]| print(folder.path(), arguments);
    print(&["check"]);
    let password = print(&["device", "add", "anna", "--name", "living room"]);
    assert_eq!(password.trim().len(), 19, "{password}");
    assert_eq!(run(folder.path(), &["device", "add", "eve", "--name", "x"]).status.code(), Some(1));
    let list = print(&["device", "list"]);
    assert!(list.starts_with("1\tanna\t") && list.ends_with("\tliving room\n"), "{list}");
    print(&["device", "revoke", "1"]);
    assert_eq!(print(&["device", "list"]), "");
    // What everybody tries first is no password.
    for sample in ["password", "anna"] {
        let text = text.replace(printed.trim(), hash(sample).1.trim());
        std::fs::write(folder.path().join("sluice.toml"), text).unwrap();
        let refused = run(folder.path(), &["serve"]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(2) && said.contains("hash-password"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_tells_how_it_goes() {
    let sim = Sim::builder().file("/a.mkv", Content::Virtual { len: 1000, seed: 1 }).start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let text = configuration(&sim, &Setup::default())
        .replace("admin_listen = \"\"", "admin_listen = \"127.0.0.1:0\"");
    std::fs::write(folder.path().join("sluice.toml"), text).unwrap();
    let mut command = sluice(folder.path());
    command.arg("serve");
    let mut server = Server::start(command);
    let admin = server.next_line();
    let admin = admin.trim().strip_prefix("listening on ").unwrap();
    let http = client();
    let get = |path: &str| http.get(format!("{admin}{path}")).send();
    http.get(format!("{}/p/ali/a.mkv", server.base)).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(get("/healthz").await.unwrap().status(), 200);
    let ready = get("/readyz").await.unwrap();
    assert_eq!(ready.status(), 200);
    let words = ready.text().await.unwrap();
    assert!(words.starts_with("/ali: ready") && words.lines().count() == 1, "{words}");
    let metrics = get("/metrics").await.unwrap().text().await.unwrap();
    assert!(metrics.contains("sluice_requests_total{status=\"200\"}"), "{metrics}");
    assert!(metrics.contains("endpoint=\"getDownloadUrl\",result=\"ok\"} 1"), "{metrics}");
    assert_eq!(get("/nothing").await.unwrap().status(), 404);

    // The drive has rotated the token and its answer is lost, which nobody can survive.
    sim.expire_access_tokens();
    sim.fault(drive_sim::Endpoint::AccessToken, drive_sim::Fault::LoseAnswer, 1);
    let ask = |name: &str| http.head(format!("{}/d/ali/{name}", server.base)).send();
    assert_eq!(ask("b.mkv").await.unwrap().status(), 502);
    assert_eq!(ask("c.mkv").await.unwrap().status(), 503);
    let ready = get("/readyz").await.unwrap();
    assert_eq!(ready.status(), 503);
    let words = ready.text().await.unwrap();
    assert!(words.starts_with("/ali: the drive no longer accepts the login"), "{words}");
    assert!(words.contains("log in again: sluice login"), "{words}");
    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tries_every_hop_and_says_which_one_fails() {
    let sim = Sim::builder().file("/films/a.mp4", Content::Sample(Sample::Mp4)).start().await.unwrap();
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("sluice.toml"), configuration(&sim, &Setup::default())).unwrap();
    let well = run(folder.path(), &["doctor"]);
    let text = String::from_utf8(well.stdout).unwrap();
    assert_eq!(well.status.code(), Some(0), "{text}");
    let hops = ["token", "drive info", "listing", "link", "ranged read", "preview", "playlist"];
    let ends = |text: &str| -> Vec<(String, String)> {
        let of = |hop: &str| {
            text.lines().find_map(|line| {
                let (end, rest) = line.split_once(' ')?;
                rest.trim_start().starts_with(hop).then(|| (hop.to_owned(), end.to_owned()))
            })
        };
        hops.iter().filter_map(|hop| of(hop)).collect()
    };
    let expected = |ends: [&str; 7]| -> Vec<(String, String)> {
        hops.iter().zip(ends).map(|(hop, end)| ((*hop).to_owned(), end.to_owned())).collect()
    };
    assert_eq!(ends(&text), expected(["ok"; 7]), "{text}");
    assert!(!text.contains(&sim.refresh_token()) && !text.contains("x-oss-signature"), "{text}");
    for note in
        ["note    no third-party package\n        without it", "note    calls a second at present: link 0.9"]
    {
        assert!(text.contains(note), "{note} in {text}");
    }

    sim.fault(drive_sim::Endpoint::Content, drive_sim::Fault::BadGateway, 9);
    // What is not known of the account is no hop that fails.
    sim.fault(drive_sim::Endpoint::VipInfo, drive_sim::Fault::BadGateway, 9);
    let ill = run(folder.path(), &["doctor", "/ali/films/a.mp4"]);
    let text = String::from_utf8(ill.stdout).unwrap();
    assert_eq!(ill.status.code(), Some(1), "{text}");
    assert_eq!(ends(&text), expected(["ok", "ok", "ok", "ok", "failed", "ok", "ok"]), "{text}");
    assert!(text.contains("note    the drive does not say all about the account"), "{text}");

    sim.revoke_access_tokens();
    sim.fault(drive_sim::Endpoint::AccessToken, drive_sim::Fault::BadGateway, 9);
    let out = run(folder.path(), &["doctor", "/ali/absent"]);
    assert_eq!(out.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_by_qr_code_outlives_an_expired_code_and_its_token_serves() {
    let sim = Sim::builder().file("/films/a.mp4", Content::Sample(Sample::Mp4)).start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let with_seed = configuration(&sim, &Setup::default());
    let without: String = with_seed.lines().filter(|line| !line.starts_with("refresh_token")).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    );
    std::fs::write(folder.path().join("sluice.toml"), without).unwrap();
    let before = run(folder.path(), &["doctor"]);
    let text = String::from_utf8(before.stdout).unwrap();
    assert_eq!(before.status.code(), Some(1), "{text}");
    assert!(text.contains("sluice login"), "{text}");
    let login = sluice(folder.path()).args(["login", "/ali"]).stdout(Stdio::piped()).spawn().unwrap();
    let until = async |what: &dyn Fn() -> bool| {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    until(&|| sim.counts().of(drive_sim::Endpoint::QrStatus) > 0).await;
    sim.advance(std::time::Duration::from_secs(181));
    until(&|| sim.counts().of(drive_sim::Endpoint::QrCode) > 1).await;
    sim.scan_qr();
    let polls = sim.counts().of(drive_sim::Endpoint::QrStatus);
    until(&|| sim.counts().of(drive_sim::Endpoint::QrStatus) > polls).await;
    sim.approve_qr();
    let login = login.wait_with_output().unwrap();
    let text = String::from_utf8(login.stdout).unwrap();
    assert_eq!(login.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&login.stderr));
    assert!(text.contains("authorize?sid=") && text.contains('\u{2580}'), "{text}");
    assert_eq!(run(folder.path(), &["doctor"]).status.code(), Some(0));
    assert_eq!(run(folder.path(), &["login", "/elsewhere"]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_at_rest_are_sealed_and_a_lost_key_is_told() {
    let sim = Sim::builder().file("/a.mkv", Content::Virtual { len: 1000, seed: 1 }).start().await.unwrap();
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("sluice.toml"), configuration(&sim, &Setup::default())).unwrap();
    let with_key = |key: &str| {
        let output = sluice(folder.path()).arg("doctor").env("SLUICE_STATE_KEY", key).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = with_key("a key of the operator's own");
    assert_eq!(code, Some(0), "{text}");
    let mut files = vec![folder.path().join("state")];
    let mut seen = 0;
    while let Some(file) = files.pop() {
        if file.is_dir() {
            files.extend(std::fs::read_dir(&file).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let content = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(!content.contains(&sim.refresh_token()), "{}", file.display());
        seen += 1;
    }
    assert!(seen > 0);
    let (code, text) = with_key("another");
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(sim.counts().refreshes, 1, "the token is not spent for nothing");
}
