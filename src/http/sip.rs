//! Connections of which less is read at once the more of them there are.
//!
//! What was read and not yet taken lies in our memory, a buffer for each body. With large buffers a thousand slow viewers take more
//! than a small machine has; with small ones a few fast readers pay for many reads. So all share one allowance.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

/// How many bodies are under way. Clones count the same.
#[derive(Clone, Default)]
pub(super) struct Bodies(Arc<AtomicUsize>);

/// Counts as a body until it is dropped.
pub(super) struct UnderWay(Bodies);

/// A stream of which no more is read at once than is its share.
pub(super) struct Sipped<S> {
    stream: Take<S>,
    bodies: Bodies,
}

// === impl Bodies ===

impl Bodies {
    /// One more.
    pub(super) fn begin(&self) -> UnderWay {
        self.0.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// What each may read at once, in bytes.
    fn share(&self) -> u64 {
        share_of(self.0.load(Ordering::Relaxed))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One less than a power of two, since hyper's buffer doubles whenever it is filled.
fn share_of(bodies: usize) -> u64 {
    let share = (ALLOWANCE / bodies.max(1)).clamp(LEAST, MOST);
    (1 << share.ilog2()) - 1
}

// === impl Sipped ===

impl<S: AsyncRead> Sipped<S> {
    /// A stream that shares with these bodies.
    pub(super) fn new(stream: S, bodies: Bodies) -> Self {
        Self { stream: stream.take(0), bodies }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sipped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let share = self.bodies.share();
        self.stream.set_limit(share);
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Sipped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(cx)
    }
}

/// Bytes that all bodies together may read at once; each holds about as much again on its way to a viewer. Chosen: half of what a
/// machine with 128 MiB for us has.
const ALLOWANCE: usize = 64 * 1024 * 1024;
/// Bytes. Chosen: a viewer at 4 Mbit/s wakes us eight times a second.
const LEAST: usize = 64 * 1024;
/// Bytes: what hyper's buffer comes to at most. Measured: with half of that a range of 1 MiB costs 8 % more.
const MOST: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn few_bodies_have_much_and_many_have_little() {
        for (bodies, share) in
            [(0, MOST), (1, MOST), (128, MOST), (129, MOST / 2), (600, 64 * 1024), (1_000_000, LEAST)]
        {
            assert_eq!(share_of(bodies), share as u64 - 1, "{bodies}");
        }
    }

    #[tokio::test]
    async fn no_more_is_read_at_once_than_the_share_and_nothing_is_lost() {
        let bodies = Bodies::default();
        let crowd: Vec<_> = (0..1024).map(|_| bodies.begin()).collect();
        let bytes: Vec<u8> = (0..MOST * 2).map(|at| (at % 251) as u8).collect();
        let mut stream = Sipped::new(&bytes[..], bodies.clone());
        let (mut read, mut buffer) = (Vec::new(), vec![0; MOST]);
        let sip = stream.read(&mut buffer).await.unwrap();
        read.extend_from_slice(&buffer[..sip]);
        assert_eq!(sip, LEAST - 1);
        drop(crowd);
        let sip = stream.read(&mut buffer).await.unwrap();
        read.extend_from_slice(&buffer[..sip]);
        assert_eq!(sip, MOST - 1);
        stream.read_to_end(&mut read).await.unwrap();
        assert!(read == bytes);
    }
}
