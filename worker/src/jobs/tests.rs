//! Stories of jobs on a chain and an engine in memory.

#![allow(clippy::unwrap_used)]

mod attested;
mod devices;
mod disks;
mod failures;
mod finality;
mod losses;
mod owners;
mod real_engine;
mod runs;
mod sealed;
mod sealed_engine;
mod storage;

use std::sync::Mutex;

use assay_client::{
    events::AssayEvent,
    manifest::RegistryLogin,
    types::{AccountId, Assignment, Clock, Job, JobKind, Manifest, ManifestRef, Outcome, Verification},
};

use assay_primitives::job::{ResultDocument, ResultStatement, StdoutResult};

use super::*;
use crate::{
    chain::{CallSubmitter, FeeEstimator, JobReader, MessageSigner, WorkerCall},
    devices::JobDevices,
    engine::{
        Capture, CaptureTarget, ContainerNetwork, ContainerSpec, ContainerState, DockerEngine, Engine,
        EngineDisk, EngineEndpoint, EngineInfo, Exit, ImageProcess, OutputStream, RunEnd, RunFact,
    },
    registry::PrivateRegistries,
};

const IMAGE_DIGEST: [u8; 32] = [0xab; 32];

#[derive(Default)]
struct ChainState {
    best_block: u64,
    now_ms: u64,
    jobs: BTreeMap<u64, AssignedJob>,
    /// Jobs at the finalized block, if that is behind the best one.
    final_jobs: Option<BTreeMap<u64, AssignedJob>>,
    manifests: HashMap<[u8; 32], Vec<u8>>,
    calls: Vec<WorkerCall>,
    lost: bool,
    refuse_next: bool,
    evidence_ended: bool,
    /// True if the node still returns evidence that has ended.
    shows_ended_evidence: bool,
    refusals: u32,
    /// Fee of a call, in plancks.
    fee: Balance,
}

/// A task that its consumer verifies.
const TASK: JobKind = JobKind::task(1_000);

/// A task whose result the machine attests.
const ATTESTED: JobKind = JobKind::Task {
    verification: Verification::Attested,
};

/// Call that declines job 7.
const NOT_TAKEN: WorkerCall = WorkerCall::Decline {
    job: 7,
    machine: 0,
    not_delivered: false,
};

/// Call that abandons job 7.
const GIVEN_UP: WorkerCall = WorkerCall::Abandon { job: 7, machine: 0 };

/// A chain in memory that acts like the job escrow.
#[derive(Clone, Default)]
struct FakeChain(Arc<Mutex<ChainState>>);

impl FakeChain {
    fn change<T>(&self, change: impl FnOnce(&mut ChainState) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn answer<T>(&self, answer: impl FnOnce(&mut ChainState) -> T) -> Result<T, ChainError> {
        self.change(|state| {
            if state.lost {
                return Err(ChainError::ConnectionLost {
                    reason: "unplugged".into(),
                });
            }
            Ok(answer(state))
        })
    }

    fn calls(&self) -> Vec<WorkerCall> {
        self.change(|state| state.calls.clone())
    }
}

impl JobReader for FakeChain {
    async fn head(&self) -> Result<Head, ChainError> {
        self.answer(|state| Head {
            best_block: state.best_block,
            clock: Clock {
                active_time_ms: state.now_ms,
                epoch: 0,
                epoch_duration_ms: 60_000,
            },
        })
    }

    async fn open_jobs(&self, _: u64) -> Result<Vec<(u64, AssignedJob)>, ChainError> {
        self.answer(|state| state.jobs.clone().into_iter().collect())
    }

    async fn final_jobs(&self, _: u64) -> Result<Vec<(u64, AssignedJob)>, ChainError> {
        self.answer(|state| {
            state
                .final_jobs
                .as_ref()
                .unwrap_or(&state.jobs)
                .clone()
                .into_iter()
                .collect()
        })
    }

    async fn manifest_bytes(&self, manifest: &ManifestRef) -> Result<Option<Vec<u8>>, ChainError> {
        self.answer(|state| state.manifests.get(&manifest.hash.0).cloned())
    }

