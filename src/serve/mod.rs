//! What a client can ask for: a request becomes a target, a target becomes a decision, a decision an answer.
//!
//! `target` reads the head, `plan` decides, `content`, `hls` and `web` answer. No file here talks to a drive;
//! `resolve` and `stream` do.

pub mod addresses;
pub mod admin;
pub mod client;
mod content;
pub mod hls;
pub mod media_type;
pub mod plan;
pub mod target;
pub mod web;

use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

use self::addresses::Addresses;
use self::hls::{PlaylistKey, PlaylistLease};
use self::target::{Endpoint, Target};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::http::{Request, Response};
use crate::lease::LeaseCache;
use crate::path::VirtualPath;
use crate::resolve::{BoxResolve, ResolveRequest, Resolved, Want};
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
    clock: Clock,
    engine: Engine,
    hold: Duration,
    playlists: LeaseCache<PlaylistKey, PlaylistLease>,
    resolve: BoxResolve,
}

// === impl Site ===

impl Site {
    /// A site over a resolver and an engine; `playlists_kib` of a drive's playlists are kept.
    pub fn new(
        addresses: Arc<Addresses>,
        resolve: BoxResolve,
        engine: Engine,
        hold: Duration,
        playlists_kib: u64,
        clock: Clock,
        tasks: &TaskTracker,
    ) -> Self {
        Self(Arc::new(Inner {
            addresses,
            clock,
            engine,
            hold,
            playlists: LeaseCache::new(playlists_kib, tasks.clone()),
            resolve,
        }))
    }

    /// Each endpoint's future is boxed by itself: in one, the smallest would be as large as the largest.
    fn answer(self, request: Request) -> BoxFuture<'static, Result<Response>> {
        let target = match Target::parse(&request, self.0.addresses.prefix()) {
            Ok(target) => target,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        match &target.endpoint {
            Endpoint::Asset(asset) => Box::pin(ready(Ok(asset.answer()))),
            Endpoint::Browse => Box::pin(async move { self.browse(&request, &target).await }),
            Endpoint::Content | Endpoint::Proxied => {
                Box::pin(async move { self.content(&request, &target).await })
            }
            Endpoint::Hls(part) => {
                let part = part.clone();
                Box::pin(async move { self.hls(&request, &target, &part).await })
            }
        }
    }

    async fn find(&self, path: &VirtualPath, want: Want) -> Result<Resolved> {
        self.0.resolve.clone().oneshot(ResolveRequest { path: path.clone(), want, known: None }).await
    }
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
