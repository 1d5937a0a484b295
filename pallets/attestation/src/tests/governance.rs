//! Calls of governance.

use assay_evidence::{EvidenceError, Part, TrustRoot, TrustRoots};
use assay_primitives::offence::Offence;
use polkadot_sdk::{
    frame_support::{BoundedVec, assert_noop, assert_ok},
    sp_core::H256,
    sp_runtime::DispatchError,
};

use super::refused;
use crate::{
    AllowedWorkloads, BannedDevices, Call, CollateralId, Error, Event, Policies, QeIdentities, References,
    RevocationLists, Roots, TcbInfos, Vendor, mock::*, test_vendors,
};
use polkadot_sdk::sp_runtime::traits::Dispatchable;

fn root() -> RuntimeOrigin {
    RuntimeOrigin::root()
}

#[test]
fn nobody_else_may_decide() {
    ExtBuilder::default().build_and_execute(|| {
        let hash = H256::zero();
        let (vendor, certificate) = test_vendors::test_roots()[0].clone();
        let calls: Vec<Call<Test>> = vec![
            Call::allow_workload {
                digest: hash,
                name: Default::default(),
            },
            Call::disallow_workload { digest: hash },
            Call::set_reference {
                reference: test_vendors::test_references()[0].clone(),
            },
            Call::remove_reference { reference: hash },
            Call::add_root {
                vendor,
                certificate: BoundedVec::truncate_from(certificate),
            },
            Call::remove_root {
                vendor,
                fingerprint: hash,
            },
            Call::set_policies {
                policies: Policies::default(),
            },
            Call::remove_collateral {
                collateral: CollateralId::RevocationList(hash.0),
            },
            Call::ban_device { device: hash },
            Call::unban_device { device: hash },
            Call::condemn {
                machine: 0,
                device: hash,
            },
        ];
        for call in calls {
            assert_noop!(
                RuntimeCall::from(call).dispatch(RuntimeOrigin::signed(ALICE)),
                DispatchError::BadOrigin
            );
        }
    });
}

#[test]
fn roots_can_be_added_and_removed() {
    ExtBuilder::released().build_and_execute(|| {
        let before = Roots::<Test>::get();
        for (vendor, certificate) in test_vendors::test_roots() {
            let der = BoundedVec::truncate_from(certificate.clone());
            let fingerprint = H256::from(TrustRoot::new(&certificate).unwrap().fingerprint());
            take_events();
            assert_ok!(Attestation::add_root(root(), vendor, der.clone()));
            assert_noop!(
                Attestation::add_root(root(), vendor, der),
                Error::<Test>::RootKnown
            );
            // Of this vendor, and of no other.
            assert_noop!(
                Attestation::remove_root(root(), Vendor::AmdTurin, fingerprint),
                Error::<Test>::NoSuchRoot
            );
            assert_ok!(Attestation::remove_root(root(), vendor, fingerprint));
            assert_eq!(
                take_events(),
                [
                    Event::RootAdded { vendor, fingerprint },
                    Event::RootRemoved { vendor, fingerprint }
                ]
            );
        }
        assert_eq!(Roots::<Test>::get(), before);
    });
}

#[test]
fn add_root_fails_when_it_is_none_or_they_are_too_many() {
    ExtBuilder::default().build_and_execute(|| {
        let add = |der: Vec<u8>| Attestation::add_root(root(), Vendor::Intel, BoundedVec::truncate_from(der));
        assert_noop!(
            add(vec![1, 2, 3]),
            refused(EvidenceError::Malformed(Part::Certificate))
        );
        // A platform's certificate, and an authority's, which another has signed.
        let intel = test_vendors::intel(test_vendors::intel::Kind::Td15, 1, &binding(0));
        let [pck, authority, _] = intel.pck_chain().try_into().unwrap();
        assert_noop!(add(pck), refused(EvidenceError::NotAnIssuer));
        assert_noop!(add(authority), refused(EvidenceError::UntrustedRoot));
        let mut last = Ok(());
        for number in 0..8 {
            let mut intel = intel.clone();
            intel.root_key = test_vendors::keys::TestKey::p256(&format!("root {number}"));
            last = add(intel.root.sign(&intel.root_key, &intel.root_key));
        }
        assert_eq!(last, Err(Error::<Test>::TooManyRoots.into()));
    });
}

#[test]
fn workloads_and_references_can_be_allowed_and_not() {
    ExtBuilder::default().build_and_execute(|| {
        let digest = H256::repeat_byte(7);
        take_events();
        assert_noop!(
            Attestation::disallow_workload(root(), digest),
            Error::<Test>::NoSuchWorkload
        );
        assert_ok!(Attestation::allow_workload(
            root(),
            digest,
            b"assay-worker 1.0".to_vec().try_into().unwrap()
        ));
        assert_eq!(
            AllowedWorkloads::<Test>::get(digest).unwrap().as_slice(),
            b"assay-worker 1.0"
        );
        assert_ok!(Attestation::disallow_workload(root(), digest));
        assert!(!AllowedWorkloads::<Test>::contains_key(digest));

        let reference = test_vendors::test_references().remove(0);
        let key = H256::from(reference.key());
        assert_ok!(Attestation::remove_reference(root(), key));
        assert_noop!(
            Attestation::remove_reference(root(), key),
            Error::<Test>::NoSuchReference
        );
        assert_noop!(submit_gpu(0, 1), refused(EvidenceError::NoReference));
        let mut empty = reference.clone();
        empty.measurements = Default::default();
        assert_noop!(
            Attestation::set_reference(root(), empty),
            Error::<Test>::EmptyReference
        );
        assert_ok!(Attestation::set_reference(root(), reference.clone()));
        assert_eq!(References::<Test>::get(key), Some(reference));
        assert_eq!(
            take_events(),
            [
                Event::WorkloadAllowed { digest },
                Event::WorkloadDisallowed { digest },
                Event::ReferenceRemoved { reference: key },
                Event::ReferenceSet { reference: key },
            ]
        );
        assert_ok!(submit_gpu(0, 1));
    });
}

