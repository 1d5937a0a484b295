//! The keys of a machine: the hot worker key, the sealing key, and perhaps the provider's own key.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use assay_client::{AccountId, Keypair, keys as client_keys};
use x25519_dalek::StaticSecret;

use crate::{
    config::{AssaySettings, ProviderKey},
    sealing_store::{Custody, SealingError, SealingStore},
};

/// Every key that this worker holds.
#[derive(Clone)]
pub struct Keys {
    /// Signs what the machine does on chain, and its status.
    pub worker: Keypair,
    /// Opens what consumers seal to the machine.
    pub sealing: StaticSecret,
    /// Registers and bonds the machine, where the provider entrusts it to this host.
    pub provider: Option<Keypair>,
    /// How the sealing key is kept.
    pub sealing_custody: Custody,
    agreements: Agreements,
}

/// Signatures by genesis hash and provider.
type Agreements = Arc<Mutex<BTreeMap<[[u8; 32]; 2], [u8; 64]>>>;

impl Keys {
    /// These keys, the sealing key of a plain file.
    pub fn new(worker: Keypair, sealing: StaticSecret, provider: Option<Keypair>) -> Self {
        Self {
            worker,
            sealing,
            provider,
            sealing_custody: Custody::File,
            agreements: Agreements::default(),
        }
    }

    /// Loads the keys that the configuration names; the worker and sealing keys are made where they are missing.
    pub fn load_or_create(settings: &AssaySettings, store: &SealingStore) -> Result<Self, SealingError> {
        let provider = match &settings.provider_key {
            Some(ProviderKey::File(path)) => Some(client_keys::load_key_file(path)?),
            Some(ProviderKey::Uri(uri)) => Some(client_keys::keypair_from_uri(uri)?),
            None => None,
        };
        let worker = client_keys::load_or_create_key_file(&settings.worker_key_file)?;
        let keys = Self::new(worker, store.load_or_create()?, provider);
        Ok(Self {
            sealing_custody: store.custody(),
            ..keys
        })
    }

    /// The account of the worker key.
    pub fn worker_account(&self) -> AccountId {
        client_keys::account_of(&self.worker)
    }

    /// The key that consumers encrypt to.
    pub fn sealing_public(&self) -> [u8; 32] {
        client_keys::sealing_public_key(&self.sealing)
    }

    /// The worker key's agreement to serve a provider.
    ///
    /// Two signatures of the same message differ. This is the same one however often it is asked for, so that a text
    /// with it changes only when something else does.
    pub fn agreement(&self, genesis_hash: [u8; 32], provider: [u8; 32]) -> [u8; 64] {
        let mut agreements = self.agreements.lock().unwrap_or_else(PoisonError::into_inner);
        *agreements
            .entry([genesis_hash, provider])
            .or_insert_with(|| client_keys::sign_worker_key(&self.worker, &genesis_hash, &provider))
    }

    /// The account of the provider key.
    pub fn provider_account(&self) -> Option<AccountId> {
        self.provider.as_ref().map(client_keys::account_of)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn agreement_with_a_provider_is_signed_once() {
        let worker = client_keys::keypair_from_uri("//Eve").unwrap();
        let keys = Keys::new(worker, StaticSecret::from([7; 32]), None);
        let agreement = keys.agreement([1; 32], [2; 32]);
        assert_eq!(keys.clone().agreement([1; 32], [2; 32]), agreement);
        assert_ne!(keys.agreement([1; 32], [3; 32]), agreement);
    }
}
