//! Settings of a container, before its image is resolved.

use std::{collections::BTreeMap, fmt};

use crate::{
    manifest::{
        ImageReference, JobManifest, MANIFEST_VERSION, NetworkAccess, Profile, PublishPort, RegistryLogin,
        Secret,
    },
    types::AccountId,
};

/// Settings of a job's container and its wishes on the lease: a [`JobManifest`] without its image. Each field
/// means what the field of that name means there.
#[derive(Clone, PartialEq, Eq)]
pub struct ContainerSettings {
    /// Entrypoint; empty: the image's.
    pub entrypoint: Vec<String>,
    /// Command and arguments; empty: the image's, or none if there is an entrypoint.
    pub command: Vec<String>,
    /// Environment variables, added to those of the image.
    pub env: BTreeMap<String, String>,
    /// Files of `/run/secrets` by name. Sealed manifests only.
    pub secrets: BTreeMap<String, Secret>,
    /// Credentials for the registry of the image. Sealed manifests only.
    pub registry: Option<RegistryLogin>,
    /// Network access. Default: off.
    pub network: NetworkAccess,
    /// Ports of the container that the worker publishes.
    pub ports: Vec<PublishPort>,
    /// Path at which the lease's disk is mounted; `None`: `/work`.
    pub work_dir: Option<String>,
    /// Path of the folder whose content is part of a task's result, on the lease's disk.
    pub output: Option<String>,
    /// Makes the root writable, within the limit of the lease's disk.
    pub writable_root: bool,
    /// Size of `/dev/shm` in MiB; `None`: 64.
    pub shm_mib: Option<u32>,
    /// Rights of the container. Default: batch.
    pub profile: Profile,
    /// Name of a stronger runtime that must run the container.
    pub runtime: Option<String>,
    /// Accounts that may act for the consumer towards the worker.
    pub delegates: Vec<AccountId>,
    /// Makes a task's standard output part of its result. Default: true.
    pub capture_stdout: bool,
}

impl Default for ContainerSettings {
    fn default() -> Self {
        Self {
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
            registry: None,
            network: NetworkAccess::Off,
            ports: Vec::new(),
            work_dir: None,
            output: None,
            writable_root: false,
            shm_mib: None,
            profile: Profile::Batch,
            runtime: None,
            delegates: Vec::new(),
            capture_stdout: true,
        }
    }
}

impl ContainerSettings {
    /// Returns the manifest of these settings for an image. It is not checked.
    pub(super) fn to_manifest(&self, image: ImageReference) -> JobManifest {
        let Self {
            entrypoint,
            command,
            env,
            secrets,
            registry,
            network,
            ports,
            work_dir,
            output,
            writable_root,
            shm_mib,
            profile,
            runtime,
            delegates,
            capture_stdout,
        } = self.clone();
        JobManifest {
            version: MANIFEST_VERSION,
            image,
            entrypoint,
            command,
            env,
            secrets,
            registry,
            network,
            ports,
            work_dir,
            output,
            writable_root,
            shm_mib,
            profile,
            runtime,
            delegates,
            capture_stdout,
        }
    }
}

impl From<JobManifest> for ContainerSettings {
    fn from(manifest: JobManifest) -> Self {
        let JobManifest {
            version: _,
            image: _,
            entrypoint,
            command,
            env,
            secrets,
            registry,
            network,
            ports,
            work_dir,
            output,
            writable_root,
            shm_mib,
            profile,
            runtime,
            delegates,
            capture_stdout,
        } = manifest;
        Self {
            entrypoint,
            command,
            env,
            secrets,
            registry,
            network,
            ports,
            work_dir,
            output,
            writable_root,
            shm_mib,
            profile,
            runtime,
            delegates,
            capture_stdout,
        }
    }
}

impl fmt::Debug for ContainerSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of the environment may be secrets, which must not reach a log.
        formatter
            .debug_struct("ContainerSettings")
            .field("entrypoint", &self.entrypoint)
            .field("command", &self.command)
            .field("env", &self.env.keys())
            .field("secrets", &self.secrets.keys())
            .field("network", &self.network)
            .field("ports", &self.ports)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}
