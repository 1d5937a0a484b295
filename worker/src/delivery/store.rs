//! The ciphertexts and receipts of delivered manifests, in the jobs' folders.
//!
//! One file holds both, so that they are there together or not at all.

use std::{fs, io};

use assay_client::sealing::{Receipt, SealedManifest};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    files::{Found, named, put_aside_of},
    jobs::JobStore,
    lease::LeaseKey,
};

/// Name of the file in a job's folder.
pub(crate) const DELIVERY: &str = "delivery.json";

/// A delivered manifest, still sealed, with the receipt that was given for it.
#[derive(Debug)]
pub(super) struct KeptDelivery {
    pub(super) receipt: Receipt,
    pub(super) sealed: SealedManifest,
}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    fingerprint: String,
    receipt: Receipt,
    /// The sealed manifest as base64.
    sealed: String,
}

/// Outcome of reading a job's delivery.
#[derive(Debug)]
pub(super) enum Stored {
    /// Nothing was delivered.
    Nothing,
    /// Something was delivered, and its file is corrupted.
    Broken,
    /// The delivery.
    Kept(Box<KeptDelivery>),
}

impl Stored {
    pub(super) fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::Kept(kept) => Some(&kept.receipt),
            Self::Nothing | Self::Broken => None,
        }
    }
}

impl JobStore {
    /// Returns the delivery of a job. One of another job with the same number counts as none.
    pub(super) fn delivery(&self, key: &LeaseKey) -> io::Result<Stored> {
        let path = self.folder_of(key.job).join(DELIVERY);
        let file = match self.disk().read_json::<File>(&path)? {
            Found::Whole(file) => file,
            Found::Broken => return Ok(Stored::Broken),
            Found::Nothing => return Ok(Stored::Nothing),
        };
        if file.fingerprint != key.fingerprint {
            return Ok(Stored::Nothing);
        }
        let sealed = STANDARD
            .decode(&file.sealed)
            .ok()
            .and_then(|body| SealedManifest::from_bytes(body).ok());
        Ok(sealed.map_or(Stored::Broken, |sealed| {
            Stored::Kept(Box::new(KeptDelivery {
                receipt: file.receipt,
                sealed,
            }))
        }))
    }

    /// Keeps the delivery of a job.
    pub(super) fn keep_delivery(&self, key: &LeaseKey, kept: &KeptDelivery) -> io::Result<()> {
        // Removes the folder of another chain's job with this number, which would go later otherwise.
        self.notes(key.job, &key.fingerprint)?;
        let file = File {
            fingerprint: key.fingerprint.clone(),
            receipt: kept.receipt,
            sealed: STANDARD.encode(kept.sealed.bytes()),
        };
        let bytes = serde_json::to_vec(&file).map_err(io::Error::other)?;
        self.disk()
            .write_whole(&self.folder_of(key.job), DELIVERY, &bytes)
    }

    /// Removes the delivery of a job, and the job's folder if nothing else is in it.
    pub(super) fn remove_delivery(&self, key: &LeaseKey) -> io::Result<()> {
        if matches!(self.delivery(key)?, Stored::Nothing) {
            return Ok(());
        }
        let folder = self.folder_of(key.job);
        let path = folder.join(DELIVERY);
        for path in put_aside_of(&path).into_iter().chain([path]) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(named("remove", &path, error));
                }
                _ => (),
            }
        }
        // Fails for a folder with notes or results, which are kept.
        let _ = fs::remove_dir(&folder);
        Ok(())
    }
}
