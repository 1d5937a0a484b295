//! The states of machines: who may be in which, and what follows from it.

use assay_primitives::{
    emission::RewardWeights,
    machine::{HardwareProofs, MachineId, MachineStatus, OnBondChange, SuspensionReason},
    stake::BondInspect,
};
use polkadot_sdk::frame_support::{
    defensive,
    traits::{fungible::MutateHold, tokens::Precision},
};

use crate::{
    Config, Event, HoldReason, MachineRecordOf, Machines, MachinesByProvider, Pallet, Providers, WorkerKeys,
};

/// The status of a machine whose bond suffices and that nothing else holds back.
pub(crate) fn status_of_bonded(proven: bool) -> MachineStatus {
    if proven {
        MachineStatus::Active
    } else {
        MachineStatus::Unproven
    }
}

/// The status that follows from whether a machine's bond suffices and its hardware is proven.
///
/// What somebody asked for is not undone: a machine suspended by request, draining or retired stays so.
/// An unproven machine that loses its bond stays unproven. A proof that grew too old takes no status away here.
pub(crate) fn status_after(status: MachineStatus, sufficient: bool, proven: bool) -> MachineStatus {
    match (status, sufficient) {
        (MachineStatus::Unproven | MachineStatus::Suspended(SuspensionReason::BondTooLow), true) => {
            status_of_bonded(proven)
        }
        (MachineStatus::Active, false) => MachineStatus::Suspended(SuspensionReason::BondTooLow),
        (
            MachineStatus::Unproven
            | MachineStatus::Active
            | MachineStatus::Suspended(_)
            | MachineStatus::Draining
            | MachineStatus::Retired,
            _,
        ) => status,
    }
}

impl<T: Config> Pallet<T> {
    /// [`status_after`] for a machine, asking for its proof only where it counts.
    pub(crate) fn status_now(machine: MachineId, status: MachineStatus, sufficient: bool) -> MachineStatus {
        let proven = sufficient && T::HardwareProofs::is_proven(machine);
        status_after(status, sufficient, proven)
    }

    /// Writes a machine's record with a new status; the only place where a status changes.
    ///
    /// Tells the emission what the machine weighs now, which it also does when the status stays, for a record
    /// whose terms changed. A machine that retires gives up its worker key.
    pub(crate) fn set_status(machine: MachineId, mut record: MachineRecordOf<T>, to: MachineStatus) {
        let from = core::mem::replace(&mut record.status, to);
        let weight = record.reward_weight();
        if to == MachineStatus::Retired {
            WorkerKeys::<T>::remove(&record.worker_key);
        }
        Machines::<T>::insert(machine, record);
        // After the record is written: the emission may ask whose machine it is.
        T::RewardWeights::set_weight(machine, weight);
        if from != to {
            Self::deposit_event(Event::MachineStatusChanged { machine, from, to });
        }
    }

    /// Removes the record of a retired machine for which nothing is held any more, and gives its deposit back.
    pub(crate) fn remove_if_unbonded(machine: MachineId) {
        let Some(record) = Machines::<T>::get(machine) else {
            return;
        };
        if record.status != MachineStatus::Retired || T::Bonds::total_held(machine) > 0 {
            return;
        }
        Machines::<T>::remove(machine);
        MachinesByProvider::<T>::remove(&record.provider, machine);
        Providers::<T>::mutate_extant(&record.provider, |provider| {
            provider.machines = provider.machines.saturating_sub(1);
        });
        let released = T::Currency::release(
            &HoldReason::MachineDeposit.into(),
            &record.provider,
            record.deposit,
            Precision::Exact,
        );
        if released.is_err() {
            // Only this pallet touches holds of this reason, and it records what it holds.
            defensive!("the deposit of a machine is not held");
        }
        Self::deposit_event(Event::MachineRemoved {
            machine,
            provider: record.provider,
        });
    }
}

impl<T: Config> OnBondChange for Pallet<T> {
    fn on_bond_change(machine: MachineId, sufficient: bool) {
        let Some(record) = Machines::<T>::get(machine) else {
            return;
        };
        if record.status == MachineStatus::Retired {
            return Self::remove_if_unbonded(machine);
        }
        let to = Self::status_now(machine, record.status, sufficient);
        if to != record.status {
            Self::set_status(machine, record, to);
        }
    }
}
