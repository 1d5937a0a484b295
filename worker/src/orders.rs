//! Takes open orders that the machine meets, once the price that they offer has reached its ask.
//!
//! The node says which orders these are: what an order asks of a machine, such as a TEE or, for an attested
//! task, fresh evidence for its present keys, is judged by the same code as when the order is taken. The
//! worker looks at two things more: an order must bring in more than its fees (see [`crate::profit`]), and
//! its image must be one that can run here in time (see [`crate::preflight`]). What is tried is tried once in
//! a while only, because a call that the chain refuses costs a fee; and an order that this machine had before
//! is left to others.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::Duration,
};

use assay_client::{Error, manifest::JobManifest, market::OpenOrder, types::Manifest};
use assay_primitives::{job::DEFAULT_START_WINDOW_MS, money::Balance};
use tokio::{sync::watch, time::Instant};

use crate::{
    chain::{CallSubmitter, ConnectedChain, JobReader, WorkerCall, bounded},
    engine::ContainerEngine,
    jobs::{JobStore, START_MARGIN_MS},
    preflight::{Preflight, PreflightError},
    profit,
};

/// Time for which an order that could not be taken is left alone.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// Most pages that are read of open orders at once.
const MAX_PAGES: u32 = 8;

/// Most orders that are remembered as had before; the oldest are forgotten.
const MAX_REMEMBERED: usize = 1_024;

/// Open orders, and the way to take one.
pub trait OrderBook: Clone + Send + Sync + 'static {
    /// Orders that a machine can take now, at its ask or more.
    fn open_orders(&self, machine: u64) -> impl Future<Output = Result<Vec<OpenOrder>, Error>> + Send;

    /// What the chain charges for having an order from its acceptance on, in plancks.
    fn fees(&self, job: u64, machine: u64) -> impl Future<Output = Result<Balance, Error>> + Send;

    /// The manifest of an order; `None` where it is not to be had or not valid.
    fn manifest(&self, job: u64) -> impl Future<Output = Result<Option<JobManifest>, Error>> + Send;

    /// Takes a place of an order for a machine; done when that is final.
    fn take(&self, job: u64, machine: u64) -> impl Future<Output = Result<(), Error>> + Send;
}

impl OrderBook for ConnectedChain {
    async fn open_orders(&self, machine: u64) -> Result<Vec<OpenOrder>, Error> {
        let mut orders = Vec::new();
        let mut cursor = None;
        for _ in 0..MAX_PAGES {
            let page = bounded(self.client().open_orders(machine, cursor)).await?;
            orders.extend(page.orders);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(orders)
    }

    async fn fees(&self, job: u64, machine: u64) -> Result<Balance, Error> {
        profit::fees_with_acceptance(self, job, machine).await
    }

    async fn manifest(&self, job: u64) -> Result<Option<JobManifest>, Error> {
        let Some(job) = bounded(self.client().job(job)).await? else {
            return Ok(None);
        };
        let Manifest::Public(manifest) = job.manifest else {
            return Ok(None);
        };
        let bytes = self.manifest_bytes(&manifest).await?;
        Ok(bytes.and_then(|bytes| JobManifest::from_bytes(&bytes).ok()))
    }

    async fn take(&self, job: u64, machine: u64) -> Result<(), Error> {
        self.send(WorkerCall::AcceptRequest { job, machine }).await?;
        Ok(())
    }
}

/// What was tried, so that it is not tried again too soon.
#[derive(Default)]
struct SeenOrders {
    had: BTreeSet<u64>,
    refused_at: BTreeMap<u64, Instant>,
}

impl SeenOrders {
    fn forget_old(&mut self) {
        self.refused_at
            .retain(|_, since| since.elapsed() < PAUSE_AFTER_REFUSAL);
        while self.had.len() > MAX_REMEMBERED {
            self.had.pop_first();
        }
    }

