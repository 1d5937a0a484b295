//! The escrow: the only place of this pallet that moves money.
//!
//! All that is held of a consumer is held for one reason. Its parts are in the records: the escrow of each
//! assignment, the deposit and the bounties of each job, and the highest price of each open place, which
//! follows from the order.
//!
//! Payments are taken out of the hold by force: a consumer who has frozen the balance (by a vote or a lock)
//! still pays. An amount that an account cannot receive goes to the treasury, or is burned, so that no
//! account's condition keeps a job from closing.
//!
//! A call that closes a place, pays the last of an assignment, judges as many epochs as one call may, accepts
//! for a silent consumer, ends an auction or decides a quorum pays a *bounty* to its caller, unless the
//! caller takes part. A job holds as many bounties of its consumer's as there can be such calls, and the rest
//! goes back. A call that reopens a place pays none.

use assay_primitives::{
    clock::{ActiveClock, Millis},
    emission::FlywheelLedger,
    machine::{MachineId, MachineInspect},
    money::Balance,
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        storage::with_storage_layer,
        traits::{
            Get, Imbalance,
            fungible::{Balanced, Credit, Inspect, hold::Balanced as _, hold::Mutate},
            tokens::{DepositConsequence, Fortitude, Precision, Provenance, Restriction},
        },
    },
    frame_system,
    sp_runtime::{ArithmeticError, DispatchError, DispatchResult, Permill, Rounding},
};

use crate::{
    AssignmentRecordOf, Config, Diversion, Event, HoldBack, HoldReason, JobId, JobKind, JobRecordOf, Pallet,
    book::{OpenAssignment, OpenJob},
    types::{MAX_HOLD_BACK_EPOCHS, cost},
};

/// Bounties that a job's own calls may pay: the end of its auction, and the count of its replicas.
const BOUNTIES_PER_JOB: u32 = 2;

/// Bounties that each place's calls may pay, without those for judging many epochs: its end, and the last
/// payment.
const BOUNTIES_PER_PLACE: u32 = 2;

/// A part of a payment on its way to a recipient.
type CreditOf<T> = Credit<<T as frame_system::Config>::AccountId, <T as Config>::Currency>;

/// Parts of one payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PaymentSplit {
    /// The provider's part.
    pub(crate) provider: Balance,
    /// The protocol's part: the sum of the following three.
    pub(crate) fee: Balance,
    /// Half of the fee, rounded up, which is burned.
    pub(crate) burned: Balance,
    /// Half of what remains of the fee, rounded up.
    pub(crate) treasury: Balance,
    /// The rest, for the author of the block.
    pub(crate) author: Balance,
}

impl PaymentSplit {
    /// Divides a payment.
    pub(crate) fn of(amount: Balance, protocol_fee: Permill) -> Self {
        let fee = protocol_fee.mul_floor(amount);
        let shared = fee / 2;
        let author = shared / 2;
        Self {
            provider: amount.saturating_sub(fee),
            fee,
            burned: fee.saturating_sub(shared),
            treasury: shared.saturating_sub(author),
            author,
        }
    }
}

impl<T: Config> Pallet<T> {
    /// Divides a payment by the fee of the moment.
    pub(crate) fn split(amount: Balance) -> PaymentSplit {
        PaymentSplit::of(amount, T::Terms::get().protocol_fee)
    }

    /// Returns the deposit for the bytes that a job keeps in storage, those of its public manifest among
    /// them: the account that noted the manifest may take its own deposit back while the job still needs the
    /// bytes.
    pub(crate) fn byte_deposit(nodes: u8, is_request: bool, manifest_bytes: u32) -> Balance {
        let request = if is_request { T::RequestDeposit::get() } else { 0 };
        let manifest = T::ManifestByteDeposit::get().saturating_mul(manifest_bytes.into());
        T::AssignmentDeposit::get()
            .saturating_mul(nodes.into())
            .saturating_add(T::JobDeposit::get())
            .saturating_add(request)
            .saturating_add(manifest)
    }

    /// Returns the maximum number of bounties that a job can pay.
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

