//! Reasons for a refusal of evidence: one variant each, with a text that names the remedy.

use core::fmt;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::tcb::TcbStatus;

/// Part of the submitted data that an error concerns.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Part {
    /// Certificate of a chain or of a root.
    #[codec(index = 0)]
    Certificate,
    /// Text that holds a chain of certificates.
    #[codec(index = 1)]
    CertificateChain,
    /// Certificate revocation list.
    #[codec(index = 2)]
    RevocationList,
    /// Intel's TCB info.
    #[codec(index = 3)]
    TcbInfo,
    /// Intel's identity of the quoting enclave.
    #[codec(index = 4)]
    QeIdentity,
    /// Report of the quoting enclave itself, inside a quote.
    #[codec(index = 5)]
    QeReport,
    /// SGX or TDX quote.
    #[codec(index = 6)]
    Quote,
    /// SEV-SNP attestation report.
    #[codec(index = 7)]
    SnpReport,
    /// NVIDIA attestation report: SPDM request and response.
    #[codec(index = 8)]
    GpuReport,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::CertificateChain => "certificate chain",
            Self::RevocationList => "revocation list",
            Self::TcbInfo => "TCB info",
            Self::QeIdentity => "QE identity",
            Self::QeReport => "QE report",
            Self::Quote => "quote",
            Self::SnpReport => "SEV-SNP report",
            Self::GpuReport => "GPU report",
        }
    }
}

/// Reason for which evidence or its collateral is refused.
///
/// At most three bytes when encoded: a runtime error has room for that beside the pallet's own variant.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum EvidenceError {
    /// The bytes do not have the required form.
    #[codec(index = 0)]
    Malformed(Part),
    /// The part has more bytes or entries than any genuine one.
    #[codec(index = 1)]
    TooLong(Part),
    /// The version of the format is not supported.
    #[codec(index = 2)]
    UnsupportedVersion {
        /// Part with that version.
        part: Part,
        /// Version that the part claims; 255 stands for all higher ones.
        version: u8,
    },
    /// The vendor does not use this signature algorithm or kind of key here.
    #[codec(index = 3)]
    UnsupportedAlgorithm(Part),
    /// The chain has more or fewer certificates than the vendor's.
    #[codec(index = 4)]
    WrongChainLength,
    /// The chain does not end in a trusted root.
    #[codec(index = 5)]
    UntrustedRoot,
    /// A certificate was not issued by the next one of the chain.
    #[codec(index = 6)]
    BrokenChain,
    /// A certificate issued another one although it is not allowed to.
    #[codec(index = 7)]
    NotAnIssuer,
    /// The certificate that signed the evidence is one of an issuer.
    #[codec(index = 8)]
    IssuerAsSigner,
    /// A certificate or list has an unknown critical extension.
    #[codec(index = 9)]
    UnknownCriticalExtension(Part),
    /// The certificate lacks the vendor's extensions.
    #[codec(index = 10)]
    NotAVendorCertificate,
    /// The signature is wrong.
    #[codec(index = 11)]
    BadSignature(Part),
    /// The validity of the part has not begun.
    #[codec(index = 12)]
    NotYetValid(Part),
    /// The validity of the part has ended.
    #[codec(index = 13)]
    Expired(Part),
    /// A certificate of the chain was revoked.
    #[codec(index = 14)]
    Revoked,
    /// No revocation list covers a certificate of the chain.
    #[codec(index = 15)]
    RevocationUnknown,
    /// Another attestation key signed the quote than the verified one.
    #[codec(index = 16)]
    OtherAttestationKey,
    /// The quoting enclave's report does not name the attestation key.
    #[codec(index = 17)]
    QeReportMismatch,
    /// The quoting enclave does not match the QE identity.
    #[codec(index = 18)]
    QeIdentityMismatch,
    /// The collateral is for another kind of TEE.
    #[codec(index = 19)]
    CollateralForOtherTee,
    /// The TCB info is for another family of processors.
    #[codec(index = 20)]
    CollateralForOtherProcessor,
    /// The TCB info does not list the TDX module.
    #[codec(index = 21)]
    TdxModuleMismatch,
    /// The platform is older than every level of the vendor's list.
    #[codec(index = 22)]
    NoTcbLevel,
    /// The policy does not accept the vendor's verdict on the platform's TCB.
    #[codec(index = 23)]
    TcbStatusRefused(TcbStatus),
    /// A security advisory that the policy refuses applies to the platform.
    #[codec(index = 24)]
    AdvisoryRefused,
    /// The collateral's evaluation number is below the required one.
    #[codec(index = 25)]
    EvaluationTooOld,
    /// A component's security version is below the required one.
    #[codec(index = 26)]
    TcbBelowFloor,
    /// The report and the chip's certificate differ in their security versions.
    #[codec(index = 27)]
    TcbMismatch,
    /// The report and the chip's certificate belong to different chips.
    #[codec(index = 28)]
    ChipMismatch,
    /// The report names another product than the root of its certificate.
    #[codec(index = 29)]
    ProductMismatch,
    /// The enclave or guest can be debugged: its host can read everything.
    #[codec(index = 30)]
    Debuggable,
    /// The guest may migrate to another machine.
    #[codec(index = 31)]
    Migratable,
    /// The attributes disable a protection of the TEE.
    #[codec(index = 32)]
    UnsafeAttributes,
    /// The policy does not accept the privilege level at which the report was requested.
    #[codec(index = 33)]
    PrivilegeLevelRefused {
        /// VMPL of the report; 255 stands for all higher ones.
        vmpl: u8,
    },
    /// The report names another kind of signing key than the certificate.
    #[codec(index = 34)]
    SigningKeyMismatch,
    /// The host hides the device's identity.
    #[codec(index = 35)]
    DeviceHidden,
    /// The report and the device's certificate name different firmware.
    #[codec(index = 36)]
    FirmwareMismatch,
    /// No reference values exist for this driver or firmware.
    #[codec(index = 37)]
    NoReference,
    /// A measurement matches none of its reference values.
    #[codec(index = 38)]
    MeasurementMismatch {
        /// Index of the measurement, counted from one.
        index: u8,
    },
    /// The evidence is bound to another machine, chain, key or anchor.
    #[codec(index = 39)]
    WrongBinding,
}

