//! Which machines were up, as validators saw it.
//!
//! Every epoch of Assay, each machine is watched by [`Config::ValidatorsPerMachine`] validators, drawn by a
//! pseudo-random function of the epoch's seed and the machine. They probe it at times of their own. When the
//! epoch has ended, each validator sends one report, in the epoch that follows: the list of its machines that
//! did not answer. A list that is full is continued by further parts, up to
//! [`MAX_REPORT_PARTS`](assay_primitives::availability::MAX_REPORT_PARTS). Then the epoch is *closed*, and
//! what was seen in it is final.
//!
//! ```text
//! epoch     7                      8                       9
//!           watched, probed        reported                closed: paid for, averaged; settled by the hook
//!           seed and validators    one report of each      rewards credited, validators forgotten
//!           of 7 are known         validator is taken
//! ```
//!
//! A machine was down in an epoch when more than half of the validators that were to watch it, and two at
//! least, say that it did not answer; on a chain with one validator its word is enough. Silence of a
//! validator is no accusation: where too few reported, the machine counts as up, which is not the provider's
//! fault.
//!
//! An **outage** is an epoch in which at least [`MIN_OUTAGE_MACHINES`] machines, with more than a third of
//! the epoch's whole weight in the emission, were down at once: of the network or of the validators, as far
//! as anybody can tell. Nobody is paid for what nobody saw, or switching a third of the network off would
//! pay; but nobody is blamed either: averages do not count the epoch, and no validator earns from reporting
//! it.
//!
//! A machine's average uptime is kept by whoever asks for it: it is
//! exponentially weighted, and no block ever looks at all machines.
//!
//! A report earns [`Config::RewardPerReport`], paid from [`Config::RewardPot`] and never minted. It earns nothing when
//! it is against a clear majority on any machine: at least two thirds of at least [`MIN_CLEAR_REPORTS`] that said the
//! opposite. Nobody is punished beyond that: a probe may fail for many reasons.
//!
//! Design goals, each held by a test:
//!
//! 1. What the chain does grows with validators and failures, never with machines: an epoch begins at O(1), a report
//!    costs what it lists, an average costs the epochs that it counts.
//! 2. One report for each validator and epoch, signed by its key of that epoch, for this chain, in its window, and only
//!    of machines that are its to watch.
//! 3. What was seen in a closed epoch never changes, until it falls out of history. Then it counts as down, so
//!    that nobody gains by asking late.
//! 4. No validator decides alone, where there are others, and no silence helps an accuser: a machine is down
//!    when more than half of those that were to watch it say so. A machine that left the market since is
//!    judged all the same.
//! 5. Rewards are neither created nor lost: what a validator is owed is what its reports earned and what it was not
//!    paid yet, whatever the pot holds.
//! 6. Bounded: history is forgotten failure by failure, a set of validators is kept until the last of its epochs is
//!    settled, and a block does no more than [`Config::MaxServiceWeight`].

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod assignment;
#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod calls;
mod hooks;
#[cfg(test)]
mod mock;
mod reports;
mod sessions;
#[cfg(test)]
mod tests;
mod try_state;
mod types;
mod uptime;
pub mod weights;

pub use pallet::*;
pub use types::{
    Assignment, AssignmentBits, BytesFor, EpochRecord, EpochRecordOf, MIN_CLEAR_REPORTS, MIN_OUTAGE_MACHINES,
    SetId, SettlementCursor, UnfinishedReport, UptimeRecord, ValidatorBits, ValidatorSetOf,
};
pub use weights::WeightInfo;

/// What a transaction pool is told of a second report of the same validator and epoch.
pub const ALREADY_REPORTED: u8 = 1;

/// What a transaction pool is told of a report whose failures are out of order, or twice in it.
pub const FAILURES_NOT_SORTED: u8 = 2;

/// What a transaction pool is told of a report of a machine that was another validator's to watch.
pub const NOT_ASSIGNED: u8 = 3;

