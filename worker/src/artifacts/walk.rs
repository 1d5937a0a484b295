//! Walks a folder that a container may write concurrently, without leaving it.
//!
//! Each step opens one name in an open folder with `O_NOFOLLOW`, so a link that appears at any moment is an
//! error and does not lead out.

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, openat, readlinkat, statat},
    io::Errno,
};

use super::{
    ArtifactError, Entry, EntryKind, Listing, MAX_DEPTH, MAX_ENTRIES, MAX_PATH_BYTES, MAX_PATHS_BYTES, Stamp,
};

/// Age of a file's last change from which a further one shows in its times. File systems count in ticks of
/// some milliseconds, or in seconds.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Number of bytes that are hashed at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Attempts at hashing a file that becomes shorter meanwhile.
const MAX_ATTEMPTS: usize = 3;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opening must not wait for the other end of a pipe, and not take a terminal over.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

impl Folder {
    /// Opens a folder of the worker's own.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?))
    }

    fn open_folder(&self, name: &[u8]) -> Result<Self, ArtifactError> {
        openat(&self.0, name, FOLDER, Mode::empty())
            .map(Self)
            .map_err(translate)
    }

    /// Opens a regular file.
    fn open_file(&self, name: &[u8]) -> Result<File, ArtifactError> {
        let file = File::from(openat(&self.0, name, FILE, Mode::empty()).map_err(translate)?);
        if !file.metadata()?.is_file() {
            return Err(ArtifactError::NotAFile);
        }
        Ok(file)
    }
}

/// Translates the errors that the folder's owner can cause.
fn translate(error: Errno) -> ArtifactError {
    match error {
        Errno::NOENT => ArtifactError::NotFound,
        // A link; a name on the way that is no folder; a socket; a device without its driver.
        Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::NODEV => ArtifactError::NotAFile,
        Errno::NAMETOOLONG | Errno::INVAL => ArtifactError::NotFound,
        other => ArtifactError::System(other.into()),
    }
}

/// Splits a path into names; an error for one that could leave the folder.
fn names(path: &[u8]) -> Result<Vec<&[u8]>, ArtifactError> {
    if path.len() > MAX_PATH_BYTES {
        return Err(ArtifactError::NotFound);
    }
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let is_plain = |name: &&[u8]| !matches!(**name, [] | [b'.'] | [b'.', b'.']) && !name.contains(&0);
    if !names.iter().all(is_plain) || names.len() > MAX_DEPTH + 1 {
        return Err(ArtifactError::NotFound);
    }
    Ok(names)
}

/// Opens the folder at a path; the folder itself for the empty path.
pub(super) fn descend(folder: Folder, path: &[u8]) -> Result<Folder, ArtifactError> {
    if path.is_empty() {
        return Ok(folder);
    }
    names(path)?
        .into_iter()
        .try_fold(folder, |folder, name| folder.open_folder(name))
}

/// Opens the folder above a path; returns it with the last name.
fn parent<'a>(root: &Folder, path: &'a [u8]) -> Result<(Folder, &'a [u8]), ArtifactError> {
    let mut names = names(path)?;
    let last = names.pop().ok_or(ArtifactError::NotFound)?;
    let root = Folder(root.0.try_clone()?);
    let folder = names
        .into_iter()
        .try_fold(root, |folder, name| folder.open_folder(name))?;
    Ok((folder, last))
}

/// File or link that was found, not read yet.
#[derive(Debug)]
pub(super) struct Found {
    path: Vec<u8>,
    is_link: bool,
}

/// Outcome of a walk.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) files: Vec<Found>,
    /// Number of special files.
    pub(super) skipped: u64,
    entries: usize,
    path_bytes: usize,
}

impl Walked {
    fn count(&mut self, path: &[u8]) -> Result<(), ArtifactError> {
        let too_much = |limit: String| Err(ArtifactError::TooMuch { limit });
        self.entries += 1;
        self.path_bytes += path.len();
        if self.entries > MAX_ENTRIES {
            return too_much(format!("{MAX_ENTRIES} entries"));
        }
        if path.len() > MAX_PATH_BYTES {
            return too_much(format!("{MAX_PATH_BYTES} bytes in a path"));
        }
        if self.path_bytes > MAX_PATHS_BYTES {
            return too_much(format!("{MAX_PATHS_BYTES} bytes in all paths together"));
        }
        Ok(())
    }
}

/// Finds all files and links below a folder.
pub(super) fn walk(root: &Folder, stop: &AtomicBool) -> Result<Walked, ArtifactError> {
    let mut walked = Walked::default();
    // Folders on the way to the present one, each with its path.
    let mut open = vec![(Dir::read_from(&root.0).map_err(io::Error::from)?, Vec::new())];
    loop {
        let depth = open.len();
        let Some((folder, path)) = open.last_mut() else {
            break;
        };
        if stop.load(Ordering::Relaxed) {
            return Err(ArtifactError::Stopped);
        }
        let Some(entry) = folder.next() else {
            open.pop();
            continue;
        };
        let entry = entry.map_err(io::Error::from)?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let mut found_path = path.clone();
        if !found_path.is_empty() {
            found_path.push(b'/');
        }
        found_path.extend_from_slice(name);
        walked.count(&found_path)?;
        let above = folder.fd().map_err(io::Error::from)?;
        let kind = match statat(above, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode as RawMode),
            // Removed meanwhile.
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(io::Error::from(error).into()),
        };
        match kind {
            FileType::RegularFile | FileType::Symlink => walked.files.push(Found {
                path: found_path,
                is_link: kind == FileType::Symlink,
            }),
            FileType::Directory => {
                if depth > MAX_DEPTH {
                    return Err(ArtifactError::TooMuch {
                        limit: format!("{MAX_DEPTH} folders one in another"),
                    });
                }
                match openat(above, entry.file_name(), FOLDER, Mode::empty()).map_err(translate) {
                    Ok(inner) => {
                        let inner = Dir::new(inner).map_err(io::Error::from)?;
                        open.push((inner, found_path));
                    }
                    // Removed or replaced meanwhile.
                    Err(ArtifactError::NotFound | ArtifactError::NotAFile) => (),
                    Err(error) => return Err(error),
                }
            }
            _ => walked.skipped += 1,
        }
    }
    Ok(walked)
}

