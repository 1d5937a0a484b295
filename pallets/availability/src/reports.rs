//! Reports: their authorization, their effect, and the ones that contradict a clear majority.

use assay_primitives::{
    availability::{AvailabilitySignature, MAX_REPORT_PARTS, ReportDue, report_message},
    clock::{ActiveClock, EpochIndex},
    emission::{EpochUptime, EpochWeights},
    machine::{MachineId, MachineInspect},
};
use polkadot_sdk::{
    frame_support::{defensive, ensure, traits::Get, weights::Weight},
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
    MIN_CLEAR_REPORTS, MIN_OUTAGE_MACHINES, NOT_ASSIGNED, NOT_NEXT_PART, Pallet, UnfinishedReport,
    ValidatorSets, assignment::place_of, types::AssignmentBits,
};

/// Priority of reports: they are few and have a deadline, so they go before all transactions that pay a fee.
const REPORT_PRIORITY: TransactionPriority = TransactionPriority::MAX / 2;

/// Number of blocks after which a pool may drop a report; the validator sends it again.
const REPORT_LONGEVITY_BLOCKS: u64 = 64;

impl<T: Config> Pallet<T> {
    /// Authorizes a report: applies [`Self::check_report`], and verifies the validator's signature and
    /// assignments.
    pub(crate) fn authorize_report(
        epoch: EpochIndex,
        validator_index: u32,
        after: Option<MachineId>,
        failures: &[MachineId],
        signature: &AvailabilitySignature,
    ) -> TransactionValidityWithRefund {
        let record = Self::check_report(epoch, validator_index, after, failures).map_err(Self::invalid)?;
        let validators = ValidatorSets::<T>::get(record.set);
        let (_, key) = validators
            .get(validator_index as usize)
            .ok_or(InvalidTransaction::BadSigner)?;
        let genesis_hash = frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::zero());
        let message = report_message(genesis_hash.as_ref(), epoch, validator_index, after, failures);
        // Before the assignments, whose work grows with the list: only a validator may cause it.
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
            .and_provides((epoch, validator_index, after))
            .longevity(REPORT_LONGEVITY_BLOCKS)
            .propagate(true)
            .build()
            .map(|valid| (valid, Weight::zero()))
    }

    /// Translates an error to the code that a transaction pool gets.
    fn invalid(error: Error<T>) -> InvalidTransaction {
        match error {
            Error::EpochOver => InvalidTransaction::Stale,
            Error::EpochNotEnded => InvalidTransaction::Future,
            Error::NotValidator => InvalidTransaction::BadSigner,
            Error::AlreadyReported => InvalidTransaction::Custom(ALREADY_REPORTED),
            Error::FailuresNotSorted => InvalidTransaction::Custom(FAILURES_NOT_SORTED),
            Error::NotAssigned => InvalidTransaction::Custom(NOT_ASSIGNED),
            Error::NotNextPart => InvalidTransaction::Custom(NOT_NEXT_PART),
            _ => InvalidTransaction::Call,
        }
    }

    /// Returns the record of the report's epoch, if this part of the report is acceptable. Applies only the
    /// checks without storage reads or draws for each failure.
    fn check_report(
        epoch: EpochIndex,
        validator_index: u32,
        after: Option<MachineId>,
        failures: &[MachineId],
    ) -> Result<EpochRecordOf<T>, Error<T>> {
        ensure!(epoch < T::Clock::current_epoch(), Error::<T>::EpochNotEnded);
        ensure!(!Self::is_closed(epoch), Error::<T>::EpochOver);
        let record = EpochRecords::<T>::get(epoch).ok_or(Error::<T>::NotValidator)?;
        ensure!(validator_index < record.validators, Error::<T>::NotValidator);
        if record.reported.contains(validator_index) {
            let before = record
                .unfinished_of(validator_index)
                .filter(|part| part.parts < MAX_REPORT_PARTS && after.is_some())
                .ok_or(Error::<T>::AlreadyReported)?;
            ensure!(after == Some(before.last), Error::<T>::NotNextPart);
        } else {
            ensure!(after.is_none(), Error::<T>::NotNextPart);
        }
        let follows = after.is_none_or(|last| failures.first().is_none_or(|first| *first > last));
        ensure!(
            follows && failures.is_sorted_by(|left, right| left < right),
            Error::<T>::FailuresNotSorted
        );
        Ok(record)
    }

    /// Records a report, or a part of one, whose signature was checked.
    pub(crate) fn do_report(
        epoch: EpochIndex,
        validator_index: u32,
        after: Option<MachineId>,
        failures: &[MachineId],
    ) -> DispatchResult {
        let mut record = Self::check_report(epoch, validator_index, after, failures)?;
        record.reported.insert(validator_index);
        Self::note_part(&mut record, validator_index, failures);
        let needed = record.needed_to_be_down();
        let mut counted: u32 = 0;
        for machine in failures {
            let place =
                place_of(&record.assigned(*machine), validator_index).ok_or(Error::<T>::NotAssigned)?;
            // Any status counts: retiring or losing its proof does not undo a machine's failure. Nothing is
            // kept for machines that do not exist, so that no validator can fill the state with them.
            if T::Machines::status(*machine).is_none() {
                continue;
            }
            let failed = Failures::<T>::mutate(epoch, machine, |failed| {
                failed.insert(place);
                *failed
            });
            if failed.count() == needed {
                let weight = T::Weights::weight_in(*machine, epoch);
                record.down_machines = record.down_machines.saturating_add(1);
                record.down_weight = record.down_weight.saturating_add(weight.into());
            }
            counted = counted.saturating_add(1);
        }
        // The weight that is down only grows, and the epoch's whole weight does not change any more.
        record.is_outage = record.down_machines >= MIN_OUTAGE_MACHINES
            && record.down_weight.saturating_mul(3) > T::Weights::total_weight_in(epoch);
        EpochRecords::<T>::insert(epoch, record);
        Self::deposit_event(Event::ReportReceived {
            epoch,
            validator_index,
            failures: counted,
        });
        Ok(())
    }

    /// Records the part as one that may be continued if its list is full.
    fn note_part(record: &mut EpochRecordOf<T>, validator_index: u32, failures: &[MachineId]) {
        let parts = record
            .unfinished_of(validator_index)
            .map_or(1, |before| before.parts.saturating_add(1));
        record
            .unfinished
            .retain(|part| part.validator_index != validator_index);
        let Some(last) = failures
            .last()
            .filter(|_| failures.len() >= T::MaxFailuresPerReport::get() as usize)
        else {
            return;
        };
        let part = UnfinishedReport {
            validator_index,
            parts,
            last: *last,
        };
        if record.unfinished.try_push(part).is_err() {
            defensive!("more reports are unfinished than there are validators");
        }
    }

    /// Returns true for a machine that validators watch: one that is in the market or leased, or was in an
    /// epoch that is not closed.
    pub fn is_watched(machine: MachineId) -> bool {
        T::Machines::is_watched(machine)
    }

    /// Returns the report, or the next part of it, that the holder of `key` still owes.
    pub fn report_due(key: &assay_primitives::availability::AvailabilityId) -> Option<ReportDue> {
        let epoch = T::Clock::current_epoch().checked_sub(1)?;
        let validator_index = Self::validator_index(epoch, key)?;
        let record = EpochRecords::<T>::get(epoch)?;
        let unfinished = record
            .unfinished_of(validator_index)
            .filter(|part| part.parts < MAX_REPORT_PARTS);
        let is_due = !record.reported.contains(validator_index) || unfinished.is_some();
        is_due.then(|| ReportDue {
            epoch,
            validator_index,
            after: unfinished.map(|part| part.last),
            max_failures: T::MaxFailuresPerReport::get(),
        })
    }

    /// Returns the index of the holder of `key` among the validators of an epoch that is not settled.
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

    /// Marks the reports that contradict a clear majority about a machine with failures in the epoch.
    ///
    /// About all other machines the reports agree.
    pub(crate) fn judge(epoch: EpochIndex, machine: MachineId, failed: AssignmentBits) {
        let Some(mut record) = EpochRecords::<T>::get(epoch) else {
            return;
        };
        let assigned = record.assigned(machine);
        let dissenting = dissenting(record.reporting(machine, &assigned), failed);
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

/// Returns the validators that contradict a clear majority: at least two thirds of at least
/// [`MIN_CLEAR_REPORTS`] reports.
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
