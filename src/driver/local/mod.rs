//! A folder of this machine, the reading side; also the smallest example of a driver.
//!
//! Every access goes through a capability on the folder (`cap-std`, `openat2` with `RESOLVE_BENEATH` on Linux), so
//! that neither a path nor a symbolic link leads out of it, whatever changes while we look. Links that stay
//! inside work; absolute ones are refused even where they point inside.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata};
use futures_util::stream::{self};
use http_body::Frame;
use http_body_util::StreamBody;

use crate::driver::registry::Registration;
use crate::driver::{
    Context, Driver, DriverInfo, Entry, EntryId, EntryKind, Marker, Page, ReadRange, Source, Unopened,
    Version,
};
use crate::error::{Error, ErrorKind, Result};
use crate::http::Body;
use crate::http::range::ByteRange;
use crate::path::VirtualPath;
use crate::section::Section;

/// This driver's line in the registry.
pub const REGISTRATION: Registration = Registration { name: NAME, read };

/// A served folder.
#[derive(Debug)]
pub struct LocalFolder {
    root: PathBuf,
    dir: Arc<Dir>,
    info: DriverInfo,
}

#[derive(Debug)]
struct Options {
    root: PathBuf,
}

#[derive(Debug)]
struct LocalFile {
    dir: Arc<Dir>,
    path: String,
}

/// Opens a folder.
///
/// # Errors
/// `Internal` where it cannot be opened.
pub fn open(root: &Path) -> Result<Arc<dyn Driver>> {
    let dir = Dir::open_ambient_dir(root, ambient_authority()).map_err(|error| {
        Error::new(ErrorKind::Internal, "open the folder").with("root", root.display()).caused_by(error)
    })?;
    Ok(Arc::new(LocalFolder {
        root: std::path::absolute(root).unwrap_or_else(|_| root.to_owned()),
        dir: Arc::new(dir),
        info: DriverInfo {
            name: NAME,
            by_path: true,
            preview: false,
            // Asking costs nothing, and people expect to see at once what they copied in.
            believed: Some(Duration::from_secs(1)),
            account: Arc::from(NAME),
            connections: None,
        },
    }))
}

fn read(options: &mut Section<'_>) -> Arc<dyn Unopened> {
    let root = options.required_string("root").unwrap_or_default();
    Arc::new(Options { root: PathBuf::from(root) })
}

impl Unopened for Options {
    fn open(&self, _: &Context) -> Result<Arc<dyn Driver>> {
        open(&self.root)
    }
}

// === impl LocalFolder ===

#[async_trait]
impl Driver for LocalFolder {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    fn root(&self) -> Entry {
        Entry::folder(EntryId::new("/"), "")
    }

    async fn stat(&self, path: &VirtualPath) -> Result<Entry> {
        let dir = Arc::clone(&self.dir);
        let path = path.clone();
        blocking("look at a file", move || {
            let metadata =
                dir.metadata(relative(path.as_str())).map_err(|error| fault("look at a file", error))?;
            Ok(entry(path.as_str(), path.name().unwrap_or_default(), &metadata))
        })
        .await
    }

    async fn page(&self, folder: &Entry, from: Option<&Marker>) -> Result<Page> {
        let dir = Arc::clone(&self.dir);
        let folder = folder.id.clone();
        let from = from.cloned();
        blocking("list a folder", move || {
            let below = if folder.as_str() == "/" { "" } else { folder.as_str() };
            let is_wanted = |name: &String| from.as_ref().is_none_or(|from| name.as_str() > from.as_str());
            let mut names = Vec::new();
            for child in
                dir.read_dir(relative(folder.as_str())).map_err(|error| fault("list a folder", error))?
            {
                let child = child.map_err(|error| fault("list a folder", error))?;
                // A name that is not UTF-8 has no address.
                names.extend(child.file_name().into_string().ok().filter(is_wanted));
            }
            names.sort_unstable();
            // The next page begins behind the last name of this one, whatever has come or gone by then.
            let next =
                names.get(PAGE).and_then(|_| names.get(PAGE - 1)).map(|last| Marker::new(last.as_str()));
            names.truncate(PAGE);
            let entries = names.iter().filter_map(|name| {
                let path = format!("{below}/{name}");
                // A link that leads out or nowhere has no bytes.
                let metadata = dir.metadata(relative(&path)).ok()?;
                Some(entry(&path, name, &metadata))
            });
            Ok(Page { entries: entries.collect(), next })
        })
        .await
    }

