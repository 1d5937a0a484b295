//! Where a job is, in words.

use serde::Serialize;

use super::{AbandonCause, AssignedJob, ContainerFact, Decision, JobNotes, Supervisor};
use crate::{chain::WorkerChain, engine::ContainerEngine};

/// What there is to say about one open job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobStatus {
    /// The job.
    pub id: u64,
    /// `service` or `task`.
    pub kind: String,
    /// What the chain says: `starting`, `running`, `verifying`, `committed`, `revealed` or `ended`.
    pub state: String,
    /// What the engine says: `unknown`, `absent`, `created`, `running`, `paused`, `stuck` or `exited`.
    pub container: String,
    /// Slots it has.
    pub slots: u8,
    /// Times that its container was started again.
    pub restarts: u32,
    /// Hash of its result document, hexadecimal, once there is one.
    pub result_hash: Option<String>,
    /// What went wrong last, while it is not overcome.
    pub problem: Option<String>,
}

impl JobStatus {
    /// Returns true for a job that the chain takes for running while its container does nothing.
    pub fn is_halted(&self) -> bool {
        self.state == "running" && matches!(self.container.as_str(), "paused" | "stuck")
    }
}

impl<C: WorkerChain, E: ContainerEngine> Supervisor<C, E> {
    /// Says where a job is and what keeps it from its next step.
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
            _ => self.troubles.get(&id).and_then(|trouble| trouble.problem.clone()),
        };
        JobStatus {
            id,
            kind: assigned.job.kind.to_string(),
            state: assigned.part.state.to_string(),
            container: fact.name().to_owned(),
            slots: assigned.job.slots,
            restarts: notes.restarts,
            result_hash: notes.result_hash.filter(|_| !notes.is_secret()).map(hex::encode),
            problem,
        }
    }
}
