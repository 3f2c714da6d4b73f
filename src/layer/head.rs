//! What the head of a request may be at most, whatever it came by.

use std::task::{Context, Poll};

use futures_util::future::Either;
use tower::{Layer, Service};

use crate::error::{Error, ErrorKind};
use crate::http::{Request, Response};

/// Puts [`Head`] in front of a service.
#[derive(Clone, Copy, Debug)]
pub struct HeadLayer;

/// Refuses with `Invalid` a target of more than 8 KiB, and more than 100 header fields.
///
/// What is longer as a whole the transport refuses before it is a request.
#[derive(Clone, Debug)]
pub struct Head<S>(S);

// === impl HeadLayer ===

impl<S> Layer<S> for HeadLayer {
    type Service = Head<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Head(inner)
    }
}

// === impl Head ===

impl<S> Service<Request> for Head<S>
where
    S: Service<Request, Response = Response, Error = Error>,
{
    type Response = Response;
    type Error = Error;
    type Future = Either<std::future::Ready<Result<Response, Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let uri = request.uri();
        let target = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
        let fault = if target > LONGEST_TARGET {
            "the address is longer than 8,192 bytes"
        } else if request.headers().len() > MOST_FIELDS {
            "there are more than 100 header fields"
        } else {
            return Either::Right(self.0.call(request));
        };
        let error = Error::new(ErrorKind::Invalid, "read the request").saying(fault);
        Either::Left(std::future::ready(Err(error)))
    }
}

/// Bytes. RFC 9112 §3 recommends at least 8,000; chosen: a path of 1,024 bytes whose every byte is encoded, twice over.
const LONGEST_TARGET: usize = 8 * 1024;
/// What hyper takes over HTTP/1.1; over HTTP/2 it counts bytes only.
const MOST_FIELDS: usize = 100;

#[cfg(test)]
mod tests {
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::http::Body;

    async fn answer(request: Request) -> Result<Response, Error> {
        let inner = service_fn(|_: Request| async { Ok::<_, Error>(Response::new(Body::empty())) });
        HeadLayer.layer(inner).oneshot(request).await
    }

    #[tokio::test]
    async fn a_target_may_be_so_long_and_no_longer() {
        let request = |length: usize| {
            let target = format!("/{}?x", "a".repeat(length - 3));
            http::Request::builder().uri(target).body(()).unwrap()
        };
        assert!(answer(request(8192)).await.is_ok());
        assert_eq!(answer(request(8193)).await.unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[tokio::test]
    async fn there_may_be_so_many_fields_and_no_more() {
        let request = |fields: usize| {
            (0..fields)
                .fold(http::Request::builder(), |request, _| request.header("x", "y"))
                .body(())
                .unwrap()
        };
        assert!(answer(request(100)).await.is_ok());
        assert_eq!(answer(request(101)).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
