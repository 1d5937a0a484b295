//! The run of a job's program under this one, which counts and hashes what it writes.
//!
//! Between a container and the worker lie the runtime, the kubelet and the API server, and a stream through
//! them was seen to lose bytes and yet end with success. So nobody takes the stream's word for anything:
//!
//! ```text
//! job ──pipe──▶ count, hash ──▶ queue ──▶ container's stream ──▶ … ──▶ worker's log
//!                    │                                                    ▲ mark behind the last byte
//!                    └──▶ report, with a keyed hash ──▶ termination message of the pod ──▶ worker
//! ```
//!
//! 1. The program runs with pipes as standard output and error, in a process group of its own. It has none of
//!    the container's streams. Signals to this process are passed on to it.
//! 2. Whatever comes out of the pipes is counted and hashed, then queued for the container's streams. A
//!    reader that is slow holds the job up, as with any pipe. One that takes nothing at all for [`STALL`] is
//!    given up: the job goes on, the hash stays whole, and the log has a gap at its end.
//! 3. The end of the program is the end of all others in the container: they are killed and waited for. Then
//!    the pipes end.
//! 4. The report is written. Nothing of the job is left that could write over it, and without the key it
//!    could not make another.
//! 5. A mark follows the last byte, again and again, until the worker has it and releases this process, or
//!    until its patience is over. Until then the runtime has no reason to cut the stream off, and the job's
//!    folder can be read.
//!
//! The job runs as the same user, so this process is closed to it ([`crate::hide`]): its memory with the key,
//! its open files, and tracing. What is left to the job is to make its own report fail, by limits on this
//! process or a full node: then its output is unknown.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    Frame, Orders,
    blake3::Blake3,
    report::{Report, end_mark},
    system,
};

/// Length of the pieces in which output is read.
const PIECE_BYTES: usize = 64 * 1_024;

/// Maximum number of bytes of a stream that wait for their reader.
const QUEUE_BYTES: usize = 1_024 * 1_024;

/// Time in which the reader of a stream must take something, or is given up.
const STALL: Duration = Duration::from_secs(300);

/// Interval of marks.
const MARK_INTERVAL: Duration = Duration::from_secs(5);

/// Interval of looks for a release.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Output on its way to one of the container's streams.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    pieces: VecDeque<Vec<u8>>,
    /// Number of bytes that wait or are being written.
    bytes: usize,
    /// The reader was given up, or the stream is broken.
    is_lost: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until at most `most` bytes are left, or until nothing was taken for the time. Returns false
    /// then.
    fn await_room(&self, most: usize, patience: Duration) -> bool {
        let mut state = self.lock();
        let (mut left, mut since) = (state.bytes, Instant::now());
        while state.bytes > most && !state.is_lost {
            let Some(rest) = patience
                .checked_sub(since.elapsed())
                .filter(|rest| !rest.is_zero())
            else {
                return false;
            };
            state = self
                .changed
                .wait_timeout(state, rest)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if state.bytes < left {
                since = Instant::now();
            }
            left = state.bytes;
        }
        true
    }

    fn put(&self, piece: Vec<u8>) {
        if !self.await_room(QUEUE_BYTES, STALL) {
            self.lose();
        }
        let mut state = self.lock();
        if !state.is_lost {
            state.bytes = state.bytes.saturating_add(piece.len());
            state.pieces.push_back(piece);
            self.changed.notify_all();
        }
    }

    /// Puts a piece if nothing waits.
    fn put_if_empty(&self, piece: &[u8]) {
        let mut state = self.lock();
        if state.bytes == 0 && !state.is_lost {
            state.bytes = piece.len();
            state.pieces.push_back(piece.to_vec());
            self.changed.notify_all();
        }
    }

    fn lose(&self) {
        let mut state = self.lock();
        state.is_lost = true;
        state.pieces.clear();
        self.changed.notify_all();
    }

    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        loop {
            if state.is_lost {
                return None;
            }
            match state.pieces.pop_front() {
                Some(piece) => return Some(piece),
                None => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Writes what is queued to a stream, in a thread that ends with the process.
    fn drain_to(self: Arc<Self>, mut stream: impl Write + Send + 'static) -> io::Result<()> {
        let drain = move || {
            while let Some(piece) = self.next() {
                let written = stream.write_all(&piece).and_then(|()| stream.flush());
                let mut state = self.lock();
                state.bytes = state.bytes.saturating_sub(piece.len());
                self.changed.notify_all();
                drop(state);
                if written.is_err() {
                    self.lose();
                }
            }
        };
        thread::Builder::new().spawn(drain).map(drop)
    }
}

/// Count and hash of a stream.
struct Counted {
    bytes: u64,
    hash: [u8; 32],
}

/// Reader of a pipe in a thread of its own.
type Pump = JoinHandle<io::Result<Counted>>;

/// Reads a pipe to its end, and passes it on.
fn pump(mut pipe: impl Read + Send + 'static, queue: Arc<Queue>, hashed_bytes: u64) -> io::Result<Pump> {
    thread::Builder::new().spawn(move || {
        let mut hasher = Blake3::default();
        let (mut bytes, mut room) = (0_u64, hashed_bytes);
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let read = match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let piece = buffer.get(..read).unwrap_or_default();
            let fits = usize::try_from(room).unwrap_or(usize::MAX).min(read);
            hasher.update(piece.get(..fits).unwrap_or_default());
            room = room.saturating_sub(fits as u64);
            bytes = bytes.saturating_add(read as u64);
            queue.put(piece.to_vec());
        }
        Ok(Counted {
            bytes,
            hash: hasher.finish(),
        })
    })
}

