//! Delivery of sealed manifests: opens what consumers put, keeps the ciphertext, and signs receipts.
//!
//! ```text
//! PUT …/manifest ─▶ Delivery::put: opens, compares hash and image ─▶ ciphertext on disk ─▶ signed receipt
//! supervisor ─▶ Delivery::fact: awaited, received or unusable ─▶ Delivery::manifest, in memory only
//! ```
//!
//! The plain text stays in memory; the disk has the ciphertext only, for restarts. A delivery needs no
//! further permission: the worker accepts only bytes with the hash on chain, which only their owner knows.
//!
//! A receipt is binding. The worker signs it only once the ciphertext is on disk, and from then on never
//! reports the job as not delivered; before such a report, it stops accepting deliveries.

mod attempts;
mod store;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use assay_client::{
    Keypair,
    keys::{account_of, sealing_public_key},
    manifest::OpenedManifest,
    sealing::{PlainManifest, Receipt, SealContext, SealError, SealedManifest},
    types::{AssignmentState, Manifest},
};
use assay_primitives::delivery::ReceiptStatement;
use x25519_dalek::StaticSecret;

pub use attempts::Attempts;
use store::{KeptDelivery, Stored};

use crate::{chain::AssignedJob, jobs::JobStore, lease::LeaseKey};

/// State of a job's manifest on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryFact {
    /// The manifest is public: nothing has to be delivered.
    NotNeeded,
    /// The sealed manifest has not come.
    Awaited,
    /// The sealed manifest is here, and a receipt was given.
    Received,
    /// A receipt was given, and the ciphertext is lost or was sealed to an earlier key of the machine: the
    /// consumer can deliver it again.
    Unusable,
}

impl DeliveryFact {
    /// Returns the obstacle to the job's start, if there is one.
    pub fn problem(self) -> Option<&'static str> {
        match self {
            Self::NotNeeded | Self::Received => None,
            Self::Awaited => Some("its sealed manifest has not been delivered yet"),
            Self::Unusable => {
                Some("its sealed manifest cannot be used any more, and has to be delivered again")
            }
        }
    }
}

/// Reason why a delivery was not taken, or a delivered manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The worker has not read the chain yet.
    #[error("the worker has not read the chain yet; try again in some seconds")]
    NotReady,
    /// The job is not assigned to this machine.
    #[error(
        "job {job} is not assigned to this machine, as far as it knows; try again when the assignment is in a block"
    )]
    NotAssigned {
        /// The job.
        job: u64,
    },
    /// The job's manifest is public.
    #[error("the manifest of job {job} is public and on chain; nothing has to be delivered")]
    Public {
        /// The job.
        job: u64,
    },
    /// The manifest cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The manifest is not the one that was ordered.
    #[error(
        "the manifest is not the one that was ordered: nonce and manifest have the hash 0x{found}, and the order names \
         0x{ordered}"
    )]
    OtherManifest {
        /// Hash of the delivered bytes, hexadecimal.
        found: String,
        /// Hash on chain, hexadecimal.
        ordered: String,
    },
    /// The manifest is the one that was ordered, and not valid. The reason may quote it.
    #[error("the manifest is the one that was ordered, and it cannot be run: {reason}")]
    Invalid {
        /// Fault of the manifest.
        reason: String,
    },
    /// The machine is declining the job.
    #[error("the machine is declining job {job}, because no manifest came in time")]
    TooLate {
        /// The job.
        job: u64,
    },
    /// Nothing usable was delivered.
    #[error("the job's sealed manifest has to be delivered again: {reason}")]
    Missing {
        /// Reason why it cannot be used.
        reason: String,
    },
    /// The state folder cannot be read or written.
    #[error(transparent)]
    Store(#[from] io::Error),
}

/// A job that is assigned to this machine, as far as deliveries need it.
#[derive(Clone, Debug)]
struct Assigned {
    fingerprint: String,
    manifest: Manifest,
    image_digest: [u8; 32],
}

/// The chain at the supervisor's last look.
struct ChainView {
    genesis_hash: [u8; 32],
    machine: u64,
    active_time_ms: u64,
    jobs: BTreeMap<u64, Assigned>,
}

