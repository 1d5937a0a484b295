//! Jobs, as far as more than their escrow knows of them: the bytes behind a replica's commitment.

use alloc::vec::Vec;

use codec::Encode;

use crate::machine::MachineId;

/// Identifies a job; given in order of creation and never used again.
pub type JobId = u64;

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
}
