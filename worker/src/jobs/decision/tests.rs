//! The decision table, kind by kind and state by state.

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

/// Start deadline, far from the moments that the tests use.
const DEADLINE_MS: u64 = 10 * START_MARGIN_MS;

const STARTING: AssignmentState = AssignmentState::Starting {
    assigned_at_ms: 0,
    deadline_ms: DEADLINE_MS,
    risen_ms: 0,
};
const RUNNING: AssignmentState = AssignmentState::Running {
    started_at_ms: 100,
    judged_until_ms: 100,
};
const OUTPUT: StdoutResult = StdoutResult::Whole([5; 32]);

const fn ended(exit: Exit) -> ContainerFact {
    ContainerFact::Ended(RunEnd {
        exit,
        stdout: Some(OUTPUT),
    })
}

const ENDED: ContainerFact = ended(Exit::Clean(3));
const KILLED: ContainerFact = ended(Exit::Signalled(137));
const UNSEEN: ContainerFact = ContainerFact::Ended(RunEnd::UNSEEN);

/// A run that ended cleanly, except that a part of its output was lost.
const BROKEN_OFF: ContainerFact = ContainerFact::Ended(RunEnd {
    exit: Exit::Clean(3),
    stdout: None,
});

/// Every container fact, in the order of the tables below.
const FACTS: [ContainerFact; 12] = [
    ContainerFact::Unknown,
    ContainerFact::Absent,
    ContainerFact::Created,
    ContainerFact::Running,
    ContainerFact::Unfollowed,
    ContainerFact::Paused,
    ContainerFact::Stuck,
    ContainerFact::Ending,
    ENDED,
    KILLED,
    UNSEEN,
    BROKEN_OFF,
];

fn started() -> JobNotes {
    JobNotes {
        container_started: true,
        ..JobNotes::default()
    }
}

const COLLECT: Decision = Decision::Collect {
    exit_code: 3,
    stdout: OUTPUT,
};

fn verifying() -> AssignmentState {
    AssignmentState::Verifying {
        started_at_ms: 100,
        ended_at_ms: 150,
        window_ends_ms: 300,
        result_hash: [7; 32].into(),
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
        delivery: DeliveryFact::NotNeeded,
        unfit: None,
        notes,
    };
    decide(&facts)
}

/// Returns one decision per fact for one kind of job, at a time before every deadline.
fn table(kind: JobKind, state: &AssignmentState, notes: &JobNotes) -> [Decision; FACTS.len()] {
    FACTS.map(|container| decide_at(120, kind, state, container, notes))
}

fn all(decision: Decision) -> [Decision; FACTS.len()] {
    FACTS.map(|_| decision.clone())
}

#[test]
fn facts_of_a_container_follow_from_its_state_and_from_what_was_seen() {
    use ContainerState::*;
    let end = RunEnd {
        exit: Exit::Clean(0),
        stdout: None,
    };
    for (state, [unwatched, watched, has_ended]) in [
        (Created, [ContainerFact::Created; 3]),
        (
            Running,
            // A container that runs on after its run was seen to end is not the one that was followed.
            [
                ContainerFact::Unfollowed,
                ContainerFact::Running,
                ContainerFact::Unfollowed,
            ],
        ),
        (Paused, [ContainerFact::Paused; 3]),
        (Stuck, [ContainerFact::Stuck; 3]),
        (Unknown, [ContainerFact::Unknown; 3]),
        (Exited, [UNSEEN, ContainerFact::Ending, ContainerFact::Ended(end)]),
    ] {
        for (run, fact) in [
            (RunFact::Unwatched, unwatched),
            (RunFact::Watched, watched),
            (RunFact::Ended(end), has_ended),
        ] {
            let container = Container {
                id: String::new(),
                job: 1,
                fingerprint: String::new(),
                holding: crate::devices::Holding::default(),
                state,
                run,
            };
            assert_eq!(ContainerFact::of(&container), fact, "{state:?} {run:?}");
        }
    }
}

