//! Intel's collateral for its platforms: TCB info and QE identity, JSON texts signed by a TCB signer.

use alloc::{string::String, vec::Vec};

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, de::DeserializeOwned};

use super::pck::all_covered;
use crate::{
    Hash,
    error::{EvidenceError, Part},
    hash::blake2_256,
    tcb::TcbStatus,
    x509::{
        Path, RevocationList, TrustRoots,
        key::{Algorithm, PublicKey, p256_verifies},
        reader::rfc3339_s,
        verify_path,
    },
};

/// Maximum length of collateral in bytes; genuine collateral has 6 kB.
pub const MAX_COLLATERAL_BYTES: usize = 64 * 1_024;

/// Maximum number of levels of one list; genuine lists have about 20.
pub const MAX_TCB_LEVELS: u32 = 64;

/// Maximum number of advisories that apply to a level.
pub const MAX_ADVISORIES: u32 = 128;

/// Maximum number of TDX module identities.
const MAX_MODULES: u32 = 16;

/// Name of a security advisory, such as `INTEL-SA-00615`.
pub type Advisory = BoundedVec<u8, ConstU32<24>>;

/// Advisories that apply to a level.
pub type Advisories = BoundedVec<Advisory, ConstU32<MAX_ADVISORIES>>;

/// TEE of Intel's that collateral is for.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, serde::Serialize))]
pub enum IntelTee {
    /// SGX.
    #[codec(index = 0)]
    Sgx,
    /// TDX.
    #[codec(index = 1)]
    Tdx,
}

/// Subject of a TCB info.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, serde::Serialize))]
pub struct TcbInfoId {
    /// TEE.
    pub tee: IntelTee,
    /// Family of processors.
    #[cfg_attr(feature = "client", serde(serialize_with = "crate::client::as_hex"))]
    pub fmspc: [u8; 6],
    /// Certifying enclave.
    #[cfg_attr(feature = "client", serde(serialize_with = "crate::client::as_hex"))]
    pub pce_id: [u8; 2],
}

/// Set of least security versions, with Intel's verdict on platforms that reach it but no better one.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct TcbLevel {
    /// Least security versions of the processor's components.
    pub sgx: [u8; 16],
    /// Least security version of the certifying enclave.
    pub pce: u16,
    /// Least security versions of TDX's components; `None` in a TCB info for SGX.
    pub tdx: Option<[u8; 16]>,
    /// Date of the level, in seconds since 1970.
    pub date_s: u64,
    /// Verdict on such platforms.
    pub status: TcbStatus,
    /// Advisories that apply to such platforms.
    pub advisories: Advisories,
}

/// Level of a TDX module or of the quoting enclave, defined by one security version.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct ModuleLevel {
    /// Least security version.
    pub security_version: u16,
    /// Date of the level, in seconds since 1970.
    pub date_s: u64,
    /// Verdict at this level.
    pub status: TcbStatus,
    /// Advisories that apply at this level.
    pub advisories: Advisories,
}

/// Level of the quoting enclave.
pub type QeLevel = ModuleLevel;

/// Required properties of a TDX module.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct SeamModule {
    /// Signer of the module; zeros for Intel.
    pub mr_signer: [u8; 48],
    /// Attributes of the module.
    pub attributes: [u8; 8],
    /// Mask of the attribute bits that are compared; the others must be zero.
    pub attributes_mask: [u8; 8],
}

/// Version of the TDX module, with its levels.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct ModuleIdentity {
    /// Version number.
    pub version: u8,
    /// Required properties.
    pub module: SeamModule,
    /// Levels, the highest first.
    pub levels: BoundedVec<ModuleLevel, ConstU32<MAX_TCB_LEVELS>>,
}

/// Verified TCB info of a family of processors, for storage.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct TcbInfo {
    /// Chain of the signer, which must be valid at every use.
    pub path: Path,
    /// TEE that the info is for.
    pub tee: IntelTee,
    /// Family of processors.
    pub fmspc: [u8; 6],
    /// Identity of the certifying enclave.
    pub pce_id: [u8; 2],
    /// Number of Intel's evaluation.
    pub evaluation: u32,
    /// Time of issue, in seconds since 1970.
    pub issued_s: u64,
    /// Time by which a newer one is due, in seconds since 1970.
    pub next_update_s: u64,
    /// Levels, the highest first.
    pub levels: BoundedVec<TcbLevel, ConstU32<MAX_TCB_LEVELS>>,
    /// Required properties of TDX modules of any version; `None` for SGX.
    pub module: Option<SeamModule>,
    /// Versions of the TDX module.
    pub module_identities: BoundedVec<ModuleIdentity, ConstU32<MAX_MODULES>>,
}

