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

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tokio_util::sync::CancellationToken;

use self::manifest::{Kind, Manifest, Record};
pub use self::notice::MediaServer;
use self::plan::{Action, Plan};
use self::walk::{File, Seen};
use crate::access::keys::Keys;
use crate::budget::{Errand, Priority};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::http::body::read_limited;
use crate::http::range::ByteRange;
use crate::path::VirtualPath;
use crate::resolve::BoxResolve;
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
    /// Whether the files beside films go along: subtitles, pictures, descriptions.
    pub side_files: bool,
    /// How long between two runs of the server's own; none for none.
    pub every: Option<Duration>,
    /// Who is told of changes.
    pub media_server: Option<MediaServer>,
}

/// Exports trees. Clones share everything.
#[derive(Clone, Debug)]
pub struct Exporter {
    clock: Clock,
    engine: Engine,
    keys: Arc<Keys>,
    /// In front of every address.
    origin: String,
    resolve: BoxResolve,
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
    /// An exporter of what `resolve` finds; addresses begin with `origin` and are signed with `keys`.
    pub fn new(resolve: BoxResolve, engine: Engine, keys: Keys, origin: String, clock: Clock) -> Self {
        Self { clock, engine, keys: Arc::new(keys), origin, resolve }
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

    /// Exports a tree once. Dropped in the middle, it loses nothing, but what was written last is not known at the next run, which
    /// reports those files as somebody else's and leaves them.
    ///
    /// # Errors
    /// Where the tree itself cannot be listed, or the folder that it goes to not be used; then nothing has changed there.
    pub async fn run(&self, settings: &Settings, allow_delete: bool) -> Result<Report> {
        // Nobody waits for it: players and people go first.
        let errand = Errand::new(Priority::Background, PARTY);
        let seen = errand.clone().doing(walk::walk(&self.resolve, &settings.path)).await?;
        let out = settings.out.clone();
        let dir = Arc::new(blocking(move || open(&out)).await?);
        let reading = Arc::clone(&dir);
        let mut manifest = blocking(move || Manifest::read(&reading)).await?;
        let plan = plan::plan(&seen, &mut manifest, settings.side_files, allow_delete);
        let mut report = Report {
            missing: plan.missing,
            too_many_missing: plan.too_many_missing,
            failed_folders: seen.failed.iter().map(ToString::to_string).collect(),
            ..Report::default()
        };
        let mut changed = BTreeSet::new();
        let done = errand.doing(self.carry_out(
            settings,
            &dir,
            &seen,
            plan,
            &mut manifest,
            &mut report,
            &mut changed,
        ));
        let done = done.await;
        // What was done is written down whatever came of the rest.
        let text = manifest.to_text();
        blocking(move || Manifest::write(&dir, &text)).await?;
        done?;
        if let Some(server) = &settings.media_server
            && !changed.is_empty()
        {
            let folders = changed.iter().map(|folder| settings.out.join(folder)).collect();
            if let Err(error) = server.tell(folders).await {
                tracing::warn!(%error, "the media server was not told");
                report.failed_files.push("the media server was not told what has changed".to_owned());
            }
        }
        Ok(report)
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `run`, split off to be read by itself")]
    async fn carry_out(
        &self,
        settings: &Settings,
        dir: &Arc<Dir>,
        seen: &Seen,
        plan: Plan,
        manifest: &mut Manifest,
        report: &mut Report,
        changed: &mut BTreeSet<String>,
    ) -> Result<()> {
        for (number, action) in plan.actions.into_iter().enumerate() {
            let (source, local) = match &action {
                Action::Put { source, local } => (source.clone(), local.clone()),
                Action::Remove { source, local } => (source.clone(), local.clone()),
            };
            let done = match &action {
                Action::Remove { .. } => self.remove(dir, &source, &local, manifest).await,
                Action::Put { .. } => {
                    let Some(file) = seen.files.get(&source) else { continue };
                    self.put(settings, dir, file, &source, &local, manifest).await
                }
            };
            match done {
                Ok(Done::Kept) => report.kept += 1,
                Ok(Done::Removed) => report.removed += 1,
                Ok(Done::Written) => report.written += 1,
                Err(error) => {
                    tracing::warn!(%error, file = local, "not exported");
                    report.failed_files.push(format!("{local}: {}", error.words()));
                    continue;
                }
            }
            if matches!(done, Ok(Done::Removed | Done::Written)) {
                changed.insert(local.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned());
                if number % SAVED_EACH == SAVED_EACH - 1 {
                    let (dir, text) = (Arc::clone(dir), manifest.to_text());
                    blocking(move || Manifest::write(&dir, &text)).await?;
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
        let (kind, content) = if file.is_film {
            let address = self.address(settings, &path, known.as_ref())?;
            (Kind::Address(address.clone()), Some(address + "\n"))
        } else {
            (Kind::Copy(data_encoding::HEXLOWER.encode(&file.known.entry.version())), None)
        };
        let len = content.as_ref().map_or(file.known.entry.len, |content| content.len() as u64);
        let as_known = known.as_ref().is_some_and(|known| known.kind == kind && known.local == local);
        let there = {
            let (dir, local) = (Arc::clone(dir), local.to_owned());
            blocking(move || Ok(dir.symlink_metadata(local).ok().map(|found| found.len()))).await?
        };
        let record = Record { local: local.to_owned(), kind, len, missing: 0 };
        if as_known && there == Some(len) {
            manifest.set(source, record);
            return Ok(Done::Kept);
        }
        let is_ours = known.as_ref().is_some_and(|known| known.local == local && there == Some(known.len));
        if there.is_some() && !is_ours {
            return Err(Error::new(ErrorKind::Denied, "export a file")
                .saying("there is a file of this name that this export has not written"));
        }
        let bytes = match content {
            Some(content) => content.into_bytes(),
            None => self.bytes(file, &path).await?,
        };
        let (dir, to) = (Arc::clone(dir), local.to_owned());
        blocking(move || write(&dir, &to, &bytes)).await?;
        manifest.set(source, record);
        Ok(Done::Written)
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
        let origin = FileOrigin::new(self.resolve.clone(), path.clone(), file.known.clone());
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
        let len = manifest.get(source).map(|known| known.len);
        let (dir, at) = (Arc::clone(dir), local.to_owned());
        blocking(move || {
            match dir.symlink_metadata(&at) {
                // Somebody has put another one there.
                Ok(found) if Some(found.len()) != len => return Ok(()),
                Ok(_) => dir.remove_file(&at)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            // Folders that are empty now; one that is not stays.
            let mut folder = at.as_str();
            while let Some((above, _)) = folder.rsplit_once('/') {
                folder = above;
                if dir.remove_dir(folder).is_err() {
                    break;
                }
            }
            Ok(())
        })
        .await?;
        manifest.forget(source);
        Ok(Done::Removed)
    }
}

/// What came of one file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Done {
    Kept,
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

fn open(out: &std::path::Path) -> std::io::Result<Dir> {
    std::fs::create_dir_all(out)?;
    Dir::open_ambient_dir(out, ambient_authority())
}

/// Writes a file whole or not at all. It may be read by others: media servers run as somebody else.
fn write(dir: &Dir, local: &str, bytes: &[u8]) -> std::io::Result<()> {
    let (folder, name) = local.rsplit_once('/').unwrap_or(("", local));
    if !folder.is_empty() {
        dir.create_dir_all(folder)?;
    }
    let hash = names::short_hash(name);
    let temporary =
        if folder.is_empty() { format!(".{hash}.part") } else { format!("{folder}/.{hash}.part") };
    dir.write(&temporary, bytes)?;
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
    let fault = |error| {
        Error::new(ErrorKind::Internal, OPERATION)
            .saying("the folder of the export cannot be used")
            .caused_by(error)
    };
    done.map_err(|error| Error::new(ErrorKind::Internal, OPERATION).caused_by(error))?.map_err(fault)
}

/// Among those whose calls go round.
const PARTY: u64 = u64::MAX;
/// Bytes; chosen: pictures and subtitles are far smaller, and it is held in memory.
const LARGEST: usize = 32 << 20;
/// Files after which what was done is written down; chosen: a kill leaves about that many that the next run does not know.
const SAVED_EACH: usize = 2000;
