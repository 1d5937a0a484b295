//! Uptime of a machine, in one epoch and on average.

use core::ops::Range;

use assay_primitives::{
    availability::REPORT_WINDOW_EPOCHS,
    clock::{ActiveClock, EpochIndex},
    emission::EpochUptime,
    machine::{MachineId, OnMachineRemoved},
};
use polkadot_sdk::frame_support::{storage::unhashed, traits::Get};

use crate::{
    Config, EpochRecordOf, EpochRecords, Failures, OldestEpoch, Pallet, UptimeRecord, Uptimes,
    types::{EpochHead, FULL_UPTIME_PPM},
};

impl<T: Config> Pallet<T> {
    /// Returns the oldest epoch that is in history, even if the hook has not yet forgotten the ones before
    /// it.
    pub(crate) fn oldest_epoch() -> EpochIndex {
        Self::first_kept_epoch().max(OldestEpoch::<T>::get())
    }

    /// Returns the oldest epoch that the present length of history keeps.
    fn first_kept_epoch() -> EpochIndex {
        T::Clock::current_epoch().saturating_sub(T::HistoryEpochs::get())
    }

    /// Returns true if a machine was up in an epoch of history: fewer of its validators than needed report it
    /// as failed.
    ///
    /// Reads as little as it can: each payment by uptime queries it for every epoch.
    fn was_up(machine: MachineId, epoch: EpochIndex) -> bool {
        if epoch < Self::first_kept_epoch() {
            return false;
        }
        let failed = Failures::<T>::get(epoch, machine).count();
        let head = match failed {
            // No number of validators makes a verdict of no failure.
            0 => None,
            _ => unhashed::get::<EpochHead>(&EpochRecords::<T>::hashed_key_for(epoch)),
        };
        match head {
            // A record is forgotten with its epoch.
            Some(head) => failed < head.needed_to_be_down(),
            None => epoch >= OldestEpoch::<T>::get(),
        }
    }

    fn was_up_in(machine: MachineId, epoch: EpochIndex, record: &EpochRecordOf<T>) -> bool {
        Failures::<T>::get(epoch, machine).count() < record.needed_to_be_down()
    }

    /// Returns the uptime in a closed epoch of history as the machine's average counts it. `None` for an
    /// outage, which does not count, because nobody can tell whose fault it was.
    pub(crate) fn sample(machine: MachineId, epoch: EpochIndex) -> Option<u32> {
        let Some(record) = EpochRecords::<T>::get(epoch) else {
            return Some(FULL_UPTIME_PPM);
        };
        if record.is_outage {
            return None;
        }
        let is_up = Self::was_up_in(machine, epoch, &record);
        Some(if is_up { FULL_UPTIME_PPM } else { 0 })
    }

    /// Returns the closed epochs that the machine's average does not count yet, at most `max_epochs`. Epochs
    /// that fell out of history are skipped.
    pub(crate) fn uncounted_epochs(record: &UptimeRecord, max_epochs: u32) -> Option<Range<EpochIndex>> {
        let first = record.next_epoch.max(Self::oldest_epoch());
        let end = first.saturating_add(max_epochs).min(Self::first_open_epoch());
        (first < end).then_some(first..end)
    }
}

impl<T: Config> EpochUptime for Pallet<T> {
    fn uptime_ppm(machine: MachineId, epoch: EpochIndex) -> u32 {
        if Self::was_up(machine, epoch) {
            FULL_UPTIME_PPM
        } else {
            0
        }
    }

    fn first_open_epoch() -> EpochIndex {
        T::Clock::current_epoch().saturating_sub(REPORT_WINDOW_EPOCHS)
    }

    fn count_epochs(machine: MachineId, max_epochs: u32) {
        // The payout goes on even if there is nothing to count, or the machine has left.
        let _ = Self::do_update_uptime(machine, max_epochs.clamp(1, T::MaxEpochsPerUpdate::get()));
    }

    fn count_failure(machine: MachineId) {
        Self::do_count_failure(machine);
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_reliable(machine: MachineId) {
        crate::benchmarking::set_reliable::<T>(machine);
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_watch(machine: MachineId, epoch: EpochIndex) {
        crate::benchmarking::watch::<T>(machine, epoch);
    }
}

impl<T: Config> OnMachineRemoved for Pallet<T> {
    /// Removes the average, which only the market uses. The machine's failures stay until their epochs are
    /// forgotten: unpaid rewards still depend on them.
    fn on_machine_removed(machine: MachineId) {
        Uptimes::<T>::remove(machine);
    }
}