/// Waits for the child, reaping whatever else ends; then ends all others. Returns the exit code, as shells
/// have it.
fn await_end(child: &Child) -> u8 {
    let mut code = u8::MAX;
    while let Some((ended, status)) = system::wait_any() {
        if ended == child.id() {
            code = exit_code(ExitStatus::from_raw(status));
            break;
        }
    }
    system::stop_passing();
    system::kill_rest(child.id());
    while system::wait_any().is_some() {}
    code
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| Some(status.signal()?.saturating_add(128)))
        .and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(u8::MAX)
}

/// Runs a program to its end under this process, and returns its exit code: its own, or 128 and the number of
/// the signal that ended it. `on_failure` tells the exit code if it cannot be started. Frames are read from
/// standard input meanwhile.
///
/// # Errors
/// The report's file or the streams cannot be used; nothing was started then.
pub fn watch(
    mut command: Command,
    orders: &Orders,
    on_failure: impl FnOnce(&io::Error) -> u8,
) -> io::Result<u8> {
    // Opened first: the job may limit the files that this process may open.
    let report_file = OpenOptions::new().write(true).open(&orders.report)?;
    let (stdout, stderr) = (Arc::<Queue>::default(), Arc::<Queue>::default());
    stdout.clone().drain_to(own_stream(&io::stdout())?)?;
    stderr.clone().drain_to(own_stream(&io::stderr())?)?;
    system::adopt_orphans();
    let (out, out_of_job) = io::pipe()?;
    let (err, err_of_job) = io::pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(out_of_job)
        .stderr(err_of_job)
        .process_group(0);
    // Before the job can take the threads that the container may have.
    let out = pump(out, stdout.clone(), orders.hashed_bytes)?;
    let err = pump(err, stderr.clone(), 0)?;
    let is_released = Arc::new(AtomicBool::new(false));
    watch_input(is_released.clone())?;
    let spawned = command.spawn();
    // The job alone has the other ends of the pipes from now on.
    drop(command);
    let code = match spawned {
        Ok(child) => {
            system::pass_signals_to(child.id());
            await_end(&child)
        }
        Err(error) => {
            system::stop_passing();
            on_failure(&error)
        }
    };
    // Without its report the output is unknown; the exit code is not.
    let reported = joined(out, err).and_then(|report| write_report(report_file, &report.text(&orders.key)));
    if let Err(error) = reported {
        stderr.put(format!("assay-init: the output is unknown: {error}\n").into_bytes());
    }
    await_release(&stdout, &stderr, orders, &is_released);
    Ok(code)
}

