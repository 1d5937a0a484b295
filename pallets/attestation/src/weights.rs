//! Weights of `pallet_attestation`: estimates, from the times of the evidence crate in WebAssembly and the entries that each
//! call reads and writes. Not measured; `scripts/benchmark` replaces them.

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
    fn submit_quote() -> Weight;
    fn renew_quote() -> Weight;
    fn submit_snp_report() -> Weight;
    fn renew_snp_report() -> Weight;
    fn submit_gpu_report() -> Weight;
    fn renew_gpu_report() -> Weight;
    fn withdraw_evidence() -> Weight;
    fn remove_key() -> Weight;
    fn submit_tcb_info(b: u32) -> Weight;
    fn submit_qe_identity(b: u32) -> Weight;
    fn submit_revocation_list(b: u32) -> Weight;
    fn allow_workload() -> Weight;
    fn disallow_workload() -> Weight;
    fn set_reference() -> Weight;
    fn remove_reference() -> Weight;
    fn add_root() -> Weight;
    fn remove_root() -> Weight;
    fn set_policies() -> Weight;
    fn remove_collateral() -> Weight;
    fn ban_device() -> Weight;
    fn unban_device() -> Weight;
    fn condemn() -> Weight;
    fn hook_overhead() -> Weight;
    fn hook_expire() -> Weight;
    fn hook_next_slot() -> Weight;
}

/// The weights, with the database of the runtime `T`.
pub struct SubstrateWeight<T>(PhantomData<T>);

