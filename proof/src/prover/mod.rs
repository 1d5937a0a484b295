//! Provers: the common interface of all back ends, and the back end for CPUs.
//!
//! ```
//! use assay_proof::{ChallengeParams, SlotClaim, prover::{CpuProver, Prover}, seed};
//!
//! let params = ChallengeParams {
//!     items: 1 << 10, fill_double_rounds: 8, lanes_log2: 4, steps: 4, openings: 2, deadline_ms: 1_000,
//! };
//! let (machine_id, slot) = (7, 0);
//! let seed = seed(&[1; 32], machine_id, &[2; 32], slot);
//!
//! let mut prover = CpuProver::new(Default::default())?;
//! let commitment = prover.commit(&params, &seed, &())?;
//! // The root goes on chain; later a block's randomness chooses the openings.
//! let claim = SlotClaim {
//!     params, seed, opening_randomness: [3; 32], machine_id, slot, root: commitment.root,
//! };
//! let lanes: Vec<u32> = claim.opened_lanes().collect();
//! let proof = prover.open(&commitment, &lanes, &())?;
//! assert_eq!(claim.verify(&proof), Ok(()));
//! # Ok::<(), assay_proof::prover::ProverError>(())
//! ```

mod cpu;
mod self_test;
mod watch;

use std::{error::Error, time::Duration};

pub use cpu::{CpuOptions, CpuProver, Instructions, KeptTree, Tree};
pub use self_test::{SelfTestError, self_test};
pub use watch::{Cancel, Progress, Stage, Watch, WatchWith};

pub(crate) use cpu::{Items, Kernel, LANES_SIDE_BY_SIDE, Pool, walk_pieces};

use crate::{
    Hash,
    params::{ChallengeParams, ITEM_BYTES, ParamsError},
    proof::SlotProof,
};

/// Prover that answers challenges on one device, one slot at a time.
///
/// Every back end gives the same roots and proofs, bit by bit. All calls block until they are done or
/// cancelled, possibly for as long as a deadline: run them on a dedicated thread.
pub trait Prover: Send {
    /// Returns the device and its driver interface, for display.
    fn name(&self) -> String;

    /// Fills the memory, walks all lanes and builds the tree.
    ///
    /// Keeps the state for [`Self::open`] until the next commit or [`Self::release`], and releases an earlier
    /// commit's first. After an error it keeps nothing.
    fn commit(
        &mut self,
        params: &ChallengeParams,
        seed: &Hash,
        watch: &dyn Watch,
    ) -> Result<Commitment, ProverError>;

    /// Makes the proof of the latest commitment for the lanes to open, in their order.
    ///
    /// May be called again. Fails with [`ProverError::NotHeld`] if the prover does not hold this commitment,
    /// as after a restart: committing again with the same parameters and seed restores it.
    fn open(
        &mut self,
        commitment: &Commitment,
        lanes: &[u32],
        watch: &dyn Watch,
    ) -> Result<SlotProof, ProverError>;

    /// Frees the memory.
    fn release(&mut self);
}

/// Finished commit: the challenge, the answer and its times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commitment {
    /// Parameters of the challenge.
    pub params: ChallengeParams,
    /// Seed of the slot and the round.
    pub seed: Hash,
    /// Merkle root, which goes on chain.
    pub root: Hash,
    /// Duration of filling the memory.
    pub fill_time: Duration,
    /// Duration of walking the lanes and building the tree.
    pub walk_time: Duration,
}

impl Commitment {
    /// Returns the items made per second of filling.
    pub fn items_per_second(&self) -> f64 {
        f64::from(self.params.items) / self.fill_time.as_secs_f64()
    }

    /// Returns the reads of one item per second of walking.
    pub fn reads_per_second(&self) -> f64 {
        self.params.reads() as f64 / self.walk_time.as_secs_f64()
    }

    /// Returns the bytes read per second of walking.
    pub fn bytes_per_second(&self) -> f64 {
        self.reads_per_second() * ITEM_BYTES as f64
    }

    /// Returns true if both give the same answer to the same challenge, whatever their times.
    pub fn is_same_answer(&self, other: &Self) -> bool {
        (self.params, self.seed, self.root) == (other.params, other.seed, other.root)
    }
}

/// Reason for which a prover gives no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProverError {
    /// The parameters are out of range.
    #[error("the challenge has bad parameters: {0}")]
    Params(#[from] ParamsError),

    /// The device has less free memory than the challenge needs.
    #[error(
        "the challenge needs {} of memory and {} are free: {} are missing; stop other users of the memory, or \
         register the machine as a smaller class",
        Mebibytes(*needed_bytes),
        Mebibytes(*free_bytes),
        Mebibytes(needed_bytes.saturating_sub(*free_bytes))
    )]
    MemoryShort {
        /// Bytes of the items and of the memory beside them.
        needed_bytes: u64,
        /// Bytes that were free or allowed.
        free_bytes: u64,
    },

    /// The system refused the memory without reporting how much is free.
    #[error("the system refused {} of memory", Mebibytes(*needed_bytes))]
    MemoryRefused {
        /// Requested bytes.
        needed_bytes: u64,
    },

    /// The watch cancelled the work.
    #[error("the challenge was cancelled")]
    Cancelled,

    /// The prover does not hold this commitment.
    #[error("the prover no longer holds this commitment; commit again with the same parameters and seed")]
    NotHeld,

    /// The number of lanes to open is not that of the class.
    #[error("{given} lanes to open were given, but the class opens {expected}")]
    WrongLaneCount {
        /// Given number of lanes.
        given: usize,
        /// Number of lanes that the class opens.
        expected: u8,
    },

    /// A lane to open does not exist.
    #[error("lane {lane} was to be opened, but there are only {lanes}")]
    NoSuchLane {
        /// Number of the lane.
        lane: u32,
        /// Number of lanes in the challenge.
        lanes: u64,
    },

    /// The device or its driver failed.
    #[error("the device failed: {0}")]
    Device(#[source] Box<dyn Error + Send + Sync>),
}

/// Checks the lanes to open. Every back end calls this first.
pub fn check_lanes(params: &ChallengeParams, lanes: &[u32]) -> Result<(), ProverError> {
    if lanes.len() != usize::from(params.openings) {
        return Err(ProverError::WrongLaneCount {
            given: lanes.len(),
            expected: params.openings,
        });
    }
    match lanes.iter().find(|&&lane| u64::from(lane) >= params.lanes()) {
        None => Ok(()),
        Some(&lane) => Err(ProverError::NoSuchLane {
            lane,
            lanes: params.lanes(),
        }),
    }
}

/// Byte count displayed in MiB, rounded up so that a shortage is never displayed as zero.
struct Mebibytes(u64);

impl std::fmt::Display for Mebibytes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} MiB", self.0.div_ceil(1 << 20))
    }
}