/// Finds the regular file at a path.
pub(super) fn find(root: &Folder, path: &[u8]) -> Result<Found, ArtifactError> {
    let (folder, name) = parent(root, path)?;
    let stat = statat(&folder.0, name, AtFlags::SYMLINK_NOFOLLOW).map_err(translate)?;
    if FileType::from_raw_mode(stat.st_mode as RawMode) != FileType::RegularFile {
        return Err(ArtifactError::NotAFile);
    }
    Ok(Found {
        path: path.to_vec(),
        is_link: false,
    })
}

/// Reads the metadata of a file or link; `None` if it is gone.
pub(super) fn read_entry(
    root: &Folder,
    found: Found,
    known: Option<&Listing>,
    stop: &AtomicBool,
) -> Result<Option<Entry>, ArtifactError> {
    let read = if found.is_link {
        read_link(root, found.path)
    } else {
        read_file(root, found.path, known, stop)
    };
    match read {
        Ok(entry) => Ok(Some(entry)),
        // Removed or replaced meanwhile.
        Err(ArtifactError::NotFound | ArtifactError::NotAFile) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_link(root: &Folder, path: Vec<u8>) -> Result<Entry, ArtifactError> {
    let (folder, name) = parent(root, &path)?;
    let stat = statat(&folder.0, name, AtFlags::SYMLINK_NOFOLLOW).map_err(translate)?;
    let target = readlinkat(&folder.0, name, Vec::new())
        .map_err(translate)?
        .into_bytes();
    Ok(Entry {
        mode: 0,
        size: target.len() as u64,
        hash: blake3::hash(&target).into(),
        stamp: Stamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: target.len() as u64,
            modified_ns: 0,
            changed_ns: 0,
        },
        kind: EntryKind::Link(target),
        is_settled: false,
        path,
    })
}

fn read_file(
    root: &Folder,
    path: Vec<u8>,
    known: Option<&Listing>,
    stop: &AtomicBool,
) -> Result<Entry, ArtifactError> {
    let (folder, name) = parent(root, &path)?;
    for _ in 0..MAX_ATTEMPTS {
        let file = folder.open_file(name)?;
        let (stamp, mode) = look_at(&file)?;
        let earlier = known
            .and_then(|listing| listing.find(&path))
            .filter(|entry| entry.is_settled && entry.stamp == stamp);
        let hash = match earlier {
            Some(entry) => Some(entry.hash),
            None => hash(file, stamp.size, stop)?,
        };
        // A file that grows is listed as it was; one that became shorter is read again.
        if let Some(hash) = hash {
            return Ok(Entry {
                kind: EntryKind::File,
                mode,
                size: stamp.size,
                hash,
                is_settled: stamp.is_settled(),
                stamp,
                path,
            });
        }
    }
    Err(ArtifactError::Changed)
}

impl Stamp {
    fn is_settled(&self) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        i128::try_from(now).unwrap_or(i128::MAX) - self.changed_ns.max(self.modified_ns)
            > SETTLED_AFTER.as_nanos() as i128
    }
}

/// Returns the identity of a file's content, and its permission bits.
fn look_at(file: &File) -> io::Result<(Stamp, u32)> {
    let metadata = file.metadata()?;
    let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    let stamp = Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.len(),
        modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
        changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
    };
    Ok((stamp, metadata.mode() & 0o777))
}

/// Returns the hash of the first `size` bytes of a file; `None` if it has fewer.
fn hash(mut file: File, size: u64, stop: &AtomicBool) -> Result<Option<[u8; 32]>, ArtifactError> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = size;
    while left > 0 {
        if stop.load(Ordering::Relaxed) {
            return Err(ArtifactError::Stopped);
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        match file.read(&mut chunk[..wanted]) {
            Ok(0) => return Ok(None),
            Ok(read) => {
                hasher.update(&chunk[..read]);
                left -= read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(hasher.finalize().into()))
}

/// Opens a listed file, if it is the same one and not shorter. The reader detects changed bytes by their
/// hash.
pub(super) fn open_listed(root: &Folder, entry: &Entry) -> Result<File, ArtifactError> {
    // The file, or a folder on the path, may have been replaced.
    let file = parent(root, &entry.path)
        .and_then(|(folder, name)| folder.open_file(name))
        .map_err(|error| match error {
            ArtifactError::NotFound | ArtifactError::NotAFile => ArtifactError::Changed,
            other => other,
        })?;
    let (stamp, _) = look_at(&file)?;
    let is_same = (stamp.device, stamp.inode) == (entry.stamp.device, entry.stamp.inode);
    if !is_same || stamp.size < entry.size {
        return Err(ArtifactError::Changed);
    }
    Ok(file)
}
