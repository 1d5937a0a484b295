//! Layout of a challenge in a device's memory.

use assay_proof::{ChallengeParams, ITEM_BYTES, ITEMS, prover::ProverError};

/// Binary logarithm of the leaves of a subtree whose root is kept.
///
/// An opening walks the lanes of its subtree again without memory: 1,024 lanes take a GPU about as long as
/// one, and the roots for even 2^30 lanes are 32 MiB.
const SUBTREE_LANES_LOG2: u8 = 10;

/// Binary logarithm of the most lanes of a batch: enough to keep every GPU busy for several rounds of
/// threads.
const MOST_BATCH_LANES_LOG2: u8 = 22;

/// Binary logarithm of the fewest lanes of a batch: it still keeps a small GPU busy, but not a large one.
const FEWEST_BATCH_LANES_LOG2: u8 = 14;

/// Bytes for each lane of a batch: its leaf, and half of that for the level above. Reading back needs no more
/// than that level.
const BATCH_BYTES_PER_LANE: u64 = 32 + 32;

/// Bytes left to the driver, which allocates in pages and keeps code and stacks of its own.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// Plan of a challenge's walk in the available memory.
///
/// The leaves of a large challenge take gigabytes. They are made batch by batch, and each batch is folded to
/// the roots of its subtrees before the next one replaces it. So the leaves need not fit beside the items.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Binary logarithm of the lanes whose leaves are in memory at once.
    pub batch_lanes_log2: u8,
    /// Binary logarithm of the leaves of a subtree; only its root outlives the batch.
    pub subtree_lanes_log2: u8,
    /// Bytes of the device's memory: the items, the batch and the driver's reserve.
    pub needed_bytes: u64,
}

impl Plan {
    /// Lays a challenge out: with large batches if memory allows, else with smaller ones.
    ///
    /// `free_bytes` is the available memory, `None` if unknown. Fails with [`ProverError::MemoryShort`] if
    /// even the smallest batch does not fit beside the items.
    pub fn new(params: &ChallengeParams, free_bytes: Option<u64>) -> Result<Self, ProverError> {
        let needed_bytes = Self::least_bytes(params)?;
        let most = MOST_BATCH_LANES_LOG2.min(params.lanes_log2);
        let fewest = FEWEST_BATCH_LANES_LOG2.min(params.lanes_log2);
        let free = free_bytes.unwrap_or(u64::MAX);
        (fewest..=most)
            .rev()
            .map(|batch_lanes_log2| Self::with_batch(params, batch_lanes_log2))
            .find(|plan| plan.needed_bytes <= free)
            .ok_or(ProverError::MemoryShort {
                needed_bytes,
                free_bytes: free,
            })
    }

    /// Returns the bytes that a challenge takes with the smallest batches.
    pub fn least_bytes(params: &ChallengeParams) -> Result<u64, ProverError> {
        params.validate()?;
        let fewest = FEWEST_BATCH_LANES_LOG2.min(params.lanes_log2);
        Ok(Self::with_batch(params, fewest).needed_bytes)
    }

    fn with_batch(params: &ChallengeParams, batch_lanes_log2: u8) -> Self {
        Self {
            batch_lanes_log2,
            subtree_lanes_log2: SUBTREE_LANES_LOG2.min(batch_lanes_log2),
            needed_bytes: params.memory_bytes() + (BATCH_BYTES_PER_LANE << batch_lanes_log2) + RESERVE_BYTES,
        }
    }
}

/// Returns the most items of a challenge with so many lanes that fit into the memory; `None` if not even the
/// fewest of a class fit.
pub fn most_items(free_bytes: u64, lanes_log2: u8) -> Option<u32> {
    let batch_bytes = BATCH_BYTES_PER_LANE << FEWEST_BATCH_LANES_LOG2.min(lanes_log2);
    let item_bytes = free_bytes.checked_sub(batch_bytes + RESERVE_BYTES)?;
    let items = u32::try_from(item_bytes / ITEM_BYTES).unwrap_or(u32::MAX);
    ITEMS.contains(&items).then_some(items)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const H100: ChallengeParams = ChallengeParams {
        items: 72 << 24,
        fill_double_rounds: 1024,
        lanes_log2: 27,
        steps: 256,
        openings: 4,
        deadline_ms: 30_000,
    };

    #[test]
    fn a_plan_uses_large_batches_where_there_is_room() {
        let plan = Plan::new(&H100, None).unwrap();
        assert_eq!(plan.batch_lanes_log2, 22);
        assert_eq!(plan.subtree_lanes_log2, 10);
        assert_eq!(plan.needed_bytes, (72 << 30) + (256 << 20) + (64 << 20));
        assert_eq!(Plan::new(&H100, Some(plan.needed_bytes)).unwrap(), plan);
    }

    #[test]
    fn a_plan_makes_smaller_batches_where_memory_is_short() {
        let all = Plan::new(&H100, None).unwrap().needed_bytes;
        let plan = Plan::new(&H100, Some(all - 1)).unwrap();
        assert_eq!(plan.batch_lanes_log2, 21);
        let least = (72 << 30) + (64 << 14) + (64 << 20);
        assert_eq!(Plan::new(&H100, Some(least)).unwrap().batch_lanes_log2, 14);
        assert!(matches!(
            Plan::new(&H100, Some(least - 1)),
            Err(ProverError::MemoryShort { needed_bytes, free_bytes })
                if needed_bytes == least && free_bytes == least - 1
        ));
    }

    #[test]
    fn a_plan_of_few_lanes_is_one_batch() {
        let params = ChallengeParams {
            lanes_log2: 4,
            ..H100
        };
        let plan = Plan::new(&params, None).unwrap();
        assert_eq!((plan.batch_lanes_log2, plan.subtree_lanes_log2), (4, 4));
    }

    #[test]
    fn a_plan_fails_when_the_parameters_are_out_of_range() {
        let params = ChallengeParams { steps: 0, ..H100 };
        assert!(matches!(Plan::new(&params, None), Err(ProverError::Params(_))));
    }

    #[test]
    fn most_items_are_those_of_which_there_is_a_plan() {
        for free_bytes in [
            80 << 30,
            (64 << 20) + (1 << 21),
            (64 << 20) + (64 << 14) + (1 << 16),
        ] {
            let items = most_items(free_bytes, 27).unwrap();
            assert!(Plan::new(&ChallengeParams { items, ..H100 }, Some(free_bytes)).is_ok());
            let more = ChallengeParams {
                items: items + 1,
                ..H100
            };
            assert!(Plan::new(&more, Some(free_bytes)).is_err());
        }
        assert_eq!(most_items(u64::MAX, 27), Some(u32::MAX));
        assert_eq!(most_items(64 << 20, 27), None);
        assert_eq!(most_items(0, 27), None);
    }
}
