//! Weights of `pallet-provider-registry`.

use polkadot_sdk::frame_support::weights::{Weight, constants::RocksDbWeight};

/// Weights of the pallet's calls.
pub trait WeightInfo {
    /// Weight of `register_provider`.
    fn register_provider() -> Weight;
    /// Weight of `register_machine`.
    fn register_machine() -> Weight;
    /// Weight of `update_ask`.
    fn update_ask() -> Weight;
    /// Weight of `update_endpoint`.
    fn update_endpoint() -> Weight;
    /// Weight of `suspend_self`.
    fn suspend_self() -> Weight;
    /// Weight of `resume`.
    fn resume() -> Weight;
    /// Weight of `retire`.
    fn retire() -> Weight;
    /// Weight of `set_hardware_class`.
    fn set_hardware_class() -> Weight;
    /// Weight of `deregister_provider`.
    fn deregister_provider() -> Weight;
    /// Weight of `refresh_machine`.
    fn refresh_machine() -> Weight;
}

impl WeightInfo for () {
    fn register_provider() -> Weight {
        Weight::from_parts(60_000_000, 3_700).saturating_add(RocksDbWeight::get().reads_writes(2, 2))
    }
    fn register_machine() -> Weight {
        Weight::from_parts(140_000_000, 3_700).saturating_add(RocksDbWeight::get().reads_writes(6, 6))
    }
    fn update_ask() -> Weight {
        Weight::from_parts(20_000_000, 3_900).saturating_add(RocksDbWeight::get().reads_writes(1, 1))
    }
    fn update_endpoint() -> Weight {
        Weight::from_parts(20_000_000, 3_900).saturating_add(RocksDbWeight::get().reads_writes(1, 1))
    }
    fn suspend_self() -> Weight {
        Weight::from_parts(40_000_000, 4_000).saturating_add(RocksDbWeight::get().reads_writes(5, 4))
    }
    fn resume() -> Weight {
        Weight::from_parts(50_000_000, 4_000).saturating_add(RocksDbWeight::get().reads_writes(7, 4))
    }
    fn retire() -> Weight {
        Weight::from_parts(90_000_000, 4_000).saturating_add(RocksDbWeight::get().reads_writes(8, 9))
    }
    fn set_hardware_class() -> Weight {
        Weight::from_parts(10_000_000, 0).saturating_add(RocksDbWeight::get().writes(1))
    }
    fn deregister_provider() -> Weight {
        Weight::from_parts(60_000_000, 3_700).saturating_add(RocksDbWeight::get().reads_writes(2, 2))
    }
    fn refresh_machine() -> Weight {
        Weight::from_parts(50_000_000, 4_000).saturating_add(RocksDbWeight::get().reads_writes(8, 4))
    }
}
