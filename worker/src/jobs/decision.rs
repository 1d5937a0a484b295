//! What to do next with one job: a pure function of what the chain, the engine and the notes say.
//!
//! Nothing here remembers anything, so a restart of the worker, the engine or the node changes no decision. The
//! machine's status is no part of it: jobs go on while the machine is suspended or draining.
//!
//! A container that ran and is gone from the engine is replaced by another of the same image. Consumers are told that
//! a container may be started more than once, so that losing one costs time and not the job; and giving up a job
//! that runs is an offence, which costs the provider a part of the machine's bond.

use assay_client::types::{AssignmentState, Ballot, JobKind, Verification};

use super::notes::JobNotes;
use crate::engine::ContainerState;

/// Most times that a job's container is started again, because it ended though the service goes on or because it was
/// lost, before the job is given up.
///
/// A service's count is forgotten when a container stayed up for [`super::STABLE_RUN`]. A task's is not: it begins
/// anew each time, and one that is lost after hours, again and again, comes to no end.
pub const MAX_RESTARTS: u32 = 5;

/// What the engine says of a job's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerFact {
    /// The engine does not answer, so nothing is known.
    Unknown,
    /// The engine answers and has no such container.
    Absent,
    /// The engine has it.
    Present(ContainerState),
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
    /// Make another container of the same image; the one that ran is gone from the engine.
    ReplaceContainer,
    /// Read the output of the task's ended container and write its result document.
    Collect {
        /// The container's exit code.
        exit_code: i64,
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
            Self::ReplaceContainer => "replace_container",
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
        }
    }
}

/// Why a job is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbandonCause {
    /// It cannot be run as it was ordered.
    Refused(String),
    /// Its container keeps vanishing from the engine.
    ContainerLost,
    /// Its container keeps ending.
    RestartsExhausted,
}

impl std::fmt::Display for AbandonCause {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(reason) => formatter.write_str(reason),
            Self::ContainerLost => write!(
                formatter,
                "its container is gone from the engine, after {MAX_RESTARTS} restarts"
            ),
            Self::RestartsExhausted => {
                write!(formatter, "its container ended, after {MAX_RESTARTS} restarts")
            }
        }
    }
}

