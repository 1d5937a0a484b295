//! The escrow: the only place of this pallet that moves money.
//!
//! What is owed is taken out of the hold by force: a consumer who has frozen the balance (by a vote or a
//! lock) still pays. And whatever an account refuses to receive goes to the treasury instead, or is burned,
//! so that no account's condition can keep a job from closing.

use assay_primitives::{emission::FlywheelLedger, money::Balance};
use polkadot_sdk::{
    frame_support::{
        ensure,
        storage::with_storage_layer,
        traits::{
            Get,
            fungible::{Inspect, hold::Mutate},
            tokens::{DepositConsequence, Fortitude, Precision, Provenance, Restriction},
        },
    },
    sp_runtime::{ArithmeticError, DispatchError, DispatchResult},
};

use crate::{Config, Diversion, Error, Event, HoldReason, JobId, JobRecord, Pallet};

/// How one payment is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PaymentSplit {
    /// The provider's part.
    pub(crate) provider: Balance,
    /// The protocol's part: what follows, together.
    pub(crate) fee: Balance,
    /// Half of the fee, rounded up, which is burned.
    pub(crate) burned: Balance,
    /// Half of what remains of the fee, rounded up.
    pub(crate) treasury: Balance,
    /// The rest, for the author of the block.
    pub(crate) author: Balance,
}

impl<T: Config> Pallet<T> {
    /// Divides a payment by the fee of the moment.
    pub(crate) fn split(amount: Balance) -> PaymentSplit {
        let fee = T::ProtocolFee::get().mul_floor(amount);
        let shared = fee / 2;
        let author = shared / 2;
        PaymentSplit {
            provider: amount.saturating_sub(fee),
            fee,
            burned: fee.saturating_sub(shared),
            treasury: shared.saturating_sub(author),
            author,
        }
    }

    /// Holds the whole price of a job.
    pub(crate) fn hold_escrow(consumer: &T::AccountId, amount: Balance) -> DispatchResult {
        T::Currency::hold(&HoldReason::Escrow.into(), consumer, amount)
    }

    /// Fails if paying `amount` now would not reach the provider.
    pub(crate) fn ensure_provider_receives(
        record: &JobRecord<T::AccountId>,
        amount: Balance,
    ) -> DispatchResult {
        let consequence =
            T::Currency::can_deposit(&record.provider, Self::split(amount).provider, Provenance::Extant);
        ensure!(
            consequence == DepositConsequence::Success,
            Error::<T>::ProviderCannotReceive
        );
        Ok(())
    }

    /// Pays `amount` out of the job's escrow and notes it in the record, which the caller stores or drops.
    pub(crate) fn pay(job: JobId, record: &mut JobRecord<T::AccountId>, amount: Balance) -> DispatchResult {
        if amount == 0 {
            return Ok(());
        }
        record.escrowed = record
            .escrowed
            .checked_sub(amount)
            .ok_or(ArithmeticError::Underflow)?;
        record.paid = record.paid.checked_add(amount).ok_or(ArithmeticError::Overflow)?;

        let split = Self::split(amount);
        let treasury = T::TreasuryAccount::get();
        let author = T::BlockAuthor::get().unwrap_or_else(|| treasury.clone());
        Self::burn(&record.consumer, split.burned)?;
        let provider_amount = Self::deliver(job, &record.consumer, &record.provider, split.provider)?;
        Self::deliver(job, &record.consumer, &treasury, split.treasury)?;
        Self::deliver(job, &record.consumer, &author, split.author)?;

        T::Flywheel::note_fee(split.fee, split.burned);
        Self::deposit_event(Event::PaymentSettled {
            job,
            provider_amount,
            fee: split.fee,
            burned: split.burned,
        });
        Ok(())
    }

    /// Gives back what a closing job has left in escrow, and tells how much the consumer got.
    pub(crate) fn refund(job: JobId, record: &mut JobRecord<T::AccountId>) -> Result<Balance, DispatchError> {
        let amount = core::mem::take(&mut record.escrowed);
        if amount == 0 {
            return Ok(0);
        }
        let released = with_storage_layer(|| {
            T::Currency::release(
                &HoldReason::Escrow.into(),
                &record.consumer,
                amount,
                Precision::Exact,
            )
        });
        match released {
            Ok(released) => Ok(released),
            // Only an account that lives by another pallet's reference alone cannot take back what is less
            // than the existential deposit.
            Err(_) => {
                Self::divert(job, &record.consumer, &record.consumer, amount)?;
                Ok(0)
            }
        }
    }

    /// Moves `amount` of the consumer's hold to `recipient`, and tells how much of it arrived there: all or
    /// nothing.
    fn deliver(
        job: JobId,
        consumer: &T::AccountId,
        recipient: &T::AccountId,
        amount: Balance,
    ) -> Result<Balance, DispatchError> {
        if amount == 0 {
            return Ok(0);
        }
        match Self::transfer(consumer, recipient, amount) {
            Ok(()) => Ok(amount),
            Err(_) => {
                Self::divert(job, consumer, recipient, amount)?;
                Ok(0)
            }
        }
    }

    /// Sends to the treasury what `recipient` cannot receive, or burns it.
    fn divert(
        job: JobId,
        consumer: &T::AccountId,
        recipient: &T::AccountId,
        amount: Balance,
    ) -> DispatchResult {
        let destination = match Self::transfer(consumer, &T::TreasuryAccount::get(), amount) {
            Ok(()) => Diversion::Treasury,
            Err(_) => {
                Self::burn(consumer, amount)?;
                Diversion::Burned
            }
        };
        Self::deposit_event(Event::PaymentDiverted {
            job,
            recipient: recipient.clone(),
            amount,
            destination,
        });
        Ok(())
    }

    /// Moves held money to an account's free balance, or changes nothing.
    fn transfer(consumer: &T::AccountId, recipient: &T::AccountId, amount: Balance) -> DispatchResult {
        with_storage_layer(|| {
            T::Currency::transfer_on_hold(
                &HoldReason::Escrow.into(),
                consumer,
                recipient,
                amount,
                Precision::Exact,
                Restriction::Free,
                Fortitude::Force,
            )
            .map(|_| ())
        })
    }

    /// Burns held money.
    fn burn(consumer: &T::AccountId, amount: Balance) -> DispatchResult {
        if amount == 0 {
            return Ok(());
        }
        T::Currency::burn_held(
            &HoldReason::Escrow.into(),
            consumer,
            amount,
            Precision::Exact,
            Fortitude::Force,
        )
        .map(|_| ())
    }
}
