//! Weights of `pallet_availability`.
//!
//! Not measured yet: the times are those of like work in `pallet_reward_emission` and `pallet_provider_staking`.

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
    fn report(f: u32) -> Weight;
    fn authorize_report(f: u32) -> Weight;
    fn update_uptime(e: u32) -> Weight;
    fn claim() -> Weight;
    fn on_epoch_end() -> Weight;
    fn hook_overhead() -> Weight;
    fn hook_judge() -> Weight;
    fn hook_settle(v: u32) -> Weight;
    fn hook_forget_failure() -> Weight;
    fn hook_forget_epoch() -> Weight;
}

/// The measured weights, with the database of the runtime `T`.
pub struct SubstrateWeight<T>(PhantomData<T>);

#[rustfmt::skip]
impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    fn report(f: u32, ) -> Weight {
        Weight::from_parts(158_506_000, 3816)
            .saturating_add(Weight::from_parts(36_219_521, 0).saturating_mul(f.into()))
            .saturating_add(T::DbWeight::get().reads(3_u64))
            .saturating_add(T::DbWeight::get().reads((2_u64).saturating_mul(f.into())))
            .saturating_add(T::DbWeight::get().writes(2_u64))
            .saturating_add(T::DbWeight::get().writes((1_u64).saturating_mul(f.into())))
            .saturating_add(Weight::from_parts(0, 5350).saturating_mul(f.into()))
    }
    fn authorize_report(f: u32, ) -> Weight {
        Weight::from_parts(346_366_000, 18000)
            .saturating_add(Weight::from_parts(18_109_760, 0).saturating_mul(f.into()))
            .saturating_add(T::DbWeight::get().reads(4_u64))
    }
    fn update_uptime(e: u32, ) -> Weight {
        Weight::from_parts(366_346_000, 6012)
            .saturating_add(Weight::from_parts(36_219_521, 0).saturating_mul(e.into()))
            .saturating_add(T::DbWeight::get().reads(8_u64))
            .saturating_add(T::DbWeight::get().reads((2_u64).saturating_mul(e.into())))
            .saturating_add(T::DbWeight::get().writes(6_u64))
            .saturating_add(Weight::from_parts(0, 5350).saturating_mul(e.into()))
    }
    fn claim() -> Weight {
        Weight::from_parts(782_598_000, 6012)
            .saturating_add(T::DbWeight::get().reads(3_u64))
            .saturating_add(T::DbWeight::get().writes(3_u64))
    }
    fn on_epoch_end() -> Weight {
        Weight::from_parts(128_982_000, 18000)
            .saturating_add(T::DbWeight::get().reads(6_u64))
            .saturating_add(T::DbWeight::get().writes(1_u64))
    }
    fn hook_overhead() -> Weight {
        Weight::from_parts(114_871_000, 3691)
            .saturating_add(T::DbWeight::get().reads(3_u64))
            .saturating_add(T::DbWeight::get().writes(2_u64))
    }
    fn hook_judge() -> Weight {
        Weight::from_parts(114_871_000, 3691)
            .saturating_add(T::DbWeight::get().reads(3_u64))
            .saturating_add(T::DbWeight::get().writes(1_u64))
    }
    fn hook_settle(v: u32, ) -> Weight {
        Weight::from_parts(158_506_000, 18000)
            .saturating_add(Weight::from_parts(36_219_521, 0).saturating_mul(v.into()))
            .saturating_add(T::DbWeight::get().reads(3_u64))
            .saturating_add(T::DbWeight::get().reads((1_u64).saturating_mul(v.into())))
            .saturating_add(T::DbWeight::get().writes(1_u64))
            .saturating_add(T::DbWeight::get().writes((1_u64).saturating_mul(v.into())))
            .saturating_add(Weight::from_parts(0, 2539).saturating_mul(v.into()))
    }
    fn hook_forget_failure() -> Weight {
        Weight::from_parts(114_871_000, 3691)
            .saturating_add(T::DbWeight::get().reads(2_u64))
            .saturating_add(T::DbWeight::get().writes(1_u64))
    }
    fn hook_forget_epoch() -> Weight {
        Weight::from_parts(114_871_000, 3691)
            .saturating_add(T::DbWeight::get().reads(2_u64))
            .saturating_add(T::DbWeight::get().writes(1_u64))
    }
}

/// The same times with ParityDB's constants, for mocks.
#[rustfmt::skip]
impl WeightInfo for () {
    fn report(f: u32, ) -> Weight {
        Weight::from_parts(158_506_000, 3816)
            .saturating_add(Weight::from_parts(36_219_521, 0).saturating_mul(f.into()))
            .saturating_add(ParityDbWeight::get().reads_writes(3_u64, 2_u64))
            .saturating_add(ParityDbWeight::get().reads((2_u64).saturating_mul(f.into())))
            .saturating_add(ParityDbWeight::get().writes((1_u64).saturating_mul(f.into())))
            .saturating_add(Weight::from_parts(0, 5350).saturating_mul(f.into()))
    }
    fn authorize_report(f: u32, ) -> Weight {
        Weight::from_parts(346_366_000, 18000)
            .saturating_add(Weight::from_parts(18_109_760, 0).saturating_mul(f.into()))
            .saturating_add(ParityDbWeight::get().reads_writes(4_u64, 0_u64))
    }
    fn update_uptime(e: u32, ) -> Weight {
        Weight::from_parts(366_346_000, 6012)
            .saturating_add(Weight::from_parts(36_219_521, 0).saturating_mul(e.into()))
            .saturating_add(ParityDbWeight::get().reads_writes(8_u64, 6_u64))
            .saturating_add(ParityDbWeight::get().reads((2_u64).saturating_mul(e.into())))
            .saturating_add(Weight::from_parts(0, 5350).saturating_mul(e.into()))
    }
    fn claim() -> Weight {
        Weight::from_parts(782_598_000, 6012)
            .saturating_add(ParityDbWeight::get().reads_writes(3_u64, 3_u64))
    }
    fn on_epoch_end() -> Weight {
        Weight::from_parts(128_982_000, 18000)
            .saturating_add(ParityDbWeight::get().reads_writes(6_u64, 1_u64))
    }
    fn hook_overhead() -> Weight {
        Weight::from_parts(114_871_000, 3691)
            .saturating_add(ParityDbWeight::get().reads_writes(3_u64, 2_u64))
    }
    fn hook_judge() -> Weight {
        Weight::from_parts(114_871_000, 3691)
            .saturating_add(ParityDbWeight::get().reads_writes(3_u64, 1_u64))
    }
    fn hook_settle(v: u32, ) -> Weight {
        Weight::from_parts(158_506_000, 18000)
            .saturating_add(Weight::from_parts(36_219_521, 0).saturating_mul(v.into()))
            .saturating_add(ParityDbWeight::get().reads_writes(3_u64, 1_u64))
            .saturating_add(ParityDbWeight::get().reads((1_u64).saturating_mul(v.into())))
            .saturating_add(ParityDbWeight::get().writes((1_u64).saturating_mul(v.into())))
            .saturating_add(Weight::from_parts(0, 2539).saturating_mul(v.into()))
    }
    fn hook_forget_failure() -> Weight {
        Weight::from_parts(114_871_000, 3691)
            .saturating_add(ParityDbWeight::get().reads_writes(2_u64, 1_u64))
    }
    fn hook_forget_epoch() -> Weight {
        Weight::from_parts(114_871_000, 3691)
            .saturating_add(ParityDbWeight::get().reads_writes(2_u64, 1_u64))
    }
}
