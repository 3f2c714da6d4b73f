//! How fast a connection gives while somebody waits for it, and whether that has collapsed. No I/O, no clock.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes against the time that was spent waiting for them. Time in which nobody asked does not count, so that a viewer
/// who takes little does not make a fast connection look slow.
#[derive(Debug)]
pub(super) struct Pace {
    /// Since when somebody has been waiting for the next piece.
    waiting_since: Option<Instant>,
    /// The same, not moved on by looking at the speed.
    dry_since: Option<Instant>,
    /// Of the present span.
    waited: Duration,
    got: u64,
    /// Rate of the last full span, in bytes a second.
    last: Option<f64>,
    /// What this account was seen to give lately, in bytes a second; 0 while unknown.
    usual: f64,
    /// Not called a collapse again before this.
    forbear_until: Option<Instant>,
    /// How long the next forbearance lasts.
    forbear: Duration,
}

// === impl Pace ===

impl Pace {
    /// A connection of an account that usually gives `usual` bytes a second, or 0 where that is not known.
    pub(super) fn new(usual: f64) -> Self {
        Self {
            waiting_since: None,
            dry_since: None,
            waited: Duration::ZERO,
            got: 0,
            last: None,
            usual,
            forbear_until: None,
            forbear: FORBEAR,
        }
    }

    /// Somebody waits for a piece that is not there yet.
    pub(super) fn waits(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
        self.dry_since.get_or_insert(now);
    }

    /// Since when somebody has been waiting, if anybody is.
    pub(super) fn dry_since(&self) -> Option<Instant> {
        self.dry_since
    }

    /// A piece has come.
    pub(super) fn got(&mut self, bytes: usize, now: Instant) {
        self.stop_waiting(now);
        self.got += bytes as u64;
        if self.waited >= SPAN {
            self.close_span();
        } else if self.waited.is_zero() && self.got > UNHURRIED {
            // It gives faster than it is asked; that says nothing of how slow it can be.
            self.got = 0;
        }
    }

    /// Nobody waits any more, or the connection is gone.
    pub(super) fn stop_waiting(&mut self, now: Instant) {
        self.dry_since = None;
        self.pause(now);
    }

    fn pause(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// Bytes a second, over the last full span or what there is of the first; nothing before there is enough to tell.
    pub(super) fn rate(&self) -> Option<f64> {
        self.last.or_else(|| (self.waited >= GLIMPSE).then(|| self.got as f64 / self.waited.as_secs_f64()))
    }

    /// What the account was seen to give, in bytes a second; 0 while unknown.
    pub(super) fn usual(&self) -> f64 {
        self.usual
    }

    /// When to look again whether the speed has collapsed, while somebody waits.
    pub(super) fn look_at(&self) -> Option<Instant> {
        Some(self.waiting_since? + SPAN.saturating_sub(self.waited))
    }

    /// Whether the connection gives next to nothing of what it gave. A full span of waiting is needed to say so.
    pub(super) fn has_collapsed(&mut self, now: Instant) -> bool {
        if self.waiting_since.is_some() {
            self.pause(now);
            self.waiting_since = Some(now);
        }
        if self.waited >= SPAN {
            self.close_span();
        }
        let Some(rate) = self.last else { return false };
        rate < self.usual * COLLAPSED && self.may_be_renewed(now)
    }

    /// Whether the last renewal is long enough ago.
    pub(super) fn may_be_renewed(&self, now: Instant) -> bool {
        self.forbear_until.is_none_or(|until| now >= until)
    }

    /// It is opened anew because of a collapse. If that does not help, the new speed becomes the usual one, and it is not
    /// tried again before long.
    pub(super) fn renewed(&mut self, now: Instant) {
        self.start_over();
        self.forbear_until = Some(now + self.forbear);
        self.forbear = (self.forbear * 2).min(LONGEST_FORBEARANCE);
    }

    /// Another connection takes over; what is known of the account stays.
    pub(super) fn start_over(&mut self) {
        (self.waiting_since, self.waited, self.got, self.last) = (None, Duration::ZERO, 0, None);
        self.dry_since = None;
    }

    fn close_span(&mut self) {
        let rate = self.got as f64 / self.waited.as_secs_f64();
        // A better speed is believed at once, a worse one slowly, so that the fall itself can be seen.
        let slowly = self.usual * FADING;
        self.usual = if self.forbear_until.is_some() && self.last.is_none() && rate < slowly {
            // The first span after a renewal that did not help.
            rate.max(slowly / 2.0)
        } else {
            rate.max(slowly)
        };
        self.last = Some(rate);
        (self.waited, self.got) = (Duration::ZERO, 0);
    }
}

/// Which share of the time readers spend waiting for the drive.
#[derive(Debug)]
pub(super) struct Hunger {
    /// Since when somebody has been waiting, if anybody is.
    dry_since: Option<Instant>,
    /// Begin of the present span.
    began: Instant,
    dry: Duration,
    /// Of the last full span.
    is_hungry: bool,
}

// === impl Hunger ===

impl Hunger {
    pub(super) fn new(now: Instant) -> Self {
        Self { dry_since: None, began: now, dry: Duration::ZERO, is_hungry: false }
    }

