//! A drive and the product in front of it, both on loopback, and a client that looks at the answers.

use std::fmt::Write as _;
use std::sync::Once;
use std::time::Duration;

use drive_sim::{Builder, Rates, Settings, Sim};
use sluice::app::{App, Listeners};
use sluice::clock::Clock;
use sluice::config::Config;
use sluice::transport::{Certificates, Listener};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Set to a filter such as `trace`, this has everything that is logged and every error that is answered written to stderr,
/// where one can look for what must not be there.
pub(crate) const ALL_OUTPUT: &str = "SLUICE_TEST_LOG";

/// The User-Agent of a client that comes back for every seek, so that `auto` redirects it.
pub(crate) const FFMPEG: &str = "Lavf/59.27.100";
/// The User-Agent of a client that keeps the address of a redirect, so that `auto` gives it the bytes.
pub(crate) const KODI: &str = "Kodi/20.1 (X11; Linux x86_64)";

/// Of the password `secret`, with the least costs there are, so that a debug build is not slow.
pub(crate) const HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$ylQCvdga7pGQLZiv8M0LlA$a/UPej0sBb3alukV4r/SGHNmqtjhGL1fT+WQZlVt4M0";

/// A simulated drive with the product in front of it.
pub(crate) struct Rig {
    pub(crate) sim: Sim,
    pub(crate) site: Site,
}

/// The product, listening.
pub(crate) struct Site {
    pub(crate) base: String,
    pub(crate) clock: Clock,
    client: reqwest::Client,
    /// Its run, and the folder of its state, which is kept as long as it runs.
    running: Option<(JoinHandle<()>, TempDir)>,
    stop: CancellationToken,
}

/// What a client was answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A request that is being put together.
pub(crate) struct Ask<'a> {
    site: &'a Site,
    request: reqwest::RequestBuilder,
}

/// What a test changes of the usual set-up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// Lines of `[mount.options]`.
    pub(crate) options: String,
    /// Lines of `[[mount]]`.
    pub(crate) mount: String,
    /// Lines of `[server]`.
    pub(crate) server: String,
    /// Other tables.
    pub(crate) rest: String,
    /// Whether guests may not play.
    pub(crate) closed: bool,
}

// === impl Rig ===

impl Rig {
    /// A drive with these files behind the product, with the drive's limits on.
    pub(crate) async fn start(files: impl FnOnce(Builder) -> Builder) -> Self {
        Self::with(Setup::default(), files).await
    }

    /// The same with another set-up.
    pub(crate) async fn with(setup: Setup, files: impl FnOnce(Builder) -> Builder) -> Self {
        let sim = files(Sim::builder()).start().await.unwrap();
        let site = Site::start(&configuration(&sim, &setup), TempDir::new().unwrap()).await;
        Self { sim, site }
    }

    /// Lets time pass, for the drive and for us.
    pub(crate) fn pass(&self, time: Duration) {
        self.sim.advance(time);
        self.site.clock.advance(time);
    }

    pub(crate) fn get(&self, path: &str) -> Ask<'_> {
        self.site.get(path)
    }
}

/// Switches the drive's rate limits off, for tests that are about something else and ask much.
pub(crate) fn unlimited(settings: &mut Settings) {
    settings.rates = Rates::OFF;
}

/// Options that switch ours off.
pub(crate) const UNPACED: &str = "rate_list = 100000\nrate_link = 100000\nrate_other = 100000\n";

/// The configuration of a drive mounted at `/ali`.
pub(crate) fn configuration(sim: &Sim, setup: &Setup) -> String {
    let mut text = String::from("[server]\nlisten = [\"127.0.0.1:0\"]\nadmin_listen = \"\"\n");
    writeln!(text, "{}", setup.server).unwrap();
    write!(text, "[access]\nguest = {}\napi_token = \"test-token\"\n", !setup.closed).unwrap();
    writeln!(text, "{}", setup.rest).unwrap();
    write!(
        text,
        "[[mount]]\npath = \"/ali\"\ndriver = \"aliyundrive_open\"\n{}\n[mount.options]\n",
        setup.mount
    )
    .unwrap();
    writeln!(text, "api_base = \"{}\"", sim.api_base()).unwrap();
    if !setup.options.contains("drive_type") {
        // The simulator's tree lies in the resource drive.
        writeln!(text, "drive_type = \"resource\"").unwrap();
    }
    // Less than the drive allows: where tests share two cores with browsers and compilers, calls arrive up to some 50 ms closer together
    // than they were made, and a drive that counts to the millisecond refuses one.
    for (rate, calm) in [("rate_list", 3.0), ("rate_other", 8.0)] {
        if !setup.options.contains(rate) {
            writeln!(text, "{rate} = {calm:?}").unwrap();
        }
    }
    if !setup.options.contains("token_server") {
        writeln!(text, "refresh_token = \"{}\"", sim.refresh_token()).unwrap();
        writeln!(text, "client_id = \"{}\"\nclient_secret = \"{}\"", sim.client_id(), sim.client_secret())
            .unwrap();
    }
    text + &setup.options
}

