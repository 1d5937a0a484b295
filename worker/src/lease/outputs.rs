//! Output folders that the worker copied from disks of an engine's own, before the engine removed those.
//!
//! ```text
//! <state_dir>/outputs/<job>-<fingerprint>/<below>   content of the folder `below` the job's disk
//! <state_dir>/outputs/.<job>-<fingerprint>.new/     one that is not whole yet
//! ```
//!
//! The engine writes them when a job's processes have ended, so a folder that is there is whole and does not
//! change.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{LeaseError, LeaseKey, disk::key_of_name};
use crate::files::named;

/// Name of the folder in the worker's state folder.
const FOLDER: &str = "outputs";

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

    /// Returns the path of a job's copied folder, if it is there.
    pub fn copied(&self, key: &LeaseKey) -> Option<PathBuf> {
        Some(self.path(key)).filter(|path| path.is_dir())
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
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| named("read", &self.folder, error))?,
        };
        let mut keys = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
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
}
