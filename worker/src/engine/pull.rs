//! Images at the engine: pull, lookup and removal.
//!
//! The engine pulls through the worker's [`RegistryProxy`], by a name of the proxy that is used once:
//! `127.0.0.1:<port>/<token>/<repository>@sha256:<digest>`. The image keeps that name. It cannot get the
//! manifest's own name instead, because no engine gives an image a second name by digest, and a Docker
//! without the containerd store forgets the digest that it verified when the name goes. So an image is looked
//! up by its digest among all names of all images, containers are created by the image's identifier, and one
//! pull of a digest at a time leaves it one name, which [`DockerEngine::remove_stored`] takes away with the
//! image.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use assay_client::manifest::{ImageReference, RegistryLogin};
use bollard::{
    Docker,
    auth::DockerCredentials,
    errors::Error as ApiError,
    models::ImageInspect,
    query_parameters::{CreateImageOptionsBuilder, ListImagesOptions, RemoveImageOptions},
};
use futures::TryStreamExt;
use tokio::sync::Mutex;

use super::{
    DockerEngine, EngineEndpoint, EngineError, StoredImage, digest_part,
    docker::{is_not_found, of_wire},
    wire::{Wire, WireError, escaped},
};
use crate::registry::{Pull, RegistryProxy, is_pull_name};

/// Timeout of pulling one image.
const PULL_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Number of further pulls of an image that came without a digest: Podman loses the names of an image that
/// several programs pull at once. Each takes no more than a look at the image's layers.
const REPEATED_PULLS: u32 = 3;

/// Pause before a further pull.
const REPEATED_PULL_PAUSE: Duration = Duration::from_millis(500);

/// Way by which an engine gets an image.
pub(super) enum PullWay<'a> {
    /// The engine requests it from its registry by itself.
    Direct,
    /// The engine requests it from the worker's proxy.
    Through(&'a RegistryProxy),
}

impl DockerEngine {
    /// Returns an engine that pulls images through a proxy.
    ///
    /// An engine at an HTTP address may be on another host, whose loopback address is not this one's. It
    /// pulls by itself, and only from the registries that the proxy allows by name.
    #[must_use]
    pub fn with_proxy(self, proxy: Arc<RegistryProxy>) -> Self {
        Self {
            proxy: Some(proxy),
            ..self
        }
    }

    /// Returns an image that the engine has, under the given name or with the digest in it; `None` if there
    /// is no such image.
    pub(super) async fn stored(
        &self,
        action: &str,
        image: &str,
    ) -> Result<Option<ImageInspect>, EngineError> {
        let named = self.call(action, |docker| inspected(docker, image)).await?;
        if named.is_some() {
            return Ok(named);
        }
        let Some(digest) = digest_part(image) else {
            return Ok(None);
        };
        let listed = self
            .call(action, |docker| async move {
                docker.list_images(None::<ListImagesOptions>).await
            })
            .await?;
        let has_digest = |names: &[String]| names.iter().any(|name| digest_part(name) == Some(digest));
        let Some(found) = listed.into_iter().find(|entry| has_digest(&entry.repo_digests)) else {
            return Ok(None);
        };
        self.call(action, |docker| inspected(docker, &found.id)).await
    }

    /// Returns an image that must be there.
    pub(super) async fn present(&self, action: &str, image: &str) -> Result<ImageInspect, EngineError> {
        let found = self.stored(action, image).await?;
        found.ok_or_else(|| EngineError::Refused {
            action: action.to_owned(),
            reason: format!("the engine has no image {image}"),
        })
    }

    pub(super) async fn has_stored(&self, image: &str, digest: [u8; 32]) -> Result<bool, EngineError> {
        let found = self.stored(&format!("look for {image}"), image).await?;
        found.map_or(Ok(false), |found| {
            verified_digest(&found, image, digest).map(|_| true)
        })
    }

    /// Pulls an image, and returns the digest that the engine verified.
    pub(super) async fn pull_stored(
        &self,
        image: &str,
        digest: [u8; 32],
        login: Option<&RegistryLogin>,
    ) -> Result<[u8; 32], EngineError> {
        // One pull of a digest at a time: each would leave a name of its own.
        let turn = self.turn(digest);
        let _turn = turn.lock().await;
        if self.has_stored(image, digest).await? {
            return Ok(digest);
        }
        let action = format!("pull {image}");
        let refused = |reason: String| EngineError::Refused {
            action: action.clone(),
            reason,
        };
        let reference = image
            .parse::<ImageReference>()
            .map_err(|error| refused(error.to_string()))?;
        let proxy = match self.way_of_pull(&reference)? {
            PullWay::Through(proxy) => proxy,
            PullWay::Direct => return self.pull_directly(&action, image, digest, login).await,
        };
        let pull = proxy
            .begin(&reference, login)
            .await
            .map_err(|error| EngineError::Failed {
                action: action.clone(),
                reason: error.to_string(),
            })?;
        let mut found = self.pull_once(&pull, &action).await?;
        for _ in 0..REPEATED_PULLS {
            if found.repo_digests.as_ref().is_some_and(|names| !names.is_empty()) {
                break;
            }
            tokio::time::sleep(REPEATED_PULL_PAUSE).await;
            found = self.pull_once(&pull, &action).await?;
        }
        verified_digest(&found, image, digest)
    }

