use assay_primitives::{
    machine::{
        MachineId,
        MachineStatus::{Active, Unproven},
    },
    offence::Offence::{ChallengeUnanswered, ChallengeWrong},
};
use assay_proof::SlotProof;
use codec::Encode;
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, dispatch::GetDispatchInfo, pallet_prelude::DispatchClass},
    sp_runtime::{DispatchError, transaction_validity::InvalidTransaction},
};

use super::answers::assert_refused;
use crate::{
    ALREADY_ANSWERED, Answer, Answers, Call, Error, Event, NOT_MISSED, RoundOutcome, Tally, mock::*,
};

fn report(round: u32, machine: MachineId) -> Call<Test> {
    Call::report_missed { round, machine }
}

/// Asserts that the machine cannot be reported.
fn assert_not_missed(round: u32, machine: MachineId) {
    assert_refused(
        report(round, machine),
        InvalidTransaction::Custom(NOT_MISSED),
        Error::NotMissed,
    );
}

#[test]
fn a_silent_machine_is_reported_and_punished_when_the_round_is_over() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let honest = honest_crowd(3);
        let round = audit();
        answer(round, &honest);
        until_proofs_are_late(round);
        take_events();
        send(report(round, machine));
        assert_eq!(take_events(), [Event::AnswerMissed { round, machine }]);
        assert_eq!(Answers::<Test>::get(round, machine), Some(Answer::Missed));
        // It is unproven until it answers a later audit.
        assert_eq!(proven_slots(machine), 0);
        assert_eq!(status(machine), Unproven);
        let newcomers = newcomer_round();
        assert_eq!(due_in(newcomers, machine), None);
        let next = audit();
        answer(next, &[machine]);
        assert_eq!(status(machine), Active);
        // Whether that was its fault is decided when nobody can be reported any more.
        assert_eq!(Reported::get(), []);
        until_concluded(round);
        assert_eq!(Reported::get(), [(machine, ChallengeUnanswered)]);
        let of_round: Vec<Event<Test>> = take_events()
            .into_iter()
            .filter(|event| {
                matches!(event, Event::RoundConcluded { round: of, .. } | Event::MissPunished { round: of, .. } if *of == round)
            })
            .collect();
        assert_eq!(
            of_round,
            [
                Event::RoundConcluded {
                    round,
                    tally: Tally {
                        answered: 3,
                        missed: 1
                    },
                    outcome: RoundOutcome::Punished
                },
                Event::MissPunished {
                    round,
                    machine,
                    slash: slash_id(1)
                }
            ]
        );
    });
}

#[test]
fn report_missed_works_for_anybody_that_signs() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        until_proofs_are_late(round);
        let as_root = HardwareChallenge::report_missed(RuntimeOrigin::root(), round, machine);
        assert_eq!(as_root, Err(DispatchError::BadOrigin));
        let unsigned = HardwareChallenge::report_missed(RuntimeOrigin::none(), round, machine);
        assert_eq!(unsigned, Err(DispatchError::BadOrigin));
        assert_ok!(report_missed(round, machine));
    });
}

#[test]
fn one_device_cannot_answer_for_two_machines_in_time() {
    ExtBuilder::default().build_and_execute(|| {
        // Both were proven one after the other.
        let machine = active_machine(1, 1);
        let twin = active_machine(2, 1);
        // In an audit the device has the time for one of them.
        let round = audit();
        answer(round, &[machine]);
        until_proofs_are_late(round);
        assert_not_missed_but_answered(round, machine);
        assert_ok!(report_missed(round, twin));
        assert_eq!(status(twin), Unproven);
        assert_eq!(status(machine), Active);
    });
}

fn assert_not_missed_but_answered(round: u32, machine: MachineId) {
    assert_refused(
        report(round, machine),
        InvalidTransaction::Custom(ALREADY_ANSWERED),
        Error::AlreadyAnswered,
    );
}

#[test]
fn a_machine_that_committed_and_did_not_prove_is_reported() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 2);
        let round = audit();
        commit(round, machine);
        until_drawn(round);
        // Of two slots it proves one.
        let due = due_in(round, machine).unwrap();
        send(signed_prove(round, machine, 0, &[honest_proof(&due, machine, 0)]));
        until_proofs_are_late(round);
        assert_ok!(report_missed(round, machine));
        assert_eq!(proven_slots(machine), 0);
    });
}

