//! HTTP/2: films byte for byte, and floods that end with their own connection.

use std::net::SocketAddr;
use std::sync::Arc;

use drive_sim::Content;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::Certificate;
use crate::support::{Rig, Setup};
use crate::tls::trusting;

const FILM: u64 = 60_000_000;
const SEED: u64 = 11;

struct Secure {
    rig: Rig,
    certificate: Certificate,
    film: String,
    _files: TempDir,
}

impl Secure {
    /// A drive behind the product, which speaks TLS and has room for so many.
    async fn start(most: usize) -> Self {
        let (folder, certificate) = (TempDir::new().unwrap(), Certificate::make());
        let files = certificate.write(folder.path());
        let server = format!(
            "max_connections = {most}\ntls = {{ cert_file = \"{}\", key_file = \"{}\" }}\n",
            files.cert.display(),
            files.key.display()
        );
        let rig = Rig::with(Setup { server, ..Setup::default() }, |drive| {
            drive.file("/film.mkv", Content::Virtual { len: FILM, seed: SEED })
        })
        .await;
        let film = format!("{}/p/ali/film.mkv", rig.site.base);
        Self { rig, certificate, film, _files: folder }
    }

    fn client(&self) -> reqwest::Client {
        trusting(&self.certificate).pool_max_idle_per_host(1).build().unwrap()
    }

    /// A connection on which we write frames ourselves; the beginning is written.
    async fn raw(&self) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.certificate.cert.clone())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let address: SocketAddr = self.rig.site.base.strip_prefix("https://").unwrap().parse().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::from(address.ip());
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        stream
    }
}

// RFC 9113 §6.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// GET https://x/, by the static table of RFC 7541.
const REQUEST: &[u8] = &[0x82, 0x87, 0x84, 0x41, 1, b'x'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The frames that come until the other side closes, their kinds and payloads.
async fn frames(stream: &mut TlsStream<TcpStream>) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        frames.push((head[3], payload));
    }
    frames
}

#[tokio::test]
async fn a_part_of_a_film_comes_byte_for_byte() {
    let secure = Secure::start(0).await;
    let client = secure.client();
    let ask = |range: String| client.get(&secure.film).header("range", range).send();
    let whole = ask("bytes=1000001-31000000".to_owned()).await.unwrap();
    assert_eq!((whole.version(), whole.status().as_u16()), (http::Version::HTTP_2, 206));
    assert!(whole.bytes().await.unwrap() == drive_sim::content::bytes(SEED, 1_000_001, 30_000_000));
    // Several at once, on one connection.
    let parts = (0..8).map(|n| ask(format!("bytes={}-{}", n * 100, n * 100 + 99)));
    for (part, n) in futures_util::future::join_all(parts).await.into_iter().zip(0..) {
        assert_eq!(part.unwrap().bytes().await.unwrap(), drive_sim::content::bytes(SEED, n * 100, 100));
    }
    let head = client.head(&secure.film).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()),
        (200, "60000000")
    );
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_their_connection_and_no_other() {
    let secure = Secure::start(0).await;
    let mut viewer = secure.client().get(&secure.film).send().await.unwrap();
    let mut seen = viewer.chunk().await.unwrap().unwrap().len() as u64;
    let mut flood = secure.raw().await;
    let cancel = 8_u32.to_be_bytes();
    let pairs: Vec<u8> = (0..10_000)
        .flat_map(|n| {
            let stream = n * 2 + 1;
            let request = frame(HEADERS, END_STREAM | END_HEADERS, stream, REQUEST);
            [request, frame(RST_STREAM, 0, stream, &cancel)].concat()
        })
        .collect();
    // It ends while we still write.
    let _ = flood.write_all(&pairs).await;
    let frames = frames(&mut flood).await;
    let (_, end) = frames.iter().find(|(kind, _)| *kind == GOAWAY).expect("it is told to go away");
    assert_eq!(end[4..8], 0xb_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
    while let Some(piece) = viewer.chunk().await.unwrap() {
        assert!(piece == drive_sim::content::bytes(SEED, seen, piece.len()));
        seen += piece.len() as u64;
    }
    assert_eq!(seen, FILM);
}

#[tokio::test]
async fn heads_that_swell_are_refused() {
    let secure = Secure::start(0).await;
    // One field of 4,000 bytes that the table keeps, and thousands of times its index.
    let field = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'b'; 4000]].concat();
    let bomb = [REQUEST, &field, &[0xbe; 8000]].concat();
    let mut stream = secure.raw().await;
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb)).await.unwrap();
    stream.write_all(&frame(GOAWAY, 0, 0, &[0; 8])).await.unwrap();
    let answers = frames(&mut stream).await;
    let (kind, answer) =
        answers.iter().find(|(kind, _)| [HEADERS, RST_STREAM, GOAWAY].contains(kind)).unwrap();
    assert!(*kind != HEADERS || answer.windows(3).any(|part| part == b"431"), "{answers:?}");

    // One that never ends.
    let mut stream = secure.raw().await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, REQUEST)).await.unwrap();
    let more = frame(CONTINUATION, 0, 1, &[&[0, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'b'; 4000]].concat());
    while stream.write_all(&more).await.is_ok() {}
    // It was closed; what it said before may be lost.
}

#[tokio::test]
async fn requests_beyond_the_places_that_are_left_are_refused() {
    let secure = Secure::start(3).await;
    let client = secure.client();
    // Agrees on HTTP/2 first, so that the others share the connection.
    assert_eq!(client.head(&secure.film).send().await.unwrap().status(), 200);
    let asked = (0..5).map(|_| client.get(&secure.film).send());
    let opened = futures_util::future::join_all(asked).await;
    let mut statuses: Vec<_> =
        opened.iter().map(|opened| opened.as_ref().unwrap().status().as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 503, 503]);
}

#[tokio::test]
async fn a_body_under_way_ends_whole_while_the_program_stops() {
    let secure = Secure::start(0).await;
    let mut response = secure.client().get(&secure.film).send().await.unwrap();
    let mut seen = response.chunk().await.unwrap().unwrap().len() as u64;
    let (_, ()) = tokio::join!(secure.rig.site.stop(), async {
        while let Some(piece) = response.chunk().await.unwrap() {
            seen += piece.len() as u64;
        }
    });
    assert_eq!(seen, FILM);
}
