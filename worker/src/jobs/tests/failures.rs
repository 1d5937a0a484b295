//! Orders that cannot be carried out, engines and nodes that fail, and chains that were replaced.

use super::*;

#[tokio::test(start_paused = true)]
async fn image_other_than_ordered_is_refused() {
    for (manifest, reason) in [
        (manifest("cd"), "the order names sha256:abab"),
        ("{}".to_owned(), "the manifest is not valid"),
        (r#"{"image":"busybox:latest"}"#.to_owned(), "has no digest"),
    ] {
        let mut world = World::new();
        world.deploy_manifest(7, TASK, &manifest);
        world.block().await;
        assert_eq!(world.chain.calls(), [NOT_TAKEN]);
        assert_eq!(world.engine.trace(), Vec::<String>::new(), "nothing is pulled");
        let refused = world.store().stored_notes(7).unwrap().unwrap().refused.unwrap();
        assert!(refused.contains(reason), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn container_that_cannot_start_is_given_up() {
    let refused = EngineError::Refused {
        action: "start".into(),
        reason: "no such command".into(),
    };
    let mut world = World::new();
    world.engine.change(|engine| engine.start_error = Some(refused));
    world.deploy(7, TASK);
    world.block().await;
    assert_eq!(world.chain.calls(), [NOT_TAKEN]);

    let failed = EngineError::Failed {
        action: "start".into(),
        reason: "busy".into(),
    };
    let mut world = World::new();
    world.engine.change(|engine| engine.start_error = Some(failed));
    world.deploy(7, TASK);
    for _ in 0..MAX_ENGINE_FAILURES {
        assert_eq!(world.chain.calls(), []);
        tokio::time::advance(STEP_BACKOFF.maximum).await;
        world.block().await;
    }
    assert_eq!(world.chain.calls(), [NOT_TAKEN]);
}

#[tokio::test(start_paused = true)]
async fn dead_engine_makes_jobs_wait() {
    let mut world = World::new();
    world.engine.change(|engine| engine.dead = true);
    world.deploy(7, TASK);
    for _ in 0..20 {
        world.block().await;
    }
    assert_eq!(world.chain.calls(), []);
    assert!(!world.supervisor.engine_reachable());
    world.engine.change(|engine| engine.dead = false);
    world.block().await;
    assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 7 }]);
}

#[tokio::test(start_paused = true)]
async fn engine_that_fails_to_list_makes_jobs_wait_and_is_reported_when_it_lasts() {
    let mut world = World::new();
    world.deploy(1, JobKind::Service);
    world.block().await;
    world
        .engine
        .change(|engine| engine.failing_lists = MAX_LIST_FAILURES);
    for _ in 1..MAX_LIST_FAILURES {
        world.block().await;
        assert!(world.supervisor.engine_reachable());
    }
    world.block().await;
    assert!(!world.supervisor.engine_reachable());
    world.block().await;
    assert!(world.supervisor.engine_reachable());
    assert_eq!(
        world.chain.calls(),
        [WorkerCall::Start { job: 1 }],
        "the job was left alone meanwhile"
    );
}

#[tokio::test(start_paused = true)]
async fn refused_call_is_decided_anew_after_a_pause() {
    let mut world = World::new();
    world.deploy(7, TASK);
    world.chain.change(|state| state.refuse_next = true);
    world.block().await;
    assert_eq!(world.chain.calls(), []);
    tokio::time::advance(STEP_BACKOFF.maximum).await;
    world.block().await;
    assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 7 }]);
}

#[tokio::test(start_paused = true)]
async fn lost_connection_ends_the_session_and_leaves_containers_alone() {
    let mut world = World::new();
    world.deploy(1, JobKind::Service);
    world.block().await;
    world.chain.change(|state| state.lost = true);
    let error = world.supervisor.look_at_chain(2).await.unwrap_err();
    assert!(error.is_connection_lost());
    world.supervisor.round().await;
    assert!(world.supervisor.busy.is_empty());
    assert_eq!(world.engine.state(), Some(ContainerState::Running));
}

