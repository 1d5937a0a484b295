//! Outputs that stay after their disks.
//!
//! ```text
//! <disk_dir>/outputs/<job>-<fingerprint>        one file for each, see `crate::artifacts`
//! <disk_dir>/outputs/.<job>-<fingerprint>.new   one that is not whole yet; removed at the worker's start
//! ```
//!
//! An output is copied once, when its job has ended and before its disk is removed, so after a crash there is
//! the disk or the whole file. The files have a bound of their own. They never take room that is promised to
//! disks: the oldest go first, and a disk that finds the host full takes the room of kept outputs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::PoisonError,
    time::SystemTime,
};

use super::{Disks, IMAGE, JobDisk, LeaseKey, MIB, create_private, ignore_missing, key_of_name, take_now};
use crate::{
    artifacts::{ArtifactError, KeptContent, KeptOutput, OutputFolder},
    files::named,
};

/// Name of the folder with the kept outputs. No lease's folder has it: it has no hyphen.
const KEPT: &str = "outputs";

/// Outcome of keeping a job's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptOutcome {
    /// The output is kept.
    Kept,
    /// The job has no disk, or not any more.
    NoDisk,
    /// The output goes with its disk, for this reason.
    NotKept(String),
}

/// Returns the reason why an output of `bytes` bytes is not kept beyond a bound, with the remedy.
pub fn too_large(bytes: u64, bound: u64) -> String {
    format!(
        "the output is not kept after the job's end: its archive has {} MiB, and the machine keeps {} MiB \
         (`assay.kept_output_gb`); fetch it before you accept the job's result",
        bytes.div_ceil(MIB),
        bound / MIB
    )
}

/// A kept file.
struct KeptFile {
    ended: SystemTime,
    path: PathBuf,
    bytes: u64,
}

impl Disks {
    /// Returns the maximum number of bytes of all kept outputs together.
    pub fn kept_bound(&self) -> u64 {
        self.0.settings.kept_output_bytes
    }

    /// Returns the number of bytes that all kept outputs together can have now: the bound, or the host's room
    /// beside the slots' disks.
    pub fn kept_room(&self) -> io::Result<u64> {
        let taken = self
            .kept_files()?
            .iter()
            .fold(0u64, |taken, kept| taken.saturating_add(kept.bytes));
        Ok(self.spare_bytes()?.saturating_add(taken).min(self.kept_bound()))
    }

    /// Returns the kept output of a lease, if there is one.
    pub fn kept_output(&self, key: &LeaseKey) -> Option<KeptOutput> {
        let path = self.kept_path(key)?;
        path.is_file().then(|| KeptOutput::new(path))
    }

