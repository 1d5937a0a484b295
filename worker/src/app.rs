//! Puts the parts together and keeps them going: connects, registers, serves, and connects again.
//!
//! One place follows the chain, [`App::follow`], and tells all parts where its best and its final block are.
//! The parts run beside each other, each kept going by [`TaskBoard`]: only a lost connection, or a rotation
//! of the machine's keys, makes all of them begin anew.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use assay_client::{
    ChainClient, Error as ChainError,
    follow::{self, ChainNews, FollowLimits, Tip},
};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, ApiContext, ListenError},
    attestation::{self, AmdCertificates, AttestationChain, AttestorParts, Collector, HttpFetch, Survey},
    backoff::Backoff,
    chain::{ConnectedChain, JobReader, bounded},
    challenge::{
        self,
        devices::Devices,
        progress::{AnswerProgress, ProgressCallback},
        slots::SlotProvers,
    },
    comeback,
    config::Config,
    engine::{ContainerEngine, DockerEngine, EngineEndpoint, EngineError},
    jobs::{Supervisor, SupervisorParts},
    keys::Keys,
    metrics::Metrics,
    orders::{self, OrderTaker},
    preflight::Preflight,
    registration::{self, Registration, RegistrationError},
    rewards,
    sealing_store::SealingError,
    standing::{Standing, has_other_worker},
    state::{StateError, StateFolder},
    status::{BlockHash, Phase, StatusBoard},
    surroundings::{find_devices, look_for_evidence},
    tasks::TaskBoard,
};

/// How often the engine is looked at between blocks.
const ENGINE_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time that the engine has to say what it is.
const ENGINE_PATIENCE: Duration = Duration::from_secs(20);

/// Time for which the chain may have no new block before that is told.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Pause between two looks at the disk that cannot be written, or whose trouble nobody may have noticed.
const DISK_INTERVAL: Duration = Duration::from_secs(5);

/// Looks after which it is tried whether the disk can be written though nothing says that it cannot.
const DISK_PROBE_EVERY: u32 = 6;

/// Pause between two looks for what the provider has to do.
const REGISTRATION_INTERVAL: Duration = Duration::from_secs(30);

/// Delays before connecting again.
pub(crate) const RECONNECT_BACKOFF: Backoff = Backoff {
    initial: Duration::from_secs(1),
    maximum: Duration::from_secs(15),
};

/// A connection that lasted so long was a good one: the pauses begin small again.
const LASTING_CONNECTION: Duration = Duration::from_secs(60);

/// Time that steps under way have to end when the worker is stopped.
const FAREWELL: Duration = Duration::from_secs(20);

/// Final blocks between two notes of how far the chain was seen, and best blocks between two looks at the
/// balance.
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
    tasks: TaskBoard,
    devices: Arc<Devices>,
    /// What gives evidence, where the machine is to attest. As it was when the keys were chosen by it: a TEE
    /// that shows itself later must not vouch for a key that lies in a plain file.
    survey: Survey,
    stop: CancellationToken,
}

