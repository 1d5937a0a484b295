//! Comparison with independent implementations of the same formats.

use assay_evidence::{
    Workload,
    snp::{Product, verify_report},
};
use dcap_qvl::{QuoteCollateralV3, QuotePolicy, TcbStatus as TheirStatus, verify::QuoteVerifier};
use proptest::prelude::*;
use sev::{firmware::guest::AttestationReport, parser::ByteParser};

use super::{
    intel::binding,
    support::{
        amd::{Amd, policy},
        der::NOW_S,
        intel::{Intel, KINDS, Kind, domain, enclave, pem},
        real::{QUOTES, lenient},
        samples::text_sample,
    },
};

/// Returns the other verifier's result: the verdict's name, the level's date and the end of validity.
fn their_verdict(
    root: &[u8],
    quote: &[u8],
    collateral: QuoteCollateralV3,
    now_s: u64,
) -> Result<(String, u64, u64), String> {
    let claims = QuoteVerifier::new(root.to_vec())
        .verify_with_policy(quote, collateral, now_s, &QuotePolicy::claims_only(now_s))
        .map_err(|error| format!("{error:#}"))?;
    let status: TheirStatus = claims.tcb.status;
    Ok((
        status.to_string(),
        claims.platform.tcb_date_tag,
        claims.earliest_expiration_date,
    ))
}

#[test]
fn dcap_qvl_says_the_same_of_real_quotes() {
    for quote in QUOTES {
        let prepared = quote.prepared();
        let collateral = serde_json::from_str(&text_sample(&format!("{}_collateral.json", quote.name)));
        let root = assay_evidence::vendor_roots::INTEL_SGX_ROOT;
        let theirs = their_verdict(root, &prepared.raw.quote, collateral.expect("JSON"), quote.now_s);
        let ours = prepared.verify(&lenient());
        let ours = ours.map(|verified| {
            let attestation = verified.unchecked();
            (
                attestation.tcb.status.name().to_owned(),
                attestation.tcb.date_s.expect("Intel dates its levels"),
                attestation.expires_s,
            )
        });
        // Both refuse one of the four quotes as too old.
        assert_eq!(ours.is_err(), quote.name == "tdx_quote_outdated");
        assert_eq!(ours.ok(), theirs.ok(), "{quote:?}");
    }
}

/// Returns the test's collateral in the other verifier's types.
fn their_collateral(intel: &Intel) -> QuoteCollateralV3 {
    let authority = intel.authority.sign(&intel.authority_key, &intel.root_key);
    let root = intel.root.sign(&intel.root_key, &intel.root_key);
    let signer = intel.signer.sign(&intel.signer_key, &intel.root_key);
    QuoteCollateralV3 {
        pck_crl_issuer_chain: pem(&[authority, root.clone()]),
        root_ca_crl: intel.root_list.sign(&intel.root_key),
        pck_crl: intel.authority_list.sign(&intel.authority_key),
        tcb_info_issuer_chain: pem(&[signer.clone(), root.clone()]),
        tcb_info_signature: intel.signer_key.sign_raw(intel.tcb_info.as_bytes()),
        tcb_info: intel.tcb_info.clone(),
        qe_identity_issuer_chain: pem(&[signer, root]),
        qe_identity_signature: intel.signer_key.sign_raw(intel.qe_identity.as_bytes()),
        qe_identity: intel.qe_identity.clone(),
        pck_certificate_chain: None,
    }
}

/// Returns both verdicts on the test's evidence by name; `None` for a refusal.
fn both_verdicts(intel: &Intel) -> (Option<String>, Option<String>) {
    let ours = intel
        .verify(&lenient())
        .ok()
        .map(|verified| verified.unchecked().tcb.status.name().to_owned());
    let root = intel.root.sign(&intel.root_key, &intel.root_key);
    let theirs = their_verdict(&root, &intel.quote(), their_collateral(intel), NOW_S);
    (ours, theirs.ok().map(|(status, _, _)| status))
}

