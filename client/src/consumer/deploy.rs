//! From an order to running containers.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use assay_primitives::money::Balance;
use tokio::time::Instant;

use super::{
    Consumer, ConsumerError, MachineChoice, OnProgress, Progress,
    deliver::deliver_to_all,
    quote::{machine_costs, order_call, public_bytes},
};
use crate::{
    calls,
    events::{AssayEvent, EscrowEvent},
    manifest::ImageReference,
    market::MachineView,
    order::OrderSpec,
    registry,
    sealing::PlainManifest,
    types::{AssignmentState, JobId, Manifest, ManifestRef, Outcome},
    worker_api::WorkerApiError,
};

/// Pause between two looks at the chain: one block.
const PAUSE: Duration = Duration::from_secs(3);

/// Longest wait for a worker's word on why it did not start a job.
const REASON_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of characters of a worker's reason that are shown.
const MAX_REASON_CHARS: usize = 300;

/// Choices of a deployment besides its order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeployOptions {
    /// Machines among which those of the job are chosen. When these failed and the order has attempts left,
    /// those of other providers are tried: only [`MachineChoice::Machines`] is never left.
    pub machines: MachineChoice,
    /// Longest wait until all containers run, from the order on; `None`: as long as the chain gives the
    /// machines. A job that is slower counts as failed.
    pub start_within: Option<Duration>,
    /// New file for the bytes of a sealed manifest, which only its owner can read. It is written before the
    /// order is submitted, so that [`Consumer::deliver`] can deliver them again after an interruption. A
    /// later attempt has a manifest of its own, which replaces them.
    pub keep: Option<PathBuf>,
    /// Returns when the order is final and its manifest delivered, instead of when the containers run: a
    /// machine that does not start the job is then neither noticed nor replaced.
    pub is_detached: bool,
}

/// A job that was ordered and runs.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The job.
    pub job: JobId,
    /// Hash of the transaction that ordered it.
    pub transaction: [u8; 32],
    /// The image, with the digest that the order has.
    pub image: ImageReference,
    /// Machines as the market showed them before the order.
    pub machines: Vec<MachineView>,
    /// Plancks that are held for the price at most.
    pub escrow: Balance,
    /// Bytes of a sealed manifest, by which it can be delivered again; secret.
    pub plain: Option<PlainManifest>,
}

impl Deployment {
    /// Returns the numbers of the machines.
    pub fn machine_ids(&self) -> Vec<u64> {
        self.machines.iter().map(|machine| machine.machine).collect()
    }
}

/// Manifest in the form in which machines get it.
enum Settings {
    /// Bytes to note on chain.
    Public(Vec<u8>),
    /// Bytes to seal to each machine.
    Sealed(PlainManifest),
}

impl Settings {
    fn on_chain(&self) -> Manifest {
        match self {
            Self::Public(bytes) => Manifest::Public(ManifestRef::of(bytes)),
            Self::Sealed(plain) => Manifest::Sealed {
                hash: plain.hash().into(),
            },
        }
    }
}

