//! Node under a test's control. It serves the JSON-RPC methods that this client uses, with the metadata of
//! the runtime of the same source tree. The test decides on its blocks, its silence and the fate of
//! transactions.

#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use assay_runtime::{Runtime, RuntimeEvent, VERSION};
use codec::Encode;
use jsonrpsee::{
    Extensions, PendingSubscriptionSink, RpcModule, SubscriptionMessage,
    core::SubscriptionResult,
    server::{Server, ServerHandle},
    types::Params,
};
use polkadot_sdk::{
    frame_system::{self, DispatchEventInfo, EventRecord, Phase},
    sp_io::TestExternalities,
};
use serde_json::{Value, json};
use sp_crypto_hashing::{blake2_256, twox_128};
use subxt::config::substrate::{Digest, H256, SubstrateHeader};
use tokio::sync::{broadcast, watch};

use crate::client::BlockId;

const METADATA_VERSION: u32 = 15;

/// Capacity of a subscriber's queue.
const BUFFERED: usize = 64;

/// Submitted transaction, and the sender of its status.
#[derive(Clone)]
pub(crate) struct Pooled {
    /// The transaction as it came.
    pub(crate) bytes: Vec<u8>,
    statuses: broadcast::Sender<Value>,
}

impl Pooled {
    /// Sends a status of the transaction, in the node's form: `"ready"` or `{"inBlock": hash}`.
    pub(crate) fn tell(&self, status: Value) {
        self.statuses.send(status).unwrap();
    }

    /// Sends the status that the transaction is in a block.
    pub(crate) fn in_block(&self, block: BlockId) {
        self.tell(json!({ "inBlock": H256(block.hash) }));
    }
}

struct State {
    /// Headers by hash; those that are not here were replaced and forgotten.
    headers: Mutex<HashMap<H256, SubstrateHeader<H256>>>,
    bodies: Mutex<HashMap<H256, Vec<Vec<u8>>>>,
    best: watch::Sender<H256>,
    finalized: watch::Sender<H256>,
    genesis: H256,
    is_silent: AtomicBool,
    subscriptions: AtomicUsize,
    pool: Mutex<Vec<Pooled>>,
}

impl State {
    fn add(&self, header: SubstrateHeader<H256>) -> H256 {
        let hash = H256(blake2_256(&header.encode()));
        self.headers.lock().unwrap().insert(hash, header);
        hash
    }

    fn header(&self, hash: H256) -> Option<SubstrateHeader<H256>> {
        self.headers.lock().unwrap().get(&hash).cloned()
    }

    /// The block with this number below the best one; a chain without gaps is not kept, so there is one for
    /// each number.
    fn at(&self, number: u64) -> H256 {
        if number == 0 {
            return self.genesis;
        }
        let best = *self.best.borrow();
        if self.header(best).is_some_and(|header| header.number == number) {
            return best;
        }
        self.add(header(number, b"ancestor"))
    }
}

/// Clones are the same node.
#[derive(Clone)]
pub(crate) struct TestNode {
    state: Arc<State>,
    server: ServerHandle,
    port: u16,
}

