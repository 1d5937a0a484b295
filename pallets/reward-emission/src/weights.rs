//! Weights of `pallet-reward-emission`.

use polkadot_sdk::frame_support::weights::{Weight, constants::RocksDbWeight};

/// Weights of the pallet's work.
pub trait WeightInfo {
    /// A payout of `e` epochs.
    fn payout(e: u32) -> Weight;
    /// Setting a reward destination.
    fn set_reward_destination() -> Weight;
    /// Closing an epoch.
    fn on_epoch_end() -> Weight;
}

impl WeightInfo for () {
    fn payout(e: u32) -> Weight {
        Weight::from_parts(60_000_000, 8_000)
            .saturating_add(Weight::from_parts(5_000_000, 2_600).saturating_mul(e.into()))
            .saturating_add(RocksDbWeight::get().reads_writes(7, 4))
            .saturating_add(RocksDbWeight::get().reads_writes(1, 1).saturating_mul(e.into()))
    }

    fn set_reward_destination() -> Weight {
        Weight::from_parts(25_000_000, 4_000).saturating_add(RocksDbWeight::get().reads_writes(2, 1))
    }

    fn on_epoch_end() -> Weight {
        Weight::from_parts(25_000_000, 4_000).saturating_add(RocksDbWeight::get().reads_writes(4, 5))
    }
}
