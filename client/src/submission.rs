//! Transactions: made, given to the node's pool, and followed into a best block or a final one.

use std::{fmt, time::Duration};

use assay_evidence::EvidenceError;
use codec::Decode;
use subxt::{
    SubstrateConfig,
    client::OnlineClientAtBlockImpl,
    config::{DefaultExtrinsicParamsBuilder, substrate::H256},
    error::{
        BackendError, DispatchError, ExtrinsicError, RpcError, TokenError, TransactionEventsError,
        TransactionProgressError, TransactionStatusError,
    },
    transactions::{TransactionInBlock, TransactionProgress, TransactionStatus},
};
use subxt_signer::sr25519::Keypair;

use crate::{
    calls::Call,
    client::{BlockId, ChainClient, at_block_error},
    error::{Error, chain, from_subxt},
    events::AssayEvent,
    keys::account_of,
    nonces,
    types::AccountId,
};

/// Blocks for which a transaction stays valid, counted from its anchor: about six minutes.
const MORTALITY_BLOCKS: u64 = 128;

/// Deepest ancestor of the best block that a transaction's validity is counted from. The finalized block is
/// the anchor while it is nearer. A reorganisation that goes deeper than the anchor makes the transaction
/// invalid; the deeper the anchor, the sooner the transaction expires.
const DEEPEST_ANCHOR_BLOCKS: u64 = 16;

/// Code by which a node refuses an invalid transaction.
const INVALID_TRANSACTION: i32 = 1_010;

/// Code by which a node refuses a transaction whose nonce another one in its pool has, for the same fee.
const NONCE_IS_TAKEN: i32 = 1_014;

/// Number of times that a transaction is signed with a new nonce, where another process used the one before.
const MAX_NONCES: u32 = 5;

/// Longest wait for the node's first word on a transaction that it took.
const POOL_PATIENCE: Duration = Duration::from_secs(2);

/// Message of the transport for a transaction that the pool stopped watching because nothing became final.
const FINALITY_TIMEOUT: &str = "Finality timeout";

type AtSubmission = OnlineClientAtBlockImpl<SubstrateConfig>;

/// Block of a transaction, with the transaction's events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Included {
    /// Number of the block that contains it.
    pub block_number: u64,
    /// Hash of that block.
    pub block_hash: [u8; 32],
    /// Events of Assay's pallets.
    pub events: Vec<AssayEvent>,
}

/// Transaction in the node's pool. Dropping this only ends the watch: the transaction stays in the pool.
///
/// ```no_run
/// # use std::time::Duration;
/// # use assay_client::{ChainClient, calls, keys};
/// # async fn example(client: ChainClient) -> Result<(), Box<dyn std::error::Error>> {
/// let worker = keys::keypair_from_uri("//Bob")?;
/// let mut submitted = client.submit_and_watch(calls::start(7), &worker).await?;
/// // The best block has the start: enough to go on with the job.
/// submitted.in_best_block(Duration::from_secs(60)).await?;
/// // Nothing can undo it any more.
/// submitted.finalized(Duration::from_secs(180)).await?;
/// # Ok(())
/// # }
/// ```
pub struct Submitted {
    account: AccountId,
    progress: TransactionProgress<SubstrateConfig, AtSubmission>,
    /// Status that was received and not yet handled.
    received: Option<TransactionStatus<SubstrateConfig, AtSubmission>>,
}

impl fmt::Debug for Submitted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Submitted")
            .field("hash", &self.progress.extrinsic_hash())
            .finish_non_exhaustive()
    }
}

/// Inclusion that a caller waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Awaited {
    BestBlock,
    FinalBlock,
}

impl Submitted {
    /// Returns the transaction's hash, by which blocks and explorers show it.
    pub fn hash(&self) -> [u8; 32] {
        self.progress.extrinsic_hash().0
    }

    /// Waits for the node's first status of the transaction. From then on the account's next nonce counts it.
    pub async fn in_pool(&mut self) -> Result<(), Error> {
        if self.received.is_none() {
            self.received = Some(self.next_status().await?);
        }
        Ok(())
    }

    async fn next_status(&mut self) -> Result<TransactionStatus<SubstrateConfig, AtSubmission>, Error> {
        if let Some(status) = self.received.take() {
            return Ok(status);
        }
        match self.progress.next().await {
            Some(Ok(status)) => Ok(status),
            Some(Err(error)) => Err(progress_error(self.account, error)),
            None => Err(ended()),
        }
    }

