//! Orders and their places: how a job begins, how machines get it, how it is extended and how it closes.
//!
//! An assignment keeps the terms of the moment it was made; no later ask touches it. A place of an auction is held at its
//! highest price until its machine starts, because it may need another one; the difference goes back then. A machine that
//! gave a place back gets no other one of the order, and the price goes on from where it took it: holding places does not
//! make them dearer.
//!
//! Who takes an order back pays each machine for the time for which it was reserved. An order is extended only as far as its
//! machines' asks of the moment allow: a cheap minute does not buy a year.

use alloc::{collections::BTreeSet, vec::Vec};

use assay_primitives::{
    clock::{ActiveClock, Millis},
    machine::{LeaseTerms, MachineId, MachineInspect, MachineLease},
    market::{MAX_NODES, MachineMatching, Requirements},
    money::Balance,
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        traits::{Get, QueryPreimage},
    },
    sp_runtime::{ArithmeticError, DispatchError, DispatchResult, Rounding},
};

use crate::{
    AssignmentRecord, AssignmentState, Assignments, Auction, AuctionTerms, Ballot, ChosenMachines, Config,
    ConsumerJobs, Error, Event, HoldReason, JobId, JobKind, JobOrder, JobRecord, JobRecordOf, Jobs,
    MachineJobs, Manifest, NextJobId, Outcome, Pallet, Refusals, Requests, Verification,
    types::{MAX_REPLICAS, PlaceCheck, cost},
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_deploy(
        consumer: T::AccountId,
        order: JobOrder,
        machines: ChosenMachines,
    ) -> DispatchResult {
        let nodes = u8::try_from(machines.len()).unwrap_or(u8::MAX);
        let (job, mut record) = Self::new_job(consumer, &order, nodes, None)?;
        let requirements = Self::requirements_of_place(&order);

        let mut escrowed: Balance = 0;
        let mut providers = BTreeSet::new();
        for machine in machines {
            let terms = Self::lease(job, &record, &requirements, machine)?;
            let price = terms.price_per_slot_hour;
            ensure!(price <= order.max_price_per_slot_hour, Error::<T>::PriceTooLow);
            let is_new = providers.insert(terms.provider.clone());
            ensure!(
                is_new || record.kind.quorum_threshold().is_none(),
                Error::<T>::ProviderNotDistinct
            );
            let place = cost(price, order.slots, order.max_duration_ms, Rounding::Up)
                .ok_or(ArithmeticError::Overflow)?;
            escrowed = escrowed.checked_add(place).ok_or(ArithmeticError::Overflow)?;
            Self::assign(job, &mut record, machine, terms.provider, price, place, 0)?;
        }
        Self::open(job, record, escrowed)
    }

    pub(crate) fn do_request(
        consumer: T::AccountId,
        order: JobOrder,
        nodes: u8,
        terms: AuctionTerms,
    ) -> DispatchResult {
        ensure!(
            terms.floor_price_per_slot_hour <= order.max_price_per_slot_hour,
            Error::<T>::FloorAboveMaximum
        );
        ensure!(
            terms.open_ms > 0 && terms.rise_ms <= terms.open_ms && terms.open_ms <= T::MaxOpenMs::get(),
            Error::<T>::BadOpenTime
        );
        let auction = Auction::new(terms, T::Clock::now_ms());
        let (job, mut record) = Self::new_job(consumer, &order, nodes, Some(auction))?;
        record.open_places = nodes;
        let escrowed = record
            .open_place_price()
            .and_then(|price| price.checked_mul(nodes.into()))
            .ok_or(ArithmeticError::Overflow)?;
        Requests::<T>::insert(job, Self::requirements_of_place(&order));
        Self::open(job, record, escrowed)
    }

    /// Gives a place to a machine, and says what it looked at for that.
    pub(crate) fn do_accept_request(
        who: &T::AccountId,
        job: JobId,
        machine: MachineId,
    ) -> Result<PlaceCheck, DispatchError> {
        let mut record = Self::job(job)?;
        ensure!(
            T::Machines::provider_of(machine).is_some_and(|provider| Self::acts_for(who, machine, &provider)),
            Error::<T>::NotProvider
        );
        ensure!(record.open_places > 0, Error::<T>::NoOpenPlace);
        let now_ms = T::Clock::now_ms();
        ensure!(record.is_open_at(now_ms), Error::<T>::TooLate);
        let auction = record.auction.ok_or(Error::<T>::NoOpenPlace)?;
        ensure!(
            !Refusals::<T>::get(job).contains(&machine),
            Error::<T>::GaveItBack
        );
        let requirements = Requests::<T>::get(job).ok_or(Error::<T>::NoOpenPlace)?;

        let terms = Self::lease(job, &record, &requirements, machine)?;
        let mut replicas = 0;
        if record.kind.quorum_threshold().is_some() {
            for other in Assignments::<T>::iter_prefix_values(job) {
                replicas += 1;
                ensure!(other.provider != terms.provider, Error::<T>::ProviderNotDistinct);
            }
        }
        let price = auction.price_at(now_ms, record.max_price_per_slot_hour);
        // All of what is held for the place stays with it until the machine starts: it may need another machine.
        let place = record.open_place_price().ok_or(ArithmeticError::Overflow)?;
        record.open_places = record.open_places.saturating_sub(1);
        let risen_ms = auction.risen_ms(now_ms);
        Self::assign(job, &mut record, machine, terms.provider, price, place, risen_ms)?;
        let check = if record.kind.is_attested() {
            PlaceCheck::Evidence
        } else {
            PlaceCheck::Replicas(replicas)
        };
        Jobs::<T>::insert(job, record);
        Ok(check)
    }

    pub(crate) fn do_expire_request(caller: &T::AccountId, job: JobId) -> DispatchResult {
        let mut record = Self::job(job)?;
        ensure!(record.open_places > 0, Error::<T>::NoOpenPlace);
        ensure!(!record.is_open_at(T::Clock::now_ms()), Error::<T>::TooEarly);
        Self::cancel_open_places(job, &mut record)?;
        if *caller != record.consumer {
            Self::pay_bounty(job, &mut record, caller);
        }
        Self::put_or_close(job, record)
    }

    /// Extends a job, and says how many machines have it.
    pub(crate) fn do_top_up(
        consumer: &T::AccountId,
        job: JobId,
        additional_ms: Millis,
    ) -> Result<u32, DispatchError> {
        let mut record = Self::job(job)?;
        ensure!(record.consumer == *consumer, Error::<T>::NotConsumer);
        let max_duration_ms = record.max_duration_ms.saturating_add(additional_ms);
        ensure!(
            additional_ms > 0 && max_duration_ms <= T::MaxDurationMs::get(),
            Error::<T>::BadDuration
        );
        Self::check_kind(record.kind, record.nodes, max_duration_ms)?;
        let more = |price: Balance| -> Result<Balance, DispatchError> {
            let total = |duration_ms| cost(price, record.slots, duration_ms, Rounding::Up);
            total(max_duration_ms)
                .zip(total(record.max_duration_ms))
                .map(|(after, before)| after.saturating_sub(before))
                .ok_or_else(|| ArithmeticError::Overflow.into())
        };
        let more_at_most = more(record.max_price_per_slot_hour)?;

        let now_ms = T::Clock::now_ms();
        let mut machines = 0_u32;
        let mut extended = u32::from(record.open_places);
        let mut escrowed = more_at_most
            .checked_mul(record.open_places.into())
            .ok_or(ArithmeticError::Overflow)?;
        let assignments: Vec<_> = Assignments::<T>::iter_prefix(job).collect();
        for (machine, mut assignment) in assignments {
            machines += 1;
            let place = match assignment.state {
                AssignmentState::Starting { .. } if record.auction.is_some() => more_at_most,
                AssignmentState::Starting { .. } => more(assignment.price_per_slot_hour)?,
                AssignmentState::Running { started_at_ms, .. }
                    if now_ms <= assignment.run_ends_ms(started_at_ms) =>
                {
                    more(assignment.price_per_slot_hour)?
                }
                _ => continue,
            };
            let ask = T::Machines::extension_ask(machine).ok_or(Error::<T>::NotExtendable)?;
            ensure!(ask <= assignment.price_per_slot_hour, Error::<T>::PriceTooLow);
            extended += 1;
            escrowed = escrowed.checked_add(place).ok_or(ArithmeticError::Overflow)?;
            assignment.escrowed = assignment
                .escrowed
                .checked_add(place)
                .ok_or(ArithmeticError::Overflow)?;
            assignment.max_duration_ms = max_duration_ms;
            Assignments::<T>::insert(job, machine, assignment);
        }
        ensure!(extended > 0, Error::<T>::TooLate);

        let bounties = Self::bounties(record.nodes, max_duration_ms)
            .saturating_sub(Self::bounties(record.nodes, record.max_duration_ms));
        let deposit = bounties.saturating_mul(record.bounty);
        Self::hold(HoldReason::Escrow, consumer, escrowed)?;
        Self::hold(HoldReason::Deposit, consumer, deposit)?;
        record.bounties = record
            .bounties
            .checked_add(deposit)
            .ok_or(ArithmeticError::Overflow)?;
        record.max_duration_ms = max_duration_ms;
        Jobs::<T>::insert(job, record);
        Self::deposit_event(Event::JobExtended {
            job,
            additional_ms,
            escrowed,
            deposit,
        });
        Ok(machines)
    }

    /// Ends a job for its consumer, and says how many machines had it.
    pub(crate) fn do_close(consumer: &T::AccountId, job: JobId) -> Result<u32, DispatchError> {
        let mut record = Self::job(job)?;
        ensure!(record.consumer == *consumer, Error::<T>::NotConsumer);
        let now_ms = T::Clock::now_ms();
        let assignments: Vec<_> = Assignments::<T>::iter_prefix(job).collect();
        let machines = assignments.len() as u32;
        let (mut did_something, mut runs_task) = (record.open_places > 0, false);
        Self::cancel_open_places(job, &mut record)?;
        for (machine, mut assignment) in assignments {
            match (assignment.state, record.kind) {
                (AssignmentState::Starting { .. }, _) => {
                    let reserved = assignment.reserved_worth(record.slots, now_ms, 0);
                    Self::pay(job, &mut record, machine, &mut assignment, reserved)?;
                    Self::close_place(job, &mut record, machine, assignment, Outcome::Cancelled)?;
                }
                (AssignmentState::Running { started_at_ms, .. }, JobKind::Service) => {
                    let ended_at_ms = now_ms.min(assignment.run_ends_ms(started_at_ms));
                    Self::end_run(
                        job,
                        &mut record,
                        machine,
                        assignment,
                        ended_at_ms,
                        Outcome::ClosedByConsumer,
                    )?;
                }
                (AssignmentState::Ended { .. }, _) => continue,
                // A task ends with its result or with its time; what of the job has not started is closed all the same.
                _ => {
                    runs_task = true;
                    continue;
                }
            }
            did_something = true;
        }
        ensure!(did_something || !runs_task, Error::<T>::TaskRunning);
        ensure!(did_something, Error::<T>::WrongState);
        Self::put_or_close(job, record)?;
        Ok(machines)
    }

    pub(crate) fn job(job: JobId) -> Result<JobRecordOf<T>, DispatchError> {
        Jobs::<T>::get(job).ok_or_else(|| Error::<T>::NoSuchJob.into())
    }

    /// Stores the record of a job, or closes it where nothing is left of it; lets replicas reveal where no place can
    /// bring a commitment any more.
    pub(crate) fn put_or_close(job: JobId, mut record: JobRecordOf<T>) -> DispatchResult {
        if record.open_places > 0 || record.assignments > 0 {
            if let Some(ballot) = &mut record.ballot
                && ballot.undecided == 0
                && ballot.reveal_ends_ms.is_none()
            {
                let reveal_ends_ms = T::Clock::now_ms().saturating_add(T::RevealWindowMs::get());
                ballot.reveal_ends_ms = Some(reveal_ends_ms);
                Self::deposit_event(Event::RevealOpened { job, reveal_ends_ms });
            }
            Jobs::<T>::insert(job, record);
            return Ok(());
        }
        let deposit_returned = Self::return_deposit(job, &record)?;
        Jobs::<T>::remove(job);
        ConsumerJobs::<T>::remove(&record.consumer, job);
        if record.auction.is_some() {
            Requests::<T>::remove(job);
            Refusals::<T>::remove(job);
        }
        if let Manifest::Public(manifest) = &record.manifest {
            T::Preimages::unrequest(&manifest.hash);
        }
        Self::deposit_event(Event::JobClosed {
            job,
            paid: record.paid,
            deposit_returned,
        });
        Ok(())
    }

    /// Notes that places will bring no commitment, whatever happens.
    pub(crate) fn decide_places(record: &mut JobRecordOf<T>, places: u8) {
        if let Some(ballot) = &mut record.ballot {
            ballot.undecided = ballot.undecided.saturating_sub(places);
        }
    }

    fn cancel_open_places(job: JobId, record: &mut JobRecordOf<T>) -> DispatchResult {
        let places = core::mem::take(&mut record.open_places);
        if places == 0 {
            return Ok(());
        }
        Self::decide_places(record, places);
        Self::deposit_event(Event::PlacesCancelled { job, places });
        let held = record
            .open_place_price()
            .and_then(|price| price.checked_mul(places.into()))
            .ok_or(ArithmeticError::Overflow)?;
        Self::return_escrow(job, &record.consumer, held)
    }

    /// What the registry's matcher is asked: the order's own slots, and neither price nor nodes.
    ///
    /// A machine's ask is held against the order's price at a deployment; who accepts an order has seen its price.
    fn requirements_of_place(order: &JobOrder) -> Requirements {
        Requirements {
            max_price_per_slot_hour: None,
            min_free_slots: order.slots,
            min_nodes: 0,
            ..order.requirements.clone()
        }
    }

    /// Checks an order, and makes the record of a job that has no place yet.
    fn new_job(
        consumer: T::AccountId,
        order: &JobOrder,
        nodes: u8,
        auction: Option<Auction>,
    ) -> Result<(JobId, JobRecordOf<T>), DispatchError> {
        ensure!(order.slots > 0, Error::<T>::NoSlots);
        ensure!((1..=MAX_NODES).contains(&nodes), Error::<T>::BadNodes);
        ensure!(
            (T::MinDurationMs::get()..=T::MaxDurationMs::get()).contains(&order.max_duration_ms),
            Error::<T>::BadDuration
        );
        Self::check_kind(order.kind, nodes, order.max_duration_ms)?;
        T::Matching::check(&order.requirements).map_err(|_| Error::<T>::BadRequirements)?;
        if let Manifest::Public(manifest) = &order.manifest {
            ensure!(
                manifest.length_bytes <= T::MaxManifestBytes::get(),
                Error::<T>::ManifestTooLarge
            );
            ensure!(
                T::Preimages::len(&manifest.hash) == Some(manifest.length_bytes),
                Error::<T>::ManifestMissing
            );
        }

        let job = NextJobId::<T>::get();
        NextJobId::<T>::put(job.checked_add(1).ok_or(ArithmeticError::Overflow)?);
        let bounty = T::Bounty::get();
        let ballot = order.kind.quorum_threshold().map(|_| Ballot {
            undecided: nodes,
            committed: 0,
            revealed: 0,
            reveal_ends_ms: None,
            fill_until_ms: None,
        });
        let record = JobRecord {
            consumer,
            kind: order.kind,
            manifest: order.manifest,
            image_digest: order.image_digest,
            slots: order.slots,
            nodes,
            max_price_per_slot_hour: order.max_price_per_slot_hour,
            max_duration_ms: order.max_duration_ms,
            auction,
            open_places: 0,
            assignments: 0,
            ballot,
            hold_back: T::HoldBack::get(),
            deposit: Self::byte_deposit(nodes, auction.is_some(), order.manifest.kept_bytes()),
            bounties: Self::bounties(nodes, order.max_duration_ms).saturating_mul(bounty),
            bounty,
            paid: 0,
            created_at_ms: T::Clock::now_ms(),
        };
        Ok((job, record))
    }

    fn check_kind(kind: JobKind, nodes: u8, max_duration_ms: Millis) -> DispatchResult {
        let JobKind::Task { verification } = kind else {
            return Ok(());
        };
        match verification {
            Verification::Consumer { window_ms } => ensure!(
                window_ms <= T::MaxVerificationMs::get(),
                Error::<T>::VerificationTooLong
            ),
            Verification::Quorum { replicas, threshold } => {
                ensure!(
                    replicas == nodes && (2..=MAX_REPLICAS).contains(&replicas),
                    Error::<T>::BadNodes
                );
                ensure!(
                    threshold > replicas / 2 && threshold <= replicas,
                    Error::<T>::BadQuorum
                );
                ensure!(
                    max_duration_ms <= T::MaxVerificationMs::get(),
                    Error::<T>::VerificationTooLong
                );
            }
            // Whether a machine is attested is asked when it gets the task and when it gives the result.
            Verification::Attested => {}
            Verification::Proof { .. } => return Err(Error::<T>::ProofNotSupported.into()),
        }
        Ok(())
    }

    /// Holds what a new job needs, and stores it.
    fn open(job: JobId, record: JobRecordOf<T>, escrowed: Balance) -> DispatchResult {
        let deposit = record
            .deposit
            .checked_add(record.bounties)
            .ok_or(ArithmeticError::Overflow)?;
        Self::hold(HoldReason::Escrow, &record.consumer, escrowed)?;
        Self::hold(HoldReason::Deposit, &record.consumer, deposit)?;
        if let Manifest::Public(manifest) = &record.manifest {
            T::Preimages::request(&manifest.hash);
        }
        ConsumerJobs::<T>::insert(&record.consumer, job, ());
        Self::deposit_event(Event::JobOrdered {
            job,
            consumer: record.consumer.clone(),
            kind: record.kind,
            nodes: record.nodes,
            slots: record.slots,
            escrowed,
            deposit,
            closes_at_ms: record.closes_at_ms(),
        });
        Jobs::<T>::insert(job, record);
        Ok(())
    }

    /// Takes the slots of a machine that meets the requirements and has no part in the job yet.
    fn lease(
        job: JobId,
        record: &JobRecordOf<T>,
        requirements: &Requirements,
        machine: MachineId,
    ) -> Result<LeaseTerms<T::AccountId>, DispatchError> {
        ensure!(
            !Assignments::<T>::contains_key(job, machine),
            Error::<T>::AlreadyAssigned
        );
        ensure!(T::Matching::meets(requirements, machine), Error::<T>::NotEligible);
        ensure!(Self::may_run(record, machine), Error::<T>::NotAttested);
        T::Machines::lease(machine, record.slots)
    }

    /// Makes the assignment of a machine whose slots are leased.
    fn assign(
        job: JobId,
        record: &mut JobRecordOf<T>,
        machine: MachineId,
        provider: T::AccountId,
        price_per_slot_hour: Balance,
        escrowed: Balance,
        risen_ms: Millis,
    ) -> DispatchResult {
        let assigned_at_ms = T::Clock::now_ms();
        let start_deadline_ms = assigned_at_ms.saturating_add(T::StartWindowMs::get());
        record.assignments = record
            .assignments
            .checked_add(1)
            .ok_or(ArithmeticError::Overflow)?;
        Assignments::<T>::insert(
            job,
            machine,
            AssignmentRecord {
                provider: provider.clone(),
                price_per_slot_hour,
                max_duration_ms: record.max_duration_ms,
                escrowed,
                earned: 0,
                paid: 0,
                state: AssignmentState::Starting {
                    assigned_at_ms,
                    deadline_ms: start_deadline_ms,
                    risen_ms,
                },
            },
        );
        MachineJobs::<T>::insert(machine, job, ());
        Self::deposit_event(Event::MachineAssigned {
            job,
            machine,
            provider,
            price_per_slot_hour,
            start_deadline_ms,
        });
        Ok(())
    }
}
