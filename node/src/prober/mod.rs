//! A validator's part in availability: it probes the machines assigned to it, and reports failures.
//!
//! | module | contents |
//! |---|---|
//! | `target` | permitted destinations of a probe |
//! | `probe` | one probe and the check of its answer |
//! | `plan` | schedule and results of an epoch |
//! | `report` | the transaction that tells the chain |
//!
//! This is a task of the node and not an off-chain worker of the runtime: a runtime can only request a URL,
//! and the provider would choose the address behind it. The chain's best block decides everything. The
//! machines of an epoch are listed at its beginning and at each third of it, and are probed at random times
//! until shortly before its end. The report goes out in the next epoch, part by part, until a block includes
//! it. While the chain stands still, no new probe begins.

mod metrics;
mod plan;
mod probe;
mod report;
mod target;

use std::{cmp::Reverse, future::Future, sync::Arc, time::Duration};

use assay_primitives::{
    api::AvailabilityApi,
    availability::{
        AVAILABILITY_KEY_TYPE, AssignedMachine, AvailabilityId, MAX_ASSIGNMENT_PAGE, PROBE_NONCE_BYTES,
    },
    clock::EpochIndex,
    machine::MachineId,
};
use assay_runtime::{AccountId, Hash, OpaqueBlock as Block};
use futures::{StreamExt, stream::FuturesUnordered};
use polkadot_sdk::{
    sc_client_api::BlockchainEvents,
    sc_service::ChainType,
    sc_transaction_pool_api::TransactionPool,
    sp_api::{ApiError, ProvideRuntimeApi},
    sp_blockchain::HeaderBackend,
    sp_consensus::SyncOracle,
    sp_keystore::KeystorePtr,
    substrate_prometheus_endpoint::Registry,
};
use tokio::time::{Instant, sleep_until};

use self::{
    metrics::Metrics,
    plan::{EpochWatch, PROBES_PER_MACHINE, PlannedProbe},
    probe::{BLOCK_PATIENCE, ChainView, PROBE_TIMEOUT, ProbeError, Prober},
    target::AddressPolicy,
};

/// Maximum number of concurrent probes.
const MAX_IN_FLIGHT: usize = 32;

/// Time before an epoch's end in which no probe begins, so that the last one ends within the epoch.
const LAST_PROBE_BEFORE_END: Duration =
    Duration::from_secs(PROBE_TIMEOUT.as_secs() + BLOCK_PATIENCE.as_secs());

/// Blocks after which a report that no block includes is sent again.
const RESEND_AFTER_BLOCKS: u32 = 5;

/// ProberDependencies of [`run`].
pub(crate) struct ProberDependencies<Client, Pool, Syncing> {
    pub(crate) client: Arc<Client>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) sync: Syncing,
    pub(crate) keystore: KeystorePtr,
    pub(crate) chain_type: ChainType,
    pub(crate) prometheus: Option<Registry>,
}

/// Probes and reports as long as the node runs.
pub(crate) async fn run<Client, Pool, Syncing>(dependencies: ProberDependencies<Client, Pool, Syncing>)
where
    Client: ProvideRuntimeApi<Block> + HeaderBackend<Block> + BlockchainEvents<Block> + Send + Sync + 'static,
    Client::Api: AvailabilityApi<Block, AccountId>,
    Pool: TransactionPool<Block = Block> + 'static,
    Syncing: SyncOracle,
{
    // Machines are in the validator's own network only on a development chain; elsewhere such an address is
    // an attack.
    let policy = match dependencies.chain_type {
        ChainType::Development => AddressPolicy::Any,
        _ => AddressPolicy::Public,
    };
    let metrics = Metrics::new(dependencies.prometheus.as_ref());
    let mut blocks = dependencies.client.import_notification_stream();
    let mut duty = ProberTask {
        prober: Prober::new(policy),
        dependencies,
        metrics,
        watch: None,
        report: None,
    };
    let mut in_flight = FuturesUnordered::new();
    loop {
        let next_probe = duty.next_probe().filter(|_| in_flight.len() < MAX_IN_FLIGHT);
        tokio::select! {
            block = blocks.next() => match block {
                Some(block) if block.is_new_best => duty.on_best_block(block.hash).await,
                Some(_) => (),
                None => return,
            },
            Some(outcome) = in_flight.next(), if !in_flight.is_empty() => duty.note(outcome),
            () = sleep_until(next_probe.unwrap_or_else(Instant::now)), if next_probe.is_some() => {
                in_flight.extend(duty.begin_probe());
            }
        }
    }
}

/// Result of a probe.
struct ProbeResult {
    epoch: EpochIndex,
    index: usize,
    result: Result<(), ProbeError>,
}

/// The current epoch, with its remaining probes.
struct CurrentEpoch {
    /// Key of the validator to whom the machines are assigned.
    key: AvailabilityId,
    watch: EpochWatch,
    began: Instant,
    /// Time from the beginning in which probes may begin.
    window: Duration,
    /// Number of parts of the window that were planned.
    planned: u32,
    /// Remaining probes of those parts, the latest first.
    probes: Vec<PlannedProbe>,
}

