//! Types of submissions and of the pallet's records.

use assay_evidence::{
    Attestation, EvidenceError, MAX_CERTIFICATE_BYTES, MAX_CHAIN_CERTIFICATES, Platform, RevocationList,
    Workload,
    intel::{AttestationKey, IntelPolicy, MAX_COLLATERAL_BYTES, MAX_QUOTE_BYTES, QeIdentity, TcbInfo},
    nvidia::{DeviceKey, MAX_REPORT_BYTES, NvidiaPolicy},
    snp::{ChipKey, Product, REPORT_BYTES, SnpFloor, SnpPolicy},
};
use assay_primitives::{
    attestation::{KeyVendor, MachineIdentity, key_message, keys_message},
    machine::MAX_SLOTS,
    market::TeeKind,
    money::Balance,
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::{
    frame_support::{
        BoundedVec,
        traits::{ConstU32, PalletError},
        weights::Weight,
    },
    frame_system::pallet_prelude::BlockNumberFor,
    sp_core::H256,
    sp_io::hashing::blake2_256,
};
use scale_info::TypeInfo;

pub use assay_evidence::{CollateralId, intel::TcbInfoId};
pub use assay_primitives::attestation::{DeviceHash, EXPIRY_SLOT_S, EvidenceId, Vendor};

use crate::{Config, WeightInfo};

/// Maximum number of pieces of evidence of one machine: one of each kind for its processor, and one for each
/// GPU.
pub const MAX_EVIDENCE: u32 = MAX_SLOTS as u32 + 3;

/// Maximum length of a list of revoked certificates in bytes; Intel's longest had 3 kB in 2026.
pub const MAX_LIST_BYTES: u32 = 64 * 1_024;

/// Slot in which evidence ends: seconds since 1970, divided by [`EXPIRY_SLOT_S`].
pub type ExpirySlot = u32;

/// Identifier of a verified key.
pub type KeyId = H256;

/// Certificate (DER).
pub type CertificateBytes = BoundedVec<u8, ConstU32<{ MAX_CERTIFICATE_BYTES as u32 }>>;

/// Chain of certificates, the device's first, optionally with the root's at the end.
pub type CertificateChain = BoundedVec<CertificateBytes, ConstU32<{ MAX_CHAIN_CERTIFICATES as u32 }>>;

/// Name of a workload, for readers outside.
pub type WorkloadName = BoundedVec<u8, ConstU32<64>>;

/// Returns the product of AMD's that has these roots.
pub(crate) fn amd_product(vendor: Vendor) -> Option<Product> {
    match vendor {
        Vendor::AmdMilan => Some(Product::Milan),
        Vendor::AmdGenoa => Some(Product::Genoa),
        Vendor::AmdTurin => Some(Product::Turin),
        Vendor::Intel | Vendor::Nvidia => None,
    }
}

/// Source of the key that signed a piece of evidence.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum KeySource {
    /// The key is on chain: an earlier submission had its chain.
    #[codec(index = 0)]
    Known(KeyId),
    /// The evidence carries its chain, as most quotes do.
    #[codec(index = 1)]
    Carried,
    /// The key's chain.
    #[codec(index = 2)]
    Chain(CertificateChain),
}

/// Piece of evidence, as the device gave it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Evidence {
    /// SGX or TDX quote.
    #[codec(index = 0)]
    Quote {
        /// Quote.
        quote: BoundedVec<u8, ConstU32<{ MAX_QUOTE_BYTES as u32 }>>,
        /// Source of its attestation key.
        key: KeySource,
    },
    /// SEV-SNP report.
    #[codec(index = 1)]
    SnpReport {
        /// Report.
        report: BoundedVec<u8, ConstU32<{ REPORT_BYTES as u32 }>>,
        /// Source of the chip's key; never [`KeySource::Carried`].
        key: KeySource,
    },
    /// Measurements of a GPU: SPDM request and response.
    #[codec(index = 2)]
    GpuReport {
        /// Request and response, concatenated.
        report: BoundedVec<u8, ConstU32<{ MAX_REPORT_BYTES as u32 }>>,
        /// Source of the GPU's attestation key; never [`KeySource::Carried`].
        key: KeySource,
    },
}

