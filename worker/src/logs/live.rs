//! Writes a log by a thread of its own, and notifies its readers.

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tokio::sync::watch;

use super::{BOUNDS, HEAD_STREAM_BYTES, LOG_FOLDER, MAX_RECORD_BYTES, now_ms, segments::SegmentWriter};
use crate::engine::OutputStream;

/// Maximum number of bytes that wait for the disk.
const QUEUE_BYTES: usize = 2 * 1024 * 1024;

/// Maximum number of bytes that wait for the disk while a stream is at its first MiB: enough for the heads of
/// both, so that they lack nothing unless the disk does.
const QUEUE_BYTES_AT_FIRST: usize = QUEUE_BYTES + 2 * HEAD_STREAM_BYTES as usize;

/// Bytes that a waiting piece takes besides its output, roughly.
const PIECE_BYTES: usize = 64;

/// Time for which the writer gathers small pieces of output to one record.
const GATHER: Duration = Duration::from_millis(20);

/// Number of waiting bytes from which the writer gathers no longer.
const GATHER_BYTES: usize = 64 * 1024;

/// Maximum time that the end of a run waits for the rest of its log. The disk is stalled if that is exceeded;
/// the writer goes on without the run then.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Position of a log's writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogTip {
    /// Lower bound of the next record's number; every earlier record can be read. Zero if this process has
    /// not written the log.
    pub next_id: u64,
    /// Number of bytes of output so far, including those that were dropped.
    pub offset: u64,
    /// True while a run is written to the log.
    pub is_live: bool,
}

/// One log with a writer or readers.
#[derive(Debug, Default)]
struct LiveLog {
    tip: watch::Sender<LogTip>,
    /// Number of writers so far. Only the latest one writes: a second start of the same container must not
    /// mix with the first in one file.
    writers: Mutex<u64>,
}

/// The logs of this process that have a writer or readers; clones share them.
#[derive(Clone, Debug, Default)]
pub struct LiveLogs(Arc<Mutex<HashMap<PathBuf, Arc<LiveLog>>>>);

impl PartialEq for LiveLogs {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LiveLogs {}

impl LiveLogs {
    /// Returns a receiver of the position of the writer of the log in a job's folder.
    pub fn subscribe(&self, job_folder: &Path) -> watch::Receiver<LogTip> {
        self.change(job_folder, |log| log.tip.subscribe())
    }

