//! Bodies of our answers: nothing, bytes in memory, or a stream that may carry a guard to its end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use crate::error::{Error, ErrorKind};

/// The body of an answer.
///
/// An error in a stream cuts the connection, which is meant: a client can tell a cut body from a whole one,
/// and most players then ask for the rest.
pub struct Body {
    kind: Kind,
    guard: Option<Box<dyn Watch>>,
}

/// Something that accompanies a body and is dropped with it: a permit, a log line.
pub trait Watch: Send {
    /// Called with the length of each piece that leaves, in bytes.
    fn sent(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// Called once when the body has come to its end, whole.
    fn finished(&mut self) {}

    /// Called once when the body breaks off with an error, which cuts the connection.
    fn failed(&mut self, error: &Error) {
        let _ = error;
    }
}

/// Two that accompany the same body; the inner one is told first.
struct Both<W> {
    inner: Box<dyn Watch>,
    outer: W,
}

enum Kind {
    Empty,
    Full(Bytes),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error> + Send>>),
}

// === impl Body ===

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self { kind: Kind::Empty, guard: None }
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Full(bytes.into()), guard: None }
    }

    /// What `stream` yields.
    pub fn stream(stream: impl http_body::Body<Data = Bytes, Error = Error> + Send + 'static) -> Self {
        Self { kind: Kind::Stream(Box::pin(stream)), guard: None }
    }

    /// Lets `watch` accompany this body, outside whatever watches it already.
    #[must_use]
    pub fn watched(self, watch: impl Watch + 'static) -> Self {
        let guard: Box<dyn Watch> = match self.guard {
            None => Box::new(watch),
            Some(inner) => Box::new(Both { inner, outer: watch }),
        };
        Self { kind: self.kind, guard: Some(guard) }
    }
}

impl<W: Watch> Watch for Both<W> {
    fn sent(&mut self, bytes: usize) {
        self.inner.sent(bytes);
        self.outer.sent(bytes);
    }

    fn finished(&mut self) {
        self.inner.finished();
        self.outer.finished();
    }

    fn failed(&mut self, error: &Error) {
        self.inner.failed(error);
        self.outer.failed(error);
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Stream(stream) => stream.as_mut().poll_frame(cx),
        };
        if let Poll::Ready(frame) = &polled {
            let ended = http_body::Body::is_end_stream(&*self);
            if let Some(guard) = &mut self.guard {
                match frame {
                    Some(Ok(frame)) => {
                        guard.sent(frame.data_ref().map_or(0, Bytes::len));
                        // hyper does not poll again once the announced length is out.
                        if ended {
                            guard.finished();
                        }
                    }
                    Some(Err(error)) => guard.failed(error),
                    None => guard.finished(),
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(stream) => stream.size_hint(),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.kind {
            Kind::Empty => "Body::Empty",
            Kind::Full(_) => "Body::Full",
            Kind::Stream(_) => "Body::Stream",
        })
    }
}

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// `Upstream` when it is longer; what the body fails with otherwise. Dropping the future drops the body.
pub async fn read_limited(
    body: impl http_body::Body<Data = Bytes, Error = Error>,
    limit: usize,
    operation: &'static str,
) -> Result<Vec<u8>, Error> {
    let too_long = || {
        Error::new(ErrorKind::Upstream, operation)
            .with("limit_bytes", limit)
            .saying("the drive's answer is longer than makes sense")
    };
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(too_long());
    }
    let mut body = std::pin::pin!(body);
    let mut whole = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    while let Some(frame) = body.frame().await {
        let piece = frame?.into_data().unwrap_or_default();
        if whole.len() + piece.len() > limit {
            return Err(too_long());
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}
