//! Evidence of TEEs and GPUs: the identity that it is bound to, and its use by other pallets.

use alloc::vec::Vec;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::sp_core::H256;
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::{
    machine::MachineId,
    market::{TeeKind, TeeKinds},
};

/// Seconds from one moment at which evidence can end to the next: its end is rounded down to such a moment,
/// so that the evidence that ends is found without looking at any other.
pub const EXPIRY_SLOT_S: u64 = 600;

/// Domain separator of the hash that names a verified key.
pub const KEY_CONTEXT: &[u8; 24] = b"assay/attestation/key/v1";

/// Domain separator of the hash of a machine's keys.
pub const KEYS_CONTEXT: &[u8; 25] = b"assay/attestation/keys/v1";

/// Hash of a device's identity.
pub type DeviceHash = H256;

/// Vendor of roots: each of AMD's products has its own.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType))]
#[serde(rename_all = "camelCase")]
pub enum Vendor {
    /// Intel: SGX and TDX.
    #[codec(index = 0)]
    Intel,
    /// AMD's EPYC 7003.
    #[codec(index = 1)]
    AmdMilan,
    /// AMD's EPYC 9004 and 8004.
    #[codec(index = 2)]
    AmdGenoa,
    /// AMD's EPYC 9005.
    #[codec(index = 3)]
    AmdTurin,
    /// NVIDIA: GPUs.
    #[codec(index = 4)]
    Nvidia,
}

/// Vendor of a key that signs evidence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyVendor {
    /// Key of an Intel platform's quoting enclave.
    Intel = 0,
    /// Key of an AMD chip, or of a cloud for its chips.
    Amd = 1,
    /// Key of an NVIDIA GPU.
    Nvidia = 2,
}

/// Returns the bytes whose Blake2-256 hash names a verified key: `context ‖ vendor ‖ point on the curve`, as
/// SCALE encodes them.
pub fn key_message(vendor: KeyVendor, key: &[u8]) -> Vec<u8> {
    (KEY_CONTEXT, vendor as u8, key).encode()
}

/// Returns the bytes whose Blake2-256 hash is compared when a machine's keys change:
/// `context ‖ worker key ‖ sealing key`.
pub fn keys_message(worker_key: &[u8; 32], sealing_key: &[u8; 32]) -> Vec<u8> {
    (KEYS_CONTEXT, worker_key, sealing_key).encode()
}

/// Names a piece of a machine's evidence: a processor may have some of SGX and some of TDX.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub struct EvidenceId {
    /// The device that signed.
    pub device: DeviceHash,
    /// Kind of TEE that it signed as.
    pub kind: TeeKind,
}

impl EvidenceId {
    /// Returns true if a processor signed, and so vouches for the software that runs on it and for its keys.
    pub fn is_of_processor(&self) -> bool {
        self.kind != TeeKind::NvidiaGpu
    }
}

/// Identity that evidence of a machine has to be bound to, and how much of it makes the machine attested.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineIdentity<AccountId> {
    /// The account that owns the machine.
    pub provider: AccountId,
    /// The hot key that acts for it.
    pub worker_key: AccountId,
    /// X25519 key that consumers encrypt to.
    pub sealing_key: [u8; 32],
    /// GPUs that its slots stand for; none where its class has no GPU.
    pub gpus: u8,
    /// True unless it left the market for good.
    pub is_in_market: bool,
}

/// Source of a machine's identity. Implemented by `pallet-provider-registry`, used by `pallet-attestation`.
pub trait MachineIdentities<AccountId> {
    /// The machine as it stands now; `None` where there is no such machine.
    fn identity_of(machine: MachineId) -> Option<MachineIdentity<AccountId>>;

    /// A machine with GPUs that is in the market and owned by `provider`; for benchmarks of other pallets.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_machine_with_gpus(provider: &AccountId, worker_key: &AccountId) -> MachineId;
}

/// Source of a machine's fresh evidence. Implemented by `pallet-attestation`.
pub trait Attestations {
    /// Returns the kinds of evidence that the chain verified and that has not expired.
    fn tee_kinds(machine: MachineId) -> TeeKinds;

    /// Returns true if the machine's work weighs as that of an attested one: it has fresh evidence of a
    /// processor's TEE, and of as many GPUs as it has, all for its present keys.
    fn earns_premium(machine: MachineId) -> bool;
}

/// No machine has evidence of a TEE, as on a chain without attestation.
impl Attestations for () {
    fn tee_kinds(_: MachineId) -> TeeKinds {
        TeeKinds::NONE
    }

    fn earns_premium(_: MachineId) -> bool {
        false
    }
}

/// Hears that a machine's evidence became more or less. Implemented by `pallet-provider-registry`, called by
/// `pallet-attestation`.
pub trait OnAttestationChange {
    /// [`Attestations`] may answer differently for the machine from now on.
    fn on_attestation_change(machine: MachineId);
}

impl OnAttestationChange for () {
    fn on_attestation_change(_: MachineId) {}
}

/// The keys that fresh evidence of a processor's TEE is bound to: only software in that TEE has their secret
/// parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttestedKeys<AccountId> {
    /// The sr25519 key that signs for the machine.
    pub worker_key: AccountId,
    /// The X25519 key that consumers encrypt to.
    pub sealing_key: [u8; 32],
    /// End of the evidence, in seconds since 1970.
    pub until_s: u64,
}

/// Source of the keys by which attested machines sign results. Implemented by `pallet-attestation`, for the
/// verification of tasks.
pub trait AttestedSigners<AccountId> {
    /// The keys in the machine's freshest evidence of a processor's TEE; `None` where it has none for its
    /// present keys.
    ///
    /// Evidence of a GPU does not count: a GPU signs any request of its host.
    fn attested_keys(machine: MachineId) -> Option<AttestedKeys<AccountId>>;

    /// Gives a machine as much evidence as a machine can have, for its present keys and for longer than any
    /// benchmark lasts; for benchmarks of other pallets.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_attest(machine: MachineId);
}

/// Nobody is attested.
impl<AccountId> AttestedSigners<AccountId> for () {
    fn attested_keys(_: MachineId) -> Option<AttestedKeys<AccountId>> {
        None
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_attest(_: MachineId) {
        panic!("where nobody is attested, nothing can be measured that needs it")
    }
}
