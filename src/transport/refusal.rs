//! What a client is told for whom there is no room.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::listener::Stream;

/// Refuses connections, a few at a time with an answer; more are closed without one.
#[derive(Debug)]
pub(super) struct Refusals {
    tasks: TaskTracker,
    turns: Arc<Semaphore>,
}

// === impl Refusals ===

impl Refusals {
    pub(super) fn new(tasks: TaskTracker) -> Self {
        Self { tasks, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Says that we are full, and closes.
    pub(super) fn refuse(&self, mut stream: Stream) {
        tracing::debug!("a connection is refused: all others are in good use");
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else { return };
        self.tasks.spawn(async move {
            let said = async {
                stream.write_all(FULL).await?;
                stream.shutdown().await?;
                // Closed with its request unread, the connection would be reset, and the answer might be lost with it.
                let mut unread = [0; 1024];
                while stream.read(&mut unread).await? > 0 {}
                Ok::<_, std::io::Error>(())
            };
            // Whether it was heard or not, the connection is closed.
            let _ = timeout(LINGER, said).await;
            drop(turn);
        });
    }
}

const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nCache-Control: no-store\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 63\r\n\r\n\
    too many connections, and all are in good use; try again later\n";
/// Chosen: beside the crowd they take as good as nothing.
const AT_ONCE: usize = 32;
/// Chosen: a request on its way arrives in less.
const LINGER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len()))
                || head.ends_with(&format!("Content-Length: {}", body.len()))
        );
        assert!(!head.contains("  "));
    }
}
