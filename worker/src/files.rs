//! The worker's files: read leniently, written atomically, and named in every error.
//!
//! A corrupted file is put aside as `NAME.broken-<n>`, and the worker goes on without it; the reader decides
//! on the consequences. Keys are never put aside, see [`crate::keys`]. A full or read-only disk ends nothing:
//! [`Disk`] remembers it, so that the worker takes no new jobs, and tests from time to time whether it
//! recovered.

use std::{
    collections::BTreeSet,
    error::Error,
    fmt, fs,
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

/// Maximum length of a file that is read, in bytes: more than twice the longest, an output stream.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Maximum number of files put aside under one name; further ones replace the last.
const MAX_PUT_ASIDE: u32 = 8;

/// Free space that a disk needs to count as writable, in bytes: more than any notes take.
const MIN_ROOM_BYTES: usize = 16 * 1024;

/// Name of the file with which free space is tested.
const PROBE: &str = ".probe";

/// An error of the system, with the action and the file that it concerns.
#[derive(Debug)]
struct Named {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, path, source } = self;
        write!(formatter, "cannot {action} {}: {source}", path.display())?;
        formatter.write_str(match source.kind() {
            kind if is_out_of_room(kind) => "; make room on its disk, the worker goes on by itself then",
            ErrorKind::ReadOnlyFilesystem => "; mount its disk writable",
            ErrorKind::PermissionDenied => "; give the worker's user access to it",
            _ => "",
        })
    }
}

impl Error for Named {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// Wraps an error with its file.
pub(crate) fn named(action: &'static str, path: &Path, source: io::Error) -> io::Error {
    let kind = source.kind();
    io::Error::new(
        kind,
        Named {
            action,
            path: path.to_owned(),
            source,
        },
    )
}

/// Returns true for errors that free space would resolve.
fn is_out_of_room(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// Returns true for write errors that concern the disk and not a single file.
fn is_of_disk(kind: ErrorKind) -> bool {
    is_out_of_room(kind) || matches!(kind, ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}

/// Reads a file; `None` if it does not exist.
///
/// # Errors
/// Also for a file that is longer than any that the worker writes.
pub(crate) fn read_if_present(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let read = || {
        let mut bytes = Vec::new();
        fs::File::open(path)?
            .take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::new(ErrorKind::InvalidData, "it is too long"));
        }
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named("read", path, error)),
    }
}

/// Writes a file atomically: after a crash it has either the old or the new content. Creates the folder if it
/// is missing.
pub(crate) fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    write_with_mode(folder, name, bytes, 0o666)
}

/// Writes like [`write_whole`]; the file has a mode, less the bits of the process's mask.
fn write_with_mode(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = folder.join(name);
    let unfinished = folder.join(format!(".{name}.new"));
    let write = || {
        fs::create_dir_all(folder)?;
        // One that a crash left may have another mode.
        let _ = fs::remove_file(&unfinished);
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        // The rename is durable only once the folder itself is on disk.
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| {
        // An unfinished file occupies space.
        let _ = fs::remove_file(&unfinished);
        named("write", &path, error)
    })
}

/// Removes a folder with its content; succeeds if it does not exist.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(named("remove", path, error)),
        _ => Ok(()),
    }
}

/// Returns the files that were put aside under this file's name.
pub(crate) fn put_aside_of(path: &Path) -> Vec<PathBuf> {
    (0..MAX_PUT_ASIDE)
        .map(|number| aside(path, number))
        .filter(|path| path.exists())
        .collect()
}

/// Renames an unusable file, and returns its new name.
pub(crate) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let number = (0..MAX_PUT_ASIDE)
        .find(|number| !aside(path, *number).exists())
        .unwrap_or(MAX_PUT_ASIDE - 1);
    let target = aside(path, number);
    fs::rename(path, &target).map_err(|error| named("move", path, error))?;
    Ok(target)
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".broken-{number}"));
    path.with_file_name(name)
}

/// Status of the disk with the worker's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DiskStatus {
    /// True if files can be written. Otherwise the worker takes no new jobs.
    pub writable: bool,
    /// The write error, with the remedy.
    pub problem: Option<String>,
    /// Corrupted files that were put aside since the worker started.
    pub broken_files: Vec<String>,
}

/// Outcome of reading a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found<T> {
    /// The file does not exist, and none was put aside.
    Nothing,
    /// The file was corrupted, now or earlier, and has not been written again.
    Broken,
    /// Content of a valid file.
    Whole(T),
}

