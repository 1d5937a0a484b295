//! Orders and their places: how a job begins, how machines get it, how it is extended and how it closes.
//!
//! An assignment keeps the terms of the moment it was made; no later ask touches it. A place of an auction is
//! held at its highest price until its machine starts, because it may need another one; the difference goes
//! back then. A machine that gave a place back gets no other one of the order, and the price goes on from
//! where it took it: holding places does not make them dearer.
//!
//! A consumer that takes an order back pays each machine for the time for which it was reserved. An order is
//! extended only as far as its machines' current asks allow: a cheap minute does not buy a year.

use alloc::collections::BTreeSet;

use assay_primitives::{
    clock::{ActiveClock, Millis},
    machine::{LeaseTerms, MachineId, MachineInspect, MachineLease},
    market::{MAX_NODES, MachineMatching, MatchingLease, Requirements},
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
    Error, Event, JobId, JobKind, JobOrder, JobRecord, JobRecordOf, JobTerms, Manifest, Outcome, Pallet,
    Refusals, Requests, Verification,
    book::{JobBook, OpenJob},
    escrow::PaymentSplit,
    types::{MAX_REPLICAS, PlaceCheck, cost},
};

/// Terms on which a machine gets an assignment.
struct AssignmentTerms<AccountId> {
    /// Provider and price.
    lease: LeaseTerms<AccountId>,
    /// Plancks held for it.
    escrowed: Balance,
    /// Time for which the price of its auction had risen, in milliseconds.
    risen_ms: Millis,
    /// Active time of the assignment.
    assigned_at_ms: Millis,
    /// Time that the machine has to start or decline, in milliseconds.
    start_window_ms: Millis,
}

/// Active time and terms at an order's block, read once for the whole order.
#[derive(Clone, Copy)]
struct OrderTerms {
    /// Active time.
    now_ms: Millis,
    /// Terms of jobs.
    terms: JobTerms,
}

impl OrderTerms {
    /// Reads them at this block.
    fn now<T: Config>() -> Self {
        Self {
            now_ms: T::Clock::now_ms(),
            terms: T::Terms::get(),
        }
    }
}

impl<T: Config> Pallet<T> {
    pub(crate) fn do_deploy(
        consumer: T::AccountId,
        order: JobOrder,
        machines: ChosenMachines,
    ) -> DispatchResult {
        let nodes = u8::try_from(machines.len()).unwrap_or(u8::MAX);
        let at = OrderTerms::now::<T>();
        let mut open = Self::new_job(consumer, &order, nodes, None, at)?;
        let requirements = Self::requirements_of_place(order.slots, order.requirements);

        let mut escrowed: Balance = 0;
        let (mut chosen, mut providers) = (BTreeSet::new(), BTreeSet::new());
        for machine in machines {
            // The job is new, so that only this call can have given it an assignment.
            ensure!(chosen.insert(machine), Error::<T>::AlreadyAssigned);
            let lease = Self::lease(&open.job, &requirements, machine)?;
            let price = lease.price_per_slot_hour;
            ensure!(price <= order.max_price_per_slot_hour, Error::<T>::PriceTooLow);
            if open.job.kind.quorum_threshold().is_some() {
                let is_new = providers.insert(lease.provider.clone());
                ensure!(is_new, Error::<T>::ProviderNotDistinct);
            }
            let place = cost(price, order.slots, order.max_duration_ms, Rounding::Up)
                .ok_or(ArithmeticError::Overflow)?;
            escrowed = escrowed.checked_add(place).ok_or(ArithmeticError::Overflow)?;
            let terms = AssignmentTerms {
                lease,
                escrowed: place,
                risen_ms: 0,
                assigned_at_ms: at.now_ms,
                start_window_ms: at.terms.start_window_ms,
            };
            Self::assign(&mut open, machine, terms)?;
        }
        Self::open(open, None, escrowed)
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
        let at = OrderTerms::now::<T>();
        let auction = Auction::new(terms, at.now_ms);
        let mut open = Self::new_job(consumer, &order, nodes, Some(auction), at)?;
        open.job.open_places = nodes;
        let escrowed = open
            .job
            .open_place_price()
            .and_then(|price| price.checked_mul(nodes.into()))
            .ok_or(ArithmeticError::Overflow)?;
        let requirements = Self::requirements_of_place(order.slots, order.requirements);
        Self::open(open, Some(requirements), escrowed)
    }

