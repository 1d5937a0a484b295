//! Containers that vanish from the engine, and the supervisor's reaction.

use std::{cell::RefCell, io::Write, sync::Once};

use super::*;

/// Returns the trace of an engine that replaces a container.
fn replacement() -> [String; 3] {
    let image = format!("pull localhost:5000/a@sha256:{}", "ab".repeat(32));
    [image, "create".into(), "start".into()]
}

fn calls_but_settlements(world: &World) -> Vec<WorkerCall> {
    let mut calls = world.chain.calls();
    calls.retain(|call| !matches!(call, WorkerCall::Settle { .. }));
    calls
}

fn noted_restarts(world: &World, job: u64) -> u32 {
    world.store().stored_notes(job).unwrap().unwrap().restarts
}

#[tokio::test(start_paused = true)]
async fn container_that_vanished_is_replaced_by_one_of_the_same_image() {
    for kind in [TASK, JobKind::Service] {
        let mut world = World::new();
        world.deploy(7, kind);
        world.block().await;
        world.engine.trace();
        world.engine.lose_containers();
        world.block().await;
        assert_eq!(
            world.engine.trace(),
            Vec::<String>::new(),
            "it may be back at once"
        );

        tokio::time::advance(STEP_BACKOFF.maximum).await;
        world.block().await;
        assert_eq!(world.engine.trace(), replacement());
        let created = world.engine.change(|engine| engine.created.clone());
        assert_eq!(created.len(), 2);
        assert_eq!(created[0], created[1]);
        assert_eq!(world.engine.state(), Some(ContainerState::Running));
        assert_eq!(noted_restarts(&world, 7), 1);
        assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 7 }]);

        if kind == TASK {
            world.engine.end_container(0);
            world.block().await;
            assert!(matches!(
                world.chain.calls()[1..],
                [WorkerCall::SubmitResult { job: 7, .. }]
            ));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn container_that_vanished_before_the_chain_heard_of_it_is_replaced_and_reported() {
    let mut world = World::new();
    world.deploy(7, TASK);
    world.chain.change(|state| state.refuse_next = true);
    world.block().await;
    world.engine.lose_containers();
    world.engine.trace();
    world.restart();
    world.block().await;
    tokio::time::advance(STEP_BACKOFF.maximum).await;
    world.block().await;
    assert_eq!(world.engine.trace(), replacement());
    assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 7 }]);
}

#[tokio::test(start_paused = true)]
async fn container_that_is_missed_for_a_moment_is_left_alone() {
    let mut world = World::new();
    world.deploy(7, TASK);
    world.block().await;
    world.engine.trace();
    for _ in 0..3 {
        let containers = world.engine.lose_containers();
        world.block().await;
        world.engine.change(|engine| engine.containers = containers);
        tokio::time::advance(STEP_BACKOFF.maximum).await;
        world.block().await;
    }
    // An engine that does not answer counts as no loss either.
    world.engine.lose_containers();
    world.block().await;
    world.engine.change(|engine| engine.dead = true);
    tokio::time::advance(STEP_BACKOFF.maximum).await;
    world.block().await;
    world.engine.change(|engine| engine.dead = false);
    world.block().await;
    assert_eq!(world.engine.trace(), Vec::<String>::new());
    assert_eq!(noted_restarts(&world, 7), 0);
}

/// Loses the job's containers as often as they are replaced. Returns the seconds between each loss and the
/// next container's start, or giving up.
async fn lose_until_given_up(world: &mut World) -> Vec<u64> {
    let mut seconds_missing = Vec::new();
    while world.chain.change(|state| !state.jobs.is_empty()) {
        world.engine.lose_containers();
        world.block().await;
        let since = Instant::now();
        while world.engine.state().is_none() && world.chain.change(|state| !state.jobs.is_empty()) {
            tokio::time::advance(Duration::from_millis(250)).await;
            world.block().await;
        }
        seconds_missing.push(since.elapsed().as_secs());
    }
    seconds_missing
}

