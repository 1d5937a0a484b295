//! How the key that consumers seal to is kept.
//!
//! Evidence of a processor says that only what runs in its TEE has the machine's keys. So where the machine is to attest and
//! has such a processor, the sealing key is made here and never written where the host could read it:
//!
//! | TEE | the key is |
//! |---|---|
//! | SGX (Gramine) | sealed, by a key that only this enclave on this processor gets (`/dev/attestation/keys/_sgx_mrenclave`) |
//! | SEV-SNP | sealed, by a key that the firmware derives for this workload on this chip (`/dev/sev-guest`) |
//! | TDX, or where the two above give no key | in memory alone: every start makes another one, which the machine's keys have to be rotated to |
//! | none, or not to attest | in a plain file, readable by its owner |
//!
//! A plain file that is found where one of the first three applies is not used: whoever could read the disk has that key.

use std::{fmt, io, path::PathBuf};

use assay_client::keys::{KeyError, load_or_create_sealing_key_file, sealing_public_key};
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

/// What a sealed file begins with; signed along, so that no other kind of file passes for one.
const SEALED_MAGIC: &[u8] = b"assay/sealing-key/sealed/v1\n";

/// What keys of files are derived under.
const FILE_KEY_DOMAIN: &[u8] = b"assay/sealing-key/file-key/v1";

const NONCE_BYTES: usize = 24;

/// Longest sealed file that is read: the magic, the nonce, the key and its tag have fewer.
const MAX_SEALED_BYTES: usize = 256;

/// Bytes of the keys that Gramine gives.
const GRAMINE_KEY_BYTES: usize = 16;

/// How a sealing key is kept.
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
    /// Its name in the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Sealed => "sealed",
            Self::Memory => "memory",
        }
    }

    /// Whether the key never was outside a TEE.
    pub fn is_inside(self) -> bool {
        self != Self::File
    }
}

