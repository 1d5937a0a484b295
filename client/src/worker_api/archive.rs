//! Reader of the archive of a job's output folder: the tar stream that a worker writes, and nothing else.
//!
//! Neither the job that wrote the folder nor the worker is trusted. The reader takes regular files and
//! symbolic links with plain relative paths in ascending order, each once, within the bounds of
//! [`assay_primitives::output`], and computes the root hash that is defined there.

use std::io;

use assay_primitives::output::{MAX_DEPTH, MAX_ENTRIES, MAX_PATH_BYTES, MAX_PATHS_BYTES, ROOT_CONTEXT};

/// Length of a block of the format.
const BLOCK: usize = 512;

/// Number of zeros after the last entry.
const END_BYTES: u64 = 2 * BLOCK as u64;

/// Maximum length of a `pax` header: a path, a target, a size and their keys.
const MAX_EXTENSION_BYTES: usize = 2 * MAX_PATH_BYTES + BLOCK;

/// Maximum length of a name of a file or folder, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// Reason why an archive is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The bytes are not an archive of an output folder.
    #[error("the archive is not one that a worker writes ({0}); do not use what was unpacked of it")]
    NotAnArchive(&'static str),
    /// A path could lead out of the folder, or is there twice.
    #[error(
        "the archive has an entry that does not belong there, {path:?}; do not use what was unpacked of it"
    )]
    BadPath {
        /// The path, with other characters in place of bytes that are no text.
        path: String,
    },
    /// A bound is exceeded.
    #[error("the archive has more than {0}")]
    TooMuch(String),
    /// The archive is not complete.
    #[error("the archive ends too early; download it again")]
    Incomplete,
    /// An entry could not be stored.
    #[error("{path:?} could not be stored: {reason}")]
    Storing {
        /// Path of the entry.
        path: String,
        /// Error of the system.
        reason: io::Error,
    },
}

/// Receiver of an archive's entries. Paths and targets are bytes, and need not be text.
///
/// A path is relative and plain, without empty, `.` and `..` components, and comes once. A link's target can
/// be anything.
pub trait ArchiveSink {
    /// Begins a file with these permission bits and this size.
    fn begin_file(&mut self, path: &[u8], mode: u32, size: u64) -> io::Result<()>;

    /// Takes the next bytes of the file.
    fn content(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Ends the file.
    fn end_file(&mut self) -> io::Result<()>;

    /// Takes a symbolic link.
    fn link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()>;
}

/// Content of an archive that was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveSummary {
    /// Root hash of the output folder.
    pub root_hash: [u8; 32],
    /// Number of files.
    pub files: u64,
    /// Number of symbolic links.
    pub links: u64,
    /// Number of bytes of all files.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Collects a header.
    Header,
    /// Collects a `pax` header with this length.
    Extension(usize),
    /// Passes on a file of which this number of bytes is left.
    Content(u64),
    /// Skips this number of bytes before the next header.
    Padding(u64),
    /// Counts the zeros at the end.
    End(u64),
}

/// Values of a `pax` header for the next entry.
#[derive(Debug, Default)]
struct Extension {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
}

/// File whose content is being read.
#[derive(Debug)]
struct OpenFile {
    path: Vec<u8>,
    mode: u32,
    size: u64,
    hasher: Box<blake3::Hasher>,
}

/// Reader of an archive from pieces of any length. Memory: one header, and 50 bytes and the path of each
/// entry.
#[derive(Debug)]
pub struct ArchiveReader {
    state: State,
    buffer: Vec<u8>,
    extension: Option<Extension>,
    file: Option<OpenFile>,
    last_path: Vec<u8>,
    paths_bytes: usize,
    /// Input of the root hash, without its beginning.
    records: Vec<u8>,
    files: u64,
    links: u64,
    bytes: u64,
    max_bytes: u64,
}

