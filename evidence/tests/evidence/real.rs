//! Real evidence: it is accepted, and no byte of it can be changed.

use assay_evidence::{
    AmdRoot, EvidenceError, Part, Platform, RevocationList, TcbStatus, TrustRoot, TrustRoots, Workload,
    certificates_of_pem,
    intel::{
        IntelPolicy, Quote, platform_of_certificate, verify_attestation_key, verify_pck_chain,
        verify_qe_identity, verify_tcb_info,
    },
    nvidia::{
        Component, DeviceKey, GpuReport, NvidiaPolicy, Reference, ReferenceMeasurement, verify_device_key,
    },
    snp::{ChipKey, ChipKeyKind, Product, SnpFloor, SnpPolicy, SnpTcb, verify_chip_key},
    vendor_roots::{
        self, AMD_ARK_GENOA, AMD_ARK_MILAN, AMD_ARK_TURIN, INTEL_SGX_ROOT, NVIDIA_DEVICE_IDENTITY,
    },
};
use assay_evidence::{nvidia, snp};
use codec::{DecodeAll, Encode};
use sha2::{Digest, Sha256};

use super::support::{
    der::NOW_S,
    real::{Prepared, QUOTES, SGX, TDX, TDX_15_EX, TDX_OUTDATED, lenient, slices},
    samples::{hex_sample, sample, text_sample},
};

/// Returns the bytes with one bit flipped at a place; the place decides which bit.
fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << (at % 8);
    bytes
}

fn roots() -> TrustRoots {
    assay_evidence::vendor_roots().expect("the vendors' roots are well formed")
}

// --- roots ---

#[test]
fn the_roots_are_those_that_vendors_and_others_publish() {
    let pem = |text: String, place: usize| certificates_of_pem(text.as_bytes()).expect("PEM").remove(place);
    let expected = [
        (
            INTEL_SGX_ROOT,
            "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
            sample("intel_root.der"),
        ),
        (
            AMD_ARK_MILAN,
            "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
            pem(text_sample("cert_chain_milan.pem"), 1),
        ),
        (
            AMD_ARK_GENOA,
            "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
            pem(text_sample("ark_genoa.pem"), 0),
        ),
        (
            AMD_ARK_TURIN,
            "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
            pem(text_sample("cert_chain_turin.pem"), 1),
        ),
        (
            NVIDIA_DEVICE_IDENTITY,
            "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48",
            pem(text_sample("nvidia_root.pem"), 0),
        ),
    ];
    for (der, fingerprint, published) in expected {
        assert_eq!(hex::encode(Sha256::digest(der)), fingerprint);
        assert_eq!(der, published);
        // A root signs itself.
        assert_eq!(
            TrustRoot::new(der).map(|root| root.der().to_vec()),
            Ok(der.to_vec())
        );
    }
    let roots = vendor_roots::vendor_roots().expect("well formed");
    assert_eq!(
        (roots.intel.len(), roots.amd.len(), roots.nvidia.len()),
        (1, 3, 1)
    );
}

#[test]
fn no_byte_of_a_root_can_be_changed() {
    for der in [
        INTEL_SGX_ROOT,
        AMD_ARK_MILAN,
        AMD_ARK_GENOA,
        AMD_ARK_TURIN,
        NVIDIA_DEVICE_IDENTITY,
    ] {
        for at in 0..der.len() {
            assert!(TrustRoot::new(&flipped(der, at)).is_err(), "byte {at}");
        }
    }
}

// --- Intel ---

