//! However a path is spelled, it leads nowhere but into the tree, and nobody out of their own part of it.

use drive_sim::{Content, Sample};
use tempfile::TempDir;

use crate::support::{Rig, Setup, Site, client};

/// Spellings of a way up and out, each to be put in front of a file's name.
const WAYS_OUT: [&str; 50] = [
    "../",
    "../../",
    "../../../../../../../../",
    "./../",
    ".././",
    "..//",
    "//../",
    "a/../../",
    "a/b/../../../",
    "%2e%2e/",
    "%2e./",
    ".%2e/",
    "%2E%2E/",
    "%2e%2E/",
    "%2e%2e%2f",
    "..%2f",
    "..%2F",
    "%2f",
    "%2f%2f",
    "%2f..%2f",
    "a%2f..%2f..%2f",
    "..%00/",
    "%00/",
    "%00../",
    "..%00%2f",
    "%252e%252e/",
    "%252e%252e%252f",
    "..%252f",
    "%25252e%25252e/",
    "..%5c",
    "..\\",
    "%2e%2e%5c",
    "..%255c",
    "%5c..%5c",
    "%c0%ae%c0%ae/",
    "%c0%af",
    "..%c0%af",
    "%e0%80%ae%e0%80%ae/",
    "..%c1%9c",
    "%uff0e%uff0e/",
    "%ef%bc%8e%ef%bc%8e/",
    "%ef%bc%8f..%ef%bc%8f",
    "%e2%80%a5/",
    ".../",
    "....//",
    "..;/",
    ";/../",
    "%2e%2e;/",
    "~/../",
    "%09../",
];

const SECRET: &str = "what nobody may read";
/// Of `secret`.
const HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$ylQCvdga7pGQLZiv8M0LlA$a/UPej0sBb3alukV4r/SGHNmqtjhGL1fT+WQZlVt4M0";

/// The answer to a request for a path as it stands, which no client library would send.
async fn raw(site: &Site, method: &str, path: &str, headers: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(site.base.trim_start_matches("http://")).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text[9..12].parse().unwrap(), text)
}

fn routes(below: &str) -> Vec<String> {
    let ways = [
        "/d/{}",
        "/p/{}",
        "/browse/{}",
        "/account/{}",
        "/hls/{}/master.m3u8",
        "/hls/{}/hd/0.ts",
        "/hls/{}/subtitles/en.vtt",
    ];
    ways.iter().map(|way| way.replace("{}", below)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_leads_out_of_a_folder_or_out_of_a_users_tree() {
    let outside = TempDir::new().unwrap();
    let folder = outside.path().join("films");
    std::fs::create_dir_all(folder.join("anna/a/b")).unwrap();
    std::fs::create_dir_all(folder.join("bob")).unwrap();
    for file in ["secret.txt", "films/bob/secret.txt"] {
        std::fs::write(outside.path().join(file), SECRET).unwrap();
    }
    std::fs::write(folder.join("anna/film.mp4"), Sample::Mp4.bytes()).unwrap();
    // Links out of the folder, to a file and to a folder, by a name and by the root; and one that stays within.
    for (name, target) in [
        ("file", outside.path().join("secret.txt")),
        ("folder", outside.path().to_owned()),
        ("relative", "../../secret.txt".into()),
        ("root", "/".into()),
        ("within", "film.mp4".into()),
    ] {
        std::os::unix::fs::symlink(target, folder.join("anna").join(name)).unwrap();
    }
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin_listen = \"\"\n[access]\napi_token = \"test-token\"\n\
         [[access.user]]\nname = \"anna\"\npassword_hash = \"{HASH}\"\nroot = \"/films/anna\"\n\
         [[mount]]\npath = \"/films\"\ndriver = \"local\"\n[mount.options]\nroot = \"{}\"\n",
        folder.display()
    );
    let site = Site::start(&text, TempDir::new().unwrap()).await;
    let anna = format!("Authorization: Basic {}\r\n", data_encoding::BASE64.encode(b"anna:secret"));
    let administrator = "Authorization: test-token\r\n";
    for way in WAYS_OUT {
        for (who, below) in [
            (administrator, format!("films/{way}secret.txt")),
            (administrator, format!("films/anna/{way}secret.txt")),
            (administrator, format!("{way}films/anna/film.mp4")),
            (&anna, format!("films/anna/{way}secret.txt")),
            (&anna, format!("films/anna/{way}bob/secret.txt")),
        ] {
            for path in routes(&below) {
                for method in ["GET", "HEAD"] {
                    let (status, answer) = raw(&site, method, &path, who).await;
                    // What only an administrator may ask is 403 to her, and so is what lies elsewhere.
                    let is_refused = matches!(status, 400 | 404) || (status == 403 && who == anna);
                    assert!(is_refused && !answer.contains(SECRET), "{method} {path}: {answer}");
                }
            }
        }
    }
    for link in ["file", "folder/secret.txt", "relative", "root/etc/hostname", "folder", "root"] {
        for path in routes(&format!("films/anna/{link}")) {
            let (status, answer) = raw(&site, "GET", &path, administrator).await;
            assert!(matches!(status, 400 | 403 | 404) && !answer.contains(SECRET), "{path}: {answer}");
        }
    }
    let (status, _) = raw(&site, "HEAD", "/d/films/anna/film.mp4", &anna).await;
    assert_eq!(status, 200, "what is hers she has");
    let (_, page) = raw(&site, "GET", "/browse/films/anna/", administrator).await;
    assert!(!page.contains("secret.txt") && page.contains("film.mp4"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_opens_what_a_rule_closes_or_another_path_was_signed_for() {
    let rest = "[[access.rule]]\npath = \"/ali/cave\"\nusers = []\npassword = \"open sesame\"\n".to_owned();
    let rig = Rig::with(Setup { rest, ..Setup::default() }, |drive| {
        drive
            .file("/cave/film.mp4", Content::Sample(Sample::Mp4))
            .file("/film.mp4", Content::Sample(Sample::Mp4))
    })
    .await;
    for cave in [
        "cave",
        "./cave",
        "a/../cave",
        "%63ave",
        "cav%65",
        "/cave",
        "cave/",
        "cave/.",
        "%2e/cave",
        "CAVE",
        "cave%20",
        "cave%00",
        "cave;a",
        "cave%2f",
        "%2fcave",
        "cave//",
        "cave%5c",
    ] {
        for path in [
            format!("/d/ali/{cave}/film.mp4"),
            format!("/p/ali/{cave}/film.mp4"),
            format!("/browse/ali/{cave}/film.mp4"),
        ] {
            let (status, answer) = raw(&rig.site, "GET", &path, "").await;
            assert!(matches!(status, 400 | 403 | 404), "{path}: {answer}");
        }
    }
    // A signature holds for its path however that is spelled, and for no other.
    let signed = crate::support::sign("/ali/film.mp4");
    for (path, opens) in [
        ("/ali/film.mp4", true),
        ("//ali///film.mp4", true),
        ("/%61li/film.mp4", true),
        ("/ali/cave/film.mp4", false),
        ("/ali/film.mp4/../cave/film.mp4", false),
        ("/ali/film.mp4%2f..%2fcave%2ffilm.mp4", false),
    ] {
        let url = format!("{}/d{path}?sign={signed}", rig.site.base);
        let status = client().get(url).send().await.unwrap().status().as_u16();
        assert_eq!(matches!(status, 200 | 302), opens, "{path}: {status}");
    }
}
