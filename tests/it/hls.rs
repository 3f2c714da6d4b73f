//! A film as HLS: playlists that are ours, segments behind addresses that never expire.

use std::time::Duration;

use drive_sim::{Content, Endpoint, Fault, Sample};

use crate::support::{FFMPEG, KODI, Rig, Setup, follow, installed};

const FILM: &str = "/hls/ali/films/film.mkv";
const HLS_JS: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36";

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
async fn a_passing_fault_of_the_drive_is_not_seen_by_players() {
    let rig = rig().await;
    for (endpoint, below) in [
        (Endpoint::PreviewInfo, "master.m3u8"),
        (Endpoint::Playlist, "sd/index.m3u8"),
        (Endpoint::Segment, "sd/4.ts"),
        (Endpoint::Subtitle, "subtitles/zh.vtt"),
    ] {
        for fault in [Fault::BadGateway, Fault::DropConnection, Fault::Reset { after: 10 }] {
            // What was read before must be read anew.
            rig.pass(Duration::from_secs(1000));
            rig.sim.fault(endpoint, fault.clone(), 1);
            let reply = rig.get(&format!("{FILM}/{below}")).send().await;
            assert_eq!(reply.status, 200, "{below} {fault:?}: {}", String::from_utf8_lossy(&reply.body));
            rig.sim.clear_faults();
        }
    }
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
async fn a_quality_that_is_wanted_and_not_made_yet_is_not_called_absent() {
    let setup = Setup { rest: "[proxy]\nhold = \"2s\"\n".to_owned(), ..Setup::default() };
    let rig = Rig::with(setup, |drive| drive.file("/films/film.mkv", Content::Sample(Sample::Mkv))).await;
    // The drive is always at work on this one.
    let made = rig.get(&format!("{FILM}/master.m3u8?only=fhd")).send().await;
    assert_eq!((made.status, made.header("retry-after").is_empty()), (503, false), "{}", made.text());
    let withheld = rig.get(&format!("{FILM}/master.m3u8?only=hd")).send().await;
    assert!(withheld.status == 404 && withheld.text().contains("third-party package"), "{}", withheld.text());
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

#[tokio::test]
async fn subtitle_files_beside_a_film_are_its_tracks_in_utf_8() {
    let srt = "1\r\n00:00:01,000 --> 00:00:02,500\r\n你好，世界。我们今天去哪里？\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000\r\n这是一个关于时间的故事。\r\n";
    let (gb18030, _, _) = encoding_rs::GB18030.encode(srt);
    let ass = "[Script Info]\n[Events]\nFormat: Layer, Start, End, Text\nDialogue: 0,0:00:01.00,0:00:02.00,{\\i1}Hello{\\i0}, world\n";
    let utf_16: Vec<u8> =
        std::iter::once(0xfeff).chain(ass.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let rig = Rig::start(|drive| {
        drive
            .file("/films/film.mkv", Content::Sample(Sample::Mkv))
            .file("/films/film.chs.srt", Content::Bytes(gb18030.into_owned().into()))
            .file("/films/film.en.forced.ass", Content::Bytes(utf_16.into()))
            .file("/films/film.fr.srt", Content::Bytes("no line in it".into()))
            .file("/films/film 2.zh.srt", Content::Bytes(srt.into()))
            .file("/films/film 2.mkv", Content::Sample(Sample::Mkv))
    })
    .await;
    let master = rig.get(&format!("{FILM}/master.m3u8")).send().await;
    let tracks: Vec<_> = master.text().lines().filter(|line| line.contains("TYPE=SUBTITLES")).collect();
    let told = |tag: &str| {
        let uri = format!("URI=\"subtitles/{tag}/index.m3u8\"");
        *tracks.iter().find(|line| line.contains(&uri)).unwrap_or_else(|| panic!("{tag}: {tracks:?}"))
    };
    assert_eq!(tracks.len(), 5, "{tracks:?}");
    assert!(told("zh-hans").contains("LANGUAGE=\"zh-Hans\""), "{tracks:?}");
    assert!(told("en-2").contains("FORCED=YES") && told("zh").contains("DEFAULT=YES"), "{tracks:?}");
    for (tag, cue) in [
        ("zh-hans", "00:00:01.000 --> 00:00:02.500\n你好，世界。我们今天去哪里？\n"),
        ("en-2", "00:00:01.000 --> 00:00:02.000\n<i>Hello</i>, world\n"),
    ] {
        let list = rig.get(&format!("{FILM}/subtitles/{tag}/index.m3u8")).send().await;
        assert!(list.text().contains(&format!("\n../{tag}.vtt\n")), "{}", list.text());
        let vtt = rig.get(&format!("{FILM}/subtitles/{tag}.vtt")).send().await;
        assert!(vtt.text().starts_with("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:"), "{}", vtt.text());
        assert!(vtt.text().contains(cue), "{}", vtt.text());
    }
    let none = rig.get(&format!("{FILM}/subtitles/fr.vtt")).send().await;
    assert_eq!(none.status, 404, "{}", none.text());
    let counts = rig.sim.counts();
    assert_eq!((counts.list, counts.download_url, counts.rate_limited), (1, 3, 0), "{counts:?}");
}

/// The attributes of a variant in a multivariant playlist.
fn variant<'a>(master: &'a str, name: &str) -> &'a str {
    let lines: Vec<_> = master.lines().collect();
    let at = lines.iter().position(|line| line.starts_with(&format!("{name}/index.m3u8"))).unwrap();
    lines[at - 1]
}

#[tokio::test]
async fn the_master_tells_what_is_in_a_variant_from_its_first_piece() {
    let rig = rig().await;
    let master = rig.get(&format!("{FILM}/master.m3u8")).send().await;
    // As ffprobe tells of the committed segments: main profile at level 3.0 and 3.1, LC sound, 25 pictures a second.
    for (name, size, codec) in [("ld", "640x360", "avc1.4d401e"), ("sd", "960x540", "avc1.4d401f")] {
        let line = variant(master.text(), name);
        for part in [
            format!("RESOLUTION={size}"),
            format!("CODECS=\"{codec},mp4a.40.2\""),
            "FRAME-RATE=25.000".to_owned(),
            "CLOSED-CAPTIONS=NONE".to_owned(),
        ] {
            assert!(line.contains(&part), "{part}: {line}");
        }
        // An estimate is not told as an average.
        assert!(!line.contains("AVERAGE-BANDWIDTH"), "{line}");
    }
    // One playlist and one look a variant, for all who ask.
    let asks = (0..50).map(|_| rig.get(&format!("{FILM}/master.m3u8")).send());
    for again in futures_util::future::join_all(asks).await {
        assert_eq!(again.body, master.body);
    }
    let counts = rig.sim.counts();
    assert_eq!((counts.preview_info, counts.playlist, counts.segment), (1, 2, 2));
}

#[tokio::test]
async fn the_bandwidth_is_measured_once_all_pieces_were_seen() {
    let rig = rig().await;
    let mut lengths = Vec::new();
    for number in 0..6 {
        lengths.push(rig.get(&format!("{FILM}/ld/{number}.ts")).send().await.body.len() as u64);
    }
    let peak = (lengths.iter().max().unwrap() * 8).div_ceil(10);
    let average = (lengths.iter().sum::<u64>() * 8).div_ceil(60);
    let wanted = format!(":BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},");
    let master = rig.get(&format!("{FILM}/master.m3u8?only=ld")).send().await;
    assert!(master.text().contains(&wanted), "{wanted} {}", master.text());
    // The other was not played.
    let master = rig.get(&format!("{FILM}/master.m3u8")).send().await;
    assert!(!variant(master.text(), "sd").contains("AVERAGE"), "{}", master.text());
    assert!(!master.text().contains("INDEPENDENT"), "{}", master.text());
}

#[tokio::test]
async fn segments_are_called_independent_once_all_of_them_are_known_to_be() {
    let rig = rig().await;
    let mut first = String::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !first.contains("\n#EXT-X-INDEPENDENT-SEGMENTS\n") {
        assert!(tokio::time::Instant::now() < deadline, "{first}");
        // Each look ahead comes from somebody who plays.
        for number in 0..6 {
            rig.get(&format!("{FILM}/ld/{number}.ts")).send().await;
        }
        first = rig.get(&format!("{FILM}/master.m3u8?only=ld")).send().await.text().to_owned();
    }
}

#[tokio::test]
async fn a_segment_answers_as_a_small_file_does() {
    let rig = rig().await;
    let url = format!("{FILM}/ld/1.ts");
    // Nobody knows its length yet, and a HEAD is no reason to ask the drive.
    let head = rig.site.ask("HEAD", &url).send().await;
    assert_eq!((head.status, head.header("content-type")), (200, "video/mp2t"));
    assert_eq!((head.header("accept-ranges"), head.header("content-length")), ("bytes", ""));
    assert_eq!(rig.sim.counts().segment, 0);
    let whole = rig.get(&url).send().await;
    let head = rig.site.ask("HEAD", &url).send().await;
    assert_eq!(head.header("content-length"), whole.body.len().to_string());
    let etag = whole.header("etag");
    assert!(etag.starts_with('"') && etag == head.header("etag"), "{etag}");
    for (range, part, told) in [
        ("bytes=0-", 0..whole.body.len(), format!("bytes 0-{}/{}", whole.body.len() - 1, whole.body.len())),
        ("bytes=188-375", 188..376, format!("bytes 188-375/{}", whole.body.len())),
        (
            "bytes=-188",
            whole.body.len() - 188..whole.body.len(),
            format!("bytes {}-{}/{}", whole.body.len() - 188, whole.body.len() - 1, whole.body.len()),
        ),
    ] {
        for number in [1, 4] {
            let reply = rig.get(&format!("{FILM}/ld/{number}.ts")).range(range).send().await;
            assert_eq!(reply.status, 206, "{range}");
            if number == 1 {
                assert_eq!(
                    (reply.header("content-range"), &reply.body),
                    (&*told, &whole.body[part.clone()].to_vec())
                );
            }
        }
    }
    let beyond = rig.get(&url).range("bytes=99999999-").send().await;
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (416, &*format!("bytes */{}", whole.body.len()))
    );
    let same = rig.get(&url).header("if-none-match", etag).send().await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_ne!(rig.get(&format!("{FILM}/sd/1.ts")).send().await.header("etag"), etag);
}

