//! NVIDIA evidence under a test root: its contents, and the reasons for a refusal.

use assay_evidence::{
    EvidenceError, Part, Platform, TrustRoots, Workload,
    nvidia::{GpuReport, NvidiaPolicy, References, verify_device_key, verify_report},
};

use super::{
    intel::binding,
    support::{
        der::{NOW_S, explicit, extension, integer, octets, oid, sequence, tlv, utf8},
        keys::TestKey,
        nvidia::{FIRMWARE_ID, IDENTITY, Nvidia, alternative_name, firmware},
    },
};

fn nvidia() -> Nvidia {
    Nvidia::new(binding().nonce())
}

/// Returns the error after one change to valid evidence.
fn error_after(change: impl FnOnce(&mut Nvidia)) -> Option<EvidenceError> {
    let mut nvidia = nvidia();
    change(&mut nvidia);
    nvidia.verify().err()
}

#[test]
fn a_report_is_accepted() {
    let attestation = nvidia().verify().and_then(|unbound| unbound.bound_to(&binding()));
    let attestation = attestation.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(attestation.platform, Platform::NvidiaGpu);
    assert_eq!(
        attestation.workload,
        Workload::NvidiaGpu {
            driver: b"550.90.07".to_vec().try_into().expect("short"),
            vbios: b"96.00.9F.00.01".to_vec().try_into().expect("short"),
        }
    );
    let nvidia = nvidia();
    let key = nvidia.device_key(&nvidia.roots()).expect("it is verified");
    assert_eq!(key.identity.as_slice(), IDENTITY.as_bytes());
    let report = nvidia.report();
    let report = GpuReport::read(&report).expect("well formed");
    let needed = References::of(&report, key.chip()).expect("it says so");
    assert_eq!(needed.driver, nvidia.references[0].key());
    assert_eq!(needed.vbios, nvidia.references[1].key());
}

#[test]
fn evidence_for_anything_else_is_refused() {
    let verified = nvidia().verify().expect("it is verified");
    let mut other = binding();
    other.sealing_key[5] ^= 1;
    assert_eq!(verified.bound_to(&other), Err(EvidenceError::WrongBinding));
    let verified = Nvidia::new([0; 32]).verify().expect("it is verified");
    assert_eq!(verified.bound_to(&binding()), Err(EvidenceError::WrongBinding));
}

#[test]
fn measurements_that_are_no_reference_values_are_refused() {
    for index in [1, 2, 3, 4, 5, 8] {
        let error = error_after(|nvidia| nvidia.measurements[usize::from(index) - 1].1[0] ^= 1);
        assert_eq!(error, Some(EvidenceError::MeasurementMismatch { index }));
        let error = error_after(|nvidia| {
            nvidia.measurements.remove(usize::from(index) - 1);
        });
        assert_eq!(error, Some(EvidenceError::MeasurementMismatch { index }));
        // A shorter measurement with the same beginning.
        let error = error_after(|nvidia| nvidia.measurements[usize::from(index) - 1].1.truncate(47));
        assert_eq!(error, Some(EvidenceError::MeasurementMismatch { index }));
    }
    // Measurements without a reference may have any value.
    for index in [6, 7] {
        let error = error_after(|nvidia| nvidia.measurements[index - 1].1[0] ^= 1);
        assert_eq!(error, None);
    }
    // Any of the alternatives is accepted.
    let error = error_after(|nvidia| nvidia.measurements[1].1 = vec![0xff; 48]);
    assert_eq!(error, None);
}

#[test]
fn references_are_of_exactly_one_version() {
    let changes: [fn(&mut Nvidia); 7] = [
        |nvidia| nvidia.opaque[0].1 = b"550.90.08\0".to_vec(),
        |nvidia| nvidia.opaque[1].1[4] = 2,
        |nvidia| nvidia.opaque[2].1 = b"883\0\0".to_vec(),
        |nvidia| nvidia.opaque[3].1 = b"1011\0".to_vec(),
        |nvidia| nvidia.references[0].chip = b"GB100".to_vec().try_into().expect("short"),
        |nvidia| nvidia.references[1].measurements = Default::default(),
        |nvidia| nvidia.references.truncate(1),
    ];
    for change in changes {
        assert_eq!(error_after(change), Some(EvidenceError::NoReference));
    }
    // A report that does not name its versions has no references.
    for place in 0..5 {
        let error = error_after(|nvidia| {
            nvidia.opaque.remove(place);
        });
        assert_eq!(error, Some(EvidenceError::Malformed(Part::GpuReport)));
    }
    for text in [&b"\0\0"[..], b"", b"550\x0190", b"550.90\0x"] {
        let error = error_after(|nvidia| nvidia.opaque[0].1 = text.to_vec());
        assert_eq!(error, Some(EvidenceError::Malformed(Part::GpuReport)));
    }
}