    /// Somebody waits.
    pub(super) fn waits(&mut self, now: Instant) {
        self.dry_since.get_or_insert(now);
    }

    /// Something has come for them.
    pub(super) fn fed(&mut self, now: Instant) {
        if let Some(since) = self.dry_since.take() {
            self.dry += now.saturating_duration_since(since);
        }
        let span = now.saturating_duration_since(self.began);
        if span >= GLIMPSE {
            self.is_hungry = self.dry >= span.mul_f64(HUNGRY);
            (self.began, self.dry) = (now, Duration::ZERO);
        }
    }

    /// Whether they take everything as soon as it comes, and would take more.
    pub(super) fn is_hungry(&self) -> bool {
        self.is_hungry
    }
}

/// Waiting time over which a speed is told. Chosen: two of them and a new connection fit into 3 s.
const SPAN: Duration = Duration::from_secs(1);
/// Waiting time after which a first guess is made. Chosen: shorter than what a viewer notices.
const GLIMPSE: Duration = Duration::from_millis(200);
/// Share of the time.
const HUNGRY: f64 = 0.75;
/// Bytes that came without any wait, after which counting begins anew.
const UNHURRIED: u64 = 64 << 20;
/// Share of the usual speed below which it has collapsed. Chosen: two more viewers on the account do not look like it.
const COLLAPSED: f64 = 0.125;
/// What is left of the usual speed after each slower span.
const FADING: f64 = 0.9;
/// How long a renewed connection is left alone; doubled each time.
const FORBEAR: Duration = Duration::from_secs(10);
const LONGEST_FORBEARANCE: Duration = Duration::from_secs(160);

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that gives a piece every 100 ms to somebody who always waits.
    fn run(pace: &mut Pace, now: &mut Instant, bytes_per_second: f64, time: Duration) -> Option<Duration> {
        let started = *now;
        while *now - started < time {
            pace.waits(*now);
            *now += Duration::from_millis(100);
            if pace.has_collapsed(*now) {
                return Some(*now - started);
            }
            pace.got((bytes_per_second / 10.0) as usize, *now);
        }
        None
    }

    #[test]
    fn a_fall_to_a_fiftieth_is_seen_within_two_spans() {
        let (mut pace, mut now) = (Pace::new(0.0), Instant::now());
        assert_eq!(run(&mut pace, &mut now, 10e6, Duration::from_secs(20)), None);
        let seen = run(&mut pace, &mut now, 0.2e6, Duration::from_secs(20)).unwrap();
        assert!(seen <= 2 * SPAN + Duration::from_millis(100), "{seen:?}");
    }

    #[test]
    fn sharing_with_two_others_is_no_collapse() {
        let (mut pace, mut now) = (Pace::new(0.0), Instant::now());
        run(&mut pace, &mut now, 9e6, Duration::from_secs(20));
        assert_eq!(run(&mut pace, &mut now, 3e6, Duration::from_secs(20)), None);
    }

    #[test]
    fn a_drive_that_stays_slow_is_left_alone_for_ever_longer() {
        let (mut pace, mut now) = (Pace::new(0.0), Instant::now());
        run(&mut pace, &mut now, 10e6, Duration::from_secs(20));
        let (started, mut renewals) = (now, 0);
        while now - started < Duration::from_secs(600) {
            if run(&mut pace, &mut now, 0.2e6, Duration::from_secs(600)).is_some() {
                renewals += 1;
                pace.renewed(now);
            }
        }
        assert!((1..=4).contains(&renewals), "{renewals}");
    }

    #[test]
    fn who_reads_as_fast_as_it_comes_is_hungry_and_who_plays_a_film_is_not() {
        let ms = Duration::from_millis;
        for (waits, plays, hungry) in [(ms(50), ms(1), true), (ms(3), ms(40), false)] {
            let mut now = Instant::now();
            let mut hunger = Hunger::new(now);
            for _ in 0..100 {
                hunger.waits(now);
                now += waits;
                hunger.fed(now);
                now += plays;
            }
            assert_eq!(hunger.is_hungry(), hungry);
        }
    }

    #[test]
    fn a_viewer_who_takes_little_does_not_make_it_slow() {
        let (mut pace, mut now) = (Pace::new(10e6), Instant::now());
        for _ in 0..1000 {
            // The piece is there at once; the viewer then looks elsewhere for a second.
            pace.waits(now);
            pace.got(100_000, now + Duration::from_millis(1));
            now += Duration::from_secs(1);
            assert!(!pace.has_collapsed(now));
        }
        assert!(pace.rate().unwrap() > 50e6);
    }
}