    /// Acts on a log, and forgets those that have neither a writer nor readers.
    fn change<T>(&self, job_folder: &Path, act: impl FnOnce(&Arc<LiveLog>) -> T) -> T {
        let mut logs = lock(&self.0);
        logs.retain(|_, log| {
            log.tip.borrow().is_live || log.tip.receiver_count() > 0 || Arc::strong_count(log) > 1
        });
        act(logs.entry(job_folder.join(LOG_FOLDER)).or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Piece of a run's output that waits for the disk.
#[derive(Debug)]
enum Piece {
    Output {
        stream: OutputStream,
        time_ms: u64,
        bytes: Vec<u8>,
    },
    /// Number of bytes for which the queue had no room.
    Lost(u64),
}

#[derive(Debug, Default)]
struct QueueState {
    pieces: VecDeque<Piece>,
    /// Number of bytes that `pieces` take.
    bytes: usize,
    /// Bytes of each stream that the queue took so far.
    taken: [u64; 2],
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

impl Queue {
    fn push(&self, stream: OutputStream, time_ms: u64, bytes: &[u8]) {
        let mut state = lock(&self.state);
        let taken = match stream {
            OutputStream::Stdout => &mut state.taken[0],
            OutputStream::Stderr => &mut state.taken[1],
        };
        let most = if *taken < HEAD_STREAM_BYTES {
            QUEUE_BYTES_AT_FIRST
        } else {
            QUEUE_BYTES
        };
        *taken = taken.saturating_add(bytes.len() as u64);
        if state.bytes + bytes.len() + PIECE_BYTES > most {
            match state.pieces.back_mut() {
                Some(Piece::Lost(lost)) => *lost = lost.saturating_add(bytes.len() as u64),
                _ => state.pieces.push_back(Piece::Lost(bytes.len() as u64)),
            }
            return;
        }
        state.bytes += bytes.len();
        let gather_ms = GATHER.as_millis() as u64;
        match state.pieces.back_mut() {
            // Single bytes must not take many times their size.
            Some(Piece::Output {
                stream: last_stream,
                time_ms: last_ms,
                bytes: last,
            }) if *last_stream == stream
                && last.len() + bytes.len() <= MAX_RECORD_BYTES
                && time_ms.saturating_sub(*last_ms) <= gather_ms =>
            {
                last.extend_from_slice(bytes);
            }
            _ => {
                state.bytes += PIECE_BYTES;
                state.pieces.push_back(Piece::Output {
                    stream,
                    time_ms,
                    bytes: bytes.to_vec(),
                });
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Notes that output was missed.
    fn miss(&self) {
        lock(&self.state).pieces.push_back(Piece::Lost(0));
        self.changed.notify_one();
    }

    fn close(&self) {
        lock(&self.state).is_closed = true;
        self.changed.notify_one();
    }

    /// Waits for output; `None` once the queue is closed and empty.
    fn take(&self) -> Option<VecDeque<Piece>> {
        let mut state = lock(&self.state);
        loop {
            if !state.pieces.is_empty() {
                break;
            }
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, GATHER, |state| {
                !state.is_closed && state.bytes < GATHER_BYTES
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.bytes = 0;
        Some(std::mem::take(&mut state.pieces))
    }
}

/// Takes the output of one run for its log.
///
/// Neither taking nor dropping fails. Taking never waits, and dropping waits for the disk for
/// [`CLOSE_PATIENCE`] at most. Memory: [`QUEUE_BYTES_AT_FIRST`] at most.
#[derive(Debug)]
pub struct LogWriter {
    queue: Arc<Queue>,
    /// Ends once everything is written; `None` if there is no thread.
    done: Option<mpsc::Receiver<()>>,
}

impl LogWriter {
    /// Opens the log in a job's folder; begins it anew unless `append`.
    pub fn open(job_folder: &Path, append: bool, logs: &LiveLogs) -> Self {
        let log = logs.change(job_folder, |log| {
            log.tip.send_modify(|tip| tip.is_live = true);
            log.clone()
        });
        let number = {
            let mut writers = lock(&log.writers);
            *writers += 1;
            *writers
        };
        let queue = Arc::<Queue>::default();
        let (tell, done) = mpsc::channel();
        let task = WriterTask {
            folder: job_folder.join(LOG_FOLDER),
            append,
            queue: queue.clone(),
            log,
            number,
            writer: None,
            lost_before: 0,
            has_failed: false,
        };
        let spawned = thread::Builder::new().name("job-log".to_owned()).spawn(move || {
            task.run();
            drop(tell);
        });
        match spawned {
            Ok(_) => Self {
                queue,
                done: Some(done),
            },
            Err(error) => {
                tracing::warn!(%error, "a job's log has no writer: the system starts no thread; its output is not kept");
                logs.change(job_folder, |log| log.tip.send_modify(|tip| tip.is_live = false));
                Self { queue, done: None }
            }
        }
    }

    /// Takes bytes that the container wrote.
    pub fn take(&self, stream: OutputStream, bytes: &[u8]) {
        if self.done.is_some() && !bytes.is_empty() {
            self.queue.push(stream, now_ms(), bytes);
        }
    }

    /// Notes missing output of unknown length.
    pub fn miss(&self) {
        if self.done.is_some() {
            self.queue.miss();
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(done) = &self.done
            && let Err(mpsc::RecvTimeoutError::Timeout) = done.recv_timeout(CLOSE_PATIENCE)
        {
            tracing::warn!("the disk is stalled: a job's run ends before its log is written");
        }
    }
}

/// Thread that writes one run to its log.
struct WriterTask {
    folder: PathBuf,
    append: bool,
    queue: Arc<Queue>,
    log: Arc<LiveLog>,
    /// Number of this writer.
    number: u64,
    /// `None` until the log could be opened.
    writer: Option<SegmentWriter>,
    /// Bytes that were lost before the log could be opened.
    lost_before: u64,
    /// True once a failure is logged.
    has_failed: bool,
}

impl WriterTask {
    fn run(mut self) {
        let log = self.log.clone();
        self.write(VecDeque::new());
        while let Some(pieces) = self.queue.take() {
            self.write(pieces);
        }
        let writers = lock(&log.writers);
        if *writers == self.number {
            if let Some(writer) = self.writer.take() {
                writer.close();
            }
            log.tip.send_modify(|tip| tip.is_live = false);
        }
    }

    /// Writes pieces of output, and notifies the readers.
    fn write(&mut self, pieces: VecDeque<Piece>) {
        let log = self.log.clone();
        let writers = lock(&log.writers);
        if *writers != self.number {
            return;
        }
        if self.writer.is_none() {
            match SegmentWriter::open(&self.folder, self.append, BOUNDS) {
                Ok(mut writer) => {
                    if self.lost_before > 0 {
                        writer.lose(self.lost_before);
                    }
                    self.writer = Some(writer);
                }
                Err(error) => self.note_failure(&error),
            }
        }
        let mut failure = None;
        for piece in pieces {
            match (&mut self.writer, piece) {
                (Some(writer), Piece::Lost(bytes)) => writer.lose(bytes),
                (
                    Some(writer),
                    Piece::Output {
                        stream,
                        time_ms,
                        bytes,
                    },
                ) => {
                    if let Err(error) = writer.append(stream, time_ms, &bytes) {
                        failure = Some(error);
                    }
                }
                (None, Piece::Lost(bytes)) => self.lost_before = self.lost_before.saturating_add(bytes),
                (None, Piece::Output { bytes, .. }) => {
                    self.lost_before = self.lost_before.saturating_add(bytes.len() as u64);
                }
            }
        }
        if let Some(error) = failure {
            self.note_failure(&error);
        }
        if let Some(writer) = &self.writer {
            let (next_id, offset) = (writer.next_id(), writer.offset());
            log.tip.send_modify(|tip| {
                tip.next_id = next_id;
                tip.offset = offset;
            });
        }
    }

    /// Logs the first failure.
    fn note_failure(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.has_failed, true) {
            tracing::warn!(
                folder = %self.folder.display(),
                %error,
                "writing a container's output failed; its log lacks a part, but the result is not affected"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_is_bounded_and_says_what_it_dropped() {
        let queue = Queue::default();
        let chunk = vec![b'x'; 64 * 1024];
        let chunks = 10 * QUEUE_BYTES / chunk.len();
        for _ in 0..chunks {
            queue.push(OutputStream::Stdout, 1, &chunk);
        }
        // The beginning of the other stream is taken all the same.
        queue.push(OutputStream::Stderr, 1, b"problem");
        queue.close();
        let mut kept = 0;
        let mut lost = 0;
        let mut stderr = Vec::new();
        while let Some(pieces) = queue.take() {
            for piece in pieces {
                match piece {
                    Piece::Output {
                        stream: OutputStream::Stderr,
                        bytes,
                        ..
                    } => stderr = bytes,
                    Piece::Output { bytes, .. } => kept += bytes.len(),
                    Piece::Lost(bytes) => lost += bytes as usize,
                }
            }
        }
        assert!(
            kept <= QUEUE_BYTES && kept > QUEUE_BYTES - 2 * chunk.len(),
            "{kept}"
        );
        assert_eq!(kept + lost, chunks * chunk.len());
        assert_eq!(stderr, b"problem");
    }

    #[test]
    fn single_bytes_are_gathered() {
        let queue = Queue::default();
        for _ in 0..1_000 {
            queue.push(OutputStream::Stdout, 5, b"x");
        }
        queue.push(OutputStream::Stderr, 5, b"e");
        queue.push(OutputStream::Stdout, 5, b"y");
        queue.push(OutputStream::Stdout, 900, b"later");
        queue.close();
        assert_eq!(queue.take().map(|pieces| pieces.len()), Some(4));
        assert!(queue.take().is_none());
    }
}
