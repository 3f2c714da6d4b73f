//! Makes the settings of every room true: reads each key with its default and checks what they say together.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::Config;
use crate::access::passwords::Given;
use crate::access::rules::Rule;
use crate::access::{self, PasswordHash, Permissions, User};
use crate::driver::registry::DRIVERS;
use crate::export::{MediaServer, SideFiles};
use crate::mount::{self, Mode, Policy};
use crate::path::VirtualPath;
use crate::secret::Secret;
use crate::section::Section;
use crate::transport::{CertificateFault, CertificateFiles};
use crate::{export, resolve, serve, stream, transport};

/// Reads the whole configuration. Where a key is at fault its default stands in, so that the rest is read too.
pub(super) fn read(mut root: Section<'_>) -> Config {
    let default = Config::default();
    let mut server = root.section("server");
    let mut access = root.section("access");
    let mut cache = root.section("cache");
    let mut proxy = root.section("proxy");
    let config = Config {
        server: listeners(&mut server, &mut proxy, &default.server),
        serve: serve::Settings {
            public_url: server.parsed("public_url", default.serve.public_url, outside_url),
        },
        trusted_proxies: networks(&mut server),
        access: accounts(&mut access, &default.access),
        blocks: blocks(&mut cache, default.blocks),
        cache: caches(&mut cache, &default.cache),
        proxy: streams(&mut proxy, &default.proxy),
        mounts: mounts(root.sections("mount")),
        exports: root.sections("export").into_iter().filter_map(|mut section| export(&mut section)).collect(),
        state_key: None,
        state_dir: server.parsed("state_dir", default.state_dir, |text| match text {
            "" => Err("must name a folder".to_owned()),
            text => Ok(text.into()),
        }),
        notes: Vec::new(),
    };
    if let Some(open) = config.server.listen.iter().find(|address| !address.ip().is_loopback()) {
        let access = &config.access;
        let why = if access.guest {
            Some(("with access.guest = true nobody needs to log in there", "set access.guest = false"))
        } else if !access.sign_all && access.users.is_empty() {
            let mend = "set access.sign_all = true, or add an [[access.user]] and give players a login";
            Some((
                "with access.sign_all = false and no user whoever guesses a path can play what lies there",
                mend,
            ))
        } else {
            None
        };
        if let Some((why, mend)) = why {
            let message = format!(
                "{open} can be reached from other machines, and {why}; listen on 127.0.0.1 or {mend}"
            );
            server.fault("listen", message);
        }
    }
    config
}

fn listeners(
    server: &mut Section<'_>,
    proxy: &mut Section<'_>,
    default: &transport::Settings,
) -> transport::Settings {
    let usual: Vec<_> = default.listen.iter().map(SocketAddr::to_string).collect();
    let usual: Vec<_> = usual.iter().map(String::as_str).collect();
    let mut listen: Vec<SocketAddr> = Vec::new();
    let texts = server.strings("listen", &usual);
    if texts.is_empty() {
        server.fault("listen", "must name at least one address");
    }
    let mut listen_unix = Vec::new();
    for text in texts {
        if let Some(path) = text.strip_prefix("unix:") {
            match socket_path(path) {
                Ok(path) if listen_unix.contains(&path) => {
                    server.fault("listen", format!("names {text} twice"));
                }
                Ok(path) => listen_unix.push(path),
                Err(message) => server.fault("listen", format!("\"{text}\" {message}")),
            }
            continue;
        }
        match address(&text) {
            Ok(address) if address.port() != 0 && listen.contains(&address) => {
                server.fault("listen", format!("names {address} twice"));
            }
            Ok(address) => listen.push(address),
            Err(message) => server.fault("listen", message),
        }
    }
    let admin_listen = server.parsed("admin_listen", default.admin_listen, |text| match text {
        "" => Ok(None),
        text => address(text).map(Some),
    });
    if let Some(admin) = admin_listen.filter(|admin| admin.port() != 0 && listen.contains(admin)) {
        server.fault("admin_listen", format!("{admin} is one of server.listen already"));
    }
    let tls = certificates(server.section("tls"));
    transport::Settings {
        listen,
        listen_unix,
        admin_listen,
        shutdown_grace: server.duration("shutdown_grace", default.shutdown_grace),
        idle_timeout: waiting(proxy, "idle_timeout", default.idle_timeout),
        max_connections: connections(server, default.max_connections),
        tls,
    }
}

