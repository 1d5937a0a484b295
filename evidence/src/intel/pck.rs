//! The certificate of a platform's provisioning certification key (PCK).

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use der::oid::ObjectIdentifier;
use scale_info::TypeInfo;

use crate::{
    error::{EvidenceError, Part},
    x509::{
        Certificate, Path, RevocationList, RevocationRule, TrustRoots,
        key::{Algorithm, P256_KEY_BYTES, PublicKey},
        reader::{Element, Elements, small_unsigned, tag},
        verify_path,
    },
};

const SGX_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
const PPID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.1");
const TCB: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.2");
/// Prefix of a component's identifier; its number, 1 to 16, follows.
const TCB_COMPONENT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.2.1");
const PCE_SVN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.2.17");
const PCE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.3");
const FMSPC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.4");

/// Security versions that a PCK certificate was issued for.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct SgxTcb {
    /// Versions of the sixteen components.
    pub components: [u8; 16],
    /// Version of the enclave that certifies quoting enclaves.
    pub pce: u16,
}

/// Platform key with a verified certificate, for storage.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct PckKey {
    /// Chain, which must be valid at every use of the key.
    pub path: Path,
    /// Public key, a point on P-256.
    pub key: [u8; 64],
    /// Family of processors that the TCB info must be for.
    pub fmspc: [u8; 6],
    /// Identity of the certifying enclave.
    pub pce_id: [u8; 2],
    /// Processor identity, assigned by Intel.
    pub ppid: [u8; 16],
    /// Security versions that the certificate was issued for.
    pub tcb: SgxTcb,
}

/// Verifies the chain of a PCK certificate: the certificate, its authority's, and optionally the root's (each
/// DER, in this order).
///
/// `lists` must hold the revocation lists of the root and of the authority. Costs two signature
/// verifications.
pub fn verify_pck_chain(
    chain: &[&[u8]],
    roots: &TrustRoots,
    lists: &[RevocationList],
    now_s: u64,
) -> Result<PckKey, EvidenceError> {
    let verified = verify_path(chain, 2..=2, Algorithm::EcdsaSha256, &roots.intel, now_s)?;
    verified.path.check(&roots.intel, all_covered(lists), now_s)?;
    let leaf = verified
        .certificates
        .first()
        .ok_or(EvidenceError::WrongChainLength)?;
    let PublicKey::P256(key) = leaf.key else {
        return Err(EvidenceError::UnsupportedAlgorithm(Part::Certificate));
    };
    read_extension(leaf, key, verified.path).ok_or(EvidenceError::NotAVendorCertificate)
}

/// Returns the processor family and the certifying enclave that a PCK certificate (DER) names, which select
/// Intel's TCB info. Verifies nothing: do not trust the result.
pub fn platform_of_certificate(der: &[u8]) -> Result<([u8; 6], [u8; 2]), EvidenceError> {
    let certificate = Certificate::read(der)?;
    let read = || {
        let extension = certificate.extension(&SGX_EXTENSION)?;
        let octets = |oid: &ObjectIdentifier| {
            field(extension, oid)
                .filter(|element| element.tag == tag::OCTET_STRING)
                .map(|element| element.value)
        };
        Some((
            octets(&FMSPC)?.try_into().ok()?,
            octets(&PCE_ID)?.try_into().ok()?,
        ))
    };
    read().ok_or(EvidenceError::NotAVendorCertificate)
}

/// Requires a revocation list for every certificate: Intel publishes lists for everything below its root.
pub(super) fn all_covered(lists: &[RevocationList]) -> RevocationRule<'_> {
    RevocationRule {
        lists,
        required_from: 0,
    }
}

fn read_extension(leaf: &Certificate<'_>, key: &[u8; P256_KEY_BYTES], path: Path) -> Option<PckKey> {
    let extension = leaf.extension(&SGX_EXTENSION)?;
    let octets = |oid: &ObjectIdentifier| {
        field(extension, oid)
            .filter(|element| element.tag == tag::OCTET_STRING)
            .map(|element| element.value)
    };
    let tcb = field(extension, &TCB)?;
    let component_prefix = TCB_COMPONENT.as_bytes().split_last()?.1;
    let mut components = [0; 16];
    for (number, component) in (1..).zip(&mut components) {
        let element = field_by(tcb.raw, |oid| {
            oid.split_last() == Some((&number, component_prefix))
        })?;
        *component = u8::try_from(small_unsigned(element)?).ok()?;
    }
    Some(PckKey {
        path,
        key: *key,
        fmspc: octets(&FMSPC)?.try_into().ok()?,
        pce_id: octets(&PCE_ID)?.try_into().ok()?,
        ppid: octets(&PPID)?.try_into().ok()?,
        tcb: SgxTcb {
            components,
            pce: small_unsigned(field(tcb.raw, &PCE_SVN)?)?,
        },
    })
}

/// Returns the value paired with an object identifier in a sequence of such pairs.
fn field<'a>(sequence: &'a [u8], oid: &ObjectIdentifier) -> Option<Element<'a>> {
    field_by(sequence, |found| found == oid.as_bytes())
}

fn field_by(sequence: &[u8], is_wanted: impl Fn(&[u8]) -> bool) -> Option<Element<'_>> {
    let mut pairs = Elements::inside(sequence, tag::SEQUENCE)?;
    let mut found = None;
    while !pairs.is_at_end() {
        let mut pair = pairs.sequence()?;
        let oid = pair.expect(tag::OBJECT_IDENTIFIER)?.value;
        let value = pair.next()?;
        pair.end()?;
        if is_wanted(oid) && found.replace(value).is_some() {
            // Ambiguous: the identifier occurs twice.
            return None;
        }
    }
    found
}
