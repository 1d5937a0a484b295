//! The HTTP interface from the point of view of a client on the network.

#![allow(clippy::unwrap_used)]

use std::{path::Path, sync::Arc};

use assay_client::keys;
use assay_primitives::{
    availability::{PROBE_PATH, probe_message},
    job::{ResultDocument, StdoutResult},
};
use assay_worker::{
    api::{self, ApiContext},
    attestation::SourceStatus,
    config::Config,
    engine::{Capture, OutputStream},
    jobs::{JobNotes, JobStatus, JobStore, ResultFile},
    keys::Keys,
    metrics::Metrics,
    sealing_store::SealingStore,
    status::{BlockHash, ChainStatus, Phase, StatusBoard},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A parsed response.
struct Answer {
    code: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let line = self
            .headers
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.headers))
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

struct Server {
    address: std::net::SocketAddr,
    status: StatusBoard,
    store: JobStore,
    _folder: tempfile::TempDir,
}

/// Starts the interface of a worker with the worker key `//Eve`.
async fn server() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let text = include_str!("../worker.example.yaml");
    let config = Config::parse(text, &folder.path().join("worker.yaml")).unwrap();
    let store = SealingStore::File(config.assay.sealing_key_file.clone());
    let mut keys = Keys::load_or_create(&config.assay, &store, &[]).unwrap();
    keys.worker = keys::keypair_from_uri("//Eve").unwrap();
    let status = StatusBoard::new(&config, &keys);
    let store = JobStore::open(folder.path().join("jobs")).unwrap();
    let context = Arc::new(ApiContext {
        status: status.clone(),
        worker: keys.worker.clone(),
        worker_hex: hex::encode(keys.worker_account().0),
        store: store.clone(),
        metrics: Metrics::new().unwrap(),
    });
    let listener = api::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(api::serve(listener, context, std::future::pending()));
    Server {
        address,
        status,
        store,
        _folder: folder,
    }
}

impl Server {
    async fn get(&self, path: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let headers = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let code = headers.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            code,
            headers,
            body: bytes[end + 4..].to_vec(),
        }
    }
}

#[tokio::test]
async fn status_is_signed_over_its_exact_bytes() {
    let server = server().await;
    let answer = server.get("/status?nonce=abc").await;
    assert_eq!(answer.code, 200);
    let eve = keys::keypair_from_uri("//Eve").unwrap();
    assert_eq!(
        answer.header("x-assay-worker-key"),
        hex::encode(eve.public_key().0)
    );
    let mut signature = [0; 64];
    hex::decode_to_slice(answer.header("x-assay-signature"), &mut signature).unwrap();
    let signature = subxt_signer::sr25519::Signature(signature);
    assert!(subxt_signer::sr25519::verify(
        &signature,
        &answer.body,
        &eve.public_key()
    ));
    let json = answer.json();
    assert_eq!(json["nonce"], "abc");
    assert_eq!(json["phase"], "connecting");
    assert_eq!(json["worker_key"], keys::account_of(&eve).to_string());
    assert_eq!(json["declared"]["slots"], 1);

    let too_long = format!("/status?nonce={}", "a".repeat(65));
    assert_eq!(server.get(&too_long).await.code, 400);
    assert_eq!(server.get("/status?nonce=%00").await.code, 400);
}

#[tokio::test]
async fn status_tells_how_the_machine_attests() {
    let server = server().await;
    assert_eq!(
        server.get("/status").await.json()["attestation"],
        serde_json::json!({ "sealing_key": "file", "sources": [], "lacks": [], "problem": null })
    );
    server.status.update(|status| {
        status.attestation.sources.push(SourceStatus {
            name: "gpu-0".into(),
            kind: "nvidia_gpu",
            until_s: Some(1_750_000_000),
            last_error: Some("no collateral".into()),
        });
        status.attestation.lacks.push("TDX: no device".into());
    });
    let told = &server.get("/status").await.json()["attestation"];
    assert_eq!(told["sources"][0]["until_s"], 1_750_000_000);
    assert_eq!(told["sources"][0]["last_error"], "no collateral");
    assert_eq!(told["lacks"][0], "TDX: no device");
}

