//! A page of a folder as it is kept, in memory and on disk: its entries packed one behind the other.
//!
//! A folder may have tens of thousands of entries, of which few are ever asked for again. Packed, one takes its texts and
//! some thirty bytes; it is unpacked by whoever looks at it.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::OUTAGE;
use crate::driver::{Entry, EntryId, EntryKind, Marker, Version};
use crate::lease::{Lease, Life};

/// Some children of a folder, in the order the drive lists them.
#[derive(Debug)]
pub(super) struct Page {
    /// The folder itself.
    pub(super) folder: Arc<Entry>,
    /// Where the next page begins; none where this is the last.
    pub(super) next: Option<Marker>,
    /// The same for all pages of one listing, and different for the next listing of the same folder.
    pub(super) listing: u64,
    /// How many entries there are.
    pub(super) count: u32,
    pub(super) life: Life,
    packed: Bytes,
}

/// An entry, as it is packed.
#[derive(Deserialize, Serialize)]
struct Record<'a> {
    id: &'a str,
    name: &'a str,
    is_folder: bool,
    len: u64,
    /// Since the Unix epoch.
    modified: Option<Duration>,
    hash: Option<&'a str>,
    duration: Option<Duration>,
}

/// A page with what it is kept by on disk.
#[derive(Deserialize, Serialize)]
struct Kept<'a> {
    stamp: Stamp,
    #[serde(borrow)]
    folder: Record<'a>,
    next: Option<&'a str>,
    listing: u64,
    packed: &'a [u8],
}

/// What can be read of a page on disk without reading the rest.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Stamp {
    /// When the drive said so, in seconds since the Unix epoch.
    pub(super) at: u64,
    /// How many entries there are.
    pub(super) count: u32,
}

// === impl Page ===

impl Page {
    pub(super) fn new(
        folder: Arc<Entry>,
        entries: impl Iterator<Item = Entry>,
        next: Option<Marker>,
        listing: u64,
        life: Life,
    ) -> Self {
        let (mut packed, mut count) = (Vec::new(), 0);
        for entry in entries {
            // Into memory, which cannot fail.
            if let Ok(longer) = postcard::to_extend(&Record::of(&entry), std::mem::take(&mut packed)) {
                packed = longer;
                count += 1;
            }
        }
        packed.shrink_to_fit();
        Self { folder, next, listing, count, life, packed: packed.into() }
    }

    /// The entries, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.records().map(|record| record.entry())
    }

    /// Those of these numbers, which are in order.
    pub(super) fn numbered(&self, numbers: Vec<usize>) -> impl Iterator<Item = Entry> + '_ {
        let mut numbers = numbers.into_iter().peekable();
        let is_one = move |(number, _): &(usize, Record<'_>)| numbers.next_if_eq(number).is_some();
        self.records().enumerate().filter(is_one).map(|(_, record)| record.entry())
    }

    /// The first entry of that name.
    pub(super) fn find(&self, name: &str) -> Option<Entry> {
        self.records().find(|record| record.name == name).map(|record| record.entry())
    }

    fn records(&self) -> impl Iterator<Item = Record<'_>> + '_ {
        let mut rest: &[u8] = &self.packed;
        std::iter::from_fn(move || {
            let (record, after) = postcard::take_from_bytes(rest).ok()?;
            rest = after;
            Some(record)
        })
    }

    /// As it is written to disk, with the time at which the drive said so, in seconds since the Unix epoch.
    pub(super) fn to_bytes(&self, at: u64) -> Vec<u8> {
        let kept = Kept {
            stamp: Stamp { at, count: self.count },
            folder: Record::of(&self.folder),
            next: self.next.as_ref().map(Marker::as_str),
            listing: self.listing,
            packed: &self.packed,
        };
        postcard::to_allocvec(&kept).unwrap_or_default()
    }

    /// Reads what [`Page::to_bytes`] wrote. How long it is believed depends on when it was said.
    pub(super) fn from_bytes(bytes: &[u8], life: impl Fn(Stamp) -> Option<Life>) -> Option<Self> {
        let kept: Kept<'_> = postcard::from_bytes(bytes).ok()?;
        Some(Self {
            life: life(kept.stamp)?,
            folder: Arc::new(kept.folder.entry()),
            next: kept.next.map(Marker::new),
            listing: kept.listing,
            count: kept.stamp.count,
            packed: Bytes::copy_from_slice(kept.packed),
        })
    }
}

impl Lease for Page {
    fn life(&self) -> Life {
        self.life
    }

    fn outlives_itself(&self) -> Duration {
        OUTAGE
    }

    /// In bytes.
    fn weight(&self) -> u32 {
        u32::try_from(self.packed.len()).unwrap_or(u32::MAX).saturating_add(OVERHEAD)
    }
}

// === impl Stamp ===

