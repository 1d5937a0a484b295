//! The files of a log, as their only writer sees them.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    Bounds, MAX_RECORD_BYTES,
    reader::SegmentReader,
    record::{HEADER_BYTES, Record},
};
use crate::{engine::OutputStream, files::named};

/// Name of the file that is there while a log has a writer, and after one that did not come to its end.
const MARK: &str = "open";

/// Numbers that are left out after a writer that did not come to its end. A crash of the host may take
/// records that were read already, and their numbers must not be used again.
const SKIPPED_IDS: u64 = 1 << 20;

/// Digits of a record's number in a file's name: as many as the largest number has, so that names sort.
const ID_DIGITS: usize = 20;

/// Returns the path of the head that begins with a record.
pub(super) fn head_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("head-{first:0ID_DIGITS$}.log"))
}

/// Returns the path of the segment that begins with a record.
pub(super) fn tail_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("tail-{first:0ID_DIGITS$}.log"))
}

/// Files of a log, by the numbers of their first records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Catalog {
    /// The newest head.
    pub(super) head: Option<u64>,
    /// The ring's segments, the oldest first.
    pub(super) tails: Vec<u64>,
}

impl Catalog {
    /// Lists a log's files; empty for a log that does not exist.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let mut catalog = Self::default();
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(catalog),
            entries => entries.map_err(|error| named("list", folder, error))?,
        };
        for entry in entries {
            let name = entry.map_err(|error| named("list", folder, error))?.file_name();
            let Some((kind, first)) = name
                .to_str()
                .and_then(|name| name.strip_suffix(".log"))
                .and_then(|name| name.split_once('-'))
            else {
                continue;
            };
            match (kind, first.parse()) {
                ("head", Ok(first)) => catalog.head = catalog.head.max(Some(first)),
                ("tail", Ok(first)) => catalog.tails.push(first),
                _ => (),
            }
        }
        catalog.tails.sort_unstable();
        Ok(catalog)
    }
}

/// File that records are appended to.
struct Segment {
    file: File,
    /// Length of the whole records. Bytes behind it are of a failed write, and are overwritten.
    length: u64,
}

impl Segment {
    fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).write(true).truncate(true).open(path);
        Ok(Self {
            file: file.map_err(|error| named("create", path, error))?,
            length: 0,
        })
    }

    fn append(&mut self, record: &Record) -> io::Result<()> {
        let written = self.file.write_all_at(&record.encode(), self.length);
        match written {
            Ok(()) => self.length += record.encoded_len(),
            // Part of a record would hide those that are appended after it.
            Err(_) => {
                let _ = self.file.set_len(self.length);
            }
        }
        written
    }
}

/// End of the records in a file.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    length: u64,
    last_id: u64,
    end_offset: u64,
    /// Bytes of standard output and of standard error.
    kept: [u64; 2],
    /// True if other bytes follow: a torn record.
    is_torn: bool,
}

/// Reads a file up to its last whole record.
fn scan(path: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut reader = SegmentReader::open(path)?;
    while let Some(record) = reader.peek()? {
        // A number that does not grow: bytes of an earlier use of the file's blocks.
        if record.id <= scan.last_id {
            break;
        }
        scan.length += record.encoded_len();
        scan.last_id = record.id;
        scan.end_offset = record.end_offset();
        scan.kept[index(record.stream)] += record.bytes.len() as u64;
        reader.advance();
    }
    Ok(scan)
}

/// Opens a file for appending after its last whole record, and cuts off the rest.
fn reopen(path: &Path) -> io::Result<(Segment, Scan)> {
    let mut scan = scan(path)?;
    let open = || {
        let file = File::options().write(true).open(path)?;
        let is_torn = file.metadata()?.len() > scan.length;
        if is_torn {
            file.set_len(scan.length)?;
        }
        Ok((file, is_torn))
    };
    let (file, is_torn) = open().map_err(|error| named("open", path, error))?;
    scan.is_torn = is_torn;
    let length = scan.length;
    Ok((Segment { file, length }, scan))
}

