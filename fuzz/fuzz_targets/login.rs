//! No body of a login breaks what reads it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::serve::login::Form;

fuzz_target!(|body: &[u8]| {
    if let Some(form) = Form::parse(body) {
        assert_eq!(format!("{form:?}"), "Form(…)");
    }
});
