//! TLS: both versions, certificates that are renewed, and files that do not do.

use std::convert::Infallible;
use std::path::Path;
use std::process::Command;

use drive_sim::Sample;
use sluice::config::Config;
use sluice::http::{Body, Request, Response};
use sluice::transport::{self, BoxHttp, CertificateFiles, Certificates, Crowd, Listener};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::certificate::{Certificate, close};
use crate::process::{Server, run, sluice};

/// A program that serves a film of `folder` over TLS, with the certificate in `folder`.
fn command(folder: &Path) -> Command {
    std::fs::write(folder.join("film.mp4"), Sample::Mp4.bytes()).unwrap();
    let text = "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin_listen = \"127.0.0.1:0\"\n\
         [server.tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n\
         [access]\nguest = true\napi_token = \"test-token\"\n[[mount]]\npath = \"/\"\ndriver = \"local\"\noptions.root = \".\"\n";
    std::fs::write(folder.join("sluice.toml"), text).unwrap();
    let mut command = sluice(folder);
    command.arg("serve");
    command
}

/// A client that trusts this certificate alone, each time on a new connection.
#[expect(clippy::disallowed_methods, reason = "a client of the product, not of a drive")]
pub(crate) fn trusting(certificate: &Certificate) -> reqwest::ClientBuilder {
    let trusted = reqwest::Certificate::from_der(&certificate.cert).unwrap();
    reqwest::Client::builder().tls_certs_only([trusted]).no_proxy().pool_max_idle_per_host(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn players_are_served_over_both_versions_and_tools_without() {
    let (folder, certificate) = (TempDir::new().unwrap(), Certificate::make());
    certificate.write(folder.path());
    let mut server = Server::start(command(folder.path()));
    let admin = server.next_line();
    assert!(server.base.starts_with("https://127.0.0.1:"), "{}", server.base);
    for version in [reqwest::tls::Version::TLS_1_2, reqwest::tls::Version::TLS_1_3] {
        let client =
            trusting(&certificate).tls_version_min(version).tls_version_max(version).build().unwrap();
        let film = client.get(format!("{}/p/film.mp4", server.base)).send().await.unwrap();
        assert_eq!(film.bytes().await.unwrap(), Sample::Mp4.bytes(), "{version:?}");
    }
    let health = admin.trim().strip_prefix("listening on ").unwrap();
    assert!(health.starts_with("http://"), "{admin}");
    let alive = crate::support::client().get(format!("{health}/healthz")).send().await.unwrap();
    assert_eq!(alive.status(), 200);
    // Whoever does not speak TLS gets no answer, and does no harm.
    let plain = server.base.replace("https://", "http://");
    assert!(crate::support::client().get(plain).send().await.is_err());
    let link = run(folder.path(), &["link", "/film.mp4"]);
    assert!(String::from_utf8(link.stdout).unwrap().starts_with("https://127.0.0.1:0/"));
    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

/// Asks until a client that trusts `certificate` is answered.
async fn until_shown(certificate: &Certificate, base: &str) {
    let client = trusting(certificate).build().unwrap();
    let asked = async { while client.get(format!("{base}/p/film.mp4")).send().await.is_err() {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), asked).await.expect("it is never shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_after_a_hangup() {
    let (folder, first, second) = (TempDir::new().unwrap(), Certificate::make(), Certificate::make());
    first.write(folder.path());
    let mut server = Server::start(command(folder.path()));
    until_shown(&first, &server.base).await;
    // One that is under way goes on with what it was shown.
    let mut under_way =
        trusting(&first).build().unwrap().get(format!("{}/p/film.mp4", server.base)).send().await.unwrap();

    second.write(folder.path());
    server.signal("HUP");
    until_shown(&second, &server.base).await;
    assert!(trusting(&first).build().unwrap().get(&server.base).send().await.is_err());
    let mut film = Vec::new();
    while let Some(piece) = under_way.chunk().await.unwrap() {
        film.extend_from_slice(&piece);
    }
    assert_eq!(film, Sample::Mp4.bytes());

    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let logs = server.logs();
    assert!(logs.contains("certificate and key were read again"), "{logs}");
}

#[tokio::test]
async fn the_old_certificate_stays_where_the_new_files_are_broken() {
    let (folder, first, second) = (TempDir::new().unwrap(), Certificate::make(), Certificate::make());
    let files = first.write(folder.path());
    let paths = CertificateFiles { cert_file: files.cert.clone(), key_file: files.key.clone() };
    let certificates = Certificates::open(paths).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = Listener::from(socket).with_tls(certificates.clone());
    let base = listener.url().unwrap();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let empty = async |_: Request| Ok::<_, Infallible>(Response::new(Body::empty()));
    let service = BoxHttp::new(tower::service_fn(empty));
    let settings = Config::default().server;
    tasks.spawn(transport::run(listener, service, stop.clone(), settings, Crowd::new(10), tasks.clone()));
    until_shown(&first, &base).await;
    for (cert, key) in [(first.cert_pem(), second.key_pem()), ("nothing".to_owned(), second.key_pem())] {
        std::fs::write(&files.cert, cert).unwrap();
        std::fs::write(&files.key, key).unwrap();
        assert!(certificates.reload().is_err());
        assert!(trusting(&first).build().unwrap().get(&base).send().await.is_ok());
    }
    second.write(folder.path());
    certificates.reload().unwrap();
    assert!(trusting(&second).build().unwrap().get(&base).send().await.is_ok());
    assert!(trusting(&first).build().unwrap().get(&base).send().await.is_err());
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[test]
fn files_that_do_not_do_are_faults_of_the_configuration() {
    let folder = TempDir::new().unwrap();
    let (certificate, other) = (Certificate::make(), Certificate::make());
    let faults = |cert: Option<&str>, key: Option<&str>, is_closed: bool| {
        drop(command(folder.path()));
        for (name, text) in [("cert.pem", cert), ("key.pem", key)] {
            let file = folder.path().join(name);
            let _ = std::fs::remove_file(&file);
            if let Some(text) = text {
                std::fs::write(&file, text).unwrap();
                if is_closed {
                    close(&file);
                }
            }
        }
        let checked = run(folder.path(), &["check"]);
        let started = run(folder.path(), &["serve"]);
        assert_eq!((checked.status.code(), started.status.code()), (Some(2), Some(2)));
        assert_eq!(checked.stderr, started.stderr);
        String::from_utf8(checked.stderr).unwrap()
    };
    let (cert, key) = (certificate.cert_pem(), certificate.key_pem());
    for (cert, key, is_closed, said) in [
        (None, Some(&*key), true, ":5: server.tls.cert_file: cannot read \"cert.pem\": entity not found"),
        (Some(&*cert), None, true, ":6: server.tls.key_file: cannot read \"key.pem\": entity not found"),
        (
            Some("x"),
            Some(&*key),
            true,
            ":5: server.tls.cert_file: \"cert.pem\" holds no certificate in PEM form",
        ),
        (Some(&*cert), Some("x"), true, ":6: server.tls.key_file: \"key.pem\" holds no key in PEM form"),
        (
            Some(&*cert),
            Some(&*other.key_pem()),
            true,
            ":6: server.tls.key_file: \"key.pem\" is not the key of the certificate in \"cert.pem\"",
        ),
        (
            Some(&*cert),
            Some(&*key),
            false,
            ":6: server.tls.key_file: \"key.pem\" is open to others (mode 644); chmod 600 closes it",
        ),
    ] {
        let faults = faults(cert, key, is_closed);
        assert!(faults.contains(said), "{said} in {faults}");
        assert!(!faults.contains("PRIVATE"), "{faults}");
    }
}
