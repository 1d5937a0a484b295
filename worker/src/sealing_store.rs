//! Storage of the key that consumers seal to.
//!
//! Evidence of a processor certifies that only the workload in its TEE has the machine's keys. So if the
//! machine attests with such a processor, the sealing key is created here and never written where the host
//! could read it:
//!
//! | TEE | storage of the key |
//! |---|---|
//! | SGX (Gramine) | sealed with a key that only this enclave on this processor gets |
//! | SEV-SNP | sealed with a key that the firmware derives for this workload on this chip |
//! | TDX, or a failure of the two above | in memory: every start creates a new key |
//! | none, or no attestation | in a plain file, readable by its owner |
//!
//! Gramine's key is `/dev/attestation/keys/_sgx_mrenclave`, the firmware's comes from `/dev/sev-guest`. After
//! a start with a new key in memory, the machine's keys must be rotated to it. In the first three cases an
//! existing plain file is not used: any reader of the disk has that key.

use std::{fmt, io, path::PathBuf};

use assay_client::keys::{
    KeyError, load_or_create_sealing_key_file, load_sealing_key_file, sealing_public_key,
};
use assay_evidence::{
    EvidenceError,
    snp::{Product, ReportClaims},
};
use assay_primitives::market::TeeKind;
use chacha20poly1305::{
    Key, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use sp_crypto_hashing::blake2_256;
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    attestation::{DevicePaths, SourceError, bounded, derived_key, own_report},
    files::{put_aside, write_whole},
};

/// First bytes of a sealed file; authenticated with the key, so that no other kind of file passes for one.
const SEALED_MAGIC: &[u8] = b"assay/sealing-key/sealed/v1\n";

/// Domain separator for deriving the keys of files.
const FILE_KEY_DOMAIN: &[u8] = b"assay/sealing-key/file-key/v1";

const NONCE_BYTES: usize = 24;

/// Maximum length of a sealed file, in bytes; more than the magic, the nonce, the key and its tag take.
const MAX_SEALED_BYTES: usize = 256;

/// Length of Gramine's keys, in bytes.
const GRAMINE_KEY_BYTES: usize = 16;

/// Kind of storage of a sealing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custody {
    /// In a file that its owner, and so the host, can read.
    File,
    /// In a file that only the TEE can open.
    Sealed,
    /// In the TEE's memory.
    Memory,
}

impl Custody {
    /// Returns the name in the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Sealed => "sealed",
            Self::Memory => "memory",
        }
    }

    /// Returns true if the key never left a TEE.
    pub fn is_inside(self) -> bool {
        self != Self::File
    }
}

/// Reason why a sealing key is not available.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The plain file is unusable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The worker key with which the state folder was used is missing.
    #[error(
        "there is no key file at {}, but this worker served a machine with the key 0x{last}: a new key would not be the \
         machine's. Restore the file from a backup; or, if the key is lost, write a new secret seed (0x and 64 hexadecimal \
         digits) into it, and the worker prints how the provider gives the machine the new key",
        path.display()
    )]
    WorkerKeyLost {
        /// Path of the missing file.
        path: PathBuf,
        /// Public part of the last key that was used, hexadecimal.
        last: String,
    },
    /// The sealed file cannot be read.
    #[error(transparent)]
    Read(#[from] SourceError),
    /// The sealed file cannot be written.
    #[error("storing the sealing key failed: {0}")]
    Io(#[from] io::Error),
    /// The key could not be sealed.
    #[error("sealing the sealing key failed")]
    NotSealed,
    /// The operating system provided no random bytes.
    #[error("no randomness for a new sealing key: {reason}; try again")]
    NoRandomness {
        /// Error of the operating system.
        reason: String,
    },
}

/// Storage of the sealing key.
pub enum SealingStore {
    /// In a plain file.
    File(PathBuf),
    /// In a file that only the TEE can open.
    Sealed {
        /// Path that a plain file would have.
        plain: PathBuf,
        /// Sealing key of the TEE.
        key: Zeroizing<[u8; 32]>,
    },
    /// In memory.
    Memory {
        /// Path that a plain file would have.
        plain: PathBuf,
        /// Reason why the key is not sealed.
        reason: String,
    },
}

impl fmt::Debug for SealingStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys must not reach a log.
        formatter
            .debug_tuple("SealingStore")
            .field(&self.custody())
            .finish()
    }
}

