//! Responses that carry more than JSON: signatures and hashes in headers.

use assay_client::Keypair;
use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};

/// Header with the hexadecimal sr25519 signature over the exact bytes of the body.
pub const SIGNATURE_HEADER: HeaderName = HeaderName::from_static("x-assay-signature");

/// Header with the hexadecimal public part of the worker key.
pub const WORKER_KEY_HEADER: HeaderName = HeaderName::from_static("x-assay-worker-key");

/// Header with the hexadecimal hash of a result, as on chain.
pub const RESULT_HASH_HEADER: HeaderName = HeaderName::from_static("x-assay-result-hash");

/// Content type of metrics in Prometheus' text format.
pub(super) const METRICS_TYPE: &str = "text/plain; version=0.0.4";

/// Creates a response of JSON that the worker key signs.
pub(super) fn signed_json(worker: &Keypair, worker_hex: &str, body: Vec<u8>) -> Response {
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

/// Creates a response of a content type, with further headers.
pub(super) fn with_headers<const N: usize>(
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
