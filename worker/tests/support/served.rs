//! Both parts of a worker's API, served for a test, and requests to them byte by byte.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use assay_client::{
    AccountId, Keypair, keys,
    worker_api::{WorkerApi, WorkerIdentity},
};
use assay_worker::{
    api::{
        self, CertificateSource, JobStreams, MissingOutput, OutputFolders, OwnerContext, PartLimits,
        PublicContext, StreamLimits, TlsKeeper,
    },
    artifacts::{Output, OutputFolder},
    config::Config,
    delivery::Delivery,
    files::Disk,
    jobs::{JobStatus, JobStore},
    keys::Keys,
    metrics::Metrics,
    sealing_store::SealingStore,
    status::{BlockHash, ChainStatus, KeyHash, Phase, StatusBoard},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

/// Genesis hash of the test's chain.
pub(crate) const GENESIS: [u8; 32] = [0xaa; 32];

/// Number of the test's machine.
pub(crate) const MACHINE: u64 = 7;

/// Limits that no test reaches by accident.
pub(crate) const WIDE: PartLimits = PartLimits {
    connections_per_address: 256,
    requests_per_second: 100_000,
    burst: 1_000_000,
    ..PartLimits::OWNER
};

/// The same for the public part.
const WIDE_PUBLIC: PartLimits = PartLimits {
    requests_per_second: WIDE.requests_per_second,
    burst: WIDE.burst,
    ..PartLimits::PUBLIC
};

/// A worker's API with the worker key `//Eve`.
pub(crate) struct Served {
    pub(crate) public: SocketAddr,
    pub(crate) owner: SocketAddr,
    pub(crate) status: StatusBoard,
    pub(crate) store: JobStore,
    pub(crate) metrics: Metrics,
    pub(crate) context: Arc<OwnerContext>,
    folder: tempfile::TempDir,
}

impl Served {
    /// Returns the path of the output folder of every job, which a test may make.
    pub(crate) fn output_folder(&self) -> PathBuf {
        self.folder.path().join("output")
    }
}

/// Returns the key of a development account.
pub(crate) fn key(name: &str) -> Keypair {
    keys::keypair_from_uri(name).unwrap()
}

/// Returns a development account.
pub(crate) fn account(name: &str) -> AccountId {
    keys::account_of(&key(name))
}

/// Reads the example file, and the keys of a worker with the worker key `//Eve`.
pub(crate) fn example(folder: &Path) -> (Config, Keys) {
    let text = include_str!("../../worker.example.yaml");
    let config = Config::parse(text, &folder.join("worker.yaml")).unwrap();
    let store = SealingStore::File(config.assay.sealing_key_file.clone());
    let mut keys = Keys::load_or_create(&config.assay, &store, &[]).unwrap();
    keys.worker = key("//Eve");
    (config, keys)
}

/// Logs of the stored jobs, without shells and artifacts.
pub(crate) fn no_shells(store: &JobStore, status: &StatusBoard) -> Arc<JobStreams> {
    let limits = StreamLimits::default();
    Arc::new(JobStreams::new(store.clone(), status.clone(), (), (), limits))
}

/// Output folder of every job, if a test has made it.
struct OneOutput(PathBuf);

impl OutputFolders for OneOutput {
    fn output(&self, _: u64, _: &str) -> Result<Output, MissingOutput> {
        if self.0.is_dir() {
            Ok(Output::Folder(OutputFolder::new(&self.0, "")))
        } else {
            Err(MissingOutput::None)
        }
    }
}

/// Serves both parts; the owner part with these limits.
pub(crate) async fn serve_with(limits: PartLimits) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let output = OneOutput(folder.path().join("output"));
    let streams = |store: &JobStore, status: &StatusBoard| {
        let limits = StreamLimits::default();
        Arc::new(JobStreams::new(store.clone(), status.clone(), (), output, limits))
    };
    serve_in(folder, limits, streams).await
}

