//! Client for image registries, by the protocol that Docker and the OCI distribution specification share.

use assay_client::manifest::{ImageReference, RegistryLogin};
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    StatusCode, Uri,
    header::{self, HeaderName},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::attestation::{AddressPolicy, FetchError, HttpFetch, HttpResponse};

/// Maximum length of an image's manifest or configuration, in bytes. Registries accept manifests of up to 4
/// MiB.
const MAX_DOCUMENT_BYTES: usize = 4 * 1_024 * 1_024;

/// Maximum length of a token service's response, in bytes.
const MAX_TOKEN_BYTES: usize = 64 * 1_024;

/// Maximum number of redirects for one document. Registries redirect clients to the storage of their blobs.
const MAX_REDIRECTS: usize = 3;

/// Maximum number of an image's layers; engines refuse more.
const MAX_LAYERS: usize = 256;

/// Media types that a manifest may have.
const MANIFEST_KINDS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                              application/vnd.docker.distribution.manifest.v2+json, \
                              application/vnd.docker.distribution.manifest.list.v2+json";

/// Reason why an image could not be described.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry was not reached, or its address is not allowed.
    #[error("requesting the image's manifest failed: {0}")]
    Fetch(#[from] FetchError),
    /// The response has an error status.
    #[error("the registry answered {url} with status {code}")]
    Status {
        /// URL of the request.
        url: String,
        /// HTTP status code.
        code: u16,
    },
    /// The response violates the protocol, or belongs to another image.
    #[error("the registry's response for {url} is invalid: {reason}")]
    BadAnswer {
        /// URL of the request.
        url: String,
        /// Fault of the response.
        reason: String,
    },
    /// The image is for another platform.
    #[error("the image is for {found}, and this machine is {wanted}")]
    OtherPlatform {
        /// Platforms of the image.
        found: String,
        /// Platform of this machine.
        wanted: String,
    },
}

impl RegistryError {
    /// Returns true if another attempt would fail the same way.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Fetch(error) => {
                matches!(error, FetchError::NotPublic { .. } | FetchError::BadUrl { .. })
            }
            Self::Status { code, .. } => (400..500).contains(code) && !matches!(code, 408 | 425 | 429),
            Self::BadAnswer { .. } | Self::OtherPlatform { .. } => true,
        }
    }
}

/// Description of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageFacts {
    /// Size of its layers as they are downloaded, in bytes.
    pub download_bytes: u64,
}

/// Configuration of an image: the parts that an engine takes from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfiguration {
    /// Entrypoint; may be empty.
    pub entrypoint: Vec<String>,
    /// Command, or arguments of the entrypoint; may be empty.
    pub command: Vec<String>,
    /// User, by name or number, perhaps with a group behind a colon; empty for root.
    pub user: String,
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
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigPart {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    user: Option<String>,
    volumes: Option<std::collections::BTreeMap<String, serde::de::IgnoredAny>>,
}

/// Operating system and processor architecture, named as in images.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) architecture: String,
}

impl Platform {
    pub(super) fn of_this_machine() -> Self {
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

impl std::fmt::Display for Platform {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)
    }
}

/// A manifest, or an index of manifests for several platforms.
#[derive(Deserialize)]
struct Document {
    config: Option<Part>,
    #[serde(default)]
    layers: Vec<Part>,
    manifests: Option<Vec<Part>>,
}

#[derive(Deserialize)]
struct Part {
    digest: String,
    #[serde(default)]
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Clone)]
pub(super) struct Registry {
    fetch: HttpFetch,
    policy: AddressPolicy,
    platform: Platform,
    /// Value of the header with the credentials, if there are any.
    login: Option<Zeroizing<String>>,
}

/// The repository of one image, with the permission that it requires.
struct Repository<'a> {
    registry: &'a Registry,
    base: String,
    /// Value of the header that the registry asked for: a token, or the credentials themselves.
    permission: Option<Zeroizing<String>>,
}

impl Registry {
    pub(super) fn new(policy: AddressPolicy, platform: Platform) -> Self {
        Self {
            fetch: HttpFetch::with_policy(policy),
            policy,
            platform,
            login: None,
        }
    }

