//! How long somebody takes who stores only a part of the items: for the choice of parameters, and for tests.
//!
//! The cheat here is a good one: it makes missing items with the same vector instructions as the honest prover,
//! and collects what is missing over many lanes, so that no vector goes half empty. Its answer is right; it is
//! only late.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use crate::{
    Hash,
    lane::{LANE_DOMAIN, STEP_DOUBLE_ROUNDS, item_index},
    params::ChallengeParams,
    permute::{Words, block},
    prover::{Items, Kernel, LANES_SIDE_BY_SIDE, Pool, ProverError, Tree, Watch, walk_pieces},
};

/// Binary logarithm of the lanes whose missing items are made together.
const TOGETHER_LOG2: u8 = 10;

/// How much of the items is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StoredFraction {
    percent: u8,
}

impl StoredFraction {
    /// So many of a hundred items; more than a hundred means all.
    pub fn from_percent(percent: u8) -> Self {
        Self {
            percent: percent.min(100),
        }
    }

    /// How many of so many items are stored; those are the first ones.
    pub fn of(self, items: u32) -> u32 {
        // At most `items`, since the fraction is at most one.
        (u64::from(items) * u64::from(self.percent) / 100) as u32
    }
}

/// What a commit with a fraction of the items came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FractionCommit {
    /// The top of the tree: the same as an honest prover's.
    pub root: Hash,
    /// Time of making the items that are stored.
    pub fill_time: Duration,
    /// Time of walking the lanes, making the items that are not stored, and building the tree.
    pub walk_time: Duration,
}

/// Commits while storing only a fraction of the items and making the others at every read.
///
/// `threads` is all cores when `None`.
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
    /// Walks lanes in step, so that what is missing for all of them is made together.
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
