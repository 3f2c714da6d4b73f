use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = include_str!("../../config.example.toml");

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, "sluice.toml", std::iter::empty())
}

fn with_env(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(text, "sluice.toml", env)
}

fn faults(text: &str) -> Vec<String> {
    lines(&parse(text).expect_err("this has faults"))
}

fn lines(errors: &ConfigErrors) -> Vec<String> {
    errors.to_string().lines().map(str::to_owned).collect()
}

/// The example with every setting in effect that stands behind a bare `#`.
fn uncommented() -> String {
    let set = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => format!("{setting}\n"),
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(set).collect()
}

#[test]
fn no_text_is_the_defaults() {
    assert_eq!(format!("{:?}", parse("").unwrap()), format!("{:?}", Config::default()));
}

#[test]
fn the_example_is_the_defaults() {
    assert_eq!(format!("{:?}", parse(EXAMPLE).unwrap()), format!("{:?}", Config::default()));
}

#[test]
fn the_example_shows_every_key_and_no_other_value_than_the_default() {
    // What has no default, or one that shows nothing.
    let samples = [
        "access",
        "access.rule",
        "access.rule.hide",
        "access.rule.path",
        "access.user",
        "access.user.name",
        "access.user.password_hash",
        "cache",
        "cache.redis_url",
        "export",
        "export.out",
        "export.path",
        "mount",
        "mount.driver",
        "mount.options",
        "mount.options.root",
        "mount.path",
        "proxy",
        "server",
        "server.tls",
        "server.tls.cert_file",
        "server.tls.key_file",
    ];
    let text = uncommented();
    let report = Report::new("config.example.toml", &text);
    let table = report.parse(&text).expect("the example is TOML");
    drop(check::read(Section::new(table, &report)));
    let readings = report.readings();
    // The samples are no files here.
    let faults: Vec<_> = report.finish().0.into_iter().map(|fault| fault.key).collect();
    assert_eq!(faults, ["server.tls.cert_file"]);
    for reading in &readings {
        // Each secret may be given by a file instead, and one block of several is enough to show a key.
        let file = reading.key.ends_with("_file") && !reading.key.starts_with("server.tls");
        let shown = readings.iter().any(|other| other.key == reading.key && other.written);
        assert!(shown || file, "{} is missing", reading.key);
        let sample = samples.contains(&reading.key.as_str());
        assert_eq!(reading.changed, sample && reading.written, "{}", reading.key);
    }
}

