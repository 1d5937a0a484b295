//! Answers that machines owe or may give, computed from a round and a machine.

use alloc::vec::Vec;

use assay_primitives::{
    challenge::{ChallengeDue, ChallengePhase, MAX_MISSED_PAGE, MissedPage, RoundId, RoundKind},
    clock::{ActiveClock, Millis},
    machine::{Exposure, HardwareClaim, HardwareClaims, MachineId, MachineStatus},
    stake::{BondInspect, BondStanding},
};
use assay_proof::{ChallengeParams, Hash};
use polkadot_sdk::frame_support::{ensure, traits::Get};

use crate::{
    Answer, Answers, Audits, Config, Error, Exposures, NextRound, OldestRound, Pallet, Proofs, RoundRecord,
};

/// Answer that a machine owes or may give in a round.
pub(crate) struct Due {
    /// True if silence costs the machine a part of its bond.
    pub(crate) is_owed: bool,
    /// Slots that have to answer; not zero.
    pub(crate) slots: u8,
    /// Parameters of the machine's class.
    pub(crate) params: ChallengeParams,
}

impl<T: Config> Pallet<T> {
    /// Returns the answer that the machine owes or may give in a round, independent of its answers so far.
    pub(crate) fn due(
        round: RoundId,
        record: &RoundRecord,
        machine: MachineId,
        claim: &HardwareClaim<T::AccountId>,
    ) -> Result<Due, Error<T>> {
        // A machine registered with the round, or after it, could choose its worker key to fit the seeds.
        ensure!(claim.registered_at_ms < record.opened_at_ms, Error::<T>::NotDue);
        let params = Self::params_of(claim.class, round).ok_or(Error::<T>::NotDue)?;
        let exposure = match record.kind {
            RoundKind::Newcomers => {
                ensure!(!Proofs::<T>::contains_key(machine), Error::<T>::NotDue);
                // A machine that was never active has no leased slots.
                Exposure {
                    is_active: false,
                    ..claim.exposure
                }
            }
            RoundKind::Audit => Self::exposure_at(round, machine, claim.exposure),
        };
        ensure!(exposure.free_slots > 0, Error::<T>::NotDue);
        if !exposure.is_active {
            ensure!(claim.status != MachineStatus::Retired, Error::<T>::NotDue);
            ensure!(
                T::Bonds::standing(machine) == BondStanding::Sufficient,
                Error::<T>::BondInsufficient
            );
        }
        Ok(Due {
            is_owed: exposure.is_active,
            slots: exposure.free_slots,
            params,
        })
    }

    /// Returns the machine's exposure at the opening of an audit: the one noted for that audit, or else for
    /// the next later one. Without a note nothing changed since, and the exposure is that of now.
    fn exposure_at(audit: RoundId, machine: MachineId, now: Exposure) -> Exposure {
        Audits::<T>::get()
            .into_iter()
            .filter(|later| *later >= audit)
            .find_map(|later| Exposures::<T>::get(later, machine))
            .unwrap_or(now)
    }

    /// Notes a machine's exposure to the newest audit before it changes for the first time.
    pub(crate) fn note_exposure(machine: MachineId, before: Exposure) {
        if let Some(newest) = Audits::<T>::get().last()
            && !Exposures::<T>::contains_key(newest, machine)
        {
            Exposures::<T>::insert(newest, machine, before);
        }
    }

    /// Checks that the machine can be reported for its silence in the round. Returns true if it owed an
    /// answer before it committed, or owed one and did not commit.
    ///
    /// A machine can be reported if it committed, or owed an answer. One whose record is gone has nothing
    /// left to lose.
    pub(crate) fn check_missed(round: RoundId, machine: MachineId) -> Result<bool, Error<T>> {
        let record = Self::reportable(round, T::Clock::now_ms())?;
        let claim = T::Machines::hardware_claim(machine).ok_or(Error::<T>::NoSuchMachine)?;
        match Answers::<T>::get(round, machine) {
            Some(Answer::Committed(commitment)) => Ok(commitment.is_owed),
            Some(Answer::Proven { .. } | Answer::Wrong | Answer::Missed) => Err(Error::<T>::AlreadyAnswered),
            None => {
                let is_owed = Self::due(round, &record, machine, &claim).is_ok_and(|due| due.is_owed);
                ensure!(is_owed, Error::<T>::NotMissed);
                Ok(true)
            }
        }
    }

