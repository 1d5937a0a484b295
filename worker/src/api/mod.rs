//! The worker's HTTP interface.
//!
//! | path | response |
//! |---|---|
//! | `GET /status` | the status as JSON, signed with the worker key, including the nonce of `?nonce=<text>` |
//! | `GET /health` | 200 while the worker can run jobs, 503 and the reasons otherwise |
//! | `GET /jobs/{id}` | the status and notes of one job |
//! | `GET /jobs/{id}/logs` | the beginning of its output; `?stream=stderr` for the other stream |
//! | `GET /jobs/{id}/result` | the fields of a finished task's result, and its hash in a header |
//! | `GET /metrics` | Prometheus' text format |
//! | `GET /v1/probe?nonce=<NONCE>` | the signed answer to a validator's probe; or 503 as for `/health` |
//!
//! `<NONCE>` has 64 hexadecimal digits.
//!
//! Logs, commands and artifacts for a job's owner are in [`streams`], whose routes need a layer that knows
//! owners.
//!
//! Anybody who reaches the port can read everything here, just as the manifests of the jobs are public.

pub mod artifacts;
pub mod auth;
pub mod errors;
pub mod exec;
pub mod logs;
mod produced;
mod ranges;
mod seats;
pub mod streams;

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use assay_client::Keypair;
use assay_primitives::availability::{PROBE_NONCE_BYTES, PROBE_PATH, probe_message};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{
    jobs::{JobNotes, JobStatus, JobStore, hash_of_file},
    metrics::Metrics,
    status::{BlockHash, Phase, Status, StatusBoard},
};

/// Header with the hexadecimal sr25519 signature over the exact bytes of the body.
pub const SIGNATURE_HEADER: HeaderName = HeaderName::from_static("x-assay-signature");

/// Header with the hexadecimal public part of the worker key.
pub const WORKER_KEY_HEADER: HeaderName = HeaderName::from_static("x-assay-worker-key");

/// Header with the hexadecimal hash of a result, as on chain.
pub const RESULT_HASH_HEADER: HeaderName = HeaderName::from_static("x-assay-result-hash");

/// Maximum length of a caller's nonce, in bytes.
pub const MAX_NONCE_BYTES: usize = 64;

/// Maximum number of concurrent requests; further ones are refused.
const MAX_REQUESTS: usize = 64;

/// State that the handlers share.
pub struct ApiContext {
    /// The status to show.
    pub status: StatusBoard,
    /// Key that signs the status.
    pub worker: Keypair,
    /// Public part of the worker key, hexadecimal.
    pub worker_hex: String,
    /// Store of notes and results.
    pub store: JobStore,
    /// Metrics for Prometheus.
    pub metrics: Metrics,
}

/// Error of opening the HTTP interface.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}; change `network_config.p2p_port` or `assay.listen_address`, or stop the \
     program that has the port"
)]
pub struct ListenError {
    /// Address to listen on.
    pub address: SocketAddr,
    /// Error of the system.
    pub source: io::Error,
}

/// Binds the port, so that a port in use is an error before anything else happens.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// Answers requests until `stop` completes.
pub async fn serve(
    listener: TcpListener,
    context: Arc<ApiContext>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(context))
        .with_graceful_shutdown(stop)
        .await
}

/// Returns the routes with their handlers.
pub fn router(context: Arc<ApiContext>) -> Router {
    let seats = Arc::new(Semaphore::new(MAX_REQUESTS));
    Router::new()
        .route("/status", get(status))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route(PROBE_PATH, get(probe))
        .route("/jobs/{id}", get(job))
        .route("/jobs/{id}/logs", get(logs))
        .route("/jobs/{id}/result", get(result))
        .layer(middleware::from_fn_with_state(seats, limit_requests))
        .with_state(context)
}

async fn limit_requests(State(seats): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    match seats.try_acquire() {
        Ok(_seat) => next.run(request).await,
        Err(_) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests at once; try again",
        ),
    }
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
}

fn refusal(code: StatusCode, error: &str) -> Response {
    (code, Json(Refusal { error })).into_response()
}

fn failure(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "answering a request failed");
    refusal(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the worker could not read the requested data; its log says why",
    )
}

#[derive(Deserialize)]
struct StatusQuery {
    nonce: Option<String>,
}

#[derive(Serialize)]
struct SignedStatus {
    /// Nonce of the caller, which prevents the replay of an old response.
    nonce: Option<String>,
    #[serde(flatten)]
    status: Status,
}

async fn status(State(context): State<Arc<ApiContext>>, Query(query): Query<StatusQuery>) -> Response {
    let fits =
        |nonce: &String| nonce.len() <= MAX_NONCE_BYTES && nonce.bytes().all(|byte| byte.is_ascii_graphic());
    if !query.nonce.as_ref().is_none_or(fits) {
        return refusal(
            StatusCode::BAD_REQUEST,
            "a nonce is at most 64 printable ASCII characters",
        );
    }
    let signed = SignedStatus {
        nonce: query.nonce,
        status: context.status.read(),
    };
    match serde_json::to_vec(&signed) {
        Ok(body) => signed_json(&context.worker, &context.worker_hex, body),
        Err(error) => failure(&error),
    }
}

fn signed_json(worker: &Keypair, worker_hex: &str, body: Vec<u8>) -> Response {
    let signature = hex::encode(worker.sign(&body).0);
    with_headers(
        "application/json",
        [
            (SIGNATURE_HEADER, signature),
            (WORKER_KEY_HEADER, worker_hex.to_owned()),
        ],
        body,
    )
}

