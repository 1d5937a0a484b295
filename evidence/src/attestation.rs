//! The contents of verified evidence, in one form for all vendors.

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::{
    Hash,
    binding::{Binding, REPORT_DATA_BYTES},
    error::EvidenceError,
    hash::blake2_256,
    snp::Product,
    tcb::Tcb,
};

/// Kind of hardware that signed the evidence.
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

/// Version in the spelling of an NVIDIA driver or firmware.
pub type VersionText = BoundedVec<u8, ConstU32<32>>;

/// Identity of the attested software, on which an allow-list decides.
#[allow(
    clippy::large_enum_variant,
    reason = "one at a time is looked at, and none of them is kept in memory"
)]
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Workload {
    /// SGX enclave.
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
        /// Configuration given by the party that started the enclave.
        config_id: [u8; 64],
        /// Version of that configuration.
        config_security_version: u16,
    },
    /// TDX trust domain.
    #[codec(index = 1)]
    Tdx {
        /// Measurement of the domain's initial contents.
        mr_td: [u8; 48],
        /// Measurements of what the domain loaded afterwards.
        rt_mr: [[u8; 48]; 4],
        /// Configuration given by the domain's owner.
        mr_config_id: [u8; 48],
        /// Identity of the owner.
        mr_owner: [u8; 48],
        /// Configuration of the owner.
        mr_owner_config: [u8; 48],
    },
    /// SEV-SNP guest.
    #[codec(index = 2)]
    SevSnp {
        /// Measurement of the guest's initial contents.
        measurement: [u8; 48],
        /// Data that the host gave to the firmware at the guest's start.
        host_data: [u8; 32],
        /// Hash of the key that signed the guest's identity block; zeros without one.
        id_key_digest: [u8; 48],
        /// Hash of the key that signed the identity key; zeros without one.
        author_key_digest: [u8; 48],
    },
    /// Driver and firmware of a GPU whose measurements match the reference values.
    #[codec(index = 3)]
    NvidiaGpu {
        /// Version of the driver.
        driver: VersionText,
        /// Version of the VBIOS.
        vbios: VersionText,
    },
}

impl Workload {
    /// Returns the hash of all fields, the workload's name in an allow-list.
    pub fn digest(&self) -> Hash {
        blake2_256(&[b"assay/evidence/workload/v1", &self.encode()])
    }
}

/// Verified facts about a machine.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Attestation {
    /// Kind of hardware.
    pub platform: Platform,
    /// Hash of the device's identity: equal for all evidence of one processor or GPU, for any workload.
    pub device: Hash,
    /// Data that the requester put into the evidence. A GPU's nonce is in the first 32 bytes, followed by
    /// zeros.
    pub report_data: [u8; REPORT_DATA_BYTES],
    /// Attested software.
    pub workload: Workload,
    /// State of firmware and microcode.
    pub tcb: Tcb,
    /// End of validity of certificates and collateral, in seconds since 1970.
    pub expires_s: u64,
}

/// Verified attestation whose binding has not been checked yet.
///
/// It proves that some TEE or GPU is genuine, but not that the device belongs to a given machine: anyone can
/// replay another machine's evidence. [`bound_to`](Self::bound_to) checks the binding and returns the
/// [`Attestation`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "evidence means nothing before its binding is compared"]
pub struct Unbound(Attestation);

impl Unbound {
    pub(crate) fn new(attestation: Attestation) -> Self {
        Self(attestation)
    }

    /// Returns the attestation if the evidence was made for exactly this machine, chain, keys and anchor.
    pub fn bound_to(self, binding: &Binding) -> Result<Attestation, EvidenceError> {
        if self.0.report_data == binding.report_data() {
            Ok(self.0)
        } else {
            Err(EvidenceError::WrongBinding)
        }
    }

    /// Returns the attestation without a check of its binding: for display only, never for a decision.
    pub fn unchecked(&self) -> &Attestation {
        &self.0
    }
}

/// Vendor that numbers the devices.
#[derive(Clone, Copy)]
pub(crate) enum DeviceNumbering {
    Intel,
    Amd,
    Nvidia,
}

/// Returns the hash that identifies a device. A processor with both SGX and TDX has one hash for both.
pub(crate) fn device_hash(numbering: DeviceNumbering, identity: &[u8]) -> Hash {
    let vendor: &[u8] = match numbering {
        DeviceNumbering::Intel => b"intel",
        DeviceNumbering::Amd => b"amd",
        DeviceNumbering::Nvidia => b"nvidia",
    };
    blake2_256(&[b"assay/evidence/device/v1/", vendor, b"/", identity])
}
