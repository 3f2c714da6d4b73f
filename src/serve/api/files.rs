//! `fs/…`: what is in a folder, what a path is, where its bytes are, and what is called so.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use futures_util::TryStreamExt;
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use serde_json::Value;

use super::item::{Item, time};
use super::{Form, Refused, answer_of, success};
use crate::access::rules::{Sight, Verdict};
use crate::driver::{Entry, Source};
use crate::error::ErrorKind;
use crate::http::{Request, Response};
use crate::lease::{Lease, Spare};
use crate::mount::Mount;
use crate::path::VirtualPath;
use crate::resolve::{Listing, Question, ResolveRequest, Want};
use crate::serve::Site;
use crate::serve::addresses::{Addresses, Route};
use crate::serve::telling::{Telling, tell};

/// `fs/get`.
#[derive(Serialize)]
struct File<'a> {
    #[serde(flatten)]
    item: Item<'a>,
    raw_url: String,
    readme: &'static str,
    /// A text: some clients look into it.
    header: &'static str,
    provider: String,
    /// What lies beside a film under its name.
    related: Option<Vec<Value>>,
}

/// `fs/link`.
#[derive(Serialize)]
struct Link {
    url: String,
    header: Option<BTreeMap<String, Vec<String>>>,
    /// In nanoseconds.
    #[serde(rename = "Expiration")]
    expiration: Option<u64>,
    concurrency: u32,
    part_size: u64,
    content_length: u64,
}

/// A folder in a list of folders.
#[derive(Serialize)]
struct Folder<'a> {
    name: &'a str,
    modified: String,
}

/// `fs/search`.
#[derive(Serialize)]
struct Found {
    content: Vec<Hit>,
    total: usize,
}

#[derive(Serialize)]
struct Hit {
    parent: String,
    name: String,
    is_dir: bool,
    size: u64,
    #[serde(rename = "type")]
    kind: u8,
}

/// `fs/list`, written while the drive lists.
struct List {
    addresses: Arc<Addresses>,
    folder: VirtualPath,
    sight: Sight,
    provider: String,
    /// Which of the entries are told.
    window: Range<u64>,
    total: u64,
    content: Array,
}

/// `fs/dirs`, likewise.
#[derive(Default)]
struct Folders(Array);

/// An array in JSON, element by element. AList's array of nothing is null.
#[derive(Default)]
struct Array {
    has_any: bool,
}

impl Site {
    pub(super) async fn list(
        &self,
        request: &Request,
        form: &Form,
        sight: Sight,
    ) -> Result<Response, Refused> {
        let fresh = form.flag("refresh");
        if fresh && !sight.visitor.may_write() {
            return Err(Refused::Said(403, "Refresh without permission"));
        }
        let (path, sight) = self.at(request, form, sight).await?;
        let (listing, mount) = self.children(&path, fresh, &sight).await?;
        let (page, size) = (form.number("page")?.max(1), form.number("per_page")?);
        let window = match size {
            0 => 0..u64::MAX,
            size => (page - 1).saturating_mul(size)..page.saturating_mul(size),
        };
        let list = List {
            addresses: Arc::clone(&self.0.addresses),
            folder: path,
            provider: provider(mount.as_deref()),
            sight,
            window,
            total: 0,
            content: Array::default(),
        };
        told(&listing, list).await
    }

    pub(super) async fn get(
        &self,
        request: &Request,
        form: &Form,
        sight: Sight,
    ) -> Result<Response, Refused> {
        let (path, sight) = self.at(request, form, sight).await?;
        let found = self.find(&path, Want::Entry).await?;
        let root = sight.visitor.root();
        let told = told_path(&path, &root);
        let name = if told == "/" { "root" } else { path.name().unwrap_or_default() };
        let addresses = &self.0.addresses;
        let is_folder = found.entry.is_folder();
        let sign = if is_folder { String::new() } else { addresses.signature(&path) };
        let raw_url = match is_folder {
            true => String::new(),
            // Ours, which does not expire: whoever goes there is led on, or given the bytes, as the mount says.
            false => addresses.whole(&self.asked_origin(request), Route::Content, &path, ""),
        };
        let related = if is_folder { None } else { self.related(&path, &root, &sight).await };
        Ok(success(File {
            item: Item::new(&found.entry, name, &told, &sign).alone(),
            raw_url,
            readme: "",
            header: "",
            provider: provider(found.mount.as_deref()),
            related,
        }))
    }

