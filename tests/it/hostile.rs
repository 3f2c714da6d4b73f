//! A drive that means harm: its names and its words are text and nothing else, and it leads nowhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use drive_sim::{Content, Endpoint, Fault, Sample};
use tokio::net::TcpListener;

use crate::browser::{Browser, has_browser};
use crate::support::{FFMPEG, Rig};

/// Names that would do something if they were more than text. `pwned` is what they would set.
const NAMES: [&str; 9] = [
    "<script>window.pwned=1;<!--.mp4",
    "\"><img src=x onerror=\"window.pwned=1\">.mp4",
    "'-(window.pwned=1)-'.mp4",
    "--><svg onload=window.pwned=1>.srt",
    "javascript:window.pwned=1",
    "a\r\nX-Injected: yes\r\n\r\n<script>window.pwned=1<script>.mp4",
    "%3Cscript%3Ewindow.pwned=1%3C!--.mp4",
    "{{constructor.constructor('window.pwned=1')()}}.mkv",
    "\u{202e}4pm.<b onclick=window.pwned=1>",
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_text_on_every_page_and_in_every_header() {
    let rig = Rig::start(|drive| {
        NAMES.iter().fold(drive, |drive, name| {
            drive
                .file(&format!("/films/{name}"), Content::Sample(Sample::Mp4))
                .file(&format!("/{name} folder/{name}"), Content::Sample(Sample::Mp4))
        })
    })
    .await;
    let mut pages = vec!["/browse/ali/".to_owned(), "/browse/ali/films/".to_owned()];
    for name in NAMES {
        let encoded = sluice::path::encode_component(name);
        pages.push(format!("/browse/ali/{encoded}%20folder/"));
        pages.push(format!("/browse/ali/films/{encoded}"));
        let file = rig.get(&format!("/p/ali/films/{encoded}?download")).send().await;
        assert_eq!(file.status, 200, "{name:?}");
        assert!(file.headers.get("x-injected").is_none(), "{name:?}");
        assert!(file.header("content-disposition").is_ascii(), "{name:?}");
    }
    for page in &pages {
        let page = rig.get(page).header("accept", "text/html").send().await;
        assert_eq!(page.status, 200);
        let text = page.text();
        assert!(
            !text.contains("<img src=x") && !text.contains("<b onclick") && !text.contains("<svg onload"),
            "{text}"
        );
        assert_eq!(
            text.matches("<script").count(),
            text.matches("<script type=\"module\" src=\"").count(),
            "{text}"
        );
        let policy = page.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe") && page.header("x-content-type-options") == "nosniff");
    }
    if !has_browser() {
        return;
    }
    let browser = Browser::start().await;
    for page in pages {
        browser.open(&format!("{}{page}", rig.site.base)).await;
        let pwned = browser.eval("return typeof window.pwned").await;
        assert_eq!(pwned, serde_json::json!("undefined"), "{page}");
    }
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_words_of_the_drive_reach_nobody() {
    let rig = Rig::start(|drive| drive.file("/film.mp4", Content::Sample(Sample::Mp4))).await;
    let words = "<script>window.pwned=1</script>";
    let fault = || Fault::Code { status: 500, code: format!("Bad{words}"), message: words.to_owned() };
    for endpoint in [Endpoint::GetByPath, Endpoint::DownloadUrl, Endpoint::PreviewInfo, Endpoint::List] {
        rig.sim.fault_every(endpoint, fault(), 1);
        for path in
            ["/d/ali/film.mp4", "/hls/ali/film.mp4/master.m3u8", "/browse/ali/", "/browse/ali/film.mp4"]
        {
            let answer = rig.get(path).agent(FFMPEG).send().await;
            assert!(!String::from_utf8_lossy(&answer.body).contains("pwned"), "{path}");
            let is_text = answer.status < 400 || answer.header("content-type").starts_with("text/plain");
            assert!(
                is_text && answer.header("x-content-type-options") == "nosniff" || answer.status == 302,
                "{path}"
            );
        }
        rig.sim.clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drive_leads_to_no_other_machine_and_to_no_file() {
    let rig = Rig::start(|drive| drive.file("/film.mp4", Content::Sample(Sample::Mp4))).await;
    // Somebody in the neighbourhood whom we must not call.
    let neighbour = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = neighbour.local_addr().unwrap();
    let called = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&called);
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    let listening = tokio::spawn(async move {
        while let Ok((stream, _)) = neighbour.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(stream);
        }
    });
    let places = [
        format!("http://{address}/secret"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "//169.254.169.254/".to_owned(),
        "gopher://169.254.169.254/".to_owned(),
    ];
    for place in &places {
        for endpoint in [Endpoint::AnyContent, Endpoint::AnyApi] {
            rig.sim.fault(endpoint, Fault::Redirect(place.clone()), 2);
            for path in ["/p/ali/film.mp4", "/hls/ali/film.mp4/sd/index.m3u8", "/hls/ali/film.mp4/sd/0.ts"] {
                let answer = rig.get(path).send().await;
                assert!(!String::from_utf8_lossy(&answer.body).contains("root:"), "{path} by {place}");
                assert!(
                    !answer.header("location").contains("169.254")
                        && !answer.header("location").starts_with("file")
                );
            }
            rig.sim.clear_faults();
        }
        // As a link, too: the host is not one of the drive's, but for this machine, where the whole of this drive lies.
        if place.contains("127.0.0.1") {
            continue;
        }
        let link =
            serde_json::json!({"url": place, "expiration": "2099-01-01T00:00:00.000Z", "method": "GET"});
        rig.sim.fault_every(Endpoint::DownloadUrl, Fault::Status(200, link.to_string()), 1);
        rig.pass(std::time::Duration::from_secs(3600));
        for via in ["proxy", "redirect"] {
            let answer = rig.get(&format!("/d/ali/film.mp4?via={via}")).send().await;
            assert!(answer.header("location").is_empty(), "{place}: {}", answer.header("location"));
        }
        rig.sim.clear_faults();
    }
    listening.abort();
    assert_eq!(called.load(Ordering::Relaxed), 0, "no redirect is followed");
}