#[test]
fn real_quotes_are_accepted_for_what_they_are() {
    let sgx = SGX.prepared().verify(&lenient()).expect("it is verified");
    let attestation = sgx.unchecked();
    assert_eq!(attestation.platform, Platform::Sgx);
    assert_eq!(
        attestation.tcb.status,
        TcbStatus::ConfigurationAndSwHardeningNeeded
    );
    assert!(matches!(attestation.workload, Workload::Sgx { .. }));

    for (quote, status) in [(TDX, TcbStatus::UpToDate), (TDX_15_EX, TcbStatus::UpToDate)] {
        let tdx = quote.prepared().verify(&lenient()).expect("it is verified");
        let attestation = tdx.unchecked();
        assert_eq!(attestation.platform, Platform::Tdx);
        assert_eq!(attestation.tcb.status, status, "{quote:?}");
        assert!(attestation.expires_s > quote.now_s);
        assert!(matches!(attestation.workload, Workload::Tdx { .. }));
    }
}

#[test]
fn real_quotes_are_refused_where_the_policy_says_so() {
    let sgx = SGX.prepared();
    assert_eq!(
        sgx.verify(&IntelPolicy::strict()),
        Err(EvidenceError::TcbStatusRefused(
            TcbStatus::ConfigurationAndSwHardeningNeeded
        ))
    );
    let mut policy = lenient();
    policy.refused_advisories = vec![b"INTEL-SA-00289".to_vec().try_into().expect("short")]
        .try_into()
        .expect("short");
    assert_eq!(sgx.verify(&policy), Err(EvidenceError::AdvisoryRefused));
    let mut policy = lenient();
    policy.min_evaluation = sgx.tcb_info.evaluation + 1;
    assert_eq!(sgx.verify(&policy), Err(EvidenceError::EvaluationTooOld));
    // This platform is older than every level that Intel lists: no policy accepts it.
    assert_eq!(
        TDX_OUTDATED.prepared().verify(&lenient()),
        Err(EvidenceError::NoTcbLevel)
    );
}

#[test]
fn no_signed_byte_of_a_real_quote_can_be_changed() {
    for quote in QUOTES {
        let prepared = quote.prepared();
        let key = prepared.attestation_key().expect("it is verified");
        let bytes = &prepared.raw.quote;
        let report_bytes = match quote.name {
            "sgx_quote" => 48 + 384,
            "tdx_quote" => 48 + 584,
            "tdx_quote_outdated" => 48 + 6 + 648,
            _ => 48 + 6 + 885,
        };
        // Header and report, then the length, the signature and the attestation key.
        for at in (0..report_bytes).chain(report_bytes..report_bytes + 4 + 64 + 64) {
            let result = prepared.verify_with(&flipped(bytes, at), &key, &lenient());
            assert!(result.is_err(), "{quote:?}: byte {at}");
        }
        // The attestation key, and the report that vouches for it with its signature and authentication data.
        let version_3 = bytes[0] == 3;
        let key_at = report_bytes + 4 + 64;
        let qe_at = key_at + 64 + if version_3 { 0 } else { 6 };
        let pck = prepared.pck_key().expect("it is verified");
        for at in (key_at..key_at + 64).chain(qe_at..qe_at + 384 + 64 + 2 + 32) {
            let changed = flipped(bytes, at);
            let result = Quote::read(&changed).and_then(|quote| verify_attestation_key(&quote, pck.clone()));
            assert!(result.is_err(), "{quote:?}: byte {at}");
        }
    }
}

#[test]
fn no_byte_of_a_real_pck_chain_can_be_changed() {
    for quote in [SGX, TDX_15_EX] {
        let prepared = quote.prepared();
        for place in 0..prepared.raw.pck_chain.len() {
            for at in 0..prepared.raw.pck_chain[place].len() {
                let mut chain = prepared.raw.pck_chain.clone();
                chain[place] = flipped(&chain[place], at);
                let result =
                    verify_pck_chain(&slices(&chain), &prepared.roots, &prepared.lists, prepared.now_s);
                assert!(result.is_err(), "{quote:?}: byte {at} of certificate {place}");
            }
        }
    }
}

