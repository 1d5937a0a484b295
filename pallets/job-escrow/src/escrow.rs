//! The escrow: the only place of this pallet that moves money.
//!
//! What is owed is taken out of the hold by force: a consumer who has frozen the balance (by a vote or a
//! lock) still pays. And whatever an account refuses to receive goes to the treasury instead, or is burned,
//! so that no account's condition can keep a job from closing.
//!
//! A call that closes a place, pays the last of an assignment, judges as many epochs as one call may, accepts for a
//! silent consumer, ends an auction or decides a quorum pays a *bounty* to its caller, unless the caller takes part. The
//! consumer holds as many bounties as there can be such calls, and gets back the rest. Reporting silence that opens a
//! place again pays none: the reporter's share of the slash does.

use assay_primitives::{
    clock::{ActiveClock, Millis},
    emission::FlywheelLedger,
    machine::{MachineId, MachineInspect},
    money::Balance,
};
use polkadot_sdk::{
    frame_support::{
        storage::with_storage_layer,
        traits::{
            Get,
            fungible::{Inspect, hold::Mutate},
            tokens::{DepositConsequence, Fortitude, Precision, Provenance, Restriction},
        },
    },
    sp_runtime::{ArithmeticError, DispatchError, DispatchResult, Permill, Rounding},
};

use crate::{
    AssignmentRecordOf, Config, Diversion, Event, HoldBack, HoldReason, JobId, JobKind, JobRecordOf, Pallet,
    types::{MAX_HOLD_BACK_EPOCHS, cost},
};

/// Bounties that a job's own calls may pay: the end of its auction, and the count of its replicas.
const BOUNTIES_PER_JOB: u32 = 2;

