//! What several readers of one file near the same place share: connections, and the bytes they bring.
//!
//! A feed is driven by whoever needs its next bytes, in that reader's own task; the others are woken. Where connections
//! are scarce a minder reads ahead within the window, lets go of connections that nobody uses, and finishes small
//! remainders. No lock is held while a connection is polled.

mod minder;
mod state;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::state::{GiveUp, Part, Progress, REMAINDER, Seat, State, overtake};
use super::blocks::{BLOCK, ContentKey, Scribe};
use super::broker::{Account, Bid};
use super::lane::Lane;
use super::metrics::Cause;
use super::pace::Hunger;
use super::ring::Ring;
use super::upstream::{Failure, Opener, Upstream};
use crate::http::range::ByteRange;

/// One place in one file that is being read.
pub(super) struct Feed {
    myself: Weak<Self>,
    opener: Arc<Opener>,
    key: Option<ContentKey>,
    /// Length of the file.
    total: u64,
    /// Most bytes held.
    window: u64,
    /// Whether its account's connections are so few that readers share them.
    is_shared: bool,
    /// Bytes that all feeds hold together.
    held_by_all: Arc<AtomicU64>,
    state: Mutex<State>,
}

/// A reader's hold on a feed. The feed ends with its last one.
pub(super) struct Hold {
    feed: Arc<Feed>,
    seat: u64,
}

/// Why a feed has nothing for a reader.
pub(super) enum Miss {
    /// What the reader needs was let go already.
    Behind,
    /// The drive failed.
    Failed(Failure),
}

/// What a feed reads, and how.
pub(super) struct Plan {
    pub(super) opener: Arc<Opener>,
    /// Which file, where that is known beyond this feed.
    pub(super) key: Option<ContentKey>,
    /// Its length.
    pub(super) total: u64,
    /// Most bytes to hold.
    pub(super) window: u64,
    pub(super) held_by_all: Arc<AtomicU64>,
    pub(super) scribe: Option<Scribe>,
}

// === impl Feed ===

impl Feed {
    /// A feed that begins at `at`.
    pub(super) fn new(plan: Plan, at: u64) -> Arc<Self> {
        let Plan { opener, key, total, window, held_by_all, scribe } = plan;
        let state = State {
            ring: Ring::at(at),
            parts: VecDeque::new(),
            resting: Vec::new(),
            part_len: 0,
            seats: Vec::new(),
            next_seat: 0,
            is_driven: false,
            give_up: None,
            driven_at: Instant::now(),
            hunger: Hunger::new(Instant::now()),
            failure: None,
            minder: None,
            ends_at: None,
            scribe,
        };
        let is_shared = opener.account.as_ref().is_some_and(|account| account.is_scarce());
        Arc::new_cyclic(|myself| Self {
            myself: Weak::clone(myself),
            opener,
            key,
            total,
            window,
            is_shared,
            held_by_all,
            state: Mutex::new(state),
        })
    }

    /// A feed of the whole, whose connection is open already.
    pub(super) fn opened(plan: Plan, upstream: Upstream) -> Arc<Self> {
        let feed = Self::new(plan, 0);
        let mut lane = Lane::new(Arc::clone(&feed.opener), feed.total);
        lane.begin_with(ByteRange::whole(feed.total), upstream);
        feed.lock().parts.push_back(Part {
            lane: Some(lane),
            next: 0,
            at: 0,
            end: feed.total,
            ahead: VecDeque::new(),
        });
        feed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a reader of `range`, if the feed is near enough to where that begins.
    pub(super) fn take_seat(self: &Arc<Self>, range: ByteRange, background: bool) -> Option<Hold> {
        let mut state = self.lock();
        let is_new = state.next_seat == 0;
        if state.failure.is_some() || (state.seats.is_empty() && !is_new) {
            return None;
        }
        let near = if is_new { self.window.max(BLOCK) } else { self.near(&state) };
        if range.start < state.ring.start() || range.start > state.ring.end() + near {
            return None;
        }
        let id = state.next_seat;
        state.next_seat += 1;
        state.seats.push(Seat {
            id,
            at: range.start,
            until: range.end,
            taken: 0,
            background,
            waits_since: None,
            waker: None,
        });
        Some(Hold { feed: Arc::clone(self), seat: id })
    }

    /// How far ahead of a feed a reader may wait for it to come by.
    fn near(&self, state: &State) -> u64 {
        let contended = self.account().is_some_and(|account| account.is_contended(Instant::now()));
        let time = if contended { NEAR * 4 } else { NEAR };
        let rate = state.rate().unwrap_or(0.0);
        ((rate * time.as_secs_f64()) as u64).clamp(NEAREST, self.window.max(NEAREST))
    }

    fn account(&self) -> Option<&Arc<Account>> {
        self.opener.account.as_ref()
    }

    /// Whether nobody would notice at once if it lost its connections.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let state = self.lock();
        !state.is_driven
            && state.seats.iter().all(|seat| seat.waits_since.is_none())
            && now.saturating_duration_since(state.driven_at) >= IDLE
    }

