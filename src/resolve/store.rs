//! The pages of folders on disk, so that a restart need not ask again: a redb database in the state folder.
//!
//! It is a cache. What is written waits a moment to be written together; a kill loses that moment and damages nothing.
//! A database that cannot be opened is done without.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::counters::Counters;
use super::page::{Page, Stamp};
use super::search::Hunt;
use crate::driver::Entry;
use crate::lease::Life;
use crate::path::VirtualPath;

/// The database, and what is not in it yet. Clones share them.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    counters: Counters,
    database: Database,
    /// Most entries kept.
    most: u64,
    pending: Mutex<Pending>,
    tasks: TaskTracker,
    /// Set once the disk has failed: redb then answers nothing more until it is opened again.
    is_broken: AtomicBool,
}

/// What is to be written; nothing where something is to be removed.
#[derive(Debug, Default)]
struct Pending {
    waiting: HashMap<Key, Change>,
    /// Those that are being written now; others may come meanwhile.
    writing: Arc<HashMap<Key, Change>>,
    is_written: bool,
}

type Change = Option<Written>;

/// A page as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) page: Vec<u8>,
    /// The names in it as they are searched.
    pub(super) names: Vec<u8>,
}

/// A page: whose tree, which folder, and its number there.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    pub(super) tree: Arc<str>,
    pub(super) path: Arc<str>,
    pub(super) number: u32,
}

// === impl Store ===

impl Store {
    /// Opens the database in `file`, or makes it; at most `most` entries are kept, writing runs on `tasks`.
    ///
    /// None, and a line in the log, where that cannot be: another process has it open, the disk is full.
    pub fn open(file: &Path, most: u64, counters: Counters, tasks: &TaskTracker) -> Option<Self> {
        let opened = open(file).or_else(|error| {
            if is_passing(&error) {
                return Err(error);
            }
            tracing::warn!(file = %file.display(), %error, "what was kept of the drives' folders is damaged; starting afresh");
            std::fs::remove_file(file).map_err(redb::StorageError::from)?;
            open(file)
        });
        match opened {
            Ok(database) => {
                let pending = Mutex::default();
                let is_broken = AtomicBool::new(false);
                let inner = Inner { counters, database, most, pending, tasks: tasks.clone(), is_broken };
                inner.counters.keep(inner.total().unwrap_or_default());
                Some(Self(Arc::new(inner)))
            }
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "folders are not kept over a restart");
                None
            }
        }
    }

    /// What is kept under `key`.
    pub(super) async fn get(&self, key: Key) -> Option<Vec<u8>> {
        if let Some(change) = self.0.pending().of(&key) {
            return change.map(|written| written.page);
        }
        let inner = Arc::clone(&self.0);
        if inner.is_broken.load(Ordering::Relaxed) {
            return None;
        }
        let read = tokio::task::spawn_blocking(move || inner.read(&key)).await;
        self.0.checked(read).flatten()
    }

    /// Keeps a page under `key`, in place of what was there.
    pub(super) fn put(&self, key: Key, page: Written) {
        self.change(key, Some(page));
    }

    /// Entries of a tree, in a folder and below it, that are hunted for, by their folders; `most` of them at most. What was listed a moment ago may
    /// not be there yet.
    pub(super) async fn search(
        &self,
        tree: Arc<str>,
        below: VirtualPath,
        hunt: Hunt,
        most: usize,
    ) -> Vec<(VirtualPath, Vec<Entry>)> {
        let inner = Arc::clone(&self.0);
        if inner.is_broken.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let found = tokio::task::spawn_blocking(move || inner.search(&tree, &below, &hunt, most)).await;
        self.0.checked(found).unwrap_or_default()
    }

    /// Throws away what is kept under `key`.
    pub(super) fn remove(&self, key: Key) {
        self.change(key, None);
    }

    fn change(&self, key: Key, change: Change) {
        if self.0.is_broken.load(Ordering::Relaxed) {
            return;
        }
        let mut pending = self.0.pending();
        pending.waiting.insert(key, change);
        if !std::mem::replace(&mut pending.is_written, true) {
            let inner = Arc::clone(&self.0);
            self.0.tasks.spawn(async move { inner.write_all().await });
        }
    }
}

// === impl Inner ===

