//! No path of a request leads out of the tree, and none is read in two ways: by the gate, and by what it lets pass.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::layer::authenticate::Requirement;
use sluice::path::VirtualPath;
use sluice::serve::target::{Target, requirement};

fuzz_target!(|raw: &str| {
    if let Ok(path) = VirtualPath::parse_encoded(raw) {
        assert!(path.as_str().starts_with('/') && path.as_str().len() <= VirtualPath::MAX);
        assert!(path.components().all(|name| name != "." && name != ".." && !name.contains(['/', '\0'])));
        assert_eq!(VirtualPath::parse_encoded(&path.encoded()).unwrap(), path);
    }
    let Ok(mut request) = http::Request::get(raw).body(()) else { return };
    let by_itself = Target::parse(&mut request.clone(), "/sluice");
    let asked = requirement(&mut request, "/sluice");
    if let (Ok(target), Requirement::Signature { path, .. } | Requirement::Login(Some(path))) =
        (by_itself, asked)
    {
        assert_eq!(target.path, path, "what was let in is what is answered");
    }
});
