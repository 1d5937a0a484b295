//! Output folders that the worker copied from disks of an engine's own, before the engine removed those.
//!
//! ```text
//! <state_dir>/outputs/<job>-<fingerprint>/<below>   content of the folder `below` the job's disk
//! <state_dir>/outputs/.<job>-<fingerprint>.new/     one that is not whole yet
//! <state_dir>/outputs/kept/<job>-<fingerprint>/     one that is kept after its lease
//! ```
//!
//! The engine writes them when a job's processes have ended, so a folder that is there is whole and does not
//! change.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{LeaseError, LeaseKey, disk::key_of_name};
use crate::files::named;

/// Name of the folder in the worker's state folder.
const FOLDER: &str = "outputs";

/// Name of the folder with those that are kept; no lease's folder has it: it has no hyphen.
const KEPT: &str = "kept";

/// Number of bytes in a block of a file's size on disk.
const BLOCK_BYTES: u64 = 512;

/// Copied output folders.
#[derive(Clone, Debug)]
pub struct EngineOutputs {
    folder: PathBuf,
}

impl EngineOutputs {
    /// Creates the source of the folders below a worker's state folder.
    pub fn below(state_dir: &Path) -> Self {
        Self {
            folder: state_dir.join(FOLDER),
        }
    }

    /// Returns the path that stands for a job's disk: it has the output folder, and nothing else of the disk.
    pub fn path(&self, key: &LeaseKey) -> PathBuf {
        self.folder.join(key.to_string())
    }

    /// Returns the path of a job's copied folder, if it is there or kept.
    pub fn copied(&self, key: &LeaseKey) -> Option<PathBuf> {
        [self.path(key), self.kept_path(key)]
            .into_iter()
            .find(|path| path.is_dir())
    }

    fn kept_path(&self, key: &LeaseKey) -> PathBuf {
        self.folder.join(KEPT).join(key.to_string())
    }

    /// Keeps a job's copied folder after its lease. All kept folders together have at most `bound` bytes; the
    /// oldest make way. Returns false if there is no copy, or if it is larger than the bound: then it goes
    /// with the lease.
    ///
    /// # Errors
    /// The system refuses.
    pub fn keep(&self, key: &LeaseKey, bound: u64) -> io::Result<bool> {
        let (from, to) = (self.path(key), self.kept_path(key));
        if to.is_dir() {
            return Ok(true);
        }
        if !from.is_dir() {
            return Ok(false);
        }
        let wanted = bytes_of(&from)?;
        if wanted > bound {
            return Ok(false);
        }
        let mut kept = Vec::new();
        for key in self.kept_keys()? {
            let path = self.kept_path(&key);
            let found = fs::metadata(&path)?;
            kept.push(((found.ctime(), found.ctime_nsec()), bytes_of(&path)?, path));
        }
        kept.sort_unstable();
        let mut total = kept
            .iter()
            .fold(wanted, |total, (_, bytes, _)| total.saturating_add(*bytes));
        for (_, bytes, path) in kept {
            if total <= bound {
                break;
            }
            fs::remove_dir_all(&path).map_err(|error| named("remove", &path, error))?;
            total = total.saturating_sub(bytes);
        }
        fs::create_dir_all(self.folder.join(KEPT))?;
        fs::rename(&from, &to).map_err(|error| named("rename", &from, error))?;
        Ok(true)
    }