/// Bounties that each place's calls may pay, without those for judging many epochs: its end, and the last payment.
const BOUNTIES_PER_PLACE: u32 = 2;

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

    /// What is held for the bytes that a job keeps, those of its public manifest among them: who noted it may have its own
    /// deposit back while the job still needs the bytes.
    pub(crate) fn byte_deposit(nodes: u8, is_request: bool, manifest_bytes: u32) -> Balance {
        let request = if is_request { T::RequestDeposit::get() } else { 0 };
        let manifest = T::ManifestByteDeposit::get().saturating_mul(manifest_bytes.into());
        T::AssignmentDeposit::get()
            .saturating_mul(nodes.into())
            .saturating_add(T::JobDeposit::get())
            .saturating_add(request)
            .saturating_add(manifest)
    }

    /// Most bounties that can be earned with a job.
    pub(crate) fn bounties(nodes: u8, max_duration_ms: Millis) -> Balance {
        // A run touches one epoch more than it is long, and another one where it is no whole number of them.
        let epochs = max_duration_ms
            .checked_div(T::Clock::epoch_duration_ms())
            .unwrap_or(0)
            .saturating_add(2);
        let batches = epochs
            .checked_div(T::MaxEpochsPerSettle::get().into())
            .unwrap_or(epochs);
        Balance::from(BOUNTIES_PER_PLACE)
            .saturating_add(batches.into())
            .saturating_mul(nodes.into())
            .saturating_add(BOUNTIES_PER_JOB.into())
    }

    /// Everything that is held for an order besides its price.
    pub(crate) fn whole_deposit(
        nodes: u8,
        max_duration_ms: Millis,
        is_request: bool,
        manifest_bytes: u32,
    ) -> Balance {
        Self::bounties(nodes, max_duration_ms)
            .saturating_mul(T::Bounty::get())
            .saturating_add(Self::byte_deposit(nodes, is_request, manifest_bytes))
    }

    /// What is held back of what an assignment earns: of a service only, and no more than a day's pay.
    pub(crate) fn hold_back(record: &JobRecordOf<T>, assignment: &AssignmentRecordOf<T>) -> HoldBack {
        let longest_ms = T::Clock::epoch_duration_ms().saturating_mul(MAX_HOLD_BACK_EPOCHS);
        let part = match record.kind {
            JobKind::Service => record.hold_back,
            JobKind::Task { .. } => Permill::zero(),
        };
        HoldBack {
            part,
            at_most: cost(
                assignment.price_per_slot_hour,
                record.slots,
                longest_ms,
                Rounding::Up,
            )
            .unwrap_or(Balance::MAX),
        }
    }

    /// Holds more of a consumer's money.
    pub(crate) fn hold(reason: HoldReason, consumer: &T::AccountId, amount: Balance) -> DispatchResult {
        if amount == 0 {
            return Ok(());
        }
        T::Currency::hold(&reason.into(), consumer, amount)
    }

    /// Whether the provider would receive its part of `amount`.
    pub(crate) fn can_receive(provider: &T::AccountId, amount: Balance) -> bool {
        let consequence =
            T::Currency::can_deposit(provider, Self::split(amount).provider, Provenance::Extant);
        consequence == DepositConsequence::Success
    }

    /// Pays `amount` out of an assignment's escrow and notes it in the records, which the caller stores or drops.
    pub(crate) fn pay(
        job: JobId,
        order: &mut JobRecordOf<T>,
        machine: MachineId,
        record: &mut AssignmentRecordOf<T>,
        amount: Balance,
    ) -> DispatchResult {
        if amount == 0 {
            return Ok(());
        }
        Self::take_escrow(record, amount)?;
        record.paid = record.paid.checked_add(amount).ok_or(ArithmeticError::Overflow)?;
        order.paid = order.paid.checked_add(amount).ok_or(ArithmeticError::Overflow)?;

        let split = Self::split(amount);
        let treasury = T::TreasuryAccount::get();
        let author = T::BlockAuthor::get().unwrap_or_else(|| treasury.clone());
        let reason = HoldReason::Escrow;
        Self::burn(reason, &order.consumer, split.burned)?;
        let provider_amount = Self::deliver(job, reason, &order.consumer, &record.provider, split.provider)?;
        Self::deliver(job, reason, &order.consumer, &treasury, split.treasury)?;
        Self::deliver(job, reason, &order.consumer, &author, split.author)?;

        T::Flywheel::note_fee(split.fee, split.burned);
        Self::deposit_event(Event::PaymentSettled {
            job,
            machine,
            provider_amount,
            fee: split.fee,
            burned: split.burned,
        });
        Ok(())
    }

    /// Sends to the treasury what neither side may have.
    pub(crate) fn forfeit(
        job: JobId,
        order: &JobRecordOf<T>,
        machine: MachineId,
        record: &mut AssignmentRecordOf<T>,
        amount: Balance,
    ) -> DispatchResult {
        if amount == 0 {
            return Ok(());
        }
        Self::take_escrow(record, amount)?;
        let treasury = T::TreasuryAccount::get();
        Self::deliver(job, HoldReason::Escrow, &order.consumer, &treasury, amount)?;
        Self::deposit_event(Event::EarningsForfeited { job, machine, amount });
        Ok(())
    }

    /// Gives back what an assignment has in escrow above `keep`.
    pub(crate) fn return_excess(
        job: JobId,
        order: &JobRecordOf<T>,
        record: &mut AssignmentRecordOf<T>,
        keep: Balance,
    ) -> DispatchResult {
        let excess = record.escrowed.saturating_sub(keep);
        Self::take_escrow(record, excess)?;
        Self::return_escrow(job, &order.consumer, excess)
    }

    /// Gives back a part of the escrow that is in no record any more.
    pub(crate) fn return_escrow(job: JobId, consumer: &T::AccountId, amount: Balance) -> DispatchResult {
        if Self::give_back(job, HoldReason::Escrow, consumer, amount)? > 0 {
            Self::deposit_event(Event::EscrowReturned { job, amount });
        }
        Ok(())
    }

    /// Gives back what a closing job has left of its deposit, and tells how much the consumer got.
    pub(crate) fn return_deposit(job: JobId, order: &JobRecordOf<T>) -> Result<Balance, DispatchError> {
        let amount = order
            .deposit
            .checked_add(order.bounties)
            .ok_or(ArithmeticError::Overflow)?;
        Self::give_back(job, HoldReason::Deposit, &order.consumer, amount)
    }

    /// Pays a bounty to who made a call, unless it takes part in the job.
    pub(crate) fn pay_caller(
        job: JobId,
        order: &mut JobRecordOf<T>,
        caller: &T::AccountId,
        machine: MachineId,
        provider: &T::AccountId,
    ) {
        if *caller != order.consumer && !Self::acts_for(caller, machine, provider) {
            Self::pay_bounty(job, order, caller);
        }
    }

    /// Pays a bounty, if one is left and can be received.
    pub(crate) fn pay_bounty(job: JobId, order: &mut JobRecordOf<T>, recipient: &T::AccountId) {
        let amount = order.bounty.min(order.bounties);
        if amount > 0 && Self::transfer(HoldReason::Deposit, &order.consumer, recipient, amount).is_ok() {
            order.bounties = order.bounties.saturating_sub(amount);
            Self::deposit_event(Event::BountyPaid {
                job,
                recipient: recipient.clone(),
                amount,
            });
        }
    }

    /// Whether an account is a machine's provider, or its worker.
    pub(crate) fn acts_for(who: &T::AccountId, machine: MachineId, provider: &T::AccountId) -> bool {
        who == provider || T::Machines::machine_of_worker(who) == Some(machine)
    }

    fn take_escrow(record: &mut AssignmentRecordOf<T>, amount: Balance) -> DispatchResult {
        record.escrowed = record
            .escrowed
            .checked_sub(amount)
            .ok_or(ArithmeticError::Underflow)?;
        Ok(())
    }

    /// Frees held money, and tells how much of it the consumer got: all or nothing.
    fn give_back(
        job: JobId,
        reason: HoldReason,
        consumer: &T::AccountId,
        amount: Balance,
    ) -> Result<Balance, DispatchError> {
        if amount == 0 {
            return Ok(0);
        }
        let released =
            with_storage_layer(|| T::Currency::release(&reason.into(), consumer, amount, Precision::Exact));
        match released {
            Ok(released) => Ok(released),
            // Only an account that lives by another pallet's reference alone cannot take back what is less
            // than the existential deposit.
            Err(_) => {
                Self::divert(job, reason, consumer, consumer, amount)?;
                Ok(0)
            }
        }
    }

    /// Moves `amount` of the consumer's hold to `recipient`, and tells how much of it arrived there: all or
    /// nothing.
    fn deliver(
        job: JobId,
        reason: HoldReason,
        consumer: &T::AccountId,
        recipient: &T::AccountId,
        amount: Balance,
    ) -> Result<Balance, DispatchError> {
        if amount == 0 {
            return Ok(0);
        }
        match Self::transfer(reason, consumer, recipient, amount) {
            Ok(()) => Ok(amount),
            Err(_) => {
                Self::divert(job, reason, consumer, recipient, amount)?;
                Ok(0)
            }
        }
    }

    /// Sends to the treasury what `recipient` cannot receive, or burns it.
    fn divert(
        job: JobId,
        reason: HoldReason,
        consumer: &T::AccountId,
        recipient: &T::AccountId,
        amount: Balance,
    ) -> DispatchResult {
        let destination = match Self::transfer(reason, consumer, &T::TreasuryAccount::get(), amount) {
            Ok(()) => Diversion::Treasury,
            Err(_) => {
                Self::burn(reason, consumer, amount)?;
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
    fn transfer(
        reason: HoldReason,
        consumer: &T::AccountId,
        recipient: &T::AccountId,
        amount: Balance,
    ) -> DispatchResult {
        with_storage_layer(|| {
            T::Currency::transfer_on_hold(
                &reason.into(),
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
    fn burn(reason: HoldReason, consumer: &T::AccountId, amount: Balance) -> DispatchResult {
        if amount == 0 {
            return Ok(());
        }
        T::Currency::burn_held(
            &reason.into(),
            consumer,
            amount,
            Precision::Exact,
            Fortitude::Force,
        )
        .map(|_| ())
    }
}
