//! Inner loops: eight items or lanes at a time.

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
use super::tile::{Item, LANES_SIDE_BY_SIDE, Tile};
use crate::{
    Hash,
    lane::{self, item},
    params::{ChallengeParams, STEP_DOUBLE_ROUNDS},
    permute::{Words, permute_add, xor},
};

/// Instruction set of the inner loops; all give the same results.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kernel {
    /// Instructions that the compiler may use on every CPU of the architecture.
    Scalar,
    /// AVX2: eight states at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
}

impl Kernel {
    /// Returns the fastest kernel of this CPU.
    pub(crate) fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = Avx2::detect() {
            return Self::Avx2(avx2);
        }
        Self::Scalar
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "AVX2",
        }
    }

    /// Makes the items of any eight indices.
    pub(crate) fn items(
        self,
        seed: &Hash,
        indices: [u32; LANES_SIDE_BY_SIDE],
        fill_double_rounds: u16,
    ) -> Tile {
        match self {
            Self::Scalar => indices.map(|index| Item(item(seed, index, fill_double_rounds))),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => avx2.items(seed, indices, fill_double_rounds),
        }
    }

    /// Computes the ends of consecutive lanes, a multiple of eight. `items` holds at least the number of
    /// items in the parameters.
    pub(crate) fn walk(
        self,
        params: &ChallengeParams,
        seed: &Hash,
        items: &[Item],
        first_lane: u32,
        ends: &mut [Words],
    ) {
        match self {
            Self::Scalar => {
                for (lane, end) in (first_lane..).zip(ends) {
                    *end = lane::walk(params, seed, lane, |index| items[index as usize].0);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => avx2.walk(params, seed, items, first_lane, ends),
        }
    }

    /// Makes one step of any eight lanes whose items have been read.
    pub(crate) fn step(
        self,
        accumulators: &mut [Words; LANES_SIDE_BY_SIDE],
        items: &[Words; LANES_SIDE_BY_SIDE],
    ) {
        match self {
            Self::Scalar => {
                for (accumulator, item) in accumulators.iter_mut().zip(items) {
                    *accumulator = permute_add(&xor(accumulator, item), STEP_DOUBLE_ROUNDS);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => avx2.step(accumulators, items),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_fastest_kernel_equals_the_scalar_one(
            seed: Hash,
            indices: [u32; 8],
            fill_double_rounds in 4..64_u16,
            accumulators: [Words; 8],
            items: [Words; 8],
        ) {
            let fastest = Kernel::fastest();
            let made = fastest.items(&seed, indices, fill_double_rounds).map(|item| item.0);
            prop_assert_eq!(made, indices.map(|index| item(&seed, index, fill_double_rounds)));

            let (mut left, mut right) = (accumulators, accumulators);
            fastest.step(&mut left, &items);
            Kernel::Scalar.step(&mut right, &items);
            prop_assert_eq!(left, right);
        }

        #[test]
        fn the_fastest_kernel_walks_like_the_scalar_one(
            seed: Hash,
            first_lane in 0..1_u32 << 20,
            vectors in 1..20_usize,
            steps in 1..9_u16,
        ) {
            let params = ChallengeParams {
                items: 1037,
                fill_double_rounds: 4,
                lanes_log2: 30,
                steps,
                openings: 1,
                deadline_ms: 1,
            };
            let items: Vec<Item> = (0..params.items).map(|index| Item(item(&seed, index, 4))).collect();
            let mut left = vec![[0; 16]; vectors * LANES_SIDE_BY_SIDE];
            let mut right = left.clone();
            Kernel::fastest().walk(&params, &seed, &items, first_lane, &mut left);
            Kernel::Scalar.walk(&params, &seed, &items, first_lane, &mut right);
            prop_assert_eq!(left, right);
        }
    }
}
