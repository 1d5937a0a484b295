//! What a verified piece of evidence says, in one form for all vendors.

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::{
    Hash,
    binding::{Binding, REPORT_DATA_BYTES},
    error::EvidenceError,
    hash::blake2_256,
    snp::Product,
};

/// The kind of hardware that signed.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub enum Platform {
    /// An Intel SGX enclave.
    #[codec(index = 0)]
    Sgx,
    /// An Intel TDX trust domain.
    #[codec(index = 1)]
    Tdx,
    /// An AMD SEV-SNP guest.
    #[codec(index = 2)]
    SevSnp(Product),
    /// An NVIDIA GPU.
    #[codec(index = 3)]
    NvidiaGpu,
}

/// A vendor's verdict on the firmware and microcode of a platform.
///
/// The names are Intel's. AMD and NVIDIA publish no verdicts: there the required versions and the reference values
/// decide, and what passes them is up to date.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    serde::Deserialize,
)]
pub enum TcbStatus {
    /// Nothing is known against it.
    #[codec(index = 0)]
    UpToDate,
    /// Software in the enclave has to work around a weakness.
    #[codec(index = 1)]
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    /// The machine has to be configured otherwise.
    #[codec(index = 2)]
    ConfigurationNeeded,
    /// Both of the two before.
    #[codec(index = 3)]
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    /// The platform needs an update.
    #[codec(index = 4)]
    OutOfDate,
    /// The platform needs an update and another configuration.
    #[codec(index = 5)]
    OutOfDateConfigurationNeeded,
    /// The TDX module was updated since the trust domain was started: it should be started again.
    #[codec(index = 6)]
    #[serde(rename = "TDRelaunchAdvised")]
    TdRelaunchAdvised,
    /// The one before, and the machine has to be configured otherwise.
    #[codec(index = 7)]
    #[serde(rename = "TDRelaunchAdvisedConfigurationNeeded")]
    TdRelaunchAdvisedConfigurationNeeded,
    /// The platform's keys are known to others: never accepted.
    #[codec(index = 8)]
    Revoked,
}

impl TcbStatus {
    /// How Intel writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
            Self::Revoked => "Revoked",
        }
    }
}

/// How the platform's firmware and microcode stand.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Tcb {
    /// The verdict.
    pub status: TcbStatus,
    /// Of when the level is that the platform reaches, in seconds since 1970; nothing where the vendor says nothing.
    pub date_s: Option<u64>,
}

/// A version as an NVIDIA driver or firmware writes it.
pub type VersionText = BoundedVec<u8, ConstU32<32>>;

/// What runs there: what an allow-list decides about.
#[allow(
    clippy::large_enum_variant,
    reason = "one at a time is looked at, and none of them is kept in memory"
)]
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Workload {
    /// An SGX enclave.
    #[codec(index = 0)]
    Sgx {
        /// Measurement of the enclave's code and data.
        mr_enclave: [u8; 32],
        /// Hash of the key that signed the enclave.
        mr_signer: [u8; 32],
        /// The signer's number for the product.
        product_id: u16,
        /// The signer's number for the version.
        security_version: u16,
        /// The configuration that whoever started the enclave gave to it.
        config_id: [u8; 64],
        /// The version of that configuration.
        config_security_version: u16,
    },
    /// A TDX trust domain.
    #[codec(index = 1)]
    Tdx {
        /// Measurement of what the domain was started with.
        mr_td: [u8; 48],
        /// Measurements of what it loaded afterwards.
        rt_mr: [[u8; 48]; 4],
        /// The configuration that its owner gave to it.
        mr_config_id: [u8; 48],
        /// Its owner.
        mr_owner: [u8; 48],
        /// What the owner configured.
        mr_owner_config: [u8; 48],
    },
    /// A SEV-SNP guest.
    #[codec(index = 2)]
    SevSnp {
        /// Measurement of what the guest was started with.
        measurement: [u8; 48],
        /// What the host told the firmware about the guest when it was started.
        host_data: [u8; 32],
        /// Hash of the key that signed the guest's identity block; zeros without one.
        id_key_digest: [u8; 48],
        /// Hash of the key that signed that key; zeros without one.
        author_key_digest: [u8; 48],
    },
    /// The driver and firmware of a GPU, whose measurements were found among the reference values.
    #[codec(index = 3)]
    NvidiaGpu {
        /// The driver's version.
        driver: VersionText,
        /// The VBIOS's version.
        vbios: VersionText,
    },
}

impl Workload {
    /// What an allow-list can name the workload by: a hash of everything in it.
    pub fn digest(&self) -> Hash {
        blake2_256(&[b"assay/evidence/workload/v1", &self.encode()])
    }
}

/// What was verified about a machine.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Attestation {
    /// The kind of hardware.
    pub platform: Platform,
    /// Hash of the device's identity: equal for all evidence of one processor or GPU, whatever runs there.
    pub device: Hash,
    /// What the evidence was asked for with. A GPU's nonce is in the first 32 bytes, with zeros behind it.
    pub report_data: [u8; REPORT_DATA_BYTES],
    /// What runs there.
    pub workload: Workload,
    /// How firmware and microcode stand.
    pub tcb: Tcb,
    /// Until when certificates and collateral hold, in seconds since 1970.
    pub expires_s: u64,
}

/// An attestation of which nobody has looked yet what it was made for.
///
/// It says that some TEE or GPU is genuine, and not that it is the one of any machine: everybody can send everybody
/// else's evidence. [`bound_to`](Self::bound_to) makes an [`Attestation`] of it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "evidence means nothing before its binding is compared"]
pub struct Unbound(Attestation);

impl Unbound {
    pub(crate) fn new(attestation: Attestation) -> Self {
        Self(attestation)
    }

    /// The attestation, if the evidence was made for exactly this machine, chain, keys and anchor.
    pub fn bound_to(self, binding: &Binding) -> Result<Attestation, EvidenceError> {
        if self.0.report_data == binding.report_data() {
            Ok(self.0)
        } else {
            Err(EvidenceError::WrongBinding)
        }
    }

    /// The attestation without a look at its binding: to show, and never to believe.
    pub fn unchecked(&self) -> &Attestation {
        &self.0
    }
}

/// Whose numbering of devices an identity is of.
#[derive(Clone, Copy)]
pub(crate) enum DeviceNumbering {
    Intel,
    Amd,
    Nvidia,
}

/// The hash that stands for a device. A processor with SGX and TDX has one for both.
pub(crate) fn device_hash(numbering: DeviceNumbering, identity: &[u8]) -> Hash {
    let vendor: &[u8] = match numbering {
        DeviceNumbering::Intel => b"intel",
        DeviceNumbering::Amd => b"amd",
        DeviceNumbering::Nvidia => b"nvidia",
    };
    blake2_256(&[b"assay/evidence/device/v1/", vendor, b"/", identity])
}
