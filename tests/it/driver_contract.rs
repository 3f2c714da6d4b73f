//! What every driver promises, run against each of them; which cases apply follows from `DriverInfo`.

use std::sync::Arc;
use std::time::Duration;

use drive_sim::{Content, Sim};
use sluice::clock::Clock;
use sluice::driver::{Context, Driver, Entry, Shared, Source, local, registry::DRIVERS};
use sluice::error::ErrorKind;
use sluice::http::range::ByteRange;
use sluice::path::VirtualPath;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::support::unlimited;

/// A driver over a tree with `/folder/a.bin` (1,000 bytes), `/folder/b.bin` and `/empty`.
struct Harness {
    driver: Arc<dyn Driver>,
    _keep: Box<dyn std::any::Any>,
}

fn content() -> Vec<u8> {
    drive_sim::content::bytes(1, 0, 1000).to_vec()
}

async fn harness(name: &str) -> Harness {
    match name {
        "local" => {
            let folder = TempDir::new().unwrap();
            std::fs::create_dir(folder.path().join("folder")).unwrap();
            std::fs::create_dir(folder.path().join("empty")).unwrap();
            std::fs::write(folder.path().join("folder/a.bin"), content()).unwrap();
            std::fs::write(folder.path().join("folder/b.bin"), "b").unwrap();
            Harness { driver: local::open(folder.path()).unwrap(), _keep: Box::new(folder) }
        }
        "aliyundrive_open" => {
            let sim = Sim::builder()
                .file("/folder/a.bin", Content::Virtual { len: 1000, seed: 1 })
                .file("/folder/b.bin", Content::Bytes("b".into()))
                .folder("/empty")
                .settings(unlimited)
                .start()
                .await
                .unwrap();
            let state = TempDir::new().unwrap();
            let options = format!(
                "api_base = \"{}\"\ndrive_type = \"resource\"\nrefresh_token = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n\
                 rate_list = 1000\nrate_link = 1000\nrate_other = 1000\n",
                sim.api_base(),
                sim.refresh_token(),
                sim.client_id(),
                sim.client_secret()
            );
            let registration = DRIVERS.iter().find(|known| known.name == name).unwrap();
            let unopened = sluice::section::read(&options, |section| (registration.read)(section)).unwrap();
            let context = Context {
                clock: Clock::new(),
                client: sluice::http::client::for_api().unwrap(),
                state_dir: state.path().to_owned(),
                calls: sluice::driver::Calls::new(),
                sealer: Arc::new(sluice::state::Sealer::new(state.path(), None)),
                hold: Duration::from_secs(8),
                tasks: TaskTracker::new(),
                shared: Shared::default(),
            };
            Harness { driver: unopened.open(&context).unwrap(), _keep: Box::new((sim, state)) }
        }
        other => panic!("the driver {other} has no harness"),
    }
}

/// All pages of a folder.
async fn list(driver: &Arc<dyn Driver>, folder: &Entry) -> Vec<Entry> {
    let (mut entries, mut from) = (Vec::new(), None);
    loop {
        let page = driver.page(folder, from.as_ref()).await.unwrap();
        entries.extend(page.entries);
        from = page.next;
        if from.is_none() {
            return entries;
        }
    }
}

fn path(text: &str) -> VirtualPath {
    VirtualPath::parse(text).unwrap()
}

#[tokio::test]
async fn every_driver_keeps_the_contract() {
    for registration in DRIVERS {
        let harness = harness(registration.name).await;
        let driver = &harness.driver;
        assert_eq!(driver.info().name, registration.name);

        // The root asks nobody; listings tell names, kinds and lengths.
        assert!(driver.root().is_folder());
        let root = list(driver, &driver.root()).await;
        let names: Vec<_> = root.iter().map(|entry| (&*entry.name, entry.is_folder())).collect();
        assert_eq!(names, [("empty", true), ("folder", true)]);
        let folder = root.iter().find(|entry| &*entry.name == "folder").unwrap();
        let children = list(driver, folder).await;
        let children: Vec<_> = children.iter().map(|entry| (&*entry.name, entry.len)).collect();
        assert_eq!(children, [("a.bin", 1000), ("b.bin", 1)]);
        let empty = root.iter().find(|entry| &*entry.name == "empty").unwrap();
        assert!(list(driver, empty).await.is_empty());

        // A path leads to the same entry as a listing; only what is absent is not found.
        let listed = list(driver, folder).await;
        if driver.info().by_path {
            let found = driver.stat(&path("/folder/a.bin")).await.unwrap();
            assert_eq!((&found.id, found.len), (&listed[0].id, 1000));
            assert_eq!(found.validators().etag, listed[0].validators().etag);
            for absent in ["/folder/absent", "/absent/a.bin"] {
                assert_eq!(
                    driver.stat(&path(absent)).await.unwrap_err().kind(),
                    ErrorKind::NotFound,
                    "{absent}"
                );
            }
        }

        // The bytes are the file's.
        match driver.source(&listed[0]).await.unwrap() {
            Source::Link(link) => {
                let reply = crate::support::follow(link.url.expose(), Some("bytes=10-19")).await;
                assert_eq!((reply.status, &reply.body[..]), (206, &content()[10..20]));
                assert!(!format!("{link:?}").contains("signature"), "a link prints blind");
            }
            Source::Open(file) => {
                let body = file.read(ByteRange { start: 10, end: 20 }).await.unwrap();
                let bytes = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
                assert_eq!(bytes, content()[10..20]);
                let beyond = file.read(ByteRange { start: 990, end: 2000 }).await.unwrap();
                assert!(http_body_util::BodyExt::collect(beyond).await.is_err(), "a short body must fail");
            }
        }
        if !driver.info().preview {
            assert_eq!(driver.preview(&listed[0]).await.unwrap_err().kind(), ErrorKind::Unsupported);
        }
    }
}
