//! Lets pages of any origin read media, playlists and subtitles.
//!
//! Always `*`, never an echo: after a redirect across origins a browser sends `Origin: null`, which an allow-list
//! would refuse.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::Either;
use http::{HeaderValue, Method, StatusCode, header};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::http::{Body, Request, Response};

/// Tells whether a request is for a media route.
pub type IsMedia = Arc<dyn Fn(&Request) -> bool + Send + Sync>;

/// Puts [`Cors`] in front of a service.
#[derive(Clone)]
pub struct CorsLayer(IsMedia);

/// Answers preflights and marks the answers of media routes.
#[derive(Clone)]
pub struct Cors<S> {
    inner: S,
    is_media: IsMedia,
}

pin_project! {
    /// An answer of a route, marked where that is for media.
    pub struct Marked<F> {
        #[pin]
        answer: F,
        is_media: bool,
    }
}

// === impl CorsLayer ===

impl CorsLayer {
    /// A layer for the requests that `is_media` picks.
    pub fn new(is_media: IsMedia) -> Self {
        Self(is_media)
    }
}

impl<S> Layer<S> for CorsLayer {
    type Service = Cors<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Cors { inner, is_media: Arc::clone(&self.0) }
    }
}

// === impl Cors ===

impl<S> Service<Request> for Cors<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Marked<S::Future>, std::future::Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let is_media = (self.is_media)(&request);
        if is_media && request.method() == Method::OPTIONS {
            return Either::Right(std::future::ready(Ok(preflight())));
        }
        Either::Left(Marked { answer: self.inner.call(request), is_media })
    }
}

// === impl Marked ===

impl<F: Future<Output = Result<Response, Infallible>>> Future for Marked<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.answer.poll(cx));
        if *this.is_media {
            mark(&mut response);
        }
        Poll::Ready(Ok(response))
    }
}

fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Range, Authorization, If-Range"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    mark(&mut response);
    response
}

fn mark(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Accept-Ranges, Content-Length, Content-Range, ETag"),
    );
}
