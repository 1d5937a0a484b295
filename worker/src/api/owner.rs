//! The owner part of the API: a job's status, output and result, for its consumer and its delegates.

use std::sync::Arc;

use assay_client::Keypair;
use axum::{extract::State, response::Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    auth::{self, Owner, no_such_job},
    errors::{ApiError, Refusal},
    manifest, openapi,
    proxy::PortProxy,
    responses::{RESULT_HASH_HEADER, signed_json, with_headers},
    streams::JobStreams,
    tokens::{NoRandomness, Tokens},
};
use crate::{
    delivery::{Attempts, Delivery},
    engine::PublishedPort,
    jobs::{JobNotes, JobStatus, JobStore, ResultFile, hash_of_file},
    status::StatusBoard,
};

/// Maximum length of a request's body, in bytes: a sealed manifest and its envelope.
pub const MAX_OWNER_BODY_BYTES: usize = 512 * 1_024;

/// State that the handlers of the owner part share.
pub struct OwnerContext {
    /// The worker's status, with that of its jobs.
    pub status: StatusBoard,
    /// The worker key, which signs answers.
    pub worker: Keypair,
    /// Public part of the worker key, hexadecimal.
    pub worker_hex: String,
    /// Store of notes and results.
    pub store: JobStore,
    /// Nonces and tokens.
    pub tokens: Tokens,
    /// Takes sealed manifests.
    pub delivery: Delivery,
    /// Bound of the deliveries of one address.
    pub delivery_attempts: Attempts,
    /// Logs, shells and artifacts of jobs.
    pub streams: Option<Arc<JobStreams>>,
    /// Proxy to jobs' HTTP ports.
    pub proxy: Option<PortProxy>,
}

/// The chain and the machine that a worker serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MachineIdentity {
    /// Number of the machine.
    pub(super) machine: u64,
    /// Hash of the genesis block.
    pub(super) genesis_hash: [u8; 32],
}

impl OwnerContext {
    /// Creates the state, without tokens.
    pub fn new(
        status: StatusBoard,
        worker: Keypair,
        store: JobStore,
        delivery: Delivery,
    ) -> Result<Self, NoRandomness> {
        Ok(Self {
            status,
            worker_hex: hex::encode(worker.public_key().0),
            worker,
            store,
            tokens: Tokens::new(std::time::Instant::now())?,
            delivery,
            delivery_attempts: Attempts::default(),
            streams: None,
            proxy: None,
        })
    }

    /// Adds logs, shells and artifacts of jobs.
    pub fn with_streams(mut self, streams: Arc<JobStreams>) -> Self {
        self.streams = Some(streams);
        self
    }

    /// Adds the proxy to jobs' HTTP ports.
    pub fn with_proxy(mut self, proxy: PortProxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Returns the chain and the machine that the worker serves.
    pub(super) fn identity(&self) -> Result<MachineIdentity, ApiError> {
        identity_of(&self.status)
    }
}

/// Returns the chain and the machine that a worker serves.
pub(super) fn identity_of(status: &StatusBoard) -> Result<MachineIdentity, ApiError> {
    status
        .with(|status| status.machine.zip(status.chain.genesis_hash))
        .map(|(machine, genesis_hash)| MachineIdentity {
            machine,
            genesis_hash: genesis_hash.0,
        })
        .ok_or_else(|| {
            ApiError::unavailable("the worker serves no machine yet; try again when /health answers with 200")
        })
}

/// Returns the routes of the owner part.
pub(super) fn routes() -> OpenApiRouter<Arc<OwnerContext>> {
    OpenApiRouter::with_openapi(openapi::owner())
        .routes(routes!(auth::challenge))
        .routes(routes!(auth::token))
        .routes(routes!(auth::revoke))
        .routes(routes!(manifest::put))
        .routes(routes!(job))
        .routes(routes!(result))
}

/// Status of a job, as its owner sees it.
#[derive(Serialize, ToSchema)]
struct JobView {
    /// Number of the job.
    id: u64,
    /// Status while the job is open.
    open: Option<JobStatus>,
    /// Notes on the job, also after its end.
    notes: Option<JobNotes>,
    /// Ports of the container that can be reached from outside.
    ports: Vec<PublishedPort>,
}

/// Returns a job's status, the worker's notes on it and its ports, signed by the worker key.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    params(("id" = u64, Path, description = "Number of the job", example = 5)),
    responses(
        (status = 200, body = JobView),
        (status = 400, body = Refusal),
        (status = 401, body = Refusal),
        (status = 403, body = Refusal),
        (status = 404, body = Refusal),
    ),
    security(("token" = [])),
)]
async fn job(owner: Owner, State(context): State<Arc<OwnerContext>>) -> Result<Response, ApiError> {
    let id = owner.job;
    let open = context.status.job(id);
    let notes = context
        .store
        .stored_notes(id)
        .map_err(|error| ApiError::internal(&error))?
        .map(JobNotes::for_everybody);
    if open.is_none() && notes.is_none() {
        return Err(no_such_job());
    }
    let view = JobView {
        id,
        ports: notes
            .as_ref()
            .map(|notes| notes.ports.clone())
            .unwrap_or_default(),
        open,
        notes,
    };
    let body = serde_json::to_vec(&view).map_err(|error| ApiError::internal(&error))?;
    Ok(signed_json(&context.worker, &context.worker_hex, body))
}

/// Fails for output that another replica of the job could copy.
///
/// Handlers that show a job's output call it first.
pub(super) fn check_not_secret(store: &JobStore, id: u64) -> Result<(), ApiError> {
    match store.stored_notes(id) {
        Ok(Some(notes)) if notes.is_secret() => Err(ApiError::forbidden(
            "a replica's output is secret until its result is revealed on chain",
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

/// Returns the fields of a finished task's result, and its hash as on chain in a header.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/result",
    params(("id" = u64, Path, description = "Number of the job", example = 5)),
    responses(
        (status = 200, body = ResultFile),
        (status = 400, body = Refusal),
        (status = 401, body = Refusal),
        (status = 403, body = Refusal),
        (status = 404, body = Refusal),
    ),
    security(("token" = [])),
)]
async fn result(owner: Owner, State(context): State<Arc<OwnerContext>>) -> Result<Response, ApiError> {
    check_not_secret(&context.store, owner.job)?;
    let document = context
        .store
        .result_document(owner.job)
        .map_err(|error| ApiError::internal(&error))?;
    let Some(document) = document else {
        return Err(ApiError::not_found("this machine has no result of the job"));
    };
    Ok(match hash_of_file(&document) {
        Some(hash) => with_headers(
            "application/json",
            [(RESULT_HASH_HEADER, hex::encode(hash))],
            document,
        ),
        // Result of an earlier version of this worker, which stored the bytes themselves.
        None => with_headers("application/json", [], document),
    })
}
