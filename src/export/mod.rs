//! Trees of `.strm` files: each film of a tree as a small file that holds its address, for media servers that read folders.
//!
//! It cannot destroy. A folder that could not be listed is left as it is, and so is all below it; a file goes only after two whole listings
//! without it, never more than a tenth of the tree at once unless that is asked for, and never one that somebody else has written. What has not
//! changed is not touched. What is where, and why, is kept in the tree itself, in `.sluice-export`.
//!
//! `walk` lists, `plan` decides, this file writes, `notice` tells media servers.

mod manifest;
mod names;
mod notice;
mod plan;
mod walk;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use self::manifest::{Kind, Manifest, Record};
pub use self::notice::MediaServer;
use self::plan::{Action, Plan, Step};
use self::walk::{File, Seen};
use crate::access::keys::Keys;
use crate::budget::{Errand, Priority};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::http::body::read_limited;
use crate::http::range::ByteRange;
use crate::path::VirtualPath;
use crate::resolve::{Known, Resolver};
use crate::serve::addresses::{self, Route};
use crate::stream::{Audience, Engine, FileOrigin};

/// One tree to export.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What of our tree.
    pub path: VirtualPath,
    /// Where it goes; made where it is not there.
    pub out: PathBuf,
    /// Whether films are exported as HLS rather than as they are.
    pub hls: bool,
    /// How the files beside films go along: subtitles, pictures, descriptions.
    pub side_files: SideFiles,
    /// How long between two runs of the server's own; none for none.
    pub every: Option<Duration>,
    /// Who is told of changes.
    pub media_server: Option<MediaServer>,
}

/// What is done with files beside films.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SideFiles {
    /// They are copied.
    Copy,
    /// Those that lie on this machine are linked to (symbolically), and the others copied.
    Link,
    /// Nothing.
    None,
}

/// Exports trees. Clones share everything.
#[derive(Clone, Debug)]
pub struct Exporter {
    clock: Clock,
    engine: Engine,
    keys: Arc<Keys>,
    /// In front of every address.
    origin: String,
    resolver: Resolver,
}

/// What a run has done.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Files that are as they should be.
    pub kept: usize,
    /// Files written.
    pub written: usize,
    /// Files removed.
    pub removed: usize,
    /// Files that the drive did not list, and that are still there.
    pub missing: usize,
    /// Whether they are too many to be removed without being asked for.
    pub too_many_missing: bool,
    /// Folders that could not be listed.
    pub failed_folders: Vec<String>,
    /// Files that could not be written, or are somebody else's.
    pub failed_files: Vec<String>,
}

// === impl Exporter ===

impl Exporter {
    /// An exporter of what `resolver` finds; addresses begin with `origin` and are signed with `keys`.
    pub fn new(resolver: Resolver, engine: Engine, keys: Keys, origin: String, clock: Clock) -> Self {
        Self { clock, engine, keys: Arc::new(keys), origin, resolver }
    }

    /// Exports a tree each time that its settings say, until `stop`.
    pub async fn keep(self, settings: Settings, stop: CancellationToken) {
        let Some(every) = settings.every else { return };
        while tokio::time::timeout(every, stop.cancelled()).await.is_err() {
            let run = stop.run_until_cancelled(self.run(&settings, false));
            match run.await {
                None => return,
                Some(Ok(report)) if report.is_whole() => {
                    tracing::info!(path = %settings.path, %report, "exported");
                }
                Some(Ok(report)) => tracing::warn!(path = %settings.path, %report, "exported in part"),
                Some(Err(error)) => tracing::error!(path = %settings.path, %error, "not exported"),
            }
        }
    }

