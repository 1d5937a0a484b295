//! The records that the chain keeps, as this client reads them.
//!
//! A record here is a view: the fields of the pallet's record that Assay's programs read, by their names
//! there, with text and lists without bounds. Types of fields are those of `assay_primitives`, which
//! documents them. Amounts are plancks, times are milliseconds of active time. In JSON, amounts are decimal
//! strings and hashes are hex strings; [`crate::json`] writes the names.

mod attestation;
mod job;
mod machine;
mod stake;

use std::fmt;

use assay_primitives::{
    clock::{EpochIndex, Millis},
    emission,
    money::Balance,
};
use scale_decode::DecodeAsType;
use serde::{Serialize, Serializer};

pub use assay_primitives::emission::EpochRecord;
pub use attestation::{
    Collateral, CollateralId, EXPIRY_SLOT_S, Evidence, EvidenceId, EvidenceRecord, IntelTee, KeyId,
    KeySource, KeyVendor, SignedJson, TcbInfoId, Vendor, key_id, keys_digest,
};
pub(crate) use attestation::{KeptCollateral, KeptKey, RawMachineEvidence};
pub use job::{
    Assignment, AssignmentState, Auction, AuctionTerms, Ballot, Diversion, Job, JobId, JobKind, Manifest,
    ManifestRef, Outcome, Verification,
};
pub use machine::{
    AskRaise, ClassTerms, LeaseEnd, Location, Machine, MachineStatus, Remedy, ServiceRecord, SuspensionCause,
    SuspensionReason,
};
pub use stake::{
    Beneficiaries, Bond, Debt, Offence, Share, Slash, SlashId, SlashReason, Strikes, UnlockChunk,
};

/// Account; displays and parses as an SS58 address, its 32 bytes are field `0`.
pub type AccountId = subxt::utils::AccountId32;

/// Serializes plancks as a decimal string: many readers of JSON keep only 53 bits of a number.
pub(crate) fn as_decimal<S: Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// Serializes bytes as hex digits behind `0x`.
pub(crate) fn as_hex<const N: usize, S: Serializer>(
    bytes: &[u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("0x{}", hex::encode(bytes)))
}

pub(crate) fn as_optional_hex<S: Serializer>(
    bytes: &Option<[u8; 32]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => as_hex(bytes, serializer),
        None => serializer.serialize_none(),
    }
}

/// Text that the chain keeps as bounded bytes.
#[derive(Clone, PartialEq, Eq, Default, DecodeAsType)]
pub struct Text(Vec<u8>);

impl Text {
    /// Returns the bytes as the chain has them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

/// Shows bytes that are not UTF-8, and control characters, as replacement characters: the text's author is
/// not trusted, and terminals obey control characters.
impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = String::from_utf8_lossy(&self.0)
            .chars()
            .map(|character| {
                if character.is_control() {
                    char::REPLACEMENT_CHARACTER
                } else {
                    character
                }
            })
            .collect();
        formatter.pad(&shown)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.to_string())
    }
}

/// Record of a provider.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Provider {
    /// Name that it gave itself.
    pub name: Text,
    /// Number of its machines.
    pub machines: u32,
    /// Plancks held for its record.
    #[serde(serialize_with = "as_decimal")]
    pub deposit: Balance,
}

/// Hardware class: an entry of the catalogue.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct HardwareClass {
    /// Name, such as `NVIDIA_H100`.
    pub name: Text,
    /// Memory of the GPU in MiB.
    pub vram_mib: u32,
    /// CUDA cores, or stream processors of GPUs that have no CUDA.
    pub cuda_cores: u32,
    /// The vendor's published dense BF16 TFLOPS.
    pub compute_score: u32,
    /// Plancks to be bonded for each slot.
    #[serde(serialize_with = "as_decimal")]
    pub stake_per_slot: Balance,
}

/// Destination of a machine's rewards.
pub type RewardDestination = emission::RewardDestination<AccountId>;

/// State of the emission.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Emission {
    /// Remaining emission, in plancks.
    #[serde(serialize_with = "as_decimal")]
    pub remaining: Balance,
    /// Sum of the machines' weights in the current epoch.
    #[serde(serialize_with = "as_decimal")]
    pub total_weight: u128,
    /// Maximum that an epoch mints for each unit of weight, in plancks.
    #[serde(serialize_with = "as_decimal")]
    pub cap_per_weight: Balance,
}

/// Balances of an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct AccountBalance {
    /// Plancks that are not held; [`Self::frozen`] may not be spent.
    #[serde(serialize_with = "as_decimal")]
    pub free: Balance,
    /// Plancks held: bonds, escrow, deposits.
    #[serde(serialize_with = "as_decimal")]
    pub held: Balance,
    /// Part of `free` that may not be spent.
    #[serde(serialize_with = "as_decimal")]
    pub frozen: Balance,
}

impl AccountBalance {
    /// Returns all plancks of the account.
    pub fn total(&self) -> Balance {
        self.free.saturating_add(self.held)
    }
}

/// Active time and its epochs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Clock {
    /// Active time since genesis.
    pub active_time_ms: Millis,
    /// The current epoch.
    pub epoch: EpochIndex,
    /// Length of every epoch.
    pub epoch_duration_ms: Millis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shows_no_control_characters() {
        let text = Text(b"evil\x1b[31m\xff".to_vec());
        assert_eq!(text.to_string(), "evil\u{fffd}[31m\u{fffd}");
        assert_eq!(format!("{:>6}|", Text::from("abc")), "   abc|");
    }
}
