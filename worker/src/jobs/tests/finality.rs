//! Jobs while no block is finalized, and while best blocks are replaced.

use super::*;

const QUORUM: JobKind = JobKind::Task {
    verification: Verification::Quorum {
        replicas: 3,
        threshold: 2,
    },
};

impl World {
    /// Stops finality from now on.
    fn stall_finality(&mut self) {
        self.finalized_lag = 1_000;
        self.chain
            .change(|state| state.final_jobs = Some(state.jobs.clone()));
    }

    /// Finalizes all blocks.
    fn finalize(&mut self) {
        self.finalized_lag = 0;
        self.chain.change(|state| state.final_jobs = None);
    }

    /// Sets the job's state, as after a reorganization.
    fn put(&self, job: u64, state: AssignmentState) {
        self.chain
            .change(|chain| chain.jobs.get_mut(&job).unwrap().assignment.state = state);
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_go_on_while_nothing_becomes_final_and_nothing_is_cleared_away() {
    let mut world = World::new();
    world.stall_finality();
    world.deploy(7, TASK);
    world.deploy(8, JobKind::Service);
    world.block().await;
    assert_eq!(starts(&world.chain.calls()), 2);
    world.engine.end_container(0);
    world.block().await;
    assert!(matches!(
        world.chain.calls()[2..],
        [WorkerCall::SubmitResult { .. }]
    ));

    world.engine.trace();
    world.chain.change(|state| state.jobs.clear());
    for _ in 0..10 {
        world.block().await;
    }
    assert_eq!(
        world.engine.trace(),
        Vec::<String>::new(),
        "the ends may be undone"
    );
    world.finalize();
    world.block().await;
    assert_eq!(world.engine.trace(), ["remove"]);
    assert!(world.store().stored_notes(8).unwrap().unwrap().closed);
}

#[tokio::test(start_paused = true)]
async fn job_that_final_blocks_still_have_is_not_gone() {
    let mut world = World::new();
    world.deploy(8, JobKind::Service);
    world.block().await;
    // The job ended in a block of another fork than the one in which it was first missed, and that block is
    // not final.
    let jobs = world.chain.change(|state| {
        state.final_jobs = Some(state.jobs.clone());
        std::mem::take(&mut state.jobs)
    });
    world.engine.trace();
    for _ in 0..5 {
        world.block().await;
    }
    assert_eq!(world.engine.trace(), Vec::<String>::new());

    // The fork in which the job goes on wins.
    world.chain.change(|state| state.jobs = jobs);
    world.block().await;
    assert_eq!(world.engine.state(), Some(ContainerState::Running));
    assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 8 }]);
}

#[tokio::test(start_paused = true)]
async fn call_of_a_replaced_block_is_left_to_the_pool_and_then_sent_again() {
    let mut world = World::new();
    world.deploy(7, TASK);
    let starting = world.chain.change(|state| state.jobs[&7].assignment.state);
    world.block().await;
    assert_eq!(starts(&world.chain.calls()), 1);
    world.put(7, starting);
    for _ in 0..2 {
        world.block().await;
        assert_eq!(starts(&world.chain.calls()), 1, "the pool has it");
    }
    world.block().await;
    assert_eq!(starts(&world.chain.calls()), 2, "the pool had it not");
    assert_eq!(
        world
            .engine
            .trace()
            .iter()
            .filter(|step| *step == "start")
            .count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn job_that_was_declined_in_a_replaced_block_is_declined_again() {
    let mut world = World::new();
    world.deploy_manifest(7, TASK, "{}");
    let jobs = world.chain.change(|state| state.jobs.clone());
    world.block().await;
    assert_eq!(world.chain.calls(), [NOT_TAKEN]);
    for _ in 0..2 {
        world.chain.change(|state| state.jobs = jobs.clone());
        world.block().await;
        assert_eq!(world.chain.calls(), [NOT_TAKEN], "the pool has it");
    }
    world.chain.change(|state| state.jobs = jobs);
    world.block().await;
    assert_eq!(world.chain.calls(), [NOT_TAKEN, NOT_TAKEN]);
}

#[tokio::test(start_paused = true)]
async fn result_of_a_replica_is_shown_when_its_reveal_is_final() {
    let mut world = World::new();
    world.deploy(7, QUORUM);
    world.block().await;
    world.engine.end_container(0);
    world.block().await;
    let store = world.store();
    let notes = || store.stored_notes(7).unwrap().unwrap();
    let (result_hash, salt) = (notes().result_hash.unwrap(), notes().salt.unwrap());
    let committed = AssignmentState::Committed {
        started_at_ms: 0,
        ended_at_ms: 1,
        commitment: [1; 32].into(),
    };
    world.put(7, committed);
    world.chain.change(|state| {
        state.jobs.get_mut(&7).unwrap().job.ballot = Some(assay_client::types::Ballot {
            undecided: 0,
            committed: 3,
            revealed: 0,
            reveal_ends_ms: Some(1_000_000),
            fill_until_ms: None,
        });
    });
    world.block().await;
    let reveal = WorkerCall::RevealResult {
        job: 7,
        result_hash,
        salt,
    };
    assert_eq!(world.chain.calls().last(), Some(&reveal));

    world
        .chain
        .change(|state| state.final_jobs = Some(state.jobs.clone()));
    world.put(
        7,
        AssignmentState::Revealed {
            started_at_ms: 0,
            ended_at_ms: 1,
            result_hash: result_hash.into(),
        },
    );
    world.block().await;
    assert!(notes().is_secret(), "on another fork somebody may still commit");
    world.finalize();
    world.block().await;
    assert!(!notes().is_secret());
}