    /// Exports a tree once. Dropped in the middle, it loses nothing: the next run reads what was written last and not noted any more, and
    /// knows it again where it would write the same.
    ///
    /// # Errors
    /// Where the tree itself cannot be listed, or the folder that it goes to not be used; then nothing has changed there.
    pub async fn run(&self, settings: &Settings, allow_delete: bool) -> Result<Report> {
        // Nobody waits for it: players and people go first.
        let errand = Errand::new(Priority::Background, PARTY);
        let seen = errand.clone().doing(walk::walk(&self.resolver, &settings.path)).await?;
        let out = settings.out.clone();
        let (dir, _lock) = blocking(move || open(&out)).await?;
        let dir = Arc::new(dir);
        let reading = Arc::clone(&dir);
        let mut manifest = blocking(move || Manifest::read(&reading)).await?;
        let plan = plan::plan(&seen, &mut manifest, settings.side_files != SideFiles::None, allow_delete);
        let mut report = Report {
            missing: plan.missing,
            too_many_missing: plan.too_many_missing,
            failed_folders: seen.failed.iter().map(ToString::to_string).collect(),
            ..Report::default()
        };
        let done =
            errand.doing(self.carry_out(settings, &dir, &seen, plan, &mut manifest, &mut report)).await;
        // What was done is written down whatever came of the rest, and what is still to be told.
        save(&dir, &manifest).await?;
        if let Some(server) = &settings.media_server
            && !manifest.untold.is_empty()
        {
            let out = std::path::absolute(&settings.out).unwrap_or_else(|_| settings.out.clone());
            let folders = manifest.untold.iter().map(|folder| out.join(folder)).collect();
            match server.tell(folders).await {
                Ok(()) => {
                    manifest.untold.clear();
                    save(&dir, &manifest).await?;
                }
                Err(error) => {
                    tracing::warn!(%error, "the media server was not told");
                    report.failed_files.push("the media server was not told what has changed".to_owned());
                }
            }
        }
        done?;
        Ok(report)
    }

    async fn carry_out(
        &self,
        settings: &Settings,
        dir: &Arc<Dir>,
        seen: &Seen,
        plan: Plan,
        manifest: &mut Manifest,
        report: &mut Report,
    ) -> Result<()> {
        let mut unsaved = 0;
        for Action { source, local, step } in plan.actions {
            let done = match (step, seen.files.get(&source)) {
                (Step::Remove, _) => self.remove(dir, &source, &local, manifest).await,
                (Step::Put, Some(file)) => self.put(settings, dir, file, &source, &local, manifest).await,
                (Step::Put, None) => continue,
            };
            match done {
                Ok(Done::Kept) => report.kept += 1,
                Ok(Done::Left) => {}
                Ok(Done::Removed) => report.removed += 1,
                Ok(Done::Written) => report.written += 1,
                Err(error) => {
                    tracing::warn!(%error, file = local, "not exported");
                    report.failed_files.push(format!("{local}: {}", error.words()));
                    continue;
                }
            }
            if matches!(done, Ok(Done::Removed | Done::Written)) {
                if settings.media_server.is_some() {
                    manifest
                        .untold
                        .insert(local.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned());
                }
                unsaved += 1;
                if unsaved == SAVED_EACH {
                    unsaved = 0;
                    save(dir, manifest).await?;
                }
            }
        }
        Ok(())
    }

    async fn put(
        &self,
        settings: &Settings,
        dir: &Arc<Dir>,
        file: &File,
        source: &str,
        local: &str,
        manifest: &mut Manifest,
    ) -> Result<Done> {
        let known = manifest.get(source).cloned();
        let path = VirtualPath::parse(source)?.below(&settings.path)?;
        let kind = self.kind(settings, file, &path, known.as_ref())?;
        let len = match &kind {
            // And a line break.
            Kind::Address(address) => address.len() as u64 + 1,
            Kind::Copy(_) => file.known.entry.len,
            Kind::Link(target) => target.len() as u64,
        };
        let as_known = known.as_ref().is_some_and(|known| known.kind == kind && known.local == local);
        let there = {
            let (dir, local) = (Arc::clone(dir), local.to_owned());
            blocking(move || Ok(dir.symlink_metadata(local).ok().map(|found| found.len()))).await?
        };
        if let Some(known) = known.as_ref().filter(|_| as_known && there == Some(len)) {
            manifest.set(source, Record { missing: 0, ..known.clone() });
            return Ok(Done::Kept);
        }
        let is_in_the_way = match known.filter(|known| known.local == local) {
            None => there.is_some_and(|len| len > 0),
            Some(known) => {
                let dir = Arc::clone(dir);
                !blocking(move || Ok(is_ours(&dir, &known))).await?
            }
        };
        if is_in_the_way && there != Some(len) {
            return Err(in_the_way());
        }
        let mut record =
            Record { local: local.to_owned(), kind: kind.clone(), len, sha256: String::new(), missing: 0 };
        let content = match kind {
            Kind::Address(address) => Content::Bytes((address + "\n").into_bytes()),
            Kind::Copy(_) => Content::Bytes(self.bytes(file, &path).await?),
            Kind::Link(target) => Content::Link(target),
        };
        if let (Content::Bytes(bytes), Kind::Copy(_)) = (&content, &record.kind) {
            record.sha256 = sha256(bytes);
        }
        let (dir, to) = (Arc::clone(dir), local.to_owned());
        let is_done = blocking(move || match is_in_the_way {
            // What an export wrote that was ended before it could note it is what it would write now.
            true => Ok(is_same(&dir, &to, &content)),
            false => write(&dir, &to, &content).map(|()| true),
        });
        if !is_done.await? {
            return Err(in_the_way());
        }
        manifest.set(source, record);
        Ok(if is_in_the_way { Done::Kept } else { Done::Written })
    }

