//! Measures a prover that stores only a fraction of the items, for the choice of parameters and for tests.
//!
//! This cheat is an efficient one: it makes missing items with the same vector instructions as the honest
//! prover, and collects them over many lanes so that vectors are full. Its answer is right, but late.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use crate::{
    Hash,
    lane::{LANE_DOMAIN, item_index},
    params::{ChallengeParams, STEP_DOUBLE_ROUNDS},
    permute::{Words, block},
    prover::{Items, Kernel, LANES_SIDE_BY_SIDE, Pool, ProverError, Tree, Watch, walk_pieces},
};

/// Binary logarithm of the number of lanes whose missing items are made together.
const TOGETHER_LOG2: u8 = 10;

/// Fraction of the items that is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StoredFraction {
    percent: u8,
}

impl StoredFraction {
    /// Returns the fraction of so many percent; more than a hundred means all items.
    pub fn from_percent(percent: u8) -> Self {
        Self {
            percent: percent.min(100),
        }
    }

    /// Returns the number of stored items out of `items`; the first ones are stored.
    pub fn of(self, items: u32) -> u32 {
        // At most `items`, since the fraction is at most one.
        (u64::from(items) * u64::from(self.percent) / 100) as u32
    }
}

/// Result of a commit with a fraction of the items.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FractionCommit {
    /// Merkle root, the same as an honest prover's.
    pub root: Hash,
    /// Time spent on the stored items.
    pub fill_time: Duration,
    /// Time spent on the walk, including the items that are not stored, and on the tree.
    pub walk_time: Duration,
}

/// Commits with only a fraction of the items stored; makes the others at every read.
///
/// Uses all cores if `threads` is `None`.
pub fn commit_with_fraction(
    params: &ChallengeParams,
    seed: &Hash,
    fraction: StoredFraction,
    threads: Option<NonZeroUsize>,
    watch: &dyn Watch,
) -> Result<FractionCommit, ProverError> {
    params.validate()?;
    let pool = Pool::new(threads)?;
    let kernel = Kernel::fastest();
    let stored_count = fraction.of(params.items);

    let start = Instant::now();
    let stored = Items::fill(params, stored_count, seed, kernel, &pool, watch)?;
    let fill_time = start.elapsed();

    let start = Instant::now();
    let reader = Reader {
        params,
        seed,
        kernel,
        stored: &stored,
        stored_count,
    };
    let piece_log2 = TOGETHER_LOG2.min(params.lanes_log2);
    let tops = walk_pieces(params, piece_log2, &pool, watch, |first_lane, ends| {
        reader.walk(first_lane, ends);
    })?;
    let root = pool.run(|| Tree::new(tops)).root();
    Ok(FractionCommit {
        root,
        fill_time,
        walk_time: start.elapsed(),
    })
}

struct Reader<'a> {
    params: &'a ChallengeParams,
    seed: &'a Hash,
    kernel: Kernel,
    stored: &'a Items,
    stored_count: u32,
}

impl Reader<'_> {
    /// Walks lanes in lockstep, so that the missing items of all of them are made together.
    fn walk(&self, first_lane: u32, accumulators: &mut [Words]) {
        for (lane, accumulator) in (first_lane..).zip(accumulators.iter_mut()) {
            *accumulator = block(self.seed, LANE_DOMAIN, lane, STEP_DOUBLE_ROUNDS);
        }
        let mut read = vec![[0; 16]; accumulators.len()];
        let mut missing = Vec::new();
        for _ in 0..self.params.steps {
            self.read(accumulators, &mut read, &mut missing);
            let vectors = accumulators.as_chunks_mut().0;
            for (accumulators, items) in vectors.iter_mut().zip(read.as_chunks().0) {
                self.kernel.step(accumulators, items);
            }
        }
    }

    fn read(&self, accumulators: &[Words], read: &mut [Words], missing: &mut Vec<(usize, u32)>) {
        missing.clear();
        for (lane, accumulator) in accumulators.iter().enumerate() {
            let index = item_index(accumulator, self.params.items);
            if index < self.stored_count {
                read[lane] = self.stored.as_slice()[index as usize].0;
            } else {
                missing.push((lane, index));
            }
        }
        for missing in missing.chunks(LANES_SIDE_BY_SIDE) {
            let indices =
                core::array::from_fn(|position| missing.get(position).map_or(0, |(_, index)| *index));
            let made = self
                .kernel
                .items(self.seed, indices, self.params.fill_double_rounds);
            for ((lane, _), item) in missing.iter().zip(made) {
                read[*lane] = item.0;
            }
        }
    }
}
