//! What to do next with one job: a pure function of what the chain, the engine and the notes say.
//!
//! Nothing here remembers anything, so a restart of the worker, the engine or the node changes no decision.
//! The machine's status is no part of it: jobs go on while the machine is suspended or draining.
//!
//! A run whose end the worker did not see cleanly is lost, as is a container that is gone from the engine:
//! another container of the same image takes its place. Consumers are told that a container may be started
//! more than once, so that losing one costs time and not the job; and giving up a job that runs costs the
//! provider pay and is counted in public. A service's container that ends by itself again and again is no
//! loss but the workload's own end.

use assay_client::types::{AssignmentState, Ballot, JobKind, Verification};
use assay_primitives::job::{StdoutResult, start_grace_ms};

use super::notes::JobNotes;
use crate::engine::{Container, ContainerState, Exit, RunEnd, RunFact};

/// Most times that a job's container is started again, because it ended though the service goes on or because
/// it was lost, before the job is given up.
///
/// A service's count is forgotten when a container stayed up for [`super::STABLE_RUN`]. A task's is not: it
/// begins anew each time, and one that is lost after hours, again and again, comes to no end.
pub const MAX_RESTARTS: u32 = 5;

/// Time before the start deadline, in milliseconds of active time, at which a job that does not run yet is
/// declined: 20 blocks.
///
/// The decline must be in a block by the deadline. The worker sees the time of a block some seconds late, an
/// engine that hangs holds a round up for [`super::LIST_TIMEOUT`], and the transaction takes a block or two.
pub const START_MARGIN_MS: u64 = 60_000;

/// Returns true where the machine has had a job for so long before its start that a decline is not free for
/// the job's consumer. The worker looks at orders and images before it pulls, so that it mostly knows sooner.
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

/// What the engine says of a job's container, and what was seen of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerFact {
    /// Nothing is known: the engine does not answer, or has a word for the container's state that this worker
    /// has not.
    Unknown,
    /// The engine answers and has no such container.
    Absent,
    /// It is made and never ran.
    Created,
    /// It runs, and the worker follows it.
    Running,
    /// It runs, and its beginning was not seen: the worker was restarted, or the engine's service was.
    Unfollowed,
    /// It is paused.
    Paused,
    /// It neither runs nor ended, see [`ContainerState::Stuck`].
    Stuck,
    /// It ended a moment ago, and how is not known yet.
    Ending,
    /// It ended.
    Ended(RunEnd),
}

impl ContainerFact {
    /// The fact about a container that the engine has.
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

    /// A word for the container's state, as the status has it.
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

    /// Returns true for a container that was started.
    pub fn has_begun(self) -> bool {
        !matches!(self, Self::Unknown | Self::Absent | Self::Created)
    }

    fn is_present(self) -> bool {
        !matches!(self, Self::Unknown | Self::Absent)
    }
}

/// Everything that a decision about an open job depends on.
#[derive(Clone, Copy, Debug)]
pub struct JobFacts<'a> {
    /// How the job ends.
    pub kind: JobKind,
    /// Where the chain says the job is.
    pub state: &'a AssignmentState,
    /// How far the replicas are, where a quorum verifies.
    pub ballot: Option<Ballot>,
    /// Longest time the job may run, in milliseconds of active time.
    pub max_duration_ms: u64,
    /// Active time of the block that was looked at.
    pub now_ms: u64,
    /// Length of an epoch, in milliseconds of active time. An epoch is paid for when the next one has ended.
    pub epoch_duration_ms: u64,
    /// What the engine says.
    pub container: ContainerFact,
    /// What the worker noted.
    pub notes: &'a JobNotes,
}

/// The next step for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: something else has to happen first.
    Wait,
    /// Fetch the manifest, pull and verify the image, create the container.
    Prepare,
    /// Start the container, which never ran.
    StartContainer,
    /// Tell the chain that the job runs.
    ReportStart,
    /// Start the service's container again; it ended though the job goes on.
    RestartContainer,
    /// Make another container of the same image in place of one that was lost.
    ReplaceContainer(LossCause),
    /// Follow a container that runs already.
    FollowContainer,
    /// Let a paused container run on.
    UnpauseContainer,
    /// Write the result document of the task whose container ended.
    Collect {
        /// The container's exit code.
        exit_code: i32,
        /// What the result says of standard output.
        stdout: StdoutResult,
    },
    /// Give the chain the result's hash.
    SubmitResult([u8; 32]),
    /// Give the chain the result's hash, and vouch for it.
    SubmitAttestedResult([u8; 32]),
    /// Commit to the result's hash by a salt.
    CommitResult {
        /// Hash of the result document.
        result_hash: [u8; 32],
        /// What is hashed with it.
        salt: [u8; 32],
    },
    /// Reveal what was committed to.
    RevealResult {
        /// Hash of the result document.
        result_hash: [u8; 32],
        /// What was hashed with it.
        salt: [u8; 32],
    },
    /// Have the chain count the replicas.
    Resolve,
    /// Remove the container; its result is kept.
    RemoveContainer,
    /// Have the chain pay what is due.
    Settle,
    /// Have the chain close a job whose time is over.
    Expire,
    /// Do not take the job.
    Decline(AbandonCause),
    /// Give the running job up.
    Abandon(AbandonCause),
    /// Tell the chain that the service's container ended by itself, for good.
    ReportWorkloadEnded,
}

