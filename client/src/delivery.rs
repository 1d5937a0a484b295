//! Delivery of sealed manifests to workers.
//!
//! The body is sealed and the receipt is signed, so neither needs to be protected on the way. It goes to the
//! owner part of the worker's API all the same, whose load keeps no validator's probe waiting.

use assay_primitives::delivery::manifest_path;

use crate::{
    sealing::{Receipt, SealedManifest},
    types::AccountId,
    worker_api::{WorkerApi, WorkerApiError, WorkerIdentity},
};

/// Reason why a delivery failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The worker did not answer, is another one, or refused the manifest.
    #[error("delivering the manifest to {endpoint} failed: {source}")]
    Worker {
        /// Endpoint of the machine.
        endpoint: String,
        /// Error of the request.
        source: WorkerApiError,
    },
    /// The answer is not a receipt of the machine for this manifest.
    #[error(
        "the answer of {endpoint} is not a receipt that the machine's worker key signed for this manifest: {reason}; \
         somebody else may answer there"
    )]
    BadReceipt {
        /// Endpoint of the machine.
        endpoint: String,
        /// Fault of the receipt.
        reason: String,
    },
}

impl DeliveryError {
    /// Returns true if the same delivery would fail the same way later.
    pub fn is_permanent(&self) -> bool {
        let Self::Worker { source, .. } = self else {
            return false;
        };
        match source {
            WorkerApiError::BadUrl { .. } => true,
            // 404 until the worker sees the assignment in a block.
            WorkerApiError::Refused { status, .. } => {
                (400..500).contains(status) && !matches!(status, 404 | 408 | 425 | 429)
            }
            _ => false,
        }
    }
}

/// Manifest to deliver, and the machine that must sign for it.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// URL of the worker's HTTP interface, as on chain.
    pub endpoint: &'a str,
    /// Worker key of the machine.
    pub worker: &'a AccountId,
    /// Hash of the genesis block.
    pub genesis_hash: [u8; 32],
    /// Number of the job.
    pub job: u64,
    /// Number of the machine.
    pub machine: u64,
    /// Hash of nonce and manifest, as on chain.
    pub manifest_hash: [u8; 32],
    /// The manifest, sealed to the machine.
    pub sealed: &'a SealedManifest,
}

/// Delivers a manifest once, and returns the machine's receipt, which is verified.
///
/// The same manifest may be delivered again at any time, sealed in the same way or anew.
pub async fn deliver(delivery: &Delivery<'_>) -> Result<Receipt, DeliveryError> {
    let failed = |source| DeliveryError::Worker {
        endpoint: delivery.endpoint.to_owned(),
        source,
    };
    let identity = WorkerIdentity {
        worker_key: delivery.worker.0,
        machine: delivery.machine,
        genesis_hash: delivery.genesis_hash,
    };
    let api = WorkerApi::connect(delivery.endpoint, identity)
        .await
        .map_err(failed)?;
    let answer = api
        .put(
            &manifest_path(delivery.job),
            "application/octet-stream",
            delivery.sealed.bytes().to_vec(),
        )
        .await
        .map_err(failed)?;
    verified(&answer, delivery)
}

/// Returns the receipt in an answer if it is of this delivery.
fn verified(body: &[u8], delivery: &Delivery<'_>) -> Result<Receipt, DeliveryError> {
    let bad = |reason: String| DeliveryError::BadReceipt {
        endpoint: delivery.endpoint.to_owned(),
        reason,
    };
    let receipt: Receipt = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    let is_of_it = receipt.job == delivery.job
        && receipt.machine == delivery.machine
        && receipt.manifest_hash == delivery.manifest_hash;
    if !is_of_it {
        return Err(bad("it is of another delivery".into()));
    }
    if !receipt.is_signed_by(delivery.worker, &delivery.genesis_hash) {
        return Err(bad("its signature is of another key".into()));
    }
    Ok(receipt)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_primitives::delivery::ReceiptStatement;
    use subxt_signer::sr25519;

    use super::*;

    fn receipt(job: u64) -> Receipt {
        let statement = ReceiptStatement {
            job,
            machine: 3,
            manifest_hash: [4; 32],
            active_time_ms: 5,
        };
        Receipt::sign(&sr25519::dev::eve(), &[1; 32], &statement)
    }

    fn check(answer: &str) -> Result<Receipt, DeliveryError> {
        let delivery = Delivery {
            endpoint: "http://worker",
            worker: &sr25519::dev::eve().public_key().to_account_id(),
            genesis_hash: [1; 32],
            job: 7,
            machine: 3,
            manifest_hash: [4; 32],
            sealed: &SealedManifest::from_bytes(vec![0; 100]).unwrap(),
        };
        verified(answer.as_bytes(), &delivery)
    }

    #[test]
    fn receipt_is_taken_if_the_machine_signed_it() {
        let sent = receipt(7);
        assert_eq!(check(&serde_json::to_string(&sent).unwrap()).unwrap(), sent);
    }

    #[test]
    fn receipt_of_something_else_is_refused() {
        let mut other_key = receipt(7);
        other_key.signature[3] ^= 1;
        for body in [
            serde_json::to_string(&receipt(8)).unwrap(),
            serde_json::to_string(&other_key).unwrap(),
            "{}".to_owned(),
            "x".repeat(10_000),
        ] {
            let error = check(&body).unwrap_err();
            assert!(matches!(error, DeliveryError::BadReceipt { .. }), "{error}");
            assert!(!error.is_permanent());
        }
    }

    #[test]
    fn refusals_say_whether_another_attempt_helps() {
        for (status, is_permanent) in [(404, false), (409, true), (422, true), (429, false), (503, false)] {
            let error = DeliveryError::Worker {
                endpoint: "http://worker".into(),
                source: WorkerApiError::Refused {
                    path: "/".into(),
                    status,
                    reason: "not yet".into(),
                },
            };
            assert_eq!(error.is_permanent(), is_permanent, "{status}");
            assert!(error.to_string().ends_with("not yet"), "{error}");
        }
    }

    #[tokio::test]
    async fn endpoint_without_a_worker_is_an_error() {
        let sealed = SealedManifest::from_bytes(vec![0; 100]).unwrap();
        for (endpoint, is_permanent) in [("worker", true), ("ftp://a", true), ("http://127.0.0.1:9", false)] {
            let delivery = Delivery {
                endpoint,
                worker: &sr25519::dev::eve().public_key().to_account_id(),
                genesis_hash: [1; 32],
                job: 7,
                machine: 3,
                manifest_hash: [4; 32],
                sealed: &sealed,
            };
            let error = deliver(&delivery).await.unwrap_err();
            assert_eq!(error.is_permanent(), is_permanent, "{error}");
        }
    }
}
