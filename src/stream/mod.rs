//! The range-proxy engine: one viewer's bytes, kept alive whatever the drive does.
//!
//! [`Engine::part`] answers with a body that is either whole or visibly cut. `reader` keeps it going, `broker`
//! decides who may hold one of the account's few connections.

mod broker;
mod reader;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::broker::Broker;
use self::reader::Reader;
use self::upstream::Opener;
use crate::driver::{DriverInfo, Entry, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::http::Body;
use crate::http::range::ByteRange;
use crate::lease::Spare;
use crate::path::VirtualPath;
use crate::resolve::{BoxResolve, ResolveRequest, SourceLease, Want};

/// Limits of one stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Most bytes held for one stream.
    pub window: u64,
    /// An upstream that gives nothing for this long is opened again.
    pub stall_timeout: Duration,
    /// Longest time a request waits for the drive before it is answered with an error.
    pub hold: Duration,
    /// A client that takes nothing for this long is dropped.
    pub idle_timeout: Duration,
}

/// Opens streams. Clones share the broker.
#[derive(Clone, Debug)]
pub struct Engine {
    broker: Broker,
    client: reqwest::Client,
    settings: Settings,
}

/// Where the bytes of a stream come from, again and again if need be.
#[async_trait]
pub trait Origin: Send + Sync + 'static {
    /// What `obtain` gave, to be named when it failed.
    type Lease: Send + Sync + 'static;

    /// A way to the bytes; not the one that `failed`.
    async fn obtain(&self, failed: Option<Self::Lease>) -> Result<(Source, Self::Lease)>;
}

/// A file, through the resolver.
#[derive(Debug)]
pub struct FileOrigin {
    resolve: BoxResolve,
    path: VirtualPath,
    entry: Arc<Entry>,
}

// === impl Engine ===

impl Engine {
    /// An engine that reads content with `client`.
    pub fn new(client: reqwest::Client, settings: Settings) -> Self {
        Self { broker: Broker::default(), client, settings }
    }

    /// Opens `range` of something `total` bytes long, and answers once its first byte is on the way.
    ///
    /// # Errors
    /// What the drive failed with for `hold`. Dropping the future or the body frees the connection.
    pub async fn part<O: Origin>(
        &self,
        origin: O,
        info: &DriverInfo,
        range: ByteRange,
        total: u64,
    ) -> Result<Body> {
        if range.is_empty() {
            return Ok(Body::empty());
        }
        let opener = self.opener(origin, Some(info));
        let upstream = opener.part(range, total).await?;
        Ok(Body::stream(Reader::new(opener, upstream, range, total)))
    }

    /// Opens something whose length is known only to the drive, and answers with the body and that length. For pieces
    /// of transcoded forms, which the drive does not count as connections.
    ///
    /// # Errors
    /// As [`Engine::part`].
    pub async fn whole<O: Origin>(&self, origin: O) -> Result<(Body, u64)> {
        let opener = self.opener(origin, None);
        let (upstream, total) = opener.whole().await?;
        Ok((Body::stream(Reader::new(opener, upstream, ByteRange::whole(total), total)), total))
    }

    /// The client that reads content, for small texts such as playlists.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    fn opener<O: Origin>(&self, origin: O, counted: Option<&DriverInfo>) -> Opener<O> {
        Opener {
            broker: self.broker.clone(),
            client: self.client.clone(),
            counted: counted.cloned(),
            origin,
            settings: self.settings.clone(),
        }
    }
}

// === impl FileOrigin ===

impl FileOrigin {
    /// The file at `path`, which is `entry` now.
    pub fn new(resolve: BoxResolve, path: VirtualPath, entry: Arc<Entry>) -> Self {
        Self { resolve, path, entry }
    }
}

#[async_trait]
impl Origin for FileOrigin {
    type Lease = Arc<SourceLease>;

    async fn obtain(&self, failed: Option<Self::Lease>) -> Result<(Source, Self::Lease)> {
        let request =
            ResolveRequest { path: self.path.clone(), want: Want::Source { spare: Spare::OwnUse, failed } };
        let found = tower::ServiceExt::oneshot(self.resolve.clone(), request).await?;
        if found.entry.id != self.entry.id
            || found.entry.len != self.entry.len
            || found.entry.hash != self.entry.hash
        {
            return Err(
                Error::new(ErrorKind::Upstream, "go on reading").saying("the file has changed meanwhile")
            );
        }
        let lease = found.into_source()?;
        Ok((lease.source.clone(), lease))
    }
}
