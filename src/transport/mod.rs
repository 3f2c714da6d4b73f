//! Connections: accept, speak HTTP/1.1, and drain on a signal.

mod patient;

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Waker};
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tower::util::BoxCloneSyncService;

use self::patient::Patient;
use crate::http::{Peer, Request, Response, Upload};

/// What the operator sets for the listeners.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Where players and browsers connect.
    pub listen: Vec<SocketAddr>,
    /// Where `/metrics`, `/healthz` and `/readyz` answer; none to switch it off.
    pub admin_listen: Option<SocketAddr>,
    /// How long running bodies may go on after a signal to stop.
    pub shutdown_grace: Duration,
    /// How long a client may take nothing of its answer before it is dropped.
    pub idle_timeout: Duration,
}

/// A whole stack behind its seam.
pub type BoxHttp = BoxCloneSyncService<Request, Response, Infallible>;

/// Serves connections of `listener` until `stop`, then takes no new ones, and lets running bodies go on for the grace.
///
/// A request's body is handed on unread; hyper closes a connection that has one left over.
/// Dropping the future drops the listener; connections that run on `tasks` go on until their tracker's runtime ends.
pub async fn run(
    listener: TcpListener,
    service: BoxHttp,
    stop: CancellationToken,
    settings: Settings,
    tasks: TaskTracker,
) {
    let grace = settings.shutdown_grace;
    let draining = GracefulShutdown::new();
    let cut = CancellationToken::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: take a breath instead of spinning.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        let connection = connection(stream, peer.ip(), service.clone(), settings.idle_timeout, &draining);
        let cut = cut.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = connection => {}
                () = cut.cancelled() => {}
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, draining.shutdown()).await.is_err() {
        tracing::warn!(grace_s = grace.as_secs_f64(), "connections are cut that did not end in time");
    }
    cut.cancel();
}

fn connection(
    stream: TcpStream,
    peer: IpAddr,
    service: BoxHttp,
    idle_timeout: Duration,
    draining: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    // Small answers and the tail of a body must not wait for an acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a socket option could not be set");
    }
    let service = OneAfterTheOther { peer: Peer(peer), service: RefCell::new(service) };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(Patient::new(stream, idle_timeout)), service);
    let connection = draining.watch(connection);
    async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// The stack, for the requests of one connection. Copied once a connection, since copying it touches what all threads share.
struct OneAfterTheOther {
    peer: Peer,
    service: RefCell<BoxHttp>,
}

impl hyper::service::Service<http::Request<Incoming>> for OneAfterTheOther {
    type Response = Response;
    type Error = Infallible;
    type Future = <BoxHttp as Service<Request>>::Future;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let mut request = Request::from_parts(parts, ());
        request.extensions_mut().insert(self.peer);
        if !body.is_end_stream() {
            request.extensions_mut().insert(Upload::new(body));
        }
        let mut service = self.service.borrow_mut();
        // No layer of ours makes anybody wait: what is full refuses in its answer.
        let is_ready = service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready();
        debug_assert!(is_ready, "a layer that waits must do so in its answer");
        service.call(request)
    }
}

/// For the whole head of a request, and for an idle connection between two; chosen: slow enough for a satellite link.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a request's head at most; and of a body, beside one piece, that wait for a client that is slower than its drive.
const BUFFER: usize = 64 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
