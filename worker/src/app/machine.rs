//! Serves one machine over one connection to the chain: the parts of the worker that act for it, side by
//! side.
//!
//! | part | does |
//! |---|---|
//! | `blocks` | publishes new best blocks to the other parts |
//! | `jobs` | runs jobs, and watches the machine's record |
//! | `rewards` | has the rewards of ended epochs paid |
//! | `challenge` | answers the hardware challenge |
//! | `orders` | takes open orders |
//! | `comeback` | brings the machine back after a missed start |
//! | `health` | suspends the machine for heat or a fault, and resumes it |
//! | `attestation` | keeps the machine attested |

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use assay_client::{ChainClient, Error as ChainError, follow::Tip};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::App;
use crate::{
    attestation::{self, AmdCertificates, AttestorParts, Collector, HttpFetch},
    chain::{ConnectedChain, JobReader, bounded},
    challenge::{
        self,
        progress::{AnswerProgress, ProgressCallback},
        slots::SlotProvers,
    },
    comeback,
    engine::Engine,
    health::suspension,
    jobs::{Supervisor, SupervisorParts},
    market_status::{MarketStatus, has_other_worker},
    orders::{self, OrderTaker},
    preflight::Preflight,
    registration, rewards,
    status::{Phase, Status},
    tasks::{PartError, PartSet},
};

/// Interval of checks of the engine between blocks.
const ENGINE_INTERVAL: Duration = Duration::from_secs(1);

/// Time without a new block after which the worker logs a warning.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Grace period for steps under way when the worker stops serving a machine.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Number of finalized blocks between two notes of the highest block seen, and of best blocks between two
/// checks of the worker key's balance.
const NOTE_BLOCK_EVERY: u64 = 20;

/// Reason why a machine is no longer served over a connection that still holds.
pub(super) enum SessionEnd {
    /// The worker is being stopped.
    Stopped,
    /// The machine's keys were rotated: another worker key acts for it.
    KeysRotated,
}

/// The parts that act for a machine.
pub(super) type MachineParts = PartSet<SessionEnd, ChainError>;

/// One machine, served over one connection.
pub(super) struct MachineSession {
    app: Arc<App>,
    chain: ConnectedChain,
    machine: u64,
    /// Number of the highest block that this worker ever saw finalized, as of the beginning.
    highest_block: u64,
    earlier_workers: Vec<String>,
    preflight: Preflight,
    provers: Arc<Mutex<SlotProvers>>,
    tips: watch::Receiver<Tip>,
    epochs: watch::Sender<u32>,
    new_epochs: watch::Receiver<u32>,
    blocks: watch::Sender<u64>,
    new_blocks: watch::Receiver<u64>,
}

impl MachineSession {
    /// Creates a session that begins at the best block.
    pub(super) async fn new(
        app: Arc<App>,
        client: &ChainClient,
        machine: u64,
        highest_block: u64,
        tips: watch::Receiver<Tip>,
    ) -> Result<Self, ChainError> {
        let earlier_workers = app.state.note_worker_key(&app.keys.worker_account().0);
        let chain = ConnectedChain::new(client.clone(), app.keys.worker.clone());
        let preflight = Preflight::new(
            app.config.assay.private_registries.clone(),
            app.config.network.max_download_mbps,
        )
        .with_images(app.images.clone());
        let head = chain.head().await?;
        let (epochs, new_epochs) = watch::channel(head.clock.epoch);
        let (blocks, new_blocks) = watch::channel(head.best_block);
        let provers =
            SlotProvers::new(app.config.prover_share(), app.devices.clone()).with_ledger(app.ledger.clone());
        Ok(Self {
            app,
            chain,
            machine,
            highest_block,
            earlier_workers,
            preflight,
            provers: Arc::new(Mutex::new(provers)),
            tips,
            epochs,
            new_epochs,
            blocks,
            new_blocks,
        })
    }

