//! Request rates per app: how often each class of call may come (fact sheet §8.1).

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::settings::Rates;

/// The classes of calls.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Class {
    Link,
    List,
    Other,
}

/// When each class of each app may be called next, as a generic cell rate algorithm.
#[derive(Debug, Default)]
pub(crate) struct Buckets(HashMap<(String, Class), Instant>);

impl Buckets {
    /// Takes a place, or says how long until there is one.
    pub(crate) fn take(
        &mut self,
        app: &str,
        class: Class,
        rates: &Rates,
        now: Instant,
    ) -> Result<(), Duration> {
        let rate = match class {
            Class::Link => rates.link,
            Class::List => rates.list,
            Class::Other => rates.other,
        };
        if rate.is_infinite() {
            return Ok(());
        }
        let every = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::from_secs(3600));
        let slack = every * (rates.burst.max(1) - 1);
        let due = self.0.entry((app.to_owned(), class)).or_insert(now);
        let wait = due.saturating_duration_since(now).saturating_sub(slack);
        if wait > JITTER {
            return Err(wait);
        }
        *due = (*due).max(now) + every;
        Ok(())
    }
}

/// How early a request may come, so that a client pacing just below a rate is not refused for what the network
/// and the scheduler do to its intervals. The rate itself holds over time. Chosen against 15 a second.
const JITTER: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_passes_once_per_interval() {
        let (mut buckets, rates, start) = (Buckets::default(), Rates::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(buckets.take("a", Class::Link, &rates, at(0)).is_ok());
        assert_eq!(buckets.take("a", Class::Link, &rates, at(400)), Err(Duration::from_millis(600)));
        assert!(buckets.take("a", Class::List, &rates, at(400)).is_ok());
        assert!(buckets.take("b", Class::Link, &rates, at(400)).is_ok());
        assert!(buckets.take("a", Class::Link, &rates, at(1000)).is_ok());
    }

    #[test]
    fn bursts_and_off_are_settings() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        let rates = Rates { burst: 3, ..Rates::default() };
        let passed = (0..5).filter(|_| buckets.take("a", Class::List, &rates, now).is_ok()).count();
        assert_eq!(passed, 3);
        assert!((0..100).all(|_| buckets.take("b", Class::List, &Rates::OFF, now).is_ok()));
    }
}
