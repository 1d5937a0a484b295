//! Weights of `pallet-provider-staking`.

use polkadot_sdk::frame_support::weights::{Weight, constants::RocksDbWeight};

/// Weights of the pallet's calls, with what hears of the bond.
pub trait WeightInfo {
    /// Weight of `bond`.
    fn bond() -> Weight;
    /// Weight of `bond_extra`.
    fn bond_extra() -> Weight;
    /// Weight of `unbond`.
    fn unbond() -> Weight;
    /// Weight of `withdraw`.
    fn withdraw() -> Weight;
    /// Weight of `set_auto_stake`.
    fn set_auto_stake() -> Weight;
}

impl WeightInfo for () {
    fn bond() -> Weight {
        Weight::from_parts(90_000_000, 4_000).saturating_add(RocksDbWeight::get().reads_writes(9, 6))
    }
    fn bond_extra() -> Weight {
        Weight::from_parts(90_000_000, 4_000).saturating_add(RocksDbWeight::get().reads_writes(9, 6))
    }
    fn unbond() -> Weight {
        Weight::from_parts(70_000_000, 4_000).saturating_add(RocksDbWeight::get().reads_writes(9, 5))
    }
    fn withdraw() -> Weight {
        Weight::from_parts(110_000_000, 4_000).saturating_add(RocksDbWeight::get().reads_writes(7, 6))
    }
    fn set_auto_stake() -> Weight {
        Weight::from_parts(15_000_000, 3_700).saturating_add(RocksDbWeight::get().reads_writes(1, 1))
    }
}
