//! The one place that changes what is bonded, and what the other pallets see of it.

use assay_primitives::{
    machine::{MachineId, MachineInspect, MachineStatus, OnBondChange},
    money::Balance,
    stake::{BondInspect, BondRewards},
};
use polkadot_sdk::{
    frame_support::{ensure, traits::fungible::MutateHold},
    sp_runtime::{ArithmeticError, DispatchResult},
};

use crate::{BondRecordOf, Bonds, Config, Error, Event, HoldReason, Pallet};

impl<T: Config> Pallet<T> {
    /// Holds plancks of the provider's and adds them to the machine's bond. A retired machine takes none.
    pub(crate) fn add(machine: MachineId, mut record: BondRecordOf<T>, amount: Balance) -> DispatchResult {
        ensure!(
            T::Machines::status(machine) != Some(MachineStatus::Retired),
            Error::<T>::MachineRetired
        );
        T::Currency::hold(&HoldReason::MachineBond.into(), &record.provider, amount)?;
        record.bonded = record
            .bonded
            .checked_add(amount)
            .ok_or(ArithmeticError::Overflow)?;
        Self::deposit_event(Event::Bonded {
            machine,
            amount,
            total: record.bonded,
        });
        Self::put(machine, record);
        Ok(())
    }

    /// Writes a changed bond, or removes it when nothing is held any more, and tells who must know.
    pub(crate) fn put(machine: MachineId, record: BondRecordOf<T>) {
        let sufficient = Self::suffices(machine, record.bonded);
        if record.total_held() == 0 {
            Bonds::<T>::remove(machine);
        } else {
            Bonds::<T>::insert(machine, record);
        }
        // After the record is written: who hears of it asks what is held.
        T::OnBondChange::on_bond_change(machine, sufficient);
    }

    fn suffices(machine: MachineId, bonded: Balance) -> bool {
        Self::minimum_bond(machine).is_some_and(|minimum| bonded >= minimum)
    }
}

impl<T: Config> BondInspect for Pallet<T> {
    fn is_sufficient(machine: MachineId) -> bool {
        let bonded = Bonds::<T>::get(machine).map_or(0, |record| record.bonded);
        Self::suffices(machine, bonded)
    }

    fn total_held(machine: MachineId) -> Balance {
        Bonds::<T>::get(machine).map_or(0, |record| record.total_held())
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_bond(machine: MachineId) {
        crate::benchmarking::bond_minimum::<T>(machine);
    }
}

impl<T: Config> BondRewards for Pallet<T> {
    /// Fails for a machine that has no bond to add to or is retired.
    fn bond_reward(machine: MachineId, amount: Balance) -> DispatchResult {
        let record = Bonds::<T>::get(machine).ok_or(Error::<T>::NotBonded)?;
        if amount == 0 {
            return Ok(());
        }
        Self::add(machine, record, amount)
    }

    /// Never for a retired machine, whose bond takes nothing any more.
    fn auto_stake(machine: MachineId) -> bool {
        Bonds::<T>::get(machine).is_some_and(|record| record.auto_stake)
            && T::Machines::status(machine) != Some(MachineStatus::Retired)
    }
}
