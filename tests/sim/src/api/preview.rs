//! Transcoded previews: their states, their signed playlists and subtitles (fact sheet §5.1, §5.3, §9.12).

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Answer, Call, files, item, links};
use crate::{
    answers::Refusal,
    content::Content,
    drive::Inner,
    nodes::{File, Node},
    samples::{FIRST_SUBTITLE, RENDITIONS, SUBTITLES},
    settings::{Preview, PreviewEnd},
    sign,
};

/// `openFile/getVideoPreviewPlayInfo`.
pub(super) fn play_info(call: &Call<'_>) -> Answer {
    let mut inner = call.drive.lock();
    let (kind, node) = files::named(call, &inner)?;
    let node = node.clone();
    let file = film(&inner, &node)?;
    if call.text("category") != "live_transcoding" {
        return Err(Refusal::bad_request("category is not valid"));
    }
    let (path, _) = inner.nodes(kind).path(&node);
    let (preview, running) = state(&mut inner, &path, &node)?;
    let meta = meta(&preview, &file.content);
    let life_s = inner.settings.link_life_s(call.number("url_expire_sec"));
    let signer = Signer {
        call,
        dr: kind.id(),
        node: &node,
        file: &file,
        seconds: meta["duration"].as_f64().unwrap_or_default(),
        expires_s: call.drive.clock.now_s() + life_s,
    };
    let wanted = call.text("template_id");
    let mut info = json!({
        "category": "live_transcoding",
        "meta": meta,
        "live_transcoding_task_list": tasks(&inner, &preview, running, wanted, Some(&signer)),
    });
    if call.body["with_play_cursor"].as_bool() == Some(true) {
        info["play_cursor"] = json!("0");
    }
    if call.body["get_subtitle_info"].as_bool() != Some(false) && !running && has_subtitles(&preview, &node) {
        let subtitles = SUBTITLES.iter().enumerate().map(|(n, (language, _))| {
            let url = signer.url(&format!("subtitle/subtitle_{}.vtt", FIRST_SUBTITLE + n), false);
            json!({"language": language, "status": "finished", "url": url})
        });
        info["live_transcoding_subtitle_task_list"] = subtitles.collect();
    }
    Ok(json!({
        "domain_id": "bj29",
        "drive_id": kind.id(),
        "file_id": node.id,
        "punish_flag": node.punish,
        "meta_name_punish_flag": 0,
        "video_preview_play_info": info,
    }))
}

/// `openFile/getVideoPreviewPlayMeta`: the same without urls; starts nothing and counts nothing down.
pub(super) fn play_meta(call: &Call<'_>) -> Answer {
    let inner = call.drive.lock();
    let (kind, node) = files::named(call, &inner)?;
    let file = film(&inner, node)?;
    let preview = preview(&inner, &inner.nodes(kind).path(node).0, node);
    if preview.end == PreviewEnd::NotFound {
        return Err(not_found());
    }
    let running = preview.wait_calls > 0 || preview.running_calls > 0;
    let tasks = tasks(&inner, &preview, running, call.text("template_id"), None);
    Ok(json!({
        "domain_id": "bj29",
        "drive_id": kind.id(),
        "file_id": node.id,
        "video_preview_play_meta": {
            "category": "live_transcoding",
            "meta": meta(&preview, &file.content),
            "live_transcoding_task_list": tasks,
        },
    }))
}

/// The file, unless nobody may watch it.
fn film(inner: &Inner, node: &Node) -> Result<File, Refusal> {
    let file = node.file().ok_or_else(not_found)?;
    if inner.settings.frozen_account || node.punish != 0 {
        return Err(links::refused_for_violation());
    }
    if inner.settings.over_capacity {
        return Err(Refusal::new(403, "ExceedCapacityForbidden", "the space is over its capacity"));
    }
    Ok(file.clone())
}

/// The preview set for the path, or what files of this kind have by themselves.
fn preview(inner: &Inner, path: &str, node: &Node) -> Preview {
    let set = inner.settings.preview.iter().find(|(key, _)| same_path(key, path));
    set.map(|(_, preview)| preview.clone()).unwrap_or_else(|| match node.file().map(|file| &file.content) {
        Some(Content::Sample(sample)) if sample.is_film() => Preview::default(),
        _ => Preview::ending(PreviewEnd::NotFound),
    })
}

