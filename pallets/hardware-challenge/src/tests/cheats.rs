use assay_primitives::{
    challenge::{ChallengeDue, RoundId},
    machine::{
        MachineId,
        MachineStatus::{Active, Suspended},
        SuspensionReason,
    },
    offence::Offence::{ChallengeUnanswered, ChallengeWrong},
};
use assay_proof::{Hash, SlotProof, VerifyError, WrongLength};
use polkadot_sdk::sp_runtime::transaction_validity::InvalidTransaction;

use super::answers::assert_refused;
use crate::{ALREADY_ANSWERED, Answer, Answers, Error, Event, mock::*};

/// The machine answers with these proofs, and is caught at this slot.
fn assert_caught(round: RoundId, machine: MachineId, proofs: &[SlotProof], slot: u8, error: VerifyError) {
    take_events();
    let number = Reported::get().len() + 1;
    let call = signed_prove(round, machine, 0, proofs);
    send(call.clone());
    assert_eq!(
        take_events(),
        [Event::AnswerWrong {
            round,
            machine,
            slot,
            error,
            slash: slash_id(number)
        }]
    );
    assert_eq!(Reported::get().last(), Some(&(machine, ChallengeWrong)));
    assert_eq!(status(machine), Suspended(SuspensionReason::Offence));
    assert_eq!(proven_slots(machine), 0);
    assert_eq!(Answers::<Test>::get(round, machine), Some(Answer::Wrong));
    // It has no second try, and is not punished again.
    assert_refused(
        call,
        InvalidTransaction::Custom(ALREADY_ANSWERED),
        Error::AlreadyAnswered,
    );
    until_proofs_are_late(round);
    assert_eq!(
        report_missed(round, machine),
        Err(Error::<Test>::AlreadyAnswered.into())
    );
    assert_eq!(Reported::get().len(), number);
}

/// The machine commits these roots, and the openings are drawn.
fn commit_roots(round: RoundId, machine: MachineId, roots: &[Hash]) -> ChallengeDue {
    send(signed_commit(round, machine, roots));
    until_drawn(round);
    due_in(round, machine).unwrap()
}

#[test]
fn a_machine_that_claims_twice_its_memory_is_caught() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        let due = due_in(round, machine).unwrap();
        let seed = seeds(&due, machine)[0];
        // With all of the memory the same prover is right.
        let whole = tree_with_memory(&due.params, &seed, due.params.items);
        assert_eq!(whole.last().unwrap()[..], honest_roots(&due, machine)[..]);

        let half = tree_with_memory(&due.params, &seed, due.params.items / 2);
        let due = commit_roots(round, machine, half.last().unwrap());
        let claim = claim_of(&due, machine, 0);
        let proof = paths(&half, claim.opened_lanes());
        assert_caught(round, machine, &[proof], 0, VerifyError::WrongRoot { opening: 0 });
    });
}

#[test]
fn a_machine_that_lacks_a_tenth_of_its_memory_is_caught() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        let due = due_in(round, machine).unwrap();
        let seed = seeds(&due, machine)[0];
        let tree = tree_with_memory(&due.params, &seed, due.params.items / 10 * 9);
        let due = commit_roots(round, machine, tree.last().unwrap());
        let proof = paths(&tree, claim_of(&due, machine, 0).opened_lanes());
        send(signed_prove(round, machine, 0, &[proof]));
        assert_eq!(Answers::<Test>::get(round, machine), Some(Answer::Wrong));
    });
}

#[test]
fn a_wrong_slot_among_right_ones_is_caught() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 3);
        let round = audit();
        let due = due_in(round, machine).unwrap();
        let mut roots = honest_roots(&due, machine);
        let tree = tree_with_memory(&due.params, &seeds(&due, machine)[1], 0);
        roots[1] = tree.last().unwrap()[0];
        let due = commit_roots(round, machine, &roots);
        let proofs = [
            honest_proof(&due, machine, 0),
            paths(&tree, claim_of(&due, machine, 1).opened_lanes()),
            honest_proof(&due, machine, 2),
        ];
        assert_caught(round, machine, &proofs, 1, VerifyError::WrongRoot { opening: 0 });
    });
}

#[test]
fn a_machine_that_sends_another_ones_roots_is_caught() {
    ExtBuilder::default().build_and_execute(|| {
        let honest = register(1, 1);
        let copying = register(2, 1);
        next_block();
        let round = newcomer_round();
        answer(round, &[honest, copying]);
        let round = audit();
        let due = due_in(round, honest).unwrap();
        let roots = honest_roots(&due, honest);
        send(signed_commit(round, copying, &roots));
        send(signed_commit(round, honest, &roots));
        until_drawn(round);
        // One device answers for both, once with the seed of the one and once with the other's.
        let due_honest = due_in(round, honest).unwrap();
        let due_copying = due_in(round, copying).unwrap();
        let copied = honest_proof(&due_honest, honest, 0);
        prove(round, honest);
        assert_eq!(status(honest), Active);
        assert_ne!(honest_proof(&due_copying, copying, 0), copied);
        assert_caught(
            round,
            copying,
            &[copied],
            0,
            VerifyError::WrongRoot { opening: 0 },
        );
    });
}

#[test]
fn an_honest_tree_under_another_ones_root_is_caught() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        let due = commit_roots(round, machine, &[[7; 32]]);
        let proof = honest_proof(&due, machine, 0);
        assert_caught(round, machine, &[proof], 0, VerifyError::WrongRoot { opening: 0 });
    });
}