fn with_headers<const N: usize>(
    kind: &'static str,
    headers: [(HeaderName, String); N],
    body: Vec<u8>,
) -> Response {
    let mut response = Response::new(Body::from(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in headers {
        // Hexadecimal text is always a valid header value.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[derive(Serialize)]
struct Health {
    healthy: bool,
    reasons: Vec<&'static str>,
}

/// Returns the reasons why the worker cannot run jobs now; none while it can.
fn ailments(status: &Status) -> Vec<&'static str> {
    [
        (!status.chain.connected, "no connection to the chain"),
        (!status.engine.reachable, "the container engine does not answer"),
        (status.machine.is_none(), "the worker serves no machine"),
        (status.phase == Phase::Stopping, "the worker is stopping"),
        (
            status.jobs.iter().any(JobStatus::is_halted),
            "the container of a running job is paused or stuck",
        ),
    ]
    .into_iter()
    .filter_map(|(ails, reason)| ails.then_some(reason))
    .collect()
}

async fn health(State(context): State<Arc<ApiContext>>) -> Response {
    let reasons = ailments(&context.status.read());
    let healthy = reasons.is_empty();
    let code = if healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(Health { healthy, reasons })).into_response()
}

#[derive(Deserialize)]
struct ProbeQuery {
    nonce: String,
}

/// Response that a validator checks; `signature` is over [`probe_message`].
#[derive(Serialize)]
struct ProbeAnswer {
    machine: u64,
    best_block_hash: BlockHash,
    signature: String,
}

/// Proves that this machine is here, knows the chain and can run jobs.
///
/// The caller chooses 32 bytes of the signed message, but they stand between a domain separator and the
/// machine's number, so the signature cannot serve another purpose.
async fn probe(State(context): State<Arc<ApiContext>>, Query(query): Query<ProbeQuery>) -> Response {
    let mut nonce = [0; PROBE_NONCE_BYTES];
    if hex::decode_to_slice(&query.nonce, &mut nonce).is_err() {
        return refusal(
            StatusCode::BAD_REQUEST,
            "a probe's nonce is 64 hexadecimal digits",
        );
    }
    let status = context.status.read();
    let reasons = ailments(&status);
    let chain = &status.chain;
    let (Some(machine), Some(genesis_hash), Some(best_block_hash), []) = (
        status.machine,
        chain.genesis_hash,
        chain.best_block_hash,
        &reasons[..],
    ) else {
        let unwell = Health {
            healthy: false,
            reasons,
        };
        return (StatusCode::SERVICE_UNAVAILABLE, Json(unwell)).into_response();
    };
    let message = probe_message(&genesis_hash.0, &nonce, machine, &best_block_hash.0);
    Json(ProbeAnswer {
        machine,
        best_block_hash,
        signature: format!("0x{}", hex::encode(context.worker.sign(&message).0)),
    })
    .into_response()
}

async fn metrics(State(context): State<Arc<ApiContext>>) -> Response {
    match context.metrics.render() {
        Ok(text) => with_headers("text/plain; version=0.0.4", [], text),
        Err(error) => failure(&error),
    }
}

#[derive(Serialize)]
struct JobView {
    id: u64,
    /// Status while the job is open.
    open: Option<JobStatus>,
    /// Notes on the job, also after its end.
    notes: Option<JobNotes>,
}

async fn job(State(context): State<Arc<ApiContext>>, Path(id): Path<u64>) -> Response {
    let open = context.status.read().jobs.into_iter().find(|job| job.id == id);
    match context.store.stored_notes(id) {
        Ok(None) if open.is_none() => no_such_job(),
        Ok(notes) => {
            let notes = notes.map(JobNotes::for_everybody);
            Json(JobView { id, open, notes }).into_response()
        }
        Err(error) => failure(&error),
    }
}

/// Refuses to show output that another replica of the job could copy.
fn refuse_secret(store: &JobStore, id: u64) -> Option<Response> {
    match store.stored_notes(id) {
        Ok(Some(notes)) if notes.is_secret() => Some(refusal(
            StatusCode::FORBIDDEN,
            "a replica's output is secret until its result is revealed on chain",
        )),
        Ok(_) => None,
        Err(error) => Some(failure(&error)),
    }
}

fn no_such_job() -> Response {
    refusal(StatusCode::NOT_FOUND, "this machine knows no such job")
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stream {
    #[default]
    Stdout,
    Stderr,
}

#[derive(Deserialize)]
struct LogsQuery {
    #[serde(default)]
    stream: Stream,
}

async fn logs(
    State(context): State<Arc<ApiContext>>,
    Path(id): Path<u64>,
    Query(query): Query<LogsQuery>,
) -> Response {
    if let Some(refused) = refuse_secret(&context.store, id) {
        return refused;
    }
    let (stdout, stderr) = match context.store.output(id) {
        Ok(Some(output)) => output,
        Ok(None) => return no_such_job(),
        Err(error) => return failure(&error),
    };
    let text = match query.stream {
        Stream::Stdout => stdout,
        Stream::Stderr => stderr,
    };
    with_headers("text/plain; charset=utf-8", [], text)
}

async fn result(State(context): State<Arc<ApiContext>>, Path(id): Path<u64>) -> Response {
    if let Some(refused) = refuse_secret(&context.store, id) {
        return refused;
    }
    match context.store.result_document(id) {
        Ok(Some(document)) => match hash_of_file(&document) {
            Some(hash) => with_headers(
                "application/json",
                [(RESULT_HASH_HEADER, hex::encode(hash))],
                document,
            ),
            // Result of an earlier version of this worker, which stored the bytes themselves.
            None => with_headers("application/json", [], document),
        },
        Ok(None) => refusal(StatusCode::NOT_FOUND, "this machine has no result of such a job"),
        Err(error) => failure(&error),
    }
}
