//! Evidence of machines' TEEs and confidential GPUs.
//!
//! A provider or its machine's worker submits evidence that the device signed. The runtime verifies it, down
//! to the root of the device's vendor, with the crate `assay_evidence`. Evidence is valid until the first end
//! of its certificates, of the vendor's collateral, and of [`Config::EvidenceLifetimeS`]. While it is valid
//! the market shows it, the machine weighs more in the emission, and its keys sign results of attested tasks.
//!
//! ```text
//! evidence ──▶ key ──▶ chain ──▶ root       trusted by governance Roots
//!    │          │        └─────▶ lists, TCB  published by vendors  RevocationLists, TcbInfos, QeIdentities
//!    │          └ kept: a renewal verifies one signature           VerifiedKeys
//!    ├─ bound to chain, machine, keys, anchor block
//!    ├─ workload on the allow-list, measurements as in references  AllowedWorkloads, References
//!    └─ device recorded for this machine alone                     Attested, Devices, Expiries
//! ```
//!
//! Design goals, each held by a test:
//!
//! 1. Only evidence that is verified down to a root that governance trusts gets into storage. No feature or
//!    configuration opens another way.
//! 2. Evidence is valid for one machine of one chain with its present keys. A change of a machine's keys ends
//!    its evidence at once, without a further call.
//! 3. One device, one machine: while a device's evidence is valid for one machine, it is refused for every
//!    other.
//! 4. Expiry reads nothing else: an agenda has each piece of evidence by the time of its end, and the hook
//!    serves it. No reader takes evidence as valid after its end, even if the agenda is late.
//! 5. Collateral is replaced only by newer collateral, from any account.
//! 6. A deposit pays for every byte and comes back with its removal. Only governance writes entries without
//!    one.
//! 7. A failed submission costs its fee and nothing else. No call punishes by itself: see
//!    [`Pallet::condemn`].

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod book;
mod calls;
mod deposits;
mod genesis;
mod governance;
mod hooks;
#[cfg(test)]
mod mock;
mod standing;
#[cfg(any(test, feature = "runtime-benchmarks"))]
mod test_vendors;
#[cfg(test)]
mod tests;
mod try_state;
mod types;
mod verify;
pub mod weights;

pub use genesis::{GenesisRoot, GenesisWorkload, vendors_genesis_roots};
pub use pallet::*;
pub use types::{
    CertificateBytes, CertificateChain, Collateral, CollateralId, CollateralRecord, DeviceHash,
    EXPIRY_SLOT_S, Evidence, EvidenceId, EvidenceRecord, ExpirySlot, KeyId, KeyRecord, KeySource,
    MAX_EVIDENCE, MAX_LIST_BYTES, MachineEvidence, MachineEvidenceOf, Policies, Refusal, SignedJson,
    Supersede, TcbInfoId, Vendor, VerifiedKey, WorkloadName, keys_digest,
};
pub use weights::WeightInfo;

