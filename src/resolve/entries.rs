//! Path to entry: what a drive said of a path, believed for a while, present or absent.
//!
//! A listing answers for every child of its folder. Where no listing is at hand, a driver that can finds the
//! path in one call; for the others the path is walked from listing to listing. What was said is kept on disk too; it is
//! looked at where memory has nothing, so that a start loads nothing, and a small memory is enough for a large library.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;

use super::counters::Counters;
use super::listing::Listing;
use super::page::{Page, Stamp};
use super::search;
use super::store::{Key, Store, Written};
use super::{OUTAGE, Settings};
use crate::clock::Clock;
use crate::driver::{Driver, Entry, Marker};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Lease, LeaseCache, Life, Spare};
use crate::mount::{Mount, MountId};
use crate::path::VirtualPath;

/// The caches of entries and listings. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Entries(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    counters: Counters,
    found: LeaseCache<(MountId, VirtualPath), Found>,
    pages: LeaseCache<PageKey, Page>,
    listing_ttl: Duration,
    negative_ttl: Duration,
    store: Option<Store>,
    /// Counts what made older answers void, so that one that was being read from disk meanwhile is not put over a newer.
    changes: AtomicU64,
}

/// Which page.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum PageKey {
    /// The first of a folder.
    First(MountId, VirtualPath),
    /// A later one of a listing, by its number.
    After(u64, u32),
}

/// What a drive said of a path: the entry, or that there is none.
#[derive(Debug)]
struct Found {
    entry: Option<Arc<Entry>>,
    life: Life,
}

/// Where the entries of a mount are kept on disk.
#[derive(Clone, Debug)]
struct Shelf {
    store: Store,
    tree: Arc<str>,
}

/// What is accepted of what is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Age {
    /// What is believed still.
    Fresh,
    /// What will do while the drive is down.
    Any,
}

// === impl Entries ===

impl Entries {
    pub(super) fn new(
        settings: &Settings,
        store: Option<Store>,
        clock: Clock,
        tasks: &TaskTracker,
        counters: &Counters,
    ) -> Self {
        let (found, pages) = (counters.lookups("entry"), counters.lookups("listing"));
        Self(Arc::new(Inner {
            clock,
            counters: counters.clone(),
            found: LeaseCache::counted(FOUND.min(settings.entries), tasks.clone(), found),
            pages: LeaseCache::counted(PAGES, tasks.clone(), pages),
            listing_ttl: settings.listing_ttl,
            negative_ttl: settings.negative_ttl,
            store,
            changes: AtomicU64::new(0),
        }))
    }

    /// The entry at `path` of a mount.
    ///
    /// # Errors
    /// `NotFound` where the drive said that there is none; what asking failed with otherwise.
    pub(super) async fn find(&self, mount: &Arc<Mount>, path: &VirtualPath) -> Result<Arc<Entry>> {
        let (key, now) = ((mount.id, path.clone()), self.0.clock.now());
        let found = match self.0.found.get(&key, Spare::Alive, now) {
            // The usual case, for which no fetch need be made ready.
            Some(found) => found,
            None => {
                let Some(parent) = path.parent() else { return Ok(Arc::new(mount.driver.root())) };
                let (this, owner, wanted) = (self.clone(), Arc::clone(mount), path.clone());
                let fetch = async move { this.look_up(&owner, parent, &wanted).await };
                // Boxed, as all that is rare here: what a future may ever hold is moved about for every request.
                Box::pin(self.0.found.get_or_fetch(key, Spare::Alive, now, fetch)).await?
            }
        };
        found.entry.clone().ok_or_else(|| Error::new(ErrorKind::NotFound, "find an entry"))
    }

    /// The children of the folder at `path` of a mount; where they must be `fresh`, the drive is asked in any case.
    ///
    /// # Errors
    /// `NotFound` as [`Entries::find`]; `NotAFile` where it is a file.
    pub(super) async fn children(
        &self,
        mount: &Arc<Mount>,
        path: &VirtualPath,
        fresh: bool,
    ) -> Result<Listing> {
        let asked = self.0.clock.now();
        let first = self.first_page(mount, path, fresh).await?;
        let is_stale = first.life.until < asked || (fresh && first.life.from < asked);
        if is_stale {
            self.0.counters.stale();
        }
        Ok(Listing::of(self, mount, path.clone(), first, is_stale))
    }

