//! From a path to what is asked of it: the entry, its children, a way to its bytes, or its preview.
//!
//! A tower service over the drivers, with a cache for each kind of answer. An answer is fetched once however
//! many ask, and its fetch outlives the caller that started it: see [`crate::lease`]. Whoever needs no seam calls
//! [`Resolver::resolve`] itself, which allocates nothing where the answer is at hand.

mod counters;
mod entries;
mod links;
mod listing;
mod page;
mod search;
mod store;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;
use tower::Service;

pub use self::counters::Counters;
use self::entries::Entries;
use self::links::Links;
pub use self::links::{FailedLease, SourceLease};
pub use self::listing::Listing;
pub use self::search::{Question, Search};
pub use self::store::Store;
use crate::clock::Clock;
use crate::driver::{Entry, EntryId, Preview};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{LeaseCache, Spare};
use crate::mount::{Mount, MountId, MountTable};
use crate::path::VirtualPath;

/// How much is kept, and for how long.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Listing entries kept on disk. In memory there are fewer: 16 MiB of listings.
    pub entries: u64,
    /// Links kept; as many previews.
    pub links: u64,
    /// How long a listing is believed.
    pub listing_ttl: Duration,
    /// How long an absence is believed.
    pub negative_ttl: Duration,
}

/// A question about a path.
#[derive(Clone, Debug)]
pub struct ResolveRequest {
    /// Which path.
    pub path: VirtualPath,
    /// What is wanted of it.
    pub want: Want,
    /// What an answer said of the path just now: it is taken at its word, and spares another look.
    pub known: Option<Known>,
}

/// What a path is found to be.
#[derive(Clone, Debug)]
pub struct Known {
    /// The mount that holds it.
    pub mount: Arc<Mount>,
    /// The entry.
    pub entry: Arc<Entry>,
}

/// What is wanted of a path.
#[derive(Clone, Debug)]
pub enum Want {
    /// Its children.
    Children {
        /// Whether the drive is to be asked in any case.
        fresh: bool,
    },
    /// Its entry.
    Entry,
    /// Its transcoded forms; not those that are known to have failed.
    Preview {
        /// The lease that failed, if one did.
        failed: Option<Arc<Preview>>,
    },
    /// A way to its bytes; not one that is known to have failed.
    Source {
        /// How much life it must have left.
        spare: Spare,
        /// The lease that failed, if one did.
        failed: Option<FailedLease>,
    },
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The mount that holds the path; none for a folder above the mounts.
    pub mount: Option<Arc<Mount>>,
    /// The entry.
    pub entry: Arc<Entry>,
    /// What was wanted beside it.
    pub grant: Grant,
}

/// What was wanted beside the entry.
#[derive(Clone, Debug)]
pub enum Grant {
    /// Its children.
    Children(Listing),
    /// Only the entry was wanted.
    None,
    /// Its transcoded forms.
    Preview(Arc<Preview>),
    /// A way to its bytes.
    Source(Arc<SourceLease>),
}

/// The service. Clones share the caches.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    entries: Entries,
    mounts: Arc<MountTable>,
    previews: LeaseCache<(MountId, EntryId), Preview>,
    links: Links,
}

// === impl Resolver ===

impl Resolver {
    /// A resolver over these mounts, whose fetches run on `tasks`. What drives say is kept in `store`, if there is one.
    pub fn new(
        mounts: Arc<MountTable>,
        settings: &Settings,
        store: Option<Store>,
        clock: Clock,
        tasks: &TaskTracker,
        counters: Counters,
    ) -> Self {
        let previews = counters.lookups("preview");
        Self(Arc::new(Inner {
            entries: Entries::new(settings, store, clock.clone(), tasks, &counters),
            mounts,
            previews: LeaseCache::counted(settings.links, tasks.clone(), previews),
            links: Links::new(settings, clock.clone(), tasks, counters),
            clock,
        }))
    }

    /// Answers a question about a path.
    ///
    /// # Errors
    /// `NotFound` where there is nothing; `NotAFile` where a folder was to be opened; what the drive failed with otherwise.
    /// Dropping the future ends no fetch.
    pub async fn resolve(&self, request: ResolveRequest) -> Result<Resolved> {
        self.0.resolve(request).await
    }
}

// === impl Inner ===

