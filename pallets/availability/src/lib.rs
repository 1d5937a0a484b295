//! Availability of machines, by the reports of validators.
//!
//! In every epoch of Assay, [`Config::ValidatorsPerMachine`] validators watch each machine. They are drawn by
//! a pseudo-random function of the epoch's seed and the machine, and probe it at times of their own. In the
//! epoch that follows, each validator sends one report: the list of its machines that did not answer. Further
//! parts continue a full list, up to [`MAX_REPORT_PARTS`](assay_primitives::availability::MAX_REPORT_PARTS).
//! Then the epoch is *closed*, and its verdicts are final.
//!
//! ```text
//! epoch     7                      8                       9
//!           watched, probed        reported                closed: paid for, averaged; settled by the hook
//!           seed and validators    one report of each      rewards credited, validators forgotten
//!           of 7 are known         validator is taken
//! ```
//!
//! A machine was down in an epoch if more than half of the validators assigned to it, and at least two,
//! report that it did not answer; on a chain with one validator that one suffices. A validator's silence is
//! no accusation: if too few report, which is not the provider's fault, the machine counts as up.
//!
//! An **outage** is an epoch in which at least [`MIN_OUTAGE_MACHINES`] machines, with more than a third of
//! the epoch's whole weight in the emission, were down at once. The chain cannot tell whether the network,
//! the validators or the machines failed. A machine that was down is not paid, because otherwise switching a
//! third of the network off would pay. But nobody is blamed: averages do not count the epoch, and no
//! validator earns from reporting it.
//!
//! A machine's average uptime is exponentially weighted. A permissionless call updates it, machine by
//! machine: no block visits all machines.
//!
//! A report earns [`Config::RewardPerReport`], paid from [`Config::RewardPot`] and never minted. It earns
//! nothing if it contradicts a clear majority about any machine: at least two thirds of at least
//! [`MIN_CLEAR_REPORTS`] reports. There is no further punishment, because a probe may fail for many reasons.
//!
//! Design goals, each held by a test:
//!
//! 1. The chain's work grows with validators and failures, never with machines: beginning an epoch is O(1),
//!    the work of a report is proportional to its failures, and that of an average to the epochs that it
//!    counts.
//! 2. One report for each validator and epoch, signed by its key of that epoch, for this chain, in its
//!    window, and only about machines that are assigned to it.
//! 3. The verdicts of a closed epoch never change, until it falls out of history. Then its machines count as
//!    down, so that nobody gains by asking late.
//! 4. No validator decides alone if there are others, and no silence helps an accuser: a machine is down if
//!    more than half of its assigned validators report it. A machine that left the market since is judged all
//!    the same.
//! 5. Rewards are neither created nor lost: a validator is owed the rewards of its reports minus all
//!    payments, at any balance of the pot.
//! 6. Bounded: history is forgotten failure by failure, a set of validators is kept until the last of its
//!    epochs is settled, and a block does no more than [`Config::MaxServiceWeight`].

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

/// Code for a transaction pool: the validator already reported on the epoch.
pub const ALREADY_REPORTED: u8 = 1;

/// Code for a transaction pool: the failures are out of order, or one is there twice.
pub const FAILURES_NOT_SORTED: u8 = 2;

/// Code for a transaction pool: a machine is not assigned to the validator.
pub const NOT_ASSIGNED: u8 = 3;

