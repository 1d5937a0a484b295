//! Serial numbers, by which issuers and revocation lists name certificates.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::Hash;

/// Serial number of a certificate, big-endian, with leading zeros.
///
/// It has a fixed length, so that reading a list of thousands allocates once.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Serial([u8; SERIAL_BYTES]);

/// Maximum length of a serial number in bytes, by RFC 5280.
const SERIAL_BYTES: usize = 20;

impl Serial {
    /// Returns the number with these big-endian bytes; `None` if it exceeds the maximum length.
    pub fn new(big_endian: &[u8]) -> Option<Self> {
        let mut bytes = [0; SERIAL_BYTES];
        let zeros = SERIAL_BYTES.checked_sub(big_endian.len())?;
        bytes.get_mut(zeros..)?.copy_from_slice(big_endian);
        Some(Self(bytes))
    }
}

/// Identity by which a revocation list names a certificate.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct CertificateId {
    /// Hash of the issuer's name and key.
    pub issuer: Hash,
    /// Serial number.
    pub serial: Serial,
}
