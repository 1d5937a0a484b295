//! Logic of the calls, after their origins were checked.

use assay_primitives::{
    challenge::{RoundId, RoundRef},
    machine::{HardwareClaims, HardwareClassId, MachineId},
    offence::{Beneficiaries, Offence, ReportOffence},
};
use assay_proof::{ChallengeParams, Hash, SlotProof, VerifyError};
use polkadot_sdk::{
    frame_support::{defensive, ensure, weights::Weight},
    frame_system::{ensure_authorized, ensure_signed},
    sp_runtime::{DispatchError, DispatchResult, traits::BadOrigin},
};

use crate::{
    Answer, Answers, Commitment, Config, DOUBLE_ROUNDS_PER_UNIT, Error, Event, Pallet, Roots, Tally,
    WeightInfo, answers::Provable,
};

impl<T: Config> Pallet<T> {
    /// Fails for an origin that is neither authorized nor signed.
    pub(crate) fn ensure_anybody(origin: T::RuntimeOrigin) -> Result<(), BadOrigin> {
        ensure_authorized(origin.clone()).or_else(|_| ensure_signed(origin).map(|_| ()))
    }

    /// Returns the weight of proving this number of slots, each verified in `double_rounds` double rounds.
    pub(crate) fn prove_weight(slots: u32, double_rounds: u64) -> Weight {
        // Bounded by `MaxDoubleRounds`.
        let units = u32::try_from(double_rounds.div_ceil(DOUBLE_ROUNDS_PER_UNIT)).unwrap_or(u32::MAX);
        T::WeightInfo::prove(slots)
            .max(T::WeightInfo::prove_wrong(slots))
            .saturating_add(T::WeightInfo::verify_slot(units).saturating_mul(slots.into()))
    }

    /// Records a machine's roots.
    pub(crate) fn do_commit(round: RoundRef, machine: MachineId, roots: Roots) -> DispatchResult {
        let (claim, due) = Self::check_commit(round, machine, roots.len())?;
        let round = round.round;
        // At most 64.
        let slots = roots.len() as u8;
        Answers::<T>::insert(
            round,
            machine,
            Answer::Committed(Commitment {
                worker_key: claim.worker_key.into(),
                roots,
                proven: 0,
                is_owed: due.is_owed,
            }),
        );
        Self::deposit_event(Event::Committed {
            round,
            machine,
            slots,
        });
        Ok(())
    }

    /// Verifies proofs of a machine's next slots and records the result: slots proven, or a wrong answer.
    /// Returns the double rounds that the verification of each slot took.
    pub(crate) fn do_prove(
        round: RoundRef,
        opening_randomness: &Hash,
        machine: MachineId,
        first_slot: u8,
        proofs: &[SlotProof],
    ) -> Result<u64, DispatchError> {
        let claim = T::Machines::hardware_claim(machine).ok_or(Error::<T>::NoSuchMachine)?;
        let mut provable = Self::check_prove(
            round,
            opening_randomness,
            machine,
            first_slot,
            proofs.len(),
            &claim,
        )?;
        let round = round.round;
        let double_rounds = provable.params.verification_double_rounds();
        let is_owed = provable.commitment.is_owed;
        for (slot, proof) in (first_slot..).zip(proofs) {
            match Self::verify_slot(&provable, slot, proof)? {
                Ok(()) => provable.commitment.proven = slot.saturating_add(1),
                Err(error) => {
                    Self::punish_wrong(round, machine, slot, error)?;
                    Self::count(round, is_owed, Tally::count_answered);
                    return Ok(double_rounds);
                }
            }
        }
        let proven = provable.commitment.proven;
        if usize::from(proven) < provable.commitment.roots.len() {
            Answers::<T>::insert(round, machine, Answer::Committed(provable.commitment));
            Self::deposit_event(Event::SlotsProven {
                round,
                machine,
                proven,
            });
        } else {
            Answers::<T>::insert(round, machine, Answer::Proven { slots: proven });
            Self::deposit_event(Event::MachineProven {
                round,
                machine,
                slots: proven,
            });
            Self::add_proof(round, machine, proven);
            Self::count(round, is_owed, Tally::count_answered);
        }
        Ok(double_rounds)
    }

    /// Verifies the proof of a slot. The outer result is an error only if the fault is not the machine's.
    fn verify_slot(
        provable: &Provable,
        slot: u8,
        proof: &SlotProof,
    ) -> Result<Result<(), VerifyError>, Error<T>> {
        let claim = provable.claim(slot).ok_or(Error::<T>::WrongSlots)?;
        match claim.verify(proof) {
            Err(VerifyError::Params(_)) => {
                defensive!("a class has bad parameters");
                Err(Error::<T>::BadParams)
            }
            verified => Ok(verified),
        }
    }

    /// Punishes a wrong answer: the machine is slashed and loses its proof.
    fn punish_wrong(round: RoundId, machine: MachineId, slot: u8, error: VerifyError) -> DispatchResult {
        Answers::<T>::insert(round, machine, Answer::Wrong);
        let slash = T::Offences::report_offence(machine, Offence::ChallengeWrong, Beneficiaries::nobody())?;
        Self::deposit_event(Event::AnswerWrong {
            round,
            machine,
            slot,
            error,
            slash,
        });
        Self::lose_proof(machine);
        Ok(())
    }

    /// Records a missing answer. The machine loses its proof now; the round's conclusion decides for all
    /// misses together whether they are offences, when no more can be reported.
    pub(crate) fn do_report_missed(round: RoundId, machine: MachineId) -> DispatchResult {
        let is_owed = Self::check_missed(round, machine)?;
        Answers::<T>::insert(round, machine, Answer::Missed);
        Self::count(round, is_owed, Tally::count_missed);
        Self::deposit_event(Event::AnswerMissed { round, machine });
        Self::lose_proof(machine);
        Ok(())
    }

    /// Slashes a machine for its silence in a round whose misses are offences. The slash is burned whole: a
    /// reporter that earned a share would gain by causing the miss.
    pub(crate) fn punish_missed(round: RoundId, machine: MachineId) {
        let punished =
            T::Offences::report_offence(machine, Offence::ChallengeUnanswered, Beneficiaries::nobody());
        // A machine whose record is gone meanwhile has nothing left to lose.
        if let Ok(slash) = punished {
            Self::deposit_event(Event::MissPunished {
                round,
                machine,
                slash,
            });
        }
    }

    /// Removes expired proofs of a machine.
    pub(crate) fn do_report_expired(machine: MachineId) -> DispatchResult {
        ensure!(Self::has_expired(machine), Error::<T>::NotExpired);
        Self::expire(machine);
        Ok(())
    }

    /// Changes a class's parameters.
    pub(crate) fn do_set_class(class: HardwareClassId, params: Option<ChallengeParams>) -> DispatchResult {
        let from_round = Self::put_class(class, params)?;
        Self::deposit_event(Event::ClassSet {
            class,
            params,
            from_round,
        });
        Ok(())
    }
}