/// Starts a worker that serves machine 7 and is healthy.
async fn healthy_server() -> Server {
    let server = server().await;
    server.status.update(|status| {
        status.machine = Some(7);
        status.phase = Phase::Serving;
        status.engine.reachable = true;
        status.chain = ChainStatus {
            connected: true,
            genesis_hash: Some(BlockHash([0xaa; 32])),
            best_block_hash: Some(BlockHash([0xcc; 32])),
            ..Default::default()
        };
    });
    server
}

#[tokio::test]
async fn probe_is_answered_with_a_signature_of_nonce_chain_machine_and_block() {
    let server = healthy_server().await;
    let answer = server
        .get(&format!("{PROBE_PATH}?nonce={}", "bb".repeat(32)))
        .await;
    assert_eq!(answer.code, 200);
    let json = answer.json();
    assert_eq!(json["machine"], 7);
    assert_eq!(json["best_block_hash"], format!("0x{}", "cc".repeat(32)));

    let signature = |json: &serde_json::Value| {
        let mut bytes = [0; 64];
        let text = json["signature"].as_str().unwrap().strip_prefix("0x").unwrap();
        hex::decode_to_slice(text, &mut bytes).unwrap();
        subxt_signer::sr25519::Signature(bytes)
    };
    let eve = keys::keypair_from_uri("//Eve").unwrap().public_key();
    let signs = |nonce: [u8; 32]| {
        let message = probe_message(&[0xaa; 32], &nonce, 7, &[0xcc; 32]);
        subxt_signer::sr25519::verify(&signature(&json), message, &eve)
    };
    assert!(signs([0xbb; 32]));
    assert!(!signs([0xbc; 32]));
}

#[tokio::test]
async fn probe_is_refused_with_the_reasons_while_no_job_could_run() {
    let server = healthy_server().await;
    let probe = format!("{PROBE_PATH}?nonce={}", "bb".repeat(32));
    server.status.update(|status| status.engine.reachable = false);
    let answer = server.get(&probe).await;
    assert_eq!(answer.code, 503);
    assert_eq!(
        answer.json()["reasons"],
        serde_json::json!(["the container engine does not answer"])
    );
    server.status.update(|status| {
        status.engine.reachable = true;
        status.chain.best_block_hash = None;
    });
    assert_eq!(server.get(&probe).await.code, 503);
}

#[tokio::test]
async fn probe_is_refused_while_the_container_of_a_running_job_is_paused() {
    let server = healthy_server().await;
    let probe = format!("{PROBE_PATH}?nonce={}", "bb".repeat(32));
    for (state, container, code) in [
        ("running", "running", 200),
        ("running", "paused", 503),
        ("running", "stuck", 503),
        ("starting", "paused", 200),
        ("verifying", "exited", 200),
    ] {
        server.status.update(|status| {
            status.jobs = vec![JobStatus {
                id: 5,
                kind: "service".into(),
                state: state.into(),
                container: container.into(),
                slots: 1,
                restarts: 0,
                result_hash: None,
                problem: None,
            }];
        });
        let answer = server.get(&probe).await;
        assert_eq!(answer.code, code, "{state} {container}");
        assert_eq!(server.get("/health").await.code, code, "{state} {container}");
        if code == 503 {
            let reasons = &answer.json()["reasons"];
            assert_eq!(
                *reasons,
                serde_json::json!(["the container of a running job is paused or stuck"])
            );
        }
    }
}

#[tokio::test]
async fn probe_wants_a_nonce_of_its_length() {
    let server = healthy_server().await;
    for query in [
        "",
        "?nonce=",
        "?nonce=bb",
        &format!("?nonce={}", "bb".repeat(33)),
        &format!("?nonce={}", "zz".repeat(32)),
    ] {
        let answer = server.get(&format!("{PROBE_PATH}{query}")).await;
        assert_eq!(answer.code, 400, "{query}");
    }
}

