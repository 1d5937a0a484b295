//! What machines owe because a slash found too little. Nothing else touches the debts.

use assay_primitives::{machine::MachineId, offence::SlashId};
use polkadot_sdk::{
    frame_support::ensure,
    sp_runtime::{ArithmeticError, DispatchError, DispatchResult},
};

use crate::{BondRecordOf, Config, DebtRecordOf, Debts, Error, Pallet};

impl<T: Config> Pallet<T> {
    /// Notes what a slash left outstanding, if anything, in the debts and in the record, which the caller stores.
    pub(crate) fn add_debt(
        machine: MachineId,
        record: &mut BondRecordOf<T>,
        id: SlashId,
        outstanding: DebtRecordOf<T>,
    ) -> DispatchResult {
        let amount = outstanding.total();
        if amount == 0 {
            return Ok(());
        }
        record.debt = record.debt.checked_add(amount).ok_or(ArithmeticError::Overflow)?;
        Debts::<T>::insert(machine, id, outstanding);
        Ok(())
    }

    /// Takes out what a slash left outstanding, of the debts and of the record, which the caller stores.
    pub(crate) fn take_debt(
        machine: MachineId,
        record: &mut BondRecordOf<T>,
        id: SlashId,
    ) -> Result<DebtRecordOf<T>, DispatchError> {
        let debt = Debts::<T>::take(machine, id).ok_or(Error::<T>::NoSuchDebt)?;
        record.debt = record
            .debt
            .checked_sub(debt.total())
            .ok_or(ArithmeticError::Underflow)?;
        Ok(debt)
    }

    /// Fails for a machine that owes something.
    pub(crate) fn ensure_no_debt(record: &BondRecordOf<T>) -> Result<(), Error<T>> {
        ensure!(record.debt == 0, Error::<T>::InDebt);
        Ok(())
    }
}