    fn knows(&self, job: u64) -> bool {
        self.had.contains(&job) || self.refused_at.contains_key(&job)
    }
}

/// What taking orders needs, besides the orders.
pub struct OrderTaker<B, E> {
    /// The orders.
    pub book: B,
    /// The machine.
    pub machine: u64,
    /// Notes of jobs that were here before.
    pub store: JobStore,
    /// Runs the containers, and has some images already.
    pub engine: Arc<E>,
    /// Looks at images.
    pub preflight: Preflight,
    /// Least that an order must bring in after fees, in plancks.
    pub min_profit: Balance,
}

/// Looks at the open orders at every new block that `blocks` tells, and takes the best; ends when the connection is lost
/// or nobody tells blocks any more. Takes nothing while `is_ready` says that containers cannot be run.
pub async fn take_open_orders<B: OrderBook, E: ContainerEngine>(
    taker: OrderTaker<B, E>,
    mut blocks: watch::Receiver<u64>,
    is_ready: impl Fn() -> bool + Send,
) -> Result<(), Error> {
    let mut seen = SeenOrders::default();
    while blocks.changed().await.is_ok() {
        seen.forget_old();
        if !is_ready() {
            continue;
        }
        let (book, machine) = (&taker.book, taker.machine);
        let orders = match book.open_orders(machine).await {
            Ok(orders) => orders,
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "the open orders cannot be read");
                continue;
            }
        };
        let Some(order) = best(orders, |job| seen.knows(job) || was_here(&taker.store, job)) else {
            continue;
        };
        if let Some(reason) = taker.objection(&order).await? {
            seen.refused_at.insert(order.job, Instant::now());
            tracing::info!(job = order.job, reason, "an open order is left to others");
            continue;
        }
        match book.take(order.job, machine).await {
            Ok(()) => {
                seen.had.insert(order.job);
                tracing::info!(
                    job = order.job,
                    slots = order.slots,
                    "took an open order at the machine's ask or more"
                );
            }
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) => {
                seen.refused_at.insert(order.job, Instant::now());
                tracing::info!(job = order.job, %error, "an open order could not be taken");
            }
        }
    }
    Ok(())
}

impl<B: OrderBook, E: ContainerEngine> OrderTaker<B, E> {
    /// Why an order is not taken; `None` for one that is. What cannot be found out speaks against it: an
    /// order that is taken and does not start costs the machine its slot meanwhile.
    async fn objection(&self, order: &OpenOrder) -> Result<Option<String>, Error> {
        let asked = async {
            let fees = self.book.fees(order.job, self.machine).await?;
            let revenue = profit::revenue(order.price_per_slot_hour, order.slots, order.max_duration_ms);
            if let Some(reason) = profit::refusal(revenue, fees, self.min_profit) {
                return Ok(Some(reason));
            }
            let Some(manifest) = self.book.manifest(order.job).await? else {
                return Ok(Some("its manifest is not to be had, or not valid".into()));
            };
            // Once the worker has the job, it goes by the deadline itself.
            let within_ms = DEFAULT_START_WINDOW_MS.saturating_sub(START_MARGIN_MS);
            let looked = self
                .preflight
                .check(&*self.engine, &manifest.image, Some(within_ms))
                .await;
            Ok(match looked {
                Ok(()) => None,
                Err(PreflightError::Refused(reason) | PreflightError::Unknown(reason)) => Some(reason),
                Err(PreflightError::Engine(error)) => Some(error.to_string()),
            })
        };
        match asked.await {
            Err(error) if !Error::is_connection_lost(&error) => Ok(Some(error.to_string())),
            other => other,
        }
    }
}

/// Whether notes say that the job was here before: it was then declined, or given up.
fn was_here(store: &JobStore, job: u64) -> bool {
    // Notes that cannot be read are no reason to try a job again.
    !matches!(store.stored_notes(job), Ok(None))
}

/// The order that pays most for its slots; of equals the one with the most slots, then the oldest. Sealed ones are
/// passed over: nothing can be brought to this worker.
fn best(orders: Vec<OpenOrder>, is_known: impl Fn(u64) -> bool) -> Option<OpenOrder> {
    orders
        .into_iter()
        .filter(|order| !order.is_sealed && !is_known(order.job))
        .max_by_key(|order| {
            (
                order.price_per_slot_hour,
                order.slots,
                std::cmp::Reverse(order.job),
            )
        })
}

#[cfg(test)]
mod tests;