    /// Lets go of all connections; what was read stays. Readers bid again when they need more.
    pub(super) fn give_up(&self) {
        self.opener.counters.resumed(Cause::Turn);
        self.let_connections_go(GiveUp::All);
    }

    /// Lets go of the connection that only makes it faster.
    pub(super) fn give_up_spare(&self) {
        self.let_connections_go(GiveUp::Spare);
    }

    fn let_connections_go(&self, which: GiveUp) {
        let mut state = self.lock();
        if state.is_driven {
            state.give_up = Some(if state.give_up == Some(GiveUp::All) { GiveUp::All } else { which });
            return;
        }
        let dropped = state.cut(which);
        self.absorb(&mut state);
        state.wake();
        drop(state);
        drop(dropped);
    }

    /// Reads on, if nobody else does; true if that brought anything. `state` is let go meanwhile.
    fn drive(&self, mut state: MutexGuard<'_, State>, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        state.driven_at = now;
        self.begin_parts(&mut state, now);
        let mut parts = std::mem::take(&mut state.parts);
        overtake(&mut parts, now);
        state.is_driven = true;
        drop(state);

        let mut changed = false;
        let mut failure = None;
        for (index, part) in parts.iter_mut().enumerate() {
            match part.poll(cx, index == 0) {
                Progress::None => {}
                Progress::Some => changed = true,
                // The one that is needed now has done all that can be done. A spare one may have become that meanwhile, but it
                // gives up where no connection is free.
                Progress::Failed(reason)
                    if index == 0 && (reason.is_final || !part.lane.as_ref().is_some_and(Lane::is_spare)) =>
                {
                    failure = Some(reason);
                }
                Progress::Failed(_) => {
                    // What it read is good; the rest is read in its turn.
                    part.end = part.at;
                    part.lane = None;
                    changed = true;
                }
            }
        }

        let mut state = self.lock();
        state.parts = parts;
        state.is_driven = false;
        let dropped = match state.give_up.take() {
            Some(which) => {
                changed = true;
                state.cut(which)
            }
            None => Vec::new(),
        };
        if failure.is_some() {
            state.failure = failure;
            changed = true;
        }
        if changed {
            self.absorb(&mut state);
            self.let_go(&mut state);
            state.wake();
        }
        drop(state);
        // Their connections go back to the broker, which must not find this feed locked.
        drop(dropped);
        changed
    }

    /// Sees to it that what is wanted is on its way.
    fn begin_parts(&self, state: &mut State, now: Instant) {
        let until = state.seats.iter().map(|seat| seat.until).max().unwrap_or(0);
        let until = state.scribe.as_ref().map_or(until, |scribe| scribe.whole_blocks(until));
        if state.parts.is_empty() {
            let at = state.ring.end();
            if at < until {
                let len = self.part_len(state, at, until, now);
                self.begin(state, ByteRange { start: at, end: at + len }, false, now);
            }
        } else if state.parts.len() == 1
            && let Some(account) = self.account().filter(|_| self.is_shared)
        {
            let first = &state.parts[0];
            let is_slow = first
                .lane
                .as_ref()
                .is_some_and(|lane| lane.is_open() && lane.rate().is_some_and(|rate| rate < FAST));
            let at = first.end;
            let has_room = at + self.window / 2 <= state.lead() + self.window;
            if is_slow && state.hunger.is_hungry() && has_room && at < until && account.room(now) > 0 {
                let len = (self.window / 2).max(1).min(until - at);
                self.begin(state, ByteRange { start: at, end: at + len }, true, now);
            }
        }
    }

