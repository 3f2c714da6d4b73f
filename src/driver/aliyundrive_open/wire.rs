//! Bodies of the drive's API, as the fact sheet has them: absent values come as `null` as often as they are left
//! out, and some numbers as strings.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize};

use crate::driver::Package;

#[derive(Debug, Deserialize)]
pub(super) struct Failure {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) code: String,
}

#[derive(Deserialize)]
pub(super) struct Tokens {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) access_token: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) refresh_token: String,
}

#[derive(Serialize)]
pub(super) struct Exchange<'a> {
    pub(super) client_id: &'a str,
    pub(super) client_secret: &'a str,
    pub(super) grant_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct CodeRequest<'a> {
    pub(super) client_id: &'a str,
    pub(super) client_secret: &'a str,
    pub(super) scopes: &'a [&'a str],
}

/// A consent that somebody may give by scanning a code.
#[derive(Deserialize)]
pub(super) struct Session {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) sid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionStatus {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) auth_code: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) status: String,
}

/// Also kept in the state folder, so that a restart need not ask again.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct DriveInfo {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) default_drive_id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) resource_drive_id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) backup_drive_id: String,
}

impl DriveInfo {
    /// Whether it names no drive at all, which no account's answer does.
    pub(super) fn is_empty(&self) -> bool {
        self.default_drive_id.is_empty()
            && self.resource_drive_id.is_empty()
            && self.backup_drive_id.is_empty()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VipInfo {
    #[serde(default)]
    third_party_vip: Option<bool>,
    /// Seconds since the Unix epoch.
    #[serde(default, deserialize_with = "number")]
    third_party_vip_expire: f64,
}

#[derive(Deserialize)]
pub(super) struct SpaceInfo {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) personal_space_info: Sizes,
}

/// Bytes.
#[derive(Default, Deserialize)]
pub(super) struct Sizes {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) used_size: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) total_size: u64,
}

impl VipInfo {
    /// Whether the package is owned, where the answer says so at all.
    pub(super) fn package(&self) -> Option<Package> {
        let until = Duration::try_from_secs_f64(self.third_party_vip_expire).ok();
        let until = until.filter(|until| (Duration::from_secs(1)..YEAR_10000).contains(until));
        Some(match self.third_party_vip? {
            true => Package::Owned { until: until.map(|until| UNIX_EPOCH + until) },
            false => Package::Missing,
        })
    }
}

#[derive(Serialize)]
pub(super) struct ListRequest<'a> {
    pub(super) drive_id: &'a str,
    pub(super) parent_file_id: &'a str,
    pub(super) limit: u32,
    pub(super) marker: &'a str,
    pub(super) order_by: &'a str,
    pub(super) order_direction: &'a str,
}

#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) items: Vec<File>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) next_marker: String,
}

#[derive(Serialize)]
pub(super) struct PathRequest<'a> {
    pub(super) drive_id: &'a str,
    pub(super) file_path: &'a str,
}

#[derive(Deserialize)]
pub(super) struct File {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) file_id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) size: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) content_hash: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) updated_at: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) streams_info: Streams<StreamInfo>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) video_media_metadata: MediaMetadata,
}

#[derive(Default, Deserialize)]
pub(super) struct StreamInfo {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) size: u64,
}

#[derive(Default, Deserialize)]
pub(super) struct MediaMetadata {
    #[serde(default, deserialize_with = "number")]
    pub(super) duration: f64,
}

/// The halves of a live photo. Its still is called `jpeg` or `heic`.
#[derive(Default, Deserialize)]
pub(super) struct Streams<T: Default> {
    #[serde(default = "none", alias = "heic")]
    pub(super) jpeg: Option<T>,
    #[serde(default = "none")]
    pub(super) mov: Option<T>,
}

#[derive(Serialize)]
pub(super) struct LinkRequest<'a> {
    pub(super) drive_id: &'a str,
    pub(super) file_id: &'a str,
    pub(super) expire_sec: u32,
}

#[derive(Deserialize)]
pub(super) struct DownloadUrl {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) url: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) expiration: String,
    #[serde(default, rename = "streamsUrl", alias = "streams_url", deserialize_with = "or_default")]
    pub(super) streams_url: Streams<String>,
}

