//! Evidence of TEEs and GPUs: submissions, and the chain's records of them.

use assay_primitives::attestation::{key_message, keys_message};
use scale_decode::DecodeAsType;
use sp_crypto_hashing::blake2_256;

pub use assay_evidence::{
    CollateralId,
    intel::{IntelTee, TcbInfoId},
};
pub use assay_primitives::attestation::{EXPIRY_SLOT_S, EvidenceId, KeyVendor, Vendor};

/// Identifier of a verified key on chain, see [`key_id`].
pub type KeyId = [u8; 32];

/// Source of the key that signed a piece of evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeySource {
    /// The chain has the key: an earlier submission had its certificates.
    Known(KeyId),
    /// The evidence carries the key's certificates, as most quotes do.
    Carried,
    /// Certificates of the key (DER), the device's first.
    Chain(Vec<Vec<u8>>),
}

/// Piece of evidence, as the device gave it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// An SGX or TDX quote.
    Quote {
        /// The quote.
        quote: Vec<u8>,
        /// Source of its attestation key.
        key: KeySource,
    },
    /// A SEV-SNP report.
    SnpReport {
        /// The report.
        report: Vec<u8>,
        /// Source of the chip's key; never [`KeySource::Carried`].
        key: KeySource,
    },
    /// A GPU's measurements.
    GpuReport {
        /// SPDM request and response, one behind the other.
        report: Vec<u8>,
        /// Source of the GPU's attestation key; never [`KeySource::Carried`].
        key: KeySource,
    },
}

/// Collateral: a vendor's signed data by which evidence is judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Collateral {
    /// Intel's TCB info.
    TcbInfo(SignedJson),
    /// Intel's identity of the quoting enclave.
    QeIdentity(SignedJson),
    /// A list of revoked certificates.
    RevocationList {
        /// Vendor whose root the issuer's chain ends in.
        vendor: Vendor,
        /// The list (DER).
        list: Vec<u8>,
        /// Certificate of the issuer (DER); `None` if a root issued the list.
        issuer: Option<Vec<u8>>,
    },
}

/// Signed answer of Intel's service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedJson {
    /// The JSON object, exactly as it was sent.
    pub json: Vec<u8>,
    /// The signature beside it.
    pub signature: [u8; 64],
    /// The signer's chain (each DER).
    pub chain: Vec<Vec<u8>>,
}

/// Piece of evidence that the chain has verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EvidenceRecord {
    /// The device that signed, and its kind.
    pub id: EvidenceId,
    /// Digest of the workload that runs there.
    pub workload: [u8; 32],
    /// Digest of the keys that it is bound to, see [`keys_digest`]. It counts while these are the machine's
    /// keys.
    pub keys: [u8; 32],
    /// Number of the block that it is bound to.
    pub anchor: u64,
    /// End of the evidence, in seconds since 1970.
    pub until_s: u64,
}

/// Returns the chain's identifier of a key that signs evidence, by its point on the curve.
pub fn key_id(vendor: KeyVendor, key: &[u8]) -> KeyId {
    blake2_256(&key_message(vendor, key))
}

/// Returns the digest of a machine's keys to which its evidence is bound.
pub fn keys_digest(worker_key: &[u8; 32], sealing_key: &[u8; 32]) -> [u8; 32] {
    blake2_256(&keys_message(worker_key, sealing_key))
}

/// Part of the chain's record of a machine's evidence.
#[derive(DecodeAsType)]
pub(crate) struct RawMachineEvidence {
    pub(crate) records: Vec<RawEvidenceRecord>,
}

#[derive(DecodeAsType)]
pub(crate) struct RawEvidenceRecord {
    id: EvidenceId,
    workload: [u8; 32],
    keys: [u8; 32],
    anchor: u64,
    expires: u32,
}

impl From<RawEvidenceRecord> for EvidenceRecord {
    fn from(raw: RawEvidenceRecord) -> Self {
        Self {
            id: raw.id,
            workload: raw.workload,
            keys: raw.keys,
            anchor: raw.anchor,
            until_s: u64::from(raw.expires).saturating_mul(EXPIRY_SLOT_S),
        }
    }
}

/// Part of the chain's record of a key.
#[derive(DecodeAsType)]
pub(crate) struct KeptKey {
    #[allow(dead_code, reason = "only its presence is asked for")]
    owner: super::AccountId,
}

/// Part of the chain's record of a piece of collateral.
#[derive(DecodeAsType)]
pub(crate) struct KeptCollateral {
    pub(crate) content: CollateralLife,
}

#[derive(DecodeAsType)]
pub(crate) struct CollateralLife {
    /// Time by which it must be replaced, in seconds since 1970.
    pub(crate) next_update_s: u64,
}
