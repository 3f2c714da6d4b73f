//! Who is connected, and who makes way for the next when there is no more room.
//!
//! Whoever opens thousands of connections and dribbles must not keep a viewer out. So nobody is turned away while
//! somebody is connected who makes less use of it: of the address that holds the most connections, whoever has
//! taken the fewest bytes lately. Where all others take theirs at the pace of a film, the newcomer is refused.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::http;
use crate::http::body::Watch;

/// All that are connected to some listeners. Clones are the same crowd.
#[derive(Clone, Debug)]
pub struct Crowd(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    began: Instant,
    /// One for each connection, and one for each request beyond the first that is under way on it.
    taken: AtomicUsize,
    /// Connections that nobody has listened to yet.
    unheard: AtomicUsize,
    room: Mutex<Room>,
}

#[derive(Debug, Default)]
struct Room {
    members: Vec<Arc<Member>>,
    /// How many connections each network has.
    networks: HashMap<http::Place, Arc<AtomicU32>>,
    /// Who makes way next, the last first, and when that was chosen.
    next: Vec<Arc<Member>>,
    chosen: Option<Instant>,
}

/// One connection, as its task and the choice of who makes way know it. Written by its task alone, read by others, who
/// can live with a number that is a moment old: no order is asked of the atomics, and no lock of a request or a write.
#[derive(Debug)]
pub(super) struct Member {
    crowd: Arc<Shared>,
    network: http::Place,
    /// How many connections its network has, itself included.
    neighbours: Arc<AtomicU32>,
    since: Instant,
    /// Where it stands in the room; only touched under the lock.
    seat: AtomicUsize,
    was_heard: AtomicBool,
    has_spoken: AtomicBool,
    has_asked: AtomicBool,
    /// Requests whose answer has not begun.
    waiting: AtomicU32,
    /// Requests whose body has not ended, where several may be under way at once.
    requests: AtomicU32,
    /// All bytes that were taken, of whatever use.
    all: AtomicU64,
    /// When it last took any, asked, or was answered; in milliseconds from the beginning of the crowd.
    active: AtomicU64,
    /// Bytes that are still to come before any count.
    free: AtomicU64,
    /// The last time span in which bytes were taken, counted from the beginning of the crowd …
    span: AtomicU64,
    /// … how many were, and how many in the span before it.
    taken: AtomicU64,
    taken_before: AtomicU64,
    cut: Notify,
}

/// A place in the crowd, which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Member>);

/// A request whose answer has not begun.
#[derive(Debug)]
pub(super) struct Waiting(Arc<Member>);

/// A request that may be under way beside others of its connection.
#[derive(Debug)]
pub(super) struct UnderWay {
    member: Arc<Member>,
    /// Whether it takes a place beside that of its connection.
    takes_place: bool,
}

/// What decides whether a connection makes way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Snapshot {
    network: http::Place,
    /// Connections of its network, itself included.
    neighbours: u32,
    /// How long ago it last did anything: came, asked, was answered, took bytes of whatever use.
    idle: Duration,
    /// Whether it has only just come, and nothing from it yet.
    is_new: bool,
    /// Whether a request waits for the beginning of its answer, which is our doing or the drive's.
    is_waiting: bool,
    /// What it has taken lately, for each of its requests.
    bytes_per_second: u64,
}

// === impl Crowd ===