impl Consumer {
    /// Orders a job, delivers its manifest, and returns when its containers run on all machines, or have
    /// ended already.
    ///
    /// The image's tag is resolved once, so that every attempt runs the same image. A job that fails is
    /// closed before other machines are tried, without the providers of those that failed; what cannot be
    /// closed ends the deployment, so that nothing is paid twice. The transaction's hash is told before the
    /// wait for it.
    ///
    /// # Errors
    /// The order cannot be made or paid, no machine fits, or the containers did not start on any attempt.
    pub async fn deploy(
        &self,
        spec: &OrderSpec,
        options: &DeployOptions,
        on_progress: OnProgress<'_>,
    ) -> Result<Deployment, ConsumerError> {
        spec.check()?;
        let image = registry::resolve(&spec.image, spec.container.registry.as_ref()).await?;
        on_progress(Progress::Resolved { image: image.clone() });
        let attempts = spec.retry.attempts;
        let mut excluded: BTreeSet<[u8; 32]> = BTreeSet::new();
        let mut choice = options.machines.clone();
        let mut attempt = 1;
        let mut failed_before: Option<String> = None;
        loop {
            let machines = match (self.choose(spec, &choice, &excluded).await, &failed_before) {
                (Err(ConsumerError::NothingFits { reason }), Some(before)) => {
                    return Err(ConsumerError::NothingFits {
                        reason: format!("{reason}, besides those that failed ({before})"),
                    });
                }
                (chosen, _) => chosen?,
            };
            let outcome = self
                .attempt(spec, &image, &machines, options, attempt, on_progress)
                .await;
            let failure = match outcome {
                Ok(deployment) => return Ok(deployment),
                Err(failure) => failure,
            };
            let is_bound = matches!(choice, MachineChoice::Machines(_));
            if attempt >= attempts || is_bound || !failure.error.may_succeed_elsewhere() {
                return Err(*failure.error);
            }
            let to_blame = |machine: &&MachineView| {
                failure.machines.is_empty() || failure.machines.contains(&machine.machine)
            };
            excluded.extend(machines.iter().filter(to_blame).map(|machine| machine.provider.0));
            if let MachineChoice::Provider(provider) = &choice
                && excluded.contains(&provider.0)
            {
                choice = MachineChoice::Anywhere;
            }
            attempt = attempt.saturating_add(1);
            let reason = failure.error.to_string();
            on_progress(Progress::Retrying {
                attempt,
                of: attempts,
                reason: reason.clone(),
            });
            failed_before = Some(reason);
        }
    }

    /// Orders the job on these machines, and sees it start. `attempt`: its number, counted from one.
    async fn attempt(
        &self,
        spec: &OrderSpec,
        image: &ImageReference,
        machines: &[MachineView],
        options: &DeployOptions,
        attempt: u8,
        on_progress: OnProgress<'_>,
    ) -> Result<Deployment, Failure> {
        let (_, escrow) = machine_costs(spec, machines)?;
        self.ensure_affordable(escrow).await?;
        on_progress(Progress::Chosen {
            machines: machines.iter().map(|machine| machine.machine).collect(),
            escrow,
        });
        let settings = match public_bytes(spec, image)? {
            Some(bytes) => Settings::Public(bytes),
            None => {
                let manifest = spec.manifest(image.clone()).map_err(ConsumerError::from)?;
                let plain = PlainManifest::new(&manifest).map_err(ConsumerError::from)?;
                if let Some(path) = &options.keep {
                    keep(&plain, path, attempt > 1)?;
                }
                Settings::Sealed(plain)
            }
        };
        let (job, transaction) = self.order(spec, image, machines, &settings, on_progress).await?;
        let started = self.start(job, machines, &settings, options, on_progress).await;
        match started {
            Ok(()) => (),
            // The job may well start: the way to the chain broke, and not the job.
            Err(failure) if matches!(*failure.error, ConsumerError::Chain(_)) => return Err(failure),
            Err(failure) => return Err(self.give_up(job, failure, on_progress).await),
        }
        Ok(Deployment {
            job,
            transaction,
            image: image.clone(),
            machines: machines.to_vec(),
            escrow,
            plain: match settings {
                Settings::Public(_) => None,
                Settings::Sealed(plain) => Some(plain),
            },
        })
    }

    /// Fails where the account has less than the order holds: before anything is signed.
    async fn ensure_affordable(&self, escrow: Balance) -> Result<(), ConsumerError> {
        let account = self.account();
        let balance = self.client.balance(&account.0).await?;
        let free = balance.free.saturating_sub(balance.frozen);
        if free <= escrow {
            return Err(ConsumerError::Short {
                account,
                needed: escrow,
                free,
            });
        }
        Ok(())
    }

    /// Places the order, and returns the job and the transaction when it is final.
    async fn order(
        &self,
        spec: &OrderSpec,
        image: &ImageReference,
        machines: &[MachineView],
        settings: &Settings,
        on_progress: OnProgress<'_>,
    ) -> Result<(JobId, [u8; 32]), ConsumerError> {
        let order = order_call(spec, settings.on_chain(), image, machines);
        let call = match settings {
            Settings::Public(bytes) => self.client.order_of_public(order, bytes, &self.account()).await?,
            Settings::Sealed(_) => order,
        };
        let mut submitted = self.client.submit_and_watch(call, &self.keypair).await?;
        let transaction = submitted.hash();
        on_progress(Progress::Submitted { transaction });
        let included = submitted.finalized(self.finality_timeout).await?;
        let job = included.events.iter().find_map(|event| match event {
            AssayEvent::JobEscrow(EscrowEvent::JobOrdered { job, .. }) => Some(*job),
            _ => None,
        });
        let job = job.ok_or_else(|| ConsumerError::NoJob {
            transaction: hex::encode(transaction),
        })?;
        on_progress(Progress::Ordered {
            job,
            block_number: included.block_number,
        });
        Ok((job, transaction))
    }

