use assay_primitives::{
    machine::{
        MachineInspect,
        MachineStatus::{Active, Draining, Retired, Suspended, Unproven},
        SuspensionReason::{BondTooLow, OwnRequest},
    },
    money::ASY,
    stake::{
        BondInspect,
        BondStanding::{Sufficient, TooLow},
    },
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

use crate::{Bonds, Error, Event, MAX_UNLOCK_CHUNKS, UnlockChunk, mock::*};

/// [`MACHINE`] has its minimum bonded and so much more.
fn with_extra(extra: u128) {
    assert_ok!(bond_extra(PROVIDER, MACHINE, extra));
    take_events();
    BondChanges::set(Vec::new());
}

#[test]
fn unbond_works() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        with_extra(10 * ASY);
        MockClock::set_epoch(5);
        assert_ok!(unbond(PROVIDER, MACHINE, 4 * ASY));

        let due_epoch = 5 + UNBONDING_EPOCHS;
        assert_eq!(record(MACHINE).bonded, MINIMUM + 6 * ASY);
        assert_eq!(
            record(MACHINE).unlocking.to_vec(),
            [UnlockChunk {
                amount: 4 * ASY,
                due_epoch
            }]
        );
        // It is still held, and still to lose.
        assert_eq!(held(PROVIDER), MINIMUM + 10 * ASY);
        assert_eq!(held_for(MACHINE), MINIMUM + 10 * ASY);
        assert_eq!(
            take_events(),
            [Event::Unbonded {
                machine: MACHINE,
                amount: 4 * ASY,
                due_epoch
            }]
        );
        assert_eq!(BondChanges::get(), [(MACHINE, Sufficient, MINIMUM + 10 * ASY)]);
    });
}

#[test]
fn unbond_merges_what_falls_due_together() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        with_extra(10 * ASY);
        assert_ok!(unbond(PROVIDER, MACHINE, 1));
        assert_ok!(unbond(PROVIDER, MACHINE, 2));
        MockClock::set_epoch(1);
        assert_ok!(unbond(PROVIDER, MACHINE, 4));

        assert_eq!(
            record(MACHINE).unlocking.to_vec(),
            [
                UnlockChunk {
                    amount: 3,
                    due_epoch: UNBONDING_EPOCHS
                },
                UnlockChunk {
                    amount: 4,
                    due_epoch: UNBONDING_EPOCHS + 1
                },
            ]
        );
    });
}

#[test]
fn unbond_fails_when_not_allowed() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        with_extra(10 * ASY);
        assert_noop!(unbond(PROVIDER, SECOND_MACHINE, 1), Error::<Test>::NotBonded);
        assert_noop!(unbond(STRANGER, MACHINE, 1), Error::<Test>::NotProvider);
        assert_noop!(unbond(PROVIDER, MACHINE, 0), Error::<Test>::AmountIsZero);
        assert_noop!(
            unbond(PROVIDER, MACHINE, MINIMUM + 11 * ASY),
            Error::<Test>::BondTooSmall
        );
    });
}

#[test]
fn unbond_fails_when_machine_works_and_would_be_below_minimum() {
    for status in [Active, Draining] {
        ExtBuilder::default().with_bond().build_and_execute(|| {
            with_extra(10 * ASY);
            set_status(MACHINE, status);
            assert_noop!(
                unbond(PROVIDER, MACHINE, 10 * ASY + 1),
                Error::<Test>::BelowMinimum
            );
            assert_noop!(
                unbond(PROVIDER, MACHINE, MINIMUM + 10 * ASY),
                Error::<Test>::BelowMinimum
            );
            assert_ok!(unbond(PROVIDER, MACHINE, 10 * ASY));
            assert_eq!(MockRegistry::status(MACHINE), Some(status));
        });
    }
}

#[test]
fn unbond_works_below_minimum_when_suspended_but_not_to_nothing() {
    for reason in [OwnRequest, BondTooLow] {
        ExtBuilder::default().with_bond().build_and_execute(|| {
            set_status(MACHINE, Suspended(reason));
            assert_noop!(unbond(PROVIDER, MACHINE, MINIMUM), Error::<Test>::MachineInMarket);
            assert_ok!(unbond(PROVIDER, MACHINE, MINIMUM - 1));
            assert_eq!(BondChanges::get(), [(MACHINE, TooLow, MINIMUM)]);
            assert_eq!(ProviderStaking::standing(MACHINE), TooLow);
        });
    }
}

#[test]
fn unbond_works_whole_when_unproven_or_retired() {
    for status in [Unproven, Retired] {
        ExtBuilder::default().with_bond().build_and_execute(|| {
            set_status(MACHINE, status);
            assert_ok!(unbond(PROVIDER, MACHINE, MINIMUM));
            assert_eq!(record(MACHINE).bonded, 0);
            assert_eq!(held(PROVIDER), MINIMUM);
            assert_eq!(BondChanges::get(), [(MACHINE, TooLow, MINIMUM)]);
        });
    }
}

