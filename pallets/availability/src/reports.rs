//! What a report must be, what it changes, and which one was against a clear majority.

use assay_primitives::{
    availability::{AvailabilitySignature, ReportDue, report_message},
    clock::{ActiveClock, EpochIndex},
    emission::EpochUptime,
    machine::{MachineId, MachineInspect, MachineStatus},
};
use polkadot_sdk::{
    frame_support::{ensure, traits::Get, weights::Weight},
    frame_system::{self, pallet_prelude::BlockNumberFor},
    sp_application_crypto::RuntimeAppPublic,
    sp_runtime::{
        DispatchResult,
        traits::Zero,
        transaction_validity::{
            InvalidTransaction, TransactionPriority, TransactionValidityWithRefund, ValidTransaction,
        },
    },
};

use crate::{
    ALREADY_REPORTED, Config, EpochRecordOf, EpochRecords, Error, Event, FAILURES_NOT_SORTED, Failures,
    MIN_CLEAR_REPORTS, NOT_ASSIGNED, Pallet, ValidatorSets, assignment::place_of, types::AssignmentBits,
};

/// Reports are few and cannot wait for a quiet hour: they come before whatever pays.
const REPORT_PRIORITY: TransactionPriority = TransactionPriority::MAX / 2;

/// Blocks after which a pool may forget a report that found no place; the validator sends it again.
const REPORT_LONGEVITY_BLOCKS: u64 = 64;