#[test]
fn everything_wrong_is_reported_at_once_with_its_line() {
    let text = r#"
[server]
listen = ["127.0.0.1:8470", "here"]
shutdown_grace = 30

[cache]
entries = -1
listing_ttl = "half an hour"
negative_tll = "30s"
block_memory = "64M"

[[mount]]
path = "aliyun"
driver = "cloud"
delivery = "post"

[[mount]]
driver = "local"
[mount.options]
root = 3
"#;
    let found = faults(text);
    let expected = [
        "sluice.toml:3: server.listen: \"here\" is no address",
        "sluice.toml:4: server.shutdown_grace: must be a duration in quotes",
        "sluice.toml:7: cache.entries: must be from 0 to",
        "sluice.toml:8: cache.listing_ttl: \"half an hour\" is no duration",
        "sluice.toml:9: cache.negative_tll: unknown key, did you mean `negative_ttl`?",
        "sluice.toml:10: cache.block_memory: \"64M\" is no size",
        "sluice.toml:13: mount.path: must begin with /",
        "sluice.toml:14: mount.driver: must be one of \"aliyundrive_open\", \"local\", not \"cloud\"",
        "sluice.toml:15: mount.delivery: must be one of \"auto\", \"redirect\"",
        "sluice.toml:17: mount.path: is required",
        "sluice.toml:20: mount.options.root: must be a text in quotes, not a whole number",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn what_is_not_toml_is_reported_without_the_line_itself() {
    let text = "[access]\napi_token = \"hunter2hunter2hunter2\n[cache]\nentries = 1 hunter2\n";
    let found = faults(text);
    assert!(found.len() > 1, "{found:?}");
    assert!(found[0].starts_with("sluice.toml:2: ") && found[0].contains("column"), "{found:?}");
    assert!(found.iter().all(|line| !line.contains("hunter2")), "{found:?}");
}

#[test]
fn a_key_written_twice_names_its_line() {
    assert_eq!(faults("[cache]\nlinks = 1\nlinks = 2\n"), ["sluice.toml:3: duplicate key (column 1)"]);
}

#[test]
fn secrets_reach_neither_debug_nor_a_fault() {
    let secret = "hunter2-hunter2-hunter2";
    let good = format!("[access]\napi_token = \"{secret}\"\n");
    assert!(!format!("{:?}", parse(&good).unwrap()).contains("hunter2"));
    for bad in [
        format!("[access]\napi_token = [\"{secret}\"]\n"),
        format!("[access]\napi_token = \"{secret} \"\n"),
        format!("[access]\napi_tokn = \"{secret}\"\n"),
        format!("[cache]\nredis_url = \"me:{secret}@host\"\n"),
        format!("[server]\npublic_url = \"https://me:{secret}@host\"\n"),
        format!("[[access.user]]\nname = \"anna\"\npassword_hash = \"{secret}\"\n"),
        format!(
            "[[mount]]\npath = \"/\"\ndriver = \"aliyundrive_open\"\noptions.refresh_token = {{ x = \"{secret}\" }}\n"
        ),
    ] {
        let errors = parse(&bad).expect_err(&bad);
        assert!(!format!("{errors}{errors:?}").contains("hunter2"), "{errors}");
    }
    let errors =
        with_env("", &[("SLUICE__ACCESS__API_TOKEN", "hunter2"), ("SLUICE__ACES", "hunter2")]).unwrap_err();
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
}

#[cfg(unix)]
#[test]
fn a_secret_comes_from_a_file_that_others_cannot_read() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "a-token-of-some-length\n").unwrap();
    let text = format!("[access]\napi_token_file = \"{}\"\n", path.display());
    let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();

    mode(0o644);
    let found = faults(&text);
    assert!(found[0].starts_with("sluice.toml:2: access.api_token_file: "), "{found:?}");
    assert!(found[0].contains("(mode 644)") && found[0].contains("token\""), "{found:?}");

    mode(0o600);
    let config = parse(&text).unwrap();
    assert_eq!(config.access.api_token.unwrap().expose(), "a-token-of-some-length");

    let both = format!("{text}api_token = \"another-token-of-some-length\"\n");
    assert_eq!(
        faults(&both),
        ["sluice.toml:3: access.api_token: is given twice, as api_token_file too; keep one of them"]
    );
    let overridden =
        with_env(&text, &[("SLUICE__ACCESS__API_TOKEN", "another-token-of-some-length")]).unwrap();
    assert_eq!(overridden.access.api_token.unwrap().expose(), "another-token-of-some-length");

    let empty = with_env(&format!("{text}api_token = \"\"\n"), &[]).unwrap();
    assert_eq!(empty.access.api_token.unwrap().expose(), "a-token-of-some-length");

    std::fs::write(&path, "short").unwrap();
    let given = "[access]\napi_token = \"another-token-of-some-length\"\n";
    let errors = with_env(given, &[("SLUICE__ACCESS__API_TOKEN_FILE", path.to_str().unwrap())]).unwrap_err();
    assert!(
        errors.to_string().starts_with("SLUICE__ACCESS__API_TOKEN_FILE: access.api_token: must have"),
        "{errors}"
    );
    let found = faults(&text);
    assert!(found[0].starts_with("sluice.toml:2: access.api_token: must have at least 8"), "{found:?}");
    std::fs::remove_file(&path).unwrap();
    assert!(faults(&text)[0].contains("cannot read"), "{:?}", faults(&text));
}

#[test]
fn sample_tokens_are_refused() {
    for token in ["changeme", "ChangeMeChangeMe", "secret", "0123456789abcdef", "seven77"] {
        let found = faults(&format!("[access]\napi_token = \"{token}\"\n"));
        assert!(found[0].starts_with("sluice.toml:2: access.api_token: "), "{found:?}");
    }
}

