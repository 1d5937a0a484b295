//! The chain as the worker uses it once its machine is registered.
//!
//! Each use has a trait of its own, so that a test's chain implements only the methods that the tested code
//! calls.

use std::{future::Future, sync::Arc, time::Duration};

use assay_client::{
    ChainClient, Error, Keypair, Submitted, calls,
    events::AssayEvent,
    types::{Assignment, Clock, Job, ManifestRef, SuspensionCause},
};
use assay_primitives::money::Balance;
use futures::future::try_join_all;
use tokio::sync::Mutex;

/// Timeout of one query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout from submitting a transaction to a best block that includes it: twenty slots.
pub(crate) const INCLUSION_TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout from submitting a transaction to its finality, for calls that wait for it.
const FINALITY_TIMEOUT: Duration = Duration::from_secs(180);

/// Number of jobs that are read from the node at once. One after the other, the jobs of a machine with many
/// slots would take longer than a block.
const JOBS_READ_AT_ONCE: usize = 16;

/// The best block's number and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the best block.
    pub best_block: u64,
    /// Active time and epoch at that block.
    pub clock: Clock,
}

/// A job, and its assignment to this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedJob {
    /// The job on chain.
    pub job: Job,
    /// The assignment to this machine.
    pub assignment: Assignment,
}

/// Calls that the worker key signs for jobs and rewards. Calls for the machine's evidence go through
/// [`ConnectedChain::submit_call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerCall {
    /// Report that the job runs.
    Start {
        /// Number of the job.
        job: u64,
    },
    /// Submit the task's result.
    SubmitResult {
        /// Number of the job.
        job: u64,
        /// Hash of the result document.
        result_hash: [u8; 32],
    },
    /// Submit the result of the attested task, signed by the machine.
    SubmitAttestedResult {
        /// Number of the job.
        job: u64,
        /// Hash of the result document.
        result_hash: [u8; 32],
        /// Signature of the worker key over the statement of what ran and of its result.
        signature: [u8; 64],
    },
    /// Commit to the replica's result.
    CommitResult {
        /// Number of the job.
        job: u64,
        /// Hash of the result and the salt.
        commitment: [u8; 32],
    },
    /// Reveal the replica's result.
    RevealResult {
        /// Number of the job.
        job: u64,
        /// Hash of the result document.
        result_hash: [u8; 32],
        /// Salt of the commitment.
        salt: [u8; 32],
    },
    /// Count the replicas' results.
    Resolve {
        /// Number of the job.
        job: u64,
    },
    /// Pay the amount due.
    Settle {
        /// Number of the job.
        job: u64,
        /// Number of the machine.
        machine: u64,
    },
    /// Close the job, whose time is over.
    Expire {
        /// Number of the job.
        job: u64,
        /// Number of the machine.
        machine: u64,
    },
    /// Accept an open order.
    AcceptRequest {
        /// Number of the job.
        job: u64,
        /// Number of the machine.
        machine: u64,
    },
    /// Decline the job.
    Decline {
        /// Number of the job.
        job: u64,
        /// Number of the machine.
        machine: u64,
        /// True if no sealed manifest was delivered.
        not_delivered: bool,
    },
    /// Give up the running job.
    Abandon {
        /// Number of the job.
        job: u64,
        /// Number of the machine.
        machine: u64,
    },
    /// Report that the service's container repeatedly ended by itself.
    ReportWorkloadEnded {
        /// Number of the job.
        job: u64,
    },
    /// Take a machine that is too hot or broken out of the market.
    Suspend {
        /// Number of the machine.
        machine: u64,
        /// Cause.
        cause: SuspensionCause,
    },
    /// Bring a machine that missed a start, or was too hot or broken, back into the market.
    Resume {
        /// Number of the machine.
        machine: u64,
    },
    /// Pay the machine's rewards of ended epochs.
    Payout {
        /// Number of the machine.
        machine: u64,
        /// Maximum number of epochs to pay at once.
        max_epochs: u32,
    },
}

