//! Status of machines: its transitions and their consequences.

use assay_primitives::{
    attestation::{Attestations, OnAttestationChange},
    clock::ActiveClock,
    emission::RewardWeights,
    machine::{
        HardwareProofs, LeaseEnd, MachineId, MachineStatus, OnMachineRemoved, OnProofChange, OnUptimeChange,
        SuspensionReason,
    },
    market::FULL_PPM,
    offence::MachineDiscipline,
    stake::{BondInspect, BondStanding, OnBondChange},
};
use polkadot_sdk::frame_support::{
    defensive,
    traits::{fungible::MutateHold, tokens::Precision},
};

use crate::{
    Config, Event, HoldReason, MachineRecordOf, Machines, MachinesByProvider, Pallet, Providers,
    offers::MachineBook, worker_keys::WorkerKeyBook,
};

/// Returns the status of a machine whose bond suffices and that is not held back otherwise.
pub(crate) fn status_of_bonded(proven: bool) -> MachineStatus {
    if proven {
        MachineStatus::Active
    } else {
        MachineStatus::Unproven
    }
}

/// Returns the status of a machine after a change of its bond's standing, given whether its hardware is
/// proven.
///
/// A machine that is suspended by request, for an offence or for a missed start, draining or retired stays
/// so. An unproven machine that loses its bond stays unproven. An expired proof changes the status in
/// [`status_after_proof`], not here.
pub(crate) fn status_after(status: MachineStatus, standing: BondStanding, proven: bool) -> MachineStatus {
    use BondStanding::{InDebt, Sufficient, TooLow};
    use MachineStatus::{Active, Draining, Retired, Suspended, Unproven};
    use SuspensionReason as Reason;

    match (status, standing) {
        (Unproven | Suspended(Reason::BondTooLow | Reason::InDebt), Sufficient) => status_of_bonded(proven),
        (Active | Suspended(Reason::InDebt), TooLow) => Suspended(Reason::BondTooLow),
        (Active | Suspended(Reason::BondTooLow), InDebt) => Suspended(Reason::InDebt),
        (Unproven | Active | Suspended(_) | Draining | Retired, _) => status,
    }
}

/// Returns the status of a machine after a change of its proof.
///
/// An active machine that lost its proof is treated as one that never had one: it earns nothing and takes no
/// jobs, and its running jobs go on.
pub(crate) fn status_after_proof(
    status: MachineStatus,
    standing: BondStanding,
    proven: bool,
) -> MachineStatus {
    match status {
        MachineStatus::Active if !proven => MachineStatus::Unproven,
        MachineStatus::Unproven => status_after(status, standing, proven),
        MachineStatus::Active
        | MachineStatus::Suspended(_)
        | MachineStatus::Draining
        | MachineStatus::Retired => status,
    }
}

/// Returns the status of a machine after a lease ended.
///
/// A machine that missed a start is suspended, so that a dead one does not take order after order; one that
/// takes no orders anyway keeps its status. A condemned machine retires with its last lease.
pub(crate) fn status_after_lease(status: MachineStatus, end: LeaseEnd, is_leased: bool) -> MachineStatus {
    use MachineStatus::{Active, Draining, Retired, Suspended, Unproven};

    match status {
        Active | Unproven if end == LeaseEnd::NotStarted => Suspended(SuspensionReason::MissedStart),
        Suspended(SuspensionReason::Condemned) if !is_leased => Retired,
        Active | Unproven | Suspended(_) | Draining | Retired => status,
    }
}

impl<T: Config> Pallet<T> {
    /// Applies [`status_after`] to a machine. Reads its proof only if the bond suffices.
    pub(crate) fn status_now(
        machine: MachineId,
        status: MachineStatus,
        standing: BondStanding,
    ) -> MachineStatus {
        let proven = standing == BondStanding::Sufficient && T::HardwareProofs::is_proven(machine);
        status_after(status, standing, proven)
    }

    /// Writes a machine's record with a new status; the only place where a status changes.
    ///
    /// Reports the machine's weight to the emission, also if the status stays, because the terms of the
    /// record may have changed. A machine that retires gives up its worker key.
    pub(crate) fn set_status(machine: MachineId, mut record: MachineRecordOf<T>, to: MachineStatus) {
        let from = core::mem::replace(&mut record.status, to);
        if to == MachineStatus::Retired {
            WorkerKeyBook::<T>::free(&record.worker_key);
        }
        MachineBook::<T>::put(machine, &mut record);
        Self::tell_weight(machine, &record);
        if from != to {
            Self::deposit_event(Event::MachineStatusChanged { machine, from, to });
        }
    }

