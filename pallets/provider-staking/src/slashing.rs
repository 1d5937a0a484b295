//! Slashes: queueing, applying and cancelling them.

use assay_primitives::{
    clock::ActiveClock,
    machine::{MachineId, MachineInspect},
    offence::{Beneficiaries, MachineDiscipline, Offence, ReportOffence, SlashId},
};
use polkadot_sdk::{
    frame_support::traits::{DefensiveOption, Get},
    sp_runtime::{ArithmeticError, DispatchError, DispatchResult, Permill},
};

use crate::{
    BondRecord, BondRecordOf, Bonds, Config, Error, Event, Pallet, SlashReason, SlashRecord, SlashRecordOf,
    agenda::SlashAgenda,
    payouts::Source,
    types::{ends_machine, suspends},
};

impl<T: Config> Pallet<T> {
    /// Returns the record of a machine that is to be slashed; an empty one if it has no bond.
    pub(crate) fn record_to_slash(machine: MachineId) -> Result<BondRecordOf<T>, Error<T>> {
        let provider = T::Machines::provider_of(machine).ok_or(Error::<T>::NoSuchMachine)?;
        Ok(Bonds::<T>::get(machine).unwrap_or_else(|| BondRecord::empty(provider)))
    }

    /// Fixes the amount of a slash, queues it in the agenda and stores the record. The caller reports the
    /// change with [`Self::tell`], since the bond may not suffice any more.
    ///
    /// The fraction applies to the plancks held now, but at least to the minimum: a provider that took the
    /// bond out before owes as much as one that did not.
    pub(crate) fn queue(
        machine: MachineId,
        mut record: BondRecordOf<T>,
        reason: SlashReason,
        fraction: Permill,
        beneficiaries: Beneficiaries<T::AccountId>,
        ends_machine: bool,
    ) -> Result<SlashId, DispatchError> {
        let owed = fraction.mul_floor(record.total_held().max(Self::required(machine)?));
        record.pending = record
            .pending
            .checked_add(owed)
            .ok_or(ArithmeticError::Overflow)?;
        record.pending_slashes = record
            .pending_slashes
            .checked_add(1)
            .ok_or(ArithmeticError::Overflow)?;
        let id = SlashAgenda::<T>::queue(SlashRecord {
            machine,
            reason,
            owed,
            beneficiaries,
            ends_machine,
        });
        Bonds::<T>::insert(machine, record);
        Self::deposit_event(Event::SlashQueued {
            id,
            machine,
            reason,
            owed,
        });
        Ok(id)
    }

    /// Applies a slash: takes its amount from the held plancks, and makes a debt of the missing part.
    ///
    /// Fails only if there is no such slash or storage is inconsistent; the caller must then roll back its
    /// changes.
    pub(crate) fn apply(id: SlashId) -> DispatchResult {
        let (slash, mut record) = Self::take_from_agenda(id)?;
        let (machine, ends_machine) = (slash.machine, slash.ends_machine);
        let taken = record.take(slash.owed);
        let mut outstanding = slash.into_dues();
        let payout = Self::pay_out(id, Source::Bond(&record.provider), outstanding.take(taken))?;
        Self::deposit_event(Event::Slashed {
            id,
            machine,
            taken,
            to_consumer: payout.to_consumer,
            burned: payout.burned,
            debt: outstanding.total(),
        });
        Self::add_debt(machine, &mut record, id, outstanding)?;

        Self::write(machine, record);
        if ends_machine {
            T::Discipline::condemn(machine);
        }
        Self::tell(machine);
        Ok(())
    }

    /// Cancels a slash before it is applied, and takes back its strike. Slashes that were queued meanwhile
    /// stay as they are, even if the strike made them dearer.
    pub(crate) fn cancel(id: SlashId) -> DispatchResult {
        let (slash, mut record) = Self::take_from_agenda(id)?;
        if let SlashReason::Offence(offence) = slash.reason {
            record.take_strike_back(offence);
        }
        Self::deposit_event(Event::SlashCancelled {
            id,
            machine: slash.machine,
        });
        // The registry removes a retired machine now if this slash was the last thing that kept it.
        Self::put(slash.machine, record);
        Ok(())
    }

    /// Removes a slash from the agenda and from its machine's record. The caller stores the record.
    fn take_from_agenda(id: SlashId) -> Result<(SlashRecordOf<T>, BondRecordOf<T>), DispatchError> {
        let slash = SlashAgenda::<T>::take(id).ok_or(Error::<T>::NoSuchSlash)?;
        let mut record = Bonds::<T>::get(slash.machine).defensive_ok_or(Error::<T>::NoSuchMachine)?;
        record.pending = record
            .pending
            .checked_sub(slash.owed)
            .ok_or(ArithmeticError::Underflow)?;
        record.pending_slashes = record
            .pending_slashes
            .checked_sub(1)
            .ok_or(ArithmeticError::Underflow)?;
        Ok((slash, record))
    }
}

impl<T: Config> ReportOffence<T::AccountId> for Pallet<T> {
    fn report_offence(
        machine: MachineId,
        offence: Offence,
        beneficiaries: Beneficiaries<T::AccountId>,
    ) -> Result<SlashId, DispatchError> {
        let mut record = Self::record_to_slash(machine)?;
        let before = record.add_strike(offence, T::Clock::current_epoch(), T::StrikeMemoryEpochs::get());
        let fraction = T::OffenceTable::get().penalty(offence).fraction(before);
        let id = Self::queue(
            machine,
            record,
            SlashReason::Offence(offence),
            fraction,
            beneficiaries,
            ends_machine(offence, before),
        )?;
        if suspends(offence) {
            T::Discipline::suspend_for_offence(machine);
        }
        Self::tell(machine);
        Ok(id)
    }
}
