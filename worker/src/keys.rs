//! The keys of a machine: the hot worker key, the sealing key, and optionally the provider's own key.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use assay_client::{
    AccountId, Keypair,
    keys::{self as client_keys, KeyError},
};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use crate::{
    config::{AssaySettings, ProviderKey},
    sealing_store::{Custody, SealingError, SealingStore},
};

/// The keys that this worker holds.
#[derive(Clone)]
pub struct Keys {
    /// Signs the machine's calls on chain, and its status.
    pub worker: Keypair,
    /// Decrypts data that consumers seal to the machine.
    pub sealing: StaticSecret,
    /// Registers and bonds the machine, if the provider entrusts it to this host.
    pub provider: Option<Keypair>,
    /// Storage of the sealing key.
    pub sealing_custody: Custody,
    agreements: Agreements,
}

/// Keys of a look that writes nothing.
pub struct FoundKeys {
    /// The keys; new ones are in memory alone.
    pub keys: Keys,
    /// True if there is no worker key yet: the worker creates one when it starts.
    pub worker_is_new: bool,
    /// True if there is no lasting sealing key: the worker creates one when it starts.
    pub sealing_is_new: bool,
}

/// Loads the provider's key, if one is configured.
fn load_provider(settings: &AssaySettings) -> Result<Option<Keypair>, SealingError> {
    Ok(match &settings.provider_key {
        Some(ProviderKey::File(path)) => Some(client_keys::load_key_file(path)?),
        Some(ProviderKey::Uri(uri)) => Some(client_keys::keypair_from_uri(uri)?),
        None => None,
    })
}

/// Loads the worker key; `None` if there is none and none was ever used.
fn load_worker(settings: &AssaySettings, known: &[String]) -> Result<Option<Keypair>, SealingError> {
    let path = &settings.worker_key_file;
    match (client_keys::load_key_file(path), known.last()) {
        (Err(KeyError::Missing { .. }), Some(last)) => Err(SealingError::WorkerKeyLost {
            path: path.clone(),
            last: last.clone(),
        }),
        (Err(KeyError::Missing { .. }), None) => Ok(None),
        (loaded, _) => Ok(Some(loaded?)),
    }
}

fn random_bytes() -> Result<Zeroizing<[u8; 32]>, SealingError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|error| SealingError::NoRandomness {
        reason: error.to_string(),
    })?;
    Ok(bytes)
}

/// Cache of signatures, by genesis hash and provider.
type Agreements = Arc<Mutex<BTreeMap<[[u8; 32]; 2], [u8; 64]>>>;

impl Keys {
    /// Creates the set from these keys, with a sealing key from a plain file.
    pub fn new(worker: Keypair, sealing: StaticSecret, provider: Option<Keypair>) -> Self {
        Self {
            worker,
            sealing,
            provider,
            sealing_custody: Custody::File,
            agreements: Agreements::default(),
        }
    }

    /// Loads the configured keys; creates the worker key and the sealing key if they are missing.
    ///
    /// A worker key is created only if none was used before: `known` are the public parts, hexadecimal, of
    /// the keys that the state folder was used with. No key file is ever changed, moved, or replaced because
    /// it cannot be read.
    pub fn load_or_create(
        settings: &AssaySettings,
        store: &SealingStore,
        known: &[String],
    ) -> Result<Self, SealingError> {
        let provider = load_provider(settings)?;
        let worker = match load_worker(settings, known)? {
            Some(worker) => worker,
            None => client_keys::load_or_create_key_file(&settings.worker_key_file)?,
        };
        let keys = Self::new(worker, store.load_or_create()?, provider);
        Ok(Self {
            sealing_custody: store.custody(),
            ..keys
        })
    }

    /// Loads the configured keys like [`Self::load_or_create`], and writes nothing: keys that it would create
    /// are made in memory, for this look alone.
    ///
    /// # Errors
    /// Those of [`Self::load_or_create`], except those of writing.
    pub fn look(
        settings: &AssaySettings,
        store: &SealingStore,
        known: &[String],
    ) -> Result<FoundKeys, SealingError> {
        let provider = load_provider(settings)?;
        let (worker, worker_is_new) = match load_worker(settings, known)? {
            Some(worker) => (worker, false),
            None => {
                let seed = Zeroizing::new(format!("0x{}", hex::encode(*random_bytes()?)));
                (client_keys::keypair_from_uri(&seed)?, true)
            }
        };
        let (sealing, sealing_is_new) = match store.look()? {
            Some(sealing) => (sealing, false),
            None => (StaticSecret::from(*random_bytes()?), true),
        };
        let keys = Self::new(worker, sealing, provider);
        Ok(FoundKeys {
            keys: Self {
                sealing_custody: store.custody(),
                ..keys
            },
            worker_is_new,
            sealing_is_new,
        })
    }

