//! Takes hls.js from its npm package into the binary, for browsers that have no HLS of their own. Where npm, the network or `tar`
//! is missing the build goes on without it and says so. `SLUICE_HLS_JS` may name the package's file for builds without a network.
#![expect(clippy::disallowed_macros, reason = "cargo reads what a build script prints")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use data_encoding::BASE64;
use sha2::{Digest, Sha512};

/// Apache-2.0. To take another one: `npm view hls.js@VERSION dist.integrity`.
const VERSION: &str = "1.7.4";
const INTEGRITY: &str =
    "sha512-3GlxGdPvT2YHvQYOt+yOzT/DEior/qJVNIylHA77kgeoBTdQQqi70GwefNEUmHQeNGyjC8U62+bruqW/Tpm+tg==";
/// How often, and how many times, to look whether npm has ended; chosen, 20 s in all: a build without a network should not wait
/// for one.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: u32 = 1000;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SLUICE_HLS_JS");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let script = script(&out).unwrap_or_else(|why| {
        // Who names a file wants it in.
        assert!(std::env::var_os("SLUICE_HLS_JS").is_none(), "SLUICE_HLS_JS: {why}");
        // A file that is never there: so the next build tries again.
        println!("cargo::rerun-if-changed={}", out.join("try-again").display());
        println!(
            "cargo::warning=built without hls.js ({why}): browsers that have no HLS of their own play the original alone"
        );
        String::new()
    });
    std::fs::write(out.join("hls.min.js"), script).expect("cargo made the folder");
}

fn script(out: &Path) -> Result<String, String> {
    let package = match std::env::var_os("SLUICE_HLS_JS") {
        Some(file) => {
            println!("cargo::rerun-if-changed={}", file.display());
            PathBuf::from(file)
        }
        None => {
            let pack = Command::new("npm")
                .args([
                    "pack",
                    &format!("hls.js@{VERSION}"),
                    "--silent",
                    "--fetch-retries=0",
                    "--pack-destination",
                ])
                .arg(out)
                .current_dir(out)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            wait(pack.map_err(|error| format!("npm: {error}"))?)?;
            out.join(format!("hls.js-{VERSION}.tgz"))
        }
    };
    let bytes = std::fs::read(&package).map_err(|error| format!("{}: {error}", package.display()))?;
    if format!("sha512-{}", BASE64.encode(&Sha512::digest(&bytes))) != INTEGRITY {
        return Err("its package is not the one that is expected".to_owned());
    }
    let unpack = Command::new("tar")
        .arg("-xzf")
        .arg(&package)
        .arg("-C")
        .arg(out)
        .args(["package/dist/hls.min.js", "package/LICENSE"])
        .stdin(Stdio::null())
        .spawn();
    wait(unpack.map_err(|error| format!("tar: {error}"))?)?;
    let read =
        |file| std::fs::read_to_string(out.join("package").join(file)).map_err(|error| error.to_string());
    let license = read("LICENSE")?;
    if license.contains("*/") {
        return Err("its license ends the comment that it is to stand in".to_owned());
    }
    // Whoever gets the script from us gets its terms with it.
    Ok(format!("/*! hls.js {VERSION}\n{license}*/\n{}", read("dist/hls.min.js")?))
}

/// Waits for a program's success, and ends it where it takes too long.
fn wait(mut child: Child) -> Result<(), String> {
    for _ in 0..LOOKS {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("npm or tar: {status}")),
            Ok(None) => std::thread::sleep(LOOK),
            Err(error) => return Err(error.to_string()),
        }
    }
    // It may have ended meanwhile.
    let _ = child.kill();
    let _ = child.wait();
    Err("npm did not answer in time".to_owned())
}