/// Kinds that both support: SGX only in version 3.
fn common_kinds() -> impl Strategy<Value = Kind> {
    let kinds: Vec<Kind> = KINDS
        .into_iter()
        .filter(|kind| !matches!(kind, Kind::Sgx(4 | 5)))
        .collect();
    prop::sample::select(kinds)
}

#[test]
fn dcap_qvl_accepts_the_tests_own_vendor() {
    for kind in KINDS.into_iter().filter(|kind| !matches!(kind, Kind::Sgx(4 | 5))) {
        let intel = Intel::new(kind, binding().report_data());
        let root = intel.root.sign(&intel.root_key, &intel.root_key);
        let theirs = their_verdict(&root, &intel.quote(), their_collateral(&intel), NOW_S);
        let (status, _, _) = theirs.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(status, "UpToDate");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn dcap_qvl_says_the_same_of_random_platforms(
        kind in common_kinds(),
        component in (0..16_usize, 1..7_u8),
        all in prop_oneof![Just(5_u8), 1..7_u8],
        pce in prop_oneof![Just(11_u16), 7..13_u16],
        module in (prop_oneof![Just(6_u8), 2..8_u8], 0..3_u8),
        module_now in (prop_oneof![Just(6_u8), 2..8_u8], 0..3_u8),
        qe_version in prop_oneof![Just(8_u8), 4..10_u8],
        flip in prop::option::of((0..4_usize, 0..64_usize)),
    ) {
        let mut intel = Intel::new(kind, binding().report_data());
        intel.components = [all; 16];
        intel.components[component.0] = component.1;
        intel.pce = pce;
        intel.qe_report[enclave::SECURITY_VERSION] = qe_version;
        let sgx = matches!(kind, Kind::Sgx(_));
        if !sgx {
            intel.body[domain::TEE_TCB_SVN..][..2].copy_from_slice(&[module.0, module.1]);
        }
        if matches!(kind, Kind::Td15 | Kind::Td15Ex) {
            intel.body[domain::TEE_TCB_SVN_NOW..][..2].copy_from_slice(&[module_now.0, module_now.1]);
        }
        if let Some((what, bit)) = flip {
            let (byte, bit) = (bit / 8, 1 << (bit % 8));
            match what {
                0 => intel.qe_report[enclave::ATTRIBUTES + byte] ^= bit,
                1 if !sgx => intel.body[domain::TD_ATTRIBUTES + byte] ^= bit,
                2 if !sgx => intel.body[domain::SEAM_ATTRIBUTES + byte] ^= bit,
                3 if !sgx => intel.body[domain::MR_SIGNER_SEAM + byte] ^= bit,
                _ => {}
            }
        }
        let (ours, theirs) = both_verdicts(&intel);
        prop_assert_eq!(ours, theirs);
    }
}

#[test]
fn sev_reads_the_same_from_reports() {
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        for version in [3, 5] {
            let amd = Amd::new(product, version, binding().report_data());
            let report = amd.signed_report();
            let theirs = AttestationReport::from_bytes(&report).expect("they read it");
            let roots = amd.roots();
            let key = amd.chip_key(&roots).expect("it is verified");
            let lists = amd.lists().expect("they are verified");
            let verified = verify_report(&report, &key, &lists, &roots, &policy(), NOW_S);
            let verified = verified.expect("it is verified");
            let ours = verified.unchecked();
            assert_eq!(theirs.report_data[..], ours.report_data[..]);
            let Workload::SevSnp { measurement, .. } = &ours.workload else {
                panic!("{ours:?}");
            };
            assert_eq!(theirs.measurement[..], measurement[..]);
            let tcb = &theirs.reported_tcb;
            assert_eq!(
                (
                    tcb.fmc.unwrap_or(0),
                    tcb.bootloader,
                    tcb.tee,
                    tcb.snp,
                    tcb.microcode
                ),
                (
                    key.tcb.fmc,
                    key.tcb.boot_loader,
                    key.tcb.tee,
                    key.tcb.snp,
                    key.tcb.microcode
                )
            );
        }
    }
}
