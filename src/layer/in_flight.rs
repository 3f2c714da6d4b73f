//! How many requests may be under way at once, their bodies included.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::Either;
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

use crate::error::{Error, ErrorKind};
use crate::http::body::Watch;
use crate::http::{Request, Response};

/// Puts [`InFlight`] in front of a service.
#[derive(Clone, Debug)]
pub struct InFlightLayer(Arc<Semaphore>);

/// Refuses with `Overload` what is over the limit, at once. The permit rides in the body, since a stream is under way
/// until its last byte.
#[derive(Clone, Debug)]
pub struct InFlight<S> {
    inner: S,
    permits: Arc<Semaphore>,
}

pin_project! {
    /// An answer that counts.
    pub struct Counted<F> {
        #[pin]
        answer: F,
        permit: Option<Permit>,
    }
}

struct Permit {
    _held: OwnedSemaphorePermit,
}

impl Watch for Permit {}

// === impl InFlightLayer ===

impl InFlightLayer {
    /// A layer that lets `limit` requests be under way.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit)))
    }
}

impl<S> Layer<S> for InFlightLayer {
    type Service = InFlight<S>;

    fn layer(&self, inner: S) -> Self::Service {
        InFlight { inner, permits: Arc::clone(&self.0) }
    }
}

// === impl InFlight ===

impl<S> Service<Request> for InFlight<S>
where
    S: Service<Request, Response = Response, Error = Error>,
{
    type Response = Response;
    type Error = Error;
    type Future = Either<Counted<S::Future>, std::future::Ready<Result<Response, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Ok(held) = Arc::clone(&self.permits).try_acquire_owned() else {
            let full =
                Error::new(ErrorKind::Overload, "take one more request").retry_after(Duration::from_secs(5));
            return Either::Right(std::future::ready(Err(full)));
        };
        Either::Left(Counted { answer: self.inner.call(request), permit: Some(Permit { _held: held }) })
    }
}

// === impl Counted ===

impl<F: Future<Output = Result<Response, Error>>> Future for Counted<F> {
    type Output = Result<Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(cx));
        let Some(permit) = this.permit.take() else { return Poll::Ready(answer) };
        Poll::Ready(answer.map(|response| response.map(|body| body.watched(permit))))
    }
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::http::Body;

    #[tokio::test]
    async fn a_request_counts_until_its_body_is_gone() {
        let inner = service_fn(|_: Request| async { Ok::<_, Error>(Response::new(Body::full("x"))) });
        let service = InFlightLayer::new(1).layer(inner);
        let first = service.clone().oneshot(Request::new(())).await.unwrap();
        let refused = service.clone().oneshot(Request::new(())).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Overload);
        drop(first);
        service.oneshot(Request::new(())).await.unwrap();
    }
}
