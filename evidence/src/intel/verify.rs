//! Verification of quotes against collateral and policy.

use alloc::vec::Vec;

use bounded_collections::BoundedVec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sha2::{Digest, Sha256};

use super::{
    collateral::{Advisories, Advisory, IntelTee, ModuleLevel, QeIdentity, TcbInfo, TcbLevel, check_time},
    pck::{PckKey, all_covered},
    quote::{Body, EnclaveReport, Quote, TdReport},
};
use crate::{
    attestation::{Attestation, DeviceNumbering, Platform, Unbound, Workload, device_hash},
    error::{EvidenceError, Part},
    tcb::{Tcb, TcbStatus},
    x509::{RevocationList, TrustRoots, key::p256_verifies},
};

/// Enclave attribute: the host can read and change its memory.
const SGX_DEBUG: u8 = 0x02;
/// Enclave attribute: the enclave was initialised.
const SGX_INITIALISED: u8 = 0x01;

/// Domain attributes that make it untrusted: bit 0 is debugging, bits 4 to 6 profiling, the others reserved.
const TD_UNDER_DEBUG: u64 = 0xff;
/// Domain attribute: access to a page that the host took away raises no exception (#VE) in the guest, so the
/// host cannot confuse it.
const TD_SEPT_VE_DISABLE: u64 = 1 << 28;
/// Domain attribute: it may migrate to another machine.
const TD_MIGRATABLE: u64 = 1 << 29;
/// Domain attribute: service domains are bound to it and may change it.
const TD_SERVICE_DOMAINS: u64 = 1 << 17;
/// Reserved bits, which must be zero: 8 to 15, 23 to 26 and 32 to 61.
const TD_RESERVED: u64 = 0x0000_ff00 | 0x0780_0000 | 0x3fff_ffff_0000_0000;

/// Acceptance policy for Intel's platforms.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct IntelPolicy {
    /// Accepted verdicts beside `UpToDate`. `Revoked` is never accepted, even if listed here.
    pub accepted: BoundedVec<TcbStatus, bounded_collections::ConstU32<8>>,
    /// Seconds after a level's date for which an out-of-date platform is still accepted, if its verdict is
    /// among those accepted.
    pub out_of_date_grace_s: u64,
    /// Advisories that must not apply.
    pub refused_advisories: Advisories,
    /// Least evaluation number of the collateral.
    pub min_evaluation: u32,
}

impl IntelPolicy {
    /// Returns the policy that accepts only platforms against which nothing is known.
    pub fn strict() -> Self {
        Self {
            accepted: BoundedVec::default(),
            out_of_date_grace_s: 0,
            refused_advisories: BoundedVec::default(),
            min_evaluation: 0,
        }
    }
}

/// Verified collateral for the check of a quote.
#[derive(Clone, Copy)]
pub struct Collateral<'a> {
    /// TCB info for the quote's TEE and processor.
    pub tcb_info: &'a TcbInfo,
    /// QE identity for the quote's TEE.
    pub qe_identity: &'a QeIdentity,
    /// Revocation lists of the root and of the authority that issued the platform's certificate.
    pub lists: &'a [RevocationList],
}

/// Properties of a quoting enclave, signed by the key of a PCK certificate.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct QuotingEnclave {
    /// Extended features.
    pub misc_select: u32,
    /// Attributes.
    pub attributes: [u8; 16],
    /// Signer of the enclave.
    pub mr_signer: [u8; 32],
    /// Product number that the signer gave to it.
    pub product_id: u16,
    /// Security version.
    pub security_version: u16,
}

/// Verified key of a platform's quoting enclave, for storage. It signs all quotes of the platform.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct AttestationKey {
    /// Platform key that signed the quoting enclave's report.
    pub pck: PckKey,
    /// Public key, a point on P-256.
    pub key: [u8; 64],
    /// Enclave that holds the key.
    pub enclave: QuotingEnclave,
}

/// Verifies that the platform's key vouches for the quote's attestation key. Costs one signature
/// verification.
pub fn verify_attestation_key(quote: &Quote<'_>, pck: PckKey) -> Result<AttestationKey, EvidenceError> {
    if !p256_verifies(&pck.key, quote.qe_report, quote.qe_report_signature) {
        return Err(EvidenceError::BadSignature(Part::QeReport));
    }
    let report = EnclaveReport::read(quote.qe_report).ok_or(EvidenceError::Malformed(Part::QeReport))?;
    let named = Sha256::new()
        .chain_update(quote.attestation_key)
        .chain_update(quote.qe_authentication_data)
        .finalize();
    let (hash, rest) = report.report_data.split_at(32);
    if hash != named.as_slice() || rest.iter().any(|byte| *byte != 0) {
        return Err(EvidenceError::QeReportMismatch);
    }
    Ok(AttestationKey {
        pck,
        key: *quote.attestation_key,
        enclave: QuotingEnclave {
            misc_select: report.misc_select,
            attributes: *report.attributes,
            mr_signer: *report.mr_signer,
            product_id: report.product_id,
            security_version: report.security_version,
        },
    })
}