#[tokio::test]
async fn health_names_its_reasons() {
    let server = server().await;
    let answer = server.get("/health").await;
    assert_eq!(answer.code, 503);
    assert_eq!(
        answer.json()["reasons"],
        serde_json::json!([
            "no connection to the chain",
            "the container engine does not answer",
            "the worker serves no machine"
        ])
    );
    server.status.update(|status| {
        status.chain.connected = true;
        status.engine.reachable = true;
        status.machine = Some(0);
    });
    let answer = server.get("/health").await;
    assert_eq!(
        (answer.code, &answer.json()["healthy"]),
        (200, &serde_json::json!(true))
    );
}

/// Stores a result of job 5, and its output.
fn keep_result(store: &JobStore) -> ResultDocument {
    let mut capture = Capture::new(&store.output_target(5, false));
    capture.take(OutputStream::Stdout, b"out\n");
    capture.take(OutputStream::Stderr, b"err\n");
    let result = ResultDocument {
        exit_code: 0,
        image_digest: [1; 32],
        manifest_hash: [2; 32],
        stdout: capture.finish(),
        output: None,
    };
    assert_eq!(result.stdout, StdoutResult::Whole(blake3::hash(b"out\n").into()));
    store
        .write_result(5, &serde_json::to_vec(&ResultFile::from(&result)).unwrap())
        .unwrap();
    result
}

#[tokio::test]
async fn finished_job_shows_its_result_and_output() {
    let server = server().await;
    for path in ["/jobs/5", "/jobs/5/logs", "/jobs/5/result", "/jobs/x", "/nothing"] {
        assert!([400, 404].contains(&server.get(path).await.code), "{path}");
    }
    let result = keep_result(&server.store);
    let notes = JobNotes {
        result_hash: Some(result.hash()),
        closed: true,
        ..JobNotes::default()
    };
    server.store.write_notes(5, &notes).unwrap();

    let answer = server.get("/jobs/5/result").await;
    assert_eq!(answer.code, 200);
    let shown: ResultFile = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(shown.document(), Some(result));
    assert_eq!(answer.header("x-assay-result-hash"), hex::encode(result.hash()));
    assert_eq!(server.get("/jobs/5/logs").await.body, b"out\n");
    assert_eq!(server.get("/jobs/5/logs?stream=stderr").await.body, b"err\n");
    assert_eq!(server.get("/jobs/5/logs?stream=other").await.code, 400);
    let json = server.get("/jobs/5").await.json();
    assert_eq!(json["notes"]["result_hash"], hex::encode(result.hash()));
    assert_eq!(json["open"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_replica_keeps_its_result_back_until_it_is_revealed() {
    let server = server().await;
    let result = keep_result(&server.store);
    let committed = JobNotes {
        result_hash: Some(result.hash()),
        salt: Some([7; 32]),
        replica: true,
        ..JobNotes::default()
    };
    server.store.write_notes(5, &committed).unwrap();
    for path in ["/jobs/5/result", "/jobs/5/logs", "/jobs/5/logs?stream=stderr"] {
        assert_eq!(server.get(path).await.code, 403, "{path}");
    }
    let json = server.get("/jobs/5").await.json();
    assert_eq!(json["notes"]["result_hash"], serde_json::Value::Null);
    assert_eq!(json["notes"]["salt"], serde_json::Value::Null);

    let revealed = JobNotes {
        revealed: true,
        ..committed
    };
    server.store.write_notes(5, &revealed).unwrap();
    assert_eq!(server.get("/jobs/5/result").await.code, 200);
    assert_eq!(server.get("/jobs/5/logs").await.body, b"out\n");
    let json = server.get("/jobs/5").await.json();
    assert_eq!(json["notes"]["result_hash"], hex::encode(result.hash()));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let answer = server().await.get("/metrics").await;
    assert_eq!(answer.code, 200);
    assert!(
        String::from_utf8(answer.body)
            .unwrap()
            .contains("assay_worker_chain_connected 0")
    );
}

#[tokio::test]
async fn port_in_use_is_named_with_the_remedy() {
    let listener = api::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = api::listen(address).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot listen on {address}: ")),
        "{error}"
    );
    assert!(error.contains("network_config.p2p_port"), "{error}");
}

#[test]
fn example_file_loads_from_disk() {
    // The working directory of tests is the folder of their crate.
    Config::load(Path::new("worker.example.yaml")).unwrap();
}
