//! The image's root with a writable layer on the job's disk.
//!
//! Engines bound a container's own writable layer by project quotas only, which a job can leave. So the
//! container's root stays read-only, and the worker mounts an overlay of its own: below it the image's layers
//! as the engine keeps them, above it a folder of the job's disk. Folders of this overlay are then mounted
//! over those of the image: with a writable root all top-level ones, otherwise the volumes that the image
//! declares, which so keep their content and their owners.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};

use super::{Disks, JobDisk, LeaseError, LeaseKey, MOUNT, ignore_missing, image_file};
use crate::engine::{BindMount, ImageRoot};

/// Name of the folder at which the overlay is mounted.
pub(super) const MERGED: &str = "root";

/// Name of the folder at which volumes are mounted, by their numbers.
const VOLUMES: &str = "volumes";

/// Name of the overlay's upper folder, with the job's changes.
const UPPER: &str = "upper";

/// Name of the folder in which the overlay prepares files.
const SCRATCH: &str = "scratch";

/// Name of the folder with links to the layers. Their own paths can be longer than a mount's options.
const LINKS: &str = "layers";

/// Maximum number of an image's layers; engines refuse more.
const MAX_LAYERS: usize = 256;

/// Maximum number of top-level folders of an image that are mounted one by one.
const MAX_TOP_FOLDERS: usize = 64;

/// Top-level folders that are never the image's: the kernel's, and scratch in memory.
const NOT_OF_IMAGE: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

/// Folders of the image that a job may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritablePart {
    /// All top-level folders; programs in them may raise their rights.
    Everything,
    /// The volumes that the image declares.
    Volumes,
}

impl Disks {
    /// Mounts the image's root on the lease's disk, which must have been taken; returns the folders of the
    /// writable part as mounts of the container.
    pub async fn mount_root(
        &self,
        key: &LeaseKey,
        image: &ImageRoot,
        part: WritablePart,
    ) -> Result<Vec<BindMount>, LeaseError> {
        let image = image.clone();
        self.do_work(key, move |folder| {
            let mount = folder.join(MOUNT);
            let merged = mount_now(&mount, &image.layers, part)?;
            // Of a writable root too, each volume is a mount of its own: otherwise the engine makes one.
            let volumes = volume_folders(&mount, &image.volumes)?;
            let mut mounts = match part {
                WritablePart::Everything => top_folders(&merged)?,
                WritablePart::Volumes => Vec::new(),
            };
            mounts.extend(
                volumes
                    .into_iter()
                    .filter(|volume| mounts.iter().all(|mount| mount.target != volume.target))
                    .collect::<Vec<_>>(),
            );
            Ok(mounts)
        })
        .await
    }
}

impl JobDisk {
    /// Returns true if the image's layers can be read here, as a writable root needs.
    pub fn can_hold(image: &ImageRoot) -> bool {
        (1..=MAX_LAYERS).contains(&image.layers.len()) && image.layers.iter().all(|layer| layer.is_dir())
    }
}

/// Mounts the overlay, and returns its folder.
fn mount_now(mount: &Path, layers: &[PathBuf], part: WritablePart) -> io::Result<PathBuf> {
    let merged = mount.join(MERGED);
    if image_file::is_mounted(&merged)? {
        return Ok(merged);
    }
    for name in [MERGED, UPPER, SCRATCH, LINKS] {
        let folder = mount.join(name);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => (),
        }
    }
    let mut lower = Vec::with_capacity(layers.len());
    for (number, layer) in layers.iter().enumerate() {
        let link = format!("{LINKS}/{number}");
        ignore_missing(fs::remove_file(mount.join(&link)))?;
        std::os::unix::fs::symlink(layer, mount.join(&link))?;
        lower.push(link);
    }
    let rights = match part {
        WritablePart::Everything => "nodev",
        WritablePart::Volumes => "nodev,nosuid",
    };
    let options = format!(
        "{rights},lowerdir={},upperdir={UPPER},workdir={SCRATCH}",
        lower.join(":")
    );
    // The paths in the options are short because they begin in the disk's folder.
    image_file::run(
        Command::new("mount")
            .current_dir(mount)
            .args(["-t", "overlay", "overlay", "-o", &options, MERGED]),
    )?;
    Ok(merged)
}

