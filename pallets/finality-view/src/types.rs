//! The window over which authors' views are taken together.

use alloc::vec::Vec;

use codec::{Decode, Encode, MaxEncodedLen};
use polkadot_sdk::{frame_support::BoundedVec, sp_runtime::traits::ConstU32};
use scale_info::TypeInfo;

/// Blocks whose authors' views count, two minutes of a healthy chain. The longer, the harder it is for a
/// minority to have half of it by luck, and the later a stall is seen.
pub const WINDOW_BLOCKS: u32 = 41;

const _: () = assert!(
    WINDOW_BLOCKS % 2 == 1,
    "the median of an even window is of no author's"
);

/// Views that the authors of recent blocks stated.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct RecentViews<BlockNumber> {
    /// Lags in blocks, the oldest first.
    pub lags: BoundedVec<u32, ConstU32<WINDOW_BLOCKS>>,
    /// Their median; zero where there is none. Of an even number, as in a chain's first blocks, the smaller
    /// of the two.
    pub lag_blocks: u32,
    /// The block in which the newest was stated.
    pub stated_at: BlockNumber,
}

impl<BlockNumber> RecentViews<BlockNumber> {
    /// Adds a block's lag, drops the oldest where the window is full, and takes the median anew.
    pub(crate) fn state(&mut self, block: BlockNumber, lag_blocks: u32) {
        if self.lags.is_full() {
            self.lags.remove(0);
        }
        // There is room: one was removed where there was none.
        let _ = self.lags.try_push(lag_blocks);
        self.lag_blocks = self.median();
        self.stated_at = block;
    }

    /// The lag that as many authors are below as above.
    pub(crate) fn median(&self) -> u32 {
        let mut sorted: Vec<u32> = self.lags.to_vec();
        sorted.sort_unstable();
        let middle = sorted.len().saturating_sub(1) / 2;
        sorted.get(middle).copied().unwrap_or(0)
    }
}

#[cfg(feature = "runtime-benchmarks")]
impl<BlockNumber: Default> RecentViews<BlockNumber> {
    /// A full window in which all authors state the same.
    pub(crate) fn full(lag_blocks: u32) -> Self {
        Self {
            lags: BoundedVec::truncate_from(alloc::vec![lag_blocks; WINDOW_BLOCKS as usize]),
            lag_blocks,
            stated_at: BlockNumber::default(),
        }
    }
}
