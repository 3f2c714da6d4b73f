//! Which drive a path belongs to: the longest mount that is a prefix of it, component by component.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::driver::{Driver, Unopened};
use crate::path::VirtualPath;

/// One mounted drive.
#[derive(Debug)]
pub struct Mount {
    /// Its place in the table; part of every cache key.
    pub id: MountId,
    /// Where it hangs.
    pub path: VirtualPath,
    /// The drive.
    pub driver: Arc<dyn Driver>,
    /// How its files are delivered.
    pub policy: Policy,
}

/// The number of a mount.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MountId(pub u16);

/// How the files of a mount are delivered.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// On `/d` and `/hls`.
    pub delivery: Mode,
    /// On `/dav`.
    pub dav_delivery: Mode,
    /// Where `DownloadProxy` sends clients; the encoded path and a signature are appended.
    pub download_proxy_url: Option<String>,
}

/// A choice of the operator.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// A redirect to clients that can live with it, else the bytes.
    #[default]
    Auto,
    /// A redirect to a helper that fetches the link from us and relays the bytes.
    DownloadProxy,
    /// The bytes.
    Proxy,
    /// A redirect wherever one can work at all.
    Redirect,
}

/// One mount as the operator wrote it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it hangs.
    pub path: VirtualPath,
    /// The driver with its options, not opened yet.
    pub driver: Arc<dyn Unopened>,
    /// How its files are delivered.
    pub policy: Policy,
}

/// All mounts.
#[derive(Debug, Default)]
pub struct MountTable {
    /// Longest path first, so that the first match is the one.
    mounts: Vec<Arc<Mount>>,
}

// === impl MountTable ===

impl MountTable {
    /// A table of these mounts. Their paths differ; `config` sees to that.
    pub fn new(mut mounts: Vec<Arc<Mount>>) -> Self {
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount.path.components().count()));
        Self { mounts }
    }

    /// The mount that holds `path`, and the path within it.
    pub fn find(&self, path: &VirtualPath) -> Option<(&Arc<Mount>, VirtualPath)> {
        self.mounts.iter().find_map(|mount| Some((mount, path.strip_prefix(&mount.path)?)))
    }

    /// All mounts, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Mount>> {
        self.mounts.iter()
    }

    /// The names of the mounts, and of the folders that lead to one, directly below `folder`.
    pub fn names_below(&self, folder: &VirtualPath) -> BTreeSet<&str> {
        self.mounts
            .iter()
            .filter(|mount| mount.path.strip_prefix(folder).is_some_and(|rest| !rest.is_root()))
            .filter_map(|mount| mount.path.components().nth(folder.components().count()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::local;

    fn table(paths: &[&str]) -> MountTable {
        let folder = tempfile::tempdir().unwrap();
        let mounts = paths.iter().zip(0..).map(|(path, number)| {
            Arc::new(Mount {
                id: MountId(number),
                path: VirtualPath::parse(path).unwrap(),
                driver: local::open(folder.path()).unwrap(),
                policy: Policy::default(),
            })
        });
        MountTable::new(mounts.collect())
    }

    #[test]
    fn the_longest_mount_wins() {
        let table = table(&["/", "/a", "/a/b/c"]);
        let found = |path: &str| {
            let path = VirtualPath::parse(path).unwrap();
            table.find(&path).map(|(mount, rest)| (mount.path.to_string(), rest.to_string()))
        };
        let pair = |mount: &str, rest: &str| Some((mount.to_owned(), rest.to_owned()));
        assert_eq!(found("/a/b/c/d"), pair("/a/b/c", "/d"));
        assert_eq!(found("/a/b"), pair("/a", "/b"));
        assert_eq!(found("/ab"), pair("/", "/ab"));
        assert_eq!(found("/a"), pair("/a", "/"));
    }

    #[test]
    fn folders_that_lead_to_mounts_are_listed() {
        let table = table(&["/a/b", "/a/c/d", "/e"]);
        let names = |path: &str| {
            table
                .names_below(&VirtualPath::parse(path).unwrap())
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(names("/"), ["a", "e"]);
        assert_eq!(names("/a"), ["b", "c"]);
        assert!(names("/e").is_empty());
        assert!(names("/a/b").is_empty());
    }
}
