//! A worker key can speak without a balance, as long as it serves a machine and no longer.

use assay_primitives::{
    money::{ASY, MILLI_ASY},
    stake::BondStanding::Sufficient,
};
use polkadot_sdk::{
    frame_support::{assert_ok, traits::fungible::Mutate},
    frame_system,
};

use crate::{WorkerKeys, mock::*};

/// Returns how many references keep the account alive whatever it owns.
fn sufficients(who: &AccountId) -> u32 {
    frame_system::Account::<Test>::get(who).sufficients
}

fn rotate(machine: u64, worker_number: u8) {
    assert_ok!(ProviderRegistry::rotate_keys(
        RuntimeOrigin::signed(PROVIDER),
        machine,
        worker(worker_number),
        [worker_number; 32],
        agreement(worker_number, &PROVIDER),
    ));
}

#[test]
fn worker_key_has_an_account_while_it_serves() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        assert!(!System::account_exists(&worker(1)));
        let machine = unproven_machine(PROVIDER, 1);
        assert!(System::account_exists(&worker(1)));
        assert_eq!(sufficients(&worker(1)), 1);
        assert_eq!(Balances::free_balance(worker(1)), 0);

        assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(PROVIDER), machine));
        assert!(!System::account_exists(&worker(1)));
        // It may serve again.
        unproven_machine(PROVIDER, 1);
        assert_eq!(sufficients(&worker(1)), 1);
    });
}

#[test]
fn worker_key_of_a_retired_machine_is_free_although_the_record_stays() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(PROVIDER), machine));
        assert!(record(machine).worker_key == worker(1));
        assert!(!System::account_exists(&worker(1)));
        // Another machine takes the key, and the first one's end takes nothing from it.
        unproven_machine(OTHER_PROVIDER, 1);
        MockClock::set_epoch(2);
        change_bond(machine, 0, Sufficient);
        assert_eq!(status(machine), None);
        assert_eq!(sufficients(&worker(1)), 1);
    });
}

#[test]
fn rotate_keys_moves_the_reference() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = unproven_machine(PROVIDER, 1);
        System::inc_account_nonce(worker(1));
        // The same key keeps its account, and so its nonce.
        rotate(machine, 1);
        assert_eq!(
            (sufficients(&worker(1)), System::account_nonce(worker(1))),
            (1, 1)
        );

        rotate(machine, 2);
        assert!(!System::account_exists(&worker(1)));
        assert_eq!(sufficients(&worker(2)), 1);
        assert_eq!(WorkerKeys::<Test>::iter_keys().collect::<Vec<_>>(), [worker(2)]);
    });
}

#[test]
fn worker_key_that_owns_something_keeps_it() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        Balances::set_balance(&worker(1), ASY);
        let machine = unproven_machine(PROVIDER, 1);
        // Everything may leave while it serves, and the nonce stays.
        System::inc_account_nonce(worker(1));
        assert_ok!(Balances::transfer_all(
            RuntimeOrigin::signed(worker(1)),
            STRANGER,
            false
        ));
        assert_eq!(Balances::free_balance(worker(1)), 0);
        assert_eq!(System::account_nonce(worker(1)), 1);

        Balances::set_balance(&worker(1), MILLI_ASY);
        assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(PROVIDER), machine));
        assert_eq!(Balances::free_balance(worker(1)), MILLI_ASY);
        assert_eq!(sufficients(&worker(1)), 0);
    });
}