    /// Returns the open tasks of a machine's worker, for the runtime API
    /// [`challenge_due`](assay_primitives::api).
    pub fn challenge_due(machine: MachineId) -> Vec<ChallengeDue> {
        let Some(claim) = T::Machines::hardware_claim(machine) else {
            return Vec::new();
        };
        let now_ms = T::Clock::now_ms();
        (OldestRound::<T>::get()..NextRound::<T>::get())
            .filter_map(|round| Self::due_now(round, machine, &claim, now_ms))
            .collect()
    }

    /// Returns the machine's task in a round now, if it has one.
    fn due_now(
        round: RoundId,
        machine: MachineId,
        claim: &HardwareClaim<T::AccountId>,
        now_ms: Millis,
    ) -> Option<ChallengeDue> {
        let record = Self::round(round).ok()?;
        let due = |is_owed, roots: Vec<Hash>, slots, params, worker_key, phase| ChallengeDue {
            round,
            kind: record.kind,
            is_owed,
            randomness: record.randomness,
            worker_key,
            params,
            slots,
            roots,
            phase,
            // At most 64.
            max_slots_per_proof: T::MaxSlotsPerProof::get() as u8,
            now_ms,
        };
        match Answers::<T>::get(round, machine) {
            None => {
                let of_machine = Self::due(round, &record, machine, claim).ok()?;
                let deadline_ms = record.commit_deadline_ms(&of_machine.params);
                (now_ms <= deadline_ms).then(|| {
                    due(
                        of_machine.is_owed,
                        Vec::new(),
                        of_machine.slots,
                        of_machine.params,
                        claim.worker_key.clone().into(),
                        ChallengePhase::Commit { deadline_ms },
                    )
                })
            }
            Some(Answer::Committed(commitment)) => {
                let params = Self::params_of(claim.class, round)?;
                let phase = match (record.openings, record.prove_deadline_ms()) {
                    (Some(openings), Some(deadline_ms)) => ChallengePhase::Prove {
                        opening_randomness: openings.randomness,
                        next_slot: commitment.proven,
                        deadline_ms,
                    },
                    _ => ChallengePhase::AwaitOpenings {
                        not_before_ms: record.draws_after_ms,
                    },
                };
                let is_over =
                    matches!(phase, ChallengePhase::Prove { deadline_ms, .. } if now_ms > deadline_ms);
                // At most 64 of them.
                let slots = commitment.roots.len() as u8;
                let roots = commitment.roots.into_inner();
                (!is_over).then(|| due(true, roots, slots, params, commitment.worker_key, phase))
            }
            Some(Answer::Proven { .. } | Answer::Wrong | Answer::Missed) => None,
        }
    }

    /// Returns the rounds whose missing answers can be reported now, the oldest first.
    pub fn reportable_rounds() -> Vec<RoundId> {
        let now_ms = T::Clock::now_ms();
        (OldestRound::<T>::get()..NextRound::<T>::get())
            .filter(|round| Self::reportable(*round, now_ms).is_ok())
            .collect()
    }

    /// Returns the record of a round whose missing answers can be reported at this active time.
    fn reportable(round: RoundId, now_ms: Millis) -> Result<RoundRecord, Error<T>> {
        let record = Self::round(round)?;
        let deadline_ms = record.prove_deadline_ms().ok_or(Error::<T>::OpeningsNotDrawn)?;
        ensure!(now_ms > deadline_ms, Error::<T>::NotMissed);
        ensure!(
            record.reports_until_ms().is_some_and(|end| now_ms <= end),
            Error::<T>::RoundForgotten
        );
        ensure!(!Self::has_stalled(&record), Error::<T>::FinalityStalled);
        Ok(record)
    }

    /// Returns the machines that can be reported for their silence in a round, among at most `limit` machines
    /// from `from` on. Runs off chain.
    pub fn missed(round: RoundId, from: MachineId, limit: u32) -> Option<MissedPage> {
        Self::reportable(round, T::Clock::now_ms()).ok()?;
        let end = T::Machines::next_machine_id();
        let next = from
            .saturating_add(limit.clamp(1, MAX_MISSED_PAGE).into())
            .min(end);
        let machines = (from..next)
            .filter(|machine| Self::check_missed(round, *machine).is_ok())
            .collect();
        Some(MissedPage {
            machines,
            next: (next < end).then_some(next),
        })
    }
}
