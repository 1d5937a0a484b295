//! The owner part of the HTTP API: tokens, secrecy, limits and TLS, from the network's point of view.

#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use assay_client::worker_api::{OutputStream as LogStream, WorkerApi, WorkerApiError, WorkerIdentity};
use assay_primitives::{
    availability::PROBE_PATH,
    job::{ResultDocument, StdoutResult},
};
use assay_worker::{
    api::{self, Api, ApiParts, OwnerContext, PartLimits, PortProxy},
    config::Config,
    delivery::Delivery,
    engine::{Capture, DockerEngine, EngineEndpoint, OutputStream, PublishedPort},
    files::Disk,
    jobs::{JobNotes, JobStore, ResultFile},
    lease::{JobNetworkParts, JobNetworks},
    metrics::Metrics,
    status::StatusBoard,
    tasks::PartRunner,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_util::sync::CancellationToken;

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/served.rs"]
mod served;

use served::{
    MACHINE, Served, WIDE, account, example, exchange, key, make_healthy, no_shells, open_job,
    own_certificate, request, serve_healthy, serve_with, tls_connection, tls_over,
};

/// Falsifies a part of a request for a token.
type Falsify = &'static dyn Fn(&mut served::TokenParts);

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

/// Notes of job 5 of `//Charlie`, with the delegate `//Dave`.
fn notes_of_5() -> JobNotes {
    JobNotes {
        fingerprint: "job 5".into(),
        consumer: Some(account("//Charlie")),
        delegates: vec![account("//Dave")],
        ..JobNotes::default()
    }
}

/// Serves a healthy worker with the open job 5 of `//Charlie`, and the open job 6 of `//Ferdie`.
async fn serve_jobs() -> Served {
    let served = serve_healthy().await;
    served
        .status
        .set_jobs(vec![open_job(5, "//Charlie"), open_job(6, "//Ferdie")]);
    served.store.write_notes(5, &notes_of_5()).unwrap();
    served
}

/// Gets a token of an account for job 5.
async fn token_of(served: &Served, signer: &str) -> String {
    let answer = served.token(5, signer, |_| ()).await;
    assert_eq!(answer.code, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn consumer_and_delegate_read_a_job_with_the_client() {
    let served = serve_jobs().await;
    let result = keep_result(&served.store);
    let ports = vec![PublishedPort {
        host_address: "192.0.2.1".parse().unwrap(),
        host_port: 30_000,
        container_port: 80,
        protocol: assay_client::manifest::PortProtocol::Tcp,
    }];
    let notes = JobNotes {
        result_hash: Some(result.hash()),
        ports,
        ..notes_of_5()
    };
    served.store.write_notes(5, &notes).unwrap();
    let api = served.client().await;
    for signer in ["//Charlie", "//Dave"] {
        let owner = api.log_in(5, &key(signer)).await.unwrap();
        let status = owner.status().await.unwrap();
        assert_eq!(status["open"]["state"], "running");
        assert_eq!(status["open"]["consumer"], account("//Charlie").to_string());
        assert_eq!(status["notes"]["result_hash"], hex::encode(result.hash()));
        assert_eq!(status["ports"][0]["host_port"], 30_000);
        assert_eq!(owner.logs(LogStream::Stdout).await.unwrap(), b"out\n");
        assert_eq!(owner.logs(LogStream::Stderr).await.unwrap(), b"err\n");
        let shown = owner.result().await.unwrap();
        assert_eq!(shown.hash, Some(result.hash()));
        let file: ResultFile = serde_json::from_slice(&shown.document).unwrap();
        assert_eq!(file.document(), Some(result));
        let mut stream = owner.stream("/logs?stream=stdout").await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), &b"out\n"[..]);
        owner.log_out().await.unwrap();
    }
    let error = api.log_in(5, &key("//Ferdie")).await.err().unwrap();
    assert!(error.is_refused_with(403), "{error}");
    assert!(
        error
            .to_string()
            .contains("neither the job's consumer nor a delegate"),
        "{error}"
    );
}

#[tokio::test]
async fn status_of_a_job_is_signed_by_the_worker_key() {
    let served = serve_jobs().await;
    let token = token_of(&served, "//Charlie").await;
    let answer = served.ask_with(&token, "/v1/jobs/5").await;
    let mut signature = [0; 64];
    hex::decode_to_slice(answer.header("x-assay-signature"), &mut signature).unwrap();
    assert!(subxt_signer::sr25519::verify(
        &subxt_signer::sr25519::Signature(signature),
        &answer.body,
        &key("//Eve").public_key()
    ));
}

#[tokio::test]
async fn closed_job_stays_readable_for_its_owners() {
    let served = serve_healthy().await;
    keep_result(&served.store);
    let closed = JobNotes {
        closed: true,
        ..notes_of_5()
    };
    served.store.write_notes(5, &closed).unwrap();
    for signer in ["//Charlie", "//Dave"] {
        let token = token_of(&served, signer).await;
        assert_eq!(
            served
                .ask_with(&token, "/v1/jobs/5/logs?stream=stdout")
                .await
                .body,
            b"out\n"
        );
        let json = served.ask_with(&token, "/v1/jobs/5").await.json();
        assert_eq!(
            (&json["open"], &json["notes"]["closed"]),
            (&serde_json::Value::Null, &true.into())
        );
    }
    assert_eq!(served.token(5, "//Ferdie", |_| ()).await.code, 403);

    // Notes of an earlier version do not say whose job it was.
    let unknown = JobNotes {
        consumer: None,
        delegates: Vec::new(),
        ..closed
    };
    served.store.write_notes(5, &unknown).unwrap();
    let answer = served.ask("POST", "/v1/jobs/5/challenge", &[], "").await;
    assert_eq!(answer.code, 403);
    assert!(
        answer.error().contains("does not know the consumer"),
        "{}",
        answer.error()
    );
    assert_eq!(
        served.ask("POST", "/v1/jobs/99/challenge", &[], "").await.code,
        404
    );
}

#[tokio::test]
async fn nothing_is_shown_without_a_valid_token() {
    let served = serve_jobs().await;
    keep_result(&served.store);
    let token = token_of(&served, "//Charlie").await;
    let cut = &token[1..];
    for path in ["/v1/jobs/5", "/v1/jobs/5/logs?stream=stdout", "/v1/jobs/5/result"] {
        for headers in [
            vec![],
            vec!["Authorization: Bearer".to_owned()],
            vec![format!("Authorization: Basic {token}")],
            vec![format!("Authorization: Bearer {cut}")],
            vec![format!("Authorization: Bearer {token}{token}")],
            vec!["Authorization: Bearer \u{e4}".to_owned()],
        ] {
            let headers: Vec<_> = headers.iter().map(String::as_str).collect();
            let answer = served.ask("GET", path, &headers, "").await;
            assert_eq!(answer.code, 401, "{path} {headers:?}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
        assert_eq!(served.ask_with(&token, path).await.code, 200, "{path}");
    }
    let answer = served.ask_with(&token, "/v1/jobs/6").await;
    assert_eq!(answer.code, 403);
    assert!(answer.error().contains("for another job"), "{}", answer.error());
    for path in ["/v1/jobs/x", "/v1/jobs/-1/logs", "/v1/jobs/18446744073709551616"] {
        assert_eq!(served.ask_with(&token, path).await.code, 400, "{path}");
    }
}

#[tokio::test]
async fn token_ends_when_it_is_revoked_or_its_time_is_over() {
    let served = serve_jobs().await;
    let token = token_of(&served, "//Charlie").await;
    let other = token_of(&served, "//Charlie").await;
    let header = format!("Authorization: Bearer {token}");
    assert_eq!(served.ask("DELETE", "/v1/token", &[&header], "").await.code, 204);
    assert_eq!(served.ask_with(&token, "/v1/jobs/5").await.code, 401);
    assert_eq!(served.ask("DELETE", "/v1/token", &[&header], "").await.code, 401);
    assert_eq!(served.ask_with(&other, "/v1/jobs/5").await.code, 200);

    let short = served
        .token(5, "//Charlie", |parts| parts.expires_at_s -= 598)
        .await
        .json();
    let short = short["token"].as_str().unwrap();
    assert_eq!(served.ask_with(short, "/v1/jobs/5").await.code, 200);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(served.ask_with(short, "/v1/jobs/5").await.code, 401);
}

#[tokio::test]
async fn token_ends_when_a_fork_gives_the_job_to_another_consumer() {
    let served = serve_jobs().await;
    let charlies = token_of(&served, "//Charlie").await;
    let daves = token_of(&served, "//Dave").await;
    let mut forked = open_job(5, "//Ferdie");
    forked.fingerprint = "another job 5".into();
    served.status.set_jobs(vec![forked]);
    assert_eq!(served.ask_with(&charlies, "/v1/jobs/5").await.code, 403);
    assert_eq!(
        served.ask_with(&daves, "/v1/jobs/5").await.code,
        403,
        "his manifest is not this job's"
    );
    assert_eq!(served.token(5, "//Ferdie", |_| ()).await.code, 200);
}

#[tokio::test]
async fn token_needs_a_signature_over_exactly_this_job() {
    let served = serve_jobs().await;
    let cases: [(&str, Falsify, u16); 7] = [
        (
            "another account",
            &|parts| parts.account = account("//Dave").to_string(),
            401,
        ),
        ("another genesis", &|parts| parts.genesis_hash = [1; 32], 401),
        ("another job", &|parts| parts.job = 6, 401),
        ("another machine", &|parts| parts.machine = MACHINE + 1, 401),
        ("a nonce of nobody", &|parts| parts.nonce[0] ^= 1, 401),
        (
            "an expiry beyond an hour",
            &|parts| parts.expires_at_s += 3_600,
            400,
        ),
        ("an expiry in the past", &|parts| parts.expires_at_s -= 700, 400),
    ];
    for (case, change, code) in cases {
        let answer = served.token(5, "//Charlie", change).await;
        assert_eq!(answer.code, code, "{case}: {}", answer.error());
    }
    // A nonce that was given for another job.
    let challenge = served.ask("POST", "/v1/jobs/6/challenge", &[], "").await.json();
    let mut nonce = [0; 32];
    hex::decode_to_slice(&challenge["nonce"].as_str().unwrap()[2..], &mut nonce).unwrap();
    let answer = served.token(5, "//Charlie", |parts| parts.nonce = nonce).await;
    assert_eq!(answer.code, 401);
}

#[tokio::test]
async fn nonce_gives_one_token_even_at_once() {
    let served = Arc::new(serve_jobs().await);
    let challenge = served.ask("POST", "/v1/jobs/5/challenge", &[], "").await.json();
    let mut nonce = [0; 32];
    hex::decode_to_slice(&challenge["nonce"].as_str().unwrap()[2..], &mut nonce).unwrap();
    let body = served::TokenParts {
        genesis_hash: served::GENESIS,
        job: 5,
        machine: MACHINE,
        nonce,
        expires_at_s: challenge["time_s"].as_u64().unwrap() + 60,
        account: account("//Charlie").to_string(),
    }
    .request(&key("//Charlie"));
    let requests = (0..8).map(|_| {
        let (served, body) = (served.clone(), body.clone());
        async move {
            let json = ["Content-Type: application/json"];
            served.ask("POST", "/v1/jobs/5/token", &json, &body).await
        }
    });
    let answers = futures::future::join_all(requests).await;
    let given = answers.iter().filter(|answer| answer.code == 200).count();
    assert_eq!(given, 1);
    for refused in answers.iter().filter(|answer| answer.code != 200) {
        assert_eq!(refused.code, 401);
        assert!(
            refused.error().contains("gave a token already"),
            "{}",
            refused.error()
        );
    }
}

#[tokio::test]
async fn replica_keeps_its_output_back_even_from_its_owner() {
    let served = serve_jobs().await;
    let result = keep_result(&served.store);
    let committed = JobNotes {
        result_hash: Some(result.hash()),
        salt: Some([7; 32]),
        replica: true,
        ..notes_of_5()
    };
    served.store.write_notes(5, &committed).unwrap();
    let token = token_of(&served, "//Charlie").await;
    for path in [
        "/v1/jobs/5/result",
        "/v1/jobs/5/logs?stream=stdout",
        "/v1/jobs/5/logs?stream=stderr",
    ] {
        assert_eq!(served.ask_with(&token, path).await.code, 403, "{path}");
    }
    let json = served.ask_with(&token, "/v1/jobs/5").await.json();
    assert_eq!(json["notes"]["result_hash"], serde_json::Value::Null);
    assert_eq!(json["notes"]["salt"], serde_json::Value::Null);

    let revealed = JobNotes {
        revealed: true,
        ..committed
    };
    served.store.write_notes(5, &revealed).unwrap();
    assert_eq!(served.ask_with(&token, "/v1/jobs/5/result").await.code, 200);
    assert_eq!(
        served
            .ask_with(&token, "/v1/jobs/5/logs?stream=stdout")
            .await
            .body,
        b"out\n"
    );
    assert_eq!(
        served.ask_with(&token, "/v1/jobs/5/logs?stream=other").await.code,
        400
    );
}

#[tokio::test]
async fn bad_input_is_refused_and_breaks_nothing() {
    let served = serve_jobs().await;
    let json = ["Content-Type: application/json"];
    let long = format!(r#"{{"account":"{}"}}"#, "5".repeat(100_000));
    let address = account("//Charlie").to_string();
    let fields = |account: &str, expiry: &str, nonce: &str, signature: &str| {
        format!(
            r#"{{"account":{account:?},"expires_at_s":{expiry},"nonce":{nonce:?},"signature":{signature:?}}}"#
        )
    };
    let (nonce, signature) = ("0".repeat(64), "0".repeat(128));
    for (body, expected) in [
        (String::new(), 400),
        ("{".to_owned(), 400),
        ("[]".to_owned(), 422),
        ("\u{0}\u{1}\u{fffd}".to_owned(), 400),
        ("[".repeat(10_000), 422),
        (long, 422),
        (fields(&address, "-1", &nonce, &signature), 422),
        (fields(&address, "18446744073709551615", &nonce, &signature), 400),
        (fields(&address, "0", &nonce, &signature), 400),
        (fields(&address, "0", "0x", &signature), 400),
        (fields(&address, "0", &nonce, "0x00"), 400),
        (fields("//Charlie", "0", &nonce, &signature), 400),
        (fields(&"1".repeat(10_000), "0", &nonce, &signature), 400),
        (
            format!(r#"{{"x":1,{}"#, &fields(&address, "0", &nonce, &signature)[1..]),
            422,
        ),
    ] {
        let answer = served.ask("POST", "/v1/jobs/5/token", &json, &body).await;
        assert_eq!(answer.code, expected, "{:.80}: {}", body, answer.error());
    }
    assert_eq!(served.ask("POST", "/v1/jobs/5/token", &[], "{}").await.code, 415);
    assert_eq!(served.ask("PATCH", "/v1/jobs/5", &[], "").await.code, 405);
    assert_eq!(served.ask("GET", "/v1/jobs/%ff", &[], "").await.code, 400);
    assert_eq!(served.ask("GET", "/nothing", &[], "").await.code, 404);
    // Not HTTP at all.
    let stream = tls_connection(served.owner).await.unwrap();
    assert_eq!(exchange(stream, b"\0\0\0\0 not HTTP\r\n\r\n").await.code, 400);
    // Headers without an end.
    let mut stream = tls_connection(served.owner).await.unwrap();
    let endless = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(200_000));
    let _ = stream.write_all(endless.as_bytes()).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    // The server does not wait for the rest, so its answer may be lost.
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&rest)
    );

    assert_eq!(token_of(&served, "//Charlie").await.len(), 64);
}

#[tokio::test]
async fn body_is_bounded_in_length_and_time() {
    let limits = PartLimits {
        body_bytes: 1_000,
        body_idle_time: Duration::from_millis(500),
        body_time: Duration::from_secs(3),
        header_time: Duration::from_millis(500),
        ..WIDE
    };
    let served = serve_with(limits).await;
    make_healthy(&served.status);
    served.status.set_jobs(vec![open_job(5, "//Charlie")]);
    let json = ["Content-Type: application/json"];
    let answer = served
        .ask("POST", "/v1/jobs/5/token", &json, &" ".repeat(1_001))
        .await;
    assert_eq!(answer.code, 413, "{}", answer.error());

    let head = "POST /v1/jobs/5/token HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Type: application/json\r\n\
                Content-Length: 900\r\n\r\n";
    // Nothing more comes.
    let began = Instant::now();
    let stream = tls_connection(served.owner).await.unwrap();
    assert_eq!(exchange(stream, head.as_bytes()).await.code, 400);
    assert!(began.elapsed() < limits.body_time, "{:?}", began.elapsed());
    // A byte now and then.
    let mut stream = tls_connection(served.owner).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let began = Instant::now();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let trickle = async {
        while writer.write_all(b" ").await.is_ok() && writer.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = trickle => (),
        _ = reader.read_to_end(&mut answer) => (),
    }
    assert!(began.elapsed() > limits.body_idle_time, "{:?}", began.elapsed());
    assert!(began.elapsed() < 2 * limits.body_time, "{:?}", began.elapsed());
    // A header now and then, and an idle connection.
    for begin in ["", "GET / HTTP/1.1\r\n"] {
        let mut stream = tls_connection(served.owner).await.unwrap();
        let began = Instant::now();
        stream.write_all(begin.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{begin:?}");
    }
}

#[tokio::test]
async fn connections_and_requests_of_one_address_are_limited() {
    let limits = PartLimits {
        connections_per_address: 3,
        requests_per_second: 1,
        burst: 12,
        ..PartLimits::OWNER
    };
    let served = serve_with(limits).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(tls_connection(served.owner).await.unwrap());
    }
    assert!(
        tls_connection(served.owner).await.is_err(),
        "a fourth one is closed"
    );
    drop(held);
    tokio::time::sleep(Duration::from_millis(200)).await;

    let mut stream = tls_connection(served.owner).await.unwrap();
    let mut codes = Vec::new();
    for _ in 0..20 {
        stream
            .write_all(b"GET /nothing HTTP/1.1\r\nHost: worker\r\n\r\n")
            .await
            .unwrap();
        // The refusals are objects without inner ones.
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
        codes.push(String::from_utf8_lossy(&answer[9..12]).into_owned());
    }
    assert_eq!(codes.first().map(String::as_str), Some("404"));
    assert_eq!(codes.last().map(String::as_str), Some("429"), "{codes:?}");
}

/// A worker's whole API on free ports, with the threads that it has in production.
async fn start_whole(folder: &std::path::Path) -> (Api, SocketAddr, SocketAddr, StatusBoard) {
    let free = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let (public, owner) = (free(), free());
    let text = include_str!("../worker.example.yaml")
        .replace("p2p_port: 4001", &format!("p2p_port: {}", public.port()))
        .replace(
            "  owner_limits:",
            &format!("  owner_port: {}\n  owner_limits:", owner.port()),
        );
    let config = Config::parse(&text, &folder.join("worker.yaml")).unwrap();
    let (_, keys) = example(folder);
    let status = StatusBoard::new(&config, &keys);
    make_healthy(&status);
    let metrics = Metrics::new().unwrap();
    let store = JobStore::open(folder.join("jobs")).unwrap();
    let engine = DockerEngine::new(EngineEndpoint::Socket("/nowhere".into()));
    let networks = JobNetworkParts::of(&config, engine, "0".repeat(64), Disk::default());
    let api = Api::start(
        &config,
        ApiParts {
            status: status.clone(),
            delivery: Delivery::new(keys.worker.clone(), keys.sealing.clone(), store.clone()),
            streams: no_shells(&store, &status),
            proxy: PortProxy::new(JobNetworks::open(networks).unwrap()),
            worker: keys.worker,
            store,
            metrics: metrics.clone(),
            runner: PartRunner {
                on_change: Arc::new(|_, _| ()),
                metrics,
            },
        },
    )
    .await
    .unwrap();
    (api, public, owner, status)
}

/// Time within which a probe must be answered during a flood; a validator waits for five seconds.
const PROBE_BOUND: Duration = Duration::from_secs(2);

/// Connects from an address of the loopback network.
async fn connect_from(source: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(to).await
}

/// One attack on the owner part: says nothing, begins a handshake and stops, shakes hands without a pause, or
/// sends headers slowly.
async fn attack(kind: u16, source: [u8; 4], owner: SocketAddr) -> std::io::Result<()> {
    let mut stream = connect_from(source, owner).await?;
    match kind {
        0 => stream.read(&mut [0; 16]).await.map(|_| ()),
        1 => {
            stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await?;
            stream.read(&mut [0; 16]).await.map(|_| ())
        }
        2 => tls_over(stream, owner).await.map(|_| ()),
        _ => {
            let mut stream = tls_over(stream, owner).await?;
            stream.write_all(b"GET / HTTP/1.1\r\n").await?;
            loop {
                stream.write_all(b"A: b\r\n").await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_of_the_owner_part_costs_no_probe() {
    let folder = tempfile::tempdir().unwrap();
    let (api, public, owner, _status) = start_whole(folder.path()).await;
    let stop = CancellationToken::new();
    let attempts = Arc::new(AtomicUsize::new(0));
    // Each attacker has an address of its own, so that only the limits of the whole part hold it back.
    let flood: Vec<_> = (0..400u16)
        .map(|number| {
            let (stop, attempts) = (stop.clone(), attempts.clone());
            let source = [127, 1, (number / 200) as u8, (number % 200 + 1) as u8];
            tokio::spawn(async move {
                let attacks = async {
                    loop {
                        attempts.fetch_add(1, Ordering::Relaxed);
                        let _ = attack(number % 4, source, owner).await;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                };
                tokio::select! {
                    () = stop.cancelled() => (),
                    () = attacks => (),
                }
            })
        })
        .collect();

    let probe = request("GET", &format!("{PROBE_PATH}?nonce={}", "bb".repeat(32)), &[], "");
    let mut slowest = Duration::ZERO;
    let began = Instant::now();
    let mut probes = 0;
    while began.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        let stream = TcpStream::connect(public).await.unwrap();
        assert_eq!(exchange(stream, &probe).await.code, 200);
        slowest = slowest.max(asked.elapsed());
        probes += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    futures::future::join_all(flood).await;
    let attempts = attempts.load(Ordering::Relaxed);
    println!("{probes} probes beside {attempts} connections of the flood; the slowest took {slowest:?}");
    assert!(attempts > 2_000, "{attempts}");
    assert!(slowest < PROBE_BOUND, "{slowest:?}");
    api.stop().await;
}

#[tokio::test]
async fn whole_api_keeps_its_tls_key_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let (api, public, owner, status) = start_whole(folder.path()).await;
    let client = WorkerApi::connect(&format!("http://{public}"), Served::identity())
        .await
        .unwrap();
    assert_eq!(client.url(), format!("https://{owner}"));
    assert_eq!(
        status.read().owner_part.spki_sha256.unwrap().0,
        client.spki_sha256()
    );
    api.stop().await;
    assert!(TcpStream::connect(public).await.is_err());
    assert!(TcpStream::connect(owner).await.is_err());

    let (_api, public, _, _) = start_whole(folder.path()).await;
    let again = WorkerApi::connect(&format!("http://{public}"), Served::identity())
        .await
        .unwrap();
    assert_eq!(again.spki_sha256(), client.spki_sha256());
}

#[tokio::test]
async fn client_refuses_another_key_than_the_one_that_is_vouched_for() {
    let served = serve_jobs().await;
    // Somebody in between: a certificate of its own, and otherwise the same API.
    let folder = tempfile::tempdir().unwrap();
    let tls = own_certificate(folder.path());
    let context = OwnerContext::new(
        served.status.clone(),
        key("//Ferdie"),
        served.store.clone(),
        served.context.delivery.clone(),
    )
    .unwrap();
    let listener = api::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let between = listener.local_addr().unwrap();
    tokio::spawn(async move {
        api::serve_owner(listener, Arc::new(context), &tls, WIDE, CancellationToken::new()).await
    });
    served
        .status
        .update(|status| status.owner_part.url = format!("https://{between}"));
    let api = served.client().await;
    let error = api.log_in(5, &key("//Charlie")).await.err().unwrap();
    assert!(matches!(error, WorkerApiError::OtherKey { .. }), "{error}");
    assert!(error.to_string().contains("nothing was sent"), "{error}");

    // The same key is accepted at another address.
    served
        .status
        .update(|status| status.owner_part.url = format!("https://{}", served.owner));
    let api = served.client().await;
    assert!(api.log_in(5, &key("//Charlie")).await.is_ok());
}

#[tokio::test]
async fn client_refuses_a_worker_that_the_chain_does_not_name() {
    let served = serve_jobs().await;
    let url = format!("http://{}", served.public);
    for identity in [
        WorkerIdentity {
            worker_key: key("//Ferdie").public_key().0,
            ..Served::identity()
        },
        WorkerIdentity {
            machine: MACHINE + 1,
            ..Served::identity()
        },
        WorkerIdentity {
            genesis_hash: [1; 32],
            ..Served::identity()
        },
    ] {
        let error = WorkerApi::connect(&url, identity).await.err().unwrap();
        assert!(matches!(error, WorkerApiError::NotVouched { .. }), "{error}");
    }
    let error = WorkerApi::connect("http://127.0.0.1:1", Served::identity())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, WorkerApiError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn ports_of_jobs_are_described_where_there_are_some() {
    let folder = tempfile::tempdir().unwrap();
    let (api, _, owner, _) = start_whole(folder.path()).await;
    let stream = tls_connection(owner).await.unwrap();
    let description = exchange(stream, &request("GET", "/v1/openapi.json", &[], ""))
        .await
        .json();
    let port = &description["paths"]["/v1/jobs/{id}/ports/{name}/{path}"]["get"];
    assert!(port["responses"]["default"].is_object(), "{port}");
    // The token is needed for some ports only.
    assert_eq!(port["security"], serde_json::json!([{}, { "token": [] }]));
    api.stop().await;
}

#[tokio::test]
async fn delivery_is_answered_with_the_reason_and_bounded() {
    let served = serve_jobs().await;
    let api = served.client().await;
    let put = async |path: &str, length: usize| {
        api.put(path, "application/octet-stream", vec![0; length])
            .await
            .unwrap_err()
    };
    let path = "/v1/jobs/7/manifest";
    let short = put(path, 5).await;
    assert!(
        short.is_refused_with(422) && short.to_string().contains("this has 5"),
        "{short}"
    );
    let early = put(path, 200).await;
    assert!(
        early.is_refused_with(503) && early.to_string().contains("not read the chain"),
        "{early}"
    );
    let long = put(path, assay_primitives::delivery::MAX_SEALED_BODY_BYTES + 1).await;
    assert!(long.is_refused_with(413), "{long}");
    let no_number = put("/v1/jobs/x/manifest", 200).await;
    assert!(no_number.is_refused_with(400), "{no_number}");
    let mut refused = short;
    for _ in 0..40 {
        refused = put(path, 200).await;
    }
    assert!(refused.is_refused_with(429), "{refused}");
    // Other requests of the same address are not concerned.
    assert!(api.log_in(5, &key("//Charlie")).await.is_ok());
}
