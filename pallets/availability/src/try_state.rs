//! Invariants of epochs, reports and averages between any two calls.

use alloc::collections::BTreeSet;

use assay_primitives::{
    availability::MAX_REPORT_PARTS,
    clock::{ActiveClock, EpochIndex},
    emission::EpochUptime,
};
use polkadot_sdk::{frame_support::ensure, sp_runtime::TryRuntimeError};

use crate::{
    Config, CurrentSet, EpochRecordOf, EpochRecords, Failures, MIN_OUTAGE_MACHINES, OldestEpoch, Pallet,
    Rewards, SetId, Settlement, Uptimes, ValidatorSets, types::FULL_AVERAGE,
};

impl<T: Config> Pallet<T> {
    /// Checks the pallet's invariants:
    ///
    /// 1. Epochs are kept from the oldest one on, no future ones, and no report is on an epoch that has not
    ///    ended.
    /// 2. Only an epoch's validators reported on it, and only reports contradict a majority, in epochs that
    ///    are being or were settled. Only validators that reported have an unfinished report, one each, with
    ///    no more parts than allowed.
    /// 3. A failure belongs to an epoch that is kept, and has at least one validator, all of which are
    ///    assigned to the machine and reported.
    /// 4. The cursor is in no epoch after the first open one, and no epoch is forgotten before it is settled.
    /// 5. A set of validators is kept exactly if it is the current one or belongs to an epoch that is not
    ///    settled; an epoch has as many validators as its set.
    /// 6. No entry of owed plancks is zero.
    /// 7. No average is above the whole, or counts an epoch that is not closed.
    /// 8. The number of machines that were down is as counted, in epochs that are not being forgotten, and an
    ///    outage has at least the minimum.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let current = T::Clock::current_epoch();
        let cursor = Settlement::<T>::get();
        let mut sets = BTreeSet::from([CurrentSet::<T>::get()]);
        for (epoch, record) in EpochRecords::<T>::iter() {
            // 1
            ensure!(
                (OldestEpoch::<T>::get()..=current).contains(&epoch),
                "1: an epoch is kept that is not in history"
            );
            ensure!(
                epoch < current || record.reported.count() == 0,
                "1: an epoch was reported on before its end"
            );
            Self::try_state_of(epoch, &record)?;
            // 8
            if epoch > OldestEpoch::<T>::get() {
                let needed = record.needed_to_be_down();
                let down = Failures::<T>::iter_prefix_values(epoch)
                    .filter(|failed| failed.count() >= needed)
                    .count();
                ensure!(
                    down == record.down_machines as usize,
                    "8: other machines were down than were counted"
                );
            }
            ensure!(
                !record.is_outage || record.down_machines >= MIN_OUTAGE_MACHINES,
                "8: an outage of a few machines"
            );
            // 5
            if epoch >= cursor.epoch {
                sets.insert(record.set);
                ensure!(
                    ValidatorSets::<T>::get(record.set).len() == record.validators as usize,
                    "5: an epoch has not the validators of its set"
                );
            }
        }
        Self::try_state_of_failures()?;
        // 4
        ensure!(
            cursor.epoch <= Self::first_open_epoch(),
            "4: an open epoch was settled"
        );
        ensure!(
            OldestEpoch::<T>::get() <= cursor.epoch,
            "4: an epoch was forgotten before it was settled"
        );
        // 5; a chain without validators has an empty current set, which is not stored.
        let stored: BTreeSet<SetId> = ValidatorSets::<T>::iter_keys().collect();
        ensure!(stored.is_subset(&sets), "5: a set is kept that nobody needs");
        // 6
        ensure!(
            Rewards::<T>::iter_values().all(|owed| owed > 0),
            "6: somebody is owed nothing"
        );
        // 7
        for record in Uptimes::<T>::iter_values() {
            ensure!(record.average <= FULL_AVERAGE, "7: an average is above the whole");
            ensure!(
                record.next_epoch <= current.saturating_add(1),
                "7: an average knows of an epoch to come"
            );
        }
        Ok(())
    }

    /// Checks invariant 2 of one epoch.
    fn try_state_of(epoch: EpochIndex, record: &EpochRecordOf<T>) -> Result<(), TryRuntimeError> {
        for index in 0..record.reported.end() {
            ensure!(
                index < record.validators || !record.reported.contains(index),
                "2: somebody else than a validator reported"
            );
        }
        for index in 0..record.against_majority.end() {
            ensure!(
                !record.against_majority.contains(index) || record.reported.contains(index),
                "2: somebody is against the majority without a report"
            );
        }
        let unfinished: BTreeSet<u32> = record
            .unfinished
            .iter()
            .map(|part| part.validator_index)
            .collect();
        ensure!(
            unfinished.len() == record.unfinished.len()
                && record.unfinished.iter().all(|part| {
                    record.reported.contains(part.validator_index)
                        && (1..=MAX_REPORT_PARTS).contains(&part.parts)
                }),
            "2: somebody has more to say than it may"
        );
        ensure!(
            epoch <= Settlement::<T>::get().epoch || record.against_majority.count() == 0,
            "2: somebody is against the majority of an epoch that is not settled"
        );
        Ok(())
    }

    /// Checks invariant 3.
    fn try_state_of_failures() -> Result<(), TryRuntimeError> {
        for (epoch, machine, failed) in Failures::<T>::iter() {
            let record =
                EpochRecords::<T>::get(epoch).ok_or("3: a failure is of an epoch that is not kept")?;
            ensure!(failed.count() > 0, "3: a failure is nobody's");
            let reporting = record.reporting(machine, &record.assigned(machine));
            ensure!(
                failed.without(reporting).count() == 0,
                "3: a failure is of a validator that has no say"
            );
        }
        Ok(())
    }
}