#[tokio::test]
async fn a_player_is_a_piece_or_two_behind_what_the_drive_has_begun_to_make() {
    let rig = rig().await;
    // Opening every variant makes nothing that the drive has not made: two pieces of each are looked at, and one more.
    for variant in ["ld", "sd"] {
        for number in 0..2 {
            rig.get(&format!("{FILM}/{variant}/{number}.ts")).send().await;
        }
    }
    let asked = |variant: &str| {
        let mut numbers: Vec<usize> = Vec::new();
        for seen in rig.sim.requests() {
            let Some((_, rest)) = seen.path.split_once(&format!("/{}/media-", variant.to_uppercase())) else {
                continue;
            };
            numbers.push(rest.split('.').next().unwrap().parse().unwrap());
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    let until = async |variant: &str, wanted: &[usize]| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while asked(variant) != wanted {
            assert!(tokio::time::Instant::now() < deadline, "{:?}, not {wanted:?}", asked(variant));
            tokio::task::yield_now().await;
        }
    };
    until("ld", &[0, 1, 2]).await;
    until("sd", &[0, 1, 2]).await;
    // Who goes on watches.
    rig.get(&format!("{FILM}/sd/2.ts")).send().await;
    until("sd", &[0, 1, 2, 3, 4]).await;
    until("ld", &[0, 1, 2]).await;
    let before = rig.sim.counts().segment;
    for _ in 0..5 {
        rig.get(&format!("{FILM}/sd/2.ts")).send().await;
    }
    assert_eq!(rig.sim.counts().segment, before + 5, "each piece is looked at once");
}

#[tokio::test]
async fn a_list_that_grows_is_whole_for_players_and_a_missing_piece_is_waited_for() {
    let setup = Setup { rest: "[proxy]\nhold = \"5s\"\n".to_owned(), ..Setup::default() };
    let rig = Rig::with(setup, |drive| {
        drive
            .file("/films/film.mkv", Content::Sample(Sample::Mkv))
            .settings(|settings| settings.listed_segments = Some(2))
    })
    .await;
    let media = rig.get(&format!("{FILM}/ld/index.m3u8")).send().await;
    let lines: Vec<_> = media.text().lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, ["0.ts", "1.ts", "2.ts", "3.ts", "4.ts", "5.ts"]);
    assert!(media.text().ends_with("#EXT-X-ENDLIST\n"), "{}", media.text());
    let late = rig.get(&format!("{FILM}/ld/3.ts")).send().await;
    assert_eq!((late.status, late.header("retry-after").is_empty()), (503, false), "{}", late.text());
    // It comes while somebody waits.
    let waits = rig.get(&format!("{FILM}/ld/4.ts")).send();
    let grows = async {
        let before = rig.sim.counts().playlist;
        while rig.sim.counts().playlist == before {
            tokio::task::yield_now().await;
        }
        rig.sim.settings(|settings| settings.listed_segments = None);
    };
    let (came, ()) = tokio::join!(waits, grows);
    assert_eq!((came.status, came.body[0]), (200, 0x47));
    // And a list that shrinks loses nothing for good.
    rig.sim.settings(|settings| settings.listed_segments = Some(1));
    rig.pass(Duration::from_secs(1000));
    assert_eq!(rig.get(&format!("{FILM}/ld/5.ts")).send().await.status, 503);
    assert_eq!(rig.get(&format!("{FILM}/ld/0.ts")).send().await.status, 200);
    assert_eq!(rig.get(&format!("{FILM}/ld/6.ts")).send().await.status, 404);
    assert_eq!(rig.sim.counts().rate_limited, 0);
}

