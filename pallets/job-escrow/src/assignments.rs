//! A machine's part in a job: its start, and the ways in which it ends without a result.
//!
//! *Nobody is slashed for a job.* Whether an image could be had, a sealed manifest was brought or a workload crashed may be
//! the consumer's doing or the machine's, and the chain cannot tell. `docs/ECONOMICS.md` has who bears what:
//!
//! - A machine that is silent for the whole start window, although starting and declining are free, is out of the market
//!   until it speaks. Its consumer pays nothing.
//! - Who takes an order back before it started pays for the time for which the machine was reserved.
//! - A machine that declines is not paid, so that it gains nothing by reserving itself. Where it declined later than a look
//!   at the image takes, the reserved time goes to the treasury: an image that trickles in does not hold machines for
//!   nothing. A place whose manifest was not delivered costs its consumer a bounty besides, which goes there too.
//! - A service that ends early is paid for its time. Its hold-back goes to the consumer where the machine gave it up, and to
//!   the treasury where the consumer disputes that the workload ended by itself or validators saw the machine down: neither
//!   side gains by what it says of the other.

use assay_primitives::{
    clock::{ActiveClock, Millis},
    emission::EpochUptime,
    machine::{LeaseEnd, MachineId, MachineInspect, MachineLease},
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        traits::{Defensive, Get},
    },
    sp_runtime::{ArithmeticError, DispatchError, DispatchResult, Rounding},
};

