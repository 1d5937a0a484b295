//! The lease of a job: the resources of an assignment's container besides processor time and memory.
//!
//! ```text
//! manifest ─┐                    ┌─ devices: slots ↔ devices, durable ───┐
//!           ├─▶ Leases::take ────┼─ disk: a folder with a hard limit ────┼─▶ Lease ─▶ ContainerSpec
//! slots ────┘                    └─ network: one per job, ports, rules ──┘
//!                                                       Leases::release, once the job is gone
//! ```
//!
//! Taking and releasing are idempotent: the supervisor repeats a step that was interrupted anywhere.

pub mod disk;
mod network;
pub(crate) mod outputs;
pub mod profile;
mod storage;

use std::{collections::BTreeSet, fmt, path::PathBuf};

use assay_client::manifest::{JobManifest, NetworkAccess};
pub use outputs::EngineOutputs;
use serde::{Deserialize, Serialize};
pub use storage::{Storage, relative_output};

use crate::{
    config::SlotShare,
    devices::{Holding, JobDevices},
    engine::{
        BindMount, Container, ContainerNetwork, DeviceAccess, DiskRequest, EngineError, ImageRoot,
        PublishedPort,
    },
};

use network::NetworkLease;
pub use network::{
    ClusterNetworkParts, ClusterNetworks, HttpTarget, JobNetworkParts, JobNetworks, PortStatus,
};

/// Size of `/dev/shm` where the manifest names none, in MiB: the engines' default.
const DEFAULT_SHM_MIB: u32 = 64;

/// Identity of a lease: the job that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseKey {
    /// Number of the job.
    pub job: u64,
    /// Fingerprint of the job, which distinguishes it from a job of the same number on another chain.
    pub fingerprint: String,
}

impl fmt::Display for LeaseKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.job, self.fingerprint)
    }
}

/// Request for a lease.
#[derive(Clone, Debug)]
pub struct LeaseRequest<'a> {
    /// Job that holds the lease.
    pub key: LeaseKey,
    /// Number of slots of the assignment.
    pub slots: u8,
    /// Limits of all of these slots together.
    pub share: SlotShare,
    /// The job's manifest.
    pub manifest: &'a JobManifest,
    /// The image's files at the engine.
    pub image: &'a ImageRoot,
}

/// Resources of the host for one job's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Devices.
    pub devices: DeviceAccess,
    /// Slots and devices by their names.
    pub holding: Holding,
    /// Environment variables that override those of image and manifest.
    pub environment: Vec<String>,
    /// Disk that the engine makes.
    pub disk: Option<DiskRequest>,
    /// Folders and files.
    pub mounts: Vec<BindMount>,
    /// True if the container may write to its root.
    pub writable_root: bool,
    /// Size of `/dev/shm` in MiB.
    pub shm_mib: u32,
    /// Capabilities that the container keeps.
    pub capabilities: Vec<String>,
    /// Network.
    pub network: ContainerNetwork,
    /// Ports that the engine forwards.
    pub ports: Vec<PublishedPort>,
}

/// Reason why a lease cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// This host cannot give it; another attempt would fail the same way.
    #[error("{0}")]
    Refused(String),
    /// The attempt failed; a later one may succeed.
    #[error("{0}")]
    Failed(String),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Gives and takes back the leases of a machine.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    devices: JobDevices,
    networks: Option<JobNetworks>,
    cluster: Option<ClusterNetworks>,
    storage: Storage,
}

impl Leases {
    /// Adds slots and devices to the leases.
    pub fn with_devices(mut self, devices: JobDevices) -> Self {
        self.devices = devices;
        self
    }

    /// Adds networks to the leases. Without, every manifest that wants one is refused.
    pub fn with_networks(mut self, networks: JobNetworks) -> Self {
        self.networks = Some(networks);
        self
    }

    /// Adds networks whose rules the engine enforces.
    #[must_use]
    pub fn with_cluster(mut self, cluster: ClusterNetworks) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Adds folders to the leases.
    #[must_use]
    pub fn with_storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// Returns the source of the folders.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Compares the ledger of devices with the engine's containers.
    pub fn note_containers(&self, containers: &[Container]) {
        self.devices.note_containers(containers);
    }

    /// Returns the jobs' networks, if there are any.
    pub fn networks(&self) -> Option<&JobNetworks> {
        self.networks.as_ref()
    }

