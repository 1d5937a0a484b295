//! Ends of runs: results, losses, and ends that the workload causes itself.

use super::*;

/// Runs a task until its container is to end, with `interrupt` called after `interrupt_after` steps, and then
/// until its payment.
async fn run_through(world: &mut World, interrupt_after: u32, interrupt: impl Fn(&mut World)) {
    let (mut steps_done, mut ends) = (0, 0);
    for _ in 0..80 {
        let best_block = world.chain.change(|state| {
            state.best_block += 1;
            state.now_ms += 100;
            state.best_block
        });
        tokio::time::advance(STEP_BACKOFF.maximum).await;
        world.supervisor.look_at_chain(best_block).await.unwrap();
        world.supervisor.round().await;
        if !world.supervisor.busy.is_empty() {
            world.supervisor.step_ended().await.unwrap();
            steps_done += 1;
            if steps_done == interrupt_after {
                interrupt(world);
            }
        } else if starts(&world.chain.calls()) == 1 && is_followed(world) {
            world.engine.end_container(0);
            ends += 1;
            assert!(ends <= 2, "it runs again and again");
        }
    }
    let calls = world.chain.calls();
    assert_eq!(starts(&calls), 1);
    assert!(matches!(calls[1], WorkerCall::SubmitResult { .. }), "{calls:?}");
    assert_eq!(calls[2..], [WorkerCall::Settle { job: 7, machine: 0 }]);
    assert_eq!(world.engine.state(), None);
}

/// Returns true if a container runs and is followed.
fn is_followed(world: &World) -> bool {
    world.engine.change(|engine| {
        let found = engine.containers.first();
        found.is_some_and(|container| {
            (container.state, container.run) == (ContainerState::Running, RunFact::Watched)
        })
    })
}

fn times(trace: &[String], step: &str) -> usize {
    trace.iter().filter(|entry| *entry == step).count()
}

