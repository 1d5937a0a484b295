//! `PUT /v1/jobs/{id}/manifest`: takes a sealed manifest, and answers with the machine's receipt.
//!
//! Needs no token: what opens to the hash on chain was made by somebody who knows the manifest.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use assay_primitives::delivery::MAX_SEALED_BODY_BYTES;
use axum::{
    Json,
    body::to_bytes,
    extract::{ConnectInfo, Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{ApiContext, failure, refusal};
use crate::delivery::DeliveryError;

/// Path of the route.
pub(super) const PATH: &str = "/v1/jobs/{id}/manifest";

/// Timeout of receiving a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Takes a delivery.
pub(super) async fn put(
    State(context): State<Arc<ApiContext>>,
    Path(job): Path<u64>,
    request: Request,
) -> Response {
    let caller = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if let Some(ConnectInfo(caller)) = caller
        && !context.delivery_attempts.allow(caller.ip())
    {
        return refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "too many deliveries from this address; try again in a minute",
        );
    }
    let receiving = to_bytes(request.into_body(), MAX_SEALED_BODY_BYTES);
    let body = match tokio::time::timeout(BODY_TIMEOUT, receiving).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!(
                    "a sealed manifest has at most {MAX_SEALED_BODY_BYTES} bytes, or the connection broke"
                ),
            );
        }
        Err(_) => {
            return refusal(
                StatusCode::REQUEST_TIMEOUT,
                "the manifest did not arrive within 30 seconds",
            );
        }
    };
    let delivery = context.delivery.clone();
    // It waits for the disk.
    match tokio::task::spawn_blocking(move || delivery.put(job, &body)).await {
        Ok(Ok(receipt)) => Json(receipt).into_response(),
        Ok(Err(error)) => answer_of(job, &error),
        Err(error) => failure(&error),
    }
}

fn answer_of(job: u64, error: &DeliveryError) -> Response {
    let code = match error {
        DeliveryError::Store(error) => return failure(error),
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
    refusal(code, &error.to_string())
}
