//! Folders of a job's container: its disk, a writable root, and the volumes of its image.

use std::path::PathBuf;

use assay_client::manifest::{JobManifest, Profile};

use super::{
    LeaseError, LeaseKey, LeaseRequest,
    disk::{
        Disks, JobDisk,
        kept::{KeptOutcome, too_large},
        root::WritablePart,
    },
    outputs::EngineOutputs,
};
use crate::{
    artifacts::KeptOutput,
    engine::{BindMount, DiskRequest, OutputRequest},
};

/// Number of bytes in a GiB.
const GIB: u64 = 1_024 * 1_024 * 1_024;

/// Source of the folders.
#[derive(Clone, Debug)]
pub enum Storage {
    /// Each job gets a disk.
    Disks(Disks),
    /// The engine makes a disk for each container, and removes it with that. Before, it copies the output
    /// folder.
    Engine {
        /// Size of all slots' disks together, in GiB.
        gib: u32,
        /// Number of slots.
        slots: u8,
        /// Output folders that were copied.
        outputs: EngineOutputs,
        /// Maximum number of bytes of those that are kept after their jobs.
        kept_bytes: u64,
    },
    /// No job gets one, for this reason.
    None(String),
}

impl Default for Storage {
    fn default() -> Self {
        Self::None("the worker was set up without disks".to_owned())
    }
}

impl Storage {
    /// Makes the folders of a job as far as they are missing, and returns them as mounts of its container,
    /// outer folders first.
    ///
    /// # Errors
    /// A refusal if the manifest wants what this machine cannot hold to a limit.
    pub async fn take(&self, request: &LeaseRequest<'_>) -> Result<Vec<BindMount>, LeaseError> {
        let LeaseRequest { key, manifest, .. } = request;
        let disks = match self {
            Self::Disks(disks) => disks,
            Self::Engine { .. } if manifest.output.is_some() && self.of_engine(request).is_none() => {
                return Err(LeaseError::Refused(
                    "the manifest wants an output folder, and this machine has no disks: `shared_resources.storage_gb` is 0"
                        .to_owned(),
                ));
            }
            Self::Engine { .. } => return Ok(Vec::new()),
            Self::None(reason) => {
                return match wish(manifest) {
                    None => Ok(Vec::new()),
                    Some(wish) => Err(LeaseError::Refused(format!(
                        "the manifest wants {wish}, and this machine has no disks: {reason}"
                    ))),
                };
            }
        };
        let can_hold_root = JobDisk::can_hold(request.image);
        if wants_root(manifest) && !can_hold_root {
            return Err(LeaseError::Refused(
                "the manifest wants a writable root, and the worker cannot read the image's layers at the engine: the \
                 root has a limit only with an engine on this host whose storage driver is overlay (Podman) or overlay2 \
                 (Docker), and a worker that runs as root"
                    .into(),
            ));
        }
        let disk = disks.take(key, request.slots).await?;
        let work_dir = manifest.work_dir();
        let mut mounts = if wants_root(manifest) {
            disks
                .mount_root(key, request.image, WritablePart::Everything)
                .await?
        } else if can_hold_root && !request.image.volumes.is_empty() {
            disks
                .mount_root(key, request.image, WritablePart::Volumes)
                .await?
        } else {
            Vec::new()
        };
        mounts.retain(|mount| mount.target != work_dir);
        mounts.push(BindMount {
            source: disk.data(),
            target: work_dir.to_owned(),
            is_read_only: false,
        });
        mounts.sort_by(|one, other| one.target.cmp(&other.target));
        Ok(mounts)
    }

    /// Removes a job's folders with their content. Succeeds if it has none.
    pub async fn release(&self, key: &LeaseKey) -> Result<(), LeaseError> {
        match self {
            Self::Disks(disks) => disks.release(key).await,
            Self::Engine { outputs, .. } => outputs.remove(key),
            Self::None(_) => Ok(()),
        }
    }