/// Code by which a transaction pool hears of a part that does not follow the last one of its report.
pub const NOT_NEXT_PART: u8 = 4;

// The macro names the type of each closure that authorizes a call.
#[allow(clippy::type_complexity)]
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use assay_primitives::{
        availability::{AvailabilitySignature, MAX_VALIDATORS_PER_MACHINE},
        clock::{ActiveClock, EpochIndex},
        emission::{EpochUptime, EpochWeights},
        machine::{MachineId, MachineInspect, OnUptimeChange},
        money::Balance,
    };
    use polkadot_sdk::{
        frame_support::{
            pallet_prelude::*,
            traits::{Randomness, StorageVersion, fungible},
            weights::WeightMeter,
        },
        frame_system::{ensure_authorized, pallet_prelude::*},
    };

    use crate::{
        Assignment, AssignmentBits, EpochRecordOf, MIN_CLEAR_REPORTS, SetId, SettlementCursor, UptimeRecord,
        ValidatorSetOf, WeightInfo, types::FULL_UPTIME_PPM,
    };

    /// Version of the storage layout below.
    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    /// Needs [`polkadot_sdk::frame_system::AuthorizeCall`] among the runtime's transaction extensions.
    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// The money that reports earn.
        type Currency: fungible::Mutate<Self::AccountId, Balance = Balance>;

        /// The registry of machines.
        type Machines: MachineInspect<Self::AccountId>;

        /// Hears of every machine's average.
        type OnUptimeChange: OnUptimeChange;

        /// Tells what machines weighed, by which an outage of the network is told from one of a provider, and
        /// since when.
        type Weights: EpochWeights;

        /// Tells the epoch.
        type Clock: ActiveClock;

        /// What seeds are made of. Whoever can choose it chooses who watches which machine.
        type Randomness: Randomness<Self::Hash, BlockNumberFor<Self>>;

        /// Most validators of a session. Lowered below what a session has, those at its end watch nothing.
        #[pallet::constant]
        type MaxValidators: Get<u32>;

        /// Validators that watch a machine, at least three and at most [`MAX_VALIDATORS_PER_MACHINE`]; all,
        /// when there are fewer. With three, two of them agree. The more, the harder a machine's verdict is
        /// to buy, and the more every validator has to probe. A change counts from the next epoch on.
        #[pallet::constant]
        type ValidatorsPerMachine: Get<u32>;

        /// Most failures that a part of a report lists, at least one; a full one may be continued. A part
        /// must fit a block.
        #[pallet::constant]
        type MaxFailuresPerReport: Get<u32>;

        /// Ended epochs whose verdicts are kept. At least as many as rewards are paid for, or what was earned in the
        /// oldest of them counts as forfeited. Raised on a running chain, it holds from then on only.
        #[pallet::constant]
        type HistoryEpochs: Get<EpochIndex>;

        /// Most epochs that one update of an average counts; bounds the weight of the call. At least one.
        #[pallet::constant]
        type MaxEpochsPerUpdate: Get<u32>;

        /// The memory of an average: each epoch weighs one part in so many. At least one. The longer, the slower a
        /// machine's past is forgotten. A change counts for the epochs that are counted from then on.
        #[pallet::constant]
        type UptimeMemoryEpochs: Get<u32>;

        /// What the average of a machine starts from, in parts per million; at most a million.
        #[pallet::constant]
        type InitialUptimePpm: Get<u32>;

        /// Plancks that a report earns. A change counts for the epochs that begin from then on.
        #[pallet::constant]
        type RewardPerReport: Get<Balance>;

        /// The account that pays for reports, which governance fills. What it cannot pay stays owed.
        #[pallet::constant]
        type RewardPot: Get<Self::AccountId>;

        /// Most weight that a block spends on settling and forgetting epochs, however much it has left. Must be enough
        /// for one unit of each. The larger, the less is left for transactions in the first blocks of a bad epoch.
        #[pallet::constant]
        type MaxServiceWeight: Get<Weight>;

        /// Weights of this pallet's calls and hooks.
        type WeightInfo: WeightInfo;
    }

    /// The set of the session's validators.
    #[pallet::storage]
    pub type CurrentSet<T> = StorageValue<_, SetId, ValueQuery>;

    /// The validators of each set that an epoch still needs, and of the current one.
    #[pallet::storage]
    pub type ValidatorSets<T: Config> = StorageMap<_, Twox64Concat, SetId, ValidatorSetOf<T>, ValueQuery>;

    /// The epoch that is being watched, those that can be reported on, and those in history. Nobody watched in an
    /// epoch that is in none of them.
    #[pallet::storage]
    pub type EpochRecords<T: Config> = StorageMap<_, Twox64Concat, EpochIndex, EpochRecordOf<T>>;

    /// Who did not see a machine in an epoch, where that was anybody.
    #[pallet::storage]
    pub type Failures<T> =
        StorageDoubleMap<_, Twox64Concat, EpochIndex, Twox64Concat, MachineId, AssignmentBits, ValueQuery>;

    /// How far closed epochs were settled.
    #[pallet::storage]
    pub type Settlement<T> = StorageValue<_, SettlementCursor, ValueQuery>;

    /// The oldest epoch of which anything may be kept.
    #[pallet::storage]
    pub type OldestEpoch<T> = StorageValue<_, EpochIndex, ValueQuery>;

    /// Plancks that validators earned and were not paid.
    #[pallet::storage]
    pub type Rewards<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, Balance, ValueQuery>;

    /// The averages of the machines for which anybody asked.
    #[pallet::storage]
    pub type Uptimes<T> = StorageMap<_, Twox64Concat, MachineId, UptimeRecord>;

    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An epoch began in which machines are watched.
        EpochWatched {
            /// The epoch.
            epoch: EpochIndex,
            /// What its assignments are drawn from.
            seed: [u8; 32],
            /// How many validators watch.
            validators: u32,
        },
        /// A validator reported on an epoch, or sent a part of its report.
        ReportReceived {
            /// The epoch.
            epoch: EpochIndex,
            /// The validator's place among the epoch's validators.
            validator_index: u32,
            /// Machines of this part that it did not see and that the registry knows.
            failures: u32,
        },
        /// A report was against a clear majority and earns nothing.
        ReportAgainstMajority {
            /// The epoch.
            epoch: EpochIndex,
            /// Who reported.
            validator: T::AccountId,
        },
        /// The rewards of an epoch's reports were credited.
        EpochSettled {
            /// The epoch.
            epoch: EpochIndex,
            /// Reports that earned something.
            rewarded: u32,
            /// Reports that were against a clear majority.
            against_majority: u32,
            /// True for an epoch with an outage, for which no report earns anything.
            is_outage: bool,
        },
        /// A machine's average is kept from now on.
        UptimeTracked {
            /// The machine.
            machine: MachineId,
            /// The first epoch that will count.
            from_epoch: EpochIndex,
        },
        /// Epochs were counted in a machine's average.
        UptimeUpdated {
            /// The machine.
            machine: MachineId,
            /// The first epoch that was counted.
            first_epoch: EpochIndex,
            /// The last epoch that was counted.
            last_epoch: EpochIndex,
            /// The average now, in parts per million.
            average_ppm: u32,
        },
        /// A machine failed a consumer, which its average counts as one more epoch in which it was down.
        FailureCounted {
            /// The machine.
            machine: MachineId,
            /// The average now, in parts per million.
            average_ppm: u32,
        },
        /// A validator was paid for its reports.
        RewardClaimed {
            /// The validator.
            validator: T::AccountId,
            /// Plancks paid.
            amount: Balance,
            /// Plancks that are still owed, because the pot did not have them.
            left: Balance,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The epoch has not ended.
        EpochNotEnded,
        /// The epoch's reports are complete.
        EpochOver,
        /// There was no such validator in the epoch.
        NotValidator,
        /// The validator has said all that it may on the epoch.
        AlreadyReported,
        /// The failures of a report must rise, each machine once, over all of its parts.
        FailuresNotSorted,
        /// The machine was not the validator's to watch.
        NotAssigned,
        /// The part does not follow the last one of the report.
        NotNextPart,
        /// There is no such machine, or it is neither in the market nor leased, nor was in an epoch that is
        /// not closed.
        MachineNotWatched,
        /// An update counts at least one epoch and at most `MaxEpochsPerUpdate`.
        BadEpochCount,
        /// The average knows of all closed epochs.
        NothingToCount,
        /// The validator is owed nothing.
        NothingToClaim,
        /// There is nothing to pay from; governance fills the pot.
        PotEmpty,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_poll(_: BlockNumberFor<T>, meter: &mut WeightMeter) {
            Self::serve_epochs(meter);
        }

        fn integrity_test() {
            assert!(
                (MIN_CLEAR_REPORTS..=MAX_VALIDATORS_PER_MACHINE).contains(&T::ValidatorsPerMachine::get()),
                "a machine is watched by 3 to 32 validators"
            );
            assert!(
                T::MaxFailuresPerReport::get() > 0,
                "an empty list would be full, and never end"
            );
            assert!(
                T::InitialUptimePpm::get() <= FULL_UPTIME_PPM,
                "an average is at most the whole"
            );
            assert!(
                T::MaxEpochsPerUpdate::get() > 0,
                "an update must be able to count an epoch"
            );
            assert!(
                T::HistoryEpochs::get() > assay_primitives::availability::REPORT_WINDOW_EPOCHS,
                "an epoch would be forgotten while it is reported on"
            );
            assert!(
                Self::one_unit_weight().all_lte(T::MaxServiceWeight::get()),
                "the hook may not even do one unit"
            );
            let largest_report = T::MaxFailuresPerReport::get();
            assert!(
                T::WeightInfo::report(largest_report)
                    .saturating_add(T::WeightInfo::authorize_report(largest_report))
                    .all_lte(T::BlockWeights::get().max_block),
                "the largest report does not fit a block"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Reports on the epoch that ended last, or continues a report whose parts so far were full.
        ///
        /// A general transaction that costs no fee: it is authorized by the signature of a validator of that
        /// epoch over what [`report_message`](assay_primitives::availability::report_message) says. A machine
        /// that is not in the registry is passed over. Behind the last failure of a full part nothing is
        /// known of what the validator saw, until the next part comes, empty or not.
        ///
        /// # Origin
        /// Authorized.
        ///
        /// # Parameters
        /// - `epoch`: the epoch.
        /// - `validator_index`: the validator's place among the validators of that epoch.
        /// - `after`: the last failure of the part before; `None` in the first part.
        /// - `failures`: those of its machines behind `after` that did not answer, rising; at most
        ///   [`Config::MaxFailuresPerReport`].
        /// - `signature`: by the validator's key of type `aval`.
        ///
        /// # Errors
        /// What a transaction pool is told stands in brackets.
        /// - [`Error::EpochNotEnded`]: the epoch is the current one or a later one (`Future`).
        /// - [`Error::EpochOver`]: the epoch's window has closed (`Stale`).
        /// - [`Error::NotValidator`]: nobody has that place in that epoch (`BadSigner`).
        /// - [`Error::AlreadyReported`]: so it has, all of it or as many parts as it may
        ///   (`Custom(`[`ALREADY_REPORTED`](crate::ALREADY_REPORTED)`)`).
        /// - [`Error::NotNextPart`]: `after` is not what the part before ended with
        ///   (`Custom(`[`NOT_NEXT_PART`](crate::NOT_NEXT_PART)`)`).
        /// - [`Error::FailuresNotSorted`]: they do not rise
        ///   (`Custom(`[`FAILURES_NOT_SORTED`](crate::FAILURES_NOT_SORTED)`)`).
        /// - [`Error::NotAssigned`]: one of them was not the validator's to watch
        ///   (`Custom(`[`NOT_ASSIGNED`](crate::NOT_ASSIGNED)`)`).
        /// - A forged signature never gets so far (`BadProof`), nor does a list that is too long: it does not decode.
        ///
        /// # Events
        /// - [`Event::ReportReceived`]
        #[pallet::call_index(0)]
        #[pallet::weight((T::WeightInfo::report(failures.len() as u32), DispatchClass::Operational))]
        #[pallet::weight_of_authorize(T::WeightInfo::authorize_report(failures.len() as u32))]
        #[pallet::authorize(|_source, epoch, validator_index, after, failures, signature| {
            Self::authorize_report(*epoch, *validator_index, *after, failures, signature)
        })]
        pub fn report(
            origin: OriginFor<T>,
            epoch: EpochIndex,
            validator_index: u32,
            after: Option<MachineId>,
            failures: BoundedVec<MachineId, T::MaxFailuresPerReport>,
            // Checked when the call was authorized.
            _signature: AvailabilitySignature,
        ) -> DispatchResult {
            ensure_authorized(origin)?;
            Self::do_report(epoch, validator_index, after, &failures)
        }

        /// Counts the oldest closed epochs that a machine's average knows nothing of.
        ///
        /// The first call for a machine begins its average, which counts from the oldest epoch on that the
        /// machine has rewards to come of, or else from the next one: nobody's past is forgotten for asking
        /// late. Epochs that fell out of history are skipped, and so are outages.
        ///
        /// # Origin
        /// Signed, by anybody.
        ///
        /// # Parameters
        /// - `machine`: the machine.
        /// - `max_epochs`: how many epochs to count at most, from 1 to [`Config::MaxEpochsPerUpdate`].
        ///
        /// # Errors
        /// - [`Error::BadEpochCount`]: `max_epochs` is out of its range.
        /// - [`Error::MachineNotWatched`]: there is no such machine, or nobody watches it: it is unproven or
        ///   retired, and no slot of it is leased.
        /// - [`Error::NothingToCount`]: the average knows of all closed epochs.
        ///
        /// # Events
        /// - [`Event::UptimeTracked`] of the first call, [`Event::UptimeUpdated`] of all others.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::update_uptime(*max_epochs))]
        pub fn update_uptime(
            origin: OriginFor<T>,
            machine: MachineId,
            max_epochs: u32,
        ) -> DispatchResultWithPostInfo {
            ensure_signed(origin)?;
            let counted = Self::do_update_uptime(machine, max_epochs)?;
            Ok(Some(T::WeightInfo::update_uptime(counted)).into())
        }

        /// Pays a validator what its reports earned, as far as the pot has it; the rest stays owed.
        ///
        /// # Origin
        /// Signed, by anybody.
        ///
        /// # Parameters
        /// - `validator`: who is paid.
        ///
        /// # Errors
        /// - [`Error::NothingToClaim`]: nothing is owed.
        /// - [`Error::PotEmpty`]: there is nothing to pay from.
        /// - The currency's where the account cannot receive it.
        ///
        /// # Events
        /// - [`Event::RewardClaimed`]
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::claim())]
        pub fn claim(origin: OriginFor<T>, validator: T::AccountId) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_claim(validator)
        }
    }

    #[pallet::view_functions]
    impl<T: Config> Pallet<T> {
        /// The validators that watch a machine in an epoch, by their places among the epoch's validators; `None`
        /// where nobody watched.
        pub fn assigned(machine: MachineId, epoch: EpochIndex) -> Option<Assignment> {
            EpochRecords::<T>::get(epoch).map(|record| record.assigned(machine))
        }

        /// A machine's uptime in an epoch, in parts per million; `None` while that is not final, and when it was
        /// forgotten.
        pub fn uptime(machine: MachineId, epoch: EpochIndex) -> Option<u32> {
            let is_known = Self::is_closed(epoch) && epoch >= Self::oldest_epoch();
            is_known.then(|| Self::uptime_ppm(machine, epoch))
        }
    }
}
