//! The body of a request, for the few routes that read one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::body::read_limited;
use crate::error::{Error, ErrorKind, Result};

/// A request's body, to be read once; among the request's extensions where there is one. What is not read is not waited for.
#[derive(Clone)]
pub struct Upload(Arc<Mutex<Option<Incoming>>>);

// === impl Upload ===

impl Upload {
    /// Wraps a body.
    pub fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    /// The whole body; empty where it was read before.
    ///
    /// # Errors
    /// `Invalid` where it is longer than 64 KiB, or not there within ten seconds.
    pub async fn read(&self) -> Result<Vec<u8>> {
        const OPERATION: &str = "read the body of a request";
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(body) = body else { return Ok(Vec::new()) };
        let refuse = |words| Error::new(ErrorKind::Invalid, OPERATION).saying(words);
        let body = body.map_err(|error| Error::new(ErrorKind::Invalid, OPERATION).caused_by(error));
        match tokio::time::timeout(PATIENCE, read_limited(body, LONGEST, OPERATION)).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(_)) => Err(refuse("the body is broken off, or longer than 64 KiB")),
            Err(_) => Err(refuse("the body did not come in time")),
        }
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Upload(…)")
    }
}

/// Bytes; chosen: a login has some hundred, and a request that names many paths some thousand.
const LONGEST: usize = 64 * 1024;
/// Chosen: a slow line takes two seconds for the longest.
const PATIENCE: Duration = Duration::from_secs(10);
