//! The client for the drives' APIs. It follows no redirect by itself and decodes no body; certificates are always checked.
//! Content has its own: [`super::content`].

use std::time::Duration;

use http_body_util::BodyExt;

use super::body::read_limited;
use crate::error::{Error, ErrorKind, Result};

/// The `User-Agent` of everything we send. The drive fails calls without one.
pub const USER_AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

/// A client for API calls, which are small and answered within seconds.
///
/// # Errors
/// `Internal` when the TLS backend cannot be set up, for example without any certificate authority.
#[expect(clippy::disallowed_methods, reason = "the one place where clients are made")]
pub fn for_api() -> Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .timeout(API_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(super::resolver::for_operators_hosts())
        // Where we connect is for the configuration to say, not for a variable that somebody set for something else.
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .build();
    client.map_err(|error| {
        Error::new(ErrorKind::Internal, "set up an HTTP client").caused_by(error.without_url())
    })
}

/// Longest time for one API call. Chosen: a call that takes longer would be answered too late for a player, who gives up at 8 to 10 s.
pub const API_TIMEOUT: Duration = Duration::from_secs(6);
/// Chosen: a round trip round the world with two lost packets.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// As [`read_limited`].
pub async fn read_response(
    response: reqwest::Response,
    limit: usize,
    operation: &'static str,
) -> Result<Vec<u8>> {
    let body = http::Response::<reqwest::Body>::from(response).into_body();
    read_limited(body.map_err(|error| from_reqwest(error, operation)), limit, operation).await
}

/// A transport failure as our error. The address is taken out first, since it may be a credential.
pub fn from_reqwest(error: reqwest::Error, operation: &'static str) -> Error {
    let kind = if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Upstream };
    let words =
        if error.is_connect() { "the drive cannot be reached" } else { "the drive broke off its answer" };
    Error::new(kind, operation).saying(words).caused_by(error.without_url())
}
