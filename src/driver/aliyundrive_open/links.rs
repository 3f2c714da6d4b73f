//! Signed addresses: which hosts they may name, and how long they live.

use std::time::Duration;

use tokio::time::Instant;
use url::{Host, Url};

use super::config::{Options, is_loopback};
use super::wire;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::Life;
use crate::secret::SignedUrl;

/// Checks that an address which the drive gave points to where the drive's content lies.
///
/// # Errors
/// `Upstream` for anything else: an answer must not be able to send us, or a player, elsewhere.
pub(super) fn checked(address: &str, options: &Options) -> Result<SignedUrl> {
    let refuse = |why: &str| {
        Error::new(ErrorKind::Upstream, "accept an address")
            .saying("the drive named a host that is not its own; see content_hosts")
            .with("reason", why)
    };
    let url = Url::parse(address).map_err(|_| refuse("not an address"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("scheme or user information"));
    }
    if !address.bytes().all(|byte| byte.is_ascii_graphic()) {
        // It goes into a header as it stands.
        return Err(refuse("characters that must be escaped"));
    }
    let allowed = match url.host() {
        Some(Host::Domain(name)) => CONTENT_HOSTS
            .iter()
            .copied()
            .chain(options.content_hosts.iter().map(String::as_str))
            .any(|suffix| is_below(name, suffix)),
        _ => false,
    };
    if allowed || (options.is_loopback() && is_loopback(&url)) {
        return Ok(SignedUrl::new(address));
    }
    Err(refuse(url.host_str().unwrap_or_default()))
}

/// How long an address lives: by the stamp in it, else by the `expiration` beside it, else the drive's usual.
/// `date` is the drive's own clock where its answer told it, `wall` ours; both since the Unix epoch.
pub(super) fn life(
    address: &str,
    expiration: &str,
    date: Option<Duration>,
    wall: Duration,
    now: Instant,
) -> Life {
    let stamp = Url::parse(address)
        .ok()
        .and_then(|url| url.query_pairs().find(|(key, _)| key == "x-oss-expires")?.1.parse().ok())
        .map(Duration::from_secs)
        .or_else(|| wire::time(expiration)?.duration_since(std::time::UNIX_EPOCH).ok());
    let length = stamp.map_or(USUAL, |stamp| stamp.saturating_sub(date.unwrap_or(wall)));
    // A link that was made a moment ago and claims to be over says only that a clock is wrong. Whether it is good the
    // content host will say.
    let length = if length.is_zero() { USUAL } else { length.min(LONGEST) };
    Life::starting(now, length)
}

/// Whether a host is `suffix` or below it, compared by label.
fn is_below(host: &str, suffix: &str) -> bool {
    let suffix = suffix.trim_start_matches('.');
    host.strip_suffix(suffix)
        .is_some_and(|rest| !suffix.is_empty() && (rest.is_empty() || rest.ends_with('.')))
}

/// Where the drive's content lies. Hosts vary by region. Source: §4.2 and §5.2 of the fact sheet.
const CONTENT_HOSTS: [&str; 4] = ["alicloudccp.com", "aliyundrive.net", "aliyuncs.com", "alipan.com"];
/// Source: §4.1 of the fact sheet, the life of a link of an ordinary app.
const USUAL: Duration = Duration::from_secs(900);
/// Source: §4.1 of the fact sheet, the longest that any app gets.
const LONGEST: Duration = Duration::from_secs(14_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_by_label() {
        assert!(is_below("cn-beijing-data.aliyundrive.net", "aliyundrive.net"));
        assert!(is_below("aliyundrive.net", ".aliyundrive.net"));
        assert!(!is_below("evilaliyundrive.net", "aliyundrive.net"));
        assert!(!is_below("aliyundrive.net.evil.example", "aliyundrive.net"));
        assert!(!is_below("evil.example", ""));
    }

    #[test]
    fn the_stamp_in_the_address_wins_and_is_read_against_the_drives_clock() {
        let now = Instant::now();
        let seconds = |address: &str, expiration: &str, date: Option<u64>| {
            let life =
                life(address, expiration, date.map(Duration::from_secs), Duration::from_secs(1_000_000), now);
            life.left(now).as_secs()
        };
        let address = "https://a.aliyundrive.net/x?x-oss-expires=1000900&x=1";
        assert_eq!(seconds(address, "", None), 900);
        assert_eq!(seconds(address, "", Some(1_000_600)), 300);
        assert_eq!(seconds(address, "2100-01-01T00:00:00.000Z", Some(1_000_600)), 300);
        assert_eq!(seconds("https://a.aliyundrive.net/x", "1970-01-12T13:50:00.000Z", None), 200);
        assert_eq!(seconds("https://a.aliyundrive.net/x", "", None), 900);
        assert_eq!(seconds("https://a.aliyundrive.net/x?x-oss-expires=9999999999", "", None), 14_400);
        assert_eq!(seconds("https://a.aliyundrive.net/x?x-oss-expires=1", "", None), 900);
    }
}
