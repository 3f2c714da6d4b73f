//! Chromium without a screen, and what tests say to the page in it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{client, installed};

/// A browser, steered through WebDriver.
pub(crate) struct Browser {
    _driver: Child,
    http: reqwest::Client,
    session: String,
    _profile: TempDir,
}

/// A running chromedriver and its port. It takes a port that is free on one family of addresses and ends where the other has it
/// in use, which happens while many tests listen; then another one is started.
async fn driver() -> (Child, String) {
    for _ in 0..10 {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, rest)) = line.split_once("successfully on port ") {
                return (driver, rest.trim_end_matches('.').to_owned());
            }
        }
    }
    panic!("chromedriver ends each time it is started");
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let profile = TempDir::new().unwrap();
        let (driver, port) = driver().await;
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--mute-audio",
            "--autoplay-policy=no-user-gesture-required",
            "--window-size=1100,800",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let http = client();
        let base = format!("http://127.0.0.1:{port}/session");
        let wanted = json!({"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": {"args": arguments}}}});
        let answer: Value = http.post(&base).json(&wanted).send().await.unwrap().json().await.unwrap();
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        Self { _driver: driver, http, session: format!("{base}/{id}"), _profile: profile }
    }

    async fn command(&self, name: &str, body: Value) -> Value {
        let answer: Value = self
            .http
            .post(format!("{}/{name}", self.session))
            .json(&body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert!(answer["value"]["error"].is_null(), "{name}: {answer}");
        answer["value"].clone()
    }

    pub(crate) async fn open(&self, url: &str) {
        self.command("url", json!({"url": url})).await;
    }

    pub(crate) async fn eval(&self, script: &str) -> Value {
        self.command("execute/sync", json!({"script": script, "args": []})).await
    }

    /// Waits until a script gives `true`; what it gave last is in the failure.
    pub(crate) async fn until(&self, script: &str) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
        loop {
            let value = self.eval(&format!("return {script}")).await;
            if value == Value::Bool(true) {
                return;
            }
            let state = "const p = document.getElementById('player'); return p && {time: p.currentTime, error: p.error && p.error.message, src: p.currentSrc, network: p.networkState, ready: p.readyState, said: document.getElementById('message').textContent}";
            assert!(tokio::time::Instant::now() < deadline, "{script}: {}", self.eval(state).await);
            // Paces the asking; the condition decides.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A command of Chromium's own protocol.
    pub(crate) async fn cdp(&self, name: &str, parameters: Value) {
        self.command("goog/cdp/execute", json!({"cmd": name, "params": parameters})).await;
    }

    pub(crate) async fn screenshot(&self, name: &str) {
        let Some(folder) = std::env::var_os("SLUICE_TEST_SCREENSHOTS") else { return };
        let answer: Value =
            self.http.get(format!("{}/screenshot", self.session)).send().await.unwrap().json().await.unwrap();
        let png = data_encoding::BASE64.decode(answer["value"].as_str().unwrap().as_bytes()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(std::path::Path::new(&folder).join(name), png).unwrap();
    }

    /// Ends the browser before its driver, which would leave it running.
    pub(crate) async fn quit(self) {
        self.http.delete(&self.session).send().await.unwrap();
    }
}

/// Whether there is a browser to test with.
pub(crate) fn has_browser() -> bool {
    installed("chromedriver") && installed("chromium")
}

/// Chooses what a menu calls so.
pub(crate) fn choose(menu: &str, label: &str) -> String {
    format!(
        "const menu = document.getElementById('{menu}'); \
         menu.selectedIndex = [...menu.options].findIndex(option => option.textContent.startsWith('{label}')); \
         menu.dispatchEvent(new Event('change'))"
    )
}

/// An expression: a subtitle that begins so is shown.
pub(crate) fn shows(words: &str) -> String {
    format!(
        "[...document.getElementById('player').textTracks].some(track => track.mode === 'showing' && \
         [...(track.activeCues || [])].some(cue => cue.text.startsWith('{words}')))"
    )
}

pub(crate) fn seek(to: f64) -> String {
    format!("document.getElementById('player').currentTime = {to}")
}

/// An expression: it plays, a little behind this place.
pub(crate) fn is_behind(place: f64) -> String {
    format!(
        "(() => {{ const p = document.getElementById('player'); \
         return p.currentTime > {place} + 0.2 && p.currentTime < {place} + 8 && p.readyState > 2 && !p.seeking; }})()"
    )
}
