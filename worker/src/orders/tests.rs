//! Open orders, and the worker's choice among them.

#![allow(clippy::unwrap_used)]

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use assay_client::manifest::RegistryLogin;
use assay_primitives::money::ASY;

use super::*;
use crate::{
    engine::{CaptureTarget, Container, ContainerSpec, EngineDisk, EngineError, EngineInfo, ImageProcess},
    jobs::JobNotes,
    registry::PrivateRegistries,
};

const NOTHING: [u64; 0] = [];

fn order(job: u64, price_per_slot_hour: u128) -> OpenOrder {
    OpenOrder {
        job,
        price_per_slot_hour,
        slots: 1,
        max_duration_ms: 3_600_000,
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
    fees: Balance,
    fees_unknown: bool,
    image: Option<String>,
}

/// An engine that has every image except those named `absent`.
struct FakeEngine;

impl ContainerEngine for FakeEngine {
    async fn ping(&self) -> Result<EngineInfo, EngineError> {
        unreachable!("no order is run here")
    }

    async fn has_image(&self, image: &str, _: [u8; 32]) -> Result<bool, EngineError> {
        Ok(!image.contains("absent"))
    }

    async fn disk(&self) -> Result<Option<EngineDisk>, EngineError> {
        Ok(None)
    }

    async fn image_process(&self, _: &str) -> Result<ImageProcess, EngineError> {
        unreachable!("no order is run here")
    }

    async fn pull(&self, _: &str, _: [u8; 32], _: Option<&RegistryLogin>) -> Result<[u8; 32], EngineError> {
        unreachable!("no order is run here")
    }

    async fn create(&self, _: &ContainerSpec) -> Result<String, EngineError> {
        unreachable!("no order is run here")
    }

    async fn start(&self, _: &str, _: CaptureTarget) -> Result<(), EngineError> {
        unreachable!("no order is run here")
    }

    async fn follow(&self, _: &str, _: CaptureTarget) -> Result<(), EngineError> {
        unreachable!("no order is run here")
    }

    async fn unpause(&self, _: &str) -> Result<(), EngineError> {
        unreachable!("no order is run here")
    }

    async fn list(&self, _: &str) -> Result<Vec<Container>, EngineError> {
        unreachable!("no order is run here")
    }

    async fn remove(&self, _: &str) -> Result<(), EngineError> {
        unreachable!("no order is run here")
    }
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

    async fn fees(&self, _: u64, machine: u64) -> Result<Balance, Error> {
        assert_eq!(machine, 3);
        self.change(|book| {
            if book.fees_unknown {
                return Err(Error::Incompatible {
                    reason: "no such call".into(),
                });
            }
            Ok(book.fees)
        })
    }

    async fn manifest(&self, _: u64) -> Result<Option<JobManifest>, Error> {
        let name = self.change(|book| book.image.clone());
        Ok(name.map(|name| {
            let image = format!("{name}@sha256:{}", "ab".repeat(32));
            JobManifest::new(image.parse().unwrap())
        }))
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
        Self::with(0, false)
    }

    fn with_min_profit(min_profit: Balance) -> Self {
        Self::with(min_profit, false)
    }

    fn with(min_profit: Balance, takes_sealed: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = JobStore::open(folder.path().to_owned()).unwrap();
        let book = FakeBook::default();
        book.change(|book| book.image = Some("present".into()));
        let (blocks, new_blocks) = watch::channel(0);
        let ready = Arc::new(AtomicBool::new(true));
        let asked = ready.clone();
        let is_ready = move || asked.load(Ordering::SeqCst);
        let taker = OrderTaker {
            book: book.clone(),
            machine: 3,
            store: store.clone(),
            engine: Arc::new(FakeEngine),
            preflight: Preflight::new(PrivateRegistries::default(), 100),
            min_profit,
            takes_sealed,
        };
        let task = tokio::spawn(take_open_orders(taker, new_blocks, is_ready));
        Self {
            book,
            store,
            blocks,
            ready,
            task,
            _folder: folder,
        }
    }

    /// Reports a block, and returns the orders that the worker then tried to take.
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
async fn sealed_order_is_taken_where_sealed_jobs_run_without_a_look_at_its_image() {
    let world = World::with(ASY, true);
    let sealed = |job, price| OpenOrder {
        is_sealed: true,
        ..order(job, price)
    };
    world.book.change(|book| {
        book.image = None;
        book.orders = vec![sealed(1, 3 * ASY), sealed(2, ASY / 2), order(3, 2 * ASY)];
    });
    assert_eq!(world.block().await, [1]);
    // The one whose manifest is missing, and the one that does not pay, are left alone.
    assert_eq!(world.block().await, NOTHING);
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

    // The same after a restart of the worker, which then has its notes.
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

#[tokio::test(start_paused = true)]
async fn order_that_does_not_pay_its_fees_is_left() {
    // Observed case: one second at an ask of one ASY, against 0.0045 ASY of fees.
    let second = OpenOrder {
        max_duration_ms: 1_000,
        ..order(2, ASY)
    };
    let world = World::new();
    world.book.change(|book| {
        book.fees = 4_500_000_000;
        book.orders = vec![second];
    });
    assert_eq!(world.block().await, NOTHING);
    // Without any fee the order may still be worth too little.
    for (min_profit, taken) in [(0, vec![2]), (ASY / 1_000, vec![])] {
        let world = World::with_min_profit(min_profit);
        world.book.change(|book| book.orders = vec![second]);
        assert_eq!(world.block().await, taken);
    }
}

#[tokio::test(start_paused = true)]
async fn order_of_which_too_little_is_known_is_left_and_the_next_one_taken() {
    let world = World::new();
    world.book.change(|book| {
        book.orders = vec![order(2, 30), order(5, 20)];
        book.fees_unknown = true;
    });
    assert_eq!(world.block().await, NOTHING);
    world.book.change(|book| book.fees_unknown = false);
    assert_eq!(world.block().await, [5]);

    let world = World::new();
    world.book.change(|book| {
        book.orders = vec![order(2, 30)];
        book.image = None;
    });
    assert_eq!(world.block().await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn order_of_an_image_that_must_not_be_fetched_is_left() {
    let world = World::new();
    world.book.change(|book| {
        book.orders = vec![order(2, 30)];
        book.image = Some("127.0.0.1:5000/absent".into());
    });
    assert_eq!(world.block().await, NOTHING);
    world
        .book
        .change(|book| book.image = Some("127.0.0.1:5000/present".into()));
    tokio::time::advance(PAUSE_AFTER_REFUSAL).await;
    assert_eq!(world.block().await, [2]);
}