    fn begin(&self, state: &mut State, range: ByteRange, spare: bool, now: Instant) {
        let mut lane = state.resting.pop().unwrap_or_else(|| Lane::new(Arc::clone(&self.opener), self.total));
        let bid = self.account().map(|_| Bid {
            feed: Weak::clone(&self.myself),
            background: state.seats.iter().all(|seat| seat.background && seat.taken < WANDERING),
            dry_at: state.dry_at(now),
            spare,
        });
        lane.begin(range, bid, now);
        state.part_len = range.len();
        state.parts.push_back(Part {
            lane: Some(lane),
            next: range.start,
            at: range.start,
            end: range.end,
            ahead: VecDeque::new(),
        });
    }

    /// How much to ask for at once. A bounded part ends by itself, which frees its connection at the drive for certain.
    fn part_len(&self, state: &State, at: u64, until: u64, now: Instant) -> u64 {
        let wanted = until - at;
        let Some(account) = self.account().filter(|_| self.is_shared) else { return wanted };
        let rate = state.rate();
        let len = if account.is_contended(now) {
            let room = (state.lead() + self.ahead()).saturating_sub(at);
            let turn = rate.map_or(SMALLEST_PART, |rate| (rate * SHARED_TURN.as_secs_f64()) as u64);
            turn.clamp(SMALLEST_PART, room.max(SMALLEST_PART))
        } else if state.hunger.is_hungry()
            && rate.is_some_and(|rate| rate < FAST)
            && account.room(now) + state.parts.len() >= 2
        {
            // Two connections side by side: what the second reads must fit into the window.
            self.window / 2
        } else {
            let lasting = rate.map_or(0, |rate| (rate * LASTING.as_secs_f64()) as u64);
            lasting.max(state.part_len.saturating_mul(2)).clamp(FIRST_PART, LARGEST_PART)
        };
        len.clamp(1, wanted)
    }

    /// How far to read ahead of a reader: a window, or a small part of one where all together hold much already, so that many readers
    /// do not take what a small machine has.
    fn ahead(&self) -> u64 {
        let is_roomy = self.held_by_all.load(Ordering::Relaxed) < AHEAD_BY_ALL;
        if is_roomy { self.window } else { self.window.min(AHEAD_IN_A_CROWD) }
    }

    /// Lets go what no reader needs and nobody is likely to.
    fn let_go(&self, state: &mut State) {
        let behind = state.ring.end().saturating_sub(self.window);
        let needed = state.seats.iter().map(|seat| seat.at).min().unwrap_or(u64::MAX);
        let is_roomy = self.is_shared && self.held_by_all.load(Ordering::Relaxed) < HELD_BY_ALL;
        let keep_from = if is_roomy { behind } else { behind.max(needed) };
        let before = state.ring.len();
        state.ring.let_go(keep_from);
        self.held_by_all.fetch_sub(before - state.ring.len(), Ordering::Relaxed);
    }

    /// Takes over what the lanes have brought, as far as it is next.
    fn absorb(&self, state: &mut State) {
        let before = state.ring.end();
        let State { parts, ring, resting, scribe, hunger, .. } = state;
        while let Some(first) = parts.front_mut() {
            if first.next != ring.end() {
                // The part before it was cut short: what comes behind the gap is of no use.
                parts.clear();
                break;
            }
            for piece in first.ahead.drain(..) {
                first.next += piece.len() as u64;
                if let Some(scribe) = scribe {
                    scribe.write(ring.end(), &piece);
                }
                ring.push(piece);
            }
            if first.at < first.end {
                break;
            }
            resting.extend(parts.pop_front().and_then(|part| part.lane));
        }
        let came = ring.end() - before;
        if came > 0 {
            hunger.fed(Instant::now());
            self.held_by_all.fetch_add(came, Ordering::Relaxed);
        }
    }

    /// Whether this feed reads through two connections.
    pub(super) fn has_spare(&self) -> bool {
        self.lock().parts.len() > 1
    }

