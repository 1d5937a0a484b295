//! Public keys and the three signature algorithms that the vendors use.

use der::oid::ObjectIdentifier;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::{BoxedUint, PublicKey as RsaPublicKey, pss};
use sha2::{Digest, Sha256, Sha384};

use super::reader::{Elements, tag, unsigned, whole_bytes};

/// Length in bytes of a point on P-256 without its leading byte.
pub(crate) const P256_KEY_BYTES: usize = 64;

/// Length in bytes of a point on P-384 without its leading byte.
pub(crate) const P384_KEY_BYTES: usize = 96;

/// Length in bytes of the longest RSA modulus that AMD uses.
const MAX_RSA_BYTES: usize = 512;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// Parameters of RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt.
///
/// AMD writes them in two ways: newer certificates omit the trailer field, whose value is the default, and
/// older ones write it.
const PSS_SHA384: [u8; 54] = [
    0x30, 0x34, // parameters
    0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
    0x00, // SHA-384
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, // MGF1
    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
    0x00, // with SHA-384
    0xa2, 0x03, 0x02, 0x01, 0x30, // 48 bytes of salt
];
const PSS_TRAILER: [u8; 5] = [0xa3, 0x03, 0x02, 0x01, 0x01];

/// Signature algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Algorithm {
    /// ECDSA on P-256 with SHA-256: Intel.
    EcdsaSha256,
    /// ECDSA on P-384 with SHA-384: NVIDIA.
    EcdsaSha384,
    /// RSASSA-PSS with SHA-384: AMD.
    RsaPssSha384,
}

impl Algorithm {
    /// Reads an `AlgorithmIdentifier`; `Some(None)` if it is well formed but unknown.
    pub(crate) fn read(raw: &[u8]) -> Option<Option<Self>> {
        let mut parts = Elements::inside(raw, tag::SEQUENCE)?;
        let oid = parts.expect(tag::OBJECT_IDENTIFIER)?.value;
        if oid == RSASSA_PSS.as_bytes() {
            let parameters = parts.expect(tag::SEQUENCE)?.raw;
            parts.end()?;
            return Some(is_pss_sha384(parameters).then_some(Self::RsaPssSha384));
        }
        let algorithm = if oid == ECDSA_WITH_SHA256.as_bytes() {
            Self::EcdsaSha256
        } else if oid == ECDSA_WITH_SHA384.as_bytes() {
            Self::EcdsaSha384
        } else {
            return Some(None);
        };
        // RFC 5758: these algorithms have no parameters.
        Some(parts.is_at_end().then_some(algorithm))
    }
}

fn is_pss_sha384(parameters: &[u8]) -> bool {
    if parameters == PSS_SHA384 {
        return true;
    }
    let (Some(rest), Some(expected)) = (parameters.strip_prefix(&[0x30, 0x39]), PSS_SHA384.get(2..)) else {
        return false;
    };
    rest.strip_prefix(expected) == Some(PSS_TRAILER.as_slice())
}

