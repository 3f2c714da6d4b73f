//! Path to entry: what a drive said of a path, believed for a while, present or absent.
//!
//! A listing answers for every child of its folder. Where no listing is at hand, a driver that can finds the
//! path in one call; for the others the path is walked from listing to listing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;

use super::Settings;
use crate::clock::Clock;
use crate::driver::{Driver, Entry, EntryId};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Lease, LeaseCache, Life, Spare};
use crate::mount::{Mount, MountId};
use crate::path::VirtualPath;

/// The children of a folder, in the order the drive lists them.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The folder itself.
    pub folder: Arc<Entry>,
    /// Its children. Where several bear one name, the first is the one that a path means.
    pub children: Vec<Arc<Entry>>,
    life: Life,
}

/// The caches of entries and listings. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    clock: Clock,
    found: LeaseCache<Key, Found>,
    listings: LeaseCache<Key, Listing>,
    listing_ttl: Duration,
    negative_ttl: Duration,
}

/// What a drive said of a path: the entry, or that there is none.
#[derive(Debug)]
struct Found {
    entry: Option<Arc<Entry>>,
    life: Life,
}

type Key = (MountId, VirtualPath);

// === impl Entries ===

impl Entries {
    pub(super) fn new(settings: &Settings, clock: Clock, tasks: &TaskTracker) -> Self {
        Self {
            clock,
            found: LeaseCache::new(settings.entries, tasks.clone()),
            listings: LeaseCache::new(settings.entries, tasks.clone()),
            listing_ttl: settings.listing_ttl,
            negative_ttl: settings.negative_ttl,
        }
    }

    /// The entry at `path` of a mount.
    ///
    /// # Errors
    /// `NotFound` where the drive said that there is none; what asking failed with otherwise.
    pub(super) async fn find(&self, mount: &Arc<Mount>, path: &VirtualPath) -> Result<Arc<Entry>> {
        let (key, now) = ((mount.id, path.clone()), self.clock.now());
        let found = match self.found.get(&key, Spare::Alive, now).await {
            // The usual case, for which no fetch need be made ready.
            Some(found) => found,
            None => {
                let Some(parent) = path.parent() else { return Ok(Arc::new(mount.driver.root())) };
                let (this, owner, wanted) = (self.clone(), Arc::clone(mount), path.clone());
                let fetch = async move { this.fetch(&owner, parent, &wanted).await };
                // Boxed, as all that is rare here: what a future may ever hold is moved about for every request.
                Box::pin(self.found.get_or_fetch(key, Spare::Alive, now, fetch)).await?
            }
        };
        found.entry.clone().ok_or_else(|| Error::new(ErrorKind::NotFound, "find an entry"))
    }

    /// The children of the folder at `path` of a mount. Boxed, since a walk comes back here for the parent.
    ///
    /// # Errors
    /// `NotFound` as [`Entries::find`]; `NotAFile` where it is a file.
    pub(super) fn children(
        &self,
        mount: &Arc<Mount>,
        path: &VirtualPath,
    ) -> BoxFuture<'static, Result<Arc<Listing>>> {
        let (this, mount, path) = (self.clone(), Arc::clone(mount), path.clone());
        Box::pin(async move {
            let (entries, owner, folder) = (this.clone(), Arc::clone(&mount), path.clone());
            let fetch = async move { entries.list(&owner, &folder).await };
            this.listings.get_or_fetch((mount.id, path), Spare::Alive, this.clock.now(), fetch).await
        })
    }

    /// Throws away what is known of `path` and of the folder that lists it.
    pub(super) async fn forget(&self, mount: &Arc<Mount>, path: &VirtualPath) {
        self.found.remove(&(mount.id, path.clone())).await;
        if let Some(parent) = path.parent() {
            self.listings.remove(&(mount.id, parent)).await;
        }
    }

    async fn fetch(&self, mount: &Arc<Mount>, parent: VirtualPath, path: &VirtualPath) -> Result<Found> {
        let name = path.name().unwrap_or_default();
        let now = self.clock.now();
        if let Some(listing) = self.listings.get(&(mount.id, parent.clone()), Spare::Alive, now).await {
            return Ok(listing.find(name));
        }
        let looked_up = if mount.driver.info().by_path {
            let life = self.life(&mount.driver, self.listing_ttl);
            mount.driver.stat(path).await.map(|entry| Found { entry: Some(Arc::new(entry)), life })
        } else {
            self.children(mount, &parent).await.map(|listing| listing.find(name))
        };
        match looked_up {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(Found { entry: None, life: self.life(&mount.driver, self.negative_ttl) })
            }
            // The parent is a file: the drive has answered, and there is no such name.
            Err(error) if error.kind() == ErrorKind::NotAFile => {
                Ok(Found { entry: None, life: self.life(&mount.driver, self.negative_ttl) })
            }
            found => found,
        }
    }

    async fn list(&self, mount: &Arc<Mount>, path: &VirtualPath) -> Result<Listing> {
        let folder = self.find(mount, path).await?;
        if !folder.is_folder() {
            return Err(
                Error::new(ErrorKind::NotAFile, "list a folder").saying("this is a file, not a folder")
            );
        }
        let life = self.life(&mount.driver, self.listing_ttl);
        let children: Vec<Arc<Entry>> = mount
            .driver
            .list(&folder)
            // A name that cannot stand in a path has no address.
            .try_filter(|entry| std::future::ready(VirtualPath::root().join(&entry.name).is_ok()))
            .map_ok(Arc::new)
            .try_collect()
            .await?;
        Ok(Listing { folder, children, life })
    }

    fn life(&self, driver: &Arc<dyn Driver>, ttl: Duration) -> Life {
        let longest = driver.info().believed.unwrap_or(ttl);
        Life::starting(self.clock.now(), ttl.min(longest))
    }
}

// === impl Listing ===

impl Listing {
    /// A folder that exists in no drive.
    pub(super) fn virtual_folder(path: &VirtualPath, names: BTreeSet<&str>) -> Self {
        let folder = |name| Arc::new(Entry::folder(EntryId::new(path.as_str()), name));
        Self {
            folder: folder(path.name().unwrap_or_default()),
            children: names.into_iter().map(folder).collect(),
            life: Life::unlimited(tokio::time::Instant::now()),
        }
    }

    /// This listing with mounts of these names hanging in it.
    pub(super) fn covered_by(&self, names: &BTreeSet<&str>) -> Self {
        let mounts = names.iter().map(|name| Arc::new(Entry::folder(EntryId::new(*name), name)));
        let rest = self.children.iter().filter(|child| !names.contains(&*child.name)).map(Arc::clone);
        Self { folder: Arc::clone(&self.folder), children: mounts.chain(rest).collect(), life: self.life }
    }

    fn find(&self, name: &str) -> Found {
        let entry = self.children.iter().find(|child| &*child.name == name).map(Arc::clone);
        Found { entry, life: self.life }
    }
}

impl Lease for Listing {
    fn life(&self) -> Life {
        self.life
    }

    fn outlives_itself(&self) -> Duration {
        OUTAGE
    }

    fn weight(&self) -> u32 {
        u32::try_from(self.children.len()).unwrap_or(u32::MAX).saturating_add(1)
    }
}

// === impl Found ===

impl Lease for Found {
    fn life(&self) -> Life {
        self.life
    }

    fn outlives_itself(&self) -> Duration {
        // That there is nothing is never guessed.
        if self.entry.is_some() { OUTAGE } else { Duration::ZERO }
    }
}

/// How long a drive may be down until what it said last is no longer believed. Chosen: films stay where they are.
const OUTAGE: Duration = Duration::from_secs(24 * 3600);
