//! What is submitted, and what the pallet keeps of it.

use alloc::{string::String, vec::Vec};

use assay_evidence::{
    Attestation, EvidenceError, MAX_CERTIFICATE_BYTES, MAX_CHAIN_CERTIFICATES, Platform, RevocationList,
    Workload,
    intel::{
        AttestationKey, IntelPolicy, MAX_COLLATERAL_BYTES, MAX_QUOTE_BYTES, QeIdentity, TcbInfo,
        TeeKind as IntelTee,
    },
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
    sp_core::{Bytes, H256},
    sp_io::hashing::blake2_256,
};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

pub use assay_primitives::attestation::{DeviceHash, EXPIRY_SLOT_S, EvidenceId, Vendor};

use crate::{Config, WeightInfo};

/// Most pieces of evidence of one machine: one of each kind for its processor, and one for each GPU.
pub const MAX_EVIDENCE: u32 = MAX_SLOTS as u32 + 3;

/// Bytes of the longest list of revoked certificates that can be submitted; Intel's longest had 3 kB in 2026.
pub const MAX_LIST_BYTES: u32 = 64 * 1_024;

/// A moment at which evidence ends: seconds since 1970, divided by [`EXPIRY_SLOT_S`].
pub type ExpirySlot = u32;

/// Names a verified key.
pub type KeyId = H256;

/// A certificate (DER).
pub type CertificateBytes = BoundedVec<u8, ConstU32<{ MAX_CERTIFICATE_BYTES as u32 }>>;

/// A chain of certificates, the device's first, optionally with the root's at the end.
pub type CertificateChain = BoundedVec<CertificateBytes, ConstU32<{ MAX_CHAIN_CERTIFICATES as u32 }>>;

/// What a workload is called, for readers outside.
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

/// Where the key comes from that signed a piece of evidence.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum KeySource {
    /// It is on chain: an earlier submission brought its chain.
    #[codec(index = 0)]
    Known(KeyId),
    /// The evidence carries its chain, as most quotes do.
    #[codec(index = 1)]
    Carried,
    /// This is its chain.
    #[codec(index = 2)]
    Chain(CertificateChain),
}

/// A piece of evidence, as the device gave it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Evidence {
    /// An SGX or TDX quote.
    #[codec(index = 0)]
    Quote {
        /// The quote.
        quote: BoundedVec<u8, ConstU32<{ MAX_QUOTE_BYTES as u32 }>>,
        /// Where its attestation key comes from.
        key: KeySource,
    },
    /// A SEV-SNP report.
    #[codec(index = 1)]
    SnpReport {
        /// The report.
        report: BoundedVec<u8, ConstU32<{ REPORT_BYTES as u32 }>>,
        /// Where the chip's key comes from; never carried.
        key: KeySource,
    },
    /// A GPU's measurements: SPDM request and response.
    #[codec(index = 2)]
    GpuReport {
        /// Request and response, one behind the other.
        report: BoundedVec<u8, ConstU32<{ MAX_REPORT_BYTES as u32 }>>,
        /// Where the GPU's attestation key comes from; never carried.
        key: KeySource,
    },
}

impl Evidence {
    /// What it costs to verify.
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

/// What a vendor publishes about its devices.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Collateral {
    /// Intel's TCB info.
    #[codec(index = 0)]
    TcbInfo(SignedJson),
    /// Intel's identity of the quoting enclave.
    #[codec(index = 1)]
    QeIdentity(SignedJson),
    /// A list of revoked certificates.
    #[codec(index = 2)]
    RevocationList {
        /// Below whose root the issuer is.
        vendor: Vendor,
        /// The list (DER).
        list: BoundedVec<u8, ConstU32<MAX_LIST_BYTES>>,
        /// The issuer's certificate; nothing where a root issued the list.
        issuer: Option<CertificateBytes>,
    },
}

impl Collateral {
    /// What it costs to verify.
    pub(crate) fn weight<W: WeightInfo>(&self) -> Weight {
        match self {
            Self::TcbInfo(signed) => W::submit_tcb_info(signed.json.len() as u32),
            Self::QeIdentity(signed) => W::submit_qe_identity(signed.json.len() as u32),
            Self::RevocationList { list, .. } => W::submit_revocation_list(list.len() as u32),
        }
    }
}