use crate::{
    AssignmentRecordOf, AssignmentState, Assignments, Config, DeclineReason, Error, Event, JobId, JobKind,
    JobRecordOf, MachineJobs, Manifest, Outcome, Pallet, Refusals, types::cost,
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_start(worker: &T::AccountId, job: JobId) -> DispatchResult {
        let (machine, record, mut assignment) = Self::check_start(worker, job)?;
        let now_ms = T::Clock::now_ms();

        // From here on nobody takes its place: what was held for a dearer machine goes back.
        let price = cost(
            assignment.price_per_slot_hour,
            record.slots,
            assignment.max_duration_ms,
            Rounding::Up,
        )
        .ok_or(ArithmeticError::Overflow)?;
        Self::return_excess(job, &record, &mut assignment, price)?;
        assignment.state = AssignmentState::Running {
            started_at_ms: now_ms,
            judged_until_ms: now_ms,
        };
        Assignments::<T>::insert(job, machine, assignment);
        Self::deposit_event(Event::JobStarted {
            job,
            machine,
            started_at_ms: now_ms,
        });
        Ok(())
    }

    pub(crate) fn do_decline(
        who: &T::AccountId,
        job: JobId,
        machine: MachineId,
        reason: DeclineReason,
    ) -> DispatchResult {
        let (mut record, mut assignment) = Self::check_decline(who, job, machine, reason)?;
        let outcome = match reason {
            DeclineReason::CannotRun => Outcome::Declined,
            DeclineReason::NotDelivered => Outcome::NotDelivered,
        };
        let may_reopen = outcome == Outcome::Declined && record.is_open_at(T::Clock::now_ms());
        if may_reopen {
            Self::reopen_place(job, &mut record, machine, assignment, outcome)?;
        } else {
            let (now_ms, grace_ms) = (T::Clock::now_ms(), assignment.start_grace_ms());
            let reserved = assignment.reserved_worth(record.slots, now_ms, grace_ms);
            Self::forfeit(job, &record, machine, &mut assignment, reserved)?;
            Self::close_place(job, &mut record, machine, assignment, outcome)?;
        }
        if outcome == Outcome::NotDelivered {
            Self::pay_bounty(job, &mut record, &T::TreasuryAccount::get());
        }
        Self::put_or_close(job, record)
    }

    /// Ends a service whose workload ended by itself: its time is paid, and its consumer may dispute it until then.
    pub(crate) fn do_report_workload_ended(worker: &T::AccountId, job: JobId) -> DispatchResult {
        let (machine, mut record, assignment) = Self::check_workload_ended(worker, job)?;
        let now_ms = T::Clock::now_ms();
        Self::end_run(
            job,
            &mut record,
            machine,
            assignment,
            now_ms,
            Outcome::WorkloadEnded,
        )?;
        Self::put_or_close(job, record)
    }

    pub(crate) fn do_abandon(who: &T::AccountId, job: JobId, machine: MachineId) -> DispatchResult {
        let (mut record, assignment) = Self::check_abandon(who, job, machine)?;
        match record.kind {
            JobKind::Service => {
                let now_ms = T::Clock::now_ms();
                Self::end_run(job, &mut record, machine, assignment, now_ms, Outcome::Abandoned)?;
            }
            JobKind::Task { .. } => {
                Self::close_place(job, &mut record, machine, assignment, Outcome::Abandoned)?;
            }
        }
        Self::put_or_close(job, record)
    }

    pub(crate) fn do_expire(caller: &T::AccountId, job: JobId, machine: MachineId) -> DispatchResult {
        let (mut record, assignment) = Self::assignment(job, machine)?;
        let provider = assignment.provider.clone();
        let now_ms = T::Clock::now_ms();
        let is_closed = match (assignment.state, record.kind) {
            (AssignmentState::Starting { deadline_ms, .. }, _) => {
                ensure!(now_ms > deadline_ms, Error::<T>::TooEarly);
                let is_closed = !record.is_open_at(now_ms);
                if is_closed {
                    Self::close_place(job, &mut record, machine, assignment, Outcome::NotStarted)?;
                } else {
                    Self::reopen_place(job, &mut record, machine, assignment, Outcome::NotStarted)?;
                }
                is_closed
            }
            (AssignmentState::Running { started_at_ms, .. }, kind) => {
                let run_ends_ms = assignment.run_ends_ms(started_at_ms);
                ensure!(now_ms > run_ends_ms, Error::<T>::TooEarly);
                match kind {
                    JobKind::Service => Self::end_run(
                        job,
                        &mut record,
                        machine,
                        assignment,
                        run_ends_ms,
                        Outcome::Expired,
                    )?,
                    JobKind::Task { .. } => {
                        Self::close_place(job, &mut record, machine, assignment, Outcome::NoResult)?;
                    }
                }
                true
            }
            _ => return Err(Error::<T>::WrongState.into()),
        };
        if is_closed {
            Self::pay_caller(job, &mut record, caller, machine, &provider);
        }
        Self::put_or_close(job, record)
    }

    /// A job and a machine's part in it.
    pub(crate) fn assignment(
        job: JobId,
        machine: MachineId,
    ) -> Result<(JobRecordOf<T>, AssignmentRecordOf<T>), DispatchError> {
        let record = Self::job(job)?;
        let assignment = Assignments::<T>::get(job, machine).ok_or(Error::<T>::NoSuchAssignment)?;
        Ok((record, assignment))
    }

    /// A job and the part in it of the machine that a worker key acts for.
    pub(crate) fn assignment_of_worker(
        worker: &T::AccountId,
        job: JobId,
    ) -> Result<(MachineId, JobRecordOf<T>, AssignmentRecordOf<T>), DispatchError> {
        let machine = T::Machines::machine_of_worker(worker).ok_or(Error::<T>::NotWorker)?;
        let (record, assignment) = Self::assignment(job, machine)?;
        Ok((machine, record, assignment))
    }

    /// Part of a worker in a job that it may start now.
    pub(crate) fn check_start(
        worker: &T::AccountId,
        job: JobId,
    ) -> Result<(MachineId, JobRecordOf<T>, AssignmentRecordOf<T>), DispatchError> {
        let (machine, record, assignment) = Self::assignment_of_worker(worker, job)?;
        Self::ensure_starting(&assignment)?;
        Ok((machine, record, assignment))
    }

    /// A job and a machine's part in it that `who` may decline now for this reason.
    pub(crate) fn check_decline(
        who: &T::AccountId,
        job: JobId,
        machine: MachineId,
        reason: DeclineReason,
    ) -> Result<(JobRecordOf<T>, AssignmentRecordOf<T>), DispatchError> {
        let (record, assignment) = Self::assignment(job, machine)?;
        ensure!(
            Self::acts_for(who, machine, &assignment.provider),
            Error::<T>::NotProvider
        );
        Self::ensure_starting(&assignment)?;
        ensure!(
            reason != DeclineReason::NotDelivered || matches!(record.manifest, Manifest::Sealed { .. }),
            Error::<T>::ManifestIsPublic
        );
        Ok((record, assignment))
    }

    /// Part of a worker in a service that runs and whose time is not over.
    pub(crate) fn check_workload_ended(
        worker: &T::AccountId,
        job: JobId,
    ) -> Result<(MachineId, JobRecordOf<T>, AssignmentRecordOf<T>), DispatchError> {
        let (machine, record, assignment) = Self::assignment_of_worker(worker, job)?;
        ensure!(record.kind == JobKind::Service, Error::<T>::NotService);
        Self::running(&assignment)?;
        Ok((machine, record, assignment))
    }

    /// A job and a machine's part in it that `who` may give up now.
    pub(crate) fn check_abandon(
        who: &T::AccountId,
        job: JobId,
        machine: MachineId,
    ) -> Result<(JobRecordOf<T>, AssignmentRecordOf<T>), DispatchError> {
        let (record, assignment) = Self::assignment(job, machine)?;
        ensure!(
            Self::acts_for(who, machine, &assignment.provider),
            Error::<T>::NotProvider
        );
        Self::running(&assignment)?;
        Ok((record, assignment))
    }

    /// Fails where the machine started, or the time to do so is over: who speaks too late was silent.
    fn ensure_starting(assignment: &AssignmentRecordOf<T>) -> DispatchResult {
        let AssignmentState::Starting { deadline_ms, .. } = assignment.state else {
            return Err(Error::<T>::WrongState.into());
        };
        ensure!(T::Clock::now_ms() <= deadline_ms, Error::<T>::TooLate);
        Ok(())
    }

    /// When a run began whose time is not over, and what time it is.
    pub(crate) fn running(assignment: &AssignmentRecordOf<T>) -> Result<(Millis, Millis), DispatchError> {
        let AssignmentState::Running { started_at_ms, .. } = assignment.state else {
            return Err(Error::<T>::WrongState.into());
        };
        let now_ms = T::Clock::now_ms();
        ensure!(
            now_ms <= assignment.run_ends_ms(started_at_ms),
            Error::<T>::TooLate
        );
        Ok((started_at_ms, now_ms))
    }

    /// Frees a machine that will be paid for its time, as the epochs of it are closed.
    pub(crate) fn end_run(
        job: JobId,
        record: &mut JobRecordOf<T>,
        machine: MachineId,
        mut assignment: AssignmentRecordOf<T>,
        ended_at_ms: Millis,
        outcome: Outcome,
    ) -> DispatchResult {
        let (started_at_ms, judged_until_ms) = match assignment.state {
            AssignmentState::Running {
                started_at_ms,
                judged_until_ms,
            } => (started_at_ms, judged_until_ms),
            AssignmentState::Verifying { started_at_ms, .. }
            | AssignmentState::Revealed { started_at_ms, .. } => (started_at_ms, started_at_ms),
            _ => return Err(Error::<T>::WrongState.into()),
        };
        if assignment.has_slots() {
            Self::give_slots_back(record, machine, outcome.lease_end());
        }
        assignment.state = AssignmentState::Ended {
            started_at_ms,
            ended_at_ms,
            judged_until_ms,
            outcome,
        };
        let keep = assignment.may_still_earn(record.slots);
        Self::return_excess(job, record, &mut assignment, keep)?;
        Assignments::<T>::insert(job, machine, assignment);
        Self::deposit_event(Event::AssignmentEnded {
            job,
            machine,
            outcome,
            ended_at_ms,
        });
        Ok(())
    }

    /// Forgets an assignment that is owed nothing more: what is left of its escrow goes back.
    pub(crate) fn close_place(
        job: JobId,
        record: &mut JobRecordOf<T>,
        machine: MachineId,
        mut assignment: AssignmentRecordOf<T>,
        outcome: Outcome,
    ) -> DispatchResult {
        if matches!(
            assignment.state,
            AssignmentState::Starting { .. } | AssignmentState::Running { .. }
        ) {
            Self::decide_places(record, 1);
        }
        Self::forget(job, record, machine, &assignment, outcome);
        Self::return_excess(job, record, &mut assignment, 0)?;
        Self::deposit_event(Event::AssignmentClosed {
            job,
            machine,
            outcome,
            paid: assignment.paid,
        });
        Ok(())
    }

    /// Takes a place of an open order from a machine that did not start it: others may have it, from the price on at which
    /// this one took it. This one does not get a place of the order again.
    fn reopen_place(
        job: JobId,
        record: &mut JobRecordOf<T>,
        machine: MachineId,
        assignment: AssignmentRecordOf<T>,
        outcome: Outcome,
    ) -> DispatchResult {
        if let (AssignmentState::Starting { risen_ms, .. }, Some(auction)) =
            (assignment.state, &mut record.auction)
        {
            auction.resume_from(risen_ms, T::Clock::now_ms());
        }
        // Where so many are remembered already, the price alone has to do.
        let _ = Refusals::<T>::try_append(job, machine);
        Self::forget(job, record, machine, &assignment, outcome);
        record.open_places = record
            .open_places
            .checked_add(1)
            .ok_or(ArithmeticError::Overflow)?;
        Self::deposit_event(Event::PlaceReopened {
            job,
            machine,
            outcome,
        });
        Ok(())
    }

    /// Removes an assignment, whatever is still held for it.
    fn forget(
        job: JobId,
        record: &mut JobRecordOf<T>,
        machine: MachineId,
        assignment: &AssignmentRecordOf<T>,
        outcome: Outcome,
    ) {
        if assignment.has_slots() {
            Self::give_slots_back(record, machine, outcome.lease_end());
        }
        Assignments::<T>::remove(job, machine);
        MachineJobs::<T>::remove(machine, job);
        record.assignments = record.assignments.saturating_sub(1);
    }

    /// Frees a machine, and has the market count how its lease ended.
    pub(crate) fn give_slots_back(record: &JobRecordOf<T>, machine: MachineId, end: LeaseEnd) {
        // What no consumer can bring about tells in the machine's place among the offers too.
        if matches!(end, LeaseEnd::NotStarted | LeaseEnd::Abandoned) {
            T::Uptime::count_failure(machine);
        }
        // The money must come free whatever the registry says, and it can only refuse slots it never gave.
        let _ = T::Machines::release(machine, record.slots, end)
            .defensive_proof("the slots were leased when the machine was assigned");
    }
}
