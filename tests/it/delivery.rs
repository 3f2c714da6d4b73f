//! Which client gets the bytes by which way, and what stands in the answers.

use std::time::Duration;

use drive_sim::{AppLevel, Content, Sample};
use tempfile::TempDir;

use crate::support::{FFMPEG, KODI, Rig, Setup, Site, client, follow, sha256};

const BROWSER: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";

async fn rig(mount: &str) -> Rig {
    let setup = Setup { mount: mount.to_owned(), ..Setup::default() };
    Rig::with(setup, |drive| drive.file("/films/film.mp4", Content::Sample(Sample::Mp4))).await
}

const FILM: &str = "/d/ali/films/film.mp4";

#[tokio::test]
async fn auto_gives_each_client_what_it_can_live_with() {
    let rig = rig("").await;
    for (user_agent, status) in [
        (FFMPEG, 302),
        ("libmpv", 302),
        ("Infuse-Direct/7.8", 302),
        ("AndroidXMedia3/1.11.0 (Linux;Android 14)", 302),
        ("Jellyfin-Server/12.0.0", 302),
        (KODI, 200),
        ("VLC/3.0.24 LibVLC/3.0.24", 200),
        ("GStreamer souphttpsrc 1.22.0 libsoup/3.2.3", 200),
        (BROWSER, 200),
        ("AppleCoreMedia/1.0.0.21G93 (Apple TV; U; CPU OS 17_6)", 200),
        ("curl/7.88.1", 200),
    ] {
        let response = rig.get(FILM).agent(user_agent).open().await;
        assert_eq!(response.status(), status, "{user_agent}");
        let way = if status == 302 { "redirect" } else { "proxy" };
        assert_eq!(response.headers()["sluice-delivery"], way, "{user_agent}");
    }
}

#[tokio::test]
async fn the_same_film_comes_by_every_way() {
    let rig = rig("").await;
    let whole = sha256(&Sample::Mp4.bytes());
    let redirect = rig.get(FILM).agent(FFMPEG).send().await;
    assert_eq!(sha256(&follow(redirect.header("location"), None).await.body), whole);
    assert_eq!(sha256(&rig.get(FILM).agent(KODI).send().await.body), whole);
    let proxied = rig.get("/p/ali/films/film.mp4").agent(FFMPEG).send().await;
    assert_eq!((proxied.status, sha256(&proxied.body)), (200, whole));
}

#[tokio::test]
async fn the_operators_choice_and_the_addresss_override_hold() {
    for (mount, query, user_agent, status, delivery) in [
        ("delivery = \"redirect\"", "", KODI, 302, "redirect"),
        ("delivery = \"proxy\"", "", FFMPEG, 200, "proxy"),
        ("", "?via=redirect", KODI, 302, "redirect"),
        ("", "?via=proxy", FFMPEG, 200, "proxy; reason=via"),
        ("delivery = \"proxy\"", "?via=redirect", KODI, 302, "redirect; reason=via"),
        ("delivery = \"redirect\"", "?via=proxy", KODI, 200, "proxy; reason=via"),
    ] {
        let rig = rig(mount).await;
        let reply = rig.get(&format!("{FILM}{query}")).agent(user_agent).send().await;
        assert_eq!((reply.status, reply.header("sluice-delivery")), (status, delivery), "{mount} {query}");
    }
}

#[tokio::test]
async fn the_download_proxy_gets_the_path_and_its_signature() {
    let rig =
        rig("delivery = \"download_proxy\"\ndownload_proxy_url = \"https://helper.example.org/dl\"").await;
    rig.sim.reset_counts();
    let reply = rig.get(FILM).agent(KODI).send().await;
    assert_eq!((reply.status, reply.header("sluice-delivery")), (302, "redirect"));
    let location = reply.header("location");
    assert!(location.starts_with("https://helper.example.org/dl/ali/films/film.mp4?sign="), "{location}");
    assert!(location.ends_with("%3A0"), "{location}");
    // The helper asks for the link itself.
    assert_eq!(rig.sim.counts().links, 0);
}

