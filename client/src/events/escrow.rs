//! Events of `job-escrow`: jobs from their order to the last payment.

use std::fmt;

use assay_primitives::{clock::Millis, machine::MachineId, money::Balance};
use scale_decode::DecodeAsType;
use serde::Serialize;

use super::text::count;
use crate::{
    types::{AccountId, Diversion, JobId, JobKind, Outcome, as_decimal, as_hex, as_optional_hex},
    units::format_asy,
};

/// Event of jobs and their money.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum EscrowEvent {
    /// A consumer ordered a job; its highest cost is in escrow.
    JobOrdered {
        /// The job.
        job: JobId,
        /// Account that pays.
        consumer: AccountId,
        /// Service or task.
        kind: JobKind,
        /// Number of machines.
        nodes: u8,
        /// Slots on each machine.
        slots: u8,
        /// Plancks held for its price.
        #[serde(serialize_with = "as_decimal")]
        escrowed: Balance,
        /// Plancks held for its bytes and for bounties.
        #[serde(serialize_with = "as_decimal")]
        deposit: Balance,
        /// Time until which machines may accept the order; `None` if its consumer chose them.
        closes_at_ms: Option<Millis>,
    },
    /// A machine got an assignment.
    MachineAssigned {
        /// The job.
        job: JobId,
        /// The machine.
        machine: MachineId,
        /// Account that is paid.
        provider: AccountId,
        /// Plancks per slot-hour.
        #[serde(serialize_with = "as_decimal")]
        price_per_slot_hour: Balance,
        /// End of the start window, in active time.
        start_deadline_ms: Millis,
    },
    /// An assigned machine will not run the job; the auction seeks another.
    PlaceReopened {
        /// The job.
        job: JobId,
        /// The machine.
        machine: MachineId,
        /// Outcome of the assignment.
        outcome: Outcome,
    },
    /// Open places of a job were cancelled.
    PlacesCancelled {
        /// The job.
        job: JobId,
        /// Number of places.
        places: u8,
    },
    /// The container runs.
    JobStarted {
        /// The job.
        job: JobId,
        /// The machine.
        machine: MachineId,
        /// Active time of the start.
        started_at_ms: Millis,
    },
    /// The longest run of a job was extended.
    JobExtended {
        /// The job.
        job: JobId,
        /// Additional time, in milliseconds.
        additional_ms: Millis,
        /// Additional plancks held for its price.
        #[serde(serialize_with = "as_decimal")]
        escrowed: Balance,
        /// Additional plancks held for bounties.
        #[serde(serialize_with = "as_decimal")]
        deposit: Balance,
    },
    /// A machine submitted a task's result.
    ResultSubmitted {
        /// The job.
        job: JobId,
        /// The machine.
        machine: MachineId,
        /// Hash of the result.
        #[serde(serialize_with = "as_hex")]
        result_hash: [u8; 32],
        /// Active time at which silence accepts the result.
        window_ends_ms: Millis,
    },
    /// An attested machine vouched for a task's result, which stands.
    ResultAttested {
        /// The job.
        job: JobId,
        /// The machine.
        machine: MachineId,
        /// Hash of the result.
        #[serde(serialize_with = "as_hex")]
        result_hash: [u8; 32],
        /// The key that signed.
        worker_key: AccountId,
        /// End of the evidence to which the key is bound, in seconds since 1970.
        evidence_until_s: u64,
    },
    /// A replica committed to its result.
    ResultCommitted {
        /// The job.
        job: JobId,
        /// The machine.
        machine: MachineId,
        /// Commitment.
        #[serde(serialize_with = "as_hex")]
        commitment: [u8; 32],
    },
    /// The reveal window of a quorum began.
    RevealOpened {
        /// The job.
        job: JobId,
        /// End of the reveal window, in active time.
        reveal_ends_ms: Millis,
    },
    /// A replica revealed its result.
    ResultRevealed {
        /// The job.
        job: JobId,
        /// The machine.
        machine: MachineId,
        /// Hash of the result.
        #[serde(serialize_with = "as_hex")]
        result_hash: [u8; 32],
    },
    /// The results of a task's replicas were counted.
    QuorumResolved {
        /// The job.
        job: JobId,
        /// Hash of the result that won.
        #[serde(serialize_with = "as_optional_hex")]
        result_hash: Option<[u8; 32]>,
        /// Number of replicas with this result.
        votes: u8,
    },
    /// A machine's part in the job ended; its earnings are paid as its epochs are closed.
    AssignmentEnded {
        /// The job.
        job: JobId,
        /// The machine.
        machine: MachineId,
        /// Outcome of the assignment.
        outcome: Outcome,
        /// End of the paid time, in active time.
        ended_at_ms: Millis,
    },
    /// An assignment was paid, in part or in full.
    PaymentSettled {
        /// The job.
        job: JobId,
        /// Machine that earned it.
        machine: MachineId,
        /// Plancks to the provider.
        #[serde(serialize_with = "as_decimal")]
        provider_amount: Balance,
        /// Protocol fee.
        #[serde(serialize_with = "as_decimal")]
        fee: Balance,
        /// Part of the fee that was burned.
        #[serde(serialize_with = "as_decimal")]
        burned: Balance,
    },
    /// A consumer disputed that a service's workload ended by itself.
    EndDisputed {
        /// The job.
        job: JobId,
        /// The machine.
        machine: MachineId,
    },
    /// The treasury received earnings that neither side is shown to deserve.
    EarningsForfeited {
        /// The job.
        job: JobId,
        /// The machine.
        machine: MachineId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
    },
    /// An account could not receive its part of a payment.
    PaymentDiverted {
        /// The job.
        job: JobId,
        /// Recipient of the part.
        recipient: AccountId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
        /// Where they went instead.
        destination: Diversion,
    },
    /// A part of a job's escrow came back to its consumer.
    EscrowReturned {
        /// The job.
        job: JobId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
    },
    /// A bounty was paid.
    BountyPaid {
        /// The job.
        job: JobId,
        /// Account that received it.
        recipient: AccountId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
    },
    /// An assignment was closed: nothing is held or owed for it any more.
    AssignmentClosed {
        /// The job.
        job: JobId,
        /// The machine.
        machine: MachineId,
        /// Outcome of the assignment.
        outcome: Outcome,
        /// Plancks paid for it in all, fee included.
        #[serde(serialize_with = "as_decimal")]
        paid: Balance,
    },
    /// A job was closed.
    JobClosed {
        /// The job.
        job: JobId,
        /// Plancks paid in all, fee included.
        #[serde(serialize_with = "as_decimal")]
        paid: Balance,
        /// Plancks of the deposit that came back to the consumer.
        #[serde(serialize_with = "as_decimal")]
        deposit_returned: Balance,
    },
}