/// What Intel's service sends.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SignedJson {
    /// The JSON object, exactly as it was sent.
    pub json: BoundedVec<u8, ConstU32<{ MAX_COLLATERAL_BYTES as u32 }>>,
    /// The signature beside it.
    pub signature: [u8; 64],
    /// The signer's chain.
    pub chain: CertificateChain,
}

/// Names a piece of collateral: where a newer one takes an older one's place.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum CollateralId {
    /// A TCB info.
    #[codec(index = 0)]
    TcbInfo(TcbInfoId),
    /// The identity of a TEE's quoting enclave.
    #[codec(index = 1)]
    QeIdentity(IntelTee),
    /// The list of this issuer, by the hash of its name and key.
    #[codec(index = 2)]
    RevocationList(H256),
}

/// What a TCB info is for.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct TcbInfoId {
    /// The TEE.
    pub tee: IntelTee,
    /// The family of processors.
    pub fmspc: [u8; 6],
    /// The certifying enclave.
    pub pce_id: [u8; 2],
}

/// Collateral that can take the place of an older one.
pub trait Supersede: Encode {
    /// Whether it may take the other one's place: of the same thing, issued later, not of an earlier evaluation.
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

/// Verified collateral, and who pays for its place.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct CollateralRecord<Content, AccountId> {
    /// What it says.
    pub content: Content,
    /// Who brought it; nobody where genesis did.
    pub depositor: Option<AccountId>,
    /// Plancks held from the depositor.
    pub deposit: Balance,
}

/// A key whose chain was verified.
#[allow(
    clippy::large_enum_variant,
    reason = "one at a time is looked at, and none of them is kept in memory"
)]
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub enum VerifiedKey {
    /// Of an Intel platform's quoting enclave.
    #[codec(index = 0)]
    Intel(AttestationKey),
    /// Of an AMD chip, or of a cloud for its chips.
    #[codec(index = 1)]
    Amd(ChipKey),
    /// Of an NVIDIA GPU.
    #[codec(index = 2)]
    Nvidia(DeviceKey),
}

impl VerifiedKey {
    /// What it is called.
    pub fn id(&self) -> KeyId {
        let (vendor, key) = match self {
            Self::Intel(key) => (KeyVendor::Intel, key.key.as_slice()),
            Self::Amd(key) => (KeyVendor::Amd, key.key.as_slice()),
            Self::Nvidia(key) => (KeyVendor::Nvidia, key.key.as_slice()),
        };
        blake2_256(&key_message(vendor, key)).into()
    }

    /// Until when its certificates are valid, in seconds since 1970.
    pub fn valid_until_s(&self) -> u64 {
        match self {
            Self::Intel(key) => key.pck.path.valid_until_s,
            Self::Amd(key) => key.path.valid_until_s,
            Self::Nvidia(key) => key.path.valid_until_s,
        }
    }
}

/// A verified key, and who pays for its place.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct KeyRecord<AccountId> {
    /// The key.
    pub key: VerifiedKey,
    /// The provider whose machine brought it.
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

/// A piece of evidence that was verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct EvidenceRecord<BlockNumber> {
    /// What signed.
    pub id: EvidenceId,
    /// [`Workload::digest`] of what runs there.
    pub workload: H256,
    /// The keys that it is bound to, see [`keys_digest`].
    pub keys: H256,
    /// The block that it is bound to: it is not older.
    pub anchor: BlockNumber,
    /// When it ends.
    pub expires: ExpirySlot,
    /// Plancks held from the provider.
    pub deposit: Balance,
}

impl<BlockNumber> EvidenceRecord<BlockNumber> {
    /// Until when it counts, in seconds since 1970.
    pub fn until_s(&self) -> u64 {
        u64::from(self.expires).saturating_mul(EXPIRY_SLOT_S)
    }
}

