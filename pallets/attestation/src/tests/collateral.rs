//! `submit_collateral`.

use assay_evidence::{EvidenceError, Part};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

use super::refused;
use crate::{
    Collateral, CollateralId, Error, Event, QeIdentities, RevocationLists, TcbInfos,
    mock::*,
    test_vendors::{self, VENDORS_NOW_S, intel::Kind, signed_json},
};

fn bring(who: &AccountId, collateral: Collateral) -> polkadot_sdk::sp_runtime::DispatchResult {
    Attestation::submit_collateral(RuntimeOrigin::signed(who.clone()), collateral)
}

#[test]
fn submit_collateral_works_for_all_vendors() {
    ExtBuilder::default().without_collateral().build_and_execute(|| {
        for piece in test_vendors::test_collateral() {
            assert_ok!(bring(&CHARLIE, piece));
        }
        assert_eq!(TcbInfos::<Test>::iter().count(), 2);
        assert_eq!(QeIdentities::<Test>::iter().count(), 2);
        // Two of Intel's, one of AMD's, two of NVIDIA's.
        assert_eq!(RevocationLists::<Test>::iter().count(), 5);
        let kinds = take_events()
            .into_iter()
            .map(|event| match event {
                Event::CollateralRenewed { collateral } => collateral,
                other => panic!("{other:?}"),
            })
            .filter(|id| matches!(id, CollateralId::RevocationList(_)))
            .count();
        assert_eq!(kinds, 5);
        assert!(held(&CHARLIE) > 0);
    });
}

#[test]
fn submit_collateral_gives_the_deposit_of_what_it_supersedes_back() {
    ExtBuilder::default().build_and_execute(|| {
        let intel = test_vendors::intel(Kind::Sgx(3), 1, &binding(0));
        let issued = |day: u32| {
            let json = intel.tcb_info.replace("2025-12-20T", &format!("2025-12-{day}T"));
            Collateral::TcbInfo(signed_json(&intel, &json))
        };
        assert_ok!(bring(&ALICE, issued(21)));
        let deposit = held(&ALICE);
        assert!(deposit > 0);
        assert_ok!(bring(&BOB, issued(22)));
        assert_eq!((held(&ALICE), held(&BOB)), (0, deposit));
        // One's own, too.
        assert_ok!(bring(&BOB, issued(23)));
        assert_eq!(held(&BOB), deposit);
    });
}

#[test]
fn submit_collateral_fails_when_it_is_not_signed_or_not_current() {
    ExtBuilder::default().build_and_execute(|| {
        let intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
        let later = intel.tcb_info.replace("2025-12-20T", "2025-12-22T");
        let mut signed = signed_json(&intel, &later);
        signed.signature[5] ^= 1;
        assert_noop!(
            bring(&CHARLIE, Collateral::TcbInfo(signed)),
            refused(EvidenceError::BadSignature(Part::TcbInfo))
        );
        let mut signed = signed_json(&intel, &later);
        signed.json[100] ^= 1;
        assert_noop!(
            bring(&CHARLIE, Collateral::TcbInfo(signed)),
            refused(EvidenceError::BadSignature(Part::TcbInfo))
        );
        // One is not the other, whoever signed it.
        assert_noop!(
            bring(&CHARLIE, Collateral::QeIdentity(signed_json(&intel, &later))),
            refused(EvidenceError::Malformed(Part::QeIdentity))
        );
        let to_come = intel.qe_identity.replace("2025-12-21T", "2026-01-02T");
        assert_noop!(
            bring(&CHARLIE, Collateral::QeIdentity(signed_json(&intel, &to_come))),
            refused(EvidenceError::NotYetValid(Part::QeIdentity))
        );
        MockClock::set_now_s(VENDORS_NOW_S + 30 * 86_400);
        next_block();
        assert_noop!(
            bring(&CHARLIE, Collateral::TcbInfo(signed_json(&intel, &later))),
            refused(EvidenceError::Expired(Part::TcbInfo))
        );
    });
}

#[test]
fn what_comes_before_stays_when_newer_collateral_is_refused() {
    ExtBuilder::default().build_and_execute(|| {
        let before: Vec<_> = TcbInfos::<Test>::iter().collect();
        let mut intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
        // Signed by a platform's authority instead of the signer of collateral.
        intel.signer.issuer = "Test SGX PCK Platform CA".into();
        let later = intel.tcb_info.replace("2025-12-20T", "2025-12-22T");
        assert!(bring(&CHARLIE, Collateral::TcbInfo(signed_json(&intel, &later))).is_err());
        assert_eq!(TcbInfos::<Test>::iter().collect::<Vec<_>>(), before);
    });
}

#[test]
fn submit_collateral_fails_when_the_deposit_is_not_there() {
    ExtBuilder::default().build_and_execute(|| {
        let intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
        let later = intel.tcb_info.replace("2025-12-20T", "2025-12-22T");
        let result = bring(
            &AccountId::new([77; 32]),
            Collateral::TcbInfo(signed_json(&intel, &later)),
        );
        assert!(matches!(
            result,
            Err(polkadot_sdk::sp_runtime::DispatchError::Token(_))
        ));
    });
}

#[test]
fn genesis_collateral_is_nobodys() {
    ExtBuilder::default().build_and_execute(|| {
        for record in RevocationLists::<Test>::iter_values() {
            assert_eq!((record.depositor, record.deposit), (None, 0));
        }
        let intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
        let later = intel.tcb_info.replace("2025-12-20T", "2025-12-22T");
        assert_ok!(bring(&CHARLIE, Collateral::TcbInfo(signed_json(&intel, &later))));
        assert!(held(&CHARLIE) > 0);
        assert_eq!(
            bring(&CHARLIE, Collateral::TcbInfo(signed_json(&intel, &later))),
            Err(Error::<Test>::CollateralNotNewer.into())
        );
    });
}
