//! Why evidence is refused: one variant for each reason, and a sentence that says what to do.

use core::fmt;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::attestation::TcbStatus;

/// A piece of what is submitted.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Part {
    /// A certificate, of a chain or of a root.
    #[codec(index = 0)]
    Certificate,
    /// The text that holds a chain of certificates.
    #[codec(index = 1)]
    CertificateChain,
    /// A list of revoked certificates.
    #[codec(index = 2)]
    RevocationList,
    /// Intel's TCB info.
    #[codec(index = 3)]
    TcbInfo,
    /// Intel's identity of the quoting enclave.
    #[codec(index = 4)]
    QeIdentity,
    /// The quoting enclave's own report inside a quote.
    #[codec(index = 5)]
    QeReport,
    /// An SGX or TDX quote.
    #[codec(index = 6)]
    Quote,
    /// A SEV-SNP attestation report.
    #[codec(index = 7)]
    SnpReport,
    /// An NVIDIA attestation report: SPDM request and response.
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

/// Why evidence, or the collateral it is judged by, is refused.
///
/// At most three bytes when encoded: a runtime's error has room for that, beside the pallet's own variant.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum EvidenceError {
    /// The bytes do not have the form that they must have.
    #[codec(index = 0)]
    Malformed(Part),
    /// More bytes or entries than any genuine one has.
    #[codec(index = 1)]
    TooLong(Part),
    /// A version of the format that is not known here.
    #[codec(index = 2)]
    UnsupportedVersion {
        /// Of what.
        part: Part,
        /// The version that it claims; 255 stands for all above.
        version: u8,
    },
    /// A signature algorithm, or a kind of key, that the vendor does not use here.
    #[codec(index = 3)]
    UnsupportedAlgorithm(Part),
    /// More or fewer certificates than the vendor's chain has.
    #[codec(index = 4)]
    WrongChainLength,
    /// The chain does not end in a root that is trusted.
    #[codec(index = 5)]
    UntrustedRoot,
    /// A certificate was issued by somebody other than the next one of the chain.
    #[codec(index = 6)]
    BrokenChain,
    /// A certificate that issued another one must not issue certificates.
    #[codec(index = 7)]
    NotAnIssuer,
    /// The certificate that signed the evidence is one that issues certificates.
    #[codec(index = 8)]
    IssuerAsSigner,
    /// A certificate or list has a critical extension that is not known here.
    #[codec(index = 9)]
    UnknownCriticalExtension(Part),
    /// The certificate lacks what the vendor writes into such certificates.
    #[codec(index = 10)]
    NotAVendorCertificate,
    /// The signature is wrong.
    #[codec(index = 11)]
    BadSignature(Part),
    /// It becomes valid only later.
    #[codec(index = 12)]
    NotYetValid(Part),
    /// Its time is over.
    #[codec(index = 13)]
    Expired(Part),
    /// A certificate of the chain was revoked.
    #[codec(index = 14)]
    Revoked,
    /// There is no list that says whether a certificate of the chain was revoked.
    #[codec(index = 15)]
    RevocationUnknown,
    /// The quote is signed by another attestation key than the one that was verified.
    #[codec(index = 16)]
    OtherAttestationKey,
    /// The quoting enclave's report does not name the attestation key.
    #[codec(index = 17)]
    QeReportMismatch,
    /// The quoting enclave is not the one of the QE identity.
    #[codec(index = 18)]
    QeIdentityMismatch,
    /// The collateral is for another kind of TEE.
    #[codec(index = 19)]
    CollateralForOtherTee,
    /// The TCB info is for another family of processors.
    #[codec(index = 20)]
    CollateralForOtherProcessor,
    /// The TDX module is not one of the TCB info.
    #[codec(index = 21)]
    TdxModuleMismatch,
    /// The platform is older than every level that the vendor lists.
    #[codec(index = 22)]
    NoTcbLevel,
    /// The vendor's verdict on the platform's TCB is not accepted.
    #[codec(index = 23)]
    TcbStatusRefused(TcbStatus),
    /// A security advisory applies to the platform that is not accepted.
    #[codec(index = 24)]
    AdvisoryRefused,
    /// The collateral is of an evaluation before the one that is required.
    #[codec(index = 25)]
    EvaluationTooOld,
    /// A component's security version is below the required one.
    #[codec(index = 26)]
    TcbBelowFloor,
    /// The report and the chip's certificate differ in the security versions.
    #[codec(index = 27)]
    TcbMismatch,
    /// The report and the chip's certificate are of different chips.
    #[codec(index = 28)]
    ChipMismatch,
    /// The report is of another product than the root that vouches for its certificate.
    #[codec(index = 29)]
    ProductMismatch,
    /// The enclave or guest can be debugged: its host reads everything.
    #[codec(index = 30)]
    Debuggable,
    /// The guest may be moved to another machine.
    #[codec(index = 31)]
    Migratable,
    /// The attributes leave open an attack that the TEE could close.
    #[codec(index = 32)]
    UnsafeAttributes,
    /// The report was asked for at a privilege level that is not accepted.
    #[codec(index = 33)]
    PrivilegeLevelRefused {
        /// The VMPL of the report; 255 stands for all above.
        vmpl: u8,
    },
    /// The report says that another kind of key signed it.
    #[codec(index = 34)]
    SigningKeyMismatch,
    /// The host hides which device it is.
    #[codec(index = 35)]
    DeviceHidden,
    /// The report and the device's certificate name different firmware.
    #[codec(index = 36)]
    FirmwareMismatch,
    /// There are no reference values for this driver or firmware.
    #[codec(index = 37)]
    NoReference,
    /// A measurement differs from all its reference values.
    #[codec(index = 38)]
    MeasurementMismatch {
        /// The measurement's index, from one.
        index: u8,
    },
    /// The evidence was made for something else: another machine, chain, key or time.
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
                "the chain has the wrong number of certificates: send all, from the device's to below the root"
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
                "no revocation list covers a certificate of the chain: bring the issuer's current list first"
            }
            Self::OtherAttestationKey => {
                "another attestation key signed the quote than the one that is known: verify its key first"
            }
            Self::QeReportMismatch => {
                "the quoting enclave's report does not name the quote's attestation key"
            }
            Self::QeIdentityMismatch => "the quoting enclave is not Intel's: install the released one",
            Self::CollateralForOtherTee => "the collateral is for another kind of TEE than the quote",
            Self::CollateralForOtherProcessor => {
                "the TCB info is for another family of processors: bring the one of the certificate's FMSPC"
            }
            Self::TdxModuleMismatch => "the TDX module is not one that Intel lists: install a released one",
            Self::NoTcbLevel => {
                "the platform is older than everything Intel lists: update firmware and microcode"
            }
            Self::AdvisoryRefused => {
                "a security advisory that is not accepted applies to the platform: update or reconfigure it"
            }
            Self::EvaluationTooOld => {
                "the collateral is of an older evaluation than required: bring the vendor's current one"
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
            Self::SigningKeyMismatch => {
                "the report says that another kind of key signed it than the certificate's"
            }
            Self::DeviceHidden => "the host hides the device's identity: turn the masking of the chip id off",
            Self::FirmwareMismatch => {
                "the report names other firmware than the device's certificate: read both again after a reset"
            }
            Self::NoReference => {
                "there are no reference values for this driver or firmware: use a listed version"
            }
            Self::WrongBinding => {
                "the evidence was made for another machine, chain, key or moment: collect it anew with what is asked for"
            }
        };
        formatter.write_str(text)
    }
}

impl core::error::Error for EvidenceError {}
