//! Follows the chain: the best block for what is urgent, the finalized one for what cannot be undone.
//!
//! Two subscriptions tell of new blocks. Beside them the node is asked for both blocks every few seconds,
//! since a subscription may fall silent while everything else of the node goes on answering. One that tells
//! nothing of blocks that the node has is made anew; until then the answers stand in for it, so the chain is
//! followed all the time. When the node does not answer, or subscriptions made anew stay silent, the
//! connection counts as lost.

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

/// The ends of the chain, as one node knows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tip {
    /// The newest block. Another one may take its place, also one with a smaller number.
    pub best: BlockId,
    /// The newest block that cannot be replaced any more. Its number only grows.
    pub finalized: BlockId,
}

impl Tip {
    /// Blocks that are not final yet.
    pub fn unfinalized_blocks(&self) -> u64 {
        self.best.number.saturating_sub(self.finalized.number)
    }
}

/// News about the chain or about how it is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChainNews {
    /// One of the ends moved.
    Moved(Tip),
    /// A subscription told nothing of blocks that the node has, so all were made anew.
    Resubscribed {
        /// Time for which it had told nothing.
        silent_for: Duration,
        /// The ends by the node's answer.
        tip: Tip,
    },
}

/// Times by which the chain is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowLimits {
    /// Pause between two questions for both blocks.
    pub ask_every: Duration,
    /// Time that the answer to such a question may take.
    pub answer_within: Duration,
    /// Time for which a subscription may tell nothing of blocks that the node has.
    pub silence: Duration,
    /// Times in a row that subscriptions are made anew before the connection counts as lost.
    pub resubscriptions: u32,
}

impl Default for FollowLimits {
    /// For slots of three seconds: a question every two slots, and silence of five.
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

    /// Waits for a block of either. Nothing is lost when the answer is not waited for.
    async fn next(&mut self) -> Result<Told, Error> {
        let (told, head): (fn(BlockId) -> Told, _) = tokio::select! {
            head = self.best.next() => (Told::Best, head),
            head = self.finalized.next() => (Told::Finalized, head),
        };
        match head {
            Some(Ok(header)) => Ok(told(BlockId {
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

/// A block that a subscription told of.
#[derive(Clone, Copy)]
enum Told {
    Best(BlockId),
    Finalized(BlockId),
}

/// The last that a subscription told, and when.
#[derive(Clone, Copy)]
struct Heard {
    number: u64,
    at: Instant,
}

impl Heard {
    fn of(block: BlockId) -> Self {
        Self {
            number: block.number,
            at: Instant::now(),
        }
    }

    /// Time for which the subscription withheld this block, which the node has.
    fn silent_for(&self, known: BlockId) -> Duration {
        if known.number > self.number {
            self.at.elapsed()
        } else {
            Duration::ZERO
        }
    }
}

/// Follows the chain and tells all news, the present ends first, until the connection is lost; returns why.
pub async fn follow(client: &ChainClient, limits: FollowLimits, mut tell: impl FnMut(ChainNews)) -> Error {
    match follow_until_lost(client, limits, &mut tell).await {
        Err(error) if error.is_connection_lost() => error,
        // A node that answers this way again and again is of no use either: connecting anew is all that can
        // help.
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
    let (mut best_heard, mut finalized_heard) = (Heard::of(tip.best), Heard::of(tip.finalized));
    let mut in_a_row = 0;
    let mut ask_at = tokio::time::Instant::now() + limits.ask_every;
    loop {
        // The timer comes after the blocks that are there already: they are news and no silence.
        let told = match tokio::time::timeout_at(ask_at, subscriptions.next()).await {
            Ok(told) => Some(told?),
            Err(_) => None,
        };
        let before = tip;
        match told {
            Some(Told::Best(block)) => {
                best_heard = Heard::of(block);
                in_a_row = 0;
                tip.best = block;
            }
            Some(Told::Finalized(block)) => {
                finalized_heard = Heard::of(block);
                tip.take_finalized(block);
            }
            None => {
                ask_at = tokio::time::Instant::now() + limits.ask_every;
                let node = in_time(within, ask(client)).await?;
                let best_silence = best_heard.silent_for(node.best);
                // A best block that replaced one with a greater number is told by the subscription, where it
                // speaks.
                if node.best.number > tip.best.number || best_silence > limits.silence {
                    tip.best = node.best;
                }
                tip.take_finalized(node.finalized);
                let silent_for = best_silence.max(finalized_heard.silent_for(node.finalized));
                if silent_for > limits.silence {
                    in_a_row += 1;
                    if in_a_row > limits.resubscriptions {
                        return Err(Error::ConnectionLost {
                            reason: format!(
                                "the node answers, but its subscriptions tell of no blocks, also after they were made \
                                 anew {} times",
                                limits.resubscriptions
                            ),
                        });
                    }
                    subscriptions = in_time(within, Subscriptions::new(client)).await?;
                    (best_heard, finalized_heard) = (Heard::of(node.best), Heard::of(node.finalized));
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
        // A final block is on the best chain, whichever was heard of first.
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
                tokio::spawn(async move { follow(&client, LIMITS, |told| sender.send(told).unwrap()).await });
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
    async fn best_and_finalized_blocks_are_told_apart() {
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
        assert!(error.to_string().contains("made anew 2 times"), "{error}");
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