/// Code for a transaction pool: the part does not follow the last one of its report.
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
        /// Currency of rewards.
        type Currency: fungible::Mutate<Self::AccountId, Balance = Balance>;

        /// Registry of machines.
        type Machines: MachineInspect<Self::AccountId>;

        /// Listener for changes of machines' averages.
        type OnUptimeChange: OnUptimeChange;

        /// Weights of machines in the emission, which tell an outage of the network from one of a provider,
        /// and the first epoch that a machine has not been paid for.
        type Weights: EpochWeights;

        /// Clock of epochs.
        type Clock: ActiveClock;

        /// Source of the epochs' seeds. An author that can choose it chooses the validators of each machine.
        type Randomness: Randomness<Self::Hash, BlockNumberFor<Self>>;

        /// Maximum number of validators of a session. If a session has more, those at its end watch nothing.
        #[pallet::constant]
        type MaxValidators: Get<u32>;

        /// Number of validators that watch a machine, at least three and at most
        /// [`MAX_VALIDATORS_PER_MACHINE`]; all if there are fewer. With three, two must agree. The more, the
        /// harder a verdict is to buy, and the more every validator has to probe. A change applies from the
        /// next epoch on.
        #[pallet::constant]
        type ValidatorsPerMachine: Get<u32>;

        /// Maximum number of failures in a part of a report, at least one; a full part may be continued. A
        /// part must fit a block.
        #[pallet::constant]
        type MaxFailuresPerReport: Get<u32>;

        /// Number of ended epochs whose verdicts are kept. At least the number of epochs that rewards are
        /// paid for: otherwise the rewards of the oldest ones count as forfeited. A raise applies to later
        /// epochs only.
        #[pallet::constant]
        type HistoryEpochs: Get<EpochIndex>;

        /// Maximum number of epochs that one update of an average counts; bounds the call's weight. At least
        /// one.
        #[pallet::constant]
        type MaxEpochsPerUpdate: Get<u32>;

        /// Memory of an average in epochs: each epoch weighs one part in this number. At least one. The
        /// longer, the slower a machine's past is forgotten. A change applies to epochs that are counted from
        /// then on.
        #[pallet::constant]
        type UptimeMemoryEpochs: Get<u32>;

        /// Initial average of a machine, in parts per million; at most a million.
        #[pallet::constant]
        type InitialUptimePpm: Get<u32>;

        /// Plancks that a report earns. A change applies to epochs that begin from then on.
        #[pallet::constant]
        type RewardPerReport: Get<Balance>;

        /// Account that pays for reports, which governance fills. Rewards that it cannot pay stay owed.
        #[pallet::constant]
        type RewardPot: Get<Self::AccountId>;

        /// Maximum weight that a block spends on settling and forgetting epochs, however much it has left.
        /// Must be enough for one unit of each. The larger, the less is left for transactions in the first
        /// blocks of an epoch after one with many failures.
        #[pallet::constant]
        type MaxServiceWeight: Get<Weight>;

        /// Weights of this pallet's calls and hooks.
        type WeightInfo: WeightInfo;
    }

    /// Set of the current session's validators.
    #[pallet::storage]
    pub type CurrentSet<T> = StorageValue<_, SetId, ValueQuery>;

    /// Validators of each set that an epoch still needs, and of the current one.
    #[pallet::storage]
    pub type ValidatorSets<T: Config> = StorageMap<_, Twox64Concat, SetId, ValidatorSetOf<T>, ValueQuery>;

    /// Epochs: the watched one, those that can be reported on, and those in history. Nobody watched in an
    /// epoch without a record.
    #[pallet::storage]
    pub type EpochRecords<T: Config> = StorageMap<_, Twox64Concat, EpochIndex, EpochRecordOf<T>>;

    /// Validators that did not see a machine in an epoch; no entry if all that reported saw it.
    #[pallet::storage]
    pub type Failures<T> =
        StorageDoubleMap<_, Twox64Concat, EpochIndex, Twox64Concat, MachineId, AssignmentBits, ValueQuery>;

    /// Cursor of the settlement of closed epochs.
    #[pallet::storage]
    pub type Settlement<T> = StorageValue<_, SettlementCursor, ValueQuery>;

    /// Oldest epoch of which anything may be kept.
    #[pallet::storage]
    pub type OldestEpoch<T> = StorageValue<_, EpochIndex, ValueQuery>;

    /// Plancks owed to validators.
    #[pallet::storage]
    pub type Rewards<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, Balance, ValueQuery>;

    /// Averages of machines for which an update was called.
    #[pallet::storage]
    pub type Uptimes<T> = StorageMap<_, Twox64Concat, MachineId, UptimeRecord>;

    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An epoch began in which machines are watched.
        EpochWatched {
            /// The epoch.
            epoch: EpochIndex,
            /// Seed from which its assignments are drawn.
            seed: [u8; 32],
            /// Number of validators that watch.
            validators: u32,
        },
        /// A validator reported on an epoch, or sent a part of its report.
        ReportReceived {
            /// The epoch.
            epoch: EpochIndex,
            /// Index of the validator among the epoch's validators.
            validator_index: u32,
            /// Number of machines of this part that it did not see and that are in the registry.
            failures: u32,
        },
        /// A report contradicted a clear majority and earns nothing.
        ReportAgainstMajority {
            /// The epoch.
            epoch: EpochIndex,
            /// Validator that reported.
            validator: T::AccountId,
        },
        /// The rewards of an epoch's reports were credited.
        EpochSettled {
            /// The epoch.
            epoch: EpochIndex,
            /// Number of reports that earned a reward.
            rewarded: u32,
            /// Number of reports that contradicted a clear majority.
            against_majority: u32,
            /// True for an epoch with an outage, for which no report earns anything.
            is_outage: bool,
        },
        /// The chain began to keep a machine's average.
        UptimeTracked {
            /// The machine.
            machine: MachineId,
            /// First epoch that will count.
            from_epoch: EpochIndex,
        },
        /// Epochs were counted in a machine's average.
        UptimeUpdated {
            /// The machine.
            machine: MachineId,
            /// First epoch that was counted.
            first_epoch: EpochIndex,
            /// Last epoch that was counted.
            last_epoch: EpochIndex,
            /// New average, in parts per million.
            average_ppm: u32,
        },
        /// A machine failed a consumer: its average counts one more epoch in which it was down.
        FailureCounted {
            /// The machine.
            machine: MachineId,
            /// New average, in parts per million.
            average_ppm: u32,
        },
        /// A validator was paid for its reports.
        RewardClaimed {
            /// The validator.
            validator: T::AccountId,
            /// Plancks paid.
            amount: Balance,
            /// Plancks that are still owed, because the pot lacks them.
            left: Balance,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The epoch has not ended.
        EpochNotEnded,
        /// The epoch is closed to reports.
        EpochOver,
        /// The epoch has no validator with this index.
        NotValidator,
        /// The validator's report on the epoch is complete, or has the maximum number of parts.
        AlreadyReported,
        /// The failures of a report must be in rising order, each machine once, over all of its parts.
        FailuresNotSorted,
        /// The machine was not assigned to the validator.
        NotAssigned,
        /// The part does not follow the last one of the report.
        NotNextPart,
        /// There is no such machine, or it was neither in the market nor leased since the last closed epoch.
        MachineNotWatched,
        /// An update counts at least one epoch and at most `MaxEpochsPerUpdate`.
        BadEpochCount,
        /// The average already counts all closed epochs.
        NothingToCount,
        /// The validator is owed nothing.
        NothingToClaim,
        /// The pot is empty; governance fills it.
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
        /// A general transaction without a fee, authorized by the signature of a validator of that epoch over
        /// [`report_message`](assay_primitives::availability::report_message). Machines that are not in the
        /// registry are passed over. A full part says nothing about machines after its last failure, until
        /// the next part comes, empty or not.
        ///
        /// # Origin
        /// Authorized.
        ///
        /// # Parameters
        /// - `epoch`: the epoch.
        /// - `validator_index`: the index of the validator among the validators of that epoch.
        /// - `after`: the last failure of the part before; `None` in the first part.
        /// - `failures`: its machines after `after` that did not answer, in rising order; at most
        ///   [`Config::MaxFailuresPerReport`].
        /// - `signature`: by the validator's key of type `aval`.
        ///
        /// # Errors
        /// The code that a transaction pool gets is in brackets.
        /// - [`Error::EpochNotEnded`]: the epoch is the current one or a later one (`Future`).
        /// - [`Error::EpochOver`]: the epoch's window has closed (`Stale`).
        /// - [`Error::NotValidator`]: the epoch has no validator with that index (`BadSigner`).
        /// - [`Error::AlreadyReported`]: the report is complete, or has the maximum number of parts
        ///   (`Custom(`[`ALREADY_REPORTED`](crate::ALREADY_REPORTED)`)`).
        /// - [`Error::NotNextPart`]: `after` is not the last failure of the part before
        ///   (`Custom(`[`NOT_NEXT_PART`](crate::NOT_NEXT_PART)`)`).
        /// - [`Error::FailuresNotSorted`]: the failures are not in rising order
        ///   (`Custom(`[`FAILURES_NOT_SORTED`](crate::FAILURES_NOT_SORTED)`)`).
        /// - [`Error::NotAssigned`]: a machine was not assigned to the validator
        ///   (`Custom(`[`NOT_ASSIGNED`](crate::NOT_ASSIGNED)`)`).
        /// - A forged signature is refused before the call (`BadProof`), and a list that is too long does not
        ///   decode.
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

        /// Counts the oldest closed epochs that a machine's average does not contain yet.
        ///
        /// The first call for a machine begins its average. It counts from the oldest epoch on that the
        /// machine has unpaid rewards of, or else from the next one: a late first call wipes no past. Epochs
        /// that fell out of history are skipped, and so are outages.
        ///
        /// # Origin
        /// Signed, by anybody.
        ///
        /// # Parameters
        /// - `machine`: the machine.
        /// - `max_epochs`: maximum number of epochs to count, from 1 to [`Config::MaxEpochsPerUpdate`].
        ///
        /// # Errors
        /// - [`Error::BadEpochCount`]: `max_epochs` is out of its range.
        /// - [`Error::MachineNotWatched`]: there is no such machine, or nobody watches it: it is unproven or
        ///   retired, and no slot of it is leased.
        /// - [`Error::NothingToCount`]: the average already counts all closed epochs.
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

        /// Pays a validator the rewards of its reports, as far as the pot has them; the rest stays owed.
        ///
        /// # Origin
        /// Signed, by anybody.
        ///
        /// # Parameters
        /// - `validator`: the account to pay.
        ///
        /// # Errors
        /// - [`Error::NothingToClaim`]: nothing is owed.
        /// - [`Error::PotEmpty`]: the pot is empty.
        /// - The currency's if the account cannot receive the amount.
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
        /// Returns the validators that watch a machine in an epoch, by their indices among the epoch's
        /// validators; `None` if nobody watched.
        pub fn assigned(machine: MachineId, epoch: EpochIndex) -> Option<Assignment> {
            EpochRecords::<T>::get(epoch).map(|record| record.assigned(machine))
        }

        /// Returns a machine's uptime in an epoch, in parts per million; `None` while it is not final, and
        /// after the epoch was forgotten.
        pub fn uptime(machine: MachineId, epoch: EpochIndex) -> Option<u32> {
            let is_known = Self::is_closed(epoch) && epoch >= Self::oldest_epoch();
            is_known.then(|| Self::uptime_ppm(machine, epoch))
        }
    }
}
