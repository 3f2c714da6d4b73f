//! A secret that is kept in a file of its own.

use std::io::Read;

use super::units::quoted;

/// Reads the secret in a file that nobody else may read; one line break at its end is not part of it.
///
/// # Errors
/// What is wrong, in words that name the file and never its content.
pub(super) fn read(path: &str) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot read {}: {}", quoted(path), error.kind());
    let file = std::fs::File::open(path).map_err(unreadable)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(format!("{} is open to others (mode {mode:03o}); chmod 600 closes it", quoted(path)));
        }
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_SECRET + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST_SECRET {
        return Err(format!("{} is too long for a secret", quoted(path)));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", quoted(path)))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() { Err(format!("{} is empty", quoted(path))) } else { Ok(text) }
}

/// In bytes; chosen, so that a device or a film given by mistake is not read whole.
const LONGEST_SECRET: u64 = 64 * 1024;
