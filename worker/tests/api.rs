//! The HTTP interface from the point of view of a client on the network.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use assay_client::{
    keys,
    worker_api::{WorkerApiError, signed_status},
};
use assay_primitives::availability::{PROBE_PATH, probe_message};
use assay_worker::{
    api::{self, PartLimits},
    attestation::SourceStatus,
    config::Config,
    devices::{DeviceId, SlotState, SlotView},
    health::{
        DeviceHealth, HealthStatus, Level, Verdict,
        reading::{Driver, GpuReading, Readings},
    },
    jobs::JobNotes,
};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/served.rs"]
mod served;

use served::{account, exchange, open_job, request, serve, serve_healthy};

#[tokio::test]
async fn status_is_signed_over_its_exact_bytes() {
    let server = serve().await;
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
async fn client_reads_the_status_and_checks_who_signed_it() {
    let server = serve().await;
    let url = format!("http://{}", server.public);
    let eve = keys::keypair_from_uri("//Eve").unwrap().public_key().0;
    let runtimes = vec!["runsc".to_owned()];
    server
        .status
        .update(|status| status.engine.runtimes.clone_from(&runtimes));
    let status = signed_status(&url, &eve).await.unwrap();
    assert_eq!(status["engine"]["runtimes"], serde_json::json!(runtimes));
    let error = signed_status(&url, &[7; 32]).await.unwrap_err();
    assert!(matches!(error, WorkerApiError::NotSigned { .. }), "{error}");
}

#[tokio::test]
async fn status_tells_how_the_machine_attests() {
    let server = serve().await;
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

#[tokio::test]
async fn probe_is_answered_with_a_signature_of_nonce_chain_machine_and_block() {
    let server = serve_healthy().await;
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
    let server = serve_healthy().await;
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
    let server = serve_healthy().await;
    let probe = format!("{PROBE_PATH}?nonce={}", "bb".repeat(32));
    for (state, container, code) in [
        ("running", "running", 200),
        ("running", "paused", 503),
        ("running", "stuck", 503),
        ("starting", "paused", 200),
        ("verifying", "exited", 200),
    ] {
        let mut job = open_job(5, "//Charlie");
        (job.state, job.container) = (state.into(), container.into());
        server.status.set_jobs(vec![job]);
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
    let server = serve_healthy().await;
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
    let server = serve().await;
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

#[tokio::test]
async fn public_part_tells_nothing_of_a_job() {
    let server = serve_healthy().await;
    let mut halted = open_job(123_456, "//Charlie");
    (halted.container, halted.problem) = ("paused".into(), Some("a secret of the job".into()));
    server.status.set_jobs(vec![open_job(5, "//Charlie"), halted]);
    let answer = server.get("/status").await;
    assert_eq!(
        answer.json()["jobs"],
        serde_json::json!({ "open": 2, "running": 2, "halted": 1 })
    );
    let text = String::from_utf8(answer.body).unwrap();
    let charlie = keys::account_of(&keys::keypair_from_uri("//Charlie").unwrap()).to_string();
    for secret in ["123456", "a secret", &charlie, "fingerprint"] {
        assert!(!text.contains(secret), "{secret}");
    }
    for path in [
        "/jobs/5",
        "/jobs/5/logs",
        "/jobs/5/result",
        "/v1/jobs/5",
        "/v1/jobs/5/logs",
        "/nothing",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.code, 404, "{path}");
        assert!(answer.error().contains("/v1/openapi.json"), "{path}");
    }
}

#[tokio::test]
async fn public_part_says_where_the_owner_part_is() {
    let server = serve().await;
    assert_eq!(
        server.get("/v1/owner").await.code,
        503,
        "it serves no machine yet"
    );
    served::make_healthy(&server.status);
    let part = server.get("/v1/owner").await.json();
    assert_eq!(part["url"], format!("https://{}", server.owner));
    assert_eq!(part["machine"], served::MACHINE);
    let status = server.get("/status").await.json();
    assert_eq!(status["owner_part"]["url"], part["url"]);
    assert_eq!(status["owner_part"]["spki_sha256"], part["spki_sha256"]);
}

#[tokio::test]
async fn public_part_describes_itself() {
    let description = serve().await.get("/v1/openapi.json").await.json();
    let mut paths: Vec<_> = description["paths"].as_object().unwrap().keys().collect();
    paths.sort();
    assert_eq!(
        paths,
        ["/health", "/metrics", "/status", "/v1/owner", "/v1/probe"]
    );
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let answer = serve().await.get("/metrics").await;
    assert_eq!(answer.code, 200);
    assert!(
        String::from_utf8(answer.body)
            .unwrap()
            .contains("assay_worker_chain_connected 0")
    );
}

/// Number of a job that stands nowhere else.
const JOB: u64 = 5_417_093;

/// Makes job [`JOB`] of `//Charlie` use a GPU with values that stand nowhere else.
fn run_on_a_gpu(server: &served::Served) {
    let gpu = "GPU-0f3c";
    let mut job = open_job(JOB, "//Charlie");
    job.problem = Some("out of luck".into());
    let notes = JobNotes {
        fingerprint: job.fingerprint.clone(),
        consumer: Some(job.consumer),
        ..JobNotes::default()
    };
    server.store.write_notes(JOB, &notes).unwrap();
    let slots = vec![SlotView {
        slot: 0,
        state: SlotState::Leased,
        job: Some(JOB),
        device: Some(DeviceId(gpu.into())),
        pci_address: None,
        problem: None,
    }];
    let reading = GpuReading {
        temperature_c: Some(421_733),
        power_mw: Some(305_517),
        graphics_clock_mhz: Some(2_903_177),
        ..GpuReading::empty(gpu, Driver::Nvidia, "")
    };
    let verdict = Verdict {
        level: Level::Fine,
        reasons: Vec::new(),
        refusals: Vec::new(),
        devices: vec![DeviceHealth {
            device: gpu.into(),
            level: "fine",
            temperature_c: reading.temperature_c,
            memory_temperature_c: Some(421_733),
            power_mw: reading.power_mw,
            fan_percent: Some(421_733),
            ignored: Vec::new(),
        }],
        is_settled: true,
    };
    let readings = Readings {
        gpus: vec![reading],
        ..Readings::default()
    };
    server.metrics.health.show(&readings, &slots, &verdict);
    server.status.set_jobs(vec![job]);
    server.status.update(|status| {
        status.slots = slots;
        status.health = HealthStatus::from(&verdict);
    });
}

#[tokio::test]
async fn public_part_tells_nothing_of_the_use_of_a_lease() {
    let server = serve_healthy().await;
    run_on_a_gpu(&server);
    let charlie = account("//Charlie");
    let secrets = [
        JOB.to_string(),
        "out of luck".into(),
        charlie.to_string(),
        hex::encode(charlie.0),
        "421733".into(),
        "305517".into(),
        "305.517".into(),
        "2903177".into(),
    ];
    let probe = format!("{PROBE_PATH}?nonce={}", "11".repeat(32));
    for path in [
        "/status",
        "/health",
        "/metrics",
        "/v1/owner",
        "/v1/openapi.json",
        &probe,
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.code, 200, "{path}");
        let text = String::from_utf8(answer.body).unwrap();
        for secret in &secrets {
            assert!(!text.contains(secret), "{path} tells {secret}: {text}");
        }
    }
    let public = String::from_utf8(server.get("/metrics").await.body).unwrap();
    assert!(public.contains("assay_worker_health_level 0"), "{public}");
    assert!(!public.contains("GPU-0f3c"), "{public}");
}

#[tokio::test]
async fn provider_sees_devices_and_jobs_at_a_listener_of_its_own() {
    let server = serve_healthy().await;
    run_on_a_gpu(&server);
    let listener = api::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (metrics, limits) = (server.metrics.clone(), PartLimits::PUBLIC);
    tokio::spawn(api::serve_metrics(listener, metrics, limits, stop));
    let get = async |path: &str| {
        let stream = TcpStream::connect(address).await.unwrap();
        exchange(stream, &request("GET", path, &[], "")).await
    };
    let answer = get("/metrics").await;
    assert_eq!(answer.code, 200);
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        "assay_worker_health_level 0\n",
        "assay_worker_gpu_power_watts{device=\"GPU-0f3c\",slot=\"0\"} 305.517\n",
        "assay_worker_job_gpu_temperature_celsius{device=\"GPU-0f3c\",job=\"5417093\"} 421733\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    for path in ["/status", "/v1/owner", "/"] {
        assert_eq!(get(path).await.code, 404, "{path}");
    }
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

#[tokio::test]
async fn owner_part_describes_itself() {
    let served = serve().await;
    let description = served.ask("GET", "/v1/openapi.json", &[], "").await.json();
    let mut paths: Vec<_> = description["paths"].as_object().unwrap().keys().collect();
    paths.sort();
    assert_eq!(
        paths,
        [
            "/v1/jobs/{id}",
            "/v1/jobs/{id}/artifacts",
            "/v1/jobs/{id}/artifacts/archive",
            "/v1/jobs/{id}/artifacts/files/{path}",
            "/v1/jobs/{id}/challenge",
            "/v1/jobs/{id}/exec",
            "/v1/jobs/{id}/logs",
            "/v1/jobs/{id}/manifest",
            "/v1/jobs/{id}/result",
            "/v1/jobs/{id}/token",
            "/v1/token"
        ]
    );
    assert_eq!(
        description["components"]["securitySchemes"]["token"]["scheme"],
        "bearer"
    );
    for (path, code) in [
        ("result", "200"),
        ("logs", "200"),
        ("exec", "101"),
        ("artifacts", "410"),
        ("artifacts/archive", "206"),
        ("artifacts/files/{path}", "416"),
    ] {
        let operation = &description["paths"][format!("/v1/jobs/{{id}}/{path}")]["get"];
        assert_eq!(operation["security"][0]["token"], serde_json::json!([]), "{path}");
        for code in [code, "401", "429", "503"] {
            assert!(operation["responses"][code].is_object(), "{path} {code}");
        }
    }
    let logs = &description["paths"]["/v1/jobs/{id}/logs"]["get"];
    assert!(logs["responses"]["200"]["content"]["text/event-stream"].is_object());
    let parameters = logs["parameters"].as_array().unwrap();
    assert_eq!(parameters.len(), 7, "{parameters:?}");
    for parameter in parameters {
        let is_job = parameter["name"] == "id";
        assert_eq!(parameter["required"] == true, is_job, "{parameter}");
    }
}
