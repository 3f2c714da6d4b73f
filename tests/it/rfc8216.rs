//! Our playlists against RFC 8216: every MUST of its section 4 by a check of our own, and a strict parser of others.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::process::Stdio;

use drive_sim::{Content, Sample};
use tokio::io::AsyncWriteExt;

use crate::support::{Rig, Setup, installed, sign};

/// What a playlist does that RFC 8216 §4 says that it must not, a line each.
fn faults(text: &str) -> Vec<String> {
    let mut check = Check::default();
    check.text(text);
    check.tags(text);
    check.found
}

#[derive(Default)]
struct Check {
    found: Vec<String>,
}

impl Check {
    fn must(&mut self, holds: bool, what: &str, line: &str) {
        if !holds {
            self.found.push(format!("{what}: {line}"));
        }
    }

    /// §4: what the text is made of.
    fn text(&mut self, text: &str) {
        self.must(!text.starts_with('\u{feff}'), "no byte order mark", "");
        self.must(text.split(['\r', '\n']).next() == Some("#EXTM3U"), "begins with #EXTM3U (4.3.1.1)", text);
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            self.must(!line.chars().any(char::is_control), "no control character (4)", line);
            self.must(line.is_empty() || !line.trim().is_empty(), "no line of blanks (4.1)", line);
        }
    }

    /// The attributes of a tag (§4.2), quotes kept.
    fn attributes<'a>(&mut self, line: &'a str, list: &'a str) -> HashMap<&'a str, &'a str> {
        let mut found = HashMap::new();
        let mut rest = list;
        while !rest.is_empty() {
            let Some((name, value)) = rest.split_once('=') else {
                self.must(false, "an attribute has a value (4.2)", line);
                break;
            };
            let named = !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-');
            self.must(named, "an attribute's name is of [A-Z0-9-] (4.2)", line);
            let len = match value.strip_prefix('"') {
                Some(quoted) => quoted.find('"').map_or(value.len(), |at| at + 2),
                None => value.find(',').unwrap_or(value.len()),
            };
            let (value, more) = value.split_at(len);
            self.must(!value.is_empty(), "an attribute has a value (4.2)", line);
            let quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
            self.must(quoted || !value.contains(['"', ' ']), "no blank outside of quotes (4.2)", line);
            self.must(found.insert(name, value).is_none(), "an attribute stands once (4.2)", line);
            rest = match more.strip_prefix(',') {
                Some(more) => more,
                None => {
                    self.must(more.is_empty(), "attributes are separated by commas (4.2)", line);
                    ""
                }
            };
        }
        found
    }

    fn tags(&mut self, text: &str) {
        let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut version = 1;
        let mut needed = 1;
        let mut target = None;
        let mut duration: Option<f64> = None;
        let mut durations = Vec::new();
        let mut groups: HashMap<(String, String), Vec<HashMap<&str, &str>>> = HashMap::new();
        let mut variants = Vec::new();
        let mut awaits_uri = None;
        for line in &lines {
            let Some(tag) = line.strip_prefix("#EXT") else {
                if line.starts_with('#') {
                    continue;
                }
                self.must(line.bytes().all(|b| b.is_ascii_graphic()), "a URI is encoded (4.1)", line);
                match (awaits_uri.take(), duration.take()) {
                    (Some(_), None) => {}
                    (None, Some(seconds)) => durations.push((seconds, *line)),
                    _ => self.must(
                        false,
                        "a URI follows one EXTINF or one STREAM-INF (4.3.2.1, 4.3.4.2)",
                        line,
                    ),
                }
                continue;
            };
            self.must(awaits_uri.is_none(), "STREAM-INF is followed by its URI (4.3.4.2)", line);
            let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
            *seen.entry(name).or_default() += 1;
            let first_segment = durations.is_empty() && duration.is_none();
            match name {
                "M3U" => {}
                "-X-VERSION" => version = self.integer(line, value),
                "INF" => {
                    let (seconds, _) = value.split_once(',').unwrap_or((value, ""));
                    self.must(value.contains(','), "EXTINF has a comma (4.3.2.1)", line);
                    self.must(duration.is_none(), "EXTINF is followed by its URI (4.3.2.1)", line);
                    if seconds.contains('.') {
                        needed = needed.max(3);
                    }
                    let plain = seconds.bytes().all(|b| b.is_ascii_digit() || b == b'.');
                    self.must(plain, "a duration is a decimal number (4.2)", line);
                    duration = Some(seconds.parse().unwrap_or(f64::NAN));
                }
                "-X-TARGETDURATION" => target = Some(self.integer(line, value)),
                "-X-MEDIA-SEQUENCE" | "-X-DISCONTINUITY-SEQUENCE" => {
                    self.integer(line, value);
                    self.must(first_segment, "stands before the first segment (4.3.3.2)", line);
                }
                "-X-PLAYLIST-TYPE" => {
                    self.must(["EVENT", "VOD"].contains(&value), "EVENT or VOD (4.3.3.5)", line);
                }
                "-X-ENDLIST" | "-X-DISCONTINUITY" | "-X-INDEPENDENT-SEGMENTS" | "-X-I-FRAMES-ONLY" => {
                    self.must(value.is_empty(), "has no value", line);
                }
                "-X-BYTERANGE" => needed = needed.max(4),
                "-X-KEY" => {
                    let attributes = self.attributes(line, value);
                    let method = attributes.get("METHOD").copied();
                    self.must(method.is_some(), "KEY has METHOD (4.3.2.4)", line);
                    self.must(
                        method == Some("NONE") || attributes.contains_key("URI"),
                        "KEY has URI (4.3.2.4)",
                        line,
                    );
                }
                "-X-MAP" => {
                    needed = needed.max(6);
                    let attributes = self.attributes(line, value);
                    self.must(attributes.contains_key("URI"), "MAP has URI (4.3.2.5)", line);
                }
                "-X-MEDIA" => {
                    let attributes = self.attributes(line, value);
                    for name in ["TYPE", "GROUP-ID", "NAME"] {
                        self.must(
                            attributes.contains_key(name),
                            "MEDIA has TYPE, GROUP-ID and NAME (4.3.4.1)",
                            line,
                        );
                    }
                    let get = |name: &str| attributes.get(name).copied().unwrap_or_default().to_owned();
                    let kind = get("TYPE");
                    let kinds = ["AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS"];
                    self.must(kinds.contains(&&*kind), "TYPE is one of four (4.3.4.1)", line);
                    let is_yes = |name: &str| get(name) == "YES";
                    for name in ["DEFAULT", "AUTOSELECT", "FORCED"] {
                        let value = get(name);
                        self.must(["", "YES", "NO"].contains(&&*value), "YES or NO (4.3.4.1)", line);
                    }
                    let autoselect = attributes.get("AUTOSELECT").copied();
                    self.must(
                        !is_yes("DEFAULT") || autoselect.is_none_or(|value| value == "YES"),
                        "what is DEFAULT is AUTOSELECT (4.3.4.1)",
                        line,
                    );
                    self.must(
                        get("FORCED").is_empty() || kind == "SUBTITLES",
                        "FORCED is of SUBTITLES",
                        line,
                    );
                    let has_uri = attributes.contains_key("URI");
                    self.must(
                        has_uri == (kind != "CLOSED-CAPTIONS") || kind == "AUDIO",
                        "URI (4.3.4.1)",
                        line,
                    );
                    groups.entry((kind.clone(), get("GROUP-ID"))).or_default().push(attributes);
                }
                "-X-STREAM-INF" => {
                    let attributes = self.attributes(line, value);
                    for name in ["BANDWIDTH", "AVERAGE-BANDWIDTH"] {
                        if let Some(value) = attributes.get(name) {
                            self.integer(line, value);
                        }
                    }
                    self.must(
                        attributes.contains_key("BANDWIDTH"),
                        "STREAM-INF has BANDWIDTH (4.3.4.2)",
                        line,
                    );
                    if let Some(size) = attributes.get("RESOLUTION") {
                        let is_size = size.split_once('x').is_some_and(|(width, height)| {
                            [width, height].iter().all(|side| side.parse::<u32>().is_ok_and(|side| side > 0))
                        });
                        self.must(is_size, "a resolution is WIDTHxHEIGHT (4.2)", line);
                    }
                    if let Some(rate) = attributes.get("FRAME-RATE") {
                        self.must(
                            rate.parse::<f64>().is_ok_and(|rate| rate > 0.0),
                            "a frame rate (4.3.4.2)",
                            line,
                        );
                    }
                    if let Some(codecs) = attributes.get("CODECS") {
                        self.must(
                            codecs.starts_with('"') && codecs.len() > 2,
                            "CODECS is quoted (4.3.4.2)",
                            line,
                        );
                    }
                    awaits_uri = Some(*line);
                    variants.push((attributes, *line));
                }
                _ => {}
            }
        }
        self.must(awaits_uri.is_none(), "STREAM-INF is followed by its URI (4.3.4.2)", "at the end");
        self.must(duration.is_none(), "EXTINF is followed by its URI (4.3.2.1)", "at the end");
        for once in [
            "M3U",
            "-X-VERSION",
            "-X-TARGETDURATION",
            "-X-MEDIA-SEQUENCE",
            "-X-DISCONTINUITY-SEQUENCE",
            "-X-ENDLIST",
            "-X-PLAYLIST-TYPE",
            "-X-INDEPENDENT-SEGMENTS",
            "-X-START",
            "-X-I-FRAMES-ONLY",
        ] {
            self.must(seen.get(once).copied().unwrap_or_default() <= 1, "stands once", once);
        }
        self.must(version >= needed, "the version allows what is used (7)", &format!("{version} < {needed}"));
        let is_master = !variants.is_empty() || !groups.is_empty();
        let is_media = target.is_some() || !durations.is_empty();
        self.must(is_master != is_media, "either multivariant or media (4.1)", "");
        if is_media {
            self.must(target.is_some(), "has TARGETDURATION (4.3.3.1)", "");
            for (seconds, line) in durations {
                let fits = target.is_some_and(|target| seconds.round() <= target as f64);
                self.must(fits, "no segment is longer than the target (4.3.3.1)", line);
            }
        }
        self.groups(&groups, &variants);
    }

    /// §4.3.4.1.1 and §4.3.4.2.1: what groups and variants say of each other.
    fn groups(
        &mut self,
        groups: &HashMap<(String, String), Vec<HashMap<&str, &str>>>,
        variants: &[(HashMap<&str, &str>, &str)],
    ) {
        for ((kind, group), members) in groups {
            let names: HashSet<_> = members.iter().filter_map(|member| member.get("NAME")).collect();
            self.must(names.len() == members.len(), "names in a group differ (4.3.4.1.1)", group);
            let defaults = members.iter().filter(|member| member.get("DEFAULT") == Some(&"YES")).count();
            self.must(defaults <= 1, "one of a group is the default (4.3.4.1.1)", group);
            self.must(["\"subtitles\""].contains(&&**group), "a group that somebody names", kind);
        }
        for (attributes, line) in variants {
            if let Some(group) = attributes.get("SUBTITLES") {
                let known = groups.contains_key(&("SUBTITLES".to_owned(), (*group).to_owned()));
                self.must(known, "the group exists (4.3.4.2)", line);
            }
        }
        let none = variants
            .iter()
            .filter(|(attributes, _)| attributes.get("CLOSED-CAPTIONS") == Some(&"NONE"))
            .count();
        self.must(none == 0 || none == variants.len(), "CLOSED-CAPTIONS=NONE is said of all (4.3.4.2)", "");
    }

    /// A decimal integer (§4.2).
    fn integer(&mut self, line: &str, value: &str) -> u64 {
        let plain = (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
        self.must(plain, "a decimal integer (4.2)", line);
        value.parse().unwrap_or_default()
    }
}

