//! Suspends an unhealthy machine on chain, and resumes it once it is well.
//!
//! Only a suspension for heat or a fault is ended here; one that the provider asked for is the provider's to
//! end. Suspending an active machine is free, resuming it costs a fee.

use assay_client::{
    Error,
    types::{Machine, MachineStatus, SuspensionCause, SuspensionReason},
};
use tokio::sync::watch;

use super::{
    board::HealthBoard,
    judge::{Level, SuspendCause},
};
use crate::chain::{CallSubmitter, ConnectedChain, WorkerCall, bounded};

/// Number of blocks after which a call is repeated if the chain does not show its effect: it failed, or its
/// block was replaced and the pool dropped it.
const AGAIN_AFTER_BLOCKS: u64 = 20;

/// A machine's place in the market, as far as its health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In the market.
    Active,
    /// Suspended for heat or a fault.
    Unwell {
        /// True if enough is bonded to resume it: a call that the chain refuses costs a fee.
        is_bonded: bool,
    },
    /// Anything else, which its health changes nothing about.
    Other,
}

impl Standing {
    /// Returns true if the standing is one that a machine with this record has, leaving its bond aside.
    fn is_unwell(record: &Machine) -> bool {
        matches!(
            record.status,
            MachineStatus::Suspended(SuspensionReason::Overheated | SuspensionReason::Faulty)
        )
    }
}

/// The chain, as far as a machine's health is concerned.
pub trait MachineStandings: Clone + Send + Sync + 'static {
    /// Returns a machine's place in the market.
    fn standing(&self, machine: u64) -> impl Future<Output = Result<Standing, Error>> + Send;

    /// Takes the machine out of the market.
    fn suspend(&self, machine: u64, cause: SuspendCause) -> impl Future<Output = Result<(), Error>> + Send;

    /// Brings the machine back.
    fn resume(&self, machine: u64) -> impl Future<Output = Result<(), Error>> + Send;
}

impl From<SuspendCause> for SuspensionCause {
    fn from(cause: SuspendCause) -> Self {
        match cause {
            SuspendCause::Heat => Self::Heat,
            SuspendCause::Fault => Self::Fault,
        }
    }
}

impl MachineStandings for ConnectedChain {
    async fn standing(&self, machine: u64) -> Result<Standing, Error> {
        let client = self.client();
        let Some(record) = bounded(client.machine(machine)).await? else {
            return Ok(Standing::Other);
        };
        if record.status == MachineStatus::Active {
            return Ok(Standing::Active);
        }
        if !Standing::is_unwell(&record) {
            return Ok(Standing::Other);
        }
        let minimum = bounded(client.minimum_bond_of(&record)).await?;
        let bond = bounded(client.bond(machine)).await?;
        Ok(Standing::Unwell {
            is_bonded: bond.is_some_and(|bond| bond.debt == 0 && bond.unencumbered() >= minimum),
        })
    }

    async fn suspend(&self, machine: u64, cause: SuspendCause) -> Result<(), Error> {
        let cause = cause.into();
        self.send(WorkerCall::Suspend { machine, cause }).await?;
        Ok(())
    }

    async fn resume(&self, machine: u64) -> Result<(), Error> {
        self.send(WorkerCall::Resume { machine }).await?;
        Ok(())
    }
}

/// Next call for a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Suspend(SuspendCause),
    Resume,
}

/// Returns the call that brings a machine's standing in line with its health.
fn next_wish(board: &HealthBoard, standing: Standing) -> Option<Wish> {
    let verdict = board.read()?;
    match (verdict.level, standing) {
        (Level::Suspended(cause), Standing::Active) => Some(Wish::Suspend(cause)),
        // After a start of the worker a heat from before takes some readings to show.
        (Level::Fine | Level::Warning, Standing::Unwell { is_bonded: true }) if verdict.is_settled => {
            Some(Wish::Resume)
        }
        _ => None,
    }
}

