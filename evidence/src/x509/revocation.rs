//! Certificate revocation lists.

use alloc::vec::Vec;

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use super::{
    Certificate, TrustRoot,
    certificate::Extensions,
    key::Algorithm,
    reader::{Elements, small_unsigned, tag, time_s, unsigned, whole_bytes},
    serial::Serial,
};
use crate::{
    Hash,
    error::{EvidenceError, Part},
};

/// Maximum number of revoked certificates in a list. Intel's longest list had 57 in 2026.
pub const MAX_REVOKED: u32 = 2_048;

/// Maximum length of a list in bytes.
const MAX_LIST_BYTES: usize = 128 * 1_024;

/// Verified list of revoked certificates.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct RevocationList {
    /// Hash of the issuer's name and key.
    pub issuer: Hash,
    /// Time of issue, in seconds since 1970.
    pub this_update_s: u64,
    /// Time by which a newer list is due, in seconds since 1970.
    pub next_update_s: u64,
    /// Serial numbers of the revoked certificates.
    pub revoked: BoundedVec<Serial, ConstU32<MAX_REVOKED>>,
}

impl RevocationList {
    /// Verifies a list (DER) issued by a root, or by an authority whose certificate a root has issued.
    ///
    /// `issuer` is that authority's certificate; `None` if a root issued the list itself. `lists` are the
    /// known lists: none of them may revoke the authority.
    pub fn verify(
        list: &[u8],
        issuer: Option<&[u8]>,
        roots: &[TrustRoot],
        lists: &[Self],
        now_s: u64,
    ) -> Result<Self, EvidenceError> {
        if list.len() > MAX_LIST_BYTES {
            return Err(EvidenceError::TooLong(Part::RevocationList));
        }
        let (algorithm, read) = Signed::read(list).ok_or(EvidenceError::Malformed(Part::RevocationList))?;
        let algorithm = algorithm.ok_or(EvidenceError::UnsupportedAlgorithm(Part::RevocationList))?;
        let signer = match issuer {
            Some(der) => {
                let certificate = Certificate::read(der)?;
                verify_issuer(&certificate, roots, lists, now_s)?;
                read.check_signer(&certificate, algorithm)?;
                certificate.signer_id()
            }
            None => {
                let mut found = Err(EvidenceError::UntrustedRoot);
                for root in roots {
                    let certificate = root.certificate()?;
                    if certificate.subject == read.issuer {
                        certificate.check_time(now_s)?;
                        found = read
                            .check_signer(&certificate, algorithm)
                            .map(|()| certificate.signer_id());
                    }
                    if found.is_ok() {
                        break;
                    }
                }
                found?
            }
        };
        let list = Self {
            issuer: signer,
            this_update_s: read.this_update_s,
            next_update_s: read.next_update_s,
            revoked: read.revoked()?,
        };
        list.check_time(now_s)?;
        Ok(list)
    }

    /// Returns true if the list contains this serial number.
    pub fn revokes(&self, serial: &Serial) -> bool {
        self.revoked.contains(serial)
    }

    /// Returns true if this list may replace the other: same issuer, issued later.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.this_update_s > other.this_update_s
    }

    pub(crate) fn check_time(&self, now_s: u64) -> Result<(), EvidenceError> {
        if now_s < self.this_update_s {
            return Err(EvidenceError::NotYetValid(Part::RevocationList));
        }
        if now_s > self.next_update_s {
            return Err(EvidenceError::Expired(Part::RevocationList));
        }
        Ok(())
    }
}

/// List as slices of its bytes.
struct Signed<'a> {
    signed: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    this_update_s: u64,
    next_update_s: u64,
    /// Contents of the sequence of entries; empty if there is none.
    entries: &'a [u8],
    /// Contents of the sequence of extensions; empty if there is none.
    extensions: &'a [u8],
}

