//! How the machine's attestation stands, as the HTTP interface shows it.

use serde::Serialize;

/// How the machine's attestation stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AttestationStatus {
    /// How the key that consumers seal to is kept: `file`, `sealed` by the TEE, or in `memory`.
    pub sealing_key: &'static str,
    /// What gives evidence.
    pub sources: Vec<SourceStatus>,
    /// What the machine lacks for more.
    pub lacks: Vec<String>,
    /// What keeps all of it from attesting.
    pub problem: Option<String>,
}

/// How a source of evidence stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// What it is.
    pub name: String,
    /// The kind of TEE.
    pub kind: &'static str,
    /// Until when its evidence counts on chain, in seconds since 1970; nothing where it has none.
    pub until_s: Option<u64>,
    /// Why the last attempt came to nothing; nothing after one that succeeded.
    pub last_error: Option<String>,
}
