use assay_primitives::{
    machine::{
        MachineInspect,
        MachineStatus::{Active, Retired, Suspended, Unproven},
        SuspensionReason::{self, BondTooLow, InDebt as Indebted},
    },
    money::{ASY, Balance},
    offence::{Beneficiaries, Offence, ReportOffence},
    stake::{
        BondInspect,
        BondStanding::{InDebt, Sufficient, TooLow},
    },
};
use polkadot_sdk::{
    frame_support::{
        assert_noop, assert_ok,
        traits::{LockableCurrency, WithdrawReasons},
    },
    sp_runtime::{DispatchError, Permill},
};

use crate::{Agenda, Bonds, DebtRecord, Debts, Error, Event, SlashReason, SlashRecord, UnlockChunk, mock::*};

#[test]
fn report_offence_works() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        MockClock::set_epoch(5);
        let beneficiaries = harmed(ASY);
        let id =
            ProviderStaking::report_offence(MACHINE, Offence::ChallengeUnanswered, beneficiaries.clone());

        let owed = MINIMUM / 100;
        assert_eq!(id, Ok(place(5 + DEFER_EPOCHS, 0)));
        assert_eq!(
            Agenda::<Test>::get(5 + DEFER_EPOCHS, 0),
            Some(SlashRecord {
                machine: MACHINE,
                reason: SlashReason::Offence(Offence::ChallengeUnanswered),
                owed,
                beneficiaries,
                ends_machine: false,
            })
        );
        assert_eq!(record(MACHINE).pending, owed);
        assert_eq!(record(MACHINE).pending_slashes, 1);
        assert_eq!(held(PROVIDER), MINIMUM);
        assert!(ProviderStaking::has_pending_slash(MACHINE));
        // What is pending counts as lost: it is out of the market at once.
        assert_eq!(ProviderStaking::standing(MACHINE), TooLow);
        assert_eq!(MockRegistry::status(MACHINE), Some(Suspended(BondTooLow)));
        assert_eq!(
            take_events(),
            [Event::SlashQueued {
                id: place(5 + DEFER_EPOCHS, 0),
                machine: MACHINE,
                reason: SlashReason::Offence(Offence::ChallengeUnanswered),
                owed,
            }]
        );
        assert_eq!(BondChanges::get(), [(MACHINE, TooLow, MINIMUM)]);
        assert_eq!(Disciplined::get(), []);
    });
}

#[test]
fn report_offence_fails_when_machine_is_unknown() {
    ExtBuilder::default().build_and_execute(|| {
        for offence in Offence::ALL {
            assert_noop!(
                ProviderStaking::report_offence(99, offence, Beneficiaries::nobody()),
                Error::<Test>::NoSuchMachine
            );
        }
        assert_eq!(Disciplined::get(), []);
    });
}

#[test]
fn offences_that_end_or_suspend_do_so() {
    // (offence, whether it suspends at once, whether applying it ends the machine, first and second time)
    for (offence, suspends, ends_first, ends_second) in [
        (Offence::ChallengeUnanswered, false, false, false),
        (Offence::ChallengeWrong, true, false, true),
        (Offence::ForgedEvidence, true, true, true),
    ] {
        ExtBuilder::default().with_bond().build_and_execute(|| {
            let first = report(MACHINE, offence);
            let suspend = if suspends {
                vec![Discipline::Suspend(MACHINE)]
            } else {
                vec![]
            };
            assert_eq!(Disciplined::get(), suspend);
            let status = if suspends {
                Suspended(SuspensionReason::Offence)
            } else {
                Suspended(BondTooLow)
            };
            assert_eq!(MockRegistry::status(MACHINE), Some(status));

            let second = report(MACHINE, offence);
            for (id, ends) in [(first, ends_first), (second, ends_second)] {
                assert_eq!(
                    Agenda::<Test>::get(id.due_epoch, id.index).unwrap().ends_machine,
                    ends
                );
            }

            // Nothing is condemned before it is applied.
            Disciplined::set(Vec::new());
            MockClock::set_epoch(DEFER_EPOCHS);
            assert_ok!(apply_slash(first));
            let condemn = if ends_first {
                vec![Discipline::Condemn(MACHINE)]
            } else {
                vec![]
            };
            assert_eq!(Disciplined::get(), condemn);
        });
    }
}

