//! Annotations of images, which Podman passes to the runtime.
//!
//! An image's manifest may carry annotations, and Podman copies them into the configuration of the container,
//! where runtimes take some for orders: `org.systemd.property.…` changes the limits of the control group, and
//! `run.oci.…` has crun write to a file of the host, or use another filter of system calls. So the image's
//! author would override the worker's settings. Podman has no option to drop them, so the worker refuses
//! images with such annotations. Docker passes none on.

use std::collections::BTreeMap;

use hyper::Method;
use serde::Deserialize;

use super::{
    DockerEngine, EngineError,
    docker::of_wire,
    wire::{Wire, WireError},
};

/// Beginnings of the names that engines, runtimes and their hooks obey: Podman, CRI-O, runc, crun with its
/// handlers, Kata Containers, gVisor, and the hooks of devices and of tracing.
const OBEYED: [&str; 11] = [
    "cdi.k8s.io/",
    "com.nvidia.",
    "dev.gvisor.",
    "io.containers.",
    "io.katacontainers.",
    "io.kubernetes.cri",
    "io.podman.",
    "krun.",
    "module.wasm.",
    "org.systemd.property.",
    "run.oci.",
];

/// Part of Podman's description of an image.
#[derive(Deserialize)]
struct Image {
    #[serde(default, rename = "Annotations")]
    annotations: Option<BTreeMap<String, String>>,
}

impl DockerEngine {
    /// Checks that an image of a Podman gives the runtime no orders.
    pub(super) async fn check_annotations(&self, image: &str) -> Result<(), EngineError> {
        let action = "look at the image's annotations";
        let looking = async {
            let mut wire = Wire::open(&self.endpoint).await?;
            let path = format!("/v4.0.0/libpod/images/{image}/json");
            wire.json::<Image>(Method::GET, &path).await
        };
        let found = looking
            .await
            .map_err(|error: WireError| of_wire(&self.endpoint, action, &error))?;
        match obeyed(found.annotations.unwrap_or_default().keys()) {
            None => Ok(()),
            Some(name) => {
                let start: String = name.chars().take(80).collect();
                Err(EngineError::Refused {
                    action: "create the container".to_owned(),
                    reason: format!(
                        "the image has the annotation {start:?}, which would change how the runtime runs it; build it \
                         without that"
                    ),
                })
            }
        }
    }
}

/// Returns the first name that some runtime obeys.
fn obeyed<'a>(mut names: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    names
        .find(|name| {
            let name = name.to_ascii_lowercase();
            OBEYED.iter().any(|beginning| name.starts_with(*beginning))
        })
        .map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(names: &[&str]) -> Option<String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        obeyed(names.iter()).map(str::to_owned)
    }

    #[test]
    fn descriptions_are_no_orders() {
        let names = [
            "org.opencontainers.image.base.name",
            "com.docker.official-images.bashbrew.arch",
            "io.buildah.version",
            "run.ocix",
        ];
        assert_eq!(first(&names), None);
    }

    #[test]
    fn orders_to_runtimes_are_found() {
        for name in [
            "run.oci.hooks.stderr",
            "org.systemd.property.MemoryMax",
            "IO.Podman.annotations.seccomp",
            "module.wasm.image/variant",
        ] {
            assert_eq!(
                first(&["org.opencontainers.image.title", name]).as_deref(),
                Some(name)
            );
        }
    }
}
