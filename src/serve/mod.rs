//! What a client can ask for: a request becomes a target, a target becomes a decision, a decision an answer.
//!
//! `target` reads the head, `plan` decides, `content`, `folder`, `hls`, `dav`, `api` and `web` answer. No file here talks to a drive;
//! `resolve` and `stream` do.

pub mod addresses;
pub mod admin;
pub mod api;
pub mod client;
mod content;
pub mod dav;
mod folder;
pub mod gauges;
pub mod hls;
pub mod media_type;
pub mod plan;
pub mod target;
mod telling;
pub mod web;

use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header;
use http::uri::Authority;
use moka::sync::Cache;
use tokio_util::task::TaskTracker;
use tower::Service;

use self::addresses::Addresses;
use self::hls::{PlaylistKey, PlaylistLease, Transcodes};
use self::target::{Endpoint, Part, Target};
use self::web::Logins;
use crate::access::admission::Admission;
use crate::access::rules::{Sight, Verdict};
use crate::budget::Errand;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Peer, Place, Request, Response, Secure};
use crate::lease::LeaseCache;
use crate::mount::{MountId, MountTable};
use crate::path::VirtualPath;
use crate::resolve::{ResolveRequest, Resolved, Resolver, Search, Want};
use crate::stream::Engine;

/// What the serving side needs to know of the outside.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    /// What players see, without a trailing slash, a path prefix included; none to use relative addresses.
    pub public_url: Option<String>,
}

/// Answers requests that the gate has let through. Clones are cheap and share everything.
#[derive(Clone, Debug)]
pub struct Site(Arc<Inner>);

/// What all clones share.
#[derive(Debug)]
struct Inner {
    addresses: Arc<Addresses>,
    admission: Admission,
    clock: Clock,
    engine: Engine,
    hold: Duration,
    logins: Logins,
    mounts: Arc<MountTable>,
    /// Films whose page or playlist was opened a moment ago.
    opened: Cache<VirtualPath, ()>,
    playlists: LeaseCache<PlaylistKey, PlaylistLease>,
    resolver: Resolver,
    search: Search,
    tasks: TaskTracker,
    /// What was learned of films' transcodes.
    transcodes: Transcodes,
    /// Mounts of which it was said that their drive keeps some qualities back.
    withheld: Cache<MountId, ()>,
}

// === impl Site ===

impl Site {
    /// A site over these mounts, their resolver and an engine.
    #[expect(clippy::too_many_arguments, reason = "the composition root hands over one of each, once")]
    pub fn new(
        addresses: Arc<Addresses>,
        mounts: Arc<MountTable>,
        resolver: Resolver,
        search: Search,
        engine: Engine,
        hold: Duration,
        admission: Admission,
        clock: Clock,
        tasks: &TaskTracker,
    ) -> Self {
        Self(Arc::new(Inner {
            addresses,
            admission,
            clock,
            engine,
            hold,
            logins: Logins::new(tasks.clone()),
            mounts,
            opened: Cache::builder().max_capacity(MOST_OPENED).time_to_live(OPENED).build(),
            playlists: LeaseCache::new(PLAYLISTS_KIB, tasks.clone()),
            resolver,
            search,
            tasks: tasks.clone(),
            transcodes: Transcodes::new(),
            withheld: Cache::new(MOST_OPENED),
        }))
    }

    /// Each endpoint's future is boxed by itself: in one, the smallest would be as large as the largest.
    fn answer(self, mut request: Request) -> BoxFuture<'static, Result<Response>> {
        let target = match Target::parse(&mut request, self.0.addresses.prefix()) {
            Ok(target) => target,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        let errand = self.errand(&request, &target);
        match &target.endpoint {
            Endpoint::Api(call) => {
                let call = *call;
                Box::pin(errand.doing(async move { self.api(&request, call).await }))
            }
            Endpoint::Ping => Box::pin(ready(Ok(api::pong()))),
            Endpoint::Dav => Box::pin(errand.doing(async move { self.dav(&request, &target).await })),
            Endpoint::Account => Box::pin(errand.doing(async move { self.account(&request, &target).await })),
            Endpoint::Asset(asset) => Box::pin(ready(Ok(asset.answer(&request)))),
            Endpoint::Browse => Box::pin(errand.doing(async move { self.browse(&request, &target).await })),
            Endpoint::Content | Endpoint::Proxied => {
                Box::pin(errand.doing(async move { self.content(&request, &target).await }))
            }
            Endpoint::Hls(part) => {
                let part = part.clone();
                Box::pin(errand.doing(async move { self.hls(&request, &target, &part).await }))
            }
        }
    }

