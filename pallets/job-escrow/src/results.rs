//! Results that the consumer verifies.
//!
//! Silence accepts. Nobody can tell whether a rejection is deserved, so neither side gains by it: the
//! earnings of a rejected result go to the treasury. The consumer pays as much as for a good one, and the
//! provider has nothing. Likewise where it disputes that a service's workload ended by itself: the hold-back
//! goes to the treasury.

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
    AssignmentState, Config, Error, Event, JobId, JobKind, Outcome, Pallet, Verification,
    book::OpenAssignment,
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_submit_result(
        worker: &T::AccountId,
        job_id: JobId,
        result_hash: H256,
    ) -> DispatchResult {
        let mut open = Self::check_result(worker, job_id)?;
        let (started_at_ms, now_ms) = open.running()?;
        let window_ends_ms = now_ms.saturating_add(Self::consumer_window_ms(open.job.kind)?);
        open.release_machine(LeaseEnd::Fulfilled);
        open.assignment.state = AssignmentState::Verifying {
            started_at_ms,
            ended_at_ms: now_ms,
            window_ends_ms,
            result_hash,
        };
        Self::deposit_event(Event::ResultSubmitted {
            job: job_id,
            machine: open.machine,
            result_hash,
            window_ends_ms,
        });
        // The job's own record stays as it is.
        open.keep();
        Ok(())
    }

    pub(crate) fn do_accept(consumer: &T::AccountId, job_id: JobId, machine: MachineId) -> DispatchResult {
        let open = OpenAssignment::<T>::load_for(consumer, job_id, machine)?;
        let AssignmentState::Verifying { ended_at_ms, .. } = open.assignment.state else {
            return Err(Error::<T>::WrongState.into());
        };
        open.end_run(ended_at_ms, Outcome::Completed)?.save()
    }

    pub(crate) fn do_reject(consumer: &T::AccountId, job_id: JobId, machine: MachineId) -> DispatchResult {
        let open = OpenAssignment::<T>::load_for(consumer, job_id, machine)?;
        match open.assignment.state {
            AssignmentState::Verifying { .. } => Self::reject_result(open),
            AssignmentState::Ended {
                outcome: Outcome::WorkloadEnded,
                ..
            } => Self::dispute_end(open),
            _ => Err(Error::<T>::WrongState.into()),
        }
    }

    /// Sends a task's earnings to the treasury, and closes its assignment.
    fn reject_result(mut open: OpenAssignment<T>) -> DispatchResult {
        let AssignmentState::Verifying {
            started_at_ms,
            ended_at_ms,
            window_ends_ms,
            ..
        } = open.assignment.state
        else {
            return Err(Error::<T>::WrongState.into());
        };
        ensure!(T::Clock::now_ms() <= window_ends_ms, Error::<T>::TooLate);
        let worth = open
            .assignment
            .worth(open.job.slots, started_at_ms, started_at_ms, ended_at_ms);
        open.forfeit(worth)?;
        open.close(Outcome::Rejected)?.save()
    }

    /// Notes that a consumer disputes that a service's workload ended by itself. Its last settlement acts on
    /// it.
    fn dispute_end(mut open: OpenAssignment<T>) -> DispatchResult {
        let is_judged = open.assignment.is_judged();
        let AssignmentState::Ended { outcome, .. } = &mut open.assignment.state else {
            return Err(Error::<T>::WrongState.into());
        };
        ensure!(!is_judged, Error::<T>::TooLate);
        *outcome = Outcome::Disputed;
        Self::deposit_event(Event::EndDisputed {
            job: open.job_id,
            machine: open.machine,
        });
        // The job's own record stays as it is.
        open.keep();
        Ok(())
    }

    /// Returns the assignment of a worker's machine if it may give the result of its task to the consumer
    /// now.
    pub(crate) fn check_result(
        worker: &T::AccountId,
        job_id: JobId,
    ) -> Result<OpenAssignment<T>, DispatchError> {
        let open = OpenAssignment::<T>::load_of_worker(worker, job_id)?;
        Self::consumer_window_ms(open.job.kind)?;
        open.running()?;
        Ok(open)
    }

    /// Returns the time that a consumer has to look at a result, in milliseconds. Fails for a job of which no
    /// consumer judges a result.
    fn consumer_window_ms(kind: JobKind) -> Result<Millis, Error<T>> {
        match kind {
            JobKind::Service => Err(Error::<T>::NotTask),
            JobKind::Task {
                verification: Verification::Consumer { window_ms },
            } => Ok(window_ms),
            JobKind::Task { .. } => Err(Error::<T>::OtherVerification),
        }
    }
}
