//! The command line: what may be asked, and what each command prints and exits with.
//!
//! Exit codes: 0 after success or a clean stop, 1 after a failure at run time, 2 on bad usage or configuration.

mod access;
mod doctor;
mod login;
mod strm;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use sluice::app::{App, Listeners};
use sluice::clock::Clock;
use sluice::config::{self, Config, ConfigErrors};
use sluice::logs::{self, LogFormat};
use sluice::transport::{Certificates, Listener};
use tokio_util::sync::CancellationToken;

/// Streams films from a cloud drive to any player: by redirect, range proxy or HLS.
#[derive(Debug, Parser)]
#[command(name = "sluice", version)]
pub(crate) struct Args {
    /// How log lines are written to stderr; SLUICE_LOG takes a filter such as "debug".
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server.
    Serve {
        /// Serves this folder to this machine alone, without any configuration.
        dir: Option<PathBuf>,
        /// The configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
        /// The address to listen on, instead of the configured ones.
        #[arg(long)]
        listen: Option<String>,
    },
    /// Reads the configuration and reports every fault; contacts nobody.
    Check {
        /// The configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Tries every hop from the login to a film's bytes and says what is wrong.
    Doctor {
        /// A file or folder; without it a film is looked for in every mount.
        path: Option<String>,
        /// The configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Logs in to a drive: shows a QR code and waits for the consent.
    Login {
        /// The path of the mount.
        mount: String,
        /// The configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Makes, lists and takes back passwords of single players.
    Device {
        #[command(subcommand)]
        command: access::DeviceCommand,
        /// The configuration file.
        #[arg(long, global = true)]
        config: Option<PathBuf>,
    },
    /// Reads a password from the terminal or stdin and prints its Argon2id hash.
    HashPassword,
    /// Lists and revokes the keys that exported addresses are signed with.
    Key {
        #[command(subcommand)]
        command: access::KeyCommand,
        /// The configuration file.
        #[arg(long, global = true)]
        config: Option<PathBuf>,
    },
    /// Prints the signed address of a file.
    Link {
        /// The path of the file, as in the address of its page.
        path: String,
        /// The address of its HLS playlist instead.
        #[arg(long, conflicts_with = "playlist")]
        hls: bool,
        /// Of a folder: the address of a playlist of the films below it.
        #[arg(long)]
        playlist: bool,
        /// How long the address is good, such as 7d; without it as the configuration says.
        #[arg(long)]
        expires: Option<String>,
        /// The configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Writes a tree of .strm files for a media server, or brings one up to date.
    Strm {
        /// The folder whose films are exported.
        path: String,
        /// The folder that they are written to.
        #[arg(long)]
        out: PathBuf,
        /// The addresses of HLS playlists rather than of the films as they are.
        #[arg(long)]
        hls: bool,
        /// What is done with subtitles, pictures and descriptions: copied, unless the configuration says otherwise of this export; those on this
        /// machine can be linked to.
        #[arg(long, value_enum)]
        side_files: Option<strm::SideFiles>,
        /// Removes what the drive has no more even where that is more than a tenth of the tree.
        #[arg(long)]
        allow_delete: bool,
        /// The configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

/// Why a command did not succeed.
enum Failure {
    /// Bad usage or configuration: exit code 2.
    Usage(String),
    /// A failure at run time: exit code 1.
    Run(String),
}

// === impl Args ===

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        let environment = config::environment();
        let filter = environment.get("SLUICE_LOG").map_or("info", String::as_str);
        let result = match self.command {
            Command::Serve { dir, config, listen } => logs::start(self.log_format, filter)
                .map_err(|error| Failure::Run(format!("failed to start: {error}")))
                .and_then(|lines| {
                    let result = serve(dir.as_deref(), config.as_deref(), listen, &environment);
                    lines.flush();
                    result
                }),
            Command::Check { config } => check(config.as_deref(), &environment),
            Command::Doctor { path, config } => load(config.as_deref(), &environment)
                .and_then(|config| runtime()?.block_on(doctor::run(path.as_deref(), &config)))
                .map_err(Failure::at_run_time),
            Command::Login { mount, config } => load(config.as_deref(), &environment)
                .and_then(|config| runtime()?.block_on(login::run(&mount, &config)))
                .map_err(Failure::at_run_time),
            // The contract has one code for all that can go wrong with these.
            Command::Link { path, hls, playlist, expires, config } => {
                let shape = match (hls, playlist) {
                    (true, _) => access::Shape::Hls,
                    (false, true) => access::Shape::Playlist,
                    (false, false) => access::Shape::File,
                };
                load(config.as_deref(), &environment)
                    .and_then(|config| access::link(&path, shape, expires.as_deref(), &config))
                    .map_err(Failure::at_run_time)
            }
            Command::Strm { path, out, hls, side_files, allow_delete, config } => {
                let what = strm::What { path: &path, out: &out, hls, side_files, allow_delete };
                logs::start(self.log_format, environment.get("SLUICE_LOG").map_or("warn", String::as_str))
                    .map_err(|error| Failure::Run(format!("failed to start: {error}")))
                    .and_then(|lines| {
                        let done = load(config.as_deref(), &environment)
                            .and_then(|config| runtime()?.block_on(strm::run(&what, &config)));
                        lines.flush();
                        done
                    })
                    .map_err(Failure::at_run_time)
            }
            Command::Device { command, config } => load(config.as_deref(), &environment)
                .and_then(|config| access::device(command, &config))
                .map_err(Failure::at_run_time),
            Command::Key { command, config } => load(config.as_deref(), &environment)
                .and_then(|config| access::key(&command, &config))
                .map_err(Failure::at_run_time),
            Command::HashPassword => access::hash_password(),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure::Run(message)) => fail(&message, 1),
            Err(Failure::Usage(message)) => fail(&message, 2),
        }
    }
}

fn serve(
    dir: Option<&Path>,
    file: Option<&Path>,
    listen: Option<String>,
    environment: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let overrides = listen.map(|address| (config::LISTEN_ARGUMENT.to_owned(), address));
    let overrides = environment.clone().into_iter().chain(overrides);
    let config = match (dir, Config::find(file, environment)) {
        (Some(dir), _) if file.is_none() => Config::for_folder(dir, overrides)?,
        (Some(_), _) => return Err(Failure::Usage("give either a folder or --config, not both".to_owned())),
        (None, Some(file)) => Config::load(&file, overrides)?,
        (None, None) => return Err(no_configuration()),
    };
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    if config.mounts.is_empty() {
        return Err(Failure::Usage(
            "the configuration has no [[mount]]: there is nothing to serve".to_owned(),
        ));
    }
    raise_open_files();
    runtime()?.block_on(async {
        let app = App::build(&config, Clock::new()).map_err(|error| Failure::Run(error.to_string()))?;
        let certificates = config.server.tls.clone().map(Certificates::open).transpose();
        let certificates = certificates.map_err(|fault| Failure::Usage(format!("server.tls: {fault}")))?;
        let mut public = Vec::new();
        for address in &config.server.listen {
            let listener = bind(*address)?;
            public.push(match &certificates {
                Some(certificates) => listener.with_tls(certificates.clone()),
                None => listener,
            });
        }
        #[cfg(unix)]
        for path in &config.server.listen_unix {
            let listener = Listener::bind_unix(path).await;
            public.push(listener.map_err(|error| {
                Failure::Run(format!("failed to listen on unix:{}: {error}", path.display()))
            })?);
        }
        let admin = match config.server.admin_listen {
            Some(address) => Some(bind(address)?),
            None => None,
        };
        let lines = public.iter().chain(&admin).map(Listener::url);
        let lines: Vec<String> = lines
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::Run(format!("failed to listen: {error}")))?;
        let stop = stop_on_signals()
            .map_err(|error| Failure::Run(format!("failed to watch for signals: {error}")))?;
        if let Some(certificates) = certificates {
            reload_on_hangup(certificates, stop.clone())
                .map_err(|error| Failure::Run(format!("failed to watch for signals: {error}")))?;
        }
        app.prepare(PREPARATION).await;
        for line in lines {
            print(&format!("listening on {line}"))?;
        }
        app.run(Listeners { public, admin }, stop).await;
        Ok(())
    })
}

/// A viewer takes two sockets, one on each side; the usual soft limit of 1,024 is for programs that use `select`.
fn raise_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
}

fn check(file: Option<&Path>, environment: &BTreeMap<String, String>) -> Result<(), Failure> {
    let Some(file) = Config::find(file, environment) else { return Err(no_configuration()) };
    let config = Config::load(&file, environment.clone().into_iter())?;
    for note in &config.notes {
        print(&note.to_string())?;
    }
    print(&format!("{}: no faults, {} mounts", file.display(), config.mounts.len()))
}

fn load(file: Option<&Path>, environment: &BTreeMap<String, String>) -> Result<Config, Failure> {
    let Some(file) = Config::find(file, environment) else { return Err(no_configuration()) };
    Ok(Config::load(&file, environment.clone().into_iter())?)
}

impl Failure {
    fn at_run_time(self) -> Self {
        match self {
            Self::Run(message) | Self::Usage(message) => Self::Run(message),
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Usage(errors.to_string())
    }
}

fn no_configuration() -> Failure {
    Failure::Usage(
        "no configuration: give --config FILE, put a sluice.toml here, or serve a folder with `sluice serve DIR`".to_owned(),
    )
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("failed to start: {error}")))
}

