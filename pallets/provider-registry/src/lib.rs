//! Who offers which hardware, where, and at what price.
//!
//! An account becomes a provider, registers machines, and each machine walks through the states of
//! [`MachineStatus`](assay_primitives::machine::MachineStatus). Other pallets see machines only through the
//! traits of `assay_primitives`: they read them ([`MachineInspect`](assay_primitives::machine::MachineInspect)),
//! take and give back slots ([`MachineLease`](assay_primitives::machine::MachineLease)) and tell whether a bond
//! suffices ([`OnBondChange`](assay_primitives::machine::OnBondChange)).
//!
//! Design goals, each held by a test:
//!
//! 1. One function ([`Pallet::set_status`]) owns every change of status, and with it what the machine weighs in
//!    the emission and whether its worker key is taken.
//! 2. A worker key serves one machine, and only with its own signature: nobody can register a key of somebody
//!    else's.
//! 3. A deposit is held for as long as the bytes it pays for exist. A retired machine's record stays while
//!    anything is held for the machine by the stakes, so that it is known whose it is, and goes with its deposit
//!    in the moment the last planck is withdrawn; when nothing is bonded, `retire` removes it at once.
//! 4. A change of the catalogue is O(1): machines keep a copy of what their class asks and is worth
//!    ([`ClassTerms`]), which anybody may bring up to date, machine by machine, with `refresh_machine`.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod calls;
mod lifecycle;
mod market;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
mod try_state;
mod types;
pub mod weights;

pub use pallet::*;
pub use types::{
    ClassName, ClassTerms, Endpoint, GenesisHardwareClass, HardwareClassRecord, MachineRecord,
    MachineRecordOf, MachineRegistration, MachineRegistrationOf, ProviderName, ProviderRecord, Region,
};
pub use weights::WeightInfo;