/// Public key of a certificate.
#[derive(Clone, Copy)]
pub(crate) enum PublicKey<'a> {
    P256(&'a [u8; P256_KEY_BYTES]),
    P384(&'a [u8; P384_KEY_BYTES]),
    Rsa { modulus: &'a [u8], exponent: &'a [u8] },
}

impl<'a> PublicKey<'a> {
    /// Reads a `SubjectPublicKeyInfo`; `Some(None)` if it is well formed but of a kind that no vendor uses.
    pub(crate) fn read(raw: &'a [u8]) -> Option<Option<Self>> {
        let mut parts = Elements::inside(raw, tag::SEQUENCE)?;
        let mut algorithm = parts.sequence()?;
        let bytes = whole_bytes(parts.expect(tag::BIT_STRING)?)?;
        parts.end()?;
        let oid = algorithm.expect(tag::OBJECT_IDENTIFIER)?.value;
        if oid == RSA_ENCRYPTION.as_bytes() {
            let mut numbers = Elements::inside(bytes, tag::SEQUENCE)?;
            let modulus = unsigned(numbers.expect(tag::INTEGER)?)?;
            let exponent = unsigned(numbers.expect(tag::INTEGER)?)?;
            numbers.end()?;
            let fits = modulus.len() <= MAX_RSA_BYTES && exponent.len() <= 4;
            return Some(fits.then_some(Self::Rsa { modulus, exponent }));
        }
        if oid != EC_PUBLIC_KEY.as_bytes() {
            return Some(None);
        }
        let curve = algorithm.expect(tag::OBJECT_IDENTIFIER)?.value;
        algorithm.end()?;
        // 4 marks an uncompressed point; no vendor compresses.
        let point = match bytes.split_first()? {
            (4, point) => point,
            _ => return Some(None),
        };
        Some(if curve == SECP256R1.as_bytes() {
            Some(Self::P256(point.try_into().ok()?))
        } else if curve == SECP384R1.as_bytes() {
            Some(Self::P384(point.try_into().ok()?))
        } else {
            None
        })
    }

    /// Returns true if this key made the signature, in the encoding of certificates, of the message.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (*self, algorithm) {
            (Self::P256(key), Algorithm::EcdsaSha256) => signature_of_sequence(signature)
                .is_some_and(|signature| p256_verifies(key, message, &signature)),
            (Self::P384(key), Algorithm::EcdsaSha384) => signature_of_sequence(signature)
                .is_some_and(|signature| p384_verifies(key, message, &signature)),
            (Self::Rsa { modulus, exponent }, Algorithm::RsaPssSha384) => {
                rsa_pss_verifies(modulus, exponent, message, signature)
            }
            _ => false,
        }
    }
}

/// Returns the numbers `r ‖ s` of a DER signature, each padded with leading zeros to half of the length.
fn signature_of_sequence<const N: usize>(signature: &[u8]) -> Option<[u8; N]> {
    let mut numbers = Elements::inside(signature, tag::SEQUENCE)?;
    let mut joined = [0; N];
    let (r, s) = joined.split_at_mut(N / 2);
    for to in [r, s] {
        let number = unsigned(numbers.expect(tag::INTEGER)?)?;
        let start = to.len().checked_sub(number.len())?;
        to.get_mut(start..)?.copy_from_slice(number);
    }
    numbers.end()?;
    Some(joined)
}

/// Returns true if the P-256 key made the signature `r ‖ s` (big-endian) of the message's SHA-256.
pub(crate) fn p256_verifies(key: &[u8; P256_KEY_BYTES], message: &[u8], signature: &[u8; 64]) -> bool {
    let verify = || {
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&sec1::<65>(key)?).ok()?;
        let signature = p256::ecdsa::Signature::from_slice(signature).ok()?;
        key.verify_prehash(&Sha256::digest(message), &signature).ok()
    };
    verify().is_some()
}

/// Returns true if the P-384 key made the signature `r ‖ s` (big-endian) of the message's SHA-384.
pub(crate) fn p384_verifies(key: &[u8; P384_KEY_BYTES], message: &[u8], signature: &[u8; 96]) -> bool {
    let verify = || {
        let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&sec1::<97>(key)?).ok()?;
        let signature = p384::ecdsa::Signature::from_slice(signature).ok()?;
        key.verify_prehash(&Sha384::digest(message), &signature).ok()
    };
    verify().is_some()
}

/// Returns a point in SEC 1 form: the marker of an uncompressed point before it.
fn sec1<const N: usize>(point: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [4; N];
    let to = bytes.get_mut(1..)?;
    (to.len() == point.len()).then(|| to.copy_from_slice(point))?;
    Some(bytes)
}

fn rsa_pss_verifies(modulus: &[u8], exponent: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let verify = || {
        let modulus = BoxedUint::from_be_slice_vartime(modulus);
        let exponent = BoxedUint::from_be_slice_vartime(exponent);
        let key = RsaPublicKey::new(modulus, exponent).ok()?;
        let signature = pss::Signature::try_from(signature).ok()?;
        pss::VerifyingKey::<Sha384>::new(key)
            .verify_prehash(&Sha384::digest(message), &signature)
            .ok()
    };
    verify().is_some()
}
