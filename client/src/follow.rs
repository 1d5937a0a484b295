//! Follows the chain's best block, for urgent work, and its finalized block, for irreversible steps.
//!
//! Two subscriptions report new blocks. A subscription may fall silent while the node answers everything
//! else, so the client also polls both blocks every few seconds. It renews subscriptions that withhold blocks
//! of the node; the polled blocks stand in for them meanwhile. If the node does not answer, or renewed
//! subscriptions stay silent, the connection counts as lost.

use std::time::{Duration, Instant};

use codec::Encode;
use sp_crypto_hashing::blake2_256;
use subxt::{
    SubstrateConfig,
    config::{Config, Header},
    rpcs::client::RpcSubscription,
};

use crate::{
    client::{BlockId, ChainClient},
    error::{Error, from_subxt},
};

/// Best and finalized block, as one node knows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tip {
    /// Best block. Another block may replace it, even one with a smaller number.
    pub best: BlockId,
    /// Newest finalized block. Its number only grows.
    pub finalized: BlockId,
}

impl Tip {
    /// Returns the number of blocks that are not final yet.
    pub fn unfinalized_blocks(&self) -> u64 {
        self.best.number.saturating_sub(self.finalized.number)
    }
}

/// Change of the tip, or renewal of the subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChainNews {
    /// The best or the finalized block changed.
    Moved(Tip),
    /// A subscription withheld blocks of the node, so all were renewed.
    Resubscribed {
        /// Time for which it had been silent.
        silent_for: Duration,
        /// Tip by the node's answer.
        tip: Tip,
    },
}

/// Intervals and timeouts of following the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowLimits {
    /// Interval between two polls of both blocks.
    pub ask_every: Duration,
    /// Timeout of a poll.
    pub answer_within: Duration,
    /// Time for which a subscription may withhold blocks of the node.
    pub silence: Duration,
    /// Number of renewals in a row before the connection counts as lost.
    pub resubscriptions: u32,
}

impl Default for FollowLimits {
    /// Returns limits for slots of three seconds: a poll every two slots, and silence of five.
    fn default() -> Self {
        Self {
            ask_every: Duration::from_secs(6),
            answer_within: Duration::from_secs(30),
            silence: Duration::from_secs(15),
            resubscriptions: 3,
        }
    }
}

type Heads = RpcSubscription<<SubstrateConfig as Config>::Header>;

/// Both subscriptions.
struct Subscriptions {
    best: Heads,
    finalized: Heads,
}

impl Subscriptions {
    async fn new(client: &ChainClient) -> Result<Self, Error> {
        let methods = client.methods();
        Ok(Self {
            best: methods.chain_subscribe_new_heads().await.map_err(from_subxt)?,
            finalized: methods
                .chain_subscribe_finalized_heads()
                .await
                .map_err(from_subxt)?,
        })
    }

    /// Waits for a block of either. Cancel-safe: a dropped wait loses no block.
    async fn next(&mut self) -> Result<ReportedBlock, Error> {
        let (report, head): (fn(BlockId) -> ReportedBlock, _) = tokio::select! {
            head = self.best.next() => (ReportedBlock::Best, head),
            head = self.finalized.next() => (ReportedBlock::Finalized, head),
        };
        match head {
            Some(Ok(header)) => Ok(report(BlockId {
                number: Header::number(&header),
                hash: blake2_256(&header.encode()),
            })),
            Some(Err(error)) => Err(from_subxt(error)),
            None => Err(Error::ConnectionLost {
                reason: "no more blocks come".to_owned(),
            }),
        }
    }
}

/// Block that a subscription reported.
#[derive(Clone, Copy)]
enum ReportedBlock {
    Best(BlockId),
    Finalized(BlockId),
}

/// Number of the last block that a subscription reported, and the time of the report.
#[derive(Clone, Copy)]
struct LastReport {
    number: u64,
    at: Instant,
}

impl LastReport {
    fn of(block: BlockId) -> Self {
        Self {
            number: block.number,
            at: Instant::now(),
        }
    }

    /// Returns the time for which the subscription has withheld this block of the node.
    fn silent_for(&self, known: BlockId) -> Duration {
        if known.number > self.number {
            self.at.elapsed()
        } else {
            Duration::ZERO
        }
    }
}

