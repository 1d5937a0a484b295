//! Attacks without the device, or with a bad one.

use assay_evidence::{EvidenceError, Part, TcbStatus, TrustRoot};
use assay_primitives::{
    attestation::{Attestations, AttestedSigners},
    market::TeeKinds,
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    frame_system::BlockHash,
    sp_core::H256,
};

use super::refused;
use crate::{
    Collateral, Devices, Error, Evidence, KeySource, SignedJson, Vendor, VerifiedKeys,
    mock::*,
    test_vendors::{
        self, VENDORS_NOW_S, amd_chain, chain, gpu_chain, gpu_evidence,
        intel::{Intel, Kind, domain, enclave},
        keys::TestKey,
        quote_evidence, snp_evidence,
    },
};

/// Evidence of each kind of device, bound to this machine and the last block.
fn every_kind(machine: u64) -> Vec<Evidence> {
    let binding = binding(machine);
    let amd = test_vendors::amd(1, &binding);
    let gpu = test_vendors::gpu(1, &binding);
    let mut evidence: Vec<Evidence> = [Kind::Sgx(3), Kind::Sgx(5), Kind::Td10(4), Kind::Td15]
        .map(|kind| quote_evidence(&test_vendors::intel(kind, 1, &binding), KeySource::Carried))
        .into();
    evidence.push(snp_evidence(&amd, amd_chain(&amd)));
    evidence.push(gpu_evidence(&gpu, gpu_chain(&gpu)));
    evidence
}

#[test]
fn replay_on_another_machine_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        for evidence in every_kind(0) {
            assert_noop!(submit(1, evidence.clone()), refused(EvidenceError::WrongBinding));
            // Of the same provider, too.
            assert_noop!(submit(2, evidence), refused(EvidenceError::WrongBinding));
        }
    });
}

#[test]
fn replay_on_another_chain_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        let evidence = every_kind(0);
        BlockHash::<Test>::insert(0, H256::repeat_byte(1));
        for evidence in evidence {
            assert_noop!(submit(0, evidence), refused(EvidenceError::WrongBinding));
        }
    });
}

#[test]
fn evidence_for_another_sealing_or_worker_key_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        let evidence = every_kind(0);
        change_machine(0, |machine| machine.sealing_key = [0xaa; 32]);
        for evidence in &evidence {
            assert_noop!(submit(0, evidence.clone()), refused(EvidenceError::WrongBinding));
        }
        change_machine(0, |machine| {
            machine.sealing_key = [200; 32];
            machine.worker_key = CHARLIE;
        });
        for evidence in evidence {
            assert_noop!(submit(0, evidence), refused(EvidenceError::WrongBinding));
        }
    });
}

#[test]
fn evidence_counts_for_nothing_when_the_keys_change() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_tdx(0, 1));
        assert!(Attestation::attested_keys(0).is_some());
        change_machine(0, |machine| machine.sealing_key = [0xaa; 32]);
        assert_eq!(Attestation::tee_kinds(0), TeeKinds::NONE);
        assert!(!Attestation::earns_premium(0));
        assert_eq!(Attestation::attested_keys(0), None);
        // New evidence takes the place of the old.
        next_block();
        assert_ok!(submit_tdx(0, 1));
        assert_eq!(Attestation::attested_keys(0).unwrap().sealing_key, [0xaa; 32]);
        assert_eq!(evidence_of(0).len(), 1);
    });
}

#[test]
fn an_old_anchor_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        let evidence = every_kind(0);
        let first = anchor();
        let submit = |anchor, evidence: Evidence| {
            Attestation::submit_evidence(RuntimeOrigin::signed(ALICE), 0, anchor, evidence)
        };
        for _ in 0..ANCHOR_AGE {
            next_block();
        }
        for evidence in &evidence {
            assert_noop!(submit(first, evidence.clone()), Error::<Test>::AnchorNotRecent);
            // Said to be of a later block, it is bound to something else.
            assert_noop!(
                submit(first + 1, evidence.clone()),
                refused(EvidenceError::WrongBinding)
            );
        }
        // Neither is a block that does not exist yet.
        for anchor in [System::block_number(), System::block_number() + 1, u64::MAX] {
            assert_noop!(
                submit(anchor, evidence[0].clone()),
                Error::<Test>::AnchorNotRecent
            );
        }
    });
}

