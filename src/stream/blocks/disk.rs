//! Blocks on disk: a file each, written beside its place and renamed, checked when it is read.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;

use super::{BLOCK, BlockKey, ContentKey};
use crate::state::create_private_dir;

/// The blocks on disk. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// Which blocks lie there; the least recently used are chased out, and their files with them.
    index: Cache<BlockKey, u32>,
    queue: Arc<Mutex<Queue>>,
    tasks: TaskTracker,
}

/// Work that waits for the disk; done by one thread at a time, in order.
#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_worked_on: bool,
}

#[derive(Debug)]
enum Job {
    Remove(BlockKey, u32),
    Write(BlockKey, Bytes),
}

// === impl Disk ===

impl Disk {
    /// Opens the blocks below `folder`, of which at most `capacity` bytes are kept.
    ///
    /// # Errors
    /// What the file system says of the folder.
    pub(super) fn open(folder: &Path, capacity: u64, tasks: &TaskTracker) -> std::io::Result<Self> {
        create_private_dir(folder)?;
        let queue = Arc::new(Mutex::new(Queue::default()));
        let chased = Arc::clone(&queue);
        let index = Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, len: &u32| len.saturating_add(OVERHEAD))
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |key, len, cause| {
                if cause.was_evicted() {
                    lock(&chased).jobs.push_back(Job::Remove(*key, len));
                }
            })
            .build();
        for shelf in std::fs::read_dir(folder)? {
            let Ok(files) = std::fs::read_dir(shelf?.path()) else { continue };
            for file in files {
                let file = file?;
                match file.file_name().to_str().and_then(parse_name) {
                    Some((key, len)) => index.insert(key, len),
                    // What a crash left half written.
                    None => drop(std::fs::remove_file(file.path())),
                }
            }
        }
        let inner = Inner { folder: folder.to_owned(), index, queue, tasks: tasks.clone() };
        Ok(Self(Arc::new(inner)))
    }

    pub(super) fn has(&self, key: &BlockKey) -> bool {
        self.0.index.contains_key(key)
    }

    /// Keeps a block; it is written soon. Dropped where the disk does not keep up.
    pub(super) fn write(&self, key: BlockKey, block: Bytes) {
        let mut queue = lock(&self.0.queue);
        if queue.jobs.len() >= LONGEST_QUEUE {
            return;
        }
        queue.jobs.push_back(Job::Write(key, block));
        if std::mem::replace(&mut queue.is_worked_on, true) {
            return;
        }
        drop(queue);
        let disk = self.clone();
        self.0.tasks.spawn_blocking(move || disk.work());
    }

    fn work(&self) {
        loop {
            // Lets the index settle, which may add removals.
            self.0.index.run_pending_tasks();
            let mut queue = lock(&self.0.queue);
            let Some(job) = queue.jobs.pop_front() else {
                queue.is_worked_on = false;
                return;
            };
            drop(queue);
            match job {
                Job::Remove(key, _) if self.has(&key) => {}
                Job::Remove(key, len) => self.remove(&key, len),
                Job::Write(key, block) => {
                    let len = u32::try_from(block.len()).unwrap_or(u32::MAX);
                    match self.write_now(&key, &block) {
                        Ok(()) => self.0.index.insert(key, len),
                        Err(error) => tracing::debug!(%error, "a block could not be written"),
                    }
                }
            }
        }
    }

    fn write_now(&self, key: &BlockKey, block: &[u8]) -> std::io::Result<()> {
        let len = u32::try_from(block.len()).unwrap_or(u32::MAX);
        let place = self.place(key, len);
        let shelf = place.parent().unwrap_or(&self.0.folder);
        create_private_dir(shelf)?;
        let mut file = tempfile::NamedTempFile::new_in(shelf)?;
        file.write_all(&seal(key, block))?;
        file.write_all(block)?;
        // Not synced: what a crash damages is noticed when it is read.
        file.persist(place)?;
        Ok(())
    }

    /// Reads blocks, up to the first that is missing or damaged; that one is forgotten.
    pub(super) async fn read(&self, keys: Vec<BlockKey>) -> Vec<(BlockKey, Bytes)> {
        let disk = self.clone();
        let read = self.0.tasks.spawn_blocking(move || {
            let mut blocks = Vec::with_capacity(keys.len());
            for key in keys {
                let Some(block) = disk.read_now(&key) else {
                    tracing::debug!(?key, "a block on disk is damaged or gone");
                    disk.0.index.invalidate(&key);
                    break;
                };
                blocks.push((key, block));
            }
            blocks
        });
        read.await.unwrap_or_default()
    }

    fn read_now(&self, key: &BlockKey) -> Option<Bytes> {
        // Asking counts as use.
        let len = self.0.index.get(key)?;
        let place = self.place(key, len);
        let content = std::fs::read(&place).ok()?;
        let sealed = content.split_at_checked(SEAL);
        match sealed {
            Some((given, block)) if block.len() == len as usize && given == seal(key, block) => {
                Some(Bytes::from(content).slice(SEAL..))
            }
            _ => {
                self.remove(key, len);
                None
            }
        }
    }

    fn remove(&self, key: &BlockKey, len: u32) {
        // What cannot be removed is found at the next start, and chased out again.
        if let Err(error) = std::fs::remove_file(self.place(key, len)) {
            tracing::debug!(%error, "a block could not be removed");
        }
    }

    fn place(&self, key: &BlockKey, len: u32) -> PathBuf {
        let name = data_encoding::HEXLOWER.encode(&key.content.0);
        let (shelf, _) = name.split_at(2);
        self.0.folder.join(shelf).join(format!("{name}-{:x}-{len:x}", key.index))
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parse_name(name: &str) -> Option<(BlockKey, u32)> {
    let mut words = name.split('-');
    let content = data_encoding::HEXLOWER.decode(words.next()?.as_bytes()).ok()?;
    let index = u32::from_str_radix(words.next()?, 16).ok()?;
    let len = u32::from_str_radix(words.next()?, 16).ok().filter(|len| u64::from(*len) <= BLOCK)?;
    let key = BlockKey { content: ContentKey(content.try_into().ok()?), index };
    words.next().is_none().then_some((key, len))
}

/// What stands before a block: it tells damage, and a block that lies under another's name.
fn seal(key: &BlockKey, block: &[u8]) -> [u8; SEAL] {
    let mut digest = Sha256::new();
    digest.update(MARK);
    digest.update(key.content.0);
    digest.update(key.index.to_be_bytes());
    digest.update(block);
    let mut seal = [0; SEAL];
    seal[..MARK.len()].copy_from_slice(MARK);
    seal[MARK.len()..].copy_from_slice(&digest.finalize()[..SEAL - MARK.len()]);
    seal
}

/// Names the form of these files.
const MARK: &[u8; 8] = b"sluiceB1";
/// Bytes: the mark and half a SHA-256.
const SEAL: usize = 24;
/// What a block costs on disk beside its bytes: its seal, and what the file system rounds up.
const OVERHEAD: u32 = 2048;
/// Blocks: 16 MiB, which memory holds for the most part anyway.
const LONGEST_QUEUE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> BlockKey {
        BlockKey { content: ContentKey([n; 16]), index: 3 }
    }

    async fn written(disk: &Disk) {
        disk.0.tasks.close();
        disk.0.tasks.wait().await;
    }

    fn open(folder: &Path, capacity: u64) -> Disk {
        Disk::open(folder, capacity, &TaskTracker::new()).unwrap()
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let shelves = std::fs::read_dir(folder).unwrap().map(|shelf| shelf.unwrap().path());
        shelves.flat_map(|shelf| std::fs::read_dir(shelf).unwrap()).map(|file| file.unwrap().path()).collect()
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let disk = open(folder.path(), 1 << 20);
        disk.write(key(1), Bytes::from_static(b"one"));
        disk.write(key(2), Bytes::from_static(b"two"));
        written(&disk).await;
        drop(disk);
        let again = open(folder.path(), 1 << 20);
        let read = again.read(vec![key(1), key(2), key(3)]).await;
        assert_eq!(read, [(key(1), Bytes::from_static(b"one")), (key(2), Bytes::from_static(b"two"))]);
    }

    #[tokio::test]
    async fn a_damaged_block_is_noticed_and_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let disk = open(folder.path(), 1 << 20);
        for n in [1, 2, 3] {
            disk.write(key(n), Bytes::from_static(b"a block of the film"));
        }
        written(&disk).await;
        let all = files(folder.path());
        assert_eq!(all.len(), 3);
        for (file, damage) in all.iter().zip([&b"cut"[..], b"", &[0; 43]]) {
            std::fs::write(file, damage).unwrap();
        }
        let disk = open(folder.path(), 1 << 20);
        for n in [1, 2, 3] {
            assert!(disk.has(&key(n)));
            assert!(disk.read(vec![key(n)]).await.is_empty());
            assert!(!disk.has(&key(n)));
        }
        assert!(files(folder.path()).is_empty());
    }

    #[tokio::test]
    async fn a_block_under_another_name_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = open(folder.path(), 1 << 20);
        disk.write(key(1), Bytes::from_static(b"one"));
        written(&disk).await;
        let (from, to) = (disk.place(&key(1), 3), disk.place(&key(2), 3));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::rename(from, to).unwrap();
        assert!(open(folder.path(), 1 << 20).read(vec![key(2)]).await.is_empty());
    }

    #[tokio::test]
    async fn no_more_is_kept_than_was_allowed_and_scraps_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("ab")).unwrap();
        std::fs::write(folder.path().join("ab/.tmpXYZ"), b"half").unwrap();
        let capacity = 10 * (BLOCK + u64::from(OVERHEAD));
        let disk = open(folder.path(), capacity);
        let block = Bytes::from(vec![7; usize::try_from(BLOCK).unwrap()]);
        for n in 0..40 {
            disk.write(key(n), block.clone());
        }
        written(&disk).await;
        let count = files(folder.path()).len();
        assert!((5..=10).contains(&count), "{count}");
        assert!(disk.has(&key(39)));
    }
}
