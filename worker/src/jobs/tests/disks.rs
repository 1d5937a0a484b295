//! Notes lost on a failing disk, and disks that take no writes.

use std::fs;

use super::*;
use crate::files::tests::SmallDisk;

impl World {
    fn on(disk: &SmallDisk) -> Self {
        let (chain, engine) = (FakeChain::default(), Arc::new(FakeEngine::default()));
        let folder = tempfile::tempdir_in(disk.path()).unwrap();
        Self {
            supervisor: supervisor(&chain, &engine, &folder, 0),
            chain,
            engine,
            folder,
            finalized_lag: 0,
        }
    }

    fn tear_notes(&self, job: u64) {
        fs::write(self.store().folder_of(job).join("notes.json"), "{\"finger").unwrap();
    }

    /// Puts something unreadable in the place of the notes.
    fn block_notes(&self, job: u64) {
        let path = self.store().folder_of(job).join("notes.json");
        let _ = fs::remove_file(&path);
        fs::create_dir_all(path).unwrap();
    }

    fn probe(&self) -> bool {
        let disk = self.supervisor.executor.store.disk();
        disk.probe(self.folder.path()).writable
    }
}

fn problem_of(jobs: &[JobStatus], id: u64) -> Option<&str> {
    jobs.iter().find(|job| job.id == id)?.problem.as_deref()
}

#[tokio::test(start_paused = true)]
async fn torn_notes_cost_no_job_and_give_no_false_result() {
    let mut world = World::new();
    world.deploy(7, JobKind::Service);
    world.deploy(8, TASK);
    world.block().await;
    world.chain.change(|state| {
        state.jobs.remove(&8);
    });
    world.block().await;
    assert!(world.store().stored_notes(8).unwrap().unwrap().closed);
    world.engine.trace();

    // The notes of a closed job are torn, too.
    world.tear_notes(7);
    world.tear_notes(8);
    world.restart();
    world.block().await;
    world.block().await;
    assert_eq!(world.engine.trace(), ["follow"], "the container runs on");
    assert_eq!(starts(&world.chain.calls()), 2);
    assert!(
        world.store().stored_notes(8).unwrap().unwrap().closed,
        "closed again"
    );
}