impl From<WorkerCall> for calls::Call {
    fn from(call: WorkerCall) -> Self {
        match call {
            WorkerCall::Start { job } => calls::start(job),
            WorkerCall::SubmitResult { job, result_hash } => calls::submit_result(job, result_hash),
            WorkerCall::SubmitAttestedResult {
                job,
                result_hash,
                signature,
            } => calls::submit_attested_result(job, result_hash, signature),
            WorkerCall::CommitResult { job, commitment } => calls::commit_result(job, commitment),
            WorkerCall::RevealResult {
                job,
                result_hash,
                salt,
            } => calls::reveal_result(job, result_hash, salt),
            WorkerCall::Resolve { job } => calls::resolve(job),
            WorkerCall::Settle { job, machine } => calls::settle(job, machine),
            WorkerCall::Expire { job, machine } => calls::expire(job, machine),
            WorkerCall::AcceptRequest { job, machine } => calls::accept_request(job, machine),
            WorkerCall::Decline {
                job,
                machine,
                not_delivered,
            } => calls::decline(job, machine, not_delivered),
            WorkerCall::Abandon { job, machine } => calls::abandon(job, machine),
            WorkerCall::ReportWorkloadEnded { job } => calls::report_workload_ended(job),
            WorkerCall::Suspend { machine, cause } => calls::suspend_self(machine, cause),
            WorkerCall::Resume { machine } => calls::resume(machine),
            WorkerCall::Payout { machine, max_epochs } => calls::payout(machine, max_epochs),
        }
    }
}

impl WorkerCall {
    /// Returns true if the call counts only once it is finalized. All other calls are urgent, or their
    /// reversal shows in the state and is decided on again.
    fn counts_when_final(&self) -> bool {
        matches!(self, Self::Payout { .. })
    }
}

/// Reads the supervisor's inputs, at the best block unless a method's documentation names another.
pub trait JobReader: Send + Sync + 'static {
    /// Returns the best block's number and time.
    fn head(&self) -> impl Future<Output = Result<Head, Error>> + Send;

    /// Returns the jobs that are assigned to a machine.
    fn open_jobs(&self, machine: u64) -> impl Future<Output = Result<Vec<(u64, AssignedJob)>, Error>> + Send;

    /// Returns the jobs that are assigned to a machine by the newest finalized block.
    fn final_jobs(&self, machine: u64)
    -> impl Future<Output = Result<Vec<(u64, AssignedJob)>, Error>> + Send;

    /// Returns the bytes of a manifest; `None` if it is not on chain.
    fn manifest_bytes(
        &self,
        manifest: &ManifestRef,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Error>> + Send;

    /// Returns true if a machine has fresh evidence with which it can attest results.
    fn is_attested(&self, machine: u64) -> impl Future<Output = Result<bool, Error>> + Send;
}

/// Estimates the fees of the worker key's calls.
pub trait FeeEstimator: Send + Sync + 'static {
    /// Returns the fee that the chain would charge for a call of the worker key now, in plancks.
    fn fee(&self, call: WorkerCall) -> impl Future<Output = Result<Balance, Error>> + Send;
}

/// Signs messages with the worker key, apart from any transaction.
pub trait MessageSigner: Send + Sync + 'static {
    /// Returns the worker key's signature of a message.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// Submits the worker key's calls.
pub trait CallSubmitter: Send + Sync + 'static {
    /// Signs a call with the worker key, submits it, waits until a block of the best chain includes it, and
    /// returns its events. That block may be replaced, so callers read the effect off the state of later
    /// blocks. A call that pays is waited for until it is finalized.
    fn send(&self, call: WorkerCall) -> impl Future<Output = Result<Vec<AssayEvent>, Error>> + Send;
}

/// The chain as the supervisor uses it: all of the above.
pub trait WorkerChain: JobReader + FeeEstimator + MessageSigner + CallSubmitter + Clone {}

impl<T: JobReader + FeeEstimator + MessageSigner + CallSubmitter + Clone> WorkerChain for T {}

/// A connection to a node, with the worker key.
#[derive(Clone)]
pub struct ConnectedChain {
    client: ChainClient,
    worker: Keypair,
    lane: Arc<Mutex<()>>,
}

impl ConnectedChain {
    /// Creates a chain from a connection and a worker key.
    pub fn new(client: ChainClient, worker: Keypair) -> Self {
        Self {
            client,
            worker,
            lane: Arc::default(),
        }
    }

    /// Returns the worker key.
    pub fn worker(&self) -> &Keypair {
        &self.worker
    }

    /// Returns the connection.
    pub fn client(&self) -> &ChainClient {
        &self.client
    }

    /// Signs a call with the worker key, submits it, waits until it is finalized, and returns its events.
    pub async fn submit_call(&self, call: calls::Call) -> Result<Vec<AssayEvent>, Error> {
        let mut submitted = submit_in_lane(&self.client, call, &self.worker, &self.lane).await?;
        Ok(submitted.finalized(FINALITY_TIMEOUT).await?.events)
    }

