//! Workers that really prove, or lie, and sign what they say.

use std::num::NonZeroUsize;

use assay_primitives::challenge::{
    AnswerSubject, ChallengeDue, ChallengePhase, RoundId, RoundRef, commit_message, prove_message,
};
use assay_proof::{
    ChallengeParams, Hash, SlotClaim, SlotProof, block, item, item_index, leaf, node, permute_add,
    prover::{CpuOptions, CpuProver, Prover},
};
use polkadot_sdk::sp_core::Pair;

use super::*;

/// Returns the runtime's answer to the machine's worker about a round.
pub(crate) fn due_in(round: RoundId, machine: MachineId) -> Option<ChallengeDue> {
    HardwareChallenge::challenge_due(machine)
        .into_iter()
        .find(|due| due.round == round)
}

/// The seeds of the slots that are due.
pub(crate) fn seeds(due: &ChallengeDue, machine: MachineId) -> Vec<Hash> {
    (0..due.slots)
        .map(|slot| assay_proof::seed(&due.randomness, machine, &due.worker_key, slot))
        .collect()
}

fn prover() -> CpuProver {
    CpuProver::new(CpuOptions {
        threads: NonZeroUsize::new(1),
        ..CpuOptions::default()
    })
    .unwrap()
}

/// The roots of an honest worker.
pub(crate) fn honest_roots(due: &ChallengeDue, machine: MachineId) -> Vec<Hash> {
    let mut prover = prover();
    seeds(due, machine)
        .iter()
        .map(|seed| prover.commit(&due.params, seed, &()).unwrap().root)
        .collect()
}

/// Returns the claim that a worker verifies its proof of a slot against, without the root.
pub(crate) fn claim_of(due: &ChallengeDue, machine: MachineId, slot: u8) -> SlotClaim {
    let ChallengePhase::Prove {
        opening_randomness, ..
    } = due.phase
    else {
        panic!("there is nothing to prove yet: {:?}", due.phase);
    };
    SlotClaim {
        params: due.params,
        seed: assay_proof::seed(&due.randomness, machine, &due.worker_key, slot),
        opening_randomness,
        machine_id: machine,
        slot,
        root: Hash::default(),
    }
}

/// The proof of an honest worker for a slot.
pub(crate) fn honest_proof(due: &ChallengeDue, machine: MachineId, slot: u8) -> SlotProof {
    let claim = claim_of(due, machine, slot);
    let mut prover = prover();
    let commitment = prover.commit(&due.params, &claim.seed, &()).unwrap();
    let lanes: Vec<u32> = claim.opened_lanes().collect();
    prover.open(&commitment, &lanes, &()).unwrap()
}

/// The levels of a tree over lanes that read zeros where the memory ends after `stored` items, leaves first.
pub(crate) fn tree_with_memory(params: &ChallengeParams, seed: &Hash, stored: u32) -> Vec<Vec<Hash>> {
    let mut levels: Vec<Vec<Hash>> = vec![
        (0..1 << params.lanes_log2)
            .map(|lane| {
                let mut accumulator = block(
                    seed,
                    assay_proof::LANE_DOMAIN,
                    lane,
                    assay_proof::STEP_DOUBLE_ROUNDS,
                );
                for _ in 0..params.steps {
                    let index = item_index(&accumulator, params.items);
                    let read = if index < stored {
                        item(seed, index, params.fill_double_rounds)
                    } else {
                        [0; 16]
                    };
                    let mixed = core::array::from_fn(|word| accumulator[word] ^ read[word]);
                    accumulator = permute_add(&mixed, assay_proof::STEP_DOUBLE_ROUNDS);
                }
                leaf(&accumulator)
            })
            .collect(),
    ];
    while levels.last().unwrap().len() > 1 {
        let above = levels
            .last()
            .unwrap()
            .chunks(2)
            .map(|pair| node(&pair[0], &pair[1]))
            .collect();
        levels.push(above);
    }
    levels
}

/// The paths of lanes in such a tree.
pub(crate) fn paths(levels: &[Vec<Hash>], lanes: impl IntoIterator<Item = u32>) -> SlotProof {
    SlotProof::from_paths(lanes.into_iter().map(|lane| {
        levels[..levels.len() - 1]
            .iter()
            .enumerate()
            .map(|(level, hashes)| hashes[(lane as usize >> level) ^ 1])
            .collect::<Vec<Hash>>()
    }))
    .unwrap()
}

