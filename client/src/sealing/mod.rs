//! Manifests sealed to one machine, and the machine's receipts of them.
//!
//! The bytes that are sealed are a random nonce and the manifest's JSON: [`PlainManifest`]. Their Blake2-256
//! hash is on chain ([`crate::types::Manifest::Sealed`]), and the nonce keeps it from being guessed. They are
//! sealed anew for each machine, by HPKE (RFC 9180) in base mode with X25519, HKDF-SHA256 and
//! ChaCha20-Poly1305, and bound to the chain, the job, the machine and its key:
//!
//! ```text
//! info = "assay/manifest/v1" ‖ genesis hash (32) ‖ job (8) ‖ machine (8) ‖ sealing key (32)
//! body = encapsulated key (32) ‖ ciphertext of nonce (32) ‖ manifest, with its tag (16)
//! ```
//!
//! Numbers are little-endian, as SCALE encodes them; the additional authenticated data is empty. Any sender
//! may seal a manifest to a machine, and only the one whose bytes have the hash on chain is taken.

mod receipt;
#[cfg(test)]
mod tests;

use std::{
    fmt, fs,
    io::{self, Read, Write},
    path::Path,
};

use assay_primitives::delivery::{
    ENCAPSULATED_KEY_BYTES, MANIFEST_NONCE_BYTES, MAX_PLAIN_BYTES, MAX_SEALED_BODY_BYTES,
    SEAL_OVERHEAD_BYTES, sealed_manifest_info,
};
use hpke::{
    Deserializable, HpkeError, Kem, OpModeR, OpModeS, Serializable, aead::ChaCha20Poly1305, kdf::HkdfSha256,
    kem::X25519HkdfSha256, single_shot_open, single_shot_seal,
};
use rand_core::{CryptoRng, OsRng, TryRngCore};
use sp_crypto_hashing::blake2_256;
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, Zeroizing};

pub use receipt::Receipt;

use crate::manifest::{JobManifest, ManifestError, OpenedManifest};

/// Reason why a manifest cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The operating system gave no randomness.
    #[error("no randomness to seal with: {reason}; try again")]
    NoRandomness {
        /// Error of the operating system.
        reason: String,
    },
    /// The machine's key is not one that can be sealed to.
    #[error(
        "the machine's sealing key is not a usable X25519 key; choose another machine, its provider has to rotate its keys"
    )]
    BadKey,
    /// The length is not one of a sealed manifest.
    #[error(
        "a sealed manifest has {} to {MAX_SEALED_BODY_BYTES} bytes, and this has {length_bytes}",
        MANIFEST_NONCE_BYTES + SEAL_OVERHEAD_BYTES
    )]
    BadLength {
        /// Its length.
        length_bytes: usize,
    },
    /// The key or the context is another one, or the bytes were changed.
    #[error(
        "the sealed manifest does not open: it was sealed for another job, machine, key or chain, or it was changed on the \
         way; seal it to the machine's present key and send it again"
    )]
    NotOpened,
    /// The manifest is not valid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Context that a sealed manifest is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealContext {
    /// Hash of the genesis block.
    pub genesis_hash: [u8; 32],
    /// Number of the job.
    pub job: u64,
    /// Number of the machine.
    pub machine: u64,
    /// Public sealing key of the machine.
    pub sealing_key: [u8; 32],
}

impl SealContext {
    fn info(&self) -> Vec<u8> {
        sealed_manifest_info(&self.genesis_hash, self.job, self.machine, &self.sealing_key)
    }
}

/// Bytes that are sealed: a nonce and the manifest's JSON. Overwritten in memory when dropped.
///
/// A job has one, for all of its machines. A consumer that loses it can seal it to no further machine.
#[derive(Clone, PartialEq, Eq)]
pub struct PlainManifest(Zeroizing<Vec<u8>>);

impl PlainManifest {
    /// Puts a nonce before a manifest.
    pub fn new(manifest: &JobManifest) -> Result<Self, SealError> {
        let json = Zeroizing::new(manifest.to_sealed_bytes()?);
        let mut bytes = Zeroizing::new(vec![0; MANIFEST_NONCE_BYTES]);
        getrandom::fill(&mut bytes).map_err(|error| SealError::NoRandomness {
            reason: error.to_string(),
        })?;
        bytes.extend_from_slice(&json);
        Ok(Self(bytes))
    }

