//! The interface to a container engine, and its implementations: the Docker Engine API, and Kubernetes.
//!
//! Containers are found again by their labels, so a restart of the worker or of the engine's service loses no
//! job and starts none twice.

mod annotations;
mod any;
mod body;
mod capture;
mod docker;
mod endpoint;
mod exec;
mod gpus;
mod kubernetes;
mod loader;
mod network;
mod podman;
mod pull;
mod removal;
mod run;
mod runtimes;
mod seccomp;
mod session;
mod volumes;
mod wire;

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use assay_client::manifest::{ImageReference, PortProtocol, Profile, RegistryLogin};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use any::{Engine, KUBERNETES};
pub use capture::{Capture, CaptureTarget, OutputStream};
pub use docker::DockerEngine;
pub use endpoint::EngineEndpoint;
pub use exec::{ExecControl, ExecInput, ExecOutput, ExecSession, ExecSpec, TerminalSize};
pub use gpus::GpuInterface;
pub use kubernetes::{KubernetesEngine, KubernetesSettings, MAX_FENCE_TARGETS};
pub use network::{EngineNetwork, NetworkSpec};
pub use run::{Exit, RunEnd, RunFact};
pub use seccomp::ConfinementError;
pub use volumes::{MAX_VOLUMES, declared_volumes};

use crate::{config::SlotShare, devices::Holding};

/// Label with the number of the job.
pub const LABEL_JOB: &str = "assay.job";

/// Label with the number of the machine.
pub const LABEL_MACHINE: &str = "assay.machine";

/// Label with the public part of the worker key: the worker leaves containers of other workers on the same
/// engine alone.
pub const LABEL_WORKER: &str = "assay.worker";

/// Label with the job's fingerprint: a number alone repeats if a development chain is started anew.
pub const LABEL_FINGERPRINT: &str = "assay.fingerprint";

/// Label with the numbers of the job's slots, separated by commas.
pub const LABEL_SLOTS: &str = "assay.slots";

/// Label with the identities of the job's devices in the order of its slots, separated by commas.
pub const LABEL_DEVICES: &str = "assay.devices";

/// Maximum number of bytes that are kept of each output stream of a container.
pub const MAX_OUTPUT_BYTES: usize = 1024 * 1024;

/// Seconds between the stop signal and the kill when a container is stopped.
pub const STOP_GRACE_SECONDS: u32 = 10;

/// Description of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Endpoint at which the engine was reached.
    pub endpoint: String,
    /// Name and version, such as `Podman Engine 4.3.1`.
    pub version: String,
    /// Number of processor cores for containers; zero if the engine does not say.
    pub cpu_cores: u32,
    /// Memory for containers, in MiB; zero if the engine does not say.
    pub memory_mib: u64,
    /// Names of stronger runtimes that a manifest may ask for, sorted, at most 16.
    pub runtimes: Vec<String>,
}

/// Specification of the container of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Identity of the container.
    pub identity: ContainerIdentity,
    /// The image by digest: `registry/repository@sha256:<hex>`.
    pub image: String,
    /// Entrypoint that replaces the image's own; empty: the image's own.
    pub entrypoint: Vec<String>,
    /// Command that replaces the image's own; empty: the image's own.
    pub command: Vec<String>,
    /// Environment variables as `NAME=value`, added to those of the image.
    pub environment: Vec<String>,
    /// Limits of the host's resources.
    pub share: SlotShare,
    /// Size of `/dev/shm` in MiB.
    pub shm_mib: u32,
    /// Rights of the container.
    pub profile: Profile,
    /// Capabilities that the container keeps, such as `CHOWN`; all others are dropped.
    pub capabilities: Vec<String>,
    /// True if the container may write to its root.
    pub writable_root: bool,
    /// Name of the runtime that runs the container; `None` for the engine's default.
    pub runtime: Option<String>,
    /// Network of the container.
    pub network: ContainerNetwork,
    /// Ports that the engine forwards from the host.
    pub ports: Vec<PublishedPort>,
    /// Devices of the lease.
    pub devices: DeviceAccess,
    /// Slots and devices of the lease, for the container's labels.
    pub holding: Holding,
    /// Disk that the engine makes for the container; `None` if the container has none of the engine's.
    pub disk: Option<DiskRequest>,
    /// Folders of the host in the container.
    pub mounts: Vec<BindMount>,
}

/// Disk that an engine makes for a container, and removes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskRequest {
    /// Path in the container.
    pub target: String,
    /// Maximum size, in bytes.
    pub bytes: u64,
    /// Output folder that the engine copies before it removes the disk.
    pub output: Option<OutputRequest>,
}

/// Output folder on a disk that an engine makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputRequest {
    /// Folder below the disk; empty for all of it.
    pub below: String,
    /// Folder of the worker's host that stands for the disk from the end of the run on. It is there once the
    /// output is in it as a whole. An output that no listing can hold is replaced by one that is too deep.
    pub folder: PathBuf,
}

