//! The connection: to a node, to its blocks, and into its transaction pool.

use std::{fmt, sync::Arc, time::Duration};

use assay_evidence::EvidenceError;
use codec::Decode;
use subxt::{
    OnlineClient, SubstrateConfig,
    backend::LegacyBackend,
    client::{Blocks, OnlineClientAtBlock},
    config::{DefaultExtrinsicParamsBuilder, RpcConfigFor, substrate::H256},
    error::{
        BackendError, DispatchError, ExtrinsicError, OnlineClientAtBlockError, RpcError, TokenError,
        TransactionEventsError, TransactionProgressError, TransactionStatusError,
    },
    rpcs::{self, RpcClient, methods::legacy::LegacyRpcMethods},
};
use subxt_signer::sr25519::Keypair;

use crate::{
    calls::Call,
    error::{Error, chain, from_subxt},
    events::{AssayEvent, PALLETS},
    keys::account_of,
    types::AccountId,
};

/// Longest time that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Blocks for which a transaction stays valid: about six minutes, counted from the finalized block.
const MORTALITY_BLOCKS: u64 = 128;

/// Pallets that Assay's programs call besides those of [`PALLETS`].
const OTHER_PALLETS: [&str; 4] = ["System", "Balances", "Utility", "Preimage"];

/// Code by which a node refuses an invalid transaction.
const INVALID_TRANSACTION: i32 = 1_010;

pub(crate) type AtBlock = OnlineClientAtBlock<SubstrateConfig>;

/// A connection to one node of one Assay chain. Clones share the connection.
///
/// Queries read the *best* block, the newest that the node knows: what a worker must act on at once. It may
/// still be replaced by another, so a program that reports facts follows [`Self::subscribe_finalized`].
/// A broken connection stays broken: every request then fails with an error for which
/// [`Error::is_connection_lost`] holds, and the program connects anew.
#[derive(Clone)]
pub struct ChainClient {
    inner: Arc<Inner>,
}

struct Inner {
    url: String,
    rpc: RpcClient,
    api: OnlineClient<SubstrateConfig>,
    methods: LegacyRpcMethods<RpcConfigFor<SubstrateConfig>>,
}

impl fmt::Debug for ChainClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ChainClient")
            .field("url", &self.inner.url)
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

/// Where a transaction went, and what it did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Included {
    /// Number of the finalized block that contains it.
    pub block_number: u64,
    /// Hash of that block.
    pub block_hash: [u8; 32],
    /// The events of Assay's pallets that it caused.
    pub events: Vec<AssayEvent>,
}

/// The finalized blocks from now on, without gaps.
pub struct FinalizedBlocks {
    blocks: Blocks<SubstrateConfig>,
}

