//! From a device's certificate to the root that vouches for it.

use alloc::vec::Vec;

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use super::{Certificate, MAX_CHAIN_CERTIFICATES, RevocationRule, TrustRoot, key::Algorithm};
use crate::{
    Hash,
    error::{EvidenceError, Part},
};

/// A certificate's serial number, big-endian, with zeros in front.
///
/// Of one length, so that reading a list of thousands allocates once.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Serial([u8; SERIAL_BYTES]);

/// Bytes of the longest serial number that a certificate may have, by RFC 5280.
const SERIAL_BYTES: usize = 20;

impl Serial {
    /// The number with these big-endian bytes; `None` if it is longer than any may be.
    pub fn new(big_endian: &[u8]) -> Option<Self> {
        let mut bytes = [0; SERIAL_BYTES];
        let zeros = SERIAL_BYTES.checked_sub(big_endian.len())?;
        bytes.get_mut(zeros..)?.copy_from_slice(big_endian);
        Some(Self(bytes))
    }
}

/// What a revocation list names a certificate by.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct CertificateId {
    /// Hash of its issuer's name and key.
    pub issuer: Hash,
    /// Its serial number.
    pub serial: Serial,
}

/// What has to be looked at again when a chain that was verified once is used later.
///
/// The signatures of a chain cannot become wrong; but a certificate can expire or be revoked, and governance can
/// cease to trust the root.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Path {
    /// Fingerprint of the root, see [`TrustRoot::fingerprint`].
    pub root: Hash,
    /// From when on all certificates are valid, in seconds since 1970.
    pub valid_from_s: u64,
    /// Until when all certificates are valid, in seconds since 1970.
    pub valid_until_s: u64,
    /// The certificates, the device's first and the root's last.
    pub certificates: BoundedVec<CertificateId, ConstU32<{ MAX_CHAIN_CERTIFICATES as u32 }>>,
}

impl Path {
    /// Whether the chain still holds: its root is trusted, its time is not over, and nothing in it was revoked.
    ///
    /// Returns until when that stays so, in seconds since 1970: a certificate or a list ends then.
    pub(crate) fn check<'a>(
        &self,
        roots: impl IntoIterator<Item = &'a TrustRoot>,
        revocation: RevocationRule<'_>,
        now_s: u64,
    ) -> Result<u64, EvidenceError> {
        if !roots.into_iter().any(|root| root.fingerprint() == self.root) {
            return Err(EvidenceError::UntrustedRoot);
        }
        if now_s < self.valid_from_s {
            return Err(EvidenceError::NotYetValid(Part::Certificate));
        }
        if now_s > self.valid_until_s {
            return Err(EvidenceError::Expired(Part::Certificate));
        }
        let mut until_s = self.valid_until_s;
        for (place, certificate) in self.certificates.iter().enumerate() {
            match revocation
                .lists
                .iter()
                .find(|list| list.issuer == certificate.issuer)
            {
                Some(list) => {
                    if list.revokes(&certificate.serial) {
                        return Err(EvidenceError::Revoked);
                    }
                    if place >= revocation.required_from {
                        list.check_time(now_s)?;
                        until_s = until_s.min(list.next_update_s);
                    }
                }
                None if place >= revocation.required_from => return Err(EvidenceError::RevocationUnknown),
                None => {}
            }
        }
        Ok(until_s)
    }
}

/// Who issued the certificates of a chain, as [`RevocationList::issuer`](super::RevocationList::issuer) names them: whose
/// lists have to be at hand before the chain is verified.
///
/// `roots` are those that the chain may end in. Nothing is verified: what comes out is good for looking lists up, and says
/// nothing about the chain. At most [`MAX_CHAIN_CERTIFICATES`] issuers and one for each root, none twice.
pub fn issuers_of_chain<'r>(
    chain: &[&[u8]],
    roots: impl IntoIterator<Item = &'r TrustRoot>,
) -> Result<Vec<Hash>, EvidenceError> {
    if chain.len() > MAX_CHAIN_CERTIFICATES {
        return Err(EvidenceError::WrongChainLength);
    }
    let certificates = chain
        .iter()
        .map(|der| Certificate::read(der))
        .collect::<Result<Vec<_>, _>>()?;
    let top = certificates.last().ok_or(EvidenceError::WrongChainLength)?;
    let mut issuers: Vec<Hash> = certificates.iter().skip(1).map(Certificate::signer_id).collect();
    for root in roots {
        let root = root.certificate()?;
        let issuer = root.signer_id();
        if root.subject == top.issuer && !issuers.contains(&issuer) {
            issuers.push(issuer);
        }
    }
    Ok(issuers)
}

/// A chain whose every signature was verified, down to a root.
pub(crate) struct VerifiedChain<'a> {
    /// The certificates without the root's, the device's first.
    pub(crate) certificates: Vec<Certificate<'a>>,
    /// Which of the roots it ends in, in the order in which they were given.
    pub(crate) root_index: usize,
    pub(crate) path: Path,
}

