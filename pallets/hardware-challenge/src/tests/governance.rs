use assay_proof::ChallengeParams;
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_runtime::{BuildStorage, DispatchError, DispatchResult},
};

use crate::{
    Classes, Error, Event, GenesisChallenge, MAX_CLASS_VERSIONS, NextRound, OldestRound, Schedule, mock::*,
};

fn set_class(params: Option<ChallengeParams>) -> DispatchResult {
    HardwareChallenge::set_class(RuntimeOrigin::root(), CLASS, params)
}

fn set_schedule(schedule: Schedule) -> DispatchResult {
    HardwareChallenge::set_schedule(RuntimeOrigin::root(), schedule)
}

#[test]
fn set_class_counts_for_rounds_that_open_later() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = register(1, 1);
        next_block();
        let round = newcomer_round();
        let other = ChallengeParams { steps: 48, ..PARAMS };
        take_events();
        assert_ok!(set_class(Some(other)));
        assert_eq!(
            take_events(),
            [Event::ClassSet {
                class: CLASS,
                params: Some(other),
                from_round: round + 1
            }]
        );
        assert_eq!(due_in(round, machine).unwrap().params, PARAMS);
        let next = newcomer_round();
        assert_eq!(due_in(next, machine).unwrap().params, other);
        answer(next, &[machine]);
        assert_eq!(proven_slots(machine), 1);
    });
}

#[test]
fn an_open_answer_is_held_against_the_parameters_of_its_round() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = register(1, 1);
        next_block();
        let round = newcomer_round();
        commit(round, machine);
        assert_ok!(set_class(Some(ChallengeParams { steps: 48, ..PARAMS })));
        until_drawn(round);
        assert_ok!(set_class(None));
        prove(round, machine);
        assert_eq!(proven_slots(machine), 1);
    });
}

#[test]
fn a_class_can_be_left_out() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        assert_ok!(set_class(None));
        let round = audit();
        assert_eq!(due_in(round, machine), None);
        until_proofs_are_late(round);
        assert!(report_missed(round, machine).is_err());
        assert_ok!(set_class(Some(PARAMS)));
        assert!(due_in(audit(), machine).is_some());
    });
}

#[test]
fn changes_before_the_next_round_are_one() {
    ExtBuilder::default().build_and_execute(|| {
        for steps in 32..100 {
            assert_ok!(set_class(Some(ChallengeParams { steps, ..PARAMS })));
        }
        assert_eq!(Classes::<Test>::get(CLASS).len(), 1);
        newcomer_round();
        assert_ok!(set_class(Some(PARAMS)));
        assert_eq!(Classes::<Test>::get(CLASS).len(), 2);
    });
}

#[test]
fn set_class_fails_when_rounds_need_too_many_versions() {
    ExtBuilder::default().build_and_execute(|| {
        // More rounds than versions, of which none is forgotten so soon.
        for _ in 1..MAX_CLASS_VERSIONS {
            audit();
            assert_ok!(set_class(Some(PARAMS)));
        }
        audit();
        assert_noop!(set_class(Some(PARAMS)), Error::<Test>::TooManyVersions);
        // When the oldest of them is forgotten there is room again.
        let second = OldestRound::<Test>::get() + 1;
        blocks_until(|| OldestRound::<Test>::get() >= second);
        assert_ok!(set_class(Some(PARAMS)));
    });
}

#[test]
fn versions_that_no_round_needs_are_dropped() {
    ExtBuilder::default().build_and_execute(|| {
        for _ in 0..3 {
            newcomer_round();
            assert_ok!(set_class(Some(PARAMS)));
        }
        let last = NextRound::<Test>::get();
        blocks_until(|| OldestRound::<Test>::get() > last);
        assert_ok!(set_class(None));
        assert_eq!(Classes::<Test>::get(CLASS).len(), 2);
    });
}

#[test]
fn set_class_fails_when_a_parameter_is_out_of_bounds() {
    ExtBuilder::default().build_and_execute(|| {
        for (params, error) in [
            (
                ChallengeParams {
                    items: 1_023,
                    ..PARAMS
                },
                Error::<Test>::BadParams,
            ),
            (ChallengeParams { steps: 0, ..PARAMS }, Error::BadParams),
            (
                ChallengeParams {
                    deadline_ms: 0,
                    ..PARAMS
                },
                Error::BadParams,
            ),
            (
                ChallengeParams {
                    deadline_ms: 12_001,
                    ..PARAMS
                },
                Error::DeadlineTooLong,
            ),
            // One double round more than 64 units.
            (
                ChallengeParams {
                    fill_double_rounds: 1_021,
                    steps: 16,
                    openings: 4,
                    ..PARAMS
                },
                Error::VerificationTooLong,
            ),
            // 8 openings of 16 siblings are 4,096 bytes already.
            (
                ChallengeParams {
                    lanes_log2: 16,
                    openings: 8,
                    ..PARAMS
                },
                Error::ProofTooLarge,
            ),
            // A read too few to read all of the memory.
            (
                ChallengeParams {
                    items: 2_049,
                    ..PARAMS
                },
                Error::TooFewPasses,
            ),
        ] {
            assert_noop!(set_class(Some(params)), error);
        }
        for params in [
            ChallengeParams {
                fill_double_rounds: 1_020,
                steps: 16,
                openings: 4,
                ..PARAMS
            },
            ChallengeParams {
                lanes_log2: 15,
                openings: 8,
                ..PARAMS
            },
            ChallengeParams {
                items: 2_048,
                ..PARAMS
            },
        ] {
            assert_ok!(set_class(Some(params)));
        }
    });
}

