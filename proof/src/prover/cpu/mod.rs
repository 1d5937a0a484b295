//! Prover for CPUs: all cores, and vector instructions if the CPU has them.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod kernel;
mod memory;
mod tile;
mod tree;
mod walk;

use std::{num::NonZeroUsize, time::Instant};

pub(crate) use kernel::Kernel;
pub(crate) use memory::Items;
use rayon::{ThreadPool, ThreadPoolBuilder};
pub(crate) use tile::LANES_SIDE_BY_SIDE;
pub use tree::Tree;
pub(crate) use walk::walk_pieces;

use super::{Commitment, Progress, Prover, ProverError, Stage, Watch, check_lanes};
use crate::{Hash, params::ChallengeParams, proof::SlotProof};

/// Options of a [`CpuProver`]. The default uses the whole machine.
#[derive(Clone, Debug, Default)]
pub struct CpuOptions {
    /// Number of threads; all cores if `None`.
    pub threads: Option<NonZeroUsize>,
    /// Instructions that the inner loops may use.
    pub instructions: Instructions,
    /// Part of the tree that is kept between commit and opening.
    pub kept_tree: KeptTree,
    /// Maximum memory to take, in bytes. Free memory as reported by the system is always a limit too, if the
    /// system reports it; the limit of a container is not read and belongs here.
    pub memory_limit_bytes: Option<u64>,
}

/// Instructions that the inner loops use; all give the same results.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Instructions {
    /// The fastest that the CPU has: AVX2 or scalar ones.
    #[default]
    Fastest,
    /// Instructions that every CPU of the architecture has.
    Scalar,
}

/// Part of the tree that is kept between commit and opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeptTree {
    /// The whole tree and no items: 64 bytes per lane.
    Whole,
    /// The items and the tree above subtrees; an opening walks the lanes of its subtree again.
    Pieces {
        /// Binary logarithm of the most leaves of a subtree, from 4 to 16. Subtrees are smaller if there are
        /// too few lanes to keep all threads busy.
        leaves_log2: u8,
    },
}

impl Default for KeptTree {
    fn default() -> Self {
        Self::Pieces { leaves_log2: 10 }
    }
}

impl KeptTree {
    /// Returns the lowest level that is kept, counted from the leaves.
    fn lowest_level(self, params: &ChallengeParams, threads: usize) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Pieces { leaves_log2 } => walk::lanes_log2_of_piece(leaves_log2.min(16), params, threads),
        }
    }
}

/// Prover on the cores and the memory of this computer.
#[derive(Debug)]
pub struct CpuProver {
    kernel: Kernel,
    pool: Pool,
    kept_tree: KeptTree,
    memory_limit_bytes: Option<u64>,
    held: Option<HeldCommitment>,
}

/// State that the latest commit keeps for its opening.
#[derive(Debug)]
struct HeldCommitment {
    commitment: Commitment,
    /// Lowest level of `tree`, counted from the leaves.
    lowest_level: u8,
    tree: Tree,
    /// Items; `None` if the tree reaches down to the leaves.
    items: Option<Items>,
}

impl CpuProver {
    /// Creates a prover. Fails only if no threads can be started.
    pub fn new(options: CpuOptions) -> Result<Self, ProverError> {
        Ok(Self {
            kernel: match options.instructions {
                Instructions::Fastest => Kernel::fastest(),
                Instructions::Scalar => Kernel::Scalar,
            },
            pool: Pool::new(options.threads)?,
            kept_tree: options.kept_tree,
            memory_limit_bytes: options.memory_limit_bytes,
            held: None,
        })
    }

    /// Returns the bytes that a commit may take now: those that the system can give without swapping, and no
    /// more than the limit; `None` if there is no limit and the system does not tell.
    pub fn free_bytes(&self) -> Option<u64> {
        memory::free_bytes(self.memory_limit_bytes)
    }