#[tokio::test]
async fn what_the_address_says_of_the_delivery_holds_for_the_whole_film() {
    let rig = rig().await;
    for (via, status) in [("redirect", 302), ("proxy", 200)] {
        let master =
            rig.get(&format!("{FILM}/master.m3u8?via={via}")).agent("Infuse-Direct/7.8").send().await;
        assert!(master.text().contains(&format!("\nld/index.m3u8?via={via}\n")), "{}", master.text());
        let media = rig.get(&format!("{FILM}/ld/index.m3u8?via={via}")).send().await;
        assert!(media.text().contains(&format!("\n0.ts?via={via}\n")), "{}", media.text());
        assert_eq!(rig.get(&format!("{FILM}/ld/0.ts?via={via}")).send().await.status, status);
    }
}

#[tokio::test]
async fn a_browser_is_redirected_only_where_it_can_follow() {
    for (cors, mode, delivery) in [
        (true, Some("cors"), "redirect"),
        (false, Some("cors"), "proxy; reason=no-cors"),
        // The browser's own HLS.
        (true, Some("no-cors"), "proxy; reason=browser-hls"),
        // Not said: an address without https.
        (true, None, "proxy; reason=browser-hls"),
    ] {
        let setup = Setup { mount: "delivery = \"redirect\"".to_owned(), ..Setup::default() };
        let rig = Rig::with(setup, |drive| {
            drive
                .file("/films/film.mkv", Content::Sample(Sample::Mkv))
                .settings(|settings| settings.cors = cors)
        })
        .await;
        let ask = rig.get(&format!("{FILM}/ld/0.ts")).agent(HLS_JS);
        let ask = if let Some(mode) = mode { ask.header("sec-fetch-mode", mode) } else { ask };
        assert_eq!(ask.send().await.header("sluice-delivery"), delivery, "{cors} {mode:?}");
    }
}

#[tokio::test]
async fn qualities_that_are_kept_back_are_named_with_the_reason() {
    let rig = rig().await;
    let master = rig.get(&format!("{FILM}/master.m3u8")).send().await;
    assert_eq!(master.header("sluice-withheld"), "hd; reason=package");
    rig.sim.settings(|settings| settings.package = true);
    rig.pass(Duration::from_secs(900));
    let master = rig.get(&format!("{FILM}/master.m3u8")).send().await;
    assert_eq!(master.header("sluice-withheld"), "");
}
