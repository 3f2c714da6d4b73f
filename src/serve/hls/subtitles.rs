//! A film's text tracks: those that the drive takes out of it.

use std::collections::HashSet;

use super::playlist::{self, TextTrack, language_name};
use super::{Text, TextFault};
use crate::driver::Preview;
use crate::error::{Error, ErrorKind, Result};
use crate::path::VirtualPath;
use crate::resolve::Want;
use crate::secret::SignedUrl;
use crate::serve::Site;

/// A text track, and where its text is.
pub(super) struct Track {
    pub(super) listed: TextTrack,
}

impl Site {
    /// All text tracks of a film, each with an address and a name of its own.
    pub(super) async fn tracks(&self, _path: &VirtualPath, preview: &Preview) -> Vec<Track> {
        let mut tags = HashSet::new();
        let mut tracks = Vec::new();
        for subtitle in &preview.subtitles {
            if tags.insert(&*subtitle.language) {
                tracks.push(Track {
                    listed: TextTrack {
                        tag: subtitle.language.to_string(),
                        language: subtitle.language.to_string(),
                        name: language_name(&subtitle.language).to_owned(),
                        is_forced: false,
                        is_default: false,
                    },
                });
            }
        }
        tracks
    }

    pub(super) async fn subtitle_playlist(
        &self,
        path: &VirtualPath,
        tag: &str,
        query: &str,
    ) -> Result<String> {
        let preview = self.preview(path).await?;
        track(&preview, tag)?;
        Ok(playlist::subtitles(tag, preview.duration, query))
    }

    /// The text of a track as WebVTT, on the clock of the segments.
    pub(super) async fn subtitle(&self, path: &VirtualPath, tag: &str) -> Result<String> {
        let text = self.drives_subtitle(path, tag).await?;
        // Not knowing when the picture begins must not cost the subtitles. All variants are cut from one film.
        let preview = self.preview(path).await?;
        let at = match preview.playable().next() {
            Some((variant, _)) => self.begins_at(path, &variant.id).await,
            None => None,
        };
        Ok(match at {
            Some(ticks) => playlist::timed(&text, ticks),
            None => text,
        })
    }

    async fn drives_subtitle(&self, path: &VirtualPath, tag: &str) -> Result<String> {
        let mut failed = None;
        loop {
            let again = failed.is_some();
            let preview = self.find(path, Want::Preview { failed: failed.take() }).await?.into_preview()?;
            match self.fetch_text(track(&preview, tag)?).await {
                Ok(Text { text, .. }) if text.trim_start_matches('\u{feff}').starts_with("WEBVTT") => {
                    return Ok(text);
                }
                Ok(_) => {
                    return Err(Error::new(ErrorKind::Upstream, "read subtitles")
                        .saying("the drive's subtitles are not WebVTT"));
                }
                Err(TextFault::Refused(_)) if !again => failed = Some(preview),
                Err(TextFault::Refused(error) | TextFault::Other(error)) => return Err(error),
            }
        }
    }
}

fn track<'a>(preview: &'a Preview, language: &str) -> Result<&'a SignedUrl> {
    let track = preview.subtitles.iter().find(|track| &*track.language == language);
    track.map(|track| &track.url).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "find subtitles").saying("the film has no subtitles in this language")
    })
}
