use assay_primitives::{
    machine::{
        MachineInspect,
        MachineStatus::{Suspended, Unproven},
        SuspensionReason,
    },
    offence::Offence::{self, ChallengeUnanswered, ChallengeWrong, ForgedEvidence},
    stake::BondInspect,
};
use codec::MaxEncodedLen;
use polkadot_sdk::{frame_support::assert_ok, sp_runtime::Permill};

use crate::{
    Agenda, BondRecordOf, Bonds, DEFAULT_OFFENCE_TABLE, MAX_UNLOCK_CHUNKS, OffencePenalty, SlashRecordOf,
    StrikeRecord, Strikes, mock::*,
};

/// Reports an offence. Returns its cost in percent of the minimum.
fn price_percent(offence: Offence) -> u128 {
    let id = report(MACHINE, offence);
    Agenda::<Test>::get(id.due_epoch, id.index).unwrap().owed * 100 / MINIMUM
}

#[test]
fn offences_have_their_places_in_the_strikes() {
    assert_eq!(Strikes::default().len(), Offence::ALL.len());
    for (index, offence) in Offence::ALL.into_iter().enumerate() {
        assert_eq!(offence as usize, index);
    }
}

#[test]
fn penalties_grow_to_their_limits() {
    let percents = |offence| {
        let penalty = DEFAULT_OFFENCE_TABLE.penalty(offence);
        [0, 1, 2, 3, 4, 5, 254, 255].map(|before| penalty.fraction(before) * 100_u32)
    };
    assert_eq!(percents(ChallengeUnanswered), [1, 2, 4, 8, 16, 20, 20, 20]);
    assert_eq!(percents(ChallengeWrong), [50, 100, 100, 100, 100, 100, 100, 100]);
    assert_eq!(percents(ForgedEvidence), [100; 8]);
}

#[test]
fn penalty_is_never_more_than_its_limit() {
    let penalty = |first, factor, at_most| OffencePenalty {
        first: Permill::from_percent(first),
        factor,
        at_most: Permill::from_percent(at_most),
    };
    assert_eq!(penalty(30, 2, 20).fraction(0), Permill::from_percent(20));
    assert_eq!(penalty(30, 1, 90).fraction(7), Permill::from_percent(30));
    // A factor of nothing punishes the first time only.
    assert_eq!(penalty(30, 0, 90).fraction(0), Permill::from_percent(30));
    assert_eq!(penalty(30, 0, 90).fraction(1), Permill::zero());
    assert_eq!(penalty(100, u8::MAX, 100).fraction(u8::MAX), Permill::one());
}

#[test]
fn repetition_costs_more() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        for percent in [1, 2, 4, 8, 16, 20, 20] {
            assert_eq!(price_percent(ChallengeUnanswered), percent);
        }
        // Each offence counts for itself, and each machine.
        assert_eq!(price_percent(ChallengeWrong), 50);
        assert_eq!(price_percent(ChallengeWrong), 100);
        report(SECOND_MACHINE, ChallengeUnanswered);
        assert_eq!(record(SECOND_MACHINE).pending, MINIMUM / 100);

        let mut expected = Strikes::default();
        expected[ChallengeUnanswered as usize].count = 7;
        expected[ChallengeWrong as usize].count = 2;
        assert_eq!(strikes_of(MACHINE), expected);
    });
}

#[test]
fn strikes_are_forgotten_after_a_while() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        MockClock::set_epoch(7);
        assert_eq!(price_percent(ChallengeUnanswered), 1);
        MockClock::set_epoch(7 + MEMORY_EPOCHS);
        assert_eq!(price_percent(ChallengeUnanswered), 2);
        // The last one counts, not the first.
        MockClock::set_epoch(7 + 2 * MEMORY_EPOCHS);
        assert_eq!(price_percent(ChallengeUnanswered), 4);
        MockClock::set_epoch(7 + 3 * MEMORY_EPOCHS + 1);
        assert_eq!(price_percent(ChallengeUnanswered), 1);
        assert_eq!(
            strikes_of(MACHINE)[ChallengeUnanswered as usize],
            StrikeRecord {
                count: 1,
                last_epoch: 7 + 3 * MEMORY_EPOCHS + 1
            }
        );
    });
}

