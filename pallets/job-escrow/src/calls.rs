//! What the calls do, once their origin is known.

use assay_primitives::{
    clock::ActiveClock,
    machine::{MachineInspect, MachineLease},
    offence::{Beneficiaries, Offence, ReportOffence},
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        traits::{Defensive, Get, QueryPreimage},
    },
    sp_core::H256,
    sp_runtime::{ArithmeticError, DispatchError, DispatchResult, Rounding},
};

use crate::{
    Config, ConsumerJobs, Error, Event, JobId, JobKind, JobOrder, JobOutcome, JobRecord, JobState, Jobs,
    MachineJobs, NextJobId, Pallet, types::cost,
};

impl<T: Config> Pallet<T> {
    /// Leases the slots, holds the price and opens the job.
    pub(crate) fn do_deploy(consumer: T::AccountId, order: JobOrder) -> DispatchResult {
        ensure!(order.slots > 0, Error::<T>::NoSlots);
        ensure!(
            (T::MinDurationMs::get()..=T::MaxDurationMs::get()).contains(&order.max_duration_ms),
            Error::<T>::BadDuration
        );
        ensure!(
            order.manifest.length_bytes <= T::MaxManifestBytes::get(),
            Error::<T>::ManifestTooLarge
        );
        ensure!(
            T::Preimages::len(&order.manifest.hash) == Some(order.manifest.length_bytes),
            Error::<T>::ManifestMissing
        );

        let terms = T::Machines::lease(order.machine, order.slots)?;
        ensure!(
            terms.price_per_slot_hour <= order.max_price_per_slot_hour,
            Error::<T>::PriceTooLow
        );
        let escrowed = cost(
            terms.price_per_slot_hour,
            order.slots,
            order.max_duration_ms,
            Rounding::Up,
        )
        .ok_or(ArithmeticError::Overflow)?;
        Self::hold_escrow(&consumer, escrowed)?;
        T::Preimages::request(&order.manifest.hash);

        let job = NextJobId::<T>::get();
        NextJobId::<T>::put(job.checked_add(1).ok_or(ArithmeticError::Overflow)?);
        let now_ms = T::Clock::now_ms();
        let start_deadline_ms = now_ms.saturating_add(T::StartWindowMs::get());
        Jobs::<T>::insert(
            job,
            JobRecord {
                consumer: consumer.clone(),
                provider: terms.provider,
                machine: order.machine,
                slots: order.slots,
                kind: order.kind,
                manifest: order.manifest,
                image_digest: order.image_digest,
                price_per_slot_hour: terms.price_per_slot_hour,
                max_duration_ms: order.max_duration_ms,
                escrowed,
                paid: 0,
                state: JobState::Starting {
                    deadline_ms: start_deadline_ms,
                },
                created_at_ms: now_ms,
            },
        );
        MachineJobs::<T>::insert(order.machine, job, ());
        ConsumerJobs::<T>::insert(&consumer, job, ());
        Self::deposit_event(Event::JobDeployed {
            job,
            consumer,
            machine: order.machine,
            slots: order.slots,
            kind: order.kind,
            price_per_slot_hour: terms.price_per_slot_hour,
            escrowed,
            start_deadline_ms,
        });
        Ok(())
    }

    /// Starts the job and with it the meter.
    pub(crate) fn do_start(worker: &T::AccountId, job: JobId) -> DispatchResult {
        let mut record = Self::open_job(job)?;
        Self::ensure_worker(worker, &record)?;
        let JobState::Starting { deadline_ms } = record.state else {
            return Err(Error::<T>::WrongState.into());
        };
        let now_ms = T::Clock::now_ms();
        ensure!(now_ms <= deadline_ms, Error::<T>::TooLate);

        record.state = JobState::Running {
            started_at_ms: now_ms,
            settled_until_ms: now_ms,
        };
        Self::deposit_event(Event::JobStarted {
            job,
            machine: record.machine,
            started_at_ms: now_ms,
        });
        Jobs::<T>::insert(job, record);
        Ok(())
    }

    /// Notes a task's result and opens the consumer's window.
    pub(crate) fn do_submit_result(worker: &T::AccountId, job: JobId, result_hash: H256) -> DispatchResult {
        let mut record = Self::open_job(job)?;
        Self::ensure_worker(worker, &record)?;
        ensure!(record.kind == JobKind::Task, Error::<T>::NotTask);
        let JobState::Running { started_at_ms, .. } = record.state else {
            return Err(Error::<T>::WrongState.into());
        };
        let now_ms = T::Clock::now_ms();
        ensure!(now_ms <= record.run_ends_ms(started_at_ms), Error::<T>::TooLate);

        let window_ends_ms = now_ms.saturating_add(T::ConsumerWindowMs::get());
        record.state = JobState::Verifying {
            started_at_ms,
            ended_at_ms: now_ms,
            window_ends_ms,
            result_hash,
        };
        Self::deposit_event(Event::ResultSubmitted {
            job,
            machine: record.machine,
            result_hash,
            window_ends_ms,
        });
        Jobs::<T>::insert(job, record);
        Ok(())
    }

    /// Accepts a task's result for its consumer.
    pub(crate) fn do_accept(consumer: &T::AccountId, job: JobId) -> DispatchResult {
        let record = Self::open_job(job)?;
        ensure!(record.consumer == *consumer, Error::<T>::NotConsumer);
        ensure!(
            matches!(record.state, JobState::Verifying { .. }),
            Error::<T>::WrongState
        );
        Self::close_job(job, record, JobOutcome::Completed)
    }

