//! Puts the parts together and keeps them going: connects, registers, serves, and connects again.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use assay_client::{ChainClient, Error as ChainError};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, ApiContext, ListenError},
    attestation::{
        self, AmdCertificates, AttestationChain, AttestorParts, Collector, DevicePaths, HttpFetch, Survey,
    },
    chain::{ConnectedChain, WorkerChain, bounded},
    challenge::{
        self,
        devices::Devices,
        progress::{AnswerProgress, Tell},
        slots::SlotProvers,
    },
    config::Config,
    engine::{ContainerEngine, DockerEngine, EngineEndpoint, EngineError},
    jobs::{StepError, Supervisor, SupervisorParts},
    keys::Keys,
    metrics::Metrics,
    orders::{self, OrderTaker},
    preflight::Preflight,
    registration::{self, Registration, RegistrationError},
    rewards,
    sealing_store::{SealingError, SealingStore},
    standing::{Standing, has_other_worker},
    state::{StateError, StateFolder},
    status::{BlockHash, Phase, StatusBoard},
};

/// How often the engine is looked at between blocks.
const ENGINE_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time that the engine has to say what it is.
const ENGINE_PATIENCE: Duration = Duration::from_secs(20);

/// How long finality may stand still before the connection is tried.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// How often the newest block is asked for, which answers to probes name. By itself, because finality may stand still
/// while there are blocks.
const BEST_BLOCK_INTERVAL: Duration = Duration::from_secs(6);

/// Pause between two looks for what the provider has to do.
const REGISTRATION_INTERVAL: Duration = Duration::from_secs(30);

/// Longest pause before connecting again.
const LONGEST_RECONNECT_PAUSE: Duration = Duration::from_secs(15);

/// A connection that lasted so long was a good one: the pauses begin small again.
const LASTING_CONNECTION: Duration = Duration::from_secs(60);

/// Time that steps under way have to end when the worker is stopped.
const FAREWELL: Duration = Duration::from_secs(20);

/// Blocks between two notes of how far the chain was seen.
const NOTE_BLOCK_EVERY: u64 = 20;

/// Why a worker ended, or never began.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A key cannot be had.
    #[error(transparent)]
    Keys(#[from] SealingError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The port cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The chain is none that this worker can serve.
    #[error(transparent)]
    Chain(ChainError),
    /// The machine cannot be registered as it is configured.
    #[error(transparent)]
    Registration(RegistrationError),
    /// The notes of a job cannot be read or written.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The metrics cannot be set up.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The system refused something that a program needs.
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
}

