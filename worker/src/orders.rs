//! Takes open orders that the machine meets, once the price that they offer has reached its ask.
//!
//! The node says which orders these are: what an order asks of a machine, such as a TEE or, for an attested task, fresh
//! evidence for its present keys, is judged by the same code as when the order is taken. What is tried is tried once in a while only, because a call that the chain
//! refuses costs a fee; and an order that this machine had before is left to others.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use assay_client::{Error, market::OpenOrder};
use tokio::{sync::watch, time::Instant};

use crate::{
    chain::{ConnectedChain, WorkerCall, WorkerChain, bounded},
    jobs::JobStore,
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

    async fn take(&self, job: u64, machine: u64) -> Result<(), Error> {
        self.send(WorkerCall::AcceptRequest { job, machine }).await?;
        Ok(())
    }
}

/// What was tried, so that it is not tried again too soon.
#[derive(Default)]
struct Memory {
    had: BTreeSet<u64>,
    refused_at: BTreeMap<u64, Instant>,
}

impl Memory {
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

/// Looks at the open orders at every new block that `blocks` tells, and takes the best; ends when the connection is lost
/// or nobody tells blocks any more. Takes nothing while `is_ready` says that containers cannot be run: who takes an order
/// and does not start it is charged.
pub async fn take_open_orders<B: OrderBook>(
    book: B,
    machine: u64,
    store: JobStore,
    mut blocks: watch::Receiver<u64>,
    is_ready: impl Fn() -> bool + Send,
) -> Result<(), Error> {
    let mut memory = Memory::default();
    while blocks.changed().await.is_ok() {
        memory.forget_old();
        if !is_ready() {
            continue;
        }
        let orders = match book.open_orders(machine).await {
            Ok(orders) => orders,
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "the open orders cannot be read");
                continue;
            }
        };
        let Some(order) = best(orders, |job| memory.knows(job) || was_here(&store, job)) else {
            continue;
        };
        match book.take(order.job, machine).await {
            Ok(()) => {
                memory.had.insert(order.job);
                tracing::info!(
                    job = order.job,
                    slots = order.slots,
                    "took an open order at the machine's ask or more"
                );
            }
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) => {
                memory.refused_at.insert(order.job, Instant::now());
                tracing::info!(job = order.job, %error, "an open order could not be taken");
            }
        }
    }
    Ok(())
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
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::jobs::JobNotes;

    const NOTHING: [u64; 0] = [];

    fn order(job: u64, price_per_slot_hour: u128) -> OpenOrder {
        OpenOrder {
            job,
            price_per_slot_hour,
            slots: 1,
            max_duration_ms: 1,
            closes_at_ms: 1,
            is_sealed: false,
        }
    }

    #[derive(Clone, Default)]
    struct FakeBook(Arc<Mutex<Book>>);

    #[derive(Default)]
    struct Book {
        orders: Vec<OpenOrder>,
        refuses: bool,
        lost: bool,
        tried: Vec<u64>,
    }

    impl FakeBook {
        fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
            change(&mut self.0.lock().unwrap())
        }
    }

    impl OrderBook for FakeBook {
        async fn open_orders(&self, _: u64) -> Result<Vec<OpenOrder>, Error> {
            self.change(|book| {
                if book.lost {
                    return Err(Error::ConnectionLost {
                        reason: "unplugged".into(),
                    });
                }
                Ok(book.orders.clone())
            })
        }

        async fn take(&self, job: u64, machine: u64) -> Result<(), Error> {
            assert_eq!(machine, 3);
            self.change(|book| {
                book.tried.push(job);
                if book.refuses {
                    return Err(Error::Dispatch {
                        pallet: "JobEscrow".into(),
                        error: "NoOpenPlace".into(),
                        docs: String::new(),
                    });
                }
                book.orders.retain(|order| order.job != job);
                Ok(())
            })
        }
    }

    struct World {
        book: FakeBook,
        store: JobStore,
        blocks: watch::Sender<u64>,
        ready: Arc<AtomicBool>,
        task: tokio::task::JoinHandle<Result<(), Error>>,
        _folder: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = JobStore::open(folder.path().to_owned()).unwrap();
            let book = FakeBook::default();
            let (blocks, new_blocks) = watch::channel(0);
            let ready = Arc::new(AtomicBool::new(true));
            let asked = ready.clone();
            let is_ready = move || asked.load(Ordering::SeqCst);
            let task = tokio::spawn(take_open_orders(
                book.clone(),
                3,
                store.clone(),
                new_blocks,
                is_ready,
            ));
            Self {
                book,
                store,
                blocks,
                ready,
                task,
                _folder: folder,
            }
        }

        /// Tells a block, and says what was tried because of it.
        async fn block(&self) -> Vec<u64> {
            self.blocks.send_modify(|block| *block += 1);
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.book.change(|book| std::mem::take(&mut book.tried))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn best_order_is_taken_and_one_at_each_block() {
        let world = World::new();
        let sealed = OpenOrder {
            is_sealed: true,
            ..order(1, 90)
        };
        world
            .book
            .change(|book| book.orders = vec![order(4, 10), order(3, 30), order(2, 30), sealed]);
        assert_eq!(world.block().await, [2]);
        assert_eq!(world.block().await, [3]);
        assert_eq!(world.block().await, [4]);
        assert_eq!(world.block().await, NOTHING);
    }

    #[tokio::test(start_paused = true)]
    async fn order_that_comes_back_is_left_to_others() {
        let world = World::new();
        world.book.change(|book| book.orders = vec![order(2, 30)]);
        assert_eq!(world.block().await, [2]);
        world
            .book
            .change(|book| book.orders = vec![order(2, 40), order(5, 1)]);
        assert_eq!(world.block().await, [5]);

        // Also after a restart of the worker, which has its notes then.
        let restarted = World::new();
        restarted.store.write_notes(2, &JobNotes::default()).unwrap();
        restarted.book.change(|book| book.orders = vec![order(2, 40)]);
        assert_eq!(restarted.block().await, NOTHING);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_order_is_tried_again_after_a_pause() {
        let world = World::new();
        world.book.change(|book| {
            book.orders = vec![order(2, 30)];
            book.refuses = true;
        });
        assert_eq!(world.block().await, [2]);
        assert_eq!(world.block().await, NOTHING);
        tokio::time::advance(PAUSE_AFTER_REFUSAL).await;
        world.book.change(|book| book.refuses = false);
        assert_eq!(world.block().await, [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_taken_that_could_not_be_run() {
        let world = World::new();
        world.book.change(|book| book.orders = vec![order(2, 30)]);
        world.ready.store(false, Ordering::SeqCst);
        assert_eq!(world.block().await, NOTHING);
        world.ready.store(true, Ordering::SeqCst);
        assert_eq!(world.block().await, [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn lost_connection_ends_it() {
        let world = World::new();
        world.book.change(|book| book.lost = true);
        world.block().await;
        assert!(world.task.await.unwrap().unwrap_err().is_connection_lost());
    }
}
