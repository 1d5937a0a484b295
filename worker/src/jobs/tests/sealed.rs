//! Sealed jobs: delivery, start and restart, on a chain and an engine in memory.

use assay_client::{
    manifest::JobManifest,
    sealing::{PlainManifest, Receipt, SealContext},
};
use assay_init::Launch;

use super::*;
use crate::{delivery::DeliveryError, lease::LeaseKey};

const GENESIS: [u8; 32] = [4; 32];

/// Text that must be on no disk.
const MARKER: &str = "c0ffee-marker";

/// A machine with a sealed job of number 7. Its folder in memory is removed with it.
struct SealedWorld {
    world: World,
    plain: PlainManifest,
}

impl Drop for SealedWorld {
    fn drop(&mut self) {
        if let Some(key) = self.key() {
            self.launcher().remove(&key).unwrap();
        }
    }
}

fn plain_manifest() -> PlainManifest {
    let text = format!(
        r#"{{"image":"localhost:5000/a@sha256:{}","command":["go","{MARKER}"],"env":{{"K":"{MARKER}"}},
        "secrets":{{"token":"{MARKER}"}},"registry":{{"username":"u","password":"{MARKER}"}}}}"#,
        "ab".repeat(32)
    );
    PlainManifest::new(&JobManifest::from_sealed_bytes(text.as_bytes()).unwrap()).unwrap()
}

impl SealedWorld {
    /// Returns `None` where no folder can be made in memory.
    fn new(kind: JobKind) -> Option<Self> {
        let world = World::new();
        if let Err(error) = world.supervisor.executor.launcher.probe() {
            println!("nothing is tested: {error}");
            return None;
        }
        let plain = plain_manifest();
        world.deploy(7, kind);
        world.chain.change(|state| {
            state.jobs.get_mut(&7).unwrap().job.manifest = Manifest::Sealed {
                hash: plain.hash().into(),
            };
        });
        Some(Self { world, plain })
    }

    fn delivery(&self) -> &Delivery {
        &self.world.supervisor.executor.delivery
    }

    fn launcher(&self) -> &Launcher {
        &self.world.supervisor.executor.launcher
    }

    fn key(&self) -> Option<LeaseKey> {
        let job = self.world.chain.change(|state| state.jobs.get(&7).cloned())?;
        Some(LeaseKey {
            job: 7,
            fingerprint: fingerprint(&GENESIS, 7, &job.job),
        })
    }

    fn deliver(&self) -> Result<Receipt, DeliveryError> {
        let context = SealContext {
            genesis_hash: GENESIS,
            job: 7,
            machine: 0,
            sealing_key: assay_client::keys::sealing_public_key(&x25519_dalek::StaticSecret::from([7; 32])),
        };
        let sealed = self.plain.seal(&context).unwrap();
        self.delivery().put(7, sealed.bytes())
    }

    async fn block(&mut self) {
        tokio::time::advance(STEP_BACKOFF.maximum).await;
        self.world.block().await;
    }

    async fn problem(&mut self) -> Option<String> {
        let jobs = self.world.supervisor.round().await.unwrap();
        jobs[0].problem.clone()
    }

    fn run_folder(&self) -> std::path::PathBuf {
        let spec = self.world.engine.change(|engine| engine.created[0].clone());
        spec.mounts[0].source.parent().unwrap().to_owned()
    }

    fn launch(&self) -> Launch {
        Launch::decode(&std::fs::read(self.run_folder().join("assay/launch")).unwrap()).unwrap()
    }

    /// Fails if a file below the worker's state folder has the marker.
    fn assert_nothing_on_disk(&self) {
        let jobs = self.world.folder.path().join("jobs");
        let mut folders = vec![jobs];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                files += 1;
                let bytes = std::fs::read(&path).unwrap();
                let found = bytes
                    .windows(MARKER.len())
                    .any(|window| window == MARKER.as_bytes());
                assert!(!found, "{}", path.display());
            }
        }
        assert!(files >= 2, "notes and the delivery are there");
    }
}