#[tokio::test]
async fn a_redirect_may_be_kept_by_nobody() {
    let rig = rig("").await;
    let reply = rig.get(FILM).agent(FFMPEG).send().await;
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("referrer-policy"), "no-referrer");
    assert!(reply.headers.get("expires").is_none() && reply.headers.get("set-cookie").is_none());
    assert!(reply.header("location").starts_with("http://"));
    assert_eq!(reply.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn a_proxied_answer_says_all_that_players_need() {
    let rig = rig("").await;
    let len = Sample::Mp4.bytes().len().to_string();
    let get = rig.get("/p/ali/films/film.mp4").send().await;
    let head = rig.site.ask("HEAD", "/p/ali/films/film.mp4").send().await;
    for reply in [&get, &head] {
        assert_eq!(reply.status, 200);
        for (name, value) in [
            ("accept-ranges", "bytes"),
            ("content-length", &*len),
            ("content-type", "video/mp4"),
            ("content-disposition", "inline"),
            ("access-control-allow-origin", "*"),
            ("access-control-expose-headers", "Accept-Ranges, Content-Length, Content-Range, ETag"),
            ("sluice-delivery", "proxy"),
        ] {
            assert_eq!(reply.header(name), value, "{name}");
        }
        assert!(reply.header("etag").starts_with('"'));
        assert!(reply.header("last-modified").ends_with("GMT"));
        assert!(!reply.header("x-request-id").is_empty());
        assert!(
            reply.headers.get("transfer-encoding").is_none()
                && reply.headers.get("content-encoding").is_none()
        );
    }
    assert!(head.body.is_empty());
    let download = rig.get("/p/ali/films/film.mp4?download").range("bytes=0-0").send().await;
    assert_eq!(download.header("content-disposition"), "attachment; filename*=UTF-8''film.mp4");
}

#[tokio::test]
async fn ranges_and_preconditions_are_answered_as_rfc_9110_says() {
    let rig = rig("").await;
    let film = Sample::Mp4.bytes();
    let len = film.len();
    let path = "/p/ali/films/film.mp4";
    for (range, start, end) in [
        ("bytes=0-", 0, len),
        ("bytes=0-1", 0, 2),
        ("bytes=-7", len - 7, len),
        ("bytes=1000-99999999", 1000, len),
    ] {
        let reply = rig.get(path).range(range).send().await;
        assert_eq!(reply.status, 206, "{range}");
        assert_eq!(reply.header("content-range"), format!("bytes {start}-{}/{len}", end - 1));
        assert_eq!(reply.body, film[start..end], "{range}");
    }
    for range in ["bytes=9-5", "bytes=a-b", "bytes=0-1,5-6", "items=0-1"] {
        let reply = rig.get(path).range(range).send().await;
        assert_eq!((reply.status, reply.body.len()), (200, len), "{range}");
    }
    rig.sim.reset_counts();
    for range in ["bytes=-0".to_owned(), format!("bytes={len}-"), format!("bytes={}-{}", len + 5, len + 9)] {
        let reply = rig.get(path).range(&range).send().await;
        assert_eq!(
            (reply.status, reply.header("content-range")),
            (416, &*format!("bytes */{len}")),
            "{range}"
        );
    }
    let etag = rig.site.ask("HEAD", path).send().await.header("etag").to_owned();
    let cases = [
        ("if-none-match", etag.as_str(), 304),
        ("if-match", "\"other\"", 412),
        ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT", 304),
        ("if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT", 412),
    ];
    for (name, value, status) in cases {
        assert_eq!(rig.get(path).header(name, value).send().await.status, status, "{name}");
    }
    // All of that was answered from what is known.
    assert_eq!(rig.sim.counts().api_calls() + rig.sim.counts().content, 0);
    assert_eq!(rig.get(path).header("if-match", &etag).range("bytes=5-6").send().await.status, 206);
    assert_eq!(rig.get(path).header("if-range", &etag).range("bytes=5-6").send().await.status, 206);
    assert_eq!(rig.get(path).header("if-range", "\"old\"").range("bytes=5-6").send().await.status, 200);
}

#[tokio::test]
async fn preflights_are_answered_without_credentials() {
    let setup = Setup { closed: true, ..Setup::default() };
    let rig = Rig::with(setup, |drive| drive.file("/films/film.mp4", Content::Sample(Sample::Mp4))).await;
    let reply = rig.site.ask("OPTIONS", FILM).header("origin", "null").send().await;
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert!(reply.header("access-control-allow-headers").contains("Range"));
    let refused = rig.get(FILM).send().await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, "*"));
    assert!(refused.header("www-authenticate").starts_with("Basic "));
}

