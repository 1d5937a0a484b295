//! Binding of evidence to one machine, chain and set of keys, which prevents replay for anything else.

use crate::{Hash, hash::blake2_256};

/// Domain separator of a binding's digest.
pub const BINDING_DOMAIN: &[u8] = b"assay/evidence/v1";

/// Length in bytes of the requester's data in a quote or SEV-SNP report.
pub const REPORT_DATA_BYTES: usize = 64;

/// Everything that a piece of evidence is bound to.
///
/// New evidence is needed when any of these changes: the machine, the chain, the worker key, the sealing key
/// or the anchor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    /// Hash of the chain's genesis block.
    pub genesis_hash: Hash,
    /// Number of the machine.
    pub machine_id: u64,
    /// sr25519 key of the machine.
    pub worker_key: [u8; 32],
    /// X25519 key of the machine, to which consumers encrypt.
    pub sealing_key: [u8; 32],
    /// Hash of a recent block: a lower bound for the time of the evidence.
    pub anchor_hash: Hash,
}

impl Binding {
    /// Returns `blake2_256("assay/evidence/v1" ‖ genesis hash ‖ machine id ‖ worker key ‖ sealing key ‖
    /// anchor hash)`, with the machine id as eight little-endian bytes.
    pub fn digest(&self) -> Hash {
        blake2_256(&[
            BINDING_DOMAIN,
            &self.genesis_hash,
            &self.machine_id.to_le_bytes(),
            &self.worker_key,
            &self.sealing_key,
            &self.anchor_hash,
        ])
    }

    /// Returns the report data to request from an SGX enclave, a TD or an SEV-SNP guest: the digest, then
    /// zeros.
    pub fn report_data(&self) -> [u8; REPORT_DATA_BYTES] {
        report_data_of(&self.digest())
    }

    /// Returns the nonce to request from a GPU: the digest.
    pub fn nonce(&self) -> Hash {
        self.digest()
    }
}

/// Returns report data that carries 32 bytes, followed by zeros.
pub fn report_data_of(digest: &Hash) -> [u8; REPORT_DATA_BYTES] {
    let mut data = [0; REPORT_DATA_BYTES];
    for (to, from) in data.iter_mut().zip(digest) {
        *to = *from;
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding {
            genesis_hash: [1; 32],
            machine_id: 0x0807_0605_0403_0201,
            worker_key: [2; 32],
            sealing_key: [3; 32],
            anchor_hash: [4; 32],
        }
    }

    #[test]
    fn the_digest_is_that_of_the_bytes_in_order() {
        let mut bytes = b"assay/evidence/v1".to_vec();
        bytes.extend([1; 32]);
        bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        bytes.extend([2; 32]);
        bytes.extend([3; 32]);
        bytes.extend([4; 32]);
        let expected = blake2b_simd::Params::new().hash_length(32).hash(&bytes);
        assert_eq!(binding().digest(), expected.as_bytes());
        assert_eq!(binding().nonce(), expected.as_bytes());
        assert_eq!(binding().report_data()[..32], *expected.as_bytes());
        assert_eq!(binding().report_data()[32..], [0; 32]);
    }

    #[test]
    fn every_part_changes_the_digest() {
        let digest = binding().digest();
        let changes: [fn(&mut Binding); 5] = [
            |binding| binding.genesis_hash[31] ^= 1,
            |binding| binding.machine_id ^= 1 << 63,
            |binding| binding.worker_key[0] ^= 1,
            |binding| binding.sealing_key[0] ^= 1,
            |binding| binding.anchor_hash[0] ^= 1,
        ];
        for change in changes {
            let mut changed = binding();
            change(&mut changed);
            assert_ne!(changed.digest(), digest);
        }
    }
}