impl Crowd {
    /// A crowd of at most so many; 0: as many as the limit of open files lets us have.
    pub fn new(most: usize) -> Self {
        let most = if most == 0 { by_open_files() } else { most };
        let (taken, unheard) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Shared { most, began: Instant::now(), taken, unheard, room: Mutex::default() }))
    }

    /// Whether the next one takes another's place.
    pub(super) fn is_full(&self) -> bool {
        self.0.taken.load(Ordering::Relaxed) >= self.0.most
    }

    /// How many have come and not had their turn yet.
    pub(super) fn unheard(&self) -> usize {
        self.0.unheard.load(Ordering::Relaxed)
    }

    /// How many are connected.
    pub fn count(&self) -> usize {
        self.0.room().members.len()
    }

    /// A place for a connection from `peer`, if need be that of another, which is cut; none where everybody else makes
    /// good use of theirs.
    pub(super) fn enter(&self, peer: IpAddr) -> Option<Place> {
        let mut room = self.0.room();
        if self.is_full() {
            let victim = room.victim(Instant::now())?;
            self.0.leave(&mut room, &victim);
            victim.cut.notify_one();
        }
        let network = http::Place::of(peer);
        let neighbours = Arc::clone(room.networks.entry(network).or_default());
        neighbours.fetch_add(1, Ordering::Relaxed);
        self.0.taken.fetch_add(1, Ordering::Relaxed);
        self.0.unheard.fetch_add(1, Ordering::Relaxed);
        let since = Instant::now();
        let member = Arc::new(Member {
            crowd: Arc::clone(&self.0),
            network,
            neighbours,
            since,
            seat: AtomicUsize::new(room.members.len()),
            was_heard: AtomicBool::new(false),
            has_spoken: AtomicBool::new(false),
            has_asked: AtomicBool::new(false),
            waiting: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            all: AtomicU64::new(0),
            active: AtomicU64::new(self.0.at(since)),
            free: AtomicU64::new(FREE),
            span: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            taken_before: AtomicU64::new(0),
            cut: Notify::new(),
        });
        room.members.push(Arc::clone(&member));
        Some(Place(member))
    }
}

// === impl Room ===

impl Room {
    /// Who makes way now; none where nobody should.
    ///
    /// Looking at all for each newcomer would let a flood have all of a core, so some are chosen at a time, and looked at again
    /// before they go.
    fn victim(&mut self, now: Instant) -> Option<Arc<Member>> {
        let since = self.chosen.map_or(Duration::MAX, |chosen| now.saturating_duration_since(chosen));
        if since < CHOICE {
            while let Some(next) = self.next.pop() {
                let one = next.snapshot(now);
                let is_least = rank(&one).is_some_and(|(worth, ..)| worth == 0);
                // Whoever has done anything meanwhile might be worth more than others now, as are those who still wait.
                if self.seats(&next) && is_least && one.idle > since {
                    return Some(next);
                }
            }
        }
        let all = self.members.iter().map(|member| member.snapshot(now));
        let chosen = least_useful(all, (self.members.len() / PORTION).max(1));
        self.next = chosen.into_iter().rev().map(|number| Arc::clone(&self.members[number])).collect();
        self.chosen = Some(now);
        self.next.pop()
    }

    fn seats(&self, member: &Arc<Member>) -> bool {
        let seat = member.seat.load(Ordering::Relaxed);
        self.members.get(seat).is_some_and(|seated| Arc::ptr_eq(seated, member))
    }
}

// === impl Shared ===