#[test]
fn starting_job_is_prepared_started_and_reported_in_that_order() {
    use Decision::*;
    let fresh = [Wait, Prepare, StartContainer];
    for kind in [TASK, JobKind::Service] {
        assert_eq!(table(kind, &STARTING, &JobNotes::default())[..3], fresh);
    }
    let expected = [
        Wait,
        ReplaceContainer(LossCause::Gone),
        StartContainer,
        ReportStart,
        ReplaceContainer(LossCause::Unseen),
        UnpauseContainer,
        ReplaceContainer(LossCause::Stuck),
        ReportStart,
        ReportStart,
        ReplaceContainer(LossCause::Killed),
        ReplaceContainer(LossCause::Unseen),
        ReplaceContainer(LossCause::Unseen),
    ];
    assert_eq!(table(TASK, &STARTING, &started()), expected);
    let expected = [
        Wait,
        ReplaceContainer(LossCause::Gone),
        StartContainer,
        ReportStart,
        FollowContainer,
        UnpauseContainer,
        ReplaceContainer(LossCause::Stuck),
        ReportStart,
        RestartContainer,
        RestartContainer,
        RestartContainer,
        RestartContainer,
    ];
    assert_eq!(table(JobKind::Service, &STARTING, &started()), expected);
}

#[test]
fn job_that_does_not_run_is_declined_before_its_deadline_whatever_holds_it_up() {
    let not_in_time = Decision::Decline(AbandonCause::NotInTime);
    for kind in [TASK, JobKind::Service] {
        for notes in [JobNotes::default(), started()] {
            for container in FACTS {
                let at = |now_ms| decide_at(now_ms, kind, &STARTING, container, &notes);
                let in_time = at(DEADLINE_MS - START_MARGIN_MS);
                assert_eq!(in_time, at(120), "{container:?}");
                let expected = if in_time == Decision::ReportStart {
                    Decision::ReportStart
                } else {
                    not_in_time.clone()
                };
                for now_ms in [DEADLINE_MS - START_MARGIN_MS + 1, DEADLINE_MS] {
                    assert_eq!(at(now_ms), expected, "{container:?} at {now_ms}");
                }
            }
        }
    }
}

#[test]
fn lost_container_is_replaced_so_many_times_and_then_the_job_is_given_up() {
    let lost = |restarts| JobNotes {
        restarts,
        unpaused: true,
        ..started()
    };
    for (container, cause) in [
        (ContainerFact::Absent, LossCause::Gone),
        (ContainerFact::Paused, LossCause::Paused),
        (ContainerFact::Stuck, LossCause::Stuck),
    ] {
        for kind in [TASK, JobKind::Service] {
            for state in [STARTING, RUNNING] {
                for restarts in 0..MAX_RESTARTS {
                    assert_eq!(
                        decide_at(120, kind, &state, container, &lost(restarts)),
                        Decision::ReplaceContainer(cause)
                    );
                }
            }
            let at_last = |state| decide_at(120, kind, &state, container, &lost(MAX_RESTARTS));
            let given_up = AbandonCause::ContainerLost(cause);
            assert_eq!(at_last(STARTING), Decision::Decline(given_up.clone()));
            assert_eq!(at_last(RUNNING), Decision::Abandon(given_up));
        }
    }
}

#[test]
fn run_that_was_not_seen_to_its_end_is_a_loss_and_no_result() {
    for container in [UNSEEN, BROKEN_OFF, ContainerFact::Unfollowed] {
        for (restarts, expected) in [
            (0, Decision::ReplaceContainer(LossCause::Unseen)),
            (MAX_RESTARTS - 1, Decision::ReplaceContainer(LossCause::Unseen)),
            (
                MAX_RESTARTS,
                Decision::Abandon(AbandonCause::ContainerLost(LossCause::Unseen)),
            ),
        ] {
            let notes = JobNotes {
                restarts,
                ..started()
            };
            for kind in [TASK, QUORUM, ATTESTED] {
                assert_eq!(decide_at(120, kind, &RUNNING, container, &notes), expected);
            }
        }
    }
}

#[test]
fn task_that_leaves_its_output_out_needs_only_its_end_to_be_seen() {
    let notes = JobNotes {
        stdout_is_left_out: true,
        ..started()
    };
    let collected = Decision::Collect {
        exit_code: 3,
        stdout: StdoutResult::NotCaptured,
    };
    for (container, expected) in [
        (ENDED, collected.clone()),
        (BROKEN_OFF, collected),
        (ContainerFact::Unfollowed, Decision::FollowContainer),
        (UNSEEN, Decision::ReplaceContainer(LossCause::Unseen)),
    ] {
        assert_eq!(decide_at(120, TASK, &RUNNING, container, &notes), expected);
    }
}