#[test]
fn the_check_finds_what_is_wrong() {
    let good = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.4,\n0.ts\n#EXT-X-ENDLIST\n";
    assert_eq!(faults(good), Vec::<String>::new());
    for (from, to) in [
        ("#EXTM3U", "\u{feff}#EXTM3U"),
        ("#EXTM3U\n", ""),
        ("VERSION:3", "VERSION:2"),
        ("VERSION:3", "VERSION:3\n#EXT-X-VERSION:3"),
        ("VERSION:3", "VERSION:x"),
        ("#EXT-X-TARGETDURATION:10\n", ""),
        ("10.4", "10.5"),
        ("10.4,", "10.4"),
        ("0.ts\n", ""),
        ("0.ts", "a b.ts"),
        ("0.ts", "0.ts\n1.ts"),
        ("0.ts", "0.ts\n#EXT-X-MEDIA-SEQUENCE:0"),
        ("0.ts", "0.ts\u{7}"),
        ("#EXT-X-ENDLIST", "#EXT-X-STREAM-INF:BANDWIDTH=1\nx"),
        ("#EXT-X-ENDLIST", "#EXT-X-PLAYLIST-TYPE:LIVE"),
        ("#EXT-X-ENDLIST", "#EXT-X-MAP:URI=\"a\""),
    ] {
        assert!(!faults(&good.replacen(from, to, 1)).is_empty(), "{from:?} as {to:?}");
    }
    let media = |name: &str| {
        format!(
            "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"{name}\",DEFAULT=YES,AUTOSELECT=YES,URI=\"a\"\n"
        )
    };
    let good = format!("#EXTM3U\n{}#EXT-X-STREAM-INF:BANDWIDTH=1,SUBTITLES=\"subtitles\"\na\n", media("a"));
    assert_eq!(faults(&good), Vec::<String>::new());
    for (from, to) in [
        ("BANDWIDTH=1,", ""),
        ("BANDWIDTH=1", "BANDWIDTH=1.5"),
        ("BANDWIDTH=1", "BANDWIDTH=1,BANDWIDTH=2"),
        ("BANDWIDTH=1", "BANDWIDTH=1,RESOLUTION=0x1"),
        ("BANDWIDTH=1,", "BANDWIDTH=1, "),
        ("SUBTITLES=\"subtitles\"\na\n", "SUBTITLES=\"subtitles\"\n"),
        (",SUBTITLES=\"subtitles\"", ",SUBTITLES=\"x\""),
        ("AUTOSELECT=YES", "AUTOSELECT=NO"),
        ("NAME=\"a\",", ""),
        ("#EXT-X-STREAM", &format!("{}#EXT-X-STREAM", media("a"))),
        ("#EXT-X-STREAM", &format!("{}#EXT-X-STREAM", media("b"))),
        ("#EXT-X-STREAM", "#EXT-X-STREAM-INF:BANDWIDTH=1,CLOSED-CAPTIONS=NONE\nb\n#EXT-X-STREAM"),
    ] {
        assert!(!faults(&good.replacen(from, to, 1)).is_empty(), "{from:?} as {to:?}");
    }
}