/// Returns mounts of all top-level folders of the image.
fn top_folders(merged: &Path) -> io::Result<Vec<BindMount>> {
    let mut mounts = Vec::new();
    for entry in fs::read_dir(merged)? {
        let entry = entry?;
        // A link leads to another folder of the image, or out of it: it stays as it is.
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_plain(name)) else {
            return Err(io::Error::other(format!(
                "the image has a top-level folder {name:?}, which cannot be mounted"
            )));
        };
        if NOT_OF_IMAGE.contains(&name) {
            continue;
        }
        mounts.push(BindMount {
            source: merged.join(name),
            target: format!("/{name}"),
            is_read_only: false,
        });
    }
    if mounts.len() > MAX_TOP_FOLDERS {
        return Err(io::Error::other(format!(
            "the image has {} top-level folders; a writable root has at most {MAX_TOP_FOLDERS}",
            mounts.len()
        )));
    }
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(mounts)
}

/// Returns mounts of the image's volumes, which are created where the image lacks them.
///
/// Each volume is first mounted at a place of its own on the disk. The engine looks its source up at every
/// start of the container, and by then the job may have put links in the way inside of the overlay.
fn volume_folders(mount: &Path, volumes: &[String]) -> io::Result<Vec<BindMount>> {
    let merged = mount.join(MERGED);
    let root = rustix::fs::open(
        &merged,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut mounts: Vec<BindMount> = Vec::new();
    for (number, volume) in volumes.iter().enumerate() {
        let source = mount.join(VOLUMES).join(number.to_string());
        fs::create_dir_all(&source)?;
        if !image_file::is_mounted(&source)? {
            let Some(folder) = ensure_folder(&root, volume)? else {
                continue;
            };
            let open = format!("/proc/self/fd/{}", folder.as_raw_fd());
            let path = fs::read_link(&open)?;
            let first = path
                .strip_prefix(&merged)
                .map_err(|_| io::Error::other(format!("the image's volume {volume} is outside of it")))?
                .iter()
                .next()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            // Through a link of the image it is scratch, or the root itself.
            if first.is_empty() || NOT_OF_IMAGE.contains(&first) {
                continue;
            }
            rustix::mount::mount_bind(&open, &source)?;
        }
        mounts.push(BindMount {
            source,
            target: volume.clone(),
            is_read_only: false,
        });
    }
    Ok(mounts)
}

/// Unmounts every file system that is mounted on a disk.
pub(super) fn unmount_all(mount: &Path) -> io::Result<()> {
    let volumes = match fs::read_dir(mount.join(VOLUMES)) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    for place in volumes.into_iter().chain([mount.join(MERGED)]) {
        image_file::unmount_all(&place)?;
    }
    Ok(())
}

/// Opens a folder by its path inside of a root, and creates missing parts of it; `None` for a dangling link.
/// No link leads out.
fn ensure_folder(root: &OwnedFd, path: &str) -> io::Result<Option<OwnedFd>> {
    let open = |path: &str| {
        rustix::fs::openat2(
            root.as_fd(),
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    };
    let mut folder = open("/")?;
    let mut so_far = String::new();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        so_far = format!("{so_far}/{name}");
        folder = match open(&so_far) {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
                    Err(Errno::EXIST) => return Ok(None),
                    made => made?,
                }
                let new = open(&so_far)?;
                // As the job's own folder: the image's user may write.
                fs::set_permissions(
                    format!("/proc/self/fd/{}", new.as_raw_fd()),
                    std::os::unix::fs::PermissionsExt::from_mode(0o1777),
                )?;
                new
            }
            other => other?,
        };
    }
    Ok(Some(folder))
}

/// Returns true for a name that engines take as part of a mount's path.
fn is_plain(name: &str) -> bool {
    !name.contains([':', ',']) && !name.chars().any(char::is_control)
}