    pub(super) async fn dirs(
        &self,
        request: &Request,
        form: &Form,
        sight: Sight,
    ) -> Result<Response, Refused> {
        let (path, sight) = match form.flag("force_root") {
            false => self.at(request, form, sight).await?,
            true if sight.visitor.is_administrator() => {
                (self.path_of(form.text("path")?, &VirtualPath::root()).await?, sight)
            }
            true => return Err(Refused::Said(403, "permission denied")),
        };
        let (listing, _) = self.children(&path, false, &sight).await?;
        told(&listing, Folders::default()).await
    }

    /// For helpers that fetch the bytes themselves: the drive's own link. The path is one of the whole tree.
    pub(super) async fn link(&self, request: &Request, form: &Form) -> Result<Response, Refused> {
        let path = self.path_of(form.text("path")?, &VirtualPath::root()).await?;
        let want = Want::Source { spare: Spare::HandOut, failed: None };
        let asked = ResolveRequest { path: path.clone(), want, known: None };
        let found = self.0.resolver.resolve(asked).await?;
        let content_length = found.entry.len;
        let lease = found.into_source()?;
        let link = match &lease.source {
            Source::Link(link) => {
                let left = lease.life().left(self.0.clock.now());
                Link {
                    url: link.url.expose().to_owned(),
                    header: (!link.headers.is_empty()).then(|| told_headers(&link.headers)),
                    expiration: u64::try_from(left.as_nanos()).ok(),
                    concurrency: 0,
                    part_size: 0,
                    content_length,
                }
            }
            // There is nothing but ourselves to fetch it from.
            Source::Open(_) => Link {
                url: self.0.addresses.whole(&self.asked_origin(request), Route::Proxied, &path, ""),
                header: None,
                expiration: None,
                concurrency: 0,
                part_size: 0,
                content_length,
            },
        };
        Ok(success(link))
    }

    pub(super) async fn search(
        &self,
        request: &Request,
        form: &Form,
        sight: Sight,
    ) -> Result<Response, Refused> {
        let root = sight.visitor.root();
        let parent = self.path_of(form.text("parent")?, &root).await?;
        let sight = self.entered(request, &parent, form.text("password")?, sight).await?;
        let (page, size) = (form.number("page")?.max(1), form.number("per_page")?.clamp(1, MOST_HITS));
        let question = Question {
            below: parent,
            words: form.text("keywords")?.to_owned(),
            folders: match form.number("scope")? {
                1 => Some(true),
                2 => Some(false),
                _ => None,
            },
        };
        let Some(found) = self.0.search.ask(question, sight).await? else {
            return Err(Refused::Said(404, "search not available"));
        };
        let first = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let hits = found.iter().skip(first).take(size).map(|(folder, entry)| Hit {
            parent: told_path(folder, &root),
            name: entry.name.to_string(),
            is_dir: entry.is_folder(),
            size: entry.len,
            kind: if entry.is_folder() { 1 } else { super::item::kind(&entry.name) },
        });
        Ok(success(Found { content: hits.collect(), total: found.len() }))
    }

    async fn children(
        &self,
        path: &VirtualPath,
        fresh: bool,
        sight: &Sight,
    ) -> Result<(Listing, Option<Arc<Mount>>), Refused> {
        let found = self.find(path, Want::Children { fresh }).await.map_err(|error| match error.kind() {
            ErrorKind::NotAFile => Refused::Said(500, "not a folder"),
            _ => error.into(),
        })?;
        let mount = found.mount.clone();
        Ok((found.into_children()?.seen_by(sight, path), mount))
    }

