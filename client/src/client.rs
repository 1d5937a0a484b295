//! The connection: to a node, to its blocks, and into its transaction pool.

use std::{fmt, sync::Arc, time::Duration};

use subxt::{
    OnlineClient, SubstrateConfig,
    backend::LegacyBackend,
    client::{Blocks, OnlineClientAtBlock},
    config::{Header, RpcConfigFor, substrate::H256},
    error::OnlineClientAtBlockError,
    rpcs::{self, RpcClient, methods::legacy::LegacyRpcMethods},
};

use crate::{
    error::{Error, chain, from_subxt},
    events::{AssayEvent, PALLETS},
    redaction,
};

/// Longest time that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Pallets that Assay's programs call besides those of [`PALLETS`].
const OTHER_PALLETS: [&str; 4] = ["System", "Balances", "Utility", "Preimage"];

pub(crate) type AtBlock = OnlineClientAtBlock<SubstrateConfig>;

/// A connection to one node of one Assay chain. Clones share the connection.
///
/// Queries read the *best* block, the newest that the node knows: a worker must act on it at once. It may
/// still be replaced by another, so a program that reports facts follows [`Self::subscribe_finalized`], and
/// one that decides by several answers asks them of one block by [`Self::at`]. [`crate::follow`] keeps up
/// with both. A broken connection stays broken: every request then fails with an error for which
/// [`Error::is_connection_lost`] holds, and the program connects anew.
#[derive(Clone)]
pub struct ChainClient {
    inner: Arc<Inner>,
    /// Block that queries read; `None` for the best block.
    pinned: Option<AtBlock>,
}

struct Inner {
    /// Without credentials: it gets into logs and messages.
    shown_url: String,
    rpc: RpcClient,
    api: OnlineClient<SubstrateConfig>,
    methods: LegacyRpcMethods<RpcConfigFor<SubstrateConfig>>,
}

impl fmt::Debug for ChainClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ChainClient")
            .field("url", &self.inner.shown_url)
            .finish_non_exhaustive()
    }
}

/// A block of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockId {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// Stream of finalized blocks from now on, without gaps.
pub struct FinalizedBlocks {
    blocks: Blocks<SubstrateConfig>,
}

impl FinalizedBlocks {
    /// Waits for the next finalized block.
    ///
    /// # Errors
    /// Fails at the end of the stream, which only a lost connection causes.
    pub async fn next(&mut self) -> Result<BlockId, Error> {
        match self.blocks.next().await {
            Some(Ok(block)) => Ok(BlockId {
                number: block.number(),
                hash: block.hash().0,
            }),
            Some(Err(error)) => Err(from_subxt(error)),
            None => Err(Error::ConnectionLost {
                reason: "no more finalized blocks come".to_owned(),
            }),
        }
    }
}

