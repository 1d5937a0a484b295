//! A certificate.

use der::oid::ObjectIdentifier;

use super::{
    MAX_CERTIFICATE_BYTES,
    key::{Algorithm, PublicKey},
    reader::{Elements, small_unsigned, tag, time_s, unsigned, whole_bytes},
    serial::Serial,
};
use crate::{
    Hash,
    error::{EvidenceError, Part},
    hash::blake2_256,
};

const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");

/// Maximum number of extensions of a certificate; genuine ones have a dozen.
const MAX_EXTENSIONS: usize = 32;

/// Issuing rights that a certificate states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Issuing {
    /// True if its key may sign certificates.
    pub(crate) certificates: bool,
    /// True if its key may sign revocation lists.
    pub(crate) lists: bool,
    /// Maximum number of certificates between it and the device's.
    pub(crate) path_length: Option<u16>,
    /// True if it is marked as an authority, independent of its key usage.
    pub(crate) is_authority: bool,
}

/// Certificate as slices of its bytes.
#[derive(Clone, Copy)]
pub(crate) struct Certificate<'a> {
    /// All bytes.
    pub(crate) der: &'a [u8],
    /// The part that the issuer signed.
    signed: &'a [u8],
    pub(crate) serial: Serial,
    pub(crate) issuer: &'a [u8],
    pub(crate) subject: &'a [u8],
    key_info: &'a [u8],
    pub(crate) key: PublicKey<'a>,
    pub(crate) not_before_s: u64,
    pub(crate) not_after_s: u64,
    pub(crate) issuing: Issuing,
    extensions: &'a [u8],
    algorithm: Algorithm,
    signature: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads one certificate and refuses extensions or algorithms that this crate does not understand.
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, EvidenceError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(EvidenceError::TooLong(Part::Certificate));
        }
        let (algorithm, key_or_nothing, rest) =
            Self::read_shape(der).ok_or(EvidenceError::Malformed(Part::Certificate))?;
        let unsupported = EvidenceError::UnsupportedAlgorithm(Part::Certificate);
        let certificate = Self {
            algorithm: algorithm.ok_or(unsupported)?,
            key: key_or_nothing.ok_or(unsupported)?,
            ..rest
        };
        Ok(Self {
            issuing: certificate.read_extensions()?,
            ..certificate
        })
    }

    /// Reads everything but the meaning of the extensions. Algorithm and key are separate: they may be
    /// unknown.
    fn read_shape(der: &'a [u8]) -> Option<(Option<Algorithm>, Option<PublicKey<'a>>, Self)> {
        let mut outer = Elements::inside(der, tag::SEQUENCE)?;
        let signed = outer.expect(tag::SEQUENCE)?;
        let algorithm = outer.expect(tag::SEQUENCE)?.raw;
        let signature = whole_bytes(outer.expect(tag::BIT_STRING)?)?;
        outer.end()?;

        let mut fields = Elements::new(signed.value)?;
        // Version 3, the only one with extensions.
        let mut version = Elements::new(fields.expect(tag::context(0))?.value)?;
        if small_unsigned(version.next()?)? != 2 {
            return None;
        }
        version.end()?;
        let serial = Serial::new(unsigned(fields.next()?)?)?;
        if fields.expect(tag::SEQUENCE)?.raw != algorithm {
            return None;
        }
        let issuer = fields.expect(tag::SEQUENCE)?.raw;
        let mut validity = fields.sequence()?;
        let not_before_s = time_s(validity.next()?)?;
        let not_after_s = time_s(validity.next()?)?;
        validity.end()?;
        let subject = fields.expect(tag::SEQUENCE)?.raw;
        let key_info = fields.expect(tag::SEQUENCE)?.raw;
        let key = PublicKey::read(key_info)?;
        // Unique ids, used by no vendor, have the tags [1] and [2].
        fields.optional(0x81)?;
        fields.optional(0x82)?;
        let mut explicit = Elements::new(fields.expect(tag::context(3))?.value)?;
        let extensions = explicit.expect(tag::SEQUENCE)?.value;
        explicit.end()?;
        fields.end()?;

        let certificate = Self {
            der,
            signed: signed.raw,
            serial,
            issuer,
            subject,
            key_info,
            // The caller sets both, or refuses the certificate if they are unknown.
            key: key.unwrap_or(PublicKey::Rsa {
                modulus: &[],
                exponent: &[],
            }),
            algorithm: Algorithm::EcdsaSha384,
            not_before_s,
            not_after_s,
            issuing: Issuing {
                certificates: false,
                lists: false,
                path_length: None,
                is_authority: false,
            },
            extensions,
            signature,
        };
        Some((Algorithm::read(algorithm)?, key, certificate))
    }

    fn read_extensions(&self) -> Result<Issuing, EvidenceError> {
        const MALFORMED: EvidenceError = EvidenceError::Malformed(Part::Certificate);
        let mut authority = false;
        let mut path_length = None;
        let mut usage = None;
        let mut extensions = Extensions::new(self.extensions).ok_or(MALFORMED)?;
        let mut count = 0;
        while let Some(extension) = extensions.next().ok_or(MALFORMED)? {
            count += 1;
            if count > MAX_EXTENSIONS {
                return Err(EvidenceError::TooLong(Part::Certificate));
            }
            if self.extension_count(extension.oid).ok_or(MALFORMED)? != 1 {
                return Err(MALFORMED);
            }
            if extension.oid == BASIC_CONSTRAINTS.as_bytes() {
                (authority, path_length) = read_basic_constraints(extension.value).ok_or(MALFORMED)?;
            } else if extension.oid == KEY_USAGE.as_bytes() {
                usage = Some(read_key_usage(extension.value).ok_or(MALFORMED)?);
            } else if extension.critical {
                return Err(EvidenceError::UnknownCriticalExtension(Part::Certificate));
            }
        }
        // Bits 5 and 6 of the usage; an issuer without a usage may do both.
        let (certificates, lists) = usage.map_or((true, true), |bits| (bits & 0x04 != 0, bits & 0x02 != 0));
        Ok(Issuing {
            certificates: authority && certificates,
            lists: authority && lists,
            path_length,
            is_authority: authority,
        })
    }

    fn extension_count(&self, oid: &[u8]) -> Option<usize> {
        let mut extensions = Extensions::new(self.extensions)?;
        let mut count = 0;
        while let Some(extension) = extensions.next()? {
            count += usize::from(extension.oid == oid);
        }
        Some(count)
    }

    /// Returns the value of an extension. No kind occurs twice.
    pub(crate) fn extension(&self, oid: &ObjectIdentifier) -> Option<&'a [u8]> {
        let mut extensions = Extensions::new(self.extensions)?;
        while let Some(extension) = extensions.next()? {
            if extension.oid == oid.as_bytes() {
                return Some(extension.value);
            }
        }
        None
    }

    /// Returns the id of this certificate as an issuer: a hash of its name and key, so that a namesake
    /// differs.
    pub(crate) fn signer_id(&self) -> Hash {
        blake2_256(&[b"assay/evidence/issuer/v1", self.subject, self.key_info])
    }

    /// Returns true if this certificate's key signed the other one.
    pub(crate) fn has_signed(&self, other: &Certificate<'_>) -> bool {
        self.key.verifies(other.algorithm, other.signed, other.signature)
    }

    /// Returns true if its issuer used this algorithm.
    pub(crate) fn is_signed_with(&self, algorithm: Algorithm) -> bool {
        self.algorithm == algorithm
    }

    /// Refuses the certificate outside its validity period.
    pub(crate) fn check_time(&self, now_s: u64) -> Result<(), EvidenceError> {
        if now_s < self.not_before_s {
            return Err(EvidenceError::NotYetValid(Part::Certificate));
        }
        if now_s > self.not_after_s {
            return Err(EvidenceError::Expired(Part::Certificate));
        }
        Ok(())
    }
}

