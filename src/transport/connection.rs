//! One connection, from its first byte to its last.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::Service;

use super::BoxHttp;
use super::crowd::{Member, Waiting};
use crate::http::{Peer, Request, Response};

/// What serving a connection takes.
pub(super) struct Connection {
    pub(super) peer: Peer,
    pub(super) service: BoxHttp,
    pub(super) member: Arc<Member>,
    /// Tells it to end after the request that is under way.
    pub(super) drain: Watcher,
}

/// The stack, for the requests of one connection. Copied once a connection, since copying it touches what all threads share.
struct OneAfterTheOther {
    peer: Peer,
    service: RefCell<BoxHttp>,
    member: Arc<Member>,
}

/// An answer that the crowd knows is being waited for.
struct Answer {
    answer: <BoxHttp as Service<Request>>::Future,
    waiting: Option<Waiting>,
}

// === impl Connection ===

impl Connection {
    /// Serves the requests that come, until one of the two sides has enough.
    pub(super) async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service =
            OneAfterTheOther { peer: self.peer, service: RefCell::new(self.service), member: self.member };
        // At most 100 fields a head, and 64 KiB with its first line: hyper answers 431 to more.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(BUFFER)
            .max_header_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = self.drain.watch(connection).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

// === impl OneAfterTheOther ===

impl hyper::service::Service<http::Request<Incoming>> for OneAfterTheOther {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let waiting = Some(self.member.waits());
        Answer { answer: ask(&mut self.service.borrow_mut(), request, self.peer), waiting }
    }
}

/// Hands a request to the stack.
fn ask(
    service: &mut BoxHttp,
    request: http::Request<Incoming>,
    peer: Peer,
) -> <BoxHttp as Service<Request>>::Future {
    let mut request = request.map(drop);
    request.extensions_mut().insert(peer);
    // No layer of ours makes anybody wait: what is full refuses in its answer.
    let is_ready = service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready();
    debug_assert!(is_ready, "a layer that waits must do so in its answer");
    service.call(request)
}

// === impl Answer ===

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(cx));
        self.waiting = None;
        Poll::Ready(answer)
    }
}

/// For the whole head of a request, and for an idle connection between two; chosen: slow enough for a satellite link. The first
/// head of a connection has less; the crowd sees to that.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a request's head at most; and of a body, beside one piece, that wait for a client that is slower than its drive.
const BUFFER: usize = 64 * 1024;
