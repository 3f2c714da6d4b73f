//! Who is asking, and what they may: users and their passwords, the API token, devices, tokens of a login, and the rules of the
//! tree. Decides; what a request must show and what it is answered is for the gate to say.
//!
//! | file | answers |
//! |---|---|
//! | [`admission`] | who comes in: all of it put together |
//! | [`credentials`] | what a request shows of itself |
//! | [`passwords`] | whether a password fits a hash (Argon2id) |
//! | [`logins`] | whether to look, how soon, and what was found the last time |
//! | [`devices`] | passwords that are made for one player |
//! | [`tokens`] | what a login is given, to be shown instead of the password |
//! | [`rules`] | what of the tree somebody may see |
//! | [`keys`] | keys of exported addresses, which can be revoked |

pub mod admission;
pub mod credentials;
pub mod devices;
pub mod keys;
pub mod logins;
pub mod passwords;
pub mod rules;
pub mod tokens;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::path::VirtualPath;
use crate::secret::Secret;

pub use self::passwords::PasswordHash;

/// What the operator set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether whoever is not logged in may browse and play, without a signature.
    pub guest: bool,
    /// Whether media addresses need a signature where the request itself is not authenticated.
    pub sign_all: bool,
    /// Life of the signatures handed out; zero for no end.
    pub link_expires: Duration,
    /// The static token, also the signing key; none to have one made and kept in the state folder.
    pub api_token: Option<Secret>,
    /// Who can log in. No two of one name.
    pub users: Vec<Arc<User>>,
    /// What holds in parts of the tree.
    pub rules: Vec<rules::Rule>,
}

impl Default for Settings {
    fn default() -> Self {
        let (users, rules) = (Vec::new(), Vec::new());
        Self { guest: false, sign_all: true, link_expires: Duration::ZERO, api_token: None, users, rules }
    }
}

/// Somebody who can log in.
#[derive(Debug)]
pub struct User {
    /// The name to log in with.
    pub name: Arc<str>,
    /// Of the password.
    pub hash: PasswordHash,
    /// The tree that this user sees.
    pub root: VirtualPath,
    /// What the user may beside that.
    pub may: Permissions,
}

/// What a user may do in the tree.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Permissions {
    /// Browse and play.
    pub read: bool,
    /// Change what is there, where a drive offers it.
    pub write: bool,
    /// Everything, and the drives' accounts too; no rule holds for administrators.
    pub admin: bool,
}

/// Who a request comes from; among its extensions once it is past the gate.
#[derive(Clone)]
pub enum Visitor {
    /// Whoever holds the API token.
    Administrator,
    /// A device of a user's, which may play what the user may.
    Device(Arc<User>),
    /// Nobody that we know, where guests are let in.
    Guest,
    /// Nobody that we know, where they are not.
    Nobody,
    /// Whoever holds an address that we signed; for what lies at that address alone.
    Signed,
    /// A user.
    User(Arc<User>),
}

// === impl Visitor ===

impl Visitor {
    /// Whether drives' accounts are theirs to manage, and no rule holds.
    pub fn is_administrator(&self) -> bool {
        match self {
            Self::Administrator => true,
            Self::User(user) => user.may.admin,
            Self::Device(_) | Self::Guest | Self::Nobody | Self::Signed => false,
        }
    }

    /// Whether they may change what is in the tree.
    pub fn may_write(&self) -> bool {
        match self {
            Self::Administrator => true,
            Self::User(user) => user.may.write || user.may.admin,
            Self::Device(_) | Self::Guest | Self::Nobody | Self::Signed => false,
        }
    }

    /// Whether they are somebody whom we know.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::Administrator | Self::Device(_) | Self::User(_))
    }

    /// The user's name, where it is one's.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Device(user) | Self::User(user) => Some(&user.name),
            Self::Administrator | Self::Guest | Self::Nobody | Self::Signed => None,
        }
    }

    /// The tree that they see.
    pub fn root(&self) -> VirtualPath {
        match self {
            Self::Device(user) | Self::User(user) => user.root.clone(),
            Self::Administrator | Self::Guest | Self::Nobody | Self::Signed => VirtualPath::root(),
        }
    }

    /// Whether a path lies in the tree that they see, and they may read at all.
    fn reaches(&self, path: &VirtualPath) -> bool {
        match self {
            Self::Device(user) | Self::User(user) => {
                (user.may.read || user.may.admin) && path.is_below(&user.root)
            }
            Self::Administrator | Self::Guest | Self::Signed => true,
            Self::Nobody => false,
        }
    }
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Administrator => f.write_str("administrator"),
            Self::Device(user) => write!(f, "a device of {:?}", user.name),
            Self::Guest => f.write_str("guest"),
            Self::Nobody => f.write_str("nobody"),
            Self::Signed => f.write_str("signed"),
            Self::User(user) => write!(f, "{:?}", user.name),
        }
    }
}