#[test]
fn condemned_machine_goes_with_its_last_planck() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = report(MACHINE, Offence::ForgedEvidence);
        forget_traces();
        MockClock::set_epoch(DEFER_EPOCHS);
        assert_ok!(apply_slash(id));

        assert_eq!(Disciplined::get(), [Discipline::Condemn(MACHINE)]);
        assert_eq!(MockRegistry::status(MACHINE), None);
        assert_eq!(Bonds::<Test>::get(MACHINE), None);
        assert_eq!(BondChanges::get(), [(MACHINE, TooLow, 0)]);
        assert_eq!(total_balance(PROVIDER), ENDOWMENT - MINIMUM);
    });
}

#[test]
fn slash_works() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = slash_for(MACHINE, 25, Beneficiaries::nobody()).unwrap();

        assert_eq!(
            Agenda::<Test>::get(DEFER_EPOCHS, 0),
            Some(SlashRecord {
                machine: MACHINE,
                reason: SlashReason::Governance,
                owed: MINIMUM / 4,
                beneficiaries: Beneficiaries::nobody(),
                ends_machine: false,
            })
        );
        assert!(!record(MACHINE).has_strikes());
        assert_eq!(
            take_events(),
            [Event::SlashQueued {
                id,
                machine: MACHINE,
                reason: SlashReason::Governance,
                owed: MINIMUM / 4,
            }]
        );
    });
}

#[test]
fn slash_fails_when_not_allowed() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let slash = |origin, machine, fraction| {
            ProviderStaking::slash(origin, machine, fraction, Beneficiaries::nobody())
        };
        assert_noop!(
            slash(RuntimeOrigin::signed(PROVIDER), MACHINE, Permill::one()),
            DispatchError::BadOrigin
        );
        assert_noop!(
            slash(RuntimeOrigin::root(), 99, Permill::one()),
            Error::<Test>::NoSuchMachine
        );
        assert_noop!(
            slash(RuntimeOrigin::root(), MACHINE, Permill::zero()),
            Error::<Test>::AmountIsZero
        );
    });
}

#[test]
fn slash_costs_a_fraction_of_what_is_held_but_at_least_of_the_minimum() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_ok!(bond_extra(PROVIDER, MACHINE, 100 * ASY));
        assert_ok!(unbond(PROVIDER, MACHINE, 50 * ASY));
        slash(MACHINE, 10);
        assert_eq!(record(MACHINE).pending, MINIMUM / 10 + 10 * ASY);

        // A machine without a bond, and without a record so far.
        slash(OTHER_MACHINE, 10);
        assert_eq!(record(OTHER_MACHINE).provider, OTHER_PROVIDER);
        assert_eq!(record(OTHER_MACHINE).pending, MINIMUM / 10);

        // Rounded down.
        LeastBond::set(0);
        StakeOfClass::set(19);
        slash(SECOND_MACHINE, 10);
        assert_eq!(record(SECOND_MACHINE).pending, 1);
    });
}

#[test]
fn slash_keeps_its_price_whatever_happens_meanwhile() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = slash_for(MACHINE, 10, harmed(0)).unwrap();
        assert_ok!(bond_extra(PROVIDER, MACHINE, MINIMUM));
        LeastBond::set(10 * BASE_BOND);
        MockClock::set_epoch(DEFER_EPOCHS);
        assert_ok!(apply_slash(id));

        assert_eq!(held(PROVIDER), 2 * MINIMUM - MINIMUM / 10);
    });
}

#[test]
fn apply_slash_works() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let issuance = Balances::total_issuance();
        let id = slash_for(MACHINE, 10, harmed(20 * ASY)).unwrap();
        take_events();
        MockClock::set_epoch(DEFER_EPOCHS);
        assert_ok!(apply_slash(id));

        let taken = 60 * ASY;
        assert_eq!(held(PROVIDER), MINIMUM - taken);
        assert_eq!(record(MACHINE).bonded, MINIMUM - taken);
        assert_eq!(record(MACHINE).pending, 0);
        assert_eq!(record(MACHINE).pending_slashes, 0);
        assert_eq!(free(CONSUMER), ENDOWMENT + 20 * ASY);
        assert_eq!(Balances::total_issuance(), issuance - 40 * ASY);
        assert_eq!(
            take_events(),
            [Event::Slashed {
                id,
                machine: MACHINE,
                taken,
                to_consumer: 20 * ASY,
                burned: 40 * ASY,
                debt: 0,
            }]
        );
        assert_eq!(
            BondChanges::get(),
            [(MACHINE, TooLow, MINIMUM), (MACHINE, TooLow, MINIMUM - taken)]
        );
        assert_eq!(MockRegistry::status(MACHINE), Some(Suspended(BondTooLow)));
        assert_noop!(apply_slash(id), Error::<Test>::NoSuchSlash);
    });
}

