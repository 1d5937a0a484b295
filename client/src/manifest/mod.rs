//! The manifest of a job: the settings of its container and of the lease around it.
//!
//! A manifest is UTF-8 JSON. A *public* one is noted on chain as a preimage by the consumer; a *sealed* one
//! is encrypted to each machine and delivered to its worker.
//!
//! ```json
//! {"version":1,"image":"localhost:5000/hello@sha256:<64 hex
//! digits>","command":["/hello"],"env":{"NAME":"you"},
//! "network":{"allow":["example.org:443"]},"ports":[{"port":8080,"protocol":"http","name":"web"}],
//! "work_dir":"/work","shm_mib":1024,"profile":"interactive","capture_stdout":false}
//! ```
//!
//! The chain does not read it; the worker does, and refuses an image other than the one whose digest the
//! order names.
//!
//! A container may be started more than once: when a service's ended, and when the engine lost it before it
//! ended. Each start is one from the beginning, so what a task does to the world outside must be safe to do
//! twice.

mod error;
mod image;
mod lease;
#[cfg(test)]
mod tests;
mod wipe;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use error::ManifestError;
pub use image::{ImageError, ImageName, ImageReference};
use lease::is_plain_path;
pub use lease::{
    DEFAULT_WORK_DIR, Destination, DestinationError, DestinationHost, MAX_DELEGATES, MAX_DESTINATIONS,
    MAX_PATH_BYTES, MAX_PORT_NAME_BYTES, MAX_PORTS, MAX_SECRETS, NetworkAccess, PortProtocol, Profile,
    PublishPort, RegistryLogin, Secret, SecretBytes,
};
pub use wipe::OpenedManifest;

use crate::types::AccountId;

/// Maximum length of a public manifest, in bytes; the chain takes none that is longer.
pub const MAX_MANIFEST_BYTES: usize = assay_primitives::job::MAX_MANIFEST_BYTES as usize;

/// Maximum length of a sealed manifest before it is sealed, in bytes. It never reaches the chain.
pub const MAX_SEALED_MANIFEST_BYTES: usize = assay_primitives::delivery::MAX_SEALED_MANIFEST_BYTES;

/// The only version of the format.
pub const MANIFEST_VERSION: u32 = 1;

/// Settings of a job's container, and its wishes on the lease.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobManifest {
    /// Version of the format: [`MANIFEST_VERSION`], which is also the default.
    #[serde(default = "version")]
    pub version: u32,
    /// The image.
    pub image: ImageReference,
    /// Entrypoint; empty: the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Command and arguments; empty: the image's, or none if the manifest has an entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Environment variables, added to those of the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Files of `/run/secrets` by name, readable by the container's user. Sealed manifests only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
    /// Credentials for the registry of the image. Sealed manifests only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryLogin>,
    /// Network access.
    #[serde(default)]
    pub network: NetworkAccess,
    /// Ports of the container that the worker publishes, at most [`MAX_PORTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PublishPort>,
    /// Path at which the lease's disk is mounted. Default: [`DEFAULT_WORK_DIR`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_dir: Option<String>,
    /// Path of the folder whose content is part of a task's result, on the lease's disk. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Makes the root writable, within the limit of the lease's disk. Always so with the profile
    /// `interactive`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub writable_root: bool,
    /// Size of `/dev/shm` in MiB, at most half of the job's memory. Default: 64, as in engines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_mib: Option<u32>,
    /// Rights of the container.
    #[serde(default, skip_serializing_if = "Profile::is_default")]
    pub profile: Profile,
    /// Name of a stronger runtime that must run the container: one of those in the worker's status, such as
    /// `runsc` or `kata`. A machine without it declines. Default: the engine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Accounts that may act for the consumer towards the worker: read logs, open a shell, fetch artifacts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegates: Vec<AccountId>,
    /// Makes a task's standard output part of its result, byte for byte as it was written; says nothing
    /// to a service.
    ///
    /// Default: true, since a task that shows its answer there would otherwise have the same result whatever
    /// the answer is. It has a price: a run of which the worker did not see every byte, as when it was
    /// restarted meanwhile, is repeated. Tasks whose standard output differs from run to run, or that only
    /// log there, say false.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub capture_stdout: bool,
}

