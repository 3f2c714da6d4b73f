//! What drives are asked, for `/metrics`. Labels name endpoints and outcomes, never a path or an account.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::budget::Priority;

/// Counters of all drives. Clones share them.
#[derive(Clone, Debug)]
pub struct Calls {
    calls: Family<Labels<3>, Counter>,
    waits: Family<Labels<1>, Histogram, fn() -> Histogram>,
    refused: Family<Labels<1>, Counter>,
    refreshes: Family<Labels<1>, Counter>,
}

/// Names and what they are set to.
type Labels<const N: usize> = [(&'static str, &'static str); N];

// === impl Calls ===

impl Calls {
    /// Counters at zero, which nobody reads yet.
    pub fn new() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        Self {
            calls: Family::default(),
            waits: Family::new_with_constructor(seconds),
            refused: Family::default(),
            refreshes: Family::default(),
        }
    }

    /// Tells `registry` of them.
    pub fn register(&self, registry: &mut Registry) {
        let Self { calls, waits, refused, refreshes } = self;
        registry.register(
            "drive_calls",
            "Calls of drives' APIs, by driver, endpoint and result",
            calls.clone(),
        );
        registry.register_with_unit(
            "drive_call_wait",
            "Time that calls waited for their turn, by what they were for",
            Unit::Seconds,
            waits.clone(),
        );
        registry.register(
            "drive_calls_refused",
            "Calls that were not made since their turn would have come too late, by what they were for",
            refused.clone(),
        );
        registry.register(
            "drive_token_refreshes",
            "Refreshes of access tokens, by result",
            refreshes.clone(),
        );
    }

    /// A call was answered, or not.
    pub(super) fn called(&self, driver: &'static str, endpoint: &'static str, result: &'static str) {
        self.calls.get_or_create(&[("driver", driver), ("endpoint", endpoint), ("result", result)]).inc();
    }

    /// A call had its turn after so long.
    pub(super) fn waited(&self, priority: Priority, wait: Duration) {
        self.waits.get_or_create(&[("for", name(priority))]).observe(wait.as_secs_f64());
    }

    /// A call was not given a turn.
    pub(super) fn refused(&self, priority: Priority) {
        self.refused.get_or_create(&[("for", name(priority))]).inc();
    }

    /// A refresh token was exchanged, or not.
    pub(super) fn refreshed(&self, is_ok: bool) {
        self.refreshes.get_or_create(&[("result", if is_ok { "ok" } else { "failed" })]).inc();
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self::new()
    }
}

fn name(priority: Priority) -> &'static str {
    match priority {
        Priority::Play => "play",
        Priority::Seek => "seek",
        Priority::Extra => "extra",
        Priority::Browse => "browse",
        Priority::Background => "background",
    }
}

/// Up to as long as a request is held.
const SECONDS: [f64; 7] = [0.01, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_by_endpoint_and_waits_by_what_they_were_for() {
        let (calls, mut registry) = (Calls::new(), Registry::default());
        calls.register(&mut registry);
        calls.called("drive", "list", "ok");
        calls.waited(Priority::Play, Duration::from_millis(300));
        calls.refused(Priority::Background);
        calls.refreshed(true);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "drive_calls_total{driver=\"drive\",endpoint=\"list\",result=\"ok\"} 1",
            "drive_call_wait_seconds_bucket{le=\"0.5\",for=\"play\"} 1",
            "drive_calls_refused_total{for=\"background\"} 1",
            "drive_token_refreshes_total{result=\"ok\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