    /// Returns the account of the worker key.
    pub fn worker_account(&self) -> AccountId {
        client_keys::account_of(&self.worker)
    }

    /// Returns the public key that consumers encrypt to.
    pub fn sealing_public(&self) -> [u8; 32] {
        client_keys::sealing_public_key(&self.sealing)
    }

    /// Returns the worker key's agreement to serve a provider.
    ///
    /// sr25519 signatures are randomized. This one is cached, so that a text with it changes only if another
    /// part of the text does.
    pub fn agreement(&self, genesis_hash: [u8; 32], provider: [u8; 32]) -> [u8; 64] {
        let mut agreements = self.agreements.lock().unwrap_or_else(PoisonError::into_inner);
        *agreements
            .entry([genesis_hash, provider])
            .or_insert_with(|| client_keys::sign_worker_key(&self.worker, &genesis_hash, &provider))
    }

    /// Returns the account of the provider key.
    pub fn provider_account(&self) -> Option<AccountId> {
        self.provider.as_ref().map(client_keys::account_of)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, path::Path};

    use super::*;
    use crate::{config::Config, files::tests::SmallDisk};

    /// Loads the keys of a state folder that was used with these worker keys.
    fn load(folder: &Path, known: &[String]) -> Result<Keys, SealingError> {
        let text = include_str!("../worker.example.yaml");
        let mut settings = Config::parse(text, Path::new("worker.yaml")).unwrap().assay;
        settings.provider_key = None;
        settings.worker_key_file = folder.join("worker.key");
        let store = SealingStore::File(folder.join("sealing.key"));
        Keys::load_or_create(&settings, &store, known)
    }

    #[test]
    fn lost_or_broken_worker_key_is_said_and_nothing_is_made_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.key");
        let keys = load(folder.path(), &[]).unwrap();
        let known = [hex::encode(keys.worker_account().0)];
        assert_eq!(
            load(folder.path(), &known).unwrap().worker_account(),
            keys.worker_account()
        );

        fs::write(&path, "0x12").unwrap();
        let Err(error) = load(folder.path(), &known) else {
            panic!("it is no key")
        };
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"0x12", "it is left as it is");

        fs::remove_file(&path).unwrap();
        let Err(error) = load(folder.path(), &known) else {
            panic!("there is none")
        };
        let error = error.to_string();
        assert!(
            error.contains(&*path.to_string_lossy()) && error.contains(&known[0]),
            "{error}"
        );
        assert!(error.contains("Restore the file from a backup"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn look_writes_nothing_and_finds_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let text = include_str!("../worker.example.yaml");
        let mut settings = Config::parse(text, Path::new("worker.yaml")).unwrap().assay;
        settings.provider_key = None;
        settings.worker_key_file = folder.path().join("worker.key");
        let store = SealingStore::File(folder.path().join("sealing.key"));
        let found = Keys::look(&settings, &store, &[]).unwrap();
        assert!(found.worker_is_new && found.sealing_is_new);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(
            Keys::look(&settings, &store, &["11".repeat(32)]).is_err(),
            "a key that was used is lost"
        );

        let keys = load(folder.path(), &[]).unwrap();
        let found = Keys::look(&settings, &store, &[]).unwrap();
        assert!(!found.worker_is_new && !found.sealing_is_new);
        assert_eq!(found.keys.worker_account(), keys.worker_account());
        assert_eq!(found.keys.sealing_public(), keys.sealing_public());
    }

    #[test]
    fn full_disk_leaves_no_half_key() {
        let Some(small) = SmallDisk::mount() else { return };
        let ballast = small.fill();
        let Err(error) = load(small.path(), &[]) else {
            panic!("there is no room")
        };
        assert!(
            error
                .to_string()
                .contains("worker.key cannot be used: No space left"),
            "{error}"
        );
        let left: Vec<_> = fs::read_dir(small.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(left, std::slice::from_ref(&ballast));
        fs::remove_file(ballast).unwrap();
        load(small.path(), &[]).unwrap();
    }

    #[test]
    fn agreement_with_a_provider_is_signed_once() {
        let worker = client_keys::keypair_from_uri("//Eve").unwrap();
        let keys = Keys::new(worker, StaticSecret::from([7; 32]), None);
        let agreement = keys.agreement([1; 32], [2; 32]);
        assert_eq!(keys.clone().agreement([1; 32], [2; 32]), agreement);
        assert_ne!(keys.agreement([1; 32], [3; 32]), agreement);
    }
}
