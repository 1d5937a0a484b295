//! Events of the pallet: what became of jobs, and of the money that is held for them.
//!
//! Each movement of money has an event of its own, with its amount; the sums of a job are in its last one.

use polkadot_sdk::frame_support::pallet_macros::pallet_section;

/// The section that the pallet imports.
#[pallet_section]
mod events {
    use crate::{Diversion, JobKind, Outcome};

    /// Events of the pallet.
    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A job was ordered and the most that it can cost was held.
        JobOrdered {
            /// The job.
            job: JobId,
            /// The account that pays.
            consumer: T::AccountId,
            /// Service or task.
            kind: JobKind,
            /// Machines that it wants.
            nodes: u8,
            /// Slots of each.
            slots: u8,
            /// Plancks held for its price.
            escrowed: Balance,
            /// Plancks held for its bytes and for bounties.
            deposit: Balance,
            /// The last active time at which machines may accept it; `None` where its consumer chose them.
            closes_at_ms: Option<Millis>,
        },
        /// A machine got a job.
        MachineAssigned {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// The account that is paid.
            provider: T::AccountId,
            /// The price that was fixed, in plancks per slot and hour.
            price_per_slot_hour: Balance,
            /// The last active time at which the machine may start it.
            start_deadline_ms: Millis,
        },
        /// A machine that was assigned will not run the job; another one is sought.
        PlaceReopened {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Reason.
            outcome: Outcome,
        },
        /// No machine is sought any more for some of a job's places.
        PlacesCancelled {
            /// The job.
            job: JobId,
            /// Number of places.
            places: u8,
        },
        /// A machine started a job.
        JobStarted {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Active time of the start.
            started_at_ms: Millis,
        },
        /// A consumer extended the time that a job may run.
        JobExtended {
            /// The job.
            job: JobId,
            /// By how much, in milliseconds.
            additional_ms: Millis,
            /// Plancks held besides for its price.
            escrowed: Balance,
            /// Plancks held besides for bounties.
            deposit: Balance,
        },
        /// A task gave its result.
        ResultSubmitted {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Hash of the result.
            result_hash: H256,
            /// The last active time of the consumer's window.
            window_ends_ms: Millis,
        },
        /// An attested machine vouched for a task's result, which stands.
        ResultAttested {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Hash of the result.
            result_hash: H256,
            /// The key that signed.
            worker_key: T::AccountId,
            /// Until when the evidence counts that the key is bound to, in seconds since 1970.
            evidence_until_s: u64,
        },
        /// A replica committed to its result.
        ResultCommitted {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Commitment to the result and a salt.
            commitment: H256,
        },
        /// No replica can commit any more: those that did may reveal.
        RevealOpened {
            /// The job.
            job: JobId,
            /// The last active time at which they may.
            reveal_ends_ms: Millis,
        },
        /// A replica revealed its result.
        ResultRevealed {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Hash of the result.
            result_hash: H256,
        },
        /// The replicas of a task were counted.
        QuorumResolved {
            /// The job.
            job: JobId,
            /// Hash of the result that won; `None` where none had a quorum.
            result_hash: Option<H256>,
            /// Number of replicas that gave it.
            votes: u8,
        },
        /// A machine is free again; its earnings are paid as its epochs are closed.
        AssignmentEnded {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Reason for the end.
            outcome: Outcome,
            /// Active time at which what is paid ends.
            ended_at_ms: Millis,
        },
        /// A payment was made out of a job's escrow.
        PaymentSettled {
            /// The job.
            job: JobId,
            /// The machine that earned it.
            machine: MachineId,
            /// Plancks that reached the provider; zero where its account could not receive them.
            provider_amount: Balance,
            /// Plancks that the protocol kept.
            fee: Balance,
            /// Part of the fee that was burned.
            burned: Balance,
        },
        /// Earnings that neither side is shown to deserve went to the treasury.
        EarningsForfeited {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Plancks.
            amount: Balance,
        },
        /// Somebody's account could not receive its part of a job's money.
        PaymentDiverted {
            /// The job.
            job: JobId,
            /// Whose part it was.
            recipient: T::AccountId,
            /// Plancks.
            amount: Balance,
            /// Where they went instead.
            destination: Diversion,
        },
        /// A consumer disputed that a service's workload ended by itself: its machine is not paid the
        /// hold-back.
        EndDisputed {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
        },
        /// A part of a job's escrow went back to its consumer.
        EscrowReturned {
            /// The job.
            job: JobId,
            /// Plancks.
            amount: Balance,
        },
        /// A bounty was paid.
        BountyPaid {
            /// The job.
            job: JobId,
            /// The account that made the call, or the treasury.
            recipient: T::AccountId,
            /// Plancks.
            amount: Balance,
        },
        /// Nothing is held or owed any more for a machine's part in a job.
        AssignmentClosed {
            /// The job.
            job: JobId,
            /// The machine.
            machine: MachineId,
            /// Reason for the end.
            outcome: Outcome,
            /// Plancks paid for it in all, fees included.
            paid: Balance,
        },
        /// A job closed: nothing of it is left.
        JobClosed {
            /// The job.
            job: JobId,
            /// Plancks paid in all, fees included, without bounties.
            paid: Balance,
            /// Plancks of the deposit that went back to the consumer.
            deposit_returned: Balance,
        },
    }
}
