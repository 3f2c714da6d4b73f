//! Connections: accept, speak TLS, HTTP/1.1 and HTTP/2, and drain on a signal.

mod connection;
mod crowd;
mod listener;
mod patient;
mod refusal;
mod tls;
#[cfg(unix)]
mod unix;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::BoxCloneSyncService;

use self::connection::Connection;
pub use self::crowd::Crowd;
pub use self::listener::Listener;
use self::patient::Patient;
use self::refusal::Refusals;
pub use self::tls::{CertificateFault, CertificateFiles, Certificates};
use crate::http::{Peer, Request, Response, Secure};

/// What the operator sets for the listeners.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Where players and browsers connect.
    pub listen: Vec<SocketAddr>,
    /// The same, as Unix sockets.
    pub listen_unix: Vec<PathBuf>,
    /// Where `/metrics`, `/healthz` and `/readyz` answer; none to switch it off.
    pub admin_listen: Option<SocketAddr>,
    /// How long running bodies may go on after a signal to stop.
    pub shutdown_grace: Duration,
    /// How long a client may take nothing of its answer before it is dropped.
    pub idle_timeout: Duration,
    /// Connections of players and browsers at most, all of their listeners together; 0: as [`Crowd::new`] says.
    pub max_connections: usize,
    /// What has all of `listen` speak TLS; none for none. The other listeners never do.
    pub tls: Option<CertificateFiles>,
}

/// A whole stack behind its seam.
pub type BoxHttp = BoxCloneSyncService<Request, Response, Infallible>;

/// Serves connections of `listener` until `stop`, then takes no new ones, and lets running bodies go on for the grace.
///
/// Each has its place in `crowd`, for which another may have to make way. A request's body is handed on unread; hyper closes
/// a connection that has one left over.
/// Dropping the future drops the listener; connections that run on `tasks` go on until their tracker's runtime ends.
pub async fn run(
    listener: Listener,
    service: BoxHttp,
    stop: CancellationToken,
    settings: Settings,
    crowd: Crowd,
    tasks: TaskTracker,
) {
    let grace = settings.shutdown_grace;
    let draining = GracefulShutdown::new();
    let cut = CancellationToken::new();
    let refusals = Refusals::new(tasks.clone());
    loop {
        let (stream, peer) = tokio::select! {
            connection = listener.accept() => match connection {
                Ok(connection) => connection,
                Err(error) => {
                    // Out of file descriptors, most likely: take a breath instead of spinning.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        while crowd.is_full() && crowd.unheard() >= UNHEARD {
            // Those who have just come must be heard before others take their places; the system keeps the next ones in line.
            tokio::task::yield_now().await;
        }
        let Some(place) = crowd.enter(peer) else {
            // To answer over TLS would take a handshake, thus a place.
            if listener.certificates().is_none() {
                refusals.refuse(stream);
            }
            continue;
        };
        let stream = Patient::new(stream, settings.idle_timeout).counted(place.member());
        let connection = Connection {
            peer: Peer(peer),
            secure: listener.certificates().map(|_| Secure),
            service: service.clone(),
            member: place.member(),
            drain: draining.watcher(),
            idle_timeout: settings.idle_timeout,
            tasks: tasks.clone(),
        };
        let tls = listener.certificates().map(Certificates::current);
        let cut = cut.clone();
        tasks.spawn(async move {
            let served = async {
                match tls {
                    None => connection.serve_http1(stream).await,
                    Some(tls) => match tls::shake_hands(tls, stream).await {
                        Some(stream) if tls::is_http2(&stream) => connection.serve_http2(stream).await,
                        Some(stream) => connection.serve_http1(stream).await,
                        None => {}
                    },
                }
            };
            let end = tokio::select! {
                () = served => return,
                () = place.taken_away() => "a connection has made way for another",
                () = place.dawdled() => "a connection has asked nothing in time",
                () = cut.cancelled() => return,
            };
            tracing::debug!(%peer, "{end}");
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, draining.shutdown()).await.is_err() {
        tracing::warn!(grace_s = grace.as_secs_f64(), "connections are cut that did not end in time");
    }
    cut.cancel();
}

/// Connections that have come and not had their turn yet. Chosen: few beside those who are to go.
const UNHEARD: usize = 16;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