#[test]
fn answers_are_good_for_one_slot_only() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 2);
        let round = audit();
        let due = due_in(round, machine).unwrap();
        let roots = honest_roots(&due, machine);
        assert_ne!(roots[0], roots[1]);
        // One device answers for both slots.
        let due = commit_roots(round, machine, &[roots[0], roots[0]]);
        let proof = honest_proof(&due, machine, 0);
        assert_caught(
            round,
            machine,
            &[proof.clone(), proof],
            1,
            VerifyError::WrongRoot { opening: 0 },
        );
    });
}

#[test]
fn answers_are_good_for_one_round_only() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let first = audit();
        let due = due_in(first, machine).unwrap();
        let roots = honest_roots(&due, machine);
        send(signed_commit(first, machine, &roots));
        until_drawn(first);
        let proof = honest_proof(&due_in(first, machine).unwrap(), machine, 0);
        prove(first, machine);
        assert_eq!(status(machine), Active);

        let second = audit();
        assert_ne!(honest_roots(&due_in(second, machine).unwrap(), machine), roots);
        commit_roots(second, machine, &roots);
        assert_caught(
            second,
            machine,
            &[proof],
            0,
            VerifyError::WrongRoot { opening: 0 },
        );
    });
}

#[test]
fn answers_are_good_for_one_worker_key_only() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        let of_old_key = honest_roots(&due_in(round, machine).unwrap(), machine);
        change(machine, |record| record.worker = 5);
        let due = due_in(round, machine).unwrap();
        assert_ne!(honest_roots(&due, machine), of_old_key);
        let due = commit_roots(round, machine, &of_old_key);
        let proof = honest_proof(&due, machine, 0);
        assert_caught(round, machine, &[proof], 0, VerifyError::WrongRoot { opening: 0 });
    });
}

#[test]
fn proofs_of_the_wrong_length_are_wrong_answers() {
    type Change = fn(SlotProof) -> SlotProof;
    let none: Change = |_| SlotProof::default();
    let too_few: Change = |mut proof| {
        proof.openings.pop();
        proof
    };
    let too_many: Change = |mut proof| {
        proof.openings.try_push(proof.openings[0].clone()).unwrap();
        proof
    };
    let too_short: Change = |mut proof| {
        let mut openings = proof.openings.into_inner();
        openings[2].pop();
        proof.openings = openings.try_into().unwrap();
        proof
    };
    let too_long: Change = |mut proof| {
        let mut openings = proof.openings.into_inner();
        openings[2].try_push([0; 32]).unwrap();
        proof.openings = openings.try_into().unwrap();
        proof
    };
    let openings = WrongLength::Openings;
    let siblings = WrongLength::Siblings { opening: 2 };
    for (change, error) in [
        (none, openings),
        (too_few, openings),
        (too_many, openings),
        (too_short, siblings),
        (too_long, siblings),
    ] {
        ExtBuilder::default().build_and_execute(|| {
            let machine = active_machine(1, 1);
            let round = audit();
            let due = due_in(round, machine).unwrap();
            let due = commit_roots(round, machine, &honest_roots(&due, machine));
            let proof = change(honest_proof(&due, machine, 0));
            assert_caught(round, machine, &[proof], 0, VerifyError::WrongLength(error));
        });
    }
}

#[test]
fn a_proof_in_the_wrong_order_is_a_wrong_answer() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        let due = due_in(round, machine).unwrap();
        let due = commit_roots(round, machine, &honest_roots(&due, machine));
        let lanes: Vec<u32> = claim_of(&due, machine, 0).opened_lanes().collect();
        assert_ne!(lanes[0], lanes[3]);
        let mut openings = honest_proof(&due, machine, 0).openings.into_inner();
        openings.reverse();
        let proof = SlotProof {
            openings: openings.try_into().unwrap(),
        };
        assert_caught(round, machine, &[proof], 0, VerifyError::WrongRoot { opening: 0 });
    });
}

#[test]
fn a_newcomer_that_answers_wrongly_is_no_newcomer_any_more() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = register(1, 1);
        next_block();
        let round = newcomer_round();
        commit_roots(round, machine, &[[7; 32]]);
        send(signed_prove(round, machine, 0, &[SlotProof::default()]));
        assert_eq!(Reported::get(), [(machine, ChallengeWrong)]);
        let next = newcomer_round();
        assert_eq!(due_in(next, machine), None);
        // It may show what it has with all the others.
        let round = audit();
        assert!(!due_in(round, machine).unwrap().is_owed);
        answer(round, &[machine]);
        assert_eq!(proven_slots(machine), 1);
    });
}

#[test]
fn a_newcomer_that_does_not_like_its_openings_cannot_try_again() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = register(1, 1);
        next_block();
        let round = newcomer_round();
        commit_roots(round, machine, &[[7; 32]]);
        until_proofs_are_late(round);
        report_missed(round, machine).unwrap();
        let next = newcomer_round();
        assert_eq!(due_in(next, machine), None);
        until_concluded(round);
        assert_eq!(Reported::get(), [(machine, ChallengeUnanswered)]);
    });
}

#[test]
fn an_answer_to_a_round_before_a_wrong_one_proves_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let first = audit();
        commit(first, machine);
        let second = audit();
        commit(second, machine);
        until_drawn(second);
        send(signed_prove(second, machine, 0, &[SlotProof::default()]));
        assert_eq!(proven_slots(machine), 0);
        prove(first, machine);
        assert_eq!(
            Answers::<Test>::get(first, machine),
            Some(Answer::Proven { slots: 1 })
        );
        assert_eq!(proven_slots(machine), 0);
    });
}
