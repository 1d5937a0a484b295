//! Intel evidence under a test root: its contents, and the reasons for a refusal.

use assay_evidence::{
    Binding, EvidenceError, Part, Platform, TcbStatus, TrustRoots, Workload,
    intel::{Collateral, IntelPolicy, Quote, verify_quote},
};

use super::support::{
    der::{CertificateDraft, ListDraft, NOW_S, UNTIL_S},
    intel::{Intel, KINDS, Kind, domain, enclave},
    keys::TestKey,
    real::lenient,
};

const SGX: Kind = Kind::Sgx(3);
const TDX: Kind = Kind::Td10(4);

pub(crate) fn binding() -> Binding {
    Binding {
        genesis_hash: [1; 32],
        machine_id: 7,
        worker_key: [2; 32],
        sealing_key: [3; 32],
        anchor_hash: [4; 32],
    }
}

fn intel(kind: Kind) -> Intel {
    Intel::new(kind, binding().report_data())
}

/// Returns the error after one change to valid evidence.
fn error_after(kind: Kind, change: impl FnOnce(&mut Intel)) -> Option<EvidenceError> {
    let mut intel = intel(kind);
    change(&mut intel);
    intel.verify(&IntelPolicy::strict()).err()
}

#[test]
fn quotes_of_every_kind_are_accepted() {
    for kind in KINDS {
        let verified = intel(kind).verify(&IntelPolicy::strict());
        let attestation = verified.and_then(|unbound| unbound.bound_to(&binding()));
        let attestation = attestation.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let sgx = matches!(kind, Kind::Sgx(_));
        assert_eq!(
            attestation.platform,
            if sgx { Platform::Sgx } else { Platform::Tdx }
        );
        assert_eq!(attestation.tcb.status, TcbStatus::UpToDate);
        match attestation.workload {
            Workload::Sgx { mr_enclave, .. } => assert_eq!((sgx, mr_enclave), (true, [0xee; 32])),
            Workload::Tdx { mr_td, .. } => assert_eq!((sgx, mr_td), (false, [0xab; 48])),
            other => panic!("{other:?}"),
        }
        // The TCB info ends first: 2026-01-20.
        assert_eq!(attestation.expires_s, 1_768_867_200);
        assert_eq!(attestation.report_data, binding().report_data());
    }
}

#[test]
fn a_processor_is_one_device_whatever_runs_there() {
    let device = |kind| {
        let verified = intel(kind)
            .verify(&IntelPolicy::strict())
            .expect("it is verified");
        verified.unchecked().device
    };
    assert_eq!(device(SGX), device(TDX));
}

#[test]
fn evidence_for_anything_else_is_refused() {
    let changes: [fn(&mut Binding); 5] = [
        |binding| binding.genesis_hash[0] ^= 1,
        |binding| binding.machine_id ^= 1,
        |binding| binding.worker_key[0] ^= 1,
        |binding| binding.sealing_key[0] ^= 1,
        |binding| binding.anchor_hash[0] ^= 1,
    ];
    let verified = intel(TDX).verify(&IntelPolicy::strict()).expect("it is verified");
    for change in changes {
        let mut other = binding();
        change(&mut other);
        assert_eq!(
            verified.clone().bound_to(&other),
            Err(EvidenceError::WrongBinding)
        );
    }
    // The digest alone is not enough: the rest must be zero.
    let mut data = binding().report_data();
    data[63] = 1;
    let verified = Intel::new(TDX, data)
        .verify(&IntelPolicy::strict())
        .expect("it is verified");
    assert_eq!(verified.bound_to(&binding()), Err(EvidenceError::WrongBinding));
}

#[test]
fn a_debuggable_enclave_is_refused() {
    let error = error_after(SGX, |intel| intel.body[enclave::ATTRIBUTES] |= 0x02);
    assert_eq!(error, Some(EvidenceError::Debuggable));
    let error = error_after(SGX, |intel| intel.body[enclave::ATTRIBUTES] &= !0x01);
    assert_eq!(error, Some(EvidenceError::UnsafeAttributes));
}