    /// Removes a job's kept folder, if there is one.
    ///
    /// # Errors
    /// The system refuses.
    pub fn forget(&self, key: &LeaseKey) -> io::Result<()> {
        let path = self.kept_path(key);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named("remove", &path, error)),
            _ => Ok(()),
        }
    }

    /// Returns the jobs with a kept folder.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn kept_keys(&self) -> io::Result<Vec<LeaseKey>> {
        let names = names_in(&self.folder.join(KEPT))?;
        Ok(names.iter().filter_map(|name| key_of_name(name)).collect())
    }

    /// Removes a job's copied folder, whole or not, if there is one.
    ///
    /// # Errors
    /// The system refuses.
    pub fn remove(&self, key: &LeaseKey) -> Result<(), LeaseError> {
        let unfinished = unfinished(&self.path(key));
        for path in [self.path(key), unfinished] {
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(LeaseError::Failed(named("remove", &path, error).to_string()));
                }
                _ => (),
            }
        }
        Ok(())
    }

    /// Returns the jobs that have a copied folder.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn keys(&self) -> io::Result<Vec<LeaseKey>> {
        let mut keys = Vec::new();
        for name in names_in(&self.folder)? {
            let whole = name
                .strip_prefix('.')
                .and_then(|name| name.strip_suffix(".new"))
                .unwrap_or(&name);
            keys.extend(key_of_name(whole));
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }
}

/// Returns the names in a folder of the worker's own; none if it does not exist.
fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| named("read", folder, error))?,
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Returns the room that a folder takes on the disk, in bytes. Links are not followed.
fn bytes_of(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Of a link its own.
        let found = entry.metadata()?;
        bytes = bytes.saturating_add(found.blocks().saturating_mul(BLOCK_BYTES));
        if found.is_dir() {
            bytes = bytes.saturating_add(bytes_of(&entry.path())?);
        }
    }
    Ok(bytes)
}

/// Returns the path of a folder that is not whole yet.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn folders_are_found_again_and_removed() {
        let state = tempfile::tempdir().unwrap();
        let outputs = EngineOutputs::below(state.path());
        let key = |job| LeaseKey {
            job,
            fingerprint: "ab".into(),
        };
        assert_eq!(outputs.keys().unwrap(), []);
        fs::create_dir_all(outputs.path(&key(1)).join("out")).unwrap();
        fs::create_dir_all(unfinished(&outputs.path(&key(2)))).unwrap();
        fs::create_dir_all(state.path().join("outputs/other")).unwrap();
        assert_eq!(outputs.copied(&key(1)), Some(outputs.path(&key(1))));
        assert_eq!(outputs.copied(&key(2)), None);
        assert_eq!(outputs.keys().unwrap(), [key(1), key(2)]);
        for job in [1, 2, 2] {
            outputs.remove(&key(job)).unwrap();
        }
        assert_eq!(outputs.keys().unwrap(), []);
    }

    #[test]
    fn kept_folders_stay_after_the_lease_and_the_oldest_make_way() {
        let state = tempfile::tempdir().unwrap();
        let outputs = EngineOutputs::below(state.path());
        let key = |job| LeaseKey {
            job,
            fingerprint: "ab".into(),
        };
        let bound = 256 * 1_024;
        for job in 1..=3 {
            let out = outputs.path(&key(job)).join("out");
            fs::create_dir_all(&out).unwrap();
            fs::write(out.join("file"), vec![1; 100_000]).unwrap();
            std::os::unix::fs::symlink("/", out.join("link")).unwrap();
            assert!(outputs.keep(&key(job), bound).unwrap());
            // The lease ends.
            outputs.remove(&key(job)).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(outputs.keep(&key(3), bound).unwrap(), "it is kept already");
        assert_eq!(outputs.copied(&key(1)), None);
        assert!(outputs.copied(&key(2)).unwrap().join("out/file").exists());
        assert_eq!(outputs.keys().unwrap(), []);
        let mut kept = outputs.kept_keys().unwrap();
        kept.sort_unstable();
        assert_eq!(kept, [key(2), key(3)]);
        assert!(!outputs.keep(&key(4), bound).unwrap(), "there is none");
        let large = outputs.path(&key(5));
        fs::create_dir_all(&large).unwrap();
        fs::write(large.join("file"), vec![1; 300_000]).unwrap();
        assert!(!outputs.keep(&key(5), bound).unwrap());
        outputs.forget(&key(2)).unwrap();
        outputs.forget(&key(2)).unwrap();
        assert_eq!(outputs.kept_keys().unwrap(), [key(3)]);
    }
}
