//! Verbs about jobs that were ordered: wait, extend, close, list.

use std::time::Duration;

use serde::Serialize;

use super::{Consumer, ConsumerError};
use crate::{
    Included,
    calls::{self, Call},
    types::{AssignmentState, Job, JobId, Outcome, as_hex},
};

/// Pause between two looks at the chain: one block.
const PAUSE: Duration = Duration::from_secs(3);

/// Maximum number of a consumer's open jobs that are listed: more than an account has unless a program orders
/// for it.
pub const MAX_JOBS: usize = 2_000;

/// End of a job's containers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JobEnd {
    /// The job.
    pub job: JobId,
    /// Machines, with the end of each one's assignment.
    pub assignments: Vec<(u64, AssignmentEnd)>,
}

/// End of a machine's assignment of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "end", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AssignmentEnd {
    /// The task gave a result, which waits for its verdict.
    Result {
        /// Hash of the result; the worker shows its fields.
        #[serde(serialize_with = "as_hex")]
        hash: [u8; 32],
    },
    /// The replica committed to a result, and waits for the others.
    Committed,
    /// The assignment has this outcome, and is still to be paid.
    Ended {
        /// The outcome.
        outcome: Outcome,
    },
    /// The assignment is closed, and the chain has forgotten it.
    Closed,
}

/// Returns the end of an assignment; `None` while its container starts or runs.
pub(super) fn end_of(state: AssignmentState) -> Option<AssignmentEnd> {
    match state {
        AssignmentState::Starting { .. } | AssignmentState::Running { .. } => None,
        AssignmentState::Verifying { result_hash, .. } | AssignmentState::Revealed { result_hash, .. } => {
            Some(AssignmentEnd::Result { hash: result_hash.0 })
        }
        AssignmentState::Committed { .. } => Some(AssignmentEnd::Committed),
        AssignmentState::Ended { outcome, .. } => Some(AssignmentEnd::Ended { outcome }),
    }
}

impl Consumer {
    /// Waits until the containers of a job have ended on these machines; none named: on all that have it now.
    ///
    /// # Errors
    /// [`ConsumerError::TooSlow`] after `within`, and [`ConsumerError::NoSuchJob`] for a job that is closed
    /// when no machine is named.
    pub async fn wait(
        &self,
        job: JobId,
        machines: &[u64],
        within: Option<Duration>,
    ) -> Result<JobEnd, ConsumerError> {
        let waiting = self.wait_unbounded(job, machines);
        let Some(within) = within else {
            return waiting.await;
        };
        tokio::time::timeout(within, waiting).await.unwrap_or_else(|_| {
            Err(ConsumerError::TooSlow {
                what: format!("the end of job {job}"),
                within,
            })
        })
    }

    async fn wait_unbounded(&self, job: JobId, machines: &[u64]) -> Result<JobEnd, ConsumerError> {
        let mut machines = machines.to_vec();
        if machines.is_empty() {
            let assignments = self.client.assignments(job).await?;
            machines = assignments.into_iter().map(|(machine, _)| machine).collect();
            if machines.is_empty() {
                return Err(ConsumerError::NoSuchJob { job });
            }
        }
        loop {
            let assignments = self.client.assignments(job).await?;
            let ends: Option<Vec<_>> = machines
                .iter()
                .map(|machine| {
                    let assignment = assignments.iter().find(|(id, _)| id == machine);
                    let end = assignment.map_or(Some(AssignmentEnd::Closed), |(_, assignment)| {
                        end_of(assignment.state)
                    })?;
                    Some((*machine, end))
                })
                .collect();
            if let Some(assignments) = ends {
                return Ok(JobEnd { job, assignments });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends a job: cancels what has not started, and ends a service. A task that runs is not stopped.
    ///
    /// # Errors
    /// The chain refuses, as for a job that is another's, or of which nothing can be ended.
    pub async fn close(&self, job: JobId) -> Result<Included, ConsumerError> {
        self.submit(calls::close(job)).await
    }

    /// Lets a job run longer; its cost is held at once.
    ///
    /// # Errors
    /// The chain refuses, as where a machine asks for more by now.
    pub async fn extend(&self, job: JobId, by: Duration) -> Result<Included, ConsumerError> {
        let additional_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.submit(calls::top_up(job, additional_ms)).await
    }

    /// Accepts a task's result of these machines; none named: of all that have it.
    ///
    /// # Errors
    /// The chain refuses, as where there is no result.
    pub async fn accept(&self, job: JobId, machines: &[u64]) -> Result<Included, ConsumerError> {
        let mut machines = machines.to_vec();
        if machines.is_empty() {
            let assignments = self.client.assignments(job).await?;
            machines = assignments.into_iter().map(|(machine, _)| machine).collect();
        }
        let mut calls: Vec<Call> = machines
            .into_iter()
            .map(|machine| calls::accept(job, machine))
            .collect();
        let call = match calls.len() {
            0 => return Err(ConsumerError::NoSuchJob { job }),
            1 => calls.remove(0),
            _ => calls::batch_all(calls),
        };
        self.submit(call).await
    }

    /// Returns the jobs of this account that are not closed, the oldest first; at most [`MAX_JOBS`].
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn jobs(&self) -> Result<Vec<(JobId, Job)>, ConsumerError> {
        let listed = self.client.jobs_of_consumer(&self.account(), MAX_JOBS).await?;
        let mut jobs = Vec::new();
        for id in listed.entries {
            // It may be closed since.
            if let Some(job) = self.client.job(id).await? {
                jobs.push((id, job));
            }
        }
        Ok(jobs)
    }

    async fn submit(&self, call: Call) -> Result<Included, ConsumerError> {
        let mut submitted = self.client.submit_and_watch(call, &self.keypair).await?;
        Ok(submitted.finalized(self.finality_timeout).await?)
    }
}
