//! `submit_evidence` and `withdraw_evidence`.

use assay_primitives::{attestation::Attestations, market::TeeKind};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_core::H256,
};

use crate::{
    Attested, Devices, Error, Event, EvidenceId, Expiries, KeySource, VerifiedKeys, deposits,
    mock::*,
    test_vendors::{
        self, VENDORS_NOW_S, amd_chain, gpu_evidence, intel::Kind, quote_evidence, snp_evidence,
        test_workloads,
    },
};

#[test]
fn submit_evidence_works_for_every_kind() {
    ExtBuilder::default().build_and_execute(|| {
        for (machine, kind) in [(0, Kind::Sgx(3)), (1, Kind::Td15)] {
            let intel = test_vendors::intel(kind, machine as u8, &binding(machine));
            assert_ok!(submit(machine, quote_evidence(&intel, KeySource::Carried)));
        }
        assert_ok!(submit_snp(2, 1));
        assert_ok!(submit_gpu(3, 1));
        let kinds = [TeeKind::Sgx, TeeKind::Tdx, TeeKind::SevSnp, TeeKind::NvidiaGpu];
        for (machine, kind) in (0..).zip(kinds) {
            let record = only_evidence_of(machine);
            assert_eq!(record.id.kind, kind);
            assert_eq!(record.anchor, anchor());
            assert_eq!(record.until_s(), VENDORS_NOW_S + LIFETIME_S);
            assert_eq!(Devices::<Test>::get(record.id.device), Some(machine));
            assert!(Attestation::tee_kinds(machine).contains(kind));
        }
    });
}

#[test]
fn submit_evidence_tells_what_it_did() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_tdx(0, 7));
        let record = only_evidence_of(0);
        let key = VerifiedKeys::<Test>::iter_keys().next().unwrap();
        let valid_until_s = VerifiedKeys::<Test>::get(key).unwrap().key.valid_until_s();
        assert_eq!(record.workload, test_workloads()[1]);
        assert_eq!(
            take_events(),
            [
                Event::KeyKept {
                    key,
                    owner: ALICE,
                    valid_until_s
                },
                Event::EvidenceAccepted {
                    machine: 0,
                    id: record.id,
                    workload: record.workload,
                    until_s: VENDORS_NOW_S + LIFETIME_S
                },
            ]
        );
        assert_eq!(Told::get(), [(0, true)]);
    });
}

#[test]
fn submit_evidence_works_for_the_worker_and_holds_from_the_provider() {
    ExtBuilder::default().build_and_execute(|| {
        let amd = test_vendors::amd(1, &binding(0));
        let origin = RuntimeOrigin::signed(worker(0));
        let evidence = snp_evidence(&amd, amd_chain(&amd));
        assert_ok!(Attestation::submit_evidence(origin, 0, anchor(), evidence));
        let key = VerifiedKeys::<Test>::iter_values().next().unwrap();
        assert_eq!(held(&ALICE), deposits::of_evidence::<Test>() + key.deposit);
        assert!(key.deposit > 0);
    });
}

#[test]
fn submit_evidence_fails_when_the_caller_has_no_say() {
    ExtBuilder::default().build_and_execute(|| {
        let amd = test_vendors::amd(1, &binding(0));
        let evidence = snp_evidence(&amd, amd_chain(&amd));
        for who in [BOB, worker(1)] {
            assert_noop!(
                Attestation::submit_evidence(RuntimeOrigin::signed(who), 0, anchor(), evidence.clone()),
                Error::<Test>::NotProvider
            );
        }
        assert_noop!(
            Attestation::submit_evidence(RuntimeOrigin::signed(ALICE), 99, anchor(), evidence.clone()),
            Error::<Test>::NoSuchMachine
        );
        change_machine(0, |machine| machine.is_in_market = false);
        assert_noop!(submit(0, evidence), Error::<Test>::MachineRetired);
    });
}

#[test]
fn submit_evidence_fails_when_the_deposit_is_not_there() {
    ExtBuilder::default().build_and_execute(|| {
        let poor = AccountId::new([77; 32]);
        change_machine(0, |machine| machine.provider = poor.clone());
        assert!(submit_snp(0, 1).is_err());
        assert!(!Attested::<Test>::contains_key(0));
    });
}

