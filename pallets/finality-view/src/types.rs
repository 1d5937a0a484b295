//! Window of recent authors' statements.

use alloc::vec::Vec;

use codec::{Decode, Encode, MaxEncodedLen};
use polkadot_sdk::{frame_support::BoundedVec, sp_runtime::traits::ConstU32};
use scale_info::TypeInfo;

/// Length of the window in blocks: two minutes of a healthy chain. The longer, the less likely a minority has
/// half of it by luck, and the later a stall is detected.
pub const WINDOW_BLOCKS: u32 = 41;

const _: () = assert!(
    WINDOW_BLOCKS % 2 == 1,
    "the median of an even window is of no author's"
);

/// Lags by the statements of recent blocks' authors.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct RecentViews<BlockNumber> {
    /// Lags in blocks, the oldest first.
    pub lags: BoundedVec<u32, ConstU32<WINDOW_BLOCKS>>,
    /// Median of the lags; zero if there is none. Of an even number, as in a chain's first blocks, the
    /// smaller of the two.
    pub lag_blocks: u32,
    /// Block with the newest statement.
    pub stated_at: BlockNumber,
}

impl<BlockNumber> RecentViews<BlockNumber> {
    /// Adds a block's lag, drops the oldest if the window is full, and updates the median.
    pub(crate) fn state(&mut self, block: BlockNumber, lag_blocks: u32) {
        if self.lags.is_full() {
            self.lags.remove(0);
        }
        // There is room: a full window lost one above.
        let _ = self.lags.try_push(lag_blocks);
        self.lag_blocks = self.median();
        self.stated_at = block;
    }

    /// Returns the median of the lags.
    pub(crate) fn median(&self) -> u32 {
        let mut sorted: Vec<u32> = self.lags.to_vec();
        sorted.sort_unstable();
        let middle = sorted.len().saturating_sub(1) / 2;
        sorted.get(middle).copied().unwrap_or(0)
    }
}

#[cfg(feature = "runtime-benchmarks")]
impl<BlockNumber: Default> RecentViews<BlockNumber> {
    /// Returns a full window of equal lags.
    pub(crate) fn full(lag_blocks: u32) -> Self {
        Self {
            lags: BoundedVec::truncate_from(alloc::vec![lag_blocks; WINDOW_BLOCKS as usize]),
            lag_blocks,
            stated_at: BlockNumber::default(),
        }
    }
}