    /// Delivers the manifest, and waits until all machines have started, unless the options say otherwise.
    async fn start(
        &self,
        job: JobId,
        machines: &[MachineView],
        settings: &Settings,
        options: &DeployOptions,
        on_progress: OnProgress<'_>,
    ) -> Result<(), Failure> {
        let deadline = options
            .start_within
            .and_then(|within| Some((within, Instant::now().checked_add(within)?)));
        let starting = async {
            if let Settings::Sealed(plain) = settings {
                let outcomes = deliver_to_all(&self.client, job, plain, on_progress).await?;
                // A machine that could not take it is named with the worker's reason, and those that started
                // meanwhile are not to blame.
                let failed: Vec<_> = outcomes
                    .into_iter()
                    .filter_map(|(machine, outcome)| Some((machine, outcome.err()?.to_string())))
                    .collect();
                if !failed.is_empty() {
                    return Err(Failure::of_machines(job, failed));
                }
            }
            if options.is_detached {
                return Ok(());
            }
            self.until_started(job, machines, on_progress).await
        };
        let Some((within, at)) = deadline else {
            return starting.await;
        };
        match tokio::time::timeout_at(at, starting).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let reason = format!("it did not start within {} seconds", within.as_secs());
                let mut waiting = self.waiting(job).await;
                if waiting.is_empty() {
                    // The chain did not answer: none can be told from the others.
                    waiting = machines.iter().map(|machine| machine.machine).collect();
                }
                let failed = waiting
                    .into_iter()
                    .map(|machine| (machine, reason.clone()))
                    .collect();
                Err(Failure::of_machines(job, failed))
            }
        }
    }

    /// Machines that have not started the job, as far as the chain answers.
    async fn waiting(&self, job: JobId) -> Vec<u64> {
        let assignments = self.client.assignments(job).await.unwrap_or_default();
        assignments
            .into_iter()
            .filter(|(_, assignment)| matches!(assignment.state, AssignmentState::Starting { .. }))
            .map(|(machine, _)| machine)
            .collect()
    }

    async fn until_started(
        &self,
        job: JobId,
        machines: &[MachineView],
        on_progress: OnProgress<'_>,
    ) -> Result<(), Failure> {
        let of = u8::try_from(machines.len()).unwrap_or(u8::MAX);
        let mut started: BTreeSet<u64> = BTreeSet::new();
        loop {
            let now_ms = self
                .client
                .clock()
                .await
                .map_err(ConsumerError::from)?
                .active_time_ms;
            let assignments = self.client.assignments(job).await.map_err(ConsumerError::from)?;
            let mut failed = Vec::new();
            for MachineView { machine, .. } in machines {
                if started.contains(machine) {
                    continue;
                }
                let state = assignments
                    .iter()
                    .find(|(id, _)| id == machine)
                    .map(|(_, assignment)| assignment.state);
                match stand(state, now_ms) {
                    Stand::Waiting => (),
                    Stand::Started => {
                        started.insert(*machine);
                        on_progress(Progress::Started {
                            job,
                            machine: *machine,
                            started: u8::try_from(started.len()).unwrap_or(u8::MAX),
                            of,
                        });
                    }
                    Stand::Failed(reason) => {
                        let word = self.word_of_worker(job, *machine).await;
                        let reason = match word {
                            Some(word) => format!("{reason}: {word}"),
                            None => reason,
                        };
                        failed.push((*machine, reason));
                    }
                }
            }
            if !failed.is_empty() {
                return Err(Failure::of_machines(job, failed));
            }
            if started.len() == machines.len() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns a worker's own reason why a job did not start, if it answers soon.
    async fn word_of_worker(&self, job: JobId, machine: u64) -> Option<String> {
        let asking = async {
            let access = self.access(job, Some(machine)).await.ok()?;
            let session = access.log_in().await.ok()?;
            let status: Result<serde_json::Value, WorkerApiError> = session.status().await;
            access.log_out(session).await;
            let status = status.ok()?;
            [&status["notes"]["refused"], &status["open"]["problem"]]
                .into_iter()
                .find_map(|reason| reason.as_str())
                .map(|reason| {
                    let shown = |character: char| if character.is_control() { ' ' } else { character };
                    reason.chars().take(MAX_REASON_CHARS).map(shown).collect()
                })
        };
        tokio::time::timeout(REASON_TIMEOUT, asking).await.ok().flatten()
    }

    /// Closes a job that failed, and returns the failure with what became of the job.
    async fn give_up(&self, job: JobId, failure: Failure, on_progress: OnProgress<'_>) -> Failure {
        on_progress(Progress::Failed {
            job,
            reason: failure.error.to_string(),
        });
        let is_gone = self.close_for_good(job).await;
        let reason = match *failure.error {
            ConsumerError::NotStarted { reason, .. } => reason,
            other => other.to_string(),
        };
        Failure {
            error: Box::new(ConsumerError::NotStarted {
                job,
                reason,
                is_closed: is_gone,
            }),
            machines: failure.machines,
        }
    }

    /// Closes a job. Returns true if no machine runs it, or will, any more.
    async fn close_for_good(&self, job: JobId) -> bool {
        let closed = async {
            let mut submitted = self
                .client
                .submit_and_watch(calls::close(job), &self.keypair)
                .await?;
            submitted.finalized(self.finality_timeout).await
        };
        if let Err(error) = closed.await {
            // It may have nothing left to close: the state decides.
            tracing::debug!(job, %error, "closing a job that failed");
        }
        match self.client.assignments(job).await {
            Ok(assignments) => assignments
                .iter()
                .all(|(_, assignment)| matches!(assignment.state, AssignmentState::Ended { .. })),
            Err(_) => false,
        }
    }
}

/// Keeps the bytes of a sealed manifest in a file.
fn keep(plain: &PlainManifest, path: &Path, may_replace: bool) -> Result<(), ConsumerError> {
    plain.keep(path, may_replace).map_err(|error| {
        let reason = format!(
            "the manifest cannot be kept in {}: {error}; name a new file in a folder that can be written",
            path.display()
        );
        ConsumerError::Files(io::Error::new(error.kind(), reason))
    })
}

/// Stand of a machine's assignment of a job that is to start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stand {
    Waiting,
    Started,
    Failed(String),
}

