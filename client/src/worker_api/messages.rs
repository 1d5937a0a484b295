//! Messages that are signed between a worker and the owner of a job, and the check of their signatures.
//!
//! All integers are little-endian, times are Unix seconds.

use ring::signature::{ED25519, UnparsedPublicKey};
use subxt_signer::sr25519;

use crate::types::AccountId;

/// Domain separator of an owner's signature.
pub const OWNER_CONTEXT: &[u8] = b"assay/owner/v1";

/// Domain separator of a worker's signature of its TLS key.
pub const TLS_CONTEXT: &[u8] = b"assay/tls/v1";

/// Length of a challenge's nonce, in bytes.
pub const NONCE_BYTES: usize = 32;

/// Longest life of a token, in seconds.
pub const MAX_TOKEN_LIFE_S: u64 = 3_600;

/// Longest life of a worker's statement about its TLS key, in seconds.
pub const MAX_TLS_STATEMENT_LIFE_S: u64 = 24 * 3_600;

/// Message by which an account asks a worker for a token for a job:
/// `context ‖ genesis hash ‖ job u64 ‖ machine u64 ‖ nonce ‖ expiry u64`.
pub fn owner_message(
    genesis_hash: &[u8; 32],
    job: u64,
    machine: u64,
    nonce: &[u8; NONCE_BYTES],
    expires_at_s: u64,
) -> Vec<u8> {
    [
        OWNER_CONTEXT,
        genesis_hash,
        &job.to_le_bytes(),
        &machine.to_le_bytes(),
        nonce,
        &expires_at_s.to_le_bytes(),
    ]
    .concat()
}

/// Message by which a worker key vouches for the key of its TLS certificate:
/// `context ‖ genesis hash ‖ machine u64 ‖ SHA-256 of the SubjectPublicKeyInfo ‖ expiry u64`.
pub fn tls_message(
    genesis_hash: &[u8; 32],
    machine: u64,
    spki_sha256: &[u8; 32],
    expires_at_s: u64,
) -> Vec<u8> {
    [
        TLS_CONTEXT,
        genesis_hash,
        &machine.to_le_bytes(),
        spki_sha256,
        &expires_at_s.to_le_bytes(),
    ]
    .concat()
}

/// Returns the message as wallets of polkadot.js sign it: they wrap bytes, so that these are never a
/// transaction.
fn wrapped(message: &[u8]) -> Vec<u8> {
    [b"<Bytes>", message, b"</Bytes>"].concat()
}

/// Returns true if an account signed a message, as it is or wrapped in `<Bytes>…</Bytes>`.
///
/// Signatures are sr25519 or ed25519: 64 bytes, or 65 with the type of a `MultiSignature` in front (0 for
/// ed25519, 1 for sr25519). Accounts without a key of these kinds name a delegate in the manifest.
pub fn is_signed_by(account: &AccountId, message: &[u8], signature: &[u8]) -> bool {
    let (kinds, signature) = match signature.len() {
        64 => ([true, true], signature),
        65 => match signature[0] {
            0 => ([true, false], &signature[1..]),
            1 => ([false, true], &signature[1..]),
            _ => return false,
        },
        _ => return false,
    };
    let [may_be_ed25519, may_be_sr25519] = kinds;
    [message.to_vec(), wrapped(message)].iter().any(|message| {
        may_be_sr25519 && is_sr25519(&account.0, message, signature)
            || may_be_ed25519
                && UnparsedPublicKey::new(&ED25519, &account.0)
                    .verify(message, signature)
                    .is_ok()
    })
}

/// Returns true if the holder of an sr25519 key signed a message, as it is.
pub(super) fn is_sr25519(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    <[u8; 64]>::try_from(signature).is_ok_and(|signature| {
        sr25519::verify(
            &sr25519::Signature(signature),
            message,
            &sr25519::PublicKey(*public),
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;
    use crate::keys;

    #[test]
    fn messages_have_their_layout() {
        let mut expected = b"assay/owner/v1".to_vec();
        expected.extend([0xaa; 32]);
        expected.extend([5, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0xbb; 32]);
        expected.extend([0x80, 0x96, 0x98, 0, 0, 0, 0, 0]);
        assert_eq!(
            owner_message(&[0xaa; 32], 0x0105, 7, &[0xbb; 32], 10_000_000),
            expected
        );

        let mut expected = b"assay/tls/v1".to_vec();
        expected.extend([0xaa; 32]);
        expected.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0xcc; 32]);
        expected.extend([0x80, 0x96, 0x98, 0, 0, 0, 0, 0]);
        assert_eq!(tls_message(&[0xaa; 32], 7, &[0xcc; 32], 10_000_000), expected);
    }

    #[test]
    fn sr25519_and_ed25519_signatures_count_raw_and_wrapped() {
        let message = owner_message(&[1; 32], 5, 7, &[2; 32], 3);
        let dave = keys::keypair_from_uri("//Dave").unwrap();
        let edward = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
        let edward_account = AccountId::from(<[u8; 32]>::try_from(edward.public_key().as_ref()).unwrap());
        let other = keys::account_of(&keys::keypair_from_uri("//Eve").unwrap());
        for signed in [message.clone(), wrapped(&message)] {
            let sr = dave.sign(&signed).0.to_vec();
            let ed = edward.sign(&signed).as_ref().to_vec();
            for (account, signature, kind) in [(keys::account_of(&dave), sr, 1), (edward_account, ed, 0)] {
                let typed = |kind: u8| [&[kind], &signature[..]].concat();
                assert!(is_signed_by(&account, &message, &signature));
                assert!(is_signed_by(&account, &message, &typed(kind)));
                assert!(!is_signed_by(&account, &message, &typed(1 - kind)));
                assert!(!is_signed_by(&account, &message, &typed(2)));
                assert!(!is_signed_by(&other, &message, &signature));
                assert!(!is_signed_by(&account, b"another", &signature));
                assert!(!is_signed_by(&account, &message, &signature[1..]));
            }
        }
        assert!(!is_signed_by(&other, &message, &[]));
    }
}
