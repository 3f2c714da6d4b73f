//! An end to waiting for the head of an answer. The body is not counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

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
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let answer = tokio::time::timeout((self.patience)(&request), self.inner.call(request));
        Box::pin(async move {
            answer.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "answer in time")))
        })
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
