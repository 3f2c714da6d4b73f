//! The Unix socket of the program: what is printed, what is served, and what is left behind.

use std::os::unix::fs::PermissionsExt;

use drive_sim::Sample;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::process::{Server, run, sluice};

#[tokio::test(flavor = "multi_thread")]
async fn films_are_served_on_a_unix_socket_that_goes_with_the_program() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("film.mp4"), Sample::Mp4.bytes()).unwrap();
    let socket = folder.path().join("socket");
    let listen = format!("unix:{}", socket.display());
    // What a program that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let mut command = sluice(folder.path());
    command.args(["serve", ".", "--listen", &listen]);
    let mut server = Server::start(command);
    assert_eq!(server.base, listen);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);

    let stream = TokioIo::new(UnixStream::connect(&socket).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let request =
        http::Request::get("/p/film.mp4").header("host", "localhost").body(Empty::<bytes::Bytes>::new());
    let (answer, _) = tokio::join!(
        async {
            let answer = sender.send_request(request.unwrap()).await.unwrap();
            let answer = (answer.status(), answer.into_body().collect().await.unwrap().to_bytes());
            drop(sender);
            answer
        },
        connection
    );
    assert_eq!(answer, (http::StatusCode::OK, Sample::Mp4.bytes()));

    // Not two at one place.
    let second = run(folder.path(), &["serve", ".", "--listen", &listen]);
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("another program listens there"), "{said}");
    assert!(UnixStream::connect(&socket).await.is_ok());

    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(!socket.exists());
    // Nor in place of something else.
    std::fs::write(&socket, "a film").unwrap();
    let third = run(folder.path(), &["serve", ".", "--listen", &listen]);
    assert_eq!(third.status.code(), Some(1));
    assert!(String::from_utf8(third.stderr).unwrap().contains("there is a file that is no socket"));
    assert_eq!(std::fs::read(&socket).unwrap(), b"a film");
}
