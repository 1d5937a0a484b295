//! Kept keys and `remove_key`.

use polkadot_sdk::frame_support::{assert_noop, assert_ok, weights::constants::WEIGHT_REF_TIME_PER_MILLIS};

use crate::{
    Error, Event, KeySource, VerifiedKeys, WeightInfo,
    mock::*,
    test_vendors::{self, amd_chain, gpu_chain, gpu_evidence, intel::Kind, quote_evidence, snp_evidence},
};

#[test]
fn every_kind_can_be_renewed_with_its_kept_key() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_tdx(0, 1));
        assert_ok!(submit_snp(1, 1));
        assert_ok!(submit_gpu(2, 1));
        next_block();
        for (key, record) in VerifiedKeys::<Test>::iter().collect::<Vec<_>>() {
            let source = KeySource::Known(key);
            let (machine, evidence) = match record.key {
                crate::VerifiedKey::Intel(_) => {
                    let intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
                    (0, quote_evidence(&intel, source))
                }
                crate::VerifiedKey::Amd(_) => (1, snp_evidence(&test_vendors::amd(1, &binding(1)), source)),
                crate::VerifiedKey::Nvidia(_) => {
                    (2, gpu_evidence(&test_vendors::gpu(1, &binding(2)), source))
                }
            };
            assert_ok!(submit(machine, evidence));
            assert_eq!(only_evidence_of(machine).anchor, anchor());
        }
    });
}

#[test]
fn evidence_stays_within_its_limits_and_renewals_within_a_third_of_them() {
    type W = ();
    for (first, renewal, limit_ms) in [
        (W::submit_quote(), W::renew_quote(), 20),
        (W::submit_snp_report(), W::renew_snp_report(), 20),
        (W::submit_gpu_report(), W::renew_gpu_report(), 30),
    ] {
        let limit = limit_ms * WEIGHT_REF_TIME_PER_MILLIS;
        assert!(first.ref_time() < limit, "{first:?}");
        assert!(renewal.ref_time() * 3 < limit, "{renewal:?}");
        // Three fifths of the first at most: of SEV-SNP both have the slow signature, that over P-384.
        assert!(
            renewal.ref_time() * 5 < first.ref_time() * 3,
            "{renewal:?} and {first:?}"
        );
    }
}

#[test]
fn the_weight_is_that_of_what_has_to_be_verified() {
    ExtBuilder::default().build_and_execute(|| {
        type W = ();
        let known = KeySource::Known(Default::default());
        let binding = binding(0);
        let intel = test_vendors::intel(Kind::Td15, 1, &binding);
        let amd = test_vendors::amd(1, &binding);
        let gpu = test_vendors::gpu(1, &binding);
        for (evidence, weight) in [
            (quote_evidence(&intel, known.clone()), W::renew_quote()),
            (quote_evidence(&intel, KeySource::Carried), W::submit_quote()),
            (snp_evidence(&amd, known.clone()), W::renew_snp_report()),
            (snp_evidence(&amd, amd_chain(&amd)), W::submit_snp_report()),
            (gpu_evidence(&gpu, known), W::renew_gpu_report()),
            (gpu_evidence(&gpu, gpu_chain(&gpu)), W::submit_gpu_report()),
        ] {
            assert_eq!(evidence.weight::<W>(), weight);
        }
    });
}

#[test]
fn a_key_that_is_known_is_not_paid_for_again() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_snp(0, 1));
        let deposits = held(&ALICE);
        next_block();
        take_events();
        assert_ok!(submit_snp(0, 1));
        assert_eq!(held(&ALICE), deposits);
        assert!(matches!(take_events()[..], [Event::EvidenceAccepted { .. }]));
    });
}

#[test]
fn remove_key_works_for_its_owner() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_snp(0, 1));
        let (key, record) = VerifiedKeys::<Test>::iter().next().unwrap();
        let before = held(&ALICE);
        take_events();
        assert_ok!(Attestation::remove_key(RuntimeOrigin::signed(ALICE), key));
        assert_eq!(take_events(), [Event::KeyRemoved { key }]);
        assert_eq!(before - held(&ALICE), record.deposit);
        // What it signed counts on, and a renewal brings the chain again.
        assert_eq!(evidence_of(0).len(), 1);
        next_block();
        let amd = test_vendors::amd(1, &binding(0));
        assert_noop!(
            submit(0, snp_evidence(&amd, KeySource::Known(key))),
            Error::<Test>::NoSuchKey
        );
        assert_ok!(submit_snp(0, 1));
    });
}

#[test]
fn remove_key_fails_for_others_until_its_certificates_end() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_snp(0, 1));
        let (key, record) = VerifiedKeys::<Test>::iter().next().unwrap();
        let remove = || Attestation::remove_key(RuntimeOrigin::signed(CHARLIE), key);
        MockClock::set_now_s(record.key.valid_until_s());
        assert_noop!(remove(), Error::<Test>::KeyInUse);
        MockClock::stand_still_s(1);
        assert_ok!(remove());
        assert_noop!(remove(), Error::<Test>::NoSuchKey);
        // What it had signed is still in the agenda; the hook comes to it.
        MockClock::set_now_s(test_vendors::VENDORS_NOW_S + LIFETIME_S);
        next_block();
        assert_eq!(held(&ALICE), 0);
    });
}