    /// Waits until a block of the best chain has the transaction, and returns its events there.
    ///
    /// Another block may yet replace it. The node then includes the transaction again, if it is still valid.
    /// So callers decide anew by the state of later blocks, and take no irreversible step.
    ///
    /// # Errors
    /// [`Error::Undecided`] when it is in no block within the time, [`Error::Dispatch`] when the call failed
    /// there.
    pub async fn in_best_block(&mut self, within: Duration) -> Result<Included, Error> {
        self.included(Awaited::BestBlock, within).await
    }

    /// Waits until a finalized block has the transaction, and returns its events there.
    ///
    /// # Errors
    /// [`Error::Undecided`] when it is not final within the time, as while the chain finalizes nothing;
    /// [`Error::Dispatch`] when the call failed.
    pub async fn finalized(&mut self, within: Duration) -> Result<Included, Error> {
        self.included(Awaited::FinalBlock, within).await
    }

    async fn included(&mut self, awaited: Awaited, within: Duration) -> Result<Included, Error> {
        let undecided = self.undecided(awaited, format!("after {} seconds", within.as_secs()));
        tokio::time::timeout(within, self.included_unbounded(awaited))
            .await
            .unwrap_or(Err(undecided))
    }

    fn undecided(&self, awaited: Awaited, waited: String) -> Error {
        Error::Undecided {
            transaction: hex::encode(self.progress.extrinsic_hash().0),
            awaited: match awaited {
                Awaited::BestBlock => "in a block",
                Awaited::FinalBlock => "final",
            },
            waited,
        }
    }

    async fn included_unbounded(&mut self, awaited: Awaited) -> Result<Included, Error> {
        loop {
            match self.next_status().await? {
                TransactionStatus::InFinalizedBlock(block) => return read(self.account, &block).await,
                TransactionStatus::InBestBlock(block) if awaited == Awaited::BestBlock => {
                    match read(self.account, &block).await {
                        // Another block replaced it between the two answers, and will have the transaction.
                        Err(Error::BlockUnavailable { .. }) => (),
                        outcome => return outcome,
                    }
                }
                TransactionStatus::Dropped { message } if message == FINALITY_TIMEOUT => {
                    return Err(self.undecided(awaited, "for as long as the node watches it".to_owned()));
                }
                TransactionStatus::Invalid { message } => return Err(invalidated(&message)),
                TransactionStatus::Error { message } | TransactionStatus::Dropped { message } => {
                    return Err(rejected(self.account, 0, &message, ""));
                }
                TransactionStatus::Validated
                | TransactionStatus::Broadcasted
                | TransactionStatus::NoLongerInBestBlock
                | TransactionStatus::InBestBlock(_) => (),
            }
        }
    }
}

