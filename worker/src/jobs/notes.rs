//! The worker's notes on each job, which keep a restart from repeating a step.
//!
//! A job's folder `jobs/<id>/` holds `notes.json`, the container's output in the folder `log`, and for a
//! finished task `outcome.json` and `result.json`. Notes, outcome and result are replaced atomically: after a
//! crash a file has either the old or the new content. Notes that a failing disk has corrupted are put aside,
//! and replaced by safe defaults.

use std::{fs, io, path::PathBuf};

use assay_client::AccountId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    engine::{CaptureTarget, PublishedPort},
    files::{Disk, Found, named, read_if_present, remove_folder},
    logs::{self, LiveLogs},
};

/// Name of the file of a job's notes.
const NOTES: &str = "notes.json";

/// Name of the file of a task's outcome.
const OUTCOME: &str = "outcome.json";

/// Files of a job that are put aside when corrupted.
pub(crate) const JOB_FILES: [&str; 2] = [NOTES, OUTCOME];

/// Maximum number of finished jobs whose folders are kept; the oldest are removed first.
pub const MAX_KEPT_JOBS: usize = 256;

/// Number of the newest jobs whose whole logs are kept, up to 16 MiB each; of older closed ones only the
/// beginnings are.
const MAX_WHOLE_LOGS: usize = 64;

/// The notes on one job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobNotes {
    /// Fingerprint that distinguishes jobs of the same number on a chain that was started anew.
    pub fingerprint: String,
    /// True once the container is about to be started: set before the engine is asked to start it, cleared
    /// before it is replaced.
    pub container_started: bool,
    /// Number of restarts and replacements since the container last stayed up; see [`super::MAX_RESTARTS`].
    pub restarts: u32,
    /// Hash of the result document, once that is written.
    #[serde(with = "optional_hash")]
    #[schema(value_type = Option<String>)]
    pub result_hash: Option<[u8; 32]>,
    /// Salt of a replica's commitment to its result; drawn when the result document is written.
    #[serde(with = "optional_hash", default)]
    #[schema(value_type = Option<String>)]
    pub salt: Option<[u8; 32]>,
    /// True if the job is one of several replicas, whose results must stay secret until they are revealed.
    #[serde(default)]
    pub replica: bool,
    /// True once the replica's result is revealed.
    #[serde(default)]
    pub revealed: bool,
    /// True if the manifest leaves standard output out of the result.
    #[serde(default)]
    pub stdout_is_left_out: bool,
    /// Folder whose content is part of the result, relative to the job's disk.
    #[serde(default)]
    pub output: Option<String>,
    /// Reason why the output folder goes with the job's disk, with the remedy; `None` if it stays readable
    /// like the log, or if that is not known yet.
    #[serde(default)]
    pub output_not_kept: Option<String>,
    /// True while a lost container is being replaced: until the new one is started.
    #[serde(default)]
    pub replacing: bool,
    /// True if the previous run was killed, see [`super::LossCause::Killed`].
    #[serde(default)]
    pub was_killed: bool,
    /// True once the worker has resumed the paused container.
    #[serde(default)]
    pub unpaused: bool,
    /// True if the manifest has the profile `interactive`, so that its owner may open a shell.
    #[serde(default)]
    pub interactive: bool,
    /// True if the notes were lost and the manifest has not been read since.
    #[serde(default)]
    pub made_up: bool,
    /// Account that ordered the job; its files stay readable for it after the job's end.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub consumer: Option<AccountId>,
    /// Accounts that the manifest lets act for the consumer.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub delegates: Vec<AccountId>,
    /// Ports of the container that can be reached from outside.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
    /// Reason why the job cannot run.
    pub refused: Option<String>,
    /// True once the job is gone from the chain and its container is removed.
    pub closed: bool,
}

impl JobNotes {
    /// Creates notes in place of lost ones. They keep the job's output secret, because nothing permits
    /// showing it.
    pub(super) fn made_up() -> Self {
        Self {
            replica: true,
            made_up: true,
            ..Self::default()
        }
    }

    /// Returns true while the job's output must stay on this machine: another replica could copy it as long
    /// as it can still commit.
    pub fn is_secret(&self) -> bool {
        self.replica && !self.revealed && !self.closed
    }

    /// Returns the notes without the fields that are secret at present.
    #[must_use]
    pub fn for_everybody(self) -> Self {
        Self {
            result_hash: self.result_hash.filter(|_| !self.is_secret()),
            salt: self.salt.filter(|_| !self.is_secret()),
            ..self
        }
    }
}