fn bind(address: std::net::SocketAddr) -> Result<Listener, Failure> {
    Listener::bind(address).map_err(|error| Failure::Run(format!("failed to listen on {address}: {error}")))
}

/// Cancelled by the first SIGTERM or SIGINT; the second one ends the process at once.
fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    let mut signals = Signals::new()?;
    #[expect(
        clippy::disallowed_methods,
        reason = "it must outlive the tracker's wait, to hear the second signal"
    )]
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("stopping: running bodies may finish; a second signal stops at once");
        cancel.cancel();
        signals.next().await;
        std::process::exit(1);
    });
    Ok(stop)
}

/// Reads certificate and key again at each SIGHUP, which whoever renews them sends.
fn reload_on_hangup(certificates: Certificates, stop: CancellationToken) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup())?;
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the signal to stop, and nothing waits for it"
        )]
        tokio::spawn(async move {
            while let Some(Some(())) = stop.run_until_cancelled(hangup.recv()).await {
                match certificates.reload() {
                    Ok(()) => tracing::info!("certificate and key were read again"),
                    Err(error) => tracing::error!(%error, "certificate and key stay as they were"),
                }
            }
        });
    }
    #[cfg(not(unix))]
    let _ = (certificates, stop);
    Ok(())
}

struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A line on stdout, at once even into a pipe.
fn print(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Run(format!("failed to print: {error}")))
}

fn fail(message: &str, code: u8) -> ExitCode {
    // Where stderr is gone too, the code is all that is left.
    let _ = writeln!(std::io::stderr(), "{}", message.trim_end());
    ExitCode::from(code)
}

/// Longest time a start waits for the drives, so that the first film finds the login done; chosen.
const PREPARATION: Duration = Duration::from_secs(2);