    /// Returns all that is held for an order besides its price.
    pub(crate) fn whole_deposit(
        nodes: u8,
        max_duration_ms: Millis,
        is_request: bool,
        manifest_bytes: u32,
    ) -> Balance {
        Self::bounties(nodes, max_duration_ms)
            .saturating_mul(T::Terms::get().bounty)
            .saturating_add(Self::byte_deposit(nodes, is_request, manifest_bytes))
    }

    /// Returns the part of an assignment's pay that is held back: of a service only, and no more than a day's
    /// pay, with epochs of `epoch_ms`.
    pub(crate) fn hold_back(
        job: &JobRecordOf<T>,
        assignment: &AssignmentRecordOf<T>,
        epoch_ms: Millis,
    ) -> HoldBack {
        let longest_ms = epoch_ms.saturating_mul(MAX_HOLD_BACK_EPOCHS);
        let part = match job.kind {
            JobKind::Service => job.hold_back,
            JobKind::Task { .. } => Permill::zero(),
        };
        HoldBack {
            part,
            at_most: cost(
                assignment.price_per_slot_hour,
                job.slots,
                longest_ms,
                Rounding::Up,
            )
            .unwrap_or(Balance::MAX),
        }
    }

    /// Holds more of a consumer's money: for the price of a job, and for its bytes and bounties.
    pub(crate) fn hold(consumer: &T::AccountId, escrow: Balance, deposit: Balance) -> DispatchResult {
        // Nobody has as much as where the sum saturates.
        let amount = escrow.saturating_add(deposit);
        if amount == 0 {
            return Ok(());
        }
        T::Currency::hold(&HoldReason::Job.into(), consumer, amount)
    }

    /// Returns true if the provider would receive its part of a payment.
    pub(crate) fn can_receive(provider: &T::AccountId, payment: PaymentSplit) -> bool {
        let consequence = T::Currency::can_deposit(provider, payment.provider, Provenance::Extant);
        consequence == DepositConsequence::Success
    }

    /// Gives back a part of the escrow that is in no record any more.
    pub(crate) fn return_escrow(job: JobId, consumer: &T::AccountId, amount: Balance) -> DispatchResult {
        if Self::give_back(job, consumer, amount)? > 0 {
            Self::deposit_event(Event::EscrowReturned { job, amount });
        }
        Ok(())
    }

    /// Returns true for a machine's provider and its worker key.
    pub(crate) fn acts_for(who: &T::AccountId, machine: MachineId, provider: &T::AccountId) -> bool {
        who == provider || T::Machines::machine_of_worker(who) == Some(machine)
    }

    /// Frees held money, and returns the part that the consumer got: all or nothing.
    fn give_back(job: JobId, consumer: &T::AccountId, amount: Balance) -> Result<Balance, DispatchError> {
        if amount == 0 {
            return Ok(0);
        }
        let reason = HoldReason::Job.into();
        let released =
            with_storage_layer(|| T::Currency::release(&reason, consumer, amount, Precision::Exact));
        match released {
            Ok(released) => Ok(released),
            // Only an account that lives by another pallet's reference alone cannot take back what is less
            // than the existential deposit.
            Err(_) => {
                Self::divert(job, consumer, consumer, amount)?;
                Ok(0)
            }
        }
    }

    /// Gives a part of a payment to `recipient`, or to the treasury where the recipient cannot receive it, or
    /// burns it. Returns how much arrived at the recipient: all or nothing.
    fn credit(job: JobId, recipient: &T::AccountId, credit: CreditOf<T>) -> Balance {
        let amount = credit.peek();
        if amount == 0 {
            return 0;
        }
        let Err(refused) = T::Currency::resolve(recipient, credit) else {
            return amount;
        };
        let destination = match T::Currency::resolve(&T::TreasuryAccount::get(), refused) {
            Ok(()) => Diversion::Treasury,
            // Dropped here, which burns it.
            Err(_) => Diversion::Burned,
        };
        Self::deposit_event(Event::PaymentDiverted {
            job,
            recipient: recipient.clone(),
            amount,
            destination,
        });
        0
    }

    /// Moves `amount` of the consumer's hold to `recipient`, and returns the part that arrived there: all or
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
                &HoldReason::Job.into(),
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
            &HoldReason::Job.into(),
            consumer,
            amount,
            Precision::Exact,
            Fortitude::Force,
        )
        .map(|_| ())
    }
}