/// Every playlist below a multivariant one, itself first, by its address.
async fn playlists(rig: &Rig, folder: &str, query: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut next = vec![format!("{folder}/master.m3u8{query}")];
    while let Some(address) = next.pop() {
        let reply = rig.get(&address).send().await;
        assert_eq!(reply.status, 200, "{address}: {}", reply.text());
        let text = reply.text().to_owned();
        if address.contains("/master.m3u8") {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let quoted = text.split("URI=\"").skip(1).filter_map(|rest| rest.split('"').next());
            next.extend(lines.chain(quoted).map(|line| format!("{folder}/{line}")));
        }
        found.push((address, text));
    }
    found
}

/// Films whose playlists differ in what they are made of: measured or not, growing or not, behind signatures, with tracks.
async fn all_playlists() -> Vec<(String, String)> {
    const FILM: &str = "/hls/ali/films/film.mkv";
    let mut all = Vec::new();
    for closed in [false, true] {
        let rig = Rig::with(Setup { closed, ..Setup::default() }, |drive| {
            drive
                .file("/films/film.mkv", Content::Sample(Sample::Mkv))
                .file("/films/film.mp4", Content::Sample(Sample::Mp4))
                .settings(|settings| settings.package = true)
        })
        .await;
        let query = if closed { format!("?sign={}", sign("/ali/films/film.mkv")) } else { String::new() };
        all.extend(playlists(&rig, FILM, &query).await);
        for number in 0..6 {
            for variant in ["ld", "sd", "hd"] {
                assert_eq!(rig.get(&format!("{FILM}/{variant}/{number}.ts{query}")).send().await.status, 200);
            }
        }
        all.extend(playlists(&rig, FILM, &query).await);
        let told = &all.iter().rfind(|(address, _)| address.contains("master")).unwrap().1;
        assert_eq!(told.matches("AVERAGE-BANDWIDTH").count(), 3, "{told}");
        if !closed {
            all.extend(playlists(&rig, "/hls/ali/films/film.mp4", "?max=sd&via=proxy").await);
            rig.sim.settings(|settings| settings.listed_segments = Some(2));
            rig.pass(std::time::Duration::from_secs(1000));
            all.extend(playlists(&rig, FILM, &query).await);
        }
    }
    all
}