    /// Submits like [`Self::submit_call`], for callers that read the call's effect from the state: succeeds
    /// even if the call is not finalized in time, as during a stall of finality.
    pub async fn submit_and_settle(&self, call: calls::Call) -> Result<(), Error> {
        match self.submit_call(call).await {
            Ok(_) | Err(Error::Undecided { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Returns the jobs that are assigned to a machine, all at the block that the client reads.
async fn jobs_at(client: &ChainClient, machine: u64) -> Result<Vec<(u64, AssignedJob)>, Error> {
    let ids = client.jobs_of_machine(machine).await?;
    let mut jobs = Vec::with_capacity(ids.len());
    for some in ids.chunks(JOBS_READ_AT_ONCE) {
        let read = try_join_all(some.iter().copied().map(|id| job_at(client, id, machine))).await?;
        jobs.extend(read.into_iter().flatten());
    }
    Ok(jobs)
}

/// Returns a job with its assignment to a machine; `None` if the machine has no part in it.
async fn job_at(client: &ChainClient, id: u64, machine: u64) -> Result<Option<(u64, AssignedJob)>, Error> {
    let (job, assignment) = tokio::try_join!(client.job(id), client.assignment(id, machine))?;
    let assigned = job
        .zip(assignment)
        .map(|(job, assignment)| AssignedJob { job, assignment });
    Ok(assigned.map(|assigned| (id, assigned)))
}

impl JobReader for ConnectedChain {
    async fn head(&self) -> Result<Head, Error> {
        bounded(async {
            let best = self.client.best_block().await?;
            Ok(Head {
                best_block: best.number,
                clock: self.client.at(&best).await?.clock().await?,
            })
        })
        .await
    }

    async fn open_jobs(&self, machine: u64) -> Result<Vec<(u64, AssignedJob)>, Error> {
        bounded(async {
            let best = self.client.best_block().await?;
            jobs_at(&self.client.at(&best).await?, machine).await
        })
        .await
    }

    async fn final_jobs(&self, machine: u64) -> Result<Vec<(u64, AssignedJob)>, Error> {
        bounded(async {
            let finalized = self.client.finalized_block().await?;
            jobs_at(&self.client.at(&finalized).await?, machine).await
        })
        .await
    }

    async fn manifest_bytes(&self, manifest: &ManifestRef) -> Result<Option<Vec<u8>>, Error> {
        bounded(self.client.manifest_bytes(manifest)).await
    }

    async fn is_attested(&self, machine: u64) -> Result<bool, Error> {
        let view = bounded(self.client.machine_view(machine)).await?;
        Ok(view.is_some_and(|view| view.tee_kinds.has_processor()))
    }
}

impl FeeEstimator for ConnectedChain {
    async fn fee(&self, call: WorkerCall) -> Result<Balance, Error> {
        bounded(self.client.fee(call.into(), &self.worker)).await
    }
}

impl MessageSigner for ConnectedChain {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.worker.sign(message).0
    }
}

impl CallSubmitter for ConnectedChain {
    async fn send(&self, call: WorkerCall) -> Result<Vec<AssayEvent>, Error> {
        if call.counts_when_final() {
            return self.submit_call(call.into()).await;
        }
        let mut submitted = submit_in_lane(&self.client, call.into(), &self.worker, &self.lane).await?;
        Ok(submitted.in_best_block(INCLUSION_TIMEOUT).await?.events)
    }
}

/// Limits a query's time: a node that does not answer counts as a lost connection.
pub async fn bounded<T>(question: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(QUERY_TIMEOUT, question)
        .await
        .unwrap_or_else(|_| Err(no_answer(QUERY_TIMEOUT)))
}

/// Submits a call once those before it are in the node's pool: the client submits one of an account at a
/// time, and the limit of a query's time must not count the wait for the others.
async fn submit_in_lane(
    client: &ChainClient,
    call: calls::Call,
    signer: &Keypair,
    lane: &Mutex<()>,
) -> Result<Submitted, Error> {
    let _turn = lane.lock().await;
    bounded(client.submit_and_watch(call, signer)).await
}

fn no_answer(limit: Duration) -> Error {
    Error::ConnectionLost {
        reason: format!("no answer within {} seconds", limit.as_secs()),
    }
}
