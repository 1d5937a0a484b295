//! Keys: files that hold them, accounts that belong to them, and the worker key's agreement.
//!
//! A key file holds one line: an sr25519 secret seed (`0x` and 64 hex digits) or a mnemonic phrase, as the
//! key tools of the node print them. A sealing key file holds the 32 bytes of an X25519 secret as `0x` and 64
//! hex digits. Both must be readable by their owner alone.

pub mod encrypted;
mod sealing;
mod secret;

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    str::FromStr,
};

use assay_primitives::machine::WORKER_KEY_CONTEXT;
use subxt_signer::{SecretUri, sr25519::Keypair};

pub use sealing::{load_or_create_sealing_key_file, load_sealing_key_file, sealing_public_key};
pub use secret::{SecretKey, load_polkadot_js_file, read_secret};

use crate::{redaction, types::AccountId};

/// Maximum length of a key file, in bytes; a phrase of 24 words has fewer than 250.
const MAX_KEY_FILE_BYTES: u64 = 1_024;

/// Error of loading or making a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no such file.
    #[error(
        "there is no key file at {}; write a secret seed or phrase into it, or name another file",
        shown_path(path)
    )]
    Missing {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error(
        "the key file {} cannot be used: {source}; check its owner and its folder",
        shown_path(path)
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Other users than the owner may read the file.
    #[error(
        "the key file {} can be read by others (mode {mode:04o}); run `chmod 600` on it",
        shown_path(path)
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is no key.
    #[error(
        "the file {} is not a key file: {reason}; it must hold one line with an sr25519 secret seed (0x and \
         64 hex digits) or a mnemonic phrase",
        shown_path(path)
    )]
    BadFile {
        /// The file.
        path: PathBuf,
        /// Fault; never a part of the content.
        reason: String,
    },
    /// The content is no sealing key.
    #[error(
        "the file {} is not a sealing key file: {reason}; it must hold 0x and 64 hexadecimal digits on one line: restore \
         it from a backup, or name another file",
        shown_path(path)
    )]
    BadSealingFile {
        /// The file.
        path: PathBuf,
        /// Fault; never a part of the content.
        reason: String,
    },
    /// The text is no secret URI.
    #[error(
        "the key URI is not valid: {reason}; write a seed, a phrase, or for development a name like //Alice"
    )]
    BadUri {
        /// Fault; never a part of the URI.
        reason: String,
    },
    /// The text is no key.
    #[error(
        "this is not a key: {reason}; give a phrase of words, a seed (64 hexadecimal digits), or for development a name like \
         //Alice"
    )]
    NotAKey {
        /// Fault; never a part of the text.
        reason: String,
    },
    /// The file is no key file of polkadot.js, or its password is another one.
    #[error("the key file {} of polkadot.js cannot be opened: {reason}", shown_path(path))]
    BadJson {
        /// The file.
        path: PathBuf,
        /// Fault; never a part of the content.
        reason: String,
    },
    /// A published key on a chain that is not for development.
    #[error(
        "everybody has the keys of the published development phrase, and the chain {chain:?} is not for development: sign \
         with a key of your own"
    )]
    PublishedKey {
        /// The chain's name.
        chain: String,
    },
    /// The text is no account.
    #[error(
        "{:?} is not an account: write an SS58 address, 0x and 64 hex digits, or a name like //Alice",
        redaction::shown(text)
    )]
    BadAccount {
        /// The text as it was given.
        text: String,
    },
    /// The text is an address of another chain.
    #[error(
        "{text} is an address of another chain; on this one the same key has {address}: use that if its owner has the \
         key, and is not the wallet of another chain alone"
    )]
    OtherChain {
        /// The address as it was given.
        text: String,
        /// The address of the same key on this chain.
        address: AccountId,
    },
    /// The content is no encrypted key.
    #[error("it is no encrypted key of polkadot.js: {reason}; export the account as JSON once more")]
    BadEncrypted {
        /// Fault; never a part of the key.
        reason: String,
    },
    /// The password does not open an encrypted key.
    #[error("the password is wrong, or the file was changed; try again")]
    WrongPassword,
    /// The operating system gave no randomness.
    #[error("no randomness for a new key: {reason}; try again")]
    NoRandomness {
        /// Error of the operating system.
        reason: String,
    },
}

