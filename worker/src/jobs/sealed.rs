//! Steps of sealed jobs: their manifests come from the delivery, and their commands, environments and secrets
//! reach the container in memory; see [`crate::launch`].

use std::ops::Deref;

use assay_client::{
    manifest::{JobManifest, OpenedManifest},
    types::Manifest,
};
use assay_init::PROGRAM;
use sp_crypto_hashing::blake2_256;

use super::steps::{StepContext, StepError, StepExecutor};
use crate::{
    chain::WorkerChain,
    delivery::DeliveryError,
    engine::{ContainerEngine, ContainerSpec},
    launch::LaunchError,
};

/// A job's manifest, by its origin.
pub(super) enum JobSettings {
    /// From the chain.
    Public(Box<JobManifest>),
    /// Delivered, and wiped when dropped.
    Sealed(Box<OpenedManifest>),
}

impl Deref for JobSettings {
    type Target = JobManifest;

    fn deref(&self) -> &JobManifest {
        match self {
            Self::Public(manifest) => manifest,
            Self::Sealed(manifest) => manifest,
        }
    }
}

impl From<DeliveryError> for StepError {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Store(error) => Self::Store(error),
            other => Self::Delivery(other.to_string()),
        }
    }
}

impl From<LaunchError> for StepError {
    fn from(error: LaunchError) -> Self {
        match error {
            LaunchError::Io(error) => Self::Store(error),
            other => Self::Refused(other.to_string()),
        }
    }
}

impl<C: WorkerChain, E: ContainerEngine> StepExecutor<C, E> {
    /// Returns the job's manifest from the chain or from the delivery.
    pub(super) async fn settings_of(&self, on: &StepContext) -> Result<JobSettings, StepError> {
        let refused = |reason: String| Err(StepError::Refused(reason));
        let manifest = match on.job.manifest {
            Manifest::Sealed { hash } => {
                let key = self.lease_key(on.id, &on.notes.fingerprint);
                JobSettings::Sealed(Box::new(self.delivery.manifest(&key, &hash.0)?))
            }
            Manifest::Public(manifest) => {
                let Some(bytes) = self.chain.manifest_bytes(&manifest).await? else {
                    return refused("its manifest is not on chain".into());
                };
                if blake2_256(&bytes) != manifest.hash.0 {
                    return refused(
                        "the manifest from the node does not have the hash that the order names".into(),
                    );
                }
                match JobManifest::from_bytes(&bytes) {
                    Ok(manifest) => JobSettings::Public(Box::new(manifest)),
                    Err(error) => return refused(error.to_string()),
                }
            }
        };
        let ordered = on.job.image_digest;
        if manifest.image.digest() != ordered {
            return refused(format!(
                "the manifest's image has the digest {}, and the order names sha256:{}",
                manifest.image.digest_text(),
                hex::encode(ordered)
            ));
        }
        Ok(manifest)
    }

    /// Changes the specification of a sealed job's container so that the engine gets neither command nor
    /// environment, but the folder in memory with both. The specification was made of
    /// [`JobManifest::without_secrets`].
    pub(super) async fn hide(
        &self,
        on: &StepContext,
        manifest: &JobManifest,
        spec: &mut ContainerSpec,
    ) -> Result<(), StepError> {
        let process = self.engine.image_process(&spec.image).await?;
        let key = self.lease_key(on.id, &on.notes.fingerprint);
        // The engine has the lease's variables as well: runtimes of devices read them before the program
        // starts.
        let mounts = self.launcher.write(&key, manifest, &process, &spec.environment)?;
        spec.entrypoint = vec![PROGRAM.to_owned()];
        spec.command = Vec::new();
        spec.mounts.extend(mounts);
        Ok(())
    }

    /// Makes the folder in memory of a sealed job again if it is gone, as after a restart of the host: the
    /// container would not start without it.
    pub(super) async fn ensure_launch(&self, on: &StepContext) -> Result<(), StepError> {
        let key = self.lease_key(on.id, &on.notes.fingerprint);
        if !matches!(on.job.manifest, Manifest::Sealed { .. }) || self.launcher.is_ready(&key) {
            return Ok(());
        }
        let manifest = self.settings_of(on).await?;
        let process = self
            .engine
            .image_process(&manifest.image.pull_reference())
            .await?;
        let lease = self.take_lease(on, &manifest).await?;
        self.launcher
            .write(&key, &manifest, &process, &lease.environment)?;
        Ok(())
    }
}
