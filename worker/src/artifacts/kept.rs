//! Outputs that are kept after their disks: one file for each, the archive with an index behind it.
//!
//! | bytes | content |
//! |---|---|
//! | … | the archive; programs that read tar stop at its end |
//! | … | the index: JSON of the entries with their hashes |
//! | 8 | length of the index, little-endian |
//! | 32 | root hash |
//! | 13 | `assay/kept/v1` |
//!
//! Positions in the archive follow from the entries, so a part of it, or of a file in it, is a part of the
//! kept file.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{ArtifactError, Entry, EntryKind, FileReader, Listing, OutputFolder, Stamp, archive};

/// Last bytes of a kept file.
const MAGIC: &[u8; 13] = b"assay/kept/v1";

/// Length of the part behind the index, in bytes.
const TRAILER_BYTES: u64 = 8 + 32 + MAGIC.len() as u64;

/// Maximum length of an index, in bytes: [`MAX_ENTRIES`](super::MAX_ENTRIES) with paths of
/// [`MAX_PATHS_BYTES`](super::MAX_PATHS_BYTES) in all, as base 64, take less.
const MAX_INDEX_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    skipped: u64,
    entries: Vec<IndexEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexEntry {
    /// Path in base 64: it need not be text.
    path: String,
    /// Target of a symbolic link in base 64.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    target: Option<String>,
    mode: u32,
    size: u64,
    blake3: String,
}

impl From<&Entry> for IndexEntry {
    fn from(entry: &Entry) -> Self {
        Self {
            path: BASE64_STANDARD.encode(&entry.path),
            target: match &entry.kind {
                EntryKind::File => None,
                EntryKind::Link(target) => Some(BASE64_STANDARD.encode(target)),
            },
            mode: entry.mode,
            size: entry.size,
            blake3: hex::encode(entry.hash),
        }
    }
}

impl IndexEntry {
    fn entry(self) -> Option<Entry> {
        let mut hash = [0; 32];
        hex::decode_to_slice(&self.blake3, &mut hash).ok()?;
        Some(Entry {
            path: BASE64_STANDARD.decode(self.path).ok()?,
            kind: match self.target {
                None => EntryKind::File,
                Some(target) => EntryKind::Link(BASE64_STANDARD.decode(target).ok()?),
            },
            mode: self.mode,
            size: self.size,
            hash,
            // A kept file never changes, so it needs no stamp.
            stamp: Stamp {
                device: 0,
                inode: 0,
                size: self.size,
                modified_ns: 0,
                changed_ns: 0,
            },
            is_settled: false,
        })
    }
}

/// Content of a kept file, before it is written.
pub(crate) struct KeptContent {
    folder: OutputFolder,
    listing: Arc<Listing>,
    index: Vec<u8>,
}

impl KeptContent {
    /// Lists and hashes an output folder that has no writer any more.
    pub(crate) fn of(folder: OutputFolder) -> Result<Self, ArtifactError> {
        let listing = Arc::new(folder.listing(None, &AtomicBool::new(false))?);
        let index = Index {
            skipped: listing.skipped(),
            entries: listing.entries().iter().map(IndexEntry::from).collect(),
        };
        let index = serde_json::to_vec(&index).map_err(io::Error::other)?;
        Ok(Self {
            folder,
            listing,
            index,
        })
    }

    /// Returns the length of the file in bytes.
    pub(crate) fn file_len(&self) -> u64 {
        let index = self.index.len() as u64;
        self.listing
            .archive_len()
            .saturating_add(index)
            .saturating_add(TRAILER_BYTES)
    }

    /// Writes the file's content.
    pub(crate) fn write(self, to: &File) -> Result<(), ArtifactError> {
        let mut to = BufWriter::new(to);
        let (listing, end) = (self.listing.clone(), self.listing.archive_len());
        let mut archive = self.folder.archive_range(listing, 0, end);
        while let Some(piece) = archive.next_piece()? {
            to.write_all(&piece)?;
        }
        to.write_all(&self.index)?;
        to.write_all(&(self.index.len() as u64).to_le_bytes())?;
        to.write_all(&self.listing.root_hash())?;
        to.write_all(MAGIC)?;
        Ok(to.flush()?)
    }
}

/// A kept output. Reading it blocks on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptOutput(PathBuf);

impl KeptOutput {
    /// Creates a reader of a kept file, which must have been written by this worker.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn open(&self) -> Result<File, ArtifactError> {
        File::open(&self.0).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ArtifactError::Gone,
            _ => error.into(),
        })
    }

    /// Returns the listing as it was on the job's disk; `known` if that is it.
    pub(super) fn listing(&self, known: Option<&Listing>) -> Result<Listing, ArtifactError> {
        let file = self.open()?;
        let broken = || io::Error::other(format!("the kept output {} is broken", self.0.display()));
        let length = file.metadata()?.len();
        let trailer_at = length.checked_sub(TRAILER_BYTES).ok_or_else(broken)?;
        let (mut index_len, mut root_hash, mut magic) = ([0; 8], [0; 32], [0; MAGIC.len()]);
        file.read_exact_at(&mut index_len, trailer_at)?;
        file.read_exact_at(&mut root_hash, trailer_at + 8)?;
        file.read_exact_at(&mut magic, trailer_at + 40)?;
        let index_len = u64::from_le_bytes(index_len);
        let archive_len = trailer_at.checked_sub(index_len).ok_or_else(broken)?;
        if magic != *MAGIC || index_len > MAX_INDEX_BYTES {
            return Err(broken().into());
        }
        if let Some(known) = known.filter(|known| known.root_hash == root_hash) {
            return Ok(known.clone());
        }
        let mut index = vec![0; usize::try_from(index_len).map_err(io::Error::other)?];
        file.read_exact_at(&mut index, archive_len)?;
        let index: Index = serde_json::from_slice(&index).map_err(|_| broken())?;
        let entries: Option<Vec<Entry>> = index.entries.into_iter().map(IndexEntry::entry).collect();
        let listing = Listing::new(entries.ok_or_else(broken)?, index.skipped);
        if listing.root_hash != root_hash || listing.archive_len() != archive_len {
            return Err(broken().into());
        }
        Ok(listing)
    }

    /// Returns a reader of the part of the archive from `start` to before `end`.
    pub(super) fn archive_range(
        &self,
        listing: &Listing,
        start: u64,
        end: u64,
    ) -> Result<FileReader, ArtifactError> {
        Ok(FileReader::new(
            self.open()?,
            start,
            end.min(listing.archive_len()),
        ))
    }

    /// Returns a reader of the part of an entry's content from `start` to before `end`.
    pub(super) fn file_range(
        &self,
        entry: &Entry,
        start: u64,
        end: u64,
    ) -> Result<FileReader, ArtifactError> {
        let listing = self.listing(None)?;
        let begin = listing.content_start(&entry.path).ok_or(ArtifactError::Gone)?;
        let position = |within: u64| begin.saturating_add(within.min(entry.size));
        Ok(FileReader::new(self.open()?, position(start), position(end)))
    }
}

impl Listing {
    /// Returns the position in the archive of a file's content.
    fn content_start(&self, path: &[u8]) -> Option<u64> {
        let index = self
            .entries
            .binary_search_by(|entry| entry.path[..].cmp(path))
            .ok()?;
        let headers = archive::headers(self.entries.get(index)?).len() as u64;
        Some(self.starts.get(index)?.saturating_add(headers))
    }
}