    pub(super) fn with_login(&self, login: Option<&RegistryLogin>) -> Self {
        let login = login.map(|login| {
            let pair = Zeroizing::new(format!("{}:{}", login.username, login.password));
            Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
        });
        Self {
            login,
            ..self.clone()
        }
    }

    /// Describes an image, if it is for this platform.
    pub(super) async fn describe(&self, image: &ImageReference) -> Result<ImageFacts, RegistryError> {
        let mut repository = Repository {
            registry: self,
            base: base_url(image, self.policy),
            permission: None,
        };
        let (document, is_chosen) = self.manifest_of(&mut repository, image).await?;
        self.of_manifest(&mut repository, document, !is_chosen).await
    }

    /// Returns the configuration of an image, if it is for this platform.
    pub(super) async fn configuration(
        &self,
        image: &ImageReference,
    ) -> Result<ImageConfiguration, RegistryError> {
        let mut repository = Repository {
            registry: self,
            base: base_url(image, self.policy),
            permission: None,
        };
        let (document, _) = self.manifest_of(&mut repository, image).await?;
        let Some(config) = document.config else {
            return Err(RegistryError::BadAnswer {
                url: repository.base.clone(),
                reason: "a manifest without a configuration".into(),
            });
        };
        let found: ConfigDocument = repository.json("blobs", &config.digest).await?;
        if found.platform != self.platform {
            return Err(self.other_platform(found.platform.to_string()));
        }
        let part = found.config.unwrap_or_default();
        Ok(ImageConfiguration {
            entrypoint: part.entrypoint.unwrap_or_default(),
            command: part.cmd.unwrap_or_default(),
            user: part.user.unwrap_or_default(),
            volumes: part.volumes.unwrap_or_default().into_keys().collect(),
        })
    }

    /// Returns the manifest of an image for this platform, and true if an index named its platform.
    async fn manifest_of(
        &self,
        repository: &mut Repository<'_>,
        image: &ImageReference,
    ) -> Result<(Document, bool), RegistryError> {
        let document = repository.manifest(&image.digest_text()).await?;
        let Some(entries) = document.manifests else {
            return Ok((document, false));
        };
        let is_ours = |part: &&Part| part.platform.as_ref() == Some(&self.platform);
        let Some(entry) = entries.iter().find(is_ours) else {
            let found = entries.iter().filter_map(|part| part.platform.as_ref());
            return Err(self.other_platform(found.map(Platform::to_string).collect::<Vec<_>>().join(", ")));
        };
        Ok((repository.manifest(&entry.digest).await?, true))
    }

    async fn of_manifest(
        &self,
        repository: &mut Repository<'_>,
        document: Document,
        asks_for_platform: bool,
    ) -> Result<ImageFacts, RegistryError> {
        let bad = |reason: &str| RegistryError::BadAnswer {
            url: repository.base.clone(),
            reason: reason.to_owned(),
        };
        let Some(config) = document.config else {
            return Err(bad("a manifest without a configuration"));
        };
        if document.layers.len() > MAX_LAYERS {
            return Err(bad("a manifest with too many layers"));
        }
        let download_bytes = document
            .layers
            .iter()
            .fold(config.size, |sum, layer| sum.saturating_add(layer.size));
        if asks_for_platform {
            let found: Platform = repository.json("blobs", &config.digest).await?;
            if found != self.platform {
                return Err(self.other_platform(found.to_string()));
            }
        }
        Ok(ImageFacts { download_bytes })
    }

    fn other_platform(&self, found: String) -> RegistryError {
        RegistryError::OtherPlatform {
            found,
            wanted: self.platform.to_string(),
        }
    }
}