/// Returns the stand of an assignment; `state` is `None` where the machine has none any more.
pub(super) fn stand(state: Option<AssignmentState>, now_ms: u64) -> Stand {
    match state {
        None => Stand::Failed("it gave the job back".to_owned()),
        Some(AssignmentState::Starting { deadline_ms, .. }) if now_ms > deadline_ms => {
            Stand::Failed("it neither started nor declined in time".to_owned())
        }
        Some(AssignmentState::Starting { .. }) => Stand::Waiting,
        Some(AssignmentState::Ended { outcome, .. }) => match outcome {
            // They ran: what became of them is for those who wait for the end.
            Outcome::Completed | Outcome::Expired | Outcome::ClosedByConsumer | Outcome::WorkloadEnded => {
                Stand::Started
            }
            other => Stand::Failed(other.to_string()),
        },
        Some(_) => Stand::Started,
    }
}

/// An attempt that failed, and the machines to blame; none: all of them.
struct Failure {
    error: Box<ConsumerError>,
    machines: Vec<u64>,
}

impl Failure {
    fn of_machines(job: JobId, failed: Vec<(u64, String)>) -> Self {
        let reasons: Vec<_> = failed
            .iter()
            .map(|(machine, reason)| format!("machine {machine}: {reason}"))
            .collect();
        Self {
            error: Box::new(ConsumerError::NotStarted {
                job,
                reason: reasons.join("; "),
                is_closed: false,
            }),
            machines: failed.into_iter().map(|(machine, _)| machine).collect(),
        }
    }
}

impl From<ConsumerError> for Failure {
    fn from(error: ConsumerError) -> Self {
        Self {
            error: Box::new(error),
            machines: Vec::new(),
        }
    }
}
