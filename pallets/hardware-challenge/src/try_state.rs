//! Invariants of rounds, answers and proofs between any two calls.

use alloc::{collections::BTreeMap, vec::Vec};

use assay_primitives::{
    challenge::{RoundId, RoundKind},
    clock::{ActiveClock, EpochIndex},
    machine::{HardwareClaims, MachineId},
};
use polkadot_sdk::{
    frame_support::{ensure, traits::Get},
    sp_runtime::TryRuntimeError,
};

use crate::{
    Answer, Answers, Audits, Classes, Config, CurrentSchedule, Expiries, Exposures, NextDraw, NextRound,
    OldestRound, Pallet, ProofRecord, Proofs, RoundRecord, Rounds,
};

impl<T: Config> Pallet<T> {
    /// Checks the pallet's invariants:
    ///
    /// 1. Rounds are kept from the oldest one on up to the next one, and no others.
    /// 2. Exactly the rounds before the cursor have openings, drawn after their commits were closed.
    /// 3. The list of audits names exactly the rounds of that kind.
    /// 4. Answers belong to rounds that are kept. A commitment has a slot left to prove; nothing was proven,
    ///    or answered wrongly, before the openings were drawn.
    /// 5. Exposures belong to audits that are kept.
    /// 6. Proofs are steps: the more slots, the sooner they expire.
    /// 7. The agenda has a machine in the epoch after its next proof expires, and in no other.
    /// 8. A class's parameters are in their ranges, and their first rounds are rising.
    /// 9. The schedule is valid.
    /// 10. Every machine with a proof record is in the registry.
    /// 11. A round's tally counts no more answers and misses than are kept of it, and a round is concluded
    ///     only when it is over.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let oldest = OldestRound::<T>::get();
        let next = NextRound::<T>::get();
        let rounds: BTreeMap<RoundId, RoundRecord> = Rounds::<T>::iter().collect();
        // 1
        ensure!(
            rounds.keys().copied().eq(oldest..next),
            "1: other rounds are kept than those from the oldest one on"
        );
        // 2
        let next_draw = NextDraw::<T>::get();
        ensure!(
            (oldest..=next).contains(&next_draw),
            "2: the cursor of draws is outside of the rounds"
        );
        for (round, record) in &rounds {
            match record.openings {
                None => ensure!(*round >= next_draw, "2: the openings of a round were passed over"),
                Some(openings) => ensure!(
                    *round < next_draw && openings.drawn_at_ms > record.commits_until_ms,
                    "2: openings were drawn too early"
                ),
            }
        }
        // 3
        let audits: Vec<RoundId> = rounds
            .iter()
            .filter(|(_, record)| record.kind == RoundKind::Audit)
            .map(|(round, _)| *round)
            .collect();
        ensure!(
            Audits::<T>::get().into_inner() == audits,
            "3: the audits are not those of the rounds"
        );
        // 4
        for (round, _, answer) in Answers::<T>::iter() {
            let record = rounds.get(&round).ok_or("4: an answer is of no round")?;
            Self::try_state_of_answer(record, &answer)?;
        }
        // 5
        ensure!(
            Exposures::<T>::iter_keys().all(|(round, _)| audits.contains(&round)),
            "5: an exposure is of no audit"
        );
        Self::try_state_of_proofs()?;
        Self::try_state_of_classes()?;
        Self::try_state_of_tallies(&rounds)?;
        // 9
        ensure!(
            CurrentSchedule::<T>::get().is_valid(),
            "9: the schedule cannot be kept"
        );
        Ok(())
    }

    /// Checks invariant 11.
    fn try_state_of_tallies(rounds: &BTreeMap<RoundId, RoundRecord>) -> Result<(), TryRuntimeError> {
        for (round, record) in rounds {
            if record.outcome.is_some() {
                // Its answers are being forgotten.
                ensure!(
                    Self::is_over(*round),
                    "11: a round was concluded that is not over"
                );
                continue;
            }
            let (mut answered, mut missed) = (0_u32, 0_u32);
            for answer in Answers::<T>::iter_prefix_values(round) {
                match answer {
                    Answer::Committed(_) => {}
                    Answer::Proven { .. } | Answer::Wrong => answered = answered.saturating_add(1),
                    Answer::Missed => missed = missed.saturating_add(1),
                }
            }
            ensure!(
                record.tally.answered <= answered && record.tally.missed <= missed,
                "11: a round counts more than is kept of it"
            );
        }
        Ok(())
    }

    /// Checks invariant 4 of one answer.
    fn try_state_of_answer(record: &RoundRecord, answer: &Answer) -> Result<(), TryRuntimeError> {
        match answer {
            Answer::Committed(commitment) => {
                ensure!(
                    usize::from(commitment.proven) < commitment.roots.len(),
                    "4: a commitment has no slot to prove"
                );
                ensure!(
                    commitment.proven == 0 || record.openings.is_some(),
                    "4: a slot was proven before its openings were drawn"
                );
            }
            Answer::Proven { slots } => ensure!(
                *slots > 0 && record.openings.is_some(),
                "4: a machine was proven before its openings were drawn"
            ),
            Answer::Wrong => ensure!(
                record.openings.is_some(),
                "4: an answer was wrong before its openings were drawn"
            ),
            Answer::Missed => ensure!(
                record
                    .prove_deadline_ms()
                    .is_some_and(|deadline| T::Clock::now_ms() > deadline),
                "4: a machine was reported that still has time"
            ),
        }
        Ok(())
    }

    /// Checks invariants 6, 7 and 10.
    fn try_state_of_proofs() -> Result<(), TryRuntimeError> {
        let mut expected: Vec<(EpochIndex, MachineId)> = Vec::new();
        for (machine, record) in Proofs::<T>::iter() {
            Self::try_state_of_proof(&record)?;
            if let Some(expires_at_ms) = record.next_expiry_ms() {
                expected.push((Self::expiry_epoch(expires_at_ms), machine));
            }
            ensure!(
                T::Machines::hardware_claim(machine).is_some(),
                "10: a machine has proofs that is not there"
            );
        }
        let mut found: Vec<(EpochIndex, MachineId)> = Expiries::<T>::iter_keys().collect();
        expected.sort_unstable();
        found.sort_unstable();
        ensure!(found == expected, "7: an expiry is missing or is of nothing");
        ensure!(
            found.iter().all(|(epoch, _)| *epoch >= Self::next_expiry_epoch()),
            "7: the hook passed an expiry over"
        );
        Ok(())
    }

    /// Checks invariant 6 of one machine.
    fn try_state_of_proof(record: &ProofRecord) -> Result<(), TryRuntimeError> {
        ensure!(
            record.steps.iter().all(|step| step.slots > 0),
            "6: a proof is of no slot"
        );
        ensure!(
            record.steps.is_sorted_by(
                |left, right| left.slots > right.slots && left.expires_at_ms < right.expires_at_ms
            ),
            "6: proofs are no steps"
        );
        Ok(())
    }

    /// Checks invariant 8.
    fn try_state_of_classes() -> Result<(), TryRuntimeError> {
        for versions in Classes::<T>::iter_values() {
            ensure!(!versions.is_empty(), "8: a class is without versions");
            ensure!(
                versions.is_sorted_by(|left, right| left.from_round < right.from_round),
                "8: versions of a class are out of order"
            );
            ensure!(
                versions
                    .iter()
                    .filter_map(|version| version.params)
                    .all(|params| params.is_valid()
                        && params.verification_double_rounds() <= T::MaxDoubleRounds::get()),
                "8: parameters of a class are out of range"
            );
        }
        Ok(())
    }
}
