//! Jobs, from their order to their end.

use std::fmt;

use assay_primitives::{clock::Millis, machine::MachineId, money::Balance};
use scale_decode::DecodeAsType;
use serde::Serialize;

use super::{AccountId, as_decimal, as_hex};

/// Whether a job is metered or ends with a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum JobKind {
    /// Metered until closed.
    Service,
    /// Ends with a result that is verified.
    Task,
}

impl fmt::Display for JobKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Service => "service",
            Self::Task => "task",
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

/// How far a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum JobState {
    /// Assigned; the worker has to start it.
    Starting {
        /// When the worker is late.
        deadline_ms: Millis,
    },
    /// The container runs.
    Running {
        /// When it started.
        started_at_ms: Millis,
        /// Up to when it is paid.
        settled_until_ms: Millis,
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
}

impl fmt::Display for JobState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Verifying { .. } => "verifying",
        })
    }
}

/// A container run that a consumer pays for. The chain forgets it when it is closed.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Job {
    /// Who pays.
    pub consumer: AccountId,
    /// Who is paid.
    pub provider: AccountId,
    /// Where it runs.
    pub machine: MachineId,
    /// Slots it has leased.
    pub slots: u8,
    /// Service or task.
    pub kind: JobKind,
    /// What it runs.
    pub manifest: ManifestRef,
    /// sha256 digest of the image's manifest.
    #[serde(serialize_with = "as_hex")]
    pub image_digest: [u8; 32],
    /// The machine's ask when the job was deployed.
    #[serde(serialize_with = "as_decimal")]
    pub price_per_slot_hour: Balance,
    /// Longest run.
    pub max_duration_ms: Millis,
    /// Plancks still held of the consumer's.
    #[serde(serialize_with = "as_decimal")]
    pub escrowed: Balance,
    /// Plancks paid so far, the protocol fee included.
    #[serde(serialize_with = "as_decimal")]
    pub paid: Balance,
    /// How far it is.
    pub state: JobState,
    /// When it was deployed, in active time.
    pub created_at_ms: Millis,
}

/// How a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum JobOutcome {
    /// The task's result was accepted.
    Completed,
    /// The consumer cancelled before it started.
    Cancelled,
    /// The consumer closed the service.
    ClosedByConsumer,
    /// The service ran its full time.
    Expired,
    /// The worker did not start it in time.
    NotStarted,
    /// The task ran its full time without a result.
    NoResult,
    /// The worker or its provider gave it up.
    Abandoned,
}

impl fmt::Display for JobOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::ClosedByConsumer => "closed by its consumer",
            Self::Expired => "ran its full time",
            Self::NotStarted => "not started in time",
            Self::NoResult => "no result in time",
            Self::Abandoned => "abandoned",
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