impl Decision {
    /// A word for the step, as logs and metrics have it.
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

    /// Returns true for a step that the engine does, and not the chain.
    pub fn is_of_container(&self) -> bool {
        self.starts_container() || matches!(self, Self::FollowContainer | Self::UnpauseContainer)
    }

    /// Returns true for a step that must be on chain before a deadline that is near: it does not wait for
    /// what went wrong with another.
    pub fn is_urgent(&self) -> bool {
        matches!(self, Self::Decline(_) | Self::ReportStart)
    }
}

/// Why a container does not count as the job's run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// It is gone from the engine.
    Gone,
    /// It ended, or lost a part of its output, and the worker did not see how.
    Unseen,
    /// It was killed, and perhaps not by its own doing.
    Killed,
    /// It was paused again after the worker had let it run on.
    Paused,
    /// It neither runs nor ends.
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

/// Why a job is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbandonCause {
    /// It cannot be run as it was ordered.
    Refused(String),
    /// Its container is lost again and again.
    ContainerLost(LossCause),
    /// Its container keeps ending.
    RestartsExhausted,
    /// It cannot run by the start deadline.
    NotInTime,
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
        }
    }
}

/// The next step for an open job.
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
            // All at once: each call costs a fee.
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
    let is_late = facts.now_ms.saturating_add(START_MARGIN_MS) > deadline_ms;
    let step = match facts.kind {
        JobKind::Task { .. } => keep_task(facts),
        JobKind::Service => keep_service(facts),
    };
    match step {
        Decision::Wait if facts.container != ContainerFact::Unknown => Decision::ReportStart,
        // A short task may be done before the chain hears of its start.
        Decision::Collect { .. } => Decision::ReportStart,
        Decision::Abandon(cause) => Decision::Decline(cause),
        Decision::ReportWorkloadEnded => Decision::Decline(AbandonCause::RestartsExhausted),
        // Silence would take the machine out of the market, and a decline does not: whatever is still to be
        // done would not be done in time.
        _ if is_late => Decision::Decline(AbandonCause::NotInTime),
        step => step,
    }
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
            // Whether the machine is still attested is for the chain to say: evidence can be renewed until
            // the task's time is over.
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

/// What a task's container needs; nothing while it runs or how it ended is not known yet.
fn keep_task(facts: &JobFacts<'_>) -> Decision {
    let notes = facts.notes;
    match facts.container {
        // Whether its output belongs to the result is read anew with the manifest, for another run.
        container if notes.made_up && !notes.replacing && container.has_begun() => {
            lose(notes, LossCause::Unseen)
        }
        ContainerFact::Unfollowed if !notes.replacing => {
            // Of what it wrote until now nothing is known.
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

/// The result of a task whose container ended, if all that belongs to it was seen.
fn collect(notes: &JobNotes, end: RunEnd) -> Decision {
    let exit_code = match end.exit {
        Exit::Unseen => return lose(notes, LossCause::Unseen),
        // Once may have been the host's doing. Twice in a row is the program's own: one that ends so whenever
        // it runs must not cost its provider the job.
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

/// What a service's container needs; nothing while it runs.
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

/// What a container needs that is the same for tasks and services.
fn keep_container(facts: &JobFacts<'_>) -> Decision {
    let notes = facts.notes;
    match facts.container {
        ContainerFact::Unknown => Decision::Wait,
        ContainerFact::Created => Decision::StartContainer,
        // One that was to be replaced may be missing because the worker stopped in the middle of it: that is
        // no further loss.
        ContainerFact::Absent if !notes.container_started => Decision::Prepare,
        ContainerFact::Absent => lose(notes, LossCause::Gone),
        // The worker stopped after it noted the loss, and before it removed the old one.
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

/// Another container instead of a lost one, while restarts last.
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
        // Notes that were lost cannot be made up for.
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

/// Whether the epoch that a moment lies in is closed: it and the next one have ended.
fn is_payable(facts: &JobFacts<'_>, moment_ms: u64) -> bool {
    let epoch_of = |moment_ms: u64| moment_ms.checked_div(facts.epoch_duration_ms).unwrap_or(0);
    epoch_of(moment_ms).saturating_add(1) < epoch_of(facts.now_ms)
}

/// What there is to do while others decide: the container of a task that gave its result is not needed any
/// more.
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
