//! The records of jobs, and a call's view of them while it works.
//!
//! [`JobBook`] alone writes the maps. A call loads an [`OpenJob`], or an [`OpenAssignment`] with its job,
//! changes it, and hands it back: an assignment is kept, ended, closed or reopened, each of which gives its
//! job back, and a job is saved. All of these consume their receiver, so that no record is written twice or
//! left unwritten.

use alloc::vec::Vec;
use core::marker::PhantomData;

use assay_primitives::{
    clock::{ActiveClock, Millis},
    emission::EpochUptime,
    machine::{LeaseEnd, MachineId, MachineInspect, MachineLease},
    market::Requirements,
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        traits::{Defensive, Get, QueryPreimage},
    },
    sp_runtime::{ArithmeticError, DispatchError, DispatchResult},
};

use crate::{
    AssignmentRecordOf, AssignmentState, Assignments, Config, ConsumerJobs, Error, Event, JobId, JobRecordOf,
    Jobs, MachineJobs, Manifest, NextJobId, Outcome, Pallet, Refusals, Requests,
};

/// Owner of the jobs' records and of the lists that follow from them. Nothing else writes any of these maps.
pub(crate) struct JobBook<T>(PhantomData<T>);

impl<T: Config> JobBook<T> {
    /// Gives the next job its identifier.
    pub(crate) fn next_id() -> Result<JobId, DispatchError> {
        let job_id = NextJobId::<T>::get();
        NextJobId::<T>::put(job_id.checked_add(1).ok_or(ArithmeticError::Overflow)?);
        Ok(job_id)
    }

    /// Adds a job to its consumer's list, and its requirements where machines are sought by them.
    pub(crate) fn add_job(job_id: JobId, job: JobRecordOf<T>, requirements: Option<Requirements>) {
        ConsumerJobs::<T>::insert(&job.consumer, job_id, ());
        if let Some(requirements) = requirements {
            Requests::<T>::insert(job_id, requirements);
        }
        Jobs::<T>::insert(job_id, job);
    }

    fn put_job(job_id: JobId, job: JobRecordOf<T>) {
        Jobs::<T>::insert(job_id, job);
    }

    fn remove_job(job_id: JobId, job: &JobRecordOf<T>) {
        Jobs::<T>::remove(job_id);
        ConsumerJobs::<T>::remove(&job.consumer, job_id);
        if job.auction.is_some() {
            Requests::<T>::remove(job_id);
            Refusals::<T>::remove(job_id);
        }
    }

    fn add_assignment(job_id: JobId, machine: MachineId, assignment: AssignmentRecordOf<T>) {
        Assignments::<T>::insert(job_id, machine, assignment);
        MachineJobs::<T>::insert(machine, job_id, ());
    }

    fn put_assignment(job_id: JobId, machine: MachineId, assignment: &AssignmentRecordOf<T>) {
        Assignments::<T>::insert(job_id, machine, assignment);
    }

    fn remove_assignment(job_id: JobId, machine: MachineId) {
        Assignments::<T>::remove(job_id, machine);
        MachineJobs::<T>::remove(machine, job_id);
    }

    /// Remembers that a machine gave a place back. Where as many are remembered as can be, the price alone
    /// has to keep it from gaining by that.
    fn refuse(job_id: JobId, machine: MachineId) {
        let _ = Refusals::<T>::try_append(job_id, machine);
    }
}

/// A job that a call works on.
pub(crate) struct OpenJob<T: Config> {
    /// Its identifier.
    pub(crate) job_id: JobId,
    /// Its record, as it will be saved.
    pub(crate) job: JobRecordOf<T>,
}

impl<T: Config> OpenJob<T> {
    /// Loads a job.
    pub(crate) fn load(job_id: JobId) -> Result<Self, DispatchError> {
        let job = Jobs::<T>::get(job_id).ok_or(Error::<T>::NoSuchJob)?;
        Ok(Self { job_id, job })
    }

    /// Loads a job for its consumer.
    pub(crate) fn load_for(consumer: &T::AccountId, job_id: JobId) -> Result<Self, DispatchError> {
        let open = Self::load(job_id)?;
        ensure!(open.job.consumer == *consumer, Error::<T>::NotConsumer);
        Ok(open)
    }

    /// Loads the job's assignments: at most as many as it has nodes.
    pub(crate) fn assignments(&self) -> Vec<(MachineId, AssignmentRecordOf<T>)> {
        Assignments::<T>::iter_prefix(self.job_id).collect()
    }

    /// Loads the assignment of a machine, and goes on to it.
    fn with_machine(self, machine: MachineId) -> Result<OpenAssignment<T>, DispatchError> {
        let assignment = Assignments::<T>::get(self.job_id, machine).ok_or(Error::<T>::NoSuchAssignment)?;
        Ok(self.with(machine, assignment))
    }