    /// Gives a place to a machine. Returns the lease's terms that were read for it.
    pub(crate) fn do_accept_request(
        who: &T::AccountId,
        job_id: JobId,
        machine: MachineId,
    ) -> Result<PlaceCheck, DispatchError> {
        let mut open = OpenJob::<T>::load(job_id)?;
        ensure!(
            T::Machines::provider_of(machine).is_some_and(|provider| Self::acts_for(who, machine, &provider)),
            Error::<T>::NotProvider
        );
        ensure!(open.job.open_places > 0, Error::<T>::NoOpenPlace);
        let now_ms = T::Clock::now_ms();
        ensure!(open.job.is_open_at(now_ms), Error::<T>::TooLate);
        let auction = open.job.auction.ok_or(Error::<T>::NoOpenPlace)?;
        ensure!(
            !Refusals::<T>::get(job_id).contains(&machine),
            Error::<T>::GaveItBack
        );
        let requirements = Requests::<T>::get(job_id).ok_or(Error::<T>::NoOpenPlace)?;
        ensure!(
            !Assignments::<T>::contains_key(job_id, machine),
            Error::<T>::AlreadyAssigned
        );

        let mut lease = Self::lease(&open.job, &requirements, machine)?;
        let mut replicas = 0;
        if open.job.kind.quorum_threshold().is_some() {
            for other in Assignments::<T>::iter_prefix_values(job_id) {
                replicas += 1;
                ensure!(other.provider != lease.provider, Error::<T>::ProviderNotDistinct);
            }
        }
        lease.price_per_slot_hour = auction.price_at(now_ms, open.job.max_price_per_slot_hour);
        let terms = AssignmentTerms {
            lease,
            // All of what is held for the place stays with it until the machine starts: it may need another
            // machine.
            escrowed: open.job.open_place_price().ok_or(ArithmeticError::Overflow)?,
            risen_ms: auction.risen_ms(now_ms),
            assigned_at_ms: now_ms,
            start_window_ms: T::Terms::get().start_window_ms,
        };
        open.job.open_places = open.job.open_places.saturating_sub(1);
        Self::assign(&mut open, machine, terms)?;
        let check = PlaceCheck {
            replicas,
            evidence: open.job.kind.is_attested() || requirements.tee.is_some(),
        };
        open.save()?;
        Ok(check)
    }

    pub(crate) fn do_expire_request(caller: &T::AccountId, job_id: JobId) -> DispatchResult {
        let mut open = OpenJob::<T>::load(job_id)?;
        ensure!(open.job.open_places > 0, Error::<T>::NoOpenPlace);
        ensure!(!open.job.is_open_at(T::Clock::now_ms()), Error::<T>::TooEarly);
        Self::cancel_open_places(&mut open)?;
        if *caller != open.job.consumer {
            open.pay_bounty(caller);
        }
        open.save()
    }

