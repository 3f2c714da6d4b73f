//! The drive's tree as it is now: nodes by id, duplicates allowed, ids that survive renames (fact sheet §3, §9.10).

use std::collections::HashMap;

use crate::{content::Content, secret::random_hex};

/// One drive's tree.
#[derive(Debug)]
pub(crate) struct Nodes {
    by_id: HashMap<String, Node>,
    /// Ids by folder and name, trashed ones too, in the order they came.
    by_name: HashMap<(String, String), Vec<String>>,
    serial: u64,
}

/// A file or folder.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    /// `None` for the root alone.
    pub(crate) parent: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
    pub(crate) trashed: bool,
    /// `punish_flag` (§3.2).
    pub(crate) punish: u32,
    /// Counts the nodes made before; a stable order where times are equal.
    pub(crate) serial: u64,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(File),
    Folder(Vec<String>),
}

/// A file's content.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) content: Content,
    /// `content_hash`.
    pub(crate) hash: String,
    /// Names this content in object keys and entity tags; new content has a new one.
    pub(crate) version: String,
}

impl Node {
    pub(crate) fn file(&self) -> Option<&File> {
        match &self.kind {
            Kind::File(file) => Some(file),
            Kind::Folder(_) => None,
        }
    }

    pub(crate) fn is_folder(&self) -> bool {
        matches!(self.kind, Kind::Folder(_))
    }

    pub(crate) fn size(&self) -> u64 {
        self.file().map_or(0, |file| file.content.len())
    }

    /// What follows the last dot, in lower case.
    pub(crate) fn extension(&self) -> String {
        match self.name.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => extension.to_lowercase(),
            _ => String::new(),
        }
    }
}

/// Why a node cannot be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Missing {
    Gone,
    Trashed,
}

impl Nodes {
    pub(crate) fn new(now_ms: u64) -> Self {
        let root = Node {
            id: ROOT.to_owned(),
            parent: None,
            name: "Default".to_owned(),
            kind: Kind::Folder(Vec::new()),
            created_ms: now_ms,
            updated_ms: now_ms,
            trashed: false,
            punish: 0,
            serial: 0,
        };
        Self { by_id: HashMap::from([(ROOT.to_owned(), root)]), by_name: HashMap::new(), serial: 0 }
    }

    /// A live node by id.
    pub(crate) fn find(&self, id: &str) -> Result<&Node, Missing> {
        let node = self.by_id.get(id).ok_or(Missing::Gone)?;
        if self.in_trash(node) { Err(Missing::Trashed) } else { Ok(node) }
    }

    /// A live node by path, exact and case-sensitive; of duplicates the oldest.
    pub(crate) fn at_path(&self, path: &str) -> Option<&Node> {
        names(path).try_fold(self.by_id.get(ROOT)?, |folder, name| self.child(&folder.id, name))
    }

    fn child(&self, folder: &str, name: &str) -> Option<&Node> {
        let ids = self.by_name.get(&(folder.to_owned(), name.to_owned()))?;
        ids.iter().filter_map(|id| self.by_id.get(id)).find(|node| !node.trashed)
    }

    /// The live children of a folder, in the order they were made.
    pub(crate) fn children<'a>(&'a self, folder: &'a Node) -> impl Iterator<Item = &'a Node> {
        let ids = match &folder.kind {
            Kind::Folder(ids) => ids.as_slice(),
            Kind::File(_) => &[],
        };
        ids.iter().filter_map(|id| self.by_id.get(id)).filter(|child| !child.trashed)
    }

