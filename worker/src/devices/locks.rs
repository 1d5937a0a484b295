//! Locks of the host's devices, so that two workers on one host never have one device.
//!
//! ```text
//! <folder>/<device>.lock    locked by the worker that has the device; content: that worker's state folder
//! ```
//!
//! The folder is the same for all workers of a user. The system ends a lock with its process. A worker that
//! was stopped has its jobs' containers running, though: a device that its ledger still gives to a job is its
//! own.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, TryLockError},
    io::{self, Read},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use super::{DeviceId, book::noted_holders};

/// Maximum length of a lock's content, in bytes: the longest path.
const MAX_CONTENT_BYTES: u64 = 4_096;

/// Worker that has a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// State folder of the worker; empty if it is not known.
    folder: PathBuf,
    /// True if the worker runs.
    runs: bool,
}

impl Holder {
    /// Describes the use of a device by this worker, for the host's provider.
    pub(super) fn describe(&self, device: &DeviceId) -> String {
        let folder = self.folder.display();
        if self.runs {
            format!("{device} is used by another worker, with the state folder {folder}")
        } else {
            format!(
                "{device} is used by a job of another worker, which is stopped, with the state folder {folder}; start that \
                 worker, or delete `devices.json` there once its containers are gone"
            )
        }
    }
}

/// Locks of one worker.
#[derive(Debug)]
pub(super) struct DeviceLocks {
    /// Folder of the locks; `None` if this host has no place for them.
    folder: Option<PathBuf>,
    /// State folder of this worker.
    owner: PathBuf,
    /// Locks of this worker. A device without a file has none, because it could not be made.
    held: HashMap<DeviceId, Option<File>>,
}

impl DeviceLocks {
    /// Creates the locks of the worker with a state folder; it has none yet.
    pub(super) fn new(folder: Option<&Path>, owner: &Path) -> Self {
        Self {
            folder: folder.map(Path::to_owned),
            owner: whole_path(owner),
            held: HashMap::new(),
        }
    }

    /// Locks a device for this worker, if no other one has it. Where no lock can be made, the device counts
    /// as this worker's, and a line in the log says so.
    pub(super) fn take(&mut self, device: &DeviceId) -> Result<(), Holder> {
        if self.held.contains_key(device) {
            return Ok(());
        }
        let lock = match &self.folder {
            None => None,
            Some(folder) => match lock(folder, &self.owner, device) {
                Ok(Ok(file)) => Some(file),
                Ok(Err(holder)) => return Err(holder),
                Err(error) => {
                    tracing::warn!(
                        %device, %error, folder = %folder.display(),
                        "the GPU cannot be locked; another worker on this host could give it to a job, too"
                    );
                    None
                }
            },
        };
        self.held.insert(device.clone(), lock);
        Ok(())
    }

    /// Ends the locks of all other devices.
    pub(super) fn keep_only(&mut self, devices: &HashSet<DeviceId>) {
        self.held.retain(|device, _| devices.contains(device));
    }
}

/// Returns the worker that has a device, if it is another one than that with the state folder `owner`.
/// Changes nothing.
pub(super) fn holder_elsewhere(folder: &Path, owner: &Path, device: &DeviceId) -> Option<Holder> {
    let owner = whole_path(owner);
    // A device without a lock belongs to no worker.
    let file = File::open(folder.join(file_name(device))).ok()?;
    let runs = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    let last = content(&file).unwrap_or_default();
    if runs {
        return (last != owner).then_some(Holder { folder: last, runs });
    }
    stopped_holder(last, &owner, device)
}

