//! Weights of `pallet_job_escrow`: not measured yet.
//!
//! Every figure is an estimate from the calls that were measured before this pallet had assignments, with room to
//! spare. `scripts/benchmark pallet_job_escrow` writes this file anew.

#![allow(clippy::all)]
#![allow(missing_docs)]
#![allow(unused_parens)]
#![allow(unused_imports)]

use core::marker::PhantomData;

use polkadot_sdk::{
    frame_support::{
        traits::Get,
        weights::{Weight, constants::ParityDbWeight},
    },
    frame_system,
};

/// What the pallet's calls and hooks cost.
pub trait WeightInfo {
    fn deploy(n: u32) -> Weight;
    fn start() -> Weight;
    fn submit_result() -> Weight;
    fn accept() -> Weight;
    fn close(n: u32) -> Weight;
    fn settle(e: u32) -> Weight;
    fn expire() -> Weight;
    fn abandon() -> Weight;
    fn request() -> Weight;
    fn accept_request(n: u32) -> Weight;
    fn decline() -> Weight;
    fn expire_request() -> Weight;
    fn top_up(n: u32) -> Weight;
    fn reject() -> Weight;
    fn commit_result() -> Weight;
    fn reveal_result() -> Weight;
    fn resolve(n: u32) -> Weight;
}

/// The estimated weights, with the database of the runtime `T`.
pub struct SubstrateWeight<T>(PhantomData<T>);

#[rustfmt::skip]
impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    /// Not measured yet.
    fn deploy(n: u32) -> Weight {
        Weight::from_parts(1500_000_000, 4000)
            .saturating_add(Weight::from_parts(1200_000_000, 3500).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(6_u64))
            .saturating_add(T::DbWeight::get().writes(6_u64))
            .saturating_add(T::DbWeight::get().reads((4_u64).saturating_mul(n.into())))
            .saturating_add(T::DbWeight::get().writes((5_u64).saturating_mul(n.into())))
    }
    /// Not measured yet.
    fn start() -> Weight {
        Weight::from_parts(1200_000_000, 4000)
            .saturating_add(T::DbWeight::get().reads(5_u64))
            .saturating_add(T::DbWeight::get().writes(2_u64))
    }
    /// Not measured yet.
    fn submit_result() -> Weight {
        Weight::from_parts(900_000_000, 4000)
            .saturating_add(T::DbWeight::get().reads(4_u64))
            .saturating_add(T::DbWeight::get().writes(1_u64))
    }
    /// Not measured yet.
    fn accept() -> Weight {
        Weight::from_parts(1900_000_000, 4000)
            .saturating_add(T::DbWeight::get().reads(6_u64))
            .saturating_add(T::DbWeight::get().writes(6_u64))
    }
    /// Not measured yet.
    fn close(n: u32) -> Weight {
        Weight::from_parts(2500_000_000, 5000)
            .saturating_add(Weight::from_parts(1300_000_000, 3500).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(8_u64))
            .saturating_add(T::DbWeight::get().writes(6_u64))
            .saturating_add(T::DbWeight::get().reads((3_u64).saturating_mul(n.into())))
            .saturating_add(T::DbWeight::get().writes((6_u64).saturating_mul(n.into())))
    }
    /// Not measured yet.
    fn settle(e: u32) -> Weight {
        Weight::from_parts(4500_000_000, 7000)
            .saturating_add(Weight::from_parts(300_000_000, 5000).saturating_mul(e.into()))
            .saturating_add(T::DbWeight::get().reads(16_u64))
            .saturating_add(T::DbWeight::get().writes(14_u64))
            .saturating_add(T::DbWeight::get().reads((2_u64).saturating_mul(e.into())))
    }
    /// Not measured yet.
    fn expire() -> Weight {
        Weight::from_parts(3500_000_000, 7000)
            .saturating_add(T::DbWeight::get().reads(14_u64))
            .saturating_add(T::DbWeight::get().writes(12_u64))
    }
    /// Not measured yet.
    fn abandon() -> Weight {
        Weight::from_parts(3500_000_000, 7000)
            .saturating_add(T::DbWeight::get().reads(14_u64))
            .saturating_add(T::DbWeight::get().writes(12_u64))
    }
    /// Not measured yet.
    fn request() -> Weight {
        Weight::from_parts(2000_000_000, 4000)
            .saturating_add(T::DbWeight::get().reads(8_u64))
            .saturating_add(T::DbWeight::get().writes(6_u64))
    }
    /// Not measured yet.
    fn accept_request(n: u32) -> Weight {
        Weight::from_parts(2200_000_000, 5000)
            .saturating_add(Weight::from_parts(60_000_000, 2700).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(10_u64))
            .saturating_add(T::DbWeight::get().writes(7_u64))
            .saturating_add(T::DbWeight::get().reads((1_u64).saturating_mul(n.into())))
    }
    /// Not measured yet.
    fn decline() -> Weight {
        Weight::from_parts(2800_000_000, 5000)
            .saturating_add(T::DbWeight::get().reads(12_u64))
            .saturating_add(T::DbWeight::get().writes(10_u64))
    }
    /// Not measured yet.
    fn expire_request() -> Weight {
        Weight::from_parts(2500_000_000, 5000)
            .saturating_add(T::DbWeight::get().reads(8_u64))
            .saturating_add(T::DbWeight::get().writes(7_u64))
    }
    /// Not measured yet.
    fn top_up(n: u32) -> Weight {
        Weight::from_parts(1800_000_000, 4000)
            .saturating_add(Weight::from_parts(150_000_000, 2700).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(6_u64))
            .saturating_add(T::DbWeight::get().writes(4_u64))
            .saturating_add(T::DbWeight::get().reads((1_u64).saturating_mul(n.into())))
            .saturating_add(T::DbWeight::get().writes((1_u64).saturating_mul(n.into())))
    }
    /// Not measured yet.
    fn reject() -> Weight {
        Weight::from_parts(2800_000_000, 5000)
            .saturating_add(T::DbWeight::get().reads(9_u64))
            .saturating_add(T::DbWeight::get().writes(9_u64))
    }
    /// Not measured yet.
    fn commit_result() -> Weight {
        Weight::from_parts(1100_000_000, 4000)
            .saturating_add(T::DbWeight::get().reads(5_u64))
            .saturating_add(T::DbWeight::get().writes(2_u64))
    }
    /// Not measured yet.
    fn reveal_result() -> Weight {
        Weight::from_parts(1200_000_000, 4000)
            .saturating_add(T::DbWeight::get().reads(5_u64))
            .saturating_add(T::DbWeight::get().writes(2_u64))
    }
    /// Not measured yet.
    fn resolve(n: u32) -> Weight {
        Weight::from_parts(2500_000_000, 6000)
            .saturating_add(Weight::from_parts(2600_000_000, 5500).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(10_u64))
            .saturating_add(T::DbWeight::get().writes(8_u64))
            .saturating_add(T::DbWeight::get().reads((8_u64).saturating_mul(n.into())))
            .saturating_add(T::DbWeight::get().writes((10_u64).saturating_mul(n.into())))
    }
}