impl TcbInfo {
    /// Returns the identifier of the subject: a newer info replaces an older one with the same identifier.
    pub fn id(&self) -> TcbInfoId {
        TcbInfoId {
            tee: self.tee,
            fmspc: self.fmspc,
            pce_id: self.pce_id,
        }
    }

    /// Returns the key that versions of the same collateral share: a newer one replaces an older one under
    /// it.
    pub fn key(&self) -> Hash {
        let tee = self.tee.encode();
        blake2_256(&[b"assay/evidence/tcb-info/v1", &tee, &self.fmspc, &self.pce_id])
    }

    /// Returns true if this info may replace the other: same subject, issued later, and of no earlier
    /// evaluation.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.key() == other.key() && self.evaluation >= other.evaluation && self.issued_s > other.issued_s
    }
}

/// Verified identity of Intel's quoting enclave, for storage.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct QeIdentity {
    /// Chain of the signer, which must be valid at every use.
    pub path: Path,
    /// TEE that the quoting enclave serves.
    pub tee: IntelTee,
    /// Number of Intel's evaluation.
    pub evaluation: u32,
    /// Time of issue, in seconds since 1970.
    pub issued_s: u64,
    /// Time by which a newer one is due, in seconds since 1970.
    pub next_update_s: u64,
    /// Extended features of the enclave.
    pub misc_select: u32,
    /// Mask of the feature bits that are compared.
    pub misc_select_mask: u32,
    /// Attributes of the enclave.
    pub attributes: [u8; 16],
    /// Mask of the attribute bits that are compared.
    pub attributes_mask: [u8; 16],
    /// Signer of the enclave.
    pub mr_signer: [u8; 32],
    /// Product number that the signer gave to it.
    pub product_id: u16,
    /// Levels, the highest first.
    pub levels: BoundedVec<QeLevel, ConstU32<MAX_TCB_LEVELS>>,
}

impl QeIdentity {
    /// Returns true if this identity may replace the other: same enclave, issued later, and of no earlier
    /// evaluation.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.tee == other.tee && self.evaluation >= other.evaluation && self.issued_s > other.issued_s
    }
}

/// Verifies a TCB info.
///
/// `json` is the object exactly as Intel's service sends it, with its signature of 64 bytes. `chain` is the
/// signer's (DER): the signer's certificate, then optionally the root's. `lists` must hold the root's
/// revocation list. Costs two signature verifications.
pub fn verify_tcb_info(
    json: &[u8],
    signature: &[u8; 64],
    chain: &[&[u8]],
    roots: &TrustRoots,
    lists: &[RevocationList],
    now_s: u64,
) -> Result<TcbInfo, EvidenceError> {
    const PART: Part = Part::TcbInfo;
    let path = verify_signed_json(PART, json, signature, chain, roots, lists, now_s)?;
    let read: JsonTcbInfo = read_json(PART, json)?;
    let info = read.into_verified(path).ok_or(EvidenceError::Malformed(PART))?;
    check_time(PART, info.issued_s, info.next_update_s, now_s)?;
    Ok(info)
}

/// Verifies a QE identity; like [`verify_tcb_info`].
pub fn verify_qe_identity(
    json: &[u8],
    signature: &[u8; 64],
    chain: &[&[u8]],
    roots: &TrustRoots,
    lists: &[RevocationList],
    now_s: u64,
) -> Result<QeIdentity, EvidenceError> {
    const PART: Part = Part::QeIdentity;
    let path = verify_signed_json(PART, json, signature, chain, roots, lists, now_s)?;
    let read: JsonQeIdentity = read_json(PART, json)?;
    let identity = read.into_verified(path).ok_or(EvidenceError::Malformed(PART))?;
    check_time(PART, identity.issued_s, identity.next_update_s, now_s)?;
    Ok(identity)
}

