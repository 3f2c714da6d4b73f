//! A film as HLS: playlists that are ours, segments behind addresses that never expire.

use std::time::Duration;

use drive_sim::{Content, Endpoint, Fault, Sample};

use crate::support::{FFMPEG, KODI, Rig, Setup, follow, installed};

const FILM: &str = "/hls/ali/films/film.mkv";

async fn rig() -> Rig {
    Rig::start(|drive| drive.file("/films/film.mkv", Content::Sample(Sample::Mkv))).await
}

#[tokio::test]
async fn the_master_lists_the_variants_that_have_an_address() {
    let rig = rig().await;
    let master = rig.get(&format!("{FILM}/master.m3u8")).send().await;
    assert_eq!((master.status, master.header("content-type")), (200, "application/vnd.apple.mpegurl"));
    assert_eq!(master.header("sluice-delivery"), "playlist");
    let text = master.text();
    assert!(text.starts_with("#EXTM3U\n"));
    assert!(
        text.contains("RESOLUTION=640x360")
            && text.contains("\nld/index.m3u8\n")
            && text.contains("\nsd/index.m3u8\n")
    );
    // HD and above want the package.
    assert!(!text.contains("\nhd/"), "{text}");
    assert!(text.contains("LANGUAGE=\"zh\"") && text.contains("LANGUAGE=\"en\""), "{text}");
    assert!(!text.contains("oss"), "an address of the drive: {text}");
    rig.sim.settings(|settings| settings.package = true);
    rig.pass(Duration::from_secs(900));
    assert!(rig.get(&format!("{FILM}/master.m3u8")).send().await.text().contains("\nhd/index.m3u8\n"));
}

#[tokio::test]
async fn a_media_playlist_has_our_addresses_only_and_its_segments_play() {
    let rig = rig().await;
    let media = rig.get(&format!("{FILM}/ld/index.m3u8")).send().await;
    assert_eq!((media.status, media.header("content-type")), (200, "application/vnd.apple.mpegurl"));
    let lines: Vec<_> = media.text().lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, ["0.ts", "1.ts", "2.ts", "3.ts", "4.ts", "5.ts"]);
    assert!(media.text().contains("#EXT-X-ENDLIST"));
    for number in 0..6 {
        let segment = rig.get(&format!("{FILM}/ld/{number}.ts")).send().await;
        assert_eq!((segment.status, segment.header("content-type")), (200, "video/mp2t"), "{number}");
        assert_eq!(segment.body[0], 0x47, "the sync byte of a transport stream");
        assert_eq!(segment.header("content-length"), segment.body.len().to_string());
    }
    assert_eq!(rig.get(&format!("{FILM}/ld/6.ts")).send().await.status, 404);
    assert_eq!(rig.get(&format!("{FILM}/xx/index.m3u8")).send().await.status, 404);
    // All of that from one preview and one playlist.
    assert_eq!((rig.sim.counts().preview_info, rig.sim.counts().playlist), (1, 1));
}

#[tokio::test]
async fn segments_go_by_the_mounts_delivery() {
    let rig = rig().await;
    let bytes = rig.get(&format!("{FILM}/ld/1.ts")).agent(KODI).send().await;
    assert_eq!((bytes.status, bytes.header("sluice-delivery")), (200, "proxy"));
    // It fetches all segments on one connection.
    let ffmpeg = rig.get(&format!("{FILM}/ld/1.ts")).agent(FFMPEG).send().await;
    assert_eq!((ffmpeg.status, ffmpeg.header("sluice-delivery")), (200, "proxy"));
    let redirect = rig.get(&format!("{FILM}/ld/1.ts")).agent("Infuse-Direct/7.8").send().await;
    assert_eq!((redirect.status, redirect.header("sluice-delivery")), (302, "redirect"));
    assert_eq!(redirect.header("cache-control"), "no-store");
    assert_eq!(follow(redirect.header("location"), None).await.body, bytes.body);
}

#[tokio::test]
async fn a_segments_address_outlives_the_drives() {
    let rig = rig().await;
    let first = rig.get(&format!("{FILM}/sd/0.ts")).send().await;
    let before = rig.sim.counts().preview_info;
    for _ in 0..3 {
        rig.pass(Duration::from_secs(1000));
        let asks = (0..6).map(|number| rig.get(&format!("{FILM}/sd/{number}.ts")).send());
        for reply in futures_util::future::join_all(asks).await {
            assert_eq!(reply.status, 200);
        }
    }
    assert_eq!(rig.get(&format!("{FILM}/sd/0.ts")).send().await.body, first.body);
    // One preview for each time the old one had ended, however many segments were asked.
    assert_eq!(rig.sim.counts().preview_info, before + 3);
}

#[tokio::test]
async fn a_link_that_died_early_is_replaced_under_the_segment() {
    let rig = rig().await;
    rig.get(&format!("{FILM}/sd/0.ts")).send().await;
    // The drive's clock runs ahead of ours: to us the addresses look good.
    rig.sim.advance(Duration::from_secs(1000));
    assert_eq!(rig.get(&format!("{FILM}/sd/1.ts")).send().await.status, 200);
}

