//! The keys of a machine: the hot worker key, the sealing key, and perhaps the provider's own key.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use assay_client::{AccountId, Keypair, keys as client_keys};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::config::{AssaySettings, ProviderKey};

/// Every key that this worker holds.
#[derive(Clone)]
pub struct Keys {
    /// Signs what the machine does on chain, and its status.
    pub worker: Keypair,
    /// Opens what consumers seal to the machine.
    pub sealing: StaticSecret,
    /// Registers and bonds the machine, where the provider entrusts it to this host.
    pub provider: Option<Keypair>,
}

/// A key that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The worker's or the provider's key.
    #[error(transparent)]
    Sr25519(#[from] client_keys::KeyError),
    /// The sealing key's file cannot be read or written.
    #[error("the sealing key file {} cannot be used: {source}; check its owner and its folder", path.display())]
    SealingFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The sealing key's file holds something else.
    #[error(
        "the file {} is not a sealing key file: it must hold 0x and 64 hexadecimal digits on one line; restore it from \
         a backup, or name another file with `assay.sealing_key_file`",
        path.display()
    )]
    SealingContent {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read the sealing key's file.
    #[error("the sealing key file {} can be read by others (mode {mode:04o}); run `chmod 600` on it", path.display())]
    SealingExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl Keys {
    /// Loads the keys that the configuration names; the worker and sealing keys are made where they are missing.
    pub fn load_or_create(settings: &AssaySettings) -> Result<Self, KeysError> {
        let provider = match &settings.provider_key {
            Some(ProviderKey::File(path)) => Some(client_keys::load_key_file(path)?),
            Some(ProviderKey::Uri(uri)) => Some(client_keys::keypair_from_uri(uri)?),
            None => None,
        };
        Ok(Self {
            worker: client_keys::load_or_create_key_file(&settings.worker_key_file)?,
            sealing: load_or_create_sealing_key(&settings.sealing_key_file)?,
            provider,
        })
    }

    /// The account of the worker key.
    pub fn worker_account(&self) -> AccountId {
        client_keys::account_of(&self.worker)
    }

    /// The key that consumers encrypt to.
    pub fn sealing_public(&self) -> [u8; 32] {
        PublicKey::from(&self.sealing).to_bytes()
    }

    /// The account of the provider key.
    pub fn provider_account(&self) -> Option<AccountId> {
        self.provider.as_ref().map(client_keys::account_of)
    }
}

/// Loads a sealing key from its file, or makes one and keeps it there, readable by its owner alone.
fn load_or_create_sealing_key(path: &Path) -> Result<StaticSecret, KeysError> {
    let failed = |source| KeysError::SealingFile {
        path: path.to_owned(),
        source,
    };
    match fs::File::open(path) {
        Ok(file) => load_sealing_key(path, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).map_err(|error| failed(io::Error::other(error.to_string())))?;
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(failed)?;
            }
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(path).map_err(failed)?;
            writeln!(file, "0x{}", hex::encode(secret))
                .and_then(|()| file.sync_all())
                .map_err(failed)?;
            Ok(StaticSecret::from(secret))
        }
        Err(error) => Err(failed(error)),
    }
}

fn load_sealing_key(path: &Path, file: fs::File) -> Result<StaticSecret, KeysError> {
    /// `0x`, 64 digits, and room for a line's end.
    const LONGEST_BYTES: u64 = 70;
    let failed = |source| KeysError::SealingFile {
        path: path.to_owned(),
        source,
    };
    let bad = || KeysError::SealingContent {
        path: path.to_owned(),
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeysError::SealingExposed {
            path: path.to_owned(),
            mode,
        });
    }
    let text =
        io::read_to_string(io::Read::take(file, LONGEST_BYTES)).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => bad(),
            _ => failed(error),
        })?;
    let mut secret = [0; 32];
    let digits = text.trim().strip_prefix("0x").ok_or_else(bad)?;
    hex::decode_to_slice(digits, &mut secret).map_err(|_| bad())?;
    Ok(StaticSecret::from(secret))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn bytes(key: &StaticSecret) -> [u8; 32] {
        key.to_bytes()
    }

    #[test]
    fn sealing_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/sealing.key");
        let key = load_or_create_sealing_key(&path).unwrap();
        assert_eq!(bytes(&load_or_create_sealing_key(&path).unwrap()), bytes(&key));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn sealing_key_file_fails_when_it_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealing.key");
        for content in [&b""[..], b"0x12", b"hello", b"\xff\xff", &[b'1'; 500]] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = load_or_create_sealing_key(&path).map(|_| ()).unwrap_err();
            assert!(matches!(error, KeysError::SealingContent { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content, "a wrong file is left as it is");
        }
    }

    #[test]
    fn sealing_key_file_fails_when_others_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealing.key");
        fs::write(&path, format!("0x{}", "11".repeat(32))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_create_sealing_key(&path).map(|_| ()).unwrap_err();
        assert!(
            matches!(error, KeysError::SealingExposed { mode: 0o640, .. }),
            "{error}"
        );
    }
}
