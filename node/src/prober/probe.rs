//! A probe: a request over HTTP, and the check of the machine's answer.

use std::{error::Error, time::Duration};

use assay_primitives::{
    availability::{AssignedMachine, MAX_PROBE_BLOCK_AGE, PROBE_NONCE_BYTES, probe_message},
    machine::MachineId,
};
use assay_runtime::AccountId;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use polkadot_sdk::sp_core::{Pair, sr25519};
use serde::Deserialize;

use super::target::{AddressPolicy, GuardedResolver, TargetError, probe_uri};

/// Maximum time from the resolution of the machine's address to the last byte of its answer.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time after which an unknown block is looked up again: the worker's node may have received it first.
pub(super) const BLOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Maximum length of a body in bytes. An answer has about 250.
const MAX_ANSWER_BYTES: usize = 1_024;

/// Maximum length of the head of an answer in bytes.
const MAX_HEAD_BYTES: usize = 8 * 1_024;

/// User agent of the probes, for the operator who reads a worker's log.
const USER_AGENT: &str = concat!("assay-node/", env!("CARGO_PKG_VERSION"));

/// Reason for which a probe of a machine failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    /// The endpoint cannot be probed.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No answer came within the time limit.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The answer has a status that a healthy worker never returns.
    #[error("the answer has status {0}")]
    Status(StatusCode),
    /// The answer cannot be parsed.
    #[error("the answer is malformed: {0}")]
    Unreadable(String),
    /// Another machine answered.
    #[error("machine {0} answered")]
    OtherMachine(MachineId),
    /// The signature is not by the machine's worker key, or covers other bytes.
    #[error("the signature does not fit")]
    BadSignature,
    /// The worker's node follows another fork, or none.
    #[error("the worker names a block that this node does not know")]
    UnknownBlock,
    /// The worker's node is behind.
    #[error("the worker is {0} blocks behind")]
    Behind(u32),
    /// This validator cannot check the machine's certificate. The only cause that is not the machine's.
    #[error(
        "this machine has no root certificates; install the package ca-certificates to probe https endpoints"
    )]
    NoRoots,
}

/// Facts about the chain that a probe needs.
pub(super) trait ChainView: Send + Sync {
    /// Returns the hash of the genesis block.
    fn genesis_hash(&self) -> [u8; 32];

    /// Returns the number of blocks from a block to the best one; `None` if this node does not know the
    /// block.
    fn block_age(&self, hash: [u8; 32]) -> Option<u32>;
}

#[derive(Deserialize)]
struct Answer {
    machine: MachineId,
    best_block_hash: String,
    signature: String,
}

/// HTTP client for probes. Follows no redirects, keeps no connections.
#[derive(Clone)]
pub(super) struct Prober {
    client: Client<HttpsConnector<HttpConnector<GuardedResolver>>, Empty<Bytes>>,
    policy: AddressPolicy,
    has_roots: bool,
}

impl Prober {
    /// Creates a prober that connects only where the policy allows.
    pub(super) fn new(policy: AddressPolicy) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        // Unreadable certificates are skipped: one bad file must not stop a validator's probes.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let has_roots = !roots.is_empty();
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut connector = HttpConnector::new_with_resolver(GuardedResolver(policy));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(connector);
        Self {
            client,
            policy,
            has_roots,
        }
    }

    /// Probes once. Succeeds if the machine itself answered in time and its worker follows the chain.
    pub(super) async fn probe(
        &self,
        machine: &AssignedMachine<AccountId>,
        nonce: [u8; PROBE_NONCE_BYTES],
        chain: &dyn ChainView,
    ) -> Result<(), ProbeError> {
        let body = tokio::time::timeout(PROBE_TIMEOUT, self.ask(machine, &nonce))
            .await
            .map_err(|_| {
                ProbeError::NoAnswer(format!("none within {} seconds", PROBE_TIMEOUT.as_secs()))
            })??;
        let best_block = check_signed(&body, machine, &nonce, &chain.genesis_hash())?;
        check_block(best_block, chain).await
    }

    async fn ask(
        &self,
        machine: &AssignedMachine<AccountId>,
        nonce: &[u8; PROBE_NONCE_BYTES],
    ) -> Result<Bytes, ProbeError> {
        let uri = probe_uri(&machine.endpoint, &hex::encode(nonce), self.policy)?;
        if uri.scheme_str() == Some("https") && !self.has_roots {
            return Err(ProbeError::NoRoots);
        }
        let request = Request::get(uri)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONNECTION, "close")
            .body(Empty::new())
            .map_err(|error| ProbeError::NoAnswer(causes(&error)))?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| ProbeError::NoAnswer(causes(&error)))?;
        if response.status() != StatusCode::OK {
            return Err(ProbeError::Status(response.status()));
        }
        Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map(|body| body.to_bytes())
            .map_err(|error| ProbeError::Unreadable(causes(&*error)))
    }
}

