//! Work of the hook: settling closed epochs, and forgetting old ones.

use assay_primitives::{
    clock::{ActiveClock, EpochIndex},
    emission::EpochUptime,
    machine::MachineId,
};
use polkadot_sdk::frame_support::{
    traits::Get,
    weights::{Weight, WeightMeter},
};

use crate::{
    Config, EpochRecords, Event, Failures, OldestEpoch, Pallet, Rewards, Settlement, SettlementCursor,
    ValidatorSets, WeightInfo, types::AssignmentBits,
};

impl<T: Config> Pallet<T> {
    /// Settles and forgets epochs, within the weight of the block and [`Config::MaxServiceWeight`].
    ///
    /// Each unit is charged before it is done. Units that do not fit come first in a later block.
    pub(crate) fn serve_epochs(block_meter: &mut WeightMeter) {
        let limit = block_meter.remaining().min(T::MaxServiceWeight::get());
        let mut meter = WeightMeter::with_limit(limit);
        if meter.try_consume(T::WeightInfo::hook_overhead()).is_ok() {
            let settled = Self::settle_closed_epochs(&mut meter);
            Self::forget_old_epochs(&mut meter, settled);
        }
        block_meter.consume(meter.consumed());
    }

    /// Judges each machine with failures in the closed epochs, then credits the epochs' validators. Returns
    /// the first epoch that is not settled.
    fn settle_closed_epochs(meter: &mut WeightMeter) -> EpochIndex {
        let first_open = Self::first_open_epoch();
        let before = Settlement::<T>::get();
        let mut cursor = before;
        while cursor.epoch < first_open && meter.try_consume(T::WeightInfo::hook_judge()).is_ok() {
            if let Some((machine, failed)) = Self::next_to_judge(cursor) {
                Self::judge(cursor.epoch, machine, failed);
                cursor.judged = Some(machine);
                continue;
            }
            if meter.try_consume(Self::settle_weight()).is_err() {
                break;
            }
            Self::settle(cursor.epoch);
            cursor = SettlementCursor {
                epoch: cursor.epoch.saturating_add(1),
                judged: None,
            };
        }
        if cursor != before {
            Settlement::<T>::put(cursor);
        }
        cursor.epoch
    }

    /// Returns the machine after the one that was judged last, in the order of storage.
    ///
    /// The chain takes no report on a closed epoch, so no failure appears before the cursor.
    pub(crate) fn next_to_judge(cursor: SettlementCursor) -> Option<(MachineId, AssignmentBits)> {
        match cursor.judged {
            Some(machine) => Failures::<T>::iter_prefix_from(
                cursor.epoch,
                Failures::<T>::hashed_key_for(cursor.epoch, machine),
            )
            .next(),
            None => Failures::<T>::iter_prefix(cursor.epoch).next(),
        }
    }

    /// Credits every validator whose report of the epoch did not contradict a clear majority, but nobody for
    /// an outage, and removes the epoch's set of validators if no later epoch has it.
    pub(crate) fn settle(epoch: EpochIndex) {
        let Some(mut record) = EpochRecords::<T>::get(epoch) else {
            return;
        };
        for (index, (validator, _)) in (0..).zip(ValidatorSets::<T>::get(record.set)) {
            if record.against_majority.contains(index) {
                Self::deposit_event(Event::ReportAgainstMajority { epoch, validator });
            } else if record.reported.contains(index) && !record.is_outage {
                let owed = Rewards::<T>::get(&validator).saturating_add(record.reward_per_report);
                Self::set_reward(&validator, owed);
            }
        }
        let next = EpochRecords::<T>::get(epoch.saturating_add(1));
        if next.is_some_and(|next| next.set != record.set) {
            ValidatorSets::<T>::remove(record.set);
        }
        let against_majority = record.against_majority.count();
        let rewarded = if record.is_outage {
            0
        } else {
            record.reported.count().saturating_sub(against_majority)
        };
        Self::deposit_event(Event::EpochSettled {
            epoch,
            rewarded,
            against_majority,
            is_outage: record.is_outage,
        });
        if !record.unfinished.is_empty() {
            // Needed for judging only; history need not keep it.
            record.unfinished = Default::default();
            EpochRecords::<T>::insert(epoch, record);
        }
    }

    /// Forgets the epochs before [`Config::HistoryEpochs`], failure by failure, as far as they were settled.
    fn forget_old_epochs(meter: &mut WeightMeter, settled: EpochIndex) {
        let end = T::Clock::current_epoch()
            .saturating_sub(T::HistoryEpochs::get())
            .min(settled);
        let oldest = OldestEpoch::<T>::get();
        let mut epoch = oldest;
        // One iterator for each epoch: a new one would step over the keys that this block removed, again and
        // again.
        let mut failures = Failures::<T>::drain_prefix(epoch);
        while epoch < end && meter.try_consume(Self::forget_weight()).is_ok() {
            if failures.next().is_none() {
                EpochRecords::<T>::remove(epoch);
                epoch = epoch.saturating_add(1);
                failures = Failures::<T>::drain_prefix(epoch);
            }
        }
        if epoch > oldest {
            OldestEpoch::<T>::put(epoch);
        }
    }

    fn settle_weight() -> Weight {
        T::WeightInfo::hook_settle(T::MaxValidators::get())
    }

    fn forget_weight() -> Weight {
        T::WeightInfo::hook_forget_failure().max(T::WeightInfo::hook_forget_epoch())
    }

    /// Returns the least weight with which the hook does one unit of any kind.
    pub(crate) fn one_unit_weight() -> Weight {
        T::WeightInfo::hook_overhead()
            .saturating_add(T::WeightInfo::hook_judge())
            .saturating_add(Self::settle_weight())
            .saturating_add(Self::forget_weight())
    }
}
