//! Who may hold a content connection: an account has two or three, for all its files and viewers.
//!
//! Whoever needs one bids. A free connection goes to the viewer who runs dry first; where none is free, one that
//! nobody waits for is taken back, or, after its turn, the one that was held longest. A connection that was closed
//! in the middle is counted for as long as the drive was seen to count it; refusals teach how many there really
//! are.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::allowance::{Allowance, End};
use super::blocks::{ContentKey, Realm};
use super::feed::Feed;
use super::metrics::Counters;
use crate::driver::DriverInfo;
use crate::error::{Error, ErrorKind, Result};

/// The accounts, by name. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Broker {
    accounts: Arc<Mutex<HashMap<Arc<str>, Arc<Account>>>>,
    counters: Arc<Counters>,
}

/// One account's connections, and who reads what through them.
pub(super) struct Account {
    state: Mutex<State>,
    counters: Arc<Counters>,
    realm: Realm,
}

struct State {
    allowance: Allowance,
    open: Vec<Arc<Grant>>,
    queue: Vec<Waiting>,
    next_ticket: u64,
    /// Until when the account counts as contended.
    contended_until: Option<Instant>,
    /// What a connection gives, in bytes a second; 0 while unknown.
    usual: f64,
    feeds: HashMap<ContentKey, Vec<Weak<Feed>>>,
}

/// What is asked of the account.
#[derive(Clone, Debug)]
pub(super) struct Bid {
    /// Whose connection it will be.
    pub(super) feed: Weak<Feed>,
    /// Whether nobody watches.
    pub(super) background: bool,
    /// When the viewer runs dry.
    pub(super) dry_at: Instant,
    /// Whether it only makes a fast thing faster: granted where one is free, never waited for, first to be taken back.
    pub(super) spare: bool,
}

struct Waiting {
    ticket: u64,
    bid: Bid,
    since: Instant,
    grant: oneshot::Sender<Slot>,
}

struct Grant {
    bid: Bid,
    since: Instant,
}

/// The right to have one connection open; given back when dropped.
pub(super) struct Slot {
    /// Until it is given back.
    held: Option<(Arc<Account>, Arc<Grant>)>,
    end: End,
}

// === impl Broker ===

impl Broker {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { accounts: Arc::default(), counters }
    }

    /// The account of a driver, where its connections are counted.
    pub(super) fn account(&self, info: &DriverInfo) -> Option<Arc<Account>> {
        let configured = info.connections?.get();
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(&info.account) {
            return Some(Arc::clone(account));
        }
        let account = Arc::new(Account::new(configured, Arc::clone(&self.counters), Realm::of(info)));
        accounts.insert(Arc::clone(&info.account), Arc::clone(&account));
        Some(account)
    }
}

// === impl Account ===

