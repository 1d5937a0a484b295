//! The next step for one job: a pure function of the states of the chain, the engine and the notes.
//!
//! Nothing here has a memory, so a restart of the worker, the engine or the node changes no decision. The
//! machine's status is no input: jobs go on while the machine is suspended or draining. Its health is one for
//! jobs whose container never ran.
//!
//! A run is lost if the worker did not see its end cleanly, or if its container is gone from the engine;
//! another container of the same image then takes its place. Consumers know that a container may be started
//! more than once, so a loss costs time and not the job. Giving up a running job costs the provider pay and
//! is counted in public. If a service's container repeatedly ends by itself, that is the end of the workload
//! and no loss.

use assay_client::types::{AssignmentState, Ballot, JobKind, Verification};
use assay_primitives::job::{StdoutResult, start_grace_ms};

use super::notes::JobNotes;
use crate::{
    delivery::DeliveryFact,
    engine::{Container, ContainerState, Exit, RunEnd, RunFact},
};

/// Maximum number of restarts of a job's container, whether a service's container ended or a container was
/// lost, before the job is given up.
///
/// A service's count is reset once a container stayed up for [`super::STABLE_RUN`]. A task's is not: the task
/// starts from the beginning each time, and would never finish if it were lost after hours again and again.
pub const MAX_RESTARTS: u32 = 5;

/// Time before the start deadline, in milliseconds of active time, at which a job that does not run yet is
/// declined: 20 blocks.
///
/// The decline must be in a block by the deadline. The worker sees a block's time some seconds late, an
/// engine that hangs delays a round by [`super::LIST_TIMEOUT`], and the transaction takes one or two blocks.
pub const START_MARGIN_MS: u64 = 60_000;

/// Returns true if a decline is no longer free for the job's consumer, because the machine has had the job
/// for too long without starting it. The worker checks orders and images before it pulls, so it mostly
/// declines sooner.
pub(super) fn is_late_decline(state: &AssignmentState, now_ms: u64) -> bool {
    let AssignmentState::Starting {
        assigned_at_ms,
        deadline_ms,
        ..
    } = *state
    else {
        return false;
    };
    let free_ms = start_grace_ms(assigned_at_ms, deadline_ms);
    now_ms > assigned_at_ms.saturating_add(free_ms)
}

/// State of a job's container at the engine, and of the worker's observation of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerFact {
    /// The engine does not answer, or reports a state that this worker does not know.
    Unknown,
    /// The engine answers and has no such container.
    Absent,
    /// The container exists and has never run.
    Created,
    /// The container runs, and the worker follows its output.
    Running,
    /// The container runs, and its beginning was not seen: the worker or the engine's service was restarted.
    Unfollowed,
    /// The container is paused.
    Paused,
    /// The container neither runs nor has ended, see [`ContainerState::Stuck`].
    Stuck,
    /// The container ended a moment ago, and its exit is not known yet.
    Ending,
    /// The container ended.
    Ended(RunEnd),
}

impl ContainerFact {
    /// Derives the fact from a container that the engine lists.
    pub fn of(container: &Container) -> Self {
        match (container.state, container.run) {
            (ContainerState::Created, _) => Self::Created,
            (ContainerState::Running, RunFact::Watched) => Self::Running,
            (ContainerState::Running, _) => Self::Unfollowed,
            (ContainerState::Paused, _) => Self::Paused,
            (ContainerState::Stuck, _) => Self::Stuck,
            (ContainerState::Unknown, _) => Self::Unknown,
            (ContainerState::Exited, RunFact::Watched) => Self::Ending,
            (ContainerState::Exited, RunFact::Ended(end)) => Self::Ended(end),
            (ContainerState::Exited, RunFact::Unwatched) => Self::Ended(RunEnd::UNSEEN),
        }
    }

    /// Returns the name of the container's state, as the status shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Absent => "absent",
            Self::Created => "created",
            Self::Running | Self::Unfollowed => "running",
            Self::Paused => "paused",
            Self::Stuck => "stuck",
            Self::Ending | Self::Ended(_) => "exited",
        }
    }

    /// Returns true for a container that has been started.
    pub fn has_begun(self) -> bool {
        !matches!(self, Self::Unknown | Self::Absent | Self::Created)
    }

    fn is_present(self) -> bool {
        !matches!(self, Self::Unknown | Self::Absent)
    }
}

