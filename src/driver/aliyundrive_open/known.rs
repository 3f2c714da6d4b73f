//! What is known of the account behind a login, and forgotten with it: the next may be another's.
//!
//! Source: §2 and §8.3 of the fact sheet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio_util::task::TaskTracker;

use super::api::{Account, Drives};
use super::limits::Class;
use super::wire;
use crate::budget::{Errand, Priority};
use crate::driver::{AccountFacts, Package, Refused, Space};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Lease, LeaseCell, Life};

/// What is known of one login's account.
#[derive(Debug)]
pub(super) struct Known {
    /// Whose it is, from the first call on.
    user: OnceLock<Option<String>>,
    pub(super) drives: LeaseCell<Drives>,
    asked: LeaseCell<Asked>,
    told: Mutex<Told>,
}

/// What the drive has told so far.
#[derive(Debug, Default)]
struct Told {
    package: Option<Package>,
    space: Option<Space>,
    /// By endpoint.
    refused: BTreeMap<&'static str, Refused>,
}

/// That the drive was asked, and until when that is enough.
#[derive(Debug)]
struct Asked {
    life: Life,
    outcome: Result<()>,
}

// === impl Known ===

impl Known {
    /// Nothing yet; fetches run on `tasks`.
    pub(super) fn new(tasks: &TaskTracker) -> Self {
        Self {
            user: OnceLock::new(),
            drives: LeaseCell::new(tasks.clone()),
            asked: LeaseCell::new(tasks.clone()),
            told: Mutex::default(),
        }
    }

    /// Whether it is that user's, who is taken for its owner where there is none yet.
    pub(super) fn is_of(&self, user: &Option<String>) -> bool {
        self.user.get_or_init(|| user.clone()) == user
    }

    /// A call was answered: what it was refused for before is over.
    pub(super) fn served(&self, endpoint: &'static str) {
        self.told().refused.remove(endpoint);
    }

    /// A call was refused, which is remembered where its owner has to do something about the account.
    pub(super) fn refused(&self, endpoint: &'static str, operation: &'static str, error: &Error) {
        if error.kind() == ErrorKind::Unavailable {
            let refused = Refused { endpoint, operation, words: error.words() };
            self.told().refused.insert(endpoint, refused);
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// What is known of the account now; asks nobody.
    pub(super) fn facts(&self) -> AccountFacts {
        let known = self.known();
        let told = known.told();
        AccountFacts {
            package: told.package,
            space: told.space,
            refused: told.refused.values().copied().collect(),
            paces: self.limits.view(),
        }
    }

    /// Asks for the package and the space, unless that was done a while ago at most. What cannot be had stays as it was.
    ///
    /// # Errors
    /// What a call failed with; the same until it is time to ask again.
    pub(super) async fn look_up(self: &Arc<Self>) -> Result<()> {
        let known = self.known();
        let (account, asking) = (Arc::clone(self), Arc::clone(&known));
        let fetch = async move {
            let package = account.package().await.map(|package| asking.told().package = package);
            let space = account.space().await.map(|space| asking.told().space = space);
            let outcome = package.and(space);
            let enough = if outcome.is_ok() { BELIEVED } else { PAUSE };
            Ok(Asked { life: Life::starting(account.clock.now(), enough), outcome })
        };
        // Whoever wants to know can wait; films go first.
        let errand = Errand::new(Priority::Background, 0);
        errand.doing(known.asked.get_or_fetch(self.clock.now(), fetch)).await?.outcome.clone()
    }

    async fn package(&self) -> Result<Option<Package>> {
        const OPERATION: &str = "ask for the package";
        let ask = |path| async move {
            let answer = self.call::<wire::VipInfo>(Class::Other, OPERATION, path, &json!({})).await;
            answer.map(|answer| answer.body.package())
        };
        match ask("/business/v1.0/user/getVipInfo").await {
            // Sources differ on the path (§10).
            Err(error) if error.kind() == ErrorKind::Upstream => ask("/v1.0/user/getVipInfo").await,
            package => package,
        }
    }

    async fn space(&self) -> Result<Option<Space>> {
        let path = "/adrive/v1.0/user/getSpaceInfo";
        let answer =
            self.call::<wire::SpaceInfo>(Class::Other, "ask for the space", path, &json!({})).await?;
        let wire::Sizes { used_size: used, total_size: total } = answer.body.personal_space_info;
        Ok((total > 0).then_some(Space { used, total }))
    }
}

// === impl Asked ===

impl Lease for Asked {
    fn life(&self) -> Life {
        self.life
    }
}

/// How long what the drive told is enough; chosen: packages last for months.
const BELIEVED: Duration = Duration::from_secs(600);
/// How soon to ask again where asking failed; chosen: a probe every few seconds must not become a call every few seconds.
const PAUSE: Duration = Duration::from_secs(60);
