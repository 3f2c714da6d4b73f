//! From a path to what is asked of it: the entry, its children, a way to its bytes, or its preview.
//!
//! A tower service over the drivers, with a cache for each kind of answer. An answer is fetched once however
//! many ask, and its fetch outlives the caller that started it: see [`crate::lease`].

mod entries;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;
use tower::Service;
use tower::util::BoxCloneSyncService;

use self::entries::Entries;
pub use self::entries::Listing;
use crate::clock::Clock;
use crate::driver::{Entry, EntryId, Preview, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Lease, LeaseCache, Life, Spare};
use crate::mount::{Mount, MountId, MountTable};
use crate::path::VirtualPath;

/// How much is kept, and for how long.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Listing entries kept.
    pub entries: u64,
    /// Links kept; as many previews.
    pub links: u64,
    /// How long a listing is believed.
    pub listing_ttl: Duration,
    /// How long an absence is believed.
    pub negative_ttl: Duration,
}

/// The resolver behind its seam.
pub type BoxResolve = BoxCloneSyncService<ResolveRequest, Resolved, Error>;

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
    Children,
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
        failed: Option<Arc<SourceLease>>,
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
    Children(Arc<Listing>),
    /// Only the entry was wanted.
    None,
    /// Its transcoded forms.
    Preview(Arc<Preview>),
    /// A way to its bytes.
    Source(Arc<SourceLease>),
}

/// A way to the bytes of a file, for as long as it is good.
#[derive(Clone, Debug)]
pub struct SourceLease {
    /// The way.
    pub source: Source,
    life: Life,
}

/// The service. Clones share the caches.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    entries: Entries,
    mounts: Arc<MountTable>,
    previews: LeaseCache<FileKey, Preview>,
    sources: LeaseCache<FileKey, SourceLease>,
}

type FileKey = (MountId, EntryId);

// === impl Resolver ===

impl Resolver {
    /// A resolver over these mounts, whose fetches run on `tasks`.
    pub fn new(mounts: Arc<MountTable>, settings: &Settings, clock: Clock, tasks: &TaskTracker) -> Self {
        Self(Arc::new(Inner {
            entries: Entries::new(settings, clock.clone(), tasks),
            mounts,
            previews: LeaseCache::new(settings.links, tasks.clone()),
            sources: LeaseCache::new(settings.links, tasks.clone()),
            clock,
        }))
    }
}

// === impl Inner ===

impl Inner {
    async fn resolve(self: Arc<Self>, mut request: ResolveRequest) -> Result<Resolved> {
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
        if let Want::Children = request.want {
            let listing = match self.entries.children(&mount, &rest).await {
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
        let key = (mount.id, entry.id.clone());
        let now = self.clock.now();
        let fetched = || (Arc::clone(mount), Arc::clone(entry));
        Ok(match &request.want {
            Want::Children | Want::Entry => Grant::None,
            _ if entry.is_folder() => {
                return Err(Error::new(ErrorKind::NotAFile, "open a file").with("path", &request.path));
            }
            Want::Preview { failed } => {
                if let Some(failed) = failed {
                    Box::pin(self.previews.discard(&key, failed)).await;
                }
                let (mount, entry) = fetched();
                let fetch = async move { mount.driver.preview(&entry).await };
                Grant::Preview(Box::pin(self.previews.get_or_fetch(key, Spare::OwnUse, now, fetch)).await?)
            }
            Want::Source { spare, failed } => {
                match failed {
                    Some(failed) => Box::pin(self.sources.discard(&key, failed)).await,
                    // The usual case, for which no fetch need be made ready.
                    None => {
                        if let Some(source) = self.sources.get(&key, *spare, now).await {
                            return Ok(Grant::Source(source));
                        }
                    }
                }
                let (mount, entry) = fetched();
                let fetch = async move {
                    let source = mount.driver.source(&entry).await?;
                    let life = match &source {
                        Source::Link(link) => link.life,
                        Source::Open(_) => Life::unlimited(now),
                    };
                    Ok(SourceLease { source, life })
                };
                Grant::Source(Box::pin(self.sources.get_or_fetch(key, *spare, now, fetch)).await?)
            }
        })
    }

    /// The folders that lead to the mounts exist in no drive.
    fn above_the_mounts(&self, request: &ResolveRequest) -> Result<Resolved> {
        let listing =
            Arc::new(Listing::virtual_folder(&request.path, self.mounts.names_below(&request.path)));
        if listing.children.is_empty() && !request.path.is_root() {
            return Err(Error::new(ErrorKind::NotFound, "find a mount").with("path", &request.path));
        }
        let grant = match request.want {
            Want::Children => Grant::Children(Arc::clone(&listing)),
            Want::Entry => Grant::None,
            Want::Preview { .. } | Want::Source { .. } => {
                return Err(Error::new(ErrorKind::NotAFile, "open a file").with("path", &request.path));
            }
        };
        Ok(Resolved { mount: None, entry: Arc::clone(&listing.folder), grant })
    }

    /// Mounts hanging in a folder of a drive are listed with it, and hide a child of the same name.
    fn with_mounts_below(&self, path: &VirtualPath, listing: Arc<Listing>) -> Arc<Listing> {
        let names = self.mounts.names_below(path);
        if names.is_empty() { listing } else { Arc::new(listing.covered_by(&names)) }
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
        Box::pin(Arc::clone(&self.0).resolve(request))
    }
}

// === impl SourceLease ===

impl Lease for SourceLease {
    fn life(&self) -> Life {
        self.life
    }
}

impl Resolved {
    /// The children, where those were wanted.
    ///
    /// # Errors
    /// `Internal` where something else was.
    pub fn into_children(self) -> Result<Arc<Listing>> {
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
