//! A folder told while the drive lists it: what is at hand is told whole, the rest as it comes.

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use http_body::Frame;
use http_body_util::StreamBody;

use crate::driver::Entry;
use crate::error::Result;
use crate::http::Body;
use crate::resolve::Listing;

/// A form in which a folder is told: a page, XML, JSON.
pub(super) trait Telling: Send + 'static {
    /// What comes before the entries.
    fn opening(&mut self) -> String;
    /// Some entries, in the order of the drive.
    fn rows(&mut self, entries: &[Entry]) -> String;
    /// What comes after them.
    fn closing(&mut self) -> String;
}

/// A page in pieces, so that its text need not be in memory whole.
fn pieces(page: Vec<Entry>) -> impl Stream<Item = Result<Vec<Entry>>> + Send {
    let mut entries = page.into_iter();
    stream::iter(std::iter::from_fn(move || {
        let piece: Vec<_> = entries.by_ref().take(PIECE).collect();
        (!piece.is_empty()).then_some(Ok(piece))
    }))
}

/// The body; its length is known where the whole is at hand. Where the drive fails in the middle the body is cut: half a folder must not pass for
/// the whole.
pub(super) async fn tell(listing: &Listing, mut telling: impl Telling) -> Result<(Body, Option<usize>)> {
    let mut pages = Box::pin(listing.pages().map_ok(pieces).try_flatten());
    let opening = telling.opening();
    if listing.is_one_page() {
        let mut text = opening;
        while let Some(entries) = pages.try_next().await? {
            text += &telling.rows(&entries);
        }
        text += &telling.closing();
        let length = text.len();
        return Ok((Body::full(text), Some(length)));
    }
    let rest = stream::try_unfold((pages, Some(telling)), |(mut pages, telling)| async {
        let Some(mut telling) = telling else { return Ok(None) };
        Ok(Some(match pages.try_next().await? {
            Some(entries) => (telling.rows(&entries), (pages, Some(telling))),
            None => (telling.closing(), (pages, None)),
        }))
    });
    let pieces = stream::iter([Ok(opening)]).chain(rest).map_ok(|piece| Frame::data(piece.into()));
    Ok((Body::stream(StreamBody::new(pieces)), None))
}

/// Entries; chosen: some 100 KiB of text at a time.
const PIECE: usize = 250;