#[test]
fn task_that_was_killed_runs_once_more_and_then_that_is_its_result() {
    let once = JobNotes {
        was_killed: true,
        restarts: 1,
        ..started()
    };
    let collected = Decision::Collect {
        exit_code: 137,
        stdout: OUTPUT,
    };
    assert_eq!(
        decide_at(120, TASK, &RUNNING, KILLED, &started()),
        Decision::ReplaceContainer(LossCause::Killed)
    );
    assert_eq!(decide_at(120, TASK, &RUNNING, KILLED, &once), collected);
    // A program that kills itself must not cost the provider the job after other losses either.
    let tired = JobNotes {
        restarts: MAX_RESTARTS,
        ..started()
    };
    assert_eq!(decide_at(120, TASK, &RUNNING, KILLED, &tired), collected);
}

#[test]
fn container_that_is_being_replaced_is_made_without_counting_again() {
    let replacing = JobNotes {
        replacing: true,
        restarts: MAX_RESTARTS,
        ..JobNotes::default()
    };
    for kind in [TASK, JobKind::Service] {
        for state in [STARTING, RUNNING] {
            let mut expected = all(Decision::RemoveContainer);
            expected[0] = Decision::Wait;
            expected[1] = Decision::Prepare;
            expected[2] = Decision::StartContainer;
            assert_eq!(table(kind, &state, &replacing), expected);
        }
    }
}

#[test]
fn container_that_runs_without_notes_is_left_alone() {
    // The job's notes were lost.
    let fresh = JobNotes::default();
    for kind in [TASK, JobKind::Service] {
        assert_eq!(
            table(kind, &RUNNING, &fresh)[3..],
            table(kind, &RUNNING, &started())[3..]
        );
        assert_eq!(
            table(kind, &STARTING, &fresh)[3..],
            table(kind, &STARTING, &started())[3..]
        );
    }
}

#[test]
fn task_begins_anew_where_notes_that_were_made_up_do_not_say_what_belongs_to_its_result() {
    let made_up = JobNotes::made_up();
    let lost = Decision::ReplaceContainer(LossCause::Unseen);
    for state in [STARTING, RUNNING] {
        assert_eq!(table(TASK, &state, &made_up)[3..], all(lost.clone())[3..]);
        assert_eq!(
            table(JobKind::Service, &state, &made_up),
            table(JobKind::Service, &state, &JobNotes::default())
        );
    }
    let replacing = JobNotes {
        replacing: true,
        ..made_up
    };
    assert_eq!(
        table(TASK, &RUNNING, &replacing)[3..],
        all(Decision::RemoveContainer)[3..]
    );
}

#[test]
fn container_that_is_lost_after_its_jobs_time_is_not_replaced() {
    for kind in [TASK, JobKind::Service] {
        for (now_ms, expected) in [
            (1_100, Decision::ReplaceContainer(LossCause::Gone)),
            (1_101, Decision::Expire),
        ] {
            assert_eq!(
                decide_at(now_ms, kind, &RUNNING, ContainerFact::Absent, &started()),
                expected
            );
        }
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
        assert_eq!(
            table(kind, &STARTING, &notes),
            all(Decision::Decline(cause.clone()))
        );
        assert_eq!(
            table(kind, &RUNNING, &notes),
            all(Decision::Abandon(cause.clone()))
        );
    }
}

#[test]
fn starting_job_expires_after_its_deadline_and_not_at_it() {
    let notes = started();
    for (now_ms, expected) in [
        (DEADLINE_MS, Decision::ReportStart),
        (DEADLINE_MS + 1, Decision::Expire),
    ] {
        assert_eq!(
            decide_at(now_ms, TASK, &STARTING, ContainerFact::Running, &notes),
            expected
        );
    }
}

