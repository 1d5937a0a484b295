//! Jobs, from their order to their end.

use std::fmt;

use assay_primitives::{clock::Millis, money::Balance};
use scale_decode::DecodeAsType;
use serde::Serialize;

use super::{AccountId, as_decimal, as_hex};

/// Who says whether a task's result stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum Verification {
    /// Its consumer; silence accepts.
    Consumer {
        /// Active time that the consumer has to look at a result.
        window_ms: Millis,
    },
    /// Machines of different providers, by giving the same result.
    Quorum {
        /// How many run it.
        replicas: u8,
        /// How many have to agree.
        threshold: u8,
    },
    /// The machine itself, by a key that fresh evidence of its processor's TEE is bound to.
    Attested,
    /// A proof of the computation.
    Proof {
        /// Hash of the key that verifies it.
        #[serde(serialize_with = "as_hex")]
        verifying_key: [u8; 32],
    },
}

/// Whether a job is metered or ends with a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum JobKind {
    /// Metered until closed.
    Service,
    /// Ends with a result that is verified.
    Task {
        /// By whom.
        verification: Verification,
    },
}

impl JobKind {
    /// A task whose consumer has so long to look at its result.
    pub const fn task(window_ms: Millis) -> Self {
        Self::Task {
            verification: Verification::Consumer { window_ms },
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Service => "service",
            Self::Task { .. } => "task",
        })
    }
}

/// Names a manifest that was noted as a preimage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct ManifestRef {
    /// blake2-256 of the manifest's bytes.
    #[serde(serialize_with = "as_hex")]
    pub hash: [u8; 32],
    /// Its length in bytes.
    pub length_bytes: u32,
}

/// Names the bytes that tell a worker what to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum Manifest {
    /// Noted on chain; anybody can read it.
    Public(ManifestRef),
    /// Brought to each worker by the consumer.
    Sealed {
        /// blake2-256 of the bytes before they are sealed.
        #[serde(serialize_with = "as_hex")]
        hash: [u8; 32],
    },
}

impl Manifest {
    /// blake2-256 of the manifest's bytes.
    pub fn hash(&self) -> &[u8; 32] {
        match self {
            Self::Public(manifest) => &manifest.hash,
            Self::Sealed { hash } => hash,
        }
    }
}

/// How the price of an open order rises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct AuctionTerms {
    /// What is offered at first, in plancks per slot-hour.
    #[serde(serialize_with = "as_decimal")]
    pub floor_price_per_slot_hour: Balance,
    /// Active time in which the offer rises to the order's maximum.
    pub rise_ms: Millis,
    /// Active time for which machines may accept.
    pub open_ms: Millis,
}

/// The auction of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Auction {
    /// How the price rises.
    pub terms: AuctionTerms,
    /// Active time at which it began.
    pub opened_at_ms: Millis,
    /// Active time from which its price rises: later than its beginning where places were given back.
    pub rising_since_ms: Millis,
}

/// How far the replicas of a task are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Ballot {
    /// Places that may still bring a commitment.
    pub undecided: u8,
    /// Replicas that committed to a result.
    pub committed: u8,
    /// Of those, how many revealed it.
    pub revealed: u8,
    /// Until when results may be revealed; `None` while a place is undecided.
    pub reveal_ends_ms: Option<Millis>,
    /// Last active time at which machines may take open places, from the first commitment on.
    pub fill_until_ms: Option<Millis>,
}

/// How far a machine is with a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum AssignmentState {
    /// Assigned; the worker has to start or decline it.
    Starting {
        /// Active time at which the machine got it.
        assigned_at_ms: Millis,
        /// When the worker is late.
        deadline_ms: Millis,
        /// Time for which the price of its auction had risen then.
        risen_ms: Millis,
    },
    /// The container runs.
    Running {
        /// When it started.
        started_at_ms: Millis,
        /// Up to when its epochs were judged.
        judged_until_ms: Millis,
    },
    /// A task's result waits for the consumer's word.
    Verifying {
        /// When it started.
        started_at_ms: Millis,
        /// When the result came in.
        ended_at_ms: Millis,
        /// When silence accepts.
        window_ends_ms: Millis,
        /// Hash of the result.
        #[serde(serialize_with = "as_hex")]
        result_hash: [u8; 32],
    },
    /// A replica committed to its result.
    Committed {
        /// When it started.
        started_at_ms: Millis,
        /// When it committed.
        ended_at_ms: Millis,
        /// What it committed to.
        #[serde(serialize_with = "as_hex")]
        commitment: [u8; 32],
    },
    /// A replica revealed its result.
    Revealed {
        /// When it started.
        started_at_ms: Millis,
        /// When it committed.
        ended_at_ms: Millis,
        /// Hash of the result.
        #[serde(serialize_with = "as_hex")]
        result_hash: [u8; 32],
    },
    /// It is over; what it earned is paid as its epochs are closed.
    Ended {
        /// When it started.
        started_at_ms: Millis,
        /// When what is paid ends.
        ended_at_ms: Millis,
        /// Up to when its epochs were judged.
        judged_until_ms: Millis,
        /// How it ended.
        outcome: Outcome,
    },
}