impl ChainClient {
    /// Connects to the node at a WebSocket URL and checks that its chain is an Assay chain.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        if !(url.starts_with("ws://") || url.starts_with("wss://")) {
            return Err(Error::BadUrl {
                url: redaction::shown_url(url),
            });
        }
        match tokio::time::timeout(CONNECT_TIMEOUT, Self::connect_unbounded(url)).await {
            Ok(connected) => connected,
            Err(_) => Err(Error::Unreachable {
                url: redaction::shown_url(url),
                reason: format!("no answer within {} seconds", CONNECT_TIMEOUT.as_secs()),
            }),
        }
    }

    /// Connects like [`Self::connect`] and checks that the chain has this genesis.
    pub async fn connect_expecting(url: &str, genesis_hash: &[u8; 32]) -> Result<Self, Error> {
        let client = Self::connect(url).await?;
        let found = client.genesis_hash();
        if found != *genesis_hash {
            return Err(Error::WrongGenesis {
                url: redaction::shown_url(url),
                found: hex::encode(found),
                expected: hex::encode(genesis_hash),
            });
        }
        Ok(client)
    }

    async fn connect_unbounded(url: &str) -> Result<Self, Error> {
        let unreachable = |error: &(dyn std::error::Error + 'static)| Error::Unreachable {
            url: redaction::shown_url(url),
            reason: redaction::without(&chain(error), url),
        };
        let rpc = RpcClient::from_insecure_url(url)
            .await
            .map_err(|error| unreachable(&error))?;
        // These methods are served by every node; pruned state and missing subscriptions cost nothing here.
        let methods = LegacyRpcMethods::new(rpc.clone());
        let backend = LegacyBackend::builder().build(rpc.clone());
        let api = OnlineClient::from_backend_with_config(SubstrateConfig::new(), Arc::new(backend))
            .await
            .map_err(|error| unreachable(&error))?;
        let client = Self {
            inner: Arc::new(Inner {
                shown_url: redaction::shown_url(url),
                rpc,
                api,
                methods,
            }),
            pinned: None,
        };

        let at = client.at_best().await?;
        let missing = PALLETS
            .iter()
            .chain(&OTHER_PALLETS)
            .find(|pallet| at.metadata_ref().pallet_by_name(pallet).is_none());
        if let Some(pallet) = missing {
            return Err(Error::NotAssay {
                url: redaction::shown_url(url),
                chain: client.chain_name().await?,
                missing_pallet: (*pallet).to_owned(),
            });
        }
        Ok(client)
    }

    /// Returns the URL of the node, for messages: without user name, password and query.
    pub fn url(&self) -> &str {
        &self.inner.shown_url
    }

    /// Returns the hash of the genesis block, which identifies the chain.
    pub fn genesis_hash(&self) -> [u8; 32] {
        self.inner.api.genesis_hash().0
    }

    /// Returns the name in the chain's specification.
    pub async fn chain_name(&self) -> Result<String, Error> {
        self.inner.methods.system_chain().await.map_err(from_subxt)
    }

    /// Returns true for a chain that was started for development, on which published keys hold test tokens.
    pub async fn is_development(&self) -> Result<bool, Error> {
        let kind: serde_json::Value = self
            .inner
            .rpc
            .request("system_chainType", rpcs::client::rpc_params![])
            .await
            .map_err(from_subxt)?;
        Ok(matches!(kind.as_str(), Some("Development" | "Local")))
    }

    /// Returns a client of the same connection whose queries read the state of this block.
    ///
    /// # Errors
    /// [`Error::BlockUnavailable`] for a block that was replaced, or whose state the node forgot.
    pub async fn at(&self, block: &BlockId) -> Result<Self, Error> {
        let at = self
            .inner
            .api
            .at_block_hash_and_number(H256(block.hash), block.number)
            .await
            .map_err(|error| at_block_error(block.number, error))?;
        Ok(Self {
            inner: self.inner.clone(),
            pinned: Some(at),
        })
    }

    /// Returns the newest block that the node knows.
    pub async fn best_block(&self) -> Result<BlockId, Error> {
        let hash = self.best_hash().await?;
        self.block_of_hash("best", hash).await
    }

    /// Returns the newest finalized block.
    pub async fn finalized_block(&self) -> Result<BlockId, Error> {
        let hash = self
            .inner
            .methods
            .chain_get_finalized_head()
            .await
            .map_err(from_subxt)?;
        self.block_of_hash("finalized", hash).await
    }

    async fn block_of_hash(&self, name: &str, hash: H256) -> Result<BlockId, Error> {
        let header = self
            .inner
            .methods
            .chain_get_header(Some(hash))
            .await
            .map_err(from_subxt)?
            .ok_or_else(|| Error::BlockUnavailable {
                block: name.to_owned(),
                reason: "the node has not its header".to_owned(),
            })?;
        Ok(BlockId {
            number: Header::number(&header),
            hash: hash.0,
        })
    }

    async fn best_hash(&self) -> Result<H256, Error> {
        self.inner
            .methods
            .chain_get_block_hash(None)
            .await
            .map_err(from_subxt)?
            .ok_or_else(|| Error::BlockUnavailable {
                block: "best".to_owned(),
                reason: "the node names none".to_owned(),
            })
    }

    /// Returns the block with this number on the best block's chain.
    pub async fn block(&self, number: u64) -> Result<BlockId, Error> {
        let hash = self
            .inner
            .methods
            .chain_get_block_hash(Some(number.into()))
            .await
            .map_err(from_subxt)?
            .ok_or_else(|| Error::BlockUnavailable {
                block: number.to_string(),
                reason: "the node has no such block".to_owned(),
            })?;
        Ok(BlockId { number, hash: hash.0 })
    }

    /// Returns a stream of finalized blocks that begins with the newest one.
    pub async fn subscribe_finalized(&self) -> Result<FinalizedBlocks, Error> {
        let blocks = self.inner.api.stream_blocks().await.map_err(from_subxt)?;
        Ok(FinalizedBlocks { blocks })
    }

    /// Returns the events of Assay's pallets in a block, in order.
    ///
    /// Fails with [`Error::BlockUnavailable`] for an old block whose state the node has pruned.
    pub async fn events_at(&self, block_hash: &[u8; 32]) -> Result<Vec<AssayEvent>, Error> {
        let name = format!("0x{}", hex::encode(block_hash));
        let at = self
            .inner
            .api
            .at_block(H256(*block_hash))
            .await
            .map_err(|error| at_block_error(&name, error))?;
        let events = at
            .events()
            .fetch()
            .await
            .map_err(|error| state_error(name, error.into()))?;
        let mut assay_events = Vec::new();
        for event in events.iter() {
            assay_events.extend(AssayEvent::read(&event.map_err(from_subxt)?, at.metadata_ref())?);
        }
        Ok(assay_events)
    }

    /// Returns the connection itself, for methods that only Assay's nodes serve.
    pub(crate) fn rpc(&self) -> &RpcClient {
        &self.inner.rpc
    }

    /// Returns the methods that every node serves.
    pub(crate) fn methods(&self) -> &LegacyRpcMethods<RpcConfigFor<SubstrateConfig>> {
        &self.inner.methods
    }

    /// Calls a function of the runtime on the state that queries read, with arguments and answer in SCALE.
    pub(crate) async fn call_runtime(&self, function: &str, arguments: &[u8]) -> Result<Vec<u8>, Error> {
        let block = self.pinned.as_ref().map(AtBlock::block_hash);
        self.inner
            .methods
            .state_call(function, Some(arguments), block)
            .await
            .map_err(from_subxt)
    }

    /// Submits a transaction that no account signs.
    pub(crate) async fn submit_bytes(&self, transaction: &[u8]) -> Result<(), Error> {
        match self.inner.methods.author_submit_extrinsic(transaction).await {
            Ok(_) => Ok(()),
            Err(rpcs::Error::User(user)) => Err(Error::Rejected {
                reason: match user.data {
                    Some(data) => format!("{}: {data}", user.message),
                    None => user.message,
                },
            }),
            Err(error) => Err(from_subxt(error)),
        }
    }

    /// Returns the block that queries read.
    pub(crate) async fn at_best(&self) -> Result<AtBlock, Error> {
        if let Some(at) = &self.pinned {
            return Ok(at.clone());
        }
        let hash = self.best_hash().await?;
        self.inner
            .api
            .at_block(hash)
            .await
            .map_err(|error| at_block_error("best", error))
    }
}

pub(crate) fn at_block_error(block: impl ToString, error: OnlineClientAtBlockError) -> Error {
    use OnlineClientAtBlockError::{BlockHeaderNotFound, BlockNotFound};
    if matches!(error, BlockNotFound { .. } | BlockHeaderNotFound { .. }) {
        return Error::BlockUnavailable {
            block: block.to_string(),
            reason: error.to_string(),
        };
    }
    state_error(block, error.into())
}

/// Converts an error of reading a block's state. Only the node's text distinguishes pruned state from other
/// failures.
pub(crate) fn state_error(block: impl ToString, error: subxt::Error) -> Error {
    let text = chain(&error);
    if text.contains("State already discarded") || text.contains("UnknownBlock") {
        return Error::BlockUnavailable {
            block: block.to_string(),
            reason: text,
        };
    }
    from_subxt(error)
}