#[test]
fn strikes_stay_at_most_at_their_limit() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        for _ in 0..300 {
            report(MACHINE, ChallengeUnanswered);
        }
        assert_eq!(strikes_of(MACHINE)[ChallengeUnanswered as usize].count, u8::MAX);
        assert_eq!(price_percent(ChallengeUnanswered), 20);
    });
}

#[test]
fn strikes_outlive_the_bond_but_not_the_machine() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = report(MACHINE, ChallengeUnanswered);
        MockClock::set_epoch(DEFER_EPOCHS);
        assert_ok!(apply_slash(id));

        // Unbonded whole, withdrawn, and bonded anew.
        set_status(MACHINE, Unproven);
        assert_ok!(unbond(PROVIDER, MACHINE, record(MACHINE).bonded));
        MockClock::set_epoch(DEFER_EPOCHS + UNBONDING_EPOCHS);
        assert_ok!(withdraw(MACHINE));
        assert!(ProviderStaking::is_settled(MACHINE));
        assert_eq!(held(PROVIDER), 0);
        assert_eq!(strikes_of(MACHINE)[ChallengeUnanswered as usize].count, 1);
        assert_ok!(bond(PROVIDER, MACHINE, MINIMUM));
        assert_eq!(price_percent(ChallengeUnanswered), 2);

        let id = report(MACHINE, ChallengeUnanswered);
        assert_ok!(cancel_slash(id));
        MockClock::set_epoch(id.due_epoch);
        poll();
        set_status(MACHINE, Unproven);
        assert_ok!(unbond(PROVIDER, MACHINE, record(MACHINE).bonded));
        MockClock::set_epoch(id.due_epoch + UNBONDING_EPOCHS);
        assert_ok!(withdraw(MACHINE));
        assert!(Bonds::<Test>::contains_key(MACHINE));
        retire(MACHINE);
        assert!(!Bonds::<Test>::contains_key(MACHINE));
    });
}

#[test]
fn strikes_go_with_the_bond_of_a_retired_machine() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = report(MACHINE, ChallengeUnanswered);
        MockClock::set_epoch(id.due_epoch);
        poll();
        retire(MACHINE);
        assert_ok!(unbond(PROVIDER, MACHINE, record(MACHINE).bonded));
        MockClock::set_epoch(id.due_epoch + UNBONDING_EPOCHS);
        assert_ok!(withdraw(MACHINE));
        assert!(!Bonds::<Test>::contains_key(MACHINE));
        assert_eq!(MockRegistry::status(MACHINE), None);
    });
}

#[test]
fn second_wrong_answer_ends_the_machine() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let first = report(MACHINE, ChallengeWrong);
        MockClock::set_epoch(first.due_epoch);
        poll();
        assert_eq!(held(PROVIDER), MINIMUM / 2);
        assert_eq!(
            MockRegistry::status(MACHINE),
            Some(Suspended(SuspensionReason::Offence))
        );

        assert_ok!(bond_extra(PROVIDER, MACHINE, MINIMUM / 2));
        let second = report(MACHINE, ChallengeWrong);
        MockClock::set_epoch(second.due_epoch);
        poll();
        assert_eq!(held(PROVIDER), 0);
        assert_eq!(Disciplined::get().last(), Some(&Discipline::Condemn(MACHINE)));
        assert_eq!(MockRegistry::status(MACHINE), None);
    });
}

#[test]
fn penalties_are_those_of_the_day() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_eq!(price_percent(ChallengeUnanswered), 1);
        Penalties::mutate(|table| table.challenge_unanswered.first = Permill::from_percent(5));
        assert_eq!(price_percent(ChallengeUnanswered), 10);
        assert_eq!(record(MACHINE).pending, MINIMUM * 11 / 100);
        assert_eq!(held(PROVIDER), MINIMUM);
    });
}

#[test]
fn record_stays_bounded() {
    // What the weights of the calls count with.
    let chunks = 1 + MAX_UNLOCK_CHUNKS as usize * 20;
    assert_eq!(
        BondRecordOf::<Test>::max_encoded_len(),
        8 + 16 + chunks + 1 + 16 + 16 + 4 + 5 * Offence::ALL.len()
    );
    assert!(SlashRecordOf::<Test>::max_encoded_len() < 100);
}
