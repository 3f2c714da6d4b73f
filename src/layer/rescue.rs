//! Errors and panics become answers here, and nowhere else.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{CatchUnwind, Either, Ready, ready};
use http::{HeaderValue, StatusCode, header};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::error::{Error, ErrorKind};
use crate::http::{Request, Response};

/// Puts [`Rescue`] in front of a service.
#[derive(Clone, Copy, Debug)]
pub struct RescueLayer;

/// Answers in plain words where the service inside failed.
#[derive(Clone, Debug)]
pub struct Rescue<S>(S);

pin_project! {
    /// An answer, in any case.
    pub struct Rescued<F> {
        #[pin]
        answer: Either<CatchUnwind<AssertUnwindSafe<F>>, Ready<Result<Result<Response, Error>, Panic>>>,
    }
}

type Panic = Box<dyn Any + Send>;

impl<S> Layer<S> for RescueLayer {
    type Service = Rescue<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Rescue(inner)
    }
}

impl<S> Service<Request> for Rescue<S>
where
    S: Service<Request, Response = Response, Error = Error>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Rescued<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Nothing inside makes anybody wait: what is full refuses in its answer.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The gate works before there is a future, so both are guarded.
        let called = std::panic::catch_unwind(AssertUnwindSafe(|| self.0.call(request)));
        Rescued {
            answer: match called {
                Ok(answer) => Either::Left(AssertUnwindSafe(answer).catch_unwind()),
                Err(panic) => Either::Right(ready(Err(panic))),
            },
        }
    }
}

impl<F: Future<Output = Result<Response, Error>>> Future for Rescued<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(match ready!(self.project().answer.poll(cx)) {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => answer(&error),
            Err(_) => {
                // The panic hook has written where it was.
                tracing::error!("a request panicked");
                super::plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
            }
        }))
    }
}

/// The answer to an error: its status, its words, and nothing of what a drive wrote.
fn answer(error: &Error) -> Response {
    error.report();
    let status = status_of(error.kind());
    let mut response = super::plain(status, error.words());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let delay = error.retry_delay().unwrap_or(UNKNOWN_DELAY);
        // Whole seconds, rounded up: coming back too early would be refused again.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

/// The contract's table of statuses.
fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::Invalid | ErrorKind::NotAFile => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound | ErrorKind::Unsupported => StatusCode::NOT_FOUND,
        ErrorKind::Overload | ErrorKind::RateLimit | ErrorKind::Unavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Upstream => StatusCode::BAD_GATEWAY,
    }
}

/// Where nobody knows when it gets better, such as a login that has ended.
const UNKNOWN_DELAY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test]
    async fn an_error_is_answered_with_its_status_and_words_alone() {
        let failing = service_fn(|_: Request| async {
            Err::<Response, _>(
                Error::new(ErrorKind::RateLimit, "ask")
                    .with("code", "secret of the drive")
                    .retry_after(Duration::from_millis(2100)),
            )
        });
        let response = RescueLayer.layer(failing).oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "3");
        let line = response.extensions().get::<crate::layer::Line>().unwrap();
        assert_eq!(line.0, "the account is over its call limit, try again shortly");
    }

    #[tokio::test]
    async fn a_panic_is_a_500() {
        type Failing = std::future::Ready<Result<Response, Error>>;
        let at_once = service_fn(|_: Request| -> Failing { panic!("on purpose") });
        let response = RescueLayer.layer(at_once).oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.status(), 500);
        let later = service_fn(|request: Request| async move {
            assert!(request.uri().path().is_empty(), "on purpose");
            Err::<Response, _>(Error::new(ErrorKind::Internal, "get here"))
        });
        let response = RescueLayer.layer(later).oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.status(), 500);
    }
}
