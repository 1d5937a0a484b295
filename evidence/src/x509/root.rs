//! The roots that chains must end in. They are always an argument: whoever calls decides whom to trust.

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

/// Most roots of one vendor, so that an old and a new one can stand side by side.
pub const MAX_ROOTS: u32 = 8;

/// A vendor's root certificate.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct TrustRoot(BoundedVec<u8, ConstU32<{ MAX_CERTIFICATE_BYTES as u32 }>>);

impl TrustRoot {
    /// Takes a root certificate (DER). It must be one that may issue others, and that signed itself.
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

    /// The certificate's bytes (DER).
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// What this root is called in cached chains: a hash of its bytes.
    pub fn fingerprint(&self) -> Hash {
        blake2_256(&[b"assay/evidence/root/v1", &self.0])
    }

    pub(crate) fn certificate(&self) -> Result<Certificate<'_>, EvidenceError> {
        Certificate::read(&self.0)
    }
}

/// One of AMD's roots: each product has its own.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct AmdRoot {
    /// The product whose chips it vouches for.
    pub product: Product,
    /// The root key's certificate (ARK).
    pub root: TrustRoot,
}

/// All roots that are trusted. [`vendor_roots`](crate::vendor_roots) has the vendors'; there are no others in this
/// crate.
#[derive(
    Clone, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct TrustRoots {
    /// Intel's, for SGX and TDX.
    pub intel: BoundedVec<TrustRoot, ConstU32<MAX_ROOTS>>,
    /// AMD's, for SEV-SNP.
    pub amd: BoundedVec<AmdRoot, ConstU32<MAX_ROOTS>>,
    /// NVIDIA's, for GPUs.
    pub nvidia: BoundedVec<TrustRoot, ConstU32<MAX_ROOTS>>,
}