#[tokio::test]
async fn a_signature_opens_its_film_in_every_form_and_nothing_else() {
    let setup = Setup { closed: true, ..Setup::default() };
    let rig = Rig::with(setup, |drive| {
        drive
            .file("/films/film.mp4", Content::Sample(Sample::Mp4))
            .file("/films/b.mp4", Content::Sample(Sample::Mp4))
    })
    .await;
    let path = sluice::path::VirtualPath::parse("/ali/films/film.mp4").unwrap();
    let signer = sluice::sign::Signer::new(&sluice::secret::Secret::new("test-token"));
    let sign = sluice::path::encode_component(&signer.sign(&path, 0));
    for route in ["/d/ali/films/film.mp4", "/p/ali/films/film.mp4", "/hls/ali/films/film.mp4/master.m3u8"] {
        assert_eq!(rig.get(route).send().await.status, 401, "{route}");
        assert_eq!(rig.get(&format!("{route}?sign={sign}")).send().await.status, 200, "{route}");
        assert_eq!(rig.get(route).header("authorization", "test-token").send().await.status, 200, "{route}");
    }
    assert_eq!(rig.get(&format!("/d/ali/films/b.mp4?sign={sign}")).send().await.status, 401);
    assert_eq!(rig.get("/browse/ali/films/").send().await.status, 401);
    // What else is wrong is said only to those who may ask.
    assert_eq!(rig.get(&format!("/d/ali/films/film.mp4?sign={sign}&via=pigeon")).send().await.status, 400);
    assert_eq!(rig.get("/d/ali/films/film.mp4?via=pigeon").send().await.status, 401);
    let old = sluice::path::encode_component(&signer.sign(&path, 1_000_000_000));
    assert_eq!(rig.get(&format!("/d/ali/films/film.mp4?sign={old}")).send().await.status, 401);
    // What the playlists lead to carries the signature on.
    let master = rig.get(&format!("/hls/ali/films/film.mp4/master.m3u8?sign={sign}")).send().await;
    assert!(master.text().contains(&format!("ld/index.m3u8?sign={sign}")), "{}", master.text());
    let media = rig.get(&format!("/hls/ali/films/film.mp4/ld/index.m3u8?sign={sign}")).send().await;
    assert!(media.text().contains(&format!("\n0.ts?sign={sign}\n")), "{}", media.text());
}

#[tokio::test]
async fn a_local_folder_is_served_by_the_same_stack() {
    let folder = TempDir::new().unwrap();
    let films = folder.path().join("films & more");
    std::fs::create_dir(&films).unwrap();
    std::fs::write(films.join("a #1.mp4"), Sample::Mp4.bytes()).unwrap();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin_listen = \"\"\n[access]\nguest = true\n\
         [[mount]]\npath = \"/\"\ndriver = \"local\"\ndelivery = \"redirect\"\n[mount.options]\nroot = \"{}\"\n",
        folder.path().display()
    );
    let site = Site::start(&text, TempDir::new().unwrap()).await;
    let reply = site.get("/d/films%20%26%20more/a%20%231.mp4").agent(FFMPEG).send().await;
    assert_eq!((reply.status, reply.header("sluice-delivery")), (200, "proxy; reason=no-link"));
    assert_eq!(reply.body, Sample::Mp4.bytes());
    let part = site.get("/p/films%20%26%20more/a%20%231.mp4").range("bytes=500000-500009").send().await;
    assert_eq!((part.status, part.body), (206, Sample::Mp4.bytes()[500_000..500_010].to_vec()));
    let page = site.get("/browse/").send().await;
    assert!(page.text().contains("href=\"films%20%26%20more/\">films &amp; more/</a>"), "{}", page.text());
    let hls = site.get("/hls/films%20%26%20more/a%20%231.mp4/master.m3u8").send().await;
    assert_eq!(hls.status, 404);
    assert!(hls.text().contains("no transcoded form"), "{}", hls.text());
}

