//! The beginnings and ends of files, and small files whole, kept where asking for them again costs nothing.
//!
//! What opens a film reads its head and its tail: ffprobe at every start, a player's own probe, the index at every
//! seek, a scanner for each file. Blocks are named by the content they belong to, so they stay true after every
//! new link and after a restart, and a changed file simply has other blocks.

mod disk;

use std::collections::VecDeque;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;

use self::disk::Disk;
use crate::driver::{DriverInfo, Entry};

/// How much is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Bytes in memory; 0 for none.
    pub memory: u64,
    /// Bytes on disk; 0 for none.
    pub disk: u64,
}

/// The cache. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    memory: Cache<BlockKey, Bytes>,
    disk: Option<Disk>,
    /// Length of what counts as a file's beginning, and of its end.
    zone: u64,
}

/// Names the content of a file: the same for the same bytes, on every node and after every start.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct ContentKey([u8; 16]);

/// Tells what a drive says of its files from what others say of theirs. Made once an account, since it costs a digest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Realm([u8; 16]);

/// Names one block of it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct BlockKey {
    content: ContentKey,
    index: u32,
}

/// Where the bytes at some place are.
pub(super) enum Found {
    Here(Bytes),
    Nowhere,
    OnDisk,
}

/// Puts what passes by into blocks.
#[derive(Debug)]
pub(super) struct Scribe {
    blocks: Blocks,
    content: ContentKey,
    /// Length of the file.
    total: u64,
    /// Where the next byte belongs, if the block so far is whole.
    at: u64,
    block: BytesMut,
}

// === impl Blocks ===

impl Blocks {
    /// A cache, which keeps in `folder` what it keeps on disk, with work that runs on `tasks`; none where nothing is to be
    /// kept.
    ///
    /// # Errors
    /// What the file system says of the folder.
    pub(super) fn open(
        settings: &Settings,
        folder: &Path,
        tasks: &TaskTracker,
    ) -> std::io::Result<Option<Self>> {
        let largest = settings.memory.max(settings.disk);
        // A zone of which not eight fit would only chase out what others need.
        let zone = (largest / 8).min(LONGEST_ZONE) / BLOCK * BLOCK;
        if zone == 0 {
            return Ok(None);
        }
        let disk = match settings.disk {
            0 => None,
            capacity => Some(Disk::open(folder, capacity, tasks)?),
        };
        let memory = Cache::builder()
            .max_capacity(settings.memory)
            .weigher(|_, block: &Bytes| {
                u32::try_from(block.len()).unwrap_or(u32::MAX).saturating_add(OVERHEAD)
            })
            // A scan of a hundred files is used again as a whole: what came last is worth keeping.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Ok(Some(Self { memory, disk, zone }))
    }

    /// Whether the block at `at` of a file is one that is kept.
    fn keeps(&self, at: u64, total: u64) -> bool {
        at < total && (at < self.zone || at >= total.saturating_sub(self.zone) / BLOCK * BLOCK)
    }

    /// What is kept from `at` on, to the end of its block.
    pub(super) fn find(&self, content: ContentKey, at: u64, total: u64) -> Found {
        if !self.keeps(at, total) {
            return Found::Nowhere;
        }
        let Some(key) = BlockKey::of(content, at) else { return Found::Nowhere };
        if let Some(block) = self.memory.get(&key) {
            let from = usize::try_from(at % BLOCK).unwrap_or(usize::MAX);
            return if from < block.len() { Found::Here(block.slice(from..)) } else { Found::Nowhere };
        }
        if self.disk.as_ref().is_some_and(|disk| disk.has(&key)) { Found::OnDisk } else { Found::Nowhere }
    }

    /// Reads blocks from disk, from `at` on: one, and those behind it up to a limit. Fewer than were there, or none,
    /// where they turn out to be damaged.
    pub(super) async fn load(self, content: ContentKey, at: u64, total: u64) -> VecDeque<Bytes> {
        let Some(disk) = self.disk.clone() else { return VecDeque::new() };
        let keys = (0..AT_ONCE)
            .map(|n| at / BLOCK * BLOCK + n * BLOCK)
            .take_while(|at| self.keeps(*at, total))
            .map_while(|at| BlockKey::of(content, at))
            .take_while(|key| disk.has(key))
            .collect();
        let mut blocks: VecDeque<_> = disk
            .read(keys)
            .await
            .into_iter()
            .map(|(key, block)| {
                self.memory.insert(key, block.clone());
                block
            })
            .collect();
        if let Some(first) = blocks.front_mut() {
            let skip = usize::try_from(at % BLOCK).unwrap_or(usize::MAX).min(first.len());
            *first = first.slice(skip..);
        }
        blocks.retain(|block| !block.is_empty());
        blocks
    }

    fn has(&self, key: &BlockKey) -> bool {
        self.memory.contains_key(key) || self.disk.as_ref().is_some_and(|disk| disk.has(key))
    }

    fn put(&self, key: BlockKey, block: Bytes) {
        if let Some(disk) = &self.disk {
            disk.write(key, block.clone());
        }
        self.memory.insert(key, block);
    }

    /// Where to begin reading so that the block around `at` becomes whole.
    pub(super) fn begin_at(&self, at: u64, total: u64) -> u64 {
        if self.keeps(at, total) { at / BLOCK * BLOCK } else { at }
    }

    /// A scribe for a file.
    pub(super) fn scribe(&self, content: ContentKey, total: u64) -> Scribe {
        Scribe { blocks: self.clone(), content, total, at: 0, block: BytesMut::new() }
    }
}

// === impl ContentKey ===