/// The estimated weights, with ParityDB; for tests.
#[rustfmt::skip]
impl WeightInfo for () {
    /// Not measured yet.
    fn deploy(n: u32) -> Weight {
        Weight::from_parts(1500_000_000, 4000)
            .saturating_add(Weight::from_parts(1200_000_000, 3500).saturating_mul(n.into()))
            .saturating_add(ParityDbWeight::get().reads(6_u64))
            .saturating_add(ParityDbWeight::get().writes(6_u64))
            .saturating_add(ParityDbWeight::get().reads((4_u64).saturating_mul(n.into())))
            .saturating_add(ParityDbWeight::get().writes((5_u64).saturating_mul(n.into())))
    }
    /// Not measured yet.
    fn start() -> Weight {
        Weight::from_parts(1200_000_000, 4000)
            .saturating_add(ParityDbWeight::get().reads(5_u64))
            .saturating_add(ParityDbWeight::get().writes(2_u64))
    }
    /// Not measured yet.
    fn submit_result() -> Weight {
        Weight::from_parts(900_000_000, 4000)
            .saturating_add(ParityDbWeight::get().reads(4_u64))
            .saturating_add(ParityDbWeight::get().writes(1_u64))
    }
    /// Not measured yet.
    fn accept() -> Weight {
        Weight::from_parts(1900_000_000, 4000)
            .saturating_add(ParityDbWeight::get().reads(6_u64))
            .saturating_add(ParityDbWeight::get().writes(6_u64))
    }
    /// Not measured yet.
    fn close(n: u32) -> Weight {
        Weight::from_parts(2500_000_000, 5000)
            .saturating_add(Weight::from_parts(1300_000_000, 3500).saturating_mul(n.into()))
            .saturating_add(ParityDbWeight::get().reads(8_u64))
            .saturating_add(ParityDbWeight::get().writes(6_u64))
            .saturating_add(ParityDbWeight::get().reads((3_u64).saturating_mul(n.into())))
            .saturating_add(ParityDbWeight::get().writes((6_u64).saturating_mul(n.into())))
    }
    /// Not measured yet.
    fn settle(e: u32) -> Weight {
        Weight::from_parts(4500_000_000, 7000)
            .saturating_add(Weight::from_parts(300_000_000, 5000).saturating_mul(e.into()))
            .saturating_add(ParityDbWeight::get().reads(16_u64))
            .saturating_add(ParityDbWeight::get().writes(14_u64))
            .saturating_add(ParityDbWeight::get().reads((2_u64).saturating_mul(e.into())))
    }
    /// Not measured yet.
    fn expire() -> Weight {
        Weight::from_parts(3500_000_000, 7000)
            .saturating_add(ParityDbWeight::get().reads(14_u64))
            .saturating_add(ParityDbWeight::get().writes(12_u64))
    }
    /// Not measured yet.
    fn abandon() -> Weight {
        Weight::from_parts(3500_000_000, 7000)
            .saturating_add(ParityDbWeight::get().reads(14_u64))
            .saturating_add(ParityDbWeight::get().writes(12_u64))
    }
    /// Not measured yet.
    fn request() -> Weight {
        Weight::from_parts(2000_000_000, 4000)
            .saturating_add(ParityDbWeight::get().reads(8_u64))
            .saturating_add(ParityDbWeight::get().writes(6_u64))
    }
    /// Not measured yet.
    fn accept_request(n: u32) -> Weight {
        Weight::from_parts(2200_000_000, 5000)
            .saturating_add(Weight::from_parts(60_000_000, 2700).saturating_mul(n.into()))
            .saturating_add(ParityDbWeight::get().reads(10_u64))
            .saturating_add(ParityDbWeight::get().writes(7_u64))
            .saturating_add(ParityDbWeight::get().reads((1_u64).saturating_mul(n.into())))
    }
    /// Not measured yet.
    fn decline() -> Weight {
        Weight::from_parts(2800_000_000, 5000)
            .saturating_add(ParityDbWeight::get().reads(12_u64))
            .saturating_add(ParityDbWeight::get().writes(10_u64))
    }
    /// Not measured yet.
    fn expire_request() -> Weight {
        Weight::from_parts(2500_000_000, 5000)
            .saturating_add(ParityDbWeight::get().reads(8_u64))
            .saturating_add(ParityDbWeight::get().writes(7_u64))
    }
    /// Not measured yet.
    fn top_up(n: u32) -> Weight {
        Weight::from_parts(1800_000_000, 4000)
            .saturating_add(Weight::from_parts(150_000_000, 2700).saturating_mul(n.into()))
            .saturating_add(ParityDbWeight::get().reads(6_u64))
            .saturating_add(ParityDbWeight::get().writes(4_u64))
            .saturating_add(ParityDbWeight::get().reads((1_u64).saturating_mul(n.into())))
            .saturating_add(ParityDbWeight::get().writes((1_u64).saturating_mul(n.into())))
    }
    /// Not measured yet.
    fn reject() -> Weight {
        Weight::from_parts(2800_000_000, 5000)
            .saturating_add(ParityDbWeight::get().reads(9_u64))
            .saturating_add(ParityDbWeight::get().writes(9_u64))
    }
    /// Not measured yet.
    fn commit_result() -> Weight {
        Weight::from_parts(1100_000_000, 4000)
            .saturating_add(ParityDbWeight::get().reads(5_u64))
            .saturating_add(ParityDbWeight::get().writes(2_u64))
    }
    /// Not measured yet.
    fn reveal_result() -> Weight {
        Weight::from_parts(1200_000_000, 4000)
            .saturating_add(ParityDbWeight::get().reads(5_u64))
            .saturating_add(ParityDbWeight::get().writes(2_u64))
    }
    /// Not measured yet.
    fn resolve(n: u32) -> Weight {
        Weight::from_parts(2500_000_000, 6000)
            .saturating_add(Weight::from_parts(2600_000_000, 5500).saturating_mul(n.into()))
            .saturating_add(ParityDbWeight::get().reads(10_u64))
            .saturating_add(ParityDbWeight::get().writes(8_u64))
            .saturating_add(ParityDbWeight::get().reads((8_u64).saturating_mul(n.into())))
            .saturating_add(ParityDbWeight::get().writes((10_u64).saturating_mul(n.into())))
    }
}