impl Shared {
    fn room(&self) -> MutexGuard<'_, Room> {
        // Nothing under the lock leaves it half changed.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds from the beginning of the crowd.
    fn at(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.began))
    }

    /// Gives the place of `member` back, unless it has been.
    fn leave(&self, room: &mut Room, member: &Arc<Member>) {
        if !room.seats(member) {
            return;
        }
        let seat = member.seat.load(Ordering::Relaxed);
        room.members.swap_remove(seat);
        if let Some(moved) = room.members.get(seat) {
            moved.seat.store(seat, Ordering::Relaxed);
        }
        if member.neighbours.fetch_sub(1, Ordering::Relaxed) == 1 {
            room.networks.remove(&member.network);
        }
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Member ===

impl Member {
    /// Says that so many bytes were taken.
    pub(super) fn took(&self, bytes: usize) {
        let bytes = bytes as u64;
        let now = self.acts();
        self.all.store(self.all.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
        let free = self.free.load(Ordering::Relaxed);
        if free > 0 {
            self.free.store(free.saturating_sub(bytes), Ordering::Relaxed);
        }
        let bytes = bytes.saturating_sub(free);
        if bytes == 0 {
            return;
        }
        let now = now / SPAN_MS;
        let (span, taken) = (self.span.load(Ordering::Relaxed), self.taken.load(Ordering::Relaxed));
        if now == span {
            self.taken.store(taken + bytes, Ordering::Relaxed);
        } else {
            self.taken_before.store(if now == span + 1 { taken } else { 0 }, Ordering::Relaxed);
            self.taken.store(bytes, Ordering::Relaxed);
            self.span.store(now, Ordering::Relaxed);
        }
    }

    /// Says that somebody has listened, and whether anything had come.
    pub(super) fn is_heard(&self, has_spoken: bool) {
        if !self.was_heard.swap(true, Ordering::Relaxed) {
            self.crowd.unheard.fetch_sub(1, Ordering::Relaxed);
        }
        if has_spoken {
            self.has_spoken.store(true, Ordering::Relaxed);
        }
    }

    /// Says that the head of a request has come, and that its answer has not begun.
    pub(super) fn waits(self: &Arc<Self>) -> Waiting {
        self.acts();
        self.has_asked.store(true, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(Arc::clone(self))
    }

    /// Says that a request has begun which may be under way beside others. All but the first take a place each, since they
    /// cost as much as connections; none where there is none left.
    pub(super) fn begins(self: &Arc<Self>) -> Option<UnderWay> {
        let takes_place = self.requests.load(Ordering::Relaxed) > 0;
        if takes_place {
            let one_more = |taken| (taken < self.crowd.most).then_some(taken + 1);
            self.crowd.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        Some(UnderWay { member: Arc::clone(self), takes_place })
    }

    /// Ends when next to nothing was taken for `limit`, though nobody waited for us.
    pub(super) async fn stalls(&self, limit: Duration) {
        loop {
            let before = self.all.load(Ordering::Relaxed);
            sleep(limit).await;
            let taken = self.all.load(Ordering::Relaxed) - before;
            if taken < CHATTER && self.waiting.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }

    /// Says that it has done something, and when that is.
    fn acts(&self) -> u64 {
        let now = self.crowd.at(Instant::now());
        self.active.store(now, Ordering::Relaxed);
        now
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let age = now.saturating_duration_since(self.since);
        let at = self.crowd.at(now);
        let (span, taken) = (self.span.load(Ordering::Relaxed), self.taken.load(Ordering::Relaxed));
        let bytes = match (at / SPAN_MS).saturating_sub(span) {
            0 => taken + self.taken_before.load(Ordering::Relaxed),
            1 => taken,
            _ => 0,
        };
        let in_ms = (SPAN_MS + at % SPAN_MS).min(millis(age)).max(1000);
        let requests = u64::from(self.requests.load(Ordering::Relaxed)).max(1);
        Snapshot {
            network: self.network,
            neighbours: self.neighbours.load(Ordering::Relaxed),
            idle: Duration::from_millis(at.saturating_sub(self.active.load(Ordering::Relaxed))),
            is_new: age < YOUNG && !self.has_spoken.load(Ordering::Relaxed),
            is_waiting: self.waiting.load(Ordering::Relaxed) > 0,
            bytes_per_second: bytes.saturating_mul(1000) / in_ms / requests,
        }
    }
}

// === impl Place ===

impl Place {
    /// The connection that has it.
    pub(super) fn member(&self) -> Arc<Member> {
        Arc::clone(&self.0)
    }

    /// Ends when the place is given to another.
    pub(super) async fn taken_away(&self) {
        self.0.cut.notified().await;
    }

    /// Ends when no head of a request has come in time.
    pub(super) async fn dawdled(&self) {
        sleep(FIRST_HEAD).await;
        if self.0.has_asked.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.is_heard(false);
        self.0.crowd.leave(&mut self.0.crowd.room(), &self.0);
    }
}

// === impl Waiting ===

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.acts();
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl UnderWay ===

impl Watch for UnderWay {}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.member.requests.fetch_sub(1, Ordering::Relaxed);
        if self.takes_place {
            self.member.crowd.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Which of these make way, by their numbers, at most `most` of them, the first first.
///
/// Always of the network that has the most connections, less those that went before; of its own whoever [`rank`] says. Whoever
/// waits for us only where nobody else can go, whatever the network: that does not last.
fn least_useful(crowd: impl Iterator<Item = Snapshot>, most: usize) -> Vec<usize> {
    let ranked = crowd.enumerate().filter_map(|(number, one)| Some((one, rank(&one)?, number)));
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_unstable_by_key(|(one, rank, _)| (one.network, *rank));
    let (mut network, mut gone) = (None, 0);
    let mut order: Vec<_> = ranked
        .into_iter()
        .map(|(one, rank, number)| {
            gone = if network == Some(one.network) { gone + 1 } else { 0 };
            network = Some(one.network);
            (one.is_waiting, Reverse(one.neighbours.saturating_sub(gone)), rank, number)
        })
        .collect();
    order.sort_unstable();
    order.truncate(most);
    order.into_iter().map(|(.., number)| number).collect()
}

/// Whoever of a network has the least makes way first; none: not at all.
///
/// First whoever takes least, be it that it is idle, still sends its head, or reads a byte a second; of equals whoever has done nothing for
/// longest, since a player that has only begun takes what it can. Then whoever has only just come and said nothing yet: a viewer says
/// all at once. Last whoever waits for us. Never one that takes its bytes at a pace at which films are watched.
fn rank(one: &Snapshot) -> Option<(u8, u64, Reverse<Duration>)> {
    if one.bytes_per_second >= PACE {
        return None;
    }
    let worth = if one.is_waiting { 2 } else { u8::from(one.is_new) };
    Some((worth, one.bytes_per_second, Reverse(one.idle)))
}

/// A third of the files that we may have open: another third is for what answers need, files or connections to drives, and
/// the rest for all else.
fn by_open_files() -> usize {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let third = limit.map_or(usize::MAX, |limit| usize::try_from(limit / 3).unwrap_or(usize::MAX));
        third.clamp(FEWEST, MOST)
    }
    #[cfg(not(unix))]
    {
        MOST
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Connections at most. Chosen: far more than the viewers of any drive. One that dribbles holds some 30 KiB (measured: 2,048 took
/// 60 MiB); one that leaves a film unread holds what is read ahead for it besides, at most `proxy.window`.
const MOST: usize = 2048;
/// Chosen: a few viewers with a browser each.
const FEWEST: usize = 16;
/// For the first head of a connection; chosen: a browser connects ahead of its requests by less, and a satellite link needs 2 s.
const FIRST_HEAD: Duration = Duration::from_secs(10);
/// Chosen: a handshake and a head on a slow link.
const YOUNG: Duration = Duration::from_secs(1);
/// Bytes a second that nobody is cut at. Chosen: music at 128 kbit/s; a film has ten times as much.
const PACE: u64 = 16 * 1024;
/// Bytes of a connection that say nothing of whoever is at the other end: the two machines' buffers take them. Chosen: ours
/// (`UNSENT`), the 416 KiB that Linux lets any program have for receiving, and as much again.
const FREE: u64 = 1024 * 1024;
/// How long a choice of who makes way holds. Chosen: nobody becomes a viewer in less.
const CHOICE: Duration = Duration::from_millis(100);
/// So many make one that is chosen with others. Chosen: 64 of 2,048, so that a newcomer costs as little as its handshake.
const PORTION: usize = 32;
/// Bytes that pings and the like take within the shortest sensible limit of idleness; chosen: some ten of them with TLS around.
const CHATTER: u64 = 1024;
/// Bytes are counted in this span of time and the one before it, thus over 5 to 10 s; chosen: players read in bursts some seconds
/// apart.
const SPAN_MS: u64 = 5000;

#[cfg(test)]
mod tests;
