//! Logic of the calls, after their origins were checked.

use assay_primitives::{
    emission::EpochUptime,
    machine::{MachineId, MachineInspect},
    money::Balance,
    stake::BondRewards,
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        storage::with_storage_layer,
        traits::{Get, fungible::Mutate},
    },
    sp_runtime::{DispatchError, DispatchResult},
};

use crate::{
    Config, EpochRecords, Error, Event, MachineWeights, Pallet, RewardDestination, RewardDestinations,
    types::ethereum_account,
};

impl<T: Config> Pallet<T> {
    /// Pays a machine's oldest unpaid epochs. Returns the number of epochs paid.
    pub(crate) fn do_payout(machine: MachineId, max_epochs: u32) -> Result<u32, DispatchError> {
        ensure!(
            (1..=T::MaxEpochsPerPayout::get()).contains(&max_epochs),
            Error::<T>::BadEpochCount
        );
        let epochs = MachineWeights::<T>::get(machine)
            .and_then(|record| Self::unpaid_epochs(&record, max_epochs))
            .ok_or(Error::<T>::NothingToPay)?;
        let paid = epochs.end.saturating_sub(epochs.start);
        // Before the epochs count as paid, since an average begins with the oldest unpaid one; and before the
        // record is read for its change, since the update may change the record.
        T::Uptime::count_epochs(machine, paid);

        let mut record = MachineWeights::<T>::get(machine).ok_or(Error::<T>::NothingToPay)?;
        let mut amount: Balance = 0;
        for epoch in epochs.clone() {
            let mut accounts = EpochRecords::<T>::get(epoch);
            let reward = Self::reward_of(machine, &record, epoch, &accounts);
            if reward > 0 {
                accounts.minted = accounts.minted.saturating_add(reward);
                EpochRecords::<T>::insert(epoch, accounts);
                amount = amount.saturating_add(reward);
            }
        }
        let destination = Self::destination(machine);
        let provider = record.provider.clone();
        record.next_unpaid_epoch = epochs.end;
        record.forget_before(epochs.end);
        // Before the plancks move: a bond that suffices again brings the machine back and changes its weight.
        Self::keep_record(machine, record);
        let (destination, bonded) = Self::mint_reward(machine, &provider, destination, amount)?;
        Self::deposit_event(Event::RewardPaid {
            machine,
            first_epoch: epochs.start,
            last_epoch: epochs.end.saturating_sub(1),
            amount,
            destination,
            bonded,
        });
        Ok(paid)
    }

    /// Returns the destination of a machine's rewards.
    fn destination(machine: MachineId) -> RewardDestination<T::AccountId> {
        if T::BondRewards::auto_stake(machine) {
            RewardDestination::Bond
        } else {
            RewardDestinations::<T>::get(machine)
        }
    }

    /// Mints a reward to its destination. Returns the account that received it, and true if it is in the
    /// machine's bond.
    fn mint_reward(
        machine: MachineId,
        provider: &T::AccountId,
        destination: RewardDestination<T::AccountId>,
        amount: Balance,
    ) -> Result<(T::AccountId, bool), DispatchError> {
        let to_bond = destination == RewardDestination::Bond;
        let account = match destination {
            RewardDestination::Provider | RewardDestination::Bond => provider.clone(),
            RewardDestination::Account(account) => account,
            RewardDestination::Ethereum(address) => ethereum_account(address).into(),
        };
        if amount == 0 {
            return Ok((account, false));
        }
        T::Currency::mint_into(&account, amount).map_err(|_| Error::<T>::DestinationCannotReceive)?;
        // A bond may refuse the reward, for example that of a retired machine. The provider then keeps it in
        // its free balance.
        let bonded = to_bond && with_storage_layer(|| T::BondRewards::bond_reward(machine, amount)).is_ok();
        Ok((account, bonded))
    }

    /// Sets a machine's reward destination.
    pub(crate) fn do_set_reward_destination(
        who: T::AccountId,
        machine: MachineId,
        destination: RewardDestination<T::AccountId>,
    ) -> DispatchResult {
        let provider = match MachineWeights::<T>::get(machine) {
            Some(record) => Some(record.provider),
            None if Self::is_in_market(machine) => T::Machines::provider_of(machine),
            // No payout follows any more, so nothing would ever remove the entry.
            None => None,
        };
        ensure!(
            provider.ok_or(Error::<T>::NoSuchMachine)? == who,
            Error::<T>::NotProvider
        );
        if destination == RewardDestination::Provider {
            RewardDestinations::<T>::remove(machine);
        } else {
            RewardDestinations::<T>::insert(machine, destination.clone());
        }
        Self::deposit_event(Event::RewardDestinationSet { machine, destination });
        Ok(())
    }
}