    /// Keeps the folder `below` a job's disk after the disk, see [`Disks::keep_output`].
    pub async fn keep_output(&self, key: &LeaseKey, below: &str) -> KeptOutcome {
        match self {
            Self::Disks(disks) => disks.keep_output(key, below).await,
            Self::Engine {
                outputs, kept_bytes, ..
            } => keep_copied(outputs.clone(), key, *kept_bytes).await,
            Self::None(_) => KeptOutcome::NoDisk,
        }
    }

    /// Returns a job's kept output, if there is one.
    pub fn kept_output(&self, key: &LeaseKey) -> Option<KeptOutput> {
        match self {
            Self::Disks(disks) => disks.kept_output(key),
            Self::Engine { .. } | Self::None(_) => None,
        }
    }

    /// Returns the maximum number of bytes of all kept outputs together.
    pub fn kept_bound(&self) -> u64 {
        match self {
            Self::Disks(disks) => disks.kept_bound(),
            Self::Engine { kept_bytes, .. } => *kept_bytes,
            Self::None(_) => 0,
        }
    }

    /// Removes a job's kept output, if there is one.
    pub fn forget_output(&self, key: &LeaseKey) -> Result<(), LeaseError> {
        match self {
            Self::Disks(disks) => disks
                .forget_output(key)
                .map_err(|error| LeaseError::Failed(format!("the job's kept output: {error}"))),
            Self::Engine { outputs, .. } => outputs
                .forget(key)
                .map_err(|error| LeaseError::Failed(format!("the job's kept output: {error}"))),
            Self::None(_) => Ok(()),
        }
    }

    /// Returns the jobs with a kept output.
    pub fn kept_keys(&self) -> Vec<LeaseKey> {
        match self {
            Self::Disks(disks) => disks.kept_keys().unwrap_or_else(|error| {
                tracing::warn!(%error, "the folder of the kept outputs cannot be read");
                Vec::new()
            }),
            Self::Engine { outputs, .. } => outputs.kept_keys().unwrap_or_else(|error| {
                tracing::warn!(%error, "the folder of the kept outputs cannot be read");
                Vec::new()
            }),
            Self::None(_) => Vec::new(),
        }
    }

    /// Returns the disk that the engine makes for a job's container.
    pub(super) fn of_engine(&self, request: &LeaseRequest<'_>) -> Option<DiskRequest> {
        let Self::Engine {
            gib, slots, outputs, ..
        } = self
        else {
            return None;
        };
        let bytes = u64::from(*gib).saturating_mul(GIB) / u64::from((*slots).max(1));
        let bytes = bytes.saturating_mul(request.slots.into());
        (bytes > 0).then(|| DiskRequest {
            target: request.manifest.work_dir().to_owned(),
            bytes,
            output: relative_output(request.manifest).map(|below| OutputRequest {
                folder: outputs.path(&request.key),
                below,
            }),
        })
    }

    /// Returns the leases that have folders.
    pub fn keys(&self) -> Vec<LeaseKey> {
        match self {
            Self::Disks(disks) => disks.keys().unwrap_or_else(|error| {
                tracing::warn!(%error, "the folder of the jobs' disks cannot be read");
                Vec::new()
            }),
            Self::Engine { outputs, .. } => outputs.keys().unwrap_or_else(|error| {
                tracing::warn!(%error, "the folder of the jobs' outputs cannot be read");
                Vec::new()
            }),
            Self::None(_) => Vec::new(),
        }
    }

    /// Returns the path on the host of a job's own folder, if its disk is mounted.
    pub fn work_folder_now(&self, key: &LeaseKey) -> Option<PathBuf> {
        match self {
            Self::Disks(disks) => disks.data_if_mounted(key),
            Self::Engine { outputs, .. } => outputs.copied(key),
            Self::None(_) => None,
        }
    }

    /// Returns the path on the host of a job's own folder, which is mounted at its `work_dir`; of an engine's
    /// own disk the copy of its output folder, which is all that is left of it.
    pub async fn work_folder(&self, key: &LeaseKey) -> Result<PathBuf, LeaseError> {
        match self {
            Self::Disks(disks) => Ok(disks.mounted(key).await?.data()),
            Self::Engine { outputs, .. } => outputs.copied(key).ok_or_else(|| {
                LeaseError::Failed(
                    "the job's disk is the engine's own, and its output was not copied before its end"
                        .to_owned(),
                )
            }),
            Self::None(reason) => Err(LeaseError::Failed(format!("the job has no disk: {reason}"))),
        }
    }
}

