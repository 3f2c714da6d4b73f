//! What is to be done: from what was listed and what was written before. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::manifest::Manifest;
use super::names;
use super::walk::Seen;
use crate::path::VirtualPath;

/// What is to be done, in order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// Files that were not listed, and that stay.
    pub(super) missing: usize,
    pub(super) too_many_missing: bool,
}

/// One thing to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Action {
    /// Within the tree.
    pub(super) source: String,
    /// In the folder of the export.
    pub(super) local: String,
    pub(super) step: Step,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// See that it is there, as it should be.
    Put,
    /// Remove it.
    Remove,
}

/// Decides; counts in the manifest how often files were missing.
pub(super) fn plan(seen: &Seen, manifest: &mut Manifest, side_files: bool, allow_delete: bool) -> Plan {
    hand_over(seen, manifest, side_files);
    let total = manifest.len();
    let (mut gone, mut missing) = (Vec::new(), 0);
    for (source, record) in manifest.iter_mut() {
        // What is not to be exported any more is no more missed than what was deleted.
        let is_wanted = is_wanted(seen, source, side_files);
        if is_wanted || !is_known_to_be_gone(seen, source) {
            if is_wanted {
                record.missing = 0;
            }
            continue;
        }
        record.missing = record.missing.saturating_add(1);
        missing += 1;
        if record.missing >= LISTINGS {
            let (source, local) = (source.clone(), record.local.clone());
            gone.push(Action { source, local, step: Step::Remove });
        }
    }
    let too_many_missing = !allow_delete && missing * SHARE > total;
    if too_many_missing {
        gone.clear();
    }
    missing -= gone.len();
    let mut plan = Plan { actions: Vec::new(), missing, too_many_missing };
    let locals = locals(seen, manifest, side_files);
    let puts = locals.into_iter().map(|(source, local)| Action { source, local, step: Step::Put });
    plan.actions.extend(puts);
    plan.actions.extend(gone);
    plan
}

/// What is exported.
fn is_wanted(seen: &Seen, source: &str, side_files: bool) -> bool {
    seen.files.get(source).is_some_and(|file| file.is_film || side_files)
}

/// Lets what has come in the place of what is gone have its file: a film that is another container now keeps its name, and media servers what they
/// know of it.
fn hand_over(seen: &Seen, manifest: &mut Manifest, side_files: bool) {
    let is_free = |source: &str| !is_wanted(seen, source, side_files) && is_known_to_be_gone(seen, source);
    let free = manifest.iter().filter(|(source, _)| is_free(source));
    let mut free: BTreeMap<_, _> =
        free.map(|(source, record)| (record.local.clone(), source.clone())).collect();
    for (source, file) in &seen.files {
        if manifest.get(source).is_some() || !(file.is_film || side_files) {
            continue;
        }
        let [first, _] = candidates(source, file.is_film);
        if let Some(old) = free.remove(&first) {
            manifest.rename(&old, source);
        }
    }
}

/// Whether the nearest folder of which anything is known was listed whole, and so does not have the way to this file.
fn is_known_to_be_gone(seen: &Seen, source: &str) -> bool {
    let Ok(path) = VirtualPath::parse(source) else { return false };
    let mut folder = path.parent();
    while let Some(at) = folder {
        if seen.listed.contains(&at) {
            return true;
        }
        if seen.failed.contains(&at) {
            return false;
        }
        folder = at.parent();
    }
    false
}

/// Where each file goes. What was written before stays where it is; of two films with one stem the second keeps its extension.
fn locals(seen: &Seen, manifest: &Manifest, side_files: bool) -> BTreeMap<String, String> {
    let mut locals = BTreeMap::new();
    // What is missing and still there has its place too.
    let mut taken: BTreeSet<_> = manifest.iter().map(|(_, record)| record.local.clone()).collect();
    for (source, file) in seen.files.iter().filter(|(_, file)| file.is_film || side_files) {
        let local = match manifest.get(source) {
            Some(record) => Some(record.local.clone()),
            None => candidates(source, file.is_film).into_iter().find(|local| taken.insert(local.clone())),
        };
        if let Some(local) = local {
            locals.insert(source.clone(), local);
        }
    }
    locals
}

/// Where a file may go, the first first.
fn candidates(source: &str, is_film: bool) -> [String; 2] {
    let (folder, name) = source.rsplit_once('/').unwrap_or(("", source));
    let folders = folder.split('/').filter(|name| !name.is_empty()).map(|name| names::folder(name) + "/");
    let folder: String = folders.collect();
    let names = match is_film {
        true => [names::strm(name), names::whole_strm(name)],
        false => [names::file(name), format!("{}-{}", names::short_hash(name), names::file(name))],
    };
    names.map(|name| format!("{folder}{name}"))
}

/// Whole listings in a row that must lack a file before it goes.
const LISTINGS: u32 = 2;
/// A tenth of the tree may go at once.
const SHARE: usize = 10;
