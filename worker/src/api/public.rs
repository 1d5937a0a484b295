//! The public part of the API: health, status and probes. It reveals nothing of any one job.

use std::{sync::Arc, time::Duration};

use assay_client::{
    Keypair,
    worker_api::{MAX_TLS_STATEMENT_LIFE_S, OwnerPart, messages},
};
use assay_primitives::availability::{PROBE_NONCE_BYTES, PROBE_PATH, probe_message};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    auth::unix_time_s,
    errors::{ApiError, ApiQuery, Refusal},
    openapi,
    owner::identity_of,
    responses::{METRICS_TYPE, signed_json, with_headers},
};
use crate::{
    metrics::Metrics,
    status::{BlockHash, Phase, Status, StatusBoard},
};

/// Maximum length of a caller's nonce, in bytes.
pub const MAX_NONCE_BYTES: usize = 64;

/// Life of a statement about the TLS key: the client needs it for one connection, but clocks differ.
const STATEMENT_LIFE: Duration = Duration::from_secs(MAX_TLS_STATEMENT_LIFE_S / 2);

/// State that the handlers of the public part share.
pub struct PublicContext {
    /// The status to show.
    pub status: StatusBoard,
    /// Key that signs the status.
    pub worker: Keypair,
    /// Public part of the worker key, hexadecimal.
    pub worker_hex: String,
    /// Metrics for Prometheus.
    pub metrics: Metrics,
}

/// Returns the routes of the public part.
pub(super) fn routes() -> OpenApiRouter<Arc<PublicContext>> {
    OpenApiRouter::with_openapi(openapi::public())
        .routes(routes!(status))
        .routes(routes!(health))
        .routes(routes!(metrics))
        .routes(routes!(probe))
        .routes(routes!(owner_part))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct StatusQuery {
    /// Nonce that the signed status repeats: 1 to 64 printable ASCII characters without spaces.
    #[param(min_length = 1, max_length = 64, pattern = "^[!-~]+$")]
    nonce: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct SignedStatus {
    /// Nonce of the caller, which prevents the replay of an old response.
    nonce: Option<String>,
    #[serde(flatten)]
    status: Status,
}

/// Returns the worker's status, signed by the worker key.
#[utoipa::path(
    get,
    path = "/status",
    params(StatusQuery),
    responses(
        (
            status = 200,
            body = SignedStatus,
            headers(
                ("x-assay-signature" = String, description = "Signature over the exact bytes of the body, hexadecimal"),
                ("x-assay-worker-key" = String, description = "Public part of the worker key, hexadecimal"),
            )
        ),
        (status = 400, body = Refusal),
    ),
)]
async fn status(
    State(context): State<Arc<PublicContext>>,
    ApiQuery(query): ApiQuery<StatusQuery>,
) -> Result<Response, ApiError> {
    let fits = |nonce: &String| {
        (1..=MAX_NONCE_BYTES).contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !query.nonce.as_ref().is_none_or(fits) {
        return Err(ApiError::bad_request(
            "a nonce is 1 to 64 printable ASCII characters",
        ));
    }
    let signed = SignedStatus {
        nonce: query.nonce,
        status: context.status.read(),
    };
    let body = serde_json::to_vec(&signed).map_err(|error| ApiError::internal(&error))?;
    Ok(signed_json(&context.worker, &context.worker_hex, body))
}

#[derive(Serialize, ToSchema)]
struct Health {
    /// True while the worker can run jobs.
    healthy: bool,
    /// Reasons why it cannot.
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
            status.jobs.halted > 0,
            "the container of a running job is paused or stuck",
        ),
    ]
    .into_iter()
    .filter_map(|(ails, reason)| ails.then_some(reason))
    .collect()
}

/// Returns 200 if the worker can run jobs.
#[utoipa::path(get, path = "/health", responses((status = 200, body = Health), (status = 503, body = Health)))]
async fn health(State(context): State<Arc<PublicContext>>) -> Response {
    let reasons = context.status.with(ailments);
    let healthy = reasons.is_empty();
    let code = if healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(Health { healthy, reasons })).into_response()
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ProbeQuery {
    /// 32 bytes, hexadecimal.
    #[param(min_length = 64, max_length = 64, pattern = "^[0-9a-fA-F]{64}$")]
    nonce: String,
}

