//! Tasks whose results the machine attests.

use super::*;

#[tokio::test(start_paused = true)]
async fn attested_task_is_vouched_for_and_paid() {
    let mut world = World::new();
    world.deploy(7, ATTESTED);
    world.block().await;
    world.engine.end_container(0);
    world.block().await;
    let result_hash = hash_of_file(&world.store().result_document(7).unwrap().unwrap()).unwrap();
    let statement = ResultStatement {
        job: 7,
        machine: 0,
        image_digest: IMAGE_DIGEST,
        manifest_hash: ManifestRef::of(manifest("ab").as_bytes()).hash.0,
        result_hash,
    };
    assert_eq!(
        world.chain.calls()[1..],
        [
            WorkerCall::SubmitAttestedResult {
                job: 7,
                result_hash,
                signature: signature_of(&statement.message(&[4; 32])),
            },
            WorkerCall::Settle { job: 7, machine: 0 }
        ]
    );
    world.block().await;
    assert_eq!(world.engine.state(), None);
    assert!(world.store().stored_notes(7).unwrap().unwrap().closed);
}

#[tokio::test(start_paused = true)]
async fn attested_result_waits_for_evidence_to_be_renewed() {
    for shows_ended_evidence in [false, true] {
        let mut world = World::new();
        world.deploy(7, ATTESTED);
        world.block().await;
        world.engine.end_container(0);
        world.chain.change(|state| {
            state.evidence_ended = true;
            state.shows_ended_evidence = shows_ended_evidence;
        });
        for _ in 0..20 {
            tokio::time::advance(STEP_BACKOFF.maximum).await;
            world.block().await;
        }
        assert_eq!(
            world.chain.calls(),
            [WorkerCall::Start { job: 7 }],
            "neither given up nor run again"
        );
        let refusals = world.chain.change(|state| state.refusals);
        assert_eq!(refusals > 0, shows_ended_evidence, "{refusals} calls cost a fee");
        let jobs = world.supervisor.round().await.unwrap();
        let problem = jobs[0].problem.clone().unwrap();
        assert!(problem.contains("new evidence"), "{problem}");

        world.chain.change(|state| state.evidence_ended = false);
        tokio::time::advance(STEP_BACKOFF.maximum).await;
        world.block().await;
        assert!(matches!(
            world.chain.calls()[1..],
            [
                WorkerCall::SubmitAttestedResult { job: 7, .. },
                WorkerCall::Settle { .. }
            ]
        ));
    }
}
