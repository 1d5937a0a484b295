//! Distinguishes Podman from Docker, where its version of Docker's interface differs.

use bollard::models::SystemVersion;

use super::{DockerEngine, EngineError};

/// Name of Podman among the components of its version.
pub(super) const PODMAN: &str = "Podman Engine";

/// Returns true for the version of a Podman.
pub(super) fn is_podman(version: &SystemVersion) -> bool {
    let components = version.components.as_deref().unwrap_or_default();
    components.iter().any(|component| component.name == PODMAN)
}

impl DockerEngine {
    /// Returns true if the engine is a Podman.
    pub(super) async fn is_podman(&self) -> Result<bool, EngineError> {
        let version = self
            .call("tell its version", |docker| async move { docker.version().await })
            .await?;
        Ok(is_podman(&version))
    }
}
