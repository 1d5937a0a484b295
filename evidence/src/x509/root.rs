//! Roots that chains must end in. They are always an argument: the caller decides which roots to trust.

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use super::{Certificate, MAX_CERTIFICATE_BYTES};
use crate::{
    Hash,
    error::{EvidenceError, Part},
    hash::blake2_256,
    snp::Product,
};

/// Maximum number of roots of one vendor: room for an old and a new one side by side.
pub const MAX_ROOTS: u32 = 8;

/// Root certificate of a vendor.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct TrustRoot(BoundedVec<u8, ConstU32<{ MAX_CERTIFICATE_BYTES as u32 }>>);

impl TrustRoot {
    /// Checks a root certificate (DER): it must be self-signed and allowed to issue others.
    pub fn new(der: &[u8]) -> Result<Self, EvidenceError> {
        let certificate = Certificate::read(der)?;
        if !certificate.issuing.certificates {
            return Err(EvidenceError::NotAnIssuer);
        }
        if certificate.issuer != certificate.subject {
            return Err(EvidenceError::UntrustedRoot);
        }
        if !certificate.has_signed(&certificate) {
            return Err(EvidenceError::BadSignature(Part::Certificate));
        }
        BoundedVec::try_from(der.to_vec())
            .map(Self)
            .map_err(|_| EvidenceError::TooLong(Part::Certificate))
    }

    /// Returns the certificate's bytes (DER).
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// Returns the hash of its bytes, the root's name in cached chains.
    pub fn fingerprint(&self) -> Hash {
        blake2_256(&[b"assay/evidence/root/v1", &self.0])
    }

    pub(crate) fn certificate(&self) -> Result<Certificate<'_>, EvidenceError> {
        Certificate::read(&self.0)
    }
}

/// Root of one of AMD's products: each product has its own.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct AmdRoot {
    /// Product whose chips the root vouches for.
    pub product: Product,
    /// Certificate of the root key (ARK).
    pub root: TrustRoot,
}

/// All trusted roots. [`vendor_roots`](crate::vendor_roots) returns the vendors', the only ones in this
/// crate.
#[derive(
    Clone, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct TrustRoots {
    /// Intel's roots, for SGX and TDX.
    pub intel: BoundedVec<TrustRoot, ConstU32<MAX_ROOTS>>,
    /// AMD's roots, for SEV-SNP.
    pub amd: BoundedVec<AmdRoot, ConstU32<MAX_ROOTS>>,
    /// NVIDIA's roots, for GPUs.
    pub nvidia: BoundedVec<TrustRoot, ConstU32<MAX_ROOTS>>,
}
