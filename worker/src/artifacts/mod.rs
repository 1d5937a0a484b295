//! A job's output folder as a list of entries, and as one archive with a content hash.
//!
//! The container may write to the folder concurrently, so nothing in it is trusted. The worker walks it from
//! one open folder to the next and follows no symbolic link; it reads regular files only; entries, depth and
//! names are bounded.
//!
//! [`assay_primitives::output`] has the bounds and defines the root hash.

mod archive;
mod kept;
mod walk;

use std::{io, path::PathBuf, sync::Arc, sync::atomic::AtomicBool};

use assay_primitives::output::ROOT_CONTEXT;

pub use archive::{ArchiveReader, FileReader};
pub use assay_primitives::output::{MAX_DEPTH, MAX_ENTRIES, MAX_PATH_BYTES, MAX_PATHS_BYTES};
pub(crate) use kept::KeptContent;
pub use kept::KeptOutput;

use crate::files::named;

/// Reason why an output folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The folder exceeds a bound.
    #[error(
        "the output folder has more than {limit}; pack its content into fewer files, for example by `tar` in the job"
    )]
    TooMuch {
        /// The bound.
        limit: String,
    },
    /// There is no such file.
    #[error("the output folder has no such file")]
    NotFound,
    /// The path names something other than a regular file.
    #[error(
        "this is a folder, a link or a special file of the output folder; only regular files can be read"
    )]
    NotAFile,
    /// A file became shorter, or another, since the folder was listed.
    #[error("the output folder changes while it is read; try again, or wait for the end of the job")]
    Changed,
    /// The output was kept, and is not any more.
    #[error(
        "the output is not kept any more: the room for kept outputs went to jobs that ended later; fetch an output before \
         you accept the job's result, or within a short time"
    )]
    Gone,
    /// The reader stopped.
    #[error("the request was given up")]
    Stopped,
    /// Reading failed.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Kind of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Regular file.
    File,
    /// Symbolic link with this target.
    Link(Vec<u8>),
}

/// Identity of a file's content: device, inode, size and times of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
    changed_ns: i128,
}

/// Entry of an output folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path below the folder; need not be text.
    pub path: Vec<u8>,
    /// Kind.
    pub kind: EntryKind,
    /// Permission bits; zero for a link.
    pub mode: u32,
    /// Size of the content in bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub hash: [u8; 32],
    stamp: Stamp,
    /// True if the file was unchanged for long enough that a later change shows in its stamp.
    is_settled: bool,
}

/// Content of an output folder at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    entries: Vec<Entry>,
    /// Number of sockets, pipes and devices, which have no entries.
    skipped: u64,
    root_hash: [u8; 32],
    /// Position in the archive of each entry, and of its end.
    starts: Vec<u64>,
}

impl Listing {
    /// Creates a listing of entries, which it sorts.
    fn new(mut entries: Vec<Entry>, skipped: u64) -> Self {
        entries.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        let root_hash = root_hash(&entries);
        let starts = archive::starts(&entries);
        Self {
            entries,
            skipped,
            root_hash,
            starts,
        }
    }

    /// Returns the entries, sorted by the bytes of their paths.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the number of sockets, pipes and devices, which have no entries.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the hash that covers all entries; see the [module](self).
    pub fn root_hash(&self) -> [u8; 32] {
        self.root_hash
    }

    /// Returns the length of the archive in bytes.
    pub fn archive_len(&self) -> u64 {
        archive::length(&self.starts)
    }

    /// Returns the entry of a path.
    pub fn find(&self, path: &[u8]) -> Option<&Entry> {
        self.entries
            .binary_search_by(|entry| entry.path[..].cmp(path))
            .ok()
            .map(|index| &self.entries[index])
    }
}

fn root_hash(entries: &[Entry]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(ROOT_CONTEXT);
    hasher.update(&(entries.len() as u64).to_le_bytes());
    for entry in entries {
        hasher.update(&[match entry.kind {
            EntryKind::File => 0,
            EntryKind::Link(_) => 1,
        }]);
        // A path is at most `MAX_PATH_BYTES` long.
        hasher.update(&(entry.path.len() as u32).to_le_bytes());
        hasher.update(&entry.path);
        hasher.update(&entry.mode.to_le_bytes());
        hasher.update(&entry.size.to_le_bytes());
        hasher.update(&entry.hash);
    }
    hasher.finalize().into()
}

/// Output folder of a job, on the host. Reading it blocks on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFolder {
    base: PathBuf,
    below: PathBuf,
}

impl OutputFolder {
    /// Creates a reader of the folder `below` the folder `base`. `below` may be anything that the container
    /// put there, even a link; `base` is the worker's.
    pub fn new(base: impl Into<PathBuf>, below: impl Into<PathBuf>) -> Self {
        Self {
            base: base.into(),
            below: below.into(),
        }
    }

