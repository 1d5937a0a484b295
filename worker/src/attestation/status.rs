//! Status of the machine's attestation, as the HTTP interface shows it.

use serde::Serialize;
use utoipa::ToSchema;

/// Status of the machine's attestation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct AttestationStatus {
    /// Storage of the key that consumers seal to: `file`, `sealed` by the TEE, or in `memory`.
    pub sealing_key: &'static str,
    /// Status of each source of evidence.
    pub sources: Vec<SourceStatus>,
    /// Sources that the machine lacks, with the remedy.
    pub lacks: Vec<String>,
    /// Problem that keeps all sources from attesting.
    pub problem: Option<String>,
}

/// Status of a source of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SourceStatus {
    /// Name of the source.
    pub name: String,
    /// Kind of the TEE.
    pub kind: &'static str,
    /// End of its valid evidence on chain, in seconds since 1970; nothing if it has none.
    pub until_s: Option<u64>,
    /// Error of the last attempt; nothing if that succeeded.
    pub last_error: Option<String>,
}
