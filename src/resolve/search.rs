//! Finding entries by name among those that drives have listed and that are kept on disk. Asks no drive.

use std::sync::Arc;

use memchr::memmem::Finder;

use super::page::Page;
use super::store::Store;
use crate::access::rules::{Sight, Verdict};
use crate::driver::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::mount::{Mount, MountTable};
use crate::path::VirtualPath;

/// Finds names. Clones share everything.
#[derive(Clone, Debug)]
pub struct Search {
    mounts: Arc<MountTable>,
    store: Option<Store>,
}

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where: in this folder and below it.
    pub below: VirtualPath,
    /// Parts of a name, between spaces; all of them stand in it, in any order, in capitals or not.
    pub words: String,
    /// Whether folders alone, or files alone.
    pub folders: Option<bool>,
}

/// The words of a question, made ready.
#[derive(Debug)]
pub(super) struct Needle {
    words: Vec<Finder<'static>>,
}

/// Whether an entry counts, by the path of its folder.
type Meant = Box<dyn Fn(&VirtualPath, &Entry) -> bool + Send + Sync>;

/// What is looked for among what is kept.
pub(super) struct Hunt {
    pub(super) needle: Arc<Needle>,
    /// Paths are those of the drive's tree. What bears the name and does not count must not take the place of what does.
    pub(super) is_meant: Meant,
}

// === impl Search ===

impl Search {
    /// Over what is kept of these mounts; without a store there is nothing to look through.
    pub fn new(mounts: Arc<MountTable>, store: Option<Store>) -> Self {
        Self { mounts, store }
    }

    /// Whether there is anything to look through.
    pub fn is_there(&self) -> bool {
        self.store.is_some()
    }

    /// What bears such a name and may be seen, each with the folder that it lies in, by folders; at most 5,000. None where nothing is kept.
    ///
    /// # Errors
    /// `Invalid` where no word is given.
    pub async fn ask(&self, question: Question, sight: Sight) -> Result<Option<Vec<(VirtualPath, Entry)>>> {
        let Some(store) = &self.store else { return Ok(None) };
        let needle = Arc::new(
            Needle::new(&question.words)
                .ok_or_else(|| Error::new(ErrorKind::Invalid, "search").saying("say what to look for"))?,
        );
        let mut found = Vec::new();
        for mount in self.mounts.iter() {
            // Where a mount lies below the folder it is looked through whole, and where the folder lies in the mount, from there on.
            let below = match question.below.strip_prefix(&mount.path) {
                Some(rest) => rest,
                None if mount.path.is_below(&question.below) => VirtualPath::root(),
                None => continue,
            };
            let Ok(Some(tree)) = mount.driver.tree().await else { continue };
            let is_meant = self.meant(mount, question.folders, sight.clone());
            let hunt = Hunt { needle: Arc::clone(&needle), is_meant };
            for (folder, entries) in store.search(tree, below, hunt, MOST - found.len()).await {
                let Ok(folder) = folder.below(&mount.path) else { continue };
                found.extend(entries.into_iter().map(|entry| (folder.clone(), entry)));
            }
        }
        Ok(Some(found))
    }

    /// Of a mount: what is of the kind that is asked for and may be seen, and is not what another mount hides.
    fn meant(&self, mount: &Arc<Mount>, folders: Option<bool>, sight: Sight) -> Meant {
        let (mounts, mount) = (Arc::clone(&self.mounts), Arc::clone(mount));
        Box::new(move |folder, entry| {
            let is_kind = folders.is_none_or(|folders| entry.is_folder() == folders);
            let path = || folder.below(&mount.path)?.join(&entry.name);
            let is_seen = |path: VirtualPath| {
                mounts.find(&path).is_some_and(|(found, _)| found.id == mount.id)
                    && sight.of(&path) == Verdict::Allowed
            };
            is_kind && path().is_ok_and(is_seen)
        })
    }
}

// === impl Needle ===

impl Needle {
    pub(super) fn new(words: &str) -> Option<Self> {
        let folded = fold(words);
        let words: Vec<_> = folded.split_whitespace().map(|word| Finder::new(word).into_owned()).collect();
        (!words.is_empty()).then_some(Self { words })
    }

    /// Which of these names it is in, by their numbers; they are folded, each with a line break behind it.
    pub(super) fn lines(&self, names: &[u8]) -> Vec<usize> {
        // Of most questions one word or another is in no name of a page at all.
        if self.words.iter().any(|word| word.find(names).is_none()) {
            return Vec::new();
        }
        let rarest = match self.words.as_slice() {
            [only] => Some(only),
            words => words.iter().min_by_key(|word| word.find_iter(names).count()),
        };
        let Some(rarest) = rarest else { return Vec::new() };
        let (mut found, mut line, mut counted) = (Vec::new(), 0, 0);
        let mut at = 0;
        while let Some(hit) = rarest.find(&names[at..]).map(|hit| at + hit) {
            line += memchr::memchr_iter(b'\n', &names[counted..hit]).count();
            let start = memchr::memrchr(b'\n', &names[..hit]).map_or(0, |end| end + 1);
            let end = memchr::memchr(b'\n', &names[hit..]).map_or(names.len(), |end| hit + end);
            if self.words.iter().all(|word| word.find(&names[start..end]).is_some()) {
                found.push(line);
            }
            (at, counted) = (end, end);
        }
        found
    }
}

/// The names of a page, folded, each with a line break behind it.
pub(super) fn names_of(page: &Page) -> Vec<u8> {
    let mut names = Vec::new();
    for entry in page.entries() {
        names.extend_from_slice(fold(&entry.name).as_bytes());
        names.push(b'\n');
    }
    names
}

/// A name as names are compared: without capitals, on one line.
fn fold(name: &str) -> String {
    name.to_lowercase().replace(['\n', '\r'], " ")
}

/// Hits; chosen: more than anybody reads, and what a word that is everywhere may cost.
const MOST: usize = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(words: &str, names: &[&str]) -> Vec<usize> {
        let folded: String = names.iter().map(|name| fold(name) + "\n").collect();
        Needle::new(words).unwrap().lines(folded.as_bytes())
    }

    #[test]
    fn all_words_stand_in_a_name_in_any_order_and_case() {
        let names =
            ["The Wandering Earth.mkv", "流浪地球 2 (2023).mkv", "earth", "EARTH the movie", "a\nearth b"];
        assert_eq!(lines("earth", &names), [0, 2, 3, 4]);
        assert_eq!(lines("earth THE", &names), [0, 3]);
        assert_eq!(lines("地球", &names), [1]);
        assert_eq!(lines("地球 流浪 2023", &names), [1]);
        assert!(lines("earthb", &names).is_empty());
        assert!(Needle::new(" \n ").is_none());
    }
}