fn version() -> u32 {
    MANIFEST_VERSION
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_false(value: &bool) -> bool {
    !*value
}

impl JobManifest {
    /// Creates a manifest of the image as it is, without network.
    pub fn new(image: ImageReference) -> Self {
        Self {
            version: MANIFEST_VERSION,
            image,
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
            registry: None,
            network: NetworkAccess::Off,
            ports: Vec::new(),
            work_dir: None,
            output: None,
            writable_root: false,
            shm_mib: None,
            profile: Profile::Batch,
            runtime: None,
            delegates: Vec::new(),
            capture_stdout: true,
        }
    }

    /// Reads a public manifest, as it is on chain.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest = Self::read(bytes, MAX_MANIFEST_BYTES)?;
        manifest.check_public()?;
        Ok(manifest)
    }

    /// Reads a manifest that was sealed, from the bytes in the seal.
    pub fn from_sealed_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::read(bytes, MAX_SEALED_MANIFEST_BYTES)
    }

    /// Writes a public manifest, as it is noted on chain.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        self.check_public()?;
        self.write(MAX_MANIFEST_BYTES)
    }

    /// Writes the bytes that are sealed.
    pub fn to_sealed_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        self.write(MAX_SEALED_MANIFEST_BYTES)
    }

    /// Returns the path at which the lease's disk is mounted.
    pub fn work_dir(&self) -> &str {
        self.work_dir.as_deref().unwrap_or(DEFAULT_WORK_DIR)
    }

    fn read(bytes: &[u8], max_bytes: usize) -> Result<Self, ManifestError> {
        check_length(bytes, max_bytes)?;
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| ManifestError::NotValid {
            reason: error.to_string(),
        })?;
        manifest.check()?;
        Ok(manifest)
    }

    fn write(&self, max_bytes: usize) -> Result<Vec<u8>, ManifestError> {
        self.check()?;
        let bytes = serde_json::to_vec(self).map_err(|error| ManifestError::NotValid {
            reason: error.to_string(),
        })?;
        check_length(&bytes, max_bytes)?;
        Ok(bytes)
    }

    fn check_public(&self) -> Result<(), ManifestError> {
        if !self.secrets.is_empty() {
            return Err(ManifestError::Exposed { key: "secrets" });
        }
        if self.registry.is_some() {
            return Err(ManifestError::Exposed { key: "registry" });
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.version != MANIFEST_VERSION {
            return Err(ManifestError::OtherVersion {
                version: self.version,
            });
        }
        self.check_process()?;
        self.check_ports()?;
        self.check_paths()?;
        for name in self.secrets.keys() {
            if !is_file_name(name) {
                return Err(ManifestError::BadSecretName { name: name.clone() });
            }
        }
        if let Some((name, _)) = self.secrets.iter().find(|(_, secret)| secret.bytes().is_none()) {
            return Err(ManifestError::BadSecret { name: name.clone() });
        }
        if let Some(name) = self.runtime.as_ref().filter(|name| !is_label(name)) {
            return Err(ManifestError::BadRuntime { name: name.clone() });
        }
        let allowed = match &self.network {
            NetworkAccess::Allow(list) => list.len(),
            NetworkAccess::Off | NetworkAccess::On => 0,
        };
        for (key, length, maximum) in [
            ("ports", self.ports.len(), MAX_PORTS),
            ("network.allow", allowed, MAX_DESTINATIONS),
            ("secrets", self.secrets.len(), MAX_SECRETS),
            ("delegates", self.delegates.len(), MAX_DELEGATES),
        ] {
            if length > maximum {
                return Err(ManifestError::TooMany { key, length, maximum });
            }
        }
        Ok(())
    }

    fn check_process(&self) -> Result<(), ManifestError> {
        if let Some(name) = self
            .env
            .keys()
            .find(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            return Err(ManifestError::BadVariable { name: name.clone() });
        }
        let nul = |place: String| Err(ManifestError::NulByte { place });
        if let Some((name, _)) = self.env.iter().find(|(_, value)| value.contains('\0')) {
            return nul(format!("the environment variable {name}"));
        }
        for (what, words) in [("command", &self.command), ("entrypoint", &self.entrypoint)] {
            if let Some(index) = words.iter().position(|part| part.contains('\0')) {
                return nul(format!("part {} of the {what}", index + 1));
            }
        }
        Ok(())
    }

    fn check_ports(&self) -> Result<(), ManifestError> {
        let mut names = BTreeSet::new();
        let mut numbers = BTreeSet::new();
        for port in &self.ports {
            let name = port.name();
            if port.port == 0 || !is_label(&name) {
                return Err(ManifestError::BadPort { name });
            }
            // HTTP comes over TCP.
            let is_udp = port.protocol == PortProtocol::Udp;
            if !names.insert(name.clone()) || !numbers.insert((is_udp, port.port)) {
                return Err(ManifestError::RepeatedPort { name });
            }
        }
        Ok(())
    }

    fn check_paths(&self) -> Result<(), ManifestError> {
        for (key, path) in [("work_dir", &self.work_dir), ("output", &self.output)] {
            if let Some(path) = path.as_ref().filter(|path| !is_plain_path(path)) {
                return Err(ManifestError::BadPath {
                    key,
                    path: path.clone(),
                });
            }
        }
        let work_dir = self.work_dir();
        let reserved = ["/dev", "/proc", "/sys", "/run"];
        if reserved.iter().any(|path| is_below(work_dir, path)) {
            return Err(ManifestError::ReservedPath {
                path: work_dir.to_owned(),
            });
        }
        if let Some(output) = self.output.as_ref().filter(|path| !is_below(path, work_dir)) {
            return Err(ManifestError::OutputElsewhere {
                path: output.clone(),
                work_dir: work_dir.to_owned(),
            });
        }
        Ok(())
    }
}

/// Returns true if a plain path is `folder` or below it.
fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns true for 1 to [`MAX_PORT_NAME_BYTES`] of `a`–`z`, `0`–`9` and inner `-`.
fn is_label(text: &str) -> bool {
    (1..=MAX_PORT_NAME_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Returns true for a name of a file that needs no quoting anywhere.
fn is_file_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !matches!(text, "." | "..")
}

fn check_length(bytes: &[u8], max_bytes: usize) -> Result<(), ManifestError> {
    if bytes.len() > max_bytes {
        return Err(ManifestError::TooLarge {
            length_bytes: bytes.len(),
            max_bytes,
        });
    }
    Ok(())
}