/// Subject of a true answer of the machine: what the chain has of the round, whether the machine is due or
/// not.
pub(crate) fn subject_of(round: RoundId, machine: MachineId) -> AnswerSubject {
    let record = Machines::get().get(&machine).cloned();
    let (worker, class) = record.map_or((1, CLASS), |record| (record.worker, record.class));
    let worker_key = match crate::Answers::<Test>::get(round, machine) {
        Some(crate::Answer::Committed(commitment)) => commitment.worker_key,
        _ => worker_key(worker).into(),
    };
    AnswerSubject {
        round: RoundRef {
            round,
            randomness: crate::Rounds::<Test>::get(round).map_or([0; 32], |record| record.randomness),
        },
        machine,
        worker_key,
        params: HardwareChallenge::params_of(class, round).unwrap_or(PARAMS),
    }
}

/// Randomness of a round's openings; zeros where they are not drawn.
pub(crate) fn openings_of(round: RoundId) -> Hash {
    crate::Rounds::<Test>::get(round)
        .and_then(|record| record.openings)
        .map_or([0; 32], |openings| openings.randomness)
}

/// The roots that the machine committed; none where it did not.
pub(crate) fn committed_roots(round: RoundId, machine: MachineId) -> Vec<Hash> {
    match crate::Answers::<Test>::get(round, machine) {
        Some(crate::Answer::Committed(commitment)) => commitment.roots.into_inner(),
        _ => Vec::new(),
    }
}

/// A commit that its machine's worker signed.
pub(crate) fn signed_commit(round: RoundId, machine: MachineId, roots: &[Hash]) -> crate::Call<Test> {
    let worker = Machines::get().get(&machine).map_or(1, |record| record.worker);
    commit_signed_by(worker, round, machine, roots)
}

/// A commit that some worker signed.
pub(crate) fn commit_signed_by(
    worker: u8,
    round: RoundId,
    machine: MachineId,
    roots: &[Hash],
) -> crate::Call<Test> {
    commit_about(worker, &subject_of(round, machine), roots)
}

/// A commit that some worker signed, about what it was told.
pub(crate) fn commit_about(worker: u8, subject: &AnswerSubject, roots: &[Hash]) -> crate::Call<Test> {
    let message = commit_message(System::block_hash(0).as_ref(), subject, roots);
    crate::Call::commit {
        round: subject.round,
        machine: subject.machine,
        roots: roots.to_vec().try_into().unwrap(),
        signature: worker_pair(worker).sign(&message),
    }
}

/// Proofs that their machine's worker signed.
pub(crate) fn signed_prove(
    round: RoundId,
    machine: MachineId,
    first_slot: u8,
    proofs: &[SlotProof],
) -> crate::Call<Test> {
    let worker = Machines::get().get(&machine).map_or(1, |record| record.worker);
    prove_signed_by(worker, round, machine, first_slot, proofs)
}

/// Proofs that some worker signed.
pub(crate) fn prove_signed_by(
    worker: u8,
    round: RoundId,
    machine: MachineId,
    first_slot: u8,
    proofs: &[SlotProof],
) -> crate::Call<Test> {
    let (subject, openings) = (subject_of(round, machine), openings_of(round));
    let roots = committed_roots(round, machine);
    prove_about(worker, &subject, openings, &roots, first_slot, proofs)
}

/// Proofs that some worker signed, about what it was told.
pub(crate) fn prove_about(
    worker: u8,
    subject: &AnswerSubject,
    opening_randomness: Hash,
    roots: &[Hash],
    first_slot: u8,
    proofs: &[SlotProof],
) -> crate::Call<Test> {
    let genesis_hash = System::block_hash(0);
    let message = prove_message(
        genesis_hash.as_ref(),
        subject,
        &opening_randomness,
        roots,
        first_slot,
        proofs,
    );
    crate::Call::prove {
        round: subject.round,
        opening_randomness,
        machine: subject.machine,
        first_slot,
        proofs: proofs.to_vec().try_into().unwrap(),
        signature: worker_pair(worker).sign(&message),
    }
}

/// The machine's worker commits honestly.
pub(crate) fn commit(round: RoundId, machine: MachineId) {
    let due = due_in(round, machine).unwrap();
    send(signed_commit(round, machine, &honest_roots(&due, machine)));
}

/// The machine's worker proves honestly what is left, in as large parts as can be.
pub(crate) fn prove(round: RoundId, machine: MachineId) {
    while let Some(due) = due_in(round, machine) {
        let ChallengePhase::Prove { next_slot, .. } = due.phase else {
            panic!("there is nothing to prove yet: {:?}", due.phase);
        };
        let end = due.slots.min(next_slot + due.max_slots_per_proof);
        let proofs: Vec<SlotProof> = (next_slot..end)
            .map(|slot| honest_proof(&due, machine, slot))
            .collect();
        send(signed_prove(round, machine, next_slot, &proofs));
    }
}

/// These machines answer the round honestly and in time.
pub(crate) fn answer(round: RoundId, machines: &[MachineId]) {
    for machine in machines {
        commit(round, *machine);
    }
    until_drawn(round);
    for machine in machines {
        prove(round, *machine);
    }
}
