//! Certificates of the keys that sign reports.

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use der::oid::ObjectIdentifier;
use scale_info::TypeInfo;

use super::product::{CHIP_ID_BYTES, Product, SnpTcb};
use crate::{
    error::{EvidenceError, Part},
    x509::{
        Certificate, Path, RevocationList, RevocationRule, TrustRoots,
        key::{Algorithm, P384_KEY_BYTES, PublicKey},
        reader::{Elements, small_unsigned, tag},
        verify_path,
    },
};

const SPL_BOOT_LOADER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
const SPL_TEE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
const SPL_SNP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
const SPL_MICROCODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
/// Only in Turin's certificates.
const SPL_FMC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
/// Only in VCEK certificates.
const HARDWARE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
/// Only in VLEK certificates.
const CLOUD_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");

/// Length in bytes of a Turin chip's id; ids of earlier chips have 64.
const TURIN_ID_BYTES: usize = 8;

/// Owner of a signing key.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum ChipKeyKind {
    /// VCEK, the key of one chip.
    #[codec(index = 0)]
    Chip {
        /// Id of the chip as in reports: a short one is followed by zeros.
        chip_id: [u8; CHIP_ID_BYTES],
    },
    /// VLEK, a key that AMD gives to the chips of a cloud.
    #[codec(index = 1)]
    Cloud {
        /// AMD's name for the cloud.
        name: BoundedVec<u8, ConstU32<64>>,
    },
}

/// Key that signs reports, with a verified certificate, for storage.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct ChipKey {
    /// Chain, which must be valid at every use of the key.
    pub path: Path,
    /// Public key, a point on P-384.
    pub key: [u8; P384_KEY_BYTES],
    /// Product, taken from the root.
    pub product: Product,
    /// Security versions that the key was derived for.
    pub tcb: SnpTcb,
    /// Owner of the key.
    pub kind: ChipKeyKind,
}

/// Verifies the chain of a VCEK or VLEK: the certificate, its authority's (ASK or ASVK), and optionally the
/// root's (each DER, in this order).
///
/// `require_list` demands the root's list of revoked authorities. Costs two RSA verifications.
pub fn verify_chip_key(
    chain: &[&[u8]],
    roots: &TrustRoots,
    lists: &[RevocationList],
    require_list: bool,
    now_s: u64,
) -> Result<ChipKey, EvidenceError> {
    let amd = || roots.amd.iter().map(|amd| &amd.root);
    let verified = verify_path(chain, 2..=2, Algorithm::RsaPssSha384, amd(), now_s)?;
    verified
        .path
        .check(amd(), revocation_rule(lists, require_list), now_s)?;
    let product = roots
        .amd
        .get(verified.root_index)
        .ok_or(EvidenceError::UntrustedRoot)?
        .product;
    let leaf = verified
        .certificates
        .first()
        .ok_or(EvidenceError::WrongChainLength)?;
    let PublicKey::P384(key) = leaf.key else {
        return Err(EvidenceError::UnsupportedAlgorithm(Part::Certificate));
    };
    let read = || {
        Some(ChipKey {
            path: verified.path.clone(),
            key: *key,
            product,
            tcb: read_tcb(leaf, product)?,
            kind: read_kind(leaf, product)?,
        })
    };
    read().ok_or(EvidenceError::NotAVendorCertificate)
}

/// Returns the rule for revocation. AMD's lists come from the roots and cover all but the chip's certificate.
pub(super) fn revocation_rule(lists: &[RevocationList], require_list: bool) -> RevocationRule<'_> {
    RevocationRule {
        lists,
        required_from: if require_list { 1 } else { usize::MAX },
    }
}

fn read_tcb(leaf: &Certificate<'_>, product: Product) -> Option<SnpTcb> {
    let version = |oid: &ObjectIdentifier| {
        let mut parts = Elements::new(leaf.extension(oid)?)?;
        let number = small_unsigned(parts.next()?)?;
        parts.end()?;
        u8::try_from(number).ok()
    };
    Some(SnpTcb {
        fmc: match product {
            Product::Turin => version(&SPL_FMC)?,
            Product::Milan | Product::Genoa => 0,
        },
        boot_loader: version(&SPL_BOOT_LOADER)?,
        tee: version(&SPL_TEE)?,
        snp: version(&SPL_SNP)?,
        microcode: version(&SPL_MICROCODE)?,
    })
}

fn read_kind(leaf: &Certificate<'_>, product: Product) -> Option<ChipKeyKind> {
    match (leaf.extension(&HARDWARE_ID), leaf.extension(&CLOUD_ID)) {
        (Some(value), None) => {
            let length = match product {
                Product::Turin => TURIN_ID_BYTES,
                Product::Milan | Product::Genoa => CHIP_ID_BYTES,
            };
            let id = if value.len() == length {
                value
            } else {
                // Some certificates have the bytes inside an octet string.
                let mut parts = Elements::new(value)?;
                let id = parts.expect(tag::OCTET_STRING)?.value;
                parts.end()?;
                id
            };
            if id.len() != length {
                return None;
            }
            let mut chip_id = [0; CHIP_ID_BYTES];
            chip_id.get_mut(..length)?.copy_from_slice(id);
            Some(ChipKeyKind::Chip { chip_id })
        }
        (None, Some(value)) => {
            let mut parts = Elements::new(value)?;
            let name = parts.next()?;
            parts.end()?;
            if !matches!(name.tag, tag::IA5_STRING | tag::UTF8_STRING) {
                return None;
            }
            let name = name.value.to_vec().try_into().ok()?;
            Some(ChipKeyKind::Cloud { name })
        }
        _ => None,
    }
}
