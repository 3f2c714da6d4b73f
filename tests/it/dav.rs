//! WebDAV, and the folders that programs read over plain HTTP.

use drive_sim::{Content, Endpoint, Fault, Sample};
use tempfile::TempDir;

use crate::support::{
    FFMPEG, HASH, KODI, Reply, Rig, Setup, Site, UNPACED, configuration, follow, sign, unlimited,
};

const ANNA: &str = "Basic YW5uYTpzZWNyZXQ=";

async fn rig(setup: Setup) -> Rig {
    Rig::with(setup, |drive| {
        drive
            .file("/films/a & b.mkv", Content::Sample(Sample::Mkv))
            .file("/films/e10.mkv", Content::Virtual { len: 5000, seed: 10 })
            .file("/films/e2.mkv", Content::Virtual { len: 5000, seed: 2 })
            .file("/films/show/e1.mkv", Content::Virtual { len: 5000, seed: 1 })
            .file("/films/notes.txt", Content::Virtual { len: 5, seed: 1 })
    })
    .await
}

async fn propfind(site: &Site, path: &str, depth: &str) -> Reply {
    // Kodi's: no body, and a range that means nothing here.
    let ask = site.ask("PROPFIND", path).header("range", "bytes=0-");
    if depth.is_empty() { ask.send().await } else { ask.header("depth", depth).send().await }
}

#[tokio::test]
async fn folders_are_told_by_propfind_and_files_given_by_get() {
    let rig = rig(Setup::default()).await;
    let folder = propfind(&rig.site, "/dav/ali/films", "1").await;
    assert_eq!((folder.status, folder.header("content-type")), (207, "application/xml; charset=utf-8"));
    let text = folder.text();
    for part in [
        "<D:href>/dav/ali/films/</D:href>",
        "<D:href>/dav/ali/films/show/</D:href>",
        "<D:href>/dav/ali/films/a%20%26%20b.mkv</D:href>",
        "<D:status>HTTP/1.1 200 OK</D:status>",
        "<D:getcontenttype>video/x-matroska</D:getcontenttype>",
        "<O:checksum>SHA1:",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(text.matches("<D:response>").count(), 6);
    let itself = propfind(&rig.site, "/dav/ali/films/", "0").await;
    assert_eq!(itself.text().matches("<D:response>").count(), 1);
    let roots = propfind(&rig.site, "/dav/", "1").await;
    assert!(roots.text().contains("<D:href>/dav/ali/</D:href>"), "{}", roots.text());
    let refused = propfind(&rig.site, "/dav/ali", "Infinity").await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("propfind-finite-depth"));
    // Of a file there is nothing below; and clients that say nothing are given a folder.
    let file = propfind(&rig.site, "/dav/ali/films/e2.mkv", "infinity").await;
    assert_eq!((file.status, file.text().matches("<D:response>").count()), (207, 1));
    assert_eq!(propfind(&rig.site, "/dav/ali/films", "").await.text().matches("<D:response>").count(), 6);
    assert_eq!(propfind(&rig.site, "/dav/ali", "2").await.status, 400);
    assert_eq!(propfind(&rig.site, "/dav/ali/none", "0").await.status, 404);

    let file = "/dav/ali/films/a%20%26%20b.mkv";
    let head = rig.site.ask("HEAD", file).send().await;
    let whole = rig.get(file).send().await;
    assert_eq!((head.status, head.header("content-length")), (200, &*Sample::Mkv.bytes().len().to_string()));
    assert_eq!((whole.status, &*whole.body), (200, &*Sample::Mkv.bytes()));
    assert_eq!(head.header("etag"), whole.header("etag"));
    assert!(text.contains(&whole.header("etag").replace('"', "&quot;")), "one and the same version");
    let part = rig.get(file).range("bytes=100-199").send().await;
    assert_eq!((part.status, part.body.len(), part.header("sluice-delivery")), (206, 100, "proxy"));
    let folder = rig.site.ask("HEAD", "/dav/ali/films").send().await;
    assert_eq!((folder.status, folder.header("content-type")), (200, "httpd/unix-directory"));
    assert_eq!(rig.get("/dav/ali/films").send().await.status, 405);
    let options = rig.site.ask("OPTIONS", "/dav/").send().await;
    assert_eq!((options.status, options.header("dav"), options.header("ms-author-via")), (200, "1", "DAV"));
    for method in ["PUT", "DELETE", "MKCOL", "COPY", "MOVE", "PROPPATCH"] {
        assert_eq!(rig.site.ask(method, file).send().await.status, 403, "{method}");
    }
    assert_eq!(rig.site.ask("LOCK", file).send().await.status, 405);
}

