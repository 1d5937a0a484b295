//! Distinguishes Podman from Docker, where its version of Docker's interface differs.

use std::{os::unix::fs::MetadataExt, sync::PoisonError};

use bollard::models::SystemVersion;

use super::{DockerEngine, EngineEndpoint, EngineError};

/// Name of Podman among the components of its version.
pub(super) const PODMAN: &str = "Podman Engine";

/// Returns true for the version of a Podman.
pub(super) fn is_podman(version: &SystemVersion) -> bool {
    let components = version.components.as_deref().unwrap_or_default();
    components.iter().any(|component| component.name == PODMAN)
}

/// Kind of the engine that answered last, and the place at which it did.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownKind {
    place: Place,
    is_podman: bool,
}

/// Identity of the place at which an engine answers. An engine that is started makes its socket anew, so an
/// answer from another place may be of another engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// File of a socket.
    Socket {
        device: u64,
        inode: u64,
        /// Time of the file's last change: seconds and nanoseconds.
        changed: (i64, i64),
    },
    /// Address in the network, which shows nothing of a restart: a connection that broke does.
    Network,
}

impl Place {
    /// Returns the place behind an endpoint; `None` if there is no socket, and so no engine.
    pub(super) fn of(endpoint: &EngineEndpoint) -> Option<Self> {
        match endpoint {
            EngineEndpoint::Http(_) => Some(Self::Network),
            EngineEndpoint::Socket(path) => {
                let file = std::fs::metadata(path).ok()?;
                Some(Self::Socket {
                    device: file.dev(),
                    inode: file.ino(),
                    changed: (file.ctime(), file.ctime_nsec()),
                })
            }
        }
    }
}

impl DockerEngine {
    /// Returns true if the engine is a Podman.
    ///
    /// The engine is asked once, and again after it was unreachable or made its socket anew.
    pub(super) async fn is_podman(&self) -> Result<bool, EngineError> {
        // Taken before the question: an engine that restarts meanwhile has another place, and is asked again.
        let place = Place::of(&self.endpoint);
        let known = *self.kind.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.filter(|known| Some(known.place) == place) {
            return Ok(known.is_podman);
        }
        let version = self
            .call("tell its version", |docker| async move { docker.version().await })
            .await?;
        Ok(self.note_kind(place, &version))
    }

    /// Keeps the kind of the engine that told its version at a place; returns true for a Podman.
    pub(super) fn note_kind(&self, place: Option<Place>, version: &SystemVersion) -> bool {
        let is_podman = is_podman(version);
        *self.kind.lock().unwrap_or_else(PoisonError::into_inner) =
            place.map(|place| KnownKind { place, is_podman });
        is_podman
    }

    /// Forgets the kind of the engine, which may be another one when it answers again.
    pub(super) fn forget_kind(&self) {
        *self.kind.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn kind_is_known_until_the_socket_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let endpoint = EngineEndpoint::Socket(path.display().to_string());
        assert_eq!(Place::of(&endpoint), None, "no socket, no engine");
        let first = UnixListener::bind(&path).unwrap();
        let place = Place::of(&endpoint);
        assert!(place.is_some() && place == Place::of(&endpoint));
        // The old socket's inode is in use while its listener lives, as that of an engine that ends slowly.
        std::fs::remove_file(&path).unwrap();
        let _second = UnixListener::bind(&path).unwrap();
        assert_ne!(Place::of(&endpoint), place);
        drop(first);
        let network = EngineEndpoint::Http("127.0.0.1:1".into());
        assert_eq!(Place::of(&network), Some(Place::Network));
    }
}
