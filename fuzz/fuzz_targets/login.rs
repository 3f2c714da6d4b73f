//! No body of a login, or of another call of the API, breaks what reads it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::serve::api::Form;

fuzz_target!(|body: &[u8]| {
    if let Some(form) = Form::parse(body) {
        assert_eq!(format!("{form:?}"), "Form(…)");
    }
});