#[test]
fn submit_evidence_fails_when_the_chain_is_not_where_it_is_said_to_be() {
    ExtBuilder::default().build_and_execute(|| {
        let amd = test_vendors::amd(1, &binding(0));
        let gpu = test_vendors::gpu(1, &binding(0));
        let unknown = KeySource::Known(H256::zero());
        for (key, error) in [
            (KeySource::Carried, Error::<Test>::NoChain),
            (unknown, Error::<Test>::NoSuchKey),
        ] {
            assert_noop!(submit(0, snp_evidence(&amd, key.clone())), error);
            let error = match key {
                KeySource::Carried => Error::<Test>::NoChain,
                _ => Error::<Test>::NoSuchKey,
            };
            assert_noop!(submit(0, gpu_evidence(&gpu, key)), error);
        }
    });
}

#[test]
fn submit_evidence_fails_without_collateral() {
    ExtBuilder::default().without_collateral().build_and_execute(|| {
        // Whether a certificate was revoked is not known.
        for result in [submit_tdx(0, 1), submit_snp(0, 1), submit_gpu(0, 1)] {
            assert_eq!(
                result,
                Err(super::refused(assay_evidence::EvidenceError::RevocationUnknown).into())
            );
        }
        let intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
        let collateral = test_vendors::intel_collateral(&intel);
        let bring = |index: usize| {
            let piece = collateral[index].clone();
            assert_ok!(Attestation::submit_collateral(
                RuntimeOrigin::signed(CHARLIE),
                piece
            ));
        };
        bring(0);
        bring(1);
        assert_noop!(submit_tdx(0, 1), Error::<Test>::NoTcbInfo);
        bring(2);
        assert_noop!(submit_tdx(0, 1), Error::<Test>::NoQeIdentity);
        bring(3);
        assert_ok!(submit_tdx(0, 1));
    });
}

#[test]
fn a_renewal_takes_the_place_of_what_it_renews_without_a_gap() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_tdx(0, 1));
        let (first, deposits) = (only_evidence_of(0), held(&ALICE));
        let key = VerifiedKeys::<Test>::iter_keys().next().unwrap();
        pass_s(LIFETIME_S / 2);
        Told::set(Vec::new());

        let intel = test_vendors::intel(Kind::Td15, 1, &binding(0));
        assert_ok!(submit(0, quote_evidence(&intel, KeySource::Known(key))));

        let renewed = only_evidence_of(0);
        assert_eq!(renewed.id, first.id);
        assert_eq!(renewed.until_s(), first.until_s() + LIFETIME_S / 2);
        assert_eq!(held(&ALICE), deposits, "nothing is held a second time");
        assert_eq!(Expiries::<Test>::iter_keys().count(), 1);
        // It counts through the end of the first, and for its own time.
        pass_s(LIFETIME_S / 2);
        assert!(Attestation::earns_premium(0));
        assert_eq!(Told::get(), [(0, true)]);
        pass_s(LIFETIME_S / 2);
        assert!(!Attestation::earns_premium(0));
        assert_eq!(Told::get(), [(0, true), (0, false)]);
    });
}

#[test]
fn a_renewal_fails_when_it_is_not_newer() {
    ExtBuilder::default().build_and_execute(|| {
        let amd = test_vendors::amd(1, &binding(0));
        let evidence = snp_evidence(&amd, amd_chain(&amd));
        let first = anchor();
        next_block();
        assert_ok!(submit_snp(0, 1));
        // The one before, whose anchor is still recent, and the same again.
        assert_noop!(
            Attestation::submit_evidence(RuntimeOrigin::signed(ALICE), 0, first, evidence),
            Error::<Test>::NotNewer
        );
        assert_noop!(submit_snp(0, 1), Error::<Test>::NotNewer);
    });
}

#[test]
fn a_processor_may_have_two_kinds_of_evidence() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_tdx(0, 1));
        let sgx = test_vendors::intel(Kind::Sgx(3), 1, &binding(0));
        assert_ok!(submit(0, quote_evidence(&sgx, KeySource::Carried)));
        let [tdx, sgx] = evidence_of(0)[..] else {
            panic!("two pieces of evidence")
        };
        assert_eq!(tdx.id.device, sgx.id.device);
        // The device is the machine's as long as it has either.
        assert_ok!(withdraw(0, tdx.id));
        assert_eq!(Devices::<Test>::get(sgx.id.device), Some(0));
        assert_ok!(withdraw(0, sgx.id));
        assert_eq!(Devices::<Test>::get(sgx.id.device), None);
    });
}

