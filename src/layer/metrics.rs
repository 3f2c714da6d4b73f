//! What is counted of every request, for `/metrics`. No label carries a path, a user or anything else without bound.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::error::{Error, ErrorKind, Result};

/// The counters of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<[(&'static str, u16); 1], Counter>,
    sent: Counter,
    cut: Counter,
    under_way: Gauge,
}

// === impl Metrics ===

impl Metrics {
    /// Counters at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("sluice"),
            requests: Family::default(),
            sent: Counter::default(),
            cut: Counter::default(),
            under_way: Gauge::default(),
        };
        let Self { registry, requests, sent, cut, under_way } = &mut metrics;
        registry.register("requests", "Requests whose answer has ended, by status", requests.clone());
        registry.register_with_unit(
            "sent",
            "Bytes of bodies that were handed to clients",
            Unit::Bytes,
            sent.clone(),
        );
        registry.register("cut_bodies", "Bodies that ended before they were whole", cut.clone());
        registry.register("requests_under_way", "Requests whose answer has not ended yet", under_way.clone());
        metrics
    }

    /// Where other rooms tell of their counters.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// `Internal` where a counter cannot be written.
    pub fn text(&self) -> Result<String> {
        let mut text = String::new();
        encode(&mut text, &self.registry)
            .map_err(|error| Error::new(ErrorKind::Internal, "write the metrics").caused_by(error))?;
        Ok(text)
    }

    /// A request has come in.
    pub(super) fn began(&self) {
        self.under_way.inc();
    }

    /// Its client left before there was an answer.
    pub(super) fn abandoned(&self) {
        self.under_way.dec();
    }

    /// Its answer has ended.
    pub(super) fn ended(&self, status: http::StatusCode, sent_bytes: u64, is_cut: bool) {
        self.under_way.dec();
        self.requests.get_or_create(&[("status", status.as_u16())]).inc();
        self.sent.inc_by(sent_bytes);
        self.cut.inc_by(u64::from(is_cut));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_is_counted_by_status() {
        let metrics = Metrics::new();
        metrics.began();
        metrics.began();
        metrics.ended(http::StatusCode::PARTIAL_CONTENT, 1000, true);
        let text = metrics.text().unwrap();
        for line in [
            "sluice_requests_total{status=\"206\"} 1",
            "sluice_sent_bytes_total 1000",
            "sluice_cut_bodies_total 1",
            "sluice_requests_under_way 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
