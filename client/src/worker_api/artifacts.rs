//! Output folder of a job: its list, and its archive, downloaded by ranges.

use std::time::Duration;

use hyper::{Method, body::Bytes, header};
use serde::{Deserialize, Serialize};

use super::{
    Download, OwnerSession, WorkerApiError, read_hex,
    resuming::{Attempts, SILENCE},
};

/// Maximum length of a list, in bytes: 65,536 entries with all their paths.
const MAX_LIST_BYTES: usize = 64 * 1_024 * 1_024;

/// Time within which a worker has hashed an output folder.
const HASHING_TIME: Duration = Duration::from_secs(30 * 60);

/// Path of the archive below the job's.
const ARCHIVE: &str = "/artifacts/archive";

/// Entry of an output folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Path below the folder, if it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The path's bytes as base64 otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// Kind: `file` or `link`.
    pub kind: String,
    /// Permission bits as octal digits.
    pub mode: String,
    /// Size in bytes; of a link, length of its target.
    pub size: u64,
    /// BLAKE3 of the content, hexadecimal; of a link, of its target.
    pub blake3: String,
}

/// List of an output folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactList {
    /// Root hash, hexadecimal: that of a task's result, if the folder is as it was at its end.
    pub root: String,
    /// Length of the archive, in bytes.
    pub archive_bytes: u64,
    /// Number of sockets, pipes and devices, which are left out.
    pub skipped: u64,
    /// Files and symbolic links.
    pub entries: Vec<Artifact>,
}

impl OwnerSession {
    /// Returns the list of the job's output folder. The worker may have to hash it first.
    pub async fn artifacts(&self) -> Result<ArtifactList, WorkerApiError> {
        let call = self
            .call_of(Method::GET, "/artifacts")
            .within(HASHING_TIME)
            .at_most(MAX_LIST_BYTES);
        self.call(call).await?.json()
    }

    /// Begins the download of the archive of the job's output folder.
    pub async fn download_artifacts(&self) -> Result<ArchiveDownload, WorkerApiError> {
        let call = self.call_of(Method::GET, ARCHIVE).within(HASHING_TIME);
        let connection = self.api.base.stream(call).await?;
        let not_understood = |reason: &str| WorkerApiError::NotUnderstood {
            path: format!("/v1/jobs/{}{ARCHIVE}", self.job),
            reason: reason.to_owned(),
        };
        let tag = connection.header("etag").unwrap_or_default().to_owned();
        let root_hash = read_hex(tag.trim_matches('"'))
            .ok_or_else(|| not_understood("its entity tag is not a root hash"))?;
        let length = connection
            .header("content-length")
            .and_then(|length| length.parse().ok())
            .ok_or_else(|| not_understood("it has no length"))?;
        Ok(ArchiveDownload {
            session: self.clone(),
            connection: Some(connection),
            tag,
            root_hash,
            length,
            position: 0,
            attempts: Attempts::default(),
        })
    }
}

/// Archive of a job's output folder, as it comes; [`super::ArchiveReader`] reads it.
///
/// A connection that breaks is made again, and goes on where it broke. The token ends after an hour:
/// [`Self::next`] fails then with an error that [`WorkerApiError::is_logged_out`], and goes on after
/// [`Self::continue_with`].
pub struct ArchiveDownload {
    session: OwnerSession,
    connection: Option<Download>,
    tag: String,
    root_hash: [u8; 32],
    length: u64,
    position: u64,
    attempts: Attempts,
}

impl ArchiveDownload {
    /// Returns the root hash that the worker promises; the archive's reader computes the one that counts.
    pub fn root_hash(&self) -> [u8; 32] {
        self.root_hash
    }

    /// Returns the length of the archive in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the number of bytes that came.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Replaces the session, whose token has ended, by another of the same job.
    pub fn continue_with(&mut self, session: OwnerSession) {
        self.session = session;
    }

    /// Waits for the next bytes of the archive; `None` at its end.
    ///
    /// # Errors
    /// The folder changed, the worker refuses, or it was not reached by several attempts.
    pub async fn next(&mut self) -> Result<Option<Bytes>, WorkerApiError> {
        while self.position < self.length {
            match self.advance().await {
                Ok(bytes) => {
                    self.attempts.succeeded();
                    self.position = self.position.saturating_add(bytes.len() as u64);
                    return Ok(Some(bytes));
                }
                Err(error) => {
                    self.connection = None;
                    self.attempts.pause_after(error).await?;
                }
            }
        }
        self.connection = None;
        Ok(None)
    }

    /// Waits for the next bytes of the connection; some, or an error.
    async fn advance(&mut self) -> Result<Bytes, WorkerApiError> {
        if self.connection.is_none() {
            self.connection = Some(self.connect_again().await?);
        }
        let left = self.length.saturating_sub(self.position);
        let part = match &mut self.connection {
            Some(connection) => connection.next_within(SILENCE).await?,
            None => None,
        };
        match part {
            Some(bytes) if bytes.len() as u64 > left => Err(WorkerApiError::Changed),
            Some(bytes) => Ok(bytes),
            None => Err(WorkerApiError::Unreachable {
                url: self.session.api.url().to_owned(),
                reason: "it ended the archive before its end".to_owned(),
            }),
        }
    }

    /// Asks for the rest of the same archive.
    async fn connect_again(&self) -> Result<Download, WorkerApiError> {
        let call = self
            .session
            .call_of(Method::GET, ARCHIVE)
            .within(HASHING_TIME)
            .header(header::RANGE, format!("bytes={}-", self.position))
            .header(header::IF_RANGE, self.tag.clone());
        let connection = self.session.api.base.stream(call).await?;
        let is_rest = connection.status() == 206
            && connection.header("etag") == Some(self.tag.as_str())
            && connection
                .header("content-range")
                .is_some_and(|range| range.starts_with(&format!("bytes {}-", self.position)));
        if is_rest {
            Ok(connection)
        } else {
            Err(WorkerApiError::Changed)
        }
    }
}
