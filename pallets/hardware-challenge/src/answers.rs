//! Authorization of answers and reports: the checks that a transaction passes before it is in a block.

use assay_primitives::{
    challenge::{AnswerSubject, RoundId, RoundRef, commit_message, prove_message},
    clock::ActiveClock,
    machine::{HardwareClaim, HardwareClaims, MachineId},
};
use assay_proof::{ChallengeParams, Hash, SlotClaim, SlotProof};
use codec::Encode;
use polkadot_sdk::{
    frame_support::{ensure, weights::Weight},
    frame_system::{self, pallet_prelude::BlockNumberFor},
    sp_core::sr25519,
    sp_io,
    sp_runtime::{
        traits::Zero,
        transaction_validity::{
            InvalidTransaction, TransactionPriority, TransactionValidityWithRefund, ValidTransaction,
        },
    },
};

use crate::{
    ALREADY_ANSWERED, Answer, Answers, Commitment, Config, Error, FINALITY_STALLED, NOT_COMMITTED, NOT_DUE,
    NOT_EXPIRED, NOT_MISSED, OTHER_RANDOMNESS, Pallet, RoundRecord, WRONG_SLOTS, due::Due,
};

/// Priority of answers: they have short deadlines, so they go before all transactions that pay a fee.
const ANSWER_PRIORITY: TransactionPriority = TransactionPriority::MAX / 2;

/// Priority of reports: they have longer deadlines, so they go after answers.
const REPORT_PRIORITY: TransactionPriority = TransactionPriority::MAX / 4;

/// Number of blocks after which a pool may drop an answer or a report; its sender sends it again.
const LONGEVITY_BLOCKS: u64 = 64;

/// Prefix of the tags by which a pool distinguishes answers and reports.
const TAG_PREFIX: &str = "AssayChallenge";

/// Commitment whose next slots can be proven now, with all that their verification needs.
pub(crate) struct Provable {
    /// Commitment of the machine.
    pub(crate) commitment: Commitment,
    /// Parameters of the machine's class in the round.
    pub(crate) params: ChallengeParams,
    /// The round as this fork knows it.
    round: RoundRef,
    opening_randomness: Hash,
    machine: MachineId,
}

impl Provable {
    /// Returns the subject that the worker's signature of its proofs must name.
    fn subject(&self) -> AnswerSubject {
        AnswerSubject {
            round: self.round,
            machine: self.machine,
            worker_key: self.commitment.worker_key,
            params: self.params,
        }
    }

    /// Returns the claim that the proof of a slot is verified against; `None` if no root was committed for
    /// it.
    pub(crate) fn claim(&self, slot: u8) -> Option<SlotClaim> {
        let root = *self.commitment.roots.get(usize::from(slot))?;
        Some(SlotClaim {
            params: self.params,
            seed: assay_proof::seed(
                &self.round.randomness,
                self.machine,
                &self.commitment.worker_key,
                slot,
            ),
            opening_randomness: self.opening_randomness,
            machine_id: self.machine,
            slot,
            root,
        })
    }
}

impl<T: Config> Pallet<T> {
    /// Authorizes a commit: applies [`Self::check_commit`] and verifies the worker's signature.
    pub(crate) fn authorize_commit(
        round: RoundRef,
        machine: MachineId,
        roots: &[Hash],
        signature: &sr25519::Signature,
    ) -> TransactionValidityWithRefund {
        let (claim, due) = Self::check_commit(round, machine, roots.len()).map_err(Self::invalid)?;
        let subject = AnswerSubject {
            round,
            machine,
            worker_key: claim.worker_key.clone().into(),
            params: due.params,
        };
        let message = commit_message(Self::genesis_hash().as_ref(), &subject, roots);
        Self::ensure_signed_by(claim.worker_key, &message, signature)?;
        Self::valid(ANSWER_PRIORITY, ("commit", round.round, machine))
    }

    /// Authorizes proofs: checks their time, their turn and the openings that they name, and verifies the
    /// worker's signature. It does not verify the proofs themselves: a wrong one is an answer too.
    ///
    /// The signature covers everything that the proofs' correctness depends on, so a worker that verified its
    /// proofs before it signed them has signed nothing that is wrong on any fork.
    pub(crate) fn authorize_prove(
        round: RoundRef,
        opening_randomness: &Hash,
        machine: MachineId,
        first_slot: u8,
        proofs: &[SlotProof],
        signature: &sr25519::Signature,
    ) -> TransactionValidityWithRefund {
        // The machine's present key, not the one that committed: it may have been replaced because it leaked.
        let claim = T::Machines::hardware_claim(machine).ok_or(InvalidTransaction::BadSigner)?;
        let provable = Self::check_prove(
            round,
            opening_randomness,
            machine,
            first_slot,
            proofs.len(),
            &claim,
        )
        .map_err(Self::invalid)?;
        let message = prove_message(
            Self::genesis_hash().as_ref(),
            &provable.subject(),
            opening_randomness,
            &provable.commitment.roots,
            first_slot,
            proofs,
        );
        Self::ensure_signed_by(claim.worker_key, &message, signature)?;
        Self::valid(ANSWER_PRIORITY, ("prove", round.round, machine, first_slot))
    }

    /// Authorizes a report of a missing answer if it is true.
    pub(crate) fn authorize_report_missed(
        round: RoundId,
        machine: MachineId,
    ) -> TransactionValidityWithRefund {
        Self::check_missed(round, machine).map_err(Self::invalid)?;
        Self::valid(REPORT_PRIORITY, ("missed", round, machine))
    }

