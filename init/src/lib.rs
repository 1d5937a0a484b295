//! Starts a sealed job's program and keeps its command and environment out of the engine's files.
//!
//! An engine writes a container's command and environment to disk. The worker therefore withholds those of a
//! sealed manifest from it: it puts them into a [`Launch`] in a folder in memory, which the container sees as
//! [`FOLDER`], and makes [`PROGRAM`] the container's entrypoint. This program reads the launch, sets the
//! environment and replaces itself by the job's program, which keeps the process number, the working
//! directory, the user and the limits that the engine set.
//!
//! ```text
//! environment = image and engine, then manifest, then lease: later values replace earlier ones
//! program     = first word; without a slash the first executable file of that name in PATH
//! ```
//!
//! Where an engine gives containers no folder of the host (Kubernetes), the program is started with
//! [`ATTACHED`], and the launch comes over its standard input; see [`Frame`]. There it stays the parent of
//! the job's processes, so that nobody has to trust a stream that may lose bytes; see [`watch()`].

mod attach;
mod blake3;
mod devices;
mod folder;
mod launch;
mod program;
mod report;
mod system;
mod watch;

use std::io;

pub use attach::{ATTACHED, Frame, Greeting, MAX_FRAME_BYTES, NOTHING, Orders, greeting_end};
pub use blake3::Blake3;
pub use devices::devices_seen;
pub use folder::{
    FolderItem, MAX_DEPTH, MAX_ENTRIES, MAX_ITEM_BYTES, MAX_PATH_BYTES, MAX_PATHS_BYTES, send_folder,
};
pub use launch::{Launch, LaunchError, MAX_LAUNCH_BYTES};
pub use program::{DEFAULT_PATH, find_program, merged_environment};
pub use report::{KEY_BYTES, MARK_BYTES, MAX_REPORT_BYTES, MarkReader, Report, end_mark};
pub use watch::watch;

/// Folder of the launch in the container.
pub const FOLDER: &str = "/run/assay";

/// This program in the container.
pub const PROGRAM: &str = "/run/assay/init";

/// File of the launch in the container.
pub const LAUNCH: &str = "/run/assay/launch";

/// Name of this program in the folder.
pub const PROGRAM_NAME: &str = "init";

/// Name of the launch in the folder.
pub const LAUNCH_NAME: &str = "launch";

/// Folder of the secrets' files in the container.
pub const SECRETS_FOLDER: &str = "/run/secrets";

/// Closes this process to all others of its user, see [`watch()`]. Before any secret is read.
///
/// # Errors
/// The kernel refuses.
pub fn hide() -> io::Result<()> {
    system::hide()
}

/// Releases the container's first process, which waits for that after its job's end.
///
/// # Errors
/// The kernel refuses.
pub fn release_first() -> io::Result<()> {
    system::release_first()
}

/// Exit code if no launch came over standard input.
pub const NO_LAUNCH: u8 = 125;

/// Exit code if the job's program cannot be executed, as in shells.
pub const CANNOT_EXECUTE: u8 = 126;

/// Exit code if there is no such program, as in shells.
pub const NOT_FOUND: u8 = 127;
