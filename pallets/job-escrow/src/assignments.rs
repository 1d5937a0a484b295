//! Starts of assignments, and the ways in which they end without a result.
//!
//! *Nobody is slashed for a job.* A missing image, an undelivered manifest and a crashed workload may be the
//! consumer's doing or the machine's, and the chain cannot tell. `docs/ECONOMICS.md` has the table of costs:
//!
//! - A machine that is silent for the whole start window, although starting and declining are free, leaves
//!   the market until it speaks. Its consumer pays nothing.
//! - A consumer that takes an order back before the start pays for the time for which the machine was
//!   reserved.
//! - A machine that declines is not paid, so that it gains nothing by reserving itself. After a decline that
//!   comes later than a look at the image takes, the consumer pays the reserved time to the treasury: an
//!   image that trickles in does not hold machines for nothing. If the manifest was not delivered, the
//!   consumer also pays a bounty to the treasury.
//! - A service that ends early is paid for its time. Its hold-back goes to the consumer if the machine gave
//!   it up. It goes to the treasury if the consumer disputes that the workload ended by itself, or validators
//!   saw the machine down: neither side gains by accusing the other.

use assay_primitives::{clock::ActiveClock, machine::MachineId};
use polkadot_sdk::{
    frame_support::{ensure, traits::Get},
    sp_runtime::{ArithmeticError, DispatchError, DispatchResult, Rounding},
};