#[cfg(unix)]
#[tokio::test]
async fn neither_path_nor_link_leads_out_of_a_local_folder() {
    let outside = TempDir::new().unwrap();
    std::fs::write(outside.path().join("secret.txt"), "secret").unwrap();
    let folder = TempDir::new().unwrap();
    let link = |target: &std::path::Path, name: &str| {
        std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap()
    };
    std::fs::write(folder.path().join("inside.txt"), "inside").unwrap();
    link(&outside.path().join("secret.txt"), "absolute.txt");
    link(outside.path(), "folder");
    link(std::path::Path::new("../../../../../../etc/passwd"), "relative.txt");
    link(std::path::Path::new("inside.txt"), "fine.txt");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin_listen = \"\"\n[access]\nguest = true\n\
         [[mount]]\npath = \"/\"\ndriver = \"local\"\n[mount.options]\nroot = \"{}\"\n",
        folder.path().display()
    );
    let site = Site::start(&text, TempDir::new().unwrap()).await;
    for path in ["absolute.txt", "folder/secret.txt", "relative.txt"] {
        let reply = site.get(&format!("/d/{path}")).send().await;
        assert!([403, 404].contains(&reply.status), "{path}: {}", reply.status);
    }
    assert_eq!(site.get("/d/fine.txt").send().await.body, b"inside");
    let page = site.get("/browse/").send().await;
    assert!(page.text().contains("fine.txt") && !page.text().contains("absolute.txt"));
}

#[tokio::test]
async fn a_program_that_walks_the_pages_gets_files_and_a_browser_gets_a_player() {
    let rig = rig("").await;
    let kodi = rig.get("/browse/ali/films/film.mp4").send().await;
    assert_eq!((kodi.status, kodi.header("content-type")), (200, "video/mp4"));
    let browser = rig.get("/browse/ali/films/film.mp4").header("accept", "text/html,*/*").send().await;
    assert!(browser.text().contains("<video id=\"player\""));
    let folder = client().get(format!("{}/browse/ali/films", rig.site.base)).send().await.unwrap();
    assert_eq!(
        (folder.status().as_u16(), &folder.headers()["location"]),
        (302, &http::HeaderValue::from_static("/browse/ali/films/"))
    );
    // A listing ignores a range: Kodi sends one.
    assert_eq!(rig.get("/browse/ali/films/").range("bytes=0-").send().await.status, 200);
}

#[tokio::test]
async fn a_mount_within_a_mount_can_be_reached_by_its_folders() {
    let (outer, inner) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    std::fs::write(outer.path().join("old.mkv"), "old").unwrap();
    let long_ago = std::time::UNIX_EPOCH - std::time::Duration::from_secs(86_400 * 3650);
    std::fs::File::options()
        .write(true)
        .open(outer.path().join("old.mkv"))
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    std::fs::write(inner.path().join("film.mkv"), "film").unwrap();
    let mount = |path, root: &TempDir| {
        let root = root.path().display();
        format!("[[mount]]\npath = \"{path}\"\ndriver = \"local\"\n[mount.options]\nroot = \"{root}\"\n")
    };
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin_listen = \"\"\n[access]\nguest = true\n{}{}",
        mount("/", &outer),
        mount("/a/b", &inner)
    );
    let site = Site::start(&text, TempDir::new().unwrap()).await;
    for (page, link) in
        [("/browse/", "a/"), ("/browse/", "old.mkv"), ("/browse/a/", "b/"), ("/browse/a/b/", "film.mkv")]
    {
        let reply = site.get(page).send().await;
        assert_eq!(reply.status, 200, "{page}");
        assert!(reply.text().contains(&format!("href=\"{link}\"")), "{page}: {}", reply.text());
    }
    assert_eq!(site.get("/d/a/b/film.mkv").send().await.body, b"film");
    let head = site.ask("HEAD", "/d/old.mkv").send().await;
    assert_eq!((head.status, head.header("last-modified")), (200, ""));
}

#[tokio::test]
async fn who_was_given_the_bytes_is_not_redirected_in_the_middle_of_the_film() {
    let rig = Rig::start(|drive| {
        drive
            .file("/film.mp4", Content::Sample(Sample::Mp4))
            .settings(|settings| settings.app_level = AppLevel::Approved)
    })
    .await;
    // Somebody has had the link for a while: it does not outlive the film any more, so Kodi gets the bytes.
    assert_eq!(rig.get("/d/ali/film.mp4").agent(FFMPEG).send().await.status, 302);
    rig.pass(Duration::from_secs(12_000));
    assert_eq!(rig.get("/d/ali/film.mp4").range("bytes=0-").send().await.status, 206);
    // The link is replaced by one that would outlive it. Chromium, Firefox and VLC give up if that makes a difference.
    rig.pass(Duration::from_secs(2500));
    assert_eq!(rig.get("/d/ali/film.mp4").range("bytes=500000-").send().await.status, 206);
}