/// Reads the files too, so that a certificate without its key is found before a start fails of it.
fn certificates(mut tls: Section<'_>) -> Option<CertificateFiles> {
    let files = [("cert_file", tls.string("cert_file", "")), ("key_file", tls.string("key_file", ""))];
    for ((key, file), (other, other_file)) in [(&files[0], &files[1]), (&files[1], &files[0])] {
        if file.is_empty() && !other_file.is_empty() {
            tls.fault(key, format!("is required beside {other}"));
        }
    }
    let [(_, cert_file), (_, key_file)] = files;
    if cert_file.is_empty() || key_file.is_empty() {
        return None;
    }
    let files = CertificateFiles { cert_file: cert_file.into(), key_file: key_file.into() };
    match files.check() {
        Ok(()) => {}
        Err(CertificateFault::Cert(words)) => tls.fault("cert_file", words),
        Err(CertificateFault::Key(words)) => tls.fault("key_file", words),
    }
    Some(files)
}

fn connections(server: &mut Section<'_>, default: usize) -> usize {
    let most = server.integer("max_connections", default as u64, 0..=MOST_CONNECTIONS);
    usize::try_from(most).unwrap_or(default)
}

fn accounts(access: &mut Section<'_>, default: &access::Settings) -> access::Settings {
    let api_token = access.secret("api_token");
    if let Some(token) = &api_token
        && let Err(message) = token_is_fit(token.expose())
    {
        access.fault("api_token", message);
    }
    let mut names = Vec::new();
    let users = access.sections("user").into_iter().filter_map(|user| self::user(user, &mut names)).collect();
    let rules = access.sections("rule").into_iter().filter_map(|rule| self::rule(rule, &names)).collect();
    access::Settings {
        guest: access.boolean("guest", default.guest),
        sign_all: access.boolean("sign_all", default.sign_all),
        link_expires: access.duration("link_expires", default.link_expires),
        api_token,
        users,
        rules,
    }
}

/// One user; none where something is at fault. `names` are those of the users before.
fn user(mut user: Section<'_>, names: &mut Vec<String>) -> Option<Arc<User>> {
    let name = user.required_string("name");
    if let Some(name) = &name {
        if names.contains(name) {
            user.fault("name", format!("\"{name}\" is a user already"));
        }
        if name.contains(':') || name.chars().any(char::is_control) {
            user.fault("name", "must have no colon and no control character, or nobody could log in with it");
        }
        names.push(name.clone());
    }
    let hash = user.secret("password_hash").map(|hash| PasswordHash::parse(hash.expose()));
    let hash = match hash {
        Some(Ok(hash)) => Some(hash),
        Some(Err(message)) => {
            user.fault("password_hash", message);
            None
        }
        None => {
            if !user.is_faulty("password_hash") {
                user.fault("password_hash", "is required; `sluice hash-password` makes one");
            }
            None
        }
    };
    if let (Some(name), Some(hash)) = (&name, &hash)
        && let Some(sample) = SAMPLE_PASSWORDS
            .iter()
            .copied()
            .chain([&**name])
            .find(|sample| hash.fits(&Given::Password(Secret::new(*sample))))
    {
        let what = if sample == name { "the user's own name" } else { "one that everybody tries first" };
        user.fault(
            "password_hash",
            format!(
                "is of a password that is {what}; choose another, and hash it with `sluice hash-password`"
            ),
        );
    }
    let root = user.parsed("root", VirtualPath::root(), absolute_path);
    let mut may = Permissions::default();
    for permission in user.strings("permissions", &["read"]) {
        match &*permission {
            "read" => may.read = true,
            "write" => may.write = true,
            "admin" => may.admin = true,
            _ => user.fault(
                "permissions",
                format!("must be of \"read\", \"write\", \"admin\", not \"{permission}\""),
            ),
        }
    }
    Some(Arc::new(User { name: name?.into(), hash: hash?, root, may }))
}

/// One rule; none where something is at fault.
fn rule(mut rule: Section<'_>, names: &[String]) -> Option<Rule> {
    let path = required_path(&mut rule);
    let password = rule.secret("password");
    if let Some(password) = &password
        && SAMPLE_PASSWORDS
            .iter()
            .chain(SAMPLE_TOKENS)
            .any(|sample| sample.eq_ignore_ascii_case(password.expose()))
    {
        rule.fault("password", "is one that everybody tries first");
    }
    let hide = rule.strings("hide", &[]);
    let users = rule.strings("users", &[]);
    for name in &users {
        if !names.contains(name) {
            rule.fault("users", format!("\"{name}\" is no access.user"));
        }
    }
    let users = users.into_iter().map(Into::into).collect();
    let recursive = rule.boolean("recursive", true);
    Some(Rule { path: path?, password, hide, users, recursive })
}

