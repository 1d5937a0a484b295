//! Starts the parts and keeps them running: connects to the chain, registers the machine, serves it, and
//! reconnects.
//!
//! [`App::follow`] follows the chain for all parts, and publishes its best and its finalized block. The parts
//! that act for the machine are in [`machine`], each in a task of its own, and [`PartRunner`] restarts one
//! that fails. Only a lost connection, or a rotation of the machine's keys, restarts all of them.

mod machine;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use assay_client::{
    ChainClient, Error as ChainError,
    follow::{self, ChainNews, FollowLimits, Tip},
};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{Api, ApiParts, JobStreams, PortProxy, StartError, exec::EngineShells},
    attestation::Survey,
    backoff::Backoff,
    chain::bounded,
    challenge::devices::Devices,
    check::{self, Severity},
    config::Config,
    delivery::Delivery,
    devices::{DeviceLedger, HostPaths, JobDevices},
    engine::{ConfinementError, ContainerEngine, Engine, EngineError},
    health::{HealthBoard, HealthMonitor, HealthStatus, Judge},
    image_cache::ImageCache,
    jobs::{JobOutputs, forget_old_outputs},
    keys::Keys,
    launch::Launcher,
    lease::{ClusterNetworkParts, ClusterNetworks, JobNetworkParts, JobNetworks, Leases, Storage},
    metrics::Metrics,
    registration::{self, Registration, RegistrationError},
    sealing_store::SealingError,
    state::{StateError, StateFolder},
    status::{BlockHash, Phase, StatusBoard},
    surroundings::{find_devices, look_for_evidence, open_ledger, set_up_disks},
    tasks::{PartError, PartRunner},
};
use machine::{MachineParts, MachineSession, SessionEnd};

/// Timeout of a ping to the container engine.
const ENGINE_PATIENCE: Duration = Duration::from_secs(20);

/// Interval of checks of the disk's status.
const DISK_INTERVAL: Duration = Duration::from_secs(5);

/// Number of checks of the disk between two trial writes. A disk with a write error is tried at every check.
const DISK_PROBE_EVERY: u32 = 6;

/// Interval of looks at the engine's profile of system calls.
const CONFINEMENT_INTERVAL: Duration = Duration::from_secs(30);

/// Interval of attempts to register the machine, while the provider has something to do.
const REGISTRATION_INTERVAL: Duration = Duration::from_secs(30);

/// Delays before connecting again.
pub(crate) const RECONNECT_BACKOFF: Backoff = Backoff {
    initial: Duration::from_secs(1),
    maximum: Duration::from_secs(15),
};

/// Duration of a connection after which the backoff begins anew.
const LASTING_CONNECTION: Duration = Duration::from_secs(60);

