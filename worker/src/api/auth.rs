//! Owners of jobs: the accounts that may act for a job, their tokens, and the extractor that checks a token.
//!
//! ```text
//! POST /v1/jobs/{id}/challenge ─▶ nonce, machine, genesis hash, the worker's time
//!   sign "assay/owner/v1" ‖ genesis ‖ job ‖ machine ‖ nonce ‖ expiry
//! POST /v1/jobs/{id}/token     ─▶ token for this job and account, for an hour at most
//!   Authorization: Bearer <token>, with every further request
//! DELETE /v1/token             ─▶ ends the token
//! ```
//!
//! What an owner opened by a token (a log, a shell, a download, a connection to a port that is not
//! public) ends with the token, be it by its time, by `DELETE` or for a younger one.
//!
//! Handlers of routes below `/v1/jobs/{id}` take an [`Owner`] as an argument: it is only there for a request
//! with a valid token of that job.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use assay_client::{
    AccountId,
    worker_api::{ChallengeAnswer, MAX_TOKEN_LIFE_S, NONCE_BYTES, TokenAnswer, TokenRequest, messages},
};
use axum::{
    Json,
    extract::{FromRef, FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
};

use super::{
    errors::{ApiError, ApiJson, ApiPath, Refusal},
    owner::OwnerContext,
    tokens::{NonceError, TokenLife},
};

/// Consumer of a job, or a delegate, by a valid token for the job in the request's path.
///
/// The path must have the job's number as `{id}`.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Number of the job.
    pub job: u64,
    /// Account that signed the challenge.
    pub account: AccountId,
    /// Life of the token, which an answer that goes on must not outlast.
    pub life: TokenLife,
}

impl<S> FromRequestParts<S> for Owner
where
    S: Send + Sync,
    Arc<OwnerContext>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let ApiPath(JobPath { id }) = ApiPath::from_request_parts(parts, state).await?;
        let context = Arc::<OwnerContext>::from_ref(state);
        let token = bearer(&parts.headers)?;
        let Some((job, account, life)) = context.tokens.owner(token, Instant::now()) else {
            return Err(ApiError::unauthorized(
                "the token has expired, was revoked, or is not of this worker; get another from \
                 POST /v1/jobs/{id}/token",
            ));
        };
        if job != id {
            return Err(ApiError::forbidden(
                "the token is for another job; get one for this job",
            ));
        }
        // After a fork, the number may belong to another consumer's job.
        if !context.authority(job)?.allows(&account) {
            return Err(not_an_owner());
        }
        Ok(Self { job, account, life })
    }
}

/// Job in a path; further parameters are allowed.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub(super) struct JobPath {
    /// Number of the job.
    pub(super) id: u64,
}

/// Accounts that may act for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The job's consumer.
    pub consumer: AccountId,
    /// Accounts that the manifest names; none while the worker has not read it.
    pub delegates: Vec<AccountId>,
}

impl Authority {
    /// Returns true for the consumer and its delegates.
    pub fn allows(&self, account: &AccountId) -> bool {
        self.consumer == *account || self.delegates.contains(account)
    }
}

impl OwnerContext {
    /// Returns the accounts that may act for a job: an open one by the chain, a closed one by the notes.
    pub(super) fn authority(&self, job: u64) -> Result<Authority, ApiError> {
        let notes = self
            .store
            .stored_notes(job)
            .map_err(|error| ApiError::internal(&error))?;
        if let Some(open) = self.status.job(job) {
            let delegates = notes
                .filter(|notes| notes.fingerprint == open.fingerprint)
                .map(|notes| notes.delegates);
            return Ok(Authority {
                consumer: open.consumer,
                delegates: delegates.unwrap_or_default(),
            });
        }
        let Some(notes) = notes else {
            return Err(no_such_job());
        };
        match notes.consumer {
            Some(consumer) => Ok(Authority {
                consumer,
                delegates: notes.delegates,
            }),
            None => Err(ApiError::forbidden(
                "the worker does not know the consumer of this job, which it ran before it kept that, or whose notes it \
                 lost; ask its provider for the files",
            )),
        }
    }
}

pub(super) fn no_such_job() -> ApiError {
    ApiError::not_found("this machine knows no such job")
}

fn not_an_owner() -> ApiError {
    ApiError::forbidden(
        "the account is neither the job's consumer nor a delegate that its manifest names; sign with one of these",
    )
}

/// Returns the token of a request.
fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| {
            ApiError::unauthorized(
                "this is for the job's owner: send `Authorization: Bearer <token>`, with a token from \
                 POST /v1/jobs/{id}/token",
            )
        })
}

/// Creates a nonce that the owner signs to get a token.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/challenge",
    params(("id" = u64, Path, description = "Number of the job", example = 5)),
    responses(
        (status = 200, body = ChallengeAnswer),
        (status = 400, body = Refusal),
        (status = 403, body = Refusal),
        (status = 404, body = Refusal),
        (status = 503, body = Refusal),
    ),
)]
pub(super) async fn challenge(
    State(context): State<Arc<OwnerContext>>,
    ApiPath(JobPath { id }): ApiPath<JobPath>,
) -> Result<Json<ChallengeAnswer>, ApiError> {
    context.authority(id)?;
    let identity = context.identity()?;
    let nonce = context
        .tokens
        .nonce(id, Instant::now())
        .map_err(|error| ApiError::internal(&error))?;
    Ok(Json(ChallengeAnswer {
        nonce: format!("0x{}", hex::encode(nonce)),
        job: id,
        machine: identity.machine,
        genesis_hash: format!("0x{}", hex::encode(identity.genesis_hash)),
        time_s: unix_time_s(),
        valid_for_s: super::tokens::NONCE_LIFE.as_secs(),
    }))
}

