use assay_primitives::machine::MachineId;
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::fungible::Mutate},
    sp_runtime::TokenError,
};

use crate::{
    AssignmentBits, EpochRecords, Error, Event, Rewards, ValidatorSets, mock::*, reports::dissenting,
};

const MACHINE: MachineId = 7;

/// All five validators report on epoch 1; `failing` of the machine's do not see it. The epoch is settled.
fn settled(failing: &[u32]) {
    next_epoch();
    for validator in 0..5 {
        let failures: &[MachineId] = if failing.contains(&validator) {
            &[MACHINE]
        } else {
            &[]
        };
        report(1, validator, failures);
    }
    next_epoch();
    take_events();
    poll();
}

#[test]
fn a_report_earns_its_reward_when_the_epoch_is_settled() {
    ExtBuilder::default().build_and_execute(|| {
        next_epoch();
        reports(1, 0..3, &[]);
        next_epoch();
        assert_eq!(owed(0), 0);
        take_events();
        poll();
        for validator in 0..3 {
            assert_eq!(owed(validator), REWARD);
        }
        // Who does not report earns nothing.
        assert_eq!((owed(3), owed(4)), (0, 0));
        assert_eq!(Rewards::<Test>::iter().count(), 3);
        let settled = |epoch, rewarded| Event::EpochSettled {
            epoch,
            rewarded,
            against_majority: 0,
            is_outage: false,
        };
        assert_eq!(take_events(), [settled(1, 3)]);
        pass_epochs(3);
        assert_eq!(owed(0), REWARD, "an epoch is settled once");
    });
}

#[test]
fn rewards_add_up() {
    ExtBuilder::default().build_and_execute(|| {
        for epoch in 1..4 {
            next_epoch();
            report(epoch, 2, &[]);
        }
        next_epoch();
        poll();
        assert_eq!(owed(2), 3 * REWARD);
    });
}

#[test]
fn a_change_of_the_reward_counts_for_epochs_that_begin_later() {
    ExtBuilder::default().build_and_execute(|| {
        RewardPerReport::set(7 * REWARD);
        next_epoch();
        report(1, 0, &[]);
        next_epoch();
        report(2, 1, &[]);
        next_epoch();
        poll();
        assert_eq!((owed(0), owed(1)), (REWARD, 7 * REWARD));
    });
}

#[test]
fn rewards_of_nothing_are_not_kept() {
    ExtBuilder::default().build_and_execute(|| {
        RewardPerReport::set(0);
        next_epoch();
        next_epoch();
        report(2, 0, &[]);
        next_epoch();
        poll();
        assert_eq!(Rewards::<Test>::iter().count(), 0);
    });
}

#[test]
fn a_liar_that_did_not_see_what_the_others_saw_earns_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        let liar = assigned(MACHINE, 1)[1];
        settled(&[liar]);
        for validator in 0..5 {
            assert_eq!(owed(validator), if validator == liar { 0 } else { REWARD });
        }
        assert_eq!(
            take_events(),
            [
                Event::ReportAgainstMajority {
                    epoch: 1,
                    validator: stash(liar)
                },
                Event::EpochSettled {
                    epoch: 1,
                    rewarded: 4,
                    against_majority: 1,
                    is_outage: false
                }
            ]
        );
    });
}

#[test]
fn a_liar_that_saw_what_the_others_did_not_earns_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        let watching = assigned(MACHINE, 1);
        settled(&watching[..2]);
        for validator in 0..5 {
            assert_eq!(owed(validator), if validator == watching[2] { 0 } else { REWARD });
        }
    });
}

#[test]
fn nobody_is_against_a_majority_that_is_not_clear() {
    // Two of four is no majority, three of five not a clear one, and two validators have none.
    for (validators, failing) in [(4, 2), (5, 2), (2, 1)] {
        ExtBuilder::default()
            .validators(validators)
            .per_machine(5)
            .build_and_execute(|| {
                next_epoch();
                for validator in 0..validators {
                    let failures: &[MachineId] = if validator < failing { &[MACHINE] } else { &[] };
                    report(1, validator, failures);
                }
                next_epoch();
                poll();
                assert!((0..validators).all(|validator| owed(validator) == REWARD));
            });
    }
}

#[test]
fn one_lie_among_many_machines_is_enough() {
    ExtBuilder::default().build_and_execute(|| {
        // Validator 0 agrees with the others on all that is down but for one.
        let own = machines_of(0, 1);
        let down: Vec<MachineId> = own[1..6].to_vec();
        next_epoch();
        reports(1, 1..5, &down);
        let mut lie = down.clone();
        lie.insert(0, own[0]);
        report(1, 0, &lie);
        next_epoch();
        poll();
        assert_eq!(owed(0), 0);
        assert!((1..5).all(|validator| owed(validator) == REWARD));
    });
}

#[test]
fn a_clear_majority_is_two_thirds_of_at_least_three() {
    let bits = |count: u32| AssignmentBits(u32::MAX.checked_shr(32 - count).unwrap_or(0));
    let against = |reporting, failed| dissenting(bits(reporting), bits(failed)).count();
    // One or two reports: nobody.
    assert_eq!([against(1, 1), against(2, 1), against(2, 2)], [0; 3]);
    assert_eq!(
        [against(3, 0), against(3, 1), against(3, 2), against(3, 3)],
        [0, 1, 1, 0]
    );
    assert_eq!([against(4, 1), against(4, 2), against(4, 3)], [1, 0, 1]);
    assert_eq!(
        [against(5, 1), against(5, 2), against(5, 3), against(5, 4)],
        [1, 0, 0, 1]
    );
    assert_eq!([against(32, 10), against(32, 11), against(32, 22)], [10, 0, 10]);
    // Whoever did not report has no say.
    assert_eq!(
        dissenting(AssignmentBits(0b0111), AssignmentBits(0b1001)),
        AssignmentBits(0b0001)
    );
}