    async fn is_attested(&self, _: u64) -> Result<bool, ChainError> {
        self.answer(|state| !state.evidence_ended || state.shows_ended_evidence)
    }
}

impl FeeEstimator for FakeChain {
    async fn fee(&self, call: WorkerCall) -> Result<Balance, ChainError> {
        assert!(matches!(call, WorkerCall::Settle { .. }), "{call:?} is free");
        self.answer(|state| state.fee)
    }
}

impl MessageSigner for FakeChain {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        signature_of(message)
    }
}

impl CallSubmitter for FakeChain {
    async fn send(&self, call: WorkerCall) -> Result<Vec<AssayEvent>, ChainError> {
        self.answer(|state| {
            if std::mem::take(&mut state.refuse_next) {
                return Err(ChainError::Dispatch {
                    pallet: "JobEscrow".into(),
                    error: "WrongState".into(),
                    docs: String::new(),
                });
            }
            if state.evidence_ended && matches!(call, WorkerCall::SubmitAttestedResult { .. }) {
                state.refusals += 1;
                return Err(ChainError::Dispatch {
                    pallet: "JobEscrow".into(),
                    error: "EvidenceEnded".into(),
                    docs: "submit new evidence.".into(),
                });
            }
            state.calls.push(call);
            let now_ms = state.now_ms;
            match call {
                WorkerCall::Start { job } => {
                    state.jobs.get_mut(&job).unwrap().assignment.state = AssignmentState::Running {
                        started_at_ms: now_ms,
                        judged_until_ms: now_ms,
                    };
                }
                WorkerCall::SubmitResult { job, result_hash } => {
                    state.jobs.get_mut(&job).unwrap().assignment.state = AssignmentState::Verifying {
                        started_at_ms: now_ms,
                        ended_at_ms: now_ms,
                        window_ends_ms: now_ms + 1_000,
                        result_hash: result_hash.into(),
                    };
                }
                WorkerCall::SubmitAttestedResult { job, .. } => {
                    state.jobs.get_mut(&job).unwrap().assignment.state = AssignmentState::Ended {
                        started_at_ms: now_ms,
                        ended_at_ms: now_ms,
                        judged_until_ms: now_ms,
                        outcome: Outcome::Completed,
                    };
                }
                WorkerCall::Settle { job, .. } => {
                    let record = state.jobs.get_mut(&job).unwrap();
                    match &mut record.assignment.state {
                        AssignmentState::Running { judged_until_ms, .. } => *judged_until_ms = now_ms,
                        _ => drop(state.jobs.remove(&job)),
                    }
                }
                WorkerCall::Expire { job, .. } | WorkerCall::Decline { job, .. } => {
                    state.jobs.remove(&job);
                }
                WorkerCall::Abandon { job, .. } | WorkerCall::ReportWorkloadEnded { job } => {
                    state.jobs.remove(&job);
                }
                WorkerCall::AcceptRequest { .. }
                | WorkerCall::CommitResult { .. }
                | WorkerCall::RevealResult { .. }
                | WorkerCall::Resolve { .. }
                | WorkerCall::Suspend { .. }
                | WorkerCall::Resume { .. }
                | WorkerCall::Payout { .. } => (),
            }
            Ok(Vec::new())
        })?
    }
}

/// Makes a signature that contains the hash of the signed bytes.
fn signature_of(message: &[u8]) -> [u8; 64] {
    let hash = sp_crypto_hashing::blake2_256(message);
    [hash, hash].concat().try_into().unwrap()
}

/// Output of every container.
const OUTPUT: &[u8] = b"done\n";

fn done() -> StdoutResult {
    StdoutResult::Whole(blake3::hash(OUTPUT).into())
}

#[derive(Default)]
struct EngineInMemory {
    containers: Vec<Container>,
    created: Vec<ContainerSpec>,
    trace: Vec<String>,
    dead: bool,
    failing_lists: u32,
    failing_pulls: u32,
    start_error: Option<EngineError>,
    /// True if pulls never end.
    pulls_hang: bool,
    is_absent: bool,
    /// Credentials of each pull.
    logins: Vec<Option<RegistryLogin>>,
}

