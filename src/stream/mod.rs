//! The range-proxy engine: one viewer's bytes, kept alive whatever the drive does.
//!
//! ```text
//! Engine::part -> reader      one body: from blocks, from a feed, whole or visibly cut
//!                 blocks      heads, tails and small files, in memory and on disk
//!                 feed        what readers near the same place of a file share; driven by whoever needs more
//!                   lane      one connection's part, read to its end: resumes, watches for stalls and collapses
//!                     upstream   attempts to open a part: leases, statuses, what they mean
//!                     broker     who may hold one of the account's connections; allowance: how many there are
//! ```

mod allowance;
mod blocks;
mod broker;
mod feed;
mod lane;
mod metrics;
mod pace;
mod reader;
mod ring;
mod upstream;

use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use self::blocks::Settings as BlockSettings;
use self::blocks::{Blocks, ContentKey};
use self::broker::Broker;
use self::feed::{Feed, Hold, Plan};
pub use self::metrics::Counters;
use self::reader::{Content, Reader};
pub use self::upstream::Failure;
use self::upstream::{Effort, Opener};
use crate::budget::Errand;
use crate::driver::{DriverInfo, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::http::Body;
use crate::http::content::ContentClient;
use crate::http::range::ByteRange;
use crate::lease::Spare;
use crate::path::VirtualPath;
use crate::resolve::{FailedLease, Known, ResolveRequest, Resolver, SourceLease, Want};

/// Limits of one stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Most bytes held for one stream.
    pub window: u64,
    /// An upstream that gives nothing for this long is opened again.
    pub stall_timeout: Duration,
    /// Longest time a request waits for the drive before it is answered with an error.
    pub hold: Duration,
}

/// Opens streams. Clones share everything.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    blocks: Option<Blocks>,
    broker: Broker,
    client: ContentClient,
    counters: Arc<Counters>,
    /// Bytes that all feeds hold together.
    held: Arc<AtomicU64>,
    settings: Settings,
    tasks: TaskTracker,
}

/// For whom a stream is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Audience {
    /// Whether it may be a scanner that nobody watches. In the middle of a file it then waits for those who are watched.
    pub may_probe: bool,
    /// How long a body goes on trying after the drive has failed for `hold`. For clients that do not come back by themselves.
    pub patience: Duration,
}

/// Where the bytes of a stream come from, again and again if need be.
#[async_trait]
pub trait Origin: Send + Sync + 'static {
    /// A way to the bytes, and a ticket that stands for it; not the way whose ticket `failed`.
    ///
    /// # Errors
    /// A passing one where asking again may help.
    async fn obtain(&self, failed: Option<Failed>) -> Result<(Source, Ticket), Failure>;
}

/// A lease that did not do.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What stood for it.
    pub ticket: Ticket,
    /// Whether the drive said that its time is over.
    pub refused: bool,
}

/// Stands for a lease that was obtained, to be named when it failed.
pub type Ticket = Arc<dyn Any + Send + Sync>;

/// A file, through the resolver.
#[derive(Debug)]
pub struct FileOrigin {
    resolver: Resolver,
    path: VirtualPath,
    known: Known,
}

// === impl Engine ===

impl Engine {
    /// An engine that reads content with `client`, and runs what outlives a reader on `tasks`. Blocks on disk, if any are kept
    /// there, lie in `folder`.
    ///
    /// # Errors
    /// `Internal` where the folder of the block cache cannot be used.
    pub fn new(
        client: ContentClient,
        settings: Settings,
        blocks: &BlockSettings,
        folder: &Path,
        counters: Counters,
        tasks: &TaskTracker,
    ) -> Result<Self> {
        let blocks = Blocks::open(blocks, folder, tasks).map_err(|error| {
            Error::new(ErrorKind::Internal, "open the block cache")
                .with("folder", folder.display())
                .caused_by(error)
        })?;
        let counters = Arc::new(counters);
        Ok(Self(Arc::new(Inner {
            blocks,
            broker: Broker::new(Arc::clone(&counters)),
            client,
            counters,
            held: Arc::default(),
            settings,
            tasks: tasks.clone(),
        })))
    }

    /// Opens `range` of a file, and answers once its first byte is here. The range must lie in the file.
    ///
    /// # Errors
    /// What the drive failed with for `hold`. Dropping the future or the body frees the connection.
    pub async fn part(
        &self,
        origin: FileOrigin,
        info: &DriverInfo,
        range: ByteRange,
        audience: Audience,
    ) -> Result<Body> {
        if range.is_empty() {
            return Ok(Body::empty());
        }
        let entry = Arc::clone(&origin.known.entry);
        let account = self.0.broker.account(info);
        let film = entry.duration.filter(|duration| !duration.is_zero());
        let content = Content {
            key: account.as_ref().map(|account| ContentKey::of(account.realm(), &entry)),
            engine: self.clone(),
            opener: self.opener(Arc::new(origin), account),
            total: entry.len,
            bytes_per_second: film.map_or(FILM, |film| entry.len as f64 / film.as_secs_f64()).max(1.0),
        };
        let is_middle = range.start >= ENDS && range.start + ENDS < entry.len;
        begun(Reader::new(content, range, audience.patience, audience.may_probe && is_middle)).await
    }

