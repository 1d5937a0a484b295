//! A job's status in words.

use assay_client::AccountId;
use serde::Serialize;
use utoipa::ToSchema;

use super::{AbandonCause, AssignedJob, ContainerFact, Decision, JobNotes, Supervisor};
use crate::{chain::WorkerChain, engine::ContainerEngine, lease::PortStatus};

/// Status of one open job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobStatus {
    /// Number of the job.
    pub id: u64,
    /// Account that ordered the job.
    #[schema(value_type = String)]
    pub consumer: AccountId,
    /// Fingerprint of the job, by which its notes are found.
    #[serde(skip)]
    pub fingerprint: String,
    /// `service` or `task`.
    pub kind: String,
    /// State on chain: `starting`, `running`, `verifying`, `committed`, `revealed` or `ended`.
    pub state: String,
    /// State of the container: `unknown`, `absent`, `created`, `running`, `paused`, `stuck` or `exited`.
    pub container: String,
    /// Number of slots that the job occupies.
    pub slots: u8,
    /// Number of restarts of the container.
    pub restarts: u32,
    /// Hash of the result document, hexadecimal, once there is one.
    pub result_hash: Option<String>,
    /// Published ports, once the job has its lease.
    pub ports: Vec<PortStatus>,
    /// Last failure, until it is overcome.
    pub problem: Option<String>,
}

impl JobStatus {
    /// Returns true if the chain has the job as running while its container does nothing.
    pub fn is_halted(&self) -> bool {
        self.state == "running" && matches!(self.container.as_str(), "paused" | "stuck")
    }
}

impl<C: WorkerChain, E: ContainerEngine> Supervisor<C, E> {
    /// Describes a job's state and the obstacle to its next step.
    pub(super) fn describe(
        &self,
        id: u64,
        assigned: &AssignedJob,
        fact: ContainerFact,
        notes: &JobNotes,
        decision: &Decision,
    ) -> JobStatus {
        let problem = match decision {
            Decision::Decline(cause) | Decision::Abandon(cause) => Some(cause.to_string()),
            Decision::ReplaceContainer(cause) => Some(cause.to_string()),
            Decision::UnpauseContainer => Some("its container is paused".to_owned()),
            Decision::ReportWorkloadEnded => Some(AbandonCause::RestartsExhausted.to_string()),
            _ => self.retries.get(&id).and_then(|retry| retry.problem.clone()),
        };
        JobStatus {
            id,
            consumer: assigned.job.consumer,
            fingerprint: notes.fingerprint.clone(),
            kind: assigned.job.kind.to_string(),
            state: assigned.assignment.state.to_string(),
            container: fact.name().to_owned(),
            slots: assigned.job.slots,
            restarts: notes.restarts,
            result_hash: notes.result_hash.filter(|_| !notes.is_secret()).map(hex::encode),
            ports: self.executor.lease_ports(id, &notes.fingerprint),
            problem,
        }
    }
}
