//! Provers: the one interface of all back ends, and the back end for CPUs.
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
//! // The root is on chain, and later there is randomness that chooses the openings.
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

/// Answers challenges on one device, one slot at a time.
///
/// Every back end gives the same roots and proofs, bit by bit. All calls block until they are done or cancelled,
/// for as long as a deadline: run them on a thread of their own.
pub trait Prover: Send {
    /// The device and how it is driven, for people to read.
    fn name(&self) -> String;

    /// Fills the memory, walks all lanes and builds the tree.
    ///
    /// What [`Self::open`] needs is held until the next commit or [`Self::release`]; what an earlier commit left
    /// is released first. After an error nothing is held.
    fn commit(
        &mut self,
        params: &ChallengeParams,
        seed: &Hash,
        watch: &dyn Watch,
    ) -> Result<Commitment, ProverError>;

    /// Makes the proof of the latest commitment for the lanes that have to be opened, in their order.
    ///
    /// May be called again. Fails with [`ProverError::NotHeld`] when the commitment is not the one that is held,
    /// as after a restart: committing again with the same parameters and seed brings it back.
    fn open(
        &mut self,
        commitment: &Commitment,
        lanes: &[u32],
        watch: &dyn Watch,
    ) -> Result<SlotProof, ProverError>;

    /// Gives the memory back.
    fn release(&mut self);
}

/// A finished commit: what was answered, and how fast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commitment {
    /// What was challenged with.
    pub params: ChallengeParams,
    /// The seed of the slot and the round.
    pub seed: Hash,
    /// The top of the tree: what goes on chain.
    pub root: Hash,
    /// Time of filling the memory.
    pub fill_time: Duration,
    /// Time of walking the lanes and building the tree.
    pub walk_time: Duration,
}

impl Commitment {
    /// Items made per second of filling.
    pub fn items_per_second(&self) -> f64 {
        f64::from(self.params.items) / self.fill_time.as_secs_f64()
    }

    /// Reads of one item per second of walking.
    pub fn reads_per_second(&self) -> f64 {
        self.params.reads() as f64 / self.walk_time.as_secs_f64()
    }

    /// Bytes read per second of walking.
    pub fn bytes_per_second(&self) -> f64 {
        self.reads_per_second() * ITEM_BYTES as f64
    }

    /// Whether both answer the same challenge in the same way, however fast.
    pub fn is_same_answer(&self, other: &Self) -> bool {
        (self.params, self.seed, self.root) == (other.params, other.seed, other.root)
    }
}

/// Why a prover gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProverError {
    /// The parameters are out of range.
    #[error("the challenge has bad parameters: {0}")]
    Params(#[from] ParamsError),

    /// The device has less free memory than the challenge needs.
    #[error(
        "the challenge needs {} of memory and {} are free: {} are missing; end what else uses the memory, or \
         register the machine as a smaller class",
        Mebibytes(*needed_bytes),
        Mebibytes(*free_bytes),
        Mebibytes(needed_bytes.saturating_sub(*free_bytes))
    )]
    MemoryShort {
        /// Bytes of the items and of what is kept beside them.
        needed_bytes: u64,
        /// Bytes that were free or allowed.
        free_bytes: u64,
    },

    /// The system gave no memory, without saying how much there is.
    #[error("the system refused {} of memory", Mebibytes(*needed_bytes))]
    MemoryRefused {
        /// Bytes that were asked for.
        needed_bytes: u64,
    },

    /// The watch cancelled the work.
    #[error("the challenge was cancelled")]
    Cancelled,

    /// The commitment is not the one that the prover holds.
    #[error(
        "the prover does not hold this commitment any more; commit again with the same parameters and seed"
    )]
    NotHeld,

    /// The lanes to open are not as many as the class asks for.
    #[error("{given} lanes to open were given, but the class opens {expected}")]
    WrongLaneCount {
        /// How many were given.
        given: usize,
        /// How many the class opens.
        expected: u8,
    },

    /// A lane to open does not exist.
    #[error("lane {lane} was to be opened, but there are only {lanes}")]
    NoSuchLane {
        /// The lane.
        lane: u32,
        /// How many there are.
        lanes: u64,
    },

    /// The device or its driver failed.
    #[error("the device failed: {0}")]
    Device(#[source] Box<dyn Error + Send + Sync>),
}

/// What every back end checks before it opens lanes.
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

/// Shows bytes in MiB, rounded up so that what is missing never reads as nothing.
struct Mebibytes(u64);

impl std::fmt::Display for Mebibytes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} MiB", self.0.div_ceil(1 << 20))
    }
}