#[test]
fn no_byte_of_real_collateral_can_be_changed() {
    let prepared = SGX.prepared();
    let Prepared {
        raw,
        roots,
        lists,
        now_s,
        ..
    } = &prepared;
    let tcb_chain = slices(&raw.tcb_info_chain);
    for at in 0..raw.tcb_info.len() {
        let result = verify_tcb_info(
            &flipped(&raw.tcb_info, at),
            &raw.tcb_info_signature,
            &tcb_chain,
            roots,
            lists,
            *now_s,
        );
        assert_eq!(
            result,
            Err(EvidenceError::BadSignature(Part::TcbInfo)),
            "byte {at}"
        );
    }
    let qe_chain = slices(&raw.qe_identity_chain);
    for at in 0..raw.qe_identity.len() {
        let json = flipped(&raw.qe_identity, at);
        let result = verify_qe_identity(&json, &raw.qe_identity_signature, &qe_chain, roots, lists, *now_s);
        assert_eq!(
            result,
            Err(EvidenceError::BadSignature(Part::QeIdentity)),
            "byte {at}"
        );
    }
    for at in 0..64 {
        let mut signature = raw.tcb_info_signature;
        signature[at] ^= 1;
        let result = verify_tcb_info(&raw.tcb_info, &signature, &tcb_chain, roots, lists, *now_s);
        assert_eq!(
            result,
            Err(EvidenceError::BadSignature(Part::TcbInfo)),
            "byte {at}"
        );
    }
    for place in 0..raw.tcb_info_chain.len() {
        for at in 0..raw.tcb_info_chain[place].len() {
            let mut chain = raw.tcb_info_chain.clone();
            chain[place] = flipped(&chain[place], at);
            let chain = slices(&chain);
            let result = verify_tcb_info(
                &raw.tcb_info,
                &raw.tcb_info_signature,
                &chain,
                roots,
                lists,
                *now_s,
            );
            assert!(result.is_err(), "byte {at} of certificate {place}");
        }
    }
}

#[test]
fn no_byte_of_a_real_revocation_list_can_be_changed() {
    let raw = SGX.raw();
    let roots = roots().intel;
    for at in 0..raw.root_list.len() {
        let list = flipped(&raw.root_list, at);
        assert!(
            RevocationList::verify(&list, None, &roots, &[], SGX.now_s).is_err(),
            "byte {at}"
        );
    }
    for at in 0..raw.pck_list.len() {
        let list = flipped(&raw.pck_list, at);
        let result = RevocationList::verify(&list, Some(&raw.list_issuer), &roots, &[], SGX.now_s);
        assert!(result.is_err(), "byte {at}");
    }
    for at in 0..raw.list_issuer.len() {
        let issuer = flipped(&raw.list_issuer, at);
        let result = RevocationList::verify(&raw.pck_list, Some(&issuer), &roots, &[], SGX.now_s);
        assert!(result.is_err(), "byte {at} of the issuer");
    }
}

#[test]
fn real_revocation_lists_name_those_that_were_revoked() {
    for (quote, count) in [(SGX, 0), (TDX, 44), (TDX_15_EX, 57)] {
        let prepared = quote.prepared();
        assert!(
            prepared.lists[0].revoked.is_empty(),
            "no authority of Intel's is revoked"
        );
        assert_eq!(prepared.lists[1].revoked.len(), count);
    }
}

#[test]
fn real_collateral_of_another_time_or_processor_is_refused() {
    let quote = TDX_OUTDATED.prepared();
    let other = TDX_15_EX.prepared();
    let key = quote.attestation_key().expect("it is verified");
    // The TCB info is for another processor.
    let mut mixed = TDX_OUTDATED.prepared();
    mixed.tcb_info = other.tcb_info.clone();
    assert_eq!(
        mixed.verify_with(&quote.raw.quote, &key, &lenient()),
        Err(EvidenceError::CollateralForOtherProcessor)
    );
    // SGX collateral for a TDX quote.
    let mut mixed = TDX_OUTDATED.prepared();
    mixed.qe_identity = SGX.prepared().qe_identity;
    assert_eq!(
        mixed.verify_with(&quote.raw.quote, &key, &lenient()),
        Err(EvidenceError::CollateralForOtherTee)
    );
    // After the end of its validity, and before its start.
    let expired = Prepared::new(SGX.raw(), SGX.now_s + 60 * 86_400).err();
    assert_eq!(expired, Some(EvidenceError::Expired(Part::RevocationList)));
    let early = Prepared::new(SGX.raw(), SGX.now_s - 60 * 86_400).err();
    assert_eq!(early, Some(EvidenceError::NotYetValid(Part::RevocationList)));
}