    /// Pulls an image under the name of a pull, and returns what the engine has by it.
    async fn pull_once(&self, pull: &Pull, action: &str) -> Result<ImageInspect, EngineError> {
        tokio::select! {
            refusal = pull.refused() => {
                return Err(EngineError::Refused {
                    action: action.to_owned(),
                    reason: refusal.reason,
                });
            }
            pulled = self.pull_by_name(action, pull.name()) => {
                pulled.map_err(|error| with_reason_of(pull, action, error))?;
            }
        }
        self.present(action, pull.name()).await
    }

    /// Removes an image under its own name and under the names that it got by pulls of this digest; returns
    /// false if a container needs it.
    pub(super) async fn remove_stored(&self, image: &str) -> Result<bool, EngineError> {
        let action = format!("remove {image}");
        let names: Vec<String> = match digest_part(image) {
            // Only names that are there: Podman would remove an image of the same digest under any name.
            Some(digest) => {
                let all = self.stored_images().await?;
                let all = all.into_iter().flat_map(|stored| stored.references);
                let is_ours = |name: &str| is_pull_name(name) && digest_part(name) == Some(digest);
                all.filter(|name| name == image || is_ours(name)).collect()
            }
            None => vec![image.to_owned()],
        };
        for name in &names {
            let is_gone = self
                .call(&action, |docker| async move {
                    match docker.remove_image(name, None::<RemoveImageOptions>, None).await {
                        Ok(_) => Ok(true),
                        // A container needs it, running or not.
                        Err(ApiError::DockerResponseServerError { status_code: 409, .. }) => Ok(false),
                        Err(error) if is_not_found(&error) => Ok(true),
                        Err(error) => Err(error),
                    }
                })
                .await?;
            if !is_gone {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lists the images that have a name by digest.
    pub(super) async fn stored_images(&self) -> Result<Vec<StoredImage>, EngineError> {
        let listed = self
            .call("list images", |docker| async move {
                docker.list_images(None::<ListImagesOptions>).await
            })
            .await?;
        Ok(listed
            .into_iter()
            .map(|image| StoredImage {
                references: image.repo_digests,
                bytes: u64::try_from(image.size).unwrap_or(0),
            })
            .filter(|image| !image.references.is_empty())
            .collect())
    }

    /// Returns the way by which the engine gets an image.
    ///
    /// # Errors
    /// A refusal, if the engine may be on another host and nobody vouches for the registry.
    pub(super) fn way_of_pull(&self, image: &ImageReference) -> Result<PullWay<'_>, EngineError> {
        let Some(proxy) = self.proxy.as_deref() else {
            return Ok(PullWay::Direct);
        };
        match self.endpoint {
            EngineEndpoint::Socket(_) => Ok(PullWay::Through(proxy)),
            EngineEndpoint::Http(_) if proxy.private_registries().has_registry_of(image) => {
                Ok(PullWay::Direct)
            }
            EngineEndpoint::Http(_) => Err(EngineError::Refused {
                action: format!("pull {image}"),
                reason: format!(
                    "{} may be on another host, where nothing keeps a pull from private addresses: use the engine's socket \
                     (`assay.engine: unix://…`), or name this registry in `assay.private_registries`",
                    self.endpoint
                ),
            }),
        }
    }

    /// Returns the lock of the pulls of a digest.
    fn turn(&self, digest: [u8; 32]) -> Arc<Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(digest).or_default().clone()
    }

    /// Has the engine request an image from its registry by itself.
    async fn pull_directly(
        &self,
        action: &str,
        image: &str,
        digest: [u8; 32],
        login: Option<&RegistryLogin>,
    ) -> Result<[u8; 32], EngineError> {
        let credentials = login.map(|login| DockerCredentials {
            username: Some(login.username.clone()),
            password: Some(login.password.clone()),
            ..DockerCredentials::default()
        });
        in_time(action, self.pull_by_docker(action, image, credentials)).await?;
        let found = self.present(action, image).await?;
        verified_digest(&found, image, digest)
    }

    /// Has the engine pull from the proxy, without TLS.
    async fn pull_by_name(&self, action: &str, name: &str) -> Result<(), EngineError> {
        // Podman speaks TLS with every registry unless it is told otherwise, which its own interface only
        // can.
        if self.is_podman().await? {
            in_time(action, self.pull_by_libpod(action, name)).await
        } else {
            in_time(action, self.pull_by_docker(action, name, None)).await
        }
    }

    async fn pull_by_docker(
        &self,
        action: &str,
        name: &str,
        credentials: Option<DockerCredentials>,
    ) -> Result<(), EngineError> {
        self.call(action, |docker| async move {
            let options = CreateImageOptionsBuilder::new().from_image(name).build();
            docker
                .create_image(Some(options), None, credentials)
                .try_for_each(|_| async { Ok(()) })
                .await
        })
        .await
    }

    async fn pull_by_libpod(&self, action: &str, name: &str) -> Result<(), EngineError> {
        let failed = |reason: String| EngineError::Failed {
            action: action.to_owned(),
            reason,
        };
        let path = format!(
            "/v4.0.0/libpod/images/pull?tlsVerify=false&reference={}",
            escaped(name)
        );
        let pulling = async {
            let mut wire = Wire::open(&self.endpoint).await?;
            wire.reported(&path).await
        };
        match pulling.await {
            Ok(report) => match report.get("error").and_then(serde_json::Value::as_str) {
                None | Some("") => Ok(()),
                Some(reason) => Err(failed(reason.to_owned())),
            },
            Err(WireError::Status { message, .. }) => Err(failed(message)),
            Err(error) => Err(of_wire(&self.endpoint, action, &error)),
        }
    }
}

/// Returns an image by a name or an identifier; `None` if there is none.
async fn inspected(docker: Docker, name: &str) -> Result<Option<ImageInspect>, ApiError> {
    match docker.inspect_image(name).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Bounds the time of a pull.
async fn in_time(
    action: &str,
    pulling: impl Future<Output = Result<(), EngineError>>,
) -> Result<(), EngineError> {
    tokio::time::timeout(PULL_TIMEOUT, pulling)
        .await
        .map_err(|_| EngineError::Failed {
            action: action.to_owned(),
            reason: format!(
                "the image did not arrive within {} minutes",
                PULL_TIMEOUT.as_secs() / 60
            ),
        })?
}

/// Returns the registry's reason for a failed pull, if there is one: the engine knows only that the proxy did
/// not deliver.
fn with_reason_of(pull: &Pull, action: &str, error: EngineError) -> EngineError {
    let Some(refusal) = pull.refusal() else {
        return error;
    };
    let (action, reason) = (action.to_owned(), refusal.reason);
    if refusal.is_permanent {
        EngineError::Refused { action, reason }
    } else {
        EngineError::Failed { action, reason }
    }
}

/// Returns the digest that the engine recorded for the image, if it is `digest`.
///
/// Docker and Podman hash a manifest that they fetch by digest, and keep it only if the hash matches. An
/// image that lost its names says nothing of its digest, and may have them again at the next attempt.
fn verified_digest(image: &ImageInspect, name: &str, digest: [u8; 32]) -> Result<[u8; 32], EngineError> {
    let wanted = format!("sha256:{}", hex::encode(digest));
    let recorded = image.repo_digests.as_deref().unwrap_or_default();
    if recorded
        .iter()
        .any(|entry| digest_part(entry) == Some(wanted.as_str()))
    {
        return Ok(digest);
    }
    let action = format!("verify {name}");
    if recorded.is_empty() {
        let reason =
            "the engine has it without a digest, as after pulls by several programs at once".to_owned();
        return Err(EngineError::Failed { action, reason });
    }
    Err(EngineError::Refused {
        action,
        reason: format!(
            "its digests are [{}], and {wanted} is not among them",
            recorded.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn other_digests_are_final_and_missing_ones_are_not() {
        let digest = [0xab; 32];
        let with = |names: Option<Vec<String>>| ImageInspect {
            repo_digests: names,
            ..ImageInspect::default()
        };
        let name = |byte: &str| format!("127.0.0.1:1/t/a@sha256:{}", byte.repeat(32));
        let verify = |names| verified_digest(&with(names), "a", digest);
        assert_eq!(verify(Some(vec![name("cd"), name("ab")])), Ok(digest));
        assert!(verify(Some(vec![name("cd")])).unwrap_err().is_permanent());
        for none in [None, Some(Vec::new())] {
            let error = verify(none).unwrap_err();
            assert!(!error.is_permanent(), "{error}");
        }
    }
}
