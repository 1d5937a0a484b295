//! Manifests and indexes of images, as registries send them.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Maximum length of an image's manifest or configuration, in bytes. Registries accept manifests of up to 4
/// MiB.
pub const MAX_DOCUMENT_BYTES: usize = 4 * 1_024 * 1_024;

/// Maximum number of an image's layers; engines refuse more.
const MAX_LAYERS: usize = 256;

/// Maximum number of the manifests in an index.
const MAX_MANIFESTS: usize = 256;

/// Media types that a manifest may have.
pub const MANIFEST_KINDS: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// Operating system and processor architecture, named as in images.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// Operating system, such as `linux`.
    #[serde(default)]
    pub os: String,
    /// Processor architecture, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
}

impl Platform {
    /// Returns the platform of the images that run here.
    pub fn of_this_machine() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self {
            os: "linux".into(),
            architecture: architecture.into(),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)
    }
}

/// A manifest, or an index of manifests for several platforms.
#[derive(Deserialize)]
pub struct Document {
    /// Configuration; a manifest has one.
    pub config: Option<Part>,
    /// Layers of a manifest.
    #[serde(default)]
    pub layers: Vec<Part>,
    /// Manifests of an index; `None` for a manifest.
    pub manifests: Option<Vec<Part>>,
    #[serde(flatten)]
    others: OtherKeys,
}

/// Keys beside those that are read.
pub type OtherKeys = BTreeMap<String, IgnoredAny>;

/// Returns true if one of the keys is one of the names, written in lower case, regardless of its own case,
/// also beyond ASCII. Engines take such a key for the name.
pub fn has_any<'a>(mut keys: impl Iterator<Item = &'a String>, names: &[&str]) -> bool {
    // Either of the two alone leaves letters alone that engines take for others, such as the sign of kelvin.
    keys.any(|key| names.contains(&&*key.to_uppercase().to_lowercase()))
}

/// A manifest of an index, a configuration, or a layer.
#[derive(Deserialize)]
pub struct Part {
    /// Digest as the registry writes it.
    pub digest: String,
    /// Length in bytes.
    #[serde(default)]
    pub size: u64,
    /// Platform of a manifest of an index.
    pub platform: Option<Platform>,
}

impl Document {
    /// Parses a manifest or an index, or returns its fault.
    ///
    /// # Errors
    /// It is no JSON of that shape, is ambiguous, has too many parts, or names URLs for them.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice::<NoUrls>(bytes).map_err(|error| error.to_string())?;
        let document: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        // An engine might take these for another document than the worker does.
        if has_any(document.others.keys(), &["config", "layers", "manifests"]) {
            return Err("a manifest with a key in another case than its own".into());
        }
        if document.manifests.is_some() && (document.config.is_some() || !document.layers.is_empty()) {
            return Err("a manifest that is an index as well".into());
        }
        if document.layers.len() > MAX_LAYERS {
            return Err("a manifest with too many layers".into());
        }
        if document
            .manifests
            .as_ref()
            .is_some_and(|all| all.len() > MAX_MANIFESTS)
        {
            return Err("an index with too many manifests".into());
        }
        Ok(document)
    }
}

/// Any JSON without a key `urls`. Podman requests a part that has URLs from those, which may lead anywhere.
///
/// Engines match keys regardless of their case, also beyond ASCII (`urlſ`), and of a key that is there twice
/// they may keep some of both values: every key is looked at, as it is read.
struct NoUrls;

impl<'de> Deserialize<'de> for NoUrls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NoUrlsVisitor)
    }
}

struct NoUrlsVisitor;

impl<'de> Visitor<'de> for NoUrlsVisitor {
    type Value = NoUrls;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<NoUrls, A::Error> {
        while let Some(key) = fields.next_key::<String>()? {
            if key.to_uppercase() == "URLS" {
                return Err(A::Error::custom(
                    "it names URLs for parts of the image, which must come from its registry",
                ));
            }
            fields.next_value::<NoUrls>()?;
        }
        Ok(NoUrls)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<NoUrls, A::Error> {
        while entries.next_element::<NoUrls>()?.is_some() {}
        Ok(NoUrls)
    }

    fn visit_bool<E>(self, _: bool) -> Result<NoUrls, E> {
        Ok(NoUrls)
    }

    fn visit_i64<E>(self, _: i64) -> Result<NoUrls, E> {
        Ok(NoUrls)
    }

    fn visit_u64<E>(self, _: u64) -> Result<NoUrls, E> {
        Ok(NoUrls)
    }

    fn visit_f64<E>(self, _: f64) -> Result<NoUrls, E> {
        Ok(NoUrls)
    }

    fn visit_str<E>(self, _: &str) -> Result<NoUrls, E> {
        Ok(NoUrls)
    }

    fn visit_unit<E>(self) -> Result<NoUrls, E> {
        Ok(NoUrls)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn manifest_with_urls_is_refused_however_they_are_written() {
        let with = |key: &str| {
            let part = r#"{"digest":"sha256:0","size":1"#;
            format!(r#"{{"config":{part}}},"layers":[{part},"{key}":["http://10.0.0.1/"]}}]}}"#)
        };
        assert_eq!(
            Document::parse(with("platforms").as_bytes())
                .unwrap()
                .layers
                .len(),
            1
        );
        let twice = r#"{"layers":[{"digest":"x","urls":[]}],"layers":[{"digest":"x"}]}"#.to_owned();
        let written = ["urls", "URLs", "urlſ", "u\\u0072ls"].map(with);
        for text in written.into_iter().chain([twice]) {
            let fault = Document::parse(text.as_bytes()).map(|_| ()).unwrap_err();
            assert!(fault.contains("names URLs"), "{text}: {fault}");
        }
    }
}
