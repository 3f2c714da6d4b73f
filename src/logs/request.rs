//! Which request is being worked on, for the log lines that are written meanwhile.
//!
//! A value of the task, not a tracing span: there is one fact to tell and it never nests, and a span's bookkeeping
//! was a tenth of what a redirect cost (see `benches/README.md`).

use std::fmt;

use tokio::task::futures::TaskLocalFuture;

/// Names a request to the operator: eight hexadecimal digits for the process, then a count, so that ids differ between
/// restarts without a random draw a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestId {
    /// Drawn once for the process.
    pub process: u32,
    /// From 0.
    pub number: u64,
}

/// An id as it is written.
pub struct RequestIdText {
    bytes: [u8; LONGEST],
    /// Where it begins.
    from: usize,
}

tokio::task_local! {
    static CURRENT: Option<RequestId>;
}

/// The request that the caller works for.
pub fn current_request() -> Option<RequestId> {
    CURRENT.try_with(|id| *id).ok().flatten()
}

/// Runs `work` for a request. Work that is spawned does not inherit it: give it [`current_request`].
pub fn working_for<F: Future>(id: Option<RequestId>, work: F) -> TaskLocalFuture<Option<RequestId>, F> {
    CURRENT.scope(id, work)
}

/// As [`working_for`], for what does not wait.
pub fn sync_working_for<T>(id: RequestId, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(Some(id), work)
}

// === impl RequestId ===

impl RequestId {
    /// As it is written, on the stack: every request writes it twice.
    pub fn text(self) -> RequestIdText {
        let (mut bytes, mut from) = ([0; LONGEST], LONGEST);
        let mut put = |byte| {
            from -= 1;
            bytes[from] = byte;
        };
        let mut number = self.number;
        loop {
            put(DIGITS[(number % 16) as usize]);
            number /= 16;
            if number == 0 {
                break;
            }
        }
        put(b'-');
        for place in 0..8 {
            put(DIGITS[(self.process >> (4 * place)) as usize % 16]);
        }
        RequestIdText { bytes, from }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_ref())
    }
}

// === impl RequestIdText ===

impl AsRef<str> for RequestIdText {
    fn as_ref(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.from..]).unwrap_or_default()
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Bytes: eight digits, a hyphen, sixteen digits.
const LONGEST: usize = 25;