#[tokio::test(start_paused = true)]
async fn lost_connection_after_any_step_starts_nothing_twice() {
    for interrupt_after in 0..8 {
        let mut world = World::new();
        world.deploy(7, TASK);
        run_through(&mut world, interrupt_after, World::reconnect).await;
        let trace = world.engine.trace();
        for step in ["create", "start"] {
            assert_eq!(
                times(&trace, step),
                1,
                "{step} at step {interrupt_after}: {trace:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn crash_after_any_step_runs_a_task_from_its_beginning_and_never_twice_at_once() {
    // Steps: prepare, start, report, collect, submit, remove, settle. A crash while the container runs loses
    // the run.
    for (crash_after, runs) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 1), (5, 1), (6, 1), (7, 1)] {
        let mut world = World::new();
        world.deploy(7, TASK);
        run_through(&mut world, crash_after, World::restart).await;
        let trace = world.engine.trace();
        assert_eq!(
            times(&trace, "start"),
            runs,
            "after a crash at step {crash_after}: {trace:?}"
        );
        assert_eq!(
            times(&trace, "create"),
            runs,
            "after a crash at step {crash_after}: {trace:?}"
        );
        let mut containers = 0;
        for entry in &trace {
            containers += i32::from(entry == "create") - i32::from(entry == "remove");
            assert!((0..=1).contains(&containers), "{trace:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn crash_of_the_worker_does_not_interrupt_a_task_without_output_or_a_service() {
    let silent = manifest("ab").replace(
        r#""network":false}"#,
        r#""network":false,"capture_stdout":false}"#,
    );
    for (kind, manifest) in [(TASK, silent.as_str()), (JobKind::Service, &manifest("ab"))] {
        let mut world = World::new();
        world.deploy_manifest(7, kind, manifest);
        world.block().await;
        world.engine.trace();
        world.restart();
        world.block().await;
        assert_eq!(world.engine.trace(), ["follow"]);
        assert_eq!(world.engine.state(), Some(ContainerState::Running));
        if kind == TASK {
            world.engine.end_run(RunEnd {
                exit: Exit::Clean(4),
                stdout: None,
            });
            world.block().await;
            let file = world.store().result_document(7).unwrap().unwrap();
            let shown: ResultFile = serde_json::from_slice(&file).unwrap();
            assert_eq!((shown.exit_code, shown.stdout), (4, None));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn task_whose_end_was_not_seen_runs_again_and_gives_the_result_of_the_run_that_was() {
    for end in [
        RunEnd::UNSEEN,
        RunEnd {
            exit: Exit::Clean(0),
            stdout: None,
        },
        RunEnd {
            exit: Exit::Signalled(137),
            stdout: Some(done()),
        },
    ] {
        let mut world = World::new();
        world.deploy(7, TASK);
        world.block().await;
        world.engine.trace();
        world.engine.end_run(end);
        world.block().await;
        tokio::time::advance(STEP_BACKOFF.maximum).await;
        world.block().await;
        let image = format!("pull localhost:5000/a@sha256:{}", "ab".repeat(32));
        assert_eq!(
            world.engine.trace(),
            ["remove", &image, "create", "start"],
            "{end:?}"
        );
        assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 7 }]);
        world.engine.end_container(2);
        world.block().await;
        let file = world.store().result_document(7).unwrap().unwrap();
        let shown: ResultFile = serde_json::from_slice(&file).unwrap();
        assert_eq!(shown.exit_code, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn engine_that_has_not_told_the_end_yet_is_waited_for() {
    let mut world = World::new();
    world.deploy(7, TASK);
    world.block().await;
    world.engine.trace();
    world.engine.set_state(ContainerState::Exited);
    for _ in 0..3 {
        tokio::time::advance(STEP_BACKOFF.maximum).await;
        world.block().await;
    }
    assert_eq!(world.engine.trace(), Vec::<String>::new());
    assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 7 }]);
}

#[tokio::test(start_paused = true)]
async fn service_that_keeps_ending_is_reported_as_ended_and_not_given_up() {
    let mut world = World::new();
    world.deploy(1, JobKind::Service);
    world.block().await;
    for _ in 0..MAX_RESTARTS {
        world.engine.end_container(1);
        tokio::time::advance(STEP_BACKOFF.maximum).await;
        world.block().await;
        assert_eq!(world.engine.state(), Some(ContainerState::Running));
    }
    world.engine.end_container(1);
    tokio::time::advance(STEP_BACKOFF.maximum).await;
    world.block().await;
    let calls = world.chain.calls();
    assert_eq!(calls.last(), Some(&WorkerCall::ReportWorkloadEnded { job: 1 }));
    assert!(
        !calls
            .iter()
            .any(|call| matches!(call, WorkerCall::Abandon { .. }))
    );
}

#[tokio::test(start_paused = true)]
async fn stable_service_is_forgiven_its_restarts() {
    let mut world = World::new();
    world.deploy(1, JobKind::Service);
    world.block().await;
    world.engine.end_container(1);
    world.block().await;
    assert_eq!(world.store().stored_notes(1).unwrap().unwrap().restarts, 1);
    world.block().await;
    tokio::time::advance(STABLE_RUN).await;
    world.block().await;
    assert_eq!(world.store().stored_notes(1).unwrap().unwrap().restarts, 0);
}

#[tokio::test(start_paused = true)]
async fn paused_container_is_told_to_run_on_once_and_then_replaced() {
    for kind in [TASK, JobKind::Service] {
        let mut world = World::new();
        world.deploy(7, kind);
        world.block().await;
        world.engine.trace();
        world.engine.set_state(ContainerState::Paused);
        let round = world.supervisor.round().await.unwrap();
        assert_eq!(round[0].container, "paused");
        assert!(round[0].is_halted());
        assert_eq!(round[0].problem.as_deref(), Some("its container is paused"));
        world.block().await;
        assert_eq!(world.engine.trace(), ["unpause"]);
        assert_eq!(world.engine.state(), Some(ContainerState::Running));

        world.engine.set_state(ContainerState::Paused);
        world.block().await;
        tokio::time::advance(STEP_BACKOFF.maximum).await;
        world.block().await;
        assert_eq!(world.engine.trace()[0], "remove");
        assert_eq!(world.engine.state(), Some(ContainerState::Running));
        let notes = world.store().stored_notes(7).unwrap().unwrap();
        assert_eq!((notes.restarts, notes.unpaused), (1, false));
    }
}

#[tokio::test(start_paused = true)]
async fn container_that_is_stuck_has_its_time_and_is_replaced() {
    let mut world = World::new();
    world.deploy(7, TASK);
    world.block().await;
    world.engine.trace();
    world.engine.set_state(ContainerState::Stuck);
    world.block().await;
    tokio::time::advance(STUCK_AFTER - Duration::from_secs(1)).await;
    world.block().await;
    assert_eq!(world.engine.trace(), Vec::<String>::new());
    tokio::time::advance(Duration::from_secs(1)).await;
    world.block().await;
    assert_eq!(world.engine.trace()[0], "remove");
    assert_eq!(world.engine.state(), Some(ContainerState::Running));
}

/// Advances the chain's time to `before_deadline_ms` before the start deadline of a job that was just
/// created.
fn move_to(world: &World, before_deadline_ms: u64) {
    world
        .chain
        .change(|state| state.now_ms += 600_000 - before_deadline_ms);
}

#[tokio::test(start_paused = true)]
async fn job_is_declined_while_its_image_is_still_being_pulled() {
    let mut world = World::new();
    world.engine.change(|engine| engine.pulls_hang = true);
    world.deploy(7, TASK);
    world.supervisor.look_at_chain(0).await.unwrap();
    world.supervisor.round().await;
    assert!(world.supervisor.busy.contains_key(&7), "the pull goes on");
    move_to(&world, START_MARGIN_MS);
    world.supervisor.look_at_chain(0).await.unwrap();
    world.supervisor.round().await;
    tokio::task::yield_now().await;
    assert_eq!(world.chain.calls(), [], "there is time yet");
    world.block().await;
    assert_eq!(world.chain.calls(), [NOT_TAKEN]);
}

#[tokio::test(start_paused = true)]
async fn job_is_declined_in_time_although_the_engine_is_dead_or_the_registry_silent() {
    for is_dead in [true, false] {
        let mut world = World::new();
        world.engine.change(|engine| {
            engine.dead = is_dead;
            engine.is_absent = true;
        });
        // No service listens at port 9, so every attempt fails and is followed by a pause.
        let nowhere = manifest("ab").replace("localhost:5000", "127.0.0.1:9");
        world.deploy_manifest(7, TASK, &nowhere);
        world.block().await;
        move_to(&world, START_MARGIN_MS + 6_000);
        world.block().await;
        assert_eq!(world.chain.calls(), []);
        // The node refuses the call once.
        world.chain.change(|state| state.refuse_next = true);
        world.block().await;
        assert_eq!(world.chain.calls(), []);
        tokio::time::advance(URGENT_PAUSE).await;
        world.block().await;
        assert_eq!(world.chain.calls(), [NOT_TAKEN]);
    }
}

#[tokio::test(start_paused = true)]
async fn job_that_does_not_pay_its_fees_is_declined() {
    let mut world = World::new();
    world.deploy(7, TASK);
    // The job earns one planck for two slots and a quarter of an hour.
    world.chain.change(|state| state.fee = 1);
    world.block().await;
    assert_eq!(world.chain.calls(), [NOT_TAKEN]);
    let refused = world.store().stored_notes(7).unwrap().unwrap().refused.unwrap();
    assert!(refused.contains("assay.min_profit"), "{refused}");
    assert_eq!(world.engine.trace(), Vec::<String>::new());
}
