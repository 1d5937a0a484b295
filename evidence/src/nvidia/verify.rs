//! Verification of reports against reference values.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use super::{
    certificate::{DeviceKey, revocation_rule},
    reference::{Reference, References},
    report::GpuReport,
};
use crate::{
    attestation::{Attestation, Platform, Unbound, Workload},
    binding::report_data_of,
    error::{EvidenceError, Part},
    tcb::{Tcb, TcbStatus},
    x509::{RevocationList, TrustRoots, key::p384_verifies},
};

/// Acceptance policy for NVIDIA's GPUs, beside the reference values.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct NvidiaPolicy {
    /// True if the revocation lists of the root and of the chip family are required.
    pub require_lists: bool,
}

/// Verifies a report with a previously verified key. Costs one signature verification.
///
/// `references` must include the driver's and the VBIOS's, see [`References::of`]; others are ignored. Checks
/// everything again that can change after the key's verification: roots, times and revocation.
pub fn verify_report(
    report: &GpuReport<'_>,
    key: &DeviceKey,
    references: &[Reference],
    lists: &[RevocationList],
    roots: &TrustRoots,
    policy: &NvidiaPolicy,
    now_s: u64,
) -> Result<Unbound, EvidenceError> {
    let rule = revocation_rule(lists, policy.require_lists);
    let expires_s = key.path.check(&roots.nvidia, rule, now_s)?;
    // The key is derived for one firmware. If the report does not name the firmware, the certificate does.
    if report.firmware_id().is_some_and(|id| id != key.firmware_id) {
        return Err(EvidenceError::FirmwareMismatch);
    }
    let needed = References::of(report, key.chip()).ok_or(EvidenceError::Malformed(Part::GpuReport))?;
    for wanted in [needed.driver, needed.vbios] {
        let reference = references.iter().find(|reference| reference.key() == wanted);
        reference.ok_or(EvidenceError::NoReference)?.check(report)?;
    }
    if !p384_verifies(&key.key, report.signed, report.signature) {
        return Err(EvidenceError::BadSignature(Part::GpuReport));
    }
    Ok(Unbound::new(Attestation {
        platform: Platform::NvidiaGpu,
        device: key.device(),
        report_data: report_data_of(report.nonce),
        workload: Workload::NvidiaGpu {
            driver: report.driver_version().unwrap_or_default(),
            vbios: report.vbios_version().unwrap_or_default(),
        },
        tcb: Tcb {
            status: TcbStatus::UpToDate,
            date_s: None,
        },
        expires_s,
    }))
}