/// Checks the sender and the signature of an answer; returns the block that it names.
fn check_signed(
    body: &[u8],
    machine: &AssignedMachine<AccountId>,
    nonce: &[u8; PROBE_NONCE_BYTES],
    genesis_hash: &[u8; 32],
) -> Result<[u8; 32], ProbeError> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| ProbeError::Unreadable(error.to_string()))?;
    if answer.machine != machine.machine {
        return Err(ProbeError::OtherMachine(answer.machine));
    }
    let best_block: [u8; 32] = bytes(&answer.best_block_hash)?;
    let signature = sr25519::Signature::from_raw(bytes(&answer.signature)?);
    let worker = sr25519::Public::from_raw(machine.worker_key.clone().into());
    let message = probe_message(genesis_hash, nonce, machine.machine, &best_block);
    if !sr25519::Pair::verify(&signature, message, &worker) {
        return Err(ProbeError::BadSignature);
    }
    Ok(best_block)
}

/// Checks that a worker with this best block follows the chain.
async fn check_block(best_block: [u8; 32], chain: &dyn ChainView) -> Result<(), ProbeError> {
    let age = match chain.block_age(best_block) {
        Some(age) => Some(age),
        None => {
            tokio::time::sleep(BLOCK_PATIENCE).await;
            chain.block_age(best_block)
        }
    };
    match age.ok_or(ProbeError::UnknownBlock)? {
        age if age > MAX_PROBE_BLOCK_AGE => Err(ProbeError::Behind(age)),
        _ => Ok(()),
    }
}

/// Decodes hexadecimal digits after `0x`.
fn bytes<const N: usize>(text: &str) -> Result<[u8; N], ProbeError> {
    let mut bytes = [0; N];
    text.strip_prefix("0x")
        .and_then(|digits| hex::decode_to_slice(digits, &mut bytes).ok())
        .map(|()| bytes)
        .ok_or_else(|| ProbeError::Unreadable(format!("expected 0x and {} hexadecimal digits", 2 * N)))
}

