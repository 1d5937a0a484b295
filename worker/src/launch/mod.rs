//! Start of sealed jobs: their commands, environments and secrets reach the container without a disk.
//!
//! An engine keeps the command and the environment of a container in files of its own. So those of a sealed
//! manifest are not passed to it. They lie in a folder in memory, one for each job, which is bind-mounted
//! read-only:
//!
//! ```text
//! <run_dir>/<worker>/<job>/   tmpfs of the job: 0700, no set-user-ID programs, no devices, at most 6 MiB
//!     assay/init    ─▶ /run/assay/init     the container's entrypoint, a static program (crate `assay-init`)
//!     assay/launch  ─▶ /run/assay/launch   command and environment
//!     secrets/<name> ─▶ /run/secrets/<name>
//! ```
//!
//! `init` reads the launch, sets the environment and becomes the job's program. The folder is gone after a
//! restart of the host; it is made again from the delivered ciphertext before the container is started again.
//!
//! Inside the container the files are readable by everybody, because an image may run as any user; on the
//! host the folder above them is closed to all but the worker's user. The file system is mounted without swap
//! where the kernel can do that (Linux 6.4), otherwise the host should have no swap or an encrypted one. It
//! may execute programs, since `init` is one; the secrets' files have no right to be executed.
//!
//! The worker and the engine must see the same mounts: a worker in a container of its own, or in a unit with
//! private mounts, cannot run sealed jobs, and declines them when the container does not start.

mod memory;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use assay_client::manifest::JobManifest;
use assay_init::{FOLDER, LAUNCH_NAME, Launch, LaunchError as BadLaunch, PROGRAM_NAME, SECRETS_FOLDER};
use sp_crypto_hashing::blake2_256;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    engine::{BindMount, ImageProcess},
    files::named,
    lease::LeaseKey,
};

/// The static program that starts a sealed job, or any job at an engine without folders of the host.
pub(crate) const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/assay_init_program"));

/// Folder of the worker's run-time files where the worker is root.
const ROOT_RUN_DIR: &str = "/run/assay-worker";

/// Name of the folder with init and launch.
const ASSAY: &str = "assay";

/// Name of the folder with the secrets.
const SECRETS: &str = "secrets";

/// Number of bytes of a hash in the name of a worker's folder.
const NAME_BYTES: usize = 6;

/// Reason why a sealed job's folder in memory cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The system refused.
    #[error("the folder in memory for a sealed job cannot be made: {0}")]
    Io(#[from] io::Error),
    /// The folder would be on a disk.
    #[error(
        "{} is on a disk, and the worker's user may not mount a file system in memory there; run the worker as root, or \
         name a folder of a tmpfs that may execute programs with `assay.run_dir`",
        path.display()
    )]
    OnDisk {
        /// Path of the folder.
        path: PathBuf,
    },
    /// Programs may not be executed there.
    #[error(
        "{} is mounted `noexec`, and the worker's user may not mount a file system of its own there; run the worker as root, \
         or name a folder of another tmpfs with `assay.run_dir`",
        path.display()
    )]
    NotExecutable {
        /// Path of the folder.
        path: PathBuf,
    },
    /// The manifest cannot be run.
    #[error("the job cannot be started: {0}")]
    Launch(#[from] BadLaunch),
    /// A secret is not valid.
    #[error("a secret of the manifest is not valid base64")]
    BadSecret,
}

impl LaunchError {
    /// Returns true if another attempt would fail the same way.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Io(_))
    }
}

/// Makes and removes the folders in memory of sealed jobs.
#[derive(Clone, Debug)]
pub struct Launcher {
    folder: PathBuf,
}

impl Launcher {
    /// Creates a launcher for the worker with this state folder. `run_dir` is the folder that the
    /// configuration names, if it names one.
    ///
    /// The worker's folder is named after the state folder, which one worker has to itself, and not after its
    /// key: a container that outlives a rotation of keys finds its files where they were.
    pub fn new(run_dir: Option<&Path>, state_dir: &Path) -> Self {
        let state_dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
        let hash = blake2_256(state_dir.as_os_str().as_encoded_bytes());
        Self {
            folder: run_dir
                .map_or_else(default_run_dir, Path::to_owned)
                .join(hex::encode(&hash[..NAME_BYTES])),
        }
    }

    /// Checks that folders in memory can be made here, by making one.
    pub fn probe(&self) -> Result<(), LaunchError> {
        let probe = self.folder.join("probe");
        self.make_root()?;
        let made = memory::make(&probe);
        let removed = memory::remove(&probe);
        made?;
        Ok(removed?)
    }

