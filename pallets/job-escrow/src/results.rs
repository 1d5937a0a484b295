//! Results that the consumer verifies.
//!
//! Silence accepts. Nobody can tell whether a rejection is deserved, so neither side gains by it: what a rejected result
//! earned goes to the treasury. The consumer pays as much as for a good one, and the provider has nothing. Likewise where
//! it disputes that a service's workload ended by itself: the hold-back goes to the treasury.

use assay_primitives::{
    clock::{ActiveClock, Millis},
    machine::{LeaseEnd, MachineId},
};
use polkadot_sdk::{
    frame_support::ensure,
    sp_core::H256,
    sp_runtime::{DispatchError, DispatchResult},
};

use crate::{
    AssignmentRecordOf, AssignmentState, Assignments, Config, Error, Event, JobId, JobKind, JobRecordOf,
    Outcome, Pallet, Verification,
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_submit_result(worker: &T::AccountId, job: JobId, result_hash: H256) -> DispatchResult {
        let (machine, record, mut assignment, window_ms) = Self::check_result(worker, job)?;
        let (started_at_ms, now_ms) = Self::running(&assignment)?;

        let window_ends_ms = now_ms.saturating_add(window_ms);
        assignment.state = AssignmentState::Verifying {
            started_at_ms,
            ended_at_ms: now_ms,
            window_ends_ms,
            result_hash,
        };
        Self::give_slots_back(&record, machine, LeaseEnd::Fulfilled);
        Assignments::<T>::insert(job, machine, assignment);
        Self::deposit_event(Event::ResultSubmitted {
            job,
            machine,
            result_hash,
            window_ends_ms,
        });
        Ok(())
    }

    pub(crate) fn do_accept(consumer: &T::AccountId, job: JobId, machine: MachineId) -> DispatchResult {
        let (mut record, assignment) = Self::assignment_for(consumer, job, machine)?;
        let AssignmentState::Verifying { ended_at_ms, .. } = assignment.state else {
            return Err(Error::<T>::WrongState.into());
        };
        Self::end_run(
            job,
            &mut record,
            machine,
            assignment,
            ended_at_ms,
            Outcome::Completed,
        )?;
        Self::put_or_close(job, record)
    }

    pub(crate) fn do_reject(consumer: &T::AccountId, job: JobId, machine: MachineId) -> DispatchResult {
        let (mut record, mut assignment) = Self::assignment_for(consumer, job, machine)?;
        let (started_at_ms, ended_at_ms, window_ends_ms) = match &mut assignment.state {
            AssignmentState::Verifying {
                started_at_ms,
                ended_at_ms,
                window_ends_ms,
                ..
            } => (*started_at_ms, *ended_at_ms, *window_ends_ms),
            AssignmentState::Ended {
                outcome,
                ended_at_ms,
                judged_until_ms,
                ..
            } if *outcome == Outcome::WorkloadEnded => {
                ensure!(*judged_until_ms < *ended_at_ms, Error::<T>::TooLate);
                *outcome = Outcome::Disputed;
                Assignments::<T>::insert(job, machine, assignment);
                Self::deposit_event(Event::EndDisputed { job, machine });
                return Ok(());
            }
            _ => return Err(Error::<T>::WrongState.into()),
        };
        ensure!(T::Clock::now_ms() <= window_ends_ms, Error::<T>::TooLate);
        let worth = assignment.worth(record.slots, started_at_ms, started_at_ms, ended_at_ms);
        Self::forfeit(job, &record, machine, &mut assignment, worth)?;
        Self::close_place(job, &mut record, machine, assignment, Outcome::Rejected)?;
        Self::put_or_close(job, record)
    }

    /// Part of a worker in a task whose result its consumer judges and that may be given now, and the time that the consumer
    /// has for that.
    #[allow(clippy::type_complexity)]
    pub(crate) fn check_result(
        worker: &T::AccountId,
        job: JobId,
    ) -> Result<(MachineId, JobRecordOf<T>, AssignmentRecordOf<T>, Millis), DispatchError> {
        let (machine, record, assignment) = Self::assignment_of_worker(worker, job)?;
        let window_ms = match record.kind {
            JobKind::Service => return Err(Error::<T>::NotTask.into()),
            JobKind::Task {
                verification: Verification::Consumer { window_ms },
            } => window_ms,
            JobKind::Task { .. } => return Err(Error::<T>::OtherVerification.into()),
        };
        Self::running(&assignment)?;
        Ok((machine, record, assignment, window_ms))
    }

    /// A job and a machine's part in it, for the job's consumer.
    fn assignment_for(
        consumer: &T::AccountId,
        job: JobId,
        machine: MachineId,
    ) -> Result<(JobRecordOf<T>, AssignmentRecordOf<T>), DispatchError> {
        ensure!(Self::job(job)?.consumer == *consumer, Error::<T>::NotConsumer);
        Self::assignment(job, machine)
    }
}