impl ContentKey {
    /// The key of this version of a file: from the hash of its content where there is one, else from what tells versions
    /// apart at its drive.
    pub(super) fn of(realm: Realm, entry: &Entry) -> Self {
        let mut key = entry.version();
        if entry.hash.is_none() {
            // Both are digests, so that no two pairs meet.
            key.iter_mut().zip(realm.0).for_each(|(byte, other)| *byte ^= other);
        }
        Self(key)
    }
}

impl Realm {
    /// That of an account.
    pub(super) fn of(info: &DriverInfo) -> Self {
        let mut digest = Sha256::new();
        digest.update(info.name.as_bytes());
        digest.update([0]);
        digest.update(info.account.as_bytes());
        let mut realm = [0; 16];
        realm.copy_from_slice(&digest.finalize()[..16]);
        Self(realm)
    }
}

impl BlockKey {
    fn of(content: ContentKey, at: u64) -> Option<Self> {
        Some(Self { content, index: u32::try_from(at / BLOCK).ok()? })
    }
}

// === impl Scribe ===

impl Scribe {
    /// Takes note of bytes that passed by.
    pub(super) fn write(&mut self, at: u64, piece: &[u8]) {
        let (mut at, mut piece) = (at, piece);
        while !piece.is_empty() {
            let left_of_block = (BLOCK - at % BLOCK).min(self.total.saturating_sub(at));
            let Ok(len) = usize::try_from(left_of_block.min(piece.len() as u64)) else { return };
            if len == 0 {
                return;
            }
            self.within_block(at, &piece[..len], len as u64 == left_of_block);
            at += len as u64;
            piece = &piece[len..];
        }
    }

    fn within_block(&mut self, at: u64, piece: &[u8], is_last: bool) {
        if !self.blocks.keeps(at, self.total) {
            return;
        }
        let Some(key) = BlockKey::of(self.content, at) else { return };
        let is_first = at.is_multiple_of(BLOCK);
        if is_first {
            self.block.clear();
            if self.blocks.has(&key) {
                // Its other pieces do not join on either.
                self.at = u64::MAX;
                return;
            }
            self.block.reserve(usize::try_from(BLOCK.min(self.total - at)).unwrap_or(0));
        } else if self.at != at {
            return;
        }
        self.block.extend_from_slice(piece);
        self.at = at + piece.len() as u64;
        if is_last {
            self.blocks.put(key, self.block.split().freeze());
        }
    }

    /// Up to where to read so that the block around the end becomes whole.
    pub(super) fn whole_blocks(&self, until: u64) -> u64 {
        if until > 0 && self.blocks.keeps(until - 1, self.total) {
            until.div_ceil(BLOCK).saturating_mul(BLOCK).min(self.total).max(until)
        } else {
            until
        }
    }
}

/// Bytes. Chosen: an eighth of a second of what the drive gives accounts without its package, so that reading a block
/// whole in place of a part of it is not noticed.
pub(super) const BLOCK: u64 = 64 << 10;
/// What a block costs beside its bytes.
const OVERHEAD: u32 = 200;
/// Bytes. Chosen: the index of a film of three hours at the end of an MP4.
const LONGEST_ZONE: u64 = 16 << 20;
/// Blocks read from disk together.
const AT_ONCE: u64 = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOTAL: u64 = 10 * BLOCK + 1234;

    fn blocks(memory: u64) -> Blocks {
        Blocks::open(&Settings { memory, disk: 0 }, Path::new(""), &TaskTracker::new()).unwrap().unwrap()
    }

    fn byte(at: u64) -> u8 {
        (at % 253) as u8
    }

    fn held(blocks: &Blocks, at: u64) -> Option<Bytes> {
        match blocks.find(ContentKey([1; 16]), at, TOTAL) {
            Found::Here(bytes) => Some(bytes),
            Found::Nowhere => None,
            Found::OnDisk => unreachable!("there is no disk"),
        }
    }

    #[test]
    fn only_beginnings_and_ends_are_kept() {
        // A zone of two blocks.
        let blocks = blocks(16 * BLOCK);
        let mut scribe = blocks.scribe(ContentKey([1; 16]), TOTAL);
        scribe.write(0, &(0..TOTAL).map(byte).collect::<Vec<_>>());
        let kept: Vec<_> = (0..11).map(|n| held(&blocks, n * BLOCK).is_some()).collect();
        let (t, f) = (true, false);
        assert_eq!(kept, [t, t, f, f, f, f, f, f, t, t, t]);
        assert_eq!(held(&blocks, TOTAL - 1).unwrap(), [byte(TOTAL - 1)][..]);
        assert_eq!(scribe.whole_blocks(5), BLOCK);
        assert_eq!(scribe.whole_blocks(TOTAL - 1), TOTAL);
        assert_eq!(scribe.whole_blocks(5 * BLOCK + 1), 5 * BLOCK + 1);
    }

    proptest! {
        #[test]
        fn a_block_is_kept_only_whole_and_as_it_was(
            pieces in proptest::collection::vec((0u64..TOTAL, 0u64..3 * BLOCK), 1..30),
        ) {
            let blocks = blocks(1 << 30);
            let mut scribe = blocks.scribe(ContentKey([1; 16]), TOTAL);
            for (at, len) in pieces {
                let piece: Vec<u8> = (at..(at + len).min(TOTAL)).map(byte).collect();
                // In pieces, as a connection brings them.
                let half = piece.len() / 2;
                scribe.write(at, &piece[..half]);
                scribe.write(at + half as u64, &piece[half..]);
            }
            for index in 0..=10 {
                let at = index * BLOCK;
                if let Some(block) = held(&blocks, at) {
                    let whole: Vec<u8> = (at..(at + BLOCK).min(TOTAL)).map(byte).collect();
                    prop_assert_eq!(&block[..], &whole[..]);
                }
            }
        }
    }
}