#[test]
fn the_environment_overrides_every_level() {
    let text = r#"
[server]
listen = ["127.0.0.1:8470"]
[[mount]]
path = "/films"
driver = "local"
[mount.options]
root = "/srv/media"
"#;
    let config = with_env(
        text,
        &[
            ("HOME", "/root"),
            ("SLUICE_LOG", "debug"),
            ("SLUICE__SERVER__LISTEN", "127.0.0.1:1, [::1]:2"),
            ("SLUICE__SERVER__ADMIN_LISTEN", ""),
            ("SLUICE__SERVER__STATE_DIR", "12"),
            ("SLUICE__ACCESS__GUEST", "true"),
            ("SLUICE__CACHE__ENTRIES", "1_000"),
            ("SLUICE__PROXY__HOLD", "2s"),
            ("SLUICE__MOUNT__0__PATH", "/series"),
            ("SLUICE__MOUNT__1__PATH", "/aliyun"),
            ("SLUICE__MOUNT__1__DRIVER", "aliyundrive_open"),
            ("SLUICE__MOUNT__1__OPTIONS__RATE_LIST", "2"),
            ("SLUICE__MOUNT__1__OPTIONS__CONTENT_HOSTS", "[\"a.example\", \"b.example\"]"),
        ],
    );
    let config = config.unwrap();
    assert_eq!(config.server.listen, ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]);
    assert_eq!(config.server.admin_listen, None);
    assert_eq!(config.state_dir, Path::new("12"));
    assert!(config.access.guest);
    assert_eq!(config.cache.entries, 1_000);
    assert_eq!(config.proxy.hold, Duration::from_secs(2));
    let paths: Vec<_> = config.mounts.iter().map(|mount| mount.path.as_str()).collect();
    assert_eq!(paths, ["/series", "/aliyun"]);
    assert!(format!("{:?}", config.mounts[1]).contains("b.example"));
}

#[test]
fn items_of_lists_are_overridden_by_number() {
    let env: Vec<_> =
        (0..12).rev().map(|n| (format!("SLUICE__SERVER__LISTEN__{n}"), format!("127.0.0.1:{n}"))).collect();
    let config = Config::parse("", "sluice.toml", env.into_iter()).unwrap();
    assert!(config.server.listen.iter().map(SocketAddr::port).eq(0..12));
}

#[test]
fn a_fault_in_an_override_names_it() {
    let errors = with_env(
        "[server]\nlisten = []\n[[mount]]\npath = \"/\"\ndriver = \"local\"\noptions.root = \"/srv\"\n",
        &[
            ("--listen", "8470"),
            ("SLUICE__ACCESS__GUEST", "perhaps"),
            ("SLUICE__ACCESS__USER__1__NAME", "anna"),
            ("SLUICE__CACHE__LINKS", "many"),
            ("SLUICE__CACHE__LINKZ", "1"),
            ("SLUICE__MOUNT", "x"),
            ("SLUICE__MOUNT__1__DRIVER", "local"),
            ("SLUICE__PROXY__HOLD__X", "1"),
            ("SLUICE__PROXY__WINDOW", "\u{fffd}"),
            ("SLUICE__SERVER", "x"),
        ],
    );
    let mut found = lines(&errors.unwrap_err());
    found.sort();
    let expected = [
        "--listen: server.listen: \"8470\" is no address with a port",
        "SLUICE__ACCESS__GUEST: access.guest: must be true or false",
        "SLUICE__ACCESS__USER__1__NAME: access.user.1.name: leaves a gap: the next of the list is number 0",
        "SLUICE__CACHE__LINKS: cache.links: must be a whole number",
        "SLUICE__CACHE__LINKZ: cache.linkz: unknown key, did you mean `links`?",
        "SLUICE__MOUNT: mount: holds more keys",
        "SLUICE__MOUNT__1__DRIVER: mount.options.root: is required",
        "SLUICE__MOUNT__1__DRIVER: mount.path: is required",
        "SLUICE__PROXY__WINDOW: proxy.window: is not UTF-8",
        "SLUICE__SERVER: server: holds more keys",
    ];
    for expected in expected {
        assert!(found.iter().any(|found| found.starts_with(expected)), "{expected}\n{found:#?}");
    }
}

