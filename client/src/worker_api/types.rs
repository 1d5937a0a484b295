//! Bodies that a worker and its clients exchange about owners. Hashes, nonces and signatures are hexadecimal
//! digits behind `0x`, times are Unix seconds.

use serde::{Deserialize, Serialize};

/// Answer of `GET /v1/owner`: where the owner part of a worker's API is, and by which key it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnerPart {
    /// Base URL of the owner part, which begins with `https://`.
    pub url: String,
    /// SHA-256 of the SubjectPublicKeyInfo of its certificate.
    pub spki_sha256: String,
    /// Number of the machine.
    pub machine: u64,
    /// Hash of the genesis block of the machine's chain.
    pub genesis_hash: String,
    /// Time until which this holds.
    pub expires_at_s: u64,
    /// Signature of the worker key over [`super::messages::tls_message`].
    pub signature: String,
}

/// Answer of `POST /v1/jobs/{id}/challenge`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChallengeAnswer {
    /// 32 bytes to be signed once.
    pub nonce: String,
    /// Number of the job.
    pub job: u64,
    /// Number of the machine.
    pub machine: u64,
    /// Hash of the genesis block of the machine's chain.
    pub genesis_hash: String,
    /// The worker's time, from which an expiry counts.
    pub time_s: u64,
    /// Life of the nonce in seconds.
    pub valid_for_s: u64,
}

/// Body of `POST /v1/jobs/{id}/token`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The job's consumer, or a delegate: an SS58 address, or `0x` and 64 hexadecimal digits.
    pub account: String,
    /// Time until which the token is to live: at most an hour from the worker's time.
    pub expires_at_s: u64,
    /// Nonce of the challenge.
    pub nonce: String,
    /// Signature of the account over [`super::messages::owner_message`]: sr25519 or ed25519, 64 bytes, or 65
    /// with the type in front.
    pub signature: String,
}

/// Answer of `POST /v1/jobs/{id}/token`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenAnswer {
    /// Token for the header `Authorization: Bearer <token>`.
    pub token: String,
    /// Number of the job for which it is.
    pub job: u64,
    /// Account for which it is.
    pub account: String,
    /// End of its life.
    pub expires_at_s: u64,
}

/// Body of every refusal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Refusal {
    /// Cause, and the remedy.
    pub(super) error: String,
}
