//! Requests that Schemathesis makes up from the API's own description, to both parts of the API: every answer
//! must be one that the description has, whatever is asked.
//!
//! Not made up: WebSockets (`…/exec`), and requests to the HTTP ports of jobs, whose answers are the
//! containers'.
//!
//! `ASSAY_SCHEMATHESIS` names the program, as `scripts/test unit` sets it. If it is unset, nothing is tested.

#![allow(clippy::unwrap_used)]

use std::{
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use assay_worker::{
    engine::{Capture, OutputStream},
    jobs::JobNotes,
};
use tokio::process::Command;

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/served.rs"]
mod served;

use served::{account, open_job, serve_healthy};

/// Number of requests made up for each path, in each phase.
const EXAMPLES: &str = "25";

/// Time within which a run ends.
const LIMIT: Duration = Duration::from_secs(60);

static PANICS: AtomicUsize = AtomicUsize::new(0);

async fn run(program: &str, arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command
        .args([
            "run",
            "--no-color",
            "--seed",
            "17",
            "--workers",
            "2",
            "--max-examples",
            EXAMPLES,
        ])
        .args([
            "--request-timeout",
            "10",
            "--suppress-health-check",
            "all",
            "--warnings",
            "off",
        ])
        // A token request may be well-formed and yet be signed by nobody.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args(arguments)
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output())
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{text}");
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "a handler panicked");
}

fn program() -> Option<String> {
    let program = std::env::var("ASSAY_SCHEMATHESIS").ok();
    if program.is_none() {
        println!("ASSAY_SCHEMATHESIS is unset: nothing is tested");
    }
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        usual(info);
    }));
    program
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn public_part_answers_as_it_is_described() {
    let Some(program) = program() else { return };
    let served = serve_healthy().await;
    run(&program, &[&format!("http://{}/v1/openapi.json", served.public)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_part_answers_as_it_is_described() {
    let Some(program) = program() else { return };
    let served = serve_healthy().await;
    served.status.set_jobs(vec![open_job(5, "//Charlie")]);
    let notes = JobNotes {
        fingerprint: "job 5".into(),
        consumer: Some(account("//Charlie")),
        // Nothing more comes, so that a request that follows the log ends.
        closed: true,
        ..JobNotes::default()
    };
    served.store.write_notes(5, &notes).unwrap();
    let mut capture = Capture::new(&served.store.output_target(5, false));
    capture.take(OutputStream::Stdout, b"out\n");
    capture.finish();
    let output = served.output_folder();
    std::fs::create_dir_all(output.join("sub")).unwrap();
    std::fs::write(output.join("sub/file"), vec![7; 100_000]).unwrap();
    std::fs::write(output.join("a"), "a").unwrap();
    let token = served.token(5, "//Charlie", |_| ()).await.json();
    let header = format!("Authorization: Bearer {}", token["token"].as_str().unwrap());
    let url = format!("https://{}/v1/openapi.json", served.owner);
    // The end of the token would end the rest of the run.
    let arguments = [
        &*url,
        "--tls-verify",
        "false",
        "--header",
        &*header,
        "--exclude-path",
        "/v1/token",
        // A WebSocket, which is no request and response: `owner_api` and the tests of `exec` open some.
        "--exclude-path",
        "/v1/jobs/{id}/exec",
    ];
    run(&program, &arguments).await;
    run(
        &program,
        &[&url, "--tls-verify", "false", "--include-path", "/v1/token"],
    )
    .await;
    assert!(served.context.status.job(5).is_some());
    // What the fuzzer asked for is there.
    let token = token["token"].as_str().unwrap();
    for path in [
        "logs",
        "artifacts",
        "artifacts/archive",
        "artifacts/files/sub/file",
    ] {
        let path = format!("/v1/jobs/5/{path}");
        assert_eq!(served.ask_with(token, &path).await.code, 200, "{path}");
    }
}