    /// What lies beside a file under its name, such as subtitles; none where that is not at hand, or too much to look through.
    async fn related(&self, path: &VirtualPath, root: &VirtualPath, sight: &Sight) -> Option<Vec<Value>> {
        let (name, folder) = (path.name()?, path.parent()?);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let (listing, _) = self.children(&folder, false, sight).await.ok()?;
        if !listing.is_one_page() {
            return None;
        }
        let entries: Vec<_> = listing.pages().try_concat().await.ok()?;
        let is_beside =
            |entry: &&Entry| !entry.is_folder() && &*entry.name != name && entry.name.starts_with(stem);
        let items = entries.iter().filter(is_beside).filter_map(|entry| {
            let path = folder.join(&entry.name).ok().filter(|path| sight.of(path) == Verdict::Allowed)?;
            let (told, sign) = (told_path(&path, root), self.0.addresses.signature(&path));
            let item = Item::new(entry, &entry.name, &told, &sign);
            serde_json::to_value(&item).ok()
        });
        let items: Vec<_> = items.collect();
        (!items.is_empty()).then_some(items)
    }
}

// === impl List ===

impl Telling for List {
    fn opening(&mut self) -> String {
        "{\"code\":200,\"message\":\"success\",\"data\":{\"content\":".to_owned()
    }

    fn rows(&mut self, entries: &[Entry]) -> String {
        let mut text = String::new();
        for entry in entries {
            let number = self.total;
            self.total += 1;
            if !self.window.contains(&number) {
                continue;
            }
            let Ok(path) = self.folder.join(&entry.name) else { continue };
            // What is locked is listed; a signature would open it.
            let is_signed = !entry.is_folder() && self.sight.of(&path) == Verdict::Allowed;
            let sign = if is_signed { self.addresses.signature(&path) } else { String::new() };
            let told = told_path(&path, &self.sight.visitor.root());
            let item = Item::new(entry, &entry.name, &told, &sign);
            self.content.add(&mut text, item);
        }
        text
    }

    fn closing(&mut self) -> String {
        format!(
            "{},\"total\":{},\"readme\":\"\",\"header\":\"\",\"write\":{},\"write_content_bypass\":false,\
             \"provider\":\"{}\"}}}}",
            self.content.end(),
            self.total,
            self.sight.visitor.may_write(),
            self.provider
        )
    }
}

// === impl Folders ===

impl Telling for Folders {
    fn opening(&mut self) -> String {
        "{\"code\":200,\"message\":\"success\",\"data\":".to_owned()
    }

    fn rows(&mut self, entries: &[Entry]) -> String {
        let mut text = String::new();
        for folder in entries.iter().filter(|entry| entry.is_folder()) {
            self.0.add(&mut text, Folder { name: &folder.name, modified: time(folder.modified) });
        }
        text
    }

    fn closing(&mut self) -> String {
        format!("{}}}", self.0.end())
    }
}

// === impl Array ===

impl Array {
    fn add(&mut self, text: &mut String, element: impl Serialize) {
        text.push(if std::mem::replace(&mut self.has_any, true) { ',' } else { '[' });
        // Plain values, which can always be written.
        text.push_str(&serde_json::to_string(&element).unwrap_or_default());
    }

    fn end(&self) -> &'static str {
        if self.has_any { "]" } else { "null" }
    }
}

/// A folder in the answer's form.
async fn told(listing: &Listing, telling: impl Telling) -> Result<Response, Refused> {
    let (body, length) = tell(listing, telling).await?;
    let mut response = answer_of(body);
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

/// A path as the visitor names it, whose tree begins at `root`.
pub(super) fn told_path(path: &VirtualPath, root: &VirtualPath) -> String {
    path.strip_prefix(root).unwrap_or_else(|| path.clone()).to_string()
}

/// A driver's name as AList writes those: `AliyundriveOpen`. Some clients show a player by it.
pub(super) fn provider(mount: Option<&Mount>) -> String {
    let Some(mount) = mount else { return "unknown".to_owned() };
    let words = mount.driver.info().name.split('_');
    let capital =
        |word: &str| word.chars().take(1).map(|first| first.to_ascii_uppercase()).collect::<String>();
    words.map(|word| capital(word) + word.get(1..).unwrap_or_default()).collect()
}

/// As Go writes them.
fn told_headers(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Ok(value) = value.to_str() {
            told.entry(name.to_string()).or_default().push(value.to_owned());
        }
    }
    told
}

/// Of a search, at once; more than a page of any client holds.
const MOST_HITS: u64 = 10_000;
