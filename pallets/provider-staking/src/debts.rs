//! Debts of machines: parts of slashes that the bond did not cover. Nothing else writes them.

use assay_primitives::{machine::MachineId, offence::SlashId};
use polkadot_sdk::{
    frame_support::ensure,
    sp_runtime::{ArithmeticError, DispatchError, DispatchResult},
};

use crate::{BondRecordOf, Config, DebtRecordOf, Debts, Error, Pallet};

impl<T: Config> Pallet<T> {
    /// Adds the outstanding part of a slash, if there is one, to the debts and to the record. The caller
    /// stores the record.
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

    /// Removes the outstanding part of a slash from the debts and from the record. The caller stores the
    /// record.
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

    /// Fails for a machine in debt.
    pub(crate) fn ensure_no_debt(record: &BondRecordOf<T>) -> Result<(), Error<T>> {
        ensure!(record.debt == 0, Error::<T>::InDebt);
        Ok(())
    }
}
