//! The provers of a machine's slots, and what they hold between a commit and its openings.

use std::num::NonZeroUsize;

use assay_client::challenge::{ChallengeDue, ChallengePhase};
use assay_proof::{
    Hash, SlotClaim, SlotProof,
    prover::{Commitment, CpuOptions, CpuProver, Prover, ProverError, Watch},
    seed,
};

/// What the provers may use of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProverShare {
    /// Slots of the machine.
    pub slots: u8,
    /// Threads of the host that all slots share.
    pub threads: NonZeroUsize,
}

impl ProverShare {
    /// Threads for so many free slots: as much of the host as belongs to them, so that the jobs on the other slots
    /// keep theirs.
    pub fn threads_for(&self, free_slots: u8) -> NonZeroUsize {
        let threads = self
            .threads
            .get()
            .saturating_mul(free_slots.min(self.slots).into())
            .checked_div(self.slots.into())
            .unwrap_or(1);
        NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN)
    }
}

/// A prover for each slot of a round.
///
/// Every slot has its own, since each holds its memory until its openings are known. They work one after the other:
/// a CPU has all of its threads at each.
pub struct SlotProvers {
    share: ProverShare,
    held: Option<Held>,
}

struct Held {
    round: u32,
    slots: Vec<(Box<dyn Prover>, Commitment)>,
}

impl SlotProvers {
    /// Provers that hold nothing yet.
    pub fn new(share: ProverShare) -> Self {
        Self { share, held: None }
    }

    /// The roots of all slots that are due, by their numbers. What an earlier round left is given back first.
    pub fn commit(
        &mut self,
        machine: u64,
        due: &ChallengeDue,
        watch: &dyn Watch,
    ) -> Result<Vec<Hash>, ProverError> {
        if self.held.as_ref().is_none_or(|held| held.round != due.round) {
            self.release();
            let threads = self.share.threads_for(due.slots);
            let slots = (0..due.slots)
                .map(|slot| {
                    let mut prover: Box<dyn Prover> = Box::new(CpuProver::new(CpuOptions {
                        threads: Some(threads),
                        ..CpuOptions::default()
                    })?);
                    let seed = seed(&due.randomness, machine, &due.worker_key, slot);
                    let commitment = prover.commit(&due.params, &seed, watch)?;
                    Ok((prover, commitment))
                })
                .collect::<Result<_, ProverError>>()?;
            self.held = Some(Held {
                round: due.round,
                slots,
            });
        }
        let held = self.held.as_ref();
        Ok(held.map_or_else(Vec::new, |held| {
            held.slots.iter().map(|(_, commitment)| commitment.root).collect()
        }))
    }

    /// Proofs of the slots from the first that is not proven on, as many as one transaction takes; none where nothing
    /// is to be proven. What is not held any more, as after a restart, is made again.
    pub fn open(
        &mut self,
        machine: u64,
        due: &ChallengeDue,
        watch: &dyn Watch,
    ) -> Result<Vec<SlotProof>, ProverError> {
        let ChallengePhase::Prove {
            opening_randomness,
            next_slot,
            ..
        } = due.phase
        else {
            return Ok(Vec::new());
        };
        self.commit(machine, due, watch)?;
        let Some(held) = &mut self.held else {
            return Ok(Vec::new());
        };
        (next_slot..due.slots)
            .zip(held.slots.iter_mut().skip(next_slot.into()))
            .take(due.max_slots_per_proof.into())
            .map(|(slot, (prover, commitment))| {
                let claim = SlotClaim {
                    params: due.params,
                    seed: commitment.seed,
                    opening_randomness,
                    machine_id: machine,
                    slot,
                    root: commitment.root,
                };
                let lanes: Vec<u32> = claim.opened_lanes().collect();
                prover.open(commitment, &lanes, watch)
            })
            .collect()
    }

    /// Gives all memory back.
    pub fn release(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_client::challenge::RoundKind;
    use assay_proof::{ChallengeParams, prover::Cancel, verify_slots};

    use super::*;

    const PARAMS: ChallengeParams = ChallengeParams {
        items: 1 << 10,
        fill_double_rounds: 8,
        lanes_log2: 4,
        steps: 4,
        openings: 2,
        deadline_ms: 1_000,
    };
    const MACHINE: u64 = 7;

    fn share() -> ProverShare {
        ProverShare {
            slots: 3,
            threads: NonZeroUsize::MIN,
        }
    }

    fn due(phase: ChallengePhase) -> ChallengeDue {
        ChallengeDue {
            round: 5,
            kind: RoundKind::Audit,
            is_owed: true,
            randomness: [1; 32],
            worker_key: [2; 32],
            params: PARAMS,
            slots: 3,
            phase,
            max_slots_per_proof: 2,
            now_ms: 0,
        }
    }

    fn to_prove(next_slot: u8) -> ChallengeDue {
        due(ChallengePhase::Prove {
            opening_randomness: [3; 32],
            next_slot,
            deadline_ms: 1,
        })
    }

    fn claims(roots: &[Hash], slots: core::ops::Range<u8>) -> Vec<SlotClaim> {
        slots
            .map(|slot| SlotClaim {
                params: PARAMS,
                seed: seed(&[1; 32], MACHINE, &[2; 32], slot),
                opening_randomness: [3; 32],
                machine_id: MACHINE,
                slot,
                root: roots[usize::from(slot)],
            })
            .collect()
    }

    #[test]
    fn slots_are_proven_in_their_order_and_as_many_at_once_as_may_be() {
        let mut provers = SlotProvers::new(share());
        let roots = provers
            .commit(MACHINE, &due(ChallengePhase::Commit { deadline_ms: 1 }), &())
            .unwrap();
        assert_eq!(roots.len(), 3);
        let first = provers.open(MACHINE, &to_prove(0), &()).unwrap();
        assert_eq!(verify_slots(&claims(&roots, 0..2), &first), Ok(()));
        let second = provers.open(MACHINE, &to_prove(2), &()).unwrap();
        assert_eq!(verify_slots(&claims(&roots, 2..3), &second), Ok(()));
    }

    #[test]
    fn a_restart_between_commit_and_openings_changes_nothing() {
        let mut before = SlotProvers::new(share());
        let roots = before
            .commit(MACHINE, &due(ChallengePhase::Commit { deadline_ms: 1 }), &())
            .unwrap();
        let proofs = SlotProvers::new(share())
            .open(MACHINE, &to_prove(0), &())
            .unwrap();
        assert_eq!(verify_slots(&claims(&roots, 0..2), &proofs), Ok(()));
    }

    #[test]
    fn cancelled_work_holds_nothing() {
        let mut provers = SlotProvers::new(share());
        let cancel = Cancel::default();
        cancel.cancel();
        let commit = provers.commit(MACHINE, &due(ChallengePhase::Commit { deadline_ms: 1 }), &cancel);
        assert!(matches!(commit, Err(ProverError::Cancelled)));
        assert!(provers.held.is_none());
    }

    #[test]
    fn free_slots_have_their_part_of_the_threads() {
        let share = ProverShare {
            slots: 4,
            threads: NonZeroUsize::new(16).unwrap(),
        };
        let threads: Vec<_> = [0, 1, 3, 4, 9].map(|free| share.threads_for(free).get()).into();
        assert_eq!(threads, [1, 4, 12, 16, 16]);
    }
}
