//! Links, ranges, the cap, and bytes.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;

use super::{User, get, head_of, open, send, unlimited, virtual_file};
use crate::{AppLevel, RangeMode, Sim, content};

async fn user_with(path: &str, len: u64) -> (User, String) {
    let user = User::new(unlimited().file(path, virtual_file(len)).start().await.unwrap()).await;
    let link = user.link(path).await;
    (user, link)
}

#[tokio::test]
async fn any_range_of_100_gigabytes_can_be_read() {
    let (user, link) = user_with("/films/long.mkv", 100_000_000_000).await;
    let reply = get(&link, &[("Range", "bytes=99999999000-")]).await;
    assert_eq!(reply.status, 206);
    assert_eq!(reply.header("content-range").unwrap(), "bytes 99999999000-99999999999/100000000000");
    assert_eq!(reply.body, content::bytes(7, 99_999_999_000, 1000));
    let reply = get(&link, &[("Range", "bytes=1000000-3999999")]).await;
    assert_eq!(reply.body, content::bytes(7, 1_000_000, 3_000_000));
    assert_eq!(user.sim.counts().bytes_sent, 3_001_000);
}

#[tokio::test]
async fn two_links_differ_and_both_work() {
    let (user, first) = user_with("/a.mkv", 10).await;
    let second = user.link("/a.mkv").await;
    assert_ne!(first, second);
    for link in [first, second] {
        assert_eq!(get(&link, &[]).await.body, content::bytes(7, 0, 10));
    }
}

#[tokio::test]
async fn head_changed_links_and_authorization_are_refused() {
    let (user, link) = user_with("/a.mkv", 10).await;
    let head = send("HEAD", &link, &[], "").await.unwrap();
    assert_eq!(head.status, 403);
    let changed = get(&link.replace("di=bj29", "di=bj30"), &[]).await;
    assert_eq!(changed.status, 403);
    assert!(changed.text().contains("<Code>SignatureDoesNotMatch</Code>"));
    assert_eq!(get(&link.replace("%2F", "/"), &[]).await.status, 404);
    assert_eq!(get(&link, &[("Authorization", "Bearer x")]).await.status, 400);
    assert_eq!(user.sim.counts().bad_signature, 2);
    let seen = user.sim.requests().pop().unwrap();
    assert!(seen.headers.contains_key("authorization"));
}

#[tokio::test]
async fn links_live_900_seconds_whatever_is_asked_unless_approved() {
    let (user, link) = user_with("/a.mkv", 10).await;
    user.sim.advance(Duration::from_secs(898));
    assert_eq!(get(&link, &[]).await.status, 200);
    user.sim.advance(Duration::from_secs(2));
    let expired = get(&link, &[]).await;
    assert_eq!((expired.status, user.sim.counts().expired), (403, 1));
    assert!(expired.text().contains("<Message>Request has expired.</Message>"));
    user.sim.settings(|settings| settings.app_level = AppLevel::Approved);
    let id = user.sim.file_id("/a.mkv").unwrap();
    let body = json!({"file_id": id, "expire_sec": 14_400});
    let long = user.file_call("getDownloadUrl", body).await.json();
    user.sim.advance(Duration::from_secs(14_000));
    assert_eq!(get(long["url"].as_str().unwrap(), &[]).await.status, 200);
}

#[tokio::test]
async fn a_running_body_outlives_its_link() {
    let (user, link) = user_with("/a.mkv", 50_000_000).await;
    let mut stream = open("GET", &link, &[], "").await;
    head_of(&mut stream).await.unwrap();
    user.sim.advance(Duration::from_secs(1000));
    let mut body = vec![0; 50_000_000];
    stream.read_exact(&mut body).await.unwrap();
    assert!(body == content::bytes(7, 0, 50_000_000));
}

