//! Hashes of passwords: Argon2id in PHC form.
//!
//! AList's clients may log in with a hash of the password that never changes, in place of the password. Of a plain Argon2id hash
//! nobody can tell whether that fits. So the hashes that we make are of that static hash, and say so in Argon2's associated
//! data; those made elsewhere are of the password itself, and serve every login but that one.

use std::fmt;

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, AssociatedData, ParamsBuilder, PasswordHasher, Version};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// The hash of a password. Printed blind, since it can be guessed against.
#[derive(Clone)]
pub struct PasswordHash {
    phc: phc::PasswordHash,
    /// Whether it is of AList's static hash of the password.
    is_of_static: bool,
    fingerprint: [u8; 32],
}

/// What somebody gives to be checked against it.
#[derive(Clone)]
pub enum Given {
    /// The password itself.
    Password(Secret),
    /// AList's static hash of it.
    Static(Secret),
}

/// AList's static hash of a password, in lower-case hexadecimal.
pub fn static_hash(password: &str) -> Secret {
    let digest = Sha256::new().chain_update(password).chain_update(STATIC_SALT).finalize();
    Secret::new(HEXLOWER.encode(&digest))
}

// === impl PasswordHash ===

impl PasswordHash {
    /// Hashes a new password with the costs that OWASP names for Argon2id: 19 MiB, two passes, one lane.
    ///
    /// # Errors
    /// `Internal` where the system gives no random bytes or no memory.
    pub fn make(password: &str) -> Result<Self> {
        let failed =
            |reason: String| Error::new(ErrorKind::Internal, "hash a password").with("reason", reason);
        let data = AssociatedData::new(OF_STATIC).map_err(|error| failed(error.to_string()))?;
        let params = ParamsBuilder::new().data(data).build().map_err(|error| failed(error.to_string()))?;
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let phc: phc::PasswordHash = hasher
            .hash_password(static_hash(password).expose().as_bytes())
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self::of(phc, true))
    }

    /// Reads a hash in PHC form.
    ///
    /// # Errors
    /// What is wrong with it, in words that do not repeat it.
    pub fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        const NONE: &str = "must be an Argon2id hash in PHC form, `$argon2id$…`";
        let phc = phc::PasswordHash::new(text).map_err(|_| NONE)?;
        let params = argon2::Params::try_from(&phc).map_err(|_| NONE)?;
        if phc.algorithm.as_str() != "argon2id" || phc.salt.is_none() || phc.hash.is_none() {
            return Err(NONE);
        }
        if params.m_cost() > MOST_KIB || u64::from(params.m_cost()) * u64::from(params.t_cost()) > MOST_WORK {
            return Err(
                "costs more than a small machine can give each login: at most 64 MiB, and m times t at most 262,144",
            );
        }
        Ok(Self::of(phc, params.data() == OF_STATIC))
    }

    /// Whether what was given fits. Takes some 50 ms of a processor and the memory that the hash names: not for a thread that
    /// has others to serve.
    pub fn fits(&self, given: &Given) -> bool {
        let input = match (given, self.is_of_static) {
            (Given::Password(password), true) => static_hash(password.expose()),
            (Given::Password(secret), false) | (Given::Static(secret), true) => secret.clone(),
            (Given::Static(_), false) => return false,
        };
        Argon2::default().verify_password(input.expose().as_bytes(), &self.phc).is_ok()
    }

    /// Whether AList's static hash of the password can be checked against it.
    pub fn knows_static(&self) -> bool {
        self.is_of_static
    }

    /// In PHC form, to be written into a configuration.
    pub fn expose(&self) -> String {
        self.phc.to_string()
    }

    /// What stands for this hash where it must not be written: another one has another.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    fn of(phc: phc::PasswordHash, is_of_static: bool) -> Self {
        let fingerprint = Sha256::digest(phc.to_string()).into();
        Self { phc, is_of_static, fingerprint }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// What AList appends to a password before it hashes it.
const STATIC_SALT: &str = "-https://github.com/alist-org/alist";
/// The associated data of hashes that are of the static hash.
const OF_STATIC: &[u8] = b"alist";
/// Of memory for one check; chosen: one at a time must fit into what a NAS leaves us.
const MOST_KIB: u32 = 64 * 1024;
/// KiB times passes; chosen: seconds on a small machine.
const MOST_WORK: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `secret`, with the least costs there are, made with another implementation (the reference one, by way of Python).
    const FOREIGN: &str =
        "$argon2id$v=19$m=8,t=1,p=1$ylQCvdga7pGQLZiv8M0LlA$a/UPej0sBb3alukV4r/SGHNmqtjhGL1fT+WQZlVt4M0";

    #[test]
    fn the_static_hash_is_that_of_alist() {
        // As `printf '%s-https://github.com/alist-org/alist' secret | sha256sum` says it.
        assert_eq!(
            static_hash("secret").expose(),
            "8a119a191d7f34278647d21217ff550a9f6748d48a6952379405487747a840c3"
        );
    }

    #[test]
    fn a_hash_of_ours_fits_the_password_and_its_static_hash() {
        let hash = PasswordHash::parse(&PasswordHash::make("se cret").unwrap().expose()).unwrap();
        assert!(hash.knows_static());
        assert!(hash.fits(&Given::Password(Secret::new("se cret"))));
        assert!(hash.fits(&Given::Static(static_hash("se cret"))));
        assert!(!hash.fits(&Given::Password(Secret::new("secret"))));
        assert!(!hash.fits(&Given::Password(static_hash("se cret"))));
        assert!(!format!("{hash:?}").contains("argon2id"));
    }

    #[test]
    fn a_hash_from_elsewhere_fits_the_password_alone() {
        let hash = PasswordHash::parse(FOREIGN).unwrap();
        assert!(hash.fits(&Given::Password(Secret::new("secret"))));
        assert!(!hash.fits(&Given::Static(static_hash("secret"))));
        assert!(!hash.fits(&Given::Password(Secret::new("Secret"))));
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        for text in [
            "",
            "secret",
            "$argon2id$",
            "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ",
            &FOREIGN.replace("m=8", "m=99999999"),
        ] {
            assert!(PasswordHash::parse(text).is_err(), "{text}");
        }
        let costly = FOREIGN.replace("m=8", "m=65537");
        assert!(PasswordHash::parse(&costly).unwrap_err().contains("costs more"));
    }
}