impl Inner {
    /// Writes what there is, together with what comes while it waits, until nothing is left.
    async fn write_all(self: Arc<Self>) {
        loop {
            tokio::time::sleep(GATHER).await;
            let changes = {
                let mut pending = self.pending();
                if pending.waiting.is_empty() {
                    pending.is_written = false;
                    return;
                }
                pending.writing = Arc::new(std::mem::take(&mut pending.waiting));
                Arc::clone(&pending.writing)
            };
            let inner = Arc::clone(&self);
            let written = tokio::task::spawn_blocking(move || inner.write(&changes)).await;
            if let Some(total) = self.checked(written) {
                self.counters.keep(total);
            }
            self.pending().writing = Arc::default();
        }
    }

    /// What the database answered; the first time that it fails, or panics, is the last that it is asked.
    fn checked<T>(&self, result: Result<Result<T, redb::Error>, JoinError>) -> Option<T> {
        let error = match result {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        if !self.is_broken.swap(true, Ordering::Relaxed) {
            tracing::error!(error, "what drives list can be kept on disk no more, until the next start");
        }
        None
    }

    fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, redb::Error> {
        let table = self.database.begin_read()?.open_table(PAGES)?;
        Ok(table.get(key.as_tuple())?.map(|page| page.value().to_vec()))
    }

    fn search(
        &self,
        tree: &str,
        below: &VirtualPath,
        hunt: &Hunt,
        most: usize,
    ) -> Result<Vec<(VirtualPath, Vec<Entry>)>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let (names, pages) = (transaction.open_table(NAMES)?, transaction.open_table(PAGES)?);
        let (mut found, mut left) = (Vec::new(), most);
        for folder in names.range((tree, below.as_str(), 0)..)? {
            let (key, names) = folder?;
            let (of, path, number) = key.value();
            // Names that begin alike stand together, those below the folder among them.
            if of != tree || left == 0 || !(below.is_root() || path.starts_with(below.as_str())) {
                break;
            }
            let lines = hunt.needle.lines(names.value());
            let Some(folder) = VirtualPath::parse(path).ok().filter(|folder| folder.is_below(below)) else {
                continue;
            };
            if lines.is_empty() {
                continue;
            }
            let read = |number| -> Result<Option<Page>, redb::Error> {
                let page = pages.get((tree, path, number))?;
                Ok(page.and_then(|page| {
                    Page::from_bytes(page.value(), |_| Some(Life::starting(Instant::now(), Duration::ZERO)))
                }))
            };
            let Some(page) = read(number)? else { continue };
            // A later page of a listing that was begun anew since is no more.
            if number > 0 && read(0)?.is_none_or(|first| first.listing != page.listing) {
                continue;
            }
            let hits = page.numbered(lines).filter(|entry| (hunt.is_meant)(&folder, entry));
            let entries: Vec<_> = hits.take(left).collect();
            left -= entries.len();
            if !entries.is_empty() {
                found.push((folder, entries));
            }
        }
        Ok(found)
    }

    fn total(&self) -> Result<u64, redb::Error> {
        let table = self.database.begin_read()?.open_table(TOTALS)?;
        Ok(table.get(ENTRIES)?.map_or(0, |total| total.value()))
    }

    /// Returns how many entries are kept then.
    fn write(&self, changes: &HashMap<Key, Change>) -> Result<u64, redb::Error> {
        let transaction = self.database.begin_write()?;
        let total = {
            let mut pages = transaction.open_table(PAGES)?;
            let mut names = transaction.open_table(NAMES)?;
            let mut totals = transaction.open_table(TOTALS)?;
            let mut total = totals.get(ENTRIES)?.map_or(0, |total| total.value());
            for (key, change) in changes {
                let former = match change {
                    Some(written) => {
                        total += count(&written.page);
                        if written.names.is_empty() {
                            names.remove(key.as_tuple())?;
                        } else {
                            names.insert(key.as_tuple(), written.names.as_slice())?;
                        }
                        pages.insert(key.as_tuple(), written.page.as_slice())?
                    }
                    None => {
                        names.remove(key.as_tuple())?;
                        pages.remove(key.as_tuple())?
                    }
                };
                total = total.saturating_sub(former.map_or(0, |former| count(former.value())));
            }
            if total > self.most {
                total = self.thin_out(&mut pages, total)?;
                names.retain(|key, _| pages.get(key).is_ok_and(|page| page.is_some()))?;
            }
            totals.insert(ENTRIES, total)?;
            total
        };
        transaction.commit()?;
        Ok(total)
    }

