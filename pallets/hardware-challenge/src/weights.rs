//! Weights of `pallet_hardware_challenge`.
//!
//! Not measured yet: the times are those of like work in `pallet_availability` and `pallet_provider_staking`, and for a
//! verification those of `assay_proof` in a WebAssembly engine.

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

/// What the pallet's calls and hooks cost. `s` are slots; `r` are units of
/// [`DOUBLE_ROUNDS_PER_UNIT`](crate::DOUBLE_ROUNDS_PER_UNIT) double rounds.
pub trait WeightInfo {
    fn commit(s: u32) -> Weight;
    fn authorize_commit(s: u32) -> Weight;
    fn prove(s: u32) -> Weight;
    fn prove_wrong(s: u32) -> Weight;
    fn authorize_prove(s: u32) -> Weight;
    fn verify_slot(r: u32) -> Weight;
    fn report_missed() -> Weight;
    fn authorize_report_missed() -> Weight;
    fn report_expired() -> Weight;
    fn authorize_report_expired() -> Weight;
    fn set_class() -> Weight;
    fn set_schedule() -> Weight;
    fn hook_overhead() -> Weight;
    fn hook_draw() -> Weight;
    fn hook_open() -> Weight;
    fn hook_expire() -> Weight;
    fn hook_pass_epoch() -> Weight;
    fn hook_forget_answer() -> Weight;
    fn hook_forget_round() -> Weight;
}

/// The weights, with the database of the runtime `T`.
pub struct SubstrateWeight<T>(PhantomData<T>);

