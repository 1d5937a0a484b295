//! What an answer or a report must be to be in a block.

use assay_primitives::{
    challenge::{RoundId, commit_message, prove_message},
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
    ALREADY_ANSWERED, Answer, Answers, Commitment, Config, Error, NOT_COMMITTED, NOT_DUE, NOT_EXPIRED,
    NOT_MISSED, Pallet, WRONG_SLOTS,
};

/// Answers cannot wait for a quiet hour: they come before whatever pays.
const ANSWER_PRIORITY: TransactionPriority = TransactionPriority::MAX / 2;

/// Reports have time, and earn something: they come behind answers.
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
    round_randomness: Hash,
    opening_randomness: Hash,
    machine: MachineId,
}

impl Provable {
    /// What the proof of a slot is held against; `None` where nothing was committed for it.
    pub(crate) fn claim(&self, slot: u8) -> Option<SlotClaim> {
        let root = *self.commitment.roots.get(usize::from(slot))?;
        Some(SlotClaim {
            params: self.params,
            seed: assay_proof::seed(
                &self.round_randomness,
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
        round: RoundId,
        machine: MachineId,
        roots: &[Hash],
        signature: &sr25519::Signature,
    ) -> TransactionValidityWithRefund {
        let claim = Self::check_commit(round, machine, roots.len()).map_err(Self::invalid)?;
        let message = commit_message(Self::genesis_hash().as_ref(), round, machine, roots);
        Self::ensure_signed_by(claim.worker_key, &message, signature)?;
        Self::valid(ANSWER_PRIORITY, ("commit", round, machine))
    }

    /// Decides whether proofs may be in a block: that it is their time, and that the worker signed them. Whether they
    /// are right is not asked here: a wrong one is an answer too.
    pub(crate) fn authorize_prove(
        round: RoundId,
        machine: MachineId,
        first_slot: u8,
        proofs: &[SlotProof],
        signature: &sr25519::Signature,
    ) -> TransactionValidityWithRefund {
        // The key of now, not the one that committed, which may have been replaced because it leaked.
        let claim = T::Machines::hardware_claim(machine).ok_or(InvalidTransaction::BadSigner)?;
        Self::check_prove(round, machine, first_slot, proofs.len(), &claim).map_err(Self::invalid)?;
        let message = prove_message(Self::genesis_hash().as_ref(), round, machine, first_slot, proofs);
        Self::ensure_signed_by(claim.worker_key, &message, signature)?;
        Self::valid(ANSWER_PRIORITY, ("prove", round, machine, first_slot))
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

    /// What the machine claims, if it may commit so many roots now.
    pub(crate) fn check_commit(
        round: RoundId,
        machine: MachineId,
        roots: usize,
    ) -> Result<HardwareClaim<T::AccountId>, Error<T>> {
        let record = Self::round(round)?;
        let claim = T::Machines::hardware_claim(machine).ok_or(Error::<T>::NoSuchMachine)?;
        ensure!(
            !Answers::<T>::contains_key(round, machine),
            Error::<T>::AlreadyAnswered
        );
        let due = Self::due(round, &record, machine, &claim)?;
        ensure!(
            T::Clock::now_ms() <= record.commit_deadline_ms(&due.params),
            Error::<T>::TooLate
        );
        ensure!(roots == usize::from(due.slots), Error::<T>::WrongSlots);
        Ok(claim)
    }

    /// What the proofs of so many slots are held against, if it is their time and their turn.
    pub(crate) fn check_prove(
        round: RoundId,
        machine: MachineId,
        first_slot: u8,
        slots: usize,
        claim: &HardwareClaim<T::AccountId>,
    ) -> Result<Provable, Error<T>> {
        let record = Self::round(round)?;
        let commitment = match Answers::<T>::get(round, machine) {
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
        ensure!(T::Clock::now_ms() <= deadline_ms, Error::<T>::TooLate);
        let left = commitment.roots.len().saturating_sub(commitment.proven.into());
        ensure!(
            first_slot == commitment.proven && (1..=left).contains(&slots),
            Error::<T>::WrongSlots
        );
        // There were some when it committed, and they are kept as long as the round is.
        let params = Self::params_of(claim.class, round).ok_or(Error::<T>::NotDue)?;
        Ok(Provable {
            commitment,
            params,
            round_randomness: record.randomness,
            opening_randomness: openings.randomness,
            machine,
        })
    }
}
