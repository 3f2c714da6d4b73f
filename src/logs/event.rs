//! One log line: time, level, message, the request it belongs to, and its fields.
//!
//! Written by us since it is a part of every request: the general formatter took three times as long (see
//! `benches/README.md`). Text from outside cannot break a line or forge one.

use std::cell::Cell;
use std::fmt::Debug;
use std::io::Write;
use std::time::{Duration, SystemTime};

use itoa::Integer;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{Lines, LogFormat, RequestId, current_request};

/// Makes lines of events.
#[derive(Debug)]
pub(super) struct EventWriter {
    format: LogFormat,
    lines: Lines,
}

/// Puts fields at the end of a line.
struct Fields<'a> {
    format: LogFormat,
    line: &'a mut Vec<u8>,
}

/// The time as lines tell it, up to the second: most lines have theirs in common with the one before.
#[derive(Clone, Copy)]
struct Second {
    since_epoch: u64,
    text: [u8; SECOND],
}

thread_local! {
    /// The memory of the last line, for the next.
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static SECOND_BEFORE: Cell<Second> = const { Cell::new(Second { since_epoch: u64::MAX, text: [0; SECOND] }) };
}

// === impl EventWriter ===

impl EventWriter {
    pub(super) fn new(format: LogFormat, lines: Lines) -> Self {
        Self { format, lines }
    }
}

impl<S: Subscriber> Layer<S> for EventWriter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = LINE.take();
        line.clear();
        let level = *event.metadata().level();
        #[expect(clippy::disallowed_methods, reason = "a line tells what the machine's clock shows")]
        let now = SystemTime::now();
        write_line(self.format, &mut line, now, level, current_request(), |fields| event.record(fields));
        // The last words of a process that dies must not wait.
        self.lines.write(&line, level <= Level::WARN);
        LINE.set(line);
    }
}

fn write_line(
    format: LogFormat,
    line: &mut Vec<u8>,
    now: SystemTime,
    level: Level,
    request: Option<RequestId>,
    record: impl FnOnce(&mut Fields<'_>),
) {
    let mut fields = Fields { format, line };
    match format {
        LogFormat::Json => {
            fields.raw("{\"timestamp\":\"");
            fields.time(now);
            fields.raw("\",\"level\":\"");
            fields.raw(level.as_str());
            fields.raw("\"");
        }
        LogFormat::Text => {
            fields.time(now);
            // To the right, in the width of the longest.
            fields.raw(if level.as_str().len() < 5 { "  " } else { " " });
            fields.raw(level.as_str());
        }
    }
    // tracing hands the message over first.
    record(&mut fields);
    if let Some(id) = request {
        fields.raw(if format == LogFormat::Json { ",\"request\":\"" } else { " request=" });
        fields.raw(id.text().as_ref());
        fields.raw(if format == LogFormat::Json { "\"" } else { "" });
    }
    line.extend_from_slice(if format == LogFormat::Json { b"}\n" } else { b"\n" });
}

// === impl Fields ===

impl Fields<'_> {
    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Memory takes everything.
        let _ = self.line.write_fmt(text);
    }

    fn raw(&mut self, text: &str) {
        self.line.extend_from_slice(text.as_bytes());
    }

    /// A moment by RFC 3339, in microseconds.
    fn time(&mut self, now: SystemTime) {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut second = SECOND_BEFORE.get();
        if second.since_epoch != since_epoch.as_secs() {
            let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs());
            let before = self.line.len();
            self.put(format_args!("{}", humantime::format_rfc3339_seconds(whole)));
            // A clock that stands behind the year 9999 cannot be told.
            let text = self.line[before..].first_chunk().copied().unwrap_or([b'?'; SECOND]);
            self.line.truncate(before);
            second = Second { since_epoch: since_epoch.as_secs(), text };
            SECOND_BEFORE.set(second);
        }
        self.line.extend_from_slice(&second.text);
        self.raw(".");
        // One digit more in front, which is cut off, fills up with zeros.
        let mut buffer = itoa::Buffer::new();
        self.raw(&buffer.format(1_000_000 + since_epoch.subsec_micros())[1..]);
        self.raw("Z");
    }

    fn name(&mut self, field: &Field) {
        match self.format {
            LogFormat::Json => {
                self.line.extend_from_slice(b",\"");
                self.line.extend_from_slice(field.name().as_bytes());
                self.line.extend_from_slice(b"\":");
            }
            LogFormat::Text => {
                self.line.push(b' ');
                self.line.extend_from_slice(field.name().as_bytes());
                self.line.push(b'=');
            }
        }
    }

    fn number(&mut self, field: &Field, value: impl Integer) {
        self.name(field);
        self.raw(itoa::Buffer::new().format(value));
    }

    fn text(&mut self, field: &Field, value: &str) {
        match self.format {
            LogFormat::Json => {
                self.name(field);
                let _ = serde_json::to_writer(&mut *self.line, value);
            }
            LogFormat::Text if field.name() == MESSAGE => {
                self.line.push(b' ');
                if value.chars().any(char::is_control) {
                    self.put(format_args!("{value:?}"));
                } else {
                    self.line.extend_from_slice(value.as_bytes());
                }
            }
            LogFormat::Text => {
                self.name(field);
                if !value.is_empty() && value.bytes().all(is_plain) {
                    self.line.extend_from_slice(value.as_bytes());
                } else {
                    self.put(format_args!("{value:?}"));
                }
            }
        }
    }
}