#[test]
fn apply_slash_fails_when_not_due_or_not_there() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let id = slash(MACHINE, 10);
        MockClock::set_epoch(DEFER_EPOCHS - 1);
        assert_noop!(apply_slash(id), Error::<Test>::SlashNotDue);
        assert_noop!(apply_slash(place(0, 0)), Error::<Test>::NoSuchSlash);
        assert_noop!(apply_slash(place(DEFER_EPOCHS, 1)), Error::<Test>::NoSuchSlash);
        assert_noop!(
            ProviderStaking::apply_slash(RuntimeOrigin::root(), id),
            DispatchError::BadOrigin
        );
        MockClock::set_epoch(DEFER_EPOCHS);
        assert_ok!(apply_slash(id));
    });
}

#[test]
fn apply_slash_works_in_any_order() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let ids = [10, 20, 30].map(|percent| slash(MACHINE, percent));
        MockClock::set_epoch(DEFER_EPOCHS);
        for id in [ids[1], ids[2], ids[0]] {
            assert_ok!(apply_slash(id));
            ProviderStaking::do_try_state().unwrap();
        }
        assert_eq!(held(PROVIDER), MINIMUM - MINIMUM * 6 / 10);
        // The cursor meets nothing but holes.
        take_events();
        poll();
        assert_eq!(take_events(), []);
    });
}

#[test]
fn slash_takes_the_bond_first_and_then_what_leaves_last() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        set_status(MACHINE, Unproven);
        for (epoch, amount) in [(0, 10 * ASY), (1, 20 * ASY), (2, MINIMUM - 30 * ASY - 1)] {
            MockClock::set_epoch(epoch);
            assert_ok!(unbond(PROVIDER, MACHINE, amount));
        }
        assert_eq!(record(MACHINE).bonded, 1);

        let chunk = |amount, epoch| UnlockChunk {
            amount,
            due_epoch: epoch + UNBONDING_EPOCHS,
        };
        // 585 of 600: the bond, the third chunk and a part of the second.
        slash_now(MACHINE, 95, Beneficiaries::nobody());
        assert_eq!(record(MACHINE).bonded, 0);
        assert_eq!(
            record(MACHINE).unlocking.to_vec(),
            [chunk(10 * ASY, 0), chunk(20 * ASY, 1)]
        );
        slash_now(MACHINE, 1, Beneficiaries::nobody());
        // A hundredth of the minimum, not of what is left.
        assert_eq!(
            record(MACHINE).unlocking.to_vec(),
            [chunk(10 * ASY, 0), chunk(14 * ASY, 1)]
        );
    });
}

#[test]
fn consumer_is_paid_first_and_the_rest_is_burned() {
    // (loss, percent held, to the consumer, burned, debts of the two)
    let whole: Balance = MINIMUM;
    for (loss, held_percent, expected, debts) in [
        // The loss is more than the slash.
        (2 * whole, 100, (whole, 0), (0, 0)),
        (whole / 2, 100, (whole / 2, whole / 2), (0, 0)),
        (0, 100, (0, whole), (0, 0)),
        // Half is there: it goes to the consumer first, and the rest is owed.
        (whole / 4, 50, (whole / 4, whole / 4), (0, whole / 2)),
        (whole * 3 / 4, 50, (whole / 2, 0), (whole / 4, whole / 4)),
    ] {
        ExtBuilder::default().with_bond().build_and_execute(|| {
            if held_percent < 100 {
                slash_now(MACHINE, 100 - held_percent, Beneficiaries::nobody());
            }
            take_events();
            let id = slash_now(MACHINE, 100, harmed(loss));
            let (to_consumer, burned) = expected;
            let (to_come, burn_later) = debts;
            let debt = to_come + burn_later;
            assert_eq!(
                take_events()[1..],
                [Event::Slashed {
                    id,
                    machine: MACHINE,
                    taken: to_consumer + burned,
                    to_consumer,
                    burned,
                    debt,
                }]
            );
            let outstanding = Debts::<Test>::get(MACHINE, id);
            let expected = DebtRecord {
                consumer: (to_come > 0).then_some((CONSUMER, to_come)),
                burn: burn_later,
            };
            assert_eq!(outstanding, (debt > 0).then_some(expected));
            let recorded = Bonds::<Test>::get(MACHINE).map_or(0, |record| record.debt);
            assert_eq!(recorded, debt);
        });
    }
}