impl SealingStore {
    /// Chooses the storage by the machine's processor: `processor` is the TEE that the machine attests with,
    /// if it does.
    pub fn choose(plain: PathBuf, processor: Option<TeeKind>, paths: &DevicePaths) -> Self {
        let secret = match processor {
            None | Some(TeeKind::NvidiaGpu) => return Self::File(plain),
            Some(TeeKind::Sgx) => gramine_secret(paths),
            Some(TeeKind::SevSnp) => snp_secret(paths),
            Some(TeeKind::Tdx) => Err("TDX provides no sealing key".to_owned()),
        };
        match secret {
            Ok(secret) => Self::Sealed { plain, key: secret },
            Err(reason) => Self::Memory { plain, reason },
        }
    }

    /// Returns the kind of storage.
    pub fn custody(&self) -> Custody {
        match self {
            Self::File(_) => Custody::File,
            Self::Sealed { .. } => Custody::Sealed,
            Self::Memory { .. } => Custody::Memory,
        }
    }

    /// Describes the storage for people.
    pub fn description(&self) -> String {
        match self {
            Self::File(path) => format!("in the plain file {}", path.display()),
            Self::Sealed { .. } => format!(
                "in {}, which only this workload in this TEE can open",
                self.sealed_file().display()
            ),
            Self::Memory { reason, .. } => format!(
                "in memory only ({reason}): every start creates a new one, to which the machine's keys must be rotated"
            ),
        }
    }

    /// Returns the key, and creates it if there is none.
    pub fn load_or_create(&self) -> Result<StaticSecret, SealingError> {
        match self {
            Self::File(path) => Ok(load_or_create_sealing_key_file(path)?),
            Self::Sealed { plain, key } => {
                self.warn_of_plain_file(plain);
                self.load_or_create_sealed(key)
            }
            Self::Memory { plain, reason } => {
                self.warn_of_plain_file(plain);
                let secret = StaticSecret::from(*new_secret()?);
                tracing::warn!(
                    reason,
                    public = hex::encode(sealing_public_key(&secret)),
                    "created a new sealing key, kept in memory only; the machine's keys must be rotated to it"
                );
                Ok(secret)
            }
        }
    }

    /// Returns the key that the next start would use, and writes nothing; `None` if it would create one.
    pub fn look(&self) -> Result<Option<StaticSecret>, SealingError> {
        match self {
            Self::File(path) => match load_sealing_key_file(path) {
                Err(KeyError::Missing { .. }) => Ok(None),
                loaded => Ok(Some(loaded?)),
            },
            Self::Sealed { key, .. } => {
                let found = match bounded::read_if_present(&self.sealed_file(), MAX_SEALED_BYTES) {
                    Err(SourceError::TooLong { .. }) => None,
                    read => read?,
                };
                let secret = found.and_then(|bytes| unseal(key, &bytes));
                Ok(secret.map(|secret| StaticSecret::from(*secret)))
            }
            Self::Memory { .. } => Ok(None),
        }
    }

    fn warn_of_plain_file(&self, plain: &std::path::Path) {
        if plain.exists() {
            tracing::warn!(
                file = %plain.display(),
                "this plain sealing key is not used while the machine attests: any reader of the disk has it. Delete it \
                 once the machine's keys are rotated and no job needs it"
            );
        }
    }

    /// Returns the path of the sealed file, beside that of the plain one.
    fn sealed_file(&self) -> PathBuf {
        let (Self::File(plain) | Self::Sealed { plain, .. } | Self::Memory { plain, .. }) = self;
        let mut name = plain.file_name().unwrap_or_default().to_owned();
        name.push(".sealed");
        plain.with_file_name(name)
    }

    fn load_or_create_sealed(&self, key: &[u8; 32]) -> Result<StaticSecret, SealingError> {
        let path = self.sealed_file();
        let found = match bounded::read_if_present(&path, MAX_SEALED_BYTES) {
            // A file too long for a sealed key is not one.
            Err(SourceError::TooLong { .. }) => Some(Vec::new()),
            read => read?,
        };
        if let Some(bytes) = found {
            match unseal(key, &bytes) {
                Some(secret) => return Ok(StaticSecret::from(*secret)),
                // Sealed by another version of the workload or firmware, or modified. The file is kept,
                // because that version can still open it.
                None => {
                    let kept_as = put_aside(&path)?;
                    tracing::warn!(
                        file = %path.display(), kept_as = %kept_as.display(),
                        "this workload on this processor cannot open the sealed key; creating a new one, to which the \
                         machine's keys must be rotated"
                    );
                }
            }
        }
        let secret = new_secret()?;
        let sealed = seal(key, &secret)?;
        let folder = path.parent().map_or_else(|| ".".into(), PathBuf::from);
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        write_whole(&folder, &name, &sealed)?;
        Ok(StaticSecret::from(*secret))
    }
}

fn new_secret() -> Result<Zeroizing<[u8; 32]>, SealingError> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *secret).map_err(|error| SealingError::NoRandomness {
        reason: error.to_string(),
    })?;
    Ok(secret)
}