#[test]
fn unix_sockets_stand_beside_addresses() {
    let text = "[access]\nguest = true\n[server]\nlisten = [\"unix:/run/s\", \"127.0.0.1:1\"]\n";
    let server = parse(text).unwrap().server;
    assert_eq!((server.listen.len(), server.listen_unix), (1, vec!["/run/s".into()]));
    let long = format!("unix:/{}", "a".repeat(103));
    let text = format!("[server]\nlisten = [\"unix:s\", \"unix:/s\", \"unix:/s\", \"{long}\"]\n");
    let found = faults(&text);
    for (found, said) in
        found.iter().zip(["must name an absolute path", "names unix:/s twice", "is longer than"])
    {
        assert!(found.starts_with("sluice.toml:2: server.listen: ") && found.contains(said), "{found}");
    }
    assert_eq!(found.len(), 3);
}

#[test]
fn guests_are_served_on_this_machine_alone() {
    let found = faults("[access]\nguest = true\n[server]\nlisten = [\"127.0.0.1:1\", \"0.0.0.0:1\"]\n");
    assert!(
        found[0].starts_with("sluice.toml:4: server.listen: 0.0.0.0:1 can be reached from other machines")
    );
    assert!(parse("[server]\nlisten = [\"0.0.0.0:1\"]\n").is_ok());
    assert!(parse("[access]\nguest = true\n[server]\nlisten = [\"[::1]:1\"]\n").is_ok());
}

#[test]
fn mounts_have_paths_of_their_own() {
    let mount =
        |path: &str| format!("[[mount]]\npath = \"{path}\"\ndriver = \"local\"\noptions.root = \"/srv\"\n");
    assert_eq!(
        faults(&format!("{}{}{}", mount("/a"), mount("/a/b"), mount("//a/"))),
        ["sluice.toml:10: mount.path: /a is mounted already"]
    );
    assert!(faults(&mount("/a/../b"))[0].starts_with("sluice.toml:2: mount.path: "));
}

#[test]
fn outside_addresses_are_plain_and_lose_their_last_slash() {
    let url = |url: &str| {
        parse(&format!("[server]\npublic_url = \"{url}\"\n")).map(|config| config.serve.public_url)
    };
    assert_eq!(
        url("https://films.example.org/sluice/").unwrap().as_deref(),
        Some("https://films.example.org/sluice")
    );
    assert_eq!(url("http://films.example.org").unwrap().as_deref(), Some("http://films.example.org"));
    for bad in ["films.example.org", "ftp://a", "https://a/?x", "https://a/#x", "https://me@a", "https://"] {
        assert!(url(bad).is_err(), "{bad}");
    }
    let mount = "[[mount]]\npath = \"/\"\ndriver = \"local\"\noptions.root = \"/srv\"\ndelivery = \"download_proxy\"\n";
    assert!(faults(mount)[0].starts_with("sluice.toml:1: mount.download_proxy_url: is required"));
    assert!(parse(&format!("{mount}download_proxy_url = \"https://helper.example.org\"\n")).is_ok());
}

