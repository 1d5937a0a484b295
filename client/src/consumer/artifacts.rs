//! Output folder of a job: its list, and its download, checked by the result's hashes.

use std::path::Path;

use super::{ConsumerError, JobAccess, unpack::Unpacked};
use crate::worker_api::{ArchiveReader, ArchiveSummary, ArtifactList, OwnerSession};

/// Witness of the root hash that a download was compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RootWitness {
    /// The chain: it has the result that names the hash.
    Chain,
    /// The worker's result; compare its hash with the chain's.
    Worker,
    /// None: the job has no result yet.
    None,
}

/// Output folder that was downloaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DownloadedArtifacts {
    /// Content of the archive.
    pub summary: ArchiveSummary,
    /// Number of links that were left out, since they lead out of the folder.
    pub links_left_out: u64,
    /// Witness of the root hash.
    pub witness: RootWitness,
}

/// Root hash that the output folder must have, and its witness.
struct Expected {
    root_hash: [u8; 32],
    witness: RootWitness,
}

impl JobAccess {
    /// Returns the list of the job's output folder.
    ///
    /// # Errors
    /// The worker refuses, or has no such folder.
    pub async fn artifacts(&self) -> Result<ArtifactList, ConsumerError> {
        let session = self.log_in().await?;
        let list = session.artifacts().await;
        self.log_out(session).await;
        Ok(list?)
    }

    /// Downloads the job's output folder to a new folder, which stays only if its root hash is right.
    /// `on_progress` gets the number of bytes that came and that of all.
    ///
    /// # Errors
    /// The worker refuses, shows what the result does not name, or sends more than `max_bytes`; or the folder
    /// cannot be made.
    pub async fn download_artifacts(
        &self,
        folder: &Path,
        max_bytes: u64,
        on_progress: impl FnMut(u64, u64),
    ) -> Result<DownloadedArtifacts, ConsumerError> {
        let session = self.log_in().await?;
        let downloaded = self.download(&session, folder, max_bytes, on_progress).await;
        self.log_out(session).await;
        downloaded
    }

    async fn download(
        &self,
        session: &OwnerSession,
        folder: &Path,
        max_bytes: u64,
        on_progress: impl FnMut(u64, u64),
    ) -> Result<DownloadedArtifacts, ConsumerError> {
        let expected = self.expected(session).await?;
        let unpacked = Unpacked::create(folder)?;
        let root_hash = expected.as_ref().map(|expected| expected.root_hash);
        let (summary, links_left_out) = self
            .receive(session, unpacked, root_hash, max_bytes, on_progress)
            .await?;
        Ok(DownloadedArtifacts {
            summary,
            links_left_out,
            witness: expected.map_or(RootWitness::None, |expected| expected.witness),
        })
    }

    /// Returns the root hash of the job's result, once the result's own hash is checked; `None` while there
    /// is no result, or one without an output folder.
    async fn expected(&self, session: &OwnerSession) -> Result<Option<Expected>, ConsumerError> {
        let result = match self.checked_result(session).await {
            Err(ConsumerError::Worker(error)) if error.is_refused_with(404) => return Ok(None),
            result => result?,
        };
        Ok(result.document.output.map(|root_hash| Expected {
            root_hash,
            witness: if result.is_on_chain {
                RootWitness::Chain
            } else {
                RootWitness::Worker
            },
        }))
    }

    /// Downloads and unpacks; the folder stays only if its root hash is right. Returns what came, and the
    /// number of links that were left out.
    async fn receive(
        &self,
        session: &OwnerSession,
        mut unpacked: Unpacked,
        expected: Option<[u8; 32]>,
        max_bytes: u64,
        mut on_progress: impl FnMut(u64, u64),
    ) -> Result<(ArchiveSummary, u64), ConsumerError> {
        let mut download = session.download_artifacts().await?;
        let promised = expected.unwrap_or(download.root_hash());
        if download.root_hash() != promised {
            return Err(ConsumerError::OtherResult {
                reason: format!(
                    "the output folder has the root hash 0x{}, and the result has 0x{}: it was changed since, or is not \
                     what the job left",
                    hex::encode(download.root_hash()),
                    hex::encode(promised)
                ),
            });
        }
        let mut reader = ArchiveReader::new(max_bytes);
        // A token that is refused at once is not asked for again.
        let mut is_fresh = true;
        loop {
            match download.next().await {
                Ok(Some(bytes)) => {
                    is_fresh = false;
                    reader.push(&bytes, &mut unpacked)?;
                    on_progress(download.position(), download.length());
                }
                Ok(None) => break,
                Err(error) if error.is_logged_out() && !is_fresh => {
                    is_fresh = true;
                    download.continue_with(self.log_in().await?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let summary = reader.finish()?;
        if summary.root_hash != promised {
            return Err(ConsumerError::OtherResult {
                reason: format!(
                    "what came has the root hash 0x{}, and not 0x{}: nothing was kept; begin again, best when the job's \
                     container has ended",
                    hex::encode(summary.root_hash),
                    hex::encode(promised)
                ),
            });
        }
        Ok((summary, unpacked.complete()?))
    }
}
