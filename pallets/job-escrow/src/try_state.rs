//! Invariants that hold between calls.

use alloc::collections::{BTreeMap, BTreeSet};

use assay_primitives::{
    clock::ActiveClock,
    machine::{MAX_SLOTS, MachineId, MachineInspect},
    money::Balance,
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        traits::{QueryPreimage, fungible::hold::Inspect},
    },
    sp_runtime::{Rounding, TryRuntimeError},
};

use crate::{
    AssignmentRecordOf, AssignmentState, Assignments, Config, ConsumerJobs, HoldReason, JobId, JobKind,
    JobRecordOf, Jobs, MachineJobs, Manifest, NextJobId, Outcome, Pallet, Refusals, Requests, types::cost,
};

impl<T: Config> Pallet<T> {
    /// Checks the invariants:
    ///
    /// 1. Every job's identifier was given out, and something of it is open or assigned, in no more places
    ///    than it has.
    /// 2. Jobs, assignments, requests and the lists of machines and consumers agree.
    /// 3. An assignment's escrow covers all that it may still earn, and its payments do not exceed its
    ///    earnings.
    /// 4. An assignment's state is one that its job's kind knows, and its times are in order.
    /// 5. Every open public manifest is kept.
    /// 6. Every machine with leased slots exists, is the provider's, and has at most its slots leased.
    /// 7. The amount held from each consumer is the sum of its jobs' escrows, deposits and bounties.
    /// 8. A ballot counts its replicas, whose providers are distinct.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let next = NextJobId::<T>::get();
        let (mut jobs, mut assignments, mut requests) = (0_usize, 0_usize, 0_usize);
        let mut held: BTreeMap<T::AccountId, Balance> = BTreeMap::new();
        let mut leased: BTreeMap<MachineId, u32> = BTreeMap::new();

        for (job, record) in Jobs::<T>::iter() {
            jobs += 1;
            assignments += usize::from(record.assignments);
            requests += usize::from(record.auction.is_some());
            ensure!(job < next, "1: a job has an identifier that was not given out");
            ensure!(
                record.open_places > 0 || record.assignments > 0,
                "1: a job has neither places nor assignments"
            );
            ensure!(
                u32::from(record.open_places) + u32::from(record.assignments) <= record.nodes.into(),
                "1: a job has more places than nodes"
            );
            ensure!(
                ConsumerJobs::<T>::contains_key(&record.consumer, job),
                "2: a job is missing in its consumer's list"
            );
            ensure!(
                Requests::<T>::contains_key(job) == record.auction.is_some(),
                "2: an auction has no requirements, or requirements have no auction"
            );
            if let Manifest::Public(manifest) = &record.manifest {
                ensure!(
                    T::Preimages::is_requested(&manifest.hash),
                    "5: an open job's manifest is not kept"
                );
            }
            let escrow = Self::try_state_of_assignments(job, &record, &mut leased)?;
            let open = record
                .open_place_price()
                .and_then(|price| price.checked_mul(record.open_places.into()))
                .ok_or("7: open places cost more than any balance")?;
            let sum = held.entry(record.consumer).or_default();
            *sum = [escrow, open, record.deposit, record.bounties]
                .into_iter()
                .fold(*sum, Balance::saturating_add);
        }

