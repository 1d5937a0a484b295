//! Changes of bonds, and the traits by which other pallets read them. Nothing else changes the bonded amount.

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
    /// Holds plancks of the provider and adds them to the machine's bond. Fails for a retired machine and for
    /// one in debt.
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

    /// Writes a changed record and reports the change to the registry.
    pub(crate) fn put(machine: MachineId, record: BondRecordOf<T>) {
        Self::write(machine, record);
        // After the record is written: the listener reads it.
        Self::tell(machine);
    }

    /// Writes a changed record, or removes it if it need not be kept.
    pub(crate) fn write(machine: MachineId, record: BondRecordOf<T>) {
        if Self::must_be_kept(machine, &record) {
            Bonds::<T>::insert(machine, record);
        } else {
            Bonds::<T>::remove(machine);
        }
    }

    /// Reports to the registry how the machine's bond stands after a change.
    pub(crate) fn tell(machine: MachineId) {
        T::OnBondChange::on_bond_change(machine, Self::standing(machine));
    }

    /// Returns true if a record must be kept. Strikes count as long as the registry has the machine:
    /// unbonding whole and bonding anew does not wipe them, and an offence of the machine's last epoch costs
    /// as much as any.
    pub(crate) fn must_be_kept(machine: MachineId, record: &BondRecordOf<T>) -> bool {
        !record.is_settled() || (record.has_strikes() && T::Machines::status(machine).is_some())
    }
}

impl<T: Config> BondInspect for Pallet<T> {
    /// Returns the standing of the machine's bond. Slashes in the agenda count as taken: plancks that are
    /// lost already deter nobody. A bond of zero never suffices, even if the minimum is zero: a machine that
    /// works must have something to lose.
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
    /// Adds a reward to a bond. Fails for a machine that has no bond, is in debt or is retired.
    fn bond_reward(machine: MachineId, amount: Balance) -> DispatchResult {
        let record = Bonds::<T>::get(machine).ok_or(Error::<T>::NotBonded)?;
        Self::ensure_bonded(&record)?;
        if amount == 0 {
            return Ok(());
        }
        Self::add(machine, record, amount)
    }

    /// Returns true if rewards are to be bonded. False for a machine whose bond takes none: one without a
    /// bond, in debt or retired.
    fn auto_stake(machine: MachineId) -> bool {
        Bonds::<T>::get(machine)
            .is_some_and(|record| record.auto_stake && Self::ensure_bonded(&record).is_ok())
            && T::Machines::status(machine) != Some(MachineStatus::Retired)
    }
}

impl<T: Config> OnMachineRemoved for Pallet<T> {
    /// Removes the record of a machine that is gone from the registry, with its strikes.
    fn on_machine_removed(machine: MachineId) {
        if Self::is_settled(machine) {
            Bonds::<T>::remove(machine);
        } else {
            // The registry checks `is_settled` first. Held plancks must keep their record.
            defensive!("a machine was removed that is not settled");
        }
    }
}
