//! Client for image registries, by the protocol that Docker and the OCI distribution specification share.

use std::sync::{Arc, Mutex, PoisonError};

use assay_client::{
    manifest::{ImageReference, RegistryLogin},
    registry::{
        Document, MANIFEST_KINDS, MAX_DOCUMENT_BYTES, Part, Platform, redirected, repository_url, token_url,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    HeaderMap, Response, StatusCode, Uri,
    body::Incoming,
    header::{self, HeaderName},
};
use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::PrivateRegistries;
use crate::attestation::{AddressPolicy, FetchError, HttpFetch, NameSource, SystemNames, read_whole};

/// Maximum length of a token service's response, in bytes.
const MAX_TOKEN_BYTES: usize = 64 * 1_024;

/// Maximum number of redirects for one document. Registries redirect clients to the storage of their blobs.
const MAX_REDIRECTS: usize = 3;

/// Reason why an image could not be described.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry was not reached, or its address is not allowed.
    #[error("requesting the image failed: {0}")]
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

/// A manifest or an index as its registry sent it, with the wanted digest.
pub(super) struct Manifest {
    pub(super) bytes: Vec<u8>,
    /// Media type, one of [`MANIFEST_KINDS`]; `None` if the registry names none or another.
    pub(super) kind: Option<&'static str>,
    pub(super) document: Document,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Client for the registries of images. Clones share the connection settings.
#[derive(Clone)]
pub struct Registry {
    /// Client for registries that are allowed by name.
    any: HttpFetch,
    /// Client for all others.
    public: HttpFetch,
    private: PrivateRegistries,
    platform: Platform,
    /// Value of the header with the credentials, if there are any.
    login: Option<Zeroizing<String>>,
}

/// The repository of one image, with the permission that it requires.
pub(super) struct Repository {
    registry: Registry,
    base: String,
    /// Value of the header that the registry asked for: a token, or the credentials themselves.
    permission: Mutex<Option<Zeroizing<String>>>,
}

impl Registry {
    /// Creates a client that connects to public addresses, and for these registries to any.
    pub fn new(private: PrivateRegistries) -> Self {
        Self::with_names(private, Arc::new(SystemNames))
    }

    /// Creates a client that gets the addresses of names from `names`.
    pub fn with_names(private: PrivateRegistries, names: Arc<dyn NameSource>) -> Self {
        Self {
            any: HttpFetch::with_names(AddressPolicy::Any, names.clone()),
            public: HttpFetch::with_names(AddressPolicy::Public, names),
            private,
            platform: Platform::of_this_machine(),
            login: None,
        }
    }

    /// Returns the registries that are allowed by name.
    pub(super) fn private(&self) -> &PrivateRegistries {
        &self.private
    }

    /// Returns the client for a URL. A redirect from an allowed registry leads to a public address, or to
    /// another allowed registry: to be redirected to is no permission.
    fn fetch(&self, url: &str) -> &HttpFetch {
        if self.is_allowed_by_name(url) {
            &self.any
        } else {
            &self.public
        }
    }

    fn is_allowed_by_name(&self, url: &str) -> bool {
        let Ok(uri) = url.parse::<Uri>() else {
            return false;
        };
        let host = uri.host().unwrap_or_default();
        match uri.port_u16() {
            Some(port) => self.private.contains(&format!("{host}:{port}")),
            None => self.private.contains(host),
        }
    }

    /// Returns the repository of an image.
    pub(super) fn repository(&self, image: &ImageReference) -> Repository {
        // The provider's file names the registry of this host that is asked without TLS.
        let may_be_plain = self.private.has_registry_of(image);
        Repository {
            registry: self.clone(),
            base: repository_url(image.registry(), image.repository(), may_be_plain),
            permission: Mutex::default(),
        }
    }

    /// Returns a client that shows these credentials to the image's registry and to its token service.
    #[must_use]
    pub fn with_login(&self, login: Option<&RegistryLogin>) -> Self {
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
    pub async fn describe(&self, image: &ImageReference) -> Result<ImageFacts, RegistryError> {
        let repository = self.repository(image);
        let (document, chosen) = self.manifest_of(&repository, image).await?;
        let Some(config) = document.config else {
            return Err(repository.bad("a manifest without a configuration"));
        };
        let download_bytes = document
            .layers
            .iter()
            .fold(config.size, |sum, layer| sum.saturating_add(layer.size));
        if chosen.is_none() {
            let found: Platform = repository.configuration(&config.digest).await?;
            self.check_platform(&found)?;
        }
        Ok(ImageFacts { download_bytes })
    }

    /// Returns the manifest of an image for this platform, and its digest if an index named it.
    pub(super) async fn manifest_of(
        &self,
        repository: &Repository,
        image: &ImageReference,
    ) -> Result<(Document, Option<String>), RegistryError> {
        let document = repository.manifest(&image.digest_text()).await?.document;
        let Some(entries) = document.manifests else {
            return Ok((document, None));
        };
        let is_ours = |part: &&Part| part.platform.as_ref() == Some(&self.platform);
        let Some(entry) = entries.iter().find(is_ours) else {
            let found = entries.iter().filter_map(|part| part.platform.as_ref());
            return Err(self.other_platform(found.map(Platform::to_string).collect::<Vec<_>>().join(", ")));
        };
        let document = repository.manifest(&entry.digest).await?.document;
        Ok((document, Some(entry.digest.clone())))
    }

    /// Checks that a configuration is for this platform.
    pub(super) fn check_platform(&self, found: &Platform) -> Result<(), RegistryError> {
        if *found == self.platform {
            return Ok(());
        }
        Err(self.other_platform(found.to_string()))
    }

    fn other_platform(&self, found: String) -> RegistryError {
        RegistryError::OtherPlatform {
            found,
            wanted: self.platform.to_string(),
        }
    }
}

impl Repository {
    /// Returns the error for a response that violates the protocol.
    pub(super) fn bad(&self, reason: &str) -> RegistryError {
        RegistryError::BadAnswer {
            url: self.base.clone(),
            reason: reason.to_owned(),
        }
    }

    /// Returns a manifest or an index by its digest, which is verified.
    pub(super) async fn manifest(&self, digest: &str) -> Result<Manifest, RegistryError> {
        let (url, headers, bytes) = self.document("manifests", digest).await?;
        let document = Document::parse(&bytes).map_err(|reason| RegistryError::BadAnswer { url, reason })?;
        let named = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .map(str::trim)
            .unwrap_or_default();
        Ok(Manifest {
            bytes,
            kind: MANIFEST_KINDS
                .into_iter()
                .find(|kind| kind.eq_ignore_ascii_case(named)),
            document,
        })
    }

    /// Returns an image's configuration by its digest, which is verified.
    pub(super) async fn configuration<T: DeserializeOwned>(&self, digest: &str) -> Result<T, RegistryError> {
        let (url, _, bytes) = self.document("blobs", digest).await?;
        serde_json::from_slice(&bytes).map_err(|error| RegistryError::BadAnswer {
            url,
            reason: error.to_string(),
        })
    }

    /// Returns the URL, the headers and the bytes of a document by its digest, which is verified.
    async fn document(
        &self,
        kind: &str,
        digest: &str,
    ) -> Result<(String, HeaderMap, Vec<u8>), RegistryError> {
        let url = self.url(kind, digest);
        let (head, body) = self.open(kind, digest, None).await?.into_parts();
        if head.status != StatusCode::OK {
            let code = head.status.as_u16();
            return Err(RegistryError::Status { url, code });
        }
        let bytes = read_whole(&url, body, MAX_DOCUMENT_BYTES).await?;
        let found = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        if found != digest {
            let reason = format!("it has the digest {found}");
            return Err(RegistryError::BadAnswer { url, reason });
        }
        Ok((url, head.headers, bytes))
    }

    /// Returns the URL of a part of the repository.
    pub(super) fn url(&self, kind: &str, digest: &str) -> String {
        format!("{}/{kind}/{digest}", self.base)
    }

    /// Returns the response for a part of the repository, of any status, with its body still to come. `range`
    /// is the value of a header that asks for some of its bytes.
    pub(super) async fn open(
        &self,
        kind: &str,
        digest: &str,
        range: Option<&str>,
    ) -> Result<Response<Incoming>, RegistryError> {
        let url = self.url(kind, digest);
        let shown = self.permission();
        let answer = self.follow(&url, shown.as_ref(), range).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        // Also if there is a permission: tokens expire during a long pull.
        let permission = match token_url(answer.headers()) {
            Some(token_url) => Some(self.registry.token(&token_url).await?),
            // A registry without a token service takes the credentials themselves, if there are any.
            None => self.registry.login.clone(),
        };
        if permission.is_none() || permission == shown {
            return Ok(answer);
        }
        self.keep_permission(permission.clone());
        self.follow(&url, permission.as_ref(), range).await
    }

    fn permission(&self) -> Option<Zeroizing<String>> {
        self.permission
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn keep_permission(&self, permission: Option<Zeroizing<String>>) {
        *self.permission.lock().unwrap_or_else(PoisonError::into_inner) = permission;
    }

    /// Returns the response of a URL after following redirects. Every redirect must lead to an allowed
    /// address, and the permission is sent to the registry only.
    async fn follow(
        &self,
        url: &str,
        permission: Option<&Zeroizing<String>>,
        range: Option<&str>,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut at = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut headers: Vec<(HeaderName, String)> = vec![(header::ACCEPT, MANIFEST_KINDS.join(", "))];
            if let Some(range) = range {
                headers.push((header::RANGE, range.to_owned()));
            }
            if let Some(permission) = permission.filter(|_| at.starts_with(&self.base)) {
                headers.push((header::AUTHORIZATION, String::clone(permission)));
            }
            let answer = self.registry.fetch(&at).open(&at, &headers).await?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let target = redirected(&at, answer.headers());
            // Without TLS to a registry that is allowed by name only, wherever the redirect comes from.
            let is_allowed =
                |target: &String| target.starts_with("https://") || self.registry.is_allowed_by_name(target);
            at = target
                .filter(is_allowed)
                .ok_or_else(|| RegistryError::BadAnswer {
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
            .filter(|_| url.starts_with("https://") || self.is_allowed_by_name(url));
        let headers: Vec<_> = login
            .map(|login| (header::AUTHORIZATION, String::clone(login)))
            .into_iter()
            .collect();
        let answer = self.fetch(url).ask(url, &headers, MAX_TOKEN_BYTES).await?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn name_allows_its_own_address_only() {
        let registry = Registry::new(PrivateRegistries::new(["127.0.0.1:5000", "lan.example"]).unwrap());
        for (url, is_allowed) in [
            ("http://127.0.0.1:5000/v2/", true),
            ("https://LAN.example/v2/", true),
            ("http://127.0.0.1:5001/v2/", false),
            ("http://127.0.0.1/v2/", false),
            ("https://lan.example:444/v2/", false),
            ("https://lan.example@10.0.0.1/v2/", false),
            ("https://other.example/lan.example", false),
            ("nonsense", false),
        ] {
            assert_eq!(registry.is_allowed_by_name(url), is_allowed, "{url}");
        }
    }
}
