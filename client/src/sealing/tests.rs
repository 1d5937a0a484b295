//! Sealing, opening and receipts.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use subxt_signer::sr25519;

use rand_core::RngCore;

use super::*;
use crate::keys::sealing_public_key;

fn bytes(digits: &str) -> Vec<u8> {
    hex::decode(digits).unwrap()
}

/// Randomness that a test prescribes.
struct Prescribed(Vec<u8>);

impl RngCore for Prescribed {
    fn next_u32(&mut self) -> u32 {
        unreachable!("only bytes are drawn")
    }

    fn next_u64(&mut self) -> u64 {
        unreachable!("only bytes are drawn")
    }

    fn fill_bytes(&mut self, target: &mut [u8]) {
        let rest = self.0.split_off(target.len());
        target.copy_from_slice(&std::mem::replace(&mut self.0, rest));
    }
}

impl CryptoRng for Prescribed {}

/// RFC 9180, appendix A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305, base mode;
/// encryption with sequence number 0.
#[test]
fn vector_of_the_standard() {
    let info = bytes("4f6465206f6e2061204772656369616e2055726e");
    let ephemeral = bytes("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b");
    let recipient = bytes("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a");
    let secret = bytes("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
    let body = [
        bytes("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"),
        bytes("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"),
    ]
    .concat();
    let plain = b"Beauty is truth, truth beauty";

    let recipient: [u8; 32] = recipient.try_into().unwrap();
    let sealed = encrypt(&recipient, &info, plain, b"Count-0", &mut Prescribed(ephemeral)).unwrap();
    assert_eq!(hex::encode(&sealed), hex::encode(&body));

    let secret: [u8; 32] = secret.try_into().unwrap();
    let secret = StaticSecret::from(secret);
    assert_eq!(sealing_public_key(&secret), recipient);
    assert_eq!(decrypt(&secret, &info, &body, b"Count-0").unwrap(), plain);
    assert!(decrypt(&secret, &info, &body, b"Count-1").is_err());
}

fn manifest() -> JobManifest {
    let text = format!(
        r#"{{"image":"localhost:5000/a@sha256:{}","env":{{"TOKEN":"marker"}},"secrets":{{"key":"marker"}}}}"#,
        "ab".repeat(32)
    );
    JobManifest::from_sealed_bytes(text.as_bytes()).unwrap()
}

fn machine() -> (StaticSecret, SealContext) {
    let secret = StaticSecret::from([7; 32]);
    let context = SealContext {
        genesis_hash: [1; 32],
        job: 2,
        machine: 3,
        sealing_key: sealing_public_key(&secret),
    };
    (secret, context)
}

#[test]
fn sealed_manifest_is_opened_by_its_machine() {
    let (secret, context) = machine();
    let plain = PlainManifest::new(&manifest()).unwrap();
    let sealed = plain.seal(&context).unwrap();
    assert_eq!(sealed.bytes().len(), plain.bytes().len() + SEAL_OVERHEAD_BYTES);
    let again = SealedManifest::from_bytes(sealed.bytes().to_vec()).unwrap();
    let opened = again.open(&secret, &context).unwrap();
    assert_eq!(opened.hash(), plain.hash());
    assert_eq!(*opened.manifest().unwrap(), manifest());
    assert_eq!(opened.hash(), blake2_256(opened.bytes()));
    let kept = PlainManifest::from_bytes(plain.bytes().to_vec()).unwrap();
    assert!(kept == plain);
}

#[test]
fn no_two_seals_and_no_two_hashes_are_alike() {
    let (_, context) = machine();
    let plain = PlainManifest::new(&manifest()).unwrap();
    assert_ne!(plain.seal(&context).unwrap(), plain.seal(&context).unwrap());
    assert_ne!(PlainManifest::new(&manifest()).unwrap().hash(), plain.hash());
}

#[test]
fn open_fails_for_another_job_machine_key_or_chain() {
    let (secret, context) = machine();
    let sealed = PlainManifest::new(&manifest()).unwrap().seal(&context).unwrap();
    let other_secret = StaticSecret::from([8; 32]);
    let other_key = sealing_public_key(&other_secret);
    for (secret, context) in [
        (&secret, SealContext { job: 4, ..context }),
        (
            &secret,
            SealContext {
                machine: 4,
                ..context
            },
        ),
        (
            &secret,
            SealContext {
                genesis_hash: [4; 32],
                ..context
            },
        ),
        (
            &secret,
            SealContext {
                sealing_key: other_key,
                ..context
            },
        ),
        (&other_secret, context),
        (
            &other_secret,
            SealContext {
                sealing_key: other_key,
                ..context
            },
        ),
    ] {
        let opened = sealed.open(secret, &context);
        assert!(matches!(opened, Err(SealError::NotOpened)), "{context:?}");
    }
}

#[test]
fn open_fails_when_any_byte_is_changed() {
    let (secret, context) = machine();
    let sealed = PlainManifest::new(&manifest()).unwrap().seal(&context).unwrap();
    for at in 0..sealed.bytes().len() {
        let mut changed = sealed.bytes().to_vec();
        changed[at] ^= 1;
        let changed = SealedManifest::from_bytes(changed).unwrap();
        // X25519 ignores the highest bit of a key, and the bytes that are hashed with it do not.
        assert!(changed.open(&secret, &context).is_err(), "byte {at}");
    }
    let longer = [sealed.bytes(), &[0]].concat();
    assert!(
        SealedManifest::from_bytes(longer)
            .unwrap()
            .open(&secret, &context)
            .is_err()
    );
}

#[test]
fn highest_bit_of_the_encapsulated_key_counts() {
    let (secret, context) = machine();
    let sealed = PlainManifest::new(&manifest()).unwrap().seal(&context).unwrap();
    let mut changed = sealed.bytes().to_vec();
    changed[31] ^= 0x80;
    assert!(
        SealedManifest::from_bytes(changed)
            .unwrap()
            .open(&secret, &context)
            .is_err()
    );
}

#[test]
fn length_is_bounded() {
    for length in [0, 31, 79, MAX_SEALED_BODY_BYTES + 1] {
        let error = SealedManifest::from_bytes(vec![0; length]).unwrap_err();
        assert!(
            matches!(error, SealError::BadLength { length_bytes } if length_bytes == length),
            "{error}"
        );
    }
    for length in [0, 31, MAX_PLAIN_BYTES + 1] {
        assert!(PlainManifest::from_bytes(vec![0; length]).is_err(), "{length}");
    }
    assert!(
        PlainManifest::from_bytes(vec![0; 32])
            .unwrap()
            .manifest()
            .is_err()
    );
}

#[test]
fn key_of_low_order_cannot_be_sealed_to() {
    let (_, context) = machine();
    let plain = PlainManifest::new(&manifest()).unwrap();
    let weak = SealContext {
        sealing_key: [0; 32],
        ..context
    };
    assert!(matches!(plain.seal(&weak), Err(SealError::BadKey)));
}

#[test]
fn secrets_do_not_reach_logs() {
    let plain = PlainManifest::new(&manifest()).unwrap();
    assert_eq!(format!("{plain:?}"), "PlainManifest(…)");
}

fn receipt() -> Receipt {
    let statement = assay_primitives::delivery::ReceiptStatement {
        job: 2,
        machine: 3,
        manifest_hash: [4; 32],
        active_time_ms: 5,
    };
    Receipt::sign(&sr25519::dev::eve(), &[1; 32], &statement)
}

#[test]
fn receipt_is_of_one_worker_and_one_delivery() {
    let eve = sr25519::dev::eve().public_key().to_account_id();
    let bob = sr25519::dev::bob().public_key().to_account_id();
    let receipt = receipt();
    assert!(receipt.is_signed_by(&eve, &[1; 32]));
    assert!(!receipt.is_signed_by(&bob, &[1; 32]));
    assert!(!receipt.is_signed_by(&eve, &[2; 32]));
    for other in [
        Receipt { job: 9, ..receipt },
        Receipt {
            machine: 9,
            ..receipt
        },
        Receipt {
            manifest_hash: [9; 32],
            ..receipt
        },
        Receipt {
            active_time_ms: 9,
            ..receipt
        },
        Receipt {
            signature: [9; 64],
            ..receipt
        },
    ] {
        assert!(!other.is_signed_by(&eve, &[1; 32]), "{other:?}");
    }
}

#[test]
fn receipt_survives_json() {
    let receipt = receipt();
    let text = serde_json::to_string(&receipt).unwrap();
    assert!(
        text.contains(&format!(r#""manifest_hash":"0x{}""#, "04".repeat(32))),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<Receipt>(&text).unwrap(), receipt);
    for bad in [
        text.replace("0x04", "04"),
        text.replace("0x0404", "0x04"),
        "{}".into(),
    ] {
        assert!(serde_json::from_str::<Receipt>(&bad).is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn opening_never_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (secret, context) = machine();
        if let Ok(sealed) = SealedManifest::from_bytes(body) {
            prop_assert!(sealed.open(&secret, &context).is_err());
        }
    }

    #[test]
    fn whatever_is_sealed_is_opened(plain in proptest::collection::vec(any::<u8>(), 32..300), job: u64, machine_id: u64) {
        let (secret, context) = machine();
        let context = SealContext { job, machine: machine_id, ..context };
        let plain = PlainManifest::from_bytes(plain).unwrap();
        let opened = plain.seal(&context).unwrap().open(&secret, &context).unwrap();
        prop_assert!(opened == plain);
        let _ = opened.manifest();
    }
}

#[test]
fn kept_bytes_are_private_and_overwritten_on_demand_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept");
    let first = PlainManifest::from_bytes(vec![1; 40]).unwrap();
    first.keep(&path, false).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first.bytes());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let second = PlainManifest::from_bytes(vec![2; 33]).unwrap();
    assert!(second.keep(&path, false).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), first.bytes());
    second.keep(&path, true).unwrap();
    assert!(PlainManifest::load(&path).unwrap() == second);
    std::fs::write(&path, [3; 31]).unwrap();
    assert!(PlainManifest::load(&path).is_err());
    std::fs::write(&path, vec![3; MAX_PLAIN_BYTES + 1]).unwrap();
    assert!(PlainManifest::load(&path).is_err());
}
