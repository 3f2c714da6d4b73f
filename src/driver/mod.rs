//! What a drive is to us: entries by path, and for each file a link, a reader or a preview.
//!
//! # The contract of a driver
//!
//! - `stat` and `list` answer what the vendor says now; caching is `resolve`'s. A name that a successful answer
//!   lacks is `NotFound`; nothing else is. A failure to find out is never reported as absence.
//! - Names come from the vendor as they are. Where several children of a folder bear one name, the first in the
//!   order of the listing is meant.
//! - A folder is listed by pages, and a page can be asked for again: a fault loses no more than one.
//! - A link is good for the life it states, by the vendor's own stamp.
//! - Vendor codes become an [`Error`] in the driver's `error.rs` and nowhere else.
//! - A driver limits its own API calls; content connections are counted by `stream::broker` from [`DriverInfo`].
//! - Opening a driver contacts nobody, so that the program starts while a drive is down.

mod account;
pub mod aliyundrive_open;
mod calls;
pub mod local;
pub mod registry;

pub use self::account::{AccountFacts, Note, Package, Refused, Space};
pub use self::calls::Calls;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use http::HeaderMap;
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::http::Body;
use crate::http::conditional::Validators;
use crate::http::range::ByteRange;
use crate::lease::{Lease, Life};
use crate::path::VirtualPath;
use crate::secret::SignedUrl;
use crate::state::Sealer;

/// The reading side of a drive. What an implementer must provide.
#[async_trait]
pub trait Driver: Debug + Send + Sync + 'static {
    /// What is known of the drive without asking it.
    fn info(&self) -> &DriverInfo;

    /// Makes sure that the drive lets us in, with what is known of the login.
    ///
    /// # Errors
    /// `Unavailable` where somebody must log in.
    async fn authorize(&self) -> Result<()> {
        Ok(())
    }

    /// Logs somebody in: hands every address that the person is to open, as a QR code or otherwise, to `show`, waits for the
    /// consent, and keeps what comes of it, which is used from then on. Runs until then; dropping the future gives up and
    /// changes nothing.
    ///
    /// # Errors
    /// `Unsupported` where nobody need log in, or not in this way.
    async fn log_in(&self, show: Show) -> Result<()> {
        let _ = show;
        Err(Error::new(ErrorKind::Unsupported, "log in").saying("this drive needs no login"))
    }

    /// What is known of the account now; none where the drive has no such thing. Asks nobody.
    fn account(&self) -> Option<AccountFacts> {
        None
    }

    /// Asks the drive what it tells of the account, unless that was done some minutes ago at most, so that
    /// [`Driver::account`] knows it. For those who want to read that; no request needs it. Dropping the future does not
    /// stop the asking.
    ///
    /// # Errors
    /// What asking failed with, also where that was a moment ago.
    async fn look_up_account(&self) -> Result<()> {
        Ok(())
    }

    /// Gets ready for the first request: logs in, looks up what every call needs. Called once after the start, and
    /// its failure only logged.
    ///
    /// # Errors
    /// Whatever the first request would fail with.
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    /// The folder at the root of the mount; asks nobody.
    fn root(&self) -> Entry;

    /// The entry at a path below the root. Called only where [`DriverInfo::by_path`] is set; other paths are found
    /// by listing.
    ///
    /// # Errors
    /// `NotFound` only where the drive says so.
    async fn stat(&self, path: &VirtualPath) -> Result<Entry>;

    /// Some children of a folder, as many as the drive gives at once: the first ones, or those from a marker on.
    ///
    /// # Errors
    /// `NotFound` only where the drive says that there is no such folder.
    async fn page(&self, folder: &Entry, from: Option<&Marker>) -> Result<Page>;

    /// What tells the mounted tree from all others, over restarts and logins; none where its entries are not worth
    /// keeping on disk.
    ///
    /// # Errors
    /// What finding out fails with, where that needs a call.
    async fn tree(&self) -> Result<Option<Arc<str>>> {
        Ok(None)
    }

    /// Where a file lies on this machine, if it does.
    fn local_file(&self, file: &Entry) -> Option<PathBuf> {
        let _ = file;
        None
    }

    /// How to get at the bytes of a file.
    ///
    /// # Errors
    /// `NotFound` where the file is gone by now.
    async fn source(&self, file: &Entry) -> Result<Source>;

    /// The transcoded forms of a video.
    ///
    /// # Errors
    /// `Unsupported` where there are none and never will be; `Overload` with a delay while they are being made.
    async fn preview(&self, file: &Entry) -> Result<Preview> {
        let _ = file;
        Err(Error::new(ErrorKind::Unsupported, "open a preview")
            .saying("this drive makes no transcoded form"))
    }
}

