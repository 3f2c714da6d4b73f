//! The one error of the request path: what went wrong, whose fault it is, and what may be said of it.
//!
//! A kind is about the request, not the mechanism. Drivers map their vendor's codes to kinds in their own
//! `error.rs`, and `layer::rescue` maps kinds to statuses; no third table exists.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the failure means to whoever asked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ErrorKind {
    /// The drive holds the entry but will not give it.
    Denied,
    /// A fault of ours.
    Internal,
    /// The request itself is malformed.
    Invalid,
    /// The path leads to a folder where a file is needed, or the other way round.
    NotAFile,
    /// The drive answered, and the name is not there.
    NotFound,
    /// Too much is being asked of us or of the drive right now.
    Overload,
    /// The drive's rate limit would be passed, or was.
    RateLimit,
    /// The drive did not answer in time.
    Timeout,
    /// The account cannot serve until its owner does something: log in, free space, lift a freeze.
    Unavailable,
    /// The drive cannot do this with this entry, and says so.
    Unsupported,
    /// The drive failed, or answered something that makes no sense.
    Upstream,
}

/// Who is at fault; decides the level of the log line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The request; logged at debug.
    Client,
    /// This program or its machine; logged at error.
    Local,
    /// The drive; logged at warn.
    Upstream,
}

/// A failure of one operation. Cheap to clone, because one failed fetch answers every caller that waited for it.
///
/// `Display` is one line for the log. Only [`Error::words`] may be shown to a client: it is a constant of
/// this program, so nothing that a drive wrote can reach a page.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

/// The result of a request-path operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    words: Option<&'static str>,
    context: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

// === impl Error ===

impl Error {
    /// A failure of `operation`, a lowercase fragment that reads after "failed to".
    pub fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Self(Arc::new(Inner {
            kind,
            operation,
            words: None,
            context: Vec::new(),
            retry_after: None,
            source: None,
        }))
    }

    /// Says in plain words, fit for a viewer, what happened and what to do.
    #[must_use]
    pub fn saying(self, words: &'static str) -> Self {
        self.change(|inner| inner.words = Some(words))
    }

    /// Adds a fact for the log. Never a secret, never a signed address.
    #[must_use]
    pub fn with(self, key: &'static str, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        self.change(|inner| inner.context.push((key, value)))
    }

    /// When asking again makes sense.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        self.change(|inner| inner.retry_after = Some(after))
    }

    /// Keeps the underlying error for the log.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        self.change(|inner| inner.source = Some(source))
    }

    /// What the failure means to whoever asked.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether it leaves open what was asked: the answer would have been another one at a better time.
    pub fn tells_nothing(&self) -> bool {
        self.origin() != Origin::Client && self.0.kind != ErrorKind::Denied
    }

    /// Writes it to the log, as loud as its origin says.
    pub fn report(&self) {
        match self.origin() {
            Origin::Client => tracing::debug!(error = %self),
            Origin::Local => tracing::error!(error = %self),
            Origin::Upstream => tracing::warn!(error = %self),
        }
    }

    /// Who is at fault.
    pub fn origin(&self) -> Origin {
        match self.0.kind {
            ErrorKind::Invalid | ErrorKind::NotAFile | ErrorKind::NotFound | ErrorKind::Unsupported => {
                Origin::Client
            }
            ErrorKind::Internal => Origin::Local,
            ErrorKind::Denied
            | ErrorKind::Overload
            | ErrorKind::RateLimit
            | ErrorKind::Timeout
            | ErrorKind::Unavailable
            | ErrorKind::Upstream => Origin::Upstream,
        }
    }

    /// What a client may read: the words given at the fault, else those of the kind.
    pub fn words(&self) -> &'static str {
        self.0.words.unwrap_or(match self.0.kind {
            ErrorKind::Denied => "the drive does not give this file",
            ErrorKind::Internal => "internal error",
            ErrorKind::Invalid => "malformed request",
            ErrorKind::NotAFile => "this is a folder, not a file",
            ErrorKind::NotFound => "not found",
            ErrorKind::Overload => "too busy, try again shortly",
            ErrorKind::RateLimit => "the account is over its call limit, try again shortly",
            ErrorKind::Timeout => "the drive did not answer in time",
            ErrorKind::Unavailable => "the account cannot serve now",
            ErrorKind::Unsupported => "the drive cannot do this with this file",
            ErrorKind::Upstream => "the drive failed",
        })
    }

    /// When to ask again, where that is known.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    fn change(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            kind: shared.kind,
            operation: shared.operation,
            words: shared.words,
            context: shared.context.clone(),
            retry_after: shared.retry_after,
            source: shared.source.as_ref().map(|source| source.to_string().into()),
        });
        change(&mut inner);
        Self(Arc::new(inner))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}", self.0.operation)?;
        if let Some(words) = self.0.words {
            write!(f, ": {words}")?;
        }
        for (key, value) in &self.0.context {
            // Context may quote a vendor's answer; escaped, it cannot forge a second log line.
            write!(f, " {key}={}", value.escape_debug())?;
        }
        let mut source = self.0.source.as_deref().map(|source| source as &dyn std::error::Error);
        while let Some(cause) = source {
            write!(f, ": {}", cause.to_string().escape_debug())?;
            source = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({self})", self.0.kind)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_with_context_and_cause() {
        let error = Error::new(ErrorKind::Upstream, "list a folder")
            .with("code", "Bad\nGateway")
            .caused_by(std::io::Error::other("reset"));
        assert_eq!(error.to_string(), "failed to list a folder code=Bad\\nGateway: reset");
    }

    #[test]
    fn a_shared_error_can_still_be_given_context() {
        let error = Error::new(ErrorKind::RateLimit, "ask").retry_after(Duration::from_secs(2));
        let other = error.clone().with("path", "/a");
        assert_eq!(other.retry_delay(), Some(Duration::from_secs(2)));
        assert_eq!(other.to_string(), "failed to ask path=/a");
        assert_eq!(error.to_string(), "failed to ask");
    }
}