#[test]
fn other_firmware_than_the_certificates_is_refused() {
    let error = error_after(|nvidia| nvidia.opaque[5].1[0] ^= 1);
    assert_eq!(error, Some(EvidenceError::FirmwareMismatch));
    let error = error_after(|nvidia| nvidia.opaque[5].1.truncate(47));
    assert_eq!(error, Some(EvidenceError::FirmwareMismatch));
    // Older reports do not repeat the firmware's hash.
    let error = error_after(|nvidia| {
        nvidia.opaque.remove(5);
    });
    assert_eq!(error, None);
}

#[test]
fn both_forms_of_the_firmware_id_are_read() {
    // Blackwell's form: a DICE TcbInfo with the hashes in [6].
    let hash = sequence(&[&oid("2.16.840.1.101.3.4.2.2"), &octets(&FIRMWARE_ID)]);
    let info = sequence(&[
        &tlv(0x80, b"NVIDIA"),
        &tlv(0x81, b"GB100"),
        &tlv(0x83, &[1]),
        &tlv(0xa6, &hash),
    ]);
    let error = error_after(|nvidia| {
        nvidia.certificates[4].extensions[2] = extension("2.23.133.5.4.1.1", false, &info);
    });
    assert_eq!(error, None);
    // Another hash function, and two hashes.
    let other = sequence(&[&oid("2.16.840.1.101.3.4.2.3"), &octets(&FIRMWARE_ID)]);
    for info in [
        sequence(&[&tlv(0xa6, &other)]),
        sequence(&[&tlv(0xa6, &hash), &tlv(0xa6, &hash)]),
        sequence(&[&integer(&[1])]),
    ] {
        let error = error_after(|nvidia| {
            nvidia.certificates[4].extensions[2] = extension("2.23.133.5.4.1", false, &info);
        });
        assert_eq!(error, Some(EvidenceError::NotAVendorCertificate));
    }
}

#[test]
fn devices_without_an_identity_of_their_own_are_refused() {
    for identity in [
        "NVIDIA:GH100",
        "NVIDIA:GH100:",
        "NVIDIA::00",
        "nvidia:GH100:00",
        "OTHER:GH100:00",
        "NVIDIA:GH100:00:11",
        "NVIDIA:GH100:00 11",
    ] {
        let error = error_after(|nvidia| nvidia.certificates[4].extensions[1] = alternative_name(identity));
        assert_eq!(error, Some(EvidenceError::NotAVendorCertificate), "{identity}");
    }
    for place in [1, 2] {
        let error = error_after(|nvidia| {
            nvidia.certificates[4].extensions.remove(place);
        });
        assert_eq!(error, Some(EvidenceError::NotAVendorCertificate));
    }
    // Another kind of name, and two identities.
    let other = explicit(0, &[oid("1.2.3"), explicit(0, &utf8(IDENTITY))].concat());
    let one = explicit(
        0,
        &[oid("1.3.6.1.4.1.412.274.1"), explicit(0, &utf8(IDENTITY))].concat(),
    );
    for (names, error) in [
        (sequence(&[&other]), Some(EvidenceError::NotAVendorCertificate)),
        (
            sequence(&[&one, &one]),
            Some(EvidenceError::NotAVendorCertificate),
        ),
        (sequence(&[&tlv(0x82, b"a.dns.name"), &other, &one]), None),
    ] {
        let found = error_after(|nvidia| {
            nvidia.certificates[4].extensions[1] = extension("2.5.29.17", false, &names);
        });
        assert_eq!(found, error);
    }
}

#[test]
fn one_gpu_is_one_device_whatever_its_firmware() {
    let device = |nvidia: &Nvidia| nvidia.verify().expect("it is verified").unchecked().device;
    let first = nvidia();
    // An update changes the attestation key.
    let mut updated = nvidia();
    updated.keys[4] = TestKey::p384("after the update");
    updated.certificates[4].extensions[2] = firmware(&[0xf2; 48]);
    updated.opaque[5].1 = vec![0xf2; 48];
    assert_eq!(device(&first), device(&updated));
    let mut other = nvidia();
    other.certificates[4].extensions[1] = alternative_name("NVIDIA:GH100:00112233445566AB");
    assert_ne!(device(&first), device(&other));
}

#[test]
fn a_chain_to_a_look_alike_root_is_refused() {
    let genuine = nvidia();
    let mut look_alike = genuine.clone();
    look_alike.keys[0] = TestKey::p384("a look-alike");
    assert!(look_alike.verify().is_ok());
    assert_eq!(
        look_alike.device_key(&genuine.roots()),
        Err(EvidenceError::UntrustedRoot)
    );
    let vendors = assay_evidence::vendor_roots().expect("well formed");
    assert_eq!(genuine.device_key(&vendors), Err(EvidenceError::UntrustedRoot));
    // Another authority with the same name in the middle.
    for place in 1..4 {
        let mut other = genuine.clone();
        let chain = genuine.chain();
        other.keys[place] = TestKey::p384("another");
        let mut mixed = other.chain();
        mixed[4 - place] = chain[4 - place].clone();
        let mixed: Vec<&[u8]> = mixed.iter().map(Vec::as_slice).collect();
        let lists = genuine.lists().expect("they are verified");
        assert_eq!(
            verify_device_key(&mixed, &genuine.roots(), &lists, true, NOW_S),
            Err(EvidenceError::BadSignature(Part::Certificate))
        );
    }
}