#[rustfmt::skip]
impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    fn submit_quote() -> Weight {
        Weight::from_parts(12_000_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(14_u64, 8_u64))
    }
    fn renew_quote() -> Weight {
        Weight::from_parts(3_000_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(14_u64, 6_u64))
    }
    fn submit_snp_report() -> Weight {
        Weight::from_parts(16_000_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(10_u64, 8_u64))
    }
    fn renew_snp_report() -> Weight {
        Weight::from_parts(5_000_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(10_u64, 6_u64))
    }
    fn submit_gpu_report() -> Weight {
        Weight::from_parts(26_000_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(13_u64, 8_u64))
    }
    fn renew_gpu_report() -> Weight {
        Weight::from_parts(6_000_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(14_u64, 6_u64))
    }
    fn withdraw_evidence() -> Weight {
        Weight::from_parts(150_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(6_u64, 7_u64))
    }
    fn remove_key() -> Weight {
        Weight::from_parts(60_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(3_u64, 3_u64))
    }
    fn submit_tcb_info(b: u32, ) -> Weight {
        Weight::from_parts(6_000_000_000, 0)
            .saturating_add(Weight::from_parts(30_000, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads_writes(6_u64, 4_u64))
    }
    fn submit_qe_identity(b: u32, ) -> Weight {
        Weight::from_parts(6_000_000_000, 0)
            .saturating_add(Weight::from_parts(30_000, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads_writes(6_u64, 4_u64))
    }
    fn submit_revocation_list(b: u32, ) -> Weight {
        Weight::from_parts(14_000_000_000, 0)
            .saturating_add(Weight::from_parts(15_000, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads_writes(6_u64, 4_u64))
    }
    fn allow_workload() -> Weight {
        Weight::from_parts(15_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(0_u64, 1_u64))
    }
    fn disallow_workload() -> Weight {
        Weight::from_parts(20_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(1_u64, 1_u64))
    }
    fn set_reference() -> Weight {
        Weight::from_parts(120_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(0_u64, 1_u64))
    }
    fn remove_reference() -> Weight {
        Weight::from_parts(60_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(1_u64, 1_u64))
    }
    fn add_root() -> Weight {
        Weight::from_parts(8_000_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(1_u64, 1_u64))
    }
    fn remove_root() -> Weight {
        Weight::from_parts(200_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(1_u64, 1_u64))
    }
    fn set_policies() -> Weight {
        Weight::from_parts(20_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(0_u64, 1_u64))
    }
    fn remove_collateral() -> Weight {
        Weight::from_parts(200_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(3_u64, 3_u64))
    }
    fn ban_device() -> Weight {
        Weight::from_parts(400_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(10_u64, 9_u64))
    }
    fn unban_device() -> Weight {
        Weight::from_parts(20_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(1_u64, 1_u64))
    }
    fn condemn() -> Weight {
        Weight::from_parts(600_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(16_u64, 14_u64))
    }
    fn hook_overhead() -> Weight {
        Weight::from_parts(15_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(3_u64, 0_u64))
    }
    fn hook_expire() -> Weight {
        Weight::from_parts(160_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(9_u64, 8_u64))
    }
    fn hook_next_slot() -> Weight {
        Weight::from_parts(20_000_000, 0)
            .saturating_add(T::DbWeight::get().reads_writes(1_u64, 1_u64))
    }
}

/// The same times with ParityDB's constants, for mocks.
#[rustfmt::skip]
impl WeightInfo for () {
    fn submit_quote() -> Weight {
        Weight::from_parts(12_000_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(14_u64, 8_u64))
    }
    fn renew_quote() -> Weight {
        Weight::from_parts(3_000_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(14_u64, 6_u64))
    }
    fn submit_snp_report() -> Weight {
        Weight::from_parts(16_000_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(10_u64, 8_u64))
    }
    fn renew_snp_report() -> Weight {
        Weight::from_parts(5_000_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(10_u64, 6_u64))
    }
    fn submit_gpu_report() -> Weight {
        Weight::from_parts(26_000_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(13_u64, 8_u64))
    }
    fn renew_gpu_report() -> Weight {
        Weight::from_parts(6_000_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(14_u64, 6_u64))
    }
    fn withdraw_evidence() -> Weight {
        Weight::from_parts(150_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(6_u64, 7_u64))
    }
    fn remove_key() -> Weight {
        Weight::from_parts(60_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(3_u64, 3_u64))
    }
    fn submit_tcb_info(b: u32, ) -> Weight {
        Weight::from_parts(6_000_000_000, 0)
            .saturating_add(Weight::from_parts(30_000, 0).saturating_mul(b.into()))
            .saturating_add(ParityDbWeight::get().reads_writes(6_u64, 4_u64))
    }
    fn submit_qe_identity(b: u32, ) -> Weight {
        Weight::from_parts(6_000_000_000, 0)
            .saturating_add(Weight::from_parts(30_000, 0).saturating_mul(b.into()))
            .saturating_add(ParityDbWeight::get().reads_writes(6_u64, 4_u64))
    }
    fn submit_revocation_list(b: u32, ) -> Weight {
        Weight::from_parts(14_000_000_000, 0)
            .saturating_add(Weight::from_parts(15_000, 0).saturating_mul(b.into()))
            .saturating_add(ParityDbWeight::get().reads_writes(6_u64, 4_u64))
    }
    fn allow_workload() -> Weight {
        Weight::from_parts(15_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(0_u64, 1_u64))
    }
    fn disallow_workload() -> Weight {
        Weight::from_parts(20_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(1_u64, 1_u64))
    }
    fn set_reference() -> Weight {
        Weight::from_parts(120_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(0_u64, 1_u64))
    }
    fn remove_reference() -> Weight {
        Weight::from_parts(60_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(1_u64, 1_u64))
    }
    fn add_root() -> Weight {
        Weight::from_parts(8_000_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(1_u64, 1_u64))
    }
    fn remove_root() -> Weight {
        Weight::from_parts(200_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(1_u64, 1_u64))
    }
    fn set_policies() -> Weight {
        Weight::from_parts(20_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(0_u64, 1_u64))
    }
    fn remove_collateral() -> Weight {
        Weight::from_parts(200_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(3_u64, 3_u64))
    }
    fn ban_device() -> Weight {
        Weight::from_parts(400_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(10_u64, 9_u64))
    }
    fn unban_device() -> Weight {
        Weight::from_parts(20_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(1_u64, 1_u64))
    }
    fn condemn() -> Weight {
        Weight::from_parts(600_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(16_u64, 14_u64))
    }
    fn hook_overhead() -> Weight {
        Weight::from_parts(15_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(3_u64, 0_u64))
    }
    fn hook_expire() -> Weight {
        Weight::from_parts(160_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(9_u64, 8_u64))
    }
    fn hook_next_slot() -> Weight {
        Weight::from_parts(20_000_000, 0)
            .saturating_add(ParityDbWeight::get().reads_writes(1_u64, 1_u64))
    }
}