#[test]
fn nobody_earns_by_a_slash_that_harmed_nobody() {
    // Its own provider may have reported it, from whatever account: not a planck arrives anywhere.
    for offence in Offence::ALL {
        ExtBuilder::default().with_bond().build_and_execute(|| {
            let accounts = [PROVIDER, OTHER_PROVIDER, STRANGER, CONSUMER];
            let before = accounts.map(total_balance);
            let issuance = Balances::total_issuance();
            let id = report(MACHINE, offence);
            let owed = record(MACHINE).pending;
            assert!(owed > 0);
            MockClock::set_epoch(id.due_epoch);
            poll();
            assert_eq!(Balances::total_issuance(), issuance - owed);
            let mut expected = before;
            expected[0] -= owed;
            assert_eq!(accounts.map(total_balance), expected);
        });
    }
}

#[test]
fn pending_slash_counts_for_whether_a_bond_suffices() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_ok!(bond_extra(PROVIDER, MACHINE, MINIMUM / 100));
        let owed = (MINIMUM + MINIMUM / 100) / 100;
        slash(MACHINE, 1);
        assert_eq!(record(MACHINE).pending, owed);
        // One percent more than the minimum is bonded, and a little more than that is pending.
        assert_eq!(ProviderStaking::standing(MACHINE), TooLow);
        assert_eq!(MockRegistry::status(MACHINE), Some(Suspended(BondTooLow)));
        let missing = owed - MINIMUM / 100;
        assert_ok!(bond_extra(PROVIDER, MACHINE, missing - 1));
        assert_eq!(ProviderStaking::standing(MACHINE), TooLow);
        assert_ok!(bond_extra(PROVIDER, MACHINE, 1));
        assert_eq!(ProviderStaking::standing(MACHINE), Sufficient);
        assert_eq!(MockRegistry::status(MACHINE), Some(Active));
        // What is pending is no part of what may be taken out.
        assert_noop!(unbond(PROVIDER, MACHINE, 1), Error::<Test>::BelowMinimum);

        // When it is applied nothing changes for the machine.
        MockClock::set_epoch(DEFER_EPOCHS);
        poll();
        assert_eq!(record(MACHINE).bonded, MINIMUM);
        assert_eq!(MockRegistry::status(MACHINE), Some(Active));
    });
}

#[test]
fn no_offence_is_free_however_much_is_pending() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let whole = slash(MACHINE, 100);
        assert_eq!(record(MACHINE).pending, MINIMUM);
        assert_eq!(MockRegistry::status(MACHINE), Some(Suspended(BondTooLow)));
        // Everything is gone already, and each further offence costs as much as the first would have.
        let further = [1, 2, 4].map(|percent| (report(MACHINE, Offence::ChallengeUnanswered), percent));
        MockClock::set_epoch(DEFER_EPOCHS + 1);
        poll();
        assert_eq!(debt_of(MACHINE, whole), 0);
        for (id, percent) in further {
            assert_eq!(debt_of(MACHINE, id), MINIMUM * percent / 100);
        }
        assert_eq!(record(MACHINE).debt, MINIMUM * 7 / 100);
        assert_eq!(MockRegistry::status(MACHINE), Some(Suspended(Indebted)));
        assert_noop!(bond(PROVIDER, MACHINE, MINIMUM), Error::<Test>::InDebt);
    });
}