#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use alloc::vec::Vec;

    use assay_evidence::{
        RevocationList, TrustRoots,
        intel::{IntelTee, QeIdentity, TcbInfo},
        nvidia::Reference,
    };
    use assay_primitives::{
        attestation::{MachineIdentities, OnAttestationChange},
        clock::WallClock,
        machine::MachineId,
        money::Balance,
        offence::{ReportOffence, SlashId},
    };
    use polkadot_sdk::{
        frame_support::{
            pallet_prelude::*,
            traits::{StorageVersion, fungible},
            weights::WeightMeter,
        },
        frame_system::pallet_prelude::*,
        sp_core::{Bytes, H256},
    };

    use crate::{
        CertificateBytes, Collateral, CollateralId, CollateralRecord, DeviceHash, Evidence, EvidenceId,
        ExpirySlot, GenesisRoot, GenesisWorkload, KeyId, KeyRecord, MachineEvidenceOf, Policies, Refusal,
        TcbInfoId, Vendor, WeightInfo, WorkloadName,
    };

    /// Version of the storage layout below.
    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    /// Accounts are the 32 bytes of a public key, because evidence is bound to a worker's.
    #[pallet::config]
    pub trait Config:
        polkadot_sdk::frame_system::Config<
            RuntimeEvent: From<Event<Self>>,
            AccountId: Into<[u8; 32]>,
            Hash: Into<[u8; 32]>,
        >
    {
        /// Currency of deposits.
        type Currency: fungible::hold::Mutate<Self::AccountId, Reason = Self::RuntimeHoldReason>
            + fungible::Inspect<Self::AccountId, Balance = Balance>;

        /// Hold reasons of the runtime.
        type RuntimeHoldReason: From<HoldReason>;

        /// Origin that decides about roots, workloads, references and policies.
        type AdminOrigin: EnsureOrigin<Self::RuntimeOrigin>;

        /// Identities of machines: providers, keys and GPUs.
        type Machines: MachineIdentities<Self::AccountId>;

        /// Listener for machines whose evidence changed.
        type OnAttestationChange: OnAttestationChange;

        /// Receiver of the offence of forged evidence. Implemented by the stakes, which slash.
        type Offences: ReportOffence<Self::AccountId>;

        /// Clock of the time of day, for the validity of certificates.
        type WallClock: WallClock;

        /// Maximum age of an anchor in blocks; at most the number of hashes that the runtime keeps. The
        /// larger, the older evidence may be; too small, and slow devices never make it.
        #[pallet::constant]
        type MaxAnchorAge: Get<BlockNumberFor<Self>>;

        /// Maximum lifetime of evidence in seconds, however long its certificates are valid. The longer, the
        /// longer a machine whose TEE is lost or revoked counts as attested; the shorter, the more often all
        /// renew.
        #[pallet::constant]
        type EvidenceLifetimeS: Get<u64>;

        /// Plancks held for an entry in storage. A change applies to later entries only.
        #[pallet::constant]
        type ItemDeposit: Get<Balance>;

        /// Plancks held for each byte of an entry, its key included. A change applies to later entries only.
        #[pallet::constant]
        type ByteDeposit: Get<Balance>;

        /// Maximum weight that a block spends on expired evidence, however much it has left; enough for one
        /// unit.
        #[pallet::constant]
        type MaxServiceWeight: Get<Weight>;

        /// Weights of this pallet's calls and hooks.
        type WeightInfo: WeightInfo;
    }

    /// Reasons for which this pallet holds plancks.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// Deposit for the evidence of machines, from their providers.
        #[codec(index = 0)]
        Evidence,
        /// Deposit for verified keys, from the providers whose machines submitted them.
        #[codec(index = 1)]
        Key,
        /// Deposit for collateral, from its submitter.
        #[codec(index = 2)]
        Collateral,
    }

    /// Trusted roots: every chain must end in one.
    #[pallet::storage]
    pub type Roots<T> = StorageValue<_, TrustRoots, ValueQuery>;

    /// Policies for the acceptance of each vendor's evidence.
    #[pallet::storage]
    pub type CurrentPolicies<T> = StorageValue<_, Policies, ValueQuery>;

    /// Accepted workloads of processors' TEEs, by their digests.
    #[pallet::storage]
    pub type AllowedWorkloads<T> = StorageMap<_, Blake2_128Concat, H256, WorkloadName>;

    /// Reference values of GPUs' measurements, by [`Reference::key`].
    #[pallet::storage]
    pub type References<T> = StorageMap<_, Blake2_128Concat, H256, Reference>;

    /// TCB infos: Intel's verdicts on families of processors.
    #[pallet::storage]
    pub type TcbInfos<T: Config> =
        StorageMap<_, Blake2_128Concat, TcbInfoId, CollateralRecord<TcbInfo, T::AccountId>>;

    /// Identities of Intel's quoting enclaves.
    #[pallet::storage]
    pub type QeIdentities<T: Config> =
        StorageMap<_, Blake2_128Concat, IntelTee, CollateralRecord<QeIdentity, T::AccountId>>;

    /// Lists of revoked certificates, by the hash of their issuer's name and key.
    #[pallet::storage]
    pub type RevocationLists<T: Config> =
        StorageMap<_, Blake2_128Concat, H256, CollateralRecord<RevocationList, T::AccountId>>;

    /// Keys whose chains were verified. Each use checks roots, times and revocation again.
    #[pallet::storage]
    pub type VerifiedKeys<T: Config> = StorageMap<_, Blake2_128Concat, KeyId, KeyRecord<T::AccountId>>;

    /// Evidence of machines.
    #[pallet::storage]
    pub type Attested<T: Config> = StorageMap<_, Twox64Concat, MachineId, MachineEvidenceOf<T>>;

    /// Machine of each device with evidence.
    #[pallet::storage]
    pub type Devices<T> = StorageMap<_, Blake2_128Concat, DeviceHash, MachineId>;

    /// Devices whose evidence is not accepted, because their keys are compromised.
    #[pallet::storage]
    pub type BannedDevices<T> = StorageMap<_, Blake2_128Concat, DeviceHash, ()>;

    /// Agenda of all evidence by the slot in which it ends.
    #[pallet::storage]
    pub type Expiries<T> =
        StorageDoubleMap<_, Twox64Concat, ExpirySlot, Blake2_128Concat, (MachineId, EvidenceId), ()>;

    /// First slot whose evidence may still be there; none before the first block.
    #[pallet::storage]
    pub type NextExpirySlot<T> = StorageValue<_, ExpirySlot>;

    /// Genesis state. The default has the vendors' roots, and nothing that could be accepted.
    #[pallet::genesis_config]
    pub struct GenesisConfig<T: Config> {
        /// Trusted roots.
        pub roots: Vec<GenesisRoot>,
        /// Allow-list of workloads.
        pub workloads: Vec<GenesisWorkload>,
        /// SCALE-encoded [`Reference`]s.
        pub references: Vec<Bytes>,
        /// SCALE-encoded [`Collateral`], verified like any other, in this order; so lists come first.
        pub collateral: Vec<Bytes>,
        /// Time at which the collateral is verified, in seconds since 1970: genesis has no clock.
        pub collateral_time_s: u64,
        /// Ties the configuration to its runtime.
        #[serde(skip)]
        pub _config: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            self.write();
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// Evidence was verified and is valid.
        EvidenceAccepted {
            /// The machine.
            machine: MachineId,
            /// Device that signed, and kind of TEE.
            id: EvidenceId,
            /// Digest of the workload.
            workload: H256,
            /// End of its validity, in seconds since 1970.
            until_s: u64,
        },
        /// The provider or worker took evidence back.
        EvidenceWithdrawn {
            /// The machine.
            machine: MachineId,
            /// Device that had signed, and kind of TEE.
            id: EvidenceId,
        },
        /// Evidence has ended.
        EvidenceExpired {
            /// The machine.
            machine: MachineId,
            /// Device that had signed, and kind of TEE.
            id: EvidenceId,
        },
        /// Governance removed evidence.
        EvidenceDropped {
            /// The machine.
            machine: MachineId,
            /// Device that had signed, and kind of TEE.
            id: EvidenceId,
        },
        /// A key's chain was verified, and it is kept.
        KeyKept {
            /// The key.
            key: KeyId,
            /// Account that pays its deposit.
            owner: T::AccountId,
            /// End of its certificates' validity, in seconds since 1970.
            valid_until_s: u64,
        },
        /// A key was removed; the next submission that uses it must bring its chain.
        KeyRemoved {
            /// The key.
            key: KeyId,
        },
        /// Newer collateral was accepted.
        CollateralRenewed {
            /// Identifier of the collateral.
            collateral: CollateralId,
        },
        /// Governance removed collateral.
        CollateralRemoved {
            /// Identifier of the collateral.
            collateral: CollateralId,
        },
        /// A root was added to the trusted ones.
        RootAdded {
            /// Vendor of the root.
            vendor: Vendor,
            /// Its fingerprint.
            fingerprint: H256,
        },
        /// A root was removed: chains that end in it are not trusted any more.
        RootRemoved {
            /// Vendor of the root.
            vendor: Vendor,
            /// Its fingerprint.
            fingerprint: H256,
        },
        /// A workload was put on the allow-list.
        WorkloadAllowed {
            /// Its digest.
            digest: H256,
        },
        /// A workload was removed from the allow-list.
        WorkloadDisallowed {
            /// Its digest.
            digest: H256,
        },
        /// Reference values for a driver or VBIOS were set.
        ReferenceSet {
            /// [`Reference::key`] of it.
            reference: H256,
        },
        /// Reference values for a driver or VBIOS were removed.
        ReferenceRemoved {
            /// [`Reference::key`] of it.
            reference: H256,
        },
        /// Governance set the policies.
        PoliciesSet,
        /// A device was banned: its evidence is not accepted any more.
        DeviceBanned {
            /// The device.
            device: DeviceHash,
        },
        /// A device was unbanned: its evidence is accepted again.
        DeviceUnbanned {
            /// The device.
            device: DeviceHash,
        },
        /// Governance condemned a machine for evidence that was forged, or relayed from another machine.
        MachineCondemned {
            /// The machine.
            machine: MachineId,
            /// Device that signed, or seemed to.
            device: DeviceHash,
            /// Slash for it.
            slash: SlashId,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// There is no such machine.
        NoSuchMachine,
        /// The signer is neither the machine's provider nor its worker key.
        NotProvider,
        /// The machine has left the market.
        MachineRetired,
        /// The anchor is in the future, or too old: collect evidence for a recent block.
        AnchorNotRecent,
        /// The verification of evidence or collateral failed; the refusal has the reason.
        Refused(Refusal),
        /// The named key signs evidence of another kind.
        KeyOfOtherVendor,
        /// There is no such key: submit its chain.
        NoSuchKey,
        /// The evidence carries no chain of certificates: submit it beside the evidence.
        NoChain,
        /// There is no TCB info for this TEE and family of processors: submit Intel's.
        NoTcbInfo,
        /// There is no identity of this TEE's quoting enclave: submit Intel's.
        NoQeIdentity,
        /// The workload of the evidence is not on the allow-list.
        WorkloadNotAllowed,
        /// The device is banned.
        DeviceBanned,
        /// Another machine has this device: withdraw its evidence there, or wait until it ends.
        DeviceTaken,
        /// The machine has evidence of another processor: withdraw that first.
        OtherProcessor,
        /// The machine has the maximum number of pieces of evidence.
        TooMuchEvidence,
        /// The anchor is not later than that of the existing evidence.
        NotNewer,
        /// Certificates or collateral end within minutes: renew them first.
        ExpiresTooSoon,
        /// There is no such evidence.
        NoSuchEvidence,
        /// The key belongs to another account and its certificates are valid.
        KeyInUse,
        /// The chain has collateral that is as new, or of a later evaluation.
        CollateralNotNewer,
        /// There is no such collateral.
        NoSuchCollateral,
        /// The root is trusted already.
        RootKnown,
        /// There is no such root.
        NoSuchRoot,
        /// The vendor has the maximum number of roots.
        TooManyRoots,
        /// The workload is not on the allow-list.
        NoSuchWorkload,
        /// The reference has no measurement: it would accept everything.
        EmptyReference,
        /// There is no such reference.
        NoSuchReference,
        /// The device is not banned.
        DeviceNotBanned,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_poll(_: BlockNumberFor<T>, meter: &mut WeightMeter) {
            Self::serve_expiries(meter);
        }

        fn integrity_test() {
            assert!(
                T::EvidenceLifetimeS::get() >= 2 * crate::EXPIRY_SLOT_S,
                "evidence would have ended before it counts"
            );
            assert!(
                T::MaxAnchorAge::get() <= T::BlockHashCount::get(),
                "anchors would be allowed whose hashes are forgotten"
            );
            assert!(
                Self::one_unit_weight().all_lte(T::MaxServiceWeight::get()),
                "the hook may not even do one unit"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Submits evidence of a machine's processor or GPU, or renews it.
        ///
        /// The evidence must be bound to [`Binding`](assay_evidence::Binding): this chain, the machine, its
        /// present keys, and the anchor. A renewal before its end leaves no gap. The provider pays the
        /// deposits, whoever signs.
        ///
        /// # Origin
        /// Signed, by the machine's provider or worker key.
        ///
        /// # Parameters
        /// - `machine`: the machine.
        /// - `anchor`: a block of the last [`Config::MaxAnchorAge`], before this one.
        /// - `evidence`: the device's evidence, and the source of its key. A known key costs a fraction.
        ///
        /// # Errors
        /// - [`Error::NoSuchMachine`], [`Error::NotProvider`], [`Error::MachineRetired`],
        ///   [`Error::AnchorNotRecent`]
        /// - [`Error::NoSuchKey`], [`Error::KeyOfOtherVendor`], [`Error::NoChain`]: about the source of the
        ///   key.
        /// - [`Error::NoTcbInfo`], [`Error::NoQeIdentity`]: nobody submitted it yet.
        /// - [`Error::Refused`]: the evidence is wrong, or bound to something else.
        /// - [`Error::DeviceBanned`], [`Error::WorkloadNotAllowed`], [`Error::ExpiresTooSoon`]
        /// - [`Error::DeviceTaken`], [`Error::OtherProcessor`], [`Error::TooMuchEvidence`],
        ///   [`Error::NotNewer`]
        ///
        /// # Events
        /// - [`Event::EvidenceAccepted`], and [`Event::KeyKept`] for a new key
        #[pallet::call_index(0)]
        #[pallet::weight(evidence.weight::<T::WeightInfo>())]
        pub fn submit_evidence(
            origin: OriginFor<T>,
            machine: MachineId,
            anchor: BlockNumberFor<T>,
            evidence: Evidence,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_submit_evidence(who, machine, anchor, &evidence)
        }

        /// Withdraws evidence, and releases its deposit to the provider. Then another machine can use the
        /// device.
        ///
        /// # Origin
        /// Signed, by the machine's provider or worker key.
        ///
        /// # Errors
        /// - [`Error::NoSuchMachine`], [`Error::NotProvider`], [`Error::NoSuchEvidence`]
        ///
        /// # Events
        /// - [`Event::EvidenceWithdrawn`]
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::withdraw_evidence())]
        pub fn withdraw_evidence(origin: OriginFor<T>, machine: MachineId, id: EvidenceId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_withdraw_evidence(who, machine, id)
        }

        /// Removes a verified key, and releases its deposit to its owner. Evidence that it signed stays
        /// valid.
        ///
        /// # Origin
        /// Signed, by its owner; by anybody once its certificates are not valid any more.
        ///
        /// # Errors
        /// - [`Error::NoSuchKey`], [`Error::KeyInUse`]
        ///
        /// # Events
        /// - [`Event::KeyRemoved`]
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::remove_key())]
        pub fn remove_key(origin: OriginFor<T>, key: KeyId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_remove_key(&who, key)
        }

        /// Submits a vendor's collateral, which replaces older collateral.
        ///
        /// A deposit is held for it until newer collateral replaces it.
        ///
        /// # Origin
        /// Signed, by anybody.
        ///
        /// # Errors
        /// - [`Error::Refused`]: the vendor did not sign it, or it has expired.
        /// - [`Error::CollateralNotNewer`]: the existing collateral is as new.
        ///
        /// # Events
        /// - [`Event::CollateralRenewed`]
        #[pallet::call_index(3)]
        #[pallet::weight(collateral.weight::<T::WeightInfo>())]
        pub fn submit_collateral(origin: OriginFor<T>, collateral: Collateral) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_submit_collateral(Some(who), &collateral, T::WallClock::now_s())
        }

        /// Puts a workload on the allow-list, or renames it.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Parameters
        /// - `digest`: its [`Workload::digest`](assay_evidence::Workload::digest).
        /// - `name`: its name, for readers outside.
        ///
        /// # Events
        /// - [`Event::WorkloadAllowed`]
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::allow_workload())]
        pub fn allow_workload(origin: OriginFor<T>, digest: H256, name: WorkloadName) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_allow_workload(digest, name);
            Ok(())
        }

        /// Removes a workload from the allow-list. Accepted evidence stays valid until its end.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Errors
        /// - [`Error::NoSuchWorkload`]
        ///
        /// # Events
        /// - [`Event::WorkloadDisallowed`]
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::disallow_workload())]
        pub fn disallow_workload(origin: OriginFor<T>, digest: H256) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_disallow_workload(digest)
        }

        /// Sets the reference values of a driver or VBIOS.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Errors
        /// - [`Error::EmptyReference`]
        ///
        /// # Events
        /// - [`Event::ReferenceSet`]
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::set_reference())]
        pub fn set_reference(origin: OriginFor<T>, reference: Reference) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_set_reference(reference)
        }

        /// Removes the reference values of a driver or VBIOS: it is not accepted any more.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Errors
        /// - [`Error::NoSuchReference`]
        ///
        /// # Events
        /// - [`Event::ReferenceRemoved`]
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::remove_reference())]
        pub fn remove_reference(origin: OriginFor<T>, reference: H256) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_remove_reference(reference)
        }

        /// Adds a root certificate to the trusted ones.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Errors
        /// - [`Error::Refused`]: the certificate is no root certificate.
        /// - [`Error::RootKnown`], [`Error::TooManyRoots`]
        ///
        /// # Events
        /// - [`Event::RootAdded`]
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::add_root())]
        pub fn add_root(
            origin: OriginFor<T>,
            vendor: Vendor,
            certificate: CertificateBytes,
        ) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_add_root(vendor, &certificate)
        }

        /// Removes a trusted root, and with it the trust in chains, kept keys and collateral that end in it.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Parameters
        /// - `fingerprint`: its [`TrustRoot::fingerprint`](assay_evidence::TrustRoot::fingerprint).
        ///
        /// # Errors
        /// - [`Error::NoSuchRoot`]
        ///
        /// # Events
        /// - [`Event::RootRemoved`]
        #[pallet::call_index(9)]
        #[pallet::weight(T::WeightInfo::remove_root())]
        pub fn remove_root(origin: OriginFor<T>, vendor: Vendor, fingerprint: H256) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_remove_root(vendor, fingerprint)
        }

        /// Sets the policies for each vendor's evidence, from the next submission on.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Events
        /// - [`Event::PoliciesSet`]
        #[pallet::call_index(10)]
        #[pallet::weight(T::WeightInfo::set_policies())]
        pub fn set_policies(origin: OriginFor<T>, policies: Policies) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            CurrentPolicies::<T>::put(policies);
            Self::deposit_event(Event::PoliciesSet);
            Ok(())
        }

        /// Removes collateral, in case its signing key was compromised, and releases its deposit.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Errors
        /// - [`Error::NoSuchCollateral`]
        ///
        /// # Events
        /// - [`Event::CollateralRemoved`]
        #[pallet::call_index(11)]
        #[pallet::weight(T::WeightInfo::remove_collateral())]
        pub fn remove_collateral(origin: OriginFor<T>, collateral: CollateralId) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_remove_collateral(collateral)
        }

        /// Bans a device: no evidence of it is accepted any more, and its existing evidence is removed.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Errors
        /// - [`Error::DeviceBanned`]: it is banned already.
        ///
        /// # Events
        /// - [`Event::DeviceBanned`], and [`Event::EvidenceDropped`] for each piece
        #[pallet::call_index(12)]
        #[pallet::weight(T::WeightInfo::ban_device())]
        pub fn ban_device(origin: OriginFor<T>, device: DeviceHash) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_ban_device(device)
        }

        /// Unbans a device: its evidence is accepted again.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Errors
        /// - [`Error::DeviceNotBanned`]
        ///
        /// # Events
        /// - [`Event::DeviceUnbanned`]
        #[pallet::call_index(13)]
        #[pallet::weight(T::WeightInfo::unban_device())]
        pub fn unban_device(origin: OriginFor<T>, device: DeviceHash) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_unban_device(device)
        }

        /// Condemns a machine for forged or relayed evidence: its whole bond is to be slashed, and it
        /// retires.
        ///
        /// The only way to this offence. The chain cannot tell a relay from an honest mistake: a GPU signs
        /// for every tenant that asks it, hardware is sold and moved, and two tenants of a cloud may share a
        /// processor. A device that two machines claim is refused to the second, so a relay gains nothing
        /// meanwhile, and submissions stay in the chain's blocks for everybody to judge. The slash waits in
        /// the agenda of the stakes, where it can be cancelled.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Parameters
        /// - `machine`: the machine whose provider relayed.
        /// - `device`: the device of the evidence; the machine's evidence of it is removed.
        ///
        /// # Errors
        /// - The stakes' error for a machine that does not exist.
        ///
        /// # Events
        /// - [`Event::MachineCondemned`], and [`Event::EvidenceDropped`] for each piece
        #[pallet::call_index(14)]
        #[pallet::weight(T::WeightInfo::condemn())]
        pub fn condemn(origin: OriginFor<T>, machine: MachineId, device: DeviceHash) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_condemn(machine, device)
        }
    }

    #[pallet::view_functions]
    impl<T: Config> Pallet<T> {
        /// Returns the challenge for evidence of a machine, with this block as the anchor: the nonce for a
        /// GPU, and the report data of other devices, padded with 32 zeros. `None` if there is no such
        /// machine or the anchor is not recent.
        pub fn binding_digest(machine: MachineId, anchor: BlockNumberFor<T>) -> Option<H256> {
            let identity = T::Machines::identity_of(machine)?;
            let binding = Self::binding_to(machine, &identity, anchor).ok()?;
            Some(binding.digest().into())
        }
    }
}
