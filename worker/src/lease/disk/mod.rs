//! Disks of jobs: a folder with a hard limit for each lease.
//!
//! A disk is a file with an ext4 file system, which the kernel mounts through a loop device. Nothing that a
//! job does to it can take more of the host than the file, whose room is reserved when it is made.
//!
//! ```text
//! <disk_dir>/<job>-<fingerprint>/      one folder for each lease; only root enters it
//!   image                              the file; it gets this name when its file system is whole
//!   mnt/                               where it is mounted
//!     data/                            the job's folder: `work_dir` of the manifest
//!     root/                            the image's root, mounted writable (see [`root`])
//! <disk_dir>/outputs/                  outputs that stay after their disks (see [`kept`])
//! ```
//!
//! The folders are the table: a lease has a disk if its folder is there. Each step of making and removing one
//! can be cut off anywhere and done again.
//!
//! Project quotas of XFS and ext4, and the engines' `size` option that is built on them, are not used:
//! outside a user namespace the owner of a file may move it to another project by one ioctl, and so out of
//! the limit.

mod image_file;
pub mod kept;
pub mod root;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{LeaseError, LeaseKey};
use crate::{config::Config, engine::EngineEndpoint, files::named};

/// Name of the file with a disk's file system.
const IMAGE: &str = "image";

/// Name of the folder at which a disk is mounted.
const MOUNT: &str = "mnt";

/// Name of the job's folder on its disk.
const DATA: &str = "data";

/// Name of the folder in which the host is tried out.
const PROBE: &str = ".probe";

/// Name of the file that keeps a second worker out of the folder.
const LOCK: &str = ".lock";

/// Size of the disk that tries the host out, in MiB.
const PROBE_MIB: u64 = 8;

/// Minimum size of a disk, in MiB: a smaller file system has hardly any room besides its own records.
pub const MIN_DISK_MIB: u64 = 16;

/// Number of bytes in a MiB.
const MIB: u64 = 1024 * 1024;

/// Kind of limit that holds a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskMethod {
    /// An ext4 file system in a file, through a loop device.
    LoopExt4,
}

impl std::fmt::Display for DiskMethod {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::LoopExt4 => "ext4 in a file, through a loop device",
        })
    }
}

/// Settings of a machine's disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSettings {
    /// Folder of the disks.
    pub folder: PathBuf,
    /// Size of one slot's disk, in MiB.
    pub mib_per_slot: u64,
    /// Number of slots.
    pub slots: u8,
    /// Maximum number of bytes of all kept outputs together, besides the disks.
    pub kept_output_bytes: u64,
}

impl DiskSettings {
    /// Returns the settings of a configured machine, or the reason why its jobs cannot have disks.
    pub fn of(config: &Config) -> Result<Self, String> {
        if config.assay.kubernetes.is_some() {
            return Err("a cluster makes the jobs' disks by itself".to_owned());
        }
        let endpoint = EngineEndpoint::resolve(config.assay.engine.as_deref());
        if !matches!(endpoint, EngineEndpoint::Socket(_)) {
            return Err(format!(
                "the engine at {endpoint} may be on another host, where the worker's folders are not"
            ));
        }
        let mib_per_slot = u64::from(config.resources.disk_gib) * 1_024 / u64::from(config.slots().max(1));
        if mib_per_slot < MIN_DISK_MIB {
            return Err(format!(
                "`shared_resources.storage_gb` gives each slot {mib_per_slot} MiB, and a disk has at least \
                 {MIN_DISK_MIB}"
            ));
        }
        Ok(Self {
            folder: config.assay.storage.disk_dir.clone(),
            mib_per_slot,
            slots: config.slots(),
            kept_output_bytes: config.assay.storage.kept_output_bytes(config.resources.disk_gib),
        })
    }
}

/// Disks of a machine's jobs. Clones share them.
#[derive(Clone, Debug)]
pub struct Disks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: DiskSettings,
    /// Held while a disk is made or removed.
    work: Mutex<()>,
    /// Held while an output is kept.
    keeping: Mutex<()>,
    /// Held open: a worker that finds another one's disks would remove them.
    _lock: fs::File,
}

