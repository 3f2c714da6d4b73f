//! Python libraries that others wrote for AList and WebDAV, with their own ideas of what an answer is.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::dav_clients::{library, output};
use crate::names::NAMES;
use crate::support::installed;

/// What each of these says of the library, as JSON; whatever they do not understand, they raise.
const SCRIPT: &str = r#"
import io, json, os, sys, urllib.parse
base, user, password = os.environ["BASE"], "anna", "secret"
said = {}

from alist_sdk import AlistPath, Client
client = Client(base, username=user, password=password)
assert client.me().data.username == user
said["alist_sdk"] = sorted(item.name for item in client.list_files("/ali/lib").data.content)
assert client.get_item_info("/ali/lib").data.is_dir
assert client.mkdir("/ali/new").code == 403
path = AlistPath(base + "/ali/lib/one+one.mkv/one+one.mkv", username=user, password=password)
said["alist_path"] = [path.is_file(), len(path.read_bytes())]
sizes = {}
for folder in client.list_files("/ali/lib").data.content:
    for item in client.list_files("/ali/lib/" + folder.name).data.content:
        info = client.get_item_info("/ali/lib/" + folder.name + "/" + item.name).data
        sizes[item.name] = [info.size, info.raw_url]
said["alist_sdk_files"] = sizes

from webdav4.client import Client as Webdav4
client = Webdav4(base + "/dav/ali/lib", auth=(user, password))
assert client.isdir("/") and not client.exists("/nothing")
said["webdav4"] = sorted(client.ls("/", detail=False))
one = io.BytesIO()
client.download_fileobj("one+one.mkv/one+one.mkv", one)
said["webdav4_bytes"] = len(one.getvalue())

from webdav3.client import Client as Webdav3
client = Webdav3({"webdav_hostname": base, "webdav_root": "/dav/ali/lib", "webdav_login": user, "webdav_password": password})
said["webdav3"] = sorted(client.list("/"))
said["webdav3_size"] = int(client.info("one+one.mkv/one+one.mkv")["size"])
print(json.dumps(said))
"#;

fn packages() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("tools/python")
}

#[tokio::test(flavor = "multi_thread")]
async fn python_clients_of_alist_and_of_webdav_read_a_tree_of_strange_names() {
    if !installed("python3") {
        return;
    }
    if !packages().is_dir() {
        assert!(std::env::var_os("CI").is_none(), "the packages must be installed where CI is set");
        std::io::Write::write_all(
            &mut std::io::stderr(),
            b"SKIPPED: the Python packages are not installed\n",
        )
        .unwrap();
        return;
    }
    let (rig, _here) = library("proxy").await;
    let home = TempDir::new().unwrap();
    let environment = [("PYTHONPATH", packages().display().to_string()), ("BASE", rig.site.base.clone())];
    let done = output("python3", &["-c", SCRIPT], "", home.path(), &environment).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let mut names = NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(said["alist_sdk"], serde_json::json!(names));
    for (seed, name) in (0..).zip(NAMES) {
        let file = &said["alist_sdk_files"][name];
        assert_eq!(file[0], 100_000 + seed, "{name}: {said}");
        let bytes = crate::support::follow(file[1].as_str().unwrap(), None).await.body;
        assert_eq!(bytes, drive_sim::content::bytes(seed, 0, 100_000 + seed as usize), "{name}");
    }
    let one = NAMES.iter().position(|name| *name == "one+one.mkv").unwrap() + 100_000;
    assert_eq!(said["alist_path"], serde_json::json!([true, one]));
    assert_eq!((&said["webdav4_bytes"], &said["webdav3_size"]), (&one.into(), &one.into()));
    assert_eq!(said["webdav4"].as_array().unwrap().len(), NAMES.len());
    assert!(said["webdav3"].as_array().unwrap().len() >= NAMES.len());
}