impl<T> Found<T> {
    /// Returns the content if the file was valid.
    pub(crate) fn whole(self) -> Option<T> {
        match self {
            Self::Whole(content) => Some(content),
            Self::Nothing | Self::Broken => None,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    problem: Option<String>,
    /// Length of the largest failed write, in bytes: this much must fit for the problem to be over.
    wanted: usize,
    broken: BTreeSet<PathBuf>,
}

/// The disk with the worker's files; clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the disk's status.
    pub fn status(&self) -> DiskStatus {
        let state = self.state();
        DiskStatus {
            writable: state.problem.is_none(),
            problem: state.problem.clone(),
            broken_files: state
                .broken
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
        }
    }

    /// Returns the reason why files cannot be written, if they cannot.
    pub fn problem(&self) -> Option<String> {
        self.state().problem.clone()
    }

    /// Writes a file atomically; records a disk that takes no writes.
    pub(crate) fn write_whole(&self, folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
        let written = write_whole(folder, name, bytes);
        if let Err(error) = &written {
            self.note_failure(error, bytes.len());
        }
        written
    }

    /// Writes a file that its owner alone can read, like [`Self::write_if_possible`].
    pub(crate) fn write_secret_if_possible(&self, folder: &Path, name: &str, bytes: &[u8]) {
        if let Err(error) = write_with_mode(folder, name, bytes, 0o600) {
            self.note_failure(&error, bytes.len());
            tracing::error!(%error, "writing a state file failed; going on without it");
        }
    }

    /// Writes like [`Self::write_whole`]; a failure is only logged and shown in the status.
    pub(crate) fn write_if_possible(&self, folder: &Path, name: &str, bytes: &[u8]) {
        if let Err(error) = self.write_whole(folder, name, bytes) {
            tracing::error!(%error, "writing a state file failed; going on without it");
        }
    }

    /// Records a failed write of `bytes` bytes, if the disk caused it.
    fn note_failure(&self, error: &io::Error, bytes: usize) {
        if !is_of_disk(error.kind()) {
            return;
        }
        let mut state = self.state();
        state.wanted = state.wanted.max(bytes);
        if state.problem.is_none() {
            tracing::error!(%error, "the disk takes no writes; taking no new jobs until it does");
        }
        state.problem = Some(error.to_string());
    }

    /// Tests whether a folder's disk can be written, and has room for the largest write that failed.
    pub(crate) fn probe(&self, folder: &Path) -> DiskStatus {
        let wanted = self.state().wanted.clamp(MIN_ROOM_BYTES, MAX_FILE_BYTES as usize);
        let written = self.write_whole(folder, PROBE, &vec![0; wanted]);
        let _ = fs::remove_file(folder.join(PROBE));
        if written.is_ok() {
            let mut state = self.state();
            state.wanted = 0;
            if state.problem.take().is_some() {
                tracing::info!(folder = %folder.display(), "the disk takes writes again");
            }
        }
        self.status()
    }

    /// Reads a JSON file; a corrupted one is put aside.
    ///
    /// # Errors
    /// Errors of the system, which say nothing about the content.
    pub(crate) fn read_json<T: DeserializeOwned>(&self, path: &Path) -> io::Result<Found<T>> {
        let bytes = match read_if_present(path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) if put_aside_of(path).is_empty() => return Ok(Found::Nothing),
            Ok(None) => return Ok(Found::Broken),
            Err(error) if error.kind() == ErrorKind::InvalidData => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(serde_json::from_slice(&bytes).map_or_else(
            |error| {
                self.put_aside(path, &error.to_string());
                Found::Broken
            },
            Found::Whole,
        ))
    }

    /// Puts a corrupted file aside, and logs it once.
    fn put_aside(&self, path: &Path, reason: &str) {
        let moved = put_aside(path);
        let is_new = self.state().broken.insert(match &moved {
            Ok(target) => target.clone(),
            Err(_) => path.to_owned(),
        });
        match moved {
            Ok(target) => tracing::error!(
                file = %path.display(), kept_as = %target.display(), reason,
                "a corrupted file was put aside; going on without it. Restore it from a backup \
                 if there is one, and check the disk"
            ),
            // A disk that takes no writes: the file is found corrupted again at every read.
            Err(error) if is_new => tracing::error!(
                file = %path.display(), reason, %error,
                "putting a corrupted file aside failed; going on without it"
            ),
            Err(_) => (),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;

    use super::*;

    /// A file system of 64 KiB, if the tests may mount one.
    pub(crate) struct SmallDisk(tempfile::TempDir);

    impl SmallDisk {
        pub(crate) fn mount() -> Option<Self> {
            let folder = tempfile::tempdir().unwrap();
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
                .arg(folder.path())
                .status()
                .is_ok_and(|status| status.success());
            if !mounted {
                println!("no tmpfs can be mounted here: nothing is tested");
                return None;
            }
            Some(Self(folder))
        }

        pub(crate) fn path(&self) -> &Path {
            self.0.path()
        }

        /// Fills the disk until the returned file is removed.
        pub(crate) fn fill(&self) -> PathBuf {
            let path = self.path().join("ballast");
            let mut file = fs::File::create(&path).unwrap();
            let full = loop {
                if let Err(error) = file.write_all(&[1; 512]) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull);
            path
        }

        pub(crate) fn make_read_only(&self, is_read_only: bool) {
            let option = if is_read_only { "remount,ro" } else { "remount,rw" };
            let status = Command::new("mount")
                .args(["-o", option])
                .arg(self.path())
                .status()
                .unwrap();
            assert!(status.success());
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.path()).status();
        }
    }

    #[test]
    fn every_error_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("blocked");
        fs::write(&blocked, "no folder").unwrap();
        let error = write_whole(&blocked, "notes.json", b"1").unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&*blocked.join("notes.json").to_string_lossy()),
            "{error}"
        );
        let error = read_if_present(folder.path()).unwrap_err();
        assert!(
            error.to_string().contains(&*folder.path().to_string_lossy()),
            "{error}"
        );
        let long = folder.path().join("long");
        fs::File::create(&long)
            .unwrap()
            .set_len(MAX_FILE_BYTES + 1)
            .unwrap();
        let error = read_if_present(&long).unwrap_err();
        assert!(error.to_string().ends_with("long: it is too long"), "{error}");
    }

    #[test]
    fn broken_file_is_put_aside_under_a_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let path = folder.path().join("notes.json");
        for number in 0..MAX_PUT_ASIDE + 2 {
            fs::write(&path, format!("{{{number}")).unwrap();
            assert_eq!(disk.read_json::<u64>(&path).unwrap(), Found::Broken);
            assert!(!path.exists());
        }
        assert_eq!(disk.read_json::<u64>(&path).unwrap(), Found::Broken, "also later");
        let kept = put_aside_of(&path);
        assert_eq!(kept.len(), MAX_PUT_ASIDE as usize);
        assert_eq!(fs::read(&kept[0]).unwrap(), b"{0");
        assert_eq!(fs::read(&kept[7]).unwrap(), b"{9", "the newest is kept");
        fs::write(&path, "1").unwrap();
        assert_eq!(disk.read_json::<u64>(&path).unwrap(), Found::Whole(1));
        assert_eq!(
            disk.read_json::<u64>(&folder.path().join("none")).unwrap(),
            Found::Nothing
        );
        let status = disk.status();
        assert_eq!(status.broken_files.len(), MAX_PUT_ASIDE as usize);
        assert!(
            status.broken_files[0].ends_with("notes.json.broken-0"),
            "{status:?}"
        );
        assert!(status.writable, "a broken file says nothing about the disk");
    }

    #[test]
    fn full_disk_is_noticed_and_its_end_too() {
        let Some(small) = SmallDisk::mount() else { return };
        let disk = Disk::default();
        disk.write_whole(small.path(), "notes", b"before").unwrap();
        assert!(disk.probe(small.path()).writable);
        let ballast = small.fill();
        let error = disk.write_whole(small.path(), "notes", &[2; 4_096]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(
            fs::read(small.path().join("notes")).unwrap(),
            b"before",
            "the old content stands"
        );
        assert!(
            !small.path().join(".notes.new").exists(),
            "what was begun takes no room"
        );
        let problem = disk.problem().unwrap();
        assert!(problem.contains("/notes: No space left"), "{problem}");
        assert!(problem.contains("make room"), "{problem}");
        assert!(!disk.probe(small.path()).writable, "it is still full");

        fs::remove_file(ballast).unwrap();
        assert!(disk.probe(small.path()).writable);
        assert_eq!(disk.problem(), None);
    }

    #[test]
    fn read_only_disk_is_noticed_and_its_end_too() {
        let Some(small) = SmallDisk::mount() else { return };
        let disk = Disk::default();
        fs::write(small.path().join("torn"), "{").unwrap();
        small.make_read_only(true);
        let error = disk.write_whole(small.path(), "notes", b"1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
        assert!(disk.problem().unwrap().contains("mount its disk"));
        // A file that cannot be put aside stays, and does not count.
        assert_eq!(
            disk.read_json::<u64>(&small.path().join("torn")).unwrap(),
            Found::Broken
        );
        small.make_read_only(false);
        assert!(disk.probe(small.path()).writable);
    }
}