fn index(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
    }
}

/// Writes a log. There is one writer for a log at any time.
pub(super) struct SegmentWriter {
    folder: PathBuf,
    bounds: Bounds,
    head: Segment,
    /// Bytes of each stream in the head.
    head_kept: [u64; 2],
    /// The newest segment of the ring.
    tail: Option<Segment>,
    /// The ring's segments, the oldest first.
    tails: Vec<u64>,
    next_id: u64,
    /// Bytes of output so far, including those that were lost.
    offset: u64,
    /// True if output was lost since the last record.
    has_gap: bool,
}

impl SegmentWriter {
    /// Opens a log; begins it anew unless `append`. Numbers go on from the last record in either case.
    pub(super) fn open(folder: &Path, append: bool, bounds: Bounds) -> io::Result<Self> {
        fs::create_dir_all(folder).map_err(|error| named("create", folder, error))?;
        let catalog = Catalog::read(folder)?;
        let mut scans = Vec::new();
        // The file's name has the used numbers even if the file has no whole record.
        let named_id = catalog.head.max(catalog.tails.last().copied()).unwrap_or(1);
        let head = match catalog.head {
            Some(first) => Some(reopen(&head_path(folder, first))?),
            None => None,
        };
        let tail = match catalog.tails.last() {
            Some(first) => Some(reopen(&tail_path(folder, *first))?),
            None => None,
        };
        scans.extend(head.iter().chain(&tail).map(|(_, scan)| *scan));
        // A segment without a whole record does not have the number of bytes before it; an earlier one does.
        if tail.as_ref().is_some_and(|(_, scan)| scan.length == 0) {
            for first in catalog.tails.iter().rev().skip(1) {
                let earlier = scan(&tail_path(folder, *first))?;
                scans.push(earlier);
                if earlier.length > 0 {
                    break;
                }
            }
        }
        let last_id = scans.iter().map(|scan| scan.last_id).max().unwrap_or(0);
        let mark = folder.join(MARK);
        let is_cut_off = mark.exists();
        let next_id = named_id
            .max(last_id.saturating_add(1))
            .saturating_add(if is_cut_off { SKIPPED_IDS } else { 0 });
        let offset = scans.iter().map(|scan| scan.end_offset).max().unwrap_or(0);
        let writer = match head {
            Some((head, scan)) if append => Self {
                folder: folder.to_owned(),
                bounds,
                head,
                head_kept: scan.kept,
                tail: tail.map(|(tail, _)| tail),
                tails: catalog.tails,
                next_id,
                offset,
                has_gap: is_cut_off || scans.iter().any(|scan| scan.is_torn),
            },
            _ => Self::begin(folder, bounds, next_id, offset)?,
        };
        // Without the mark, a crash is not noticed: no reason to write nothing.
        let _ = File::create(&mark);
        Ok(writer)
    }

    /// Ends a log that is written to its end.
    pub(super) fn close(self) {
        let _ = fs::remove_file(self.folder.join(MARK));
    }

