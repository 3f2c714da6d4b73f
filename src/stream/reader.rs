//! One viewer's body: a byte range of a file, from the block cache and from feeds, whole or visibly cut.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::Engine;
use super::blocks::{Blocks, ContentKey, Found};
use super::feed::{Feed, Hold, Miss};
use super::metrics::From;
use super::upstream::Opener;
use crate::error::{Error, Result};
use crate::http::range::ByteRange;

/// A body being read.
pub(super) struct Reader {
    content: Content,
    /// How long to go on after the drive has failed for `hold`.
    patience: Duration,
    /// Whether nobody watches.
    background: bool,
    /// What is still to be sent.
    left: ByteRange,
    /// Read already, next first.
    pieces: VecDeque<Bytes>,
    state: State,
    /// Since when the drive has been failing for this reader.
    failing_since: Option<Instant>,
    /// Bytes that came without the drive being asked, and that came through this reader's feeds.
    from_blocks: u64,
    from_feeds: u64,
    /// Whether the feed was found and not begun.
    is_guest: bool,
    /// Whether it has been left alone with what the cache had, or has needed the drive.
    was_sated: bool,
}

/// Which file, and how to come by it.
pub(super) struct Content {
    pub(super) engine: Engine,
    pub(super) opener: Arc<Opener>,
    /// Where it is known what else this is: its blocks, and the feeds of other readers.
    pub(super) key: Option<ContentKey>,
    /// Length of the whole.
    pub(super) total: u64,
    /// What the film needs, in bytes a second.
    pub(super) bytes_per_second: f64,
}

enum State {
    /// On a feed.
    Fed(Hold),
    /// Between two.
    Idle,
    /// From disk.
    Loading(BoxFuture<'static, VecDeque<Bytes>>),
    /// Has had enough from the cache to be busy with for a while.
    Sated(Pin<Box<Sleep>>),
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(content: Content, left: ByteRange, patience: Duration, background: bool) -> Self {
        Self {
            content,
            patience,
            background,
            left,
            pieces: VecDeque::new(),
            state: State::Idle,
            failing_since: None,
            from_blocks: 0,
            from_feeds: 0,
            is_guest: false,
            was_sated: false,
        }
    }

    /// A reader of the whole, with a feed of its own.
    pub(super) fn fed(content: Content, feed: &Arc<Feed>, patience: Duration) -> Self {
        let whole = ByteRange::whole(content.total);
        let mut reader = Self::new(content, whole, patience, false);
        if let Some(hold) = feed.take_seat(whole, false) {
            reader.state = State::Fed(hold);
        }
        reader
    }

    /// Waits until the first bytes are here.
    ///
    /// # Errors
    /// What the drive failed with for `hold`.
    pub(super) async fn begin(&mut self) -> Result<()> {
        // A failure now becomes an answer; later it would only cut one.
        let patience = std::mem::take(&mut self.patience);
        let first = poll_fn(|cx| self.poll_piece(cx)).await;
        self.patience = patience;
        self.pieces.push_front(first?);
        Ok(())
    }

    /// The next bytes from wherever they are soonest; never none.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Poll::Ready(Ok(piece));
            }
            match &mut self.state {
                State::Fed(hold) => match ready!(hold.poll_read(cx)) {
                    Ok(piece) => {
                        self.failing_since = None;
                        self.from_feeds += piece.len() as u64;
                        return Poll::Ready(Ok(piece));
                    }
                    Err(Miss::Behind) => self.change_feed(),
                    Err(Miss::Failed(failure)) => {
                        self.change_feed();
                        let since = *self.failing_since.get_or_insert_with(Instant::now);
                        if failure.is_final || since.elapsed() >= self.patience {
                            return Poll::Ready(Err(failure.error));
                        }
                    }
                },
                State::Loading(loading) => {
                    self.pieces = ready!(loading.as_mut().poll(cx));
                    self.state = State::Idle;
                    if self.pieces.is_empty() {
                        self.join();
                    } else {
                        self.from_blocks += self.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
                    }
                }
                State::Sated(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    // Others may have filled the cache meanwhile.
                    self.state = State::Idle;
                }
                State::Idle => self.look(),
            }
        }
    }

    /// Takes what is kept; else goes to the drive.
    fn look(&mut self) {
        let Content { engine, key, total, bytes_per_second, .. } = &self.content;
        if let (Some(blocks), Some(key)) = (engine.blocks(), *key) {
            match blocks.find(key, self.left.start, *total) {
                Found::Here(piece) => {
                    self.from_blocks += piece.len() as u64;
                    self.pieces.push_back(piece);
                    return;
                }
                Found::OnDisk => {
                    let load = Blocks::clone(blocks).load(key, self.left.start, *total);
                    self.state = State::Loading(Box::pin(load));
                    return;
                }
                Found::Nowhere => {}
            }
        }
        // What came from the cache came in no time. Who only looks at the beginning is gone before it is through with
        // that, and the drive need not be asked at all; who plays does not notice.
        let sated =
            Duration::from_secs_f64(self.from_blocks as f64 / bytes_per_second / 2.0).min(LONGEST_SATED);
        if !self.was_sated && sated >= SHORTEST_SATED {
            self.was_sated = true;
            self.state = State::Sated(Box::pin(sleep(sated)));
        } else {
            self.join();
        }
    }

    /// Joins a feed that is near, or begins one.
    fn join(&mut self) {
        self.was_sated = true;
        let (hold, is_guest) = self.content.engine.join(&self.content, self.left, self.background);
        self.is_guest = is_guest;
        self.state = State::Fed(hold);
    }

    fn change_feed(&mut self) {
        self.state = State::Idle;
        self.tell();
    }

    /// Counts what came so far.
    fn tell(&mut self) {
        let counters = &self.content.opener.counters;
        let source = if self.is_guest { From::Merged } else { From::Upstream };
        counters.read(source, std::mem::take(&mut self.from_feeds));
        counters.read(From::Blocks, std::mem::take(&mut self.from_blocks));
    }
}

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left.is_empty() {
            return Poll::Ready(None);
        }
        let mut piece = ready!(this.poll_piece(cx))?;
        piece.truncate(usize::try_from(this.left.len()).unwrap_or(usize::MAX));
        this.left.start += piece.len() as u64;
        if this.left.is_empty() {
            // The connection is free before the client has taken the last piece.
            this.change_feed();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Chosen: shorter than what a viewer who just pressed Play notices.
const LONGEST_SATED: Duration = Duration::from_secs(1);
/// What is over sooner is not worth a timer.
const SHORTEST_SATED: Duration = Duration::from_millis(20);
