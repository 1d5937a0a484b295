//! Keys of the test vendors.

use alloc::{boxed::Box, vec::Vec};

use p256::ecdsa::signature::hazmat::PrehashSigner;
use rsa::{
    BoxedUint, PrivateKey, pss,
    rand_core::{TryCryptoRng, TryRng},
    signature::RandomizedSigner,
    traits::PublicKeyParts,
};
use sha2::{Digest, Sha256, Sha384};

use super::der::{bits, explicit, integer, oid, sequence, tlv};

/// Key pair of one of the three kinds that vendors use.
#[derive(Clone)]
pub(crate) enum TestKey {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    Rsa(Box<PrivateKey>),
}

impl TestKey {
    /// Returns the key with this name, always the same.
    pub(crate) fn p256(name: &str) -> Self {
        let key = p256::ecdsa::SigningKey::from_slice(&Sha256::digest(name)).expect("a scalar");
        Self::P256(key)
    }

    /// Returns the key with this name, always the same.
    pub(crate) fn p384(name: &str) -> Self {
        let key = p384::ecdsa::SigningKey::from_slice(&Sha384::digest(name)).expect("a scalar");
        Self::P384(key)
    }

    /// Returns one of five RSA keys. The first three have 2,048 bits, which sign faster than the 4,096 of
    /// AMD's keys and of the other two.
    pub(crate) fn rsa(index: usize) -> Self {
        let [p, q] = RSA_PRIMES[index]
            .map(|prime| BoxedUint::from_be_slice_vartime(&hex::decode(prime).expect("hexadecimal digits")));
        let key = PrivateKey::from_p_q(p, q, BoxedUint::from(65_537_u64)).expect("two primes");
        Self::Rsa(Box::new(key))
    }

    /// Returns the public key's point without its first byte.
    pub(crate) fn point(&self) -> Vec<u8> {
        match self {
            Self::P256(key) => key.verifying_key().to_sec1_point(false).as_bytes()[1..].to_vec(),
            Self::P384(key) => key.verifying_key().to_sec1_point(false).as_bytes()[1..].to_vec(),
            Self::Rsa(_) => Vec::new(),
        }
    }

    /// Returns the `SubjectPublicKeyInfo`.
    pub(crate) fn key_info(&self) -> Vec<u8> {
        let curve = match self {
            Self::P256(_) => "1.2.840.10045.3.1.7",
            Self::P384(_) => "1.3.132.0.34",
            Self::Rsa(key) => {
                let modulus = key.n().as_ref().to_be_bytes();
                let exponent = key.e().to_be_bytes();
                let numbers = sequence(&[&integer(&modulus), &integer(&exponent)]);
                let algorithm = sequence(&[&oid("1.2.840.113549.1.1.1"), &tlv(5, &[])]);
                return sequence(&[&algorithm, &bits(&numbers)]);
            }
        };
        let algorithm = sequence(&[&oid("1.2.840.10045.2.1"), &oid(curve)]);
        sequence(&[&algorithm, &bits(&[&[4], &self.point()[..]].concat())])
    }

    /// Returns the `AlgorithmIdentifier` of its signatures.
    pub(crate) fn signature_algorithm(&self) -> Vec<u8> {
        match self {
            Self::P256(_) => sequence(&[&oid("1.2.840.10045.4.3.2")]),
            Self::P384(_) => sequence(&[&oid("1.2.840.10045.4.3.3")]),
            Self::Rsa(_) => {
                let sha384 = sequence(&[&oid("2.16.840.1.101.3.4.2.2"), &tlv(5, &[])]);
                let mask = sequence(&[&oid("1.2.840.113549.1.1.8"), &sha384]);
                let parameters = sequence(&[
                    &explicit(0, &sha384),
                    &explicit(1, &mask),
                    &explicit(2, &integer(&[48])),
                ]);
                sequence(&[&oid("1.2.840.113549.1.1.10"), &parameters])
            }
        }
    }

    /// Returns the numbers `r ‖ s`, big-endian.
    pub(crate) fn sign_raw(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature =
                    key.sign_prehash(&Sha256::digest(message)).expect("a signature");
                signature.to_bytes().to_vec()
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature =
                    key.sign_prehash(&Sha384::digest(message)).expect("a signature");
                signature.to_bytes().to_vec()
            }
            Self::Rsa(key) => {
                let key = pss::SigningKey::<Sha384>::new((**key).clone());
                let signature = key.sign_with_rng(&mut Counter(0), message);
                Box::<[u8]>::from(signature).into_vec()
            }
        }
    }

    /// Returns a signature in the encoding of certificates.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let raw = self.sign_raw(message);
        match self {
            Self::Rsa(_) => raw,
            _ => {
                let (r, s) = raw.split_at(raw.len() / 2);
                sequence(&[&integer(r), &integer(s)])
            }
        }
    }
}

/// Deterministic random generator: the tests' signatures are always the same.
struct Counter(u64);

