//! Delivery of sealed manifests to workers over HTTP.
//!
//! The body is sealed and the receipt is signed, so neither needs to be protected on the way: a worker that is
//! reached over plain HTTP, or by a certificate that nobody vouches for, learns and fakes nothing.

use std::{error::Error, fmt::Write, sync::Arc, time::Duration};

use assay_primitives::delivery::manifest_path;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, Uri, body::Bytes, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;

use crate::{
    sealing::{Receipt, SealedManifest},
    types::AccountId,
};

/// Timeout of one delivery, from connecting to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Maximum length of a worker's answer, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1_024;

/// Maximum number of characters that are quoted of a worker's reason.
const MAX_REASON_CHARACTERS: usize = 500;

/// Name of this client, for the workers' logs.
const USER_AGENT: &str = concat!("assay-client/", env!("CARGO_PKG_VERSION"));

/// Reason why a delivery failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The machine's endpoint is not a URL.
    #[error(
        "the machine's endpoint {endpoint:?} is not an HTTP URL: {reason}; its provider has to correct it"
    )]
    BadEndpoint {
        /// The endpoint.
        endpoint: String,
        /// Fault of the URL.
        reason: String,
    },
    /// No answer came within the timeout.
    #[error("the worker at {endpoint} does not answer: {reason}")]
    NoAnswer {
        /// Endpoint of the machine.
        endpoint: String,
        /// Error of the attempt.
        reason: String,
    },
    /// The worker refused the manifest.
    #[error("the worker at {endpoint} refused the manifest (status {code}): {reason}")]
    Refused {
        /// Endpoint of the machine.
        endpoint: String,
        /// HTTP status code.
        code: u16,
        /// Reason that the worker gave.
        reason: String,
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
        match self {
            Self::BadEndpoint { .. } => true,
            // 404 until the worker sees the assignment in a block.
            Self::Refused { code, .. } => (400..500).contains(code) && !matches!(code, 404 | 408 | 425 | 429),
            Self::NoAnswer { .. } | Self::BadReceipt { .. } => false,
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

/// HTTP client that delivers sealed manifests. Follows no redirects, keeps no connections.
#[derive(Clone)]
pub struct DeliveryClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Default for DeliveryClient {
    fn default() -> Self {
        Self::new()
    }
}

impl DeliveryClient {
    /// Creates a client with the system's root certificates.
    pub fn new() -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("this provider has what TLS 1.2 and 1.3 need; qed")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self::with_tls(tls)
    }

    /// Creates a client with another judgement of certificates.
    pub fn with_tls(tls: rustls::ClientConfig) -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .build(connector);
        Self(client)
    }

    /// Delivers a manifest once, and returns the machine's receipt, which is verified.
    ///
    /// The same manifest may be delivered again at any time, sealed in the same way or anew.
    pub async fn deliver(&self, delivery: &Delivery<'_>) -> Result<Receipt, DeliveryError> {
        match tokio::time::timeout(PATIENCE, self.deliver_unbounded(delivery)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DeliveryError::NoAnswer {
                endpoint: delivery.endpoint.to_owned(),
                reason: format!("none within {} seconds", PATIENCE.as_secs()),
            }),
        }
    }

    async fn deliver_unbounded(&self, delivery: &Delivery<'_>) -> Result<Receipt, DeliveryError> {
        let endpoint = || delivery.endpoint.to_owned();
        let no_answer = |reason: String| DeliveryError::NoAnswer {
            endpoint: endpoint(),
            reason,
        };
        let uri = url_of(delivery.endpoint, delivery.job)?;
        let request = Request::put(uri)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONNECTION, "close")
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Full::new(Bytes::copy_from_slice(delivery.sealed.bytes())))
            .map_err(|error| DeliveryError::BadEndpoint {
                endpoint: endpoint(),
                reason: error.to_string(),
            })?;
        let response = self
            .0
            .request(request)
            .await
            .map_err(|error| no_answer(causes(&error)))?;
        let code = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| no_answer(causes(&*error)))?
            .to_bytes();
        if code != StatusCode::OK {
            return Err(DeliveryError::Refused {
                endpoint: endpoint(),
                code: code.as_u16(),
                reason: reason_in(&body),
            });
        }
        verified(&body, delivery)
    }
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

