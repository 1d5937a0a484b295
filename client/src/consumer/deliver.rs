//! Delivery of a sealed manifest to the machines of a job, again and again until each takes it.

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};

use super::{Consumer, ConsumerError, OnProgress, Progress};
use crate::{
    ChainClient,
    delivery::{self, Delivery},
    sealing::{PlainManifest, Receipt, SealContext},
    types::{AssignmentState, JobId, Manifest},
};

/// Pause between two attempts to deliver to a machine: one block.
const PAUSE: Duration = Duration::from_secs(3);

/// Time for which a machine that already runs the job is tried.
const PATIENCE_WITH_RUNNING: Duration = Duration::from_secs(60);

/// Outcome of a delivery to one machine.
pub(super) type Delivered = (u64, Result<Receipt, ConsumerError>);

impl Consumer {
    /// Delivers a sealed manifest to every machine that has the job, and returns the receipts, which are
    /// verified. A machine whose keys were rotated needs it again.
    ///
    /// # Errors
    /// The manifest is not that of the job, or a machine did not take it, once all have been tried.
    pub async fn deliver(
        &self,
        job: JobId,
        plain: &PlainManifest,
        on_progress: OnProgress<'_>,
    ) -> Result<Vec<Receipt>, ConsumerError> {
        deliver_manifest(&self.client, job, plain, on_progress).await
    }
}

/// Delivers a sealed manifest like [`Consumer::deliver`]: nothing is signed for that.
///
/// # Errors
/// As for [`Consumer::deliver`].
pub async fn deliver_manifest(
    client: &ChainClient,
    job: JobId,
    plain: &PlainManifest,
    on_progress: OnProgress<'_>,
) -> Result<Vec<Receipt>, ConsumerError> {
    let record = client.job(job).await?.ok_or(ConsumerError::NoSuchJob { job })?;
    let other = |reason: &str| ConsumerError::OtherManifest {
        job,
        reason: reason.to_owned(),
    };
    match record.manifest {
        Manifest::Sealed { hash } if hash.0 == plain.hash() => (),
        Manifest::Sealed { .. } => {
            return Err(other("its hash is another one; take the file of this job"));
        }
        Manifest::Public(_) => return Err(other("that is public, and nothing has to be delivered")),
    }
    let (mut receipts, mut failures) = (Vec::new(), Vec::new());
    for (machine, outcome) in deliver_to_all(client, job, plain, on_progress).await? {
        match outcome {
            Ok(receipt) => receipts.push(receipt),
            Err(error) => failures.push(format!("machine {machine}: {error}")),
        }
    }
    if failures.is_empty() {
        return Ok(receipts);
    }
    Err(ConsumerError::NotDelivered {
        job,
        reason: failures.join("; "),
    })
}

/// Delivers a manifest to every machine that has the job, all at once.
pub(super) async fn deliver_to_all(
    client: &ChainClient,
    job: JobId,
    plain: &PlainManifest,
    on_progress: OnProgress<'_>,
) -> Result<Vec<Delivered>, ConsumerError> {
    // Dropped with this future: who is interrupted delivers no more.
    let mut deliveries = JoinSet::new();
    for (machine, _) in client.assignments(job).await? {
        let (client, plain) = (client.clone(), plain.clone());
        deliveries.spawn(async move { (machine, deliver_to(&client, job, machine, &plain).await) });
    }
    if deliveries.is_empty() {
        return Err(ConsumerError::NoMachine { job });
    }
    let mut outcomes = Vec::new();
    while let Some(ended) = deliveries.join_next().await {
        // A task that panicked counts as one that failed.
        let Ok((machine, outcome)) = ended else {
            return Err(ConsumerError::NoMachine { job });
        };
        if let Ok(receipt) = &outcome {
            on_progress(Progress::Delivered {
                job,
                machine,
                receipt: *receipt,
            });
        }
        outcomes.push((machine, outcome));
    }
    Ok(outcomes)
}

/// Delivers a manifest to one machine, until it takes it or its start window ends.
async fn deliver_to(
    client: &ChainClient,
    job: JobId,
    machine: u64,
    plain: &PlainManifest,
) -> Result<Receipt, ConsumerError> {
    let begun = Instant::now();
    let gone = |reason: &str| ConsumerError::Unfit {
        machine,
        reason: reason.to_owned(),
    };
    let genesis_hash = client.genesis_hash();
    loop {
        let now_ms = client.clock().await?.active_time_ms;
        let assignment = client
            .assignment(job, machine)
            .await?
            .ok_or_else(|| gone("it has no assignment of the job any more"))?;
        let may_try_again = match assignment.state {
            AssignmentState::Starting { deadline_ms, .. } => now_ms <= deadline_ms,
            AssignmentState::Running { .. } => begun.elapsed() < PATIENCE_WITH_RUNNING,
            _ => return Err(gone("its assignment has ended")),
        };
        let record = client
            .machine(machine)
            .await?
            .ok_or(ConsumerError::NoSuchMachine { machine })?;
        // Sealed anew each time: the machine's key may have been rotated meanwhile.
        let sealed = plain.seal(&SealContext {
            genesis_hash,
            job,
            machine,
            sealing_key: record.sealing_key,
        })?;
        let outcome = delivery::deliver(&Delivery {
            endpoint: &record.endpoint.to_string(),
            worker: &record.worker_key,
            genesis_hash,
            job,
            machine,
            manifest_hash: plain.hash(),
            sealed: &sealed,
        })
        .await;
        match outcome {
            Ok(receipt) => return Ok(receipt),
            Err(error) if error.is_permanent() || !may_try_again => return Err(error.into()),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