#[test]
fn unbond_fails_below_minimum_while_what_was_leased_can_be_reported() {
    for status in [Unproven, Suspended(OwnRequest), Suspended(BondTooLow)] {
        ExtBuilder::default().with_bond().build_and_execute(|| {
            with_extra(10 * ASY);
            set_status(MACHINE, status);
            Accountable::set(vec![MACHINE]);
            for amount in [10 * ASY + 1, MINIMUM + 10 * ASY - 1] {
                assert_noop!(unbond(PROVIDER, MACHINE, amount), Error::<Test>::BelowMinimum);
            }
            assert!(unbond(PROVIDER, MACHINE, MINIMUM + 10 * ASY).is_err());
            assert_ok!(unbond(PROVIDER, MACHINE, 10 * ASY));
            assert_eq!(record(MACHINE).bonded, MINIMUM);

            // Its bond suffices, which brought it back where only that was missing.
            set_status(MACHINE, status);
            Accountable::set(Vec::new());
            assert_ok!(unbond(PROVIDER, MACHINE, MINIMUM - 1));
        });
    }
}

#[test]
fn unbond_works_whole_when_retired_whatever_can_still_be_reported() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        set_status(MACHINE, Retired);
        Accountable::set(vec![MACHINE]);
        assert_ok!(unbond(PROVIDER, MACHINE, MINIMUM));
        // It stays held, and can be lost, until long after.
        assert_noop!(withdraw(MACHINE), Error::<Test>::NothingDue);
        assert_eq!(held(PROVIDER), MINIMUM);
    });
}

#[test]
fn unbond_fails_when_too_much_is_on_its_way_out() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        with_extra(100 * ASY);
        for epoch in 0..MAX_UNLOCK_CHUNKS {
            MockClock::set_epoch(epoch);
            assert_ok!(unbond(PROVIDER, MACHINE, ASY));
        }
        // The newest still takes more.
        assert_ok!(unbond(PROVIDER, MACHINE, ASY));
        MockClock::set_epoch(MAX_UNLOCK_CHUNKS);
        assert_noop!(unbond(PROVIDER, MACHINE, ASY), Error::<Test>::TooManyChunks);

        assert_ok!(withdraw(MACHINE));
        assert_ok!(unbond(PROVIDER, MACHINE, ASY));
    });
}

#[test]
fn withdraw_works() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        with_extra(10 * ASY);
        assert_ok!(unbond(PROVIDER, MACHINE, ASY));
        MockClock::set_epoch(1);
        assert_ok!(unbond(PROVIDER, MACHINE, 2 * ASY));
        MockClock::set_epoch(2);
        assert_ok!(unbond(PROVIDER, MACHINE, 4 * ASY));
        take_events();
        BondChanges::set(Vec::new());

        // The first two are due, the third is not.
        MockClock::set_epoch(1 + UNBONDING_EPOCHS);
        assert_ok!(withdraw(MACHINE));
        assert_eq!(held(PROVIDER), MINIMUM + 7 * ASY);
        assert_eq!(Balances::free_balance(PROVIDER), ENDOWMENT - MINIMUM - 7 * ASY);
        assert_eq!(record(MACHINE).unlocking.len(), 1);
        assert_eq!(
            take_events(),
            [Event::Withdrawn {
                machine: MACHINE,
                amount: 3 * ASY
            }]
        );
        assert_eq!(BondChanges::get(), [(MACHINE, Sufficient, MINIMUM + 7 * ASY)]);
    });
}

#[test]
fn withdraw_fails_when_nothing_is_due() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_noop!(withdraw(SECOND_MACHINE), Error::<Test>::NotBonded);
        assert_noop!(withdraw(MACHINE), Error::<Test>::NothingDue);
        with_extra(10 * ASY);
        assert_ok!(unbond(PROVIDER, MACHINE, ASY));
        MockClock::set_epoch(UNBONDING_EPOCHS - 1);
        assert_noop!(withdraw(MACHINE), Error::<Test>::NothingDue);
        MockClock::set_epoch(UNBONDING_EPOCHS);
        assert_ok!(withdraw(MACHINE));
        assert_noop!(withdraw(MACHINE), Error::<Test>::NothingDue);
    });
}

#[test]
fn withdraw_removes_the_record_with_the_last_of_it() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        set_status(MACHINE, Retired);
        assert_ok!(unbond(PROVIDER, MACHINE, MINIMUM));
        MockClock::set_epoch(UNBONDING_EPOCHS);
        assert_ok!(withdraw(MACHINE));

        assert_eq!(Bonds::<Test>::get(MACHINE), None);
        assert_eq!(held(PROVIDER), 0);
        assert_eq!(Balances::free_balance(PROVIDER), ENDOWMENT);
        // The registry heard it last, when nothing was held any more, and forgot the machine.
        assert_eq!(BondChanges::get().last(), Some(&(MACHINE, TooLow, 0)));
        assert_eq!(MockRegistry::status(MACHINE), None);
    });
}

#[test]
fn withdrawn_machine_can_be_bonded_again() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        set_status(MACHINE, Unproven);
        assert_ok!(unbond(PROVIDER, MACHINE, MINIMUM));
        // What is on its way out is no bond to add to.
        assert_noop!(bond_extra(PROVIDER, MACHINE, 1), Error::<Test>::NotBonded);
        assert_noop!(unbond(PROVIDER, MACHINE, 1), Error::<Test>::NotBonded);
        MockClock::set_epoch(UNBONDING_EPOCHS);
        assert_ok!(withdraw(MACHINE));
        assert_ok!(bond(PROVIDER, MACHINE, MINIMUM));
        assert_eq!(MockRegistry::status(MACHINE), Some(Active));
    });
}
