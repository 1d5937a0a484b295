//! The supervisor with a real engine, whose process is killed. See `worker/tests/support/engines.rs` for the
//! environment that it needs.

use std::sync::atomic::{AtomicUsize, Ordering};

use assay_client::manifest::ImageReference;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    engine::{DockerEngine, EngineEndpoint},
    registry::{Registry, RegistryProxy},
};

#[path = "../../../tests/support/own_service.rs"]
mod own_service;

use own_service::OwnService;

/// Starts a registry that sends an image's documents at once and its layer at one byte per half second.
/// Returns its address, the image's digest, and a counter of the requests for the layer.
async fn slow_registry() -> (String, String, Arc<AtomicUsize>) {
    let digest = |text: &str| format!("sha256:{}", hex::encode(Sha256::digest(text)));
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let layer = "x".repeat(1_000);
    let configuration = format!(
        r#"{{"os":"linux","architecture":"{architecture}","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        digest(&layer)
    );
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar","digest":"{}","size":{}}}]}}"#,
        digest(&configuration),
        configuration.len(),
        digest(&layer),
        layer.len()
    );
    let image = digest(&manifest);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let layers_asked: Arc<AtomicUsize> = Arc::default();
    let asked = layers_asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (layer, configuration, manifest) = (layer.clone(), configuration.clone(), manifest.clone());
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 8_192];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let path = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = path.split(' ').nth(1).unwrap_or_default().to_owned();
                let is_layer = path.ends_with(&digest(&layer));
                let body = [layer, configuration, manifest]
                    .into_iter()
                    .find(|body| path.ends_with(&digest(body)))
                    .unwrap_or_default();
                let head = format!(
                    "HTTP/1.1 200 X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                if !is_layer {
                    let _ = stream.write_all(body.as_bytes()).await;
                    return;
                }
                asked.fetch_add(1, Ordering::SeqCst);
                for byte in body.bytes() {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
        }
    });
    (address, image, layers_asked)
}

#[tokio::test]
async fn job_of_a_slow_registry_is_declined_before_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, digest, layers_asked) = slow_registry().await;
    let Some(service) = OwnService::start(folder.path()) else {
        return;
    };
    let private = PrivateRegistries::new([registry.as_str()]).unwrap();
    let proxy = RegistryProxy::new(Registry::new(private.clone()));
    let engine =
        DockerEngine::new(EngineEndpoint::resolve(Some(&service.socket))).with_proxy(Arc::new(proxy));
    let engine = Arc::new(engine);
    let chain = FakeChain::default();
    let worker = blake3::hash(registry.as_bytes()).into();
    let supervisor = supervisor_with(&chain, &engine, &folder, 0, worker, Vec::new(), private);
    let mut world = RealWorld {
        chain: chain.clone(),
        supervisor,
    };
    let image = format!("{registry}/slow@{digest}");
    let manifest = format!(r#"{{"image":"{image}"}}"#);
    let image_digest = image.parse::<ImageReference>().unwrap().digest();
    deploy_on(&chain, 7, TASK, &manifest, image_digest);
    world
        .until("the pull", |_, _| layers_asked.load(Ordering::SeqCst) > 0)
        .await;
    assert_eq!(chain.calls(), []);
    // Skip ten minutes of the chain's time.
    let deadline_ms = 600_000;
    chain.change(|state| state.now_ms = deadline_ms - START_MARGIN_MS);
    world.until("the decline", |calls, _| calls == [NOT_TAKEN]).await;
    let declined_at_ms = chain.change(|state| state.now_ms);
    assert!(
        declined_at_ms < deadline_ms - START_MARGIN_MS / 2,
        "{declined_at_ms}"
    );
}

pub(super) struct RealWorld {
    pub(super) chain: FakeChain,
    pub(super) supervisor: Supervisor<FakeChain, DockerEngine>,
}

impl RealWorld {
    /// Adds blocks until a condition holds.
    pub(super) async fn until(&mut self, what: &str, holds: impl Fn(&[WorkerCall], &[JobStatus]) -> bool) {
        let begun = std::time::Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(100), "{what} does not come");
            let best_block = self.chain.change(|state| {
                state.best_block += 1;
                state.now_ms += 200;
                state.best_block
            });
            self.supervisor.look_at_chain(best_block).await.unwrap();
            let statuses = self.supervisor.round().await.unwrap_or_default();
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
    // Unique identity: other test runs share the engine.
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
    // Meanwhile the container runs on and ends with exit code 0, unseen by the worker.
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
        manifest_hash: ManifestRef::of(manifest.as_bytes()).hash.0,
        stdout: StdoutResult::Whole(blake3::hash(b"begun\ndone\n").into()),
        output: None,
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
