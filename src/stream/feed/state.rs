//! What a feed holds: the bytes, the parts being read, and the readers' seats.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::stream::FILM;
use crate::stream::blocks::Scribe;
use crate::stream::lane::Lane;
use crate::stream::pace::Hunger;
use crate::stream::ring::Ring;
use crate::stream::upstream::Failure;

pub(super) struct State {
    pub(super) ring: Ring,
    /// In the order of their places; the first one's bytes go into the ring.
    pub(super) parts: VecDeque<Part>,
    /// Lanes between two parts, with what they know of the drive's speed.
    pub(super) resting: Vec<Lane>,
    /// Length of the part that was begun last.
    pub(super) part_len: u64,
    pub(super) seats: Vec<Seat>,
    pub(super) next_seat: u64,
    /// Whether somebody is polling the lanes at this moment.
    pub(super) is_driven: bool,
    /// What the broker wants back as soon as they are not.
    pub(super) give_up: Option<GiveUp>,
    pub(super) driven_at: Instant,
    pub(super) hunger: Hunger,
    pub(super) failure: Option<Failure>,
    pub(super) minder: Option<Waker>,
    /// Set when the last reader left: until when a small remainder may still be read.
    pub(super) ends_at: Option<Instant>,
    pub(super) scribe: Option<Scribe>,
}

/// A stretch of the file, and the lane that reads it.
pub(super) struct Part {
    pub(super) lane: Option<Lane>,
    /// Where the first byte belongs that is not in the ring yet.
    pub(super) next: u64,
    /// Where the next byte belongs that its lane will bring.
    pub(super) at: u64,
    pub(super) end: u64,
    /// Read already, before its turn.
    pub(super) ahead: VecDeque<Bytes>,
}

/// A reader's place.
pub(super) struct Seat {
    pub(super) id: u64,
    pub(super) at: u64,
    pub(super) until: u64,
    pub(super) taken: u64,
    pub(super) background: bool,
    pub(super) waits_since: Option<Instant>,
    pub(super) waker: Option<Waker>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum GiveUp {
    All,
    Spare,
}

// === impl State ===

impl State {
    /// The furthest that a reader has come.
    pub(super) fn lead(&self) -> u64 {
        self.seats.iter().map(|seat| seat.at).max().unwrap_or(0)
    }

    pub(super) fn somebody_waits(&self) -> bool {
        self.seats.iter().any(|seat| seat.waits_since.is_some())
    }

    /// When the first reader runs dry: those that wait did already.
    pub(super) fn dry_at(&self, now: Instant) -> Instant {
        let waiting = self.seats.iter().filter_map(|seat| seat.waits_since).min();
        waiting.unwrap_or_else(|| {
            let held = self.ring.end().saturating_sub(self.lead());
            now + Duration::from_secs_f64(held as f64 / FILM)
        })
    }

    /// What one connection gives, in bytes a second.
    pub(super) fn rate(&self) -> Option<f64> {
        let lanes = self.parts.iter().filter_map(|part| part.lane.as_ref()).chain(&self.resting);
        lanes.filter_map(Lane::rate).reduce(f64::max)
    }

    /// Whether the open part will be through within the time that a remainder is given.
    pub(super) fn has_small_remainder(&self, now: Instant) -> bool {
        let [part] = self.parts.as_slices().0 else { return false };
        let left = (part.end - part.at) as f64;
        let rate = part.lane.as_ref().map_or(0.0, |lane| lane.cautious_rate(now));
        left <= rate * REMAINDER.as_secs_f64()
    }

    /// Takes connections out of the lanes. What they have read stays, and parts end there.
    #[must_use]
    pub(super) fn cut(&mut self, which: GiveUp) -> Vec<Lane> {
        let keep = match which {
            GiveUp::All => 0,
            GiveUp::Spare => 1,
        };
        let mut lanes = Vec::new();
        for part in self.parts.iter_mut().skip(keep) {
            lanes.extend(part.lane.take());
            part.end = part.at;
        }
        lanes
    }

    /// Lets everybody who waits look again.
    pub(super) fn wake(&mut self) {
        // Whoever has something to take does not wait, even if it takes its time.
        for seat in self.seats.iter_mut().filter(|seat| seat.at < self.ring.end()) {
            seat.waits_since = None;
        }
        for waker in self.seats.iter_mut().filter_map(|seat| seat.waker.take()).chain(self.minder.take()) {
            waker.wake();
        }
    }
}

// === impl Part ===

/// Where the second part was through while the first would need long, its connection is left for a new one: two connections of
/// an account are about equally fast.
pub(super) fn overtake(parts: &mut VecDeque<Part>, now: Instant) {
    let (first, second) = match parts.make_contiguous() {
        [first, second] => (first, second),
        _ => return,
    };
    let left = (first.end - first.at) as f64;
    if second.at == second.end
        && let Some(lane) = &mut first.lane
        && lane.is_open()
        && lane.rate().is_some_and(|rate| left > rate * OVERTAKEN.as_secs_f64())
    {
        lane.renew(now);
    }
}

/// What polling a part came to.
pub(super) enum Progress {
    Failed(Failure),
    None,
    Some,
}

impl Part {
    /// Reads on: one piece where its bytes are next, else as much as there is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, is_next: bool) -> Progress {
        let Some(lane) = &mut self.lane else { return Progress::None };
        let mut progress = Progress::None;
        while self.at < self.end {
            match lane.poll_piece(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => {
                    // It was cut short; what is missing is read anew.
                    self.end = self.at;
                    return Progress::Some;
                }
                Poll::Ready(Some(Err(failure))) => return Progress::Failed(failure),
                Poll::Ready(Some(Ok(piece))) => {
                    self.at += piece.len() as u64;
                    self.ahead.push_back(piece);
                    progress = Progress::Some;
                    if is_next {
                        break;
                    }
                }
            }
        }
        progress
    }
}

/// How much longer than its neighbour a connection may take before it is left.
const OVERTAKEN: Duration = Duration::from_secs(1);
/// How long what is left of a part is read after the last reader has left. Chosen within the 100 ms in which it must be gone.
pub(super) const REMAINDER: Duration = Duration::from_millis(50);
