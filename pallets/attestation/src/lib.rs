//! Which machines have fresh evidence of a TEE or a confidential GPU.
//!
//! A provider or its machine's worker submits what the device signed; the runtime verifies it, down to the root of the
//! device's vendor, with the crate `assay_evidence`. Evidence counts until the first of its ends: of its certificates, of
//! the vendor's collateral, or of [`Config::EvidenceLifetimeS`]. While it counts, the market says so, the machine's work
//! weighs more in the emission, and its keys sign results of attested tasks.
//!
//! ```text
//! evidence ──▶ key ──▶ chain ──▶ root           whom governance trusts        Roots
//!    │          │        └─────▶ lists, TCB      what vendors publish, brought  RevocationLists, TcbInfos, QeIdentities
//!    │          └ kept: a renewal verifies one signature                        VerifiedKeys
//!    ├─ bound to chain, machine, keys, anchor block
//!    ├─ workload on the allow-list, measurements as in the references           AllowedWorkloads, References
//!    └─ device recorded for this machine alone                                  Attested, Devices, Expiries
//! ```
//!
//! Design goals, each held by a test:
//!
//! 1. Nothing counts that was not verified down to a root that governance trusts: there is no other way into storage, and
//!    no feature or configuration that opens one.
//! 2. Evidence is good for one machine of one chain with its present keys. When a machine's keys change, its evidence
//!    counts for nothing at once, without anybody's help.
//! 3. One device, one machine: as long as a device's evidence counts for one, it is refused for every other.
//! 4. Ends are found without looking at anything else: each piece of evidence has its place in an agenda by the moment at
//!    which it ends, which the block's hook serves; and nothing reads evidence as fresh after its end, even where the
//!    agenda is late.
//! 5. Collateral only ever gets newer, whoever brings it.
//! 6. Every byte is paid for by a deposit, which comes back with its removal; and only governance writes what nobody pays
//!    for.
//! 7. What fails costs its fee and nothing else. No call punishes by itself: see [`Pallet::condemn`].

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod book;
mod calls;
mod deposits;
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

pub use pallet::*;
pub use types::{
    CertificateBytes, CertificateChain, Collateral, CollateralId, CollateralRecord, DeviceHash,
    EXPIRY_SLOT_S, Evidence, EvidenceId, EvidenceRecord, ExpirySlot, GenesisRoot, GenesisWorkload, KeyId,
    KeyRecord, KeySource, MAX_EVIDENCE, MAX_LIST_BYTES, MachineEvidence, MachineEvidenceOf, Policies,
    Refusal, SignedJson, Supersede, TcbInfoId, Vendor, VerifiedKey, WorkloadName, keys_digest,
    vendors_genesis_roots,
};
pub use weights::WeightInfo;

