//! A film's text tracks: those that the drive takes out of it, and the subtitle files that lie beside it.

use std::sync::Arc;

use futures_util::TryStreamExt;

use super::beside::{self, Beside};
use super::captions::{Format, timed, to_webvtt};
use super::multivariant::{self, TextTrack};
use super::{DESCRIBED_WITHIN, LONGEST_TEXT, Text, TextFault};
use crate::access::rules::Sight;
use crate::driver::Preview;
use crate::error::{Error, ErrorKind, Result};
use crate::http::body::read_limited;
use crate::http::range::ByteRange;
use crate::path::VirtualPath;
use crate::resolve::{Known, Want};
use crate::secret::SignedUrl;
use crate::serve::Site;
use crate::serve::media_type::{self, Kind};
use crate::stream::{Audience, FileOrigin};

impl Site {
    /// All text tracks of a film that can be told of in time, each with an address and a name of its own.
    pub(super) async fn tracks(
        &self,
        path: &VirtualPath,
        preview: &Preview,
        sight: &Sight,
    ) -> Vec<TextTrack> {
        let beside = tokio::time::timeout(DESCRIBED_WITHIN, self.beside(path, preview, sight)).await;
        let beside = match beside {
            Ok(Ok(files)) => files,
            // They must not cost the film; a large folder goes on being listed, and the next viewer has them.
            Ok(Err(error)) => {
                tracing::debug!(%error, "could not look for subtitle files");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        let drives = preview.subtitles.iter().map(|track| TextTrack {
            tag: track.language.to_string(),
            language: track.language.to_string(),
            name: beside::name_of(&track.language).unwrap_or(&track.language).to_owned(),
            is_forced: false,
            is_default: false,
            is_for_impaired: false,
        });
        let files = beside.into_iter().map(|(file, _)| TextTrack {
            tag: file.tag,
            language: file.language.to_owned(),
            name: file.name,
            is_forced: file.is_forced,
            is_default: file.is_default,
            is_for_impaired: file.is_for_impaired,
        });
        drives.chain(files).collect()
    }

    pub(super) async fn subtitle_playlist(
        &self,
        path: &VirtualPath,
        tag: &str,
        query: &str,
        sight: &Sight,
    ) -> Result<String> {
        let preview = self.preview(path).await?;
        if track(&preview, tag).is_none() {
            self.file_called(path, &preview, tag, sight).await?;
        }
        Ok(multivariant::subtitles(tag, preview.duration, query))
    }

    /// The text of a track as WebVTT, on the clock of the segments.
    pub(super) async fn subtitle(&self, path: &VirtualPath, tag: &str, sight: &Sight) -> Result<String> {
        let preview = self.preview(path).await?;
        let text = if track(&preview, tag).is_some() {
            self.drives_subtitle(path, tag).await?
        } else {
            let (file, known) = self.file_called(path, &preview, tag, sight).await?;
            self.files_subtitle(path, file, known).await?
        };
        // Not knowing when the picture begins must not cost the subtitles. All variants are cut from one film.
        let at = match preview.playable().next() {
            Some((variant, _)) => self.begins_at(path, &variant.id).await,
            None => None,
        };
        Ok(match at {
            Some(ticks) => timed(&text, ticks),
            None => text,
        })
    }

    async fn drives_subtitle(&self, path: &VirtualPath, tag: &str) -> Result<String> {
        let mut failed = None;
        loop {
            let again = failed.is_some();
            let preview = self.find(path, Want::Preview { failed: failed.take() }).await?.into_preview()?;
            match self.fetch_text(track(&preview, tag).ok_or_else(no_such_track)?).await {
                Ok(Text { text, .. }) if text.trim_start_matches('\u{feff}').starts_with("WEBVTT") => {
                    return Ok(text);
                }
                Ok(_) => {
                    return Err(Error::new(ErrorKind::Upstream, "read subtitles")
                        .saying("the drive's subtitles are not WebVTT"));
                }
                Err(TextFault::Refused(_)) if !again => failed = Some(preview),
                Err(fault) => return Err(fault.into_error()),
            }
        }
    }

    /// A subtitle file, read as any other file is.
    async fn files_subtitle(&self, film: &VirtualPath, file: Beside, known: Known) -> Result<String> {
        let len = known.entry.len;
        if len > LONGEST_TEXT as u64 {
            return Err(
                Error::new(ErrorKind::Unsupported, OPERATION).saying("the subtitle file is too large")
            );
        }
        let path = film.parent().unwrap_or_else(VirtualPath::root).join(&file.file)?;
        let mount = Arc::clone(&known.mount);
        let origin = FileOrigin::new(self.0.resolver.clone(), path, known);
        let audience = Audience { may_probe: false, patience: std::time::Duration::ZERO };
        let body = self.0.engine.part(origin, mount.driver.info(), ByteRange::whole(len), audience).await?;
        let bytes = read_limited(body, LONGEST_TEXT, OPERATION).await?;
        // Guessing what a large file is encoded in takes its time.
        tokio::task::spawn_blocking(move || to_webvtt(&bytes, file.format))
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, OPERATION).caused_by(error))?
    }

    async fn file_called(
        &self,
        path: &VirtualPath,
        preview: &Preview,
        tag: &str,
        sight: &Sight,
    ) -> Result<(Beside, Known)> {
        let files = tokio::time::timeout(self.0.hold, self.beside(path, preview, sight)).await;
        let files = files.map_err(|_| Error::new(ErrorKind::Timeout, OPERATION))??;
        files.into_iter().find(|(file, _)| file.tag == tag).ok_or_else(no_such_track)
    }

    /// The subtitle files beside a film.
    async fn beside(
        &self,
        path: &VirtualPath,
        preview: &Preview,
        sight: &Sight,
    ) -> Result<Vec<(Beside, Known)>> {
        let (Some(folder), Some(film)) = (path.parent(), path.name()) else { return Ok(Vec::new()) };
        let found = self.find(&folder, Want::Children { fresh: false }).await?;
        let Some(mount) = found.mount.clone() else { return Ok(Vec::new()) };
        let matters = |name: &str| Format::of(name).is_some() || media_type::kind_of(name) == Kind::Video;
        let mut entries = Vec::new();
        let mut pages = Box::pin(found.into_children()?.seen_by(sight, &folder).pages());
        while let Some(page) = pages.try_next().await? {
            entries.extend(page.into_iter().filter(|entry| !entry.is_folder() && matters(&entry.name)));
        }
        let taken = preview.subtitles.iter().map(|track| &*track.language);
        let files = beside::tracks(film, entries.iter().map(|entry| &*entry.name), taken);
        let known = |file: Beside| {
            // Of several of one name the first is meant.
            let entry = entries.iter().find(|entry| *entry.name == *file.file)?.clone();
            Some((file, Known { mount: Arc::clone(&mount), entry: Arc::new(entry) }))
        };
        Ok(files.into_iter().filter_map(known).collect())
    }
}

/// Where the drive has a track of this language.
fn track<'a>(preview: &'a Preview, language: &str) -> Option<&'a SignedUrl> {
    preview.subtitles.iter().find(|track| &*track.language == language).map(|track| &track.url)
}

fn no_such_track() -> Error {
    Error::new(ErrorKind::NotFound, "find subtitles").saying("the film has no subtitles in this language")
}

const OPERATION: &str = "read a subtitle file";