#[tokio::test(start_paused = true)]
async fn sealed_task_waits_for_its_delivery_and_runs_without_a_trace_on_disk() {
    let Some(mut sealed) = SealedWorld::new(TASK) else {
        return;
    };
    sealed.block().await;
    sealed.block().await;
    assert_eq!(sealed.world.chain.calls(), []);
    assert_eq!(sealed.world.engine.trace(), Vec::<String>::new());
    let problem = sealed.problem().await.unwrap();
    assert!(problem.contains("not been delivered"), "{problem}");

    let receipt = sealed.deliver().unwrap();
    let eve = assay_client::keys::keypair_from_uri("//Eve").unwrap();
    assert!(receipt.is_signed_by(&assay_client::keys::account_of(&eve), &GENESIS));
    sealed.block().await;
    assert_eq!(sealed.world.chain.calls(), [WorkerCall::Start { job: 7 }]);
    let (spec, logins) = sealed
        .world
        .engine
        .change(|engine| (engine.created[0].clone(), engine.logins.clone()));
    assert_eq!(logins[0].as_ref().unwrap().password, MARKER);
    assert_eq!(spec.entrypoint, ["/run/assay/init"]);
    assert_eq!(spec.command, Vec::<String>::new());
    // The variables that keep devices away, and none of the manifest.
    assert!(
        spec.environment
            .contains(&"NVIDIA_VISIBLE_DEVICES=void".to_owned())
    );
    assert!(!spec.environment.iter().any(|variable| variable.starts_with("K=")));
    assert!(!format!("{spec:?}").contains(MARKER));
    let targets: Vec<_> = spec.mounts.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(targets, ["/run/assay", "/run/secrets"]);
    assert!(spec.mounts.iter().all(|mount| mount.is_read_only));
    let launch = sealed.launch();
    assert_eq!(launch.command, ["/entry", "go", MARKER]);
    assert_eq!(launch.environment[0], ("K".to_owned(), MARKER.to_owned()));
    let guard = ("NVIDIA_VISIBLE_DEVICES".to_owned(), "void".to_owned());
    assert!(launch.environment.contains(&guard), "{:?}", launch.environment);
    assert_eq!(
        std::fs::read_to_string(sealed.run_folder().join("secrets/token")).unwrap(),
        MARKER
    );
    sealed.assert_nothing_on_disk();

    sealed.world.engine.end_container(0);
    let folder = sealed.run_folder();
    for _ in 0..3 {
        sealed.block().await;
    }
    let result = ResultDocument {
        exit_code: 0,
        image_digest: IMAGE_DIGEST,
        manifest_hash: sealed.plain.hash(),
        stdout: done(),
        output: None,
    };
    assert_eq!(
        sealed.world.chain.calls()[1..],
        [
            WorkerCall::SubmitResult {
                job: 7,
                result_hash: result.hash()
            },
            WorkerCall::Settle { job: 7, machine: 0 }
        ]
    );
    assert!(sealed.world.store().stored_notes(7).unwrap().unwrap().closed);
    assert!(!folder.exists(), "the folder in memory is gone");
    let delivery = sealed.world.folder.path().join("jobs/7/delivery.json");
    assert!(!delivery.exists(), "and the ciphertext");
}

/// Moves the chain's time to where a job that does not run is declined.
fn near_deadline(world: &World) {
    world
        .chain
        .change(|state| state.now_ms = 600_001 - START_MARGIN_MS);
}

#[tokio::test(start_paused = true)]
async fn job_without_a_delivery_is_declined_as_not_delivered() {
    let Some(mut sealed) = SealedWorld::new(TASK) else {
        return;
    };
    sealed.block().await;
    near_deadline(&sealed.world);
    sealed.block().await;
    let declined = WorkerCall::Decline {
        job: 7,
        machine: 0,
        not_delivered: true,
    };
    assert_eq!(sealed.world.chain.calls(), [declined]);
    assert!(sealed.deliver().is_err(), "nothing is taken any more");
}

#[tokio::test(start_paused = true)]
async fn job_with_a_receipt_is_never_declined_as_not_delivered() {
    for breaks in [false, true] {
        let Some(mut sealed) = SealedWorld::new(TASK) else {
            return;
        };
        sealed.block().await;
        sealed.deliver().unwrap();
        sealed.world.engine.change(|engine| engine.dead = true);
        if breaks {
            let path = sealed.world.folder.path().join("jobs/7/delivery.json");
            std::fs::write(path, "{").unwrap();
            sealed.world.restart();
            sealed.world.engine.change(|engine| engine.dead = false);
        }
        near_deadline(&sealed.world);
        sealed.block().await;
        assert_eq!(sealed.world.chain.calls(), [NOT_TAKEN], "broken file: {breaks}");
    }
}