impl Inner {
    async fn resolve(&self, mut request: ResolveRequest) -> Result<Resolved> {
        if let Some(Known { mount, entry }) = request.known.take() {
            match self.grant(&mount, &entry, &request).await {
                // The id is gone, so what is known of the path is too: below, it is looked at again.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if let Some((mount, rest)) = self.mounts.find(&request.path) {
                        Box::pin(self.entries.forget(mount, &rest)).await;
                    }
                }
                grant => return Ok(Resolved { grant: grant?, mount: Some(mount), entry }),
            }
        }
        let Some((mount, rest)) = self.mounts.find(&request.path) else {
            return self.above_the_mounts(&request);
        };
        let mount = Arc::clone(mount);
        if let Want::Children { fresh } = request.want {
            let listing = match self.entries.children(&mount, &rest, fresh).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return self.above_the_mounts(&request).map_err(|_| error.with("path", &request.path));
                }
                listing => listing?,
            };
            let listing = self.with_mounts_below(&request.path, listing);
            return Ok(Resolved {
                entry: Arc::clone(&listing.folder),
                mount: Some(mount),
                grant: Grant::Children(listing),
            });
        }
        let entry = match self.entries.find(&mount, &rest).await {
            // A folder of the drive may lack what leads to a mount below it.
            Err(error) if error.kind() == ErrorKind::NotFound => match self.above_the_mounts(&request) {
                Ok(folder) => return Ok(folder),
                Err(_) => return Err(error.with("path", &request.path)),
            },
            entry => entry?,
        };
        match self.grant(&mount, &entry, &request).await {
            // The id is gone: the file was replaced, or is no more. What is known of the path is looked at again, once.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let again = async {
                    self.entries.forget(&mount, &rest).await;
                    let entry = self.entries.find(&mount, &rest).await?;
                    let grant = self.grant(&mount, &entry, &request).await?;
                    Ok((entry, grant))
                };
                let (entry, grant) = Box::pin(again).await?;
                Ok(Resolved { mount: Some(mount), entry, grant })
            }
            grant => Ok(Resolved { grant: grant?, mount: Some(mount), entry }),
        }
    }

    /// What is wanted beside the entry.
    async fn grant(&self, mount: &Arc<Mount>, entry: &Arc<Entry>, request: &ResolveRequest) -> Result<Grant> {
        Ok(match &request.want {
            Want::Children { .. } | Want::Entry => Grant::None,
            _ if entry.is_folder() => {
                return Err(Error::new(ErrorKind::NotAFile, "open a file").with("path", &request.path));
            }
            Want::Preview { failed } => {
                let (key, now) = ((mount.id, entry.id.clone()), self.clock.now());
                if let Some(failed) = failed {
                    self.previews.discard(&key, failed);
                }
                let (mount, entry) = (Arc::clone(mount), Arc::clone(entry));
                let fetch = async move { mount.driver.preview(&entry).await };
                Grant::Preview(Box::pin(self.previews.get_or_fetch(key, Spare::OwnUse, now, fetch)).await?)
            }
            Want::Source { spare, failed } => {
                Grant::Source(self.links.get(mount, entry, *spare, failed.as_ref()).await?)
            }
        })
    }

    /// The folders that lead to the mounts exist in no drive.
    fn above_the_mounts(&self, request: &ResolveRequest) -> Result<Resolved> {
        let names = self.mounts.names_below(&request.path);
        if names.is_empty() && !request.path.is_root() {
            return Err(Error::new(ErrorKind::NotFound, "find a mount").with("path", &request.path));
        }
        let listing = Listing::virtual_folder(&request.path, &names);
        let entry = Arc::clone(&listing.folder);
        let grant = match request.want {
            Want::Children { .. } => Grant::Children(listing),
            Want::Entry => Grant::None,
            Want::Preview { .. } | Want::Source { .. } => {
                return Err(Error::new(ErrorKind::NotAFile, "open a file").with("path", &request.path));
            }
        };
        Ok(Resolved { mount: None, entry, grant })
    }

    /// Mounts hanging in a folder of a drive are listed with it, and hide a child of the same name.
    fn with_mounts_below(&self, path: &VirtualPath, listing: Listing) -> Listing {
        listing.covered_by(&self.mounts.names_below(path))
    }
}

impl Service<ResolveRequest> for Resolver {
    type Response = Resolved;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Resolved>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ResolveRequest) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.resolve(request).await })
    }
}

impl Resolved {
    /// The children, where those were wanted.
    ///
    /// # Errors
    /// `Internal` where something else was.
    pub fn into_children(self) -> Result<Listing> {
        match self.grant {
            Grant::Children(listing) => Ok(listing),
            _ => Err(Error::new(ErrorKind::Internal, "list children that were not asked for")),
        }
    }

    /// The preview, where that was wanted.
    ///
    /// # Errors
    /// `Internal` where something else was.
    pub fn into_preview(self) -> Result<Arc<Preview>> {
        match self.grant {
            Grant::Preview(preview) => Ok(preview),
            _ => Err(Error::new(ErrorKind::Internal, "use a preview that was not asked for")),
        }
    }

    /// The way to the bytes, where that was wanted.
    ///
    /// # Errors
    /// `Internal` where something else was.
    pub fn into_source(self) -> Result<Arc<SourceLease>> {
        match self.grant {
            Grant::Source(source) => Ok(source),
            _ => Err(Error::new(ErrorKind::Internal, "use a source that was not asked for")),
        }
    }
}

/// How long a drive may be down until what it said last is no longer believed. Chosen: films stay where they are.
const OUTAGE: Duration = Duration::from_secs(24 * 3600);