    /// Keeps the content of the folder `below` a lease's disk, unless it is kept already. The container must
    /// have ended. Other disks are made and removed meanwhile.
    pub async fn keep_output(&self, key: &LeaseKey, below: &str) -> KeptOutcome {
        if self.kept_output(key).is_some() {
            return KeptOutcome::Kept;
        }
        let mounted = self.do_work(key, |folder| {
            if !folder.join(IMAGE).exists() {
                return Ok(None);
            }
            take_now(folder, None).map(Some)
        });
        let not_kept = |reason: String| {
            KeptOutcome::NotKept(format!("the output is not kept after the job's end: {reason}"))
        };
        let disk = match mounted.await {
            Ok(Some(disk)) => disk,
            Ok(None) => return KeptOutcome::NoDisk,
            Err(error) => return not_kept(error.to_string()),
        };
        let (disks, key, below) = (self.clone(), key.clone(), below.to_owned());
        let keeping = tokio::task::spawn_blocking(move || disks.keep_now(&key, &disk, &below));
        match keeping.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => not_kept(error.to_string()),
            Err(error) => not_kept(error.to_string()),
        }
    }

    /// Removes the kept output of a lease, if there is one.
    pub fn forget_output(&self, key: &LeaseKey) -> io::Result<()> {
        let Some(path) = self.kept_path(key) else {
            return Ok(());
        };
        ignore_missing(fs::remove_file(&path)).map_err(|error| named("remove", &path, error))
    }

    /// Returns the leases with a kept output.
    pub fn kept_keys(&self) -> io::Result<Vec<LeaseKey>> {
        let names = self.kept_files()?.into_iter();
        Ok(names
            .filter_map(|kept| key_of_name(kept.path.file_name()?.to_str()?))
            .collect())
    }

    /// Removes incomplete files of a killed worker.
    pub(super) fn remove_unfinished(&self) -> io::Result<()> {
        for path in entries_of(&self.kept_folder())? {
            if path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
            {
                ignore_missing(fs::remove_file(&path)).map_err(|error| named("remove", &path, error))?;
            }
        }
        Ok(())
    }

    /// Removes kept outputs, the oldest first, until the host has `bytes` bytes for a new disk.
    pub(super) fn make_way(&self, bytes: u64) -> io::Result<()> {
        let mut kept = self.kept_files()?.into_iter();
        while self.free_bytes()? < bytes {
            let Some(oldest) = kept.next() else { break };
            tracing::info!(file = %oldest.path.display(), "a kept output makes way for a job's disk");
            ignore_missing(fs::remove_file(&oldest.path))?;
        }
        Ok(())
    }

    fn kept_folder(&self) -> PathBuf {
        self.folder().join(KEPT)
    }

    fn kept_path(&self, key: &LeaseKey) -> Option<PathBuf> {
        let name = key.to_string();
        (key_of_name(&name).as_ref() == Some(key)).then(|| self.kept_folder().join(name))
    }

    /// Returns the kept files, those that ended first in front.
    fn kept_files(&self) -> io::Result<Vec<KeptFile>> {
        let mut kept = Vec::new();
        for path in entries_of(&self.kept_folder())? {
            let is_kept = path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| key_of_name(name).is_some());
            if !is_kept {
                continue;
            }
            match fs::metadata(&path) {
                Ok(found) => kept.push(KeptFile {
                    ended: found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                    bytes: found.len(),
                    path,
                }),
                // Removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                Err(error) => return Err(named("look at", &path, error)),
            }
        }
        kept.sort_by(|one, other| (one.ended, &one.path).cmp(&(other.ended, &other.path)));
        Ok(kept)
    }

    /// Returns the room that is neither taken nor promised to the slots' disks, in bytes.
    fn spare_bytes(&self) -> io::Result<u64> {
        let free = self.free_bytes()?;
        let settings = &self.0.settings;
        let promised = settings
            .mib_per_slot
            .saturating_mul(settings.slots.into())
            .saturating_mul(MIB);
        let unreserved = promised.saturating_sub(self.reserved_bytes()?);
        Ok(free.saturating_sub(unreserved))
    }

    fn keep_now(&self, key: &LeaseKey, disk: &JobDisk, below: &str) -> Result<KeptOutcome, ArtifactError> {
        // One at a time: the room that was measured must not be another's.
        let _guard = self.0.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = self.kept_path(key) else {
            return Ok(KeptOutcome::NoDisk);
        };
        let content = KeptContent::of(OutputFolder::new(disk.data(), below))?;
        let (wanted, bound) = (content.file_len(), self.kept_bound());
        if wanted > bound {
            return Ok(KeptOutcome::NotKept(too_large(wanted, bound)));
        }
        let mut kept = self.kept_files()?;
        let mut total = kept
            .iter()
            .fold(0u64, |total, kept| total.saturating_add(kept.bytes));
        kept.reverse();
        while total.saturating_add(wanted) > bound || self.spare_bytes()? < wanted {
            let Some(oldest) = kept.pop() else { break };
            ignore_missing(fs::remove_file(&oldest.path))
                .map_err(|error| named("remove", &oldest.path, error))?;
            total = total.saturating_sub(oldest.bytes);
        }
        if self.spare_bytes()? < wanted {
            return Ok(KeptOutcome::NotKept(format!(
                "the output is not kept after the job's end: the machine's disk has no {} MiB beside the room of the \
                 slots; fetch an output before you accept the job's result",
                wanted.div_ceil(MIB)
            )));
        }
        self.write_kept(&path, key, content)?;
        tracing::info!(job = key.job, bytes = wanted, "the job's output is kept");
        Ok(KeptOutcome::Kept)
    }

    /// Writes a kept file: after a crash it is whole, or not there.
    fn write_kept(&self, path: &Path, key: &LeaseKey, content: KeptContent) -> Result<(), ArtifactError> {
        let folder = self.kept_folder();
        create_private(&folder).map_err(|error| named("create", &folder, error))?;
        let unfinished = folder.join(format!(".{key}.new"));
        let write = || -> Result<(), ArtifactError> {
            let file = fs::File::create(&unfinished).map_err(|error| named("create", &unfinished, error))?;
            content.write(&file)?;
            file.sync_all()?;
            fs::rename(&unfinished, path)?;
            // The rename is durable only once the folder itself is on disk.
            fs::File::open(&folder)?.sync_all()?;
            Ok(())
        };
        let written = write();
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }
}

