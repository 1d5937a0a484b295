use assay_primitives::{
    machine::{
        MachineInspect,
        MachineStatus::{Suspended, Unproven},
        SuspensionReason,
    },
    offence::{
        Beneficiaries,
        Offence::{ChallengeUnanswered, ForgedEvidence},
    },
    stake::{BondInspect, BondStanding::TooLow},
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_runtime::DispatchError,
};

use crate::{Bonds, Error, Event, mock::*};

#[test]
fn cancel_slash_works() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        report(MACHINE, ChallengeUnanswered);
        let id = report(MACHINE, ChallengeUnanswered);
        take_events();
        assert_ok!(cancel_slash(id));

        assert_eq!(record(MACHINE).pending, MINIMUM / 100);
        assert_eq!(record(MACHINE).pending_slashes, 1);
        assert_eq!(strikes_of(MACHINE)[ChallengeUnanswered as usize].count, 1);
        assert_eq!(held(PROVIDER), MINIMUM);
        assert_eq!(take_events(), [Event::SlashCancelled { id, machine: MACHINE }]);
        // The other one is still pending.
        assert_eq!(BondChanges::get(), [(MACHINE, TooLow, MINIMUM); 3]);

        MockClock::set_epoch(DEFER_EPOCHS);
        assert_noop!(apply_slash(id), Error::<Test>::NoSuchSlash);
        poll();
        assert_eq!(held(PROVIDER), MINIMUM - MINIMUM / 100);
    });
}

#[test]
fn cancel_slash_fails_when_not_allowed() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = slash(MACHINE, 10);
        assert_noop!(
            ProviderStaking::cancel_slash(RuntimeOrigin::signed(PROVIDER), id),
            DispatchError::BadOrigin
        );
        assert_noop!(cancel_slash(place(9, 0)), Error::<Test>::NoSuchSlash);
        assert_ok!(cancel_slash(id));
        assert_noop!(cancel_slash(id), Error::<Test>::NoSuchSlash);
    });
}

#[test]
fn cancel_slash_works_when_due_but_not_when_applied() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let (first, second) = (slash(MACHINE, 10), slash(MACHINE, 10));
        MockClock::set_epoch(DEFER_EPOCHS + 5);
        assert_ok!(cancel_slash(first));
        poll();
        assert_eq!(held(PROVIDER), MINIMUM - MINIMUM / 10);
        assert_noop!(cancel_slash(second), Error::<Test>::NoSuchSlash);
    });
}

#[test]
fn cancelled_slash_never_condemns() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = report(MACHINE, ForgedEvidence);
        assert_ok!(cancel_slash(id));
        MockClock::set_epoch(DEFER_EPOCHS);
        poll();

        assert_eq!(Disciplined::get(), [Discipline::Suspend(MACHINE)]);
        // It is for the provider to bring it back.
        assert_eq!(
            MockRegistry::status(MACHINE),
            Some(Suspended(SuspensionReason::Offence))
        );
        assert!(!ProviderStaking::has_pending_slash(MACHINE));
        assert_eq!(held(PROVIDER), MINIMUM);
    });
}

#[test]
fn cancel_slash_unlocks() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        set_status(MACHINE, Unproven);
        assert_ok!(unbond(PROVIDER, MACHINE, MINIMUM));
        WaitEpochs::set(100);
        let id = slash(MACHINE, 100);
        MockClock::set_epoch(UNBONDING_EPOCHS);
        assert_noop!(withdraw(MACHINE), Error::<Test>::SlashPending);
        assert_ok!(cancel_slash(id));
        assert_ok!(withdraw(MACHINE));
        assert_eq!(free(PROVIDER), ENDOWMENT);
        assert!(!Bonds::<Test>::contains_key(MACHINE));
    });
}

#[test]
fn cancel_slash_removes_a_record_that_only_the_slash_kept() {
    ExtBuilder::default().build_and_execute(|| {
        // Of a machine in the market: the strike is gone too.
        let id = report(MACHINE, ChallengeUnanswered);
        assert_ok!(cancel_slash(id));
        assert!(!Bonds::<Test>::contains_key(MACHINE));

        // Of a retired one, which only this kept in the registry.
        let id = slash_for(SECOND_MACHINE, 10, Beneficiaries::nobody()).unwrap();
        retire(SECOND_MACHINE);
        assert!(MockRegistry::status(SECOND_MACHINE).is_some());
        BondChanges::set(Vec::new());
        assert_ok!(cancel_slash(id));
        assert_eq!(MockRegistry::status(SECOND_MACHINE), None);
        assert!(!Bonds::<Test>::contains_key(SECOND_MACHINE));
        assert_eq!(BondChanges::get(), [(SECOND_MACHINE, TooLow, 0)]);
    });
}

#[test]
fn cancel_slash_takes_no_more_strikes_back_than_there_are() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        WaitEpochs::set(MEMORY_EPOCHS + 5);
        let (first, second) = (
            report(MACHINE, ChallengeUnanswered),
            report(MACHINE, ChallengeUnanswered),
        );
        // The third is the first that is remembered.
        MockClock::set_epoch(MEMORY_EPOCHS + 1);
        let third = report(MACHINE, ChallengeUnanswered);
        for id in [first, second, third] {
            assert_ok!(cancel_slash(id));
            assert_eq!(strikes_of(MACHINE)[ChallengeUnanswered as usize].count, 0);
        }
        assert!(!record(MACHINE).has_strikes());
    });
}
