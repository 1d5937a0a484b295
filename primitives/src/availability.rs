//! Reports of validators on the machines that they watch: the key that signs, the bytes that are signed, and
//! the answers that the chain gives them.

use alloc::vec::Vec;

use codec::{Decode, Encode};
use polkadot_sdk::sp_core;
use scale_info::TypeInfo;

use crate::{
    clock::{EpochIndex, Millis},
    machine::{Endpoint, MachineId},
};

/// Key type of availability reports in a validator's keystore.
pub const AVAILABILITY_KEY_TYPE: sp_core::crypto::KeyTypeId = sp_core::crypto::KeyTypeId(*b"aval");

mod app {
    use polkadot_sdk::sp_application_crypto::{self, sr25519};

    use super::AVAILABILITY_KEY_TYPE;

    sp_application_crypto::app_crypto!(sr25519, AVAILABILITY_KEY_TYPE);
}

/// Public part of a validator's availability key (sr25519).
pub type AvailabilityId = app::Public;

/// Signature of an availability report.
pub type AvailabilitySignature = app::Signature;

#[cfg(feature = "std")]
/// An availability key pair.
pub type AvailabilityPair = app::Pair;

/// Domain separator of a validator's signature of its report.
pub const REPORT_CONTEXT: &[u8] = b"assay/availability-report/v2";

/// Domain separator of a worker's signature of its answer to a probe.
pub const PROBE_CONTEXT: &[u8] = b"assay/probe/v1";

/// Path at which a worker answers probes, below its machine's endpoint; `?nonce=` follows, with the nonce in
/// hexadecimal.
pub const PROBE_PATH: &str = "/v1/probe";

/// Length of a probe's nonce, in bytes.
pub const PROBE_NONCE_BYTES: usize = 32;

/// Blocks that the one which a worker names may be behind a validator's best: two minutes of full slots. A
/// worker that is further behind does not see its orders in time.
pub const MAX_PROBE_BLOCK_AGE: u32 = 40;

/// Epochs after its end in which an epoch's reports are taken: the one that follows.
///
/// Observations of an epoch are final when this number of further epochs have ended, and not before. With
/// more of them, providers wait longer for their rewards; with none, nobody could report.
pub const REPORT_WINDOW_EPOCHS: EpochIndex = 1;

/// Most validators that may be assigned to one machine in an epoch: a report's places are bits of 32.
pub const MAX_VALIDATORS_PER_MACHINE: u32 = 32;

/// Most transactions in which a validator reports on one epoch. A list of failures that is full is continued
/// by the next one, so no failure is left out for want of room; the bound keeps a validator from filling
/// blocks for free.
pub const MAX_REPORT_PARTS: u8 = 4;

/// Most machines that a page of assignments looks at.
pub const MAX_ASSIGNMENT_PAGE: u32 = 1_000;

/// The bytes that a validator signs as its report of an epoch, or as a part of it:
/// `context ‖ genesis hash ‖ epoch ‖ validator index ‖ after ‖ failures`, all but the first two as SCALE
/// encodes them.
///
/// `after` is the last failure of the part before, and `None` in the first part: no part can stand for
/// another one.
pub fn report_message(
    genesis_hash: &[u8],
    epoch: EpochIndex,
    validator_index: u32,
    after: Option<MachineId>,
    failures: &[MachineId],
) -> Vec<u8> {
    let mut message = REPORT_CONTEXT.to_vec();
    message.extend_from_slice(genesis_hash);
    (epoch, validator_index, after, failures).encode_to(&mut message);
    message
}

/// The bytes that a worker signs as its answer to a probe:
/// `context ‖ genesis hash ‖ nonce ‖ machine ‖ hash of its best block`, the machine as SCALE encodes it.
pub fn probe_message(
    genesis_hash: &[u8; 32],
    nonce: &[u8; PROBE_NONCE_BYTES],
    machine: MachineId,
    best_block_hash: &[u8; 32],
) -> Vec<u8> {
    let mut message = PROBE_CONTEXT.to_vec();
    (genesis_hash, nonce, machine, best_block_hash).encode_to(&mut message);
    message
}

/// A machine that a validator has to watch, and where and by which key it answers.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub struct AssignedMachine<AccountId> {
    /// The machine.
    pub machine: MachineId,
    /// URL of its worker's HTTP API.
    pub endpoint: Endpoint,
    /// The key that its worker signs with.
    pub worker_key: AccountId,
}

/// Page of the machines that a validator has to watch in the current epoch.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub struct AssignmentPage<AccountId> {
    /// The current epoch.
    pub epoch: EpochIndex,
    /// Active time until the epoch's end, in milliseconds.
    pub remaining_ms: Millis,
    /// The seed that the epoch's assignments are drawn from.
    pub seed: [u8; 32],
    /// The validator's place among the epoch's validators.
    pub validator_index: u32,
    /// The machines of this page, by identifier. May be none although others follow.
    pub machines: Vec<AssignedMachine<AccountId>>,
    /// First machine of the next page; `None` after the last.
    pub next: Option<MachineId>,
}

/// A report, or the next part of one, that a validator still owes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub struct ReportDue {
    /// The epoch to report on.
    pub epoch: EpochIndex,
    /// The validator's place among that epoch's validators.
    pub validator_index: u32,
    /// Last failure of the parts that were sent; this part lists those behind it. `None`: it is the first
    /// part.
    pub after: Option<MachineId>,
    /// Most failures that this part may list.
    pub max_failures: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_message_has_its_layout() {
        let message = probe_message(&[0xaa; 32], &[0xbb; 32], 0x0102, &[0xcc; 32]);
        let mut expected = b"assay/probe/v1".to_vec();
        expected.extend([0xaa; 32]);
        expected.extend([0xbb; 32]);
        expected.extend([0x02, 0x01, 0, 0, 0, 0, 0, 0]);
        expected.extend([0xcc; 32]);
        assert_eq!(message, expected);
    }

    #[test]
    fn report_message_has_its_layout() {
        let message = report_message(&[0xaa; 32], 0x0102, 3, Some(2), &[4, 0x0506]);
        let mut expected = b"assay/availability-report/v2".to_vec();
        expected.extend([0xaa; 32]);
        expected.extend([0x02, 0x01, 0, 0]);
        expected.extend([3, 0, 0, 0]);
        expected.extend([1, 2, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([2 << 2, 4, 0, 0, 0, 0, 0, 0, 0, 0x06, 0x05, 0, 0, 0, 0, 0, 0]);
        assert_eq!(message, expected);
    }
}
