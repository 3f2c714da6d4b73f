//! How often the drive is asked: the project's central promise.

use std::time::Duration;

use drive_sim::{Content, Endpoint, Fault, Sample};

use crate::support::{FFMPEG, Rig, follow};

const DEEP: &str = "/a/b/c/d/e/f/film.mkv";

async fn rig() -> Rig {
    let rig = Rig::start(|drive| drive.file(DEEP, Content::Virtual { len: 5_000_000, seed: 7 })).await;
    rig.sim.reset_counts();
    rig
}

#[tokio::test]
async fn the_first_redirect_of_a_deep_file_takes_two_calls_and_the_next_none() {
    let rig = rig().await;
    let first = rig.get("/d/ali/a/b/c/d/e/f/film.mkv").agent(FFMPEG).send().await;
    assert_eq!((first.status, rig.sim.counts().api_calls()), (302, 2));
    let second = rig.get("/d/ali/a/b/c/d/e/f/film.mkv").agent(FFMPEG).send().await;
    assert_eq!((second.status, rig.sim.counts().api_calls()), (302, 2));
    assert_eq!(first.header("location"), second.header("location"));
    let part = follow(first.header("location"), Some("bytes=1000-1999")).await;
    assert_eq!(part.status, 206);
    assert_eq!(part.body, drive_sim::content::bytes(7, 1000, 1000));
}

#[tokio::test]
async fn three_hundred_at_once_on_a_cold_path_make_one_link_call() {
    let rig = rig().await;
    let asks = (0..300).map(|_| rig.get("/d/ali/a/b/c/d/e/f/film.mkv").agent(FFMPEG).send());
    for reply in futures_util::future::join_all(asks).await {
        assert_eq!(reply.status, 302);
    }
    let counts = rig.sim.counts();
    assert_eq!((counts.links, counts.api_calls(), counts.rate_limited), (1, 2, 0));
}

#[tokio::test]
async fn an_expired_link_is_fetched_once_more() {
    let rig = rig().await;
    let first = rig.get("/d/ali/a/b/c/d/e/f/film.mkv").agent(FFMPEG).send().await;
    rig.pass(Duration::from_secs(901));
    assert_eq!(follow(first.header("location"), None).await.status, 403);
    let asks = (0..50).map(|_| rig.get("/d/ali/a/b/c/d/e/f/film.mkv").agent(FFMPEG).send());
    for reply in futures_util::future::join_all(asks).await {
        assert_eq!(reply.status, 302);
        assert_ne!(reply.header("location"), first.header("location"));
    }
    assert_eq!(rig.sim.counts().links, 2);
}

#[tokio::test]
async fn what_is_handed_out_has_a_third_of_its_life_left() {
    let rig = rig().await;
    let path = "/d/ali/a/b/c/d/e/f/film.mkv";
    rig.get(path).agent(FFMPEG).send().await;
    rig.pass(Duration::from_secs(590));
    rig.get(path).agent(FFMPEG).send().await;
    assert_eq!(rig.sim.counts().links, 1);
    rig.pass(Duration::from_secs(20));
    let reply = rig.get(path).agent(FFMPEG).send().await;
    assert_eq!(rig.sim.counts().links, 2);
    // Still good after another 14 minutes: it was a fresh one.
    rig.pass(Duration::from_secs(840));
    assert_eq!(follow(reply.header("location"), None).await.status, 200);
}

#[tokio::test]
async fn a_head_costs_no_link_and_a_listing_answers_for_its_children() {
    let rig = Rig::start(|drive| drive.file("/films/a.mp4", Content::Sample(Sample::Mp4))).await;
    rig.sim.reset_counts();
    assert_eq!(rig.get("/browse/ali/films/").send().await.status, 200);
    let listed = rig.sim.counts().api_calls();
    // The folder by its path, its children by one page.
    assert_eq!(listed, 2, "{:?}", rig.sim.counts());
    for _ in 0..3 {
        let head = rig.site.ask("HEAD", "/d/ali/films/a.mp4").send().await;
        assert_eq!((head.status, head.header("content-length")), (200, "1033096"));
    }
    assert_eq!(rig.get("/d/ali/films/absent.mp4").send().await.status, 404);
    assert_eq!(rig.sim.counts().api_calls(), listed);
}

#[tokio::test]
async fn an_absence_is_remembered_and_a_failure_is_not() {
    let rig = rig().await;
    for _ in 0..5 {
        assert_eq!(rig.get("/d/ali/absent.mkv").send().await.status, 404);
    }
    assert_eq!(rig.sim.counts().api_calls(), 1);
    rig.pass(Duration::from_secs(31));
    assert_eq!(rig.get("/d/ali/absent.mkv").send().await.status, 404);
    assert_eq!(rig.sim.counts().api_calls(), 2);

    rig.sim.fault(Endpoint::GetByPath, Fault::BadGateway, 3);
    assert_eq!(rig.get("/d/ali/a/b/c/d/e/f/film.mkv").send().await.status, 502);
    assert_eq!(rig.get("/p/ali/a/b/c/d/e/f/film.mkv").range("bytes=0-9").send().await.status, 206);
}