    /// What the request is for, and for whom: clients are told apart by their address.
    fn errand(&self, request: &Request, target: &Target) -> Errand {
        let says_so = request.headers().get(PRIORITY).is_some_and(|value| value == "background");
        let is_film = matches!(target.endpoint, Endpoint::Browse | Endpoint::Hls(Part::Master));
        if is_film && !says_so {
            self.0.opened.insert(target.path.clone(), ());
        }
        let is_open = || self.0.opened.contains_key(&target.path);
        let priority = plan::priority(target, says_so, target.client.may_probe() && is_open());
        Errand::new(priority, place(request).number())
    }

    /// What may be seen with this password, where that opens the path; else what is said of it. Waits as a login does.
    async fn opened(
        &self,
        request: &Request,
        path: &VirtualPath,
        password: &str,
        mut sight: Sight,
    ) -> Result<std::result::Result<Sight, Verdict>> {
        loop {
            let verdict = sight.of(path);
            let Verdict::Locked(rule) = verdict else {
                return Ok(if verdict == Verdict::Allowed { Ok(sight) } else { Err(verdict) });
            };
            let is_given = !password.is_empty();
            if !is_given || self.0.admission.open_lock(rule, password, place(request)).await?.is_none() {
                return Ok(Err(verdict));
            }
            // Each time round one rule less holds.
            sight = sight.with_password(password);
        }
    }

    /// The origin that the client asked, for addresses where the operator has named no public one: what it reached once it reaches again.
    fn asked_origin(&self, request: &Request) -> String {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let Some(host) = request.uri().authority().map(Authority::as_str).or(host) else {
            return String::new();
        };
        let scheme = if self.is_https(request) { "https" } else { "http" };
        format!("{scheme}://{host}")
    }

    /// Whether the client reached us by `https`.
    fn is_https(&self, request: &Request) -> bool {
        self.0.addresses.is_https() || request.extensions().get::<Secure>().is_some()
    }

    async fn find(&self, path: &VirtualPath, want: Want) -> Result<Resolved> {
        self.0.resolver.resolve(ResolveRequest { path: path.clone(), want, known: None }).await
    }
}

/// What whoever asks may see, as the gate has found it.
///
/// # Errors
/// `Internal` where the request did not come through the gate.
fn sight(request: &Request) -> Result<Sight> {
    let sight = request.extensions().get::<Sight>();
    sight.cloned().ok_or_else(|| Error::new(ErrorKind::Internal, "find out who is asking"))
}

/// Where a request comes from.
fn place(request: &Request) -> Place {
    request.extensions().get::<Peer>().map_or(Place::NOWHERE, |peer| Place::of(peer.0))
}

impl Service<Request> for Site {
    type Response = Response;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.clone().answer(request)
    }
}

/// Of the drive's playlists kept; a film of two hours takes some 500. Chosen against the 128 MiB of a NAS.
const PLAYLISTS_KIB: u64 = 16 * 1024;
/// By which a request can say that nobody waits for it: `background`.
const PRIORITY: http::HeaderName = http::HeaderName::from_static("sluice-priority");
/// How long after its page was opened a film counts as being opened; chosen: a server that transcodes starts within it.
const OPENED: Duration = Duration::from_secs(60);
/// Films remembered; chosen: more than a household opens in a minute.
const MOST_OPENED: u64 = 1000;