#[test]
fn an_unsafe_trust_domain_is_refused() {
    for kind in KINDS.into_iter().filter(|kind| !matches!(kind, Kind::Sgx(_))) {
        for bit in 0..64 {
            let error = error_after(kind, |intel| {
                intel.body[domain::TD_ATTRIBUTES + bit / 8] ^= 1 << (bit % 8);
            });
            let expected = match bit {
                // Debugging, profiling, and reserved bits beside them.
                0..=7 => Some(EvidenceError::Debuggable),
                29 => Some(EvidenceError::Migratable),
                // Reserved bits, service domains, and the disabled protection from the host.
                8..=15 | 17 | 23..=26 | 28 | 32..=61 => Some(EvidenceError::UnsafeAttributes),
                // Harmless features.
                _ => None,
            };
            assert_eq!(error, expected, "{kind:?}: bit {bit}");
        }
    }
    for kind in [Kind::Td15, Kind::Td15Ex] {
        let error = error_after(kind, |intel| intel.body[domain::MR_SERVICE_TD + 47] = 1);
        assert_eq!(error, Some(EvidenceError::UnsafeAttributes));
    }
}

#[test]
fn another_tdx_module_is_refused() {
    for at in [domain::MR_SIGNER_SEAM, domain::SEAM_ATTRIBUTES] {
        let error = error_after(TDX, |intel| intel.body[at] = 1);
        assert_eq!(error, Some(EvidenceError::TdxModuleMismatch));
    }
    // A module version that is not listed.
    let error = error_after(TDX, |intel| intel.body[domain::TEE_TCB_SVN + 1] = 2);
    assert_eq!(error, Some(EvidenceError::TdxModuleMismatch));
    // A security version of the module below every level.
    let error = error_after(TDX, |intel| intel.body[domain::TEE_TCB_SVN] = 3);
    assert_eq!(error, Some(EvidenceError::NoTcbLevel));
    // A security version of the module that is out of date.
    let error = error_after(TDX, |intel| intel.body[domain::TEE_TCB_SVN] = 5);
    assert_eq!(error, Some(EvidenceError::TcbStatusRefused(TcbStatus::OutOfDate)));
}

#[test]
fn a_domain_that_was_started_before_an_update_is_told_to_start_again() {
    let mut intel = intel(Kind::Td15);
    intel.body[domain::TEE_TCB_SVN] = 5;
    let status = TcbStatus::TdRelaunchAdvised;
    assert_eq!(
        intel.verify(&IntelPolicy::strict()),
        Err(EvidenceError::TcbStatusRefused(status))
    );
    let verified = intel.verify(&lenient()).expect("the verdict is accepted");
    assert_eq!(verified.unchecked().tcb.status, status);
}

#[test]
fn an_outdated_platform_is_refused() {
    for (version, status) in [
        (4, TcbStatus::SwHardeningNeeded),
        (3, TcbStatus::OutOfDate),
        (2, TcbStatus::Revoked),
    ] {
        let error = error_after(SGX, |intel| intel.components[7] = version);
        assert_eq!(error, Some(EvidenceError::TcbStatusRefused(status)));
        // The certifying enclave counts as much as the processor.
        let error = error_after(TDX, |intel| intel.pce = u16::from(version) + 6);
        assert_eq!(error, Some(EvidenceError::TcbStatusRefused(status)));
    }
    let error = error_after(SGX, |intel| intel.components[15] = 1);
    assert_eq!(error, Some(EvidenceError::NoTcbLevel));
}