impl<'a> Signed<'a> {
    fn read(der: &'a [u8]) -> Option<(Option<Algorithm>, Self)> {
        let mut outer = Elements::inside(der, tag::SEQUENCE)?;
        let signed = outer.expect(tag::SEQUENCE)?;
        let algorithm = outer.expect(tag::SEQUENCE)?.raw;
        let signature = whole_bytes(outer.expect(tag::BIT_STRING)?)?;
        outer.end()?;
        let mut fields = Elements::new(signed.value)?;
        // Version 2, the only one with extensions.
        if small_unsigned(fields.next()?)? != 1 || fields.expect(tag::SEQUENCE)?.raw != algorithm {
            return None;
        }
        let issuer = fields.expect(tag::SEQUENCE)?.raw;
        let this_update_s = time_s(fields.next()?)?;
        // A list without an end would stay valid for ever.
        let next_update_s = time_s(fields.next()?)?;
        let entries = fields
            .optional(tag::SEQUENCE)?
            .map_or(&[][..], |element| element.value);
        let extensions = match fields.optional(tag::context(0))? {
            None => &[][..],
            Some(explicit) => {
                let mut explicit = Elements::new(explicit.value)?;
                let extensions = explicit.expect(tag::SEQUENCE)?.value;
                explicit.end()?;
                extensions
            }
        };
        fields.end()?;
        let list = Self {
            signed: signed.raw,
            signature,
            issuer,
            this_update_s,
            next_update_s,
            entries,
            extensions,
        };
        Some((Algorithm::read(algorithm)?, list))
    }

    fn check_signer(&self, signer: &Certificate<'_>, algorithm: Algorithm) -> Result<(), EvidenceError> {
        if signer.subject != self.issuer {
            return Err(EvidenceError::BrokenChain);
        }
        if !signer.issuing.lists {
            return Err(EvidenceError::NotAnIssuer);
        }
        if !signer.key.verifies(algorithm, self.signed, self.signature) {
            return Err(EvidenceError::BadSignature(Part::RevocationList));
        }
        Ok(())
    }

    /// Reads the entries. The caller has verified the signature.
    fn revoked(&self) -> Result<BoundedVec<Serial, ConstU32<MAX_REVOKED>>, EvidenceError> {
        const MALFORMED: EvidenceError = EvidenceError::Malformed(Part::RevocationList);
        refuse_critical(self.extensions)?;
        let mut revoked = Vec::new();
        let mut entries = Elements::new(self.entries).ok_or(MALFORMED)?;
        while !entries.is_at_end() {
            if revoked.len() == MAX_REVOKED as usize {
                return Err(EvidenceError::TooLong(Part::RevocationList));
            }
            let mut entry = entries.sequence().ok_or(MALFORMED)?;
            let serial = entry.next().and_then(unsigned).ok_or(MALFORMED)?;
            entry.next().and_then(time_s).ok_or(MALFORMED)?;
            let extensions = entry.optional(tag::SEQUENCE).ok_or(MALFORMED)?;
            entry.end().ok_or(MALFORMED)?;
            refuse_critical(extensions.map_or(&[], |element| element.value))?;
            revoked.push(Serial::new(serial).ok_or(MALFORMED)?);
        }
        BoundedVec::try_from(revoked).map_err(|_| EvidenceError::TooLong(Part::RevocationList))
    }
}

/// Refuses critical extensions, by which a list says that it covers only some certificates, or other
/// issuers'.
fn refuse_critical(extensions: &[u8]) -> Result<(), EvidenceError> {
    const MALFORMED: EvidenceError = EvidenceError::Malformed(Part::RevocationList);
    let mut extensions = Extensions::new(extensions).ok_or(MALFORMED)?;
    while let Some(extension) = extensions.next().ok_or(MALFORMED)? {
        if extension.critical {
            return Err(EvidenceError::UnknownCriticalExtension(Part::RevocationList));
        }
    }
    Ok(())
}

/// Checks that a root has issued this authority's certificate and that it is valid now.
fn verify_issuer(
    certificate: &Certificate<'_>,
    roots: &[TrustRoot],
    lists: &[RevocationList],
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