impl EscrowEvent {
    /// Returns the machine that the event is about, if any.
    pub fn machine(&self) -> Option<MachineId> {
        match self {
            Self::MachineAssigned { machine, .. }
            | Self::PlaceReopened { machine, .. }
            | Self::JobStarted { machine, .. }
            | Self::ResultSubmitted { machine, .. }
            | Self::ResultAttested { machine, .. }
            | Self::ResultCommitted { machine, .. }
            | Self::ResultRevealed { machine, .. }
            | Self::AssignmentEnded { machine, .. }
            | Self::PaymentSettled { machine, .. }
            | Self::EndDisputed { machine, .. }
            | Self::EarningsForfeited { machine, .. }
            | Self::AssignmentClosed { machine, .. } => Some(*machine),
            Self::JobOrdered { .. }
            | Self::PlacesCancelled { .. }
            | Self::JobExtended { .. }
            | Self::RevealOpened { .. }
            | Self::QuorumResolved { .. }
            | Self::PaymentDiverted { .. }
            | Self::EscrowReturned { .. }
            | Self::BountyPaid { .. }
            | Self::JobClosed { .. } => None,
        }
    }

    /// Returns the job that the event is about.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::JobOrdered { job, .. }
            | Self::MachineAssigned { job, .. }
            | Self::PlaceReopened { job, .. }
            | Self::PlacesCancelled { job, .. }
            | Self::JobStarted { job, .. }
            | Self::JobExtended { job, .. }
            | Self::ResultSubmitted { job, .. }
            | Self::ResultAttested { job, .. }
            | Self::ResultCommitted { job, .. }
            | Self::RevealOpened { job, .. }
            | Self::ResultRevealed { job, .. }
            | Self::QuorumResolved { job, .. }
            | Self::AssignmentEnded { job, .. }
            | Self::PaymentSettled { job, .. }
            | Self::EndDisputed { job, .. }
            | Self::EarningsForfeited { job, .. }
            | Self::PaymentDiverted { job, .. }
            | Self::EscrowReturned { job, .. }
            | Self::BountyPaid { job, .. }
            | Self::AssignmentClosed { job, .. }
            | Self::JobClosed { job, .. } => Some(*job),
        }
    }
}

