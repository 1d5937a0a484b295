//! Configuration of an image, for engines that cannot be asked for it.

use std::collections::BTreeMap;

use assay_client::{
    manifest::ImageReference,
    registry::{OtherKeys, Platform, has_any},
};
use serde::{Deserialize, de::IgnoredAny};

use super::{Registry, RegistryError};

/// Keys of a configuration that decide what a container does, in lower case.
const KEYS: [&str; 6] = ["cmd", "entrypoint", "env", "user", "volumes", "workingdir"];

/// Configuration of an image: the parts that an engine takes from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfiguration {
    /// Digest of the image's manifest for this platform: `sha256:<hex>`. An engine that pulls by it chooses
    /// none of an index by rules of its own.
    pub manifest: String,
    /// Entrypoint; may be empty.
    pub entrypoint: Vec<String>,
    /// Command, or arguments of the entrypoint; may be empty.
    pub command: Vec<String>,
    /// Environment variables as `NAME=value`.
    pub environment: Vec<String>,
    /// User, by name or number, perhaps with a group behind a colon; empty for root.
    pub user: String,
    /// Folder in which the program begins; empty for the root.
    pub working_dir: String,
    /// Paths of the declared volumes, as they are written.
    pub volumes: Vec<String>,
}

/// Document with the configuration of an image.
#[derive(Deserialize)]
struct ConfigDocument {
    #[serde(flatten)]
    platform: Platform,
    #[serde(default)]
    config: Option<ConfigPart>,
    #[serde(flatten)]
    others: OtherKeys,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigPart {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    volumes: Option<BTreeMap<String, IgnoredAny>>,
    #[serde(flatten)]
    others: OtherKeys,
}

impl ConfigDocument {
    /// Returns true if a key stands there in another case, beside or instead of its own. Engines take such a
    /// key, and so might see another configuration than the worker.
    fn is_ambiguous(&self) -> bool {
        let of_part = self.config.iter().flat_map(|part| part.others.keys());
        has_any(self.others.keys(), &["config"]) || has_any(of_part, &KEYS)
    }
}

impl Registry {
    /// Returns the configuration of an image, if it is for this platform.
    ///
    /// # Errors
    /// As those of [`Self::describe`].
    pub async fn configuration(&self, image: &ImageReference) -> Result<ImageConfiguration, RegistryError> {
        let repository = self.repository(image);
        let (manifest, chosen) = self.manifest_of(&repository, image).await?;
        let Some(config) = manifest.config else {
            return Err(repository.bad("a manifest without a configuration"));
        };
        let found: ConfigDocument = repository.configuration(&config.digest).await?;
        self.check_platform(&found.platform)?;
        if found.is_ambiguous() {
            return Err(repository.bad("a configuration with a key in another case than its own"));
        }
        let part = found.config.unwrap_or_default();
        Ok(ImageConfiguration {
            manifest: chosen.unwrap_or_else(|| image.digest_text()),
            entrypoint: part.entrypoint.unwrap_or_default(),
            command: part.cmd.unwrap_or_default(),
            environment: part.env.unwrap_or_default(),
            user: part.user.unwrap_or_default(),
            working_dir: part.working_dir.unwrap_or_default(),
            volumes: part.volumes.unwrap_or_default().into_keys().collect(),
        })
    }
}
