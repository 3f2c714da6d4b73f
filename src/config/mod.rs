//! Reads the configuration: one TOML file and what overrides it, once, into the settings of every room.
//!
//! Every fault is reported with its key and line in one go. Nobody is contacted and no clock is read; the files
//! that hold secrets and certificates are.

mod check;
mod env;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::access;
use crate::secret::Secret;
use crate::section::{Report, Section};
use crate::{export, mount, resolve, serve, stream, transport};

pub use self::env::environment;
pub use crate::section::{Fault, Note};

/// What the operator set, checked and complete.
#[derive(Clone, Debug)]
pub struct Config {
    /// The listeners.
    pub server: transport::Settings,
    /// What players see.
    pub serve: serve::Settings,
    /// Networks of reverse proxies that are believed what they say of their clients.
    pub trusted_proxies: Vec<IpNet>,
    /// Who may do what.
    pub access: access::Settings,
    /// How much is kept, and for how long.
    pub cache: resolve::Settings,
    /// Limits of one stream.
    pub proxy: stream::Settings,
    /// How much is kept of the files themselves.
    pub blocks: stream::BlockSettings,
    /// What hangs where. No two at the same path.
    pub mounts: Vec<mount::Settings>,
    /// What is exported, and how often.
    pub exports: Vec<export::Settings>,
    /// Where rotated tokens, the signing key and the block cache are kept.
    pub state_dir: PathBuf,
    /// What the tokens kept there are sealed with: `SLUICE_STATE_KEY`; none to make a key and keep it there too.
    pub state_key: Option<Secret>,
    /// What was written but has no effect yet.
    pub notes: Vec<Note>,
}

/// Everything that is wrong with a configuration. Printed one fault a line.
#[derive(Clone, Debug)]
pub struct ConfigErrors(Vec<Fault>);

/// What the argument of that name is called among the overrides.
pub const LISTEN_ARGUMENT: &str = "--listen";
/// The variable that holds the key of the state folder. Only ever in the environment: beside the state it would be worth nothing.
pub const STATE_KEY: &str = "SLUICE_STATE_KEY";

// === impl Config ===

impl Config {
    /// Where players find us, without a trailing slash: the public address, else the first that is listened on.
    pub fn origin(&self) -> String {
        let scheme = if self.server.tls.is_some() { "https" } else { "http" };
        let listening = self.server.listen.first().map(|address| match address.ip().is_unspecified() {
            true => format!("{scheme}://localhost:{}", address.port()),
            false => format!("{scheme}://{address}"),
        });
        self.serve.public_url.clone().or(listening).unwrap_or_default()
    }

    /// Reads a file. See [`Config::parse`].
    ///
    /// # Errors
    /// Every fault; a single one where the file cannot be read.
    pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path)
            .map_err(|error| ConfigErrors::single(name.clone(), format!("cannot be read: {error}")))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| ConfigErrors::single(name.clone(), "is not UTF-8".to_owned()))?;
        Self::parse(&text, &name, env)
    }

    /// Reads a text, which faults will call `name`.
    ///
    /// Of `env`, whatever is called `SLUICE__…` overrides a key, and [`LISTEN_ARGUMENT`] overrides
    /// `server.listen`; [`STATE_KEY`] is taken as it is, and the rest is ignored.
    ///
    /// # Errors
    /// Every fault.
    pub fn parse(
        text: &str,
        name: &str,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let mut report = Report::new(name, text);
        let variables: Vec<_> = env.collect();
        let state_key = variables.iter().find(|(name, value)| name == STATE_KEY && !value.is_empty());
        let state_key = state_key.map(|(_, value)| Secret::new(value.as_str()));
        let config = report.parse(text).map(|mut table| {
            env::overlay(&mut table, variables.into_iter(), &mut report);
            check::read(Section::new(table, &report))
        });
        let (faults, notes) = report.finish();
        match config {
            Some(config) if faults.is_empty() => Ok(Self { notes, state_key, ..config }),
            _ => Err(ConfigErrors(faults)),
        }
    }

    /// The file to read: the one named, else `$SLUICE_CONFIG`, else `./sluice.toml` or
    /// `$XDG_CONFIG_HOME/sluice/sluice.toml` where there is one.
    pub fn find(explicit: Option<&Path>, env: &BTreeMap<String, String>) -> Option<PathBuf> {
        let set = |name: &str| env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(named) = explicit.map(Path::to_owned).or_else(|| set("SLUICE_CONFIG")) {
            return Some(named);
        }
        // What the XDG specification says an absent variable stands for.
        let home = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
        let places = [Some(PathBuf::from("sluice.toml")), home.map(|home| home.join("sluice/sluice.toml"))];
        places.into_iter().flatten().find(|place| place.is_file())
    }

    /// One folder of this machine at `/`, for guests, with the defaults for all else; what `env` overrides is
    /// overridden, as in [`Config::parse`].
    ///
    /// # Errors
    /// Every fault.
    pub fn for_folder(dir: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        let name = dir.display().to_string();
        let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let Some(root) = absolute.to_str() else {
            return Err(ConfigErrors::single(name, "the name of the folder is not UTF-8".to_owned()));
        };
        let keys = [
            ("SLUICE__ACCESS__GUEST", "true"),
            // Several folders can be served at once; nobody watches over them.
            ("SLUICE__SERVER__ADMIN_LISTEN", ""),
            ("SLUICE__MOUNT__0__PATH", "/"),
            ("SLUICE__MOUNT__0__DRIVER", "local"),
            ("SLUICE__MOUNT__0__OPTIONS__ROOT", root),
        ];
        let keys = keys.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self::parse("", &name, keys.chain(env))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: transport::Settings {
                listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8470))],
                listen_unix: Vec::new(),
                admin_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8471))),
                shutdown_grace: Duration::from_secs(30),
                idle_timeout: Duration::from_secs(60),
                max_connections: 0,
                tls: None,
            },
            serve: serve::Settings { public_url: None },
            trusted_proxies: Vec::new(),
            access: access::Settings::default(),
            cache: resolve::Settings {
                entries: 500_000,
                links: 50_000,
                listing_ttl: Duration::from_secs(30 * 60),
                negative_ttl: Duration::from_secs(30),
            },
            proxy: stream::Settings {
                window: 4 << 20,
                stall_timeout: Duration::from_secs(4),
                hold: Duration::from_secs(8),
            },
            blocks: stream::BlockSettings { memory: 64 << 20, disk: 0 },
            mounts: Vec::new(),
            exports: Vec::new(),
            state_dir: PathBuf::from("state"),
            state_key: None,
            notes: Vec::new(),
        }
    }
}

// === impl ConfigErrors ===

impl ConfigErrors {
    /// The faults, in the order of the file, then of the overrides.
    pub fn faults(&self) -> &[Fault] {
        &self.0
    }

    fn single(source: String, message: String) -> Self {
        Self(vec![Fault { source, line: None, key: String::new(), message }])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            let line_end = if number == 0 { "" } else { "\n" };
            write!(f, "{line_end}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