impl CurrentEpoch {
    /// Returns true if the next part of the window has begun.
    fn has_part_to_plan(&self) -> bool {
        !self.window.is_zero()
            && self.planned < PROBES_PER_MACHINE
            && self.began.elapsed() >= self.window / PROBES_PER_MACHINE * self.planned
    }

    /// Plans the probes of the next part of the window.
    fn plan_part(&mut self) {
        // Delayed probes of the part before stay in front.
        self.probes
            .extend(self.watch.plan(self.planned, self.window, random_number));
        self.probes.sort_by_key(|probe| Reverse(probe.after));
        self.planned = self.planned.saturating_add(1);
    }
}

/// A past epoch, whose report is pending.
struct PendingReport {
    watch: EpochWatch,
    /// The last part sent; `None` before the first.
    sent: Option<SentPart>,
}

/// Part of a report that was submitted to the pool.
struct SentPart {
    /// The failure after which the part begins.
    after: Option<MachineId>,
    /// Blocks until it is sent again.
    resend_in: u32,
}

/// State of [`run`].
struct ProberTask<Client, Pool, Syncing> {
    dependencies: ProberDependencies<Client, Pool, Syncing>,
    prober: Prober,
    metrics: Metrics,
    watch: Option<CurrentEpoch>,
    report: Option<PendingReport>,
}

impl<Client, Pool, Syncing> ProberTask<Client, Pool, Syncing>
where
    Client: ProvideRuntimeApi<Block> + HeaderBackend<Block> + Send + Sync + 'static,
    Client::Api: AvailabilityApi<Block, AccountId>,
    Pool: TransactionPool<Block = Block> + 'static,
    Syncing: SyncOracle,
{
    /// Returns the time of the next probe.
    fn next_probe(&self) -> Option<Instant> {
        let watching = self.watch.as_ref()?;
        watching.probes.last().map(|probe| watching.began + probe.after)
    }

    /// Starts the probe that is due.
    fn begin_probe(
        &mut self,
    ) -> Option<impl Future<Output = ProbeResult> + Send + use<Client, Pool, Syncing>> {
        let watching = self.watch.as_mut()?;
        let PlannedProbe { index, .. } = watching.probes.pop()?;
        let machine = watching.watch.machine(index)?.clone();
        let epoch = watching.watch.epoch;
        let prober = self.prober.clone();
        let chain = Arc::new(NodeView(self.dependencies.client.clone()));
        Some(async move {
            let result = prober.probe(&machine, random_nonce(), &*chain).await;
            if let Err(error) = &result {
                log::debug!(target: "availability", "machine {} was not seen: {error}", machine.machine);
            }
            ProbeResult { epoch, index, result }
        })
    }

    fn note(&mut self, outcome: ProbeResult) {
        self.metrics.note_probe(&outcome.result);
        if matches!(outcome.result, Err(ProbeError::NoRoots)) {
            log::warn!(target: "availability", "{}", ProbeError::NoRoots);
            return;
        }
        let watches = self
            .watch
            .as_mut()
            .map(|watching| &mut watching.watch)
            .into_iter()
            .chain(self.report.as_mut().map(|report| &mut report.watch));
        // A result that arrives after its epoch's report was sent is dropped.
        for watch in watches.filter(|watch| watch.epoch == outcome.epoch) {
            watch.note(outcome.index, outcome.result.is_ok());
        }
    }

    async fn on_best_block(&mut self, at: Hash) {
        // While the node syncs it knows neither the epoch nor its machines.
        if self.dependencies.sync.is_major_syncing() {
            return;
        }
        if let Err(error) = self.follow(at).await {
            log::warn!(target: "availability", "cannot ask the runtime for assignments: {error}");
        }
    }

    async fn follow(&mut self, at: Hash) -> Result<(), ApiError> {
        let keys: Vec<AvailabilityId> = self
            .dependencies
            .keystore
            .sr25519_public_keys(AVAILABILITY_KEY_TYPE)
            .into_iter()
            .map(Into::into)
            .collect();
        for key in &keys {
            self.watch_epoch(at, key)?;
        }
        self.report_epoch(at, &keys).await
    }

    /// Begins to watch the current epoch if the key's holder is a validator in it and does not watch it yet.
    /// Then plans it part by part, each with the machines listed at its beginning.
    fn watch_epoch(&mut self, at: Hash, key: &AvailabilityId) -> Result<(), ApiError> {
        let api = self.dependencies.client.runtime_api();
        // No machine has the greatest number: this page is empty and costs little.
        let Some(now) = api.assignments(at, key.clone(), MachineId::MAX, 1)? else {
            return Ok(());
        };
        if let Some(watching) = self
            .watch
            .as_mut()
            .filter(|watching| watching.watch.epoch == now.epoch)
        {
            if watching.key == *key && watching.has_part_to_plan() {
                let machines = assigned_machines(&*self.dependencies.client, at, key)?;
                watching.watch.refresh(watching.planned, machines);
                watching.plan_part();
                self.metrics.watched.set(watching.watch.len() as u64);
            }
            return Ok(());
        }
        let watch = EpochWatch::new(now.epoch, assigned_machines(&*self.dependencies.client, at, key)?);
        let window = Duration::from_millis(now.remaining_ms).saturating_sub(LAST_PROBE_BEFORE_END);
        log::info!(
            target: "availability",
            "👀 Watching {} machines in epoch {} for {} s", watch.len(), watch.epoch, window.as_secs()
        );
        self.metrics.watched.set(watch.len() as u64);
        let mut watching = CurrentEpoch {
            key: key.clone(),
            watch,
            began: Instant::now(),
            window,
            planned: 0,
            probes: Vec::new(),
        };
        if watching.has_part_to_plan() {
            watching.plan_part();
        }
        self.report = self.watch.replace(watching).map(|watched| PendingReport {
            watch: watched.watch,
            sent: None,
        });
        Ok(())
    }

    /// Sends the report that is due, part by part, each until a block includes it.
    async fn report_epoch(&mut self, at: Hash, keys: &[AvailabilityId]) -> Result<(), ApiError> {
        let Some(reporting) = &mut self.report else {
            return Ok(());
        };
        let client = &self.dependencies.client;
        let epoch = reporting.watch.epoch;
        let mut due = None;
        for key in keys {
            let of_key = client.runtime_api().report_due(at, key.clone())?;
            due = due.or(of_key.filter(|due| due.epoch == epoch).map(|due| (key, due)));
        }
        let Some((key, due)) = due else {
            // A block includes it, or it is too late.
            self.report = None;
            return Ok(());
        };
        if !reporting.watch.is_reportable() {
            log::warn!(
                target: "availability",
                "not reporting on epoch {epoch}: this node saw too little of it; without a report there is no reward"
            );
            self.report = None;
            return Ok(());
        }
        // The next part goes out in the block after the one that includes the part before.
        let sent = reporting.sent.as_mut().filter(|sent| sent.after == due.after);
        if let Some(sent) = sent.filter(|sent| sent.resend_in > 0) {
            sent.resend_in -= 1;
            return Ok(());
        }
        reporting.sent = Some(SentPart {
            after: due.after,
            resend_in: RESEND_AFTER_BLOCKS,
        });
        let failures = reporting.watch.failures(due.after, due.max_failures as usize);
        let parts = report::ReportContext {
            client: &**client,
            pool: &*self.dependencies.pool,
            keystore: &self.dependencies.keystore,
        };
        match report::send(parts, at, key, due, &failures).await {
            Ok(()) => {
                self.metrics.reports.inc();
                log::info!(
                    target: "availability",
                    "📮 Reported on epoch {epoch}: {} of {} machines did not answer{}",
                    failures.len(),
                    reporting.watch.len(),
                    if due.after.is_some() { ", besides those reported before" } else { "" }
                );
            }
            Err(error) => {
                log::warn!(target: "availability", "the report on epoch {epoch} was not sent: {error}")
            }
        }
        Ok(())
    }
}

