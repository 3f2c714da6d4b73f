//! A plan of folders and files to start a simulator with, and the one the demo shows.

use bytes::Bytes;

use crate::{content::Content, samples::Sample};

/// Folders and files by path, in the order they are made.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    pub(crate) entries: Vec<(String, Option<Content>)>,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file; its folders are made as needed.
    pub fn file(mut self, path: &str, content: Content) -> Self {
        self.entries.push((path.to_owned(), Some(content)));
        self
    }

    /// Adds a folder; its parents are made as needed.
    pub fn folder(mut self, path: &str) -> Self {
        self.entries.push((path.to_owned(), None));
        self
    }
}

/// A small tree with everything a reader wants to click on: films, a season, odd names, a film of 100 GB.
pub fn demo_tree() -> Tree {
    let text = |text: &'static str| Content::Bytes(Bytes::from_static(text.as_bytes()));
    let (mkv, mp4) = (Content::Sample(Sample::Mkv), Content::Sample(Sample::Mp4));
    let mut tree = Tree::new()
        .file("films/Test Card (2026)/Test Card (2026).mp4", mp4.clone())
        .file("films/Test Card (2026)/Test Card (2026).nfo", text(NFO))
        .file("films/Test Card (2026)/poster.jpg", Content::Sample(Sample::Poster))
        .file("films/Matroska & Subtitles.mkv", mkv.clone())
        .file("films/Matroska & Subtitles.eng.vtt", Content::Sample(Sample::Subtitle))
        .file("films/测试影片 第一部.mkv", mkv.clone())
        .file("films/100% #1 \"quoted\" + more?.mp4", mp4.clone())
        .file("films/🎬 Emoji Film.mp4", mp4.clone())
        .file("films/A Very Long Film (100 GB).mkv", Content::Virtual { len: 100_000_000_000, seed: 100 });
    for episode in 1..=6 {
        let content = if episode % 2 == 0 { mkv.clone() } else { mp4.clone() };
        let extension = if episode % 2 == 0 { "mkv" } else { "mp4" };
        tree = tree.file(
            &format!("shows/Some Show/Season 01/Some Show - S01E{episode:02} - Part {episode}.{extension}"),
            content,
        );
    }
    tree.folder("shows/Some Show/Season 02 (soon)")
        .file("music & more/Side A/01 - Tone.flac", Content::Virtual { len: 30_000_000, seed: 1 })
        .file("music & more/Side A/02 - Beep.flac", Content::Virtual { len: 25_000_000, seed: 2 })
        .file("music & more/cover.jpg", Content::Sample(Sample::Poster))
        .file("read me.txt", text("A simulated drive. Nothing here is real.\n"))
}

const NFO: &str =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<movie><title>Test Card</title><year>2026</year></movie>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_the_three_folders() {
        let tree = demo_tree();
        for folder in ["films/", "shows/Some Show/Season 01/", "music & more/"] {
            assert!(tree.entries.iter().any(|(path, _)| path.starts_with(folder)));
        }
    }
}
