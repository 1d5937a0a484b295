//! Verification, for the runtime and for provers that check their own proofs.

use core::fmt;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::{
    Hash,
    lane::lane,
    merkle::{leaf, root_of_path},
    params::{ChallengeParams, ParamsError},
    proof::{SlotProof, WrongLength},
    seed::opened_lane,
};

/// Commitment of a machine for one slot with its challenge: all inputs that a proof is checked against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotClaim {
    /// Parameters of the machine's hardware class at the opening of the round.
    pub params: ChallengeParams,
    /// The slot's seed, see [`seed`](crate::seed).
    pub seed: Hash,
    /// Randomness from a block after the commit deadline.
    pub opening_randomness: Hash,
    /// Number of the machine.
    pub machine_id: u64,
    /// Number of the machine's slot.
    pub slot: u8,
    /// Merkle root, committed before the deadline.
    pub root: Hash,
}

impl SlotClaim {
    /// Returns the lanes to open, in the order of the proof.
    pub fn opened_lanes(&self) -> impl Iterator<Item = u32> {
        let claim = *self;
        (0..claim.params.openings).map(move |opening| claim.opened_lane(opening))
    }

    /// Checks a proof against the claim.
    ///
    /// Never panics on any input and allocates nothing. Compares lengths before it computes anything; then it
    /// takes [`ChallengeParams::verification_double_rounds`], or less if an early opening is wrong.
    pub fn verify(&self, proof: &SlotProof) -> Result<(), VerifyError> {
        self.params.validate().map_err(VerifyError::Params)?;
        proof
            .check_shape(&self.params)
            .map_err(VerifyError::WrongLength)?;
        for (opening, siblings) in (0..self.params.openings).zip(&proof.openings) {
            let opened = self.opened_lane(opening);
            let end = lane(&self.params, &self.seed, opened);
            if root_of_path(leaf(&end), opened, siblings) != self.root {
                return Err(VerifyError::WrongRoot { opening });
            }
        }
        Ok(())
    }

    /// Checks an encoded proof; trailing bytes are an error, as missing ones are.
    pub fn verify_encoded(&self, bytes: &[u8]) -> Result<(), VerifyError> {
        let proof = SlotProof::decode_exact(bytes).ok_or(VerifyError::Malformed)?;
        self.verify(&proof)
    }

    fn opened_lane(&self, opening: u8) -> u32 {
        opened_lane(
            &self.opening_randomness,
            self.machine_id,
            self.slot,
            opening,
            self.params.lanes_log2,
        )
    }
}

/// Checks one proof for each claim, in the same order: all slots of a machine.
///
/// Costs as much as all slots together; if a block has less time, verify them one by one.
pub fn verify_slots(claims: &[SlotClaim], proofs: &[SlotProof]) -> Result<(), SlotsError> {
    if claims.len() != proofs.len() {
        return Err(SlotsError::WrongNumberOfSlots);
    }
    for (claim, proof) in claims.iter().zip(proofs) {
        claim.verify(proof).map_err(|error| SlotsError::Wrong {
            slot: claim.slot,
            error,
        })?;
    }
    Ok(())
}

/// Reason for which a proof is wrong.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum VerifyError {
    /// The parameters are out of range: no proof can be right. This is not the machine's fault.
    #[codec(index = 0)]
    Params(ParamsError),
    /// The bytes are not exactly one proof.
    #[codec(index = 1)]
    Malformed,
    /// A part of the proof is too short or too long.
    #[codec(index = 2)]
    WrongLength(WrongLength),
    /// The recomputed lane and the siblings do not lead to the root.
    #[codec(index = 3)]
    WrongRoot {
        /// Index of the opening, from zero.
        opening: u8,
    },
}

impl fmt::Display for VerifyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Params(error) => error.fmt(formatter),
            Self::Malformed => formatter.write_str("the bytes are not exactly one proof"),
            Self::WrongLength(error) => error.fmt(formatter),
            Self::WrongRoot { opening } => {
                write!(formatter, "opening {opening} does not lead to the root")
            }
        }
    }
}

impl core::error::Error for VerifyError {}

/// Reason for which the proofs of several slots are wrong.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum SlotsError {
    /// The number of proofs differs from that of the slots.
    #[codec(index = 0)]
    WrongNumberOfSlots,
    /// The proof of a slot is wrong.
    #[codec(index = 1)]
    Wrong {
        /// Number of the slot.
        slot: u8,
        /// Error of its proof.
        error: VerifyError,
    },
}

impl fmt::Display for SlotsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongNumberOfSlots => formatter.write_str("there must be one proof for each slot"),
            Self::Wrong { slot, error } => write!(formatter, "slot {slot}: {error}"),
        }
    }
}

impl core::error::Error for SlotsError {}