#[rustfmt::skip]
impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    // not measured yet
    fn commit(s: u32, ) -> Weight {
        Weight::from_parts(110_000_000, 6000)
            .saturating_add(Weight::from_parts(500_000, 0).saturating_mul(s.into()))
            .saturating_add(T::DbWeight::get().reads(7_u64))
            .saturating_add(T::DbWeight::get().writes(1_u64))
    }
    // not measured yet
    fn authorize_commit(s: u32, ) -> Weight {
        Weight::from_parts(200_000_000, 6000)
            .saturating_add(Weight::from_parts(600_000, 0).saturating_mul(s.into()))
            .saturating_add(T::DbWeight::get().reads(6_u64))
    }
    // not measured yet
    fn prove(s: u32, ) -> Weight {
        Weight::from_parts(150_000_000, 9000)
            .saturating_add(Weight::from_parts(70_000_000, 0).saturating_mul(s.into()))
            .saturating_add(T::DbWeight::get().reads(8_u64))
            .saturating_add(T::DbWeight::get().writes(5_u64))
    }
    // not measured yet
    fn prove_wrong(s: u32, ) -> Weight {
        Weight::from_parts(620_000_000, 9000)
            .saturating_add(Weight::from_parts(70_000_000, 0).saturating_mul(s.into()))
            .saturating_add(T::DbWeight::get().reads(18_u64))
            .saturating_add(T::DbWeight::get().writes(11_u64))
    }
    // not measured yet
    fn authorize_prove(s: u32, ) -> Weight {
        Weight::from_parts(120_000_000, 7000)
            .saturating_add(Weight::from_parts(9_000_000, 0).saturating_mul(s.into()))
            .saturating_add(T::DbWeight::get().reads(4_u64))
    }
    // not measured yet
    fn verify_slot(r: u32, ) -> Weight {
        Weight::from_parts(2_000_000, 0)
            .saturating_add(Weight::from_parts(15_000_000, 0).saturating_mul(r.into()))
    }
    // not measured yet
    fn report_missed() -> Weight {
        Weight::from_parts(480_000_000, 9000)
            .saturating_add(T::DbWeight::get().reads(14_u64))
            .saturating_add(T::DbWeight::get().writes(7_u64))
    }
    // not measured yet
    fn authorize_report_missed() -> Weight {
        Weight::from_parts(80_000_000, 6000)
            .saturating_add(T::DbWeight::get().reads(8_u64))
    }
    // not measured yet
    fn report_expired() -> Weight {
        Weight::from_parts(240_000_000, 6000)
            .saturating_add(T::DbWeight::get().reads(7_u64))
            .saturating_add(T::DbWeight::get().writes(5_u64))
    }
    // not measured yet
    fn authorize_report_expired() -> Weight {
        Weight::from_parts(25_000_000, 3600)
            .saturating_add(T::DbWeight::get().reads(2_u64))
    }
    // not measured yet
    fn set_class() -> Weight {
        Weight::from_parts(45_000_000, 3600)
            .saturating_add(T::DbWeight::get().reads(4_u64))
            .saturating_add(T::DbWeight::get().writes(1_u64))
    }
    // not measured yet
    fn set_schedule() -> Weight {
        Weight::from_parts(25_000_000, 1500)
            .saturating_add(T::DbWeight::get().writes(1_u64))
    }
    // not measured yet
    fn hook_overhead() -> Weight {
        Weight::from_parts(60_000_000, 3600)
            .saturating_add(T::DbWeight::get().reads(6_u64))
            .saturating_add(T::DbWeight::get().writes(3_u64))
    }
    // not measured yet
    fn hook_draw() -> Weight {
        Weight::from_parts(45_000_000, 3600)
            .saturating_add(T::DbWeight::get().reads(3_u64))
            .saturating_add(T::DbWeight::get().writes(2_u64))
    }
    // not measured yet
    fn hook_open() -> Weight {
        Weight::from_parts(70_000_000, 3600)
            .saturating_add(T::DbWeight::get().reads(8_u64))
            .saturating_add(T::DbWeight::get().writes(6_u64))
    }
    // not measured yet
    fn hook_expire() -> Weight {
        Weight::from_parts(260_000_000, 7000)
            .saturating_add(T::DbWeight::get().reads(8_u64))
            .saturating_add(T::DbWeight::get().writes(7_u64))
    }
    // not measured yet
    fn hook_pass_epoch() -> Weight {
        Weight::from_parts(30_000_000, 3600)
            .saturating_add(T::DbWeight::get().reads(2_u64))
            .saturating_add(T::DbWeight::get().writes(1_u64))
    }
    // not measured yet
    fn hook_forget_answer() -> Weight {
        Weight::from_parts(45_000_000, 6000)
            .saturating_add(T::DbWeight::get().reads(3_u64))
            .saturating_add(T::DbWeight::get().writes(1_u64))
    }
    // not measured yet
    fn hook_forget_round() -> Weight {
        Weight::from_parts(60_000_000, 6000)
            .saturating_add(T::DbWeight::get().reads(5_u64))
            .saturating_add(T::DbWeight::get().writes(3_u64))
    }
}

