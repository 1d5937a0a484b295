//! Attestation reports, versions 2 to 5.
//!
//! Source: AMD, *SEV Secure Nested Paging Firmware ABI Specification* (56860), tables 9, 22 and 23.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use super::{
    certificate::{ChipKey, ChipKeyKind, revocation_rule},
    product::{CHIP_ID_BYTES, Product, SnpFloor, SnpTcb},
};
use crate::{
    attestation::{Attestation, DeviceNumbering, Platform, Unbound, Workload, device_hash},
    bytes::Bytes,
    error::{EvidenceError, Part},
    tcb::{Tcb, TcbStatus},
    x509::{RevocationList, TrustRoots, key::p384_verifies},
};

/// Length in bytes of a report with its signature.
pub const REPORT_BYTES: usize = 1_184;

/// Length in bytes of the signed part.
const SIGNED_BYTES: usize = 672;

/// Length in bytes of each number of the signature, little-endian, and of its significant part.
const NUMBER_BYTES: usize = 72;
const SCALAR_BYTES: usize = 48;

/// Signature algorithm: ECDSA on P-384 with SHA-384.
const ECDSA_P384_SHA384: u32 = 1;

const POLICY_SMT: u64 = 1 << 16;
/// Guest policy: a migration agent may be bound to the guest and move it to another machine.
const POLICY_MIGRATION: u64 = 1 << 18;
const POLICY_DEBUG: u64 = 1 << 19;

/// Key information: the host hides the id of the chip and signs with no key.
const KEY_MASKED: u32 = 1 << 1;

const MALFORMED: EvidenceError = EvidenceError::Malformed(Part::SnpReport);

/// Acceptance policy for AMD's platforms.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct SnpPolicy {
    /// Least security versions.
    pub floor: SnpFloor,
    /// Least privileged guest level that may request a report; 0 is the most privileged.
    pub max_vmpl: u32,
    /// True if two threads may share a core.
    pub allow_smt: bool,
    /// True if keys of clouds (VLEK) are accepted beside those of chips.
    pub allow_cloud_keys: bool,
    /// True if the root's list of revoked authorities is required.
    pub require_list: bool,
}

/// Verifies a report with a previously verified key. Costs one signature verification.
///
/// Checks everything again that can change after the key's verification: roots, times and revocation.
pub fn verify_report(
    report: &[u8],
    key: &ChipKey,
    lists: &[RevocationList],
    roots: &TrustRoots,
    policy: &SnpPolicy,
    now_s: u64,
) -> Result<Unbound, EvidenceError> {
    let report: &[u8; REPORT_BYTES] = report.try_into().map_err(|_| MALFORMED)?;
    let version = u32::from_le_bytes(*Bytes(report).array().ok_or(MALFORMED)?);
    if !matches!(version, 2..=5) {
        return Err(EvidenceError::UnsupportedVersion {
            part: Part::SnpReport,
            version: u8::try_from(version).unwrap_or(u8::MAX),
        });
    }
    let read = Report::read(report, key.product).ok_or(MALFORMED)?;
    if read.algorithm != ECDSA_P384_SHA384 {
        return Err(EvidenceError::UnsupportedAlgorithm(Part::SnpReport));
    }
    // Version 2 does not name the processor; the root does.
    if version >= 3 && Product::of_cpu(read.cpu_family, read.cpu_model) != Some(key.product) {
        return Err(EvidenceError::ProductMismatch);
    }
    let trusted = roots
        .amd
        .iter()
        .filter(|amd| amd.product == key.product)
        .map(|amd| &amd.root);
    let expires_s = key
        .path
        .check(trusted, revocation_rule(lists, policy.require_list), now_s)?;

    check_key(&read, key, policy)?;
    check_guest(&read, policy)?;
    let floor = match key.product {
        Product::Milan => &policy.floor.milan,
        Product::Genoa => &policy.floor.genoa,
        Product::Turin => &policy.floor.turin,
    };
    // The host cannot roll back below the committed versions. The key was derived for the reported versions.
    if !read.reported.is_at_least(floor) || !read.committed.is_at_least(floor) {
        return Err(EvidenceError::TcbBelowFloor);
    }
    if !p384_verifies(&key.key, read.signed, &read.signature) {
        return Err(EvidenceError::BadSignature(Part::SnpReport));
    }
    Ok(Unbound::new(Attestation {
        platform: Platform::SevSnp(key.product),
        device: device_hash(DeviceNumbering::Amd, read.chip_id),
        report_data: *read.report_data,
        workload: Workload::SevSnp {
            measurement: *read.measurement,
            host_data: *read.host_data,
            id_key_digest: *read.id_key_digest,
            author_key_digest: *read.author_key_digest,
        },
        tcb: Tcb {
            status: TcbStatus::UpToDate,
            date_s: None,
        },
        expires_s,
    }))
}

