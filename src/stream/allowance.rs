//! How many connections the drive allows an account, told from its refusals. No I/O, no clock.
//!
//! A refusal has one of two reasons: the drive allows fewer connections than we believe, or it still counts one that has
//! ended. The second is tried first, by waiting; the next attempt shows which it was.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What is believed of the drive's counting.
#[derive(Debug)]
pub(super) struct Allowance {
    /// What the operator says the drive allows.
    configured: usize,
    /// What it is believed to allow.
    cap: usize,
    /// When something was learned last.
    learned: Option<Instant>,
    /// Connections that have ended, until when the drive is taken to count them.
    cooling: Vec<Instant>,
    /// How long the drive was seen to count a connection after its end. By the fact sheet (§9.17) the same whether its body
    /// ended or it was closed in the middle.
    lag: Duration,
    /// When connections have ended lately, and how.
    ended: VecDeque<(Instant, End)>,
    /// What the last refusal may be due to.
    suspicion: Option<Suspicion>,
}

/// A refusal that may be due to a connection which had ended.
#[derive(Clone, Copy, Debug)]
struct Suspicion {
    /// How many others were open.
    others: usize,
    /// When that connection had ended.
    at: Instant,
}

/// How a connection ends, as the drive sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// All that was asked for was sent.
    Clean,
    /// It was closed in the middle.
    Early,
    /// There never was one.
    Unopened,
}

// === impl Allowance ===

impl Allowance {
    pub(super) fn new(configured: usize) -> Self {
        Self {
            configured,
            cap: configured,
            learned: None,
            cooling: Vec::new(),
            lag: Duration::ZERO,
            ended: VecDeque::new(),
            suspicion: None,
        }
    }

    /// What the operator says the drive allows.
    pub(super) fn configured(&self) -> usize {
        self.configured
    }

    /// How many may be opened while `open` are.
    pub(super) fn free(&self, open: usize) -> usize {
        self.cap.saturating_sub(open + self.cooling.len())
    }

    /// How many come free by themselves.
    pub(super) fn cooling(&self) -> usize {
        self.cooling.len()
    }

    /// When the next of them does.
    pub(super) fn cooled_at(&self) -> Option<Instant> {
        self.cooling.iter().min().copied()
    }

    /// How long a connection is counted after its end.
    pub(super) fn lag(&self, end: End) -> Duration {
        match end {
            End::Clean => self.lag,
            End::Early => self.lag.max(LEAST_LAG),
            End::Unopened => Duration::ZERO,
        }
    }

    /// Lets time pass.
    pub(super) fn settle(&mut self, now: Instant) {
        self.cooling.retain(|until| *until > now);
        while self.ended.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= LONGEST_LAG) {
            self.ended.pop_front();
        }
        if self.learned.is_some_and(|at| now.saturating_duration_since(at) >= BELIEVED) {
            // Another program of the user's may have held some, and be gone.
            (self.cap, self.lag, self.learned) = (self.configured, Duration::ZERO, None);
        }
    }

    /// A connection has ended.
    pub(super) fn ended(&mut self, end: End, now: Instant) {
        if end == End::Unopened {
            return;
        }
        self.ended.push_back((now, end));
        let lag = self.lag(end);
        if !lag.is_zero() {
            self.cooling.push(now + lag);
        }
    }

    /// The drive refused a connection while `others` were open.
    pub(super) fn refused(&mut self, others: usize, now: Instant) {
        match (self.suspicion, self.taken_for_free(now)) {
            // Not because of what had ended: that much was open the last time, and time has passed since.
            (Some(suspicion), _) if suspicion.others <= others && others > 0 => self.allow(others, now),
            (_, None) => self.allow(others, now),
            (_, Some((at, end))) => {
                let lag = (self.lag(end) * 2).clamp(SHORTEST_LAG, LONGEST_LAG);
                self.cooling.push(now + lag);
                self.suspicion = Some(Suspicion { others, at });
            }
        }
    }

    /// The drive accepted a connection while `others` were open.
    pub(super) fn accepted(&mut self, others: usize, now: Instant) {
        let Some(suspicion) = self.suspicion.take_if(|suspicion| suspicion.others <= others) else { return };
        // It was no longer than this; a little more, since it may be longer the next time.
        let lag = (now.saturating_duration_since(suspicion.at) + LEAST_LAG * 3).min(LONGEST_LAG);
        tracing::debug!(lag_ms = lag.as_millis(), "the drive counts connections for a while after their end");
        self.lag = lag.max(self.lag);
        self.learned = Some(now);
    }

    /// The connection that ended last of those that are not counted any more, although the drive may.
    fn taken_for_free(&self, now: Instant) -> Option<(Instant, End)> {
        let mut ended = self.ended.iter().rev();
        ended.find(|(at, end)| now.saturating_duration_since(*at) >= self.lag(*end)).copied()
    }

    /// No more than so many, and at least one.
    fn allow(&mut self, connections: usize, now: Instant) {
        (self.suspicion, self.learned) = (None, Some(now));
        if connections.max(1) < self.cap {
            self.cap = connections.max(1);
            tracing::info!(connections = self.cap, "the drive allows fewer connections than configured");
        }
    }
}

/// Even a drive that notices at once must first be told: closing takes its time, and a new request may overtake it.
const LEAST_LAG: Duration = Duration::from_millis(30);
/// How long is first waited for a drive that may notice late that a connection has ended; doubled with each refusal.
const SHORTEST_LAG: Duration = Duration::from_millis(500);
/// Longest time the drive takes to notice a closed connection. Source: the fact sheet, §9.17.
const LONGEST_LAG: Duration = Duration::from_millis(2500);
/// How long it is believed what refusals taught. Chosen: one refusal in so long, which no viewer sees, is worth it.
const BELIEVED: Duration = Duration::from_secs(30 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_after_an_end_is_waited_for_and_teaches_the_lag_if_that_helps() {
        for end in [End::Early, End::Clean] {
            let (mut allowance, mut now) = (Allowance::new(2), Instant::now());
            allowance.ended(end, now);
            now += LEAST_LAG;
            allowance.settle(now);
            assert_eq!(allowance.free(0), 2);
            allowance.refused(1, now);
            assert_eq!(allowance.free(0), 1, "one may still be counted");
            now += SHORTEST_LAG;
            allowance.settle(now);
            allowance.accepted(1, now);
            assert_eq!(allowance.free(0), 2, "the cap was not it");
            // From now on such an end is counted for as long.
            allowance.ended(end, now);
            allowance.settle(now + SHORTEST_LAG);
            assert_eq!(allowance.free(0), 1);
            allowance.settle(now + LONGEST_LAG);
            assert_eq!(allowance.free(0), 2);
        }
    }

    #[test]
    fn a_second_refusal_with_as_many_open_teaches_the_cap_for_a_while() {
        let (mut allowance, mut now) = (Allowance::new(3), Instant::now());
        allowance.ended(End::Clean, now);
        allowance.refused(2, now);
        now += SHORTEST_LAG;
        allowance.settle(now);
        allowance.refused(2, now);
        assert_eq!(allowance.free(0), 2);
        allowance.settle(now + BELIEVED);
        assert_eq!(allowance.free(0), 3);
    }

    #[test]
    fn a_refusal_that_nothing_explains_teaches_the_cap_at_once_but_never_none() {
        let (mut allowance, now) = (Allowance::new(3), Instant::now());
        allowance.refused(1, now);
        assert_eq!(allowance.free(0), 1);
        allowance.refused(0, now);
        assert_eq!(allowance.free(0), 1);
    }
}
