//! Imports run one way: the map in the crate doc, enforced.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rooms from the outside in; a room may import the rooms behind it and the leaves.
const ORDER: [&str; 8] = ["app", "transport", "export", "serve", "stream", "resolve", "mount", "driver"];
const LEAVES: [&str; 12] = [
    "access", "budget", "clock", "error", "http", "lease", "logs", "path", "secret", "section", "sign",
    "state",
];

/// What a room may import.
fn allowed(room: &str) -> BTreeSet<&'static str> {
    let mut rooms: BTreeSet<&str> = LEAVES.into();
    match room {
        "app" => rooms.extend(ORDER.into_iter().chain(["config", "layer"])),
        // The settings of every room.
        "config" => rooms.extend(ORDER.into_iter().filter(|room| *room != "app").chain(["layer"])),
        // Generic over what they wrap.
        "layer" | "transport" => {}
        leaf if LEAVES.contains(&leaf) => {}
        room => {
            let at = ORDER
                .iter()
                .position(|known| *known == room)
                .unwrap_or_else(|| panic!("{room} has no place"));
            rooms.extend(&ORDER[at + 1..]);
        }
    }
    if room == "serve" {
        // The word for what a request must show; see the crate doc.
        rooms.insert("layer");
    }
    rooms
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_run_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let room = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if ["lib", "main", "cli"].contains(&room.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        // What tests need is no arrow of the product.
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for (_, rest) in product.match_indices("crate::").map(|(at, mark)| product.split_at(at + mark.len()))
        {
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            // `use crate::{one, other};` names several rooms.
            let names = match rest.strip_prefix('{') {
                Some(group) => group.split('}').next().unwrap(),
                None => rest.split(|c| !is_name(c)).next().unwrap(),
            };
            seen.insert(room.clone());
            for target in names.split(|c| !is_name(c)).filter(|name| !name.is_empty()) {
                if target != room && !allowed(&room).contains(target) {
                    wrong.push(format!("{} imports {target}", relative.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that run back up: {wrong:#?}");
    // The scan has seen the rooms, so an empty result means something.
    assert!(ORDER.iter().filter(|room| **room != "transport").all(|room| seen.contains(*room)), "{seen:?}");
}
