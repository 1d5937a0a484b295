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
//! The calls, events and errors of the pallet are in `calls.rs`, `events.rs` and `errors.rs`, and imported
//! below. The rules stand by the code that keeps them: `orders.rs` (terms and places), `assignments.rs`
//! (starts and early ends), `results.rs`, `quorum.rs` and `attested.rs` (verification of results),
//! `settling.rs` (payment), `escrow.rs` (movements of money and bounties). `book.rs` owns the records.

#![cfg_attr(not(feature = "std"), no_std)]
#![allow(
    clippy::crate_in_macro_def,
    reason = "the sections of the pallet are macros that this crate alone imports"
)]

extern crate alloc;

mod assignments;
mod attested;
#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod book;
mod calls;
mod errors;
mod escrow;
mod events;
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

// The attribute has to be in scope by this name: it expands to itself.
use polkadot_sdk::frame_support::pallet_macros::import_section;

#[cfg(feature = "runtime-benchmarks")]
pub use benchmarking::BenchmarkHelper;
pub use pallet::*;
pub use types::{
    AssignmentRecord, AssignmentRecordOf, AssignmentState, Auction, AuctionTerms, Ballot, ChosenMachines,
    DeclineReason, Diversion, HoldBack, JobId, JobKind, JobOrder, JobRecord, JobRecordOf, JobTerms, Manifest,
    ManifestRef, Outcome, RefusedMachines, Verification,
};
pub use weights::WeightInfo;

/// The pallet's items.
#[import_section(calls::calls)]
#[import_section(events::events)]
#[import_section(errors::errors)]
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use assay_primitives::{
        attestation::AttestedSigners,
        clock::{ActiveClock, Millis},
        emission::{EpochUptime, FlywheelLedger},
        machine::{MachineId, MachineLease},
        market::{MatchingLease, Requirements},
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
            Rounding,
            traits::{BlakeTwo256, IdentifyAccount, Verify},
        },
    };

    use crate::{AssignmentRecordOf, JobId, JobRecordOf, JobTerms, RefusedMachines, WeightInfo, types::cost};

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

        /// Terms of jobs that governance may change, in one value: a call reads them once.
        type Terms: Get<JobTerms>;

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
        /// The most that open jobs can cost, the deposits for the storage that they use, and the bounties for
        /// accounts that keep them going.
        ///
        /// One reason for all of them, because holding for a second one costs an order as much again. The
        /// records of jobs and assignments say how much is held for what.
        Job,
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
}
