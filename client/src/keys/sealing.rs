//! The key that consumers seal to: X25519.

use std::path::Path;

use x25519_dalek::{PublicKey, StaticSecret};

use super::{KeyError, new_secret, read_key_file, write_new_key_file};

/// Loads a sealing key from its file.
pub fn load_sealing_key_file(path: &Path) -> Result<StaticSecret, KeyError> {
    let bad = |reason: &str| KeyError::BadSealingFile {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let content = read_key_file(path, bad)?;
    let mut secret = [0; 32];
    let digits = content
        .trim()
        .strip_prefix("0x")
        .ok_or_else(|| bad("it does not begin with 0x"))?;
    hex::decode_to_slice(digits, &mut secret)
        .map_err(|_| bad("it does not go on with 64 hexadecimal digits"))?;
    Ok(StaticSecret::from(secret))
}

/// Loads a sealing key from its file, or creates it in a file that only its owner can read.
///
/// Creates a missing folder. Two processes that do this at once end with the same key.
pub fn load_or_create_sealing_key_file(path: &Path) -> Result<StaticSecret, KeyError> {
    match load_sealing_key_file(path) {
        Err(KeyError::Missing { .. }) => {
            let secret = new_secret()?;
            if write_new_key_file(path, secret)? {
                Ok(StaticSecret::from(secret))
            } else {
                load_sealing_key_file(path)
            }
        }
        loaded => loaded,
    }
}

/// Returns the public part of a sealing key, which the chain has.
pub fn sealing_public_key(secret: &StaticSecret) -> [u8; 32] {
    PublicKey::from(secret).to_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn sealing_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/sealing.key");
        let key = load_or_create_sealing_key_file(&path).unwrap();
        let again = load_or_create_sealing_key_file(&path).unwrap();
        assert_eq!(again.to_bytes(), key.to_bytes());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn load_sealing_key_file_fails_when_it_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealing.key");
        for content in [&b""[..], b"0x12", b"hello", b"\xff\xff", &[b'1'; 500]] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = load_or_create_sealing_key_file(&path).map(|_| ()).unwrap_err();
            assert!(matches!(error, KeyError::BadSealingFile { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content, "a wrong file is left as it is");
        }
    }

    #[test]
    fn load_sealing_key_file_fails_when_others_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealing.key");
        fs::write(&path, format!("0x{}", "11".repeat(32))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_sealing_key_file(&path).map(|_| ()).unwrap_err();
        assert!(matches!(error, KeyError::Exposed { mode: 0o640, .. }), "{error}");
    }

    #[test]
    fn sealing_public_key_is_that_of_the_standard() {
        // RFC 7748, section 6.1.
        let bytes = |digits: &str| -> [u8; 32] { hex::decode(digits).unwrap().try_into().unwrap() };
        let secret = bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let public = bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        assert_eq!(sealing_public_key(&StaticSecret::from(secret)), public);
    }
}
