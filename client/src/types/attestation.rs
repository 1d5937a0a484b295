//! Evidence of TEEs and GPUs: what is submitted, and what the chain keeps of it.

use assay_primitives::market::TeeKind;
use codec::Encode;
use scale_decode::DecodeAsType;
use sp_crypto_hashing::blake2_256;

/// Seconds from one moment at which evidence can end to the next.
pub const EXPIRY_SLOT_S: u64 = 600;

/// Names a verified key on chain, see [`key_id`].
pub type KeyId = [u8; 32];

/// Where the key comes from that signed a piece of evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeySource {
    /// It is on chain: an earlier submission brought its chain of certificates.
    Known(KeyId),
    /// The evidence carries its chain, as most quotes do.
    Carried,
    /// This is its chain (each DER), the device's certificate first.
    Chain(Vec<Vec<u8>>),
}

/// A piece of evidence, as the device gave it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// An SGX or TDX quote.
    Quote {
        /// The quote.
        quote: Vec<u8>,
        /// Where its attestation key comes from.
        key: KeySource,
    },
    /// A SEV-SNP report.
    SnpReport {
        /// The report.
        report: Vec<u8>,
        /// Where the chip's key comes from; never carried.
        key: KeySource,
    },
    /// A GPU's measurements.
    GpuReport {
        /// SPDM request and response, one behind the other.
        report: Vec<u8>,
        /// Where the GPU's attestation key comes from; never carried.
        key: KeySource,
    },
}

/// Whose roots: each of AMD's products has its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vendor {
    /// Intel: SGX and TDX.
    Intel,
    /// AMD's EPYC 7003.
    AmdMilan,
    /// AMD's EPYC 9004 and 8004.
    AmdGenoa,
    /// AMD's EPYC 9005.
    AmdTurin,
    /// NVIDIA: GPUs.
    Nvidia,
}

/// What a vendor publishes about its devices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Collateral {
    /// Intel's TCB info.
    TcbInfo(SignedJson),
    /// Intel's identity of the quoting enclave.
    QeIdentity(SignedJson),
    /// A list of revoked certificates.
    RevocationList {
        /// Below whose root the issuer is.
        vendor: Vendor,
        /// The list (DER).
        list: Vec<u8>,
        /// The issuer's certificate (DER); nothing where a root issued the list.
        issuer: Option<Vec<u8>>,
    },
}

/// What Intel's service sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedJson {
    /// The JSON object, exactly as it was sent.
    pub json: Vec<u8>,
    /// The signature beside it.
    pub signature: [u8; 64],
    /// The signer's chain (each DER).
    pub chain: Vec<Vec<u8>>,
}

/// A TEE of Intel's, as its collateral names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IntelTee {
    /// SGX.
    Sgx,
    /// TDX.
    Tdx,
}

/// Names a piece of collateral on chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CollateralId {
    /// Intel's TCB info.
    TcbInfo {
        /// The TEE.
        tee: IntelTee,
        /// The family of processors.
        fmspc: [u8; 6],
        /// The certifying enclave.
        pce_id: [u8; 2],
    },
    /// The identity of a TEE's quoting enclave.
    QeIdentity(IntelTee),
    /// The list of this issuer, by the hash of its name and key.
    RevocationList([u8; 32]),
}

/// Names a piece of a machine's evidence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EvidenceId {
    /// Hash of the device's identity.
    pub device: [u8; 32],
    /// What it signed as.
    pub kind: TeeKind,
}

/// A piece of evidence that the chain has verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EvidenceRecord {
    /// What signed.
    pub id: EvidenceId,
    /// Digest of what runs there.
    pub workload: [u8; 32],
    /// The keys that it is bound to, see [`keys_digest`]. It counts as long as they are the machine's.
    pub keys: [u8; 32],
    /// Number of the block that it is bound to.
    pub anchor: u64,
    /// Until when it counts, in seconds since 1970.
    pub until_s: u64,
}

/// Whose key signs evidence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyVendor {
    /// The quoting enclave's of an Intel platform.
    Intel,
    /// An AMD chip's, or a cloud's for its chips.
    Amd,
    /// An NVIDIA GPU's.
    Nvidia,
}

/// What the chain calls a key that signs evidence, by its point on the curve.
pub fn key_id(vendor: KeyVendor, key: &[u8]) -> KeyId {
    let vendor = match vendor {
        KeyVendor::Intel => 0_u8,
        KeyVendor::Amd => 1,
        KeyVendor::Nvidia => 2,
    };
    blake2_256(&(b"assay/attestation/key/v1", vendor, key).encode())
}

/// What evidence of a machine is compared by when the machine's keys change.
pub fn keys_digest(worker_key: &[u8; 32], sealing_key: &[u8; 32]) -> [u8; 32] {
    blake2_256(&(b"assay/attestation/keys/v1", worker_key, sealing_key).encode())
}

/// The part of a machine's evidence that is read here.
#[derive(DecodeAsType)]
pub(crate) struct RawMachineEvidence {
    pub(crate) records: Vec<RawEvidenceRecord>,
}

#[derive(DecodeAsType)]
pub(crate) struct RawEvidenceRecord {
    id: RawEvidenceId,
    workload: [u8; 32],
    keys: [u8; 32],
    anchor: u64,
    expires: u32,
}

#[derive(DecodeAsType)]
struct RawEvidenceId {
    device: [u8; 32],
    kind: RawKind,
}

#[derive(DecodeAsType)]
enum RawKind {
    Sgx,
    Tdx,
    SevSnp,
    NvidiaGpu,
}

impl From<RawEvidenceRecord> for EvidenceRecord {
    fn from(raw: RawEvidenceRecord) -> Self {
        Self {
            id: EvidenceId {
                device: raw.id.device,
                kind: match raw.id.kind {
                    RawKind::Sgx => TeeKind::Sgx,
                    RawKind::Tdx => TeeKind::Tdx,
                    RawKind::SevSnp => TeeKind::SevSnp,
                    RawKind::NvidiaGpu => TeeKind::NvidiaGpu,
                },
            },
            workload: raw.workload,
            keys: raw.keys,
            anchor: raw.anchor,
            until_s: u64::from(raw.expires).saturating_mul(EXPIRY_SLOT_S),
        }
    }
}

/// That a key is kept.
#[derive(DecodeAsType)]
pub(crate) struct KeptKey {
    #[allow(dead_code, reason = "that it is there is all that is asked")]
    owner: super::AccountId,
}

/// The part of any collateral that is read here.
#[derive(DecodeAsType)]
pub(crate) struct KeptCollateral {
    pub(crate) content: CollateralLife,
}

#[derive(DecodeAsType)]
pub(crate) struct CollateralLife {
    /// When it has to be replaced, in seconds since 1970.
    pub(crate) next_update_s: u64,
}