/// Returns a path for a message. People type a phrase where the path of its file belongs.
fn shown_path(path: &Path) -> String {
    redaction::shown(&path.to_string_lossy()).into_owned()
}

/// Loads the key from a file.
pub fn load_key_file(path: &Path) -> Result<Keypair, KeyError> {
    let bad = |reason: &str| KeyError::BadFile {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let content = read_key_file(path, bad)?;
    let secret = content.trim();
    // A key derived from the public development phrase is no secret; only an explicit URI may name it.
    if secret.starts_with('/') {
        return Err(bad("it names a development key"));
    }
    keypair_from_uri(secret).map_err(|error| match error {
        KeyError::BadUri { reason } => bad(&reason),
        other => other,
    })
}

/// Reads the one line of a file that holds a secret; `bad` is the error of a file that holds something else.
fn read_key_file(path: &Path, bad: impl Fn(&str) -> KeyError) -> Result<String, KeyError> {
    let io_error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyError::Missing {
            path: path.to_owned(),
        },
        _ => KeyError::Io {
            path: path.to_owned(),
            source,
        },
    };
    let file = fs::File::open(path).map_err(io_error)?;
    let details = file.metadata().map_err(io_error)?;
    if !details.is_file() {
        return Err(bad("it is no regular file"));
    }
    check_mode(path, &details)?;
    if details.len() > MAX_KEY_FILE_BYTES {
        return Err(bad("it is too long"));
    }
    let content = io::read_to_string(io::Read::take(file, MAX_KEY_FILE_BYTES)).map_err(|source| {
        if source.kind() == io::ErrorKind::InvalidData {
            bad("it is no text")
        } else {
            io_error(source)
        }
    })?;
    match content.trim().lines().count() {
        0 => Err(bad("it is empty")),
        1 => Ok(content),
        _ => Err(bad("it has more than one line")),
    }
}

/// Loads the key from a file, or creates it in a file that only its owner can read.
///
/// Creates a missing folder. Two processes that do this at once end with the same key.
pub fn load_or_create_key_file(path: &Path) -> Result<Keypair, KeyError> {
    match load_key_file(path) {
        Err(KeyError::Missing { .. }) => create_key_file(path),
        loaded => loaded,
    }
}

fn create_key_file(path: &Path) -> Result<Keypair, KeyError> {
    let seed = new_secret()?;
    let keypair = Keypair::from_secret_key(seed).map_err(|error| KeyError::BadFile {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    if write_new_key_file(path, seed)? {
        Ok(keypair)
    } else {
        load_key_file(path)
    }
}

fn new_secret() -> Result<[u8; 32], KeyError> {
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).map_err(|error| KeyError::NoRandomness {
        reason: error.to_string(),
    })?;
    Ok(secret)
}

/// Writes a secret into a new file that only its owner can read. Returns false if another process was faster:
/// its key then counts.
fn write_new_key_file(path: &Path, secret: [u8; 32]) -> Result<bool, KeyError> {
    let io_error = |source| KeyError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(io_error)?;
    }
    // The file is whole or absent: a file that a crash or a full disk left empty would be taken for a key and
    // kept.
    let unfinished = unfinished_beside(path);
    let _ = fs::remove_file(&unfinished);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || {
        let mut file = options.open(&unfinished)?;
        writeln!(file, "0x{}", hex::encode(secret))?;
        file.sync_all()?;
        // Unlike a rename, a link does not replace an existing file.
        match fs::hard_link(&unfinished, path) {
            // Not every file system has links.
            Err(error) if is_without_links(&error) && !path.exists() => fs::rename(&unfinished, path),
            linked => linked,
        }
    };
    let written = write();
    let _ = fs::remove_file(&unfinished);
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.exists() => Ok(false),
        Err(error) => Err(io_error(error)),
    }
}

fn is_without_links(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
    )
}

/// Name of a file under construction, distinct for each process and thread.
fn unfinished_beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(
        ".{}-{:?}.new",
        std::process::id(),
        std::thread::current().id()
    ));
    path.with_file_name(name)
}

