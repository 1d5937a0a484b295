//! The output folder as a part of a task's result.

use std::{io, path::PathBuf, sync::atomic::AtomicBool};

use super::JobStore;
use crate::{
    api::OutputFolders,
    artifacts::{ArtifactError, OutputFolder},
    lease::{LeaseKey, Storage},
};

/// Output folders of this machine's jobs, for as long as they have their disks.
pub struct JobOutputs {
    storage: Storage,
    store: JobStore,
}

impl JobOutputs {
    /// Creates the source of the folders.
    pub fn new(storage: Storage, store: JobStore) -> Self {
        Self { storage, store }
    }
}

impl OutputFolders for JobOutputs {
    fn output_folder(&self, job: u64, fingerprint: &str) -> Option<OutputFolder> {
        let notes = self.store.stored_notes(job).ok()??;
        let below = notes.output.filter(|_| notes.fingerprint == fingerprint)?;
        let key = LeaseKey {
            job,
            fingerprint: fingerprint.to_owned(),
        };
        Some(OutputFolder::new(self.storage.work_folder_now(&key)?, below))
    }
}

/// Text whose BLAKE3 hash stands for an output folder that no listing can hold: one beyond a bound, or
/// something other than a folder. Every honest machine finds the same, so the task has a result all the same.
const UNUSABLE_OUTPUT: &[u8] = b"assay/output/unusable/v1";

/// Returns the root hash of the folder `relative` of a job's disk. The container must have ended.
///
/// # Errors
/// Errors of the system only, which say nothing about the content.
pub(super) async fn root_hash(disk: PathBuf, relative: String) -> io::Result<[u8; 32]> {
    let listing = tokio::task::spawn_blocking(move || {
        OutputFolder::new(disk, relative).listing(None, &AtomicBool::new(false))
    });
    match listing.await.map_err(io::Error::other)? {
        Ok(listing) => Ok(listing.root_hash()),
        Err(ArtifactError::System(error)) => Err(error),
        Err(error @ (ArtifactError::TooMuch { .. } | ArtifactError::NotAFile | ArtifactError::NotFound)) => {
            tracing::warn!(%error, "the task's result has no listing of its output folder");
            Ok(blake3::hash(UNUSABLE_OUTPUT).into())
        }
        // Nobody writes any more, and nobody stops the reader.
        Err(error @ (ArtifactError::Changed | ArtifactError::Stopped)) => Err(io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;

    async fn hex_of(disk: &Path, relative: &str) -> String {
        hex::encode(root_hash(disk.to_owned(), relative.into()).await.unwrap())
    }

    #[tokio::test]
    async fn every_folder_has_one_hash() {
        let disk = tempfile::tempdir().unwrap();
        let empty = hex_of(disk.path(), "").await;
        assert_eq!(
            hex_of(disk.path(), "missing").await,
            empty,
            "as one that was never written"
        );
        fs::create_dir(disk.path().join("out")).unwrap();
        fs::write(disk.path().join("out/file"), "content").unwrap();
        let whole = hex_of(disk.path(), "out").await;
        assert_ne!(whole, empty);
        fs::write(disk.path().join("beside"), "is no part of it").unwrap();
        assert_eq!(hex_of(disk.path(), "out").await, whole);
    }

    #[tokio::test]
    async fn what_is_no_folder_has_a_hash_too() {
        let disk = tempfile::tempdir().unwrap();
        symlink("/etc", disk.path().join("link")).unwrap();
        fs::write(disk.path().join("file"), "content").unwrap();
        let unusable = "4e7257165e0eb2aad831e8d14e0285909ff08b7a2e40930a5ba26254f62368c3";
        for name in ["link", "file"] {
            assert_eq!(hex_of(disk.path(), name).await, unusable, "{name}");
        }
    }
}