    /// Cancels or ends a job for its consumer.
    pub(crate) fn do_close(consumer: &T::AccountId, job: JobId) -> DispatchResult {
        let record = Self::open_job(job)?;
        ensure!(record.consumer == *consumer, Error::<T>::NotConsumer);
        let outcome = match (record.state, record.kind) {
            (JobState::Starting { .. }, _) => JobOutcome::Cancelled,
            (JobState::Running { .. }, JobKind::Service) => JobOutcome::ClosedByConsumer,
            (JobState::Running { .. }, JobKind::Task) => return Err(Error::<T>::TaskRunning.into()),
            (JobState::Verifying { .. }, _) => return Err(Error::<T>::WrongState.into()),
        };
        Self::close_job(job, record, outcome)
    }

    /// Pays what a service has earned since it was last paid, or what a task's silent consumer owes.
    pub(crate) fn do_settle(job: JobId) -> DispatchResult {
        let mut record = Self::open_job(job)?;
        let now_ms = T::Clock::now_ms();
        match (record.state, record.kind) {
            (JobState::Running { started_at_ms, .. }, JobKind::Service) => {
                let due = record.due_at(now_ms);
                ensure!(due > 0, Error::<T>::NothingDue);
                // A stream can wait for an account to come to life; only closing cannot.
                Self::ensure_provider_receives(&record, due)?;
                Self::pay(job, &mut record, due)?;
                let settled_until_ms = now_ms.min(record.run_ends_ms(started_at_ms));
                record.state = JobState::Running {
                    started_at_ms,
                    settled_until_ms,
                };
                Jobs::<T>::insert(job, record);
                Ok(())
            }
            (JobState::Verifying { window_ends_ms, .. }, _) => {
                ensure!(now_ms > window_ends_ms, Error::<T>::TooEarly);
                Self::close_job(job, record, JobOutcome::Completed)
            }
            (JobState::Starting { .. }, _) | (JobState::Running { .. }, JobKind::Task) => {
                Err(Error::<T>::WrongState.into())
            }
        }
    }

    /// Closes a job whose time to start or to run is over.
    pub(crate) fn do_expire(job: JobId) -> DispatchResult {
        let record = Self::open_job(job)?;
        let (deadline_ms, outcome) = match (record.state, record.kind) {
            (JobState::Starting { deadline_ms }, _) => (deadline_ms, JobOutcome::NotStarted),
            (JobState::Running { started_at_ms, .. }, JobKind::Service) => {
                (record.run_ends_ms(started_at_ms), JobOutcome::Expired)
            }
            (JobState::Running { started_at_ms, .. }, JobKind::Task) => {
                (record.run_ends_ms(started_at_ms), JobOutcome::NoResult)
            }
            (JobState::Verifying { .. }, _) => return Err(Error::<T>::WrongState.into()),
        };
        ensure!(T::Clock::now_ms() > deadline_ms, Error::<T>::TooEarly);
        Self::close_job(job, record, outcome)
    }

    /// Gives a job up for its provider.
    ///
    /// One that runs is given up at the cost of a slash. One that was not started is not: it is the consumer who
    /// chose the image, which the machine may be unable to get. Whoever gives up a job returns what it did not earn,
    /// so the consumer has lost nothing that the chain could make good, and nobody needs to report it.
    pub(crate) fn do_abandon(who: &T::AccountId, job: JobId) -> DispatchResult {
        let record = Self::open_job(job)?;
        ensure!(
            record.provider == *who || Self::ensure_worker(who, &record).is_ok(),
            Error::<T>::NotProvider
        );
        ensure!(
            !matches!(record.state, JobState::Verifying { .. }),
            Error::<T>::WrongState
        );
        // Before the slots are given back: with the last of them a condemned machine may be gone for good.
        if matches!(record.state, JobState::Running { .. }) {
            T::Offences::report_offence(record.machine, Offence::JobAbandoned, Beneficiaries::nobody())?;
        }
        Self::close_job(job, record, JobOutcome::Abandoned)
    }

    /// Pays what is due, gives back the rest and forgets the job: the one way in which every job ends.
    fn close_job(job: JobId, mut record: JobRecord<T::AccountId>, outcome: JobOutcome) -> DispatchResult {
        let due = record.due_at(T::Clock::now_ms());
        Self::pay(job, &mut record, due)?;
        let refunded = Self::refund(job, &mut record)?;

        Jobs::<T>::remove(job);
        MachineJobs::<T>::remove(record.machine, job);
        ConsumerJobs::<T>::remove(&record.consumer, job);
        T::Preimages::unrequest(&record.manifest.hash);
        // The money must come free whatever the registry says, and it can only refuse slots it never gave.
        let _ = T::Machines::release(record.machine, record.slots)
            .defensive_proof("the slots were leased when the job was deployed");
        Self::deposit_event(Event::JobClosed {
            job,
            machine: record.machine,
            outcome,
            paid: record.paid,
            refunded,
        });
        Ok(())
    }

    fn open_job(job: JobId) -> Result<JobRecord<T::AccountId>, DispatchError> {
        Jobs::<T>::get(job).ok_or_else(|| Error::<T>::NoSuchJob.into())
    }

    fn ensure_worker(who: &T::AccountId, record: &JobRecord<T::AccountId>) -> DispatchResult {
        ensure!(
            T::Machines::machine_of_worker(who) == Some(record.machine),
            Error::<T>::NotWorker
        );
        Ok(())
    }
}