#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use alloc::vec::Vec;

    use assay_evidence::{
        RevocationList, TrustRoots,
        intel::{QeIdentity, TcbInfo, TeeKind as IntelTee},
        nvidia::Reference,
    };
    use assay_primitives::{
        attestation::{MachineIdentities, OnAttestationChange},
        clock::WallClock,
        machine::MachineId,
        money::Balance,
        offence::{ReportOffence, SlashId},
    };
    use codec::DecodeAll;
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
        TcbInfoId, Vendor, WeightInfo, WorkloadName, vendors_genesis_roots,
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
        /// The money that deposits are held in.
        type Currency: fungible::hold::Mutate<Self::AccountId, Reason = Self::RuntimeHoldReason>
            + fungible::Inspect<Self::AccountId, Balance = Balance>;

        /// The runtime's reasons of holds.
        type RuntimeHoldReason: From<HoldReason>;

        /// Who decides about roots, workloads, references and policies.
        type AdminOrigin: EnsureOrigin<Self::RuntimeOrigin>;

        /// Tells who machines are.
        type Machines: MachineIdentities<Self::AccountId>;

        /// Hears of every machine whose evidence became more or less.
        type OnAttestationChange: OnAttestationChange;

        /// Punishes who forged evidence.
        type Offences: ReportOffence<Self::AccountId>;

        /// Tells the time by which certificates are valid.
        type WallClock: WallClock;

        /// Blocks that an anchor may be behind; no more than the hashes that the runtime keeps. The more, the older evidence
        /// may be when it comes; too few, and slow devices never make it.
        #[pallet::constant]
        type MaxAnchorAge: Get<BlockNumberFor<Self>>;

        /// Seconds that evidence counts at most, however long its certificates are valid. The longer, the longer a machine
        /// that lost its TEE or whose vendor revoked it counts as attested; the shorter, the more often all renew.
        #[pallet::constant]
        type EvidenceLifetimeS: Get<u64>;

        /// Plancks held for an entry in storage. A change counts for later entries only.
        #[pallet::constant]
        type ItemDeposit: Get<Balance>;

        /// Plancks held for each byte of an entry, its key included. A change counts for later entries only.
        #[pallet::constant]
        type ByteDeposit: Get<Balance>;

        /// Most weight that a block spends on evidence that ends, however much it has left. Must be enough for one unit.
        #[pallet::constant]
        type MaxServiceWeight: Get<Weight>;

        /// Weights of this pallet's calls and hooks.
        type WeightInfo: WeightInfo;
    }

    /// Why this pallet holds plancks.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// For the evidence of machines, from their providers.
        #[codec(index = 0)]
        Evidence,
        /// For verified keys, from the providers whose machines brought them.
        #[codec(index = 1)]
        Key,
        /// For collateral, from who brought it.
        #[codec(index = 2)]
        Collateral,
    }

    /// The roots that chains must end in.
    #[pallet::storage]
    pub type Roots<T> = StorageValue<_, TrustRoots, ValueQuery>;

    /// What is accepted of each vendor.
    #[pallet::storage]
    pub type CurrentPolicies<T> = StorageValue<_, Policies, ValueQuery>;

    /// Workloads of processors' TEEs that are accepted, by their digests.
    #[pallet::storage]
    pub type AllowedWorkloads<T> = StorageMap<_, Blake2_128Concat, H256, WorkloadName>;

    /// What measurements of GPUs have to be, by [`Reference::key`].
    #[pallet::storage]
    pub type References<T> = StorageMap<_, Blake2_128Concat, H256, Reference>;

    /// Intel's verdicts on families of processors.
    #[pallet::storage]
    pub type TcbInfos<T: Config> =
        StorageMap<_, Blake2_128Concat, TcbInfoId, CollateralRecord<TcbInfo, T::AccountId>>;

    /// What Intel's quoting enclaves have to be.
    #[pallet::storage]
    pub type QeIdentities<T: Config> =
        StorageMap<_, Blake2_128Concat, IntelTee, CollateralRecord<QeIdentity, T::AccountId>>;

    /// Lists of revoked certificates, by the hash of their issuer's name and key.
    #[pallet::storage]
    pub type RevocationLists<T: Config> =
        StorageMap<_, Blake2_128Concat, H256, CollateralRecord<RevocationList, T::AccountId>>;

    /// Keys whose chains were verified. Roots, times and revocation are looked at again whenever one is used.
    #[pallet::storage]
    pub type VerifiedKeys<T: Config> = StorageMap<_, Blake2_128Concat, KeyId, KeyRecord<T::AccountId>>;

    /// The evidence of each machine that has any.
    #[pallet::storage]
    pub type Attested<T: Config> = StorageMap<_, Twox64Concat, MachineId, MachineEvidenceOf<T>>;

    /// The machine that a device belongs to, as long as it has evidence.
    #[pallet::storage]
    pub type Devices<T> = StorageMap<_, Blake2_128Concat, DeviceHash, MachineId>;

    /// Devices whose evidence is not accepted, because their keys are in wrong hands.
    #[pallet::storage]
    pub type BannedDevices<T> = StorageMap<_, Blake2_128Concat, DeviceHash, ()>;

    /// All evidence by the moment at which it ends.
    #[pallet::storage]
    pub type Expiries<T> =
        StorageDoubleMap<_, Twox64Concat, ExpirySlot, Blake2_128Concat, (MachineId, EvidenceId), ()>;

    /// The first moment whose evidence may still be there; none before the first block.
    #[pallet::storage]
    pub type NextExpirySlot<T> = StorageValue<_, ExpirySlot>;

    /// What the chain starts with. Without a configuration: the vendors' roots, and nothing that could be accepted.
    #[pallet::genesis_config]
    pub struct GenesisConfig<T: Config> {
        /// The roots that are trusted.
        pub roots: Vec<GenesisRoot>,
        /// The allow-list.
        pub workloads: Vec<GenesisWorkload>,
        /// SCALE-encoded [`Reference`]s.
        pub references: Vec<Bytes>,
        /// SCALE-encoded [`Collateral`], verified like any other, in this order; so lists come first.
        pub collateral: Vec<Bytes>,
        /// The time at which the collateral is verified, in seconds since 1970: genesis has no clock.
        pub collateral_time_s: u64,
        /// Ties the configuration to its runtime.
        #[serde(skip)]
        pub _config: PhantomData<T>,
    }

    impl<T: Config> Default for GenesisConfig<T> {
        fn default() -> Self {
            Self {
                roots: vendors_genesis_roots(),
                workloads: Vec::new(),
                references: Vec::new(),
                collateral: Vec::new(),
                collateral_time_s: 0,
                _config: PhantomData,
            }
        }
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            for root in &self.roots {
                Pallet::<T>::do_add_root(root.vendor, &root.certificate.0)
                    .expect("genesis: a root is no root certificate, is there twice, or they are too many");
            }
            for workload in &self.workloads {
                let name: WorkloadName = workload
                    .name
                    .clone()
                    .into_bytes()
                    .try_into()
                    .expect("genesis: the name of a workload is too long");
                AllowedWorkloads::<T>::insert(workload.digest, name);
            }
            for encoded in &self.references {
                let reference = Reference::decode_all(&mut encoded.0.as_slice())
                    .expect("genesis: a reference is not encoded as one");
                Pallet::<T>::do_set_reference(reference).expect("genesis: a reference has no measurement");
            }
            for encoded in &self.collateral {
                let collateral = Collateral::decode_all(&mut encoded.0.as_slice())
                    .expect("genesis: a piece of collateral is not encoded as one");
                Pallet::<T>::do_submit_collateral(None, &collateral, self.collateral_time_s)
                    .expect("genesis: a piece of collateral is refused");
            }
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// Evidence was verified and counts.
        EvidenceAccepted {
            /// The machine.
            machine: MachineId,
            /// What signed.
            id: EvidenceId,
            /// Digest of what runs there.
            workload: H256,
            /// Until when it counts, in seconds since 1970.
            until_s: u64,
        },
        /// The provider or worker took evidence back.
        EvidenceWithdrawn {
            /// The machine.
            machine: MachineId,
            /// What had signed.
            id: EvidenceId,
        },
        /// Evidence has ended.
        EvidenceExpired {
            /// The machine.
            machine: MachineId,
            /// What had signed.
            id: EvidenceId,
        },
        /// Governance removed evidence.
        EvidenceDropped {
            /// The machine.
            machine: MachineId,
            /// What had signed.
            id: EvidenceId,
        },
        /// A key's chain was verified, and it is kept.
        KeyKept {
            /// The key.
            key: KeyId,
            /// Who pays for it.
            owner: T::AccountId,
            /// Until when its certificates are valid, in seconds since 1970.
            valid_until_s: u64,
        },
        /// A key was removed; who wants to use it has to bring its chain again.
        KeyRemoved {
            /// The key.
            key: KeyId,
        },
        /// Collateral that is newer than before is there.
        CollateralRenewed {
            /// Which.
            collateral: CollateralId,
        },
        /// Governance removed collateral.
        CollateralRemoved {
            /// Which.
            collateral: CollateralId,
        },
        /// A root is trusted.
        RootAdded {
            /// Whose.
            vendor: Vendor,
            /// Its fingerprint.
            fingerprint: H256,
        },
        /// A root is not trusted any more, and no chain that ends in it.
        RootRemoved {
            /// Whose.
            vendor: Vendor,
            /// Its fingerprint.
            fingerprint: H256,
        },
        /// A workload is accepted.
        WorkloadAllowed {
            /// Its digest.
            digest: H256,
        },
        /// A workload is not accepted any more.
        WorkloadDisallowed {
            /// Its digest.
            digest: H256,
        },
        /// There are reference values for a driver or VBIOS.
        ReferenceSet {
            /// [`Reference::key`] of it.
            reference: H256,
        },
        /// There are no reference values for a driver or VBIOS any more.
        ReferenceRemoved {
            /// [`Reference::key`] of it.
            reference: H256,
        },
        /// Governance decided what is accepted.
        PoliciesSet,
        /// A device's evidence is not accepted any more.
        DeviceBanned {
            /// The device.
            device: DeviceHash,
        },
        /// A device's evidence is accepted again.
        DeviceUnbanned {
            /// The device.
            device: DeviceHash,
        },
        /// Governance found that a machine's evidence was forged, or relayed from another machine.
        MachineCondemned {
            /// The machine.
            machine: MachineId,
            /// The device that signed, or seemed to.
            device: DeviceHash,
            /// What it costs.
            slash: SlashId,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// There is no such machine.
        NoSuchMachine,
        /// The machine belongs to somebody else: its provider or its worker key has to sign.
        NotProvider,
        /// The machine has left the market.
        MachineRetired,
        /// The anchor is to come, or too old: collect evidence for a recent block.
        AnchorNotRecent,
        /// The evidence or collateral is not what it has to be; the refusal says why.
        Refused(Refusal),
        /// The key that is named signs evidence of another kind.
        KeyOfOtherVendor,
        /// There is no such key: bring its chain.
        NoSuchKey,
        /// The evidence carries no chain of certificates: bring it beside the evidence.
        NoChain,
        /// There is no TCB info for this TEE and family of processors: bring Intel's.
        NoTcbInfo,
        /// There is no identity of this TEE's quoting enclave: bring Intel's.
        NoQeIdentity,
        /// What runs there is not on the allow-list.
        WorkloadNotAllowed,
        /// Governance does not accept this device's evidence.
        DeviceBanned,
        /// Another machine has this device: withdraw its evidence there, or wait until it ends.
        DeviceTaken,
        /// The machine has evidence of another processor: withdraw that first.
        OtherProcessor,
        /// The machine has as many pieces of evidence as one can have.
        TooMuchEvidence,
        /// The evidence has no later anchor than what there is.
        NotNewer,
        /// Certificates or collateral end within minutes: renew them first.
        ExpiresTooSoon,
        /// There is no such evidence.
        NoSuchEvidence,
        /// The key is another's and its certificates are valid.
        KeyInUse,
        /// There is collateral that is as new, or of a later evaluation.
        CollateralNotNewer,
        /// There is no such collateral.
        NoSuchCollateral,
        /// The root is trusted already.
        RootKnown,
        /// There is no such root.
        NoSuchRoot,
        /// A vendor can have no more roots.
        TooManyRoots,
        /// The workload is not on the allow-list.
        NoSuchWorkload,
        /// A reference without a measurement would let everything pass.
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
        /// The evidence has to be bound to [`Binding`](assay_evidence::Binding): this chain, the machine, its present keys,
        /// and the anchor. Renewed before it ends it counts without a gap. Deposits are held from the provider, whoever
        /// signs.
        ///
        /// # Origin
        /// Signed, by the machine's provider or worker key.
        ///
        /// # Parameters
        /// - `machine`: the machine.
        /// - `anchor`: a block of the last [`Config::MaxAnchorAge`], before this one.
        /// - `evidence`: what the device signed, and where its key comes from. A known key costs a fraction.
        ///
        /// # Errors
        /// - [`Error::NoSuchMachine`], [`Error::NotProvider`], [`Error::MachineRetired`], [`Error::AnchorNotRecent`]
        /// - [`Error::NoSuchKey`], [`Error::KeyOfOtherVendor`], [`Error::NoChain`]: of where the key comes from.
        /// - [`Error::NoTcbInfo`], [`Error::NoQeIdentity`]: nobody brought it yet.
        /// - [`Error::Refused`]: the evidence is wrong, or made for something else.
        /// - [`Error::DeviceBanned`], [`Error::WorkloadNotAllowed`], [`Error::ExpiresTooSoon`]
        /// - [`Error::DeviceTaken`], [`Error::OtherProcessor`], [`Error::TooMuchEvidence`], [`Error::NotNewer`]
        ///
        /// # Events
        /// - [`Event::EvidenceAccepted`], and [`Event::KeyKept`] for a key that is new
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

        /// Takes evidence back, and gives its deposit to the provider. The device can belong to another machine then.
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

        /// Removes a verified key, and gives its deposit to its owner. What it has signed counts on.
        ///
        /// # Origin
        /// Signed, by its owner; by anybody when its certificates are not valid any more.
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

        /// Brings what a vendor published, in the place of what is older.
        ///
        /// A deposit is held for it until somebody brings what is newer.
        ///
        /// # Origin
        /// Signed, by anybody.
        ///
        /// # Errors
        /// - [`Error::Refused`]: it is not what the vendor signed, or has expired.
        /// - [`Error::CollateralNotNewer`]: what there is is as new.
        ///
        /// # Events
        /// - [`Event::CollateralRenewed`]
        #[pallet::call_index(3)]
        #[pallet::weight(collateral.weight::<T::WeightInfo>())]
        pub fn submit_collateral(origin: OriginFor<T>, collateral: Collateral) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_submit_collateral(Some(who), &collateral, T::WallClock::now_s())
        }

        /// Accepts a workload, or gives it another name.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Parameters
        /// - `digest`: [`Workload::digest`](assay_evidence::Workload::digest) of it.
        /// - `name`: what it is called, for readers outside.
        ///
        /// # Events
        /// - [`Event::WorkloadAllowed`]
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::allow_workload())]
        pub fn allow_workload(origin: OriginFor<T>, digest: H256, name: WorkloadName) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            AllowedWorkloads::<T>::insert(digest, name);
            Self::deposit_event(Event::WorkloadAllowed { digest });
            Ok(())
        }

        /// Accepts a workload no more. Evidence that was accepted counts until it ends.
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
            let name = AllowedWorkloads::<T>::take(digest);
            ensure!(name.is_some(), Error::<T>::NoSuchWorkload);
            Self::deposit_event(Event::WorkloadDisallowed { digest });
            Ok(())
        }

        /// Says what the measurements of a driver or VBIOS have to be.
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

        /// Forgets what the measurements of a driver or VBIOS have to be: it is not accepted any more.
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
            ensure!(
                References::<T>::take(reference).is_some(),
                Error::<T>::NoSuchReference
            );
            Self::deposit_event(Event::ReferenceRemoved { reference });
            Ok(())
        }

        /// Trusts a root certificate.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Errors
        /// - [`Error::Refused`]: it is no root certificate.
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

        /// Trusts a root no more: no chain that ends in it, kept keys and collateral among them.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Parameters
        /// - `fingerprint`: as [`TrustRoot::fingerprint`](assay_evidence::TrustRoot::fingerprint) has it.
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

        /// Decides what is accepted of each vendor, from the next submission on.
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

        /// Removes collateral, for when the key that signed it was in wrong hands, and gives its deposit back.
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

        /// Accepts no evidence of a device any more, and drops what there is.
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

        /// Accepts a device's evidence again.
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

        /// Finds that a machine's evidence was forged or relayed: all of its bond is to be slashed, and it retires.
        ///
        /// The only way to this offence. The chain cannot tell a relay from an honest mistake by itself: a GPU signs for
        /// every tenant that asks it, hardware is sold and moved, and two tenants of a cloud may share a processor. What two
        /// machines claim is refused to the second, so a relay gains nothing meanwhile; and submissions stay in the chain's
        /// blocks, for everybody to judge. The slash waits in the agenda of the stakes, where it can be cancelled.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Parameters
        /// - `machine`: the machine whose provider relayed.
        /// - `device`: the device whose evidence it was; what the machine has of it is dropped.
        ///
        /// # Errors
        /// - Of the stakes, for a machine that does not exist.
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
        /// What a device has to be asked with for evidence of a machine, with this block as the anchor: the nonce of a GPU;
        /// the others' report data have 32 zeros behind it. Nothing where there is no such machine or the anchor is not
        /// recent.
        pub fn binding_digest(machine: MachineId, anchor: BlockNumberFor<T>) -> Option<H256> {
            let identity = T::Machines::identity_of(machine)?;
            let binding = Self::binding_to(machine, &identity, anchor).ok()?;
            Some(binding.digest().into())
        }
    }
}