/// Returns the machines assigned to the key's holder in the current epoch, as of a block: as many as one
/// validator can watch.
fn assigned_machines<Client>(
    client: &Client,
    at: Hash,
    key: &AvailabilityId,
) -> Result<Vec<AssignedMachine<AccountId>>, ApiError>
where
    Client: ProvideRuntimeApi<Block>,
    Client::Api: AvailabilityApi<Block, AccountId>,
{
    let api = client.runtime_api();
    let mut machines = Vec::new();
    let mut from = Some(0);
    while let Some(start) = from.filter(|_| machines.len() < plan::MAX_WATCHED) {
        let Some(page) = api.assignments(at, key.clone(), start, MAX_ASSIGNMENT_PAGE)? else {
            break;
        };
        machines.extend(page.machines);
        from = page.next;
    }
    if from.is_some() {
        log::warn!(
            target: "availability",
            "more machines fall to this validator than it can watch; it accuses the others of nothing"
        );
    }
    Ok(machines)
}

/// View of the chain by this node.
struct NodeView<Client>(Arc<Client>);

impl<Client: HeaderBackend<Block> + Send + Sync> ChainView for NodeView<Client> {
    fn genesis_hash(&self) -> [u8; 32] {
        self.0.info().genesis_hash.into()
    }

    fn block_age(&self, hash: [u8; 32]) -> Option<u32> {
        let number = self.0.number(hash.into()).ok().flatten()?;
        Some(self.0.info().best_number.saturating_sub(number))
    }
}

/// Returns an unpredictable number.
fn random_number() -> u32 {
    getrandom::u32().expect("the system has randomness; qed")
}

fn random_nonce() -> [u8; PROBE_NONCE_BYTES] {
    let mut nonce = [0; PROBE_NONCE_BYTES];
    getrandom::fill(&mut nonce).expect("the system has randomness; qed");
    nonce
}
