//! AList's API as the programs that speak it rely on it.

use std::time::Duration;

use drive_sim::{Content, Endpoint, Sample};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{HASH, Rig, Setup, Site, UNPACED, client, configuration, follow, unlimited};

const ADMIN: &str = "test-token";
/// Of `/ali/Movies/a b.mkv`, as AList signs it with that token.
const SIGN: &str = "_TXYEaQMHu0i6lxTvE8Yr1Tyt1OnZjz6rL4v2ABOHXo=:0";

async fn call(site: &Site, address: &str, authorization: &str, body: Value) -> Value {
    let mut ask = client().post(format!("{}/api/{address}", site.base)).body(body.to_string());
    if !authorization.is_empty() {
        ask = ask.header("authorization", authorization);
    }
    let response = ask.send().await.unwrap();
    assert_eq!(response.status(), 200, "{address}");
    assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

async fn code(site: &Site, address: &str, authorization: &str, body: Value) -> u64 {
    call(site, address, authorization, body).await["code"].as_u64().unwrap()
}

fn closed(rest: &str) -> Setup {
    let user = format!(
        "[[access.user]]\nname = \"anna\"\npassword_hash = \"{HASH}\"\nroot = \"/ali/anna\"\npermissions = [\"read\"]\n"
    );
    Setup { closed: true, rest: user + rest, ..Setup::default() }
}

async fn rig(setup: Setup) -> Rig {
    Rig::with(setup, |drive| {
        drive
            .file("/Movies/a b.mkv", Content::Sample(Sample::Mkv))
            .file("/Movies/a b.zh.vtt", Content::Sample(Sample::Subtitle))
            .file("/Movies/poster.jpg", Content::Sample(Sample::Poster))
            .file("/anna/流浪地球 (2019).mkv", Content::Virtual { len: 5000, seed: 7 })
            .file("/anna/cave/film.mkv", Content::Virtual { len: 5000, seed: 8 })
            .folder("/empty")
    })
    .await
}

fn names(answer: &Value) -> Vec<&str> {
    let content = answer["data"]["content"].as_array().unwrap();
    content.iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn lists_and_files_have_every_field_that_clients_read() {
    let rig = rig(closed("")).await;
    let asked = json!({"path": "/ali/Movies", "password": "", "page": 1, "per_page": 0, "refresh": false});
    let list = call(&rig.site, "fs/list", ADMIN, asked).await;
    assert_eq!((&list["code"], &list["message"]), (&json!(200), &json!("success")));
    let data = &list["data"];
    let told = json!({ "total": data["total"], "readme": data["readme"], "header": data["header"], "write": data["write"],
        "write_content_bypass": data["write_content_bypass"], "provider": data["provider"] });
    assert_eq!(
        told,
        json!({"total": 3, "readme": "", "header": "", "write": true, "write_content_bypass": false,
            "provider": "AliyundriveOpen"})
    );
    let content = data["content"].as_array().unwrap();
    for item in content {
        for field in ["name", "modified", "created", "sign", "thumb", "hashinfo"] {
            assert!(item[field].is_string(), "{field} of {item}");
        }
        assert!(item["size"].is_u64() && item["is_dir"].is_boolean() && item["type"].is_u64(), "{item}");
    }
    let film = content.iter().find(|item| item["name"] == "a b.mkv").unwrap();
    assert_eq!((&film["sign"], &film["type"], &film["is_dir"]), (&json!(SIGN), &json!(2), &json!(false)));
    let hashes: Value = serde_json::from_str(film["hashinfo"].as_str().unwrap()).unwrap();
    assert_eq!(hashes, film["hash_info"]);
    assert_eq!(hashes["sha1"].as_str().unwrap().len(), 40);
    assert!(content.iter().any(|item| item["type"] == 5), "a picture");

    let file = call(&rig.site, "fs/get", ADMIN, json!({"path": "/ali/Movies/a b.mkv"})).await;
    let data = &file["data"];
    for field in
        ["name", "size", "is_dir", "modified", "created", "sign", "thumb", "type", "hashinfo", "hash_info"]
    {
        assert_eq!(data[field], film[field], "{field}");
    }
    assert_eq!((&data["header"], &data["provider"]), (&json!(""), &json!("AliyundriveOpen")));
    assert_eq!(data["related"][0]["name"], "a b.zh.vtt");
    let raw = data["raw_url"].as_str().unwrap();
    assert!(raw.starts_with(&format!("{}/d/ali/Movies/a%20b.mkv?sign=", rig.site.base)), "{raw}");
    assert_eq!(follow(raw, None).await.body, Sample::Mkv.bytes());

    let folder = call(&rig.site, "fs/get", ADMIN, json!({"path": "ali/Movies/"})).await;
    let data = &folder["data"];
    assert_eq!(
        (&data["is_dir"], &data["raw_url"], &data["type"], &data["related"]),
        (&json!(true), &json!(""), &json!(0), &json!(null))
    );
    let roots = call(&rig.site, "fs/list", ADMIN, json!({"path": "/"})).await;
    assert_eq!(names(&roots), ["ali"]);
    assert_eq!(
        (&roots["data"]["content"][0]["type"], &roots["data"]["content"][0]["sign"]),
        (&json!(1), &json!(""))
    );
}

#[tokio::test]
async fn what_is_empty_missing_or_malformed_is_said_as_alist_says_it() {
    let rig = rig(closed("")).await;
    let empty = call(&rig.site, "fs/list", ADMIN, json!({"path": "/ali/empty"})).await;
    assert_eq!((&empty["data"]["content"], &empty["data"]["total"]), (&json!(null), &json!(0)));
    let missing = call(&rig.site, "fs/get", ADMIN, json!({"path": "/ali/Movies/none"})).await;
    assert_eq!(missing, json!({"code": 500, "message": "failed get obj: object not found", "data": null}));
    for (address, body, expected) in [
        ("fs/list", json!({"path": "/ali/none"}), 500),
        ("fs/list", json!({"path": "/ali/Movies/a b.mkv"}), 500),
        ("fs/get", json!({"path": "/ali/../ali"}), 403),
        ("fs/get", json!({"path": 5}), 400),
        ("fs/list", json!([]), 400),
        ("fs/nothing", json!({}), 404),
        ("fs/mkdir", json!({"path": "/ali/new"}), 403),
        ("fs/remove", json!({"dir": "/ali", "names": ["Movies"]}), 403),
        ("fs/other", json!({"path": "/ali/Movies/a b.mkv", "method": "doc_preview"}), 500),
        ("fs/search", json!({"parent": "/", "keywords": "", "page": 1, "per_page": 10}), 400),
    ] {
        let got = code(&rig.site, address, ADMIN, body.clone()).await;
        assert_eq!(got, expected, "{address} {body}");
    }
    // Helpers send no type, or ask by the address.
    let by_query =
        rig.get("/api/fs/list?path=/ali/Movies&per_page=1").header("authorization", ADMIN).send().await;
    let by_query: Value = serde_json::from_slice(&by_query.body).unwrap();
    assert_eq!((by_query["data"]["total"].as_u64(), names(&by_query).len()), (Some(3), 1));
    let windows = call(&rig.site, "fs/get", ADMIN, json!({"path": "\\ali\\Movies\\a b.mkv"})).await;
    assert_eq!(windows["data"]["name"], "a b.mkv");
    assert_eq!(rig.get("/ping").send().await.text(), "pong");
    let folders = call(&rig.site, "fs/dirs", ADMIN, json!({"path": "/ali"})).await;
    assert_eq!(folders["data"].as_array().unwrap().len(), 3);
    assert_eq!(call(&rig.site, "fs/dirs", ADMIN, json!({"path": "/ali/empty"})).await["data"], json!(null));
}

#[tokio::test]
async fn a_locked_file_is_listed_and_no_signature_of_it_given_away() {
    let rule = "[[access.rule]]\npath = \"/ali/Movies/a b.mkv\"\npassword = \"open sesame\"\n";
    let rig = rig(Setup { rest: rule.to_owned(), ..Setup::default() }).await;
    let list =
        |password: &str| call(&rig.site, "fs/list", "", json!({"path": "/ali/Movies", "password": password}));
    assert_eq!(names(&list("").await), ["a b.mkv", "a b.zh.vtt", "poster.jpg"]);
    assert_eq!(list("").await["data"]["content"][0]["sign"], "");
    assert_eq!(code(&rig.site, "fs/get", "", json!({"path": "/ali/Movies/a b.mkv"})).await, 403);
    let subtitle = call(&rig.site, "fs/get", "", json!({"path": "/ali/Movies/a b.zh.vtt"})).await;
    assert!(subtitle["data"]["related"].is_null(), "{subtitle}");
    let films = rig.get("/d/ali/Movies/?playlist=m3u8").send().await;
    assert_eq!(films.text(), "#EXTM3U\n");
    // Whoever knows the password has one.
    let asked = json!({"path": "/ali/Movies/a b.mkv", "password": "open sesame"});
    let film = call(&rig.site, "fs/get", "", asked).await;
    let sign = film["data"]["sign"].as_str().unwrap();
    assert_eq!(rig.get(&format!("/d/ali/Movies/a%20b.mkv?sign={sign}")).send().await.status, 200);
}

#[tokio::test]
async fn calls_may_be_forms() {
    let rig = rig(closed("")).await;
    let ask = client().post(format!("{}/api/fs/list", rig.site.base)).header("authorization", ADMIN);
    let ask = ask.header("content-type", "application/x-www-form-urlencoded");
    let list = ask.body("path=%2Fali%2FMovies&per_page=1").send().await.unwrap();
    let list: Value = serde_json::from_slice(&list.bytes().await.unwrap()).unwrap();
    assert_eq!(names(&list), ["a b.mkv"]);
}

#[tokio::test]
async fn who_calls_is_told_who_they_are_and_has_their_own_tree() {
    let rig = rig(closed("[[access.rule]]\npath = \"/ali/anna/cave\"\npassword = \"open sesame\"\n")).await;
    let site = &rig.site;
    let login = call(site, "auth/login", "", json!({"username": "anna", "password": "secret"})).await;
    let token = login["data"]["token"].as_str().unwrap();
    let me = call(site, "me", token, json!({})).await;
    assert_eq!(
        me["data"],
        json!({"id": 3, "username": "anna", "password": "", "base_path": "/ali/anna", "role": 0, "disabled": false,
            "permission": 256, "sso_id": "", "allow_ldap": true, "otp": false})
    );
    assert_eq!(call(site, "me", ADMIN, json!({})).await["data"]["role"], 2);
    // However many come with a token that has ended, each is told so in the words of the API, and may log in.
    for _ in 0..10 {
        assert_eq!(code(site, "me", "ended", json!({})).await, 401);
    }
    let asked = json!({"username": "anna", "password": "secret"});
    let (me, login) =
        tokio::join!(code(site, "me", "ended", json!({})), code(site, "auth/login", "ended", asked));
    assert_eq!((me, login), (401, 200));
    let list = call(site, "fs/list", token, json!({"path": "/"})).await;
    assert_eq!(names(&list), ["cave", "流浪地球 (2019).mkv"]);
    let sign = list["data"]["content"][1]["sign"].as_str().unwrap();
    // What `/d` takes is the whole path: that of the user's tree with theirs in front.
    let film = "/d/ali/anna/%E6%B5%81%E6%B5%AA%E5%9C%B0%E7%90%83%20%282019%29.mkv";
    let bytes = site.get(&format!("{film}?sign={sign}")).send().await;
    assert_eq!(bytes.body, drive_sim::content::bytes(7, 0, 5000));
    // Others log in again when they are told so.
    let expired = call(site, "fs/list", "nonsense", json!({"path": "/"})).await;
    assert_eq!(expired, json!({"code": 401, "message": "token is expired", "data": null}));
    assert_eq!(code(site, "fs/list", "", json!({"path": "/"})).await, 401);
    for address in ["fs/link", "admin/user/list", "admin/storage/list", "admin/setting/list"] {
        assert_eq!(code(site, address, token, json!({"path": "/ali"})).await, 403, "{address}");
    }
    let refresh = call(site, "fs/list", token, json!({"path": "/", "refresh": true})).await;
    assert_eq!((&refresh["code"], &refresh["message"]), (&json!(403), &json!("Refresh without permission")));
    // What is locked opens with its password, which is not to be guessed.
    let cave = |password: &str| json!({"path": "/cave", "password": password});
    for password in ["", "open barley"] {
        assert_eq!(code(site, "fs/list", token, cave(password)).await, 403);
        assert_eq!(code(site, "fs/get", token, cave(password)).await, 403);
    }
    assert_eq!(names(&call(site, "fs/list", token, cave("open sesame")).await), ["film.mkv"]);
    assert_eq!(call(site, "auth/logout", token, json!({})).await["code"], 200);
    assert_eq!(code(site, "me", token, json!({})).await, 401);
}

#[tokio::test]
async fn guests_have_what_they_may_see_without_a_login() {
    let rig = rig(Setup::default()).await;
    assert_eq!(call(&rig.site, "me", "", json!({})).await["data"]["username"], "guest");
    let list = call(&rig.site, "fs/list", "", json!({"path": "/ali/Movies", "refresh": false})).await;
    assert_eq!((&list["data"]["total"], &list["data"]["write"]), (&json!(3), &json!(false)));
    assert_eq!(list["data"]["content"][0]["sign"], "", "nothing is signed where nothing needs to be");
    let settings = rig.get("/api/public/settings").send().await;
    let told = settings.text();
    let version = told.split("\"version\":\"v").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(version.split('.').filter(|part| part.parse::<u32>().is_ok()).count(), 3, "{told}");
    assert!(told.contains("\"allow_mounted\":\"true\""), "{told}");
}

#[tokio::test]
async fn a_film_has_addresses_of_ours_for_each_quality_and_the_drives_for_administrators() {
    let rig = rig(closed("")).await;
    let asked = json!({"path": "/ali/Movies/a b.mkv", "method": "video_preview", "data": "preview"});
    let preview = call(&rig.site, "fs/other", ADMIN, asked.clone()).await;
    let info = &preview["data"]["video_preview_play_info"];
    assert_eq!(info["category"], "live_transcoding");
    assert!(info["meta"]["duration"].as_f64().unwrap() > 59.0, "{info}");
    let qualities = info["live_transcoding_task_list"].as_array().unwrap();
    let ready: Vec<_> = qualities.iter().filter(|quality| quality["url"] != "").collect();
    assert_eq!((&ready[0]["template_id"], &ready[0]["status"]), (&json!("LD"), &json!("finished")));
    let url = ready[0]["url"].as_str().unwrap();
    assert!(
        url.starts_with(&format!("{}/hls/ali/Movies/a%20b.mkv/ld/index.m3u8?sign=", rig.site.base)),
        "{url}"
    );
    assert!(follow(url, None).await.text().contains("#EXT-X-ENDLIST"));
    let track = &info["live_transcoding_subtitle_task_list"][0];
    assert_eq!((&track["language"], &track["status"]), (&json!("chi"), &json!("finished")));
    assert!(follow(track["url"].as_str().unwrap(), None).await.text().starts_with("WEBVTT"));
    assert!(!preview.to_string().contains("x-oss"), "an address of the drive");
    // An hour later they are as good as before; one preview each life.
    rig.pass(Duration::from_secs(3600));
    assert_eq!(follow(url, None).await.status, 200);

    let mut raw = asked;
    raw["raw"] = json!(true);
    let preview = call(&rig.site, "fs/other", ADMIN, raw.clone()).await.to_string();
    assert!(preview.contains(&rig.sim.content_base()), "{preview}");
    let login = call(&rig.site, "auth/login", "", json!({"username": "anna", "password": "secret"})).await;
    assert_eq!(code(&rig.site, "fs/other", login["data"]["token"].as_str().unwrap(), raw).await, 403);
}

#[tokio::test]
async fn helpers_that_fetch_by_themselves_are_given_the_drives_link() {
    let rig = rig(closed("")).await;
    let link = call(&rig.site, "fs/link", ADMIN, json!({"path": "/ali/Movies/a b.mkv"})).await;
    let data = &link["data"];
    let left = Duration::from_nanos(data["Expiration"].as_u64().unwrap());
    assert!((Duration::from_secs(300)..=Duration::from_secs(900)).contains(&left), "{left:?}");
    assert_eq!(data["content_length"], Sample::Mkv.bytes().len());
    assert_eq!(data["header"], json!(null));
    assert_eq!(follow(data["url"].as_str().unwrap(), None).await.body, Sample::Mkv.bytes());
    assert_eq!(code(&rig.site, "fs/link", ADMIN, json!({"path": "/ali/Movies"})).await, 500);
    let storages = call(&rig.site, "admin/storage/list", ADMIN, json!({})).await;
    assert_eq!(storages["data"]["content"][0]["mount_path"], "/ali");
    let all = [
        storages.to_string(),
        call(&rig.site, "admin/user/list", ADMIN, json!({})).await.to_string(),
        call(&rig.site, "admin/setting/list", ADMIN, json!({})).await.to_string(),
    ];
    for text in all {
        for secret in [ADMIN, HASH, &rig.sim.refresh_token(), &rig.sim.client_secret()] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_found_where_folders_were_listed_and_nowhere_else() {
    let rig = rig(closed("[[access.rule]]\npath = \"/ali/anna/cave\"\npassword = \"open sesame\"\n")).await;
    let site = &rig.site;
    let search = async |who: &str, body: Value| call(site, "fs/search", who, body).await;
    let asked =
        |words: &str| json!({"parent": "/", "keywords": words, "scope": 0, "page": 1, "per_page": 100});
    assert_eq!(search(ADMIN, asked("地球")).await["data"]["total"], 0);
    for folder in ["/ali", "/ali/Movies", "/ali/anna", "/ali/anna/cave"] {
        call(site, "fs/list", ADMIN, json!({"path": folder})).await;
    }
    // What was listed is written a moment later.
    let found = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let found = search(ADMIN, asked("film MKV")).await;
            if found["data"]["total"] == 1 {
                return found;
            }
            tokio::task::yield_now().await;
        }
    });
    let found = found.await.unwrap();
    let hit =
        json!({"parent": "/ali/anna/cave", "name": "film.mkv", "is_dir": false, "size": 5000, "type": 2});
    assert_eq!(found["data"]["content"], json!([hit]));
    rig.sim.reset_counts();
    let login = call(site, "auth/login", "", json!({"username": "anna", "password": "secret"})).await;
    let anna = login["data"]["token"].as_str().unwrap();
    // Her own tree, with her own paths, and nothing of what is locked.
    assert_eq!(search(anna, asked("film.mkv")).await["data"]["total"], 0);
    let earth = search(anna, asked("2019 地球")).await;
    assert_eq!(earth["data"]["content"][0]["parent"], "/", "{earth}");
    assert_eq!(search(anna, asked("a b")).await["data"]["total"], 0);
    let mut folders = asked("a");
    folders["scope"] = json!(1);
    assert_eq!(names(&search(ADMIN, folders).await), ["anna", "cave"]);
    let mut below = asked("mkv");
    below["parent"] = json!("/ali/Movies");
    assert_eq!(names(&search(ADMIN, below).await), ["a b.mkv"]);
    let mut second = asked("mkv");
    (second["per_page"], second["page"]) = (json!(2), json!(2));
    let second = search(ADMIN, second).await;
    assert_eq!((second["data"]["total"].as_u64(), names(&second).len()), (Some(3), 1));
    assert_eq!(rig.sim.counts().api_calls(), 0, "the drive was asked nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_folder_is_listed_whole_or_by_pages() {
    const FILES: usize = 5000;
    let sim = (0..FILES).fold(drive_sim::Sim::builder(), |drive, number| {
        drive.file(&format!("/large/{number:05}.mkv"), Content::Virtual { len: 1000, seed: 1 })
    });
    let sim = sim.folder("/large/behind them").start().await.unwrap();
    sim.settings(unlimited);
    let setup = Setup { options: UNPACED.to_owned(), ..Setup::default() };
    let site = Site::start(&configuration(&sim, &setup), TempDir::new().unwrap()).await;
    let all = call(&site, "fs/list", "", json!({"path": "/ali/large"})).await;
    assert_eq!((names(&all).len(), all["data"]["total"].as_u64()), (FILES + 1, Some(FILES as u64 + 1)));
    let folders = call(&site, "fs/dirs", "", json!({"path": "/ali/large"})).await;
    assert_eq!(
        (folders["data"].as_array().unwrap().len(), &folders["data"][0]["name"]),
        (1, &json!("behind them"))
    );
    let lists = sim.counts().of(Endpoint::List);
    let page = call(&site, "fs/list", "", json!({"path": "/ali/large", "page": 50, "per_page": 100})).await;
    assert_eq!((names(&page)[0], names(&page).len()), ("04900.mkv", 100));
    assert_eq!(page["data"]["total"], FILES + 1);
    let behind = call(&site, "fs/list", "", json!({"path": "/ali/large", "page": 52, "per_page": 100})).await;
    assert_eq!(behind["data"]["content"], json!(null));
    assert_eq!(sim.counts().of(Endpoint::List), lists, "it was at hand");
}
