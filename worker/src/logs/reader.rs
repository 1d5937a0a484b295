//! Reading a log, also while it is written.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    LOG_FOLDER, LogEntry, LogKind, MAX_RECORD_BYTES,
    record::{HEADER_BYTES, Record},
    segments::{Catalog, head_path, tail_path},
};
use crate::{engine::OutputStream, files::named};

/// Number of bytes that are read from a file at once.
const BLOCK_BYTES: usize = 4 * (HEADER_BYTES + MAX_RECORD_BYTES);

/// Opens a log's head; `None` if it has none.
pub(super) fn open_head(folder: &Path) -> io::Result<Option<SegmentReader>> {
    match Catalog::read(folder)?.head {
        Some(first) => found(SegmentReader::open(&head_path(folder, first))),
        None => Ok(None),
    }
}

/// Turns the error of a missing file into `None`.
fn found<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Reads one file, record by record.
#[derive(Debug)]
pub(super) struct SegmentReader {
    path: PathBuf,
    file: File,
    /// Position in the file of the beginning of `block`.
    position: u64,
    block: Vec<u8>,
    /// Number of bytes of `block` that are done with.
    done: usize,
    next: Option<Record>,
}

impl SegmentReader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: File::open(path).map_err(|error| named("open", path, error))?,
            position: 0,
            block: Vec::new(),
            done: 0,
            next: None,
        })
    }

    /// Returns the next record without passing it; `None` if no further one is whole yet.
    pub(super) fn peek(&mut self) -> io::Result<Option<&Record>> {
        if self.next.is_none() {
            self.next = Record::decode(&self.block[self.done..]);
        }
        if self.next.is_none() {
            // Read anew: the bytes that are there may have been of a record that was being written.
            self.position += self.done as u64;
            self.done = 0;
            self.block.resize(BLOCK_BYTES, 0);
            let length = self.fill()?;
            self.block.truncate(length);
            self.next = Record::decode(&self.block);
        }
        Ok(self.next.as_ref())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut length = 0;
        while length < self.block.len() {
            let position = self.position + length as u64;
            match self.file.read_at(&mut self.block[length..], position) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(named("read", &self.path, error)),
            }
        }
        Ok(length)
    }

    /// Passes the record that was peeked at, and returns it.
    pub(super) fn advance(&mut self) -> Option<Record> {
        let record = self.next.take()?;
        self.done += HEADER_BYTES + record.bytes.len();
        Some(record)
    }
}

/// The ring, read segment by segment.
#[derive(Debug, Default)]
struct RingReader {
    current: Option<(u64, SegmentReader)>,
}

impl RingReader {
    fn peek(&mut self, folder: &Path) -> io::Result<Option<&Record>> {
        loop {
            if let Some((_, segment)) = &mut self.current
                && segment.peek()?.is_some()
            {
                break;
            }
            let passed = self.current.as_ref().map(|(first, _)| *first);
            let tails = Catalog::read(folder)?.tails;
            let Some(next) = tails.into_iter().find(|first| Some(*first) > passed) else {
                break;
            };
            // Records that were appended after the first look and before the next segment was begun.
            if let Some((_, segment)) = &mut self.current
                && segment.peek()?.is_some()
            {
                break;
            }
            // A segment that was removed meanwhile: look again.
            if let Some(segment) = found(SegmentReader::open(&tail_path(folder, next)))? {
                self.current = Some((next, segment));
            }
        }
        match &mut self.current {
            Some((_, segment)) => segment.peek(),
            None => Ok(None),
        }
    }

    fn advance(&mut self) -> Option<Record> {
        self.current.as_mut()?.1.advance()
    }
}

/// Result of reading through a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSurvey {
    /// Number that the next record will have at least.
    pub next_id: u64,
    /// Record, and number of its bytes to skip, with which the last lines begin; `None` if there are not
    /// more lines than wanted.
    pub last_lines: Option<(u64, usize)>,
}

/// Reads a log's entries in their order. Reading blocks on the disk.
#[derive(Debug)]
pub struct LogReader {
    folder: PathBuf,
    head: Option<(u64, SegmentReader)>,
    ring: RingReader,
    /// Number of the last record that was passed.
    passed: Option<u64>,
    /// Number of bytes of output before the next record, if known.
    expected_offset: Option<u64>,
}

impl LogReader {
    /// Begins to read the log in a job's folder: at its beginning, or after the entry `after`.
    pub fn open(job_folder: &Path, after: Option<u64>) -> Self {
        Self {
            folder: job_folder.join(LOG_FOLDER),
            head: None,
            ring: RingReader::default(),
            passed: after,
            expected_offset: None,
        }
    }

