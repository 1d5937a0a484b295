//! A machine's part in a job: its start, and the ways in which it ends without a result.
//!
//! *Silence is what can be proven.* A machine has to start or to decline in the start window. One that does neither is
//! charged, whatever the reason; one that declines is not, because nobody can show whether the image could be had or the
//! sealed manifest was brought. A place whose manifest was not delivered is cancelled and costs its consumer a bounty,
//! which goes to the treasury: the machine gains nothing by claiming it.

use assay_primitives::{
    clock::{ActiveClock, Millis},
    machine::{MachineId, MachineInspect, MachineLease},
    offence::{Beneficiaries, Offence, ReportOffence},
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
    JobRecordOf, MachineJobs, Manifest, Outcome, Pallet, types::cost,
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_start(worker: &T::AccountId, job: JobId) -> DispatchResult {
        let (machine, record, mut assignment) = Self::assignment_of_worker(worker, job)?;
        let AssignmentState::Starting { deadline_ms } = assignment.state else {
            return Err(Error::<T>::WrongState.into());
        };
        let now_ms = T::Clock::now_ms();
        ensure!(now_ms <= deadline_ms, Error::<T>::TooLate);

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
        let (mut record, assignment) = Self::assignment(job, machine)?;
        ensure!(
            Self::acts_for(who, machine, &assignment.provider),
            Error::<T>::NotProvider
        );
        let AssignmentState::Starting { deadline_ms } = assignment.state else {
            return Err(Error::<T>::WrongState.into());
        };
        // Who speaks too late was silent.
        ensure!(T::Clock::now_ms() <= deadline_ms, Error::<T>::TooLate);
        match reason {
            DeclineReason::CannotRun => {
                Self::vacate(job, &mut record, machine, assignment, Outcome::Declined)?;
            }
            DeclineReason::NotDelivered => {
                ensure!(
                    matches!(record.manifest, Manifest::Sealed { .. }),
                    Error::<T>::ManifestIsPublic
                );
                Self::close_place(job, &mut record, machine, assignment, Outcome::NotDelivered)?;
                Self::pay_bounty(job, &mut record, &T::TreasuryAccount::get());
            }
        }
        Self::put_or_close(job, record)
    }

    pub(crate) fn do_abandon(who: &T::AccountId, job: JobId, machine: MachineId) -> DispatchResult {
        let (mut record, assignment) = Self::assignment(job, machine)?;
        ensure!(
            Self::acts_for(who, machine, &assignment.provider),
            Error::<T>::NotProvider
        );
        let AssignmentState::Running { started_at_ms, .. } = assignment.state else {
            return Err(Error::<T>::WrongState.into());
        };
        let now_ms = T::Clock::now_ms();
        ensure!(
            now_ms <= assignment.run_ends_ms(started_at_ms),
            Error::<T>::TooLate
        );

        // The consumer gets back what was not earned, so that it has lost nothing that the chain could make good, and
        // nobody needs to report what the machine says itself.
        Self::charge(machine, Offence::JobAbandoned, None);
        match record.kind {
            JobKind::Service => {
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
            (AssignmentState::Starting { deadline_ms }, _) => {
                ensure!(now_ms > deadline_ms, Error::<T>::TooEarly);
                let reporter = Some(caller).filter(|caller| !Self::acts_for(caller, machine, &provider));
                Self::charge(machine, Offence::JobAbandoned, reporter.cloned());
                Self::vacate(job, &mut record, machine, assignment, Outcome::NotStarted)?
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

    /// Charges a machine for an offence, in favour of who reported it.
    ///
    /// Before its slots are given back: with the last of them a condemned machine may be gone for good. Whatever comes
    /// of it, the job goes on.
    pub(crate) fn charge(machine: MachineId, offence: Offence, reporter: Option<T::AccountId>) {
        let beneficiaries = Beneficiaries {
            consumer: None,
            reporter,
        };
        let _ = T::Offences::report_offence(machine, offence, beneficiaries)
            .defensive_proof("a machine with leased slots exists");
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
            Self::give_slots_back(record, machine);
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
        Self::forget(job, record, machine, &assignment);
        Self::return_excess(job, record, &mut assignment, 0)?;
        Self::deposit_event(Event::AssignmentClosed {
            job,
            machine,
            outcome,
            paid: assignment.paid,
        });
        Ok(())
    }

    /// Takes a job from a machine that did not start it: its place is open again where machines may still accept the
    /// order, and closed otherwise. Says whether it is closed.
    fn vacate(
        job: JobId,
        record: &mut JobRecordOf<T>,
        machine: MachineId,
        assignment: AssignmentRecordOf<T>,
        outcome: Outcome,
    ) -> Result<bool, DispatchError> {
        if !record.is_open_at(T::Clock::now_ms()) {
            Self::close_place(job, record, machine, assignment, outcome)?;
            return Ok(true);
        }
        Self::forget(job, record, machine, &assignment);
        record.open_places = record
            .open_places
            .checked_add(1)
            .ok_or(ArithmeticError::Overflow)?;
        Self::deposit_event(Event::PlaceReopened {
            job,
            machine,
            outcome,
        });
        Ok(false)
    }

    /// Removes an assignment, whatever is still held for it.
    fn forget(
        job: JobId,
        record: &mut JobRecordOf<T>,
        machine: MachineId,
        assignment: &AssignmentRecordOf<T>,
    ) {
        if assignment.has_slots() {
            Self::give_slots_back(record, machine);
        }
        Assignments::<T>::remove(job, machine);
        MachineJobs::<T>::remove(machine, job);
        record.assignments = record.assignments.saturating_sub(1);
    }

    /// Frees a machine.
    pub(crate) fn give_slots_back(record: &JobRecordOf<T>, machine: MachineId) {
        // The money must come free whatever the registry says, and it can only refuse slots it never gave.
        let _ = T::Machines::release(machine, record.slots)
            .defensive_proof("the slots were leased when the machine was assigned");
    }
}
