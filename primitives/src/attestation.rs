//! Evidence of TEEs and GPUs: the identity that it is bound to, and what it means to other pallets.

use crate::{machine::MachineId, market::TeeKinds};

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

/// Tells the identity of a machine. Implemented by `pallet-provider-registry`, used by `pallet-attestation`.
pub trait MachineIdentities<AccountId> {
    /// The machine as it stands now; `None` where there is no such machine.
    fn identity_of(machine: MachineId) -> Option<MachineIdentity<AccountId>>;

    /// A machine with GPUs that is in the market and owned by `provider`; for benchmarks of other pallets.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_machine_with_gpus(provider: &AccountId, worker_key: &AccountId) -> MachineId;
}

/// Tells what a machine has fresh evidence of. Implemented by `pallet-attestation`.
pub trait Attestations {
    /// Returns the kinds of evidence that the chain verified and that has not expired.
    fn tee_kinds(machine: MachineId) -> TeeKinds;

    /// Returns true if the machine's work weighs as that of an attested one: it has fresh evidence of a
    /// processor's TEE, and of as many GPUs as it has, all for its present keys.
    fn earns_premium(machine: MachineId) -> bool;
}

/// No machine has evidence of a TEE: what a chain without attestation knows.
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

/// Tells by which key an attested machine signs results. Implemented by `pallet-attestation`, for the
/// verification of tasks.
pub trait AttestedSigners<AccountId> {
    /// The keys in the machine's freshest evidence of a processor's TEE; `None` where it has none for its
    /// present keys.
    ///
    /// Evidence of a GPU does not count: a GPU signs whatever its host asks it to.
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