        ensure!(
            Assignments::<T>::iter().count() == assignments,
            "2: an assignment is of no job"
        );
        ensure!(
            MachineJobs::<T>::iter().count() == assignments,
            "2: a machine's list has a job that it has no part in"
        );
        ensure!(
            ConsumerJobs::<T>::iter().count() == jobs,
            "2: a consumer's list has a job that is not open"
        );
        for job in Refusals::<T>::iter_keys() {
            ensure!(
                Jobs::<T>::contains_key(job),
                "2: who gave a place back is remembered of a job that is gone"
            );
        }
        ensure!(
            Requests::<T>::iter().count() == requests,
            "2: requirements are of no open order"
        );
        for slots in leased.into_values() {
            ensure!(
                slots <= u32::from(MAX_SLOTS),
                "6: more slots are leased than a machine can have"
            );
        }
        for (consumer, sum) in held {
            ensure!(
                T::Currency::balance_on_hold(&HoldReason::Job.into(), &consumer) == sum,
                "7: what is held from a consumer is not the sum of its jobs' escrows, deposits and bounties"
            );
        }
        Ok(())
    }

    /// Checks invariants 2 to 6 and 8 for the assignments of one job; returns the plancks held for them.
    fn try_state_of_assignments(
        job: JobId,
        record: &JobRecordOf<T>,
        leased: &mut BTreeMap<MachineId, u32>,
    ) -> Result<Balance, TryRuntimeError> {
        let mut escrow: Balance = 0;
        let mut providers = BTreeSet::new();
        let (mut count, mut undecided, mut committed, mut revealed) = (0_u8, record.open_places, 0_u8, 0_u8);
        for (machine, assignment) in Assignments::<T>::iter_prefix(job) {
            count += 1;
            ensure!(
                MachineJobs::<T>::contains_key(machine, job),
                "2: an assignment is missing in its machine's list"
            );
            Self::try_state_of_money(record, &assignment)?;
            Self::try_state_of_times(record, &assignment)?;
            if assignment.has_slots() {
                ensure!(
                    T::Machines::provider_of(machine).as_ref() == Some(&assignment.provider),
                    "6: an assignment's provider does not own its machine"
                );
                *leased.entry(machine).or_default() += u32::from(record.slots);
            }
            match assignment.state {
                AssignmentState::Starting { .. } | AssignmentState::Running { .. } => undecided += 1,
                AssignmentState::Committed { .. } => committed += 1,
                AssignmentState::Revealed { .. } => {
                    committed += 1;
                    revealed += 1;
                }
                AssignmentState::Verifying { .. } | AssignmentState::Ended { .. } => {}
            }
            escrow = escrow.saturating_add(assignment.escrowed);
            providers.insert(assignment.provider);
        }
        ensure!(
            count == record.assignments,
            "2: a job has another number of assignments than it says"
        );
        if record.kind.quorum_threshold().is_some() {
            ensure!(
                providers.len() == usize::from(count),
                "8: two replicas are of one provider"
            );
        }
        ensure!(
            record.auction.is_some() || Refusals::<T>::get(job).is_empty(),
            "2: a job that is no auction remembers who gave a place back"
        );
        if let Some(ballot) = record.ballot {
            ensure!(
                (ballot.undecided, ballot.committed, ballot.revealed) == (undecided, committed, revealed),
                "8: a ballot counts other replicas than there are"
            );
            ensure!(
                ballot.reveal_ends_ms.is_some() == (undecided == 0),
                "8: results can be revealed too early, or never"
            );
        }
        Ok(escrow)
    }

    /// Invariant 3 for one assignment.
    fn try_state_of_money(
        record: &JobRecordOf<T>,
        assignment: &AssignmentRecordOf<T>,
    ) -> Result<(), TryRuntimeError> {
        let price = cost(
            assignment.price_per_slot_hour,
            record.slots,
            assignment.max_duration_ms,
            Rounding::Up,
        )
        .ok_or("3: an assignment's price is more than any balance")?;
        let (needed, is_unpaid) = match assignment.state {
            AssignmentState::Starting { .. } if record.auction.is_some() => {
                let place = record
                    .open_place_price()
                    .ok_or("3: a place costs more than any balance")?;
                ensure!(
                    assignment.escrowed == place,
                    "3: a place that may open again is not held"
                );
                (price, true)
            }
            AssignmentState::Starting { .. } => (price, true),
            AssignmentState::Running { .. } => (
                price.saturating_sub(assignment.paid),
                record.kind != JobKind::Service,
            ),
            AssignmentState::Verifying { .. }
            | AssignmentState::Committed { .. }
            | AssignmentState::Revealed { .. } => (price, true),
            AssignmentState::Ended { .. } => (assignment.may_still_earn(record.slots), false),
        };
        ensure!(
            assignment.escrowed >= needed,
            "3: less is held for an assignment than it may earn"
        );
        ensure!(
            !is_unpaid || (assignment.paid == 0 && assignment.earned == 0),
            "3: something was paid that is not due"
        );
        let hold_back = Self::hold_back(record, assignment, T::Clock::epoch_duration_ms());
        ensure!(
            is_unpaid || assignment.paid <= assignment.payable(hold_back),
            "3: more was paid than may be"
        );
        Ok(())
    }

    /// Invariant 4 for one assignment.
    fn try_state_of_times(
        record: &JobRecordOf<T>,
        assignment: &AssignmentRecordOf<T>,
    ) -> Result<(), TryRuntimeError> {
        let is_quorum = record.kind.quorum_threshold().is_some();
        let is_task = record.kind != JobKind::Service;
        let in_order = match assignment.state {
            AssignmentState::Starting { .. } => true,
            AssignmentState::Running {
                started_at_ms,
                judged_until_ms,
            } => {
                (started_at_ms..=assignment.run_ends_ms(started_at_ms)).contains(&judged_until_ms)
                    && (!is_task || judged_until_ms == started_at_ms)
            }
            AssignmentState::Verifying {
                started_at_ms,
                ended_at_ms,
                window_ends_ms,
                ..
            } => {
                is_task
                    && !is_quorum
                    && !record.kind.is_attested()
                    && (started_at_ms..=assignment.run_ends_ms(started_at_ms)).contains(&ended_at_ms)
                    && window_ends_ms >= ended_at_ms
            }
            AssignmentState::Committed {
                started_at_ms,
                ended_at_ms,
                ..
            }
            | AssignmentState::Revealed {
                started_at_ms,
                ended_at_ms,
                ..
            } => {
                is_quorum
                    && record.ballot.is_some()
                    && (started_at_ms..=assignment.run_ends_ms(started_at_ms)).contains(&ended_at_ms)
            }
            AssignmentState::Ended {
                started_at_ms,
                ended_at_ms,
                judged_until_ms,
                outcome,
            } => {
                (started_at_ms..=assignment.run_ends_ms(started_at_ms)).contains(&ended_at_ms)
                    && (started_at_ms..=ended_at_ms).contains(&judged_until_ms)
                    && is_task == (outcome == Outcome::Completed)
            }
        };
        ensure!(
            in_order,
            "4: an assignment's state is none of its job's, or its times are not in order"
        );
        Ok(())
    }
}
