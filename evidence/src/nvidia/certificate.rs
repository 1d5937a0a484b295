//! The certificate of a GPU's attestation key.

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use der::oid::ObjectIdentifier;
use scale_info::TypeInfo;

use crate::{
    Hash,
    attestation::{DeviceNumbering, device_hash},
    error::{EvidenceError, Part},
    x509::{
        Certificate, Path, RevocationList, RevocationRule, TrustRoots,
        key::{Algorithm, P384_KEY_BYTES, PublicKey},
        reader::{Elements, tag},
        verify_path,
    },
};

const SUBJECT_ALTERNATIVE_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
/// DMTF's `id-DMTF-device-info`: manufacturer, product and serial number.
const DMTF_DEVICE_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.412.274.1");
/// TCG's DICE: measurements made when the key was derived. NVIDIA uses this arc itself and the one below it.
const DICE_TCB_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.1");
const DICE_TCB_INFO_BELOW: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.1.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");

/// Length in bytes of a firmware's hash.
pub(super) const FIRMWARE_ID_BYTES: usize = 48;

/// Name of a device, such as `NVIDIA:GH100:48B02D92494BADF4`.
pub type DeviceIdentity = BoundedVec<u8, ConstU32<64>>;

/// Attestation key of a GPU with a verified certificate, for storage.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct DeviceKey {
    /// Chain, which must be valid at every use of the key.
    pub path: Path,
    /// Public key, a point on P-384.
    pub key: [u8; P384_KEY_BYTES],
    /// Identity of the GPU: manufacturer, chip and serial number.
    pub identity: DeviceIdentity,
    /// Hash of the firmware for which the key was derived.
    pub firmware_id: [u8; FIRMWARE_ID_BYTES],
}

impl DeviceKey {
    /// Returns the chip, such as `GH100`.
    pub fn chip(&self) -> &[u8] {
        self.identity
            .split(|byte| *byte == b':')
            .nth(1)
            .unwrap_or_default()
    }

    /// Returns the GPU's device hash, the same in every [`Attestation`](crate::Attestation) of it.
    pub fn device(&self) -> Hash {
        device_hash(DeviceNumbering::Nvidia, &self.identity)
    }
}

/// Verifies the chain of a GPU: the certificates of the attestation key, the identity key, the provisioner,
/// the chip family, and optionally the root (each DER, in this order).
///
/// `require_lists` demands the revocation lists of the root and of the chip family. Costs four signature
/// verifications.
pub fn verify_device_key(
    chain: &[&[u8]],
    roots: &TrustRoots,
    lists: &[RevocationList],
    require_lists: bool,
    now_s: u64,
) -> Result<DeviceKey, EvidenceError> {
    let verified = verify_path(chain, 4..=4, Algorithm::EcdsaSha384, &roots.nvidia, now_s)?;
    let rule = revocation_rule(lists, require_lists);
    verified.path.check(&roots.nvidia, rule, now_s)?;
    let leaf = verified
        .certificates
        .first()
        .ok_or(EvidenceError::WrongChainLength)?;
    let PublicKey::P384(key) = leaf.key else {
        return Err(EvidenceError::UnsupportedAlgorithm(Part::Certificate));
    };
    let read = || {
        Some(DeviceKey {
            path: verified.path.clone(),
            key: *key,
            identity: read_identity(leaf)?,
            firmware_id: read_firmware_id(leaf)?,
        })
    };
    read().ok_or(EvidenceError::NotAVendorCertificate)
}

/// Returns the rule for revocation. NVIDIA publishes lists for the certificates of chip families and
/// provisioners; only its OCSP service knows the GPUs' own.
pub(super) fn revocation_rule(lists: &[RevocationList], require_lists: bool) -> RevocationRule<'_> {
    RevocationRule {
        lists,
        required_from: if require_lists { 2 } else { usize::MAX },
    }
}

/// Reads `NVIDIA:<chip>:<serial number>` from an `otherName` of the subject's alternative names.
fn read_identity(leaf: &Certificate<'_>) -> Option<DeviceIdentity> {
    let mut names = Elements::inside(leaf.extension(&SUBJECT_ALTERNATIVE_NAME)?, tag::SEQUENCE)?;
    let mut found = None;
    while !names.is_at_end() {
        let name = names.next()?;
        if name.tag != tag::context(0) {
            continue;
        }
        let mut parts = Elements::new(name.value)?;
        if parts.expect(tag::OBJECT_IDENTIFIER)?.value != DMTF_DEVICE_INFO.as_bytes() {
            continue;
        }
        let mut explicit = Elements::new(parts.expect(tag::context(0))?.value)?;
        let text = explicit.expect(tag::UTF8_STRING)?.value;
        explicit.end()?;
        parts.end()?;
        if found.replace(text).is_some() {
            return None;
        }
    }
    let text = found?;
    let mut parts = text.split(|byte| *byte == b':');
    let is_word = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_alphanumeric);
    let well_formed = parts.next()? == b"NVIDIA" && is_word(parts.next()?) && is_word(parts.next()?);
    if !well_formed || parts.next().is_some() {
        return None;
    }
    text.to_vec().try_into().ok()
}

/// Reads the hash of the firmware from either of the two DICE extensions that NVIDIA writes: a `TcbInfo`,
/// whose `[6]` is a list of hashes, or a composite device id, which ends in a hash.
fn read_firmware_id(leaf: &Certificate<'_>) -> Option<[u8; FIRMWARE_ID_BYTES]> {
    let value = leaf
        .extension(&DICE_TCB_INFO_BELOW)
        .or_else(|| leaf.extension(&DICE_TCB_INFO))?;
    let mut fields = Elements::inside(value, tag::SEQUENCE)?;
    let mut found = None;
    while !fields.is_at_end() {
        let field = fields.next()?;
        let hash = if field.tag == tag::context(6) {
            // List of hashes; the first one is the firmware's.
            Elements::new(field.value)?.sequence()
        } else if field.tag == tag::SEQUENCE {
            Elements::new(field.value)
        } else {
            None
        };
        if let Some(id) = hash.and_then(read_hash)
            && found.replace(id).is_some()
        {
            return None;
        }
    }
    found
}

/// Returns the hash behind the identifier of SHA-384; `None` for any other algorithm.
fn read_hash(mut parts: Elements<'_>) -> Option<[u8; FIRMWARE_ID_BYTES]> {
    // The composite device id has the algorithm with its parameters; the list of hashes has only its
    // identifier.
    let first = parts.next()?;
    let oid = match first.tag {
        tag::OBJECT_IDENTIFIER => first.value,
        tag::SEQUENCE => Elements::new(first.value)?.expect(tag::OBJECT_IDENTIFIER)?.value,
        _ => return None,
    };
    let hash = parts.expect(tag::OCTET_STRING)?.value;
    parts.end()?;
    (oid == SHA384.as_bytes()).then_some(hash.try_into().ok()?)
}
