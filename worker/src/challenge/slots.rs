//! The provers of a machine's slots, and their state between a commit and its openings.

use std::{num::NonZeroUsize, sync::Arc, thread};

use assay_client::challenge::{ChallengeDue, ChallengePhase};
use assay_proof::{
    ChallengeParams, Hash, SlotClaim, SlotProof, VerifyError,
    prover::{Commitment, CpuOptions, Prover, ProverError},
    seed,
};
use assay_provers::{Absent, AnyProver, DetectOptions, GpuOptions, Pace};

use super::{
    devices::{Devices, TestedDevice},
    progress::AnswerWatch,
};
use crate::devices::{DeviceLedger, Loan};

/// Reason why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// No device can answer.
    #[error("no device of this machine can answer: {problems}; see `assay-worker check`")]
    NoDevice {
        /// The devices and back ends that were tried, and their problems.
        problems: String,
    },
    /// A device that passed the self-test does not start now.
    #[error("starting {device} failed: {source}")]
    NotStarted {
        /// Name of the device.
        device: String,
        /// Error of the back end.
        source: Absent,
    },
    /// A device failed to compute the answer.
    #[error("{device}: {source}")]
    Prover {
        /// Name of the device.
        device: String,
        /// Error of the prover.
        source: ProverError,
    },
    /// A prover's thread panicked.
    #[error("the prover panicked")]
    BrokeOff,
    /// The root on chain is not the one that this machine computes, even after computing it again.
    #[error(
        "the root of slot {slot} on chain is not the one that this machine computes: nothing is signed, since a missing \
         answer costs less than a wrong one. Does another worker run with the same key? Else see `assay-worker check`"
    )]
    OtherCommitment {
        /// The first such slot.
        slot: u8,
    },
    /// A device made a proof that the verifier refuses.
    #[error(
        "{device} made a wrong proof of slot {slot}: {source}; nothing is signed, see `assay-worker check`"
    )]
    WrongProof {
        /// Name of the device.
        device: String,
        /// Number of the slot.
        slot: u8,
        /// The verifier's reason.
        source: VerifyError,
    },
}

impl AnswerError {
    /// Returns true if the machine cannot give the answer truthfully; another attempt will hardly help.
    pub fn is_untruth(&self) -> bool {
        matches!(self, Self::OtherCommitment { .. } | Self::WrongProof { .. })
    }

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

/// The provers' share of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProverShare {
    /// Number of slots of the machine.
    pub slots: u8,
    /// Number of the host's threads that all slots share.
    pub threads: NonZeroUsize,
}

impl ProverShare {
    /// Returns the number of threads for `free_slots`: their share of the host's threads, so that the jobs on
    /// the other slots keep theirs.
    pub fn threads_for(&self, free_slots: u8) -> NonZeroUsize {
        let threads = self
            .threads
            .get()
            .saturating_mul(free_slots.min(self.slots).into())
            .checked_div(self.slots.into())
            .unwrap_or(1);
        NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN)
    }

    /// Returns the pace of a GPU for `free_slots`: all of its time if each slot has a GPU of its own,
    /// otherwise the share of the free slots.
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
/// Each slot has its own prover, because a prover holds the data for the openings until these are known.
/// Devices work in parallel; slots of the same device one after the other, because each needs the whole
/// device. Between rounds there is no prover: a GPU's memory belongs to the jobs.
pub struct SlotProvers {
    share: ProverShare,
    devices: Arc<Devices>,
    /// Ledger of the devices of slots; `None` where all devices are the provers'.
    ledger: Option<DeviceLedger>,
    held: Option<Held>,
}

/// Commitments, identified by their inputs and not by the number of the round: another fork gives the same
/// number to a round with other inputs.
struct Held {
    params: ChallengeParams,
    slots: Vec<HeldSlot>,
    /// The devices of the provers; dropped after these.
    _loan: Option<Loan>,
}

impl Held {
    /// Returns true if these are the commitments of all slots in `due`.
    fn is_for(&self, machine: u64, due: &ChallengeDue) -> bool {
        self.params == due.params
            && self.slots.len() == usize::from(due.slots)
            && (0..)
                .zip(&self.slots)
                .all(|(slot, held)| held.commitment.seed == seed_of(machine, slot, due))
    }

    fn roots(&self) -> Vec<Hash> {
        self.slots.iter().map(|slot| slot.commitment.root).collect()
    }
}