#[test]
fn slash_takes_what_is_there_and_makes_a_debt_of_the_rest() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let first = slash(MACHINE, 70);
        let second = slash(MACHINE, 70);
        MockClock::set_epoch(DEFER_EPOCHS);
        forget_traces();
        poll();

        assert_eq!(held(PROVIDER), 0);
        assert_eq!(debt_of(MACHINE, first), 0);
        assert_eq!(debt_of(MACHINE, second), MINIMUM * 4 / 10);
        assert_eq!(record(MACHINE).debt, MINIMUM * 4 / 10);
        assert_eq!(ProviderStaking::standing(MACHINE), InDebt);
        assert_eq!(
            BondChanges::get(),
            [(MACHINE, TooLow, MINIMUM * 3 / 10), (MACHINE, InDebt, 0)]
        );
        assert_eq!(MockRegistry::status(MACHINE), Some(Suspended(Indebted)));
        assert!(!ProviderStaking::is_settled(MACHINE));
    });
}

#[test]
fn slash_of_another_machine_takes_nothing_of_this_one() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        assert_ok!(bond(PROVIDER, SECOND_MACHINE, MINIMUM));
        slash(SECOND_MACHINE, 100);
        let id = slash_now(SECOND_MACHINE, 100, Beneficiaries::nobody());

        assert_eq!(held_for(MACHINE), MINIMUM);
        assert_eq!(held(PROVIDER), MINIMUM);
        assert_eq!(debt_of(SECOND_MACHINE, id), MINIMUM);
        assert_eq!(ProviderStaking::standing(MACHINE), Sufficient);
    });
}

#[test]
fn retired_machine_is_punishable_while_something_ties_it() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        retire(MACHINE);
        let id = report(MACHINE, Offence::ForgedEvidence);
        assert_eq!(MockRegistry::status(MACHINE), Some(Retired));
        MockClock::set_epoch(DEFER_EPOCHS);
        assert_ok!(apply_slash(id));
        // Gone with its last planck, as a machine does that was unbonded whole.
        assert_eq!(MockRegistry::status(MACHINE), None);
    });
}

#[test]
fn share_is_burned_when_its_recipient_cannot_receive() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        let issuance = Balances::total_issuance();
        let loss = EXISTENTIAL_DEPOSIT - 1;
        let id = slash_now(MACHINE, 1, Beneficiaries::consumer(NEWCOMER, loss));

        let owed = MINIMUM / 100;
        assert_eq!(free(NEWCOMER), 0);
        assert_eq!(Balances::total_issuance(), issuance - owed);
        assert_eq!(
            take_events()[1..],
            [
                Event::ShareBurned {
                    id,
                    recipient: NEWCOMER,
                    amount: loss,
                },
                Event::Slashed {
                    id,
                    machine: MACHINE,
                    taken: owed,
                    to_consumer: 0,
                    burned: owed,
                    debt: 0,
                },
            ]
        );
    });
}

#[test]
fn share_makes_an_account_that_can_live_of_it() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        slash_now(MACHINE, 1, Beneficiaries::consumer(NEWCOMER, EXISTENTIAL_DEPOSIT));
        assert_eq!(free(NEWCOMER), EXISTENTIAL_DEPOSIT);
    });
}

#[test]
fn provider_may_be_the_harmed_consumer() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        slash_now(MACHINE, 10, Beneficiaries::consumer(PROVIDER, ASY));
        assert_eq!(free(PROVIDER), ENDOWMENT - MINIMUM + ASY);
        assert_eq!(held(PROVIDER), MINIMUM - MINIMUM / 10);
    });
}

#[test]
fn frozen_bond_is_slashed_all_the_same() {
    ExtBuilder::default().with_bond().build_and_execute(|| {
        Balances::set_lock(*b"provider", &PROVIDER, Balance::MAX, WithdrawReasons::all());
        slash_now(MACHINE, 100, harmed(ASY));
        assert_eq!(held(PROVIDER), 0);
        assert_eq!(free(CONSUMER), ENDOWMENT + ASY);
    });
}

#[test]
fn slash_that_costs_nothing_takes_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        LeastBond::set(0);
        StakeOfClass::set(0);
        let id = report(MACHINE, Offence::ForgedEvidence);
        assert!(ProviderStaking::has_pending_slash(MACHINE));
        assert!(!ProviderStaking::is_settled(MACHINE));
        MockClock::set_epoch(DEFER_EPOCHS);
        assert_ok!(apply_slash(id));
        assert_eq!(MockRegistry::status(MACHINE), None);
    });
}
