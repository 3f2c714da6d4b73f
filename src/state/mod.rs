//! The state folder: private to us, files written whole or not at all.

mod kept;

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

pub use self::kept::Kept;

/// Seals what must not be read by whoever gets hold of the state folder alone, such as from a backup.
#[derive(Debug)]
pub struct Sealer {
    folder: PathBuf,
    /// The operator's; without it a key is made, and kept in a file of its own.
    secret: Option<Secret>,
    key: OnceLock<LessSafeKey>,
}

// === impl Sealer ===

impl Sealer {
    /// A sealer for files of the state folder. Reads and makes nothing yet.
    pub fn new(folder: &Path, secret: Option<Secret>) -> Self {
        Self { folder: folder.to_owned(), secret, key: OnceLock::new() }
    }

    /// Seals `plain` (ChaCha20-Poly1305). It can be opened only under the same `name`, so that files cannot be exchanged.
    ///
    /// # Errors
    /// What the file system says of the key file.
    pub fn seal(&self, name: &str, plain: &[u8]) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| io::Error::other("no random bytes"))?;
        let mut sealed = plain.to_vec();
        self.key()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| io::Error::other("it cannot be sealed"))?;
        Ok([MAGIC, &nonce, &sealed].concat())
    }

    /// Opens what [`Sealer::seal`] made.
    ///
    /// # Errors
    /// `InvalidData` where the key is another one, or the file was changed.
    pub fn open(&self, name: &str, sealed: &[u8]) -> io::Result<Vec<u8>> {
        let wrong = || {
            io::Error::new(io::ErrorKind::InvalidData, format!("{name} does not open with this state key"))
        };
        let (nonce, sealed) =
            sealed.strip_prefix(MAGIC).and_then(|rest| rest.split_at_checked(NONCE_LEN)).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut plain = sealed.to_vec();
        let length = self
            .key()?
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut plain)
            .map_err(|_| wrong())?
            .len();
        plain.truncate(length);
        Ok(plain)
    }

    fn key(&self) -> io::Result<&LessSafeKey> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let bytes = match &self.secret {
            Some(secret) => Sha256::new()
                .chain_update(b"sluice state key")
                .chain_update(secret.expose())
                .finalize()
                .into(),
            None => self.kept_key()?,
        };
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes)
            .map_err(|_| io::Error::other("the state key is malformed"))?;
        Ok(self.key.get_or_init(|| LessSafeKey::new(key)))
    }

    /// The key in the folder; made where there is none. Of two processes that make one, the first wins.
    fn kept_key(&self) -> io::Result<[u8; 32]> {
        let file = self.folder.join(KEY_FILE);
        match std::fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => {
                return read?
                    .try_into()
                    .map_err(|_| io::Error::other(format!("{} is damaged", file.display())));
            }
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| io::Error::other("no random bytes"))?;
        create_private_dir(&self.folder)?;
        let mut temporary = tempfile::NamedTempFile::new_in(&self.folder)?;
        temporary.write_all(&key)?;
        temporary.as_file().sync_all()?;
        match temporary.persist_noclobber(&file) {
            Ok(_) => {
                File::open(&self.folder)?.sync_all()?;
                Ok(key)
            }
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => self.kept_key(),
            Err(error) => Err(error.error),
        }
    }
}

/// Takes the lock of a file for this process, if no other has it; held until what is returned is dropped, at the latest until
/// the process ends, however it ends.
///
/// # Errors
/// What the file system says.
pub fn try_lock(file: &Path) -> io::Result<Option<File>> {
    let lock = open_private(file)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Opens a file for reading and writing, created where it is missing, readable by us alone.
///
/// # Errors
/// What the file system says.
pub fn open_private(file: &Path) -> io::Result<File> {
    create_private_dir(file.parent().unwrap_or(Path::new(".")))?;
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}

/// Creates a folder and its missing parents, readable by us alone.
///
/// # Errors
/// What the file system says.
pub fn create_private_dir(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Whether files can be written to a folder, which is created if it is missing.
///
/// # Errors
/// What the file system says.
pub fn probe(folder: &Path) -> std::io::Result<()> {
    create_private_dir(folder)?;
    tempfile::NamedTempFile::new_in(folder).map(drop)
}

/// Writes a file so that a crash at any moment leaves the old or the new content, and that what was written
/// is there after the return: a new file is written, synced and renamed over the old one, then the folder is
/// synced. Readable by us alone (mode 0600, which is how `tempfile` creates).
///
/// # Errors
/// What the file system says; the old content is then still in place.
pub fn write_durably(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    create_private_dir(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(content)?;
    temporary.as_file().sync_all()?;
    temporary.persist(file)?;
    std::fs::File::open(folder)?.sync_all()
}

/// What a sealed file begins with; a number for the way it is sealed.
const MAGIC: &[u8] = b"sluice-sealed-1\n";
const KEY_FILE: &str = "state_key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_name_alone() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sealer = Sealer::new(one.path(), None);
        let sealed = sealer.seal("a", b"token").unwrap();
        assert!(!sealed.windows(5).any(|part| part == b"token"));
        assert_eq!(Sealer::new(one.path(), None).open("a", &sealed).unwrap(), b"token");
        assert!(sealer.open("b", &sealed).is_err());
        assert!(Sealer::new(other.path(), None).open("a", &sealed).is_err());
        let said = Sealer::new(one.path(), Some(Secret::new("said")));
        assert!(said.open("a", &sealed).is_err());
        let sealed = said.seal("a", b"token").unwrap();
        assert_eq!(
            Sealer::new(other.path(), Some(Secret::new("said"))).open("a", &sealed).unwrap(),
            b"token"
        );
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(said.open("a", &damaged).is_err(), "byte {at}");
            assert!(said.open("a", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_lock_is_held_by_one_and_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/lock");
        let held = try_lock(&file).unwrap();
        assert!(held.is_some() && try_lock(&file).unwrap().is_none());
        drop(held);
        assert!(try_lock(&file).unwrap().is_some());
    }

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/folder/token.json");
        write_durably(&file, b"old").unwrap();
        write_durably(&file, b"new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&file), 0o600);
            assert_eq!(mode(file.parent().unwrap()), 0o700);
        }
    }
}
