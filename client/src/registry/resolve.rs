//! Resolution of a tag to a digest.

use std::sync::{Arc, OnceLock};

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{Uri, header};
use rustls::ClientConfig;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Document, MANIFEST_KINDS, MAX_DOCUMENT_BYTES, redirected, repository_url, token_url};
use crate::{
    manifest::{ImageName, ImageReference, RegistryLogin},
    worker_api::{
        WorkerApiError,
        http::{Answer, Base, Call},
    },
};

/// Maximum length of a token service's answer, in bytes.
const MAX_TOKEN_BYTES: usize = 64 * 1_024;

/// Maximum number of redirects for one document.
const MAX_REDIRECTS: usize = 3;

/// Reason why a tag has no digest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The registry does not answer.
    #[error(
        "the registry of {image} does not answer ({reason}); check the image's name, or name it by digest: \
         NAME@sha256:<64 hex digits>"
    )]
    NoAnswer {
        /// Name of the image.
        image: String,
        /// Reason that the connection gave.
        reason: String,
    },
    /// The registry has no such image.
    #[error("there is no image {image} at its registry; check the name and the tag, or push it")]
    NotFound {
        /// Name of the image.
        image: String,
    },
    /// The registry wants other credentials.
    #[error(
        "the registry refuses to show {image}: it is private, or not there; give the credentials of an account that may \
         pull it, in a sealed order"
    )]
    Refused {
        /// Name of the image.
        image: String,
    },
    /// The registry answered with another status.
    #[error("the registry answered {status} when it was asked for {image}; try again later")]
    Status {
        /// Name of the image.
        image: String,
        /// HTTP status.
        status: u16,
    },
    /// The answer is no manifest of an image.
    #[error(
        "what the registry sent for {image} cannot be used: {reason}; no worker would take this image, build and push it \
         again"
    )]
    BadAnswer {
        /// Name of the image.
        image: String,
        /// Fault of the answer.
        reason: String,
    },
    /// The client cannot make TLS connections.
    #[error(
        "TLS cannot be set up: {reason}; install this system's root certificates (package ca-certificates)"
    )]
    Tls {
        /// Fault of the set-up.
        reason: String,
    },
}

/// Returns the reference of the image that a name means now. A name with a digest means that one, and no
/// registry is asked.
///
/// `login`: credentials for the registry and its token service; they are sent over TLS, or to this host.
/// Registries on a loopback address are asked without TLS, all others with it.
///
/// # Errors
/// The registry does not answer, has no such image, or sends what no worker would take.
pub async fn resolve(
    name: &ImageName,
    login: Option<&RegistryLogin>,
) -> Result<ImageReference, ResolveError> {
    if let Some(reference) = name.reference() {
        return Ok(reference);
    }
    let request = Request {
        image: name.to_string(),
        repository: repository_url(name.registry(), name.repository(), true),
        login: login.map(|login| {
            let pair = Zeroizing::new(format!("{}:{}", login.username, login.password));
            Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())))
        }),
    };
    let answer = request.manifest(name.tag_or_latest()).await?;
    let digest: [u8; 32] = Sha256::digest(&answer.body).into();
    let named = answer.header("docker-content-digest").unwrap_or_default();
    let found = format!("sha256:{}", hex::encode(digest));
    if !named.is_empty() && named != found {
        return Err(request.bad(format!(
            "the registry names its digest {named}, and it has {found}"
        )));
    }
    let document = Document::parse(&answer.body).map_err(|reason| request.bad(reason))?;
    if document.config.is_none() && document.manifests.is_none() {
        return Err(request.bad("it is neither a manifest nor an index".to_owned()));
    }
    Ok(name.with_digest(digest))
}

/// Answer of a token service.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Question for one image.
struct Request {
    /// Name of the image, for errors.
    image: String,
    /// URL of its repository.
    repository: String,
    /// Value of the header with the credentials.
    login: Option<Zeroizing<String>>,
}

