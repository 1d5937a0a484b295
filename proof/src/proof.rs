//! Proof that a machine sends for one slot when its lanes are opened.

use core::fmt;

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeAll, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::{
    Hash,
    params::{ChallengeParams, LANES_LOG2, OPENINGS},
};

/// Maximum number of openings in a proof.
pub const MAX_OPENINGS: u32 = *OPENINGS.end() as u32;

/// Maximum number of siblings in an opening.
pub const MAX_SIBLINGS: u32 = *LANES_LOG2.end() as u32;

/// Sibling hashes of one opened lane, from the level of the leaves upwards.
pub type Siblings = BoundedVec<Hash, ConstU32<MAX_SIBLINGS>>;

/// Opened lanes of one slot, in the order in which the randomness chose them.
///
/// The proof holds no lanes, numbers or leaves: the verifier computes those by itself.
#[derive(
    Clone, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct SlotProof {
    /// Merkle paths, one for each opening.
    pub openings: BoundedVec<Siblings, ConstU32<MAX_OPENINGS>>,
}

impl SlotProof {
    /// Builds a proof from paths; `None` if there are more paths, or longer ones, than any class can ask for.
    pub fn from_paths<P: AsRef<[Hash]>>(paths: impl IntoIterator<Item = P>) -> Option<Self> {
        let mut openings = BoundedVec::default();
        for path in paths {
            let mut siblings = Siblings::default();
            for sibling in path.as_ref() {
                siblings.try_push(*sibling).ok()?;
            }
            openings.try_push(siblings).ok()?;
        }
        Some(Self { openings })
    }

    /// Decodes a proof; `None` if the bytes are not exactly one.
    pub fn decode_exact(mut bytes: &[u8]) -> Option<Self> {
        Self::decode_all(&mut bytes).ok()
    }

    /// Checks that there are as many openings and siblings as the parameters ask for.
    pub fn check_shape(&self, params: &ChallengeParams) -> Result<(), WrongLength> {
        if self.openings.len() != usize::from(params.openings) {
            return Err(WrongLength::Openings);
        }
        let depth = usize::from(params.lanes_log2);
        match self.openings.iter().position(|siblings| siblings.len() != depth) {
            None => Ok(()),
            // There are at most 16 openings.
            Some(opening) => Err(WrongLength::Siblings {
                opening: opening as u8,
            }),
        }
    }
}

/// Part of a proof that is too short or too long.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum WrongLength {
    /// The class asks for another number of openings.
    #[codec(index = 0)]
    Openings,
    /// A path has more or fewer siblings than the tree has levels.
    #[codec(index = 1)]
    Siblings {
        /// Index of the opening, from zero.
        opening: u8,
    },
}

impl fmt::Display for WrongLength {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Openings => formatter.write_str("the number of openings is wrong"),
            Self::Siblings { opening } => {
                write!(formatter, "opening {opening} has the wrong number of siblings")
            }
        }
    }
}

impl core::error::Error for WrongLength {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_proof_has_the_maximal_length() {
        let largest = ChallengeParams {
            items: u32::MAX,
            fill_double_rounds: 4,
            lanes_log2: 30,
            steps: 1,
            openings: 16,
            deadline_ms: 1,
        };
        let proof = SlotProof::from_paths(vec![[[7; 32]; 30]; 16]);
        let bytes = proof.as_ref().map(Encode::encode).unwrap_or_default();
        assert_eq!(bytes.len() as u64, largest.proof_bytes());
        assert_eq!(bytes.len(), SlotProof::max_encoded_len());
        assert_eq!(SlotProof::decode_exact(&bytes), proof);
        assert_eq!(proof.map(|proof| proof.check_shape(&largest)), Some(Ok(())));
    }

    #[test]
    fn the_encoding_is_pinned() {
        let proof = SlotProof::from_paths([vec![[1; 32], [2; 32]], vec![]]);
        let mut bytes = vec![2 << 2, 2 << 2];
        bytes.extend([1; 32]);
        bytes.extend([2; 32]);
        bytes.push(0);
        assert_eq!(proof.map(|proof| proof.encode()), Some(bytes));
    }

    #[test]
    fn from_paths_fails_when_there_is_too_much() {
        assert_eq!(SlotProof::from_paths(vec![[[0; 32]; 30]; 17]), None);
        assert_eq!(SlotProof::from_paths([[[0; 32]; 31]]), None);
    }

    #[test]
    fn decode_exact_fails_when_a_length_is_a_lie() {
        // A compact length of 2^30 - 1 for the openings, then the same for siblings, with nothing behind it.
        let huge = [0xfe, 0xff, 0xff, 0xff];
        assert_eq!(SlotProof::decode_exact(&huge), None);
        assert_eq!(SlotProof::decode_exact(&[&[1 << 2], &huge[..]].concat()), None);
        assert_eq!(SlotProof::decode_exact(&[]), None);
        assert_eq!(SlotProof::decode_exact(&[0, 0]), None);
    }
}
