//! The archive of an output folder: a tar stream that depends on the listing alone, readable from any
//! position.
//!
//! ustar headers with owner 0, group 0 and time 0. A path or target of more than 100 bytes, or one that is no
//! UTF-8, and a size of 8 GiB or more, are in a `pax` header before the entry.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use super::{ArtifactError, Entry, EntryKind, Listing, OutputFolder};

/// Length of a block of the format.
const BLOCK: usize = 512;

/// Bytes of zeros after the last entry.
const END_BYTES: u64 = 2 * BLOCK as u64;

/// Maximum length of a name in the header itself.
const MAX_NAME_BYTES: usize = 100;

/// Maximum size in the header itself: eleven octal digits.
const MAX_OCTAL_SIZE: u64 = 0o777_7777_7777;

/// Number of bytes that are read at once.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Returns the number of bytes that pad content to whole blocks.
fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

/// Returns the number of bytes of an entry's content in the archive.
fn content_len(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::File => entry.size,
        // The target is in the header.
        EntryKind::Link(_) => 0,
    }
}

/// Returns the position of each entry, and of the end of the last one.
pub(super) fn starts(entries: &[Entry]) -> Vec<u64> {
    let mut position = 0;
    let mut starts = Vec::with_capacity(entries.len() + 1);
    for entry in entries {
        starts.push(position);
        let content = content_len(entry);
        position += headers(entry).len() as u64 + content + padding(content);
    }
    starts.push(position);
    starts
}

/// Returns the length of an archive with entries at these positions.
pub(super) fn length(starts: &[u64]) -> u64 {
    starts.last().copied().unwrap_or(0) + END_BYTES
}

/// Returns an entry's headers.
pub(super) fn headers(entry: &Entry) -> Vec<u8> {
    let size = content_len(entry);
    let (kind, mode, target) = match &entry.kind {
        EntryKind::File => (b'0', entry.mode, &[][..]),
        EntryKind::Link(target) => (b'2', 0o777, &target[..]),
    };
    let mut records = Vec::new();
    let needs_record = |name: &[u8]| name.len() > MAX_NAME_BYTES || std::str::from_utf8(name).is_err();
    if std::str::from_utf8(&entry.path).is_err() || std::str::from_utf8(target).is_err() {
        records.extend(record(b"hdrcharset", b"BINARY"));
    }
    if needs_record(&entry.path) {
        records.extend(record(b"path", &entry.path));
    }
    if needs_record(target) {
        records.extend(record(b"linkpath", target));
    }
    if size > MAX_OCTAL_SIZE {
        records.extend(record(b"size", size.to_string().as_bytes()));
    }
    let mut bytes = Vec::new();
    if !records.is_empty() {
        bytes.extend(header(b"././@PaxHeader", b"", b'x', 0o644, records.len() as u64));
        let padded = records.len().next_multiple_of(BLOCK);
        records.resize(padded, 0);
        bytes.extend(records);
    }
    bytes.extend(header(&entry.path, target, kind, mode, size));
    bytes
}

/// Returns a record of a `pax` header, which begins with its own length.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    loop {
        let whole = rest + length.to_string().len();
        if whole == length {
            break;
        }
        length = whole;
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// Returns one header. Names that are too long are cut; a `pax` header has them whole.
fn header(name: &[u8], target: &[u8], kind: u8, mode: u32, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name[..name.len().min(MAX_NAME_BYTES)]);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{:011o}", size.min(MAX_OCTAL_SIZE)).as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, &target[..target.len().min(MAX_NAME_BYTES)]);
    put(257, b"ustar\x0000");
    put(329, b"0000000");
    put(337, b"0000000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Reads a part of an archive, piece by piece. Memory: one piece and one entry's headers.
#[derive(Debug)]
pub struct ArchiveReader {
    folder: OutputFolder,
    listing: Arc<Listing>,
    position: u64,
    end: u64,
    /// File that was read last, with the index of its entry.
    open: Option<(usize, File)>,
}

impl ArchiveReader {
    pub(super) fn new(folder: OutputFolder, listing: Arc<Listing>, start: u64, end: u64) -> Self {
        Self {
            end: end.min(listing.archive_len()),
            folder,
            listing,
            position: start,
            open: None,
        }
    }

    /// Returns the next piece, at most 64 KiB or the headers of an entry; `None` at the end of the part.
    ///
    /// # Errors
    /// A file changed detectably, or cannot be read. The part cannot be completed then.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, ArtifactError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let mut piece = self.piece_at(self.position)?;
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        piece.truncate(left);
        self.position += piece.len() as u64;
        Ok(Some(piece))
    }

    /// Returns some bytes from a position on; never none before the archive's end.
    fn piece_at(&mut self, position: u64) -> Result<Vec<u8>, ArtifactError> {
        let starts = &self.listing.starts;
        // The last entry that does not begin after the position.
        let index = starts
            .partition_point(|start| *start <= position)
            .saturating_sub(1);
        let Some(entry) = self.listing.entries.get(index) else {
            // The zeros at the end, or an archive without entries.
            return Ok(zeros(self.listing.archive_len() - position));
        };
        let within = position - starts[index];
        let headers = headers(entry);
        let header_len = headers.len() as u64;
        if within < header_len {
            let from = usize::try_from(within).unwrap_or(usize::MAX);
            return Ok(headers[from..].to_vec());
        }
        let within = within - header_len;
        let content = content_len(entry);
        if within >= content {
            return Ok(zeros(content + padding(content) - within));
        }
        let wanted = (content - within).min(CHUNK_BYTES);
        let file = match &mut self.open {
            Some((of, file)) if *of == index => file,
            open => {
                let file = self.folder.open_file(entry)?;
                &mut open.insert((index, file)).1
            }
        };
        read_exactly(file, within, wanted)
    }
}

fn zeros(length: u64) -> Vec<u8> {
    vec![0; usize::try_from(length.min(CHUNK_BYTES)).unwrap_or(0)]
}

/// Reads bytes of a file from a position on, all of which were there when it was listed.
fn read_exactly(file: &File, position: u64, wanted: u64) -> Result<Vec<u8>, ArtifactError> {
    let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(usize::MAX)];
    match file.read_exact_at(&mut bytes, position) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ArtifactError::Changed),
        Err(error) => Err(error.into()),
    }
}

/// Reads a part of one file, piece by piece.
#[derive(Debug)]
pub struct FileReader {
    file: File,
    position: u64,
    end: u64,
}

impl FileReader {
    /// Creates a reader of the part from `start` to before `end`.
    pub fn new(file: File, start: u64, end: u64) -> Self {
        Self {
            file,
            position: start,
            end,
        }
    }

    /// Returns the next piece, at most 64 KiB; `None` at the end of the part.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, ArtifactError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let wanted = (self.end - self.position).min(CHUNK_BYTES);
        let piece = read_exactly(&self.file, self.position, wanted)?;
        self.position += piece.len() as u64;
        Ok(Some(piece))
    }
}