#[test]
fn revoked_authorities_are_refused() {
    let error = error_after(|nvidia| nvidia.root_list.revoked = vec![nvidia.certificates[1].serial.clone()]);
    assert_eq!(error, Some(EvidenceError::Revoked));
    let error =
        error_after(|nvidia| nvidia.family_list.revoked = vec![nvidia.certificates[2].serial.clone()]);
    assert_eq!(error, Some(EvidenceError::Revoked));
    let nvidia = nvidia();
    let chain = nvidia.chain();
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let lists = nvidia.lists().expect("they are verified");
    for lists in [&lists[..1], &lists[1..], &[]] {
        assert_eq!(
            verify_device_key(&chain, &nvidia.roots(), lists, true, NOW_S),
            Err(EvidenceError::RevocationUnknown)
        );
        assert!(verify_device_key(&chain, &nvidia.roots(), lists, false, NOW_S).is_ok());
    }
}

#[test]
fn a_key_does_not_outlive_its_root_or_its_time() {
    let nvidia = nvidia();
    let roots = nvidia.roots();
    let key = nvidia.device_key(&roots).expect("it is verified");
    let lists = nvidia.lists().expect("they are verified");
    let report = nvidia.report();
    let report = GpuReport::read(&report).expect("well formed");
    let verify = |roots: &TrustRoots, now_s| {
        let policy = NvidiaPolicy { require_lists: true };
        verify_report(&report, &key, &nvidia.references, &lists, roots, &policy, now_s)
    };
    assert!(verify(&roots, NOW_S).is_ok());
    assert_eq!(
        verify(&TrustRoots::default(), NOW_S),
        Err(EvidenceError::UntrustedRoot)
    );
    let late = key.path.valid_until_s + 1;
    assert_eq!(
        verify(&roots, late),
        Err(EvidenceError::Expired(Part::Certificate))
    );
}

#[test]
fn chains_of_another_length_are_refused() {
    let nvidia = nvidia();
    let chain = nvidia.chain();
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let lists = nvidia.lists().expect("they are verified");
    let verify = |chain: &[&[u8]]| verify_device_key(chain, &nvidia.roots(), &lists, true, NOW_S).map(|_| ());
    assert_eq!(verify(&chain), Ok(()));
    // The root may be omitted.
    assert_eq!(verify(&chain[..4]), Ok(()));
    for length in 0..4 {
        assert_eq!(verify(&chain[..length]), Err(EvidenceError::WrongChainLength));
    }
    assert_eq!(verify(&chain[1..]), Err(EvidenceError::WrongChainLength));
    let swapped = [chain[0], chain[2], chain[1], chain[3]];
    assert_eq!(verify(&swapped), Err(EvidenceError::BrokenChain));
    let twice = [chain[0], chain[0], chain[1], chain[2], chain[3], chain[4]];
    assert_eq!(verify(&twice), Err(EvidenceError::WrongChainLength));
    assert_eq!(verify(&[chain[0]; 7]), Err(EvidenceError::WrongChainLength));
}

#[test]
fn reports_of_other_forms_are_refused() {
    let report = nvidia().report();
    let with = |at: usize, byte: u8| {
        let mut report = report.clone();
        report[at] = byte;
        GpuReport::read(&report).err()
    };
    let malformed = Some(EvidenceError::Malformed(Part::GpuReport));
    for at in [0, 37] {
        for version in [0x10, 0x12, 0x13] {
            let expected = EvidenceError::UnsupportedVersion {
                part: Part::GpuReport,
                version,
            };
            assert_eq!(with(at, version), Some(expected));
        }
    }
    // Another request, one without a signature, one for a single measurement, and another response.
    for (at, byte) in [(1, 0xe1), (2, 0), (3, 1), (38, 0x7f)] {
        assert_eq!(with(at, byte), malformed);
    }
    // One block more than announced, and one less.
    assert_eq!(with(41, 7), malformed);
    assert_eq!(with(41, 9), malformed);
    // A repeated index, index zero, and another measurement specification than DMTF's.
    assert_eq!(with(45 + 55, 1), malformed);
    assert_eq!(with(45, 0), malformed);
    assert_eq!(with(46, 2), malformed);
    for length in 0..report.len() {
        assert!(GpuReport::read(&report[..length]).is_err());
    }
    let longer = [&report[..], &[0]].concat();
    assert_eq!(GpuReport::read(&longer).err(), malformed);
    // A repeated field of the opaque data.
    let mut twice = nvidia();
    twice.opaque.push((3, b"1\0".to_vec()));
    assert_eq!(GpuReport::read(&twice.report()).err(), malformed);
}