/// The next step for an open job.
pub fn decide(facts: &JobFacts<'_>) -> Decision {
    match *facts.state {
        AssignmentState::Starting { deadline_ms } => decide_starting(facts, deadline_ms),
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
    match facts.container {
        ContainerFact::Unknown | ContainerFact::Present(ContainerState::Unknown) => Decision::Wait,
        ContainerFact::Absent => match make_container(facts.notes) {
            Decision::Abandon(cause) => Decision::Decline(cause),
            step => step,
        },
        ContainerFact::Present(ContainerState::Created) => Decision::StartContainer,
        ContainerFact::Present(ContainerState::Running) => Decision::ReportStart,
        ContainerFact::Present(ContainerState::Exited { .. }) => match facts.kind {
            // A short task may be done before the chain hears of its start.
            JobKind::Task { .. } => Decision::ReportStart,
            JobKind::Service if facts.notes.restarts >= MAX_RESTARTS => {
                Decision::Decline(AbandonCause::RestartsExhausted)
            }
            JobKind::Service => Decision::RestartContainer,
        },
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
            // Whether the machine is still attested is for the chain to say: evidence can be renewed until the task's time
            // is over.
            (
                JobKind::Task {
                    verification: Verification::Attested,
                },
                _,
            ) => Decision::SubmitAttestedResult(result_hash),
            _ => Decision::SubmitResult(result_hash),
        };
    }
    if let Some(refusal) = refusal(facts.notes) {
        return refusal;
    }
    match facts.container {
        ContainerFact::Unknown
        | ContainerFact::Present(ContainerState::Running | ContainerState::Unknown) => Decision::Wait,
        ContainerFact::Absent => make_container(facts.notes),
        ContainerFact::Present(ContainerState::Created) => Decision::StartContainer,
        ContainerFact::Present(ContainerState::Exited { exit_code }) => Decision::Collect { exit_code },
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
    if let Some(refusal) = refusal(facts.notes) {
        return refusal;
    }
    match facts.container {
        ContainerFact::Absent => return make_container(facts.notes),
        ContainerFact::Present(ContainerState::Created) => return Decision::StartContainer,
        ContainerFact::Present(ContainerState::Exited { .. }) => return restart(facts.notes),
        ContainerFact::Unknown
        | ContainerFact::Present(ContainerState::Running | ContainerState::Unknown) => (),
    }
    if judged_until_ms < run_ends_ms && is_payable(facts, judged_until_ms) {
        Decision::Settle
    } else {
        Decision::Wait
    }
}

/// Whether the epoch that a moment lies in is closed: it and the next one have ended.
fn is_payable(facts: &JobFacts<'_>, moment_ms: u64) -> bool {
    let epoch_of = |moment_ms: u64| moment_ms.checked_div(facts.epoch_duration_ms).unwrap_or(0);
    epoch_of(moment_ms).saturating_add(1) < epoch_of(facts.now_ms)
}

/// What there is to do while others decide: the container of a task that gave its result is not needed any more.
fn tidy(facts: &JobFacts<'_>) -> Decision {
    if matches!(facts.container, ContainerFact::Present(_)) {
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

/// What to do where there is no container. One that was to be replaced may be missing because the worker stopped
/// in the middle of it: that is no further loss.
fn make_container(notes: &JobNotes) -> Decision {
    if !notes.container_started {
        Decision::Prepare
    } else if notes.restarts >= MAX_RESTARTS {
        Decision::Abandon(AbandonCause::ContainerLost)
    } else {
        Decision::ReplaceContainer
    }
}

fn restart(notes: &JobNotes) -> Decision {
    if notes.restarts >= MAX_RESTARTS {
        Decision::Abandon(AbandonCause::RestartsExhausted)
    } else {
        Decision::RestartContainer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: JobKind = JobKind::task(60);
    const QUORUM: JobKind = JobKind::Task {
        verification: Verification::Quorum {
            replicas: 3,
            threshold: 2,
        },
    };

    const ATTESTED: JobKind = JobKind::Task {
        verification: Verification::Attested,
    };

    const STARTING: AssignmentState = AssignmentState::Starting { deadline_ms: 600 };
    const RUNNING: AssignmentState = AssignmentState::Running {
        started_at_ms: 100,
        judged_until_ms: 100,
    };
    const CREATED: ContainerFact = ContainerFact::Present(ContainerState::Created);
    const UP: ContainerFact = ContainerFact::Present(ContainerState::Running);
    const ENDED: ContainerFact = ContainerFact::Present(ContainerState::Exited { exit_code: 3 });

    fn verifying() -> AssignmentState {
        AssignmentState::Verifying {
            started_at_ms: 100,
            ended_at_ms: 150,
            window_ends_ms: 300,
            result_hash: [7; 32],
        }
    }

    fn decide_at(
        now_ms: u64,
        kind: JobKind,
        state: &AssignmentState,
        container: ContainerFact,
        notes: &JobNotes,
    ) -> Decision {
        let facts = JobFacts {
            kind,
            state,
            max_duration_ms: 1_000,
            now_ms,
            ballot: None,
            epoch_duration_ms: 60,
            container,
            notes,
        };
        decide(&facts)
    }

    /// The whole table for one kind of job at a time that is inside every deadline.
    fn table(kind: JobKind, state: &AssignmentState, notes: &JobNotes) -> [Decision; 5] {
        [ContainerFact::Unknown, ContainerFact::Absent, CREATED, UP, ENDED]
            .map(|container| decide_at(120, kind, state, container, notes))
    }

    #[test]
    fn starting_job_is_prepared_started_and_reported_in_that_order() {
        use Decision::*;
        let fresh = JobNotes::default();
        let expected = [Wait, Prepare, StartContainer, ReportStart, ReportStart];
        assert_eq!(table(TASK, &STARTING, &fresh), expected);
        let expected = [Wait, Prepare, StartContainer, ReportStart, RestartContainer];
        assert_eq!(table(JobKind::Service, &STARTING, &fresh), expected);
    }

    #[test]
    fn lost_container_is_replaced_so_many_times_and_then_the_job_is_given_up() {
        let lost = |restarts| JobNotes {
            container_started: true,
            restarts,
            ..JobNotes::default()
        };
        for kind in [TASK, JobKind::Service] {
            for state in [STARTING, RUNNING] {
                for restarts in 0..MAX_RESTARTS {
                    assert_eq!(
                        table(kind, &state, &lost(restarts))[1],
                        Decision::ReplaceContainer
                    );
                }
            }
            let at_last = |state| table(kind, &state, &lost(MAX_RESTARTS))[1].clone();
            assert_eq!(at_last(STARTING), Decision::Decline(AbandonCause::ContainerLost));
            assert_eq!(at_last(RUNNING), Decision::Abandon(AbandonCause::ContainerLost));
        }
    }

    #[test]
    fn container_that_is_being_replaced_is_made_without_counting_again() {
        let replacing = JobNotes {
            restarts: MAX_RESTARTS,
            ..JobNotes::default()
        };
        for kind in [TASK, JobKind::Service] {
            for state in [STARTING, RUNNING] {
                assert_eq!(table(kind, &state, &replacing)[1], Decision::Prepare);
                assert_eq!(table(kind, &state, &replacing)[2], Decision::StartContainer);
            }
        }
    }

    #[test]
    fn container_that_is_lost_after_its_jobs_time_is_not_replaced() {
        let notes = JobNotes {
            container_started: true,
            ..JobNotes::default()
        };
        for kind in [TASK, JobKind::Service] {
            for (now_ms, expected) in [(1_100, Decision::ReplaceContainer), (1_101, Decision::Expire)] {
                assert_eq!(
                    decide_at(now_ms, kind, &RUNNING, ContainerFact::Absent, &notes),
                    expected
                );
            }
            assert_eq!(table(kind, &STARTING, &notes)[1], Decision::ReplaceContainer);
        }
    }

    #[test]
    fn refused_job_is_declined_or_abandoned_whatever_the_engine_says() {
        let notes = JobNotes {
            refused: Some("no".into()),
            ..JobNotes::default()
        };
        let cause = AbandonCause::Refused("no".into());
        for kind in [TASK, JobKind::Service] {
            let expected = Decision::Decline(cause.clone());
            assert_eq!(table(kind, &STARTING, &notes), [(); 5].map(|()| expected.clone()));
            let expected = Decision::Abandon(cause.clone());
            assert_eq!(table(kind, &RUNNING, &notes), [(); 5].map(|()| expected.clone()));
        }
    }

    #[test]
    fn starting_job_expires_after_its_deadline_and_not_at_it() {
        let notes = JobNotes::default();
        for (now_ms, expected) in [(600, Decision::Prepare), (601, Decision::Expire)] {
            assert_eq!(
                decide_at(now_ms, TASK, &STARTING, ContainerFact::Absent, &notes),
                expected
            );
        }
    }

    #[test]
    fn running_task_is_collected_once_and_submitted() {
        use Decision::*;
        let started = JobNotes {
            container_started: true,
            ..JobNotes::default()
        };
        let expected = [
            Wait,
            ReplaceContainer,
            StartContainer,
            Wait,
            Collect { exit_code: 3 },
        ];
        assert_eq!(table(TASK, &RUNNING, &started), expected);
        let done = JobNotes {
            result_hash: Some([9; 32]),
            ..started
        };
        assert_eq!(
            table(TASK, &RUNNING, &done),
            [(); 5].map(|()| SubmitResult([9; 32]))
        );
    }

    #[test]
    fn running_attested_task_is_collected_once_and_vouched_for_as_long_as_its_time_lasts() {
        use Decision::*;
        let started = JobNotes {
            container_started: true,
            ..JobNotes::default()
        };
        assert_eq!(
            table(ATTESTED, &RUNNING, &started),
            table(TASK, &RUNNING, &started)
        );
        let done = JobNotes {
            result_hash: Some([9; 32]),
            ..started
        };
        let expected = SubmitAttestedResult([9; 32]);
        assert_eq!(
            table(ATTESTED, &RUNNING, &done),
            [(); 5].map(|()| expected.clone())
        );
        assert_eq!(decide_at(1_100, ATTESTED, &RUNNING, ENDED, &done), expected);
        assert_eq!(decide_at(1_101, ATTESTED, &RUNNING, ENDED, &done), Expire);
    }

    #[test]
    fn running_service_is_kept_up() {
        use Decision::*;
        let started = JobNotes {
            container_started: true,
            ..JobNotes::default()
        };
        let expected = [Wait, ReplaceContainer, StartContainer, Wait, RestartContainer];
        assert_eq!(table(JobKind::Service, &RUNNING, &started), expected);
        let tired = JobNotes {
            restarts: MAX_RESTARTS,
            ..started
        };
        let expected = Abandon(AbandonCause::RestartsExhausted);
        assert_eq!(table(JobKind::Service, &RUNNING, &tired)[4], expected);
    }

    #[test]
    fn running_service_is_settled_when_an_epoch_is_closed_even_when_the_engine_is_silent() {
        let notes = JobNotes {
            container_started: true,
            ..JobNotes::default()
        };
        for container in [UP, ContainerFact::Unknown] {
            // It is judged up to a moment of the second epoch, which is closed with the third.
            for (now_ms, expected) in [(179, Decision::Wait), (180, Decision::Settle)] {
                assert_eq!(
                    decide_at(now_ms, JobKind::Service, &RUNNING, container, &notes),
                    expected
                );
            }
        }
    }

    #[test]
    fn running_job_expires_after_its_longest_duration() {
        let notes = JobNotes {
            result_hash: Some([9; 32]),
            ..JobNotes::default()
        };
        let in_time = Decision::SubmitResult([9; 32]);
        assert_eq!(decide_at(1_100, TASK, &RUNNING, ENDED, &notes), in_time);
        assert_eq!(decide_at(1_101, TASK, &RUNNING, ENDED, &notes), Decision::Expire);
        assert_eq!(
            decide_at(1_101, JobKind::Service, &RUNNING, UP, &notes),
            Decision::Expire
        );
    }

    #[test]
    fn verifying_task_is_tidied_then_settled_after_its_window() {
        use Decision::*;
        let notes = JobNotes::default();
        let expected = [Wait, Wait, RemoveContainer, RemoveContainer, RemoveContainer];
        assert_eq!(table(TASK, &verifying(), &notes), expected);
        assert_eq!(
            decide_at(300, TASK, &verifying(), ContainerFact::Absent, &notes),
            Wait
        );
        assert_eq!(
            decide_at(301, TASK, &verifying(), ContainerFact::Absent, &notes),
            Settle
        );
    }

    #[test]
    fn ended_job_is_settled_when_its_last_epoch_is_closed() {
        let ended = |judged_until_ms| AssignmentState::Ended {
            started_at_ms: 70,
            ended_at_ms: 130,
            judged_until_ms,
            outcome: assay_client::types::Outcome::Completed,
        };
        let notes = JobNotes::default();
        for (now_ms, judged_until_ms, expected) in [
            (239, 70, Decision::Wait),
            (240, 70, Decision::Settle),
            (240, 120, Decision::Settle),
            (130, 130, Decision::Settle),
        ] {
            let state = ended(judged_until_ms);
            assert_eq!(
                decide_at(now_ms, TASK, &state, ContainerFact::Absent, &notes),
                expected
            );
        }
    }

    #[test]
    fn replica_commits_then_reveals_then_has_the_votes_counted() {
        let notes = JobNotes {
            container_started: true,
            result_hash: Some([9; 32]),
            salt: Some([8; 32]),
            ..JobNotes::default()
        };
        let (result_hash, salt) = ([9; 32], [8; 32]);
        assert_eq!(
            decide_at(120, QUORUM, &RUNNING, ENDED, &notes),
            Decision::CommitResult { result_hash, salt }
        );
        let committed = AssignmentState::Committed {
            started_at_ms: 100,
            ended_at_ms: 120,
            commitment: [7; 32],
        };
        let revealed = AssignmentState::Revealed {
            started_at_ms: 100,
            ended_at_ms: 120,
            result_hash,
        };
        let decide_with = |state: &AssignmentState, now_ms, revealed, reveal_ends_ms| {
            decide(&JobFacts {
                kind: QUORUM,
                state,
                ballot: Some(Ballot {
                    undecided: 0,
                    committed: 2,
                    revealed,
                    reveal_ends_ms,
                }),
                max_duration_ms: 1_000,
                now_ms,
                epoch_duration_ms: 60,
                container: ContainerFact::Absent,
                notes: &notes,
            })
        };
        assert_eq!(decide_with(&committed, 130, 0, None), Decision::Wait);
        assert_eq!(
            decide_with(&committed, 200, 0, Some(200)),
            Decision::RevealResult { result_hash, salt }
        );
        assert_eq!(decide_with(&committed, 201, 0, Some(200)), Decision::Resolve);
        assert_eq!(decide_with(&revealed, 200, 1, Some(200)), Decision::Wait);
        assert_eq!(decide_with(&revealed, 200, 2, Some(200)), Decision::Resolve);
        assert_eq!(decide_with(&revealed, 201, 1, Some(200)), Decision::Resolve);
    }
}