    /// Checks, before a container starts, that a job's lease is in force. Returns false if this process does
    /// not know the job's manifest, as after a restart: then [`Self::take`] must come first.
    pub async fn ensure(&self, key: &LeaseKey) -> Result<bool, LeaseError> {
        match &self.networks {
            Some(networks) => networks.ensure(key).await,
            None => Ok(true),
        }
    }

    /// Returns a job's published ports.
    pub fn ports(&self, key: &LeaseKey) -> Vec<PortStatus> {
        if let Some(cluster) = &self.cluster {
            return cluster.ports(key);
        }
        self.networks
            .as_ref()
            .map(|networks| networks.ports(key))
            .unwrap_or_default()
    }

    async fn take_network(&self, request: &LeaseRequest<'_>) -> Result<NetworkLease, LeaseError> {
        if let Some(cluster) = &self.cluster {
            return cluster.take(request).await;
        }
        match &self.networks {
            Some(networks) => networks.take(request).await,
            None if request.manifest.network == NetworkAccess::Off && request.manifest.ports.is_empty() => {
                Ok(NetworkLease {
                    network: ContainerNetwork::None,
                    ports: Vec::new(),
                })
            }
            None => Err(LeaseError::Refused(
                "the manifest wants a network or ports, and this worker has none for jobs".to_owned(),
            )),
        }
    }

    /// Gives a job its lease, or returns the one that it has.
    pub async fn take(&self, request: &LeaseRequest<'_>) -> Result<Lease, LeaseError> {
        let manifest = request.manifest;
        let shm_mib = manifest.shm_mib.unwrap_or(DEFAULT_SHM_MIB);
        let most_shm_mib = request.share.memory_mib / 2;
        if manifest.shm_mib.is_some() && shm_mib > most_shm_mib {
            return Err(LeaseError::Refused(format!(
                "the manifest wants {shm_mib} MiB of /dev/shm, and the job may have {most_shm_mib}: half of its memory"
            )));
        }
        let devices = self.devices.take(&request.key, request.slots).await?;
        let NetworkLease { network, ports } = self.take_network(request).await?;
        let mounts = self.storage.take(request).await?;
        let is_of_engine = matches!(self.storage, Storage::Engine { .. });
        Ok(Lease {
            devices: devices.access,
            holding: devices.holding,
            environment: devices.environment,
            mounts,
            disk: self.storage.of_engine(request),
            // The writable parts of the root lie on the job's disk, and are among the mounts, unless the
            // engine bounds what a container writes to its root.
            writable_root: is_of_engine && storage::wants_root(manifest),
            shm_mib: shm_mib.min(most_shm_mib.max(1)),
            capabilities: profile::capabilities(manifest.profile),
            network,
            ports,
        })
    }

    /// Takes back the lease of a job that is gone, if it has one.
    pub async fn release(&self, key: &LeaseKey) -> Result<(), LeaseError> {
        self.release_slots(key).await?;
        self.storage.release(key).await
    }

    /// Takes back all of a lease but its disk.
    pub async fn release_slots(&self, key: &LeaseKey) -> Result<(), LeaseError> {
        self.devices.release(key).await?;
        if let Some(networks) = &self.networks {
            networks.release(key).await?;
        }
        if let Some(cluster) = &self.cluster {
            cluster.release(key)?;
        }
        Ok(())
    }

    /// Takes back a lease's disk.
    pub async fn release_disk(&self, key: &LeaseKey) -> Result<(), LeaseError> {
        self.storage.release(key).await
    }

    /// Empties a job's disk before its container is replaced by another one.
    pub async fn wipe_disk(&self, key: &LeaseKey) -> Result<(), LeaseError> {
        self.storage.release(key).await?;
        // Another run has another output.
        self.storage.forget_output(key)
    }

    /// Returns the path on the host of a job's own folder, which its container has at `work_dir`.
    pub async fn work_folder(&self, key: &LeaseKey) -> Result<PathBuf, LeaseError> {
        self.storage.work_folder(key).await
    }

    /// Returns the leases that hold something on this host, whether or not their jobs are known.
    pub fn held(&self) -> BTreeSet<LeaseKey> {
        self.devices
            .holders()
            .into_iter()
            .chain(self.storage.keys())
            .collect()
    }
}