/// Verifies a quote with a previously verified key. Costs one signature verification.
///
/// Checks everything again that can change after the key's verification: roots, times, revocation, and the
/// collateral's verdicts on platform and quoting enclave.
pub fn verify_quote(
    quote: &Quote<'_>,
    key: &AttestationKey,
    collateral: Collateral<'_>,
    roots: &TrustRoots,
    policy: &IntelPolicy,
    now_s: u64,
) -> Result<Unbound, EvidenceError> {
    let Collateral {
        tcb_info,
        qe_identity,
        lists,
    } = collateral;
    // Cheap checks come first.
    if quote.attestation_key != &key.key {
        return Err(EvidenceError::OtherAttestationKey);
    }
    let tee = if quote.is_tdx() {
        IntelTee::Tdx
    } else {
        IntelTee::Sgx
    };
    if tcb_info.tee != tee || qe_identity.tee != tee {
        return Err(EvidenceError::CollateralForOtherTee);
    }
    if tcb_info.fmspc != key.pck.fmspc || tcb_info.pce_id != key.pck.pce_id {
        return Err(EvidenceError::CollateralForOtherProcessor);
    }
    if tcb_info.evaluation.min(qe_identity.evaluation) < policy.min_evaluation {
        return Err(EvidenceError::EvaluationTooOld);
    }
    check_time(Part::TcbInfo, tcb_info.issued_s, tcb_info.next_update_s, now_s)?;
    check_time(
        Part::QeIdentity,
        qe_identity.issued_s,
        qe_identity.next_update_s,
        now_s,
    )?;
    let mut expires_s = tcb_info.next_update_s.min(qe_identity.next_update_s);
    for path in [&key.pck.path, &tcb_info.path, &qe_identity.path] {
        expires_s = expires_s.min(path.check(&roots.intel, all_covered(lists), now_s)?);
    }

    let (workload, report_data) = match quote.body {
        Body::Enclave(report) => (check_enclave(&report)?, *report.report_data),
        Body::TrustDomain(report) => (check_trust_domain(&report, tcb_info)?, *report.report_data),
    };
    let qe_level = check_quoting_enclave(&key.enclave, qe_identity)?;
    let verdict = judge(quote, &key.pck, tcb_info, qe_level)?;
    let tcb = verdict.check(policy, now_s)?;

    if !p256_verifies(&key.key, quote.signed, quote.signature) {
        return Err(EvidenceError::BadSignature(Part::Quote));
    }
    Ok(Unbound::new(Attestation {
        platform: match tee {
            IntelTee::Sgx => Platform::Sgx,
            IntelTee::Tdx => Platform::Tdx,
        },
        device: device_hash(DeviceNumbering::Intel, &key.pck.ppid),
        report_data,
        workload,
        tcb,
        expires_s,
    }))
}

fn check_enclave(report: &EnclaveReport<'_>) -> Result<Workload, EvidenceError> {
    let [flags, ..] = *report.attributes;
    if flags & SGX_DEBUG != 0 {
        return Err(EvidenceError::Debuggable);
    }
    if flags & SGX_INITIALISED == 0 {
        return Err(EvidenceError::UnsafeAttributes);
    }
    Ok(Workload::Sgx {
        mr_enclave: *report.mr_enclave,
        mr_signer: *report.mr_signer,
        product_id: report.product_id,
        security_version: report.security_version,
        config_id: *report.config_id,
        config_security_version: report.config_security_version,
    })
}

fn check_trust_domain(report: &TdReport<'_>, tcb_info: &TcbInfo) -> Result<Workload, EvidenceError> {
    let attributes = report.td_attributes;
    if attributes & TD_UNDER_DEBUG != 0 {
        return Err(EvidenceError::Debuggable);
    }
    if attributes & TD_MIGRATABLE != 0 {
        return Err(EvidenceError::Migratable);
    }
    let serviced = report.since_15.is_some_and(|(_, service)| service != &[0; 48]);
    if attributes & (TD_SERVICE_DOMAINS | TD_RESERVED) != 0
        || attributes & TD_SEPT_VE_DISABLE == 0
        || serviced
    {
        return Err(EvidenceError::UnsafeAttributes);
    }
    check_module(report, tcb_info)?;
    let [a, b, c, d] = report.rt_mr;
    Ok(Workload::Tdx {
        mr_td: *report.mr_td,
        rt_mr: [*a, *b, *c, *d],
        mr_config_id: *report.mr_config_id,
        mr_owner: *report.mr_owner,
        mr_owner_config: *report.mr_owner_config,
    })
}