impl Stamp {
    /// The stamp at the beginning of what [`Page::to_bytes`] wrote.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        postcard::take_from_bytes(bytes).ok().map(|(stamp, _)| stamp)
    }
}

// === impl Record ===

impl<'a> Record<'a> {
    fn of(entry: &'a Entry) -> Self {
        Self {
            id: entry.id.as_str(),
            name: &entry.name,
            is_folder: entry.is_folder(),
            len: entry.len,
            modified: entry.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()),
            hash: entry.hash.as_deref(),
            duration: entry.duration,
        }
    }

    fn entry(&self) -> Entry {
        Entry {
            id: EntryId::new(self.id),
            name: Arc::from(self.name),
            kind: if self.is_folder { EntryKind::Folder } else { EntryKind::File },
            len: self.len,
            modified: self.modified.and_then(|since| UNIX_EPOCH.checked_add(since)),
            hash: self.hash.map(Arc::from),
            duration: self.duration,
            version: Version::default(),
        }
    }
}

/// What a page takes beside its entries, in bytes: the folder's entry, the marker, the key, the cache's own; counted up.
const OVERHEAD: u32 = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;

    fn entry(number: usize) -> Entry {
        Entry {
            kind: EntryKind::File,
            len: 4_000_000_000 + number as u64,
            modified: Some(UNIX_EPOCH + Duration::from_millis(1_760_000_000_123)),
            hash: Some(Arc::from("B4B1A4E1F4B1A4E1F4B1A4E1F4B1A4E1F4B1A4E1")),
            duration: Some(Duration::from_secs_f64(2604.33)),
            ..Entry::folder(
                EntryId::new(format!("{number:040x}")),
                &format!("The.Name.Of.A.Series.S01E{number:05}.1080p.WEB.mkv"),
            )
        }
    }

    fn page(entries: Vec<Entry>) -> Page {
        let folder = Arc::new(Entry::folder(EntryId::new("folder"), "Films"));
        let life = Life::unlimited(Instant::now());
        Page::new(folder, entries.into_iter(), Some(Marker::new("next")), 7, life)
    }

    fn facts(entry: &Entry) -> impl PartialEq + std::fmt::Debug {
        (
            entry.id.clone(),
            Arc::clone(&entry.name),
            entry.kind,
            entry.len,
            entry.modified,
            entry.hash.clone(),
            entry.duration,
            entry.version(),
        )
    }

    #[test]
    fn an_entry_of_a_large_folder_takes_less_than_200_bytes() {
        let page = page((0..20_000).map(entry).collect());
        assert!(page.weight() / page.count < 200, "{}", page.weight() / page.count);
        assert_eq!(page.find("The.Name.Of.A.Series.S01E19999.1080p.WEB.mkv").unwrap().len, 4_000_019_999);
        assert!(page.find("absent").is_none());
    }

    #[test]
    fn of_two_entries_of_one_name_the_first_is_meant() {
        let mut twice = vec![entry(1), entry(2)];
        twice[1].name = Arc::clone(&twice[0].name);
        assert_eq!(page(twice).find(&entry(1).name).unwrap().id, entry(1).id);
    }

    proptest! {
        #[test]
        fn what_is_packed_and_kept_comes_back(
            names in prop::collection::vec((".{1,40}", any::<u64>(), any::<bool>(), any::<Option<u32>>()), 0..20)
        ) {
            let entries: Vec<Entry> = names
                .into_iter()
                .map(|(name, len, is_folder, seconds)| Entry {
                    kind: if is_folder { EntryKind::Folder } else { EntryKind::File },
                    len,
                    modified: seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds.into())),
                    hash: seconds.map(|seconds| Arc::from(seconds.to_string())),
                    duration: seconds.map(|seconds| Duration::from_millis(seconds.into())),
                    ..Entry::folder(EntryId::new(name.clone()), &name)
                })
                .collect();
            let page = page(entries.clone());
            let bytes = page.to_bytes(17);
            let stamp = Stamp::of(&bytes).unwrap();
            prop_assert_eq!((stamp.at, stamp.count as usize), (17, entries.len()));
            let back = Page::from_bytes(&bytes, |_| Some(page.life)).unwrap();
            prop_assert_eq!((back.listing, back.next.as_ref().map(Marker::as_str)), (7, Some("next")));
            prop_assert_eq!(&*back.folder.name, "Films");
            for (one, other) in entries.iter().zip(back.entries()) {
                prop_assert_eq!(facts(one), facts(&other));
            }
            prop_assert_eq!(back.entries().count(), entries.len());
        }

        #[test]
        fn a_damaged_page_is_none_or_some_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(page) = Page::from_bytes(&bytes, |_| Some(Life::unlimited(Instant::now()))) {
                let _ = page.entries().count();
            }
        }
    }
}