    /// What is to be in a file.
    fn kind(
        &self,
        settings: &Settings,
        file: &File,
        path: &VirtualPath,
        known: Option<&Record>,
    ) -> Result<Kind> {
        if file.is_film {
            return self.address(settings, path, known).map(Kind::Address);
        }
        let Known { mount, entry } = &file.known;
        let there = Some(entry).filter(|_| settings.side_files == SideFiles::Link);
        let there = there.and_then(|entry| mount.driver.local_file(entry));
        Ok(match there.and_then(|there| there.into_os_string().into_string().ok()) {
            Some(there) => Kind::Link(there),
            None => Kind::Copy(data_encoding::HEXLOWER.encode(&entry.version())),
        })
    }

    /// The address in a `.strm` file: the one that is there already, as long as its signature holds.
    fn address(&self, settings: &Settings, path: &VirtualPath, known: Option<&Record>) -> Result<String> {
        let now = self.clock.wall().as_secs();
        let (route, below) = if settings.hls { (Route::Hls, "/master.m3u8") } else { (Route::Content, "") };
        if let Some(Kind::Address(address)) = known.map(|known| &known.kind)
            && let Some((_, sign)) = address.split_once("?sign=")
            && let Ok(sign) = percent_encoding::percent_decode_str(sign).decode_utf8()
            && *address == addresses::exported(&self.origin, route, path, below, &sign)
            && self.keys.verify(path, &sign, now)
        {
            return Ok(address.clone());
        }
        let sign = self.keys.sign(path, 0, now)?;
        Ok(addresses::exported(&self.origin, route, path, below, &sign))
    }

    /// A small file's bytes.
    async fn bytes(&self, file: &File, path: &VirtualPath) -> Result<Vec<u8>> {
        let len = file.known.entry.len;
        if len > LARGEST as u64 {
            return Err(
                Error::new(ErrorKind::Unsupported, "export a file").saying("it is larger than 32 MiB")
            );
        }
        let origin = FileOrigin::new(self.resolver.clone(), path.clone(), file.known.clone());
        let audience = Audience { may_probe: false, patience: Duration::ZERO };
        let info = file.known.mount.driver.info();
        let body = self.engine.part(origin, info, ByteRange::whole(len), audience).await?;
        read_limited(body, LARGEST, "export a file").await
    }

    async fn remove(
        &self,
        dir: &Arc<Dir>,
        source: &str,
        local: &str,
        manifest: &mut Manifest,
    ) -> Result<Done> {
        let known = manifest.get(source).cloned();
        let (dir, at) = (Arc::clone(dir), local.to_owned());
        let done = blocking(move || {
            if !known.is_some_and(|known| is_ours(&dir, &known)) {
                return Ok(Done::Left);
            }
            match dir.remove_file(&at) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // Folders that are empty now; one that is not stays.
            let mut folder = at.as_str();
            while let Some((above, _)) = folder.rsplit_once('/') {
                folder = above;
                if dir.remove_dir(folder).is_err() {
                    break;
                }
            }
            Ok(Done::Removed)
        })
        .await?;
        manifest.forget(source);
        Ok(done)
    }
}

/// What came of one file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Done {
    Kept,
    /// Somebody has put another one in the place of what was to be removed, and it is theirs.
    Left,
    Removed,
    Written,
}

// === impl Report ===

impl Report {
    /// Whether all is as the drive has it.
    pub fn is_whole(&self) -> bool {
        self.failed_folders.is_empty() && self.failed_files.is_empty() && !self.too_many_missing
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kept, written, removed, missing, .. } = self;
        write!(f, "{written} written, {kept} as they were, {removed} removed")?;
        if *missing > 0 {
            write!(f, ", {missing} no longer listed and still there")?;
        }
        for (what, which) in [("folders", &self.failed_folders), ("files", &self.failed_files)] {
            if !which.is_empty() {
                write!(f, ", {} {what} failed", which.len())?;
            }
        }
        if self.too_many_missing {
            f.write_str(
                "; that is more than a tenth of the tree: nothing is removed without --allow-delete",
            )?;
        }
        Ok(())
    }
}

