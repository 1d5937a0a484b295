//! Certification paths, from a device's certificate to its root.

use alloc::vec::Vec;

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use super::{Certificate, CertificateId, MAX_CHAIN_CERTIFICATES, RevocationRule, TrustRoot, key::Algorithm};
use crate::{
    Hash,
    error::{EvidenceError, Part},
};

/// Facts of a verified chain that must be checked again at each later use.
///
/// The signatures of a chain stay valid, but a certificate can expire or be revoked, and governance can
/// remove a trusted root.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Path {
    /// Fingerprint of the root, see [`TrustRoot::fingerprint`].
    pub root: Hash,
    /// Start of the validity of all certificates, in seconds since 1970.
    pub valid_from_s: u64,
    /// End of the validity of all certificates, in seconds since 1970.
    pub valid_until_s: u64,
    /// Certificates, the device's first and the root's last.
    pub certificates: BoundedVec<CertificateId, ConstU32<{ MAX_CHAIN_CERTIFICATES as u32 }>>,
}

impl Path {
    /// Checks that the chain is still valid: a trusted root, within its time, and nothing revoked.
    ///
    /// Returns the end of that validity, in seconds since 1970: the first end of a certificate or list.
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

/// Returns the issuers of a chain's certificates, in the form of
/// [`RevocationList::issuer`](super::RevocationList::issuer). The verification of the chain needs their
/// lists.
///
/// `roots` are the permitted ends of the chain. Verifies nothing: use the result to look up lists, not to
/// trust the chain. Returns at most [`MAX_CHAIN_CERTIFICATES`] issuers and one for each root, without
/// repetition.
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

/// Chain with all signatures verified, down to a root.
pub(crate) struct VerifiedChain<'a> {
    /// Certificates without the root's, the device's first.
    pub(crate) certificates: Vec<Certificate<'a>>,
    /// Index of the root, in the order of the given roots.
    pub(crate) root_index: usize,
    pub(crate) path: Path,
}

/// Verifies a chain of `lengths` certificates, not counting its root, with which `chain` may end.
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
    // A root in the chain is compared with the trusted ones and proves nothing by itself.
    if let Some(last) = certificates.last()
        && roots.iter().any(|root| root.der() == last.der)
    {
        certificates.pop();
    }
    if !lengths.contains(&certificates.len()) {
        // A foreign root at the end makes the chain one too long; report the root instead of the length.
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
        // The search for the root verified the topmost signature already.
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