    /// Boxed, since a walk comes back here for the parent.
    fn first_page(
        &self,
        mount: &Arc<Mount>,
        path: &VirtualPath,
        fresh: bool,
    ) -> BoxFuture<'static, Result<Arc<Page>>> {
        let (this, mount, path) = (self.clone(), Arc::clone(mount), path.clone());
        Box::pin(async move {
            let key = PageKey::First(mount.id, path.clone());
            let (inner, now) = (Arc::clone(&this.0), this.0.clock.now());
            let fetch = async move { this.fetch_first(&mount, &path, fresh).await };
            if fresh {
                inner.pages.fetch(key, now, fetch).await
            } else {
                inner.pages.get_or_fetch(key, Spare::Alive, now, fetch).await
            }
        })
    }

    /// The page behind `previous`, which is the one before `number`; none where that was the last.
    ///
    /// # Errors
    /// What the drive fails with; asking again goes on here.
    pub(super) async fn page_after(
        &self,
        mount: &Arc<Mount>,
        path: &VirtualPath,
        previous: &Arc<Page>,
        number: u32,
    ) -> Result<Option<Arc<Page>>> {
        let Some(from) = previous.next.clone() else { return Ok(None) };
        if number > MOST_PAGES {
            return Err(
                Error::new(ErrorKind::Upstream, "list a folder").saying("the drive's listing has no end")
            );
        }
        let key = PageKey::After(previous.listing, number);
        let (this, owner, folder, before) =
            (self.clone(), Arc::clone(mount), path.clone(), Arc::clone(previous));
        let fetch = async move { this.fetch_after(&owner, &folder, &before, &from, number).await };
        // Any life will do: it ends with that of the first page, and a reader goes through all of one listing.
        let page = self.0.pages.get_or_fetch(key, Spare::Alive, self.0.clock.now(), fetch).await;
        if page.as_ref().is_err_and(|error| !error.tells_nothing()) {
            // The marker leads nowhere any more, so the listing is begun anew.
            let first = PageKey::First(mount.id, path.clone());
            if let Some(known) = self.0.pages.get(&first, Spare::Alive, self.0.clock.now())
                && known.listing == previous.listing
            {
                self.0.pages.discard(&first, &known);
            }
            if let Some(shelf) = self.shelf(mount).await {
                shelf.remove(path, 0);
            }
        }
        page.map(Some)
    }

    /// Throws away what is known of `path` and of the folder that lists it.
    pub(super) async fn forget(&self, mount: &Arc<Mount>, path: &VirtualPath) {
        let shelf = self.shelf(mount).await;
        self.0.changes.fetch_add(1, Ordering::Relaxed);
        self.0.found.remove(&(mount.id, path.clone()));
        if let Some(shelf) = &shelf {
            shelf.remove(path, ENTRY);
        }
        if let Some(parent) = path.parent() {
            if let Some(shelf) = &shelf {
                shelf.remove(&parent, 0);
            }
            self.0.pages.remove(&PageKey::First(mount.id, parent));
        }
    }

    async fn look_up(&self, mount: &Arc<Mount>, parent: VirtualPath, path: &VirtualPath) -> Result<Found> {
        let shelf = self.shelf(mount).await;
        if let Some(found) = self.at_hand(mount, shelf.as_ref(), &parent, path, Age::Fresh).await {
            return Ok(found);
        }
        let looked_up = if mount.driver.info().by_path {
            let life = self.life(&mount.driver, self.0.listing_ttl);
            mount.driver.stat(path).await.map(|entry| {
                let entry = Arc::new(entry);
                if let Some(shelf) = &shelf {
                    let alone = Page::new(Arc::clone(&entry), std::iter::empty(), None, 0, life);
                    shelf.put(path, ENTRY, &alone, self.now());
                }
                Found { entry: Some(entry), life }
            })
        } else {
            self.walk_to(mount, &parent, path).await
        };
        if let (Err(error), Some(shelf)) = (&looked_up, &shelf)
            && !error.tells_nothing()
        {
            // What the drive denied is not believed again.
            shelf.remove(path, ENTRY);
        }
        match looked_up {
            // Also where the parent is a file: the drive has answered, and there is no such name.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotAFile) => {
                Ok(Found { entry: None, life: self.life(&mount.driver, self.0.negative_ttl) })
            }
            Err(error) if error.tells_nothing() => {
                match self.at_hand(mount, shelf.as_ref(), &parent, path, Age::Any).await {
                    // That there is nothing is never guessed.
                    Some(found) if found.entry.is_some() => {
                        tracing::warn!(%error, "what was kept before is believed for the time being");
                        self.0.counters.stale();
                        Ok(found)
                    }
                    _ => Err(error),
                }
            }
            found => found,
        }
    }

    /// What the listing of the folder says, as far as it is at hand; else what was said of the path by itself.
    async fn at_hand(
        &self,
        mount: &Mount,
        shelf: Option<&Shelf>,
        parent: &VirtualPath,
        path: &VirtualPath,
        age: Age,
    ) -> Option<Found> {
        let name = path.name().unwrap_or_default();
        let mut page = self.page_at_hand(mount, shelf, parent, None, 0, age).await;
        for number in 1.. {
            let Some(known) = page else { break };
            if let Some(entry) = known.find(name) {
                return Some(Found { entry: Some(Arc::new(entry)), life: known.life });
            }
            if known.next.is_none() {
                return Some(Found { entry: None, life: known.life });
            }
            page = self.page_at_hand(mount, shelf, parent, Some(&known), number, age).await;
        }
        let alone = shelf?.get(path, ENTRY, |stamp| self.life_of(&mount.driver, stamp, age)).await?;
        Some(Found { life: alone.life, entry: Some(alone.folder) })
    }

    async fn page_at_hand(
        &self,
        mount: &Mount,
        shelf: Option<&Shelf>,
        path: &VirtualPath,
        previous: Option<&Page>,
        number: u32,
        age: Age,
    ) -> Option<Arc<Page>> {
        let key = match previous {
            None => PageKey::First(mount.id, path.clone()),
            Some(previous) => PageKey::After(previous.listing, number),
        };
        if let Some(page) = self.0.pages.get(&key, Spare::Alive, self.0.clock.now()) {
            return Some(page);
        }
        let changes = self.0.changes.load(Ordering::Relaxed);
        let page = match previous {
            None => shelf?.get(path, 0, |stamp| self.life_of(&mount.driver, stamp, age)).await?,
            Some(previous) => {
                let page = shelf?.get(path, number, |_| Some(previous.life)).await?;
                Some(page).filter(|page| page.listing == previous.listing)?
            }
        };
        let page = Arc::new(page);
        if age == Age::Fresh && self.0.changes.load(Ordering::Relaxed) == changes {
            self.0.pages.put(key, Arc::clone(&page));
        }
        Some(page)
    }

    /// Goes through the listing of the folder, as far as need be.
    async fn walk_to(&self, mount: &Arc<Mount>, parent: &VirtualPath, path: &VirtualPath) -> Result<Found> {
        let name = path.name().unwrap_or_default();
        let mut page = self.first_page(mount, parent, false).await?;
        for number in 1.. {
            if let Some(entry) = page.find(name) {
                return Ok(Found { entry: Some(Arc::new(entry)), life: page.life });
            }
            match self.page_after(mount, parent, &page, number).await? {
                Some(next) => page = next,
                None => break,
            }
        }
        Ok(Found { entry: None, life: page.life })
    }

    async fn fetch_first(&self, mount: &Arc<Mount>, path: &VirtualPath, fresh: bool) -> Result<Page> {
        let shelf = self.shelf(mount).await;
        let kept =
            async |age| shelf.as_ref()?.get(path, 0, |stamp| self.life_of(&mount.driver, stamp, age)).await;
        if !fresh && let Some(page) = kept(Age::Fresh).await {
            return Ok(page);
        }
        let ask = async || {
            let folder = self.find(mount, path).await?;
            if !folder.is_folder() {
                return Err(
                    Error::new(ErrorKind::NotAFile, "list a folder").saying("this is a file, not a folder")
                );
            }
            let listing = getrandom::u64().map_err(|error| {
                Error::new(ErrorKind::Internal, "draw random bytes").with("reason", error)
            })?;
            let life = self.life(&mount.driver, self.0.listing_ttl);
            self.ask(mount, path, folder, None, listing, life).await
        };
        let mut asked = ask().await;
        if asked.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) && !path.is_root() {
            // The id may be that of a folder which has been made anew since.
            self.forget(mount, path).await;
            asked = ask().await;
        }
        match (&asked, &shelf) {
            (Ok(page), Some(shelf)) => shelf.put(path, 0, page, self.now()),
            (Err(error), Some(_)) if error.tells_nothing() => {
                if let Some(page) = kept(Age::Any).await {
                    tracing::warn!(%error, "what was kept before is believed for the time being");
                    return Ok(page);
                }
            }
            (Err(_), Some(shelf)) => shelf.remove(path, 0),
            (_, None) => {}
        }
        asked
    }

    async fn fetch_after(
        &self,
        mount: &Arc<Mount>,
        path: &VirtualPath,
        previous: &Page,
        from: &Marker,
        number: u32,
    ) -> Result<Page> {
        let shelf = self.shelf(mount).await;
        if let Some(shelf) = &shelf {
            let kept = shelf.get(path, number, |_| Some(previous.life)).await;
            if let Some(page) = kept.filter(|page| page.listing == previous.listing) {
                return Ok(page);
            }
        }
        let folder = Arc::clone(&previous.folder);
        let page = self.ask(mount, path, folder, Some(from), previous.listing, previous.life).await?;
        if let Some(shelf) = &shelf {
            shelf.put(path, number, &page, self.now());
        }
        Ok(page)
    }

    async fn ask(
        &self,
        mount: &Arc<Mount>,
        path: &VirtualPath,
        folder: Arc<Entry>,
        from: Option<&Marker>,
        listing: u64,
        life: Life,
    ) -> Result<Page> {
        let page = mount.driver.page(&folder, from).await?;
        self.0.changes.fetch_add(1, Ordering::Relaxed);
        let entries = page.entries.into_iter().filter(|entry| {
            // A name that cannot stand in a path has no address.
            let Ok(child) = path.join(&entry.name) else { return false };
            // What was said of it before is older.
            self.0.found.remove(&(mount.id, child));
            true
        });
        Ok(Page::new(folder, entries, page.next, listing, life))
    }

    /// Where the entries of a mount are kept, if they are.
    async fn shelf(&self, mount: &Mount) -> Option<Shelf> {
        let store = self.0.store.clone()?;
        // Where the drive must be asked for that and is down, nothing was kept either.
        let tree = mount.driver.tree().await.ok()??;
        Some(Shelf { store, tree })
    }

    fn life(&self, driver: &Arc<dyn Driver>, ttl: Duration) -> Life {
        let longest = driver.info().believed.unwrap_or(ttl);
        Life::starting(self.0.clock.now(), ttl.min(longest))
    }

    /// How long what was said then is believed still.
    fn life_of(&self, driver: &Arc<dyn Driver>, stamp: Stamp, age: Age) -> Option<Life> {
        // What comes from the future says only that a clock is wrong.
        let old = Duration::from_secs(self.now().checked_sub(stamp.at)?);
        let whole = self.life(driver, self.0.listing_ttl);
        match (whole.total().checked_sub(old), age) {
            (Some(left), _) if !left.is_zero() => Some(Life::starting(whole.from, left)),
            (_, Age::Any) if old < whole.total() + OUTAGE => {
                // Over for as long as it is, as far as the clock goes back, which begins with the machine.
                let over = whole.from.checked_sub(old.saturating_sub(whole.total())).unwrap_or(whole.from);
                Some(Life::starting(over, Duration::ZERO))
            }
            _ => None,
        }
    }

    /// In seconds since the Unix epoch.
    fn now(&self) -> u64 {
        self.0.clock.wall().as_secs()
    }
}

