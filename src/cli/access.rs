//! What the operator does about who may come in: hash a password, make and take back what players and other people were given.

use std::io::{BufRead, IsTerminal};

use clap::Subcommand;
use sluice::access::PasswordHash;
use sluice::access::devices::{Device, Devices};
use sluice::access::keys::Keys;
use sluice::clock::Clock;
use sluice::config::Config;
use sluice::error::Error;
use sluice::path::VirtualPath;
use sluice::section::parse_duration;
use sluice::serve::addresses::{self, Route};

use super::{Failure, print};

/// What is done about devices.
#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Makes a password for one player of a user's, good for playing alone, and prints it once.
    Add {
        /// The user, as in the configuration.
        user: String,
        /// What it is to be called in lists, such as "living room".
        #[arg(long)]
        name: String,
    },
    /// Lists the devices: number, user, day, name.
    List,
    /// Takes a device's password back; within a second nobody gets in with it.
    Revoke {
        /// The number that `list` shows.
        id: u32,
    },
}

/// What is done about the keys of exported addresses.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Lists the keys that hold: number, day.
    List,
    /// Ends all addresses that were signed with a key: their `sign` begins with its number.
    Revoke {
        /// The number that `list` shows.
        id: u32,
    },
}

/// What an address leads to.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    File,
    Hls,
    /// The films below a folder.
    Playlist,
}

pub(super) fn hash_password() -> Result<(), Failure> {
    let password = if std::io::stdin().is_terminal() {
        let ask = |prompt| rpassword::prompt_password(prompt).map_err(|error| unreadable(&error));
        let password = ask("Password: ")?;
        if ask("Once more: ")? != password {
            return Err(Failure::Run("the two are not the same".to_owned()));
        }
        password
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(|error| unreadable(&error))?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.is_empty() {
        return Err(Failure::Run("an empty password is none".to_owned()));
    }
    print(&PasswordHash::make(&password).map_err(|error| run(&error))?.expose())
}

pub(super) fn device(command: DeviceCommand, config: &Config) -> Result<(), Failure> {
    let devices = Devices::new(&config.state_dir);
    match command {
        DeviceCommand::Add { user, name } => {
            if !config.access.users.iter().any(|known| *known.name == *user) {
                return Err(Failure::Run(format!("there is no user {user:?} in the configuration")));
            }
            let password = devices
                .add(&user, name.trim(), Clock::new().wall().as_secs())
                .map_err(|error| run(&error))?;
            print(password.expose())
        }
        DeviceCommand::List => {
            for Device { id, user, name, made, .. } in devices.list().iter() {
                print(&format!("{id}\t{user}\t{}\t{}", day(*made), name.escape_debug()))?;
            }
            Ok(())
        }
        DeviceCommand::Revoke { id } => match devices.revoke(id).map_err(|error| run(&error))? {
            Some(device) => print(&format!("{} of {} is revoked", device.name.escape_debug(), device.user)),
            None => Err(Failure::Run(format!("there is no device {id}"))),
        },
    }
}

pub(super) fn key(command: &KeyCommand, config: &Config) -> Result<(), Failure> {
    let keys = Keys::new(&config.state_dir);
    match command {
        KeyCommand::List => {
            keys.list().iter().try_for_each(|(id, made)| print(&format!("{id}\t{}", day(*made))))
        }
        KeyCommand::Revoke { id } => match keys.revoke(*id).map_err(|error| run(&error))? {
            true => print(&format!("addresses signed with key {id} open nothing any more")),
            false => Err(Failure::Run(format!("there is no key {id}"))),
        },
    }
}

pub(super) fn link(path: &str, shape: Shape, expires: Option<&str>, config: &Config) -> Result<(), Failure> {
    let path = VirtualPath::parse(path).map_err(|error| Failure::Usage(error.words().to_owned()))?;
    let expires = match expires {
        None => config.access.link_expires,
        Some(text) => parse_duration(text).map_err(|error| Failure::Usage(format!("--expires {error}")))?,
    };
    let now = Clock::new().wall();
    let end = if expires.is_zero() { 0 } else { (now + expires).as_secs() };
    let sign = Keys::new(&config.state_dir).sign(&path, end, now.as_secs()).map_err(|error| run(&error))?;
    let (route, below, more) = match shape {
        Shape::File => (Route::Content, "", ""),
        Shape::Hls => (Route::Hls, "/master.m3u8", ""),
        Shape::Playlist => (Route::Content, "/", "&playlist=m3u8"),
    };
    print(&(addresses::exported(&config.origin(), route, &path, below, &sign) + more))
}

/// A day of UTC, for people.
fn day(unix_s: u64) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix_s);
    humantime::format_rfc3339_seconds(at).to_string().split('T').next().unwrap_or_default().to_owned()
}

fn run(error: &Error) -> Failure {
    Failure::Run(error.to_string())
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::Run(format!("the password cannot be read: {error}"))
}