/// Error that ends the worker, or keeps it from starting.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Checks of the start failed; each with its remedy.
    #[error("the worker cannot start:{}", problems.iter().map(|problem| format!("\n  {problem}")).collect::<String>())]
    NotReady {
        /// The problems, at least one.
        problems: Vec<String>,
    },
    /// A key cannot be read or made.
    #[error(transparent)]
    Keys(#[from] SealingError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The HTTP API cannot be served.
    #[error(transparent)]
    Api(#[from] StartError),
    /// The connection is lost, or the chain is not one that this worker can serve.
    #[error(transparent)]
    Chain(ChainError),
    /// A part of the worker failed in a way that all of them need a new connection for.
    #[error(transparent)]
    Part(#[from] PartError<ChainError>),
    /// The machine cannot be registered as it is configured.
    #[error(transparent)]
    Registration(RegistrationError),
    /// The metrics cannot be set up.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The operating system refused a resource that the worker needs.
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
}

impl AppError {
    /// Returns true if connecting again may help.
    fn is_passing(&self) -> bool {
        let error = match self {
            Self::Chain(error) | Self::Registration(RegistrationError::Chain(error)) => error,
            Self::Part(failed) => &failed.source,
            _ => return false,
        };
        !matches!(
            error,
            ChainError::BadUrl { .. }
                | ChainError::NotAssay { .. }
                | ChainError::WrongGenesis { .. }
                | ChainError::Incompatible { .. }
        )
    }
}

impl From<ChainError> for AppError {
    fn from(error: ChainError) -> Self {
        Self::Chain(error)
    }
}

/// Everything that outlives a connection.
struct App {
    config: Config,
    keys: Keys,
    state: StateFolder,
    engine: Arc<Engine>,
    leases: Leases,
    ledger: DeviceLedger,
    delivery: Delivery,
    launcher: Launcher,
    /// True if folders in memory can be made, without which the worker runs no sealed jobs.
    runs_sealed: bool,
    images: ImageCache,
    metrics: Metrics,
    status: StatusBoard,
    runner: PartRunner,
    devices: Arc<Devices>,
    /// Last verdict on the machine's health.
    health: HealthBoard,
    /// Monitor of the machine's health, which outlives its failures: a restart would forget faults.
    monitor: Mutex<HealthMonitor>,
    /// Sources of evidence, if the machine is to attest. As of the choice of the keys: a TEE that appears
    /// later must not vouch for a key that lies in a plain file.
    survey: Survey,
    stop: CancellationToken,
}

/// Runs the worker until a signal stops it, or until an error that connecting again does not resolve.
pub async fn run(mut config: Config) -> Result<(), AppError> {
    check_start(&config).await?;
    let state = StateFolder::open(&config.assay.state_dir)?;
    let storage = set_up_disks(&mut config).await?;
    forget_old_outputs(&storage, state.jobs());
    let images = ImageCache::open(
        &config.assay.state_dir,
        state.disk().clone(),
        config.assay.storage.image_cache_bytes(),
    );
    let (survey, store) = look_for_evidence(&config).await?;
    let keys = Keys::load_or_create(&config.assay, &store, &state.known_worker_keys())?;
    let metrics = Metrics::new()?;
    let status = StatusBoard::new(&config, &keys);
    status.update(|status| {
        status.attestation.lacks = survey.missing.iter().map(ToString::to_string).collect();
    });
    let engine = Arc::new(Engine::of(&config));
    let stop = stop_on_signals()?;

    let delivery = Delivery::new(keys.worker.clone(), keys.sealing.clone(), state.jobs().clone());
    let runner = part_runner(&status, &metrics);
    let networks = job_networks(&config, &engine, &keys, &state)?;
    let cluster = cluster_networks(&config, &engine, &keys, &state)?;
    let api = Api::start(
        &config,
        ApiParts {
            status: status.clone(),
            worker: keys.worker.clone(),
            store: state.jobs().clone(),
            metrics: metrics.clone(),
            delivery: delivery.clone(),
            streams: job_streams(&config, &state, &status, &engine, &keys, storage.clone()),
            proxy: PortProxy::new(networks.clone()).with_cluster(cluster.clone()),
            runner: runner.clone(),
        },
    )
    .await?;
    tracing::info!(
        worker = %keys.worker_account(), address = %config.listen_on(), owner_address = %config.owner_listen_on(),
        state = %config.assay.state_dir.display(), "the worker is up"
    );

    let ledger = open_ledger(&config, &state).await?;
    let devices = Arc::new(find_devices(&config, ledger.held_devices()).await?);
    let leases = Leases::default()
        .with_devices(JobDevices::new(
            ledger.clone(),
            (*engine).clone(),
            HostPaths::of_linux().cdi,
        ))
        .with_storage(storage);
    let leases = match (&networks, cluster) {
        (Some(networks), _) => leases.with_networks(networks.clone()),
        (None, Some(cluster)) => leases.with_cluster(cluster),
        (None, None) => leases,
    };
    let keep_networks = {
        let runner = runner.clone();
        let keep = move || {
            let networks = networks.clone();
            async move {
                match networks {
                    Some(networks) => networks.keep().await,
                    // A cluster keeps its own.
                    None => std::future::pending().await,
                }
            }
        };
        async move { runner.keep_going("networks", |_: &io::Error| true, keep).await }
    };
    let health = HealthBoard::default();
    let monitor = Mutex::new(health_monitor(&config, &ledger, &health, &metrics, &status));
    let launcher = Launcher::new(config.assay.run_dir.as_deref(), &config.assay.state_dir);
    let runs_sealed = launcher
        .probe()
        .inspect_err(|error| tracing::warn!(%error, "sealed jobs cannot run here and are declined"))
        .is_ok();
    let app = Arc::new(App {
        config,
        keys,
        state,
        engine,
        leases,
        ledger,
        delivery,
        launcher,
        runs_sealed,
        images,
        metrics,
        status,
        runner,
        devices,
        health,
        monitor,
        survey,
        stop,
    });
    let outcome = tokio::select! {
        outcome = app.keep_going() => outcome,
        never = app.watch_disk() => match never {},
        never = app.watch_confinement() => match never {},
        never = app.watch_health() => match never {},
        // The runner restarts it after each failure.
        kept = keep_networks => match kept {
            Ok(never) => match never {},
            Err(error) => Err(AppError::System(error)),
        },
    };
    api.stop().await;
    outcome
}

/// Makes the checks of the start, which `assay-worker check` makes too; logs what they found, and fails with
/// all problems that the worker does not start with.
async fn check_start(config: &Config) -> Result<(), AppError> {
    let config = config.clone();
    let findings = tokio::task::spawn_blocking(move || check::start_findings(&config))
        .await
        .map_err(io::Error::other)?;
    for finding in &findings {
        match finding.severity {
            Severity::Good => tracing::debug!("{finding}"),
            Severity::Note => tracing::warn!("{finding}"),
            Severity::Bad | Severity::Fatal => tracing::error!("{finding}"),
        }
    }
    let problems: Vec<_> = findings
        .iter()
        .filter(|finding| finding.is_fatal())
        .map(ToString::to_string)
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(AppError::NotReady { problems })
    }
}

/// Opens the networks of jobs, which the worker makes at an engine of its own host; `None` at a cluster.
fn job_networks(
    config: &Config,
    engine: &Engine,
    keys: &Keys,
    state: &StateFolder,
) -> io::Result<Option<JobNetworks>> {
    let Some(docker) = engine.docker() else {
        return Ok(None);
    };
    let worker = hex::encode(keys.worker_account().0);
    let parts = JobNetworkParts::of(config, docker.clone(), worker, state.disk().clone());
    JobNetworks::open(parts).map(Some)
}

/// Opens the networks of jobs at a cluster; `None` at another engine.
fn cluster_networks(
    config: &Config,
    engine: &Engine,
    keys: &Keys,
    state: &StateFolder,
) -> io::Result<Option<ClusterNetworks>> {
    let Some(cluster) = engine.kubernetes() else {
        return Ok(None);
    };
    let worker = hex::encode(keys.worker_account().0);
    let parts = ClusterNetworkParts::of(config, cluster.clone(), worker, state.disk().clone());
    ClusterNetworks::open(parts).map(Some)
}

/// Creates the state of the API's streams.
fn job_streams(
    config: &Config,
    state: &StateFolder,
    status: &StatusBoard,
    engine: &Arc<Engine>,
    keys: &Keys,
    storage: Storage,
) -> Arc<JobStreams> {
    let mut workers = state.known_worker_keys();
    workers.push(hex::encode(keys.worker_account().0));
    let shells = EngineShells::new(engine.clone(), move || workers.clone());
    Arc::new(JobStreams::new(
        state.jobs().clone(),
        status.clone(),
        shells,
        JobOutputs::new(storage, state.jobs().clone()),
        config.assay.owner.limits.streams,
    ))
}

/// Creates the monitor of the machine's health, which shows its verdicts in the status.
fn health_monitor(
    config: &Config,
    ledger: &DeviceLedger,
    board: &HealthBoard,
    metrics: &Metrics,
    status: &StatusBoard,
) -> HealthMonitor {
    let gpus = config.resources.gpus.as_ref();
    let judge = Judge::new(config.assay.health, gpus.is_some_and(|gpus| gpus.allow_overclock));
    let status = status.clone();
    HealthMonitor::new(
        &HostPaths::of_linux(),
        ledger.clone(),
        judge,
        board.clone(),
        metrics.clone(),
        Box::new(move |verdict| {
            let health = HealthStatus::from(verdict);
            status.update(|status| status.health = health);
        }),
    )
}

/// Creates the runner of all parts, which shows in the status those that do not run.
fn part_runner(status: &StatusBoard, metrics: &Metrics) -> PartRunner {
    let status = status.clone();
    PartRunner {
        on_change: Arc::new(move |part, reason| {
            status.update(|status| {
                match reason {
                    Some(reason) => status.broken_parts.insert(part, reason),
                    None => status.broken_parts.remove(part),
                };
            });
        }),
        metrics: metrics.clone(),
    }
}

/// Returns a token that SIGINT and SIGTERM cancel.
fn stop_on_signals() -> Result<CancellationToken, std::io::Error> {
    use tokio::signal::unix::{SignalKind, signal};

    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
        tracing::info!("stopping; containers of open jobs go on, and the next start takes them up");
        token.cancel();
    });
    Ok(stop)
}

