//! Jobs, and the money that is held, streamed and returned for them.
//!
//! A consumer deploys a job to a machine; the price of its longest run is held from then on. A *service* is
//! paid for as it runs, a *task* once its result stands. Whatever is left goes back when the job closes.
//!
//! ```text
//! Starting ──start──▶ Running ──submit_result──▶ Verifying ──accept, or settle after the window──▶ Completed
//!    │                   │ settle pays a service's time and changes nothing else
//!    │                   ├─close───▶ ClosedByConsumer (services only)
//!    │                   ├─expire──▶ Expired (services), NoResult (tasks)
//!    │                   └─abandon─▶ Abandoned
//!    ├─close───▶ Cancelled
//!    ├─expire──▶ NotStarted
//!    └─abandon─▶ Abandoned
//! ```
//!
//! # Properties
//!
//! 1. *Nobody is stuck.* In every state each side alone, or anybody once a deadline has passed, can close the
//!    job. No account's condition (frozen, dead, below the existential deposit) prevents it.
//! 2. *Nobody pays more than agreed.* A job never takes more than its escrow; the ask is fixed at deployment.
//! 3. *Rounding never adds up.* Payments are differences of one running total.
//! 4. *A chain that stands still charges nobody*: all times are active time.
//! 5. *Bounded.* No call iterates. A machine has at most as many jobs as slots, so the machine's own bond and
//!    deposit stand behind the storage of its jobs and none is taken for a job.
//!
//! Closing has one path (`calls.rs`), and all money moves in one file (`escrow.rs`).

#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod calls;
mod escrow;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
mod try_state;
pub mod types;
pub mod weights;

pub use pallet::*;
pub use types::{Diversion, JobId, JobKind, JobOrder, JobOutcome, JobRecord, JobState, ManifestRef};
pub use weights::WeightInfo;

