//! Pulls that are under way: which parts of which image the engine may request, and why one was refused.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use assay_client::{
    manifest::ImageReference,
    registry::{Document, Part},
};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{
    RegistryError,
    client::{Manifest, Repository},
};

/// Address of the proxy, and of the first part of the images' names at the engine.
pub(super) const HOST: &str = "127.0.0.1";

/// Length of a pull's token in bytes; in names it is hexadecimal.
pub(super) const TOKEN_BYTES: usize = 16;

/// Maximum length of an image's name at an engine, registry included, without its digest.
const MAX_NAME_BYTES: usize = 255;

/// Maximum number of a pull's layers that are sent at once. Engines request at most six.
const MAX_STREAMS: usize = 16;

/// Reason why the registry's part of a pull failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Text for the provider and the consumer.
    pub reason: String,
    /// True if another attempt would fail the same way.
    pub is_permanent: bool,
}

/// Pulls that are under way, by their tokens.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Arc<Session>>>);

impl Sessions {
    pub(super) fn find(&self, token: &str) -> Option<Arc<Session>> {
        self.all().get(token).cloned()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permission to pull one image through the proxy, which ends when this is dropped.
pub struct Pull {
    sessions: Arc<Sessions>,
    session: Arc<Session>,
    token: String,
    name: String,
}

impl Drop for Pull {
    fn drop(&mut self) {
        self.sessions.all().remove(&self.token);
        self.session.ended.cancel();
    }
}

impl Pull {
    pub(super) fn begin(
        sessions: Arc<Sessions>,
        repository: Repository,
        image: &ImageReference,
        token: [u8; TOKEN_BYTES],
        port: u16,
    ) -> Self {
        let token = hex::encode(token);
        let place = format!("{HOST}:{port}/{token}");
        // The repository is in the name for people only; a name that is too long goes without.
        let repository_name = Some(image.repository())
            .filter(|name| place.len() + 1 + name.len() <= MAX_NAME_BYTES)
            .unwrap_or("image");
        let name = format!("{place}/{repository_name}@{}", image.digest_text());
        let session = Arc::new(Session {
            repository,
            parts: Mutex::new(Parts {
                manifests: BTreeSet::from([image.digest_text()]),
                blobs: BTreeMap::new(),
            }),
            refusal: watch::Sender::new(None),
            ended: CancellationToken::new(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        });
        sessions.all().insert(token.clone(), session.clone());
        Self {
            sessions,
            session,
            token,
            name,
        }
    }

    /// Returns the name by which the engine pulls the image: that of the proxy, with the image's digest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the latest reason why a request of this pull failed.
    pub fn refusal(&self) -> Option<Refusal> {
        self.session.refusal.borrow().clone()
    }

    /// Waits until this pull has failed for good. Engines repeat requests for a while; there is no need to
    /// wait for their last.
    pub async fn refused(&self) -> Refusal {
        let mut refusals = self.session.refusal.subscribe();
        loop {
            let refusal = refusals.borrow_and_update().clone();
            if let Some(refusal) = refusal.filter(|refusal| refusal.is_permanent) {
                return refusal;
            }
            if refusals.changed().await.is_err() {
                // Not reached: the session has the sender.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Returns true for a name that an image got by a pull through a proxy, of this or of an earlier process.
pub(crate) fn is_pull_name(reference: &str) -> bool {
    let mut parts = reference.splitn(3, '/');
    let has_port = parts
        .next()
        .and_then(|place| place.strip_prefix(HOST)?.strip_prefix(':'))
        .is_some_and(|port| port.parse::<u16>().is_ok());
    let has_token = parts.next().is_some_and(|token| {
        token.len() == 2 * TOKEN_BYTES
            && token
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    has_port && has_token && parts.next().is_some()
}

/// Parts of an image that the engine may request, by their digests.
struct Parts {
    manifests: BTreeSet<String>,
    /// Length in bytes of each configuration and layer.
    blobs: BTreeMap<String, u64>,
}

/// One pull: one image of one repository.
pub(super) struct Session {
    pub(super) repository: Repository,
    parts: Mutex<Parts>,
    refusal: watch::Sender<Option<Refusal>>,
    /// Cancelled when the pull has ended.
    pub(super) ended: CancellationToken,
    /// Permits for layers that are being sent.
    pub(super) streams: Arc<Semaphore>,
}

impl Session {
    /// Returns a manifest or an index of the image, and permits the parts that it names; `None` if the digest
    /// is none of this image.
    pub(super) async fn manifest(
        &self,
        digest: &str,
    ) -> Result<Option<(Manifest, &'static str)>, RegistryError> {
        if !self.parts().manifests.contains(digest) {
            return Ok(None);
        }
        let manifest = self.repository.manifest(digest).await?;
        // The engine reads the document by this type: with another one it might find parts in it that were
        // not looked at here.
        let Some(kind) = manifest.kind else {
            return Err(RegistryError::BadAnswer {
                url: self.repository.url("manifests", digest),
                reason: "its media type is none of an image's manifest".into(),
            });
        };
        self.permit(&manifest.document);
        Ok(Some((manifest, kind)))
    }

    /// Returns the length of a configuration or layer of the image, in bytes; `None` if the digest is none of
    /// this image.
    pub(super) fn blob_bytes(&self, digest: &str) -> Option<u64> {
        self.parts().blobs.get(digest).copied()
    }

    /// Records why a request failed. A reason for good stays.
    pub(super) fn note(&self, error: &RegistryError) {
        let refusal = Refusal {
            reason: error.to_string(),
            is_permanent: error.is_permanent(),
        };
        self.refusal.send_if_modified(|latest| {
            let is_final = latest.as_ref().is_some_and(|latest| latest.is_permanent);
            if !is_final {
                *latest = Some(refusal);
            }
            !is_final
        });
    }

    fn permit(&self, document: &Document) {
        let mut parts = self.parts();
        let is_digest = |part: &&Part| {
            part.digest
                .strip_prefix("sha256:")
                .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let manifests = document.manifests.iter().flatten().filter(is_digest);
        parts.manifests.extend(manifests.map(|part| part.digest.clone()));
        let blobs = document.config.iter().chain(&document.layers).filter(is_digest);
        parts
            .blobs
            .extend(blobs.map(|part| (part.digest.clone(), part.size)));
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
