//! What the worker asks of a container engine, and the one engine behind it: the Docker Engine API.
//!
//! A container is found again by its labels, so that a restart of the worker, or of the engine's service, loses
//! no job and starts none twice.

mod capture;
mod docker;
mod endpoint;
mod run;
mod wire;

use std::future::Future;

pub use capture::{Capture, CaptureTarget, OutputStream};
pub use docker::DockerEngine;
pub use endpoint::EngineEndpoint;
pub use run::{Exit, RunEnd, RunFact};

use crate::config::SlotShare;

/// Label with the job's number.
pub const LABEL_JOB: &str = "assay.job";

/// Label with the machine's number.
pub const LABEL_MACHINE: &str = "assay.machine";

/// Label with the worker key's public part: containers of other workers on the same engine are left alone.
pub const LABEL_WORKER: &str = "assay.worker";

/// Label with the job's fingerprint: a number alone repeats when a development chain is started anew.
pub const LABEL_FINGERPRINT: &str = "assay.fingerprint";

/// Most bytes that are kept of each output stream of a container.
pub const MAX_OUTPUT_BYTES: usize = 1024 * 1024;

/// Seconds between the request to end and the kill when a container is stopped.
pub const STOP_GRACE_SECONDS: u32 = 10;

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Where it was reached.
    pub endpoint: String,
    /// Name and version, such as `Podman Engine 4.3.1`.
    pub version: String,
    /// Processor cores that containers can use; zero when the engine does not say.
    pub cpu_cores: u32,
    /// Memory that containers can use, in MiB; zero when the engine does not say.
    pub memory_mib: u64,
}

/// The container of one job, as it is to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Who the container belongs to.
    pub identity: ContainerIdentity,
    /// The image by digest: `registry/repository@sha256:<hex>`.
    pub image: String,
    /// Arguments in place of the image's own; empty: the image's own.
    pub command: Vec<String>,
    /// Environment variables as `NAME=value`.
    pub environment: Vec<String>,
    /// Whether the container may use the network.
    pub network: bool,
    /// What it may use of the host.
    pub share: SlotShare,
}

/// By what a job's container is found again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerIdentity {
    /// The job.
    pub job: u64,
    /// The machine it runs on.
    pub machine: u64,
    /// Public part of the worker key, hexadecimal.
    pub worker: String,
    /// The job's fingerprint, hexadecimal.
    pub fingerprint: String,
}

impl ContainerIdentity {
    /// The container's name; the engine refuses a second container of the same name.
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

/// What the engine says that a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Made and never run.
    Created,
    /// Runs.
    Running,
    /// Paused: it has its memory and gets no processor.
    Paused,
    /// Ran and ended.
    Exited,
    /// Being stopped or restarted, or dead: it neither runs nor ended.
    Stuck,
    /// In a state that the engine has a word for and this worker has not.
    Unknown,
}

/// A container of this worker that the engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The engine's name of it.
    pub id: String,
    /// The job it belongs to.
    pub job: u64,
    /// That job's fingerprint.
    pub fingerprint: String,
    /// What it is doing.
    pub state: ContainerState,
    /// What was seen of its present run.
    pub run: RunFact,
}

/// Where the engine keeps images, and how much room is left there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineDisk {
    /// Free bytes for images.
    pub free_bytes: u64,
}

/// Why an engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No engine answers; trying again later may help.
    #[error(
        "no container engine answers at {endpoint}: {reason}; start it (`systemctl start docker`, or `podman system \
         service --time=0 unix:///run/podman/podman.sock`) or name another with `assay.engine`"
    )]
    Unreachable {
        /// Where it was looked for.
        endpoint: String,
        /// What was seen there.
        reason: String,
    },
    /// The engine answered that the request cannot be met as it is; the same request will fail again.
    #[error("the container engine refused to {action}: {reason}")]
    Refused {
        /// What was asked.
        action: String,
        /// The engine's answer.
        reason: String,
    },
    /// The engine failed in a way that may pass, such as a registry that does not answer.
    #[error("the container engine could not {action}: {reason}")]
    Failed {
        /// What was asked.
        action: String,
        /// The engine's answer.
        reason: String,
    },
}

impl EngineError {
    /// Whether the same request will fail again however often it is tried.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// An engine that runs containers.
pub trait ContainerEngine: Send + Sync + 'static {
    /// Whether the engine is there, and what it is.
    fn ping(&self) -> impl Future<Output = Result<EngineInfo, EngineError>> + Send;

    /// Whether the engine has an image under a name by digest. One with another digest there is refused.
    fn has_image(
        &self,
        image: &str,
        digest: [u8; 32],
    ) -> impl Future<Output = Result<bool, EngineError>> + Send;

    /// Room for images; `None` where it cannot be told, as of an engine on another host.
    fn disk(&self) -> impl Future<Output = Result<Option<EngineDisk>, EngineError>> + Send;

    /// Makes an image available by digest and returns the digest (`sha256`) that the engine verified for it.
    /// Ends the pull when it is dropped.
    fn pull(
        &self,
        image: &str,
        digest: [u8; 32],
    ) -> impl Future<Output = Result<[u8; 32], EngineError>> + Send;

    /// Creates a container and does not start it; returns the engine's name of it. One that exists already under the
    /// same identity is returned as it is.
    fn create(&self, spec: &ContainerSpec) -> impl Future<Output = Result<String, EngineError>> + Send;

    /// Starts a container and follows its run to its end, with all of its output; what came of it is in
    /// [`Self::list`]. One that is gone is no reason to refuse, but a failure.
    fn start(&self, id: &str, output: CaptureTarget) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Follows a run that was started before and that nobody follows any more. Its output so far was not
    /// seen, so that the whole of it will not be known.
    fn follow(&self, id: &str, output: CaptureTarget)
    -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Lets a paused container run on.
    fn unpause(&self, id: &str) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// The containers of a worker, running or not.
    fn list(&self, worker: &str) -> impl Future<Output = Result<Vec<Container>, EngineError>> + Send;

    /// Stops a container, by force after [`STOP_GRACE_SECONDS`], and removes it. One that is gone is fine.
    fn remove(&self, id: &str) -> impl Future<Output = Result<(), EngineError>> + Send;
}
