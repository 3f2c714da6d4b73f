//! Lets pages of any origin read media, playlists and subtitles.
//!
//! Always `*`, never an echo: after a redirect across origins a browser sends `Origin: null`, which an allow-list
//! would refuse.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Method, StatusCode, header};
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
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if !(self.is_media)(&request) {
            return Box::pin(self.inner.call(request));
        }
        if request.method() == Method::OPTIONS {
            return Box::pin(std::future::ready(Ok(preflight())));
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            mark(&mut response);
            Ok(response)
        })
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
