//! The two listeners: accepting, the life of a connection, and a request's way through faults and handlers.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response,
    header::{DATE, RANGE},
};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{
    api, body::SimBody, cdn, clock::http_date, counts::Listener, drive::Drive, faults::Fault, meddling,
};

/// Serves a listener until aborted; its connections go with it.
#[expect(clippy::disallowed_methods, reason = "a simulator has no task tracker: dropping it aborts these")]
pub(crate) fn spawn(drive: Arc<Drive>, listener: Listener, socket: TcpListener) -> JoinHandle<Infallible> {
    tokio::spawn(accept(drive, listener, socket))
}

async fn accept(drive: Arc<Drive>, listener: Listener, socket: TcpListener) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, peer)) = socket.accept().await {
            connections.spawn(connection(Arc::clone(&drive), listener, stream, peer));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(drive: Arc<Drive>, listener: Listener, stream: TcpStream, peer: SocketAddr) {
    let idle_close = drive.lock().settings.idle_close;
    // Small answers must not wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let socket = Socket { stream, reset: Arc::clone(&reset) };
    let place = Place { drive, listener, peer, reset };
    let service = service_fn(|request| answer(&place, request));
    // An error here is a connection that broke, on demand or not.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle_close)
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

/// Where a request came in.
struct Place {
    drive: Arc<Drive>,
    listener: Listener,
    peer: SocketAddr,
    reset: Arc<AtomicBool>,
}

/// The connection is to close without an answer.
#[derive(Debug)]
pub(crate) struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dropped on demand")
    }
}

impl std::error::Error for Dropped {}

async fn answer(place: &Place, request: Request<Incoming>) -> Result<Response<SimBody>, Dropped> {
    let (mut head, body) = request.into_parts();
    let endpoint = match place.listener {
        Listener::Api => api::endpoint(head.uri.path()),
        Listener::Content => cdn::endpoint(head.uri.path()),
    };
    let fault = place.drive.arrived(place.listener, endpoint, &head);
    match &fault {
        Some(Fault::DropConnection) => return Err(Dropped),
        Some(Fault::SlowHead(wait)) => sleep(*wait).await,
        Some(Fault::WholeInsteadOfPart) => {
            head.headers.remove(RANGE);
        }
        _ => {}
    }
    if let Some(instead) = fault.as_ref().and_then(|fault| meddling::instead(fault, endpoint)) {
        return Ok(instead);
    }
    let mut response = match place.listener {
        Listener::Api => {
            let body = Limited::new(body, REQUEST_BYTES).collect().await;
            let body = body.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
            api::answer(&place.drive, endpoint, &head, place.peer.ip(), &body)
        }
        Listener::Content => {
            let notice = fault == Some(Fault::NoticeContent);
            cdn::answer(&place.drive, endpoint, &head, notice).await
        }
    };
    match fault {
        Some(Fault::LoseAnswer) => return Err(Dropped),
        Some(fault) => meddling::alter(&fault, &mut response, &place.reset),
        None => {}
    }
    // The server would put the machine's time there, which a test may have left behind.
    if let Ok(date) = HeaderValue::try_from(http_date(place.drive.clock.now_ms())) {
        response.headers_mut().insert(DATE, date);
    }
    if place.listener == Listener::Content {
        return Ok(response.map(|body| body.metered(&place.drive.streams)));
    }
    Ok(response)
}

/// A connection that resets instead of closing once its flag is set.
struct Socket {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset.load(Ordering::SeqCst) {
            // Closing with a zero linger time sends RST.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The longest request body that is read.
const REQUEST_BYTES: usize = 1 << 20;