    fn poll_read(&self, id: u64, cx: &mut Context<'_>) -> Poll<Result<Bytes, Miss>> {
        let mut is_tried = false;
        loop {
            let mut state = self.lock();
            let State { ring, seats, failure, is_driven, hunger, .. } = &mut *state;
            let Some(seat) = seats.iter_mut().find(|seat| seat.id == id) else {
                return Poll::Ready(Err(Miss::Behind));
            };
            seat.waker = None;
            if let Some(mut piece) = ring.get(seat.at) {
                piece.truncate(usize::try_from(seat.until.saturating_sub(seat.at)).unwrap_or(usize::MAX));
                seat.at += piece.len() as u64;
                seat.taken += piece.len() as u64;
                seat.waits_since = None;
                let (ahead, low) = (ring.end() - seat.at, seat.taken.min(self.window) / 4);
                self.let_go(&mut state);
                if ahead <= low
                    && let Some(minder) = state.minder.take()
                {
                    minder.wake();
                }
                return Poll::Ready(Ok(piece));
            }
            if seat.at < ring.start() {
                return Poll::Ready(Err(Miss::Behind));
            }
            if let Some(failure) = failure {
                return Poll::Ready(Err(Miss::Failed(failure.clone())));
            }
            if seat.waits_since.is_none() {
                let now = Instant::now();
                seat.waits_since = Some(now);
                hunger.waits(now);
            }
            if is_tried || *is_driven {
                seat.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            is_tried = !self.drive(state, cx);
        }
    }

    fn leave(&self, id: u64) {
        let now = Instant::now();
        let mut state = self.lock();
        state.seats.retain(|seat| seat.id != id);
        let mut dropped = Vec::new();
        if state.seats.is_empty() {
            if self.is_shared && state.has_small_remainder(now) {
                // The minder reads it: a body that ends frees its connection at the drive at once, a closed one late.
                state.ends_at = Some(now + REMAINDER);
            } else if state.is_driven {
                state.give_up = Some(GiveUp::All);
            } else {
                dropped = state.cut(GiveUp::All);
            }
        } else {
            for lane in state.parts.iter_mut().filter_map(|part| part.lane.as_mut()) {
                lane.rest(now);
            }
        }
        // Whoever waits must take over the driving, if it was this one's.
        state.wake();
        drop(state);
        drop(dropped);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.held_by_all.fetch_sub(self.lock().ring.len(), Ordering::Relaxed);
        if let (Some(account), Some(key)) = (&self.opener.account, &self.key) {
            account.unregister(key);
        }
    }
}

// === impl Hold ===

impl Hold {
    /// The next bytes for this reader; never none.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Miss>> {
        self.feed.poll_read(self.seat, cx)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.feed.leave(self.seat);
    }
}

/// Below this speed a second connection is worth having, in bytes a second: four times the densest film on disc.
const FAST: f64 = 32.0 * 1024.0 * 1024.0;
/// First part of a file that is asked for, in bytes: players open files only to look at them.
const FIRST_PART: u64 = 2 << 20;
/// In bytes. Chosen: what a fast drive gives in a second, so that asking again does not count.
const LARGEST_PART: u64 = 64 << 20;
/// In bytes. Chosen: half a second of what the drive gives accounts without its package.
const SMALLEST_PART: u64 = 256 << 10;
/// How long a part lasts where nobody else needs the connection; who comes later waits for no more than its turn.
const LASTING: Duration = Duration::from_secs(4);
/// How long a part lasts where others wait.
const SHARED_TURN: Duration = Duration::from_millis(250);
/// How long a reader may wait for a feed to come by before it opens its own.
const NEAR: Duration = Duration::from_millis(500);
/// In bytes: however slow it is, a feed that is so near is waited for.
const NEAREST: u64 = 256 << 10;
/// Without anybody reading for this long, a connection is as good as unused.
const IDLE: Duration = Duration::from_millis(100);
/// In bytes. Who looks about a file leaves before; who has read on for so long is watched, whoever it is.
const WANDERING: u64 = 4 << 20;
/// Bytes that all feeds may hold together for readers that may come; a quarter of what a small machine gives us.
const HELD_BY_ALL: u64 = 32 << 20;
/// Bytes that all feeds may hold together until each reads but a little ahead; chosen: sixteen whole windows, half of what a small machine gives us.
const AHEAD_BY_ALL: u64 = 64 << 20;
/// That little; chosen: two of the smallest parts.
const AHEAD_IN_A_CROWD: u64 = 2 * SMALLEST_PART;