#[tokio::test(start_paused = true)]
async fn container_that_vanishes_again_and_again_is_replaced_ever_later_and_then_given_up() {
    for kind in [TASK, JobKind::Service] {
        let mut world = World::new();
        world.deploy(7, kind);
        world.block().await;
        assert_eq!(lose_until_given_up(&mut world).await, [1, 2, 4, 8, 16, 32]);
        let created = world.engine.change(|engine| engine.created.len());
        assert_eq!(created, 1 + MAX_RESTARTS as usize);
        assert_eq!(
            calls_but_settlements(&world),
            [WorkerCall::Start { job: 7 }, GIVEN_UP]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn losses_of_a_stable_service_are_forgiven_and_those_of_a_task_are_not() {
    for (kind, restarts) in [(JobKind::Service, 0), (TASK, 1)] {
        let mut world = World::new();
        world.deploy(7, kind);
        world.block().await;
        world.engine.lose_containers();
        world.block().await;
        tokio::time::advance(STEP_BACKOFF.maximum).await;
        world.block().await;
        assert_eq!(noted_restarts(&world, 7), 1);
        tokio::time::advance(STABLE_RUN).await;
        world.block().await;
        assert_eq!(noted_restarts(&world, 7), restarts);
    }
}

#[tokio::test(start_paused = true)]
async fn crash_while_a_container_is_replaced_counts_one_loss() {
    // States before a running container: nothing yet, notes, a created container.
    for steps_before_crash in 0..3 {
        let mut world = World::new();
        world.deploy(7, TASK);
        world.block().await;
        world.engine.trace();
        world.engine.lose_containers();
        world.block().await;
        match steps_before_crash {
            0 => (),
            // Crash between writing the notes and creating the container.
            1 => {
                world.engine.change(|engine| engine.failing_pulls = 1);
                tokio::time::advance(STEP_BACKOFF.maximum).await;
                world.block().await;
                assert_eq!(noted_restarts(&world, 7), 1);
            }
            _ => {
                tokio::time::advance(STEP_BACKOFF.maximum).await;
                world
                    .supervisor
                    .look_at_chain(world.chain.change(|state| state.best_block))
                    .await
                    .unwrap();
                world.supervisor.round().await;
                world.supervisor.step_ended().await.unwrap();
                assert_eq!(world.engine.state(), Some(ContainerState::Created));
            }
        }
        world.restart();
        world.block().await;
        tokio::time::advance(STEP_BACKOFF.maximum).await;
        world.block().await;
        assert_eq!(world.engine.state(), Some(ContainerState::Running));
        assert_eq!(noted_restarts(&world, 7), 1);
        let trace = world.engine.trace();
        for step in ["create", "start"] {
            let times = trace.iter().filter(|entry| *entry == step).count();
            assert_eq!(
                times, 1,
                "{step} after a crash at {steps_before_crash}: {trace:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn registry_that_does_not_answer_for_minutes_ends_no_running_job() {
    let mut world = World::new();
    world.deploy(7, JobKind::Service);
    world.block().await;
    for (failures, calls) in [
        (
            MAX_ENGINE_FAILURES_RUNNING - 1,
            vec![WorkerCall::Start { job: 7 }],
        ),
        (
            MAX_ENGINE_FAILURES_RUNNING,
            vec![WorkerCall::Start { job: 7 }, GIVEN_UP],
        ),
    ] {
        world.engine.lose_containers();
        world.engine.change(|engine| engine.failing_pulls = failures);
        for _ in 0..failures + 3 {
            world.block().await;
            tokio::time::advance(STEP_BACKOFF.maximum).await;
        }
        world.block().await;
        assert_eq!(calls_but_settlements(&world), calls);
    }
}

thread_local! {
    /// Log of this thread; each test has a thread of its own.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Captures the log of each thread separately.
///
/// Called for the whole process before any supervisor starts: a call site that first logs in a test without a
/// subscriber stays silent for all tests.
pub(super) fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(|| Log)
            .init();
    });
}

/// Abandons one job, declines one at once, and one late.
async fn give_up_and_decline() {
    let mut world = World::new();
    world.deploy(7, TASK);
    world.block().await;
    lose_until_given_up(&mut world).await;
    world.deploy_manifest(8, TASK, "{}");
    world.block().await;
    world.engine.change(|engine| engine.pulls_hang = true);
    world.deploy(9, TASK);
    world.supervisor.look_at_chain(0).await.unwrap();
    world.supervisor.round().await;
    world
        .chain
        .change(|state| state.now_ms += 600_000 - START_MARGIN_MS);
    world.block().await;
}

#[tokio::test(start_paused = true)]
async fn log_says_what_it_costs_to_give_a_job_up_or_to_decline_it() {
    give_up_and_decline().await;
    // These tests run on one thread.
    let text = LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap());
    for (sentence, job) in [
        (
            "giving up a running job: a task is not paid, a service loses its hold-back",
            7,
        ),
        ("its container is gone from the engine, after 5 restarts", 7),
        ("declining the job, which costs nothing", 8),
        ("declining the job late", 9),
    ] {
        let is_said = text
            .lines()
            .any(|line| line.contains(sentence) && line.contains(&format!("job={job} ")));
        assert!(is_said, "{sentence:?} is not said of job {job} in\n{text}");
    }
}