mod optional_hash {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        hash: &Option<[u8; 32]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        hash.map(hex::encode).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<[u8; 32]>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| {
            let mut hash = [0; 32];
            hex::decode_to_slice(&text, &mut hash).map_err(D::Error::custom)?;
            Ok(hash)
        })
        .transpose()
    }
}

/// Result of a task, kept apart from the notes: if these are lost, a result that is committed on chain can
/// still be revealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedResult {
    fingerprint: String,
    #[serde(with = "optional_hash")]
    result_hash: Option<[u8; 32]>,
    #[serde(with = "optional_hash")]
    salt: Option<[u8; 32]>,
}

impl SavedResult {
    fn of(notes: &JobNotes) -> Option<Self> {
        notes.result_hash.map(|result_hash| Self {
            fingerprint: notes.fingerprint.clone(),
            result_hash: Some(result_hash),
            salt: notes.salt,
        })
    }
}

/// Folder of all jobs' notes and results.
#[derive(Clone, Debug)]
pub struct JobStore {
    folder: PathBuf,
    disk: Disk,
    logs: LiveLogs,
}

impl JobStore {
    /// Opens the store in a folder, and creates the folder if it is missing.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder).map_err(|error| named("create", &folder, error))?;
        Ok(Self::on(folder, Disk::default()))
    }

    /// Creates a store in a folder on a disk. The folder is created by the first write.
    pub fn on(folder: PathBuf, disk: Disk) -> Self {
        Self {
            folder,
            disk,
            logs: LiveLogs::default(),
        }
    }

    /// Returns the logs that are being written or followed.
    pub fn logs(&self) -> &LiveLogs {
        &self.logs
    }

    /// Returns the store's disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Returns the notes on a job, or fresh ones. Notes of another job with the same number are removed.
    ///
    /// Lost notes are replaced by safe defaults. The container is found by its labels: a service's goes on, a
    /// task without a result starts again. The submitted result is read from [`SavedResult`]. A replica's
    /// output stays secret, because nothing permits showing it.
    pub fn notes(&self, job: u64, fingerprint: &str) -> io::Result<JobNotes> {
        match self.stored_notes(job)? {
            Some(notes) if notes.fingerprint == fingerprint => return Ok(notes),
            Some(notes) if notes.fingerprint.is_empty() => {
                return Ok(JobNotes {
                    fingerprint: fingerprint.to_owned(),
                    ..notes
                });
            }
            Some(_) => remove_folder(&self.folder_of(job))?,
            None => (),
        }
        Ok(JobNotes {
            fingerprint: fingerprint.to_owned(),
            ..JobNotes::default()
        })
    }

    /// Returns the notes under a job's number, if there are any. If the notes were lost, the fingerprint may
    /// be empty.
    pub fn stored_notes(&self, job: u64) -> io::Result<Option<JobNotes>> {
        match self.disk.read_json(&self.folder_of(job).join(NOTES))? {
            Found::Whole(notes) => Ok(Some(notes)),
            Found::Broken => self.made_up_for(job).map(Some),
            Found::Nothing => Ok(None),
        }
    }

    /// Creates notes in place of lost ones, with the task's outcome if that is readable.
    fn made_up_for(&self, job: u64) -> io::Result<JobNotes> {
        let lost = JobNotes::made_up();
        Ok(match self.outcome(job)? {
            Some(outcome) => JobNotes {
                fingerprint: outcome.fingerprint,
                result_hash: outcome.result_hash,
                salt: outcome.salt,
                ..lost
            },
            None => lost,
        })
    }

    fn outcome(&self, job: u64) -> io::Result<Option<SavedResult>> {
        Ok(self.disk.read_json(&self.folder_of(job).join(OUTCOME))?.whole())
    }

    /// Replaces a job's notes.
    pub fn write_notes(&self, job: u64, notes: &JobNotes) -> io::Result<()> {
        let outcome = SavedResult::of(notes);
        if outcome.is_some() && self.outcome(job)? != outcome {
            self.write(
                job,
                OUTCOME,
                &serde_json::to_vec(&outcome).map_err(io::Error::other)?,
            )?;
        }
        self.write(job, NOTES, &serde_json::to_vec(notes).map_err(io::Error::other)?)
    }

    /// Writes a finished task's result.
    pub fn write_result(&self, job: u64, document: &[u8]) -> io::Result<()> {
        self.write(job, "result.json", document)
    }

    /// Returns the target of the output of a job's container; see [`Self::output`].
    pub fn output_target(&self, job: u64, append: bool) -> CaptureTarget {
        CaptureTarget {
            folder: self.folder_of(job),
            append,
            logs: self.logs.clone(),
        }
    }

    fn write(&self, job: u64, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_whole(&self.folder_of(job), name, bytes)
    }

    /// Returns the result of a finished task as JSON.
    pub fn result_document(&self, job: u64) -> io::Result<Option<Vec<u8>>> {
        read_if_present(&self.folder_of(job).join("result.json"))
    }

    /// Returns the beginning of a container's output: standard output, then standard error.
    pub fn output(&self, job: u64) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let folder = self.folder_of(job);
        if let Some(output) = logs::beginnings(&folder)? {
            return Ok(Some(output));
        }
        // Files of a job that an earlier version of this worker ran.
        let stdout = read_if_present(&folder.join("stdout"))?;
        let stderr = read_if_present(&folder.join("stderr"))?;
        Ok(stdout.zip(stderr))
    }

    /// Returns the numbers of all jobs that have a folder, in ascending order.
    pub fn known_jobs(&self) -> io::Result<Vec<u64>> {
        let list = || {
            let mut jobs = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                jobs.extend(
                    entry?
                        .file_name()
                        .to_str()
                        .and_then(|name| name.parse::<u64>().ok()),
                );
            }
            Ok(jobs)
        };
        let mut jobs = match list() {
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(|error| named("list", &self.folder, error))?,
        };
        jobs.sort_unstable();
        Ok(jobs)
    }

    /// Returns the jobs whose notes are not closed, with their fingerprints. Logs an error for notes that it
    /// cannot read.
    pub fn open_jobs(&self) -> Vec<(u64, String)> {
        let jobs = self.known_jobs().unwrap_or_else(|error| {
            tracing::error!(%error, "listing the earlier jobs failed; their containers are still found by their labels");
            Vec::new()
        });
        jobs.into_iter()
            .filter_map(|job| match self.stored_notes(job) {
                Ok(notes) => notes
                    .filter(|notes| !notes.closed)
                    .map(|notes| (job, notes.fingerprint)),
                Err(error) => {
                    tracing::error!(job, %error, "reading the notes of a job failed; other jobs go on");
                    None
                }
            })
            .collect()
    }

    /// Removes the folders of the oldest closed jobs beyond [`MAX_KEPT_JOBS`], and the later parts of the
    /// logs of those beyond [`MAX_WHOLE_LOGS`]. Logs a warning for a folder that it cannot remove.
    pub fn prune(&self) -> io::Result<()> {
        let jobs = self.known_jobs()?;
        for job in &jobs[..jobs.len().saturating_sub(MAX_WHOLE_LOGS)] {
            let shortened = self.stored_notes(*job).and_then(|notes| {
                if notes.is_none_or(|notes| notes.closed) {
                    logs::keep_head_only(&self.folder_of(*job))?;
                }
                Ok(())
            });
            if let Err(error) = shortened {
                tracing::warn!(job, %error, "shortening the log of an old job failed");
            }
        }
        let mut surplus = jobs.len().saturating_sub(MAX_KEPT_JOBS);
        for job in jobs {
            if surplus == 0 {
                break;
            }
            let removed = self.stored_notes(job).and_then(|notes| {
                let goes = notes.is_none_or(|notes| notes.closed);
                if goes {
                    remove_folder(&self.folder_of(job))?;
                }
                Ok(goes)
            });
            match removed {
                Ok(goes) => surplus -= usize::from(goes),
                Err(error) => tracing::warn!(job, %error, "removing the files of an old job failed"),
            }
        }
        Ok(())
    }

    /// Returns a job's folder.
    pub(crate) fn folder_of(&self, job: u64) -> PathBuf {
        self.folder.join(job.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::engine::{Capture, OutputStream};

    #[test]
    fn notes_survive_and_belong_to_one_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let store = JobStore::open(folder.path().join("jobs")).unwrap();
        let mut notes = store.notes(3, "aa").unwrap();
        assert_eq!(
            notes,
            JobNotes {
                fingerprint: "aa".into(),
                ..JobNotes::default()
            }
        );
        notes.container_started = true;
        notes.result_hash = Some([5; 32]);
        store.write_notes(3, &notes).unwrap();
        assert_eq!(store.notes(3, "aa").unwrap(), notes);
        assert_eq!(store.notes(3, "bb").unwrap().result_hash, None);
        assert_eq!(store.known_jobs().unwrap(), Vec::<u64>::new());
    }

    #[test]
    fn notes_of_earlier_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = JobStore::open(folder.path().to_owned()).unwrap();
        fs::create_dir_all(store.folder_of(3)).unwrap();
        let text = r#"{"fingerprint":"aa","container_started":true,"restarts":1,"result_hash":null,"salt":null,
            "replica":false,"revealed":false,"stdout_is_left_out":false,"replacing":false,"was_killed":false,
            "unpaused":false,"made_up":false,"refused":null,"closed":true}"#;
        fs::write(store.folder_of(3).join(NOTES), text).unwrap();
        let notes = store.stored_notes(3).unwrap().unwrap();
        assert!(notes.closed && notes.restarts == 1);
        assert_eq!(
            (notes.consumer, notes.delegates, notes.ports),
            (None, vec![], vec![])
        );
    }

    /// Writes a file as a failing disk leaves it.
    fn tear(store: &JobStore, job: u64, name: &str) {
        let path = store.folder_of(job).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{").unwrap();
    }

    #[test]
    fn torn_notes_are_put_aside_and_others_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = JobStore::open(folder.path().to_owned()).unwrap();
        tear(&store, 3, NOTES);
        let mut whole = store.notes(4, "bb").unwrap();
        whole.restarts = 2;
        store.write_notes(4, &whole).unwrap();

        assert_eq!(store.open_jobs(), [(3, String::new()), (4, "bb".to_owned())]);
        let notes = store.notes(3, "aa").unwrap();
        assert_eq!(notes.fingerprint, "aa");
        assert!(notes.is_secret(), "nothing says that what it wrote may be shown");
        assert!(folder.path().join("3/notes.json.broken-0").exists());
        assert_eq!(store.notes(4, "bb").unwrap(), whole);

        store
            .write_notes(
                3,
                &JobNotes {
                    closed: true,
                    ..notes
                },
            )
            .unwrap();
        assert_eq!(store.open_jobs(), [(4, "bb".to_owned())]);
        // Pruning an old job also removes the files of it that were put aside.
        for job in 5..5 + MAX_KEPT_JOBS as u64 {
            let notes = JobNotes {
                closed: true,
                ..JobNotes::default()
            };
            store.write_notes(job, &notes).unwrap();
        }
        store.prune().unwrap();
        assert!(!folder.path().join("3").exists());
        assert!(folder.path().join("4").exists(), "an open job stays");
    }

    #[test]
    fn committed_result_outlasts_its_notes() {
        let folder = tempfile::tempdir().unwrap();
        let store = JobStore::open(folder.path().to_owned()).unwrap();
        let notes = JobNotes {
            container_started: true,
            result_hash: Some([5; 32]),
            salt: Some([6; 32]),
            replica: true,
            ..store.notes(3, "aa").unwrap()
        };
        store.write_notes(3, &notes).unwrap();
        tear(&store, 3, NOTES);
        let found = store.notes(3, "aa").unwrap();
        assert_eq!((found.result_hash, found.salt), (Some([5; 32]), Some([6; 32])));
        assert!(found.is_secret());

        // The outcome belongs to another chain's job of this number, and does not count.
        tear(&store, 3, NOTES);
        assert_eq!(store.notes(3, "bb").unwrap().result_hash, None);
        assert!(!folder.path().join("3").exists());

        store.write_notes(3, &notes).unwrap();
        tear(&store, 3, NOTES);
        tear(&store, 3, OUTCOME);
        let found = store.notes(3, "aa").unwrap();
        assert_eq!((found.result_hash, found.salt), (None, None));
        assert!(found.is_secret());
    }

    #[test]
    fn unreadable_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = JobStore::open(folder.path().to_owned()).unwrap();
        let path = folder.path().join("3").join(NOTES);
        fs::create_dir_all(&path).unwrap();
        let error = store.notes(3, "aa").unwrap_err();
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }

    #[test]
    fn prune_removes_the_oldest_closed_jobs_only() {
        let folder = tempfile::tempdir().unwrap();
        let store = JobStore::open(folder.path().to_owned()).unwrap();
        let jobs = MAX_KEPT_JOBS as u64 + 3;
        for job in 0..jobs {
            let notes = JobNotes {
                closed: job != 0,
                ..JobNotes::default()
            };
            store.write_notes(job, &notes).unwrap();
        }
        store.prune().unwrap();
        let expected: Vec<u64> = std::iter::once(0).chain(4..jobs).collect();
        assert_eq!(store.known_jobs().unwrap(), expected);
    }

    #[test]
    fn result_is_read_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = JobStore::open(folder.path().to_owned()).unwrap();
        assert_eq!(store.result_document(1).unwrap(), None);
        store.write_result(1, b"{}").unwrap();
        assert_eq!(store.output(1).unwrap(), None);
        let mut capture = Capture::new(&store.output_target(1, false));
        capture.take(OutputStream::Stdout, b"out");
        capture.take(OutputStream::Stderr, b"err");
        drop(capture);
        assert_eq!(store.result_document(1).unwrap().unwrap(), b"{}");
        assert_eq!(
            store.output(1).unwrap().unwrap(),
            (b"out".to_vec(), b"err".to_vec())
        );
    }
}