fn blocks(cache: &mut Section<'_>, default: stream::BlockSettings) -> stream::BlockSettings {
    stream::BlockSettings {
        memory: cache.size("block_memory", default.memory),
        disk: cache.size("block_disk", default.disk),
    }
}

fn caches(cache: &mut Section<'_>, default: &resolve::Settings) -> resolve::Settings {
    // An address of that kind may hold a password.
    if let Some(url) = cache.secret("redis_url")
        && !["redis://", "rediss://"].iter().any(|scheme| url.expose().starts_with(scheme))
    {
        cache.fault("redis_url", "must begin with redis:// or rediss://");
    }
    cache.pending("redis_url");
    resolve::Settings {
        entries: cache.integer("entries", default.entries, 0..=MOST_ENTRIES),
        links: cache.integer("links", default.links, 0..=MOST_ENTRIES),
        listing_ttl: cache.duration("listing_ttl", default.listing_ttl),
        negative_ttl: cache.duration("negative_ttl", default.negative_ttl),
    }
}

fn streams(proxy: &mut Section<'_>, default: &stream::Settings) -> stream::Settings {
    let settings = stream::Settings {
        window: proxy.size("window", default.window),
        stall_timeout: waiting(proxy, "stall_timeout", default.stall_timeout),
        hold: waiting(proxy, "hold", default.hold),
    };
    if settings.window == 0 {
        proxy.fault("window", "must be more than 0B");
    }
    settings
}

/// A time to wait, which cannot be none.
fn waiting(section: &mut Section<'_>, key: &'static str, default: Duration) -> Duration {
    let wait = section.duration(key, default);
    if wait == Duration::ZERO {
        section.fault(key, "must be more than 0s");
    }
    wait
}

fn mounts(sections: Vec<Section<'_>>) -> Vec<mount::Settings> {
    let mut mounts: Vec<mount::Settings> = Vec::new();
    for mut section in sections {
        if let Some(settings) = mount(&mut section) {
            if mounts.iter().any(|other| other.path == settings.path) {
                section.fault("path", format!("{} is mounted already", settings.path));
            }
            mounts.push(settings);
        }
    }
    mounts
}

/// One mount; none where it lacks what makes one.
fn mount(section: &mut Section<'_>) -> Option<mount::Settings> {
    let path = required_path(section);
    let delivery = section.choice(
        "delivery",
        &[
            ("auto", Mode::Auto),
            ("redirect", Mode::Redirect),
            ("proxy", Mode::Proxy),
            ("download_proxy", Mode::DownloadProxy),
        ],
        Mode::Auto,
    );
    // AList's names for the same are taken too.
    let dav_delivery = section.choice(
        "dav_delivery",
        &[
            ("", None),
            ("auto", Some(Mode::Auto)),
            ("redirect", Some(Mode::Redirect)),
            ("proxy", Some(Mode::Proxy)),
            ("download_proxy", Some(Mode::DownloadProxy)),
            ("302_redirect", Some(Mode::Redirect)),
            ("native_proxy", Some(Mode::Proxy)),
            ("use_proxy_url", Some(Mode::DownloadProxy)),
        ],
        None,
    );
    let dav_delivery = dav_delivery.unwrap_or(delivery);
    let download_proxy_url = section.parsed("download_proxy_url", None, outside_url);
    if [delivery, dav_delivery].contains(&Mode::DownloadProxy)
        && download_proxy_url.is_none()
        && !section.is_faulty("download_proxy_url")
    {
        section.fault("download_proxy_url", "is required for the delivery \"download_proxy\"");
    }
    let name = section.required_string("driver");
    let registration = DRIVERS.iter().find(|driver| name.as_deref() == Some(driver.name));
    let mut options = section.section("options");
    let Some(registration) = registration else {
        if let Some(name) = name {
            let names: Vec<_> = DRIVERS.iter().map(|driver| format!("\"{}\"", driver.name)).collect();
            section.fault("driver", format!("must be one of {}, not \"{name}\"", names.join(", ")));
        }
        options.ignore_rest();
        return None;
    };
    // The options are read even where the path is at fault, for their own faults.
    let driver = (registration.read)(&mut options);
    Some(mount::Settings {
        path: path?,
        driver,
        policy: Policy { delivery, dav_delivery, download_proxy_url },
    })
}

