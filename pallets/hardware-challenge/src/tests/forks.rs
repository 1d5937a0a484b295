//! Answers to what another fork of the chain, or a lying node, asked.

use assay_primitives::{
    challenge::{AnswerSubject, ChallengeDue, RoundId, RoundRef},
    machine::{MachineId, MachineStatus::Active},
};
use assay_proof::{ChallengeParams, Hash, SlotProof, verify_slots};
use polkadot_sdk::{
    frame_support::assert_storage_noop, sp_runtime::transaction_validity::InvalidTransaction,
};

use super::answers::assert_refused;
use crate::{Answers, Call, Error, OTHER_RANDOMNESS, Rounds, mock::*};

/// Replaces a round's randomness, as a reorganisation does. Returns what was there.
fn reorganise(round: RoundId, randomness: Hash) -> Hash {
    Rounds::<Test>::mutate(round, |record| {
        core::mem::replace(&mut record.as_mut().unwrap().randomness, randomness)
    })
}

/// Draws the round's openings anew, as a reorganisation does.
fn redraw(round: RoundId, randomness: Hash) {
    Rounds::<Test>::mutate(round, |record| {
        let openings = &mut record.as_mut().unwrap().openings;
        openings.as_mut().unwrap().randomness = randomness;
    });
}

/// Proofs of an honest worker by what it was told, which it verified before it signed them.
fn verified_proofs(due: &ChallengeDue, machine: MachineId) -> Vec<SlotProof> {
    let proofs: Vec<SlotProof> = (0..due.slots)
        .map(|slot| honest_proof(due, machine, slot))
        .collect();
    let claims: Vec<_> = (0..due.slots)
        .map(|slot| assay_proof::SlotClaim {
            root: due.roots[usize::from(slot)],
            ..claim_of(due, machine, slot)
        })
        .collect();
    assert_eq!(verify_slots(&claims, &proofs), Ok(()));
    proofs
}

fn other_randomness() -> InvalidTransaction {
    InvalidTransaction::Custom(OTHER_RANDOMNESS)
}

#[test]
fn a_commit_for_another_forks_randomness_is_refused_and_binds_nobody() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        let due = due_in(round, machine).unwrap();
        let roots = honest_roots(&due, machine);
        let of_other_fork = signed_commit(round, machine, &roots);
        reorganise(round, [9; 32]);
        assert_refused(of_other_fork, other_randomness(), Error::OtherRandomness);
        assert!(!Answers::<Test>::contains_key(round, machine));
        // It answers this fork anew, and is proven.
        assert_ne!(honest_roots(&due_in(round, machine).unwrap(), machine), roots);
        answer(round, &[machine]);
        assert_eq!((status(machine), Reported::get()), (Active, vec![]));
    });
}

#[test]
fn a_proof_of_another_forks_openings_is_refused_and_not_punished() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 2);
        let round = audit();
        commit(round, machine);
        until_drawn(round);
        let of_other_fork = signed_prove(
            round,
            machine,
            0,
            &verified_proofs(&due_in(round, machine).unwrap(), machine),
        );
        redraw(round, [9; 32]);
        assert_storage_noop!(assert_refused(
            of_other_fork,
            other_randomness(),
            Error::OtherRandomness
        ));
        assert_eq!((status(machine), Reported::get()), (Active, vec![]));
        prove(round, machine);
        assert_eq!(proven_slots(machine), 2);
    });
}

#[test]
fn a_proof_that_names_the_right_openings_of_another_round_randomness_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        commit(round, machine);
        until_drawn(round);
        let proofs = verified_proofs(&due_in(round, machine).unwrap(), machine);
        let honest = signed_prove(round, machine, 0, &proofs);
        let before = reorganise(round, [9; 32]);
        assert_refused(honest.clone(), other_randomness(), Error::OtherRandomness);
        // Back on the fork that it was made for, the same bytes count.
        reorganise(round, before);
        send(honest);
        assert_eq!(status(machine), Active);
    });
}