impl<T: Config> Pallet<T> {
    /// Decides whether a report may be in a block: what [`Self::check_report`] asks, and that its validator signed it.
    pub(crate) fn authorize_report(
        epoch: EpochIndex,
        validator_index: u32,
        failures: &[MachineId],
        signature: &AvailabilitySignature,
    ) -> TransactionValidityWithRefund {
        let record = Self::check_report(epoch, validator_index, failures).map_err(Self::invalid)?;
        let validators = ValidatorSets::<T>::get(record.set);
        let (_, key) = validators
            .get(validator_index as usize)
            .ok_or(InvalidTransaction::BadSigner)?;
        let genesis_hash = frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::zero());
        let message = report_message(genesis_hash.as_ref(), epoch, validator_index, failures);
        // Before the assignments, which cost the more the longer the list: only a validator may make us draw them.
        ensure!(key.verify(&message, signature), InvalidTransaction::BadProof);
        for machine in failures {
            let assigned = record.assigned(*machine);
            ensure!(
                assigned.contains(&validator_index),
                Self::invalid(Error::<T>::NotAssigned)
            );
        }
        ValidTransaction::with_tag_prefix("AssayAvailability")
            .priority(REPORT_PRIORITY)
            .and_provides((epoch, validator_index))
            .longevity(REPORT_LONGEVITY_BLOCKS)
            .propagate(true)
            .build()
            .map(|valid| (valid, Weight::zero()))
    }

    /// What a transaction pool is told.
    fn invalid(error: Error<T>) -> InvalidTransaction {
        match error {
            Error::EpochOver => InvalidTransaction::Stale,
            Error::EpochNotEnded => InvalidTransaction::Future,
            Error::NotValidator => InvalidTransaction::BadSigner,
            Error::AlreadyReported => InvalidTransaction::Custom(ALREADY_REPORTED),
            Error::FailuresNotSorted => InvalidTransaction::Custom(FAILURES_NOT_SORTED),
            Error::NotAssigned => InvalidTransaction::Custom(NOT_ASSIGNED),
            _ => InvalidTransaction::Call,
        }
    }

    /// The record of the epoch that the report is of, if the report may be taken, as far as that costs nothing for
    /// each failure.
    fn check_report(
        epoch: EpochIndex,
        validator_index: u32,
        failures: &[MachineId],
    ) -> Result<EpochRecordOf<T>, Error<T>> {
        ensure!(epoch < T::Clock::current_epoch(), Error::<T>::EpochNotEnded);
        ensure!(!Self::is_closed(epoch), Error::<T>::EpochOver);
        let record = EpochRecords::<T>::get(epoch).ok_or(Error::<T>::NotValidator)?;
        ensure!(validator_index < record.validators, Error::<T>::NotValidator);
        ensure!(
            !record.reported.contains(validator_index),
            Error::<T>::AlreadyReported
        );
        ensure!(
            failures.is_sorted_by(|left, right| left < right),
            Error::<T>::FailuresNotSorted
        );
        Ok(record)
    }

    /// Takes a report whose signature was checked.
    pub(crate) fn do_report(
        epoch: EpochIndex,
        validator_index: u32,
        failures: &[MachineId],
    ) -> DispatchResult {
        let mut record = Self::check_report(epoch, validator_index, failures)?;
        record.reported.insert(validator_index);
        let mut counted: u32 = 0;
        for machine in failures {
            let place =
                place_of(&record.assigned(*machine), validator_index).ok_or(Error::<T>::NotAssigned)?;
            // It may have left the market since, which is no fault of the report's. Nothing is kept for machines
            // that are not there, so that no validator can fill the state with them.
            if Self::is_watched(*machine) {
                Failures::<T>::mutate(epoch, machine, |failed| failed.insert(place));
                counted = counted.saturating_add(1);
            }
        }
        EpochRecords::<T>::insert(epoch, record);
        Self::deposit_event(Event::ReportReceived {
            epoch,
            validator_index,
            failures: counted,
        });
        Ok(())
    }

    /// Whether validators watch the machine: it is in the market, even if it takes no jobs now.
    ///
    /// An unproven machine costs no bond: who could have thousands of them watched could fill the reports.
    pub fn is_watched(machine: MachineId) -> bool {
        match T::Machines::status(machine) {
            Some(MachineStatus::Active | MachineStatus::Suspended(_) | MachineStatus::Draining) => true,
            Some(MachineStatus::Unproven | MachineStatus::Retired) | None => false,
        }
    }

    /// The report that the holder of `key` still owes.
    pub fn report_due(key: &assay_primitives::availability::AvailabilityId) -> Option<ReportDue> {
        let epoch = T::Clock::current_epoch().checked_sub(1)?;
        let validator_index = Self::validator_index(epoch, key)?;
        let record = EpochRecords::<T>::get(epoch)?;
        (!record.reported.contains(validator_index)).then(|| ReportDue {
            epoch,
            validator_index,
            max_failures: T::MaxFailuresPerReport::get(),
        })
    }

    /// The place of the holder of `key` among the validators of an epoch that is not settled.
    pub fn validator_index(
        epoch: EpochIndex,
        key: &assay_primitives::availability::AvailabilityId,
    ) -> Option<u32> {
        let record = EpochRecords::<T>::get(epoch)?;
        let validators = ValidatorSets::<T>::get(record.set);
        (0..)
            .zip(validators)
            .find(|(_, (_, of_validator))| of_validator == key)
            .map(|(index, _)| index)
    }

    /// Marks the reports that were against a clear majority, on a machine that somebody did not see in the epoch.
    ///
    /// On all other machines everybody agrees.
    pub(crate) fn judge(epoch: EpochIndex, machine: MachineId, failed: AssignmentBits) {
        let Some(mut record) = EpochRecords::<T>::get(epoch) else {
            return;
        };
        let assigned = record.assigned(machine);
        let dissenting = dissenting(record.reporting(&assigned), failed);
        let mut is_changed = false;
        for (place, index) in (0..).zip(&assigned) {
            if dissenting.contains(place) {
                is_changed |= record.against_majority.insert(*index);
            }
        }
        if is_changed {
            EpochRecords::<T>::insert(epoch, record);
        }
    }
}

/// Who was against a clear majority: at least two thirds of at least [`MIN_CLEAR_REPORTS`] that said the opposite.
pub(crate) fn dissenting(reporting: AssignmentBits, failed: AssignmentBits) -> AssignmentBits {
    let failed = failed.and(reporting);
    let saw = reporting.without(failed);
    // At most 32 of them: no overflow.
    let is_clear = |part: AssignmentBits| {
        reporting.count() >= MIN_CLEAR_REPORTS
            && part.count().saturating_mul(3) >= reporting.count().saturating_mul(2)
    };
    if is_clear(failed) {
        saw
    } else if is_clear(saw) {
        failed
    } else {
        AssignmentBits::default()
    }
}