/// Returns the product that a report names; `None` before version 3. Not verified, like [`ReportClaims`].
pub fn product_of_report(report: &[u8]) -> Result<Option<Product>, EvidenceError> {
    let report: &[u8; REPORT_BYTES] = report.try_into().map_err(|_| MALFORMED)?;
    let version = u32::from_le_bytes(*Bytes(report).array().ok_or(MALFORMED)?);
    // The processor's numbers are at the same offset for all products.
    let read = Report::read(report, Product::Milan).ok_or(MALFORMED)?;
    Ok((version >= 3)
        .then(|| Product::of_cpu(read.cpu_family, read.cpu_model))
        .flatten())
}

/// Claims of a report, not verified.
///
/// A guest uses them to find the certificate for its own report. Never trust them in reports of others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportClaims {
    /// Id of the chip.
    pub chip_id: [u8; CHIP_ID_BYTES],
    /// Security versions that the signing key was derived for.
    pub reported: SnpTcb,
    /// True if a cloud's key (VLEK) signed instead of the chip's own.
    pub is_cloud_key: bool,
    /// Data that the requester put into the report.
    pub report_data: [u8; 64],
    /// Data that the host gave to the firmware at the guest's start.
    pub host_data: [u8; 32],
    /// Hash of the key that signed the guest's identity block; zeros without one.
    pub id_key_digest: [u8; 48],
    /// Hash of the key that signed the identity key; zeros without one.
    pub author_key_digest: [u8; 48],
}

impl ReportClaims {
    /// Reads a report of this product.
    pub fn read(report: &[u8], product: Product) -> Result<Self, EvidenceError> {
        let report: &[u8; REPORT_BYTES] = report.try_into().map_err(|_| MALFORMED)?;
        let read = Report::read(report, product).ok_or(MALFORMED)?;
        Ok(Self {
            chip_id: *read.chip_id,
            reported: read.reported,
            is_cloud_key: (read.key_information >> 2) & 7 == 1,
            report_data: *read.report_data,
            host_data: *read.host_data,
            id_key_digest: *read.id_key_digest,
            author_key_digest: *read.author_key_digest,
        })
    }
}

/// Checks that the report names the verified key.
fn check_key(report: &Report<'_>, key: &ChipKey, policy: &SnpPolicy) -> Result<(), EvidenceError> {
    if report.key_information & KEY_MASKED != 0 || report.chip_id == &[0; CHIP_ID_BYTES] {
        return Err(EvidenceError::DeviceHidden);
    }
    // Bits 2 to 4: 0 for a chip's key, 1 for a cloud's.
    match (&key.kind, (report.key_information >> 2) & 7) {
        (ChipKeyKind::Chip { chip_id }, 0) => {
            if report.chip_id != chip_id {
                return Err(EvidenceError::ChipMismatch);
            }
        }
        (ChipKeyKind::Cloud { .. }, 1) if policy.allow_cloud_keys => {}
        _ => return Err(EvidenceError::SigningKeyMismatch),
    }
    if report.reported != key.tcb {
        return Err(EvidenceError::TcbMismatch);
    }
    Ok(())
}