    /// Serves the machine until the first of its parts ends, and waits until the others have stopped.
    ///
    /// # Errors
    /// The error of the part that ended: in general a lost connection, which all parts need anew.
    pub(super) async fn serve(self, parts: &mut MachineParts) -> Result<SessionEnd, PartError<ChainError>> {
        let session = Arc::new(self);
        let is_passing = |error: &ChainError| !error.is_connection_lost();
        parts.spawn("blocks", session.clone().tell_blocks());
        session.spawn(parts, "jobs", |_| false, Self::run_jobs);
        session.spawn(parts, "rewards", is_passing, Self::pay_rewards);
        session.spawn(parts, "challenge", is_passing, Self::answer_challenges);
        session.spawn(parts, "orders", is_passing, Self::take_orders);
        session.spawn(parts, "comeback", is_passing, Self::come_back);
        session.spawn(parts, "health", is_passing, Self::follow_health);
        session.spawn(parts, "attestation", is_passing, Self::attest);
        let ended = parts.first_ended().await;
        parts.stop().await;
        ended
    }

    /// Spawns a part that begins again after each failure that `is_passing`.
    fn spawn<F>(
        self: &Arc<Self>,
        parts: &mut MachineParts,
        name: &'static str,
        is_passing: impl Fn(&ChainError) -> bool + Send + 'static,
        begin: impl Fn(Arc<Self>) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<SessionEnd, ChainError>> + Send + 'static,
    {
        let (runner, session) = (self.app.runner.clone(), self.clone());
        parts.spawn(name, async move {
            let begin = move || begin(session.clone());
            runner.keep_going(name, is_passing, begin).await
        });
    }

    /// Publishes every new best block to the other parts, for as long as the chain is followed.
    async fn tell_blocks(self: Arc<Self>) -> Result<SessionEnd, ChainError> {
        let mut tips = self.tips.clone();
        while tips.changed().await.is_ok() {
            let best_block = tips.borrow_and_update().best.number;
            self.blocks.send_replace(best_block);
        }
        Ok(SessionEnd::Stopped)
    }

    async fn pay_rewards(self: Arc<Self>) -> Result<SessionEnd, ChainError> {
        let (chain, epochs) = (self.chain.clone(), self.new_epochs.clone());
        rewards::pay_every_epoch(chain, self.machine, epochs, self.app.metrics.clone()).await?;
        Ok(SessionEnd::Stopped)
    }

    async fn answer_challenges(self: Arc<Self>) -> Result<SessionEnd, ChainError> {
        let status = self.app.status.clone();
        let on_progress: ProgressCallback = Arc::new(move |progress: Option<&AnswerProgress>| {
            status.update(|status| status.challenge = progress.cloned());
        });
        challenge::answer_challenges(
            self.chain.clone(),
            self.machine,
            self.provers.clone(),
            self.new_blocks.clone(),
            self.app.metrics.clone(),
            on_progress,
        )
        .await?;
        Ok(SessionEnd::Stopped)
    }

    /// Returns true if the worker could run a job now. A worker that takes an order and cannot run or store
    /// it has to decline it again.
    fn is_ready(&self) -> bool {
        let is_ready = |status: &Status| status.engine.reachable && status.disk.writable;
        self.app.status.with(is_ready) && self.app.health.takes_jobs()
    }

    async fn take_orders(self: Arc<Self>) -> Result<SessionEnd, ChainError> {
        if !self.app.config.assay.take_open_orders {
            return std::future::pending().await;
        }
        let taker = OrderTaker {
            book: self.chain.clone(),
            machine: self.machine,
            store: self.app.state.jobs().clone(),
            engine: self.app.engine.clone(),
            preflight: self.preflight.clone(),
            min_profit: self.app.config.assay.min_profit,
            takes_sealed: self.app.runs_sealed,
        };
        orders::take_open_orders(taker, self.new_blocks.clone(), || self.is_ready()).await?;
        Ok(SessionEnd::Stopped)
    }

    async fn come_back(self: Arc<Self>) -> Result<SessionEnd, ChainError> {
        let (chain, blocks) = (self.chain.clone(), self.new_blocks.clone());
        comeback::return_after_missed_starts(chain, self.machine, blocks, || self.is_ready()).await?;
        Ok(SessionEnd::Stopped)
    }

    /// Suspends the machine while its devices are too hot or broken.
    async fn follow_health(self: Arc<Self>) -> Result<SessionEnd, ChainError> {
        let (chain, blocks) = (self.chain.clone(), self.new_blocks.clone());
        suspension::follow_health(chain, self.machine, blocks, self.app.health.clone()).await?;
        Ok(SessionEnd::Stopped)
    }

    /// Keeps the machine attested, if it is to attest and has a source of evidence.
    async fn attest(self: Arc<Self>) -> Result<SessionEnd, ChainError> {
        let app = &self.app;
        if app.survey.sources.is_empty() {
            return std::future::pending().await;
        }
        let settings = &app.config.assay.attestation;
        let fetch = HttpFetch::new();
        let status = app.status.clone();
        attestation::keep_attested(AttestorParts {
            chain: self.chain.clone(),
            machine: self.machine,
            genesis_hash: self.chain.client().genesis_hash(),
            worker_key: app.keys.worker_account().0,
            sealing_key: app.keys.sealing_public(),
            sources: app.survey.sources.clone(),
            collector: settings
                .bring_collateral
                .then(|| Collector::new(fetch.clone(), settings.urls.clone())),
            amd: AmdCertificates::new(fetch, &settings.urls.amd, settings.amd_certificate_file.clone()),
            on_status: Box::new(move |sources, problem| {
                status.update(|status| {
                    status.attestation.sources = sources;
                    status.attestation.problem = problem;
                });
            }),
            metrics: app.metrics.clone(),
            now_s: attestation::system_time_s,
        })
        .await?;
        Ok(SessionEnd::Stopped)
    }

    fn supervisor(&self) -> Supervisor<ConnectedChain, Engine> {
        let app = &self.app;
        Supervisor::new(SupervisorParts {
            chain: self.chain.clone(),
            engine: app.engine.clone(),
            store: app.state.jobs().clone(),
            machine: self.machine,
            worker: app.keys.worker_account().0,
            earlier_workers: self.earlier_workers.clone(),
            genesis_hash: self.chain.client().genesis_hash(),
            slot_share: app.config.slot_share(),
            leases: app.leases.clone(),
            delivery: app.delivery.clone(),
            launcher: app.launcher.clone(),
            preflight: self.preflight.clone(),
            min_profit: app.config.assay.min_profit,
            health: app.health.clone(),
            highest_block: self.highest_block,
            metrics: app.metrics.clone(),
        })
    }

    /// Runs the machine's jobs: a loop over blocks, ticks of the engine and ends of steps.
    async fn run_jobs(self: Arc<Self>) -> Result<SessionEnd, ChainError> {
        let (app, client) = (&self.app, self.chain.client());
        let mut supervisor = self.supervisor();
        let mut tips = self.tips.clone();
        let mut ticks = interval(ENGINE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut noted_block, mut balance_block) = (self.highest_block, 0);
        let mut is_machine_noted = false;
        let mut tip = *tips.borrow();
        let mut moved_at = Instant::now();
        tips.mark_changed();
        loop {
            tokio::select! {
                () = app.stop.cancelled() => {
                    app.status.update(|status| status.phase = Phase::Stopping);
                    supervisor.finish_steps(STOP_TIMEOUT).await;
                    app.state.note_block(client.genesis_hash(), tip.finalized.number.max(noted_block));
                    return Ok(SessionEnd::Stopped);
                }
                Ok(()) = tips.changed() => {
                    tip = *tips.borrow_and_update();
                    moved_at = Instant::now();
                    supervisor.note_other_ended_steps()?;
                    if let Some(epoch) = self.look_at_chain(&mut supervisor, &tip).await? {
                        // An epoch that a replaced block began is not new when it begins again.
                        self.epochs.send_if_modified(|last| {
                            let is_new = epoch > *last;
                            *last = epoch.max(*last);
                            is_new
                        });
                    }
                    // A node that is behind returns an outdated record of the machine.
                    if !supervisor.needs_view() {
                        if !passing("machine", self.look_at_machine().await)?.unwrap_or(true) {
                            supervisor.finish_steps(STOP_TIMEOUT).await;
                            return Ok(SessionEnd::KeysRotated);
                        }
                        if !is_machine_noted {
                            let noted =
                                registration::note_when_final(client, &app.keys, &app.state, self.machine).await;
                            is_machine_noted = passing("registration", noted)?.unwrap_or(false);
                        }
                        if tip.finalized.number >= noted_block + NOTE_BLOCK_EVERY {
                            noted_block = tip.finalized.number;
                            app.state.note_block(client.genesis_hash(), noted_block);
                        }
                        if tip.best.number >= balance_block + NOTE_BLOCK_EVERY {
                            balance_block = tip.best.number;
                            passing("balance", self.note_balance().await)?;
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
                    supervisor.note_other_ended_steps()?;
                    if supervisor.needs_view() {
                        self.look_at_chain(&mut supervisor, &tip).await?;
                    }
                }
            }
            if let Some(jobs) = supervisor.round().await {
                let reachable = supervisor.engine_reachable();
                let slots = app.ledger.view();
                app.status.set_jobs(jobs);
                app.status.update(|status| {
                    status.slots = slots;
                    status.engine.reachable = reachable;
                });
            }
        }
    }

    /// Lets the supervisor read the chain; returns the epoch, if the node answered.
    async fn look_at_chain(
        &self,
        supervisor: &mut Supervisor<ConnectedChain, Engine>,
        tip: &Tip,
    ) -> Result<Option<u32>, ChainError> {
        let looked = supervisor.look_at_chain(tip.finalized.number).await;
        // The block may be replaced between two queries; the next tip then has the block in its place.
        let head = passing("jobs", looked)?;
        if let Some(head) = head {
            self.app.status.update(|status| {
                status.chain.active_time_ms = head.clock.active_time_ms;
                status.chain.epoch = head.clock.epoch;
            });
        }
        Ok(head.map(|head| head.clock.epoch))
    }

    /// Updates the machine's market status, and logs it where it changed. Returns false if another worker key
    /// acts for the machine.
    async fn look_at_machine(&self) -> Result<bool, ChainError> {
        let app = &self.app;
        let record = bounded(self.chain.client().machine(self.machine)).await?;
        let worker = app.keys.worker_account();
        if record
            .as_ref()
            .is_some_and(|record| has_other_worker(record, &worker))
        {
            return Ok(false);
        }
        let market_status = MarketStatus::of(self.machine, record.as_ref(), &app.keys.sealing_public());
        app.metrics
            .machine_takes_jobs
            .set(market_status.takes_jobs.into());
        if app.status.read().market_status.as_ref() != Some(&market_status) {
            market_status.log(self.machine);
            app.status
                .update(|status| status.market_status = Some(market_status));
        }
        Ok(true)
    }

    /// Updates the metric of the worker key's balance, and warns when it is low.
    async fn note_balance(&self) -> Result<(), ChainError> {
        let worker = self.app.keys.worker_account();
        let free = bounded(self.chain.client().balance(&worker.0)).await?.free;
        self.app
            .metrics
            .worker_balance_asy
            .set(free as f64 / assay_primitives::money::ASY as f64);
        if free < registration::LOW_WORKER_BALANCE / 10 {
            tracing::warn!(%worker, free, "the worker key has little left for fees; send it some ASY");
        }
        Ok(())
    }
}

/// Returns an answer of the chain; `None`, and a line in the log, for a failure that the next block may not
/// have.
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
