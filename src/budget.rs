//! Who a call to a drive is for, and whose turn it is.
//!
//! A drive allows an account few calls a second. They go to whoever would notice first that they are late: play before seek
//! before subtitles and previews before browsing before scanning; and in turn between those who ask for the same kind of
//! thing. What a request is for travels with its task as an [`Errand`], so that what is between `serve` and a driver need
//! not know of it; a fetch that several wait for has the urgency of the most urgent of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Result};

/// How soon it would be noticed that a call is late; the most urgent first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Priority {
    /// Somebody has pressed Play.
    Play,
    /// A film that plays already goes on elsewhere, or with a new link.
    Seek,
    /// What adorns a film: previews, subtitles.
    Extra,
    /// A person looks at folders.
    Browse,
    /// Nobody waits: scanners, crawlers.
    Background,
}

/// What a request asks of a drive, and for whom. Clones are the same errand.
#[derive(Clone, Debug)]
pub struct Errand(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    party: u64,
    priority: AtomicU8,
}

tokio::task_local! {
    static CURRENT: Errand;
}

/// One call each `interval`, to the most urgent. No bursts: a drive's own bucket is believed to hold one.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    state: Mutex<State>,
}

/// How fast calls go at present.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PaceView {
    /// Between two calls now: longer than usual for a while after the drive asked to slow down.
    pub interval: Duration,
    /// Between two calls usually.
    pub usual: Duration,
    /// How many wait for their turn.
    pub waiting: usize,
}

#[derive(Debug)]
struct State {
    /// No call before that.
    next: Instant,
    /// How many times the interval, since the drive asked to slow down.
    stretch: f64,
    /// When the drive last asked for that.
    throttled: Instant,
    /// Before when it wanted no call.
    told: Instant,
    waiting: Vec<Waiter>,
    /// Which turn each party had last.
    served: HashMap<u64, u64>,
    /// Tickets given out.
    tickets: u64,
    /// Turns taken.
    turns: u64,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    errand: Errand,
    /// Told when it may have become the first.
    moved: Arc<Notify>,
}

/// A place among those who wait; given back when dropped.
struct Place<'a> {
    pace: &'a Pace,
    ticket: u64,
}

// === impl Priority ===

impl Priority {
    const ALL: [Self; 5] = [Self::Play, Self::Seek, Self::Extra, Self::Browse, Self::Background];
}

// === impl Errand ===

impl Errand {
    /// An errand for `party`, among whose like calls go round in turn.
    pub fn new(priority: Priority, party: u64) -> Self {
        Self(Arc::new(Shared { party, priority: AtomicU8::new(priority as u8) }))
    }

    /// Another errand for the same party.
    #[must_use]
    pub fn with(&self, priority: Priority) -> Self {
        Self::new(priority, self.0.party)
    }

    /// Another errand for the same party, as urgent as this one, but no more so than that.
    #[must_use]
    pub fn at_most(&self, priority: Priority) -> Self {
        self.with(self.priority().max(priority))
    }

    /// What the caller does at present; browsing for nobody in particular where nothing was said.
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_else(|_| Self::new(Priority::Browse, 0))
    }

    /// Does `work` on this errand. What is spawned does not inherit it.
    pub fn doing<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// How urgent it is by now.
    pub fn priority(&self) -> Priority {
        Priority::ALL[usize::from(self.0.priority.load(Ordering::Relaxed)).min(Priority::ALL.len() - 1)]
    }

    /// Makes it at least as urgent as that; for a fetch which somebody more urgent waits for too.
    pub fn raise(&self, priority: Priority) {
        self.0.priority.fetch_min(priority as u8, Ordering::Relaxed);
    }
}

// === impl Pace ===

impl Pace {
    /// A pace of one call each `interval`, the first at once.
    pub fn new(interval: Duration, now: Instant) -> Self {
        let state = State {
            next: now,
            stretch: 1.0,
            throttled: now,
            told: now,
            waiting: Vec::new(),
            served: HashMap::new(),
            tickets: 0,
            turns: 0,
        };
        Self { interval, state: Mutex::new(state) }
    }