#[test]
fn the_oldest_anchor_is_accepted() {
    ExtBuilder::default().build_and_execute(|| {
        let amd = test_vendors::amd(1, &binding(0));
        let evidence = snp_evidence(&amd, amd_chain(&amd));
        let first = anchor();
        for _ in 1..ANCHOR_AGE {
            next_block();
        }
        assert_ok!(Attestation::submit_evidence(
            RuntimeOrigin::signed(ALICE),
            0,
            first,
            evidence
        ));
    });
}

#[test]
fn evidence_counts_for_nothing_after_its_end_even_before_the_hook() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_tdx(0, 1));
        MockClock::stand_still_s(LIFETIME_S - 1);
        assert!(Attestation::earns_premium(0));
        MockClock::stand_still_s(1);
        assert!(!Attestation::earns_premium(0));
        assert_eq!(Attestation::tee_kinds(0), TeeKinds::NONE);
        assert_eq!(Attestation::attested_keys(0), None);
        assert_eq!(evidence_of(0).len(), 1, "no block was made");
        next_block();
        assert!(evidence_of(0).is_empty());
    });
}

#[test]
fn evidence_with_expired_certificates_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        let key = |intel: &Intel| intel.attestation_key().unwrap();
        let intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
        let until_s = key(&intel).pck.path.valid_until_s;
        assert_ok!(submit_tdx(0, 1));
        let id = VerifiedKeys::<Test>::iter_keys().next().unwrap();
        MockClock::set_now_s(until_s + 1);
        next_block();
        let intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
        for key in [KeySource::Known(id), KeySource::Carried] {
            let error = submit(0, quote_evidence(&intel, key)).unwrap_err();
            assert!(
                [Part::TcbInfo, Part::Certificate]
                    .map(|part| refused(EvidenceError::Expired(part)).into())
                    .contains(&error),
                "{error:?}"
            );
        }
        let amd = test_vendors::amd(1, &binding(0));
        assert_noop!(
            submit(0, snp_evidence(&amd, amd_chain(&amd))),
            refused(EvidenceError::Expired(Part::Certificate))
        );
    });
}

#[test]
fn the_same_gpu_on_two_machines_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_gpu(0, 1));
        let id = only_evidence_of(0).id;
        // Neither another provider's machine has it, nor another one of the same.
        let holds = (held(&ALICE), held(&BOB));
        assert_noop!(submit_gpu(1, 1), Error::<Test>::DeviceTaken);
        assert_noop!(submit_gpu(2, 1), Error::<Test>::DeviceTaken);
        assert_eq!((held(&ALICE), held(&BOB)), holds, "it costs the fee");
        assert_eq!(Reported::get(), [], "and nobody is punished");
        // Sold, it can be attested by its new owner when the old one took it back,
        assert_ok!(withdraw(0, id));
        assert_ok!(submit_gpu(1, 1));
        // or when its evidence has ended.
        assert_noop!(submit_gpu(0, 1), Error::<Test>::DeviceTaken);
        pass_s(LIFETIME_S);
        assert_ok!(submit_gpu(0, 1));
        assert_eq!(Devices::<Test>::get(id.device), Some(0));
    });
}

#[test]
fn the_same_processor_on_two_machines_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_tdx(0, 1));
        assert_noop!(submit_tdx(1, 1), Error::<Test>::DeviceTaken);
        // As another kind of TEE it is the same processor.
        let sgx = test_vendors::intel(Kind::Sgx(3), 1, &binding(1));
        assert_noop!(
            submit(1, quote_evidence(&sgx, KeySource::Carried)),
            Error::<Test>::DeviceTaken
        );
        assert_ok!(submit_snp(2, 1));
        assert_noop!(submit_snp(3, 1), Error::<Test>::DeviceTaken);
    });
}