/// Serves both parts; the owner part with these limits and streams.
pub(crate) async fn serve_streams(
    limits: PartLimits,
    streams: impl FnOnce(&JobStore, &StatusBoard) -> Arc<JobStreams>,
) -> Served {
    serve_in(tempfile::tempdir().unwrap(), limits, streams).await
}

async fn serve_in(
    folder: tempfile::TempDir,
    limits: PartLimits,
    streams: impl FnOnce(&JobStore, &StatusBoard) -> Arc<JobStreams>,
) -> Served {
    let (config, keys) = example(folder.path());
    let status = StatusBoard::new(&config, &keys);
    let store = JobStore::open(folder.path().join("jobs")).unwrap();
    let metrics = Metrics::new().unwrap();
    let public_context = Arc::new(PublicContext {
        status: status.clone(),
        worker: keys.worker.clone(),
        worker_hex: hex::encode(keys.worker_account().0),
        metrics: metrics.clone(),
    });
    let context = {
        let delivery = Delivery::new(keys.worker.clone(), keys.sealing.clone(), store.clone());
        let context = OwnerContext::new(status.clone(), keys.worker, store.clone(), delivery).unwrap();
        Arc::new(context.with_streams(streams(&store, &status)))
    };
    let tls = own_certificate(folder.path());
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (public, owner) = (api::listen(any).await.unwrap(), api::listen(any).await.unwrap());
    let addresses = (public.local_addr().unwrap(), owner.local_addr().unwrap());
    status.update(|status| {
        status.owner_part.url = format!("https://{}", addresses.1);
        status.owner_part.spki_sha256 = Some(KeyHash(tls.spki_sha256()));
    });
    let stop = CancellationToken::new();
    tokio::spawn(api::serve_public(
        public,
        public_context,
        WIDE_PUBLIC,
        stop.clone(),
    ));
    let owner_context = context.clone();
    tokio::spawn(async move { api::serve_owner(owner, owner_context, &tls, limits, stop).await });
    Served {
        public: addresses.0,
        owner: addresses.1,
        status,
        store,
        metrics,
        context,
        folder,
    }
}

/// Serves both parts of a worker that has just started.
pub(crate) async fn serve() -> Served {
    serve_with(WIDE).await
}

/// Serves both parts of a healthy worker that serves machine 7.
pub(crate) async fn serve_healthy() -> Served {
    let served = serve().await;
    make_healthy(&served.status);
    served
}

/// Makes a worker one that serves machine 7.
pub(crate) fn make_healthy(status: &StatusBoard) {
    status.update(|status| {
        status.machine = Some(MACHINE);
        status.phase = Phase::Serving;
        status.engine.reachable = true;
        status.chain = ChainStatus {
            connected: true,
            genesis_hash: Some(BlockHash(GENESIS)),
            best_block_hash: Some(BlockHash([0xcc; 32])),
            ..Default::default()
        };
    });
}

/// Makes a certificate of a worker's own.
pub(crate) fn own_certificate(folder: &Path) -> TlsKeeper {
    let source = CertificateSource::Own {
        folder: folder.to_owned(),
        names: vec!["127.0.0.1".into()],
    };
    TlsKeeper::open(source, Disk::default()).unwrap()
}

/// Status of a job of a development account.
pub(crate) fn open_job(id: u64, consumer: &str) -> JobStatus {
    JobStatus {
        id,
        consumer: account(consumer),
        fingerprint: format!("job {id}"),
        kind: "service".into(),
        state: "running".into(),
        container: "running".into(),
        slots: 1,
        restarts: 0,
        result_hash: None,
        ports: Vec::new(),
        problem: None,
    }
}

/// A parsed response.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let line = self
            .headers
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.headers))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Returns the text of a refusal.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

/// Sends bytes, and reads the answer until the connection is closed.
pub(crate) async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Answer {
    stream.write_all(request).await.unwrap();
    stream.flush().await.unwrap();
    let mut bytes = Vec::new();
    // A server that refuses a body closes the connection before it was read.
    let _ = stream.read_to_end(&mut bytes).await;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let headers = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let body = &bytes[end + 4..];
    let is_chunked = headers.to_lowercase().contains("transfer-encoding: chunked");
    Answer {
        code: headers.split(' ').nth(1).unwrap().parse().unwrap(),
        body: if is_chunked {
            unchunked(body)
        } else {
            body.to_vec()
        },
        headers,
    }
}