/// An engine in memory whose containers run until a test ends them.
#[derive(Default)]
struct FakeEngine(Mutex<EngineInMemory>);

impl FakeEngine {
    fn change<T>(&self, change: impl FnOnce(&mut EngineInMemory) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn act<T>(
        &self,
        action: String,
        act: impl FnOnce(&mut EngineInMemory) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.change(|engine| {
            if engine.dead {
                return Err(EngineError::Unreachable {
                    endpoint: "memory".into(),
                    reason: "dead".into(),
                });
            }
            engine.trace.push(action);
            act(engine)
        })
    }

    fn end_container(&self, exit_code: i32) {
        self.end_run(RunEnd {
            exit: Exit::Clean(exit_code),
            stdout: Some(done()),
        });
    }

    /// Ends the container's run with the given observation.
    fn end_run(&self, end: RunEnd) {
        self.change(|engine| {
            engine.containers[0].state = ContainerState::Exited;
            engine.containers[0].run = RunFact::Ended(end);
        });
    }

    /// Sets the container's state, as another client of the engine could.
    fn set_state(&self, state: ContainerState) {
        self.change(|engine| engine.containers[0].state = state);
    }

    /// Removes all containers, as another client of the engine could.
    fn lose_containers(&self) -> Vec<Container> {
        self.change(|engine| std::mem::take(&mut engine.containers))
    }

    fn trace(&self) -> Vec<String> {
        self.change(|engine| std::mem::take(&mut engine.trace))
    }

    fn state(&self) -> Option<ContainerState> {
        self.change(|engine| engine.containers.first().map(|container| container.state))
    }
}

impl ContainerEngine for FakeEngine {
    async fn ping(&self) -> Result<EngineInfo, EngineError> {
        let info = EngineInfo {
            endpoint: "memory".into(),
            version: "1".into(),
            cpu_cores: 1,
            memory_mib: 1,
            runtimes: Vec::new(),
        };
        self.act("ping".into(), |_| Ok(info))
    }

    async fn has_image(&self, _: &str, _: [u8; 32]) -> Result<bool, EngineError> {
        Ok(self.change(|engine| !engine.is_absent))
    }

    async fn disk(&self) -> Result<Option<EngineDisk>, EngineError> {
        Ok(None)
    }

    async fn image_process(&self, _: &str) -> Result<ImageProcess, EngineError> {
        Ok(ImageProcess {
            entrypoint: vec!["/entry".into()],
            command: vec!["image".into()],
        })
    }

    async fn pull(
        &self,
        image: &str,
        digest: [u8; 32],
        login: Option<&RegistryLogin>,
    ) -> Result<[u8; 32], EngineError> {
        self.change(|engine| engine.logins.push(login.cloned()));
        assert!(!image.contains("/panic@"), "a bug");
        if self.change(|engine| engine.pulls_hang) {
            return std::future::pending().await;
        }
        self.act(format!("pull {image}"), |engine| {
            if engine.failing_pulls > 0 {
                engine.failing_pulls -= 1;
                return Err(EngineError::Failed {
                    action: "pull".into(),
                    reason: "the registry does not answer".into(),
                });
            }
            Ok(digest)
        })
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let id = spec.identity.name();
        let container = Container {
            id: id.clone(),
            job: spec.identity.job,
            fingerprint: spec.identity.fingerprint.clone(),
            holding: spec.holding.clone(),
            state: ContainerState::Created,
            run: RunFact::Unwatched,
        };
        let spec = spec.clone();
        self.act("create".into(), |engine| {
            engine.containers.push(container);
            engine.created.push(spec);
            Ok(id)
        })
    }

    async fn start(&self, id: &str, output: CaptureTarget) -> Result<(), EngineError> {
        self.act("start".into(), |engine| {
            if let Some(error) = &engine.start_error {
                return Err(error.clone());
            }
            let container = engine
                .containers
                .iter_mut()
                .find(|container| container.id == id)
                .unwrap();
            container.state = ContainerState::Running;
            container.run = RunFact::Watched;
            let mut capture = Capture::new(&output);
            capture.take(OutputStream::Stdout, OUTPUT);
            Ok(())
        })
    }