/// Compares the machine's standing with its health at every new block from `blocks`, and suspends or resumes
/// it. Ends when the connection is lost or the sender of `blocks` is dropped.
pub async fn follow_health<C: MachineStandings>(
    chain: C,
    machine: u64,
    mut blocks: watch::Receiver<u64>,
    board: HealthBoard,
) -> Result<(), Error> {
    // Last call and the best block at that time, until the chain shows its effect.
    let mut asked: Option<(Wish, u64)> = None;
    while blocks.changed().await.is_ok() {
        let block = *blocks.borrow_and_update();
        let standing = match chain.standing(machine).await {
            Ok(standing) => standing,
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) => {
                tracing::debug!(machine, %error, "reading the machine's record failed");
                continue;
            }
        };
        let Some(wish) = next_wish(&board, standing) else {
            asked = None;
            continue;
        };
        let is_soon = asked.is_some_and(|(earlier, at_block)| {
            earlier == wish && block < at_block.saturating_add(AGAIN_AFTER_BLOCKS)
        });
        if is_soon {
            continue;
        }
        asked = Some((wish, block));
        let outcome = match wish {
            Wish::Suspend(cause) => chain.suspend(machine, cause).await,
            Wish::Resume => chain.resume(machine).await,
        };
        match (outcome, wish) {
            (Ok(()), Wish::Suspend(cause)) => tracing::error!(
                machine,
                ?cause,
                reasons = board.refusal(),
                "suspended the machine on chain; it comes back by itself once it is well"
            ),
            (Ok(()), Wish::Resume) => tracing::warn!(
                machine,
                "brought the machine back into the market, which it had left for its health"
            ),
            (Err(error), _) if error.is_connection_lost() => return Err(error),
            (Err(error), wish) => tracing::warn!(
                machine, ?wish, %error,
                again_in_blocks = AGAIN_AFTER_BLOCKS,
                "the machine's standing on chain could not be changed; resuming needs a fee, so look at the worker key's \
                 balance"
            ),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{health::board::tests::verdict, market_status::tests::machine};

    const HOT: Level = Level::Suspended(SuspendCause::Heat);
    const FAULTY: Level = Level::Suspended(SuspendCause::Fault);
    const UNWELL: Standing = Standing::Unwell { is_bonded: true };

    #[derive(Clone)]
    struct FakeChain(Arc<Mutex<State>>);

    struct State {
        standing: Standing,
        refuses: bool,
        /// True if calls have no effect, as when their block is replaced.
        is_undone: bool,
        lost: bool,
        calls: Vec<Wish>,
    }

    impl FakeChain {
        fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
            change(&mut self.0.lock().unwrap())
        }

        fn call(&self, wish: Wish, standing: Standing) -> Result<(), Error> {
            self.change(|state| {
                state.calls.push(wish);
                if state.refuses {
                    return Err(Error::Dispatch {
                        pallet: "ProviderRegistry".into(),
                        error: "WrongStatus".into(),
                        docs: String::new(),
                    });
                }
                if !state.is_undone {
                    state.standing = standing;
                }
                Ok(())
            })
        }
    }

    impl MachineStandings for FakeChain {
        async fn standing(&self, machine: u64) -> Result<Standing, Error> {
            assert_eq!(machine, 3);
            self.change(|state| {
                if state.lost {
                    return Err(Error::ConnectionLost {
                        reason: "unplugged".into(),
                    });
                }
                Ok(state.standing)
            })
        }

        async fn suspend(&self, machine: u64, cause: SuspendCause) -> Result<(), Error> {
            assert_eq!(machine, 3);
            self.call(Wish::Suspend(cause), UNWELL)
        }

        async fn resume(&self, machine: u64) -> Result<(), Error> {
            assert_eq!(machine, 3);
            self.call(Wish::Resume, Standing::Active)
        }
    }

    struct World {
        chain: FakeChain,
        board: HealthBoard,
        blocks: watch::Sender<u64>,
        task: tokio::task::JoinHandle<Result<(), Error>>,
    }

    impl World {
        fn new(standing: Standing) -> Self {
            let chain = FakeChain(Arc::new(Mutex::new(State {
                standing,
                refuses: false,
                is_undone: false,
                lost: false,
                calls: Vec::new(),
            })));
            let board = HealthBoard::default();
            let (blocks, new_blocks) = watch::channel(0);
            let task = tokio::spawn(follow_health(chain.clone(), 3, new_blocks, board.clone()));
            Self {
                chain,
                board,
                blocks,
                task,
            }
        }

        fn set(&self, level: Level) {
            self.board.publish(verdict(level));
        }

        /// Adds blocks one by one; returns the calls that were made meanwhile.
        async fn calls_of(&self, blocks: u64) -> Vec<Wish> {
            for _ in 0..blocks {
                self.blocks.send_modify(|block| *block += 1);
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
            }
            self.chain.change(|state| std::mem::take(&mut state.calls))
        }
    }

    #[tokio::test]
    async fn machine_is_suspended_with_its_cause_and_resumed_when_it_is_well() {
        let world = World::new(Standing::Active);
        assert_eq!(world.calls_of(2).await, []);
        for level in [Level::Fine, Level::Warning, Level::NoNewJobs] {
            world.set(level);
            assert_eq!(world.calls_of(2).await, []);
        }
        world.set(HOT);
        assert_eq!(world.calls_of(50).await, [Wish::Suspend(SuspendCause::Heat)]);
        // It is out already, whatever the cause.
        world.set(FAULTY);
        assert_eq!(world.calls_of(2).await, []);
        world.set(Level::NoNewJobs);
        assert_eq!(world.calls_of(2).await, []);
        world.set(Level::Warning);
        assert_eq!(world.calls_of(50).await, [Wish::Resume]);
        world.set(FAULTY);
        assert_eq!(world.calls_of(1).await, [Wish::Suspend(SuspendCause::Fault)]);
    }

    #[tokio::test]
    async fn machine_that_others_took_out_stays_out() {
        let world = World::new(Standing::Other);
        for level in [Level::Fine, HOT, FAULTY] {
            world.set(level);
            assert_eq!(world.calls_of(2).await, [], "{level:?}");
        }
        let world = World::new(Standing::Unwell { is_bonded: false });
        world.set(Level::Fine);
        assert_eq!(world.calls_of(2).await, []);
        world.chain.change(|state| state.standing = UNWELL);
        assert_eq!(world.calls_of(2).await, [Wish::Resume]);
    }

    #[tokio::test]
    async fn machine_does_not_come_back_before_its_heat_would_show() {
        let world = World::new(UNWELL);
        assert_eq!(world.calls_of(2).await, []);
        world.board.publish(super::super::judge::Verdict {
            is_settled: false,
            ..verdict(Level::Fine)
        });
        assert_eq!(world.calls_of(2).await, []);
        world.set(Level::Fine);
        assert_eq!(world.calls_of(2).await, [Wish::Resume]);
    }

    #[tokio::test]
    async fn call_that_failed_or_was_undone_is_repeated_after_a_while() {
        for is_undone in [true, false] {
            let world = World::new(Standing::Active);
            world.set(HOT);
            world.chain.change(|state| {
                state.is_undone = is_undone;
                state.refuses = !is_undone;
            });
            assert_eq!(world.calls_of(AGAIN_AFTER_BLOCKS).await.len(), 1);
            world.chain.change(|state| {
                state.is_undone = false;
                state.refuses = false;
            });
            assert_eq!(world.calls_of(1).await.len(), 1);
            assert_eq!(world.calls_of(2 * AGAIN_AFTER_BLOCKS).await, []);
        }
    }

    #[tokio::test]
    async fn lost_connection_ends_it() {
        let world = World::new(Standing::Active);
        world.chain.change(|state| state.lost = true);
        world.calls_of(1).await;
        assert!(world.task.await.unwrap().unwrap_err().is_connection_lost());
    }

    #[test]
    fn suspensions_for_health_are_told_from_others() {
        use SuspensionReason::{BondTooLow, Faulty, MissedStart, Overheated, OwnRequest};
        for (reason, expected) in [
            (Overheated, true),
            (Faulty, true),
            (OwnRequest, false),
            (MissedStart, false),
            (BondTooLow, false),
        ] {
            let record = machine(MachineStatus::Suspended(reason));
            assert_eq!(Standing::is_unwell(&record), expected, "{reason:?}");
        }
        assert_eq!(
            SuspensionReason::from(SuspensionCause::from(SuspendCause::Heat)),
            Overheated
        );
        assert_eq!(
            SuspensionReason::from(SuspensionCause::from(SuspendCause::Fault)),
            Faulty
        );
    }
}