    fn local_file(&self, file: &Entry) -> Option<PathBuf> {
        Some(self.root.join(relative(file.id.as_str())))
    }

    async fn source(&self, file: &Entry) -> Result<Source> {
        Ok(Source::Open(Arc::new(LocalFile {
            dir: Arc::clone(&self.dir),
            path: file.id.as_str().to_owned(),
        })))
    }
}

// === impl LocalFile ===

#[async_trait]
impl ReadRange for LocalFile {
    async fn read(&self, range: ByteRange) -> Result<Body> {
        const OPERATION: &str = "read a file";
        let (dir, path) = (Arc::clone(&self.dir), self.path.clone());
        let file = blocking(OPERATION, move || {
            let mut file = dir.open(relative(&path)).map_err(|error| fault(OPERATION, error))?;
            file.seek(SeekFrom::Start(range.start)).map_err(|error| fault(OPERATION, error))?;
            Ok(file)
        })
        .await?;
        let pieces = stream::try_unfold((file, range.len()), |(file, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let (file, piece) = blocking(OPERATION, move || read_piece(file, left)).await?;
            let left = left - piece.len() as u64;
            Ok(Some((Frame::data(piece), (file, left))))
        });
        Ok(Body::stream(StreamBody::new(pieces)))
    }
}

/// One piece of at most `left` bytes; never an empty one, since a body must not end before its announced length.
fn read_piece(mut file: File, left: u64) -> Result<(File, Bytes)> {
    const OPERATION: &str = "read a file";
    let mut piece = BytesMut::zeroed(usize::try_from(left).unwrap_or(PIECE).min(PIECE));
    let count = file.read(&mut piece).map_err(|error| fault(OPERATION, error))?;
    if count == 0 {
        return Err(
            Error::new(ErrorKind::Upstream, OPERATION).saying("the file became shorter while it was read")
        );
    }
    piece.truncate(count);
    Ok((file, piece.freeze()))
}

fn entry(path: &str, name: &str, metadata: &Metadata) -> Entry {
    let kind = if metadata.is_dir() { EntryKind::Folder } else { EntryKind::File };
    Entry {
        id: EntryId::new(path),
        name: Arc::from(name),
        kind,
        len: if metadata.is_dir() { 0 } else { metadata.len() },
        modified: metadata.modified().ok().map(cap_std::time::SystemTime::into_std),
        hash: None,
        duration: None,
        version: Version::default(),
    }
}

/// As the capability takes it: relative, `.` for the folder itself.
fn relative(path: &str) -> &str {
    match path.trim_start_matches('/') {
        "" => ".",
        relative => relative,
    }
}

async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(Error::new(ErrorKind::Internal, operation).caused_by(panic)))
}

fn fault(operation: &'static str, error: std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    let kind = match error.kind() {
        Io::InvalidFilename | Io::NotFound | Io::NotADirectory => ErrorKind::NotFound,
        // A link that leads out of the folder is refused this way too.
        Io::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Upstream,
    };
    Error::new(kind, operation).caused_by(error)
}

const NAME: &str = "local";
/// Entries a page. Each page reads all names of the folder, and is held in memory (some 1 MiB with what is told of it). Chosen: a large folder
/// is read a few times.
const PAGE: usize = 2500;
/// Bytes a read; large enough that the hop to a blocking thread does not count.
const PIECE: usize = 256 * 1024;
