//! A small file of the state folder that commands change while the server runs: read again when it has changed, and changed by
//! one process at a time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{open_private, write_durably};

/// A value and the file that it is kept in, as JSON. Where there is no file it is the default.
#[derive(Debug)]
pub struct Kept<T> {
    file: PathBuf,
    seen: Mutex<Seen<T>>,
}

#[derive(Debug)]
struct Seen<T> {
    value: Arc<T>,
    /// By which a change is told.
    stamp: Option<(SystemTime, u64)>,
    /// When the file was looked at.
    at: Option<Instant>,
}

// === impl Kept ===

impl<T: Default + DeserializeOwned + Serialize> Kept<T> {
    /// What is kept in this file. Reads nothing yet.
    pub fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            seen: Mutex::new(Seen { value: Arc::default(), stamp: None, at: None }),
        }
    }

    /// The value, as it was a second ago at the latest. A file that cannot be read is logged, and what was in it before holds.
    pub fn get(&self) -> Arc<T> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if seen.at.is_none_or(|at| now >= at + LOOK_AGAIN) {
            seen.at = Some(now);
            let stamp =
                fs::metadata(&self.file).ok().and_then(|meta| Some((meta.modified().ok()?, meta.len())));
            if stamp != seen.stamp {
                match self.read() {
                    Ok(value) => (seen.value, seen.stamp) = (Arc::new(value), stamp),
                    Err(error) => {
                        tracing::error!(file = %self.file.display(), %error, "what was read from it before holds on");
                    }
                }
            }
        }
        Arc::clone(&seen.value)
    }

    /// Changes the value in the file, while no other process does; what `change` answers is answered where it was written.
    ///
    /// # Errors
    /// What the file system says, and `InvalidData` where the file is damaged; then nothing has changed.
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> io::Result<R> {
        let lock = open_private(&self.file.with_extension("lock"))?;
        lock.lock()?;
        let mut value = self.read()?;
        let answer = change(&mut value);
        write_durably(&self.file, &serde_json::to_vec_pretty(&value).map_err(io::Error::other)?)?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).at = None;
        Ok(answer)
    }

    fn read(&self) -> io::Result<T> {
        match fs::read(&self.file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                // Its words could repeat what stands there.
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the file is damaged")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
            Err(error) => Err(error),
        }
    }
}

/// How long a change may go unseen; chosen: who revokes something waits no longer.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_another_process_changes_is_seen_within_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/list.json");
        let (ours, theirs) = (Kept::<Vec<u32>>::new(&file), Kept::<Vec<u32>>::new(&file));
        assert!(ours.get().is_empty());
        theirs.change(|list| list.push(1)).unwrap();
        tokio::time::advance(LOOK_AGAIN).await;
        assert_eq!(*ours.get(), [1]);
        ours.change(|list| list.push(2)).unwrap();
        assert_eq!(*ours.get(), [1, 2]);
        // What is damaged is neither believed nor overwritten.
        fs::write(&file, "[1, 2, secret").unwrap();
        tokio::time::advance(LOOK_AGAIN).await;
        assert_eq!(*ours.get(), [1, 2]);
        let error = ours.change(|list| list.clear()).unwrap_err();
        assert!(!error.to_string().contains("secret"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "[1, 2, secret");
    }
}