#[derive(Serialize)]
pub(super) struct PreviewRequest<'a> {
    pub(super) drive_id: &'a str,
    pub(super) file_id: &'a str,
    pub(super) category: &'a str,
    pub(super) get_subtitle_info: bool,
    pub(super) url_expire_sec: u32,
}

#[derive(Deserialize)]
pub(super) struct PreviewAnswer {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) video_preview_play_info: PlayInfo,
}

#[derive(Default, Deserialize)]
pub(super) struct PlayInfo {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) meta: MediaMetadata,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) live_transcoding_task_list: Vec<Task>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) live_transcoding_subtitle_task_list: Vec<SubtitleTask>,
}

#[derive(Deserialize)]
pub(super) struct Task {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) template_id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) template_width: u32,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) template_height: u32,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) status: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) url: String,
}

#[derive(Deserialize)]
pub(super) struct SubtitleTask {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) language: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) status: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) url: String,
}

/// The time of a stamp such as `2026-01-01T00:15:00.000Z`.
pub(super) fn time(stamp: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(stamp).ok()
}

/// Seconds as a duration; nothing for what is no length of a film: nothing, or more than thirty days.
pub(super) fn seconds(seconds: f64) -> Option<Duration> {
    let sensible = |duration: &Duration| !duration.is_zero() && *duration <= Duration::from_secs(30 * 86_400);
    Duration::try_from_secs_f64(seconds).ok().filter(sensible)
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A number that may come as a string or not at all.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Number(number) => number.as_f64().unwrap_or_default(),
        serde_json::Value::String(text) => text.trim().parse().unwrap_or_default(),
        _ => 0.0,
    })
}

fn none<T>() -> Option<T> {
    None
}

/// Since the Unix epoch; what lies beyond cannot be written as a date.
const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_absences_are_defaults() {
        let file: File = serde_json::from_str(
            r#"{"file_id":"f","name":"Shows","type":"folder","size":null,"content_hash":null,"video_media_metadata":null}"#,
        )
        .unwrap();
        assert_eq!((file.size, file.content_hash.as_str()), (0, ""));
        let page: Page = serde_json::from_str(r#"{"items":null}"#).unwrap();
        assert!(page.items.is_empty() && page.next_marker.is_empty());
    }

    #[test]
    fn a_live_photo_may_name_its_still_either_way() {
        for body in [
            r#"{"url":"","streamsUrl":{"jpeg":"j","mov":"m"}}"#,
            r#"{"url":null,"streams_url":{"heic":"j","mov":"m"}}"#,
        ] {
            let link: DownloadUrl = serde_json::from_str(body).unwrap();
            assert_eq!(link.streams_url.jpeg.as_deref(), Some("j"), "{body}");
            assert_eq!(link.streams_url.mov.as_deref(), Some("m"), "{body}");
        }
    }

    #[test]
    fn a_package_is_owned_missing_or_not_told() {
        let package = |body: &str| serde_json::from_str::<VipInfo>(body).unwrap().package();
        assert_eq!(package(r#"{"identity":"svip"}"#), None);
        assert_eq!(package(r#"{"thirdPartyVip":false,"thirdPartyVipExpire":0}"#), Some(Package::Missing));
        let until = Some(UNIX_EPOCH + Duration::from_secs(1_793_491_200));
        let owned = Some(Package::Owned { until });
        assert_eq!(package(r#"{"thirdPartyVip":true,"thirdPartyVipExpire":1793491200}"#), owned);
        for odd in ["null", "0", "-1", "1e18"] {
            let body = format!(r#"{{"thirdPartyVip":true,"thirdPartyVipExpire":{odd}}}"#);
            assert_eq!(package(&body), Some(Package::Owned { until: None }), "{odd}");
        }
    }

    #[test]
    fn a_duration_may_be_a_string() {
        let meta: MediaMetadata = serde_json::from_str(r#"{"duration":"2604.330000"}"#).unwrap();
        assert_eq!(seconds(meta.duration), Some(Duration::from_secs_f64(2604.33)));
        assert_eq!(seconds(-1.0), None);
        assert_eq!(seconds(f64::NAN), None);
        assert_eq!(seconds(1.5e19), None);
    }
}
