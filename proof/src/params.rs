//! Challenge parameters of a hardware class.

use core::{fmt, ops::RangeInclusive};

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Length of an item in bytes, the unit of every read: a cache line.
pub const ITEM_BYTES: u64 = 64;

/// Double rounds of a lane's start and of each of its steps.
pub const STEP_DOUBLE_ROUNDS: u16 = 4;

/// Allowed numbers of items. The upper end keeps an index in 32 bits.
pub const ITEMS: RangeInclusive<u32> = 1 << 10..=u32::MAX;

/// Allowed costs of making one item, in ChaCha double rounds.
pub const FILL_DOUBLE_ROUNDS: RangeInclusive<u16> = 4..=2048;

/// Allowed binary logarithms of the number of lanes.
pub const LANES_LOG2: RangeInclusive<u8> = 4..=30;

/// Allowed reads per lane.
pub const STEPS: RangeInclusive<u16> = 1..=4096;

/// Allowed numbers of opened lanes.
pub const OPENINGS: RangeInclusive<u8> = 1..=16;

/// Parameters of the hardware challenge for one hardware class.
///
/// Values from outside may be out of range: call [`Self::validate`].
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChallengeParams {
    /// Number of 64-byte items that fill the memory; in [`ITEMS`].
    pub items: u32,
    /// Cost of making one item, in ChaCha double rounds; in [`FILL_DOUBLE_ROUNDS`].
    pub fill_double_rounds: u16,
    /// Binary logarithm of the number of lanes, and so the depth of the tree; in [`LANES_LOG2`].
    pub lanes_log2: u8,
    /// Reads per lane; in [`STEPS`].
    pub steps: u16,
    /// Number of opened lanes; in [`OPENINGS`].
    pub openings: u8,
    /// Milliseconds from the opening of the round to the commit's inclusion; not zero.
    pub deadline_ms: u64,
}

impl ChallengeParams {
    /// Returns true if every parameter is in its range.
    pub fn is_valid(&self) -> bool {
        self.validate().is_ok()
    }

    /// Checks every parameter; the error names the first one that is out of its range.
    pub fn validate(&self) -> Result<(), ParamsError> {
        if !ITEMS.contains(&self.items) {
            return Err(ParamsError::Items);
        }
        if !FILL_DOUBLE_ROUNDS.contains(&self.fill_double_rounds) {
            return Err(ParamsError::FillDoubleRounds);
        }
        if !LANES_LOG2.contains(&self.lanes_log2) {
            return Err(ParamsError::LanesLog2);
        }
        if !STEPS.contains(&self.steps) {
            return Err(ParamsError::Steps);
        }
        if !OPENINGS.contains(&self.openings) {
            return Err(ParamsError::Openings);
        }
        if self.deadline_ms == 0 {
            return Err(ParamsError::Deadline);
        }
        Ok(())
    }

    /// Returns the number of lanes; `u64::MAX` if [`Self::lanes_log2`] is far out of range.
    pub fn lanes(&self) -> u64 {
        1_u64.checked_shl(self.lanes_log2.into()).unwrap_or(u64::MAX)
    }

    /// Returns the bytes of all items.
    pub fn memory_bytes(&self) -> u64 {
        u64::from(self.items) * ITEM_BYTES
    }

    /// Returns the number of reads of one item that the walk makes, over all lanes.
    pub fn reads(&self) -> u64 {
        self.lanes().saturating_mul(self.steps.into())
    }

    /// Returns the number of times that the walk reads the whole memory, rounded down: about 30 for real
    /// GPUs.
    ///
    /// Below 1 a part of the memory is never read, and a prover that does not store it loses nothing.
    pub fn passes(&self) -> u64 {
        self.reads() / u64::from(self.items.max(1))
    }

    /// Returns the ChaCha double rounds that the verification of one slot takes: nearly all of its time.
    pub fn verification_double_rounds(&self) -> u64 {
        u64::from(self.openings)
            * u64::from(self.steps)
            * (u64::from(self.fill_double_rounds) + u64::from(STEP_DOUBLE_ROUNDS))
    }

    /// Returns the bytes of an encoded [`SlotProof`](crate::SlotProof): the sibling hashes, and one byte of
    /// length for the openings and for each of them.
    pub fn proof_bytes(&self) -> u64 {
        1 + u64::from(self.openings) * (1 + u64::from(self.lanes_log2) * 32)
    }
}

