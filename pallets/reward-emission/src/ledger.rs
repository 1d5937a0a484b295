//! Sums over all machines. Nothing else writes them, so that they always agree with the machines' records.

use core::ops::Range;

use assay_primitives::{
    clock::{ActiveClock, EpochIndex, OnEpochEnd},
    emission::{EpochUptime, EpochWeights, FlywheelLedger, RewardWeight, RewardWeights},
    machine::{MachineId, MachineInspect, MachineStatus},
    money::Balance,
};
use polkadot_sdk::frame_support::{defensive, traits::Get, weights::Weight};

use crate::{
    Config, EmissionOutlook, EpochRecord, EpochRecords, Event, MachineWeightRecord, MachineWeights, Pallet,
    PendingWeight, RemainingEmission, RewardDestinations, RewardDue, TotalWeight, WeightInfo,
};

impl<T: Config> Pallet<T> {
    /// Returns the state of the emission, as if the current epoch ended now.
    pub(crate) fn emission_outlook() -> EmissionOutlook {
        let remaining = RemainingEmission::<T>::get();
        let total_weight = TotalWeight::<T>::get();
        let cap_per_weight = T::CapPerWeight::get();
        let decayed = remaining.checked_div(T::EmissionDivisor::get()).unwrap_or(0);
        // A saturated product is above the remaining emission.
        let pool = decayed.min(total_weight.saturating_mul(cap_per_weight));
        EmissionOutlook {
            remaining,
            total_weight,
            cap_per_weight,
            pool,
            withheld: decayed.saturating_sub(pool),
        }
    }

    /// Returns the oldest epoch whose accounts are kept.
    pub(crate) fn oldest_epoch() -> EpochIndex {
        T::Clock::current_epoch().saturating_sub(T::HistoryEpochs::get())
    }

    /// Returns the epochs that the next payout pays: unpaid ones with a final uptime, still in history, and
    /// not before the machine had a weight.
    pub(crate) fn unpaid_epochs(
        record: &MachineWeightRecord<T::AccountId>,
        max_epochs: u32,
    ) -> Option<Range<EpochIndex>> {
        let first_open = T::Clock::current_epoch().min(T::Uptime::first_open_epoch());
        let first = record.first_unpaid_epoch()?.max(Self::oldest_epoch());
        let end = first.saturating_add(max_epochs).min(first_open);
        (first < end).then_some(first..end)
    }

    /// Returns the machine's reward of an ended epoch, given the epoch's accounts.
    pub(crate) fn reward_of(
        machine: MachineId,
        weights: &MachineWeightRecord<T::AccountId>,
        epoch: EpochIndex,
        accounts: &EpochRecord,
    ) -> Balance {
        let weight = weights.weight_at(epoch);
        if weight == 0 {
            return 0;
        }
        let left = accounts.pool.saturating_sub(accounts.minted);
        accounts
            .reward(weight, T::Uptime::uptime_ppm(machine, epoch))
            .min(left)
    }

    /// Returns the result of a payout now; `None` if it would fail without an unpaid epoch.
    pub(crate) fn reward_due(machine: MachineId, max_epochs: u32) -> Option<RewardDue> {
        let record = MachineWeights::<T>::get(machine)?;
        let epochs = Self::unpaid_epochs(&record, max_epochs.min(T::MaxEpochsPerPayout::get()))?;
        let amount = epochs.clone().fold(0, |sum: Balance, epoch| {
            let accounts = EpochRecords::<T>::get(epoch);
            sum.saturating_add(Self::reward_of(machine, &record, epoch, &accounts))
        });
        Some(RewardDue {
            first_epoch: epochs.start,
            last_epoch: epochs.end.saturating_sub(1),
            amount,
        })
    }

    /// Stores a machine's record, or removes it if it is spent.
    pub(crate) fn keep_record(machine: MachineId, record: MachineWeightRecord<T::AccountId>) {
        if record.is_spent() {
            MachineWeights::<T>::remove(machine);
            Self::forget_destination_when_gone(machine);
        } else {
            MachineWeights::<T>::insert(machine, record);
        }
    }

