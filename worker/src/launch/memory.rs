//! Folders that are in memory: a tmpfs of their own, or a folder of one where the worker may not mount.

use std::{fs, io, os::unix::fs::DirBuilderExt, os::unix::fs::MetadataExt, path::Path};

use rustix::{
    fs::{StatVfsMountFlags, statfs, statvfs},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use super::LaunchError;
use crate::files::{named, remove_folder};

/// Options of a job's file system: room for init, a launch and the secrets of a manifest, and no more files
/// than these. Linux refuses `noswap` before 6.4.
const OPTIONS: [&std::ffi::CStr; 2] = [
    c"size=6m,nr_inodes=256,mode=0700,noswap",
    c"size=6m,nr_inodes=256,mode=0700",
];

/// `f_type` of a tmpfs.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Makes a folder in memory, or leaves the one that is there.
pub(super) fn make(path: &Path) -> Result<(), LaunchError> {
    let create = || match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created,
    };
    create().map_err(|error| named("create", path, error))?;
    if is_mounted(path).map_err(|error| named("read", path, error))? {
        return Ok(());
    }
    match mount_tmpfs(path) {
        Ok(()) => Ok(()),
        Err(Errno::PERM | Errno::ACCESS) => check_unmounted(path),
        Err(error) => Err(named("mount a tmpfs on", path, error.into()).into()),
    }
}

fn mount_tmpfs(path: &Path) -> Result<(), Errno> {
    let mut outcome = Ok(());
    for options in OPTIONS {
        outcome = mount(
            "assay-worker",
            path,
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            options,
        );
        if outcome != Err(Errno::INVAL) {
            break;
        }
    }
    outcome
}

/// Checks a folder that has no file system of its own.
fn check_unmounted(path: &Path) -> Result<(), LaunchError> {
    let of_system = |error: Errno| named("read", path, error.into());
    if u64::try_from(statfs(path).map_err(of_system)?.f_type) != Ok(TMPFS_MAGIC) {
        return Err(LaunchError::OnDisk {
            path: path.to_owned(),
        });
    }
    let flags = statvfs(path).map_err(of_system)?.f_flag;
    if flags.contains(StatVfsMountFlags::NOEXEC) {
        return Err(LaunchError::NotExecutable {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Removes a folder in memory with its content; succeeds if it does not exist.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match is_mounted(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(named("read", path, error)),
        Ok(false) => (),
        // A container that still has it keeps it until its end.
        Ok(true) => {
            unmount(path, UnmountFlags::DETACH).map_err(|error| named("unmount", path, error.into()))?
        }
    }
    remove_folder(path)
}

/// Returns true if a file system is mounted on a folder.
fn is_mounted(path: &Path) -> io::Result<bool> {
    let parent = path.parent().unwrap_or(path);
    Ok(fs::metadata(path)?.dev() != fs::metadata(parent)?.dev())
}
