//! Refusals of the HTTP API: a status and a JSON object that says what was wrong and what to do.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::Refusal;

/// Reason why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    code: StatusCode,
    text: String,
}

impl ApiError {
    /// Creates a refusal.
    pub fn new(code: StatusCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// Creates a refusal of a malformed request.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// Creates a refusal of a request without a valid token.
    pub fn unauthorized(text: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, text)
    }

    /// Creates a refusal of a request that the caller may not make, or not yet.
    pub fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    /// Creates a refusal of a request for something that is not there.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// Creates a refusal of a request that may succeed later.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    /// Creates a refusal of a request beyond a limit that frees itself.
    pub fn too_many(text: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, text)
    }

    /// Logs an error of this host, and creates a refusal that tells nothing of it.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "answering a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the worker could not read the requested data; its log says why",
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.code, Json(Refusal { error: &self.text })).into_response()
    }
}
