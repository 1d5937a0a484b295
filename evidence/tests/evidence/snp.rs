//! AMD evidence under test roots: its contents, and the reasons for a refusal.

use assay_evidence::{
    EvidenceError, Part, Platform, TrustRoots, Workload,
    snp::{ChipKeyKind, Product, SnpPolicy, verify_chip_key, verify_report},
};

use super::{
    intel::binding,
    support::{
        amd::{Amd, policy, report},
        der::{CertificateDraft, NOW_S, basic_constraints, extension, integer, issuer_usage},
        keys::TestKey,
    },
};

const PRODUCTS: [Product; 3] = [Product::Milan, Product::Genoa, Product::Turin];

fn amd(product: Product) -> Amd {
    Amd::new(product, 3, binding().report_data())
}

/// Returns the error after one change to valid evidence.
fn error_after(product: Product, change: impl FnOnce(&mut Amd)) -> Option<EvidenceError> {
    let mut amd = amd(product);
    change(&mut amd);
    amd.verify(&policy()).err()
}

#[test]
fn reports_of_every_product_and_version_are_accepted() {
    for product in PRODUCTS {
        for version in 2..=5 {
            let amd = Amd::new(product, version, binding().report_data());
            let verified = amd.verify(&policy());
            let attestation = verified.and_then(|unbound| unbound.bound_to(&binding()));
            let attestation = attestation.unwrap_or_else(|error| panic!("{product:?} {version}: {error}"));
            assert_eq!(attestation.platform, Platform::SevSnp(product));
            let Workload::SevSnp { measurement, .. } = attestation.workload else {
                panic!("{attestation:?}");
            };
            assert_eq!(measurement, [0xcd; 48]);
        }
    }
}

#[test]
fn other_versions_and_algorithms_are_refused() {
    for version in [0, 1, 6, 255] {
        let error = error_after(Product::Milan, |amd| amd.report[report::VERSION] = version);
        let expected = EvidenceError::UnsupportedVersion {
            part: Part::SnpReport,
            version,
        };
        assert_eq!(error, Some(expected));
    }
    let error = error_after(Product::Milan, |amd| amd.report[report::ALGORITHM] = 2);
    assert_eq!(error, Some(EvidenceError::UnsupportedAlgorithm(Part::SnpReport)));
}

#[test]
fn evidence_for_anything_else_is_refused() {
    let verified = amd(Product::Genoa).verify(&policy()).expect("it is verified");
    let mut other = binding();
    other.machine_id += 1;
    assert_eq!(verified.bound_to(&other), Err(EvidenceError::WrongBinding));
}

#[test]
fn an_unsafe_guest_is_refused() {
    for product in PRODUCTS {
        let error = error_after(product, |amd| amd.report[report::POLICY + 2] |= 1 << 3);
        assert_eq!(error, Some(EvidenceError::Debuggable));
        let error = error_after(product, |amd| amd.report[report::POLICY + 2] |= 1 << 2);
        assert_eq!(error, Some(EvidenceError::Migratable));
        for vmpl in 1..4 {
            let error = error_after(product, |amd| amd.report[report::VMPL] = vmpl);
            assert_eq!(error, Some(EvidenceError::PrivilegeLevelRefused { vmpl }));
        }
        // Requests at this level come from the host itself.
        let error = error_after(product, |amd| amd.report[report::VMPL..][..4].fill(0xff));
        assert_eq!(
            error,
            Some(EvidenceError::PrivilegeLevelRefused { vmpl: u8::MAX })
        );
    }
    let no_threads = SnpPolicy {
        allow_smt: false,
        ..policy()
    };
    let refused = Err(EvidenceError::UnsafeAttributes);
    assert_eq!(amd(Product::Milan).verify(&no_threads), refused);
    let mut single = amd(Product::Milan);
    single.report[report::POLICY + 2] &= !1;
    assert!(single.verify(&no_threads).is_ok());
}

#[test]
fn firmware_below_the_floor_is_refused() {
    for product in PRODUCTS {
        for component in 0..5 {
            if component == 0 && product != Product::Turin {
                continue;
            }
            let mut policy = policy();
            let floor = match product {
                Product::Milan => &mut policy.floor.milan,
                Product::Genoa => &mut policy.floor.genoa,
                Product::Turin => &mut policy.floor.turin,
            };
            let amd = amd(product);
            let key = amd.chip_key(&amd.roots()).expect("it is verified");
            *floor = key.tcb;
            assert!(amd.verify(&policy).is_ok(), "exactly the floor");
            let floor = match product {
                Product::Milan => &mut policy.floor.milan,
                Product::Genoa => &mut policy.floor.genoa,
                Product::Turin => &mut policy.floor.turin,
            };
            let version = match component {
                0 => &mut floor.fmc,
                1 => &mut floor.boot_loader,
                2 => &mut floor.tee,
                3 => &mut floor.snp,
                _ => &mut floor.microcode,
            };
            *version += 1;
            assert_eq!(
                amd.verify(&policy),
                Err(EvidenceError::TcbBelowFloor),
                "{product:?} {component}"
            );
        }
        // The host can roll back to the committed versions, so they count as well.
        let mut policy = policy();
        let mut amd = amd(product);
        policy.floor.milan.microcode = 1;
        policy.floor.genoa.microcode = 1;
        policy.floor.turin.microcode = 1;
        amd.report[report::COMMITTED_TCB + 7] = 0;
        assert_eq!(amd.verify(&policy), Err(EvidenceError::TcbBelowFloor));
    }
}