/// Inputs of the decision on an open job.
#[derive(Clone, Copy, Debug)]
pub struct JobFacts<'a> {
    /// Kind of the job.
    pub kind: JobKind,
    /// State of the assignment on chain.
    pub state: &'a AssignmentState,
    /// Progress of the replicas, if a quorum verifies.
    pub ballot: Option<Ballot>,
    /// Maximum time that the job may run, in milliseconds of active time.
    pub max_duration_ms: u64,
    /// Active time of the best block, in milliseconds.
    pub now_ms: u64,
    /// Length of an epoch, in milliseconds of active time. An epoch is paid for once the next one has ended.
    pub epoch_duration_ms: u64,
    /// State of the container.
    pub container: ContainerFact,
    /// State of the manifest on this machine.
    pub delivery: DeliveryFact,
    /// Reason why the machine takes no new jobs for its health.
    pub unfit: Option<&'a str>,
    /// The worker's notes on the job.
    pub notes: &'a JobNotes,
}

/// The next step for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Wait for something else to happen first.
    Wait,
    /// Fetch the manifest, pull and verify the image, create the container.
    Prepare,
    /// Start the container, which never ran.
    StartContainer,
    /// Report to the chain that the job runs.
    ReportStart,
    /// Restart the service's container, which ended before the job did.
    RestartContainer,
    /// Make another container of the same image in place of one that was lost.
    ReplaceContainer(LossCause),
    /// Follow a container that already runs.
    FollowContainer,
    /// Resume a paused container.
    UnpauseContainer,
    /// Write the result document of the task whose container ended.
    Collect {
        /// The container's exit code.
        exit_code: i32,
        /// Entry for standard output in the result.
        stdout: StdoutResult,
    },
    /// Submit the result's hash.
    SubmitResult([u8; 32]),
    /// Submit the result's hash with a signature that attests it.
    SubmitAttestedResult([u8; 32]),
    /// Commit to the result's hash with a salt.
    CommitResult {
        /// Hash of the result document.
        result_hash: [u8; 32],
        /// Salt of the commitment.
        salt: [u8; 32],
    },
    /// Reveal the result that was committed to.
    RevealResult {
        /// Hash of the result document.
        result_hash: [u8; 32],
        /// Salt of the commitment.
        salt: [u8; 32],
    },
    /// Make the chain count the replicas' results.
    Resolve,
    /// Remove the container; the result is kept.
    RemoveContainer,
    /// Make the chain pay the amount due.
    Settle,
    /// Make the chain close a job whose time is over.
    Expire,
    /// Decline the job.
    Decline(AbandonCause),
    /// Give up the running job.
    Abandon(AbandonCause),
    /// Report that the service's container ended by itself, for good.
    ReportWorkloadEnded,
}

impl Decision {
    /// Returns the name of the step, as logs and metrics show it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Prepare => "prepare",
            Self::StartContainer => "start_container",
            Self::ReportStart => "report_start",
            Self::RestartContainer => "restart_container",
            Self::ReplaceContainer(_) => "replace_container",
            Self::FollowContainer => "follow_container",
            Self::UnpauseContainer => "unpause_container",
            Self::Collect { .. } => "collect",
            Self::SubmitResult(_) => "submit_result",
            Self::SubmitAttestedResult(_) => "submit_attested_result",
            Self::CommitResult { .. } => "commit_result",
            Self::RevealResult { .. } => "reveal_result",
            Self::Resolve => "resolve",
            Self::RemoveContainer => "remove_container",
            Self::Settle => "settle",
            Self::Expire => "expire",
            Self::Decline(_) => "decline",
            Self::Abandon(_) => "abandon",
            Self::ReportWorkloadEnded => "report_workload_ended",
        }
    }

    /// Returns true for a step without which the job cannot run.
    pub fn starts_container(&self) -> bool {
        matches!(
            self,
            Self::Prepare | Self::StartContainer | Self::RestartContainer | Self::ReplaceContainer(_)
        )
    }

    /// Returns true for a step that the engine carries out, not the chain.
    pub fn is_of_container(&self) -> bool {
        self.starts_container() || matches!(self, Self::FollowContainer | Self::UnpauseContainer)
    }

    /// Returns true for a step that must be on chain before a near deadline. It does not wait out the backoff
    /// of a failed step that is not urgent.
    pub fn is_urgent(&self) -> bool {
        matches!(self, Self::Decline(_) | Self::ReportStart)
    }
}