/// Network of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerNetwork {
    /// The container's own loopback interface only.
    None,
    /// Network at the engine.
    Named {
        /// Name of the network.
        name: String,
        /// Addresses of the container's resolvers.
        resolvers: Vec<Ipv4Addr>,
    },
    /// Network of the container's own, with rules that the engine enforces.
    Rules(NetworkRules),
}

/// Rules of a container's network, for an engine that enforces them. Everything else is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkRules {
    /// Destinations of the container's own connections.
    pub destinations: Vec<NetworkDestination>,
    /// Networks that are refused even within a destination.
    pub refused: Vec<Ipv4Net>,
    /// Ports of the container that anybody reaches.
    pub ports: Vec<(PortProtocol, u16)>,
    /// Addresses of the container's resolvers; none if it resolves no names.
    pub resolvers: Vec<Ipv4Addr>,
    /// Names that the container knows without a resolver.
    pub hosts: Vec<(String, Ipv4Addr)>,
    /// Limits of the container's traffic; `None` for none.
    pub bandwidth: Option<Bandwidth>,
}

/// Limits of a container's traffic, in bytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Limit of what it sends.
    pub upload: u64,
    /// Limit of what it receives.
    pub download: u64,
}

/// Destination of a container's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkDestination {
    /// Network.
    pub network: Ipv4Net,
    /// Port, of TCP and of UDP; `None` for all.
    pub port: Option<u16>,
}

/// Port of a container that the engine forwards from the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublishedPort {
    /// Address of the host.
    #[schema(value_type = String)]
    pub host_address: IpAddr,
    /// Port of the host.
    pub host_port: u16,
    /// Port of the container.
    pub container_port: u16,
    /// Protocol.
    #[schema(value_type = String)]
    pub protocol: PortProtocol,
}

/// Devices of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceAccess {
    /// No devices.
    None,
    /// Devices by their names of the Container Device Interface, such as `nvidia.com/gpu=GPU-<uuid>`.
    Cdi(Vec<String>),
    /// NVIDIA GPUs by UUID, through the engine's device requests.
    Nvidia(Vec<String>),
    /// Device nodes of the host, under the same paths, such as `/dev/kfd` and a render node.
    Nodes(Vec<PathBuf>),
}

/// Folder or file of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindMount {
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the container.
    pub target: String,
    /// True if the container cannot write to it.
    pub is_read_only: bool,
}

/// Identity by which a job's container is found again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerIdentity {
    /// Number of the job.
    pub job: u64,
    /// Number of the machine.
    pub machine: u64,
    /// Public part of the worker key, hexadecimal.
    pub worker: String,
    /// The job's fingerprint, hexadecimal.
    pub fingerprint: String,
}

impl ContainerIdentity {
    /// Returns the container's name; the engine refuses a second container of the same name.
    pub fn name(&self) -> String {
        let short = |text: &str| text.chars().take(12).collect::<String>();
        format!(
            "assay-{}-job-{}-{}",
            short(&self.worker),
            self.job,
            short(&self.fingerprint)
        )
    }
}

/// State of a container at the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Created and never run.
    Created,
    /// Running.
    Running,
    /// Paused: the container keeps its memory and gets no processor time.
    Paused,
    /// Ran and ended.
    Exited,
    /// Being stopped or restarted, or dead: it neither runs nor has ended.
    Stuck,
    /// In a state whose name this worker does not know.
    Unknown,
}

/// A container of this worker at the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The engine's identifier of the container.
    pub id: String,
    /// Number of the job.
    pub job: u64,
    /// Fingerprint of the job.
    pub fingerprint: String,
    /// Slots and devices of the job, by the container's labels.
    pub holding: Holding,
    /// State of the container.
    pub state: ContainerState,
    /// The worker's observation of the container's present run.
    pub run: RunFact,
}

/// Files of an image as the engine keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageRoot {
    /// Folders of the image's layers on this host, the uppermost first; empty if the engine does not keep
    /// them as folders, or does not say where.
    pub layers: Vec<PathBuf>,
    /// Volumes that the image declares, from [`declared_volumes`].
    pub volumes: Vec<String>,
}

/// An image at the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// Names of the image by digest: `registry/repository@sha256:<hex>`.
    pub references: Vec<String>,
    /// Size of its files, in bytes. Images may share some of them.
    pub bytes: u64,
}

impl StoredImage {
    /// Returns true if this is the image of a reference: under this name, or with the digest in it under
    /// another.
    pub fn is(&self, image: &str) -> bool {
        let digest = digest_part(image);
        self.references
            .iter()
            .any(|name| name == image || (digest.is_some() && digest_part(name) == digest))
    }
}

/// Returns the digest of an image's name, such as `sha256:<hex>`; `None` if it has none.
pub(crate) fn digest_part(image: &str) -> Option<&str> {
    image.rsplit_once('@').map(|(_, digest)| digest)
}

/// Free space where the engine keeps images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineDisk {
    /// Free space for images, in bytes.
    pub free_bytes: u64,
    /// Size of the file system with the images, in bytes.
    pub total_bytes: u64,
}

