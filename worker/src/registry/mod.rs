//! Image registries: the client that asks them, and the proxy through which the engine pulls.
//!
//! All connections to registries, to their token services and to their storage are made here, so that no name
//! and no redirect of a stranger leads the worker or the engine to an address outside the public network,
//! unless the provider's file names the registry.

mod client;
mod configuration;
mod proxy;
mod session;

use std::sync::Arc;

use assay_client::manifest::ImageReference;
#[cfg(test)]
pub(crate) use assay_client::registry::Platform;

pub use client::{ImageFacts, Registry, RegistryError};
pub use configuration::ImageConfiguration;
pub use proxy::RegistryProxy;
pub(crate) use session::is_pull_name;
pub use session::{Pull, Refusal};

/// Maximum number of registries in a list of names.
pub const MAX_PRIVATE_REGISTRIES: usize = 64;

/// Large public registries whose operators, and not those who push images, decide where a pull is directed.
pub const PUBLIC_REGISTRIES: [&str; 8] = [
    "docker.io",
    "gcr.io",
    "ghcr.io",
    "mcr.microsoft.com",
    "nvcr.io",
    "public.ecr.aws",
    "quay.io",
    "registry.k8s.io",
];

/// Name of the registry of references that name none.
const DEFAULT_REGISTRY: &str = "docker.io";

/// Registries that may be at addresses outside the public network.
pub type PrivateRegistries = RegistryNames;

/// Registries that are allowed by name, as `host[:port]`. Clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryNames(Arc<Vec<String>>);

/// Reason why a list of registries is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryNameError {
    /// Not a registry as in the names of images.
    #[error("{0:?} is not a registry as in the names of images, such as registry.example.lan:5000")]
    NotARegistry(String),
    /// Too many entries.
    #[error("more than {MAX_PRIVATE_REGISTRIES} registries")]
    TooMany,
}

impl RegistryNames {
    /// Creates a list of at most [`MAX_PRIVATE_REGISTRIES`] registries, each written as in the names of
    /// images.
    ///
    /// # Errors
    /// Fails if an entry is not a registry, or if there are too many.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, RegistryNameError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.len() > MAX_PRIVATE_REGISTRIES {
            return Err(RegistryNameError::TooMany);
        }
        match names.iter().find(|name| !is_registry(name)) {
            Some(name) => Err(RegistryNameError::NotARegistry(name.clone())),
            None => Ok(Self(Arc::new(names))),
        }
    }

    /// Returns true if the list has this registry, regardless of upper and lower case.
    pub fn contains(&self, registry: &str) -> bool {
        self.0.iter().any(|name| name.eq_ignore_ascii_case(registry))
    }

    /// Returns true if the list has the registry of this image.
    pub fn has_registry_of(&self, image: &ImageReference) -> bool {
        self.contains(image.registry().unwrap_or(DEFAULT_REGISTRY))
    }

    /// Returns the entries.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

/// Returns true if a text is `host[:port]` as in the names of images.
fn is_registry(text: &str) -> bool {
    format!("{text}/image@sha256:{}", "0".repeat(64))
        .parse::<ImageReference>()
        .is_ok_and(|image| image.registry() == Some(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn registries_are_named_as_in_images() {
        let names = [
            "registry.example.lan:5000",
            "127.0.0.1:5000",
            "localhost",
            "docker.io",
        ];
        let list = PrivateRegistries::new(names).unwrap();
        assert_eq!(list.names(), names);
        assert!(list.contains("Registry.Example.LAN:5000"));
        assert!(!list.contains("registry.example.lan"));
        let image = |name: &str| format!("{name}@sha256:{}", "ab".repeat(32)).parse().unwrap();
        assert!(list.has_registry_of(&image("busybox")));
        assert!(!list.has_registry_of(&image("127.0.0.1:5001/a")));
        for name in [
            "",
            "registry",
            "http://a.b",
            "a.b/c",
            "a.b:x",
            "a b.c",
            "*.example",
        ] {
            assert_eq!(
                PrivateRegistries::new([name]),
                Err(RegistryNameError::NotARegistry(name.into()))
            );
        }
        let many = vec!["a.b"; MAX_PRIVATE_REGISTRIES + 1];
        assert_eq!(PrivateRegistries::new(many), Err(RegistryNameError::TooMany));
    }
}