fn seal(key: &[u8; 32], secret: &[u8; 32]) -> Result<Vec<u8>, SealingError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| SealingError::NoRandomness {
        reason: error.to_string(),
    })?;
    let payload = Payload {
        msg: secret,
        aad: SEALED_MAGIC,
    };
    let sealed = XChaCha20Poly1305::new(Key::from_slice(key))
        .encrypt(XNonce::from_slice(&nonce), payload)
        .map_err(|_| SealingError::NotSealed)?;
    Ok([SEALED_MAGIC, &nonce, &sealed].concat())
}

fn unseal(key: &[u8; 32], bytes: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let (nonce, sealed) = bytes
        .strip_prefix(SEALED_MAGIC)?
        .split_first_chunk::<NONCE_BYTES>()?;
    let payload = Payload {
        msg: sealed,
        aad: SEALED_MAGIC,
    };
    let opened = XChaCha20Poly1305::new(Key::from_slice(key))
        .decrypt(XNonce::from_slice(nonce), payload)
        .ok()?;
    let opened = Zeroizing::new(opened);
    let mut secret = Zeroizing::new([0; 32]);
    secret.copy_from_slice(opened.first_chunk::<32>().filter(|_| opened.len() == 32)?);
    Some(secret)
}

/// Derives the key of files from a TEE's secret, for this purpose only.
fn file_key(parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut bytes = [&[FILE_KEY_DOMAIN][..], parts].concat().concat();
    let key = Zeroizing::new(blake2_256(&bytes));
    bytes.zeroize();
    key
}

/// Returns Gramine's key for this enclave's measurement.
fn gramine_secret(paths: &DevicePaths) -> Result<Zeroizing<[u8; 32]>, String> {
    let path = paths.gramine.join("keys/_sgx_mrenclave");
    let unusable = |reason: String| format!("{} provides no key: {reason}", path.display());
    let bytes = bounded::read_if_present(&path, GRAMINE_KEY_BYTES)
        .map_err(|error| unusable(error.to_string()))?
        .map(Zeroizing::new)
        .ok_or_else(|| unusable("it is not there".to_owned()))?;
    if bytes.len() != GRAMINE_KEY_BYTES {
        return Err(unusable(format!("it has {} bytes", bytes.len())));
    }
    // A predictable key must not be used.
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(unusable("it is empty".to_owned()));
    }
    Ok(file_key(&[b"sgx", &bytes]))
}

/// Returns the key that the firmware derives for this workload, mixed with the start parameters in the
/// report, which the measurement does not cover: the same workload started differently gets another key.
fn snp_secret(paths: &DevicePaths) -> Result<Zeroizing<[u8; 32]>, String> {
    let derive = || -> Result<Zeroizing<[u8; 32]>, SourceError> {
        let key = derived_key(&paths.sev_guest)?;
        let report = own_report(&paths.sev_guest)?;
        snp_file_key(&key, &report)
            .map_err(|error| SourceError::refused(paths.sev_guest.display().to_string(), error.to_string()))
    };
    derive().map_err(|error| format!("no sealing key: {error}"))
}