impl Request {
    /// Returns the registry's answer for a tag, which is one of success.
    async fn manifest(&self, tag: &str) -> Result<Answer, ResolveError> {
        let url = format!("{}/manifests/{tag}", self.repository);
        let mut answer = self.follow(&url, None).await?;
        if answer.status == 401 {
            let permission = match token_url(&answer.headers) {
                Some(url) => Some(self.token(&url).await?),
                // A registry without a token service takes the credentials themselves.
                None => self.login.clone(),
            };
            if permission.is_some() {
                answer = self.follow(&url, permission.as_ref()).await?;
            }
        }
        match answer.status {
            200 => Ok(answer),
            status => Err(self.refused(status)),
        }
    }

    /// Returns the answer of a URL after its redirects. The permission is sent to the repository only.
    async fn follow(
        &self,
        url: &str,
        permission: Option<&Zeroizing<String>>,
    ) -> Result<Answer, ResolveError> {
        let mut at = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let permission = permission.filter(|_| at.starts_with(&self.repository));
            let answer = self.ask(&at, permission, MAX_DOCUMENT_BYTES).await?;
            if !(300..400).contains(&answer.status) {
                return Ok(answer);
            }
            at = redirected(&at, &answer.headers)
                .ok_or_else(|| self.bad("a redirect without an allowed target".to_owned()))?;
        }
        Err(self.bad(format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Returns the header's value with a token.
    async fn token(&self, url: &str) -> Result<Zeroizing<String>, ResolveError> {
        // Without TLS only where the registry itself is on this host.
        let is_safe = url.starts_with("https://") || self.repository.starts_with("http://");
        let login = self.login.as_ref().filter(|_| is_safe);
        let answer = self.ask(url, login, MAX_TOKEN_BYTES).await?;
        if answer.status != 200 {
            return Err(self.refused(answer.status));
        }
        let token: Option<Token> = serde_json::from_slice(&answer.body).ok();
        token
            .and_then(|token| token.token.or(token.access_token))
            .map(|token| Zeroizing::new(format!("Bearer {token}")))
            .ok_or_else(|| self.bad("its token service gave no token".to_owned()))
    }

    async fn ask(
        &self,
        url: &str,
        permission: Option<&Zeroizing<String>>,
        at_most: usize,
    ) -> Result<Answer, ResolveError> {
        let bad_url = || self.bad(format!("{url:?} is no URL of a registry"));
        let uri: Uri = url.parse().map_err(|_| bad_url())?;
        let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or_else(bad_url)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let base =
            Base::new(&format!("{scheme}://{authority}"), tls()?).map_err(|error| self.failed(error))?;
        let mut call = Call::get(path)
            .at_most(at_most)
            .header(header::ACCEPT, MANIFEST_KINDS.join(", "));
        if let Some(permission) = permission {
            call = call.header(header::AUTHORIZATION, String::clone(permission));
        }
        base.ask(call).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: WorkerApiError) -> ResolveError {
        let image = self.image.clone();
        match error {
            WorkerApiError::Unreachable { reason, .. } => ResolveError::NoAnswer { image, reason },
            WorkerApiError::OtherKey { url } => ResolveError::NoAnswer {
                image,
                reason: format!("no authority that this system trusts vouches for the certificate of {url}"),
            },
            WorkerApiError::NotUnderstood { reason, .. } => ResolveError::BadAnswer { image, reason },
            other => ResolveError::NoAnswer {
                image,
                reason: other.to_string(),
            },
        }
    }

    fn refused(&self, status: u16) -> ResolveError {
        let image = self.image.clone();
        match status {
            401 | 403 => ResolveError::Refused { image },
            404 => ResolveError::NotFound { image },
            status => ResolveError::Status { image, status },
        }
    }

    fn bad(&self, reason: String) -> ResolveError {
        ResolveError::BadAnswer {
            image: self.image.clone(),
            reason,
        }
    }
}

/// Returns TLS settings with the system's root certificates, which are read once.
fn tls() -> Result<Arc<ClientConfig>, ResolveError> {
    static SETTINGS: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(settings) = SETTINGS.get() {
        return Ok(settings.clone());
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    // Named, so that it does not depend on the default that other crates install.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut settings = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ResolveError::Tls {
            reason: error.to_string(),
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(SETTINGS.get_or_init(|| Arc::new(settings)).clone())
}
