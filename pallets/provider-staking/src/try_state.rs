//! Invariants of the stakes between any two calls.

use alloc::collections::BTreeMap;

use assay_primitives::{
    clock::ActiveClock,
    machine::{MachineId, MachineInspect},
    money::Balance,
    offence::SlashId,
};
use polkadot_sdk::{
    frame_support::{ensure, traits::fungible::InspectHold},
    sp_runtime::TryRuntimeError,
};

use crate::{
    Agenda, AgendaCounts, BondRecordOf, Bonds, Config, Debts, HoldReason, LastAgendaEpoch, NextSlash, Pallet,
};

impl<T: Config> Pallet<T> {
    /// Checks the pallet's invariants:
    ///
    /// 1. Every record has a reason to be kept: held plancks, a debt, a pending slash, or strikes.
    /// 2. No unlocking part is zero, and no two of a machine fall due in the same epoch.
    /// 3. A machine that has a record is in the registry and belongs to the provider on whose account its
    ///    bond is held.
    /// 4. The plancks held on a provider's account are the sum of its records.
    /// 5. A machine in debt has nothing held, its debt is the sum of its entries, and none of these is zero.
    /// 6. A machine's pending amount is the sum of its slashes in the agenda.
    /// 7. Every slash has a place that was given out and that the cursor did not pass, in the agenda's last
    ///    epoch at the latest.
    /// 8. The cursor is in no future epoch and not beyond the places that were given out, and no count is
    ///    kept of epochs before it.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let mut per_provider: BTreeMap<T::AccountId, Balance> = BTreeMap::new();
        for (machine, record) in Bonds::<T>::iter() {
            Self::try_state_of(machine, &record)?;
            let total = per_provider.entry(record.provider.clone()).or_default();
            *total = total.saturating_add(record.total_held());
        }
        // 4
        for (provider, total) in per_provider {
            ensure!(
                T::Currency::balance_on_hold(&HoldReason::MachineBond.into(), &provider) == total,
                "4: a provider's records are not what is held"
            );
        }
        Self::try_state_of_debts()?;
        Self::try_state_of_agenda()
    }

    /// Checks invariants 1, 2, 3 and the first part of 5 of one machine.
    fn try_state_of(machine: MachineId, record: &BondRecordOf<T>) -> Result<(), TryRuntimeError> {
        // 1
        ensure!(
            Self::must_be_kept(machine, record),
            "1: a record says nothing that matters"
        );
        // 2
        for (index, chunk) in record.unlocking.iter().enumerate() {
            ensure!(chunk.amount > 0, "2: a part on its way out is nothing");
            let again = record.unlocking.iter().skip(index.saturating_add(1));
            ensure!(
                again.into_iter().all(|other| other.due_epoch != chunk.due_epoch),
                "2: two parts fall due in the same epoch"
            );
        }
        // 3
        ensure!(
            T::Machines::provider_of(machine).as_ref() == Some(&record.provider),
            "3: a machine with a record is not its provider's"
        );
        // 5
        ensure!(
            record.debt == 0 || record.total_held() == 0,
            "5: a machine in debt has something held"
        );
        Ok(())
    }

    /// Checks the other parts of invariant 5.
    fn try_state_of_debts() -> Result<(), TryRuntimeError> {
        let mut owed: BTreeMap<MachineId, Balance> = BTreeMap::new();
        for (machine, _, debt) in Debts::<T>::iter() {
            ensure!(debt.total() > 0, "5: a debt is nothing");
            let sum = owed.entry(machine).or_default();
            *sum = sum.saturating_add(debt.total());
        }
        for (machine, record) in Bonds::<T>::iter() {
            ensure!(
                owed.remove(&machine).unwrap_or_default() == record.debt,
                "5: a machine's debt is not the sum of its entries"
            );
        }
        ensure!(owed.is_empty(), "5: a machine without a record has debts");
        Ok(())
    }

    /// Checks invariants 6, 7 and 8.
    fn try_state_of_agenda() -> Result<(), TryRuntimeError> {
        let cursor = NextSlash::<T>::get();
        let mut pending: BTreeMap<MachineId, (Balance, u32)> = BTreeMap::new();
        for (due_epoch, index, slash) in Agenda::<T>::iter() {
            // 7
            ensure!(
                index < AgendaCounts::<T>::get(due_epoch),
                "7: a slash has a place that was not given out"
            );
            ensure!(
                SlashId { due_epoch, index } >= cursor,
                "7: a slash has a place that the cursor passed"
            );
            ensure!(
                due_epoch <= LastAgendaEpoch::<T>::get(),
                "7: a slash is in an epoch after the last"
            );
            let (owed, slashes) = pending.entry(slash.machine).or_default();
            *owed = owed.saturating_add(slash.owed);
            *slashes = slashes.saturating_add(1);
        }
        // 6
        for (machine, record) in Bonds::<T>::iter() {
            ensure!(
                pending.remove(&machine).unwrap_or_default() == (record.pending, record.pending_slashes),
                "6: what is pending of a machine is not in the agenda"
            );
        }
        ensure!(
            pending.is_empty(),
            "6: a machine without a record has slashes in the agenda"
        );
        // 8
        ensure!(
            cursor.due_epoch <= T::Clock::current_epoch(),
            "8: the cursor is ahead of the clock"
        );
        ensure!(
            cursor.index <= AgendaCounts::<T>::get(cursor.due_epoch),
            "8: the cursor is behind a place that was not given out"
        );
        ensure!(
            AgendaCounts::<T>::iter_keys().all(|epoch| epoch >= cursor.due_epoch),
            "8: something is kept of an epoch before the cursor"
        );
        Ok(())
    }
}