/// Returns the seed of a slot.
fn seed_of(machine: u64, slot: u8, due: &ChallengeDue) -> Hash {
    seed(&due.randomness, machine, &due.worker_key, slot)
}

struct HeldSlot {
    device: String,
    prover: AnyProver,
    commitment: Commitment,
}

impl SlotProvers {
    /// Creates provers without commitments.
    pub fn new(share: ProverShare, devices: Arc<Devices>) -> Self {
        Self {
            share,
            devices,
            ledger: None,
            held: None,
        }
    }

    /// Makes each free slot answer with its own device, and leaves those of jobs alone.
    pub fn with_ledger(self, ledger: DeviceLedger) -> Self {
        let ledger = Some(ledger).filter(|ledger| ledger.has_devices() && self.devices.are_of_ledger());
        Self { ledger, ..self }
    }

    /// Returns the roots of all slots in `due`, by slot number. Commitments of other seeds are freed first.
    pub fn commit(
        &mut self,
        machine: u64,
        due: &ChallengeDue,
        watch: &AnswerWatch,
    ) -> Result<Vec<Hash>, AnswerError> {
        if let Some(held) = &self.held
            && held.is_for(machine, due)
        {
            return Ok(held.roots());
        }
        self.release();
        let loan = self.ledger.as_ref().map(|ledger| ledger.lend(due.slots));
        let loan = loan.transpose().map_err(|error| AnswerError::NoDevice {
            problems: error.to_string(),
        })?;
        let slots = self.commit_slots(machine, due, loan.as_ref(), watch)?;
        let held = Held {
            params: due.params,
            slots,
            _loan: loan,
        };
        let roots = held.roots();
        self.held = Some(held);
        Ok(roots)
    }

    /// Commits all slots in parallel, as far as there are devices. The first failure stops the others: the
    /// chain accepts the roots of all slots or none.
    fn commit_slots(
        &self,
        machine: u64,
        due: &ChallengeDue,
        loan: Option<&Loan>,
        watch: &AnswerWatch,
    ) -> Result<Vec<HeldSlot>, AnswerError> {
        let shares = match loan {
            Some(loan) => self.devices.for_lent(&loan.devices, due.slots),
            None => self.devices.for_slots(due.slots),
        };
        if shares.is_empty() && due.slots > 0 {
            let mut problems = self.devices.problems.clone();
            if let Some(loan) = loan {
                problems.push(format!(
                    "{} of the devices of {} slots are free",
                    loan.devices.len(),
                    due.slots
                ));
            }
            return Err(AnswerError::NoDevice {
                problems: problems.join("; "),
            });
        }
        let pace = match loan {
            // Each slot has a device of its own.
            Some(_) if shares.len() >= due.slots.into() => Pace::default(),
            Some(_) => self.share.pace_for(due.slots, shares.len()),
            None => self.share.pace_for(due.slots, self.devices.usable.len()),
        };
        let options = DetectOptions {
            cpu: CpuOptions {
                threads: Some(self.share.threads_for(due.slots)),
                ..CpuOptions::default()
            },
            gpu: GpuOptions {
                pace,
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
                // The error that stopped the others says more than their cancellation.
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

    /// Returns proofs of the slots from the first unproven one on, as many as one transaction holds; none if
    /// no proof is due. Commitments that are no longer held, as after a restart, are computed again.
    ///
    /// Each proof is verified against the committed root and the openings, as the chain does: it is right on
    /// every chain whose root and openings are those of `due`.
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
        if self.commit(machine, due, watch)? != due.roots {
            // The held commitments may be damaged. If fresh ones differ too, the chain has other roots.
            self.release();
            let roots = self.commit(machine, due, watch)?;
            if roots != due.roots {
                let slot = (0..)
                    .zip(roots.iter().zip(&due.roots))
                    .find_map(|(slot, (root, committed))| (root != committed).then_some(slot));
                return Err(AnswerError::OtherCommitment {
                    slot: slot.unwrap_or_default(),
                });
            }
        }
        let Some(held) = &mut self.held else {
            return Ok(Vec::new());
        };
        let proofs: Result<Vec<SlotProof>, AnswerError> = (next_slot..due.slots)
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
                let proof = held
                    .prover
                    .open(&held.commitment, &lanes, &watch.slot(slot))
                    .map_err(|source| AnswerError::Prover {
                        device: held.device.clone(),
                        source,
                    })?;
                claim.verify(&proof).map_err(|source| AnswerError::WrongProof {
                    device: held.device.clone(),
                    slot,
                    source,
                })?;
                Ok(proof)
            })
            .collect();
        if proofs.as_ref().is_err_and(AnswerError::is_untruth) {
            self.release();
        }
        proofs
    }

