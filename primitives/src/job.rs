//! Jobs, as far as more than their escrow knows of them: open orders, and the bytes behind a replica's commitment and an
//! attested machine's signature.

use alloc::vec::Vec;

use codec::{Decode, DecodeWithMemTracking, Encode};
use polkadot_sdk::sp_runtime::{Rounding, helpers_128bit::multiply_by_rational_with_rounding};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::{
    clock::{MILLIS_PER_HOUR, Millis},
    json,
    machine::MachineId,
    money::Balance,
};

/// Identifies a job; given in order of creation and never used again.
pub type JobId = u64;

/// Part of the start window in which a decline costs a consumer nothing: one in so many. Long enough for a worker to look
/// at the size, the platform and the address of an image.
const START_GRACE_DIVISOR: Millis = 5;

/// Returns for how long after its assignment a machine may decline at no cost to the job's consumer, in milliseconds of
/// active time: a fifth of the time in which it may start, rounded down.
pub fn start_grace_ms(assigned_at_ms: Millis, start_deadline_ms: Millis) -> Millis {
    start_deadline_ms.saturating_sub(assigned_at_ms) / START_GRACE_DIVISOR
}

/// Returns the price of `slots` slots for `duration_ms` of active time, in plancks; `None` for more than any balance.
pub fn cost(
    price_per_slot_hour: Balance,
    slots: u8,
    duration_ms: Millis,
    rounding: Rounding,
) -> Option<Balance> {
    // A u8 times a u64 always fits.
    let slot_millis = u128::from(slots).saturating_mul(u128::from(duration_ms));
    multiply_by_rational_with_rounding(
        price_per_slot_hour,
        slot_millis,
        u128::from(MILLIS_PER_HOUR),
        rounding,
    )
}

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

/// First bytes of what a result's hash is taken of.
pub const RESULT_DOCUMENT_CONTEXT: &[u8] = b"assay/result/v2";

/// Most bytes of standard output that a result's hash covers: 16 GiB.
///
/// A task that writes more runs on, and its result says so by [`StdoutResult::LongerThanLimit`], which is the
/// same on every machine. Changing it gives other results for tasks that write more.
pub const MAX_RESULT_STDOUT_BYTES: u64 = 16 * 1_024 * 1_024 * 1_024;

/// The part of standard output in a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StdoutResult {
    /// The manifest says that it is no part of the result.
    NotCaptured,
    /// BLAKE3 hash of all bytes as they were written.
    Whole([u8; 32]),
    /// BLAKE3 hash of the first [`MAX_RESULT_STDOUT_BYTES`]; more followed.
    LongerThanLimit([u8; 32]),
}

/// How a task ended: what honest replicas of one job agree on, and nothing else.
///
/// Nothing of standard error, of time, of the machine or of its engine is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResultDocument {
    /// Exit code of the container's first process; 128 plus the signal's number for one that a signal ended.
    pub exit_code: i32,
    /// SHA-256 digest of the image that ran.
    pub image_digest: [u8; 32],
    /// Blake2-256 hash of the manifest that it ran by, as it is before it is sealed.
    pub manifest_hash: [u8; 32],
    /// Standard output.
    pub stdout: StdoutResult,
}

impl ResultDocument {
    /// The bytes that [`Self::hash`] is taken of: `context ‖ exit code (4, little-endian) ‖ image digest (32)
    /// ‖ manifest hash (32) ‖ standard output ‖ output folder (1)`.
    ///
    /// Standard output is one byte, 0 where it is not captured, 1 before the hash (32) of the whole, 2 before
    /// the hash (32) of the first [`MAX_RESULT_STDOUT_BYTES`] of more. The last byte is 0, which says that no
    /// folder of output is part of the result; no other value is defined yet.
    pub fn to_bytes(&self) -> Vec<u8> {
        const NO_OUTPUT_FOLDER: u8 = 0;
        let mut bytes = RESULT_DOCUMENT_CONTEXT.to_vec();
        bytes.extend_from_slice(&self.exit_code.to_le_bytes());
        bytes.extend_from_slice(&self.image_digest);
        bytes.extend_from_slice(&self.manifest_hash);
        match &self.stdout {
            StdoutResult::NotCaptured => bytes.push(0),
            StdoutResult::Whole(hash) => {
                bytes.push(1);
                bytes.extend_from_slice(hash);
            }
            StdoutResult::LongerThanLimit(hash) => {
                bytes.push(2);
                bytes.extend_from_slice(hash);
            }
        }
        bytes.push(NO_OUTPUT_FOLDER);
        bytes
    }

