//! The worker's status, as the HTTP interface shows it.

use std::collections::BTreeMap;

use assay_client::follow::Tip;
use serde::{Serialize, Serializer};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::{
    attestation::AttestationStatus, challenge::progress::AnswerProgress, config::Config, devices::SlotView,
    engine::EngineInfo, files::DiskStatus, health::HealthStatus, jobs::JobStatus, keys::Keys,
    market_status::MarketStatus,
};

/// Number of unfinalized blocks above which finality counts as a problem: one minute of blocks.
const MAX_UNFINALIZED_BLOCKS: u64 = 20;

/// Content of `GET /status`, before it is signed. It is public, so it reveals nothing of any one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Status {
    /// Version of the worker.
    pub version: &'static str,
    /// Account of the worker key, which signs the status.
    pub worker_key: String,
    /// Key that consumers encrypt to, hexadecimal.
    pub sealing_key: String,
    /// Number of the machine, once it is registered.
    pub machine: Option<u64>,
    /// The machine's last known status on chain: whether it takes new jobs, and if not, the remedy.
    #[serde(rename = "standing")]
    pub market_status: Option<MarketStatus>,
    /// Phase of the worker as a whole.
    pub phase: Phase,
    /// Instructions for the provider, without which this worker cannot serve a machine.
    pub waits_for_provider: Option<String>,
    /// Last known state of the chain.
    pub chain: ChainStatus,
    /// The disk with the worker's files.
    pub disk: DiskStatus,
    /// Parts of the worker that failed, with their errors. They restart by themselves.
    pub broken_parts: BTreeMap<&'static str, String>,
    /// Last known state of the container engine.
    pub engine: EngineStatus,
    /// The provider's declarations.
    pub declared: Declared,
    /// Progress of the answer to a hardware challenge, while one is computed.
    pub challenge: Option<AnswerProgress>,
    /// Status of the machine's attestation.
    pub attestation: AttestationStatus,
    /// The slots with their devices.
    pub slots: Vec<SlotView>,
    /// Heat and health of the devices.
    pub health: HealthStatus,
    /// Numbers of jobs.
    pub jobs: JobCounts,
    /// The part of the API that is for owners of jobs.
    pub owner_part: OwnerPartStatus,
}

/// Numbers of jobs that the chain has assigned to the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobCounts {
    /// Jobs that are not closed.
    pub open: usize,
    /// Jobs that the chain has as running.
    pub running: usize,
    /// Running jobs whose container is paused or stuck.
    pub halted: usize,
}

impl JobCounts {
    fn of(jobs: &[JobStatus]) -> Self {
        let count = |is: fn(&JobStatus) -> bool| jobs.iter().filter(|job| is(job)).count();
        Self {
            open: jobs.len(),
            running: count(|job| job.state == "running"),
            halted: count(JobStatus::is_halted),
        }
    }
}

/// The part of the API that is for owners of jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct OwnerPartStatus {
    /// Base URL.
    pub url: String,
    /// SHA-256 of the SubjectPublicKeyInfo of its certificate, once it is up.
    pub spki_sha256: Option<KeyHash>,
}

/// Phase of the worker as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Connects to the chain.
    Connecting,
    /// Registers its machine, or waits for the provider to do it.
    Registering,
    /// Runs jobs.
    Serving,
    /// Shuts down; containers go on.
    Stopping,
}

/// Last known state of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChainStatus {
    /// True while there is a connection.
    pub connected: bool,
    /// Hash of the genesis block.
    pub genesis_hash: Option<BlockHash>,
    /// Hash of the best block, which may yet be replaced.
    pub best_block_hash: Option<BlockHash>,
    /// Number of the best block.
    pub best_block: u64,
    /// Number of the newest finalized block.
    pub finalized_block: u64,
    /// Number of block subscriptions that were renewed because they fell silent.
    pub resubscriptions: u64,
    /// Problem of the chain's progress, and the worker's reaction.
    pub problem: Option<String>,
    /// Active time in milliseconds.
    pub active_time_ms: u64,
    /// The current epoch of Assay.
    pub epoch: u32,
}

impl ChainStatus {
    /// Records the chain's tip. Returns true if a problem came or went.
    pub fn note_tip(&mut self, tip: &Tip) -> bool {
        self.best_block_hash = Some(BlockHash(tip.best.hash));
        self.best_block = tip.best.number;
        self.finalized_block = tip.finalized.number;
        let behind = tip.unfinalized_blocks();
        let had_problem = self.problem.is_some();
        self.problem = (behind > MAX_UNFINALIZED_BLOCKS).then(|| {
            format!(
                "the newest {behind} blocks are not finalized; jobs and challenges go on by the best block, \
                 irreversible steps wait"
            )
        });
        self.problem.is_some() != had_problem
    }
}

/// Hash of a block; shown in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String)]
pub struct BlockHash(pub [u8; 32]);

impl Serialize for BlockHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_hash(&self.0, serializer)
    }
}

/// Hash of a public key; shown in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String)]
pub struct KeyHash(pub [u8; 32]);

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_hash(&self.0, serializer)
    }
}

fn serialize_hash<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("0x{}", hex::encode(hash)))
}