/// All evidence of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct MachineEvidence<AccountId, BlockNumber> {
    /// Whose machine it is, also when the registry has forgotten it: who has the deposits.
    pub provider: AccountId,
    /// Each piece, no two of the same device and kind.
    pub records: BoundedVec<EvidenceRecord<BlockNumber>, ConstU32<MAX_EVIDENCE>>,
}

/// The evidence of a machine in a runtime.
pub type MachineEvidenceOf<T> =
    MachineEvidence<<T as polkadot_sdk::frame_system::Config>::AccountId, BlockNumberFor<T>>;

impl<AccountId, BlockNumber> MachineEvidence<AccountId, BlockNumber> {
    /// The pieces that have not expired and are bound to these keys.
    pub fn fresh(&self, keys: H256, now_s: u64) -> impl Iterator<Item = &EvidenceRecord<BlockNumber>> {
        self.records
            .iter()
            .filter(move |record| record.keys == keys && now_s < record.until_s())
    }
}

/// What evidence of a machine is compared by when its keys change.
pub fn keys_digest<T: Config>(identity: &MachineIdentity<T::AccountId>) -> H256 {
    let worker_key: [u8; 32] = identity.worker_key.clone().into();
    blake2_256(&keys_message(&worker_key, &identity.sealing_key)).into()
}

/// What is accepted, of each vendor.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Policies {
    /// Of Intel's platforms.
    pub intel: IntelPolicy,
    /// Of AMD's platforms.
    pub snp: SnpPolicy,
    /// Of NVIDIA's GPUs.
    pub nvidia: NvidiaPolicy,
}

/// Only what nothing is known against, with all revocation lists at hand.
///
/// AMD publishes no verdicts, so nothing is known of its firmware before governance sets a floor: it has to do that before it
/// allows the first SEV-SNP workload.
impl Default for Policies {
    fn default() -> Self {
        Self {
            intel: IntelPolicy::strict(),
            snp: SnpPolicy {
                floor: SnpFloor::default(),
                max_vmpl: 0,
                // Hosts without it are rare, and the guest's policy says only whether it is allowed.
                allow_smt: true,
                allow_cloud_keys: false,
                require_list: true,
            },
            nvidia: NvidiaPolicy { require_lists: true },
        }
    }
}

/// The digest of a workload that an allow-list has to decide about; none for a GPU, whose measurements were compared with
/// reference values.
pub(crate) fn digest_to_allow(workload: &Workload) -> Option<H256> {
    match workload {
        Workload::Sgx { .. } | Workload::Tdx { .. } | Workload::SevSnp { .. } => {
            Some(workload.digest().into())
        }
        Workload::NvidiaGpu { .. } => None,
    }
}

/// Why evidence or collateral was refused, as a dispatch error carries it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Refusal(pub EvidenceError);

impl PalletError for Refusal {
    /// Of [`EvidenceError`]; a test compares it with that.
    const MAX_ENCODED_SIZE: usize = 3;
}

/// A root as genesis configurations spell it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisRoot {
    /// Whose it is.
    pub vendor: Vendor,
    /// The certificate (DER).
    pub certificate: Bytes,
}

/// A workload as genesis configurations spell it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisWorkload {
    /// Its digest.
    pub digest: H256,
    /// What it is called; at most 64 bytes.
    pub name: String,
}

/// The roots that every chain begins with unless its genesis says otherwise: those that the vendors publish.
pub fn vendors_genesis_roots() -> Vec<GenesisRoot> {
    use assay_evidence::vendor_roots::{
        AMD_ARK_GENOA, AMD_ARK_MILAN, AMD_ARK_TURIN, INTEL_SGX_ROOT, NVIDIA_DEVICE_IDENTITY,
    };
    [
        (Vendor::Intel, INTEL_SGX_ROOT),
        (Vendor::AmdMilan, AMD_ARK_MILAN),
        (Vendor::AmdGenoa, AMD_ARK_GENOA),
        (Vendor::AmdTurin, AMD_ARK_TURIN),
        (Vendor::Nvidia, NVIDIA_DEVICE_IDENTITY),
    ]
    .into_iter()
    .map(|(vendor, certificate)| GenesisRoot {
        vendor,
        certificate: Bytes(certificate.to_vec()),
    })
    .collect()
}
