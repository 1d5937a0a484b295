//! The supervisor: reads the chain, the engine and the notes, decides on every job, and carries out the
//! steps.
//!
//! It reads all of its inputs anew in every round. The state that it keeps between rounds (steps under way,
//! pauses after failures) may be lost at any time without losing a job or running one twice.

mod decision;
mod finality;
mod leftovers;
mod notes;
mod output;
mod result;
mod sealed;
mod status;
mod steps;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    collections::{BTreeMap, HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use assay_client::{
    Error as ChainError,
    types::{AssignmentState, JobKind},
};
use assay_primitives::money::Balance;
use futures::FutureExt;
use tokio::{
    task::{JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub use decision::{
    AbandonCause, ContainerFact, Decision, JobFacts, LossCause, MAX_RESTARTS, START_MARGIN_MS, decide,
};
use finality::{FinalView, SentCall};
pub(crate) use notes::JOB_FILES;
pub use notes::{JobNotes, JobStore, MAX_KEPT_JOBS};
pub use output::JobOutputs;
pub(crate) use output::forget_old_outputs;
pub use result::{RESULT_VERSION, ResultFile, StdoutFile, hash_of_file};
pub use status::JobStatus;
pub use steps::StepError;
use steps::{Leftover, StepContext, StepExecutor, fingerprint};

use crate::{
    backoff::Backoff,
    chain::{AssignedJob, Head, WorkerChain},
    config::SlotShare,
    delivery::Delivery,
    engine::{Container, ContainerEngine, EngineError},
    health::HealthBoard,
    launch::Launcher,
    lease::{LeaseKey, Leases},
    metrics::Metrics,
    preflight::Preflight,
    tasks::panic_text,
};

/// Uptime of a service's container after which its earlier restarts are forgotten.
pub const STABLE_RUN: Duration = Duration::from_secs(60);

/// Consecutive engine failures after which a job counts as one that cannot run.
const MAX_ENGINE_FAILURES: u32 = 5;

/// Limit of [`MAX_ENGINE_FAILURES`] for a job that already runs, where giving up costs its pay: about four
/// minutes of failures.
const MAX_ENGINE_FAILURES_RUNNING: u32 = 10;

/// Consecutive failed listings after which the engine counts as unreachable. Some engines fail once while a
/// container is being removed.
const MAX_LIST_FAILURES: u32 = 5;

/// Timeout of listing the engine's containers.
const LIST_TIMEOUT: Duration = Duration::from_secs(20);

/// Delays between attempts at a step, and before a container is restarted again or replaced.
pub(crate) const STEP_BACKOFF: Backoff = Backoff {
    initial: Duration::from_secs(1),
    maximum: Duration::from_secs(60),
};

/// Pause between two attempts of a step that must be on chain before a deadline: one block.
const URGENT_PAUSE: Duration = Duration::from_secs(3);

/// Maximum time that a container may take to change its state. Engines need some seconds to stop one.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Names of the states of a job, as the metrics label them.
const STATES: [&str; 6] = [
    "starting",
    "running",
    "verifying",
    "committed",
    "revealed",
    "ended",
];

/// Dependencies of [`Supervisor`].
pub struct SupervisorParts<C, E> {
    /// The chain.
    pub chain: C,
    /// The container engine.
    pub engine: Arc<E>,
    /// Store of the jobs' notes and results.
    pub store: JobStore,
    /// Number of this machine.
    pub machine: u64,
    /// Public part of the worker key.
    pub worker: [u8; 32],
    /// Public parts, hexadecimal, of the worker keys that served the machine before the present one. The
    /// supervisor finds their containers and runs them to their end like its own.
    pub earlier_workers: Vec<String>,
    /// Hash of the genesis block.
    pub genesis_hash: [u8; 32],
    /// Limits of one slot.
    pub slot_share: SlotShare,
    /// Leases of the machine.
    pub leases: Leases,
    /// Delivered manifests of sealed jobs.
    pub delivery: Delivery,
    /// Folders in memory of sealed jobs.
    pub launcher: Launcher,
    /// Checks of images before they are pulled.
    pub preflight: Preflight,
    /// Minimum that a job must earn after fees, in plancks.
    pub min_profit: Balance,
    /// Last verdict on the machine's health.
    pub health: HealthBoard,
    /// Number of the highest finalized block that this worker has ever seen.
    pub highest_block: u64,
    /// Metrics that count the steps.
    pub metrics: Metrics,
}

/// Snapshot of the chain at the last look.
struct ChainView {
    head: Head,
    finalized_block: u64,
    jobs: Vec<(u64, AssignedJob)>,
}

/// Outcome of a step.
struct StepReport {
    job: u64,
    decision: Option<Decision>,
    /// True if the chain already had the job as running.
    runs: bool,
    outcome: Result<(), StepError>,
}

/// Backoff of a job after a failure.
#[derive(Default)]
struct RetryState {
    pause_until: Option<Instant>,
    failures: u32,
    engine_failures: u32,
    /// True if the step that failed last was urgent.
    is_urgent: bool,
    problem: Option<String>,
    /// Reason why the job cannot run, while writing it to the notes fails.
    refused: Option<String>,
}

/// Runs the jobs of one machine over one connection to the chain.
pub struct Supervisor<C, E> {
    executor: Arc<StepExecutor<C, E>>,
    earlier_workers: Vec<String>,
    genesis_hash: [u8; 32],
    highest_block: u64,
    health: HealthBoard,
    metrics: Metrics,
    view: Option<ChainView>,
    final_view: FinalView,
    /// Number of the best block at the last look.
    best_block: u64,
    /// Last call for each job that is in a best block.
    sent: HashMap<u64, SentCall>,
    steps: JoinSet<StepReport>,
    /// Jobs with a step under way, each with the token that cancels it.
    busy: HashMap<u64, CancellationToken>,
    retries: HashMap<u64, RetryState>,
    /// Best block at which each leftover was first seen.
    left_over_since: HashMap<Leftover, u64>,
    up_since: HashMap<u64, Instant>,
    /// Time at which a container that had started was first found lost; entries of containers that are lost
    /// still.
    missing_since: HashMap<u64, Instant>,
    /// Fingerprints of jobs whose notes are not closed.
    open_notes: BTreeMap<u64, String>,
    engine_reachable: Option<bool>,
    list_failures: u32,
    /// True once the ledger of devices was compared with the engine's containers.
    holdings_noted: bool,
}

impl<C: WorkerChain, E: ContainerEngine> Supervisor<C, E> {
    /// Creates a supervisor that has not read the chain yet.
    pub fn new(parts: SupervisorParts<C, E>) -> Self {
        let open_notes = parts.store.open_jobs().into_iter().collect();
        Self {
            executor: Arc::new(StepExecutor {
                chain: parts.chain,
                engine: parts.engine,
                store: parts.store,
                machine: parts.machine,
                genesis_hash: parts.genesis_hash,
                worker: hex::encode(parts.worker),
                slot_share: parts.slot_share,
                leases: parts.leases,
                delivery: parts.delivery,
                launcher: parts.launcher,
                preflight: parts.preflight,
                min_profit: parts.min_profit,
            }),
            earlier_workers: parts.earlier_workers,
            genesis_hash: parts.genesis_hash,
            highest_block: parts.highest_block,
            health: parts.health,
            metrics: parts.metrics,
            view: None,
            final_view: FinalView::default(),
            best_block: 0,
            sent: HashMap::new(),
            steps: JoinSet::new(),
            busy: HashMap::new(),
            retries: HashMap::new(),
            left_over_since: HashMap::new(),
            up_since: HashMap::new(),
            missing_since: HashMap::new(),
            open_notes,
            engine_reachable: None,
            list_failures: 0,
            holdings_noted: false,
        }
    }

    /// Returns true if the chain must be read before the next round can decide anything.
    pub fn needs_view(&self) -> bool {
        self.view.is_none()
    }

    /// Reads the best block, and the finalized one if there is a newer one. Returns the best block's head,
    /// which has the epoch.
    pub async fn look_at_chain(&mut self, finalized_block: u64) -> Result<Head, ChainError> {
        let head = self.executor.chain.head().await?;
        if head.best_block < self.highest_block {
            self.view = None;
            tracing::warn!(
                node_block = head.best_block,
                seen_block = self.highest_block,
                "the node is behind the highest block that this worker has seen; jobs wait until it has caught up; if the \
                 chain was started anew, give the worker another `assay.state_dir`"
            );
            return Ok(head);
        }
        self.highest_block = self.highest_block.max(finalized_block);
        let (chain, machine) = (&self.executor.chain, self.executor.machine);
        if self.final_view.is_before(finalized_block) {
            let jobs = chain.final_jobs(machine).await?;
            self.final_view = FinalView::of(finalized_block, &self.genesis_hash, jobs);
        }
        let jobs = chain.open_jobs(machine).await?;
        self.best_block = head.best_block;
        let genesis_hash = self.genesis_hash;
        self.executor.delivery.note_chain(
            genesis_hash,
            machine,
            head.clock.active_time_ms,
            jobs.iter()
                .map(|(id, job)| (*id, fingerprint(&genesis_hash, *id, &job.job), job)),
        );
        self.view = Some(ChainView {
            head,
            finalized_block,
            jobs,
        });
        Ok(head)
    }

    /// Decides on every job and starts the steps. Returns a status for each open job, or `None` while the
    /// chain must be read first.
    pub async fn round(&mut self) -> Option<Vec<JobStatus>> {
        let containers = self.containers().await;
        let view = self.view.take()?;
        let statuses = self.decide_all(&view, containers.as_deref());
        self.view = Some(view);
        Some(statuses)
    }

    /// Returns true if the engine answered the last request.
    pub fn engine_reachable(&self) -> bool {
        self.engine_reachable == Some(true)
    }

    /// Waits until a step has ended and records its outcome; pending while no step is under way.
    ///
    /// # Errors
    /// A lost connection to the chain, which ends the session.
    pub async fn step_ended(&mut self) -> Result<(), ChainError> {
        match self.steps.join_next().await {
            Some(joined) => self.note_ended(joined),
            None => std::future::pending().await,
        }
    }

    /// Records the outcomes of all other steps that have ended by now, so that one look at the chain and the
    /// engine serves them all.
    ///
    /// # Errors
    /// As [`Self::step_ended`].
    pub fn note_other_ended_steps(&mut self) -> Result<(), ChainError> {
        while let Some(joined) = self.steps.try_join_next() {
            self.note_ended(joined)?;
        }
        Ok(())
    }

    fn note_ended(&mut self, joined: Result<StepReport, JoinError>) -> Result<(), ChainError> {
        match joined {
            Ok(report) => self.take_note(report),
            Err(error) => {
                // A step that panicked leaves its job marked as busy; the next session starts afresh.
                Err(ChainError::ConnectionLost {
                    reason: format!("the task of a job's step ended: {error}"),
                })
            }
        }
    }

    /// Waits for the steps under way, for `at_most` at the longest.
    pub async fn finish_steps(&mut self, at_most: Duration) {
        let all = async {
            while let Some(joined) = self.steps.join_next().await {
                if let Ok(report) = joined
                    && let Err(error) = self.take_note(report)
                {
                    tracing::warn!(%error, "a step failed during shutdown");
                }
            }
        };
        let _ = tokio::time::timeout(at_most, all).await;
    }

    /// Lists the engine's containers; `None` while the engine does not answer.
    async fn containers(&mut self) -> Option<Vec<Container>> {
        let workers = std::iter::once(&self.executor.worker).chain(&self.earlier_workers);
        let listing = async {
            let mut containers = Vec::new();
            for worker in workers {
                containers.extend(self.executor.engine.list(worker).await?);
            }
            Ok::<_, EngineError>(containers)
        };
        let listed = tokio::time::timeout(LIST_TIMEOUT, listing)
            .await
            .unwrap_or_else(|_| {
                Err(EngineError::Failed {
                    action: "list containers".into(),
                    reason: format!("no answer within {} seconds", LIST_TIMEOUT.as_secs()),
                })
            });
        let answered = !matches!(listed, Err(EngineError::Unreachable { .. }));
        self.list_failures = if listed.is_ok() {
            0
        } else {
            self.list_failures.saturating_add(1)
        };
        let reachable = answered && self.list_failures < MAX_LIST_FAILURES;
        if self.engine_reachable != Some(reachable) {
            match &listed {
                Ok(_) => tracing::info!("the container engine answers"),
                Err(error) if !reachable => {
                    tracing::error!(%error, "the container engine is unreachable; jobs wait until it answers");
                }
                Err(error) => tracing::warn!(%error, "listing the containers failed; trying again"),
            }
            self.engine_reachable = Some(reachable);
        }
        self.metrics.engine_reachable.set(reachable.into());
        // Only the first list: a later one may be older than a release under way.
        if let Ok(containers) = &listed
            && !self.holdings_noted
        {
            self.executor.leases.note_containers(containers);
            self.holdings_noted = true;
        }
        listed.ok()
    }

    fn decide_all(&mut self, view: &ChainView, containers: Option<&[Container]>) -> Vec<JobStatus> {
        let mut statuses = Vec::with_capacity(view.jobs.len());
        let mut open = HashSet::with_capacity(view.jobs.len());
        for (id, job) in &view.jobs {
            let fingerprint = fingerprint(&self.genesis_hash, *id, &job.job);
            // An ended job only waits for its payment: its container is removed like that of a job that is
            // gone.
            if !matches!(job.assignment.state, AssignmentState::Ended { .. }) {
                open.insert((*id, fingerprint.clone()));
            }
            statuses.push(self.decide_one(view, *id, job, &fingerprint, containers));
        }
        self.sent.retain(|_, sent| sent.is_recent(view.head.best_block));
        self.clear_leftovers(view, &open, containers);
        for state in STATES {
            let count = statuses.iter().filter(|status| status.state == state).count();
            self.metrics.jobs.with_label_values(&[state]).set(count as i64);
        }
        statuses
    }

    fn decide_one(
        &mut self,
        view: &ChainView,
        id: u64,
        assigned: &AssignedJob,
        fingerprint: &str,
        containers: Option<&[Container]>,
    ) -> JobStatus {
        let AssignedJob { job, assignment } = assigned;
        let is_ended = matches!(assignment.state, AssignmentState::Ended { .. });
        let found = containers.and_then(|all| {
            all.iter()
                .find(|container| container.job == id && container.fingerprint == fingerprint)
        });
        let fact = match (containers, found) {
            (None, _) => ContainerFact::Unknown,
            (Some(_), None) => ContainerFact::Absent,
            (Some(_), Some(container)) => ContainerFact::of(container),
        };
        let mut loaded = self.load_notes(id, assigned, fingerprint, fact);
        if !is_ended && loaded.unreadable.is_none() {
            self.forgive_after_stable_run(id, job.kind, fact, &mut loaded.notes);
        }
        let notes = &loaded.notes;
        let clock = view.head.clock;
        let key = LeaseKey {
            job: id,
            fingerprint: fingerprint.to_owned(),
        };
        let delivery = self.executor.delivery.fact(&key, &job.manifest);
        let unfit = self.health.refusal();
        let decision = decide(&JobFacts {
            kind: job.kind,
            state: &assignment.state,
            ballot: job.ballot,
            max_duration_ms: assignment.max_duration_ms,
            now_ms: clock.active_time_ms,
            epoch_duration_ms: clock.epoch_duration_ms,
            container: fact,
            delivery,
            unfit: unfit.as_deref(),
            notes,
        });
        let decision = Self::allowed(decision, &loaded);
        let mut status = self.describe(id, assigned, fact, notes, &decision);
        if let Some(error) = &loaded.unreadable {
            status.problem = Some(error.clone());
        } else if status.problem.is_none() && !fact.has_begun() {
            status.problem = delivery.problem().map(str::to_owned);
        }
        if !is_ended {
            self.open_notes.insert(id, fingerprint.to_owned());
        }

        if let Some(step_under_way) = self.busy.get(&id) {
            // A step still under way, such as a pull, would finish too late.
            if decision == Decision::Decline(AbandonCause::NotInTime) {
                step_under_way.cancel();
            }
            return status;
        }
        let is_paused = self.retries.get(&id).is_some_and(|retry| {
            let holds_up = retry.is_urgent || !decision.is_urgent();
            holds_up && retry.pause_until.is_some_and(|until| Instant::now() < until)
        });
        let waits =
            self.is_missed_briefly(id, &decision, notes) || is_paused || self.was_just_sent(id, &decision);
        if decision != Decision::Wait && !waits {
            let start_within_ms = match assignment.state {
                AssignmentState::Starting { deadline_ms, .. } => {
                    Some(deadline_ms.saturating_sub(clock.active_time_ms.saturating_add(START_MARGIN_MS)))
                }
                _ => None,
            };
            self.set_going(
                decision,
                StepContext {
                    id,
                    job: job.clone(),
                    notes: loaded.notes,
                    container: found.map(|container| container.id.clone()),
                    price_per_slot_hour: assignment.price_per_slot_hour,
                    max_duration_ms: assignment.max_duration_ms,
                    start_within_ms,
                    is_late_decline: decision::is_late_decline(&assignment.state, clock.active_time_ms),
                },
                matches!(assignment.state, AssignmentState::Running { .. }),
            );
        }
        status
    }

    fn set_going(&mut self, decision: Decision, context: StepContext, runs: bool) {
        let job = context.id;
        match &decision {
            Decision::Decline(cause) if context.is_late_decline => tracing::warn!(
                job,
                %cause,
                "declining the job late: a fifth of the start window is over, so its consumer pays for the rest"
            ),
            Decision::Decline(cause) => {
                tracing::warn!(job, %cause, "declining the job, which costs nothing")
            }
            Decision::Abandon(cause) => tracing::warn!(
                job,
                %cause,
                "giving up a running job: a task is not paid, a service loses its hold-back, and the machine's record counts it"
            ),
            Decision::ReplaceContainer(cause) => tracing::warn!(
                job,
                %cause,
                restarts = context.notes.restarts,
                at_most = MAX_RESTARTS,
                "the job's container is lost; creating another from its image"
            ),
            Decision::UnpauseContainer => {
                tracing::warn!(job, "the job's container was paused from outside; resuming it")
            }
            Decision::ReportWorkloadEnded => tracing::warn!(
                job,
                "the service's container keeps ending; reporting to the chain that it ended by itself"
            ),
            other => tracing::info!(job, step = other.name(), "next step of the job"),
        }
        let executor = self.executor.clone();
        let broken_off = CancellationToken::new();
        self.busy.insert(job, broken_off.clone());
        let report = async move {
            let step = async {
                tokio::select! {
                    outcome = executor.carry_out(&decision, &context) => outcome,
                    () = broken_off.cancelled(), if decision.is_of_container() => Err(StepError::NotInTime),
                }
            };
            let outcome = AssertUnwindSafe(step)
                .catch_unwind()
                .await
                .unwrap_or_else(broke_off);
            StepReport {
                job,
                decision: Some(decision),
                runs,
                outcome,
            }
        };
        self.steps.spawn(report.in_current_span());
    }

    /// Returns true while a container that had started has been lost for too short a time to act on it.
    ///
    /// An engine that is just starting may list the container again, and the job must not run twice at once;
    /// an engine that is being stopped takes some time. The pause doubles with each loss, and the last one
    /// ends with giving up the job.
    fn is_missed_briefly(&mut self, id: u64, decision: &Decision, notes: &JobNotes) -> bool {
        let (Decision::ReplaceContainer(cause)
        | Decision::Decline(AbandonCause::ContainerLost(cause))
        | Decision::Abandon(AbandonCause::ContainerLost(cause))) = decision
        else {
            self.missing_since.remove(&id);
            return false;
        };
        let since = *self.missing_since.entry(id).or_insert_with(Instant::now);
        let pause = STEP_BACKOFF.delay(notes.restarts);
        since.elapsed()
            < match cause {
                LossCause::Stuck => pause.max(STUCK_AFTER),
                _ => pause,
            }
    }

    /// Resets a service's restart count once its container has stayed up for [`STABLE_RUN`].
    fn forgive_after_stable_run(
        &mut self,
        id: u64,
        kind: JobKind,
        fact: ContainerFact,
        notes: &mut JobNotes,
    ) {
        if fact != ContainerFact::Running {
            self.up_since.remove(&id);
            return;
        }
        let since = *self.up_since.entry(id).or_insert_with(Instant::now);
        let is_forgiven = kind == JobKind::Service && since.elapsed() >= STABLE_RUN;
        if notes.restarts > 0 && is_forgiven && !self.busy.contains_key(&id) {
            notes.restarts = 0;
            if let Err(error) = self.executor.store.write_notes(id, notes) {
                tracing::warn!(job = id, %error, "resetting the restart count of a stable service failed; trying again later");
                self.up_since.insert(id, Instant::now());
            }
        }
    }

    fn take_note(&mut self, report: StepReport) -> Result<(), ChainError> {
        let StepReport {
            job,
            decision,
            runs,
            outcome,
        } = report;
        self.busy.remove(&job);
        let step = decision.as_ref().map_or("clear_away", Decision::name);
        let Err(error) = outcome else {
            self.metrics.steps.with_label_values(&[step]).inc();
            self.step_succeeded(job, decision.as_ref());
            return Ok(());
        };
        self.metrics.step_failures.with_label_values(&[step]).inc();
        if let StepError::Chain(error) = error {
            if error.is_connection_lost() {
                return Err(error);
            }
            // The chain refused a call that was decided on an outdated view.
            self.view = None;
            let is_urgent = decision.as_ref().is_some_and(Decision::is_urgent);
            self.pause(job, step, is_urgent, error.to_string());
            return Ok(());
        }
        if matches!(error, StepError::NotInTime) {
            return Ok(());
        }
        let is_urgent = decision.as_ref().is_some_and(Decision::is_urgent);
        let retry = self.retries.entry(job).or_default();
        let is_container_step = decision.as_ref().is_some_and(Decision::starts_container);
        let refusal = match &error {
            StepError::Refused(reason) => Some(reason.clone()),
            // Another attempt would most likely panic again.
            StepError::Panicked(_) if is_container_step && !runs => Some(error.to_string()),
            StepError::Engine(engine_error @ EngineError::Refused { .. }) if is_container_step => {
                Some(engine_error.to_string())
            }
            // A running job whose manifest cannot be used any more has the same time: its consumer may
            // deliver it again.
            StepError::Engine(EngineError::Failed { .. }) | StepError::Delivery(_) if is_container_step => {
                retry.engine_failures += 1;
                let at_most = if runs {
                    MAX_ENGINE_FAILURES_RUNNING
                } else {
                    MAX_ENGINE_FAILURES
                };
                (retry.engine_failures >= at_most).then(|| error.to_string())
            }
            _ => None,
        };
        match refusal {
            Some(reason) => self.note_refusal(job, reason),
            None => self.pause(job, step, is_urgent, error.to_string()),
        }
        Ok(())
    }

    fn step_succeeded(&mut self, job: u64, decision: Option<&Decision>) {
        self.retries.remove(&job);
        match decision {
            Some(Decision::RestartContainer) => {
                let restarts = self.stored_restarts(job);
                let retry = self.retries.entry(job).or_default();
                retry.pause_until = Some(Instant::now() + STEP_BACKOFF.delay(restarts));
            }
            Some(
                Decision::ReportStart
                | Decision::SubmitResult(_)
                | Decision::SubmitAttestedResult(_)
                | Decision::CommitResult { .. }
                | Decision::RevealResult { .. }
                | Decision::Resolve
                | Decision::Settle
                | Decision::Expire
                | Decision::Decline(_)
                | Decision::Abandon(_)
                | Decision::ReportWorkloadEnded,
            ) => {
                tracing::info!(job, step = decision.map(Decision::name), "the step is on chain");
                self.view = None;
                if let Some(decision) = decision {
                    self.note_sent(job, decision);
                }
            }
            _ => (),
        }
    }

    fn stored_restarts(&self, job: u64) -> u32 {
        self.executor
            .store
            .stored_notes(job)
            .ok()
            .flatten()
            .map_or(0, |notes| notes.restarts)
    }

    /// Writes to the notes that a job cannot run, so that the job is given up even after a restart.
    fn note_refusal(&mut self, job: u64, reason: String) {
        let store = &self.executor.store;
        let written = store.stored_notes(job).and_then(|notes| {
            let fingerprint = self.open_notes.get(&job).cloned().unwrap_or_default();
            let notes = notes.unwrap_or(JobNotes {
                fingerprint,
                ..JobNotes::default()
            });
            store.write_notes(
                job,
                &JobNotes {
                    refused: Some(reason.clone()),
                    ..notes
                },
            )
        });
        match written {
            Ok(()) => tracing::warn!(job, reason, "the job cannot be run"),
            Err(error) => {
                self.retries.entry(job).or_default().refused = Some(reason);
                self.pause(job, "refuse", false, error.to_string());
            }
        }
    }

    fn pause(&mut self, job: u64, step: &str, is_urgent: bool, problem: String) {
        let retry = self.retries.entry(job).or_default();
        let pause = if is_urgent {
            URGENT_PAUSE
        } else {
            STEP_BACKOFF.delay(retry.failures)
        };
        retry.is_urgent = is_urgent;
        retry.failures = retry.failures.saturating_add(1);
        retry.pause_until = Some(Instant::now() + pause);
        tracing::warn!(
            job,
            step,
            problem,
            again_in_seconds = pause.as_secs(),
            "the step failed"
        );
        retry.problem = Some(problem);
    }
}

/// Converts the panic of a step into an error: the supervisor retries the job as after any failure, and other
/// jobs go on.
fn broke_off(panic: Box<dyn Any + Send>) -> Result<(), StepError> {
    Err(StepError::Panicked(panic_text(&*panic)))
}