impl fmt::Display for EvidenceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Malformed(part) => {
                return write!(
                    formatter,
                    "the {} is malformed: send it as the device or the vendor gave it",
                    part.name()
                );
            }
            Self::TooLong(part) => {
                return write!(formatter, "the {} is longer than any genuine one", part.name());
            }
            Self::UnsupportedVersion { part, version } => {
                return write!(
                    formatter,
                    "version {version} of the {} is not supported: see docs/ATTESTATION.md for those that are",
                    part.name()
                );
            }
            Self::UnsupportedAlgorithm(part) => {
                return write!(
                    formatter,
                    "the {} uses an algorithm that its vendor does not use",
                    part.name()
                );
            }
            Self::UnknownCriticalExtension(part) => {
                return write!(
                    formatter,
                    "the {} has a critical extension that is not known here",
                    part.name()
                );
            }
            Self::BadSignature(part) => {
                return write!(
                    formatter,
                    "the signature of the {} is wrong: it was altered, or another key signed it",
                    part.name()
                );
            }
            Self::NotYetValid(part) => {
                return write!(
                    formatter,
                    "the {} is not valid yet: wait, or send an earlier one",
                    part.name()
                );
            }
            Self::Expired(part) => {
                return write!(
                    formatter,
                    "the {} has expired: fetch the current one from its vendor",
                    part.name()
                );
            }
            Self::TcbStatusRefused(status) => {
                return write!(
                    formatter,
                    "the platform's TCB is {}, which is not accepted: update firmware and microcode",
                    status.name()
                );
            }
            Self::PrivilegeLevelRefused { vmpl } => {
                return write!(
                    formatter,
                    "the report was asked for at VMPL {vmpl}, which is not accepted: ask at a more privileged level"
                );
            }
            Self::MeasurementMismatch { index } => {
                return write!(
                    formatter,
                    "measurement {index} of the GPU is none of its reference values: install a released driver and \
                     firmware, and leave the development mode"
                );
            }
            Self::WrongChainLength => {
                "the chain has the wrong number of certificates: send every certificate below the root"
            }
            Self::UntrustedRoot => "the chain does not end in a trusted root of the vendor",
            Self::BrokenChain => {
                "the chain is broken: send the certificates in order, each issued by the next"
            }
            Self::NotAnIssuer => {
                "a certificate of the chain was issued by one that must not issue certificates"
            }
            Self::IssuerAsSigner => "the first certificate of the chain is an issuer's, not a device's",
            Self::NotAVendorCertificate => "the device's certificate lacks the vendor's extensions",
            Self::Revoked => {
                "a certificate of the chain was revoked by its issuer: ask the vendor for a new one"
            }
            Self::RevocationUnknown => {
                "no revocation list covers a certificate of the chain: submit the issuer's current list first"
            }
            Self::OtherAttestationKey => {
                "another attestation key signed the quote than the verified one: verify that key first"
            }
            Self::QeReportMismatch => {
                "the quoting enclave's report does not name the quote's attestation key"
            }
            Self::QeIdentityMismatch => "the quoting enclave is not Intel's: install the released one",
            Self::CollateralForOtherTee => "the collateral is for another kind of TEE than the quote",
            Self::CollateralForOtherProcessor => {
                "the TCB info is for another family of processors: submit the one for the certificate's FMSPC"
            }
            Self::TdxModuleMismatch => "the TDX module is not one that Intel lists: install a released one",
            Self::NoTcbLevel => {
                "the platform is older than every level that Intel lists: update firmware and microcode"
            }
            Self::AdvisoryRefused => {
                "a security advisory that the policy refuses applies to the platform: update or reconfigure it"
            }
            Self::EvaluationTooOld => {
                "the collateral's evaluation is older than required: submit the vendor's current collateral"
            }
            Self::TcbBelowFloor => {
                "the platform's firmware or microcode is below the required version: update it"
            }
            Self::TcbMismatch => {
                "the chip's certificate is for another firmware version than the report: fetch the matching one"
            }
            Self::ChipMismatch => "the certificate is of another chip than the report: fetch this chip's",
            Self::ProductMismatch => "the report is of another product than its certificate's root",
            Self::Debuggable => "the enclave or guest can be debugged: build and start it without debugging",
            Self::Migratable => {
                "the guest may be moved to another machine: start it with a policy that forbids it"
            }
            Self::UnsafeAttributes => {
                "the attributes leave the enclave or guest open to its host: start it with the safe ones"
            }
            Self::SigningKeyMismatch => "the report names another kind of signing key than the certificate",
            Self::DeviceHidden => "the host hides the device's identity: turn the masking of the chip id off",
            Self::FirmwareMismatch => {
                "the report names other firmware than the device's certificate: read both again after a reset"
            }
            Self::NoReference => {
                "there are no reference values for this driver or firmware: use a listed version"
            }
            Self::WrongBinding => {
                "the evidence is bound to another machine, chain, key or anchor: collect new evidence"
            }
        };
        formatter.write_str(text)
    }
}

impl core::error::Error for EvidenceError {}