/// Returns an error with all its causes: the outermost alone says little.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const GENESIS: [u8; 32] = [0xaa; 32];
    const NONCE: [u8; 32] = [0xbb; 32];
    const FRESH_BLOCK: [u8; 32] = [1; 32];
    const OLD_BLOCK: [u8; 32] = [2; 32];
    const MACHINE: MachineId = 7;

    struct Chain;

    impl ChainView for Chain {
        fn genesis_hash(&self) -> [u8; 32] {
            GENESIS
        }

        fn block_age(&self, hash: [u8; 32]) -> Option<u32> {
            match hash {
                FRESH_BLOCK => Some(MAX_PROBE_BLOCK_AGE),
                OLD_BLOCK => Some(MAX_PROBE_BLOCK_AGE + 1),
                _ => None,
            }
        }
    }

    /// Server that sends every connection the same bytes, then waits or hangs up, and counts connections.
    struct Server {
        address: SocketAddr,
        connections: Arc<AtomicUsize>,
    }

    impl Server {
        async fn start(response: Vec<u8>, hangs_up: bool) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let connections = Arc::new(AtomicUsize::new(0));
            let count = connections.clone();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    count.fetch_add(1, Ordering::SeqCst);
                    let response = response.clone();
                    tokio::spawn(async move {
                        let mut request = [0; 1_024];
                        let _ = stream.read(&mut request).await;
                        let _ = stream.write_all(&response).await;
                        if !hangs_up {
                            std::future::pending::<()>().await;
                        }
                    });
                }
            });
            Self { address, connections }
        }

        async fn json(body: String) -> Self {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            Self::start((head + &body).into_bytes(), true).await
        }

        fn connections(&self) -> usize {
            self.connections.load(Ordering::SeqCst)
        }

        async fn probe(&self, policy: AddressPolicy) -> Result<(), ProbeError> {
            probe(&format!("http://{}", self.address), policy).await
        }
    }

    fn worker() -> sr25519::Pair {
        sr25519::Pair::from_string("//Eve", None).unwrap()
    }

    async fn probe(endpoint: &str, policy: AddressPolicy) -> Result<(), ProbeError> {
        let machine = AssignedMachine {
            machine: MACHINE,
            endpoint: endpoint.as_bytes().to_vec().try_into().unwrap(),
            worker_key: worker().public().into(),
        };
        Prober::new(policy).probe(&machine, NONCE, &Chain).await
    }

    /// Returns a valid answer, except for the signed contents that a test changes.
    fn answer(nonce: [u8; 32], machine: MachineId, block: [u8; 32], signer: &sr25519::Pair) -> String {
        let signature = signer.sign(&probe_message(&GENESIS, &nonce, machine, &block));
        format!(
            r#"{{"machine":{machine},"best_block_hash":"0x{}","signature":"0x{}"}}"#,
            hex::encode(block),
            hex::encode(signature)
        )
    }

    #[tokio::test]
    async fn machine_that_answers_for_itself_is_seen() {
        let server = Server::json(answer(NONCE, MACHINE, FRESH_BLOCK, &worker())).await;
        server.probe(AddressPolicy::Any).await.unwrap();
        assert_eq!(server.connections(), 1);
    }

    #[tokio::test]
    async fn answers_of_others_and_old_ones_are_not_believed() {
        let other = sr25519::Pair::from_string("//Ferdie", None).unwrap();
        for (body, expected) in [
            (
                answer(NONCE, MACHINE, FRESH_BLOCK, &other),
                "the signature does not fit",
            ),
            // A replayed answer to an earlier probe.
            (
                answer([0; 32], MACHINE, FRESH_BLOCK, &worker()),
                "the signature does not fit",
            ),
            (answer(NONCE, 8, FRESH_BLOCK, &worker()), "machine 8 answered"),
            (
                answer(NONCE, MACHINE, OLD_BLOCK, &worker()),
                "the worker is 41 blocks behind",
            ),
        ] {
            let server = Server::json(body).await;
            let error = server.probe(AddressPolicy::Any).await.unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn block_may_be_news_but_not_for_long() {
        let began = tokio::time::Instant::now();
        let body = answer(NONCE, MACHINE, [9; 32], &worker());
        let machine = AssignedMachine {
            machine: MACHINE,
            endpoint: Default::default(),
            worker_key: worker().public().into(),
        };
        let named = check_signed(body.as_bytes(), &machine, &NONCE, &GENESIS).unwrap();
        let error = check_block(named, &Chain).await.unwrap_err();
        assert!(matches!(error, ProbeError::UnknownBlock));
        assert_eq!(began.elapsed(), BLOCK_PATIENCE);
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let goal = Server::json(answer(NONCE, MACHINE, FRESH_BLOCK, &worker())).await;
        for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
            let response = format!(
                "HTTP/1.1 {status}\r\nlocation: http://{}/v1/probe\r\ncontent-length: 0\r\n\r\n",
                goal.address
            );
            let server = Server::start(response.into_bytes(), true).await;
            let error = server.probe(AddressPolicy::Any).await.unwrap_err();
            assert!(matches!(error, ProbeError::Status(_)), "{error}");
        }
        assert_eq!(goal.connections(), 0);
    }

    #[tokio::test]
    async fn answers_are_read_up_to_their_bound() {
        let long = Server::json(format!("{:width$}", "{", width = MAX_ANSWER_BYTES + 1)).await;
        let error = long.probe(AddressPolicy::Any).await.unwrap_err();
        assert!(matches!(error, ProbeError::Unreadable(_)), "{error}");

        let mut endless_head = b"HTTP/1.1 200 OK\r\n".to_vec();
        endless_head.extend(b"x: y\r\n".repeat(MAX_HEAD_BYTES));
        let server = Server::start(endless_head, false).await;
        let error = server.probe(AddressPolicy::Any).await.unwrap_err();
        assert!(matches!(error, ProbeError::NoAnswer(_)), "{error}");
    }

    #[tokio::test]
    async fn nonsense_is_no_answer() {
        for body in [
            "",
            "{}",
            "null",
            r#"{"machine":7,"best_block_hash":"0x00","signature":"0x"}"#,
        ] {
            let error = Server::json(body.to_owned())
                .await
                .probe(AddressPolicy::Any)
                .await
                .unwrap_err();
            assert!(matches!(error, ProbeError::Unreadable(_)), "{body}: {error}");
        }
        let server = Server::start(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), true).await;
        let error = server.probe(AddressPolicy::Any).await.unwrap_err();
        assert!(matches!(error, ProbeError::NoAnswer(_)), "{error}");
    }

    #[tokio::test]
    async fn machine_that_says_nothing_is_not_waited_for() {
        // Silent from the start, and silent in the middle of its answer.
        for beginning in ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"] {
            let server = Server::start(beginning.as_bytes().to_vec(), false).await;
            let began = std::time::Instant::now();
            let error = server.probe(AddressPolicy::Any).await.unwrap_err();
            assert_eq!(error.to_string(), "no answer: none within 5 seconds");
            assert!(began.elapsed() < PROBE_TIMEOUT * 2);
        }
    }

    #[tokio::test]
    async fn own_network_is_never_connected_to() {
        let server = Server::json(answer(NONCE, MACHINE, FRESH_BLOCK, &worker())).await;
        let port = server.address.port();
        // The loopback address in plain form, as a name, and in forms that only the system's resolver
        // accepts.
        for host in [
            "127.0.0.1",
            "localhost",
            "127.1",
            "2130706433",
            "0x7f000001",
            "[::ffff:127.0.0.1]",
            "[::1]",
        ] {
            for scheme in ["http", "https"] {
                let endpoint = format!("{scheme}://{host}:{port}");
                let error = probe(&endpoint, AddressPolicy::Public).await.unwrap_err();
                assert!(
                    matches!(
                        error,
                        ProbeError::Target(_) | ProbeError::NoAnswer(_) | ProbeError::NoRoots
                    ),
                    "{endpoint}: {error}"
                );
            }
        }
        assert_eq!(server.connections(), 0);
        // The same server is reached if the policy allows it.
        server.probe(AddressPolicy::Any).await.unwrap();
    }
}
