//! The file with a disk's file system, and its mounts.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::{fs::FallocateFlags, io::Errno, mount::UnmountFlags};

use crate::files::named;

/// Folders of the programs, for a worker whose environment names none.
const PROGRAM_FOLDERS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Maximum length of a program's complaint that is kept, in bytes.
const MAX_COMPLAINT_BYTES: usize = 512;

/// Returns the name of a file whose file system is not whole yet.
pub(super) fn unfinished(image: &Path) -> PathBuf {
    image.with_extension("new")
}

/// Creates a file of `bytes` bytes with an empty file system. All of its room is reserved, so that the job
/// cannot run out of it before its limit because the host did.
pub(super) fn create(image: &Path, bytes: u64) -> io::Result<()> {
    let new = unfinished(image);
    let make = || {
        let file = fs::File::create(&new)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // A file system that cannot reserve room: the file grows as the job writes.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(bytes)?,
            other => other?,
        }
        run(Command::new("mkfs.ext4")
            // Root gets no reserved blocks, and reserved room is not returned to the host.
            .args(["-q", "-F", "-m", "0", "-E", "nodiscard"])
            .arg(&new))?;
        file.sync_all()?;
        fs::rename(&new, image)
    };
    make().map_err(|error| {
        let _ = fs::remove_file(&new);
        named("make", image, error)
    })
}

/// Mounts the file system of a file.
pub(super) fn mount(image: &Path, at: &Path) -> io::Result<()> {
    run(Command::new("mount")
        .args(["-t", "ext4", "-o", "loop,nosuid,nodev"])
        .arg(image)
        .arg(at))
    .map_err(|error| named("mount", image, error))
}

/// Unmounts the topmost file system at a folder. A loop device of its own ends with its mount.
pub(super) fn unmount(at: &Path) -> io::Result<()> {
    rustix::mount::unmount(at, UnmountFlags::NOFOLLOW).map_err(|error| named("unmount", at, error.into()))
}

/// Unmounts all file systems at a folder: there are several if a worker was killed while a program of it
/// mounted one.
pub(super) fn unmount_all(at: &Path) -> io::Result<()> {
    while is_mounted(at)? {
        unmount(at)?;
    }
    Ok(())
}

/// Returns true if a file system is mounted at a folder; false also if the folder does not exist.
pub(super) fn is_mounted(at: &Path) -> io::Result<bool> {
    let device = |path: &Path| match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found.dev())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named("look at", path, error)),
    };
    let parent = at.parent().unwrap_or(at);
    Ok(match (device(at)?, device(parent)?) {
        (Some(own), Some(outer)) => own != outer,
        _ => false,
    })
}

/// Runs a program to its end; its complaint is the error.
pub(super) fn run(command: &mut Command) -> io::Result<()> {
    let name = command.get_program().to_os_string();
    let folders = match std::env::var_os("PATH") {
        Some(own) => [own.as_os_str(), OsStr::new(PROGRAM_FOLDERS)].join(OsStr::new(":")),
        None => PROGRAM_FOLDERS.into(),
    };
    let ended = command
        .env("PATH", folders)
        .env("LC_ALL", "C")
        // The older call: the newer one takes no option above 256 bytes.
        .env("LIBMOUNT_FORCE_MOUNT2", "always")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", name.display())))?;
    if ended.status.success() {
        return Ok(());
    }
    let length = ended.stderr.len().min(MAX_COMPLAINT_BYTES);
    let complaint = String::from_utf8_lossy(&ended.stderr[..length]);
    let complaint: Vec<_> = complaint.split_whitespace().collect();
    Err(io::Error::other(format!(
        "{} failed ({}): {}",
        name.display(),
        ended.status,
        complaint.join(" ")
    )))
}
