//! One connection, from its first byte to its last: HTTP/1.1, or HTTP/2 where TLS has agreed on it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;
use tower::Service;

use super::BoxHttp;
use super::crowd::{Member, UnderWay, Waiting};
use crate::http::{Body, Peer, Request, Response, Secure, Upload};

/// What serving a connection takes.
pub(super) struct Connection {
    pub(super) peer: Peer,
    /// Set where it is encrypted.
    pub(super) secure: Option<Secure>,
    pub(super) service: BoxHttp,
    pub(super) member: Arc<Member>,
    /// Tells it to end after the request that is under way.
    pub(super) drain: Watcher,
    /// How long a client may take nothing of its answers.
    pub(super) idle_timeout: Duration,
    pub(super) tasks: TaskTracker,
}

/// The stack, for the requests of one connection. Copied once a connection, since copying it touches what all threads share.
struct OneAfterTheOther {
    peer: Peer,
    secure: Option<Secure>,
    service: RefCell<BoxHttp>,
    member: Arc<Member>,
}

/// The stack, for requests of which several are under way at once.
struct SideBySide {
    peer: Peer,
    secure: Option<Secure>,
    service: BoxHttp,
    member: Arc<Member>,
}

/// An answer that the crowd knows is being waited for.
struct Answer {
    answer: <BoxHttp as Service<Request>>::Future,
    waiting: Option<Waiting>,
    /// Goes along with the body.
    under_way: Option<UnderWay>,
}

/// Runs what HTTP/2 does for each request, so that the end of the program waits for it.
#[derive(Clone)]
struct OnTracker(TaskTracker);

// === impl Connection ===

impl Connection {
    /// Serves the requests that come, until one of the two sides has enough.
    pub(super) async fn serve_http1(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = OneAfterTheOther {
            peer: self.peer,
            secure: self.secure,
            service: RefCell::new(self.service),
            member: self.member,
        };
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

    /// The same, with several requests at once.
    pub(super) async fn serve_http2(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = SideBySide {
            peer: self.peer,
            secure: self.secure,
            service: self.service,
            member: Arc::clone(&self.member),
        };
        let connection = http2::Builder::new(OnTracker(self.tasks))
            .timer(TokioTimer::new())
            .adaptive_window(false)
            .initial_connection_window_size(RECEIVED_AT_ONCE)
            .initial_stream_window_size(RECEIVED_AT_ONCE)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEADER_LIST)
            .max_local_error_reset_streams(RESETS)
            .max_pending_accept_reset_streams(RESETS)
            .max_send_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            ended = self.drain.watch(connection) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
            }
            // The other end may leave a stream where it is and answer pings all the same: no write waits then.
            () = self.member.stalls(self.idle_timeout) => tracing::debug!("a connection takes nothing"),
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
        let answer = ask(&mut self.service.borrow_mut(), with_upload(request), self.peer, self.secure);
        Answer { answer, waiting, under_way: None }
    }
}

// === impl SideBySide ===

impl hyper::service::Service<http::Request<Incoming>> for SideBySide {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let waiting = Some(self.member.waits());
        let Some(under_way) = self.member.begins() else {
            return Answer { answer: Box::pin(std::future::ready(Ok(full()))), waiting, under_way: None };
        };
        let answer = ask(&mut self.service.clone(), as_http1(with_upload(request)), self.peer, self.secure);
        Answer { answer, waiting, under_way: Some(under_way) }
    }
}

/// A request whose body, if it has one, whoever wants it may read.
fn with_upload(request: http::Request<Incoming>) -> Request {
    let (parts, body) = request.into_parts();
    let mut request = Request::from_parts(parts, ());
    if !body.is_end_stream() {
        request.extensions_mut().insert(Upload::new(body));
    }
    request
}

/// A request as it would have come over HTTP/1.1, whose form all behind us know: the host in a field of its own (RFC 9113
/// §8.3.1), and no more than path and query as the target.
fn as_http1(mut request: Request) -> Request {
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        // What `:authority` says goes before what a `host` beside it says.
        request.headers_mut().insert(header::HOST, host);
    }
    if let Some(target) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = target.into();
    }
    request
}

/// Says that there is no room for one more request beside the others of its connection.
fn full() -> Response {
    let mut response = Response::new(Body::full("too many requests at once; try again later\n"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// Hands a request to the stack.
fn ask(
    service: &mut BoxHttp,
    mut request: Request,
    peer: Peer,
    secure: Option<Secure>,
) -> <BoxHttp as Service<Request>>::Future {
    request.extensions_mut().insert(peer);
    if let Some(secure) = secure {
        request.extensions_mut().insert(secure);
    }
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
        let Some(under_way) = self.under_way.take() else { return Poll::Ready(answer) };
        Poll::Ready(answer.map(|response| response.map(|body| body.watched(under_way))))
    }
}

// === impl OnTracker ===

impl<F> hyper::rt::Executor<F> for OnTracker
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// For the whole head of a request, and for an idle connection between two; chosen: slow enough for a satellite link. The first
/// head of a connection has less; the crowd sees to that.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a request's head at most; and of a body, beside one piece, that wait for a client that is slower than its drive.
const BUFFER: usize = 64 * 1024;
/// Requests of one connection at once. Chosen: a page with its pictures and a film; RFC 9113 §6.5.2 advises 100 against lack of
/// parallelism, which nothing here is so slow as to need.
const STREAMS: u32 = 32;
/// Bytes of all header fields of a request, each with 32 more (RFC 9113 §6.5.2). As hyper has it; a target may be half of that.
const HEADER_LIST: u32 = 16 * 1024;
/// Requests that were taken back before they were looked at, or were malformed, until the connection is closed: a flood of them
/// is an attack (CVE-2023-44487). As h2 has it for the former; a browser that leaves a page takes back some.
const RESETS: usize = 20;
/// Bytes of a request's body that may be on their way; more than none, which a client might take for a fault.
const RECEIVED_AT_ONCE: u32 = 64 * 1024;
/// Between two questions whether the other end is still there, and for its answer; chosen: a third of what an idle one has over
/// HTTP/1.1.
const PING: Duration = Duration::from_secs(20);
