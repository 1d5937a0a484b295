//! Keys in files with a password, in the format of polkadot.js, so that other wallets read them.
//!
//! Such a file is JSON. `encoded` is Base64 of `salt (32) ‖ N ‖ p ‖ r (4 each, little-endian) ‖ nonce (24)
//! ‖ box`: scrypt makes the key of the password, XSalsa20-Poly1305 the box, whose content is `header (16) ‖
//! secret key (64) ‖ divider (5) ‖ public key (32)`.

use std::num::NonZeroU32;

use base64::{Engine, engine::general_purpose::STANDARD};
use crypto_secretbox::{
    Key, Nonce, XSalsa20Poly1305,
    aead::{Aead, KeyInit},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use subxt_signer::{bip39::Mnemonic, polkadot_js_compat, sr25519::Keypair};
use zeroize::{Zeroize, Zeroizing};

use super::{KeyError, account_of, keypair_from_uri, new_secret};
use crate::types::AccountId;

/// Parameters of scrypt that polkadot.js writes: about 32 MiB of memory.
const LOG_N: u8 = 15;
const BLOCK_SIZE: u32 = 8;
const PARALLELISM: u32 = 1;

const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Salt, parameters and nonce before the box.
const PREFIX_BYTES: usize = SALT_BYTES + 12 + NONCE_BYTES;

/// First bytes of a key in the box.
const HEADER: [u8; 16] = [48, 83, 2, 1, 1, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];

/// Bytes between the secret and the public key.
const DIVIDER: [u8; 5] = [161, 35, 3, 33, 0];

/// Bytes of entropy of a new phrase of twelve words.
const ENTROPY_BYTES: usize = 16;

/// Rounds by which a phrase becomes a seed.
const PHRASE_ROUNDS: NonZeroU32 = match NonZeroU32::new(2_048) {
    Some(rounds) => rounds,
    None => NonZeroU32::MIN,
};

/// Maximum length of a file, in bytes; one of polkadot.js has about 600.
pub const MAX_ENCRYPTED_BYTES: u64 = 8_192;

#[derive(Serialize, Deserialize)]
struct KeyJson {
    encoded: String,
    encoding: Encoding,
    address: String,
    #[serde(default)]
    meta: Meta,
}

#[derive(Serialize, Deserialize)]
struct Encoding {
    content: Vec<String>,
    r#type: Vec<String>,
    version: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    name: String,
    when_created: u64,
}

/// A seed of 32 bytes, from which a key follows.
pub struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    /// Makes a new seed, and the phrase of twelve words that it follows from.
    pub fn generate() -> Result<(Self, Zeroizing<String>), KeyError> {
        let random = Zeroizing::new(new_secret()?);
        let entropy = random.get(..ENTROPY_BYTES).unwrap_or_default();
        let mnemonic = Mnemonic::from_entropy(entropy).map_err(|error| KeyError::BadUri {
            reason: error.to_string(),
        })?;
        let phrase = Zeroizing::new(mnemonic.to_string());
        Ok((Self::of_phrase(&mnemonic), phrase))
    }

    /// Reads a phrase, or `0x` and 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`KeyError::BadUri`] for anything else. A key that is derived by `//path` or `///password` follows
    /// from no seed of its own, so those are refused, too.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bad = |reason: &str| KeyError::BadUri {
            reason: reason.to_owned(),
        };
        let text = text.trim();
        if text.contains('/') {
            return Err(bad("a derived key cannot be kept in such a file"));
        }
        let keypair = keypair_from_uri(text)?;
        let seed = match text.strip_prefix("0x") {
            Some(digits) => {
                let mut seed = Zeroizing::new([0; 32]);
                hex::decode_to_slice(digits, &mut *seed).map_err(|_| bad("it is no seed"))?;
                Self(seed)
            }
            None => {
                let mnemonic: Mnemonic = text.parse().map_err(|_| bad("it is no phrase"))?;
                Self::of_phrase(&mnemonic)
            }
        };
        // Both ways lead to the same account, or something here is wrong.
        if account_of(&seed.keypair()?) != account_of(&keypair) {
            return Err(bad("it does not lead to its key"));
        }
        Ok(seed)
    }

    fn of_phrase(mnemonic: &Mnemonic) -> Self {
        let (mut entropy, length) = mnemonic.to_entropy_array();
        let mut long = Zeroizing::new([0; 64]);
        ring::pbkdf2::derive(
            ring::pbkdf2::PBKDF2_HMAC_SHA512,
            PHRASE_ROUNDS,
            b"mnemonic",
            entropy.get(..length).unwrap_or_default(),
            &mut *long,
        );
        entropy.zeroize();
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(long.get(..32).unwrap_or(&[0; 32]));
        Self(seed)
    }

    /// Returns the key.
    pub fn keypair(&self) -> Result<Keypair, KeyError> {
        Keypair::from_secret_key(*self.0).map_err(|error| KeyError::BadUri {
            reason: error.to_string(),
        })
    }

    /// Returns the secret key in the form of Ed25519, which polkadot.js keeps.
    fn expanded(&self) -> Zeroizing<[u8; 64]> {
        let mut expanded: Zeroizing<[u8; 64]> = Zeroizing::new(Sha512::digest(*self.0).into());
        if let Some(first) = expanded.first_mut() {
            *first &= 248;
        }
        if let Some(last) = expanded.get_mut(31) {
            *last = (*last & 63) | 64;
        }
        expanded
    }

    /// Returns the content of a file with this key. `created_ms`: Unix time in milliseconds.
    pub fn encrypt(&self, name: &str, password: &str, created_ms: u64) -> Result<String, KeyError> {
        let keypair = self.keypair()?;
        let salt = new_secret()?;
        let random = new_secret()?;
        let nonce = random.first_chunk::<NONCE_BYTES>().copied().unwrap_or_default();
        let plain = Zeroizing::new(
            [
                &HEADER[..],
                &self.expanded()[..],
                &DIVIDER[..],
                &keypair.public_key().0[..],
            ]
            .concat(),
        );
        let key = password_key(password, &salt)?;
        let sealed = XSalsa20Poly1305::new(Key::from_slice(&*key))
            .encrypt(Nonce::from_slice(&nonce), plain.as_slice())
            .map_err(|_| bad("it cannot be encrypted"))?;
        let encoded = [
            &salt[..],
            &(1u32 << LOG_N).to_le_bytes(),
            &PARALLELISM.to_le_bytes(),
            &BLOCK_SIZE.to_le_bytes(),
            &nonce[..],
            &sealed,
        ]
        .concat();
        let text = |text: &str| text.to_owned();
        let json = serde_json::to_string(&KeyJson {
            encoded: STANDARD.encode(encoded),
            encoding: Encoding {
                content: vec![text("pkcs8"), text("sr25519")],
                r#type: vec![text("scrypt"), text("xsalsa20-poly1305")],
                version: text("3"),
            },
            address: account_of(&keypair).to_string(),
            meta: Meta {
                name: text(name),
                when_created: created_ms,
            },
        })
        .map_err(|error| bad(&error.to_string()))?;
        // A file that could not be opened again would be the loss of the key.
        decrypt(&json, password)?;
        Ok(json)
    }
}

