//! Sealed manifests and their delivery: limits, and the bytes that consumers, workers and the chain agree on.

use alloc::{format, string::String, vec::Vec};

use codec::Encode;

use crate::{clock::Millis, job::JobId, machine::MachineId};

/// Maximum length of a sealed manifest's JSON, in bytes. It never reaches the chain.
pub const MAX_SEALED_MANIFEST_BYTES: usize = 256 * 1_024;

/// Length of the random bytes before the manifest, without which likely manifests could be tried out against
/// the hash on chain.
pub const MANIFEST_NONCE_BYTES: usize = 32;

/// Maximum length of the bytes that are sealed: nonce and manifest.
pub const MAX_PLAIN_BYTES: usize = MANIFEST_NONCE_BYTES + MAX_SEALED_MANIFEST_BYTES;

/// Length of the encapsulated X25519 key at the beginning of a sealed manifest.
pub const ENCAPSULATED_KEY_BYTES: usize = 32;

/// Length of the authentication tag of ChaCha20-Poly1305.
pub const SEAL_TAG_BYTES: usize = 16;

/// Number of bytes by which sealing lengthens the bytes that are sealed.
pub const SEAL_OVERHEAD_BYTES: usize = ENCAPSULATED_KEY_BYTES + SEAL_TAG_BYTES;

/// Maximum length of a sealed manifest as it is delivered.
pub const MAX_SEALED_BODY_BYTES: usize = MAX_PLAIN_BYTES + SEAL_OVERHEAD_BYTES;

/// Domain separator of a sealed manifest.
pub const SEALED_MANIFEST_CONTEXT: &[u8] = b"assay/manifest/v1";

/// Domain separator of the receipt of a sealed manifest.
pub const RECEIPT_CONTEXT: &[u8] = b"assay/receipt/v1";

/// Returns the `info` of HPKE for a sealed manifest: `context ‖ genesis hash (32) ‖ job ‖ machine ‖ sealing
/// key (32)`, the numbers as SCALE encodes them: 8 bytes each, little-endian.
///
/// A manifest that is sealed for one job, machine, key or chain does not open for another.
pub fn sealed_manifest_info(
    genesis_hash: &[u8; 32],
    job: JobId,
    machine: MachineId,
    sealing_key: &[u8; 32],
) -> Vec<u8> {
    let mut info = SEALED_MANIFEST_CONTEXT.to_vec();
    info.extend_from_slice(genesis_hash);
    (job, machine, sealing_key).encode_to(&mut info);
    info
}

/// Statement of a machine: the sealed manifest of this hash reached it, and it could open it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode)]
pub struct ReceiptStatement {
    /// The job.
    pub job: JobId,
    /// The machine that the manifest reached.
    pub machine: MachineId,
    /// Blake2-256 hash of nonce and manifest, as on chain.
    pub manifest_hash: [u8; 32],
    /// Active time at which it reached the machine, as the machine knew it, in milliseconds.
    pub active_time_ms: Millis,
}

impl ReceiptStatement {
    /// Returns the bytes that the worker key signs: `context ‖ genesis hash ‖ job ‖ machine ‖ manifest hash ‖
    /// active time`, the numbers as SCALE encodes them: 8 bytes each, little-endian.
    pub fn message(&self, genesis_hash: &[u8; 32]) -> Vec<u8> {
        let mut message = RECEIPT_CONTEXT.to_vec();
        message.extend_from_slice(genesis_hash);
        self.encode_to(&mut message);
        message
    }
}

/// Returns the path of the worker's HTTP interface to which a job's sealed manifest is put.
pub fn manifest_path(job: JobId) -> String {
    format!("/v1/jobs/{job}/manifest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_has_its_layout() {
        let info = sealed_manifest_info(&[0xaa; 32], 0x0102, 3, &[0xbb; 32]);
        let mut expected = b"assay/manifest/v1".to_vec();
        expected.extend([0xaa; 32]);
        expected.extend([0x02, 0x01, 0, 0, 0, 0, 0, 0]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0xbb; 32]);
        assert_eq!(info, expected);
    }

    #[test]
    fn receipt_has_its_layout() {
        let statement = ReceiptStatement {
            job: 0x0102,
            machine: 3,
            manifest_hash: [0xcc; 32],
            active_time_ms: 0x0405,
        };
        let mut expected = b"assay/receipt/v1".to_vec();
        expected.extend([0xaa; 32]);
        expected.extend([0x02, 0x01, 0, 0, 0, 0, 0, 0]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0xcc; 32]);
        expected.extend([0x05, 0x04, 0, 0, 0, 0, 0, 0]);
        assert_eq!(statement.message(&[0xaa; 32]), expected);
    }

    #[test]
    fn bounds_fit_together() {
        assert_eq!(MAX_SEALED_BODY_BYTES, 32 + 32 + 262_144 + 16);
        assert_eq!(manifest_path(7), "/v1/jobs/7/manifest");
    }
}
