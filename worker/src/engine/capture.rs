//! A container's output: hashed as it arrives, with the beginning kept in files.
//!
//! The bytes come from the engine's attach stream, never from its log: log drivers rotate, rewrite invalid
//! UTF-8, and merge both streams. If a file cannot be written, only the file is lost and not the hash.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use assay_primitives::job::{MAX_RESULT_STDOUT_BYTES, StdoutResult};

use super::MAX_OUTPUT_BYTES;

/// Output stream of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Destination of a run's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureTarget {
    /// Folder of the files `stdout` and `stderr`; created if missing.
    pub folder: PathBuf,
    /// True if the output is appended to the existing files, as for a restarted service.
    pub append: bool,
}

/// Captures the output of one run.
///
/// Memory: a hasher and two file handles. Disk: at most [`MAX_OUTPUT_BYTES`] for each stream.
#[derive(Debug)]
pub struct Capture {
    hasher: blake3::Hasher,
    /// Number of bytes of standard output that still go into the hash.
    hash_room: u64,
    is_longer: bool,
    stdout: Spool,
    stderr: Spool,
}

impl Capture {
    /// Creates an empty capture.
    pub fn new(target: &CaptureTarget) -> Self {
        Self::with_limit(target, MAX_RESULT_STDOUT_BYTES)
    }

    fn with_limit(target: &CaptureTarget, hash_room: u64) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            hash_room,
            is_longer: false,
            stdout: Spool::open(target, "stdout"),
            stderr: Spool::open(target, "stderr"),
        }
    }

    /// Adds the next bytes of a stream.
    pub fn take(&mut self, stream: OutputStream, bytes: &[u8]) {
        match stream {
            OutputStream::Stderr => self.stderr.keep(bytes),
            OutputStream::Stdout => {
                let fits = usize::try_from(self.hash_room)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.hasher.update(&bytes[..fits]);
                self.hash_room -= fits as u64;
                self.is_longer |= fits < bytes.len();
                self.stdout.keep(bytes);
            }
        }
    }

    /// Returns the result's entry for standard output, provided that all of it was added.
    pub fn finish(self) -> StdoutResult {
        let hash = self.hasher.finalize().into();
        if self.is_longer {
            StdoutResult::LongerThanLimit(hash)
        } else {
            StdoutResult::Whole(hash)
        }
    }
}

/// File with the beginning of one stream.
#[derive(Debug)]
struct Spool {
    file: Option<File>,
    room: usize,
}

impl Spool {
    fn open(target: &CaptureTarget, name: &str) -> Self {
        let path = target.folder.join(name);
        match Self::try_open(&path, target.append) {
            Ok(spool) => spool,
            Err(error) => {
                given_up(&path, &error);
                Self { file: None, room: 0 }
            }
        }
    }

    fn try_open(path: &Path, append: bool) -> io::Result<Self> {
        path.parent().map(fs::create_dir_all).transpose()?;
        let file = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .append(append)
            .truncate(!append)
            .open(path)?;
        let present = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        Ok(Self {
            file: Some(file),
            room: MAX_OUTPUT_BYTES.saturating_sub(present),
        })
    }

    fn keep(&mut self, bytes: &[u8]) {
        let kept = &bytes[..bytes.len().min(self.room)];
        if kept.is_empty() {
            return;
        }
        self.room -= kept.len();
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(kept)
        {
            given_up(Path::new("a job's output"), &error);
            self.file = None;
        }
    }
}

fn given_up(path: &Path, error: &io::Error) {
    tracing::warn!(
        path = %path.display(),
        %error,
        "writing a container's output failed; its consumer cannot read it, but the result is not affected"
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn target(folder: &Path, append: bool) -> CaptureTarget {
        CaptureTarget {
            folder: folder.join("7"),
            append,
        }
    }

    fn hash(bytes: &[u8]) -> [u8; 32] {
        blake3::hash(bytes).into()
    }

    #[test]
    fn hash_covers_standard_output_only_however_it_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut capture = Capture::new(&target(folder.path(), false));
        capture.take(OutputStream::Stdout, b"one\xff");
        capture.take(OutputStream::Stderr, b"noise");
        capture.take(OutputStream::Stdout, b"");
        capture.take(OutputStream::Stdout, b"\0two");
        assert_eq!(capture.finish(), StdoutResult::Whole(hash(b"one\xff\0two")));
        let kept = |name: &str| fs::read(folder.path().join("7").join(name)).unwrap();
        assert_eq!(
            (kept("stdout"), kept("stderr")),
            (b"one\xff\0two".to_vec(), b"noise".to_vec())
        );
    }

    #[test]
    fn output_that_is_longer_than_the_limit_says_so() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, expected) in [
            (&b"12345678"[..], StdoutResult::Whole(hash(b"12345678"))),
            (
                &b"123456789"[..],
                StdoutResult::LongerThanLimit(hash(b"12345678")),
            ),
        ] {
            let mut capture = Capture::with_limit(&target(folder.path(), false), 8);
            capture.take(OutputStream::Stdout, &bytes[..5]);
            capture.take(OutputStream::Stdout, &bytes[5..]);
            capture.take(OutputStream::Stdout, b"");
            assert_eq!(capture.finish(), expected);
        }
    }

    #[test]
    fn files_are_bounded_and_begin_anew_unless_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("7/stdout");
        let take = |append, bytes: &[u8]| {
            let mut capture = Capture::new(&target(folder.path(), append));
            capture.take(OutputStream::Stdout, bytes);
            assert_eq!(capture.finish(), StdoutResult::Whole(hash(bytes)));
        };
        take(false, b"first");
        take(true, b" second");
        assert_eq!(fs::read(&file).unwrap(), b"first second");
        take(false, &vec![b'x'; MAX_OUTPUT_BYTES + 1]);
        take(true, b"more");
        assert_eq!(fs::read(&file).unwrap(), vec![b'x'; MAX_OUTPUT_BYTES]);
    }

    #[test]
    fn files_that_cannot_be_written_do_not_touch_the_hash() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("7"), "a file where the folder should be").unwrap();
        let mut capture = Capture::new(&target(folder.path(), false));
        capture.take(OutputStream::Stdout, b"bytes");
        assert_eq!(capture.finish(), StdoutResult::Whole(hash(b"bytes")));
    }
}
