//! Logins that somebody has begun on a page: at most one an account, and none that nobody looks at.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

use crate::driver::{LoginStep, Show};
use crate::mount::Mount;
use crate::secret::SignedUrl;

/// The logins that were begun, by account.
#[derive(Debug)]
pub(crate) struct Logins {
    attempts: Mutex<HashMap<Arc<str>, Attempt>>,
    tasks: TaskTracker,
}

/// How far a login has come.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// It has ended without one; these words say why.
    Failed(&'static str),
    /// Somebody has opened the address and is to consent.
    Opened,
    /// The drive is being asked for an address.
    Starting,
    /// It is done.
    Succeeded,
    /// Somebody is to open this address. It is worth a login as long as it lives, so it prints blind.
    Waiting(SignedUrl),
}

#[derive(Debug)]
struct Attempt {
    /// Told whenever somebody looks.
    looked: Arc<Notify>,
    /// Its other end is held by the task and goes with it.
    stage: watch::Receiver<Stage>,
}

// === impl Logins ===

impl Logins {
    /// None yet; they run on `tasks`, and end when those are closed.
    pub(crate) fn new(tasks: TaskTracker) -> Self {
        Self { attempts: Mutex::default(), tasks }
    }

    /// Begins a login to the account of a mount, where none is under way.
    pub(super) fn begin(&self, mount: &Arc<Mount>) {
        let account = Arc::clone(&mount.driver.info().account);
        let mut attempts = self.attempts();
        if attempts.get(&account).is_some_and(Attempt::is_under_way) {
            return;
        }
        let (sender, stage) = watch::channel(Stage::Starting);
        let looked = Arc::new(Notify::new());
        attempts.insert(account, Attempt { looked: Arc::clone(&looked), stage });
        self.tasks.spawn(run(Arc::clone(mount), sender, looked, self.tasks.clone()));
    }

    /// How far the last login to the account of a mount has come; none where there was none. Keeps it going.
    pub(super) fn look(&self, mount: &Mount) -> Option<Stage> {
        let attempts = self.attempts();
        let attempt = attempts.get(&mount.driver.info().account)?;
        attempt.looked.notify_one();
        let stage = attempt.stage.borrow().clone();
        Some(if stage.is_last() || attempt.is_under_way() { stage } else { Stage::Failed(BROKEN_OFF) })
    }

    fn attempts(&self) -> MutexGuard<'_, HashMap<Arc<str>, Attempt>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Stage ===

impl Stage {
    /// Whether nothing comes after it.
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Succeeded)
    }
}

// === impl Attempt ===

impl Attempt {
    fn is_under_way(&self) -> bool {
        !self.stage.borrow().is_last() && self.stage.has_changed().is_ok()
    }
}

/// Logs in, as long as somebody looks and the program does not stop.
async fn run(mount: Arc<Mount>, stage: watch::Sender<Stage>, looked: Arc<Notify>, tasks: TaskTracker) {
    let shown = stage.clone();
    let show: Show = Box::new(move |step| {
        shown.send_replace(match step {
            LoginStep::Open(address) => Stage::Waiting(SignedUrl::new(address)),
            LoginStep::Opened => Stage::Opened,
        });
    });
    let unattended = async { while tokio::time::timeout(UNATTENDED, looked.notified()).await.is_ok() {} };
    let stopped = async {
        while !tasks.is_closed() {
            tokio::time::sleep(STOP_POLL).await;
        }
    };
    let end = tokio::select! {
        done = mount.driver.log_in(show) => match done {
            Ok(()) => {
                tracing::info!(mount = %mount.path, "somebody has logged in to the drive");
                Stage::Succeeded
            }
            Err(error) => {
                tracing::warn!(mount = %mount.path, %error, "a login failed");
                Stage::Failed(error.words())
            }
        },
        () = unattended => Stage::Failed(GIVEN_UP),
        () = stopped => Stage::Failed(BROKEN_OFF),
    };
    stage.send_replace(end);
}