impl Evidence {
    /// Returns the weight of its verification.
    pub(crate) fn weight<W: WeightInfo>(&self) -> Weight {
        match self {
            Self::Quote {
                key: KeySource::Known(_),
                ..
            } => W::renew_quote(),
            Self::Quote { .. } => W::submit_quote(),
            Self::SnpReport {
                key: KeySource::Known(_),
                ..
            } => W::renew_snp_report(),
            Self::SnpReport { .. } => W::submit_snp_report(),
            Self::GpuReport {
                key: KeySource::Known(_),
                ..
            } => W::renew_gpu_report(),
            Self::GpuReport { .. } => W::submit_gpu_report(),
        }
    }
}

/// Collateral: a vendor's publications about its devices.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Collateral {
    /// TCB info of Intel.
    #[codec(index = 0)]
    TcbInfo(SignedJson),
    /// Identity of Intel's quoting enclave.
    #[codec(index = 1)]
    QeIdentity(SignedJson),
    /// List of revoked certificates.
    #[codec(index = 2)]
    RevocationList {
        /// Vendor whose root the issuer's chain ends in.
        vendor: Vendor,
        /// List (DER).
        list: BoundedVec<u8, ConstU32<MAX_LIST_BYTES>>,
        /// Certificate of the issuer; `None` if a root issued the list.
        issuer: Option<CertificateBytes>,
    },
}

impl Collateral {
    /// Returns the weight of its verification.
    pub(crate) fn weight<W: WeightInfo>(&self) -> Weight {
        match self {
            Self::TcbInfo(signed) => W::submit_tcb_info(signed.json.len() as u32),
            Self::QeIdentity(signed) => W::submit_qe_identity(signed.json.len() as u32),
            Self::RevocationList { list, .. } => W::submit_revocation_list(list.len() as u32),
        }
    }
}

/// Signed response of Intel's service.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SignedJson {
    /// JSON object, exactly as it was sent.
    pub json: BoundedVec<u8, ConstU32<{ MAX_COLLATERAL_BYTES as u32 }>>,
    /// Signature of it.
    pub signature: [u8; 64],
    /// Chain of the signer.
    pub chain: CertificateChain,
}

/// Collateral that can replace an older one.
pub trait Supersede: Encode {
    /// Returns true if it may replace the other one: same subject, issued later, not of an earlier
    /// evaluation.
    fn supersedes(&self, other: &Self) -> bool;
}

impl Supersede for TcbInfo {
    fn supersedes(&self, other: &Self) -> bool {
        self.supersedes(other)
    }
}

impl Supersede for QeIdentity {
    fn supersedes(&self, other: &Self) -> bool {
        self.supersedes(other)
    }
}

impl Supersede for RevocationList {
    fn supersedes(&self, other: &Self) -> bool {
        self.supersedes(other)
    }
}

/// Verified collateral, and its deposit.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct CollateralRecord<Content, AccountId> {
    /// Content of the collateral.
    pub content: Content,
    /// Account that submitted it; `None` for collateral of genesis.
    pub depositor: Option<AccountId>,
    /// Plancks held from the depositor.
    pub deposit: Balance,
}

/// Key whose chain was verified.
#[allow(
    clippy::large_enum_variant,
    reason = "code handles one at a time, and keeps none of them in memory"
)]
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub enum VerifiedKey {
    /// Key of an Intel platform's quoting enclave.
    #[codec(index = 0)]
    Intel(AttestationKey),
    /// Key of an AMD chip, or of a cloud for its chips.
    #[codec(index = 1)]
    Amd(ChipKey),
    /// Key of an NVIDIA GPU.
    #[codec(index = 2)]
    Nvidia(DeviceKey),
}

impl VerifiedKey {
    /// Returns the key's identifier.
    pub fn id(&self) -> KeyId {
        let (vendor, key) = match self {
            Self::Intel(key) => (KeyVendor::Intel, key.key.as_slice()),
            Self::Amd(key) => (KeyVendor::Amd, key.key.as_slice()),
            Self::Nvidia(key) => (KeyVendor::Nvidia, key.key.as_slice()),
        };
        blake2_256(&key_message(vendor, key)).into()
    }

    /// Returns the end of its certificates' validity, in seconds since 1970.
    pub fn valid_until_s(&self) -> u64 {
        match self {
            Self::Intel(key) => key.pck.path.valid_until_s,
            Self::Amd(key) => key.path.valid_until_s,
            Self::Nvidia(key) => key.path.valid_until_s,
        }
    }
}

/// Verified key, and its deposit.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct KeyRecord<AccountId> {
    /// Key.
    pub key: VerifiedKey,
    /// Provider whose machine submitted it.
    pub owner: AccountId,
    /// Plancks held from the owner.
    pub deposit: Balance,
}

