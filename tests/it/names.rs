//! Strange names, deep paths, large folders and large files.

use std::collections::BTreeSet;

use drive_sim::Content;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::support::{FFMPEG, Rig, Setup, UNPACED, follow, unlimited};

pub(crate) const NAMES: [&str; 12] = [
    "a film with spaces.mkv",
    "流浪地球 (2019).mkv",
    "🎬 emoji 🍿.mkv",
    "hash # mark.mkv",
    "100% real.mkv",
    "%2e%2e looks like an escape.mkv",
    "one+one.mkv",
    "you & me; them.mkv",
    "it's \"quoted\".mkv",
    "what? when! [2019] {x}.mkv",
    "Ä combining é.mkv",
    "back\\slash.mkv",
];

fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn every_name_is_listed_resolved_and_ranged() {
    let rig = Rig::start(|mut drive| {
        for (seed, name) in (0..).zip(NAMES) {
            drive = drive.file(&format!("/{name}/{name}"), Content::Virtual { len: 300_000, seed });
        }
        drive
    })
    .await;
    let root = rig.get("/browse/ali/").send().await;
    for (seed, name) in (0..).zip(NAMES) {
        let folder = encoded(name);
        // What a browser does with the address in the page: take it as it stands there.
        let href = sluice::path::encode_component(name);
        assert!(root.text().contains(&format!("href=\"{href}/\"")), "{name}");
        let inside = rig.get(&format!("/browse/ali/{href}/")).send().await;
        assert!(inside.text().contains(&format!("href=\"{href}\"")), "{name}");

        let bytes = rig.get(&format!("/p/ali/{folder}/{folder}")).range("bytes=123456-223455").send().await;
        assert_eq!(bytes.status, 206, "{name}");
        assert_eq!(bytes.body, drive_sim::content::bytes(seed, 123_456, 100_000), "{name}");
        let redirect = rig.get(&format!("/d/ali/{folder}/{folder}")).agent(FFMPEG).send().await;
        assert_eq!(redirect.status, 302, "{name}");
        let followed = follow(redirect.header("location"), Some("bytes=299990-299999")).await;
        assert_eq!(followed.body, drive_sim::content::bytes(seed, 299_990, 10), "{name}");
    }
}

/// Names of any letters that a drive takes, the same at each run.
fn any_names() -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let strategy = prop_oneof!["[^/]{1,40}", "[ -.0-~]{1,20}", "[\\u{80}-\\u{10ffff}]{1,30}"];
    let drawn = std::iter::repeat_with(|| strategy.new_tree(&mut runner).unwrap().current());
    // A path has no such component, and NUL is in no name.
    let is_one = |name: &String| name != "." && name != ".." && !name.contains('\0');
    let names: BTreeSet<String> = drawn.take(60).filter(is_one).collect();
    names.into_iter().chain(NAMES.map(str::to_owned)).collect()
}

#[tokio::test]
async fn every_name_comes_back_by_the_api_by_webdav_and_by_the_folder_listing() {
    let names = any_names();
    let setup = Setup { options: UNPACED.to_owned(), ..Setup::default() };
    let rig = Rig::with(setup, |mut drive| {
        for (seed, name) in (0..).zip(&names) {
            drive = drive.file(&format!("/{name}/{name}"), Content::Virtual { len: 3000, seed });
        }
        drive.settings(unlimited)
    })
    .await;
    for (seed, name) in (0..).zip(&names) {
        let bytes = drive_sim::content::bytes(seed, 0, 3000);
        let href = sluice::path::encode_component(name);
        let listed = rig.get(&format!("/d/ali/{href}/")).send().await;
        assert!(listed.text().contains(&format!("<a href=\"{href}\">")), "{name}: {}", listed.text());
        let told = rig.site.ask("PROPFIND", &format!("/dav/ali/{href}/")).header("depth", "1").send().await;
        let address = format!("/dav/ali/{href}/{href}");
        assert!(told.text().contains(&format!("<D:href>{address}</D:href>")), "{name}: {}", told.text());
        assert_eq!(rig.get(&address).send().await.body, bytes, "{name}");
        let path = sluice::path::encode_component(&format!("/ali/{name}"));
        let list: serde_json::Value =
            serde_json::from_slice(&rig.get(&format!("/api/fs/list?path={path}")).send().await.body).unwrap();
        assert_eq!(list["data"]["content"][0]["name"], **name);
        let path = sluice::path::encode_component(list["data"]["content"][0]["path"].as_str().unwrap());
        let file: serde_json::Value =
            serde_json::from_slice(&rig.get(&format!("/api/fs/get?path={path}")).send().await.body).unwrap();
        assert_eq!(file["data"]["name"], **name);
        let raw = file["data"]["raw_url"].as_str().unwrap();
        assert_eq!(follow(&format!("{raw}?via=proxy"), None).await.body, bytes, "{name}");
    }
}