#[tokio::test(start_paused = true)]
async fn node_that_is_behind_decides_nothing() {
    let mut world = World::new();
    world.deploy(1, JobKind::Service);
    world.block().await;
    world.engine.trace();
    // The node was wiped and synchronizes from the first block: it does not know the job yet.
    world.chain.change(|state| {
        state.jobs.clear();
        state.best_block = 0;
    });
    world.supervisor = supervisor(&world.chain, &world.engine, &world.folder, 50);
    for _ in 0..3 {
        world.chain.change(|state| state.best_block += 1);
        world.supervisor.look_at_chain(1).await.unwrap();
        assert_eq!(world.supervisor.round().await, None);
    }
    assert_eq!(world.engine.trace(), Vec::<String>::new());
    assert_eq!(world.engine.state(), Some(ContainerState::Running));
}

#[tokio::test(start_paused = true)]
async fn container_is_removed_only_when_its_jobs_end_is_final() {
    let mut world = World::new();
    world.finalized_lag = 2;
    world.deploy(1, JobKind::Service);
    world.block().await;
    let jobs = world.chain.change(|state| std::mem::take(&mut state.jobs));
    world.block().await;
    world.block().await;
    assert_eq!(
        world.engine.state(),
        Some(ContainerState::Running),
        "the end may still be taken back"
    );
    // The end is reverted, and comes again later.
    world.chain.change(|state| state.jobs = jobs);
    world.block().await;
    world.chain.change(|state| state.jobs.clear());
    world.block().await;
    world.block().await;
    assert_eq!(world.engine.state(), Some(ContainerState::Running));
    world.block().await;
    assert_eq!(world.engine.state(), None);
}

#[tokio::test(start_paused = true)]
async fn job_of_a_chain_started_anew_is_another_job() {
    let mut world = World::new();
    world.deploy(0, TASK);
    world.block().await;
    world.engine.end_container(0);
    // A job of the same number on a new chain, created at another time, while the old container is still
    // there.
    world.chain.change(|state| {
        state.jobs.clear();
        state.calls.clear();
        state.now_ms = 50;
    });
    world.deploy(0, TASK);
    for _ in 0..3 {
        world.block().await;
    }
    assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 0 }]);
    assert_eq!(
        world.engine.state(),
        Some(ContainerState::Running),
        "its own container runs"
    );
    assert_eq!(
        world.store().result_document(0).unwrap(),
        None,
        "the old result is not its result"
    );
    assert_eq!(world.engine.change(|engine| engine.containers.len()), 1);
}

#[tokio::test(start_paused = true)]
async fn machine_that_is_not_well_takes_no_new_jobs_and_runs_the_old_ones() {
    use crate::health::{Level, verdict};

    let mut world = World::new();
    world.deploy(1, JobKind::Service);
    world.block().await;
    assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 1 }]);

    world.supervisor.health.publish(verdict(Level::NoNewJobs));
    world.deploy(7, TASK);
    world.block().await;
    assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 1 }, NOT_TAKEN]);
    for _ in 0..5 {
        world.block().await;
    }
    assert_eq!(world.chain.calls().len(), 2, "the running job goes on");

    world.supervisor.health.publish(verdict(Level::Warning));
    world.deploy(8, TASK);
    world.block().await;
    let calls = world.chain.calls();
    assert_eq!(calls.last(), Some(&WorkerCall::Start { job: 8 }));
}

#[tokio::test(start_paused = true)]
async fn machine_whose_engine_cannot_confine_jobs_takes_none_until_it_can() {
    let mut world = World::new();
    world.supervisor.health.hinder(Some("no profile".into()));
    world.deploy(7, TASK);
    world.block().await;
    assert_eq!(world.chain.calls(), [NOT_TAKEN]);

    world.supervisor.health.hinder(None);
    world.deploy(8, TASK);
    world.block().await;
    assert_eq!(world.chain.calls().last(), Some(&WorkerCall::Start { job: 8 }));
}
