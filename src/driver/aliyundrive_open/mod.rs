//! Aliyun Drive through its official open API, the reading side.
//!
//! One file a concern: `config` (options), `api` (calls), `wire` (bodies), `auth` (tokens), `known` (of the account),
//! `limits` (paces), `links` (signed addresses), `login` (consent by QR code), `error` (codes).

mod api;
mod auth;
mod config;
mod error;
mod known;
mod limits;
mod links;
mod login;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use http::HeaderMap;
use sha2::{Digest, Sha256};

use self::api::Account;
use self::config::{DriveType, LivpFormat, Options, ROOT_FOLDER_ID};
use crate::clock::Clock;
use crate::driver::registry::Registration;
use crate::driver::{
    AccountFacts, Context, Driver, DriverInfo, Entry, EntryId, EntryKind, Link, Marker, Page, Preview, Show,
    Source, Subtitle, Variant, VariantState, Version,
};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::Life;
use crate::path::VirtualPath;
use crate::secret::Secret;

/// This driver's line in the registry.
pub const REGISTRATION: Registration = Registration { name: NAME, read: config::read };

/// One drive of one account.
#[derive(Debug)]
pub struct AliyunDrive {
    account: Arc<Account>,
    clock: Clock,
    info: DriverInfo,
    options: Options,
    /// Entries asked for at once.
    page_limit: AtomicU32,
}

// === impl AliyunDrive ===

impl AliyunDrive {
    fn new(options: Options, context: &Context) -> Self {
        let key = account_key(&options);
        let file = context.state_dir.join(NAME).join(&key);
        let account = context.shared.get_or_make(&key, || Account::new(&options, &file, context));
        let info = DriverInfo {
            name: NAME,
            by_path: options.root_folder_id == ROOT_FOLDER_ID,
            preview: true,
            believed: None,
            account: Arc::from(format!("{NAME}/{key}")),
            connections: Some(options.max_connections),
        };
        Self { account, clock: context.clock.clone(), info, options, page_limit: AtomicU32::new(PAGE) }
    }

    /// The id of the mounted drive. Where the account has no such drive, or did not tick it, the default one.
    async fn drive_id(&self) -> Result<String> {
        let drives = self.account.drives().await?;
        let wanted = match self.options.drive_type {
            DriveType::Backup => &drives.info.backup_drive_id,
            DriveType::Default => &drives.info.default_drive_id,
            DriveType::Resource => &drives.info.resource_drive_id,
        };
        let id = if wanted.is_empty() { &drives.info.default_drive_id } else { wanted };
        if id.is_empty() {
            return Err(Error::new(ErrorKind::Unavailable, "choose the drive")
                .saying("the account has no drive of the configured drive_type; log in again and tick one"));
        }
        Ok(id.clone())
    }

    fn entry(&self, file: wire::File) -> Result<Entry> {
        if file.file_id.is_empty() || file.name.is_empty() {
            return Err(
                Error::new(ErrorKind::Upstream, "read an entry").saying("the drive's answer makes no sense")
            );
        }
        let kind = if file.kind == "folder" { EntryKind::Folder } else { EntryKind::File };
        let mut len = file.size;
        let mut hash = (!file.content_hash.is_empty()).then(|| Arc::from(file.content_hash));
        if let Some(half) = self.livp_half(file.streams_info) {
            // What is served is one half of the live photo, so its length counts and the hash of both does not.
            (len, hash) = (half.size, None);
        }
        Ok(Entry {
            id: EntryId::new(file.file_id),
            name: Arc::from(file.name),
            kind,
            len: if kind == EntryKind::Folder { 0 } else { len },
            modified: wire::time(&file.updated_at),
            hash,
            duration: wire::seconds(file.video_media_metadata.duration),
            version: Version::default(),
        })
    }

    fn livp_half<T: Default>(&self, streams: wire::Streams<T>) -> Option<T> {
        match self.options.livp {
            LivpFormat::Jpeg => streams.jpeg,
            LivpFormat::Mov => streams.mov,
        }
    }
}