/// One export; none where it lacks what makes one.
fn export(section: &mut Section<'_>) -> Option<export::Settings> {
    let path = required_path(section);
    let out = section.required_string("out").map(PathBuf::from);
    let hls = section.boolean("hls", false);
    let side_files = section.choice(
        "side_files",
        &[("copy", SideFiles::Copy), ("link", SideFiles::Link), ("none", SideFiles::None)],
        SideFiles::Copy,
    );
    let every = section.duration("every", EXPORTED_EVERY);
    let url = section.parsed("media_server", None, outside_url);
    let key = section.secret("media_server_key");
    if url.is_some() && key.is_none() {
        section.fault("media_server_key", "is required with media_server");
    }
    let media_server = url.zip(key).map(|(url, key)| MediaServer { url, key });
    let every = (!every.is_zero()).then_some(every);
    Some(export::Settings { path: path?, out: out?, hls, side_files, every, media_server })
}

fn required_path(section: &mut Section<'_>) -> Option<VirtualPath> {
    let text = section.required_string("path")?;
    absolute_path(&text).map_err(|message| section.fault("path", message)).ok()
}

fn absolute_path(text: &str) -> Result<VirtualPath, String> {
    if !text.starts_with('/') {
        return Err("must begin with /".to_owned());
    }
    VirtualPath::parse(text).map_err(|error| error.words().to_owned())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("\"{text}\" is no address with a port, such as \"127.0.0.1:8470\""))
}

/// Where a Unix socket may be.
fn socket_path(path: &str) -> Result<PathBuf, String> {
    if !cfg!(unix) {
        return Err("is a Unix socket, which this system does not have".to_owned());
    }
    if !path.starts_with('/') {
        return Err("must name an absolute path, such as \"unix:/run/sluice/sluice.sock\"".to_owned());
    }
    if path.len() > LONGEST_SOCKET_PATH {
        return Err(format!(
            "is longer than the {LONGEST_SOCKET_PATH} bytes that the path of a socket may have"
        ));
    }
    Ok(path.into())
}

/// An address under which others see us or a helper, without a trailing slash; empty is none.
fn outside_url(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(text).map_err(|error| format!("is no address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must have neither ? nor #".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must have no user name or password, since every viewer would see it".to_owned());
    }
    Ok(Some(url.as_str().trim_end_matches('/').to_owned()))
}

/// Networks: an address, or one with the length of its prefix.
fn networks(server: &mut Section<'_>) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for text in server.strings("trusted_proxies", &[]) {
        match text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)) {
            Some(network) => networks.push(network),
            None => server.fault(
                "trusted_proxies",
                format!("\"{text}\" is no network, such as \"10.0.0.0/8\" or \"::1\""),
            ),
        }
    }
    networks
}

/// The token signs links, so whoever guesses it can make any link. Its bytes travel in a header as they are.
fn token_is_fit(token: &str) -> Result<(), String> {
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be of printable ASCII without spaces, since it travels in a header".to_owned());
    }
    if SAMPLE_TOKENS.iter().any(|sample| sample.eq_ignore_ascii_case(token)) {
        return Err("is a sample that anyone can guess; leave it empty to have one made".to_owned());
    }
    if token.len() < SHORTEST_TOKEN {
        return Err(format!(
            "must have at least {SHORTEST_TOKEN} characters; leave it empty to have one made"
        ));
    }
    Ok(())
}

/// In bytes; the shortest `sun_path` less its end, that of macOS and BSD (104); Linux has 108. Source: unix(4), unix(7).
const LONGEST_SOCKET_PATH: usize = 103;
/// Chosen: Linux lets no process open more files than this by default (`fs.nr_open`).
const MOST_CONNECTIONS: u64 = 1 << 20;
/// Chosen: far beyond what memory holds, and below what a signed number holds.
const MOST_ENTRIES: u64 = 1_000_000_000;
/// Chosen: the least that nobody guesses through a network; the token made at the first start is far longer.
const SHORTEST_TOKEN: usize = 8;
/// What people and programs try first; each takes a hash to be looked for, so these few.
const SAMPLE_PASSWORDS: &[&str] = &["admin", "password", "changeme", "123456"];
/// What examples and tutorials write where a secret belongs.
const SAMPLE_TOKENS: &[&str] = &[
    "0123456789abcdef",
    "admin",
    "changeme",
    "changemechangeme",
    "change-me-please",
    "my-secret",
    "my-secret-api-token",
    "password",
    "passwordpassword",
    "secret",
    "your-api-token-here",
    "your-secret-token",
];

/// Chosen: new films are there the same evening, for some hundred calls a day.
const EXPORTED_EVERY: Duration = Duration::from_secs(6 * 3600);