    async fn follow(&self, id: &str, _: CaptureTarget) -> Result<(), EngineError> {
        self.act("follow".into(), |engine| {
            let mut containers = engine.containers.iter_mut();
            containers.find(|container| container.id == id).unwrap().run = RunFact::Watched;
            Ok(())
        })
    }

    async fn unpause(&self, id: &str) -> Result<(), EngineError> {
        self.act("unpause".into(), |engine| {
            let mut containers = engine.containers.iter_mut();
            containers.find(|container| container.id == id).unwrap().state = ContainerState::Running;
            Ok(())
        })
    }

    async fn list(&self, worker: &str) -> Result<Vec<Container>, EngineError> {
        self.change(|engine| {
            if engine.dead {
                return Err(EngineError::Unreachable {
                    endpoint: "memory".into(),
                    reason: "dead".into(),
                });
            }
            if engine.failing_lists > 0 {
                engine.failing_lists -= 1;
                return Err(EngineError::Failed {
                    action: "list".into(),
                    reason: "busy".into(),
                });
            }
            let is_theirs = |container: &Container| {
                engine
                    .created
                    .iter()
                    .any(|spec| spec.identity.name() == container.id && spec.identity.worker == worker)
            };
            Ok(engine
                .containers
                .iter()
                .filter(|container| is_theirs(container))
                .cloned()
                .collect())
        })
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.act("remove".into(), |engine| {
            engine.containers.retain(|container| container.id != id);
            Ok(())
        })
    }
}

/// A machine with its chain, engine and state folder; the supervisor can be restarted at any time.
struct World {
    chain: FakeChain,
    engine: Arc<FakeEngine>,
    folder: tempfile::TempDir,
    supervisor: Supervisor<FakeChain, FakeEngine>,
    finalized_lag: u64,
}

impl World {
    fn new() -> Self {
        let (chain, engine) = (FakeChain::default(), Arc::new(FakeEngine::default()));
        let folder = tempfile::tempdir().unwrap();
        let supervisor = supervisor(&chain, &engine, &folder, 0);
        Self {
            chain,
            engine,
            folder,
            supervisor,
            finalized_lag: 0,
        }
    }

    /// Starts a new supervisor, as after a lost connection: everything else stays.
    fn reconnect(&mut self) {
        self.supervisor = supervisor(&self.chain, &self.engine, &self.folder, 0);
    }

    /// Starts a new supervisor, as after a crash: the containers stay, without a follower.
    fn restart(&mut self) {
        self.engine.change(|engine| {
            for container in &mut engine.containers {
                container.run = RunFact::Unwatched;
            }
        });
        self.reconnect();
    }

    fn store(&self) -> JobStore {
        JobStore::open(self.folder.path().join("jobs")).unwrap()
    }

    fn deploy(&self, id: u64, kind: JobKind) {
        self.deploy_manifest(id, kind, &manifest("ab"));
    }

    fn deploy_manifest(&self, id: u64, kind: JobKind, manifest: &str) {
        deploy_on(&self.chain, id, kind, manifest, IMAGE_DIGEST);
    }

