//! What the operator's tools ask: whether we live, whether every mount can serve, and what is known of the accounts.

use std::fmt::Write as _;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, header};
use tower::Service;

use super::media_type;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Body, Request, Response};
use crate::layer::authenticate::Requirement;
use crate::mount::MountTable;

/// The service of the admin listener.
#[derive(Clone)]
pub struct Admin {
    metrics: MetricsText,
    mounts: Arc<MountTable>,
}

/// Gives the text that Prometheus reads.
pub type MetricsText = Arc<dyn Fn() -> Result<String> + Send + Sync>;

/// Who may ask what: that we live everybody; what we do, and how the accounts fare, those who may log in.
pub fn requirement(request: &Request) -> Requirement {
    match request.uri().path() {
        "/healthz" => Requirement::Nothing,
        _ => Requirement::Login(None),
    }
}

/// The routes.
pub const ROUTES: [&str; 3] = ["/healthz", "/metrics", "/readyz"];

// === impl Admin ===

impl Admin {
    /// Answers for these mounts; `metrics` gives what was counted.
    pub fn new(mounts: Arc<MountTable>, metrics: MetricsText) -> Self {
        Self { metrics, mounts }
    }

    async fn answer(self, request: Request) -> Result<Response> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response =
                text(StatusCode::METHOD_NOT_ALLOWED, "this address takes GET and HEAD\n".to_owned());
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(response);
        }
        match request.uri().path() {
            "/healthz" => Ok(text(StatusCode::OK, "alive\n".to_owned())),
            "/metrics" => {
                self.look_up().await;
                let mut response = text(StatusCode::OK, (self.metrics)()?);
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
                Ok(response)
            }
            "/readyz" => Ok(self.ready().await),
            _ => {
                Err(Error::new(ErrorKind::NotFound, "find a route")
                    .saying("there is nothing at this address"))
            }
        }
    }

    /// Lets the drives be asked about the accounts, and waits for that a moment: it is told when it is known.
    async fn look_up(&self) {
        let all = self.mounts.iter().map(|mount| async {
            if let Err(error) = mount.driver.look_up_account().await {
                tracing::debug!(mount = %mount.path, %error, "the drive does not say all about the account");
            }
        });
        let _ = tokio::time::timeout(MOMENT, futures_util::future::join_all(all)).await;
    }

    /// One line a mount: 200 when every one can serve, else 503. What is known of the account follows, and decides nothing.
    async fn ready(&self) -> Response {
        let checks = self.mounts.iter().map(|mount| async move {
            // What a mount needs may be known although its login has ended since.
            let ready = async {
                mount.driver.authorize().await?;
                mount.driver.prepare().await
            };
            (mount, ready.await)
        });
        let checks = futures_util::future::join_all(checks).await;
        self.look_up().await;
        let mut lines = String::new();
        let mut status = StatusCode::OK;
        for (mount, result) in checks {
            let words = match &result {
                Ok(()) => "ready",
                Err(error) => {
                    status = StatusCode::SERVICE_UNAVAILABLE;
                    error.words()
                }
            };
            // Writing to a string cannot fail.
            let _ = write!(lines, "{}: {words}", mount.path.as_str().escape_debug());
            for note in mount.driver.account().unwrap_or_default().notes() {
                let _ = write!(lines, "; {}", note.text);
            }
            lines.push('\n');
        }
        text(status, lines)
    }
}

impl Service<Request> for Admin {
    type Response = Response;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

fn text(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type::TEXT));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    *response.body_mut() = Body::full(text);
    response
}

/// Chosen: two calls to a drive take less, and a probe that comes every few seconds does not mind.
const MOMENT: Duration = Duration::from_millis(500);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
