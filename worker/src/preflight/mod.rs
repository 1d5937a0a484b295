//! Checks an image before it is pulled: whether it is for this platform, comes from an allowed address, fits
//! on the disk, and arrives in time.
//!
//! The check reads the registry's own manifest, which is verified by its digest: a registry can misstate the
//! layers' sizes only by making an image that cannot be pulled. The engine then pulls through the worker, by
//! the same client: see [`crate::registry`]. An engine that pulls by itself says from which registries it
//! may.

use assay_client::manifest::{ImageReference, RegistryLogin};

use crate::{
    engine::{ContainerEngine, EngineError},
    image_cache::ImageCache,
    registry::{PrivateRegistries, Registry},
};

/// Bytes on disk for each downloaded byte: the compressed layer, and about twice its size when unpacked.
const DISK_PER_DOWNLOAD: u64 = 3;

/// Free space that must remain on the engine's disk, in bytes: 256 MiB.
const DISK_RESERVE_BYTES: u64 = 256 * 1_024 * 1_024;

/// Reason why an image is not pulled.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The image cannot run here, or not in time; another attempt would fail the same way.
    #[error("{0}")]
    Refused(String),
    /// The image cannot be checked, because the registry does not answer at present.
    #[error("{0}")]
    Unknown(String),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Reason for which an image is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A decision on an order: nothing changes.
    Order,
    /// A pull that follows.
    Pull,
}

/// Checks images. Clones share the connection settings.
#[derive(Clone)]
pub struct Preflight {
    registry: Registry,
    download_mbps: u32,
    images: ImageCache,
}

impl Preflight {
    /// Creates a checker. `download_mbps` is the machine's download rate in Mbit/s. Only these registries may
    /// be at addresses outside the public network.
    pub fn new(private: PrivateRegistries, download_mbps: u32) -> Self {
        Self {
            registry: Registry::new(private),
            download_mbps,
            images: ImageCache::default(),
        }
    }

    /// Returns a checker that shows these credentials to the image's registry and to its token service.
    #[must_use]
    pub fn with_login(&self, login: Option<&RegistryLogin>) -> Self {
        Self {
            registry: self.registry.with_login(login),
            ..self.clone()
        }
    }

    /// Returns a checker that makes room by removing images of this cache.
    #[must_use]
    pub fn with_images(self, images: ImageCache) -> Self {
        Self { images, ..self }
    }

    /// Returns the images that the worker pulled.
    pub fn images(&self) -> &ImageCache {
        &self.images
    }

    /// Checks an image, unless the engine already has it. `within_ms` is the time in which it must arrive, in
    /// milliseconds; `None` if there is no limit. Before a pull, removes cached images if the room is needed.
    pub async fn check<E: ContainerEngine>(
        &self,
        engine: &E,
        image: &ImageReference,
        within_ms: Option<u64>,
        purpose: Purpose,
    ) -> Result<(), PreflightError> {
        if engine.has_image(&image.pull_reference(), image.digest()).await? {
            return Ok(());
        }
        engine.check_registry(image).map_err(|error| {
            if error.is_permanent() {
                PreflightError::Refused(error.to_string())
            } else {
                PreflightError::Engine(error)
            }
        })?;
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
        let free_bytes = engine.disk().await?.map(|disk| disk.free_bytes);
        let Some(free_bytes) = free_bytes.filter(|free_bytes| *free_bytes < disk_bytes) else {
            return Ok(());
        };
        let removable = self.images.removable_bytes(engine).await?;
        if free_bytes.saturating_add(removable) < disk_bytes {
            return Err(PreflightError::Refused(format!(
                "the image {image} needs about {} MiB on the engine's disk, which has {} MiB left",
                disk_bytes.div_ceil(1_024 * 1_024),
                free_bytes / (1_024 * 1_024)
            )));
        }
        if purpose == Purpose::Pull {
            self.images.make_room(engine, disk_bytes).await?;
        }
        Ok(())
    }
}

/// Returns the duration of a download at `mbps` Mbit/s, in milliseconds, rounded up.
fn download_ms(bytes: u64, mbps: u32) -> u64 {
    const BITS_PER_BYTE: u64 = 8;
    // Bits per millisecond of one Mbit/s.
    const BITS_PER_MS: u64 = 1_000;
    bytes
        .saturating_mul(BITS_PER_BYTE)
        .div_ceil(BITS_PER_MS.saturating_mul(mbps.max(1).into()))
}

#[cfg(test)]
mod tests;