    /// Goes on to one of its assignments.
    pub(crate) fn with(self, machine: MachineId, assignment: AssignmentRecordOf<T>) -> OpenAssignment<T> {
        OpenAssignment {
            job_id: self.job_id,
            job: self.job,
            machine,
            assignment,
        }
    }

    /// Adds the assignment of a machine whose slots are leased.
    pub(crate) fn add(&mut self, machine: MachineId, assignment: AssignmentRecordOf<T>) -> DispatchResult {
        self.job.assignments = self
            .job
            .assignments
            .checked_add(1)
            .ok_or(ArithmeticError::Overflow)?;
        JobBook::<T>::add_assignment(self.job_id, machine, assignment);
        Ok(())
    }

    /// Notes that this number of places will bring no commitment.
    pub(crate) fn decide_places(&mut self, places: u8) {
        if let Some(ballot) = &mut self.job.ballot {
            ballot.undecided = ballot.undecided.saturating_sub(places);
        }
    }

    /// Stores the job, or closes it where nothing is left of it. Lets replicas reveal where no place can
    /// bring a commitment any more.
    pub(crate) fn save(mut self) -> DispatchResult {
        let job_id = self.job_id;
        if self.job.open_places > 0 || self.job.assignments > 0 {
            if let Some(ballot) = &mut self.job.ballot
                && ballot.undecided == 0
                && ballot.reveal_ends_ms.is_none()
            {
                let reveal_ends_ms = T::Clock::now_ms().saturating_add(T::Terms::get().reveal_window_ms);
                ballot.reveal_ends_ms = Some(reveal_ends_ms);
                Pallet::<T>::deposit_event(Event::RevealOpened {
                    job: job_id,
                    reveal_ends_ms,
                });
            }
            JobBook::<T>::put_job(job_id, self.job);
            return Ok(());
        }
        let deposit_returned = self.return_deposit()?;
        JobBook::<T>::remove_job(job_id, &self.job);
        if let Manifest::Public(manifest) = &self.job.manifest {
            T::Preimages::unrequest(&manifest.hash);
        }
        Pallet::<T>::deposit_event(Event::JobClosed {
            job: job_id,
            paid: self.job.paid,
            deposit_returned,
        });
        Ok(())
    }
}

/// A machine's assignment that a call works on, and its job.
pub(crate) struct OpenAssignment<T: Config> {
    /// Identifier of the job.
    pub(crate) job_id: JobId,
    /// Record of the job, as it will be saved.
    pub(crate) job: JobRecordOf<T>,
    /// The machine.
    pub(crate) machine: MachineId,
    /// Record of the assignment, as it will be kept.
    pub(crate) assignment: AssignmentRecordOf<T>,
}

impl<T: Config> OpenAssignment<T> {
    /// Loads a machine's assignment and its job.
    pub(crate) fn load(job_id: JobId, machine: MachineId) -> Result<Self, DispatchError> {
        OpenJob::<T>::load(job_id)?.with_machine(machine)
    }

    /// Loads the assignment of the machine that a worker key acts for.
    pub(crate) fn load_of_worker(worker: &T::AccountId, job_id: JobId) -> Result<Self, DispatchError> {
        let machine = T::Machines::machine_of_worker(worker).ok_or(Error::<T>::NotWorker)?;
        Self::load(job_id, machine)
    }

    /// Loads a machine's assignment for its provider or its worker key.
    pub(crate) fn load_of_provider(
        who: &T::AccountId,
        job_id: JobId,
        machine: MachineId,
    ) -> Result<Self, DispatchError> {
        let open = Self::load(job_id, machine)?;
        ensure!(open.is_provider(who), Error::<T>::NotProvider);
        Ok(open)
    }

    /// Loads a machine's assignment for the job's consumer.
    pub(crate) fn load_for(
        consumer: &T::AccountId,
        job_id: JobId,
        machine: MachineId,
    ) -> Result<Self, DispatchError> {
        OpenJob::<T>::load_for(consumer, job_id)?.with_machine(machine)
    }

    /// Goes back to the job. The assignment was kept or removed.
    fn into_job(self) -> OpenJob<T> {
        OpenJob {
            job_id: self.job_id,
            job: self.job,
        }
    }

    /// Returns true for the machine's provider and its worker key.
    pub(crate) fn is_provider(&self, who: &T::AccountId) -> bool {
        Pallet::<T>::acts_for(who, self.machine, &self.assignment.provider)
    }