#[tokio::test]
async fn a_path_twelve_deep_costs_as_much_as_any_other() {
    let path = "/".to_owned() + &["über"; 12].join("/") + "/film.mkv";
    let rig = Rig::start(|drive| drive.file(&path, Content::Virtual { len: 1000, seed: 3 })).await;
    rig.sim.reset_counts();
    let reply = rig.get(&format!("/p/ali{}", path.replace('ü', "%C3%BC"))).send().await;
    assert_eq!((reply.status, reply.body), (200, drive_sim::content::bytes(3, 0, 1000).to_vec()));
    assert_eq!(rig.sim.counts().api_calls(), 2);
}

#[tokio::test]
async fn a_file_of_a_hundred_gigabytes_is_ranged_byte_exactly() {
    const LEN: u64 = 100 << 30;
    let rig = Rig::start(|drive| drive.file("/big.mkv", Content::Virtual { len: LEN, seed: 9 })).await;
    for start in [0, 5_000_000_000, LEN - 70_000] {
        let reply =
            rig.get("/p/ali/big.mkv").range(&format!("bytes={start}-{}", start + 69_999)).send().await;
        assert_eq!(reply.status, 206);
        assert_eq!(reply.header("content-range"), format!("bytes {start}-{}/{LEN}", start + 69_999));
        assert_eq!(reply.body, drive_sim::content::bytes(9, start, 70_000), "{start}");
    }
    let tail = rig.get("/p/ali/big.mkv").range("bytes=-5").send().await;
    assert_eq!(tail.body, drive_sim::content::bytes(9, LEN - 5, 5));
    let past = rig.get("/p/ali/big.mkv").range(&format!("bytes={LEN}-")).send().await;
    assert_eq!((past.status, past.header("content-range")), (416, &*format!("bytes */{LEN}")));
    let head = rig.site.ask("HEAD", "/p/ali/big.mkv").send().await;
    assert_eq!(head.header("content-length"), LEN.to_string());
}

#[tokio::test]
async fn a_folder_of_twelve_thousand_is_listed_whole() {
    const COUNT: usize = 12_000;
    let rig = Rig::start(|mut drive| {
        for number in 0..COUNT {
            drive = drive
                .file(&format!("/many/{number:05}.mkv"), Content::Virtual { len: 10, seed: number as u64 });
        }
        drive
    })
    .await;
    rig.sim.reset_counts();
    let page = rig.get("/browse/ali/many/").send().await;
    assert_eq!(page.text().matches("<tr class=\"video\">").count(), COUNT);
    // Sixty pages, at the pace that the drive allows.
    assert_eq!((rig.sim.counts().list, rig.sim.counts().rate_limited), (60, 0));
    // The listing answers for every child, the last one too.
    let calls = rig.sim.counts().api_calls();
    assert_eq!(rig.site.ask("HEAD", "/d/ali/many/11999.mkv").send().await.status, 200);
    assert_eq!(rig.sim.counts().api_calls(), calls);
}

#[tokio::test]
async fn of_two_children_with_one_name_the_first_is_meant() {
    let rig = Rig::start(|drive| {
        drive
            .file("/x/same.mkv", Content::Virtual { len: 100, seed: 1 })
            .folder("/x/y")
            .file("/x/other.mkv", Content::Virtual { len: 200, seed: 2 })
    })
    .await;
    rig.sim.rename("/x/other.mkv", "same.mkv");
    let page = rig.get("/browse/ali/x/").send().await;
    let listed: Vec<_> = page.text().match_indices("same.mkv</a>").collect();
    assert_eq!(listed.len(), 2);
    let first = if page.text().find(">100 </td>") < page.text().find(">200 </td>") { "100" } else { "200" };
    let head = rig.site.ask("HEAD", "/d/ali/x/same.mkv").send().await;
    assert_eq!(head.header("content-length"), first);
}
