//! Deposits against griefing: a deposit covers every byte that the chain keeps for its payer.

use assay_primitives::{clock::EpochIndex, machine::MachineId, market::Requirements, money::Balance};
use assay_runtime::{
    AccountId, BlockNumber, Hash, Nonce, Runtime, SessionKeys,
    configs::{governance::PreimageBaseDeposit, proxies::ProxyType, system::storage_deposit},
};
use codec::MaxEncodedLen;
use pallet_hardware_challenge::ProofRecord;
use pallet_job_escrow::{AssignmentRecord, Config as EscrowConfig, JobId, JobRecord, RefusedMachines};
use pallet_provider_registry::{Config as RegistryConfig, MachineRecord, OfferKey, ProviderRecord};
use pallet_provider_staking::BondRecord;
use pallet_reward_emission::RewardDestination;
use polkadot_sdk::{
    frame_support::traits::Get, frame_system::AccountInfo, pallet_balances::AccountData, pallet_multisig,
    pallet_preimage, pallet_proxy, sp_core, sp_runtime::traits::OpaqueKeys,
};

/// Length in bytes of the hash before a key of kind `Twox64Concat`.
const TWOX_64: usize = 8;
/// Length in bytes of the hash before a key of kind `Blake2_128Concat`.
const BLAKE2_128: usize = 16;
/// Length in bytes of the length prefix of a list of at most 63 entries, and of a longer one.
const SHORT_LENGTH: usize = 1;
const LONG_LENGTH: usize = 4;

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
        // ProviderStaking: Bonds. The record outlasts the bond itself if a machine has strikes.
        TWOX_64 + machine + BondRecord::<AccountId>::max_encoded_len(),
        // RewardEmission: RewardDestinations.
        TWOX_64 + machine + RewardDestination::<AccountId>::max_encoded_len(),
        // HardwareChallenge: Proofs and Expiries. Its records of rounds are removed soon.
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

/// Asserts that a deposit covers items of so many bytes each.
#[track_caller]
fn assert_covers(held: Balance, items: &[usize]) {
    let (count, bytes) = (items.len(), items.iter().sum::<usize>());
    assert!(
        held >= storage_deposit(count as u32, bytes as u32),
        "{bytes} bytes in {count} items"
    );
}

/// Asserts that the deposit for each entry of a record covers its bytes.
#[track_caller]
fn assert_covers_entry(held: Balance, bytes: usize) {
    assert!(held >= storage_deposit(0, bytes as u32), "{bytes} bytes");
}

#[test]
fn whoever_sets_session_keys_pays_for_them() {
    let account = AccountId::max_encoded_len();
    let kinds = SessionKeys::key_ids();
    // sr25519 and ed25519 keys are equally long.
    let key = sp_core::sr25519::Public::max_encoded_len();
    // NextKeys, and KeyOwner for each.
    let mut items = vec![TWOX_64 + account + kinds.len() * key];
    items.extend(
        kinds
            .iter()
            .map(|kind| TWOX_64 + kind.0.len() + SHORT_LENGTH + key + account),
    );
    assert_covers(<Runtime as pallet_session::Config>::KeyDeposit::get(), &items);
}

#[test]
fn whoever_acts_through_others_pays_for_the_records() {
    let (account, balance) = (AccountId::max_encoded_len(), Balance::max_encoded_len());
    // Proxies and Announcements: one record for an account, with an entry for each.
    let record = TWOX_64 + account + SHORT_LENGTH + balance;
    assert_covers(
        <Runtime as pallet_proxy::Config>::ProxyDepositBase::get(),
        &[record],
    );
    assert_covers(
        <Runtime as pallet_proxy::Config>::AnnouncementDepositBase::get(),
        &[record],
    );
    assert_covers_entry(
        <Runtime as pallet_proxy::Config>::ProxyDepositFactor::get(),
        pallet_proxy::ProxyDefinition::<AccountId, ProxyType, BlockNumber>::max_encoded_len(),
    );
    assert_covers_entry(
        <Runtime as pallet_proxy::Config>::AnnouncementDepositFactor::get(),
        pallet_proxy::Announcement::<AccountId, Hash, BlockNumber>::max_encoded_len(),
    );
    // Multisigs: the time, the deposit, its payer, and each approval.
    let key = TWOX_64 + account + BLAKE2_128 + Hash::max_encoded_len();
    let when = pallet_multisig::Timepoint::<BlockNumber>::max_encoded_len();
    assert_covers(
        <Runtime as pallet_multisig::Config>::DepositBase::get(),
        &[key + when + balance + account + LONG_LENGTH],
    );
    assert_covers_entry(
        <Runtime as pallet_multisig::Config>::DepositFactor::get(),
        account,
    );
}

#[test]
fn whoever_notes_a_preimage_pays_for_it() {
    let hash = Hash::max_encoded_len();
    // RequestStatusFor with a ticket that is a balance, and PreimageFor, whose bytes are paid one by one.
    let status = pallet_preimage::RequestStatus::<AccountId, Balance>::max_encoded_len();
    let items = [hash + status, hash + u32::max_encoded_len() + LONG_LENGTH];
    assert_covers(PreimageBaseDeposit::get(), &items);
}