#[tokio::test(start_paused = true)]
async fn task_whose_notes_are_torn_gives_the_result_of_another_run() {
    let silent = manifest("ab").replace(
        r#""network":false}"#,
        r#""network":false,"capture_stdout":false}"#,
    );
    for is_restarted in [false, true] {
        let mut world = World::new();
        world.deploy_manifest(7, TASK, &silent);
        world.block().await;
        world.engine.trace();
        world.tear_notes(7);
        // Output that the manifest leaves out must not get into the result.
        world.engine.end_container(0);
        if is_restarted {
            world.restart();
        }
        world.block().await;
        tokio::time::advance(STEP_BACKOFF.maximum).await;
        world.block().await;
        let image = format!("pull localhost:5000/a@sha256:{}", "ab".repeat(32));
        assert_eq!(world.engine.trace(), ["remove", &image, "create", "start"]);
        assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 7 }]);
        assert_eq!(world.store().stored_notes(7).unwrap().unwrap().restarts, 1);

        world.engine.end_container(2);
        world.block().await;
        let document = world.store().result_document(7).unwrap().unwrap();
        let shown: ResultFile = serde_json::from_slice(&document).unwrap();
        assert_eq!((shown.exit_code, shown.stdout), (2, None));
        let result_hash = hash_of_file(&document).unwrap();
        assert_eq!(
            world.chain.calls()[1..],
            [WorkerCall::SubmitResult { job: 7, result_hash }]
        );
        assert!(
            !world.store().stored_notes(7).unwrap().unwrap().is_secret(),
            "its consumer sees it"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn job_whose_notes_cannot_be_read_is_declined_or_waits_and_others_go_on() {
    let mut world = World::new();
    world.deploy(7, JobKind::Service);
    world.block().await;
    world.block_notes(7);
    world.block_notes(9);
    world.deploy(8, TASK);
    world.deploy(9, TASK);
    world.block().await;
    let calls = world.chain.calls();
    assert_eq!(starts(&calls), 2, "{calls:?}");
    let declined = WorkerCall::Decline {
        job: 9,
        machine: 0,
        not_delivered: false,
    };
    assert!(calls.contains(&declined), "{calls:?}");

    world.engine.end_container(1);
    tokio::time::advance(STEP_BACKOFF.maximum).await;
    world.block().await;
    let jobs = world.supervisor.round().await.unwrap();
    let problem = problem_of(&jobs, 7).unwrap();
    assert!(problem.contains("/jobs/7/notes.json"), "{problem}");
    let given_up = |call: &WorkerCall| matches!(call, WorkerCall::Abandon { .. });
    assert!(!world.chain.calls().iter().any(given_up), "nobody is at fault");
    assert_eq!(problem_of(&jobs, 8), None);
}

#[tokio::test(start_paused = true)]
async fn full_disk_declines_new_jobs_and_keeps_running_ones() {
    let Some(small) = SmallDisk::mount() else { return };
    let mut world = World::on(&small);
    world.deploy(1, TASK);
    world.block().await;
    let ballast = small.fill();
    assert!(!world.probe());

    world.engine.trace();
    world.deploy(7, TASK);
    world.block().await;
    assert_eq!(world.chain.calls()[1..], [NOT_TAKEN]);
    assert_eq!(
        world.engine.trace(),
        Vec::<String>::new(),
        "nothing is pulled in vain"
    );

    world.engine.end_container(0);
    for _ in 0..5 {
        tokio::time::advance(STEP_BACKOFF.maximum).await;
        world.block().await;
    }
    assert_eq!(
        world.chain.calls().len(),
        2,
        "neither given up nor told a result that is not kept"
    );
    let jobs = world.supervisor.round().await.unwrap();
    let problem = problem_of(&jobs, 1).unwrap();
    assert!(
        problem.contains("No space left") && problem.contains("/jobs/1/"),
        "{problem}"
    );

    fs::remove_file(ballast).unwrap();
    assert!(world.probe());
    tokio::time::advance(STEP_BACKOFF.maximum).await;
    world.block().await;
    assert!(matches!(
        world.chain.calls()[2..],
        [WorkerCall::SubmitResult { job: 1, .. }]
    ));
    world.deploy(9, TASK);
    world.block().await;
    assert_eq!(world.chain.calls().last(), Some(&WorkerCall::Start { job: 9 }));
}

#[tokio::test(start_paused = true)]
async fn disk_that_fills_while_a_job_is_prepared_has_it_declined() {
    let Some(small) = SmallDisk::mount() else { return };
    let mut world = World::on(&small);
    // The worker has not noticed yet that the disk is full.
    small.fill();
    world.deploy(7, TASK);
    world.block().await;
    tokio::time::advance(STEP_BACKOFF.maximum).await;
    world.block().await;
    assert_eq!(world.chain.calls(), [NOT_TAKEN]);
}

#[tokio::test(start_paused = true)]
async fn step_that_panics_takes_no_other_job_down() {
    let mut world = World::new();
    let digest = "ab".repeat(32);
    world.deploy_manifest(
        7,
        TASK,
        &format!(r#"{{"image":"localhost:5000/panic@sha256:{digest}"}}"#),
    );
    world.deploy(8, TASK);
    world.block().await;
    let calls = world.chain.calls();
    assert!(calls.contains(&NOT_TAKEN), "{calls:?}");
    assert!(calls.contains(&WorkerCall::Start { job: 8 }), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn container_in_an_unknown_state_is_left_alone() {
    for kind in [TASK, JobKind::Service] {
        let mut world = World::new();
        world.deploy(7, kind);
        world.block().await;
        world.engine.trace();
        world.engine.set_state(ContainerState::Unknown);
        for _ in 0..5 {
            tokio::time::advance(STEP_BACKOFF.maximum).await;
            world.block().await;
        }
        assert_eq!(world.engine.trace(), Vec::<String>::new());
        assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 7 }]);
        let jobs = world.supervisor.round().await.unwrap();
        assert_eq!(jobs[0].container, "unknown");
    }
}