    /// Adds a block, and runs rounds until no step is under way any more.
    async fn block(&mut self) {
        let best_block = self.chain.change(|state| {
            state.best_block += 1;
            state.now_ms += 3_000;
            state.best_block
        });
        self.supervisor
            .look_at_chain(best_block.saturating_sub(self.finalized_lag))
            .await
            .unwrap();
        loop {
            if self.supervisor.needs_view() {
                self.supervisor
                    .look_at_chain(best_block.saturating_sub(self.finalized_lag))
                    .await
                    .unwrap();
            }
            self.supervisor.round().await;
            if self.supervisor.busy.is_empty() {
                return;
            }
            self.supervisor.step_ended().await.unwrap();
        }
    }
}

/// Makes the chain assign a job to the machine.
fn deploy_on(chain: &FakeChain, id: u64, kind: JobKind, manifest: &str, image_digest: [u8; 32]) {
    let reference = ManifestRef::of(manifest.as_bytes());
    chain.change(|state| {
        state
            .manifests
            .insert(reference.hash.0, manifest.as_bytes().to_vec());
        let job = Job {
            consumer: AccountId::from([1; 32]),
            kind,
            manifest: Manifest::Public(reference),
            image_digest,
            slots: 2,
            nodes: 1,
            max_price_per_slot_hour: 1,
            max_duration_ms: 1_000_000,
            auction: None,
            open_places: 0,
            assignments: 1,
            ballot: None,
            deposit: 1,
            bounties: 1,
            paid: 0,
            created_at_ms: state.now_ms,
        };
        let assignment = Assignment {
            provider: AccountId::from([2; 32]),
            price_per_slot_hour: 1,
            max_duration_ms: 1_000_000,
            escrowed: 1,
            earned: 0,
            paid: 0,
            state: AssignmentState::Starting {
                assigned_at_ms: state.now_ms,
                deadline_ms: state.now_ms + 600_000,
                risen_ms: 0,
            },
        };
        state.jobs.insert(id, AssignedJob { job, assignment });
    });
}

fn supervisor(
    chain: &FakeChain,
    engine: &Arc<FakeEngine>,
    folder: &tempfile::TempDir,
    highest_block: u64,
) -> Supervisor<FakeChain, FakeEngine> {
    supervisor_of(chain, engine, folder, highest_block, [3; 32], Vec::new())
}

fn supervisor_of<E: ContainerEngine>(
    chain: &FakeChain,
    engine: &Arc<E>,
    folder: &tempfile::TempDir,
    highest_block: u64,
    worker: [u8; 32],
    earlier_workers: Vec<String>,
) -> Supervisor<FakeChain, E> {
    let image = std::env::var("ASSAY_TEST_IMAGE").unwrap_or_default();
    let real = image.split_once('/').map(|(registry, _)| registry);
    let names = ["localhost:5000", "127.0.0.1:9"].into_iter().chain(real);
    let private = PrivateRegistries::new(names).unwrap();
    supervisor_with(
        chain,
        engine,
        folder,
        highest_block,
        worker,
        earlier_workers,
        private,
    )
}

/// Creates a supervisor that allows these registries by name.
fn supervisor_with<E: ContainerEngine>(
    chain: &FakeChain,
    engine: &Arc<E>,
    folder: &tempfile::TempDir,
    highest_block: u64,
    worker: [u8; 32],
    earlier_workers: Vec<String>,
    private: PrivateRegistries,
) -> Supervisor<FakeChain, E> {
    losses::listen();
    Supervisor::new(SupervisorParts {
        chain: chain.clone(),
        engine: engine.clone(),
        store: JobStore::open(folder.path().join("jobs")).unwrap(),
        machine: 0,
        worker,
        earlier_workers,
        genesis_hash: [4; 32],
        leases: Leases::default().with_devices(JobDevices::new(
            devices::ledger(folder.path()),
            Engine::Docker(DockerEngine::new(EngineEndpoint::Socket("/nowhere".into()))),
            Vec::new(),
        )),
        delivery: delivery_of(folder),
        launcher: launcher_of(folder),
        slot_share: SlotShare {
            memory_mib: 100,
            cpu_millis: 500,
            processes: 10,
        },
        highest_block,
        health: HealthBoard::default(),
        preflight: Preflight::new(private, 100),
        min_profit: 0,
        metrics: Metrics::new().unwrap(),
    })
}

/// Deliveries to a machine with the worker key `//Eve`, with files in a folder.
fn delivery_of(folder: &tempfile::TempDir) -> Delivery {
    let worker = assay_client::keys::keypair_from_uri("//Eve").unwrap();
    let store = JobStore::open(folder.path().join("jobs")).unwrap();
    Delivery::new(worker, x25519_dalek::StaticSecret::from([7; 32]), store)
}

/// Folders in memory below `run` in a folder.
fn launcher_of(folder: &tempfile::TempDir) -> Launcher {
    Launcher::new(Some(&folder.path().join("run")), folder.path())
}

fn manifest(byte: &str) -> String {
    let digest = byte.repeat(32);
    format!(
        r#"{{"image":"localhost:5000/a@sha256:{digest}","command":["go"],"env":{{"K":"V"}},"network":false}}"#
    )
}

fn starts(calls: &[WorkerCall]) -> usize {
    calls
        .iter()
        .filter(|call| matches!(call, WorkerCall::Start { .. }))
        .count()
}

#[tokio::test(start_paused = true)]
async fn task_runs_from_order_to_payment() {
    let mut world = World::new();
    world.deploy(7, TASK);
    world.block().await;
    assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 7 }]);
    let image = format!("pull localhost:5000/a@sha256:{}", "ab".repeat(32));
    assert_eq!(world.engine.trace(), [&image, "create", "start"]);
    let spec = world.engine.change(|engine| engine.created[0].clone());
    assert_eq!(spec.command, ["go"]);
    assert_eq!(spec.environment[0], "K=V");
    assert!(
        spec.environment
            .contains(&"NVIDIA_VISIBLE_DEVICES=void".to_owned()),
        "{spec:?}"
    );
    assert_eq!(spec.network, ContainerNetwork::None);
    assert_eq!(
        spec.share,
        SlotShare {
            memory_mib: 200,
            cpu_millis: 1_000,
            processes: 20
        }
    );

    world.block().await;
    assert_eq!(world.chain.calls().len(), 1, "a running task is left alone");

    world.engine.end_container(0);
    world.block().await;
    let result = ResultDocument {
        exit_code: 0,
        image_digest: IMAGE_DIGEST,
        manifest_hash: ManifestRef::of(manifest("ab").as_bytes()).hash.0,
        stdout: done(),
        output: None,
    };
    let file = world.store().result_document(7).unwrap().unwrap();
    assert_eq!(hash_of_file(&file), Some(result.hash()));
    assert_eq!(
        world.chain.calls()[1],
        WorkerCall::SubmitResult {
            job: 7,
            result_hash: result.hash()
        }
    );
    assert_eq!(world.engine.trace(), ["remove"]);

    world.block().await;
    assert_eq!(
        world.chain.calls().last(),
        Some(&WorkerCall::Settle { job: 7, machine: 0 })
    );
    world.block().await;
    assert!(world.store().stored_notes(7).unwrap().unwrap().closed);
    assert_eq!(world.store().output(7).unwrap().unwrap().0, OUTPUT);
}