/// Returns the repository's URL. A reference without a registry is of Docker Hub, where one-word names are in
/// `library`.
fn base_url(image: &ImageReference, policy: AddressPolicy) -> String {
    let repository = image.repository();
    match image.registry() {
        None | Some("docker.io" | "index.docker.io") => {
            let folder = if repository.contains('/') { "" } else { "library/" };
            format!("https://registry-1.docker.io/v2/{folder}{repository}")
        }
        Some(registry) => {
            let host = registry.split(':').next().unwrap_or_default();
            let is_local = host == "localhost" || host.starts_with("127.");
            // Like the engines: plain HTTP only to this host.
            let scheme = if policy == AddressPolicy::Any && is_local {
                "http"
            } else {
                "https"
            };
            format!("{scheme}://{registry}/v2/{repository}")
        }
    }
}

impl Repository<'_> {
    async fn manifest(&mut self, digest: &str) -> Result<Document, RegistryError> {
        self.json("manifests", digest).await
    }

    /// Returns a document of the repository by its digest, which is verified.
    async fn json<T: serde::de::DeserializeOwned>(
        &mut self,
        kind: &str,
        digest: &str,
    ) -> Result<T, RegistryError> {
        let url = format!("{}/{kind}/{digest}", self.base);
        let bad = |reason: String| RegistryError::BadAnswer {
            url: url.clone(),
            reason,
        };
        let mut answer = self.follow(&url).await?;
        if answer.code == StatusCode::UNAUTHORIZED && self.permission.is_none() {
            self.permission = match token_url(&answer) {
                Some(token_url) => Some(self.registry.token(&token_url).await?),
                // A registry without a token service takes the credentials themselves, if there are any.
                None => self.registry.login.clone(),
            };
            if self.permission.is_some() {
                answer = self.follow(&url).await?;
            }
        }
        if answer.code != StatusCode::OK {
            return Err(RegistryError::Status {
                url,
                code: answer.code.as_u16(),
            });
        }
        let found = format!("sha256:{}", hex::encode(Sha256::digest(&answer.body)));
        if found != digest {
            return Err(bad(format!("it has the digest {found}")));
        }
        serde_json::from_slice(&answer.body).map_err(|error| bad(error.to_string()))
    }

    /// Returns the response of a URL after following redirects. Every redirect must lead to an allowed
    /// address, and the permission is sent to the registry only.
    async fn follow(&self, url: &str) -> Result<HttpResponse, RegistryError> {
        let mut at = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut headers: Vec<(HeaderName, String)> = vec![(header::ACCEPT, MANIFEST_KINDS.to_owned())];
            if let Some(permission) = self.permission.as_ref().filter(|_| at.starts_with(&self.base)) {
                headers.push((header::AUTHORIZATION, String::clone(permission)));
            }
            let answer = self.registry.fetch.ask(&at, &headers, MAX_DOCUMENT_BYTES).await?;
            if !answer.code.is_redirection() {
                return Ok(answer);
            }
            at = redirected(&at, &answer).ok_or_else(|| RegistryError::BadAnswer {
                url: at.clone(),
                reason: "a redirect without an allowed target".into(),
            })?;
        }
        Err(RegistryError::BadAnswer {
            url: url.to_owned(),
            reason: format!("more than {MAX_REDIRECTS} redirects"),
        })
    }
}

impl Registry {
    /// Returns the header's value with a token. The credentials go to the token service only if that is
    /// reached over HTTPS, or over HTTP on this host where such registries are allowed.
    async fn token(&self, url: &str) -> Result<Zeroizing<String>, RegistryError> {
        let login = self
            .login
            .as_ref()
            .filter(|_| url.starts_with("https://") || self.policy == AddressPolicy::Any);
        let headers: Vec<_> = login
            .map(|login| (header::AUTHORIZATION, String::clone(login)))
            .into_iter()
            .collect();
        let answer = self.fetch.ask(url, &headers, MAX_TOKEN_BYTES).await?;
        if answer.code != StatusCode::OK {
            return Err(RegistryError::Status {
                url: url.to_owned(),
                code: answer.code.as_u16(),
            });
        }
        let token: Option<Token> = serde_json::from_slice(&answer.body).ok();
        token
            .and_then(|token| token.token.or(token.access_token))
            .map(|token| Zeroizing::new(format!("Bearer {token}")))
            .ok_or_else(|| RegistryError::BadAnswer {
                url: url.to_owned(),
                reason: "no token".into(),
            })
    }
}