/// Gives a token to the account that signed the challenge.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/token",
    params(("id" = u64, Path, description = "Number of the job", example = 5)),
    request_body = TokenRequest,
    responses(
        (status = 200, body = TokenAnswer),
        (status = 400, body = Refusal),
        (status = 401, body = Refusal),
        (status = 403, body = Refusal),
        (status = 404, body = Refusal),
        (status = 413, body = Refusal),
        (status = 415, body = Refusal),
        (status = 422, body = Refusal),
        (status = 429, body = Refusal),
        (status = 503, body = Refusal),
    ),
)]
pub(super) async fn token(
    State(context): State<Arc<OwnerContext>>,
    ApiPath(JobPath { id }): ApiPath<JobPath>,
    ApiJson(request): ApiJson<TokenRequest>,
) -> Result<Json<TokenAnswer>, ApiError> {
    let nonce = fixed_hex::<NONCE_BYTES>(&request.nonce)
        .ok_or_else(|| ApiError::bad_request("`nonce` is 0x and 64 hexadecimal digits"))?;
    let account = read_account(&request.account).ok_or_else(|| {
        ApiError::bad_request("`account` is an SS58 address, or 0x and 64 hexadecimal digits")
    })?;
    let signature = fixed_hex::<64>(&request.signature)
        .map(Vec::from)
        .or_else(|| fixed_hex::<65>(&request.signature).map(Vec::from))
        .ok_or_else(|| {
            ApiError::bad_request(
                "`signature` is 0x and the hexadecimal digits of 64 bytes, or of 65 with its type",
            )
        })?;
    let now_s = unix_time_s();
    let life_s = request
        .expires_at_s
        .checked_sub(now_s)
        .filter(|life_s| (1..=MAX_TOKEN_LIFE_S).contains(life_s))
        .ok_or_else(|| {
            ApiError::bad_request(format!(
                "`expires_at_s` must be 1 to {MAX_TOKEN_LIFE_S} seconds after the worker's time, {now_s}"
            ))
        })?;
    let authority = context.authority(id)?;
    let identity = context.identity()?;
    let now = Instant::now();
    if !context.tokens.is_valid(&nonce, id, now) {
        return Err(refused_nonce(NonceError::Invalid));
    }
    let message = messages::owner_message(
        &identity.genesis_hash,
        id,
        identity.machine,
        &nonce,
        request.expires_at_s,
    );
    if !messages::is_signed_by(&account, &message, &signature) {
        return Err(ApiError::unauthorized(
            "the signature is not the account's over the owner's message for this genesis, job, machine, nonce and expiry",
        ));
    }
    if !authority.allows(&account) {
        return Err(not_an_owner());
    }
    context.tokens.use_nonce(&nonce, id, now).map_err(refused_nonce)?;
    let token = context
        .tokens
        .issue(id, account, Duration::from_secs(life_s), now)
        .map_err(|error| ApiError::internal(&error))?;
    tracing::info!(job = id, %account, life_s, "gave a token to an owner");
    Ok(Json(TokenAnswer {
        token,
        job: id,
        account: account.to_string(),
        expires_at_s: request.expires_at_s,
    }))
}

/// Ends the token of the request, with the logs, shells and downloads that are open by it.
#[utoipa::path(
    delete,
    path = "/v1/token",
    responses((status = 204), (status = 401, body = Refusal)),
    security(("token" = [])),
)]
pub(super) async fn revoke(
    State(context): State<Arc<OwnerContext>>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    if context.tokens.revoke(bearer(&headers)?, Instant::now()) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::unauthorized("there is no such token any more"))
    }
}

fn refused_nonce(error: NonceError) -> ApiError {
    match error {
        NonceError::Invalid => ApiError::unauthorized(
            "the nonce has expired, or is not of this worker for this job; get one from POST /v1/jobs/{id}/challenge",
        ),
        NonceError::Used => ApiError::unauthorized(
            "the nonce gave a token already; get another from POST /v1/jobs/{id}/challenge",
        ),
        NonceError::TooMany => ApiError::too_many(
            "the job's owners got too many tokens in the last two minutes; use one of these",
        ),
    }
}

/// Reads an SS58 address, or `0x` and 64 hexadecimal digits.
fn read_account(text: &str) -> Option<AccountId> {
    // Decoding base 58 takes time with the square of the length.
    if text.len() > 66 {
        return None;
    }
    match fixed_hex::<32>(text) {
        Some(bytes) if text.starts_with("0x") => Some(AccountId::from(bytes)),
        _ => text.parse().ok(),
    }
}

/// Reads hexadecimal digits of a fixed length, with or without `0x`.
pub(super) fn fixed_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let digits = text.strip_prefix("0x").unwrap_or(text);
    hex::decode_to_slice(digits, &mut bytes).ok().map(|()| bytes)
}

/// Returns the host's time in Unix seconds.
pub(super) fn unix_time_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
