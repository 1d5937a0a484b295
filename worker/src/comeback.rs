//! Brings a machine that missed a start back into the market.
//!
//! The chain suspends a machine that neither started nor declined a job in time, because it may be off. Its
//! worker resumes it, which is free: once per missed start, and only while it could run a job, because
//! otherwise it would miss the next start, too.

use assay_client::{
    Error,
    types::{MachineStatus, SuspensionReason},
};
use tokio::sync::watch;

use crate::chain::{CallSubmitter, ConnectedChain, WorkerCall, bounded};

/// Number of blocks after which the machine is resumed again if the chain does not show it: the call failed,
/// or its block was replaced and the pool dropped it.
const AGAIN_AFTER_BLOCKS: u64 = 20;

/// The chain, as far as a suspension for a missed start needs it.
pub trait Market: Clone + Send + Sync + 'static {
    /// Returns true if a machine is suspended for a missed start.
    fn has_missed_start(&self, machine: u64) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Resumes the machine.
    fn resume(&self, machine: u64) -> impl Future<Output = Result<(), Error>> + Send;
}

impl Market for ConnectedChain {
    async fn has_missed_start(&self, machine: u64) -> Result<bool, Error> {
        let client = self.client();
        let Some(record) = bounded(client.machine(machine)).await? else {
            return Ok(false);
        };
        if record.status != MachineStatus::Suspended(SuspensionReason::MissedStart) {
            return Ok(false);
        }
        // A call that the chain refuses costs a fee.
        let minimum = bounded(client.minimum_bond_of(&record)).await?;
        let bond = bounded(client.bond(machine)).await?;
        Ok(bond.is_some_and(|bond| bond.debt == 0 && bond.unencumbered() >= minimum))
    }

    async fn resume(&self, machine: u64) -> Result<(), Error> {
        self.send(WorkerCall::Resume { machine }).await?;
        Ok(())
    }
}

/// Checks the machine at every new block from `blocks`, and brings it back after a missed start while
/// `is_ready` says that jobs can run. Ends when the connection is lost or the sender of `blocks` is dropped.
pub async fn return_after_missed_starts<M: Market>(
    market: M,
    machine: u64,
    mut blocks: watch::Receiver<u64>,
    is_ready: impl Fn() -> bool + Send,
) -> Result<(), Error> {
    // Best block at which the machine was last resumed, until the chain shows it.
    let mut asked_at = None;
    while blocks.changed().await.is_ok() {
        let block = *blocks.borrow_and_update();
        let has_missed = match market.has_missed_start(machine).await {
            Ok(has_missed) => has_missed,
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) => {
                tracing::debug!(machine, %error, "reading the machine's record failed");
                continue;
            }
        };
        if !has_missed {
            asked_at = None;
            continue;
        }
        let is_soon = asked_at.is_some_and(|asked_at| block < asked_at + AGAIN_AFTER_BLOCKS);
        if is_soon || !is_ready() {
            continue;
        }
        asked_at = Some(block);
        match market.resume(machine).await {
            Ok(()) => tracing::warn!(
                machine,
                "brought the machine back into the market, which it had left for a missed start"
            ),
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) => tracing::warn!(
                machine, %error,
                again_in_blocks = AGAIN_AFTER_BLOCKS,
                "bringing the machine back after a missed start failed"
            ),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct FakeMarket(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        is_out: bool,
        refuses: bool,
        /// True if the call has no effect, as when its block is replaced.
        is_undone: bool,
        lost: bool,
        calls: u32,
    }

    impl FakeMarket {
        fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
            change(&mut self.0.lock().unwrap())
        }
    }

    impl Market for FakeMarket {
        async fn has_missed_start(&self, machine: u64) -> Result<bool, Error> {
            assert_eq!(machine, 3);
            self.change(|state| {
                if state.lost {
                    return Err(Error::ConnectionLost {
                        reason: "unplugged".into(),
                    });
                }
                Ok(state.is_out)
            })
        }

        async fn resume(&self, machine: u64) -> Result<(), Error> {
            assert_eq!(machine, 3);
            self.change(|state| {
                state.calls += 1;
                if state.refuses {
                    return Err(Error::Dispatch {
                        pallet: "ProviderRegistry".into(),
                        error: "BondTooLow".into(),
                        docs: String::new(),
                    });
                }
                state.is_out = state.is_undone;
                Ok(())
            })
        }
    }

    struct World {
        market: FakeMarket,
        ready: Arc<AtomicBool>,
        blocks: watch::Sender<u64>,
        task: tokio::task::JoinHandle<Result<(), Error>>,
    }

    impl World {
        fn new() -> Self {
            let (market, ready) = (FakeMarket::default(), Arc::new(AtomicBool::new(true)));
            let (blocks, new_blocks) = watch::channel(0);
            let is_ready = ready.clone();
            let task = tokio::spawn(return_after_missed_starts(
                market.clone(),
                3,
                new_blocks,
                move || is_ready.load(Ordering::SeqCst),
            ));
            Self {
                market,
                ready,
                blocks,
                task,
            }
        }

        /// Adds blocks one by one; returns how often the machine was brought back by then.
        async fn calls_after(&self, blocks: u64) -> u32 {
            for _ in 0..blocks {
                self.blocks.send_modify(|block| *block += 1);
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
            }
            self.market.change(|state| state.calls)
        }

        fn miss_start(&self) {
            self.market.change(|state| state.is_out = true);
        }
    }

    #[tokio::test]
    async fn machine_is_brought_back_once_for_each_missed_start() {
        let world = World::new();
        assert_eq!(world.calls_after(3).await, 0);
        for occurrence in 1..=2 {
            world.miss_start();
            assert_eq!(world.calls_after(2 * AGAIN_AFTER_BLOCKS).await, occurrence);
        }
    }

    #[tokio::test]
    async fn machine_that_cannot_run_jobs_stays_out() {
        let world = World::new();
        world.ready.store(false, Ordering::SeqCst);
        world.miss_start();
        assert_eq!(world.calls_after(5).await, 0);
        world.ready.store(true, Ordering::SeqCst);
        assert_eq!(world.calls_after(1).await, 1);
    }

    #[tokio::test]
    async fn call_that_failed_or_was_undone_is_repeated_after_a_while() {
        for is_undone in [true, false] {
            let world = World::new();
            world.miss_start();
            world.market.change(|state| {
                state.is_undone = is_undone;
                state.refuses = !is_undone;
            });
            assert_eq!(world.calls_after(AGAIN_AFTER_BLOCKS).await, 1);
            world.market.change(|state| {
                state.is_undone = false;
                state.refuses = false;
            });
            assert_eq!(world.calls_after(1).await, 2);
            assert_eq!(world.calls_after(2 * AGAIN_AFTER_BLOCKS).await, 2);
        }
    }

    #[tokio::test]
    async fn lost_connection_ends_it() {
        let world = World::new();
        world.market.change(|state| state.lost = true);
        world.calls_after(1).await;
        assert!(world.task.await.unwrap().unwrap_err().is_connection_lost());
    }
}