fn snp_file_key(key: &[u8; 32], report: &[u8]) -> Result<Zeroizing<[u8; 32]>, EvidenceError> {
    // These fields have the same offsets for all products.
    let claims = ReportClaims::read(report, Product::Milan)?;
    Ok(file_key(&[
        b"sev-snp",
        key,
        &claims.host_data,
        &claims.id_key_digest,
        &claims.author_key_digest,
    ]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, path::Path};

    use super::*;

    /// Creates the files of an enclave that has this key.
    fn enclave(folder: &Path, key: &[u8]) -> DevicePaths {
        let paths = DevicePaths::below(folder);
        fs::create_dir_all(paths.gramine.join("keys")).unwrap();
        fs::write(paths.gramine.join("keys/_sgx_mrenclave"), key).unwrap();
        paths
    }

    fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, fs::read(&path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn enclave_writes_its_key_sealed_and_opens_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let paths = enclave(folder.path(), &[7; 16]);
        let state = folder.path().join("state");
        let plain = state.join("sealing.key");
        let store = || SealingStore::choose(plain.clone(), Some(TeeKind::Sgx), &paths);
        assert_eq!(store().custody(), Custody::Sealed);
        let secret = store().load_or_create().unwrap().to_bytes();
        assert_eq!(store().load_or_create().unwrap().to_bytes(), secret);

        // Neither the key nor its hexadecimal digits appear in any file.
        let written = files(&state);
        let names: Vec<_> = written.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["sealing.key.sealed"]);
        let digits = hex::encode(secret);
        for (name, bytes) in &written {
            assert!(!bytes.windows(32).any(|window| window == secret), "{name}");
            assert!(!String::from_utf8_lossy(bytes).contains(&digits), "{name}");
        }
    }

    #[test]
    fn other_enclave_makes_another_key() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("sealing.key");
        let with = |key: &[u8]| {
            let paths = enclave(folder.path(), key);
            SealingStore::choose(plain.clone(), Some(TeeKind::Sgx), &paths)
        };
        let first = with(&[7; 16]).load_or_create().unwrap().to_bytes();
        let second = with(&[8; 16]).load_or_create().unwrap().to_bytes();
        assert_ne!(first, second);
        assert_eq!(with(&[8; 16]).load_or_create().unwrap().to_bytes(), second);
        // The earlier version of the enclave can open its key again.
        let kept = folder.path().join("sealing.key.sealed.broken-0");
        fs::rename(kept, folder.path().join("sealing.key.sealed")).unwrap();
        assert_eq!(with(&[7; 16]).load_or_create().unwrap().to_bytes(), first);
    }

    #[test]
    fn changed_file_is_not_opened() {
        let key = [9; 32];
        let sealed = seal(&key, &[5; 32]).unwrap();
        assert_eq!(*unseal(&key, &sealed).unwrap(), [5; 32]);
        assert!(unseal(&[8; 32], &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(unseal(&key, &changed).is_none(), "byte {at}");
            assert!(unseal(&key, &sealed[..at]).is_none(), "length {at}");
        }
        assert!(unseal(&key, &[&sealed[..], &[0; 300]].concat()).is_none());
    }

    #[test]
    fn plain_file_is_not_used_for_attesting() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("sealing.key");
        let found = load_or_create_sealing_key_file(&plain).unwrap().to_bytes();
        let before = fs::read(&plain).unwrap();
        let paths = enclave(folder.path(), &[7; 16]);
        for kind in [TeeKind::Sgx, TeeKind::Tdx, TeeKind::SevSnp] {
            let store = SealingStore::choose(plain.clone(), Some(kind), &paths);
            assert!(store.custody().is_inside());
            assert_ne!(store.load_or_create().unwrap().to_bytes(), found, "{kind:?}");
        }
        assert_eq!(fs::read(&plain).unwrap(), before);
        // Without a TEE the plain file is used as before.
        for kind in [None, Some(TeeKind::NvidiaGpu)] {
            let store = SealingStore::choose(plain.clone(), kind, &paths);
            assert_eq!(store.custody(), Custody::File);
            assert_eq!(store.load_or_create().unwrap().to_bytes(), found);
        }
    }

    #[test]
    fn memory_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let paths = DevicePaths::below(folder.path());
        let plain = folder.path().join("sealing.key");
        let mut secrets = Vec::new();
        for kind in [TeeKind::Tdx, TeeKind::SevSnp, TeeKind::Sgx] {
            let store = SealingStore::choose(plain.clone(), Some(kind), &paths);
            assert_eq!(store.custody(), Custody::Memory, "{kind:?}");
            assert!(store.description().contains("every start"), "{kind:?}");
            secrets.push(store.load_or_create().unwrap().to_bytes());
            secrets.push(store.load_or_create().unwrap().to_bytes());
        }
        assert!(files(folder.path()).is_empty());
        secrets.sort_unstable();
        secrets.dedup();
        assert_eq!(secrets.len(), 6);
    }

    #[test]
    fn enclaves_that_give_no_key_seal_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for key in [&[7; 15][..], &[0; 16], &[]] {
            let paths = enclave(folder.path(), key);
            let store = SealingStore::choose(folder.path().join("key"), Some(TeeKind::Sgx), &paths);
            assert_eq!(store.custody(), Custody::Memory);
        }
    }

    #[test]
    fn chips_key_depends_on_how_the_workload_was_started() {
        let mut report = vec![0; assay_evidence::snp::REPORT_BYTES];
        let key_for = |key: u8, report: &[u8]| *snp_file_key(&[key; 32], report).unwrap();
        let plain = key_for(1, &report);
        assert_eq!(key_for(1, &report), plain);
        assert_ne!(key_for(2, &report), plain);
        // Host data, and the digests of the ID key and the author key; but not the report data.
        for (at, changes) in [(0xc0, true), (0xe0, true), (0x110, true), (0x50, false)] {
            report[at] ^= 1;
            assert_eq!(key_for(1, &report) != plain, changes, "{at:#x}");
            report[at] ^= 1;
        }
        assert!(snp_file_key(&[1; 32], &report[1..]).is_err());
    }

    #[test]
    fn keys_do_not_reach_logs() {
        let store = SealingStore::Sealed {
            plain: "key".into(),
            key: Zeroizing::new([0xab; 32]),
        };
        assert_eq!(format!("{store:?}"), "SealingStore(Sealed)");
    }
}