/// Takes the steps of a login as they come.
pub type Show = Box<dyn Fn(LoginStep<'_>) + Send + Sync>;

/// A step of a login, for the person who logs in.
#[derive(Clone, Copy)]
pub enum LoginStep<'a> {
    /// They are to open this address, or to scan it as a QR code. It takes the place of the one before.
    Open(&'a str),
    /// They have opened it, and are to consent.
    Opened,
}

/// What is known of a drive without asking it.
#[derive(Clone, Debug)]
pub struct DriverInfo {
    /// The name in the configuration.
    pub name: &'static str,
    /// Whether the drive finds a path in one call; else it is walked by listings.
    pub by_path: bool,
    /// Whether the drive makes transcoded forms of videos.
    pub preview: bool,
    /// Which account it is; mounts of one account share its limits.
    pub account: Arc<str>,
    /// The longest time an answer of this driver may be believed; none leaves it to the operator.
    pub believed: Option<Duration>,
    /// How many reads of content the account may have open at once; none where there is no such limit.
    pub connections: Option<NonZeroUsize>,
}

/// A vendor's id of an entry, unique within a mount.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct EntryId(Arc<str>);

/// Some children of a folder.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the order of the drive.
    pub entries: Vec<Entry>,
    /// Where the next page begins; none where this is the last.
    pub next: Option<Marker>,
}

/// A vendor's name for a place in a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Marker(Arc<str>);

/// File or folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EntryKind {
    /// Has bytes.
    File,
    /// Has children.
    Folder,
}

/// A file or folder as the vendor lists it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The vendor's id.
    pub id: EntryId,
    /// The name as the vendor gives it; upstream text.
    pub name: Arc<str>,
    /// File or folder.
    pub kind: EntryKind,
    /// Length in bytes; 0 for folders.
    pub len: u64,
    /// Last change.
    pub modified: Option<SystemTime>,
    /// The vendor's hash of the content, where it gives one; upstream text.
    pub hash: Option<Arc<str>>,
    /// How long the film is, where the vendor knows it.
    pub duration: Option<Duration>,
    /// Worked out when it is first asked for.
    pub version: Version,
}

/// What tells this version of a file from others: the same on every node and after every new link.
#[derive(Clone, Debug, Default)]
pub struct Version(OnceLock<[u8; 16]>);

/// How to get at the bytes of a file.
#[derive(Clone, Debug)]
pub enum Source {
    /// By an address that the drive signed.
    Link(Link),
    /// By reading here; there is nothing to redirect to.
    Open(Arc<dyn ReadRange>),
}

/// A file that can be read in this process.
#[async_trait]
pub trait ReadRange: Debug + Send + Sync + 'static {
    /// The bytes of `range`, which lies within the file. A body that ends early fails rather than being short.
    async fn read(&self, range: ByteRange) -> Result<Body>;
}

/// A lease on the bytes of one entry.
#[derive(Clone, Debug)]
pub struct Link {
    /// The address; a credential.
    pub url: SignedUrl,
    /// Headers that a request for it must carry.
    pub headers: HeaderMap,
    /// How long it is good.
    pub life: Life,
}

/// The transcoded forms of one video.
#[derive(Clone, Debug)]
pub struct Preview {
    /// In ascending quality.
    pub variants: Vec<Variant>,
    /// Text tracks.
    pub subtitles: Vec<Subtitle>,
    /// How long the film is.
    pub duration: Duration,
    /// How long the addresses are good.
    pub life: Life,
}

/// One transcoded form.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Lower-case ASCII, as it stands in our addresses: `ld`, `sd`, `hd`, `fhd`, `qhd`.
    pub id: Arc<str>,
    /// Pixels; 0 where unknown.
    pub width: u32,
    /// Pixels; 0 where unknown.
    pub height: u32,
    /// Whether it can be played.
    pub state: VariantState,
}

/// Whether a variant can be played.
#[derive(Clone, Debug)]
pub enum VariantState {
    /// It cannot be made.
    Failed,
    /// It is being made.
    Preparing,
    /// Its media playlist lies here.
    Ready(SignedUrl),
    /// It exists, but this account may not have it.
    Withheld,
}

