//! A Unix socket: made where nothing else lies, and gone when nobody listens any more.

use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// A listening socket, and its file.
#[derive(Debug)]
pub(super) struct UnixSocket {
    socket: UnixListener,
    path: PathBuf,
    /// Device and number of the file, by which another that took its place is told.
    file: (u64, u64),
}

// === impl UnixSocket ===

impl UnixSocket {
    /// Listens at `path`. A socket that nobody listens on any more is replaced.
    pub(super) async fn bind(path: &Path) -> Result<Self> {
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(file) if !file.file_type().is_socket() => {
                return Err(Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
            }
            Ok(_) => match UnixStream::connect(path).await {
                Ok(_) => return Err(Error::new(ErrorKind::AddrInUse, "another program listens there")),
                // What is left of a program that was killed.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
                Err(error) => return Err(error),
            },
        }
        let socket = UnixListener::bind(path)?;
        // To connect takes the right to write, which the usual umask leaves to our user alone; so this only opens it.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
        let file = std::fs::symlink_metadata(path)?;
        Ok(Self { socket, path: path.to_owned(), file: (file.dev(), file.ino()) })
    }

    pub(super) async fn accept(&self) -> Result<UnixStream> {
        self.socket.accept().await.map(|(stream, _)| stream)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let is_ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.file);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the file of a socket stays behind");
        }
    }
}

/// For our user and group, such as that of a reverse proxy.
const MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_for_user_and_group_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let socket = UnixSocket::bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let second = UnixSocket::bind(&path).await.unwrap_err();
        assert_eq!(second.kind(), ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_any_other_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = UnixSocket::bind(&path).await.unwrap();
        // Another took the name meanwhile: it is not ours to remove.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "a film").unwrap();
        drop(socket);
        assert_eq!(UnixSocket::bind(&path).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"a film");
    }
}
