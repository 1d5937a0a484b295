//! Refusals of the HTTP API: a status and a JSON object with cause and remedy.

use axum::{
    Json,
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

/// Body of every refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// Cause of the refusal, and the remedy.
    pub error: String,
}

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

    /// Creates a refusal of a request beyond a limit that frees itself within a second or a little more.
    pub fn too_many(text: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, text)
    }

    /// Logs an error of this host, and creates a refusal without its details.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "answering a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the worker could not read the requested data; its log says why",
        )
    }

    /// Returns the HTTP status.
    pub fn code(&self) -> StatusCode {
        self.code
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.code;
        let mut response = (code, Json(Refusal { error: self.text })).into_response();
        match code {
            StatusCode::UNAUTHORIZED => {
                let challenge = HeaderValue::from_static("Bearer realm=\"assay\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let pause = HeaderValue::from_static("1");
                response.headers_mut().insert(header::RETRY_AFTER, pause);
            }
            _ => (),
        }
        response
    }
}

/// JSON body of a request; refusals are [`ApiError`]s.
pub struct ApiJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Json(body) = Json::from_request(request, state)
            .await
            .map_err(|rejection: JsonRejection| ApiError::new(rejection.status(), rejection.body_text()))?;
        Ok(Self(body))
    }
}

/// Query of a request; refusals are [`ApiError`]s.
pub struct ApiQuery<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(query) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection: QueryRejection| ApiError::bad_request(rejection.body_text()))?;
        Ok(Self(query))
    }
}

/// Parameters in the path of a request; refusals are [`ApiError`]s.
pub struct ApiPath<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for ApiPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(parameters) = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection: PathRejection| ApiError::bad_request(rejection.body_text()))?;
        Ok(Self(parameters))
    }
}
