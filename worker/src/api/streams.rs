//! The part of the owner's API that streams: logs, shells and artifacts.
//!
//! Its routes are for the job's owner alone. They take [`Owner`] as an argument, which the layer in front of
//! them must have recognised, and are mounted by [`routes`].

use std::{io, sync::Arc, time::Duration};

use axum::{Extension, Router, extract::FromRequestParts};

use super::{
    artifacts::{self, Listings},
    auth::Owner,
    errors::ApiError,
    exec, logs,
    seats::Seats,
};
use crate::{
    artifacts::Output,
    jobs::{JobNotes, JobStore},
    status::StatusBoard,
};

/// Reason why a job has no output to read.
#[derive(Debug)]
pub enum MissingOutput {
    /// The job has no output folder, or not any more.
    None,
    /// The output was not kept after the job's end, for this reason.
    NotKept(String),
    /// The worker cannot tell.
    Failed(io::Error),
}

/// Finds the outputs of jobs.
pub trait OutputFolders: Send + Sync + 'static {
    /// Returns the output of a job, or the reason why there is none to read.
    fn output(&self, job: u64, fingerprint: &str) -> Result<Output, MissingOutput>;
}

/// No job has an output folder.
impl OutputFolders for () {
    fn output(&self, _: u64, _: &str) -> Result<Output, MissingOutput> {
        Err(MissingOutput::None)
    }
}

/// Bounds of what clients can hold open; keys of `assay.owner_limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Maximum number of logs that are read at once.
    pub readers: usize,
    /// The same for each job.
    pub readers_per_job: usize,
    /// Maximum number of shells.
    pub shells: usize,
    /// The same for each job.
    pub shells_per_job: usize,
    /// Maximum number of reads of artifacts at once.
    pub downloads: usize,
    /// The same for each job.
    pub downloads_per_job: usize,
    /// Time after which a client that takes nothing is disconnected.
    pub patience: Duration,
    /// Pause between two signs of life on a silent stream.
    pub keep_alive: Duration,
    /// Time after which a shell without input and output ends.
    pub shell_idle: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            readers: 64,
            readers_per_job: 8,
            shells: 32,
            shells_per_job: 4,
            downloads: 32,
            downloads_per_job: 4,
            patience: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            shell_idle: Duration::from_secs(15 * 60),
        }
    }
}

/// State of the streaming handlers.
pub struct JobStreams {
    pub(super) store: JobStore,
    pub(super) status: StatusBoard,
    pub(super) shells: Box<dyn exec::Shells>,
    pub(super) outputs: Box<dyn OutputFolders>,
    pub(super) limits: StreamLimits,
    pub(super) readers: Seats,
    pub(super) sessions: Seats,
    pub(super) downloads: Seats,
    pub(super) listings: Listings,
}

impl JobStreams {
    /// Creates the state.
    pub fn new(
        store: JobStore,
        status: StatusBoard,
        shells: impl exec::Shells,
        outputs: impl OutputFolders,
        limits: StreamLimits,
    ) -> Self {
        Self {
            store,
            status,
            shells: Box::new(shells),
            outputs: Box::new(outputs),
            limits,
            readers: Seats::new(limits.readers, limits.readers_per_job),
            sessions: Seats::new(limits.shells, limits.shells_per_job),
            downloads: Seats::new(limits.downloads, limits.downloads_per_job),
            listings: Listings::default(),
        }
    }

    /// Returns a job's notes, if the machine knows the job and its output may be shown.
    pub(super) fn readable(&self, job: u64) -> Result<JobNotes, ApiError> {
        let notes = self.known(job)?;
        if notes.is_secret() {
            return Err(ApiError::forbidden(
                "a replica's output is secret until its result is revealed on chain",
            ));
        }
        Ok(notes)
    }

    /// Returns a job's notes, or fresh ones while there are none yet.
    pub(super) fn known(&self, job: u64) -> Result<JobNotes, ApiError> {
        match self.store.stored_notes(job) {
            Ok(Some(notes)) => Ok(notes),
            Ok(None) if self.status.job(job).is_some() => Ok(JobNotes::default()),
            Ok(None) => Err(ApiError::not_found("this machine knows no such job")),
            Err(error) => Err(ApiError::internal(&error)),
        }
    }

    /// Returns true if no further output of a job will come.
    pub(super) fn is_over(&self, job: u64) -> io::Result<bool> {
        let Some(notes) = self.store.stored_notes(job)? else {
            return Ok(self.status.job(job).is_none());
        };
        let has_ended = || {
            let open = self.status.job(job);
            open.is_some_and(|open| !matches!(open.state.as_str(), "starting" | "running"))
        };
        Ok(notes.closed || notes.result_hash.is_some() || notes.refused.is_some() || has_ended())
    }
}

/// Returns the routes, which need an owner's layer around them.
pub fn routes<S>(streams: Arc<JobStreams>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Owner: FromRequestParts<S>,
{
    logs::routes()
        .merge(exec::routes())
        .merge(artifacts::routes())
        .layer(Extension(streams))
}

/// Returns the description of the routes in OpenAPI.
pub(super) fn description() -> utoipa::openapi::OpenApi {
    logs::description()
        .merge_from(exec::description())
        .merge_from(artifacts::description())
}

#[cfg(test)]
mod tests;