fn check_guest(report: &Report<'_>, policy: &SnpPolicy) -> Result<(), EvidenceError> {
    if report.policy & POLICY_DEBUG != 0 {
        return Err(EvidenceError::Debuggable);
    }
    if report.policy & POLICY_MIGRATION != 0 {
        return Err(EvidenceError::Migratable);
    }
    if report.policy & POLICY_SMT != 0 && !policy.allow_smt {
        return Err(EvidenceError::UnsafeAttributes);
    }
    if report.vmpl > policy.max_vmpl {
        return Err(EvidenceError::PrivilegeLevelRefused {
            vmpl: u8::try_from(report.vmpl).unwrap_or(u8::MAX),
        });
    }
    Ok(())
}

/// Report as slices of its bytes.
struct Report<'a> {
    signed: &'a [u8],
    policy: u64,
    vmpl: u32,
    algorithm: u32,
    key_information: u32,
    report_data: &'a [u8; 64],
    measurement: &'a [u8; 48],
    host_data: &'a [u8; 32],
    id_key_digest: &'a [u8; 48],
    author_key_digest: &'a [u8; 48],
    reported: SnpTcb,
    cpu_family: u8,
    cpu_model: u8,
    chip_id: &'a [u8; CHIP_ID_BYTES],
    committed: SnpTcb,
    /// Signature: the numbers `r ‖ s`, big-endian.
    signature: [u8; 96],
}

impl<'a> Report<'a> {
    fn read(report: &'a [u8; REPORT_BYTES], product: Product) -> Option<Self> {
        let (signed, signature) = report.split_at(SIGNED_BYTES);
        let mut bytes = Bytes(signed);
        // Version and security version of the guest.
        bytes.skip(4 + 4)?;
        let policy = bytes.u64_le()?;
        // Family and image ids.
        bytes.skip(16 + 16)?;
        let vmpl = bytes.u32_le()?;
        let algorithm = bytes.u32_le()?;
        // Current versions, which the host can roll back to the committed ones, and the platform's
        // configuration.
        bytes.skip(8 + 8)?;
        let key_information = bytes.u32_le()?;
        bytes.skip(4)?;
        let report_data = bytes.array()?;
        let measurement = bytes.array()?;
        let host_data = bytes.array()?;
        let id_key_digest = bytes.array()?;
        let author_key_digest = bytes.array()?;
        // Ids of the report and of its migration agent's report.
        bytes.skip(32 + 32)?;
        let reported = SnpTcb::read(*bytes.array()?, product);
        let cpu_family = bytes.byte()?;
        let cpu_model = bytes.byte()?;
        bytes.skip(1 + 21)?;
        let chip_id = bytes.array()?;
        let committed = SnpTcb::read(*bytes.array()?, product);
        Some(Self {
            signed,
            policy,
            vmpl,
            algorithm,
            key_information,
            report_data,
            measurement,
            host_data,
            id_key_digest,
            author_key_digest,
            reported,
            cpu_family,
            cpu_model,
            chip_id,
            committed,
            signature: read_signature(signature)?,
        })
    }
}

/// Reads two little-endian numbers of 72 bytes, which zeros must follow.
fn read_signature(bytes: &[u8]) -> Option<[u8; 96]> {
    let mut bytes = Bytes(bytes);
    let mut signature = [0; 96];
    for half in signature.chunks_exact_mut(SCALAR_BYTES) {
        let number: &[u8; NUMBER_BYTES] = bytes.array()?;
        let (low, high) = number.split_at(half.len());
        if high.iter().any(|byte| *byte != 0) {
            return None;
        }
        for (to, from) in half.iter_mut().zip(low.iter().rev()) {
            *to = *from;
        }
    }
    // Other bytes here would give one report many encodings.
    bytes.0.iter().all(|byte| *byte == 0).then_some(signature)
}