#[async_trait]
impl Driver for AliyunDrive {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    async fn authorize(&self) -> Result<()> {
        self.account.authorize().await
    }

    async fn log_in(&self, show: Show) -> Result<()> {
        self.account.log_in(show).await
    }

    fn account(&self) -> Option<AccountFacts> {
        Some(self.account.facts())
    }

    async fn look_up_account(&self) -> Result<()> {
        self.account.look_up().await
    }

    async fn prepare(&self) -> Result<()> {
        self.drive_id().await.map(drop)
    }

    fn root(&self) -> Entry {
        Entry::folder(EntryId::new(self.options.root_folder_id.as_str()), "")
    }

    async fn stat(&self, path: &VirtualPath) -> Result<Entry> {
        let drive_id = self.drive_id().await?;
        let request = wire::PathRequest { drive_id: &drive_id, file_path: path.as_str() };
        self.entry(self.account.get_by_path(&request).await?)
    }

    async fn page(&self, folder: &Entry, from: Option<&Marker>) -> Result<Page> {
        let drive_id = self.drive_id().await?;
        let marker = from.map_or("", Marker::as_str);
        let request = |limit| wire::ListRequest {
            drive_id: &drive_id,
            parent_file_id: folder.id.as_str(),
            limit,
            marker,
            order_by: self.options.order_by,
            order_direction: self.options.order_direction,
        };
        let limit = self.page_limit.load(Ordering::Relaxed);
        let page = match self.account.list(&request(limit)).await {
            // The documented limit is 100, every server-side client sends 200 and is served.
            Err(error) if from.is_none() && limit > DOCUMENTED_PAGE && error.kind() == ErrorKind::Invalid => {
                let page = self.account.list(&request(DOCUMENTED_PAGE)).await?;
                self.page_limit.store(DOCUMENTED_PAGE, Ordering::Relaxed);
                page
            }
            page => page?,
        };
        let next = (!page.next_marker.is_empty()).then(|| Marker::new(page.next_marker));
        if next.is_some() && next.as_ref() == from {
            return Err(
                Error::new(ErrorKind::Upstream, "list a folder").saying("the drive's pages go in a circle")
            );
        }
        let entries = page.items.into_iter().map(|file| self.entry(file)).collect::<Result<_>>()?;
        Ok(Page { entries, next })
    }

    async fn tree(&self) -> Result<Option<Arc<str>>> {
        let Options { root_folder_id: root, order_by, order_direction, livp, .. } = &self.options;
        let drive = self.drive_id().await?;
        // All that an entry, or its place among others, depends on.
        Ok(Some(Arc::from(format!("{NAME}/{drive}/{root}/{order_by}/{order_direction}/{livp:?}"))))
    }

    async fn source(&self, file: &Entry) -> Result<Source> {
        let drive_id = self.drive_id().await?;
        let request = wire::LinkRequest {
            drive_id: &drive_id,
            file_id: file.id.as_str(),
            expire_sec: LONGEST_LIFE_SECONDS,
        };
        let asked = self.clock.now();
        let answer = self.account.download_url(&request).await?;
        let address = if answer.body.url.is_empty() {
            self.livp_half(answer.body.streams_url).unwrap_or_default()
        } else {
            answer.body.url
        };
        if address.is_empty() {
            return Err(
                Error::new(ErrorKind::Denied, "get a link").saying("the drive gives no link for this file")
            );
        }
        let life = links::life(&address, &answer.body.expiration, answer.date, self.clock.wall(), asked);
        Ok(Source::Link(Link {
            url: links::checked(&address, &self.options)?,
            headers: HeaderMap::new(),
            life,
        }))
    }