/// Reason why a container no longer counts as the job's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// The container is gone from the engine.
    Gone,
    /// The container ended, or a part of its output was lost, without the worker seeing it.
    Unseen,
    /// The container was killed, perhaps from outside.
    Killed,
    /// The container was paused again after the worker had resumed it.
    Paused,
    /// The container neither runs nor ends.
    Stuck,
}

impl std::fmt::Display for LossCause {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Gone => "its container is gone from the engine",
            Self::Unseen => "its run was not seen to the end",
            Self::Killed => "its container was killed",
            Self::Paused => "its container was paused again and again",
            Self::Stuck => "its container neither runs nor ends",
        })
    }
}

/// Reason why a job is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbandonCause {
    /// The job cannot be run as ordered.
    Refused(String),
    /// The container was lost too often.
    ContainerLost(LossCause),
    /// The container ended too often.
    RestartsExhausted,
    /// The job cannot run by the start deadline.
    NotInTime,
    /// No sealed manifest was delivered by the start deadline.
    NotDelivered,
}

impl std::fmt::Display for AbandonCause {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(reason) => formatter.write_str(reason),
            Self::ContainerLost(cause) => write!(formatter, "{cause}, after {MAX_RESTARTS} restarts"),
            Self::RestartsExhausted => {
                write!(formatter, "its container ended, after {MAX_RESTARTS} restarts")
            }
            Self::NotInTime => formatter.write_str("it would not run by its start deadline"),
            Self::NotDelivered => {
                formatter.write_str("its consumer delivered no sealed manifest by its start deadline")
            }
        }
    }
}

/// Returns the next step for an open job.
pub fn decide(facts: &JobFacts<'_>) -> Decision {
    match *facts.state {
        AssignmentState::Starting { deadline_ms, .. } => decide_starting(facts, deadline_ms),
        AssignmentState::Running {
            started_at_ms,
            judged_until_ms,
        } => {
            let run_ends_ms = started_at_ms.saturating_add(facts.max_duration_ms);
            let is_over = facts.now_ms > run_ends_ms;
            match facts.kind {
                _ if is_over => Decision::Expire,
                JobKind::Task { .. } => decide_task(facts),
                JobKind::Service => decide_service(facts, judged_until_ms, run_ends_ms),
            }
        }
        AssignmentState::Verifying { window_ends_ms, .. } => {
            if facts.now_ms > window_ends_ms {
                Decision::Settle
            } else {
                tidy(facts)
            }
        }
        AssignmentState::Committed { .. } => decide_committed(facts),
        AssignmentState::Revealed { .. } => {
            let is_complete = facts.ballot.is_some_and(|ballot| {
                ballot.revealed >= ballot.committed
                    || ballot.reveal_ends_ms.is_some_and(|end_ms| facts.now_ms > end_ms)
            });
            if is_complete {
                Decision::Resolve
            } else {
                tidy(facts)
            }
        }
        AssignmentState::Ended {
            ended_at_ms,
            judged_until_ms,
            ..
        } => {
            // One settlement for all epochs: each call costs a fee.
            if judged_until_ms >= ended_at_ms || is_payable(facts, ended_at_ms) {
                Decision::Settle
            } else {
                Decision::Wait
            }
        }
    }
}