#[test]
fn what_can_be_debugged_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        let mut sgx = test_vendors::intel(Kind::Sgx(3), 1, &binding(0));
        sgx.body[enclave::ATTRIBUTES] |= 2;
        let mut tdx = test_vendors::intel(Kind::Td15, 1, &binding(0));
        tdx.body[domain::TD_ATTRIBUTES] |= 1;
        for intel in [sgx, tdx] {
            assert_noop!(
                submit(0, quote_evidence(&intel, KeySource::Carried)),
                refused(EvidenceError::Debuggable)
            );
        }
        let mut amd = test_vendors::amd(1, &binding(0));
        amd.report[test_vendors::amd::report::POLICY + 2] |= 1 << 3;
        assert_noop!(
            submit(0, snp_evidence(&amd, amd_chain(&amd))),
            refused(EvidenceError::Debuggable)
        );
        // A GPU in its development mode measures otherwise.
        let mut gpu = test_vendors::gpu(1, &binding(0));
        gpu.measurements[4].1[0] ^= 1;
        assert_noop!(
            submit(0, gpu_evidence(&gpu, gpu_chain(&gpu))),
            refused(EvidenceError::MeasurementMismatch { index: 5 })
        );
    });
}

/// A list of this Intel's root that revokes the platform authority, and one of the authority's that revokes
/// the platform.
fn revoking(intel: &Intel) -> [Collateral; 2] {
    let mut revoking = intel.clone();
    revoking.root_list.revoked = vec![intel.authority.serial.clone()];
    revoking.root_list.from = "20251231000000Z";
    revoking.authority_list.revoked = vec![intel.pck.serial.clone()];
    revoking.authority_list.from = "20251231000000Z";
    let [root, authority, ..] = &test_vendors::intel_collateral(&revoking)[..] else {
        panic!("two lists come first")
    };
    [root.clone(), authority.clone()]
}

#[test]
fn a_revoked_certificate_is_refused_for_renewals_too() {
    for which in 0..2 {
        ExtBuilder::default().build_and_execute(|| {
            assert_ok!(submit_tdx(0, 1));
            let key = VerifiedKeys::<Test>::iter_keys().next().unwrap();
            let intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
            let list = revoking(&intel)[which].clone();
            assert_ok!(Attestation::submit_collateral(
                RuntimeOrigin::signed(CHARLIE),
                list
            ));
            next_block();
            let intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
            for source in [KeySource::Known(key), KeySource::Carried] {
                assert_noop!(
                    submit(0, quote_evidence(&intel, source)),
                    refused(EvidenceError::Revoked)
                );
            }
        });
    }
}

#[test]
fn an_outdated_tcb_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        for (version, status) in [(3, TcbStatus::OutOfDate), (2, TcbStatus::Revoked)] {
            let mut intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
            intel.components = [version; 16];
            intel.pce = u16::from(version) + 6;
            assert_noop!(
                submit(0, quote_evidence(&intel, KeySource::Carried)),
                refused(EvidenceError::TcbStatusRefused(status))
            );
        }
        let mut policies = crate::CurrentPolicies::<Test>::get();
        policies.snp.floor.genoa.microcode = 255;
        assert_ok!(Attestation::set_policies(RuntimeOrigin::root(), policies));
        assert_noop!(submit_snp(0, 1), refused(EvidenceError::TcbBelowFloor));
    });
}

#[test]
fn a_platform_can_be_updated_under_its_old_key() {
    ExtBuilder::default().build_and_execute(|| {
        // GIVEN a platform whose certificate is of an old version, accepted at first
        let outdated = |machine| {
            let mut intel = test_vendors::intel(Kind::Td15, 1, &binding(machine));
            intel.components = [4; 16];
            intel.pce = 10;
            intel
        };
        let mut policies = crate::CurrentPolicies::<Test>::get();
        policies.intel.accepted = vec![TcbStatus::SwHardeningNeeded].try_into().unwrap();
        assert_ok!(Attestation::set_policies(RuntimeOrigin::root(), policies.clone()));
        assert_ok!(submit(0, quote_evidence(&outdated(0), KeySource::Carried)));
        let id = VerifiedKeys::<Test>::iter_keys().next().unwrap();
        // WHEN that is not accepted any more
        policies.intel.accepted = Default::default();
        assert_ok!(Attestation::set_policies(RuntimeOrigin::root(), policies));
        next_block();
        assert_noop!(
            submit(0, quote_evidence(&outdated(0), KeySource::Known(id))),
            refused(EvidenceError::TcbStatusRefused(TcbStatus::SwHardeningNeeded))
        );
        // THEN its new certificate takes the place of the old, for the same key.
        assert_ok!(submit_tdx(0, 1));
        assert_eq!(VerifiedKeys::<Test>::iter_keys().collect::<Vec<_>>(), [id]);
        next_block();
        let updated = test_vendors::intel(Kind::Td15, 1, &binding(0));
        assert_ok!(submit(0, quote_evidence(&updated, KeySource::Known(id))));
    });
}

