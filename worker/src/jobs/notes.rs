//! The little that the worker writes down of each job, so that a restart repeats nothing.
//!
//! A job's folder `jobs/<id>/` holds `notes.json`, what its container writes in `stdout` and `stderr`, and
//! for a finished task `result.json`. Notes and result are replaced as a whole, so that a crash leaves the
//! old or the new content and nothing between.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::engine::CaptureTarget;

/// Most finished jobs whose folders are kept; the oldest go first.
pub const MAX_KEPT_JOBS: usize = 256;

/// What was noted of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobNotes {
    /// Tells apart jobs of one number on a chain that was started anew.
    pub fingerprint: String,
    /// The container was about to be started; set before the engine is asked to, and taken back when it is to be
    /// replaced.
    pub container_started: bool,
    /// How often the container was started again, or replaced, since it last stayed up: see [`super::MAX_RESTARTS`].
    pub restarts: u32,
    /// Hash of the result document, once it is written.
    #[serde(with = "optional_hash")]
    pub result_hash: Option<[u8; 32]>,
    /// What a replica's result is committed to with; drawn when the result document is written.
    #[serde(with = "optional_hash", default)]
    pub salt: Option<[u8; 32]>,
    /// The job is one of several replicas, whose results nobody may see before they are revealed.
    #[serde(default)]
    pub replica: bool,
    /// The replica's result was revealed.
    #[serde(default)]
    pub revealed: bool,
    /// The manifest leaves standard output out of the result.
    #[serde(default)]
    pub stdout_is_left_out: bool,
    /// The container was lost, and another takes its place; until that one is started.
    #[serde(default)]
    pub replacing: bool,
    /// The run before was killed, see [`super::LossCause::Killed`].
    #[serde(default)]
    pub was_killed: bool,
    /// The worker let the paused container run on.
    #[serde(default)]
    pub unpaused: bool,
    /// Why the job cannot be run, if so.
    pub refused: Option<String>,
    /// The job is gone from the chain and its container is removed.
    pub closed: bool,
}

impl JobNotes {
    /// Whether what the job wrote must stay here: another replica could copy it while it may still commit.
    pub fn is_secret(&self) -> bool {
        self.replica && !self.revealed && !self.closed
    }

    /// The notes as anybody may see them.
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

/// The folder of all jobs' notes and results.
#[derive(Clone, Debug)]
pub struct JobStore {
    folder: PathBuf,
}

impl JobStore {
    /// The store in a folder, which is created when absent.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// What is noted of a job, or fresh notes. Notes of another job that had the number are dropped.
    pub fn notes(&self, job: u64, fingerprint: &str) -> io::Result<JobNotes> {
        match self.stored_notes(job)? {
            Some(notes) if notes.fingerprint == fingerprint => return Ok(notes),
            Some(_) => fs::remove_dir_all(self.folder_of(job))?,
            None => (),
        }
        Ok(JobNotes {
            fingerprint: fingerprint.to_owned(),
            ..JobNotes::default()
        })
    }

    /// What is noted under a number, if anything.
    pub fn stored_notes(&self, job: u64) -> io::Result<Option<JobNotes>> {
        let Some(bytes) = read_if_present(&self.folder_of(job).join("notes.json"))? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other)
    }

    /// Replaces a job's notes.
    pub fn write_notes(&self, job: u64, notes: &JobNotes) -> io::Result<()> {
        let bytes = serde_json::to_vec(notes).map_err(io::Error::other)?;
        write_whole(&self.folder_of(job), "notes.json", &bytes)
    }

    /// Keeps a finished task's result.
    pub fn write_result(&self, job: u64, document: &[u8]) -> io::Result<()> {
        write_whole(&self.folder_of(job), "result.json", document)
    }

    /// Where what a job's container writes is kept; see [`Self::output`].
    pub fn output_target(&self, job: u64, append: bool) -> CaptureTarget {
        CaptureTarget {
            folder: self.folder_of(job),
            append,
        }
    }

    /// The result of a finished task as JSON.
    pub fn result_document(&self, job: u64) -> io::Result<Option<Vec<u8>>> {
        read_if_present(&self.folder_of(job).join("result.json"))
    }

    /// What is kept of a container's output: standard output, then standard error.
    pub fn output(&self, job: u64) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let folder = self.folder_of(job);
        let stdout = read_if_present(&folder.join("stdout"))?;
        let stderr = read_if_present(&folder.join("stderr"))?;
        Ok(stdout.zip(stderr))
    }

    /// The numbers of all jobs that anything is noted of, in order.
    pub fn known_jobs(&self) -> io::Result<Vec<u64>> {
        let mut jobs = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            jobs.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<u64>().ok()),
            );
        }
        jobs.sort_unstable();
        Ok(jobs)
    }

    /// Removes the folders of the oldest closed jobs beyond [`MAX_KEPT_JOBS`].
    pub fn prune(&self) -> io::Result<()> {
        let jobs = self.known_jobs()?;
        let mut surplus = jobs.len().saturating_sub(MAX_KEPT_JOBS);
        for job in jobs {
            if surplus == 0 {
                break;
            }
            if self.stored_notes(job)?.is_none_or(|notes| notes.closed) {
                fs::remove_dir_all(self.folder_of(job))?;
                surplus -= 1;
            }
        }
        Ok(())
    }

    fn folder_of(&self, job: u64) -> PathBuf {
        self.folder.join(job.to_string())
    }
}

/// A file's content, or `None` where there is no such file.
pub(crate) fn read_if_present(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file so that a crash leaves either the old or the new content.
pub(crate) fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(format!(".{name}.new"));
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(name))?;
    // The rename is safe only once the folder itself is on disk.
    fs::File::open(folder)?.sync_all()
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
    fn torn_notes_are_an_error_and_not_fresh_notes() {
        let folder = tempfile::tempdir().unwrap();
        let store = JobStore::open(folder.path().to_owned()).unwrap();
        fs::create_dir(folder.path().join("3")).unwrap();
        fs::write(folder.path().join("3/notes.json"), "{").unwrap();
        assert!(store.notes(3, "aa").is_err());
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
        assert_eq!(store.result_document(1).unwrap().unwrap(), b"{}");
        assert_eq!(
            store.output(1).unwrap().unwrap(),
            (b"out".to_vec(), b"err".to_vec())
        );
    }
}