/// Locks a device, or returns the worker that has it.
fn lock(folder: &Path, owner: &Path, device: &DeviceId) -> io::Result<Result<File, Holder>> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(folder.join(file_name(device)))?;
    match file.try_lock() {
        Ok(()) => (),
        Err(TryLockError::WouldBlock) => {
            return Ok(Err(Holder {
                folder: content(&file).unwrap_or_default(),
                runs: true,
            }));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    if let Some(holder) = stopped_holder(content(&file)?, owner, device) {
        return Ok(Err(holder));
    }
    file.set_len(0)?;
    file.write_all_at(owner.as_os_str().as_bytes(), 0)?;
    Ok(Ok(file))
}

/// Returns the last worker with a device, if it is another one and its ledger gives the device to a job.
fn stopped_holder(last: PathBuf, owner: &Path, device: &DeviceId) -> Option<Holder> {
    let is_other = !last.as_os_str().is_empty() && last != owner;
    let has_job = || noted_holders(&last).iter().any(|held| held.id == *device);
    (is_other && has_job()).then(|| Holder {
        folder: last.clone(),
        runs: false,
    })
}

fn content(file: &File) -> io::Result<PathBuf> {
    let mut bytes = Vec::new();
    file.take(MAX_CONTENT_BYTES).read_to_end(&mut bytes)?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// Returns the name of a device's lock. Identities come from drivers, and need not be names of files.
fn file_name(device: &DeviceId) -> String {
    let is_plain = device
        .0
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-:._".contains(&byte));
    if is_plain {
        format!("{device}.lock")
    } else {
        format!("{}.lock", hex::encode(&device.0))
    }
}

fn whole_path(folder: &Path) -> PathBuf {
    fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::{Command, Stdio};

    use super::*;

    fn device(name: &str) -> DeviceId {
        DeviceId(name.into())
    }

    #[test]
    fn device_has_one_worker_until_that_gives_it_back() {
        let host = tempfile::tempdir().unwrap();
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = host.path().join("devices");
        let mut first = DeviceLocks::new(Some(&folder), one.path());
        let mut second = DeviceLocks::new(Some(&folder), other.path());
        for name in ["GPU-1", "0000:3b:00.0", "../odd\n"] {
            let device = device(name);
            assert_eq!(holder_elsewhere(&folder, other.path(), &device), None);
            assert_eq!(first.take(&device), Ok(()));
            assert_eq!(first.take(&device), Ok(()));
            let holder = second.take(&device).unwrap_err();
            assert!(holder.runs);
            assert_eq!(holder.folder, fs::canonicalize(one.path()).unwrap());
            assert!(holder.describe(&device).contains("another worker"));
            assert_eq!(holder_elsewhere(&folder, other.path(), &device), Some(holder));
            assert_eq!(holder_elsewhere(&folder, one.path(), &device), None);
        }
        first.keep_only(&HashSet::from([device("GPU-1")]));
        assert_eq!(second.take(&device("0000:3b:00.0")), Ok(()));
        assert!(second.take(&device("GPU-1")).is_err());
        drop(first);
        assert_eq!(second.take(&device("GPU-1")), Ok(()));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
    }

    #[test]
    fn lock_of_another_process_holds_and_ends_with_it() {
        let host = tempfile::tempdir().unwrap();
        let own = tempfile::tempdir().unwrap();
        let path = host.path().join("GPU-1.lock");
        fs::write(&path, "/var/lib/other").unwrap();
        let mut process = Command::new("flock")
            .arg("--no-fork")
            .arg(&path)
            .args(["sleep", "600"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut locks = DeviceLocks::new(Some(host.path()), own.path());
        let refused = (0..200).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(25));
            let holder = holder_elsewhere(host.path(), own.path(), &device("GPU-1"));
            holder.map(|_| locks.take(&device("GPU-1")).unwrap_err())
        });
        assert_eq!(refused.unwrap().folder, Path::new("/var/lib/other"));
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(locks.take(&device("GPU-1")), Ok(()));
    }

    #[test]
    fn host_without_a_place_for_locks_goes_on_without() {
        let own = tempfile::tempdir().unwrap();
        let file = own.path().join("file");
        fs::write(&file, "no folder").unwrap();
        for folder in [None, Some(file.as_path())] {
            let mut locks = DeviceLocks::new(folder, own.path());
            assert_eq!(locks.take(&device("GPU-1")), Ok(()));
        }
    }
}
