//! What is known of leases, for `/metrics`. Labels name kinds and mounts by their number, never a path.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::lease::{Life, Lookups};
use crate::mount::Mount;

/// Counters of all leases. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    lookups: Family<[(&'static str, &'static str); 2], Counter>,
    renewals: Counter,
    early_deaths: Counter,
    stale: Counter,
    believed: Family<[(&'static str, String); 1], Gauge<f64, AtomicU64>>,
    kept: Gauge,
}

// === impl Counters ===

impl Counters {
    /// Counters at zero, of which `registry` is told.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let Self { lookups, renewals, early_deaths, stale, believed, kept } = this.clone();
        registry.register("lease_lookups", "Lookups of leases, by kind and whether one was at hand", lookups);
        registry.register(
            "link_renewals",
            "Links that were asked for again while they were in use",
            renewals,
        );
        registry.register(
            "link_early_deaths",
            "Links that the drive refused before their time",
            early_deaths,
        );
        registry.register(
            "stale_answers",
            "Entries and listings answered from what was known while a drive failed",
            stale,
        );
        registry.register_with_unit(
            "link_life_believed",
            "How long the last link of a mount is believed to live, by number of the mount",
            Unit::Seconds,
            believed,
        );
        registry.register("entries_kept", "Entries of drives that are kept on disk", kept);
        this
    }

    pub(super) fn lookups(&self, kind: &'static str) -> Lookups {
        let of = |result| self.lookups.get_or_create_owned(&[("kind", kind), ("result", result)]);
        Lookups { hits: of("hit"), misses: of("miss") }
    }

    pub(super) fn renewed(&self) {
        self.renewals.inc();
    }

    pub(super) fn died_early(&self) {
        self.early_deaths.inc();
    }

    pub(super) fn believe(&self, mount: &Mount, life: Life) {
        self.believed.get_or_create(&[("mount", mount.id.0.to_string())]).set(life.total().as_secs_f64());
    }

    pub(super) fn stale(&self) {
        self.stale.inc();
    }

    pub(super) fn keep(&self, entries: u64) {
        self.kept.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }
}
