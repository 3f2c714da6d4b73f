//! Names as the local file system can hold them. Pure.
//!
//! Most can stay as they are. One that is too long is cut, with a few digits of its hash, so that two do not become one; where files go to Windows
//! the characters that it refuses become their full-width likenesses.

use sha2::{Digest, Sha256};

/// The local name of a folder.
pub(super) fn folder(name: &str) -> String {
    fitting(name, "")
}

/// The local name of a file.
pub(super) fn file(name: &str) -> String {
    let extension = name.rsplit_once('.').map_or(0, |(_, extension)| extension.len() + 1);
    // What is no extension but a sentence with a dot in it is cut like the rest.
    let extension = if extension <= LONGEST_EXTENSION { extension } else { 0 };
    let (stem, extension) = name.split_at(name.len() - extension);
    fitting(stem, extension)
}

/// The local name of a film's `.strm` file: media servers know the files beside it by the stem.
pub(super) fn strm(name: &str) -> String {
    fitting(name.rsplit_once('.').map_or(name, |(stem, _)| stem), ".strm")
}

/// The same where two films have one stem.
pub(super) fn whole_strm(name: &str) -> String {
    fitting(name, ".strm")
}

/// Eight hexadecimal digits that stand for a name.
pub(super) fn short_hash(name: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(name.as_bytes())[..4])
}

fn fitting(stem: &str, extension: &str) -> String {
    let whole = usable(&format!("{stem}{extension}"));
    if whole.len() <= LONGEST {
        return whole;
    }
    let (stem, extension) = (usable(stem), usable(extension));
    let room = LONGEST - extension.len() - 9;
    let cut = (0..=room).rev().find(|at| stem.is_char_boundary(*at)).unwrap_or(0);
    format!("{}~{}{extension}", &stem[..cut], short_hash(&stem))
}

/// A name with what this system refuses replaced, and none of ours.
fn usable(name: &str) -> String {
    let name = if name.starts_with(OURS) { format!("_{name}") } else { name.to_owned() };
    if !cfg!(windows) {
        return name;
    }
    let likeness = |c: char| match c {
        '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\\' => {
            char::from_u32(u32::from(c) - 0x20 + 0xff00).unwrap_or('_')
        }
        '\0'..='\u{1f}' => '_',
        c => c,
    };
    let name: String = name.chars().map(likeness).collect();
    match name.strip_suffix(['.', ' ']) {
        Some(rest) => format!("{rest}_"),
        None => name,
    }
}

/// In bytes: what the file systems of Linux hold, less what a name for a file that is being written takes.
const LONGEST: usize = 240;
/// How the names of our own files begin.
const OURS: &str = ".sluice-export";
const LONGEST_EXTENSION: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_as_they_are_where_they_can() {
        assert_eq!(strm("流浪地球 (2019).mkv"), "流浪地球 (2019).strm");
        assert_eq!(strm("no extension"), "no extension.strm");
        assert_eq!(folder(".sluice-export.part"), "_.sluice-export.part");
        assert_eq!(whole_strm("a.mkv"), "a.mkv.strm");
        assert_eq!((folder("a. b"), file("a.zh.srt")), ("a. b".to_owned(), "a.zh.srt".to_owned()));
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (one, other) = (format!("{}1.mkv", "地".repeat(200)), format!("{}2.mkv", "地".repeat(200)));
        assert_ne!(strm(&one), strm(&other));
        assert!(strm(&one).len() <= LONGEST && strm(&one).ends_with(".strm"));
        assert!(file(&one).ends_with(".mkv"));
    }

    proptest! {
        #[test]
        fn every_name_fits(name in "[^/\0]{1,300}") {
            for local in [folder(&name), file(&name), strm(&name), whole_strm(&name)] {
                prop_assert!((1..=LONGEST).contains(&local.len()) && !local.contains('/'));
            }
        }
    }
}
