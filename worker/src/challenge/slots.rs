//! The provers of a machine's slots, and what they hold between a commit and its openings.

use std::{num::NonZeroUsize, sync::Arc, thread};

use assay_client::challenge::{ChallengeDue, ChallengePhase};
use assay_proof::{
    Hash, SlotClaim, SlotProof,
    prover::{Commitment, CpuOptions, Prover, ProverError},
    seed,
};
use assay_provers::{Absent, AnyProver, DetectOptions, GpuOptions, Pace};

use super::{
    devices::{Devices, TestedDevice},
    progress::AnswerWatch,
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Nothing here can answer.
    #[error("nothing on this machine can answer: {problems}; see `assay-worker check`")]
    NoDevice {
        /// What was looked for and is lacking.
        problems: String,
    },
    /// A device answered the self-test and does not start now.
    #[error("{device} does not start: {source}")]
    NotStarted {
        /// Which.
        device: String,
        /// Why.
        source: Absent,
    },
    /// A device gave no answer.
    #[error("{device}: {source}")]
    Prover {
        /// Which.
        device: String,
        /// Why.
        source: ProverError,
    },
    /// A prover's thread panicked.
    #[error("the prover broke off")]
    BrokeOff,
}

impl AnswerError {
    fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Prover {
                source: ProverError::Cancelled,
                ..
            }
        )
    }
}

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

    /// How a GPU is driven for so many free slots: all of the time where each slot has one of its own, and else as
    /// much of it as belongs to them.
    pub fn pace_for(&self, free_slots: u8, devices: usize) -> Pace {
        if devices >= self.slots.into() {
            return Pace::default();
        }
        let share = 100 * u32::from(free_slots.min(self.slots)) / u32::from(self.slots.max(1));
        Pace {
            // At most 100.
            share_percent: u8::try_from(share).unwrap_or(100).max(1),
            ..Pace::default()
        }
    }
}

/// A prover for each slot of a round.
///
/// Every slot has its own, since each holds what its openings need until they are known. Devices work side by side;
/// slots of the same device one after the other, since each has all of it. Between rounds there is no prover: a GPU's
/// memory is the jobs'.
pub struct SlotProvers {
    share: ProverShare,
    devices: Arc<Devices>,
    held: Option<Held>,
}

struct Held {
    round: u32,
    slots: Vec<HeldSlot>,
}

struct HeldSlot {
    device: String,
    prover: AnyProver,
    commitment: Commitment,
}

impl SlotProvers {
    /// Provers that hold nothing yet.
    pub fn new(share: ProverShare, devices: Arc<Devices>) -> Self {
        Self {
            share,
            devices,
            held: None,
        }
    }

    /// The roots of all slots that are due, by their numbers. What an earlier round left is given back first.
    pub fn commit(
        &mut self,
        machine: u64,
        due: &ChallengeDue,
        watch: &AnswerWatch,
    ) -> Result<Vec<Hash>, AnswerError> {
        if self.held.as_ref().is_none_or(|held| held.round != due.round) {
            self.release();
            let slots = self.commit_slots(machine, due, watch)?;
            self.held = Some(Held {
                round: due.round,
                slots,
            });
        }
        let held = self.held.as_ref();
        Ok(held.map_or_else(Vec::new, |held| {
            held.slots.iter().map(|slot| slot.commitment.root).collect()
        }))
    }