    /// Reads through the log for its end and for its last `lines` lines, of one stream or of both.
    pub fn survey(
        job_folder: &Path,
        lines: Option<usize>,
        stream: Option<OutputStream>,
    ) -> io::Result<LogSurvey> {
        let mut reader = Self::open(job_folder, None);
        let mut next_id = 1;
        // Beginnings of the last lines, but for the line with which the log begins.
        let mut begins = VecDeque::new();
        let mut after_end = None;
        while let Some(entry) = reader.next(u64::MAX)? {
            next_id = entry.id + 1;
            let LogKind::Output(of) = entry.kind else { continue };
            let Some(lines) = lines.filter(|_| stream.is_none_or(|wanted| wanted == of)) else {
                continue;
            };
            for (position, byte) in entry.bytes.iter().enumerate() {
                // A line begins with the byte after the end of another.
                if let Some(begin) = after_end.take() {
                    begins.push_back(begin);
                    if begins.len() > lines {
                        begins.pop_front();
                    }
                }
                if *byte == b'\n' {
                    after_end = Some((entry.id, position + 1));
                }
            }
        }
        let last_lines = match lines {
            Some(0) => Some((next_id, 0)),
            Some(lines) if begins.len() >= lines => begins.pop_front(),
            _ => None,
        };
        Ok(LogSurvey { next_id, last_lines })
    }

    /// Returns the number of bytes of output before the next record, if it is known.
    pub fn expected_offset(&self) -> Option<u64> {
        self.expected_offset
    }

    /// Returns the next entry with a number below `bound`; `None` if there is none yet.
    pub fn next(&mut self, bound: u64) -> io::Result<Option<LogEntry>> {
        loop {
            let in_head = self.peek_head()?;
            let in_ring = self.ring.peek(&self.folder)?.map(|record| record.id);
            let (is_head, id) = match (in_head, in_ring) {
                (Some(head), Some(ring)) => (head < ring, head.min(ring)),
                (Some(head), None) => (true, head),
                (None, Some(ring)) => (false, ring),
                (None, None) => return Ok(None),
            };
            if id >= bound {
                return Ok(None);
            }
            let is_passed = self.passed.is_some_and(|passed| id <= passed);
            if !is_passed && let Some(gap) = self.gap_before(is_head, id) {
                return Ok(Some(gap));
            }
            let taken = if is_head {
                self.head.as_mut().and_then(|(_, head)| head.advance())
            } else {
                self.ring.advance()
            };
            let Some(record) = taken else { return Ok(None) };
            let is_next = self.passed.is_none_or(|passed| id >= passed);
            if is_next {
                self.passed = Some(id);
                self.expected_offset = Some(record.end_offset());
            }
            if !is_passed {
                return Ok(Some(LogEntry {
                    id,
                    time_ms: record.time_ms,
                    kind: LogKind::Output(record.stream),
                    bytes: record.bytes,
                }));
            }
        }
    }

    /// Returns an entry for the output that is missing before a record, and counts it as passed.
    fn gap_before(&mut self, is_head: bool, id: u64) -> Option<LogEntry> {
        let follows = match self.passed {
            Some(passed) => id == passed.saturating_add(1),
            None => self.head.as_ref().is_some_and(|(first, _)| *first == id),
        };
        if follows {
            return None;
        }
        let segment = if is_head {
            &self.head.as_ref()?.1
        } else {
            &self.ring.current.as_ref()?.1
        };
        let record = segment.next.as_ref()?;
        // After a crash the length of the lost output is unknown.
        let bytes = self
            .expected_offset
            .map(|expected| record.offset.saturating_sub(expected))
            .filter(|bytes| *bytes > 0);
        let gap = LogEntry {
            id: id.saturating_sub(1),
            time_ms: record.time_ms,
            kind: LogKind::Dropped(bytes),
            bytes: Vec::new(),
        };
        self.passed = Some(gap.id);
        self.expected_offset = Some(record.offset);
        Some(gap)
    }

    /// Returns the number of the head's next record.
    fn peek_head(&mut self) -> io::Result<Option<u64>> {
        if let Some((_, head)) = &mut self.head
            && let Some(record) = head.peek()?
        {
            return Ok(Some(record.id));
        }
        // A log that began, or began anew, has another head.
        let Some(first) = Catalog::read(&self.folder)?.head else {
            return Ok(None);
        };
        if self.head.as_ref().is_none_or(|(current, _)| *current < first) {
            self.head =
                found(SegmentReader::open(&head_path(&self.folder, first)))?.map(|head| (first, head));
        }
        match &mut self.head {
            Some((_, head)) => Ok(head.peek()?.map(|record| record.id)),
            None => Ok(None),
        }
    }
}