/// Returns the content of a body that came in chunks.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let length = std::str::from_utf8(&body[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            break;
        }
        content.extend_from_slice(&body[end + 2..][..length]);
        body = &body[end + 2 + length + 2..];
    }
    content
}

/// Writes a request with a body, after which the connection ends.
pub(crate) fn request(method: &str, path: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Accepts every certificate: these tests send nothing worth protecting.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Makes a TLS connection to whoever answers.
pub(crate) async fn tls_connection(address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    tls_over(TcpStream::connect(address).await?, address).await
}

/// Makes a TLS connection over one that is there.
pub(crate) async fn tls_over(
    stream: TcpStream,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::from(address.ip()), stream)
        .await
}

impl Served {
    /// Returns the chain's facts about the worker.
    pub(crate) fn identity() -> WorkerIdentity {
        WorkerIdentity {
            worker_key: key("//Eve").public_key().0,
            machine: MACHINE,
            genesis_hash: GENESIS,
        }
    }

    /// Connects to the owner part as clients do.
    pub(crate) async fn client(&self) -> WorkerApi {
        WorkerApi::connect(&format!("http://{}", self.public), Self::identity())
            .await
            .unwrap()
    }

    /// Asks the public part.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let stream = TcpStream::connect(self.public).await.unwrap();
        exchange(stream, &request("GET", path, &[], "")).await
    }

    /// Asks the owner part.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let stream = tls_connection(self.owner).await.unwrap();
        let request = request(method, path, headers, body);
        let answer = exchange(stream, &request);
        tokio::time::timeout(Duration::from_secs(20), answer)
            .await
            .unwrap()
    }

    /// Asks the owner part with a token.
    pub(crate) async fn ask_with(&self, token: &str, path: &str) -> Answer {
        self.ask("GET", path, &[&format!("Authorization: Bearer {token}")], "")
            .await
    }

    /// Gets a token as a client without this crate's help would; returns the answer.
    pub(crate) async fn token(&self, job: u64, signer: &str, changes: impl Fn(&mut TokenParts)) -> Answer {
        let challenge = self
            .ask("POST", &format!("/v1/jobs/{job}/challenge"), &[], "")
            .await;
        let json = challenge.json();
        let mut nonce = [0; 32];
        hex::decode_to_slice(
            json["nonce"].as_str().unwrap().trim_start_matches("0x"),
            &mut nonce,
        )
        .unwrap();
        let mut parts = TokenParts {
            genesis_hash: GENESIS,
            job,
            machine: MACHINE,
            nonce,
            expires_at_s: json["time_s"].as_u64().unwrap() + 600,
            account: account(signer).to_string(),
        };
        changes(&mut parts);
        let body = parts.request(&key(signer));
        self.ask(
            "POST",
            &format!("/v1/jobs/{job}/token"),
            &["Content-Type: application/json"],
            &body,
        )
        .await
    }
}

/// Fields of an owner's message.
#[derive(Clone)]
pub(crate) struct TokenParts {
    pub(crate) genesis_hash: [u8; 32],
    pub(crate) job: u64,
    pub(crate) machine: u64,
    pub(crate) nonce: [u8; 32],
    pub(crate) expires_at_s: u64,
    pub(crate) account: String,
}

impl TokenParts {
    /// Signs them, and writes the request's body.
    pub(crate) fn request(&self, signer: &Keypair) -> String {
        let message = assay_client::worker_api::messages::owner_message(
            &self.genesis_hash,
            self.job,
            self.machine,
            &self.nonce,
            self.expires_at_s,
        );
        serde_json::json!({
            "account": self.account,
            "expires_at_s": self.expires_at_s,
            "nonce": format!("0x{}", hex::encode(self.nonce)),
            "signature": format!("0x{}", hex::encode(signer.sign(&message).0)),
        })
        .to_string()
    }
}