#[test]
fn verdicts_are_accepted_as_the_policy_says() {
    let mut outdated = intel(SGX);
    outdated.components[0] = 3;
    // 2024-11-01 to 2026-01-01.
    let age_s = NOW_S - 1_730_419_200;
    let mut policy = IntelPolicy {
        accepted: vec![TcbStatus::OutOfDate].try_into().expect("short"),
        out_of_date_grace_s: age_s,
        ..IntelPolicy::strict()
    };
    let verified = outdated.verify(&policy).expect("the grace has not passed");
    assert_eq!(verified.unchecked().tcb.date_s, Some(1_730_419_200));
    policy.out_of_date_grace_s = age_s - 1;
    let refused = Err(EvidenceError::TcbStatusRefused(TcbStatus::OutOfDate));
    assert_eq!(outdated.verify(&policy), refused);

    policy.out_of_date_grace_s = age_s;
    policy.refused_advisories = vec![b"INTEL-SA-00003".to_vec().try_into().expect("short")]
        .try_into()
        .expect("short");
    assert_eq!(outdated.verify(&policy), Err(EvidenceError::AdvisoryRefused));

    // No policy accepts a revoked platform.
    let mut revoked = intel(SGX);
    revoked.components[0] = 2;
    let mut policy = lenient();
    policy
        .accepted
        .try_push(TcbStatus::Revoked)
        .expect("there is room");
    let refused = Err(EvidenceError::TcbStatusRefused(TcbStatus::Revoked));
    assert_eq!(revoked.verify(&policy), refused);
}

#[test]
fn collateral_of_an_earlier_evaluation_is_refused() {
    let mut policy = IntelPolicy::strict();
    // The QE identity has evaluation 17, the TCB info 18.
    policy.min_evaluation = 17;
    assert!(intel(SGX).verify(&policy).is_ok());
    policy.min_evaluation = 18;
    assert_eq!(intel(SGX).verify(&policy), Err(EvidenceError::EvaluationTooOld));
}

#[test]
fn another_quoting_enclave_is_refused() {
    let changes: [fn(&mut Intel); 4] = [
        |intel| intel.qe_report[enclave::MR_SIGNER] ^= 1,
        |intel| intel.qe_report[enclave::PRODUCT_ID] ^= 1,
        // Debugging.
        |intel| intel.qe_report[enclave::ATTRIBUTES] |= 2,
        |intel| intel.qe_report[16] = 1,
    ];
    for change in changes {
        assert_eq!(error_after(SGX, change), Some(EvidenceError::QeIdentityMismatch));
    }
    let error = error_after(SGX, |intel| intel.qe_report[enclave::SECURITY_VERSION] = 7);
    assert_eq!(error, Some(EvidenceError::TcbStatusRefused(TcbStatus::OutOfDate)));
    let error = error_after(SGX, |intel| intel.qe_report[enclave::SECURITY_VERSION] = 5);
    assert_eq!(error, Some(EvidenceError::NoTcbLevel));
    // Attributes outside the identity's mask may differ.
    let error = error_after(SGX, |intel| intel.qe_report[enclave::ATTRIBUTES + 8] = 0xe7);
    assert_eq!(error, None);
    // The report data beyond the key's hash must be zero.
    let error = error_after(SGX, |intel| intel.qe_report[enclave::REPORT_DATA + 32] = 1);
    assert_eq!(error, Some(EvidenceError::QeReportMismatch));
}

