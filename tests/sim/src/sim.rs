//! The simulator as tests hold it: building one, steering it, asking it what it saw.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    content::Content,
    counts::{Counts, Listener, Seen},
    drive::{Drive, Inner},
    faults::{Endpoint, Fault},
    server,
    settings::{DriveKind, Settings},
    tree::Tree,
};

/// A running simulator on two loopback ports. Dropping it stops it and closes its connections.
pub struct Sim {
    drive: Arc<Drive>,
    api: Mutex<Option<Serving>>,
    content: Mutex<Option<Serving>>,
}

/// A listener's task.
type Serving = JoinHandle<Infallible>;

/// A simulator to be.
#[derive(Default)]
pub struct Builder {
    settings: Settings,
    tree: Tree,
}

impl Builder {
    /// Adds a file; its folders are made as needed.
    pub fn file(mut self, path: &str, content: Content) -> Self {
        self.tree = self.tree.file(path, content);
        self
    }

    /// Adds a folder; its parents are made as needed.
    pub fn folder(mut self, path: &str) -> Self {
        self.tree = self.tree.folder(path);
        self
    }

    /// Adds a whole tree.
    pub fn tree(mut self, tree: Tree) -> Self {
        self.tree.entries.extend(tree.entries);
        self
    }

    /// Changes the settings it starts with.
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Binds two ports of 127.0.0.1 and serves them, on the runtime this is called in.
    ///
    /// # Errors
    ///
    /// If no port can be bound.
    pub async fn start(self) -> io::Result<Sim> {
        let api = TcpListener::bind("127.0.0.1:0").await?;
        let content = TcpListener::bind("127.0.0.1:0").await?;
        let base = |listener: &TcpListener| Ok::<_, io::Error>(format!("http://{}", listener.local_addr()?));
        let drive = Arc::new(Drive::new(base(&api)?, base(&content)?, self.settings));
        let now_ms = drive.clock.now_ms();
        for (path, content) in self.tree.entries {
            let mut inner = drive.lock();
            match content {
                Some(content) => inner.resource.add_file(&path, content, false, now_ms),
                None => drop(inner.resource.add_folder(&path, now_ms)),
            }
        }
        let spawn = |listener, socket| Mutex::new(Some(server::spawn(Arc::clone(&drive), listener, socket)));
        let (api, content) = (spawn(Listener::Api, api), spawn(Listener::Content, content));
        Ok(Sim { drive, api, content })
    }
}

/// Where it is and what opens it.
impl Sim {
    /// A simulator with an empty drive, to be filled.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `http://127.0.0.1:PORT` of the open API and both dialects of token servers.
    pub fn api_base(&self) -> String {
        self.drive.api_base.clone()
    }

    /// `http://127.0.0.1:PORT` of downloads and previews.
    pub fn content_base(&self) -> String {
        self.drive.content_base.clone()
    }

    /// The newest refresh token of the user's own application. Only an unspent one is ever valid (§1.4).
    pub fn refresh_token(&self) -> String {
        self.drive.lock().tokens.newest(&self.drive.own.id)
    }

    /// The newest refresh token bound to the token servers' application (§1.6).
    pub fn token_server_refresh_token(&self) -> String {
        self.drive.lock().tokens.newest(&self.drive.third_party.id)
    }

    /// The own application's id.
    pub fn client_id(&self) -> String {
        self.drive.own.id.clone()
    }

    /// The own application's secret.
    pub fn client_secret(&self) -> String {
        self.drive.own.secret.clone()
    }

    /// The `sub` of its tokens.
    pub fn user_id(&self) -> String {
        self.drive.user_id.clone()
    }
}

/// Time, tokens, logins.
impl Sim {
    /// Moves the drive's wall clock forward: tokens and links get older. Rates and pauses go by real time.
    pub fn advance(&self, by: Duration) {
        self.drive.clock.advance(by);
    }

    /// Every access token given out so far is now past its expiry.
    pub fn expire_access_tokens(&self) {
        self.drive.lock().tokens.expire_access();
    }

    /// Every access token given out so far is answered `AccessTokenInvalid` from now on.
    pub fn revoke_access_tokens(&self) {
        self.drive.lock().tokens.revoke_access();
    }

    /// The newest QR code is scanned: `ScanSuccess` (§1.2).
    pub fn scan_qr(&self) {
        self.drive.lock().logins.scan();
    }

    /// The user consents on the newest QR code: `LoginSuccess` (§1.2).
    pub fn approve_qr(&self) {
        self.drive.lock().logins.approve();
    }
}

/// What it saw, and what it shall do wrong.
impl Sim {
    /// The counters now.
    pub fn counts(&self) -> Counts {
        let mut counts = self.drive.lock().counts.clone();
        self.drive.streams.copy_to(&mut counts);
        counts
    }

    /// Sets the counters to zero; bodies that are live stay counted. The log is emptied too.
    pub fn reset_counts(&self) {
        let mut inner = self.drive.lock();
        inner.counts = Counts::default();
        inner.log.clear();
        self.drive.streams.reset();
    }