#[tokio::test(start_paused = true)]
async fn delivery_after_the_decision_to_decline_counts() {
    let Some(mut sealed) = SealedWorld::new(TASK) else {
        return;
    };
    sealed.block().await;
    near_deadline(&sealed.world);
    sealed.world.supervisor.look_at_chain(1).await.unwrap();
    // The decision falls in the round; its step runs only when it is polled.
    sealed.world.supervisor.round().await;
    sealed.deliver().unwrap();
    sealed.world.supervisor.step_ended().await.unwrap();
    assert_eq!(sealed.world.chain.calls(), [NOT_TAKEN]);
}

#[tokio::test(start_paused = true)]
async fn service_restarts_after_the_host_lost_its_memory() {
    let Some(mut sealed) = SealedWorld::new(JobKind::Service) else {
        return;
    };
    sealed.block().await;
    sealed.deliver().unwrap();
    sealed.block().await;
    assert_eq!(sealed.world.chain.calls(), [WorkerCall::Start { job: 7 }]);

    // The worker is restarted while the container runs: nothing has to be made.
    sealed.world.restart();
    sealed.block().await;
    assert!(sealed.launcher().is_ready(&sealed.key().unwrap()));

    // The host is restarted: the folder is gone, and the container has ended.
    let key = sealed.key().unwrap();
    sealed.launcher().remove(&key).unwrap();
    sealed.world.restart();
    sealed.world.engine.end_container(1);
    sealed.block().await;
    assert_eq!(sealed.world.engine.state(), Some(ContainerState::Running));
    assert_eq!(sealed.launch().command, ["/entry", "go", MARKER]);

    // The container is lost as well: another one is made, with the same folder.
    sealed.launcher().remove(&key).unwrap();
    sealed.world.engine.lose_containers();
    for _ in 0..3 {
        sealed.block().await;
    }
    assert_eq!(sealed.world.engine.state(), Some(ContainerState::Running));
    let spec = sealed
        .world
        .engine
        .change(|engine| engine.created.last().unwrap().clone());
    assert_eq!(spec.mounts.len(), 2);
    assert_eq!(sealed.launch().command, ["/entry", "go", MARKER]);
    sealed.assert_nothing_on_disk();
}

#[tokio::test(start_paused = true)]
async fn running_job_whose_ciphertext_is_lost_goes_on_with_a_second_delivery() {
    let Some(mut sealed) = SealedWorld::new(JobKind::Service) else {
        return;
    };
    sealed.block().await;
    sealed.deliver().unwrap();
    sealed.block().await;
    let path = sealed.world.folder.path().join("jobs/7/delivery.json");
    std::fs::write(path, "{").unwrap();
    let key = sealed.key().unwrap();
    sealed.launcher().remove(&key).unwrap();
    sealed.world.restart();
    sealed.world.engine.end_container(1);
    for _ in 0..3 {
        sealed.block().await;
    }
    assert_eq!(sealed.world.chain.calls().len(), 1, "not given up at once");
    let problem = sealed.problem().await.unwrap();
    assert!(problem.contains("delivered again"), "{problem}");
    sealed.deliver().unwrap();
    sealed.block().await;
    assert_eq!(sealed.world.engine.state(), Some(ContainerState::Running));
}

#[tokio::test(start_paused = true)]
async fn running_job_whose_ciphertext_stays_lost_is_given_up() {
    let Some(mut sealed) = SealedWorld::new(JobKind::Service) else {
        return;
    };
    sealed.block().await;
    sealed.deliver().unwrap();
    sealed.block().await;
    let path = sealed.world.folder.path().join("jobs/7/delivery.json");
    std::fs::write(path, "{").unwrap();
    let key = sealed.key().unwrap();
    sealed.launcher().remove(&key).unwrap();
    sealed.world.restart();
    sealed.world.engine.end_container(1);
    for _ in 0..MAX_ENGINE_FAILURES_RUNNING + 2 {
        sealed.block().await;
    }
    assert_eq!(sealed.world.chain.calls()[1..], [GIVEN_UP]);
}