impl Visit for Fields<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        self.raw(if value { "true" } else { "false" });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Where a line of the `log` crate came from; the message says enough.
        if field.name().starts_with("log.") {
            return;
        }
        if self.format == LogFormat::Text && field.name() == MESSAGE {
            // Nearly all are plain words, which need no copy.
            let before = self.line.len();
            self.put(format_args!(" {value:?}"));
            if self.line[before..].iter().all(|byte| matches!(byte, b' '..=b'~')) {
                return;
            }
            self.line.truncate(before);
        }
        self.text(field, &format!("{value:?}"));
    }
}

/// Whether a byte can stand in a line without quotes around.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')
}

const MESSAGE: &str = "message";
/// Bytes of `2026-01-31T23:59:59`.
const SECOND: usize = 19;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::logs::sync_working_for;

    /// Keeps what would be written, without its time.
    struct Kept(LogFormat, Arc<Mutex<String>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut line = Vec::new();
            let (now, level) = (SystemTime::UNIX_EPOCH + Duration::from_micros(7), *event.metadata().level());
            write_line(self.0, &mut line, now, level, current_request(), |fields| event.record(fields));
            *self.1.lock().unwrap() = String::from_utf8(line).unwrap();
        }
    }

    fn line(format: LogFormat, work: impl FnOnce()) -> String {
        let kept = Arc::new(Mutex::new(String::new()));
        let subscriber = tracing_subscriber::registry().with(Kept(format, Arc::clone(&kept)));
        tracing::subscriber::with_default(subscriber, || {
            sync_working_for(RequestId { process: 0xab, number: 16 }, work);
        });
        kept.lock().unwrap().clone()
    }

    fn sample() {
        tracing::info!(path = "/a", status = Some(206), none = None::<u64>, is_cut = false, "answered");
    }

    #[test]
    fn a_line_tells_message_fields_and_request() {
        assert_eq!(
            line(LogFormat::Text, sample),
            "1970-01-01T00:00:00.000007Z  INFO answered path=/a status=206 is_cut=false request=000000ab-10\n"
        );
        assert_eq!(
            line(LogFormat::Json, sample),
            "{\"timestamp\":\"1970-01-01T00:00:00.000007Z\",\"level\":\"INFO\",\"message\":\"answered\",\"path\":\"/a\",\"status\":206,\"is_cut\":false,\"request\":\"000000ab-10\"}\n"
        );
    }

    proptest! {
        #[test]
        fn the_time_is_told_as_by_rfc_3339(micros in 0_u64..1 << 52, others in proptest::collection::vec(0_u64..3_000_000, 3)) {
            for later in others {
                let now = SystemTime::UNIX_EPOCH + Duration::from_micros(micros + later);
                let mut line = Vec::new();
                Fields { format: LogFormat::Text, line: &mut line }.time(now);
                prop_assert_eq!(String::from_utf8(line).unwrap(), humantime::format_rfc3339_micros(now).to_string());
            }
        }

        #[test]
        fn text_from_outside_stays_in_its_line_and_its_field(text in "\\PC{0,20}[\"\\\\\n\r\u{1b}\u{202e}= a-z]{0,20}") {
            let said = line(LogFormat::Text, || tracing::warn!(name = text.as_str(), error = %text, "{text}"));
            prop_assert_eq!(said.chars().filter(|character| character.is_control()).count(), 1);
            let said = line(LogFormat::Json, || tracing::warn!(name = text.as_str(), error = %text, "{text}"));
            prop_assert_eq!(said.lines().count(), 1);
            let object: serde_json::Value = serde_json::from_str(&said).unwrap();
            for field in ["name", "error", MESSAGE] {
                prop_assert_eq!(&object[field], &text);
            }
        }
    }
}