#[test]
fn who_had_more_to_say_is_not_against_a_majority_on_what_it_did_not_say() {
    ExtBuilder::default()
        .validators(4)
        .per_machine(4)
        .build_and_execute(|| {
            // All four watch all machines; three of them report the last one, and one has no room for it in
            // its first part.
            next_epoch();
            let last = MACHINES - 1;
            for validator in 0..3 {
                report(1, validator, &[last]);
            }
            let most: Vec<MachineId> = (0..16).collect();
            report(1, 3, &most);
            next_epoch();
            poll();
            // On each of the sixteen it is alone against three.
            assert_eq!(owed(3), 0);
            assert_eq!(
                EpochRecords::<Test>::get(1).unwrap().against_majority.count(),
                1,
                "and none of the others is against it"
            );
            // With the others agreeing on the sixteen, it would have earned its reward.
            reports(2, 0..3, &(0..16).chain([last]).collect::<Vec<_>>());
            report(2, 3, &most);
            next_epoch();
            poll();
            assert_eq!(owed(3), 0, "the epoch had an outage");
            assert_eq!(
                EpochRecords::<Test>::get(2).unwrap().against_majority.count(),
                0,
                "nothing is known of what it saw of the last one"
            );
            assert_eq!(Availability::uptime(last, 2), Some(0));
        });
}

#[test]
fn nobody_earns_from_an_outage() {
    ExtBuilder::default().build_and_execute(|| {
        next_epoch();
        // Fourteen of forty machines, of like weight, are more than a third.
        reports(1, 0..5, &(0..14).collect::<Vec<_>>());
        assert!(EpochRecords::<Test>::get(1).unwrap().is_outage);
        next_epoch();
        reports(2, 0..5, &(0..13).collect::<Vec<_>>());
        assert!(!EpochRecords::<Test>::get(2).unwrap().is_outage);
        take_events();
        poll();
        assert_eq!(Rewards::<Test>::iter().count(), 0);
        assert_eq!(
            take_events(),
            [Event::EpochSettled {
                epoch: 1,
                rewarded: 0,
                against_majority: 0,
                is_outage: true
            }]
        );
        next_epoch();
        poll();
        assert!((0..5).all(|validator| owed(validator) == REWARD));
    });
}

#[test]
fn rewards_outlive_the_validator() {
    ExtBuilder::default().build_and_execute(|| {
        next_epoch();
        report(1, 0, &[]);
        new_session(10..12);
        pass_epochs(4);
        assert_eq!(ValidatorSets::<Test>::iter().count(), 1);
        assert_ok!(claim(0));
        assert_eq!(Balances::free_balance(stash(0)), REWARD);
    });
}

#[test]
fn claim_works() {
    ExtBuilder::default().build_and_execute(|| {
        Rewards::<Test>::insert(stash(0), REWARD);
        assert_ok!(claim(0));
        assert_eq!(Balances::free_balance(stash(0)), REWARD);
        assert_eq!(Balances::free_balance(POT), POT_BALANCE - REWARD);
        assert_eq!(
            take_events(),
            [Event::RewardClaimed {
                validator: stash(0),
                amount: REWARD,
                left: 0
            }]
        );
        assert_noop!(claim(0), Error::<Test>::NothingToClaim);
    });
}

#[test]
fn claim_fails_when_nothing_is_owed() {
    ExtBuilder::default().build_and_execute(|| {
        assert_noop!(claim(0), Error::<Test>::NothingToClaim);
    });
}

#[test]
fn claim_pays_what_the_pot_has() {
    ExtBuilder::default().build_and_execute(|| {
        Balances::transfer(
            &POT,
            &STRANGER,
            POT_BALANCE - REWARD - EXISTENTIAL_DEPOSIT,
            Preserve,
        )
        .unwrap();
        Rewards::<Test>::insert(stash(0), 3 * REWARD);
        take_events();
        assert_ok!(claim(0));
        assert_eq!(owed(0), 2 * REWARD);
        assert_eq!(Balances::free_balance(stash(0)), REWARD);
        // The pot stays alive.
        assert_eq!(Balances::free_balance(POT), EXISTENTIAL_DEPOSIT);
        assert_eq!(
            take_events(),
            [Event::RewardClaimed {
                validator: stash(0),
                amount: REWARD,
                left: 2 * REWARD
            }]
        );
        assert_noop!(claim(0), Error::<Test>::PotEmpty);
        Balances::transfer(&STRANGER, &POT, 2 * REWARD, Preserve).unwrap();
        assert_ok!(claim(0));
        assert_eq!(owed(0), 0);
    });
}

#[test]
fn claim_fails_when_the_account_cannot_receive() {
    ExtBuilder::default().build_and_execute(|| {
        Rewards::<Test>::insert(stash(0), EXISTENTIAL_DEPOSIT - 1);
        assert_noop!(claim(0), TokenError::BelowMinimum);
        assert_eq!(owed(0), EXISTENTIAL_DEPOSIT - 1);
    });
}

use polkadot_sdk::frame_support::traits::tokens::Preservation::Preserve;
