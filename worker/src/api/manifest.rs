//! `PUT /v1/jobs/{id}/manifest`: takes a sealed manifest, and answers with the machine's receipt.
//!
//! Needs no token: only a sender that knows the manifest can produce bytes that open to the hash on chain.

use std::{sync::Arc, time::Duration};

use assay_primitives::delivery::MAX_SEALED_BODY_BYTES;
use axum::{
    Json,
    body::to_bytes,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    errors::{ApiError, ApiPath, Refusal},
    owner::OwnerContext,
    server::PeerAddress,
};
use crate::delivery::DeliveryError;

/// Timeout of receiving a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Takes a sealed manifest, and returns the machine's signed receipt.
#[utoipa::path(
    put,
    path = "/v1/jobs/{id}/manifest",
    params(("id" = u64, Path, description = "Number of the job", example = 5)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "The machine's receipt"),
        (status = 400, body = Refusal),
        (status = 404, body = Refusal),
        (status = 408, body = Refusal),
        (status = 409, body = Refusal),
        (status = 410, body = Refusal),
        (status = 413, body = Refusal),
        (status = 422, body = Refusal),
        (status = 429, body = Refusal),
        (status = 503, body = Refusal),
    ),
)]
pub(super) async fn put(
    State(context): State<Arc<OwnerContext>>,
    ApiPath(job): ApiPath<u64>,
    request: Request,
) -> Result<Response, ApiError> {
    if let Some(PeerAddress(peer)) = request.extensions().get()
        && !context.delivery_attempts.allow(*peer)
    {
        return Err(ApiError::too_many(
            "too many deliveries from this address; try again in a minute",
        ));
    }
    let receiving = to_bytes(request.into_body(), MAX_SEALED_BODY_BYTES);
    let body = match tokio::time::timeout(BODY_TIMEOUT, receiving).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "a sealed manifest has at most {MAX_SEALED_BODY_BYTES} bytes, or the connection broke"
                ),
            ));
        }
        Err(_) => {
            return Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "the manifest did not arrive within 30 seconds",
            ));
        }
    };
    let delivery = context.delivery.clone();
    // It waits for the disk.
    match tokio::task::spawn_blocking(move || delivery.put(job, &body)).await {
        Ok(Ok(receipt)) => Ok(Json(receipt).into_response()),
        Ok(Err(error)) => Err(refusal_of(job, &error)),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

fn refusal_of(job: u64, error: &DeliveryError) -> ApiError {
    let code = match error {
        DeliveryError::Store(error) => return ApiError::internal(error),
        DeliveryError::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        DeliveryError::NotAssigned { .. } => StatusCode::NOT_FOUND,
        DeliveryError::Public { .. } => StatusCode::CONFLICT,
        DeliveryError::TooLate { .. } => StatusCode::GONE,
        DeliveryError::Seal(_)
        | DeliveryError::OtherManifest { .. }
        | DeliveryError::Invalid { .. }
        | DeliveryError::Missing { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    };
    // Without the reason, which may quote the manifest.
    tracing::info!(
        job,
        status = code.as_u16(),
        "a delivery of a sealed manifest was refused"
    );
    ApiError::new(code, error.to_string())
}
