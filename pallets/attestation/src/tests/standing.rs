//! Evidence as other pallets read it.

use assay_primitives::{
    attestation::{Attestations, AttestedKeys, AttestedSigners},
    market::{TeeKind, TeeKinds},
};
use polkadot_sdk::frame_support::assert_ok;

use crate::mock::*;

#[test]
fn a_machine_without_evidence_has_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        for machine in [0, 99] {
            assert_eq!(Attestation::tee_kinds(machine), TeeKinds::NONE);
            assert!(!Attestation::earns_premium(machine));
            assert_eq!(Attestation::attested_keys(machine), None);
        }
    });
}

#[test]
fn a_machine_with_gpus_earns_the_premium_for_all_or_nothing() {
    ExtBuilder::default().build_and_execute(|| {
        change_machine(0, |machine| machine.gpus = 2);
        assert_ok!(submit_tdx(0, 1));
        assert!(!Attestation::earns_premium(0));
        assert_ok!(submit_gpu(0, 1));
        assert!(!Attestation::earns_premium(0));
        assert_ok!(submit_gpu(0, 2));
        assert!(Attestation::earns_premium(0));
        assert_eq!(
            Attestation::tee_kinds(0),
            TeeKinds::NONE.with(TeeKind::Tdx).with(TeeKind::NvidiaGpu)
        );
        // The market hears of each step.
        assert_eq!(Told::get(), [(0, false), (0, false), (0, true)]);
        assert_ok!(withdraw(0, evidence_of(0)[1].id));
        assert!(!Attestation::earns_premium(0));
    });
}

#[test]
fn gpus_alone_earn_no_premium_and_sign_no_results() {
    ExtBuilder::default().build_and_execute(|| {
        change_machine(0, |machine| machine.gpus = 1);
        assert_ok!(submit_gpu(0, 1));
        assert!(Attestation::tee_kinds(0).contains(TeeKind::NvidiaGpu));
        // A GPU signs whatever its host asks it to, so it vouches for no key.
        assert!(!Attestation::earns_premium(0));
        assert_eq!(Attestation::attested_keys(0), None);
    });
}

#[test]
fn attested_keys_are_those_in_the_evidence() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(submit_snp(0, 1));
        assert_eq!(
            Attestation::attested_keys(0),
            Some(AttestedKeys {
                worker_key: worker(0),
                sealing_key: [200; 32],
                until_s: now_s() + LIFETIME_S,
            })
        );
    });
}

#[test]
fn the_digest_to_ask_a_device_with_can_be_looked_up() {
    ExtBuilder::default().build_and_execute(|| {
        let digest = Attestation::binding_digest(0, anchor()).unwrap();
        assert_eq!(digest.as_bytes(), binding(0).digest());
        assert_eq!(Attestation::binding_digest(0, System::block_number()), None);
        assert_eq!(Attestation::binding_digest(99, anchor()), None);
    });
}