#[test]
fn signatures_by_other_keys_are_refused() {
    // The platform's certificate holds another key than the one that signed the QE report.
    let intel = intel(SGX);
    let mut thief = intel.clone();
    thief.pck_key = TestKey::p256("a thief's");
    let quote = thief.quote();
    let quote = Quote::read(&quote).expect("a quote");
    let pck = intel.verify_pck(&intel.roots(), NOW_S).expect("it is verified");
    assert_eq!(
        assay_evidence::intel::verify_attestation_key(&quote, pck),
        Err(EvidenceError::BadSignature(Part::QeReport))
    );
    // The quote's attestation key differs from the stored one.
    let mut other = intel.clone();
    other.attestation_key = TestKey::p256("another");
    let (tcb_info, qe_identity) = (
        intel.verify_tcb_info(NOW_S).expect("it is verified"),
        intel.verify_qe_identity(NOW_S).expect("it is verified"),
    );
    let lists = intel.lists().expect("they are verified");
    let collateral = Collateral {
        tcb_info: &tcb_info,
        qe_identity: &qe_identity,
        lists: &lists,
    };
    let key = intel.attestation_key().expect("it is verified");
    let verify = |quote: &[u8], roots: &TrustRoots, now_s| {
        verify_quote(
            &Quote::read(quote)?,
            &key,
            collateral,
            roots,
            &IntelPolicy::strict(),
            now_s,
        )
    };
    let roots = intel.roots();
    assert_eq!(
        verify(&other.quote(), &roots, NOW_S),
        Err(EvidenceError::OtherAttestationKey)
    );
    assert!(verify(&intel.quote(), &roots, NOW_S).is_ok());

    // A stored key is refused once its root is no longer trusted or its time has ended.
    assert_eq!(
        verify(&intel.quote(), &TrustRoots::default(), NOW_S),
        Err(EvidenceError::UntrustedRoot)
    );
    assert_eq!(
        verify(&intel.quote(), &roots, 1_768_867_201),
        Err(EvidenceError::Expired(Part::TcbInfo))
    );
    assert_eq!(
        verify(&intel.quote(), &roots, 1_766_188_799),
        Err(EvidenceError::NotYetValid(Part::TcbInfo))
    );
    // It is also refused after a revocation of its certificate.
    let mut later = intel.clone();
    later.authority_list.revoked = vec![intel.pck.serial.clone()];
    let lists = later.lists().expect("they are verified");
    let collateral = Collateral {
        lists: &lists,
        ..collateral
    };
    let quote = intel.quote();
    let quote = Quote::read(&quote).expect("a quote");
    assert_eq!(
        verify_quote(&quote, &key, collateral, &roots, &IntelPolicy::strict(), NOW_S),
        Err(EvidenceError::Revoked)
    );
}

#[test]
fn a_renewal_needs_only_what_is_kept() {
    // A quote without its chain and with a new anchor, verified with the first quote's key.
    let first = intel(TDX);
    let key = first.attestation_key().expect("it is verified");
    let mut later = binding();
    later.anchor_hash = [5; 32];
    let second = Intel::new(TDX, later.report_data());
    let tcb_info = second.verify_tcb_info(NOW_S).expect("it is verified");
    let qe_identity = second.verify_qe_identity(NOW_S).expect("it is verified");
    let lists = second.lists().expect("they are verified");
    let collateral = Collateral {
        tcb_info: &tcb_info,
        qe_identity: &qe_identity,
        lists: &lists,
    };
    let quote = second.quote();
    let quote = Quote::read(&quote).expect("a quote");
    let verified = verify_quote(
        &quote,
        &key,
        collateral,
        &first.roots(),
        &IntelPolicy::strict(),
        NOW_S,
    );
    let verified = verified.expect("it is verified");
    assert_eq!(
        verified.clone().bound_to(&binding()),
        Err(EvidenceError::WrongBinding)
    );
    assert!(verified.bound_to(&later).is_ok());
}

#[test]
fn revoked_certificates_are_refused() {
    let error = error_after(SGX, |intel| {
        intel.authority_list.revoked = vec![vec![1], intel.pck.serial.clone(), vec![2]];
    });
    assert_eq!(error, Some(EvidenceError::Revoked));
    let error = error_after(SGX, |intel| {
        intel.root_list.revoked = vec![intel.authority.serial.clone()]
    });
    assert_eq!(error, Some(EvidenceError::Revoked));
    // Certificate of the collateral's signer.
    let error = error_after(SGX, |intel| {
        intel.root_list.revoked = vec![intel.signer.serial.clone()]
    });
    assert_eq!(error, Some(EvidenceError::Revoked));
    // The same numbers on the other issuer's list mean other certificates.
    let error = error_after(SGX, |intel| {
        intel.root_list.revoked = vec![intel.pck.serial.clone()];
        intel.authority_list.revoked = vec![intel.authority.serial.clone(), intel.signer.serial.clone()];
    });
    assert_eq!(error, None);
}