/// The pallet's items.
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use assay_primitives::{
        clock::{ActiveClock, Millis},
        emission::FlywheelLedger,
        machine::{MachineId, MachineLease},
        money::Balance,
        offence::ReportOffence,
    };
    use polkadot_sdk::{
        frame_support::{
            pallet_prelude::*,
            traits::{StorePreimage, fungible},
        },
        frame_system::pallet_prelude::*,
        sp_core::H256,
        sp_runtime::{Permill, Rounding, traits::BlakeTwo256},
    };

    use super::{Diversion, JobId, JobKind, JobOrder, JobOutcome, JobRecord, WeightInfo, types::cost};

    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    /// The pallet.
    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    /// What the pallet needs of the runtime.
    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// The token that jobs are paid in.
        type Currency: fungible::Mutate<Self::AccountId, Balance = Balance>
            + fungible::hold::Mutate<Self::AccountId, Reason = Self::RuntimeHoldReason>;

        /// The runtime's reasons to hold money.
        type RuntimeHoldReason: From<HoldReason>;

        /// Gives and takes back the slots of machines.
        type Machines: MachineLease<Self::AccountId>;

        /// The clock of all deadlines and prices.
        type Clock: ActiveClock;

        /// Keeps the manifests. A manifest is requested as long as a job needs it.
        type Preimages: StorePreimage<H = BlakeTwo256>;

        /// Punishes machines that give up what they run.
        type Offences: ReportOffence<Self::AccountId>;

        /// Hears of fees and burns.
        type Flywheel: FlywheelLedger;

        /// The account of the author of the block at hand; without one its share goes to the treasury.
        type BlockAuthor: Get<Option<Self::AccountId>>;

        /// Receives the treasury's share and whatever its recipient cannot receive. Keep it alive: what it
        /// cannot receive itself is burned.
        type TreasuryAccount: Get<Self::AccountId>;

        /// Part of every payment that the protocol keeps. A change holds from the next payment on, also for
        /// open jobs.
        type ProtocolFee: Get<Permill>;

        /// Milliseconds that a machine has to start a job. Longer: slots are blocked longer by machines that
        /// are gone; shorter than an image takes to pull: no job starts. A change holds for later
        /// deployments.
        type StartWindowMs: Get<Millis>;

        /// Milliseconds that a consumer has to look at a result before silence counts as acceptance. A change
        /// holds for later results.
        type ConsumerWindowMs: Get<Millis>;

        /// Shortest time that may be ordered, in milliseconds; above zero, so that every job costs something.
        #[pallet::constant]
        type MinDurationMs: Get<Millis>;

        /// Longest time that may be ordered, in milliseconds: how long a machine's slots and a manifest can
        /// be bound.
        #[pallet::constant]
        type MaxDurationMs: Get<Millis>;

        /// Longest manifest, in bytes: what the chain keeps without a deposit while a job is open.
        #[pallet::constant]
        type MaxManifestBytes: Get<u32>;

        /// Weights of the calls.
        type WeightInfo: WeightInfo;
    }

    /// Why this pallet holds money.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// The price of open jobs.
        Escrow,
    }

    /// All open jobs.
    #[pallet::storage]
    pub type Jobs<T: Config> = StorageMap<_, Twox64Concat, JobId, JobRecord<T::AccountId>>;

    /// The identifier that the next job gets.
    #[pallet::storage]
    pub type NextJobId<T: Config> = StorageValue<_, JobId, ValueQuery>;

    /// The open jobs of each machine: at most as many as it has slots. This is what a worker watches.
    #[pallet::storage]
    pub type MachineJobs<T: Config> = StorageDoubleMap<_, Twox64Concat, MachineId, Twox64Concat, JobId, ()>;

    /// The open jobs of each consumer, for clients; the chain never iterates over them.
    #[pallet::storage]
    pub type ConsumerJobs<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, T::AccountId, Twox64Concat, JobId, ()>;

    /// What happened.
    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A job was deployed to a machine and its price held.
        JobDeployed {
            /// The job.
            job: JobId,
            /// Who pays.
            consumer: T::AccountId,
            /// The machine that shall run it.
            machine: MachineId,
            /// Slots it has.
            slots: u8,
            /// How it ends.
            kind: JobKind,
            /// Its price, in plancks per slot and hour.
            price_per_slot_hour: Balance,
            /// Plancks held.
            escrowed: Balance,
            /// The last active time at which the machine may start it.
            start_deadline_ms: Millis,
        },
        /// A machine started a job.
        JobStarted {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Active time of the start.
            started_at_ms: Millis,
        },
        /// A task gave its result.
        ResultSubmitted {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Hash of the result.
            result_hash: H256,
            /// The last active time of the consumer's window.
            window_ends_ms: Millis,
        },
        /// A payment was made out of a job's escrow.
        PaymentSettled {
            /// The job.
            job: JobId,
            /// Plancks that reached the provider; zero where its account could not receive them.
            provider_amount: Balance,
            /// Plancks that the protocol kept.
            fee: Balance,
            /// Part of the fee that was burned.
            burned: Balance,
        },
        /// Somebody's account could not receive its part of a job's money.
        PaymentDiverted {
            /// The job.
            job: JobId,
            /// Whose part it was.
            recipient: T::AccountId,
            /// Plancks.
            amount: Balance,
            /// Where they went instead.
            destination: Diversion,
        },
        /// A job closed and its slots are free again.
        JobClosed {
            /// The job.
            job: JobId,
            /// The machine that had it.
            machine: MachineId,
            /// How it ended.
            outcome: JobOutcome,
            /// Plancks paid in all, fees included.
            paid: Balance,
            /// Plancks that went back to the consumer.
            refunded: Balance,
        },
    }

    /// Why a call was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// There is no open job of this identifier.
        NoSuchJob,
        /// Only the job's consumer may do this.
        NotConsumer,
        /// Only the worker key of the job's machine may do this.
        NotWorker,
        /// Only the job's provider or the worker key of its machine may do this.
        NotProvider,
        /// The job is not in a state in which this can be done.
        WrongState,
        /// A running task cannot be closed by its consumer: it ends with its result or with its time.
        TaskRunning,
        /// A service gives no result.
        NotTask,
        /// The deadline has not passed yet.
        TooEarly,
        /// The deadline has passed; the job can be expired.
        TooLate,
        /// The highest price agreed to is below the machine's ask.
        PriceTooLow,
        /// The duration is shorter or longer than allowed.
        BadDuration,
        /// At least one slot must be ordered.
        NoSlots,
        /// The manifest is longer than allowed.
        ManifestTooLarge,
        /// The preimage store has no manifest of this hash and length.
        ManifestMissing,
        /// Nothing was earned since the last payment.
        NothingDue,
        /// The provider's account cannot receive this payment: it would stay below the existential deposit.
        ProviderCannotReceive,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn integrity_test() {
            assert!(T::MinDurationMs::get() > 0, "a job must cost something");
            assert!(
                T::MinDurationMs::get() <= T::MaxDurationMs::get(),
                "no duration could be ordered"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Deploys a job to a machine and holds the price of its longest run.
        ///
        /// Note the manifest in the preimage store first, best in the same batch.
        ///
        /// # Origin
        /// Signed by the consumer, who pays.
        ///
        /// # Parameters
        /// - `order`: what to run, where, for how long and at which highest price.
        ///
        /// # Errors
        /// - [`Error::NoSlots`], [`Error::BadDuration`], [`Error::ManifestTooLarge`]: the order is malformed.
        /// - [`Error::ManifestMissing`]: the manifest was not noted, or has another length.
        /// - [`Error::PriceTooLow`]: the machine asks for more.
        /// - What the registry says where the machine is unknown, not active or has too few free slots.
        /// - What the currency says where the consumer has too little.
        ///
        /// # Events
        /// [`Event::JobDeployed`].
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::deploy())]
        pub fn deploy(origin: OriginFor<T>, order: JobOrder) -> DispatchResult {
            let consumer = ensure_signed(origin)?;
            Self::do_deploy(consumer, order)
        }

        /// Starts a job, and with it the meter.
        ///
        /// # Origin
        /// Signed by the worker key of the job's machine.
        ///
        /// # Parameters
        /// - `job`: the job.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotWorker`], [`Error::WrongState`].
        /// - [`Error::TooLate`]: the time to start is over.
        ///
        /// # Events
        /// [`Event::JobStarted`].
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::start())]
        pub fn start(origin: OriginFor<T>, job: JobId) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_start(&worker, job)
        }

        /// Gives a task's result and stops the meter; the consumer's window opens.
        ///
        /// # Origin
        /// Signed by the worker key of the job's machine.
        ///
        /// # Parameters
        /// - `job`: the job.
        /// - `result_hash`: hash of the result.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotWorker`], [`Error::NotTask`], [`Error::WrongState`].
        /// - [`Error::TooLate`]: the task's time is over.
        ///
        /// # Events
        /// [`Event::ResultSubmitted`].
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::submit_result())]
        pub fn submit_result(origin: OriginFor<T>, job: JobId, result_hash: H256) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_submit_result(&worker, job, result_hash)
        }

        /// Accepts a task's result and pays for it.
        ///
        /// # Origin
        /// Signed by the consumer.
        ///
        /// # Parameters
        /// - `job`: the job.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotConsumer`].
        /// - [`Error::WrongState`]: there is no result.
        ///
        /// # Events
        /// [`Event::PaymentSettled`], [`Event::JobClosed`].
        #[pallet::call_index(3)]
        #[pallet::weight(Pallet::<T>::with_author(T::WeightInfo::accept()))]
        pub fn accept(origin: OriginFor<T>, job: JobId) -> DispatchResult {
            let consumer = ensure_signed(origin)?;
            Self::do_accept(&consumer, job)
        }

        /// Cancels a job that has not started, or ends a running service and pays for its time.
        ///
        /// # Origin
        /// Signed by the consumer.
        ///
        /// # Parameters
        /// - `job`: the job.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotConsumer`].
        /// - [`Error::TaskRunning`]: a task ends with its result or with its time.
        /// - [`Error::WrongState`]: a result waits to be accepted.
        ///
        /// # Events
        /// [`Event::PaymentSettled`] where something was due, [`Event::JobClosed`].
        #[pallet::call_index(4)]
        #[pallet::weight(Pallet::<T>::with_author(T::WeightInfo::close()))]
        pub fn close(origin: OriginFor<T>, job: JobId) -> DispatchResult {
            let consumer = ensure_signed(origin)?;
            Self::do_close(&consumer, job)
        }

        /// Pays what a running service has earned so far, or for a task whose consumer's window is over.
        ///
        /// # Origin
        /// Signed by anybody.
        ///
        /// # Parameters
        /// - `job`: the job.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::WrongState`].
        /// - [`Error::NothingDue`]: no time has passed that is not paid.
        /// - [`Error::TooEarly`]: the consumer may still look at the result.
        /// - [`Error::ProviderCannotReceive`]: the amount is too small for the provider's dead account.
        ///
        /// # Events
        /// [`Event::PaymentSettled`]; for a task also [`Event::JobClosed`].
        #[pallet::call_index(5)]
        #[pallet::weight(Pallet::<T>::with_author(T::WeightInfo::settle()))]
        pub fn settle(origin: OriginFor<T>, job: JobId) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_settle(job)
        }

        /// Closes a job whose time to start or to run is over: pays a service in full and a task nothing.
        ///
        /// # Origin
        /// Signed by anybody.
        ///
        /// # Parameters
        /// - `job`: the job.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::TooEarly`].
        /// - [`Error::WrongState`]: a result waits to be accepted or settled.
        ///
        /// # Events
        /// [`Event::PaymentSettled`] where something was due, [`Event::JobClosed`].
        #[pallet::call_index(6)]
        #[pallet::weight(Pallet::<T>::with_author(T::WeightInfo::expire()))]
        pub fn expire(origin: OriginFor<T>, job: JobId) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_expire(job)
        }

        /// Gives a job up: a service is paid up to now, a task not at all. Giving up one that runs is an offence for
        /// which the machine is slashed.
        ///
        /// # Origin
        /// Signed by the job's provider or by the worker key of its machine.
        ///
        /// # Parameters
        /// - `job`: the job.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotProvider`].
        /// - [`Error::WrongState`]: the task has given its result.
        ///
        /// # Events
        /// [`Event::PaymentSettled`] where something was due, [`Event::JobClosed`].
        #[pallet::call_index(7)]
        #[pallet::weight(Pallet::<T>::with_author(T::WeightInfo::abandon()))]
        pub fn abandon(origin: OriginFor<T>, job: JobId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_abandon(&who, job)
        }
    }

    #[pallet::view_functions]
    impl<T: Config> Pallet<T> {
        /// Plancks that would be paid for a job if it closed now, fee included; `None` where it is not open.
        pub fn amount_due(job: JobId) -> Option<Balance> {
            Jobs::<T>::get(job).map(|record| record.due_at(T::Clock::now_ms()))
        }

        /// Plancks that an order of these terms holds; `None` where they are more than any balance.
        pub fn escrow_for(
            price_per_slot_hour: Balance,
            slots: u8,
            max_duration_ms: Millis,
        ) -> Option<Balance> {
            cost(price_per_slot_hour, slots, max_duration_ms, Rounding::Up)
        }
    }

    impl<T: Config> Pallet<T> {
        /// Adds the author's account to a weight: benchmarks run in blocks that have no author.
        fn with_author(weight: Weight) -> Weight {
            weight.saturating_add(T::DbWeight::get().reads_writes(1, 1))
        }
    }
}