#[test]
fn collateral_cannot_be_rolled_back() {
    ExtBuilder::default().build_and_execute(|| {
        let bring = |json: &str| {
            let intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
            let signed: SignedJson = test_vendors::signed_json(&intel, json);
            Attestation::submit_collateral(RuntimeOrigin::signed(CHARLIE), Collateral::TcbInfo(signed))
        };
        let json = test_vendors::intel(Kind::Td15, 1, &binding(0)).tcb_info;
        // The same again, one that was issued before, and one of an earlier evaluation.
        assert_noop!(bring(&json), Error::<Test>::CollateralNotNewer);
        let earlier = json.replace("2025-12-20T", "2025-12-19T");
        assert_noop!(bring(&earlier), Error::<Test>::CollateralNotNewer);
        let later = json.replace("2025-12-20T", "2025-12-21T");
        let evaluated_before = later.replace("Number\":18", "Number\":17");
        assert_noop!(bring(&evaluated_before), Error::<Test>::CollateralNotNewer);
        // One that is newer is taken, and then the one before is not.
        assert_ok!(bring(&later));
        assert_noop!(bring(&json), Error::<Test>::CollateralNotNewer);
    });
}

#[test]
fn a_revocation_list_cannot_be_rolled_back() {
    ExtBuilder::default().build_and_execute(|| {
        let intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
        let before = test_vendors::intel_collateral(&intel)[1].clone();
        let [_, now] = revoking(&intel);
        let bring =
            |list: &Collateral| Attestation::submit_collateral(RuntimeOrigin::signed(CHARLIE), list.clone());
        assert_ok!(bring(&now));
        assert_noop!(bring(&before), Error::<Test>::CollateralNotNewer);
    });
}

#[test]
fn a_chain_that_ends_in_a_look_alike_root_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        // Everything is as the vendors write it, but for the root's key.
        let mut intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
        intel.root_key = TestKey::p256("another root");
        assert_noop!(
            submit(0, quote_evidence(&intel, KeySource::Carried)),
            refused(EvidenceError::UntrustedRoot)
        );
        let mut amd = test_vendors::amd(1, &binding(0));
        amd.root_key = TestKey::rsa(2);
        assert_noop!(
            submit(0, snp_evidence(&amd, amd_chain(&amd))),
            refused(EvidenceError::UntrustedRoot)
        );
        let mut gpu = test_vendors::gpu(1, &binding(0));
        gpu.keys[0] = TestKey::p384("another root");
        assert_noop!(
            submit(0, gpu_evidence(&gpu, gpu_chain(&gpu))),
            refused(EvidenceError::UntrustedRoot)
        );
        // Neither does such a root sign collateral.
        for piece in test_vendors::intel_collateral(&intel) {
            let result = Attestation::submit_collateral(RuntimeOrigin::signed(CHARLIE), piece);
            assert!(
                [
                    EvidenceError::UntrustedRoot,
                    EvidenceError::BadSignature(Part::RevocationList)
                ]
                .map(|error| Err(refused(error).into()))
                .contains(&result),
                "{result:?}"
            );
        }
    });
}