#[tokio::test]
async fn delivery_over_webdav_is_the_operators_and_never_gives_away_a_password() {
    let user =
        format!("[[access.user]]\nname = \"anna\"\npassword_hash = \"{HASH}\"\npermissions = [\"read\"]\n");
    let closed =
        |mount: &str| Setup { closed: true, rest: user.clone(), mount: mount.to_owned(), ..Setup::default() };
    let file = "/dav/ali/films/e2.mkv";
    let ask = async |rig: &Rig, agent| rig.get(file).agent(agent).header("authorization", ANNA).send().await;
    let redirected = rig(closed("dav_delivery = \"302_redirect\"")).await;
    for agent in [KODI, "rclone/v1.60.1"] {
        let reply = ask(&redirected, agent).await;
        assert_eq!((reply.status, reply.header("sluice-delivery")), (302, "redirect"), "{agent}");
        assert_eq!(follow(reply.header("location"), None).await.body.len(), 5000);
    }
    // The one would show the password to the drive, which refuses such a request; the other forgets it, and fails at its first seek.
    for agent in ["AndroidXMedia3/1.11.0 (Linux;Android 14)", FFMPEG] {
        let reply = ask(&redirected, agent).await;
        assert_eq!((reply.status, reply.header("sluice-delivery")), (200, "proxy; reason=authorization"));
    }
    let at_will = rig(closed("delivery = \"redirect\"\ndav_delivery = \"auto\"")).await;
    assert_eq!(ask(&at_will, FFMPEG).await.status, 200, "it may take the password along");
    let proxied = rig(closed("dav_delivery = \"native_proxy\"")).await;
    assert_eq!(ask(&proxied, FFMPEG).await.header("sluice-delivery"), "proxy");
    assert_eq!(proxied.get(file).send().await.status, 401);
    let helper = "dav_delivery = \"use_proxy_url\"\ndownload_proxy_url = \"https://helper.example.org\"";
    let helped = rig(closed(helper)).await;
    let reply = ask(&helped, FFMPEG).await;
    let expected = format!("https://helper.example.org/ali/films/e2.mkv?sign={}", sign("/ali/films/e2.mkv"));
    assert_eq!((reply.status, reply.header("location")), (302, &*expected));
}