    /// Returns true if the machine is in the market, and so may earn rewards in the future.
    pub(crate) fn is_in_market(machine: MachineId) -> bool {
        T::Machines::status(machine).is_some_and(|status| status != MachineStatus::Retired)
    }

    /// Removes the reward destination of a machine that left the market and has no rewards.
    fn forget_destination_when_gone(machine: MachineId) {
        if !Self::is_in_market(machine) {
            RewardDestinations::<T>::remove(machine);
        }
    }
}

impl<T: Config> RewardWeights for Pallet<T> {
    fn set_weight(machine: MachineId, weight: RewardWeight) {
        let current = T::Clock::current_epoch();
        let mut record = match MachineWeights::<T>::get(machine) {
            Some(record) => record,
            None if weight == 0 => return Self::forget_destination_when_gone(machine),
            None => match T::Machines::provider_of(machine) {
                Some(provider) => MachineWeightRecord::new(provider, current),
                None => {
                    defensive!("a machine without a provider cannot be paid");
                    return;
                }
            },
        };
        record.forget_before(record.next_unpaid_epoch.max(Self::oldest_epoch()).min(current));
        let change = record.set(current, weight);
        TotalWeight::<T>::mutate(|total| {
            *total = total
                .saturating_sub(change.current_before.into())
                .saturating_add(change.current_after.into());
        });
        PendingWeight::<T>::mutate(|pending| {
            *pending = pending
                .saturating_sub(change.next_before.saturating_sub(change.current_before).into())
                .saturating_add(change.next_after.saturating_sub(change.current_after).into());
        });
        Self::keep_record(machine, record);
    }
}

impl<T: Config> OnEpochEnd for Pallet<T> {
    fn on_epoch_end(ended: EpochIndex) {
        let EmissionOutlook {
            remaining,
            total_weight,
            pool,
            withheld,
            ..
        } = Self::emission_outlook();
        // The pool is a part of the remaining emission: no underflow.
        RemainingEmission::<T>::put(remaining.saturating_sub(pool));
        TotalWeight::<T>::put(total_weight.saturating_add(PendingWeight::<T>::take()));
        EpochRecords::<T>::mutate(ended, |record| {
            record.pool = pool;
            record.withheld = withheld;
            record.total_weight = total_weight;
        });
        if let Some(forgotten) = ended.checked_sub(T::HistoryEpochs::get()) {
            EpochRecords::<T>::remove(forgotten);
        }
        Self::deposit_event(Event::EpochClosed {
            epoch: ended,
            pool,
            total_weight,
            withheld,
        });
    }

    fn weight() -> Weight {
        T::WeightInfo::on_epoch_end()
    }
}

impl<T: Config> EpochWeights for Pallet<T> {
    fn weight_in(machine: MachineId, epoch: EpochIndex) -> RewardWeight {
        MachineWeights::<T>::get(machine).map_or(0, |record| record.weight_at(epoch))
    }

    fn total_weight_in(epoch: EpochIndex) -> u128 {
        EpochRecords::<T>::get(epoch).total_weight
    }

    fn first_unpaid_epoch(machine: MachineId) -> Option<EpochIndex> {
        MachineWeights::<T>::get(machine)?.first_unpaid_epoch()
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_weigh(machine: MachineId, epoch: EpochIndex, weight: RewardWeight, total: u128) {
        crate::benchmarking::weigh::<T>(machine, epoch, weight, total);
    }
}

impl<T: Config> FlywheelLedger for Pallet<T> {
    fn note_fee(fee: Balance, burned: Balance) {
        EpochRecords::<T>::mutate(T::Clock::current_epoch(), |record| {
            record.fees = record.fees.saturating_add(fee);
            record.burned = record.burned.saturating_add(burned);
        });
    }
}