    /// Removes the oldest pages until a tenth of the room is free. It walks through all, and is rare for that.
    fn thin_out(
        &self,
        pages: &mut redb::Table<'_, (&'static str, &'static str, u32), &'static [u8]>,
        mut total: u64,
    ) -> Result<u64, redb::Error> {
        let mut stamps = Vec::new();
        for page in pages.iter()? {
            let (_, page) = page?;
            if let Some(stamp) = Stamp::of(page.value()) {
                stamps.push((stamp.at, stamp.count));
            }
        }
        stamps.sort_unstable();
        let mut oldest = 0;
        for (at, count) in stamps {
            if total <= self.most - self.most / 10 {
                break;
            }
            oldest = at;
            total = total.saturating_sub(u64::from(count).max(1));
        }
        let mut left = 0;
        pages.retain(|_, page| {
            let stamp = Stamp::of(page).filter(|stamp| stamp.at > oldest);
            left += stamp.map_or(0, |stamp| u64::from(stamp.count).max(1));
            stamp.is_some()
        })?;
        Ok(left)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Pending ===

impl Pending {
    fn of(&self, key: &Key) -> Option<Change> {
        self.waiting.get(key).or_else(|| self.writing.get(key)).cloned()
    }
}

// === impl Key ===

impl Key {
    fn as_tuple(&self) -> (&str, &str, u32) {
        (&self.tree, &self.path, self.number)
    }
}

fn open(file: &Path) -> Result<Database, DatabaseError> {
    let opened = crate::state::open_private(file).map_err(redb::StorageError::from)?;
    // It walks through the whole, as it must after a kill in any case: some 50 ms for half a million entries (measured).
    let database = redb::Builder::new()
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true)
        .create_with_backend(FileBackend::new(opened)?)?;
    let prepare = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(PAGES)?;
        transaction.open_table(NAMES)?;
        transaction.open_table(TOTALS)?;
        Ok(transaction.commit()?)
    };
    match prepare() {
        Ok(()) => Ok(database),
        Err(redb::Error::Io(error)) => Err(redb::StorageError::Io(error).into()),
        Err(error) => Err(redb::StorageError::Corrupted(error.to_string()).into()),
    }
}

