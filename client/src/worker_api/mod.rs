//! The owner's way to a job on a worker: its status, its output, its result.
//!
//! The chain says which worker key a machine has and at which URL its worker is. From there on nothing is
//! trusted but that key: the worker signs the hash of its TLS key, [`WorkerApi::connect`] checks the
//! signature and accepts no other key, regardless of the certificate's issuer. An owner then signs a
//! challenge, and gets a token for one job ([`WorkerApi::log_in`]).
//!
//! ```no_run
//! use assay_client::{ChainClient, keys, worker_api::{WorkerApi, WorkerIdentity}};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let chain = ChainClient::connect("ws://127.0.0.1:9944").await?;
//! let (job, machine) = (5, 7);
//! let record = chain.machine(machine).await?.ok_or("no such machine")?;
//! let identity = WorkerIdentity {
//!     worker_key: record.worker_key.0,
//!     machine,
//!     genesis_hash: chain.genesis_hash(),
//! };
//! let api = WorkerApi::connect(&record.endpoint.to_string(), identity).await?;
//! let owner = api.log_in(job, &keys::keypair_from_uri("//Charlie")?).await?;
//! println!("{}", owner.status().await?);
//! # Ok(())
//! # }
//! ```

mod archive;
mod artifacts;
mod error;
mod exec;
pub(crate) mod http;
mod logs;
pub mod messages;
mod ports;
mod public;
mod resuming;
mod sse;
mod tls;
mod types;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use assay_primitives::job::{ResultDocument, StdoutResult};
use hyper::{Method, header::HeaderName};
use serde::{Deserialize, de::DeserializeOwned};
use subxt_signer::sr25519::Keypair;

pub use archive::{ArchiveError, ArchiveReader, ArchiveSink, ArchiveSummary};
pub use artifacts::{ArchiveDownload, Artifact, ArtifactList};
pub use error::WorkerApiError;
pub use exec::{ExecOutput, MAX_EXEC_OUTPUT_BYTES};
pub use http::Download;
use http::{Answer, Base, Call};
pub use logs::{LogEvent, LogFollower, LogQuery};
pub use messages::{MAX_TLS_STATEMENT_LIFE_S, MAX_TOKEN_LIFE_S, NONCE_BYTES};
pub use ports::JobPort;
pub use public::signed_status;
pub use types::{ChallengeAnswer, OwnerPart, TokenAnswer, TokenRequest};

use crate::{keys, types::AccountId};

/// Maximum length of an answer that is read at once, in bytes. Logs, artifacts and pages come part by part.
pub const MAX_ANSWER_BYTES: usize = 4 * 1_024 * 1_024;

/// Tolerance for a difference of the clocks of worker and client, in seconds.
const CLOCK_TOLERANCE_S: u64 = 3_600;

/// Part of a token's life that its request may take, in seconds.
const TOKEN_MARGIN_S: u64 = 60;

/// The chain's facts about a worker, by which it is recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerIdentity {
    /// Public part of the worker key.
    pub worker_key: [u8; 32],
    /// Number of the machine.
    pub machine: u64,
    /// Hash of the chain's genesis block.
    pub genesis_hash: [u8; 32],
}

/// Owner part of the API of a worker whose TLS key is known.
#[derive(Clone)]
pub struct WorkerApi {
    identity: WorkerIdentity,
    base: Base,
    spki_sha256: [u8; 32],
}

impl WorkerApi {
    /// Asks the public part of a worker's API, at its machine's endpoint, for the owner part, and checks the
    /// worker key's signature of its TLS key.
    pub async fn connect(public_url: &str, identity: WorkerIdentity) -> Result<Self, WorkerApiError> {
        // The answer is signed by a key that the chain names, so its way here does not matter.
        let public = Base::new(public_url, tls::any_key()?)?;
        let part: OwnerPart = public.call(Call::get("/v1/owner")).await?.json()?;
        let spki_sha256 = check_statement(&part, &identity, unix_time_s())?;
        if !part.url.starts_with("https://") {
            return Err(WorkerApiError::BadUrl { url: part.url });
        }
        Ok(Self {
            identity,
            base: Base::new(&part.url, tls::pinned(spki_sha256)?)?,
            spki_sha256,
        })
    }