#[test]
fn a_certificate_for_other_firmware_is_refused() {
    // Each significant byte of the reported versions.
    for (product, bytes) in [
        (Product::Milan, &[0, 1, 6, 7][..]),
        (Product::Genoa, &[0, 1, 6, 7]),
        (Product::Turin, &[0, 1, 2, 3, 7]),
    ] {
        for byte in bytes {
            let error = error_after(product, |amd| amd.report[report::REPORTED_TCB + byte] ^= 1);
            assert_eq!(error, Some(EvidenceError::TcbMismatch), "{product:?} {byte}");
        }
    }
}

#[test]
fn another_chip_is_refused() {
    for product in PRODUCTS {
        let error = error_after(product, |amd| amd.report[report::CHIP_ID + 7] ^= 1);
        assert_eq!(error, Some(EvidenceError::ChipMismatch));
        let error = error_after(product, |amd| amd.report[report::CHIP_ID..][..64].fill(0));
        assert_eq!(error, Some(EvidenceError::DeviceHidden));
        let error = error_after(product, |amd| amd.report[report::KEY_INFORMATION] |= 2);
        assert_eq!(error, Some(EvidenceError::DeviceHidden));
        // The report claims a cloud's key, or none, as its signer.
        for signer in [1, 7] {
            let error = error_after(product, |amd| amd.report[report::KEY_INFORMATION] = signer << 2);
            assert_eq!(error, Some(EvidenceError::SigningKeyMismatch));
        }
    }
    // Turin's ids have eight bytes; zeros must follow.
    let error = error_after(Product::Turin, |amd| amd.report[report::CHIP_ID + 8] = 1);
    assert_eq!(error, Some(EvidenceError::ChipMismatch));
}

#[test]
fn another_product_is_refused() {
    for (product, family, model) in [
        (Product::Milan, 0x19, 0x11),
        (Product::Genoa, 0x19, 0x01),
        (Product::Turin, 0x19, 0x01),
        (Product::Milan, 0x1a, 0x00),
        (Product::Genoa, 0x19, 0x60),
    ] {
        let error = error_after(product, |amd| {
            amd.report[report::CPU_FAMILY] = family;
            amd.report[report::CPU_MODEL] = model;
        });
        assert_eq!(error, Some(EvidenceError::ProductMismatch));
    }
}

#[test]
fn keys_of_clouds_are_accepted_as_the_policy_says() {
    for product in PRODUCTS {
        let mut cloud = Amd::cloud(product, binding().report_data());
        let key = cloud.chip_key(&cloud.roots()).expect("it is verified");
        let name = b"a cloud".to_vec().try_into().expect("short");
        assert_eq!(key.kind, ChipKeyKind::Cloud { name });
        assert!(cloud.verify(&policy()).is_ok());
        let chips_only = SnpPolicy {
            allow_cloud_keys: false,
            ..policy()
        };
        assert_eq!(cloud.verify(&chips_only), Err(EvidenceError::SigningKeyMismatch));
        // The chip's id still tells it apart from others, so it must not be hidden.
        cloud.report[report::CHIP_ID..][..64].fill(0);
        assert_eq!(cloud.verify(&policy()), Err(EvidenceError::DeviceHidden));
    }
}

#[test]
fn a_chain_to_a_look_alike_root_is_refused() {
    let genuine = amd(Product::Milan);
    let mut look_alike = genuine.clone();
    look_alike.root_key = TestKey::rsa(2);
    assert!(look_alike.verify(&policy()).is_ok());
    assert_eq!(
        look_alike.chip_key(&genuine.roots()),
        Err(EvidenceError::UntrustedRoot)
    );
    let vendors = assay_evidence::vendor_roots().expect("well formed");
    assert_eq!(genuine.chip_key(&vendors), Err(EvidenceError::UntrustedRoot));
    assert_eq!(
        genuine.chip_key(&TrustRoots::default()),
        Err(EvidenceError::UntrustedRoot)
    );
}