/// The same times with ParityDB's constants, for mocks.
#[rustfmt::skip]
impl WeightInfo for () {
    // not measured yet
    fn commit(s: u32, ) -> Weight {
        Weight::from_parts(110_000_000, 6000)
            .saturating_add(Weight::from_parts(500_000, 0).saturating_mul(s.into()))
            .saturating_add(ParityDbWeight::get().reads(7_u64))
            .saturating_add(ParityDbWeight::get().writes(1_u64))
    }
    // not measured yet
    fn authorize_commit(s: u32, ) -> Weight {
        Weight::from_parts(200_000_000, 6000)
            .saturating_add(Weight::from_parts(600_000, 0).saturating_mul(s.into()))
            .saturating_add(ParityDbWeight::get().reads(6_u64))
    }
    // not measured yet
    fn prove(s: u32, ) -> Weight {
        Weight::from_parts(150_000_000, 9000)
            .saturating_add(Weight::from_parts(70_000_000, 0).saturating_mul(s.into()))
            .saturating_add(ParityDbWeight::get().reads(8_u64))
            .saturating_add(ParityDbWeight::get().writes(5_u64))
    }
    // not measured yet
    fn prove_wrong(s: u32, ) -> Weight {
        Weight::from_parts(620_000_000, 9000)
            .saturating_add(Weight::from_parts(70_000_000, 0).saturating_mul(s.into()))
            .saturating_add(ParityDbWeight::get().reads(18_u64))
            .saturating_add(ParityDbWeight::get().writes(11_u64))
    }
    // not measured yet
    fn authorize_prove(s: u32, ) -> Weight {
        Weight::from_parts(120_000_000, 7000)
            .saturating_add(Weight::from_parts(9_000_000, 0).saturating_mul(s.into()))
            .saturating_add(ParityDbWeight::get().reads(4_u64))
    }
    // not measured yet
    fn verify_slot(r: u32, ) -> Weight {
        Weight::from_parts(2_000_000, 0)
            .saturating_add(Weight::from_parts(15_000_000, 0).saturating_mul(r.into()))
    }
    // not measured yet
    fn report_missed() -> Weight {
        Weight::from_parts(480_000_000, 9000)
            .saturating_add(ParityDbWeight::get().reads(14_u64))
            .saturating_add(ParityDbWeight::get().writes(7_u64))
    }
    // not measured yet
    fn authorize_report_missed() -> Weight {
        Weight::from_parts(80_000_000, 6000)
            .saturating_add(ParityDbWeight::get().reads(8_u64))
    }
    // not measured yet
    fn report_expired() -> Weight {
        Weight::from_parts(240_000_000, 6000)
            .saturating_add(ParityDbWeight::get().reads(7_u64))
            .saturating_add(ParityDbWeight::get().writes(5_u64))
    }
    // not measured yet
    fn authorize_report_expired() -> Weight {
        Weight::from_parts(25_000_000, 3600)
            .saturating_add(ParityDbWeight::get().reads(2_u64))
    }
    // not measured yet
    fn set_class() -> Weight {
        Weight::from_parts(45_000_000, 3600)
            .saturating_add(ParityDbWeight::get().reads(4_u64))
            .saturating_add(ParityDbWeight::get().writes(1_u64))
    }
    // not measured yet
    fn set_schedule() -> Weight {
        Weight::from_parts(25_000_000, 1500)
            .saturating_add(ParityDbWeight::get().writes(1_u64))
    }
    // not measured yet
    fn hook_overhead() -> Weight {
        Weight::from_parts(60_000_000, 3600)
            .saturating_add(ParityDbWeight::get().reads(6_u64))
            .saturating_add(ParityDbWeight::get().writes(3_u64))
    }
    // not measured yet
    fn hook_draw() -> Weight {
        Weight::from_parts(45_000_000, 3600)
            .saturating_add(ParityDbWeight::get().reads(3_u64))
            .saturating_add(ParityDbWeight::get().writes(2_u64))
    }
    // not measured yet
    fn hook_open() -> Weight {
        Weight::from_parts(70_000_000, 3600)
            .saturating_add(ParityDbWeight::get().reads(8_u64))
            .saturating_add(ParityDbWeight::get().writes(6_u64))
    }
    // not measured yet
    fn hook_expire() -> Weight {
        Weight::from_parts(260_000_000, 7000)
            .saturating_add(ParityDbWeight::get().reads(8_u64))
            .saturating_add(ParityDbWeight::get().writes(7_u64))
    }
    // not measured yet
    fn hook_pass_epoch() -> Weight {
        Weight::from_parts(30_000_000, 3600)
            .saturating_add(ParityDbWeight::get().reads(2_u64))
            .saturating_add(ParityDbWeight::get().writes(1_u64))
    }
    // not measured yet
    fn hook_forget_answer() -> Weight {
        Weight::from_parts(45_000_000, 6000)
            .saturating_add(ParityDbWeight::get().reads(3_u64))
            .saturating_add(ParityDbWeight::get().writes(1_u64))
    }
    // not measured yet
    fn hook_forget_round() -> Weight {
        Weight::from_parts(60_000_000, 6000)
            .saturating_add(ParityDbWeight::get().reads(5_u64))
            .saturating_add(ParityDbWeight::get().writes(3_u64))
    }
}