    /// Returns the base URL of the owner part.
    pub fn url(&self) -> &str {
        self.base.url()
    }

    /// Returns the SHA-256 of the SubjectPublicKeyInfo that connections must have.
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }

    /// Gets a token for a job with an sr25519 key of its consumer or of a delegate.
    pub async fn log_in(&self, job: u64, signer: &Keypair) -> Result<OwnerSession, WorkerApiError> {
        self.log_in_with(job, &keys::account_of(signer), |message| {
            signer.sign(message).0.to_vec()
        })
        .await
    }

    /// Gets a token for a job and an account, with a signature from elsewhere, such as a wallet: see
    /// [`messages::is_signed_by`] for its forms.
    pub async fn log_in_with(
        &self,
        job: u64,
        account: &AccountId,
        sign: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Result<OwnerSession, WorkerApiError> {
        let path = format!("/v1/jobs/{job}/challenge");
        let challenge: ChallengeAnswer = self.call(Call::new(Method::POST, &path)).await?.json()?;
        let WorkerIdentity {
            machine,
            genesis_hash,
            ..
        } = self.identity;
        // A signature for another machine would give this worker a token there.
        if (challenge.job, challenge.machine) != (job, machine)
            || read_hex(&challenge.genesis_hash) != Some(genesis_hash)
        {
            return Err(WorkerApiError::NotUnderstood {
                path,
                reason: "its challenge is for another job, machine or chain".to_owned(),
            });
        }
        let Some(nonce) = read_hex(&challenge.nonce) else {
            return Err(WorkerApiError::NotUnderstood {
                path,
                reason: "its nonce is not 32 bytes".to_owned(),
            });
        };
        let expires_at_s = challenge.time_s.saturating_add(MAX_TOKEN_LIFE_S - TOKEN_MARGIN_S);
        let message = messages::owner_message(&genesis_hash, job, machine, &nonce, expires_at_s);
        let request = TokenRequest {
            account: account.to_string(),
            expires_at_s,
            nonce: challenge.nonce,
            signature: format!("0x{}", hex::encode(sign(&message))),
        };
        let path = format!("/v1/jobs/{job}/token");
        let call = Call::new(Method::POST, &path).json(&request)?;
        let answer: TokenAnswer = self.call(call).await?.json()?;
        if !answer.token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(WorkerApiError::NotUnderstood {
                path,
                reason: "its token is no token".to_owned(),
            });
        }
        Ok(OwnerSession {
            api: self.clone(),
            job,
            token: answer.token.into(),
        })
    }

    /// Puts bytes to a path that needs no token, and returns the answer.
    pub async fn put(
        &self,
        path: &str,
        kind: &'static str,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, WorkerApiError> {
        let call = Call::new(Method::PUT, path).body(kind, body);
        Ok(self.call(call).await?.body)
    }

    async fn call(&self, call: Call<'_>) -> Result<Answer, WorkerApiError> {
        self.base.call(call).await
    }
}

/// Checks a worker's statement about its owner part, and returns the hash of its TLS key.
fn check_statement(
    part: &OwnerPart,
    identity: &WorkerIdentity,
    now_s: u64,
) -> Result<[u8; 32], WorkerApiError> {
    let not_vouched = |reason: &str| WorkerApiError::NotVouched {
        reason: reason.to_owned(),
    };
    let spki_sha256 =
        read_hex(&part.spki_sha256).ok_or_else(|| not_vouched("its key's hash is malformed"))?;
    let signature =
        read_hex::<64>(&part.signature).ok_or_else(|| not_vouched("the signature is malformed"))?;
    let WorkerIdentity {
        worker_key,
        machine,
        genesis_hash,
    } = identity;
    if part.machine != *machine {
        return Err(not_vouched(&format!(
            "the worker serves machine {}, and not {machine}",
            part.machine
        )));
    }
    let message = messages::tls_message(genesis_hash, *machine, &spki_sha256, part.expires_at_s);
    if !messages::is_sr25519(worker_key, &message, &signature) {
        return Err(not_vouched(
            "the signature is not the worker key's that the chain names for this machine",
        ));
    }
    let latest_s = now_s.saturating_add(MAX_TLS_STATEMENT_LIFE_S + CLOCK_TOLERANCE_S);
    if !(now_s..=latest_s).contains(&part.expires_at_s) {
        return Err(not_vouched(
            "the statement is outdated, or the clocks of worker and client differ by hours",
        ));
    }
    Ok(spki_sha256)
}