/// Moves the script on by one call: the preview, and whether it is still running.
fn state(inner: &mut Inner, path: &str, node: &Node) -> Result<(Preview, bool), Refusal> {
    let preview = preview(inner, path, node);
    let scripted = inner.settings.preview.iter_mut().find(|(key, _)| same_path(key, path));
    if preview.wait_calls > 0 {
        if let Some((_, scripted)) = scripted {
            scripted.wait_calls -= 1;
        }
        let message = "media is transcoding, please wait and retry.";
        return Err(Refusal::new(202, "VideoPreviewWaitAndRetry", message));
    }
    if preview.running_calls > 0 {
        if let Some((_, scripted)) = scripted {
            scripted.running_calls -= 1;
        }
        return Ok((preview, true));
    }
    match preview.end {
        PreviewEnd::Failed | PreviewEnd::Finished => Ok((preview, false)),
        PreviewEnd::FeatureDisabled => {
            Err(Refusal::new(403, "FeatureTemporaryDisabled", "the feature is temporarily disabled"))
        }
        PreviewEnd::NotFound => Err(not_found()),
        PreviewEnd::Refused => Err(links::refused_for_violation()),
    }
}

fn same_path(a: &str, b: &str) -> bool {
    a.trim_matches('/') == b.trim_matches('/')
}

fn not_found() -> Refusal {
    Refusal::new(404, "NotFound.VideoPreviewInfo", "the video has no preview")
}

fn meta(preview: &Preview, content: &Content) -> Value {
    let seconds =
        preview.duration.map_or_else(|| item::duration_s(content), |duration| duration.as_secs_f64());
    let (width, height) = item::size(content);
    json!({"duration": seconds, "width": width, "height": height})
}

fn has_subtitles(preview: &Preview, node: &Node) -> bool {
    preview.subtitles.unwrap_or_else(|| node.extension() == "mkv")
}

/// The renditions in ascending quality; FHD is never ready (§5.1). Without a signer no urls.
fn tasks(
    inner: &Inner,
    preview: &Preview,
    running: bool,
    wanted: &str,
    signer: Option<&Signer<'_>>,
) -> Value {
    let package = inner.settings.package;
    let rendered = RENDITIONS.iter().map(|rendition| (rendition.template, rendition.width, rendition.height));
    let all = rendered.chain([("FHD", 1920, 1080)]);
    let tasks = all.filter(|(template, ..)| wanted.is_empty() || wanted == *template);
    let entries = tasks.map(|(template, width, height)| {
        let status = match preview.end {
            _ if running || template == "FHD" => "running",
            PreviewEnd::Failed => "failed",
            _ => "finished",
        };
        let member = matches!(template, "HD" | "FHD");
        let ready = status == "finished" || (running && inner.settings.running_has_url && template != "FHD");
        let mut task = json!({
            "template_id": template,
            "template_name": format!("pds{template}"),
            "template_width": width,
            "template_height": height,
            "status": status,
            "stage": "stage_all",
            "keep_original_resolution": false,
        });
        if let Some(signer) = signer {
            let url = ready && (package || !member);
            let url = if url { signer.url(&format!("{template}/media.m3u8"), true) } else { String::new() };
            task["url"] = json!(url);
            if member && !package {
                task["description"] = json!("当前清晰度需要三方权益包会员");
            }
        }
        task
    });
    entries.collect()
}

/// Signs the URLs of one preview.
struct Signer<'a> {
    call: &'a Call<'a>,
    dr: &'a str,
    node: &'a Node,
    file: &'a File,
    seconds: f64,
    expires_s: u64,
}

impl Signer<'_> {
    /// A playlist, which the host signs line by line, or a file beside it. The claimed duration rides in the
    /// folder's optional suffix of 8 hex digits, as milliseconds.
    fn url(&self, name: &str, playlist: bool) -> String {
        let drive = self.call.drive;
        let ms = (self.seconds * 1000.0).round() as u32;
        let path = format!("/lt/{}_{}__sha1_bj29_{ms:08x}/{name}", self.file.hash, self.file.content.len());
        let mut params = links::common_params(drive, &self.call.app, self.dr, &self.node.id).to_vec();
        params.push(("x-oss-expires", self.expires_s.to_string()));
        if playlist {
            let names = BASE64.encode(b"di,dr,f,u,pds-params");
            params.push(("x-oss-process", sign::encode(&format!("hls/sign,params_{names}"))));
        }
        format!("{}{}", drive.content_base, sign::signed(&drive.key, &path, &params))
    }
}