impl<T: Config> OpenAssignment<T> {
    /// Makes a payment out of the escrow, and notes it in the records.
    ///
    /// The whole payment leaves the consumer's hold at once: each access to a hold costs as much as a credit.
    pub(crate) fn pay(&mut self, split: PaymentSplit) -> DispatchResult {
        let amount = split.provider.saturating_add(split.fee);
        if amount == 0 {
            return Ok(());
        }
        self.take_escrow(amount)?;
        let add = |paid: Balance| paid.checked_add(amount).ok_or(ArithmeticError::Overflow);
        self.assignment.paid = add(self.assignment.paid)?;
        self.job.paid = add(self.job.paid)?;

        let job_id = self.job_id;
        let (mut payment, missing) = T::Currency::slash(&HoldReason::Job.into(), &self.job.consumer, amount);
        ensure!(missing == 0, ArithmeticError::Underflow);
        let provider_part = payment.extract(split.provider);
        let provider_amount = Pallet::<T>::credit(job_id, &self.assignment.provider, provider_part);
        let treasury = T::TreasuryAccount::get();
        match T::BlockAuthor::get() {
            Some(author) => {
                Pallet::<T>::credit(job_id, &treasury, payment.extract(split.treasury));
                Pallet::<T>::credit(job_id, &author, payment.extract(split.author));
            }
            None => {
                let both = split.treasury.saturating_add(split.author);
                Pallet::<T>::credit(job_id, &treasury, payment.extract(both));
            }
        }
        // The burned part is left: dropping it takes it out of the issuance.
        drop(payment);

        T::Flywheel::note_fee(split.fee, split.burned);
        Pallet::<T>::deposit_event(Event::PaymentSettled {
            job: job_id,
            machine: self.machine,
            provider_amount,
            fee: split.fee,
            burned: split.burned,
        });
        Ok(())
    }

    /// Sends to the treasury what neither side may have.
    pub(crate) fn forfeit(&mut self, amount: Balance) -> DispatchResult {
        if amount == 0 {
            return Ok(());
        }
        self.take_escrow(amount)?;
        let treasury = T::TreasuryAccount::get();
        Pallet::<T>::deliver(self.job_id, &self.job.consumer, &treasury, amount)?;
        Pallet::<T>::deposit_event(Event::EarningsForfeited {
            job: self.job_id,
            machine: self.machine,
            amount,
        });
        Ok(())
    }

    /// Returns the assignment's escrow above `keep` to the consumer.
    pub(crate) fn return_excess(&mut self, keep: Balance) -> DispatchResult {
        let excess = self.assignment.escrowed.saturating_sub(keep);
        self.take_escrow(excess)?;
        Pallet::<T>::return_escrow(self.job_id, &self.job.consumer, excess)
    }

    fn take_escrow(&mut self, amount: Balance) -> DispatchResult {
        self.assignment.escrowed = self
            .assignment
            .escrowed
            .checked_sub(amount)
            .ok_or(ArithmeticError::Underflow)?;
        Ok(())
    }
}

impl<T: Config> OpenJob<T> {
    /// Pays a bounty, if one is left and can be received.
    pub(crate) fn pay_bounty(&mut self, recipient: &T::AccountId) {
        let amount = self.job.bounty.min(self.job.bounties);
        if amount > 0 && Pallet::<T>::transfer(&self.job.consumer, recipient, amount).is_ok() {
            self.job.bounties = self.job.bounties.saturating_sub(amount);
            Pallet::<T>::deposit_event(Event::BountyPaid {
                job: self.job_id,
                recipient: recipient.clone(),
                amount,
            });
        }
    }

    /// Gives back the rest of a closing job's deposit. Returns the part that the consumer got.
    pub(crate) fn return_deposit(&self) -> Result<Balance, DispatchError> {
        let amount = self
            .job
            .deposit
            .checked_add(self.job.bounties)
            .ok_or(ArithmeticError::Overflow)?;
        Pallet::<T>::give_back(self.job_id, &self.job.consumer, amount)
    }
}
