use assay_primitives::{
    machine::{
        MachineInspect,
        MachineStatus::{Active, Retired, Suspended, Unproven},
        SuspensionReason::BondTooLow,
    },
    money::{ASY, Balance},
    offence::{Beneficiaries, Offence::ChallengeUnanswered},
    stake::{
        BondInspect,
        BondStanding::{InDebt, Sufficient, TooLow},
    },
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_runtime::TokenError,
};

use crate::{BondRecord, Error, Event, mock::*};

#[test]
fn bond_works() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(bond(PROVIDER, MACHINE, MINIMUM));

        assert_eq!(
            record(MACHINE),
            BondRecord {
                provider: PROVIDER,
                bonded: MINIMUM,
                unlocking: Default::default(),
                auto_stake: false,
                debt: 0,
                pending: 0,
                pending_slashes: 0,
                strikes: Default::default(),
            }
        );
        assert_eq!(held(PROVIDER), MINIMUM);
        assert_eq!(Balances::free_balance(PROVIDER), ENDOWMENT - MINIMUM);
        assert_eq!(ProviderStaking::standing(MACHINE), Sufficient);
        assert!(!ProviderStaking::is_settled(MACHINE));
        assert_eq!(
            take_events(),
            [Event::Bonded {
                machine: MACHINE,
                amount: MINIMUM,
                total: MINIMUM
            }]
        );
        assert_eq!(BondChanges::get(), [(MACHINE, Sufficient, MINIMUM)]);
    });
}

#[test]
fn bond_keeps_machines_apart() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(bond(PROVIDER, MACHINE, MINIMUM));
        assert_ok!(bond(PROVIDER, SECOND_MACHINE, MINIMUM + 1));
        assert_ok!(bond(OTHER_PROVIDER, OTHER_MACHINE, MINIMUM + 2));

        assert_eq!(held_for(MACHINE), MINIMUM);
        assert_eq!(held_for(SECOND_MACHINE), MINIMUM + 1);
        assert_eq!(held(PROVIDER), 2 * MINIMUM + 1);
        assert_eq!(held(OTHER_PROVIDER), MINIMUM + 2);
    });
}

#[test]
fn bond_fails_when_not_allowed() {
    ExtBuilder::default().build_and_execute(|| {
        assert_noop!(bond(PROVIDER, 99, MINIMUM), Error::<Test>::NoSuchMachine);
        assert_noop!(bond(OTHER_PROVIDER, MACHINE, MINIMUM), Error::<Test>::NotProvider);
        assert_noop!(bond(PROVIDER, MACHINE, MINIMUM - 1), Error::<Test>::BelowMinimum);
        set_status(MACHINE, Retired);
        assert_noop!(bond(PROVIDER, MACHINE, MINIMUM), Error::<Test>::MachineRetired);
    });
}

#[test]
fn bond_fails_when_bonded_already() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_noop!(bond(PROVIDER, MACHINE, MINIMUM), Error::<Test>::AlreadyBonded);
    });
}

#[test]
fn bond_works_again_after_all_was_slashed_and_paid() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        report(MACHINE, ChallengeUnanswered);
        let first = slash(MACHINE, 100);
        let second = slash(MACHINE, 100);
        MockClock::set_epoch(DEFER_EPOCHS);
        poll();
        assert_eq!(held(PROVIDER), 0);
        assert_eq!(ProviderStaking::standing(MACHINE), InDebt);
        assert_noop!(bond(PROVIDER, MACHINE, MINIMUM), Error::<Test>::InDebt);

        assert_ok!(pay_debt(STRANGER, MACHINE, first));
        assert_noop!(bond(PROVIDER, MACHINE, MINIMUM), Error::<Test>::InDebt);
        assert_ok!(pay_debt(STRANGER, MACHINE, second));
        assert_eq!(MockRegistry::status(MACHINE), Some(Suspended(BondTooLow)));
        assert_noop!(bond(PROVIDER, MACHINE, MINIMUM - 1), Error::<Test>::BelowMinimum);
        assert_ok!(bond(PROVIDER, MACHINE, MINIMUM));
        assert_eq!(MockRegistry::status(MACHINE), Some(Active));
        assert_eq!(strikes_of(MACHINE)[ChallengeUnanswered as usize].count, 1);
    });
}

#[test]
fn bond_keeps_what_is_on_its_way_out() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        set_status(MACHINE, Unproven);
        assert_ok!(unbond(PROVIDER, MACHINE, MINIMUM));
        assert_ok!(bond(PROVIDER, MACHINE, MINIMUM + 1));
        assert_eq!(record(MACHINE).bonded, MINIMUM + 1);
        assert_eq!(held(PROVIDER), 2 * MINIMUM + 1);
    });
}

#[test]
fn bond_fails_when_plancks_are_not_there() {
    ExtBuilder::default().build_and_execute(|| {
        assert_noop!(bond(PROVIDER, MACHINE, ENDOWMENT), TokenError::FundsUnavailable);
        assert_noop!(
            bond(PROVIDER, MACHINE, Balance::MAX),
            TokenError::FundsUnavailable
        );
        // What is bonded cannot be bonded again.
        assert_ok!(bond(PROVIDER, MACHINE, ENDOWMENT - ASY));
        assert_noop!(
            bond(PROVIDER, SECOND_MACHINE, MINIMUM),
            TokenError::FundsUnavailable
        );
    });
}

#[test]
fn bond_fails_when_nothing_is_asked_and_given() {
    ExtBuilder::default().build_and_execute(|| {
        LeastBond::set(0);
        StakeOfClass::set(0);
        // Nothing would suffice, but a record of nothing must not arise.
        assert_noop!(bond(PROVIDER, MACHINE, 0), Error::<Test>::AmountIsZero);
        assert_ok!(bond(PROVIDER, MACHINE, 1));
    });
}