fn decide_starting(facts: &JobFacts<'_>, deadline_ms: u64) -> Decision {
    if facts.now_ms > deadline_ms {
        return Decision::Expire;
    }
    if let Some(reason) = &facts.notes.refused {
        return Decision::Decline(AbandonCause::Refused(reason.clone()));
    }
    let is_new = !facts.notes.container_started
        && matches!(facts.container, ContainerFact::Absent | ContainerFact::Created);
    if let Some(reason) = facts.unfit.filter(|_| is_new) {
        return Decision::Decline(AbandonCause::Refused(reason.to_owned()));
    }
    let is_late = facts.now_ms.saturating_add(START_MARGIN_MS) > deadline_ms;
    if let Some(step) = await_delivery(facts, is_late) {
        return step;
    }
    let step = match facts.kind {
        JobKind::Task { .. } => keep_task(facts),
        JobKind::Service => keep_service(facts),
    };
    match step {
        Decision::Wait if facts.container != ContainerFact::Unknown => Decision::ReportStart,
        // A short task may end before its start is reported.
        Decision::Collect { .. } => Decision::ReportStart,
        Decision::Abandon(cause) => Decision::Decline(cause),
        Decision::ReportWorkloadEnded => Decision::Decline(AbandonCause::RestartsExhausted),
        // Silence would take the machine out of the market, and a decline does not. Any other step would
        // finish too late.
        _ if is_late => Decision::Decline(AbandonCause::NotInTime),
        step => step,
    }
}

/// Returns the step of a job that cannot be prepared, because its sealed manifest is not here; `None` for any
/// other job.
fn await_delivery(facts: &JobFacts<'_>, is_late: bool) -> Option<Decision> {
    if facts.container != ContainerFact::Absent || facts.notes.container_started {
        return None;
    }
    let cause = match facts.delivery {
        DeliveryFact::NotNeeded | DeliveryFact::Received => return None,
        DeliveryFact::Awaited => AbandonCause::NotDelivered,
        // A receipt was given: the consumer has done its part.
        DeliveryFact::Unusable => AbandonCause::NotInTime,
    };
    Some(if is_late {
        Decision::Decline(cause)
    } else {
        Decision::Wait
    })
}

fn decide_task(facts: &JobFacts<'_>) -> Decision {
    if let Some(result_hash) = facts.notes.result_hash {
        return match (facts.kind, facts.notes.salt) {
            (
                JobKind::Task {
                    verification: Verification::Quorum { .. },
                },
                Some(salt),
            ) => Decision::CommitResult { result_hash, salt },
            // The chain decides whether the machine is still attested: evidence can be renewed until the
            // task's time is over.
            (
                JobKind::Task {
                    verification: Verification::Attested,
                },
                _,
            ) => Decision::SubmitAttestedResult(result_hash),
            _ => Decision::SubmitResult(result_hash),
        };
    }
    refusal(facts.notes).unwrap_or_else(|| keep_task(facts))
}

/// Returns the step that a task's container needs; [`Decision::Wait`] while it runs or its exit is not known
/// yet.
fn keep_task(facts: &JobFacts<'_>) -> Decision {
    let notes = facts.notes;
    match facts.container {
        // The manifest says whether the output belongs to the result; it is read again for another run.
        container if notes.made_up && !notes.replacing && container.has_begun() => {
            lose(notes, LossCause::Unseen)
        }
        ContainerFact::Unfollowed if !notes.replacing => {
            // The output until now was not seen.
            if notes.stdout_is_left_out {
                Decision::FollowContainer
            } else {
                lose(notes, LossCause::Unseen)
            }
        }
        ContainerFact::Ended(end) if !notes.replacing => collect(notes, end),
        _ => keep_container(facts),
    }
}

/// Returns the step that collects an ended task's result if everything that belongs to it was seen, otherwise
/// the step after a loss.
fn collect(notes: &JobNotes, end: RunEnd) -> Decision {
    let exit_code = match end.exit {
        Exit::Unseen => return lose(notes, LossCause::Unseen),
        // The host may have killed it once. Twice in a row is the program's own doing: a program that always
        // ends this way must not cost its provider the job.
        Exit::Signalled(_) if !notes.was_killed && notes.restarts < MAX_RESTARTS => {
            return lose(notes, LossCause::Killed);
        }
        Exit::Clean(exit_code) | Exit::Signalled(exit_code) => exit_code,
    };
    match (notes.stdout_is_left_out, end.stdout) {
        (true, _) => Decision::Collect {
            exit_code,
            stdout: StdoutResult::NotCaptured,
        },
        (false, Some(stdout)) => Decision::Collect { exit_code, stdout },
        (false, None) => lose(notes, LossCause::Unseen),
    }
}