/// Keeps the copy of a job's output folder. Removing old ones takes its time.
async fn keep_copied(outputs: EngineOutputs, key: &LeaseKey, bound: u64) -> KeptOutcome {
    let not_kept = |reason: String| {
        KeptOutcome::NotKept(format!("the output is not kept after the job's end: {reason}"))
    };
    let owned = key.clone();
    let keeping = tokio::task::spawn_blocking(move || {
        let is_kept = outputs.keep(&owned, bound)?;
        let has_copy = outputs.copied(&owned).is_some();
        Ok::<_, std::io::Error>((is_kept, has_copy))
    });
    match keeping.await {
        Ok(Ok((true, _))) => KeptOutcome::Kept,
        Ok(Ok((false, true))) => KeptOutcome::NotKept(too_large(bound.saturating_add(1), bound)),
        Ok(Ok((false, false))) => KeptOutcome::NoDisk,
        Ok(Err(error)) => not_kept(error.to_string()),
        Err(error) => not_kept(error.to_string()),
    }
}

/// Returns true if the container may write to its root.
pub(super) fn wants_root(manifest: &JobManifest) -> bool {
    manifest.writable_root || manifest.profile == Profile::Interactive
}

/// Returns the manifest's wish that only a disk fulfils, if it has one.
fn wish(manifest: &JobManifest) -> Option<&'static str> {
    if wants_root(manifest) {
        Some("a writable root")
    } else if manifest.output.is_some() {
        Some("an output folder")
    } else if manifest.work_dir.is_some() {
        Some("a disk")
    } else {
        None
    }
}

/// Returns the output folder of a manifest relative to its `work_dir`: empty if it is the whole disk.
pub fn relative_output(manifest: &JobManifest) -> Option<String> {
    let output = manifest.output.as_deref()?;
    let inner = output.strip_prefix(manifest.work_dir())?;
    Some(inner.trim_start_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{config::SlotShare, engine::ImageRoot};

    fn manifest(text: &str) -> JobManifest {
        let image = format!("a/b@sha256:{}", "ab".repeat(32));
        let text = format!(r#"{{"image":"{image}"{text}}}"#);
        JobManifest::from_bytes(text.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn machine_without_disks_refuses_what_needs_one_and_nothing_else() {
        let storage = Storage::None("no loop devices".into());
        let image = ImageRoot::default();
        let take = async |text: &str| {
            let request = LeaseRequest {
                key: LeaseKey {
                    job: 1,
                    fingerprint: "ab".into(),
                },
                slots: 1,
                share: SlotShare {
                    memory_mib: 64,
                    cpu_millis: 100,
                    processes: 16,
                },
                manifest: &manifest(text),
                image: &image,
            };
            storage.take(&request).await
        };
        assert_eq!(take("").await.unwrap(), []);
        for (text, wish) in [
            (r#","work_dir":"/work""#, "a disk"),
            (r#","output":"/work/out""#, "an output folder"),
            (r#","writable_root":true"#, "a writable root"),
            (r#","profile":"interactive""#, "a writable root"),
        ] {
            let error = take(text).await.unwrap_err();
            assert!(matches!(error, LeaseError::Refused(_)), "{error}");
            let expected =
                format!("the manifest wants {wish}, and this machine has no disks: no loop devices");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn output_is_relative_to_the_disk() {
        let relative = |text: &str| relative_output(&manifest(text));
        assert_eq!(relative(""), None);
        assert_eq!(relative(r#","output":"/work""#), Some(String::new()));
        assert_eq!(relative(r#","output":"/work/a/b""#), Some("a/b".into()));
        assert_eq!(
            relative(r#","work_dir":"/data","output":"/data/out""#),
            Some("out".into())
        );
    }
}
