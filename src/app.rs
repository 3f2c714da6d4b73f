//! The composition root: the only file that sees every room. Builds the drivers, the caches and both stacks.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceBuilder;

use crate::access::admission::Admission;
use crate::access::keys::Keys;
use crate::clock::Clock;
use crate::config::Config;
use crate::driver::{Calls, Context, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{self, Exporter};
use crate::http::client;
use crate::http::content::ContentClient;
use crate::layer::authenticate::{AuthenticateLayer, Classify};
use crate::layer::cors::{CorsLayer, IsMedia};
use crate::layer::deadline::{DeadlineLayer, Patience};
use crate::layer::forwarded::ForwardedLayer;
use crate::layer::head::HeadLayer;
use crate::layer::in_flight::InFlightLayer;
use crate::layer::metrics::Metrics;
use crate::layer::rescue::RescueLayer;
use crate::layer::trace::TraceLayer;
use crate::mount::{Mount, MountId, MountTable};
use crate::resolve::{self, Resolver, Search, Store};
use crate::secret::Secret;
use crate::serve::addresses::Addresses;
use crate::serve::gauges::AccountGauges;
use crate::serve::{Site, admin, target};
use crate::sign::Signer;
use crate::state::Sealer;
use crate::stream::{Counters, Engine};
use crate::transport::{self, BoxHttp, Crowd, Listener};

/// The program, built and not yet listening.
#[derive(Clone, Debug)]
pub struct App {
    /// What players and browsers talk to.
    pub service: BoxHttp,
    /// What the operator's tools talk to.
    pub admin: BoxHttp,
    /// Writes trees of `.strm` files.
    pub exporter: Exporter,
    exports: Vec<export::Settings>,
    mounts: Arc<MountTable>,
    transport: transport::Settings,
    tasks: TaskTracker,
}

/// The listeners of a run.
#[derive(Debug)]
pub struct Listeners {
    /// For players and browsers.
    pub public: Vec<Listener>,
    /// For the operator's tools, if at all.
    pub admin: Option<Listener>,
}

// === impl App ===

impl App {
    /// Builds the program. Opens folders, contacts nobody.
    ///
    /// # Errors
    /// `Internal` where this machine lacks something: a folder to serve, a state folder that can be written.
    pub fn build(config: &Config, clock: Clock) -> Result<Self> {
        let tasks = TaskTracker::new();
        let token = match kept_token(config)? {
            Some(token) => token,
            None => make_token(config)?,
        };
        let signer = Signer::new(&token);
        let access = &config.access;
        let admission = Admission::new(access, token, &config.state_dir, clock.clone())?;
        let addresses =
            Arc::new(Addresses::new(&config.serve, access, admission.rules().clone(), signer, clock.clone()));

        let mut metrics = Metrics::new();
        let calls = Calls::new();
        calls.register(metrics.registry());
        let mounts = mounts(config, &clock, &calls, &tasks)?;
        metrics.registry().register_collector(Box::new(AccountGauges::new(Arc::clone(&mounts))));
        let counted = resolve::Counters::register(metrics.registry());
        let is_kept = mounts.iter().any(|mount| mount.driver.info().believed.is_none());
        let file = config.state_dir.join(ENTRIES);
        let store =
            is_kept.then(|| Store::open(&file, config.cache.entries, counted.clone(), &tasks)).flatten();
        let search = Search::new(Arc::clone(&mounts), store.clone());
        let resolver =
            Resolver::new(Arc::clone(&mounts), &config.cache, store, clock.clone(), &tasks, counted);
        let engine = Engine::new(
            ContentClient::new()?,
            config.proxy.clone(),
            &config.blocks,
            &config.state_dir.join(BLOCKS),
            Counters::register(metrics.registry()),
            &tasks,
        )?;
        let keys = Keys::new(&config.state_dir);
        let exporter = Exporter::new(resolver.clone(), engine.clone(), keys, config.origin(), clock.clone());
        let site = Site::new(
            Arc::clone(&addresses),
            Arc::clone(&mounts),
            resolver,
            search,
            engine,
            config.proxy.hold,
            admission.clone(),
            clock,
            &tasks,
        );

        let prefix = addresses.prefix().to_owned();
        let is_media: IsMedia = Arc::new(move |request| target::is_media(request, &prefix));
        let prefix = addresses.prefix().to_owned();
        let classify: Classify = Arc::new(move |request| target::requirement(request, &prefix));
        let metrics = Arc::new(metrics);
        let trace = TraceLayer::new(u32::from_be_bytes(random()?), Arc::clone(&metrics));
        let hold = config.proxy.hold;
        let prefix = addresses.prefix().to_owned();
        let patience: Patience = Arc::new(move |request| {
            // The steps inside refuse by themselves after `hold`, with the better answer.
            hold + if target::is_media(request, &prefix) { GRACE } else { BROWSING }
        });
        let service = ServiceBuilder::new()
            // Outermost: the id and the access line enclose everything.
            .layer(trace.clone())
            // Outside all that goes by the client's address.
            .layer(ForwardedLayer::new(config.trusted_proxies.clone()))
            // Outside rescue, so that failures can be read by pages of other origins.
            .layer(CorsLayer::new(is_media))
            // Outside everything that can fail.
            .layer(RescueLayer)
            // Outside the gate: when full, not even a signature is computed.
            .layer(InFlightLayer::new(MOST_REQUESTS))
            // Outside the gate and the router, which read what it bounds.
            .layer(HeadLayer)
            // Outside the router, which looks at paths.
            .layer(AuthenticateLayer::new(admission.clone(), classify))
            // Innermost: it counts the work, not the refusals above.
            .layer(DeadlineLayer::new(patience))
            .service(site);
        let classify: Classify = Arc::new(|request| admin::requirement(request));
        let admin = ServiceBuilder::new()
            .layer(trace)
            .layer(ForwardedLayer::new(config.trusted_proxies.clone()))
            .layer(RescueLayer)
            .layer(AuthenticateLayer::new(admission, classify))
            .layer(DeadlineLayer::new(Arc::new(move |_| hold + BROWSING)))
            .service(admin::Admin::new(Arc::clone(&mounts), Arc::new(move || metrics.text())));
        Ok(Self {
            service: BoxHttp::new(service),
            admin: BoxHttp::new(admin),
            exporter,
            exports: config.exports.clone(),
            mounts,
            transport: config.server.clone(),
            tasks,
        })
    }

    /// Lets every mount get ready, for at most `longest`; what is not ready by then goes on in the background.
    /// A drive that is down keeps nobody from starting.
    pub async fn prepare(&self, longest: Duration) {
        let mounts = Arc::clone(&self.mounts);
        let all = self.tasks.spawn(async move {
            let each = mounts.iter().map(|mount| async {
                if let Err(error) = mount.driver.prepare().await {
                    tracing::warn!(mount = %mount.path, %error, "the drive is not ready");
                }
            });
            futures_util::future::join_all(each).await;
        });
        // Either it is done or it goes on by itself.
        let _ = tokio::time::timeout(longest, all).await;
    }

    /// Serves until `stop`, then drains.
    pub async fn run(self, listeners: Listeners, stop: CancellationToken) {
        // Tasks of their own, among those of the connections: on a thread of its own, accepting would leave them behind in a flood.
        let serve = |listener, service, crowd| {
            let (settings, tasks) = (self.transport.clone(), self.tasks.clone());
            self.tasks.spawn(transport::run(listener, service, stop.clone(), settings, crowd, tasks))
        };
        self.tasks.spawn(beat(stop.clone()));
        for settings in self.exports {
            self.tasks.spawn(self.exporter.clone().keep(settings, stop.clone()));
        }
        let crowd = Crowd::new(self.transport.max_connections);
        let public = listeners.public.into_iter();
        let public = public.map(|listener| serve(listener, self.service.clone(), crowd.clone()));
        // A crowd of its own, so that the operator sees what happens when the other is full.
        let admin =
            listeners.admin.map(|listener| serve(listener, self.admin.clone(), Crowd::new(MOST_OPERATORS)));
        futures_util::future::join_all(public.chain(admin)).await;
        close(&self.tasks).await;
    }

    /// Ends a program that has served nothing.
    pub async fn close(self) {
        close(&self.tasks).await;
    }
}

/// Fetches that outlived their callers write tokens: they are let finish, but not for ever.
async fn close(tasks: &TaskTracker) {
    tasks.close();
    let _ = tokio::time::timeout(LAST_FETCHES, tasks.wait()).await;
}

/// A timer that always stands. tokio wakes the thread that waits for events whenever a timer is set that is due before all
/// others; with this one they never are, which saves two system calls a request (counted; see `benches/README.md`).
async fn beat(stop: CancellationToken) {
    while tokio::time::timeout(BEAT, stop.cancelled()).await.is_err() {}
}

/// The drives of a configuration, opened; what is asked of them is counted in `calls`, what outlives a caller runs on `tasks`.
///
/// # Errors
/// `Internal` where this machine lacks something, such as a folder to serve.
pub fn mounts(config: &Config, clock: &Clock, calls: &Calls, tasks: &TaskTracker) -> Result<Arc<MountTable>> {
    let context = Context {
        clock: clock.clone(),
        client: client::for_api()?,
        state_dir: config.state_dir.clone(),
        calls: calls.clone(),
        sealer: Arc::new(Sealer::new(&config.state_dir, config.state_key.clone())),
        hold: config.proxy.hold,
        tasks: tasks.clone(),
        shared: Shared::default(),
    };
    let mounts = config.mounts.iter().zip(0..).map(|(mount, number)| {
        let driver = mount.driver.open(&context).map_err(|error| error.with("mount", &mount.path))?;
        let (path, policy) = (mount.path.clone(), mount.policy.clone());
        Ok(Arc::new(Mount { id: MountId(number), path, driver, policy }))
    });
    Ok(Arc::new(MountTable::new(mounts.collect::<Result<_>>()?)))
}

/// The API token: the operator's, else the one that was made at the first start.
fn kept_token(config: &Config) -> Result<Option<Secret>> {
    if let Some(token) = &config.access.api_token {
        return Ok(Some(token.clone()));
    }
    let file = config.state_dir.join(TOKEN_FILE);
    match std::fs::read_to_string(&file) {
        Ok(token) => Ok(Some(Secret::new(token.trim())).filter(|token| !token.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(token_fault(&file, error)),
    }
}

/// Makes an API token and keeps it; not where guests may play, since there nothing hangs on it, and a start should
/// leave nothing behind.
fn make_token(config: &Config) -> Result<Secret> {
    let token = new_token()?;
    if !config.access.guest {
        let file = config.state_dir.join(TOKEN_FILE);
        crate::state::write_durably(&file, token.expose().as_bytes())
            .map_err(|error| token_fault(&file, error))?;
    }
    Ok(token)
}

fn token_fault(file: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "keep the API token").with("file", file.display()).caused_by(error)
}

fn new_token() -> Result<Secret> {
    let bytes: [u8; 32] = random()?;
    Ok(Secret::new(format!("sluice-{}", data_encoding::HEXLOWER.encode(&bytes))))
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Internal, "draw random bytes").with("reason", error))?;
    Ok(bytes)
}

const TOKEN_FILE: &str = "api_token";
const BLOCKS: &str = "blocks";
const ENTRIES: &str = "entries.redb";
/// Requests under way, bodies included. More than there are connections, whose crowd decides who makes way: here nobody does, and
/// those who dribble would keep the others out.
const MOST_REQUESTS: usize = 2560;
/// Connections of the operator's tools. Chosen: many times what scrapes and probes need.
const MOST_OPERATORS: usize = 64;
/// What a folder on the way to a path takes where it must be walked through, with 12,000 entries at four pages of 200 a second,
/// and as much again. A page itself is told as it is listed.
const BROWSING: Duration = Duration::from_secs(30);
/// Not longer than the timers that every request sets.
const BEAT: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(1);
/// Longer than an exchange of tokens may take, whose answer must not be lost.
const LAST_FETCHES: Duration = Duration::from_secs(17);