impl Account {
    fn new(configured: usize, counters: Arc<Counters>, realm: Realm) -> Self {
        let state = State {
            allowance: Allowance::new(configured),
            open: Vec::new(),
            queue: Vec::new(),
            next_ticket: 0,
            contended_until: None,
            usual: 0.0,
            feeds: HashMap::new(),
        };
        Self { state: Mutex::new(state), counters, realm }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn realm(&self) -> Realm {
        self.realm
    }

    /// Whether connections are so few that viewers should share them.
    pub(super) fn is_scarce(&self) -> bool {
        self.lock().allowance.configured() <= SCARCE
    }

    /// Whether somebody waits for a connection, or did a moment ago.
    pub(super) fn is_contended(&self, now: Instant) -> bool {
        let state = self.lock();
        !state.queue.is_empty() || state.contended_until.is_some_and(|until| now < until)
    }

    /// How many connections are free that nobody waits for.
    pub(super) fn room(&self, now: Instant) -> usize {
        let mut state = self.lock();
        state.allowance.settle(now);
        if state.queue.is_empty() { state.free() } else { 0 }
    }

    /// What a connection of this account was seen to give, in bytes a second; 0 while unknown.
    pub(super) fn usual(&self) -> f64 {
        self.lock().usual
    }

    pub(super) fn set_usual(&self, usual: f64) {
        self.lock().usual = usual;
    }

    /// The feeds that read this content now.
    pub(super) fn feeds(&self, key: &ContentKey) -> Vec<Arc<Feed>> {
        self.lock().feeds.get(key).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn register(&self, key: ContentKey, feed: &Arc<Feed>) {
        self.lock().feeds.entry(key).or_default().push(Arc::downgrade(feed));
    }

    /// Forgets the feeds that are no more.
    pub(super) fn unregister(&self, key: &ContentKey) {
        let mut state = self.lock();
        if let Some(feeds) = state.feeds.get_mut(key) {
            feeds.retain(|feed| feed.strong_count() > 0);
            if feeds.is_empty() {
                state.feeds.remove(key);
            }
        }
    }

    /// Waits for a connection until `deadline`.
    ///
    /// # Errors
    /// `Overload` where none comes free. Dropping the future gives its place in the queue up.
    pub(super) async fn acquire(self: &Arc<Self>, bid: Bid, deadline: Instant) -> Result<Slot> {
        let now = Instant::now();
        {
            let mut state = self.lock();
            state.allowance.settle(now);
            if state.queue.is_empty() && state.free() > 0 {
                return Ok(self.grant(&mut state, bid, now));
            }
        }
        if bid.spare {
            return Err(all_in_use());
        }
        Box::pin(self.queue_up(bid, now, deadline)).await
    }

    async fn queue_up(self: &Arc<Self>, bid: Bid, now: Instant, deadline: Instant) -> Result<Slot> {
        let (mut granted, mut place) = {
            let mut state = self.lock();
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            let (grant, granted) = oneshot::channel();
            state.queue.push(Waiting { ticket, bid: bid.clone(), since: now, grant });
            state.contended_until = Some(now + AFTERMATH);
            (granted, Place { account: self, ticket, is_left: true })
        };
        self.counters.waited.inc();
        loop {
            let look_again = self.make_room(&bid, now).min(deadline);
            tokio::select! {
                biased;
                slot = &mut granted => {
                    place.is_left = false;
                    self.counters.wait_seconds.observe(now.elapsed().as_secs_f64());
                    return slot.map_err(|_| all_in_use());
                }
                () = sleep_until(look_again) => {
                    if Instant::now() >= deadline {
                        return Err(all_in_use());
                    }
                }
            }
        }
    }

    /// Takes connections back for whoever waits, and says when to look again.
    fn make_room(self: &Arc<Self>, bid: &Bid, since: Instant) -> Instant {
        let now = Instant::now();
        let (held, turn, mut look_again) = {
            let mut state = self.lock();
            state.allowance.settle(now);
            self.hand_out(&mut state, now);
            // What is on its way back anyway needs no victim.
            let short = state.queue.len().saturating_sub(state.allowance.cooling());
            let cooled = state.allowance.cooled_at().unwrap_or(now + LOOK_AGAIN);
            let held = if short == 0 { Vec::new() } else { state.open.clone() };
            let turn = TURN.max(state.allowance.lag(End::Early) * 2);
            (held, turn, cooled.min(now + LOOK_AGAIN))
        };
        // Whoever watches goes before whoever does not, unless that one has waited for long.
        let is_patient = bid.background && now.saturating_duration_since(since) < AGEING;
        let victim = held
            .iter()
            .filter_map(|grant| {
                let feed = grant.bid.feed.upgrade()?;
                let has_spare = feed.has_spare();
                let rank = if has_spare {
                    Reverse(3)
                } else if feed.is_idle(now) {
                    Reverse(2)
                } else if grant.bid.background && !bid.background {
                    Reverse(1)
                } else if is_patient {
                    return None;
                } else {
                    let ends = grant.since + turn;
                    if now < ends {
                        look_again = look_again.min(ends);
                        return None;
                    }
                    Reverse(0)
                };
                Some((rank, grant.since, has_spare, feed))
            })
            .min_by_key(|(rank, since, ..)| (*rank, *since));
        if let Some((_, _, has_spare, feed)) = victim {
            if has_spare {
                feed.give_up_spare();
            } else {
                feed.give_up();
            }
            look_again = look_again.min(now + SOON);
        }
        look_again
    }

    /// Gives what is free to whoever runs dry first.
    fn hand_out(self: &Arc<Self>, state: &mut State, now: Instant) {
        while state.free() > 0 {
            let Some(first) = state.first_in_line(now) else { return };
            let waiting = state.queue.swap_remove(first);
            let slot = self.grant(state, waiting.bid, now);
            if let Err(mut unwanted) = waiting.grant.send(slot) {
                // Whoever waited has left. Dropping the slot would lock again, so it is undone here.
                if let Some((_, unwanted)) = unwanted.held.take() {
                    state.open.retain(|grant| !Arc::ptr_eq(grant, &unwanted));
                    self.counters.connections.dec();
                }
            }
        }
        if !state.queue.is_empty() {
            state.contended_until = Some(now + AFTERMATH);
        }
    }

    fn grant(self: &Arc<Self>, state: &mut State, bid: Bid, now: Instant) -> Slot {
        let grant = Arc::new(Grant { bid, since: now });
        state.open.push(Arc::clone(&grant));
        self.counters.connections.inc();
        Slot { held: Some((Arc::clone(self), grant)), end: End::Unopened }
    }

    /// The drive refused a connection that this slot stood for: it counts more than we do.
    fn refused(&self, refused: &Arc<Grant>, now: Instant) {
        self.counters.refused.inc();
        let mut state = self.lock();
        let others = state.others(refused);
        state.allowance.refused(others, now);
    }

    /// The drive has accepted a connection.
    fn accepted(&self, accepted: &Arc<Grant>, now: Instant) {
        let mut state = self.lock();
        let others = state.others(accepted);
        state.allowance.accepted(others, now);
    }

    fn give_back(self: &Arc<Self>, grant: &Arc<Grant>, end: End) {
        let now = Instant::now();
        self.counters.connections.dec();
        let mut state = self.lock();
        state.open.retain(|open| !Arc::ptr_eq(open, grant));
        state.allowance.ended(end, now);
        state.allowance.settle(now);
        self.hand_out(&mut state, now);
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("Account")
            .field("allowance", &state.allowance)
            .field("open", &state.open.len())
            .finish()
    }
}

// === impl State ===

impl State {
    /// How many connections are free.
    fn free(&self) -> usize {
        self.allowance.free(self.open.len())
    }

    /// How many are open beside one.
    fn others(&self, one: &Arc<Grant>) -> usize {
        self.open.iter().filter(|grant| !Arc::ptr_eq(grant, one)).count()
    }

    fn first_in_line(&self, now: Instant) -> Option<usize> {
        let rank = |waiting: &Waiting| {
            let is_aged = now.saturating_duration_since(waiting.since) >= AGEING;
            (waiting.bid.background && !is_aged, waiting.bid.dry_at, waiting.ticket)
        };
        (0..self.queue.len()).min_by_key(|index| rank(&self.queue[*index]))
    }
}

// === impl Slot ===

impl Slot {
    /// The drive is being asked; whoever leaves from now on closes what it may count.
    pub(super) fn asked(&mut self) {
        self.end = End::Early;
    }

    /// The drive has answered with the body.
    pub(super) fn opened(&self) {
        if let Some((account, grant)) = &self.held {
            account.accepted(grant, Instant::now());
        }
    }

    /// The body has ended, which the drive knows; closing one in the middle it may notice late.
    pub(super) fn ended(&mut self) {
        self.end = End::Clean;
    }

    /// The drive refused the connection because it counts too many.
    pub(super) fn refused(self) {
        if let Some((account, grant)) = &self.held {
            account.refused(grant, Instant::now());
        }
        self.unopened();
    }

    /// The drive has answered without a body of the file.
    pub(super) fn unopened(mut self) {
        self.end = End::Unopened;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some((account, grant)) = self.held.take() {
            account.give_back(&grant, self.end);
        }
    }
}

/// A place in the queue, given up when dropped.
struct Place<'a> {
    account: &'a Account,
    ticket: u64,
    is_left: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_left {
            self.account.lock().queue.retain(|waiting| waiting.ticket != self.ticket);
        }
    }
}

