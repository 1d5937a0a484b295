//! The supervisor with a real engine, whose process is killed. See `worker/tests/engine.rs` for what has to be set.

use assay_client::manifest::ImageReference;

use super::*;
use crate::engine::{DockerEngine, EngineEndpoint};

#[path = "../../../tests/support/own_service.rs"]
mod own_service;

use own_service::OwnService;

struct RealWorld {
    chain: FakeChain,
    supervisor: Supervisor<FakeChain, DockerEngine>,
}

impl RealWorld {
    /// Goes on, block by block, until something holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&[WorkerCall], &[JobStatus]) -> bool) {
        let begun = std::time::Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(100), "{what} does not come");
            let best_block = self.chain.change(|state| {
                state.best_block += 1;
                state.now_ms += 200;
                state.best_block
            });
            self.supervisor.look_at_chain(best_block).await.unwrap();
            let statuses = self.supervisor.round().await.unwrap().unwrap_or_default();
            if holds(&self.chain.calls(), &statuses) {
                return;
            }
            let pause = Duration::from_millis(200);
            if let Ok(ended) = tokio::time::timeout(pause, self.supervisor.step_ended()).await {
                ended.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn task_whose_engine_is_killed_runs_again_and_is_not_reported_as_it_ended() {
    let image = std::env::var("ASSAY_TEST_IMAGE").unwrap_or_default();
    let folder = tempfile::tempdir().unwrap();
    let Some(mut service) = OwnService::start(folder.path()) else {
        return;
    };
    let engine = Arc::new(DockerEngine::new(EngineEndpoint::resolve(Some(&service.socket))));
    let chain = FakeChain::default();
    // A name of its own: other runs of the tests share the engine.
    let worker = blake3::hash(&std::process::id().to_le_bytes()).into();
    let supervisor = supervisor_of(&chain, &engine, &folder, 0, worker, Vec::new());
    let mut world = RealWorld {
        chain: chain.clone(),
        supervisor,
    };
    let digest = image.parse::<ImageReference>().unwrap().digest();
    let line = "echo begun; sleep 5; echo done";
    let manifest = format!(r#"{{"image":"{image}","command":["/bin/busybox","sh","-c","{line}"]}}"#);
    deploy_on(&chain, 7, TASK, &manifest, digest);
    world
        .until("the start", |calls, jobs| {
            calls == [WorkerCall::Start { job: 7 }] && jobs.iter().all(|job| job.container == "running")
        })
        .await;

    service.kill();
    world
        .until("the silence", |_, jobs| {
            jobs.iter().all(|job| job.container == "unknown")
        })
        .await;
    // Meanwhile the container goes on and ends with 0, of which nobody saw the output.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let service = OwnService::start(folder.path());
    world
        .until("the result", |calls, _| {
            matches!(calls, [_, WorkerCall::SubmitResult { .. }, ..])
        })
        .await;
    let file = JobStore::open(folder.path().join("jobs")).unwrap();
    assert_eq!(file.stored_notes(7).unwrap().unwrap().restarts, 1);
    let document = ResultDocument {
        exit_code: 0,
        image_digest: digest,
        manifest_hash: ManifestRef::of(manifest.as_bytes()).hash,
        stdout: StdoutResult::Whole(blake3::hash(b"begun\ndone\n").into()),
    };
    let WorkerCall::SubmitResult { result_hash, .. } = chain.calls()[1] else {
        unreachable!("it was waited for");
    };
    assert_eq!(result_hash, document.hash());
    world.until("the end", |_, jobs| jobs.is_empty()).await;
    world.until("the tidying", |_, _| world_is_tidy(&file)).await;
    drop(service);
}

fn world_is_tidy(store: &JobStore) -> bool {
    store.stored_notes(7).unwrap().unwrap().closed
}
