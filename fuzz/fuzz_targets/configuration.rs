//! No configuration breaks what reads it: it is complete, or every fault has a place.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::config::Config;

fuzz_target!(|text: &str| {
    // What it names is read: let it name nothing of this machine.
    if text.contains("_file") || text.contains("$argon2id") {
        return;
    }
    match Config::parse(text, "fuzz.toml", std::iter::empty()) {
        Ok(config) => assert!(!config.server.listen.is_empty() || !config.server.listen_unix.is_empty()),
        Err(errors) => assert!(!errors.faults().is_empty()),
    }
});
