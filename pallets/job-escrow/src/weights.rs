//! Weights of `pallet_job_escrow`.

use polkadot_sdk::frame_support::weights::{Weight, constants::RocksDbWeight};

/// Weights that `pallet_job_escrow` needs.
pub trait WeightInfo {
    /// Weight of `deploy`.
    fn deploy() -> Weight;
    /// Weight of `start`.
    fn start() -> Weight;
    /// Weight of `submit_result`.
    fn submit_result() -> Weight;
    /// Weight of `accept`.
    fn accept() -> Weight;
    /// Weight of `close`.
    fn close() -> Weight;
    /// Weight of `settle`.
    fn settle() -> Weight;
    /// Weight of `expire`.
    fn expire() -> Weight;
    /// Weight of `abandon`.
    fn abandon() -> Weight;
}

impl WeightInfo for () {
    fn deploy() -> Weight {
        Weight::from_parts(90_000_000, 8_000).saturating_add(RocksDbWeight::get().reads_writes(8, 9))
    }

    fn start() -> Weight {
        Weight::from_parts(30_000_000, 4_000).saturating_add(RocksDbWeight::get().reads_writes(3, 1))
    }

    fn submit_result() -> Weight {
        Weight::from_parts(30_000_000, 4_000).saturating_add(RocksDbWeight::get().reads_writes(3, 1))
    }

    fn accept() -> Weight {
        Weight::from_parts(180_000_000, 12_000).saturating_add(RocksDbWeight::get().reads_writes(10, 12))
    }

    fn close() -> Weight {
        Weight::from_parts(180_000_000, 12_000).saturating_add(RocksDbWeight::get().reads_writes(10, 12))
    }

    fn settle() -> Weight {
        Weight::from_parts(180_000_000, 12_000).saturating_add(RocksDbWeight::get().reads_writes(10, 12))
    }

    fn expire() -> Weight {
        Weight::from_parts(180_000_000, 12_000).saturating_add(RocksDbWeight::get().reads_writes(10, 12))
    }

    fn abandon() -> Weight {
        Weight::from_parts(180_000_000, 12_000).saturating_add(RocksDbWeight::get().reads_writes(11, 12))
    }
}