#[test]
fn certificates_without_a_list_are_refused() {
    let intel = intel(SGX);
    let chain = intel.pck_chain();
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let lists = intel.lists().expect("they are verified");
    let verify = |lists| assay_evidence::intel::verify_pck_chain(&chain, &intel.roots(), lists, NOW_S);
    assert!(verify(&lists).is_ok());
    assert_eq!(verify(&lists[..1]), Err(EvidenceError::RevocationUnknown));
    assert_eq!(verify(&lists[1..]), Err(EvidenceError::RevocationUnknown));
    assert_eq!(verify(&[]), Err(EvidenceError::RevocationUnknown));
}

#[test]
fn expired_certificates_and_lists_are_refused() {
    const BEFORE: &str = "20251231235959Z";
    const AFTER: &str = "20260101000001Z";
    let certificate: [fn(&mut Intel) -> &mut CertificateDraft; 4] = [
        |intel| &mut intel.pck,
        |intel| &mut intel.authority,
        |intel| &mut intel.signer,
        |intel| &mut intel.root,
    ];
    for draft in certificate {
        let error = error_after(SGX, |intel| draft(intel).until = BEFORE);
        assert_eq!(error, Some(EvidenceError::Expired(Part::Certificate)));
        let error = error_after(SGX, |intel| draft(intel).from = AFTER);
        assert_eq!(error, Some(EvidenceError::NotYetValid(Part::Certificate)));
    }
    let list: [fn(&mut Intel) -> &mut ListDraft; 2] =
        [|intel| &mut intel.root_list, |intel| &mut intel.authority_list];
    for draft in list {
        let error = error_after(SGX, |intel| draft(intel).until = BEFORE);
        assert_eq!(error, Some(EvidenceError::Expired(Part::RevocationList)));
        let error = error_after(SGX, |intel| draft(intel).from = AFTER);
        assert_eq!(error, Some(EvidenceError::NotYetValid(Part::RevocationList)));
    }
    let intel = intel(SGX);
    assert_eq!(
        intel.verify_pck(&intel.roots(), UNTIL_S + 1),
        Err(EvidenceError::Expired(Part::Certificate))
    );
}

#[test]
fn a_chain_to_a_look_alike_root_is_refused() {
    // Names and numbers are equal; only the root's key differs.
    let genuine = intel(TDX);
    let mut look_alike = genuine.clone();
    look_alike.root_key = TestKey::p256("a look-alike");
    assert!(look_alike.verify(&IntelPolicy::strict()).is_ok());
    let refused = look_alike.verify_pck(&genuine.roots(), NOW_S);
    assert_eq!(refused, Err(EvidenceError::UntrustedRoot));
    // The same without the root in the chain.
    let chain = look_alike.pck_chain();
    let chain: Vec<&[u8]> = chain.iter().take(2).map(Vec::as_slice).collect();
    let lists = genuine.lists().expect("they are verified");
    let refused = assay_evidence::intel::verify_pck_chain(&chain, &genuine.roots(), &lists, NOW_S);
    assert_eq!(refused, Err(EvidenceError::UntrustedRoot));
    // The same for collateral and lists.
    let roots = genuine.roots();
    let list = look_alike.root_list.sign(&look_alike.root_key);
    assert_eq!(
        assay_evidence::RevocationList::verify(&list, None, &roots.intel, &[], NOW_S),
        Err(EvidenceError::BadSignature(Part::RevocationList))
    );
    // Intel's real root does not vouch for the test evidence.
    let vendors = assay_evidence::vendor_roots().expect("well formed");
    assert_eq!(
        genuine.verify_pck(&vendors, NOW_S),
        Err(EvidenceError::UntrustedRoot)
    );
}

