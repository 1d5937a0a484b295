//! The public part of a worker's API: its signed status.

use super::{Base, Call, WorkerApiError, tls};

/// Number of bytes of a nonce.
const NONCE_BYTES: usize = 32;

/// Asks a worker, at its machine's endpoint, for its status, and checks that the worker key signed it now.
///
/// `worker_key` is the public part that the chain names for the machine. The status has the worker's own
/// statements; the machine's record on chain has the proven facts.
pub async fn signed_status(
    public_url: &str,
    worker_key: &[u8; 32],
) -> Result<serde_json::Value, WorkerApiError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| WorkerApiError::NotVouched {
        reason: format!("this host gives no random numbers: {error}"),
    })?;
    let nonce = hex::encode(nonce);
    // The answer is signed, so its way here does not matter.
    let base = Base::new(public_url, tls::any_key()?)?;
    let answer = base.call(Call::get(&format!("/status?nonce={nonce}"))).await?;
    let status: serde_json::Value = answer.signed_json(worker_key)?;
    if status["nonce"] != nonce.as_str() {
        return Err(WorkerApiError::NotUnderstood {
            path: answer.path,
            reason: "it is the answer to another question".to_owned(),
        });
    }
    Ok(status)
}