#[test]
fn only_newer_real_collateral_takes_the_place_of_older() {
    // Both are for one family of processors, sixteen months apart.
    let (old, new) = (TDX.prepared(), TDX_15_EX.prepared());
    assert!(new.tcb_info.supersedes(&old.tcb_info));
    assert!(!old.tcb_info.supersedes(&new.tcb_info));
    assert!(!new.tcb_info.supersedes(&new.tcb_info));
    assert!(new.qe_identity.supersedes(&old.qe_identity));
    assert!(!old.qe_identity.supersedes(&new.qe_identity));
    assert!(new.lists[1].supersedes(&old.lists[1]));
    assert!(!old.lists[1].supersedes(&new.lists[1]));
    // The list of another issuer, and the TCB info of another processor.
    assert!(!new.lists[1].supersedes(&new.lists[0]));
    assert!(!new.tcb_info.supersedes(&TDX_OUTDATED.prepared().tcb_info));
}

#[test]
fn what_is_kept_survives_encoding() {
    let prepared = TDX_15_EX.prepared();
    let key = prepared.attestation_key().expect("it is verified");
    assert_eq!(DecodeAll::decode_all(&mut &key.encode()[..]), Ok(key));
    let info = prepared.tcb_info.clone();
    assert_eq!(DecodeAll::decode_all(&mut &info.encode()[..]), Ok(info));
    let identity = prepared.qe_identity.clone();
    assert_eq!(DecodeAll::decode_all(&mut &identity.encode()[..]), Ok(identity));
    let lists = prepared.lists.clone();
    assert_eq!(DecodeAll::decode_all(&mut &lists.encode()[..]), Ok(lists));
}

// --- AMD ---

fn milan_chain() -> Vec<Vec<u8>> {
    let mut chain = vec![sample("vcek_milan.der")];
    chain.extend(certificates_of_pem(text_sample("cert_chain_milan.pem").as_bytes()).expect("PEM"));
    chain
}

fn milan_key() -> ChipKey {
    verify_chip_key(&slices(&milan_chain()), &roots(), &[], false, NOW_S).expect("it is verified")
}

/// Policy for the sample, which lacks AMD's revocation list.
fn milan_policy() -> SnpPolicy {
    SnpPolicy {
        floor: SnpFloor::default(),
        max_vmpl: 0,
        allow_smt: true,
        allow_cloud_keys: false,
        require_list: false,
    }
}

#[test]
fn a_real_milan_report_is_accepted_for_what_it_is() {
    let key = milan_key();
    assert_eq!(key.product, Product::Milan);
    assert_eq!(
        key.tcb,
        SnpTcb {
            fmc: 0,
            boot_loader: 3,
            tee: 0,
            snp: 8,
            microcode: 0x73
        }
    );
    let report = hex_sample("report_milan.hex");
    let verified =
        snp::verify_report(&report, &key, &[], &roots(), &milan_policy(), NOW_S).expect("it is verified");
    let attestation = verified.unchecked();
    assert_eq!(attestation.platform, Platform::SevSnp(Product::Milan));
    assert_eq!(attestation.report_data[..], report[0x50..0x90]);
    let Workload::SevSnp { measurement, .. } = &attestation.workload else {
        panic!("{attestation:?}");
    };
    assert_eq!(measurement[..], report[0x90..0xc0]);
    // The chip's certificate ends first: 2030-04-03.
    assert_eq!(attestation.expires_s, 1_901_474_623);
    assert_eq!(ChipKey::decode_all(&mut &key.encode()[..]), Ok(key));
}