#[test]
fn nobody_can_rename_the_randomness_of_an_answer() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        let due = due_in(round, machine).unwrap();
        let commit_of_fork = signed_commit(round, machine, &honest_roots(&due, machine));
        reorganise(round, [9; 32]);
        let Call::commit { roots, signature, .. } = commit_of_fork else {
            panic!("no commit");
        };
        let here = RoundRef {
            round,
            randomness: [9; 32],
        };
        let renamed = Call::commit {
            round: here,
            machine,
            roots,
            signature,
        };
        assert_eq!(authorize(renamed), Err(InvalidTransaction::BadProof.into()));

        commit(round, machine);
        until_drawn(round);
        let proofs = verified_proofs(&due_in(round, machine).unwrap(), machine);
        let of_fork = signed_prove(round, machine, 0, &proofs);
        redraw(round, [8; 32]);
        let Call::prove {
            proofs, signature, ..
        } = of_fork
        else {
            panic!("no proof");
        };
        let renamed = Call::prove {
            round: here,
            opening_randomness: [8; 32],
            machine,
            first_slot: 0,
            proofs,
            signature,
        };
        assert_eq!(authorize(renamed), Err(InvalidTransaction::BadProof.into()));
        assert_eq!(Reported::get(), []);
    });
}

/// A node lies to an honest worker about one thing. The worker computes by what it is told, verifies, and
/// signs; whatever it signs is refused by the true chain, and nothing of it is punished.
#[test]
fn whatever_a_node_lies_about_an_honest_signature_is_never_punished() {
    type Lie = fn(&mut ChallengeDue);
    let lies: [(&str, Lie); 5] = [
        ("round", |due| due.round += 1),
        ("randomness", |due| due.randomness = [9; 32]),
        ("worker key", |due| due.worker_key = [9; 32]),
        ("lanes", |due| due.params.lanes_log2 -= 1),
        ("reads", |due| {
            due.params = ChallengeParams {
                steps: 48,
                ..due.params
            };
        }),
    ];
    for (what, lie) in lies {
        ExtBuilder::default().build_and_execute(|| {
            let machine = active_machine(1, 1);
            let round = audit();
            // While it may commit.
            let mut told = due_in(round, machine).unwrap();
            lie(&mut told);
            let subject: AnswerSubject = told.subject(machine);
            let call = commit_about(1, &subject, &honest_roots(&told, machine));
            assert!(authorize(call).is_err(), "a commit after a lie about the {what}");
            // When it has to prove: the node tells roots that fit its lie, so that the worker finds nothing
            // wrong.
            commit(round, machine);
            until_drawn(round);
            let mut told = due_in(round, machine).unwrap();
            lie(&mut told);
            told.roots = honest_roots(&told, machine);
            let subject: AnswerSubject = told.subject(machine);
            let proofs = verified_proofs(&told, machine);
            let call = prove_about(1, &subject, openings_of(round), &told.roots, 0, &proofs);
            assert!(authorize(call).is_err(), "a proof after a lie about the {what}");
            // Openings that were never drawn.
            let truth = due_in(round, machine).unwrap();
            let call = prove_about(
                1,
                &truth.subject(machine),
                [9; 32],
                &truth.roots,
                0,
                &verified_proofs(&truth, machine),
            );
            assert_refused(call, other_randomness(), Error::OtherRandomness);
            assert_eq!(Reported::get(), [], "{what}");
            prove(round, machine);
            assert_eq!(status(machine), Active);
        });
    }
}

#[test]
fn a_proof_for_another_commitment_than_the_one_on_chain_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        // A faulty device, or another process with the same key, committed what cannot be proven.
        send(signed_commit(round, machine, &[[7; 32]]));
        until_drawn(round);
        let mut due = due_in(round, machine).unwrap();
        due.roots = honest_roots(&due, machine);
        let proofs = verified_proofs(&due, machine);
        let call = prove_about(
            1,
            &due.subject(machine),
            openings_of(round),
            &due.roots,
            0,
            &proofs,
        );
        assert_eq!(authorize(call), Err(InvalidTransaction::BadProof.into()));
        assert_eq!(Reported::get(), []);
    });
}

#[test]
fn a_change_of_class_between_commit_and_proof_makes_no_wrong_answer() {
    ExtBuilder::default().build_and_execute(|| {
        let machine = active_machine(1, 1);
        let round = audit();
        commit(round, machine);
        until_drawn(round);
        let call = signed_prove(
            round,
            machine,
            0,
            &verified_proofs(&due_in(round, machine).unwrap(), machine),
        );
        change(machine, |record| record.class = QUICK_CLASS);
        assert_eq!(authorize(call), Err(InvalidTransaction::BadProof.into()));
        assert_eq!(Reported::get(), []);
    });
}
