//! The one place that changes what is bonded, and what the other pallets see of it.

use assay_primitives::{
    machine::{MachineId, MachineInspect, MachineStatus, OnMachineRemoved},
    money::Balance,
    stake::{BondInspect, BondRewards, BondStanding, OnBondChange},
};
use polkadot_sdk::{
    frame_support::{defensive, ensure, traits::fungible::MutateHold},
    sp_runtime::{ArithmeticError, DispatchResult},
};

use crate::{BondRecordOf, Bonds, Config, Error, Event, HoldReason, Pallet};

impl<T: Config> Pallet<T> {
    /// Holds plancks of the provider's and adds them to the machine's bond. A retired machine takes none, and one
    /// in debt must pay that first.
    pub(crate) fn add(machine: MachineId, mut record: BondRecordOf<T>, amount: Balance) -> DispatchResult {
        Self::ensure_no_debt(&record)?;
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

    /// Writes a changed record and tells who must know.
    pub(crate) fn put(machine: MachineId, record: BondRecordOf<T>) {
        Self::write(machine, record);
        // After the record is written: who hears of it asks what is held.
        Self::tell(machine);
    }

    /// Writes a changed record, or removes it when it says nothing any more.
    pub(crate) fn write(machine: MachineId, record: BondRecordOf<T>) {
        if Self::says_something(machine, &record) {
            Bonds::<T>::insert(machine, record);
        } else {
            Bonds::<T>::remove(machine);
        }
    }

    /// Tells how the machine's bond stands after it changed.
    pub(crate) fn tell(machine: MachineId) {
        T::OnBondChange::on_bond_change(machine, Self::standing(machine));
    }

    /// Whether a record must be kept. As long as the registry knows the machine its strikes count, so that
    /// nobody loses them by taking the bond out and bonding anew, and an offence of its last epoch is as dear
    /// as any.
    pub(crate) fn says_something(machine: MachineId, record: &BondRecordOf<T>) -> bool {
        !record.is_settled() || (record.has_strikes() && T::Machines::status(machine).is_some())
    }
}

impl<T: Config> BondInspect for Pallet<T> {
    /// Slashes in the agenda count as taken: what is lost already is no reason to behave. A bond of nothing
    /// never suffices, also where nothing is asked: a machine that works has something to lose.
    fn standing(machine: MachineId) -> BondStanding {
        let (bonded, debt) =
            Bonds::<T>::get(machine).map_or((0, 0), |record| (record.unencumbered(), record.debt));
        if debt > 0 {
            BondStanding::InDebt
        } else if bonded > 0 && Self::minimum_bond(machine).is_some_and(|minimum| bonded >= minimum) {
            BondStanding::Sufficient
        } else {
            BondStanding::TooLow
        }
    }

    fn is_settled(machine: MachineId) -> bool {
        Bonds::<T>::get(machine).is_none_or(|record| record.is_settled())
    }

    fn has_pending_slash(machine: MachineId) -> bool {
        Bonds::<T>::get(machine).is_some_and(|record| record.pending_slashes > 0)
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_bond(machine: MachineId) {
        crate::benchmarking::bond_minimum::<T>(machine);
    }
}

impl<T: Config> BondRewards for Pallet<T> {
    /// Fails for a machine that has no bond to add to, is in debt or is retired.
    fn bond_reward(machine: MachineId, amount: Balance) -> DispatchResult {
        let record = Bonds::<T>::get(machine).ok_or(Error::<T>::NotBonded)?;
        Self::ensure_bonded(&record)?;
        if amount == 0 {
            return Ok(());
        }
        Self::add(machine, record, amount)
    }

    /// Never for a machine whose bond takes nothing: one without a bond, in debt or retired.
    fn auto_stake(machine: MachineId) -> bool {
        Bonds::<T>::get(machine)
            .is_some_and(|record| record.auto_stake && Self::ensure_bonded(&record).is_ok())
            && T::Machines::status(machine) != Some(MachineStatus::Retired)
    }
}

impl<T: Config> OnMachineRemoved for Pallet<T> {
    /// Forgets the machine's strikes.
    fn on_machine_removed(machine: MachineId) {
        if Self::is_settled(machine) {
            Bonds::<T>::remove(machine);
        } else {
            // The registry asks `is_settled` first. What is held must keep its record.
            defensive!("a machine was removed that is not settled");
        }
    }
}