    /// Restores the bytes that [`Self::bytes`] returned.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new(bytes);
        if (MANIFEST_NONCE_BYTES..=MAX_PLAIN_BYTES).contains(&bytes.len()) {
            return Ok(Self(bytes));
        }
        let length_bytes = bytes.len().saturating_add(SEAL_OVERHEAD_BYTES);
        bytes.zeroize();
        Err(SealError::BadLength { length_bytes })
    }

    /// Returns the bytes, which are secret.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Writes the bytes to a file that only its owner can read, so that [`Self::from_bytes`] can restore
    /// them.
    ///
    /// # Errors
    /// The file cannot be written, or it exists and `may_replace` is false.
    pub fn keep(&self, path: &Path, may_replace: bool) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true);
        if may_replace {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        file.write_all(&self.0)?;
        file.sync_all()
    }

    /// Restores the bytes from a file that [`Self::keep`] wrote.
    ///
    /// # Errors
    /// The file cannot be read, or is another one.
    pub fn load(path: &Path) -> io::Result<Self> {
        let limit = u64::try_from(MAX_PLAIN_BYTES)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Self::from_bytes(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no file with a kept manifest"))
    }

    /// Returns their hash, as the order on chain has it.
    pub fn hash(&self) -> [u8; 32] {
        blake2_256(&self.0)
    }

    /// Reads the manifest. An error may quote it.
    pub fn manifest(&self) -> Result<OpenedManifest, ManifestError> {
        let json = self.0.get(MANIFEST_NONCE_BYTES..).unwrap_or_default();
        JobManifest::from_sealed_bytes(json).map(OpenedManifest::new)
    }

    /// Seals the manifest to a machine.
    pub fn seal(&self, context: &SealContext) -> Result<SealedManifest, SealError> {
        // The last failure of the system's randomness would be a panic.
        let mut probe = [0; 1];
        getrandom::fill(&mut probe).map_err(|error| SealError::NoRandomness {
            reason: error.to_string(),
        })?;
        let mut randomness = OsRng.unwrap_err();
        let body = encrypt(
            &context.sealing_key,
            &context.info(),
            &self.0,
            b"",
            &mut randomness,
        )
        .map_err(|_| SealError::BadKey)?;
        Ok(SealedManifest(body))
    }
}

impl fmt::Debug for PlainManifest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A secret must not reach a log.
        formatter.write_str("PlainManifest(…)")
    }
}

/// Manifest sealed to one machine, as it is delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedManifest(Vec<u8>);

impl SealedManifest {
    /// Takes bytes that were delivered.
    pub fn from_bytes(body: Vec<u8>) -> Result<Self, SealError> {
        let shortest = MANIFEST_NONCE_BYTES.saturating_add(SEAL_OVERHEAD_BYTES);
        if (shortest..=MAX_SEALED_BODY_BYTES).contains(&body.len()) {
            return Ok(Self(body));
        }
        Err(SealError::BadLength {
            length_bytes: body.len(),
        })
    }

    /// Returns the bytes to deliver.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Opens it with the machine's secret key.
    pub fn open(&self, secret: &StaticSecret, context: &SealContext) -> Result<PlainManifest, SealError> {
        let plain = decrypt(secret, &context.info(), &self.0, b"").map_err(|_| SealError::NotOpened)?;
        PlainManifest::from_bytes(plain)
    }
}

/// Encrypts bytes to a key; returns the encapsulated key and the ciphertext.
fn encrypt(
    recipient: &[u8; 32],
    info: &[u8],
    plain: &[u8],
    associated: &[u8],
    randomness: &mut impl CryptoRng,
) -> Result<Vec<u8>, HpkeError> {
    let recipient = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(recipient)?;
    let (encapsulated, ciphertext) = single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256, _>(
        &OpModeS::Base,
        &recipient,
        info,
        plain,
        associated,
        randomness,
    )?;
    let mut body = encapsulated.to_bytes().to_vec();
    body.extend_from_slice(&ciphertext);
    Ok(body)
}

/// Decrypts what [`encrypt`] returned.
fn decrypt(secret: &StaticSecret, info: &[u8], body: &[u8], associated: &[u8]) -> Result<Vec<u8>, HpkeError> {
    let (encapsulated, ciphertext) = body
        .split_first_chunk::<ENCAPSULATED_KEY_BYTES>()
        .ok_or(HpkeError::OpenError)?;
    let secret = Zeroizing::new(secret.to_bytes());
    single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &<X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&*secret)?,
        &<X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated)?,
        info,
        ciphertext,
        associated,
    )
}
