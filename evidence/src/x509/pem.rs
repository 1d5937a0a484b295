//! Certificates as PEM text, the form in which quotes and vendors' services carry chains.

use alloc::vec::Vec;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{MAX_CERTIFICATE_BYTES, MAX_CHAIN_CERTIFICATES};
use crate::error::{EvidenceError, Part};

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// Returns the certificates of a PEM text in its order, each as DER.
///
/// Only white space may stand between certificates. After the last one there may also be zeros, which Intel's
/// library writes. Allocates no more than the length of the text.
pub fn certificates_of_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, EvidenceError> {
    const MALFORMED: EvidenceError = EvidenceError::Malformed(Part::CertificateChain);
    let mut certificates = Vec::new();
    let mut rest = text;
    while let [0 | b' ' | b'\t' | b'\r' | b'\n', after @ ..] = rest {
        rest = after;
    }
    while !rest.is_empty() {
        if certificates.len() == MAX_CHAIN_CERTIFICATES {
            return Err(EvidenceError::TooLong(Part::CertificateChain));
        }
        rest = rest.strip_prefix(BEGIN).ok_or(MALFORMED)?;
        let length = rest.iter().position(|byte| *byte == b'-').ok_or(MALFORMED)?;
        let (body, after) = rest.split_at(length);
        rest = after.strip_prefix(END).ok_or(MALFORMED)?;
        // Base64 takes four characters for three bytes; the rest is for line ends.
        if body.len() > MAX_CERTIFICATE_BYTES * 3 / 2 {
            return Err(EvidenceError::TooLong(Part::Certificate));
        }
        let characters: Vec<u8> = body
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        certificates.push(STANDARD.decode(characters).map_err(|_| MALFORMED)?);
        while let [0 | b' ' | b'\t' | b'\r' | b'\n', after @ ..] = rest {
            rest = after;
        }
    }
    if certificates.is_empty() {
        return Err(MALFORMED);
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec};

    use super::*;

    #[test]
    fn certificates_come_in_order() {
        let text = "\n-----BEGIN CERTIFICATE-----\nAQ\nID\n-----END CERTIFICATE-----\r\n-----BEGIN CERTIFICATE-----\nBA==\n-----END CERTIFICATE-----\n\0";
        assert_eq!(
            certificates_of_pem(text.as_bytes()),
            Ok(vec![vec![1, 2, 3], vec![4]])
        );
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "\n",
            "x",
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----AQID",
            "-----BEGIN CERTIFICATE-----AQID-----END",
            "-----BEGIN CERTIFICATE-----A-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----AQ!D-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----AQID-----END CERTIFICATE-----x",
        ] {
            assert_eq!(
                certificates_of_pem(text.as_bytes()),
                Err(EvidenceError::Malformed(Part::CertificateChain)),
                "{text}"
            );
        }
    }

    #[test]
    fn too_much_is_refused() {
        let one = "-----BEGIN CERTIFICATE-----AQID-----END CERTIFICATE-----";
        assert_eq!(
            certificates_of_pem(one.repeat(MAX_CHAIN_CERTIFICATES + 1).as_bytes()),
            Err(EvidenceError::TooLong(Part::CertificateChain))
        );
        let long = format!(
            "-----BEGIN CERTIFICATE-----{}-----END CERTIFICATE-----",
            "A".repeat(MAX_CERTIFICATE_BYTES * 2)
        );
        assert_eq!(
            certificates_of_pem(long.as_bytes()),
            Err(EvidenceError::TooLong(Part::Certificate))
        );
    }
}
