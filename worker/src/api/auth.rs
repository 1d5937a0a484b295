//! Owners of jobs.

use assay_client::types::AccountId;
use axum::{extract::FromRequestParts, http::request::Parts};

use super::errors::ApiError;

/// Consumer of a job, or a delegate, whom the layer in front of the routes has recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Number of the job.
    pub job: u64,
    /// Account that acts.
    pub account: AccountId,
}

impl<S: Send + Sync> FromRequestParts<S> for Owner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::unauthorized("this is for the job's owner"))
    }
}