/// Extension of a certificate, list or list entry.
pub(crate) struct Extension<'a> {
    pub(crate) oid: &'a [u8],
    pub(crate) critical: bool,
    pub(crate) value: &'a [u8],
}

/// Iterator over the extensions of a certificate, a list or an entry of a list.
pub(crate) struct Extensions<'a>(Elements<'a>);

impl<'a> Extensions<'a> {
    /// Starts at `bytes`, the contents of the sequence of extensions.
    pub(crate) fn new(bytes: &'a [u8]) -> Option<Self> {
        Elements::new(bytes).map(Self)
    }

    /// Returns the next extension, `Some(None)` at the end, `None` if it is malformed.
    pub(crate) fn next(&mut self) -> Option<Option<Extension<'a>>> {
        if self.0.is_at_end() {
            return Some(None);
        }
        let mut parts = self.0.sequence()?;
        let oid = parts.expect(tag::OBJECT_IDENTIFIER)?.value;
        let critical = match parts.optional(tag::BOOLEAN)?.map(|element| element.value) {
            None => false,
            // DER omits the default, false, but some vendors write it.
            Some([0]) => false,
            Some([0xff]) => true,
            Some(_) => return None,
        };
        let value = parts.expect(tag::OCTET_STRING)?.value;
        parts.end()?;
        Some(Some(Extension { oid, critical, value }))
    }
}

fn read_basic_constraints(value: &[u8]) -> Option<(bool, Option<u16>)> {
    let mut parts = Elements::inside(value, tag::SEQUENCE)?;
    let authority = match parts.optional(tag::BOOLEAN)?.map(|element| element.value) {
        None | Some([0]) => false,
        Some([0xff]) => true,
        Some(_) => return None,
    };
    let path_length = match parts.optional(tag::INTEGER)? {
        None => None,
        Some(number) => Some(small_unsigned(number)?),
    };
    parts.end()?;
    Some((authority, path_length))
}

/// Returns the first eight bits: 0x80 is digital signature, 0x04 certificate signing, 0x02 list signing.
fn read_key_usage(value: &[u8]) -> Option<u8> {
    let mut outer = Elements::new(value)?;
    let bits = outer.expect(tag::BIT_STRING)?.value;
    outer.end()?;
    let (unused, bytes) = bits.split_first()?;
    if *unused > 7 || bytes.len() > 2 {
        return None;
    }
    bytes.first().copied()
}