#[test]
fn running_task_is_collected_once_and_submitted() {
    use Decision::*;
    let expected = [
        Wait,
        ReplaceContainer(LossCause::Gone),
        StartContainer,
        Wait,
        ReplaceContainer(LossCause::Unseen),
        UnpauseContainer,
        ReplaceContainer(LossCause::Stuck),
        Wait,
        COLLECT,
        ReplaceContainer(LossCause::Killed),
        ReplaceContainer(LossCause::Unseen),
        ReplaceContainer(LossCause::Unseen),
    ];
    assert_eq!(table(TASK, &RUNNING, &started()), expected);
    let done = JobNotes {
        result_hash: Some([9; 32]),
        ..started()
    };
    assert_eq!(table(TASK, &RUNNING, &done), all(SubmitResult([9; 32])));
}

#[test]
fn running_attested_task_is_collected_once_and_vouched_for_as_long_as_its_time_lasts() {
    use Decision::*;
    let started = started();
    assert_eq!(
        table(ATTESTED, &RUNNING, &started),
        table(TASK, &RUNNING, &started)
    );
    let done = JobNotes {
        result_hash: Some([9; 32]),
        ..started
    };
    let expected = SubmitAttestedResult([9; 32]);
    assert_eq!(table(ATTESTED, &RUNNING, &done), all(expected.clone()));
    assert_eq!(decide_at(1_100, ATTESTED, &RUNNING, ENDED, &done), expected);
    assert_eq!(decide_at(1_101, ATTESTED, &RUNNING, ENDED, &done), Expire);
}

#[test]
fn running_service_is_kept_up() {
    use Decision::*;
    let expected = [
        Wait,
        ReplaceContainer(LossCause::Gone),
        StartContainer,
        Wait,
        FollowContainer,
        UnpauseContainer,
        ReplaceContainer(LossCause::Stuck),
        Wait,
        RestartContainer,
        RestartContainer,
        RestartContainer,
        RestartContainer,
    ];
    assert_eq!(table(JobKind::Service, &RUNNING, &started()), expected);
}

#[test]
fn service_that_ends_by_itself_for_good_is_nobodys_offence() {
    let tired = JobNotes {
        restarts: MAX_RESTARTS,
        ..started()
    };
    let lost = AbandonCause::ContainerLost(LossCause::Unseen);
    for (container, running, starting) in [
        (
            ENDED,
            Decision::ReportWorkloadEnded,
            AbandonCause::RestartsExhausted,
        ),
        (
            KILLED,
            Decision::ReportWorkloadEnded,
            AbandonCause::RestartsExhausted,
        ),
        (
            BROKEN_OFF,
            Decision::ReportWorkloadEnded,
            AbandonCause::RestartsExhausted,
        ),
        // The worker did not see that the container ended by itself.
        (UNSEEN, Decision::Abandon(lost.clone()), lost),
    ] {
        let at = |state| decide_at(120, JobKind::Service, &state, container, &tired);
        assert_eq!(at(RUNNING), running);
        assert_eq!(at(STARTING), Decision::Decline(starting));
    }
}

#[test]
fn running_service_is_settled_when_an_epoch_is_closed_even_when_the_engine_is_silent() {
    let notes = JobNotes {
        container_started: true,
        ..JobNotes::default()
    };
    for container in [
        ContainerFact::Running,
        ContainerFact::Ending,
        ContainerFact::Unknown,
    ] {
        // The job is settled up to a moment of the second epoch, which is closed at the end of the third.
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
        decide_at(1_101, JobKind::Service, &RUNNING, ContainerFact::Running, &notes),
        Decision::Expire
    );
}

#[test]
fn verifying_task_is_tidied_then_settled_after_its_window() {
    use Decision::*;
    let notes = JobNotes::default();
    let mut expected = all(RemoveContainer);
    expected[..2].fill(Wait);
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
        commitment: [7; 32].into(),
    };
    let revealed = AssignmentState::Revealed {
        started_at_ms: 100,
        ended_at_ms: 120,
        result_hash: result_hash.into(),
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
                fill_until_ms: None,
            }),
            max_duration_ms: 1_000,
            now_ms,
            epoch_duration_ms: 60,
            container: ContainerFact::Absent,
            delivery: DeliveryFact::NotNeeded,
            unfit: None,
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

