//! The options of `driver = "aliyundrive_open"`.

use std::num::NonZeroUsize;
use std::sync::Arc;

use url::{Host, Url};

use crate::driver::{Context, Driver, Unopened};
use crate::error::Result;
use crate::secret::Secret;
use crate::section::Section;

/// What the operator set, checked.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Scheme and host of the API, without a trailing slash.
    pub(super) api_base: String,
    pub(super) client_id: String,
    pub(super) client_secret: Option<Secret>,
    /// Host suffixes that links may point to, beside the drive's own.
    pub(super) content_hosts: Vec<String>,
    pub(super) drive_type: DriveType,
    pub(super) livp: LivpFormat,
    pub(super) max_connections: NonZeroUsize,
    pub(super) order_by: &'static str,
    pub(super) order_direction: &'static str,
    pub(super) rates: Rates,
    /// The refresh token the operator wrote; the rotated one lives in the state folder.
    pub(super) refresh_token: Option<Secret>,
    pub(super) root_folder_id: String,
    pub(super) token_source: TokenSource,
}

/// Calls per second, per account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) list: f64,
    pub(super) link: f64,
    pub(super) other: f64,
}

/// Which of the account's drives is mounted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum DriveType {
    Backup,
    Default,
    Resource,
}

/// Which half of a live photo is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LivpFormat {
    Jpeg,
    Mov,
}

/// Where a refresh token is exchanged.
#[derive(Clone, Debug)]
pub(super) enum TokenSource {
    /// The drive's own endpoint, with a client id of one's own.
    Drive,
    /// A token server that speaks as AList's does: POST, OAuth shape.
    AlistServer(String),
    /// A token server that speaks as OpenList's does: GET, the token in the query.
    OpenListServer(String),
}

/// Reads `[mount.options]`.
pub(super) fn read(options: &mut Section<'_>) -> Arc<dyn Unopened> {
    let api_base = match options.parsed("api_base", DEFAULT_API_BASE.to_owned(), base_url) {
        empty if empty.is_empty() => DEFAULT_API_BASE.to_owned(),
        base => base,
    };
    let token_server = options.parsed("token_server", String::new(), base_url);
    let openlist = options.choice("token_dialect", &[("alist", false), ("openlist", true)], false);
    let refresh_token = options.secret("refresh_token");
    let client_id = options.string("client_id", "");
    let client_secret = options.secret("client_secret");
    // Whoever holds the app sees the tokens, so nobody is chosen silently.
    match (&refresh_token, token_server.is_empty() && client_id.is_empty()) {
        (_, false) => {}
        (Some(_), true) => options.fault("client_id", NOBODY_REFRESHES),
        (None, true) => options.note("client_id", NOBODY_REFRESHES),
    }
    if openlist && !token_server.is_empty() {
        options.note(
            "token_dialect",
            "in this dialect the refresh token stands in the address of each refresh, where servers and proxies on the way may log it",
        );
    }
    let drive_type = options.choice(
        "drive_type",
        &[("default", DriveType::Default), ("resource", DriveType::Resource), ("backup", DriveType::Backup)],
        DriveType::Default,
    );
    let livp = options.choice(
        "livp_download_format",
        &[("jpeg", LivpFormat::Jpeg), ("mov", LivpFormat::Mov)],
        LivpFormat::Jpeg,
    );
    let order_by = options.choice(
        "order_by",
        &[("name", "name"), ("size", "size"), ("updated_at", "updated_at"), ("created_at", "created_at")],
        "name",
    );
    let order_direction = options.choice("order_direction", &[("ASC", "ASC"), ("DESC", "DESC")], "ASC");
    let rates = Rates {
        list: options.number("rate_list", 3.9, RATE_RANGE),
        link: options.number("rate_link", 0.9, RATE_RANGE),
        other: options.number("rate_other", 14.9, RATE_RANGE),
    };
    let max_connections = options.integer("max_connections", 3, 1..=MOST_CONNECTIONS);
    // The writing side comes later; its keys are accepted already.
    options.choice("remove_way", &[("trash", ()), ("delete", ())], ());
    options.boolean("rapid_upload", false);
    options.boolean("internal_upload", false);
    for key in ["remove_way", "rapid_upload", "internal_upload"] {
        options.pending(key);
    }
    let token_source = match (token_server.is_empty(), openlist) {
        (true, _) => TokenSource::Drive,
        (false, false) => TokenSource::AlistServer(token_server),
        (false, true) => TokenSource::OpenListServer(token_server),
    };
    Arc::new(Options {
        api_base,
        client_id,
        client_secret,
        content_hosts: options
            .strings("content_hosts", &[])
            .iter()
            .map(|host| host.to_ascii_lowercase())
            .collect(),
        drive_type,
        livp,
        max_connections: usize::try_from(max_connections)
            .ok()
            .and_then(NonZeroUsize::new)
            .unwrap_or(NonZeroUsize::MIN),
        order_by,
        order_direction,
        rates,
        refresh_token,
        root_folder_id: options.string("root_folder_id", ROOT_FOLDER_ID),
        token_source,
    })
}

impl Unopened for Options {
    fn open(&self, context: &Context) -> Result<Arc<dyn Driver>> {
        Ok(Arc::new(super::AliyunDrive::new(self.clone(), context)))
    }
}

impl Options {
    /// Whether the API lies on this machine, as a simulator's does; only then may links point to it too.
    pub(super) fn is_loopback(&self) -> bool {
        Url::parse(&self.api_base).is_ok_and(|url| is_loopback(&url))
    }
}

/// Whether an address names this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// An `https` address, or `http` on this machine, without a trailing slash. Empty stays empty.
fn base_url(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let url = Url::parse(text).map_err(|error| format!("is not an address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("must be an http or https address".to_owned());
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err("must be https: tokens pass through it".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must have no query".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

const NOBODY_REFRESHES: &str = "say who refreshes the tokens: set client_id and client_secret of an app of your own, or token_server \
     to a server of the alist dialect, or to one with token_dialect = \"openlist\"";
/// The id of a drive's root folder.
pub(super) const ROOT_FOLDER_ID: &str = "root";
const DEFAULT_API_BASE: &str = "https://openapi.alipan.com";
/// Calls per second. The upper end only keeps a typing error from switching the limit off by accident.
/// More than this machine can hold open, for drives that set no limit.
const MOST_CONNECTIONS: u64 = 100_000;
const RATE_RANGE: std::ops::RangeInclusive<f64> = 0.01..=100_000.0;