    /// Returns the bytes that a commit takes: the items, the kept part of the tree, and the threads' working
    /// memory.
    pub fn needed_bytes(&self, params: &ChallengeParams) -> u64 {
        let threads = self.pool.threads();
        let lowest_level = self.kept_tree.lowest_level(params, threads);
        let tree_bytes = (params.lanes() >> lowest_level).saturating_mul(2 * 32);
        Items::bytes(params.items)
            .saturating_add(tree_bytes)
            .saturating_add(walk::working_bytes(params, lowest_level, threads))
    }
}

impl Prover for CpuProver {
    fn name(&self) -> String {
        format!("CPU, {} threads, {}", self.pool.threads(), self.kernel.name())
    }

    fn commit(
        &mut self,
        params: &ChallengeParams,
        seed: &Hash,
        watch: &dyn Watch,
    ) -> Result<Commitment, ProverError> {
        self.release();
        params.validate()?;
        memory::check_free(self.needed_bytes(params), self.memory_limit_bytes)?;

        let kernel = self.kernel;
        let start = Instant::now();
        let items = Items::fill(params, params.items, seed, kernel, &self.pool, watch)?;
        let fill_time = start.elapsed();

        let start = Instant::now();
        let lowest_level = self.kept_tree.lowest_level(params, self.pool.threads());
        let lowest = walk_pieces(params, lowest_level, &self.pool, watch, |first_lane, ends| {
            kernel.walk(params, seed, items.as_slice(), first_lane, ends);
        })?;
        let tree = self.pool.run(|| Tree::new(lowest));
        let commitment = Commitment {
            params: *params,
            seed: *seed,
            root: tree.root(),
            fill_time,
            walk_time: start.elapsed(),
        };
        self.held = Some(HeldCommitment {
            commitment,
            lowest_level,
            tree,
            items: (lowest_level > 0).then_some(items),
        });
        Ok(commitment)
    }

    fn open(
        &mut self,
        commitment: &Commitment,
        lanes: &[u32],
        watch: &dyn Watch,
    ) -> Result<SlotProof, ProverError> {
        let held = self
            .held
            .as_ref()
            .filter(|held| held.commitment.is_same_answer(commitment))
            .ok_or(ProverError::NotHeld)?;
        let params = &held.commitment.params;
        check_lanes(params, lanes)?;

        let mut paths = Vec::with_capacity(lanes.len());
        for &lane in lanes {
            if watch.is_cancelled() {
                return Err(ProverError::Cancelled);
            }
            let piece = lane >> held.lowest_level;
            let mut path: Vec<Hash> = Vec::with_capacity(params.lanes_log2.into());
            if let Some(items) = &held.items {
                let first_lane = piece << held.lowest_level;
                let leaves = walk::leaves(first_lane, held.lowest_level, &self.pool, |lane, ends| {
                    self.kernel
                        .walk(params, &held.commitment.seed, items.as_slice(), lane, ends);
                });
                let subtree = self.pool.run(|| Tree::new(leaves));
                path.extend(subtree.siblings((lane - first_lane) as usize));
            }
            path.extend(held.tree.siblings(piece as usize));
            paths.push(path);
            watch.progress(Progress {
                stage: Stage::Open,
                done: paths.len() as u64,
                total: lanes.len() as u64,
            });
        }
        Ok(SlotProof::from_paths(paths).expect("lanes and levels of valid parameters fit a proof; qed"))
    }

    fn release(&mut self) {
        self.held = None;
    }
}

/// Thread pool of a prover.
#[derive(Debug)]
pub(crate) struct Pool(Option<ThreadPool>);

impl Pool {
    /// Starts so many threads; `None` shares the global pool of the process, one thread for each core.
    pub(crate) fn new(threads: Option<NonZeroUsize>) -> Result<Self, ProverError> {
        let pool = threads.map(|threads| {
            ThreadPoolBuilder::new()
                .num_threads(threads.get())
                .thread_name(|index| format!("prover-{index}"))
                .build()
        });
        pool.transpose()
            .map(Self)
            .map_err(|error| ProverError::Device(error.into()))
    }

    pub(crate) fn threads(&self) -> usize {
        self.0
            .as_ref()
            .map_or_else(rayon::current_num_threads, ThreadPool::current_num_threads)
    }

    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}