#[test]
fn collateral_by_the_wrong_signer_is_refused() {
    // A PCK certificate's key signs a TCB info: it is below an authority, but only the root issues collateral
    // signers.
    let intel = intel(SGX);
    let json = intel.tcb_info.as_bytes();
    let signature = intel.pck_key.sign_raw(json).try_into().expect("64 bytes");
    let chain = intel.pck_chain();
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let lists = intel.lists().expect("they are verified");
    assert_eq!(
        assay_evidence::intel::verify_tcb_info(json, &signature, &chain, &intel.roots(), &lists, NOW_S),
        Err(EvidenceError::WrongChainLength)
    );
    // An authority's key signs it.
    let signature = intel.authority_key.sign_raw(json).try_into().expect("64 bytes");
    assert_eq!(
        assay_evidence::intel::verify_tcb_info(json, &signature, &chain[1..], &intel.roots(), &lists, NOW_S),
        Err(EvidenceError::IssuerAsSigner)
    );
}

#[test]
fn collateral_that_is_signed_but_makes_no_sense_is_refused() {
    let changes: [fn(&mut String); 8] = [
        |json| *json = json.replace("\"version\":3", "\"version\":2"),
        |json| *json = json.replace("\"id\":\"TDX\"", "\"id\":\"XTD\""),
        |json| *json = json.replace("90C06F000000", "90C06F0000"),
        |json| *json = json.replace("90C06F000000", "90C06F00000G"),
        |json| *json = json.replace("{\"svn\":5},", ""),
        |json| *json = json.replace("2025-12-20T00:00:00Z", "2025-12-20"),
        |json| *json = json.replace("\"UpToDate\"", "\"Excellent\""),
        |json| *json = json.replace("\"OutOfDate\"", "\"TDRelaunchAdvised\""),
    ];
    for change in changes {
        let mut intel = intel(TDX);
        let before = intel.tcb_info.clone();
        change(&mut intel.tcb_info);
        assert_ne!(intel.tcb_info, before, "the change changes something");
        assert_eq!(
            intel.verify_tcb_info(NOW_S),
            Err(EvidenceError::Malformed(Part::TcbInfo))
        );
    }
    // A TCB info for TDX without a module, and one for SGX with a module.
    let mut intel = intel(TDX);
    intel.tcb_info = intel.tcb_info.replace("\"tdxModule\"", "\"other\"");
    assert_eq!(
        intel.verify_tcb_info(NOW_S),
        Err(EvidenceError::Malformed(Part::TcbInfo))
    );
}

#[test]
fn quotes_of_other_versions_and_forms_are_refused() {
    let quote = intel(SGX).quote();
    let with = |at: usize, byte: u8| {
        let mut quote = quote.clone();
        quote[at] = byte;
        Quote::read(&quote).err()
    };
    for version in [0, 1, 2, 6, 255] {
        let expected = EvidenceError::UnsupportedVersion {
            part: Part::Quote,
            version,
        };
        assert_eq!(with(0, version), Some(expected));
    }
    // Another kind of key, another TEE, another vendor of quoting enclaves.
    assert_eq!(with(2, 3), Some(EvidenceError::UnsupportedAlgorithm(Part::Quote)));
    assert_eq!(with(4, 0x81), Some(EvidenceError::Malformed(Part::Quote)));
    assert_eq!(
        with(12, 0),
        Some(EvidenceError::UnsupportedAlgorithm(Part::Quote))
    );
    // Bytes after the quote that are not zero.
    let longer = [&quote[..], &[0, 1]].concat();
    assert_eq!(
        Quote::read(&longer).err(),
        Some(EvidenceError::Malformed(Part::Quote))
    );
    let padded = [&quote[..], &[0; 70]].concat();
    assert!(Quote::read(&padded).is_ok());
    let huge = [&quote[..], &[0; 16 * 1_024]].concat();
    assert_eq!(
        Quote::read(&huge).err(),
        Some(EvidenceError::TooLong(Part::Quote))
    );
}