impl ArchiveReader {
    /// Creates a reader that accepts at most `max_bytes` of content.
    pub fn new(max_bytes: u64) -> Self {
        Self {
            state: State::Header,
            buffer: Vec::with_capacity(BLOCK),
            extension: None,
            file: None,
            last_path: Vec::new(),
            paths_bytes: 0,
            records: Vec::new(),
            files: 0,
            links: 0,
            bytes: 0,
            max_bytes,
        }
    }

    /// Reads the next bytes of the archive, and passes their entries to the sink.
    ///
    /// # Errors
    /// The archive is not acceptable, or the sink failed. Drop the reader then.
    pub fn push(&mut self, bytes: &[u8], sink: &mut impl ArchiveSink) -> Result<(), ArchiveError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::Header => {
                    let after = self.collect(rest, BLOCK);
                    if self.buffer.len() == BLOCK {
                        let header = std::mem::take(&mut self.buffer);
                        self.take_header(&header, sink)?;
                    }
                    after
                }
                State::Extension(length) => {
                    let padded = length.next_multiple_of(BLOCK);
                    let after = self.collect(rest, padded);
                    if self.buffer.len() == padded {
                        let records = std::mem::take(&mut self.buffer);
                        self.extension = Some(read_extension(records.get(..length).unwrap_or_default())?);
                        self.state = State::Header;
                    }
                    after
                }
                State::Content(left) => {
                    let (content, after) = split(rest, left);
                    self.take_content(content, sink)?;
                    let left = left.saturating_sub(content.len() as u64);
                    self.state = State::Content(left);
                    if left == 0 {
                        self.end_file(sink)?;
                    }
                    after
                }
                State::Padding(left) => {
                    let (skipped, after) = split(rest, left);
                    let left = left.saturating_sub(skipped.len() as u64);
                    self.state = if left == 0 {
                        State::Header
                    } else {
                        State::Padding(left)
                    };
                    after
                }
                State::End(zeros) => {
                    if rest.iter().any(|byte| *byte != 0) {
                        return Err(ArchiveError::NotAnArchive("something follows its end"));
                    }
                    self.state = State::End(zeros.saturating_add(rest.len() as u64));
                    &[]
                }
            };
        }
        Ok(())
    }

    /// Returns the archive's root hash and counts. Fails if bytes of it are missing.
    pub fn finish(self) -> Result<ArchiveSummary, ArchiveError> {
        if !matches!(self.state, State::End(zeros) if zeros >= END_BYTES) {
            return Err(ArchiveError::Incomplete);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(ROOT_CONTEXT);
        hasher.update(&self.files.saturating_add(self.links).to_le_bytes());
        hasher.update(&self.records);
        Ok(ArchiveSummary {
            root_hash: hasher.finalize().into(),
            files: self.files,
            links: self.links,
            bytes: self.bytes,
        })
    }

    /// Fills the buffer up to a length; returns the bytes that follow.
    fn collect<'a>(&mut self, bytes: &'a [u8], length: usize) -> &'a [u8] {
        let wanted = length.saturating_sub(self.buffer.len()) as u64;
        let (taken, rest) = split(bytes, wanted);
        self.buffer.extend_from_slice(taken);
        rest
    }

    fn take_header(&mut self, block: &[u8], sink: &mut impl ArchiveSink) -> Result<(), ArchiveError> {
        if block.iter().all(|byte| *byte == 0) {
            if self.extension.is_some() {
                return Err(ArchiveError::NotAnArchive("its last header has no entry"));
            }
            self.state = State::End(block.len() as u64);
            return Ok(());
        }
        let header = Header::read(block)?;
        if header.kind == b'x' {
            let length = usize::try_from(header.size).unwrap_or(usize::MAX);
            if self.extension.is_some() || length == 0 || length > MAX_EXTENSION_BYTES {
                return Err(ArchiveError::NotAnArchive(
                    "a header of it is too long or repeated",
                ));
            }
            self.state = State::Extension(length);
            return Ok(());
        }
        let extension = self.extension.take().unwrap_or_default();
        let path = extension.path.unwrap_or(header.name);
        self.check_path(&path)?;
        match header.kind {
            b'0' => self.begin_file(path, header.mode, extension.size.unwrap_or(header.size), sink),
            b'2' => self.take_link(path, extension.target.unwrap_or(header.target), sink),
            _ => Err(ArchiveError::NotAnArchive(
                "it has something other than files and links",
            )),
        }
    }

    /// Checks a path, and that it follows the last one.
    fn check_path(&mut self, path: &[u8]) -> Result<(), ArchiveError> {
        let is_plain = |name: &[u8]| {
            (1..=MAX_NAME_BYTES).contains(&name.len()) && !matches!(name, b"." | b"..") && !name.contains(&0)
        };
        let names = path.split(|byte| *byte == b'/');
        let is_good = path.len() <= MAX_PATH_BYTES
            && path > &self.last_path[..]
            && names.clone().all(is_plain)
            && names.count() <= MAX_DEPTH + 1;
        if !is_good {
            return Err(ArchiveError::BadPath { path: shown(path) });
        }
        if self.files.saturating_add(self.links) >= MAX_ENTRIES as u64 {
            return Err(ArchiveError::TooMuch(format!("{MAX_ENTRIES} entries")));
        }
        self.count_path_bytes(path.len())?;
        self.last_path = path.to_vec();
        Ok(())
    }

    fn count_path_bytes(&mut self, length: usize) -> Result<(), ArchiveError> {
        self.paths_bytes = self.paths_bytes.saturating_add(length);
        if self.paths_bytes > MAX_PATHS_BYTES {
            return Err(ArchiveError::TooMuch(format!("{MAX_PATHS_BYTES} bytes of paths")));
        }
        Ok(())
    }

    fn begin_file(
        &mut self,
        path: Vec<u8>,
        mode: u32,
        size: u64,
        sink: &mut impl ArchiveSink,
    ) -> Result<(), ArchiveError> {
        if mode & !0o777 != 0 {
            return Err(ArchiveError::NotAnArchive("it has permission bits beyond 777"));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.max_bytes {
            return Err(ArchiveError::TooMuch(format!(
                "{} bytes, which is the bound that you set",
                self.max_bytes
            )));
        }
        sink.begin_file(&path, mode, size)
            .map_err(|error| storing(&path, error))?;
        self.files = self.files.saturating_add(1);
        self.file = Some(OpenFile {
            path,
            mode,
            size,
            hasher: Box::default(),
        });
        self.state = State::Content(size);
        if size == 0 {
            return self.end_file(sink);
        }
        Ok(())
    }

    fn take_content(&mut self, bytes: &[u8], sink: &mut impl ArchiveSink) -> Result<(), ArchiveError> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.hasher.update(bytes);
        sink.content(bytes).map_err(|error| storing(&file.path, error))
    }

    fn end_file(&mut self, sink: &mut impl ArchiveSink) -> Result<(), ArchiveError> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        sink.end_file().map_err(|error| storing(&file.path, error))?;
        let hash = file.hasher.finalize().into();
        self.record(0, &file.path, file.mode, file.size, &hash);
        let padding = (BLOCK as u64).saturating_sub(file.size % BLOCK as u64) % BLOCK as u64;
        self.state = if padding == 0 {
            State::Header
        } else {
            State::Padding(padding)
        };
        Ok(())
    }

    fn take_link(
        &mut self,
        path: Vec<u8>,
        target: Vec<u8>,
        sink: &mut impl ArchiveSink,
    ) -> Result<(), ArchiveError> {
        if target.is_empty() || target.len() > MAX_PATH_BYTES || target.contains(&0) {
            return Err(ArchiveError::BadPath { path: shown(&path) });
        }
        self.count_path_bytes(target.len())?;
        sink.link(&path, &target).map_err(|error| storing(&path, error))?;
        self.links = self.links.saturating_add(1);
        let hash = blake3::hash(&target).into();
        self.record(1, &path, 0, target.len() as u64, &hash);
        self.state = State::Header;
        Ok(())
    }

    /// Adds an entry to the input of the root hash.
    fn record(&mut self, kind: u8, path: &[u8], mode: u32, size: u64, hash: &[u8; 32]) {
        self.records.push(kind);
        // A path is at most `MAX_PATH_BYTES` long.
        self.records.extend((path.len() as u32).to_le_bytes());
        self.records.extend(path);
        self.records.extend(mode.to_le_bytes());
        self.records.extend(size.to_le_bytes());
        self.records.extend(hash);
    }
}