pub(super) fn check_time(
    part: Part,
    issued_s: u64,
    next_update_s: u64,
    now_s: u64,
) -> Result<(), EvidenceError> {
    if now_s < issued_s {
        return Err(EvidenceError::NotYetValid(part));
    }
    if now_s > next_update_s {
        return Err(EvidenceError::Expired(part));
    }
    Ok(())
}

/// Verifies the signature before it parses the JSON.
fn verify_signed_json(
    part: Part,
    json: &[u8],
    signature: &[u8; 64],
    chain: &[&[u8]],
    roots: &TrustRoots,
    lists: &[RevocationList],
    now_s: u64,
) -> Result<Path, EvidenceError> {
    if json.len() > MAX_COLLATERAL_BYTES {
        return Err(EvidenceError::TooLong(part));
    }
    // The root issues the signer's certificate itself: no certificate below an authority can sign collateral.
    let verified = verify_path(chain, 1..=1, Algorithm::EcdsaSha256, &roots.intel, now_s)?;
    verified.path.check(&roots.intel, all_covered(lists), now_s)?;
    let signer = verified
        .certificates
        .first()
        .ok_or(EvidenceError::WrongChainLength)?;
    let PublicKey::P256(key) = signer.key else {
        return Err(EvidenceError::UnsupportedAlgorithm(Part::Certificate));
    };
    if !p256_verifies(key, json, signature) {
        return Err(EvidenceError::BadSignature(part));
    }
    Ok(verified.path)
}

