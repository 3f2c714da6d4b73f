//! Which request is being worked on, for the log lines that are written meanwhile.
//!
//! A value of the task, not a tracing span: there is one fact to tell and it never nests, and a span's bookkeeping
//! was a tenth of what a redirect cost (see `benches/README.md`).

use std::fmt;

/// Names a request to the operator: eight hexadecimal digits for the process, then a count, so that ids differ between
/// restarts without a random draw a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestId {
    /// Drawn once for the process.
    pub process: u32,
    /// From 0.
    pub number: u64,
}

tokio::task_local! {
    static CURRENT: Option<RequestId>;
}

/// The request that the caller works for.
pub fn current_request() -> Option<RequestId> {
    CURRENT.try_with(|id| *id).ok().flatten()
}

/// Runs `work` for a request. Work that is spawned does not inherit it: give it [`current_request`].
pub fn working_for<F: Future>(id: Option<RequestId>, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(id, work)
}

/// As [`working_for`], for what does not wait.
pub fn sync_working_for<T>(id: RequestId, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(Some(id), work)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:x}", self.process, self.number)
    }
}