#[test]
fn remove_collateral_works_for_every_kind_and_gives_deposits_back() {
    ExtBuilder::default().without_collateral().build_and_execute(|| {
        for piece in test_vendors::test_collateral() {
            assert_ok!(Attestation::submit_collateral(
                RuntimeOrigin::signed(CHARLIE),
                piece
            ));
        }
        let ids: Vec<CollateralId> = TcbInfos::<Test>::iter_keys()
            .map(CollateralId::TcbInfo)
            .chain(QeIdentities::<Test>::iter_keys().map(CollateralId::QeIdentity))
            .chain(RevocationLists::<Test>::iter_keys().map(|issuer| CollateralId::RevocationList(issuer.0)))
            .collect();
        assert_eq!(ids.len(), 9);
        for collateral in ids {
            assert_ok!(Attestation::remove_collateral(root(), collateral));
            assert_noop!(
                Attestation::remove_collateral(root(), collateral),
                Error::<Test>::NoSuchCollateral
            );
        }
        assert_eq!(held(&CHARLIE), 0);
    });
}

#[test]
fn a_banned_device_has_no_evidence() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_gpu(0, 1));
        assert_ok!(submit_gpu(0, 2));
        let [first, second] = evidence_of(0)[..] else {
            panic!("two pieces of evidence")
        };
        let device = first.id.device;
        take_events();
        assert_ok!(Attestation::ban_device(root(), device));
        assert_eq!(
            take_events(),
            [
                Event::EvidenceDropped {
                    machine: 0,
                    id: first.id
                },
                Event::DeviceBanned { device }
            ]
        );
        assert_eq!(evidence_of(0), [second]);
        assert_noop!(submit_gpu(0, 1), Error::<Test>::DeviceBanned);
        assert_noop!(
            Attestation::ban_device(root(), device),
            Error::<Test>::DeviceBanned
        );
        assert_ok!(Attestation::unban_device(root(), device));
        assert_noop!(
            Attestation::unban_device(root(), device),
            Error::<Test>::DeviceNotBanned
        );
        assert_ok!(submit_gpu(0, 1));
        assert_eq!(BannedDevices::<Test>::iter().count(), 0);
    });
}

#[test]
fn condemn_reports_the_offence_and_drops_what_the_device_gave() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_tdx(0, 1));
        assert_ok!(submit_gpu(0, 1));
        let [tdx, gpu] = evidence_of(0)[..] else {
            panic!("two pieces of evidence")
        };
        take_events();
        assert_ok!(Attestation::condemn(root(), 0, gpu.id.device));
        assert_eq!(evidence_of(0), [tdx]);
        assert_eq!(Reported::get(), [(0, Offence::ForgedEvidence)]);
        assert!(matches!(
            take_events()[..],
            [
                Event::EvidenceDropped { machine: 0, .. },
                Event::MachineCondemned { machine: 0, .. }
            ]
        ));
    });
}

#[test]
fn condemn_leaves_the_one_alone_whose_device_it_is() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_gpu(0, 1));
        let record = only_evidence_of(0);
        // Machine 1 relayed from it, and has nothing on chain any more.
        assert_ok!(Attestation::condemn(root(), 1, record.id.device));
        assert_eq!(only_evidence_of(0), record);
        assert_eq!(Reported::get(), [(1, Offence::ForgedEvidence)]);
        assert_noop!(
            Attestation::condemn(root(), 99, record.id.device),
            DispatchError::Other("no such machine")
        );
    });
}

#[test]
fn roots_of_no_vendor_are_left() {
    ExtBuilder::released().build_and_execute(|| {
        let roots = Roots::<Test>::get();
        let fingerprints = |roots: &TrustRoots| -> Vec<(Vendor, H256)> {
            let intel = roots.intel.iter().map(|root| (Vendor::Intel, root));
            let nvidia = roots.nvidia.iter().map(|root| (Vendor::Nvidia, root));
            let amd = [Vendor::AmdMilan, Vendor::AmdGenoa, Vendor::AmdTurin]
                .into_iter()
                .zip(roots.amd.iter().map(|amd| &amd.root));
            intel
                .chain(nvidia)
                .chain(amd)
                .map(|(vendor, root)| (vendor, root.fingerprint().into()))
                .collect()
        };
        for (vendor, fingerprint) in fingerprints(&roots) {
            assert_ok!(Attestation::remove_root(root(), vendor, fingerprint));
        }
        assert_eq!(Roots::<Test>::get(), TrustRoots::default());
    });
}
