//! Griefing has a price: a deposit covers every byte that the chain keeps for who pays it.

use assay_primitives::{clock::EpochIndex, machine::MachineId, market::Requirements, money::Balance};
use assay_runtime::{AccountId, Nonce, Runtime, configs::system::storage_deposit};
use codec::MaxEncodedLen;
use pallet_hardware_challenge::ProofRecord;
use pallet_job_escrow::{AssignmentRecord, Config as EscrowConfig, JobId, JobRecord, RefusedMachines};
use pallet_provider_registry::{Config as RegistryConfig, MachineRecord, OfferKey, ProviderRecord};
use pallet_provider_staking::BondRecord;
use pallet_reward_emission::RewardDestination;
use polkadot_sdk::{frame_support::traits::Get, frame_system::AccountInfo, pallet_balances::AccountData};

/// Bytes of the hash before a key of kind `Twox64Concat`.
const TWOX_64: usize = 8;
/// Bytes of the hash before a key of kind `Blake2_128Concat`.
const BLAKE2_128: usize = 16;

#[test]
fn a_provider_pays_for_its_record() {
    let bytes = BLAKE2_128 + AccountId::max_encoded_len() + ProviderRecord::max_encoded_len();
    let held: Balance = <Runtime as RegistryConfig>::ProviderDeposit::get();
    assert!(held >= storage_deposit(1, bytes as u32));
}

#[test]
fn a_provider_pays_for_each_machine() {
    let (account, machine) = (AccountId::max_encoded_len(), MachineId::max_encoded_len());
    let items = [
        // System: Account, of the worker key.
        BLAKE2_128 + account + AccountInfo::<Nonce, AccountData<Balance>>::max_encoded_len(),
        // ProviderRegistry: Machines, WorkerKeys, MachinesByProvider, and Offers twice.
        TWOX_64 + machine + MachineRecord::<AccountId>::max_encoded_len(),
        BLAKE2_128 + account + machine,
        BLAKE2_128 + account + TWOX_64 + machine,
        OfferKey::max_encoded_len(),
        OfferKey::max_encoded_len(),
        // ProviderStaking: Bonds, which outlasts the bond itself where a machine has strikes.
        TWOX_64 + machine + BondRecord::<AccountId>::max_encoded_len(),
        // RewardEmission: RewardDestinations.
        TWOX_64 + machine + RewardDestination::<AccountId>::max_encoded_len(),
        // HardwareChallenge: Proofs and Expiries. What it keeps of rounds is forgotten soon.
        TWOX_64 + machine + ProofRecord::max_encoded_len(),
        TWOX_64 + EpochIndex::max_encoded_len() + TWOX_64 + machine,
    ];
    let held: Balance = <Runtime as RegistryConfig>::MachineDeposit::get();
    let (count, bytes) = (items.len(), items.iter().sum::<usize>());
    assert!(
        held >= storage_deposit(count as u32, bytes as u32),
        "{bytes} bytes in {count} items"
    );
}

#[test]
fn a_consumer_pays_for_each_job() {
    let (account, machine, job) = (
        AccountId::max_encoded_len(),
        MachineId::max_encoded_len(),
        JobId::max_encoded_len(),
    );
    let of_job = [
        // Jobs and ConsumerJobs.
        TWOX_64 + job + JobRecord::<AccountId>::max_encoded_len(),
        BLAKE2_128 + account + TWOX_64 + job,
    ];
    let of_request = [
        TWOX_64 + job + Requirements::max_encoded_len(),
        TWOX_64 + job + RefusedMachines::max_encoded_len(),
    ];
    let of_assignment = [
        // Assignments and MachineJobs.
        TWOX_64 + job + TWOX_64 + machine + AssignmentRecord::<AccountId>::max_encoded_len(),
        TWOX_64 + machine + TWOX_64 + job,
    ];
    let held: [(Balance, &[usize]); 3] = [
        (<Runtime as EscrowConfig>::JobDeposit::get(), &of_job),
        (<Runtime as EscrowConfig>::RequestDeposit::get(), &of_request),
        (
            <Runtime as EscrowConfig>::AssignmentDeposit::get(),
            &of_assignment,
        ),
    ];
    for (held, items) in held {
        let (count, bytes) = (items.len(), items.iter().sum::<usize>());
        assert!(
            held >= storage_deposit(count as u32, bytes as u32),
            "{bytes} bytes in {count} items"
        );
    }
}
