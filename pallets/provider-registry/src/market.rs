//! Traits by which other pallets read and lease machines.

use assay_primitives::{
    attestation::{MachineIdentities, MachineIdentity},
    clock::ActiveClock,
    machine::{
        HardwareClaim, HardwareClaims, HardwareProofs, LeaseEnd, LeaseTerms, MachineId, MachineInspect,
        MachineLease, MachineStatus,
    },
    market::{MatchingLease, Requirements},
    money::Balance,
};
use polkadot_sdk::{
    frame_support::{ensure, traits::Get},
    sp_runtime::{DispatchError, DispatchResult},
};

use crate::{
    Config, Error, Event, MachineRecordOf, Machines, NextMachineId, Pallet, WorkerKeys,
    lifecycle::status_after_lease, offers::MachineBook,
};

impl<T: Config> MachineInspect<T::AccountId> for Pallet<T> {
    fn provider_of(machine: MachineId) -> Option<T::AccountId> {
        Machines::<T>::get(machine).map(|record| record.provider)
    }

    fn machine_of_worker(worker_key: &T::AccountId) -> Option<MachineId> {
        WorkerKeys::<T>::get(worker_key)
    }

    fn status(machine: MachineId) -> Option<MachineStatus> {
        Machines::<T>::get(machine).map(|record| record.status)
    }

    fn is_watched(machine: MachineId) -> bool {
        Machines::<T>::get(machine)
            .is_some_and(|record| record.is_on_duty() || record.has_open_epoch(T::Clock::current_epoch()))
    }

    fn is_accountable(machine: MachineId) -> bool {
        Machines::<T>::get(machine)
            .is_some_and(|record| record.is_leased() || record.has_open_epoch(T::Clock::current_epoch()))
    }

    fn class_stake(machine: MachineId) -> Option<Balance> {
        Machines::<T>::get(machine).map(|record| record.class_stake(T::BondPerPoint::get()))
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_machine(provider: &T::AccountId, worker_key: &T::AccountId, slots: u8) -> MachineId {
        crate::benchmarking::insert_machine::<T>(provider, worker_key, slots)
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_enter_market(machine: MachineId) {
        T::HardwareProofs::benchmark_prove(machine);
        crate::benchmarking::force_status::<T>(machine, MachineStatus::Active);
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_retire(machine: MachineId) {
        crate::benchmarking::force_status::<T>(machine, MachineStatus::Retired);
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_audit() {
        T::HardwareProofs::benchmark_audit();
    }
}

impl<T: Config> HardwareClaims<T::AccountId> for Pallet<T> {
    fn hardware_claim(machine: MachineId) -> Option<HardwareClaim<T::AccountId>> {
        Machines::<T>::get(machine).map(|record| HardwareClaim {
            exposure: record.exposure(),
            worker_key: record.worker_key,
            class: record.class,
            status: record.status,
            registered_at_ms: record.registered_at_ms,
        })
    }

    fn next_machine_id() -> MachineId {
        NextMachineId::<T>::get()
    }
}

impl<T: Config> MachineIdentities<T::AccountId> for Pallet<T> {
    fn identity_of(machine: MachineId) -> Option<MachineIdentity<T::AccountId>> {
        let (record, class) = Self::machine_and_class(machine)?;
        Some(MachineIdentity {
            // Only classes with GPUs have video memory, and each slot is one GPU.
            gpus: if class.vram_mib > 0 { record.slots } else { 0 },
            is_in_market: record.status != MachineStatus::Retired,
            provider: record.provider,
            worker_key: record.worker_key,
            sealing_key: record.sealing_key,
        })
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_machine_with_gpus(provider: &T::AccountId, worker_key: &T::AccountId) -> MachineId {
        let slots = assay_primitives::machine::MAX_SLOTS;
        let machine = crate::benchmarking::insert_machine::<T>(provider, worker_key, slots);
        // Only an active machine's weight changes with its evidence.
        crate::benchmarking::force_status::<T>(machine, MachineStatus::Active);
        machine
    }
}

impl<T: Config> Pallet<T> {
    /// Takes free slots of a machine whose record was read already.
    fn take_slots(
        machine: MachineId,
        before: MachineRecordOf<T>,
        slots: u8,
    ) -> Result<LeaseTerms<T::AccountId>, DispatchError> {
        ensure!(slots > 0, Error::<T>::BadSlots);
        ensure!(before.status == MachineStatus::Active, Error::<T>::NotActive);
        // The block that ends an expired proof may be late.
        ensure!(T::HardwareProofs::is_proven(machine), Error::<T>::ProofTooOld);
        let mut record = before.clone();
        record.free_slots = record
            .free_slots
            .checked_sub(slots)
            .ok_or(Error::<T>::TooFewFreeSlots)?;

        MachineBook::<T>::replace(machine, Some(&before), &mut record);
        Self::deposit_event(Event::SlotsLeased {
            machine,
            slots,
            free_slots: record.free_slots,
        });
        Ok(LeaseTerms {
            price_per_slot_hour: Self::ask_now(&record),
            provider: record.provider,
        })
    }
}

impl<T: Config> MatchingLease<T::AccountId> for Pallet<T> {
    fn lease_matching(
        machine: MachineId,
        slots: u8,
        requirements: &Requirements,
    ) -> Result<Option<LeaseTerms<T::AccountId>>, DispatchError> {
        match Self::machine_and_class(machine) {
            Some((record, class)) if Self::mismatches(requirements, machine, &record, &class).is_empty() => {
                Self::take_slots(machine, record, slots).map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl<T: Config> MachineLease<T::AccountId> for Pallet<T> {
    fn lease(machine: MachineId, slots: u8) -> Result<LeaseTerms<T::AccountId>, DispatchError> {
        let record = Machines::<T>::get(machine).ok_or(Error::<T>::NoSuchMachine)?;
        Self::take_slots(machine, record, slots)
    }

    fn release(machine: MachineId, slots: u8, end: LeaseEnd) -> DispatchResult {
        ensure!(slots > 0, Error::<T>::BadSlots);
        let before = Machines::<T>::get(machine).ok_or(Error::<T>::NoSuchMachine)?;
        let mut record = before.clone();
        record.free_slots = record
            .free_slots
            .checked_add(slots)
            .filter(|free_slots| *free_slots <= record.slots)
            .ok_or(Error::<T>::SlotsNotLeased)?;
        record.service.count(end);

        Self::deposit_event(Event::SlotsReleased {
            machine,
            slots,
            free_slots: record.free_slots,
            end,
        });
        // Each of the three branches writes the record, once.
        match status_after_lease(record.status, end, record.is_leased()) {
            MachineStatus::Retired => Self::leave_market(machine, record),
            to if to != record.status => Self::set_status(machine, record, to),
            _ => MachineBook::<T>::replace(machine, Some(&before), &mut record),
        }
        Ok(())
    }

    fn extension_ask(machine: MachineId) -> Option<Balance> {
        let record = Machines::<T>::get(machine)?;
        match record.status {
            MachineStatus::Active | MachineStatus::Unproven => Some(Self::ask_now(&record)),
            MachineStatus::Suspended(_) | MachineStatus::Draining | MachineStatus::Retired => None,
        }
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_activate(machine: MachineId) {
        Self::benchmark_enter_market(machine);
    }
}