#[test]
fn what_evidence_says_of_itself_is_what_is_verified_of_it() {
    let report = hex_sample("report_milan.hex");
    // Version 2 does not name the product.
    assert_eq!(snp::product_of_report(&report), Ok(None));
    let claims = snp::ReportClaims::read(&report, Product::Milan).expect("a report");
    let key = milan_key();
    assert_eq!(claims.reported, key.tcb);
    assert_eq!(
        key.kind,
        ChipKeyKind::Chip {
            chip_id: claims.chip_id
        }
    );
    assert_eq!(claims.report_data[..], report[0x50..0x90]);
    assert_eq!(claims.host_data[..], report[0xc0..0xe0]);
    assert!(!claims.is_cloud_key);
    let malformed = Err(EvidenceError::Malformed(Part::SnpReport));
    assert_eq!(snp::product_of_report(&report[1..]), malformed);
    assert!(snp::ReportClaims::read(&report[1..], Product::Milan).is_err());

    for quote in QUOTES {
        let prepared = quote.prepared();
        let key = prepared.pck_key().expect("it is verified");
        let leaf = &prepared.raw.pck_chain[0];
        assert_eq!(
            platform_of_certificate(leaf),
            Ok((key.fmspc, key.pce_id)),
            "{quote:?}"
        );
    }
    let foreign = &hopper_chain()[0];
    assert_eq!(
        platform_of_certificate(foreign),
        Err(EvidenceError::NotAVendorCertificate)
    );
}

#[test]
fn a_real_milan_report_is_refused_where_the_policy_says_so() {
    let key = milan_key();
    let report = hex_sample("report_milan.hex");
    let verify = |policy: &SnpPolicy| snp::verify_report(&report, &key, &[], &roots(), policy, NOW_S);
    let mut floor = milan_policy();
    floor.floor.milan.microcode = 0x74;
    assert_eq!(verify(&floor), Err(EvidenceError::TcbBelowFloor));
    let mut other_floor = milan_policy();
    other_floor.floor.genoa.microcode = 0xff;
    assert!(verify(&other_floor).is_ok());
    let no_threads = SnpPolicy {
        allow_smt: false,
        ..milan_policy()
    };
    assert_eq!(verify(&no_threads), Err(EvidenceError::UnsafeAttributes));
    let with_list = SnpPolicy {
        require_list: true,
        ..milan_policy()
    };
    assert_eq!(verify(&with_list), Err(EvidenceError::RevocationUnknown));
}

#[test]
fn no_byte_of_a_real_milan_report_can_be_changed() {
    let key = milan_key();
    let report = hex_sample("report_milan.hex");
    // The signature's unused bytes must stay zero.
    for at in 0..report.len() {
        let result = snp::verify_report(&flipped(&report, at), &key, &[], &roots(), &milan_policy(), NOW_S);
        assert!(result.is_err(), "byte {at}");
    }
}

#[test]
fn no_byte_of_a_real_amd_chain_can_be_changed() {
    let chain = milan_chain();
    for place in 0..chain.len() {
        for at in 0..chain[place].len() {
            let mut chain = chain.clone();
            chain[place] = flipped(&chain[place], at);
            let result = verify_chip_key(&slices(&chain), &roots(), &[], false, NOW_S);
            assert!(result.is_err(), "byte {at} of certificate {place}");
        }
    }
}

