//! Takes open orders that the machine meets, once their price has reached its ask.
//!
//! The node selects these orders: it judges an order's requirements, such as a TEE or, for an attested task,
//! fresh evidence for the machine's present keys, by the same code as the call that takes the order. The
//! worker checks two more conditions: the order must earn more than its fees (see [`crate::profit`]), and its
//! image must be able to run here in time (see [`crate::preflight`]); the image of a sealed order is known
//! only after its delivery. An order that failed is retried only after a pause, because a call that the chain
//! refuses costs a fee; and the worker leaves an order that this machine had before to others.

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
    preflight::{Preflight, PreflightError, Purpose},
    profit,
};

/// Pause before an order that could not be taken is tried again.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// Maximum number of pages of open orders that are read at once.
const MAX_PAGES: u32 = 8;

/// Maximum number of orders that are remembered as had before; the oldest are forgotten.
const MAX_REMEMBERED: usize = 1_024;

/// The chain, as far as open orders need it.
pub trait OrderBook: Clone + Send + Sync + 'static {
    /// Returns the orders that a machine can take now, at its ask or more.
    fn open_orders(&self, machine: u64) -> impl Future<Output = Result<Vec<OpenOrder>, Error>> + Send;

    /// Returns the chain's fees for an order from its acceptance on, in plancks.
    fn fees(&self, job: u64, machine: u64) -> impl Future<Output = Result<Balance, Error>> + Send;

    /// Returns the manifest of an order; `None` if it is missing or invalid.
    fn manifest(&self, job: u64) -> impl Future<Output = Result<Option<JobManifest>, Error>> + Send;

    /// Accepts an order for a machine.
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

/// Orders that were tried, so that they are not tried again too soon.
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

/// Dependencies of [`take_open_orders`].
pub struct OrderTaker<B, E> {
    /// Source of the orders.
    pub book: B,
    /// Number of the machine.
    pub machine: u64,
    /// Notes on the jobs that were here before.
    pub store: JobStore,
    /// Engine that runs the containers, and may already have an order's image.
    pub engine: Arc<E>,
    /// Checks of images before they are pulled.
    pub preflight: Preflight,
    /// Minimum that an order must earn after fees, in plancks.
    pub min_profit: Balance,
    /// True if sealed jobs can run here. Their manifests are delivered after the assignment, so an order is
    /// taken without a look at its image.
    pub takes_sealed: bool,
}

/// Reads the open orders at every new block from `blocks`, and takes the best one; takes none while
/// `is_ready` says that containers cannot run. Ends when the connection is lost or the sender of `blocks` is
/// dropped.
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
                tracing::debug!(%error, "reading the open orders failed");
                continue;
            }
        };
        let is_known = |job| seen.knows(job) || was_here(&taker.store, job);
        let Some(order) = best(orders, taker.takes_sealed, is_known) else {
            continue;
        };
        if let Some(reason) = taker.objection(&order).await? {
            seen.refused_at.insert(order.job, Instant::now());
            tracing::info!(job = order.job, reason, "skipping an open order");
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
                tracing::info!(job = order.job, %error, "taking an open order failed");
            }
        }
    }
    Ok(())
}

impl<B: OrderBook, E: ContainerEngine> OrderTaker<B, E> {
    /// Returns the reason not to take an order; `None` if it should be taken. A check that fails counts as a
    /// reason: an order that is taken and does not start costs the machine its slot meanwhile.
    async fn objection(&self, order: &OpenOrder) -> Result<Option<String>, Error> {
        let asked = async {
            let fees = self.book.fees(order.job, self.machine).await?;
            let revenue = profit::revenue(order.price_per_slot_hour, order.slots, order.max_duration_ms);
            if let Some(reason) = profit::refusal(revenue, fees, self.min_profit) {
                return Ok(Some(reason));
            }
            if order.is_sealed {
                return Ok(None);
            }
            let Some(manifest) = self.book.manifest(order.job).await? else {
                return Ok(Some("its manifest is missing or invalid".into()));
            };
            // Once the worker has the job, it uses the job's deadline.
            let within_ms = DEFAULT_START_WINDOW_MS.saturating_sub(START_MARGIN_MS);
            let looked = self
                .preflight
                .check(&*self.engine, &manifest.image, Some(within_ms), Purpose::Order)
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

/// Returns true if the notes show that the job was here before: it was then declined or given up.
fn was_here(store: &JobStore, job: u64) -> bool {
    // Unreadable notes count as notes: the job is not tried again.
    !matches!(store.stored_notes(job), Ok(None))
}

/// Returns the order that pays most for its slots; among equals the one with the most slots, then the oldest.
/// Skips sealed orders unless the machine can run them.
fn best(orders: Vec<OpenOrder>, takes_sealed: bool, is_known: impl Fn(u64) -> bool) -> Option<OpenOrder> {
    orders
        .into_iter()
        .filter(|order| (takes_sealed || !order.is_sealed) && !is_known(order.job))
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
