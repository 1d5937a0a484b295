//! Nothing that a provider does between an offence and its slash saves a planck.

use assay_primitives::{
    machine::{
        MachineInspect,
        MachineStatus::{Retired, Unproven},
    },
    money::ASY,
    offence::Beneficiaries,
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_runtime::TokenError,
};

use crate::{Bonds, Error, Event, UnlockChunk, mock::*};

/// [`MACHINE`], unproven, with its whole bond on its way out and due.
fn all_due() {
    set_status(MACHINE, Unproven);
    assert_ok!(unbond(PROVIDER, MACHINE, MINIMUM));
    MockClock::set_epoch(UNBONDING_EPOCHS);
    forget_traces();
}

#[test]
fn withdraw_works_down_to_what_is_pending() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        all_due();
        slash(MACHINE, 10);
        take_events();
        assert_ok!(withdraw(MACHINE));

        assert_eq!(held(PROVIDER), MINIMUM / 10);
        // The rest stays due.
        assert_eq!(
            record(MACHINE).unlocking.to_vec(),
            [UnlockChunk {
                amount: MINIMUM / 10,
                due_epoch: UNBONDING_EPOCHS
            }]
        );
        assert_eq!(
            take_events(),
            [Event::Withdrawn {
                machine: MACHINE,
                amount: MINIMUM * 9 / 10
            }]
        );
        assert_noop!(withdraw(MACHINE), Error::<Test>::SlashPending);
    });
}

#[test]
fn withdraw_fails_when_all_is_pending() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        all_due();
        slash(MACHINE, 60);
        slash(MACHINE, 60);
        assert_noop!(withdraw(MACHINE), Error::<Test>::SlashPending);
        MockClock::advance_epochs(DEFER_EPOCHS);
        // Due is not enough: they must be applied.
        assert_noop!(withdraw(MACHINE), Error::<Test>::SlashPending);
        poll();
        assert_eq!(held(PROVIDER), 0);
        assert_eq!(record(MACHINE).debt, MINIMUM / 5);
        assert_noop!(withdraw(MACHINE), Error::<Test>::NothingDue);
    });
}

#[test]
fn withdraw_counts_what_stays_bonded() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_ok!(bond_extra(PROVIDER, MACHINE, 50 * ASY));
        assert_ok!(unbond(PROVIDER, MACHINE, 50 * ASY));
        MockClock::set_epoch(UNBONDING_EPOCHS);
        // The bond itself is enough for the slash.
        slash(MACHINE, 10);
        assert_ok!(withdraw(MACHINE));
        assert_eq!(held(PROVIDER), MINIMUM);
    });
}

#[test]
fn withdraw_works_after_the_slash_was_applied() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        all_due();
        let id = slash(MACHINE, 25);
        assert_ok!(withdraw(MACHINE));
        MockClock::set_epoch(id.due_epoch);
        poll();
        assert_eq!(held(PROVIDER), 0);
        assert_eq!(free(PROVIDER), ENDOWMENT - MINIMUM / 4);
        assert!(!Bonds::<Test>::contains_key(MACHINE));
    });
}

#[test]
fn retiring_saves_nothing() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = slash(MACHINE, 100);
        retire(MACHINE);
        assert_ok!(unbond(PROVIDER, MACHINE, MINIMUM));
        assert_noop!(withdraw(MACHINE), Error::<Test>::NothingDue);
        MockClock::set_epoch(UNBONDING_EPOCHS + 10);
        assert_noop!(withdraw(MACHINE), Error::<Test>::SlashPending);
        assert_eq!(MockRegistry::status(MACHINE), Some(Retired));

        assert_ok!(apply_slash(id));
        assert_eq!(MockRegistry::status(MACHINE), None);
        assert_eq!(total_balance(PROVIDER), ENDOWMENT - MINIMUM);
    });
}

#[test]
fn retiring_without_a_bond_saves_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        let id = slash(MACHINE, 10);
        retire(MACHINE);
        MockClock::set_epoch(id.due_epoch);
        poll();
        assert_eq!(MockRegistry::status(MACHINE), Some(Retired));
        assert_eq!(debt_of(MACHINE, id), MINIMUM / 10);
    });
}

#[test]
fn taking_the_bond_out_before_the_offence_saves_nothing() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        all_due();
        assert_ok!(withdraw(MACHINE));
        let id = slash_now(MACHINE, 10, Beneficiaries::nobody());
        assert_eq!(debt_of(MACHINE, id), MINIMUM / 10);
    });
}

#[test]
fn spending_saves_nothing() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = slash(MACHINE, 100);
        assert_ok!(Balances::transfer_all(
            RuntimeOrigin::signed(PROVIDER),
            STRANGER,
            false
        ));
        assert!(free(PROVIDER) <= EXISTENTIAL_DEPOSIT);
        assert_eq!(held(PROVIDER), MINIMUM);
        assert_noop!(
            Balances::transfer_allow_death(RuntimeOrigin::signed(PROVIDER), STRANGER, MINIMUM),
            TokenError::FundsUnavailable
        );
        MockClock::set_epoch(id.due_epoch);
        poll();
        assert_eq!(held(PROVIDER), 0);
    });
}

#[test]
fn splitting_into_chunks_saves_nothing() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        set_status(MACHINE, Unproven);
        for epoch in 0..8 {
            MockClock::set_epoch(epoch);
            assert_ok!(unbond(PROVIDER, MACHINE, MINIMUM / 8));
        }
        assert_eq!(held(PROVIDER), MINIMUM);
        // Five of the chunks are due, and what is pending is more than the other three.
        slash(MACHINE, 50);
        assert_ok!(withdraw(MACHINE));
        assert_eq!(held(PROVIDER), MINIMUM / 2);
        assert_eq!(record(MACHINE).unlocking.len(), 4);
        assert_noop!(withdraw(MACHINE), Error::<Test>::SlashPending);
        MockClock::advance_epochs(DEFER_EPOCHS);
        poll();
        assert_eq!(held(PROVIDER), 0);
        assert_eq!(free(PROVIDER), ENDOWMENT - MINIMUM / 2);
    });
}