#[tokio::test]
async fn ranges_out_of_bounds_follow_the_mode() {
    let (user, link) = user_with("/a.mkv", 1000).await;
    let status = async |range: &str, more: &[(&str, &str)]| {
        let headers: Vec<_> = [("Range", range)].into_iter().chain(more.iter().copied()).collect();
        let reply = get(&link, &headers).await;
        (reply.status, reply.body.len())
    };
    assert_eq!(status("bytes=900-1000", &[]).await, (200, 1000));
    let standard = [("x-oss-range-behavior", "standard")];
    assert_eq!(status("bytes=900-1000", &standard).await, (206, 100));
    assert_eq!(status("bytes=1000-", &standard).await.0, 416);
    user.sim.settings(|settings| settings.range_mode = RangeMode::Rfc);
    assert_eq!(status("bytes=1000-", &[]).await.0, 416);
    assert_eq!(status("bytes=-10", &[]).await, (206, 10));
    assert_eq!(status("bytes=0-1", &[("If-Range", "\"another\"")]).await, (200, 1000));
    let etag = get(&link, &[]).await.header("etag").unwrap();
    assert_eq!(status("bytes=0-1", &[("If-Range", &etag)]).await, (206, 2));
}

/// Waits until so many bodies are live.
async fn live(sim: &Sim, bodies: u64) {
    while sim.counts().live_bodies != bodies {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_fourth_body_is_refused_until_one_closes() {
    let (user, link) = user_with("/a.mkv", 100_000_000_000).await;
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let mut stream = open("GET", &link, &[], "").await;
        assert_eq!(head_of(&mut stream).await.unwrap().status, 200);
        bodies.push(stream);
    }
    let refused = get(&link, &[("Range", "bytes=0-0")]).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("<Code>RequestDeniedByCallback</Code>"));
    drop(bodies.pop());
    live(&user.sim, 2).await;
    for _ in 0..20 {
        // A slot is free once the last byte is read, every time.
        assert_eq!(get(&link, &[("Range", "bytes=0-9")]).await.status, 206);
    }
    user.sim.settings(|settings| settings.release_lag = Duration::from_secs(60));
    drop(bodies.pop());
    live(&user.sim, 1).await;
    assert_eq!(get(&link, &[("Range", "bytes=0-0")]).await.status, 206);
    assert_eq!(get(&link, &[("Range", "bytes=0-0")]).await.status, 403);
    let counts = user.sim.counts();
    assert_eq!((counts.peak_bodies, counts.denied_concurrency), (3, 2));
}

#[tokio::test]
async fn removed_and_replaced_files_are_no_such_key() {
    let (user, link) = user_with("/a.mkv", 10).await;
    user.sim.add_file("/a.mkv", virtual_file(20));
    assert_eq!(get(&link, &[]).await.status, 404);
    let link = user.link("/a.mkv").await;
    assert_eq!(get(&link, &[]).await.body.len(), 20);
    user.sim.remove("/a.mkv");
    assert!(get(&link, &[]).await.text().contains("<Code>NoSuchKey</Code>"));
}

#[tokio::test]
async fn frozen_files_serve_a_notice_and_frozen_accounts_nothing() {
    let (user, link) = user_with("/a.mkv", 10).await;
    user.sim.freeze("/a.mkv");
    let notice = get(&link, &[]).await;
    assert_eq!(notice.status, 200);
    assert_ne!(notice.body.len(), 10);
    user.sim.settings(|settings| settings.frozen_account = true);
    let id = user.sim.file_id("/a.mkv").unwrap();
    let refused = user.file_call("getDownloadUrl", json!({"file_id": id})).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "UserNotAllowedAccessResource"));
}

#[tokio::test]
async fn bodies_keep_to_the_pace() {
    let (user, link) = user_with("/a.mkv", 100_000).await;
    user.sim.settings(|settings| settings.bytes_per_second = 500_000.0);
    let start = tokio::time::Instant::now();
    assert_eq!(get(&link, &[]).await.body.len(), 100_000);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(120), "{took:?}");
}

#[tokio::test]
async fn stopping_closes_everything() {
    let (user, link) = user_with("/a.mkv", 100_000_000_000).await;
    let mut stream = open("GET", &link, &[], "").await;
    head_of(&mut stream).await.unwrap();
    drop(user);
    let mut rest = vec![0; 1 << 20];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}