fn url_of(endpoint: &str, job: u64) -> Result<Uri, DeliveryError> {
    let bad = |reason: String| DeliveryError::BadEndpoint {
        endpoint: endpoint.to_owned(),
        reason,
    };
    let text = format!("{}{}", endpoint.trim_end_matches('/'), manifest_path(job));
    let uri: Uri = text
        .parse()
        .map_err(|error: hyper::http::uri::InvalidUri| bad(error.to_string()))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.query().is_none() => Ok(uri),
        _ => Err(bad(
            "it must begin with http:// or https:// and have no query".into()
        )),
    }
}

/// Returns the reason in a worker's refusal, fit to be shown: a stranger wrote it.
fn reason_in(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }

    let text = serde_json::from_slice::<Refusal>(body).map_or_else(
        |_| String::from_utf8_lossy(body).into_owned(),
        |refusal| refusal.error,
    );
    text.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(MAX_REASON_CHARACTERS)
        .collect()
}

/// Returns an error's text with all of its sources: the outermost text alone says little.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_primitives::delivery::ReceiptStatement;
    use subxt_signer::sr25519;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Serves one answer to each connection; returns the URL.
    async fn worker(code: u16, body: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"sealed-end") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                assert!(request.starts_with(b"PUT /v1/jobs/7/manifest HTTP/1.1\r\n"));
                let answer = format!(
                    "HTTP/1.1 {code} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        url
    }

    fn receipt(job: u64) -> Receipt {
        let statement = ReceiptStatement {
            job,
            machine: 3,
            manifest_hash: [4; 32],
            active_time_ms: 5,
        };
        Receipt::sign(&sr25519::dev::eve(), &[1; 32], &statement)
    }

    async fn deliver(endpoint: &str) -> Result<Receipt, DeliveryError> {
        let body = [&[0; 100][..], b"sealed-end"].concat();
        let delivery = Delivery {
            endpoint,
            worker: &sr25519::dev::eve().public_key().to_account_id(),
            genesis_hash: [1; 32],
            job: 7,
            machine: 3,
            manifest_hash: [4; 32],
            sealed: &SealedManifest::from_bytes(body).unwrap(),
        };
        DeliveryClient::new().deliver(&delivery).await
    }

    #[tokio::test]
    async fn receipt_is_taken_if_the_machine_signed_it() {
        let sent = receipt(7);
        let text = serde_json::to_string(&sent).unwrap();
        assert_eq!(deliver(&worker(200, text).await).await, Ok(sent));
    }

    #[tokio::test]
    async fn receipt_of_something_else_is_refused() {
        let mut other_key = receipt(7);
        other_key.signature[3] ^= 1;
        for body in [
            serde_json::to_string(&receipt(8)).unwrap(),
            serde_json::to_string(&other_key).unwrap(),
            "{}".to_owned(),
            "x".repeat(10_000),
        ] {
            let error = deliver(&worker(200, body).await).await.unwrap_err();
            assert!(matches!(error, DeliveryError::BadReceipt { .. }), "{error}");
            assert!(!error.is_permanent());
        }
    }

    #[tokio::test]
    async fn refusals_say_why_and_whether_another_attempt_helps() {
        for (code, is_permanent) in [(404, false), (409, true), (422, true), (429, false), (503, false)] {
            let url = worker(code, "{\"error\":\"not\\u001b[31m yet\"}".into()).await;
            let error = deliver(&url).await.unwrap_err();
            assert_eq!(error.is_permanent(), is_permanent, "{code}");
            assert!(error.to_string().ends_with("not [31m yet"), "{error}");
        }
        let long = deliver(&worker(500, "y".repeat(20_000)).await).await.unwrap_err();
        assert!(matches!(long, DeliveryError::NoAnswer { .. }), "{long}");
    }

    #[tokio::test]
    async fn endpoint_that_is_none_is_an_error() {
        for endpoint in ["", "worker", "ftp://a", "http://a/?b=", "http://a b"] {
            let error = deliver(endpoint).await.unwrap_err();
            assert!(matches!(error, DeliveryError::BadEndpoint { .. }), "{error}");
            assert!(error.is_permanent());
        }
        let error = deliver("http://127.0.0.1:9").await.unwrap_err();
        assert!(matches!(error, DeliveryError::NoAnswer { .. }), "{error}");
    }
}
