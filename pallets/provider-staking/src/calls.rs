//! Logic of the calls, after their origins were checked.

use assay_primitives::{
    clock::ActiveClock,
    machine::{MachineId, MachineInspect, MachineStatus},
    money::Balance,
    offence::{Beneficiaries, SlashId},
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        traits::{Get, fungible::MutateHold, tokens::Precision},
    },
    sp_runtime::{DispatchResult, Permill},
};

use crate::{
    BondRecord, BondRecordOf, Bonds, Config, Error, Event, HoldReason, Pallet, SlashReason,
    agenda::SlashAgenda, payouts::Source,
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_bond(who: T::AccountId, machine: MachineId, amount: Balance) -> DispatchResult {
        let provider = T::Machines::provider_of(machine).ok_or(Error::<T>::NoSuchMachine)?;
        ensure!(provider == who, Error::<T>::NotProvider);
        // A machine without a bond may have strikes, and plancks on their way out.
        let record = Bonds::<T>::get(machine).unwrap_or_else(|| BondRecord::empty(who));
        Self::ensure_no_debt(&record)?;
        ensure!(record.bonded == 0, Error::<T>::AlreadyBonded);
        ensure!(amount >= Self::required(machine)?, Error::<T>::BelowMinimum);
        // With a minimum of zero the check above would accept a bond of zero.
        ensure!(amount > 0, Error::<T>::AmountIsZero);

        Self::add(machine, record, amount)
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
        Self::ensure_may_keep(machine, &record)?;

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
        let epoch = T::Clock::current_epoch();
        ensure!(record.due(epoch) > 0, Error::<T>::NothingDue);
        let amount = record.take_due(epoch, record.releasable());
        ensure!(amount > 0, Error::<T>::SlashPending);

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
        // The held amount stays, so no listener needs to know.
        Bonds::<T>::insert(machine, record);
        Self::deposit_event(Event::AutoStakeSet { machine, auto_stake });
        Ok(())
    }

    pub(crate) fn do_slash(
        machine: MachineId,
        fraction: Permill,
        beneficiaries: Beneficiaries<T::AccountId>,
    ) -> DispatchResult {
        let record = Self::record_to_slash(machine)?;
        ensure!(!fraction.is_zero(), Error::<T>::AmountIsZero);

        Self::queue(
            machine,
            record,
            SlashReason::Governance,
            fraction,
            beneficiaries,
            false,
        )?;
        Self::tell(machine);
        Ok(())
    }

    pub(crate) fn do_apply_slash(id: SlashId) -> DispatchResult {
        ensure!(SlashAgenda::<T>::contains(id), Error::<T>::NoSuchSlash);
        ensure!(id.due_epoch <= T::Clock::current_epoch(), Error::<T>::SlashNotDue);
        Self::apply(id)
    }

    pub(crate) fn do_pay_debt(who: T::AccountId, machine: MachineId, id: SlashId) -> DispatchResult {
        let mut record = Bonds::<T>::get(machine).ok_or(Error::<T>::NoSuchDebt)?;
        let debt = Self::take_debt(machine, &mut record, id)?;
        let payout = Self::pay_out(id, Source::Free(&who), debt)?;
        Self::deposit_event(Event::DebtPaid {
            id,
            machine,
            payer: who,
            to_consumer: payout.to_consumer,
            burned: payout.burned,
        });
        Self::put(machine, record);
        Ok(())
    }

    /// Returns the record of a machine that has a bond and belongs to `who`.
    fn bond_of(who: &T::AccountId, machine: MachineId) -> Result<BondRecordOf<T>, Error<T>> {
        let record = Bonds::<T>::get(machine).ok_or(Error::<T>::NotBonded)?;
        ensure!(record.provider == *who, Error::<T>::NotProvider);
        Self::ensure_bonded(&record)?;
        Ok(record)
    }

    /// Fails for a record without a bond, with [`Error::InDebt`] if it has a debt.
    pub(crate) fn ensure_bonded(record: &BondRecordOf<T>) -> Result<(), Error<T>> {
        Self::ensure_no_debt(record)?;
        ensure!(record.bonded > 0, Error::<T>::NotBonded);
        Ok(())
    }

    /// Returns the machine's minimum.
    pub(crate) fn required(machine: MachineId) -> Result<Balance, Error<T>> {
        Self::minimum_bond(machine).ok_or(Error::<T>::NoSuchMachine)
    }

    /// Fails if the bond of this record is too little for the machine after its provider unbonded a part.
    /// Plancks that slashes in the agenda will take do not count.
    ///
    /// A retired machine may be unbonded whole at once: nobody leases it any more, and unlocking plancks can
    /// be slashed for longer than its deeds stay open to reports.
    fn ensure_may_keep(machine: MachineId, record: &BondRecordOf<T>) -> Result<(), Error<T>> {
        let must_be_whole = match T::Machines::status(machine) {
            Some(MachineStatus::Active | MachineStatus::Draining) => true,
            Some(MachineStatus::Suspended(_)) => {
                ensure!(record.bonded > 0, Error::<T>::MachineInMarket);
                T::Machines::is_accountable(machine)
            }
            Some(MachineStatus::Unproven) => T::Machines::is_accountable(machine),
            // A machine that is gone from the registry needs no bond either.
            Some(MachineStatus::Retired) | None => false,
        };
        if must_be_whole {
            ensure!(
                record.unencumbered() >= Self::required(machine)?,
                Error::<T>::BelowMinimum
            );
            ensure!(record.bonded > 0, Error::<T>::MachineInMarket);
        }
        Ok(())
    }
}