impl FinalizedBlocks {
    /// Waits for the next finalized block.
    ///
    /// # Errors
    /// The end of the stream is an error: the chain does not end, so the connection did.
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
    /// Connects to the node at a WebSocket URL and makes sure that its chain is an Assay chain.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        if !(url.starts_with("ws://") || url.starts_with("wss://")) {
            return Err(Error::BadUrl { url: url.to_owned() });
        }
        match tokio::time::timeout(CONNECT_TIMEOUT, Self::connect_unbounded(url)).await {
            Ok(connected) => connected,
            Err(_) => Err(Error::Unreachable {
                url: url.to_owned(),
                reason: format!("no answer within {} seconds", CONNECT_TIMEOUT.as_secs()),
            }),
        }
    }

    /// Connects like [`Self::connect`] and makes sure that it is the chain with this genesis.
    pub async fn connect_expecting(url: &str, genesis_hash: &[u8; 32]) -> Result<Self, Error> {
        let client = Self::connect(url).await?;
        let found = client.genesis_hash();
        if found != *genesis_hash {
            return Err(Error::WrongGenesis {
                url: url.to_owned(),
                found: hex::encode(found),
                expected: hex::encode(genesis_hash),
            });
        }
        Ok(client)
    }

    async fn connect_unbounded(url: &str) -> Result<Self, Error> {
        let unreachable = |error: &(dyn std::error::Error + 'static)| Error::Unreachable {
            url: url.to_owned(),
            reason: chain(error),
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
                url: url.to_owned(),
                rpc,
                api,
                methods,
            }),
        };

        let at = client.at_best().await?;
        let missing = PALLETS
            .iter()
            .chain(&OTHER_PALLETS)
            .find(|pallet| at.metadata_ref().pallet_by_name(pallet).is_none());
        if let Some(pallet) = missing {
            return Err(Error::NotAssay {
                url: url.to_owned(),
                chain: client.chain_name().await?,
                missing_pallet: (*pallet).to_owned(),
            });
        }
        Ok(client)
    }

    /// The URL that this client is connected to.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// Hash of the chain's first block, which tells it from every other chain.
    pub fn genesis_hash(&self) -> [u8; 32] {
        self.inner.api.genesis_hash().0
    }

    /// The chain's name as its spec has it.
    pub async fn chain_name(&self) -> Result<String, Error> {
        self.inner.methods.system_chain().await.map_err(from_subxt)
    }

    /// The newest block that the node knows.
    pub async fn best_block(&self) -> Result<BlockId, Error> {
        let at = self.at_best().await?;
        Ok(BlockId {
            number: at.block_number(),
            hash: at.block_hash().0,
        })
    }

    /// The newest block that cannot be replaced any more.
    pub async fn finalized_block(&self) -> Result<BlockId, Error> {
        let at = self
            .inner
            .api
            .at_current_block()
            .await
            .map_err(|error| at_block_error("finalized", error))?;
        Ok(BlockId {
            number: at.block_number(),
            hash: at.block_hash().0,
        })
    }

    /// The block with this number on the chain of the best block.
    pub async fn block(&self, number: u64) -> Result<BlockId, Error> {
        let at = self
            .inner
            .api
            .at_block(number)
            .await
            .map_err(|error| at_block_error(number, error))?;
        Ok(BlockId {
            number,
            hash: at.block_hash().0,
        })
    }

    /// The finalized blocks from now on, the newest one first.
    pub async fn subscribe_finalized(&self) -> Result<FinalizedBlocks, Error> {
        let blocks = self.inner.api.stream_blocks().await.map_err(from_subxt)?;
        Ok(FinalizedBlocks { blocks })
    }

    /// What Assay's pallets did in a block, in order.
    ///
    /// Nodes forget the state of old blocks, unless they are archives; then this is
    /// [`Error::BlockUnavailable`].
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

    /// The connection itself, for methods that only Assay's nodes serve.
    pub(crate) fn rpc(&self) -> &RpcClient {
        &self.inner.rpc
    }

    /// Calls a function of the runtime on the state of the best block; arguments and answer as SCALE encodes them.
    pub(crate) async fn call_runtime(&self, function: &str, arguments: &[u8]) -> Result<Vec<u8>, Error> {
        self.inner
            .methods
            .state_call(function, Some(arguments), None)
            .await
            .map_err(from_subxt)
    }

    /// Gives the node a transaction that no account signs.
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

    pub(crate) async fn at_best(&self) -> Result<AtBlock, Error> {
        let hash = self
            .inner
            .methods
            .chain_get_block_hash(None)
            .await
            .map_err(from_subxt)?
            .ok_or_else(|| Error::BlockUnavailable {
                block: "best".to_owned(),
                reason: "the node names none".to_owned(),
            })?;
        self.inner
            .api
            .at_block(hash)
            .await
            .map_err(|error| at_block_error("best", error))
    }

    /// Signs and submits a call and waits until it is finalized.
    ///
    /// Safe to repeat after a lost connection only when the call itself is: the transaction may have reached
    /// the pool and stays valid for some minutes.
    pub async fn submit(&self, call: Call, signer: &Keypair) -> Result<Included, Error> {
        let account = account_of(signer);
        let (pallet, name) = (call.pallet().to_owned(), call.name().to_owned());
        // The node counts transactions in its pool too, so one signer may submit several at once.
        let nonce = self
            .inner
            .methods
            .system_account_next_index(&account)
            .await
            .map_err(from_subxt)?;
        let parameters = DefaultExtrinsicParamsBuilder::new()
            .mortal(MORTALITY_BLOCKS)
            .nonce(nonce)
            .build();
        let mut transactions = self
            .inner
            .api
            .tx()
            .await
            .map_err(|error| at_block_error("finalized", error))?;
        let progress = transactions
            .sign_and_submit_then_watch(&call.into_payload(), signer, parameters)
            .await
            .map_err(|error| submission_error(account, error))?;
        tracing::debug!(%pallet, call = %name, hash = %progress.extrinsic_hash(), "submitted");
        let in_block = progress
            .wait_for_finalized()
            .await
            .map_err(|error| progress_error(account, error))?;
        let events = in_block
            .wait_for_success()
            .await
            .map_err(|error| outcome_error(account, error))?;

        let at = in_block
            .at()
            .await
            .map_err(|error| at_block_error(in_block.block_hash(), error))?;
        let mut assay_events = Vec::new();
        for event in events.iter() {
            assay_events.extend(AssayEvent::read(&event.map_err(from_subxt)?, at.metadata_ref())?);
        }
        Ok(Included {
            block_number: at.block_number(),
            block_hash: in_block.block_hash().0,
            events: assay_events,
        })
    }
}

fn at_block_error(block: impl ToString, error: OnlineClientAtBlockError) -> Error {
    use OnlineClientAtBlockError::{BlockHeaderNotFound, BlockNotFound};
    if matches!(error, BlockNotFound { .. } | BlockHeaderNotFound { .. }) {
        return Error::BlockUnavailable {
            block: block.to_string(),
            reason: error.to_string(),
        };
    }
    state_error(block, error.into())
}

/// An error of reading a block's state: pruned state is told from other failures by the node's words.
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