/// The folder of an export, and what keeps other exports out of it meanwhile, where the system can.
fn open(out: &std::path::Path) -> std::io::Result<(Dir, Option<std::fs::File>)> {
    std::fs::create_dir_all(out)?;
    let lock = if cfg!(unix) { Some(std::fs::File::open(out)?) } else { None };
    if let Some(Err(std::fs::TryLockError::WouldBlock)) = lock.as_ref().map(std::fs::File::try_lock) {
        return Err(std::io::ErrorKind::WouldBlock.into());
    }
    Ok((Dir::open_ambient_dir(out, ambient_authority())?, lock))
}

async fn save(dir: &Arc<Dir>, manifest: &Manifest) -> Result<()> {
    let (dir, text) = (Arc::clone(dir), manifest.to_text());
    blocking(move || Manifest::write(&dir, &text)).await
}

/// What a file is made of.
enum Content {
    Bytes(Vec<u8>),
    Link(String),
}

fn in_the_way() -> Error {
    Error::new(ErrorKind::Denied, "export a file")
        .saying("there is a file of this name that this export has not written")
}

fn sha256(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Whether what is there is what we wrote: it, nothing at all, or an empty file, as a power cut leaves one.
fn is_ours(dir: &Dir, known: &Record) -> bool {
    match (dir.symlink_metadata(&known.local), &known.kind) {
        (Err(error), _) => error.kind() == std::io::ErrorKind::NotFound,
        (Ok(found), _) if found.is_file() && found.len() == 0 => true,
        (Ok(_), Kind::Link(target)) => is_same(dir, &known.local, &Content::Link(target.clone())),
        (Ok(found), _) if found.len() != known.len => false,
        (Ok(_), Kind::Copy(_)) => dir.read(&known.local).is_ok_and(|there| sha256(&there) == known.sha256),
        (Ok(_), Kind::Address(address)) => {
            is_same(dir, &known.local, &Content::Bytes(format!("{address}\n").into_bytes()))
        }
    }
}

/// Whether this is what is there already.
fn is_same(dir: &Dir, local: &str, content: &Content) -> bool {
    match content {
        Content::Bytes(bytes) => dir.read(local).is_ok_and(|there| there == *bytes),
        Content::Link(target) => {
            dir.read_link_contents(local).is_ok_and(|there| there == std::path::Path::new(target))
        }
    }
}

/// Writes a file whole or not at all. It may be read by others: media servers run as somebody else.
fn write(dir: &Dir, local: &str, content: &Content) -> std::io::Result<()> {
    let (folder, name) = local.rsplit_once('/').unwrap_or(("", local));
    if !folder.is_empty() {
        dir.create_dir_all(folder)?;
    }
    let hash = names::short_hash(name);
    let temporary =
        if folder.is_empty() { format!(".{hash}.part") } else { format!("{folder}/.{hash}.part") };
    match content {
        Content::Bytes(bytes) => dir.write(&temporary, bytes)?,
        #[cfg(unix)]
        Content::Link(target) => {
            // What is left of a run that was ended.
            let _ = dir.remove_file(&temporary);
            dir.symlink_contents(target, &temporary)?;
        }
        #[cfg(not(unix))]
        Content::Link(_) => return Err(std::io::ErrorKind::Unsupported.into()),
    }
    dir.rename(&temporary, dir, local).inspect_err(|_| {
        // It is of no use, and nobody else's.
        let _ = dir.remove_file(&temporary);
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    const OPERATION: &str = "write an export";
    let done = tokio::task::spawn_blocking(work).await;
    let fault = |error: std::io::Error| {
        let words = match error.kind() {
            std::io::ErrorKind::WouldBlock => "another export into this folder is under way",
            _ => "the folder of the export cannot be used",
        };
        Error::new(ErrorKind::Internal, OPERATION).saying(words).caused_by(error)
    };
    done.map_err(|error| Error::new(ErrorKind::Internal, OPERATION).caused_by(error))?.map_err(fault)
}

/// Among those whose calls go round.
const PARTY: u64 = u64::MAX;
/// Bytes; chosen: pictures and subtitles are far smaller, and it is held in memory.
const LARGEST: usize = 32 << 20;
/// Files after which what was done is written down; chosen: after a kill the next run reads that many at most.
const SAVED_EACH: usize = 2000;