/// A token for one job, and the requests that it allows.
///
/// The token ends after an hour at most, and when the worker is restarted; then [`WorkerApi::log_in`] gives
/// another.
#[derive(Clone)]
pub struct OwnerSession {
    api: WorkerApi,
    job: u64,
    token: Arc<str>,
}

/// Output stream of a job's container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

/// A finished task's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobResult {
    /// Fields of the result, as JSON.
    pub document: Vec<u8>,
    /// Hash of the result as the worker computed it; the chain has the one that counts.
    pub hash: Option<[u8; 32]>,
}

impl JobResult {
    /// Returns the fields of the result, if they have the hash that the worker named; the chain's is compared
    /// with [`ResultDocument::hash`].
    pub fn checked(&self) -> Option<ResultDocument> {
        let fields: ResultFields = serde_json::from_slice(&self.document).ok()?;
        let document = fields.document()?;
        (self.hash == Some(document.hash())).then_some(document)
    }
}

/// Fields of a result as a worker shows it.
#[derive(Deserialize)]
struct ResultFields {
    exit_code: i32,
    image_digest: String,
    manifest_hash: String,
    stdout: Option<StdoutFields>,
    output: Option<String>,
}

/// Standard output in [`ResultFields`].
#[derive(Deserialize)]
struct StdoutFields {
    blake3: String,
    is_longer: bool,
}

impl ResultFields {
    fn document(&self) -> Option<ResultDocument> {
        Some(ResultDocument {
            exit_code: self.exit_code,
            image_digest: read_hex(self.image_digest.strip_prefix("sha256:")?)?,
            manifest_hash: read_hex(&self.manifest_hash)?,
            stdout: match &self.stdout {
                None => StdoutResult::NotCaptured,
                Some(stdout) => {
                    let hash = read_hex(&stdout.blake3)?;
                    if stdout.is_longer {
                        StdoutResult::LongerThanLimit(hash)
                    } else {
                        StdoutResult::Whole(hash)
                    }
                }
            },
            output: match &self.output {
                None => None,
                Some(root) => Some(read_hex(root)?),
            },
        })
    }
}

impl OwnerSession {
    /// Returns the number of the job.
    pub fn job(&self) -> u64 {
        self.job
    }

    /// Returns the job's status, the worker's notes on it and its ports, once the worker key's signature of
    /// them is checked.
    pub async fn status(&self) -> Result<serde_json::Value, WorkerApiError> {
        let answer = self.call(self.call_of(Method::GET, "")).await?;
        answer.signed_json(&self.api.identity.worker_key)
    }

    /// Returns a short log of the container at once; [`Self::read_logs`] reads one of any length.
    pub async fn logs(&self, stream: OutputStream) -> Result<Vec<u8>, WorkerApiError> {
        self.get(match stream {
            OutputStream::Stdout => "/logs?stream=stdout",
            OutputStream::Stderr => "/logs?stream=stderr",
        })
        .await
    }

    /// Returns the finished task's result.
    pub async fn result(&self) -> Result<JobResult, WorkerApiError> {
        let answer = self.call(self.call_of(Method::GET, "/result")).await?;
        Ok(JobResult {
            hash: answer.header("x-assay-result-hash").and_then(read_hex),
            document: answer.body,
        })
    }

    /// Returns the answer of a path below the job's, such as `/logs`.
    pub async fn get(&self, path: &str) -> Result<Vec<u8>, WorkerApiError> {
        Ok(self.call(self.call_of(Method::GET, path)).await?.body)
    }

    /// Puts bytes to a path below the job's, and returns the answer.
    pub async fn put(
        &self,
        path: &str,
        kind: &'static str,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, WorkerApiError> {
        Ok(self
            .call(self.call_of(Method::PUT, path).body(kind, body))
            .await?
            .body)
    }

    /// Begins the answer of a path below the job's, which comes part by part for as long as it lasts.
    pub async fn stream(&self, path: &str) -> Result<Download, WorkerApiError> {
        let path = format!("/v1/jobs/{}{path}", self.job);
        self.api.base.stream(Call::get(&path).token(&self.token)).await
    }