    async fn preview(&self, file: &Entry) -> Result<Preview> {
        let drive_id = self.drive_id().await?;
        let request = wire::PreviewRequest {
            drive_id: &drive_id,
            file_id: file.id.as_str(),
            category: "live_transcoding",
            get_subtitle_info: true,
            url_expire_sec: LONGEST_LIFE_SECONDS,
        };
        let asked = self.clock.now();
        let answer = self.account.preview(&request).await?;
        let info = answer.body.video_preview_play_info;
        let mut variants = Vec::new();
        for task in info.live_transcoding_task_list {
            let id = task.template_id.to_ascii_lowercase();
            // It becomes part of our addresses.
            if id.is_empty() || id.len() > 16 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                continue;
            }
            let state = match (task.url.is_empty(), task.status.as_str()) {
                // Status and address are independent: a running task may be playable already (§5.1).
                (false, _) => match links::checked(&task.url, &self.options) {
                    Ok(url) => VariantState::Ready(url),
                    Err(error) => {
                        tracing::warn!(%error, variant = id, "a variant is left out");
                        continue;
                    }
                },
                (true, "finished") => VariantState::Withheld,
                (true, "failed") => VariantState::Failed,
                (true, _) => VariantState::Preparing,
            };
            variants.push(Variant {
                id: Arc::from(id),
                width: task.template_width,
                height: task.template_height,
                state,
            });
        }
        let mut subtitles = Vec::new();
        for task in info.live_transcoding_subtitle_task_list {
            let Some(language) = language(&task.language) else { continue };
            // A playlist's tracks have one name each: of two in one language the first is kept.
            let is_taken = subtitles.iter().any(|track: &Subtitle| track.language == language);
            if is_taken || task.status != "finished" || task.url.is_empty() {
                continue;
            }
            match links::checked(&task.url, &self.options) {
                Ok(url) => subtitles.push(Subtitle { language, url }),
                Err(error) => tracing::warn!(%error, language = &*language, "subtitles are left out"),
            }
        }
        let wall = self.clock.wall();
        let lives = variants
            .iter()
            .filter_map(|variant| match &variant.state {
                VariantState::Ready(url) => Some(links::life(url.expose(), "", answer.date, wall, asked)),
                _ => None,
            })
            .chain(
                subtitles.iter().map(|track| links::life(track.url.expose(), "", answer.date, wall, asked)),
            );
        // Nothing to play yet: look again soon.
        let life = lives.min_by_key(|life| life.until).unwrap_or(Life::starting(asked, RECHECK));
        let duration = wire::seconds(info.meta.duration).unwrap_or_default();
        Ok(Preview { variants, subtitles, duration, life })
    }
}

/// What tells accounts apart: the seed, and the app it belongs to. Also the name of its state file, so that a new seed
/// in the configuration starts afresh, and the rotated token wins until then.
fn account_key(options: &Options) -> String {
    let mut digest = Sha256::new();
    let seed = options.refresh_token.as_ref().map_or("", Secret::expose);
    for part in [&options.client_id, seed] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    HEXLOWER.encode(&digest.finalize()[..12])
}

/// The drive's three-letter codes as BCP 47; others only where they look like a code.
fn language(code: &str) -> Option<Arc<str>> {
    let tag = match code.to_ascii_lowercase().as_str() {
        "chi" | "zho" => "zh".to_owned(),
        "eng" => "en".to_owned(),
        "jpn" => "ja".to_owned(),
        other => other.to_owned(),
    };
    let is_code = (2..=8).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_lowercase());
    is_code.then(|| Arc::from(tag))
}

const NAME: &str = "aliyundrive_open";
/// Entries a page. Source: §3.1 of the fact sheet; the documented figure is the fallback.
const PAGE: u32 = 200;
const DOCUMENTED_PAGE: u32 = 100;
/// Asked for; an ordinary app is given 900 s all the same (§4.1).
const LONGEST_LIFE_SECONDS: u32 = 14_400;
/// How soon to look again at a preview without any address; chosen against the 15/s class.
const RECHECK: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_bcp_47() {
        assert_eq!(language("chi").as_deref(), Some("zh"));
        assert_eq!(language("JPN").as_deref(), Some("ja"));
        assert_eq!(language("fra").as_deref(), Some("fra"));
        assert_eq!(language("../x"), None);
    }
}
