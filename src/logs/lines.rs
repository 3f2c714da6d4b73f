//! Log lines on their way to stderr: gathered for a moment, so that a busy server does not stop for each of them.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines that wait to be written. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Vec<u8>>,
    /// Told when a line comes to where there was none.
    came: Condvar,
}

// === impl Lines ===

impl Lines {
    /// Starts the thread that writes them. It ends with the process; [`Lines::flush`] before that.
    ///
    /// # Errors
    /// What the system says where no thread can be started.
    pub(super) fn start() -> io::Result<Self> {
        let lines = Self::default();
        let gathered = lines.clone();
        std::thread::Builder::new().name("logs".to_owned()).spawn(move || {
            loop {
                let mut waiting = gathered.lock();
                while waiting.is_empty() {
                    waiting = gathered.0.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                }
                drop(waiting);
                std::thread::sleep(GATHER);
                gathered.flush();
            }
        })?;
        Ok(lines)
    }

    /// Takes a line, with its end. One that `is_urgent` is written at once, after those that wait.
    pub(super) fn write(&self, line: &[u8], is_urgent: bool) {
        let mut waiting = self.lock();
        if waiting.is_empty() {
            self.0.came.notify_one();
        }
        waiting.extend_from_slice(line);
        if is_urgent || waiting.len() >= MOST_WAITING {
            write_out(&mut waiting);
        }
    }

    /// Writes what waits.
    pub fn flush(&self) {
        write_out(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In order, since whoever calls has the lines locked. A log that cannot be written has nobody to tell.
fn write_out(waiting: &mut Vec<u8>) {
    let _ = io::stderr().lock().write_all(waiting);
    waiting.clear();
}

/// How long lines wait for others. Chosen: nobody who reads along notices.
const GATHER: Duration = Duration::from_millis(50);
/// Bytes after which they wait no longer.
const MOST_WAITING: usize = 64 * 1024;
