//! A file or folder as the API shows it (fact sheet §3.2).

use serde_json::{Value, json};

use crate::{
    clock::timestamp,
    content::Content,
    drive::Drive,
    nodes::{Node, Nodes},
    settings::DriveKind,
    sign,
};

/// What a call wants to know besides.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    paths: bool,
}

impl Wanted {
    /// From `fields`: `*` or a comma list (§3.1).
    pub(super) fn parse(fields: &str) -> Self {
        Self { paths: fields.split(',').any(|field| matches!(field.trim(), "*" | "id_path" | "name_path")) }
    }
}

/// The File object.
pub(super) fn json_of(drive: &Drive, nodes: &Nodes, kind: DriveKind, node: &Node, wanted: Wanted) -> Value {
    let mut item = json!({
        "drive_id": kind.id(),
        "domain_id": "bj29",
        "file_id": node.id,
        "parent_file_id": node.parent,
        "name": node.name,
        "type": "folder",
        "size": null,
        "file_extension": null,
        "content_hash": null,
        "category": null,
        "created_at": timestamp(node.created_ms),
        "updated_at": timestamp(node.updated_ms),
        "starred": false,
        "hidden": false,
        "trashed": false,
        "status": "available",
        "punish_flag": node.punish,
    });
    if let Some(file) = node.file() {
        let category = category(&node.extension());
        item["type"] = json!("file");
        item["size"] = json!(file.content.len());
        item["file_extension"] = json!(node.extension());
        item["mime_type"] = json!(mime(&node.extension()));
        item["content_type"] = json!("application/oct-stream");
        item["category"] = json!(category);
        item["content_hash"] = json!(file.hash);
        item["content_hash_name"] = json!("sha1");
        item["encrypt_mode"] = json!("none");
        if matches!(category, "video" | "image") {
            item["thumbnail"] = json!(thumbnail(drive, kind, node));
        }
        if category == "video" {
            item["play_cursor"] = Value::Null;
            item["video_media_metadata"] = video(&file.content);
        }
        if node.extension() == "livp" {
            let size = file.content.len();
            item["streams_info"] = json!({"jpeg": {"size": size / 4}, "mov": {"size": size - size / 4}});
        }
    }
    if wanted.paths {
        let (path, ids) = nodes.path(node);
        item["name_path"] = json!(path);
        item["id_path"] = json!(format!("/root/{}", ids.join("/")));
    }
    item
}

/// How long a film is: the samples' true 60 s; of others, as long as 8 Mbit/s make it.
pub(super) fn duration_s(content: &Content) -> f64 {
    match content {
        Content::Sample(sample) if sample.is_film() => 60.0,
        other => (other.len() as f64 / 1_000_000.0).max(1.0),
    }
}

/// Width and height of a film.
pub(super) fn size(content: &Content) -> (u32, u32) {
    match content {
        Content::Sample(_) => (640, 360),
        _ => (1920, 1080),
    }
}

fn video(content: &Content) -> Value {
    let duration = format!("{:.6}", duration_s(content));
    let bitrate = format!("{:.0}", content.len() as f64 * 8.0 / duration_s(content));
    let (width, height) = size(content);
    json!({
        "width": width,
        "height": height,
        "duration": duration,
        "video_media_video_stream": [{"code_name": "h264", "clarity": format!("{height}p"), "bitrate": bitrate,
            "duration": duration, "fps": "25/1"}],
        "video_media_audio_stream": [{"code_name": "aac", "channels": 1, "channel_layout": "mono",
            "bit_rate": "32000", "sample_rate": "44100", "duration": duration}],
    })
}

/// A short-lived signed picture.
fn thumbnail(drive: &Drive, kind: DriveKind, node: &Node) -> String {
    let expires = drive.clock.now_s() + 900;
    let params = [
        ("di", "bj29".to_owned()),
        ("dr", kind.id().to_owned()),
        ("f", node.id.clone()),
        ("x-oss-expires", expires.to_string()),
    ];
    format!("{}{}", drive.content_base, sign::signed(&drive.key, &format!("/thumbnail/{}", node.id), &params))
}

/// `category` by extension.
pub(super) fn category(extension: &str) -> &'static str {
    match extension {
        "avi" | "flv" | "m2ts" | "m4v" | "mkv" | "mov" | "mp4" | "mpg" | "rmvb" | "ts" | "webm" | "wmv" => {
            "video"
        }
        "aac" | "ape" | "flac" | "m4a" | "mp3" | "ogg" | "opus" | "wav" => "audio",
        "bmp" | "gif" | "heic" | "jpeg" | "jpg" | "livp" | "png" | "webp" => "image",
        "doc" | "docx" | "md" | "pdf" | "ppt" | "txt" | "xls" | "xlsx" => "doc",
        "7z" | "gz" | "rar" | "tar" | "zip" => "zip",
        "apk" | "dmg" | "exe" => "app",
        _ => "others",
    }
}

/// The stored media type by extension.
pub(crate) fn mime(extension: &str) -> &'static str {
    match extension {
        "flac" => "audio/flac",
        "jpeg" | "jpg" => "image/jpeg",
        "mkv" => "video/x-matroska",
        "mov" => "video/quicktime",
        "mp3" => "audio/mpeg",
        "mp4" | "m4v" => "video/mp4",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "ts" => "video/mp2t",
        "txt" => "text/plain",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}