/// Reads the events of an account's transaction in a block.
async fn read(
    account: AccountId,
    in_block: &TransactionInBlock<SubstrateConfig, AtSubmission>,
) -> Result<Included, Error> {
    let at = in_block
        .at()
        .await
        .map_err(|error| at_block_error(in_block.block_hash(), error))?;
    let events = in_block.wait_for_success().await.map_err(|error| {
        with_limits(outcome_error(account, error), |name| {
            let address = subxt::dynamic::constant::<u64>("JobEscrow", name);
            at.constants().entry(address).ok()
        })
    })?;
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

fn ended() -> Error {
    Error::ConnectionLost {
        reason: "the node stopped reporting the transaction's status; it may still be included".to_owned(),
    }
}

impl ChainClient {
    /// Signs and submits a call and waits until it is finalized, however long that takes.
    ///
    /// After a lost connection, repeat this only if the call itself may be repeated: the transaction may have
    /// reached the pool, and stays valid for some minutes.
    pub async fn submit(&self, call: Call, signer: &Keypair) -> Result<Included, Error> {
        let mut submitted = self.submit_and_watch(call, signer).await?;
        submitted.included_unbounded(Awaited::FinalBlock).await
    }

    /// Signs a call and submits it to the node's pool. The returned watch follows it into a block.
    ///
    /// The transaction is valid for 128 blocks from its anchor on, which is near the best block whether or
    /// not anything becomes final.
    ///
    /// Any number of clients and tasks of one process may submit for one account at once: each gets a nonce
    /// of its own. Where another process takes the nonce first, the transaction is signed again with the next
    /// one, a few times.
    pub async fn submit_and_watch(&self, call: Call, signer: &Keypair) -> Result<Submitted, Error> {
        let account = account_of(signer);
        let (pallet, name) = (call.pallet().to_owned(), call.name().to_owned());
        let payload = call.into_payload();
        let _turn = nonces::turn(self.genesis_hash(), account.0).await;
        let mut attempt = 0;
        let progress = loop {
            attempt += 1;
            let at = self.at_best().await?;
            let anchor = self.anchor_below(at.block_number()).await?;
            // The node counts transactions in its pool too, so one signer may submit several at once.
            let nonce = self
                .methods()
                .system_account_next_index(&account)
                .await
                .map_err(from_subxt)?;
            let parameters = DefaultExtrinsicParamsBuilder::new()
                .mortal_from_unchecked(MORTALITY_BLOCKS, anchor.number, H256(anchor.hash))
                .nonce(nonce)
                .build();
            let outcome = at
                .transactions()
                .sign_and_submit_then_watch(&payload, signer, parameters)
                .await;
            match outcome {
                Ok(progress) => break progress,
                // It never came into the pool, so it cannot be included twice.
                Err(error) if is_nonce_taken(&error) && attempt < MAX_NONCES => {
                    tracing::debug!(%pallet, call = %name, nonce, "the nonce is taken; signing with another");
                }
                Err(error) => return Err(submission_error(account, error)),
            }
        };
        tracing::debug!(%pallet, call = %name, hash = %progress.extrinsic_hash(), "submitted");
        let mut submitted = Submitted {
            account,
            progress,
            received: None,
        };
        // The turn ends when the pool has it. A node that says nothing must not block the account.
        match tokio::time::timeout(POOL_PATIENCE, submitted.in_pool()).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(submitted),
        }
    }

    /// Returns a recent block to which short-lived statements can be bound: the finalized one, or, while
    /// finality lags, an ancestor of the best block that is hardly ever replaced.
    pub async fn anchor(&self) -> Result<BlockId, Error> {
        let best = self.best_block().await?;
        self.anchor_below(best.number).await
    }

    async fn anchor_below(&self, best_number: u64) -> Result<BlockId, Error> {
        let finalized = self.finalized_block().await?;
        let shallowest = best_number.saturating_sub(DEEPEST_ANCHOR_BLOCKS);
        if finalized.number >= shallowest {
            return Ok(finalized);
        }
        self.block(shallowest).await
    }
}

/// Returns true if the pool refused a transaction because of its nonce alone.
fn is_nonce_taken(error: &ExtrinsicError) -> bool {
    let ExtrinsicError::ErrorSubmittingTransaction(BackendError::Rpc(RpcError::ClientError(
        subxt::rpcs::Error::User(user),
    ))) = error
    else {
        return false;
    };
    let detail = user.data.as_ref().map_or("", |data| data.get());
    user.code == NONCE_IS_TAKEN || (user.code == INVALID_TRANSACTION && is_stale(detail))
}

