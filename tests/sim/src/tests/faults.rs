//! Every fault as a client meets it.

use std::time::Duration;

use tokio::{io::AsyncReadExt, net::TcpStream, time::Instant};

use super::{User, get, head_of, open, send, unlimited, virtual_file};
use crate::{Endpoint, Fault, Listener};

async fn user() -> (User, String) {
    let user = User::new(unlimited().file("/a.mkv", virtual_file(1_000_000)).start().await.unwrap()).await;
    let link = user.link("/a.mkv").await;
    (user, link)
}

#[tokio::test]
async fn a_short_body_ends_where_told() {
    let (user, link) = user().await;
    user.sim.fault(Endpoint::Content, Fault::ShortBody { after: 300_000 }, 1);
    let mut stream = open("GET", &link, &[], "").await;
    let head = head_of(&mut stream).await.unwrap();
    assert_eq!(head.header("content-length").unwrap(), "1000000");
    let mut body = Vec::new();
    stream.read_to_end(&mut body).await.unwrap();
    assert_eq!(body.len(), 300_000);
    assert_eq!(get(&link, &[]).await.body.len(), 1_000_000);
    assert_eq!(user.sim.counts().faulted, 1);
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let (user, link) = user().await;
    user.sim.fault(Endpoint::AnyContent, Fault::Reset { after: 4096 }, 1);
    let mut stream = open("GET", &link, &[], "").await;
    head_of(&mut stream).await.unwrap();
    let mut body = vec![0; 4096];
    stream.read_exact(&mut body).await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn stalls_and_slow_heads_take_their_time() {
    let (user, link) = user().await;
    let wait = Duration::from_millis(80);
    for fault in [Fault::Stall { after: 1000, for_: wait }, Fault::SlowHead(wait)] {
        user.sim.fault(Endpoint::Content, fault, 1);
        let start = Instant::now();
        assert_eq!(get(&link, &[]).await.body.len(), 1_000_000);
        assert!(start.elapsed() >= wait);
    }
}

#[tokio::test]
async fn answers_are_replaced_or_spoilt() {
    let (user, link) = user().await;
    let next = async |fault| {
        user.sim.fault(Endpoint::Content, fault, 1);
        get(&link, &[("Range", "bytes=10-19")]).await
    };
    let gateway = next(Fault::BadGateway).await;
    assert_eq!((gateway.status, gateway.text().as_str()), (502, "Bad Gateway"));
    assert!(next(Fault::SlowDown).await.text().contains("<Code>SlowDown</Code>"));
    let whole = next(Fault::WholeInsteadOfPart).await;
    assert_eq!((whole.status, whole.body.len()), (200, 1_000_000));
    let wrong = next(Fault::WrongContentRange).await;
    assert_eq!(wrong.header("content-range").unwrap(), "bytes 11-19/1000000");
    assert_eq!(next(Fault::Redirect("http://x/".to_owned())).await.header("location").unwrap(), "http://x/");
    assert!(next(Fault::WrongContentType).await.header("content-type").unwrap().starts_with("text/html"));
    assert_eq!(next(Fault::Status(418, "tea".to_owned())).await.text(), "tea");
    assert_eq!(next(Fault::Huge(5_000_000)).await.body.len(), 5_000_000);
    assert_eq!(next(Fault::NoticeContent).await.body.len(), 10);
    user.sim.fault(Endpoint::Content, Fault::DropConnection, 9);
    assert!(send("GET", &link, &[], "").await.is_err());
    user.sim.clear_faults();
    assert_eq!(get(&link, &[]).await.status, 200);
}

#[tokio::test]
async fn json_can_be_cut_huge_or_an_error() {
    let (user, _) = user().await;
    let next = async |fault| {
        user.sim.fault(Endpoint::AnyApi, fault, 1);
        user.call("/adrive/v1.0/user/getDriveInfo", serde_json::json!({})).await
    };
    let cut = next(Fault::TruncatedJson).await;
    assert!(cut.status == 200 && serde_json::from_slice::<serde_json::Value>(&cut.body).is_err());
    let code = Fault::Code { status: 403, code: "PermissionDenied".to_owned(), message: "x".to_owned() };
    assert_eq!(next(code).await.code(), "PermissionDenied");
    assert_eq!(next(Fault::Huge(3_000_000)).await.body.len(), 3_000_000);
    assert!(serde_json::from_slice::<serde_json::Value>(&next(Fault::Garbage).await.body).is_err());
}

#[tokio::test]
async fn a_listener_taken_down_refuses_until_it_is_brought_up() {
    let (user, link) = user().await;
    let host = user.sim.content_base().trim_start_matches("http://").to_owned();
    user.sim.take_down(Listener::Content).await;
    let error = TcpStream::connect(&host).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    user.sim.bring_up(Listener::Content).await.unwrap();
    assert_eq!(get(&link, &[]).await.status, 200);
}