    /// Extends a job. Returns the number of its assignments.
    pub(crate) fn do_top_up(
        consumer: &T::AccountId,
        job_id: JobId,
        additional_ms: Millis,
    ) -> Result<u32, DispatchError> {
        let mut open = OpenJob::<T>::load_for(consumer, job_id)?;
        let max_duration_ms = open.job.max_duration_ms.saturating_add(additional_ms);
        ensure!(
            additional_ms > 0 && max_duration_ms <= T::MaxDurationMs::get(),
            Error::<T>::BadDuration
        );
        Self::check_kind(open.job.kind, open.job.nodes, max_duration_ms)?;
        let (slots, before_ms) = (open.job.slots, open.job.max_duration_ms);
        let more = |price: Balance| -> Result<Balance, DispatchError> {
            let total = |duration_ms| cost(price, slots, duration_ms, Rounding::Up);
            total(max_duration_ms)
                .zip(total(before_ms))
                .map(|(after, before)| after.saturating_sub(before))
                .ok_or_else(|| ArithmeticError::Overflow.into())
        };
        let more_at_most = more(open.job.max_price_per_slot_hour)?;

        let now_ms = T::Clock::now_ms();
        let mut extended = u32::from(open.job.open_places);
        let mut escrowed = more_at_most
            .checked_mul(open.job.open_places.into())
            .ok_or(ArithmeticError::Overflow)?;
        let assignments = open.assignments();
        let count = assignments.len() as u32;
        for (machine, assignment) in assignments {
            let place = match assignment.state {
                AssignmentState::Starting { .. } if open.job.auction.is_some() => more_at_most,
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
            let mut extension = open.with(machine, assignment);
            extension.assignment.escrowed = extension
                .assignment
                .escrowed
                .checked_add(place)
                .ok_or(ArithmeticError::Overflow)?;
            extension.assignment.max_duration_ms = max_duration_ms;
            open = extension.keep();
        }
        ensure!(extended > 0, Error::<T>::TooLate);

        let bounties = Self::bounties(open.job.nodes, max_duration_ms)
            .saturating_sub(Self::bounties(open.job.nodes, before_ms));
        let deposit = bounties.saturating_mul(open.job.bounty);
        Self::hold(consumer, escrowed, deposit)?;
        open.job.bounties = open
            .job
            .bounties
            .checked_add(deposit)
            .ok_or(ArithmeticError::Overflow)?;
        open.job.max_duration_ms = max_duration_ms;
        open.save()?;
        Self::deposit_event(Event::JobExtended {
            job: job_id,
            additional_ms,
            escrowed,
            deposit,
        });
        Ok(count)
    }

    /// Ends a job for its consumer. Returns the number of its assignments.
    pub(crate) fn do_close(consumer: &T::AccountId, job_id: JobId) -> Result<u32, DispatchError> {
        let mut open = OpenJob::<T>::load_for(consumer, job_id)?;
        let now_ms = T::Clock::now_ms();
        let protocol_fee = T::Terms::get().protocol_fee;
        let assignments = open.assignments();
        let count = assignments.len() as u32;
        let (mut did_something, mut runs_task) = (open.job.open_places > 0, false);
        Self::cancel_open_places(&mut open)?;
        for (machine, assignment) in assignments {
            open = match (assignment.state, open.job.kind) {
                (AssignmentState::Starting { .. }, _) => {
                    let reserved = assignment.reserved_worth(open.job.slots, now_ms, 0);
                    let mut cancelled = open.with(machine, assignment);
                    cancelled.pay(PaymentSplit::of(reserved, protocol_fee))?;
                    cancelled.close(Outcome::Cancelled)?
                }
                (AssignmentState::Running { started_at_ms, .. }, JobKind::Service) => {
                    let ended_at_ms = now_ms.min(assignment.run_ends_ms(started_at_ms));
                    open.with(machine, assignment)
                        .end_run(ended_at_ms, Outcome::ClosedByConsumer)?
                }
                (AssignmentState::Ended { .. }, _) => continue,
                // A task ends with its result or with its time; assignments that have not started are closed
                // all the same.
                _ => {
                    runs_task = true;
                    continue;
                }
            };
            did_something = true;
        }
        ensure!(did_something || !runs_task, Error::<T>::TaskRunning);
        ensure!(did_something, Error::<T>::WrongState);
        open.save()?;
        Ok(count)
    }

    fn cancel_open_places(open: &mut OpenJob<T>) -> DispatchResult {
        let places = core::mem::take(&mut open.job.open_places);
        if places == 0 {
            return Ok(());
        }
        open.decide_places(places);
        Self::deposit_event(Event::PlacesCancelled {
            job: open.job_id,
            places,
        });
        let held = open
            .job
            .open_place_price()
            .and_then(|price| price.checked_mul(places.into()))
            .ok_or(ArithmeticError::Overflow)?;
        Self::return_escrow(open.job_id, &open.job.consumer, held)
    }

    /// Returns the requirements for the registry's matcher: the order's own slots, without price and nodes.
    ///
    /// A machine's ask is held against the order's price at a deployment; a machine that accepts an order has
    /// seen its price.
    fn requirements_of_place(slots: u8, requirements: Requirements) -> Requirements {
        Requirements {
            max_price_per_slot_hour: None,
            min_free_slots: slots,
            min_nodes: 0,
            ..requirements
        }
    }

    /// Checks an order, and makes a job that has no place yet.
    fn new_job(
        consumer: T::AccountId,
        order: &JobOrder,
        nodes: u8,
        auction: Option<Auction>,
        OrderTerms { now_ms, terms }: OrderTerms,
    ) -> Result<OpenJob<T>, DispatchError> {
        ensure!(order.slots > 0, Error::<T>::NoSlots);
        ensure!((1..=MAX_NODES).contains(&nodes), Error::<T>::BadNodes);
        ensure!(
            (T::MinDurationMs::get()..=T::MaxDurationMs::get()).contains(&order.max_duration_ms),
            Error::<T>::BadDuration
        );
        Self::check_kind(order.kind, nodes, order.max_duration_ms)?;
        match auction {
            Some(_) => T::Matching::check(&order.requirements),
            // Machines that the consumer chose are compared with the rest at once.
            None => order.requirements.check_form(),
        }
        .map_err(|_| Error::<T>::BadRequirements)?;
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

        let job_id = JobBook::<T>::next_id()?;
        let ballot = order.kind.quorum_threshold().map(|_| Ballot {
            undecided: nodes,
            committed: 0,
            revealed: 0,
            reveal_ends_ms: None,
            fill_until_ms: None,
        });
        let job = JobRecord {
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
            hold_back: terms.hold_back,
            deposit: Self::byte_deposit(nodes, auction.is_some(), order.manifest.kept_bytes()),
            bounties: Self::bounties(nodes, order.max_duration_ms).saturating_mul(terms.bounty),
            bounty: terms.bounty,
            paid: 0,
            created_at_ms: now_ms,
        };
        Ok(OpenJob { job_id, job })
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

    /// Holds the money of a new job, and stores the job.
    fn open(open: OpenJob<T>, requirements: Option<Requirements>, escrowed: Balance) -> DispatchResult {
        let OpenJob { job_id, job } = open;
        let deposit = job
            .deposit
            .checked_add(job.bounties)
            .ok_or(ArithmeticError::Overflow)?;
        Self::hold(&job.consumer, escrowed, deposit)?;
        if let Manifest::Public(manifest) = &job.manifest {
            T::Preimages::request(&manifest.hash);
        }
        Self::deposit_event(Event::JobOrdered {
            job: job_id,
            consumer: job.consumer.clone(),
            kind: job.kind,
            nodes: job.nodes,
            slots: job.slots,
            escrowed,
            deposit,
            closes_at_ms: job.closes_at_ms(),
        });
        JobBook::<T>::add_job(job_id, job, requirements);
        Ok(())
    }

    /// Takes the slots of a machine that meets the requirements.
    fn lease(
        job: &JobRecordOf<T>,
        requirements: &Requirements,
        machine: MachineId,
    ) -> Result<LeaseTerms<T::AccountId>, DispatchError> {
        let Some(lease) = T::Matching::lease_matching(machine, job.slots, requirements)? else {
            // No machine meets requirements that make no sense.
            T::Matching::check(requirements).map_err(|_| Error::<T>::BadRequirements)?;
            return Err(Error::<T>::NotEligible.into());
        };
        ensure!(Self::may_run(job, machine), Error::<T>::NotAttested);
        Ok(lease)
    }

    /// Makes the assignment of a machine whose slots are leased.
    fn assign(
        open: &mut OpenJob<T>,
        machine: MachineId,
        terms: AssignmentTerms<T::AccountId>,
    ) -> DispatchResult {
        let LeaseTerms {
            provider,
            price_per_slot_hour,
        } = terms.lease;
        let assigned_at_ms = terms.assigned_at_ms;
        let start_deadline_ms = assigned_at_ms.saturating_add(terms.start_window_ms);
        let assignment = AssignmentRecord {
            provider: provider.clone(),
            price_per_slot_hour,
            max_duration_ms: open.job.max_duration_ms,
            escrowed: terms.escrowed,
            earned: 0,
            paid: 0,
            state: AssignmentState::Starting {
                assigned_at_ms,
                deadline_ms: start_deadline_ms,
                risen_ms: terms.risen_ms,
            },
        };
        open.add(machine, assignment)?;
        Self::deposit_event(Event::MachineAssigned {
            job: open.job_id,
            machine,
            provider,
            price_per_slot_hour,
            start_deadline_ms,
        });
        Ok(())
    }
}
