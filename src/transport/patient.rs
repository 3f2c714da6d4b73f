//! A connection whose other end must take what it is sent, sooner or later, and whose crowd is told how much it takes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::crowd::Member;

/// Fails a write that waits for longer than a limit. Reads may wait for as long as they like: hyper limits those.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    limit: Duration,
    /// Since when a write has been waiting.
    waiting_since: Option<Instant>,
    /// Set at the first wait and left standing: a write that goes on costs no timer.
    timer: Option<Pin<Box<Sleep>>>,
    member: Option<Arc<Member>>,
    /// Whether anything was read yet.
    has_read: bool,
    /// Set once all was sent, while the other end has not closed yet.
    lingers: Option<Pin<Box<Sleep>>>,
}

// === impl Patient ===

impl<S> Patient<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, waiting_since: None, timer: None, member: None, has_read: false, lingers: None }
    }

    /// Has what is taken counted for `member`.
    pub(super) fn counted(self, member: Arc<Member>) -> Self {
        Self { member: Some(member), ..self }
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let (Some(member), Poll::Ready(Ok(bytes))) = (&self.member, written) {
            member.took(*bytes);
        }
    }

    /// Passes a result on, unless it is a wait that has lasted too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting_since = None;
            return polled;
        }
        let now = Instant::now();
        let ends = *self.waiting_since.get_or_insert(now) + self.limit;
        loop {
            if Instant::now() >= ends {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")));
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(ends)));
            if timer.is_elapsed() {
                timer.as_mut().reset(ends);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if !self.has_read {
            self.has_read = !buf.filled().is_empty();
            if let Some(member) = &self.member {
                member.is_heard(self.has_read);
            }
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(&polled);
        self.watch(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(&polled);
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, lingers, .. } = &mut *self;
        if lingers.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        // A socket that is closed with something unread in it, as what HTTP/2 says of its windows, is reset, and the other end loses what
        // it has not read yet of the answer. So the rest is read, until the other end has closed too.
        let lingers = lingers.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut rest = [0; 1024];
        loop {
            let mut rest = ReadBuf::new(&mut rest);
            match Pin::new(&mut *stream).poll_read(cx, &mut rest) {
                Poll::Ready(Ok(())) if !rest.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return lingers.as_mut().poll(cx).map(Ok),
            }
            if lingers.is_elapsed() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// How long the other end has to close; chosen: it needs a round trip and what it takes to read what is on its way.
const LINGER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_takes_fails_after_the_limit() {
        let (near, _far) = duplex(1000);
        let started = Instant::now();
        let error = Patient::new(near, LIMIT).write_all(&[0; 1001]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn what_still_comes_after_the_last_byte_is_read_until_the_other_end_closes() {
        let (near, mut far) = duplex(1000);
        let mut near = Patient::new(near, LIMIT);
        let started = Instant::now();
        let closing = async {
            near.write_all(b"the end").await.unwrap();
            near.shutdown().await.unwrap();
        };
        let reading = async {
            far.write_all(&[0; 5000]).await.unwrap();
            tokio::time::sleep(LINGER / 2).await;
            let mut read = String::new();
            far.read_to_string(&mut read).await.unwrap();
            drop(far);
            read
        };
        let ((), read) = tokio::join!(closing, reading);
        assert_eq!((&*read, started.elapsed()), ("the end", LINGER / 2));
        // One that stays is left.
        let (near, _far) = duplex(1000);
        Patient::new(near, LIMIT).shutdown().await.unwrap();
        assert_eq!(started.elapsed(), LINGER / 2 + LINGER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_waited_for() {
        let (near, mut far) = duplex(1000);
        let mut near = Patient::new(near, LIMIT);
        let writing = near.write_all(&[0; 10_000]);
        let reading = async {
            for _ in 0..20 {
                tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
                far.read_exact(&mut [0; 500]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(writing, reading);
        written.unwrap();
    }
}