/// Whether the database may well be good.
fn is_passing(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::DatabaseAlreadyOpen => true,
        DatabaseError::Storage(redb::StorageError::Io(error)) => {
            // What is no database at all reads as one of these.
            !matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

/// An empty folder takes room too.
fn count(page: &[u8]) -> u64 {
    Stamp::of(page).map_or(0, |stamp| u64::from(stamp.count).max(1))
}

/// Renamed with every change of what a page looks like.
const PAGES: TableDefinition<'_, (&str, &str, u32), &[u8]> = TableDefinition::new("pages-2");
/// Of each page that has any.
const NAMES: TableDefinition<'_, (&str, &str, u32), &[u8]> = TableDefinition::new("names-2");
const TOTALS: TableDefinition<'_, &str, u64> = TableDefinition::new("totals-2");
const ENTRIES: &str = "entries";
/// How long what is to be written waits for more; chosen: two syncs of a disk in that time are not felt.
const GATHER: Duration = Duration::from_millis(500);
/// Of the database kept in memory, in bytes; chosen: its inner nodes.
const CACHE: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::super::search::{Needle, names_of};
    use super::*;
    use crate::driver::EntryId;

    fn key(path: &str, number: u32) -> Key {
        Key { tree: Arc::from("tree"), path: Arc::from(path), number }
    }

    fn page(entries: usize, at: u64) -> Written {
        let names: Vec<_> = (0..entries).map(|number| format!("film {number}")).collect();
        listed(&names.iter().map(String::as_str).collect::<Vec<_>>(), 1, at)
    }

    fn listed(names: &[&str], listing: u64, at: u64) -> Written {
        let folder = Arc::new(Entry::folder(EntryId::new("f"), "f"));
        let children = names.iter().map(|name| Entry::folder(EntryId::new(*name), name));
        let page = Page::new(folder, children, None, listing, Life::unlimited(Instant::now()));
        Written { page: page.to_bytes(at), names: names_of(&page) }
    }

    /// What is found below a folder, as paths.
    async fn found(store: &Store, below: &str, words: &str, most: usize) -> Vec<String> {
        let needle = Arc::new(Needle::new(words).unwrap());
        // What does not count takes no room.
        let hunt = Hunt { needle, is_meant: Box::new(|folder, _| folder.as_str() != "/a b") };
        let found = store.search(Arc::from("tree"), VirtualPath::parse(below).unwrap(), hunt, most).await;
        let paths = found.iter().flat_map(|(folder, entries)| {
            entries.iter().map(|entry| folder.join(&entry.name).unwrap().to_string())
        });
        paths.collect()
    }

    fn open(folder: &Path, most: u64) -> (Store, TaskTracker) {
        let tasks = TaskTracker::new();
        let store = Store::open(&folder.join("entries.redb"), most, Counters::default(), &tasks);
        (store.unwrap(), tasks)
    }

    /// Until all is written.
    async fn finish((store, tasks): (Store, TaskTracker)) {
        tasks.close();
        tasks.wait().await;
        drop(store);
    }

    #[tokio::test]
    async fn what_is_put_is_there_at_once_and_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let opened = open(folder.path(), 1000);
        opened.0.put(key("/a", 0), page(3, 1));
        opened.0.put(key("/b", 0), page(3, 1));
        assert_eq!(opened.0.get(key("/a", 0)).await, Some(page(3, 1).page));
        opened.0.remove(key("/b", 0));
        assert_eq!(opened.0.get(key("/b", 0)).await, None);
        assert!(
            Store::open(&folder.path().join("entries.redb"), 9, Counters::default(), &opened.1).is_none()
        );
        finish(opened).await;
        let opened = open(folder.path(), 1000);
        assert_eq!(opened.0.get(key("/a", 0)).await, Some(page(3, 1).page));
        assert_eq!(opened.0.get(key("/b", 0)).await, None);
        assert_eq!(opened.0.0.total().unwrap(), 3);
        finish(opened).await;
    }

    #[tokio::test]
    async fn the_oldest_go_where_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let opened = open(folder.path(), 100);
        for number in 0..11 {
            opened.0.put(key("/a", number), page(10, number.into()));
        }
        let total = {
            let store = opened.0.clone();
            finish(opened).await;
            store.0.total().unwrap()
        };
        assert_eq!(total, 90);
        let opened = open(folder.path(), 100);
        assert_eq!(opened.0.get(key("/a", 1)).await, None);
        assert_eq!(opened.0.get(key("/a", 2)).await, Some(page(10, 2).page));
        finish(opened).await;
    }

    #[tokio::test]
    async fn names_are_found_in_a_folder_and_below_it_and_in_no_listing_that_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let opened = open(folder.path(), 1000);
        for (path, number, names, listing) in [
            ("/a", 0, ["Film one.mkv", "two"].as_slice(), 1),
            ("/a", 1, &["the last film"], 1),
            ("/a", 2, &["a film of before"], 9),
            ("/a b", 0, &["film beside"], 2),
            ("/a/b", 0, &["x", "FILM", "film"], 3),
        ] {
            opened.0.put(key(path, number), listed(names, listing, 1));
        }
        finish(opened).await;
        let opened = open(folder.path(), 1000);
        let in_a = ["/a/Film one.mkv", "/a/the last film", "/a/b/FILM", "/a/b/film"];
        assert_eq!(found(&opened.0, "/a", "film", 100).await, in_a);
        assert_eq!(found(&opened.0, "/", "film", 100).await, in_a);
        assert_eq!(found(&opened.0, "/", "film", 3).await, in_a[..3]);
        assert_eq!(found(&opened.0, "/a/b", "film", 100).await, ["/a/b/FILM", "/a/b/film"]);
        assert!(found(&opened.0, "/c", "film", 100).await.is_empty());
        opened.0.remove(key("/a/b", 0));
        finish(opened).await;
        let opened = open(folder.path(), 1000);
        assert!(found(&opened.0, "/a/b", "film", 100).await.is_empty());
        finish(opened).await;
    }

    #[tokio::test]
    async fn a_damaged_file_is_begun_afresh() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("entries.redb"), vec![7; 10_000]).unwrap();
        let opened = open(folder.path(), 100);
        opened.0.put(key("/a", 0), page(1, 1));
        assert_eq!(opened.0.get(key("/a", 0)).await, Some(page(1, 1).page));
        finish(opened).await;
    }
}
