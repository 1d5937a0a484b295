//! Output folder of a job: bounds, and the layout of its root hash, on which workers and clients agree.
//!
//! # Root hash
//!
//! BLAKE3 of these bytes, integers little-endian, entries in the order of their paths' bytes:
//!
//! | bytes | content |
//! |---|---|
//! | 15 | [`ROOT_CONTEXT`] |
//! | 8 | number of entries |
//!
//! and for each entry:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | 0 for a file, 1 for a symbolic link |
//! | 4 | length of the path |
//! | … | the path below the folder, its names joined by `/` |
//! | 4 | permission bits, `mode & 0o777`; zero for a link |
//! | 8 | size of the content |
//! | 32 | BLAKE3 of the content, which is the target for a link |
//!
//! Folders have no entries of their own, so empty ones leave no trace. Sockets, pipes and devices are skipped
//! and counted. Owners and times are no part of it: two honest machines must agree.

/// Domain separator of the root hash.
pub const ROOT_CONTEXT: &[u8; 15] = b"assay/output/v1";

/// Maximum number of entries of an output folder, folders included. The listing of a folder stays in memory.
pub const MAX_ENTRIES: usize = 65_536;

/// Maximum number of folders above an entry.
pub const MAX_DEPTH: usize = 64;

/// Maximum length of a path or of a link's target, in bytes.
pub const MAX_PATH_BYTES: usize = 4_096;

/// Maximum number of bytes of all paths and targets of links together.
pub const MAX_PATHS_BYTES: usize = 16 * 1_024 * 1_024;