/// First parameter that is out of its range.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum ParamsError {
    /// [`ChallengeParams::items`] is not in [`ITEMS`].
    #[codec(index = 0)]
    Items,
    /// [`ChallengeParams::fill_double_rounds`] is not in [`FILL_DOUBLE_ROUNDS`].
    #[codec(index = 1)]
    FillDoubleRounds,
    /// [`ChallengeParams::lanes_log2`] is not in [`LANES_LOG2`].
    #[codec(index = 2)]
    LanesLog2,
    /// [`ChallengeParams::steps`] is not in [`STEPS`].
    #[codec(index = 3)]
    Steps,
    /// [`ChallengeParams::openings`] is not in [`OPENINGS`].
    #[codec(index = 4)]
    Openings,
    /// [`ChallengeParams::deadline_ms`] is zero.
    #[codec(index = 5)]
    Deadline,
}

impl fmt::Display for ParamsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Items => "items must be 2^10 to 2^32 - 1",
            Self::FillDoubleRounds => "fill double rounds must be 4 to 2048",
            Self::LanesLog2 => "the logarithm of the lanes must be 4 to 30",
            Self::Steps => "steps must be 1 to 4096",
            Self::Openings => "openings must be 1 to 16",
            Self::Deadline => "the deadline must not be zero",
        })
    }
}

impl core::error::Error for ParamsError {}

#[cfg(test)]
mod tests {
    use super::*;

    const H100: ChallengeParams = ChallengeParams {
        items: 72 << 24,
        fill_double_rounds: 1024,
        lanes_log2: 27,
        steps: 256,
        openings: 4,
        deadline_ms: 30_000,
    };

    #[test]
    fn costs_are_those_of_the_specification() {
        assert_eq!(H100.validate(), Ok(()));
        assert_eq!(H100.memory_bytes(), 72 << 30);
        assert_eq!(H100.lanes(), 1 << 27);
        assert_eq!(H100.passes(), 28);
        assert_eq!(H100.verification_double_rounds(), 4 * 256 * 1028);
        assert_eq!(H100.proof_bytes(), 1 + 4 * (1 + 27 * 32));
    }

    #[test]
    fn validate_accepts_the_ends_of_every_range() {
        let smallest = ChallengeParams {
            items: 1 << 10,
            fill_double_rounds: 4,
            lanes_log2: 4,
            steps: 1,
            openings: 1,
            deadline_ms: 1,
        };
        let largest = ChallengeParams {
            items: u32::MAX,
            fill_double_rounds: 2048,
            lanes_log2: 30,
            steps: 4096,
            openings: 16,
            deadline_ms: u64::MAX,
        };
        assert!(smallest.is_valid());
        assert!(largest.is_valid());
    }

    #[test]
    fn validate_names_what_is_out_of_range() {
        type Change = fn(&mut ChallengeParams);
        let cases: [(Change, ParamsError); 10] = [
            (|params| params.items = (1 << 10) - 1, ParamsError::Items),
            (
                |params| params.fill_double_rounds = 3,
                ParamsError::FillDoubleRounds,
            ),
            (
                |params| params.fill_double_rounds = 2049,
                ParamsError::FillDoubleRounds,
            ),
            (|params| params.lanes_log2 = 3, ParamsError::LanesLog2),
            (|params| params.lanes_log2 = 31, ParamsError::LanesLog2),
            (|params| params.steps = 0, ParamsError::Steps),
            (|params| params.steps = 4097, ParamsError::Steps),
            (|params| params.openings = 0, ParamsError::Openings),
            (|params| params.openings = 17, ParamsError::Openings),
            (|params| params.deadline_ms = 0, ParamsError::Deadline),
        ];
        for (change, error) in cases {
            let mut params = H100;
            change(&mut params);
            assert_eq!(params.validate(), Err(error), "{params:?}");
        }
    }

    #[test]
    fn costs_never_overflow() {
        let params = ChallengeParams {
            items: 0,
            fill_double_rounds: u16::MAX,
            lanes_log2: u8::MAX,
            steps: u16::MAX,
            openings: u8::MAX,
            deadline_ms: 0,
        };
        assert_eq!(params.lanes(), u64::MAX);
        assert_eq!(params.passes(), u64::MAX);
        assert!(params.verification_double_rounds() > 0);
        assert!(params.proof_bytes() > 0);
    }
}