/// Verifies a chain: `lengths` says how many certificates it may have without its root, `chain` may end with the root.
pub(crate) fn verify_path<'a, 'r>(
    chain: &[&'a [u8]],
    lengths: core::ops::RangeInclusive<usize>,
    algorithm: Algorithm,
    roots: impl IntoIterator<Item = &'r TrustRoot>,
    now_s: u64,
) -> Result<VerifiedChain<'a>, EvidenceError> {
    if chain.len() > MAX_CHAIN_CERTIFICATES {
        return Err(EvidenceError::WrongChainLength);
    }
    let mut certificates = chain
        .iter()
        .map(|der| Certificate::read(der))
        .collect::<Result<Vec<_>, _>>()?;
    let roots: Vec<&TrustRoot> = roots.into_iter().collect();
    // A root that came along is compared with those that are trusted, and proves nothing by itself.
    if let Some(last) = certificates.last()
        && roots.iter().any(|root| root.der() == last.der)
    {
        certificates.pop();
    }
    if !lengths.contains(&certificates.len()) {
        // A foreign root at the end makes the chain one too long; say what is wrong with it.
        let foreign = certificates.len() == *lengths.end() + 1
            && certificates
                .last()
                .is_some_and(|last| last.issuer == last.subject);
        return Err(if foreign {
            EvidenceError::UntrustedRoot
        } else {
            EvidenceError::WrongChainLength
        });
    }
    let (Some(leaf), Some(top)) = (certificates.first(), certificates.last()) else {
        return Err(EvidenceError::WrongChainLength);
    };
    if leaf.issuing.is_authority {
        return Err(EvidenceError::IssuerAsSigner);
    }

    let mut found = Err(EvidenceError::UntrustedRoot);
    for (index, root) in roots.iter().enumerate() {
        let certificate = root.certificate()?;
        if certificate.subject == top.issuer && certificate.has_signed(top) {
            found = Ok((index, *root, certificate));
            break;
        }
    }
    let (root_index, root, anchor) = found?;

    let issuers = certificates.iter().skip(1).chain([&anchor]);
    let mut ids = Vec::new();
    let (mut valid_from_s, mut valid_until_s) = (anchor.not_before_s, anchor.not_after_s);
    anchor.check_time(now_s)?;
    for (below, (certificate, issuer)) in certificates.iter().zip(issuers).enumerate() {
        if certificate.issuer != issuer.subject {
            return Err(EvidenceError::BrokenChain);
        }
        let too_deep = issuer
            .issuing
            .path_length
            .is_some_and(|most| usize::from(most) < below);
        if !issuer.issuing.certificates || too_deep {
            return Err(EvidenceError::NotAnIssuer);
        }
        certificate.check_time(now_s)?;
        if !certificate.is_signed_with(algorithm) {
            return Err(EvidenceError::UnsupportedAlgorithm(Part::Certificate));
        }
        // The topmost signature was verified when its root was looked for.
        if below + 1 < certificates.len() && !issuer.has_signed(certificate) {
            return Err(EvidenceError::BadSignature(Part::Certificate));
        }
        valid_from_s = valid_from_s.max(certificate.not_before_s);
        valid_until_s = valid_until_s.min(certificate.not_after_s);
        ids.push(CertificateId {
            issuer: issuer.signer_id(),
            serial: certificate.serial,
        });
    }
    ids.push(CertificateId {
        issuer: anchor.signer_id(),
        serial: anchor.serial,
    });
    let path = Path {
        root: root.fingerprint(),
        valid_from_s,
        valid_until_s,
        certificates: BoundedVec::try_from(ids).map_err(|_| EvidenceError::WrongChainLength)?,
    };
    Ok(VerifiedChain {
        certificates,
        root_index,
        path,
    })
}

/// Whether a root has issued this authority's certificate, and it holds now.
pub(crate) fn verify_issuer(
    certificate: &Certificate<'_>,
    roots: &[TrustRoot],
    lists: &[super::RevocationList],
    now_s: u64,
) -> Result<(), EvidenceError> {
    for root in roots {
        let anchor = root.certificate()?;
        if anchor.subject != certificate.issuer || !anchor.has_signed(certificate) {
            continue;
        }
        if !anchor.issuing.certificates {
            return Err(EvidenceError::NotAnIssuer);
        }
        anchor.check_time(now_s)?;
        certificate.check_time(now_s)?;
        let issuer = anchor.signer_id();
        if lists
            .iter()
            .any(|list| list.issuer == issuer && list.revokes(&certificate.serial))
        {
            return Err(EvidenceError::Revoked);
        }
        return Ok(());
    }
    Err(EvidenceError::UntrustedRoot)
}
