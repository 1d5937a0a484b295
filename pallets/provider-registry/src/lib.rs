//! Registry of providers and their machines: hardware, location, price and status, and the search among them.
//!
//! An account becomes a provider and registers machines, each with a
//! [`MachineStatus`](assay_primitives::machine::MachineStatus). Other pallets use machines only through the
//! traits of `assay_primitives`: they read them
//! ([`MachineInspect`](assay_primitives::machine::MachineInspect)), take and give back slots
//! ([`MachineLease`](assay_primitives::machine::MachineLease)) and report changes of a bond
//! ([`OnBondChange`](assay_primitives::stake::OnBondChange)).
//!
//! Design goals, each held by a test:
//!
//! 1. One function ([`Pallet::set_status`]) makes every change of status, and updates the machine's weight in
//!    the emission and the use of its worker key with it.
//! 2. A worker key serves one machine, and only with its own signature: nobody can register another account's
//!    key. While it serves, its account exists at any balance.
//! 3. A deposit is held for as long as the bytes that it pays for exist. A retired machine's record stays
//!    while the stakes hold anything for the machine, because it names the owner, and until the last epoch in
//!    which the machine was in the market or leased is closed, so that no provider erases a failure by
//!    leaving. Record and deposit go when the last planck is withdrawn, or with `refresh_machine`; the record
//!    of a machine that never was in the market goes at once.
//! 4. A change of the catalogue is O(1): machines keep a copy of their class's stake and score
//!    ([`ClassTerms`]), which anybody may update, machine by machine, with `refresh_machine`.
//! 5. A search finds the best offers without reading the others: [`Offers`] is in the order in which the
//!    market shows machines and contains only those on offer. A change of status, free slots, ask or uptime
//!    costs four writes at most.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod calls;
mod geo;
mod lifecycle;
mod market;
mod matching;
#[cfg(test)]
mod mock;
mod offers;
mod search;
#[cfg(test)]
mod tests;
mod try_state;
mod types;
pub mod weights;
mod worker_keys;

pub use offers::OfferKey;
pub use pallet::*;
pub use types::{
    AskRaise, ClassTerms, GenesisHardwareClass, HardwareClassRecord, INITIAL_UPTIME_PPM,
    MAX_ASK_RAISE_DELAY_MS, MAX_HARDWARE_CLASSES, MIN_ASK_RAISE_DELAY_MS, MachineRecord, MachineRecordOf,
    MachineRegistration, MachineRegistrationOf, ProviderName, ProviderRecord,
};
pub use weights::WeightInfo;