    /// All slots at once, as far as there are devices. The first that fails stops the others: the chain takes the roots
    /// of all slots or none.
    fn commit_slots(
        &self,
        machine: u64,
        due: &ChallengeDue,
        watch: &AnswerWatch,
    ) -> Result<Vec<HeldSlot>, AnswerError> {
        let shares = self.devices.for_slots(due.slots);
        if shares.is_empty() && due.slots > 0 {
            return Err(AnswerError::NoDevice {
                problems: self.devices.problems.join("; "),
            });
        }
        let options = DetectOptions {
            cpu: CpuOptions {
                threads: Some(self.share.threads_for(due.slots)),
                ..CpuOptions::default()
            },
            gpu: GpuOptions {
                pace: self.share.pace_for(due.slots, self.devices.usable.len()),
                ..GpuOptions::default()
            },
        };
        let commit_share = |device: &TestedDevice, slots: &[u8]| {
            let committed: Result<Vec<(u8, HeldSlot)>, AnswerError> = slots
                .iter()
                .map(|&slot| Ok((slot, commit_slot(device, &options, machine, slot, due, watch)?)))
                .collect();
            if committed.is_err() {
                watch.stop();
            }
            committed
        };
        let outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = shares
                .iter()
                .map(|(device, slots)| scope.spawn(|| commit_share(device, slots)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or(Err(AnswerError::BrokeOff)))
                .collect()
        });
        let mut committed = Vec::new();
        let mut failure: Option<AnswerError> = None;
        for outcome in outcomes {
            match outcome {
                Ok(slots) => committed.extend(slots),
                // What stopped the others says more than that they were stopped.
                Err(error) if failure.as_ref().is_none_or(AnswerError::is_cancelled) => failure = Some(error),
                Err(_) => (),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        committed.sort_unstable_by_key(|(slot, _)| *slot);
        Ok(committed.into_iter().map(|(_, held)| held).collect())
    }

    /// Proofs of the slots from the first that is not proven on, as many as one transaction takes; none where nothing
    /// is to be proven. What is not held any more, as after a restart, is made again.
    pub fn open(
        &mut self,
        machine: u64,
        due: &ChallengeDue,
        watch: &AnswerWatch,
    ) -> Result<Vec<SlotProof>, AnswerError> {
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
            .map(|(slot, held)| {
                let claim = SlotClaim {
                    params: due.params,
                    seed: held.commitment.seed,
                    opening_randomness,
                    machine_id: machine,
                    slot,
                    root: held.commitment.root,
                };
                let lanes: Vec<u32> = claim.opened_lanes().collect();
                held.prover
                    .open(&held.commitment, &lanes, &watch.slot(slot))
                    .map_err(|source| AnswerError::Prover {
                        device: held.device.clone(),
                        source,
                    })
            })
            .collect()
    }

    /// Gives all memory back.
    pub fn release(&mut self) {
        self.held = None;
    }
}

fn commit_slot(
    device: &TestedDevice,
    options: &DetectOptions,
    machine: u64,
    slot: u8,
    due: &ChallengeDue,
    watch: &AnswerWatch,
) -> Result<HeldSlot, AnswerError> {
    let mut prover = device.start(options).map_err(|source| AnswerError::NotStarted {
        device: device.name.clone(),
        source,
    })?;
    let seed = seed(&due.randomness, machine, &due.worker_key, slot);
    let commitment = prover
        .commit(&due.params, &seed, &watch.slot(slot))
        .map_err(|source| AnswerError::Prover {
            device: device.name.clone(),
            source,
        })?;
    Ok(HeldSlot {
        device: device.name.clone(),
        prover,
        commitment,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_client::challenge::RoundKind;
    use assay_proof::{ChallengeParams, verify_slots};
    use assay_provers::BackEnd;

    use super::*;
    use crate::challenge::devices::ProverChoice;

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

    fn provers() -> SlotProvers {
        SlotProvers::new(share(), Arc::new(Devices::find(ProverChoice::Auto, false)))
    }

    fn silent() -> AnswerWatch {
        AnswerWatch::new(5, "audit", "roots", 3, Arc::new(|_| ()))
    }

    fn to_commit() -> ChallengeDue {
        due(ChallengePhase::Commit { deadline_ms: 1 })
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
        let mut provers = provers();
        let roots = provers.commit(MACHINE, &to_commit(), &silent()).unwrap();
        assert_eq!(roots.len(), 3);
        let first = provers.open(MACHINE, &to_prove(0), &silent()).unwrap();
        assert_eq!(verify_slots(&claims(&roots, 0..2), &first), Ok(()));
        let second = provers.open(MACHINE, &to_prove(2), &silent()).unwrap();
        assert_eq!(verify_slots(&claims(&roots, 2..3), &second), Ok(()));
    }

    #[test]
    fn a_restart_between_commit_and_openings_changes_nothing() {
        let roots = provers().commit(MACHINE, &to_commit(), &silent()).unwrap();
        let proofs = provers().open(MACHINE, &to_prove(0), &silent()).unwrap();
        assert_eq!(verify_slots(&claims(&roots, 0..2), &proofs), Ok(()));
    }

    #[test]
    fn every_back_end_that_is_here_gives_the_same_roots() {
        let of_cpu = provers().commit(MACHINE, &to_commit(), &silent()).unwrap();
        for back_end in [BackEnd::Wgpu, BackEnd::Cuda] {
            let devices = Devices::find(ProverChoice::Only(back_end), true);
            if devices.usable.is_empty() {
                println!("skipped {back_end}: {}", devices.problems.join("; "));
                continue;
            }
            // Fewer devices than slots, as a rule: slots then wait for each other.
            let mut provers = SlotProvers::new(share(), Arc::new(devices));
            assert_eq!(
                provers.commit(MACHINE, &to_commit(), &silent()).unwrap(),
                of_cpu,
                "{back_end}"
            );
            let proofs = provers.open(MACHINE, &to_prove(0), &silent()).unwrap();
            assert_eq!(
                verify_slots(&claims(&of_cpu, 0..2), &proofs),
                Ok(()),
                "{back_end}"
            );
        }
    }

    #[test]
    fn cancelled_work_holds_nothing() {
        let mut provers = provers();
        let watch = silent();
        watch.stop();
        let error = provers.commit(MACHINE, &to_commit(), &watch).unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        assert!(provers.held.is_none());
    }

    #[test]
    fn without_a_device_the_error_says_what_is_lacking() {
        let devices = Devices {
            usable: Vec::new(),
            problems: vec!["CUDA: no driver".into(), "wgpu: no GPU".into()],
        };
        let error = SlotProvers::new(share(), Arc::new(devices))
            .commit(MACHINE, &to_commit(), &silent())
            .unwrap_err()
            .to_string();
        assert!(error.contains("CUDA: no driver; wgpu: no GPU"), "{error}");
    }

    #[test]
    fn what_a_device_refuses_is_told_with_its_name() {
        let mut due = to_commit();
        due.params.items = 0;
        let error = provers().commit(MACHINE, &due, &silent()).unwrap_err();
        let refused = matches!(
            error,
            AnswerError::Prover {
                source: ProverError::Params(_),
                ..
            }
        );
        assert!(refused && error.to_string().starts_with("CPU, "), "{error}");
    }

    #[test]
    fn a_device_that_slots_share_works_as_much_as_belongs_to_the_free_ones() {
        let share = ProverShare {
            slots: 4,
            threads: NonZeroUsize::MIN,
        };
        let percent = |free, devices| share.pace_for(free, devices).share_percent;
        assert_eq!((percent(4, 4), percent(1, 4)), (100, 100));
        assert_eq!([4, 3, 1, 0].map(|free| percent(free, 1)), [100, 75, 25, 1]);
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