/// Disk of one lease, mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDisk {
    /// Folder at which it is mounted.
    mount: PathBuf,
}

impl JobDisk {
    /// Returns the job's folder. It exists on the disk only: without the mount there is no folder at this
    /// path that has no limit.
    pub fn data(&self) -> PathBuf {
        self.mount.join(DATA)
    }
}

impl Disks {
    /// Tries the host out with a small disk, and creates the folder of the disks if it is missing.
    ///
    /// # Errors
    /// The reason why the host can hold no disk to a limit, with the remedy.
    pub fn open(settings: DiskSettings) -> Result<Self, String> {
        let folder = &settings.folder;
        let prepare = || {
            create_private(folder)?;
            let folder = fs::canonicalize(folder)?;
            let lock = fs::File::create(folder.join(LOCK))?;
            Ok((folder, lock))
        };
        let (folder, lock) = prepare().map_err(|error| named("create", folder, error).to_string())?;
        if let Err(error) = lock.try_lock() {
            return Err(format!(
                "the folder {} cannot be locked ({error}): a worker that runs has it, or give this one its own \
                 `assay.disk_dir`",
                folder.display()
            ));
        }
        let disks = Self(Arc::new(Shared {
            settings: DiskSettings { folder, ..settings },
            work: Mutex::new(()),
            keeping: Mutex::new(()),
            _lock: lock,
        }));
        disks.remove_unfinished().map_err(|error| error.to_string())?;
        disks.try_out().map_err(|error| {
            format!(
                "a file system in a file cannot be mounted here: {error}; run the worker as root on a host with loop \
                 devices, ext4, and the programs mkfs.ext4 (package e2fsprogs) and mount"
            )
        })?;
        Ok(disks)
    }

    /// Returns the kind of limit.
    pub fn method(&self) -> DiskMethod {
        DiskMethod::LoopExt4
    }

    /// Returns the folder of the disks.
    pub fn folder(&self) -> &Path {
        &self.0.settings.folder
    }

    /// Returns the room that is neither free nor reserved for a disk although the configuration promises it,
    /// in MiB, for `slots` slots in all.
    pub fn lacking_mib(&self, slots: u8) -> io::Result<u64> {
        let there_is = self.free_bytes()?.saturating_add(self.reserved_bytes()?);
        let promised = self.0.settings.mib_per_slot.saturating_mul(slots.into());
        Ok(promised.saturating_sub(there_is / MIB))
    }

    /// Returns the free room of the folder's file system, in bytes.
    fn free_bytes(&self) -> io::Result<u64> {
        let room = rustix::fs::statvfs(self.folder())?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }

    /// Returns the room that the disks have taken, in bytes.
    fn reserved_bytes(&self) -> io::Result<u64> {
        let mut reserved = 0u64;
        for key in self.keys()? {
            if let Ok(image) = fs::metadata(self.folder_of(&key).join(IMAGE)) {
                reserved = reserved.saturating_add(image.blocks().saturating_mul(512));
            }
        }
        Ok(reserved)
    }

    /// Returns the leases that have a disk, or the rest of one.
    pub fn keys(&self) -> io::Result<Vec<LeaseKey>> {
        let mut keys = Vec::new();
        for entry in fs::read_dir(self.folder()).map_err(|error| named("read", self.folder(), error))? {
            keys.extend(entry?.file_name().to_str().and_then(key_of_name));
        }
        keys.sort();
        Ok(keys)
    }

    /// Makes the disk of a lease and mounts it, or returns the one that it has.
    pub async fn take(&self, key: &LeaseKey, slots: u8) -> Result<JobDisk, LeaseError> {
        let bytes = self
            .0
            .settings
            .mib_per_slot
            .saturating_mul(u64::from(slots.max(1)))
            .saturating_mul(MIB);
        let disks = self.clone();
        self.do_work(key, move |folder| {
            if !folder.join(IMAGE).exists() {
                disks.make_way(bytes)?;
            }
            take_now(folder, Some(bytes))
        })
        .await
    }

    /// Mounts the disk that a lease has.
    ///
    /// # Errors
    /// Also if it has none.
    pub async fn mounted(&self, key: &LeaseKey) -> Result<JobDisk, LeaseError> {
        self.do_work(key, |folder| take_now(folder, None)).await
    }