#[tokio::test]
async fn subtitles_are_webvtt_with_a_playlist() {
    let rig = rig().await;
    let vtt = rig.get(&format!("{FILM}/subtitles/zh.vtt")).send().await;
    assert_eq!((vtt.status, vtt.header("content-type")), (200, "text/vtt; charset=utf-8"));
    assert!(vtt.text().starts_with("WEBVTT"));
    assert_eq!(rig.get(&format!("{FILM}/subtitles/zh/zh.vtt")).send().await.body, vtt.body);
    let list = rig.get(&format!("{FILM}/subtitles/zh/index.m3u8")).send().await;
    assert!(
        list.text().contains("\n../zh.vtt\n") && list.text().contains("#EXT-X-ENDLIST"),
        "{}",
        list.text()
    );
    assert_eq!(rig.get(&format!("{FILM}/subtitles/fr.vtt")).send().await.status, 404);
}

#[tokio::test]
async fn a_preview_that_is_not_there_says_why() {
    let setup = Setup { rest: "[proxy]\nhold = \"2s\"\n".to_owned(), ..Setup::default() };
    let rig = Rig::with(setup, |drive| {
        drive
            .file("/films/film.mkv", Content::Sample(Sample::Mkv))
            .file("/raw.mkv", Content::Virtual { len: 9999, seed: 1 })
    })
    .await;
    let none = rig.get("/hls/ali/raw.mkv/master.m3u8").send().await;
    assert_eq!(none.status, 404);
    assert!(none.text().contains("cannot transcode"), "{}", none.text());
    let code = |status, code: &str| Fault::Code { status, code: code.to_owned(), message: "x".to_owned() };
    for (fault, status, words) in [
        (code(202, "VideoPreviewWaitAndRetry"), 503, "preparing"),
        (code(403, "ExceedCapacityForbidden"), 503, "over its storage space"),
        (code(403, "FeatureTemporaryDisabled"), 503, "switched this feature off"),
        (code(403, "UserNotAllowedAccessResource"), 503, "frozen"),
    ] {
        rig.sim.fault(Endpoint::PreviewInfo, fault, 1000);
        let reply = rig.get(&format!("{FILM}/master.m3u8")).send().await;
        assert_eq!(reply.status, status, "{words}");
        assert!(reply.text().contains(words), "{}", reply.text());
        assert!(!reply.header("retry-after").is_empty(), "{words}");
        rig.sim.clear_faults();
    }
    assert_eq!(rig.get(&format!("{FILM}/master.m3u8")).send().await.status, 200);
}

#[tokio::test]
async fn a_film_that_is_being_prepared_holds_the_player_until_it_is() {
    let rig = rig().await;
    rig.sim.settings(|settings| {
        let preview = drive_sim::Preview { wait_calls: 1, running_calls: 2, ..drive_sim::Preview::default() };
        settings.preview.insert("/films/film.mkv".to_owned(), preview);
    });
    let players = (0..10).map(|_| rig.get(&format!("{FILM}/master.m3u8")).send());
    for master in futures_util::future::join_all(players).await {
        assert_eq!(master.status, 200, "{}", master.text());
        assert!(master.text().contains("\nld/index.m3u8\n"));
    }
    let calls = rig.sim.counts().preview_info;
    assert!((4..=5).contains(&calls), "{calls} calls: all of them wait for one");
}

#[tokio::test]
async fn the_address_can_say_which_qualities_are_wanted() {
    let rig = rig().await;
    rig.sim.settings(|settings| settings.package = true);
    let listed = async |query: &str| {
        let master = rig.get(&format!("{FILM}/master.m3u8{query}")).send().await;
        let lines = master.text().lines().filter(|line| line.ends_with("/index.m3u8"));
        (
            master.status,
            lines.map(|line| line.split('/').next().unwrap().to_owned()).collect::<Vec<_>>().join(" "),
        )
    };
    assert_eq!(listed("").await, (200, "ld sd hd".to_owned()));
    assert_eq!(listed("?max=sd").await, (200, "ld sd".to_owned()));
    assert_eq!(listed("?default=sd").await, (200, "sd ld hd".to_owned()));
    assert_eq!(listed("?only=hd").await, (200, "hd".to_owned()));
    assert_eq!(listed("?only=qhd").await.0, 404);
    assert_eq!(listed("?only=%2e%2e").await.0, 400);
}

#[tokio::test]
async fn subtitles_begin_when_the_picture_does() {
    if !installed("ffprobe") {
        return;
    }
    let rig = rig().await;
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("0.ts");
    std::fs::write(&file, rig.get(&format!("{FILM}/ld/0.ts")).send().await.body).unwrap();
    let output = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v", "-show_entries", "stream=start_pts", "-of", "csv=p=0"])
        .arg(&file)
        .output()
        .unwrap();
    let ticks = String::from_utf8(output.stdout).unwrap();
    let ticks = ticks.lines().next().unwrap().trim_matches([',', ' ']).to_owned();
    for _ in 0..2 {
        let vtt = rig.get(&format!("{FILM}/subtitles/zh.vtt")).send().await;
        let second = vtt.text().lines().nth(1).unwrap();
        assert_eq!(second, format!("X-TIMESTAMP-MAP=MPEGTS:{ticks},LOCAL:00:00:00.000"));
    }
    assert_eq!((rig.sim.counts().preview_info, rig.sim.counts().playlist), (1, 1));
}