#[tokio::test(start_paused = true)]
async fn job_goes_on_when_the_machine_is_given_another_worker_key() {
    let mut world = World::new();
    world.deploy(7, TASK);
    world.block().await;
    let earlier = vec![hex::encode([3; 32])];
    world.supervisor = supervisor_of(&world.chain, &world.engine, &world.folder, 0, [5; 32], earlier);
    world.block().await;
    assert_eq!(
        world.chain.calls(),
        [WorkerCall::Start { job: 7 }],
        "a running task is left alone"
    );

    world.engine.end_container(0);
    world.block().await;
    assert!(matches!(
        world.chain.calls()[1..],
        [WorkerCall::SubmitResult { job: 7, .. }]
    ));
    assert_eq!(world.engine.state(), None);

    world.deploy(8, TASK);
    world.block().await;
    let spec = world.engine.change(|engine| engine.created[1].clone());
    assert_eq!(spec.identity.worker, hex::encode([5; 32]));
}

#[tokio::test(start_paused = true)]
async fn service_is_kept_up_settled_and_stopped_when_it_is_closed() {
    let mut world = World::new();
    world.deploy(1, JobKind::Service);
    world.block().await;
    assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 1 }]);

    world.engine.end_container(1);
    world.block().await;
    assert_eq!(
        world.engine.state(),
        Some(ContainerState::Running),
        "an ended service is started again"
    );

    // Two epochs, so that the one in which the job started is closed.
    world.chain.change(|state| state.now_ms += 120_000);
    tokio::time::advance(STEP_BACKOFF.maximum).await;
    world.block().await;
    assert_eq!(
        world.chain.calls()[1..],
        [WorkerCall::Settle { job: 1, machine: 0 }]
    );

    world.engine.trace();
    world.chain.change(|state| state.jobs.clear());
    world.block().await;
    assert_eq!(world.engine.trace(), ["remove"]);
    // The output of both of its runs.
    assert_eq!(world.store().output(1).unwrap().unwrap().0, OUTPUT.repeat(2));
}