// === impl Shelf ===

impl Shelf {
    async fn get(
        &self,
        path: &VirtualPath,
        number: u32,
        life: impl Fn(Stamp) -> Option<Life>,
    ) -> Option<Page> {
        let bytes = self.store.get(self.key(path, number)).await?;
        Page::from_bytes(&bytes, life)
    }

    fn put(&self, path: &VirtualPath, number: u32, page: &Page, at: u64) {
        let (page, names) = (page.to_bytes(at), search::names_of(page));
        self.store.put(self.key(path, number), Written { page, names });
    }

    fn remove(&self, path: &VirtualPath, number: u32) {
        self.store.remove(self.key(path, number));
    }

    fn key(&self, path: &VirtualPath, number: u32) -> Key {
        Key { tree: Arc::clone(&self.tree), path: Arc::from(path.as_str()), number }
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

/// A listing of a million entries; a longer one goes in circles.
const MOST_PAGES: u32 = 5000;
/// In place of the number of a page: what was said of a path by itself.
const ENTRY: u32 = u32::MAX;
/// Entries in memory; chosen: those that are played or looked at, some 10 MiB.
const FOUND: u64 = 16_384;
/// Listings in memory, in bytes; chosen against the 128 MiB of a NAS. The disk has the rest.
const PAGES: u64 = 16 << 20;
