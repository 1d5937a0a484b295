//! Payment of slashes and debts: the consumer's loss first, and the rest burned.
//!
//! A share that an account cannot receive is burned instead, so that no account's state can prevent a slash
//! or the payment of a debt.

use assay_primitives::{money::Balance, offence::SlashId};
use polkadot_sdk::{
    frame_support::{
        storage::with_storage_layer,
        traits::{
            fungible::{Inspect, Mutate, MutateHold},
            tokens::{DepositConsequence, Fortitude, Precision, Preservation, Provenance, Restriction},
        },
    },
    sp_runtime::{DispatchError, DispatchResult},
};

use crate::{Config, DebtRecordOf, Event, HoldReason, Pallet};

/// Source of a payment.
pub(crate) enum Source<'a, AccountId> {
    /// Plancks held on a provider's account, taken by force: frozen ones are taken too.
    Bond(&'a AccountId),
    /// Plancks that an account can spend and stay alive.
    Free(&'a AccountId),
}

/// Result of a payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Payout {
    /// Plancks that the consumer received.
    pub(crate) to_consumer: Balance,
    /// Plancks burned, including those that the consumer could not receive.
    pub(crate) burned: Balance,
}

impl<T: Config> Pallet<T> {
    /// Pays the dues of a slash.
    ///
    /// May fail after it moved a part of them: the caller must then roll back its storage changes.
    pub(crate) fn pay_out(
        id: SlashId,
        source: Source<T::AccountId>,
        dues: DebtRecordOf<T>,
    ) -> Result<Payout, DispatchError> {
        let total = dues.total();
        let to_consumer = Self::pay_share(id, &source, dues.consumer)?;
        let burned = total.saturating_sub(to_consumer);
        Self::burn(&source, burned)?;
        Ok(Payout { to_consumer, burned })
    }

    /// Pays a share to its recipient and returns the amount that arrived: all or nothing.
    fn pay_share(
        id: SlashId,
        source: &Source<T::AccountId>,
        share: Option<(T::AccountId, Balance)>,
    ) -> Result<Balance, DispatchError> {
        let Some((recipient, amount)) = share.filter(|(_, amount)| *amount > 0) else {
            return Ok(0);
        };
        let arrived = match source {
            Source::Bond(provider) => with_storage_layer(|| {
                T::Currency::transfer_on_hold(
                    &HoldReason::MachineBond.into(),
                    provider,
                    &recipient,
                    amount,
                    Precision::Exact,
                    Restriction::Free,
                    Fortitude::Force,
                )
            })
            .is_ok(),
            // Checked before the transfer: a payer with too little must not get the share burned.
            Source::Free(payer) => {
                let consequence = T::Currency::can_deposit(&recipient, amount, Provenance::Extant);
                let receivable = consequence == DepositConsequence::Success;
                if receivable {
                    T::Currency::transfer(payer, &recipient, amount, Preservation::Preserve)?;
                }
                receivable
            }
        };
        if arrived {
            return Ok(amount);
        }
        Self::deposit_event(Event::ShareBurned {
            id,
            recipient,
            amount,
        });
        Ok(0)
    }

    fn burn(source: &Source<T::AccountId>, amount: Balance) -> DispatchResult {
        if amount == 0 {
            return Ok(());
        }
        match source {
            Source::Bond(provider) => T::Currency::burn_held(
                &HoldReason::MachineBond.into(),
                provider,
                amount,
                Precision::Exact,
                Fortitude::Force,
            ),
            Source::Free(payer) => T::Currency::burn_from(
                payer,
                amount,
                Preservation::Preserve,
                Precision::Exact,
                Fortitude::Polite,
            ),
        }
        .map(|_| ())
    }
}
