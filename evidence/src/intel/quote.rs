//! The layout of DCAP quotes, versions 3, 4 and 5.
//!
//! Sources: Intel SGX ECDSA QuoteLibReference (version 3), Intel TDX DCAP Quoting Library API (versions 4 and
//! 5), Intel TDX Module ABI (attributes).

use crate::{
    bytes::Bytes,
    error::{EvidenceError, Part},
};

/// Maximum length of a quote in bytes; genuine ones have about 5 kB.
pub const MAX_QUOTE_BYTES: usize = 16 * 1_024;

const HEADER_BYTES: usize = 48;
const ENCLAVE_REPORT_BYTES: usize = 384;
const TD_REPORT_10_BYTES: usize = 584;
const TD_REPORT_15_BYTES: usize = 648;
const TD_REPORT_15_EX_BYTES: usize = 885;

/// Kind of key and signature: ECDSA on P-256.
const ECDSA_P256: u16 = 2;
const SGX: u32 = 0;
const TDX: u32 = 0x81;
/// Vendor id of Intel's quoting enclave.
const INTEL_VENDOR_ID: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
/// Type of certification data: a chain of certificates as PEM.
const PCK_CHAIN: u16 = 5;
/// Type of certification data: the quoting enclave's report with its own certification data.
const QE_REPORT: u16 = 6;

const MALFORMED: EvidenceError = EvidenceError::Malformed(Part::Quote);

/// Report of an enclave: the quoted one's or the quoting one's.
#[derive(Clone, Copy)]
pub(super) struct EnclaveReport<'a> {
    pub(super) misc_select: u32,
    pub(super) attributes: &'a [u8; 16],
    pub(super) mr_enclave: &'a [u8; 32],
    pub(super) mr_signer: &'a [u8; 32],
    pub(super) config_id: &'a [u8; 64],
    pub(super) product_id: u16,
    pub(super) security_version: u16,
    pub(super) config_security_version: u16,
    pub(super) report_data: &'a [u8; 64],
}

impl<'a> EnclaveReport<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(bytes);
        // Security version of the processor; the certificate's version decides instead.
        bytes.skip(16)?;
        let misc_select = bytes.u32_le()?;
        bytes.skip(12 + 16)?;
        let attributes = bytes.array()?;
        let mr_enclave = bytes.array()?;
        bytes.skip(32)?;
        let mr_signer = bytes.array()?;
        bytes.skip(32)?;
        let config_id = bytes.array()?;
        let product_id = bytes.u16_le()?;
        let security_version = bytes.u16_le()?;
        let config_security_version = bytes.u16_le()?;
        bytes.skip(42 + 16)?;
        let report_data = bytes.array()?;
        bytes.end()?;
        Some(Self {
            misc_select,
            attributes,
            mr_enclave,
            mr_signer,
            config_id,
            product_id,
            security_version,
            config_security_version,
            report_data,
        })
    }
}

/// Report of a trust domain.
#[derive(Clone, Copy)]
pub(super) struct TdReport<'a> {
    pub(super) tee_tcb_svn: &'a [u8; 16],
    pub(super) mr_signer_seam: &'a [u8; 48],
    pub(super) seam_attributes: &'a [u8; 8],
    pub(super) td_attributes: u64,
    pub(super) mr_td: &'a [u8; 48],
    pub(super) mr_config_id: &'a [u8; 48],
    pub(super) mr_owner: &'a [u8; 48],
    pub(super) mr_owner_config: &'a [u8; 48],
    pub(super) rt_mr: [&'a [u8; 48]; 4],
    pub(super) report_data: &'a [u8; 64],
    /// Current security versions and the measurement of service domains, since TDX 1.5. The versions differ
    /// from those at the start after an update of the module.
    pub(super) since_15: Option<(&'a [u8; 16], &'a [u8; 48])>,
}

impl<'a> TdReport<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let has_15 = bytes.len() > TD_REPORT_10_BYTES;
        let mut bytes = Bytes(bytes);
        let tee_tcb_svn = bytes.array()?;
        // Measurement of the module; the TCB info lists its signer and version instead.
        bytes.skip(48)?;
        let mr_signer_seam = bytes.array()?;
        let seam_attributes = bytes.array()?;
        let td_attributes = bytes.u64_le()?;
        bytes.skip(8)?;
        let mr_td = bytes.array()?;
        let mr_config_id = bytes.array()?;
        let mr_owner = bytes.array()?;
        let mr_owner_config = bytes.array()?;
        let rt_mr = [bytes.array()?, bytes.array()?, bytes.array()?, bytes.array()?];
        let report_data = bytes.array()?;
        let since_15 = if has_15 {
            Some((bytes.array()?, bytes.array()?))
        } else {
            None
        };
        Some(Self {
            tee_tcb_svn,
            mr_signer_seam,
            seam_attributes,
            td_attributes,
            mr_td,
            mr_config_id,
            mr_owner,
            mr_owner_config,
            rt_mr,
            report_data,
            since_15,
        })
    }
}

/// Subject of the quote.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    Enclave(EnclaveReport<'a>),
    TrustDomain(TdReport<'a>),
}

