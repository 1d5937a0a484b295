//! The work of the calls.

use assay_primitives::{
    clock::ActiveClock,
    machine::{MachineId, MachineInspect, MachineStatus},
    money::Balance,
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        traits::{Get, fungible::MutateHold, tokens::Precision},
    },
    sp_runtime::DispatchResult,
};

use crate::{BondRecord, BondRecordOf, Bonds, Config, Error, Event, HoldReason, Pallet};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_bond(who: T::AccountId, machine: MachineId, amount: Balance) -> DispatchResult {
        let provider = T::Machines::provider_of(machine).ok_or(Error::<T>::NoSuchMachine)?;
        ensure!(provider == who, Error::<T>::NotProvider);
        ensure!(!Bonds::<T>::contains_key(machine), Error::<T>::AlreadyBonded);
        ensure!(amount >= Self::required(machine)?, Error::<T>::BelowMinimum);
        // A minimum of nothing would let a record of nothing through.
        ensure!(amount > 0, Error::<T>::AmountIsZero);

        Self::add(machine, BondRecord::empty(who), amount)
    }

    pub(crate) fn do_bond_extra(who: T::AccountId, machine: MachineId, amount: Balance) -> DispatchResult {
        let record = Self::bond_of(&who, machine)?;
        ensure!(amount > 0, Error::<T>::AmountIsZero);

        Self::add(machine, record, amount)
    }

    pub(crate) fn do_unbond(who: T::AccountId, machine: MachineId, amount: Balance) -> DispatchResult {
        let mut record = Self::bond_of(&who, machine)?;
        ensure!(amount > 0, Error::<T>::AmountIsZero);
        record.bonded = record
            .bonded
            .checked_sub(amount)
            .ok_or(Error::<T>::BondTooSmall)?;
        Self::ensure_may_keep(machine, record.bonded)?;

        let due_epoch = T::Clock::current_epoch().saturating_add(T::UnbondingEpochs::get());
        ensure!(
            record.try_push_chunk(amount, due_epoch),
            Error::<T>::TooManyChunks
        );
        Self::deposit_event(Event::Unbonded {
            machine,
            amount,
            due_epoch,
        });
        Self::put(machine, record);
        Ok(())
    }

    pub(crate) fn do_withdraw(machine: MachineId) -> DispatchResult {
        let mut record = Bonds::<T>::get(machine).ok_or(Error::<T>::NotBonded)?;
        let amount = record.take_due(T::Clock::current_epoch());
        ensure!(amount > 0, Error::<T>::NothingDue);

        T::Currency::release(
            &HoldReason::MachineBond.into(),
            &record.provider,
            amount,
            Precision::Exact,
        )?;
        Self::deposit_event(Event::Withdrawn { machine, amount });
        Self::put(machine, record);
        Ok(())
    }

    pub(crate) fn do_set_auto_stake(
        who: T::AccountId,
        machine: MachineId,
        auto_stake: bool,
    ) -> DispatchResult {
        let mut record = Self::bond_of(&who, machine)?;
        record.auto_stake = auto_stake;
        // Nothing is held more or less, so nobody needs to hear of it.
        Bonds::<T>::insert(machine, record);
        Self::deposit_event(Event::AutoStakeSet { machine, auto_stake });
        Ok(())
    }

    /// The bond of a machine, which must be `who`'s.
    fn bond_of(who: &T::AccountId, machine: MachineId) -> Result<BondRecordOf<T>, Error<T>> {
        let record = Bonds::<T>::get(machine).ok_or(Error::<T>::NotBonded)?;
        ensure!(record.provider == *who, Error::<T>::NotProvider);
        Ok(record)
    }

    /// The machine's minimum.
    fn required(machine: MachineId) -> Result<Balance, Error<T>> {
        Self::minimum_bond(machine).ok_or(Error::<T>::NoSuchMachine)
    }

    /// Whether a machine may have no more than `bonded` when its provider takes a part out.
    fn ensure_may_keep(machine: MachineId, bonded: Balance) -> Result<(), Error<T>> {
        match T::Machines::status(machine) {
            Some(MachineStatus::Active | MachineStatus::Draining) => {
                ensure!(bonded >= Self::required(machine)?, Error::<T>::BelowMinimum);
                ensure!(bonded > 0, Error::<T>::MachineInMarket);
            }
            Some(MachineStatus::Suspended(_)) => ensure!(bonded > 0, Error::<T>::MachineInMarket),
            // A machine that is not there any more has no use for a bond either.
            Some(MachineStatus::Unproven | MachineStatus::Retired) | None => {}
        }
        Ok(())
    }
}