impl App {
    /// Serves over one connection after the other, with a backoff between them.
    async fn keep_going(self: &Arc<Self>) -> Result<(), AppError> {
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let ended = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                (connected, ()) = async { tokio::join!(self.connect(), self.look_at_engine()) } => match connected {
                    Ok(client) => self.serve(&client).await,
                    Err(error) => Err(error),
                },
            };
            self.metrics.chain_connected.set(0);
            self.status.update(|status| {
                status.chain.connected = false;
                status.chain.best_block_hash = None;
                status.phase = if self.stop.is_cancelled() {
                    Phase::Stopping
                } else {
                    Phase::Connecting
                };
            });
            let error = match ended {
                Ok(()) => return Ok(()),
                Err(error) if error.is_passing() => error,
                Err(error) => return Err(error),
            };
            if begun.elapsed() > LASTING_CONNECTION {
                failures = 0;
            }
            let pause = RECONNECT_BACKOFF.delay(failures);
            failures = failures.saturating_add(1);
            tracing::warn!(
                %error,
                again_in_seconds = pause.as_secs(),
                "not connected to the chain; connecting again, and containers go on meanwhile"
            );
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => (),
            }
        }
    }

    async fn look_at_engine(&self) {
        let known = self.status.read().engine;
        let info = tokio::time::timeout(ENGINE_PATIENCE, self.engine.ping())
            .await
            .unwrap_or_else(|_| {
                Err(EngineError::Failed {
                    action: "answer".into(),
                    reason: format!("no answer within {} seconds", ENGINE_PATIENCE.as_secs()),
                })
            });
        match &info {
            Ok(_) if known.reachable => (),
            Ok(info) => tracing::info!(
                engine = info.version,
                at = info.endpoint,
                "the container engine answers"
            ),
            Err(error) => tracing::error!(%error, "jobs wait until there is a container engine"),
        }
        self.status.note_engine(info.as_ref().ok());
        self.metrics.engine_reachable.set(info.is_ok().into());
    }

    async fn connect(&self) -> Result<ChainClient, AppError> {
        let client = ChainClient::connect(&self.config.assay.chain_url).await?;
        self.metrics.connections.inc();
        self.metrics.chain_connected.set(1);
        let genesis_hash = hex::encode(client.genesis_hash());
        tracing::info!(
            url = client.url(),
            genesis = genesis_hash,
            "connected to the chain"
        );
        self.status.update(|status| {
            status.chain.connected = true;
            status.chain.genesis_hash = Some(BlockHash(client.genesis_hash()));
            status.phase = Phase::Registering;
        });
        Ok(client)
    }

    /// Serves over one connection until the worker is stopped or the connection is lost.
    async fn serve(self: &Arc<Self>, client: &ChainClient) -> Result<(), AppError> {
        let finalized = bounded(client.finalized_block()).await?;
        let best = bounded(client.best_block()).await?;
        let (tips, new_tips) = watch::channel(Tip { best, finalized });
        let follow = || async { Err::<Infallible, _>(self.follow(client, &tips).await) };
        let mut parts = MachineParts::new();
        let served = tokio::select! {
            lost = self.runner.keep_going("chain", |_| false, follow) => match lost {
                Err(source) => Err(PartError { part: "chain", source }.into()),
                Ok(never) => match never {},
            },
            served = self.serve_machines(client, new_tips, &mut parts) => served,
        };
        // No part may go on with an abandoned connection.
        parts.stop().await;
        served
    }

    /// Follows the chain, and publishes its best and its finalized block, until the connection is lost.
    async fn follow(&self, client: &ChainClient, tips: &watch::Sender<Tip>) -> ChainError {
        follow::follow(client, FollowLimits::default(), |news| {
            let tip = match news {
                ChainNews::Moved(tip) => tip,
                ChainNews::Resubscribed { silent_for, tip } => {
                    tracing::warn!(
                        silent_for_seconds = silent_for.as_secs(),
                        best_block = tip.best.number,
                        "the node's subscription missed new blocks; subscribed again"
                    );
                    self.metrics.resubscriptions.inc();
                    self.status.update(|status| status.chain.resubscriptions += 1);
                    tip
                }
            };
            self.note_tip(&tip);
            tips.send_if_modified(|known| std::mem::replace(known, tip) != tip);
        })
        .await
    }

    /// Updates status and metrics of the chain, and logs when finality stalls or resumes.
    fn note_tip(&self, tip: &Tip) {
        let number = |number| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.best_block.set(number(tip.best.number));
        self.metrics.finalized_block.set(number(tip.finalized.number));
        self.status.update(|status| {
            if status.chain.note_tip(tip) {
                match &status.chain.problem {
                    Some(problem) => tracing::warn!(
                        best_block = tip.best.number,
                        finalized_block = tip.finalized.number,
                        problem,
                        "the chain finalizes no blocks"
                    ),
                    None => tracing::info!(
                        finalized_block = tip.finalized.number,
                        "blocks become final again"
                    ),
                }
            }
        });
    }

    /// Watches the disk for as long as the worker runs.
    async fn watch_disk(&self) -> Infallible {
        let watch = || async {
            for look in 0u32.. {
                let status = if look % DISK_PROBE_EVERY == 0 || self.state.disk().problem().is_some() {
                    self.state.probe()
                } else {
                    self.state.disk().status()
                };
                self.metrics.disk_writable.set(status.writable.into());
                let broken = i64::try_from(status.broken_files.len()).unwrap_or(i64::MAX);
                self.metrics.broken_files.set(broken);
                self.status.update(|worker| worker.disk = status);
                tokio::time::sleep(DISK_INTERVAL).await;
            }
            Err::<Infallible, _>("the counter of looks overflowed")
        };
        loop {
            if let Ok(never) = self.runner.keep_going("disk", |_| true, watch).await {
                match never {}
            }
        }
    }

    /// Holds new jobs back while the engine could not confine them, for as long as the worker runs.
    async fn watch_confinement(&self) -> Infallible {
        let watch = || self.look_at_confinement_again_and_again();
        loop {
            if let Ok(never) = self.runner.keep_going("confinement", |_| true, watch).await {
                match never {}
            }
        }
    }

    async fn look_at_confinement_again_and_again(&self) -> Result<Infallible, &'static str> {
        loop {
            self.look_at_confinement().await;
            tokio::time::sleep(CONFINEMENT_INTERVAL).await;
        }
    }

    /// Looks once whether the engine can confine containers. An engine that does not answer leaves the
    /// last answer.
    async fn look_at_confinement(&self) {
        let looked = tokio::time::timeout(ENGINE_PATIENCE, self.engine.confinement()).await;
        let problem = match looked {
            Ok(Ok(_)) => None,
            Ok(Err(ConfinementError::Engine(_))) | Err(_) => return,
            Ok(Err(error)) => Some(error.to_string()),
        };
        if self.health.hinder(problem.clone()) {
            match &problem {
                Some(problem) => {
                    tracing::error!(problem, "the engine cannot confine jobs; the worker takes none")
                }
                None => tracing::info!("the engine confines jobs again"),
            }
            self.status.update(|status| status.engine.problem = problem);
        }
    }

    /// Watches the health of the machine's devices for as long as the worker runs.
    async fn watch_health(&self) -> Infallible {
        let watch = || async { self.monitor.lock().await.run().await };
        loop {
            if let Ok(never) = self.runner.keep_going("sensors", |_| true, watch).await {
                match never {}
            }
        }
    }

    /// Serves one machine, and after a rotation of keys the next one, until the worker is stopped.
    async fn serve_machines(
        self: &Arc<Self>,
        client: &ChainClient,
        tips: watch::Receiver<Tip>,
        parts: &mut MachineParts,
    ) -> Result<(), AppError> {
        loop {
            let highest_block = self.state.bind(client.genesis_hash())?;
            let machine = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                machine = self.registered_machine(client) => machine?,
            };
            self.status.update(|status| {
                status.machine = Some(machine);
                status.waits_for_provider = None;
                status.phase = Phase::Serving;
            });
            tracing::info!(machine, "serving");
            let session =
                MachineSession::new(self.clone(), client, machine, highest_block, tips.clone()).await?;
            match session.serve(parts).await? {
                SessionEnd::Stopped => return Ok(()),
                SessionEnd::KeysRotated => {
                    self.metrics.machine_takes_jobs.set(0);
                    self.status.update(|status| {
                        status.machine = None;
                        status.market_status = None;
                        status.phase = Phase::Registering;
                    });
                    self.status.set_jobs(Vec::new());
                }
            }
        }
    }

    /// Waits until the machine is registered, by the worker itself or by its provider.
    async fn registered_machine(&self, client: &ChainClient) -> Result<u64, AppError> {
        let mut said = String::new();
        loop {
            self.look_at_confinement().await;
            // One that is in the market declines what is assigned to it; a new one does not go there.
            if let Some(problem) = self.health.hindrance()
                && bounded(client.machine_of_worker(&self.keys.worker_account().0))
                    .await?
                    .is_none()
            {
                tracing::error!(problem, "the machine is not registered before this is mended");
                tokio::time::sleep(REGISTRATION_INTERVAL).await;
                continue;
            }
            match registration::ensure(client, &self.config, &self.keys, &self.state).await {
                Ok(Registration::Ready { machine }) => return Ok(machine),
                Ok(Registration::WaitsForProvider(text)) => {
                    if text != said {
                        tracing::warn!("{text}");
                        self.status
                            .update(|status| status.waits_for_provider = Some(text.clone()));
                        said = text;
                    }
                }
                Err(RegistrationError::Chain(error)) if !error.is_connection_lost() => {
                    tracing::error!(%error, "the machine could not be registered; trying again");
                }
                Err(error) => return Err(AppError::Registration(error)),
            }
            tokio::time::sleep(REGISTRATION_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_check_finds_fatal_keeps_the_worker_from_starting() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = include_str!("../worker.example.yaml");
        let path = folder.path().join("worker.yaml");
        let mut config = Config::parse(text, &path).expect("the example is valid");
        // TEST-NET-1: no host has it.
        config.assay.listen_address = [192, 0, 2, 1].into();
        config.assay.state_dir = folder.path().join("state");
        let error = run(config)
            .await
            .expect_err("nobody can listen there")
            .to_string();
        assert!(error.starts_with("the worker cannot start:\n  port: "), "{error}");
        assert!(!folder.path().join("state").exists(), "nothing was begun");
    }

    #[test]
    fn failure_of_a_part_names_it_and_passes_where_connecting_again_may_help() {
        let failed = |source| {
            AppError::from(PartError {
                part: "rewards",
                source,
            })
        };
        let lost = failed(ChainError::ConnectionLost {
            reason: "unplugged".into(),
        });
        assert!(lost.to_string().contains("`rewards`"), "{lost}");
        assert!(lost.to_string().contains("unplugged"), "{lost}");
        assert!(lost.is_passing());
        assert!(
            !failed(ChainError::BadUrl {
                url: "nonsense".into()
            })
            .is_passing()
        );
    }
}