    /// Opens `range` of a piece of a transcoded form that is `total` bytes long. The drive does not count these as connections.
    ///
    /// # Errors
    /// As [`Engine::part`]; `Upstream` where it has another length by now.
    pub async fn piece(
        &self,
        origin: impl Origin,
        total: u64,
        range: ByteRange,
        audience: Audience,
    ) -> Result<Body> {
        let opener = self.opener(Arc::new(origin), None);
        let content = Content { engine: self.clone(), opener, key: None, total, bytes_per_second: FILM };
        begun(Reader::new(content, range, audience.patience, false)).await
    }

    /// Opens a piece of a transcoded form, whose length only the drive knows, and answers with the body and that length.
    ///
    /// # Errors
    /// As [`Engine::part`].
    pub async fn whole(&self, origin: impl Origin, audience: Audience) -> Result<(Body, u64)> {
        let opener = self.opener(Arc::new(origin), None);
        let deadline = Instant::now() + self.0.settings.hold;
        let effort = Effort { deadline, timeouts: 0, failed: None, bid: None };
        let (upstream, total) = opener.whole(effort).await.map_err(|failure| failure.error)?;
        let content = Content { engine: self.clone(), opener, key: None, total, bytes_per_second: FILM };
        let feed = Feed::opened(self.plan(&content), upstream);
        Ok((Body::stream(Reader::fed(content, &feed, audience.patience)), total))
    }

    /// The client that reads content, for small texts such as playlists.
    pub fn client(&self) -> &ContentClient {
        &self.0.client
    }

    fn blocks(&self) -> Option<&Blocks> {
        self.0.blocks.as_ref()
    }

    /// A place on a feed near the beginning of `range`, and whether another reader began that feed.
    fn join(&self, content: &Content, range: ByteRange, background: bool) -> (Hold, bool) {
        let shared =
            content.opener.account.as_ref().zip(content.key).filter(|(account, _)| account.is_scarce());
        loop {
            if let Some((account, key)) = shared {
                let near = account.feeds(&key).into_iter().find_map(|feed| feed.take_seat(range, background));
                if let Some(hold) = near {
                    return (hold, true);
                }
            }
            let at = match (self.blocks(), content.key) {
                (Some(blocks), Some(_)) => blocks.begin_at(range.start, content.total),
                _ => range.start,
            };
            let feed = Feed::new(self.plan(content), at);
            // Nobody else knows it yet, so there is a place.
            let Some(hold) = feed.take_seat(range, background) else { continue };
            if let Some((account, key)) = shared {
                account.register(key, &feed);
                self.0.tasks.spawn(feed.mind());
            }
            return (hold, false);
        }
    }

    fn plan(&self, content: &Content) -> Plan {
        let blocks = self.blocks().zip(content.key);
        Plan {
            opener: Arc::clone(&content.opener),
            key: content.key,
            total: content.total,
            window: self.0.settings.window,
            held_by_all: Arc::clone(&self.0.held),
            scribe: blocks.map(|(blocks, key)| blocks.scribe(key, content.total)),
        }
    }

    fn opener(&self, origin: Arc<dyn Origin>, account: Option<Arc<broker::Account>>) -> Arc<Opener> {
        Arc::new(Opener {
            client: self.0.client.clone(),
            counters: Arc::clone(&self.0.counters),
            account,
            origin,
            errand: Errand::current(),
            settings: self.0.settings.clone(),
        })
    }
}

/// The body of a reader, once its first byte is here.
async fn begun(mut reader: Reader) -> Result<Body> {
    reader.begin().await?;
    Ok(Body::stream(reader))
}

// === impl FileOrigin ===

impl FileOrigin {
    /// The file at `path`, and what it is now.
    pub fn new(resolver: Resolver, path: VirtualPath, known: Known) -> Self {
        Self { resolver, path, known }
    }
}

#[async_trait]
impl Origin for FileOrigin {
    async fn obtain(&self, failed: Option<Failed>) -> Result<(Source, Ticket), Failure> {
        let failed = failed.and_then(|failed| {
            let lease = failed.ticket.downcast::<SourceLease>().ok()?;
            Some(FailedLease { lease, refused: failed.refused })
        });
        let request = ResolveRequest {
            path: self.path.clone(),
            // Once something has failed, the path must be looked at again: the file may have changed.
            known: failed.is_none().then(|| self.known.clone()),
            want: Want::Source { spare: Spare::OwnUse, failed },
        };
        let found = self.resolver.resolve(request).await?;
        let entry = &self.known.entry;
        if found.entry.id != entry.id || found.entry.len != entry.len || found.entry.hash != entry.hash {
            return Err(Failure::lasting(
                Error::new(ErrorKind::Upstream, "go on reading").saying("the file has changed meanwhile"),
            ));
        }
        let lease = found.into_source()?;
        Ok((lease.source.clone(), lease))
    }
}

/// What players read of a file before they play it lies this near to its beginning or its end, in bytes.
const ENDS: u64 = 16 << 20;
/// What a film is taken to need where its length in time is not known, in bytes a second: 20 Mbit/s.
const FILM: f64 = 2.5e6;
