//! A container's output: hashed as it arrives, and written to the job's log.
//!
//! The bytes come from the engine's attach stream, never from its log: log drivers rotate, rewrite invalid
//! UTF-8, and merge both streams. A failed write of the log does not affect the hash.

use std::path::PathBuf;

use assay_primitives::job::{MAX_RESULT_STDOUT_BYTES, StdoutResult};

use crate::logs::{LiveLogs, LogWriter};

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
    /// Folder of the job, which has its log; created if missing.
    pub folder: PathBuf,
    /// True if the output is appended to the existing log, as for a restarted service.
    pub append: bool,
    /// Logs whose readers learn of the output.
    pub logs: LiveLogs,
}

/// Captures the output of one run.
///
/// Memory and disk are bounded by those of a log, see [`crate::logs`].
#[derive(Debug)]
pub struct Capture {
    hasher: blake3::Hasher,
    /// Number of bytes of standard output that still go into the hash.
    hash_room: u64,
    is_longer: bool,
    log: LogWriter,
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
            log: LogWriter::open(&target.folder, target.append, &target.logs),
        }
    }

    /// Adds the next bytes of a stream.
    pub fn take(&mut self, stream: OutputStream, bytes: &[u8]) {
        if stream == OutputStream::Stdout {
            let fits = usize::try_from(self.hash_room)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            self.hasher.update(&bytes[..fits]);
            self.hash_room -= fits as u64;
            self.is_longer |= fits < bytes.len();
        }
        self.log.take(stream, bytes);
    }

    /// Notes that the run began before this capture: the log marks missing output.
    pub fn note_late(&mut self) {
        self.log.miss();
    }

    /// Returns the result's entry for standard output, provided that all of it was added. By then the log can
    /// be read to its end, unless the disk is stalled.
    pub fn finish(self) -> StdoutResult {
        let hash = self.hasher.finalize().into();
        if self.is_longer {
            StdoutResult::LongerThanLimit(hash)
        } else {
            StdoutResult::Whole(hash)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, path::Path};

    use super::*;
    use crate::{engine::MAX_OUTPUT_BYTES, logs};

    fn target(folder: &Path, append: bool) -> CaptureTarget {
        CaptureTarget {
            folder: folder.join("7"),
            append,
            logs: LiveLogs::default(),
        }
    }

    fn hash(bytes: &[u8]) -> [u8; 32] {
        blake3::hash(bytes).into()
    }

    fn kept(folder: &Path) -> (Vec<u8>, Vec<u8>) {
        logs::beginnings(&folder.join("7")).unwrap().unwrap()
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
        assert_eq!(kept(folder.path()), (b"one\xff\0two".to_vec(), b"noise".to_vec()));
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
    fn beginnings_are_bounded_and_begin_anew_unless_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let take = |append, bytes: &[u8]| {
            let mut capture = Capture::new(&target(folder.path(), append));
            capture.take(OutputStream::Stdout, bytes);
            assert_eq!(capture.finish(), StdoutResult::Whole(hash(bytes)));
        };
        take(false, b"first");
        take(true, b" second");
        assert_eq!(kept(folder.path()).0, b"first second");
        take(false, &vec![b'x'; MAX_OUTPUT_BYTES + 1]);
        take(true, b"more");
        assert_eq!(kept(folder.path()).0, vec![b'x'; MAX_OUTPUT_BYTES]);
    }

    #[test]
    fn log_that_cannot_be_written_does_not_touch_the_hash() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("7"), "a file where the folder should be").unwrap();
        let mut capture = Capture::new(&target(folder.path(), false));
        capture.take(OutputStream::Stdout, b"bytes");
        assert_eq!(capture.finish(), StdoutResult::Whole(hash(b"bytes")));
    }
}