    /// The last 10,000 request heads on both listeners, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.drive.lock().log.all()
    }

    /// The next `times` requests to that endpoint get the fault.
    pub fn fault(&self, at: Endpoint, fault: Fault, times: u32) {
        self.drive.lock().faults.next(at, fault, times);
    }

    /// Every nth request to that endpoint gets the fault, until faults are cleared.
    pub fn fault_every(&self, at: Endpoint, fault: Fault, nth: u32) {
        self.drive.lock().faults.every(at, fault, nth);
    }

    /// No more faults.
    pub fn clear_faults(&self) {
        self.drive.lock().faults.clear();
    }

    /// Changes the settings while it runs. Bodies already being sent go on as they began.
    pub fn settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.drive.lock().settings);
    }
}

/// Listeners that go away and come back.
impl Sim {
    /// Closes a listener and its connections: connecting is refused from now on.
    pub async fn take_down(&self, listener: Listener) {
        if let Some(serving) = self.take(listener) {
            serving.abort();
            // Aborted, it ends with an error that says so; by then its port is closed.
            let _ = serving.await;
        }
    }

    /// Serves a listener again, on the port it had.
    ///
    /// # Errors
    ///
    /// If the port cannot be bound again.
    pub async fn bring_up(&self, listener: Listener) -> io::Result<()> {
        let base = match listener {
            Listener::Api => &self.drive.api_base,
            Listener::Content => &self.drive.content_base,
        };
        let socket = TcpListener::bind(base.trim_start_matches("http://")).await?;
        let serving = server::spawn(Arc::clone(&self.drive), listener, socket);
        *self.slot(listener).lock().unwrap_or_else(PoisonError::into_inner) = Some(serving);
        Ok(())
    }

    fn take(&self, listener: Listener) -> Option<Serving> {
        self.slot(listener).lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn slot(&self, listener: Listener) -> &Mutex<Option<Serving>> {
        match listener {
            Listener::Api => &self.api,
            Listener::Content => &self.content,
        }
    }
}

/// The tree of the resource drive. Paths have names between slashes, with or without a leading one.
///
/// # Panics
///
/// Where a method changes something that must exist and does not.
impl Sim {
    /// Adds a file, or gives the one at that path new content under its old id.
    pub fn add_file(&self, path: &str, content: Content) {
        self.change(|inner, now_ms| inner.resource.add_file(path, content, false, now_ms));
    }

    /// Adds a file even if one of that name is there (§0: names are not unique).
    pub fn add_duplicate(&self, path: &str, content: Content) {
        self.change(|inner, now_ms| inner.resource.add_file(path, content, true, now_ms));
    }

    /// Adds a file to either drive.
    pub fn add_file_in(&self, drive: DriveKind, path: &str, content: Content) {
        self.change(|inner, now_ms| match drive {
            DriveKind::Backup => inner.backup.add_file(path, content, false, now_ms),
            DriveKind::Resource => inner.resource.add_file(path, content, false, now_ms),
        });
    }

    /// Adds a folder and its parents.
    pub fn add_folder(&self, path: &str) {
        self.change(|inner, now_ms| drop(inner.resource.add_folder(path, now_ms)));
    }

    /// Deletes for good: its id answers `NotFound.File`.
    pub fn remove(&self, path: &str) {
        let done = self.change(|inner, _| inner.resource.remove(path));
        expect_path(path, done);
    }

    /// Moves into the recycle bin: its id answers `ForbiddenFileInTheRecycleBin`.
    pub fn trash(&self, path: &str) {
        let done = self.change(|inner, _| inner.resource.change(path, |node| node.trashed = true));
        expect_path(path, done);
    }

    /// Renames; the id stays.
    pub fn rename(&self, path: &str, new_name: &str) {
        let done = self.change(|inner, now_ms| inner.resource.rename(path, new_name, now_ms));
        expect_path(path, done);
    }

    /// Moves into another folder, made as needed; the id stays.
    pub fn relocate(&self, path: &str, folder: &str) {
        let done = self.change(|inner, now_ms| inner.resource.relocate(path, folder, now_ms));
        expect_path(path, done);
    }

    /// Freezes a file: `punish_flag` 2, its link serves a notice (§3.2).
    pub fn freeze(&self, path: &str) {
        self.punish(path, 2);
    }

    /// Sets `punish_flag` (§3.2): 0 is none, 2 serves a notice, 103 has no link at all.
    pub fn punish(&self, path: &str, flag: u32) {
        let done = self.change(|inner, _| inner.resource.change(path, |node| node.punish = flag));
        expect_path(path, done);
    }

    /// The id of what is at a path.
    pub fn file_id(&self, path: &str) -> Option<String> {
        self.drive.lock().resource.at_path(path).map(|node| node.id.clone())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner, u64) -> T) -> T {
        let now_ms = self.drive.clock.now_ms();
        change(&mut self.drive.lock(), now_ms)
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        for listener in [Listener::Api, Listener::Content] {
            if let Some(serving) = self.take(listener) {
                serving.abort();
            }
        }
    }
}

fn expect_path(path: &str, done: Option<()>) {
    assert!(done.is_some(), "the simulated drive has nothing at {path}");
}
