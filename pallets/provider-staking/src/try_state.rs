//! What must hold of the stakes between any two calls.

use alloc::collections::BTreeMap;

use assay_primitives::{machine::MachineInspect, money::Balance};
use polkadot_sdk::{
    frame_support::{ensure, traits::fungible::InspectHold},
    sp_runtime::TryRuntimeError,
};

use crate::{Bonds, Config, HoldReason, Pallet};

impl<T: Config> Pallet<T> {
    /// Checks the pallet's invariants:
    ///
    /// 1. A bond that holds nothing has no record.
    /// 2. No part on its way out is nothing, and no two fall due in the same epoch.
    /// 3. A bonded machine is in the registry and belongs to the provider on whose account its bond is held.
    /// 4. What is held on a provider's account is the sum of its records.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let mut per_provider: BTreeMap<T::AccountId, Balance> = BTreeMap::new();
        for (machine, record) in Bonds::<T>::iter() {
            // 1
            ensure!(record.total_held() > 0, "1: a record holds nothing");
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
                "3: a bonded machine is not its provider's"
            );
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
        Ok(())
    }
}
