//! Hostile input: nothing panics, nothing is accepted, and no length is trusted.

use assay_evidence::{
    EvidenceError, RevocationList, TrustRoot, TrustRoots, certificates_of_pem,
    intel::{
        AttestationKey, IntelPolicy, MAX_QUOTE_BYTES, Quote, verify_attestation_key, verify_pck_chain,
        verify_qe_identity, verify_quote, verify_tcb_info,
    },
    nvidia::{self, DeviceKey, GpuReport, NvidiaPolicy, References, verify_device_key},
    snp::{self, ChipKey, SnpPolicy, verify_chip_key},
};
use codec::Decode;
use proptest::prelude::*;

use super::support::{
    allocation::largest_allocation,
    amd::Amd,
    der::NOW_S,
    intel::{Intel, Kind},
    nvidia::Nvidia,
    real::{Prepared, QUOTES, SGX, TDX_15_EX},
    samples::{hex_sample, sample, text_sample},
};

/// Keys and collateral for the verification, so that input reaches as much code as possible.
struct World {
    roots: TrustRoots,
    intel: Prepared,
    attestation_key: AttestationKey,
    chip_key: ChipKey,
    device_key: DeviceKey,
}

impl World {
    fn new() -> Self {
        let intel = TDX_15_EX.prepared();
        let (amd, nvidia) = (Amd::new(snp::Product::Milan, 3, [0; 64]), Nvidia::new([0; 32]));
        Self {
            roots: assay_evidence::vendor_roots().expect("well formed"),
            attestation_key: intel.attestation_key().expect("it is verified"),
            intel,
            chip_key: amd.chip_key(&amd.roots()).expect("it is verified"),
            device_key: nvidia.device_key(&nvidia.roots()).expect("it is verified"),
        }
    }

    /// Passes the bytes to every function that takes bytes; returns the number of accepted signatures.
    fn feed(&self, bytes: &[u8]) -> usize {
        let Self { roots, intel, .. } = self;
        let (lists, now_s) = (&intel.lists, intel.now_s);
        let chain = [bytes, bytes, bytes, bytes];
        let signature = [7; 64];
        let mut accepted = 0;
        let mut count = |result: Result<(), EvidenceError>| {
            if let Err(error) = result {
                // Every error has a text.
                assert!(error.to_string().len() > 20);
            } else {
                accepted += 1;
            }
        };
        count(TrustRoot::new(bytes).map(|_| ()));
        count(RevocationList::verify(bytes, None, &roots.intel, lists, now_s).map(|_| ()));
        count(
            RevocationList::verify(&intel.raw.pck_list, Some(bytes), &roots.intel, lists, now_s).map(|_| ()),
        );
        count(verify_pck_chain(&chain[..2], roots, lists, now_s).map(|_| ()));
        count(verify_chip_key(&chain[..2], roots, lists, false, now_s).map(|_| ()));
        count(verify_device_key(&chain, roots, lists, false, now_s).map(|_| ()));
        count(verify_tcb_info(bytes, &signature, &chain[..1], roots, lists, now_s).map(|_| ()));
        count(verify_qe_identity(bytes, &signature, &chain[..1], roots, lists, now_s).map(|_| ()));
        count(Quote::read(bytes).and_then(|quote| {
            let key = verify_attestation_key(&quote, self.attestation_key.pck.clone());
            let key = key.unwrap_or_else(|_| self.attestation_key.clone());
            let (collateral, policy) = (intel.collateral(), IntelPolicy::strict());
            let _ = quote.certificate_chain().map(certificates_of_pem);
            verify_quote(&quote, &key, collateral, roots, &policy, now_s).map(|_| ())
        }));
        let policy = SnpPolicy {
            floor: Default::default(),
            max_vmpl: 3,
            allow_smt: true,
            allow_cloud_keys: true,
            require_list: false,
        };
        count(snp::verify_report(bytes, &self.chip_key, &[], roots, &policy, NOW_S).map(|_| ()));
        count(GpuReport::read(bytes).and_then(|report| {
            let _ = (report.measurements().count(), report.opaque_fields().count());
            let _ = References::of(&report, self.device_key.chip());
            let policy = NvidiaPolicy { require_lists: false };
            nvidia::verify_report(&report, &self.device_key, &[], &[], roots, &policy, NOW_S).map(|_| ())
        }));
        // Stored values are decoded from arbitrary bytes too, although only the chain encodes them.
        let _ = certificates_of_pem(bytes);
        let _ = AttestationKey::decode(&mut &bytes[..]);
        let _ = ChipKey::decode(&mut &bytes[..]);
        let _ = DeviceKey::decode(&mut &bytes[..]);
        let _ = RevocationList::decode(&mut &bytes[..]);
        accepted
    }
}