/// Splits bytes after `length`, or at their end.
fn split(bytes: &[u8], length: u64) -> (&[u8], &[u8]) {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    bytes.split_at(length.min(bytes.len()))
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).collect()
}

fn storing(path: &[u8], reason: io::Error) -> ArchiveError {
    ArchiveError::Storing {
        path: shown(path),
        reason,
    }
}

/// Fields of a header.
struct Header {
    name: Vec<u8>,
    mode: u32,
    size: u64,
    kind: u8,
    target: Vec<u8>,
}

impl Header {
    /// Reads a block, whose sum must be right.
    fn read(block: &[u8]) -> Result<Self, ArchiveError> {
        let bad = ArchiveError::NotAnArchive;
        let field = |start: usize, length: usize| block.get(start..start.saturating_add(length));
        let number = |start, length| field(start, length).and_then(octal);
        let text = |start, length| {
            let bytes = field(start, length).unwrap_or_default();
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            bytes.get(..end).unwrap_or_default().to_vec()
        };
        if field(257, 8) != Some(&b"ustar\x0000"[..]) {
            return Err(bad("a header of it is not of the format ustar"));
        }
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(index, byte)| match index {
                148..156 => u64::from(b' '),
                _ => u64::from(*byte),
            })
            .sum();
        if number(148, 8) != Some(sum) {
            return Err(bad("a header of it has a wrong sum"));
        }
        // Long paths are in `pax` headers.
        if field(345, 155).is_none_or(|prefix| prefix.iter().any(|byte| *byte != 0)) {
            return Err(bad("a header of it has a prefix"));
        }
        let mode = number(100, 8).and_then(|mode| u32::try_from(mode).ok());
        Ok(Self {
            name: text(0, 100),
            mode: mode.ok_or(bad("a header of it has no mode"))?,
            size: number(124, 12).ok_or(bad("a header of it has no size"))?,
            kind: block.get(156).copied().unwrap_or(0),
            target: text(157, 100),
        })
    }
}