/// Checks the signer and the attributes of the TDX module.
fn check_module(report: &TdReport<'_>, tcb_info: &TcbInfo) -> Result<(), EvidenceError> {
    let version = module_version(report.tee_tcb_svn);
    let module = if version == 0 {
        tcb_info.module.as_ref()
    } else {
        let identities = &tcb_info.module_identities;
        identities
            .iter()
            .find(|identity| identity.version == version)
            .map(|identity| &identity.module)
    };
    let module = module.ok_or(EvidenceError::TdxModuleMismatch)?;
    let attributes_fit = module
        .attributes
        .iter()
        .zip(&module.attributes_mask)
        .zip(report.seam_attributes)
        .all(|((expected, mask), actual)| expected & mask == *actual);
    if module.mr_signer != *report.mr_signer_seam || !attributes_fit {
        return Err(EvidenceError::TdxModuleMismatch);
    }
    Ok(())
}

/// Returns the version of the TDX module, the second security version. The first one is its security version.
fn module_version(tee_tcb_svn: &[u8; 16]) -> u8 {
    let [_, version, ..] = *tee_tcb_svn;
    version
}

fn check_quoting_enclave<'a>(
    enclave: &QuotingEnclave,
    identity: &'a QeIdentity,
) -> Result<&'a ModuleLevel, EvidenceError> {
    let attributes_fit = identity
        .attributes
        .iter()
        .zip(&identity.attributes_mask)
        .zip(&enclave.attributes)
        .all(|((expected, mask), actual)| expected & mask == actual & mask);
    let misc_select_fits = (identity.misc_select ^ enclave.misc_select) & identity.misc_select_mask == 0;
    let [flags, ..] = enclave.attributes;
    if flags & SGX_DEBUG != 0
        || !attributes_fit
        || !misc_select_fits
        || identity.mr_signer != enclave.mr_signer
        || identity.product_id != enclave.product_id
    {
        return Err(EvidenceError::QeIdentityMismatch);
    }
    level_of(&identity.levels, enclave.security_version)
}

/// Returns the first level that a security version reaches; levels are sorted from the highest.
fn level_of(levels: &[ModuleLevel], security_version: u16) -> Result<&ModuleLevel, EvidenceError> {
    levels
        .iter()
        .find(|level| security_version >= level.security_version)
        .ok_or(EvidenceError::NoTcbLevel)
}

/// Verdict of Intel's collateral on a platform.
struct Verdict<'a> {
    status: TcbStatus,
    /// Oldest date of the levels that the platform and its TDX module reach.
    date_s: u64,
    advisories: Vec<&'a Advisory>,
}

/// Combines the verdict on the platform with the one on the quoting enclave.
///
/// TDX 1.5 has two platform verdicts: for the module at the domain's start and for the current one.
fn judge<'a>(
    quote: &Quote<'_>,
    pck: &PckKey,
    tcb_info: &'a TcbInfo,
    qe_level: &'a ModuleLevel,
) -> Result<Verdict<'a>, EvidenceError> {
    let (svn, svn_now) = match quote.body {
        Body::Enclave(_) => (None, None),
        Body::TrustDomain(report) => (Some(report.tee_tcb_svn), report.since_15.map(|(svn, _)| svn)),
    };
    let mut verdict = judge_platform(pck, tcb_info, svn)?;
    verdict.add(qe_level);
    verdict.status = converge(verdict.status, qe_level.status);
    if qe_level.status == TcbStatus::OutOfDate {
        // In other cases the quoting enclave's date is no evidence about the platform.
        verdict.date_s = verdict.date_s.min(qe_level.date_s);
    }
    if let Some(svn_now) = svn_now {
        let mut now = judge_platform(pck, tcb_info, Some(svn_now))?;
        now.status = converge(now.status, qe_level.status);
        if now.status == TcbStatus::Revoked {
            return Err(EvidenceError::TcbStatusRefused(TcbStatus::Revoked));
        }
        verdict.status = after_update(verdict.status, now.status);
        for advisory in now.advisories {
            verdict.add_advisory(advisory);
        }
    }
    Ok(verdict)
}