/// Returns one piece of evidence of each kind.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = QUOTES.iter().map(|quote| sample(quote.name)).collect();
    let raw = SGX.raw();
    seeds.extend([raw.root_list, raw.pck_list, raw.tcb_info, raw.qe_identity]);
    seeds.extend(raw.pck_chain);
    seeds.extend([
        sample("vcek_milan.der"),
        sample("vcek_turin.der"),
        hex_sample("report_milan.hex"),
        hex_sample("hopper_report.hex"),
        text_sample("hopper_chain.pem").into_bytes(),
        Intel::new(Kind::Td15, [0; 64]).quote(),
        Amd::new(snp::Product::Turin, 5, [0; 64]).signed_report(),
        Nvidia::new([0; 32]).report(),
    ]);
    seeds.extend(certificates_of_pem(text_sample("hopper_chain.pem").as_bytes()).expect("PEM"));
    seeds
}

#[test]
fn truncated_evidence_is_refused_without_a_panic() {
    let world = World::new();
    for seed in seeds() {
        // Every length of short seeds, and every fifth of long ones, down to zero.
        let step = if seed.len() > 2_000 { 5 } else { 1 };
        for length in (0..seed.len()).rev().step_by(step) {
            let accepted = world.feed(&seed[..length]);
            // A real quote in a longer buffer may lose zeros at its end.
            let zeros_only = seed[length..].iter().all(|byte| *byte == 0);
            assert!(accepted == 0 || zeros_only, "{length} of {} bytes", seed.len());
        }
    }
}

#[test]
fn mutated_evidence_is_never_accepted() {
    let (world, seeds) = (World::new(), seeds());
    // A changed seed must not be accepted by more functions than the untouched one.
    let accepted: Vec<usize> = seeds.iter().map(|seed| world.feed(seed)).collect();
    assert!(accepted.iter().sum::<usize>() > 0, "some seeds are genuine");
    proptest!(ProptestConfig::with_cases(3_000), |(
        seed in 0..seeds.len(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        insert in prop::collection::vec(any::<u8>(), 0..8),
    )| {
        let mut bytes = seeds[seed].clone();
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let cut = cut.index(bytes.len());
        drop(bytes.splice(cut..cut, insert));
        let unchanged = bytes == seeds[seed];
        let accepted_now = world.feed(&bytes);
        // Certificates after a quote's own length are verified elsewhere, so a change there may pass here.
        prop_assert!(unchanged || accepted_now <= accepted[seed]);
    });
}

#[test]
fn random_bytes_are_refused_without_a_panic() {
    let world = World::new();
    proptest!(ProptestConfig::with_cases(3_000), |(
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
        begin in 0..5_usize,
    )| {
        // Valid beginnings, which reach more code.
        let begin: &[u8] = match begin {
            0 => &[],
            1 => &[0x30, 0x82],
            2 => &[3, 0, 2, 0, 0, 0, 0, 0],
            3 => &[0x11, 0xe0, 0x01, 0xff],
            _ => b"-----BEGIN CERTIFICATE-----",
        };
        prop_assert_eq!(world.feed(&[begin, &bytes].concat()), 0);
    });
}

#[test]
fn lengths_that_lie_allocate_nothing() {
    let world = World::new();
    let quote = sample("sgx_quote");
    let mut lies = Vec::new();
    // Lengths of signature data, authentication data and certification data in a quote of version 3.
    let data_at = 48 + 384;
    let authentication_at = data_at + 4 + 64 + 64 + 384 + 64;
    for (at, length) in [
        (data_at, 4),
        (authentication_at, 2),
        (authentication_at + 2 + 32 + 2, 4),
    ] {
        let mut lie = quote.clone();
        lie[at..at + length].fill(0xff);
        lies.push(lie);
    }
    // Lengths of the record, the opaque data and a block in a GPU's report.
    let report = hex_sample("hopper_report.hex");
    let record_bytes = 0x0dc0;
    for (at, length) in [(42, 3), (45 + record_bytes + 32, 2), (47, 2), (50, 2)] {
        let mut lie = report.clone();
        lie[at..at + length].fill(0xff);
        lies.push(lie);
    }
    // Certificates and lists that claim four gigabytes.
    for tag in [0x30, 0x02, 0x03, 0x04] {
        lies.push(vec![tag, 0x84, 0xff, 0xff, 0xff, 0xff, 0]);
        lies.push(vec![0x30, 0x09, tag, 0x84, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0]);
    }
    // Stored values with lists that claim a billion entries.
    lies.push([&[0; 64][..], &[0xfe, 0xff, 0xff, 0xff]].concat());
    for lie in lies {
        let (largest, accepted) = largest_allocation(|| world.feed(&lie));
        assert_eq!(accepted, 0);
        assert!(largest <= 64 * 1_024, "{largest} bytes for {} bytes", lie.len());
    }
}

#[test]
fn the_longest_inputs_are_refused_before_anything_else() {
    let world = World::new();
    for length in [MAX_QUOTE_BYTES + 1, 1 << 20] {
        for byte in [0, 0x30, 0xff, b'-'] {
            let bytes = vec![byte; length];
            let (largest, accepted) = largest_allocation(|| world.feed(&bytes));
            assert_eq!(accepted, 0);
            assert!(largest <= 64 * 1_024, "{largest}");
        }
    }
}