use crate::{
    AssignmentRecordOf, AssignmentState, Config, DeclineReason, Error, Event, JobId, JobKind, Manifest,
    Outcome, Pallet, book::OpenAssignment, types::cost,
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_start(worker: &T::AccountId, job_id: JobId) -> DispatchResult {
        let mut open = Self::check_start(worker, job_id)?;
        let now_ms = T::Clock::now_ms();

        // From here on no other machine takes its place: the money held for a dearer machine goes back.
        let price = cost(
            open.assignment.price_per_slot_hour,
            open.job.slots,
            open.assignment.max_duration_ms,
            Rounding::Up,
        )
        .ok_or(ArithmeticError::Overflow)?;
        open.return_excess(price)?;
        open.assignment.state = AssignmentState::Running {
            started_at_ms: now_ms,
            judged_until_ms: now_ms,
        };
        Self::deposit_event(Event::JobStarted {
            job: job_id,
            machine: open.machine,
            started_at_ms: now_ms,
        });
        // The job's own record stays as it is.
        open.keep();
        Ok(())
    }

    pub(crate) fn do_decline(
        who: &T::AccountId,
        job_id: JobId,
        machine: MachineId,
        reason: DeclineReason,
    ) -> DispatchResult {
        let mut open = Self::check_decline(who, job_id, machine, reason)?;
        let now_ms = T::Clock::now_ms();
        let outcome = match reason {
            DeclineReason::CannotRun => Outcome::Declined,
            DeclineReason::NotDelivered => Outcome::NotDelivered,
        };
        if outcome == Outcome::Declined && open.job.is_open_at(now_ms) {
            return open.reopen(outcome)?.save();
        }
        let grace_ms = open.assignment.start_grace_ms();
        let reserved = open.assignment.reserved_worth(open.job.slots, now_ms, grace_ms);
        open.forfeit(reserved)?;
        let mut open = open.close(outcome)?;
        if outcome == Outcome::NotDelivered {
            open.pay_bounty(&T::TreasuryAccount::get());
        }
        open.save()
    }

    /// Ends a service whose workload ended by itself: its time is paid, and its consumer may dispute it until
    /// then.
    pub(crate) fn do_report_workload_ended(worker: &T::AccountId, job_id: JobId) -> DispatchResult {
        let open = Self::check_workload_ended(worker, job_id)?;
        open.end_run(T::Clock::now_ms(), Outcome::WorkloadEnded)?.save()
    }

    pub(crate) fn do_abandon(who: &T::AccountId, job_id: JobId, machine: MachineId) -> DispatchResult {
        let open = Self::check_abandon(who, job_id, machine)?;
        let open = match open.job.kind {
            JobKind::Service => open.end_run(T::Clock::now_ms(), Outcome::Abandoned)?,
            JobKind::Task { .. } => open.close(Outcome::Abandoned)?,
        };
        open.save()
    }

    pub(crate) fn do_expire(caller: &T::AccountId, job_id: JobId, machine: MachineId) -> DispatchResult {
        let open = OpenAssignment::<T>::load(job_id, machine)?;
        let is_stranger = open.is_stranger(caller);
        let now_ms = T::Clock::now_ms();
        let mut open = match (open.assignment.state, open.job.kind) {
            (AssignmentState::Starting { deadline_ms, .. }, _) => {
                ensure!(now_ms > deadline_ms, Error::<T>::TooEarly);
                if open.job.is_open_at(now_ms) {
                    // Another machine may have the place: nobody is paid for saying so.
                    return open.reopen(Outcome::NotStarted)?.save();
                }
                open.close(Outcome::NotStarted)?
            }
            (AssignmentState::Running { started_at_ms, .. }, kind) => {
                let run_ends_ms = open.assignment.run_ends_ms(started_at_ms);
                ensure!(now_ms > run_ends_ms, Error::<T>::TooEarly);
                match kind {
                    JobKind::Service => open.end_run(run_ends_ms, Outcome::Expired)?,
                    JobKind::Task { .. } => open.close(Outcome::NoResult)?,
                }
            }
            _ => return Err(Error::<T>::WrongState.into()),
        };
        if is_stranger {
            open.pay_bounty(caller);
        }
        open.save()
    }

    /// Returns the assignment of a worker's machine if it may start now.
    pub(crate) fn check_start(
        worker: &T::AccountId,
        job_id: JobId,
    ) -> Result<OpenAssignment<T>, DispatchError> {
        let open = OpenAssignment::<T>::load_of_worker(worker, job_id)?;
        Self::ensure_starting(&open.assignment)?;
        Ok(open)
    }

    /// Returns a machine's assignment if `who` may decline it now for this reason.
    pub(crate) fn check_decline(
        who: &T::AccountId,
        job_id: JobId,
        machine: MachineId,
        reason: DeclineReason,
    ) -> Result<OpenAssignment<T>, DispatchError> {
        let open = OpenAssignment::<T>::load_of_provider(who, job_id, machine)?;
        Self::ensure_starting(&open.assignment)?;
        ensure!(
            reason != DeclineReason::NotDelivered || matches!(open.job.manifest, Manifest::Sealed { .. }),
            Error::<T>::ManifestIsPublic
        );
        Ok(open)
    }

    /// Returns the assignment of a worker's machine if it is of a service that runs and whose time is not
    /// over.
    pub(crate) fn check_workload_ended(
        worker: &T::AccountId,
        job_id: JobId,
    ) -> Result<OpenAssignment<T>, DispatchError> {
        let open = OpenAssignment::<T>::load_of_worker(worker, job_id)?;
        ensure!(open.job.kind == JobKind::Service, Error::<T>::NotService);
        open.running()?;
        Ok(open)
    }

    /// Returns a machine's assignment if `who` may give it up now.
    pub(crate) fn check_abandon(
        who: &T::AccountId,
        job_id: JobId,
        machine: MachineId,
    ) -> Result<OpenAssignment<T>, DispatchError> {
        let open = OpenAssignment::<T>::load_of_provider(who, job_id, machine)?;
        open.running()?;
        Ok(open)
    }

    /// Fails where the machine started, or the time to do so is over: a late decline counts as a missed
    /// start.
    fn ensure_starting(assignment: &AssignmentRecordOf<T>) -> DispatchResult {
        let AssignmentState::Starting { deadline_ms, .. } = assignment.state else {
            return Err(Error::<T>::WrongState.into());
        };
        ensure!(T::Clock::now_ms() <= deadline_ms, Error::<T>::TooLate);
        Ok(())
    }
}
