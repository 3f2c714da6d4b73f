//! The state folder: private to us, files written whole or not at all.

use std::io::Write;
use std::path::Path;

/// Creates a folder and its missing parents, readable by us alone.
///
/// # Errors
/// What the file system says.
pub fn create_private_dir(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Whether files can be written to a folder, which is created if it is missing.
///
/// # Errors
/// What the file system says.
pub fn probe(folder: &Path) -> std::io::Result<()> {
    create_private_dir(folder)?;
    tempfile::NamedTempFile::new_in(folder).map(drop)
}

/// Writes a file so that a crash at any moment leaves the old or the new content, and that what was written
/// is there after the return: a new file is written, synced and renamed over the old one, then the folder is
/// synced. Readable by us alone (mode 0600, which is how `tempfile` creates).
///
/// # Errors
/// What the file system says; the old content is then still in place.
pub fn write_durably(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    create_private_dir(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(content)?;
    temporary.as_file().sync_all()?;
    temporary.persist(file)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/folder/token.json");
        write_durably(&file, b"old").unwrap();
        write_durably(&file, b"new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&file), 0o600);
            assert_eq!(mode(file.parent().unwrap()), 0o700);
        }
    }
}