const BROKEN_OFF: &str = "it was broken off";
const GIVEN_UP: &str = "nobody looked at this page any more, so it was given up";
/// How long a login goes on that nobody looks at; chosen: long enough to fetch the phone.
const UNATTENDED: Duration = Duration::from_secs(120);
/// How often to look whether the program stops; chosen against its grace for last fetches.
const STOP_POLL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use tokio::time::Instant;

    use super::*;
    use crate::driver::{Driver, DriverInfo, Entry, EntryId, Marker, Page, Source};
    use crate::error::{Error, ErrorKind, Result};
    use crate::mount::{MountId, Policy};
    use crate::path::VirtualPath;

    /// A drive whose logins last until they are told to end.
    #[derive(Debug)]
    struct Patient {
        info: DriverInfo,
        begun: AtomicUsize,
        consent: Notify,
    }

    #[async_trait]
    impl Driver for Patient {
        fn info(&self) -> &DriverInfo {
            &self.info
        }

        async fn log_in(&self, show: Show) -> Result<()> {
            self.begun.fetch_add(1, Ordering::SeqCst);
            show(LoginStep::Open("https://drive.example.org/consent"));
            self.consent.notified().await;
            show(LoginStep::Opened);
            self.consent.notified().await;
            Err(Error::new(ErrorKind::Unavailable, "log in").saying("the account is closed"))
        }

        fn root(&self) -> Entry {
            Entry::folder(EntryId::new("root"), "")
        }

        async fn stat(&self, _: &VirtualPath) -> Result<Entry> {
            Ok(self.root())
        }

        async fn page(&self, _: &Entry, _: Option<&Marker>) -> Result<Page> {
            Err(Error::new(ErrorKind::NotFound, "list a folder"))
        }

        async fn source(&self, _: &Entry) -> Result<Source> {
            Err(Error::new(ErrorKind::NotFound, "get a link"))
        }
    }

    fn patient() -> (Arc<Patient>, Arc<Mount>) {
        let info = DriverInfo {
            name: "patient",
            by_path: true,
            preview: false,
            account: Arc::from("patient/1"),
            believed: None,
            connections: None,
        };
        let drive = Arc::new(Patient { info, begun: AtomicUsize::new(0), consent: Notify::new() });
        let mount = Mount {
            id: MountId(0),
            path: VirtualPath::root(),
            driver: Arc::clone(&drive) as Arc<dyn Driver>,
            policy: Policy::default(),
        };
        (drive, Arc::new(mount))
    }

    /// Waits for a stage, looking all the time.
    async fn until(logins: &Logins, mount: &Mount, wanted: impl Fn(&Stage) -> bool) {
        while !logins.look(mount).is_some_and(|stage| wanted(&stage)) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_login_an_account_is_followed_to_its_end() {
        let (drive, mount) = patient();
        let logins = Logins::new(TaskTracker::new());
        assert!(logins.look(&mount).is_none());
        logins.begin(&mount);
        logins.begin(&mount);
        until(&logins, &mount, |stage| matches!(stage, Stage::Waiting(_))).await;
        assert!(!format!("{logins:?}").contains("consent"), "the address prints blind");
        logins.begin(&mount);
        drive.consent.notify_one();
        until(&logins, &mount, |stage| matches!(stage, Stage::Opened)).await;
        drive.consent.notify_one();
        until(&logins, &mount, |stage| matches!(stage, Stage::Failed("the account is closed"))).await;
        assert_eq!(drive.begun.load(Ordering::SeqCst), 1);
        logins.begin(&mount);
        until(&logins, &mount, |stage| matches!(stage, Stage::Waiting(_))).await;
        assert_eq!(drive.begun.load(Ordering::SeqCst), 2);
    }

    /// How the login ends, and after how long.
    async fn end(logins: &Logins, mount: &Mount) -> (Stage, Duration) {
        let began = Instant::now();
        let mut stage = logins.attempts()[&mount.driver.info().account].stage.clone();
        let end = stage.wait_for(Stage::is_last).await.unwrap().clone();
        (end, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_nobody_looks_at_ends_by_itself() {
        let (_drive, mount) = patient();
        let logins = Logins::new(TaskTracker::new());
        logins.begin(&mount);
        for _ in 0..5 {
            tokio::time::advance(UNATTENDED - Duration::from_secs(1)).await;
            until(&logins, &mount, |stage| matches!(stage, Stage::Waiting(_))).await;
        }
        let (end, after) = end(&logins, &mount).await;
        assert!(matches!(end, Stage::Failed(GIVEN_UP)), "{end:?}");
        assert!(after <= UNATTENDED + Duration::from_secs(1), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_a_person() {
        let (_drive, mount) = patient();
        let logins = Logins::new(TaskTracker::new());
        logins.begin(&mount);
        logins.tasks.close();
        let (end, after) = end(&logins, &mount).await;
        assert!(matches!(end, Stage::Failed(BROKEN_OFF)), "{end:?}");
        assert!(after <= STOP_POLL, "{after:?}");
        logins.tasks.wait().await;
    }
}