    /// Begins a log anew.
    fn begin(folder: &Path, bounds: Bounds, next_id: u64, offset: u64) -> io::Result<Self> {
        for entry in fs::read_dir(folder).map_err(|error| named("list", folder, error))? {
            let path = entry.map_err(|error| named("list", folder, error))?.path();
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(named("remove", &path, error));
                }
                _ => (),
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            bounds,
            head: Segment::create(&head_path(folder, next_id))?,
            head_kept: [0; 2],
            tail: None,
            tails: Vec::new(),
            next_id,
            offset,
            has_gap: false,
        })
    }

    /// Returns the number that the next record has at least.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Returns the number of bytes of output so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Counts output that cannot be written.
    pub(super) fn lose(&mut self, bytes: u64) {
        self.offset = self.offset.saturating_add(bytes);
        self.has_gap = true;
    }

    /// Appends output, in records.
    ///
    /// # Errors
    /// Part of the output could not be written; it is counted as lost.
    pub(super) fn append(&mut self, stream: OutputStream, time_ms: u64, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        let mut outcome = Ok(());
        while !rest.is_empty() {
            let head_room = self.head_room(stream);
            let most = if head_room == 0 {
                MAX_RECORD_BYTES
            } else {
                head_room.min(MAX_RECORD_BYTES)
            };
            let (piece, after) = rest.split_at(cut(rest, most));
            rest = after;
            let record = Record {
                id: self.next_id + u64::from(self.has_gap),
                time_ms,
                offset: self.offset,
                stream,
                bytes: piece.to_vec(),
            };
            let written = if head_room > 0 {
                self.head.append(&record).inspect(|()| {
                    self.head_kept[index(stream)] += piece.len() as u64;
                })
            } else {
                self.append_to_ring(&record)
            };
            match written {
                Ok(()) => {
                    self.next_id = record.id + 1;
                    self.offset = record.end_offset();
                    self.has_gap = false;
                }
                Err(error) => {
                    self.lose(piece.len() as u64);
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    /// Returns the number of bytes of a stream that still go into the head.
    fn head_room(&self, stream: OutputStream) -> usize {
        let for_stream = self
            .bounds
            .head_stream_bytes
            .saturating_sub(self.head_kept[index(stream)]);
        let in_file = self
            .bounds
            .head_file_bytes
            .saturating_sub(self.head.length)
            .saturating_sub(HEADER_BYTES as u64);
        usize::try_from(for_stream.min(in_file)).unwrap_or(usize::MAX)
    }

    fn append_to_ring(&mut self, record: &Record) -> io::Result<()> {
        let most = self.bounds.segment_bytes;
        let has_room = |tail: &Segment| tail.length + record.encoded_len() <= most;
        if !self.tail.as_ref().is_some_and(has_room) {
            self.make_room();
            let tail = Segment::create(&tail_path(&self.folder, record.id))?;
            // A segment whose first record failed is created again under the same name.
            if self.tails.last() != Some(&record.id) {
                self.tails.push(record.id);
            }
            self.tail = Some(tail);
        }
        match &mut self.tail {
            Some(tail) => tail.append(record),
            None => Err(io::Error::other("the log has no segment")),
        }
    }

    /// Removes the oldest segments, so that there is room for one more.
    fn make_room(&mut self) {
        while self.tails.len() >= self.bounds.segments {
            let oldest = tail_path(&self.folder, self.tails.remove(0));
            if let Err(error) = fs::remove_file(&oldest) {
                tracing::warn!(file = %oldest.display(), %error, "removing the oldest part of a log failed");
            }
        }
    }
}

/// Returns the length of the next record of `bytes`, at most `most`: to the end of a line if there is one, or
/// else not within a character.
fn cut(bytes: &[u8], most: usize) -> usize {
    if bytes.len() <= most {
        return bytes.len();
    }
    let piece = &bytes[..most];
    if let Some(end_of_line) = piece.iter().rposition(|byte| *byte == b'\n') {
        return end_of_line + 1;
    }
    // The byte after the cut continues a character: cut before its first byte, at most three bytes back.
    let is_continuation = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    (most.saturating_sub(3).max(1)..=most)
        .rev()
        .find(|end| !is_continuation(bytes[*end]))
        .unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn pieces_end_with_a_line_or_a_character() {
        assert_eq!(cut(b"abc", 3), 3);
        assert_eq!(cut(b"a\nbcd", 4), 2);
        assert_eq!(cut(b"abcdef", 4), 4);
        // The euro sign has three bytes.
        assert_eq!(cut("aa\u{20ac}".as_bytes(), 4), 2);
        assert_eq!(cut("\u{20ac}\u{20ac}".as_bytes(), 4), 3);
        assert_eq!(cut("a\u{20ac}b".as_bytes(), 4), 4);
        assert_eq!(cut("\u{20ac}".as_bytes(), 1), 1, "a record is never empty");
        assert_eq!(cut(&[0x80; 9], 4), 4, "no text at all");
    }
}
