//! The state of one simulated drive, shared by its two listeners.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::request::Parts;
use tokio::time::Instant;

use crate::{
    buckets::Buckets,
    clock::Clock,
    counts::{Counts, Listener, Log, Seen, Streams},
    faults::{Endpoint, Fault, Faults},
    logins::Logins,
    nodes::Nodes,
    secret::{Key, random_hex},
    settings::{DriveKind, Settings},
    tokens::{App, Tokens},
};

/// A running drive.
pub(crate) struct Drive {
    pub(crate) api_base: String,
    pub(crate) content_base: String,
    pub(crate) clock: Clock,
    pub(crate) key: Key,
    /// The user's own application.
    pub(crate) own: App,
    /// The application of the third-party token servers.
    pub(crate) third_party: App,
    pub(crate) user_id: String,
    pub(crate) streams: Arc<Streams>,
    inner: Mutex<Inner>,
}

/// What changes while it runs.
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) resource: Nodes,
    pub(crate) backup: Nodes,
    pub(crate) tokens: Tokens,
    pub(crate) logins: Logins,
    pub(crate) buckets: Buckets,
    pub(crate) faults: Faults,
    pub(crate) counts: Counts,
    pub(crate) log: Log,
    slots: HashMap<String, Slots>,
    /// When each address exchanged a token at a token server, on the drive's clock.
    pub(crate) exchanges: HashMap<IpAddr, VecDeque<u64>>,
    /// When each segment is transcoded: content hash, template, index.
    pub(crate) transcoded: HashMap<(String, String, usize), Instant>,
}

#[derive(Default)]
struct Slots {
    live: usize,
    lagging: Vec<Instant>,
}

impl Drive {
    pub(crate) fn new(api_base: String, content_base: String, settings: Settings) -> Self {
        let clock = Clock::default();
        let now_ms = clock.now_ms();
        let drive = Self {
            api_base,
            content_base,
            clock,
            key: Key::random(),
            own: App::random(),
            third_party: App::random(),
            user_id: random_hex(16),
            streams: Arc::default(),
            inner: Mutex::new(Inner {
                settings,
                resource: Nodes::new(now_ms),
                backup: Nodes::new(now_ms),
                tokens: Tokens::new(),
                logins: Logins::default(),
                buckets: Buckets::default(),
                faults: Faults::default(),
                counts: Counts::default(),
                log: Log::default(),
                slots: HashMap::new(),
                exchanges: HashMap::new(),
                transcoded: HashMap::new(),
            }),
        };
        for app in [&drive.own.id, &drive.third_party.id] {
            drive.lock().tokens.issue(app, &drive.user_id, DRIVES, false, now_ms / 1000);
        }
        drive
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come: it is counted and logged, and may get a fault.
    pub(crate) fn arrived(&self, listener: Listener, endpoint: Endpoint, head: &Parts) -> Option<Fault> {
        let any = match listener {
            Listener::Api => Endpoint::AnyApi,
            Listener::Content => Endpoint::AnyContent,
        };
        let seen = Seen {
            listener,
            endpoint,
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers.clone(),
        };
        let mut inner = self.lock();
        inner.counts.arrived(endpoint);
        inner.log.push(seen);
        let fault = inner.faults.take(endpoint, any);
        inner.counts.faulted += u64::from(fault.is_some());
        fault
    }

    /// Takes a download slot for `app`, or `None` over the cap (§4.3, §9.17).
    pub(crate) fn slot(self: &Arc<Self>, app: &str) -> Option<Slot> {
        let now = Instant::now();
        let mut inner = self.lock();
        let (cap, over_apps) = (inner.settings.cap(), inner.settings.cap_over_apps.unwrap_or(usize::MAX));
        for slots in inner.slots.values_mut() {
            slots.lagging.retain(|until| *until > now);
        }
        let all: usize = inner.slots.values().map(Slots::taken).sum();
        let own = inner.slots.entry(app.to_owned()).or_default();
        if own.taken() >= cap || all >= over_apps {
            inner.counts.denied_concurrency += 1;
            return None;
        }
        own.live += 1;
        drop(inner);
        self.streams.opened();
        Some(Slot { drive: Arc::clone(self), app: app.to_owned() })
    }

    fn release(&self, app: &str) {
        self.streams.closed();
        let mut inner = self.lock();
        let lag = inner.settings.release_lag;
        if let Some(slots) = inner.slots.get_mut(app) {
            slots.live = slots.live.saturating_sub(1);
            if lag > Duration::ZERO {
                slots.lagging.push(Instant::now() + lag);
            }
        }
    }
}

impl Inner {
    /// The tree of a drive.
    pub(crate) fn nodes(&self, drive: DriveKind) -> &Nodes {
        match drive {
            DriveKind::Backup => &self.backup,
            DriveKind::Resource => &self.resource,
        }
    }
}

impl Slots {
    fn taken(&self) -> usize {
        self.live + self.lagging.len()
    }
}

/// One live download; dropping it frees its place, after the release lag.
pub(crate) struct Slot {
    drive: Arc<Drive>,
    app: String,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.drive.release(&self.app);
    }
}

/// The `d` claim: the drives ticked at consent.
pub(crate) const DRIVES: &str = "111000111,222000222";