/// Returns the paths of a folder's entries; none if it does not exist.
fn entries_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(named("read", folder, error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{sync::atomic::AtomicBool, time::Duration};

    use super::*;
    use crate::{
        artifacts::{Listing, Output},
        lease::disk::DiskSettings,
    };

    const KEPT_BYTES: u64 = 3 * MIB;

    /// Disks with room for kept outputs, if this host can hold any.
    fn disks(folder: &Path) -> Option<Disks> {
        let opened = Disks::open(DiskSettings {
            folder: folder.to_owned(),
            mib_per_slot: 24,
            slots: 2,
            kept_output_bytes: KEPT_BYTES,
        });
        opened
            .inspect_err(|reason| println!("no disks here: nothing is tested: {reason}"))
            .ok()
    }

    fn key(job: u64) -> LeaseKey {
        LeaseKey {
            job,
            fingerprint: "ab".repeat(16),
        }
    }

    fn listing(output: &Output) -> Listing {
        output.listing(None, &AtomicBool::new(false)).unwrap()
    }

    /// Gives a job a disk with an output of `bytes` bytes.
    async fn write_output(disks: &Disks, job: u64, bytes: usize) -> Output {
        let data = disks.take(&key(job), 1).await.unwrap().data();
        fs::create_dir_all(data.join("out/inner")).unwrap();
        fs::write(data.join("out/inner/zeros"), vec![job as u8; bytes]).unwrap();
        std::os::unix::fs::symlink("inner", data.join("out/link")).unwrap();
        Output::Folder(OutputFolder::new(data, "out"))
    }

    fn names(disks: &Disks) -> Vec<LeaseKey> {
        let mut keys = disks.kept_keys().unwrap();
        keys.sort();
        keys
    }

    #[tokio::test]
    async fn output_stays_as_it_was_after_its_disk() {
        let folder = tempfile::tempdir().unwrap();
        let Some(disks) = disks(folder.path()) else { return };
        let on_disk = listing(&write_output(&disks, 1, 100_000).await);
        assert_eq!(disks.kept_output(&key(1)), None);
        assert_eq!(disks.keep_output(&key(1), "out").await, KeptOutcome::Kept);
        assert_eq!(disks.keep_output(&key(1), "out").await, KeptOutcome::Kept);
        disks.release(&key(1)).await.unwrap();
        assert_eq!(disks.keys().unwrap(), []);
        let kept = Output::Kept(disks.kept_output(&key(1)).unwrap());
        let listed = listing(&kept);
        assert_eq!(listed.root_hash(), on_disk.root_hash());
        assert_eq!(listed.archive_len(), on_disk.archive_len());
        assert_eq!(disks.keep_output(&key(2), "out").await, KeptOutcome::NoDisk);
        drop(disks);

        // The next start has it, too, and removes incomplete files.
        let rest = folder.path().join(KEPT).join(format!(".{}.new", key(3)));
        fs::write(&rest, "half").unwrap();
        let Some(disks) = self::disks(folder.path()) else {
            return;
        };
        assert!(!rest.exists());
        assert_eq!(names(&disks), [key(1)]);
        assert_eq!(
            listing(&Output::Kept(disks.kept_output(&key(1)).unwrap())).root_hash(),
            on_disk.root_hash()
        );
        disks.forget_output(&key(1)).unwrap();
        disks.forget_output(&key(1)).unwrap();
        assert_eq!(names(&disks), []);
    }

    #[tokio::test]
    async fn oldest_outputs_go_first_and_one_beyond_the_bound_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let Some(disks) = disks(folder.path()) else { return };
        for job in 1..=3 {
            write_output(&disks, job, MIB as usize).await;
            assert_eq!(disks.keep_output(&key(job), "out").await, KeptOutcome::Kept);
            disks.release(&key(job)).await.unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(names(&disks), [key(2), key(3)]);
        write_output(&disks, 4, 4 * MIB as usize).await;
        let KeptOutcome::NotKept(reason) = disks.keep_output(&key(4), "out").await else {
            panic!("it is larger than the bound");
        };
        assert!(reason.contains("keeps 3 MiB"), "{reason}");
        assert!(reason.contains("before you accept"), "{reason}");
        disks.release(&key(4)).await.unwrap();
        assert_eq!(names(&disks), [key(2), key(3)], "nothing went for it");
        disks.make_way(u64::MAX).unwrap();
        assert_eq!(names(&disks), []);
    }

    #[tokio::test]
    async fn what_is_no_folder_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let Some(disks) = disks(folder.path()) else { return };
        let data = disks.take(&key(1), 1).await.unwrap().data();
        fs::write(data.join("out"), "a file").unwrap();
        let outcome = disks.keep_output(&key(1), "out").await;
        assert!(matches!(outcome, KeptOutcome::NotKept(_)), "{outcome:?}");
        disks.release(&key(1)).await.unwrap();
        assert_eq!(names(&disks), []);
    }
}
