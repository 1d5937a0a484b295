//! Errors of manifests.

use super::{ImageError, MAX_PATH_BYTES, MAX_PORT_NAME_BYTES};

/// Reason why a manifest is not valid.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The manifest is too long.
    #[error(
        "the manifest has {length_bytes} bytes and may have {max_bytes}; move long environment values or commands into \
         the image"
    )]
    TooLarge {
        /// Its length.
        length_bytes: usize,
        /// Maximum length.
        max_bytes: usize,
    },
    /// The JSON is invalid, has an unknown key, or a value of another type.
    #[error(
        "the manifest is not valid: {reason}; it needs image, and may have version, entrypoint, command, env, secrets, \
         registry, network, ports, work_dir, output, writable_root, shm_mib, profile, runtime, delegates and capture_stdout"
    )]
    NotValid {
        /// Error of the parser.
        reason: String,
    },
    /// The version is unknown.
    #[error("the manifest has version {version}, and this program knows version 1 only")]
    OtherVersion {
        /// The version.
        version: u32,
    },
    /// The image reference is wrong.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A name of the environment is wrong.
    #[error(
        "{name:?} is no name of an environment variable: it must not be empty nor contain `=` or a NUL byte"
    )]
    BadVariable {
        /// The name.
        name: String,
    },
    /// A value of the environment, or a part of the command, has a NUL byte.
    #[error("{place} contains a NUL byte, which no process can be given; remove it")]
    NulByte {
        /// Its place.
        place: String,
    },
    /// A public manifest has a secret.
    #[error(
        "a public manifest can be read by anybody and must not have `{key}`; seal the manifest to the machine"
    )]
    Exposed {
        /// Key of the secret.
        key: &'static str,
    },
    /// A list is too long.
    #[error("`{key}` has {length} entries; allowed: at most {maximum}")]
    TooMany {
        /// Key of the list.
        key: &'static str,
        /// Number of entries.
        length: usize,
        /// Maximum number of entries.
        maximum: usize,
    },
    /// A port is zero, or its name is wrong.
    #[error(
        "the port {name:?} is not valid: a number from 1 to 65535, and a name of 1 to {MAX_PORT_NAME_BYTES} of a-z, 0-9 \
         and inner -"
    )]
    BadPort {
        /// Name of the port.
        name: String,
    },
    /// Two ports have one name or one number.
    #[error("the port {name:?} is there twice; names, and numbers per protocol, must differ")]
    RepeatedPort {
        /// Name of the port.
        name: String,
    },
    /// A path is not absolute and plain.
    #[error(
        "`{key}` is {path:?}; allowed: an absolute path of at most {MAX_PATH_BYTES} bytes below /, without `.`, `..`, `:`, \
         `,` and empty components"
    )]
    BadPath {
        /// Key of the path.
        key: &'static str,
        /// The path.
        path: String,
    },
    /// The disk would hide a folder that every container needs.
    #[error(
        "`work_dir` is {path:?}, which belongs to the system; choose a path outside /dev, /proc, /sys and /run"
    )]
    ReservedPath {
        /// The path.
        path: String,
    },
    /// The output folder is not on the lease's disk.
    #[error("`output` is {path:?}, which is not below `work_dir`, {work_dir:?}; only that is kept")]
    OutputElsewhere {
        /// The path.
        path: String,
        /// Path of the disk.
        work_dir: String,
    },
    /// A name of a secret is no file name.
    #[error("the secret {name:?} cannot be a file: its name has 1 to 64 letters, digits, `.`, `_` and `-`")]
    BadSecretName {
        /// The name.
        name: String,
    },
    /// A secret is invalid base64.
    #[error("the secret {name:?} is not valid base64; write it as standard base64 with padding")]
    BadSecret {
        /// The name.
        name: String,
    },
    /// A name of a runtime is wrong.
    #[error("the runtime {name:?} is no name of one, such as runsc or kata")]
    BadRuntime {
        /// The name.
        name: String,
    },
}