/// Follows the chain until the connection is lost, and returns the reason. Passes each change to `tell`, the
/// present tip first.
pub async fn follow(client: &ChainClient, limits: FollowLimits, mut tell: impl FnMut(ChainNews)) -> Error {
    match follow_until_lost(client, limits, &mut tell).await {
        Err(error) if error.is_connection_lost() => error,
        // A node that keeps failing is of no use either; only another connection may help.
        Err(error) => Error::ConnectionLost {
            reason: error.to_string(),
        },
        Ok(never) => match never {},
    }
}

async fn follow_until_lost(
    client: &ChainClient,
    limits: FollowLimits,
    tell: &mut impl FnMut(ChainNews),
) -> Result<std::convert::Infallible, Error> {
    let within = limits.answer_within;
    let mut subscriptions = in_time(within, Subscriptions::new(client)).await?;
    let mut tip = in_time(within, ask(client)).await?;
    tell(ChainNews::Moved(tip));
    let (mut last_best, mut last_finalized) = (LastReport::of(tip.best), LastReport::of(tip.finalized));
    let mut in_a_row = 0;
    let mut ask_at = tokio::time::Instant::now() + limits.ask_every;
    loop {
        // The timer comes second: blocks that are there already are no silence.
        let reported = match tokio::time::timeout_at(ask_at, subscriptions.next()).await {
            Ok(reported) => Some(reported?),
            Err(_) => None,
        };
        let before = tip;
        match reported {
            Some(ReportedBlock::Best(block)) => {
                last_best = LastReport::of(block);
                in_a_row = 0;
                tip.best = block;
            }
            Some(ReportedBlock::Finalized(block)) => {
                last_finalized = LastReport::of(block);
                tip.take_finalized(block);
            }
            None => {
                ask_at = tokio::time::Instant::now() + limits.ask_every;
                let node = in_time(within, ask(client)).await?;
                let best_silence = last_best.silent_for(node.best);
                // A working subscription reports a best block that replaced one with a greater number.
                if node.best.number > tip.best.number || best_silence > limits.silence {
                    tip.best = node.best;
                }
                tip.take_finalized(node.finalized);
                let silent_for = best_silence.max(last_finalized.silent_for(node.finalized));
                if silent_for > limits.silence {
                    in_a_row += 1;
                    if in_a_row > limits.resubscriptions {
                        return Err(Error::ConnectionLost {
                            reason: format!(
                                "the node answers, but its subscriptions report no blocks, even after they were \
                                 renewed {} times",
                                limits.resubscriptions
                            ),
                        });
                    }
                    subscriptions = in_time(within, Subscriptions::new(client)).await?;
                    (last_best, last_finalized) = (LastReport::of(node.best), LastReport::of(node.finalized));
                    tell(ChainNews::Resubscribed { silent_for, tip });
                }
            }
        }
        if tip != before {
            tell(ChainNews::Moved(tip));
        }
    }
}

impl Tip {
    fn take_finalized(&mut self, block: BlockId) {
        if block.number > self.finalized.number {
            self.finalized = block;
        }
        // A finalized block is on the best chain, even if its report came first.
        if self.finalized.number > self.best.number {
            self.best = self.finalized;
        }
    }
}

async fn ask(client: &ChainClient) -> Result<Tip, Error> {
    // In this order, so that the best block is not behind the final one.
    let finalized = client.finalized_block().await?;
    let best = client.best_block().await?;
    Ok(Tip { best, finalized })
}

