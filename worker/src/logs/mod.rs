//! The log of a job: both output streams of its container, with timestamps, bounded on disk and readable
//! while it is written.
//!
//! ```text
//! Capture ──▶ queue (bounded) ──▶ a thread ──▶ head-<id>.log   the first MiB of each stream
//!                                     │        tail-<id>.log   ring of segments of 1 MiB: the newest output
//!                                     └──────▶ LiveLogs ──────▶ followers wake up
//! ```
//!
//! The files lie in the folder `log` of a job's folder and consist of records, see `record`. The number of a
//! record grows by one from each to the next and never repeats, also when the log begins anew. Wherever
//! output is missing (the ring was full, the disk was, or the queue), at least one number is missing too, and
//! a reader reports it as [`LogKind::Dropped`].
//!
//! Neither a full nor a stalled disk holds the container up: the writer counts output that it cannot write,
//! and goes on. After a crash, the last record of a file may be torn; its checksum shows it, and it is cut
//! off when the log is opened again.

mod live;
mod reader;
mod record;
mod segments;
#[cfg(test)]
mod tests;

use std::{fs, io, path::Path, time::SystemTime};

pub use live::{LiveLogs, LogTip, LogWriter};
pub use reader::{LogReader, LogSurvey};

use crate::{engine::OutputStream, files::named};

/// Name of the folder with the files of a job's log, in the job's folder.
pub(crate) const LOG_FOLDER: &str = "log";

/// Maximum number of bytes of output in one record. Longer pieces are cut, at a line's end if there is one.
pub const MAX_RECORD_BYTES: usize = 16 * 1024;

/// Number of bytes of each stream that the head keeps.
const HEAD_STREAM_BYTES: u64 = crate::engine::MAX_OUTPUT_BYTES as u64;

/// Bounds of a log on disk.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Number of bytes of each stream that the head keeps.
    head_stream_bytes: u64,
    /// Maximum length of the head's file, in bytes.
    head_file_bytes: u64,
    /// Maximum length of a segment of the ring, in bytes.
    segment_bytes: u64,
    /// Maximum number of segments of the ring.
    segments: usize,
}

/// Bounds of every log: 16 MiB in all.
///
/// The head's file may be twice as long as its content. A container that writes single bytes, by turns to
/// both streams, fills it with the headers of records; the rest of its first MiBs goes to the ring.
const BOUNDS: Bounds = Bounds {
    head_stream_bytes: HEAD_STREAM_BYTES,
    head_file_bytes: 4 * HEAD_STREAM_BYTES,
    segment_bytes: 1024 * 1024,
    segments: 12,
};

/// Kind of a log's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// Bytes of an output stream.
    Output(OutputStream),
    /// Output that is missing here, with the number of its bytes if that is known.
    Dropped(Option<u64>),
}

/// Entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Number of the entry, by which a reader resumes.
    pub id: u64,
    /// Time at which the worker received the bytes, in milliseconds since the Unix epoch; for missing output
    /// that of the next entry.
    pub time_ms: u64,
    /// Kind of the entry.
    pub kind: LogKind,
    /// The bytes; empty for missing output.
    pub bytes: Vec<u8>,
}

/// Returns the time in milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Returns the beginning of both streams, standard output first, at most
/// [`MAX_OUTPUT_BYTES`](crate::engine::MAX_OUTPUT_BYTES) of each; `None` if there is no log.
pub fn beginnings(job_folder: &Path) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let folder = job_folder.join(LOG_FOLDER);
    let Some(mut head) = reader::open_head(&folder)? else {
        return Ok(None);
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(record) = head.peek()? {
        match record.stream {
            OutputStream::Stdout => stdout.extend_from_slice(&record.bytes),
            OutputStream::Stderr => stderr.extend_from_slice(&record.bytes),
        }
        head.advance();
    }
    Ok(Some((stdout, stderr)))
}

/// Removes the ring of a finished log; its head stays.
pub(crate) fn keep_head_only(job_folder: &Path) -> io::Result<()> {
    let folder = job_folder.join(LOG_FOLDER);
    for first in segments::Catalog::read(&folder)?.tails {
        let path = segments::tail_path(&folder, first);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(named("remove", &path, error));
            }
            _ => (),
        }
    }
    Ok(())
}