#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use alloc::vec::Vec;

    use assay_primitives::{
        clock::ActiveClock,
        emission::RewardWeights,
        machine::{HardwareClassId, HardwareProofs, MachineId, MachineStatus},
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
        Endpoint, GenesisHardwareClass, HardwareClassRecord, MachineRecordOf, MachineRegistrationOf,
        ProviderName, ProviderRecord, WeightInfo,
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
        /// The money that deposits are held in.
        type Currency: fungible::hold::Mutate<Self::AccountId, Reason = Self::RuntimeHoldReason>
            + fungible::Inspect<Self::AccountId, Balance = Balance>;

        /// The runtime's reasons of holds.
        type RuntimeHoldReason: From<HoldReason>;

        /// Who keeps the hardware class catalogue.
        type AdminOrigin: EnsureOrigin<Self::RuntimeOrigin>;

        /// Tells when a machine was registered.
        type Clock: ActiveClock;

        /// Tells whether a machine's bond suffices.
        type Bonds: BondInspect;

        /// Tells whether a machine's hardware is proven.
        type HardwareProofs: HardwareProofs;

        /// Hears what each machine may earn.
        type RewardWeights: RewardWeights;

        /// Plancks held for a provider's record. Covers one storage item of at most
        /// `ProviderRecord::max_encoded_len()` bytes. A change counts for later registrations only.
        #[pallet::constant]
        type ProviderDeposit: Get<Balance>;

        /// Plancks held for a machine. Covers its record, the entry of its worker key and its entry among the
        /// provider's machines. A change counts for later registrations only.
        #[pallet::constant]
        type MachineDeposit: Get<Balance>;

        /// Weights of this pallet's calls.
        type WeightInfo: WeightInfo;
    }

    /// Why this pallet holds plancks.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// For the record of a provider.
        #[codec(index = 0)]
        ProviderDeposit,
        /// For the records of machines.
        #[codec(index = 1)]
        MachineDeposit,
    }

    /// The catalogue. Entries change but never go: machines name them.
    #[pallet::storage]
    pub type HardwareClasses<T> = StorageMap<_, Twox64Concat, HardwareClassId, HardwareClassRecord>;

    /// Every provider.
    #[pallet::storage]
    pub type Providers<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, ProviderRecord>;

    /// Every machine, retired ones as long as something is bonded for them.
    #[pallet::storage]
    pub type Machines<T: Config> = StorageMap<_, Twox64Concat, MachineId, MachineRecordOf<T>>;

    /// The identifier that the next machine gets.
    #[pallet::storage]
    pub type NextMachineId<T> = StorageValue<_, MachineId, ValueQuery>;

    /// The machine that a worker key acts for. Machines that are retired have none.
    #[pallet::storage]
    pub type WorkerKeys<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, MachineId>;

    /// The machines of each provider, for readers outside; no call or hook iterates it.
    #[pallet::storage]
    pub type MachinesByProvider<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, T::AccountId, Twox64Concat, MachineId, ()>;

    /// What the chain starts with.
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
                Pallet::<T>::check_class(&record)
                    .expect("genesis: the name of a hardware class is not valid");
                HardwareClasses::<T>::insert(class.class, record);
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
        /// A provider gave up being one and has its deposit back.
        ProviderDeregistered {
            /// The account.
            provider: T::AccountId,
        },
        /// A machine joined. It is unproven.
        MachineRegistered {
            /// The machine.
            machine: MachineId,
            /// Its owner.
            provider: T::AccountId,
            /// Its hardware class.
            class: HardwareClassId,
            /// The slots it offers.
            slots: u8,
        },
        /// A machine asks another price; running jobs keep theirs.
        AskUpdated {
            /// The machine.
            machine: MachineId,
            /// Plancks per slot-hour of active time.
            ask: Balance,
        },
        /// A machine's worker is reached at another URL.
        EndpointUpdated {
            /// The machine.
            machine: MachineId,
        },
        /// A machine's status changed.
        MachineStatusChanged {
            /// The machine.
            machine: MachineId,
            /// What it was.
            from: MachineStatus,
            /// What it is now.
            to: MachineStatus,
        },
        /// The record of a retired machine is gone and its deposit is back with the provider.
        MachineRemoved {
            /// The machine.
            machine: MachineId,
            /// Its owner.
            provider: T::AccountId,
        },
        /// A machine took over what the catalogue says of its class now.
        MachineTermsUpdated {
            /// The machine.
            machine: MachineId,
            /// Compute score of one slot.
            compute_score: u32,
            /// Plancks to be bonded for each slot.
            stake_per_slot: Balance,
        },
        /// Slots of a machine were taken.
        SlotsLeased {
            /// The machine.
            machine: MachineId,
            /// Slots taken.
            slots: u8,
            /// Slots that are still free.
            free_slots: u8,
        },
        /// Slots of a machine were given back.
        SlotsReleased {
            /// The machine.
            machine: MachineId,
            /// Slots given back.
            slots: u8,
            /// Slots that are free now.
            free_slots: u8,
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
        /// A class name is of `A` to `Z`, digits and `_`, and not empty.
        BadClassName,
        /// The catalogue has no such hardware class.
        NoSuchClass,
        /// The number of slots is zero or above the maximum.
        BadSlots,
        /// The location's angles are out of range.
        NotOnEarth,
        /// A region code is of `a` to `z`, digits and `-`, and not empty.
        BadRegion,
        /// An endpoint is a URL of printable ASCII that starts with `http://` or `https://`.
        BadEndpoint,
        /// The ask must be above zero.
        AskIsZero,
        /// The worker key serves a machine already.
        WorkerKeyInUse,
        /// The worker key did not sign that it serves this provider on this chain.
        BadWorkerSignature,
        /// The machine is retired.
        MachineRetired,
        /// The machine is not active.
        NotActive,
        /// The machine is not suspended.
        NotSuspended,
        /// The machine cannot be suspended in its present status.
        NotSuspendable,
        /// The machine's bond does not suffice.
        BondTooLow,
        /// The machine has fewer free slots than that.
        TooFewFreeSlots,
        /// More slots would be given back than are leased.
        SlotsNotLeased,
        /// Some slot of the machine is leased.
        SlotsLeased,
        /// The machine already is as its class, bond and proofs say.
        NothingToRefresh,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
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
        /// - Parameters: `name`: what it calls itself.
        /// - Errors: [`Error::AlreadyProvider`], [`Error::EmptyName`], the currency's where the deposit is not there.
        /// - Events: [`Event::ProviderRegistered`].
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::register_provider())]
        pub fn register_provider(origin: OriginFor<T>, name: ProviderName) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_register_provider(who, name)
        }

        /// Registers a machine of the signer. It is unproven until its bond suffices and its hardware is proven.
        ///
        /// - Origin: signed by a provider. [`Config::MachineDeposit`] is held.
        /// - Parameters: `registration`: what the machine is; `worker_signature`: the worker key's sr25519
        ///   signature of [`Pallet::worker_key_message`], by which it agrees to serve this provider.
        /// - Errors: [`Error::NoSuchProvider`]; one for each bad field of the registration;
        ///   [`Error::WorkerKeyInUse`], [`Error::BadWorkerSignature`]; the currency's where the deposit is not there.
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

        /// Changes what a machine asks. Running jobs keep the price they were given.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `ask`: plancks per slot-hour of active time, above zero.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProvider`], [`Error::MachineRetired`], [`Error::AskIsZero`].
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

        /// Takes a machine out of the market for a while: maintenance, heat. Jobs that run there go on.
        ///
        /// Also takes effect on a machine that is suspended for its bond, so that topping up the bond does not
        /// bring it back before it is fit.
        ///
        /// - Origin: signed by the machine's provider or its worker key.
        /// - Parameters: `machine`.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProviderOrWorker`], [`Error::NotSuspendable`].
        /// - Events: [`Event::MachineStatusChanged`].
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::suspend_self())]
        pub fn suspend_self(origin: OriginFor<T>, machine: MachineId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_suspend_self(who, machine)
        }

        /// Brings a suspended machine back: active, or unproven where its proof is not recent any more.
        ///
        /// - Origin: signed by the machine's provider or its worker key.
        /// - Parameters: `machine`.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProviderOrWorker`], [`Error::NotSuspended`],
        ///   [`Error::BondTooLow`].
        /// - Events: [`Event::MachineStatusChanged`].
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::resume())]
        pub fn resume(origin: OriginFor<T>, machine: MachineId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_resume(who, machine)
        }

        /// Takes a machine out of the market for good and frees its worker key.
        ///
        /// Its bond can then be unbonded whole. The record and its deposit go at once when nothing is bonded,
        /// otherwise with the withdrawal of the last of the bond.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProvider`], [`Error::MachineRetired`],
        ///   [`Error::SlotsLeased`].
        /// - Events: [`Event::MachineStatusChanged`], and [`Event::MachineRemoved`] when nothing is bonded.
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::retire())]
        pub fn retire(origin: OriginFor<T>, machine: MachineId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_retire(who, machine)
        }

        /// Adds or changes an entry of the hardware class catalogue.
        ///
        /// Counts for machines that register from now on, and for others once `refresh_machine` was called for
        /// them; see [`crate::ClassTerms`].
        ///
        /// - Origin: [`Config::AdminOrigin`].
        /// - Parameters: `class`: the entry; `record`: what it says from now on.
        /// - Errors: [`Error::BadClassName`].
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

        /// Ends the signer's being a provider and gives its deposit back.
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

        /// Brings a machine up to what the catalogue and the stakes' parameters ask now.
        ///
        /// The machine takes a new copy of its class's terms, and its status follows from whether its bond still
        /// suffices. Anybody may call it: who shares the emission with the machine has a reason to.
        ///
        /// - Origin: signed by anybody.
        /// - Parameters: `machine`.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::MachineRetired`], [`Error::NothingToRefresh`].
        /// - Events: [`Event::MachineTermsUpdated`], [`Event::MachineStatusChanged`], each where it changed.
        #[pallet::call_index(11)]
        #[pallet::weight(T::WeightInfo::refresh_machine())]
        pub fn refresh_machine(origin: OriginFor<T>, machine: MachineId) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_refresh_machine(machine)
        }
    }
}