/// Runs until it is stopped by a signal, or until something is wrong that time does not heal.
pub async fn run(config: Config) -> Result<(), AppError> {
    let state = StateFolder::open(&config.assay.state_dir)?;
    let (survey, store) = look_for_evidence(&config).await?;
    let keys = Keys::load_or_create(&config.assay, &store, &state.known_worker_keys())?;
    let metrics = Metrics::new()?;
    let status = StatusBoard::new(&config, &keys);
    status.update(|status| {
        status.attestation.lacks = survey.missing.iter().map(ToString::to_string).collect();
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
    let tasks = task_board(&status, &metrics);
    let api_stop = CancellationToken::new();
    let api = tokio::spawn(keep_api(
        tasks.clone(),
        listener,
        config.listen_on(),
        context,
        api_stop.clone(),
    ));

    let devices = Arc::new(find_devices(&config).await?);
    let app = App {
        config,
        keys,
        state,
        engine,
        metrics,
        status,
        tasks,
        devices,
        survey,
        stop,
    };
    let outcome = tokio::select! {
        outcome = app.keep_going() => outcome,
        never = app.watch_disk() => match never {},
    };
    api_stop.cancel();
    // Clients that never hang up do not hold the end up.
    let _ = tokio::time::timeout(Duration::from_secs(2), api).await;
    outcome
}

/// Shows in the status which parts do not run.
fn task_board(status: &StatusBoard, metrics: &Metrics) -> TaskBoard {
    let status = status.clone();
    TaskBoard {
        show: Arc::new(move |part, reason| {
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

/// Serves the HTTP interface until it is stopped; on a new listener where the first one broke off.
async fn keep_api(
    tasks: TaskBoard,
    listener: TcpListener,
    address: SocketAddr,
    context: Arc<ApiContext>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut first = Some(listener);
    let serve = || {
        let (listener, context, stop) = (first.take(), context.clone(), stop.clone());
        async move {
            let listener = match listener {
                Some(listener) => listener,
                None => api::listen(address).await.map_err(io::Error::other)?,
            };
            api::serve(listener, context, stop.cancelled_owned()).await
        }
    };
    tasks.keep_going("api", |_| true, serve).await
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
            tracing::warn!(%error, again_in_seconds = pause.as_secs(), "no chain; containers go on meanwhile");
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
        let finalized = bounded(client.finalized_block()).await?;
        let best = bounded(client.best_block()).await?;
        let (tips, new_tips) = watch::channel(Tip { best, finalized });
        let follow = || async { Err::<Infallible, _>(self.follow(client, &tips).await) };
        tokio::select! {
            lost = self.tasks.keep_going("chain", |_| false, follow) => match lost {
                Err(error) => Err(AppError::Chain(error)),
                Ok(never) => match never {},
            },
            served = self.serve_machines(client, new_tips) => served,
        }
    }

    /// Follows the chain and tells its ends until the connection is lost.
    async fn follow(&self, client: &ChainClient, tips: &watch::Sender<Tip>) -> ChainError {
        follow::follow(client, FollowLimits::default(), |news| {
            let tip = match news {
                ChainNews::Moved(tip) => tip,
                ChainNews::Resubscribed { silent_for, tip } => {
                    tracing::warn!(
                        silent_for_seconds = silent_for.as_secs(),
                        best_block = tip.best.number,
                        "the node's subscription told of no new blocks though there were some, and was made anew"
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

    /// Shows the ends of the chain, and says when blocks cease to become final or do so again.
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

    /// Looks after the disk, for as long as the worker runs.
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
            Err::<Infallible, _>("it counted to its end")
        };
        loop {
            if let Ok(never) = self.tasks.keep_going("disk", |_| true, watch).await {
                match never {}
            }
        }
    }

    /// Serves one machine, and after a rotation of keys the next one, until the worker is stopped.
    async fn serve_machines(&self, client: &ChainClient, tips: watch::Receiver<Tip>) -> Result<(), AppError> {
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
            match self.serve_machine(client, machine, highest_block, &tips).await? {
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
        tips: &watch::Receiver<Tip>,
    ) -> Result<Ended, AppError> {
        let worker = self.keys.worker_account().0;
        let earlier_workers = self.state.note_worker_key(&worker);
        let chain = ConnectedChain::new(client.clone(), self.keys.worker.clone());
        let preflight = Preflight::new(
            self.config.assay.allow_private_registries,
            self.config.network.max_download_mbps,
        );
        let head = chain.head().await?;
        let (epochs, new_epochs) = watch::channel(head.clock.epoch);
        let (blocks, new_blocks) = watch::channel(head.best_block);
        let passes = |error: &ChainError| !error.is_connection_lost();

        let begin_jobs = || {
            let supervisor = Supervisor::new(SupervisorParts {
                chain: chain.clone(),
                engine: self.engine.clone(),
                store: self.state.jobs().clone(),
                machine,
                worker,
                earlier_workers: earlier_workers.clone(),
                genesis_hash: client.genesis_hash(),
                slot_share: self.config.slot_share(),
                preflight: preflight.clone(),
                min_profit: self.config.assay.min_profit,
                highest_block,
                metrics: self.metrics.clone(),
            });
            self.run_jobs(client, machine, supervisor, tips.clone(), &epochs, highest_block)
        };
        let tell_blocks = async {
            let mut tips = tips.clone();
            while tips.changed().await.is_ok() {
                blocks.send_replace(tips.borrow_and_update().best.number);
            }
        };
        let begin_payouts =
            || rewards::pay_every_epoch(chain.clone(), machine, new_epochs.clone(), self.metrics.clone());
        let provers = SlotProvers::new(self.config.prover_share(), self.devices.clone());
        let provers = Arc::new(Mutex::new(provers));
        let on_progress: ProgressCallback = {
            let status = self.status.clone();
            Arc::new(move |progress: Option<&AnswerProgress>| {
                status.update(|status| status.challenge = progress.cloned());
            })
        };
        let begin_challenges = || {
            challenge::answer_challenges(
                chain.clone(),
                machine,
                provers.clone(),
                new_blocks.clone(),
                self.metrics.clone(),
                on_progress.clone(),
            )
        };
        let begin_attesting = || self.attest(chain.clone(), machine, client.genesis_hash());
        // Who takes an order, or comes back for one, and cannot run it or write that down only declines it
        // again.
        let is_ready = || {
            let status = self.status.read();
            status.engine.reachable && status.disk.writable
        };
        let begin_orders = || async {
            if !self.config.assay.take_open_orders {
                return std::future::pending().await;
            }
            let taker = OrderTaker {
                book: chain.clone(),
                machine,
                store: self.state.jobs().clone(),
                engine: self.engine.clone(),
                preflight: preflight.clone(),
                min_profit: self.config.assay.min_profit,
            };
            orders::take_open_orders(taker, new_blocks.clone(), is_ready).await
        };
        let begin_comebacks =
            || comeback::return_after_missed_starts(chain.clone(), machine, new_blocks.clone(), is_ready);
        let tasks = &self.tasks;
        tokio::select! {
            ended = tasks.keep_going("jobs", |_: &AppError| false, begin_jobs) => ended,
            () = tell_blocks => Ok(Ended::Stopped),
            lost = tasks.keep_going("rewards", passes, begin_payouts) => {
                lost?;
                Ok(Ended::Stopped)
            }
            lost = tasks.keep_going("challenge", passes, begin_challenges) => {
                lost?;
                Ok(Ended::Stopped)
            }
            lost = tasks.keep_going("orders", passes, begin_orders) => {
                lost?;
                Ok(Ended::Stopped)
            }
            lost = tasks.keep_going("comeback", passes, begin_comebacks) => {
                lost?;
                Ok(Ended::Stopped)
            }
            lost = tasks.keep_going("attestation", passes, begin_attesting) => {
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
        mut tips: watch::Receiver<Tip>,
        epochs: &watch::Sender<u32>,
        highest_block: u64,
    ) -> Result<Ended, AppError> {
        let mut ticks = interval(ENGINE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut noted_block, mut balance_block) = (highest_block, 0);
        let mut is_machine_noted = false;
        let mut tip = *tips.borrow();
        let mut moved_at = Instant::now();
        tips.mark_changed();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => {
                    self.status.update(|status| status.phase = Phase::Stopping);
                    supervisor.finish_steps(FAREWELL).await;
                    self.state.note_block(client.genesis_hash(), tip.finalized.number.max(noted_block));
                    return Ok(Ended::Stopped);
                }
                Ok(()) = tips.changed() => {
                    tip = *tips.borrow_and_update();
                    moved_at = Instant::now();
                    if let Some(epoch) = self.look_at_chain(&mut supervisor, &tip).await? {
                        // An epoch that a replaced block began is no new one when it begins again.
                        epochs.send_if_modified(|last| {
                            let is_new = epoch > *last;
                            *last = epoch.max(*last);
                            is_new
                        });
                    }
                    // A node that is behind tells of a machine as it was.
                    if !supervisor.needs_view() {
                        if !passing("machine", self.look_at_machine(client, machine).await)?.unwrap_or(true) {
                            supervisor.finish_steps(FAREWELL).await;
                            return Ok(Ended::KeysRotated);
                        }
                        if !is_machine_noted {
                            let noted = registration::note_when_final(client, &self.keys, &self.state, machine).await;
                            is_machine_noted = passing("registration", noted)?.unwrap_or(false);
                        }
                        if tip.finalized.number >= noted_block + NOTE_BLOCK_EVERY {
                            noted_block = tip.finalized.number;
                            self.state.note_block(client.genesis_hash(), noted_block);
                        }
                        if tip.best.number >= balance_block + NOTE_BLOCK_EVERY {
                            balance_block = tip.best.number;
                            passing("balance", self.note_balance(client).await)?;
                        }
                    }
                }
                _ = ticks.tick() => {
                    if moved_at.elapsed() > STANDSTILL {
                        tracing::warn!(best_block = tip.best.number, "the node answers, but there are no new blocks");
                        moved_at = Instant::now();
                    }
                }
                ended = supervisor.step_ended() => {
                    ended?;
                    if supervisor.needs_view() {
                        self.look_at_chain(&mut supervisor, &tip).await?;
                    }
                }
            }
            if let Some(jobs) = supervisor.round().await {
                let reachable = supervisor.engine_reachable();
                self.status.update(|status| {
                    status.jobs = jobs;
                    status.engine.reachable = reachable;
                });
            }
        }
    }

    /// Has the supervisor look at the chain; returns the epoch, where the node could tell.
    async fn look_at_chain(
        &self,
        supervisor: &mut Supervisor<ConnectedChain, DockerEngine>,
        tip: &Tip,
    ) -> Result<Option<u32>, ChainError> {
        let looked = supervisor.look_at_chain(tip.finalized.number).await;
        // A block may be replaced between two questions: the next one tells of the one in its place.
        let head = passing("jobs", looked)?;
        if let Some(head) = head {
            self.status.update(|status| {
                status.chain.active_time_ms = head.clock.active_time_ms;
                status.chain.epoch = head.clock.epoch;
            });
        }
        Ok(head.map(|head| head.clock.epoch))
    }

    /// Shows how the machine stands, and says so where it changed. Returns whether this worker still acts for
    /// it.
    async fn look_at_machine(&self, client: &ChainClient, machine: u64) -> Result<bool, ChainError> {
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
    async fn note_balance(&self, client: &ChainClient) -> Result<(), ChainError> {
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

/// An answer of the chain; `None`, and a line in the log, for a failure that the next block may not have.
fn passing<T>(question: &str, answer: Result<T, ChainError>) -> Result<Option<T>, ChainError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_connection_lost() => Err(error),
        Err(error) => {
            tracing::warn!(question, %error, "the node did not answer; the next block is asked");
            Ok(None)
        }
    }
}
