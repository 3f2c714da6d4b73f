//! The account's tokens: refreshed on the drive's word alone, once for all, and never lost.

use std::time::Duration;

use drive_sim::{Content, Endpoint, Fault, Sim};
use tempfile::TempDir;

use crate::support::{Rig, Setup, Site, UNPACED, configuration, unlimited};

fn setup() -> Setup {
    Setup { options: UNPACED.to_owned(), ..Setup::default() }
}

async fn rig(files: usize) -> Rig {
    Rig::with(setup(), |mut drive| {
        for number in 0..files {
            drive =
                drive.file(&format!("/f/{number}.mkv"), Content::Virtual { len: 1000, seed: number as u64 });
        }
        drive.settings(unlimited)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_callers_with_an_expired_token_make_one_refresh() {
    let rig = rig(1000).await;
    let rounds = if std::env::var_os("SLUICE_SOAK").is_some() { 100 } else { 3 };
    for round in 1..=rounds {
        rig.sim.reset_counts();
        rig.sim.expire_access_tokens();
        // Ours forgets what it knows of the files, so that every caller must ask the drive.
        rig.site.clock.advance(Duration::from_secs(1801));
        let asks = (0..1000).map(|number| {
            let rig = &rig;
            async move { rig.site.ask("HEAD", &format!("/d/ali/f/{number}.mkv")).send().await.status }
        });
        let statuses = futures_util::future::join_all(asks).await;
        assert!(statuses.iter().all(|status| *status == 200), "round {round}: {statuses:?}");
        assert_eq!(rig.sim.counts().refreshes, 1, "round {round}");
    }
}

#[tokio::test]
async fn an_exchange_that_keeps_failing_is_not_made_again_at_once() {
    let rig = rig(1).await;
    rig.sim.expire_access_tokens();
    rig.sim.reset_counts();
    rig.sim.fault(Endpoint::AccessToken, Fault::BadGateway, 1000);
    for _ in 0..20 {
        assert_eq!(rig.site.ask("HEAD", "/d/ali/f/0.mkv").send().await.status, 502);
    }
    assert_eq!(rig.sim.counts().access_token, 2, "the first and the second, then a pause");
}

#[cfg(unix)]
#[tokio::test]
async fn a_token_that_could_not_be_kept_is_not_spent() {
    let sim = Sim::builder().file("/a.mkv", Content::Virtual { len: 1000, seed: 1 }).start().await.unwrap();
    let state = TempDir::new().unwrap();
    // A file where the folder should be: root may write anywhere, so permissions would not do.
    std::fs::write(state.path().join("aliyundrive_open"), "in the way").unwrap();
    let site = Site::start(&configuration(&sim, &setup()), state).await;
    assert_eq!(site.get("/d/ali/a.mkv").send().await.status, 500);
    assert_eq!(sim.counts().refreshes, 0);
}

#[tokio::test]
async fn a_token_is_not_refreshed_by_the_clock() {
    let rig = rig(2).await;
    let refreshes = rig.sim.counts().refreshes;
    // Ours says that two hours are over, the drive does not.
    rig.site.clock.advance(Duration::from_secs(7300));
    assert_eq!(rig.site.ask("HEAD", "/d/ali/f/0.mkv").send().await.status, 200);
    assert_eq!(rig.sim.counts().refreshes, refreshes);
    rig.sim.advance(Duration::from_secs(7300));
    assert_eq!(rig.site.ask("HEAD", "/d/ali/f/1.mkv").send().await.status, 200);
    assert_eq!(rig.sim.counts().refreshes, refreshes + 1);
}

#[tokio::test]
async fn a_restart_uses_the_tokens_on_disk_and_asks_nothing() {
    let sim = Sim::builder()
        .file("/a.mkv", Content::Virtual { len: 1000, seed: 1 })
        .settings(unlimited)
        .start()
        .await
        .unwrap();
    let state = TempDir::new().unwrap();
    let path = state.path().to_owned();
    let text = configuration(&sim, &setup());
    let first = Site::start(&text, state).await;
    assert_eq!(first.ask("HEAD", "/d/ali/a.mkv").send().await.status, 200);
    let files: Vec<_> =
        std::fs::read_dir(path.join("aliyundrive_open")).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(files.len(), 3, "tokens, drives, and the lock of the refresh");
    #[cfg(unix)]
    for file in &files {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    sim.reset_counts();
    let copy = TempDir::new().unwrap();
    std::fs::create_dir(copy.path().join("aliyundrive_open")).unwrap();
    for file in files {
        std::fs::copy(file.path(), copy.path().join("aliyundrive_open").join(file.file_name())).unwrap();
    }
    std::fs::copy(path.join("state_key"), copy.path().join("state_key")).unwrap();
    let second = Site::start(&text, copy).await;
    assert_eq!(second.ask("HEAD", "/d/ali/a.mkv").send().await.status, 200);
    let counts = sim.counts();
    assert_eq!((counts.refreshes, counts.api_calls()), (0, 1));
}

#[tokio::test]
async fn both_dialects_of_token_servers_work() {
    for dialect in ["alist", "openlist"] {
        let sim =
            Sim::builder().file("/a.mkv", Content::Virtual { len: 1000, seed: 1 }).start().await.unwrap();
        let options = format!(
            "token_server = \"{}\"\ntoken_dialect = \"{dialect}\"\nrefresh_token = \"{}\"\n",
            sim.api_base(),
            sim.token_server_refresh_token()
        );
        let setup = Setup { options, ..Setup::default() };
        let site = Site::start(&configuration(&sim, &setup), TempDir::new().unwrap()).await;
        assert_eq!(site.ask("HEAD", "/d/ali/a.mkv").send().await.status, 200, "{dialect}");
        assert_eq!(sim.counts().refreshes, 1, "{dialect}");
    }
}

#[tokio::test]
async fn a_garbage_token_is_a_clear_error_and_is_tried_once() {
    let sim = Sim::builder().file("/a.mkv", Content::Virtual { len: 1000, seed: 1 }).start().await.unwrap();
    let text = configuration(&sim, &setup()).replace(&sim.refresh_token(), "not-a-token");
    let site = Site::start(&text, TempDir::new().unwrap()).await;
    for _ in 0..5 {
        let reply = site.get("/d/ali/a.mkv").send().await;
        assert_eq!(reply.status, 503);
        assert!(reply.text().starts_with("the drive no longer accepts the login"), "{}", reply.text());
        assert!(!reply.header("retry-after").is_empty());
        assert!(!reply.text().contains("not-a-token"));
    }
    let exchanges = sim.requests().iter().filter(|seen| seen.path == "/oauth/access_token").count();
    assert_eq!(exchanges, 1);
}

#[tokio::test]
async fn a_passing_fault_of_the_exchange_passes() {
    let rig = rig(2).await;
    rig.sim.expire_access_tokens();
    rig.sim.fault(Endpoint::AccessToken, Fault::BadGateway, 1);
    assert_eq!(rig.site.ask("HEAD", "/d/ali/f/0.mkv").send().await.status, 502);
    assert_eq!(rig.site.ask("HEAD", "/d/ali/f/0.mkv").send().await.status, 200);
}

#[tokio::test]
async fn a_revoked_token_is_refreshed_too() {
    let rig = rig(1).await;
    rig.sim.reset_counts();
    rig.sim.revoke_access_tokens();
    assert_eq!(rig.site.ask("HEAD", "/d/ali/f/0.mkv").send().await.status, 200);
    assert_eq!(rig.sim.counts().refreshes, 1);
}
