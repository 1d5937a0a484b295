//! Weights of `pallet-chain-clock`.

use polkadot_sdk::frame_support::weights::{Weight, constants::RocksDbWeight};

/// Weights of the pallet's work.
pub trait WeightInfo {
    /// Moving the clock in a block that ends an epoch, without what hears of it.
    fn advance() -> Weight;
}

impl WeightInfo for () {
    fn advance() -> Weight {
        Weight::from_parts(15_000_000, 3_000).saturating_add(RocksDbWeight::get().reads_writes(4, 3))
    }
}