    /// Begins the answer of a path below the job's, from behind the event with this number on.
    async fn stream_after(&self, path: &str, last_id: Option<u64>) -> Result<Download, WorkerApiError> {
        let mut call = self.call_of(Method::GET, path);
        if let Some(id) = last_id {
            call = call.header(HeaderName::from_static("last-event-id"), id.to_string());
        }
        self.api.base.stream(call).await
    }

    /// Ends the token.
    pub async fn log_out(self) -> Result<(), WorkerApiError> {
        let call = Call::new(Method::DELETE, "/v1/token").token(&self.token);
        self.api.call(call).await.map(|_| ())
    }

    fn call_of(&self, method: Method, path: &str) -> Call<'_> {
        Call::new(method, &format!("/v1/jobs/{}{path}", self.job)).token(&self.token)
    }

    async fn call(&self, call: Call<'_>) -> Result<Answer, WorkerApiError> {
        self.api.call(call).await
    }
}

impl Answer {
    /// Reads JSON that a worker key signed.
    fn signed_json<T: DeserializeOwned>(&self, worker_key: &[u8; 32]) -> Result<T, WorkerApiError> {
        let signature = self.header("x-assay-signature").and_then(read_hex::<64>);
        let is_signed =
            signature.is_some_and(|signature| messages::is_sr25519(worker_key, &self.body, &signature));
        if !is_signed {
            return Err(WorkerApiError::NotSigned {
                path: self.path.clone(),
            });
        }
        self.json()
    }

    fn json<T: DeserializeOwned>(&self) -> Result<T, WorkerApiError> {
        serde_json::from_slice(&self.body).map_err(|error| WorkerApiError::NotUnderstood {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }
}

/// Reads hexadecimal digits of a fixed length, with or without `0x`.
fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let digits = text.strip_prefix("0x").unwrap_or(text);
    hex::decode_to_slice(digits, &mut bytes).ok().map(|()| bytes)
}

fn unix_time_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    fn statement(signer: &Keypair, expires_at_s: u64) -> OwnerPart {
        let message = messages::tls_message(&[1; 32], 7, &[2; 32], expires_at_s);
        OwnerPart {
            url: "https://127.0.0.1:1".into(),
            spki_sha256: format!("0x{}", hex::encode([2; 32])),
            machine: 7,
            genesis_hash: format!("0x{}", hex::encode([1; 32])),
            expires_at_s,
            signature: format!("0x{}", hex::encode(signer.sign(&message).0)),
        }
    }

    #[test]
    fn statement_counts_by_the_machines_worker_key_and_for_its_time() {
        let eve = keys::keypair_from_uri("//Eve").unwrap();
        let identity = WorkerIdentity {
            worker_key: eve.public_key().0,
            machine: 7,
            genesis_hash: [1; 32],
        };
        let good = statement(&eve, NOW_S + 60);
        assert_eq!(check_statement(&good, &identity, NOW_S).unwrap(), [2; 32]);

        let refused = |part: &OwnerPart, identity: &WorkerIdentity, expected: &str| {
            let error = check_statement(part, identity, NOW_S).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let dave = keys::keypair_from_uri("//Dave").unwrap();
        refused(
            &statement(&dave, NOW_S + 60),
            &identity,
            "is not the worker key's",
        );
        let elsewhere = WorkerIdentity {
            genesis_hash: [9; 32],
            ..identity
        };
        refused(&good, &elsewhere, "is not the worker key's");
        let other_machine = WorkerIdentity {
            machine: 8,
            ..identity
        };
        refused(&good, &other_machine, "serves machine 7, and not 8");
        let other_key = OwnerPart {
            spki_sha256: "33".repeat(32),
            ..good.clone()
        };
        refused(&other_key, &identity, "is not the worker key's");
        refused(&statement(&eve, NOW_S - 1), &identity, "outdated");
        refused(&statement(&eve, NOW_S + 48 * 3_600), &identity, "outdated");
        for malformed in ["", "0x", "zz"] {
            let part = OwnerPart {
                spki_sha256: malformed.into(),
                ..good.clone()
            };
            refused(&part, &identity, "hash is malformed");
            let part = OwnerPart {
                signature: malformed.into(),
                ..good.clone()
            };
            refused(&part, &identity, "signature is malformed");
        }
    }
}
