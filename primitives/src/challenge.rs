//! The hardware challenge between workers, validators and the chain: rounds, answers that are owed in them,
//! and the bytes that a worker signs.

use alloc::vec::Vec;

use assay_proof::{ChallengeParams, Hash, SlotProof};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::sp_crypto_hashing::blake2_256;
use scale_info::TypeInfo;

use crate::{clock::Millis, machine::MachineId};

/// Numbers rounds in the order in which they opened, from zero; never used again.
pub type RoundId = u32;

/// Domain separator of a worker's signature that commits its roots.
pub const COMMIT_CONTEXT: &[u8] = b"assay/challenge-commit/v2";

/// Domain separator of a worker's signature that proves its slots.
pub const PROVE_CONTEXT: &[u8] = b"assay/challenge-prove/v2";

/// Most machines that a page of missing answers looks at.
pub const MAX_MISSED_PAGE: u32 = 1_000;

/// Misses of a round are no offences if they are at least this fraction (one in so many) of the machines that
/// owed an answer.
pub const MASS_SILENCE_PART: u64 = 3;

/// Machines that a round is for.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, serde::Serialize))]
pub enum RoundKind {
    /// For machines that were never proven: they may answer, and nobody must.
    #[codec(index = 0)]
    Newcomers,
    /// For the whole network at the same moment: every active machine must answer for every free slot, and
    /// any other may.
    #[codec(index = 1)]
    Audit,
}

/// A round as one fork of the chain knows it: forks number rounds alike, and draw for each on their own.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct RoundRef {
    /// Number of the round.
    pub round: RoundId,
    /// Randomness that the round's seeds follow from.
    pub randomness: Hash,
}

/// Machines that owed an answer in a round, by whether they gave one. Machines that answered without owing it
/// are in neither.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, serde::Serialize))]
pub struct Tally {
    /// Machines that proved every slot, or proved one wrongly.
    pub answered: u32,
    /// Machines that were reported for their silence.
    pub missed: u32,
}

impl Tally {
    /// Counts a machine that answered.
    pub fn count_answered(&mut self) {
        self.answered = self.answered.saturating_add(1);
    }

    /// Counts a machine that was silent.
    pub fn count_missed(&mut self) {
        self.missed = self.missed.saturating_add(1);
    }

    /// Returns true where at least a third of those that owed an answer were silent at once.
    ///
    /// So many do not fail each for a reason of its own: the network or the chain is the likelier cause, and
    /// nobody is slashed for that.
    pub fn is_mass_silence(&self) -> bool {
        let owed = u64::from(self.answered).saturating_add(self.missed.into());
        self.missed > 0 && u64::from(self.missed).saturating_mul(MASS_SILENCE_PART) >= owed
    }
}

/// Consequence of the misses of a round.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, serde::Serialize))]
pub enum RoundOutcome {
    /// Each miss that was reported is an offence.
    #[codec(index = 0)]
    Punished,
    /// Finality stalled while the round was under way: nobody is slashed.
    #[codec(index = 1)]
    FinalityStalled,
    /// At least a third of those that owed an answer were silent: nobody is slashed.
    #[codec(index = 2)]
    MassSilence,
}

/// Everything but the openings that decides whether an answer is right.
///
/// A worker signs all of it. So a fork with another question refuses, and never punishes, an answer that is
/// right for the worker's inputs, and no node can make a worker sign what the chain takes for a wrong answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode)]
pub struct AnswerSubject {
    /// The round and its randomness.
    pub round: RoundRef,
    /// The machine that answers.
    pub machine: MachineId,
    /// The worker key that the seeds follow from.
    pub worker_key: Hash,
    /// Parameters of the machine's class, as they stand for this round.
    pub params: ChallengeParams,
}

/// Next duty of a machine in a round. Times are active times, and inclusive.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum ChallengePhase {
    /// Commit one root for each slot.
    #[codec(index = 0)]
    Commit {
        /// The last moment at which the commit may be in a block.
        deadline_ms: Millis,
    },
    /// Keep the commitments: the openings are not drawn yet.
    #[codec(index = 1)]
    AwaitOpenings {
        /// They are drawn in a block after one that is later than this.
        not_before_ms: Millis,
    },
    /// Prove the slots.
    #[codec(index = 2)]
    Prove {
        /// Randomness that the opened lanes follow from.
        opening_randomness: Hash,
        /// The first slot that is not proven; proofs are given in the order of the slots.
        next_slot: u8,
        /// The last moment at which the last proof may be in a block.
        deadline_ms: Millis,
    },
}