/// Returns the target of a redirect; `None` from HTTPS to HTTP.
fn redirected(from: &str, answer: &HttpResponse) -> Option<String> {
    let location = answer.headers.get(header::LOCATION)?.to_str().ok()?;
    let from: Uri = from.parse().ok()?;
    if location.starts_with('/') {
        return Some(format!(
            "{}://{}{location}",
            from.scheme_str()?,
            from.authority()?
        ));
    }
    let to: Uri = location.parse().ok()?;
    match (from.scheme_str()?, to.scheme_str()?) {
        (_, "https") | ("http", "http") => Some(location.to_owned()),
        _ => None,
    }
}

/// Returns the URL of the token service in a refusal: `Bearer realm="…",service="…",scope="…"`.
fn token_url(answer: &HttpResponse) -> Option<String> {
    let challenge = answer.headers.get(header::WWW_AUTHENTICATE)?.to_str().ok()?;
    let fields = challenge.strip_prefix("Bearer ")?;
    let field = |name: &str| {
        let (_, rest) = fields.split_once(&format!("{name}=\""))?;
        let (value, _) = rest.split_once('"')?;
        Some(value)
    };
    let realm = field("realm")?;
    let parameters: Vec<String> = ["service", "scope"]
        .into_iter()
        .filter_map(|name| Some(format!("{name}={}", field(name)?)))
        .collect();
    let separator = if realm.contains('?') { '&' } else { '?' };
    Some(format!("{realm}{separator}{}", parameters.join("&")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn image(name: &str) -> ImageReference {
        format!("{name}@sha256:{}", "ab".repeat(32)).parse().unwrap()
    }

    fn answer(name: HeaderName, value: &str) -> HttpResponse {
        HttpResponse {
            code: StatusCode::UNAUTHORIZED,
            headers: [(name, value.parse().unwrap())].into_iter().collect(),
            body: Vec::new(),
        }
    }

    #[test]
    fn repository_is_where_engines_look_for_it() {
        for (name, url) in [
            ("busybox", "https://registry-1.docker.io/v2/library/busybox"),
            ("a/b", "https://registry-1.docker.io/v2/a/b"),
            ("docker.io/a/b", "https://registry-1.docker.io/v2/a/b"),
            ("ghcr.io/a/b", "https://ghcr.io/v2/a/b"),
            (
                "registry.example.org:5000/b",
                "https://registry.example.org:5000/v2/b",
            ),
        ] {
            for policy in [AddressPolicy::Public, AddressPolicy::Any] {
                assert_eq!(base_url(&image(name), policy), url);
            }
        }
        let local = image("127.0.0.1:5000/a");
        assert_eq!(base_url(&local, AddressPolicy::Any), "http://127.0.0.1:5000/v2/a");
        assert_eq!(
            base_url(&local, AddressPolicy::Public),
            "https://127.0.0.1:5000/v2/a"
        );
    }

    #[test]
    fn token_is_asked_for_where_the_registry_says() {
        let challenge =
            r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull""#;
        assert_eq!(
            token_url(&answer(header::WWW_AUTHENTICATE, challenge)).unwrap(),
            "https://auth.example/token?service=reg&scope=repository:a/b:pull"
        );
        assert_eq!(
            token_url(&answer(header::WWW_AUTHENTICATE, "Basic realm=\"x\"")),
            None
        );
    }

    #[test]
    fn redirects_stay_within_their_protection() {
        let to = |from: &str, location: &str| redirected(from, &answer(header::LOCATION, location));
        assert_eq!(to("https://a/v2/x", "/y").unwrap(), "https://a/y");
        assert_eq!(to("https://a/v2/x", "https://b/y").unwrap(), "https://b/y");
        assert_eq!(to("http://a/v2/x", "http://b/y").unwrap(), "http://b/y");
        assert_eq!(to("https://a/v2/x", "http://b/y"), None);
        assert_eq!(to("https://a/v2/x", "file:///etc/passwd"), None);
    }
}