    /// Every live node but the root.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Node> {
        self.by_id.values().filter(|node| node.parent.is_some() && !self.in_trash(node))
    }

    /// The node's path with a leading slash, and the ids along it from below the root.
    pub(crate) fn path(&self, node: &Node) -> (String, Vec<String>) {
        let (mut names, mut ids) = (Vec::new(), Vec::new());
        let mut at = Some(node);
        while let Some(node) = at {
            let Some(parent) = &node.parent else { break };
            names.push(node.name.as_str());
            ids.push(node.id.clone());
            at = self.by_id.get(parent);
        }
        names.reverse();
        ids.reverse();
        (format!("/{}", names.join("/")), ids)
    }

    /// Bytes of all live files.
    pub(crate) fn used(&self) -> u64 {
        self.all().map(Node::size).sum()
    }

    // What tests do to the tree.

    /// Makes a folder and its parents as needed; its id.
    pub(crate) fn add_folder(&mut self, path: &str, now_ms: u64) -> String {
        let mut at = ROOT.to_owned();
        for name in names(path) {
            let found = self.child(&at, name).map(|child| child.id.clone());
            at = found.unwrap_or_else(|| self.insert(&at, name, Kind::Folder(Vec::new()), now_ms));
        }
        at
    }

    /// Adds a file. A file at that path gets the new content and keeps its id, unless a duplicate is wanted.
    pub(crate) fn add_file(&mut self, path: &str, content: Content, duplicate: bool, now_ms: u64) {
        let file = File { hash: content.hash(), content, version: random_hex(20) };
        let found = if duplicate { None } else { self.at_path(path).map(|node| node.id.clone()) };
        if let Some(node) = found.and_then(|id| self.by_id.get_mut(&id)) {
            node.kind = Kind::File(file);
            node.updated_ms = now_ms;
            return;
        }
        let (folder, name) = split(path);
        let parent = self.add_folder(folder, now_ms);
        self.insert(&parent, name, Kind::File(file), now_ms);
    }

    /// Deletes for good, with everything below.
    pub(crate) fn remove(&mut self, path: &str) -> Option<()> {
        let id = self.at_path(path)?.id.clone();
        self.detach(&id)?;
        let mut doomed = vec![id];
        while let Some(id) = doomed.pop() {
            let Some(node) = self.by_id.remove(&id) else { continue };
            if let Kind::Folder(children) = node.kind {
                doomed.extend(children);
            }
            self.by_name.remove(&(node.parent.unwrap_or_default(), node.name));
        }
        Some(())
    }

    /// Changes one node in place.
    pub(crate) fn change(&mut self, path: &str, change: impl FnOnce(&mut Node)) -> Option<()> {
        let id = self.at_path(path)?.id.clone();
        self.by_id.get_mut(&id).map(change)
    }

    /// Gives a node another name; its id and its place among its siblings stay.
    pub(crate) fn rename(&mut self, path: &str, name: &str, now_ms: u64) -> Option<()> {
        let id = self.at_path(path)?.id.clone();
        self.unname(&id)?;
        let node = self.by_id.get_mut(&id)?;
        name.clone_into(&mut node.name);
        node.updated_ms = now_ms;
        let key = (node.parent.clone()?, node.name.clone());
        self.by_name.entry(key).or_default().push(id);
        Some(())
    }

    /// Moves a node into another folder, made as needed; its id stays.
    pub(crate) fn relocate(&mut self, path: &str, folder: &str, now_ms: u64) -> Option<()> {
        let id = self.at_path(path)?.id.clone();
        let new = self.add_folder(folder, now_ms);
        self.detach(&id)?;
        self.attach(&id, &new);
        Some(())
    }

    /// Takes a node out of its folder.
    fn detach(&mut self, id: &str) -> Option<()> {
        self.unname(id)?;
        let parent = self.by_id.get(id)?.parent.clone()?;
        if let Some(Kind::Folder(children)) = self.by_id.get_mut(&parent).map(|folder| &mut folder.kind) {
            children.retain(|child| child != id);
        }
        Some(())
    }

    /// Takes a node out of the index of names.
    fn unname(&mut self, id: &str) -> Option<()> {
        let node = self.by_id.get(id)?;
        let key = (node.parent.clone()?, node.name.clone());
        if let Some(ids) = self.by_name.get_mut(&key) {
            ids.retain(|other| other != id);
        }
        Some(())
    }

    /// Puts a node into a folder, last.
    fn attach(&mut self, id: &str, parent: &str) {
        if let Some(Kind::Folder(children)) = self.by_id.get_mut(parent).map(|folder| &mut folder.kind) {
            children.push(id.to_owned());
        }
        if let Some(node) = self.by_id.get_mut(id) {
            node.parent = Some(parent.to_owned());
            self.by_name.entry((parent.to_owned(), node.name.clone())).or_default().push(id.to_owned());
        }
    }

    fn insert(&mut self, parent: &str, name: &str, kind: Kind, now_ms: u64) -> String {
        self.serial += 1;
        // Ids open with the second they were made in, as the drive's do.
        let id = format!("{:08x}{}", now_ms / 1000, random_hex(16));
        let node = Node {
            id: id.clone(),
            parent: Some(parent.to_owned()),
            name: name.to_owned(),
            kind,
            created_ms: now_ms,
            updated_ms: now_ms,
            trashed: false,
            punish: 0,
            serial: self.serial,
        };
        self.by_id.insert(id.clone(), node);
        self.attach(&id, parent);
        id
    }

    fn in_trash(&self, node: &Node) -> bool {
        let mut at = Some(node);
        while let Some(node) = at {
            if node.trashed {
                return true;
            }
            at = node.parent.as_ref().and_then(|parent| self.by_id.get(parent));
        }
        false
    }
}

