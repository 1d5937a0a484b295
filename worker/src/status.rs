//! What the worker knows of itself, as the HTTP interface shows it.

use std::collections::BTreeMap;

use assay_client::follow::Tip;
use serde::{Serialize, Serializer};
use tokio::sync::watch;

use crate::{
    attestation::AttestationStatus, challenge::progress::AnswerProgress, config::Config, engine::EngineInfo,
    files::DiskStatus, jobs::JobStatus, keys::Keys, market_status::MarketStatus,
};

/// Blocks that may not be final yet before that is a problem: a minute's.
const MAX_UNFINALIZED_BLOCKS: u64 = 20;

/// Everything that `GET /status` says, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Version of the worker.
    pub version: &'static str,
    /// The worker key's account, whose signature goes with this.
    pub worker_key: String,
    /// The key that consumers encrypt to, hexadecimal.
    pub sealing_key: String,
    /// The machine's number, once it is registered.
    pub machine: Option<u64>,
    /// How the machine stands on chain as it was last seen: whether it takes new jobs, and if not, what to do.
    #[serde(rename = "standing")]
    pub market_status: Option<MarketStatus>,
    /// What the worker is doing as a whole.
    pub phase: Phase,
    /// What the provider has to do before this worker can serve a machine.
    pub waits_for_provider: Option<String>,
    /// The chain as it was last seen.
    pub chain: ChainStatus,
    /// The disk with the worker's files.
    pub disk: DiskStatus,
    /// Parts of the worker that do not run well, and why. They begin again by themselves.
    pub broken_parts: BTreeMap<&'static str, String>,
    /// The container engine as it was last seen.
    pub engine: EngineStatus,
    /// What the provider declared.
    pub declared: Declared,
    /// The answer to a hardware challenge that is being made, if one is.
    pub challenge: Option<AnswerProgress>,
    /// How the machine's attestation stands.
    pub attestation: AttestationStatus,
    /// The open jobs.
    pub jobs: Vec<JobStatus>,
}

/// What the worker is doing as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Looks for the chain.
    Connecting,
    /// Brings its machine onto the chain, or waits until the provider does.
    Registering,
    /// Runs jobs.
    Serving,
    /// Ends; containers go on.
    Stopping,
}

/// The chain as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChainStatus {
    /// Whether there is a connection.
    pub connected: bool,
    /// Hash of the first block.
    pub genesis_hash: Option<BlockHash>,
    /// Hash of the newest block, which may yet be replaced by another.
    pub best_block_hash: Option<BlockHash>,
    /// Number of the newest block.
    pub best_block: u64,
    /// Number of the newest finalized block.
    pub finalized_block: u64,
    /// Times that subscriptions to blocks were made anew because they had fallen silent.
    pub resubscriptions: u64,
    /// What is wrong with how the chain goes on, and what the worker does meanwhile.
    pub problem: Option<String>,
    /// Active time in milliseconds.
    pub active_time_ms: u64,
    /// The current epoch of Assay.
    pub epoch: u32,
}

impl ChainStatus {
    /// Notes the ends of the chain. Returns true where a problem came or went.
    pub fn note_tip(&mut self, tip: &Tip) -> bool {
        self.best_block_hash = Some(BlockHash(tip.best.hash));
        self.best_block = tip.best.number;
        self.finalized_block = tip.finalized.number;
        let behind = tip.unfinalized_blocks();
        let had_problem = self.problem.is_some();
        self.problem = (behind > MAX_UNFINALIZED_BLOCKS).then(|| {
            format!(
                "the newest {behind} blocks are not final; jobs and challenges go on by the best block, and what cannot be \
                 undone waits"
            )
        });
        self.problem.is_some() != had_problem
    }
}

/// The hash of a block; shown in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHash(pub [u8; 32]);

impl Serialize for BlockHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("0x{}", hex::encode(self.0)))
    }
}

/// The container engine as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EngineStatus {
    /// Whether it answers.
    pub reachable: bool,
    /// Name and version.
    pub version: Option<String>,
}

/// What the provider declared in `worker.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Declared {
    /// The provider's name.
    pub node_name: String,
    /// Slots offered.
    pub slots: u8,
    /// CPU cores shared by all slots.
    pub cpu_cores: u16,
    /// Memory shared by all slots, in MiB.
    pub ram_mib: u32,
    /// Disk shared by all slots, in GiB.
    pub disk_gib: u32,
    /// The GPUs' model, where there are any.
    pub gpu_model: Option<String>,
    /// Whether the GPUs may be overclocked.
    pub gpu_overclock_allowed: bool,
    /// Whether the provider wishes to attest; says nothing about having attested.
    pub tee_wished: bool,
    /// The region code.
    pub region: String,
}

/// The one place in which the status is kept; clones share it.
#[derive(Clone)]
pub struct StatusBoard(watch::Sender<Status>);

impl StatusBoard {
    /// The status of a worker that has just begun.
    pub fn new(config: &Config, keys: &Keys) -> Self {
        let gpus = config.resources.gpus.as_ref();
        Self(watch::Sender::new(Status {
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
            jobs: Vec::new(),
        }))
    }

    /// The status as it is now.
    pub fn read(&self) -> Status {
        self.0.borrow().clone()
    }

    /// Changes the status.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.0.send_modify(change);
    }

    /// Notes what the engine says of itself.
    pub fn note_engine(&self, info: Option<&EngineInfo>) {
        self.update(|status| {
            status.engine.reachable = info.is_some();
            if let Some(info) = info {
                status.engine.version = Some(info.version.clone());
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