#[tokio::test]
async fn a_guest_opens_a_locked_folder_with_its_password_in_place_of_their_own() {
    let rest = "[[access.rule]]\npath = \"/ali/films/show\"\npassword = \"open sesame\"\n".to_owned();
    let rig = rig(Setup { rest, ..Setup::default() }).await;
    let file = "/dav/ali/films/show/e1.mkv";
    assert_eq!(rig.get(file).send().await.status, 403);
    let guest = |password: &str| {
        format!("Basic {}", data_encoding::BASE64.encode(format!("guest:{password}").as_bytes()))
    };
    let ask = |password: &str| rig.get(file).header("authorization", &guest(password)).send();
    assert_eq!(ask("open barley").await.status, 403);
    assert_eq!(ask("open sesame").await.status, 200);
    let folder = rig.site.ask("PROPFIND", "/dav/ali/films/show").header("depth", "1");
    let folder = folder.header("authorization", &guest("open sesame")).send().await;
    assert!(folder.text().contains("e1.mkv"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_folder_is_told_by_propfind_while_it_is_listed_and_half_of_it_is_cut() {
    const FILES: usize = 5000;
    let sim = (0..FILES).fold(drive_sim::Sim::builder(), |drive, number| {
        drive.file(&format!("/large/{number:05}.mkv"), Content::Virtual { len: 1000, seed: 1 })
    });
    let sim = sim.start().await.unwrap();
    sim.settings(unlimited);
    let setup = Setup { options: UNPACED.to_owned(), ..Setup::default() };
    let site = Site::start(&configuration(&sim, &setup), TempDir::new().unwrap()).await;
    let ask = || site.ask("PROPFIND", "/dav/ali/large").header("depth", "1");
    sim.fault(Endpoint::List, Fault::BadGateway, 0);
    let mut answer = ask().open().await;
    assert_eq!(answer.status(), 207);
    answer.chunk().await.unwrap().unwrap();
    assert!(sim.counts().of(Endpoint::List) < FILES as u64 / 200, "told before it was all listed");
    sim.fault(Endpoint::List, Fault::BadGateway, 1000);
    let broken = loop {
        match answer.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken, "half a folder does not pass for the whole");
    sim.clear_faults();
    let whole = ask().send().await;
    assert_eq!(whole.text().matches("<D:response>").count(), FILES + 1);
    assert!(whole.text().ends_with("</D:multistatus>\n"));
}

#[tokio::test]
async fn a_folder_over_http_is_a_listing_that_directory_readers_take() {
    let rig = rig(Setup::default()).await;
    let bare = rig.get("/d/ali/films").send().await;
    assert_eq!((bare.status, bare.header("location")), (302, &*format!("{}/d/ali/films/", rig.site.base)));
    let listing = rig.get("/d/ali/films/").range("bytes=0-").send().await;
    assert_eq!((listing.status, listing.header("content-type")), (200, "text/html; charset=utf-8"));
    let text = listing.text();
    assert!(text.contains("<tr><td><a href=\"show/\">show/</a></td>"), "{text}");
    assert!(
        text.contains("<a href=\"a%20%26%20b.mkv\">a &amp; b.mkv</a></td><td align=\"right\">20"),
        "{text}"
    );
    assert!(text.contains("<td align=\"right\" title="), "{text}");
    assert_eq!(
        rig.site.ask("HEAD", "/d/ali/films/").send().await.header("content-type"),
        "text/html; charset=utf-8"
    );
    assert_eq!(rig.get("/d/ali/films/e2.mkv/").send().await.body.len(), 5000);
    assert_eq!(rig.get("/p/ali/films/").send().await.status, 400);
}

#[tokio::test]
async fn the_films_of_a_folder_are_one_playlist_in_their_order() {
    let rig = rig(Setup { closed: true, ..Setup::default() }).await;
    assert_eq!(rig.get("/d/ali/films/?playlist=m3u8").send().await.status, 401);
    let ask = rig.get("/d/ali/films/?playlist=m3u8").header("authorization", "test-token");
    let list = ask.send().await;
    assert_eq!((list.status, list.header("content-type")), (200, "audio/x-mpegurl"));
    let lines: Vec<_> = list.text().lines().collect();
    assert_eq!(lines[0], "#EXTM3U");
    let titles: Vec<_> = lines.iter().filter(|line| line.starts_with("#EXTINF")).collect();
    let names: Vec<_> = titles.iter().map(|line| line.split_once(',').unwrap().1).collect();
    assert_eq!(names, ["a & b.mkv", "e2.mkv", "e10.mkv", "e1.mkv"]);
    assert!(titles[0].starts_with("#EXTINF:60,"), "{}", titles[0]);
    let last = lines.last().unwrap();
    assert!(last.starts_with(&format!("{}/d/ali/films/show/e1.mkv?sign=", rig.site.base)), "{last}");
    assert_eq!(follow(last, None).await.body, drive_sim::content::bytes(1, 0, 5000));
}
