//! Jobs, and the money that is held, streamed and returned for them.
//!
//! A consumer orders a job for one or more machines, of which each gets an *assignment*: on machines it
//! chose, at their asks ([`deploy`](Pallet::deploy)), or on whichever eligible machines take the price that
//! it offers, which rises until they do ([`request`](Pallet::request)). The most that it can cost is held
//! from then on. A *service* is paid for as it runs, a *task* once its result stands.
//!
//! ```text
//! Open ──accept_request──▶ Starting ──start──▶ Running
//!   ▲                         │                 ├─ close, expire, abandon, report_workload_ended ──▶ Ended
//!   │                         │                 ├─ submit_attested_result ────────────────────────▶ Ended
//!   └──decline, expire────────┘                 ├─ submit_result ─▶ Verifying ─ accept, settle ───▶ Ended
//!                                               └─ commit_result ─▶ Committed ─ reveal_result ─▶ Revealed
//!                                                                       └──────── resolve ────────┴▶ Ended
//! Ended ──settle, once its last epoch is closed──▶ gone; the job goes with its last assignment
//! ```
//!
//! # Properties
//!
//! 1. *Nobody is stuck.* In every state anybody can go on once a deadline has passed. No account's condition
//!    (frozen, dead, below the existential deposit) prevents it.
//! 2. *Nobody pays more than agreed.* An assignment never takes more than was held for it.
//! 3. *A chain that stands still charges nobody*: all times are active time.
//! 4. *Bounded.* No call looks at more than the job's machines or [`Config::MaxEpochsPerSettle`] epochs.
//! 5. *Blame follows proof.* No machine is slashed for what happens in a job. Nobody who can bring a failure
//!    about gains by it: money that neither side is shown to deserve goes to the treasury.
//! 6. *Speaking is free.* Reports of a worker key on its machine's assignments cost no fee.
//!
//! The rules stand by the code that keeps them: `orders.rs` (terms and places), `assignments.rs` (starts and
//! early ends), `results.rs`, `quorum.rs` and `attested.rs` (verification of results), `settling.rs`
//! (payment), `escrow.rs` (movements of money and bounties). `book.rs` owns the records.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod assignments;
mod attested;
#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod book;
mod escrow;
#[cfg(test)]
mod mock;
mod open_orders;
mod orders;
mod quorum;
mod results;
mod settling;
#[cfg(test)]
mod tests;
mod try_state;
pub mod types;
pub mod weights;

#[cfg(feature = "runtime-benchmarks")]
pub use benchmarking::BenchmarkHelper;
pub use pallet::*;
pub use types::{
    AssignmentRecord, AssignmentRecordOf, AssignmentState, Auction, AuctionTerms, Ballot, ChosenMachines,
    DeclineReason, Diversion, HoldBack, JobId, JobKind, JobOrder, JobRecord, JobRecordOf, Manifest,
    ManifestRef, Outcome, RefusedMachines, Verification,
};
pub use weights::WeightInfo;