#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use alloc::vec::Vec;

    use assay_primitives::{
        attestation::Attestations,
        clock::{ActiveClock, Millis},
        emission::RewardWeights,
        machine::{
            ClassName, Endpoint, HardwareClassId, HardwareProofs, LeaseEnd, MachineId, MachineStatus,
            OnMachineRemoved, SuspensionCause,
        },
        money::Balance,
        stake::BondInspect,
    };
    use polkadot_sdk::{
        frame_support::{
            pallet_prelude::*,
            traits::{StorageVersion, fungible},
        },
        frame_system::pallet_prelude::*,
        sp_core::sr25519,
    };

    use crate::{
        GenesisHardwareClass, HardwareClassRecord, MAX_ASK_RAISE_DELAY_MS, MIN_ASK_RAISE_DELAY_MS,
        MachineRecordOf, MachineRegistrationOf, OfferKey, ProviderName, ProviderRecord, WeightInfo,
    };

    /// Version of the storage layout below.
    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    /// Accounts are the 32 bytes of a public key: a worker key must be able to sign for itself.
    #[pallet::config]
    pub trait Config:
        polkadot_sdk::frame_system::Config<RuntimeEvent: From<Event<Self>>, AccountId: Into<[u8; 32]>>
    {
        /// Currency of deposits.
        type Currency: fungible::hold::Mutate<Self::AccountId, Reason = Self::RuntimeHoldReason>
            + fungible::Inspect<Self::AccountId, Balance = Balance>;

        /// Hold reasons of the runtime.
        type RuntimeHoldReason: From<HoldReason>;

        /// Origin that maintains the hardware class catalogue.
        type AdminOrigin: EnsureOrigin<Self::RuntimeOrigin>;

        /// Clock of active time and epochs.
        type Clock: ActiveClock;

        /// Bonds of machines.
        type Bonds: BondInspect;

        /// Proofs of machines' hardware. It is informed before a machine's exposure to challenges changes.
        type HardwareProofs: HardwareProofs;

        /// Evidence of machines' TEEs.
        type Attestations: Attestations;

        /// Listener for each machine's weight in the emission.
        type RewardWeights: RewardWeights;

        /// Listener for machines whose records are removed.
        type OnMachineRemoved: OnMachineRemoved;

        /// Plancks held for a provider's record. Covers one storage item of at most
        /// `ProviderRecord::max_encoded_len()` bytes. A change applies to later registrations only.
        #[pallet::constant]
        type ProviderDeposit: Get<Balance>;

        /// Plancks held for a machine. Covers its record, the entry and the account of its worker key, its
        /// entry among the provider's machines, its two entries among the offers, and the records of other
        /// pallets about it. A change applies to later registrations only.
        #[pallet::constant]
        type MachineDeposit: Get<Balance>;

        /// Milliseconds of active time between the announcement of a higher ask and its validity. At least
        /// [`MIN_ASK_RAISE_DELAY_MS`], so that an order that is under way still finds the ask that its
        /// consumer saw. At most [`MAX_ASK_RAISE_DELAY_MS`]: during the delay a search ranks the machine
        /// lower than its valid ask.
        #[pallet::constant]
        type AskRaiseDelayMs: Get<Millis>;

        /// Minimum plancks to be bonded for each point of a slot's compute score, whatever its class asks:
        /// the bond of the cheapest weight in the emission. A raise takes no machine out of the market by
        /// itself: [`Pallet::refresh_machine`] does, machine by machine.
        #[pallet::constant]
        type BondPerPoint: Get<Balance>;

        /// Weights of this pallet's calls.
        type WeightInfo: WeightInfo;
    }

    /// Reasons for which this pallet holds plancks.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// Deposit for the record of a provider.
        #[codec(index = 0)]
        ProviderDeposit,
        /// Deposit for the records of machines.
        #[codec(index = 1)]
        MachineDeposit,
    }

    /// Catalogue of hardware classes; at most [`crate::MAX_HARDWARE_CLASSES`]. Entries change but are never
    /// removed: machines refer to them.
    #[pallet::storage]
    pub type HardwareClasses<T> = CountedStorageMap<_, Twox64Concat, HardwareClassId, HardwareClassRecord>;

    /// Hardware class with a name.
    #[pallet::storage]
    pub type HardwareClassIds<T> = StorageMap<_, Blake2_128Concat, ClassName, HardwareClassId>;

    /// Providers.
    #[pallet::storage]
    pub type Providers<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, ProviderRecord>;

    /// Machines; retired ones until nothing ties them to the stakes and their last epoch is closed.
    #[pallet::storage]
    pub type Machines<T: Config> = StorageMap<_, Twox64Concat, MachineId, MachineRecordOf<T>>;

    /// Identifier of the next machine.
    #[pallet::storage]
    pub type NextMachineId<T> = StorageValue<_, MachineId, ValueQuery>;

    /// Machine that a worker key acts for. Retired machines have none.
    #[pallet::storage]
    pub type WorkerKeys<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, MachineId>;

    /// Machines of each provider, for readers outside; no call or hook iterates it.
    #[pallet::storage]
    pub type MachinesByProvider<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, T::AccountId, Twox64Concat, MachineId, ()>;

    /// Machines on offer, in the order in which the market shows them; see [`crate::OfferKey`].
    ///
    /// The keys are not hashed, because searches use their order. Nobody can unbalance the trie by choosing
    /// keys: the parts that a provider chooses are at most 32 bytes, each for a deposit.
    #[pallet::storage]
    pub type Offers<T> = StorageMap<_, Identity, OfferKey, ()>;

    /// Genesis state.
    #[pallet::genesis_config]
    #[derive(polkadot_sdk::frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// The hardware class catalogue; identifiers must not repeat, names must be valid.
        pub hardware_classes: Vec<GenesisHardwareClass>,
        /// Ties the configuration to its runtime.
        #[serde(skip)]
        pub _config: core::marker::PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            for class in &self.hardware_classes {
                let record = HardwareClassRecord {
                    name: class
                        .name
                        .clone()
                        .into_bytes()
                        .try_into()
                        .expect("genesis: the name of a hardware class is too long"),
                    vram_mib: class.vram_mib,
                    cuda_cores: class.cuda_cores,
                    compute_score: class.compute_score,
                    stake_per_slot: class.stake_per_slot,
                };
                assert!(
                    !HardwareClasses::<T>::contains_key(class.class),
                    "genesis: hardware class {} is there twice",
                    class.class
                );
                Pallet::<T>::put_class(class.class, record).expect(
                    "genesis: a hardware class has a bad name or one that is taken, or they are too many",
                );
            }
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An account became a provider.
        ProviderRegistered {
            /// The account.
            provider: T::AccountId,
        },
        /// A provider deregistered and got its deposit back.
        ProviderDeregistered {
            /// The account.
            provider: T::AccountId,
        },
        /// A machine was registered. It is unproven.
        MachineRegistered {
            /// The machine.
            machine: MachineId,
            /// Its owner.
            provider: T::AccountId,
            /// Its hardware class.
            class: HardwareClassId,
            /// Number of slots that it offers.
            slots: u8,
        },
        /// A machine's ask changed; running jobs keep their price.
        AskUpdated {
            /// The machine.
            machine: MachineId,
            /// Plancks per slot-hour of active time.
            ask: Balance,
            /// Active time from which on it is valid: now if the ask was cut.
            from_ms: Millis,
        },
        /// The URL of a machine's worker changed.
        EndpointUpdated {
            /// The machine.
            machine: MachineId,
        },
        /// A machine's keys changed. Holders of the old sealing key can still read what was sealed to it.
        KeysRotated {
            /// The machine.
            machine: MachineId,
            /// Hot key that acts for it from now on.
            worker_key: T::AccountId,
            /// X25519 key that consumers encrypt to from now on.
            sealing_key: [u8; 32],
        },
        /// A machine's average uptime, as the validators see it, changed.
        UptimeUpdated {
            /// The machine.
            machine: MachineId,
            /// Its average uptime, in parts per million.
            uptime_ppm: u32,
        },
        /// A machine's status changed.
        MachineStatusChanged {
            /// The machine.
            machine: MachineId,
            /// Status before.
            from: MachineStatus,
            /// Status now.
            to: MachineStatus,
        },
        /// The record of a retired machine is gone and its deposit is back with the provider.
        MachineRemoved {
            /// The machine.
            machine: MachineId,
            /// Its owner.
            provider: T::AccountId,
        },
        /// A machine took over the present terms of its class.
        MachineTermsUpdated {
            /// The machine.
            machine: MachineId,
            /// Compute score of one slot.
            compute_score: u32,
            /// Plancks to be bonded for each slot.
            stake_per_slot: Balance,
        },
        /// Slots of a machine were leased.
        SlotsLeased {
            /// The machine.
            machine: MachineId,
            /// Number of slots leased.
            slots: u8,
            /// Number of slots that are still free.
            free_slots: u8,
        },
        /// Slots of a machine were released.
        SlotsReleased {
            /// The machine.
            machine: MachineId,
            /// Number of slots released.
            slots: u8,
            /// Number of slots that are free now.
            free_slots: u8,
            /// End of the lease, which the machine's record counts.
            end: LeaseEnd,
        },
        /// An entry of the catalogue was added or changed.
        HardwareClassSet {
            /// The entry.
            class: HardwareClassId,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The account is a provider already.
        AlreadyProvider,
        /// The account is no provider.
        NoSuchProvider,
        /// The provider still has machines; retire them and withdraw their bonds.
        HasMachines,
        /// There is no such machine.
        NoSuchMachine,
        /// The machine belongs to another provider.
        NotProvider,
        /// The account is neither the machine's provider nor its worker key.
        NotProviderOrWorker,
        /// A provider's name must not be empty.
        EmptyName,
        /// A class name consists of `A` to `Z`, digits and `_`, and is not empty.
        BadClassName,
        /// Another hardware class has that name.
        ClassNameTaken,
        /// The catalogue is full.
        TooManyClasses,
        /// The catalogue has no such hardware class.
        NoSuchClass,
        /// The number of slots is zero or above the maximum.
        BadSlots,
        /// The location's angles are out of range.
        NotOnEarth,
        /// A region code consists of `a` to `z`, digits and `-`, and is not empty.
        BadRegion,
        /// An endpoint is a URL of printable ASCII that starts with `http://` or `https://`.
        BadEndpoint,
        /// The ask must be above zero.
        AskIsZero,
        /// The worker key serves a machine already.
        WorkerKeyInUse,
        /// The worker key did not sign its agreement to serve this provider on this chain.
        BadWorkerSignature,
        /// The machine is retired.
        MachineRetired,
        /// The machine is not active.
        NotActive,
        /// The machine is neither suspended nor draining.
        NotSuspended,
        /// The machine cannot be suspended in its present status.
        NotSuspendable,
        /// The machine's bond does not suffice.
        BondTooLow,
        /// The machine is in debt for a slash; pay its debts.
        InDebt,
        /// A slash of the machine is pending; wait until it is applied or cancelled.
        SlashPending,
        /// The machine was condemned for an offence and retires when its last job ends.
        MachineCondemned,
        /// The machine has fewer free slots than that.
        TooFewFreeSlots,
        /// The call would release more slots than are leased.
        SlotsNotLeased,
        /// A slot of the machine is leased.
        SlotsLeased,
        /// The machine already matches its class, bond and proofs.
        NothingToRefresh,
        /// The proof of the machine's hardware is too old.
        ProofTooOld,
        /// The class asks for less stake than the minimum for its compute score.
        StakeTooLow,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn integrity_test() {
            assert!(
                (MIN_ASK_RAISE_DELAY_MS..=MAX_ASK_RAISE_DELAY_MS).contains(&T::AskRaiseDelayMs::get()),
                "a raise of an ask comes too soon for an order that is under way, or too late for the search"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Makes the signer a provider.
        ///
        /// - Origin: signed. [`Config::ProviderDeposit`] is held.
        /// - Parameters: `name`: the name that the provider gives itself.
        /// - Errors: [`Error::AlreadyProvider`], [`Error::EmptyName`], the currency's if the account lacks
        ///   the deposit.
        /// - Events: [`Event::ProviderRegistered`].
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::register_provider())]
        pub fn register_provider(origin: OriginFor<T>, name: ProviderName) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_register_provider(who, name)
        }

        /// Registers a machine of the signer. It is unproven until its bond suffices and its hardware is
        /// proven.
        ///
        /// - Origin: signed by a provider. [`Config::MachineDeposit`] is held.
        /// - Parameters: `registration`: description of the machine; `worker_signature`: the worker key's
        ///   sr25519 signature of [`Pallet::worker_key_message`], by which it agrees to serve this provider.
        /// - Errors: [`Error::NoSuchProvider`]; one for each bad field of the registration;
        ///   [`Error::WorkerKeyInUse`], [`Error::BadWorkerSignature`]; the currency's if the account lacks
        ///   the deposit.
        /// - Events: [`Event::MachineRegistered`].
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::register_machine())]
        pub fn register_machine(
            origin: OriginFor<T>,
            registration: MachineRegistrationOf<T>,
            worker_signature: sr25519::Signature,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_register_machine(who, registration, &worker_signature)
        }

        /// Changes a machine's ask. Running jobs keep their price.
        ///
        /// A cut is valid at once. A raise is valid [`Config::AskRaiseDelayMs`] later, so that a provider
        /// cannot raise the price of an order that is already under way; it replaces an announced raise that
        /// is not valid yet.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `ask`: plancks per slot-hour of active time, above zero.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProvider`], [`Error::MachineRetired`],
        ///   [`Error::AskIsZero`].
        /// - Events: [`Event::AskUpdated`].
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::update_ask())]
        pub fn update_ask(origin: OriginFor<T>, machine: MachineId, ask: Balance) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_update_ask(who, machine, ask)
        }

        /// Changes the URL of a machine's worker.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `endpoint`: the new URL.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProvider`], [`Error::MachineRetired`],
        ///   [`Error::BadEndpoint`].
        /// - Events: [`Event::EndpointUpdated`].
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::update_endpoint())]
        pub fn update_endpoint(
            origin: OriginFor<T>,
            machine: MachineId,
            endpoint: Endpoint,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_update_endpoint(who, machine, endpoint)
        }

        /// Changes a machine's keys: after a leak, or when its disk is replaced. Jobs go on, and the machine
        /// keeps its record, debts and slashes.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `worker_key`: the hot key that will act for it, the present one or one
        ///   that serves no machine; `sealing_key`: the X25519 key that consumers will encrypt to;
        ///   `worker_signature`: the worker key's sr25519 signature of [`Pallet::worker_key_message`].
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProvider`], [`Error::MachineRetired`],
        ///   [`Error::WorkerKeyInUse`], [`Error::BadWorkerSignature`].
        /// - Events: [`Event::KeysRotated`].
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::rotate_keys())]
        pub fn rotate_keys(
            origin: OriginFor<T>,
            machine: MachineId,
            worker_key: T::AccountId,
            sealing_key: [u8; 32],
            worker_signature: sr25519::Signature,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_rotate_keys(who, machine, worker_key, sealing_key, &worker_signature)
        }

        /// Suspends a machine for a while. Jobs that run there go on.
        ///
        /// Also works for a machine that is suspended for its bond or debt, so that a payment does not bring
        /// it back before it is fit, and changes the cause of an own suspension. The call is free if the
        /// worker key of an active machine signs it, which needs no balance for it.
        ///
        /// - Origin: signed by the machine's provider or its worker key.
        /// - Parameters: `machine`; `cause`, which becomes its status.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProviderOrWorker`], [`Error::NotSuspendable`].
        /// - Events: [`Event::MachineStatusChanged`].
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::suspend_self())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, machine: &MachineId, _: &SuspensionCause| -> bool {
            Pallet::<T>::is_worker_of_active(origin, *machine)
        })]
        pub fn suspend_self(
            origin: OriginFor<T>,
            machine: MachineId,
            cause: SuspensionCause,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_suspend_self(who, machine, cause)
        }

        /// Brings a suspended or draining machine back: active, or unproven if its proof is not recent any
        /// more.
        ///
        /// A machine that was suspended for an offence comes back only after the slash was applied or
        /// cancelled. For a machine that missed a start the call is free if its worker key signs it, which
        /// needs no balance for it.
        ///
        /// - Origin: signed by the machine's provider or its worker key.
        /// - Parameters: `machine`.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProviderOrWorker`], [`Error::NotSuspended`],
        ///   [`Error::MachineCondemned`], [`Error::SlashPending`], [`Error::BondTooLow`], [`Error::InDebt`].
        /// - Events: [`Event::MachineStatusChanged`].
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::resume())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, machine: &MachineId| -> bool {
            Pallet::<T>::is_return_after_missed_start(origin, *machine)
        })]
        pub fn resume(origin: OriginFor<T>, machine: MachineId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_resume(who, machine)
        }

        /// Drains a machine: it takes no more jobs, and running ones go on to their end. Then it can be
        /// retired; it can be resumed at any time.
        ///
        /// - Origin: signed by the machine's provider or its worker key.
        /// - Parameters: `machine`, which must be active.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProviderOrWorker`], [`Error::NotActive`].
        /// - Events: [`Event::MachineStatusChanged`].
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::drain())]
        pub fn drain(origin: OriginFor<T>, machine: MachineId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_drain(who, machine)
        }

        /// Takes a machine out of the market for good and frees its worker key.
        ///
        /// Its bond can then be unbonded whole. The record and its deposit go with the withdrawal of the last
        /// planck of the bond; without a bond, with [`Pallet::refresh_machine`] once the machine's last epoch
        /// is closed, or at once for a machine that never was in the market.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProvider`], [`Error::MachineRetired`],
        ///   [`Error::SlotsLeased`].
        /// - Events: [`Event::MachineStatusChanged`], and [`Event::MachineRemoved`] if nothing keeps the
        ///   record.
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::retire().saturating_add(T::WeightInfo::drain()))]
        pub fn retire(origin: OriginFor<T>, machine: MachineId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_retire(who, machine)
        }

        /// Adds or changes an entry of the hardware class catalogue.
        ///
        /// Applies to machines that register from now on, and to others once `refresh_machine` is called for
        /// them; see [`crate::ClassTerms`].
        ///
        /// - Origin: [`Config::AdminOrigin`].
        /// - Parameters: `class`: the entry; `record`: its new content.
        /// - Errors: [`Error::StakeTooLow`], [`Error::BadClassName`], [`Error::ClassNameTaken`],
        ///   [`Error::TooManyClasses`].
        /// - Events: [`Event::HardwareClassSet`].
        #[pallet::call_index(9)]
        #[pallet::weight(T::WeightInfo::set_hardware_class())]
        pub fn set_hardware_class(
            origin: OriginFor<T>,
            class: HardwareClassId,
            record: HardwareClassRecord,
        ) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_set_hardware_class(class, record)
        }

        /// Deregisters the signer as a provider and releases its deposit.
        ///
        /// - Origin: signed by a provider.
        /// - Errors: [`Error::NoSuchProvider`], [`Error::HasMachines`].
        /// - Events: [`Event::ProviderDeregistered`].
        #[pallet::call_index(10)]
        #[pallet::weight(T::WeightInfo::deregister_provider())]
        pub fn deregister_provider(origin: OriginFor<T>) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_deregister_provider(who)
        }

        /// Updates a machine to the present catalogue and the parameters of the stakes, or removes the record
        /// of a retired one that nothing keeps any more.
        ///
        /// The machine takes a new copy of its class's terms, and its status changes if its bond does not
        /// suffice for them, or suffices again. Anybody may call it: providers that share the emission with
        /// the machine have a reason to.
        ///
        /// - Origin: signed by anybody.
        /// - Parameters: `machine`.
        /// - Errors: [`Error::NoSuchMachine`]; [`Error::MachineRetired`] if something still keeps the record;
        ///   [`Error::NothingToRefresh`].
        /// - Events: [`Event::MachineTermsUpdated`], [`Event::MachineStatusChanged`], each if it changed;
        ///   [`Event::MachineRemoved`].
        #[pallet::call_index(11)]
        #[pallet::weight(T::WeightInfo::refresh_machine().max(T::WeightInfo::retire()))]
        pub fn refresh_machine(origin: OriginFor<T>, machine: MachineId) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_refresh_machine(machine)
        }
    }
}