    /// Reports a machine's weight to the emission. Must follow the writing of its record: the emission may
    /// read the machine's provider, and the attestation its keys.
    fn tell_weight(machine: MachineId, record: &MachineRecordOf<T>) {
        let attested = record.status == MachineStatus::Active && T::Attestations::earns_premium(machine);
        let proven_slots = T::HardwareProofs::proven_slots(machine, record.slots);
        T::RewardWeights::set_weight(machine, record.reward_weight(proven_slots, attested));
    }

    /// Retires a machine without leased slots. Its record is removed at once if nothing keeps it, see
    /// [`Self::remove_if_settled`].
    pub(crate) fn leave_market(machine: MachineId, record: MachineRecordOf<T>) {
        Self::set_status(machine, record, MachineStatus::Retired);
        Self::remove_if_settled(machine);
    }

    /// Removes the record of a retired machine and releases its deposit, if nothing keeps it. Returns true if
    /// it did.
    ///
    /// A record stays while anything is held, owed or pending for the machine, and until the last epoch in
    /// which it was in the market or leased is closed: so no provider erases a failure by leaving before it
    /// is reported.
    pub(crate) fn remove_if_settled(machine: MachineId) -> bool {
        let Some(record) = Machines::<T>::get(machine) else {
            return false;
        };
        if record.status != MachineStatus::Retired
            || record.has_open_epoch(T::Clock::current_epoch())
            || !T::Bonds::is_settled(machine)
        {
            return false;
        }
        MachineBook::<T>::remove(machine);
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
            // Only this pallet changes holds of this reason, and it records their amounts.
            defensive!("the deposit of a machine is not held");
        }
        T::OnMachineRemoved::on_machine_removed(machine);
        Self::deposit_event(Event::MachineRemoved {
            machine,
            provider: record.provider,
        });
        true
    }
}

impl<T: Config> OnBondChange for Pallet<T> {
    fn on_bond_change(machine: MachineId, standing: BondStanding) {
        let Some(record) = Machines::<T>::get(machine) else {
            return;
        };
        if record.status == MachineStatus::Retired {
            Self::remove_if_settled(machine);
            return;
        }
        let to = Self::status_now(machine, record.status, standing);
        if to != record.status {
            Self::set_status(machine, record, to);
        }
    }
}

impl<T: Config> OnProofChange for Pallet<T> {
    fn on_proof_change(machine: MachineId) {
        let Some(record) = Machines::<T>::get(machine) else {
            return;
        };
        let proven = T::HardwareProofs::is_proven(machine);
        let to = status_after_proof(record.status, T::Bonds::standing(machine), proven);
        // Even if the status stays: the weight depends on the number of proven slots.
        if to != record.status || record.status == MachineStatus::Active {
            Self::set_status(machine, record, to);
        }
    }
}

impl<T: Config> OnAttestationChange for Pallet<T> {
    fn on_attestation_change(machine: MachineId) {
        // A machine that is not active has no weight, attested or not, and set_status reports its weight
        // later.
        if let Some(record) = Machines::<T>::get(machine)
            && record.status == MachineStatus::Active
        {
            Self::tell_weight(machine, &record);
        }
    }
}

impl<T: Config> MachineDiscipline for Pallet<T> {
    fn suspend_for_offence(machine: MachineId) {
        let Some(record) = Machines::<T>::get(machine) else {
            return;
        };
        match record.status {
            MachineStatus::Retired | MachineStatus::Suspended(SuspensionReason::Condemned) => {}
            MachineStatus::Unproven
            | MachineStatus::Active
            | MachineStatus::Suspended(_)
            | MachineStatus::Draining => {
                Self::set_status(
                    machine,
                    record,
                    MachineStatus::Suspended(SuspensionReason::Offence),
                );
            }
        }
    }

    fn condemn(machine: MachineId) {
        let Some(record) = Machines::<T>::get(machine) else {
            return;
        };
        if record.status == MachineStatus::Retired {
            return;
        }
        if record.is_leased() {
            // Consumers decide when to leave; the machine earns no rewards and takes no new jobs.
            let to = MachineStatus::Suspended(SuspensionReason::Condemned);
            Self::set_status(machine, record, to);
        } else {
            Self::leave_market(machine, record);
        }
    }
}

impl<T: Config> OnUptimeChange for Pallet<T> {
    fn on_uptime_change(machine: MachineId, uptime_ppm: u32) {
        let uptime_ppm = uptime_ppm.min(FULL_PPM);
        let Some(mut record) = Machines::<T>::get(machine) else {
            return;
        };
        if record.uptime_ppm == uptime_ppm {
            return;
        }
        record.uptime_ppm = uptime_ppm;
        MachineBook::<T>::put(machine, &mut record);
        Self::deposit_event(Event::UptimeUpdated { machine, uptime_ppm });
    }
}
