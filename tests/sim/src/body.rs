//! Response bodies: streamed in frames, at a pace, cut or stalled on demand, holding a download slot while they live.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::{content::Content, counts::Streams, drive::Slot};

/// The body of every answer.
pub(crate) struct SimBody {
    source: Source,
    remaining: u64,
    sent: u64,
    pace: Option<Pace>,
    cut: Option<Cut>,
    sleep: Option<Pin<Box<Sleep>>>,
    slot: Option<Slot>,
    meter: Option<Arc<Streams>>,
}

enum Source {
    Content { content: Content, at: u64 },
    Filler { prefix: Bytes, unit: Bytes },
}

struct Pace {
    bytes_per_second: f64,
    due: Instant,
}

/// What becomes of a body after so many bytes.
enum Cut {
    End { after: u64, flushed: bool },
    Reset { after: u64, flushed: bool, flag: Arc<AtomicBool> },
    Slow { after: u64, bytes_per_second: f64 },
    Stall { after: u64, wait: Duration },
}

/// A body that a fault broke.
#[derive(Debug)]
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off by a fault")
    }
}

impl std::error::Error for Broken {}

impl SimBody {
    /// These bytes.
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let remaining = bytes.len() as u64;
        Self::from_source(Source::Content { content: Content::Bytes(bytes), at: 0 }, remaining)
    }

    /// `len` bytes of a content from `at` on.
    pub(crate) fn part(content: Content, at: u64, len: u64) -> Self {
        Self::from_source(Source::Content { content, at }, len)
    }

    /// So many bytes: the prefix, then the unit over and over.
    pub(crate) fn filler(prefix: &'static str, unit: &str, len: u64) -> Self {
        let unit = Bytes::from(unit.repeat(FRAME_BYTES / unit.len().max(1)));
        Self::from_source(Source::Filler { prefix: Bytes::from_static(prefix.as_bytes()), unit }, len)
    }

    fn from_source(source: Source, remaining: u64) -> Self {
        Self { source, remaining, sent: 0, pace: None, cut: None, sleep: None, slot: None, meter: None }
    }

    /// Sends no faster than this; infinity is as fast as it goes.
    pub(crate) fn paced(mut self, bytes_per_second: f64) -> Self {
        self.pace = (bytes_per_second.is_finite() && bytes_per_second > 0.0)
            .then(|| Pace { bytes_per_second, due: Instant::now() });
        self
    }

    /// Counts what is sent.
    pub(crate) fn metered(mut self, streams: &Arc<Streams>) -> Self {
        self.meter = Some(Arc::clone(streams));
        self
    }

    /// Holds a slot until the last byte is handed over or the body dropped.
    pub(crate) fn holding(mut self, slot: Slot) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Ends after so many bytes though more were announced.
    pub(crate) fn end_after(&mut self, after: u64) {
        self.cut = Some(Cut::End { after, flushed: false });
    }

    /// Breaks off after so many bytes; the connection sees the flag and resets.
    pub(crate) fn reset_after(&mut self, after: u64, flag: &Arc<AtomicBool>) {
        self.cut = Some(Cut::Reset { after, flushed: false, flag: Arc::clone(flag) });
    }

    /// Sends no faster than this after so many bytes.
    pub(crate) fn slow_after(&mut self, after: u64, bytes_per_second: f64) {
        self.cut = Some(Cut::Slow { after, bytes_per_second });
    }

    /// Pauses once after so many bytes.
    pub(crate) fn stall_after(&mut self, after: u64, wait: Duration) {
        self.cut = Some(Cut::Stall { after, wait });
    }

    /// Halves the body, and its announced length with it.
    pub(crate) fn halve(&mut self) {
        self.remaining /= 2;
    }

    /// Acts on the cut if its place is reached; otherwise says how many bytes there are until then.
    fn until_cut(&mut self) -> Result<u64, Cutting> {
        let left = |after: u64| after.saturating_sub(self.sent);
        match &mut self.cut {
            None => Ok(u64::MAX),
            Some(
                Cut::End { after, .. }
                | Cut::Reset { after, .. }
                | Cut::Slow { after, .. }
                | Cut::Stall { after, .. },
            ) if left(*after) > 0 => Ok(left(*after)),
            Some(Cut::End { flushed, .. } | Cut::Reset { flushed, .. }) if !*flushed => {
                *flushed = true;
                Err(Cutting::Wait(FLUSH))
            }
            Some(Cut::End { .. }) => Err(Cutting::End),
            Some(Cut::Reset { flag, .. }) => {
                flag.store(true, Ordering::SeqCst);
                Err(Cutting::Break)
            }
            Some(Cut::Slow { bytes_per_second, .. }) => {
                self.pace = Some(Pace { bytes_per_second: *bytes_per_second, due: Instant::now() });
                self.cut = None;
                Ok(u64::MAX)
            }
            Some(Cut::Stall { wait, .. }) => {
                let wait = *wait;
                self.cut = None;
                Err(Cutting::Wait(wait))
            }
        }
    }

    fn piece(&mut self, most: usize) -> Bytes {
        match &mut self.source {
            Source::Content { content, at } => {
                let piece = content.slice(*at, most);
                *at += piece.len() as u64;
                piece
            }
            Source::Filler { prefix, .. } if !prefix.is_empty() => prefix.split_to(prefix.len().min(most)),
            Source::Filler { unit, .. } => unit.slice(..unit.len().min(most)),
        }
    }
}

enum Cutting {
    Break,
    End,
    Wait(Duration),
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        loop {
            if let Some(pause) = &mut this.sleep {
                ready!(pause.as_mut().poll(cx));
                this.sleep = None;
            }
            if this.remaining == 0 {
                return Poll::Ready(None);
            }
            let until_cut = match this.until_cut() {
                Ok(left) => left,
                Err(Cutting::Break) => return Poll::Ready(Some(Err(Broken))),
                Err(Cutting::End) => return Poll::Ready(None),
                Err(Cutting::Wait(wait)) => {
                    this.sleep = Some(Box::pin(sleep(wait)));
                    continue;
                }
            };
            let now = Instant::now();
            if let Some(pace) = this.pace.as_ref().filter(|pace| pace.due > now) {
                this.sleep = Some(Box::pin(sleep_until(pace.due)));
                continue;
            }
            let frame = this.pace.as_ref().map_or(FRAME_BYTES, Pace::frame_bytes);
            let most = this.remaining.min(until_cut).min(frame as u64);
            let piece = this.piece(usize::try_from(most).unwrap_or(frame));
            let len = piece.len() as u64;
            if len == 0 {
                return Poll::Ready(Some(Err(Broken)));
            }
            if let Some(pace) = &mut this.pace {
                pace.due = pace.due.max(now) + Duration::from_secs_f64(len as f64 / pace.bytes_per_second);
            }
            this.remaining -= len;
            this.sent += len;
            if let Some(meter) = &this.meter {
                meter.bytes_sent.fetch_add(len, Ordering::SeqCst);
            }
            if this.remaining == 0 {
                // Before the last byte can arrive, so that whoever has read it finds the slot free.
                this.slot = None;
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

impl Pace {
    /// A twentieth of a second's worth.
    fn frame_bytes(&self) -> usize {
        let bytes = (self.bytes_per_second / 20.0) as usize;
        bytes.clamp(1024, FRAME_BYTES)
    }
}

/// What one frame holds at most.
const FRAME_BYTES: usize = 128 * 1024;

/// Time for what was sent to leave the connection's buffer before it is broken off.
const FLUSH: Duration = Duration::from_millis(30);