/// Answer that a machine owes or may give in a round.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct ChallengeDue {
    /// The round.
    pub round: RoundId,
    /// Machines that it is for.
    pub kind: RoundKind,
    /// True if silence costs the machine a part of its bond.
    pub is_owed: bool,
    /// Randomness that the seeds follow from.
    pub randomness: Hash,
    /// The worker key that the seeds follow from.
    pub worker_key: Hash,
    /// Parameters of the machine's class, as they stand for this round.
    pub params: ChallengeParams,
    /// Slots that have to answer: those with the numbers from zero.
    pub slots: u8,
    /// The roots that the machine committed, one for each slot; none before it did.
    pub roots: Vec<Hash>,
    /// Next duty.
    pub phase: ChallengePhase,
    /// Most slots that one transaction may prove.
    pub max_slots_per_proof: u8,
    /// Active time at the block that was asked.
    pub now_ms: Millis,
}

impl ChallengeDue {
    /// Returns the subject of an answer by the machine that this was asked for.
    pub fn subject(&self, machine: MachineId) -> AnswerSubject {
        AnswerSubject {
            round: RoundRef {
                round: self.round,
                randomness: self.randomness,
            },
            machine,
            worker_key: self.worker_key,
            params: self.params,
        }
    }
}

/// A part of those that owed an answer in a round and gave none.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct MissedPage {
    /// The machines of this page, by identifier. May be none although others follow.
    pub machines: Vec<MachineId>,
    /// First machine of the next page; `None` after the last.
    pub next: Option<MachineId>,
}

/// The bytes that a worker signs to commit: `context ‖ genesis hash ‖ subject ‖ roots`, the subject and the
/// list as SCALE encodes them.
pub fn commit_message(genesis_hash: &[u8], subject: &AnswerSubject, roots: &[Hash]) -> Vec<u8> {
    let mut message = COMMIT_CONTEXT.to_vec();
    message.extend_from_slice(genesis_hash);
    (subject, roots).encode_to(&mut message);
    message
}

/// The bytes that a worker signs to prove:
/// `context ‖ genesis hash ‖ subject ‖ opening randomness ‖ BLAKE2b-256(committed roots) ‖ first slot ‖
/// BLAKE2b-256(proofs)`, the subject, the number and the lists as SCALE encodes them.
pub fn prove_message(
    genesis_hash: &[u8],
    subject: &AnswerSubject,
    opening_randomness: &Hash,
    roots: &[Hash],
    first_slot: u8,
    proofs: &[SlotProof],
) -> Vec<u8> {
    let mut message = PROVE_CONTEXT.to_vec();
    message.extend_from_slice(genesis_hash);
    (
        subject,
        opening_randomness,
        roots.using_encoded(blake2_256),
        first_slot,
        proofs.using_encoded(blake2_256),
    )
        .encode_to(&mut message);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> AnswerSubject {
        AnswerSubject {
            round: RoundRef {
                round: 0x0102,
                randomness: [0xbb; 32],
            },
            machine: 3,
            worker_key: [0xcc; 32],
            params: ChallengeParams {
                items: 0x0403,
                fill_double_rounds: 0x0605,
                lanes_log2: 7,
                steps: 0x0908,
                openings: 10,
                deadline_ms: 0x0b,
            },
        }
    }

    /// The subject's bytes, written out for authors of other workers.
    fn subject_bytes() -> Vec<u8> {
        let mut bytes = vec![0x02, 0x01, 0, 0];
        bytes.extend([0xbb; 32]);
        bytes.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([0xcc; 32]);
        bytes.extend([3, 4, 0, 0, 5, 6, 7, 8, 9, 10, 0x0b, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn commit_message_has_its_layout() {
        let message = commit_message(&[0xaa; 32], &subject(), &[[4; 32], [5; 32]]);
        let mut expected = b"assay/challenge-commit/v2".to_vec();
        expected.extend([0xaa; 32]);
        expected.extend(subject_bytes());
        expected.push(2 << 2);
        expected.extend([4; 32]);
        expected.extend([5; 32]);
        assert_eq!(message, expected);
    }

    #[test]
    fn prove_message_has_its_layout() {
        let proofs = [SlotProof::default(), SlotProof::default()];
        let message = prove_message(&[0xaa; 32], &subject(), &[0xdd; 32], &[[4; 32]], 6, &proofs);
        let mut expected = b"assay/challenge-prove/v2".to_vec();
        expected.extend([0xaa; 32]);
        expected.extend(subject_bytes());
        expected.extend([0xdd; 32]);
        let mut roots = vec![1 << 2];
        roots.extend([4; 32]);
        expected.extend(blake2_256(&roots));
        expected.push(6);
        expected.extend(blake2_256(&[2 << 2, 0, 0]));
        assert_eq!(message, expected);
    }
}