fn submission_error(account: AccountId, error: ExtrinsicError) -> Error {
    match error {
        ExtrinsicError::ErrorSubmittingTransaction(BackendError::Rpc(RpcError::ClientError(
            subxt::rpcs::Error::User(user),
        ))) => {
            let detail = user.data.as_ref().map_or("", |data| data.get()).trim_matches('"');
            rejected(account, user.code, &user.message, detail)
        }
        ExtrinsicError::PalletNameNotFound(_)
        | ExtrinsicError::CallNameNotFound { .. }
        | ExtrinsicError::EncodeError(_)
        | ExtrinsicError::Params(_)
        | ExtrinsicError::UnsupportedVersion => Error::Incompatible {
            reason: chain(&error),
        },
        error => from_subxt(error),
    }
}

/// A transaction that the pool did not take, with what to do about it where the reason is a known one.
fn rejected(account: AccountId, code: i32, message: &str, detail: &str) -> Error {
    if code == INVALID_TRANSACTION && detail.contains("Inability to pay") {
        return Error::InsufficientFunds {
            account,
            reason: "it does not cover the fee".to_owned(),
        };
    }
    let remedy = if detail.contains("outdated") || detail.contains("stale") || code == 1_014 {
        "; another program signs with the same account, try again"
    } else if detail.contains("exhaust") {
        "; it does not fit into a block, make it smaller"
    } else {
        ""
    };
    let detail = if detail.is_empty() {
        String::new()
    } else {
        format!(": {detail}")
    };
    Error::Rejected {
        reason: format!("{message}{detail}{remedy}"),
    }
}

fn progress_error(account: AccountId, error: TransactionProgressError) -> Error {
    match error {
        TransactionProgressError::TransactionStatusError(status) => {
            let (TransactionStatusError::Error(message)
            | TransactionStatusError::Invalid(message)
            | TransactionStatusError::Dropped(message)) = &status
            else {
                return Error::Rejected {
                    reason: status.to_string(),
                };
            };
            rejected(account, 0, message, "")
        }
        TransactionProgressError::UnexpectedEndOfTransactionStatusStream => Error::ConnectionLost {
            reason: "the node stopped telling of the transaction; it may still be included".to_owned(),
        },
        error => from_subxt(error),
    }
}

fn outcome_error(account: AccountId, error: TransactionEventsError) -> Error {
    let TransactionEventsError::ExtrinsicFailed(dispatch) = error else {
        return from_subxt(error);
    };
    match &dispatch {
        DispatchError::Module(module) => match module.details() {
            Ok(details) => {
                let (pallet, error) = (details.pallet.name(), &details.variant.name);
                let docs = details.variant.docs.join(" ").trim().to_owned();
                Error::Dispatch {
                    docs: refusal(pallet, error, module.bytes()).unwrap_or(docs),
                    pallet: pallet.to_owned(),
                    error: error.clone(),
                }
            }
            Err(error) => Error::Incompatible {
                reason: error.to_string(),
            },
        },
        DispatchError::Token(
            TokenError::FundsUnavailable | TokenError::NotExpendable | TokenError::Frozen,
        ) => Error::InsufficientFunds {
            account,
            reason: dispatch.to_string(),
        },
        _ => Error::Dispatch {
            pallet: "Runtime".to_owned(),
            error: format!("{dispatch:?}"),
            docs: dispatch.to_string(),
        },
    }
}

/// Why evidence was refused: the error of the pallet carries it behind its own two bytes.
fn refusal(pallet: &str, error: &str, bytes: [u8; 5]) -> Option<String> {
    if (pallet, error) != ("Attestation", "Refused") {
        return None;
    }
    let [_, _, reason @ ..] = bytes;
    let reason = EvidenceError::decode(&mut &reason[..]).ok()?;
    Some(reason.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn refused_evidence_says_why() {
        let bytes = |error: EvidenceError| {
            let mut bytes = [56, 5, 0, 0, 0];
            let encoded = codec::Encode::encode(&error);
            bytes[2..2 + encoded.len()].copy_from_slice(&encoded);
            bytes
        };
        let error = EvidenceError::WrongBinding;
        assert_eq!(
            refusal("Attestation", "Refused", bytes(error)),
            Some(error.to_string())
        );
        let longest = EvidenceError::UnsupportedVersion {
            part: assay_evidence::Part::Quote,
            version: 9,
        };
        assert_eq!(
            refusal("Attestation", "Refused", bytes(longest)),
            Some(longest.to_string())
        );
        assert_eq!(refusal("Attestation", "NoSuchKey", bytes(error)), None);
        assert_eq!(refusal("Attestation", "Refused", [56, 5, 255, 0, 0]), None);
    }

    #[test]
    fn rejected_names_the_remedy() {
        let account = AccountId::from([1; 32]);
        let error = rejected(
            account,
            INVALID_TRANSACTION,
            "Invalid Transaction",
            "Inability to pay some fees (e.g. account balance too low)",
        );
        assert!(matches!(error, Error::InsufficientFunds { .. }), "{error}");
        let error = rejected(
            account,
            INVALID_TRANSACTION,
            "Invalid Transaction",
            "Transaction is outdated",
        );
        assert!(error.to_string().contains("try again"), "{error}");
        let error = rejected(account, 0, "Dropped", "");
        assert_eq!(error.to_string(), "the node refused the transaction: Dropped");
    }
}