#[derive(Default)]
struct State {
    view: Option<ChainView>,
    /// Facts of sealed jobs in the view, so that no round opens a manifest.
    facts: HashMap<LeaseKey, DeliveryFact>,
    /// Jobs that are being declined as not delivered.
    closed: HashSet<LeaseKey>,
}

struct Inner {
    worker: Keypair,
    sealing: StaticSecret,
    store: JobStore,
    state: Mutex<State>,
}

/// Takes deliveries, and gives the supervisor the manifests. Clones share the state.
#[derive(Clone)]
pub struct Delivery(Arc<Inner>);

impl Delivery {
    /// Creates the delivery of a machine with these keys, which keeps ciphertexts in the jobs' folders.
    pub fn new(worker: Keypair, sealing: StaticSecret, store: JobStore) -> Self {
        Self(Arc::new(Inner {
            worker,
            sealing,
            store,
            state: Mutex::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the jobs that a block assigns to the machine, and their fingerprints.
    pub(crate) fn note_chain<'a>(
        &self,
        genesis_hash: [u8; 32],
        machine: u64,
        active_time_ms: u64,
        jobs: impl Iterator<Item = (u64, String, &'a AssignedJob)>,
    ) {
        let jobs: BTreeMap<_, _> = jobs
            .filter(|(_, _, job)| !matches!(job.assignment.state, AssignmentState::Ended { .. }))
            .map(|(id, fingerprint, assigned)| {
                let assigned = Assigned {
                    fingerprint,
                    manifest: assigned.job.manifest,
                    image_digest: assigned.job.image_digest,
                };
                (id, assigned)
            })
            .collect();
        let mut state = self.state();
        state.facts.retain(|key, _| {
            jobs.get(&key.job)
                .is_some_and(|assigned| assigned.fingerprint == key.fingerprint)
        });
        state.view = Some(ChainView {
            genesis_hash,
            machine,
            active_time_ms,
            jobs,
        });
    }

    /// Takes a delivery, and returns the machine's receipt. A repeated delivery of the same manifest, sealed
    /// in the same way or anew, gives the same receipt.
    pub fn put(&self, job: u64, body: &[u8]) -> Result<Receipt, DeliveryError> {
        let sealed = SealedManifest::from_bytes(body.to_vec())?;
        let mut state = self.state();
        let view = state.view.as_ref().ok_or(DeliveryError::NotReady)?;
        let assigned = view
            .jobs
            .get(&job)
            .ok_or(DeliveryError::NotAssigned { job })?
            .clone();
        let Manifest::Sealed { hash } = assigned.manifest else {
            return Err(DeliveryError::Public { job });
        };
        let key = LeaseKey {
            job,
            fingerprint: assigned.fingerprint,
        };
        let context = self.context(view, job);
        let statement = ReceiptStatement {
            job,
            machine: view.machine,
            manifest_hash: hash.0,
            active_time_ms: view.active_time_ms,
        };
        let plain = sealed.open(&self.0.sealing, &context)?;
        if plain.hash() != hash.0 {
            return Err(DeliveryError::OtherManifest {
                found: hex::encode(plain.hash()),
                ordered: hex::encode(hash),
            });
        }
        check_manifest(&plain, assigned.image_digest)?;
        if state.closed.contains(&key) {
            return Err(DeliveryError::TooLate { job });
        }

        let kept = self.0.store.delivery(&key)?;
        let genesis_hash = context.genesis_hash;
        let worker = account_of(&self.0.worker);
        // A receipt of an earlier worker key says nothing of the present one.
        let earlier = kept
            .receipt()
            .filter(|receipt| receipt.manifest_hash == hash.0 && receipt.is_signed_by(&worker, &genesis_hash))
            .copied();
        let is_usable = earlier.is_some()
            && matches!(&kept, Stored::Kept(kept) if kept.sealed.open(&self.0.sealing, &context).is_ok());
        let receipt = earlier.unwrap_or_else(|| Receipt::sign(&self.0.worker, &genesis_hash, &statement));
        if !is_usable {
            self.0
                .store
                .keep_delivery(&key, &KeptDelivery { receipt, sealed })?;
            tracing::info!(job, "the job's sealed manifest was delivered");
        }
        state.facts.insert(key, DeliveryFact::Received);
        Ok(receipt)
    }

    /// Returns the state of a job's manifest.
    pub fn fact(&self, key: &LeaseKey, manifest: &Manifest) -> DeliveryFact {
        let Manifest::Sealed { hash } = manifest else {
            return DeliveryFact::NotNeeded;
        };
        let mut state = self.state();
        if let Some(fact) = state.facts.get(key) {
            return *fact;
        }
        let fact = match self.0.store.delivery(key) {
            Ok(Stored::Nothing) => DeliveryFact::Awaited,
            Ok(stored) => match self.open(&state, key, &hash.0, stored) {
                Ok(_) => DeliveryFact::Received,
                Err(error) => {
                    tracing::error!(job = key.job, %error, "a delivered manifest cannot be used any more");
                    DeliveryFact::Unusable
                }
            },
            // Read again in the next round.
            Err(error) => {
                tracing::error!(job = key.job, %error, "reading a delivered manifest failed");
                return DeliveryFact::Unusable;
            }
        };
        if state.view.is_some() {
            state.facts.insert(key.clone(), fact);
        }
        fact
    }

    /// Returns the delivered manifest of a job, in memory only.
    pub fn manifest(
        &self,
        key: &LeaseKey,
        manifest_hash: &[u8; 32],
    ) -> Result<OpenedManifest, DeliveryError> {
        let state = self.state();
        let stored = self.0.store.delivery(key)?;
        self.open(&state, key, manifest_hash, stored)
    }

    fn open(
        &self,
        state: &State,
        key: &LeaseKey,
        manifest_hash: &[u8; 32],
        stored: Stored,
    ) -> Result<OpenedManifest, DeliveryError> {
        let missing = |reason: &str| DeliveryError::Missing {
            reason: reason.to_owned(),
        };
        let view = state.view.as_ref().ok_or(DeliveryError::NotReady)?;
        let kept = match stored {
            Stored::Kept(kept) => kept,
            Stored::Nothing => return Err(missing("none came")),
            Stored::Broken => return Err(missing("its file was corrupted")),
        };
        let plain = kept
            .sealed
            .open(&self.0.sealing, &self.context(view, key.job))
            .map_err(|_| missing("it was sealed to an earlier key of the machine"))?;
        if plain.hash() != *manifest_hash {
            return Err(missing("another one was kept"));
        }
        // It was valid when it came. The error would quote it, in the log or in a file.
        plain
            .manifest()
            .map_err(|_| missing("this version of the worker does not understand it"))
    }

    /// Stops taking deliveries of a job that is to be declined as not delivered. Returns false if a receipt
    /// was given: then it must not be declined for this reason.
    pub fn close(&self, key: &LeaseKey) -> bool {
        let mut state = self.state();
        // A file that cannot be read may hold a receipt.
        let has_none = matches!(self.0.store.delivery(key), Ok(Stored::Nothing));
        if has_none {
            state.closed.insert(key.clone());
        }
        has_none
    }

    /// Removes the files of a job that is gone from the chain.
    pub fn forget(&self, key: &LeaseKey) -> io::Result<()> {
        let mut state = self.state();
        state.facts.remove(key);
        state.closed.remove(key);
        self.0.store.remove_delivery(key)
    }

    fn context(&self, view: &ChainView, job: u64) -> SealContext {
        SealContext {
            genesis_hash: view.genesis_hash,
            job,
            machine: view.machine,
            sealing_key: sealing_public_key(&self.0.sealing),
        }
    }
}

/// Checks that a manifest is valid and of the image that was ordered.
fn check_manifest(plain: &PlainManifest, image_digest: [u8; 32]) -> Result<(), DeliveryError> {
    let manifest = plain.manifest().map_err(|error| DeliveryError::Invalid {
        reason: error.to_string(),
    })?;
    if manifest.image.digest() != image_digest {
        return Err(DeliveryError::Invalid {
            reason: format!(
                "its image has the digest {}, and the order names sha256:{}",
                manifest.image.digest_text(),
                hex::encode(image_digest)
            ),
        });
    }
    Ok(())
}