/// A sealing key that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The plain file is of no use.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The worker key is gone that the state folder was used with.
    #[error(
        "there is no key file at {}, but this worker served a machine with the key 0x{last}: a new key would not be the \
         machine's. Restore the file from a backup; or, if the key is lost, write a new secret seed (0x and 64 hexadecimal \
         digits) into it, and the worker says how the provider gives the machine that one",
        path.display()
    )]
    WorkerKeyLost {
        /// Where it was looked for.
        path: PathBuf,
        /// Public part of the last key that was used, hexadecimal.
        last: String,
    },
    /// The sealed file cannot be read.
    #[error(transparent)]
    Read(#[from] SourceError),
    /// The sealed file cannot be written.
    #[error("the sealing key cannot be kept: {0}")]
    Io(#[from] io::Error),
    /// The key could not be sealed.
    #[error("the sealing key could not be sealed")]
    NotSealed,
    /// The operating system gave no randomness.
    #[error("no randomness for a new sealing key: {reason}; try again")]
    NoRandomness {
        /// What the operating system said.
        reason: String,
    },
}

/// Where the sealing key is kept.
pub enum SealingStore {
    /// In a plain file.
    File(PathBuf),
    /// In a file that only the TEE can open.
    Sealed {
        /// Where a plain one would be.
        plain: PathBuf,
        /// What the TEE gives to seal with.
        key: Zeroizing<[u8; 32]>,
    },
    /// In memory.
    Memory {
        /// Where a plain one would be.
        plain: PathBuf,
        /// Why it is not sealed.
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
    /// Chooses by what the machine's processor is: `processor` is what it attests as, if it is to attest and can.
    pub fn choose(plain: PathBuf, processor: Option<TeeKind>, paths: &DevicePaths) -> Self {
        let secret = match processor {
            None | Some(TeeKind::NvidiaGpu) => return Self::File(plain),
            Some(TeeKind::Sgx) => gramine_secret(paths),
            Some(TeeKind::SevSnp) => snp_secret(paths),
            Some(TeeKind::Tdx) => Err("TDX gives no key to seal with".to_owned()),
        };
        match secret {
            Ok(secret) => Self::Sealed { plain, key: secret },
            Err(reason) => Self::Memory { plain, reason },
        }
    }

    /// How the key is kept.
    pub fn custody(&self) -> Custody {
        match self {
            Self::File(_) => Custody::File,
            Self::Sealed { .. } => Custody::Sealed,
            Self::Memory { .. } => Custody::Memory,
        }
    }

    /// What that means, for people.
    pub fn description(&self) -> String {
        match self {
            Self::File(path) => format!("in the plain file {}", path.display()),
            Self::Sealed { .. } => format!(
                "in {}, which only this workload in this TEE can open",
                self.sealed_file().display()
            ),
            Self::Memory { reason, .. } => format!(
                "in memory alone ({reason}): every start makes a new one, to which the machine's keys have to be rotated"
            ),
        }
    }

    /// The key, made where there is none.
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
                    "a new sealing key was made, and is kept in memory alone; the machine's keys have to be rotated to it"
                );
                Ok(secret)
            }
        }
    }

    fn warn_of_plain_file(&self, plain: &std::path::Path) {
        if plain.exists() {
            tracing::warn!(
                file = %plain.display(),
                "this plain sealing key is not used while the machine attests: whoever could read the disk has it. Delete it \
                 once the machine's keys were rotated and no job needs it"
            );
        }
    }

    /// Beside the place of the plain file.
    fn sealed_file(&self) -> PathBuf {
        let (Self::File(plain) | Self::Sealed { plain, .. } | Self::Memory { plain, .. }) = self;
        let mut name = plain.file_name().unwrap_or_default().to_owned();
        name.push(".sealed");
        plain.with_file_name(name)
    }

    fn load_or_create_sealed(&self, key: &[u8; 32]) -> Result<StaticSecret, SealingError> {
        let path = self.sealed_file();
        let found = match bounded::read_if_present(&path, MAX_SEALED_BYTES) {
            // What is too long for a sealed key is none.
            Err(SourceError::TooLong { .. }) => Some(Vec::new()),
            read => read?,
        };
        if let Some(bytes) = found {
            match unseal(key, &bytes) {
                Some(secret) => return Ok(StaticSecret::from(*secret)),
                // Another version of the workload, or firmware, or a file that somebody changed. It is kept: the version
                // before can still open it.
                None => {
                    let kept_as = put_aside(&path)?;
                    tracing::warn!(
                        file = %path.display(), kept_as = %kept_as.display(),
                        "the sealed key cannot be opened by this workload on this processor; a new one is made, and the \
                         machine's keys have to be rotated to it"
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

/// The key of files from what a TEE gives: from nothing else, and for nothing else.
fn file_key(parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut bytes = [&[FILE_KEY_DOMAIN][..], parts].concat().concat();
    let key = Zeroizing::new(blake2_256(&bytes));
    bytes.zeroize();
    key
}

/// What Gramine gives to this enclave, by its measurement.
fn gramine_secret(paths: &DevicePaths) -> Result<Zeroizing<[u8; 32]>, String> {
    let path = paths.gramine.join("keys/_sgx_mrenclave");
    let unusable = |reason: String| format!("{} gives no key: {reason}", path.display());
    let bytes = bounded::read_if_present(&path, GRAMINE_KEY_BYTES)
        .map_err(|error| unusable(error.to_string()))?
        .map(Zeroizing::new)
        .ok_or_else(|| unusable("it is not there".to_owned()))?;
    if bytes.len() != GRAMINE_KEY_BYTES {
        return Err(unusable(format!("it has {} bytes", bytes.len())));
    }
    // A key that everybody can guess is none.
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(unusable("it is empty".to_owned()));
    }
    Ok(file_key(&[b"sgx", &bytes]))
}

/// What the firmware derives for this workload; mixed with how the host says that it started it, which the measurement
/// does not cover: the same workload started otherwise gets another key.
fn snp_secret(paths: &DevicePaths) -> Result<Zeroizing<[u8; 32]>, String> {
    let derive = || -> Result<Zeroizing<[u8; 32]>, SourceError> {
        let key = derived_key(&paths.sev_guest)?;
        let report = own_report(&paths.sev_guest)?;
        snp_file_key(&key, &report)
            .map_err(|error| SourceError::refused(paths.sev_guest.display().to_string(), error.to_string()))
    };
    derive().map_err(|error| format!("no key to seal with: {error}"))
}

fn snp_file_key(key: &[u8; 32], report: &[u8]) -> Result<Zeroizing<[u8; 32]>, EvidenceError> {
    // These fields lie at the same place whatever the product.
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

    /// A machine with an enclave that has this key.
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

        // Neither the key nor its digits are in anything that was written.
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
        // The enclave before can have its key back.
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
        // Without a TEE it is what it was.
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
        // Host data, the identity's key and its author's; and not what it was asked with.
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
