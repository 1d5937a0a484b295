//! Fixtures of a market with the real registry: a hardware class, a provider, and machines that are active.

use assay_primitives::{
    machine::{HardwareClassId, Location, MachineId, MachineStatus},
    money::ASY,
    stake::{BondStanding, OnBondChange},
};
use pallet_provider_registry::{
    Config, GenesisHardwareClass, MachineRegistration, Machines, NextMachineId, Pallet,
};
use polkadot_sdk::{
    frame_support::assert_ok,
    frame_system::{self, RawOrigin},
    sp_core::{Pair, sr25519},
    sp_runtime::AccountId32,
};

use crate::{worker_account, worker_pair};

/// Returns a hardware class of the genesis, whose slots are to be bonded with one ASY each.
pub fn genesis_class(
    class: HardwareClassId,
    name: &str,
    vram_mib: u32,
    compute_score: u32,
) -> GenesisHardwareClass {
    GenesisHardwareClass {
        class,
        name: name.into(),
        vram_mib,
        cuda_cores: 0,
        compute_score,
        stake_per_slot: ASY,
    }
}

/// Makes the account a provider.
pub fn register_provider<T>(provider: &AccountId32)
where
    T: Config + frame_system::Config<AccountId = AccountId32>,
{
    let name = b"Acme".to_vec().try_into().expect("the name is short");
    assert_ok!(Pallet::<T>::register_provider(signed::<T>(provider), name));
}

/// Registers a machine of one slot at one ASY an hour, with the key of the worker with this number, and makes
/// it active. Its sealing key is the number, 32 times.
pub fn active_machine<T>(provider: &AccountId32, class: HardwareClassId, worker: u8) -> MachineId
where
    T: Config + frame_system::Config<AccountId = AccountId32>,
{
    let machine = NextMachineId::<T>::get();
    let registration = MachineRegistration {
        worker_key: worker_account(worker),
        sealing_key: [worker; 32],
        class,
        slots: 1,
        cpu_cores: 64,
        ram_mib: 65_536,
        disk_gib: 1_024,
        upload_mbps: 1_000,
        download_mbps: 1_000,
        location: Location::default(),
        region: b"eu-central".to_vec().try_into().expect("the region is short"),
        endpoint: b"http://192.0.2.1:4001"
            .to_vec()
            .try_into()
            .expect("the endpoint is short"),
        ask: ASY,
    };
    assert_ok!(Pallet::<T>::register_machine(
        signed::<T>(provider),
        registration,
        agreement::<T>(provider, worker)
    ));
    Pallet::<T>::on_bond_change(machine, BondStanding::Sufficient);
    let status = Machines::<T>::get(machine).map(|record| record.status);
    assert_eq!(status, Some(MachineStatus::Active));
    machine
}

/// Gives a machine the key of another worker, or the same one, and another sealing key.
pub fn rotate_keys<T>(provider: &AccountId32, machine: MachineId, worker: u8, sealing_key: [u8; 32])
where
    T: Config + frame_system::Config<AccountId = AccountId32>,
{
    assert_ok!(Pallet::<T>::rotate_keys(
        signed::<T>(provider),
        machine,
        worker_account(worker),
        sealing_key,
        agreement::<T>(provider, worker)
    ));
}

/// Returns the worker's agreement to serve the provider.
fn agreement<T>(provider: &AccountId32, worker: u8) -> sr25519::Signature
where
    T: Config + frame_system::Config<AccountId = AccountId32>,
{
    worker_pair(worker).sign(&Pallet::<T>::worker_key_message(provider))
}

fn signed<T>(account: &AccountId32) -> T::RuntimeOrigin
where
    T: frame_system::Config<AccountId = AccountId32>,
{
    RawOrigin::Signed(account.clone()).into()
}