async fn in_time<T>(within: Duration, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(within, answer).await.unwrap_or_else(|_| {
        Err(Error::ConnectionLost {
            reason: format!("no answer within {} seconds", within.as_secs()),
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::sync::mpsc;

    use super::*;
    use crate::test_node::TestNode;

    const LIMITS: FollowLimits = FollowLimits {
        ask_every: Duration::from_millis(50),
        answer_within: Duration::from_secs(2),
        silence: Duration::from_millis(200),
        resubscriptions: 2,
    };

    /// A node, its follower, and the news.
    struct Followed {
        node: TestNode,
        news: mpsc::UnboundedReceiver<ChainNews>,
        follower: tokio::task::JoinHandle<Error>,
    }

    impl Followed {
        async fn new() -> Self {
            let node = TestNode::start().await;
            let client = ChainClient::connect(&node.url()).await.unwrap();
            let (sender, news) = mpsc::unbounded_channel();
            let follower =
                tokio::spawn(async move { follow(&client, LIMITS, |news| sender.send(news).unwrap()).await });
            Self { node, news, follower }
        }

        async fn next(&mut self) -> ChainNews {
            tokio::time::timeout(Duration::from_secs(10), self.news.recv())
                .await
                .expect("news within ten seconds")
                .expect("the follower goes on")
        }

        async fn moved(&mut self) -> Tip {
            loop {
                if let ChainNews::Moved(tip) = self.next().await {
                    return tip;
                }
            }
        }
    }

    #[tokio::test]
    async fn best_and_finalized_blocks_are_distinguished() {
        let mut followed = Followed::new().await;
        let first = followed.moved().await;
        assert_eq!((first.best.number, first.finalized.number), (0, 0));
        let block = followed.node.make_block(1, b"a");
        let tip = followed.moved().await;
        assert_eq!(
            (tip.best, tip.finalized.number, tip.unfinalized_blocks()),
            (block, 0, 1)
        );
        followed.node.finalize(block);
        assert_eq!(
            followed.moved().await,
            Tip {
                best: block,
                finalized: block
            }
        );
    }

    #[tokio::test]
    async fn block_that_replaces_the_best_one_is_followed() {
        let mut followed = Followed::new().await;
        followed.moved().await;
        let first = followed.node.make_block(5, b"a");
        assert_eq!(followed.moved().await.best, first);
        let other = followed.node.make_block(5, b"b");
        assert_ne!(first.hash, other.hash);
        assert_eq!(followed.moved().await.best, other);
        let shorter = followed.node.make_block(4, b"c");
        assert_eq!(followed.moved().await.best, shorter, "weight counts, not length");
    }

    #[tokio::test]
    async fn silent_subscription_is_made_anew_and_bridged() {
        let mut followed = Followed::new().await;
        followed.moved().await;
        let before = followed.node.subscriptions();
        followed.node.silence(true);
        let block = followed.node.make_block(1, b"a");
        assert_eq!(followed.moved().await.best, block, "by the node's answers");
        let resubscribed = loop {
            if let ChainNews::Resubscribed { silent_for, tip } = followed.next().await {
                break (silent_for, tip);
            }
        };
        assert!(resubscribed.0 > LIMITS.silence, "{resubscribed:?}");
        assert_eq!(resubscribed.1.best, block);
        assert_eq!(followed.node.subscriptions(), before + 2);

        // The new ones speak.
        followed.node.silence(false);
        let block = followed.node.make_block(2, b"b");
        assert_eq!(followed.moved().await.best, block);
    }

    #[tokio::test]
    async fn chain_that_stands_still_is_no_silence() {
        let mut followed = Followed::new().await;
        followed.moved().await;
        let before = followed.node.subscriptions();
        tokio::time::sleep(LIMITS.silence * 4).await;
        assert_eq!(followed.node.subscriptions(), before);
        assert!(followed.news.try_recv().is_err());
    }

    #[tokio::test]
    async fn subscriptions_that_stay_silent_end_the_connection() {
        let mut followed = Followed::new().await;
        followed.moved().await;
        followed.node.silence(true);
        let node = followed.node.clone();
        let blocks = tokio::spawn(async move {
            for number in 1.. {
                node.make_block(number, b"a");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let error = tokio::time::timeout(Duration::from_secs(20), followed.follower)
            .await
            .unwrap()
            .unwrap();
        blocks.abort();
        assert!(error.is_connection_lost());
        assert!(error.to_string().contains("renewed 2 times"), "{error}");
    }

    #[tokio::test]
    async fn node_that_is_gone_ends_the_connection() {
        let mut followed = Followed::new().await;
        followed.moved().await;
        followed.node.stop();
        let error = tokio::time::timeout(Duration::from_secs(20), followed.follower)
            .await
            .unwrap()
            .unwrap();
        assert!(error.is_connection_lost(), "{error}");
    }
}
