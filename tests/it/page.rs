//! The page in a real browser: films play, direct and as HLS, and watching them is comfortable.

use std::process::Stdio;
use std::time::Duration;

use drive_sim::{Content, Endpoint, Fault, Sample};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::browser::{Browser, choose, has_browser, is_behind, seek, shows};
use crate::support::{Rig, Setup, installed};

const PLAYS: &str = "document.getElementById('player').currentTime > ";

const PLAY: &str = "document.getElementById('player').play()";

#[tokio::test(flavor = "multi_thread")]
async fn a_film_plays_in_the_page_direct_and_as_hls() {
    if !has_browser() {
        return;
    }
    let rig = Rig::start(|drive| {
        drive
            .file("/films/A film, with #1 & more (2019).mp4", Content::Sample(Sample::Mp4))
            .settings(|settings| {
                let preview = drive_sim::Preview { subtitles: Some(true), ..drive_sim::Preview::default() };
                settings.preview.insert("/films/A film, with #1 & more (2019).mp4".to_owned(), preview);
            })
            .file("/films/电影.mkv", Content::Sample(Sample::Mkv))
            .file("/films/notes.txt", Content::Bytes("notes".into()))
    })
    .await;
    let browser = Browser::start().await;

    // By hand from the root: every step is a link.
    browser.open(&rig.site.base).await;
    for step in ["ali/", "films/"] {
        browser.eval(&format!("for (const a of document.querySelectorAll('td a')) if (a.textContent === '{step}') {{ location = a.href; break; }}")).await;
        browser.until(&format!("decodeURIComponent(location.pathname).endsWith('{step}')")).await;
    }
    browser.until("document.querySelectorAll('tr').length === 3").await;
    browser.screenshot("folder.png").await;
    browser.eval("for (const a of document.querySelectorAll('td a')) if (a.textContent.endsWith('.mp4')) location = a.href").await;
    browser.until("document.getElementById('player') !== null && document.readyState === 'complete'").await;

    browser.eval(PLAY).await;
    browser.until(&format!("{PLAYS} 1")).await;
    browser.eval(&seek(40.0)).await;
    browser.until(&format!("{PLAYS} 41")).await;
    // The playlist tells of the original, both transcodes with the choice between them, and the one that is kept back.
    browser.until("document.getElementById('quality').options.length === 5").await;
    let kept_back = "(() => { const o = [...document.getElementById('quality').options].find(o => o.textContent.startsWith('HD')); \
                     return o.disabled && o.textContent.includes('third-party package'); })()";
    browser.until(kept_back).await;
    // Subtitles are for the original as well.
    browser.eval(&choose("subtitles", "English")).await;
    browser.until(&shows("Subtitle line")).await;
    browser.screenshot("original.png").await;

    // By the browser's own HLS.
    browser.eval(&choose("quality", "Automatic")).await;
    browser.until("document.getElementById('player').currentSrc.includes('master.m3u8')").await;
    browser.until(&format!("{PLAYS} 41")).await;
    // One quality alone, chosen by name.
    browser.eval(&choose("quality", "SD")).await;
    browser.until("document.getElementById('player').currentSrc.includes('/sd/index.m3u8')").await;
    browser.until("document.getElementById('player').videoWidth === 960").await;
    browser.screenshot("hls.png").await;
    browser.eval(&seek(57.0)).await;
    browser.eval(PLAY).await;
    browser.until("document.getElementById('player').ended").await;

    browser.quit().await;
    assert_eq!(rig.sim.counts().rate_limited, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_that_the_drive_does_not_give_says_why() {
    if !has_browser() {
        return;
    }
    let rig = Rig::start(|drive| drive.file("/films/film.mkv", Content::Sample(Sample::Mkv))).await;
    rig.sim.freeze("/films/film.mkv");
    let said = rig.get("/d/ali/films/film.mkv").range("bytes=0-0").send().await;
    let reason = said.text().split(" (request").next().unwrap().trim().to_owned();
    let browser = Browser::start().await;
    browser.open(&format!("{}/browse/ali/films/film.mkv", rig.site.base)).await;
    // Why not the original, and why no transcode either.
    for reason in [reason.to_lowercase(), "the drive has frozen".to_owned()] {
        let says =
            format!("document.getElementById('message').textContent.toLowerCase().includes('{reason}')");
        browser.until(&says).await;
    }
    browser.until("document.getElementById('quality').selectedIndex === 0").await;
    browser.quit().await;
}

/// Ten places, there and back.
const PLACES: [f64; 10] = [40.0, 5.0, 55.0, 12.0, 33.0, 21.0, 50.0, 2.0, 45.0, 28.0];

#[tokio::test(flavor = "multi_thread")]
async fn a_film_behind_a_signature_plays_by_the_browsers_own_hls() {
    for delivery in ["proxy", "redirect"] {
        watch_signed(
            delivery,
            "",
            "document.getElementById('player').currentSrc.includes('master.m3u8?sign=')",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_behind_a_signature_plays_by_script_where_the_browser_has_no_hls() {
    for delivery in ["proxy", "redirect"] {
        watch_signed(delivery, "?hls=js", "document.getElementById('player').currentSrc.startsWith('blob:')")
            .await;
    }
}

/// Watches a film as HLS on a site that wants a login, as somebody who has one: from ten places, in two qualities, with two
/// subtitles, to the end. `is_taken` tells that the way is the one that the page's query asks for.
async fn watch_signed(delivery: &str, query: &str, is_taken: &str) {
    if !has_browser() {
        return;
    }
    let setup = Setup { closed: true, mount: format!("delivery = \"{delivery}\""), ..Setup::default() };
    let rig = Rig::with(setup, |drive| drive.file("/films/film.mkv", Content::Sample(Sample::Mkv))).await;
    let browser = Browser::start().await;
    let host = rig.site.base.replace("http://", "http://me:test-token@");
    browser.open(&format!("{host}/browse/ali/films/film.mkv{query}")).await;
    browser.until("document.getElementById('quality').options.length >= 4").await;
    browser.eval(&choose("quality", "Automatic")).await;
    browser.until(is_taken).await;
    browser.eval(PLAY).await;
    browser.until(&format!("{PLAYS} 0.5")).await;
    for place in PLACES {
        browser.eval(&seek(place)).await;
        browser.eval(PLAY).await;
        browser.until(&is_behind(place)).await;
    }
    for (language, words) in [("中文", "第三方字幕 台词"), ("English", "Subtitle line")] {
        browser.eval(&choose("subtitles", language)).await;
        browser.eval(&seek(31.0)).await;
        browser.until(&shows(words)).await;
    }
    for (name, width) in [("SD", 960), ("LD", 640)] {
        browser.eval(&choose("quality", name)).await;
        browser.until(&format!("document.getElementById('player').videoWidth === {width}")).await;
    }
    browser.eval(&seek(57.0)).await;
    browser.eval(PLAY).await;
    browser.until("document.getElementById('player').ended").await;
    browser.quit().await;
    let counts = rig.sim.counts();
    assert_eq!((counts.preview_info, counts.rate_limited), (1, 0), "{delivery}: {counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_browsers_own_hls_fails_the_film_goes_on_by_script_at_the_same_place() {
    if !has_browser() {
        return;
    }
    let setup = Setup { rest: "[proxy]\nhold = \"1s\"\n".to_owned(), ..Setup::default() };
    let rig = Rig::with(setup, |drive| drive.file("/films/film.mkv", Content::Sample(Sample::Mkv))).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/browse/ali/films/film.mkv", rig.site.base)).await;
    browser.until("document.getElementById('quality').options.length >= 4").await;
    browser.eval(&choose("quality", "SD")).await;
    browser.until("document.getElementById('player').currentSrc.includes('/sd/index.m3u8')").await;
    browser.eval(PLAY).await;
    browser.until(&format!("{PLAYS} 0.5")).await;
    // One piece that does not come ends the browser's own HLS.
    rig.sim.fault_every(Endpoint::Segment, Fault::SlowDown, 1);
    browser.eval(&seek(45.0)).await;
    browser.until("document.getElementById('player').currentSrc.startsWith('blob:')").await;
    rig.sim.clear_faults();
    browser.until(&is_behind(45.0)).await;
    browser.until("document.getElementById('player').videoWidth === 960").await;
    browser.until("document.getElementById('message').textContent === ''").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_script_a_film_that_broke_off_says_so_and_goes_on() {
    if !has_browser() {
        return;
    }
    let rig = Rig::start(|drive| drive.file("/films/film.mkv", Content::Sample(Sample::Mkv))).await;
    let browser = Browser::start().await;
    browser.cdp("Network.enable", json!({})).await;
    browser.open(&format!("{}/browse/ali/films/film.mkv?hls=js", rig.site.base)).await;
    browser.until("document.getElementById('quality').options.length >= 4").await;
    // After two vain tries hls.js gives up by itself.
    browser.cdp("Network.setBlockedURLs", json!({"urls": ["*/sd/index.m3u8"]})).await;
    browser.eval(PLAY).await;
    browser.eval(&choose("quality", "SD")).await;
    browser.until("document.getElementById('message').textContent.startsWith('The film broke off')").await;
    browser.cdp("Network.setBlockedURLs", json!({"urls": []})).await;
    browser.until("document.getElementById('player').videoWidth === 960").await;
    browser.until(&format!("{PLAYS} 1")).await;
    browser.until("document.getElementById('message').textContent === ''").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_any_hls_gets_the_original_and_is_told() {
    if !has_browser() {
        return;
    }
    let rig = Rig::start(|drive| drive.file("/films/film.mkv", Content::Sample(Sample::Mkv))).await;
    let browser = Browser::start().await;
    browser.cdp("Network.enable", json!({})).await;
    browser.cdp("Network.setBlockedURLs", json!({"urls": ["*/assets/hls.js"]})).await;
    browser.open(&format!("{}/browse/ali/films/film.mkv?hls=js", rig.site.base)).await;
    browser.until("document.getElementById('quality').options.length >= 4").await;
    browser.eval(PLAY).await;
    browser.until(&format!("{PLAYS} 0.5")).await;
    browser.eval(&choose("quality", "Automatic")).await;
    browser.until("document.getElementById('message').textContent.includes('has no hls.js')").await;
    browser.until("document.getElementById('quality').selectedIndex === 0").await;
    browser.until(&format!("{PLAYS} 1.5")).await;
    browser.quit().await;
}

#[tokio::test]
async fn hls_js_is_fetched_once_a_version() {
    let rig = Rig::start(|drive| drive).await;
    let none = rig.get("/assets/other.js").send().await;
    assert_eq!((none.status, none.text().lines().count()), (404, 1));
    let script = rig.get("/assets/hls.js").send().await;
    if script.status == 404 {
        // The build had no npm.
        assert_eq!(script.text().lines().count(), 1);
        return;
    }
    assert!(script.text().starts_with("/*! hls.js "), "whose it is stands at its head");
    let tag = script.header("etag");
    assert!(tag.starts_with('"') && script.header("content-type").starts_with("text/javascript"), "{tag}");
    let again = rig.get("/assets/hls.js").header("if-none-match", tag).send().await;
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_whose_picture_the_browser_cannot_show_plays_as_a_transcode() {
    if !has_browser() || !installed("ffmpeg") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (film, blind) = (folder.path().join("film.mp4"), folder.path().join("blind.mp4"));
    std::fs::write(&film, Sample::Mp4.bytes()).unwrap();
    // Its sound alone, which is what a browser makes of a picture that it does not know.
    let status = Command::new("ffmpeg")
        .args(["-loglevel", "error", "-i"])
        .arg(&film)
        .args(["-map", "0:a", "-c", "copy"])
        .arg(&blind)
        .stdin(Stdio::null())
        .status()
        .await
        .unwrap();
    assert!(status.success());
    let bytes = std::fs::read(&blind).unwrap();
    let rig = Rig::start(|drive| {
        drive.file("/films/film.mp4", Content::Bytes(bytes.into())).settings(|settings| {
            let duration = Some(Duration::from_secs(60));
            let preview = drive_sim::Preview { duration, ..drive_sim::Preview::default() };
            settings.preview.insert("/films/film.mp4".to_owned(), preview);
        })
    })
    .await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/browse/ali/films/film.mp4", rig.site.base)).await;
    browser.until("document.getElementById('player').currentSrc.includes('master.m3u8')").await;
    browser.until("document.getElementById('player').videoWidth > 0").await;
    browser.until("document.getElementById('message').textContent.includes('shows no picture')").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_browser_cannot_play_as_it_is_plays_as_a_transcode() {
    if !has_browser() {
        return;
    }
    let rig = Rig::start(|drive| {
        drive.file("/films/film.mkv", Content::Bytes(vec![7; 4096].into())).settings(|settings| {
            let preview = drive_sim::Preview {
                duration: Some(Duration::from_secs(60)),
                ..drive_sim::Preview::default()
            };
            settings.preview.insert("/films/film.mkv".to_owned(), preview);
        })
    })
    .await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/browse/ali/films/film.mkv", rig.site.base)).await;
    browser.until("document.getElementById('player').currentSrc.includes('master.m3u8')").await;
    browser
        .until("document.getElementById('message').textContent.includes('cannot play the original')")
        .await;
    browser.eval(PLAY).await;
    browser.until(&format!("{PLAYS} 1")).await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_that_is_being_prepared_says_so_and_plays_when_it_is() {
    if !has_browser() {
        return;
    }
    let setup = Setup { rest: "[proxy]\nhold = \"1s\"\n".to_owned(), ..Setup::default() };
    let scripted = |wait_calls| drive_sim::Preview { wait_calls, ..drive_sim::Preview::default() };
    let rig = Rig::with(setup, |drive| {
        drive
            .file("/films/film.mp4", Content::Sample(Sample::Mp4))
            .file("/films/raw.mp4", Content::Sample(Sample::Mp4))
            .settings(|settings| {
                settings.preview.insert("/films/film.mp4".to_owned(), scripted(1_000_000));
                let never = drive_sim::Preview::ending(drive_sim::PreviewEnd::NotFound);
                settings.preview.insert("/films/raw.mp4".to_owned(), never);
            })
    })
    .await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/browse/ali/films/film.mp4", rig.site.base)).await;
    browser.eval(&choose("quality", "Automatic")).await;
    browser
        .until(
            "document.getElementById('message').textContent.startsWith('The drive is preparing this film')",
        )
        .await;
    browser.screenshot("preparing.png").await;
    rig.sim.settings(|settings| {
        settings.preview.insert("/films/film.mp4".to_owned(), scripted(0));
    });
    browser.until("document.getElementById('player').currentSrc.includes('master.m3u8')").await;
    browser.eval(PLAY).await;
    browser.until(&format!("{PLAYS} 1")).await;
    browser.until("document.getElementById('message').textContent === ''").await;

    // One that never will be: the original plays, and the page says why there is nothing else.
    browser.open(&format!("{}/browse/ali/films/raw.mp4", rig.site.base)).await;
    browser.until("document.getElementById('message').textContent.includes('cannot transcode')").await;
    browser.until("document.getElementById('quality').options[1].disabled").await;
    browser.eval(PLAY).await;
    browser.until(&format!("{PLAYS} 1")).await;
    browser.until("document.getElementById('message').textContent.includes('cannot transcode')").await;
    browser.screenshot("no-transcode.png").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_goes_on_where_one_left_and_with_the_next_episode() {
    if !has_browser() {
        return;
    }
    let rig = Rig::start(|drive| {
        ["Show 10.mp4", "Show 9.mp4", "Show 9.srt", "Show 8.mp4", "Other.mp4"]
            .into_iter()
            .fold(drive, |drive, name| drive.file(&format!("/films/{name}"), Content::Sample(Sample::Mp4)))
    })
    .await;
    let browser = Browser::start().await;
    let first = format!("{}/browse/ali/films/Show%209.mp4", rig.site.base);
    browser.open(&first).await;
    browser.eval(PLAY).await;
    browser.eval(&seek(20.0)).await;
    browser.until(&is_behind(23.0)).await;
    let lists = rig.sim.counts().list;
    browser.open(&format!("{first}?x=another-signature")).await;
    browser.until("document.getElementById('player').currentTime > 20 && !document.getElementById('restart').hidden").await;
    browser.eval("document.getElementById('restart').click()").await;
    browser.until("document.getElementById('player').currentTime < 1").await;
    assert_eq!(rig.sim.counts().list, lists, "nobody has asked for the next one");

    // Keys, as on other players; not while a menu has them.
    let press = |target: &str, key: &str| {
        format!(
            "{target}.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true, cancelable: true}}))"
        )
    };
    browser.eval(&press("document.body", "5")).await;
    browser.until("Math.abs(document.getElementById('player').currentTime - 30) < 0.5").await;
    browser.eval(&press("document.getElementById('player')", "ArrowRight")).await;
    browser.until("Math.abs(document.getElementById('player').currentTime - 35) < 0.5").await;
    browser.eval(&press("document.getElementById('quality')", "9")).await;
    browser.eval(&press("document.body", "m")).await;
    browser
        .until(
            "document.getElementById('player').muted && document.getElementById('player').currentTime < 40",
        )
        .await;
    browser.eval(&press("document.body", "k")).await;
    browser.until(&is_behind(35.0)).await;
    // Caps lock is no modifier; shift is.
    browser.eval(&press("document.body", "M")).await;
    browser.until("!document.getElementById('player').muted").await;
    browser
        .eval("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'm', shiftKey: true, bubbles: true}))")
        .await;
    assert_eq!(browser.eval("return document.getElementById('player').muted").await, json!(false));
    assert_eq!(rig.sim.counts().list, lists, "nobody has asked for the next one");

    // To the end: the next by number, which can be declined or taken.
    browser.eval(&seek(58.5)).await;
    browser.until("!document.getElementById('coming').hidden").await;
    browser.until("document.querySelector('#coming span').textContent.startsWith('Show 10.mp4 in ')").await;
    browser.screenshot("next.png").await;
    browser.eval("document.querySelector('#coming .quiet').click()").await;
    browser.until("document.getElementById('coming').hidden").await;
    browser.eval(&press("document.body", "n")).await;
    browser.until("decodeURIComponent(location.pathname).endsWith('Show 10.mp4')").await;
    browser.until(&format!("{PLAYS} 0.5")).await;
    // It is the last one; who goes on by hand has a button for it.
    browser.eval("document.getElementById('next').click()").await;
    browser.until("document.getElementById('message').textContent.startsWith('This is the last')").await;
    // Another film is there for who wants it, and does not begin by itself.
    browser.open(&format!("{}/browse/ali/films/Other.mp4", rig.site.base)).await;
    browser.until("document.getElementById('player').readyState > 1").await;
    browser.eval(PLAY).await;
    browser.eval(&seek(59.0)).await;
    browser.until("document.getElementById('player').ended").await;
    browser.until("document.getElementById('next').title === 'Show 8.mp4'").await;
    assert_eq!(browser.eval("return document.getElementById('coming').hidden").await, json!(true));
    // Not declined, the next episode does.
    browser.open(&format!("{}/browse/ali/films/Show%208.mp4", rig.site.base)).await;
    browser.until("document.getElementById('player').readyState > 1").await;
    browser.eval(PLAY).await;
    browser.eval(&seek(59.0)).await;
    browser.until("!document.getElementById('coming').hidden").await;
    browser.until("decodeURIComponent(location.pathname).endsWith('Show 9.mp4')").await;
    browser.until(&format!("{PLAYS} 0.5")).await;
    // What was seen to the end begins at the beginning.
    browser.open(&first).await;
    browser.until("document.getElementById('player').readyState > 1").await;
    browser
        .until(
            "document.getElementById('player').currentTime < 1 && document.getElementById('restart').hidden",
        )
        .await;
    browser.quit().await;
    assert_eq!(rig.sim.counts().rate_limited, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_fits_a_phone() {
    if !has_browser() {
        return;
    }
    let name =
        "A.Film.With.A.Very.Long.Name.2026.2160p.WEB-DL.H265.DDP5.1.Atmos-Somebody-And-Somebody-Else.mkv";
    let rig = Rig::start(|drive| drive.file(&format!("/films/{name}"), Content::Sample(Sample::Mkv))).await;
    let browser = Browser::start().await;
    let size = json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true});
    browser.cdp("Emulation.setDeviceMetricsOverride", size).await;
    browser.cdp("Emulation.setTouchEmulationEnabled", json!({"enabled": true})).await;
    let scheme = |value| json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
    browser.cdp("Emulation.setEmulatedMedia", scheme("dark")).await;
    for (address, shot) in [
        ("/browse/ali/films/".to_owned(), "phone-folder.png"),
        (format!("/browse/ali/films/{name}"), "phone.png"),
    ] {
        browser.open(&format!("{}{address}", rig.site.base)).await;
        browser.until("document.readyState === 'complete'").await;
        if shot == "phone.png" {
            browser.until("document.getElementById('subtitles').options.length === 3").await;
            browser.eval(&seek(7.0)).await;
            browser.until("!document.getElementById('player').seeking").await;
        }
        browser.until("innerWidth === 360 && document.documentElement.scrollWidth <= 360").await;
        browser.screenshot(shot).await;
    }
    let touched = "[...document.querySelectorAll('select, .choices button:not([hidden])')].every(part => part.getBoundingClientRect().height >= 44)";
    browser.until(touched).await;
    // The same elsewhere, for the eye.
    browser.cdp("Emulation.setEmulatedMedia", scheme("light")).await;
    browser.screenshot("phone-light.png").await;
    browser.cdp("Emulation.clearDeviceMetricsOverride", json!({})).await;
    browser.cdp("Emulation.setTouchEmulationEnabled", json!({"enabled": false})).await;
    browser.screenshot("desktop-light.png").await;
    browser.cdp("Emulation.setEmulatedMedia", scheme("dark")).await;
    browser.screenshot("desktop-dark.png").await;
    browser.quit().await;
}
