//! Jobs, as far as more than their escrow knows of them: open orders, and the bytes behind a replica's commitment and an
//! attested machine's signature.

use alloc::vec::Vec;

use codec::{Decode, DecodeWithMemTracking, Encode};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::{clock::Millis, json, machine::MachineId, money::Balance};

/// Identifies a job; given in order of creation and never used again.
pub type JobId = u64;

/// Most orders on a page of open orders.
pub const MAX_PAGE_ORDERS: u32 = 100;

/// Most orders that are looked at for one page.
pub const MAX_ORDERS_LOOKED_AT: u32 = 500;

/// An order that a machine can take now, at its ask or more.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct OpenOrder {
    /// The job.
    pub job: JobId,
    /// What is offered now, in plancks per slot and hour; it never falls.
    #[serde(with = "json::amount")]
    pub price_per_slot_hour: Balance,
    /// Slots that it takes.
    pub slots: u8,
    /// Longest time that it may run, in milliseconds of active time.
    pub max_duration_ms: Millis,
    /// The last active time at which it can be taken.
    pub closes_at_ms: Millis,
    /// Whether its consumer brings the manifest to the worker, instead of noting it on chain.
    pub is_sealed: bool,
}

/// A page of open orders, in no order that means anything.
#[derive(
    Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct OpenOrderPage {
    /// Orders that the machine can take.
    pub orders: Vec<OpenOrder>,
    /// Where to go on. A page may be short, even empty, and still have a next one: so much is looked at for a page
    /// and no more. `None` after the last.
    pub next: Option<JobId>,
}

/// First bytes of what a replica commits to.
pub const RESULT_CONTEXT: &[u8] = b"assay/result/v1";

/// The bytes whose Blake2-256 hash is a replica's commitment to its result:
/// `context ‖ genesis hash ‖ job ‖ machine ‖ result hash ‖ salt`, the numbers as SCALE encodes them.
///
/// The machine is part of it, so that who copies another's commitment has committed to something that it can never
/// reveal. The salt must be random and kept until the reveal: without it, likely results could be tried out.
pub fn result_message(
    genesis_hash: &[u8],
    job: JobId,
    machine: MachineId,
    result_hash: &[u8; 32],
    salt: &[u8; 32],
) -> Vec<u8> {
    let mut message = RESULT_CONTEXT.to_vec();
    message.extend_from_slice(genesis_hash);
    (job, machine, result_hash, salt).encode_to(&mut message);
    message
}

/// First bytes of what an attested machine signs of a result.
pub const ATTESTED_RESULT_CONTEXT: &[u8] = b"assay/attested-result/v1";

/// What an attested machine vouches for: that it ran this image as this manifest has it, and that this came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode)]
pub struct ResultStatement {
    /// The job.
    pub job: JobId,
    /// The machine that ran it.
    pub machine: MachineId,
    /// SHA-256 digest of the image that was run.
    pub image_digest: [u8; 32],
    /// Blake2-256 hash of the manifest that it was run by, as it is before it is sealed.
    pub manifest_hash: [u8; 32],
    /// Hash of the result.
    pub result_hash: [u8; 32],
}

impl ResultStatement {
    /// The bytes that the machine's worker key signs:
    /// `context ‖ genesis hash ‖ job ‖ machine ‖ image digest ‖ manifest hash ‖ result hash`, the numbers as SCALE encodes
    /// them.
    ///
    /// They say what was run and not only for which job, because a machine knows of jobs what its host's node tells it.
    pub fn message(&self, genesis_hash: &[u8]) -> Vec<u8> {
        let mut message = ATTESTED_RESULT_CONTEXT.to_vec();
        message.extend_from_slice(genesis_hash);
        self.encode_to(&mut message);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_message_has_its_layout() {
        let message = result_message(&[0xaa; 32], 0x0102, 3, &[0xbb; 32], &[0xcc; 32]);
        let mut expected = b"assay/result/v1".to_vec();
        expected.extend([0xaa; 32]);
        expected.extend([0x02, 0x01, 0, 0, 0, 0, 0, 0]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0xbb; 32]);
        expected.extend([0xcc; 32]);
        assert_eq!(message, expected);
    }

    #[test]
    fn result_statement_has_its_layout() {
        let statement = ResultStatement {
            job: 0x0102,
            machine: 3,
            image_digest: [0xbb; 32],
            manifest_hash: [0xcc; 32],
            result_hash: [0xdd; 32],
        };
        let mut expected = b"assay/attested-result/v1".to_vec();
        expected.extend([0xaa; 32]);
        expected.extend([0x02, 0x01, 0, 0, 0, 0, 0, 0]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        for hash in [[0xbb; 32], [0xcc; 32], [0xdd; 32]] {
            expected.extend(hash);
        }
        assert_eq!(statement.message(&[0xaa; 32]), expected);
    }
}