impl fmt::Display for EscrowEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JobOrdered {
                job,
                kind,
                nodes,
                slots,
                escrowed,
                deposit,
                ..
            } => write!(
                f,
                "job {job}, a {kind}, ordered: {} of {} each; {} in escrow, {} deposited",
                count(*nodes, "machine"),
                count(*slots, "slot"),
                format_asy(*escrowed),
                format_asy(*deposit)
            ),
            Self::MachineAssigned {
                job,
                machine,
                price_per_slot_hour,
                ..
            } => write!(
                f,
                "job {job} assigned to machine {machine} at {} per slot-hour",
                format_asy(*price_per_slot_hour)
            ),
            Self::PlaceReopened {
                job,
                machine,
                outcome,
            } => write!(
                f,
                "job {job} will not run on machine {machine} ({outcome}); another machine is sought"
            ),
            Self::PlacesCancelled { job, places } => {
                write!(
                    f,
                    "no machine is sought any more for {} of job {job}",
                    count(*places, "place")
                )
            }
            Self::JobStarted { job, machine, .. } => write!(f, "job {job} runs on machine {machine}"),
            Self::JobExtended { job, escrowed, .. } => {
                write!(
                    f,
                    "job {job} may run longer; {} more in escrow",
                    format_asy(*escrowed)
                )
            }
            Self::ResultSubmitted {
                job,
                machine,
                result_hash,
                ..
            }
            | Self::ResultRevealed {
                job,
                machine,
                result_hash,
            } => {
                write!(
                    f,
                    "result of job {job} from machine {machine}: 0x{}",
                    hex::encode(result_hash)
                )
            }
            Self::ResultAttested {
                job,
                machine,
                result_hash,
                ..
            } => write!(
                f,
                "machine {machine} vouches for its result of job {job}, which stands: 0x{}",
                hex::encode(result_hash)
            ),
            Self::ResultCommitted { job, machine, .. } => {
                write!(f, "machine {machine} committed to its result of job {job}")
            }
            Self::RevealOpened { job, .. } => write!(f, "the results of job {job} may be revealed"),
            Self::QuorumResolved {
                job,
                result_hash: Some(result_hash),
                votes,
            } => write!(
                f,
                "{} of job {job} agree on 0x{}",
                count(*votes, "machine"),
                hex::encode(result_hash)
            ),
            Self::QuorumResolved {
                job,
                result_hash: None,
                ..
            } => write!(f, "no result of job {job} has a quorum"),
            Self::AssignmentEnded {
                job,
                machine,
                outcome,
                ..
            } => write!(f, "job {job} ended on machine {machine}: {outcome}"),
            Self::PaymentSettled {
                job,
                machine,
                provider_amount,
                fee,
                burned,
            } => write!(
                f,
                "{} paid for job {job} to the provider of machine {machine}, {} protocol fee, of which {} burned",
                format_asy(*provider_amount),
                format_asy(*fee),
                format_asy(*burned)
            ),
            Self::EarningsForfeited { job, machine, amount } => write!(
                f,
                "{} of job {job} on machine {machine} went to the treasury",
                format_asy(*amount)
            ),
            Self::PaymentDiverted {
                job,
                recipient,
                amount,
                destination,
            } => write!(
                f,
                "{recipient} could not receive {} of job {job}, which {destination}",
                format_asy(*amount)
            ),
            Self::EscrowReturned { job, amount } => {
                write!(
                    f,
                    "{} of job {job}'s escrow came back to its consumer",
                    format_asy(*amount)
                )
            }
            Self::EndDisputed { job, machine } => write!(
                f,
                "the consumer of job {job} disputes that its workload ended by itself on machine {machine}"
            ),
            Self::BountyPaid {
                job,
                recipient,
                amount,
            } => write!(
                f,
                "{recipient} earned a bounty of {} with job {job}",
                format_asy(*amount)
            ),
            Self::AssignmentClosed {
                job,
                machine,
                outcome,
                paid,
            } => write!(
                f,
                "machine {machine} is done with job {job}: {outcome}; {} paid",
                format_asy(*paid)
            ),
            Self::JobClosed {
                job,
                paid,
                deposit_returned,
            } => write!(
                f,
                "job {job} closed; {} paid, {} of its deposit returned",
                format_asy(*paid),
                format_asy(*deposit_returned)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attested_result_reads_as_a_sentence() {
        let event = EscrowEvent::ResultAttested {
            job: 3,
            machine: 7,
            result_hash: [0xab; 32],
            worker_key: AccountId::from([1; 32]),
            evidence_until_s: 5,
        };
        assert_eq!(
            event.to_string(),
            format!(
                "machine 7 vouches for its result of job 3, which stands: 0x{}",
                "ab".repeat(32)
            )
        );
        assert_eq!((event.job(), event.machine()), (Some(3), Some(7)));
    }

    #[test]
    fn a_payment_says_what_became_of_the_money() {
        let event = EscrowEvent::PaymentSettled {
            job: 3,
            machine: 7,
            provider_amount: 950_000_000_000,
            fee: 50_000_000_000,
            burned: 25_000_000_000,
        };
        assert_eq!(
            event.to_string(),
            "0.95 ASY paid for job 3 to the provider of machine 7, 0.05 ASY protocol fee, of which 0.025 ASY burned"
        );
        assert_eq!((event.job(), event.machine()), (Some(3), Some(7)));
    }
}
