//! `sluice doctor`: every hop from the login to a film's bytes, tried once, and what is wrong where one fails.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use sluice::app;
use sluice::clock::Clock;
use sluice::config::Config;
use sluice::driver::{Calls, Note, Preview, Source};
use sluice::error::{Error, ErrorKind, Result as Outcome};
use sluice::http::body::read_limited;
use sluice::http::content::ContentClient;
use sluice::http::range::ByteRange;
use sluice::lease::Spare;
use sluice::mount::Mount;
use sluice::path::VirtualPath;
use sluice::resolve::{Counters, Grant, ResolveRequest, Resolved, Resolver, Want};
use sluice::serve::media_type::{Kind, kind_of};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{Failure, print};

/// What was found so far.
struct Doctor {
    client: ContentClient,
    resolver: Resolver,
    /// Hops that failed, or that could not be tried.
    amiss: u32,
}

/// How a hop that did not fail ended.
enum Found<T> {
    Ok(T),
    /// The drive has no such thing, and that is no fault.
    Skipped(&'static str),
}

pub(super) async fn run(path: Option<&str>, config: &Config) -> Result<(), Failure> {
    let (tasks, clock) = (TaskTracker::new(), Clock::new());
    let run = |error: Error| Failure::Run(error.to_string());
    let mounts = app::mounts(config, &clock, &Calls::new(), &tasks).map_err(run)?;
    let resolver = Resolver::new(
        std::sync::Arc::clone(&mounts),
        &config.cache,
        None,
        clock,
        &tasks,
        Counters::default(),
    );
    let client = ContentClient::new().map_err(run)?;
    let mut doctor = Doctor { client, resolver, amiss: 0 };
    match path {
        Some(path) => {
            let path = VirtualPath::parse(path).map_err(|error| Failure::Usage(error.words().to_owned()))?;
            let Some((mount, _)) = mounts.find(&path) else {
                return Err(Failure::Run(format!("no mount holds {path}")));
            };
            doctor.examine(mount, &path).await?;
        }
        None => {
            for mount in mounts.iter() {
                doctor.examine(mount, &mount.path).await?;
            }
        }
    }
    match doctor.amiss {
        0 => print("every hop is ok"),
        amiss => Err(Failure::Run(format!("{amiss} hops failed or could not be tried"))),
    }
}

impl Doctor {
    /// Tries every hop to `path`, or to the first film below it.
    async fn examine(&mut self, mount: &Mount, path: &VirtualPath) -> Result<(), Failure> {
        print(&format!("{} ({})", mount.path, mount.driver.info().name))?;
        let token = self.hop("token", mount.driver.authorize()).await?;
        let drives = match token {
            Some(()) => self.hop("drive info", mount.driver.prepare()).await?,
            None => self.untried(&["drive info"])?,
        };
        if drives.is_some() {
            self.notes(mount).await?;
        }
        let film = match drives {
            Some(()) => {
                let resolver = self.resolver.clone();
                self.hop("listing", film_below(resolver, path.clone())).await?
            }
            None => self.untried(&["listing"])?,
        };
        let Some(film) = film else { return self.untried::<()>(&LAST_HOPS).map(drop) };
        let Some(film) = film else {
            print("        there is no file here to go on with; name one: sluice doctor PATH")?;
            return self.untried::<()>(&LAST_HOPS).map(drop);
        };
        print(&format!("        going on with {film}"))?;
        let link = Want::Source { spare: Spare::HandOut, failed: None };
        let source = self.hop("link", self.ask(&film, link)).await?;
        match source {
            Some(Resolved { grant: Grant::Source(lease), entry, .. }) => {
                let client = self.client.clone();
                let len = entry.len.min(SAMPLE);
                self.hop("ranged read", read(client, lease.source.clone(), len)).await?
            }
            _ => self.untried(&["ranged read"])?,
        };
        let preview = self.ask(&film, Want::Preview { failed: None });
        let preview = async {
            match preview.await {
                Ok(found) => found.into_preview().map(Found::Ok),
                Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Found::Skipped(error.words())),
                Err(error) => Err(error),
            }
        };
        let preview = self.hop_or_skip("preview", preview).await?;
        match preview {
            Some(Found::Ok(preview)) => {
                let client = self.client.clone();
                self.hop_or_skip("playlist", playlist(client, &preview)).await?;
            }
            Some(Found::Skipped(_)) => print(&line("skipped", "playlist", None, "there is no preview"))?,
            None => drop(self.untried::<()>(&["playlist"])?),
        }
        Ok(())
    }

    /// What is known of the account. No hop: nothing of it counts as amiss.
    async fn notes(&self, mount: &Mount) -> Result<(), Failure> {
        let asked = mount.driver.look_up_account().await;
        let Some(facts) = mount.driver.account() else { return Ok(()) };
        let unknown = asked.err().map(|error| Note {
            text: format!("the drive does not say all about the account: {}", error.words()),
            advice: None,
        });
        let budget = facts.budget().map(|text| Note { text, advice: None });
        for note in facts.notes().into_iter().chain(budget).chain(unknown) {
            print(&format!("note    {}", note.text))?;
            if let Some(advice) = note.advice {
                print(&format!("        {advice}"))?;
            }
        }
        Ok(())
    }

    fn ask(&self, path: &VirtualPath, want: Want) -> impl Future<Output = Outcome<Resolved>> + use<> {
        ask(self.resolver.clone(), path.clone(), want)
    }

