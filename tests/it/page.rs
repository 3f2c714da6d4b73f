//! The page in a real browser: a film starts and its time advances, direct and as HLS.

use std::process::Stdio;
use std::time::Duration;

use drive_sim::{Content, Sample};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{Rig, client, installed};

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

const PLAYS: &str = "document.getElementById('player').currentTime > ";

#[tokio::test(flavor = "multi_thread")]
async fn a_film_plays_in_the_page_direct_and_as_hls() {
    if !installed("chromedriver") || !installed("chromium") {
        return;
    }
    let rig = Rig::start(|drive| {
        drive
            .file("/films/A film, with #1 & more (2019).mp4", Content::Sample(Sample::Mp4))
            .settings(|settings| {
                let preview = drive_sim::Preview { subtitles: Some(true), ..drive_sim::Preview::default() };
                settings.preview.insert("/films/A film, with #1 & more (2019).mp4".to_owned(), preview);
            })
            .file("/films/电影.mkv", Content::Sample(Sample::Mkv))
            .file("/films/notes.txt", Content::Bytes("notes".into()))
    })
    .await;
    let browser = Browser::start().await;

    // By hand from the root: every step is a link.
    browser.open(&rig.site.base).await;
    for step in ["ali/", "films/"] {
        browser.eval(&format!("for (const a of document.querySelectorAll('td a')) if (a.textContent === '{step}') {{ location = a.href; break; }}")).await;
        browser.until(&format!("decodeURIComponent(location.pathname).endsWith('{step}')")).await;
    }
    browser.until("document.querySelectorAll('tr').length === 3").await;
    browser.screenshot("folder.png").await;
    browser.eval("for (const a of document.querySelectorAll('td a')) if (a.textContent.endsWith('.mp4')) location = a.href").await;
    browser.until("document.getElementById('player') !== null && document.readyState === 'complete'").await;

    browser.eval("document.getElementById('player').play()").await;
    browser.until(&format!("{PLAYS} 1")).await;
    browser.eval("document.getElementById('player').currentTime = 40").await;
    browser.until(&format!("{PLAYS} 41")).await;
    browser.screenshot("original.png").await;

    let choose = |script: &str| {
        format!(
            "const q = document.getElementById('quality'); {script}; q.dispatchEvent(new Event('change'))"
        )
    };
    browser.eval(&choose("q.selectedIndex = 1")).await;
    browser.until("document.getElementById('player').currentSrc.includes('master.m3u8')").await;
    browser.until("document.getElementById('quality').options.length === 4").await;
    browser.eval("document.getElementById('player').play()").await;
    browser.until(&format!("{PLAYS} 42")).await;
    assert_eq!(browser.eval("return document.querySelectorAll('track').length").await, json!(2));
    // One quality alone, chosen by name.
    browser.eval(&choose("q.selectedIndex = 3")).await;
    browser.until("document.getElementById('player').currentSrc.includes('/sd/index.m3u8')").await;
    browser.until("document.getElementById('player').videoWidth === 960").await;
    browser.eval("document.getElementById('player').play()").await;
    browser.until(&format!("{PLAYS} 44")).await;
    browser.screenshot("hls.png").await;

    // A film that the drive does not give: the page says why.
    rig.sim.freeze("/films/电影.mkv");
    browser.open(&format!("{}/browse/ali/films/%E7%94%B5%E5%BD%B1.mkv", rig.site.base)).await;
    browser.quit().await;
    assert_eq!(rig.sim.counts().rate_limited, 0);
}