// === impl Site ===

impl Site {
    /// Starts the product with this configuration; its state lies in `state`.
    pub(crate) async fn start(configuration: &str, state: TempDir) -> Self {
        static LOGS: Once = Once::new();
        LOGS.call_once(|| {
            if let Some(filter) = std::env::var_os(ALL_OUTPUT) {
                let filter = filter.into_string().unwrap();
                sluice::logs::start(sluice::logs::LogFormat::Text, &filter).unwrap();
            }
        });
        let environment = [("SLUICE__SERVER__STATE_DIR".to_owned(), state.path().display().to_string())];
        let config = Config::parse(configuration, "test.toml", environment.into_iter()).unwrap();
        let clock = Clock::new();
        let app = App::build(&config, clock.clone()).unwrap();
        let mut listener = Listener::from(TcpListener::bind("127.0.0.1:0").await.unwrap());
        if let Some(files) = config.server.tls.clone() {
            listener = listener.with_tls(Certificates::open(files).unwrap());
        }
        let base = listener.url().unwrap();
        let stop = CancellationToken::new();
        app.prepare(Duration::from_secs(2)).await;
        let run = app.run(Listeners { public: vec![listener], admin: None }, stop.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        let run = tokio::spawn(run);
        Self { base, clock, client: client(), running: Some((run, state)), stop }
    }

    /// Stops the product as a signal would, and gives back its state, to be started with again.
    pub(crate) async fn stop(mut self) -> TempDir {
        let (run, state) = self.running.take().unwrap();
        self.stop.cancel();
        run.await.unwrap();
        state
    }

    /// The folder of its state.
    pub(crate) fn state_dir(&self) -> std::path::PathBuf {
        self.running.as_ref().unwrap().1.path().to_owned()
    }

    pub(crate) fn get(&self, path: &str) -> Ask<'_> {
        Ask { site: self, request: self.client.get(format!("{}{path}", self.base)) }.agent(KODI)
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        let method = http::Method::from_bytes(method.as_bytes()).unwrap();
        Ask { site: self, request: self.client.request(method, format!("{}{path}", self.base)) }.agent(KODI)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

// === impl Ask ===

impl Ask<'_> {
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }

    pub(crate) fn agent(self, user_agent: &'static str) -> Self {
        // A header set twice is sent twice, so the client's own default gives way.
        let mut headers = http::HeaderMap::new();
        headers.insert("user-agent", http::HeaderValue::from_static(user_agent));
        Self { request: self.request.headers(headers), ..self }
    }

    pub(crate) fn range(self, range: &str) -> Self {
        self.header("range", range)
    }

    /// The whole answer; a body that is cut fails.
    pub(crate) async fn send(self) -> Reply {
        self.try_send().await.unwrap()
    }

    /// The whole answer, or how the connection failed.
    pub(crate) async fn try_send(self) -> reqwest::Result<Reply> {
        let _ = self.site;
        let response = self.request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let reply = Reply { status, headers, body: response.bytes().await?.to_vec() };
        if status >= 400 && std::env::var_os(ALL_OUTPUT).is_some() {
            let line = format!("answered {status}: {}\n", String::from_utf8_lossy(&reply.body));
            std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
        }
        Ok(reply)
    }

    /// The answer, its body unread.
    pub(crate) async fn open(self) -> reqwest::Response {
        self.request.send().await.unwrap()
    }
}

// === impl Reply ===

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A client that follows nothing by itself.
#[expect(clippy::disallowed_methods, reason = "a client of the product, not of a drive")]
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap()
}

/// Gets an address that a redirect led to, as a player would.
pub(crate) async fn follow(location: &str, range: Option<&str>) -> Reply {
    let mut request = client().get(location);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Reply { status, headers, body: response.bytes().await.unwrap().to_vec() }
}

/// A signature of a path that has no end, as the test's token makes it, fit for a query.
pub(crate) fn sign(path: &str) -> String {
    let signer = sluice::sign::Signer::new(&sluice::secret::Secret::new("test-token"));
    let path = sluice::path::VirtualPath::parse(path).unwrap();
    sluice::path::encode_component(&signer.sign(&path, 0))
}

/// A time that is promised: kept to the letter in the long runs, which have the machine to themselves; beside the rest of the suite
/// it only tells what hangs.
pub(crate) fn timed(promised: Duration) -> Duration {
    if std::env::var_os("SLUICE_SOAK").is_some() { promised } else { promised * 4 }
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(bytes))
}

/// Whether a program is installed; says so when a test does without.
pub(crate) fn installed(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).is_file());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{program} must be installed where CI is set");
        let note = format!("SKIPPED: {program} is not installed\n");
        std::io::Write::write_all(&mut std::io::stderr(), note.as_bytes()).unwrap();
    }
    found
}