impl TestNode {
    pub(crate) async fn start() -> Self {
        let genesis = header(0, b"genesis");
        let hash = H256(blake2_256(&genesis.encode()));
        let state = Arc::new(State {
            headers: Mutex::new(HashMap::from([(hash, genesis)])),
            bodies: Mutex::default(),
            best: watch::Sender::new(hash),
            finalized: watch::Sender::new(hash),
            genesis: hash,
            is_silent: AtomicBool::new(false),
            subscriptions: AtomicUsize::new(0),
            pool: Mutex::default(),
        });
        let server = Server::builder().build("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let server = server.start(methods(state.clone()));
        Self { state, server, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Makes a block with this number the best one.
    pub(crate) fn make_block(&self, number: u64, contents: &[u8]) -> BlockId {
        let hash = self.state.add(header(number, contents));
        self.state.best.send_replace(hash);
        BlockId { number, hash: hash.0 }
    }

    /// Makes a block with a transaction, which succeeds there.
    pub(crate) fn make_block_with(&self, number: u64, transaction: &Pooled) -> BlockId {
        let block = self.make_block(number, &transaction.bytes);
        let body = vec![transaction.bytes.clone()];
        self.state.bodies.lock().unwrap().insert(H256(block.hash), body);
        block
    }

    /// Has the node forget a block, as one that was replaced.
    pub(crate) fn forget(&self, block: BlockId) {
        self.state.headers.lock().unwrap().remove(&H256(block.hash));
    }

    pub(crate) fn finalize(&self, block: BlockId) {
        self.state.finalized.send_replace(H256(block.hash));
    }

    /// Silences subscriptions to blocks, or lets them speak again.
    pub(crate) fn silence(&self, is_silent: bool) {
        self.state.is_silent.store(is_silent, Ordering::SeqCst);
    }

    /// Number of subscriptions to blocks so far.
    pub(crate) fn subscriptions(&self) -> usize {
        self.state.subscriptions.load(Ordering::SeqCst)
    }

    /// Waits for the first transaction that was submitted.
    pub(crate) async fn pooled(&self) -> Pooled {
        loop {
            if let Some(pooled) = self.state.pool.lock().unwrap().first() {
                return pooled.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// The transactions that were submitted so far.
    pub(crate) fn pool(&self) -> Vec<Pooled> {
        self.state.pool.lock().unwrap().clone()
    }

    pub(crate) fn stop(&self) {
        self.server.stop().unwrap();
    }
}

fn header(number: u64, contents: &[u8]) -> SubstrateHeader<H256> {
    SubstrateHeader {
        parent_hash: H256::zero(),
        number,
        state_root: H256(blake2_256(contents)),
        extrinsics_root: H256::zero(),
        digest: Digest { logs: Vec::new() },
    }
}

/// Answer of the node to a call, given its state and the call's parameters.
type Answer = fn(&State, Params<'_>) -> Value;

fn methods(state: Arc<State>) -> RpcModule<State> {
    let mut module = RpcModule::from_arc(state);
    let answers: [(&'static str, Answer); 8] = [
        ("system_chain", |_, _| json!("Test")),
        // As nodes do, it counts what is in its pool.
        ("system_accountNextIndex", |state, _| {
            json!(7 + state.pool.lock().unwrap().len())
        }),
        ("chain_getFinalizedHead", |state, _| {
            json!(*state.finalized.borrow())
        }),
        ("chain_getBlockHash", |state, params| {
            let number: Option<u64> = params.sequence().optional_next().unwrap_or_default();
            json!(number.map_or_else(|| *state.best.borrow(), |number| state.at(number)))
        }),
        ("chain_getHeader", |state, params| {
            json!(state.header(params.one().unwrap()))
        }),
        ("chain_getBlock", |state, params| {
            let hash: H256 = params.one().unwrap();
            let extrinsics: Vec<_> = state
                .bodies
                .lock()
                .unwrap()
                .get(&hash)
                .into_iter()
                .flatten()
                .map(hexed)
                .collect();
            let block = |header| json!({ "block": { "header": header, "extrinsics": extrinsics }, "justifications": null });
            json!(state.header(hash).map(block))
        }),
        ("state_call", |_, params| {
            let (function, arguments): (String, String) = {
                let mut sequence = params.sequence();
                (sequence.next().unwrap(), sequence.next().unwrap())
            };
            json!(hexed(&call(&function, &arguments)))
        }),
        ("state_getStorage", |_, params| {
            let key: String = params.sequence().next().unwrap();
            let events = [twox_128(b"System"), twox_128(b"Events")].concat();
            json!((key == hexed(&events)).then(|| hexed(&success())))
        }),
    ];
    for (name, answer) in answers {
        module
            .register_method(name, move |params, state, _| answer(state, params))
            .unwrap();
    }
    register_heads(
        &mut module,
        "chain_subscribeNewHeads",
        "chain_unsubscribeNewHeads",
        |state| state.best.subscribe(),
    );
    register_heads(
        &mut module,
        "chain_subscribeFinalizedHeads",
        "chain_unsubscribeFinalizedHeads",
        |state| state.finalized.subscribe(),
    );
    module
        .register_subscription(
            "author_submitAndWatchExtrinsic",
            "author_extrinsicUpdate",
            "author_unwatchExtrinsic",
            watch_transaction,
        )
        .unwrap();
    module
}

fn register_heads(
    module: &mut RpcModule<State>,
    subscribe: &'static str,
    unsubscribe: &'static str,
    heads: fn(&State) -> watch::Receiver<H256>,
) {
    module
        .register_subscription(
            subscribe,
            subscribe,
            unsubscribe,
            move |_, pending, state, _| async move {
                state.subscriptions.fetch_add(1, Ordering::SeqCst);
                let mut heads = heads(&state);
                heads.mark_changed();
                let sink = pending.accept().await?;
                while heads.changed().await.is_ok() {
                    let hash = *heads.borrow_and_update();
                    if state.is_silent.load(Ordering::SeqCst) {
                        continue;
                    }
                    let header = state.header(hash);
                    sink.send(SubscriptionMessage::from_json(&header)?).await?;
                }
                Ok(())
            },
        )
        .unwrap();
}

async fn watch_transaction(
    params: Params<'static>,
    pending: PendingSubscriptionSink,
    state: Arc<State>,
    _: Extensions,
) -> SubscriptionResult {
    let text: String = params.one()?;
    let (statuses, mut told) = broadcast::channel(BUFFERED);
    let sink = pending.accept().await?;
    let bytes = hex::decode(text.trim_start_matches("0x"))?;
    state.pool.lock().unwrap().push(Pooled { bytes, statuses });
    sink.send(SubscriptionMessage::from_json(&"ready")?).await?;
    while let Ok(status) = told.recv().await {
        sink.send(SubscriptionMessage::from_json(&status)?).await?;
    }
    Ok(())
}

/// Answers of the runtime that need no state of a chain.
fn call(function: &str, _arguments: &str) -> Vec<u8> {
    static METADATA: OnceLock<Vec<u8>> = OnceLock::new();
    match function {
        "Core_version" => VERSION.encode(),
        "Metadata_metadata_versions" => vec![METADATA_VERSION].encode(),
        "Metadata_metadata_at_version" => METADATA
            .get_or_init(|| {
                TestExternalities::default()
                    .execute_with(|| Runtime::metadata_at_version(METADATA_VERSION))
                    .encode()
            })
            .clone(),
        "AccountNonceApi_account_nonce" => 7u32.encode(),
        other => panic!("{other} is not served"),
    }
}

/// The events of a block whose one transaction succeeded.
fn success() -> Vec<u8> {
    vec![EventRecord::<RuntimeEvent, H256> {
        phase: Phase::ApplyExtrinsic(0),
        event: RuntimeEvent::System(frame_system::Event::ExtrinsicSuccess {
            dispatch_info: DispatchEventInfo::default(),
        }),
        topics: Vec::new(),
    }]
    .encode()
}

fn hexed(bytes: &Vec<u8>) -> String {
    format!("0x{}", hex::encode(bytes))
}
