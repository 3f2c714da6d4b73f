//! Previews: states, playlists, segments, subtitles.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Reply, User, get, unlimited, virtual_file};
use crate::{Content, PlaylistType, Preview, PreviewEnd, Sample, samples::RENDITIONS};

async fn user() -> User {
    let sim = unlimited()
        .file("/film.mkv", Content::Sample(Sample::Mkv))
        .file("/film.mp4", Content::Sample(Sample::Mp4))
        .file("/long.mkv", virtual_file(100_000_000_000));
    User::new(sim.start().await.unwrap()).await
}

async fn info(user: &User, path: &str) -> Reply {
    let id = user.sim.file_id(path).unwrap();
    user.file_call("getVideoPreviewPlayInfo", json!({"file_id": id, "category": "live_transcoding"})).await
}

fn tasks(reply: &Reply) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = &reply.json()["video_preview_play_info"]["live_transcoding_task_list"];
    let task = |task: &Value| (text(&task["template_id"]), text(&task["status"]), text(&task["url"]));
    list.as_array().unwrap().iter().map(task).collect()
}

#[tokio::test]
async fn without_the_package_hd_is_finished_and_blank() {
    let user = user().await;
    let blank = tasks(&info(&user, "/film.mkv").await);
    let urls: Vec<_> = blank.iter().map(|(id, status, url)| (&**id, &**status, !url.is_empty())).collect();
    let expected = [
        ("LD", "finished", true),
        ("SD", "finished", true),
        ("HD", "finished", false),
        ("FHD", "running", false),
    ];
    assert_eq!(urls, expected);
    user.sim.settings(|settings| settings.package = true);
    assert!(!tasks(&info(&user, "/film.mkv").await)[2].2.is_empty());
}

#[tokio::test]
async fn a_playlist_has_signed_relative_segments_that_play() {
    let user = user().await;
    let url = tasks(&info(&user, "/film.mp4").await)[0].2.clone();
    let playlist = get(&url, &[]).await;
    assert_eq!(playlist.header("content-type").unwrap(), "application/vnd.apple.mpegurl");
    assert_eq!(playlist.header("access-control-allow-origin").unwrap(), "*");
    let text = playlist.text();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(lines.len() == 6 && text.ends_with("#EXT-X-ENDLIST\n") && text.contains("#EXTINF:10.000,"));
    let folder = url.split_once("media.m3u8").unwrap().0;
    for (n, line) in lines.iter().enumerate() {
        assert!(line.starts_with(&format!("media-{n}.ts?di=bj29&")));
        let segment = get(&format!("{folder}{line}"), &[]).await;
        assert_eq!((segment.status, segment.body.as_slice()), (200, RENDITIONS[0].segments[n]));
    }
    let unsigned = lines[0].split_once('?').unwrap().0;
    assert_eq!(get(&format!("{folder}{unsigned}"), &[]).await.status, 403);
    user.sim.advance(Duration::from_secs(900));
    assert!(get(&format!("{folder}{}", lines[0]), &[]).await.text().contains("Request has expired"));
    assert_eq!(user.sim.counts().segment, 8);
}

#[tokio::test]
async fn a_preview_goes_through_its_script() {
    let user = user().await;
    let script = Preview {
        wait_calls: 2,
        running_calls: 1,
        duration: Some(Duration::from_millis(74_330)),
        ..Preview::default()
    };
    user.sim.settings(|settings| {
        settings.preview.insert("long.mkv".to_owned(), script);
    });
    for _ in 0..2 {
        let wait = info(&user, "/long.mkv").await;
        assert_eq!((wait.status, wait.code().as_str()), (202, "VideoPreviewWaitAndRetry"));
    }
    assert!(
        tasks(&info(&user, "/long.mkv").await)
            .iter()
            .all(|(_, status, url)| status == "running" && url.is_empty())
    );
    let url = tasks(&info(&user, "/long.mkv").await)[1].2.clone();
    let text = get(&url, &[]).await.text();
    assert!(text.contains("#EXTINF:4.330,\nmedia-7.ts") && text.matches("EXTINF").count() == 8);
}

#[tokio::test]
async fn previews_are_refused_as_set() {
    let user = user().await;
    assert_eq!(info(&user, "/long.mkv").await.code(), "NotFound.VideoPreviewInfo");
    let disabled = Preview::ending(PreviewEnd::FeatureDisabled);
    user.sim.settings(|settings| {
        settings.preview.insert("/film.mkv".to_owned(), disabled);
    });
    assert_eq!(info(&user, "/film.mkv").await.code(), "FeatureTemporaryDisabled");
    user.sim.settings(|settings| settings.over_capacity = true);
    assert_eq!(info(&user, "/film.mp4").await.code(), "ExceedCapacityForbidden");
}

#[tokio::test]
async fn segments_past_30_seconds_take_time_once() {
    let user = user().await;
    user.sim.settings(|settings| {
        settings.transcode_delay = Duration::from_millis(150);
        settings.playlist_type = PlaylistType::OctetStream;
        settings.cors = false;
    });
    let url = tasks(&info(&user, "/film.mkv").await)[0].2.clone();
    let playlist = get(&url, &[]).await;
    assert_eq!(playlist.header("content-type").unwrap(), "application/octet-stream");
    assert_eq!(playlist.header("access-control-allow-origin"), None);
    let text = playlist.text();
    let line = text.lines().find(|line| line.starts_with("media-3.ts")).unwrap();
    let segment = format!("{}{line}", url.split_once("media.m3u8").unwrap().0);
    let start = Instant::now();
    get(&segment, &[]).await;
    let first = start.elapsed();
    get(&segment, &[]).await;
    assert!(first >= Duration::from_millis(150) && start.elapsed() - first < Duration::from_millis(150));
}

#[tokio::test]
async fn matroska_has_subtitles_as_webvtt() {
    let user = user().await;
    let list = "live_transcoding_subtitle_task_list";
    assert!(info(&user, "/film.mp4").await.json()["video_preview_play_info"][list].is_null());
    let tracks = info(&user, "/film.mkv").await.json()["video_preview_play_info"][list].clone();
    assert_eq!((&tracks[0]["language"], &tracks[1]["language"]), (&json!("chi"), &json!("eng")));
    let text = get(tracks[0]["url"].as_str().unwrap(), &[]).await;
    assert!(
        text.header("content-type").unwrap().starts_with("text/vtt") && text.text().starts_with("WEBVTT")
    );
}

#[tokio::test]
async fn the_meta_call_has_no_urls() {
    let user = user().await;
    let id = user.sim.file_id("/film.mkv").unwrap();
    let reply = user.file_call("getVideoPreviewPlayMeta", json!({"file_id": id})).await.json();
    let tasks = &reply["video_preview_play_meta"]["live_transcoding_task_list"];
    assert_eq!(tasks[0]["status"], "finished");
    assert!(tasks[0].get("url").is_none());
}