/// Returns the step that a service's container needs; [`Decision::Wait`] while it runs.
fn keep_service(facts: &JobFacts<'_>) -> Decision {
    let notes = facts.notes;
    match facts.container {
        ContainerFact::Unfollowed if !notes.replacing => Decision::FollowContainer,
        ContainerFact::Ended(end) if !notes.replacing => {
            if notes.restarts < MAX_RESTARTS {
                Decision::RestartContainer
            } else if end.exit == Exit::Unseen {
                Decision::Abandon(AbandonCause::ContainerLost(LossCause::Unseen))
            } else {
                Decision::ReportWorkloadEnded
            }
        }
        _ => keep_container(facts),
    }
}

/// Returns the step that a container needs for tasks and services alike.
fn keep_container(facts: &JobFacts<'_>) -> Decision {
    let notes = facts.notes;
    match facts.container {
        ContainerFact::Unknown => Decision::Wait,
        ContainerFact::Created => Decision::StartContainer,
        // A container that is being replaced may be absent because the worker stopped halfway: this is no
        // further loss.
        ContainerFact::Absent if !notes.container_started => Decision::Prepare,
        ContainerFact::Absent => lose(notes, LossCause::Gone),
        // The worker stopped after it noted the loss and before it removed the old container.
        _ if notes.replacing => Decision::RemoveContainer,
        ContainerFact::Paused if !notes.unpaused => Decision::UnpauseContainer,
        ContainerFact::Paused => lose(notes, LossCause::Paused),
        ContainerFact::Stuck => lose(notes, LossCause::Stuck),
        ContainerFact::Running
        | ContainerFact::Unfollowed
        | ContainerFact::Ending
        | ContainerFact::Ended(_) => Decision::Wait,
    }
}

/// Returns the step after a loss: another container while restarts are left, otherwise giving up.
fn lose(notes: &JobNotes, cause: LossCause) -> Decision {
    if notes.restarts >= MAX_RESTARTS {
        Decision::Abandon(AbandonCause::ContainerLost(cause))
    } else {
        Decision::ReplaceContainer(cause)
    }
}

fn decide_committed(facts: &JobFacts<'_>) -> Decision {
    let Some(end_ms) = facts.ballot.and_then(|ballot| ballot.reveal_ends_ms) else {
        return tidy(facts);
    };
    match (facts.notes.result_hash, facts.notes.salt) {
        _ if facts.now_ms > end_ms => Decision::Resolve,
        (Some(result_hash), Some(salt)) => Decision::RevealResult { result_hash, salt },
        // Without the notes there is nothing to reveal.
        _ => Decision::Wait,
    }
}

fn decide_service(facts: &JobFacts<'_>, judged_until_ms: u64, run_ends_ms: u64) -> Decision {
    match refusal(facts.notes).unwrap_or_else(|| keep_service(facts)) {
        Decision::Wait if judged_until_ms < run_ends_ms && is_payable(facts, judged_until_ms) => {
            Decision::Settle
        }
        step => step,
    }
}

/// Returns true if the epoch of a moment is closed: that epoch and the next one have ended.
fn is_payable(facts: &JobFacts<'_>, moment_ms: u64) -> bool {
    let epoch_of = |moment_ms: u64| moment_ms.checked_div(facts.epoch_duration_ms).unwrap_or(0);
    epoch_of(moment_ms).saturating_add(1) < epoch_of(facts.now_ms)
}

/// Returns the step for a job that waits for others: a task that has submitted its result no longer needs its
/// container.
fn tidy(facts: &JobFacts<'_>) -> Decision {
    if facts.container.is_present() {
        Decision::RemoveContainer
    } else {
        Decision::Wait
    }
}

fn refusal(notes: &JobNotes) -> Option<Decision> {
    notes
        .refused
        .clone()
        .map(|reason| Decision::Abandon(AbandonCause::Refused(reason)))
}

#[cfg(test)]
mod tests;
