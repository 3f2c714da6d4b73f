//! The outbound clients: one for the drives' APIs, one for their content.
//!
//! Neither follows a redirect by itself nor decodes a body. Certificates are always checked.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// The `User-Agent` of everything we send. The drive fails calls without one.
pub const USER_AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

/// A client for API calls, which are small and answered within seconds.
///
/// # Errors
/// `Internal` when the TLS backend cannot be set up, for example without any certificate authority.
pub fn for_api() -> Result<reqwest::Client> {
    build(base().timeout(API_TIMEOUT))
}

/// A client for content. No limit on the whole, since a film lasts two hours; the stream engine watches for
/// stalls itself.
///
/// # Errors
/// `Internal` when the TLS backend cannot be set up, for example without any certificate authority.
pub fn for_content() -> Result<reqwest::Client> {
    // One connection a request: HTTP/2 would put several viewers behind one congestion window, and the drive
    // counts bodies, not connections. Idle ones end before the drive's own 60 s limit.
    build(base().http1_only().pool_idle_timeout(Duration::from_secs(50)))
}

#[expect(clippy::disallowed_methods, reason = "the one place where clients are made")]
fn base() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        // Where we connect is for the configuration to say, not for a variable that somebody set for something else.
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder.build().map_err(|error| {
        Error::new(ErrorKind::Internal, "set up an HTTP client").caused_by(error.without_url())
    })
}

/// Longest time for one API call. Chosen: a call that takes longer would be answered too late for a player, who gives up at 8 to 10 s.
pub const API_TIMEOUT: Duration = Duration::from_secs(6);
/// Chosen: a round trip round the world with two lost packets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// `Upstream` when it is longer or breaks off, `Timeout` when it does not come in time. Cancel safe in that
/// dropping the future closes the connection.
pub async fn read_limited(
    mut response: reqwest::Response,
    limit: usize,
    operation: &'static str,
) -> Result<Vec<u8>> {
    let too_long = || {
        Error::new(ErrorKind::Upstream, operation)
            .with("limit_bytes", limit)
            .saying("the drive's answer is longer than makes sense")
    };
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(too_long());
    }
    let mut whole = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    while let Some(piece) = response.chunk().await.map_err(|error| from_reqwest(error, operation))? {
        if whole.len() + piece.len() > limit {
            return Err(too_long());
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// A transport failure as our error. The address is taken out first, since it may be a credential.
pub fn from_reqwest(error: reqwest::Error, operation: &'static str) -> Error {
    let kind = if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Upstream };
    let words =
        if error.is_connect() { "the drive cannot be reached" } else { "the drive broke off its answer" };
    Error::new(kind, operation).saying(words).caused_by(error.without_url())
}
