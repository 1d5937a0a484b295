//! The certificates of the keys that sign reports.

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use der::oid::ObjectIdentifier;
use scale_info::TypeInfo;

use super::report::{CHIP_ID_BYTES, Product, SnpTcb};
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
/// Only in certificates of Turin.
const SPL_FMC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
/// Only in certificates of VCEKs.
const HARDWARE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
/// Only in certificates of VLEKs.
const CLOUD_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");

/// Bytes of a Turin chip's id; those of earlier chips have 64.
const TURIN_ID_BYTES: usize = 8;

/// Whose key it is.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum ChipKeyKind {
    /// A chip's own (VCEK).
    #[codec(index = 0)]
    Chip {
        /// The chip's id, as reports have it: with zeros behind a short one.
        chip_id: [u8; CHIP_ID_BYTES],
    },
    /// A cloud's (VLEK), which AMD gives to its chips.
    #[codec(index = 1)]
    Cloud {
        /// The cloud's name with AMD.
        name: BoundedVec<u8, ConstU32<64>>,
    },
}

/// A key that signs reports, whose certificate was verified: to be kept.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct ChipKey {
    /// The chain, which has to hold whenever the key is used.
    pub path: Path,
    /// The key, a point on P-384.
    pub key: [u8; P384_KEY_BYTES],
    /// The product, from the root.
    pub product: Product,
    /// The versions that the key was derived for.
    pub tcb: SnpTcb,
    /// Whose key it is.
    pub kind: ChipKeyKind,
}

/// Verifies the chain of a VCEK or VLEK: that, its authority's (ASK or ASVK), and optionally the root's (each DER, in
/// this order).
///
/// `require_list` asks for the root's list of revoked authorities. Costs two RSA signatures.
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

/// AMD's lists are of the roots, so they cover everything but the chip's certificate.
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
