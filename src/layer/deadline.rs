//! An end to waiting for the head of an answer. The body is not counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Timeout, timeout};
use tower::{Layer, Service};

use crate::error::{Error, ErrorKind};
use crate::http::{Request, Response};

/// Puts [`Deadline`] in front of a service.
#[derive(Clone)]
pub struct DeadlineLayer(Patience);

/// How long a request may wait for the head of its answer.
pub type Patience = Arc<dyn Fn(&Request) -> Duration + Send + Sync>;

/// Fails with `Timeout` where no head is there in time. What was being fetched for it goes on.
#[derive(Clone)]
pub struct Deadline<S> {
    inner: S,
    patience: Patience,
}

pin_project! {
    /// An answer that is waited for so long and no longer.
    pub struct Timely<F> {
        #[pin]
        answer: Timeout<F>,
    }
}

// === impl DeadlineLayer ===

impl DeadlineLayer {
    /// A layer that waits as long as `patience` says.
    pub fn new(patience: Patience) -> Self {
        Self(patience)
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadline { inner, patience: Arc::clone(&self.0) }
    }
}

// === impl Deadline ===

impl<S> Service<Request> for Deadline<S>
where
    S: Service<Request, Response = Response, Error = Error>,
{
    type Response = Response;
    type Error = Error;
    type Future = Timely<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Timely { answer: timeout((self.patience)(&request), self.inner.call(request)) }
    }
}

// === impl Timely ===

impl<F: Future<Output = Result<Response, Error>>> Future for Timely<F> {
    type Output = Result<Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.project().answer.poll(cx));
        Poll::Ready(answer.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "answer in time"))))
    }
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_come_is_a_timeout() {
        let never = service_fn(|_: Request| std::future::pending::<Result<Response, Error>>());
        let service = DeadlineLayer::new(Arc::new(|_| Duration::from_secs(9))).layer(never);
        let error = service.oneshot(Request::new(())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
}
