//! Genesis state.

use assay_evidence::{EvidenceError, vendor_roots};
use codec::{Encode, MaxEncodedLen};
use polkadot_sdk::{
    frame_support::{assert_noop, traits::PalletError},
    sp_runtime::BuildStorage,
};

use super::refused;
use crate::{
    AllowedWorkloads, GenesisConfig, QeIdentities, References, Refusal, RevocationLists, Roots, TcbInfos,
    mock::*, vendors_genesis_roots,
};

#[test]
fn without_a_word_a_chain_trusts_the_vendors_and_nobody_else() {
    ExtBuilder::released().build_and_execute(|| {
        assert_eq!(Roots::<Test>::get(), vendor_roots().unwrap());
        // The tests' vendors write everything as the real ones do.
        assert_noop!(submit_tdx(0, 1), refused(EvidenceError::UntrustedRoot));
        assert_noop!(submit_snp(0, 1), refused(EvidenceError::UntrustedRoot));
        assert_noop!(submit_gpu(0, 1), refused(EvidenceError::UntrustedRoot));
    });
}

#[test]
fn the_default_accepts_nothing() {
    let default = GenesisConfig::<Test>::default();
    assert_eq!(default.roots, vendors_genesis_roots());
    let mut externalities = polkadot_sdk::sp_io::TestExternalities::from(
        RuntimeGenesisConfig::default().build_storage().unwrap(),
    );
    externalities.execute_with(|| {
        assert_eq!(AllowedWorkloads::<Test>::iter().count(), 0);
        assert_eq!(References::<Test>::iter().count(), 0);
        assert_eq!(TcbInfos::<Test>::iter().count(), 0);
        assert_eq!(QeIdentities::<Test>::iter().count(), 0);
        assert_eq!(RevocationLists::<Test>::iter().count(), 0);
        assert_eq!(Roots::<Test>::get(), vendor_roots().unwrap());
        Attestation::do_try_state().unwrap();
    });
}

#[test]
fn a_configuration_travels_as_json() {
    let config = GenesisConfig::<Test>::default();
    let json = serde_json::to_string(&config).unwrap();
    let read: GenesisConfig<Test> = serde_json::from_str(&json).unwrap();
    assert_eq!(read.roots, config.roots);
    assert!(json.contains("\"vendor\":\"amdMilan\""));
}

#[test]
#[should_panic(expected = "genesis: a root is no root certificate")]
fn a_genesis_with_another_certificate_as_root_is_refused() {
    let mut config = GenesisConfig::<Test>::default();
    config.roots[0].certificate.0[200] ^= 1;
    let _ = build(config);
}

#[test]
#[should_panic(expected = "genesis: a piece of collateral is refused")]
fn a_genesis_with_collateral_of_another_time_is_refused() {
    let config = GenesisConfig::<Test> {
        roots: ExtBuilder::default().roots(),
        collateral: crate::test_vendors::test_collateral()
            .iter()
            .map(|piece| polkadot_sdk::sp_core::Bytes(piece.encode()))
            .collect(),
        collateral_time_s: 0,
        ..Default::default()
    };
    let _ = build(config);
}

fn build(config: GenesisConfig<Test>) -> Result<polkadot_sdk::sp_runtime::Storage, String> {
    RuntimeGenesisConfig {
        attestation: config,
        ..Default::default()
    }
    .build_storage()
}

#[test]
fn every_refusal_fits_a_dispatch_error() {
    assert_eq!(Refusal::MAX_ENCODED_SIZE, EvidenceError::max_encoded_len());
}