fn read_json<T: DeserializeOwned>(part: Part, json: &[u8]) -> Result<T, EvidenceError> {
    serde_json::from_slice(json).map_err(|_| EvidenceError::Malformed(part))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonTcbInfo {
    id: String,
    version: u32,
    issue_date: String,
    next_update: String,
    fmspc: String,
    pce_id: String,
    tcb_evaluation_data_number: u32,
    tcb_levels: Vec<JsonTcbLevel>,
    tdx_module: Option<JsonModule>,
    #[serde(default)]
    tdx_module_identities: Vec<JsonModuleIdentity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonTcbLevel {
    tcb: JsonTcb,
    tcb_date: String,
    tcb_status: TcbStatus,
    #[serde(rename = "advisoryIDs", default)]
    advisories: Vec<String>,
}

#[derive(Deserialize)]
struct JsonTcb {
    #[serde(rename = "sgxtcbcomponents")]
    sgx: Vec<JsonComponent>,
    #[serde(rename = "pcesvn")]
    pce: u16,
    #[serde(rename = "tdxtcbcomponents")]
    tdx: Option<Vec<JsonComponent>>,
}

#[derive(Deserialize)]
struct JsonComponent {
    svn: u8,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonModule {
    mrsigner: String,
    attributes: String,
    attributes_mask: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonModuleIdentity {
    id: String,
    #[serde(flatten)]
    module: JsonModule,
    tcb_levels: Vec<JsonModuleLevel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonModuleLevel {
    tcb: JsonModuleTcb,
    tcb_date: String,
    tcb_status: TcbStatus,
    #[serde(rename = "advisoryIDs", default)]
    advisories: Vec<String>,
}

#[derive(Deserialize)]
struct JsonModuleTcb {
    isvsvn: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonQeIdentity {
    id: String,
    version: u32,
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
    miscselect: String,
    miscselect_mask: String,
    attributes: String,
    attributes_mask: String,
    mrsigner: String,
    isvprodid: u16,
    tcb_levels: Vec<JsonModuleLevel>,
}

impl JsonTcbInfo {
    fn into_verified(self, path: Path) -> Option<TcbInfo> {
        let tee = match (self.id.as_str(), self.version) {
            ("SGX", 3) => IntelTee::Sgx,
            ("TDX", 3) => IntelTee::Tdx,
            _ => return None,
        };
        let mut levels = self
            .tcb_levels
            .into_iter()
            .map(|level| level.into_level(tee))
            .collect::<Option<Vec<_>>>()?;
        // The order in the text is not relied on; Intel's verifier does not rely on it either.
        levels.sort_by_key(|level| core::cmp::Reverse((level.sgx, level.pce, level.tdx)));
        let module_identities = self
            .tdx_module_identities
            .into_iter()
            .map(JsonModuleIdentity::into_identity)
            .collect::<Option<Vec<_>>>()?;
        let module = match self.tdx_module {
            Some(module) => Some(module.into_module()?),
            None => None,
        };
        if (tee == IntelTee::Tdx) != module.is_some() {
            return None;
        }
        Some(TcbInfo {
            path,
            tee,
            fmspc: from_hex(&self.fmspc)?,
            pce_id: from_hex(&self.pce_id)?,
            evaluation: self.tcb_evaluation_data_number,
            issued_s: rfc3339_s(&self.issue_date)?,
            next_update_s: rfc3339_s(&self.next_update)?,
            levels: levels.try_into().ok()?,
            module,
            module_identities: module_identities.try_into().ok()?,
        })
    }
}

impl JsonTcbLevel {
    fn into_level(self, tee: IntelTee) -> Option<TcbLevel> {
        let tdx = match (tee, self.tcb.tdx) {
            (IntelTee::Sgx, _) => None,
            (IntelTee::Tdx, components) => Some(sixteen(&components?)?),
        };
        Some(TcbLevel {
            sgx: sixteen(&self.tcb.sgx)?,
            pce: self.tcb.pce,
            tdx,
            date_s: rfc3339_s(&self.tcb_date)?,
            status: listed(self.tcb_status)?,
            advisories: advisories(self.advisories)?,
        })
    }
}

impl JsonModule {
    fn into_module(self) -> Option<SeamModule> {
        Some(SeamModule {
            mr_signer: from_hex(&self.mrsigner)?,
            attributes: from_hex(&self.attributes)?,
            attributes_mask: from_hex(&self.attributes_mask)?,
        })
    }
}

impl JsonModuleIdentity {
    fn into_identity(self) -> Option<ModuleIdentity> {
        let [version] = from_hex(self.id.strip_prefix("TDX_")?)?;
        Some(ModuleIdentity {
            version,
            module: self.module.into_module()?,
            levels: module_levels(self.tcb_levels)?,
        })
    }
}

impl JsonQeIdentity {
    fn into_verified(self, path: Path) -> Option<QeIdentity> {
        let tee = match (self.id.as_str(), self.version) {
            ("QE", 2) => IntelTee::Sgx,
            ("TD_QE", 2 | 3) => IntelTee::Tdx,
            _ => return None,
        };
        Some(QeIdentity {
            path,
            tee,
            evaluation: self.tcb_evaluation_data_number,
            issued_s: rfc3339_s(&self.issue_date)?,
            next_update_s: rfc3339_s(&self.next_update)?,
            misc_select: u32::from_le_bytes(from_hex(&self.miscselect)?),
            misc_select_mask: u32::from_le_bytes(from_hex(&self.miscselect_mask)?),
            attributes: from_hex(&self.attributes)?,
            attributes_mask: from_hex(&self.attributes_mask)?,
            mr_signer: from_hex(&self.mrsigner)?,
            product_id: self.isvprodid,
            levels: module_levels(self.tcb_levels)?,
        })
    }
}

fn module_levels(levels: Vec<JsonModuleLevel>) -> Option<BoundedVec<ModuleLevel, ConstU32<MAX_TCB_LEVELS>>> {
    let mut levels = levels
        .into_iter()
        .map(|level| {
            Some(ModuleLevel {
                security_version: level.tcb.isvsvn,
                date_s: rfc3339_s(&level.tcb_date)?,
                status: listed(level.tcb_status)?,
                advisories: advisories(level.advisories)?,
            })
        })
        .collect::<Option<Vec<_>>>()?;
    levels.sort_by_key(|level| core::cmp::Reverse(level.security_version));
    levels.try_into().ok()
}

/// Refuses relaunch advice: it is a conclusion and never the status of a listed level.
fn listed(status: TcbStatus) -> Option<TcbStatus> {
    let concluded = matches!(
        status,
        TcbStatus::TdRelaunchAdvised | TcbStatus::TdRelaunchAdvisedConfigurationNeeded
    );
    (!concluded).then_some(status)
}

fn sixteen(components: &[JsonComponent]) -> Option<[u8; 16]> {
    let versions: Vec<u8> = components.iter().map(|component| component.svn).collect();
    versions.try_into().ok()
}

fn advisories(names: Vec<String>) -> Option<Advisories> {
    let names = names
        .into_iter()
        .map(|name| Advisory::try_from(name.into_bytes()).ok())
        .collect::<Option<Vec<_>>>()?;
    names.try_into().ok()
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = *pair else { return None };
        *byte = (digit(high)? << 4) | digit(low)?;
    }
    Some(bytes)
}
