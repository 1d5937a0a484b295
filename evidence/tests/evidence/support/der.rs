//! Writer for the DER of certificates and lists, so that tests can build invalid ones too.

use alloc::{string::String, vec, vec::Vec};

use sha2::{Digest, Sha256};

use super::keys::TestKey;

/// Start and end of the validity of the tests' certificates.
pub(crate) const FROM: &str = "20250101000000Z";
pub(crate) const UNTIL: &str = "20300101000000Z";

/// Current time of the tests: 2026-01-01.
pub(crate) const NOW_S: u64 = 1_767_225_600;

/// 2030-01-01.
pub(crate) const UNTIL_S: u64 = 1_893_456_000;

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match content.len() {
        length @ 0..=127 => bytes.push(length as u8),
        length @ 128..=255 => bytes.extend([0x81, length as u8]),
        length => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend(content);
    bytes
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// Encodes a non-negative integer from big-endian bytes.
pub(crate) fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = &bytes[zeros..];
    let content = match bytes.first() {
        None => vec![0],
        Some(first) if first & 0x80 != 0 => [&[0], bytes].concat(),
        Some(_) => bytes.to_vec(),
    };
    tlv(2, &content)
}

pub(crate) fn oid(text: &str) -> Vec<u8> {
    let oid: der::oid::ObjectIdentifier = text.parse().expect("an object identifier");
    tlv(6, oid.as_bytes())
}

pub(crate) fn octets(bytes: &[u8]) -> Vec<u8> {
    tlv(4, bytes)
}

pub(crate) fn bits(bytes: &[u8]) -> Vec<u8> {
    tlv(3, &[&[0], bytes].concat())
}

pub(crate) fn utf8(text: &str) -> Vec<u8> {
    tlv(12, text.as_bytes())
}

pub(crate) fn time(text: &str) -> Vec<u8> {
    tlv(24, text.as_bytes())
}

pub(crate) fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0xa0 | number, content)
}

pub(crate) fn name(common_name: &str) -> Vec<u8> {
    sequence(&[&tlv(0x31, &sequence(&[&oid("2.5.4.3"), &utf8(common_name)]))])
}

pub(crate) fn extension(identifier: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(1, &[0xff]) } else { Vec::new() };
    sequence(&[&oid(identifier), &critical, &octets(value)])
}

/// Encodes the mark of an authority.
pub(crate) fn basic_constraints(path_length: Option<u8>) -> Vec<u8> {
    let length = path_length.map(|length| integer(&[length])).unwrap_or_default();
    extension("2.5.29.19", true, &sequence(&[&tlv(1, &[0xff]), &length]))
}

/// Encodes the key usage of an issuer: it signs certificates and lists.
pub(crate) fn issuer_usage() -> Vec<u8> {
    extension("2.5.29.15", true, &tlv(3, &[1, 0x06]))
}

/// Encodes the key usage of a signer of messages.
pub(crate) fn signer_usage() -> Vec<u8> {
    extension("2.5.29.15", true, &tlv(3, &[6, 0xc0]))
}

/// Certificate before its signature.
#[derive(Clone)]
pub(crate) struct CertificateDraft {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) serial: Vec<u8>,
    pub(crate) from: &'static str,
    pub(crate) until: &'static str,
    pub(crate) extensions: Vec<Vec<u8>>,
}

impl CertificateDraft {
    pub(crate) fn authority(subject: &str, issuer: &str) -> Self {
        Self {
            extensions: vec![basic_constraints(None), issuer_usage()],
            ..Self::signer(subject, issuer)
        }
    }

    pub(crate) fn signer(subject: &str, issuer: &str) -> Self {
        Self {
            subject: subject.into(),
            issuer: issuer.into(),
            // Two certificates of one issuer must differ in the serial number.
            serial: Sha256::digest(subject)[..8].to_vec(),
            from: FROM,
            until: UNTIL,
            extensions: vec![signer_usage()],
        }
    }

    pub(crate) fn sign(&self, subject_key: &TestKey, issuer_key: &TestKey) -> Vec<u8> {
        let algorithm = issuer_key.signature_algorithm();
        let signed = sequence(&[
            &explicit(0, &integer(&[2])),
            &integer(&self.serial),
            &algorithm,
            &name(&self.issuer),
            &sequence(&[&time(self.from), &time(self.until)]),
            &name(&self.subject),
            &subject_key.key_info(),
            &explicit(3, &sequence(&[&self.extensions.concat()])),
        ]);
        sequence(&[&signed, &algorithm, &bits(&issuer_key.sign(&signed))])
    }
}

/// Revocation list before its signature.
#[derive(Clone)]
pub(crate) struct ListDraft {
    pub(crate) issuer: String,
    pub(crate) from: &'static str,
    pub(crate) until: &'static str,
    pub(crate) revoked: Vec<Vec<u8>>,
    pub(crate) extensions: Vec<Vec<u8>>,
}

impl ListDraft {
    pub(crate) fn new(issuer: &str) -> Self {
        Self {
            issuer: issuer.into(),
            from: FROM,
            until: UNTIL,
            revoked: Vec::new(),
            extensions: vec![extension("2.5.29.20", false, &integer(&[1]))],
        }
    }

    pub(crate) fn sign(&self, key: &TestKey) -> Vec<u8> {
        let algorithm = key.signature_algorithm();
        let entries: Vec<Vec<u8>> = self
            .revoked
            .iter()
            .map(|serial| sequence(&[&integer(serial), &time(self.from)]))
            .collect();
        let entries = if entries.is_empty() {
            Vec::new()
        } else {
            sequence(&[&entries.concat()])
        };
        let signed = sequence(&[
            &integer(&[1]),
            &algorithm,
            &name(&self.issuer),
            &time(self.from),
            &time(self.until),
            &entries,
            &explicit(0, &sequence(&[&self.extensions.concat()])),
        ]);
        sequence(&[&signed, &algorithm, &bits(&key.sign(&signed))])
    }
}
