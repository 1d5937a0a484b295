//! Keys as consumers have them: phrases, seeds, development names, and key files of polkadot.js.

use std::{fs, io::Read, path::Path};

use subxt_signer::{DEV_PHRASE, sr25519::Keypair};
use zeroize::Zeroizing;

use super::{
    KeyError,
    encrypted::{self, MAX_ENCRYPTED_BYTES},
    keypair_from_uri,
};

/// Number of hexadecimal digits of a seed.
const SEED_DIGITS: usize = 64;

/// Number of hexadecimal digits of an Ethereum-style address.
const ADDRESS_DIGITS: usize = 40;

/// Key that a consumer signs with.
#[derive(Clone)]
pub struct SecretKey {
    /// The key.
    pub keypair: Keypair,
    /// True for a key that everybody has, since it comes from the published phrase: for development chains
    /// only.
    pub is_development: bool,
}

/// Reads a key: a phrase of words, 64 hexadecimal digits with or without `0x`, or for development a name such
/// as `//Alice`; each with derivations.
///
/// # Errors
/// The text is no key, with the reason; never a part of the text. An Ethereum-style address is no key, and
/// neither is an account's address.
pub fn read_secret(text: &str) -> Result<SecretKey, KeyError> {
    let text = text.trim();
    let not_a_key = |reason: &str| {
        Err(KeyError::NotAKey {
            reason: reason.to_owned(),
        })
    };
    if text.is_empty() {
        return not_a_key("it is empty");
    }
    let is_hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if is_hex(digits) && digits.len() == ADDRESS_DIGITS {
        return not_a_key(
            "it has 20 bytes, as an Ethereum-style address has: an address signs nothing, and accounts of this chain have 32 \
             bytes",
        );
    }
    if is_hex(digits) && digits.len() != SEED_DIGITS {
        return not_a_key("hexadecimal digits of a seed are 64");
    }
    let seed = Zeroizing::new(format!("0x{digits}"));
    let uri = if is_hex(digits) { seed.as_str() } else { text };
    if !is_hex(digits) && !text.starts_with('/') && !text.contains(' ') && !text.starts_with("0x") {
        return not_a_key("it is one word: an address is no key, and a phrase has 12 words or more");
    }
    Ok(SecretKey {
        keypair: keypair_from_uri(uri)?,
        is_development: text.starts_with('/') || text.contains(DEV_PHRASE),
    })
}

/// Loads the key from a file that polkadot.js exported, encrypted with a password.
///
/// # Errors
/// The file cannot be read, is another one, or the password is wrong.
pub fn load_polkadot_js_file(path: &Path, password: &str) -> Result<SecretKey, KeyError> {
    let bad = |reason: String| KeyError::BadJson {
        path: path.to_owned(),
        reason,
    };
    let mut text = Zeroizing::new(String::new());
    fs::File::open(path)
        .and_then(|file| {
            file.take(MAX_ENCRYPTED_BYTES.saturating_add(1))
                .read_to_string(&mut text)
        })
        .map_err(|source| KeyError::Io {
            path: path.to_owned(),
            source,
        })?;
    if text.len() as u64 > MAX_ENCRYPTED_BYTES {
        return Err(bad("it is too long".to_owned()));
    }
    let keypair = encrypted::decrypt(&text, password).map_err(|error| bad(error.to_string()))?;
    Ok(SecretKey {
        keypair,
        is_development: false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use subxt_signer::sr25519::dev;

    use super::*;
    use crate::keys::account_of;

    /// Key of //Bob, encrypted by polkadot.js with the password `whoisbob`.
    const BOB: &str = r#"{
        "encoded": "J2FFcPHAY11Pmq/38eqbwfUv9OPitYJs+oYgahBvlagAAAIAAQAAAAgAAAB5o0DwXCWDblsH+9pc++RaBO4fpHBHzUirHFHFE9yS3sDzgAIQjhgvPqJ3ODrMR2gy7vk0VZg1fyirIvmsrfjGbWnOI8YU0joX0tYytroyWaykFKtZJMmE0pNKcJ5dJmDxscbK53Ac+7ld2UdH07yKPXxmPuYNNw3vKx8cg9CdQgifKfzQxHnC+EUpOoHPLwGlHsFEYtIlQtngqd9n",
        "encoding": { "content": ["pkcs8", "sr25519"], "type": ["scrypt", "xsalsa20-poly1305"], "version": "3" },
        "address": "5CfWTDh7XxJ2yrayqQ2aJnnZAH5v5XaF1oJFfH5QCpbfP9v8",
        "meta": { "name": "Bob (Dev)" }
    }"#;

    fn reason(text: &str) -> String {
        let error = read_secret(text).map(|_| ()).unwrap_err();
        assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
        error.to_string()
    }

    #[test]
    fn keys_are_read_in_every_form() {
        let alice = read_secret("//Alice").unwrap();
        assert_eq!(account_of(&alice.keypair), account_of(&dev::alice()));
        assert!(alice.is_development);
        assert!(
            read_secret(&format!("{DEV_PHRASE}//mine"))
                .unwrap()
                .is_development
        );

        let digits = "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
        let plain = read_secret(digits).unwrap();
        let prefixed = read_secret(&format!(" 0x{digits}\n")).unwrap();
        assert_eq!(account_of(&plain.keypair), account_of(&prefixed.keypair));
        assert_eq!(
            account_of(&plain.keypair),
            account_of(&dev::alice()),
            "the seed of //Alice"
        );
        assert!(!plain.is_development);
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason() {
        assert!(reason("").contains("empty"));
        assert!(reason(&format!("0x{}", "ab".repeat(20))).contains("Ethereum-style"));
        assert!(reason(&"ab".repeat(20)).contains("Ethereum-style"));
        assert!(reason("0xabcd").contains("64"));
        assert!(reason("5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty").contains("an address is no key"));
        reason("these are words and no phrase at all");
    }

    #[test]
    fn file_of_polkadot_js_is_opened_by_its_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bob.json");
        fs::write(&path, BOB).unwrap();
        let bob = load_polkadot_js_file(&path, "whoisbob").unwrap();
        assert_eq!(
            account_of(&bob.keypair).to_string(),
            "5CfWTDh7XxJ2yrayqQ2aJnnZAH5v5XaF1oJFfH5QCpbfP9v8"
        );
        let error = load_polkadot_js_file(&path, "whoisalice")
            .map(|_| ())
            .unwrap_err();
        assert!(error.to_string().contains("password is wrong"), "{error}");

        for content in [
            "",
            "[]",
            "{}",
            r#"{"encoded":"AAAA","encoding":{"content":["pkcs8","sr25519"],"type":["scrypt","xsalsa20-poly1305"],"version":"3"},"address":"5CfWTDh7XxJ2yrayqQ2aJnnZAH5v5XaF1oJFfH5QCpbfP9v8"}"#,
        ] {
            fs::write(&path, content).unwrap();
            assert!(load_polkadot_js_file(&path, "word").is_err(), "{content}");
        }
        fs::write(&path, " ".repeat(70_000)).unwrap();
        assert!(load_polkadot_js_file(&path, "word").is_err());
        assert!(load_polkadot_js_file(&folder.path().join("none"), "word").is_err());
    }
}
