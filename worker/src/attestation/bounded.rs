//! Bounded reads of pseudo-files, whose length their provider controls.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    path::Path,
};

use super::source::SourceError;

/// Maximum number of bytes of a pseudo-file with one line of text.
const MAX_TEXT_BYTES: usize = 256;

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, SourceError> {
    let file = File::open(path).map_err(|error| SourceError::io("read", path, error))?;
    let mut bytes = Vec::new();
    // One byte more distinguishes a file that is too long from one that just fits.
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| SourceError::io("read", path, error))?;
    if bytes.len() > limit {
        return Err(SourceError::TooLong {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

/// Reads like [`read`]; `None` if the file does not exist.
pub(crate) fn read_if_present(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, SourceError> {
    match read(path, limit) {
        Err(SourceError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Reads a file as text, without surrounding whitespace.
pub(crate) fn read_text(path: &Path) -> Result<String, SourceError> {
    let bytes = read(path, MAX_TEXT_BYTES)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Writes to an existing file in a single write, as pseudo-files require.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let written = file.write(bytes)?;
        if written == bytes.len() {
            Ok(())
        } else {
            Err(ErrorKind::WriteZero.into())
        }
    };
    write().map_err(|error| SourceError::io("write", path, error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn reads_end_at_their_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 10]).unwrap();
        assert_eq!(read(&path, 10).unwrap(), [7; 10]);
        assert!(matches!(
            read(&path, 9),
            Err(SourceError::TooLong { limit: 9, .. })
        ));
        // An endless file is not read to its end.
        assert!(matches!(
            read(Path::new("/dev/zero"), 1_000),
            Err(SourceError::TooLong { .. })
        ));
        assert_eq!(read_if_present(&folder.path().join("none"), 9).unwrap(), None);
    }

    #[test]
    fn nothing_is_created_by_writing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none");
        assert!(matches!(
            write(&path, b"x"),
            Err(SourceError::Io { action: "write", .. })
        ));
        assert!(!path.exists());
    }
}