/// What a viewer is told who waited in vain.
pub(super) fn all_in_use() -> Error {
    Error::new(ErrorKind::Overload, "wait for a connection")
        .saying("all connections that the drive allows this account are in use")
        .retry_after(Duration::from_secs(5))
}

/// Accounts with more connections than this have enough for everybody. Chosen above what the drive gives any app (6).
const SCARCE: usize = 16;
/// How long a connection is held before it may be taken from somebody who waits for it. Chosen: ten viewers on two
/// connections are round in 2.5 s, and a turn is longer than opening takes.
const TURN: Duration = Duration::from_millis(500);
/// How long an account counts as contended after somebody had to wait. Chosen: a few turns.
const AFTERMATH: Duration = Duration::from_secs(2);
/// Waiting time after which a reader whom nobody watches is treated like one that is watched.
const AGEING: Duration = Duration::from_secs(4);
/// How often the connections are looked over while somebody waits. A connection becomes idle without anybody saying so.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// After one was taken back, when the next may be.
const SOON: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn account(connections: usize) -> Arc<Account> {
        let counters = Arc::new(Counters::register(&mut Registry::default()));
        Arc::new(Account::new(connections, counters, Realm::default()))
    }

    fn bid(background: bool, dry_at: Instant) -> Bid {
        Bid { feed: Weak::new(), background, dry_at, spare: false }
    }

    /// What a bid gets within `wait`.
    async fn acquire(account: &Arc<Account>, bid: Bid, wait: Duration) -> Result<Slot> {
        account.acquire(bid, Instant::now() + wait).await
    }

    const WAIT: Duration = Duration::from_secs(8);

    #[tokio::test(start_paused = true)]
    async fn an_account_never_holds_more_than_its_connections() {
        let account = account(2);
        let now = Instant::now();
        let first = acquire(&account, bid(false, now), WAIT).await.unwrap();
        let _second = acquire(&account, bid(false, now), WAIT).await.unwrap();
        let refused = acquire(&account, bid(false, now), WAIT).await.err().unwrap();
        assert_eq!((refused.kind(), now.elapsed()), (ErrorKind::Overload, WAIT));
        drop(first);
        acquire(&account, bid(false, now), Duration::ZERO).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_runs_dry_first_goes_first_and_who_is_not_watched_last() {
        let account = account(1);
        let now = Instant::now();
        let held = acquire(&account, bid(false, now), WAIT).await.unwrap();
        let order = Mutex::new(Vec::new());
        let wait = async |name: &'static str, bid: Bid| {
            let slot = acquire(&account, bid, WAIT).await.unwrap();
            order.lock().unwrap().push(name);
            drop(slot);
        };
        let seconds = Duration::from_secs;
        tokio::join!(
            wait("scanner", bid(true, now)),
            wait("later", bid(false, now + seconds(5))),
            wait("soon", bid(false, now + seconds(1))),
            async { drop(held) },
        );
        assert_eq!(*order.lock().unwrap(), ["soon", "later", "scanner"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_scanner_that_has_waited_for_long_is_let_in() {
        let account = account(1);
        let held = acquire(&account, bid(false, Instant::now()), WAIT).await.unwrap();
        let scanner = acquire(&account, bid(true, Instant::now()), WAIT);
        let viewer = async {
            tokio::time::sleep(AGEING + Duration::from_secs(1)).await;
            let viewer = acquire(&account, bid(false, Instant::now()), WAIT);
            drop(held);
            viewer.await.err()
        };
        let (scanner, viewer) = tokio::join!(scanner, viewer);
        assert!(scanner.is_ok());
        assert_eq!(viewer.unwrap().kind(), ErrorKind::Overload);
    }

    #[tokio::test(start_paused = true)]
    async fn what_only_makes_faster_is_never_waited_for() {
        let account = account(1);
        let _held = acquire(&account, bid(false, Instant::now()), WAIT).await.unwrap();
        let started = Instant::now();
        let spare = Bid { spare: true, ..bid(false, started) };
        assert!(acquire(&account, spare, WAIT).await.is_err());
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_queue_leaves_no_slot_behind() {
        let account = account(1);
        let held = acquire(&account, bid(false, Instant::now()), WAIT).await.unwrap();
        for _ in 0..100 {
            let waiting = acquire(&account, bid(false, Instant::now()), WAIT);
            assert!(tokio::time::timeout(Duration::from_millis(10), waiting).await.is_err());
        }
        assert!(account.lock().queue.is_empty());
        drop(held);
        assert_eq!(account.room(Instant::now()), 1);
    }
}
