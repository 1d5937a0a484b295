//! Evidence of TEEs and GPUs: what is submitted, and what the chain keeps of it.

use std::{fmt, marker::PhantomData};

use assay_primitives::market::TeeKind;
use codec::Encode;
use scale_decode::{
    DecodeAsType, IntoVisitor, TypeResolver, Visitor,
    visitor::{DecodeAsTypeResult, decode_with_visitor},
};
use serde::Serialize;
use sp_crypto_hashing::blake2_256;

use super::as_hex;

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
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
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

impl fmt::Display for Vendor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Intel => "Intel",
            Self::AmdMilan => "AMD Milan",
            Self::AmdGenoa => "AMD Genoa",
            Self::AmdTurin => "AMD Turin",
            Self::Nvidia => "NVIDIA",
        })
    }
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum IntelTee {
    /// SGX.
    Sgx,
    /// TDX.
    Tdx,
}

impl fmt::Display for IntelTee {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Sgx => tee_name(TeeKind::Sgx),
            Self::Tdx => tee_name(TeeKind::Tdx),
        })
    }
}

/// Names a piece of collateral on chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum CollateralId {
    /// Intel's TCB info.
    TcbInfo(TcbInfoId),
    /// The identity of a TEE's quoting enclave.
    QeIdentity(IntelTee),
    /// The list of this issuer, by the hash of its name and key.
    RevocationList(#[serde(serialize_with = "as_hex")] [u8; 32]),
}

impl fmt::Display for CollateralId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TcbInfo(TcbInfoId { tee, fmspc, pce_id }) => write!(
                formatter,
                "the TCB info of {tee} on processors {} with PCE {}",
                hex::encode(fmspc),
                hex::encode(pce_id)
            ),
            Self::QeIdentity(tee) => write!(formatter, "the identity of the quoting enclave of {tee}"),
            Self::RevocationList(issuer) => write!(
                formatter,
                "the list of certificates that issuer 0x{} revoked",
                hex::encode(issuer)
            ),
        }
    }
}

/// What a TCB info is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct TcbInfoId {
    /// The TEE.
    pub tee: IntelTee,
    /// The family of processors.
    #[serde(serialize_with = "as_hex")]
    pub fmspc: [u8; 6],
    /// The certifying enclave.
    #[serde(serialize_with = "as_hex")]
    pub pce_id: [u8; 2],
}

/// As people know a TEE.
pub const fn tee_name(kind: TeeKind) -> &'static str {
    match kind {
        TeeKind::Sgx => "Intel SGX",
        TeeKind::Tdx => "Intel TDX",
        TeeKind::SevSnp => "AMD SEV-SNP",
        TeeKind::NvidiaGpu => "NVIDIA confidential computing",
    }
}

/// Names a piece of a machine's evidence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct EvidenceId {
    /// Hash of the device's identity.
    #[serde(serialize_with = "as_hex")]
    pub device: [u8; 32],
    /// What it signed as.
    pub kind: TeeKind,
}

impl fmt::Display for EvidenceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} of device 0x{}",
            tee_name(self.kind),
            hex::encode(self.device)
        )
    }
}

/// Decodes an [`EvidenceId`]: the kinds are those of the market, which knows nothing of metadata.
pub struct EvidenceIdVisitor<R>(PhantomData<R>);

impl<R: TypeResolver> Visitor for EvidenceIdVisitor<R> {
    type Value<'scale, 'resolver> = EvidenceId;
    type Error = scale_decode::Error;
    type TypeResolver = R;

    fn unchecked_decode_as_type(
        self,
        input: &mut &[u8],
        type_id: R::TypeId,
        types: &R,
    ) -> DecodeAsTypeResult<Self, Result<EvidenceId, Self::Error>> {
        let raw = decode_with_visitor(input, type_id, types, RawEvidenceId::into_visitor());
        DecodeAsTypeResult::Decoded(raw.map(EvidenceId::from))
    }
}

impl IntoVisitor for EvidenceId {
    type AnyVisitor<R: TypeResolver> = EvidenceIdVisitor<R>;

    fn into_visitor<R: TypeResolver>() -> Self::AnyVisitor<R> {
        EvidenceIdVisitor(PhantomData)
    }
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
    id: EvidenceId,
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

impl From<RawEvidenceId> for EvidenceId {
    fn from(raw: RawEvidenceId) -> Self {
        Self {
            device: raw.device,
            kind: match raw.kind {
                RawKind::Sgx => TeeKind::Sgx,
                RawKind::Tdx => TeeKind::Tdx,
                RawKind::SevSnp => TeeKind::SevSnp,
                RawKind::NvidiaGpu => TeeKind::NvidiaGpu,
            },
        }
    }
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