/// Quote as slices of its bytes. Nothing is verified yet.
#[derive(Clone, Copy)]
pub struct Quote<'a> {
    /// Header and body: the bytes that the attestation key signed.
    pub(super) signed: &'a [u8],
    pub(super) body: Body<'a>,
    pub(super) signature: &'a [u8; 64],
    pub(super) attestation_key: &'a [u8; 64],
    pub(super) qe_report: &'a [u8; ENCLAVE_REPORT_BYTES],
    pub(super) qe_report_signature: &'a [u8; 64],
    pub(super) qe_authentication_data: &'a [u8],
    certification_kind: u16,
    certification_data: &'a [u8],
}

impl<'a> Quote<'a> {
    /// Reads a quote. Only zeros may follow it: the buffer in which a quote is made has them.
    pub fn read(bytes: &'a [u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_QUOTE_BYTES {
            return Err(EvidenceError::TooLong(Part::Quote));
        }
        let mut rest = Bytes(bytes);
        let mut header = Bytes(rest.take(HEADER_BYTES).ok_or(MALFORMED)?);
        let version = header.u16_le().ok_or(MALFORMED)?;
        if !matches!(version, 3..=5) {
            return Err(EvidenceError::UnsupportedVersion {
                part: Part::Quote,
                version: u8::try_from(version).unwrap_or(u8::MAX),
            });
        }
        let key_kind = header.u16_le().ok_or(MALFORMED)?;
        // Reserved and zero in version 3, which is for SGX only.
        let tee = header.u32_le().ok_or(MALFORMED)?;
        header.skip(4).ok_or(MALFORMED)?;
        let vendor_id: &[u8; 16] = header.array().ok_or(MALFORMED)?;
        if key_kind != ECDSA_P256 || *vendor_id != INTEL_VENDOR_ID {
            return Err(EvidenceError::UnsupportedAlgorithm(Part::Quote));
        }
        let body = Self::read_body(version, tee, &mut rest).ok_or(MALFORMED)?;
        let signed = bytes.get(..bytes.len() - rest.0.len()).ok_or(MALFORMED)?;
        let mut signature_data = Bytes(rest.counted_by_u32().ok_or(MALFORMED)?);
        if rest.0.iter().any(|byte| *byte != 0) {
            return Err(MALFORMED);
        }
        Self::read_signature(version, signed, body, &mut signature_data).ok_or(MALFORMED)
    }

    fn read_body(version: u16, tee: u32, rest: &mut Bytes<'a>) -> Option<Body<'a>> {
        let length = match (version, tee) {
            (3 | 4, SGX) => ENCLAVE_REPORT_BYTES,
            (4, TDX) => TD_REPORT_10_BYTES,
            (5, SGX | TDX) => {
                let kind = rest.u16_le()?;
                let length = usize::try_from(rest.u32_le()?).ok()?;
                match (tee, kind, length) {
                    (SGX, 1, ENCLAVE_REPORT_BYTES)
                    | (TDX, 2, TD_REPORT_10_BYTES)
                    | (TDX, 3, TD_REPORT_15_BYTES)
                    | (TDX, 4, TD_REPORT_15_EX_BYTES) => length,
                    _ => return None,
                }
            }
            _ => return None,
        };
        let body = rest.take(length)?;
        Some(if tee == SGX {
            Body::Enclave(EnclaveReport::read(body)?)
        } else {
            Body::TrustDomain(TdReport::read(body)?)
        })
    }

    fn read_signature(version: u16, signed: &'a [u8], body: Body<'a>, data: &mut Bytes<'a>) -> Option<Self> {
        let signature = data.array()?;
        let attestation_key = data.array()?;
        let mut certification = if version == 3 {
            *data
        } else {
            if data.u16_le()? != QE_REPORT {
                return None;
            }
            let certification = data.counted_by_u32()?;
            data.end()?;
            Bytes(certification)
        };
        let qe_report = certification.array()?;
        let qe_report_signature = certification.array()?;
        let qe_authentication_data = certification.counted_by_u16()?;
        let certification_kind = certification.u16_le()?;
        let certification_data = certification.counted_by_u32()?;
        certification.end()?;
        Some(Self {
            signed,
            body,
            signature,
            attestation_key,
            qe_report,
            qe_report_signature,
            qe_authentication_data,
            certification_kind,
            certification_data,
        })
    }

    /// Returns the PEM chain of certificates in the quote; `None` if the quote carries something else.
    ///
    /// Without one, or if the chain was verified before, the caller takes the chain from elsewhere.
    pub fn certificate_chain(&self) -> Option<&'a [u8]> {
        (self.certification_kind == PCK_CHAIN).then_some(self.certification_data)
    }

    /// Returns the key that signed the quote, a point on P-256. It tells if a cached
    /// [`AttestationKey`](super::AttestationKey) fits.
    pub fn attestation_key(&self) -> &'a [u8; 64] {
        self.attestation_key
    }

    /// Returns true for the quote of a trust domain, false for that of an enclave.
    pub fn is_tdx(&self) -> bool {
        matches!(self.body, Body::TrustDomain(_))
    }
}
