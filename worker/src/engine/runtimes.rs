//! Stronger runtimes: those that put a kernel of their own between a container and the host's.
//!
//! A manifest may ask for one by its name. Only names of gVisor and Kata Containers count: an engine may have
//! others for purposes of the host's own, which no consumer should choose.

use bollard::models::{SystemInfo, SystemVersion};

use super::{ContainerEngine, DockerEngine, EngineError, podman::is_podman};

/// First words of the names: gVisor's, and those of Kata Containers with any of its hypervisors
/// (`kata-qemu`).
const FAMILIES: [&str; 2] = ["runsc", "kata"];

/// Maximum number of names that are read.
const MAX_RUNTIMES: usize = 16;

/// Returns the names of an engine's stronger runtimes, sorted.
///
/// None for Podman: its version of Docker's interface lists runtimes that are not installed, and ignores the
/// one that a request names. A job would run without the isolation that its consumer asked for.
pub(super) fn stronger_runtimes(version: &SystemVersion, info: &SystemInfo) -> Vec<String> {
    if is_podman(version) {
        return Vec::new();
    }
    let names = info.runtimes.iter().flat_map(|runtimes| runtimes.keys());
    offered(names.filter(|name| is_stronger(name)).cloned().collect())
}

/// Returns the names as an engine offers them: sorted, each once, and not too many.
pub(super) fn offered(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names.truncate(MAX_RUNTIMES);
    names
}

/// Returns true for a name of a family, alone or with a suffix behind a hyphen.
pub(super) fn is_stronger(name: &str) -> bool {
    let family = name.split_once('-').map_or(name, |(family, _)| family);
    FAMILIES.contains(&family)
}

impl DockerEngine {
    /// Checks that the engine has a runtime that a manifest asks for.
    pub(super) async fn check_runtime(&self, name: &str) -> Result<(), EngineError> {
        // A Podman has none, and is not asked for them.
        let offered = if self.is_podman().await? {
            Vec::new()
        } else {
            self.ping().await?.runtimes
        };
        if offered.iter().any(|offered| offered == name) {
            return Ok(());
        }
        Err(lacking(name, &offered))
    }
}

/// Returns the refusal of a container whose manifest asks for a runtime that is not offered.
pub(super) fn lacking(name: &str, offered: &[String]) -> EngineError {
    let offered = if offered.is_empty() {
        "none".to_owned()
    } else {
        offered.join(", ")
    };
    EngineError::Refused {
        action: "create the container".to_owned(),
        reason: format!(
            "the manifest asks for the runtime {name}, and the stronger ones of this engine are: {offered}; order from a \
             machine whose status lists it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::{Runtime, SystemVersionComponents};

    use super::*;
    use crate::engine::podman::PODMAN;

    fn engine(component: &str, names: &[&str]) -> Vec<String> {
        let version = SystemVersion {
            components: Some(vec![SystemVersionComponents {
                name: component.to_owned(),
                ..SystemVersionComponents::default()
            }]),
            ..SystemVersion::default()
        };
        let runtimes: HashMap<_, _> = names
            .iter()
            .map(|name| ((*name).to_owned(), Runtime::default()))
            .collect();
        let info = SystemInfo {
            runtimes: Some(runtimes),
            ..SystemInfo::default()
        };
        stronger_runtimes(&version, &info)
    }

    #[test]
    fn gvisor_and_kata_count_and_nothing_else_does() {
        let names = [
            "runc",
            "kata-qemu",
            "nvidia",
            "runsc",
            "katana",
            "io.containerd.runc.v2",
        ];
        assert_eq!(engine("Engine", &names), ["kata-qemu", "runsc"]);
        assert_eq!(engine("Engine", &["runc"]), Vec::<String>::new());
    }

    #[test]
    fn podman_has_none_whatever_it_lists() {
        assert_eq!(engine(PODMAN, &["runsc", "kata"]), Vec::<String>::new());
    }
}