    /// The result's hash as the chain is given it: BLAKE3 of [`Self::to_bytes`].
    pub fn hash(&self) -> [u8; 32] {
        blake3::hash(&self.to_bytes()).into()
    }
}

/// Share of every payment that is the protocol's, in parts per million, unless governance sets another.
pub const DEFAULT_PROTOCOL_FEE_PPM: u32 = 50_000;

/// Active time in which a machine must start or decline a job that it was given, in milliseconds, unless
/// governance sets another: ten minutes.
pub const DEFAULT_START_WINDOW_MS: Millis = MILLIS_PER_HOUR / 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::ASY;

    #[test]
    fn cost_is_rounded_as_asked_and_refuses_what_no_balance_holds() {
        assert_eq!(cost(ASY, 2, MILLIS_PER_HOUR, Rounding::Up), Some(2 * ASY));
        assert_eq!(cost(1, 1, 1, Rounding::Up), Some(1));
        assert_eq!(cost(1, 1, 1, Rounding::Down), Some(0));
        assert_eq!(cost(0, 64, u64::MAX, Rounding::Up), Some(0));
        assert_eq!(cost(Balance::MAX, 1, MILLIS_PER_HOUR + 1, Rounding::Down), None);
    }

    #[test]
    fn result_document_has_its_layout() {
        let with = |exit_code, stdout| ResultDocument {
            exit_code,
            image_digest: [0xbb; 32],
            manifest_hash: [0xcc; 32],
            stdout,
        };
        let layout = |exit_code: [u8; 4], stdout: &[&[u8]]| {
            let mut expected = b"assay/result/v2".to_vec();
            expected.extend(exit_code);
            expected.extend([0xbb; 32]);
            expected.extend([0xcc; 32]);
            expected.extend(stdout.concat());
            expected.push(0);
            expected
        };
        let hash = [0xdd; 32];
        assert_eq!(
            with(0x0102, StdoutResult::NotCaptured).to_bytes(),
            layout([2, 1, 0, 0], &[&[0]])
        );
        assert_eq!(
            with(137, StdoutResult::Whole(hash)).to_bytes(),
            layout([137, 0, 0, 0], &[&[1], &hash])
        );
        assert_eq!(
            with(-1, StdoutResult::LongerThanLimit(hash)).to_bytes(),
            layout([0xff; 4], &[&[2], &hash])
        );
    }

    #[test]
    fn result_hash_is_pinned() {
        let document = ResultDocument {
            exit_code: 3,
            image_digest: [0xbb; 32],
            manifest_hash: [0xcc; 32],
            // BLAKE3 of nothing, as everybody computes it.
            stdout: StdoutResult::Whole(*blake3::hash(b"").as_bytes()),
        };
        let bytes = document.to_bytes();
        let hex = |bytes: &[u8]| -> alloc::string::String {
            bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect()
        };
        let expected = [
            "61737361792f726573756c742f763203000000",
            &"bb".repeat(32),
            &"cc".repeat(32),
            "01af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f326200",
        ]
        .concat();
        assert_eq!(hex(&bytes), expected);
        assert_eq!(
            hex(&document.hash()),
            "13121ac5149e42a4714975682113c77d4d397d1c80598a3675d4bcf178212947"
        );
    }

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
