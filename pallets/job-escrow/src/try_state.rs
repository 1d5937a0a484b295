//! What must hold between the calls.

extern crate alloc;

use alloc::collections::BTreeMap;

use assay_primitives::{
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
    Config, ConsumerJobs, HoldReason, JobKind, JobRecord, JobState, Jobs, MachineJobs, NextJobId, Pallet,
    types::cost,
};

impl<T: Config> Pallet<T> {
    /// Checks the invariants:
    ///
    /// 1. Every job's identifier was given out.
    /// 2. Every job is in the lists of its machine and of its consumer, and these hold nothing else.
    /// 3. Every job's escrow and payments add up to the price of its longest run.
    /// 4. Every job's payments are what its state says was earned.
    /// 5. Every job's manifest is kept.
    /// 6. Every job's machine exists, is the provider's, and has at most its slots leased.
    /// 7. What is held from each consumer is the sum of the jobs' escrows.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let next = NextJobId::<T>::get();
        let mut jobs = 0_usize;
        let mut held: BTreeMap<T::AccountId, Balance> = BTreeMap::new();
        let mut leased: BTreeMap<MachineId, u32> = BTreeMap::new();

        for (job, record) in Jobs::<T>::iter() {
            jobs += 1;
            ensure!(job < next, "1: a job has an identifier that was not given out");
            ensure!(
                MachineJobs::<T>::contains_key(record.machine, job),
                "2: a job is missing in its machine's list"
            );
            ensure!(
                ConsumerJobs::<T>::contains_key(&record.consumer, job),
                "2: a job is missing in its consumer's list"
            );
            Self::try_state_of(&record)?;

            let sum = held.entry(record.consumer).or_default();
            *sum = sum
                .checked_add(record.escrowed)
                .ok_or("7: the escrows are more than any balance")?;
            *leased.entry(record.machine).or_default() += u32::from(record.slots);
        }

        ensure!(
            MachineJobs::<T>::iter().count() == jobs,
            "2: a machine's list has a job that is not open"
        );
        ensure!(
            ConsumerJobs::<T>::iter().count() == jobs,
            "2: a consumer's list has a job that is not open"
        );
        for slots in leased.into_values() {
            ensure!(
                slots <= u32::from(MAX_SLOTS),
                "6: more slots are leased than a machine can have"
            );
        }
        for (consumer, escrowed) in held {
            ensure!(
                T::Currency::balance_on_hold(&HoldReason::Escrow.into(), &consumer) == escrowed,
                "7: a consumer's hold is not the sum of the escrows"
            );
        }
        Ok(())
    }

    /// Invariants 3 to 6 for one job.
    fn try_state_of(record: &JobRecord<T::AccountId>) -> Result<(), TryRuntimeError> {
        let price = cost(
            record.price_per_slot_hour,
            record.slots,
            record.max_duration_ms,
            Rounding::Up,
        )
        .ok_or("3: a job's price is more than any balance")?;
        ensure!(
            record.escrowed.checked_add(record.paid) == Some(price),
            "3: escrow and payments are not the price"
        );
        match (record.state, record.kind) {
            (
                JobState::Running {
                    started_at_ms,
                    settled_until_ms,
                },
                JobKind::Service,
            ) => ensure!(
                settled_until_ms >= started_at_ms
                    && settled_until_ms <= record.run_ends_ms(started_at_ms)
                    && record.paid == record.earned(started_at_ms, settled_until_ms),
                "4: a service is not paid for the time it is settled for"
            ),
            (
                JobState::Running {
                    started_at_ms,
                    settled_until_ms,
                },
                JobKind::Task,
            ) => ensure!(
                settled_until_ms == started_at_ms && record.paid == 0,
                "4: a running task is paid"
            ),
            (JobState::Starting { .. }, _) => ensure!(record.paid == 0, "4: an unstarted job is paid"),
            (
                JobState::Verifying {
                    started_at_ms,
                    ended_at_ms,
                    window_ends_ms,
                    ..
                },
                kind,
            ) => ensure!(
                kind == JobKind::Task
                    && record.paid == 0
                    && (started_at_ms..=record.run_ends_ms(started_at_ms)).contains(&ended_at_ms)
                    && window_ends_ms >= ended_at_ms,
                "4: a result is not of an unpaid task that ended in time"
            ),
        }
        ensure!(
            T::Preimages::is_requested(&record.manifest.hash),
            "5: an open job's manifest is not kept"
        );
        ensure!(
            T::Machines::provider_of(record.machine).as_ref() == Some(&record.provider),
            "6: a job's provider does not own its machine"
        );
        Ok(())
    }
}
