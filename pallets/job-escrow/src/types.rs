//! What a job is, and what it costs.

use assay_primitives::{
    clock::{MILLIS_PER_HOUR, Millis},
    machine::MachineId,
    money::Balance,
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::{
    sp_core::H256,
    sp_runtime::{Rounding, helpers_128bit::multiply_by_rational_with_rounding},
};
use scale_info::TypeInfo;

/// Identifies a job; given in order of deployment and never used again.
pub type JobId = u64;

/// How a job ends and what is paid for it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum JobKind {
    /// Runs until it is closed or its time is over, and is paid for as it runs.
    Service,
    /// Ends by itself with a result, and is paid for once the result stands.
    Task,
}

/// Names the bytes that tell a worker what to run.
///
/// They are public and kept by the preimage store; the chain never reads them.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct ManifestRef {
    /// Blake2-256 hash of the bytes.
    pub hash: H256,
    /// Number of bytes.
    pub length_bytes: u32,
}

/// What a consumer asks for.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct JobOrder {
    /// The machine that shall run the job.
    pub machine: MachineId,
    /// How many of its slots; at least one.
    pub slots: u8,
    /// How the job ends and what is paid for it.
    pub kind: JobKind,
    /// What to run; noted in the preimage store beforehand.
    pub manifest: ManifestRef,
    /// SHA-256 digest of the container image's manifest. The worker refuses any other image.
    pub image_digest: H256,
    /// Longest time the job may run, in milliseconds of active time. Its price is held at deployment.
    pub max_duration_ms: Millis,
    /// Highest ask that the consumer agrees to, in plancks per slot and hour.
    pub max_price_per_slot_hour: Balance,
}

/// Where in its life a job is.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum JobState {
    /// The machine has the job and has not started it.
    Starting {
        /// The last active time at which the machine may start it.
        deadline_ms: Millis,
    },
    /// The machine runs the job.
    Running {
        /// Active time of the start.
        started_at_ms: Millis,
        /// Active time up to which a service is paid; the start, for a task.
        settled_until_ms: Millis,
    },
    /// The task gave its result, which the consumer may look at before it is paid.
    Verifying {
        /// Active time of the start.
        started_at_ms: Millis,
        /// Active time of the result; what is paid ends here.
        ended_at_ms: Millis,
        /// The last active time of the consumer's window; later, silence counts as acceptance.
        window_ends_ms: Millis,
        /// Hash of the result, as the worker gave it.
        result_hash: H256,
    },
}

/// How a job ended.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum JobOutcome {
    /// The task's result was accepted, or not looked at in time, and paid.
    Completed,
    /// The consumer took the order back before it started.
    Cancelled,
    /// The consumer ended the running service and paid for the time it ran.
    ClosedByConsumer,
    /// The service ran its full time and was paid in full.
    Expired,
    /// The machine did not start the job in time; nothing was paid.
    NotStarted,
    /// The task gave no result in its time; nothing was paid.
    NoResult,
    /// The provider's side gave the job up: a service was paid up to then, a task was not.
    Abandoned,
}

/// Where money went whose recipient could not receive it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Diversion {
    /// To the treasury.
    Treasury,
    /// Out of existence, because the treasury could not receive it either.
    Burned,
}

/// An open job. Closing removes it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct JobRecord<AccountId> {
    /// Who pays.
    pub consumer: AccountId,
    /// Who is paid.
    pub provider: AccountId,
    /// The machine that runs the job.
    pub machine: MachineId,
    /// Slots of the machine that the job has.
    pub slots: u8,
    /// How the job ends and what is paid for it.
    pub kind: JobKind,
    /// What to run.
    pub manifest: ManifestRef,
    /// SHA-256 digest of the container image's manifest.
    pub image_digest: H256,
    /// The machine's ask as it stood at deployment, in plancks per slot and hour.
    pub price_per_slot_hour: Balance,
    /// Longest time the job may run, in milliseconds of active time.
    pub max_duration_ms: Millis,
    /// Plancks still held from the consumer for this job.
    pub escrowed: Balance,
    /// Plancks paid so far, protocol fee included.
    pub paid: Balance,
    /// Where in its life the job is.
    pub state: JobState,
    /// Active time of the deployment.
    pub created_at_ms: Millis,
}

impl<AccountId> JobRecord<AccountId> {
    /// The last active time at which a job started at `started_at_ms` may still run.
    pub fn run_ends_ms(&self, started_at_ms: Millis) -> Millis {
        started_at_ms.saturating_add(self.max_duration_ms)
    }

    /// What running from `started_at_ms` to `ended_at_ms` earns in all: rounded down, and never more than
    /// what was held at deployment.
    ///
    /// Payments are the difference of this and what was paid before, so that paying often or seldom comes to
    /// the same sum.
    pub fn earned(&self, started_at_ms: Millis, ended_at_ms: Millis) -> Balance {
        let elapsed_ms = ended_at_ms
            .saturating_sub(started_at_ms)
            .min(self.max_duration_ms);
        cost(self.price_per_slot_hour, self.slots, elapsed_ms, Rounding::Down)
            .unwrap_or(Balance::MAX)
            .min(self.paid.saturating_add(self.escrowed))
    }

    /// What has to be paid if the job ends at `now_ms`, fee included.
    ///
    /// A service is owed for the time it ran; a task nothing before it gave its result.
    pub fn due_at(&self, now_ms: Millis) -> Balance {
        let earned = match (self.state, self.kind) {
            (JobState::Starting { .. }, _) | (JobState::Running { .. }, JobKind::Task) => 0,
            (JobState::Running { started_at_ms, .. }, JobKind::Service) => self.earned(started_at_ms, now_ms),
            (
                JobState::Verifying {
                    started_at_ms,
                    ended_at_ms,
                    ..
                },
                _,
            ) => self.earned(started_at_ms, ended_at_ms),
        };
        earned.saturating_sub(self.paid)
    }
}

/// Price of `slots` slots for `duration_ms`, in plancks; `None` if that is more than any balance.
pub fn cost(
    price_per_slot_hour: Balance,
    slots: u8,
    duration_ms: Millis,
    rounding: Rounding,
) -> Option<Balance> {
    // A u8 times a u64 always fits.
    let slot_millis = u128::from(slots).saturating_mul(u128::from(duration_ms));
    multiply_by_rational_with_rounding(
        price_per_slot_hour,
        slot_millis,
        u128::from(MILLIS_PER_HOUR),
        rounding,
    )
}
