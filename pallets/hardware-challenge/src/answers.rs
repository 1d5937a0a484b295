//! What an answer or a report must be to be in a block.

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

/// Answers cannot wait for a quiet hour: they come before whatever pays.
const ANSWER_PRIORITY: TransactionPriority = TransactionPriority::MAX / 2;

/// Reports have time: they come behind answers.
const REPORT_PRIORITY: TransactionPriority = TransactionPriority::MAX / 4;

/// Blocks after which a pool may forget an answer or a report that found no place; its sender sends it again.
const LONGEVITY_BLOCKS: u64 = 64;

/// First bytes of the tags that tell answers and reports apart.
const TAG_PREFIX: &str = "AssayChallenge";

/// A commitment whose next slots can be proven now, and what they are held against.
pub(crate) struct Provable {
    /// What the machine committed.
    pub(crate) commitment: Commitment,
    /// What its class is challenged with in the round.
    pub(crate) params: ChallengeParams,
    /// The round as this fork knows it.
    round: RoundRef,
    opening_randomness: Hash,
    machine: MachineId,
}

impl Provable {
    /// Subject that the worker must have signed its proofs about.
    fn subject(&self) -> AnswerSubject {
        AnswerSubject {
            round: self.round,
            machine: self.machine,
            worker_key: self.commitment.worker_key,
            params: self.params,
        }
    }

    /// What the proof of a slot is held against; `None` where nothing was committed for it.
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
    /// Decides whether a commit may be in a block: what [`Self::check_commit`] asks, and that the worker signed it.
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

    /// Decides whether proofs may be in a block: that it is their time, that they answer these openings, and
    /// that the worker signed them. Whether they are right is not asked here: a wrong one is an answer too.
    ///
    /// The signature covers all that their being right depends on, so a worker that verified its proofs
    /// before it signed them has signed nothing that is wrong on any fork.
    pub(crate) fn authorize_prove(
        round: RoundRef,
        opening_randomness: &Hash,
        machine: MachineId,
        first_slot: u8,
        proofs: &[SlotProof],
        signature: &sr25519::Signature,
    ) -> TransactionValidityWithRefund {
        // The key of now, not the one that committed, which may have been replaced because it leaked.
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

    /// Decides whether a report of a missing answer may be in a block: whether it is true.
    pub(crate) fn authorize_report_missed(
        round: RoundId,
        machine: MachineId,
    ) -> TransactionValidityWithRefund {
        Self::check_missed(round, machine).map_err(Self::invalid)?;
        Self::valid(REPORT_PRIORITY, ("missed", round, machine))
    }

    /// Decides whether a report of a proof that counts no more may be in a block: whether it is true.
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

    /// What a transaction pool is told.
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

    /// The hash of the first block, which tells chains apart.
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

    /// The record of the round that an answer names, if this fork drew the same for it.
    fn named_round(named: RoundRef) -> Result<RoundRecord, Error<T>> {
        let record = Self::round(named.round)?;
        ensure!(record.randomness == named.randomness, Error::<T>::OtherRandomness);
        Ok(record)
    }

    /// Returns the machine's claim, and what it owes or may answer, if it may commit so many roots now.
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

    /// Returns what the proofs of so many slots are held against, if it is their time and their turn.
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
        // There were some when it committed, and they are kept as long as the round is.
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
