//! The lag of finality, as far as the chain itself can know it.

/// Identifier of the author's statement of finality in a block's inherent data.
pub const INHERENT_IDENTIFIER: [u8; 8] = *b"finality";

/// Number of the highest block that the author's node holds for finalized.
pub type InherentType = u32;

/// Source of the lag of finality. Implemented by `pallet-finality-view`.
pub trait FinalityLag {
    /// Blocks between a block's parent and the newest finalized block: the median of what recent authors saw.
    /// 2 or 3 on a healthy chain.
    fn lag_blocks() -> u32;

    /// Returns true while the lag is so large that workers and validators cannot be expected to act in time.
    fn is_stalled() -> bool;

    /// Makes [`Self::is_stalled`] answer so; for benchmarks of other pallets.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_set_stalled(is_stalled: bool);
}

/// Finality that is never behind.
impl FinalityLag for () {
    fn lag_blocks() -> u32 {
        0
    }

    fn is_stalled() -> bool {
        false
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_set_stalled(_: bool) {}
}