    /// Lists the folder, and hashes the files whose hash is not `known` from an earlier listing. A folder
    /// that does not exist is empty.
    pub fn listing(&self, known: Option<&Listing>, stop: &AtomicBool) -> Result<Listing, ArtifactError> {
        let Some(root) = self.open()? else {
            return Ok(Listing::new(Vec::new(), 0));
        };
        let found = walk::walk(&root, stop)?;
        let mut entries = Vec::with_capacity(found.files.len());
        for file in found.files {
            entries.extend(walk::read_entry(&root, file, known, stop)?);
        }
        Ok(Listing::new(entries, found.skipped))
    }

    /// Returns the entry of one file, and hashes it unless its hash is `known`.
    pub fn entry(
        &self,
        path: &[u8],
        known: Option<&Listing>,
        stop: &AtomicBool,
    ) -> Result<Entry, ArtifactError> {
        let root = self.open()?.ok_or(ArtifactError::NotFound)?;
        let file = walk::find(&root, path)?;
        walk::read_entry(&root, file, known, stop)?.ok_or(ArtifactError::NotFound)
    }

    /// Opens a file of a listing.
    pub fn open_file(&self, entry: &Entry) -> Result<std::fs::File, ArtifactError> {
        let root = self.open()?.ok_or(ArtifactError::Changed)?;
        walk::open_listed(&root, entry)
    }

    /// Returns a reader of the part of the archive from `start` to before `end`.
    pub fn archive_range(&self, listing: Arc<Listing>, start: u64, end: u64) -> ArchiveReader {
        ArchiveReader::new(self.clone(), listing, start, end)
    }

    /// Opens the folder; `None` if it does not exist.
    fn open(&self) -> Result<Option<walk::Folder>, ArtifactError> {
        use std::os::unix::ffi::OsStrExt;
        let base = match walk::Folder::open(&self.base) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            base => base.map_err(|error| named("open", &self.base, error))?,
        };
        match walk::descend(base, self.below.as_os_str().as_bytes()) {
            Err(ArtifactError::NotFound) => Ok(None),
            folder => folder.map(Some),
        }
    }
}

/// Output of a job: on its disk, or kept after that. Reading it blocks on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Folder on the job's disk, which the container may write concurrently.
    Folder(OutputFolder),
    /// File with the content of the folder at the job's end.
    Kept(KeptOutput),
}

impl Output {
    /// Lists the output; files whose hash is not `known` from an earlier listing are hashed.
    pub fn listing(&self, known: Option<&Listing>, stop: &AtomicBool) -> Result<Listing, ArtifactError> {
        match self {
            Self::Folder(folder) => folder.listing(known, stop),
            Self::Kept(kept) => kept.listing(known),
        }
    }

    /// Returns the entry of one regular file.
    pub fn entry(
        &self,
        path: &[u8],
        known: Option<&Listing>,
        stop: &AtomicBool,
    ) -> Result<Entry, ArtifactError> {
        match self {
            Self::Folder(folder) => folder.entry(path, known, stop),
            Self::Kept(kept) => {
                let listing = kept.listing(known)?;
                if let Some(entry) = listing.find(path) {
                    return match entry.kind {
                        EntryKind::File => Ok(entry.clone()),
                        EntryKind::Link(_) => Err(ArtifactError::NotAFile),
                    };
                }
                let folder = [path, b"/"].concat();
                let is_folder = listing
                    .entries
                    .iter()
                    .any(|entry| entry.path.starts_with(&folder));
                Err(if is_folder {
                    ArtifactError::NotAFile
                } else {
                    ArtifactError::NotFound
                })
            }
        }
    }

    /// Returns a reader of the part of a file from `start` to before `end`.
    pub fn file_range(&self, entry: &Entry, start: u64, end: u64) -> Result<FileReader, ArtifactError> {
        match self {
            Self::Folder(folder) => Ok(FileReader::new(folder.open_file(entry)?, start, end)),
            Self::Kept(kept) => kept.file_range(entry, start, end),
        }
    }

    /// Returns a reader of the part of the archive from `start` to before `end`.
    pub fn archive_range(
        &self,
        listing: Arc<Listing>,
        start: u64,
        end: u64,
    ) -> Result<PartReader, ArtifactError> {
        Ok(match self {
            Self::Folder(folder) => PartReader::Folder(folder.archive_range(listing, start, end)),
            Self::Kept(kept) => PartReader::Kept(kept.archive_range(&listing, start, end)?),
        })
    }
}

/// Reads a part of an output's archive, piece by piece.
#[derive(Debug)]
pub enum PartReader {
    /// From the folder's files.
    Folder(ArchiveReader),
    /// From the kept file.
    Kept(FileReader),
}

impl PartReader {
    /// Returns the next piece, at most 64 KiB or the headers of an entry; `None` at the end of the part.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, ArtifactError> {
        match self {
            Self::Folder(reader) => reader.next_piece(),
            Self::Kept(reader) => reader.next_piece(),
        }
    }
}

#[cfg(test)]
mod tests;
