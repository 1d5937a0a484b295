//! A standstill of finality, and the rounds that are under way.

use assay_primitives::{
    challenge::RoundKind::{Audit, Newcomers},
    machine::MachineStatus::{Active, Suspended, Unproven},
    machine::SuspensionReason::Offence as ForOffence,
    offence::Offence::ChallengeWrong,
};
use assay_proof::SlotProof;
use polkadot_sdk::{frame_support::assert_ok, sp_runtime::transaction_validity::InvalidTransaction};

use super::answers::assert_refused;
use crate::{
    Answer, Answers, Call, Error, Event, FINALITY_STALLED, LastAuditMs, LastStalledMs, NextRound,
    RoundOutcome, Tally, mock::*,
};

/// Asserts that nobody can report the machine, and that validators are told of nobody to report.
fn assert_not_reportable(round: u32, machine: u64) {
    assert_refused(
        Call::report_missed { round, machine },
        InvalidTransaction::Custom(FINALITY_STALLED),
        Error::FinalityStalled,
    );
    assert_eq!(HardwareChallenge::missed(round, 0, 100), None);
    assert!(!HardwareChallenge::reportable_rounds().contains(&round));
}

#[test]
fn no_round_opens_while_finality_is_stalled() {
    ExtBuilder::default().build_and_execute(|| {
        next_block();
        let next = NextRound::<Test>::get();
        IsStalled::set(true);
        LastAuditMs::<Test>::put(0);
        for _ in 0..100 {
            next_block();
        }
        assert_eq!(NextRound::<Test>::get(), next);
        // What was drawn meanwhile does not make an audit likelier.
        LastAuditMs::<Test>::put(now_ms());
        IsStalled::set(false);
        next_block();
        assert_eq!(round_record(next).kind, Newcomers);
        LastAuditMs::<Test>::put(0);
        next_block();
        assert_eq!(round_record(next + 1).kind, Audit);
    });
}

#[test]
fn nobody_is_punished_for_silence_in_a_round_that_a_stall_fell_into() {
    // The stall lies before the commits end, between commits and proofs, in the report window.
    for wait_ms in [0, 15_000, 50_000] {
        ExtBuilder::default().build_and_execute(|| {
            let silent = active_machine(1, 1);
            let committed = active_machine(2, 1);
            let honest = honest_crowd(5);
            let round = audit();
            commit(round, committed);
            let opened_at_ms = round_record(round).opened_at_ms;
            // The honest ones answer before and after it as ever.
            for machine in &honest {
                commit(round, *machine);
            }
            blocks_until(|| now_ms() >= opened_at_ms + wait_ms);
            IsStalled::set(true);
            next_block();
            IsStalled::set(false);
            until_drawn(round);
            if wait_ms < 50_000 {
                for machine in &honest {
                    prove(round, *machine);
                }
            }
            until_proofs_are_late(round);
            for machine in [silent, committed] {
                assert_not_reportable(round, machine);
            }
            until_concluded(round);
            assert_eq!(Reported::get(), []);
            // Nor does their proof end: nobody could have reported them.
            assert_eq!([status(silent), status(committed)], [Active, Active]);
            let answered = if wait_ms < 50_000 { 5 } else { 0 };
            let concluded = Event::RoundConcluded {
                round,
                tally: Tally { answered, missed: 0 },
                outcome: RoundOutcome::FinalityStalled,
            };
            assert!(take_events().contains(&concluded), "{concluded:?}");
        });
    }
}

#[test]
fn a_miss_that_was_reported_before_the_stall_was_seen_is_not_punished() {
    ExtBuilder::default().build_and_execute(|| {
        let silent = active_machine(1, 1);
        let honest = honest_crowd(3);
        let round = audit();
        answer(round, &honest);
        until_proofs_are_late(round);
        assert_ok!(report_missed(round, silent));
        assert_eq!(status(silent), Unproven);
        IsStalled::set(true);
        next_block();
        IsStalled::set(false);
        until_concluded(round);
        assert_eq!(Reported::get(), []);
    });
}

#[test]
fn a_stall_before_the_round_excuses_nobody() {
    ExtBuilder::default().build_and_execute(|| {
        let silent = active_machine(1, 1);
        let honest = honest_crowd(3);
        IsStalled::set(true);
        next_block();
        IsStalled::set(false);
        assert_eq!(LastStalledMs::<Test>::get(), Some(now_ms()));
        let round = audit();
        answer(round, &honest);
        until_proofs_are_late(round);
        assert_ok!(report_missed(round, silent));
        until_concluded(round);
        assert_eq!(Reported::get().len(), 1);
    });
}

#[test]
fn answers_in_a_stall_prove_and_wrong_ones_are_punished() {
    ExtBuilder::default().build_and_execute(|| {
        let honest = active_machine(1, 1);
        let wrong = active_machine(2, 1);
        let round = audit();
        IsStalled::set(true);
        commit(round, honest);
        send(signed_commit(round, wrong, &[[7; 32]]));
        until_drawn(round);
        prove(round, honest);
        send(signed_prove(round, wrong, 0, &[SlotProof::default()]));
        assert_eq!(
            Answers::<Test>::get(round, honest),
            Some(Answer::Proven { slots: 1 })
        );
        // It signed that this was right: no stall makes it say so.
        assert_eq!(Reported::get(), [(wrong, ChallengeWrong)]);
        assert_eq!(status(wrong), Suspended(ForOffence));
        assert_eq!(status(honest), Active);
    });
}

#[test]
fn a_stall_is_seen_in_a_block_that_has_room_for_nothing_else() {
    ExtBuilder::default().build_and_execute(|| {
        let silent = active_machine(1, 1);
        let round = audit();
        until_proofs_are_late(round);
        IsStalled::set(true);
        // Not even the hook's first look fits: the report is refused all the same.
        block_with(BLOCK_MS, polkadot_sdk::frame_support::weights::Weight::zero());
        assert_eq!(LastStalledMs::<Test>::get(), None);
        assert_not_reportable(round, silent);
    });
}