/// The names in a path; leading, trailing and doubled slashes do not matter.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

/// A path's folder and last name.
fn split(path: &str) -> (&str, &str) {
    path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path))
}

/// The root folder's id (§0).
pub(crate) const ROOT: &str = "root";

#[cfg(test)]
mod tests {
    use super::*;

    fn file(seed: u64) -> Content {
        Content::Virtual { len: 10, seed }
    }

    #[test]
    fn ids_survive_renames_and_new_content() {
        let mut nodes = Nodes::new(0);
        nodes.add_file("/a/b.mkv", file(1), false, 0);
        let id = nodes.at_path("/a/b.mkv").unwrap().id.clone();
        nodes.rename("/a/b.mkv", "c.mkv", 0).unwrap();
        nodes.add_file("/a/c.mkv", file(2), false, 1);
        nodes.relocate("/a/c.mkv", "/x/y", 1).unwrap();
        assert_eq!(nodes.at_path("x/y/c.mkv").unwrap().id, id);
        assert!(nodes.at_path("/a/b.mkv").is_none());
        assert_eq!(id.len(), 40);
    }

    #[test]
    fn trashed_folders_hide_what_is_below() {
        let mut nodes = Nodes::new(0);
        nodes.add_file("/a/b.mkv", file(1), false, 0);
        let id = nodes.at_path("/a/b.mkv").unwrap().id.clone();
        nodes.change("/a", |node| node.trashed = true).unwrap();
        assert_eq!(nodes.find(&id).unwrap_err(), Missing::Trashed);
        assert_eq!(nodes.all().count(), 0);
    }

    #[test]
    fn removed_nodes_are_gone_with_everything_below() {
        let mut nodes = Nodes::new(0);
        nodes.add_file("/a/b.mkv", file(1), false, 0);
        let id = nodes.at_path("/a/b.mkv").unwrap().id.clone();
        nodes.remove("/a").unwrap();
        assert_eq!(nodes.find(&id).unwrap_err(), Missing::Gone);
    }

    #[test]
    fn names_may_be_shared() {
        let mut nodes = Nodes::new(0);
        nodes.add_file("/a", file(1), false, 0);
        nodes.add_file("/a", file(2), true, 0);
        let root = nodes.find(ROOT).unwrap();
        assert_eq!(nodes.children(root).count(), 2);
    }
}