/// Returns the name of a piece of evidence: its device, [`Attestation::device`], and its kind.
pub(crate) fn evidence_id(attestation: &Attestation) -> EvidenceId {
    EvidenceId {
        device: attestation.device.into(),
        kind: match attestation.platform {
            Platform::Sgx => TeeKind::Sgx,
            Platform::Tdx => TeeKind::Tdx,
            Platform::SevSnp(_) => TeeKind::SevSnp,
            Platform::NvidiaGpu => TeeKind::NvidiaGpu,
        },
    }
}

/// Verified piece of evidence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct EvidenceRecord<BlockNumber> {
    /// Device that signed, and kind of TEE.
    pub id: EvidenceId,
    /// [`Workload::digest`] of the workload.
    pub workload: H256,
    /// Digest of the keys that it is bound to, see [`keys_digest`].
    pub keys: H256,
    /// Block that it is bound to: the evidence is not older.
    pub anchor: BlockNumber,
    /// Slot in which it ends.
    pub expires: ExpirySlot,
    /// Plancks held from the provider.
    pub deposit: Balance,
}

impl<BlockNumber> EvidenceRecord<BlockNumber> {
    /// Returns the end of its validity, in seconds since 1970.
    pub fn until_s(&self) -> u64 {
        u64::from(self.expires).saturating_mul(EXPIRY_SLOT_S)
    }
}

/// All evidence of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct MachineEvidence<AccountId, BlockNumber> {
    /// Provider of the machine, which pays the deposits. Kept even after the registry removed the machine.
    pub provider: AccountId,
    /// Pieces, no two of the same device and kind.
    pub records: BoundedVec<EvidenceRecord<BlockNumber>, ConstU32<MAX_EVIDENCE>>,
}

/// Evidence of a machine in a runtime.
pub type MachineEvidenceOf<T> =
    MachineEvidence<<T as polkadot_sdk::frame_system::Config>::AccountId, BlockNumberFor<T>>;

impl<AccountId, BlockNumber> MachineEvidence<AccountId, BlockNumber> {
    /// Returns the pieces that have not expired and are bound to these keys.
    pub fn fresh(&self, keys: H256, now_s: u64) -> impl Iterator<Item = &EvidenceRecord<BlockNumber>> {
        self.records
            .iter()
            .filter(move |record| record.keys == keys && now_s < record.until_s())
    }
}

/// Returns the digest of a machine's keys. Evidence bound to another digest is not valid.
pub fn keys_digest<T: Config>(identity: &MachineIdentity<T::AccountId>) -> H256 {
    let worker_key: [u8; 32] = identity.worker_key.clone().into();
    blake2_256(&keys_message(&worker_key, &identity.sealing_key)).into()
}

/// Policies for the acceptance of evidence.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Policies {
    /// Policy for Intel's platforms.
    pub intel: IntelPolicy,
    /// Policy for AMD's platforms.
    pub snp: SnpPolicy,
    /// Policy for NVIDIA's GPUs.
    pub nvidia: NvidiaPolicy,
}

/// Strict policies: they accept only platforms without a known weakness, and require all revocation lists.
///
/// AMD publishes no verdicts on its firmware. Governance must set a floor before it allows the first SEV-SNP
/// workload.
impl Default for Policies {
    fn default() -> Self {
        Self {
            intel: IntelPolicy::strict(),
            snp: SnpPolicy {
                floor: SnpFloor::default(),
                max_vmpl: 0,
                // Hosts without SMT are rare, and the guest's policy states only if it is allowed.
                allow_smt: true,
                allow_cloud_keys: false,
                require_list: true,
            },
            nvidia: NvidiaPolicy { require_lists: true },
        }
    }
}

/// Returns the digest to look up in the allow-list; `None` for a GPU, whose measurements were compared with
/// reference values.
pub(crate) fn digest_to_allow(workload: &Workload) -> Option<H256> {
    match workload {
        Workload::Sgx { .. } | Workload::Tdx { .. } | Workload::SevSnp { .. } => {
            Some(workload.digest().into())
        }
        Workload::NvidiaGpu { .. } => None,
    }
}

/// Reason for the refusal of evidence or collateral, as a dispatch error carries it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Refusal(pub EvidenceError);

impl PalletError for Refusal {
    /// Maximum length of an encoded [`EvidenceError`]; a test compares the two.
    const MAX_ENCODED_SIZE: usize = 3;
}
