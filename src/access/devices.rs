//! Passwords that are made for one player: they may play what their user may, and are taken back one by one.

use std::path::Path;
use std::sync::Arc;

use data_encoding::{HEXLOWER, Specification};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::User;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
use crate::state::Kept;

/// The devices of all users, as they stand in the state folder.
#[derive(Debug)]
pub struct Devices(Kept<Vec<Device>>);

/// One of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Device {
    /// By which it is taken back.
    pub id: u32,
    /// Whose it is.
    pub user: String,
    /// What its owner calls it.
    pub name: String,
    /// When its password was made, in seconds since the Unix epoch.
    pub made: u64,
    /// SHA-256 in hexadecimal; enough, since nobody guesses a password of 80 random bits.
    hash: String,
}

// === impl Devices ===

impl Devices {
    /// The devices that are kept in this folder.
    pub fn new(state_dir: &Path) -> Self {
        Self(Kept::new(&state_dir.join(FILE)))
    }

    /// Whether this is the password of a device of the user's.
    pub fn know(&self, user: &User, password: &Secret) -> bool {
        let devices = self.0.get();
        if devices.is_empty() {
            return false;
        }
        let hash = hash(password.expose());
        devices.iter().any(|device| {
            *device.user == *user.name && bool::from(device.hash.as_bytes().ct_eq(hash.as_bytes()))
        })
    }

    /// Makes a password for a device, which is not to be had again.
    ///
    /// # Errors
    /// `Internal` where the state folder cannot be written.
    pub fn add(&self, user: &str, name: &str, now: u64) -> Result<Secret> {
        let mut bytes = [0; 10];
        getrandom::fill(&mut bytes).map_err(|error| failed().with("reason", error))?;
        let password = spelled(&bytes);
        let hash = hash(&password);
        let add = |devices: &mut Vec<Device>| {
            // Behind all that there are; that of the last one may come again once it is taken back.
            let id = devices.iter().map(|device| device.id).max().unwrap_or(0) + 1;
            devices.push(Device { id, user: user.to_owned(), name: name.to_owned(), made: now, hash });
        };
        self.0.change(add).map_err(|error| failed().caused_by(error))?;
        Ok(Secret::new(password))
    }

    /// All of them.
    pub fn list(&self) -> Arc<Vec<Device>> {
        self.0.get()
    }

    /// Takes a device's password back; answers what it was, if there was one.
    ///
    /// # Errors
    /// `Internal` where the state folder cannot be written.
    pub fn revoke(&self, id: u32) -> Result<Option<Device>> {
        let remove = |devices: &mut Vec<Device>| {
            let at = devices.iter().position(|device| device.id == id)?;
            Some(devices.remove(at))
        };
        self.0.change(remove).map_err(|error| failed().caused_by(error))
    }
}

/// Four groups of four, without letters that look like others: it is typed with a remote control.
fn spelled(bytes: &[u8]) -> String {
    let mut letters = Specification::new();
    letters.symbols.push_str("abcdefghjkmnpqrstuvwxyz023456789");
    let letters = letters.encoding().expect("32 symbols that differ").encode(bytes);
    let groups: Vec<_> = letters.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group)).collect();
    groups.join("-")
}

/// Of the password however it was typed: with or without hyphens, in capitals or not.
fn hash(password: &str) -> String {
    let typed: String = password.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    HEXLOWER.encode(&Sha256::digest(typed.to_lowercase()))
}

fn failed() -> Error {
    Error::new(ErrorKind::Internal, "change the list of devices")
}

const FILE: &str = "devices.json";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{PasswordHash, Permissions};
    use crate::path::VirtualPath;

    fn user(name: &str) -> User {
        let hash = PasswordHash::parse(
            "$argon2id$v=19$m=8,t=1,p=1$ylQCvdga7pGQLZiv8M0LlA$a/UPej0sBb3alukV4r/SGHNmqtjhGL1fT+WQZlVt4M0",
        );
        User {
            name: name.into(),
            hash: hash.unwrap(),
            root: VirtualPath::root(),
            may: Permissions::default(),
        }
    }

    #[test]
    fn a_device_is_known_until_its_password_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let devices = Devices::new(folder.path());
        let (anna, bob) = (user("anna"), user("bob"));
        assert!(!devices.know(&anna, &Secret::new("")));
        let one = devices.add("anna", "living room", 1).unwrap();
        let two = devices.add("anna", "phone", 2).unwrap();
        assert_eq!(one.expose().len(), 19);
        let typed = Secret::new(one.expose().to_uppercase().replace('-', " "));
        assert!(devices.know(&anna, &one) && devices.know(&anna, &two) && devices.know(&anna, &typed));
        assert!(!devices.know(&bob, &one));
        let kept = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(!kept.contains(one.expose()) && kept.contains("living room"));
        assert_eq!(devices.revoke(1).unwrap().unwrap().name, "living room");
        assert!(devices.revoke(1).unwrap().is_none());
        assert!(!devices.know(&anna, &one) && devices.know(&anna, &two));
        assert_eq!(devices.list().len(), 1);
    }
}