    /// Authorizes a report of an expired proof if it is true.
    pub(crate) fn authorize_report_expired(machine: MachineId) -> TransactionValidityWithRefund {
        ensure!(Self::has_expired(machine), Self::invalid(Error::<T>::NotExpired));
        Self::valid(REPORT_PRIORITY, ("expired", machine))
    }

    fn valid(priority: TransactionPriority, tag: impl Encode) -> TransactionValidityWithRefund {
        ValidTransaction::with_tag_prefix(TAG_PREFIX)
            .priority(priority)
            .and_provides(tag)
            .longevity(LONGEVITY_BLOCKS)
            .propagate(true)
            .build()
            .map(|valid| (valid, Weight::zero()))
    }

    /// Translates an error to the code that a transaction pool gets.
    fn invalid(error: Error<T>) -> InvalidTransaction {
        match error {
            Error::RoundNotOpen | Error::OpeningsNotDrawn => InvalidTransaction::Future,
            Error::RoundForgotten | Error::TooLate => InvalidTransaction::Stale,
            Error::NoSuchMachine => InvalidTransaction::BadSigner,
            Error::NotDue | Error::BondInsufficient => InvalidTransaction::Custom(NOT_DUE),
            Error::AlreadyAnswered => InvalidTransaction::Custom(ALREADY_ANSWERED),
            Error::WrongSlots => InvalidTransaction::Custom(WRONG_SLOTS),
            Error::NotCommitted => InvalidTransaction::Custom(NOT_COMMITTED),
            Error::NotMissed => InvalidTransaction::Custom(NOT_MISSED),
            Error::NotExpired => InvalidTransaction::Custom(NOT_EXPIRED),
            Error::OtherRandomness => InvalidTransaction::Custom(OTHER_RANDOMNESS),
            Error::FinalityStalled => InvalidTransaction::Custom(FINALITY_STALLED),
            _ => InvalidTransaction::Call,
        }
    }

    /// Returns the hash of the genesis block, which identifies the chain.
    pub(crate) fn genesis_hash() -> T::Hash {
        frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::zero())
    }

    fn ensure_signed_by(
        worker_key: T::AccountId,
        message: &[u8],
        signature: &sr25519::Signature,
    ) -> Result<(), InvalidTransaction> {
        let public = sr25519::Public::from_raw(worker_key.into());
        ensure!(
            sp_io::crypto::sr25519_verify(signature, message, &public),
            InvalidTransaction::BadProof
        );
        Ok(())
    }

    /// Returns the record of the round that an answer names, if this fork drew the same randomness for it.
    fn named_round(named: RoundRef) -> Result<RoundRecord, Error<T>> {
        let record = Self::round(named.round)?;
        ensure!(record.randomness == named.randomness, Error::<T>::OtherRandomness);
        Ok(record)
    }

    /// Returns the machine's claim, and the answer that it owes or may give, if it may commit this number of
    /// roots now.
    pub(crate) fn check_commit(
        round: RoundRef,
        machine: MachineId,
        roots: usize,
    ) -> Result<(HardwareClaim<T::AccountId>, Due), Error<T>> {
        let record = Self::named_round(round)?;
        let claim = T::Machines::hardware_claim(machine).ok_or(Error::<T>::NoSuchMachine)?;
        ensure!(
            !Answers::<T>::contains_key(round.round, machine),
            Error::<T>::AlreadyAnswered
        );
        let due = Self::due(round.round, &record, machine, &claim)?;
        ensure!(
            T::Clock::now_ms() <= record.commit_deadline_ms(&due.params),
            Error::<T>::TooLate
        );
        ensure!(roots == usize::from(due.slots), Error::<T>::WrongSlots);
        Ok((claim, due))
    }

    /// Returns the commitment that the proofs of this number of slots are verified against, if it is their
    /// time and their turn.
    pub(crate) fn check_prove(
        round: RoundRef,
        opening_randomness: &Hash,
        machine: MachineId,
        first_slot: u8,
        slots: usize,
        claim: &HardwareClaim<T::AccountId>,
    ) -> Result<Provable, Error<T>> {
        let record = Self::named_round(round)?;
        let commitment = match Answers::<T>::get(round.round, machine) {
            Some(Answer::Committed(commitment)) => commitment,
            Some(Answer::Proven { .. } | Answer::Wrong | Answer::Missed) => {
                return Err(Error::<T>::AlreadyAnswered);
            }
            None => return Err(Error::<T>::NotCommitted),
        };
        let (openings, deadline_ms) = record
            .openings
            .zip(record.prove_deadline_ms())
            .ok_or(Error::<T>::OpeningsNotDrawn)?;
        ensure!(
            openings.randomness == *opening_randomness,
            Error::<T>::OtherRandomness
        );
        ensure!(T::Clock::now_ms() <= deadline_ms, Error::<T>::TooLate);
        let left = commitment.roots.len().saturating_sub(commitment.proven.into());
        ensure!(
            first_slot == commitment.proven && (1..=left).contains(&slots),
            Error::<T>::WrongSlots
        );
        // The class had parameters when the machine committed, and they are kept as long as the round is.
        let params = Self::params_of(claim.class, round.round).ok_or(Error::<T>::NotDue)?;
        Ok(Provable {
            commitment,
            params,
            round,
            opening_randomness: *opening_randomness,
            machine,
        })
    }
}
