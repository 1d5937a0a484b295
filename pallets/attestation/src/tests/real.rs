//! Real evidence and collateral, as devices and vendors signed them, down to the vendors' roots.
//!
//! Nobody can make real evidence for a test's machine. It was made for something else, and the chain must
//! refuse it for that reason only, after everything else was verified.

use assay_evidence::{EvidenceError, Part, certificates_of_pem, snp::SnpFloor};
use polkadot_sdk::{
    frame_support::{BoundedVec, assert_noop, assert_ok},
    sp_runtime::DispatchError,
};

use super::refused;
use crate::{
    Collateral, CurrentPolicies, Evidence, KeySource, SignedJson, Vendor, mock::*, test_vendors::chain,
};

#[path = "../../../../evidence/tests/evidence/support/real.rs"]
#[allow(dead_code, reason = "the evidence crate's tests need more of it")]
mod quotes;
#[path = "../../../../evidence/tests/evidence/support/samples.rs"]
#[allow(dead_code, reason = "the evidence crate's tests need more of it")]
mod samples;

/// Brings what a real quote is held against, and submits it for a machine of the test's.
fn submit_real(real: quotes::RealQuote, change: impl FnOnce(&mut Vec<u8>)) -> Result<(), DispatchError> {
    MockClock::set_now_s(real.now_s);
    next_block();
    let raw = real.raw();
    let mut policies = CurrentPolicies::<Test>::get();
    policies.intel = quotes::lenient();
    assert_ok!(Attestation::set_policies(RuntimeOrigin::root(), policies));
    let list = |list: Vec<u8>, issuer: Option<Vec<u8>>| Collateral::RevocationList {
        vendor: Vendor::Intel,
        list: BoundedVec::truncate_from(list),
        issuer: issuer.map(BoundedVec::truncate_from),
    };
    for collateral in [
        list(raw.root_list, None),
        list(raw.pck_list, Some(raw.list_issuer)),
        Collateral::TcbInfo(SignedJson {
            json: BoundedVec::truncate_from(raw.tcb_info),
            signature: raw.tcb_info_signature,
            chain: chain(raw.tcb_info_chain),
        }),
        Collateral::QeIdentity(SignedJson {
            json: BoundedVec::truncate_from(raw.qe_identity),
            signature: raw.qe_identity_signature,
            chain: chain(raw.qe_identity_chain),
        }),
    ] {
        assert_ok!(Attestation::submit_collateral(
            RuntimeOrigin::signed(CHARLIE),
            collateral
        ));
    }
    let mut quote = raw.quote;
    change(&mut quote);
    submit(
        0,
        Evidence::Quote {
            quote: BoundedVec::truncate_from(quote),
            key: KeySource::Chain(chain(raw.pck_chain)),
        },
    )
}

#[test]
fn real_quotes_are_verified_and_bound_to_something_else() {
    for real in [quotes::SGX, quotes::TDX, quotes::TDX_15_EX] {
        ExtBuilder::released().build_and_execute(|| {
            assert_refused(real, |_| {}, EvidenceError::WrongBinding);
        });
        // The signature is verified before that.
        ExtBuilder::released().build_and_execute(|| {
            assert_refused(
                real,
                // A byte of what an enclave, or a trust domain, was measured as.
                |quote| {
                    quote[if real.name == "sgx_quote" {
                        48 + 64
                    } else {
                        48 + 6 + 136 + 8
                    }] ^= 1
                },
                EvidenceError::BadSignature(Part::Quote),
            );
        });
    }
}

#[test]
fn a_real_platform_that_is_outdated_is_refused_by_every_policy() {
    ExtBuilder::released().build_and_execute(|| {
        assert_refused(quotes::TDX_OUTDATED, |_| {}, EvidenceError::NoTcbLevel);
    });
}

fn assert_refused(real: quotes::RealQuote, change: impl FnOnce(&mut Vec<u8>), error: EvidenceError) {
    assert_eq!(submit_real(real, change), Err(refused(error).into()));
    assert!(evidence_of(0).is_empty());
}

#[test]
fn a_real_snp_report_is_verified_and_bound_to_something_else() {
    ExtBuilder::released().build_and_execute(|| {
        let mut policies = CurrentPolicies::<Test>::get();
        policies.snp.floor = SnpFloor::default();
        // AMD's list is in no package.
        policies.snp.require_list = false;
        assert_ok!(Attestation::set_policies(RuntimeOrigin::root(), policies));
        let mut certificates = vec![samples::sample("vcek_milan.der")];
        certificates.extend(certificates_of_pem(&samples::sample("cert_chain_milan.pem")).unwrap());
        let report = samples::hex_sample("report_milan.hex");
        let evidence = |report: Vec<u8>, key| Evidence::SnpReport {
            report: BoundedVec::truncate_from(report),
            key,
        };
        let key = KeySource::Chain(chain(certificates));
        assert_noop!(
            submit(0, evidence(report.clone(), key.clone())),
            refused(EvidenceError::WrongBinding)
        );
        let mut altered = report;
        altered[0x90] ^= 1;
        assert_noop!(
            submit(0, evidence(altered, key)),
            refused(EvidenceError::BadSignature(Part::SnpReport))
        );
        assert!(evidence_of(0).is_empty());
    });
}