/// The pallet's items.
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use assay_primitives::{
        attestation::AttestedSigners,
        clock::{ActiveClock, Millis},
        emission::{EpochUptime, FlywheelLedger},
        machine::{MachineId, MachineInspect, MachineLease},
        market::{MAX_NODES, MatchingLease, Requirements},
        money::Balance,
    };
    use polkadot_sdk::{
        frame_support::{
            pallet_prelude::*,
            traits::{StorePreimage, fungible},
        },
        frame_system::pallet_prelude::*,
        sp_core::H256,
        sp_runtime::{
            Permill, Rounding,
            traits::{BlakeTwo256, IdentifyAccount, Verify},
        },
    };

    use super::{
        AssignmentRecordOf, AuctionTerms, ChosenMachines, DeclineReason, Diversion, JobId, JobKind, JobOrder,
        JobRecordOf, Outcome, RefusedMachines, WeightInfo,
        types::{MAX_REPLICAS, PlaceCheck, Settled, cost},
    };

    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    /// The pallet.
    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    /// Configuration of the pallet.
    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// The token that jobs are paid in.
        type Currency: fungible::Mutate<Self::AccountId, Balance = Balance>
            + fungible::Balanced<Self::AccountId, Balance = Balance>
            + fungible::hold::Balanced<Self::AccountId>
            + fungible::hold::Mutate<Self::AccountId, Reason = Self::RuntimeHoldReason>;

        /// The runtime's reasons to hold money.
        type RuntimeHoldReason: From<HoldReason>;

        /// Gives and takes back the slots of machines.
        type Machines: MachineLease<Self::AccountId>;

        /// Holds machines against an order's requirements, and leases those that meet them.
        type Matching: MatchingLease<Self::AccountId>;

        /// Source of machines' attestation and its expiry.
        type AttestedSigners: AttestedSigners<Self::AccountId>;

        /// Signature of a worker key under a result that its machine vouches for.
        type StatementSignature: Parameter + Verify<Signer: IdentifyAccount<AccountId = Self::AccountId>>;

        /// Source of machines' uptime, as validators reported it.
        type Uptime: EpochUptime;

        /// The clock of all deadlines and prices.
        type Clock: ActiveClock;

        /// Keeps the public manifests. A manifest is requested as long as a job needs it.
        type Preimages: StorePreimage<H = BlakeTwo256>;

        /// Ledger of fees and burns.
        type Flywheel: FlywheelLedger;

        /// The account of the author of the block at hand; without one its share goes to the treasury.
        type BlockAuthor: Get<Option<Self::AccountId>>;

        /// Receives the treasury's share, money that neither side may have, and money that its recipient
        /// cannot receive. Keep it alive: an amount that it cannot receive itself is burned.
        type TreasuryAccount: Get<Self::AccountId>;

        /// Part of every payment that the protocol keeps. A change holds from the next payment on, also for
        /// open jobs.
        type ProtocolFee: Get<Permill>;

        /// Part of what a running service earned that is held back until it ended. A change holds for later
        /// orders.
        type HoldBack: Get<Permill>;

        /// Plancks that a bounty pays. Worth calling for: above the fee of [`Pallet::settle`]. A change holds
        /// for later orders.
        type Bounty: Get<Balance>;

        /// Milliseconds that a machine has to start a job. Longer: slots are blocked longer by machines that
        /// are gone; shorter than an image takes to pull: no job starts. A change holds for later
        /// assignments.
        type StartWindowMs: Get<Millis>;

        /// Milliseconds in which replicas have to reveal their results. Shorter than a few blocks: a busy
        /// chain makes liars of honest machines. A change holds for later reveals.
        type RevealWindowMs: Get<Millis>;

        /// Longest time that a consumer may reserve for looking at a result, and longest run of a task that a
        /// quorum verifies, in milliseconds: how long a machine that is done may have to wait.
        #[pallet::constant]
        type MaxVerificationMs: Get<Millis>;

        /// Longest time that an order may be open, in milliseconds.
        #[pallet::constant]
        type MaxOpenMs: Get<Millis>;

        /// Shortest time that may be ordered, in milliseconds.
        #[pallet::constant]
        type MinDurationMs: Get<Millis>;

        /// Longest time that may be ordered, in milliseconds: how long a machine's slots and a manifest can
        /// be bound.
        #[pallet::constant]
        type MaxDurationMs: Get<Millis>;

        /// Longest public manifest, in bytes: what the chain keeps while a job is open.
        #[pallet::constant]
        type MaxManifestBytes: Get<u32>;

        /// Most epochs that one call judges; above zero.
        #[pallet::constant]
        type MaxEpochsPerSettle: Get<u32>;

        /// Plancks held for a job's record and its place in its consumer's list.
        #[pallet::constant]
        type JobDeposit: Get<Balance>;

        /// Plancks held, besides, for the requirements of an open order.
        #[pallet::constant]
        type RequestDeposit: Get<Balance>;

        /// Plancks held, besides, for each assignment and its place in its machine's list.
        #[pallet::constant]
        type AssignmentDeposit: Get<Balance>;

        /// Plancks held, besides, for each byte of a public manifest, which the chain keeps as long as the
        /// job.
        #[pallet::constant]
        type ManifestByteDeposit: Get<Balance>;

        /// Makes worker keys that sign, for benchmarks.
        #[cfg(feature = "runtime-benchmarks")]
        type BenchmarkHelper: super::BenchmarkHelper<Self::AccountId, Self::StatementSignature>;

        /// Weights of the calls.
        type WeightInfo: WeightInfo;
    }

    /// Why this pallet holds money.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// The most that open jobs can cost.
        Escrow,
        /// Storage that open jobs use, and the bounties for accounts that keep them going.
        Deposit,
    }

    /// Jobs that are not closed.
    #[pallet::storage]
    pub type Jobs<T: Config> = StorageMap<_, Twox64Concat, JobId, JobRecordOf<T>>;

    /// Requirements that a machine must meet to accept an open order.
    #[pallet::storage]
    pub type Requests<T: Config> = StorageMap<_, Twox64Concat, JobId, Requirements>;

    /// The machines that gave a place of an auction back, and get none of it any more.
    #[pallet::storage]
    pub type Refusals<T: Config> = StorageMap<_, Twox64Concat, JobId, RefusedMachines, ValueQuery>;

    /// The assignments of each job: at most as many as it has nodes.
    #[pallet::storage]
    pub type Assignments<T: Config> =
        StorageDoubleMap<_, Twox64Concat, JobId, Twox64Concat, MachineId, AssignmentRecordOf<T>>;

    /// The identifier that the next job gets.
    #[pallet::storage]
    pub type NextJobId<T: Config> = StorageValue<_, JobId, ValueQuery>;

    /// The jobs that each machine has an assignment of. This is what a worker watches.
    #[pallet::storage]
    pub type MachineJobs<T: Config> = StorageDoubleMap<_, Twox64Concat, MachineId, Twox64Concat, JobId, ()>;

    /// The jobs of each consumer, for clients; the chain never iterates over them.
    #[pallet::storage]
    pub type ConsumerJobs<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, T::AccountId, Twox64Concat, JobId, ()>;

    /// Events of the pallet.
    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A job was ordered and the most that it can cost was held.
        JobOrdered {
            /// The job.
            job: JobId,
            /// The account that pays.
            consumer: T::AccountId,
            /// Service or task.
            kind: JobKind,
            /// Machines that it wants.
            nodes: u8,
            /// Slots of each.
            slots: u8,
            /// Plancks held for its price.
            escrowed: Balance,
            /// Plancks held for its bytes and for bounties.
            deposit: Balance,
            /// The last active time at which machines may accept it; `None` where its consumer chose them.
            closes_at_ms: Option<Millis>,
        },
        /// A machine got a job.
        MachineAssigned {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// The account that is paid.
            provider: T::AccountId,
            /// The price that was fixed, in plancks per slot and hour.
            price_per_slot_hour: Balance,
            /// The last active time at which the machine may start it.
            start_deadline_ms: Millis,
        },
        /// A machine that was assigned will not run the job; another one is sought.
        PlaceReopened {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Reason.
            outcome: Outcome,
        },
        /// No machine is sought any more for some of a job's places.
        PlacesCancelled {
            /// The job.
            job: JobId,
            /// Number of places.
            places: u8,
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
        /// A consumer extended the time that a job may run.
        JobExtended {
            /// The job.
            job: JobId,
            /// By how much, in milliseconds.
            additional_ms: Millis,
            /// Plancks held besides for its price.
            escrowed: Balance,
            /// Plancks held besides for bounties.
            deposit: Balance,
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
        /// An attested machine vouched for a task's result, which stands.
        ResultAttested {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Hash of the result.
            result_hash: H256,
            /// The key that signed.
            worker_key: T::AccountId,
            /// Until when the evidence counts that the key is bound to, in seconds since 1970.
            evidence_until_s: u64,
        },
        /// A replica committed to its result.
        ResultCommitted {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Commitment to the result and a salt.
            commitment: H256,
        },
        /// No replica can commit any more: those that did may reveal.
        RevealOpened {
            /// The job.
            job: JobId,
            /// The last active time at which they may.
            reveal_ends_ms: Millis,
        },
        /// A replica revealed its result.
        ResultRevealed {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Hash of the result.
            result_hash: H256,
        },
        /// The replicas of a task were counted.
        QuorumResolved {
            /// The job.
            job: JobId,
            /// Hash of the result that won; `None` where none had a quorum.
            result_hash: Option<H256>,
            /// Number of replicas that gave it.
            votes: u8,
        },
        /// A machine is free again; its earnings are paid as its epochs are closed.
        AssignmentEnded {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Reason for the end.
            outcome: Outcome,
            /// Active time at which what is paid ends.
            ended_at_ms: Millis,
        },
        /// A payment was made out of a job's escrow.
        PaymentSettled {
            /// The job.
            job: JobId,
            /// The machine that earned it.
            machine: MachineId,
            /// Plancks that reached the provider; zero where its account could not receive them.
            provider_amount: Balance,
            /// Plancks that the protocol kept.
            fee: Balance,
            /// Part of the fee that was burned.
            burned: Balance,
        },
        /// Earnings that neither side is shown to deserve went to the treasury.
        EarningsForfeited {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Plancks.
            amount: Balance,
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
        /// A consumer disputed that a service's workload ended by itself: its machine is not paid the
        /// hold-back.
        EndDisputed {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
        },
        /// A part of a job's escrow went back to its consumer.
        EscrowReturned {
            /// The job.
            job: JobId,
            /// Plancks.
            amount: Balance,
        },
        /// A bounty was paid.
        BountyPaid {
            /// The job.
            job: JobId,
            /// The account that made the call, or the treasury.
            recipient: T::AccountId,
            /// Plancks.
            amount: Balance,
        },
        /// Nothing is held or owed any more for a machine's part in a job.
        AssignmentClosed {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Reason for the end.
            outcome: Outcome,
            /// Plancks paid for it in all, fees included.
            paid: Balance,
        },
        /// A job closed: nothing of it is left.
        JobClosed {
            /// The job.
            job: JobId,
            /// Plancks paid in all, fees included, without bounties.
            paid: Balance,
            /// Plancks of the deposit that went back to the consumer.
            deposit_returned: Balance,
        },
    }

    /// Why a call was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// There is no open job of this identifier.
        NoSuchJob,
        /// The machine has no part in the job.
        NoSuchAssignment,
        /// Only the job's consumer may do this.
        NotConsumer,
        /// Only the worker key of a machine may do this.
        NotWorker,
        /// Only the machine's provider or its worker key may do this.
        NotProvider,
        /// The job or the machine's part in it is not in a state in which this can be done.
        WrongState,
        /// A running task cannot be closed by its consumer: it ends with its result or with its time.
        TaskRunning,
        /// A service gives no result.
        NotTask,
        /// A task ends with its result.
        NotService,
        /// The task's results are verified in another way.
        OtherVerification,
        /// The deadline has not passed yet.
        TooEarly,
        /// The deadline has passed.
        TooLate,
        /// The highest price agreed to is below the machine's ask. An extension has the price of the order:
        /// where the ask rose above it, order anew.
        PriceTooLow,
        /// The machine takes nothing more: it drains, is suspended or has retired. Order anew from another
        /// one.
        NotExtendable,
        /// The machine gave a place of this order back, and gets none of it any more.
        GaveItBack,
        /// The floor of the price is above its maximum.
        FloorAboveMaximum,
        /// The order would be open for no time, for too long, or for less time than its price rises.
        BadOpenTime,
        /// The duration is shorter or longer than allowed.
        BadDuration,
        /// At least one slot must be ordered.
        NoSlots,
        /// No machine is ordered, or more than a job may have, or another number than the quorum has
        /// replicas.
        BadNodes,
        /// The quorum's threshold is not more than half of its replicas, or more than all of them.
        BadQuorum,
        /// The consumer's window, or the run of a task that a quorum verifies, is longer than allowed.
        VerificationTooLong,
        /// The task is for attested machines, and this one has no fresh evidence of its processor's TEE for
        /// its present keys: choose one that the market shows with a TEE, or have the machine submit evidence
        /// first.
        NotAttested,
        /// The chain cannot verify proofs of computations yet.
        ProofNotSupported,
        /// The requirements are such that no machine could meet them.
        BadRequirements,
        /// The machine does not meet the order's requirements; the market's `explain` says which.
        NotEligible,
        /// The machine has a part in the job already.
        AlreadyAssigned,
        /// A machine of the same provider has a part in the quorum already.
        ProviderNotDistinct,
        /// The order has no open place.
        NoOpenPlace,
        /// The manifest is longer than allowed.
        ManifestTooLarge,
        /// The preimage store has no manifest of this hash and length.
        ManifestMissing,
        /// The manifest is public: there is nothing to deliver.
        ManifestIsPublic,
        /// The result and the salt are not what the machine committed to.
        CommitmentMismatch,
        /// Nothing can be paid that was not paid before.
        NothingDue,
        /// The machine's evidence ended before its result, or is bound to other keys: submit new evidence for
        /// its present keys, and then the result again, while the task's time lasts.
        EvidenceEnded,
        /// The worker key did not sign this statement: it has to be of this chain, job, machine and result,
        /// and of the image and the manifest that were ordered.
        BadStatement,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn integrity_test() {
            assert!(T::MinDurationMs::get() > 0, "a job must take some time");
            assert!(
                T::MinDurationMs::get() <= T::MaxDurationMs::get(),
                "no duration could be ordered"
            );
            assert!(T::MaxEpochsPerSettle::get() > 0, "no epoch could be judged");
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Orders a job for machines of the consumer's choice, each at its ask, and holds the most it can
        /// cost.
        ///
        /// Note a public manifest in the preimage store first, best in the same batch. A sealed one has to
        /// reach each worker in the start window.
        ///
        /// # Origin
        /// Signed by the consumer, who pays.
        ///
        /// # Errors
        /// - What is wrong with the order: [`Error::NoSlots`], [`Error::BadNodes`], [`Error::BadDuration`],
        ///   [`Error::BadQuorum`], [`Error::VerificationTooLong`], [`Error::ProofNotSupported`],
        ///   [`Error::BadRequirements`], [`Error::ManifestTooLarge`], [`Error::ManifestMissing`].
        /// - What is wrong with a machine: [`Error::NotEligible`], [`Error::NotAttested`],
        ///   [`Error::PriceTooLow`], [`Error::AlreadyAssigned`], [`Error::ProviderNotDistinct`], and what the
        ///   registry says.
        /// - What the currency says where the consumer has too little.
        ///
        /// # Events
        /// [`Event::MachineAssigned`] for each machine, [`Event::JobOrdered`].
        #[pallet::call_index(0)]
        #[pallet::weight(if order.needs_evidence() {
            T::WeightInfo::deploy_attested(machines.len() as u32)
        } else {
            T::WeightInfo::deploy(machines.len() as u32)
        })]
        pub fn deploy(origin: OriginFor<T>, order: JobOrder, machines: ChosenMachines) -> DispatchResult {
            let consumer = ensure_signed(origin)?;
            Self::do_deploy(consumer, order, machines)
        }

        /// Starts a job, and with it the meter. The escrow above the machine's price goes back.
        ///
        /// # Origin
        /// Signed by the worker key of a machine that has the job.
        ///
        /// # Errors
        /// - [`Error::NotWorker`], [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::WrongState`].
        /// - [`Error::TooLate`]: the time to start is over.
        ///
        /// # Events
        /// [`Event::JobStarted`]; [`Event::EscrowReturned`] where something was.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::start())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, job: &JobId| -> bool {
            Pallet::<T>::is_from_worker(origin, |worker| Pallet::<T>::check_start(worker, *job).is_ok())
        })]
        pub fn start(origin: OriginFor<T>, job: JobId) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_start(&worker, job)
        }

        /// Gives a task's result, which stops the meter and frees the machine; the consumer's window opens.
        ///
        /// # Origin
        /// Signed by the worker key of a machine that runs the task.
        ///
        /// # Errors
        /// - [`Error::NotWorker`], [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::WrongState`].
        /// - [`Error::NotTask`], [`Error::OtherVerification`]: a quorum wants a commitment first, and an
        ///   attested task a signature.
        /// - [`Error::TooLate`]: the task's time is over.
        ///
        /// # Events
        /// [`Event::ResultSubmitted`].
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::submit_result())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, job: &JobId, _: &H256| -> bool {
            Pallet::<T>::is_from_worker(origin, |worker| Pallet::<T>::check_result(worker, *job).is_ok())
        })]
        pub fn submit_result(origin: OriginFor<T>, job: JobId, result_hash: H256) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_submit_result(&worker, job, result_hash)
        }

        /// Accepts a task's result, so that [`Pallet::settle`] pays it.
        ///
        /// # Origin
        /// Signed by the consumer.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotConsumer`], [`Error::NoSuchAssignment`].
        /// - [`Error::WrongState`]: there is no result, or it was accepted before.
        ///
        /// # Events
        /// [`Event::AssignmentEnded`], [`Event::EscrowReturned`].
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::accept())]
        pub fn accept(origin: OriginFor<T>, job: JobId, machine: MachineId) -> DispatchResult {
            let consumer = ensure_signed(origin)?;
            Self::do_accept(&consumer, job, machine)
        }

        /// Ends a job early: cancels open places and machines that have not started, and ends a service's
        /// run.
        ///
        /// A machine that has not started is paid for the time for which it was reserved. What runs of a task
        /// is left alone.
        ///
        /// # Origin
        /// Signed by the consumer.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotConsumer`].
        /// - [`Error::TaskRunning`]: all that is left is a task that runs, which ends with its result or with
        ///   its time.
        /// - [`Error::WrongState`]: the job ended before.
        ///
        /// # Events
        /// [`Event::PlacesCancelled`], [`Event::AssignmentEnded`] and [`Event::AssignmentClosed`] for what
        /// there was; [`Event::EscrowReturned`]; [`Event::JobClosed`] where nothing is left to be paid.
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::close(MAX_NODES.into()))]
        pub fn close(origin: OriginFor<T>, job: JobId) -> DispatchResultWithPostInfo {
            let consumer = ensure_signed(origin)?;
            let nodes = Self::do_close(&consumer, job)?;
            Ok(Some(T::WeightInfo::close(nodes)).into())
        }

        /// Judges closed epochs of a machine's part in a job and pays what may be paid; accepts for a
        /// consumer that let its window pass.
        ///
        /// # Origin
        /// Signed by anybody. Pays a bounty where it judges as many epochs as one call may, pays the last of
        /// it, or accepts.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::WrongState`].
        /// - [`Error::NothingDue`]: no epoch was closed since the last time.
        /// - [`Error::TooEarly`]: the consumer may still look at the result.
        ///
        /// # Events
        /// [`Event::PaymentSettled`] where something was paid; [`Event::AssignmentClosed`] and
        /// [`Event::JobClosed`] with the last of it; [`Event::BountyPaid`].
        #[pallet::call_index(5)]
        #[pallet::weight(Settled::max_weight::<T>())]
        pub fn settle(origin: OriginFor<T>, job: JobId, machine: MachineId) -> DispatchResultWithPostInfo {
            let caller = ensure_signed(origin)?;
            let settled = Self::do_settle(&caller, job, machine)?;
            Ok(Some(settled.weight::<T::WeightInfo>()).into())
        }

        /// Ends a machine's part in a job whose time to start or to run is over.
        ///
        /// A machine that did not start is out of the market until it speaks; where machines may still accept
        /// the order, its place is open again. A service that ran is paid by [`Pallet::settle`]; a task
        /// without a result is not paid.
        ///
        /// # Origin
        /// Signed by anybody. Pays a bounty, unless the place is open again.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::TooEarly`].
        /// - [`Error::WrongState`]: it ended, or a result waits to be judged.
        ///
        /// # Events
        /// [`Event::AssignmentEnded`], [`Event::AssignmentClosed`] or [`Event::PlaceReopened`];
        /// [`Event::EscrowReturned`], [`Event::BountyPaid`], [`Event::JobClosed`].
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::expire().max(T::WeightInfo::expire_reopening()))]
        pub fn expire(origin: OriginFor<T>, job: JobId, machine: MachineId) -> DispatchResult {
            let caller = ensure_signed(origin)?;
            Self::do_expire(&caller, job, machine)
        }

        /// Gives up a running job: a service is paid up to now but for the hold-back, which its consumer
        /// gets, a task not at all.
        ///
        /// # Origin
        /// Signed by the machine's provider, or by its worker key, which pays no fee.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::NotProvider`].
        /// - [`Error::WrongState`]: it does not run. [`Error::TooLate`]: its time is over; expire it.
        ///
        /// # Events
        /// [`Event::AssignmentEnded`] or [`Event::AssignmentClosed`]; [`Event::EscrowReturned`].
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::abandon())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, job: &JobId, machine: &MachineId| -> bool {
            Pallet::<T>::is_from_worker(origin, |worker| {
                Pallet::<T>::check_abandon(worker, *job, *machine).is_ok()
            })
        })]
        pub fn abandon(origin: OriginFor<T>, job: JobId, machine: MachineId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_abandon(&who, job, machine)
        }

        /// Orders a job for whichever eligible machines take the offered price, and holds the most it can
        /// cost.
        ///
        /// # Origin
        /// Signed by the consumer, who pays.
        ///
        /// # Errors
        /// - What is wrong with the order, as for [`Pallet::deploy`].
        /// - What is wrong with the auction: [`Error::FloorAboveMaximum`], [`Error::BadOpenTime`].
        /// - What the currency says where the consumer has too little.
        ///
        /// # Events
        /// [`Event::JobOrdered`].
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::request())]
        pub fn request(
            origin: OriginFor<T>,
            order: JobOrder,
            nodes: u8,
            auction: AuctionTerms,
        ) -> DispatchResult {
            let consumer = ensure_signed(origin)?;
            Self::do_request(consumer, order, nodes, auction)
        }

        /// Takes a place of an open order for a machine, at the price that is offered now.
        ///
        /// # Origin
        /// Signed by the machine's provider or its worker key.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotProvider`], [`Error::NoOpenPlace`].
        /// - [`Error::TooLate`]: the order is not open any more. [`Error::GaveItBack`].
        /// - [`Error::AlreadyAssigned`], [`Error::ProviderNotDistinct`], [`Error::NotEligible`],
        ///   [`Error::NotAttested`], and what the registry says.
        ///
        /// # Events
        /// [`Event::MachineAssigned`].
        #[pallet::call_index(9)]
        #[pallet::weight(PlaceCheck::max_weight::<T::WeightInfo>())]
        pub fn accept_request(
            origin: OriginFor<T>,
            job: JobId,
            machine: MachineId,
        ) -> DispatchResultWithPostInfo {
            let who = ensure_signed(origin)?;
            let check = Self::do_accept_request(&who, job, machine)?;
            Ok(Some(check.weight::<T::WeightInfo>()).into())
        }

        /// Declines a job before it started, which costs the machine nothing: not even a fee, where its
        /// worker key signs.
        ///
        /// Where machines may still accept the order, its place is open again at the price at which the
        /// machine took it; the machine gets no place of the order any more. Where they may not, the place is
        /// closed, and after a fifth of the start window the time for which the machine was reserved goes to
        /// the treasury. A place whose manifest was not delivered is closed in any case, and a bounty of the
        /// consumer's goes to the treasury too.
        ///
        /// # Origin
        /// Signed by the machine's provider or its worker key.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::NotProvider`],
        ///   [`Error::WrongState`].
        /// - [`Error::TooLate`]: the time to start is over. [`Error::ManifestIsPublic`].
        ///
        /// # Events
        /// [`Event::PlaceReopened`], or [`Event::AssignmentClosed`] and [`Event::EscrowReturned`], and
        /// [`Event::EarningsForfeited`] for reserved time.
        #[pallet::call_index(10)]
        #[pallet::weight(match reason {
            DeclineReason::CannotRun => T::WeightInfo::decline().max(T::WeightInfo::decline_reopening()),
            DeclineReason::NotDelivered => T::WeightInfo::decline_undelivered(),
        })]
        #[pallet::feeless_if(
            |origin: &OriginFor<T>, job: &JobId, machine: &MachineId, reason: &DeclineReason| -> bool {
                Pallet::<T>::is_from_worker(origin, |worker| {
                    Pallet::<T>::check_decline(worker, *job, *machine, *reason).is_ok()
                })
            }
        )]
        pub fn decline(
            origin: OriginFor<T>,
            job: JobId,
            machine: MachineId,
            reason: DeclineReason,
        ) -> DispatchResultWithPostInfo {
            let who = ensure_signed(origin)?;
            Self::do_decline(&who, job, machine, reason)?;
            Ok(Pays::No.into())
        }

        /// Cancels the open places of an order that machines cannot accept any more.
        ///
        /// # Origin
        /// Signed by anybody. Pays a bounty.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NoOpenPlace`], [`Error::TooEarly`].
        ///
        /// # Events
        /// [`Event::PlacesCancelled`], [`Event::EscrowReturned`], [`Event::BountyPaid`]; [`Event::JobClosed`]
        /// where no machine has it.
        #[pallet::call_index(11)]
        #[pallet::weight(T::WeightInfo::expire_request())]
        pub fn expire_request(origin: OriginFor<T>, job: JobId) -> DispatchResult {
            let caller = ensure_signed(origin)?;
            Self::do_expire_request(&caller, job)
        }

        /// Extends the time that machines may run a job and holds its price; those whose time is over are
        /// left alone.
        ///
        /// The price of each machine stays: it has to be at least the machine's ask of the moment.
        ///
        /// # Origin
        /// Signed by the consumer.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotConsumer`].
        /// - [`Error::BadDuration`]: by nothing, or beyond the longest time.
        /// - [`Error::TooLate`]: every machine's time is over.
        /// - [`Error::PriceTooLow`], [`Error::NotExtendable`]: a machine's ask rose, or it takes nothing
        ///   more.
        /// - What the currency says where the consumer has too little.
        ///
        /// # Events
        /// [`Event::JobExtended`].
        #[pallet::call_index(12)]
        #[pallet::weight(T::WeightInfo::top_up(MAX_NODES.into()))]
        pub fn top_up(origin: OriginFor<T>, job: JobId, additional_ms: Millis) -> DispatchResultWithPostInfo {
            let consumer = ensure_signed(origin)?;
            let nodes = Self::do_top_up(&consumer, job, additional_ms)?;
            Ok(Some(T::WeightInfo::top_up(nodes)).into())
        }

        /// Rejects a task's result: its earnings go to the treasury, and the rest back to the consumer.
        /// Or disputes that a service's workload ended by itself: its hold-back goes to the treasury.
        ///
        /// # Origin
        /// Signed by the consumer.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotConsumer`], [`Error::NoSuchAssignment`].
        /// - [`Error::WrongState`]: there is no result, or it was accepted.
        /// - [`Error::TooLate`]: the window is over, or the last epoch of the service judged; silence
        ///   accepted.
        ///
        /// # Events
        /// [`Event::EarningsForfeited`], [`Event::EscrowReturned`], [`Event::AssignmentClosed`];
        /// [`Event::EndDisputed`] for a service.
        #[pallet::call_index(13)]
        #[pallet::weight(T::WeightInfo::reject())]
        pub fn reject(origin: OriginFor<T>, job: JobId, machine: MachineId) -> DispatchResult {
            let consumer = ensure_signed(origin)?;
            Self::do_reject(&consumer, job, machine)
        }

        /// Commits a replica to its result and stops its meter.
        ///
        /// # Origin
        /// Signed by the worker key of a machine that runs the task.
        ///
        /// # Parameters
        /// - `commitment`: Blake2-256 of [`assay_primitives::job::result_message`].
        ///
        /// # Errors
        /// - [`Error::NotWorker`], [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::WrongState`].
        /// - [`Error::NotTask`], [`Error::OtherVerification`]: no quorum verifies.
        /// - [`Error::TooLate`]: the task's time is over.
        ///
        /// # Events
        /// [`Event::ResultCommitted`]; [`Event::RevealOpened`] where it was the last.
        #[pallet::call_index(14)]
        #[pallet::weight(T::WeightInfo::commit_result())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, job: &JobId, _: &H256| -> bool {
            Pallet::<T>::is_from_worker(origin, |worker| Pallet::<T>::check_commit(worker, *job).is_ok())
        })]
        pub fn commit_result(origin: OriginFor<T>, job: JobId, commitment: H256) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_commit_result(&worker, job, commitment)
        }

        /// Reveals what a replica committed to.
        ///
        /// # Origin
        /// Signed by the worker key of the machine.
        ///
        /// # Errors
        /// - [`Error::NotWorker`], [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::WrongState`].
        /// - [`Error::TooEarly`]: others may still commit. [`Error::TooLate`]: the time to reveal is over.
        /// - [`Error::CommitmentMismatch`].
        ///
        /// # Events
        /// [`Event::ResultRevealed`].
        #[pallet::call_index(15)]
        #[pallet::weight(T::WeightInfo::reveal_result())]
        #[pallet::feeless_if(
            |origin: &OriginFor<T>, job: &JobId, result_hash: &H256, salt: &[u8; 32]| -> bool {
                Pallet::<T>::is_from_worker(origin, |worker| {
                    Pallet::<T>::check_reveal(worker, *job, *result_hash, *salt).is_ok()
                })
            }
        )]
        pub fn reveal_result(
            origin: OriginFor<T>,
            job: JobId,
            result_hash: H256,
            salt: [u8; 32],
        ) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_reveal_result(&worker, job, result_hash, salt)
        }

        /// Counts the replicas once all have revealed, or the time to do so is over.
        ///
        /// # Origin
        /// Signed by anybody. Pays a bounty.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`].
        /// - [`Error::WrongState`]: no quorum is to be decided. [`Error::TooEarly`]: results may still come.
        ///
        /// # Events
        /// [`Event::QuorumResolved`]; [`Event::AssignmentEnded`] for who is paid, [`Event::AssignmentClosed`]
        /// for who is not; [`Event::EscrowReturned`], [`Event::EarningsForfeited`], [`Event::BountyPaid`].
        #[pallet::call_index(16)]
        #[pallet::weight(T::WeightInfo::resolve(MAX_REPLICAS.into()))]
        pub fn resolve(origin: OriginFor<T>, job: JobId) -> DispatchResultWithPostInfo {
            let caller = ensure_signed(origin)?;
            let replicas = Self::do_resolve(&caller, job)?;
            Ok(Some(T::WeightInfo::resolve(replicas)).into())
        }

        /// Gives the result of an attested task, which stands: the machine is free, and [`Pallet::settle`]
        /// pays it.
        ///
        /// # Origin
        /// Signed by the worker key of a machine that runs the task, to which fresh evidence of the machine's
        /// TEE is bound.
        ///
        /// # Parameters
        /// - `signature`: by the same key, of [`assay_primitives::job::ResultStatement::message`] with what
        ///   was run.
        ///
        /// # Errors
        /// - [`Error::NotWorker`], [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::WrongState`].
        /// - [`Error::NotTask`], [`Error::OtherVerification`]: somebody else verifies.
        /// - [`Error::TooLate`]: the task's time is over.
        /// - [`Error::EvidenceEnded`]: renew it, and give the result again.
        /// - [`Error::BadStatement`].
        ///
        /// # Events
        /// [`Event::ResultAttested`], [`Event::AssignmentEnded`]; [`Event::EscrowReturned`] where something
        /// was.
        #[pallet::call_index(17)]
        #[pallet::weight(T::WeightInfo::submit_attested_result())]
        #[pallet::feeless_if(
            |origin: &OriginFor<T>, job: &JobId, result_hash: &H256, signature: &T::StatementSignature| -> bool {
                Pallet::<T>::is_from_worker(origin, |worker| {
                    Pallet::<T>::check_attested_result(worker, *job, *result_hash, signature).is_ok()
                })
            }
        )]
        pub fn submit_attested_result(
            origin: OriginFor<T>,
            job: JobId,
            result_hash: H256,
            signature: T::StatementSignature,
        ) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_submit_attested_result(&worker, job, result_hash, &signature)
        }

        /// Ends a service whose workload ended by itself: it is paid for its time. Its consumer may dispute
        /// it by [`Pallet::reject`] until the last epoch that it ran in is judged.
        ///
        /// # Origin
        /// Signed by the worker key of a machine that runs the service. Costs no fee.
        ///
        /// # Errors
        /// - [`Error::NotWorker`], [`Error::NoSuchJob`], [`Error::NoSuchAssignment`].
        /// - [`Error::NotService`]: a task ends with its result.
        /// - [`Error::WrongState`]: it does not run. [`Error::TooLate`]: its time is over; expire it.
        ///
        /// # Events
        /// [`Event::AssignmentEnded`]; [`Event::EscrowReturned`] where something was.
        #[pallet::call_index(18)]
        #[pallet::weight(T::WeightInfo::report_workload_ended())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, job: &JobId| -> bool {
            Pallet::<T>::is_from_worker(origin, |worker| Pallet::<T>::check_workload_ended(worker, *job).is_ok())
        })]
        pub fn report_workload_ended(origin: OriginFor<T>, job: JobId) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_report_workload_ended(&worker, job)
        }
    }

    #[pallet::view_functions]
    impl<T: Config> Pallet<T> {
        /// Plancks that [`Pallet::settle`] would pay now for a machine's part in a job, fee included; `None`
        /// where it has none.
        pub fn amount_due(job: JobId, machine: MachineId) -> Option<Balance> {
            Self::due(job, machine)
        }

        /// Plancks that a place of these terms holds; `None` where they are more than any balance.
        pub fn escrow_for(
            price_per_slot_hour: Balance,
            slots: u8,
            max_duration_ms: Millis,
        ) -> Option<Balance> {
            cost(price_per_slot_hour, slots, max_duration_ms, Rounding::Up)
        }

        /// Plancks held for the bytes and the bounties of an order; a sealed manifest has no bytes on chain.
        pub fn deposit_for(
            nodes: u8,
            max_duration_ms: Millis,
            is_request: bool,
            manifest_bytes: u32,
        ) -> Balance {
            Self::whole_deposit(nodes, max_duration_ms, is_request, manifest_bytes)
        }

        /// Returns the price that an open order offers now, in plancks per slot and hour; `None` if nobody
        /// can accept it.
        pub fn offered_price(job: JobId) -> Option<Balance> {
            Jobs::<T>::get(job)?.offered_price_at(T::Clock::now_ms())
        }
    }

    impl<T: Config> Pallet<T> {
        /// Returns true if a worker key signed and `check` accepts the call now. Such a call succeeds, moves
        /// the machine's assignment a step on, and cannot be repeated. It costs no fee, which a machine may
        /// not have.
        fn is_from_worker(origin: &OriginFor<T>, check: impl Fn(&T::AccountId) -> bool) -> bool {
            ensure_signed(origin.clone())
                .is_ok_and(|who| T::Machines::machine_of_worker(&who).is_some() && check(&who))
        }
    }
}