impl AppError {
    /// Whether connecting again may help.
    fn is_passing(&self) -> bool {
        let error = match self {
            Self::Chain(error) | Self::Registration(RegistrationError::Chain(error)) => error,
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

/// Why a machine is not served any more over a connection that still holds.
enum Ended {
    /// The worker is stopped.
    Stopped,
    /// Another worker key acts for the machine.
    KeysRotated,
}

/// Everything that outlives a connection.
struct App {
    config: Config,
    keys: Keys,
    state: StateFolder,
    engine: Arc<DockerEngine>,
    metrics: Metrics,
    status: StatusBoard,
    devices: Arc<Devices>,
    /// What gives evidence, where the machine is to attest. As it was when the keys were chosen by it: a TEE that shows
    /// itself later must not vouch for a key that lies in a plain file.
    survey: Survey,
    stop: CancellationToken,
}

/// Runs until it is stopped by a signal, or until something is wrong that time does not heal.
pub async fn run(config: Config) -> Result<(), AppError> {
    let state = StateFolder::open(&config.assay.state_dir)?;
    let (survey, store) = look_for_evidence(&config).await?;
    let keys = Keys::load_or_create(&config.assay, &store)?;
    let metrics = Metrics::new()?;
    let status = StatusBoard::new(&config, &keys);
    status.update(|status| {
        status.attestation.lacks = survey.lacks.iter().map(ToString::to_string).collect();
    });
    let endpoint = EngineEndpoint::resolve(config.assay.engine.as_deref());
    let engine = Arc::new(DockerEngine::new(endpoint));
    let stop = stop_on_signals()?;

    let listener = api::listen(config.listen_on()).await?;
    tracing::info!(
        worker = %keys.worker_account(), address = %config.listen_on(), state = %config.assay.state_dir.display(),
        "the worker is up"
    );
    let context = Arc::new(ApiContext {
        status: status.clone(),
        worker: keys.worker.clone(),
        worker_hex: hex::encode(keys.worker_account().0),
        store: state.jobs().clone(),
        metrics: metrics.clone(),
    });
    let api_stop = CancellationToken::new();
    let api = tokio::spawn(api::serve(listener, context, api_stop.clone().cancelled_owned()));

    let devices = Arc::new(find_devices(&config).await?);
    let app = App {
        config,
        keys,
        state,
        engine,
        metrics,
        status,
        devices,
        survey,
        stop,
    };
    let outcome = app.keep_going().await;
    api_stop.cancel();
    // Clients that never hang up do not hold the end up.
    let _ = tokio::time::timeout(Duration::from_secs(2), api).await;
    outcome
}

/// Finds what answers the hardware challenge, and says so. A machine without goes on: it has jobs to look after.
async fn find_devices(config: &Config) -> Result<Devices, std::io::Error> {
    let (choice, gpus) = (config.assay.prover, config.gpu_count());
    let find = move || Devices::find(choice, gpus > 0);
    let devices = tokio::task::spawn_blocking(find)
        .await
        .map_err(std::io::Error::other)?;
    for problem in &devices.problems {
        tracing::warn!(problem, "cannot answer hardware challenges");
    }
    for device in &devices.usable {
        tracing::info!(device = device.name, "answers hardware challenges");
    }
    if devices.usable.is_empty() {
        tracing::error!(
            "nothing on this machine can answer hardware challenges; an active machine that does not answer loses a \
             part of its bond"
        );
    } else if devices.are_fewer_than(gpus) {
        tracing::error!(
            devices = devices.usable.len(),
            offered = gpus,
            "fewer GPUs answer than the machine offers; those that do answer for the others too, and will hardly be in \
             time"
        );
    }
    Ok(devices)
}

/// What gives evidence, if the machine is to attest, and where its sealing key is kept by that.
async fn look_for_evidence(config: &Config) -> Result<(Survey, SealingStore), AppError> {
    let plain = config.assay.sealing_key_file.clone();
    if !config.network.enable_tee {
        return Ok((Survey::default(), SealingStore::File(plain)));
    }
    // Drivers block for as long as they like.
    let looked = tokio::task::spawn_blocking(move || {
        let paths = DevicePaths::of_linux();
        let survey = Survey::of(&paths);
        let store = SealingStore::choose(plain, survey.processor(), &paths);
        (survey, store)
    });
    let (survey, store) = looked.await.map_err(std::io::Error::other)?;
    if survey.sources.is_empty() {
        let lacks: Vec<_> = survey.lacks.iter().map(ToString::to_string).collect();
        tracing::warn!(
            lacks = lacks.join("; "),
            "`network_config.enable_tee` is set, but nothing here gives evidence; the machine works without attesting"
        );
    } else {
        let names: Vec<_> = survey.sources.iter().map(|source| source.name()).collect();
        tracing::info!(
            sources = names.join(", "),
            sealing_key = store.description(),
            "the machine attests"
        );
    }
    Ok((survey, store))
}

/// A token that SIGINT and SIGTERM cancel.
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
    /// One connection after the other.
    async fn keep_going(&self) -> Result<(), AppError> {
        let mut pause = Duration::from_secs(1);
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
                pause = Duration::from_secs(1);
            }
            tracing::warn!(%error, again_in_seconds = pause.as_secs(), "no chain; containers go on meanwhile");
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => (),
            }
            pause = (pause * 2).min(LONGEST_RECONNECT_PAUSE);
        }
    }

    async fn look_at_engine(&self) {
        let known = self.status.read().engine;
        let info = tokio::time::timeout(ENGINE_PATIENCE, self.engine.ping())
            .await
            .unwrap_or_else(|_| {
                Err(EngineError::Failed {
                    action: "say what it is".into(),
                    reason: format!("no answer within {} seconds", ENGINE_PATIENCE.as_secs()),
                })
            });
        match &info {
            Ok(_) if known.reachable => (),
            Ok(info) => tracing::info!(
                engine = info.version,
                at = info.endpoint,
                "the container engine is there"
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
    async fn serve(&self, client: &ChainClient) -> Result<(), AppError> {
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
            match self.serve_machine(client, machine, highest_block).await? {
                Ended::Stopped => return Ok(()),
                Ended::KeysRotated => {
                    self.metrics.machine_takes_jobs.set(0);
                    self.status.update(|status| {
                        status.machine = None;
                        status.standing = None;
                        status.jobs = Vec::new();
                        status.phase = Phase::Registering;
                    });
                }
            }
        }
    }

    /// Runs the jobs of a machine for as long as this worker acts for it.
    async fn serve_machine(
        &self,
        client: &ChainClient,
        machine: u64,
        highest_block: u64,
    ) -> Result<Ended, AppError> {
        let worker = self.keys.worker_account().0;
        let earlier_workers = self.state.note_worker_key(&worker)?;
        let chain = ConnectedChain::new(client.clone(), self.keys.worker.clone());
        let preflight = Preflight::new(
            self.config.assay.allow_private_registries,
            self.config.network.max_download_mbps,
        );
        let supervisor = Supervisor::new(SupervisorParts {
            chain: chain.clone(),
            engine: self.engine.clone(),
            store: self.state.jobs().clone(),
            machine,
            worker,
            earlier_workers,
            genesis_hash: client.genesis_hash(),
            slot_share: self.config.slot_share(),
            preflight: preflight.clone(),
            min_profit: self.config.assay.min_profit,
            highest_block,
            metrics: self.metrics.clone(),
        })?;
        let head = chain.head().await?;
        let (epochs, new_epochs) = watch::channel(head.clock.epoch);
        let (blocks, new_blocks) = watch::channel(head.best_block);
        let payouts = rewards::pay_every_epoch(chain.clone(), machine, new_epochs, self.metrics.clone());
        let provers = SlotProvers::new(self.config.prover_share(), self.devices.clone());
        let tell: Tell = {
            let status = self.status.clone();
            Arc::new(move |progress: Option<&AnswerProgress>| {
                status.update(|status| status.challenge = progress.cloned());
            })
        };
        let challenges = challenge::answer_challenges(
            chain.clone(),
            machine,
            Arc::new(Mutex::new(provers)),
            new_blocks.clone(),
            self.metrics.clone(),
            tell,
        );
        let attesting = self.attest(chain.clone(), machine, client.genesis_hash());
        let orders = async {
            if !self.config.assay.take_open_orders {
                return std::future::pending().await;
            }
            let has_engine = || self.status.read().engine.reachable;
            let taker = OrderTaker {
                book: chain,
                machine,
                store: self.state.jobs().clone(),
                engine: self.engine.clone(),
                preflight,
                min_profit: self.config.assay.min_profit,
            };
            orders::take_open_orders(taker, new_blocks, has_engine).await
        };
        tokio::select! {
            ended = self.run_jobs(client, machine, supervisor, epochs, blocks) => ended,
            lost = payouts => {
                lost?;
                Ok(Ended::Stopped)
            }
            lost = challenges => {
                lost?;
                Ok(Ended::Stopped)
            }
            lost = orders => {
                lost?;
                Ok(Ended::Stopped)
            }
            lost = attesting => {
                lost?;
                Ok(Ended::Stopped)
            }
        }
    }

    /// Keeps the machine attested, where it is to attest and something gives evidence.
    async fn attest<C: AttestationChain>(
        &self,
        chain: C,
        machine: u64,
        genesis_hash: [u8; 32],
    ) -> Result<(), ChainError> {
        if self.survey.sources.is_empty() {
            return std::future::pending().await;
        }
        let settings = &self.config.assay.attestation;
        let fetch = HttpFetch::new();
        let status = self.status.clone();
        attestation::keep_attested(AttestorParts {
            chain,
            machine,
            genesis_hash,
            worker_key: self.keys.worker_account().0,
            sealing_key: self.keys.sealing_public(),
            sources: self.survey.sources.clone(),
            collector: settings
                .bring_collateral
                .then(|| Collector::new(fetch.clone(), settings.urls.clone())),
            amd: AmdCertificates::new(fetch, &settings.urls.amd, settings.amd_certificate_file.clone()),
            show: Box::new(move |sources, problem| {
                status.update(|status| {
                    status.attestation.sources = sources;
                    status.attestation.problem = problem;
                });
            }),
            metrics: self.metrics.clone(),
            now_s: attestation::system_time_s,
        })
        .await
    }

    /// Waits until the machine is registered, with the provider's help if need be.
    async fn registered_machine(&self, client: &ChainClient) -> Result<u64, AppError> {
        let mut said = String::new();
        loop {
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

    /// The loop over blocks, the engine and the ends of steps.
    async fn run_jobs(
        &self,
        client: &ChainClient,
        machine: u64,
        mut supervisor: Supervisor<ConnectedChain, DockerEngine>,
        epochs: watch::Sender<u32>,
        new_blocks: watch::Sender<u64>,
    ) -> Result<Ended, AppError> {
        let mut blocks = bounded(client.subscribe_finalized()).await?;
        let mut best_block_ticks = interval(BEST_BLOCK_INTERVAL);
        best_block_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = interval(ENGINE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut finalized_block = 0;
        let mut noted_block = 0;
        let mut last_block_at = Instant::now();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => {
                    self.status.update(|status| status.phase = Phase::Stopping);
                    supervisor.finish_steps(FAREWELL).await;
                    self.state.note_block(client.genesis_hash(), finalized_block.max(noted_block))?;
                    return Ok(Ended::Stopped);
                }
                block = blocks.next() => {
                    finalized_block = block?.number;
                    last_block_at = Instant::now();
                    let head = self.look_at_chain(&mut supervisor, finalized_block).await?;
                    epochs.send_if_modified(|epoch| std::mem::replace(epoch, head) != head);
                    new_blocks.send_replace(finalized_block);
                    // A node that is behind tells of a machine as it was.
                    if !supervisor.needs_view() && !self.look_at_machine(client, machine).await? {
                        supervisor.finish_steps(FAREWELL).await;
                        return Ok(Ended::KeysRotated);
                    }
                    if finalized_block >= noted_block + NOTE_BLOCK_EVERY && !supervisor.needs_view() {
                        self.state.note_block(client.genesis_hash(), finalized_block)?;
                        noted_block = finalized_block;
                        self.note_balance(client).await?;
                    }
                }
                _ = best_block_ticks.tick() => {
                    let best_block = bounded(client.best_block()).await?;
                    self.status
                        .update(|status| status.chain.best_block_hash = Some(BlockHash(best_block.hash)));
                }
                _ = ticks.tick() => {
                    if last_block_at.elapsed() > SILENCE_LIMIT {
                        let best_block = bounded(client.best_block()).await?.number;
                        tracing::warn!(best_block, finalized_block, "the node answers, but finalizes no blocks");
                        last_block_at = Instant::now();
                    }
                }
                ended = supervisor.step_ended() => {
                    ended?;
                    if supervisor.needs_view() {
                        self.look_at_chain(&mut supervisor, finalized_block).await?;
                    }
                }
            }
            if let Some(jobs) = supervisor.round().await? {
                let reachable = supervisor.engine_reachable();
                self.status.update(|status| {
                    status.jobs = jobs;
                    status.engine.reachable = reachable;
                });
            }
        }
    }

    /// Has the supervisor look at the chain; returns the epoch.
    async fn look_at_chain(
        &self,
        supervisor: &mut Supervisor<ConnectedChain, DockerEngine>,
        finalized_block: u64,
    ) -> Result<u32, AppError> {
        let head = supervisor.look_at_chain(finalized_block).await?;
        self.metrics
            .finalized_block
            .set(i64::try_from(finalized_block).unwrap_or(i64::MAX));
        self.status.update(|status| {
            status.chain.finalized_block = finalized_block;
            status.chain.active_time_ms = head.clock.active_time_ms;
            status.chain.epoch = head.clock.epoch;
        });
        Ok(head.clock.epoch)
    }

    /// Shows how the machine stands, and says so where it changed. Returns whether this worker still acts for it.
    async fn look_at_machine(&self, client: &ChainClient, machine: u64) -> Result<bool, AppError> {
        let record = bounded(client.machine(machine)).await?;
        let worker = self.keys.worker_account();
        if record
            .as_ref()
            .is_some_and(|record| has_other_worker(record, &worker))
        {
            return Ok(false);
        }
        let standing = Standing::of(machine, record.as_ref(), &self.keys.sealing_public());
        self.metrics.machine_takes_jobs.set(standing.takes_jobs.into());
        if self.status.read().standing.as_ref() != Some(&standing) {
            standing.log(machine);
            self.status.update(|status| status.standing = Some(standing));
        }
        Ok(true)
    }

    /// Shows what the worker key has for fees, and says when that is little.
    async fn note_balance(&self, client: &ChainClient) -> Result<(), AppError> {
        let worker = self.keys.worker_account();
        let free = bounded(client.balance(&worker.0)).await?.free;
        self.metrics
            .worker_balance_asy
            .set(free as f64 / assay_primitives::money::ASY as f64);
        if free < registration::LOW_WORKER_BALANCE / 10 {
            tracing::warn!(%worker, free, "the worker key has little left for fees; send it some ASY");
        }
        Ok(())
    }
}
