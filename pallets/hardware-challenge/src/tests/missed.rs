use assay_primitives::{
    machine::{
        MachineId,
        MachineStatus::{Active, Unproven},
    },
    offence::Offence::ChallengeUnanswered,
};
use codec::Encode;
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, dispatch::GetDispatchInfo, pallet_prelude::DispatchClass},
    sp_runtime::{DispatchError, transaction_validity::InvalidTransaction},
};

use super::answers::assert_refused;
use crate::{ALREADY_ANSWERED, Answer, Answers, Call, Error, Event, NOT_MISSED, mock::*};

fn report(round: u32, machine: MachineId) -> Call<Test> {
    Call::report_missed {
        round,
        machine,
        reporter: STRANGER,
    }
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
fn a_silent_machine_is_reported() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        until_proofs_are_late(round);
        take_events();
        send(report(round, machine));
        assert_eq!(
            take_events(),
            [Event::AnswerMissed {
                round,
                machine,
                reporter: STRANGER,
                slash: slash_id(1)
            }]
        );
        assert_eq!(Reported::get(), [(machine, ChallengeUnanswered, Some(STRANGER))]);
        assert_eq!(Answers::<Test>::get(round, machine), Some(Answer::Missed));
        // It is unproven until it answers a later audit.
        assert_eq!(proven_slots(machine), 0);
        assert_eq!(status(machine), Unproven);
        let newcomers = newcomer_round();
        assert_eq!(due_in(newcomers, machine), None);
        let next = audit();
        answer(next, &[machine]);
        assert_eq!(status(machine), Active);
    });
}

#[test]
fn report_missed_works_for_anybody_that_signs() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        until_proofs_are_late(round);
        let as_root = HardwareChallenge::report_missed(RuntimeOrigin::root(), round, machine, STRANGER);
        assert_eq!(as_root, Err(DispatchError::BadOrigin));
        let unsigned = HardwareChallenge::report_missed(RuntimeOrigin::none(), round, machine, STRANGER);
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
        block_after(deadline_ms - NowMs::get());
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
        block_with(end_ms - NowMs::get(), none);
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
        assert_eq!(Reported::get().len(), 1);
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
        let by = |reporter: AccountId| -> Call<Test> {
            Call::report_missed {
                round,
                machine,
                reporter,
            }
        };
        let valid = authorize(by(STRANGER)).unwrap();
        // Two reporters of the same silence are rivals.
        assert_eq!(valid.provides, authorize(by(worker_key(7))).unwrap().provides);
        assert_eq!(
            valid.provides,
            [("AssayChallenge", ("missed", round, machine)).encode()]
        );
        assert_eq!(valid.priority, u64::MAX / 4);
        let info = RuntimeCall::from(by(STRANGER)).get_dispatch_info();
        assert_eq!(info.class, DispatchClass::Operational);
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
fn a_report_that_cannot_be_punished_changes_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        until_proofs_are_late(round);
        remove(machine);
        assert_noop!(report_missed(round, machine), Error::<Test>::NoSuchMachine);
    });
}