#[cfg(unix)]
fn check_mode(path: &Path, details: &fs::Metadata) -> Result<(), KeyError> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&details.permissions()) & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &fs::Metadata) -> Result<(), KeyError> {
    Ok(())
}

/// Returns the key of a secret URI: a seed, a phrase, or a development name such as `//Bob`, each with
/// derivations.
///
/// # Errors
/// [`KeyError::BadUri`] for no URI, and for an empty one: the parser takes that for the published development
/// phrase, and it is what a variable that is not set leaves.
pub fn keypair_from_uri(uri: &str) -> Result<Keypair, KeyError> {
    if uri.trim().is_empty() {
        return Err(KeyError::BadUri {
            reason: "it is empty, and everybody has the key of an empty one".to_owned(),
        });
    }
    // The errors of the parser name only what kind of part is wrong, never the secret itself.
    let parsed = SecretUri::from_str(uri).map_err(|error| KeyError::BadUri {
        reason: error.to_string(),
    })?;
    Keypair::from_uri(&parsed).map_err(|error| KeyError::BadUri {
        reason: error.to_string(),
    })
}

/// Returns the account of a key.
pub fn account_of(keypair: &Keypair) -> AccountId {
    keypair.public_key().to_account_id()
}

/// Reads an account: an SS58 address, a public key in hex, or a development name such as `//Bob`.
pub fn parse_account(text: &str) -> Result<AccountId, KeyError> {
    let bad = || KeyError::BadAccount {
        text: text.to_owned(),
    };
    if text.starts_with("//") {
        return keypair_from_uri(text)
            .map(|keypair| account_of(&keypair))
            .map_err(|_| bad());
    }
    if let Some(digits) = text.strip_prefix("0x") {
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| bad())?;
        return Ok(bytes.into());
    }
    parse_ss58(text)
}

/// Reads an SS58 address of this chain.
///
/// # Errors
/// [`KeyError::OtherChain`] for an address with another chain's prefix: perhaps only a wallet of that chain
/// has its key. [`KeyError::BadAccount`] for anything else.
pub fn parse_ss58(text: &str) -> Result<AccountId, KeyError> {
    let account = AccountId::from_str(text).map_err(|_| KeyError::BadAccount {
        text: text.to_owned(),
    })?;
    if account.to_string() != text {
        return Err(KeyError::OtherChain {
            text: text.to_owned(),
            address: account,
        });
    }
    Ok(account)
}

/// Returns the bytes that a worker key signs to agree to serve a provider on the chain with this genesis.
pub fn worker_key_message(genesis_hash: &[u8; 32], provider: &[u8; 32]) -> Vec<u8> {
    [WORKER_KEY_CONTEXT, genesis_hash, provider].concat()
}