    /// Frees all memory.
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
    let seed = seed_of(machine, slot, due);
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
        SlotProvers::new(share(), Arc::new(Devices::find(ProverChoice::Auto, false, &[])))
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
            roots: Vec::new(),
            phase,
            max_slots_per_proof: 2,
            now_ms: 0,
        }
    }

    fn to_prove(next_slot: u8, roots: &[Hash]) -> ChallengeDue {
        ChallengeDue {
            roots: roots.to_vec(),
            ..due(ChallengePhase::Prove {
                opening_randomness: [3; 32],
                next_slot,
                deadline_ms: 1,
            })
        }
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
        let first = provers.open(MACHINE, &to_prove(0, &roots), &silent()).unwrap();
        assert_eq!(verify_slots(&claims(&roots, 0..2), &first), Ok(()));
        let second = provers.open(MACHINE, &to_prove(2, &roots), &silent()).unwrap();
        assert_eq!(verify_slots(&claims(&roots, 2..3), &second), Ok(()));
    }

    #[test]
    fn a_restart_between_commit_and_openings_changes_nothing() {
        let roots = provers().commit(MACHINE, &to_commit(), &silent()).unwrap();
        let proofs = provers().open(MACHINE, &to_prove(0, &roots), &silent()).unwrap();
        assert_eq!(verify_slots(&claims(&roots, 0..2), &proofs), Ok(()));
    }

    #[test]
    fn work_is_kept_by_its_seeds_and_not_by_the_number_of_its_round() {
        let mut provers = provers();
        let first = provers.commit(MACHINE, &to_commit(), &silent()).unwrap();
        // The same round on another fork.
        let mut other = to_commit();
        other.randomness = [8; 32];
        let second = provers.commit(MACHINE, &other, &silent()).unwrap();
        assert!(first.iter().zip(&second).all(|(first, second)| first != second));
        // Another number, other parameters, other slots and another key.
        let changes: [fn(&mut ChallengeDue); 4] = [
            |due| due.params.steps += 1,
            |due| due.slots = 2,
            |due| due.worker_key = [9; 32],
            |due| due.round += 1,
        ];
        let held = changes.map(|change| {
            let mut due = to_commit();
            change(&mut due);
            provers.commit(MACHINE, &to_commit(), &silent()).unwrap();
            provers.held.as_ref().unwrap().is_for(MACHINE, &due)
        });
        assert_eq!(held, [false, false, false, true]);
    }

    #[test]
    fn nothing_is_proven_for_a_commitment_that_is_not_what_was_computed() {
        let mut provers = provers();
        let mut roots = provers.commit(MACHINE, &to_commit(), &silent()).unwrap();
        roots[1][0] ^= 1;
        let error = provers
            .open(MACHINE, &to_prove(0, &roots), &silent())
            .unwrap_err();
        assert!(
            matches!(error, AnswerError::OtherCommitment { slot: 1 }),
            "{error}"
        );
        assert!(error.is_untruth());
    }

    #[test]
    fn what_was_damaged_since_the_commit_is_made_anew() {
        let mut provers = provers();
        let roots = provers.commit(MACHINE, &to_commit(), &silent()).unwrap();
        provers.held.as_mut().unwrap().slots[2].commitment.root = [0; 32];
        let proofs = provers.open(MACHINE, &to_prove(2, &roots), &silent()).unwrap();
        assert_eq!(verify_slots(&claims(&roots, 2..3), &proofs), Ok(()));
    }

    #[test]
    fn every_back_end_that_is_here_gives_the_same_roots() {
        let of_cpu = provers().commit(MACHINE, &to_commit(), &silent()).unwrap();
        for back_end in [BackEnd::Wgpu, BackEnd::Cuda] {
            let devices = Devices::find(ProverChoice::Only(back_end), true, &[]);
            if devices.usable.is_empty() {
                println!("skipped {back_end}: {}", devices.problems.join("; "));
                continue;
            }
            // Usually fewer devices than slots: slots then wait for each other.
            let mut provers = SlotProvers::new(share(), Arc::new(devices));
            assert_eq!(
                provers.commit(MACHINE, &to_commit(), &silent()).unwrap(),
                of_cpu,
                "{back_end}"
            );
            let proofs = provers.open(MACHINE, &to_prove(0, &of_cpu), &silent()).unwrap();
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