#[test]
fn a_real_turin_chain_is_accepted_for_what_it_is() {
    let mut chain = vec![sample("vcek_turin.der")];
    chain.extend(certificates_of_pem(text_sample("cert_chain_turin.pem").as_bytes()).expect("PEM"));
    let key = verify_chip_key(&slices(&chain), &roots(), &[], false, NOW_S).expect("it is verified");
    assert_eq!(key.product, Product::Turin);
    let ChipKeyKind::Chip { chip_id } = &key.kind else {
        panic!("{key:?}");
    };
    // Turin's ids are short.
    assert_ne!(chip_id[..8], [0; 8]);
    assert_eq!(chip_id[8..], [0; 56]);
    // Milan's root does not vouch for Turin's chip.
    let milan_only = TrustRoots {
        amd: vec![AmdRoot {
            product: Product::Milan,
            root: TrustRoot::new(AMD_ARK_MILAN).expect("a root"),
        }]
        .try_into()
        .expect("there is room"),
        ..Default::default()
    };
    assert_eq!(
        verify_chip_key(&slices(&chain), &milan_only, &[], false, NOW_S),
        Err(EvidenceError::UntrustedRoot)
    );
}

// --- NVIDIA ---

fn hopper_chain() -> Vec<Vec<u8>> {
    certificates_of_pem(text_sample("hopper_chain.pem").as_bytes()).expect("PEM")
}

fn hopper_key() -> DeviceKey {
    verify_device_key(&slices(&hopper_chain()), &roots(), &[], false, NOW_S).expect("it is verified")
}

/// Returns references with this report's own values: no package has NVIDIA's files for its versions.
fn hopper_references(report: &GpuReport<'_>) -> Vec<Reference> {
    let measurement = |index: u8| ReferenceMeasurement {
        index,
        alternatives: vec![
            report
                .measurement(index)
                .expect("measured")
                .try_into()
                .expect("48 bytes"),
        ]
        .try_into()
        .expect("short"),
    };
    let reference = |component, board, version, indices: std::ops::RangeInclusive<u8>| Reference {
        component,
        chip: b"GH100".to_vec().try_into().expect("short"),
        board,
        version,
        measurements: indices
            .map(measurement)
            .collect::<Vec<_>>()
            .try_into()
            .expect("64 at most"),
    };
    vec![
        reference(
            Component::Driver,
            Default::default(),
            report.driver_version().expect("it says so"),
            1..=32,
        ),
        reference(
            Component::Vbios,
            report.board().expect("it says so"),
            report.vbios_version().expect("it says so"),
            33..=64,
        ),
    ]
}

fn nvidia_policy() -> NvidiaPolicy {
    NvidiaPolicy { require_lists: false }
}

#[test]
fn a_real_h100_report_is_accepted_for_what_it_is() {
    let key = hopper_key();
    assert_eq!(key.identity.as_slice(), b"NVIDIA:GH100:48B02D92494BADF4");
    assert_eq!(key.chip(), b"GH100");
    let bytes = hex_sample("hopper_report.hex");
    let report = GpuReport::read(&bytes).expect("it is well formed");
    assert_eq!(report.nonce()[..], bytes[4..36]);
    assert_eq!(report.measurements().count(), 64);
    assert_eq!(report.driver_version().as_deref(), Some(&b"550.90.07".to_vec()));
    assert_eq!(
        report.vbios_version().as_deref(),
        Some(&b"96.00.9F.00.01".to_vec())
    );
    assert_eq!(report.board().as_deref(), Some(&b"1010_0200_882".to_vec()));
    assert_eq!(report.firmware_id(), Some(&key.firmware_id[..]));
    let references = hopper_references(&report);
    let verified = nvidia::verify_report(&report, &key, &references, &[], &roots(), &nvidia_policy(), NOW_S);
    let verified = verified.expect("it is verified");
    assert_eq!(verified.unchecked().platform, Platform::NvidiaGpu);
    assert_eq!(verified.unchecked().device, key.device());
    assert_eq!(verified.unchecked().report_data[..32], bytes[4..36]);
    assert_eq!(verified.unchecked().report_data[32..], [0; 32]);
    // No certificate of the chain ends before the year 10000.
    assert_eq!(verified.unchecked().expires_s, 253_402_300_799);
    assert_eq!(DeviceKey::decode_all(&mut &key.encode()[..]), Ok(key));
}

