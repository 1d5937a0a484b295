//! Records of jobs, from their order to their end.

use assay_primitives::{clock::Millis, money::Balance};
use scale_decode::DecodeAsType;
use serde::Serialize;

pub use assay_primitives::job::{
    AssignmentState, Auction, AuctionTerms, Ballot, Diversion, JobId, JobKind, Manifest, ManifestRef,
    Outcome, Verification,
};

use super::{AccountId, as_decimal, as_hex};

/// Record of a job. The chain removes it with the job's last assignment.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Job {
    /// Account that pays.
    pub consumer: AccountId,
    /// Service or task.
    pub kind: JobKind,
    /// Manifest: public, or sealed to the machine.
    pub manifest: Manifest,
    /// sha256 digest of the image's manifest.
    #[serde(serialize_with = "as_hex")]
    pub image_digest: [u8; 32],
    /// Slots of each machine.
    pub slots: u8,
    /// Number of machines that the order asks for.
    pub nodes: u8,
    /// Maximum price, in plancks per slot-hour.
    #[serde(serialize_with = "as_decimal")]
    pub max_price_per_slot_hour: Balance,
    /// Longest run of a machine that gets an assignment from now on, in milliseconds.
    pub max_duration_ms: Millis,
    /// Auction by which machines are found, unless the consumer chose them.
    pub auction: Option<Auction>,
    /// Number of open places.
    pub open_places: u8,
    /// Number of assignments.
    pub assignments: u8,
    /// Progress of the replicas, while a quorum has not decided.
    pub ballot: Option<Ballot>,
    /// Plancks held for the bytes that the chain keeps.
    #[serde(serialize_with = "as_decimal")]
    pub deposit: Balance,
    /// Plancks held for bounties and not spent.
    #[serde(serialize_with = "as_decimal")]
    pub bounties: Balance,
    /// Plancks paid so far, the protocol fee included.
    #[serde(serialize_with = "as_decimal")]
    pub paid: Balance,
    /// Active time of the order.
    pub created_at_ms: Millis,
}

/// Record of an assignment: one machine's part in a job.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Assignment {
    /// Account that is paid.
    pub provider: AccountId,
    /// Fixed price, in plancks per slot-hour.
    #[serde(serialize_with = "as_decimal")]
    pub price_per_slot_hour: Balance,
    /// Longest run, in milliseconds.
    pub max_duration_ms: Millis,
    /// Plancks of the consumer's that are still held.
    #[serde(serialize_with = "as_decimal")]
    pub escrowed: Balance,
    /// Plancks earned in the judged epochs, the protocol fee included.
    #[serde(serialize_with = "as_decimal")]
    pub earned: Balance,
    /// Paid part of the earnings, in plancks.
    #[serde(serialize_with = "as_decimal")]
    pub paid: Balance,
    /// State of the assignment.
    pub state: AssignmentState,
}
