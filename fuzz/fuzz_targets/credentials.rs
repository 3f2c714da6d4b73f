//! Nothing that a request shows of itself opens anything but what we made, and nothing of it is printed.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice::access::Settings;
use sluice::access::admission::{Admission, Glance};
use sluice::access::credentials::Credentials;
use sluice::clock::Clock;
use sluice::path::VirtualPath;
use sluice::secret::Secret;

static ADMISSION: LazyLock<Admission> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join("sluice-fuzz-no-such-folder");
    Admission::new(&Settings::default(), Secret::new("the token of this target"), &folder, Clock::new())
        .unwrap()
});

fuzz_target!(|text: &str| {
    assert!(!ADMISSION.is_signed(&VirtualPath::parse("/films/a.mkv").unwrap(), text));
    let Some(credentials) = Credentials::parse(text) else { return };
    let printed = format!("{credentials:?}");
    if let Credentials::Token(token) = &credentials
        && token.expose().len() > 20
    {
        assert!(!printed.contains(token.expose()));
    }
    assert!(!matches!(ADMISSION.glance(Some(credentials)), Glance::Known(_)));
});