/// Last known state of the container engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct EngineStatus {
    /// True if it answers.
    pub reachable: bool,
    /// Name and version.
    pub version: Option<String>,
    /// Names of stronger runtimes that a manifest may ask for.
    pub runtimes: Vec<String>,
    /// Reason why it could not confine a job's container, with the remedy; the machine takes no jobs
    /// meanwhile.
    pub problem: Option<String>,
}

/// The provider's declarations in `worker.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Declared {
    /// Name of the provider.
    pub node_name: String,
    /// Number of slots offered.
    pub slots: u8,
    /// Number of CPU cores shared by all slots.
    pub cpu_cores: u16,
    /// Memory shared by all slots, in MiB.
    pub ram_mib: u32,
    /// Disk shared by all slots, in GiB.
    pub disk_gib: u32,
    /// Model of the GPUs, if there are any.
    pub gpu_model: Option<String>,
    /// True if the GPUs may be overclocked.
    pub gpu_overclock_allowed: bool,
    /// True if the provider wants to attest, independent of evidence.
    pub tee_wished: bool,
    /// Region code.
    pub region: String,
}

/// Shared storage of the status; clones share it.
///
/// The public part of the API reads the worker's status, the owner part that of jobs: neither holds a lock
/// that the other waits for, besides one for reading.
#[derive(Clone)]
pub struct StatusBoard {
    worker: watch::Sender<Status>,
    jobs: watch::Sender<Vec<JobStatus>>,
}

impl StatusBoard {
    /// Creates the status of a worker that has just started.
    pub fn new(config: &Config, keys: &Keys) -> Self {
        let gpus = config.resources.gpus.as_ref();
        let worker = watch::Sender::new(Status {
            version: env!("CARGO_PKG_VERSION"),
            worker_key: keys.worker_account().to_string(),
            sealing_key: format!("0x{}", hex::encode(keys.sealing_public())),
            machine: None,
            market_status: None,
            phase: Phase::Connecting,
            waits_for_provider: None,
            chain: ChainStatus::default(),
            disk: DiskStatus {
                writable: true,
                problem: None,
                broken_files: Vec::new(),
            },
            broken_parts: BTreeMap::new(),
            engine: EngineStatus::default(),
            declared: Declared {
                node_name: config.node.node_name.clone(),
                slots: config.slots(),
                cpu_cores: config.resources.cpu_cores,
                ram_mib: config.resources.ram_mib,
                disk_gib: config.resources.disk_gib,
                gpu_model: gpus.map(|gpus| gpus.model.clone()),
                gpu_overclock_allowed: gpus.is_some_and(|gpus| gpus.allow_overclock),
                tee_wished: config.network.enable_tee,
                region: config.assay.region.clone(),
            },
            challenge: None,
            attestation: AttestationStatus {
                sealing_key: keys.sealing_custody.name(),
                ..AttestationStatus::default()
            },
            slots: Vec::new(),
            health: HealthStatus::default(),
            jobs: JobCounts::default(),
            owner_part: OwnerPartStatus {
                url: config.assay.owner.endpoint.clone(),
                spki_sha256: None,
            },
        });
        Self {
            worker,
            jobs: watch::Sender::default(),
        }
    }

    /// Returns the current status.
    pub fn read(&self) -> Status {
        self.with(Status::clone)
    }

    /// Returns something of the current status.
    pub fn with<T>(&self, read: impl FnOnce(&Status) -> T) -> T {
        read(&self.worker.borrow())
    }

    /// Changes the status.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.worker.send_modify(change);
    }

    /// Replaces the status of all open jobs.
    pub fn set_jobs(&self, jobs: Vec<JobStatus>) {
        let counts = JobCounts::of(&jobs);
        self.jobs.send_replace(jobs);
        self.worker.send_modify(|status| status.jobs = counts);
    }

    /// Returns the status of an open job.
    pub fn job(&self, id: u64) -> Option<JobStatus> {
        self.jobs.borrow().iter().find(|job| job.id == id).cloned()
    }

    /// Records the engine's description; `None` if it does not answer.
    pub fn note_engine(&self, info: Option<&EngineInfo>) {
        self.update(|status| {
            status.engine.reachable = info.is_some();
            if let Some(info) = info {
                status.engine.version = Some(info.version.clone());
                status.engine.runtimes = info.runtimes.clone();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use assay_client::BlockId;

    use super::*;

    #[test]
    fn blocks_that_do_not_become_final_are_a_problem() {
        let block = |number| BlockId {
            number,
            hash: [number as u8; 32],
        };
        let tip = |best, finalized| Tip {
            best: block(best),
            finalized: block(finalized),
        };
        let mut chain = ChainStatus::default();
        assert!(!chain.note_tip(&tip(30, 10)));
        assert_eq!((chain.best_block, chain.finalized_block), (30, 10));
        assert!(chain.note_tip(&tip(31, 10)), "it is news");
        assert!(
            chain
                .problem
                .as_ref()
                .is_some_and(|problem| problem.contains("newest 21 blocks"))
        );
        assert!(!chain.note_tip(&tip(32, 10)), "and then it is none");
        assert!(chain.note_tip(&tip(33, 30)));
        assert_eq!(chain.problem, None);
    }
}