#[test]
fn users_rules_networks_and_certificates_are_checked_already() {
    let text = r#"
[server]
trusted_proxies = ["10.0.0.0/8", "::1", "10.0.0.0/33", "proxy"]
tls = { cert_file = "a" }
[cache]
redis_url = "http://127.0.0.1"
[[access.user]]
name = "anna"
password_hash = "plain"
permissions = ["read", "fly"]
[[access.user]]
name = "anna"
[[access.rule]]
path = "kids"
users = ["bob"]
"#;
    let found = faults(text);
    let keys: Vec<_> =
        found.iter().map(|line| line.splitn(3, ": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        keys,
        [
            "sluice.toml:3 server.trusted_proxies",
            "sluice.toml:3 server.trusted_proxies",
            "sluice.toml:4 server.tls.key_file",
            "sluice.toml:6 cache.redis_url",
            "sluice.toml:9 access.user.password_hash",
            "sluice.toml:10 access.user.permissions",
            "sluice.toml:11 access.user.password_hash",
            "sluice.toml:12 access.user.name",
            "sluice.toml:14 access.rule.path",
            "sluice.toml:15 access.rule.users",
        ]
    );
}

#[test]
fn what_has_no_effect_yet_is_noted_where_it_differs_from_the_default() {
    let text = r#"
[cache]
redis_url = "redis://127.0.0.1/0"
[[mount]]
path = "/"
driver = "local"
options.root = "/srv"
"#;
    let notes: Vec<_> = parse(text).unwrap().notes.iter().map(Note::to_string).collect();
    assert_eq!(notes, ["sluice.toml:3: cache.redis_url: not yet in effect",]);
}

#[test]
fn a_folder_is_served_to_guests_on_this_machine() {
    let config = Config::for_folder(Path::new("/srv/media"), std::iter::empty()).unwrap();
    assert!(config.access.guest);
    let alone = transport::Settings { admin_listen: None, ..Config::default().server };
    assert_eq!(config.server, alone);
    assert!(config.mounts.len() == 1 && config.mounts[0].path.is_root());
    assert!(format!("{:?}", config.mounts[0].driver).contains("/srv/media"));

    let open = [(LISTEN_ARGUMENT.to_owned(), "0.0.0.0:80".to_owned())].into_iter();
    let errors = Config::for_folder(Path::new("/srv/media"), open).unwrap_err();
    assert!(errors.to_string().starts_with("--listen: server.listen: 0.0.0.0:80 can be reached"), "{errors}");
}

#[test]
fn a_file_is_found_by_argument_then_variable_then_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice/sluice.toml");
    let mut env = BTreeMap::from([("XDG_CONFIG_HOME".to_owned(), folder.path().display().to_string())]);
    assert_eq!(Config::find(None, &env), None);
    std::fs::create_dir(folder.path().join("sluice")).unwrap();
    std::fs::write(&file, "").unwrap();
    assert_eq!(Config::find(None, &env), Some(file));
    env.insert("SLUICE_CONFIG".to_owned(), "elsewhere.toml".to_owned());
    assert_eq!(Config::find(None, &env).as_deref(), Some(Path::new("elsewhere.toml")));
    assert_eq!(Config::find(Some(Path::new("named.toml")), &env).as_deref(), Some(Path::new("named.toml")));
}

#[test]
fn a_file_that_cannot_be_read_is_one_fault() {
    let errors = Config::load(Path::new("/nowhere/sluice.toml"), std::iter::empty()).unwrap_err();
    assert_eq!(errors.faults().len(), 1);
    assert!(errors.to_string().starts_with("/nowhere/sluice.toml: cannot be read: "), "{errors}");
}

proptest! {
    #[test]
    fn no_text_and_no_override_make_it_panic(text in "(\\PC|\n){0,200}", name in "[A-Z0-9_]{0,30}", value in "\\PC{0,40}") {
        let env = [(format!("SLUICE__{name}"), value)];
        if let Err(errors) = Config::parse(&text, "sluice.toml", env.into_iter()) {
            prop_assert!(!errors.faults().is_empty());
            prop_assert_eq!(errors.to_string().lines().count(), errors.faults().len());
        }
    }

    #[test]
    fn no_value_of_any_type_makes_it_panic(
        section in prop::sample::select(vec!["server", "server.tls", "access", "cache", "proxy", "mount", "mount.options"]),
        key in prop::sample::select(vec!["listen", "guest", "user", "api_token", "entries", "hold", "path", "driver", "rate_list", "x"]),
        value in prop::sample::select(vec!["0", "-1", "1e400", "nan", "true", "\"\"", "\"a\"", "[]", "[1]", "[[]]", "{}", "[{}]", "1979-05-27", "0xffffffffffffffffff"]),
        array in any::<bool>(),
    ) {
        let header = if array { format!("[[{section}]]") } else { format!("[{section}]") };
        let text = format!("{header}\n{key} = {value}\n");
        if let Err(errors) = parse(&text) {
            prop_assert!(errors.faults().iter().all(|fault| fault.line.is_some()), "{}", errors);
        }
    }
}