#[tokio::test]
async fn a_client_that_hangs_up_wastes_no_link_call() {
    let rig = rig().await;
    rig.sim.fault(Endpoint::DownloadUrl, Fault::SlowHead(Duration::from_millis(300)), 1);
    let impatient = rig.get("/d/ali/a/b/c/d/e/f/film.mkv").agent(FFMPEG).send();
    // The link call is on its way when the client goes.
    let asked = async {
        while rig.sim.counts().links == 0
            && rig.sim.requests().iter().all(|seen| !seen.path.ends_with("getDownloadUrl"))
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = impatient => panic!("it should have been slow"),
        () = asked => {}
    }
    let reply = rig.get("/d/ali/a/b/c/d/e/f/film.mkv").agent(FFMPEG).send().await;
    assert_eq!((reply.status, rig.sim.counts().links), (302, 1));
}

#[tokio::test]
async fn neither_credentials_nor_cookies_reach_the_content_host() {
    let rig = rig().await;
    let reply = rig
        .get("/p/ali/a/b/c/d/e/f/film.mkv")
        .header("authorization", "test-token")
        .header("cookie", "session=1")
        .header("referer", "http://elsewhere.example/")
        .range("bytes=0-9")
        .send()
        .await;
    assert_eq!(reply.status, 206);
    let seen = rig.sim.requests();
    let content: Vec<_> = seen
        .iter()
        .filter(|seen| !seen.path.starts_with("/adrive") && !seen.path.starts_with("/oauth"))
        .collect();
    assert!(!content.is_empty());
    for request in content {
        for name in ["authorization", "cookie", "referer"] {
            assert!(request.headers.get(name).is_none(), "{name} in {request:?}");
        }
    }
}

#[tokio::test]
async fn a_file_that_was_replaced_is_looked_up_again() {
    let rig = rig().await;
    let path = "/p/ali/a/b/c/d/e/f/film.mkv";
    assert_eq!(rig.get(path).range("bytes=0-9").send().await.body, drive_sim::content::bytes(7, 0, 10));
    rig.sim.remove(DEEP);
    rig.sim.add_file(DEEP, Content::Virtual { len: 4_000_000, seed: 8 });
    // The old link is over, and its file with it; the entry would be believed for half an hour.
    rig.pass(Duration::from_secs(901));
    let redirect = rig.get("/d/ali/a/b/c/d/e/f/film.mkv").agent(FFMPEG).send().await;
    assert_eq!(redirect.status, 302);
    let part = follow(redirect.header("location"), Some("bytes=0-9")).await;
    assert_eq!(part.body, drive_sim::content::bytes(8, 0, 10));
    let head = rig.site.ask("HEAD", path).send().await;
    assert_eq!(head.header("content-length"), "4000000");
    // The same through us: the first answer is the new file's already.
    rig.sim.remove(DEEP);
    rig.sim.add_file(DEEP, Content::Virtual { len: 3_000_000, seed: 9 });
    rig.pass(Duration::from_secs(901));
    let reply = rig.get(path).range("bytes=0-9").send().await;
    assert_eq!((reply.status, reply.header("content-range")), (206, "bytes 0-9/3000000"));
    assert_eq!(reply.body, drive_sim::content::bytes(9, 0, 10));
    rig.sim.remove(DEEP);
    rig.pass(Duration::from_secs(901));
    // Not at its beginning, which is still known.
    assert_eq!(rig.get(path).range("bytes=1000000-").send().await.status, 404);
}

#[tokio::test]
async fn while_the_drive_is_down_what_was_known_is_believed_and_nothing_is_called_absent() {
    let rig = Rig::start(|drive| drive.file("/films/a.mkv", Content::Virtual { len: 1000, seed: 7 })).await;
    assert_eq!(rig.get("/browse/ali/films/").send().await.status, 200);
    let film = || rig.site.ask("HEAD", "/d/ali/films/a.mkv").send();
    assert_eq!(film().await.status, 200);
    rig.pass(Duration::from_secs(1801));
    for endpoint in [Endpoint::List, Endpoint::GetByPath] {
        rig.sim.fault(endpoint, Fault::BadGateway, 1000);
    }
    assert_eq!(film().await.status, 200);
    assert_eq!(rig.get("/browse/ali/films/").send().await.status, 200);
    assert_eq!(rig.site.ask("HEAD", "/d/ali/films/b.mkv").send().await.status, 502);
    rig.sim.clear_faults();
    rig.sim.remove("/films/a.mkv");
    assert_eq!(rig.get("/browse/ali/films/").send().await.status, 200);
    assert_eq!(film().await.status, 404);
}
