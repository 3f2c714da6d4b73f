//! Lists a tree, folder by folder. A folder that cannot be listed is told as such, and what lies below it is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::TryStreamExt;

use crate::error::{Error, ErrorKind, Result};
use crate::path::VirtualPath;
use crate::resolve::{Known, ResolveRequest, Resolver, Want};
use crate::serve::media_type;

/// What was listed, by paths within the tree.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Folders that were listed whole.
    pub(super) listed: BTreeSet<VirtualPath>,
    /// Folders that could not be.
    pub(super) failed: BTreeSet<VirtualPath>,
    /// Films, and what may lie beside them.
    pub(super) files: BTreeMap<String, File>,
}

/// A file that an export is about.
#[derive(Debug)]
pub(super) struct File {
    pub(super) known: Known,
    pub(super) is_film: bool,
}

/// Walks through the tree at `root`.
///
/// # Errors
/// Where the root itself cannot be listed.
pub(super) async fn walk(resolver: &Resolver, root: &VirtualPath) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut folders = vec![VirtualPath::root()];
    while let Some(folder) = folders.pop() {
        match list(resolver, root, &folder, &mut seen).await {
            Ok(below) => {
                seen.listed.insert(folder);
                folders.extend(below);
            }
            Err(error) if folder.is_root() => return Err(error),
            Err(error) => {
                tracing::warn!(%folder, %error, "a folder was not listed; what is exported of it stays");
                seen.failed.insert(folder);
            }
        }
    }
    Ok(seen)
}

/// Lists one folder; answers the folders in it.
async fn list(
    resolver: &Resolver,
    root: &VirtualPath,
    folder: &VirtualPath,
    seen: &mut Seen,
) -> Result<Vec<VirtualPath>> {
    let path = folder.below(root)?;
    let request = ResolveRequest { path: path.clone(), want: Want::Children { fresh: true }, known: None };
    let found = resolver.resolve(request).await?;
    let mount = found.mount.clone();
    let listing = found.into_children()?;
    if listing.is_stale() {
        return Err(Error::new(ErrorKind::Unavailable, "list a folder").saying("the drive does not answer"));
    }
    let (mut folders, mut files) = (Vec::new(), BTreeMap::new());
    let mut pages = Box::pin(listing.pages());
    while let Some(entries) = pages.try_next().await? {
        for entry in entries {
            let Ok(path) = folder.join(&entry.name) else { continue };
            if entry.is_folder() {
                folders.push(path);
                continue;
            }
            let is_film = media_type::is_film(&entry.name);
            let Some(mount) = mount.clone().filter(|_| is_film || is_beside(&entry.name)) else { continue };
            let known = Known { mount, entry: Arc::new(entry) };
            // Of several with one name the first is meant.
            files.entry(path.as_str().to_owned()).or_insert(File { known, is_film });
        }
    }
    // Half a folder is none.
    seen.files.append(&mut files);
    Ok(folders)
}

/// Whether a media server reads a file of this name beside a film.
fn is_beside(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    BESIDE.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

const BESIDE: [&str; 15] = [
    "ass", "bmp", "gif", "idx", "jpeg", "jpg", "nfo", "png", "srt", "ssa", "sub", "sup", "tbn", "vtt", "webp",
];