#[test]
fn a_real_h100_report_is_refused_without_its_references() {
    let key = hopper_key();
    let bytes = hex_sample("hopper_report.hex");
    let report = GpuReport::read(&bytes).expect("it is well formed");
    let verify = |references: &[Reference]| {
        nvidia::verify_report(&report, &key, references, &[], &roots(), &nvidia_policy(), NOW_S)
    };
    let references = hopper_references(&report);
    assert_eq!(verify(&[]), Err(EvidenceError::NoReference));
    assert_eq!(verify(&references[..1]), Err(EvidenceError::NoReference));
    assert_eq!(verify(&references[1..]), Err(EvidenceError::NoReference));
    // NVIDIA's file for another VBIOS version of this board, renamed to this version: its values do not
    // match.
    let mut foreign = references.clone();
    foreign[1].measurements = active_measurements(&text_sample("rim_1010_0200_882_96005E0001.xml"))
        .try_into()
        .expect("64 at most");
    assert_eq!(foreign[1].measurements.len(), 12);
    assert!(matches!(
        verify(&foreign),
        Err(EvidenceError::MeasurementMismatch { .. })
    ));
    let mut empty = references.clone();
    empty[0].measurements = Default::default();
    assert_eq!(verify(&empty), Err(EvidenceError::NoReference));
    for place in 0..2 {
        for measurement in 0..32 {
            let mut wrong = references.clone();
            wrong[place].measurements[measurement].alternatives[0][47] ^= 1;
            let index = wrong[place].measurements[measurement].index;
            assert_eq!(verify(&wrong), Err(EvidenceError::MeasurementMismatch { index }));
        }
    }
}

/// Returns the active measurements of one of NVIDIA's reference files, which counts from zero.
fn active_measurements(rim: &str) -> Vec<ReferenceMeasurement> {
    let attribute = |element: &str, name: &str| {
        let from = element
            .split_once(&format!("{name}=\""))
            .expect("the attribute is there")
            .1;
        from.split_once('"').expect("it ends").0.to_owned()
    };
    rim.split("<ns0:Resource ")
        .skip(1)
        .filter(|element| attribute(element, "active") == "True")
        .map(|element| {
            let count: usize = attribute(element, "alternatives").parse().expect("a number");
            let alternatives = (0..count)
                .map(|place| {
                    let digits = attribute(element, &format!("Hash{place}"));
                    hex::decode(digits)
                        .expect("hexadecimal")
                        .try_into()
                        .expect("48 bytes")
                })
                .collect::<Vec<_>>();
            ReferenceMeasurement {
                index: attribute(element, "index").parse::<u8>().expect("a number") + 1,
                alternatives: alternatives.try_into().expect("8 at most"),
            }
        })
        .collect()
}

#[test]
fn no_byte_of_a_real_h100_report_can_be_changed() {
    let key = hopper_key();
    let bytes = hex_sample("hopper_report.hex");
    let references = hopper_references(&GpuReport::read(&bytes).expect("it is well formed"));
    let roots = roots();
    for at in 0..bytes.len() {
        let changed = flipped(&bytes, at);
        let result = GpuReport::read(&changed).and_then(|report| {
            nvidia::verify_report(&report, &key, &references, &[], &roots, &nvidia_policy(), NOW_S)
        });
        assert!(result.is_err(), "byte {at}");
    }
}

#[test]
fn no_byte_of_a_real_nvidia_chain_can_be_changed() {
    let chain = hopper_chain();
    for place in 0..chain.len() {
        for at in 0..chain[place].len() {
            let mut chain = chain.clone();
            chain[place] = flipped(&chain[place], at);
            let result = verify_device_key(&slices(&chain), &roots(), &[], false, NOW_S);
            assert!(result.is_err(), "byte {at} of certificate {place}");
        }
    }
}