impl fmt::Display for AssignmentState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Verifying { .. } => "verifying",
            Self::Committed { .. } => "committed",
            Self::Revealed { .. } => "revealed",
            Self::Ended { .. } => "ended",
        })
    }
}

/// A job that a consumer pays for. The chain forgets it when nothing of it is left to be paid.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Job {
    /// Who pays.
    pub consumer: AccountId,
    /// Service or task.
    pub kind: JobKind,
    /// What it runs.
    pub manifest: Manifest,
    /// sha256 digest of the image's manifest.
    #[serde(serialize_with = "as_hex")]
    pub image_digest: [u8; 32],
    /// Slots of each machine.
    pub slots: u8,
    /// Machines that were asked for.
    pub nodes: u8,
    /// Most to be paid, in plancks per slot-hour.
    #[serde(serialize_with = "as_decimal")]
    pub max_price_per_slot_hour: Balance,
    /// Longest run of a machine that gets it from now on.
    pub max_duration_ms: Millis,
    /// How machines are found, unless the consumer chose them.
    pub auction: Option<Auction>,
    /// Places for which a machine is sought.
    pub open_places: u8,
    /// Machines that have a part in it.
    pub assignments: u8,
    /// How far its replicas are, where a quorum verifies and has not decided.
    pub ballot: Option<Ballot>,
    /// Plancks held for the bytes that the chain keeps.
    #[serde(serialize_with = "as_decimal")]
    pub deposit: Balance,
    /// Plancks held for bounties and not spent.
    #[serde(serialize_with = "as_decimal")]
    pub bounties: Balance,
    /// Plancks paid so far, the protocol fee included.
    #[serde(serialize_with = "as_decimal")]
    pub paid: Balance,
    /// When it was ordered, in active time.
    pub created_at_ms: Millis,
}

/// A machine's part in a job.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Assignment {
    /// Who is paid.
    pub provider: AccountId,
    /// The price that was fixed, in plancks per slot-hour.
    #[serde(serialize_with = "as_decimal")]
    pub price_per_slot_hour: Balance,
    /// Longest run.
    pub max_duration_ms: Millis,
    /// Plancks still held of the consumer's.
    #[serde(serialize_with = "as_decimal")]
    pub escrowed: Balance,
    /// Plancks earned in the epochs that were judged, the protocol fee included.
    #[serde(serialize_with = "as_decimal")]
    pub earned: Balance,
    /// Of those, what was paid.
    #[serde(serialize_with = "as_decimal")]
    pub paid: Balance,
    /// How far it is.
    pub state: AssignmentState,
}

/// How a machine's part in a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum Outcome {
    /// The task's result stood.
    Completed,
    /// The consumer cancelled before it started.
    Cancelled,
    /// The consumer closed the service.
    ClosedByConsumer,
    /// The service ran its full time.
    Expired,
    /// The worker neither started nor declined it in time.
    NotStarted,
    /// The worker declined it.
    Declined,
    /// No sealed manifest reached the worker.
    NotDelivered,
    /// The task ran its full time without a result.
    NoResult,
    /// The worker or its provider gave it up.
    Abandoned,
    /// The consumer rejected the result.
    Rejected,
    /// The quorum agreed on another result.
    Outvoted,
    /// It did not reveal its result.
    NotRevealed,
    /// No result had a quorum.
    NoQuorum,
    /// The service's workload ended by itself.
    WorkloadEnded,
    /// The consumer disputed that it did.
    Disputed,
    /// Validators saw the machine down when the service ended.
    WentDown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::ClosedByConsumer => "closed by its consumer",
            Self::Expired => "ran its full time",
            Self::NotStarted => "not started in time",
            Self::Declined => "declined",
            Self::NotDelivered => "its manifest was not delivered",
            Self::NoResult => "no result in time",
            Self::Abandoned => "abandoned",
            Self::Rejected => "its result was rejected",
            Self::Outvoted => "outvoted",
            Self::NotRevealed => "did not reveal its result",
            Self::NoQuorum => "no result had a quorum",
            Self::WorkloadEnded => "its workload ended by itself",
            Self::Disputed => "its end was disputed",
            Self::WentDown => "its machine was down at the end",
        })
    }
}

/// Where money went whose recipient could not receive it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum Diversion {
    /// To the treasury.
    Treasury,
    /// Out of existence.
    Burned,
}

impl fmt::Display for Diversion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Treasury => "went to the treasury",
            Self::Burned => "was burned",
        })
    }
}