    async fn hop<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = Outcome<T>>,
    ) -> Result<Option<T>, Failure> {
        let found = self.hop_or_skip(name, async { work.await.map(Found::Ok) }).await?;
        Ok(found.and_then(|found| match found {
            Found::Ok(value) => Some(value),
            Found::Skipped(_) => None,
        }))
    }

    async fn hop_or_skip<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = Outcome<Found<T>>>,
    ) -> Result<Option<Found<T>>, Failure> {
        let started = Instant::now();
        let found = work.await;
        let took = Some(started.elapsed());
        match &found {
            Ok(Found::Ok(_)) => print(&line("ok", name, took, ""))?,
            Ok(Found::Skipped(why)) => print(&line("skipped", name, took, why))?,
            Err(error) => {
                self.amiss += 1;
                // The words alone: an error's context may quote the drive.
                print(&line("failed", name, took, error.words()))?;
                print(&format!("        {}", advice(error.kind())))?;
            }
        }
        Ok(found.ok())
    }

    /// Hops that what came before has made impossible.
    fn untried<T>(&mut self, names: &[&str]) -> Result<Option<T>, Failure> {
        for name in names {
            self.amiss += 1;
            print(&line("skipped", name, None, "what it needs is missing"))?;
        }
        Ok(None)
    }
}

async fn ask(resolver: Resolver, path: VirtualPath, want: Want) -> Outcome<Resolved> {
    resolver.resolve(ResolveRequest { path, want, known: None }).await
}

/// The path itself where it is a file, else a video below it, else any file; none where a few folders hold none.
async fn film_below(resolver: Resolver, path: VirtualPath) -> Outcome<Option<VirtualPath>> {
    let entry = ask(resolver.clone(), path.clone(), Want::Entry).await?.entry;
    if !entry.is_folder() {
        let folder = path.parent().unwrap_or_else(VirtualPath::root);
        ask(resolver, folder, Want::Children { fresh: false }).await?;
        return Ok(Some(path));
    }
    let (mut folders, mut any) = (VecDeque::from([path]), None);
    for _ in 0..MOST_FOLDERS {
        let Some(folder) = folders.pop_front() else { break };
        let listing = ask(resolver.clone(), folder.clone(), Want::Children { fresh: false }).await?;
        let listing = listing.into_children()?;
        let mut pages = std::pin::pin!(listing.pages());
        while let Some(children) = pages.try_next().await? {
            for child in children {
                let Ok(path) = folder.join(&child.name) else { continue };
                if child.is_folder() {
                    folders.push_back(path);
                } else if kind_of(&child.name) == Kind::Video {
                    return Ok(Some(path));
                } else if child.len > 0 {
                    any.get_or_insert(path);
                }
            }
        }
    }
    Ok(any)
}

/// Reads the first bytes the way a player would.
async fn read(client: ContentClient, source: Source, len: u64) -> Outcome<()> {
    const OPERATION: &str = "read the first bytes";
    let range = ByteRange::whole(len);
    let got = match source {
        Source::Open(file) => file.read(range).await?.collect().await?.to_bytes(),
        Source::Link(link) => {
            let mut headers = link.headers.clone();
            headers.insert(header::RANGE, range.to_header());
            let response = client.get(&link.url, headers, OPERATION).await?;
            if response.status() != StatusCode::PARTIAL_CONTENT {
                return Err(Error::new(ErrorKind::Upstream, OPERATION)
                    .saying("the content host answered something else than the range")
                    .with("status", response.status().as_u16()));
            }
            Bytes::from(read_limited(response.into_body(), SAMPLE as usize, OPERATION).await?)
        }
    };
    if got.len() as u64 == len {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Upstream, OPERATION).saying("the content host sent another number of bytes"))
}

/// Fetches the playlist of the best quality there is.
async fn playlist(client: ContentClient, preview: &Preview) -> Outcome<Found<()>> {
    const OPERATION: &str = "fetch a playlist";
    let Some((_, url)) = preview.playable().last() else {
        return Ok(Found::Skipped("no quality is ready yet, or the account may have none"));
    };
    let mut headers = http::HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    let response = client.get(url, headers, OPERATION).await?;
    let status = response.status();
    let text = read_limited(response.into_body(), PLAYLIST, OPERATION).await?;
    if status == StatusCode::OK && text.starts_with(b"#EXTM3U") {
        return Ok(Found::Ok(()));
    }
    Err(Error::new(ErrorKind::Upstream, OPERATION).saying("the drive's playlist is none"))
}

fn line(how: &str, name: &str, took: Option<Duration>, words: &str) -> String {
    let took = took.map(|took| format!("{} ms", took.as_millis())).unwrap_or_default();
    format!("{how:<7} {name:<12} {took:>8}  {words}").trim_end().to_owned()
}

/// What to do about it, where the words do not say so already.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unavailable => "see the words above; after a new login: sluice login MOUNT",
        ErrorKind::Timeout | ErrorKind::Upstream => {
            "is the network up, and the drive reachable from here? try again in a minute"
        }
        ErrorKind::RateLimit | ErrorKind::Overload => "wait a little and try again",
        ErrorKind::NotFound => "does the path exist, spelt like that?",
        ErrorKind::Denied => "look at the file in the drive's own app",
        ErrorKind::Internal => "look at the state folder and at this machine's disk and clock",
        ErrorKind::Invalid | ErrorKind::NotAFile | ErrorKind::Unsupported => "choose another file",
    }
}

const LAST_HOPS: [&str; 4] = ["link", "ranged read", "preview", "playlist"];
/// Bytes of a file that are read.
const SAMPLE: u64 = 64 * 1024;
/// Bytes; a playlist of two hours has some 500 KB.
const PLAYLIST: usize = 16 * 1024 * 1024;
/// Folders looked into for a film; chosen: at four listings a second it ends within five seconds.
const MOST_FOLDERS: usize = 20;