#[test]
fn a_key_does_not_outlive_its_root_its_list_or_its_time() {
    let amd = amd(Product::Turin);
    let roots = amd.roots();
    let key = amd.chip_key(&roots).expect("it is verified");
    let lists = amd.lists().expect("they are verified");
    let report = amd.signed_report();
    let verify =
        |roots: &TrustRoots, lists: &[_], now_s| verify_report(&report, &key, lists, roots, &policy(), now_s);
    assert!(verify(&roots, &lists, NOW_S).is_ok());
    assert_eq!(
        verify(&TrustRoots::default(), &lists, NOW_S),
        Err(EvidenceError::UntrustedRoot)
    );
    // The same certificate as the root of another product.
    let mut other = roots.clone();
    other.amd[0].product = Product::Milan;
    assert_eq!(verify(&other, &lists, NOW_S), Err(EvidenceError::UntrustedRoot));
    assert_eq!(verify(&roots, &[], NOW_S), Err(EvidenceError::RevocationUnknown));
    assert_eq!(
        verify(&roots, &lists, key.path.valid_until_s + 1),
        Err(EvidenceError::Expired(Part::Certificate))
    );
    let mut revoking = amd.clone();
    revoking.list.revoked = vec![amd.authority.serial.clone()];
    let lists = revoking.lists().expect("they are verified");
    assert_eq!(verify(&roots, &lists, NOW_S), Err(EvidenceError::Revoked));
    assert_eq!(revoking.chip_key(&roots), Err(EvidenceError::Revoked));
}

#[test]
fn a_list_whose_time_is_over_is_refused() {
    let error = error_after(Product::Milan, |amd| amd.list.until = "20251231235959Z");
    assert_eq!(error, Some(EvidenceError::Expired(Part::RevocationList)));
    let error = error_after(Product::Milan, |amd| amd.list.from = "20260101000001Z");
    assert_eq!(error, Some(EvidenceError::NotYetValid(Part::RevocationList)));
}

#[test]
fn certificates_without_the_vendors_extensions_are_refused() {
    for product in PRODUCTS {
        let count = amd(product).chip.extensions.len();
        for place in 0..count {
            let error = error_after(product, |amd| {
                amd.chip.extensions.remove(place);
            });
            assert_eq!(
                error,
                Some(EvidenceError::NotAVendorCertificate),
                "{product:?} {place}"
            );
        }
    }
    let wrong: [Vec<u8>; 3] = [
        // A version beyond one byte, one that is not a number, and an id of the wrong length.
        extension("1.3.6.1.4.1.3704.1.3.1", false, &integer(&[1, 0])),
        extension("1.3.6.1.4.1.3704.1.3.1", false, &[4, 1, 3]),
        extension("1.3.6.1.4.1.3704.1.4", false, &[0x42; 8]),
    ];
    for (wrong, place) in wrong.into_iter().zip([0, 0, 4]) {
        let error = error_after(Product::Milan, |amd| amd.chip.extensions[place] = wrong);
        assert_eq!(error, Some(EvidenceError::NotAVendorCertificate));
    }
    // The extensions of both a chip's and a cloud's certificate.
    let error = error_after(Product::Milan, |amd| {
        let cloud = Amd::cloud(Product::Milan, [0; 64]);
        amd.chip.extensions.extend(cloud.chip.extensions.last().cloned());
    });
    assert_eq!(error, Some(EvidenceError::NotAVendorCertificate));
}

#[test]
fn a_chip_cannot_vouch_for_another() {
    // A chip's key issues a certificate, but it is not an authority.
    let amd = amd(Product::Milan);
    let chip = amd.chip.sign(&amd.chip_key, &amd.authority_key);
    let below = CertificateDraft {
        extensions: amd.chip.extensions.clone(),
        ..CertificateDraft::signer("another", "SEV-VCEK")
    };
    let below = below.sign(&TestKey::p384("another"), &amd.chip_key);
    let authority = amd.authority.sign(&amd.authority_key, &amd.root_key);
    let chain = [&below[..], &chip, &authority];
    let lists = amd.lists().expect("they are verified");
    assert_eq!(
        verify_chip_key(&chain, &amd.roots(), &lists, true, NOW_S),
        Err(EvidenceError::WrongChainLength)
    );
    // It claims to be an authority, but the one above it allows none.
    let mut greedy = amd.clone();
    greedy.authority.extensions = vec![basic_constraints(Some(0)), issuer_usage()];
    assert!(greedy.verify(&policy()).is_ok());
    greedy.root.extensions = vec![basic_constraints(Some(0)), issuer_usage()];
    assert_eq!(greedy.verify(&policy()).err(), Some(EvidenceError::NotAnIssuer));
}

#[test]
fn reports_of_another_length_are_refused() {
    let amd = amd(Product::Milan);
    let roots = amd.roots();
    let key = amd.chip_key(&roots).expect("it is verified");
    let lists = amd.lists().expect("they are verified");
    let report = amd.signed_report();
    for length in 0..report.len() {
        let result = verify_report(&report[..length], &key, &lists, &roots, &policy(), NOW_S);
        assert_eq!(result, Err(EvidenceError::Malformed(Part::SnpReport)));
    }
    let longer = [&report[..], &[0]].concat();
    assert_eq!(
        verify_report(&longer, &key, &lists, &roots, &policy(), NOW_S),
        Err(EvidenceError::Malformed(Part::SnpReport))
    );
}
