//! The output folder as a part of a task's result.

use std::{io, path::PathBuf, sync::atomic::AtomicBool};

use super::JobStore;
use crate::{
    api::{MissingOutput, OutputFolders},
    artifacts::{ArtifactError, Output, OutputFolder},
    lease::{LeaseKey, Storage},
};

/// Outputs of this machine's jobs: on their disks, and kept after that as long as their notes.
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
    fn output(&self, job: u64, fingerprint: &str) -> Result<Output, MissingOutput> {
        let notes = self.store.stored_notes(job).map_err(MissingOutput::Failed)?;
        let Some(notes) = notes.filter(|notes| notes.fingerprint == fingerprint) else {
            return Err(MissingOutput::None);
        };
        let Some(below) = notes.output else {
            return Err(MissingOutput::None);
        };
        let key = LeaseKey {
            job,
            fingerprint: fingerprint.to_owned(),
        };
        // A kept output first: a reader of the disk would block its removal.
        if let Some(kept) = self.storage.kept_output(&key) {
            return Ok(Output::Kept(kept));
        }
        if let Some(disk) = self.storage.work_folder_now(&key) {
            return Ok(Output::Folder(OutputFolder::new(disk, below)));
        }
        Err(match notes.output_not_kept {
            Some(reason) => MissingOutput::NotKept(reason),
            None if notes.closed => MissingOutput::NotKept(ArtifactError::Gone.to_string()),
            None => MissingOutput::None,
        })
    }
}

/// Removes the kept outputs of jobs whose notes, and with them their logs, are gone.
pub(crate) fn forget_old_outputs(storage: &Storage, store: &JobStore) {
    for key in storage.kept_keys() {
        let is_known = match store.stored_notes(key.job) {
            // Notes that were lost may have lost the fingerprint.
            Ok(notes) => notes
                .is_some_and(|notes| notes.fingerprint == key.fingerprint || notes.fingerprint.is_empty()),
            Err(_) => true,
        };
        if !is_known && let Err(error) = storage.forget_output(&key) {
            tracing::warn!(job = key.job, %error, "removing the kept output of an old job failed");
        }
    }
}

/// Output folder as a part of a task's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutputPart {
    /// Root hash.
    pub(super) root_hash: [u8; 32],
    /// Length of the archive; `None` if the folder cannot be listed.
    pub(super) archive_len: Option<u64>,
}

/// Text whose BLAKE3 hash stands for an output folder that no listing can hold: one beyond a bound, or
/// something other than a folder. Every honest machine finds the same, so the task has a result all the same.
const UNUSABLE_OUTPUT: &[u8] = b"assay/output/unusable/v1";

/// Hashes the folder `relative` of a job's disk. The container must have ended.
///
/// # Errors
/// Errors of the system only, which do not depend on the content.
pub(super) async fn part_of_result(disk: PathBuf, relative: String) -> io::Result<OutputPart> {
    let listing = tokio::task::spawn_blocking(move || {
        OutputFolder::new(disk, relative).listing(None, &AtomicBool::new(false))
    });
    match listing.await.map_err(io::Error::other)? {
        Ok(listing) => Ok(OutputPart {
            root_hash: listing.root_hash(),
            archive_len: Some(listing.archive_len()),
        }),
        Err(ArtifactError::System(error)) => Err(error),
        Err(error @ (ArtifactError::TooMuch { .. } | ArtifactError::NotAFile | ArtifactError::NotFound)) => {
            tracing::warn!(%error, "the task's result has no listing of its output folder");
            Ok(OutputPart {
                root_hash: blake3::hash(UNUSABLE_OUTPUT).into(),
                archive_len: None,
            })
        }
        // The folder has no writer any more, and the read cannot be cancelled.
        Err(error @ (ArtifactError::Changed | ArtifactError::Stopped | ArtifactError::Gone)) => {
            Err(io::Error::other(error))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;

    async fn hex_of(disk: &Path, relative: &str) -> String {
        let part = part_of_result(disk.to_owned(), relative.into()).await.unwrap();
        hex::encode(part.root_hash)
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