/// Response that a validator checks; `signature` is over [`probe_message`].
#[derive(Serialize, ToSchema)]
struct ProbeAnswer {
    /// Number of the machine.
    machine: u64,
    /// Best block that the worker knows.
    #[schema(value_type = String)]
    best_block_hash: BlockHash,
    /// Signature of the worker key over nonce, chain, machine and block, hexadecimal behind `0x`.
    signature: String,
}

/// Proves that this machine is here, knows the chain and can run jobs.
///
/// The caller chooses 32 bytes of the signed message, but they stand between a domain separator and the
/// machine's number, so the signature cannot serve another purpose.
#[utoipa::path(
    get,
    path = PROBE_PATH,
    params(ProbeQuery),
    responses((status = 200, body = ProbeAnswer), (status = 400, body = Refusal), (status = 503, body = Health)),
)]
async fn probe(
    State(context): State<Arc<PublicContext>>,
    ApiQuery(query): ApiQuery<ProbeQuery>,
) -> Result<Response, ApiError> {
    let mut nonce = [0; PROBE_NONCE_BYTES];
    if hex::decode_to_slice(&query.nonce, &mut nonce).is_err() {
        return Err(ApiError::bad_request("a probe's nonce is 64 hexadecimal digits"));
    }
    let (reasons, machine, chain) = context
        .status
        .with(|status| (ailments(status), status.machine, status.chain.clone()));
    let (Some(machine), Some(genesis_hash), Some(best_block_hash), []) =
        (machine, chain.genesis_hash, chain.best_block_hash, &reasons[..])
    else {
        let unwell = Health {
            healthy: false,
            reasons,
        };
        return Ok((StatusCode::SERVICE_UNAVAILABLE, Json(unwell)).into_response());
    };
    let message = probe_message(&genesis_hash.0, &nonce, machine, &best_block_hash.0);
    Ok(Json(ProbeAnswer {
        machine,
        best_block_hash,
        signature: format!("0x{}", hex::encode(context.worker.sign(&message).0)),
    })
    .into_response())
}

/// Returns the metrics of the machine as a whole in Prometheus' text format. Those of its devices and
/// jobs are served to the provider alone.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, body = String, content_type = "text/plain; version=0.0.4")),
)]
async fn metrics(State(context): State<Arc<PublicContext>>) -> Result<Response, ApiError> {
    let text = context
        .metrics
        .render()
        .map_err(|error| ApiError::internal(&error))?;
    Ok(with_headers(METRICS_TYPE, [], text))
}

/// Returns the URL of the owner part, and the worker key's signature of the key of its certificate.
#[utoipa::path(
    get,
    path = "/v1/owner",
    responses((status = 200, body = OwnerPart), (status = 503, body = Refusal)),
)]
async fn owner_part(State(context): State<Arc<PublicContext>>) -> Result<Json<OwnerPart>, ApiError> {
    let identity = identity_of(&context.status)?;
    let Some((url, spki_sha256)) = context.status.with(|status| {
        let part = &status.owner_part;
        part.spki_sha256.map(|hash| (part.url.clone(), hash.0))
    }) else {
        return Err(ApiError::unavailable("the owner part is not up yet; try again"));
    };
    let expires_at_s = unix_time_s().saturating_add(STATEMENT_LIFE.as_secs());
    let message = messages::tls_message(
        &identity.genesis_hash,
        identity.machine,
        &spki_sha256,
        expires_at_s,
    );
    Ok(Json(OwnerPart {
        url,
        spki_sha256: format!("0x{}", hex::encode(spki_sha256)),
        machine: identity.machine,
        genesis_hash: format!("0x{}", hex::encode(identity.genesis_hash)),
        expires_at_s,
        signature: format!("0x{}", hex::encode(context.worker.sign(&message).0)),
    }))
}