/// One text track, as WebVTT.
#[derive(Clone, Debug)]
pub struct Subtitle {
    /// BCP 47, as it stands in our addresses: `zh`, `en`.
    pub language: Arc<str>,
    /// Where it lies.
    pub url: SignedUrl,
}

/// What a driver is given to work with.
#[derive(Clone, Debug)]
pub struct Context {
    /// Time.
    pub clock: Clock,
    /// For API calls.
    pub client: reqwest::Client,
    /// Where it may keep state, below a folder of its own name.
    pub state_dir: PathBuf,
    /// What is asked is told to these.
    pub calls: Calls,
    /// For what must not lie there in the clear.
    pub sealer: Arc<Sealer>,
    /// Longest time a call may wait for its turn.
    pub hold: Duration,
    /// Where fetches run that outlive their caller.
    pub tasks: TaskTracker,
    /// What several mounts of one account share.
    pub shared: Shared,
}

/// A driver's options, read and checked, not opened yet.
pub trait Unopened: Debug + Send + Sync + 'static {
    /// Makes the driver. Contacts nobody.
    ///
    /// # Errors
    /// `Internal` where this machine lacks what the driver needs, such as the folder to serve.
    fn open(&self, context: &Context) -> Result<Arc<dyn Driver>>;
}

/// Values that several mounts share, by type and key.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<HashMap<(TypeId, String), AnyValue>>>);

type AnyValue = Arc<dyn Any + Send + Sync>;

// === impl EntryId ===

impl EntryId {
    /// Wraps a vendor's id.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id as the vendor writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl Marker ===

impl Marker {
    /// Wraps a vendor's marker.
    pub fn new(marker: impl Into<Arc<str>>) -> Self {
        Self(marker.into())
    }

    /// The marker as the vendor writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl Entry ===

impl Entry {
    /// A folder of which nothing more is known.
    pub fn folder(id: EntryId, name: &str) -> Self {
        Self {
            id,
            name: Arc::from(name),
            kind: EntryKind::Folder,
            len: 0,
            modified: None,
            hash: None,
            duration: None,
            version: Version::default(),
        }
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.kind == EntryKind::Folder
    }

    /// The version of the file: from the content hash and the length where there is a hash, else from id, length and time.
    pub fn version(&self) -> [u8; 16] {
        *self.version.0.get_or_init(|| {
            let mut digest = Sha256::new();
            match &self.hash {
                Some(hash) => digest.update(hash.as_bytes()),
                None => {
                    digest.update(self.id.as_str().as_bytes());
                    let modified = self.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                    digest.update(modified.unwrap_or_default().as_nanos().to_be_bytes());
                }
            }
            digest.update(self.len.to_be_bytes());
            let mut version = [0; 16];
            version.copy_from_slice(&digest.finalize()[..16]);
            version
        })
    }

    /// The hash of the content, where it is a SHA-1 in hexadecimal; what drives give is upstream text.
    pub fn sha1(&self) -> Option<&str> {
        let is_it = |hash: &&str| hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.hash.as_deref().filter(is_it)
    }

    /// What HTTP compares this version of the file by.
    pub fn validators(&self) -> Validators {
        let mut etag = String::with_capacity(34);
        etag.push('"');
        data_encoding::HEXLOWER.encode_append(&self.version(), &mut etag);
        etag.push('"');
        Validators { etag, modified: self.modified }
    }
}

// === impl Link ===

impl Lease for Link {
    fn life(&self) -> Life {
        self.life
    }
}

// === impl Preview ===

impl Preview {
    /// The variants that can be played, in ascending quality, each with the address of its media playlist.
    pub fn playable(&self) -> impl Iterator<Item = (&Variant, &SignedUrl)> {
        self.variants.iter().filter_map(|variant| match &variant.state {
            VariantState::Ready(url) => Some((variant, url)),
            VariantState::Failed | VariantState::Preparing | VariantState::Withheld => None,
        })
    }
}

impl Lease for Preview {
    fn life(&self) -> Life {
        self.life
    }
}

// === impl Shared ===

impl Shared {
    /// The value under `key`, made now if it is not there yet.
    pub fn get_or_make<T: Send + Sync + 'static>(&self, key: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value =
            values.entry((TypeId::of::<T>(), key.to_owned())).or_insert_with(|| Arc::new(make()) as AnyValue);
        Arc::clone(value).downcast().expect("the key carries the type")
    }
}
