//! Logic of the calls, after their origins were checked.

use assay_primitives::{
    clock::ActiveClock,
    emission::EpochWeights,
    machine::{MachineId, MachineInspect, OnUptimeChange},
    money::Balance,
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        traits::{
            Get,
            fungible::{Inspect, Mutate},
            tokens::{Fortitude, Preservation},
        },
    },
    sp_runtime::{DispatchError, DispatchResult},
};

use crate::{
    Config, Error, Event, Pallet, Rewards, UptimeRecord, Uptimes,
    types::{FULL_UPTIME_PPM, PARTS_PER_PPM},
};

impl<T: Config> Pallet<T> {
    /// Updates a machine's average. Returns the number of epochs that it counted.
    pub(crate) fn do_update_uptime(machine: MachineId, max_epochs: u32) -> Result<u32, DispatchError> {
        ensure!(
            (1..=T::MaxEpochsPerUpdate::get()).contains(&max_epochs),
            Error::<T>::BadEpochCount
        );
        ensure!(Self::is_watched(machine), Error::<T>::MachineNotWatched);
        let Some(mut record) = Uptimes::<T>::get(machine) else {
            Self::track(machine);
            return Ok(0);
        };
        let epochs = Self::uncounted_epochs(&record, max_epochs).ok_or(Error::<T>::NothingToCount)?;
        for epoch in epochs.clone() {
            if let Some(uptime_ppm) = Self::sample(machine, epoch) {
                record.count(uptime_ppm, T::UptimeMemoryEpochs::get());
            }
        }
        record.next_epoch = epochs.end;
        Uptimes::<T>::insert(machine, record);
        Self::deposit_event(Event::UptimeUpdated {
            machine,
            first_epoch: epochs.start,
            last_epoch: epochs.end.saturating_sub(1),
            average_ppm: record.average_ppm(),
        });
        T::OnUptimeChange::on_uptime_change(machine, record.average_ppm());
        Ok(epochs.end.saturating_sub(epochs.start))
    }

    /// Begins a machine's average, with the first epoch that it has unpaid rewards of, at the latest with the
    /// next one: failures before a late first call count too.
    fn track(machine: MachineId) -> UptimeRecord {
        let next = T::Clock::current_epoch().saturating_add(1);
        let from_epoch = T::Weights::first_unpaid_epoch(machine).map_or(next, |first| first.min(next));
        let initial_ppm = T::InitialUptimePpm::get().min(FULL_UPTIME_PPM);
        let record = UptimeRecord {
            average: u64::from(initial_ppm).saturating_mul(PARTS_PER_PPM),
            next_epoch: from_epoch,
        };
        Uptimes::<T>::insert(machine, record);
        Self::deposit_event(Event::UptimeTracked { machine, from_epoch });
        record
    }

    /// Lowers a machine's average as if it had been down in one epoch more.
    pub(crate) fn do_count_failure(machine: MachineId) {
        // The average of a removed machine has no reader, and nothing would ever remove it.
        if T::Machines::status(machine).is_none() {
            return;
        }
        let mut record = Uptimes::<T>::get(machine).unwrap_or_else(|| Self::track(machine));
        record.count(0, T::UptimeMemoryEpochs::get());
        Uptimes::<T>::insert(machine, record);
        let average_ppm = record.average_ppm();
        Self::deposit_event(Event::FailureCounted { machine, average_ppm });
        T::OnUptimeChange::on_uptime_change(machine, average_ppm);
    }

    /// Pays a validator the rewards of its reports, as far as the pot has them.
    pub(crate) fn do_claim(validator: T::AccountId) -> DispatchResult {
        let owed = Rewards::<T>::get(&validator);
        ensure!(owed > 0, Error::<T>::NothingToClaim);
        let pot = T::RewardPot::get();
        let amount = owed.min(T::Currency::reducible_balance(
            &pot,
            Preservation::Preserve,
            Fortitude::Polite,
        ));
        ensure!(amount > 0, Error::<T>::PotEmpty);
        T::Currency::transfer(&pot, &validator, amount, Preservation::Preserve)?;
        let left = owed.saturating_sub(amount);
        Self::set_reward(&validator, left);
        Self::deposit_event(Event::RewardClaimed {
            validator,
            amount,
            left,
        });
        Ok(())
    }

    /// Sets the plancks that a validator is owed.
    pub(crate) fn set_reward(validator: &T::AccountId, owed: Balance) {
        if owed == 0 {
            Rewards::<T>::remove(validator);
        } else {
            Rewards::<T>::insert(validator, owed);
        }
    }
}