    /// Returns true if a job's folder is whole.
    pub fn is_ready(&self, key: &LeaseKey) -> bool {
        self.folder_of(key).join(ASSAY).join(LAUNCH_NAME).is_file()
    }

    /// Makes a job's folder, and returns its mounts for the container. `lease` are the variables that
    /// override those of image and manifest.
    pub fn write(
        &self,
        key: &LeaseKey,
        manifest: &JobManifest,
        process: &ImageProcess,
        lease: &[String],
    ) -> Result<Vec<BindMount>, LaunchError> {
        let launch = launch_of(manifest, process, lease);
        let bytes = launch.encode().map(Zeroizing::new);
        wipe(launch);
        let bytes = bytes?;

        self.make_root()?;
        let folder = self.folder_of(key);
        memory::make(&folder)?;
        let assay = folder.join(ASSAY);
        make_folder(&assay)?;
        // The launch is written last: where it is, everything is.
        remove_file(&assay.join(LAUNCH_NAME))?;
        write_file(&assay, PROGRAM_NAME, INIT, 0o555)?;
        let secrets = folder.join(SECRETS);
        if !manifest.secrets.is_empty() {
            make_folder(&secrets)?;
        }
        for (name, secret) in &manifest.secrets {
            let content = Zeroizing::new(secret.bytes().ok_or(LaunchError::BadSecret)?);
            write_file(&secrets, name, &content, 0o444)?;
        }
        write_file(&assay, LAUNCH_NAME, &bytes, 0o444)?;
        Ok(self.mounts(key, !manifest.secrets.is_empty()))
    }

    /// Returns the mounts of a job's folder.
    fn mounts(&self, key: &LeaseKey, has_secrets: bool) -> Vec<BindMount> {
        let folder = self.folder_of(key);
        let mount = |name: &str, target: &str| BindMount {
            source: folder.join(name),
            target: target.to_owned(),
            is_read_only: true,
        };
        let secrets = has_secrets.then(|| mount(SECRETS, SECRETS_FOLDER));
        std::iter::once(mount(ASSAY, FOLDER)).chain(secrets).collect()
    }

    /// Removes a job's folder, if there is one.
    pub fn remove(&self, key: &LeaseKey) -> io::Result<()> {
        memory::remove(&self.folder_of(key))
    }

    /// Makes the folder of the worker, which only its user can enter.
    fn make_root(&self) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .and_then(|()| fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700)))
            .map_err(|error| named("create", &self.folder, error))
    }

    fn folder_of(&self, key: &LeaseKey) -> PathBuf {
        self.folder.join(key.to_string())
    }
}

/// Returns the folder of run-time files: of the host for root, otherwise of the user's session.
pub(crate) fn default_run_dir() -> PathBuf {
    // The owner of this entry is the process's effective user.
    let is_root = fs::metadata("/proc/self").is_ok_and(|details| details.uid() == 0);
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !is_root && !folder.is_empty()) {
        Some(folder) => Path::new(&folder).join("assay-worker"),
        None => ROOT_RUN_DIR.into(),
    }
}

/// Returns the job's command and environment, as the engine would make them of image and manifest.
fn launch_of(manifest: &JobManifest, process: &ImageProcess, lease: &[String]) -> Launch {
    let (entrypoint, command) = if manifest.entrypoint.is_empty() {
        let command = if manifest.command.is_empty() {
            &process.command
        } else {
            &manifest.command
        };
        (&process.entrypoint, command)
    } else {
        // An entrypoint of one's own leaves the image's command out.
        (&manifest.entrypoint, &manifest.command)
    };
    let own = manifest
        .env
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    let lease = lease
        .iter()
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    Launch {
        command: entrypoint.iter().chain(command).cloned().collect(),
        environment: own.chain(lease).collect(),
    }
}

fn wipe(mut launch: Launch) {
    launch.command.zeroize();
    for (_, value) in &mut launch.environment {
        value.zeroize();
    }
}

/// Makes a folder that every user of the container can enter.
fn make_folder(path: &Path) -> io::Result<()> {
    let made = match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::set_permissions(path, fs::Permissions::from_mode(0o755)),
    };
    made.map_err(|error| named("create", path, error))
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named("remove", path, error)),
        _ => Ok(()),
    }
}

/// Writes a file whole, in place of one of the same name.
fn write_file(folder: &Path, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
    let (path, unfinished) = (folder.join(name), folder.join(format!(".{name}.new")));
    let write = || {
        let _ = fs::remove_file(&unfinished);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        io::Write::write_all(&mut file, content)?;
        // After the umask.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        fs::rename(&unfinished, &path)
    };
    write().map_err(|error| named("write", &path, error))
}