#[test]
fn report_missed_fails_when_there_is_time() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        assert_refused(
            report(round, machine),
            InvalidTransaction::Future,
            Error::OpeningsNotDrawn,
        );
        until_drawn(round);
        assert_not_missed(round, machine);
        let deadline_ms = round_record(round).prove_deadline_ms().unwrap();
        block_after(deadline_ms - now_ms());
        assert_not_missed(round, machine);
        block_after(1);
        assert!(authorize(report(round, machine)).is_ok());
    });
}

#[test]
fn report_missed_fails_when_it_is_late() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        until_drawn(round);
        let end_ms = round_record(round).reports_until_ms().unwrap();
        // No block has room to forget the round.
        let none = polkadot_sdk::frame_support::weights::Weight::zero();
        block_with(end_ms - now_ms(), none);
        assert!(authorize(report(round, machine)).is_ok());
        block_with(1, none);
        assert_refused(
            report(round, machine),
            InvalidTransaction::Stale,
            Error::RoundForgotten,
        );
        next_block();
        assert!(!crate::Rounds::<Test>::contains_key(round));
        assert_refused(
            report(round, machine),
            InvalidTransaction::Stale,
            Error::RoundForgotten,
        );
    });
}

#[test]
fn report_missed_fails_when_it_was_done() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        until_proofs_are_late(round);
        send(report(round, machine));
        assert_not_missed_but_answered(round, machine);
        assert_eq!(round_record(round).tally.missed, 1);
    });
}

#[test]
fn report_missed_fails_when_nothing_was_owed() {
    ExtBuilder::default().build_and_execute(|| {
        let newcomer = register(1, 1);
        let machine = active_machine(2, 1);
        set_status(machine, Unproven);
        next_block();
        // Silent newcomers only stay what they are.
        let round = newcomer_round();
        until_proofs_are_late(round);
        assert_not_missed(round, newcomer);
        let round = audit();
        until_proofs_are_late(round);
        assert_not_missed(round, newcomer);
        assert_not_missed(round, machine);
        assert_refused(
            report(round, 99),
            InvalidTransaction::BadSigner,
            Error::NoSuchMachine,
        );
        assert_refused(
            report(u32::MAX, machine),
            InvalidTransaction::Future,
            Error::RoundNotOpen,
        );
        assert_eq!(Reported::get(), []);
    });
}

#[test]
fn reports_are_told_apart_by_the_pool_and_come_behind_answers() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        until_proofs_are_late(round);
        let valid = authorize(report(round, machine)).unwrap();
        assert_eq!(
            valid.provides,
            [("AssayChallenge", ("missed", round, machine)).encode()]
        );
        assert_eq!(valid.priority, u64::MAX / 4);
        let info = RuntimeCall::from(report(round, machine)).get_dispatch_info();
        assert_eq!(info.class, DispatchClass::Operational);
    });
}

#[test]
fn a_report_has_nothing_that_another_could_put_its_name_to() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let honest = honest_crowd(3);
        let round = audit();
        answer(round, &honest);
        until_proofs_are_late(round);
        // The call's index, the round and the machine: two reports of the same silence are the same bytes.
        assert_eq!(report(round, machine).encode(), (2_u8, round, machine).encode());
        // Its provider reports itself through another account, ahead of everybody: that account gets nothing.
        assert_ok!(report_missed(round, machine));
        until_concluded(round);
        assert_eq!(Reported::get(), [(machine, ChallengeUnanswered)]);
    });
}

#[test]
fn missed_lists_those_that_can_be_reported() {
    ExtBuilder::default().build_and_execute(|| {
        let machines: Vec<MachineId> = (1..=6).map(|worker| register(worker, 1)).collect();
        next_block();
        let round = newcomer_round();
        answer(round, &machines[..5]);
        until_proofs_are_late(round);
        // The sixth never came.
        assert!(
            HardwareChallenge::missed(round, 0, 100)
                .unwrap()
                .machines
                .is_empty()
        );

        let round = audit();
        answer(round, &machines[1..3]);
        assert_eq!(HardwareChallenge::missed(round, 0, 100), None);
        assert!(!HardwareChallenge::reportable_rounds().contains(&round));
        until_proofs_are_late(round);
        assert!(HardwareChallenge::reportable_rounds().contains(&round));
        assert_ok!(report_missed(round, machines[3]));

        let mut found = Vec::new();
        let mut pages = 0;
        let mut from = Some(0);
        while let Some(start) = from {
            let page = HardwareChallenge::missed(round, start, 2).unwrap();
            found.extend(page.machines);
            from = page.next;
            pages += 1;
        }
        assert_eq!(found, [machines[0], machines[4]]);
        assert_eq!(pages, 3);
        for limit in [0, u32::MAX] {
            assert!(HardwareChallenge::missed(round, 0, limit).is_some());
        }
        // Everybody in it can be reported.
        for machine in found {
            send(report(round, machine));
        }
        let page = HardwareChallenge::missed(round, 0, 100).unwrap();
        assert_eq!((page.machines, page.next), (vec![], None));
    });
}

