//! Records of jobs, from their order to their end.

use assay_primitives::{clock::Millis, money::Balance};
use scale_decode::DecodeAsType;
use serde::Serialize;

pub use assay_primitives::job::{
    AssignmentState, Auction, AuctionTerms, Ballot, Diversion, JobId, JobKind, Manifest, ManifestRef,
    Outcome, Verification,
};

use super::{AccountId, as_decimal, as_hex};

/// A job that a consumer pays for. The chain forgets it when nothing of it is left to be paid.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Job {
    /// Account that pays.
    pub consumer: AccountId,
    /// Service or task.
    pub kind: JobKind,
    /// Names the bytes that say what it runs.
    pub manifest: Manifest,
    /// sha256 digest of the image's manifest.
    #[serde(serialize_with = "as_hex")]
    pub image_digest: [u8; 32],
    /// Slots of each machine.
    pub slots: u8,
    /// Machines that were asked for.
    pub nodes: u8,
    /// Most to be paid, in plancks per slot-hour.
    #[serde(serialize_with = "as_decimal")]
    pub max_price_per_slot_hour: Balance,
    /// Longest run of a machine that gets it from now on.
    pub max_duration_ms: Millis,
    /// Auction by which machines are found, unless the consumer chose them.
    pub auction: Option<Auction>,
    /// Places for which a machine is sought.
    pub open_places: u8,
    /// Machines that have a part in it.
    pub assignments: u8,
    /// Progress of its replicas, where a quorum verifies and has not decided.
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

/// A machine's part in a job.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Assignment {
    /// Account that is paid.
    pub provider: AccountId,
    /// The price that was fixed, in plancks per slot-hour.
    #[serde(serialize_with = "as_decimal")]
    pub price_per_slot_hour: Balance,
    /// Longest run.
    pub max_duration_ms: Millis,
    /// Plancks still held of the consumer's.
    #[serde(serialize_with = "as_decimal")]
    pub escrowed: Balance,
    /// Plancks earned in the epochs that were judged, the protocol fee included.
    #[serde(serialize_with = "as_decimal")]
    pub earned: Balance,
    /// Part of those that was paid.
    #[serde(serialize_with = "as_decimal")]
    pub paid: Balance,
    /// State of the part.
    pub state: AssignmentState,
}
