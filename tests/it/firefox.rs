//! Firefox, steered through its own protocol, Marionette: it has no HLS of its own, so the page gives it hls.js.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// A running Firefox with one window.
pub(crate) struct Firefox {
    child: Child,
    stream: TcpStream,
    _profile: TempDir,
}

impl Firefox {
    pub(crate) async fn start() -> Self {
        let profile = TempDir::new().unwrap();
        let settings = [
            ("media.autoplay.default", "0"),
            ("media.volume_scale", "\"0.0\""),
            ("marionette.port", "0"),
            ("app.update.auto", "false"),
            ("browser.shell.checkDefaultBrowser", "false"),
            ("datareporting.policy.dataSubmissionEnabled", "false"),
            ("network.captive-portal-service.enabled", "false"),
            ("network.connectivity-service.enabled", "false"),
            ("toolkit.telemetry.enabled", "false"),
        ];
        let lines = settings.map(|(name, value)| format!("user_pref(\"{name}\", {value});\n"));
        std::fs::write(profile.path().join("user.js"), lines.concat()).unwrap();
        let child = Command::new("firefox-esr")
            .args(["--headless", "--no-remote", "--marionette", "--profile"])
            .arg(profile.path())
            .env("HOME", profile.path())
            .env("MOZ_HEADLESS_WIDTH", "1100")
            .env("MOZ_HEADLESS_HEIGHT", "800")
            .env_remove("http_proxy")
            .env_remove("DISPLAY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let stream = loop {
            let port = std::fs::read_to_string(profile.path().join("MarionetteActivePort"));
            if let Some(port) = port.ok().and_then(|port| port.trim().parse::<u16>().ok())
                && let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await
            {
                break stream;
            }
            assert!(Instant::now() < deadline, "Firefox does not come up");
            // Paces the asking.
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let mut firefox = Self { child, stream, _profile: profile };
        // It greets first.
        firefox.read().await;
        firefox.command("WebDriver:NewSession", json!({})).await;
        firefox
    }

    /// A message: its length in digits, a colon, and JSON.
    async fn read(&mut self) -> Value {
        let mut length = 0;
        loop {
            match self.stream.read_u8().await.unwrap() {
                b':' => break,
                digit => length = length * 10 + usize::from(digit - b'0'),
            }
        }
        let mut text = vec![0; length];
        self.stream.read_exact(&mut text).await.unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    async fn command(&mut self, name: &str, arguments: Value) -> Value {
        let text = json!([0, 1, name, arguments]).to_string();
        self.stream.write_all(format!("{}:{text}", text.len()).as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(60), self.read()).await.unwrap();
        assert!(answer[2].is_null(), "{name}: {answer}");
        answer[3]["value"].clone()
    }

    pub(crate) async fn open(&mut self, url: &str) {
        self.command("WebDriver:Navigate", json!({"url": url})).await;
    }

    pub(crate) async fn eval(&mut self, script: &str) -> Value {
        self.command("WebDriver:ExecuteScript", json!({"script": script, "args": []})).await
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.eval(&format!("return {expression}")).await != Value::Bool(true) {
            let state = "const p = document.getElementById('player'); return p && {time: p.currentTime, error: p.error && p.error.message, src: p.currentSrc, ready: p.readyState, said: document.getElementById('message').textContent}";
            assert!(Instant::now() < deadline, "{expression}: {}", self.eval(state).await);
            // Paces the asking; the condition decides.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends it, and with it what it has started.
    pub(crate) async fn quit(mut self) {
        self.command("Marionette:Quit", json!({"flags": ["eForceQuit"]})).await;
        let _ = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
    }
}