impl TryRng for Counter {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.0 += 1;
        Ok(self.0 as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 += 1;
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for byte in bytes {
            self.0 += 1;
            *byte = self.0 as u8;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}

/// Primes of keys that were made for these tests and sign nothing else.
const RSA_PRIMES: [[&str; 2]; 5] = [
    [
        "f3c9ca67fae10cf6620e18ce6092e01af7607e773bd6a6ff7ae9a6535ac93f0222e491d10f12ee45de89a86c93801b97e5e4898b0f321565440660a511a8f9a45bd0c1915ecffd09017d689399b26f6bbfec284240597dc6772f41cb3f5d93fbfb372c33e57e2cbd92b8349b57295f97da32da075058bf8ffefab9570cbd48f9",
        "bf83e8f21531aecf4ebcc0c9c25364eede1500e632360d52cce731f8d4c6aaa1fdf55d6a7da63ea9d9f46af3b0373f64c7448768a80615e4ab70221b65cf1781166386963c1d8a80facf8de4b0dfbd4f7802fffff6d137b54b8a0738ec0a25d91b212e75762832926cdbd9b2291878c16c321f4dc4c4f6ab33ac7d0c4f663e1b",
    ],
    [
        "e6644d26268140cd4ca8545df544ed39fe42344dea444d103b819ba6555037d55218101dae32fa9d77cb1c0e0da4c163baa3ac1ba739795d7680b427a18abc3bde02988e1ed410e0b297f19d398286ea77bda13fc4828428d70a7f37f589abf02a15b1b6aceea41dd3b77f32d7698904a72c437b9a156333d25aa7726fea6145",
        "d22ad7c8eb582736c8dead12e21dccdd1bd178cc423a71465d1435b2d93bae072ad0ef68d5c099b96b5fc4b72dd92140ee6f97dd5604b6e3df74093d868399a90585719da008eab361eaa5b20d491ee825f38af1126172b78d2b7e31371d863717c387e7f540f5b2d95e4b78611f464a52450b8944b564986bdaddb7688ad5c3",
    ],
    [
        "d9f558d1c112b51c0250f3d19032731ee7a747a09f2dd517b7f302d4c3d759f8f3fa9649b266d43df128278540c4dca9eb0fc56ae697d5018b458c77cdc218fb77887ec4c28af89e3f19058083339030a813e31d1784a90ba4f7bca6e3d0304fd5bb35110cbfed2b697b7a8cc74f78f7e3ca6d35910936a8078f737e949c85ed",
        "b682188abcdb00b2bb9dc4baa58373714e69da3092466a4a66069ad951d39dd1e4b8b3b6a0412bd38cd49f86f33fabf47f702e6f937a1d7cae541fe3f0a6a90abfd58b456bf95799a64a733e78f68d776ace62637b0951f361b0ee1a50ae1cd8944b9b13825feba43532faf5e89c2c37928cc4cc75f2f9f9f382ea38eb06b4bd",
    ],
    [
        "eedc6766c25955e501ab4f6b9954169ac541d6245279bc6efde217b12285cbc3c21456a5ae125ec39780cd7cbd337e0f1f4abfc76a5c37b3308c112a15ee5a3e7f76518d14c99caec0cc9a93171204f5e3859d08c455b2cec15e432647b911e6520ba8992fce992dd47ea07efa3bcebeaa9387a99be29eab7163eeab8e318196bbe559545fbba805db13c6ee988668ed34108d57d0455a180b0ac1ccab07b59522ffbebf48b824beb55098e754fa2be2ae022dae74886788ed38886f1b6284aebbd79796acc70240b8641fa768f25c3ef0abb39642161cbb556f7c475fc0408f0b40184e8d62a828de1874cb3675b743d13e39d452788a70693d3e3a918be5af",
        "e6b0c6d2e708e74473e64930c060eeee666e387c6fb0c4eaebf282e67f71677f05d36218e9f7047a4a2e287c975844e130e9656c86be8f1b079e868dd3bacce45c29d65ba88c133948243b37e90febca4a5a98f9e4c26fa81f4f9f9294b606af18dc8cd5df390cca8977e57ef4bbcc3ff80df98977942ba28e0eab687906f3ab30afb7df9cc933198342b5d821fdd6e608729e7cb36742da978e599a98b4343d786b423430a169e7dc3c05d6d4e2f23f6123e66008bc7197fae76a615b3aed8f14015364d5584bbd023bb9252e271c6a8d02c74c92de807f59e238934e0d8f744f8caa48e5668ac2faf1a0ebff86af6ad2ecaad5114d7424567d178f34fb97e9",
    ],
    [
        "d1c275e9e0d1344944100c89043652222166c23b088ce543d0b34dcbe52dc2ecd779bf7e784b802d78b175931dc3c0e324779a94368e43bf8c5ddb29a1da161cb576e6039daf2106e9b63b7d48df3b3c6cc08f991642c96a92076b8765ece775b75ed722ddacca91d5e6d83c31b51767cd3d80f5a437681741cb47e497c1aba1487d0bb2f8170e0883fc323d9956c04fa91d442ad1fc07225ec6995182f6d32d329cb07a5ad41f3864cc3ff4292910db604afe3839eee479f8869d2888382c69bd25faf5257fcd11113d96844347c1cdd433c5564c09609379d0d8afff632dca10deb66e9ea9958321d584a6a03a2ed8626a7690f74a21e199ac14829919e8a7",
        "b531a1be0cba9f8fc90efff99e24d2b0005eca29f06897f7fda683d6639c09b76a11bdd20ae68ffd1c8689eb4ae05d0a57ad94ed90c6f1fc5be0c96a96aec4e2b32c052198838ad46aee5811570beeefb05e83b36d24b4577fc82d7781b314361b9929f22ad41b986d17cb415e63599ffb544c7b0dbd27797ba62f6dae336fb4db1b47e6bf601280d3e70d925607df9935a5e6339275409a2952d4ed6f3cc8f07076144e35191f8387640b932f4fca08db3d05c26e809c0741c03b63be2a06f1be32c75de1425bd254ef6e24e3e2b019fea8562c42bcd1de3b52c146dc4cfbac8300ab463e5d5b2a2ff464a1c90c25c699e484142c2333e39232e724089c3b7f",
    ],
];
