//! Looks at an image before it is pulled: whether it is for this machine, comes from an address that may be
//! asked, fits on the disk, and can be here in time.
//!
//! What is asked is the registry's own manifest, which is verified by its digest; so a registry can lie about
//! the sizes of the layers only by making an image that cannot be pulled. The engine asks the registry again
//! by itself, and may be led elsewhere then: its own network rules hold for that.

mod registry;

use assay_client::manifest::ImageReference;

pub use registry::{ImageFacts, RegistryError};
use registry::{Platform, Registry};

use crate::{
    attestation::AddressPolicy,
    engine::{ContainerEngine, EngineError},
};

/// Bytes on disk for each byte that is downloaded: the compressed layer, and about twice as much when it is
/// unpacked.
const DISK_PER_DOWNLOAD: u64 = 3;

/// Room that an image must leave on the engine's disk, in bytes: 256 MiB.
const DISK_RESERVE_BYTES: u64 = 256 * 1_024 * 1_024;

/// Why an image is not pulled.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// It cannot be run here, or not in time; asking again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// It is not known: the registry does not answer now.
    #[error("{0}")]
    Unknown(String),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Looks at images. Clones share the connection settings.
#[derive(Clone)]
pub struct Preflight {
    registry: Registry,
    download_mbps: u32,
}

impl Preflight {
    /// `download_mbps` is what the machine's line brings, in Mbit/s. Registries at addresses that are not of
    /// the public network are asked only where `allow_private_registries` says so, for development.
    pub fn new(allow_private_registries: bool, download_mbps: u32) -> Self {
        let policy = if allow_private_registries {
            AddressPolicy::Any
        } else {
            AddressPolicy::Public
        };
        Self {
            registry: Registry::new(policy, Platform::of_this_machine()),
            download_mbps,
        }
    }

    /// Looks at an image, unless the engine has it already. `within_ms` is the time in which it must be here,
    /// in milliseconds; `None` where there is no such time.
    pub async fn check<E: ContainerEngine>(
        &self,
        engine: &E,
        image: &ImageReference,
        within_ms: Option<u64>,
    ) -> Result<(), PreflightError> {
        if engine.has_image(&image.pull_reference(), image.digest()).await? {
            return Ok(());
        }
        let facts = self.registry.describe(image).await.map_err(|error| {
            if error.is_permanent() {
                PreflightError::Refused(error.to_string())
            } else {
                PreflightError::Unknown(error.to_string())
            }
        })?;
        let download_ms = download_ms(facts.download_bytes, self.download_mbps);
        if let Some(within_ms) = within_ms.filter(|within_ms| *within_ms < download_ms) {
            return Err(PreflightError::Refused(format!(
                "the image {image} has {} MiB to download, which takes {} s at `network_config.max_download_mbps`, and the \
                 job must run in {} s",
                facts.download_bytes.div_ceil(1_024 * 1_024),
                download_ms.div_ceil(1_000),
                within_ms / 1_000
            )));
        }
        let disk_bytes = facts
            .download_bytes
            .saturating_mul(DISK_PER_DOWNLOAD)
            .saturating_add(DISK_RESERVE_BYTES);
        if let Some(disk) = engine.disk().await?
            && disk.free_bytes < disk_bytes
        {
            return Err(PreflightError::Refused(format!(
                "the image {image} needs about {} MiB on the engine's disk, which has {} MiB left",
                disk_bytes.div_ceil(1_024 * 1_024),
                disk.free_bytes / (1_024 * 1_024)
            )));
        }
        Ok(())
    }
}

/// Time that a download takes on a line of so many Mbit/s, in milliseconds, rounded up.
fn download_ms(bytes: u64, mbps: u32) -> u64 {
    const BITS_PER_BYTE: u64 = 8;
    // A Mbit/s is so many bits in a millisecond.
    const BITS_PER_MS: u64 = 1_000;
    bytes
        .saturating_mul(BITS_PER_BYTE)
        .div_ceil(BITS_PER_MS.saturating_mul(mbps.max(1).into()))
}

#[cfg(test)]
mod tests;