#[test]
fn bond_extra_works() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_ok!(bond_extra(PROVIDER, MACHINE, 7));

        assert_eq!(record(MACHINE).bonded, MINIMUM + 7);
        assert_eq!(held(PROVIDER), MINIMUM + 7);
        assert_eq!(
            take_events(),
            [Event::Bonded {
                machine: MACHINE,
                amount: 7,
                total: MINIMUM + 7
            }]
        );
        assert_eq!(BondChanges::get(), [(MACHINE, Sufficient, MINIMUM + 7)]);
    });
}

#[test]
fn bond_extra_fails_when_not_allowed() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_noop!(bond_extra(PROVIDER, SECOND_MACHINE, 7), Error::<Test>::NotBonded);
        report(SECOND_MACHINE, ChallengeUnanswered);
        assert_noop!(bond_extra(PROVIDER, SECOND_MACHINE, 7), Error::<Test>::NotBonded);
        assert_noop!(bond_extra(STRANGER, MACHINE, 7), Error::<Test>::NotProvider);
        assert_noop!(bond_extra(PROVIDER, MACHINE, 0), Error::<Test>::AmountIsZero);
        assert_noop!(
            bond_extra(PROVIDER, MACHINE, ENDOWMENT),
            TokenError::FundsUnavailable
        );
        set_status(MACHINE, Retired);
        assert_noop!(bond_extra(PROVIDER, MACHINE, 7), Error::<Test>::MachineRetired);
    });
}

#[test]
fn minimum_bond_is_what_the_slots_ask_and_the_base_bond_at_least() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(ProviderStaking::minimum_bond(MACHINE), Some(MINIMUM));
        assert_eq!(ProviderStaking::minimum_bond(99), None);
        // Slots that ask for more than the base bond share none of it.
        for (class_stake, minimum) in [
            (0, BASE_BOND),
            (BASE_BOND, BASE_BOND),
            (BASE_BOND + 1, BASE_BOND + 1),
            (64 * BASE_BOND, 64 * BASE_BOND),
            (Balance::MAX, Balance::MAX),
        ] {
            StakeOfClass::set(class_stake);
            assert_eq!(ProviderStaking::minimum_bond(MACHINE), Some(minimum));
        }
    });
}

#[test]
fn base_bond_counts_from_the_moment_it_changes() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        LeastBond::set(MINIMUM + 10);
        assert_eq!(ProviderStaking::standing(MACHINE), TooLow);
        // The registry hears of it with the next change of the bond.
        assert_eq!(MockRegistry::status(MACHINE), Some(Active));
        assert_ok!(bond_extra(PROVIDER, MACHINE, 9));
        assert_eq!(MockRegistry::status(MACHINE), Some(Suspended(BondTooLow)));
        assert_ok!(bond_extra(PROVIDER, MACHINE, 1));
        assert_eq!(MockRegistry::status(MACHINE), Some(Active));
        assert_eq!(
            BondChanges::get(),
            [
                (MACHINE, TooLow, MINIMUM + 9),
                (MACHINE, Sufficient, MINIMUM + 10)
            ]
        );
    });
}

#[test]
fn bond_of_nothing_does_not_suffice_where_nothing_is_asked() {
    ExtBuilder::default().build_and_execute(|| {
        LeastBond::set(0);
        StakeOfClass::set(0);
        assert_eq!(ProviderStaking::minimum_bond(MACHINE), Some(0));
        // Without a record, and with one that says nothing of a bond.
        assert_eq!(ProviderStaking::standing(MACHINE), TooLow);
        report(MACHINE, ChallengeUnanswered);
        assert_eq!(record(MACHINE).bonded, 0);
        assert_eq!(ProviderStaking::standing(MACHINE), TooLow);

        assert_ok!(bond(PROVIDER, MACHINE, 1));
        assert_eq!(ProviderStaking::standing(MACHINE), Sufficient);
        assert_eq!(MockRegistry::status(MACHINE), Some(Active));
    });
}

#[test]
fn machine_that_lost_its_whole_bond_stops_working_where_nothing_is_asked() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        LeastBond::set(0);
        StakeOfClass::set(0);
        slash_now(MACHINE, 100, Beneficiaries::nobody());

        assert_eq!(held_for(MACHINE), 0);
        assert_eq!(
            BondChanges::get(),
            [(MACHINE, TooLow, MINIMUM), (MACHINE, TooLow, 0)]
        );
        assert_eq!(MockRegistry::status(MACHINE), Some(Suspended(BondTooLow)));
    });
}

#[test]
fn last_part_on_its_way_out_is_no_bond_where_nothing_is_asked() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        LeastBond::set(0);
        StakeOfClass::set(0);
        set_status(MACHINE, Unproven);
        assert_ok!(unbond(PROVIDER, MACHINE, MINIMUM));

        assert_eq!(BondChanges::get(), [(MACHINE, TooLow, MINIMUM)]);
        assert_eq!(MockRegistry::status(MACHINE), Some(Unproven));
    });
}

#[test]
fn inspect_knows_nothing_of_machines_without_bond() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(MockRegistry::status(MACHINE), Some(Unproven));
        assert_eq!(ProviderStaking::standing(MACHINE), TooLow);
        assert!(ProviderStaking::is_settled(MACHINE));
        assert!(!ProviderStaking::has_pending_slash(MACHINE));
        assert_eq!(ProviderStaking::standing(99), TooLow);
        assert!(ProviderStaking::is_settled(99));
        assert!(!ProviderStaking::has_pending_slash(99));
    });
}
