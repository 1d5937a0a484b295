//! Invariants between blocks.

extern crate alloc;

use alloc::collections::BTreeMap;

use assay_primitives::{
    clock::{ActiveClock, EpochIndex},
    money::Balance,
};
use polkadot_sdk::{frame_support::ensure, sp_runtime::TryRuntimeError};

use crate::{
    Config, EpochRecords, MachineWeightRecord, MachineWeights, Pallet, PendingWeight, RewardDestination,
    RewardDestinations, TotalWeight, types::FULL_UPTIME_PPM,
};

/// Weights of machines that an epoch has not paid yet, and their rewards.
#[derive(Default)]
struct Claims {
    weight: u128,
    amount: Balance,
}

impl<T: Config> Pallet<T> {
    /// Checks the pallet's invariants:
    ///
    /// 1. A machine's record has steps, in order: they rise in epochs, differ from each other, start above
    ///    zero and reach at most into the next epoch; the current epoch is not paid.
    /// 2. The sums over all machines are the sums of the records: of the current epoch's weights, and of the
    ///    weights that the next epoch adds.
    /// 3. Accounts are kept for the current epoch and those in history only; the current epoch has no pool
    ///    yet.
    /// 4. An epoch without weight has no pool; none minted more than its pool, or will when all machines are
    ///    paid for a whole uptime; nor were more fees burned than taken.
    /// 5. A reward destination belongs to a machine that is in the market or has unpaid rewards.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let current = T::Clock::current_epoch();
        let oldest = Self::oldest_epoch();
        let mut total_weight: u128 = 0;
        let mut pending_weight: u128 = 0;
        let mut claims = BTreeMap::<EpochIndex, Claims>::new();

        for (_, record) in MachineWeights::<T>::iter() {
            // 1.
            Self::check_record(&record, current)?;
            let weight = record.weight_at(current);
            let next_weight = record.weight_at(current.saturating_add(1));
            ensure!(weight <= next_weight, "a decrease did not count at once");
            total_weight = total_weight.saturating_add(weight.into());
            pending_weight = pending_weight.saturating_add((next_weight - weight).into());
            for epoch in record.next_unpaid_epoch.max(oldest)..current {
                let weight = record.weight_at(epoch);
                let claim = claims.entry(epoch).or_default();
                claim.weight = claim.weight.saturating_add(weight.into());
                let reward = EpochRecords::<T>::get(epoch).reward(weight, FULL_UPTIME_PPM);
                claim.amount = claim.amount.saturating_add(reward);
            }
        }

        // 2.
        ensure!(
            total_weight == TotalWeight::<T>::get(),
            "the total weight is not the sum of the weights"
        );
        ensure!(
            pending_weight == PendingWeight::<T>::get(),
            "the pending weight is not the sum of increases"
        );

        for (epoch, record) in EpochRecords::<T>::iter() {
            // 3.
            ensure!(
                (oldest..=current).contains(&epoch),
                "accounts are kept of an epoch outside of history"
            );
            ensure!(
                epoch < current || (record.pool == 0 && record.withheld == 0 && record.total_weight == 0),
                "the current epoch was closed"
            );
            // 4.
            ensure!(
                record.total_weight > 0 || record.pool == 0,
                "an epoch releases something that nobody can earn"
            );
            let claim = claims.remove(&epoch).unwrap_or_default();
            ensure!(
                claim.weight <= record.total_weight,
                "more weight may be paid than was counted"
            );
            let minted_at_most = record.minted.saturating_add(claim.amount);
            ensure!(minted_at_most <= record.pool, "an epoch mints more than its pool");
            ensure!(record.burned <= record.fees, "more was burned than taken as fees");
        }
        ensure!(
            claims.values().all(|claim| claim.amount == 0),
            "an epoch without accounts has something to pay"
        );

        // 5.
        for (machine, destination) in RewardDestinations::<T>::iter() {
            ensure!(
                destination != RewardDestination::Provider,
                "the default destination is stored"
            );
            ensure!(
                MachineWeights::<T>::contains_key(machine) || Self::is_in_market(machine),
                "a destination is kept for a machine that is gone"
            );
        }
        Ok(())
    }

    /// Checks invariant 1.
    fn check_record(
        record: &MachineWeightRecord<T::AccountId>,
        current: EpochIndex,
    ) -> Result<(), TryRuntimeError> {
        let segments = &record.segments;
        let first = segments.first().ok_or("a record says nothing")?;
        ensure!(first.weight > 0, "a weight starts with nothing");
        for pair in segments.windows(2) {
            ensure!(
                pair[0].from_epoch < pair[1].from_epoch,
                "steps of a weight are out of order"
            );
            ensure!(pair[0].weight != pair[1].weight, "a step of a weight is none");
        }
        let last = segments.last().unwrap_or(first);
        let next = current.saturating_add(1);
        ensure!(last.from_epoch <= next, "a weight changes after the next epoch");
        ensure!(
            record.next_unpaid_epoch <= next,
            "an epoch was paid that has not begun"
        );
        ensure!(
            record.next_unpaid_epoch <= current || record.weight_at(current) == 0,
            "the current epoch was paid"
        );
        Ok(())
    }
}
