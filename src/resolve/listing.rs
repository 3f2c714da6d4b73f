//! The children of a folder, read page by page as they are wanted.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream;

use super::entries::Entries;
use super::page::Page;
use crate::access::rules::Sight;
use crate::budget::Errand;
use crate::driver::{Entry, EntryId};
use crate::error::Result;
use crate::mount::Mount;
use crate::path::VirtualPath;

/// The children of a folder, in the order the drive lists them. Where several bear one name, the first is the one that a
/// path means. Clones are the same listing.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The folder itself.
    pub folder: Arc<Entry>,
    /// Mounts that hang in it, and folders that lead to one; they hide what the drive has under their names.
    hanging: Vec<Entry>,
    listed: Option<Listed>,
    /// Whose eyes it is for, and where it is in the tree; none for all that is there.
    seen_by: Option<(Sight, VirtualPath)>,
}

/// What a drive lists.
#[derive(Clone, Debug)]
struct Listed {
    entries: Entries,
    mount: Arc<Mount>,
    path: VirtualPath,
    first: Arc<Page>,
    /// Pages are asked for while the answer is on its way, when its request's own errand is over.
    errand: Errand,
    is_stale: bool,
}

// === impl Listing ===

impl Listing {
    /// What the drive of a mount lists, of which the first page is here.
    pub(super) fn of(
        entries: &Entries,
        mount: &Arc<Mount>,
        path: VirtualPath,
        first: Arc<Page>,
        is_stale: bool,
    ) -> Self {
        let folder = Arc::clone(&first.folder);
        let (entries, mount, errand) = (entries.clone(), Arc::clone(mount), Errand::current());
        let listed = Listed { entries, mount, path, first, errand, is_stale };
        Self { folder, hanging: Vec::new(), listed: Some(listed), seen_by: None }
    }

    /// A folder that exists in no drive.
    pub(super) fn virtual_folder(path: &VirtualPath, names: &BTreeSet<&str>) -> Self {
        let folder = Arc::new(Entry::folder(EntryId::new(path.as_str()), path.name().unwrap_or_default()));
        Self { folder, hanging: Vec::new(), listed: None, seen_by: None }.covered_by(names)
    }

    /// This listing with mounts of these names hanging in it.
    pub(super) fn covered_by(mut self, names: &BTreeSet<&str>) -> Self {
        self.hanging = names.iter().map(|name| Entry::folder(EntryId::new(*name), name)).collect();
        self
    }

    /// This listing of the folder at `path`, without what these eyes may not see.
    #[must_use]
    pub fn seen_by(self, sight: &Sight, path: &VirtualPath) -> Self {
        Self { seen_by: Some((sight.clone(), path.clone())), ..self }
    }

    /// Whether all of it is at hand.
    pub fn is_one_page(&self) -> bool {
        self.listed.as_ref().is_none_or(|listed| listed.first.next.is_none())
    }

    /// Whether the drive does not answer, and this is what it said before.
    pub fn is_stale(&self) -> bool {
        self.listed.as_ref().is_some_and(|listed| listed.is_stale)
    }

    /// The children, page after page; the first is at hand. Dropping the stream loses nothing that was fetched, and after
    /// a failure the next reader goes on where this one came to.
    pub fn pages(&self) -> impl Stream<Item = Result<Vec<Entry>>> + Send + use<> {
        let listing = self.clone();
        stream::try_unfold((None, 0), move |(previous, number)| {
            let listing = listing.clone();
            async move {
                let page = listing.page(previous.as_ref(), number).await?;
                let is_shown = |entry: &Entry| {
                    listing.seen_by.as_ref().is_none_or(|(sight, path)| sight.shows(path, &entry.name))
                };
                let hanging = listing.hanging.iter().filter(|entry| number == 0 && is_shown(entry));
                let mut children: Vec<_> = hanging.cloned().collect();
                let Some(page) = page else {
                    return Ok((!children.is_empty()).then_some((children, (previous, number + 1))));
                };
                let is_covered = |name: &str| listing.hanging.iter().any(|mount| &*mount.name == name);
                children.extend(page.entries().filter(|entry| !is_covered(&entry.name) && is_shown(entry)));
                Ok(Some((children, (Some(page), number + 1))))
            }
        })
    }

    async fn page(&self, previous: Option<&Arc<Page>>, number: u32) -> Result<Option<Arc<Page>>> {
        match (&self.listed, previous) {
            (Some(listed), None) if number == 0 => Ok(Some(Arc::clone(&listed.first))),
            (Some(listed), Some(previous)) => {
                let Listed { entries, mount, path, errand, .. } = listed;
                errand.clone().doing(entries.page_after(mount, path, previous, number)).await
            }
            _ => Ok(None),
        }
    }
}