#[test]
fn decline_is_late_after_a_fifth_of_the_start_window() {
    let state = AssignmentState::Starting {
        assigned_at_ms: 1_000,
        deadline_ms: 601_000,
        risen_ms: 0,
    };
    assert!(!is_late_decline(&state, 121_000));
    assert!(is_late_decline(&state, 121_001));
    assert!(!is_late_decline(&RUNNING, 601_000));
}

#[test]
fn sealed_job_waits_for_its_manifest_and_is_declined_without_it() {
    let state = AssignmentState::Starting {
        assigned_at_ms: 1_000,
        deadline_ms: 601_000,
        risen_ms: 0,
    };
    let late_ms = 601_000 - START_MARGIN_MS + 1;
    let (fresh, started) = (JobNotes::default(), started());
    let decide_with = |delivery, container, now_ms, notes| {
        decide(&JobFacts {
            kind: JobKind::Service,
            state: &state,
            ballot: None,
            max_duration_ms: 1_000,
            now_ms,
            epoch_duration_ms: 60,
            container,
            delivery,
            unfit: None,
            notes,
        })
    };
    use AbandonCause::{NotDelivered, NotInTime};
    for (delivery, early, late) in [
        (DeliveryFact::Awaited, Decision::Wait, NotDelivered),
        (DeliveryFact::Unusable, Decision::Wait, NotInTime),
        (DeliveryFact::Received, Decision::Prepare, NotInTime),
        (DeliveryFact::NotNeeded, Decision::Prepare, NotInTime),
    ] {
        let decision = decide_with(delivery, ContainerFact::Absent, 2_000, &fresh);
        assert_eq!(decision, early, "{delivery:?}");
        let decision = decide_with(delivery, ContainerFact::Absent, late_ms, &fresh);
        assert_eq!(decision, Decision::Decline(late), "{delivery:?}");
    }
    // An engine that does not answer, and a container that exists, say more than the delivery.
    let unknown = decide_with(DeliveryFact::Awaited, ContainerFact::Unknown, late_ms, &fresh);
    assert_eq!(unknown, Decision::Decline(NotInTime));
    let created = decide_with(DeliveryFact::Unusable, ContainerFact::Created, 2_000, &fresh);
    assert_eq!(created, Decision::StartContainer);
    let running = decide_with(DeliveryFact::Unusable, ContainerFact::Running, late_ms, &started);
    assert_eq!(running, Decision::ReportStart);
    // A refusal is the better reason, and after the deadline nothing is declined.
    let refused = JobNotes {
        refused: Some("no room".into()),
        ..JobNotes::default()
    };
    let decision = decide_with(DeliveryFact::Awaited, ContainerFact::Absent, 2_000, &refused);
    assert_eq!(
        decision,
        Decision::Decline(AbandonCause::Refused("no room".into()))
    );
    let decision = decide_with(DeliveryFact::Awaited, ContainerFact::Absent, 601_001, &fresh);
    assert_eq!(decision, Decision::Expire);
}

#[test]
fn machine_that_is_not_well_declines_what_never_ran_and_goes_on_with_the_rest() {
    let (fresh, started) = (JobNotes::default(), started());
    let (starting, running) = (STARTING, RUNNING);
    let decide_with = |state, container, notes, unfit| {
        decide(&JobFacts {
            kind: JobKind::Service,
            state,
            ballot: None,
            max_duration_ms: 1_000_000,
            now_ms: 1_000,
            epoch_duration_ms: 60_000,
            container,
            delivery: DeliveryFact::NotNeeded,
            unfit,
            notes,
        })
    };
    let hot = Some("it is hot");
    let declined = Decision::Decline(AbandonCause::Refused("it is hot".into()));
    for container in [ContainerFact::Absent, ContainerFact::Created] {
        assert_eq!(decide_with(&starting, container, &fresh, hot), declined);
        assert_ne!(decide_with(&starting, container, &fresh, None), declined);
    }
    for (state, container, notes) in [
        (&starting, ContainerFact::Running, &started),
        (&starting, ContainerFact::Created, &started),
        (&starting, ContainerFact::Unknown, &fresh),
        (&running, ContainerFact::Running, &started),
        (&running, ContainerFact::Absent, &started),
    ] {
        assert_eq!(
            decide_with(state, container, notes, hot),
            decide_with(state, container, notes, None),
            "{state:?} {container:?}"
        );
    }
}