fn is_stale(detail: &str) -> bool {
    detail.contains("outdated") || detail.contains("stale")
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

/// Returns the error for a transaction that the pool refused, with the remedy for a known reason.
fn rejected(account: AccountId, code: i32, message: &str, detail: &str) -> Error {
    if code == INVALID_TRANSACTION && detail.contains("Inability to pay") {
        return Error::InsufficientFunds {
            account,
            reason: "it does not cover the fee".to_owned(),
        };
    }
    let remedy = if is_stale(detail) || code == NONCE_IS_TAKEN {
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

/// Returns the error for a transaction that the pool took, and found invalid at a later block.
///
/// It is not signed again by itself: on another branch of the chain it may still be included.
fn invalidated(message: &str) -> Error {
    Error::Rejected {
        reason: format!(
            "{message}; another program used the same account since. It may still be included after a change of the best \
             chain: look at the account's transactions before you try again"
        ),
    }
}

fn progress_error(account: AccountId, error: TransactionProgressError) -> Error {
    match error {
        TransactionProgressError::TransactionStatusError(status) => match &status {
            TransactionStatusError::Invalid(message) => invalidated(message),
            TransactionStatusError::Error(message) | TransactionStatusError::Dropped(message) => {
                rejected(account, 0, message, "")
            }
            _ => Error::Rejected {
                reason: status.to_string(),
            },
        },
        TransactionProgressError::UnexpectedEndOfTransactionStatusStream => Error::ConnectionLost {
            reason: "the node stopped reporting the transaction's status; it may still be included"
                .to_owned(),
        },
        error => from_subxt(error),
    }
}

fn outcome_error(account: AccountId, error: TransactionEventsError) -> Error {
    let error_text = error.to_string();
    let dispatch = match error {
        TransactionEventsError::ExtrinsicFailed(dispatch) => dispatch,
        // Another block replaced this one meanwhile.
        TransactionEventsError::BlockNotFound { block_hash } => {
            return Error::BlockUnavailable {
                block: block_hash.to_string(),
                reason: error_text,
            };
        }
        error => return from_subxt(error),
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

/// Adds the bounds of times to the errors of an order that exceeds them. `constant` reads a constant of the
/// escrow, in milliseconds.
fn with_limits(error: Error, constant: impl Fn(&'static str) -> Option<u64>) -> Error {
    let Error::Dispatch { pallet, error, docs } = error else {
        return error;
    };
    let (least, most) = match (pallet.as_str(), error.as_str()) {
        ("JobEscrow", "BadDuration") => (Some("MinDurationMs"), Some("MaxDurationMs")),
        ("JobEscrow", "BadOpenTime") => (None, Some("MaxOpenMs")),
        _ => (None, None),
    };
    let least = least
        .and_then(&constant)
        .map(|ms| format!("at least {}", time(ms)));
    let most = most.and_then(&constant).map(|ms| format!("at most {}", time(ms)));
    let bounds: Vec<_> = least.into_iter().chain(most).collect();
    let docs = if bounds.is_empty() {
        docs
    } else {
        format!("{}: {}", docs.trim_end_matches('.'), bounds.join(", "))
    };
    Error::Dispatch { pallet, error, docs }
}

/// Writes milliseconds in the largest unit in which they are whole.
fn time(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let whole = units
        .into_iter()
        .find(|(length, _)| ms > 0 && ms.is_multiple_of(*length));
    match whole {
        Some((length, unit)) => format!("{} {unit}", ms / length),
        None => format!("{ms} ms"),
    }
}

/// Returns the reason for refused evidence, which the pallet's error carries behind its own two bytes.
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

    use std::collections::BTreeSet;

    use assay_runtime::{Address, UncheckedExtrinsic};
    use polkadot_sdk::sp_runtime::generic::{Era, Preamble};
    use serde_json::json;
    use subxt_signer::sr25519::dev;

    use super::*;

    #[test]
    fn errors_of_times_name_their_limits() {
        let refused = |error: &str| Error::Dispatch {
            pallet: "JobEscrow".into(),
            error: error.into(),
            docs: "The duration is shorter or longer than allowed.".into(),
        };
        let constant = |name| match name {
            "MinDurationMs" => Some(60_000),
            "MaxDurationMs" => Some(365 * 86_400_000),
            _ => None,
        };
        let text = with_limits(refused("BadDuration"), constant).to_string();
        assert!(
            text.contains("than allowed: at least 1 min, at most 365 d"),
            "{text}"
        );
        let text = with_limits(refused("NoSlots"), constant).to_string();
        assert!(text.ends_with("than allowed)"), "{text}");
        assert_eq!(time(1_500), "1500 ms");
    }
    use crate::{calls, test_node::TestNode};

    const WITHIN: Duration = Duration::from_secs(10);

    /// Returns a node whose best and finalized blocks have these numbers, and a client of it.
    async fn node_at(best: u64, finalized: u64) -> (TestNode, ChainClient) {
        let node = TestNode::start().await;
        let client = ChainClient::connect(&node.url()).await.unwrap();
        let final_block = node.make_block(finalized, b"final");
        node.finalize(final_block);
        if best > finalized {
            node.make_block(best, b"best");
        }
        (node, client)
    }

    /// Returns the nonce of a transaction, as the runtime reads it.
    fn nonce_of(bytes: &[u8]) -> u32 {
        let transaction = UncheckedExtrinsic::decode(&mut &bytes[..]).unwrap();
        let Preamble::Signed(Address::Id(_), _, extensions) = transaction.preamble else {
            panic!("it is signed by an account");
        };
        extensions.6.0
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_nonce_is_used_twice_by_clients_of_one_process() {
        let (node, _) = node_at(5, 5).await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let client = ChainClient::connect(&node.url()).await.unwrap();
            for _ in 0..8 {
                // A clone of a connection of its own: of all of them one account signs.
                let client = client.clone();
                tasks.spawn(async move {
                    client
                        .submit_and_watch(calls::start(7), &dev::bob())
                        .await
                        .unwrap()
                        .hash()
                });
            }
        }
        let hashes: BTreeSet<_> = tasks.join_all().await.into_iter().collect();
        assert_eq!(hashes.len(), 64);
        let nonces: BTreeSet<_> = node.pool().iter().map(|pooled| nonce_of(&pooled.bytes)).collect();
        assert_eq!(nonces, (7..71).collect());
    }

    /// Returns the era of a transaction, as the runtime reads it.
    fn era_of(bytes: &[u8]) -> Era {
        let transaction = UncheckedExtrinsic::decode(&mut &bytes[..]).unwrap();
        let Preamble::Signed(Address::Id(_), _, extensions) = transaction.preamble else {
            panic!("it is signed by an account");
        };
        extensions.5.0
    }

    #[tokio::test]
    async fn transaction_is_valid_however_far_finality_is_behind() {
        // Nothing became final for three quarters of an hour: counted from the final block, it would be
        // outdated.
        let (node, client) = node_at(1_000, 100).await;
        client
            .submit_and_watch(calls::start(7), &dev::bob())
            .await
            .unwrap();
        let era = era_of(&node.pooled().await.bytes);
        assert_eq!(era.birth(1_000), 1_000 - DEEPEST_ANCHOR_BLOCKS);
        assert_eq!(era.death(1_000), era.birth(1_000) + MORTALITY_BLOCKS);

        assert_eq!(
            client.anchor().await.unwrap().number,
            1_000 - DEEPEST_ANCHOR_BLOCKS
        );

        let (node, client) = node_at(1_000, 998).await;
        client
            .submit_and_watch(calls::start(7), &dev::bob())
            .await
            .unwrap();
        assert_eq!(era_of(&node.pooled().await.bytes).birth(1_000), 998);
    }

    #[tokio::test]
    async fn inclusion_in_a_best_block_needs_no_finality() {
        let (node, client) = node_at(5, 5).await;
        let mut submitted = client
            .submit_and_watch(calls::start(7), &dev::bob())
            .await
            .unwrap();
        let pooled = node.pooled().await;
        let block = node.make_block_with(6, &pooled);
        pooled.in_block(block);
        let included = submitted.in_best_block(WITHIN).await.unwrap();
        assert_eq!((included.block_number, included.block_hash), (6, block.hash));

        let error = submitted.finalized(Duration::from_millis(100)).await.unwrap_err();
        assert!(
            matches!(error, Error::Undecided { awaited: "final", .. }),
            "{error}"
        );
        assert!(!error.is_connection_lost(), "the node answers");
        pooled.tell(json!({ "finalized": H256(block.hash) }));
        assert_eq!(submitted.finalized(WITHIN).await.unwrap(), included);
    }

    #[tokio::test]
    async fn block_that_is_replaced_counts_for_nothing() {
        let (node, client) = node_at(5, 5).await;
        let mut submitted = client
            .submit_and_watch(calls::start(7), &dev::bob())
            .await
            .unwrap();
        submitted.in_pool().await.unwrap();
        let pooled = node.pooled().await;
        let replaced = node.make_block_with(6, &pooled);
        node.forget(replaced);
        pooled.in_block(replaced);
        pooled.tell(json!({ "retracted": H256(replaced.hash) }));
        let block = node.make_block_with(7, &pooled);
        pooled.in_block(block);
        assert_eq!(
            submitted.in_best_block(WITHIN).await.unwrap().block_hash,
            block.hash
        );
    }

    #[tokio::test]
    async fn transaction_that_nothing_becomes_of_is_undecided() {
        let (node, client) = node_at(5, 5).await;
        let mut submitted = client
            .submit_and_watch(calls::start(7), &dev::bob())
            .await
            .unwrap();
        let error = submitted
            .in_best_block(Duration::from_millis(100))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("was not in a block after"), "{error}");
        assert!(!error.is_connection_lost(), "the node answers");
        // The pool forgets to watch it, and it may be in a block.
        node.pooled()
            .await
            .tell(json!({ "finalityTimeout": H256([1; 32]) }));
        let error = submitted.finalized(WITHIN).await.unwrap_err();
        assert!(matches!(error, Error::Undecided { .. }), "{error}");
    }

    #[tokio::test]
    async fn queries_can_be_asked_of_one_block() {
        let (node, client) = node_at(5, 3).await;
        let best = client.best_block().await.unwrap();
        let pinned = client.at(&best).await.unwrap();
        let later = node.make_block(6, b"later");
        assert_eq!(pinned.at_best().await.unwrap().block_hash().0, best.hash);
        assert_eq!(client.at_best().await.unwrap().block_hash().0, later.hash);
        assert_eq!(
            pinned.best_block().await.unwrap(),
            later,
            "a pinned client still reports the newest block"
        );
        assert_eq!(client.finalized_block().await.unwrap().number, 3);
    }

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
