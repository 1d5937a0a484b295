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
//!    else's. While it does, its account exists whatever it owns.
//! 3. A deposit is held for as long as the bytes it pays for exist. A retired machine's record stays while
//!    anything is held for the machine by the stakes, so that it is known whose it is, and until the last
//!    epoch in which it was in the market or leased is closed, so that nobody erases a failure by leaving. It
//!    goes with its deposit in the moment the last planck is withdrawn, or with `refresh_machine`; that of a
//!    machine that never was in the market goes at once.
//! 4. A change of the catalogue is O(1): machines keep a copy of what their class asks and is worth
//!    ([`ClassTerms`]), which anybody may bring up to date, machine by machine, with `refresh_machine`.
//! 5. The best offers are found without looking at the others: [`Offers`] is in the order in which the market shows
//!    machines, holds what can be had and nothing else, and a change of status, free slots, ask or uptime costs it
//!    four writes at most.

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
            OnMachineRemoved,
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

        /// Tells which TEEs a machine has evidence of.
        type Attestations: Attestations;

        /// Hears what each machine may earn.
        type RewardWeights: RewardWeights;

        /// Hears of machines whose records are gone.
        type OnMachineRemoved: OnMachineRemoved;

        /// Plancks held for a provider's record. Covers one storage item of at most
        /// `ProviderRecord::max_encoded_len()` bytes. A change counts for later registrations only.
        #[pallet::constant]
        type ProviderDeposit: Get<Balance>;

        /// Plancks held for a machine. Covers its record, the entry and the account of its worker key, its
        /// entry among the provider's machines, its two entries among the offers, and what other pallets keep
        /// of each machine. A change counts for later registrations only.
        #[pallet::constant]
        type MachineDeposit: Get<Balance>;

        /// Milliseconds of active time between the announcement of a higher ask and its validity. At least
        /// [`MIN_ASK_RAISE_DELAY_MS`], so that an order that is under way finds the ask that its consumer
        /// saw, and at most [`MAX_ASK_RAISE_DELAY_MS`], for as long as which a machine may be shown in a
        /// lower place than it has.
        #[pallet::constant]
        type AskRaiseDelayMs: Get<Millis>;

        /// Least plancks to be bonded for each point of a slot's compute score, whatever its class asks: what
        /// the cheapest weight in the emission costs to bond. A raise takes no machine out of the market by
        /// itself: [`Pallet::refresh_machine`] does, machine by machine.
        #[pallet::constant]
        type BondPerPoint: Get<Balance>;

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

    /// The catalogue; at most [`crate::MAX_HARDWARE_CLASSES`]. Entries change but never go: machines name them.
    #[pallet::storage]
    pub type HardwareClasses<T> = CountedStorageMap<_, Twox64Concat, HardwareClassId, HardwareClassRecord>;

    /// The entry of the catalogue that has a name.
    #[pallet::storage]
    pub type HardwareClassIds<T> = StorageMap<_, Blake2_128Concat, ClassName, HardwareClassId>;

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

    /// Machines that can be had, in the order in which the market shows them; see [`crate::OfferKey`].
    ///
    /// The keys are not hashed: their order is the point. Nobody can make the trie lopsided by choosing them, since
    /// the parts that a provider chooses are at most 32 bytes, each for a deposit.
    #[pallet::storage]
    pub type Offers<T> = StorageMap<_, Identity, OfferKey, ()>;

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
            /// Active time from which on it holds: now where it was cut.
            from_ms: Millis,
        },
        /// A machine's worker is reached at another URL.
        EndpointUpdated {
            /// The machine.
            machine: MachineId,
        },
        /// A machine has other keys. What was sealed to the old one stays readable by who had it.
        KeysRotated {
            /// The machine.
            machine: MachineId,
            /// The hot key that acts for it from now on.
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
        /// A class name is of `A` to `Z`, digits and `_`, and not empty.
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
        /// The machine is neither suspended nor draining.
        NotSuspended,
        /// The machine cannot be suspended in its present status.
        NotSuspendable,
        /// The machine's bond does not suffice.
        BondTooLow,
        /// The machine owes a part of a slash; pay its debts.
        InDebt,
        /// A slash of the machine is pending; wait until it is applied or cancelled.
        SlashPending,
        /// The machine was condemned for an offence and retires when its last job ends.
        MachineCondemned,
        /// The machine has fewer free slots than that.
        TooFewFreeSlots,
        /// More slots would be given back than are leased.
        SlotsNotLeased,
        /// Some slot of the machine is leased.
        SlotsLeased,
        /// The machine already is as its class, bond and proofs say.
        NothingToRefresh,
        /// The proof of the machine's hardware is too old.
        ProofTooOld,
        /// The class asks for less stake than the least for its compute score.
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
        /// A cut holds at once. A raise holds [`Config::AskRaiseDelayMs`] later, so that nobody can set it in
        /// front of an order that was sent already; it takes the place of one that was announced before and
        /// does not hold yet.
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

        /// Gives a machine other keys: after a leak, or when its disk is replaced. Jobs go on, and what the machine
        /// did or owes stays its own.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `worker_key`: the hot key that will act for it, the present one or one that
        ///   serves no machine; `sealing_key`: the X25519 key that consumers will encrypt to; `worker_signature`:
        ///   the worker key's sr25519 signature of [`Pallet::worker_key_message`].
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

        /// Takes a machine out of the market for a while: maintenance, heat. Jobs that run there go on.
        ///
        /// Also takes effect on a machine that is suspended for its bond or debt, so that paying does not bring it
        /// back before it is fit.
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

        /// Brings a suspended or draining machine back: active, or unproven where its proof is not recent any more.
        ///
        /// One that was suspended for an offence comes back only when the slash was applied or cancelled. One
        /// that missed a start comes back for free by its worker key, which needs no balance for that.
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

        /// Takes no more jobs for a machine: those that run go on to their end, then it can be retired or resumed.
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
        /// of the bond; where nothing is bonded, with [`Pallet::refresh_machine`] once the machine's last
        /// epoch is closed, or at once for a machine that never was in the market.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProvider`], [`Error::MachineRetired`],
        ///   [`Error::SlotsLeased`].
        /// - Events: [`Event::MachineStatusChanged`], and [`Event::MachineRemoved`] where nothing keeps the
        ///   record.
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::retire().saturating_add(T::WeightInfo::drain()))]
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

        /// Brings a machine up to what the catalogue and the stakes' parameters ask now, or removes the
        /// record of a retired one that nothing keeps any more.
        ///
        /// The machine takes a new copy of its class's terms, and its status follows from whether its bond still
        /// suffices. Anybody may call it: who shares the emission with the machine has a reason to.
        ///
        /// - Origin: signed by anybody.
        /// - Parameters: `machine`.
        /// - Errors: [`Error::NoSuchMachine`]; [`Error::MachineRetired`] where something still keeps the
        ///   record; [`Error::NothingToRefresh`].
        /// - Events: [`Event::MachineTermsUpdated`], [`Event::MachineStatusChanged`], each where it changed;
        ///   [`Event::MachineRemoved`].
        #[pallet::call_index(11)]
        #[pallet::weight(T::WeightInfo::refresh_machine().max(T::WeightInfo::retire()))]
        pub fn refresh_machine(origin: OriginFor<T>, machine: MachineId) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_refresh_machine(machine)
        }
    }
}
