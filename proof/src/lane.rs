//! Items, and the lanes that read them.

use crate::{
    Hash,
    params::{ChallengeParams, STEP_DOUBLE_ROUNDS},
    permute::{Words, block, permute_add, xor},
};

/// Domain separator of the blocks that items are made of.
const ITEM_DOMAIN: u32 = 1;

/// Domain separator of the blocks from which lanes start.
pub const LANE_DOMAIN: u32 = 2;

/// Returns the item with this index.
pub fn item(seed: &Hash, index: u32, fill_double_rounds: u16) -> Words {
    block(seed, ITEM_DOMAIN, index, fill_double_rounds)
}

/// Returns the ChaCha state from which the item of index zero is made.
#[cfg(all(feature = "std", target_arch = "x86_64"))]
pub(crate) fn initial_item_state(seed: &Hash) -> Words {
    crate::permute::initial_state(seed, ITEM_DOMAIN, 0)
}

/// Returns the index that a lane reads next: its first word, scaled from 2^32 down to the number of items.
pub fn item_index(accumulator: &Words, items: u32) -> u32 {
    item_index_of_word(accumulator[0], items)
}

/// Returns [`item_index`] from the first word alone.
#[inline]
pub(crate) fn item_index_of_word(first_word: u32, items: u32) -> u32 {
    // The product is below 2^32 × items, so the shifted value is below `items`.
    ((u64::from(first_word) * u64::from(items)) >> 32) as u32
}

/// Returns the end of a lane without stored items: each item is made when it is read.
pub fn lane(params: &ChallengeParams, seed: &Hash, lane: u32) -> Words {
    walk(params, seed, lane, |index| {
        item(seed, index, params.fill_double_rounds)
    })
}

/// Returns the end of a lane whose items come from `read`.
pub(crate) fn walk(
    params: &ChallengeParams,
    seed: &Hash,
    lane: u32,
    mut read: impl FnMut(u32) -> Words,
) -> Words {
    let mut accumulator = block(seed, LANE_DOMAIN, lane, STEP_DOUBLE_ROUNDS);
    for _ in 0..params.steps {
        let item = read(item_index(&accumulator, params.items));
        accumulator = permute_add(&xor(&accumulator, &item), STEP_DOUBLE_ROUNDS);
    }
    accumulator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_index_covers_exactly_the_items() {
        for items in [1 << 10, 1500, u32::MAX] {
            let mut accumulator = [0; 16];
            assert_eq!(item_index(&accumulator, items), 0);
            accumulator[0] = u32::MAX;
            assert_eq!(item_index(&accumulator, items), items - 1);
        }
    }
}