    /// Returns the folder that a job has on its disk, if the disk is mounted.
    pub fn data_if_mounted(&self, key: &LeaseKey) -> Option<PathBuf> {
        let disk = JobDisk {
            mount: self.folder_of(key).join(MOUNT),
        };
        Some(disk.data()).filter(|data| data.is_dir())
    }

    /// Removes the disk of a lease with its content. Succeeds if it has none.
    pub async fn release(&self, key: &LeaseKey) -> Result<(), LeaseError> {
        self.do_work(key, release_now).await
    }

    /// Does blocking work on a lease's folder, with no other such work meanwhile.
    pub(super) async fn do_work<T: Send + 'static>(
        &self,
        key: &LeaseKey,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, LeaseError> {
        if key_of_name(&key.to_string()).as_ref() != Some(key) {
            return Err(LeaseError::Refused(format!("{key} cannot name a folder")));
        }
        let (disks, folder) = (self.clone(), self.folder_of(key));
        let worked = tokio::task::spawn_blocking(move || {
            let _guard = disks.0.work.lock().unwrap_or_else(PoisonError::into_inner);
            work(&folder)
        });
        match worked.await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(LeaseError::Failed(format!("the job's disk: {error}"))),
            Err(error) => Err(LeaseError::Failed(format!("the job's disk: {error}"))),
        }
    }

    fn folder_of(&self, key: &LeaseKey) -> PathBuf {
        self.folder().join(key.to_string())
    }

    fn try_out(&self) -> io::Result<()> {
        let folder = self.folder().join(PROBE);
        release_now(&folder)?;
        let tried = take_now(&folder, Some(PROBE_MIB * MIB))
            .and_then(|disk| fs::write(disk.data().join("file"), "probe"));
        let released = release_now(&folder);
        tried.and(released)
    }
}

/// Returns the lease of a folder's name; `None` for a name that no lease has.
pub(super) fn key_of_name(name: &str) -> Option<LeaseKey> {
    let (job, fingerprint) = name.split_once('-')?;
    let is_plain = !fingerprint.is_empty()
        && fingerprint.len() <= 128
        && fingerprint
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let key = LeaseKey {
        job: job.parse().ok()?,
        fingerprint: fingerprint.to_owned(),
    };
    (is_plain && key.to_string() == name).then_some(key)
}

/// Makes a disk of `bytes` bytes as far as it is missing, and mounts it; without a size, only mounts it.
fn take_now(folder: &Path, bytes: Option<u64>) -> io::Result<JobDisk> {
    let (image, mount) = (folder.join(IMAGE), folder.join(MOUNT));
    if let Some(bytes) = bytes {
        create_private(folder)?;
        create_private(&mount)?;
        if !image.exists() {
            image_file::create(&image, bytes)?;
        }
    }
    if !image.exists() {
        return Err(named("open", &image, io::ErrorKind::NotFound.into()));
    }
    if !image_file::is_mounted(&mount)? {
        image_file::mount(&image, &mount)?;
    }
    let data = mount.join(DATA);
    if !data.exists() {
        fs::create_dir(&data)?;
        // Any user that the image runs as may write here, as in /tmp.
        fs::set_permissions(&data, fs::Permissions::from_mode(0o1777))?;
    }
    Ok(JobDisk { mount })
}

/// Unmounts and removes a disk.
fn release_now(folder: &Path) -> io::Result<()> {
    let mount = folder.join(MOUNT);
    root::unmount_all(&mount)?;
    image_file::unmount_all(&mount)?;
    // Not recursively: a folder that is still mounted is never emptied.
    for file in [image_file::unfinished(&folder.join(IMAGE)), folder.join(IMAGE)] {
        ignore_missing(fs::remove_file(&file)).map_err(|error| named("remove", &file, error))?;
    }
    for place in [mount.as_path(), folder] {
        ignore_missing(fs::remove_dir(place)).map_err(|error| named("remove", place, error))?;
    }
    Ok(())
}

fn ignore_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Creates a folder that only its owner enters, with its parents.
fn create_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
