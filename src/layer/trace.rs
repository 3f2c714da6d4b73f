//! The request's id and span: the id in a header and in the line of a failure, the span around every log line, and
//! one access line when the body has ended.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use crate::http::body::Watch;
use crate::http::{Body, Request, Response};
use crate::layer::Line;

/// Puts [`Trace`] in front of a service.
#[derive(Clone, Debug)]
pub struct TraceLayer(Arc<Ids>);

/// Gives every request an id, and writes its access line.
#[derive(Clone, Debug)]
pub struct Trace<S> {
    ids: Arc<Ids>,
    inner: S,
}

/// Ids: eight digits for the process, then a count, so that they differ between restarts without a random draw a
/// request.
#[derive(Debug)]
struct Ids {
    next: AtomicU64,
    process: u32,
}

/// Rides in the body and writes the line when that has ended.
struct AccessLine {
    bytes: u64,
    finished: bool,
    method: Method,
    /// Without its query, where signatures stand.
    path: String,
    span: Span,
    started: Instant,
    status: StatusCode,
}

// === impl TraceLayer ===

impl TraceLayer {
    /// A layer whose ids begin with `process`.
    pub fn new(process: u32) -> Self {
        Self(Arc::new(Ids { next: AtomicU64::new(0), process }))
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Trace { ids: Arc::clone(&self.0), inner }
    }
}

// === impl Trace ===

impl<S> Service<Request> for Trace<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let id = format!("{:08x}-{:x}", self.ids.process, self.ids.next.fetch_add(1, Ordering::Relaxed));
        let span = tracing::info_span!("request", id = %id);
        let (method, path, started) =
            (request.method().clone(), request.uri().path().to_owned(), Instant::now());
        let answer = span.in_scope(|| self.inner.call(request));
        let inside = span.clone();
        let answer = async move {
            let mut response = answer.await?;
            if let Some(line) = response.extensions_mut().remove::<Line>() {
                let text = format!("{} (request {id})\n", line.0);
                response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
                *response.body_mut() = Body::full(text);
            }
            if let Ok(id) = HeaderValue::from_str(&id) {
                response.headers_mut().insert(REQUEST_ID, id);
            }
            let status = response.status();
            let line = AccessLine { bytes: 0, finished: false, method, path, span, started, status };
            Ok(response.map(|body| body.watched(line)))
        };
        Box::pin(answer.instrument(inside))
    }
}

// === impl AccessLine ===

impl Watch for AccessLine {
    fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    fn finished(&mut self) {
        self.finished = true;
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        let _inside = self.span.enter();
        // A body that nobody read, of a HEAD or an empty answer, is whole too.
        let is_cut = !self.finished && self.bytes > 0;
        tracing::info!(
            method = %self.method,
            path = %self.path.escape_debug(),
            status = self.status.as_u16(),
            sent_bytes = self.bytes,
            is_cut,
            duration_ms = self.started.elapsed().as_millis() as u64,
            "answered"
        );
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