#[tokio::test]
async fn no_playlist_of_ours_breaks_a_rule_of_the_rfc() {
    for (address, text) in all_playlists().await {
        assert_eq!(faults(&text), Vec::<String>::new(), "{address}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_parser_takes_every_playlist_of_ours() {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), std::path::PathBuf::from);
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("tools/node_modules/hls-parser");
    if !installed("node") || !folder.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "hls-parser must be installed where CI is set");
        std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: hls-parser is not installed\n").unwrap();
        return;
    }
    let program = format!(
        "const hls = require({folder:?}); hls.setOptions({{strictMode: true}}); \
         let all = ''; process.stdin.on('data', part => all += part); process.stdin.on('end', () => {{ \
           const lists = JSON.parse(all); let told = 0; \
           for (const [address, text] of lists) {{ \
             try {{ const list = hls.parse(text); told += list.isMasterPlaylist ? list.variants.length : list.segments.length; }} \
             catch (error) {{ console.log(address + ': ' + error + '\\n' + text); process.exitCode = 1; }} \
           }} console.log(lists.length + ' lists, ' + told); }});"
    );
    let lists = all_playlists().await;
    let mut child = tokio::process::Command::new("node")
        .args(["-e", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(serde_json::to_string(&lists).unwrap().as_bytes()).await.unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    let _ = write!(said, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains(&format!("{} lists", lists.len())), "{said}");
}
