//! A validator's view of the machines that it watches, and the transaction that carries its report.

use alloc::vec::Vec;

use assay_primitives::{
    availability::{
        AssignedMachine, AssignmentPage, AvailabilityId, AvailabilitySignature, MAX_ASSIGNMENT_PAGE,
    },
    clock::{ActiveClock, EpochIndex, Millis},
    machine::MachineId,
};
use pallet_provider_registry::{Machines, NextMachineId};

use crate::{
    AccountId, Availability, ChainClock, Runtime, UncheckedExtrinsic, transactions::general_transaction,
};

/// Implements `AvailabilityApi::assignments`.
pub fn assignments(key: &AvailabilityId, from: MachineId, limit: u32) -> Option<AssignmentPage<AccountId>> {
    let epoch = ChainClock::current_epoch();
    let record = pallet_availability::EpochRecords::<Runtime>::get(epoch)?;
    let validator_index = Availability::validator_index(epoch, key)?;
    let looked_at = MachineId::from(limit.clamp(1, MAX_ASSIGNMENT_PAGE));
    let end = NextMachineId::<Runtime>::get();
    let next = from.saturating_add(looked_at).min(end);
    let machines = (from..next)
        .filter(|machine| record.assigned(*machine).contains(&validator_index))
        .filter(|machine| Availability::is_watched(*machine))
        .filter_map(|machine| {
            Machines::<Runtime>::get(machine).map(|of_machine| AssignedMachine {
                machine,
                endpoint: of_machine.endpoint,
                worker_key: of_machine.worker_key,
            })
        })
        .collect();
    let epoch_ends_ms = ChainClock::epoch_duration_ms().saturating_mul(Millis::from(epoch).saturating_add(1));
    Some(AssignmentPage {
        epoch,
        remaining_ms: epoch_ends_ms.saturating_sub(ChainClock::now_ms()),
        seed: record.seed,
        validator_index,
        machines,
        next: (next < end).then_some(next),
    })
}

/// Implements `AvailabilityApi::report_transaction`.
pub fn report_transaction(
    epoch: EpochIndex,
    validator_index: u32,
    after: Option<MachineId>,
    failures: Vec<MachineId>,
    signature: AvailabilitySignature,
) -> Option<UncheckedExtrinsic> {
    let call = pallet_availability::Call::report {
        epoch,
        validator_index,
        after,
        failures: failures.try_into().ok()?,
        signature,
    };
    Some(general_transaction(call.into()))
}