fn bad(reason: &str) -> KeyError {
    KeyError::BadEncrypted {
        reason: reason.to_owned(),
    }
}

fn password_key(password: &str, salt: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let parameters =
        scrypt::Params::new(LOG_N, BLOCK_SIZE, PARALLELISM, 32).map_err(|error| bad(&error.to_string()))?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password.as_bytes(), salt, &parameters, &mut *key)
        .map_err(|error| bad(&error.to_string()))?;
    Ok(key)
}

/// Returns the account of a file's key, which is no secret. It is the file's claim; [`decrypt`] checks it.
pub fn encrypted_account(json: &str) -> Result<AccountId, KeyError> {
    let json: KeyJson = serde_json::from_str(json).map_err(|error| bad(&error.to_string()))?;
    json.address.parse().map_err(|_| bad("its address is none"))
}

/// Returns the key of a file.
///
/// # Errors
/// [`KeyError::WrongPassword`], or [`KeyError::BadEncrypted`] for a file of another kind.
pub fn decrypt(json: &str, password: &str) -> Result<Keypair, KeyError> {
    let parsed: KeyJson = serde_json::from_str(json).map_err(|error| bad(&error.to_string()))?;
    let length = STANDARD
        .decode(&parsed.encoded)
        .map_err(|_| bad("`encoded` is no Base64"))?
        .len();
    if length <= PREFIX_BYTES {
        return Err(bad("`encoded` is too short"));
    }
    polkadot_js_compat::decrypt_json(json, password).map_err(|error| match error {
        polkadot_js_compat::Error::Secretbox(_) => KeyError::WrongPassword,
        polkadot_js_compat::Error::UnsupportedEncoding => {
            bad("it is of another version, not of sr25519, or not encrypted with a password")
        }
        error => bad(&error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const DEV_PHRASE: &str = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";

    #[test]
    fn key_is_opened_by_its_password_alone() {
        let (seed, phrase) = Seed::generate().unwrap();
        assert_eq!(phrase.split(' ').count(), 12);
        let json = seed.encrypt("mine", "correct horse", 1_768_916_488_918).unwrap();
        let account = account_of(&seed.keypair().unwrap());
        assert_eq!(encrypted_account(&json).unwrap(), account);
        assert_eq!(account_of(&decrypt(&json, "correct horse").unwrap()), account);
        assert!(matches!(decrypt(&json, "battery"), Err(KeyError::WrongPassword)));
        assert!(!json.contains(phrase.as_str()));
        assert_eq!(
            account_of(&Seed::parse(&phrase).unwrap().keypair().unwrap()),
            account,
            "the phrase is a backup"
        );
    }

    #[test]
    fn file_of_polkadot_js_is_opened() {
        // The example of subxt-signer, made by polkadot.js.
        let json = r#"{"encoded":"DumgApKCTqoCty1OZW/8WS+sgo6RdpHhCwAkA2IoDBMAgAAAAQAAAAgAAAB6IG/q24EeVf0JqWqcBd5m2tKq5BlyY84IQ8oamLn9DZe9Ouhgunr7i36J1XxUnTI801axqL/ym1gil0U8440Qvj0lFVKwGuxq38zuifgoj0B3Yru0CI6QKEvQPU5xxj4MpyxdSxP+2PnTzYao0HDH0fulaGvlAYXfqtU89xrx2/z9z7IjSwS3oDFPXRQ9kAdDebtyCVreZ9Otw9v3","encoding":{"content":["pkcs8","sr25519"],"type":["scrypt","xsalsa20-poly1305"],"version":"3"},"address":"5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY","meta":{"genesisHash":"","name":"Alice","whenCreated":1718265838755}}"#;
        let alice = account_of(&keypair_from_uri("//Alice").unwrap());
        assert_eq!(encrypted_account(json).unwrap(), alice);
        assert_eq!(account_of(&decrypt(json, "whoisalice").unwrap()), alice);
    }

    #[test]
    fn seeds_are_those_of_the_other_tools() {
        for text in [DEV_PHRASE.to_owned(), format!("0x{}", "1f".repeat(32))] {
            let seed = Seed::parse(&text).unwrap();
            let expected = account_of(&keypair_from_uri(&text).unwrap());
            assert_eq!(account_of(&seed.keypair().unwrap()), expected);
        }
        for text in [
            "",
            "//Alice",
            &format!("{DEV_PHRASE}//Bob"),
            "0x12",
            "bottom drive",
        ] {
            assert!(Seed::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn other_files_are_refused_and_end_nothing() {
        let (seed, _) = Seed::generate().unwrap();
        let json = seed.encrypt("mine", "password", 0).unwrap();
        let encoded = &serde_json::from_str::<KeyJson>(&json).unwrap().encoded;
        for wrong in [
            String::new(),
            "{}".to_owned(),
            json.replace(encoded, ""),
            json.replace(encoded, "AAAA"),
            json.replace(encoded, "%"),
            json.replace("\"3\"", "\"2\""),
            json.replace("sr25519", "ed25519"),
        ] {
            let error = decrypt(&wrong, "password").map(|_| ()).unwrap_err();
            assert!(matches!(error, KeyError::BadEncrypted { .. }), "{error}");
        }
    }
}
