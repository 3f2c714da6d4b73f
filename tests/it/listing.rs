//! What a drive said of its folders: told page by page, kept over a restart, believed while the drive is down.

use std::fmt::Write as _;
use std::time::Duration;

use drive_sim::{Content, Endpoint, Fault, Sim};
use tempfile::TempDir;

use crate::support::{Rig, Setup, Site, UNPACED, configuration, unlimited};

const LARGE: usize = 20_000;

/// A drive with a folder of this many files.
async fn drive(files: usize) -> Sim {
    let drive = (0..files).fold(Sim::builder(), |drive, number| {
        let content = Content::Virtual { len: 1000 + number as u64, seed: 1 };
        drive.file(&format!("/large/{number:05}.mkv"), content)
    });
    drive.file("/shows/one/a.mkv", Content::Virtual { len: 5000, seed: 1 }).start().await.unwrap()
}

fn setup(options: &str) -> Setup {
    Setup { options: options.to_owned(), ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_folder_is_told_as_it_is_listed_and_goes_on_where_a_fault_broke_it() {
    let sim = drive(LARGE).await;
    sim.settings(unlimited);
    let site = Site::start(&configuration(&sim, &setup(UNPACED)), TempDir::new().unwrap()).await;
    let lists = || sim.counts().of(Endpoint::List);
    // Fails somewhere behind the 40th page, for as long as anybody tries.
    let mut is_failing = false;
    let mut answer = site.get("/browse/ali/large/").open().await;
    let first = String::from_utf8(answer.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.contains("Sluice") && lists() < LARGE as u64 / 200, "told before it was all listed");
    let mut got = first;
    let broken = loop {
        if lists() >= 40 && !std::mem::replace(&mut is_failing, true) {
            sim.fault(Endpoint::List, Fault::BadGateway, 1000);
        }
        match answer.chunk().await {
            Ok(Some(piece)) => write!(got, "{}", String::from_utf8_lossy(&piece)).unwrap(),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken && !got.contains("</html>"), "half a folder does not pass for the whole");
    sim.clear_faults();
    let good = got.matches("<tr").count().div_ceil(200) as u64;
    assert!(good >= 40, "{good} pages had come");
    sim.reset_counts();
    let whole = site.get("/browse/ali/large/").send().await;
    assert_eq!(whole.text().matches("<tr").count(), LARGE);
    let rest = LARGE as u64 / 200 - good;
    assert!((rest..=rest + 1).contains(&lists()), "{} of {rest} pages were asked for", lists());
    // A name far behind is found in what was listed.
    assert_eq!(site.ask("HEAD", "/d/ali/large/19999.mkv").send().await.header("content-length"), "20999");
    assert_eq!(sim.counts().api_calls(), lists());
}

#[tokio::test]
async fn what_was_listed_and_found_is_known_after_a_restart() {
    let sim = drive(300).await;
    let text = configuration(&sim, &setup(""));
    let site = Site::start(&text, TempDir::new().unwrap()).await;
    assert_eq!(site.get("/browse/ali/large/").send().await.status, 200);
    assert_eq!(site.ask("HEAD", "/d/ali/shows/one/a.mkv").send().await.status, 200);
    let state = site.stop().await;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let file = state.path().join("entries.redb").metadata().unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
    sim.reset_counts();
    let site = Site::start(&text, state).await;
    assert_eq!(site.ask("HEAD", "/d/ali/large/00299.mkv").send().await.header("content-length"), "1299");
    assert_eq!(site.ask("HEAD", "/d/ali/large/absent.mkv").send().await.status, 404);
    assert_eq!(site.ask("HEAD", "/d/ali/shows/one/a.mkv").send().await.status, 200);
    assert_eq!(site.get("/browse/ali/large/").send().await.text().matches("<tr").count(), 300);
    assert_eq!(sim.counts().api_calls(), 0);
    // What is older than it is believed is asked for again.
    site.clock.advance(Duration::from_secs(1801));
    assert_eq!(site.ask("HEAD", "/d/ali/shows/one/a.mkv").send().await.status, 200);
    assert_eq!(sim.counts().api_calls(), 1);
}

#[tokio::test]
async fn what_was_known_before_a_restart_is_told_and_marked_while_the_drive_is_down() {
    let sim = drive(10).await;
    let text = configuration(&sim, &setup(""));
    let site = Site::start(&text, TempDir::new().unwrap()).await;
    assert_eq!(site.get("/browse/ali/large/").send().await.status, 200);
    let site = Site::start(&text, site.stop().await).await;
    site.clock.advance(Duration::from_secs(7200));
    sim.fault(Endpoint::List, Fault::BadGateway, 1000);
    sim.fault(Endpoint::GetByPath, Fault::BadGateway, 1000);
    let page = site.get("/browse/ali/large/").send().await;
    assert!(page.text().contains("00009.mkv") && page.text().contains("The drive does not answer"));
    assert_eq!(site.ask("HEAD", "/d/ali/large/00009.mkv").send().await.status, 200);
    // What is not in it may be there all the same.
    assert_eq!(site.ask("HEAD", "/d/ali/large/absent.mkv").send().await.status, 502);
    sim.clear_faults();
    let page = site.get("/browse/ali/large/").send().await;
    assert!(!page.text().contains("The drive does not answer"));
}

#[tokio::test]
async fn a_file_that_is_gone_is_not_brought_back_by_what_was_kept() {
    let sim = drive(10).await;
    let text = configuration(&sim, &setup(""));
    let site = Site::start(&text, TempDir::new().unwrap()).await;
    assert_eq!(site.ask("HEAD", "/d/ali/shows/one/a.mkv").send().await.status, 200);
    site.clock.advance(Duration::from_secs(1801));
    sim.remove("/shows/one/a.mkv");
    assert_eq!(site.ask("HEAD", "/d/ali/shows/one/a.mkv").send().await.status, 404);
    site.clock.advance(Duration::from_secs(31));
    sim.fault(Endpoint::GetByPath, Fault::BadGateway, 1000);
    assert_eq!(site.ask("HEAD", "/d/ali/shows/one/a.mkv").send().await.status, 502);
}

#[tokio::test]
async fn a_link_in_use_is_renewed_before_it_ends_and_nobody_waits() {
    let rig = Rig::start(|drive| drive.file("/a.mkv", Content::Virtual { len: 1 << 20, seed: 1 })).await;
    let read = || rig.get("/p/ali/a.mkv").range("bytes=1000-1999").send();
    let links = || rig.sim.counts().of(Endpoint::DownloadUrl);
    assert_eq!(read().await.status, 206);
    rig.pass(Duration::from_secs(880));
    assert_eq!(read().await.status, 206);
    while links() < 2 {
        tokio::task::yield_now().await;
    }
    rig.pass(Duration::from_secs(60));
    assert_eq!(read().await.status, 206);
    assert_eq!(links(), 2, "the renewed one serves");
}

#[tokio::test]
async fn a_link_that_dies_early_is_learned_from() {
    let setup = Setup { rest: "[cache]\nblock_memory = \"0B\"\n".to_owned(), ..Setup::default() };
    let rig =
        Rig::with(setup, |drive| drive.file("/a.mkv", Content::Virtual { len: 1 << 20, seed: 1 })).await;
    let read = || rig.get("/p/ali/a.mkv").range("bytes=1000-1999").send();
    let links = || rig.sim.counts().of(Endpoint::DownloadUrl);
    assert_eq!(read().await.status, 206);
    // The drive's links are over after 500 s, whatever they say.
    rig.site.clock.advance(Duration::from_secs(500));
    rig.sim.advance(Duration::from_secs(901));
    assert_eq!(read().await.status, 206);
    assert_eq!(links(), 2);
    // From now on one is asked for before that, so that no reader meets a dead one.
    rig.pass(Duration::from_secs(490));
    let refused = rig.sim.counts().content_requests();
    assert_eq!(read().await.status, 206);
    assert_eq!((links(), rig.sim.counts().content_requests()), (3, refused + 1));
}

#[tokio::test]
async fn an_administrator_can_have_a_folder_listed_again_and_a_guest_cannot() {
    let rig = Rig::start(|drive| drive.file("/a/1.mkv", Content::Virtual { len: 10, seed: 1 })).await;
    let rows = async |path: &str, name: &str, value: &str| {
        let page = rig.get(path).header(name, value).send().await;
        (page.text().matches("<tr").count(), rig.sim.counts().of(Endpoint::List))
    };
    assert_eq!(rows("/browse/ali/a/", "x", "x").await, (1, 1));
    assert_eq!(rig.site.ask("HEAD", "/d/ali/a/2.mkv").send().await.status, 404);
    rig.sim.add_file("/a/2.mkv", Content::Virtual { len: 10, seed: 1 });
    assert_eq!(rows("/browse/ali/a/?refresh=true", "cache-control", "no-cache").await, (1, 1));
    assert_eq!(rows("/browse/ali/a/?refresh=true", "authorization", "test-token").await, (2, 2));
    // What was said of the names before is forgotten too.
    assert_eq!(rig.site.ask("HEAD", "/d/ali/a/2.mkv").send().await.status, 200);
    rig.sim.add_file("/a/3.mkv", Content::Virtual { len: 10, seed: 1 });
    let asked =
        rig.get("/browse/ali/a/").header("authorization", "test-token").header("cache-control", "no-cache");
    assert_eq!(asked.send().await.text().matches("<tr").count(), 3);
    // While the drive is down, what is known is better than nothing.
    rig.sim.fault(Endpoint::List, Fault::BadGateway, 1000);
    let page = rig.get("/browse/ali/a/?refresh=true").header("authorization", "test-token").send().await;
    assert_eq!((page.status, page.text().matches("<tr").count()), (200, 3));
}

#[tokio::test]
async fn a_folder_that_was_made_anew_is_listed_at_once_when_its_listing_is_over() {
    let rig = Rig::start(|drive| drive.file("/shows/a/1.mkv", Content::Virtual { len: 10, seed: 1 })).await;
    let rows = async |path: &str| {
        let page = rig.get(path).header("authorization", "test-token").send().await;
        (page.status, page.text().matches("<tr").count())
    };
    assert_eq!(rows("/browse/ali/shows/").await, (200, 1));
    assert_eq!(rows("/browse/ali/shows/a/").await, (200, 1));
    rig.sim.remove("/shows/a");
    for name in ["2", "3"] {
        rig.sim.add_file(&format!("/shows/a/{name}.mkv"), Content::Virtual { len: 10, seed: 1 });
    }
    // The listing above it still has the former folder's id.
    assert_eq!(rows("/browse/ali/shows/a/?refresh=true").await, (200, 2));
}

#[tokio::test]
async fn a_listing_that_the_drive_no_longer_goes_on_with_is_begun_anew() {
    let sim = drive(600).await;
    let site = Site::start(&configuration(&sim, &setup("")), TempDir::new().unwrap()).await;
    let gone =
        Fault::Code { status: 400, code: "InvalidParameter.Marker".to_owned(), message: String::new() };
    // The first page comes, and its marker leads nowhere.
    let mut answer = site.get("/browse/ali/large/").open().await;
    sim.fault(Endpoint::List, gone, 1);
    while let Ok(Some(_)) = answer.chunk().await {}
    sim.clear_faults();
    sim.reset_counts();
    let whole = site.get("/browse/ali/large/").send().await;
    assert_eq!(whole.text().matches("<tr").count(), 600);
    assert_eq!(sim.counts().of(Endpoint::List), 3, "from its beginning");
}