fn judge_platform<'a>(
    pck: &PckKey,
    tcb_info: &'a TcbInfo,
    tee_tcb_svn: Option<&[u8; 16]>,
) -> Result<Verdict<'a>, EvidenceError> {
    let level = tcb_info
        .levels
        .iter()
        .find(|level| reaches(level, pck, tee_tcb_svn))
        .ok_or(EvidenceError::NoTcbLevel)?;
    let mut verdict = Verdict {
        status: level.status,
        date_s: level.date_s,
        advisories: level.advisories.iter().collect(),
    };
    if let Some(svn) = tee_tcb_svn
        && module_version(svn) != 0
    {
        let version = module_version(svn);
        let identity = tcb_info
            .module_identities
            .iter()
            .find(|identity| identity.version == version)
            .ok_or(EvidenceError::TdxModuleMismatch)?;
        let [security_version, ..] = *svn;
        let module = level_of(&identity.levels, security_version.into())?;
        verdict.status = converge(verdict.status, module.status);
        verdict.date_s = verdict.date_s.min(module.date_s);
        verdict.add(module);
    }
    Ok(verdict)
}

/// Returns true if the platform has at least the level's versions. A TDX module with a version of its own is
/// judged by its identity instead of the first two versions, which belong to it.
fn reaches(level: &TcbLevel, pck: &PckKey, tee_tcb_svn: Option<&[u8; 16]>) -> bool {
    let at_least = |have: &[u8; 16], need: &[u8; 16], skip: usize| {
        have.iter().zip(need).skip(skip).all(|(have, need)| have >= need)
    };
    let tdx_reaches = match (tee_tcb_svn, &level.tdx) {
        (None, _) => true,
        (Some(have), Some(need)) => at_least(have, need, if module_version(have) == 0 { 0 } else { 2 }),
        (Some(_), None) => false,
    };
    tdx_reaches && at_least(&pck.tcb.components, &level.sgx, 0) && pck.tcb.pce >= level.pce
}

impl<'a> Verdict<'a> {
    fn add(&mut self, level: &'a ModuleLevel) {
        for advisory in &level.advisories {
            self.add_advisory(advisory);
        }
    }

    fn add_advisory(&mut self, advisory: &'a Advisory) {
        if !self.advisories.contains(&advisory) {
            self.advisories.push(advisory);
        }
    }

    fn check(self, policy: &IntelPolicy, now_s: u64) -> Result<Tcb, EvidenceError> {
        let out_of_date = matches!(
            self.status,
            TcbStatus::OutOfDate | TcbStatus::OutOfDateConfigurationNeeded
        );
        let accepted = match self.status {
            TcbStatus::UpToDate => true,
            TcbStatus::Revoked => false,
            status => policy.accepted.contains(&status),
        };
        if !accepted || (out_of_date && self.date_s.saturating_add(policy.out_of_date_grace_s) < now_s) {
            return Err(EvidenceError::TcbStatusRefused(self.status));
        }
        if self
            .advisories
            .iter()
            .any(|advisory| policy.refused_advisories.contains(advisory))
        {
            return Err(EvidenceError::AdvisoryRefused);
        }
        Ok(Tcb {
            status: self.status,
            date_s: Some(self.date_s),
        })
    }
}

/// Combines the verdict on a platform with that on one of its parts, as Intel's verifier does.
fn converge(platform: TcbStatus, part: TcbStatus) -> TcbStatus {
    use TcbStatus::{
        ConfigurationAndSwHardeningNeeded, ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded,
        Revoked, SwHardeningNeeded, UpToDate,
    };
    match (part, platform) {
        (Revoked, _) => Revoked,
        (OutOfDate, UpToDate | SwHardeningNeeded) => OutOfDate,
        (OutOfDate, ConfigurationNeeded | ConfigurationAndSwHardeningNeeded) => OutOfDateConfigurationNeeded,
        _ => platform,
    }
}

/// Returns the verdict on a domain that was started before an update of its platform.
fn after_update(started: TcbStatus, now: TcbStatus) -> TcbStatus {
    use TcbStatus::{
        ConfigurationAndSwHardeningNeeded, ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded,
        SwHardeningNeeded, TdRelaunchAdvised, TdRelaunchAdvisedConfigurationNeeded, UpToDate,
    };
    let configuration = |status| {
        matches!(
            status,
            ConfigurationNeeded | ConfigurationAndSwHardeningNeeded | OutOfDateConfigurationNeeded
        )
    };
    match (started, now) {
        (
            OutOfDate | OutOfDateConfigurationNeeded,
            UpToDate | SwHardeningNeeded | ConfigurationNeeded | ConfigurationAndSwHardeningNeeded,
        ) => {
            if configuration(started) || configuration(now) {
                TdRelaunchAdvisedConfigurationNeeded
            } else {
                TdRelaunchAdvised
            }
        }
        _ => started,
    }
}