/// Reads octal digits, up to a NUL or a space.
fn octal(bytes: &[u8]) -> Option<u64> {
    let end = bytes
        .iter()
        .position(|byte| matches!(byte, 0 | b' '))
        .unwrap_or(bytes.len());
    let digits = std::str::from_utf8(bytes.get(..end)?).ok()?;
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, 8).ok()
}

/// Reads the records of a `pax` header: `<length> <key>=<value>\n`, the length being that of the record.
fn read_extension(records: &[u8]) -> Result<Extension, ArchiveError> {
    let bad = || ArchiveError::NotAnArchive("a header of it has other records than a worker writes");
    let mut extension = Extension::default();
    let mut rest = records;
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length: usize = rest
            .get(..digits)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(bad)?;
        let record = rest
            .get(digits..length)
            .and_then(|record| record.strip_prefix(b" "))
            .and_then(|record| record.strip_suffix(b"\n"))
            .ok_or_else(bad)?;
        rest = rest.get(length..).unwrap_or_default();
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        let (key, value) = record.split_at(equals);
        let value = value.get(1..).unwrap_or_default();
        match key {
            // Names are bytes to us in any case.
            b"hdrcharset" => (),
            b"path" => extension.path = Some(value.to_vec()),
            b"linkpath" => extension.target = Some(value.to_vec()),
            b"size" => {
                let size = std::str::from_utf8(value)
                    .ok()
                    .and_then(|value| value.parse().ok());
                extension.size = Some(size.ok_or_else(bad)?);
            }
            _ => return Err(bad()),
        }
    }
    Ok(extension)
}

#[cfg(test)]
mod tests;