    /// Waits for the turn of one call.
    ///
    /// # Errors
    /// `RateLimit`, at once, where the turn would come later than `longest` from now, or later, where more urgent calls
    /// have come before; the error says when it may be tried again. Dropping the future gives its place back.
    pub async fn turn(&self, errand: &Errand, longest: Duration) -> Result<()> {
        let deadline = Instant::now() + longest;
        let moved = Arc::new(Notify::new());
        let place = {
            let mut state = self.state();
            let expected = state.expected(errand, self.interval);
            if expected > longest {
                return Err(too_late(expected));
            }
            state.tickets += 1;
            let ticket = state.tickets;
            state.waiting.push(Waiter { ticket, errand: errand.clone(), moved: Arc::clone(&moved) });
            Place { pace: self, ticket }
        };
        loop {
            let until = {
                let mut state = self.state();
                let now = Instant::now();
                let is_first = state.first().is_some_and(|first| first.ticket == place.ticket);
                if is_first && state.next <= now {
                    state.take(errand.0.party, now, self.interval);
                    return Ok(());
                }
                if now >= deadline {
                    let expected = state.expected(errand, self.interval);
                    return Err(too_late(expected));
                }
                if !is_first && state.next <= now {
                    // An errand has become more urgent meanwhile, and whoever is on it sleeps.
                    state.tell_first();
                }
                if is_first { state.next.min(deadline) } else { deadline }
            };
            tokio::select! {
                () = moved.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// The drive said to wait: no call before that, and fewer for a while.
    pub fn push_back(&self, wait: Duration) {
        let mut state = self.state();
        let now = Instant::now();
        state.told = state.told.max(now + wait);
        // The drive knows best: neither before that, nor much later, or an outage would last longer for us than for it.
        state.next = state.told.max(now + self.interval);
        state.stretch = HALVED;
        state.throttled = now;
        state.tell_first();
    }

    /// How fast calls go at present.
    pub fn view(&self) -> PaceView {
        let state = self.state();
        PaceView {
            interval: self.interval.mul_f64(state.stretch),
            usual: self.interval,
            waiting: state.waiting.len(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.pace.state();
        state.waiting.retain(|waiter| waiter.ticket != self.ticket);
        state.tell_first();
    }
}

// === impl State ===

impl State {
    /// Whose turn is next: the most urgent, of those the party that has had none for longest, of those who asked first.
    fn first(&self) -> Option<&Waiter> {
        self.waiting.iter().min_by_key(|waiter| {
            let served = self.served.get(&waiter.errand.0.party).copied().unwrap_or_default();
            (waiter.errand.priority(), served, waiter.ticket)
        })
    }

    fn tell_first(&self) {
        if let Some(first) = self.first() {
            first.moved.notify_one();
        }
    }

    /// How long a newcomer would wait, if nobody more urgent comes.
    fn expected(&self, errand: &Errand, interval: Duration) -> Duration {
        let priority = errand.priority();
        let mut like: HashMap<u64, u32> = HashMap::new();
        let mut ahead = 0;
        for waiter in &self.waiting {
            match waiter.errand.priority().cmp(&priority) {
                std::cmp::Ordering::Less => ahead += 1,
                std::cmp::Ordering::Equal => *like.entry(waiter.errand.0.party).or_default() += 1,
                std::cmp::Ordering::Greater => {}
            }
        }
        // Parties take turns: each other one is served at most once more than this one has calls waiting.
        let own = like.remove(&errand.0.party).unwrap_or_default();
        ahead += own + like.values().map(|calls| (*calls).min(own + 1)).sum::<u32>();
        self.next.saturating_duration_since(Instant::now()) + interval.mul_f64(self.stretch) * ahead
    }

    fn take(&mut self, party: u64, now: Instant, interval: Duration) {
        if self.stretch > 1.0 && now.saturating_duration_since(self.throttled) > CALM {
            self.stretch = (self.stretch * RECOVERY).max(1.0);
        }
        // From when the call really leaves: a turn that comes late must not be followed by one that comes early.
        self.next = now + interval.mul_f64(self.stretch);
        self.turns += 1;
        self.served.insert(party, self.turns);
        if self.served.len() > MOST_PARTIES {
            let recent = self.turns.saturating_sub(MOST_PARTIES as u64 / 2);
            self.served.retain(|_, turn| *turn > recent);
        }
    }
}

fn too_late(wait: Duration) -> Error {
    Error::new(ErrorKind::RateLimit, "wait for a call's turn").retry_after(wait)
}

/// How many times the interval after the drive has asked to slow down; chosen: a household still plays with a link each two
/// seconds, and another program on the account gets as many.
const HALVED: f64 = 2.0;
/// How long after the drive last asked to slow down the pace begins to recover; chosen.
const CALM: Duration = Duration::from_secs(10);
/// What is left of the stretch after each call then; chosen: back to the usual within seven calls of one halving.
const RECOVERY: f64 = 0.9;
/// Parties remembered; chosen: more than a household has devices.
const MOST_PARTIES: usize = 512;

#[cfg(test)]
mod tests {
    use futures_util::future::{join_all, poll_immediate};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> Pace {
        Pace::new(SECOND, Instant::now())
    }

    fn errand(priority: Priority, party: u64) -> Errand {
        Errand::new(priority, party)
    }

    /// The order in which these get their turns; the first asks first.
    async fn order(errands: &[Errand]) -> Vec<usize> {
        let pace = pace();
        pace.turn(&errand(Priority::Play, 99), SECOND).await.unwrap();
        let order = Mutex::new(Vec::new());
        join_all(errands.iter().enumerate().map(|(number, errand)| {
            let (pace, order) = (&pace, &order);
            async move {
                pace.turn(errand, 60 * SECOND).await.unwrap();
                order.lock().unwrap().push(number);
            }
        }))
        .await;
        order.into_inner().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_spaced() {
        let (pace, start) = (pace(), Instant::now());
        for _ in 0..5 {
            pace.turn(&errand(Priority::Browse, 0), 8 * SECOND).await.unwrap();
        }
        assert_eq!(start.elapsed(), 4 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_most_urgent_goes_first_however_late_it_asks() {
        let errands = [Priority::Background, Priority::Browse, Priority::Seek, Priority::Play];
        assert_eq!(order(&errands.map(|priority| errand(priority, 0))).await, [3, 2, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn parties_take_turns() {
        let parties = [1, 1, 1, 1, 2, 2];
        let errands = parties.map(|party| errand(Priority::Background, party));
        assert_eq!(order(&errands).await, [0, 4, 1, 5, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_errand_that_becomes_urgent_while_it_waits_goes_first() {
        let pace = pace();
        pace.turn(&errand(Priority::Play, 0), SECOND).await.unwrap();
        let (scan, wanted) = (errand(Priority::Background, 1), errand(Priority::Background, 1));
        let start = Instant::now();
        let raised = wanted.clone();
        let (first, second, ()) = tokio::join!(
            async {
                pace.turn(&scan, 9 * SECOND).await.unwrap();
                start.elapsed()
            },
            async {
                pace.turn(&wanted, 9 * SECOND).await.unwrap();
                start.elapsed()
            },
            async { raised.raise(Priority::Play) }
        );
        assert_eq!((first, second), (2 * SECOND, SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_too_far_off_is_refused_at_once_and_takes_no_place() {
        let pace = pace();
        let scan = errand(Priority::Background, 1);
        let results = join_all((0..9).map(|_| pace.turn(&scan, Duration::from_millis(2500)))).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
        let refusal = results.into_iter().find_map(Result::err).unwrap();
        assert_eq!(refusal.kind(), ErrorKind::RateLimit);
        assert_eq!(refusal.retry_delay(), Some(3 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_overtaken_too_often_is_refused_when_the_time_is_over() {
        let pace = pace();
        let (play, scan) = (errand(Priority::Play, 1), errand(Priority::Background, 2));
        let plays = async {
            for _ in 0..6 {
                pace.turn(&play, 9 * SECOND).await.unwrap();
            }
        };
        let start = Instant::now();
        let scans = async {
            let refused = pace.turn(&scan, 3 * SECOND).await.unwrap_err();
            (refused.kind(), start.elapsed())
        };
        let ((), refused) = tokio::join!(plays, scans);
        assert_eq!(refused, (ErrorKind::RateLimit, 3 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_gives_the_place_back() {
        let pace = pace();
        let errand = errand(Priority::Browse, 0);
        pace.turn(&errand, 8 * SECOND).await.unwrap();
        for _ in 0..20 {
            let mut impatient = Box::pin(pace.turn(&errand, 8 * SECOND));
            assert!(poll_immediate(&mut impatient).await.is_none());
        }
        pace.turn(&errand, 2 * SECOND).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_drives_word_moves_the_next_turn_and_halves_the_pace_for_a_while() {
        let (pace, start) = (pace(), Instant::now());
        let errand = errand(Priority::Play, 0);
        pace.push_back(Duration::from_millis(3300));
        assert_eq!(pace.view(), PaceView { interval: 2 * SECOND, usual: SECOND, waiting: 0 });
        pace.turn(&errand, 8 * SECOND).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 3300);
        pace.turn(&errand, 8 * SECOND).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 5300);
        for _ in 0..20 {
            pace.turn(&errand, 8 * SECOND).await.unwrap();
        }
        let recovered = Instant::now();
        pace.turn(&errand, 8 * SECOND).await.unwrap();
        assert_eq!(recovered.elapsed(), SECOND);
        assert_eq!(pace.view().interval, SECOND);
    }
}
