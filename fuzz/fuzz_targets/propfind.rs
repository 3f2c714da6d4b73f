//! No body of a PROPFIND breaks what reads it, and whatever it asks for is answered in well-formed XML.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use quick_xml::NsReader;
use quick_xml::events::Event;
use sluice::driver::{Entry, EntryId};
use sluice::serve::dav::multistatus::Multistatus;
use sluice::serve::dav::propfind::Wanted;

fuzz_target!(|body: &[u8]| {
    let Ok(wanted) = Wanted::parse(body) else { return };
    let itself = Arc::new(Entry::folder(EntryId::new("f"), "a & b"));
    let told =
        Multistatus { at: "/dav/x".to_owned(), itself, wanted, quota: None, is_microsoft: false }.alone();
    let mut reader = NsReader::from_str(&told);
    while !matches!(reader.read_event().expect("well-formed"), Event::Eof) {}
});
