//! The request's id, in a header, in the line of a failure and in every log line, and one access line when the body
//! has ended.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::error::Error;
use crate::http::body::Watch;
use crate::http::{Body, Request, Response};
use crate::layer::Line;
use crate::layer::metrics::Metrics;
use crate::logs::{RequestId, sync_working_for, working_for};

/// Puts [`Trace`] in front of a service.
#[derive(Clone, Debug)]
pub struct TraceLayer {
    ids: Arc<Ids>,
    metrics: Arc<Metrics>,
}

/// Gives every request an id, and writes its access line.
#[derive(Clone, Debug)]
pub struct Trace<S> {
    ids: Arc<Ids>,
    inner: S,
    metrics: Arc<Metrics>,
}

/// Where the next id comes from.
#[derive(Debug)]
struct Ids {
    next: AtomicU64,
    process: u32,
}

/// Rides in the body and writes the line when that has ended.
struct AccessLine {
    bytes: u64,
    end: End,
    id: RequestId,
    method: Method,
    metrics: Arc<Metrics>,
    /// Without its query, where signatures stand.
    path: String,
    started: Instant,
    /// None until there is an answer.
    status: Option<StatusCode>,
}

pin_project! {
    /// An answer whose end will be told.
    pub struct Traced<F> {
        #[pin]
        answer: TaskLocalFuture<Option<RequestId>, F>,
        line: Option<AccessLine>,
    }
}

/// How a body ended.
#[derive(Clone, Copy, Eq, PartialEq)]
enum End {
    /// We had to cut it.
    Failed,
    /// Whole.
    Finished,
    /// The client left, or never meant to read it.
    Unfinished,
}

// === impl TraceLayer ===

impl TraceLayer {
    /// A layer whose ids begin with `process`, and which counts in `metrics`.
    pub fn new(process: u32, metrics: Arc<Metrics>) -> Self {
        Self { ids: Arc::new(Ids { next: AtomicU64::new(0), process }), metrics }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Trace { ids: Arc::clone(&self.ids), inner, metrics: Arc::clone(&self.metrics) }
    }
}

// === impl Trace ===

impl<S> Service<Request> for Trace<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Traced<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let number = self.ids.next.fetch_add(1, Ordering::Relaxed);
        let id = RequestId { process: self.ids.process, number };
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let metrics = Arc::clone(&self.metrics);
        metrics.began();
        // Made before the answer, so that it is written even where the client leaves before there is one.
        let line = AccessLine {
            bytes: 0,
            end: End::Unfinished,
            id,
            method,
            metrics,
            path,
            started: Instant::now(),
            status: None,
        };
        let answer = sync_working_for(id, || self.inner.call(request));
        Traced { answer: working_for(Some(id), answer), line: Some(line) }
    }
}

// === impl Traced ===

impl<F: Future<Output = Result<Response, Infallible>>> Future for Traced<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.answer.poll(cx));
        let Some(mut line) = this.line.take() else { return Poll::Ready(Ok(response)) };
        if let Some(why) = response.extensions_mut().remove::<Line>() {
            let text = format!("{} (request {})\n", why.0, line.id);
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
            *response.body_mut() = Body::full(text);
        }
        if let Ok(id) = HeaderValue::from_str(line.id.text().as_ref()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        line.status = Some(response.status());
        Poll::Ready(Ok(response.map(|body| body.watched(line))))
    }
}

// === impl AccessLine ===

impl Watch for AccessLine {
    fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    fn finished(&mut self) {
        self.end = End::Finished;
    }

    fn failed(&mut self, error: &Error) {
        self.end = End::Failed;
        sync_working_for(self.id, || tracing::warn!(%error, sent_bytes = self.bytes, "the body is cut"));
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        // A body of which nothing was read belongs to a HEAD or to an answer without one.
        let is_cut = self.end == End::Failed || (self.end == End::Unfinished && self.bytes > 0);
        if let Some(status) = self.status {
            self.metrics.ended(status, self.bytes, is_cut);
        } else {
            self.metrics.abandoned();
        }
        sync_working_for(self.id, || {
            tracing::info!(
                method = self.method.as_str(),
                path = self.path.as_str(),
                status = self.status.map(|status| status.as_u16()),
                sent_bytes = self.bytes,
                is_cut,
                duration_ms = self.started.elapsed().as_millis() as u64,
                "answered"
            );
        });
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
