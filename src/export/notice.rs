//! Tells Jellyfin or Emby which folders have changed, so that they need not look through all of them.

use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::error::{Error, ErrorKind, Result};
use crate::http::client::{self, from_reqwest};
use crate::secret::Secret;

/// A media server that reads what is exported.
#[derive(Clone, Debug)]
pub struct MediaServer {
    /// Its address, without a trailing slash.
    pub url: String,
    /// One of its API keys.
    pub key: Secret,
}

// === impl MediaServer ===

impl MediaServer {
    /// Says which folders have changed, as paths of this machine; at most a thousand at once, and each again where that failed.
    ///
    /// # Errors
    /// What the last attempt failed with.
    pub(super) async fn tell(&self, folders: Vec<PathBuf>) -> Result<()> {
        let client = client::for_api()?;
        for batch in folders.chunks(BATCH) {
            let mut pause = FIRST_PAUSE;
            for attempt in 1.. {
                match self.tell_once(&client, batch).await {
                    Ok(()) => break,
                    Err(error) if attempt >= ATTEMPTS || error.kind() == ErrorKind::Denied => {
                        return Err(error);
                    }
                    Err(error) => tracing::debug!(%error, "telling the media server again"),
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        Ok(())
    }

    async fn tell_once(&self, client: &reqwest::Client, folders: &[PathBuf]) -> Result<()> {
        const OPERATION: &str = "tell the media server";
        let updates: Vec<_> = folders
            .iter()
            .map(|folder| json!({ "Path": folder.to_string_lossy(), "UpdateType": "Modified" }))
            .collect();
        let request = client
            .post(format!("{}/Library/Media/Updated", self.url))
            // Both take it; Jellyfin calls it by its old name.
            .header("X-Emby-Token", self.key.expose())
            .json(&json!({ "Updates": updates }));
        let response = request.send().await.map_err(|error| from_reqwest(error, OPERATION))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Error::new(ErrorKind::Denied, OPERATION).saying("the media server does not take the key"))
            }
            status => Err(Error::new(ErrorKind::Upstream, OPERATION)
                .saying("the media server did not take what it was told")
                .with("status", status.as_u16())),
        }
    }
}

/// Chosen: some hundred kilobytes of JSON.
const BATCH: usize = 1000;
/// Chosen: a media server that restarts is back within their pauses.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(2);