#[test]
fn a_report_of_a_machine_that_is_gone_changes_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        until_proofs_are_late(round);
        remove(machine);
        assert_noop!(report_missed(round, machine), Error::<Test>::NoSuchMachine);
    });
}

#[test]
fn a_machine_that_is_gone_when_the_round_is_concluded_holds_nothing_up() {
    ExtBuilder::default().build_and_execute(|| {
        let leaving = active_machine(1, 1);
        let staying = active_machine(2, 1);
        let honest = honest_crowd(5);
        let round = audit();
        answer(round, &honest);
        until_proofs_are_late(round);
        for machine in [leaving, staying] {
            send(report(round, machine));
        }
        remove(leaving);
        until_concluded(round);
        assert_eq!(Reported::get(), [(staying, ChallengeUnanswered)]);
    });
}

#[test]
fn a_third_that_is_silent_at_once_is_not_punished() {
    // So many answer and so many are silent; a third of all is two to one.
    for (answering, silent, outcome) in [
        (4, 2, RoundOutcome::MassSilence),
        (5, 2, RoundOutcome::Punished),
        (0, 1, RoundOutcome::MassSilence),
    ] {
        ExtBuilder::default().build_and_execute(|| {
            let machines: Vec<MachineId> = (1..=silent).map(|worker| active_machine(worker, 1)).collect();
            let honest = honest_crowd(answering);
            let round = audit();
            answer(round, &honest);
            until_proofs_are_late(round);
            for machine in &machines {
                send(report(round, *machine));
                // Nothing was shown that could be paid for, whoever's fault that was.
                assert_eq!(status(*machine), Unproven);
            }
            until_concluded(round);
            let expected: Vec<_> = match outcome {
                RoundOutcome::Punished => machines
                    .iter()
                    .map(|machine| (*machine, ChallengeUnanswered))
                    .collect(),
                _ => Vec::new(),
            };
            let mut reported = Reported::get();
            reported.sort();
            assert_eq!(reported, expected);
            let concluded = Event::RoundConcluded {
                round,
                tally: Tally {
                    answered: answering.into(),
                    missed: silent.into(),
                },
                outcome,
            };
            assert!(take_events().contains(&concluded), "{concluded:?}");
        });
    }
}

#[test]
fn wrong_answers_count_as_answers_and_stay_punished_in_a_mass_silence() {
    ExtBuilder::default().build_and_execute(|| {
        let silent = active_machine(1, 1);
        let wrong = active_machine(2, 1);
        let round = audit();
        send(signed_commit(round, wrong, &[[7; 32]]));
        until_drawn(round);
        send(signed_prove(round, wrong, 0, &[SlotProof::default()]));
        until_proofs_are_late(round);
        send(report(round, silent));
        assert_eq!(
            round_record(round).tally,
            Tally {
                answered: 1,
                missed: 1
            }
        );
        until_concluded(round);
        assert_eq!(Reported::get(), [(wrong, ChallengeWrong)]);
    });
}

#[test]
fn machines_that_owe_nothing_cannot_make_a_mass_silence() {
    ExtBuilder::default().build_and_execute(|| {
        let silent = active_machine(1, 1);
        let honest = honest_crowd(3);
        // Bonded, without any hardware: they commit to nothing that they could prove, to be silent in good
        // company.
        let strangers: Vec<MachineId> = (10..15).map(|worker| register(worker, 1)).collect();
        next_block();
        let round = audit();
        for machine in &strangers {
            send(signed_commit(round, *machine, &[[7; 32]]));
        }
        answer(round, &honest);
        until_proofs_are_late(round);
        for machine in strangers.iter().chain([&silent]) {
            send(report(round, *machine));
        }
        assert_eq!(
            round_record(round).tally,
            Tally {
                answered: 3,
                missed: 1
            }
        );
        until_concluded(round);
        let punished: Vec<MachineId> = Reported::get().into_iter().map(|(machine, _)| machine).collect();
        assert_eq!(punished.len(), 6);
        assert!(
            strangers
                .iter()
                .chain([&silent])
                .all(|machine| punished.contains(machine))
        );
    });
}