/// Signs the worker key's agreement to serve a provider, for [`crate::calls::register_machine`] and
/// [`crate::calls::rotate_keys`].
pub fn sign_worker_key(worker: &Keypair, genesis_hash: &[u8; 32], provider: &[u8; 32]) -> [u8; 64] {
    worker.sign(&worker_key_message(genesis_hash, provider)).0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use subxt_signer::sr25519;

    use super::*;

    fn write(folder: &tempfile::TempDir, content: &[u8], mode: u32) -> PathBuf {
        let path = folder.path().join("key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn load_or_create_key_file_works() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/worker.key");
        let made = load_or_create_key_file(&path).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let loaded = load_or_create_key_file(&path).unwrap();
        assert_eq!(account_of(&made), account_of(&loaded));
    }

    #[test]
    fn load_key_file_takes_a_phrase() {
        let folder = tempfile::tempdir().unwrap();
        let phrase = b"bottom drive obey lake curtain smoke basket hold race lonely fit walk//Alice\n";
        let keypair = load_key_file(&write(&folder, phrase, 0o600)).unwrap();
        assert_eq!(
            account_of(&keypair).to_string(),
            "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
        );
    }

    #[test]
    fn load_key_file_fails_when_the_file_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let error = load_key_file(&folder.path().join("none")).unwrap_err();
        assert!(matches!(error, KeyError::Missing { .. }), "{error}");
    }

    #[test]
    fn load_key_file_fails_when_others_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let seed = format!("0x{}", "11".repeat(32));
        let error = load_key_file(&write(&folder, seed.as_bytes(), 0o644)).unwrap_err();
        assert!(matches!(error, KeyError::Exposed { mode: 0o644, .. }), "{error}");
    }

    #[test]
    fn load_key_file_fails_when_the_content_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        for content in [
            &b""[..],
            b"  \n",
            b"hello world",
            b"0x1234",
            b"//Alice",
            b"0x1111111111111111111111111111111111111111111111111111111111111111\nsecond line",
            b"\xff\xfe\x00",
            &[b'a'; 2_000],
        ] {
            let path = write(&folder, content, 0o600);
            let error = load_key_file(&path).unwrap_err();
            assert!(matches!(error, KeyError::BadFile { .. }), "{error}");
            fs::remove_file(path).unwrap();
        }
        assert!(matches!(
            load_key_file(folder.path()),
            Err(KeyError::BadFile { .. })
        ));
    }

    #[test]
    fn errors_do_not_repeat_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let error = load_key_file(&write(&folder, b"swordfish swordfish", 0o600)).unwrap_err();
        assert!(!error.to_string().contains("swordfish"), "{error}");
    }

    #[test]
    fn secrets_in_place_of_paths_and_accounts_are_not_repeated() {
        let phrase = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";
        let seed = format!("0x{}", "1f".repeat(32));
        for secret in [phrase, &seed, &format!("{phrase}//Bob///swordfish")] {
            let path = Path::new(secret);
            for error in [
                load_key_file(path).unwrap_err(),
                load_sealing_key_file(path).map(|_| ()).unwrap_err(),
                parse_account(&format!("{secret} ")).unwrap_err(),
                keypair_from_uri(&format!("{secret}\n")).map(|_| ()).unwrap_err(),
            ] {
                let text = error.to_string();
                for word in ["bottom", "walk", "1f1f", "swordfish"] {
                    assert!(!text.contains(word), "{text}");
                }
            }
        }
    }

    #[test]
    fn empty_key_uri_is_refused() {
        for uri in ["", " ", "\n"] {
            let error = keypair_from_uri(uri).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("it is empty"), "{error}");
        }
        assert!(keypair_from_uri("//Alice").is_ok());
    }

    #[test]
    fn parse_account_works() {
        let bob = account_of(&sr25519::dev::bob());
        assert_eq!(parse_account("//Bob").unwrap(), bob);
        assert_eq!(parse_account(&bob.to_string()).unwrap(), bob);
        assert_eq!(parse_account(&format!("0x{}", hex::encode(bob.0))).unwrap(), bob);
        for text in [
            "",
            "Bob",
            "0x12",
            "//",
            "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQX",
        ] {
            assert!(parse_account(text).is_err(), "{text}");
        }
    }

    #[test]
    fn address_of_another_chain_is_refused_with_that_of_this_one() {
        let error = parse_account("15oF4uVJwmo4TdGW7VfQxNLavjCXviqxT9S1MgbjMNHr6Sp5").unwrap_err();
        assert!(matches!(error, KeyError::OtherChain { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"),
            "{error}"
        );
    }

    #[test]
    fn worker_key_message_is_pinned() {
        let message = worker_key_message(&[0x11; 32], &[0x22; 32]);
        assert_eq!(
            hex::encode(message),
            format!(
                "{}{}{}",
                hex::encode("assay/worker-key/v1"),
                "11".repeat(32),
                "22".repeat(32)
            )
        );
    }

    #[test]
    fn sign_worker_key_verifies() {
        let worker = sr25519::dev::eve();
        let signature = sign_worker_key(&worker, &[1; 32], &[2; 32]);
        let message = worker_key_message(&[1; 32], &[2; 32]);
        assert!(sr25519::verify(
            &sr25519::Signature(signature),
            message,
            &worker.public_key()
        ));
    }

    proptest! {
        #[test]
        fn every_account_survives_formatting(bytes: [u8; 32]) {
            let account = AccountId::from(bytes);
            prop_assert_eq!(parse_account(&account.to_string()).unwrap(), account);
        }
    }
}
