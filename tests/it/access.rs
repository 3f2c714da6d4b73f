//! Who comes in, and what they see.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use data_encoding::BASE64;
use drive_sim::{Content, Sample};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::process::{Server, sluice};
use crate::support::{HASH, Reply, Rig, Setup, Site, client, sign};

fn users(names: &[(&str, &str, &str)]) -> String {
    let user = |(name, root, permissions): &(&str, &str, &str)| {
        format!(
            "[[access.user]]\nname = \"{name}\"\npassword_hash = \"{HASH}\"\nroot = \"{root}\"\npermissions = [{permissions}]\n"
        )
    };
    names.iter().map(user).collect()
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{name}:{password}").as_bytes()))
}

async fn get(site: &Site, path: &str, authorization: &str) -> Reply {
    let ask = site.get(path);
    if authorization.is_empty() {
        ask.send().await
    } else {
        ask.header("authorization", authorization).send().await
    }
}

async fn post(site: &Site, path: &str, body: &Value) -> (u16, Value) {
    let response = client().post(format!("{}{path}", site.base)).body(body.to_string()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

fn closed(rest: String) -> Setup {
    Setup { closed: true, rest, ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_answers_anybody_but_those_that_give_away_nothing() {
    let rig = Rig::with(closed(users(&[("anna", "/", "\"read\"")])), |drive| {
        drive.file("/film.mkv", Content::Sample(Sample::Mkv))
    })
    .await;
    let hls = [
        "master.m3u8",
        "hd/index.m3u8",
        "hd/0.ts",
        "hd/x0.ts",
        "subtitles/en/index.m3u8",
        "subtitles/en.vtt",
    ];
    let below = |route: &str| -> Vec<String> {
        match route {
            "account" | "browse" | "d" | "p" => vec![format!("/{route}/ali/film.mkv"), format!("/{route}/")],
            "hls" => hls.iter().map(|part| format!("/hls/ali/film.mkv/{part}")).collect(),
            "api" => ["auth/nothing", "fs/list", "fs/link", "fs/put", "admin/user/list", "me"]
                .iter()
                .map(|part| format!("/api/{part}"))
                .collect(),
            "dav" => ["/dav", "/dav/", "/dav/ali/film.mkv", "/dav/%00"].map(str::to_owned).into(),
            "ping" => Vec::new(),
            "assets" => vec!["/assets/nothing".to_owned()],
            other => panic!("{other} is new: say here what it looks like"),
        }
    };
    let others = ["/", "/browse", "/d", "/nothing", "/d/%00", "/d/../x"].map(str::to_owned);
    let all = sluice::serve::target::ROUTES.into_iter().flat_map(below).chain(others);
    let asked = rig.sim.counts().api_calls();
    for path in all {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PROPFIND"] {
            let reply = rig.site.ask(method, &path).send().await;
            let status = match reply.status {
                // AList's answers are 200; the code stands in them.
                200 if path.starts_with("/api/") && method != "HEAD" => {
                    let told: Value = serde_json::from_slice(&reply.body).unwrap();
                    assert!(told["data"].is_null(), "{method} {path}: {told}");
                    told["code"].as_u64().unwrap()
                }
                200 if path.starts_with("/api/") => 401,
                status => u64::from(status),
            };
            assert!(matches!(status, 401 | 403), "{method} {path}: {status}");
        }
    }
    // The exceptions.
    assert_eq!(get(&rig.site, "/ping", "").await.text(), "pong");
    for asset in ["page.css", "page.js", "icon.svg"] {
        assert_eq!(rig.get(&format!("/assets/{asset}")).send().await.status, 200, "{asset}");
    }
    let nobody = json!({"username": "", "password": ""});
    assert_eq!(post(&rig.site, "/api/auth/login", &nobody).await.1["code"], 400);
    assert_eq!(get(&rig.site, "/api/auth/logout", "").await.status, 200);
    assert_eq!(rig.sim.counts().api_calls(), asked, "the drive was asked nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_operators_routes_only_the_sign_of_life_answers_everybody() {
    let sim = drive_sim::Sim::builder().start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let text = crate::support::configuration(&sim, &closed(users(&[("anna", "/", "\"read\"")])))
        .replace("admin_listen = \"\"", "admin_listen = \"127.0.0.1:0\"");
    std::fs::write(folder.path().join("sluice.toml"), text).unwrap();
    let mut command = sluice(folder.path());
    command.arg("serve");
    let mut server = Server::start(command);
    let admin = server.next_line().trim().strip_prefix("listening on ").unwrap().to_owned();
    let get = async |path: &str, authorization: &str| {
        let ask = client().get(format!("{admin}{path}")).header("authorization", authorization);
        ask.send().await.unwrap().status().as_u16()
    };
    for path in sluice::serve::admin::ROUTES.into_iter().chain(["/", "/nothing"]) {
        let expected = if path == "/healthz" { 200 } else { 401 };
        assert_eq!(get(path, "").await, expected, "{path}");
        assert_ne!(get(path, "Bearer test-token").await, 401, "{path}");
    }
    assert_eq!(get("/metrics", &basic("anna", "secret")).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_hold_on_every_way_to_a_file() {
    let rest =
        users(&[("anna", "/ali/anna", "\"read\""), ("bob", "/", "\"read\""), ("root", "/", "\"admin\"")])
            + "[[access.rule]]\npath = \"/ali/bobs\"\nusers = [\"bob\"]\n\
           [[access.rule]]\npath = \"/ali/cave\"\npassword = \"open sesame\"\n\
           [[access.rule]]\npath = \"/ali\"\nhide = [\"*.nfo\", \"film.ja.srt\"]\n";
    let rig = Rig::with(closed(rest), |drive| {
        [
            "anna/film.mkv",
            "bobs/film.mkv",
            "bobs/film.ja.srt",
            "bobs/film.fr.srt",
            "cave/film.mkv",
            "film.nfo",
        ]
        .into_iter()
        .fold(drive, |drive, name| drive.file(&format!("/{name}"), Content::Sample(Sample::Mkv)))
    })
    .await;
    let (anna, bob, root) = (basic("anna", "secret"), basic("bob", "secret"), basic("root", "secret"));
    let ways = ["/browse/ali/{}", "/d/ali/{}", "/p/ali/{}", "/hls/ali/{}/master.m3u8", "/hls/ali/{}/hd/0.ts"];
    for (file, of_anna, of_bob) in [
        ("anna/film.mkv", 0, 0),
        ("bobs/film.mkv", 403, 0),
        // Of a locked folder a page asks for the password: 403 too.
        ("cave/film.mkv", 403, 403),
        ("film.nfo", 403, 404),
    ] {
        for way in ways {
            let path = way.replace("{}", file);
            for (who, expected) in [(&anna, of_anna), (&bob, of_bob), (&root, 0), (&String::new(), 401)] {
                let status = get(&rig.site, &path, who).await.status;
                let is_right =
                    if expected == 0 { matches!(status, 200 | 302 | 404) } else { status == expected };
                assert!(is_right, "{path} as {who:?}: {status}");
                // Only what was never transcoded may be missing where one may look.
                assert!(expected != 0 || status != 404 || path.starts_with("/hls"), "{path} as {who:?}");
            }
        }
    }
    // Where paths begin with the visitor's own tree, as WebDAV and the API have it.
    let code = async |path: &str, who: &str| {
        let reply = get(&rig.site, path, who).await;
        let told: Option<Value> =
            path.starts_with("/api").then(|| serde_json::from_slice(&reply.body).unwrap());
        told.map_or(u64::from(reply.status), |told| told["code"].as_u64().unwrap())
    };
    for (file, of_anna, of_bob) in [
        ("/film.mkv", 200, 404),
        ("/../bobs/film.mkv", 400, 400),
        ("/ali/bobs/film.mkv", 404, 200),
        ("/ali/cave/film.mkv", 404, 403),
        ("/ali/film.nfo", 404, 404),
    ] {
        for (who, expected) in [(&anna, of_anna), (&bob, of_bob), (&String::new(), 401)] {
            // The client would take the dots away.
            let dav = code(&format!("/dav{}", file.replace("..", "%2e%2e")), who).await;
            assert_eq!(dav, if expected == 400 && dav == 404 { 404 } else { expected }, "{file} as {who:?}");
            // AList's codes for the same.
            let expected = match expected {
                400 => 403,
                404 => 500,
                other => other,
            };
            assert_eq!(code(&format!("/api/fs/get?path={file}"), who).await, expected, "{file} as {who:?}");
        }
    }
    let found = get(&rig.site, "/api/fs/search?parent=/&keywords=film&per_page=50", &bob).await;
    let listed = get(&rig.site, "/api/fs/list?path=/ali", &bob).await;
    assert!(listed.text().contains("cave") && !listed.text().contains(".nfo"), "{}", listed.text());
    assert!(!found.text().contains(".nfo") && !found.text().contains("cave"), "{}", found.text());
    // Nor is it listed.
    let listed = get(&rig.site, "/browse/ali/", &bob).await;
    assert!(listed.text().contains("cave") && listed.text().contains("bobs"));
    assert!(!listed.text().contains("film.nfo"));
    assert!(get(&rig.site, "/browse/ali/", &root).await.text().contains("film.nfo"));
    let home = get(&rig.site, "/", &anna).await;
    assert_eq!((home.status, home.header("location")), (303, "/browse/ali/anna"));
    let master = get(&rig.site, "/hls/ali/bobs/film.mkv/master.m3u8", &bob).await;
    assert!(
        master.text().contains("subtitles/fr/") && !master.text().contains("subtitles/ja/"),
        "{}",
        master.text()
    );
    // Whoever was given a signature has that one thing.
    let signed = |path: &str| format!("/d{path}?sign={}", sign(path));
    assert_eq!(get(&rig.site, &signed("/ali/cave/film.mkv"), "").await.status, 200);
    assert_eq!(get(&rig.site, &signed("/ali/cave/film.mkv"), &anna).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_folder_opens_with_its_password_in_a_browser() {
    let rest = "[[access.rule]]\npath = \"/ali/cave\"\npassword = \"open sesame\"\n".to_owned();
    let setup = Setup { rest, ..Setup::default() };
    let rig = Rig::with(setup, |drive| drive.file("/cave/film.mkv", Content::Sample(Sample::Mkv))).await;
    let page = rig.get("/browse/ali/cave/").header("accept", "text/html").send().await;
    assert!(page.status == 403 && page.text().contains("type=\"password\""), "{}", page.text());
    assert_eq!(rig.get("/browse/ali/cave/").send().await.status, 403);
    assert_eq!(rig.get("/d/ali/cave/film.mkv").send().await.status, 403);
    let enter = |password: &'static str, site: &'static str| {
        let url = format!("{}/browse/ali/cave/", rig.site.base);
        client().post(url).header("sec-fetch-site", site).body(format!("password={password}")).send()
    };
    assert_eq!(enter("open+sesame", "cross-site").await.unwrap().status(), 403);
    let wrong = enter("open+barley", "same-origin").await.unwrap();
    assert!(wrong.status() == 403 && wrong.headers().get("set-cookie").is_none());
    let right = enter("open+sesame", "same-origin").await.unwrap();
    assert_eq!(right.status(), 303);
    let cookie = right.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("sesame"));
    let cookie = cookie.split(';').next().unwrap();
    let with = |path: &str| rig.get(path).header("cookie", cookie).agent("Lavf/59.27.100").send();
    assert!(with("/browse/ali/cave/").await.text().contains("film.mkv"));
    assert_eq!(with("/d/ali/cave/film.mkv").await.status, 302);
    // What is listed there is signed, so that it can be given to a player.
    assert!(
        with("/browse/ali/cave/film.mkv").await.status == 302
            || with("/browse/ali/cave/").await.text().contains("sign=")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn alists_clients_log_in_for_a_token_with_the_password_or_its_hash() {
    let ours = sluice::access::PasswordHash::make("a new password").unwrap().expose();
    let rest = users(&[("anna", "/", "\"read\"")])
        + &format!(
            "[[access.user]]\nname = \"bob\"\npassword_hash = \"{ours}\"\npermissions = [\"admin\"]\n"
        );
    let rig = Rig::with(closed(rest), |drive| drive.file("/film.mkv", Content::Sample(Sample::Mkv))).await;
    let log_in = async |name: &str, password: &str, path: &str| {
        post(&rig.site, path, &json!({"username": name, "password": password})).await
    };
    let static_of = |password: &str| sluice::access::passwords::static_hash(password).expose().to_owned();
    for (name, password, path) in [
        ("anna", "secret".to_owned(), "/api/auth/login"),
        ("bob", "a new password".to_owned(), "/api/auth/login"),
        ("bob", static_of("a new password"), "/api/auth/login/hash"),
    ] {
        let (status, answer) = log_in(name, &password, path).await;
        assert_eq!(
            (status, &answer["code"], &answer["message"]),
            (200, &json!(200), &json!("success")),
            "{name} {path}"
        );
        let token = answer["data"]["token"].as_str().unwrap();
        for authorization in [token.to_owned(), format!("Bearer {token}")] {
            assert_eq!(get(&rig.site, "/browse/ali/", &authorization).await.status, 200);
        }
        let account = get(&rig.site, "/account/ali", token).await.status;
        assert_eq!(account, if name == "bob" { 200 } else { 403 });
        get(&rig.site, "/api/auth/logout", token).await;
        assert_eq!(get(&rig.site, "/browse/ali/", token).await.status, 401);
    }
    for (name, password, path) in [
        ("anna", "Secret".to_owned(), "/api/auth/login"),
        ("eve", "secret".to_owned(), "/api/auth/login"),
        // Of a foreign hash nobody can tell.
        ("anna", static_of("secret"), "/api/auth/login/hash"),
        ("bob", static_of("a new password"), "/api/auth/login"),
    ] {
        let (status, answer) = log_in(name, &password, path).await;
        assert_eq!(
            (status, &answer["code"], &answer["data"]),
            (200, &json!(400), &Value::Null),
            "{name} {path}"
        );
    }
    // A body of any type, too long a body, and none.
    let long = json!({"username": "a".repeat(70_000), "password": ""});
    let url = format!("{}/api/auth/login", rig.site.base);
    for body in [long.to_string(), "{".to_owned(), String::new()] {
        let answer = client().post(&url).body(body).send().await.unwrap().bytes().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["code"], 400, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_plays_until_its_password_is_taken_back() {
    let state = TempDir::new().unwrap();
    let sim =
        drive_sim::Sim::builder().file("/film.mkv", Content::Sample(Sample::Mkv)).start().await.unwrap();
    let setup = closed(users(&[("anna", "/", "\"read\", \"admin\"")]));
    let devices = sluice::access::devices::Devices::new(state.path());
    let site = Site::start(&crate::support::configuration(&sim, &setup), state).await;
    let password = devices.add("anna", "living room", 0).unwrap();
    let device = basic("anna", password.expose());
    let until = async |status: u16| {
        let since = Instant::now();
        while get(&site, "/d/ali/film.mkv", &device).await.status != status {
            assert!(since.elapsed() < Duration::from_secs(8), "not {status}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    until(200).await;
    assert_eq!(get(&site, "/browse/ali/", &device).await.status, 200);
    // What its user may beside playing is not the device's.
    assert_eq!(get(&site, "/account/ali", &device).await.status, 403);
    assert_eq!(get(&site, "/account/ali", &basic("anna", "secret")).await.status, 200);
    devices.revoke(1).unwrap();
    until(401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_guesses_from_one_address_or_from_many_shut_out_nobody() {
    let rest = users(&[("anna", "/", "\"read\""), ("bob", "/", "\"read\"")]);
    let mut setup = closed(rest);
    setup.rest.insert_str(0, "# The reverse proxy of the test.\n");
    let sim =
        drive_sim::Sim::builder().file("/film.mkv", Content::Sample(Sample::Mkv)).start().await.unwrap();
    let text = crate::support::configuration(&sim, &setup)
        .replace("admin_listen = \"\"\n", "admin_listen = \"\"\ntrusted_proxies = [\"127.0.0.1\"]\n");
    let site = Site::start(&text, TempDir::new().unwrap()).await;
    let ask = async |address: u32, name: &str, password: &str| {
        let address = IpAddr::V4(Ipv4Addr::from_bits(address));
        let ask = site.get("/browse/ali/").header("x-forwarded-for", &address.to_string());
        ask.header("authorization", &basic(name, password)).send().await
    };
    // In the household from which somebody guesses: she watches, and he comes in the middle of it.
    let home = 0x0a00_0001;
    assert_eq!(ask(home, "anna", "secret").await.status, 200);
    for many in [false, true] {
        let attack = futures_util::future::join_all((0..20_u32).map(|attacker| {
            let ask = &ask;
            async move {
                for guess in 0..500_u32 {
                    let address = if many { 0x1400_0000 + attacker * 500 + guess } else { home };
                    let status = ask(address, "anna", &format!("guess {guess}")).await.status;
                    assert!(matches!(status, 401 | 429), "{status}");
                }
            }
        }));
        let others = async {
            for _ in 0..100 {
                assert_eq!(ask(home, "anna", "secret").await.status, 200);
                assert_eq!(ask(home, "bob", "secret").await.status, 200);
                assert_eq!(ask(home + 1, "anna", "secret").await.status, 200);
            }
        };
        tokio::join!(attack, others);
    }
    let refused = ask(home, "anna", "guess").await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), "1");
    // Never to a player.
    let player = site.get("/d/ali/film.mkv").header("x-forwarded-for", "10.0.0.1");
    assert_eq!(player.header("authorization", &basic("anna", "guess")).send().await.status, 401);
}