#[test]
fn submit_evidence_fails_for_a_second_processor() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_tdx(0, 1));
        next_block();
        assert_noop!(submit_tdx(0, 2), Error::<Test>::OtherProcessor);
        assert_noop!(submit_snp(0, 1), Error::<Test>::OtherProcessor);
        assert_ok!(withdraw(0, only_evidence_of(0).id));
        assert_ok!(submit_snp(0, 1));
    });
}

#[test]
fn a_machine_may_have_many_gpus() {
    ExtBuilder::default().build_and_execute(|| {
        for number in 0..8 {
            assert_ok!(submit_gpu(0, number));
        }
        assert_ok!(submit_tdx(0, 1));
        assert_eq!(evidence_of(0).len(), 9);
    });
}

#[test]
fn submit_evidence_fails_when_the_workload_is_not_allowed() {
    ExtBuilder::default().build_and_execute(|| {
        let mut amd = test_vendors::amd(1, &binding(0));
        amd.report[test_vendors::amd::report::MEASUREMENT] ^= 1;
        assert_noop!(
            submit(0, snp_evidence(&amd, amd_chain(&amd))),
            Error::<Test>::WorkloadNotAllowed
        );
        for digest in test_workloads() {
            assert_ok!(Attestation::disallow_workload(RuntimeOrigin::root(), digest));
        }
        assert_noop!(submit_snp(0, 1), Error::<Test>::WorkloadNotAllowed);
        assert_noop!(submit_tdx(0, 1), Error::<Test>::WorkloadNotAllowed);
    });
}

#[test]
fn submit_evidence_fails_when_the_collateral_is_about_to_end() {
    ExtBuilder::default().build_and_execute(|| {
        // The TCB info of the tests' Intel ends at the beginning of this day.
        const TCB_INFO_ENDS_S: u64 = VENDORS_NOW_S + 19 * 86_400;
        MockClock::set_now_s(TCB_INFO_ENDS_S - LIFETIME_S / 4);
        next_block();
        assert_ok!(submit_tdx(0, 1));
        assert_eq!(only_evidence_of(0).until_s(), TCB_INFO_ENDS_S);
        MockClock::set_now_s(TCB_INFO_ENDS_S - 1);
        next_block();
        assert_ok!(submit_tdx(0, 1));
        MockClock::set_now_s(TCB_INFO_ENDS_S);
        next_block();
        assert_noop!(submit_tdx(0, 1), Error::<Test>::ExpiresTooSoon);
    });
}

#[test]
fn withdraw_evidence_works_and_gives_the_deposit_back() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_snp(0, 1));
        let id = only_evidence_of(0).id;
        let key = VerifiedKeys::<Test>::iter_values().next().unwrap();
        take_events();
        assert_ok!(Attestation::withdraw_evidence(
            RuntimeOrigin::signed(worker(0)),
            0,
            id
        ));
        assert_eq!(take_events(), [Event::EvidenceWithdrawn { machine: 0, id }]);
        assert_eq!(held(&ALICE), key.deposit);
        assert!(!Attested::<Test>::contains_key(0));
        assert!(!Devices::<Test>::contains_key(id.device));
        assert_eq!(Expiries::<Test>::iter_keys().count(), 0);
        assert_eq!(Told::get(), [(0, true), (0, false)]);
    });
}

#[test]
fn withdraw_evidence_fails_when_there_is_none_or_the_caller_has_no_say() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_snp(0, 1));
        let id = only_evidence_of(0).id;
        assert_noop!(
            Attestation::withdraw_evidence(RuntimeOrigin::signed(BOB), 0, id),
            Error::<Test>::NotProvider
        );
        assert_noop!(withdraw(1, id), Error::<Test>::NoSuchEvidence);
        let other = EvidenceId {
            kind: TeeKind::Sgx,
            ..id
        };
        assert_noop!(withdraw(0, other), Error::<Test>::NoSuchEvidence);
    });
}