#[test]
fn governance_fails_when_it_is_not_the_admin() {
    ExtBuilder::default().build_and_execute(|| {
        for origin in [RuntimeOrigin::signed(STRANGER), RuntimeOrigin::none()] {
            assert_noop!(
                HardwareChallenge::set_class(origin.clone(), CLASS, None),
                DispatchError::BadOrigin
            );
            assert_noop!(
                HardwareChallenge::set_schedule(origin, SCHEDULE),
                DispatchError::BadOrigin
            );
        }
    });
}

#[test]
fn set_schedule_counts_for_rounds_that_open_later() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        let before = round_record(round);
        let schedule = Schedule {
            commit_window_ms: 9_000,
            opening_delay_ms: 0,
            prove_window_ms: 15_000,
            report_window_ms: 21_000,
            ..SCHEDULE
        };
        take_events();
        assert_ok!(set_schedule(schedule));
        assert_eq!(take_events(), [Event::ScheduleSet { schedule }]);
        assert_eq!(round_record(round), before);
        let next = audit();
        let record = round_record(next);
        assert_eq!(record.commits_until_ms, record.opened_at_ms + 9_000);
        assert_eq!(record.draws_after_ms, record.commits_until_ms);
        assert_eq!(record.prove_window_ms, 15_000);
        assert_eq!(record.report_window_ms, 21_000);
        // A class whose deadline is longer has as long as the round.
        assert_eq!(
            record.commit_deadline_ms(&due_in(next, machine).unwrap().params),
            record.commits_until_ms
        );
        // The later round could be drawn sooner, and waits for its turn.
        until_drawn(next);
        assert!(round_record(round).openings.is_some());
    });
}

#[test]
fn set_schedule_fails_when_it_cannot_be_kept() {
    ExtBuilder::default().build_and_execute(|| {
        type Change = fn(&mut Schedule);
        let changes: [Change; 8] = [
            |schedule| schedule.newcomer_interval_ms = 0,
            |schedule| schedule.mean_audit_interval_ms = 0,
            |schedule| schedule.max_audit_interval_ms = schedule.mean_audit_interval_ms - 1,
            |schedule| schedule.commit_window_ms = 0,
            |schedule| schedule.prove_window_ms = 0,
            |schedule| schedule.report_window_ms = 0,
            |schedule| {
                schedule.max_proof_age_ms = schedule.max_audit_interval_ms
                    + schedule.commit_window_ms
                    + schedule.opening_delay_ms
                    + schedule.prove_window_ms
            },
            |schedule| schedule.max_audit_interval_ms = u64::MAX,
        ];
        for change in changes {
            let mut schedule = SCHEDULE;
            change(&mut schedule);
            assert_noop!(set_schedule(schedule), Error::<Test>::BadSchedule);
        }
        assert!(Schedule::default().is_valid());
        assert_ok!(set_schedule(Schedule::default()));
    });
}

fn build_genesis(genesis: crate::GenesisConfig<Test>) {
    RuntimeGenesisConfig {
        hardware_challenge: genesis,
        ..Default::default()
    }
    .build_storage()
    .unwrap();
}

#[test]
#[should_panic(expected = "hardware class 3 has two challenges")]
fn genesis_fails_when_a_class_is_there_twice() {
    let challenge = GenesisChallenge {
        class: 3,
        params: PARAMS,
    };
    build_genesis(crate::GenesisConfig {
        classes: vec![challenge.clone(), challenge],
        ..Default::default()
    });
}

#[test]
#[should_panic(expected = "the challenge of hardware class 3 is out of bounds")]
fn genesis_fails_when_a_class_is_out_of_bounds() {
    build_genesis(crate::GenesisConfig {
        classes: vec![GenesisChallenge {
            class: 3,
            params: ChallengeParams { steps: 1, ..PARAMS },
        }],
        ..Default::default()
    });
}

#[test]
#[should_panic(expected = "a length in the schedule of hardware challenges is zero")]
fn genesis_fails_when_the_schedule_cannot_be_kept() {
    build_genesis(crate::GenesisConfig {
        schedule: Schedule {
            prove_window_ms: 0,
            ..SCHEDULE
        },
        ..Default::default()
    });
}
