//! Benchmarks of the pallets whose weights are measured in this runtime.

use alloc::{string::String, vec::Vec};

use polkadot_sdk::{
    frame_benchmarking::{BenchmarkBatch, BenchmarkConfig, BenchmarkList, define_benchmarks},
    frame_support::traits::{StorageInfo, StorageInfoTrait, WhitelistedStorageKeys},
    frame_system_benchmarking::Pallet as SystemBench,
};

use crate::{
    AllPalletsWithSystem, Attestation, Availability, ChainClock, FinalityView, HardwareChallenge, JobEscrow,
    ProviderRegistry, ProviderStaking, RewardEmission, Runtime,
};

define_benchmarks!(
    [frame_system, SystemBench::<Runtime>]
    [pallet_balances, crate::Balances]
    [pallet_chain_clock, ChainClock]
    [pallet_provider_registry, ProviderRegistry]
    [pallet_provider_staking, ProviderStaking]
    [pallet_job_escrow, JobEscrow]
    [pallet_reward_emission, RewardEmission]
    [pallet_hardware_challenge, HardwareChallenge]
    [pallet_availability, Availability]
    [pallet_attestation, Attestation]
    [pallet_finality_view, FinalityView]
);

impl polkadot_sdk::frame_system_benchmarking::Config for Runtime {}

/// Returns the list of benchmarks.
pub(crate) fn metadata(extra: bool) -> (Vec<BenchmarkList>, Vec<StorageInfo>) {
    let mut list = Vec::<BenchmarkList>::new();
    list_benchmarks!(list, extra);
    (list, AllPalletsWithSystem::storage_info())
}

/// Runs one benchmark.
pub(crate) fn dispatch(config: BenchmarkConfig) -> Result<Vec<BenchmarkBatch>, String> {
    let whitelist = AllPalletsWithSystem::whitelisted_storage_keys();
    let mut batches = Vec::<BenchmarkBatch>::new();
    let params = (&config, &whitelist);
    add_benchmarks!(params, batches);
    Ok(batches)
}
