//! What the stream engine counts, for `/metrics`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Counters of all streams.
#[derive(Debug)]
pub struct Counters {
    resumes: Family<Label, Counter>,
    /// From the last byte of a connection to the first of the one that goes on.
    pub(super) resume_seconds: Histogram,
    /// Breaks that were mended while the viewer still had bytes before him.
    pub(super) avoided: Counter,
    bytes: Family<Label, Counter>,
    /// Connections that accounts hold open now, or are opening.
    pub(super) connections: Gauge,
    /// Bids that had to queue.
    pub(super) waited: Counter,
    pub(super) wait_seconds: Histogram,
    /// Connections that the drive refused.
    pub(super) refused: Counter,
}

/// A name and what it is set to.
type Label = [(&'static str, &'static str); 1];

/// Why a body had to be gone on with.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Cause {
    /// The connection broke or ended short.
    Break,
    /// The drive counts more connections than it allows.
    Busy,
    /// Its speed fell to next to nothing.
    Collapse,
    /// The link was no longer good.
    Link,
    /// An error, or something that was not asked for.
    Refusal,
    /// Nothing came in time.
    Stall,
    /// Another viewer needed the connection.
    Turn,
}

/// Where bytes came from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum From {
    /// The block cache.
    Blocks,
    /// Another reader of the same bytes.
    Merged,
    /// The drive.
    Upstream,
}

// === impl Counters ===

impl Counters {
    /// Counters at zero, told to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let counters = Self {
            resumes: Family::default(),
            resume_seconds: Histogram::new(SECONDS),
            avoided: Counter::default(),
            bytes: Family::default(),
            connections: Gauge::default(),
            waited: Counter::default(),
            wait_seconds: Histogram::new(SECONDS),
            refused: Counter::default(),
        };
        let Self { resumes, resume_seconds, avoided, bytes, connections, waited, wait_seconds, refused } =
            &counters;
        registry.register("stream_resumes", "Times a body was gone on with, by cause", resumes.clone());
        registry.register_with_unit(
            "stream_resume",
            "Time from the last byte of a connection to the first of the next",
            Unit::Seconds,
            resume_seconds.clone(),
        );
        registry.register(
            "stream_stalls_avoided",
            "Breaks that were mended while the viewer still had bytes before him",
            avoided.clone(),
        );
        registry.register_with_unit(
            "stream_read",
            "Bytes of files that readers were given, by where they came from",
            Unit::Bytes,
            bytes.clone(),
        );
        registry.register(
            "stream_connections",
            "Content connections held or being opened",
            connections.clone(),
        );
        registry.register(
            "stream_connections_waited_for",
            "Connections that had to be waited for",
            waited.clone(),
        );
        registry.register_with_unit(
            "stream_connection_wait",
            "Time waited for a connection",
            Unit::Seconds,
            wait_seconds.clone(),
        );
        registry.register(
            "stream_connections_refused",
            "Connections that the drive refused as too many",
            refused.clone(),
        );
        counters
    }

    pub(super) fn resumed(&self, cause: Cause) {
        self.resumes.get_or_create(&[("cause", cause.word())]).inc();
    }

    pub(super) fn read(&self, from: From, bytes: u64) {
        self.bytes.get_or_create(&[("from", from.word())]).inc_by(bytes);
    }
}

// === impl Cause ===

impl Cause {
    fn word(self) -> &'static str {
        match self {
            Self::Break => "break",
            Self::Busy => "busy",
            Self::Collapse => "collapse",
            Self::Link => "link",
            Self::Refusal => "refusal",
            Self::Stall => "stall",
            Self::Turn => "turn",
        }
    }
}

// === impl From ===

impl From {
    fn word(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Merged => "merged",
            Self::Upstream => "upstream",
        }
    }
}

/// Bounds of the buckets, in seconds: from a hop on the local network to the longest hold.
const SECONDS: [f64; 9] = [0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 16.0];