#[test]
fn a_chain_of_another_vendor_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        let amd = test_vendors::amd(1, &binding(0));
        let gpu = test_vendors::gpu(1, &binding(0));
        for (evidence, of_other) in [
            (snp_evidence(&amd, gpu_chain(&gpu)), EvidenceError::UntrustedRoot),
            (
                gpu_evidence(&gpu, amd_chain(&amd)),
                EvidenceError::WrongChainLength,
            ),
        ] {
            assert!(
                [
                    of_other,
                    EvidenceError::WrongChainLength,
                    EvidenceError::UntrustedRoot
                ]
                .map(|error| Err(refused(error).into()))
                .contains(&submit(0, evidence))
            );
        }
        // A kept key is not looked at as another vendor's either.
        assert_ok!(submit_snp(0, 1));
        let key = VerifiedKeys::<Test>::iter_keys().next().unwrap();
        assert_noop!(
            submit(0, gpu_evidence(&gpu, KeySource::Known(key))),
            Error::<Test>::KeyOfOtherVendor
        );
        let intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
        assert_noop!(
            submit(0, quote_evidence(&intel, KeySource::Known(key))),
            Error::<Test>::KeyOfOtherVendor
        );
    });
}

#[test]
fn a_kept_key_signs_for_nobody_else() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_tdx(0, 1));
        let key = VerifiedKeys::<Test>::iter_keys().next().unwrap();
        // Signed by another platform's key, under the name of the kept one.
        let other = test_vendors::intel(Kind::Td15, 2, &binding(1));
        assert_noop!(
            submit(1, quote_evidence(&other, KeySource::Known(key))),
            refused(EvidenceError::OtherAttestationKey)
        );
    });
}

#[test]
fn kept_keys_hold_no_longer_than_their_root() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_snp(0, 1));
        let key = VerifiedKeys::<Test>::iter_keys().next().unwrap();
        let amd = test_vendors::amd(1, &binding(0));
        let root = TrustRoot::new(&amd.root.sign(&amd.root_key, &amd.root_key)).unwrap();
        let fingerprint = H256::from(root.fingerprint());
        assert_ok!(Attestation::remove_root(
            RuntimeOrigin::root(),
            Vendor::AmdGenoa,
            fingerprint
        ));
        next_block();
        let amd = test_vendors::amd(1, &binding(0));
        for source in [KeySource::Known(key), amd_chain(&amd)] {
            assert_noop!(
                submit(0, snp_evidence(&amd, source)),
                refused(EvidenceError::UntrustedRoot)
            );
        }
    });
}

#[test]
fn altered_evidence_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        // A byte of each half of what was signed, of the signatures, and one too few.
        for evidence in every_kind(0) {
            let length = bytes_of(&evidence).len();
            for at in (0..length).step_by(length / 40) {
                let mut altered = evidence.clone();
                bytes_of_mut(&mut altered)[at] ^= 0x10;
                let result = submit(0, altered);
                assert!(result.is_err(), "byte {at} of {length} is not looked at");
            }
            let mut shorter = evidence.clone();
            match &mut shorter {
                Evidence::Quote { quote, .. } => quote.truncate(length - 1),
                Evidence::SnpReport { report, .. } => report.truncate(length - 1),
                Evidence::GpuReport { report, .. } => report.truncate(length - 1),
            }
            assert!(submit(0, shorter).is_err());
        }
        assert!(evidence_of(0).is_empty());
        assert_eq!(Reported::get(), [], "what fails punishes nobody");
    });
}

fn bytes_of(evidence: &Evidence) -> &[u8] {
    match evidence {
        Evidence::Quote { quote, .. } => quote,
        Evidence::SnpReport { report, .. } => report,
        Evidence::GpuReport { report, .. } => report,
    }
}

fn bytes_of_mut(evidence: &mut Evidence) -> &mut [u8] {
    match evidence {
        Evidence::Quote { quote, .. } => quote.as_mut(),
        Evidence::SnpReport { report, .. } => report.as_mut(),
        Evidence::GpuReport { report, .. } => report.as_mut(),
    }
}

#[test]
fn chains_in_another_order_are_refused() {
    ExtBuilder::default().build_and_execute(|| {
        let amd = test_vendors::amd(1, &binding(0));
        let mut certificates = amd.chain();
        certificates.reverse();
        assert!(submit(0, snp_evidence(&amd, KeySource::Chain(chain(certificates)))).is_err());
        assert!(submit(0, snp_evidence(&amd, KeySource::Chain(chain(Vec::new())))).is_err());
        assert_eq!(now_s(), VENDORS_NOW_S);
    });
}