/// Returns one of the container's streams without a buffer. It is closed to the job: programs do not inherit
/// it.
fn own_stream(stream: &impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

fn joined(out: Pump, err: Pump) -> io::Result<Report> {
    let failed = || io::Error::other("a stream was not read to its end");
    let out = out.join().map_err(|_| failed())??;
    let err = err.join().map_err(|_| failed())??;
    Ok(Report {
        stdout_bytes: out.bytes,
        stdout_hash: out.hash,
        stderr_bytes: err.bytes,
    })
}

/// Writes the report over whatever the job may have put into the file.
fn write_report(mut file: File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    file.sync_all().or_else(|error| match error.kind() {
        // A file in memory, or none of a disk.
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Ok(()),
        _ => Err(error),
    })
}

/// Reads frames from standard input in a thread of its own. Its end says nothing: the worker may have gone,
/// and another may come.
fn watch_input(is_released: Arc<AtomicBool>) -> io::Result<()> {
    let watch = move || {
        let mut input = io::stdin().lock();
        while let Ok(frame) = Frame::read(&mut input) {
            if frame == Frame::Release {
                is_released.store(true, Ordering::SeqCst);
                return;
            }
        }
    };
    thread::Builder::new().spawn(watch).map(drop)
}

/// Marks the end of both streams until the worker has seen it.
fn await_release(stdout: &Queue, stderr: &Queue, orders: &Orders, is_released: &AtomicBool) {
    let mark = end_mark(&orders.key);
    let patience = Duration::from_secs(orders.patience_s.into());
    let begun = Instant::now();
    let mut marked: Option<Instant> = None;
    while begun.elapsed() < patience && !is_released.load(Ordering::SeqCst) && !system::is_released() {
        // A stream whose reader is slow still has bytes in front of the mark.
        if marked.is_none_or(|at| at.elapsed() >= MARK_INTERVAL) {
            let is_first = marked.is_none();
            for queue in [stdout, stderr] {
                if is_first {
                    queue.put(mark.clone());
                } else {
                    queue.put_if_empty(&mark);
                }
            }
            marked = Some(Instant::now());
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc;

    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells() {
        for (status, code) in [
            (0, 0),
            (3 << 8, 3),
            (255 << 8, 255),
            (9, 137),
            (15, 143),
            (11 | 128, 139),
        ] {
            assert_eq!(exit_code(ExitStatus::from_raw(status)), code, "{status}");
        }
    }

    /// Stream whose reader takes pieces one by one.
    struct Slow(mpsc::SyncSender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn slow_reader_gets_every_byte_and_holds_the_writer_up() {
        let (send, receive) = mpsc::sync_channel(0);
        let queue = Arc::<Queue>::default();
        queue.clone().drain_to(Slow(send)).unwrap();
        let input: Vec<u8> = (0..3 * QUEUE_BYTES).map(|index| (index % 253) as u8).collect();
        let mut expected = Blake3::default();
        expected.update(&input);
        let pumping = pump(io::Cursor::new(input.clone()), queue.clone(), u64::MAX).unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(!pumping.is_finished(), "nobody reads");
        let mut read = Vec::new();
        while read.len() < input.len() {
            read.extend(receive.recv().unwrap());
        }
        let counted = pumping.join().unwrap().unwrap();
        assert!(read == input);
        assert_eq!(
            (counted.bytes, counted.hash),
            (input.len() as u64, expected.finish())
        );
    }

    #[test]
    fn broken_stream_stops_nothing() {
        let (send, receive) = mpsc::sync_channel(0);
        drop(receive);
        let queue = Arc::<Queue>::default();
        queue.clone().drain_to(Slow(send)).unwrap();
        let counted = pump(io::Cursor::new(vec![1; 4 * QUEUE_BYTES]), queue, 10)
            .unwrap()
            .join()
            .unwrap()
            .unwrap();
        let mut expected = Blake3::default();
        expected.update(&[1; 10]);
        assert_eq!(
            (counted.bytes, counted.hash),
            (4 * QUEUE_BYTES as u64, expected.finish())
        );
    }

    #[test]
    fn reader_that_takes_nothing_is_noticed() {
        let queue = Queue::default();
        queue.put(vec![0; 10]);
        assert!(!queue.await_room(5, Duration::from_millis(20)));
        assert!(queue.await_room(10, Duration::from_millis(20)));
        queue.lose();
        assert!(queue.await_room(0, Duration::from_millis(20)));
        assert_eq!(queue.next(), None);
    }
}