/// Program of an image, as its configuration names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageProcess {
    /// Entrypoint; may be empty.
    pub entrypoint: Vec<String>,
    /// Command, or arguments of the entrypoint; may be empty.
    pub command: Vec<String>,
}

/// Reason why a request to an engine failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No engine answers; a later attempt may succeed.
    #[error(
        "no container engine answers at {endpoint}: {reason}; start it (`systemctl start docker`, or `podman system \
         service --time=0 unix:///run/podman/podman.sock`) or name another with `assay.engine`"
    )]
    Unreachable {
        /// Endpoint that was tried.
        endpoint: String,
        /// Error of the attempt.
        reason: String,
    },
    /// The engine refused the request; the same request will fail again.
    #[error("the container engine refused to {action}: {reason}")]
    Refused {
        /// The requested action.
        action: String,
        /// The engine's answer.
        reason: String,
    },
    /// The engine failed in a way that may be temporary, such as a registry that does not answer.
    #[error("the container engine could not {action}: {reason}")]
    Failed {
        /// The requested action.
        action: String,
        /// The engine's answer.
        reason: String,
    },
}

impl EngineError {
    /// Returns true if the same request will fail again however often it is tried.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// Returns an error's text with all of its sources: the outermost text alone often says nothing.
fn with_sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// A container engine.
pub trait ContainerEngine: Send + Sync + 'static {
    /// Returns the engine's description, or an error if it does not answer.
    fn ping(&self) -> impl Future<Output = Result<EngineInfo, EngineError>> + Send;

    /// Returns true if the engine has an image of this digest, under this or another name. An image of
    /// another digest under this name is an error.
    fn has_image(
        &self,
        image: &str,
        digest: [u8; 32],
    ) -> impl Future<Output = Result<bool, EngineError>> + Send;

    /// Checks that the engine may request an image from its registry. One that pulls by itself, and not
    /// through the worker, may be directed anywhere by a registry that nobody vouches for.
    ///
    /// # Errors
    /// A refusal, if nobody does.
    fn check_registry(&self, image: &ImageReference) -> Result<(), EngineError> {
        let _ = image;
        Ok(())
    }

    /// Returns the free space for images; `None` if it cannot be determined, as for an engine on another
    /// host.
    fn disk(&self) -> impl Future<Output = Result<Option<EngineDisk>, EngineError>> + Send;

    /// Returns the program of an image that the engine has.
    fn image_process(&self, image: &str) -> impl Future<Output = Result<ImageProcess, EngineError>> + Send;

    /// Makes an image available by digest, and returns the SHA-256 digest that the engine verified. The
    /// registry's credentials are used for this request only. Dropping the future ends the pull.
    fn pull(
        &self,
        image: &str,
        digest: [u8; 32],
        login: Option<&RegistryLogin>,
    ) -> impl Future<Output = Result<[u8; 32], EngineError>> + Send;

    /// Returns the files of an image that the engine has.
    fn image_root(&self, image: &str) -> impl Future<Output = Result<ImageRoot, EngineError>> + Send {
        let _ = image;
        async { Ok(ImageRoot::default()) }
    }

    /// Lists the images that have a name by digest.
    fn images(&self) -> impl Future<Output = Result<Vec<StoredImage>, EngineError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Removes an image under this name, and under those that it got by a pull of this name; returns false if
    /// a container needs it. Succeeds if it is gone.
    fn remove_image(&self, image: &str) -> impl Future<Output = Result<bool, EngineError>> + Send {
        let _ = image;
        async { Ok(true) }
    }

    /// Creates a container without starting it, and returns the engine's identifier of it. Returns an
    /// existing container of the same identity as it is.
    fn create(&self, spec: &ContainerSpec) -> impl Future<Output = Result<String, EngineError>> + Send;

    /// Starts a container and follows its run with all of its output to the end; [`Self::list`] reports the
    /// end. If the container is gone, the error is [`EngineError::Failed`], not a refusal.
    fn start(&self, id: &str, output: CaptureTarget) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Follows a run that was started earlier and has no follower any more. Its output so far was not seen,
    /// so its whole output stays unknown.
    fn follow(&self, id: &str, output: CaptureTarget)
    -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Resumes a paused container.
    fn unpause(&self, id: &str) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Runs a command in a running container, attached to its input and output.
    fn exec(
        &self,
        id: &str,
        spec: &ExecSpec,
    ) -> impl Future<Output = Result<ExecSession, EngineError>> + Send {
        let _ = (id, spec);
        async {
            Err(EngineError::Refused {
                action: "run a command in a container".into(),
                reason: "it cannot".into(),
            })
        }
    }

    /// Lists the containers of a worker, running or not.
    fn list(&self, worker: &str) -> impl Future<Output = Result<Vec<Container>, EngineError>> + Send;

    /// Stops a container, by force after [`STOP_GRACE_SECONDS`], and removes it. Succeeds if the container is
    /// gone.
    fn remove(&self, id: &str) -> impl Future<Output = Result<(), EngineError>> + Send;
}