    /// Returns true for an account that is no party to the assignment, and so may earn a bounty with it.
    pub(crate) fn is_stranger(&self, who: &T::AccountId) -> bool {
        *who != self.job.consumer && !self.is_provider(who)
    }

    /// Returns when the run began, and the time now. Fails where nothing runs, or the time to run is over.
    pub(crate) fn running(&self) -> Result<(Millis, Millis), DispatchError> {
        let AssignmentState::Running { started_at_ms, .. } = self.assignment.state else {
            return Err(Error::<T>::WrongState.into());
        };
        let now_ms = T::Clock::now_ms();
        ensure!(
            now_ms <= self.assignment.run_ends_ms(started_at_ms),
            Error::<T>::TooLate
        );
        Ok((started_at_ms, now_ms))
    }

    /// Frees the machine, and has the market count how its lease ended.
    pub(crate) fn release_machine(&self, end: LeaseEnd) {
        // A failure that no consumer can bring about lowers the machine's place among the offers too.
        if matches!(end, LeaseEnd::NotStarted | LeaseEnd::Abandoned) {
            T::Uptime::count_failure(self.machine);
        }
        // The money must come free even if the registry fails; it can only refuse slots that it never gave.
        let _ = T::Machines::release(self.machine, self.job.slots, end)
            .defensive_proof("the slots were leased when the machine was assigned");
    }

    /// Keeps the assignment as it is now.
    pub(crate) fn keep(self) -> OpenJob<T> {
        JobBook::<T>::put_assignment(self.job_id, self.machine, &self.assignment);
        self.into_job()
    }

    /// Ends the run of a machine that is paid for its time, as the epochs of it are closed. The machine is
    /// free.
    pub(crate) fn end_run(
        mut self,
        ended_at_ms: Millis,
        outcome: Outcome,
    ) -> Result<OpenJob<T>, DispatchError> {
        let (started_at_ms, judged_until_ms) = match self.assignment.state {
            AssignmentState::Running {
                started_at_ms,
                judged_until_ms,
            } => (started_at_ms, judged_until_ms),
            AssignmentState::Verifying { started_at_ms, .. }
            | AssignmentState::Revealed { started_at_ms, .. } => (started_at_ms, started_at_ms),
            _ => return Err(Error::<T>::WrongState.into()),
        };
        if self.assignment.has_slots() {
            self.release_machine(outcome.lease_end());
        }
        self.assignment.state = AssignmentState::Ended {
            started_at_ms,
            ended_at_ms,
            judged_until_ms,
            outcome,
        };
        let keep = self.assignment.may_still_earn(self.job.slots);
        self.return_excess(keep)?;
        Pallet::<T>::deposit_event(Event::AssignmentEnded {
            job: self.job_id,
            machine: self.machine,
            outcome,
            ended_at_ms,
        });
        Ok(self.keep())
    }

    /// Removes an assignment that is owed nothing more: the rest of its escrow goes back.
    pub(crate) fn close(mut self, outcome: Outcome) -> Result<OpenJob<T>, DispatchError> {
        let is_undecided = self.assignment.has_slots();
        self.remove(outcome);
        self.return_excess(0)?;
        Pallet::<T>::deposit_event(Event::AssignmentClosed {
            job: self.job_id,
            machine: self.machine,
            outcome,
            paid: self.assignment.paid,
        });
        let mut open = self.into_job();
        if is_undecided {
            open.decide_places(1);
        }
        Ok(open)
    }

    /// Takes a place of an open order from a machine that did not start it: others may have it, from the
    /// price on at which this one took it. This one does not get a place of the order again.
    pub(crate) fn reopen(mut self, outcome: Outcome) -> Result<OpenJob<T>, DispatchError> {
        if let (AssignmentState::Starting { risen_ms, .. }, Some(auction)) =
            (self.assignment.state, &mut self.job.auction)
        {
            auction.resume_from(risen_ms, T::Clock::now_ms());
        }
        JobBook::<T>::refuse(self.job_id, self.machine);
        self.remove(outcome);
        self.job.open_places = self
            .job
            .open_places
            .checked_add(1)
            .ok_or(ArithmeticError::Overflow)?;
        Pallet::<T>::deposit_event(Event::PlaceReopened {
            job: self.job_id,
            machine: self.machine,
            outcome,
        });
        // The money for the place stays held: it is the most that any machine can cost.
        Ok(self.into_job())
    }

    /// Removes the assignment's record, even if money is still held for it, and frees the machine where it
    /// still has it.
    fn remove(&mut self, outcome: Outcome) {
        if self.assignment.has_slots() {
            self.release_machine(outcome.lease_end());
        }
        JobBook::<T>::remove_assignment(self.job_id, self.machine);
        self.job.assignments = self.job.assignments.saturating_sub(1);
    }
}
